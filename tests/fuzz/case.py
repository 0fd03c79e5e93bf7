"""One input of the fuzz, and files that it may read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from safetensors.numpy import save_file

RNG = np.random.default_rng(1)
X = RNG.normal(size=(12, 3)).astype(np.float32)
GOOD = (X[:, 0] > 0).astype(np.int32)
LINEAR = eqx.nn.Linear(3, 2, key=jax.random.key(0))
PAIR = (lambda p, x: x @ p["w"], {"w": np.asarray(LINEAR.weight).T.copy()})
"""A linear classifier of two classes, as a module and as a pair."""


class Case(NamedTuple):
    """kind, name: for the table. call: of a scratch folder. right: the number it gives; None where it is to be refused.

    word: what the refusal has to name.
    """

    kind: str
    name: str
    call: Callable[[Path], Any]
    right: float | None = None
    word: str = ""


def exact_loss() -> float:
    """Cross entropy of the pair on GOOD, in NumPy."""
    logits = X @ PAIR[1]["w"]
    return float(np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(12), GOOD]))


def written(name: str, content: bytes) -> Callable[[Path], Path]:
    """A file of these bytes."""

    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def saved(name: str, metadata: dict | None = None, **arrays: np.ndarray) -> Callable[[Path], Path]:
    """A safetensors file."""

    def write(folder: Path) -> Path:
        save_file(arrays, folder / name, metadata)
        return folder / name

    return write


def npz(name: str, **arrays: Any) -> Callable[[Path], Path]:
    """An npz file."""

    def write(folder: Path) -> Path:
        np.savez(folder / name, **arrays)
        return folder / name

    return write
