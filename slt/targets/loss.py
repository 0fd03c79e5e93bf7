"""One loss, traced once: what a function does when a target is made, whatever Python reads later.

`trace` runs a function on abstract arguments and keeps its operations (a jaxpr) and its constants: every array that it
closes over, names as a global, or reads from an attribute or a module. *These are frozen at that moment*, arrays of
NumPy by a copy, numbers as literals of the operations. A `Traced` function is a pytree whose leaves are the constants,
and whose structure is equal to another's where both do the same operations on constants of the same shapes: so
programs compiled for one checkpoint serve the next, and none takes a number of another.

Other shapes (batches, chunks, single rows) or another precision need the Python function again. It is then first
traced anew as it was in the beginning: an operation or a constant that has changed since is an error that names it.
What a host callback reads, such as a memory map, is read when it runs. Constants that a trace at one shape alone has,
such as `np.arange(len(rows))`, count by their bits.

No operation of the loss is less precise than the parameters: half precision, in which no posterior is resolved, and
float32 where curvature is asked for in float64, are computed in the precision of the parameters.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer, eval_jaxpr
from jax.extend.core import jaxpr_as_fun

from slt.jit import shared_jit
from slt.targets.digests import digest, without_addresses
from slt.targets.jaxprs import describe, difference, python_rules, user_of, without_dead_code
from slt.targets.rewriting import opened, widened

NO_MESH = jax.sharding.AbstractMesh((), ())


class _Trace(NamedTuple):
    """A function at one shape. run: (constants, arguments) -> flat outputs; slots: of each constant its place among
    those of the function, or its value where it exists at this shape only; jaxpr: its constants are its first inputs.
    """

    jaxpr: Any
    run: Callable
    slots: tuple[Any, ...]
    out: Any


class _Program:
    """What a traced function does; equal to another by its key, which is all that compiled programs are found by."""

    def __init__(self, function: Callable, examples: tuple[tuple, ...]) -> None:
        self.function = _unwrapped(function)
        self.examples = [_abstract(example) for example in examples]
        self.x64 = bool(jax.config.jax_enable_x64)  # pyright: ignore[reportAttributeAccessIssue]
        raw = [self._raw(example) for example in self.examples]
        shared = _shared([closed.consts for closed, _ in raw])
        self.constants = [_on_device(_frozen(value)) for value in shared]
        self.places = _Places(shared)
        self.traces = {_signature(e): self._trace(*r) for e, r in zip(self.examples, raw, strict=True)}
        self.rules = {name: digest(rule) for name, rule in self._rules().items()}
        lines = [(describe(t.jaxpr), [_key(slot) for slot in t.slots]) for t in self.traces.values()]
        shapes = [f"{c.dtype}{c.shape}" for c in self.constants]
        named = [without_addresses(repr(t.out)) for t in self.traces.values()]  # a compiled program has names, too
        self.key = digest(lines, named, shapes, list(self.rules.values()), self.x64)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Program) and self.key == other.key

    def __repr__(self) -> str:
        return f"program {self.key[:12]}"

    def at(self, args: tuple) -> _Trace:
        """The trace at the shapes of some arguments; another shape than before traces the function again."""
        given = _abstract(args)
        signature = _signature(given)
        if signature not in self.traces:
            self._check_unchanged()
            self.traces[signature] = self._trace(*self._raw(given))
        if self.rules:
            self._check_rules()
        return self.traces[signature]

    def _raw(self, args: tuple) -> tuple[Any, Any]:
        function = self.function  # a new lambda, since JAX keeps the traces of functions that it knows
        with jax.sharding.use_abstract_mesh(NO_MESH):  # a trace serves whatever devices it runs on later
            closed, out = jax.make_jaxpr(lambda *a: function(*a), return_shape=True)(*args)
        if any(isinstance(value, Tracer) for value in closed.consts):
            raise ValueError(
                "A loss that closes over values of a running trace cannot be kept; make the target outside."
            )
        return widened(opened(closed), jax.tree.leaves(args[0])), jax.tree.structure(out)

    def _trace(self, closed: Any, out: Any) -> _Trace:
        places = [self.places.of(value) for value in closed.consts]
        slots = tuple(_frozen(c) if i is None else i for i, c in zip(places, closed.consts, strict=True))
        count = len(closed.jaxpr.constvars)

        def plain(*values: Any) -> list:
            return eval_jaxpr(closed.jaxpr, values[:count], *values[count:])

        avals = [v.aval for v in (*closed.jaxpr.constvars, *closed.jaxpr.invars)]
        with jax.sharding.use_abstract_mesh(NO_MESH):
            jaxpr = without_dead_code(jax.make_jaxpr(plain)(*map(_struct, avals)))
        return _Trace(jaxpr, jax.jit(jaxpr_as_fun(jaxpr)), slots, out)

    def _rules(self) -> dict[str, Callable]:
        rules = [rule for t in self.traces.values() for rule in python_rules(t.jaxpr)]
        return {f"{rule.__module__}.{rule.__qualname__}": rule for rule in rules}

    def _check_rules(self) -> None:
        changed = [name for name, rule in self._rules().items() if self.rules.get(name) not in (None, digest(rule))]
        if changed:
            raise _changed(f"the derivative rule {changed[0]}, or what it reads, is another")

    def _check_unchanged(self) -> None:
        """Raises ValueError where the function, traced as in the beginning, does something else."""
        with jax.enable_x64(self.x64):
            again = self._raw(self.examples[0])
        old, new = self.traces[_signature(self.examples[0], self.x64)], self._trace(*again)
        if describe(old.jaxpr) != describe(new.jaxpr):
            raise _changed(difference(old.jaxpr, new.jaxpr))
        for i, (before, now) in enumerate(zip(old.slots, new.slots, strict=True)):
            if _key(before) != _key(now):
                shape = f"{now.dtype}{list(now.shape)}" if not isinstance(now, int) else "constant"
                raise _changed(f"the {shape} that is used {user_of(old.jaxpr, i)} holds other numbers")


def _changed(what: str) -> ValueError:
    return ValueError(
        f"The loss has changed since the target was made: {what}. Make the target anew after such a change, or bind "
        "what the loss reads when it is defined (a default argument, functools.partial)."
    )


@jax.tree_util.register_pytree_node_class
class Traced:
    """A function as it was when it was traced; call it with arrays, in JAX transformations as well as outside.

    constants: the arrays it closes over, leaves of this pytree. Equal structure means equal operations.
    """

    def __init__(self, program: _Program, constants: Any) -> None:
        self.program, self.constants = program, constants

    def __call__(self, *args: Any) -> Any:  # noqa: D102
        if not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((args, self.constants))):
            return _by_itself(self, jax.tree.map(jnp.asarray, args))
        trace = self.program.at(args)
        filled = [self.constants[slot] if isinstance(slot, int) else slot for slot in trace.slots]
        return jax.tree.unflatten(trace.out, trace.run(*filled, *jax.tree.leaves(args)))

    def tree_flatten(self) -> tuple[tuple, _Program]:
        """For JAX."""
        return tuple(self.constants), self.program

    @classmethod
    def tree_unflatten(cls, program: _Program, constants: Any) -> "Traced":
        """For JAX."""
        return cls(program, constants)

    def digested(self) -> tuple:
        """Its content, for a fingerprint: operations, and constants with their bits."""
        return self.program.key, self.constants


@shared_jit
def _by_itself(function: Traced, args: tuple) -> Any:
    """Outside of any transformation: compiled once for all that do the same."""
    return function(*args)


def trace(function: Callable, *examples: tuple) -> Traced:
    """The function as it is now, traced at the shapes of some examples of its arguments.

    Args:
        function: of pytrees of arrays, the parameters first, to pytrees of arrays.
        examples: tuples of arguments, or `jax.ShapeDtypeStruct`s of them; those of a loss at two numbers of rows, which
            tells constants that depend on it from those that do not.
    """
    if isinstance(function, Traced):
        return function
    program = _Program(function, examples)
    return Traced(program, list(program.constants))


def at_rows(data: Any, number: int) -> Any:
    """Abstract rows: the data with another length of their leading axis."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct((number, *a.shape[1:]), a.dtype), data)


