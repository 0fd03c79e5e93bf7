r"""The one Gaussian, N(mean, diag(std)^2): priors, laws of initial and trained parameters, measures of volumes.

A law that fixes some parameters, as biases at zero, has no density; give those parameters a spread, or leave them out.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from slt._types import Key, Scalar


class Gaussian(NamedTuple):
    r"""$\mathcal{N}(\text{mean}, \mathrm{diag}(\text{std})^2)$.

    mean: a vector; or, where std is one number, a pytree like the parameters or one number for all of them.
    std: a vector, or one number for all, inf where the law is flat [unit of w].

    `draw`, `log_density` and `whiten` are of flat vectors, see `flat`, and `gaussian_law` checks one.
    """

    mean: Any
    std: Any

    @property
    def precision(self) -> Any:
        """1/std^2 [per squared unit of w], 0 where the law is flat."""
        return self.std**-2.0

    def flat(self, dim: int) -> "Gaussian":
        """The same law of flat float64 vectors of `dim` entries; raises ValueError where the mean has another size."""
        mean = np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(self.mean)])
        return Gaussian(np.broadcast_to(mean, (dim,)), self.std)

    def draw(self, key: Key, num: int) -> Float[np.ndarray, "num dim"]:
        """Independent draws, in float64."""
        with jax.enable_x64(True):
            noise = jax.random.normal(key, (num, self.mean.size), jnp.float64)
        return self.mean + self.std * np.asarray(noise)

    def log_density(self, w: Float[Array, " dim"]) -> Scalar:
        r"""$\log p(w) = -\tfrac12\sum_i (w_i - m_i)^2/s_i^2 - \sum_i \ln s_i - \tfrac D2 \ln 2\pi$ [nats]."""
        constant = np.sum(np.log(self.std)) + 0.5 * self.mean.size * math.log(2 * math.pi)
        return -0.5 * jnp.sum(((w - self.mean) / self.std) ** 2) - constant

    def whiten(self, w: ArrayLike) -> np.ndarray:
        """(w - mean) / std: coordinates in which this law is the standard normal and every KL is the same."""
        return (np.asarray(w, np.float64) - self.mean) / self.std


def gaussian_law(mean: ArrayLike, std: ArrayLike) -> Gaussian:
    """An independent normal law of a flat vector, in float64; a scalar std holds for all.

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
    return Gaussian(mean, np.broadcast_to(std, mean.shape).copy())
