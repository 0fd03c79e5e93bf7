"""What rounds of chains say on planted draws; budgets, forecasts and the virial of short real runs."""

import math
import re

import jax.numpy as jnp
import numpy as np
import pytest
from estimate.test_estimate_llc import regression, wide_quadratic

from slt._types import Estimate
from slt.draws import Options
from slt.estimate.chains import forecast
from slt.estimate.harmonic import harmonic
from slt.estimate.llc import estimate_llc
from slt.estimate.rounds import Round, difference, is_beyond, judge, mean, read, shortfalls
from slt.estimate.tuning import SLOW, Plan
from slt.samplers.run import Record
from slt.targets.target import potential_target

DIM, LEVEL = 200, 80.0
OPTIONS = Options(0, 0.01, 10**6, 4, 500, progress=False)
EVERYONE = np.ones(4, bool)


def planted(levels, *, heat=0.0, virial=DIM, scatter=20.0, offsets=(0.0, 0.0, 0.0, 0.0), seed=0):
    """Rounds of 100, 200, 400, ... steps whose energies are white around a level each, of spread 9, as chi-square."""
    rng = np.random.default_rng(seed)
    target = wide_quadratic()[0]
    rounds = []
    for r, level in enumerate(levels):
        energies = level + heat + np.asarray(offsets)[:, None] + 9 * rng.normal(size=(4, 100 * 2**r))
        virials = virial + scatter * rng.normal(size=energies.shape)
        seen = np.stack([energies / target.nbeta, virials], -1)
        empty = np.zeros(seen.shape[1:2])
        records = [Record(part, empty, empty, empty, None) for part in (seen[:2], seen[2:])]
        rounds.append(Round(records, Estimate(heat, 0.0), 0.0))
    return Plan(target, 0.04, 1, 200.0, 1000, LEVEL), rounds


def test_the_last_two_rounds_are_the_estimate_and_heat_is_subtracted():
    """The first round, of the warm-up, is 30 too high. White noise of 9 over 4 (200 + 400) draws: .18."""
    plan, rounds = planted([LEVEL + 30, LEVEL, LEVEL], heat=2.0)
    found = read(plan, OPTIONS, rounds, EVERYONE)
    assert found.estimate.value == pytest.approx(LEVEL, abs=5 * 0.184)
    assert 0.95 * np.hypot(0.184, 0.2 * 2.0) < found.estimate.mcse < 1.5 * np.hypot(0.184, 0.2 * 2.0)
    assert found.virial.value == pytest.approx(1, abs=0.01)
    assert judge(found, OPTIONS, shortfalls(plan, OPTIONS, rounds, found)).status == "converged"


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"levels": [LEVEL, LEVEL - 6, LEVEL]}, "energy changed by [56]"),
        ({"virial": 0.9 * DIM}, r"E\[grad U · \(w − w\*\)\]/d is 0\.(89|9)"),
        ({"virial": 1.1 * DIM}, r"E\[grad U · \(w − w\*\)\]/d is 1\.(09|1)"),
        ({"offsets": (0, 0, 0, 15.0)}, "R-hat is"),
        ({"levels": [LEVEL, LEVEL]}, "ended after 2 rounds"),
    ],
)
def test_chains_that_have_not_arrived_are_refused_with_a_remedy(changed, sentence):
    plan, rounds = planted(**({"levels": [LEVEL] * 3} | changed))
    found = read(plan, OPTIONS, rounds, EVERYONE)
    verdict = judge(found, OPTIONS, shortfalls(plan, OPTIONS, rounds, found))
    assert verdict.status == "not converged"
    assert any(re.search(sentence, reason) and "max_gradients" in reason for reason in verdict.reasons), verdict


def test_a_virial_too_uncertain_to_be_refused_is_in_the_error():
    """.85 ± .1 over 4 (200 + 400) draws, which may be 1: .3 of the distance and of its error is 5 % of the estimate."""
    plan, rounds = planted([LEVEL] * 3, virial=0.85 * DIM, scatter=0.1 * DIM * 2400**0.5)
    found = read(plan, OPTIONS, rounds, EVERYONE)
    assert judge(found, OPTIONS, shortfalls(plan, OPTIONS, rounds, found)).status == "converged"
    assert found.virial.mcse == pytest.approx(0.1, rel=0.2)
    assert found.spread < 0.01 * LEVEL
    assert found.estimate.mcse > 0.29 * LEVEL * np.hypot(found.virial.value - 1, found.virial.mcse)


