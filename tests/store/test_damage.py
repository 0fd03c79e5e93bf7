"""What is not exactly what was stored is named and never taken; a write that fails or is killed leaves old or new."""

import errno
import os
import signal
import struct
import subprocess
import sys
import textwrap
import threading
import warnings
from pathlib import Path

import arviz_base
import numpy as np
import pytest
import xarray as xr
from store.test_store import FORMATS, assert_identical, make_result

from slt import store
from slt.store import exchange


@pytest.fixture(params=FORMATS)
def path(request, tmp_path):
    return store.save([make_result(data=3)], tmp_path / f"a{request.param}")


def equal_or_refused(path):
    """Whether it was refused; what is taken must be what was stored."""
    try:
        (result,) = store.load(path)
    except ValueError:
        return True
    assert_identical(result, make_result(data=3))
    return False


def test_every_file_of_a_zarr_may_be_lost_cut_or_changed(tmp_path):
    path = store.save([make_result(data=3)], tmp_path / "a.zarr")
    refused = 0
    files = sorted(file for file in path.rglob("*") if file.is_file())
    for i, file in enumerate(files):
        whole = file.read_bytes()
        flipped = bytearray(whole)
        flipped[(7 * i) % len(whole)] ^= 1 << (i % 8)
        damaged = (None, whole[:-1], bytes(flipped))[i % 3]
        file.unlink() if damaged is None else file.write_bytes(damaged)
        refused += equal_or_refused(path)
        file.write_bytes(whole)
    assert refused > len(files) / 3  # the rest is metadata that the consolidated ones repeat
    assert not equal_or_refused(path)


def test_bits_of_a_netcdf_may_flip_and_its_end_be_lost(tmp_path):
    path = store.save([make_result(data=3)], tmp_path / "a.nc")
    whole = path.read_bytes()
    value = whole.find(struct.pack("<d", make_result().estimates["llc"].value))
    refused = 0
    for at in (value, value + 6, *np.random.default_rng(0).integers(0, len(whole), 25)):
        flipped = bytearray(whole)
        flipped[at] ^= 0x10
        path.write_bytes(flipped)
        refused += equal_or_refused(path)
        assert refused or at not in (value, value + 6)
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert equal_or_refused(path) or size == len(whole) - 1  # the last byte may be one of no use


def test_what_was_changed_by_others_is_refused(path, tmp_path):
    tree = store.open_datatree(path)
    changed = tree.copy(deep=True)
    changed["estimates"]["llc"] = changed["estimates"]["llc"] + 1
    lost = tree.copy(deep=True)
    del lost["diagnostics"]
    shuffled = tree.copy(deep=True)
    shuffled["sample_stats"] = xr.DataTree(shuffled["sample_stats"].to_dataset().transpose("draw", "chain"))
    renamed = tree.copy(deep=True)
    renamed.attrs["verdict"] = "not converged"
    for name, other in {"changed": changed, "lost": lost, "shuffled": shuffled, "renamed": renamed}.items():
        where = tmp_path / f"{name}{path.suffix}"
        other.to_zarr(where, consolidated=False) if where.suffix == ".zarr" else other.to_netcdf(where)
        with pytest.raises(ValueError, match=f"{name}.*is damaged, or was changed"):
            store.load(where)


def test_a_tree_in_memory_may_have_its_dimensions_in_any_order_and_names_what_it_lacks():
    tree = store.to_datatree([make_result(positions={"w": np.ones((4, 20, 2))})])
    turned = tree.copy(deep=True)
    for group in ("sample_stats", "posterior"):
        turned[group] = xr.DataTree(turned[group].to_dataset().transpose("draw", ..., "chain"))
    assert_identical(store.from_datatree(turned)[0], store.from_datatree(tree)[0])
    for part in ("estimates", "sample_stats/loss", "constant_data"):
        without = tree.copy(deep=True)
        if "/" in part:
            without["sample_stats"] = xr.DataTree(without["sample_stats"].to_dataset().drop_vars("loss"))
        else:
            del without[part]
        with pytest.raises(ValueError, match="incomplete or was written by another version"):
            store.from_datatree(without)


@pytest.mark.parametrize("suffix", FORMATS)
def test_files_of_others_are_no_results(tmp_path, suffix):
    posterior = arviz_base.from_dict({"posterior": {"llc": np.zeros((2, 5))}})
    old = store.to_datatree([make_result()])
    old.attrs["slt_format"] = "slt-result-1"
    for i, tree in enumerate((posterior, old, xr.DataTree(xr.Dataset({"a": 1.0})))):
        path = tmp_path / f"{i}{suffix}"
        tree.to_zarr(path, consolidated=False) if suffix == ".zarr" else tree.to_netcdf(path)
        with pytest.raises(ValueError, match=f"{i}{suffix} is no stored result of slt"):
            store.load(path)
    with pytest.raises(ValueError, match="slt-result-1; due"):
        store.from_datatree(old)


