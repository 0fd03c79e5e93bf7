"""Jaxprs rewritten: constants of nested jitted functions made arguments, and computed in no less precision than asked.

Both evaluate a jaxpr operation by operation inside another trace; nested jaxprs are rewritten the same way.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from slt.targets.jaxprs import equations, is_jaxpr, nested

CALLS = ("jit", "pjit", "closed_call", "core_call")
KEPT = ("bitcast_convert_type", "reduce_precision", "random_bits")
"""Operations on the bits of a float, which keep its width."""


def opened(closed: Any) -> Any:
    """The same trace with the constants of jitted functions inside it among its own."""
    if not any(_holds(eqn) for eqn in closed.eqns):
        return closed

    def evaluate(jaxpr: Any, consts: Sequence, args: Sequence) -> list:
        def apply(eqn: Any, values: list) -> list:
            if not _holds(eqn):
                return _bind(eqn, values)
            inner = next(nested(eqn))
            return evaluate(inner, inner.consts, values)

        return _evaluate(jaxpr, consts, args, apply)

    return jax.make_jaxpr(lambda *args: evaluate(closed, closed.consts, args))(*map(_struct, closed.in_avals))


def widened(closed: Any, params: list) -> Any:
    """The same trace with floats narrower than the parameters computed in the precision of these.

    Raises:
        ValueError: an operation that exists in its own precision only.
    """
    floats = [np.dtype(p.dtype) for p in params if jnp.issubdtype(p.dtype, jnp.floating)]
    if not floats:
        return closed
    wide = max(floats, key=lambda d: d.itemsize)
    low = [eqn for eqn in equations(closed) if any(_is_narrow(v.aval, wide) for v in eqn.outvars)]
    if not low:
        return closed
    try:
        avals = map(_struct, closed.in_avals)
        return jax.make_jaxpr(lambda *args: _Widening(wide)(closed, closed.consts, args))(*avals)
    except (TypeError, ValueError, NotImplementedError, AssertionError) as error:
        raise ValueError(
            f"The loss computes in {low[0].outvars[0].aval.dtype} (operation {low[0].primitive.name}) with parameters "
            f"in {wide}, and cannot be computed in {wide} as it stands; let the model compute in the precision of its "
            f"parameters, e.g. dtype=None in its layers. {error}"
        ) from error


class _Widening:
    """Evaluates jaxprs with every float at least of one width."""

    def __init__(self, wide: np.dtype) -> None:
        self.wide = wide

    def __call__(self, jaxpr: Any, consts: Sequence, args: Sequence) -> list:
        return _evaluate(jaxpr, map(self.value, consts), map(self.value, args), self.apply)

    def value(self, value: Any) -> Any:
        """A float at that width."""
        return jnp.asarray(value, self.wide) if _is_narrow(jax.typeof(value), self.wide) else value

    def apply(self, eqn: Any, values: list) -> list:
        values = [self.value(v) for v in values]
        name = eqn.primitive.name
        if name in KEPT:
            given = [jnp.asarray(v, a.aval.dtype) if v.dtype != a.aval.dtype else v
                     for v, a in zip(values, eqn.invars, strict=True)]  # fmt: skip
            return [self.value(v) for v in _bind(eqn, given)]
        if name == "custom_jvp_call":
            return self.with_rule(eqn, values)
        if name == "custom_vjp_call":
            return list(self(eqn.params["call_jaxpr"], [], values))
        return _bind(eqn, values, {key: self.param(value) for key, value in eqn.params.items()})

    def with_rule(self, eqn: Any, values: list) -> list:
        """A custom derivative with both function and rule widened."""
        consts, count = values[: eqn.params["num_consts"]], eqn.params["num_consts"]
        rule, rule_consts, zeros = eqn.params["jvp_jaxpr_fun"].call_wrapped(*[False] * (len(values) - count))

        @jax.custom_jvp
        def function(*args: Any) -> list:
            return self(eqn.params["call_jaxpr"], [], [*consts, *args])

        @function.defjvp
        def _(primals: tuple, tangents: tuple) -> tuple[list, list]:
            out = self(rule, rule_consts, [*primals, *tangents])
            slopes = iter(out[len(zeros) :])
            return out[: len(zeros)], [
                jnp.zeros_like(p) if zero else next(slopes) for p, zero in zip(out, zeros, strict=False)
            ]

        return function(*values[count:])

    def param(self, value: Any) -> Any:
        """A parameter with nested jaxprs and dtypes widened."""
        if is_jaxpr(value):
            avals = [_struct(a, self.wide) for a in value.in_avals]
            wide = jax.make_jaxpr(lambda *args: self(value, value.consts, args))(*avals)
            return wide if isinstance(value, type(wide)) else wide.jaxpr
        if isinstance(value, tuple):
            parts = [self.param(part) for part in value]
            return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
        is_dtype = isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic))
        return self.wide if is_dtype and _is_low(np.dtype(value), self.wide) else value


def _evaluate(jaxpr: Any, consts: Any, args: Any, apply: Callable[[Any, list], list]) -> list:
    env = dict(zip((*jaxpr.jaxpr.constvars, *jaxpr.jaxpr.invars), (*consts, *args), strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else env[atom]

    for eqn in jaxpr.eqns:
        env.update(zip(eqn.outvars, apply(eqn, [read(v) for v in eqn.invars]), strict=True))
    return [read(v) for v in jaxpr.jaxpr.outvars]


def _bind(eqn: Any, values: list, params: dict | None = None) -> list:
    from jax._src import source_info_util

    given = eqn.primitive.get_bind_params(eqn.params if params is None else params)
    subfuns, given = given if isinstance(given, tuple) else ((), given)
    with source_info_util.user_context(eqn.source_info.traceback):
        out = eqn.primitive.bind(*subfuns, *values, **given)
    return list(out) if eqn.primitive.multiple_results else [out]


def _holds(eqn: Any) -> bool:
    """Whether it is a jitted function with constants, in itself or in one that it calls."""
    if eqn.primitive.name not in CALLS:
        return False
    return any(inner.consts or any(_holds(e) for e in inner.eqns) for inner in nested(eqn))


def _struct(aval: Any, wide: np.dtype | None = None) -> jax.ShapeDtypeStruct:
    dtype = wide if wide is not None and _is_narrow(aval, wide) else aval.dtype
    return jax.ShapeDtypeStruct(aval.shape, dtype, weak_type=getattr(aval, "weak_type", False))


def _is_narrow(aval: Any, wide: np.dtype) -> bool:
    dtype = getattr(aval, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jnp.floating) and _is_low(np.dtype(dtype), wide)


def _is_low(dtype: np.dtype, wide: np.dtype) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.floating)) and dtype.itemsize < wide.itemsize
