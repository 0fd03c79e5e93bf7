r"""Rows of tokens as tokenizers and `datasets` leave them: what is data, what is padding, what the model is told of it.

A position is padding where the attention mask is 0, or the token is negative, or where it lies in the run of
`pad_token` at an end of its row; inside of a row that token is data, as is one at the head of every row (the beginning
of a text, which often has the same number). Padding is not predicted, and is hidden from the other positions by an
attention mask where the model takes one. Rows without a token to predict are refused, and so are numbers that the model
has no logit for. Nothing is padding that was not said to be: rows that look padded are refused until it is.
"""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

IDS, MASK = "input_ids", "attention_mask"
LABELS = ("labels", "label")
CHUNK = 4096
"""Rows that are looked at together."""
RUN = 3
"""So many tokens that end a text, at the end of a row, are padding that was not said."""


class Form(NamedTuple):
    """Where tokens are in the rows and how they are read; all of it is known before the loss is traced.

    ids: the column of the tokens; None where the rows are one array. argument: what the model calls them.
    pad: a token that is padding at the ends of rows, or -1. kept: how many at the head are data all the same.
    told: whether the model is given an attention mask. shift: whether tokens are predicted from those before them.
    """

    ids: str | None
    argument: str
    extra: tuple[str, ...]
    label: str | None
    pad: int = -1
    kept: int = 0
    told: bool = False
    shift: bool = True

    def tokens(self, rows: Any) -> Any:
        """The array of tokens (row, position)."""
        return rows if self.ids is None else rows[self.ids]

    def real(self, rows: Any, xp: Any = jnp) -> Any:
        """Which positions are data, (row, position)."""
        tokens = xp.asarray(self.tokens(rows))
        real = tokens >= 0
        if self.ids is not None and MASK in rows:
            return real & (xp.asarray(rows[MASK]) != 0)
        if self.pad < 0:
            return real
        text, place = real & (tokens != self.pad), xp.arange(tokens.shape[1])
        first = xp.min(xp.where(text, place, tokens.shape[1]), axis=1, keepdims=True)
        last = xp.max(xp.where(text, place, -1), axis=1, keepdims=True)
        return real & (place >= first - self.kept) & (place <= last)

    def due(self, rows: Any, xp: Any = jnp) -> Any:
        """The tokens, negative where none is to be predicted, or padding is before it, (row, position)."""
        real = self.real(rows, xp)
        if not self.shift:
            return xp.where(real, xp.asarray(self.tokens(rows)), -1)
        labels = self.tokens(rows) if self.label is None else rows[self.label]
        after = real & xp.concatenate([real[:, :1], real[:, :-1]], axis=1)
        return xp.where(after, xp.asarray(labels), -1)

    def inputs(self, rows: Any) -> Any:
        """What the model is called with: the tokens alone, or its arguments by name."""
        clean = jnp.maximum(self.tokens(rows), 0)
        named = {name: rows[name] for name in self.extra}
        if self.told:
            named[MASK] = self.real(rows).astype(jnp.int32)
        return {self.argument: clean} | named if named else clean


class Seen(NamedTuple):
    """Of all rows: tokens predicted, positions, padding, and padding that is not at the end of its row."""

    predicted: int = 0
    positions: int = 0
    padding: int = 0
    inside: int = 0


def arguments(model: Any) -> tuple[str, ...]:
    """Names of what a module is called with; none where that is not known."""
    if isinstance(model, tuple) or not callable(model):
        return ()
    names = inspect.signature(getattr(model, "forward", type(model).__call__)).parameters
    return tuple(name for name in names if name != "self")


def columns(data: Any, taken: tuple[str, ...]) -> Any:
    """Of a tokenized data set those columns that tokens, padding, labels and the model's arguments are."""
    table = hasattr(data, "column_names") and hasattr(data, "with_format")
    names = (data.column_names or []) if table else list(data) if isinstance(data, Mapping) else []
    if IDS not in names:
        return data
    kept = [name for name in names if name in (IDS, MASK, *LABELS) or name in taken]
    return {name: data[name] for name in kept} if isinstance(data, Mapping) else data.select_columns(kept)


