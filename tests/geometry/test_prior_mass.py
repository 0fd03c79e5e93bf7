import math

import numpy as np
import pytest
from scipy import integrate, special, stats

from slt.geometry.prior_mass import log_prior_mass, tilt


@pytest.mark.parametrize(
    ("dim", "threshold", "shift"), [(1, 0.1, 0.0), (1, 1e-8, 3.0), (2, 5.0, 2.0), (3, 1e-6, 0.0), (10, 0.5, 0.3)]
)
def test_equal_eigenvalues_give_the_chi_square_law(dim, threshold, shift):
    h, offset, scale = np.full(dim, 2.0), np.full(dim, shift), 0.5
    law = stats.ncx2(dim, dim * shift**2 / scale**2) if shift else stats.chi2(dim)
    exact = law.logcdf(2 * threshold / (2.0 * scale**2))
    assert log_prior_mass(h, threshold=threshold, scale=scale, offset=offset) == pytest.approx(exact, abs=1e-10)


@pytest.mark.parametrize("dim", [1000, 10_000])
def test_it_stays_exact_where_the_probability_underflows(dim):
    x = 0.1  # P(a, x) = x^a exp(-x) / Gamma(a + 1) * (1 + x/(a+1) + x^2/((a+1)(a+2)) + ...)
    a = dim / 2
    series = 1 + x / (a + 1) + x**2 / ((a + 1) * (a + 2)) + x**3 / ((a + 1) * (a + 2) * (a + 3))
    exact = a * math.log(x) - x - special.gammaln(a + 1) + math.log(series)
    assert log_prior_mass(np.full(dim, 2.0), threshold=2 * x, scale=1.0) == pytest.approx(exact, rel=1e-12)


def test_unequal_eigenvalues_and_a_far_centre_agree_with_quadrature():
    h, offset, threshold = np.array([3.0, 0.01]), np.array([0.5, 2.0]), 0.01
    half = math.sqrt(2 * threshold / h[1])

    def edge(y):
        return math.sqrt(max(0.0, (2 * threshold - h[1] * y * y) / h[0]))

    def density(x, y):
        return math.exp(-0.5 * ((x + offset[0]) ** 2 + (y + offset[1]) ** 2)) / (2 * math.pi)

    exact = integrate.dblquad(density, -half, half, lambda y: -edge(y), edge, epsabs=1e-14)[0]
    found = log_prior_mass(h, threshold=threshold, scale=1.0, offset=offset)
    assert found == pytest.approx(math.log(exact), abs=1e-9)


def test_flat_directions_cost_nothing():
    one = log_prior_mass(np.array([2.0]), threshold=0.3, scale=1.0)
    many = log_prior_mass(np.array([0.0, 2.0, 0.0]), threshold=0.3, scale=1.0, offset=np.array([5.0, 0.0, 1.0]))
    assert many == pytest.approx(one, abs=1e-12)
    assert log_prior_mass(np.zeros(3), threshold=0.3, scale=1.0) == 0.0


def test_the_tilted_gaussian_sits_on_the_ellipsoid():
    h = np.array([10.0, 1.0, 1e-3, 0.0])
    s = tilt(h, threshold=1e-4, scale=2.0)
    height = 0.5 * np.sum(h / (s * h + 0.25))
    assert height == pytest.approx(1e-4 - 1 / s, rel=1e-9)  # the saddle of K(s) + sT - log s


def test_a_negative_eigenvalue_is_refused():
    with pytest.raises(ValueError, match="negative"):
        log_prior_mass(np.array([1.0, -0.1]), threshold=0.1, scale=1.0)
