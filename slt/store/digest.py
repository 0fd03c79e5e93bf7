"""SHA-256 of what a tree holds, the same in memory, in zarr and in netCDF: names, dims, dtypes, values, attributes."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr


def tree_digest(tree: xr.DataTree, *, without: str) -> str:
    """Digest of all groups, but for the attribute `without` of the root."""
    digest = hashlib.sha256()
    for node in sorted(tree.subtree, key=lambda node: node.path):
        kept = {name: value for name, value in node.attrs.items() if node is not tree or name != without}
        _text(digest, "group", node.relative_to(tree), *_attributes(kept))
        variables = node.to_dataset(inherit=False).variables
        for name in sorted(variables, key=str):
            _text(digest, "variable", str(name), *map(str, variables[name].dims))
            _text(digest, *_attributes(variables[name].attrs))
            _values(digest, variables[name].to_numpy())
    return digest.hexdigest()


def _text(digest: Any, *words: str) -> None:
    """Each word with its length, so that no two lists of words read alike."""
    for word in words:
        raw = word.encode()
        digest.update(len(raw).to_bytes(8, "little") + raw)
    digest.update(b";")


def _values(digest: Any, array: np.ndarray) -> None:
    if array.dtype.kind in "OUST":
        _text(digest, "text", *map(str, array.shape), *map(str, array.ravel().tolist()))
        return
    _text(digest, f"{array.dtype.kind}{array.dtype.itemsize}", *map(str, array.shape))
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    digest.update(little.reshape(-1).view(np.uint8).data)


def _attributes(attributes: Mapping[Any, Any]) -> list[str]:
    """Sorted, and each as a list: netCDF hands a list of one back as its element, and has no truth values."""
    return [f"{name}={_listed(value)}" for name, value in sorted(attributes.items(), key=lambda item: str(item[0]))]


def _listed(value: Any) -> str:
    plain = value.tolist() if hasattr(value, "tolist") else value
    parts = list(plain) if isinstance(plain, list | tuple) else [plain]
    return repr([int(part) if isinstance(part, bool) else part for part in parts])
