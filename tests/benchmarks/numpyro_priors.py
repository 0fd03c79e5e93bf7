"""NumPyro models under priors that are neither centred, isotropic nor unconstrained, through every driver.

Exact: quadrature over the constrained parameters (scipy densities alone), or the refusal that is due. Prints a table
prior, driver, exact, got, verdict; the exit status is the number of rows that are wrong.

    python tests/benchmarks/numpyro_priors.py [prior ...]
"""

import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from asked import words
from scipy import stats

import slt
from slt._types import Estimate

RNG = np.random.default_rng(3)
N = 20
X = RNG.normal(size=(N, 2)).astype(np.float32)
Y = (X @ [1.0, -0.5] + RNG.normal(size=N)).astype(np.float32)
Z = RNG.normal(0.5, 1.0, N).astype(np.float32)
K = RNG.poisson(2.0, N)
B = RNG.random(N) < 0.3
THRESHOLD = 0.05
MEAN, COVARIANCE = np.array([1.0, -1.0]), np.array([[0.5, 0.42], [0.42, 0.6]])


class Case(NamedTuple):
    """model, data; grid: points of the constrained parameters, weights: prior mass of each; losses: (n, points)."""

    model: Callable
    data: tuple
    grid: np.ndarray
    weights: np.ndarray
    losses: np.ndarray
    jacobian: Callable


def shifted(z):
    m = numpyro.sample("m", dist.Normal(3.0, 0.2))
    with numpyro.plate("data", len(z)):
        numpyro.sample("z", dist.Normal(m, 1.0), obs=z)


def correlated(x, y):
    w = numpyro.sample("w", dist.MultivariateNormal(jnp.asarray(MEAN), jnp.asarray(COVARIANCE)))
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", dist.Normal(x @ w, 1.0), obs=y)


def positive(z):
    s = numpyro.sample("s", dist.HalfNormal(1.0))
    with numpyro.plate("data", len(z)):
        numpyro.sample("z", dist.Normal(0.0, s), obs=z)


def rate(k):
    r = numpyro.sample("r", dist.Gamma(2.0, 1.0))
    with numpyro.plate("data", len(k)):
        numpyro.sample("k", dist.Poisson(r), obs=k)


def share(b):
    p = numpyro.sample("p", dist.Beta(2.0, 3.0))
    with numpyro.plate("data", len(b)):
        numpyro.sample("b", dist.Bernoulli(probs=p), obs=b.astype(int))


def one(model: Callable, data: np.ndarray, prior: Any, law: Callable, jacobian: Callable, low: int = -8) -> Case:
    """A single parameter: quantiles of the prior, tails included; the lower one from `low` standard deviations on."""
    edges = stats.norm.cdf(np.linspace(low, 8, 1250 * (8 - low) + 1))
    grid = prior.ppf((edges[1:] + edges[:-1]) / 2)
    return Case(model, (data,), grid, np.diff(edges), -law(data[:, None], grid), jacobian)


def two() -> Case:
    axis = np.linspace(-7, 7, 801)
    z = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    grid = MEAN + z @ np.linalg.cholesky(COVARIANCE).T
    weights = stats.norm.pdf(z).prod(1)
    losses = np.stack([-stats.norm(X[i] @ grid.T, 1).logpdf(Y[i]) for i in range(N)])
    return Case(correlated, (X, Y), grid, weights / weights.sum(), losses, lambda w: w)


CASES: dict[str, Callable[[], Case]] = {
    "N(3, 0.2²)": lambda: one(
        shifted, Z, stats.norm(3, 0.2), lambda y, m: stats.norm(m, 1).logpdf(y), lambda m: m, -14
    ),
    "correlated": two,
    "HalfNormal": lambda: one(positive, Z, stats.halfnorm(), lambda y, s: stats.norm(0, s).logpdf(y), np.log),
    "Gamma": lambda: one(rate, K, stats.gamma(2), lambda k, r: stats.poisson(r).logpmf(k), np.log),
    "Beta": lambda: one(
        share, B, stats.beta(2, 3), lambda b, p: np.where(b, np.log(p), np.log1p(-p)), lambda p: np.log(p / (1 - p))
    ),
}


class Truth(NamedTuple):
    """By quadrature, at one beta and gamma."""

    llc: float
    free_energy: float
    kl: float
    fluctuation: float
    waic: float
    volume: float


def truth(case: Case, target: Any, beta: float, gamma: float) -> Truth:
    n, losses = case.losses.shape[0], case.losses
    excess = losses.mean(0) - target.loss_at_minimum
    u = case.jacobian(case.grid).reshape(len(case.weights), -1)
    centre = np.concatenate([np.ravel(leaf) for leaf in target.minimum.values()])
    weights = case.weights * np.exp(-gamma / 2 * np.sum((u - centre) ** 2, 1))
    weights = weights / weights.sum()
    log_mass = np.log(np.maximum(weights, 1e-300)) - n * beta * excess
    top = log_mass.max()
    evidence = top + math.log(np.exp(log_mass - top).sum())
    posterior = np.exp(log_mass - evidence)
    mean = float(excess @ posterior)
    centred = losses - (losses @ posterior)[:, None]
    variance = float(((centred**2) @ posterior).sum())
    bayes = -np.log(np.exp(-losses) @ posterior).mean()
    return Truth(
        n * beta * mean, -evidence, evidence * -1 - n * beta * mean, beta / 2 * variance, bayes + beta * variance / n,
        float(np.log(weights[excess < THRESHOLD].sum())),
    )  # fmt: skip


