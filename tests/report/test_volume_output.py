"""Tables and figures of volumes, from made-up results."""

import io
import math

import numpy as np
from rich.console import Console

from slt.geometry.volume import VolumeRow, hessian_volumes
from slt.report import tables
from slt.targets.gaussian import Gaussian


def render(table, width=100):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(table)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    return text


def rows_at(threshold):
    rows = hessian_volumes(np.array([0.0, 1.0, 30.0]), threshold=threshold, prior=Gaussian(0.0, 1.0))
    return [*rows, VolumeRow("radial, star-shaped", -4.0, math.inf, "initialisation", "One ray carries it.")]


def test_a_volume_table_shows_every_treatment_and_every_reason_once():
    text = render(tables.volume_table(rows_at(0.01)))
    assert "∞" in text
    assert "fuzzy ellipsoid" in text
    assert text.count("H is singular: 1 of 3") == 1
    assert "exact" in text
    assert "inf" in text.replace("infinite", "")  # the refused radial estimate has no error bar
