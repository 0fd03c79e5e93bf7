r"""How many Hessian eigenvalues of XOR minima are near zero: 150 trainings of every width, two activations.

Each run is counted twice: where training stopped, at loss 1e-3, as the authors of the claim did, and at the bottom of
its basin. The most there can be follows from G, rows of behavioural gradients at the four inputs. *tanh*: a unit j in
use gives the columns D_j (1, x_1, x_2) with D_j = diag h'_j > 0, whose span misses one direction, v = D_j^-1 (1, -1,
-1, 1); rank 3 needs v perpendicular to 1 and to every h_k, hence to y, but v.y = -1/h'_2 - 1/h'_3 < 0. So rank G = 4 at
every exact fit and d - 4 is the only count. *ReLU*: D_j may have zeros; rank 3 occurs, rank 2 would need a unit that is
on at (0,1) and (1,0) alone, which no line cuts out. So d - 3 is the most.
Run: python tests/benchmarks/xor_histograms.py [redraw]
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

from slt.report.plots import plot_near_zero
from slt.studies.rashomon import find_minima

RESULT = Path(__file__).with_suffix(".json")
WIDTHS, RUNS, STOPPED_AT = range(2, 17), 150, 1e-3
THRESHOLDS = (1e-5, 1e-4, 1e-3, 1e-2)
DRAWN = (2, 3, 4, 6, 8, 12, 16)
XOR = {"inputs": np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), "targets": np.array([[0.0], [1], [1], [0]])}
LEAST_RANK = {"tanh": 4, "relu": 3}


def histogram(counts: np.ndarray) -> dict[str, int]:
    return {str(value): int(number) for value, number in zip(*np.unique(counts, return_counts=True), strict=True)}


def one_width(activation: str, width: int) -> dict:
    cpu, wall = time.process_time(), time.perf_counter()
    minima = find_minima(
        jax.random.key(width), (2, width, 1), XOR, num_runs=RUNS, activation=activation, max_loss=STOPPED_AT
    )
    exact = minima.settled & (minima.loss < 1e-20)
    counts, gaps = minima.bottom.gap()
    return {
        "fitted": len(minima.loss), "settled": int(exact.sum()), "dim": 4 * width + 1,
        "maximum": 4 * width + 1 - LEAST_RANK[activation],
        "zeros": histogram(counts[exact]), "least_gap": float(gaps[exact].min()),
        "stopped": {f"{t:g}": histogram(minima.stopped.near_zero(t)) for t in THRESHOLDS},
        "settled_thresholds": {f"{t:g}": histogram(minima.bottom.near_zero(t)[exact]) for t in (1e-10, *THRESHOLDS)},
        "stages": minima.seconds, "cpu_seconds": time.process_time() - cpu, "seconds": time.perf_counter() - wall,
    }  # fmt: skip


def expand(found: dict[str, int]) -> np.ndarray:
    return np.repeat([int(value) for value in found], list(found.values()))


def share_of_most(row: dict) -> tuple[float, float, float]:
    """Share of minima of maximal dimension with a 90 % Clopper-Pearson interval."""
    hits, total = row["zeros"].get(str(row["maximum"]), 0), row["settled"]
    interval = stats.binomtest(hits, total).proportion_ci(0.9)
    return hits / total, interval.low, interval.high


def show(activation: str, rows: dict[str, dict]) -> None:
    print(f"\n{activation}: zeros of the Hessian below the dimension d = 4 w + 1 (d - count), {RUNS} runs a width")
    print(f"{'w':>3} {'fitted':>6} {'settled':>7}  {'settled: rank (runs)':24} {'gap':>5}  {'share of most':>20}  "
          + "  ".join(f"stopped, {t:g}" for t in THRESHOLDS))  # fmt: skip
    for width, row in rows.items():
        ranks = ", ".join(f"{row['dim'] - int(v)} ({n})" for v, n in reversed(row["zeros"].items()))
        share, low, high = share_of_most(row)
        spread = []
        for found in row["stopped"].values():
            below = row["dim"] - expand(found)
            spread.append(f"{np.median(below):4.0f} [{below.min():2d},{below.max():2d}]")
        print(f"{width:>3} {row['fitted']:6d} {row['settled']:7d}  {ranks:24} {row['least_gap']:5.1f}  "
              f"{share:5.2f} [{low:.3f}, {high:.3f}]  " + "  ".join(f"{s:>13}" for s in spread))  # fmt: skip
    shares = [share_of_most(row)[0] for row in rows.values()]
    if np.ptp(shares) > 0:
        trend = stats.spearmanr([int(width) for width in rows], shares)
        print(
            f"share of maximal-dimension minima against width: Spearman {trend.statistic:.2f}, p = {trend.pvalue:.1g}"
        )
    stages = {name: sum(row["stages"][name] for row in rows.values()) for name in ("train", "settle", "spectra")}
    print(", ".join(f"{name} {seconds:.0f} s" for name, seconds in stages.items()) + " on the clock;", end=" ")
    print(f"in all {sum(r['cpu_seconds'] for r in rows.values()):.0f} s of CPU, "
          f"{sum(r['seconds'] for r in rows.values()):.0f} s on the clock, compilation included")  # fmt: skip


def draw(activation: str, rows: dict[str, dict]) -> None:
    counts = {f"stopped, {t}": {w: expand(rows[str(w)]["stopped"][t]) for w in DRAWN} for t in ("0.001", "0.0001")}
    counts["settled"] = {w: expand(rows[str(w)]["zeros"]) for w in DRAWN}
    figure = plot_near_zero(counts, {w: rows[str(w)]["maximum"] for w in DRAWN})
    figure.savefig(RESULT.with_name(f"xor_histograms_{activation}.png"), dpi=90)


def main() -> None:
    redraw = words(__doc__, "redraw", ("redraw",))
    result: dict[str, dict] = {name: {} for name in LEAST_RANK}
    if redraw:
        result = json.loads(RESULT.read_text())
    else:
        for name, rows in result.items():
            for width in WIDTHS:
                rows[str(width)] = one_width(name, width)
                print(f"{name}, width {width}: {rows[str(width)]['cpu_seconds']:.1f} s of CPU", flush=True)
        RESULT.write_text(json.dumps(result) + "\n")
    for activation, rows in result.items():
        show(activation, rows)
        draw(activation, rows)


if __name__ == "__main__":
    main()
