import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_agrees
from scipy import stats

from slt.geometry.exponent import on_grid
from slt.samplers.splitting import splitting
from slt.stats.replicates import replicate_mean


def build(potential, dim, **options):
    options = {"lowest": 1e-6, "num_particles": 128, "num_replicates": 24, "num_moves": 24} | options
    return splitting(
        potential, lambda w: -0.5 * jnp.sum(w**2), lambda key: jax.random.normal(key, (dim,), np.float64), **options
    )


@pytest.fixture(scope="module")
def descend():
    """seed -> ladder of |w|^2 in two dimensions, whose law is chi-square; compiled once."""
    with jax.enable_x64(True):
        smc = build(lambda w: jnp.sum(w**2), 2)

    def at(seed):
        with jax.enable_x64(True):
            return jax.tree.map(np.asarray, smc(jax.random.key(seed)))

    return at


@pytest.mark.parametrize("level", [1e-1, 1e-3, 1e-5])
def test_chi_square_probabilities_over_four_decades(descend, level):
    ladder = descend(0)
    found = replicate_mean(on_grid(ladder.log_epsilon, ladder.log_volume, np.log([level]))[:, 0])
    # log V of a replicate has variance log2(1/V)/128, and 24 replicates
    assert_agrees(found, stats.chi2(2).logcdf(level), resolution=0.5, false_fail=1e-4)
    assert (ladder.stop == 0).all()


def test_replicates_differ_by_as_much_as_splitting_must(descend):
    ladder = descend(0)
    spread = on_grid(ladder.log_epsilon, ladder.log_volume, np.log([1e-5])).std(ddof=1)
    least = math.sqrt(math.log2(2e5) / 128)  # of independent draws, one halving after the other
    assert 0.7 * least < spread < 2.5 * least


def test_replicates_are_independent_and_a_key_gives_the_same_ladder(descend):
    one, two = descend(5), descend(5)
    np.testing.assert_array_equal(one.log_epsilon, two.log_epsilon)
    assert len(np.unique(one.log_epsilon[:, 0])) == 24


def test_an_open_set_of_zeros_is_a_plateau():
    with jax.enable_x64(True):
        smc = build(lambda w: jnp.maximum(jnp.sum(w**2) - 0.01, 0.0), 1, num_replicates=8)
        flat = jax.tree.map(np.asarray, smc(jax.random.key(0)))
    assert (flat.stop == 3).all()
    exact = stats.chi2(1).logcdf(0.01)
    reached = np.nanmin(flat.log_volume, axis=1)
    assert abs(reached - exact).max() < 1.5  # within two halvings of the volume at which K becomes 0


def test_round_off_ends_a_run():
    with jax.enable_x64(False):
        noisy = splitting(
            lambda w: (w[0] - 1.0) ** 2,
            lambda w: -0.5 * jnp.sum(w**2),
            lambda key: jax.random.normal(key, (1,)),
            lowest=1e-30,
            num_particles=256,
            num_replicates=4,
        )(jax.random.key(0))
    assert (np.asarray(noisy.stop) == 2).all()
    assert np.nanmin(np.asarray(noisy.log_epsilon)) > math.log(1e-13)


def test_a_weighted_prior():
    # density |w| on [-1, 1]: P(w^2 < e) = e
    with jax.enable_x64(True):
        smc = splitting(
            lambda w: w[0] ** 2,
            lambda w: jnp.where(abs(w[0]) <= 1, jnp.log(abs(w[0])), -jnp.inf),
            lambda key: jax.random.uniform(key, (1,), np.float64, minval=-1, maxval=1),
            log_weight=lambda w: jnp.log(abs(w[0])),
            lowest=1e-6,
            num_particles=128,
            num_replicates=12,
            num_moves=24,
        )
        ladder = jax.tree.map(np.asarray, smc(jax.random.key(3)))
    found = on_grid(ladder.log_epsilon, ladder.log_volume, np.log([1e-1, 1e-5]))
    for column, exact in zip(found.T, np.log([1e-1, 1e-5]), strict=True):
        assert_agrees(replicate_mean(column), float(exact), resolution=1.0, false_fail=1e-4)


@pytest.mark.parametrize(
    "options", [{"num_replicates": 1}, {"num_particles": 16}, {"num_particles": 65}, {"lowest": 0}]
)
def test_bad_input_is_refused(options):
    with pytest.raises(ValueError, match="splitting"):
        build(lambda w: jnp.sum(w**2), 1, **options)
