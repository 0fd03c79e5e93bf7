r"""Stochastic-gradient kernels for exp(-U): unadjusted, one gradient a step.

Convention: w' = w - eps grad U + sqrt(2 eps) xi. Welling & Teh and Lau et al. write eps/2 for our eps: theirs is twice
ours. Each kernel is biased at a finite step; the tests hold each one to its *own* stationary law. The kinetic kernel is
a `Partial` of a named function and arrays, so that runs with other steps share one compilation.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array

from slt._options import checked
from slt._types import Batch, Energy, Info, Key, Params, Sampler, Scalar
from slt.samplers.noise import normal_like


class LangevinState(NamedTuple):
    """position: w."""

    position: Params


class KineticState(NamedTuple):
    """position: w; momentum: v, N(0, 1) a component at stationarity."""

    position: Params
    momentum: Params


class PreconditionedState(NamedTuple):
    """position: w; second_moment: running mean of (grad U)^2; count: steps taken."""

    position: Params
    second_moment: Params
    count: Array


class ThermostatState(NamedTuple):
    """position: w; momentum: v; friction: the thermostat variable."""

    position: Params
    momentum: Params
    friction: Array


@checked
def sgld(energy: Energy, *, step_size: float) -> Sampler:
    r"""Stochastic gradient Langevin dynamics, $w' = w - \epsilon\nabla U + \sqrt{2\epsilon}\,\xi$.

    On U = kappa w^2/2 the stationary variance is 1/(kappa (1 - eps kappa/2)): first-order biased.
    Source: Welling & Teh 2011 (their eps is twice ours).
    """
    _check_positive("sgld", step_size=step_size)

    def init(position: Params, batch: Batch = None) -> LangevinState:
        return LangevinState(position)

    def step(key: Key, state: LangevinState, batch: Batch) -> tuple[LangevinState, Info]:
        value, gradient = jax.value_and_grad(energy)(state.position, batch)
        noise = normal_like(key, state.position)
        scale = (2 * step_size) ** 0.5
        position = jax.tree.map(lambda w, g, x: w - step_size * g + scale * x, state.position, gradient, noise)
        return LangevinState(position), _info(value)

    return Sampler(init, step)


@checked
def leimkuhler_matthews(energy: Energy, *, step_size: float) -> Sampler:
    r"""$w' = w - \epsilon\nabla U + \sqrt{2\epsilon}\,(\xi_k + \xi_{k+1})/2$; exact on quadratics for eps kappa < 2.

    The infinite-friction limit of `sghmc` with time step sqrt(2 eps).
    Source: Leimkuhler & Matthews 2013, doi:10.1093/amrx/abs010.
    """
    _check_positive("leimkuhler_matthews", step_size=step_size)
    return _kinetic(energy, (2 * step_size) ** 0.5, 0.0)


def sghmc(energy: Energy, *, step_size: Scalar | float, friction: Scalar | float) -> Sampler:
    r"""Underdamped Langevin dynamics by the BAOAB splitting, rotated so that a step costs one gradient.

    dv = -grad U dt - alpha v dt + sqrt(2 alpha) dW, dw = v dt. Positions are exact on quadratics.

    Args:
        step_size: time step h [parameter units]; stable for h^2 kappa < 4.
        friction: alpha [1/time].

    Source: Chen, Fox & Guestrin 2014, arXiv:1402.4102 (the dynamics); Leimkuhler & Matthews 2013 (the splitting).
    """
    _check_positive("sghmc", step_size=step_size, friction=friction)
    return _kinetic(energy, step_size, jnp.exp(-friction * step_size))


def _kinetic(energy: Energy, time_step: Scalar | float, decay: Scalar | float) -> Sampler:
    numbers = jnp.asarray(time_step), jnp.asarray(decay)
    return Sampler(_kinetic_init, Partial(_kinetic_step, energy, *numbers))


def _kinetic_init(position: Params, batch: Batch = None) -> KineticState:
    return KineticState(position, jax.tree.map(jnp.zeros_like, position))


def _kinetic_step(
    energy: Energy, time_step: Scalar, decay: Scalar, key: Key, state: KineticState, batch: Batch
) -> tuple[KineticState, Info]:
    """v -= h grad U; w += h v/2; v = c v + sqrt(1 - c^2) xi; w += h v/2."""
    value, gradient = jax.value_and_grad(energy)(state.position, batch)
    noise = normal_like(key, state.position)
    scale = (1 - decay**2) ** 0.5
    kicked = jax.tree.map(lambda v, g: v - time_step * g, state.momentum, gradient)
    momentum = jax.tree.map(lambda v, x: decay * v + scale * x, kicked, noise)
    position = jax.tree.map(lambda w, v, u: w + 0.5 * time_step * (v + u), state.position, kicked, momentum)
    return KineticState(position, momentum), _info(value)


@checked
def preconditioned(
    energy: Energy, *, step_size: float, num_adapt: int | None, decay: float = 0.99, damping: float = 1e-3
) -> Sampler:
    r"""RMSProp Langevin, $w' = w - \epsilon P\nabla U + \sqrt{2\epsilon P}\,\xi$ with $P = 1/(\sqrt{\hat v} + a)$.

    Args:
        num_adapt: v follows the squared gradient of U for this many steps and is then frozen, which makes the kernel
            an SGLD in other units. None never freezes: the published form, whose law is wrong even as eps -> 0,
            kept for comparison.
        decay: weight of the past in v. damping: a [nats/parameter unit].

    Source: Li et al. 2016, arXiv:1512.07666; the bias: Rensmeyer & Niggemann 2024, arXiv:2403.08609.
    """
    _check_positive("preconditioned", step_size=step_size, damping=damping)
    if num_adapt is not None and num_adapt < 1:
        raise ValueError(f"preconditioned: num_adapt is {num_adapt}; give at least 1 step, or None to adapt for ever.")
    if not 0 < decay < 1:
        raise ValueError(f"preconditioned: decay is {decay}; it must lie strictly between 0 and 1.")

    def init(position: Params, batch: Batch = None) -> PreconditionedState:
        return PreconditionedState(position, jax.tree.map(jnp.zeros_like, position), jnp.zeros((), jnp.int32))

    def step(key: Key, state: PreconditionedState, batch: Batch) -> tuple[PreconditionedState, Info]:
        value, gradient = jax.value_and_grad(energy)(state.position, batch)
        adapting = True if num_adapt is None else state.count < num_adapt
        moment = jax.tree.map(
            lambda v, g: jnp.where(adapting, decay * v + (1 - decay) * g**2, v), state.second_moment, gradient
        )
        seen = state.count + 1 if num_adapt is None else jnp.minimum(state.count + 1, num_adapt)
        correction = 1 - decay ** seen.astype(value.dtype)
        noise = normal_like(key, state.position)

        def move(w: Array, g: Array, v: Array, x: Array) -> Array:
            rate = step_size / (jnp.sqrt(v / correction) + damping)
            return w - rate * g + jnp.sqrt(2 * rate) * x

        position = jax.tree.map(move, state.position, gradient, moment, noise)
        return PreconditionedState(position, moment, state.count + 1), _info(value)

    return Sampler(init, step)


@checked
def sgnht(energy: Energy, *, step_size: float, friction: float) -> Sampler:
    r"""Stochastic gradient Nosé-Hoover thermostat, splitting BADODA, one gradient a step.

    dw = v dt, dv = -grad U dt - xi v dt + sqrt(2 A) dW, dxi = (|v|^2/d - 1) dt: xi finds the friction that holds the
    kinetic energy at d/2 whatever the (white) gradient noise.

    Args:
        step_size: time step h [parameter units]. friction: A [1/time], also the start of xi.

    Source: Ding et al. 2014; splitting: Leimkuhler & Shang 2016, arXiv:1505.06889.
    """
    _check_positive("sgnht", step_size=step_size, friction=friction)
    h = step_size

    def init(position: Params, batch: Batch = None) -> ThermostatState:
        leaves = jax.tree.leaves(position)
        return ThermostatState(position, jax.tree.map(jnp.zeros_like, position), jnp.asarray(friction, leaves[0].dtype))

    def heat(momentum: Params, xi: Scalar) -> Scalar:
        size = sum(leaf.size for leaf in jax.tree.leaves(momentum))
        square = sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(momentum))
        return xi + 0.5 * h * (square / size - 1)

    def step(key: Key, state: ThermostatState, batch: Batch) -> tuple[ThermostatState, Info]:
        value, gradient = jax.value_and_grad(energy)(state.position, batch)
        noise = normal_like(key, state.position)
        kicked = jax.tree.map(lambda v, g: v - h * g, state.momentum, gradient)
        halfway = jax.tree.map(lambda w, v: w + 0.5 * h * v, state.position, kicked)
        xi = heat(kicked, state.friction)
        rate = jnp.where(jnp.abs(xi) < 1e-6, 1e-6, xi)
        scale = jnp.sqrt(-friction * jnp.expm1(-2 * h * rate) / rate)
        momentum = jax.tree.map(lambda v, x: jnp.exp(-h * rate) * v + scale * x, kicked, noise)
        xi = heat(momentum, xi)
        position = jax.tree.map(lambda w, v: w + 0.5 * h * v, halfway, momentum)
        return ThermostatState(position, momentum, xi), _info(value)

    return Sampler(init, step)


def _info(value: Scalar) -> Info:
    return Info(jnp.ones(()), ~jnp.isfinite(value), jnp.ones((), jnp.int32))


def _check_positive(where: str, **values: Scalar | float) -> None:
    for name, value in values.items():
        if not isinstance(value, jax.Array) and not value > 0:
            raise ValueError(f"{where}: {name} is {value}; it must be positive.")
