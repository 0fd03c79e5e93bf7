"""Traces of functions as values: what they do as text, their constants, and the precision they compute in.

A jaxpr is described operation by operation: the primitive, its parameters with nested jaxprs and the Python functions
of custom derivative rules and host callbacks among them, its operands, and the shapes of all. Constants count by shape
where they are arguments of the trace, by their bits where they sit inside it.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax._src.source_info_util import summarize
from jax.extend.core import Jaxpr, Literal
from jax.interpreters.partial_eval import dce_jaxpr

from slt.targets.digests import digest, is_installed, without_addresses

SKIPPED = {"name", "debug", "debug_info", "out_trees", "ctx_mesh"}
"""Parameters of operations that change nothing of what they compute."""


def describe(jaxpr: Any, memo: dict[int, str] | None = None) -> list[str]:
    """One line for every operation, equal where two traces do the same."""
    memo = {} if memo is None else memo
    numbers: dict[Any, int] = {}

    def atom(value: Any) -> str:
        if isinstance(value, Literal):
            return f"{_shape(value.aval)}={_value(value.val)}"
        return f"%{numbers.setdefault(value, len(numbers))}:{_shape(value.aval)}"

    lines = [f"in {' '.join(map(atom, jaxpr.jaxpr.invars))}"]
    lines += [f"const {atom(v)} {digest(c)}" for v, c in zip(jaxpr.jaxpr.constvars, jaxpr.consts, strict=False)]
    for eqn in jaxpr.eqns:
        given = [f"{name}={_param(value, memo)}" for name, value in sorted(eqn.params.items()) if name not in SKIPPED]
        operands, results = (" ".join(map(atom, part)) for part in (eqn.invars, eqn.outvars))
        lines.append(f"{results} = {eqn.primitive.name}[{' '.join(given)}] {operands}")
    return [*lines, f"out {' '.join(map(atom, jaxpr.jaxpr.outvars))}"]


def without_dead_code(closed: Any) -> Any:
    """Without operations that nothing asks for, such as seeds that a framework draws anew at every trace."""
    live, _ = dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars), instantiate=True)
    return type(closed)(live, closed.consts)


def is_jaxpr(value: Any) -> bool:
    """Whether a parameter of an operation is a jaxpr, with its constants or without."""
    return hasattr(value, "eqns") and hasattr(value, "jaxpr" if isinstance(value, Jaxpr) else "consts")


def nested(eqn: Any) -> Iterator[Any]:
    """The jaxprs among the parameters of an operation."""
    for value in eqn.params.values():
        yield from (part for part in (value if isinstance(value, tuple | list) else (value,)) if is_jaxpr(part))


def equations(jaxpr: Any) -> Iterator[Any]:
    """All operations, those of nested jaxprs among them."""
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in nested(eqn):
            yield from equations(inner)


def difference(old: Any, new: Any) -> str:
    """The first operation in which two traces differ, in words with its place in the source."""
    lines = zip(describe(old)[1 + len(old.consts) :], describe(new)[1 + len(new.consts) :], strict=False)
    place = next((i for i, (a, b) in enumerate(lines) if a != b), None)
    if place is None or place >= min(len(old.eqns), len(new.eqns)):
        return f"it has {len(new.eqns)} operations where it had {len(old.eqns)}"
    before, after = old.eqns[place], new.eqns[place]
    if before.primitive.name == after.primitive.name:
        inner = [(a, b) for a, b in zip(nested(before), nested(after), strict=False) if describe(a) != describe(b)]
        if inner:
            return difference(*inner[0])
    return f"`{_words(after)}` at {summarize(after.source_info)}, where it was `{_words(before)}`"


def user_of(jaxpr: Any, index: int) -> str:
    """Where the source first uses one of the arguments of a trace."""
    var = jaxpr.jaxpr.invars[index]
    eqn = next((eqn for eqn in jaxpr.eqns if any(v is var for v in eqn.invars)), None)
    return "nowhere" if eqn is None else f"by `{eqn.primitive.name}` at {summarize(eqn.source_info)}"


def python_rules(jaxpr: Any) -> list[Callable]:
    """Python functions, not of an installed package, that custom derivative rules will call when differentiated."""
    found: dict[int, Callable] = {}
    for eqn in equations(jaxpr):
        for name in ("jvp_jaxpr_fun", "fwd_jaxpr_thunk", "bwd"):
            found |= {id(f): f for f in _functions(eqn.params.get(name)) if not is_installed(f)}
    return list(found.values())


def _words(eqn: Any) -> str:
    numbers = [f"{v.val}" for v in eqn.invars if isinstance(v, Literal) and not np.ndim(v.val)]
    return " ".join([eqn.primitive.name, *(_shape(v.aval) for v in eqn.outvars), *numbers])


def _shape(aval: Any) -> str:
    if not hasattr(aval, "shape"):
        return without_addresses(str(aval))
    return f"{aval.dtype}{list(aval.shape)}{'w' if getattr(aval, 'weak_type', False) else ''}"


def _value(value: Any) -> str:
    return repr(np.asarray(value).item()) if not np.ndim(value) and not _is_key(value) else digest(value)


def _is_key(value: Any) -> bool:
    return isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def _param(value: Any, memo: dict[int, str]) -> str:
    if is_jaxpr(value):
        if id(value) not in memo:  # held by the trace as long as the memo
            memo[id(value)] = digest(describe(value, memo))
        return memo[id(value)]
    if isinstance(value, tuple | list):
        return f"({' '.join(_param(part, memo) for part in value)})"
    if isinstance(value, np.ndarray | jax.Array):
        return digest(value)
    if callable(value) or hasattr(value, "callback_func") or hasattr(value, "f_transformed"):
        functions = list(_functions(value))
        return digest(functions) if functions else without_addresses(repr(value))
    return without_addresses(repr(value))


def _functions(value: Any) -> Iterator[Callable]:
    """The Python functions that JAX's wrappers of a rule or a callback come down to."""
    if isinstance(value, tuple | list):
        for part in value:
            yield from _functions(part)
    elif hasattr(value, "f_transformed"):  # linear_util.WrappedFun
        yield from _functions(value.f)
    elif hasattr(value, "callback_func"):
        yield from _functions(value.callback_func)
    elif callable(value) and str(getattr(value, "__module__", "")).startswith("jax._src.") and _wraps(value):
        for cell in value.__closure__ or ():
            yield from _functions(cell.cell_contents)
    elif callable(value) and not isinstance(value, type):
        yield value


