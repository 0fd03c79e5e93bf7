"""The one check that every function of arrays makes: all finite numbers, or a sentence that says which is not."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from slt.targets.columns import as_array


def shape_of(where: str, values: ArrayLike) -> tuple[int, ...]:
    """The shape of an array; raises ValueError on what is none, such as lists of unequal length."""
    return np.shape(as_array(values, f"{where}: the values"))


def finite(where: str, values: ArrayLike, axes: Sequence[str], advice: str, *, what: str = "value") -> np.ndarray:
    """The values as a float64 array; the caller has looked, or will look, at its shape.

    Args:
        where: the function that was called. what: a name of one value. axes: names of the axes, for the message.
        advice: what to do about a value that is not finite.

    Raises:
        ValueError: values that are not real numbers, or one that is NaN or infinite, with its place.
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.getmaskarray(values).any():
        raise ValueError(f"{where}: {int(np.ma.getmaskarray(values).sum())} of the values are masked; leave them out.")
    try:
        array = np.asarray(as_array(values, f"{where}: the values"))
        if np.iscomplexobj(array):
            raise TypeError("complex numbers")
        numbers = np.asarray(array, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: every {what} must be a real number ({error}).") from None
    if not np.isfinite(numbers).all():
        place = np.argwhere(~np.isfinite(numbers))[0]
        names = [*axes, *(f"axis {i}" for i in range(len(axes), numbers.ndim))]
        at = ", ".join(f"{name} {index}" for name, index in zip(names, place, strict=False))
        raise ValueError(f"{where}: the {what}{at and ' of '}{at} is {numbers[tuple(place)]}; {advice}")
    return numbers
