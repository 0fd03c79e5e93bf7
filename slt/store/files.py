"""Trees in files: zarr or netCDF by the suffix, written whole or not at all, with what produced them."""

import hashlib
import os
import platform
import shutil
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import xarray as xr

PACKAGES = ("slt-toolkit", "jax", "jaxlib", "blackjax", "numpy", "scipy", "xarray", "arviz-base", "arviz-stats")
ENDS = ("", "_mcse", "_dof")
"""Columns of an estimate, after its name."""


def check_output(path: str | os.PathLike, *, overwrite: bool = False) -> Path:
    """What `save` would object to, to be asked before a long run; raises as `save`."""
    path = Path(path)
    _engine(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; choose another output or allow overwriting (--overwrite).")
    return path


def write(tree: xr.DataTree, path: Path) -> Path:
    """Whole or not at all; what was there is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, aside = (path.with_name(f".{path.stem}.{os.getpid()}.{word}{path.suffix}") for word in ("new", "old"))
    try:
        if path.suffix == ".zarr":
            tree.to_zarr(temporary, mode="w", consolidated=False)
        else:
            tree.to_netcdf(temporary, engine="netcdf4")
        if path.is_dir():  # a directory cannot be renamed over another
            path.replace(aside)
        temporary.replace(path)
    finally:
        _remove(temporary)
        _remove(aside)
    return path


def open_datatree(path: str | os.PathLike) -> xr.DataTree:
    """The stored tree in memory, for ArviZ and xarray; raises as `load`."""
    path = Path(path)
    engine = _engine(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no result at {path}; `slt estimate` writes one.")
    options: dict[str, Any] = {"consolidated": False} if engine == "zarr" else {}
    try:
        with xr.open_datatree(path, engine=engine, **options) as tree:
            return tree.load()
    except Exception as error:  # the back ends raise anything from KeyError to RuntimeError on a damaged file
        raise ValueError(
            f"{path} cannot be read as {engine} ({type(error).__name__}: {error}); "
            "it may be damaged or of another format. Run `slt estimate` again."
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


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
