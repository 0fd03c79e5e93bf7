r"""What is sampled: a loss, its data and a localising prior become one energy.

Conventions of the whole package, decided here and nowhere else:

- L_n(w) is the mean loss per datum (negative log-likelihood) [nats/datum]; n is the size of the data set, never of a
  batch.
- U(w) = n beta (L_n(w) - L_n(w*)) + (gamma/2) |w - w*|^2 [nats]; samplers target exp(-U).
- beta is the inverse temperature, 1/log n unless given (Watanabe 2013, JMLR 14:867); gamma is the localisation.
- A minibatch energy uses n beta times the batch mean. The loss at w* is subtracted datum by datum, and where the
  per-datum gradients at w* do not vanish, so is their noise: grad L_B(w) - grad L_B(w*) + grad L_n(w*).
"""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, PyTree

from slt._options import checked
from slt._rows import as_fields
from slt._types import Batch, Energy, Params, Scalar
from slt.jit import shared_jit
from slt.targets.dependence import check_gradient, check_rows, prior_width
from slt.targets.inputs import (
    LossPerDatum,
    as_params,
    check_data,
    check_localization,
    check_loss,
    check_params,
    check_potential,
    check_temperature,
    dot,
    shapes,
    size,
    traced_loss,
)
from slt.targets.loss import Traced, trace
from slt.targets.prior import Prior, box_prior, gaussian_prior, weighted
from slt.targets.rows import alike, as_rows, in_chunks, on_device
from slt.targets.selection import Selection, select

CHUNK = 4096
"""Rows at a time where the whole data set is gone through."""


class Target(NamedTuple):
    """A local posterior exp(-U) around a minimum.

    energy: U(w; batch) [nats]. loss: L_B(w) - L_B(w*) [nats/datum]. log_likelihood: per datum [nats], or None.
    prior: density, draws and domain; `at_temperature` and calibrations take it from there, and nothing rebuilds it.
    data: the whole data set, one leading axis of length n; pass it, or rows of it, as `batch`.
    flaw: why w* is no minimum, where that is known beforehand. note: what of the data is not seen, such as padding.
    gradient_norm: |grad U(w*)|/(n beta), 0 at a minimum. control_variate: whether minibatch gradients use one.
    read: other data in the forms that these were given in -> (log_likelihood, batch) of them; None without data.
    """

    energy: Energy
    loss: Energy
    log_likelihood: Callable[[Params, Batch], Float[Array, " batch"]] | None
    prior: Prior
    data: Batch
    minimum: Params
    num_data: int
    inverse_temperature: float
    loss_at_minimum: float
    gradient_norm: float
    control_variate: bool
    read: Callable[[Any], tuple[Callable, Batch]] | None = None
    flaw: str = ""
    note: str = ""

    @property
    def nbeta(self) -> float:
        """n times beta [1]."""
        return self.num_data * self.inverse_temperature

    @property
    def localization(self) -> float:
        """gamma of the prior [per squared unit]."""
        return self.prior.localization

    @property
    def precision(self) -> float:
        """Mean curvature of the whole prior at w*: gamma + n beta weight_decay where that is all."""
        return self.prior.precision

    @property
    def num_params(self) -> int:
        """Number d of sampled parameters."""
        return size(self.minimum)

    def gradients_per_row(self, batch_size: int) -> int:
        """Gradients that a row of a batch costs: two where the control variate is at work."""
        return 2 if self.control_variate and batch_size < self.num_data else 1

    __repr__ = as_fields


