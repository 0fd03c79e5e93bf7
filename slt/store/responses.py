"""Linear responses in files: tables along (row, column), and what is known of the whole."""

import json
import os
from pathlib import Path

import xarray as xr

from slt.stats.response import Response
from slt.store.files import check_output, made_by, open_kind, read_verdict, reading, verdict_attrs, write

KIND = "response"
TABLES = ("value", "error", "given_mode", "given_mode_error", "harmonic", "harmonic_error")


def save_response(
    found: Response, path: str | os.PathLike, *, config: str = "", target_hash: str = "", overwrite: bool = False
) -> Path:
    """Write it whole or not at all; arguments and errors as `save`."""
    path = check_output(path, overwrite=overwrite)
    variables = {name: (("row", "column"), getattr(found, name)) for name in TABLES}
    variables |= {"mode": (("row",), found.mode), "agreement": (("column",), found.agreement)}
    names = {"row_name": ("row", found.rows), "column_name": ("column", found.columns)}
    tree = xr.DataTree(xr.Dataset(variables | names))
    tree.attrs = {"kind": KIND, "response": found.kind, "dof": found.dof} | made_by(config, target_hash)
    tree.attrs |= verdict_attrs(found.verdict)
    tree.attrs |= {name: json.dumps(getattr(found, name), default=float) for name in ("diagnostics", "settings")}
    return write(tree, path)


def load_response(path: str | os.PathLike) -> Response:
    """What `save_response` wrote, bit for bit; raises as `load`."""
    tree = open_kind(path, KIND, "linear response", "slt influence")
    with reading(f"The response of {path}"):
        return Response(
            kind=str(tree.attrs["response"]),
            rows=[str(name) for name in tree["row_name"].to_numpy()],
            columns=[str(name) for name in tree["column_name"].to_numpy()],
            **{name: tree[name].transpose("row", "column").to_numpy() for name in TABLES},
            dof=float(tree.attrs["dof"]),
            mode=tree["mode"].to_numpy(),
            agreement=tree["agreement"].to_numpy(),
            verdict=read_verdict(tree),
            diagnostics=json.loads(tree.attrs["diagnostics"]),
            settings=json.loads(tree.attrs["settings"]),
        )
