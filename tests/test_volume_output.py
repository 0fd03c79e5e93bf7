"""Tables and figures of volumes, from made-up results."""

import io
import math

import numpy as np
import pytest
from rich.console import Console

from slt import plotting, tables
from slt._types import Estimate
from slt.draws import Verdict
from slt.geometry.sharpness import radius_growth, spread_spectrum
from slt.geometry.volume import Prior, VolumeRow, hessian_volumes
from slt.geometry.volume_scaling import Exponent, Scaling


def render(table, width=100):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(table)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    return text


def rows_at(threshold):
    rows = hessian_volumes(np.array([0.0, 1.0, 30.0]), threshold=threshold, prior=Prior(1.0))
    return [*rows, VolumeRow("radial, star-shaped", -4.0, math.inf, "initialisation", "One ray carries it.")]


def make_scaling():
    levels = np.tile(-np.linspace(0, 50, 60), (4, 1))
    volumes = 0.5 * levels + np.random.default_rng(0).normal(0, 0.1, levels.shape)
    exponent = Exponent(Estimate(0.502, 0.003, 3), 1, 0.8, Estimate(0.51, 0.01, 3), (-50.0, -8.0), 1.0)
    return Scaling(exponent, Verdict("not converged", ("The budget ended.",)), levels, volumes, 0, 2)


def test_a_volume_table_shows_every_treatment_and_every_reason_once():
    text = render(tables.volume_table(rows_at(0.01)))
    assert "∞" in text
    assert "fuzzy ellipsoid" in text
    assert text.count("H is singular: 1 of 3") == 1
    assert "exact" in text
    assert "inf" in text.replace("infinite", "")  # the refused radial estimate has no error bar


def test_a_scaling_table_puts_the_hessian_beside_the_exponent():
    text = render(tables.scaling_table([("x2y2", 0.5, make_scaling()), ("unknown", None, make_scaling())]))
    assert "0.5020 ± 0.0030" in text
    assert "+0.4 %" in text
    assert "1 (80%)" in text
    assert "The budget ended." in text


def test_the_figures_are_drawn():
    thresholds = (1e-3, 1e-2, 1e-1)
    rows = [rows_at(t) for t in thresholds]
    volumes = plotting.plot_volumes(thresholds, rows)
    assert len(volumes.axes[0].containers) == 4  # the infinite one is not drawn
    assert len(volumes.axes[1].containers) == 3
    exponent = plotting.plot_exponent(make_scaling(), rlct=0.5)
    assert len(exponent.axes) == 2
    growth = radius_growth(np.random.default_rng(0), np.ones(5), (1, 10), repetitions=5)
    misleading = plotting.plot_misleading([growth], [[spread_spectrum(5, d) for d in (0, 2)]])
    assert len(misleading.axes) == 2
    with pytest.raises(ValueError, match="as many"):
        plotting.plot_volumes(thresholds, rows[:1])