def test_a_table_of_validation_that_was_cut_off_is_refused(tmp_path):
    from slt._types import Estimate
    from slt.estimate.validation import ValidationRow

    path = tmp_path / "rows.csv"
    row = ValidationRow("x^2", 0.5, 1, 1e4, 0.5, Estimate(0.5, 0.01, 11.5), 0.0, "converged", 2.5, 7)
    store.save_rows([row, row], path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"rows\.csv is not a table.*cut off"):
        store.load_rows(path, ValidationRow)


# ---------------------------------------------------------------- writing


@pytest.mark.parametrize("exchanges", [True, False])
@pytest.mark.parametrize("which", [1, 2, 3])
def test_a_move_that_fails_leaves_the_old_result(path, monkeypatch, exchanges, which):
    """Two moves in a row fail. Folders go by way of a third place where the system cannot exchange two."""
    moves, replace = [], Path.replace

    def fail(self, target):
        if target.parent != path.parent:  # one of zarr's own
            return replace(self, target)
        moves.append(target)
        if len(moves) in (which, which + 1):
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    monkeypatch.setattr(exchange, "_exchange", exchange._exchange if exchanges else lambda *_: False)
    enough = which > 1 if path.suffix == ".nc" else exchanges
    if enough:
        store.save([make_result(seed=1)], path, overwrite=True)
    else:
        with pytest.raises(OSError, match=f"{path.name} could not be written"):
            store.save([make_result(seed=1)], path, overwrite=True)
    monkeypatch.undo()
    assert_identical(store.load(path)[0], make_result(seed=1) if enough else make_result(data=3))


KILLED = """
    import importlib.util, os, pathlib, signal, sys
    spec = importlib.util.spec_from_file_location("exchange", sys.argv[1])
    exchange = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(exchange)
    calls, replace = [], pathlib.Path.replace

    def die(*args):
        calls.append(args)
        if len(calls) == int(sys.argv[4]):
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(*args)

    pathlib.Path.replace = die
    if len(sys.argv) > 5:
        exchange._exchange = lambda *_: False
    exchange.put(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))
"""


@pytest.mark.parametrize("exchanges", [True, False])
@pytest.mark.parametrize("moment", [1, 2, 3])
def test_a_writer_killed_between_two_moves_leaves_the_old_or_the_new(path, tmp_path, exchanges, moment):
    new = store.save([make_result(seed=1)], tmp_path / f"new{path.suffix}")
    args = [exchange.__file__, str(new), str(path), str(moment), *["no"] * (not exchanges)]
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), *args], check=False, timeout=60)
    assert done.returncode in (0, -signal.SIGKILL)
    if exchanges:
        assert path.exists()
    (result,) = store.load(path)
    assert_identical(result, make_result(seed=1) if done.returncode == 0 else make_result(data=3))
    store.save([make_result(seed=2)], path, overwrite=True)  # and the next one clears up
    assert_identical(store.load(path)[0], make_result(seed=2))
    assert [file.name for file in tmp_path.iterdir() if file != new] == [path.name]


def test_two_writers_leave_one_whole_result(path):
    failures = []

    def write(seed):
        for _ in range(3):
            try:
                store.save([make_result(seed=seed)], path, overwrite=True)
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=write, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    (left,) = store.load(path)
    assert_identical(left, make_result(seed=round(left.estimates["llc"].value - 0.1)))
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("NetCDF: HDF error")])
def test_a_full_disk_is_said_with_the_path_and_what_is_left(path, monkeypatch, error):
    def full(*_, **__):
        raise error

    monkeypatch.setattr(xr.DataTree, "to_zarr", full)
    monkeypatch.setattr(xr.DataTree, "to_netcdf", full)
    with pytest.raises(OSError, match=rf"{path.name} could not be written.*bytes are left on its disk") as raised:
        store.save([make_result()], path, overwrite=True)
    assert raised.value.errno == getattr(error, "errno", None)
    assert_identical(store.load(path)[0], make_result(data=3))


def test_where_nothing_can_be_written_is_said_before_the_run(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is no folder"):
        store.check_output(tmp_path / "file" / "a.nc")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(PermissionError, match="not writable"):
        store.check_output(tmp_path / "deep" / "a.zarr")


def test_a_folder_that_is_no_zarr_is_not_replaced(tmp_path):
    for name in ("thesis.zarr", "a.nc"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "chapter").write_text("years of work")
        with pytest.raises(FileExistsError, match="no zarr of ours"):
            store.save([make_result()], tmp_path / name, overwrite=True)
        assert (tmp_path / name / "chapter").exists()


def test_others_open_it_without_a_warning(path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        xr.open_datatree(path, engine="zarr" if path.suffix == ".zarr" else "netcdf4").close()
        store.save([make_result()], path, overwrite=True)
