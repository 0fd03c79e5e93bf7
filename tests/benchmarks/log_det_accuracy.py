"""log det(H + cI) by Lanczos against all eigenvalues: error, truncation bracket and coverage of the 90 % interval.

A 2000 x 2000 matrix with 90 % near-zero eigenvalues, and Gauss-Newton matrix and Hessian of the 3605-parameter network
of geometry_problem.py. Errors of the first run are from true products; the coverage over --seeds keys is of a
matrix of the same eigenvalues on the axes of a cosine transform with random signs, whose products are cheap.
Run: python tests/benchmarks/log_det_accuracy.py
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
from geometry_problem import hessian_values, problem
from jax.scipy.fft import dct, idct

from slt.geometry.curvature import curvature_spectrum
from slt.geometry.lanczos import lanczos_spectrum
from slt.geometry.operators import dense, gauss_newton, hessian
from slt.geometry.spectrum import log_det

SHIFTS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
HEADER = (
    f"{'c':>8s} {'exact':>11s} {'error':>9s} {'of info':>9s} {'sem':>7s} {'bracket - exact':>22s} {'steps':>6s}  cover"
)


def on_cosines(v, eigenvalues, signs):
    return signs * idct(eigenvalues * dct(signs * v, norm="ortho"), norm="ortho")


def near_zero() -> np.ndarray:
    """200 eigenvalues from 1e-4 to 10, and 1800 log-normal ones around 1e-9."""
    rng = np.random.default_rng(0)
    return np.concatenate([np.exp(rng.normal(np.log(1e-9), 1, 1800)), np.logspace(-4, 1, 200)])


def rotated(eigenvalues: np.ndarray) -> jax.Array:
    axes = np.linalg.qr(np.random.default_rng(1).normal(size=(eigenvalues.size,) * 2))[0]
    with jax.enable_x64(True):
        return jnp.asarray((axes * eigenvalues) @ axes.T)


def table(name: str, eigenvalues: np.ndarray, run, lower_bound: float, seeds: int, shifts=SHIFTS) -> None:
    """run(key, **options) -> Spectrum by true products; 80 steps, or 160 where 80 leave truncation above the noise."""
    dim = eigenvalues.size
    print(
        f"\n{name}: {dim} eigenvalues, {eigenvalues.min():.3g} to {eigenvalues.max():.3g}; nats\n{HEADER}", flush=True
    )
    with jax.enable_x64(True):
        rng = np.random.default_rng(2)
        args = (jnp.asarray(rng.permutation(eigenvalues)), jnp.asarray(rng.choice([-1.0, 1.0], dim)))

    def sampled(steps: int) -> list:
        keys = (jax.random.key(1000 + seed) for seed in range(seeds))
        options = {"args": args, "lower_bound": lower_bound, "num_steps": steps}
        return [lanczos_spectrum(on_cosines, dim, key, **options) for key in keys]

    short, long = run(jax.random.key(0)), None
    spectra = {80: sampled(80)}
    for c in shifts:
        exact = float(np.sum(np.log(eigenvalues + c)))
        result, steps = log_det(short, c), 80
        if result.verdict.status == "not converged":
            long = long or run(jax.random.key(0), num_steps=160)
            result, steps = log_det(long, c), 160 if dim <= 2000 else 0
        if steps and steps not in spectra:
            spectra[steps] = sampled(steps)
        intervals = np.array([log_det(spectrum, c).value.interval() for spectrum in spectra.get(steps, [])])
        cover = f"{np.mean((intervals[:, 0] <= exact) & (exact <= intervals[:, 1])):.0%}" if steps else "-"
        error = result.value.value - exact
        low, high = (end - exact for end in result.bracket)
        print(
            f"{c:8.0e} {exact:11.2f} {error:9.2f} {error / result.info.value:9.1e} {result.sem:7.2f} "
            f"{f'[{low:.3f}, {high:.3f}]':>22s} {result.steps:6d} {cover:>6s}  {result.verdict.status}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--cases", default="matrix,rank,hessian", help="of matrix, rank, ggn, hessian")
    chosen = parser.parse_args()
    cases, started = chosen.cases.split(","), time.process_time()
    if "matrix" in cases:
        matrix = rotated(near_zero())
        table("matrix", np.sort(near_zero()), of_matrix(matrix), 0.0, chosen.seeds)
    if "rank" in cases:
        values = np.concatenate([np.zeros(280), np.logspace(-1, 1, 20)])
        shifts = (1.0, 1e-3, 1e-6, 1e-9)
        table("rank 20, 100 steps asked", values, of_matrix(rotated(values), num_steps=100), 0.0, chosen.seeds, shifts)
    if "ggn" in cases:
        operator = gauss_newton(problem())
        values = np.maximum(np.linalg.eigvalsh(dense(operator)), 0)
        table("Gauss-Newton matrix", values, of_operator(operator), 0.0, chosen.seeds)
    if "hessian" in cases:
        operator = hessian(problem())
        values = hessian_values()
        shifts = (1.0, 1e-1, 1e-2, 4e-3, 2.5e-3)
        table("Hessian", values, of_operator(operator), -np.inf, chosen.seeds, shifts)
        indefinite(of_operator(operator)(jax.random.key(0), num_steps=160), values)
    print(f"\n{time.process_time() - started:.0f} CPU s")


def of_matrix(matrix, **fixed):
    return lambda key, **options: lanczos_spectrum(
        matvec, matrix.shape[0], key, args=(matrix,), lower_bound=0.0, **fixed, **options
    )


def matvec(v, matrix):
    return matrix @ v


def of_operator(operator):
    return lambda key, **options: curvature_spectrum(operator, key, dense_dim=0, **options)


def indefinite(spectrum, eigenvalues: np.ndarray, c: float = 1e-3) -> None:
    """What each policy gives where H + cI is indefinite."""
    print(f"\nHessian, c = {c:g}, smallest eigenvalue {eigenvalues[0]:.4g}:")
    try:
        log_det(spectrum, c)
    except ValueError as error:
        print(f"refuse   ValueError: {error}")
    truths = {"absolute": np.abs(eigenvalues), "clamp": np.maximum(eigenvalues, 0), "shift": eigenvalues}
    for policy, treated in truths.items():
        result = log_det(spectrum, c, indefinite=policy)
        exact = np.sum(np.log(treated + result.shift))
        print(
            f"{policy:8s} {result.value}, exact {exact:.1f}, c = {result.shift:.3g}, negative share "
            f"{result.negative_share:.2%}, {result.verdict.status}"
        )


if __name__ == "__main__":
    main()
