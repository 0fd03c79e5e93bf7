"""One column of data: numbers that the loss sees as they were given, or a sentence that says why it cannot.

In the loss integers are int32 and floats float32 (int64, and float64 where float64 is given, under jax_enable_x64).
Narrower ones are widened first: within the loss int8 would wrap and float16 overflow.
"""

import math
import numbers
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

BLOCK = 1 << 22
"""Numbers that are looked at together: bounds the memory that a look at a memory map takes."""
LOST = 1 / 300
"""Largest rounding of a column on its way to float32, as a share of its range."""
WIDER = "or switch on 64 bits, jax.config.update('jax_enable_x64', True), before the target is made"


def as_array(values: Any, where: str) -> np.ndarray | Array:
    """The numbers of an array of any library, unrounded; a memory map and a JAX array as they are.

    Args:
        where: what error messages call it, e.g. data['x'].

    Raises:
        ValueError: masked entries, missing values, text, dates, a sparse matrix, rows of unequal shape.
    """
    if isinstance(values, jax.Array):
        if jnp.issubdtype(values.dtype, jax.dtypes.extended):
            raise ValueError(
                f"{where} holds {values.dtype}, no numbers; give jax.random.key_data of it, or leave it out."
            )
        return values
    if isinstance(values, np.ma.MaskedArray):
        values = _unmasked(values, where)
    if hasattr(values, "detach"):
        values = _of_tensor(values)
    if hasattr(values, "todense") or hasattr(values, "toarray"):
        raise ValueError(
            f"{where} is a sparse {type(values).__name__}; make it dense first, by .toarray() or .todense()."
        )
    try:
        array = values if isinstance(values, np.memmap) else np.asarray(values)
    except (ValueError, TypeError, OverflowError) as error:
        _refuse_ragged(values, where, error)
    return _objects(array, where) if array.dtype == object else _numbers(array, where)


def real_array(values: Any, where: str) -> np.ndarray:
    """The numbers in float64.

    Raises:
        ValueError: as `as_array`, and complex numbers.
    """
    array = np.asarray(as_array(values, where))
    if np.iscomplexobj(array):
        raise ValueError(f"{where} holds {array.dtype}; give real numbers.")
    return np.asarray(array, np.float64)


def fitted(array: np.ndarray | Array, where: str) -> np.ndarray | Array:
    """The column on the device, in the dtype in which the loss sees it; a memory map is checked and left on disk.

    Raises:
        ValueError: a single number; NaN or infinity; a number beyond that dtype; a float64 or large integer column
            that float32 would round to more than a 300th of its range.
    """
    if array.ndim == 0:
        raise ValueError(f"{where} is the single number {array}; give an array whose leading axis are the n rows.")
    due = loss_dtype(array.dtype)
    if isinstance(array, jax.Array) and array.dtype == due and _all_finite(array):
        return array
    check_values(array, where)
    return array if isinstance(array, np.memmap) else jnp.asarray(np.asarray(array).astype(due))


def loss_dtype(dtype: Any) -> np.dtype:
    """What a column of that dtype is in the loss."""
    if jnp.issubdtype(dtype, jnp.bool_):
        return np.dtype(bool)
    if jnp.issubdtype(dtype, jnp.integer):
        return np.dtype(jax.dtypes.canonicalize_dtype(np.int64))
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return np.dtype(jax.dtypes.canonicalize_dtype(np.complex64 if dtype == np.complex64 else np.complex128))
    return np.dtype(jax.dtypes.canonicalize_dtype(np.float64 if np.dtype(dtype).itemsize > 4 else np.float32))


