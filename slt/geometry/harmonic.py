r"""The Gaussian posterior of a quadratic loss, $N(w^*, (n\beta H^+ + \gamma')^{-1})$, and functions to second order.

Negative curvature counts as none, so that the prior alone confines those directions. Whatever a sampled posterior says
beyond this is of the loss where it is not quadratic.

Up to 3000 parameters the Hessian is formed. Beyond, it is what it is on the block Krylov space of the gradients g of
what is asked about, and 0 elsewhere: $(n\beta H^+ + \gamma')^{-1} g$ is then that of the block Lanczos method, and
memory is that of some 64 vectors. A direction outside of the space has the prior's width, which is too wide by the
share $n\beta\lambda/\gamma'$ of its own curvature; how far the products with g are from settled is in `doubt`.

Source: functions of a matrix by Krylov spaces, Saad 1992, doi:10.1137/0729014; blocks, Golub & Underwood 1977.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from slt._types import Params
from slt.geometry.operators import Operator, check_finite, dense, hessian, precision
from slt.jit import shared_jit
from slt.targets.target import Target

LARGEST = 3000
"""Most parameters of which the Hessian is formed: some ten seconds of one core."""
AT_ONCE = 16
SEEDS, DIRECTIONS = 8, 64
"""Vectors that a Krylov space starts from, and its dimension, at most."""
NUMBERS = 2**27
"""Of all vectors together, half a GB in float32."""
LOST = 1e-4
"""Size of what a unit vector adds to a space, below which it is rounding."""


class Harmonic(NamedTuple):
    """values, vectors: eigenpairs of the Hessian of L_n at w*, on flat vectors; it is 0 across them.

    nbeta, precision: of the posterior and its prior. doubt: relative change of (n beta H + gamma')^-1 g over the second
    half of the space, for the worst g; 0 where the Hessian is formed, or the space is closed under it.
    """

    values: Float[np.ndarray, " pair"]
    vectors: Float[np.ndarray, "dim pair"]
    nbeta: float
    precision: float
    doubt: float = 0.0


def harmonic(target: Target, seeds: Callable[[Params], Array] | None = None) -> Harmonic:
    """The Gaussian posterior of a target.

    Args:
        seeds: function of w, each number that it returns; beyond 3000 parameters directions are sought for them.

    Raises:
        ValueError: more than 3000 parameters without seeds, or more than memory is meant for; a prior that is no proper
            Gaussian, or a Hessian that is not finite.
    """
    law = target.prior.proper_gaussian("harmonic").precision
    if target.num_params <= LARGEST:
        return Harmonic(*np.linalg.eigh(dense(hessian(target))), target.nbeta, law)
    number = min(DIRECTIONS, NUMBERS // target.num_params)
    if seeds is None or number < 2 * SEEDS:
        raise ValueError(
            f"The Gaussian baseline holds {2 * SEEDS} vectors of all parameters at least, and this target samples "
            f"{target.num_params:,}. Select fewer by `trainable`."
        )
    return krylov(target, gradients(seeds, target.minimum), number)


def gradients(values: Callable[[Params], Array], minimum: Params) -> Float[np.ndarray, "dim seed"]:
    """Gradients at w* of the numbers of a function, or of fixed combinations of them where they are many."""
    flat, unravel = ravel_pytree(jax.tree.map(jnp.asarray, minimum))
    seen, back = jax.vjp(jax.jit(lambda w: values(unravel(w))), flat)
    mix = np.eye(seen.size)
    if seen.size > SEEDS:
        mix = np.random.default_rng(0).choice([-1.0, 1.0], (SEEDS, seen.size)) / seen.size**0.5
    return np.stack([np.asarray(back(jnp.asarray(row, seen.dtype))[0]) for row in mix], 1)


def krylov(target: Target, seeds: Float[np.ndarray, "dim seed"], number: int) -> Harmonic:
    """The Gaussian posterior whose Hessian is that of the space of g, H g, H² g, ..., a random vector beside the g."""
    operator = hessian(target, dtype=seeds.dtype)
    apply = _products(operator)
    law = target.prior.proper_gaussian("harmonic").precision
    block = np.concatenate([seeds, np.random.default_rng(0).normal(size=(operator.dim, 1)).astype(seeds.dtype)], 1)
    basis, within, sizes = np.zeros((operator.dim, 0), seeds.dtype), np.zeros((0, 0)), [0]
    while len(within) < number and (block := _beside(basis, block)[:, : number - len(within)]).shape[1]:
        basis, block = np.concatenate([basis, block], 1), apply(block)
        grown = np.zeros((basis.shape[1], basis.shape[1]))
        grown[: len(within), : len(within)] = within
        grown[:, len(within) :] = basis.T @ block
        within = np.tril(grown.T) + np.tril(grown.T, -1).T
        sizes.append(len(within))
    laws = []
    for size in (sizes[len(sizes) // 2], len(within)):
        values, vectors = np.linalg.eigh(within[:size, :size])
        laws.append(Harmonic(values, basis[:, :size] @ vectors.astype(seeds.dtype), target.nbeta, law))
    half, whole = (solve(each, seeds) for each in laws)
    change = np.linalg.norm(whole - half, axis=0) / np.maximum(np.linalg.norm(whole, axis=0), 1e-30)
    return laws[1]._replace(doubt=0.0 if len(within) < number else float(change.max()))


def solve(law: Harmonic, g: Float[np.ndarray, "dim vector"]) -> Float[np.ndarray, "dim vector"]:
    """(n beta H^+ + gamma')^-1 g."""
    flat = 1 / law.precision
    inside = 1 / (law.nbeta * np.maximum(law.values, 0) + law.precision) - flat
    return flat * g + law.vectors @ (inside[:, None] * (law.vectors.T @ g))


def shifts(
    law: Harmonic, number: int, *, seed: int, chosen: Int[np.ndarray, " chosen"] | None = None
) -> Float[np.ndarray, "draw dim"]:
    """Draws of w - w*, flat; of chosen coordinates alone, all others 0, where these are given."""
    values, vectors = law.values, law.vectors
    dim = len(vectors)
    index = np.arange(dim) if chosen is None else chosen
    if chosen is not None:
        values, vectors = np.linalg.eigh((vectors[index] * values) @ vectors[index].T)
    normal = np.random.default_rng(seed).normal(size=(number, len(index)))
    flat = law.precision**-0.5
    width = (law.nbeta * np.maximum(values, 0) + law.precision) ** -0.5
    draws = np.zeros((number, dim))
    draws[:, index] = flat * normal + ((normal @ vectors) * (width - flat)) @ vectors.T
    return draws


def second_order(
    values: Callable[[Params], Array], minimum: Params, flat_shifts: Float[np.ndarray, "draw dim"]
) -> Float[np.ndarray, "draw value"]:
    """Changes of a function from w* to w* + shift, to second order."""
    flat, unravel = ravel_pytree(jax.tree.map(jnp.asarray, minimum))
    moved = jax.vmap(unravel)(jnp.asarray(flat_shifts, flat.dtype))
    return np.asarray(_second_order(values, unravel(flat), moved))


@shared_jit
def _second_order(values: Callable, minimum: Params, moved: Params) -> Array:
    def one(shift: Params) -> Array:
        def along(t: Array) -> Array:
            return values(jax.tree.map(lambda w, s: w + t * s, minimum, shift))

        zero, unit = (jnp.asarray(number, jax.tree.leaves(minimum)[0].dtype) for number in (0, 1))
        slope, curvature = jax.jvp(lambda t: jax.jvp(along, (t,), (unit,))[1], (zero,), (unit,))
        return slope + curvature / 2

    return jax.lax.map(one, moved, batch_size=AT_ONCE)


def _beside(basis: Float[np.ndarray, "dim pair"], block: Float[np.ndarray, "dim vector"]) -> np.ndarray:
    """Orthonormal vectors of what a block adds to a basis; what is there already, up to rounding, is dropped."""
    sizes = np.linalg.norm(block, axis=0)
    block = block[:, sizes > 0] / sizes[sizes > 0]
    for _ in range(2):
        block = block - basis @ (basis.T @ block)
    if block.shape[1]:
        left, sizes, _ = np.linalg.svd(block, full_matrices=False)
        block = left[:, sizes > LOST]
    block = block - basis @ (basis.T @ block)
    return np.linalg.qr(block)[0] if block.shape[1] else block


def _products(operator: Operator) -> Callable[[np.ndarray], np.ndarray]:
    """Products with every vector of a block, one after the other."""

    @jax.jit
    def each(vectors: Array, args: tuple) -> Array:
        return jax.lax.map(lambda v: operator.product(v, *args), vectors)

    def apply(block: Float[np.ndarray, "dim vector"]) -> np.ndarray:
        with precision(operator.dtype):
            found = np.asarray(each(jnp.asarray(block.T, operator.dtype), operator.args)).T
        check_finite(found)
        return found

    return apply
