"""Every measure of six minima side by side: where the Hessian and the learning coefficient agree, and where not.

A regular quadratic; the crossing x²y²; a reduced-rank net at its deepest point; two exactly fitted XOR minima of one
ReLU architecture, of Hessian rank 4 and 3; the shipped digits classifier. Writes comparison.json and comparison.md.
Run: python tests/benchmarks/comparison.py [case ...]
"""

import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

import slt
from slt.experiment import subjects_of
from slt.geometry.operators import network
from slt.rashomon import settle, spectra, train_ensemble
from slt.tables import comparison_table
from slt.targets.networks import mlp_apply, mlp_init, mlp_loss
from slt.targets.rlct import reduced_rank_rlct

HERE = Path(__file__)
DIGITS = HERE.parents[2] / "data" / "digits_mlp.safetensors"
XOR = {
    "inputs": np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]),
    "targets": np.array([[-1.0], [1.0], [1.0], [-1.0]]),
}


def reduced_rank(inputs=3, hidden=2, outputs=3, rank=1, num_data=200):
    """y = B A x without noise, at the point where both factors have the rank of the map: n beta = 1e4."""
    x = np.random.default_rng(0).normal(size=(num_data, inputs)).astype(np.float32)
    factors = {"A": np.eye(hidden, inputs, dtype=np.float32), "B": np.eye(outputs, hidden, dtype=np.float32)}
    point = {name: jnp.asarray(np.where(np.arange(len(f))[:, None] < rank, f, 0)) for name, f in factors.items()}

    def output(w, rows):
        return rows["x"] @ w["A"].T @ w["B"].T

    def half_square(y, rows):
        return 0.5 * jnp.sum((y - rows["y"]) ** 2, -1)

    rows = {"x": x, "y": np.asarray(output(point, {"x": x}))}
    target = slt.loss_target(
        lambda w, r: half_square(output(w, r), r), point, rows, inverse_temperature=1e4 / num_data, localization=1.0
    )
    law = reduced_rank_rlct(inputs, hidden, outputs, rank)
    known = {"λ, exact": float(law[0]), "m, exact": float(law[1])}
    return slt.Subject(target, network(output, half_square, point, rows), known=known)


def xor_minima(width=4, num_runs=200):
    """Two perfectly fitted minima of a 2-w-1 ReLU net, the commonest of each Hessian rank: {rank: Subject}."""
    with jax.enable_x64(True):
        data = jax.tree.map(jnp.asarray, XOR)
        loss = mlp_loss("relu", "squared_error")
        found = train_ensemble(
            jax.random.key(0), lambda key: mlp_init(key, (2, width, 1)), loss, data, num_runs=num_runs, max_loss=1e-4
        )

        def objective(w, rows):
            return jnp.mean(loss(w, rows))

        params, lowest = settle(objective, found.params, data)
        flat = lowest < 1e-20
        spectrum = spectra(objective, jax.tree.map(lambda a: a[flat], params), data)
    rank = spectrum.eigenvalues.shape[1] - spectrum.near_zero(1e-8)
    print("XOR, ReLU: fitted minima by rank H:", dict(zip(*np.unique(rank, return_counts=True), strict=True)))
    subjects = {}
    for r in np.unique(rank)[::-1]:
        i = np.flatnonzero(flat)[np.flatnonzero(rank == r)[0]]
        point = jax.tree.map(lambda a, i=i: jnp.asarray(a[i], jnp.float32), params)
        rows = jax.tree.map(lambda a: np.asarray(a, np.float32), XOR)
        subjects[int(r)] = slt.mlp_subject(
            point, rows, activation="relu", loss="squared_error", inverse_temperature=250.0, localization=1.0,
            errors=lambda w, rows: (mlp_sign(w, rows) != rows["targets"][:, 0]).astype(jnp.float32),
            known={"frequency": float(np.mean(rank == r))},
        )  # fmt: skip
    return subjects


def mlp_sign(w, rows):
    return jnp.sign(mlp_apply(w, rows["inputs"], "relu"))[:, 0]


def cases(wanted):
    builders = {
        "regular": lambda: {"regular quadratic": slt.potential_subject("quad_r2_d2")},
        "crossing": lambda: {"x²y²": slt.potential_subject("x2y2")},
        "reduced": lambda: {"reduced rank 3-2-3": reduced_rank()},
        "xor": lambda: {f"XOR, rank H = {r}": subject for r, subject in list(xor_minima().items())[:2]},
        "digits": lambda: {"digits": subjects_of([str(DIGITS)])[0]["digits_mlp"]},
    }
    return {name: subject for key in wanted or builders for name, subject in builders[key]().items()}


def plain(row):
    """Of a row as JSON keeps it: numbers to six digits, none where it is not finite."""
    return [(float(f"{v:.6g}") if np.isfinite(v) else None) if isinstance(v, float) else v for v in row]


def main():
    started, cpu = time.perf_counter(), time.process_time()
    found = slt.compare(cases(sys.argv[1:]), say=lambda text: print(text, f"{time.process_time() - cpu:.0f} s CPU"))
    console = Console(width=100, record=True)
    console.print(comparison_table(found))
    seconds = f"{time.perf_counter() - started:.0f} s wall, {time.process_time() - cpu:.0f} s CPU"
    print(seconds)
    if not sys.argv[1:]:
        tables = {name: [plain(row) for row in getattr(found, name)] for name in ("subjects", "measures")}
        fields = {"subjects": list(found.subjects[0]._fields), "measures": list(found.measures[0]._fields)}
        text = json.dumps({"cost": seconds, "fields": fields} | tables, ensure_ascii=False, indent=None)
        HERE.with_suffix(".json").write_text(text.replace("], [", "],\n[") + "\n")
        HERE.with_suffix(".md").write_text(f"Cost: {seconds}.\n\n```\n{console.export_text()}```\n")


if __name__ == "__main__":
    main()