Row = tuple[str, float, Estimate, str]


def rows(name: str) -> Iterator[Row]:
    """(driver, exact, got, verdict)."""
    case = CASES[name]()
    target = slt.numpyro_target(case.model, *case.data)
    bayes = slt.numpyro_target(case.model, *case.data, inverse_temperature=1.0)
    yield from compared(case, target)
    yield from calibrated(case)
    yield from in_series(case, target, name)
    criteria = slt.estimate_criteria(bayes, tolerance=0.02)
    full = truth(case, bayes, 1.0, 0.0)
    for key, exact in (("singular_fluctuation", full.fluctuation), ("waic", full.waic), ("llc", full.llc)):
        yield f"estimate_criteria {key}", exact, criteria.estimates[key], criteria.verdict.status
    yield from of_free_energy(bayes, full)


def of_free_energy(target: Any, exact: Truth) -> Iterator[Row]:
    """Both integrals at beta = 1, and the evidence that `estimate_llc` has beside the coefficient; or d/2."""
    found = slt.estimate_free_energy(target, num_particles=512)
    for key in ("free_energy", "thermodynamic"):
        yield f"estimate_free_energy {key}", exact.free_energy, found.estimates[key], "converged"
    half = sum(np.size(leaf) for leaf in target.minimum.values()) / 2
    yield "estimate_free_energy rlct", half, found.estimates["rlct"], found.verdict.status
    result = slt.estimate_llc(target, tolerance=0.02)
    yield "estimate_llc llc", exact.llc, result.estimates["llc"], result.verdict.status
    yield "estimate_llc log_evidence", -exact.free_energy, result.estimates["log_evidence"], result.verdict.status


def compared(case: Case, target: Any) -> Iterator[Row]:
    """The comparison takes criteria at beta = 1 and all else at the target's own; volumes go through basin_volumes."""
    table = slt.compare(
        {"m": target}, measures=["criteria", "curvature", "volumes", "free_energy"], threshold=THRESHOLD,
        options={"criteria": {"tolerance": 0.02}, "free_energy": {"num_particles": 512},
                 "volumes": {"num_particles": 512}},
    )  # fmt: skip
    own, at_one = truth(case, target, target.inverse_temperature, 0.0), truth(case, target, 1.0, 0.0)
    exact = {
        "ν": at_one.fluctuation, "WAIC": at_one.waic, "free energy": own.free_energy, "KL, Gibbs posterior": own.kl,
        "−log V, splitting": -own.volume,
    }  # fmt: skip
    for measure in (*exact, *REFUSALS):
        row = table.value("m", measure)
        yield f"compare {measure}", exact.get(measure, math.nan), Estimate(row.value, row.error), row.status


def calibrated(case: Case) -> Iterator[Row]:
    local = slt.numpyro_target(case.model, *case.data, localization=2.0)
    found = slt.calibrate(local, step_factors=(0.5, 1.0), localizations=[1.0, 4.0], nbetas=[10.0], num_draws=2000)
    for cell in found.points:
        exact = truth(case, local, cell.nbeta / N, cell.localization).llc
        trusted = "converged" if cell.trusted else f"not trusted: {cell.reason}"
        yield f"calibrate γ {cell.localization:g} h {cell.step_factor:g}", exact, cell.estimate, trusted


def in_series(case: Case, target: Any, name: str) -> Iterator[Row]:
    """The coefficient is that of `estimate_llc`, and the volume that of `posterior_volume`."""
    with tempfile.TemporaryDirectory() as folder:
        found = slt.estimate_series(
            lambda _: target, {0: 0}, folder=folder, measures=["volume", "singular_fluctuation"], tolerance=0.02
        ).results[0]
    own = truth(case, target, target.inverse_temperature, 0.0)
    yield "series llc", own.llc, found.estimates["llc"], found.verdict.status
    refused = found.refused or {}
    for key, exact in (("singular_fluctuation", own.fluctuation), ("volume", laplace(target, name))):
        status = refused[key].status if key in refused else "converged"
        yield f"series {key}", exact, found.estimates[key], status


REFUSALS = ("effective dimension / 2", "free energy, quadratic", "−log V, fuzzy ellipsoid", "−log V, ellipsoid")


def laplace(target: Any, name: str) -> float:
    """-1/2 log det(I + n beta H P^-1), of the Gaussian priors."""
    if name == "correlated":
        return -0.5 * np.linalg.slogdet(np.eye(2) + target.nbeta * X.T @ X / N @ COVARIANCE)[1]
    return -0.5 * math.log(1 + target.nbeta * 0.04) if name == "N(3, 0.2²)" else math.nan


def main(names: list[str]) -> int:
    wrong = 0
    for name in names or list(CASES):
        for driver, exact, got, status in rows(name):
            off = abs(got.value - exact) / max(got.mcse, 2e-3 * abs(exact), 1e-6)
            bad = status in ("converged", "exact") and math.isfinite(got.value) and not off < 5
            wrong += bad
            print(f"{name:11} {driver:32} {exact:9.4f}  {got!s:22} {status[:40]} {'WRONG' * bad}", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main(words(__doc__, "PRIOR", CASES)))
