import json
import os
from typing import NamedTuple

import arviz_stats
import jax
import numpy as np
import pytest
import xarray as xr

from slt import store
from slt._types import Estimate
from slt.draws import Draws, Result, Verdict
from slt.estimate.validation import ValidationRow

FORMATS = [".zarr", ".nc"]


def make_result(*, localization=1.0, seed=0, num_draws=20, num_warmup=5, positions=None, status="converged", data=0):
    rng = np.random.default_rng(seed)
    draws = Draws(
        loss=rng.normal(size=(4, num_draws)).astype(np.float32),
        warmup_loss=rng.normal(size=(4, num_warmup)),
        acceptance_rate=rng.uniform(size=(4, num_draws)),
        diverging=rng.uniform(size=(4, num_draws)) < 0.1,
        first_divergence=np.array([-1, 3, -1, -1]),
        num_gradients=12345,
        positions=positions,
        log_likelihood=rng.normal(size=(4, 7, data)).astype(np.float32) if data else None,
    )
    return Result(
        estimates={"llc": Estimate(0.1 + seed, 0.01, 37.5), "a_first": Estimate(1.0, np.nan), "z": Estimate(2.0, 0.0)},
        verdict=Verdict(status, ("R-hat is 1.2; run longer.", "w* is “not” a minimum: ‖∇L‖ = 3.")),
        draws=draws,
        diagnostics={"rhat": 1.0 / 3, "ess": np.inf, "gradient_norm": np.nan, "divergences": 2.0},
        settings={"sampler": "sgld", "step_size": 1e-5, "localization": localization, "seed": 2**60, "num_params": 3},
        pointwise={"waic": rng.normal(size=data), "a_first": rng.normal(size=data)} if data else None,
    )


def assert_identical(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert type(a) is type(b)
        assert np.asarray(a).dtype == np.asarray(b).dtype
        np.testing.assert_array_equal(a, b)
    for name in ("estimates", "diagnostics", "settings"):  # order matters to a table, and jax sorts it away
        assert list(getattr(left, name)) == list(getattr(right, name))


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("options", [{}, {"num_warmup": 0}, {"num_draws": 1}, {"status": "not a minimum"}, {"data": 6}])
def test_a_result_comes_back_bit_for_bit(tmp_path, suffix, options):
    result = make_result(**options)
    path = store.save([result], tmp_path / f"deep/er/a{suffix}")
    (again,) = store.load(path)
    assert_identical(result, again)
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_profile_comes_back_with_runs_of_different_length(tmp_path, suffix):
    profile = [make_result(localization=10.0**i, seed=i, num_draws=5 + i) for i in range(12)]
    again = store.load(store.save(profile, tmp_path / f"a{suffix}"))
    assert len(again) == 12
    for left, right in zip(profile, again, strict=True):
        assert_identical(left, right)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    "tree",
    [
        0.5,
        {"layer_0": {"weight": np.ones((2, 3)), "bias": np.zeros(3, np.float32)}},
        [np.arange(2.0), {"a/b": np.ones(1), "a_b": np.zeros(1)}],
    ],
)
def test_positions_come_back_as_the_same_tree(tmp_path, suffix, tree):
    positions = jax.tree.map(lambda x: np.broadcast_to(x, (4, 20, *np.shape(x))).copy(), tree)
    result = make_result(positions=positions)
    assert_identical(result, store.load(store.save([result], tmp_path / f"a{suffix}"))[0])


