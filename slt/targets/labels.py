"""Class labels: integers from 0, one for each vector of logits, or a sentence that names the row."""

from typing import Any

import jax.numpy as jnp
import numpy as np

CHUNK = 1 << 16
"""Labels that are looked at together."""


def check_label_form(shape: tuple[int, ...], labels: Any, where: str = "cross_entropy: the labels") -> None:
    """Raises ValueError unless labels are integers, one for each vector of logits; `shape` is that of the logits."""
    if not shape or shape[-1] < 2 or len(shape) == labels.ndim == 1:
        raise ValueError(
            f"{where} are classes, but the outputs have the shape {tuple(shape)}; give (rows, classes), at least 2 "
            "classes, or for a single logit a loss function of your own, e.g. softplus(z) - y z."
        )
    if labels.shape != shape[:-1]:
        way = "labels[..., 0]" if labels.shape == (*shape[:-1], 1) else "one class number a row"
        way = "labels.argmax(-1), since these look one-hot" if labels.shape == shape else way
        raise ValueError(
            f"{where} have the shape {labels.shape} and the outputs {tuple(shape)}; labels must have the shape "
            f"{tuple(shape[:-1])}: give {way}."
        )
    if not (jnp.issubdtype(labels.dtype, jnp.integer) or labels.dtype == bool):
        raise ValueError(f"{where} are {labels.dtype}; give integers from 0, e.g. labels.astype(int).")


def check_labels(labels: Any, shape: tuple[int, ...], where: str) -> None:
    """Of all data, where `shape` is that of the outputs of the same rows.

    Raises:
        ValueError: labels of the wrong form, or one that is no class, with its row.
    """
    check_label_form(shape, labels, where)
    for start in range(0, len(labels), CHUNK):
        part = np.asarray(labels[start : start + CHUNK])
        wrong = (part < 0) | (part >= shape[-1])
        if wrong.any():
            place = np.unravel_index(int(wrong.argmax()), wrong.shape)
            value = part[place]
            hint = "; labels that other packages ignore are rows to remove" if value < 0 else ""
            raise ValueError(
                f"{where} hold {value} in row {start + place[0]}, which is no label: the model has {shape[-1]} "
                f"classes, 0 to {shape[-1] - 1}{hint}. Remove or renumber them."
            )
