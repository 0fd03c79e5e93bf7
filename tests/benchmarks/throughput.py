"""Milliseconds per SGLD step and chain beside devinterp 1.3.2 and 2.0.1, in one run on one machine.

MLPs of 1.4 k, 11 k, 100 k and 1.8 M parameters, batch 256, 4 chains, one and two threads; wall and CPU time. A peer is
skipped where its interpreter is not given. Rounds alternate between all of them and the fastest of each counts, so that
a busy machine does not favour one. "products" are the matrix products of the gradient alone: what no implementation in
single precision goes below.
Run: python tests/benchmarks/throughput.py --peer PYTHON_WITH_DEVINTERP_1 --peer PYTHON_WITH_DEVINTERP_2
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

HERE = Path(__file__).parent
CHAINS = 4
SIZES = ("1.4k", "11k", "100k", "1.8M")


def products(widths: tuple[int, ...], count: int) -> Callable:
    """The matrix products of `count` gradients of an MLP, one after the other, each depending on the one before."""
    import jax
    import jax.numpy as jnp
    from speed import BATCH

    key, layers = jax.random.key(0), list(pairwise(widths))
    inputs = [jax.random.normal(key, (BATCH, a)) for a, _ in layers]
    weights = [jax.random.normal(key, (a, b)) / a**0.5 for a, b in layers]
    deltas = [jnp.ones((BATCH, b)) for _, b in layers]

    def step(carry: tuple, _: None) -> tuple:
        inputs, weights, deltas = carry
        gradients = [x.T @ d for x, d in zip(inputs, deltas, strict=True)]
        back = [d @ w.T for d, w in zip(deltas[1:], weights[1:], strict=True)]
        deltas = [x @ w for x, w in zip(inputs, weights, strict=True)]
        inputs = inputs[:1] + [x + 1e-9 * b for x, b in zip(inputs[1:], back, strict=True)]
        return (inputs, [w - 1e-9 * g for w, g in zip(weights, gradients, strict=True)], deltas), None

    run = jax.jit(lambda start: jax.lax.scan(step, start, None, length=count)[0])
    return lambda: jax.block_until_ready(run((inputs, weights, deltas)))


def ours(draws: tuple[int, ...]) -> None:
    """One process with as many cores as it was given; prints JSON as the peer does."""
    import jax
    from speed import BATCH, WIDTHS, build

    from slt.samplers.langevin import sgld
    from slt.samplers.run import runner

    for (name, widths), count in zip(WIDTHS.items(), draws, strict=True):
        target = build(widths)
        run = runner(sgld(target.energy, step_size=1e-9), target.loss, batch_size=BATCH)
        starts = jax.tree.map(lambda a: a[None].repeat(CHAINS, 0), target.minimum)
        chains = run.init(jax.random.key(0), starts, target.data)
        steps = {
            "slt": lambda run=run, chains=chains, target=target, count=count: jax.block_until_ready(
                run.advance(chains, target.data, count)
            ),
            "products": products(widths, CHAINS * count),
        }
        for version, call in steps.items():
            call()
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            spent = time.perf_counter() - wall, time.process_time() - cpu
            row = dict(zip(("wall", "cpu"), (1e3 * s / count / CHAINS for s in spent), strict=True))
            print(json.dumps({"version": version, "size": name} | row), flush=True)


def measure(command: list[str], threads: int) -> list[dict]:
    """The rows a process prints, held to so many cores."""
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[:threads]))
    quiet = os.environ | {"TQDM_DISABLE": "1"}
    done = subprocess.run(["taskset", "-c", cores, *command], stdout=subprocess.PIPE, text=True, env=quiet)
    if done.returncode:
        print(f"failed, and left out: {command[0]}")
    return [json.loads(line) | {"threads": threads} for line in done.stdout.splitlines() if line.startswith("{")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", action="append", default=[], help="interpreter of an environment with devinterp")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--draws", type=int, nargs=4, default=(4000, 2000, 300, 30), help="of ours, by size")
    parser.add_argument("--peer-draws", type=int, nargs=4, default=(400, 400, 200, 30), help="of a peer, by size")
    parser.add_argument("--ours", action="store_true", help="what the processes of this script do")
    given = parser.parse_args()
    if given.ours:
        ours(tuple(given.draws))
        return
    commands = [[sys.executable, __file__, "--ours", "--draws", *map(str, given.draws)]]
    for peer in given.peer:
        if Path(peer).exists():
            commands.append([peer, str(HERE / "peer_devinterp.py"), "--draws", *map(str, given.peer_draws)])
        else:
            print(f"skipped: there is no interpreter at {peer}")
    best: dict[tuple, dict] = {}
    for _ in range(given.rounds):
        for threads in (1, 2):
            for command in commands:
                peer = ["--threads", str(threads)] if "peer" in command[1] else []
                for row in measure([*command, *peer], threads):
                    print(json.dumps(row), flush=True)
                    key = (threads, row["size"], row["version"])
                    best[key] = min(row, best.get(key, row), key=lambda r: r["cpu"])
    for (threads, size, version), row in sorted(best.items(), key=lambda item: (item[0][0], SIZES.index(item[0][1]))):
        mine = best[threads, size, "slt"]
        ratio = f"{row['wall'] / mine['wall']:6.1f}x wall, {row['cpu'] / mine['cpu']:6.1f}x CPU"
        print(f"{threads} threads {size:>5s} {version:8s} {row['wall']:8.3f} ms wall {row['cpu']:8.3f} ms CPU  {ratio}")


if __name__ == "__main__":
    main()
