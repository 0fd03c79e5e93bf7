"""Does anything measured at a minimum predict how often training finds its function?

All 16 inputs of 4 bits (or all 8 of 3), majority labels on a part of them, one hidden layer, all parameters drawn from
N(0, 1/4), Adam to loss 1e-3, then settled. A minimum's function is its sign at every input; the functions that fit
differ at the unseen inputs only. Per function the frequency over all fitted runs is compared with the mean over its
minima of: Hessian zeros, log-determinant over the non-zero eigenvalues, bits of the fuzzy ellipsoid under the
initialisation at T = 1e-3, lambda-hat at nbeta = 1000 (gamma = 1; minima with R-hat above 1.05 left out), and norm.
Run: python tests/benchmarks/boolean_frequency.py
"""

import json
import math
import os
import time
from pathlib import Path

from asked import words

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small matrices: more threads only wait for each other

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from slt.geometry.volume import log_fuzzy_ellipsoid
from slt.studies.function_space import boolean_inputs
from slt.studies.rashomon import ensemble_llc, equipartition, frequencies, rank_correlation
from slt.studies.rashomon.minima import Minima, find_minima
from slt.targets.gaussian import Gaussian
from slt.targets.networks import mlp_apply, mlp_init, mlp_loss

RESULT = Path(__file__).with_suffix(".json")
SCALE, LEVEL = 0.5, 1e-3
RUNS, EQUIPARTITION_RUNS = 1200, 600
TASKS = {
    "4 bits, tanh 4-4-1": (4, 10, 4, "tanh"),
    "4 bits, ReLU 4-6-1": (4, 10, 6, "relu"),
    "3 bits, ReLU 3-6-1": (3, 5, 6, "relu"),
}


def task(bits: int, shown: int) -> tuple[np.ndarray, dict]:
    """All inputs, and the training rows with majority labels of -1 and 1; ties count as 1."""
    inputs = boolean_inputs(bits)
    labels = np.where(inputs.sum(1) >= 0, 1.0, -1.0)[:, None]
    rows = np.sort(np.random.default_rng(1).choice(len(inputs), shown, replace=False))
    return inputs, {"inputs": inputs[rows], "targets": labels[rows]}


def gaussian_init(widths: tuple[int, ...]):
    flat, unravel = ravel_pytree(mlp_init(jax.random.key(0), widths))
    return lambda key: unravel(SCALE * jax.random.normal(key, flat.shape, flat.dtype))


def labels_of(params, inputs: np.ndarray, activation: str) -> np.ndarray:
    outputs = jax.jit(jax.vmap(lambda w: mlp_apply(w, inputs, activation)[:, 0]))(params)
    return np.asarray(outputs > 0)


def measures(minima: Minima, data: dict, activation: str, good: np.ndarray) -> dict[str, np.ndarray]:
    """Every measure of the good minima; NaN where one is left out."""
    objective = mlp_loss(activation, "squared_error")
    unravel = ravel_pytree(jax.tree.map(lambda a: a[0], minima.params))[1]
    points, eigenvalues = minima.flat[good], minima.bottom.eigenvalues[good]
    zeros = minima.bottom.gap()[0][good]
    hessian = jax.jit(jax.hessian(lambda w: jnp.mean(objective(unravel(w), data))))
    log_det, bits = np.empty(len(points)), np.empty(len(points))
    for i, w in enumerate(points):
        log_det[i] = np.sum(np.log(np.sort(np.abs(eigenvalues[i]))[zeros[i] :]))
        values, vectors = np.linalg.eigh(np.asarray(hessian(w)))
        prior = Gaussian(-vectors.T @ w, SCALE)
        bits[i] = -log_fuzzy_ellipsoid(np.maximum(values, 0), prior, threshold=LEVEL) / math.log(2)
    with jax.enable_x64(False):
        params = jax.tree.map(lambda a: jnp.asarray(a[good], jnp.float32), minima.params)
        rows = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), data)
        found = ensemble_llc(
            jax.random.key(5), objective, params, rows, eigenvalues.max(1).astype(np.float32),
            num_warmup=400, num_draws=600, thinning=3,
        )  # fmt: skip
    return {
        "zeros": zeros.astype(float), "log det": log_det, "bits": bits,
        "λ̂": np.where(found.rhat < 1.05, found.value, np.nan), "norm": np.linalg.norm(points, axis=1),
    }  # fmt: skip


