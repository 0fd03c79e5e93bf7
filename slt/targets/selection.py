"""Which parameters are sampled: leaves by path glob, and slices of leaves such as one head of an attention layer."""

import difflib
import fnmatch
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from slt._types import Params

Selection = Callable[[str], bool] | Sequence[str] | None
SLICED = re.compile(r"(?P<glob>.+)\[(?P<index>[-\d:, ]*:[-\d:, ]*)\]")


def named_leaves(tree: Any) -> tuple[dict[str, Any], Callable[[dict[str, Any]], Any]]:
    """Leaves by slash-joined path, and the function that puts such leaves back into the tree.

    Raises:
        ValueError: two leaves of one name, such as those of {"a/b": ..., "a": {"b": ...}}.
    """
    leaves, treedef = jax.tree_util.tree_flatten_with_path(tree)
    names = ["/".join(_word(key) for key in path) for path, _ in leaves]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        where = " and ".join(
            jax.tree_util.keystr(path) for (path, _), n in zip(leaves, names, strict=True) if n == twice[0]
        )
        raise ValueError(
            f"params: {where} are both named {twice[0]!r}; names join keys by a slash, so rename one of them."
        )
    named = dict(zip(names, (leaf for _, leaf in leaves), strict=True))
    return named, lambda values: treedef.unflatten([values[name] for name in names])


def select(loss: Callable, params: Params, trainable: Selection) -> tuple[Callable, Params]:
    """The loss as a function of the chosen leaves and slices alone, keyed by their path.

    Args:
        loss: (params, rows) -> loss of each row.
        trainable: a predicate of the slash-joined path, or globs of it; a glob may end in a slice of what it matches,
            "attn/in_proj_weight[0:64]" or "conv*/kernel[:, 3:5]". None: everything, in its own tree.

    Raises:
        ValueError: nothing chosen, a glob or slice that finds nothing, or slices that overlap.
    """
    if trainable is None:
        return loss, params
    named, rebuild = named_leaves(params)
    if callable(trainable):
        chosen = {name: (name, ...) for name in named if trainable(name)}
    else:
        chosen = _match([trainable] if isinstance(trainable, str) else trainable, named)
    if not chosen:
        raise ValueError(f"loss_target: trainable accepts no leaf; the leaves are {', '.join(named)}.")
    _check_disjoint(chosen, named)

    def restricted(free: Params, rows: Any) -> Array:
        full = dict(named)
        for key, (name, index) in chosen.items():
            full[name] = free[key] if index is ... else full[name].astype(free[key].dtype).at[index].set(free[key])
        return loss(rebuild(full), rows)

    return restricted, {
        key: named[name] if index is ... else named[name][index] for key, (name, index) in chosen.items()
    }


def _word(key: Any) -> str:
    return str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key))))


def _match(globs: Sequence[str], named: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    """{key of the sampled leaf: (name of the leaf, index into it)}; a leaf chosen whole swallows its slices."""
    chosen: dict[str, tuple[str, Any]] = {}
    for pattern in globs:
        sliced = SLICED.fullmatch(pattern)
        glob, text = (sliced["glob"], sliced["index"].replace(" ", "")) if sliced else (pattern, "")
        found = fnmatch.filter(named, glob)
        if not found:
            near = difflib.get_close_matches(glob, named, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the leaves are {', '.join(named)}."
            raise ValueError(f"trainable: {pattern!r} matches no leaf; {hint}")
        for name in found:
            key, index = (f"{name}[{text}]", _index(text, pattern)) if sliced else (name, ...)
            chosen[key] = (name, index)
    whole = {name for name, index in chosen.values() if index is ...}
    return {key: (name, index) for key, (name, index) in chosen.items() if index is ... or name not in whole}


def _index(text: str, pattern: str) -> tuple[int | slice, ...]:
    try:
        return tuple(
            slice(*(int(end) if end else None for end in part.split(":"))) if ":" in part else int(part)
            for part in text.split(",")
        )
    except (ValueError, TypeError):
        raise ValueError(
            f"trainable: {pattern!r} does not end in a slice; write one as NumPy does, e.g. [0:64] or [:, 3]."
        ) from None


def _check_disjoint(chosen: dict[str, tuple[str, Any]], named: dict[str, Any]) -> None:
    """Every slice holds something, and no entry is held twice."""
    for name in {name for name, index in chosen.values() if index is not ...}:
        count = np.zeros(named[name].shape, np.int8)
        for key in (key for key, (owner, _) in chosen.items() if owner == name):
            try:
                part = count[chosen[key][1]]
            except IndexError as error:
                raise ValueError(
                    f"trainable: {key!r} does not fit the shape {count.shape} of {name} ({error})."
                ) from None
            if part.size == 0:
                raise ValueError(
                    f"trainable: {key!r} is empty; {name} has the shape {count.shape}: give a slice of that."
                )
            count[chosen[key][1]] += 1
        if count.max() > 1:
            raise ValueError(f"trainable: slices of {name} overlap; every entry may be sampled once.")
