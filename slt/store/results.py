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
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import arviz_base
import jax
import numpy as np
import xarray as xr

from slt._types import Estimate
from slt.draws import Draws, Result, Verdict
from slt.store.files import ENDS, check_output, made_by, open_datatree, write

FORMAT = "slt-result-1"
STATS = ("loss", "acceptance_rate", "diverging")


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
    return write(to_datatree(results, config=config, target_hash=target_hash, coordinate=coordinate), path)


def load(path: str | os.PathLike) -> list[Result]:
    """The results `save` wrote, bit for bit.

    Raises:
        FileNotFoundError: nothing at the path.
        ValueError: unknown suffix, unreadable, or not written by `save`.
    """
    return from_datatree(open_datatree(path))


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
    root.attrs |= made_by(config, target_hash)
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
    tree["estimates"] = estimates_tree(result.estimates)
    tree["estimates"].attrs["refused"] = json.dumps(result.refused)
    tree["diagnostics"] = _numbers(result.diagnostics, result.diagnostics)
    tree.attrs = {"verdict": result.verdict.status, "reasons": json.dumps(result.verdict.reasons)}
    return tree


def _per_datum(values: Mapping[str, np.ndarray]) -> xr.DataTree:
    variables = {name: ("datum", np.asarray(value)) for name, value in values.items()}
    return xr.DataTree(xr.Dataset(variables, attrs={"names": json.dumps(list(values))}))


def _along(results: Sequence[Result], coordinate: str) -> xr.Dataset:
    """Estimates, diagnostics and verdicts that all points have, along one dimension named for what differs."""
    refused = [result.refused or {} for result in results]
    judged = dict.fromkeys(name for refusals in refused for name in refusals)
    rows = [
        {name + end: x for name, e in result.estimates.items() for end, x in zip(ENDS, e, strict=True)}
        | result.diagnostics
        | {"verdict": result.verdict.status}
        | {f"{name}_verdict": refusals[name].status if name in refusals else "converged" for name in judged}
        for result, refusals in zip(results, refused, strict=True)
    ]
    shared = [name for name in rows[0] if all(name in row for row in rows)]
    values = [result.settings.get(coordinate, i) for i, result in enumerate(results)]
    return xr.Dataset({name: (coordinate, [row[name] for row in rows]) for name in shared}, {coordinate: values})


def estimates_tree(estimates: Mapping[str, Estimate]) -> xr.DataTree:
    """Value, error and its degrees of freedom of each; `read_estimates` is its inverse."""
    return _numbers({name + end: x for name, e in estimates.items() for end, x in zip(ENDS, e, strict=True)}, estimates)


def read_estimates(tree: xr.Dataset) -> dict[str, Estimate]:
    """Estimates by name, in their order."""
    names = json.loads(tree.attrs["names"])
    return {name: Estimate(*(float(tree[name + end]) for end in ENDS)) for name in names}


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
    refused = json.loads(estimates.attrs.get("refused", "null"))
    return Result(
        estimates=read_estimates(estimates),
        verdict=Verdict(str(tree.attrs["verdict"]), tuple(json.loads(tree.attrs["reasons"]))),
        draws=draws,
        diagnostics={name: float(diagnostics[name]) for name in json.loads(diagnostics.attrs["names"])},
        settings={name: _plain(constants.attrs[name]) for name in json.loads(constants.attrs["settings"])},
        pointwise=None if values is None else {k: values[k].values for k in json.loads(values.attrs["names"])},
        refused=refused and {name: Verdict(status, tuple(reasons)) for name, (status, reasons) in refused.items()},
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
