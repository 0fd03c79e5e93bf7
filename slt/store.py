"""Results <-> xarray DataTree in the ArviZ schema <-> zarr or netCDF, with provenance.

One result has the groups sample_stats, warmup_sample_stats, constant_data (settings, gradients spent, first
divergences), estimates and diagnostics, and its verdict in the attributes; where they were kept, posterior,
log_likelihood (of thinned draws, the variable "obs", as arviz-stats looks for) and pointwise (values per datum).
A profile or a series of checkpoints holds one such tree per point, and at its root the estimates and diagnostics along
the dimension in which the points differ, "localization" or "checkpoint".
"""

import csv
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import arviz_base
import jax
import numpy as np
import xarray as xr

from slt._types import Estimate
from slt.draws import Draws, Result, ValidationRow, Verdict

FORMAT = "slt-result-1"
TABLES_FORMAT = "slt-tables-1"
PACKAGES = ("slt-toolkit", "jax", "jaxlib", "blackjax", "numpy", "scipy", "xarray", "arviz-base", "arviz-stats")
STATS = ("loss", "acceptance_rate", "diverging")
ENDS = ("", "_mcse", "_dof")


def save(
    results: Sequence[Result],
    path: str | os.PathLike,
    *,
    config: str = "",
    target_hash: str = "",
    coordinate: str = "localization",
    overwrite: bool = False,
) -> Path:
    """Write results whole or not at all; the suffix of the path, .zarr or .nc, chooses the format.

    Args:
        results: one, or the points of a profile.
        path: the file or zarr directory to make.
        config: TOML text of the run.
        target_hash: digest of the model and data.
        coordinate: the setting that differs along the profile.
        overwrite: replace what is at the path.

    Raises:
        FileExistsError: there is something at the path already.
        ValueError: no results, or an unknown suffix.
    """
    path = check_output(path, overwrite=overwrite)
    return _write(to_datatree(results, config=config, target_hash=target_hash, coordinate=coordinate), path)


def save_tables(
    tables: Mapping[str, Sequence[Any]],
    path: str | os.PathLike,
    *,
    kind: str,
    config: str = "",
    overwrite: bool = False,
) -> Path:
    """Write tables whose rows are NamedTuples of numbers and text: a group a table, a variable a column.

    Args:
        tables: rows by name; an empty table is left out.
        path: as for `save`. kind: what they are the tables of. config, overwrite: as for `save`.

    Raises:
        FileExistsError, ValueError: as `save`.
    """
    path = check_output(path, overwrite=overwrite)
    tree = xr.DataTree(
        children={
            name: xr.DataTree(xr.Dataset({field: ("row", list(column)) for field, column in _columns(rows).items()}))
            for name, rows in tables.items()
            if rows
        }
    )
    tree.attrs = {"slt_format": TABLES_FORMAT, "kind": kind} | _provenance(config, "")
    return _write(tree, path)


def load_tables(path: str | os.PathLike, row_types: Mapping[str, type], *, kind: str) -> dict[str, list[Any]]:
    """The rows `save_tables` wrote, by name; raises as `load`.

    Args:
        row_types: the NamedTuple of each table.
        kind: what they must be the tables of.
    """
    tree = open_datatree(path)
    if (tree.attrs.get("slt_format"), tree.attrs.get("kind")) != (TABLES_FORMAT, kind):
        raise ValueError(f"{path} holds no tables of `{kind}`; give a result that it wrote.")
    return {name: _rows(tree.children.get(name), row) for name, row in row_types.items()}


def _rows(table: xr.DataTree | None, row: Any) -> list[Any]:
    if table is None:
        return []
    columns = [table[field].to_numpy().tolist() for field in row._fields]
    return [row(*values) for values in zip(*columns, strict=True)]


def stored_kind(path: str | os.PathLike) -> str:
    """The kind of stored tables, or "estimate" for a result of `save`; raises as `load`."""
    return str(open_datatree(path).attrs.get("kind", "estimate"))


def _columns(rows: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(rows[0]._fields, zip(*rows, strict=True), strict=True))


def _write(tree: xr.DataTree, path: Path) -> Path:
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


