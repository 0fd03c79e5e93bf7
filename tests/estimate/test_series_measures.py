"""Further measures along a series: values, refusals, what is computed again, what is stored, printed and drawn."""

import io

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_agrees
from rich.console import Console
from store.test_store import make_result

import slt
from slt import store
from slt._types import Estimate
from slt.app.config import SeriesConfig
from slt.estimate import series
from slt.report import plots, tables

N, GAMMA, SLOPE = 40, 3.0, 2.0
X = np.random.default_rng(3).normal(0.0, 1.0, N).astype(np.float32)
BOTH = ("singular_fluctuation", "volume")
OPTIONS = {"tolerance": 0.02}


def loss(w, x):
    """x ~ N(w, 1) up to a constant, and flat in the second direction."""
    return (x - w[0]) ** 2 / 2 + 0 * w[1]


def build(at):
    """The minimum is the mean of the data; elsewhere is a slope."""
    minimum = jnp.asarray([X.mean() + at, 0.0], jnp.float32)
    return slt.loss_target(loss, minimum, X, localization=GAMMA)


CHECKPOINTS = {1: SLOPE, 10: 0.0, 100: 0.0}
NBETA = N / np.log(N)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    return slt.estimate_series(build, CHECKPOINTS, folder=folder, measures=BOTH, **OPTIONS), folder


def exact_fluctuation():
    """beta/2 sum_i Var (x_i - w)^2/2 under N(mean, 1/(n beta + gamma))."""
    var = 1 / (NBETA + GAMMA)
    return 0.5 / np.log(N) * np.sum((X - X.mean()) ** 2 * var + var**2 / 2)


def test_both_measures_are_of_the_posterior_of_the_estimate(found):
    result = found[0].results[1]
    assert result.verdict.status == "converged"
    assert result.refused is None
    assert_agrees(result.estimates["llc"], 0.5 * NBETA / (NBETA + GAMMA), resolution=0.1, false_fail=1e-6)
    exact = exact_fluctuation()
    assert_agrees(result.estimates["singular_fluctuation"], exact, resolution=0.2 * exact, false_fail=1e-6)
    assert result.estimates["volume"].value == pytest.approx(-0.5 * np.log1p(NBETA / GAMMA), rel=1e-4)
    assert result.estimates["volume"].mcse == 0


def test_a_checkpoint_that_is_no_minimum_is_refused_and_the_series_goes_on(found):
    first, second, _ = found[0].results
    assert first.verdict.status == "not a minimum"
    for name in BOTH:
        assert np.isnan(first.estimates[name].value)
        assert first.refused[name].status == "not a minimum"
        assert first.refused[name].reasons[0].startswith("It read ")
        assert "w* is not a minimum" in first.refused[name].reasons[1]
        assert np.isfinite(second.estimates[name].value)


