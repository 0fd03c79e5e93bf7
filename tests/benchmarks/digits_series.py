"""Thirty checkpoints of one digits training: the series, killed half-way and resumed, repeated, and with other data.

Estimates are of the learning coefficient, of the singular fluctuation by the same run, and of the Hessian basin volume.

A 64-16-10 tanh network under Adam with weight decay 1e-3; gamma = 10. The series runs in a process of its own that is
killed by SIGKILL after 15 points are stored; the second process goes on, the third finds everything, and a fourth,
whose data differ in one pixel, finds nothing at the first checkpoint.
Run: python tests/benchmarks/digits_series.py --folder results/digits_series
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console

import slt
from slt import store
from slt.report import plots, tables
from slt.targets import networks
from slt.targets.data import load_digits

DATA = Path(__file__).parents[2] / "data" / "digits.npz"
STEPS = np.unique(np.round(np.geomspace(1, 3000, 34)).astype(int))[-30:]
DECAY, GAMMA = 1e-3, 10.0
MEASURES = ("singular_fluctuation", "volume")
POINTS = "points/*_singular_fluctuation.nc"
LOSS = networks.mlp_loss("tanh", "cross_entropy")


def train(folder: Path, steps: np.ndarray) -> None:
    """Full-batch Adam; the parameters at those steps, as safetensors."""
    data = jax.tree.map(jnp.asarray, load_digits(DATA).train)
    params = networks.mlp_init(jax.random.key(0), (64, 16, 10))
    optimiser = optax.adam(1e-2)
    objective = networks.regularised(LOSS, DECAY)

    @jax.jit
    def update(params, state):
        updates, state = optimiser.update(jax.grad(objective)(params, data), state)
        return optax.apply_updates(params, updates), state

    state = optimiser.init(params)
    for step in range(1, steps[-1] + 1):
        params, state = update(params, state)
        if step in steps:
            metadata = {"widths": [64, 16, 10], "activation": "tanh", "step": step}
            networks.save_checkpoint(folder / f"step_{step:05d}.safetensors", params, metadata)


def series(folder: Path, pixel: float, count: int) -> None:
    """The series over the first `count` checkpoints, in this process."""
    split = load_digits(DATA)
    split.train["inputs"][0, 0] += pixel

    def build(path: Path):
        params, _ = networks.load_checkpoint(path)
        target = slt.loss_target(LOSS, params, split.train, localization=GAMMA, weight_decay=DECAY)
        return target, {"test_loss": float(jnp.mean(LOSS(params, split.test)))}

    files = sorted(folder.glob("step_*.safetensors"))[:count]
    checkpoints = {int(path.stem.split("_")[1]): path for path in files}
    began = time.perf_counter(), time.process_time()
    found = slt.estimate_series(
        build, checkpoints, folder=folder / "points", measures=MEASURES, tolerance=0.05, max_gradients=2_000_000,
        num_chains=2,
    )  # fmt: skip
    wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
    print(f"{len(found.results)} points, {found.hits} hits, {wall:.0f} s ({cpu:.0f} s CPU)", flush=True)
    if pixel == 0:
        Console(width=140).print(tables.series_table(found.results))
        store.save(found.results, folder / "series.nc", coordinate="checkpoint", overwrite=True)
        plots.plot_series(found.results).savefig(folder / "series.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("results/digits_series"))
    parser.add_argument("--count", type=int, default=len(STEPS), help="how many checkpoints of the training")
    parser.add_argument("--part", nargs=2, metavar=("PIXEL", "COUNT"), help="what the processes of this script do")
    given = parser.parse_args()
    if given.part:
        series(given.folder, float(given.part[0]), int(given.part[1]))
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    if not any(given.folder.glob("step_*.safetensors")):
        train(given.folder, STEPS[np.linspace(0, len(STEPS) - 1, given.count).astype(int)])

    def start(pixel: float, count: int = given.count) -> subprocess.Popen:
        command = [sys.executable, __file__, "--folder", str(given.folder), "--part", str(pixel), str(count)]
        return subprocess.Popen(command)

    first, began = start(0.0), time.perf_counter()
    while first.poll() is None and len(list(given.folder.glob(POINTS))) < given.count // 2:
        time.sleep(0.5)
    if first.poll() is None:
        os.kill(first.pid, signal.SIGKILL)
        stored = len(list(given.folder.glob(POINTS)))
        print(f"killed after {time.perf_counter() - began:.0f} s, {stored} points stored")
    for label, pixel, count in (("resumed", 0.0, 99), ("again", 0.0, 99), ("one pixel of the data changed", 0.01, 1)):
        print(f"{label}:", flush=True)
        assert start(pixel, count).wait() == 0


if __name__ == "__main__":
    main()
