"""Exact kernels on a correlated Gaussian and on a quartic, against closed forms and quadrature.

Errors are between independent chains; each comparison has a false-failure rate of 1e-6 and its resolution in the call.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_agrees
from scipy.integrate import quad

from slt.samplers.mcmc import hmc, mala, mclmc, nuts
from slt.stats.replicates import replicate_mean

FALSE_FAIL = 1e-6
MEAN = np.array([1.0, -2.0, 0.5])
COVARIANCE = np.array([[2.0, 0.9, 0.0], [0.9, 1.0, -0.3], [0.0, -0.3, 0.5]])
PRECISION = jnp.asarray(np.linalg.inv(COVARIANCE))

KERNELS = {
    "mala": (lambda u: mala(u, step_size=0.15), 4000),
    "hmc": (lambda u: hmc(u, step_size=0.4, num_integration_steps=4), 1000),
    "hmc_decades": (lambda u: hmc(u, step_size=0.6, num_integration_steps=6, decades=1.0), 1000),
    "nuts": (lambda u: nuts(u, step_size=0.5, max_doublings=4), 500),
    # unadjusted: a small step, whose bias is below the resolution
    "mclmc": (lambda u: mclmc(u, step_size=0.2, decoherence_length=1.5), 4000),
}
every_kernel = pytest.mark.parametrize(("build", "steps"), KERNELS.values(), ids=KERNELS)


def time_averages(sampler, statistic, start, *, steps, chains=128, seed=0):
    """Mean of statistic(position) over the last 4/5 of the steps of each chain, and the mean of each Info."""
    warmup = steps // 5

    def one_chain(key):
        init_key, key = jax.random.split(key)
        first = sampler.init(start + 0.1 * jax.random.normal(init_key, start.shape), ())

        def body(carry, i):
            state, total = carry
            state, info = sampler.step(jax.random.fold_in(key, i), state, ())
            return (state, total + jnp.where(i < warmup, 0, statistic(state.position))), info

        carry, info = jax.lax.scan(body, (first, jnp.zeros_like(statistic(start))), jnp.arange(steps))
        return carry[1] / (steps - warmup), jax.tree.map(lambda a: a.mean(), info)

    averages, info = jax.jit(jax.vmap(one_chain))(jax.random.split(jax.random.key(seed), chains))
    return np.asarray(averages, np.float64), jax.tree.map(lambda a: float(np.mean(a)), info)


@every_kernel
def test_mean_and_covariance_of_a_correlated_gaussian(build, steps):
    def energy(w, batch):
        return 0.5 * (w - MEAN) @ PRECISION @ (w - MEAN)

    def statistic(w):
        shift = w - MEAN
        return jnp.concatenate([w, jnp.outer(shift, shift)[jnp.triu_indices(3)]])

    values, info = time_averages(build(energy), statistic, jnp.asarray(MEAN, jnp.float32), steps=steps)
    exact = np.concatenate([MEAN, COVARIANCE[np.triu_indices(3)]])
    for i, want in enumerate(exact):
        assert_agrees(replicate_mean(values[:, i]), want, resolution=0.12, false_fail=FALSE_FAIL)
    assert info.diverging == 0
    assert info.acceptance_rate > 0.5


@every_kernel
def test_second_moment_of_a_quartic(build, steps):
    def energy(w, batch):
        return jnp.sum(w**4)

    norm = quad(lambda x: np.exp(-(x**4)), -4, 4)[0]
    exact = quad(lambda x: x**2 * np.exp(-(x**4)), -4, 4)[0] / norm
    values, _ = time_averages(build(energy), lambda w: jnp.mean(w**2)[None], jnp.full(4, 0.3), steps=steps)
    assert_agrees(replicate_mean(values[:, 0]), exact, resolution=0.01, false_fail=FALSE_FAIL)


def test_a_rejected_proposal_leaves_the_state():
    """At a hundred times the stable step nearly all of 200 proposals are rejected, and the law does not run away."""
    sampler = mala(lambda w, batch: jnp.sum(w**4), step_size=30.0)
    state = sampler.init(jnp.full(4, 0.3), ())
    rates = []
    for i in range(200):
        state, info = jax.jit(sampler.step)(jax.random.key(i), state, ())
        rates.append(float(info.acceptance_rate))
    assert np.mean(rates) < 0.01
    assert np.abs(state.position).max() < 3


def test_mass_matrix_scales_the_steps():
    """With the inverse mass of the target, one HMC step size serves scales 1 and 1000 apart; resolution 5 %."""
    scale = jnp.array([1.0, 1000.0])

    def energy(w, batch):
        return 0.5 * jnp.sum((w / scale) ** 2)

    sampler = hmc(energy, step_size=0.5, num_integration_steps=4, inverse_mass_matrix=scale**2)
    values, _ = time_averages(sampler, lambda w: (w / scale) ** 2, jnp.zeros(2), steps=1000)
    for i in range(2):
        assert_agrees(replicate_mean(values[:, i]), 1.0, resolution=0.05, false_fail=FALSE_FAIL)
