"""What may not be called converged: regions that the prior misses, rounding, and draws that do not differ."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_agrees
from store.test_store import make_result

from slt._types import Estimate
from slt.draws import Options
from slt.estimate.llc import estimate_llc
from slt.estimate.verdict import objection, rounding, same_everywhere
from slt.targets.target import loss_target, potential_target

FALSE_FAIL = 1e-4
OPTIONS = Options(0, 0.01, 100_000, 2, 100, progress=False)


def test_a_hole_that_no_draw_of_the_prior_sees_is_found_from_w():
    """K = 1 − exp(−r²/2s²) in 5 dimensions, s = .03: the hole is 1e-7 of the prior and all of the posterior."""
    s, dim, nbeta = 0.03, 5, 200.0
    r = np.geomspace(1e-8, 12, 400_000)
    energy = -nbeta * np.expm1(-(r**2) / (2 * s**2))
    mass = np.exp(-energy - r**2 / 2) * r ** (dim - 1)
    exact = np.trapezoid(mass * energy, r) / np.trapezoid(mass, r)
    target = potential_target(lambda w: 1 - jnp.exp(-jnp.sum(w**2) / (2 * s**2)), np.zeros(dim), nbeta=nbeta)
    result = estimate_llc(target)
    assert result.verdict.status == "converged"
    assert_agrees(result.estimates["llc"], exact, resolution=0.05, false_fail=FALSE_FAIL)


@pytest.mark.slow
def test_two_phases_of_which_the_prior_sees_one():
    """A narrow well at w* that holds all of the mass in 10 dimensions, beside a wide one that is 0.05 higher."""
    dim, a, eps, nbeta = 10, 400.0, 0.05, 1e3
    there = np.zeros(dim)
    there[0] = 2.0
    own = -dim / 2 * np.log(a * nbeta + 1)
    other = -nbeta * eps - dim / 2 * np.log(nbeta + 1) - 0.5 * nbeta / (nbeta + 1) * 4
    share = 1 / (1 + np.exp(other - own))
    exact = share * dim / 2 + (1 - share) * (nbeta * eps + dim / 2)

    def two_wells(w):
        return jnp.minimum(0.5 * a * jnp.sum(w**2), eps + 0.5 * jnp.sum((w - there) ** 2))

    result = estimate_llc(potential_target(two_wells, np.zeros(dim), nbeta=nbeta))
    assert result.verdict.status == "converged"
    assert_agrees(result.estimates["llc"], exact, resolution=0.1, false_fail=FALSE_FAIL)


def test_potentials_are_computed_in_float64():
    """A constant of 1e4, and a width of 1e-4 at 1e4: in float32 both are below the last digit; d/2 = 1."""
    target = potential_target(lambda w: 1e4 + 0.5 * jnp.sum((w - 1e4) ** 2), np.full(2, 1e4), nbeta=1e8)
    assert not jax.config.read("jax_enable_x64")
    result = estimate_llc(target)
    assert result.verdict.status == "converged"
    assert_agrees(result.estimates["llc"], 1.0, resolution=0.03, false_fail=FALSE_FAIL)


def regression(scale, offset=0.0, shift=0.0):
    """Least squares at its optimum, d = 2, targets of that scale, a constant in every loss, and an optimum shifted."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 2)).astype(np.float32)
    y = (scale * rng.normal(size=3000)).astype(np.float32)
    optimum = np.linalg.lstsq(x.astype(float), y.astype(float), rcond=None)[0] + shift

    def loss(w, rows):
        return offset + 0.5 * (rows[1] - rows[0] @ (w - shift)) ** 2

    return loss_target(loss, optimum.astype(np.float32), (x, y), localization=1.0)


@pytest.mark.parametrize(
    ("case", "least", "most"),
    [
        ({"scale": 1.0}, 0, 1e-3),
        ({"scale": 1e4}, 0.3, 100),
        ({"scale": 1.0, "offset": 1e7}, 0.3, 100),
        ({"scale": 1.0, "shift": 1e6}, 0.3, 100),
        ({"scale": 0.0, "offset": 1e6}, 0.8, 1.5),
    ],
)
def test_rounding_of_losses_and_positions_in_float32(case, least, most):
    """n beta = 375: 375·5e7·6e-8/√3000 = 20 nats, 375·1e7·6e-8/√3000 = 4, and steps of 0.06 where the width is 0.05.

    Where all losses at w* are 1e6 alike, what is below .06 is lost in all of them alike: the whole nat.
    """
    assert least <= rounding(regression(**case)) < most


def test_what_rounding_hides_is_not_called_a_minimum_that_is_none():
    """−41 ± 0.4 in float32, where the truth is 1: the sentence is on rounding, and the remedy is float64."""
    result = make_result()._replace(estimates={"llc": Estimate(-41.0, 0.4, 15)})
    verdict, found = objection(regression(1e4), result, OPTIONS)
    assert verdict is not None
    assert verdict.status == "not converged"
    assert "Rounding in float32" in verdict.reasons[0]
    assert "jax_enable_x64" in verdict.reasons[0]
    assert found["rounding"] > 0.3


def test_a_constant_that_float64_cannot_hold_is_refused():
    target = potential_target(lambda w: 1e20 + jnp.sum(w**2), np.zeros(2), nbeta=1e3)
    result = make_result()._replace(estimates={"llc": Estimate(1.0, 0.01, 15)})
    verdict, _ = objection(target, result, OPTIONS)
    assert verdict is not None
    assert "Subtract the constant" in verdict.reasons[0]


def test_draws_that_do_not_differ_are_no_estimate():
    assert same_everywhere(np.full((2, 4), 7.0), Estimate(7.0, 0.0, 1))
    assert same_everywhere(np.array([[1.0, 2.0], [2.0, 1.0]]), Estimate(1.5, 0.0, 1))
    assert not same_everywhere(np.array([[1.0, 2.0], [2.0, 1.5]]), Estimate(1.6, 0.1, 1))
    result = estimate_llc(potential_target(lambda w: 3.0 + 0.0 * w[0], np.zeros(1), nbeta=10.0))
    assert result.verdict.status == "not converged"
    assert "same energy" in result.verdict.reasons[0]


def test_a_tolerance_is_of_the_size_of_the_estimate_and_at_least_of_a_quarter():
    asked = OPTIONS.asked
    assert asked(Estimate(-41.0, 0.4)) == pytest.approx(0.41)
    assert asked(Estimate(-0.1, 0.4)) == asked(Estimate(0.0, 0.4)) == pytest.approx(0.0025)
    assert OPTIONS.unmet(Estimate(5.6, 0.0561)) == ()
    assert "above the 0.056 asked" in OPTIONS.unmet(Estimate(5.6, 0.07))[0]
