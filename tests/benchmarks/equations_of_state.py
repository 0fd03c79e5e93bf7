"""n times excess losses, V and nu over many data sets, n = 200, beta = 1, against Watanabe's equations of state.

Models: x ~ N(f(w), 1), truth f = 0, uniform prior on [-1, 1]^d, f = w, w^2, a^2 b, ab. Ours: HMC and streamed
criteria of the package, on every data set. Truth at the same n: quadrature over f on the same and on 20 000 others;
in the limit: lambda and nu. "ours" is quadrature on the many data sets plus our mean gap from it on the same ones.

Run: python tests/benchmarks/equations_of_state.py [--data-sets 500] [--output FILE.json] [MODEL ...]
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from slt.samplers.mcmc import hmc
from slt.stats import criteria
from slt.stats.per_datum import Pointwise, summarise

N, MANY, CHAINS, BATCHES, DRAWS, THINNING = 200, 20_000, 4, 8, 40, 2
ENTROPY = 0.5 * np.log(2 * np.pi * np.e)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
QUANTITIES = ("bayes_generalization", "bayes_training", "gibbs_generalization", "gibbs_training", "V", "nu")


class Model(NamedTuple):
    """f(w) of d parameters; density of f under the prior, and whether f takes both signs; lambda and nu(1)."""

    f: Callable
    dim: int
    density: Callable
    signed: bool
    rlct: float
    nu: float | None


MODELS = {
    "w": Model(lambda w: w[0], 1, lambda f: 1 + 0 * f, True, 0.5, 0.5),
    "w^2": Model(lambda w: w[0] ** 2, 1, lambda f: f**-0.5, False, 0.25, 0.172973),
    "a^2 b": Model(lambda w: w[0] ** 2 * w[1], 2, lambda f: f**-0.5 - 1, True, 0.25, 0.348687),
    "ab": Model(lambda w: w[0] * w[1], 2, lambda f: -np.log(f), True, 0.5, None),  # leading 1/2, corrections 1/log n
}


def folded(w):
    """Reflected at the walls of [-1, 1]."""
    phase = jnp.mod((w + 1) / 2, 2.0)
    return -1 + 2 * jnp.where(phase < 1, phase, 2 - phase)


def sampled(model: Model, data: np.ndarray, seed: int) -> tuple[list[Pointwise], list[Pointwise]]:
    """Sums of every data set, for its data and for the test nodes; dims (chain, batch, datum)."""
    kernel = hmc(
        lambda w, batch: N * (model.f(folded(w)) ** 2 / 2 - batch * model.f(folded(w))),
        step_size=1.0, num_integration_steps=6, decades=2.5,
    )  # fmt: skip

    def one_chain(key, x):
        total = x.mean()
        start_key, warm_key, key = jax.random.split(key, 3)
        state = kernel.init(jax.random.uniform(start_key, (model.dim,), minval=-1, maxval=1), total)

        def step(state, key):
            state, _ = kernel.step(key, state, total)
            return state, model.f(folded(state.position))

        def batch(state, key):
            state, f = jax.lax.scan(step, state, jax.random.split(key, DRAWS * THINNING))
            f = f[::THINNING, None]
            parts = [summarise(-0.5 * jnp.log(2 * jnp.pi) - (y - f) ** 2 / 2, inverse_temperature=1.0)
                     for y in (x, jnp.asarray(NODES))]  # fmt: skip
            return state, parts

        state, _ = jax.lax.scan(step, state, jax.random.split(warm_key, 300))
        return jax.lax.scan(batch, state, jax.random.split(key, BATCHES))[1]

    def one_set(args):
        key, x = args
        return jax.vmap(lambda k: one_chain(k, x))(jax.random.split(key, CHAINS))

    keys = jax.random.split(jax.random.key(seed), len(data))
    parts = jax.jit(lambda a: jax.lax.map(one_set, a, batch_size=50))((keys, jnp.asarray(data)))
    parts = [part._replace(count=np.full(part.mean.shape[:3], DRAWS)) for part in jax.tree.map(np.asarray, parts)]
    sets = [[Pointwise(*(field[i] for field in part[:-1]), 1.0) for i in range(len(data))] for part in parts]
    return sets[0], sets[1]


def ours(model: Model, data: np.ndarray, seed: int) -> np.ndarray:
    """The quantities of every data set by the package, dims (data set, quantity)."""
    rows = []
    for x, train, test in zip(data, *sampled(model, data, seed), strict=True):
        truth = 0.5 * np.log(2 * np.pi) + np.mean(x**2) / 2
        at_nodes = criteria.pointwise_criteria(test)
        generalization = [float(WEIGHTS @ at_nodes[f"{name}_training"]) - ENTROPY for name in ("bayes", "gibbs")]
        variance = criteria.functional_variance(train).value
        rows.append([
            N * generalization[0], N * (criteria.bayes_loss(train).value - truth),
            N * generalization[1], N * (criteria.gibbs_loss(train).value - truth),
            variance, criteria.singular_fluctuation(train).value,
        ])  # fmt: skip
    return np.array(rows)


def quadrature(model: Model, data: np.ndarray, num_bayes: int) -> np.ndarray:
    """The same by a sum over f, dense near 0; the Bayes losses, which cost most, of the first data sets alone."""
    u = (np.arange(600) + 0.5) / 600
    f = u**4
    mass = model.density(f) * 4 * u**3
    if model.signed:
        f, mass = np.r_[-f[::-1], f], np.r_[mass[::-1], mass]
    rows = np.full((len(data), len(QUANTITIES)), np.nan)
    for i, x in enumerate(data):
        log_weight = N * (f * x.mean() - f**2 / 2)
        weight = mass * np.exp(log_weight - log_weight.max())
        keep = weight > 1e-10 * weight.max()
        weight, g = weight[keep] / weight[keep].sum(), f[keep]
        mean, second = weight @ g, weight @ g**2
        v1, v2, cov = weight @ (g - mean) ** 2, weight @ (g**2 - second) ** 2, weight @ ((g - mean) * (g**2 - second))
        variance = np.sum(x**2) * v1 - np.sum(x) * cov + N * v2 / 4
        rows[i, 2:] = N * second / 2, N * (second / 2 - x.mean() * mean), variance, variance / 2
        if i < num_bayes:
            bayes = [-np.log(np.exp(np.outer(y, g) - g**2 / 2) @ weight) for y in (NODES, x)]
            rows[i, :2] = N * (WEIGHTS @ bayes[0]), bayes[1].sum()
    return rows


def table(name: str, num_sets: int, seed: int) -> dict:
    """Means over data sets, errors, and distances from the truth in standard errors."""
    model = MODELS[name]
    rng = np.random.default_rng(seed)
    data, many = rng.normal(size=(num_sets, N)), rng.normal(size=(MANY, N))
    mine, same, every = ours(model, data, seed), quadrature(model, data, num_sets), quadrature(model, many, MANY // 8)
    lam, nu = model.rlct, model.nu
    limit = [lam, lam - 2 * nu, lam + nu, lam - nu, 2 * nu, nu] if nu else [lam] + [None] * 5
    rows = {}
    for j, quantity in enumerate(QUANTITIES):
        gap, exact = mine[:, j] - same[:, j], every[np.isfinite(every[:, j]), j]
        value = exact.mean() + gap.mean()
        error = np.hypot(exact.std() / np.sqrt(len(exact)), gap.std() / np.sqrt(num_sets))
        rows[quantity] = {
            "ours": value, "error": error, "ours_alone": mine[:, j].mean(),
            "error_alone": mine[:, j].std() / np.sqrt(num_sets), "exact_n": exact.mean(),
            "gap_z": gap.mean() / (gap.std() / np.sqrt(num_sets)), "limit": limit[j],
        }  # fmt: skip
    return {"model": name, "n": N, "data_sets": num_sets, "rows": rows}


def main() -> None:
    """One table a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--data-sets", type=int, default=500)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = []
    for name in options.models:
        found.append(table(name, options.data_sets, options.seed))
        print(f"{name}: n = {N}, {options.data_sets} data sets")
        print(f"{'':24s}{'ours':>18s}{'(alone)':>18s}{'exact at n':>12s}{'gap/se':>8s}{'n → ∞':>10s}")
        for quantity, row in found[-1]["rows"].items():
            limit = "–" if row["limit"] is None else f"{row['limit']:.4f}"
            both = f"{row['ours']:9.4f} ± {row['error']:.4f}{row['ours_alone']:9.4f} ± {row['error_alone']:.4f}"
            label = quantity if quantity in ("V", "nu") else f"n × {quantity}"
            print(f"{label:24s}{both}{row['exact_n']:12.4f}{row['gap_z']:8.2f}{limit:>10s}", flush=True)
        if options.output:
            options.output.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
