r"""What is sampled: a loss, its data and a localising prior become one energy.

Conventions of the whole package, decided here and nowhere else:

- L_n(w) is the mean loss per datum (negative log-likelihood) [nats/datum]; n is the size of the data set, never of a batch.
- U(w) = n beta (L_n(w) - L_n(w*)) + (gamma/2) |w - w*|^2 [nats]; samplers target exp(-U).
- beta is the inverse temperature, 1/log n unless given (Watanabe 2013, JMLR 14:867); gamma is the localisation.
- A minibatch energy uses n beta times the batch mean. The loss at w* is subtracted datum by datum, and where the
  per-datum gradients at w* do not vanish, so is their noise: grad L_B(w) - grad L_B(w*) + grad L_n(w*).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from slt._types import Batch, Energy, Key, Params, Scalar

LossPerDatum = Callable[[Params, Any], Float[Array, " batch"]]


class Target(NamedTuple):
    """A local posterior exp(-U) around a minimum.

    energy: U(w; batch) [nats]. loss: L_B(w) - L_B(w*) [nats/datum]. log_likelihood: per datum [nats], or None.
    draw_prior: a draw of the localising prior, None where it is improper; log_prior: its log density up to a constant;
    log_weight: log of the further factor on that prior (0 for most). fold: maps a position into the domain.
    precision: curvature of the whole prior, gamma + n beta weight_decay.
    gradient_norm: |grad U(w*)|/(n beta), 0 at a minimum; gradient_noise: norm of the standard deviation of one datum's
    gradient at w*. data: the whole data set, one leading axis of length n; pass it, or rows of it, as `batch`.
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
    gradient_noise: float
    control_variate: bool

    @property
    def nbeta(self) -> float:
        """n times beta [1]."""
        return self.num_data * self.inverse_temperature

    def gradients_per_row(self, batch_size: int) -> int:
        """Gradients that a row of a batch costs: two where the control variate is at work."""
        return 2 if self.control_variate and batch_size < self.num_data else 1

    @property
    def num_params(self) -> int:
        """Number d of sampled parameters."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.minimum))


def loss_target(
    loss: LossPerDatum,
    params: Params,
    data: PyTree[Array],
    *,
    inverse_temperature: float | None = None,
    localization: float | None = None,
    weight_decay: float = 0.0,
    control_variate: bool | None = None,
    trainable: Callable[[str], bool] | None = None,
) -> Target:
    r"""Target of a trained model: U(w) = n beta (L_n(w) - L_n(w*)) + (gamma/2) |w - w*|^2.

    Args:
        loss: (params, data rows) -> loss of each row [nats/datum], minus its log-likelihood up to a constant.
        params: the minimum w*, any pytree of float arrays.
        data: pytree of arrays with one common leading axis of length n.
        inverse_temperature: beta; 1/log n by default.
        localization: gamma; by default d/|w*|^2, so that the localising ball is as wide as w* itself
            (1 where w* = 0). The answer depends on it: see `localization_profile`.
        weight_decay: a of the trained objective L_n + (a/2)|w|^2 [nats/datum per squared unit]; it enters the prior,
            exp(-n beta (a/2) |w|^2), and not the loss, so that w* is the minimum of U.
        control_variate: subtract the gradient noise at w* from minibatch gradients, at the price of a second
            gradient per step; by default just where that noise is not negligible.
        trainable: sample only the leaves whose slash-joined path it accepts; the others stay at w*.

    Raises:
        ValueError: empty or unequal data, a leaf or loss that is not finite or not floating point, a wrong loss shape,
            gamma < 0, beta <= 0, weight_decay < 0.

    Source: Lau et al. 2023, arXiv:2308.12108; control variates: Baker et al. 2019, arXiv:1706.05439.
    """
    params = jax.tree.map(jnp.asarray, params)
    data = jax.tree.map(jnp.asarray, data)
    n = _check_data(data)
    _check_params(params)
    loss, params = _select(loss, params, trainable)
    _check_loss(loss, params, data, n)
    beta = _check_temperature(inverse_temperature, n)
    gamma = _check_localization(localization, params)

    if not (weight_decay >= 0 and math.isfinite(weight_decay)):
        raise ValueError(f"weight_decay is {weight_decay}; it must be finite and at least 0.")
    baseline = map_data(lambda batch: loss(params, batch), data)
    if not bool(jnp.isfinite(baseline).all()):
        row = int(jnp.argmin(jnp.isfinite(baseline)))
        raise ValueError(
            f"loss_target: the loss of datum {row} at params is {baseline[row]}; every loss must be finite."
        )
    gradient, noise = _gradient_moments(loss, params, data)
    if control_variate is None:
        control_variate = n * beta * noise > 0.01 * max(gamma, 1.0) * math.sqrt(_size(params))

    def excess(w: Params, batch: Batch) -> Scalar:
        rows, loss_at_minimum = batch
        value = jnp.mean(loss(w, rows) - loss_at_minimum)
        if control_variate and loss_at_minimum.shape[0] != n:
            batch_gradient = jax.grad(lambda v: jnp.mean(loss(v, rows)))(params)
            value += _dot(jax.tree.map(jnp.subtract, gradient, batch_gradient), jax.tree.map(jnp.subtract, w, params))
        return value

    def energy(w: Params, batch: Batch) -> Scalar:
        return n * beta * excess(w, batch) - log_prior(w)

    log_prior, draw_prior = _gaussian_prior(params, gamma, n * beta * weight_decay)
    force = jax.tree.map(lambda g, w: g + weight_decay * w, gradient, params)
    return Target(
        energy=energy,
        loss=excess,
        log_likelihood=lambda w, batch: -loss(w, batch[0]),
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
        gradient_norm=float(jnp.sqrt(_dot(force, force))),
        gradient_noise=noise,
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
        box: (low, high) of a uniform prior on a box instead; positions are reflected at its walls.
        log_weight: log of a further factor of the prior density.

    Raises:
        ValueError: nbeta <= 0, gamma < 0, a box that is empty or does not hold w*, or K(w*) not finite.
    """
    minimum = jax.tree.map(jnp.asarray, minimum)
    _check_params(minimum)
    if not nbeta > 0 or not math.isfinite(nbeta):
        raise ValueError(f"potential_target: nbeta is {nbeta}; it must be positive and finite.")
    weight = log_weight or (lambda w: jnp.zeros(()))
    fold, gamma = (lambda w: w), 0.0
    if box is None:
        gamma = _check_localization(localization, minimum)
        log_base, draw_prior = _gaussian_prior(minimum, gamma)
    else:
        fold, draw_prior = _box(box, minimum)
        log_base = lambda w: jnp.zeros(())  # noqa: E731
    floor = potential(minimum)
    gradient = jax.grad(potential)(minimum)
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
        gradient_norm=0.0 if box is not None else float(jnp.sqrt(_dot(gradient, gradient))),
        gradient_noise=0.0,
        control_variate=False,
    )


