"""A NumPyro mixture and a NumPyro reduced rank regression, as a user writes them, through every estimator.

    python tests/benchmarks/numpyro_estimators.py [--n 40] [--tolerance 0.05]

Beside each estimate the value of the same functional of the same posterior on the same data, by other means: a grid
over both parameters of the mixture; for the regression a grid over A, with B given A Gaussian, and exact draws from
the two. Criteria of a NUTS run of NumPyro itself, through `slt.targets.numpyro_log_likelihood`, stand beside them.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer import MCMC, NUTS
from scipy import special, stats

import slt
from slt._types import Estimate
from slt.estimate.criteria import estimate_criteria
from slt.stats.criteria import importance_loo, singular_fluctuation, waic
from slt.stats.per_datum import pointwise


def mixture(x):
    weight = numpyro.sample("weight", dist.Uniform(0.0, 1.0))
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    with numpyro.plate("data", len(x)):
        labels = dist.Categorical(jnp.stack([1 - weight, weight]))
        components = dist.Normal(jnp.stack([jnp.zeros(()), mean]), 1.0)
        numpyro.sample("x", dist.MixtureSameFamily(labels, components), obs=x)


def reduced_rank(x, y=None, hidden=1):
    A = numpyro.sample("A", dist.Normal(0, 1).expand([hidden, x.shape[1]]).to_event(2))
    B = numpyro.sample("B", dist.Normal(0, 1).expand([y.shape[1], hidden]).to_event(2))
    with numpyro.plate("data", len(x)):
        numpyro.sample("y", dist.Normal(x @ A.T @ B.T, 1.0).to_event(1), obs=y)


def mixture_draws(x, beta, rng):
    """Log-likelihoods of exact draws from a fine grid, and log of the integral of prior times likelihood^beta."""
    a, b = np.meshgrid((np.arange(400) + 0.5) / 400, np.linspace(-5, 5, 1001), indexing="ij")
    a, b = a.ravel(), b.ravel()
    total = np.zeros_like(a)
    for value in x:
        total += np.logaddexp(np.log1p(-a) - value**2 / 2, np.log(a) - (value - b) ** 2 / 2)
    total -= len(x) * np.log(2 * np.pi) / 2
    log_density = beta * total + stats.norm.logpdf(b) + np.log(0.01 / 400)
    log_evidence = special.logsumexp(log_density)
    chosen = rng.choice(len(a), 40_000, p=np.exp(log_density - log_evidence))
    a, b = a[chosen][:, None], b[chosen][:, None]
    return np.log((1 - a) * stats.norm.pdf(x) + a * stats.norm.pdf(x - b)), log_evidence


def reduced_rank_draws(x, y, beta, rng):
    """A from a fine grid with B integrated out, B given A from its normal distribution; y and x of two columns."""
    side = np.linspace(-5, 5, 401)
    A = np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
    precision = 1 + beta * np.einsum("gi,ij,gj->g", A, x.T @ x, A)
    slope = beta * A @ (x.T @ y)
    constant = -beta * ((y**2).sum() + y.size * np.log(2 * np.pi)) / 2
    log_density = (
        0.5 * (slope**2).sum(1) / precision - np.log(precision) + constant
        + stats.norm.logpdf(A).sum(1) + 2 * np.log(side[1] - side[0])
    )  # fmt: skip
    log_evidence = special.logsumexp(log_density)
    chosen = rng.choice(len(A), 40_000, p=np.exp(log_density - log_evidence))
    B = slope[chosen] / precision[chosen, None] + rng.normal(size=(40_000, 2)) / np.sqrt(precision[chosen, None])
    mean = (A[chosen] @ x.T)[:, :, None] * B[:, None, :]
    return stats.norm.logpdf(y, mean).sum(-1), log_evidence


def criteria_of(log_likelihood):
    """nu(1), WAIC and leave-one-out of draws at beta = 1, dims (chain, draw, datum)."""
    sums = pointwise(log_likelihood, inverse_temperature=1.0)
    return {"nu": singular_fluctuation(sums), "waic": waic(sums), "loo": importance_loo(sums)}


def run(name, model, data, reference, arguments, known):
    n, rng = arguments.n, np.random.default_rng(0)
    options = {"tolerance": arguments.tolerance}
    # ours
    at_one = estimate_criteria(model, *data, **options)
    cold = estimate_criteria(model, *data, inverse_temperature=float(1 / np.log(n)), **options)
    free = slt.estimate_llc(model, *data, inverse_temperature=1.0, **options)
    target = slt.numpyro_target(model, *data)
    log_evidence = free.estimates["log_evidence"]
    ours = {
        "nu": at_one.estimates["singular_fluctuation"],
        "waic": at_one.estimates["waic"],
        "loo": at_one.estimates["importance_loo"],
        "llc": cold.estimates["llc"],
        "wbic": cold.estimates["wbic"],
        "free energy": log_evidence._replace(
            value=n * slt.numpyro_target(model, *data, inverse_temperature=1.0).loss_at_minimum - log_evidence.value
        ),
    }
    # the same by other means
    arrays = [np.asarray(a, np.float64) for a in data]
    draws, evidence = reference(*arrays, 1.0, rng)
    tempered, _ = reference(*arrays, 1 / np.log(n), rng)
    total = -tempered.sum(1)
    error = float(total.std() / np.sqrt(len(total)))
    theirs = criteria_of(draws.reshape(8, -1, n)) | {
        "llc": Estimate((total.mean() - n * target.loss_at_minimum) / np.log(n), error / np.log(n)),
        "wbic": Estimate(float(total.mean()), error),
        "free energy": Estimate(float(-evidence), 0.0),
    }
    mcmc = MCMC(
        NUTS(model), num_warmup=300, num_samples=1000, num_chains=4, chain_method="vectorized", progress_bar=False
    )
    mcmc.run(jax.random.key(0), *data)
    nuts = criteria_of(slt.targets.numpyro_log_likelihood(mcmc))
    print(f"\n{name}, n = {n}, verdicts {at_one.verdict.status}, {cold.verdict.status}; asymptotically {known}")
    print(f"{'':12} {'slt':>22} {'by other means':>22} {'gap / error':>12} {'NumPyro NUTS':>22}")
    for key, our in ours.items():
        gap = (our.value - theirs[key].value) / np.hypot(our.mcse, theirs[key].mcse)
        print(f"{key:12} {our!s:>22} {theirs[key]!s:>22} {gap:12.2f} {nuts.get(key, '')!s:>22}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=40)
    parser.add_argument("--tolerance", type=float, default=0.05)
    arguments = parser.parse_args()
    rng = np.random.default_rng(3)
    x = rng.normal(size=arguments.n).astype(np.float32)
    run("mixture (1-w) N(0,1) + w N(m,1)", mixture, (x,), mixture_draws, arguments, "λ = 1/2, m = 2")
    inputs, outputs = rng.normal(size=(2, arguments.n, 2)).astype(np.float32)
    known = "λ = 1, m = 2"
    run("reduced rank 2-1-2, rank 0", reduced_rank, (inputs, outputs), reduced_rank_draws, arguments, known)


if __name__ == "__main__":
    main()
