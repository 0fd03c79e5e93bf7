"""Numbers in variables, whatever they are called: files forbid slashes, and "a_mcse" may be a name or an error of "a".

A variable has the name that is asked for wherever it can have it; the true names stand beside, in their order.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from slt._rows import ENDS
from slt._types import Estimate

RESERVED = {"chain", "draw", "sample", "datum", "row"}
"""Dimensions, which are coordinates to xarray and ArviZ; theirs of one variable end in _dim_ and a number."""


def safe_name(name: str, taken: Collection[str], ends: tuple[str, ...] = ("",)) -> str:
    """The name, or one like it that zarr, netCDF and xarray allow and that is free with each of these ends."""
    plain = re.sub(r"[^A-Za-z0-9_.\-]", "_", name).lstrip("_.-") or "unnamed"
    while plain in RESERVED or re.search(r"_dim_\d+$", plain) or any(plain + end in taken for end in ends):
        plain += "_"
    return plain


def numbers(values: Mapping[str, Any]) -> xr.DataTree:
    """A variable of each value, or three of each that is a tuple of three; `read_numbers` is its inverse."""
    variables: dict[str, Any] = {}
    names = []
    for name, value in values.items():
        columns = value if isinstance(value, tuple) and not isinstance(value[0], str) else (value,)
        ends = ENDS[: len(columns)]
        stored = safe_name(name, variables, ends)
        names.append((name, stored, len(columns)))
        variables |= {stored + end: column for end, column in zip(ends, columns, strict=True)}
    return xr.DataTree(xr.Dataset(variables, attrs={"names": json.dumps(names)}))


def read_numbers(tree: xr.Dataset) -> dict[str, tuple[xr.DataArray, ...]]:
    """What `numbers` stored, by its true name, in its order."""
    names = json.loads(tree.attrs["names"])
    return {name: tuple(tree[stored + end] for end in ENDS[:count]) for name, stored, count in names}


def columns_of(estimate: Estimate) -> Iterator[tuple[str, float]]:
    """Value, error and degrees of freedom, each with the end of its name."""
    return zip(ENDS, estimate, strict=True)


def array(variable: xr.DataArray, *dims: str) -> np.ndarray:
    """With these dimensions first, whatever their order was."""
    return variable.transpose(*dims, ...).to_numpy()
