"""Matrices of known spectrum, and small networks, shared by the tests and benchmarks of the geometry."""

import jax
import jax.numpy as jnp
import numpy as np

from slt.geometry.operators import mlp_network
from slt.targets.networks import mlp_init

MATVEC = lambda v, matrix: matrix @ v  # noqa: E731 (one function object: compiled once)


def with_spectrum(eigenvalues, seed=0, dtype=np.float64):
    """A dense symmetric matrix with these eigenvalues, on random axes."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(len(eigenvalues),) * 2))[0]
    matrix = (axes * eigenvalues) @ axes.T
    with jax.enable_x64(dtype == np.float64):
        return jnp.asarray((matrix + matrix.T) / 2, dtype)


def classifier(seed=0, widths=(4, 6, 3), n=40, activation="tanh", loss="cross_entropy"):
    """An untrained net on random data."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, widths[0])).astype(np.float32)
    y = rng.integers(0, widths[-1], n) if loss == "cross_entropy" else rng.normal(size=(n, widths[-1]))
    data = {"inputs": x, "targets": y.astype(np.int32 if loss == "cross_entropy" else np.float32)}
    return mlp_network(mlp_init(jax.random.key(seed), widths), data, activation=activation, loss=loss)