def map_data(fn: Callable[[Any], Float[Array, " batch"]], data: PyTree[Array], *, chunk: int = 4096) -> Array:
    """fn over chunks of rows, joined: per-datum values without a temporary of the size of the data set."""
    n = jax.tree.leaves(data)[0].shape[0]
    compiled = jax.jit(fn)
    parts = [compiled(jax.tree.map(lambda a: a[i : i + chunk], data)) for i in range(0, n, chunk)]
    return jnp.concatenate(parts)


def _gradient_moments(loss: LossPerDatum, params: Params, data: PyTree[Array]) -> tuple[Params, float]:
    """grad L_n(w*), and the norm of the standard deviation of one datum's gradient, from 64 rows."""
    n = jax.tree.leaves(data)[0].shape[0]
    chunk = 4096

    @jax.jit
    def total(rows: Any) -> Params:
        return jax.grad(lambda w: jnp.sum(loss(w, rows)))(params)

    chunks = (jax.tree.map(lambda a: a[i : i + chunk], data) for i in range(0, n, chunk))
    gradient = jax.tree.map(jnp.zeros_like, params)
    for rows in chunks:
        gradient = jax.tree.map(lambda g, h: g + h / n, gradient, total(rows))
    some = np.linspace(0, n - 1, min(n, 64)).astype(int)

    @jax.jit
    def square(i: Array) -> Scalar:
        row = jax.tree.map(lambda a: a[i][None], data)
        deviation = jax.tree.map(jnp.subtract, jax.grad(lambda w: loss(w, row)[0])(params), gradient)
        return _dot(deviation, deviation)

    return gradient, float(np.sqrt(np.mean([float(square(i)) for i in some])))


def _gaussian_prior(center: Params, gamma: float, decay: float = 0.0) -> tuple[Callable, Callable | None]:
    """Log of exp(-(gamma/2)|w - w*|^2 - (decay/2)|w|^2), and a draw of that Gaussian (None where it is flat)."""
    precision = gamma + decay

    def log_prior(w: Params) -> Scalar:
        shift = jax.tree.map(jnp.subtract, w, center)
        value = -0.5 * gamma * _dot(shift, shift)
        return value - 0.5 * decay * _dot(w, w) if decay else value

    def draw(key: Key) -> Params:
        flat, unravel = ravel_pytree(center)
        return unravel(
            flat * (gamma / precision) + jax.random.normal(key, flat.shape, flat.dtype) / math.sqrt(precision)
        )

    return log_prior, draw if precision > 0 else None


