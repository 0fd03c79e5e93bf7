import errno
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from store.test_store import make_result

import slt
from slt._types import Estimate
from slt.draws import Result
from slt.estimate import series
from slt.store import cache

X = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)


def square(w, rows):
    return (rows @ w) ** 2


def target_of(w, *, data=X, loss=square, localization=1.0):
    return slt.loss_target(loss, jnp.asarray(w, jnp.float32), data, localization=localization)


seeds = []
CHECKPOINTS = {0: [0.1, 0.2], 10: [0.2, 0.2], 100: [0.3, 0.1]}


@pytest.fixture
def runs(monkeypatch):
    """Stands in for the estimate: takes no time, keeps what it was called with, and fails when asked to."""
    calls = []
    seeds.clear()

    def estimate_llc(target, *, checkpoint, warm_start, **options):
        if runs_left[0] == 0:
            raise KeyboardInterrupt
        runs_left[0] -= 1
        calls.append((target, warm_start))
        seeds.append(options["seed"])
        value = float(jnp.sum(target.minimum))
        result = make_result(localization=target.localization)
        settings = result.settings | {"step_size": value, "batch_size": 20}
        return result._replace(estimates={"llc": Estimate(value, 0.01, 10.0)}, settings=settings)

    runs_left = [1000]
    calls_left = calls, runs_left
    monkeypatch.setattr(series, "estimate_llc", estimate_llc)
    return calls_left


def test_points_are_in_order_and_tuning_starts_from_the_one_before(tmp_path, runs):
    found = slt.estimate_series(target_of, dict(reversed(CHECKPOINTS.items())), folder=tmp_path)
    assert [result.settings["checkpoint"] for result in found.results] == [0, 10, 100]
    np.testing.assert_allclose([r.estimates["llc"].value for r in found.results], [0.3, 0.4, 0.4], rtol=1e-5)
    warm = [before and before.estimates["llc"].value for _, before in runs[0]]
    assert warm[0] is None
    np.testing.assert_allclose(warm[1:], [0.3, 0.4], rtol=1e-5)
    assert found.results[0].diagnostics["train_loss"] == pytest.approx(target_of([0.1, 0.2]).loss_at_minimum)


def test_a_stopped_series_goes_on_where_it_stopped_and_a_second_call_computes_nothing(tmp_path, runs):
    calls, left = runs
    left[0] = 2
    with pytest.raises(KeyboardInterrupt):
        slt.estimate_series(target_of, CHECKPOINTS, folder=tmp_path)
    left[0] = 1000
    resumed = slt.estimate_series(target_of, CHECKPOINTS, folder=tmp_path)
    assert resumed.hits == 2
    assert len(calls) == 3
    assert calls[2][1].estimates["llc"].value == pytest.approx(0.4)  # warm from the stored point
    again = slt.estimate_series(target_of, CHECKPOINTS, folder=tmp_path)
    assert (again.hits, len(calls)) == (3, 3)
    assert [r.estimates for r in again.results] == [r.estimates for r in resumed.results]


@pytest.mark.parametrize(
    "changed",
    [
        lambda w: target_of(w, data=X + 1e-3),
        lambda w: target_of(w, loss=lambda w, rows: jnp.abs(rows @ w)),
        lambda w: target_of(w, localization=2.0),
        lambda w: target_of(np.asarray(w) + 1e-4),
        lambda w: slt.loss_target(square, jnp.asarray(w), X, localization=1.0, inverse_temperature=0.5),
    ],
    ids=["data", "loss", "localization", "parameters", "temperature"],
)
def test_a_changed_ingredient_is_no_hit(tmp_path, runs, changed):
    slt.estimate_series(target_of, CHECKPOINTS, folder=tmp_path)
    assert slt.estimate_series(changed, CHECKPOINTS, folder=tmp_path).hits == 0


def test_changed_options_and_measures_are_no_hits(tmp_path, runs):
    def call(factor, **options):
        measures = {"size": lambda target: Estimate(factor * target.num_params, 0.0)}
        return slt.estimate_series(target_of, CHECKPOINTS, folder=tmp_path, measures=measures, **options)

    assert call(1).results[0].estimates["size"].value == 2
    assert call(1).hits == 3
    assert call(2).hits == 0
    assert call(2, seed=1).hits == 0
    assert call(2, seed=1).hits == 3


