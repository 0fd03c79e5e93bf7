import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_agrees

from slt._types import Estimate
from slt.studies.smoothing import codimension, codimension_curve, end_to_end, linearised_kl, smoothed_kl
from slt.targets.gaussian import gaussian_law

KEY = jax.random.key(0)
PRIOR = gaussian_law([0.5, -1.0, 2.0], [1.0, 0.5, 2.0])


def gaussian_points(num, stds, seed=0):
    """Draws whose whitened coordinates are N(0, stds^2)."""
    noise = np.random.default_rng(seed).normal(size=(num, 3))
    return PRIOR.mean + PRIOR.std * np.asarray(stds) * noise


def gaussian_kl(stds):
    square = np.asarray(stds) ** 2
    return 0.5 * np.sum(square - 1 - np.log(square))


@pytest.mark.parametrize("scale", [0.3, 0.6])
def test_the_sandwich_closes_on_the_divergence_of_a_smoothed_gaussian(scale):
    stds = np.array([0.5, 0.7, 0.2])
    exact = gaussian_kl(np.sqrt(stds**2 + scale**2))
    loo, mixture, components = smoothed_kl(KEY, gaussian_points(1500, stds), PRIOR, scale=scale)[1:]
    assert (loo.side, mixture.side, components.side) == ("lower", "upper", "upper")
    assert loo.value.value < mixture.value.value < components.value.value
    assert loo.value.value - 5 * loo.value.mcse < exact < mixture.value.value + 5 * mixture.value.mcse
    assert mixture.value.value - loo.value.value < 0.2  # and it is tight where the points overlap
    want = 0.5 * np.sum(stds**2) + 1.5 * scale**2 - 1.5 - 3 * np.log(scale)
    assert_agrees(components.value, want, resolution=0.2, false_fail=1e-6)


def test_points_that_do_not_overlap_are_worth_ln_n_and_leaving_one_out_breaks_down():
    points = gaussian_points(50, [1.0, 1.0, 1.0])
    loo, mixture, components = smoothed_kl(KEY, points, PRIOR, scale=1e-3, draws_per_point=64)[1:]
    assert mixture.value.value == pytest.approx(components.value.value - np.log(50), abs=0.5)
    assert loo.value.value < -1000  # the lower bound of a mixture that leaves its own point out


def test_the_linearised_divergence_is_exact_for_linear_training():
    """w_T = A w_0: KL_lin is the divergence of a Gaussian, whatever the smoothing."""
    law = gaussian_law(np.zeros(2), [1.0, 2.0])
    prior = gaussian_law(np.zeros(2), [1.5, 1.0])
    curvature = np.array([[1.0, 0.3], [0.3, 0.5]])
    start = np.sqrt(2) * np.concatenate([np.diag(law.std), -np.diag(law.std)])
    end, values = end_to_end(
        lambda w, batch: 0.5 * w @ batch @ w, start, curvature, law=law, prior=prior, step_size=0.2, steps=9
    )
    a = np.linalg.matrix_power(np.eye(2) - 0.2 * curvature, 9)
    np.testing.assert_allclose(end, start @ a.T, rtol=1e-10)
    scaled = np.diag(1 / prior.std) @ a @ np.diag(law.std)
    np.testing.assert_allclose(values[0], np.linalg.svd(scaled)[1], rtol=1e-10)
    cov = scaled @ scaled.T + 0.3**2 * np.eye(2)
    exact = 0.5 * (np.trace(cov) - 2 - np.linalg.slogdet(cov)[1])
    have = linearised_kl(end, values, prior, 0.3)
    assert have.value.value == pytest.approx(exact, rel=1e-10)
    assert have.side == "none"


def test_the_slope_counts_contracted_directions():
    law = gaussian_law(np.zeros(4), 1.0)
    start = law.draw(KEY, 6)
    hessian = jnp.array([2.0, 1.0, 0.5, 0.0])  # three directions confined, one free
    end, values = end_to_end(
        lambda w, batch: 0.5 * jnp.sum(hessian * w**2), start, (), law=law, prior=law, step_size=0.3, steps=150
    )
    scales = np.geomspace(1e-7, 0.1, 13)
    kls = [linearised_kl(end, values, law, s).value for s in scales]
    measured = codimension(scales, kls)
    assert measured.status == "plateau"
    assert measured.slope.value == pytest.approx(3, abs=0.05)
    curve = codimension_curve(values, scales)
    np.testing.assert_allclose([c.value for c in curve[4:-1]], 3, atol=0.05)
    slopes = -np.gradient([k.value for k in kls], np.log(scales))
    np.testing.assert_allclose(slopes[5:-1], [c.value for c in curve[5:-1]], atol=0.03)


def test_a_curve_without_plateau_says_so():
    scales = np.geomspace(1e-3, 0.5, 8)
    measured = codimension(scales, [Estimate(np.log(s) ** 2, 0.0) for s in scales])
    assert measured.status == "no plateau"
    assert "without a plateau" in measured.reason


def test_wrong_calls():
    points = gaussian_points(10, [1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="between 0 and 1"):
        smoothed_kl(KEY, points, PRIOR, scale=1.5)
    with pytest.raises(ValueError, match="at least 3 finite points"):
        smoothed_kl(KEY, points[:2], PRIOR, scale=0.5)
    with pytest.raises(ValueError, match="at least 4"):
        codimension([0.1, 0.2], [Estimate(1.0, 0.0)] * 2)
