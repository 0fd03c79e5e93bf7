"""Data sets from npz files, the shipped handwritten digits among them, and their train/test split."""

import os
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

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
        ValueError: not an npz file, an array missing, no data, unequal lengths, NaN or infinity, scale not positive.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"load_npz: there is no file {path}; give an npz file with `inputs` and `targets`.")
    if not scale > 0:
        raise ValueError(f"load_npz: scale is {scale}; inputs are divided by it, so it must be positive.")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile):  # TypeError: a single .npy array
        raise ValueError(
            f"load_npz: {path} is not a whole npz file (truncated, or of another format); write it with numpy.savez."
        ) from None
    target_name = next((name for name in ("targets", "labels") if name in arrays), None)
    if "inputs" not in arrays or target_name is None:
        raise ValueError(
            f"load_npz: {path} has the arrays {sorted(arrays)}; it must have `inputs`, and `targets` or `labels`."
        )
    inputs, targets = arrays["inputs"], arrays[target_name]
    if len(inputs) == 0 or len(inputs) != len(targets):
        raise ValueError(
            f"load_npz: {path} has {len(inputs)} inputs and {len(targets)} {target_name}; "
            "give at least one, and as many of one as of the other."
        )
    for name, array in (("inputs", inputs), (target_name, targets)):
        if not np.all(np.isfinite(array)):
            count = int(np.sum(~np.isfinite(array)))
            raise ValueError(f"load_npz: `{name}` of {path} holds {count} NaN or infinite entries; remove those data.")
    kind = np.int32 if np.issubdtype(targets.dtype, np.integer) else np.float32
    return {"inputs": np.asarray(inputs / scale, np.float32), "targets": targets.astype(kind)}


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


def load_digits(path: str | os.PathLike, *, seed: int = 0) -> Split:
    """The UCI handwritten digits: 1437 training and 360 test images of 8 x 8 pixels in [0, 1], flattened.

    Args:
        path: the npz file, `data/digits.npz` of this repository.
        seed: seed of the split.

    Source: Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, UCI, doi:10.24432/C50P49 (CC BY 4.0).
    """
    return split(load_npz(path, scale=16), 360, seed=seed)
