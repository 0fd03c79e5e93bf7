"""SHA-256 of what values hold and functions do, the same in every process.

A function counts by its code, its defaults, what it closes over, and the helpers and globals that it names; a function
of an installed package by its name and what it closes over. A memory map counts by its file.
"""

import hashlib
import inspect
import re
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

INSTALLED = tuple({str(Path(sysconfig.get_path(kind)).resolve()) for kind in ("stdlib", "purelib", "platlib")})


def digest(*values: Any) -> str:
    """SHA-256 of the content of some values."""
    sha = hashlib.sha256()
    _add(sha, values, {})
    return sha.hexdigest()


def without_addresses(text: str) -> str:
    """A repr without the places in memory that differ from one process to the next."""
    return re.sub(r"(?:at )?0x[0-9a-f]+", "", text)


def is_installed(value: Any) -> bool:
    """Whether a module, class or function belongs to Python, to a package it has installed, or to this one."""
    name = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
    return name is None or _is_installed(name)


@cache
def _is_installed(name: str) -> bool:
    if name == "__main__" or name not in sys.modules:
        return False
    file, package = getattr(sys.modules[name], "__file__", None), name.split(".")[0]
    if package == "slt" or file is None:
        return package == "slt" or package in sys.stdlib_module_names
    return str(Path(file).resolve()).startswith(INSTALLED)


def _add(sha: Any, value: Any, seen: dict[int, Any]) -> None:
    if hasattr(value, "dtype") and hasattr(value, "shape") and not isinstance(value, Tracer):
        _add_array(sha, value)
        return
    sha.update(f"<{type(value).__module__}.{type(value).__qualname__}>".encode())
    if isinstance(value, type(None) | bool | int | float | complex | str | bytes):
        sha.update(f"{value!r};".encode())
    elif isinstance(value, Tracer):
        sha.update(str(value.aval).encode())
    elif id(value) in seen:  # a function that names itself
        sha.update(f"{list(seen).index(id(value))};".encode())
    else:
        seen[id(value)] = value  # held, so that no other object gets its place in memory
        for part in _parts(value):
            _add(sha, part, seen)


def _add_array(sha: Any, value: Any) -> None:
    if isinstance(value, np.memmap) and value.filename is not None:
        stat = Path(value.filename).stat()
        sha.update(f"{value.dtype}{value.shape}{value.offset}{value.strides}{stat.st_size}{stat.st_mtime_ns}".encode())
        return
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    array = np.asarray(value) if hasattr(value, "__array__") else np.array(without_addresses(repr(value)))
    sha.update(f"<array {array.dtype}{array.shape}>".encode())
    sha.update(repr(array.tolist()).encode() if array.dtype.hasobject else np.ascontiguousarray(array).tobytes())


def _parts(value: Any) -> Iterator[Any]:
    """What an object consists of."""
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, set | frozenset):
        yield sorted(map(repr, value))
    elif isinstance(value, list | tuple):
        yield len(value)
        yield from value
    else:
        read = next((read for kind, read in PARTS.items() if isinstance(value, kind)), _object_parts)
        yield from read(value)


def _function_parts(function: types.FunctionType) -> Iterator[Any]:
    yield from (function.__module__ if is_installed(function) else None, function.__qualname__)
    yield from (function.__defaults__, function.__kwdefaults__)
    yield [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    if not is_installed(function):
        yield function.__code__
        yield dict(_named(function.__code__, function.__globals__))


def _is_filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _named(code: types.CodeType, space: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Globals that a piece of code names, and the attributes it may read of modules that are not installed."""
    names = [*code.co_names, *(n for c in code.co_consts if isinstance(c, types.CodeType) for n in _all_names(c))]
    for name in dict.fromkeys(names):
        if name in space:
            value = space[name]
            yield name, value
            if isinstance(value, types.ModuleType) and not is_installed(value):
                held = vars(value)
                yield f"{name}.", {other: held[other] for other in dict.fromkeys(names) if other in held}


def _all_names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _all_names(constant)


def _object_parts(value: Any) -> Iterator[Any]:
    """An instance by its attributes, and a wrapped function by what it wraps; else by its repr."""
    if hasattr(value, "digested"):  # knows its own content
        yield value.digested()
    elif isinstance(value, Callable) or not is_installed(type(value)):
        yield getattr(value, "__wrapped__", None)
        slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
        held = {name: getattr(value, name) for name in slots if hasattr(value, name) and name[:2] != "__"}
        yield {**held, **getattr(value, "__dict__", {})} or without_addresses(repr(value))
        if not is_installed(type(value)):
            yield type(value)
    else:
        yield without_addresses(repr(value))


def _class_parts(value: type) -> Iterator[Any]:
    yield value.__qualname__
    if not is_installed(value):
        yield {name: part for name, part in vars(value).items() if inspect.isroutine(part) or name[:2] != "__"}


PARTS: dict[type, Callable[[Any], Any]] = {
    types.ModuleType: lambda module: (module.__name__,),
    types.CodeType: lambda code: (code.co_code, code.co_names, code.co_varnames, code.co_consts),
    types.FunctionType: _function_parts,
    types.MethodType: lambda method: (method.__func__, method.__self__),
    partial: lambda bound: (bound.func, bound.args, bound.keywords),
    type: _class_parts,
    types.BuiltinFunctionType: lambda function: (function.__qualname__,),
}
