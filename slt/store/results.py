"""Results <-> xarray DataTree in the ArviZ schema <-> zarr or netCDF, with provenance.

One result has the groups sample_stats, warmup_sample_stats, constant_data (settings, gradients spent, first
divergences), estimates and diagnostics, and in the attributes its verdict and those of refused estimates; where they
were kept, posterior, log_likelihood (of thinned draws, the variable "obs", as arviz-stats looks for) and pointwise
(values per datum).
A profile or a series of checkpoints holds one such tree per point, and at its root the estimates, diagnostics and
verdicts along the dimension in which the points differ, "localization" or "checkpoint".
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import arviz_base
import numpy as np
import xarray as xr

from slt._types import Estimate
from slt.draws import Draws, Result, Verdict
from slt.store.files import check_output, made_by, open_datatree, read_verdict, reading, verdict_attrs, write
from slt.store.naming import array, columns_of, numbers, read_numbers, safe_name
from slt.store.positions import named_leaves, read_positions

FORMAT = "slt-result-3"
STATS = ("loss", "acceptance_rate")


def save(
    results: Result | Sequence[Result],
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
    several = [results] if isinstance(results, Result) else results
    return write(to_datatree(several, config=config, target_hash=target_hash, coordinate=coordinate), path)


def load(path: str | os.PathLike) -> list[Result]:
    """The results `save` wrote, bit for bit.

    Raises:
        FileNotFoundError: nothing at the path.
        ValueError: unknown suffix, unreadable, damaged, changed since, or not written by `save`.
    """
    return from_datatree(open_datatree(path))


def to_datatree(
    results: Sequence[Result], *, config: str = "", target_hash: str = "", coordinate: str = "localization"
) -> xr.DataTree:
    """One ArviZ tree, or for several results a root with the trees "point_0", ...; arguments as `save`."""
    if not results:
        raise ValueError("to_datatree: there are no results; give at least one.")
    if any(not isinstance(result, Result) for result in results):
        raise ValueError("to_datatree: something among the results is no Result; give what an estimate returned.")
    trees = [_tree(result) for result in results]
    children = {f"point_{i}": tree for i, tree in enumerate(trees)}
    root = trees[0] if len(trees) == 1 else xr.DataTree(_along(results, coordinate), children=children)
    root.attrs |= {"slt_format": FORMAT, "num_points": len(trees), "coordinate": coordinate}
    root.attrs |= made_by(config, target_hash)
    return root


def from_datatree(tree: xr.DataTree) -> list[Result]:
    """The inverse of `to_datatree`.

    Containers in positions: dicts and lists come back as such, tuples as lists, any other node as a dict.

    Raises:
        ValueError: the tree is not one of ours, or lacks a part.
    """
    found = tree.attrs.get("slt_format")
    if found != FORMAT:
        raise ValueError(f"This is no stored result of slt (slt_format: {found}; due: {FORMAT}); give one of ours.")
    with reading("The stored result"):
        count = int(tree.attrs["num_points"])
        return [_result(tree)] if count == 1 else [_result(tree.children[f"point_{i}"]) for i in range(count)]


def _tree(result: Result) -> xr.DataTree:
    draws = result.draws
    stats = {name: np.asarray(getattr(draws, name)) for name in STATS}
    groups: dict[str, dict[str, Any]] = {
        # numbers, as arviz_stats.summary takes differences; arviz_plots would index by numbers of the name "diverging"
        "sample_stats": stats | {"divergent": np.asarray(draws.diverging, np.int8)},
        "warmup_sample_stats": {"loss": np.asarray(draws.warmup_loss)},
        "constant_data": {"first_divergence": draws.first_divergence, "num_gradients": draws.num_gradients},
    }
    leaves = named_leaves(draws.positions)
    if leaves:
        groups["posterior"] = {name: leaf for name, (leaf, _) in leaves.items()}
    if draws.log_likelihood is not None:
        groups["log_likelihood"] = {"obs": draws.log_likelihood}
    dims = {"first_divergence": ["chain"], "obs": ["datum"]}
    tree = arviz_base.from_dict(groups, dims=dims, save_warmup=True, check_conventions=False)
    for name, (_, attrs) in leaves.items():
        tree["posterior"][name].attrs |= attrs
    if result.pointwise is not None:
        tree["pointwise"] = numbers({name: ("datum", np.asarray(x)) for name, x in result.pointwise.items()})
    tree["constant_data"].attrs["settings"] = json.dumps(result.settings, default=_plain)
    tree["estimates"] = estimates_tree(result.estimates)
    tree["estimates"].attrs["refused"] = json.dumps(result.refused)
    tree["diagnostics"] = numbers({name: np.float64(value) for name, value in result.diagnostics.items()})
    tree.attrs = verdict_attrs(result.verdict)
    return tree


def _along(results: Sequence[Result], coordinate: str) -> xr.Dataset:
    """Estimates, diagnostics and verdicts that all points have, along one dimension named for what differs."""
    refused = [result.refused or {} for result in results]
    judged = dict.fromkeys(name for refusals in refused for name in refusals)
    rows = [
        {("estimate", name, end): x for name, e in result.estimates.items() for end, x in columns_of(e)}
        | {("diagnostic", name, ""): x for name, x in result.diagnostics.items()}
        | {("verdict", "verdict", ""): result.verdict.status}
        | {("verdict", f"{name}_verdict", ""): _status(refusals, name) for name in judged}
        for result, refusals in zip(results, refused, strict=True)
    ]
    along = safe_name(coordinate, set())
    variables: dict[str, Any] = {}
    for kind, name, end in rows[0]:
        if all((kind, name, end) in row for row in rows):
            column = [row[kind, name, end] for row in rows]
            variables[safe_name(name + end, {along, *variables})] = (along, column, {"name": name + end})
    values = [result.settings.get(coordinate, i) for i, result in enumerate(results)]
    return xr.Dataset(variables, {along: values})


def _status(refusals: Mapping[str, Verdict], name: str) -> str:
    return refusals[name].status if name in refusals else "converged"


def estimates_tree(estimates: Mapping[str, Estimate]) -> xr.DataTree:
    """Value, error and its degrees of freedom of each; `read_estimates` is its inverse."""
    return numbers({name: tuple(map(np.float64, estimate)) for name, estimate in estimates.items()})


def read_estimates(tree: xr.Dataset) -> dict[str, Estimate]:
    """Estimates by name, in their order."""
    return {name: Estimate(*map(float, columns)) for name, columns in read_numbers(tree).items()}


def _result(tree: xr.DataTree) -> Result:
    groups = {name: child.to_dataset(inherit=False) for name, child in tree.children.items()}
    constants, estimates, stats = (groups[name] for name in ("constant_data", "estimates", "sample_stats"))
    chain_draw = ("chain", "draw")
    draws = Draws(
        loss=array(stats["loss"], *chain_draw),
        warmup_loss=array(groups["warmup_sample_stats"]["loss"], *chain_draw),
        acceptance_rate=array(stats["acceptance_rate"], *chain_draw),
        diverging=array(stats["divergent"], *chain_draw).astype(bool),
        first_divergence=array(constants["first_divergence"], "chain"),
        num_gradients=int(constants["num_gradients"]),
        positions=read_positions(groups["posterior"].data_vars) if "posterior" in groups else None,
        log_likelihood=array(groups["log_likelihood"]["obs"], *chain_draw) if "log_likelihood" in groups else None,
    )
    values = groups.get("pointwise")
    refused = json.loads(estimates.attrs["refused"])
    return Result(
        estimates=read_estimates(estimates),
        verdict=read_verdict(tree),
        draws=draws,
        diagnostics={name: float(value) for name, (value,) in read_numbers(groups["diagnostics"]).items()},
        settings=json.loads(constants.attrs["settings"]),
        pointwise=None if values is None else {name: x.to_numpy() for name, (x,) in read_numbers(values).items()},
        refused=refused and {name: Verdict(status, tuple(reasons)) for name, (status, reasons) in refused.items()},
    )


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)