@pytest.mark.parametrize(("dof", "errors"), [(4.0, 8.5), (20.0, 3.8), (200.0, 3.3)])
def test_gates_are_as_wide_as_few_stretches_make_them(dof, errors):
    """At 1e-3 by Student's t, where 3 errors refuse a run in 25, 140 and 330 that is right."""
    assert not is_beyond(Estimate(errors, 1.0, dof))
    assert is_beyond(Estimate(1.1 * errors + 0.5, 1.0, dof), 0.5)


def test_the_error_of_a_difference_is_known_as_well_as_its_larger_part():
    found = difference(Estimate(3.0, 2.0, 5.0), Estimate(1.0, 1e-3, 100.0))
    assert found == pytest.approx((2.0, 2.0, 5.0), rel=1e-3)
    assert difference(Estimate(1.0, 1.0, 8.0), Estimate(1.0, 1.0, 8.0)).dof == pytest.approx(16)


def test_errors_of_energies_that_swing_are_right():
    """x²/2 of oscillators with a phase of .6 a step and a damping of .015: kinetic Langevin at low friction.

    Over 200 runs of 4 chains of 2000 steps the error is that between runs to .05; by Geyer's sum of pairs it was half.
    """
    rng, turn = np.random.default_rng(0), np.exp(-0.015 + 0.6j)
    z = rng.normal(size=(200, 4, 2)) + 1j * rng.normal(size=(200, 4, 2))
    energies = np.empty((200, 4, 2000))
    for step in range(2000):
        noise = rng.normal(size=z.shape) + 1j * rng.normal(size=z.shape)
        z = turn * z + np.sqrt(1 - abs(turn) ** 2) * noise
        energies[..., step] = 0.5 * (z.real**2).sum(-1)
    found = [mean(run) for run in energies]
    spread = np.std([one.value for one in found])
    assert np.mean([one.value for one in found]) == pytest.approx(1.0, abs=5 * spread / np.sqrt(200))
    assert 0.85 < np.mean([one.mcse for one in found]) / spread < 1.15


def coarse(seed, memory=0.87):
    """Rounds of 14, 28, 56 and 112 steps of energies |z|²/2, z three autoregressions of unit variance: mean 1.5."""
    rng = np.random.default_rng(seed)
    plan, rounds = planted([LEVEL] * 4)
    z, energies = rng.normal(size=(4, 3)), np.empty((4, 210))
    for step in range(210):
        z = memory * z + np.sqrt(1 - memory**2) * rng.normal(size=z.shape)
        energies[:, step] = 0.5 * (z**2).sum(1)
    short = []
    for part, some in zip(rounds, np.split(energies, [14, 42, 98], axis=1), strict=True):
        seen = np.stack([some / plan.target.nbeta, np.full(some.shape, float(DIM))], -1)
        records = [r._replace(loss=loss) for r, loss in zip(part.records, (seen[:2], seen[2:]), strict=True)]
        short.append(part._replace(records=records))
    return plan, short


def test_errors_of_coarse_runs_that_are_called_converged_are_right():
    """Some 100 effective draws of a skew energy, and errors of 8 %: as those of 40 seeds at 3e5 gradients.

    Of 400 planted runs some 185 are called converged; their root mean square z, to .05, is .97. Without the
    uncertainty of the error, and with the luck of gap and change in the gate, it was 1.16.
    """
    z = []
    for seed in range(400):
        plan, rounds = coarse(seed)
        found = read(plan, OPTIONS, rounds, EVERYONE)
        if judge(found, OPTIONS, shortfalls(plan, OPTIONS, rounds, found)).status == "converged":
            z.append((found.estimate.value - 1.5) / found.estimate.mcse)
    assert len(z) > 150
    assert 0.85 < np.sqrt(np.mean(np.square(z))) < 1.07


def test_energies_that_do_not_differ_are_no_estimate():
    """0 ± 0, from chains: the loss is flat wherever they go."""
    flat = potential_target(lambda w: jnp.maximum(jnp.sum(w**2) - 100.0, 0.0) ** 2, jnp.zeros(3), nbeta=100.0)
    result = estimate_llc(flat, sampler="chains", max_gradients=20_000)
    assert result.verdict.status == "not converged"
    assert "All draws have the same energy" in result.verdict.reasons[0]


def test_a_gap_between_steps_is_a_bias():
    plan, rounds = planted([LEVEL] * 3, offsets=(0, 0, 5.0, 5.0))
    found = read(plan, OPTIONS, rounds, EVERYONE)
    assert judge(found, OPTIONS, ()).status == "biased"
    assert found.estimate.mcse > 2


