"""What readers asked of the XOR histograms: deeper nets, more data, weight decay; and dimensions against width.

One row a case: parameters d, numbers to fit (outputs x data), and the number of Hessian eigenvalues that are *not* near
zero: where training stopped (loss 1e-3, threshold 1e-3 of the largest) and where it settled (widest gap), median and
range over runs; the share of runs at the commonest settled count; the narrowest gap [decades]. With weight decay the
settled count is of eigenvalues above 1.01 x decay, as flat directions of the loss itself have the curvature of the
decay, and in place of the gap stands the smallest eigenvalue of all runs in units of the decay: above zero, a minimum
is a point. Then the kinds of flat dimension of exact XOR fits by width, and exponents of growth. A direction is trivial
where 2000 random inputs see no change: of ReLU units whose kinks run close together they may not see all.
Run: python tests/benchmarks/rashomon_questions.py [part of a case's name | kinds] ...
"""

import json
import os
import time
from pathlib import Path

from asked import words

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small matrices: more threads only wait for each other

import jax
import numpy as np
from scipy import stats

from slt.geometry.behaviour import flat_dimensions
from slt.geometry.operators import mlp_network
from slt.studies.function_space import boolean_inputs
from slt.studies.rashomon import find_minima
from slt.targets.data import load_digits

RESULT = Path(__file__).with_suffix(".json")
DIGITS = Path(__file__).parents[2] / "data" / "digits.npz"
XOR = {"inputs": np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), "targets": np.array([[0.0], [1], [1], [0]])}


def parity(bits: int) -> dict:
    inputs = boolean_inputs(bits)
    return {"inputs": inputs, "targets": inputs.prod(1, keepdims=True)}


def coin_flips(bits: int) -> dict:
    inputs = boolean_inputs(bits)
    return {"inputs": inputs, "targets": np.random.default_rng(bits).choice([-1.0, 1.0], (len(inputs), 1))}


def zeros_and_ones(num: int) -> dict:
    """Images of 0 and 1 as 4 x 4 pixels."""
    part = load_digits(DIGITS).train
    rows = np.flatnonzero(part["targets"] < 2)[:num]
    images = np.asarray(part["inputs"], np.float64)[rows].reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16)
    return {"inputs": images, "targets": 2.0 * part["targets"][rows, None] - 1}


def cases() -> dict[str, tuple]:
    """name -> (widths, data, activation, weight decay, runs)."""
    found: dict[str, tuple] = {}
    for activation in ("tanh", "relu"):
        for hidden in ((4,), (4, 4), (4, 4, 4)):
            found[f"XOR, {activation}, {'-'.join(map(str, hidden))}"] = ((2, *hidden, 1), XOR, activation, 0.0, 60)
        found[f"parity of 3 bits, {activation}"] = ((3, 8, 1), parity(3), activation, 0.0, 60)
        found[f"coin flips of 4 bits, {activation}"] = ((4, 10, 1), coin_flips(4), activation, 0.0, 60)
        found[f"digits 0 and 1, {activation}"] = ((16, 6, 1), zeros_and_ones(40), activation, 0.0, 30)
    for decay in (1e-4, 1e-3):
        for width in (4, 8):
            found[f"XOR, tanh, {width}, decay {decay:g}"] = ((2, width, 1), XOR, "tanh", decay, 60)
    return found


def span(values: np.ndarray) -> str:
    return f"{np.median(values):.0f} [{values.min()}, {values.max()}]"


def one_case(widths: tuple, data: dict, activation: str, decay: float, runs: int) -> dict:
    cpu = time.process_time()
    stop = 1e-3 if decay == 0 else 1e-3 + 12 * decay  # the penalty of a fit is part of the objective
    minima = find_minima(
        jax.random.key(3), widths, data, num_runs=runs, activation=activation, weight_decay=decay, max_loss=stop,
        num_steps=4000, settle_steps=60 if decay == 0 else 400,
    )  # fmt: skip
    dim = minima.bottom.eigenvalues.shape[1]
    good = minima.settled & ((minima.loss < 1e-20) | (decay > 0))
    row = {"dim": dim, "to_fit": data["targets"].size, "runs": runs, "fitted": len(good), "settled": int(good.sum())}
    row["stopped"] = span(dim - minima.stopped.near_zero(1e-3))
    if good.any():
        counts, gaps = minima.bottom.gap()
        stiff = dim - counts if decay == 0 else np.sum(minima.bottom.eigenvalues > 1.01 * decay, axis=1)
        common = np.unique(stiff[good], return_counts=True)[1].max() / good.sum()
        row |= {
            "stiff": span(stiff[good]),
            "common": float(common),
            "gap": float(gaps[good].min() if decay == 0 else minima.bottom.eigenvalues[good].min() / decay),
        }
    return row | {"cpu_seconds": time.process_time() - cpu}