def test_every_point_has_a_seed_of_its_own_that_others_do_not_change(tmp_path, runs):
    slt.estimate_series(target_of, CHECKPOINTS, folder=tmp_path / "a")
    slt.estimate_series(target_of, {10: CHECKPOINTS[10]}, folder=tmp_path / "b", warm_start=False)
    slt.estimate_series(target_of, CHECKPOINTS, folder=tmp_path / "c", seed=1)
    assert seeds[3] == seeds[1]
    assert len(set(seeds)) == 6


@pytest.mark.parametrize("name", ["llc", "llc_variance", "llc_two_temperature"])
def test_a_measure_may_not_take_the_place_of_the_estimate(tmp_path, runs, name):
    with pytest.raises(ValueError, match=f"a measure is called '{name}', as is one of every run"):
        slt.estimate_series(target_of, CHECKPOINTS, folder=tmp_path, measures={name: lambda target: Estimate(1.0, 0.0)})
    with pytest.raises(ValueError, match="a number to report is called 'rhat'"):
        slt.estimate_series(lambda w: (target_of(w), {"rhat": 1.0}), CHECKPOINTS, folder=tmp_path)


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_measures_of_any_name_are_stored(tmp_path, runs, suffix):
    names = ["log V/n", "2nd", "size", "size_mcse", "checkpoint", "verdict", "rhat"]
    measures = {name: lambda target, i=i: Estimate(float(i), 0.5) for i, name in enumerate(names)}
    found = slt.estimate_series(target_of, CHECKPOINTS, folder=tmp_path / "points", measures=measures).results
    path = slt.store.save(found, tmp_path / f"a{suffix}", coordinate="checkpoint")
    assert [r.estimates for r in slt.store.load(path)] == [r.estimates for r in found]
    assert found[0].estimates["size_mcse"] == Estimate(3.0, 0.5)


def test_a_point_in_between_leaves_the_others(tmp_path, runs):
    slt.estimate_series(target_of, CHECKPOINTS, folder=tmp_path)
    assert slt.estimate_series(target_of, CHECKPOINTS | {50: [0.5, 0.5]}, folder=tmp_path).hits == 3


def test_the_same_content_has_the_same_name_in_another_process():
    program = (
        "import sys; sys.path[:0] = ['.', 'tests', 'tests/estimate']\n"
        "from test_series import target_of\nfrom slt.store.cache import fingerprint, function_digest\n"
        "print(fingerprint(target_of([0.1, 0.2]), seed=1), function_digest(target_of))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    there = done.stdout.split()
    assert there == [cache.fingerprint(target_of([0.1, 0.2]), seed=1), cache.function_digest(target_of)]


def test_series_at_different_localisations_or_of_nothing_are_refused(tmp_path, runs):
    with pytest.raises(ValueError, match="comparable only at one gamma"):
        slt.estimate_series(lambda w: target_of(w, localization=None), CHECKPOINTS, folder=tmp_path)
    with pytest.raises(ValueError, match="no checkpoints"):
        slt.estimate_series(target_of, {}, folder=tmp_path)


def test_a_full_disk_is_said_and_what_was_stored_is_whole(tmp_path, runs, monkeypatch):
    first = slt.estimate_series(target_of, {0: CHECKPOINTS[0]}, folder=tmp_path)

    def refuse(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(cache, "save", refuse)
        full.setattr(cache.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 0}))
        with pytest.raises(OSError, match=r"disk of .* is full: 0 bytes are left.* 1 stored before"):
            slt.estimate_series(target_of, CHECKPOINTS, folder=tmp_path)
    again = slt.estimate_series(target_of, CHECKPOINTS, folder=tmp_path)
    assert again.hits == 1
    assert again.results[0].estimates == first.results[0].estimates


def test_warm_tuning_gives_the_estimate_of_cold_tuning():
    target = slt.loss_target(lambda w, rows: 0.5 * (rows @ w) ** 2, jnp.zeros(2), 3 * X, localization=1.0)
    options = {"sampler": "chains", "max_gradients": 1_000_000, "num_chains": 2}
    cold = slt.estimate_llc(target, **options)
    warm = slt.estimate_llc(target, warm_start=cold, **options)
    assert isinstance(warm, Result)
    assert warm.settings["step_size"] <= cold.settings["step_size"] * 1.2
    hessian = target.nbeta * np.linalg.eigvalsh((3 * X).T @ (3 * X) / len(X))
    exact = 0.5 * np.sum(hessian / (hessian + 1))
    for result in (cold, warm):
        estimate = result.estimates["llc"]
        assert abs(estimate.value - exact) < 5 * estimate.mcse
        assert estimate.mcse < 0.1
