"""NaN and infinity, wherever they stand in what any function of arrays is given, are refused with their place."""

import numpy as np
import pytest

import slt
from slt._types import Estimate
from slt.pac_bayes.gibbs import gibbs_kl
from slt.stats.checks import finite
from slt.stats.learning_coefficient import llc, llc_two_temperature, llc_variance
from slt.stats.phases import crossing, phase_log_odds, phase_mass
from slt.stats.psis import psis_loo
from slt.stats.replicates import log_mean, replicate_mean
from slt.stats.stage import stages
from slt.stats.transition import Phase, compare_free_energies, compare_phases

LOSSES = np.random.default_rng(0).gamma(1.0, size=(4, 20))
LOGS = -np.random.default_rng(1).gamma(1.0, size=(4, 50, 3))
RUNGS = np.linspace(0, -20, 40) + 0.1 * np.random.default_rng(2).normal(size=(8, 40))
TEMPERATURES = np.geomspace(1, 1e9, 40)
INSIDE = np.random.default_rng(3).random((4, 10)) < 0.5


def broken(array, value):
    array = np.array(array, np.float64)
    array.flat[array.size // 2] = value
    return array


def estimates(values):
    return [Estimate(value, 0.1, 5) for value in values]


WAYS = {
    "llc": lambda bad: llc(broken(LOSSES, bad), nbeta=1.0),
    "llc_variance": lambda bad: llc_variance(broken(LOSSES, bad), nbeta=1.0),
    "llc_two_temperature": lambda bad: llc_two_temperature(broken(LOSSES, bad), nbeta=1.0),
    "pointwise": lambda bad: slt.stats.pointwise(broken(LOGS, bad), inverse_temperature=1.0),
    "psis_loo": lambda bad: psis_loo(broken(LOGS, bad)),
    "replicate_mean": lambda bad: replicate_mean(broken(LOGS[:, 0, 0], bad)),
    "log_mean": lambda bad: log_mean(broken(LOGS[:, 0, 0], bad)),
    "log_mean, plus": lambda bad: log_mean(LOGS[:, 0, 0], plus=broken(LOGS[:, 0, 0], bad)),
    "stages": lambda bad: stages(estimates(broken(np.arange(9), bad))),
    "phase_mass": lambda bad: phase_mass(INSIDE, broken(np.zeros(4), bad)),
    "phase_log_odds": lambda bad: phase_log_odds(INSIDE, ~INSIDE, broken(np.zeros(4), bad)),
    "crossing": lambda bad: crossing([1, 2, 3], estimates([-1.0, bad, 2.0])),
    "compare_phases": lambda bad: compare_phases(Phase(0.1, bad), Phase(0.2, 1.0), [10, 100]),
    "compare_phases, n": lambda bad: compare_phases(Phase(0.1, 2.0), Phase(0.2, 1.0), [10, bad]),
    "compare_free_energies": lambda bad: compare_free_energies(Estimate(bad, 0.1), Estimate(1.0, 0.1)),
    "fit_rlct": lambda bad: slt.stats.fit_rlct(TEMPERATURES, broken(RUNGS, bad), num_params=2),
    "fit_rlct, n beta": lambda bad: slt.stats.fit_rlct(broken(TEMPERATURES, bad), RUNGS, num_params=2),
    "thermodynamic_integral": lambda bad: slt.stats.thermodynamic_integral(
        TEMPERATURES / 1e9, broken(RUNGS + 50, bad), np.ones_like(RUNGS), np.zeros(8)
    ),
    "gibbs_kl": lambda bad: gibbs_kl(broken(np.zeros(4), bad), np.zeros(4), nbeta=1.0),
}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_what_is_not_finite_is_refused(way, bad):
    with pytest.raises(ValueError, match=r"(nan|inf|not finite)"):
        way(bad)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[1.0, np.nan]]), "f: the loss of chain 0, draw 1 is nan; mend it"),
        (np.nan, "f: the loss is nan; mend it"),
        (["a", "b"], "f: every loss must be a real number"),
        (np.array([1 + 2j]), "f: every loss must be a real number"),
        (np.ma.masked_invalid([1.0, np.nan]), "f: 1 of the values are masked; leave them out"),
    ],
)
def test_the_sentence_says_where_and_what_to_do(values, message):
    with pytest.raises(ValueError, match=message):
        finite("f", values, ("chain", "draw"), "mend it.", what="loss")
