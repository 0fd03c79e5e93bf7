import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_agrees

from slt import potential_target
from slt._types import Estimate
from slt.geometry.local import eigenbasis, local_loss
from slt.geometry.prior_mass import log_prior_mass
from slt.geometry.radial_integral import log_radial_integral
from slt.geometry.rays import radial_volume
from slt.geometry.volume import log_ellipsoid
from slt.targets.gaussian import Gaussian


def view(potential, minimum):
    target = potential_target(potential, jnp.asarray(minimum, float), nbeta=1.0)
    return local_loss(target), eigenbasis(target)


def radial(potential, minimum, seed=0, **options):
    local, basis = view(potential, minimum)
    return radial_volume(jax.random.key(seed), local, basis, **options)


def quadratic(h):
    h = jnp.asarray(h, float)
    return lambda w: 0.5 * jnp.sum(h * w**2)


@pytest.mark.parametrize(
    ("dim", "a", "b", "radius", "exact"),
    [
        (3, 0.0, 0.0, 2.0, math.log(8 / 3)),
        (2, 2.0, 0.0, np.inf, math.log(0.5)),
        (1, 0.0001, 0.0, 1e9, 0.5 * math.log(math.pi / 2 / 1e-4)),
        (4, 1.0, 0.0, 1.0, math.log(2 - 3 * math.exp(-0.5))),
        (10, 1.0, 0.0, np.inf, math.log(2**4 * 24)),
    ],
)
def test_radial_integrals_in_closed_form(dim, a, b, radius, exact):
    assert float(log_radial_integral(dim, a, b, radius)) == pytest.approx(exact, abs=1e-11)


@pytest.mark.parametrize("seed", [0, 1])
def test_an_ellipsoid_has_no_spread_at_all_without_an_initialisation(seed):
    h = np.array([100.0, 1.0, 0.01])
    row = radial(quadratic(h), np.zeros(3), seed, threshold=0.02)
    assert row.log_volume == pytest.approx(log_ellipsoid(np.log(h).sum(), 3, threshold=0.02), abs=1e-6)
    assert row.error < 1e-6


@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_an_ellipsoid_under_an_initialisation_centred_anywhere(shift):
    h, T = np.array([50.0, 3.0, 0.2, 0.0, 0.0]), 0.01
    local, basis = view(quadratic(h), np.full(5, 0.3))
    # the minimum of the potential is 0: move it to w* = 0.3 by hand
    local, basis = view(lambda w: quadratic(h)(w - 0.3), np.full(5, 0.3))
    offset = shift * basis.vectors.T @ np.ones(5)
    row = radial_volume(jax.random.key(1), local, basis, threshold=T, prior=Gaussian(-offset, 0.8), num_rays=2000)
    exact = log_prior_mass(np.maximum(basis.values, 0), threshold=T, scale=0.8, offset=offset)
    assert_agrees(Estimate(row.log_volume, row.error), exact, resolution=0.3, false_fail=1e-5)


def test_a_quartic_agrees_with_quadrature():
    # P(w^4 < T) under N(0, s^2): the Hessian is zero and of no help
    T, s = 1e-4, 0.5
    row = radial(lambda w: w[0] ** 4, [0.0], threshold=T, prior=Gaussian(0.0, s))
    assert row.log_volume == pytest.approx(math.log(math.erf(T**0.25 / s / math.sqrt(2))), abs=1e-8)


def test_a_crossing_is_star_shaped_and_found():
    # {|xy| < e}: P = 1/pi int K_0(|t|) over |t| < e/s^2, the density of a product of normals
    from scipy import integrate, special

    T, s = 1e-4, 1.0
    exact = math.log(2 / math.pi * integrate.quad(special.k0, 0, math.sqrt(T) / s**2)[0])
    row = radial(lambda w: (w[0] * w[1]) ** 2, [0.0, 0.0], threshold=T, prior=Gaussian(0.0, s), num_rays=8000)
    assert_agrees(Estimate(row.log_volume, row.error), exact, resolution=0.5, false_fail=1e-5)


def test_one_dominating_ray_is_refused():
    # a needle: the volume lies in directions within 1e-3 of an axis that the Hessian does not know
    def needle(w):
        return 1e3 * (w @ w) ** 2 * (1 - w[0] ** 2 / (w @ w + 1e-30) + 1e-9)

    row = radial(needle, np.full(6, 0.0) + 1e-12, threshold=1e-8, prior=Gaussian(0.0, 1.0), num_rays=200)
    assert math.isinf(row.error)
    assert "lower bound" in row.reason


def test_what_is_not_star_shaped_is_said():
    def ring(w):
        return jnp.sin(6 * w @ w) ** 2

    row = radial(ring, [1e-8, 0.0], threshold=0.5, prior=Gaussian(0.0, 1.0))
    assert "star-shaped" in row.reason


def test_flat_directions_need_an_initialisation():
    with pytest.raises(ValueError, match=r"flat in 1 of 2.*Gaussian"):
        radial(quadratic([1.0, 0.0]), np.zeros(2), threshold=0.1)
    with pytest.raises(ValueError, match="at least 50"):
        radial(quadratic([1.0, 1.0]), np.zeros(2), threshold=0.1, num_rays=3)


def test_a_hessian_that_is_not_finite_is_refused():
    target = potential_target(lambda w: jnp.sum(jnp.abs(w) ** 1.5), jnp.zeros(2), nbeta=1.0)
    with pytest.raises(ValueError, match="not finite"):
        eigenbasis(target)