def _wraps(value: Any) -> bool:
    cells = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
    return any(hasattr(c, "f_transformed") or (callable(c) and not isinstance(c, type)) for c in cells)


def depends(jaxpr: Any, index: int) -> bool:
    """Whether a way leads from an argument of a trace to its outputs that no stop_gradient cuts."""
    reached = _reached(jaxpr, {index})
    return any(reached)


def _reached(jaxpr: Any, given: set[int]) -> list[bool]:
    """Of the outputs, given the places of inputs; constants are no inputs."""
    live = {v for i, v in enumerate(jaxpr.jaxpr.invars) if i in given}
    for eqn in jaxpr.eqns:
        hit = {i for i, v in enumerate(eqn.invars) if not isinstance(v, Literal) and v in live}
        if not hit or eqn.primitive.name == "stop_gradient":
            continue
        inner = list(nested(eqn))
        same = len(inner) == 1 and len(inner[0].jaxpr.invars) == len(eqn.invars) and eqn.primitive.name in TRANSPARENT
        out = _reached(inner[0], hit) if same else [True] * len(eqn.outvars)
        live |= {v for v, is_hit in zip(eqn.outvars, out, strict=True) if is_hit}
    return [not isinstance(v, Literal) and v in live for v in jaxpr.jaxpr.outvars]


TRANSPARENT = (
    "jit",
    "pjit",
    "closed_call",
    "core_call",
    "checkpoint",
    "remat",
    "remat2",
    "custom_jvp_call",
    "custom_vjp_call",
)
"""Calls whose operands are those of the jaxpr inside."""
