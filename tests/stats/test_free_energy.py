"""The fit of (lambda, m) on exact free energies with simulated noise, thermodynamic integration, refusals."""

from math import factorial

import numpy as np
import pytest
from helpers import assert_agrees
from scipy import stats
from scipy.special import logsumexp

from slt.stats.free_energy import _within, fit_rlct, thermodynamic_integral

REPLICATES = 32
LADDER = np.exp(np.arange(-1.0, 36.8, 0.6))


def monomial(multiplicity, power):
    """-log Z of K = (w1 ... wm)^power on [0, 1]^m, by quadrature over u = -log(w1 ... wm): lambda is 1/power."""
    u = np.linspace(0, 60, 12001)
    weight = u ** (multiplicity - 1) * np.exp(-u) / factorial(multiplicity - 1)
    return -np.log([np.trapezoid(weight * np.exp(-s * np.exp(-power * u)), u) for s in LADDER])


def regular(dim):
    """-log Z of K = |w|² under N(0, 1)."""
    return dim / 2 * np.log1p(2 * LADDER)


def noisy(free_energy, *, noise=0.002, seed=0):
    """log Z of replicates whose slopes have that standard error on average."""
    steps = np.random.default_rng(seed).normal(size=(REPLICATES, len(LADDER)))
    return -free_energy + 0.6 * noise * np.sqrt(REPLICATES) * np.cumsum(steps, axis=1)


@pytest.mark.parametrize(
    ("free_energy", "rlct", "multiplicity", "num_params"),
    [(monomial(2, 2), 0.5, 2, 2), (monomial(3, 2), 0.5, 3, 3), (monomial(2, 4), 0.25, 2, 2), (regular(2), 1.0, 1, 2)],
    ids=["x2y2", "x2y2z2", "x4y4", "x2+y2"],
)
def test_rlct_and_multiplicity(free_energy, rlct, multiplicity, num_params):
    """10 runs each: 90 % intervals of lambda cover in 7 or more, m is stated in 6 or more and never wrong."""
    fits = [fit_rlct(LADDER, noisy(free_energy, seed=seed), num_params=num_params) for seed in range(10)]
    assert sum(fit.rlct.interval(0.9)[0] <= rlct <= fit.rlct.interval(0.9)[1] for fit in fits) >= 7
    assert all(fit.rlct.mcse < 0.02 for fit in fits)
    stated = [fit.multiplicity for fit in fits if fit.multiplicity is not None]
    assert set(stated) == {multiplicity}
    assert len(stated) >= 6


def test_slopes_that_rise_are_not_taken_for_the_coefficient():
    """The trap: at n beta = 1e4 the local slope of x²y² is 0.41, though lambda is 1/2."""
    short = LADDER < 1e5
    fit = fit_rlct(LADDER[short], noisy(monomial(2, 2))[:, short], num_params=2)
    low, high = fit.rlct.interval(0.9)
    assert low <= 0.5 <= high
    assert high - low > 0.02
    assert fit.multiplicity is None
    assert "does not decide the multiplicity" in fit.reason