def is_tokens(model: Any, inputs: Any, taken: tuple[str, ...]) -> bool:
    """Whether the inputs of a model are tokens by name, or by being whole numbers for a model of tokens."""
    if isinstance(inputs, Mapping):
        return IDS in inputs
    whole = hasattr(inputs, "ndim") and inputs.ndim == 2 and np.issubdtype(inputs.dtype, np.integer)
    return whole and IDS in taken and hasattr(model, "config")


def form_of(rows: Any, taken: tuple[str, ...], pad_token: int | None, *, shift: bool) -> Form:
    """How the rows are read, before anything is known of padding.

    Raises:
        ValueError: no tokens (row, position), or labels of another shape.
    """
    named = isinstance(rows, Mapping)
    ids = next((name for name in (IDS, "inputs", "tokens") if named and name in rows), None)
    label = next((name for name in LABELS if ids is not None and name in rows), None)
    extra = tuple(name for name in rows if name not in (ids, MASK, label)) if ids is not None else ()
    unknown = [name for name in extra if name not in taken]
    if unknown:
        raise ValueError(f"model_target: data has the column {unknown[0]!r}, which the model does not take; drop it.")
    form = Form(ids, taken[0] if taken else IDS, extra, label, -1 if pad_token is None else pad_token, shift=shift)
    shape, what = _shape(form, rows)
    for name in (MASK, label if shift else None):
        if ids is not None and name in rows and np.shape(rows[name]) != shape:
            raise ValueError(
                f"model_target: data[{name!r}] has the shape {np.shape(rows[name])} and {what} {shape}; give the same."
            )
    return form


def _shape(form: Form, rows: Any) -> tuple[tuple[int, ...], str]:
    """Shape of the tokens, and what messages call them; raises ValueError where they are none."""
    tokens: Any = form.tokens(rows) if form.ids is not None or not isinstance(rows, Mapping | tuple) else None
    what = "the tokens" if form.ids is None else f"data[{form.ids!r}]"
    if not hasattr(tokens, "ndim") or tokens.ndim != 2 or not np.issubdtype(tokens.dtype, np.integer):
        given = f"{tokens.dtype} of shape {tokens.shape}" if hasattr(tokens, "ndim") else f"a {type(rows).__name__}"
        raise ValueError(
            f"model_target: {what} are {given}; integer tokens of the shape (row, position) are needed: an array, or "
            "{'input_ids', 'attention_mask'}, rows of unequal length padded."
        )
    return tuple(tokens.shape), what


class Tokens(NamedTuple):
    """A form with padding looked at in all rows. note: what is said of padding; empty where there is none."""

    form: Form
    vocabulary: int
    num_rows: int
    seen: Seen
    note: str

    def check(self, rows: Any, where: str) -> None:
        """Raises ValueError for other rows that hold what was refused, or padding of which the model is not told."""
        seen = survey(self.form, rows, self.vocabulary, where)
        if not self.form.told and (seen.inside or (seen.padding and not self.form.shift)):
            raise ValueError(
                f"{where}: {seen.padding:,} tokens are padding, of which the model is not told, since the target's "
                "data have none; make the target of padded data, or give these without padding."
            )


