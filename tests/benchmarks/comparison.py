"""Every measure of six minima side by side: where the Hessian and the learning coefficient agree, and where not.

A regular quadratic; the crossing x²y²; a reduced-rank net at its deepest point; two exactly fitted XOR minima of one
ReLU architecture, of Hessian rank 4 and 3; the shipped digits classifier. A case that is done takes its place in
comparison.json and comparison.md.
Run: python tests/benchmarks/comparison.py [case[:measure,...] ...]
"""

import fcntl
import json
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from asked import words
from rich.console import Console

import slt
from slt.app.experiment import subjects_of
from slt.catalogue.theorems import reduced_rank_rlct
from slt.estimate.comparison.measures import COMPUTATIONS
from slt.estimate.comparison.rows import COMPARISON_ROWS, Comparison
from slt.geometry.operators import network
from slt.report.tables import comparison_table
from slt.studies.rashomon import settle, spectra, train_ensemble
from slt.targets.networks import mlp_apply, mlp_init, mlp_loss

RESULT = Path(__file__).with_suffix(".json")
DIGITS = RESULT.parents[2] / "data" / "digits_mlp.safetensors"
XOR = {
    "inputs": np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]),
    "targets": np.array([[-1.0], [1.0], [1.0], [-1.0]]),
}


def reduced_rank(inputs=3, hidden=2, outputs=3, rank=1, num_data=20):
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
    return slt.estimate.Subject(target, network(output, half_square, point, rows), known=known)


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
    print("XOR, ReLU: fitted minima by rank H:", {int(r): int((rank == r).sum()) for r in np.unique(rank)})
    subjects = {}
    for r in np.unique(rank)[::-1]:
        i = np.flatnonzero(flat)[np.flatnonzero(rank == r)[0]]
        point = jax.tree.map(lambda a, i=i: jnp.asarray(a[i], jnp.float32), params)
        rows = jax.tree.map(lambda a: np.asarray(a, np.float32), XOR)
        subjects[int(r)] = slt.estimate.mlp_subject(
            point, rows, activation="relu", loss="squared_error", inverse_temperature=250.0, localization=1.0,
            errors=lambda w, rows: (mlp_sign(w, rows) != rows["targets"][:, 0]).astype(jnp.float32),
            known={"frequency": float(np.mean(rank == r))},
        )  # fmt: skip
    return subjects


def mlp_sign(w, rows):
    return jnp.sign(mlp_apply(w, rows["inputs"], "relu"))[:, 0]


BUILDERS = {
    "regular": lambda: {"regular quadratic": slt.estimate.potential_subject("quad_r2_d2")},
    "crossing": lambda: {"x²y²": slt.estimate.potential_subject("x2y2")},
    "xor": lambda: {f"XOR, rank H = {r}": subject for r, subject in list(xor_minima().items())[:2]},
    "reduced": lambda: {"reduced rank 3-2-3": reduced_rank()},
    "digits": lambda: {"digits": subjects_of([str(DIGITS)])[0]["digits_mlp"]},
}
OPTIONS = {
    "llc": {"tolerance": 0.03},
    "criteria": {"tolerance": 0.05},
    "free_energy": {"num_particles": 256, "num_replicates": 8},
    "volumes": {"num_particles": 128, "num_replicates": 8},
}


LARGE = {"digits": {"volumes": {"num_rays": 50}}}
"""A ray takes 80 passes over the data."""
ORDER = ["regular quadratic", "x²y²", "reduced rank 3-2-3", "XOR, rank H = 4", "XOR, rank H = 3", "digits"]


def plain(row):
    """Of a row as JSON keeps it: numbers to six digits, none where it is not finite."""
    return [(float(f"{v:.6g}") if np.isfinite(v) else None) if isinstance(v, float) else v for v in row]


def stored():
    """The comparison in comparison.json, empty where there is none."""
    if not RESULT.is_file():
        return Comparison([], [], [])
    tables = json.loads(RESULT.read_text())
    rows = {
        name: [row(*(np.nan if v is None else v for v in values)) for values in tables[name]]
        for name, row in COMPARISON_ROWS.items()
    }
    return Comparison(**rows)


def add(found):
    """Put a comparison in the place of older rows of the same minima and measures, and write both files."""
    names = {head.subject for head in found.subjects}
    rows = {(row.subject, row.measure) for row in found.measures}
    old = stored()
    merged = Comparison(
        [head for head in old.subjects if head.subject not in names] + found.subjects,
        [row for row in old.measures if (row.subject, row.measure) not in rows] + found.measures,
        [],
    )
    spent = {row.subject: {} for row in merged.measures}
    for row in merged.measures:  # those of one computation have the same seconds
        spent[row.subject][row.seconds] = None
    heads = [head._replace(seconds=sum(spent[head.subject])) for head in merged.subjects]
    merged = merged._replace(subjects=sorted(heads, key=lambda head: ORDER.index(head.subject)))
    text = json.dumps(
        {name: [plain(row) for row in rows] for name, rows in merged._asdict().items()}, ensure_ascii=False
    )
    RESULT.write_text(text.replace("], [", "],\n[") + "\n", encoding="utf-8")
    with open(RESULT.with_suffix(".md"), "w", encoding="utf-8") as file:
        Console(width=100, file=file).print("```", comparison_table(merged), "```", sep="\n")


def main():
    """Arguments: cases, and after a colon the measures of one, e.g. digits:llc,criteria."""
    for argument in words(__doc__, "CASE[:MEASURE,...]") or BUILDERS:
        case, _, measures = argument.partition(":")
        cpu = time.process_time()
        for name, subject in BUILDERS[case]().items():
            for measure in measures.split(",") if measures else COMPUTATIONS:
                found = slt.compare({name: subject}, measures=[measure], options=OPTIONS | LARGE.get(case, {}))
                print(f"{time.process_time() - cpu:5.0f} s CPU  {name}: {measure}", flush=True)
                with open(Path(tempfile.gettempdir()) / "comparison.lock", "w") as lock:  # cases may run side by side
                    fcntl.flock(lock, fcntl.LOCK_EX)
                    add(found)
    Console(width=100).print(comparison_table(stored()))


if __name__ == "__main__":
    main()