def regression(num_data, dim, seed, scale):
    """F at n beta up to n of a linear regression with dim - 1 coefficients, priors N(0, scale²), and a noise under
    HalfNormal(1): integrated over the coefficients in closed form, over the noise on a grid."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.ones(num_data), *rng.normal(size=(3, num_data))])[:, : dim - 1]
    y = x @ rng.normal(0, 0.8, dim - 1) + 0.6 * rng.normal(size=num_data)
    curvature, turn = np.linalg.eigh(x.T @ x / num_data)
    best = turn.T @ np.linalg.lstsq(x, y, rcond=None)[0]
    left = np.mean((y - x @ (turn @ best)) ** 2)
    log_s = np.linspace(-8, 2.5, 3000)
    log_prior = log_s - np.exp(2 * log_s) / 2 + 0.5 * np.log(2 / np.pi) + np.log(log_s[1] - log_s[0])
    nbeta = np.exp(np.append(np.arange(-8, np.log(num_data) - 0.05, 0.5), np.log(num_data)))
    height = (nbeta * np.exp(-2 * log_s)[:, None])[..., None] * curvature
    spread = scale**2 + 1 / height
    slopes = -0.5 * (np.log(spread * height) + best**2 / spread).sum(-1)
    excess = nbeta * (log_s[:, None] - 0.5 * np.log(left) + 0.5 * left * np.exp(-2 * log_s)[:, None] - 0.5)
    return nbeta, -logsumexp(log_prior[:, None] + slopes - excess, axis=0)


@pytest.mark.parametrize("scale", [2.0, 20.0])
@pytest.mark.parametrize("num_data", [60, 600])
def test_regular_models_are_covered_or_not_asymptotic(num_data, scale):
    """d = 1 to 5, ten seeds each: lambda = d/2, m = 1; n = 60 is mostly too few, and neither is ever stated wrongly."""
    refused, missed = 0, []
    for dim in range(1, 6):
        for seed in range(10):
            nbeta, free_energy = regression(num_data, dim, seed, scale)
            steps = 0.03 * np.random.default_rng(seed).normal(size=(REPLICATES, len(nbeta)))
            try:
                fit = fit_rlct(
                    nbeta, np.cumsum(steps, 1) - free_energy, num_params=dim, num_data=num_data, regular=True
                )
            except ValueError as error:
                assert str(error).startswith("not asymptotic")  # noqa: PT017
                refused += 1
                continue
            low, high = fit.rlct.interval(0.9)
            missed += [(dim, seed, fit.rlct)] * (not low <= dim / 2 <= high)
            assert fit.multiplicity in (None, 1)
            assert fit.rlct.value <= dim / 2
    assert not missed
    assert refused >= 30 if num_data == 60 else refused < 50


def test_a_slope_above_d_half_is_not_taken_for_a_coefficient():
    """F = 3 log s in one dimension, where 1/2 is the most: nothing is known, rather than 3 or 1/2."""
    with pytest.raises(ValueError, match="not asymptotic"):
        fit_rlct(LADDER, noisy(3 * np.log1p(LADDER)), num_params=1)
    free = fit_rlct(LADDER, noisy(3 * np.log1p(LADDER)), num_params=1, largest=10.0)
    assert free.rlct.value == pytest.approx(3, rel=0.01)


def test_cut_normal_laws_are_those_of_scipy():
    mean, std = np.array([-1.0, 0.2, 1.4, 2.0, 9.0]), 0.7
    log_mass, cut, variance = _within(mean, std, 1.5)
    for i, center in enumerate(mean):
        law = stats.truncnorm(-center / std, (1.5 - center) / std, center, std)
        assert cut[i] == pytest.approx(law.mean(), rel=1e-6)
        assert variance[i] == pytest.approx(law.var(), rel=1e-4)
        mass = stats.norm(center, std).cdf(1.5) - stats.norm(center, std).cdf(0)
        assert log_mass[i] == pytest.approx(np.log(mass), rel=1e-6)


def test_many_parameters_are_not_trusted_with_a_multiplicity():
    few, many = (fit_rlct(LADDER, noisy(regular(2)), num_params=d) for d in (2, 10))
    assert few.multiplicity == 1
    assert many.multiplicity is None
    assert "10 parameters" in many.reason
    assert many.rlct.mcse > few.rlct.mcse


def test_units_of_the_loss_do_not_matter():
    values = noisy(monomial(2, 2))
    one, other = (fit_rlct(scale * LADDER, values, num_params=2) for scale in (1.0, 50.0))
    assert one.rlct.value == pytest.approx(other.rlct.value, rel=1e-9)


def test_fluctuations_of_the_data_widen_the_interval():
    short = LADDER < 1e4
    values = noisy(regular(2))[:, short]
    exact = fit_rlct(LADDER[short], values, num_params=2, largest=4.0)
    empirical = fit_rlct(LADDER[short], values, num_params=2, num_data=100_000, largest=4.0)
    assert empirical.rlct.mcse > 2 * exact.rlct.mcse


def test_thermodynamic_integral_of_a_gaussian():
    """U = h w²/2 under N(0, 1), h = 1e4: E_t = h/(2(1 + th)), Var_t = 2 E_t²; rule and closed form to 1e-3 nats."""
    temperatures = np.exp(np.arange(np.log(1e-5), 0.01, 0.6))
    temperatures /= temperatures[-1]
    mean = 1e4 / 2 / (1 + 1e4 * temperatures)
    jitter = 1 + 1e-6 * np.random.default_rng(0).normal(size=(8, 1))
    found = thermodynamic_integral(
        temperatures, mean * jitter, 2 * mean**2 * np.ones((8, 1)), 0.5 * np.log1p(1e4 * temperatures[0]) * np.ones(8)
    )
    assert_agrees(found, 0.5 * np.log1p(1e4), resolution=5e-3, false_fail=1e-6)
    assert found.value == pytest.approx(0.5 * np.log1p(1e4), abs=1e-3)


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(ValueError, match="at least 8 replicates"):
        fit_rlct(LADDER, noisy(regular(2))[:4], num_params=2)
    with pytest.raises(ValueError, match="Take a larger n beta"):
        fit_rlct(LADDER[:5], noisy(regular(2))[:, :5], num_params=2)