def test_positions_in_other_containers_come_back_as_dicts_and_lists():
    class Pair(NamedTuple):
        left: np.ndarray
        right: np.ndarray

    x = np.ones((4, 20))
    again = store.from_datatree(store.to_datatree([make_result(positions=(Pair(x, 2 * x), x))]))[0].draws.positions
    assert jax.tree.structure(again) == jax.tree.structure([{"left": 0, "right": 0}, 0])


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_file_follows_the_arviz_schema_and_says_where_it_comes_from(tmp_path, suffix):
    path = store.save([make_result()], tmp_path / f"a{suffix}", config="[run]\nseed = 1\n", target_hash="abc")
    tree = store.open_datatree(path)
    assert set(tree) >= {"sample_stats", "warmup_sample_stats", "constant_data", "estimates", "diagnostics"}
    assert tree["sample_stats"]["loss"].dims == ("chain", "draw")
    assert float(tree["estimates"]["llc_mcse"]) == 0.01
    assert tree.attrs["config"] == "[run]\nseed = 1\n"
    assert tree.attrs["target_hash"] == "abc"
    assert tree.attrs["jax_version"] == jax.__version__
    assert len(tree.attrs["config_hash"]) == 64
    text = json.dumps({k: str(v) for k, v in tree.attrs.items()})
    for private in (os.uname().nodename, os.getcwd(), str(tmp_path)):
        assert private not in text


def test_stored_log_likelihoods_are_the_ones_that_arviz_looks_for():
    result = make_result(data=6)
    tree = store.to_datatree([result])
    assert arviz_stats.get_log_likelihood(tree).dims == ("chain", "draw", "datum")
    np.testing.assert_array_equal(arviz_stats.get_log_likelihood(tree), result.draws.log_likelihood)
    assert tree["pointwise"]["waic"].dims == ("datum",)


@pytest.mark.parametrize("suffix", FORMATS)
def test_nothing_is_overwritten_unasked_nor_left_half_written(tmp_path, suffix, monkeypatch):
    path = store.save([make_result()], tmp_path / f"a{suffix}")
    with pytest.raises(FileExistsError, match="exists already"):
        store.save([make_result(seed=1)], path)
    store.save([make_result(seed=1)], path, overwrite=True)
    assert_identical(store.load(path)[0], make_result(seed=1))

    def fail(tree, target, **_):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(xr.DataTree, "to_zarr", fail)
    monkeypatch.setattr(xr.DataTree, "to_netcdf", fail)
    with pytest.raises(OSError, match="disk full"):
        store.save([make_result(seed=2)], path, overwrite=True)
    assert_identical(store.load(path)[0], make_result(seed=1))
    assert os.listdir(tmp_path) == [path.name]


def test_wrong_files_are_named(tmp_path):
    for suffix in FORMATS:
        with pytest.raises(FileNotFoundError, match="There is no result at"):
            store.load(tmp_path / f"nowhere{suffix}")
        damaged = tmp_path / f"damaged{suffix}"
        damaged.write_bytes(b"neither")
        with pytest.raises(ValueError, match="cannot be read as"):
            store.load(damaged)
    other = tmp_path / "other.nc"
    xr.DataTree(xr.Dataset({"a": 1.0})).to_netcdf(other, engine="netcdf4")
    with pytest.raises(ValueError, match="no stored result of slt"):
        store.load(other)
    for call in (lambda p: store.load(p), lambda p: store.save([make_result()], p)):
        with pytest.raises(ValueError, match=r"end the path in \.zarr or \.nc"):
            call(tmp_path / "a.h5")
    with pytest.raises(ValueError, match="give at least one"):
        store.save([], tmp_path / "a.nc")
    assert not (tmp_path / "a.nc").exists()


def test_a_truncated_netcdf_is_named(tmp_path):
    path = store.save([make_result()], tmp_path / "a.nc")
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ValueError, match="cannot be read as netcdf4"):
        store.load(path)


def test_validation_rows_come_back(tmp_path):
    rows = [
        ValidationRow("x^2 y^2", 0.5, 2, 200.0, 1 / 3, Estimate(0.36, 0.01, 11.5), 0.1, "converged", 2.5, 7),
        ValidationRow('odd, "name"', 1.0, 1, 1e4, 1.0, Estimate(np.nan, np.inf), np.nan, "biased", 0.0, 0),
    ]
    store.save_rows(rows, tmp_path / "rows.csv")
    again = store.load_rows(tmp_path / "rows.csv", ValidationRow)
    assert [str(row) for row in again] == [str(row) for row in rows]
    with pytest.raises(FileNotFoundError, match="no file"):
        store.load_rows(tmp_path / "nowhere.csv", ValidationRow)
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="not a table of"):
        store.load_rows(tmp_path / "other.csv", ValidationRow)