def test_a_second_call_and_fewer_measures_compute_nothing(found, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("computed again")

    whole, folder = found
    monkeypatch.setattr(series, "estimate_llc", refuse)
    for measures in (BOTH, ("volume",), "singular_fluctuation", ()):
        again = slt.estimate_series(build, CHECKPOINTS, folder=folder, measures=measures, **OPTIONS)
        assert again.hits == 3
        asked = [measures] if isinstance(measures, str) else measures
        for left, right in zip(whole.results, again.results, strict=True):
            assert set(right.estimates) == set(left.estimates) - set(BOTH) | set(asked)
            assert right.estimates["llc"] == left.estimates["llc"]
            assert all(str(right.estimates[name]) == str(left.estimates[name]) for name in asked)


def test_a_measure_added_later_leaves_the_estimates(tmp_path, monkeypatch):
    """The volume does not run anything again; the fluctuation does, and gives the same estimate by the same chains."""
    options = {"sampler": "chains", "max_gradients": 300_000, "num_chains": 2}
    only = {10: 0.0}
    runs, run = [], series.estimate_llc
    monkeypatch.setattr(series, "estimate_llc", lambda *args, **named: runs.append(1) or run(*args, **named))

    def estimates(*measures):
        done = slt.estimate_series(build, only, folder=tmp_path, measures=measures, **options)
        return done.results[0].estimates, done.hits, len(runs)

    plain, _, _ = estimates()
    with_volume, hits, count = estimates("volume")
    assert (hits, count) == (0, 1)
    both, hits, count = estimates(*BOTH)
    assert (hits, count) == (0, 2)
    assert plain["llc"] == with_volume["llc"] == both["llc"]
    assert estimates(*BOTH)[1:] == (1, 2)


def test_functions_stand_beside_names_and_their_refusals_are_kept(tmp_path, monkeypatch):
    calls = []

    def own(target):
        calls.append(target)
        if len(calls) == 1:
            raise ValueError("no number here")
        return Estimate(float("nan") if len(calls) == 2 else 5.0, 0.0)

    measures = {"log V": "volume", "mine": own}
    monkeypatch.setattr(series, "estimate_llc", lambda target, **_: make_result())
    results = slt.estimate_series(build, CHECKPOINTS, folder=tmp_path, measures=measures).results
    kept = [result.refused["mine"] if result.refused and "mine" in result.refused else None for result in results]
    assert kept[0] == ("not available", ("no number here",))
    assert kept[1] == ("not available", ("It read nan ± 0.",))
    assert kept[2] is None
    assert results[2].estimates["mine"] == Estimate(5.0, 0.0)
    assert "log V" in results[2].estimates


def test_unknown_measures_are_refused_before_anything_is_done(tmp_path):
    with pytest.raises(ValueError, match="no measure 'nu'; known by name are singular_fluctuation and volume"):
        slt.estimate_series(build, CHECKPOINTS, folder=tmp_path, measures=("nu", "volume"))
    assert not list(tmp_path.iterdir())


def test_a_potential_has_a_volume_and_no_fluctuation(tmp_path):
    def bowl(at):
        return slt.potential_target(lambda w: at * w @ w, jnp.zeros(2), nbeta=100.0)

    found = slt.estimate_series(bowl, {1.0: 1.0}, folder=tmp_path, measures=BOTH)
    assert found.results[0].estimates["volume"].value == pytest.approx(-np.log1p(200), rel=1e-4)
    assert "A potential has no data" in found.results[0].refused["singular_fluctuation"].reasons[0]


def test_a_fluctuation_that_cannot_be_told_is_not_converged(tmp_path, monkeypatch):
    monkeypatch.setattr("slt.estimate.criteria.MIN_DOF", 1e9)
    (result,) = slt.estimate_series(
        build, {10: 0.0}, folder=tmp_path, measures=BOTH, max_gradients=100_000, sampler="chains"
    ).results
    assert result.refused["singular_fluctuation"].status == "not converged"
    assert "have not mixed" in result.refused["singular_fluctuation"].reasons[0]
    assert "volume" not in result.refused


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_one_tree_holds_values_and_refusals_along_the_checkpoints(found, tmp_path, suffix):
    results = found[0].results
    path = store.save(results, tmp_path / f"a{suffix}", coordinate="checkpoint")
    again = store.load(path)
    for left, right in zip(results, again, strict=True):
        assert left.refused == right.refused
        assert {k: str(v) for k, v in left.estimates.items()} == {k: str(v) for k, v in right.estimates.items()}
    along = store.open_datatree(path).dataset
    assert along["volume"].dims == ("checkpoint",)
    np.testing.assert_array_equal(along["checkpoint"], [1, 10, 100])
    assert list(along["volume_verdict"].values) == ["not a minimum", "converged", "converged"]
    np.testing.assert_array_equal(np.isnan(along["singular_fluctuation"]), [True, False, False])


def test_the_table_shows_numbers_and_refusals(found):
    console = Console(width=150, record=True, file=io.StringIO())
    console.print(tables.series_table(found[0].results))
    text = console.export_text()
    assert "ν ± error" in text
    assert "log V [nats]" in text
    first = next(line for line in text.splitlines() if line.split()[:1] == ["1"])
    assert first.count("refused") == 2
    flat = " ".join(text.split())
    assert "volume is refused at 1 (not a minimum). It read" in flat


def test_a_single_result_says_what_was_refused(found):
    console = Console(width=150, record=True, file=io.StringIO())
    console.print(tables.result_table(found[0].results[0]))
    assert "volume is refused (not a minimum). It read" in " ".join(console.export_text().split())


@pytest.mark.filterwarnings("error")
def test_the_figure_has_a_panel_a_measure_and_marks_the_refused(found, tmp_path):
    figure = plots.plot_series(found[0].results)
    figure.savefig(tmp_path / "a.png")
    top, nu, volume, losses = figure.axes
    assert "λ̂" in top.get_ylabel()
    assert "ν̂" in nu.get_ylabel()
    assert "log V" in volume.get_ylabel()
    assert "loss" in losses.get_ylabel()
    for ax in (nu, volume):
        (crosses,) = [line for line in ax.lines if line.get_marker() == "x"]
        np.testing.assert_array_equal(crosses.get_xdata(), [1])
    assert not [line for line in top.lines if line.get_marker() == "x"]
    (hollow,) = [line for line in top.lines if line.get_markerfacecolor() == "white"]
    np.testing.assert_array_equal(hollow.get_xdata(), [1])


def test_the_configuration_takes_measures():
    assert SeriesConfig(checkpoints="*").measures == ()
    assert SeriesConfig(checkpoints="*", measures=["volume"]).measures == ("volume",)
