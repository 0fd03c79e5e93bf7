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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, PyTree

from slt._types import Batch, Energy, Key, Params, Scalar
from slt.jit import shared_jit
from slt.targets.inputs import (
    LossPerDatum,
    as_params,
    check_data,
    check_localization,
    check_loss,
    check_params,
    check_rows,
    check_temperature,
    dot,
    size,
)
from slt.targets.priors import box_prior, gaussian_prior
from slt.targets.rows import in_chunks, on_device
from slt.targets.selection import Selection, select

CHUNK = 4096
"""Rows at a time where the whole data set is gone through."""


class Target(NamedTuple):
    """A local posterior exp(-U) around a minimum.

    energy: U(w; batch) [nats]. loss: L_B(w) - L_B(w*) [nats/datum]. log_likelihood: per datum [nats], or None.
    draw_prior: a draw of the localising prior, None where it is improper; log_prior: its log density up to a constant;
    log_weight: log of the further factor on that prior (0 for most). fold: maps a position into the domain.
    data: the whole data set, one leading axis of length n; pass it, or rows of it, as `batch`.
    precision: curvature of the whole prior, gamma + n beta weight_decay.
    gradient_norm: |grad U(w*)|/(n beta), 0 at a minimum. control_variate: whether minibatch gradients use one.
    """

    energy: Energy
    loss: Energy
    log_likelihood: Callable[[Params, Batch], Float[Array, " batch"]] | None
    draw_prior: Callable[[Key], Params] | None
    log_prior: Callable[[Params], Scalar]
    log_weight: Callable[[Params], Scalar]
    fold: Callable[[Params], Params]
    data: Batch
    minimum: Params
    num_data: int
    inverse_temperature: float
    localization: float
    precision: float
    loss_at_minimum: float
    gradient_norm: float
    control_variate: bool

    @property
    def nbeta(self) -> float:
        """n times beta [1]."""
        return self.num_data * self.inverse_temperature

    @property
    def num_params(self) -> int:
        """Number d of sampled parameters."""
        return size(self.minimum)

    def gradients_per_row(self, batch_size: int) -> int:
        """Gradients that a row of a batch costs: two where the control variate is at work."""
        return 2 if self.control_variate and batch_size < self.num_data else 1


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
            a loss of a row that depends on other rows, gamma < 0, beta <= 0, weight_decay < 0.

    Source: Lau et al. 2023, arXiv:2308.12108; control variates: Baker et al. 2019, arXiv:1706.05439.
    """
    params = as_params(params)
    loss, data = on_device(loss, data)
    loss = loss if chunk_size is None else in_chunks(loss, chunk_size)
    n = check_data(data)
    loss, params = select(loss, params, trainable)
    check_params(params)
    check_loss(loss, params, data)
    beta = check_temperature(inverse_temperature, n)
    gamma = check_localization(localization, params)
    if not (weight_decay >= 0 and math.isfinite(weight_decay)):
        raise ValueError(f"weight_decay is {weight_decay}; it must be finite and at least 0.")
    baseline, gradient = _at_minimum(loss, params, data)
    check_rows(loss, params, data, baseline)
    if control_variate is None:
        noise = _gradient_noise(loss, params, data, gradient)
        control_variate = n * beta * noise > 0.01 * max(gamma, 1.0) * math.sqrt(size(params))
    log_prior, draw_prior = gaussian_prior(params, gamma, n * beta * weight_decay)
    excess = Partial(_excess, loss, params, gradient if control_variate else None, n)
    force = jax.tree.map(lambda g, w: g + weight_decay * w, gradient, params)
    return Target(
        energy=Partial(posterior_energy, excess, log_prior, jnp.asarray(n * beta)),
        loss=excess,
        log_likelihood=Partial(_log_likelihood, loss),
        draw_prior=draw_prior,
        log_prior=log_prior,
        log_weight=lambda w: jnp.zeros(()),
        fold=lambda w: w,
        data=(data, baseline),
        minimum=params,
        num_data=n,
        inverse_temperature=beta,
        localization=gamma,
        precision=gamma + n * beta * weight_decay,
        loss_at_minimum=float(np.mean(np.asarray(baseline, np.float64))),
        gradient_norm=float(jnp.sqrt(dot(force, force))),
        control_variate=control_variate,
    )


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
        potential: K(w) [nats/datum].
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
    minimum = as_params(minimum)
    check_params(minimum)
    if not (nbeta > 0 and math.isfinite(nbeta)):
        raise ValueError(f"potential_target: nbeta is {nbeta}; it must be positive and finite.")
    weight = log_weight or (lambda w: jnp.zeros(()))
    gamma = check_localization(localization, minimum) if box is None else 0.0
    log_base, draw_prior, fold = (
        (*gaussian_prior(minimum, gamma), lambda w: w) if box is None else box_prior(box, minimum)
    )
    shape = jax.eval_shape(potential, minimum).shape
    if shape != ():
        raise ValueError(f"potential_target: the potential has shape {shape}; it must return one number, e.g. a sum.")
    floor, gradient = jax.value_and_grad(potential)(minimum)
    if not bool(jnp.isfinite(floor)):
        raise ValueError(f"potential_target: the potential at the minimum is {floor}; it must be finite.")

    def loss(w: Params, batch: Batch) -> Scalar:
        return potential(fold(w)) - floor

    def log_prior(w: Params) -> Scalar:
        return log_base(w) + weight(fold(w))

    return Target(
        energy=lambda w, batch: nbeta * loss(w, batch) - log_prior(w),
        loss=loss,
        log_likelihood=None,
        draw_prior=draw_prior,
        log_prior=log_prior,
        log_weight=lambda w: weight(fold(w)),
        fold=fold,
        data=(),
        minimum=minimum,
        num_data=1,
        inverse_temperature=float(nbeta),
        localization=gamma,
        precision=gamma,
        loss_at_minimum=float(floor),
        # a minimum on the wall of a box may have a gradient
        gradient_norm=0.0 if box is not None else float(jnp.sqrt(dot(gradient, gradient))),
        control_variate=False,
    )


def at_temperature(target: Target, inverse_temperature: float) -> Target:
    """The same loss, data and gamma at another beta; weight decay stays part of what is tempered, so w* its minimum.

    Raises:
        ValueError: beta not positive.
    """
    beta = check_temperature(inverse_temperature, max(target.num_data, 2))
    nbeta, log_prior, draw_prior = target.num_data * beta, target.log_prior, target.draw_prior
    decay = (target.precision - target.localization) * beta / target.inverse_temperature
    if decay:
        log_prior, draw_prior = gaussian_prior(target.minimum, target.localization, decay)
    return target._replace(
        energy=Partial(posterior_energy, target.loss, log_prior, jnp.asarray(nbeta)),
        log_prior=log_prior,
        draw_prior=draw_prior,
        inverse_temperature=beta,
        precision=target.localization + decay,
    )


def posterior_energy(
    excess: Energy, log_prior: Callable[[Params], Scalar], nbeta: Scalar, w: Params, batch: Batch
) -> Scalar:
    """U(w; batch) [nats]; a `Partial` of it with arrays is an energy whose numbers are no constants of a program."""
    return nbeta * excess(w, batch) - log_prior(w)


def _log_likelihood(loss: LossPerDatum, w: Params, batch: Batch) -> Float[Array, " batch"]:
    return -loss(w, batch[0])


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
        losses, gradient = _losses_and_gradient(loss, params, rows)
        parts.append(losses)
        total = jax.tree.map(jnp.add, total, gradient)
    baseline = jnp.concatenate(parts)
    if not bool(jnp.isfinite(baseline).all()):
        row = int(jnp.argmin(jnp.isfinite(baseline)))
        raise ValueError(f"loss_target: the loss of datum {row} at params is {baseline[row]}; all must be finite.")
    return baseline, jax.tree.map(lambda g: g / len(baseline), total)


def _gradient_noise(loss: LossPerDatum, params: Params, data: PyTree[Array], gradient: Params) -> float:
    """Root of the mean squared deviation of one datum's gradient at w*, from 64 rows."""
    n = jax.tree.leaves(data)[0].shape[0]
    rows = jnp.linspace(0, n - 1, min(n, 64)).astype(int)
    return float(jnp.sqrt(jnp.mean(_square_deviations(loss, params, data, gradient, rows))))


@shared_jit
def _square_deviations(
    loss: LossPerDatum, params: Params, data: PyTree[Array], gradient: Params, rows: Int[Array, " row"]
) -> Float[Array, " row"]:
    def square(row: Array) -> Scalar:
        datum = jax.tree.map(lambda a: a[row][None], data)
        deviation = jax.tree.map(jnp.subtract, jax.grad(lambda w: loss(w, datum)[0])(params), gradient)
        return dot(deviation, deviation)

    return jax.lax.map(square, rows)


def _chunks(data: PyTree[Array]) -> Iterator[PyTree[Array]]:
    n = jax.tree.leaves(data)[0].shape[0]
    for start in range(0, n, CHUNK):
        yield jax.tree.map(lambda a, start=start: a[start : start + CHUNK], data)