@checked
def loss_target(
    loss: LossPerDatum,
    params: Params,
    data: Any,
    *,
    inverse_temperature: float | None = None,
    localization: float | None = None,
    weight_decay: float = 0.0,
    control_variate: bool | None = None,
    trainable: Selection = None,
    chunk_size: int | None = None,
) -> Target:
    r"""Target of a trained model: U(w) = n beta (L_n(w) - L_n(w*)) + (gamma/2) |w - w*|^2.

    Args:
        loss: (params, data rows) -> loss of each row [nats/datum], minus its log-likelihood up to a constant.
        params: the minimum w*, any pytree of float arrays.
        data: pytree of arrays with one common leading axis of length n, memory maps that stay on disk, a finite
            iterable of batches, or a Hugging Face dataset.
        inverse_temperature: beta; 1/log n by default.
        localization: gamma; by default d/|w*|^2, so that the localising ball is as wide as w* itself
            (1 where w* = 0). The answer depends on it: see `llc_profile`.
        weight_decay: a of the trained objective L_n + (a/2)|w|^2 [nats/datum per squared unit]; it enters the prior,
            exp(-n beta (a/2) |w|^2), and not the loss, so that w* is the minimum of U.
        control_variate: subtract the gradient noise at w* from minibatch gradients, at the price of a second
            gradient per step; by default just where that noise is not negligible.
        trainable: sample only the leaves whose slash-joined path it accepts; the others stay at w*. Globs, too, with a
            slice where wanted: ["layer_1/*", "attention/in_proj_weight[0:64]"].
        chunk_size: rows whose loss and gradient are computed at a time, where a batch does not fit into memory.

    Raises:
        ValueError: empty or unequal data, a leaf or loss that is not finite or not floating point, a wrong loss shape,
            a loss of a row that depends on other rows, or on parameters without a gradient that is its derivative,
            gamma < 0, beta <= 0, weight_decay < 0.

    Everything that the loss reads beside its arguments is frozen now: see `slt.targets.loss`.

    Source: Lau et al. 2023, arXiv:2308.12108; control variates: Baker et al. 2019, arXiv:1706.05439.
    """
    rows = as_rows(data)
    read, data = on_device(rows)
    n = check_data(data)
    chosen, params = select(loss, as_params(params), trainable)
    check_params(params)
    traced = traced_loss(chosen, params, data if read is None else jax.eval_shape(read, data), chunk_size or CHUNK)
    loss = _of_rows(traced, params, chunk_size, read, data)
    beta = check_temperature(inverse_temperature, n)
    gamma = check_localization(localization, params)
    if not (weight_decay >= 0 and math.isfinite(weight_decay)):
        raise ValueError(f"weight_decay is {weight_decay}; it must be finite and at least 0.")
    baseline, gradient = _at_minimum(loss, params, data)
    noise, rounding = check_rows(loss, params, data, baseline, gradient)
    first = next(_chunks(data))
    width = prior_width(params, gamma + n * beta * weight_decay)
    check_gradient(loss, params, data, lambda w: _losses_and_gradient(loss, w, first), gradient, width, rounding)
    if control_variate is None:
        control_variate = n * beta * noise > 0.01 * max(gamma, 1.0) * math.sqrt(size(params))
    prior = gaussian_prior(params, gamma, n * weight_decay, beta)
    excess = Partial(_excess, loss, params, gradient if control_variate else None, n)
    force = jax.tree.map(lambda g, w: g + weight_decay * w, gradient, params)
    return Target(
        energy=Partial(posterior_energy, excess, prior.log_density, jnp.asarray(n * beta)),
        loss=excess,
        log_likelihood=Partial(_log_likelihood, loss),
        prior=prior,
        data=(data, baseline),
        minimum=params,
        num_data=n,
        inverse_temperature=beta,
        loss_at_minimum=float(np.mean(np.asarray(baseline, np.float64))),
        gradient_norm=float(jnp.sqrt(dot(force, force))),
        control_variate=control_variate,
        read=partial(_read, traced, params, chunk_size, jax.tree.map(lambda a: a[:1], rows)),
    )


@checked
def potential_target(
    potential: Callable[[Float[Array, " dim"]], Scalar],
    minimum: Params,
    *,
    nbeta: float,
    localization: float | None = 1.0,
    box: tuple[Any, Any] | None = None,
    log_weight: Callable[[Params], Scalar] | None = None,
) -> Target:
    r"""Target of an analytic potential K >= 0: U(w) = n beta (K(w) - K(w*)) + (gamma/2) |w - w*|^2.

    Args:
        potential: K(w) [nats/datum]; computed in float64, also where that is not switched on.
        minimum: w*, the centre of the localisation.
        nbeta: n times beta [1].
        localization: gamma of the Gaussian prior N(w*, I/gamma); ignored when a box is given.
        box: (low, high) of a uniform prior on a box instead, each a number, or as `minimum` is; positions are
            reflected at its walls.
        log_weight: log of a further factor of the prior density.

    Raises:
        ValueError: nbeta <= 0, gamma < 0, a box that is empty or does not hold w*, or K(w*) that is not one
            finite number.
    """
    with jax.enable_x64(True):
        return _potential_target(potential, minimum, nbeta, localization, box, log_weight)


def in_precision(target: Target) -> AbstractContextManager:
    """float64 for an analytic potential, whatever the mode; what a target with data was given for it."""
    return nullcontext() if jax.tree.leaves(target.data) else jax.enable_x64(True)