def _box(box: tuple[Any, Any], minimum: Array) -> tuple[Callable, Callable]:
    """Reflection at the walls of a box, and a uniform draw inside it."""
    low, high = (jnp.broadcast_to(jnp.asarray(side, minimum.dtype), minimum.shape) for side in box)
    if not bool((high > low).all()):
        raise ValueError(f"potential_target: box is {box}; every upper side must exceed the lower one.")
    if not bool(((minimum >= low) & (minimum <= high)).all()):
        raise ValueError(
            f"potential_target: the minimum {minimum} lies outside the box {box}; give a box that holds it."
        )
    width = high - low

    def fold(w: Array) -> Array:
        phase = jnp.mod((w - low) / width, 2.0)
        return low + width * jnp.where(phase < 1, phase, 2 - phase)

    return fold, lambda key: jax.random.uniform(key, low.shape, low.dtype, minval=low, maxval=high)


def _select(loss: LossPerDatum, params: Params, trainable: Callable[[str], bool] | None) -> tuple[LossPerDatum, Params]:
    """The loss as a function of the accepted leaves alone, keyed by their path."""
    if trainable is None:
        return loss, params
    leaves, treedef = jax.tree_util.tree_flatten_with_path(params)
    names = [
        "/".join(str(getattr(k, "key", getattr(k, "idx", getattr(k, "name", k)))) for k in path) for path, _ in leaves
    ]
    chosen = [trainable(name) for name in names]
    if not any(chosen):
        raise ValueError(f"loss_target: trainable accepts no leaf; the leaves are {', '.join(names)}.")
    fixed = [leaf for _, leaf in leaves]

    def restricted(free: Params, rows: Any) -> Array:
        return loss(treedef.unflatten([free.get(name, leaf) for name, leaf in zip(names, fixed, strict=True)]), rows)

    return restricted, {name: leaf for name, leaf, keep in zip(names, fixed, chosen, strict=True) if keep}


def _check_data(data: PyTree[Array]) -> int:
    sizes = {leaf.shape[0] if leaf.ndim else None for leaf in jax.tree.leaves(data)}
    if len(sizes) != 1 or None in sizes:
        raise ValueError(
            f"loss_target: the leading axes of data are {sizes}; all arrays need the same number n of rows."
        )
    n = sizes.pop()
    if n < 3:
        raise ValueError(f"loss_target: data has n = {n} rows; at least 3 are needed, since beta = 1/log n.")
    for leaf in jax.tree.leaves(data):
        if jnp.issubdtype(leaf.dtype, jnp.floating) and not bool(jnp.isfinite(leaf).all()):
            raise ValueError("loss_target: data holds NaN or infinite values; remove or impute those rows first.")
    return n


def _check_params(params: Params) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        where = jax.tree_util.keystr(path) or "params"
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(f"params: {where} has dtype {leaf.dtype}; every sampled leaf must be floating point.")
        if not bool(jnp.isfinite(leaf).all()):
            raise ValueError(f"params: {where} holds NaN or infinite values; give a trained, finite minimum.")


def _check_loss(loss: LossPerDatum, params: Params, data: PyTree[Array], n: int) -> None:
    rows = jax.tree.map(lambda a: a[:2], data)
    try:
        shape = jax.eval_shape(loss, params, rows).shape
    except (TypeError, KeyError, AttributeError, IndexError) as error:
        raise ValueError(
            f"loss_target: loss(params, rows) failed on two rows of data; do params fit it? {error}"
        ) from error
    if shape != (2,):
        raise ValueError(
            f"loss_target: loss(params, rows) of 2 rows has shape {shape}; it must return one value per row, (2,)."
        )


def _check_temperature(beta: float | None, n: int) -> float:
    beta = 1 / math.log(n) if beta is None else float(beta)
    if not (beta > 0 and math.isfinite(beta)):
        raise ValueError(
            f"inverse_temperature is {beta}; it must be positive and finite (1/log n = {1 / math.log(n):.4g})."
        )
    return beta


def _check_localization(gamma: float | None, params: Params) -> float:
    if gamma is None:
        square = float(_dot(params, params))
        gamma = _size(params) / square if square > 0 else 1.0
    if not (gamma >= 0 and math.isfinite(gamma)):
        raise ValueError(f"localization is {gamma}; gamma must be finite and at least 0.")
    return float(gamma)


def _dot(a: Params, b: Params) -> Scalar:
    return jax.tree.reduce(jnp.add, jax.tree.map(lambda x, y: jnp.vdot(x, y), a, b))


def _size(params: Params) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))
