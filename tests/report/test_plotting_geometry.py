"""Figures of the geometry: they show the numbers they were given."""

import jax
import numpy as np
import pytest
from geometry.matrices import MATVEC, with_spectrum

from slt.geometry.lanczos import lanczos_spectrum
from slt.geometry.spectrum import exact_spectrum
from slt.report.plots import plot_density, plot_rank_by_layer
from slt.studies.information import InformationLoss, Layer

VALUES = np.concatenate([[-0.2], np.zeros(30), np.logspace(-4, 1, 29)])


def test_the_density_figure_holds_curve_histogram_and_resolution():
    spectrum = lanczos_spectrum(MATVEC, 60, jax.random.key(0), args=(with_spectrum(VALUES),), num_steps=20)
    top, bottom = plot_density(spectrum, exact=VALUES).axes
    assert top.get_yscale() == bottom.get_xscale() == "log"
    x, y = top.lines[0].get_data()
    assert np.trapezoid(y, x) == pytest.approx(1, abs=0.1)
    steps = bottom.lines[0].get_xdata()
    np.testing.assert_allclose(steps, np.sort(np.abs(VALUES))[::-1])
    labels = [text.get_text() for text in bottom.get_legend().get_texts()]
    assert labels == ["all eigenvalues", "Lanczos", "below the resolution"]


def test_an_exact_spectrum_is_drawn_without_a_sampled_curve():
    top, bottom = plot_density(exact_spectrum(VALUES)).axes
    assert (len(top.lines), len(bottom.lines)) == (0, 1)


def test_rank_by_layer_draws_every_layer():
    layer = Layer("layer_0", 10, 0, 6, 8, 4, 0.0, 0.0, 0, 12)
    report = InformationLoss((layer, layer._replace(name="layer_1", rank=3)), 8, 10, 20, 20, 2, 0, 0)
    top, bottom = plot_rank_by_layer(report).axes
    assert [bar.get_height() for bar in top.containers[0]] == [6, 3]
    assert [label.get_text() for label in bottom.get_xticklabels()] == ["layer_0", "layer_1"]
