"""Data sets from npz files, the shipped handwritten digits among them, and their train/test split."""

import math
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from slt.targets.columns import as_array, check_values

Data = dict[str, np.ndarray]
"""{"inputs": (datum, ...), "targets": (datum, ...)}."""


class Split(NamedTuple):
    """Disjoint parts of one data set."""

    train: Data
    test: Data


def load_npz(path: str | os.PathLike, *, scale: float = 1.0) -> Data:
    """Arrays `inputs` and `targets` (or `labels`) of an npz file; floats as float32, labels as int32.

    Args:
        path: the file.
        scale: inputs are divided by it [unit of the inputs].

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an npz file, an array missing, no data, unequal lengths, scale not positive, or what `as_array`
            and `check_values` refuse: NaN or infinity, text, an integer beyond int32.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"load_npz: there is no file {path}; give an npz file with `inputs` and `targets`.")
    if not (scale > 0 and math.isfinite(scale)):
        raise ValueError(f"load_npz: scale is {scale}; inputs are divided by it, so it must be positive and finite.")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"load_npz: {path} is not a whole npz file of plain arrays ({error}); write it with numpy.savez."
        ) from None
    target_name = next((name for name in ("targets", "labels") if name in arrays), None)
    if "inputs" not in arrays or target_name is None:
        raise ValueError(
            f"load_npz: {path} has the arrays {sorted(arrays)}; it must have `inputs`, and `targets` or `labels`."
        )
    inputs, targets = (_column(arrays[name], f"load_npz: `{name}` of {path}") for name in ("inputs", target_name))
    if len(inputs) == 0 or len(inputs) != len(targets):
        raise ValueError(
            f"load_npz: {path} has {len(inputs)} inputs and {len(targets)} {target_name}; "
            "give at least one, and as many of one as of the other."
        )
    kind = np.float32 if np.issubdtype(targets.dtype, np.floating) else np.int32
    inputs = inputs if scale == 1 else inputs / scale
    check_values(inputs, f"load_npz: `inputs` of {path}, divided by scale = {scale},")
    return {"inputs": np.asarray(inputs, np.float32), "targets": targets.astype(kind)}


def _column(values: np.ndarray, where: str) -> np.ndarray:
    array = np.asarray(as_array(values, where))
    if array.ndim == 0 or array.dtype.kind not in "biuf":
        raise ValueError(f"{where} is {array.dtype} of shape {array.shape}; give real numbers, one row a datum.")
    check_values(array, where)
    return array


def split(data: Data, num_test: int, *, seed: int = 0) -> Split:
    """Set `num_test` data aside at random; the same seed gives the same split.

    Raises:
        ValueError: num_test is negative or leaves no training data.
    """
    count = len(data["inputs"])
    if not 0 <= num_test < count:
        raise ValueError(f"split: num_test is {num_test} of {count} data; it must lie between 0 and {count - 1}.")
    order = np.random.default_rng(seed).permutation(count)
    test, train = np.sort(order[:num_test]), np.sort(order[num_test:])
    return Split({k: v[train] for k, v in data.items()}, {k: v[test] for k, v in data.items()})


def two_classes(data: Data, positive: Sequence[int]) -> Data:
    """Labels 1 for those in `positive`, 0 for all others.

    Raises:
        ValueError: labels that are no classes, or no datum of one of the two.
    """
    labels = data["targets"]
    if labels.dtype.kind != "i" or labels.ndim != 1:
        raise ValueError(f"positive: the targets are {labels.dtype} of shape {labels.shape}; it needs whole labels.")
    chosen = np.isin(labels, positive).astype(np.int32)
    if chosen.min() == chosen.max():
        raise ValueError(f"positive is {tuple(positive)}, but the labels are {np.unique(labels)}: one class is empty.")
    return data | {"targets": chosen}


def randomised(data: Data, share: float, rng: np.random.Generator) -> Data:
    """That share of the labels 0 and 1 drawn anew by a fair coin."""
    noisy = rng.uniform(size=len(data["targets"])) < share
    coin = rng.integers(0, 2, len(data["targets"]))
    return data | {"targets": np.where(noisy, coin, data["targets"]).astype(np.int32)}


def load_digits(path: str | os.PathLike, *, seed: int = 0) -> Split:
    """The UCI handwritten digits: 1437 training and 360 test images of 8 x 8 pixels in [0, 1], flattened.

    Args:
        path: the npz file, `data/digits.npz` of this repository.
        seed: seed of the split.

    Source: Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, UCI, doi:10.24432/C50P49 (CC BY 4.0).
    """
    return split(load_npz(path, scale=16), 360, seed=seed)
