"""Sweeps over configurations, on builtin `map` and on Dask workers that are killed."""

import asyncio
import concurrent.futures
import os
import signal
import time

import numpy as np
import pytest
from store.test_store import make_result

from slt import store
from slt.app import experiment
from slt.app.config import parse_config

distributed = pytest.importorskip("distributed", reason="the extra slt-toolkit[dask] is not installed")


def configs(seeds, *, name="pow2"):
    text = '[model]\nbuiltin = "{}"\n[posterior]\ninverse_temperature = 1000.0\n[run]\nseed = {}\ntolerance = 0.2\n'
    return [parse_config(text.format(name, seed)) for seed in seeds]


def fake(config, *, checkpoint):
    if config.run.seed == 13:
        raise ValueError("seed 13 is refused")
    return [make_result(seed=config.run.seed)]


def test_a_sweep_is_in_order_and_done_once(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(
        experiment, "run_config", lambda c, *, checkpoint: calls.append(c) or fake(c, checkpoint=checkpoint)
    )
    found = experiment.sweep(configs([3, 1, 2]), tmp_path)
    assert [results[0].estimates["llc"].value for results in found] == pytest.approx([3.1, 1.1, 2.1])
    experiment.sweep(configs([3, 1, 2, 4]), tmp_path)
    assert [c.run.seed for c in calls] == [3, 1, 2, 4]


def test_a_configuration_that_fails_leaves_the_others_stored(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "run_config", fake)

    class Future:
        def __init__(self, function, *args):
            self.result = lambda: function(*args)

    def futures(function, *args):
        return [Future(function, *one) for one in zip(*args, strict=True)]

    for way in (map, futures):
        with pytest.raises(ValueError, match="seed 13 is refused") as raised:
            experiment.sweep(configs([13, 1, 2]), tmp_path, map=way)
        assert "2 of 3 configurations are done" in raised.value.__notes__[0]
    assert len(list(tmp_path.glob("*.nc"))) == 2


class Lost:
    """A future whose scheduler is gone, or that never ends."""

    def __init__(self, error):
        self.error = error

    def result(self, timeout=None):
        raise self.error


@pytest.mark.parametrize(
    ("error", "options", "kind", "message"),
    [
        (concurrent.futures.CancelledError("scheduler-connection-lost"), {}, ConnectionError, "scheduler was lost"),
        (asyncio.CancelledError(), {}, ConnectionError, "scheduler was lost"),
        (TimeoutError(), {"patience": 5.0}, TimeoutError, "no configuration ended within 5.0 s"),
    ],
)
def test_a_lost_scheduler_is_said_with_what_is_stored(tmp_path, monkeypatch, error, options, kind, message):
    monkeypatch.setattr(experiment, "run_config", fake)

    def futures(function, first, second):
        return [function(first[0], second[0]), Lost(error), Lost(error)]

    with pytest.raises(kind, match=message) as raised:
        experiment.sweep(configs([1, 2, 3]), tmp_path, map=futures, **options)
    assert "1 of 3 configurations are done and stored" in raised.value.__notes__[0]
    assert len(experiment.sweep(configs([1, 2, 3]), tmp_path)) == 3


def test_workers_killed_in_the_middle_lose_nothing(tmp_path):
    """One of two workers is killed while it works; the sweep ends with the same bits as one without workers."""
    chosen = configs([0, 1])
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        futures = client.map(experiment._sweep_one, chosen, [tmp_path / "killed"] * 2)
        deadline = time.monotonic() + 60
        while not (busy := [w for w, tasks in client.processing().items() if tasks]) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(client.run(os.getpid)[busy[0]], signal.SIGKILL)
        assert len(client.gather(futures)) == 2
        found = experiment.sweep(chosen, tmp_path / "killed", map=client.map)
    alone = experiment.sweep(chosen, tmp_path / "alone")
    for (a,), (b,) in zip(found, alone, strict=True):
        assert a.estimates == b.estimates
        np.testing.assert_array_equal(a.draws.loss, b.draws.loss)
    assert not [path for path in (tmp_path / "killed").iterdir() if path.suffix != ".nc"]


def test_a_folder_the_workers_do_not_share_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="give a folder that all workers share"):
        experiment.sweep(configs([0]), tmp_path, map=lambda f, *args: ["done elsewhere"])


def test_the_results_of_a_series_are_along_a_dimension_named_checkpoint(tmp_path):
    results = [make_result(seed=i, num_draws=5 + i) for i in range(3)]
    results = [r._replace(settings=r.settings | {"checkpoint": 10.0**i}) for i, r in enumerate(results)]
    path = store.save(results, tmp_path / "a.nc", coordinate="checkpoint")
    root = store.open_datatree(path).dataset
    assert root["llc"].dims == ("checkpoint",)
    np.testing.assert_array_equal(root["checkpoint"], [1.0, 10.0, 100.0])
    np.testing.assert_allclose(root["llc"], [0.1, 1.1, 2.1])
    assert list(root["verdict"].values) == ["converged"] * 3
