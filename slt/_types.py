"""The shared vocabulary: parameters, energies, samplers and numbers with an error bar."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree
from scipy import stats

Params = PyTree[Array]
Batch = PyTree[Array]
Key = Array
Scalar = Float[Array, ""]
Energy = Callable[[Params, Batch], Scalar]
"""U(w; batch), total, in nats: a sampler targets exp(-U)."""


class Info(NamedTuple):
    """What one step of any sampler tells about itself.

    acceptance_rate: Metropolis acceptance probability in [0, 1]; 1 for unadjusted kernels.
    diverging: the step was not finite, or its energy error exceeded the divergence threshold.
    num_gradients: gradient evaluations spent.
    """

    acceptance_rate: ArrayLike
    diverging: ArrayLike
    num_gradients: ArrayLike


class Sampler(NamedTuple):
    """A Markov kernel for exp(-U): `init(position, batch) -> state`, `step(key, state, batch) -> (state, Info)`.

    Every state is a NamedTuple with a field `position`.
    """

    init: Callable[[Params, Batch], Any]
    step: Callable[[Key, Any, Batch], tuple[Any, Info]]


class Estimate(NamedTuple):
    """A Monte Carlo number: its value, its standard error, and the degrees of freedom of that error.

    dof is infinite where the error is known rather than estimated.
    """

    value: float
    mcse: float
    dof: float = np.inf

    def interval(self, probability: float = 0.9) -> tuple[float, float]:
        """Central Student-t interval of the given coverage probability."""
        if not 0 < probability < 1:
            raise ValueError(f"interval: probability is {probability}; it must lie strictly between 0 and 1.")
        half = self.mcse * stats.t.ppf(0.5 + probability / 2, self.dof)
        return float(self.value - half), float(self.value + half)

    def __str__(self) -> str:
        return f"{self.value:.4g} ± {self.mcse:.2g}"