def check_output(path: str | os.PathLike, *, overwrite: bool = False) -> Path:
    """What `save` would object to, to be asked before a long run; raises as `save`."""
    path = Path(path)
    _engine(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; choose another output or allow overwriting (--overwrite).")
    return path


def load(path: str | os.PathLike) -> list[Result]:
    """The results `save` wrote, bit for bit.

    Raises:
        FileNotFoundError: nothing at the path.
        ValueError: unknown suffix, unreadable, or not written by `save`.
    """
    return from_datatree(open_datatree(path))


def provenance(path: str | os.PathLike) -> dict[str, str]:
    """What produced the file: versions, time, configuration and digests; raises as `load`."""
    attrs = open_datatree(path).attrs
    return {name: str(attrs[name]) for name in _provenance("", "") if name in attrs}


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


def to_datatree(
    results: Sequence[Result], *, config: str = "", target_hash: str = "", coordinate: str = "localization"
) -> xr.DataTree:
    """One ArviZ tree, or for several results a root with the trees "point_0", ...; arguments as `save`."""
    if not results:
        raise ValueError("to_datatree: there are no results; give at least one.")
    trees = [_tree(result) for result in results]
    children = {f"point_{i}": tree for i, tree in enumerate(trees)}
    root = trees[0] if len(trees) == 1 else xr.DataTree(_along(results, coordinate), children=children)
    root.attrs |= {"slt_format": FORMAT, "num_points": len(trees), "coordinate": coordinate}
    root.attrs |= _provenance(config, target_hash)
    return root


def from_datatree(tree: xr.DataTree) -> list[Result]:
    """The inverse of `to_datatree`.

    Containers in positions: dicts and lists come back as such, tuples as lists, any other node as a dict.

    Raises:
        ValueError: the tree is not one of ours.
    """
    found = tree.attrs.get("slt_format")
    if found != FORMAT:
        raise ValueError(f"This is no stored result of slt (slt_format: {found}; due: {FORMAT}); give one of ours.")
    count = int(tree.attrs["num_points"])
    return [_result(tree)] if count == 1 else [_result(tree.children[f"point_{i}"]) for i in range(count)]


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


def save_rows(rows: Sequence[ValidationRow], path: str | os.PathLike) -> None:
    """Write validation rows as CSV, one line each, the estimate as value, mcse and dof."""
    rest = [name for name in ValidationRow._fields if name != "estimate"]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*rest, *(f"estimate{end}" for end in ENDS)])
        writer.writerows([*(getattr(row, name) for name in rest), *row.estimate] for row in rows)


