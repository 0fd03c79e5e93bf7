"""Options of public functions are checked against their annotations: a number is a number, a count an integer."""

import functools
import inspect
import math
import numbers
import types
import typing
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

PLAIN = {int: "an integer", float: "a number", str: "a text", bool: "True or False", types.NoneType: "None"}
# fmt: off
POSITIVE = frozenset({
    "damping", "decoherence_length", "fraction", "friction", "inverse_temperature", "learning_rate", "max_nbeta",
    "max_seconds", "nbeta", "ratio", "step_size", "target_ess", "threshold", "tolerance", "weight_scale",
})
NOT_NEGATIVE = frozenset({
    "adam_steps", "bias_std", "decades", "lbfgs_steps", "lowest", "weight_decay", "zero_below",
})
COUNTS = frozenset({
    "batch_size", "max_doublings", "max_gradients", "max_temperatures", "num_batches", "num_chains", "num_draws",
    "num_integration_steps", "num_moves", "num_particles", "num_replicates",
})
# fmt: on
"""What a name means throughout the package: positive and finite; finite and at least 0; at least 1."""
SEEDS = 2**32
"""Beyond it JAX drops the higher bits of a seed unless 64 bits are on, and two seeds are one."""


def checked[F: Callable](function: F) -> F:
    """The same function, which refuses options that are not of their annotated type; an integral float is an integer.

    Only options annotated int, float, str, bool, or a union of these and None are looked at. NaN is refused, infinity
    and ranges beyond those of the names above are left to the function.
    """
    signature = inspect.signature(function)
    plain = {
        name: _plain(parameter.annotation)
        for name, parameter in signature.parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD and parameter.kind is not parameter.VAR_POSITIONAL
    }
    plain = {name: allowed for name, allowed in plain.items() if allowed}

    @functools.wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        try:
            bound = signature.bind(*args, **named)
        except TypeError:  # Python's own words for a name that is missing or unknown
            return function(*args, **named)
        for name, allowed in plain.items():
            if name in bound.arguments:
                bound.arguments[name] = _checked(function.__name__, name, bound.arguments[name], allowed)
        return function(*bound.args, **bound.kwargs)

    return typing.cast(F, call)


def _plain(annotation: Any) -> tuple[type, ...]:
    """The plain types of an annotation; none if it has any other."""
    kinds = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    return kinds if all(isinstance(kind, type) and kind in PLAIN for kind in kinds) else ()


def _checked(where: str, name: str, value: Any, allowed: tuple[type, ...]) -> Any:
    if isinstance(value, Tracer) or (value is None and types.NoneType in allowed):
        return value
    if isinstance(value, bool | np.bool_) and bool in allowed:
        return bool(value)
    if isinstance(value, str) and str in allowed:
        return value
    number = _number(value)
    _check_range(where, name, number)
    if number is not None and float in allowed and not math.isnan(number):
        return value
    if number is not None and int in allowed and math.isfinite(number) and number == int(number):
        return int(number) if not isinstance(value, int) else value
    due = " or ".join(PLAIN[kind] for kind in allowed)
    raise ValueError(f"{where}: {name} is {_short(value)}; it must be {due}.")


def _check_range(where: str, name: str, number: float | int | None) -> None:
    if number is None or math.isnan(number):
        return
    due = ""
    if name in POSITIVE and not (number > 0 and math.isfinite(number)):
        due = "be positive and finite"
    if name in NOT_NEGATIVE and not (number >= 0 and math.isfinite(number)):
        due = "be finite and at least 0"
    if name in COUNTS and number < 1:
        due = "be at least 1"
    if name == "seed" and not 0 <= number < SEEDS:
        due = f"lie between 0 and {SEEDS - 1}"
    if due:
        raise ValueError(f"{where}: {name} is {number}; it must {due}.")


def _number(value: Any) -> float | int | None:
    """A single real number of any library, or None."""
    if isinstance(value, bool | np.bool_):
        return None
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, np.ndarray | jax.Array) and value.ndim == 0 and value.dtype.kind in "iuf":
        return value.item()
    return None


def _short(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) < 60 else text[:60] + '…'} (a {type(value).__name__})"
