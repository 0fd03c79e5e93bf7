"""What is read off a spectrum: values, both errors, and refusals."""

import math

import jax
import numpy as np
import pytest
from geometry.matrices import MATVEC, with_spectrum

from slt.geometry.lanczos import lanczos_spectrum
from slt.geometry.spectrum import count_below, density, effective_dimension, exact_spectrum, log_det, trace

NEAR_ZERO = np.concatenate([np.zeros(270), np.logspace(-4, 1, 30)])
INDEFINITE = np.concatenate([[-0.5, -0.1], np.linspace(0, 3, 198)])


def sampled(values, seed=0, **options):
    matrix = with_spectrum(np.asarray(values))
    return lanczos_spectrum(MATVEC, len(values), jax.random.key(seed), args=(matrix,), **options)


def test_all_eigenvalues_give_sums_without_error():
    spectrum = exact_spectrum(NEAR_ZERO)
    for c in (1e-6, 1e-3, 1.0):
        result = log_det(spectrum, c)
        assert result.value == (pytest.approx(np.sum(np.log(NEAR_ZERO + c))), 0.0, math.inf)
        assert result.info.value == pytest.approx(np.sum(np.log1p(NEAR_ZERO / c)), rel=1e-9)
        assert result.verdict.status == "converged"
    assert effective_dimension(spectrum, 1e-2).value == pytest.approx(np.sum(NEAR_ZERO / (NEAR_ZERO + 1e-2)))
    assert trace(spectrum).value == pytest.approx(NEAR_ZERO.sum())
    assert count_below(spectrum, 1e-5) == (270, 0.0, math.inf)


@pytest.mark.parametrize("c", [1e-5, 1e-2])
@pytest.mark.parametrize("steps", [3, 8, 20])
def test_the_bracket_holds_every_probe_of_the_truth(c, steps):
    """Gauss above, Radau below the converged run of the same probes; and both ends move inwards with the steps."""
    converged = log_det(sampled(NEAR_ZERO, num_steps=100, lower_bound=0.0), c).bracket[1]
    low, high = log_det(sampled(NEAR_ZERO, num_steps=steps, lower_bound=0.0), c).bracket
    assert low < converged + 1e-6 < high + 2e-6
    longer = log_det(sampled(NEAR_ZERO, num_steps=steps + 2, lower_bound=0.0), c).bracket
    assert low < longer[0] + 1e-6
    assert longer[1] < high + 1e-6


def test_the_standard_error_is_that_of_independent_probes():
    spectrum = sampled(NEAR_ZERO, num_probes=4, lower_bound=0.0)
    nodes, weights = spectrum.gauss
    per_probe = 300 * np.sum(weights * np.log(np.maximum(nodes, 0) + 1e-3), 1)
    assert log_det(spectrum, 1e-3).sem == pytest.approx(np.sqrt(np.sum((per_probe - per_probe.mean()) ** 2) / 3 / 4))


def test_one_probe_has_no_standard_error():
    result = log_det(sampled(NEAR_ZERO, num_probes=1, lower_bound=0.0), 1e-3)
    assert math.isnan(result.sem)
    assert math.isnan(result.value.mcse)
    assert result.verdict.status == "not converged"


def test_a_truncated_run_says_so_and_its_interval_holds_the_truth():
    result = log_det(sampled(NEAR_ZERO, num_steps=8, lower_bound=0.0), 1e-6)
    exact = np.sum(np.log(NEAR_ZERO + 1e-6))
    assert result.verdict.status == "not converged"
    assert "Truncation" in result.verdict.reasons[0]
    low, high = result.value.interval()
    assert low < result.bracket[0] < exact < result.bracket[1] < high


def test_intervals_cover_at_their_rate_over_200_keys():
    """Binomial(200, 0.9): outside [163, 195] with probability below 1e-4; a factor 1.5 in the error leaves it."""
    values = np.concatenate([np.zeros(30), np.logspace(-3, 1, 30)])
    spectra = [sampled(values, seed, num_steps=30, num_probes=6, lower_bound=0.0) for seed in range(200)]
    for c in (1e-3, 0.1):
        exact = np.sum(np.log(values + c))
        intervals = np.array([log_det(spectrum, c).value.interval() for spectrum in spectra])
        covered = np.sum((intervals[:, 0] <= exact) & (exact <= intervals[:, 1]))
        assert 163 <= covered <= 195


