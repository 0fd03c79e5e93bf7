"""The law of a network's initial parameters, and losses of flat parameter vectors."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slt._options import checked
from slt._types import Batch, Params, Scalar
from slt.targets.gaussian import Gaussian, gaussian_law

Flat = Float[Array, " dim"]
Objective = Callable[[Flat, Batch], Scalar]
"""C(w; batch), the mean loss that training descends [nats/datum]."""


@checked
def mlp_law(widths: Sequence[int], *, weight_scale: float = 1.0, bias_std: float = 1.0) -> Gaussian:
    r"""Weights $\mathcal{N}(0, \text{scale}^2/\text{fan-in})$, biases $\mathcal{N}(0, \text{bias std}^2)$.

    The order is that of `flat_loss` on a network of `networks.mlp_init`.
    """
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(f"mlp_law: widths is {tuple(widths)}; give at least two, each at least 1, e.g. (2, 8, 1).")
    stds = {
        f"layer_{i}": {"weight": np.full((a, b), weight_scale / a**0.5), "bias": np.full(b, bias_std)}
        for i, (a, b) in enumerate(pairwise(widths))
    }
    std = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(stds)])
    return gaussian_law(np.zeros(std.size), std)


def unflatten(like: Params) -> Callable[[Flat], Params]:
    """w -> pytree of the shapes of `like`, in the dtype of w."""
    leaves, treedef = jax.tree.flatten(like)
    shapes = [np.shape(leaf) for leaf in leaves]
    ends = np.cumsum([math.prod(shape) for shape in shapes])

    def unravel(w: Flat) -> Params:
        parts = jnp.split(w, ends[:-1])
        return treedef.unflatten([part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)])

    return unravel


def flat_loss(loss: Callable[[Params, Batch], Array], like: Params) -> Objective:
    """C(w; batch), the mean of a loss per datum (or a mean loss itself), of a flat parameter vector.

    Args:
        loss: (params, batch) -> losses [nats].
        like: a pytree of the shapes of the parameters.
    """
    unravel = unflatten(like)
    return lambda w, batch: jnp.mean(loss(unravel(w), batch))
