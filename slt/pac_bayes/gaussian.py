"""Optimised posteriors: a normal law Q of independent parameters, trained on a bound, and what certifies it.

Training minimises f(q, c) with q a surrogate in [0, 1] at one draw of Q and c = (KL + ln(2 sqrt n/delta))/n; the
certificate uses the zero-one loss of fresh draws, paid for, and counts only data that the prior has not seen.
Source: Dziugaite & Roy 2017, arXiv:1703.11008; Perez-Ortiz et al. 2021, arXiv:2007.12911.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from slt._options import checked
from slt._types import Batch, Estimate, Key
from slt.pac_bayes.bounds import complexity, pinsker, quadratic, thiemann
from slt.pac_bayes.certificate import Certificate, bound_table
from slt.pac_bayes.checks import check_count, check_delta
from slt.pac_bayes.kl import KL, exact
from slt.pac_bayes.kl_inverse import kl_inverse_upper
from slt.targets.gaussian import Gaussian

PerDatum = Callable[[Float[Array, " dim"], Batch], Float[Array, " batch"]]
"""(flat parameters, batch) -> a loss of each datum in [0, 1]."""

OBJECTIVES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "classic": lambda q, c, _: pinsker(q, c),
    "quadratic": lambda q, c, _: quadratic(q, c),
    "lambda": lambda q, c, raw: thiemann(q, c, 2 * jax.nn.sigmoid(raw)),
    "kl": lambda q, c, _: kl_inverse_upper(jnp.clip(q, 1e-6, 1 - 1e-6), c),
}
"""f(q, c, an unbounded parameter trained along); "lambda" trains its lambda = 2 sigmoid of it."""


class ScaleGrid(NamedTuple):
    """Prior scales exp(-j/steps) * largest in units of the prior's own std, of mass 6/(pi j)^2, j = 1, 2, ..."""

    largest: float = 10.0
    steps: int = 50


def bounded_cross_entropy(logits: Float[Array, "batch classes"], labels: Array, *, floor: float = 1e-5) -> Array:
    r"""$\ln\max(p_{\text{label}}, \text{floor}) / \ln\text{floor}$ of each datum, in [0, 1].

    Source: Perez-Ortiz et al. 2021, arXiv:2007.12911, section 5.
    """
    log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1)[:, 0]
    return jnp.maximum(log_p, math.log(floor)) / math.log(floor)


def gaussian_kl(posterior: Gaussian, prior: Gaussian) -> KL:
    r"""$\tfrac12\sum_i [(s_i/t_i)^2 - 1 - 2\ln(s_i/t_i) + ((m_i - \mu_i)/t_i)^2]$ [nats], exact.

    Raises:
        ValueError: different numbers of parameters.
    """
    if posterior.mean.size != prior.mean.size:
        raise ValueError(
            f"gaussian_kl: the posterior has {posterior.mean.size} parameters and the prior {prior.mean.size}."
        )
    ratio, shift = posterior.std / prior.std, prior.whiten(posterior.mean)
    return exact(0.5 * float(np.sum(ratio**2 - 1 - 2 * np.log(ratio) + shift**2)), "normal laws, closed form")


def scaled_prior_kl(posterior: Gaussian, prior: Gaussian, *, grid: ScaleGrid | None = None) -> tuple[KL, Gaussian]:
    r"""An upper bound on KL to the mixture over a grid of prior scales, and the prior of the best scale.

    The prior of the certificate is the mixture, and
    $\mathrm{KL}(Q \Vert \sum_j p_j P_j) \le \mathrm{KL}(Q \Vert P_j) + \ln(1/p_j)$ for the j that suits the data best.

    Raises:
        ValueError: as `gaussian_kl`.

    Source: Langford & Caruana 2002, NIPS; Dziugaite & Roy 2017.
    """
    grid = grid or ScaleGrid()
    gaussian_kl(posterior, prior)
    best = _best_scale(posterior.mean, np.log(posterior.std), prior)
    index = max(1.0, -grid.steps * math.log(float(best) / grid.largest))
    found = []
    for j in (math.floor(index), math.ceil(index)):
        scaled = prior._replace(std=prior.std * grid.largest * math.exp(-j / grid.steps))
        price = 2 * math.log(j) + math.log(math.pi**2 / 6)
        found.append((gaussian_kl(posterior, scaled).value.value + price, scaled))
    value, scaled = min(found, key=lambda pair: pair[0])
    return KL(Estimate(value, 0.0), "upper", "normal laws, prior scale from a grid, its choice paid for"), scaled


