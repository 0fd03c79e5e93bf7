"""Free energies in files: log Z and energies along (replicate, rung), estimates, and the posterior of (lambda, m)."""

import json
import os
from pathlib import Path
from typing import Any

import xarray as xr

from slt.stats.free_energy import FreeEnergy, RlctFit
from slt.store.files import check_output, made_by, open_kind, read_verdict, reading, verdict_attrs, write
from slt.store.results import estimates_tree, read_estimates

KIND = "free energy"


def save_free_energy(
    found: FreeEnergy, path: str | os.PathLike, *, config: str = "", target_hash: str = "", overwrite: bool = False
) -> Path:
    """Write it whole or not at all; arguments and errors as `save`."""
    path = check_output(path, overwrite=overwrite)
    dims = ("replicate", "rung")
    values = {"log_evidence": (dims, found.log_evidence), "mean_energy": (dims, found.mean_energy)}
    children = {"estimates": estimates_tree(found.estimates)}
    given = {str(m): estimate for m, estimate in found.fit.rlct_given.items()}
    children["rlct_given"] = estimates_tree(given)
    children["fit"] = estimates_tree({"rlct": found.fit.rlct})
    rest = {"multiplicity": found.fit.multiplicity, "probabilities": found.fit.probabilities}
    children["fit"].attrs["rest"] = json.dumps(
        rest | {"constant": found.fit.constant, "reason": found.fit.reason}, default=float
    )
    tree = xr.DataTree(xr.Dataset(values, {"nbeta": ("rung", found.nbeta)}), children=children)
    tree.attrs = {"kind": KIND, "settings": json.dumps(found.settings, default=float)} | made_by(config, target_hash)
    tree.attrs |= verdict_attrs(found.verdict)
    return write(tree, path)


def load_free_energy(path: str | os.PathLike) -> FreeEnergy:
    """What `save_free_energy` wrote, bit for bit; raises as `load`."""
    tree = open_kind(path, KIND, "free energy", "slt free-energy")
    with reading(f"The free energy of {path}"):
        nbeta, log_evidence, mean_energy = (tree[name].to_numpy() for name in ("nbeta", "log_evidence", "mean_energy"))
        return FreeEnergy(
            nbeta=nbeta,
            log_evidence=log_evidence,
            mean_energy=mean_energy,
            estimates=read_estimates(tree.children["estimates"].to_dataset(inherit=False)),
            fit=_fit(tree.children),
            verdict=read_verdict(tree),
            settings=json.loads(tree.attrs["settings"]),
        )


def _fit(children: Any) -> RlctFit:
    rest = json.loads(children["fit"].attrs["rest"])
    given = read_estimates(children["rlct_given"].to_dataset(inherit=False))
    return RlctFit(
        rlct=read_estimates(children["fit"].to_dataset(inherit=False))["rlct"],
        multiplicity=rest["multiplicity"],
        probabilities={int(m): p for m, p in rest["probabilities"].items()},
        rlct_given={int(m): estimate for m, estimate in given.items()},
        constant=rest["constant"],
        reason=rest["reason"],
    )
