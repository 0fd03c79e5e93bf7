"""Spectral density of the Hessian of a large net on the digits: seconds and peak memory, each run in its own process.

float32, full data (1437 images), a tanh net trained for some hundred steps. 100k parameters: 10 probes of 100 steps; a
million once, 2 probes of 30.
Run: python tests/benchmarks/spectrum_scale.py [--figure density.png]
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
NETS = {"100k": ((64, 256, 256, 64, 10), 10, 100), "1M": ((64, 960, 960, 10), 2, 30)}


def run(name: str, figure: str | None) -> None:
    import jax
    import numpy as np

    from slt.geometry.lanczos import lanczos_spectrum
    from slt.geometry.operators import hessian, mlp_network
    from slt.geometry.spectrum import effective_dimension, log_det, trace
    from slt.targets.data import load_digits
    from slt.targets.networks import mlp_init, mlp_loss, train

    widths, probes, steps = NETS[name]
    data = load_digits(ROOT / "data" / "digits.npz").train
    params = train(
        jax.random.key(1), mlp_init(jax.random.key(0), widths), mlp_loss("tanh", "cross_entropy"), data,
        steps=300, batch_size=64, weight_decay=1e-4,
    )  # fmt: skip
    net = mlp_network(params, data)
    operator = hessian(net, dtype=np.float32)
    wall, cpu = time.perf_counter(), time.process_time()
    spectrum = lanczos_spectrum(
        operator.product, operator.dim, jax.random.key(2), args=operator.args, dtype=np.float32, num_probes=probes,
        num_steps=steps, gradient_norm=operator.gradient_norm, scale=operator.scale,
    )  # fmt: skip
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{operator.dim:,d} parameters, {probes} probes of {steps} steps: {wall:.0f} s wall, {cpu:.0f} s CPU with the "
        f"compilation, peak {peak:.0f} MiB\n  eigenvalues {spectrum.lambda_min:.3g} to {spectrum.lambda_max:.4g}, none "
        f"below {spectrum.lower_bound:.3g}, trace {trace(spectrum)}, rounding {spectrum.noise_floor:.1e}, resolution "
        f"{spectrum.resolution:.1e}, |grad L| {operator.gradient_norm:.2e}"
    )
    for c in (1.0, 0.1):
        try:
            result = log_det(spectrum, c)
            gap = result.bracket[1] - result.bracket[0]
            dimension = effective_dimension(spectrum, c)
            print(f"  c = {c:g}: info {result.info} nats, truncation {gap:.2g}; sum l/(l + c) = {dimension}")
        except ValueError as error:
            print(f"  c = {c:g}: {error}")
    if figure:
        from slt.report.plots import plot_density

        plot_density(spectrum).savefig(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=NETS, help="run this one in this process")
    parser.add_argument("--figure", help="draw the density of the 100k net here")
    chosen = parser.parse_args()
    if chosen.net:
        run(chosen.net, chosen.figure)
        return
    for name in NETS:
        figure = ["--figure", chosen.figure] if chosen.figure and name == "100k" else []
        subprocess.run([sys.executable, __file__, "--net", name, *figure], check=True)


if __name__ == "__main__":
    main()
