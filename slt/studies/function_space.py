r"""Prior and posterior over functions: the labellings that a network gives to a finite set of inputs.

Many parameters share a function, so KL between laws of functions stays finite where that of parameters does not. With
P(S) the prior mass of the functions that fit the data S, and P_B(f|S) = P(f) 1[f fits S]/P(S),

$$\mathrm{KL}(Q \Vert P) = -\ln P(S) + \mathrm{KL}(Q \Vert P_B(\cdot|S))$$

for every Q of functions that fit: a marginal-likelihood term, plus what training prefers differently from Bayes.

Source: Valle-Pérez, Camargo & Louis 2019, arXiv:1805.08522; Mingard et al. 2021, arXiv:2006.15191.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from slt._rows import as_fields
from slt._types import Estimate, Key
from slt.pac_bayes.kl import KL
from slt.pac_bayes.laws import Flat
from slt.stats.replicates import log_mean
from slt.targets.gaussian import Gaussian

Outputs = Callable[[Flat, Array], Float[Array, " input"]]
"""(w, inputs) -> one real output an input; the label is whether it is positive."""


class Functions(NamedTuple):
    """Distinct labellings, most frequent first, and how often each was drawn."""

    labels: Bool[np.ndarray, "function input"]
    counts: Int[np.ndarray, " function"]

    @property
    def total(self) -> int:
        """Number of draws."""
        return int(self.counts.sum())

    __repr__ = as_fields


class Bracket(NamedTuple):
    """Divergence between laws of functions [nats]: plug-in from above, Chao-Shen correction, unseen mass of Q [1].

    plug_in: too high by about (functions - 1)/(2 draws). corrected: entropy of Q by Chao & Shen, itself sometimes low.
    """

    plug_in: KL
    corrected: KL
    unseen: float


def boolean_inputs(bits: int) -> Float[np.ndarray, "input bits"]:
    """All 2^bits inputs with entries -1 and 1."""
    if not 1 <= bits <= 16:
        raise ValueError(f"boolean_inputs: bits is {bits}; it must lie between 1 and 16.")
    numbers = np.arange(2**bits)[:, None] >> np.arange(bits)
    return 2.0 * (numbers & 1) - 1.0


def count_functions(labels: Bool[ArrayLike, "draw input"]) -> Functions:
    """Distinct rows and their counts, most frequent first.

    Raises:
        ValueError: not a table of labels, or an empty one.
    """
    table = np.asarray(labels)
    if table.ndim != 2 or not table.size or table.dtype != bool:
        raise ValueError(f"count_functions: labels are {table.dtype} {table.shape}; give booleans (draw, input).")
    packed = np.ascontiguousarray(np.packbits(table, axis=1))
    keys = packed.view([("", packed.dtype)] * packed.shape[1])[:, 0]
    _, first, counts = np.unique(keys, return_index=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return Functions(table[first[order]], counts[order])


def draw_functions(
    key: Key,
    outputs: Outputs,
    law: Gaussian,
    inputs: Float[ArrayLike, "input feature"],
    num: int,
    *,
    chunk: int = 20_000,
) -> Functions:
    """The implicit prior of the parameter-function map: labellings of `num` draws of the parameters.

    Args:
        chunk: draws evaluated at once.
    """
    if num < 1:
        raise ValueError(f"draw_functions: num is {num}; give at least 1 draw.")
    x = jnp.asarray(inputs, jnp.float32)
    mean, std = jnp.asarray(law.mean, jnp.float32), jnp.asarray(law.std, jnp.float32)

    @jax.jit
    def some(key: Key) -> Array:
        noise = jax.random.normal(key, (min(chunk, num), mean.size))
        return jax.vmap(lambda z: outputs(mean + std * z, x) > 0)(noise)

    pieces = [np.asarray(some(k)) for k in jax.random.split(key, -(-num // min(chunk, num)))]
    return count_functions(np.concatenate(pieces)[:num])


def fits(
    labels: Bool[np.ndarray, "function input"], rows: Int[ArrayLike, " row"], targets: Bool[ArrayLike, " row"]
) -> Bool[np.ndarray, " function"]:
    """Whether each labelling has the targets at those rows."""
    return (labels[:, np.asarray(rows)] == np.asarray(targets)).all(1)


def fit_probability(prior: Functions, rows: Int[ArrayLike, " row"], targets: Bool[ArrayLike, " row"]) -> Estimate:
    """-ln P(S) from draws of the prior, counted [nats]; its error is that of a binomial share.

    Raises:
        ValueError: no draw fits S; use `subset_simulation`.
    """
    hits = int(prior.counts[fits(prior.labels, rows, targets)].sum())
    if hits == 0:
        raise ValueError(f"fit_probability: none of {prior.total} draws fits; take more, or use subset_simulation.")
    return Estimate(float(-np.log(hits / prior.total)), float(np.sqrt((1 - hits / prior.total) / hits)))


def entropy(counts: Int[ArrayLike, " function"]) -> tuple[float, float, float]:
    """(plug-in entropy, Chao-Shen entropy [nats], Good-Turing unseen mass [1]) of draws from a discrete law.

    The unseen mass is the share of functions seen once; Chao & Shen scale the seen ones down by it and weigh each by
    the inverse probability of having been seen.

    Source: Chao & Shen 2003, doi:10.1023/A:1026096204727; Good 1953.
    """
    counts = np.asarray(counts, np.float64)
    counts = counts[counts > 0]
    total = counts.sum()
    share = counts / total
    once = float((counts == 1).sum())
    unseen = (total - 1 if once == total else once) / total
    scaled = (1 - unseen) * share
    weight = -np.expm1(total * np.log1p(-np.minimum(scaled, 1 - 1e-16)))
    plug_in = float(-np.sum(share * np.log(share)))
    return plug_in, float(-np.sum(scaled * np.log(scaled) / weight)), float(unseen)


def function_kl(posterior: Functions, prior: Functions, *, support: int | None = None) -> Bracket:
    """KL(Q to P) between laws of functions from draws of both [nats].

    Every function of the prior has half a count added (Krichevsky-Trofimov), so that one Q alone has seen costs a
    finite amount. The error is of the cross term in Q's draws and of P's counts, by the delta method.

    Args:
        posterior: draws of Q, independent. prior: draws of P.
        support: number of possible functions; by default 2^inputs, or those seen by either where that is more than
            65536, which then says nothing of functions nobody saw.
    """
    known = {row.tobytes(): count for row, count in zip(prior.labels, prior.counts, strict=True)}
    matched = np.array([known.get(row.tobytes(), 0) for row in posterior.labels], np.float64)
    seen = len(known) + int((matched == 0).sum())
    inputs = posterior.labels.shape[1]
    possible = support or (2**inputs if inputs <= 16 else seen)
    total_q, total_p = posterior.total, prior.total + 0.5 * possible
    share = posterior.counts / total_q
    log_p = np.log((matched + 0.5) / total_p)
    cross = -float(share @ log_p)
    plug_in, corrected, unseen = entropy(posterior.counts)
    ratio = np.log(share) - log_p
    spread = share @ (ratio - share @ ratio) ** 2 / total_q
    prior_error = float(share**2 @ (1 / (matched + 0.5))) - 1 / total_p
    error = float(np.sqrt(spread + max(prior_error, 0.0)))
    note = f"functions of {inputs} inputs, {total_q} draws of Q, {prior.total} of P"
    return Bracket(
        KL(Estimate(cross - plug_in, error, total_q - 1), "none", f"plug-in, {note}"),
        KL(Estimate(cross - corrected, error, total_q - 1), "none", f"Chao-Shen, {note}"),
        unseen,
    )


def subset_simulation(
    key: Key,
    outputs: Outputs,
    law: Gaussian,
    inputs: Float[ArrayLike, "row feature"],
    targets: Bool[ArrayLike, " row"],
    *,
    num_particles: int = 1000,
    num_replicates: int = 8,
    num_moves: int = 20,
) -> tuple[Estimate, Float[np.ndarray, "draw dim"]]:
    r"""$-\ln P(S) = -\sum_j \ln P(\text{fit first } j \mid \text{fit first } j-1)$ by particles, and draws that fit S.

    Particles of the prior are thinned to those that fit one more row, resampled, and moved by steps that leave the
    prior invariant (preconditioned Crank-Nicolson, step log-uniform over two decades), refused where they stop to fit.
    The product is unbiased for P(S); the error is between replicates.

    Args:
        inputs, targets: S.
        num_moves: steps after every row.

    Returns:
        (-ln P(S) [nats], parameters of the last particles, all replicates).

    Raises:
        ValueError: fewer than 2 replicates, or a replicate in which no particle fits one more row.

    Source: Au & Beck 2001, doi:10.1016/S0266-8920(01)00019-4; Cotter et al. 2013, arXiv:1202.0709.
    """
    x, y = jnp.asarray(inputs, jnp.float32), jnp.asarray(targets, bool)
    if num_replicates < 2 or len(x) != len(y) or not len(x):
        raise ValueError(
            f"subset_simulation: {num_replicates} replicates, {len(x)} inputs and {len(y)} targets; give at least 2 "
            "replicates, and as many targets as inputs."
        )
    run = jax.jit(_replicate(outputs, law, x, y, num_particles, num_moves))
    logs, particles = jax.lax.map(run, jax.random.split(key, num_replicates))
    logs = np.asarray(logs, np.float64)
    if not np.isfinite(logs).all():
        raise ValueError("subset_simulation: in one replicate no particle fits one more row; raise num_particles.")
    found = log_mean(logs)  # of P, which is unbiased; the mean of ln P is not
    flat = np.asarray(particles, np.float64).reshape(-1, law.mean.size)
    return found._replace(value=-found.value), law.mean + law.std * flat


def _replicate(
    outputs: Outputs, law: Gaussian, x: Array, y: Array, num_particles: int, num_moves: int
) -> Callable[[Key], tuple[Array, Array]]:
    """key -> (ln P(S), particles in whitened coordinates)."""
    mean, std = jnp.asarray(law.mean, jnp.float32), jnp.asarray(law.std, jnp.float32)
    row = jnp.arange(len(y))

    def wrong_rows(z: Array) -> Array:
        return (outputs(mean + std * z, x) > 0) != y

    def move(carry: tuple[Array, Array], key: Key) -> tuple[tuple[Array, Array], None]:
        particles, j = carry
        size_key, noise_key = jax.random.split(key)
        size = 10.0 ** -(2 * jax.random.uniform(size_key, (num_particles, 1)))
        noise = jax.random.normal(noise_key, particles.shape)
        proposed = jnp.sqrt(1 - size**2) * particles + size * noise
        wrong = jax.vmap(wrong_rows)(proposed)
        accepted = ~(wrong & (row <= j)).any(1)
        return (jnp.where(accepted[:, None], proposed, particles), j), None

    def one_more(carry: tuple[Array, Array], inner: tuple[Array, Key]) -> tuple[tuple[Array, Array], None]:
        (particles, total), (j, key) = carry, inner
        choose_key, move_key = jax.random.split(key)
        right = ~jax.vmap(wrong_rows)(particles)[:, j]
        chosen = jax.random.choice(choose_key, num_particles, (num_particles,), p=right / jnp.maximum(right.sum(), 1))
        (particles, _), _ = jax.lax.scan(move, (particles[chosen], j), jax.random.split(move_key, num_moves))
        return (particles, total + jnp.log(right.mean())), None

    def run(key: Key) -> tuple[Array, Array]:
        first_key, *keys = jax.random.split(key, len(y) + 1)
        particles = jax.random.normal(first_key, (num_particles, mean.size))
        (particles, total), _ = jax.lax.scan(one_more, (particles, jnp.zeros(())), (row, jnp.stack(keys)))
        return total, particles

    return run