class TestIndefinite:
    @pytest.mark.parametrize("spectrum", [exact_spectrum(INDEFINITE), sampled(INDEFINITE)], ids=["exact", "lanczos"])
    def test_it_is_refused_with_the_negative_share(self, spectrum):
        with pytest.raises(ValueError, match=r"indefinite: c = 0.1.*%"):
            log_det(spectrum, 0.1)
        with pytest.raises(ValueError, match="indefinite"):
            effective_dimension(spectrum, 0.1)

    def test_each_policy_is_what_it_says(self):
        spectrum = exact_spectrum(INDEFINITE)
        exact = {
            "shift": np.log(INDEFINITE + 0.6),
            "absolute": np.log(np.abs(INDEFINITE) + 0.1),
            "clamp": np.log(np.maximum(INDEFINITE, 0) + 0.1),
        }
        for policy, terms in exact.items():
            result = log_det(spectrum, 0.1, indefinite=policy)
            assert result.value.value == pytest.approx(terms.sum())
            assert result.negative_share == pytest.approx(0.6 / np.abs(INDEFINITE).sum())
        assert log_det(spectrum, 0.1, indefinite="shift").shift == pytest.approx(0.6)

    def test_sampled_policies_agree_with_the_exact_ones(self):
        for policy in ("shift", "absolute", "clamp"):
            result = log_det(sampled(INDEFINITE), 0.1, indefinite=policy)
            exact = log_det(exact_spectrum(INDEFINITE), 0.1, indefinite=policy)
            if policy == "shift":  # its bound, and so its c, differ a little
                exact = log_det(exact_spectrum(INDEFINITE), result.shift)
            assert abs(result.value.value - exact.value.value) < 4.8 * result.value.mcse

    def test_a_shift_above_the_negative_part_is_bracketed(self):
        result = log_det(sampled(INDEFINITE), 0.7)
        assert result.verdict.status == "converged"
        assert result.lower_bound + 0.7 > 0
        assert abs(result.value.value - np.sum(np.log(INDEFINITE + 0.7))) < 4.8 * result.value.mcse

    def test_definiteness_that_is_not_certain_is_not_claimed(self):
        """The Ritz value is above -c but the bound is not: an infinite error instead of a number."""
        result = log_det(sampled(INDEFINITE, num_steps=12), 0.51)
        assert math.isinf(result.value.mcse)
        assert any("not certified" in reason for reason in result.verdict.reasons)


def test_shifts_that_have_no_logarithm_are_refused():
    for spectrum in (exact_spectrum(NEAR_ZERO), sampled(NEAR_ZERO, lower_bound=0.0)):
        with pytest.raises(ValueError, match="singular"):
            log_det(spectrum, 0.0)
        for bad in (-1.0, math.nan, math.inf):
            with pytest.raises(ValueError, match=rf"shift.* is {bad}.* must be .*(finite|number)"):
                log_det(spectrum, bad)
        with pytest.raises(ValueError, match="choose one of"):
            log_det(spectrum, 1.0, indefinite="jitter")
    assert log_det(exact_spectrum(np.array([1.0, 2.0])), 0.0).value.value == pytest.approx(math.log(2))


def test_below_the_rounding_of_float32_no_error_is_claimed():
    matrix = with_spectrum(NEAR_ZERO, dtype=np.float32)
    options = {"args": (matrix,), "dtype": np.float32, "lower_bound": 0.0}
    result = log_det(lanczos_spectrum(MATVEC, 300, jax.random.key(0), **options), 1e-8)
    assert math.isinf(result.value.mcse)
    assert "rounding" in result.verdict.reasons[0]


def test_counts_hold_the_truth_and_are_refused_below_the_resolution():
    spectrum = sampled(NEAR_ZERO, lower_bound=0.0, num_steps=20)
    assert spectrum.resolution == pytest.approx(10 / 400)
    with pytest.raises(ValueError, match="resolution"):
        count_below(spectrum, 1e-3)
    for threshold in (0.05, 0.5):
        estimate = count_below(spectrum, threshold)
        assert abs(estimate.value - np.sum(threshold > NEAR_ZERO)) < 4 * estimate.mcse
    interior = sampled(INDEFINITE, num_steps=40)
    assert interior.resolution == pytest.approx(3 / 40)
    estimate = count_below(interior, 0.4)
    assert abs(estimate.value - np.sum(np.abs(INDEFINITE) < 0.4)) < 4 * estimate.mcse


def test_sampled_sums_agree_with_the_exact_ones():
    exact, spectrum = exact_spectrum(NEAR_ZERO), sampled(NEAR_ZERO, lower_bound=0.0)
    for alpha in (1e-3, 0.1):
        estimate = effective_dimension(spectrum, alpha)
        assert abs(estimate.value - effective_dimension(exact, alpha).value) < 4.8 * estimate.mcse
    assert abs(trace(spectrum).value - NEAR_ZERO.sum()) < 4.8 * trace(spectrum).mcse


def test_the_density_integrates_to_one_and_peaks_where_eigenvalues_are():
    grid = np.linspace(-2, 14, 4001)
    for spectrum in (exact_spectrum(NEAR_ZERO), sampled(NEAR_ZERO, lower_bound=0.0)):
        values = density(spectrum, grid)
        assert np.trapezoid(values, grid) == pytest.approx(1, abs=1e-3)
        assert abs(grid[np.argmax(values)]) < 0.2
    with pytest.raises(ValueError, match="positive"):
        density(spectrum, grid, width=0.0)


def test_a_gradient_is_said():
    spectrum = exact_spectrum(np.ones(3), gradient_norm=0.3, scale=1.0)
    result = log_det(spectrum, 0.1)
    assert result.verdict.status == "not a minimum"
    assert "|grad L| = 0.3" in result.verdict.reasons[0]


def test_values_within_the_rounding_are_summed_as_they_are():
    """Thousands of Ritz values of -5e-6 are no zeros beside c = 0.1: their sum is 0.5 nats."""
    values = np.append(np.full(9999, -5e-6), 1.0)
    spectrum = exact_spectrum(values, dtype=np.float32)
    assert spectrum.noise_floor > 5e-6
    assert log_det(spectrum, 0.1).value.value == pytest.approx(np.sum(np.log(values + 0.1)), abs=1e-6)


def test_no_eigenvalues_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        exact_spectrum(np.array([]))
