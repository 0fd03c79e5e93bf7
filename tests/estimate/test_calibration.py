import jax.numpy as jnp
import numpy as np
import pytest

import slt
from slt._types import Estimate
from slt.estimate.calibration import Calibration, Point, _judge, half_drift
from slt.report import plots, tables

X = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32) * [1.0, 2.0]


@pytest.fixture(scope="module")
def linear():
    """A quadratic loss, whose estimate at every gamma and n beta is known: (1/2) sum of h / (h + gamma)."""
    target = slt.loss_target(lambda w, rows: 0.5 * (rows @ w) ** 2, jnp.zeros(2), X, localization=1.0)
    found = slt.calibrate(
        target, step_factors=(0.5, 1.0, 4.0), num_draws=300, localizations=(1.0, 10.0), nbetas=(5.0, 10.0)
    )
    return target, found


def test_every_cell_is_the_exact_value_at_its_own_gamma_and_temperature(linear):
    hessian = np.linalg.eigvalsh(X.T @ X / len(X))
    for point in linear[1].points:
        exact = 0.5 * np.sum(point.nbeta * hessian / (point.nbeta * hessian + point.localization))
        if point.step_factor <= 1:
            assert point.trusted, point
            assert point.estimate.mcse < 0.12
            assert abs(point.estimate.value - exact) < 5 * point.estimate.mcse, point


def test_a_step_beyond_stability_is_not_trusted(linear):
    for point in linear[1].points:
        if point.step_factor == 4.0:  # h sqrt(curvature) = 2.8: kinetic Langevin is stable below 2
            assert not point.trusted
            assert point.reason


def test_one_compilation_serves_all_cells():
    traced = []

    def loss(w, rows):
        traced.append(w)
        return 0.5 * (rows @ w) ** 2

    target = slt.loss_target(loss, jnp.zeros(2), X, localization=1.0)

    def calibrate(factors, gammas):
        return slt.calibrate(target, step_factors=factors, localizations=gammas, nbetas=[5.0], num_draws=8)

    calibrate([0.5], [1.0])
    first = len(traced)
    found = calibrate([1.0, 2.0], [1.0, 2.0])
    assert len(found.points) == 4
    assert first > 0
    assert len(traced) == first


def cell(factor, value, *, trusted=True):
    return Point(
        factor, 0.1 * factor, 1.0, 100.0, Estimate(value, 0.05), 1.0, 0.0, trusted, "" if trusted else "diverged"
    )


def test_what_the_smallest_step_does_not_confirm_loses_trust():
    judged = _judge([cell(0.5, 2.0), cell(1.0, 2.1), cell(2.0, 2.6), cell(3.0, np.nan, trusted=False)])
    assert [p.trusted for p in judged] == [True, True, False, False]
    assert [p.reason for p in judged] == ["", "", "moves with the step", "diverged"]


def test_table_and_figure_mark_the_choice_and_the_plateau(capsys):
    points = _judge([cell(0.5, 2.0), cell(1.0, 2.1), cell(2.0, 2.6)])
    found = Calibration(points, 1.0, 100.0)
    from rich.console import Console

    Console(width=120).print(tables.calibration_table(found))
    out = capsys.readouterr().out
    assert "0.5 – 1" in out
    assert "2: moves with the step" in out
    assert "1 *" in out
    figure = plots.plot_calibration(found)
    assert "the target's" in figure.axes[0].get_title()


def test_impossible_grids_are_refused(linear):
    with pytest.raises(ValueError, match="step_factors is"):
        slt.calibrate(linear[0], step_factors=(0.0,))
    box = slt.potential_target(lambda w: jnp.sum(w**2), jnp.zeros(1), nbeta=10.0, box=(-1, 1))
    with pytest.raises(ValueError, match="Gaussian localisation"):
        slt.calibrate(box)


def white(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("slope", [2.0, -2.0])
def test_half_drift_of_a_planted_trend(slope):
    """A line from 0 to s: halves differ by s/2; the trend's own spread is in their error, so only the sign is exact."""
    drift = half_drift(white((8, 1000)) + np.linspace(0, slope, 1000))
    assert np.sign(drift) == np.sign(slope)
    assert abs(drift) > 4


def test_half_drift_of_white_noise_is_standard_normal():
    """200 runs: mean within 0.35, spread within 25 %; both 5 standard errors."""
    drifts = [half_drift(white((4, 200), seed)) for seed in range(200)]
    assert abs(np.mean(drifts)) < 5 / np.sqrt(200)
    assert np.std(drifts) == pytest.approx(1, abs=0.25)
