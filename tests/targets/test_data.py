from pathlib import Path

import numpy as np
import pytest

from slt.targets.data import load_digits, load_npz, split

DIGITS = Path(__file__).parents[2] / "data" / "digits.npz"


def write(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_digits_are_scikit_learns_rescaled_and_split_without_overlap():
    sklearn = pytest.importorskip("sklearn.datasets").load_digits()
    whole = load_npz(DIGITS)
    np.testing.assert_array_equal(whole["inputs"], sklearn.data)
    np.testing.assert_array_equal(whole["targets"], sklearn.target)
    train, test = load_digits(DIGITS)
    assert len(train["inputs"]) == 1437
    assert len(test["inputs"]) == 360
    assert train["inputs"].dtype == np.float32
    assert train["inputs"].max() == 1.0
    rows = np.concatenate([train["inputs"], test["inputs"]]) * 16
    np.testing.assert_array_equal(np.sort(rows, axis=0), np.sort(sklearn.data, axis=0))


def test_a_split_is_fixed_by_its_seed_and_keeps_pairs_together():
    data = {"inputs": np.arange(20.0), "targets": 2 * np.arange(20.0)}
    first, again, other = split(data, 5, seed=1), split(data, 5, seed=1), split(data, 5, seed=2)
    np.testing.assert_array_equal(first.test["inputs"], again.test["inputs"])
    assert not np.array_equal(first.test["inputs"], other.test["inputs"])
    for part in first:
        np.testing.assert_array_equal(part["targets"], 2 * part["inputs"])
    assert sorted(np.concatenate([part["inputs"] for part in first])) == sorted(data["inputs"])


def test_labels_become_integer_targets_and_floats_stay_floats(tmp_path):
    labels = load_npz(write(tmp_path / "a.npz", inputs=np.ones((3, 2)), labels=np.uint8([0, 1, 2])))
    targets = load_npz(write(tmp_path / "b.npz", inputs=np.ones((3, 2)), targets=np.ones((3, 1))), scale=2)
    assert labels["targets"].dtype == np.int32
    assert targets["targets"].dtype == np.float32
    assert targets["inputs"].max() == 0.5


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"inputs": np.ones(3)}, "it must have `inputs`, and `targets` or `labels`"),
        ({"targets": np.ones(3)}, "it must have `inputs`"),
        ({"inputs": np.ones(3), "targets": np.ones(2)}, "3 inputs and 2 targets"),
        ({"inputs": np.ones(0), "targets": np.ones(0)}, "give at least one"),
        ({"inputs": np.ones(2), "targets": np.array(["a", "b"])}, "`targets` .* holds text .*encode"),
        (
            {"inputs": np.ones(2), "labels": np.array([1, 2**32 + 1])},
            "`labels` .* holds 4294967297 in row 1, beyond int32",
        ),
        ({"inputs": np.ones(2), "labels": np.array([{}, 1])}, "plain arrays .*allow_pickle"),
        ({"inputs": np.ones(()), "targets": np.ones(2)}, "one row a datum"),
        ({"inputs": np.array([1e300, 1]), "targets": np.ones(2)}, "beyond float32"),
        ({"inputs": np.ones(2), "targets": np.ones(2) + 1j}, "give real numbers"),
        ({"inputs": np.array([1, np.nan]), "targets": np.ones(2)}, "`inputs` .* holds NaN .* in row 1"),
        ({"inputs": np.ones(2), "targets": np.array([np.inf, np.nan])}, "`targets` .* first inf in row 0"),
    ],
)
def test_bad_arrays_are_named(tmp_path, arrays, message):
    with pytest.raises(ValueError, match=message):
        load_npz(write(tmp_path / "data.npz", **arrays))


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_truncated_file_is_named(tmp_path, keep):
    path = write(tmp_path / "data.npz", inputs=np.ones((9, 9)), targets=np.ones(9))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="not a whole npz file"):
        load_npz(path)


def test_other_wrong_calls(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere\.npz"):
        load_npz(tmp_path / "nowhere.npz")
    np.save(tmp_path / "array.npy", np.ones(3))
    with pytest.raises(ValueError, match="not a whole npz file"):
        load_npz(tmp_path / "array.npy")
    with pytest.raises(ValueError, match="must be positive"):
        load_npz(DIGITS, scale=0)
    with pytest.raises(ValueError, match="divided by scale = 1e-38, holds"):
        load_npz(DIGITS, scale=1e-38)
    for num_test in (-1, 4):
        with pytest.raises(ValueError, match="between 0 and 3"):
            split({"inputs": np.ones(4)}, num_test)
