r"""What a sampler must know of the energy where its chains stand: the largest curvature, and what gradient noise heats.

All by few Lanczos steps on some rows of the data, in the precision of the parameters: a sampler needs two digits of
them, not ten. Heat is linear in the covariance Sigma of one row's gradient of U: it is the spectral measure of Sigma
under the Hessian that counts, since what the prior confines, or nothing does, holds no loss.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from slt._types import Batch, Energy, Estimate, Key, Params, Scalar
from slt.geometry.lanczos import gauss_rule
from slt.jit import shared_jit

FOREVER = 2**16
"""Steps of a stage that never ended."""
CURVATURE_STEPS, NOISE_STEPS = 12, 16
"""Lanczos steps for the largest eigenvalue, and for the spectral measure of a noise vector."""


class Stage(NamedTuple):
    """Steps of BAOAB in a row: time step h, h alpha, and their number."""

    step_size: float
    decay: float
    steps: int


class Measure(NamedTuple):
    """Quadrature of spectral measures of the Hessian of n beta L, seen from vectors: weights sum to their squares.

    nodes: [nats/unit^2]. weights: of noise vectors [nats^2/unit^2], of random signs [1]; dims (vector, node) both.
    """

    nodes: Float[np.ndarray, "vector node"]
    weights: Float[np.ndarray, "vector node"]

    @property
    def trace(self) -> float:
        """Mean square of the vectors: of noise, the trace of its covariance."""
        return float(self.weights.sum(1).mean())

    def heat(self, *, step_size: float, decay: float, precision: float, rows: int) -> Estimate:
        r"""Excess of n beta (L - L*) under BAOAB by the noise of batches [nats], with its error over vectors.

        A direction of curvature lambda + gamma' is heated to temperature
        $1 + \frac{h^2\Sigma_{ii}}{4B}\coth\frac{h\alpha}{2}\,\big/\,(1 - h^2(\lambda+\gamma')/4)$ and holds
        $\tfrac12\lambda/(\lambda+\gamma')$ of loss at 1: exact on quadratics, by the discrete Lyapunov equation.
        Directions of negative curvature hold none.

        Args:
            step_size: h. decay: h alpha. precision: gamma', of the prior. rows: B, of a batch.
        """
        curvature = np.maximum(self.nodes, 0.0) + precision
        share = 0.5 * np.maximum(self.nodes, 0.0) / np.maximum(curvature, 1e-300)
        stiff = np.maximum(1 - step_size**2 * curvature / 4, 0.1)
        factor = step_size**2 / (4 * rows * math.tanh(decay / 2))
        return _mean(factor * np.sum(self.weights * share / stiff, 1))

    def harmonic(self, precision: float) -> Estimate:
        r"""$\tfrac12\mathrm{tr}\,H^+(H^+ + \gamma')^{-1}$ from vectors of random signs, with its error over them."""
        positive = np.maximum(self.nodes, 0.0)
        return _mean(0.5 * np.sum(self.weights * positive / np.maximum(positive + precision, 1e-300), 1))

    def within(self, precision: float) -> float:
        """Energy of a quadratic loss below that of w* [nats], seen from its gradient: half its square under H^-1."""
        return 0.5 * float(np.sum(self.weights / np.maximum(np.maximum(self.nodes, 0.0) + precision, 1e-300)))

    def after(self, stages: Sequence[Stage], *, precision: float, rows: int) -> tuple[Estimate, float]:
        r"""Mean over the last stage of what `heat` is of a single one, and of $\nabla U\cdot(w - w^*)$ by noise [nats].

        Covariances of (w, v) step by step, $E' = AEA^T + q$, exact on quadratics; before the first stage lies one like
        it that never ended. Soft directions still have the heat of earlier stages.
        """
        loss = np.maximum(self.nodes, 0.0)
        curvature = loss + precision
        state = np.zeros((*self.nodes.shape, 5))
        state[..., 3] = 1.0
        for stage in (stages[0]._replace(steps=FOREVER), *stages):
            state[..., 4] = 0.0
            power = np.linalg.matrix_power(_covariances(curvature, stage), stage.steps)
            state = np.squeeze(power @ state[..., None], -1)
        excess = self.weights * state[..., 4] / (rows * stages[-1].steps)
        return _mean(np.sum(0.5 * loss * excess, 1)), float(np.sum(curvature * excess, 1).mean())


def _covariances(curvature: Float[np.ndarray, "*dims"], stage: Stage) -> Float[np.ndarray, "*dims 5 5"]:
    """A step on E_ww, E_wv, E_vv, 1 and the sum of all E_ww so far, for gradient noise of variance 1."""
    h, c = stage.step_size, math.exp(-stage.decay)
    half = h * (1 + c) / 2
    ww, wv = 1 - h * half * curvature, half
    vw, vv = -c * h * curvature, c
    step = np.zeros((*curvature.shape, 5, 5))
    step[..., 0, 0], step[..., 0, 1], step[..., 0, 2], step[..., 0, 3] = ww**2, 2 * ww * wv, wv**2, (h * half) ** 2
    step[..., 1, 0], step[..., 1, 1], step[..., 1, 2] = ww * vw, ww * vv + wv * vw, wv * vv
    step[..., 1, 3] = h**2 * half * c
    step[..., 2, 0], step[..., 2, 1], step[..., 2, 2], step[..., 2, 3] = vw**2, 2 * vw * vv, vv**2, (h * c) ** 2
    step[..., 3, 3] = step[..., 4, 0] = step[..., 4, 4] = 1.0
    return step


def as_measure(seen: tuple[Array, Array]) -> Measure:
    """Nodes and weights of a compiled function, in float64."""
    return Measure(*(np.asarray(part, np.float64) for part in seen))


def _mean(values: Float[np.ndarray, " vector"]) -> Estimate:
    """One vector alone has its own value as error."""
    number = len(values)
    error = float(values.std(ddof=1) / math.sqrt(number)) if number > 1 else float(values.mean())
    return Estimate(float(values.mean()), error, max(number - 1, 1))


@shared_jit
def largest_curvature(key: Key, energy: Energy, position: Params, batch: Batch) -> Scalar:
    """Largest eigenvalue of the Hessian of U at a position [nats/unit^2], from below; two gradients a Lanczos step.

    The step of a kernel is limited by it *on the typical set*: curvature grows along flat directions, so the value at
    w* alone is too small. It is positive: where all are negative, the largest absolute one.
    """
    flat, _ = ravel_pytree(position)
    nodes, _ = _measure(energy, position, batch, jax.random.normal(key, flat.shape, flat.dtype), CURVATURE_STEPS)
    return jnp.where(nodes[-1] > 0, nodes[-1], jnp.abs(nodes).max())


@shared_jit
def loss_measure(
    key: Key, loss: Energy, nbeta: Scalar, position: Params, batch: Batch, *, num_vectors: int = 1,
    num_steps: int = CURVATURE_STEPS,
) -> tuple[Array, Array]:  # fmt: skip
    """Nodes and weights, dims (vector, node), of the Hessian of n beta L seen from random vectors of square d."""
    flat, _ = ravel_pytree(position)

    def one(vector_key: Key) -> tuple[Array, Array]:
        vector = jax.random.rademacher(vector_key, flat.shape, flat.dtype)
        return _measure(lambda w, b: nbeta * loss(w, b), position, batch, vector, num_steps)

    return jax.lax.map(one, jax.random.split(key, num_vectors))


@shared_jit
def noise_measure(
    key: Key, energy: Energy, loss: Energy, nbeta: Scalar, position: Params, batch: Batch, data: Batch,
    *, num_vectors: int, num_rows: int,
) -> tuple[Array, Array]:  # fmt: skip
    r"""Nodes and weights, dims (vector, node), seen from noise vectors: covariance that of one row's gradient of U.

    Args:
        energy: whose gradient on rows of `data` is noisy. loss: whose Hessian on `batch`, times nbeta, confines.
        num_rows: of a gradient, which is compared with that on as many other rows.
    """
    size = jax.tree.leaves(data)[0].shape[0]

    def one(vector_key: Key) -> tuple[Array, Array]:
        rows = jax.random.randint(vector_key, (2, num_rows), 0, size)
        first, second = jax.lax.map(
            lambda r: ravel_pytree(jax.grad(energy)(position, jax.tree.map(lambda a: a[r], data)))[0], rows
        )
        vector = (first - second) * (num_rows / 2) ** 0.5
        return _measure(lambda w, b: nbeta * loss(w, b), position, batch, vector, NOISE_STEPS)

    return jax.lax.map(one, jax.random.split(key, num_vectors))


@shared_jit
def force_measure(
    energy: Energy, loss: Energy, nbeta: Scalar, position: Params, batch: Batch, *, num_steps: int
) -> tuple[Array, Array]:
    """Nodes and weights, dims (1, node), of the Hessian of n beta L seen from the gradient of U."""
    force = ravel_pytree(jax.grad(energy)(position, batch))[0]
    nodes, weights = _measure(lambda w, b: nbeta * loss(w, b), position, batch, force, num_steps)
    return nodes[None], weights[None]


def _measure(function: Energy, position: Params, batch: Batch, vector: Array, num_steps: int) -> tuple[Array, Array]:
    """Gauss rule of the Hessian of a function seen from a vector, weights summing to its square."""
    flat, unravel = ravel_pytree(position)
    square = jnp.vdot(vector, vector)

    def product(v: Array) -> Array:
        return jax.jvp(jax.grad(lambda x: function(unravel(x), batch)), (flat,), (v,))[1]

    nodes, weights = gauss_rule(product, vector / jnp.sqrt(jnp.maximum(square, 1e-30)), min(num_steps, flat.size))
    return nodes, weights * square
