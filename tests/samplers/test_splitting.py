import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_agrees
from scipy import stats

from slt.estimators.llc import replicate_mean
from slt.geometry.volume_scaling import on_grid
from slt.samplers.splitting import splitting


def run(potential, dim, *, seed=0, **options):
    options = {"lowest": 1e-8, "num_particles": 128, "num_replicates": 12, "num_moves": 24} | options
    with jax.enable_x64(True):
        smc = splitting(
            potential, lambda w: -0.5 * jnp.sum(w**2), lambda key: jax.random.normal(key, (dim,), np.float64), **options
        )
        return jax.tree.map(np.asarray, smc(jax.random.key(seed)))


@pytest.mark.parametrize("dim", [1, 4])
def test_chi_square_probabilities_over_eight_decades(dim):
    ladder = run(lambda w: jnp.sum(w**2), dim)
    levels = np.log([1e-2, 1e-4, 1e-7])
    found = on_grid(ladder.log_epsilon, ladder.log_volume, levels)
    for column, level in zip(found.T, levels, strict=True):
        exact = stats.chi2(dim).logcdf(math.exp(level))
        # log V of a replicate has variance log2(1/V)/128
        assert_agrees(replicate_mean(column), exact, resolution=1.5, false_fail=1e-4)
    assert (ladder.stop == 0).all()


def test_replicates_differ_by_as_much_as_splitting_must():
    ladder = run(lambda w: jnp.sum(w**2), 2, num_replicates=24, lowest=1e-6)
    spread = on_grid(ladder.log_epsilon, ladder.log_volume, np.log([1e-5])).std(ddof=1)
    least = math.sqrt(math.log2(1e5) / 128)  # of independent draws, one halving after the other
    assert 0.7 * least < spread < 2.5 * least


def test_a_degenerate_start_is_no_plateau_but_an_open_zero_set_is():
    flat = run(lambda w: jnp.maximum(jnp.sum(w**2) - 0.01, 0.0), 1)
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


def test_replicates_are_independent_and_a_key_gives_the_same_ladder():
    one, two = (run(lambda w: jnp.sum(w**2), 2, lowest=1e-2, num_replicates=4, seed=5) for _ in range(2))
    np.testing.assert_array_equal(one.log_epsilon, two.log_epsilon)
    assert len(np.unique(one.log_epsilon[:, 0])) == 4


@pytest.mark.parametrize(
    "options", [{"num_replicates": 1}, {"num_particles": 16}, {"num_particles": 65}, {"lowest": 0}]
)
def test_bad_input_is_refused(options):
    with pytest.raises(ValueError, match="splitting"):
        run(lambda w: jnp.sum(w**2), 1, **options)
