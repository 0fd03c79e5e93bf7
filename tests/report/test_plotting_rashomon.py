"""Figures of the Rashomon laboratory: they show the numbers they were given."""

import numpy as np
import pytest

from slt.report.plots import plot_embedding, plot_near_zero, plot_paths, plot_slices, plot_wells
from slt.report.plots.base import BLUE, ORANGE
from slt.studies.rashomon.paths import Connection
from slt.studies.rashomon.slices import Slice, Wells


def xy(line):
    return np.asarray(line.get_xydata())


def test_near_zero_histograms_count_the_runs_and_mark_the_maximum():
    counts = {
        "stopped": {2: np.array([3, 4, 4, 5]), 3: np.array([8, 9])},
        "settled": {2: np.full(4, 5), 3: np.full(2, 9)},
    }
    figure = plot_near_zero(counts, {2: 6, 3: 9})
    assert len(figure.axes) == 4
    first = figure.axes[0]
    boxes = [bar.get_window_extent().transformed(first.transData.inverted()) for bar in first.patches]
    assert {round(box.x0 + 0.5): round(box.y1) for box in boxes} == {3: 1, 4: 2, 5: 1, 6: 0}
    assert first.get_title() == "width 2"
    assert [np.asarray(ax.lines[0].get_xdata())[0] for ax in figure.axes] == [6, 9, 6, 9]
    assert first.get_ylabel().startswith("stopped")


def test_slices_draw_the_logarithm_of_the_loss_and_the_marks():
    grid = np.linspace(-1, 1, 5)
    a, b = np.meshgrid(grid, 2 * grid)
    part = Slice(grid, 2 * grid, 10.0 ** (a + b), np.array([[0.0, 0.5], [0.5, 1.0]]))
    figure = plot_slices({"one plane": part, "another": part}, max_loss=1e-1)
    first, second, bar = figure.axes
    assert (first.get_title(), second.get_title()) == ("one plane", "another")
    np.testing.assert_allclose(xy(first.lines[0]), part.marks)
    assert "log" in bar.get_ylabel()
    outline = np.asarray(first.collections[1].get_paths()[0].vertices)
    np.testing.assert_allclose(outline.sum(1), -1, atol=1e-9)  # where a + b = log10 of 0.1


def test_paths_are_drawn_in_their_plane_and_along_their_arc():
    angle = np.linspace(0, np.pi, 50)
    points = np.stack([np.cos(angle), np.sin(angle), np.zeros(50)], axis=1)
    path = Connection(points, np.full(50, 1e-12), angle, True, 1e-12, 50)
    left, right = plot_paths({"walk": path}, tolerance=1e-8).axes
    drawn = xy(left.lines[0])
    np.testing.assert_allclose(np.linalg.norm(np.diff(drawn, axis=0), axis=1), np.diff(angle), rtol=1e-3)
    np.testing.assert_allclose(xy(right.lines[0]), np.stack([angle, path.loss], axis=1))
    assert right.get_yscale() == "log"
    assert xy(right.lines[-1])[0, 1] == 1e-8
    assert left.get_legend_handles_labels()[1] == ["walk"]


def test_wells_are_coloured_and_counted():
    start = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [0.0, 2.0]])
    lines = np.stack([start, start / 2], axis=1)
    flow = Wells(start, start / 2, lines, np.array([0, 1, 1, 1]), np.zeros(4))
    (ax,) = plot_wells(flow, title="K").axes
    assert [line.get_color() for line in ax.lines[:4]] == [BLUE, ORANGE, ORANGE, ORANGE]
    np.testing.assert_allclose(xy(ax.lines[1]), lines[1])
    assert ax.get_title() == "K  well 0: 25%, well 1: 75%"


def test_an_embedding_fills_the_nudges_inside_the_set():
    points = np.arange(8.0).reshape(4, 2)
    (ax,) = plot_embedding(points, [1e-3, 1.0, 1e-2, 2.0], max_loss=0.1).axes
    outside, inside = ax.lines
    np.testing.assert_allclose(xy(inside), points[[0, 2]])
    np.testing.assert_allclose(xy(outside), points[[1, 3]])
    assert ax.get_title().startswith("50%")


def test_a_slice_without_a_name_is_no_figure():
    with pytest.raises(ValueError, match="columns"):
        plot_slices({}, max_loss=1.0)