def _potential_target(
    potential: Callable, minimum: Params, nbeta: float, localization: float | None, box: tuple | None,
    log_weight: Callable | None,
) -> Target:  # fmt: skip
    minimum = as_params(minimum)
    check_params(minimum)
    # NumPy keeps float64 outside of the context, too, and what is traced there is then in float32 without a warning
    minimum = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), minimum)
    if not (nbeta > 0 and math.isfinite(nbeta)):
        raise ValueError(f"potential_target: nbeta is {nbeta}; it must be positive and finite.")
    if box is None:
        prior = gaussian_prior(minimum, check_localization(localization, minimum))
    else:
        prior = box_prior(box, minimum)
    prior = prior if log_weight is None else weighted(prior, _in_both(log_weight, minimum))
    check_potential(potential, minimum)
    potential = _in_both(potential, minimum)
    dtype = jax.eval_shape(potential, minimum).dtype
    if dtype != np.float64:
        raise ValueError(
            f"potential_target: the potential of float64 parameters is {dtype}; leave out the cast, so that it can be "
            "computed in float64."
        )
    floor, gradient = jax.value_and_grad(potential)(jax.tree.map(jnp.asarray, minimum))
    floor = float(floor)
    if not math.isfinite(floor):
        raise ValueError(f"potential_target: the potential at the minimum is {floor}; it must be finite.")

    excess = Partial(_above, potential, prior.fold, np.asarray(floor))
    return Target(
        energy=Partial(posterior_energy, excess, prior.log_density, np.asarray(float(nbeta))),
        loss=excess,
        log_likelihood=None,
        prior=prior,
        data=(),
        minimum=minimum,
        num_data=1,
        inverse_temperature=float(nbeta),
        loss_at_minimum=floor,
        # a minimum on the wall of a box may have a gradient
        gradient_norm=0.0 if box is not None else float(jnp.sqrt(dot(gradient, gradient))),
        control_variate=False,
    )


def _in_both(function: Callable, minimum: Params) -> Partial:
    """The function traced in float64, and in float32 for those who call it where float64 is off."""
    try:
        wide = trace(function, (minimum,))
    except TypeError as error:
        raise ValueError(
            "potential_target: potentials are computed in float64, and this one fails there; use functions of "
            f"jax.numpy, which promote float32 constants: {error}"
        ) from error
    with jax.enable_x64(False):
        narrow = trace(function, (jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), minimum),))
    return Partial(_by_precision, wide, narrow)


def _by_precision(wide: Callable, narrow: Callable, w: Params) -> Scalar:
    w = jax.tree.map(jnp.asarray, w)
    return (wide if jax.tree.leaves(w)[0].dtype == jnp.float64 else narrow)(w)


def noted(target: Target) -> dict[str, str]:
    """Its note as a setting of results, where there is one."""
    return {"note": target.note} if target.note else {}


def at_temperature(target: Target, inverse_temperature: float) -> Target:
    """`relocated` at another beta alone."""
    return relocated(target, inverse_temperature)


def relocated(target: Target, inverse_temperature: float | None = None, localization: float | None = None) -> Target:
    """The same loss, data and prior at another beta or gamma; weight decay stays part of what is tempered.

    Under a prior of another kind w* stays where it is, and its gradient is that of the new energy.

    Raises:
        ValueError: beta not positive, gamma negative, or a localisation of a box.
    """
    if inverse_temperature is None and localization is None:
        return target
    beta = check_temperature(inverse_temperature or target.inverse_temperature, max(target.num_data, 2))
    gamma = None if localization is None else check_localization(localization, target.minimum)
    prior, nbeta = target.prior.at(beta, gamma), target.num_data * beta
    energy = Partial(posterior_energy, target.loss, prior.log_density, jnp.asarray(nbeta))
    moved = target._replace(energy=energy, prior=prior, inverse_temperature=beta)
    if target.log_likelihood is None or prior.gaussian is not None:
        return moved
    force = jax.grad(energy)(target.minimum, target.data)
    return moved._replace(gradient_norm=float(jnp.sqrt(dot(force, force))) / nbeta)


def without_control_variate(target: Target) -> Target:
    """The same target with plain minibatch gradients, which may be less noisy where the chains are, and cost half."""
    if not target.control_variate:
        return target
    assert isinstance(target.loss, Partial)
    loss, params, _, n = target.loss.args
    excess = Partial(_excess, loss, params, None, n)
    energy = Partial(posterior_energy, excess, target.prior.log_density, jnp.asarray(target.nbeta))
    return target._replace(energy=energy, loss=excess, control_variate=False)


