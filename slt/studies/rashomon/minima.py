"""One call from a fully connected network and data to its minima: trained, settled, and their spectra twice."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float

from slt._rows import as_fields
from slt._types import Batch, Key, Params
from slt.studies.rashomon.ensemble import Ensemble, settle, train_ensemble
from slt.studies.rashomon.spectra import Spectra, spectra
from slt.targets.networks import mlp_apply, mlp_init, mlp_loss, regularised

CRITICAL = 1e-8
"""|grad L| over the largest eigenvalue of the Hessian below which a run counts as settled [unit of w]."""


class Minima(NamedTuple):
    """Runs that reached the asked loss, in float64, leading axis run; `found` holds the others, too.

    found: all runs where they stopped. params: where the fitted ones settled. loss: the objective there [nats/datum].
    stopped: spectra where the fitted runs stopped. bottom: the same where they settled. settled: critical points, the
    others ended at a kink or on a slope without end. seconds: on the clock, compilation included, by stage.
    """

    found: Ensemble
    params: Params
    loss: Float[np.ndarray, " run"]
    stopped: Spectra
    bottom: Spectra
    settled: Bool[np.ndarray, " run"]
    seconds: dict[str, float]

    @property
    def flat(self) -> Float[np.ndarray, "run dim"]:
        """The settled parameters, one row a run."""
        with jax.enable_x64(True):
            return np.asarray(jax.vmap(lambda w: ravel_pytree(w)[0])(self.params))

    __repr__ = as_fields


def find_minima(
    key: Key,
    widths: Sequence[int],
    data: Batch,
    *,
    num_runs: int,
    activation: str = "tanh",
    loss: str = "squared_error",
    init: Callable[[Key], Params] | None = None,
    max_loss: float = 1e-3,
    num_steps: int = 5000,
    settle_steps: int = 60,
    weight_decay: float = 0.0,
) -> Minima:
    """Train `num_runs` networks to `max_loss`, settle the fitted ones, and take Hessian spectra before and after.

    Eigenvalues that are zero at a minimum are only small where training stopped, so the two spectra count differently.

    Args:
        widths: units of every layer, inputs and outputs included.
        data: {"inputs", "targets"}.
        init: key -> parameters; `mlp_init` of these widths by default.
        max_loss: objective at which a run stops [nats/datum]. Other options: as for `train_ensemble`.
        settle_steps: most steps of settling; weight decay makes curved valleys that take hundreds.

    Raises:
        ValueError: no run reached the loss, or what `train_ensemble` and `spectra` refuse.
    """
    with jax.enable_x64(True):
        per_datum = mlp_loss(activation, loss)
        objective = regularised(per_datum, weight_decay)
        times = [time.perf_counter()]
        start = init or (lambda key: mlp_init(key, widths))
        found = train_ensemble(
            key, start, per_datum, data,
            num_runs=num_runs, max_loss=max_loss, num_steps=num_steps, weight_decay=weight_decay,
        )  # fmt: skip
        if not found.fitted.any():
            raise ValueError(
                f"find_minima: none of {num_runs} runs reached {max_loss:g}; the lowest loss is "
                f"{found.loss.min():.3g}. Raise max_loss or num_steps, or give a wider network."
            )
        times.append(time.perf_counter())
        fitted = found.select(found.fitted).params
        params, lowest = settle(objective, fitted, data, num_steps=settle_steps)
        times.append(time.perf_counter())
        stopped, bottom = (spectra(objective, w, data) for w in (fitted, params))
    times.append(time.perf_counter())
    stages = ("train", "settle", "spectra")
    seconds: dict[str, float] = dict(zip(stages, np.diff(times).tolist(), strict=True))
    settled = bottom.gradient_norm <= CRITICAL * np.abs(bottom.eigenvalues).max(1)
    return Minima(found, params, lowest, stopped, bottom, settled, seconds)


def mlp_residuals(like: Params, data: Batch, *, activation: str = "tanh") -> Callable[[Array], Array]:
    r"""$r_i(w) = (f(x_i; w) - y_i)/\sqrt n$ on flat parameters, so that |r|^2/2 is the mean squared error [nats/datum].

    Args:
        like: parameters of one network, for their shapes.
    """
    _, unravel = ravel_pytree(jax.tree.map(np.asarray, like))
    inputs, targets = np.asarray(data["inputs"]), np.asarray(data["targets"])
    return lambda w: ((mlp_apply(unravel(w), jnp.asarray(inputs), activation) - targets) / len(inputs) ** 0.5).ravel()
