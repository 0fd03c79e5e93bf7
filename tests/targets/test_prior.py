"""Priors: what a temperature and a localisation make of each, by hand; nothing of a prior may be lost on the way."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from helpers import assert_agrees
from scipy import special, stats

import slt
from slt.estimate.calibration import _at
from slt.estimate.volume import posterior_volume
from slt.targets.prior import box_prior, gaussian_prior, model_prior, weighted
from slt.targets.target import at_temperature

Y = np.random.default_rng(0).normal(1.0, 1.0, 10).astype("float32")
COVARIANCE = np.array([[1.0, 0.9], [0.9, 2.0]])
AT = jnp.array([0.3, -0.2])


def correlated(w):
    return dist.MultivariateNormal(jnp.array([3.0, 0.0]), jnp.asarray(COVARIANCE)).log_prob(w)


def weight(w):
    return jnp.sin(3 * w[0])


CENTER = jnp.array([1.0, 0.5])
GAMMA = 2.0
BY_HAND = {
    "gaussian": (
        gaussian_prior(CENTER, GAMMA, 5.0, 0.1),
        lambda w, beta, gamma: -gamma / 2 * np.sum((w - CENTER) ** 2) - beta * 5 / 2 * np.sum(w**2),
    ),
    "weighted": (
        weighted(gaussian_prior(CENTER, GAMMA), weight),
        lambda w, beta, gamma: -gamma / 2 * np.sum((w - CENTER) ** 2) + np.sin(3 * w[0]),
    ),
    "model": (
        model_prior(correlated, None, CENTER, GAMMA),
        lambda w, beta, gamma: (
            stats.multivariate_normal([3.0, 0.0], COVARIANCE).logpdf(w) - gamma / 2 * np.sum((w - CENTER) ** 2)
        ),
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize(("beta", "gamma"), [(0.1, None), (1.0, None), (0.3, 7.0), (0.3, 0.0)])
def test_a_prior_at_another_temperature_and_localisation(name, beta, gamma):
    prior, by_hand = BY_HAND[name]
    moved = prior.at(beta, gamma)
    expected = by_hand(AT, beta, GAMMA if gamma is None else gamma)
    zero = by_hand(CENTER, beta, GAMMA if gamma is None else gamma)
    found = moved.log_density(AT) - moved.log_density(CENTER)  # constants are free
    assert float(found) == pytest.approx(float(expected - zero), rel=1e-4)
    assert moved.localization == (GAMMA if gamma is None else gamma)


def test_a_box_stays_and_takes_no_localisation():
    prior = box_prior((-1.0, 2.0), CENTER)
    assert prior.at(3.0) is prior
    with pytest.raises(ValueError, match="uniform on a box"):
        prior.at(3.0, 1.0)


@pytest.mark.parametrize("dim", [2, 600])
def test_the_mean_curvature_is_that_of_a_correlated_prior(dim):
    """Ones alone as a probe see the sum of all entries of the precision, here 300 times its trace."""
    matrix = np.full((dim, dim), 0.5) + np.eye(dim)
    prior = model_prior(lambda w: -0.5 * w @ jnp.asarray(matrix, w.dtype) @ w, None, jnp.zeros(dim), 0.0)
    assert prior.precision == pytest.approx(1.5, rel=1e-4 if dim == 2 else 0.25)


def normal(y):
    m = numpyro.sample("m", dist.Normal(3.0, 0.2))
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", dist.Normal(m, 1.0), obs=y)


def test_the_fluctuation_of_a_comparison_is_of_the_model_s_prior():
    """m ~ N(3, 0.2^2), 10 data from N(m, 1): nu(1) in closed form; beta of the target is 1/log n, compare takes 1."""
    precision = 1 / 0.2**2 + 10
    mean, variance = (3 / 0.2**2 + Y.sum()) / precision, 1 / precision
    exact = np.sum((Y - mean) ** 2 * variance + variance**2 / 2) / 2
    for target in (slt.numpyro_target(normal, Y), slt.numpyro_target(normal, Y, inverse_temperature=1.0)):
        row = slt.compare(target, measures=["criteria"], options={"criteria": {"tolerance": 0.03}}).value(
            "minimum", "ν"
        )
        assert row.status == "converged"
        assert abs(row.value - exact) < 5 * row.error < 0.1


def test_a_model_keeps_its_prior_at_another_temperature():
    target = slt.numpyro_target(normal, Y, localization=2.0)
    moved = at_temperature(target, 1.0)
    u, v = {"m": jnp.array(2.0)}, {"m": jnp.array(2.7)}
    energy = [
        0.5 * np.sum((Y - m) ** 2) - stats.norm(3, 0.2).logpdf(m) + (m - float(target.minimum["m"])) ** 2
        for m in (2.0, 2.7)
    ]
    assert float(moved.energy(u, moved.data) - moved.energy(v, moved.data)) == pytest.approx(
        energy[0] - energy[1], rel=1e-3
    )
    start = float(target.minimum["m"])
    slope = (np.sum(start - Y) + (start - 3) / 0.04) / 10  # w* is the mode at 1/log n, and not at 1
    assert moved.gradient_norm == pytest.approx(abs(slope), rel=1e-3)


def test_a_calibration_s_cells_keep_the_prior():
    target = slt.numpyro_target(normal, Y, localization=2.0)
    energy, step = _at(target, 5.0, 20.0, jax.random.key(0))
    built = slt.numpyro_target(normal, Y, localization=5.0, inverse_temperature=2.0, minimum=target.minimum)
    u, v = {"m": jnp.array(2.0)}, {"m": jnp.array(2.7)}
    moved = energy(u, target.data) - energy(v, target.data)
    assert float(moved) == pytest.approx(float(built.energy(u, built.data) - built.energy(v, built.data)), rel=1e-3)
    assert step == pytest.approx(0.6 / np.sqrt(20 + 25 + 5), rel=0.05)


def test_closed_forms_refuse_what_is_no_gaussian():
    target = slt.numpyro_target(normal, Y, localization=2.0)
    with pytest.raises(ValueError, match=r"posterior_volume.*the model's own.*splitting"):
        posterior_volume(target)
    rows = {row.treatment: row for row in slt.basin_volumes(target, estimators=["hessian", "radial"])}
    for name in ("fuzzy ellipsoid", "ellipsoid", "radial, star-shaped"):
        assert np.isnan(rows[name].log_volume)
        assert "the model's own" in rows[name].reason


def test_the_volume_of_a_model_is_under_its_prior():
    """{m: L(m) - L(m*) < T} is an interval about the mean of the data; its mass under N(3, 0.2^2)."""
    target = slt.numpyro_target(normal, Y, inverse_temperature=1.0)
    options = {"num_particles": 1024, "num_replicates": 12}
    (row,) = slt.basin_volumes(target, threshold=0.02, estimators=["splitting"], **options)
    mode, mean = float(target.minimum["m"]), Y.mean()
    low, high = mean - np.array([1, -1]) * np.sqrt((mode - mean) ** 2 + 2 * 0.02)
    exact = np.log(stats.norm(3, 0.2).cdf(high) - stats.norm(3, 0.2).cdf(low))
    assert abs(row.log_volume - exact) < 5 * row.error < 0.3


def test_the_free_energy_under_a_constrained_prior():
    """p ~ Beta(2, 3), k of 20 heads: Z is a ratio of beta functions."""
    heads = (np.arange(20) < 6).astype(int)

    def model(y):
        p = numpyro.sample("p", dist.Beta(2.0, 3.0))
        with numpyro.plate("data", len(y)):
            numpyro.sample("y", dist.Bernoulli(probs=p), obs=y)

    target = slt.numpyro_target(model, heads, inverse_temperature=1.0)
    found = slt.estimate_free_energy(target, num_particles=256, num_replicates=8)
    exact = special.betaln(2, 3) - special.betaln(8, 17) - 20 * target.loss_at_minimum
    assert_agrees(found.estimates["free_energy"], exact, resolution=0.3, false_fail=1e-4)
