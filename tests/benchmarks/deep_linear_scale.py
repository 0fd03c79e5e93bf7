"""`estimate_llc` on deep linear networks of the classes 1K to 100M of Lau et al., and how the error grows with size.

Depths and widths of a class as published; teachers aligned (deepest stratum), where the local learning coefficient is
Aoyagi's formula. Datum i is drawn from key i wherever it is used, so that memory holds no data: x ~ U[-10, 10]^H,
y = f(x; w*), squared error averaged over outputs.
Each row of the table is written as it is done, and a stopped run goes on where it stopped.
Run: python tests/benchmarks/deep_linear_scale.py 10K:0,1,2 100K:0,1 1M:3 --output results/deep_linear_scale.json
     (class:teachers). Published on the same classes: a median of 19 % under, more for the larger ones.
deep_linear_scale.json: on two cores, at the n beta of a million rows; from 100K on the budget ends before
the chains have filled the singular directions, which is said by "not converged".
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from slt.catalogue.theorems import deep_linear_rlct
from slt.estimate.llc import estimate_llc
from slt.targets.target import loss_target


class Class(NamedTuple):
    """Published ranges, both ends in: weight matrices, widths; and the number n of data."""

    layers: tuple[int, int]
    widths: tuple[int, int]
    num_data: int


CLASSES = {
    "1K": Class((2, 5), (5, 50), 100_000),
    "10K": Class((2, 10), (5, 100), 100_000),
    "100K": Class((2, 10), (50, 500), 1_000_000),
    "1M": Class((2, 20), (100, 1000), 1_000_000),
    "10M": Class((2, 20), (500, 2000), 1_000_000),
    "100M": Class((2, 40), (500, 3000), 1_000_000),
}


def teacher(name: str, index: int) -> tuple[tuple[int, ...], int, list[np.ndarray]]:
    """Widths, rank, and weights of that rank on subspaces that neighbours share."""
    kind = CLASSES[name]
    rng = np.random.default_rng([list(CLASSES).index(name), index])
    widths = tuple(int(h) for h in rng.integers(kind.widths[0], kind.widths[1] + 1, rng.integers(*kind.layers) + 1))
    rank = int(rng.integers(1, min(widths) + 1))
    bases = [np.linalg.qr(rng.normal(size=(h, rank)))[0] for h in widths]
    sigma = np.geomspace(2.5, 0.4, rank) ** (1 / (len(widths) - 1))
    pairs = zip(pairwise(widths), pairwise(bases), strict=True)
    return widths, rank, [np.sqrt(b / min(a, b)) * (v * sigma) @ u.T for (a, b), (u, v) in pairs]


def batch_loss(weights, rows, factors, key):
    """Squared error of rows given by number; the teacher is the product of `factors`, of its rank inside."""
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(rows)
    outputs = jax.vmap(lambda k: jax.random.uniform(k, weights[0].shape[1:], minval=-10, maxval=10))(keys)
    targets = outputs @ factors[0] @ factors[1]
    for weight in weights:
        outputs = outputs @ weight.T
    return jnp.mean((outputs - targets) ** 2, axis=1)


def run(name: str, index: int, given: argparse.Namespace) -> dict:
    """One teacher in this process: the estimate, seconds, and peak memory."""
    widths, rank, weights = teacher(name, index)
    n = given.data or CLASSES[name].num_data
    left, sigma, right = np.linalg.svd(np.linalg.multi_dot([w.T for w in weights]), full_matrices=False)
    factors = jnp.asarray(left[:, :rank] * sigma[:rank], jnp.float32), jnp.asarray(right[:rank], jnp.float32)
    loss = partial(batch_loss, factors=factors, key=jax.random.key(index))
    weights = [jnp.asarray(w, jnp.float32) for w in weights]
    beta = given.nbeta and given.nbeta / n
    began, cpu = time.perf_counter(), time.process_time()
    target = loss_target(
        loss, weights, jnp.arange(n), localization=1.0, inverse_temperature=beta, control_variate=False
    )  # every datum is fitted at w*, so that there is no noise there to take off
    result = estimate_llc(target, num_chains=2, max_gradients=given.gradients, batch_size=given.batch, seed=given.seed)
    estimate, exact = result.estimates["llc"], float(deep_linear_rlct(widths, rank)[0])
    return {
        "class": name, "index": index, "widths": widths, "rank": rank, "num_params": target.num_params, "num_data": n,
        "nbeta": target.nbeta,
        "rlct": exact, "value": estimate.value, "mcse": estimate.mcse, "relative_error": estimate.value / exact - 1,
        "status": result.verdict.status, "datum_gradients": result.diagnostics["datum_gradients"],
        "batch_size": result.settings["batch_size"],
        "seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }  # fmt: skip


def summary(rows: list[dict]) -> None:
    """Median relative error of every class, and its growth with size."""
    for name in CLASSES:
        part = [row for row in rows if row["class"] == name and np.isfinite(row["value"])]
        if part:
            errors = [row["relative_error"] for row in part]
            sizes = [row["num_params"] for row in part]
            print(f"{name:5s} {len(part):3d} teachers of {np.median(sizes):12,.0f} parameters: median error "
                  f"{np.median(errors):+.1%}, worst {max(errors, key=abs):+.1%}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("classes", nargs="*", default=["10K:0,1,2", "100K:0,1", "1M:3"], help="class:teachers")
    parser.add_argument("--gradients", type=int, default=5_000_000, help="budget of an estimate [of one datum]")
    parser.add_argument("--data", type=int, help="n, in place of the published one")
    parser.add_argument("--batch", type=int, default=500, help="rows of a minibatch at first")
    parser.add_argument("--nbeta", type=float, help="n beta, in place of n/log n; targets have no noise")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("results/deep_linear_scale.json"))
    parser.add_argument("--one", nargs=2, metavar=("CLASS", "INDEX"), help="run one in this process and print its row")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(run(given.one[0], int(given.one[1]), given)))
        return
    rows = json.loads(given.output.read_text()) if given.output.exists() else []
    done = {(row["class"], row["index"]) for row in rows}
    wanted = [(name, int(i)) for name, _, which in (c.partition(":") for c in given.classes) for i in which.split(",")]
    given.output.parent.mkdir(parents=True, exist_ok=True)
    for name, index in wanted:
        if (name, index) not in done:
            command = [sys.executable, __file__, "--one", name, str(index), "--gradients", str(given.gradients)]
            command += ["--seed", str(given.seed), "--batch", str(given.batch)] + (
                ["--data", str(given.data)] if given.data else []
            )
            command += ["--nbeta", str(given.nbeta)] if given.nbeta else []
            done_one = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            rows.append(json.loads(done_one.stdout.splitlines()[-1]))
            given.output.write_text(json.dumps(rows, indent=1) + "\n")
        row = next(row for row in rows if (row["class"], row["index"]) == (name, index))
        spent = f"{row['seconds']:.0f} s ({row['cpu_seconds']:.0f} s CPU), peak {row['peak_gib']:.2f} GiB"
        found = f"{row['value']:.1f} ± {row['mcse']:.1f} ({row['relative_error']:+.1%}) {row['status']}"
        print(f"{name:5s} {row['num_params']:11,d} parameters: λ {row['rlct']:.1f} found {found}, {spent}", flush=True)
    summary(rows)


if __name__ == "__main__":
    main()