def _unwrapped(function: Callable) -> Callable:
    """Without `jax.jit`, whose own cache would give an old trace; what it compiles is compiled here anyway."""
    return function.__wrapped__ if isinstance(function, type(jax.jit(len))) else function  # pyright: ignore


def _struct(aval: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=getattr(aval, "weak_type", False))


def _abstract(args: tuple) -> Any:
    return jax.tree.map(lambda a: a if isinstance(a, jax.ShapeDtypeStruct) else _struct(jax.typeof(a)), args)


def _signature(args: tuple, x64: bool | None = None) -> tuple:
    """What a trace depends on: the shapes of its arguments, and whether float64 is on."""
    leaves, treedef = jax.tree.flatten(args)
    x64 = bool(jax.config.jax_enable_x64) if x64 is None else x64  # pyright: ignore[reportAttributeAccessIssue]
    return treedef, tuple((a.shape, a.dtype, bool(a.weak_type)) for a in leaves), x64


class _Places:
    """Finds constants again: arrays of JAX, which cannot change, by what they are, others by their bits."""

    def __init__(self, values: list) -> None:
        self.values = [value if isinstance(value, jax.Array) else None for value in values]
        self.by_id = {id(value): i for i, value in enumerate(self.values) if value is not None}
        self.read: set[int] = set()  # the bits of these are known
        self.by_bits = {digest(value): i for i, value in enumerate(values) if not isinstance(value, jax.Array)}

    def of(self, value: Any) -> int | None:
        """The place of a constant, None where it is not among them."""
        if id(value) in self.by_id:
            return self.by_id[id(value)]
        for i in list(self.by_id.values()):  # an array that is made anew with every trace
            held: Any = self.values[i]
            if i not in self.read and (held.shape, held.dtype) == (value.shape, value.dtype):
                self.by_bits.setdefault(digest(held), i)
                self.read.add(i)
        return self.by_bits.get(digest(value))


def _shared(found: list[list]) -> list:
    """The constants that all traces have, each once."""
    others = [_Places(values) for values in found[1:]]
    shared: dict[Any, Any] = {}
    for value in found[0]:
        if all(places.of(value) is not None for places in others):
            shared.setdefault(id(value) if isinstance(value, jax.Array) else digest(value), value)
    return list(shared.values())


def _frozen(value: Any) -> Any:
    return value if isinstance(value, jax.Array) else np.array(value)


def _on_device(value: Any) -> Any:
    """Where that rounds nothing."""
    if isinstance(value, jax.Array) or jax.dtypes.canonicalize_dtype(value.dtype) != value.dtype:
        return value
    with jax.ensure_compile_time_eval():
        return jnp.array(value)


def _key(slot: Any) -> Any:
    return slot if isinstance(slot, int) else digest(slot)