def kinds(activation: str, widths: tuple[int, ...], runs: int = 2) -> list[dict]:
    """Flat dimensions of a few exact XOR fits of every width."""
    rng = np.random.default_rng(0)
    elsewhere = {"inputs": 3 * rng.normal(size=(4000, 2)), "targets": np.zeros((4000, 1))}
    rows = []
    for width in widths:
        minima = find_minima(jax.random.key(width), (2, width, 1), XOR, num_runs=30, activation=activation)
        exact = np.flatnonzero(minima.settled & (minima.loss < 1e-20))[:runs]
        for run in exact:
            params = jax.tree.map(lambda a, run=run: a[run], minima.params)
            net = mlp_network(params, XOR, activation=activation, loss="squared_error")
            found = flat_dimensions(net, elsewhere, jax.random.key(1))
            rows.append({"width": width, "dim": 4 * width + 1} | found._asdict())
        last = rows[-len(exact) :]
        print(activation, width, [(r["leaves"], r["different"], r["trivial"]) for r in last],
              f"change along trivial ones {max(r['trivial_change'] for r in last):.0e}", flush=True)  # fmt: skip
    return rows


def exponent(width: list, count: list) -> tuple[float, float]:
    """Slope of log count on log width and its standard error."""
    fit = stats.linregress(np.log(width), np.log(count))
    return float(fit.slope), float(fit.stderr)


def main() -> None:
    result: dict = json.loads(RESULT.read_text()) if RESULT.exists() else {"cases": {}, "kinds": {}}
    wanted = words(__doc__, "CASE") or ["", "kinds"]
    print(f"{'case':30} {'d':>3} {'fit':>3} {'runs':>4} {'fitted':>6} {'settled':>7}  {'stopped':>12}  {'settled':>12} "
          f"{'common':>6} {'gap':>5}  CPU")  # fmt: skip
    for name, case in cases().items():
        if not any(part in name for part in wanted):
            continue
        row = result["cases"][name] = one_case(*case)
        RESULT.write_text(json.dumps(result) + "\n")
        print(f"{name:30} {row['dim']:3d} {row['to_fit']:3d} {row['runs']:4d} {row['fitted']:6d} {row['settled']:7d}  "
              f"{row['stopped']:>12}  {row.get('stiff', '-'):>12} {row.get('common', np.nan):6.0%} "
              f"{row.get('gap', np.nan):5.1f}  {row['cpu_seconds']:.0f} s", flush=True)  # fmt: skip
    if "kinds" in wanted:
        dimensions(result)
    RESULT.write_text(json.dumps(result) + "\n")


def dimensions(result: dict) -> None:
    """Kinds of flat dimension and exponents of growth against width."""
    print("\nflat dimensions of exact fits: (leaves the set, another function, trivial)")
    for activation in ("tanh", "relu"):
        rows = result["kinds"][activation] = kinds(activation, (2, 3, 4, 6, 8))
        slope = exponent([r["width"] for r in rows], [r["dim"] - r["trivial"] for r in rows])
        print(f"{activation}: d - trivial grows as width^({slope[0]:.3f} ± {slope[1]:.3f})")
    histograms = RESULT.with_name("xor_histograms.json")
    if histograms.exists():
        for activation, rows in json.loads(histograms.read_text()).items():
            for level in ("0.0001", "0.001", "0.01"):
                mean = [
                    r["dim"]
                    - sum(int(v) * n for v, n in r["stopped"][level].items()) / sum(r["stopped"][level].values())
                    for r in rows.values()
                ]
                slope = exponent([int(w) for w in rows], mean)
                print(f"{activation}: eigenvalues above {level} where training stopped grow as "
                      f"width^({slope[0]:.2f} ± {slope[1]:.2f})")  # fmt: skip


if __name__ == "__main__":
    main()
