r"""The volume change of any optimiser with memory: a tangent frame carried along, made orthonormal at every step.

From a fixed memory, as zero momentum, the map from w_0 to w_T is exact, but a single step has no determinant: the
memory makes it rectangular. With the frame F_t = d(w_t, memory_t)/dw_0 = Q_t R_t ... R_1,

$$\log|\det \partial w_T/\partial w_0| = \sum_t \sum_i \ln|(R_t)_{ii}| + \ln|\det (Q_T)_w|,$$

where (Q_T)_w are the rows of w. The factors R never underflow, unlike the product.

Source: Benettin, Galgani, Giorgilli & Strelcyn 1980, doi:10.1007/BF02128236.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from slt._types import Batch, Key, Scalar
from slt.pac_bayes.laws import Flat, Objective
from slt.pac_bayes.steps import Training, check_positive, curvature_reach


class Framed(NamedTuple):
    """full: (w, memory) as one vector; frame: orthonormal columns; inner: log|det| of the rows of w [nats]."""

    full: Flat
    frame: Float[Array, "full dim"]
    inner: Scalar


def tangent_frame(
    update: Callable[[Flat, Batch], Flat], memory: Callable[[Flat], Flat], objective: Objective, *, step_size: float
) -> Training:
    """Any differentiable optimiser on flat vectors, with exact log-determinants of w_0 -> w_T.

    Args:
        update: ((w, memory), batch) -> (w, memory), as one vector with w first.
        memory: w0 -> the memory it starts with, e.g. zeros.
        objective: C(w; batch) [nats/datum]. step_size: for the report of eta lambda_max only.

    The map is assumed to be one to one; unlike for gradient descent, no step can be checked for that.
    """

    def init(key: Key, w: Flat) -> Framed:
        full = jnp.concatenate([w, memory(w)])
        columns = jax.jacfwd(lambda x: jnp.concatenate([x, memory(x)]))(w)
        frame, factor = jnp.linalg.qr(columns)
        return Framed(full, frame, -_log_diagonal(factor))

    def step(key: Key, state: Framed, batch: Batch) -> tuple[Framed, Scalar]:
        full, push = jax.linearize(lambda z: update(z, batch), state.full)
        frame, factor = jnp.linalg.qr(jax.vmap(push, 1, 1)(state.frame))
        inner = jnp.linalg.slogdet(frame[: frame.shape[1]])[1]
        return Framed(full, frame, inner), _log_diagonal(factor) + inner - state.inner

    return Training(
        init=init,
        step=step,
        position=lambda state: state.full[: state.frame.shape[1]],
        loss=objective,
        reach=curvature_reach(objective, step_size),
        side="exact",
        note="tangent frames",
    )


def momentum(objective: Objective, *, step_size: float, momentum: float) -> Training:
    r"""Heavy ball $v' = \mu v - \eta\nabla C(w)$, $w' = w + v'$ from v = 0, by `tangent_frame`."""
    check_positive("momentum", "step_size", step_size)
    check_positive("momentum", "momentum", momentum)

    def update(full: Flat, batch: Batch) -> Flat:
        w, v = jnp.split(full, 2)
        v = momentum * v - step_size * jax.grad(objective)(w, batch)
        return jnp.concatenate([w + v, v])

    training = tangent_frame(update, jnp.zeros_like, objective, step_size=step_size)
    return training._replace(note="momentum, tangent frames")


def _log_diagonal(factor: Float[Array, "dim dim"]) -> Scalar:
    return jnp.sum(jnp.log(jnp.abs(jnp.diag(factor))))
