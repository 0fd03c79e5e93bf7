r"""Training steps that know how they change volume: w' and $\log|\det \partial w'/\partial w|$.

Gradient descent w' = w - eta grad C has the Jacobian I - eta H. While eta times the largest eigenvalue of H stays below
1 on a convex region, the step is one to one there; where it does not, the step is refused by a log-determinant of NaN.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from slt._options import checked
from slt._types import Batch, Key, Scalar
from slt.geometry.lanczos import gauss_rule
from slt.pac_bayes.kl import Side
from slt.pac_bayes.laws import Flat, Objective

Gradient = Callable[[Flat], Flat]
HALF = 0.68
"""-x - x² lies below ln(1 - x) up to this x (Duvenaud et al. 2016)."""
LANCZOS_STEPS = 10
"""Products from which the largest eigenvalue of a step is known."""


class Training(NamedTuple):
    """init(key, w0) -> state; step(key, state, batch) -> (state, log_det); position(state) -> w, where the laws live.

    log_det: log|det| of the Jacobian of this step [nats], NaN where it is not one to one.
    loss(w, batch): C at a position [nats/datum].
    reach(w, batch): eta times the largest eigenvalue of H, for the report of a step that is not one to one.
    side, note: of the divergences that come of it. random: a log_det is right, or a bound, in expectation only.
    """

    init: Callable[[Key, Flat], Any]
    step: Callable[[Key, Any, Batch], tuple[Any, Scalar]]
    position: Callable[[Any], Flat]
    loss: Objective
    reach: Callable[[Flat, Batch], Scalar]
    side: Side
    note: str
    random: bool = False


class LogDet(NamedTuple):
    """apply(key, gradient, w, step_size) -> log|det(I - eta H)|. side, note, random: as of `Training`."""

    apply: Callable[[Key, Gradient, Flat, float], Scalar]
    side: Side
    note: str
    random: bool = False


@checked
def gradient_descent(objective: Objective, *, step_size: float, log_det: LogDet | None = None) -> Training:
    r"""$w' = w - \eta\nabla C(w)$ with $\log|\det(I - \eta H)|$.

    On the whole data this is full-batch descent; on the rows of a fixed order it is SGD, exact given the order.

    Args:
        objective: C(w; batch) of a flat vector [nats/datum].
        step_size: eta [squared unit of w per nat/datum].
        log_det: how the determinant is found; by default exactly, from the dense Hessian.

    Source: Clerico et al. 2022, arXiv:2209.02525; Duvenaud, Maclaurin & Adams 2016.
    """
    check_positive("gradient_descent", "step_size", step_size)
    volume = dense_log_det() if log_det is None else log_det

    def step(key: Key, w: Flat, batch: Batch) -> tuple[Flat, Scalar]:
        def gradient(x: Flat) -> Flat:
            return jax.grad(objective)(x, batch)

        return w - step_size * gradient(w), volume.apply(key, gradient, w, step_size)

    return Training(
        init=lambda key, w: w,
        step=step,
        position=lambda w: w,
        loss=objective,
        reach=curvature_reach(objective, step_size),
        side=volume.side,
        note=f"gradient descent, {volume.note}",
        random=volume.random,
    )


def extended_momentum(objective: Objective, *, step_size: float, momentum: float) -> Training:
    r"""Heavy ball $v' = \mu v - \eta\nabla C(w)$, $w' = w + v'$ on z = (w, v), whose Jacobian has determinant $\mu^D$.

    The velocity needs a law of its own, so start from (w0, v0) under `extend`. The step is one to one whatever eta is,
    and the divergence of the pair bounds that of w from above (data processing). It grows by D ln(1/mu) a step: loose
    for long runs, for which see `momentum`.
    """
    check_positive("extended_momentum", "step_size", step_size)
    check_positive("extended_momentum", "momentum", momentum)

    def step(key: Key, z: Flat, batch: Batch) -> tuple[Flat, Scalar]:
        w, v = jnp.split(z, 2)
        v = momentum * v - step_size * jax.grad(objective)(w, batch)
        return jnp.concatenate([w + v, v]), w.size * jnp.log(momentum)

    reach = curvature_reach(objective, step_size)
    return Training(
        init=lambda key, z: z,
        step=step,
        position=lambda z: z,
        loss=lambda z, batch: objective(z[: z.size // 2], batch),
        reach=lambda z, batch: reach(z[: z.size // 2], batch),
        side="upper",
        note="momentum, extended prior",
    )


def gradient_flow(objective: Objective, *, time_step: float) -> Training:
    r"""$\dot w = -\nabla C$ with $\log|\det| = -\int \mathrm{tr}\, H\,dt$, both by the classical Runge-Kutta rule.

    One run does not know its integration error: `pushforward.flow_kl` compares two time steps.
    """
    check_positive("gradient_flow", "time_step", time_step)

    def rate(w: Flat, batch: Batch) -> tuple[Flat, Scalar]:
        def gradient(x: Flat) -> Flat:
            return jax.grad(objective)(x, batch)

        return -gradient(w), -jnp.trace(jax.jacfwd(gradient)(w))

    def step(key: Key, w: Flat, batch: Batch) -> tuple[Flat, Scalar]:
        h = time_step
        k1, t1 = rate(w, batch)
        k2, t2 = rate(w + h / 2 * k1, batch)
        k3, t3 = rate(w + h / 2 * k2, batch)
        k4, t4 = rate(w + h * k3, batch)
        return w + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), h / 6 * (t1 + 2 * t2 + 2 * t3 + t4)

    return Training(
        init=lambda key, w: w,
        step=step,
        position=lambda w: w,
        loss=objective,
        reach=curvature_reach(objective, time_step),
        side="none",
        note="gradient flow, integration error not measured",
    )


def dense_log_det() -> LogDet:
    r"""$2\sum_i \ln L_{ii}$, $LL^\top = I - \eta H$: the Cholesky factor exists just where every eta lambda < 1."""

    def apply(key: Key, gradient: Gradient, w: Flat, step_size: float) -> Scalar:
        factor = jnp.linalg.cholesky(jnp.eye(w.size, dtype=w.dtype) - step_size * jax.jacfwd(gradient)(w))
        return 2 * jnp.sum(jnp.log(jnp.diag(factor)))

    return LogDet(apply, "exact", "dense log-determinants")


def two_product_log_det() -> LogDet:
    r"""$r^\top(-\eta H - \eta^2 H^2)\,r$, $r \sim \mathcal{N}(0, I)$: below $\log\det(I - \eta H)$ in expectation.

    So the divergence is an upper bound, for eta lambda < 0.68. That is checked at every step by ten Lanczos steps
    from a random vector: twelve Hessian products in all.

    Source: Duvenaud, Maclaurin & Adams 2016.
    """

    def apply(key: Key, gradient: Gradient, w: Flat, step_size: float) -> Scalar:
        _, product = jax.linearize(gradient, w)
        probe, start = jax.random.split(key)
        r0 = jax.random.normal(probe, w.shape, w.dtype)
        r1 = r0 - step_size * product(r0)
        r2 = r1 - step_size * product(r1)
        change = r0 @ (-2 * r0 + 3 * r1 - r2)
        return jnp.where(step_size * _largest(product, start, w) < HALF, change, jnp.nan)

    return LogDet(apply, "upper", "two-product bound", random=True)


def stochastic_log_det(estimate: Callable[[Key, Callable[[Flat], Flat], int], Scalar]) -> LogDet:
    """An unbiased estimate of log det(I - eta H) from products, e.g. stochastic Lanczos quadrature.

    Args:
        estimate: (key, product with a positive definite matrix, its size) -> log-determinant; NaN where it finds the
            matrix not to be positive definite.
    """

    def apply(key: Key, gradient: Gradient, w: Flat, step_size: float) -> Scalar:
        _, product = jax.linearize(gradient, w)
        return estimate(key, lambda v: v - step_size * product(v.astype(w.dtype)), w.size)

    return LogDet(apply, "exact", "stochastic log-determinants", random=True)


def lanczos_log_det(*, num_steps: int = 12, num_probes: int = 1) -> LogDet:
    r"""Stochastic Lanczos quadrature, $D\,\mathbb{E}_u \sum_k \omega_k \ln\theta_k$ over random unit vectors u.

    The Gauss rule errs towards too small a divergence, by little, for the spectrum of I - eta H is narrow: of spectra
    that reach up to eta lambda = 0.95, 12 steps leave at most 2e-5 of the value, 20 steps 3e-8. A node at or below zero
    says that the step is not one to one.

    Args:
        num_steps: Hessian products a probe. num_probes: independent u.

    Source: Ubaru, Chen & Saad 2017, doi:10.1137/16M1104974.
    """

    def estimate(key: Key, product: Callable[[Flat], Flat], dim: int) -> Scalar:
        def one(probe: Key) -> Scalar:
            nodes, weights = gauss_rule(product, _direction(probe, jnp.zeros(dim)), min(num_steps, dim))
            return dim * jnp.sum(weights * jnp.log(nodes))

        return jnp.mean(jax.lax.map(one, jax.random.split(key, num_probes)))

    return stochastic_log_det(estimate)


def curvature_reach(objective: Objective, step_size: float) -> Callable[[Flat, Batch], Scalar]:
    """Eta times the largest eigenvalue of H, for a sentence."""

    def reach(w: Flat, batch: Batch) -> Scalar:
        _, product = jax.linearize(lambda x: jax.grad(objective)(x, batch), w)
        return step_size * _largest(product, jax.random.key(0), w)

    return reach


def _largest(product: Callable[[Flat], Flat], key: Key, like: Flat) -> Scalar:
    """The largest eigenvalue, from below."""
    return gauss_rule(product, _direction(key, like), min(LANCZOS_STEPS, like.size))[0][-1]


def _direction(key: Key, like: Flat) -> Flat:
    draw = jax.random.normal(key, like.shape, like.dtype)
    return draw / jnp.linalg.norm(draw)


def check_positive(where: str, name: str, value: float) -> None:
    """Raises ValueError unless positive and finite."""
    if not (value > 0 and np.isfinite(value)):
        raise ValueError(f"{where}: {name} is {value}; it must be positive and finite.")
