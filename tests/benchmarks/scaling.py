"""Weak scaling over devices and Dask workers, and cost against parameters, data, chains and draws.

Weak scaling: two chains for each of 1 and 2 host devices (on as many cores), and one configuration for each of 1
and 2 Dask workers; efficiency is the time of one over the time of two. Cost: CPU seconds of `sample` on tanh networks
as one quantity grows and the others stay, with the exponent that fits best.
Run: python tests/benchmarks/scaling.py [devices workers cost]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SIZES = {
    "parameters": [32, 128, 512],  # width of the hidden layer
    "rows": [64, 256, 1024],
    "chains": [2, 4, 8],
    "draws": [100, 400, 1600],
}
BASE = {"parameters": 128, "rows": 256, "chains": 2, "draws": 200}


def timed(width: int, rows: int, chains: int, draws: int, devices: int = 1) -> tuple[float, float]:
    """Wall and CPU seconds of a compiled run of full-batch SGLD."""
    import jax
    import jax.numpy as jnp

    from slt.samplers.langevin import sgld
    from slt.samplers.run import runner
    from slt.targets.networks import mlp_init, mlp_loss
    from slt.targets.target import loss_target

    key = jax.random.key(0)
    data = {"inputs": jax.random.normal(key, (rows, 32)), "targets": jax.random.randint(key, (rows,), 0, 10)}
    target = loss_target(mlp_loss("tanh", "cross_entropy"), mlp_init(key, (32, width, 10)), data, localization=1.0)
    mesh = jax.make_mesh((devices,), ("chain",)) if devices > 1 else None
    run = runner(sgld(target.energy, step_size=1e-9), target.loss, mesh=mesh)
    starts = jax.tree.map(lambda a: jnp.repeat(a[None], chains, 0), target.minimum)
    state = run.init(key, starts, target.data)
    jax.block_until_ready(run.advance(state, target.data, draws))
    spent = []
    for _ in range(3):
        wall, cpu = time.perf_counter(), time.process_time()
        jax.block_until_ready(run.advance(state, target.data, draws))
        spent.append((time.perf_counter() - wall, time.process_time() - cpu))
    return min(s[0] for s in spent), min(s[1] for s in spent)


def devices() -> None:
    found = {}
    for count in (1, 2):
        flags = f"--xla_force_host_platform_device_count={count}"
        cores = f"import os; os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:{count}])"
        program = f"{cores}; from scaling import timed; print(*timed(256, 1024, {2 * count}, 100, {count}))"
        environment = os.environ | {"XLA_FLAGS": flags}
        done = subprocess.run([sys.executable, "-c", program], env=environment, cwd=Path(__file__).parent, text=True,
                              stdout=subprocess.PIPE, check=True)  # fmt: skip
        found[count] = [float(word) for word in done.stdout.split()[-2:]]
        print(
            f"{count} devices, 2 chains on each: {found[count][0]:.2f} s wall, {found[count][1]:.2f} s CPU", flush=True
        )
    print(
        f"weak scaling over devices: efficiency {found[1][0] / found[2][0]:.0%}, CPU {found[2][1] / found[1][1]:.2f}x"
    )


def workers() -> None:
    from distributed import Client, LocalCluster

    from slt.app import experiment
    from slt.app.config import parse_config

    text = '[model]\nbuiltin = "x2y2"\n[posterior]\ninverse_temperature = 1000.0\n[run]\nseed = {}\n'
    found = {}
    for count in (1, 2):
        with (
            tempfile.TemporaryDirectory() as folder,
            LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            configs = [parse_config(text.format(seed)) for seed in range(2 * count)]
            experiment.sweep(configs[:count], folder, map=client.map)  # each worker has compiled
            began = time.perf_counter()
            experiment.sweep(configs, folder, map=client.map)
            found[count] = time.perf_counter() - began
            print(f"{count} workers, a configuration each: {found[count]:.1f} s", flush=True)
    print(f"weak scaling over workers: efficiency {found[1] / found[2]:.0%}")


def cost() -> None:
    for name, values in SIZES.items():
        seconds = []
        for value in values:
            chosen = BASE | {name: value}
            seconds.append(timed(chosen["parameters"], chosen["rows"], chosen["chains"], chosen["draws"])[1])
        slope = np.polyfit(np.log(values), np.log(seconds), 1)[0]
        pairs = ", ".join(f"{value}: {s:.3f} s" for value, s in zip(values, seconds, strict=True))
        print(f"CPU time grows as {name}^{slope:.2f} ({pairs})", flush=True)


PARTS = {"devices": devices, "workers": workers, "cost": cost}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=PARTS, help="all unless given")
    for part in parser.parse_args().parts or PARTS:
        PARTS[part]()


if __name__ == "__main__":
    main()