@checked
def fit_gaussian(
    key: Key,
    surrogate: PerDatum,
    start: Float[np.ndarray, " dim"],
    prior: Gaussian,
    data: Batch,
    *,
    num_data: int,
    objective: str = "kl",
    delta: float = 0.05,
    initial_std: float = 0.03,
    steps: int = 3000,
    batch_size: int = 500,
    learning_rate: float = 3e-3,
    free_scale: bool = False,
) -> Gaussian:
    """Minimise f(q, c) over mean and std by Adam on one draw of Q a step.

    Args:
        key: JAX random key.
        surrogate: loss of each datum in [0, 1], differentiable, e.g. `bounded_cross_entropy` of a network.
        start: first mean, e.g. a trained network.
        prior: P.
        data: what Q is trained on; it may hold data that the prior has seen.
        num_data: n of the bound that is minimised: only data that the prior has not seen.
        objective: "classic", "quadratic", "lambda" or "kl".
        delta: of the bound that is minimised.
        initial_std: first std, in units of the prior's.
        steps, batch_size, learning_rate: of Adam, with a cosine schedule.
        free_scale: take the prior's scale that suits Q best, as `scaled_prior_kl` will.

    Raises:
        ValueError: an unknown objective, or n or delta that a bound refuses.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"fit_gaussian: objective is {objective!r}; choose one of {', '.join(OBJECTIVES)}.")
    check_count("fit_gaussian", num_data)
    check_delta("fit_gaussian", delta)
    data = jax.tree.map(jnp.asarray, data)
    rows = jax.tree.leaves(data)[0].shape[0]
    size = min(batch_size, rows)

    def loss(q: dict[str, Array], key: Key, center: Array, scale: Array, data: Batch) -> Array:
        batch_key, noise_key = jax.random.split(key)
        chosen = jax.random.randint(batch_key, (size,), 0, rows) if size < rows else jnp.arange(rows)
        w = q["mean"] + jnp.exp(q["log_std"]) * jax.random.normal(noise_key, center.shape)
        risk = jnp.mean(surrogate(w, jax.tree.map(lambda x: x[chosen], data)))
        kl = _kl_of(q["mean"], q["log_std"], Gaussian(center, scale), free_scale)  # pyright: ignore[reportArgumentType]
        return OBJECTIVES[objective](risk, complexity(kl, num_data, delta), q["trade_off"])

    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))

    def run(q: dict[str, Array], keys: Key, center: Array, scale: Array, data: Batch) -> dict[str, Array]:
        def update(carry: tuple, key: Key) -> tuple:
            q, state = carry
            updates, state = optimizer.update(jax.grad(loss)(q, key, center, scale, data), state)
            return (optax.apply_updates(q, updates), state), None

        return jax.lax.scan(update, (q, optimizer.init(q)), keys)[0][0]

    center, scale = jnp.asarray(prior.mean, jnp.float32), jnp.asarray(prior.std, jnp.float32)
    first = {
        "mean": jnp.asarray(start, jnp.float32),
        "log_std": jnp.log(scale * initial_std),
        "trade_off": jnp.zeros(()),
    }
    last = jax.jit(run)(first, jax.random.split(key, steps), center, scale, data)
    return Gaussian(np.asarray(last["mean"], np.float64), np.exp(np.asarray(last["log_std"], np.float64)))


def posterior_risk(
    key: Key, errors: PerDatum, posterior: Gaussian, data: Batch, *, num_draws: int, batch_size: int = 32
) -> Float[np.ndarray, " draw"]:
    """Mean loss on the data of each of `num_draws` independent draws of Q.

    Raises:
        ValueError: fewer than one draw, or a loss outside [0, 1].
    """
    check_count("posterior_risk", num_draws, least=1, what="num_draws")

    def run(keys: Key, mean: Array, std: Array, data: Batch) -> tuple[Array, Array]:
        def one(key: Key) -> tuple[Array, Array]:
            losses = errors(mean + std * jax.random.normal(key, mean.shape), data).astype(jnp.float32)
            return jnp.mean(losses), jnp.all((losses >= 0) & (losses <= 1))

        return jax.lax.map(one, keys, batch_size=min(batch_size, num_draws))

    law = (jnp.asarray(part, jnp.float32) for part in posterior)
    means, fine = jax.jit(run)(jax.random.split(key, num_draws), *law, jax.tree.map(jnp.asarray, data))
    if not bool(jnp.all(fine)):
        raise ValueError("posterior_risk: a loss lies outside [0, 1]; use the zero-one loss or clamp and rescale it.")
    return np.clip(np.asarray(means, np.float64), 0.0, 1.0)  # a mean in float32 may round past 1


@checked
def gaussian_certificate(
    key: Key,
    errors: PerDatum,
    posterior: Gaussian,
    kl: KL,
    data: Batch,
    *,
    num_prior_data: int = 0,
    num_draws: int = 2000,
    delta: float = 0.05,
    families: Sequence[str] = ("kl, exact constant",),
) -> Certificate:
    """`bound_table` of Q on the data that its prior has not seen, with fresh draws, paid for.

    Args:
        key: JAX random key, not the one Q was trained with.
        errors: the loss to certify, of each datum, in [0, 1].
        posterior: Q. kl: of this Q to its prior.
        data: all data. num_prior_data: the prior was trained on that many, the first; they do not count.
        num_draws, delta, families: as for `bound_table`; one family by default, chosen here.

    Raises:
        ValueError: no data left for the bound; otherwise as `bound_table`.
    """
    rows = jax.tree.leaves(data)[0].shape[0]
    if not 0 <= num_prior_data <= rows - 2:
        raise ValueError(
            f"gaussian_certificate: the prior has seen {num_prior_data} of {rows} data; at least 2 must be left."
        )
    unseen = jax.tree.map(lambda x: x[num_prior_data:], data)
    risk = float(posterior_risk(key, errors, posterior, unseen, num_draws=num_draws).mean())
    return bound_table(risk, kl, num_data=rows - num_prior_data, delta=delta, num_draws=num_draws, families=families)


def _kl_of(mean: Any, log_std: Any, prior: Gaussian, free_scale: bool) -> Any:
    scale = _best_scale(mean, log_std, prior) if free_scale else 1.0
    ratio = log_std - jnp.log(prior.std) - jnp.log(scale)
    shift = (mean - prior.mean) / (prior.std * scale)
    return 0.5 * jnp.sum(jnp.exp(2 * ratio) - 1 - 2 * ratio + shift**2)


def _best_scale(mean: Any, log_std: Any, prior: Gaussian) -> Any:
    r"""The scale of the prior of least KL, $r^2 = \frac1d\sum_i ((m_i - \mu_i)^2 + s_i^2)/t_i^2$."""
    xp = jnp if isinstance(mean, jax.Array) else np
    return xp.sqrt(xp.mean((((mean - prior.mean) ** 2) + xp.exp(2 * log_std)) / prior.std**2))
