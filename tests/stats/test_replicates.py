"""The mean of replicates and the log of the mean of positive ones: coverage against exact, the jackknife, refusals."""

import numpy as np
import pytest
from scipy import stats

from slt.stats.replicates import MAX_SPREAD, jackknife, log_mean, replicate_mean

RUNS = 1000


def covered(logs, exact):
    """Share of the runs whose 90 % interval holds log E[Z]."""
    intervals = [log_mean(run).interval(0.9) for run in logs]
    return np.mean([low <= exact <= high for low, high in intervals])


@pytest.mark.parametrize("replicates", [8, 16, 32])
@pytest.mark.parametrize("spread", [0.2, 0.6, 1.0, MAX_SPREAD])
def test_the_log_of_a_mean_covers_at_every_spread(replicates, spread):
    """Z log-normal: 1000 runs cover in 86 to 94 % (binomial at 90 %: 5e-5); the mean of the logs, biased by -s^2/2,
    covers in 15 to 85 % from a spread of 0.6 on."""
    logs = np.random.default_rng(3).normal(0, spread, (RUNS, replicates))
    assert 0.86 <= covered(logs, spread**2 / 2) <= 0.94


@pytest.mark.parametrize("spread", [0.5, 1.0, MAX_SPREAD])
def test_it_is_not_bound_to_the_log_normal_law(spread):
    """log Z = -Gamma(16) x scale, skewed to the left as that of tempering is: E[Z] = (1 + scale)^-16."""
    scale = spread / 4
    logs = -np.random.default_rng(0).gamma(16, scale, (RUNS, 16))
    assert 0.86 <= covered(logs, -16 * np.log1p(scale)) <= 0.98


def test_huge_negative_logs_do_not_underflow_and_a_mean_can_be_added():
    logs, more = np.array([-5000.0, -5001.0, -5000.5]), np.array([1.0, 2.0, 6.0])
    near = log_mean(logs + 5000)
    assert log_mean(logs).value == pytest.approx(near.value - 5000, rel=1e-12)
    assert near.value == pytest.approx(np.log(np.mean(np.exp(logs + 5000))))
    assert log_mean(logs, plus=more).value == pytest.approx(log_mean(logs).value + 3)
    assert log_mean(np.zeros(3), plus=more).mcse == pytest.approx(stats.sem(more))


def test_what_is_added_is_correlated_with_the_logs():
    """plus = -l: at a small spread the sum hardly varies, so that its error must not be that of two strangers."""
    logs = np.random.default_rng(0).normal(0, 0.1, 16)
    assert log_mean(logs, plus=-logs).mcse < 0.1 * log_mean(logs).mcse


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.array([1.0, 2.0, 4.0, 9.0])
    found = jackknife(lambda keep: float(values[keep].mean()), 4)
    assert (found.value, found.dof) == (4.0, 3)
    assert found.mcse == pytest.approx(stats.sem(values))


@pytest.mark.parametrize("function", [replicate_mean, log_mean])
def test_what_has_no_error_bar_is_refused(function):
    with pytest.raises(ValueError, match="at least 2 numbers"):
        function(np.array([1.0]))
    with pytest.raises(ValueError, match="at least 2 numbers"):
        function(np.ones((2, 3)))
    with pytest.raises(ValueError, match="value of replicate 1 is nan"):
        function(np.array([1.0, np.nan, 2.0]))
