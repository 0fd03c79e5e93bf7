"""Trees in files: zarr or netCDF by the suffix, written whole or not at all, with what produced them and a checksum."""

import hashlib
import json
import os
import platform
import shutil
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import xarray as xr

from slt._options import checked
from slt.draws import Verdict
from slt.store.digest import tree_digest
from slt.store.exchange import put, standing

PACKAGES = ("slt-toolkit", "jax", "jaxlib", "blackjax", "numpy", "scipy", "xarray", "arviz-base", "arviz-stats")
_ONE_AT_A_TIME = threading.RLock()
"""The HDF5 library ends the process when two of its threads meet."""
DIGEST = "slt_digest"
"""Attribute of the root: SHA-256 of everything else that is stored. It makes a file ours."""


@checked
def check_output(path: str | os.PathLike, *, overwrite: bool = False) -> Path:
    """What `save` would object to, to be asked before a long run; raises as `save`."""
    path = Path(path)
    engine = _engine(path)
    if os.path.lexists(path) and not overwrite:
        raise FileExistsError(f"{path} exists already; choose another output or allow overwriting (--overwrite).")
    if path.is_dir() and not (engine == "zarr" and any((path / name).exists() for name in ("zarr.json", ".zgroup"))):
        raise FileExistsError(f"{path} is a folder but no zarr of ours to replace; remove it or give another path.")
    nearest = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
    if not nearest.is_dir():
        raise NotADirectoryError(f"{path} cannot be written: {nearest} is no folder; choose another output.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise PermissionError(f"{path} cannot be written: {nearest} is not writable for you; choose another output.")
    return path


def write(tree: xr.DataTree, path: Path) -> Path:
    """Whole or not at all: whenever it fails or is killed, the path holds what it held before, or all that is new."""
    tree.attrs[DIGEST] = tree_digest(tree, without=DIGEST)
    with replacing(path) as new, _ONE_AT_A_TIME:
        if path.suffix == ".zarr":
            with warnings.catch_warnings():  # zarr announces that others may not read what spares readers a warning
                warnings.filterwarnings("ignore", message="Consolidated metadata")
                tree.to_zarr(new, mode="w", consolidated=True)
        else:
            tree.to_netcdf(new, engine="netcdf4")
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to, which takes its place at the end and is removed if anything fails.

    Raises:
        OSError: it could not be written; names the path, and what is left on its disk.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=path.parent, prefix=f".{path.stem}.", ignore_cleanup_errors=True
        ) as folder:
            yield Path(folder) / path.name
            put(Path(folder) / path.name, path)
    except (OSError, RuntimeError) as error:  # the netCDF library says RuntimeError when a disk is full
        why = f"{type(error).__name__}: {error}"
        said = f"{path} could not be written ({why}); what it held before is whole. {_free(path)}"
        number = getattr(error, "errno", None)
        raise (OSError(said) if number is None else OSError(number, said)) from error


def _free(path: Path) -> str:
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    return f"{shutil.disk_usage(folder).free:,} bytes are left on its disk."


def open_datatree(path: str | os.PathLike) -> xr.DataTree:
    """The stored tree in memory, for ArviZ and xarray, after its checksum was compared; raises as `load`."""
    path = standing(Path(path))
    engine = _engine(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no result at {path}; `slt estimate` writes one.")
    options: dict[str, Any] = {"consolidated": False} if engine == "zarr" else {}
    try:
        with _ONE_AT_A_TIME, xr.open_datatree(path, engine=engine, **options) as lazy:
            tree = lazy.load()
    except Exception as error:  # the back ends raise anything from KeyError to RuntimeError on a damaged file
        raise ValueError(
            f"{path} cannot be read as {engine} ({type(error).__name__}: {error}); "
            "it may be damaged or of another format. Run `slt estimate` again."
        ) from error
    found = tree.attrs.get(DIGEST)
    if found is None:
        raise ValueError(f"{path} is no stored result of slt: it lacks the attribute {DIGEST}; give one of ours.")
    if found != tree_digest(tree, without=DIGEST):
        raise ValueError(
            f"{path} is damaged, or was changed after it was written: its content does not have its checksum. "
            "Run `slt estimate` again, or restore a copy."
        )
    return tree


def open_kind(path: str | os.PathLike, kind: str, what: str, command: str) -> xr.DataTree:
    """The tree of a kind of result; raises as `load`, and ValueError, which names both, for what is of another kind."""
    tree = open_datatree(path)
    if tree.attrs.get("kind") != kind:
        raise ValueError(f"{path} holds no {what}; give a result that `{command}` wrote.")
    return tree


def verdict_attrs(verdict: Verdict) -> dict[str, str]:
    """A verdict as attributes of a tree; `read_verdict` is its inverse."""
    return {"verdict": verdict.status, "reasons": json.dumps(verdict.reasons)}


def read_verdict(tree: xr.DataTree) -> Verdict:
    """The verdict in the attributes of a tree."""
    return Verdict(str(tree.attrs["verdict"]), tuple(json.loads(tree.attrs["reasons"])))


@contextmanager
def reading(what: str) -> Iterator[None]:
    """What a tree lacks is named by a ValueError."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(
            f"{what} is incomplete or was written by another version of slt ({type(error).__name__}: {error})."
        ) from error


def provenance(path: str | os.PathLike) -> dict[str, str]:
    """What produced the file: versions, time, configuration and digests; raises as `load`."""
    attrs = open_datatree(path).attrs
    return {name: str(attrs[name]) for name in made_by("", "") if name in attrs}


def made_by(config: str, target_hash: str) -> dict[str, str]:
    """What produced the file; neither host names nor paths."""
    return {
        **{f"{name}_version": _version(name) for name in PACKAGES},
        "python_version": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": config,
        "config_hash": hashlib.sha256(config.encode()).hexdigest(),
        "target_hash": target_hash,
    }


def checkpoint_folder(output: Path, identity: str) -> Path:
    """Where a run that ends in `output` keeps its checkpoints; another configuration or target gets another folder."""
    digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
    folder = output.with_name(f"{output.name}.checkpoints") / digest
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def discard(folder: Path) -> None:
    """Remove the checkpoints of a finished run, and their parent if no other run left any."""
    shutil.rmtree(folder)
    if not any(folder.parent.iterdir()):
        folder.parent.rmdir()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _engine(path: Path) -> Literal["zarr", "netcdf4"]:
    if path.suffix == ".zarr":
        return "zarr"
    if path.suffix == ".nc":
        return "netcdf4"
    raise ValueError(f"{path}: the suffix is {path.suffix!r}; it chooses the format, so end the path in .zarr or .nc.")
