import numpy as np
import pytest
from helpers import assert_agrees
from scipy import stats

from slt._types import Estimate


def test_a_precise_right_estimate_passes():
    assert_agrees(Estimate(1.02, 0.01), 1.0, resolution=0.1, false_fail=1e-3)


@pytest.mark.parametrize("mcse", [0.1, np.inf, np.nan])
def test_a_noisy_estimate_fails_however_close(mcse):
    with pytest.raises(AssertionError, match="too noisy"):
        assert_agrees(Estimate(1.0, mcse), 1.0, resolution=0.1, false_fail=1e-3)


def test_few_degrees_of_freedom_count_as_noise():
    assert_agrees(Estimate(1.0, 0.01, dof=1e6), 1.0, resolution=0.1, false_fail=1e-3)
    with pytest.raises(AssertionError, match="too noisy"):
        assert_agrees(Estimate(1.0, 0.01, dof=2), 1.0, resolution=0.1, false_fail=1e-3)


@pytest.mark.parametrize("value", [1.05, 0.95, np.nan])
def test_a_wrong_estimate_fails(value):
    with pytest.raises(AssertionError, match="wrong by"):
        assert_agrees(Estimate(value, 0.01), 1.0, resolution=0.1, false_fail=1e-3)


def test_an_error_of_zero_allows_no_gap():
    assert_agrees(Estimate(1.0, 0.0), 1.0, resolution=0.1, false_fail=1e-3)
    with pytest.raises(AssertionError, match="wrong by inf"):
        assert_agrees(Estimate(1.0 + 1e-12, 0.0), 1.0, resolution=0.1, false_fail=1e-3)


def test_the_false_failure_rate_is_the_one_asked():
    dof, false_fail, failures = 5, 0.2, 0
    rng = np.random.default_rng(0)
    for value, error in zip(rng.normal(size=4000), np.sqrt(rng.chisquare(dof, 4000) / dof), strict=True):
        try:
            assert_agrees(Estimate(value, error, dof), 0.0, resolution=1e9, false_fail=false_fail)
        except AssertionError:
            failures += 1
    assert stats.binomtest(failures, 4000, false_fail).pvalue > 1e-4
