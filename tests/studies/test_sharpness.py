import math

import numpy as np
import pytest
from scipy.special import logsumexp

from slt.geometry.volume import log_ellipsoid
from slt.studies.sharpness import radius_growth, radius_log_volumes, spread_spectrum


def test_radii_are_unbiased():
    h = np.array([1.0, 1.0, 3.0])
    draws = radius_log_volumes(np.random.default_rng(0), h, threshold=0.1, num_directions=40_000)
    exact = log_ellipsoid(float(np.log(h).sum()), 3, threshold=0.1)
    # a standard error of about 0.25 %; fails once in 10^6
    assert logsumexp(draws) - math.log(draws.size) == pytest.approx(exact, abs=0.0125)


def test_the_median_estimate_grows_with_the_number_of_directions_and_stays_below():
    h = np.repeat(np.logspace(-3, 0, 20), 50)
    growth = radius_growth(np.random.default_rng(0), h, (1, 10, 100, 1000), repetitions=40)
    assert (np.diff(growth.median) > 10).all()  # nats
    assert (growth.high < -100).all()
    assert growth.dim == 1000


def test_one_trace_many_volumes():
    spectra = [spread_spectrum(100, decades) for decades in (0, 3, 6)]
    np.testing.assert_allclose([h.sum() for h in spectra], 100)
    volumes = [-0.5 * np.log(h).sum() for h in spectra]
    assert volumes[2] - volumes[0] > 200


def test_a_singular_ellipsoid_is_refused():
    with pytest.raises(ValueError, match="positive definite"):
        radius_growth(np.random.default_rng(0), np.array([0.0, 1.0]), (1,))
