"""Laws of initial parameters with a density on all of parameter space, and losses of flat parameter vectors.

A law that fixes some parameters, as biases at zero, has no density; give those parameters a spread, or leave them out.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from slt._types import Batch, Estimate, Key, Params, Scalar

Flat = Float[Array, " dim"]
Objective = Callable[[Flat, Batch], Scalar]
"""C(w; batch), the mean loss that training descends [nats/datum]."""


class Law(NamedTuple):
    r"""$\mathcal{N}(\text{mean}, \mathrm{diag}(\text{std})^2)$ of a flat parameter vector, in float64."""

    mean: Float[np.ndarray, " dim"]
    std: Float[np.ndarray, " dim"]

    def draw(self, key: Key, num: int) -> Float[np.ndarray, "num dim"]:
        """Independent draws."""
        with jax.enable_x64(True):
            noise = jax.random.normal(key, (num, self.mean.size), jnp.float64)
        return self.mean + self.std * np.asarray(noise)

    def log_density(self, w: Flat) -> Scalar:
        r"""$\log p(w) = -\tfrac12\sum_i (w_i - m_i)^2/s_i^2 - \sum_i \ln s_i - \tfrac D2 \ln 2\pi$ [nats]."""
        constant = np.sum(np.log(self.std)) + 0.5 * self.mean.size * math.log(2 * math.pi)
        return -0.5 * jnp.sum(((w - self.mean) / self.std) ** 2) - constant

    def whiten(self, w: ArrayLike) -> np.ndarray:
        """(w - mean) / std: coordinates in which this law is the standard normal and every KL is the same."""
        return (np.asarray(w, np.float64) - self.mean) / self.std


def gaussian_law(mean: ArrayLike, std: ArrayLike) -> Law:
    """An independent normal law; a scalar std holds for all.

    Raises:
        ValueError: a std that is not positive and finite, or shapes that do not agree.
    """
    mean = np.atleast_1d(np.asarray(mean, np.float64))
    std = np.asarray(std, np.float64)
    if mean.ndim != 1 or std.shape not in ((), mean.shape):
        raise ValueError(f"gaussian_law: mean has shape {mean.shape} and std {std.shape}; give a vector and its like.")
    if not ((std > 0) & np.isfinite(std)).all() or not np.isfinite(mean).all():
        raise ValueError(
            "gaussian_law: every std must be positive and every number finite. A parameter without spread has no "
            "density: give it one, or leave it out of the parameters."
        )
    return Law(mean, np.broadcast_to(std, mean.shape).copy())


def mlp_law(widths: Sequence[int], *, weight_scale: float = 1.0, bias_std: float = 1.0) -> Law:
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


def mean_estimate(values: Float[np.ndarray, " draw"]) -> Estimate:
    """Mean of independent draws with its Student-t standard error."""
    count = len(values)
    return Estimate(float(values.mean()), float(values.std(ddof=1) / count**0.5), count - 1)