def posterior_energy(
    excess: Energy, log_prior: Callable[[Params], Scalar], nbeta: Scalar, w: Params, batch: Batch
) -> Scalar:
    """U(w; batch) [nats]; a `Partial` of it with arrays is an energy whose numbers are no constants of a program."""
    return nbeta * excess(w, batch) - log_prior(w)


def _of_rows(
    loss: Traced, params: Params, chunk_size: int | None, read: Callable | None, data: PyTree[Array]
) -> LossPerDatum:
    """The loss of what the device holds, a chunk at a time."""
    if read is not None:
        whole = loss
        loss = traced_loss(lambda w, index: whole(w, read(index)), params, data, chunk_size or CHUNK)
    return loss if chunk_size is None else in_chunks(loss, chunk_size)


def _read(traced: Traced, params: Params, chunk_size: int | None, first: PyTree, data: Any) -> tuple[Callable, Batch]:
    """Other data by the way of the target's own, whose first row is `first`."""
    read, rows = on_device(alike(as_rows(data), first))
    n = check_data(rows, least=2)
    loss = _of_rows(traced, params, chunk_size, read, rows)
    check_loss(loss, params, rows)
    return with_losses(Partial(_log_likelihood, loss), params, (rows, jnp.zeros(n)))


def with_losses(log_likelihood: Callable, params: Params, batch: Batch) -> tuple[Callable, Batch]:
    """Both of them, the losses at w* put into the batch; infinite where the density of a datum is 0.

    Raises:
        ValueError: one that is NaN.
    """
    parts = [-log_likelihood(params, part) for part in _chunks(batch)]
    losses = jnp.concatenate(parts)
    if bool(jnp.isnan(losses).any()):
        row = int(jnp.argmax(jnp.isnan(losses)))
        raise ValueError(f"test_data: the loss of datum {row} at w* is nan; remove it, or is its label no class?")
    return log_likelihood, (batch[0], losses)


def _log_likelihood(loss: LossPerDatum, w: Params, batch: Batch) -> Float[Array, " batch"]:
    return -loss(w, batch[0])


def _above(potential: Callable, fold: Callable[[Params], Params], floor: Scalar, w: Params, batch: Batch) -> Scalar:
    """K(w) - K(w*), inside the box."""
    return potential(fold(jax.tree.map(jnp.asarray, w))) - floor


def _excess(
    loss: LossPerDatum, params: Params, gradient: Params | None, n: int, w: Params, batch: tuple[Batch, Array]
) -> Scalar:
    """L_B(w) - L_B(w*) of (rows, their losses at w*), with the control variate where `gradient` is given."""
    rows, loss_at_minimum = batch
    value = jnp.mean(loss(w, rows) - loss_at_minimum)
    if gradient is None or loss_at_minimum.shape[0] == n:
        return value
    batch_gradient = jax.grad(lambda v: jnp.mean(loss(v, rows)))(params)
    noise = jax.tree.map(jnp.subtract, batch_gradient, gradient)
    return value - dot(noise, jax.tree.map(jnp.subtract, w, params))


@shared_jit
def _losses_and_gradient(loss: LossPerDatum, params: Params, rows: PyTree[Array]) -> tuple[Array, Params]:
    """Loss of every row, and the gradient of their sum."""
    losses, pullback = jax.vjp(lambda w: loss(w, rows), params)
    return losses, pullback(jnp.ones_like(losses))[0]


def _at_minimum(loss: LossPerDatum, params: Params, data: PyTree[Array]) -> tuple[Float[Array, " n"], Params]:
    """Loss of every datum at w* [nats], and grad L_n(w*)."""
    parts, total = [], jax.tree.map(jnp.zeros_like, params)
    for rows in _chunks(data):
        try:
            losses, gradient = _losses_and_gradient(loss, params, rows)
        except TypeError as error:
            raise ValueError(
                f"loss_target: loss(params, rows) works on two rows of data but fails on {shapes(rows)}; it "
                "must take any "
                f"number of rows. {error}"
            ) from error
        parts.append(losses)
        total = jax.tree.map(jnp.add, total, gradient)
    baseline = jnp.concatenate(parts)
    if not bool(jnp.isfinite(baseline).all()):
        row = int(jnp.argmin(jnp.isfinite(baseline)))
        raise ValueError(f"loss_target: the loss of datum {row} at params is {baseline[row]}; all must be finite.")
    return baseline, jax.tree.map(lambda g: g / len(baseline), total)


def _chunks(data: PyTree[Array]) -> Iterator[PyTree[Array]]:
    n = jax.tree.leaves(data)[0].shape[0]
    for start in range(0, n, CHUNK):
        yield jax.tree.map(lambda a, start=start: a[start : start + CHUNK], data)