def settled(
    form: Form, rows: Any, vocabulary: int, model: Any, taken: tuple[str, ...], pad_token: int | None
) -> Tokens:
    """The form with padding looked at in all rows.

    Raises:
        ValueError: a token out of the vocabulary, a row without one to predict, rows that look padded where no padding
            was said, padding that the model cannot be told of.
    """
    masked = form.ids is not None and MASK in rows
    if pad_token is None and not masked:
        _refuse_unsaid(form, rows, model)
    if form.pad >= 0 and not masked:
        runs = np.concatenate([_run(form.tokens(part), form.pad) for part in _parts(rows)])
        form = form._replace(kept=int((runs == 1).all()))
    seen = survey(form, rows, vocabulary, "model_target: data")
    form = form._replace(told=seen.padding > 0 and MASK in taken)
    if not form.told and (seen.inside or (seen.padding and not form.shift)):
        raise ValueError(
            f"model_target: {seen.padding:,} tokens are padding, and the model takes no {MASK} that would hide them; "
            "pad at the end of each row, for a model that looks back only, or give a model with that argument."
        )
    why = f"by {MASK}" if masked else f"token {form.pad} at the ends of rows" if form.pad >= 0 else "negative tokens"
    note = f"{seen.padding:,} of {seen.positions:,} tokens are padding ({why}), neither seen nor predicted"
    return Tokens(form, vocabulary, len(form.tokens(rows)), seen, note if seen.padding else "")


def survey(form: Form, rows: Any, vocabulary: int, where: str) -> Seen:
    """Counts of all rows; raises ValueError for a token out of the vocabulary or a row without one to predict."""
    total, start = np.zeros(4, np.int64), 0
    for part in _parts(rows):
        real, tokens = form.real(part, np), np.asarray(form.tokens(part))
        due = form.due(part, np)
        high = np.maximum(np.where(real, tokens, -1), due)
        if (high >= vocabulary).any():
            row = int((high >= vocabulary).any(1).argmax())
            raise ValueError(
                f"{where} holds the token {int(high[row].max())} in row {start + row}, and the vocabulary of the model "
                f"has {vocabulary:,}, 0 to {vocabulary - 1:,}; give tokens of the tokenizer it was trained with."
            )
        counts = (due[:, 1:] >= 0).sum(1) if form.shift else real.sum(1)
        if not counts.all():
            row, many = start + int((counts == 0).argmax()), int((counts == 0).sum())
            what = "are padding alone" if not real[row - start].any() else "hold no token to predict"
            raise ValueError(f"{where}: {many} rows {what}, first row {row}; remove those rows.")
        ends = np.flip(np.logical_and.accumulate(np.flip(~real, 1), 1), 1)
        total += [counts.sum(), real.size, (~real).sum(), (~real & ~ends).sum()]
        start += len(real)
    return Seen(*map(int, total))


def _parts(rows: Any) -> Iterator[Any]:
    size = len(rows) if not isinstance(rows, Mapping) else len(next(iter(rows.values())))
    for start in range(0, size, CHUNK):
        cut = slice(start, start + CHUNK)
        yield {name: column[cut] for name, column in rows.items()} if isinstance(rows, Mapping) else rows[cut]


def _run(tokens: Any, token: int, *, end: bool = False) -> np.ndarray:
    """Length of the run of a token at the head of each row, or at its end."""
    same = np.asarray(tokens) == token
    return np.logical_and.accumulate(np.flip(same, 1) if end else same, axis=1).sum(1)


def _refuse_unsaid(form: Form, rows: Any, model: Any) -> None:
    """Raises ValueError where the model's padding token, or several that end a text, stand at the ends of rows."""
    owner = getattr(model, "config", None) or getattr(model, "tokenizer", None)
    ends, first, pads = (
        [int(token) for token in jax.tree.leaves(getattr(owner, f"{kind}_token_id", None))]
        for kind in ("eos", "bos", "pad")
    )
    for token, run in (dict.fromkeys(ends, RUN) | {token: 1 for token in pads if token not in ends}).items():
        for start, part in enumerate(_parts(rows)):
            tokens = form.due(part, np)  # where labels say so, padding is not predicted
            found = (_run(tokens, token) >= run + (token in first)) | (_run(tokens, token, end=True) >= run)
            if token >= 0 and found.any():
                raise ValueError(
                    f"model_target: rows look padded with the token {token} of the model, first row "
                    f"{start * CHUNK + int(found.argmax())}, and padding is no data; give an {MASK} beside {IDS}, or "
                    f"pad_token={token}, or pad_token=-1 where these tokens are data."
                )
