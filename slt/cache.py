"""Results kept under the content of what makes them: what is done is not done again, and nothing else is taken for it.

The name of a result is the SHA-256 of parameters, data, the operations of the loss, posterior, options and version of
the package. A change of any of them is another name.
"""

import hashlib
import inspect
import re
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from slt.draws import Result
from slt.samplers.mesh import is_key
from slt.store import load, save
from slt.targets.target import Target

FULL = 2**20
"""Bytes left on a disk that counts as full."""


def fingerprint(target: Target, **settings: Any) -> str:
    """SHA-256 of a target and the settings of a run on it.

    The loss enters by its jaxpr: the operations that it does, whatever file they are written in.
    """
    rows = jax.tree.map(lambda a: a[:2], target.data)
    closed = jax.make_jaxpr(target.energy)(target.minimum, rows)
    digest = hashlib.sha256(re.sub(r"0x[0-9a-f]+", "", str(closed.jaxpr)).encode())
    for leaf in (*closed.consts, *jax.tree.leaves((target.minimum, target.data))):
        _add(digest, leaf)
    numbers = [getattr(target, name) for name in ("num_data", "inverse_temperature", "localization", "precision")]
    _add(digest, [*numbers, sorted(settings.items()), metadata.version("slt-toolkit")])
    return digest.hexdigest()


def function_digest(function: Callable) -> str:
    """SHA-256 of a Python function: its source, defaults, and what it closes over."""
    digest = hashlib.sha256()
    _add(digest, function)
    return digest.hexdigest()


def cached(folder: Path, name: str, compute: Callable[[Path], list[Result]]) -> tuple[list[Result], bool]:
    """The results stored under that name in the folder, or those of `compute`, which are stored; and whether found.

    Args:
        compute: takes the stem of its own checkpoint files; they are removed once the results are stored.

    Raises:
        OSError: the disk is full; what was stored before stays whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = _file(folder, name)
    if path.exists():
        return load(path), True
    try:
        results = compute(folder / name)
        save(results, path, target_hash=name, overwrite=True)
    except (OSError, RuntimeError) as error:
        _explain_full(folder, error)
        raise
    for file in folder.glob(f"{name}-*"):
        file.unlink()
    return results, False


def is_cached(folder: Path, name: str) -> bool:
    """Whether results are stored under that name."""
    return _file(folder, name).exists()


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.nc"


def _explain_full(folder: Path, error: Exception) -> None:
    free = shutil.disk_usage(folder).free
    if free < FULL:
        done = len(list(folder.glob("*.nc")))
        raise OSError(
            f"The disk of {folder} is full: {free:,} bytes are left, and the result could not be written. The {done} "
            "stored before are whole; free some space and call again: only what is missing is computed."
        ) from error


def _add(digest: Any, value: Any) -> None:
    if isinstance(value, jax.Array) and is_key(value):
        value = jax.random.key_data(value)
    if isinstance(value, jax.Array | np.ndarray):
        array = np.asarray(value)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    elif isinstance(value, dict | list | tuple):
        digest.update(f"{type(value).__name__}{len(value)}".encode())
        for part in value.items() if isinstance(value, dict) else value:
            _add(digest, part)
    elif inspect.isfunction(value):
        _add(digest, [value.__code__.co_code, _source(value), value.__defaults__, value.__kwdefaults__])
        _add(digest, [cell.cell_contents for cell in value.__closure__ or ()])
    else:
        digest.update(re.sub(r"0x[0-9a-f]+", "", f"{type(value).__name__}{value!r};").encode())


def _source(function: Callable) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return function.__qualname__