def load_rows(path: str | os.PathLike) -> list[ValidationRow]:
    """The rows `save_rows` wrote.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path}; `slt validate --output` writes one.")
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [_row(fields) for fields in csv.DictReader(file)]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is not a table of `slt validate` ({type(error).__name__}: {error}); give one it wrote."
        ) from error


def _row(fields: dict[str, str]) -> ValidationRow:
    estimate = Estimate(*(float(fields[f"estimate{end}"]) for end in ENDS))
    kinds = {name: kind for name, kind in ValidationRow.__annotations__.items() if name != "estimate"}
    return ValidationRow(estimate=estimate, **{name: kind(fields[name]) for name, kind in kinds.items()})


def _tree(result: Result) -> xr.DataTree:
    draws = result.draws
    groups: dict[str, dict[str, Any]] = {
        "sample_stats": {name: np.asarray(getattr(draws, name)) for name in STATS},
        "warmup_sample_stats": {"loss": np.asarray(draws.warmup_loss)},
        "constant_data": {"first_divergence": draws.first_divergence, "num_gradients": draws.num_gradients},
    }
    leaves = _named_leaves(draws.positions)
    if leaves:
        groups["posterior"] = {name: leaf for name, (_, leaf) in leaves.items()}
    if draws.log_likelihood is not None:
        groups["log_likelihood"] = {"obs": draws.log_likelihood}
    dims = {"first_divergence": ["chain"], "obs": ["datum"]}
    tree = arviz_base.from_dict(groups, dims=dims, save_warmup=True, check_conventions=False)
    for name, (steps, _) in leaves.items():
        tree["posterior"][name].attrs["path"] = json.dumps(steps)
    if result.pointwise is not None:
        tree["pointwise"] = _per_datum(result.pointwise)
    tree["constant_data"].attrs |= {"settings": json.dumps(list(result.settings))}
    tree["constant_data"].attrs |= {name: _plain(value) for name, value in result.settings.items()}
    flat = {name + end: x for name, e in result.estimates.items() for end, x in zip(ENDS, e, strict=True)}
    tree["estimates"] = _numbers(flat, result.estimates)
    tree["diagnostics"] = _numbers(result.diagnostics, result.diagnostics)
    tree.attrs = {"verdict": result.verdict.status, "reasons": json.dumps(result.verdict.reasons)}
    return tree


def _per_datum(values: Mapping[str, np.ndarray]) -> xr.DataTree:
    variables = {name: ("datum", np.asarray(value)) for name, value in values.items()}
    return xr.DataTree(xr.Dataset(variables, attrs={"names": json.dumps(list(values))}))


def _along(results: Sequence[Result], coordinate: str) -> xr.Dataset:
    """Estimates, diagnostics and verdicts that all points have, along one dimension named for what differs."""
    rows = [
        {name + end: x for name, e in result.estimates.items() for end, x in zip(ENDS, e, strict=True)}
        | result.diagnostics
        | {"verdict": result.verdict.status}
        for result in results
    ]
    shared = [name for name in rows[0] if all(name in row for row in rows)]
    values = [result.settings.get(coordinate, i) for i, result in enumerate(results)]
    return xr.Dataset({name: (coordinate, [row[name] for row in rows]) for name in shared}, {coordinate: values})


def _numbers(values: Mapping[str, float], names: Iterable[str]) -> xr.DataTree:
    """Scalars in float64, with the order of the names, which zarr does not keep."""
    variables = {name: np.float64(value) for name, value in values.items()}
    return xr.DataTree(xr.Dataset(variables, attrs={"names": json.dumps(list(names))}))


def _result(tree: xr.DataTree) -> Result:
    groups = {name: child.dataset for name, child in tree.children.items()}
    constants, estimates, diagnostics = (groups[name] for name in ("constant_data", "estimates", "diagnostics"))
    draws = Draws(
        **{name: groups["sample_stats"][name].values for name in STATS},
        warmup_loss=groups["warmup_sample_stats"]["loss"].values,
        first_divergence=constants["first_divergence"].values,
        num_gradients=int(constants["num_gradients"]),
        positions=_positions(groups["posterior"].data_vars) if "posterior" in groups else None,
        log_likelihood=groups["log_likelihood"]["obs"].values if "log_likelihood" in groups else None,
    )
    values = groups.get("pointwise")
    names = json.loads(estimates.attrs["names"])
    return Result(
        estimates={name: Estimate(*(float(estimates[name + end]) for end in ENDS)) for name in names},
        verdict=Verdict(str(tree.attrs["verdict"]), tuple(json.loads(tree.attrs["reasons"]))),
        draws=draws,
        diagnostics={name: float(diagnostics[name]) for name in json.loads(diagnostics.attrs["names"])},
        settings={name: _plain(constants.attrs[name]) for name in json.loads(constants.attrs["settings"])},
        pointwise=None if values is None else {k: values[k].values for k in json.loads(values.attrs["names"])},
    )


def _named_leaves(positions: Any) -> dict[str, tuple[list[str | int], np.ndarray]]:
    """{variable name: (keys from the root, leaf)}; xarray allows no "/" in a name."""
    named: dict[str, tuple[list[str | int], np.ndarray]] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(positions)[0]:
        steps: list[str | int] = [
            step.idx if isinstance(step, jax.tree_util.SequenceKey) else jax.tree_util.keystr((step,), simple=True)
            for step in path
        ]
        name = ".".join(map(str, steps)).replace("/", "_") or "position"
        while name in named:
            name += "_"
        named[name] = (steps, np.asarray(leaf))
    return named


def _positions(variables: Mapping[Any, xr.DataArray]) -> Any:
    root: dict[Any, Any] = {}
    for variable in variables.values():
        node = root
        *parents, last = ["", *json.loads(variable.attrs["path"])]
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = variable.values
    return _lists(root[""])


def _lists(node: Any) -> Any:
    """Dicts keyed by position become lists."""
    if not isinstance(node, dict):
        return node
    if all(isinstance(key, int) for key in node):
        return [_lists(node[key]) for key in sorted(node)]
    return {key: _lists(value) for key, value in node.items()}


def _plain(value: Any) -> str | float | int:
    value = value.item() if hasattr(value, "item") else value
    return int(value) if isinstance(value, bool) else value  # netCDF has no bool attributes


def _provenance(config: str, target_hash: str) -> dict[str, str]:
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
