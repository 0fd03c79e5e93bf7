"""The fit of (lambda, m) on exact free energies with simulated noise, thermodynamic integration, refusals."""

from math import factorial

import numpy as np
import pytest
from helpers import assert_agrees

from slt.estimators.free_energy import fit_rlct, thermodynamic_integral

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
    exact = fit_rlct(LADDER[short], values, num_params=2)
    empirical = fit_rlct(LADDER[short], values, num_params=2, num_data=100_000)
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
