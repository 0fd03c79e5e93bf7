"""A cache never hands out what is not what its name says, and two that compute the same do not disturb each other."""

import warnings

import pytest
from store.test_store import assert_identical, make_result

from slt import store
from slt.samplers.run import CheckpointError
from slt.store.cache import cached


def compute(seed, calls):
    def run(checkpoint):
        calls.append(seed)
        checkpoint.with_name(f"{checkpoint.name}-block0").write_bytes(b"a checkpoint")
        return [make_result(seed=seed)]

    return run


@pytest.fixture
def folder(tmp_path):
    for name, seed in (("first", 1), ("second", 2)):
        cached(tmp_path, name, compute(seed, []))
    return tmp_path


def test_what_is_there_is_not_computed_again_and_leaves_no_checkpoints(folder):
    calls = []
    (found,), hit = cached(folder, "first", compute(1, calls))
    assert hit
    assert not calls
    assert_identical(found, make_result(seed=1))
    assert sorted(file.name for file in folder.iterdir()) == ["first.nc", "second.nc"]


def swap(folder):
    (folder / "first.nc").rename(folder / "x")
    (folder / "second.nc").rename(folder / "first.nc")
    (folder / "x").rename(folder / "second.nc")


def copied(folder):
    (folder / "first.nc").write_bytes((folder / "second.nc").read_bytes())


def changed(folder):
    raw = bytearray((folder / "first.nc").read_bytes())
    raw[raw.index(make_result(seed=1).draws.loss.tobytes())] ^= 4
    (folder / "first.nc").write_bytes(raw)


def unnamed(folder):
    store.save([make_result(seed=3)], folder / "first.nc", overwrite=True)


def cut(folder):
    (folder / "first.nc").write_bytes((folder / "first.nc").read_bytes()[:-2000])


def empty(folder):
    (folder / "first.nc").write_bytes(b"")


def other(folder):
    (folder / "first.nc").write_text("notes of mine")


@pytest.mark.parametrize("damage", [swap, copied, changed, unnamed, cut, empty, other])
def test_what_is_damaged_or_of_something_else_is_named_and_computed_again(folder, damage):
    damage(folder)
    calls = []
    with pytest.warns(UserWarning, match=r"not taken, and is computed again.*first\.nc"):
        (found,), hit = cached(folder, "first", compute(1, calls))
    assert not hit
    assert calls == [1]
    assert_identical(found, make_result(seed=1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cached(folder, "first", compute(1, calls))[1]


def test_a_checkpoint_that_does_not_fit_is_named_and_the_run_started_afresh(tmp_path):
    calls = []

    def run(checkpoint):
        file = checkpoint.with_name(f"{checkpoint.name}-block0")
        calls.append(file.exists())
        if file.exists():
            raise CheckpointError(f"checkpoint {file} is damaged")
        return [make_result()]

    (tmp_path / "first-block0").write_bytes(b"half")
    with pytest.warns(UserWarning, match="started afresh.*first-block0"):
        cached(tmp_path, "first", run)
    assert calls == [True, False]
    assert [file.name for file in tmp_path.iterdir()] == ["first.nc"]


def test_two_that_compute_the_same_at_once_both_end_with_it(tmp_path):
    """The inner one begins and ends within the outer one, and clears away its checkpoints."""

    def outer(checkpoint):
        (result,) = compute(1, [])(checkpoint)
        assert not cached(tmp_path, "first", compute(1, []))[1]
        return [result]

    (found,), _ = cached(tmp_path, "first", outer)
    assert_identical(found, make_result(seed=1))
    assert [file.name for file in tmp_path.iterdir()] == ["first.nc"]