def check_values(array: np.ndarray | Array, where: str) -> None:
    """Raises ValueError where the loss would see other numbers than were given; see `fitted`."""
    due, rounding = loss_dtype(array.dtype), _Rounding()
    size = max(1, BLOCK // max(1, math.prod(array.shape[1:])))
    for start in range(0, array.shape[0], size):
        block = np.asarray(array[start : start + size])
        if jnp.issubdtype(block.dtype, jnp.floating) and block.dtype.itemsize < 4:
            block = block.astype(np.float32)
        if due.kind == "i":
            _check_integers(block, where, start, due)
        if due.kind in "fc":
            _check_floats(block, where, start, due)
        if due in (np.float32, np.int32) and (block.dtype.itemsize > 4 or due == np.int32):
            rounding.see(block)
    if rounding.lost() > LOST:
        raise ValueError(
            f"{where} would be rounded by float32 to {rounding.lost():.1%} of its range, as with time stamps; "
            "subtract an "
            f"offset and scale it, e.g. (a - a.mean()) / a.std(), {WIDER}."
        )


class _Rounding:
    """Of a column on its way to float32: its largest share of the range, feature by feature."""

    def __init__(self) -> None:
        self.error, self.low, self.high = 0.0, np.inf, -np.inf

    def see(self, block: np.ndarray) -> None:
        if not block.size or (block.dtype.kind in "iu" and max(-int(block.min()), int(block.max())) < 1 << 24):
            return
        wide = block.astype(np.float64)
        self.error = np.maximum(self.error, np.abs(wide - wide.astype(np.float32)).max(0))
        self.low, self.high = np.minimum(self.low, wide.min(0)), np.maximum(self.high, wide.max(0))

    def lost(self) -> float:
        """0 for what is constant up to the rounding of float64."""
        extent = np.asarray(self.high) - np.asarray(self.low)
        scale = np.maximum(np.abs(self.low), np.abs(self.high))
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(np.isfinite(scale) & (extent > 1e-10 * scale), np.asarray(self.error) / extent, 0.0)
        return float(np.max(share, initial=0.0))


def _check_integers(block: np.ndarray, where: str, start: int, due: np.dtype) -> None:
    most = np.iinfo(due)
    bad = (block > most.max) | ((block < most.min) if block.dtype.kind == "i" else False)
    if bad.any():
        row, value = _first(block, bad)
        raise ValueError(
            f"{where} holds {value} in row {start + row}, beyond {due} (at most {most.max}); scale it or "
            "subtract an offset, "
            f"{WIDER}."
        )


def check_finite_values(block: np.ndarray, where: str, start: int = 0) -> None:
    """Raises ValueError where an entry is NaN or infinite, with its row; the first of the block is row `start`."""
    bad = ~np.isfinite(block)
    if bad.any():
        row, value = _first(block, bad)
        raise ValueError(
            f"{where} holds NaN or infinite values, first {value} in row {start + row}; remove or impute those "
            "rows first."
        )


def _check_floats(block: np.ndarray, where: str, start: int, due: np.dtype) -> None:
    check_finite_values(block, where, start)
    most = float(np.finfo(due).max)
    bad = np.abs(block) > most
    if bad.any():
        row, value = _first(block, bad)
        raise ValueError(
            f"{where} holds {value} in row {start + row}, beyond {due} (at most {most:.2g}); scale it, {WIDER}."
        )


def _first(block: np.ndarray, bad: np.ndarray) -> tuple[int, Any]:
    place = np.unravel_index(int(np.argmax(bad)), bad.shape)
    return int(place[0]) if place else 0, block[place]


def _all_finite(array: Array) -> bool:
    return not jnp.issubdtype(array.dtype, jnp.inexact) or bool(jnp.isfinite(array).all())


def _unmasked(values: np.ma.MaskedArray, where: str) -> np.ndarray:
    mask = np.ma.getmaskarray(values)
    if mask.dtype.names is None and not mask.any():
        return np.ma.getdata(values)
    rows = np.array([bool(np.any(row.tolist() if mask.dtype.names else row)) for row in np.atleast_1d(mask)])
    if not rows.any():
        return np.ma.getdata(values)
    raise ValueError(
        f"{where} is masked in {rows.sum()} of {len(rows)} rows, first in row {int(rows.argmax())}; remove "
        "those rows from "
        "every column, or fill them, values.filled(...)."
    )


def _of_tensor(tensor: Any) -> Any:
    """A PyTorch tensor; NumPy knows no bfloat16."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()


def _numbers(array: np.ndarray, where: str) -> np.ndarray:
    kind = array.dtype.kind
    if kind in "US":
        text = f"{np.ravel(array)[0]!r} in row 0" if array.size else str(array.dtype)
        raise ValueError(
            f"{where} holds text ({text}), no numbers; encode it first, e.g. np.unique(a, return_inverse=True)[1]."
        )
    if kind in "Mm":
        raise ValueError(
            f"{where} holds dates or times ({array.dtype}), no numbers; give e.g. (a - a.min()) / "
            "np.timedelta64(1, 's')."
        )
    if kind == "V" and not (jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)):
        raise ValueError(f"{where} holds {array.dtype}, no numbers; give arrays of floats or integers.")
    if kind == "f" and array.dtype.itemsize > 8:
        return array.astype(np.float64)
    return (
        array if array.dtype.isnative or isinstance(array, np.memmap) else array.astype(array.dtype.newbyteorder("="))
    )


def _objects(array: np.ndarray, where: str) -> np.ndarray:
    """An array of Python objects, if each is a number, or all are arrays of one shape."""
    if array.ndim == 0:
        raise ValueError(f"{where} is {_short(array.item())}, no array of numbers; give an array.")
    flat = array.ravel().tolist()
    if any(isinstance(value, list | tuple | np.ndarray) for value in flat):
        parts = [np.asarray(as_array(value, f"{where}, row {row}")) for row, value in enumerate(flat)]
        _check_shapes(parts, where)
        return np.stack(parts)
    for place, value in enumerate(flat):
        if not isinstance(value, numbers.Real | np.bool_):
            row = place * len(array) // len(flat)
            hint = "encode it first" if isinstance(value, str | bytes) else "remove or impute those rows first"
            raise ValueError(f"{where} holds {_short(value)} in row {row}, no number; {hint}.")
    values = np.array(flat)
    if values.dtype == object and all(isinstance(value, numbers.Integral) for value in flat):
        row = max(range(len(flat)), key=lambda i: abs(flat[i])) * len(array) // len(flat)
        raise ValueError(f"{where} holds an integer beyond 64 bits in row {row}; scale it, or give floats.")
    return (values.astype(np.float64) if values.dtype == object else values).reshape(array.shape)


def _refuse_ragged(values: Any, where: str, error: Exception) -> NoReturn:
    if isinstance(values, list | tuple):
        _check_shapes([np.asarray(as_array(value, f"{where}, row {row}")) for row, value in enumerate(values)], where)
    raise ValueError(f"{where} is a {type(values).__name__} that cannot be read as an array ({error}).") from None


def _check_shapes(parts: list[np.ndarray], where: str) -> None:
    for row, part in enumerate(parts):
        if part.shape != parts[0].shape:
            raise ValueError(
                f"{where} has rows of unequal shape, {parts[0].shape} in row 0 and {part.shape} in row {row}; "
                "pad or cut "
                "them to one shape."
            )


def _short(value: Any) -> str:
    text = repr(value)
    return f"{text[:40]}… ({type(value).__name__})" if len(text) > 40 else f"{text} ({type(value).__name__})"
