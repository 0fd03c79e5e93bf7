"""Time per step and chain of each kernel over the time of the bare minibatch gradient in the same program.

MLPs of 1.4 k, 11 k, 100 k and 1.8 M parameters, batch 256, softmax cross entropy. Both are scanned inside one jit; the
ratio is the median over rounds that alternate the two, so a drifting machine does not favour either.
Run: python tests/benchmarks/speed.py
"""

import argparse
import time

import jax
import numpy as np

from slt.samplers.langevin import leimkuhler_matthews, sghmc, sgld
from slt.samplers.run import runner
from slt.targets.networks import mlp_init, mlp_loss
from slt.targets.target import Target, loss_target

WIDTHS = {"1.4k": (16, 50, 10), "11k": (64, 128, 24, 10), "100k": (256, 300, 80, 10), "1.8M": (784, 1024, 1024, 10)}
BATCH = 256


def build(widths: tuple[int, ...]) -> Target:
    key = jax.random.key(0)
    inputs = jax.random.normal(key, (4096, widths[0]))
    targets = jax.random.randint(key, (4096,), 0, widths[-1])
    loss = mlp_loss("relu", "cross_entropy")
    data = {"inputs": inputs, "targets": targets}
    return loss_target(loss, mlp_init(key, widths), data, localization=1.0, control_variate=False)


def bare_gradient(target: Target, steps: int):
    """`steps` minibatch gradients of L_B, each taken where the one before led, so that none is optimised away."""

    def body(position, key, data):
        rows = jax.random.randint(key, (BATCH,), 0, target.num_data)
        batch = jax.tree.map(lambda a: a[rows], data)
        gradient = jax.grad(target.loss)(position, batch)
        return jax.tree.map(lambda w, g: w - 1e-9 * g, position, gradient), None

    def run(key, w, data):
        return jax.lax.scan(lambda p, k: body(p, k, data), w, jax.random.split(key, steps))[0]

    return jax.jit(run)


def seconds(call) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(call())
    return time.perf_counter() - wall, time.process_time() - cpu


def compare(name: str, build_kernel, widths: tuple[int, ...], rounds: int, target_seconds: float) -> None:
    target = build(widths)
    size = target.num_params
    steps = int(np.clip(target_seconds / (2e-9 * size * BATCH / 32 + 4e-5), 10, 5000))
    run = runner(build_kernel(target.energy), target.loss, batch_size=BATCH, thinning=steps, chain_method="map")
    chains = run.init(jax.random.key(1), jax.tree.map(lambda a: a[None], target.minimum), target.data)
    gradient = bare_gradient(target, steps)
    key = jax.random.key(2)
    calls = (lambda: run.advance(chains, target.data, 1), lambda: gradient(key, target.minimum, target.data))
    for call in calls:
        seconds(call)
    times = np.array([[seconds(call) for call in calls] for _ in range(rounds)])
    wall = times[:, 0, 0] / times[:, 1, 0]
    cpu = times[:, 0, 1] / times[:, 1, 1]
    each = np.median(times[:, :, 0], 0) / steps * 1e3
    print(
        f"{name:20s} {size:9,d} parameters: step {each[0]:8.3f} ms, gradient {each[1]:8.3f} ms, "
        f"ratio {np.median(wall):.2f} wall ({wall.min():.2f} to {wall.max():.2f}), {np.median(cpu):.2f} CPU",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.5, help="about how long one measured call takes")
    arguments = parser.parse_args()
    kernels = {
        "sgld": lambda energy: sgld(energy, step_size=1e-9),
        "leimkuhler_matthews": lambda energy: leimkuhler_matthews(energy, step_size=1e-9),
        "sghmc": lambda energy: sghmc(energy, step_size=1e-5, friction=1.0),
    }
    for name, kernel in kernels.items():
        for widths in WIDTHS.values():
            compare(name, kernel, widths, arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
