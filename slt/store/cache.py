"""Results kept under the content of what makes them: what is done is not done again, and nothing else is taken for it.

The name of a result is the SHA-256 of parameters, data, the operations of the loss, posterior, options and version of
the package. A change of any of them is another name.
"""

import shutil
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from slt.draws import Result
from slt.samplers.run import CheckpointError
from slt.store import from_datatree, open_datatree, save
from slt.targets.digests import digest
from slt.targets.jaxprs import describe
from slt.targets.loss import at_rows
from slt.targets.target import CHUNK, Target, in_precision

FULL = 2**20
"""Bytes left on a disk that counts as full."""


def fingerprint(target: Target, **settings: Any) -> str:
    """SHA-256 of a target and the settings of a run on it.

    Loss and prior enter by their jaxprs and constants: the operations that they do, whatever file they are written in.
    """
    prior, few = target.prior, at_rows(target.data, 2)
    functions: list[tuple] = [(target.energy, few), (target.loss, at_rows(target.data, min(target.num_data, CHUNK)))]
    functions += [(prior.log_density,), (prior.log_weight,), (prior.fold,)]
    with in_precision(target):
        done = [_operations(function, target.minimum, *rest) for function, *rest in functions]
        draws = prior.draw and _operations(prior.draw, jax.random.key(0))
    numbers = (target.num_data, target.inverse_temperature, target.localization, target.precision)
    version = metadata.version("slt-toolkit")
    return digest(done, draws, target.minimum, target.data, numbers, sorted(settings.items()), version)


def function_digest(function: Callable) -> str:
    """SHA-256 of a Python function: its code, defaults, what it closes over, and the helpers and globals it names."""
    return digest(function)


def cached(folder: Path, name: str, compute: Callable[[Path], list[Result]]) -> tuple[list[Result], bool]:
    """The results stored under that name in the folder, or those of `compute`, which are stored; and whether found.

    What stands under the name but is damaged, or the results of something else, is never taken: a warning names it, and
    it is computed again. So are checkpoints that do not fit. Two that compute the same at once do not disturb each
    other: each writes files of its own, and both end with the same.

    Args:
        compute: takes the stem of its own checkpoint files; they are removed once the results are stored.

    Raises:
        OSError: the disk is full; what was stored before stays whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = _file(folder, name)
    found = _stored(path, name)
    if found is not None:
        return found, True
    try:
        results = _computed(folder, name, compute)
        save(results, path, target_hash=name, overwrite=True)
    except (OSError, RuntimeError) as error:
        _explain_full(folder, error)
        raise
    _remove_checkpoints(folder, name)
    return results, False


def _stored(path: Path, name: str) -> list[Result] | None:
    """Only what says of itself that it is the result of that name."""
    try:
        tree = open_datatree(path)
        if tree.attrs.get("target_hash") == name:
            return from_datatree(tree)
        why = f"{path} holds the results of something else."
    except FileNotFoundError:
        return None
    except ValueError as error:
        why = str(error)
    warnings.warn(f"A stored result is not taken, and is computed again: {why}", stacklevel=3)
    return None


def _computed(folder: Path, name: str, compute: Callable[[Path], list[Result]]) -> list[Result]:
    try:
        return compute(folder / name)
    except CheckpointError as error:
        warnings.warn(f"The run is started afresh: {error}", stacklevel=3)
        _remove_checkpoints(folder, name)
        return compute(folder / name)


def _remove_checkpoints(folder: Path, name: str) -> None:
    for file in folder.glob(f"{name}-*"):
        file.unlink(missing_ok=True)


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


def _operations(function: Callable, *args: Any) -> list[str]:
    # a lambda: JAX 0.12 keeps arrays of NumPy that a traced Partial holds in the precision of that trace
    return describe(jax.make_jaxpr(lambda *a: function(*a))(*args))