def one_task(name: str, bits: int, shown: int, width: int, activation: str) -> dict:
    cpu = time.process_time()
    inputs, data = task(bits, shown)
    widths = (bits, width, 1)
    minima = find_minima(
        jax.random.key(7), widths, data, num_runs=RUNS, activation=activation, init=gaussian_init(widths),
        num_steps=3000,
    )  # fmt: skip
    good = minima.settled & (minima.loss < 1e-20)
    share, number = frequencies(labels_of(minima.params, inputs, activation)[good])
    print(f"\n{name}: d = {minima.flat.shape[1]}, {len(good)} of {RUNS} fitted, {good.sum()} settled to an exact fit, "
          f"{len(np.unique(number))} of {2 ** (len(inputs) - shown)} functions", flush=True)  # fmt: skip
    found = measures(minima, data, activation, good)
    left_out = int(np.isnan(found["λ̂"]).sum())
    correlations = {m: rank_correlation(v, share, number)._asdict() for m, v in found.items()}
    for measure, c in correlations.items():
        print(f"  {measure:8} rank correlation {c['value']:6.2f} [{c['low']:.2f}, {c['high']:.2f}]  {c['verdict']}")
    print(f"  λ̂ left out, not converged: {left_out}")
    walls = compare_walls(minima.bottom.eigenvalues[good], found["zeros"], number)
    for group, row in walls.items():
        print(f"  {group:10} {row['minima']:5d} minima, {row['mean_zeros']:.2f} zeros, log10 of the median non-zero "
              f"eigenvalue {row['log10_wall']:.3f} ± {row['error']:.3f}", flush=True)  # fmt: skip
    return {
        "dim": minima.flat.shape[1], "fitted": len(good), "exact": int(good.sum()), "functions": len(np.unique(number)),
        "commonest": float(share.max()), "correlations": correlations, "left_out": left_out, "walls": walls,
        "cpu_seconds": time.process_time() - cpu,
    }  # fmt: skip


def compare_walls(eigenvalues: np.ndarray, zeros: np.ndarray, number: np.ndarray) -> dict:
    """Zeros and median non-zero eigenvalues: of the commonest function, of the rest, and of most dimensions."""
    groups = {"commonest": number == 0, "others": number > 0, "most zeros": zeros == zeros.max()}
    rng, rows = np.random.default_rng(0), {}
    for name, chosen in groups.items():
        walls = [
            np.median(np.sort(np.abs(e))[int(z) :]) for e, z in zip(eigenvalues[chosen], zeros[chosen], strict=True)
        ]
        again = np.median(np.log10(rng.choice(walls, (500, len(walls)))), axis=1) if walls else [np.nan]
        rows[name] = {
            "minima": int(chosen.sum()), "mean_zeros": float(np.mean(zeros[chosen])) if walls else math.nan,
            "log10_wall": float(np.median(np.log10(walls))) if walls else math.nan, "error": float(np.std(again)),
        }  # fmt: skip
    return rows


def against_width() -> dict:
    """Mean and spread of -log frequency [nats] by width: does the spread vanish beside the mean?"""
    inputs, data = task(4, 10)
    rows = {}
    for width in (2, 4, 8, 16, 32):
        widths = (4, width, 1)
        minima = find_minima(
            jax.random.key(width), widths, data, num_runs=EQUIPARTITION_RUNS, init=gaussian_init(widths), num_steps=2000
        )
        share, number = frequencies(labels_of(minima.params, inputs, "tanh"))
        mean, spread = equipartition(share)
        rows[str(width)] = {
            "fitted": len(share), "functions": len(np.unique(number)), "commonest": float(share.max()),
            "mean": mean, "spread": spread, "singletons": int(np.sum(share * len(share) < 1.5)),
        }  # fmt: skip
        print(f"  width {width:2d}: {rows[str(width)]}", flush=True)
    return rows


def main() -> None:
    words(__doc__)
    cpu = time.process_time()
    with jax.enable_x64(True):
        result = {"tasks": {name: one_task(name, *case) for name, case in TASKS.items()}}
        print("\nsurprisal -log(frequency) by width, tanh, 4 bits")
        result["equipartition"] = against_width()
    result["cpu_seconds"] = time.process_time() - cpu
    RESULT.write_text(json.dumps(result) + "\n")
    print(f"{result['cpu_seconds']:.0f} s of CPU")


if __name__ == "__main__":
    main()