def test_the_remedy_names_a_budget_and_a_localisation_that_would_do():
    """Critical damping fills the prior's directions in 3 h alpha/(h² gamma') = 3 · .08/.04² = 150 steps."""
    plan, rounds = planted([LEVEL] * 3)
    short = [
        part._replace(records=[r._replace(loss=r.loss[:, :5]) for r in part.records]) for part in rounds
    ]  # 15 steps in all
    found = read(plan, OPTIONS, short, EVERYONE)
    reasons = shortfalls(plan, OPTIONS, short, found._replace(virial=Estimate(0.5, 0.01)))
    assert plan.mix == pytest.approx(2 * 0.04)
    assert any("raise max_gradients to some 1e+04, or the localisation to 10" in reason for reason in reasons), reasons


def test_what_cannot_be_precise_within_the_budget_is_not_called_converged():
    target, _ = regression(5000, 60)
    result = estimate_llc(target, tolerance=1e-5, max_gradients=400_000)
    assert result.verdict.status == "not converged"
    assert any("times the" in reason and "asked: raise max_gradients" in reason for reason in result.verdict.reasons)


@pytest.mark.parametrize("budget", [30_000, 300_000, 1_000_000])
def test_budgets_are_kept_and_forecast(budget):
    """n = 20,000: minibatches at every budget."""
    target, _ = regression(20_000, 20)
    result = estimate_llc(target, max_gradients=budget, tolerance=1e-3)
    found = result.diagnostics
    assert found["datum_gradients"] < 1.2 * budget
    assert found["forecast_gradients"] == budget
    assert found["forecast_error"] > found["forecast_asked"] > 0
    assert 0 < found["forecast_seconds"] < math.inf


def test_a_forecast_is_of_the_first_rounds_that_give_what_is_asked():
    """Of energies that forget themselves in SLOW steps, 4 chains over the last two of r rounds have E/(4 kept/SLOW)."""
    plan = planted([LEVEL] * 3)[0]._replace(pace=1e-3)
    loose, close, never = (forecast(plan, OPTIONS._replace(tolerance=tolerance)) for tolerance in (0.1, 1 / 800, 1e-9))
    for found, tolerance in ((loose, 0.1), (close, 1 / 800)):
        assert found.error <= found.asked == tolerance * LEVEL
        kept = SLOW * LEVEL / found.error**2 / OPTIONS.num_chains
        steps = (found.gradients - plan.spent) / plan.per_step(OPTIONS)
        assert 3 / 4 < kept / steps < 1  # the last two rounds are (2^(r - 1) + 2^(r - 2)) of 2^r - 1 parts
    assert math.sqrt(2) * close.error > close.asked  # a round fewer would not do
    assert loose.gradients < 0.3 * close.gradients
    assert close.seconds == pytest.approx(1e-3 * (close.gradients - plan.spent))
    assert never.gradients == OPTIONS.max_gradients
    assert str(never).startswith("forecast: 1e+06 gradients, 1e+03 s, standard error ")
    assert str(never).endswith("asked and out of reach)")


def test_no_round_is_begun_that_would_not_end_in_time():
    target, exact = wide_quadratic()
    result = estimate_llc(target, max_seconds=1e-3)
    assert result.verdict.status == "not converged"
    assert "ended after 1 rounds" in " ".join(result.verdict.reasons)
    assert result.estimates["llc"].value == pytest.approx(exact, rel=0.5)


def test_kappa_and_virial_of_a_quadratic_are_exact():
    """n beta lambda_max/gamma = 200 · 1/1, from below by twelve Lanczos steps; E[grad U · w] = d."""
    result = estimate_llc(wide_quadratic()[0], max_gradients=50_000)
    assert 185 < result.diagnostics["kappa"] <= 200 * (1 + 1e-6)
    assert result.diagnostics["virial"] == pytest.approx(1, abs=5 * result.diagnostics["virial_error"])
    assert result.diagnostics["virial_error"] < 0.02


@pytest.mark.parametrize("gamma", [0.1, 1.0, 30.0])
def test_the_harmonic_prediction_by_lanczos_is_the_closed_form(gamma):
    target, exact = wide_quadratic(gamma)
    found = harmonic(target, 0)
    assert found["harmonic_error"] < 0.1 * exact
    assert found["harmonic"] == pytest.approx(exact, abs=max(6 * found["harmonic_error"], 1e-3 * exact))
