r"""A trained model of any framework becomes a target in one line.

A model is used as in `slt.targets.views`. What is sampled are its trainable parameters; arrays that it holds constant
by stop_gradient stay as they are.
"""

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slt._options import checked
from slt.targets.components import expanded, outside
from slt.targets.dependence import CutError
from slt.targets.inputs import LossPerDatum, shapes
from slt.targets.labels import check_labels
from slt.targets.networks import cross_entropy, squared_error
from slt.targets.rows import alike, as_rows
from slt.targets.target import Target, loss_target
from slt.targets.tokens import IDS, LABELS, Tokens, arguments, columns, form_of, is_tokens, settled
from slt.targets.views import Model, unwrapped, view_model


@checked
def model_target(
    model: Any,
    loss: str | Callable[[Any, Any], Any],
    data: Any,
    *,
    weights: str | os.PathLike | Mapping[str, Any] | None = None,
    datum: str = "row",
    pad_token: int | None = None,
    inverse_temperature: float | None = None,
    **options: Any,
) -> Target:
    r"""Target of a trained Equinox, Flax NNX, PyTorch or Hugging Face module, or of a pair (apply, params).

    Args:
        model: an Equinox module (of one example) or pair (module, state), a Flax NNX or PyTorch module (of a batch),
            or (apply, params) with apply(params, inputs) -> outputs of a batch. PyTorch: extra `slt-toolkit[torch]`.
        loss: "cross_entropy", "squared_error" or "next_token", of outputs or their `logits`; or
            (outputs, targets) -> one value per row [nats/datum], written in the model's own framework.
        data: (inputs, targets) or {"inputs", "targets"}, and in the forms of `loss_target`; inputs may be a tuple or
            dict of arguments of the model. For "next_token" the tokens alone, (row, position). Or what a tokenizer or a
            tokenized data set gives: {"input_ids", "attention_mask", "labels"} and further arguments of the model.
        weights: a .safetensors, .npz or .pt file, a folder of `save_pretrained`, or named arrays, to use in place of
            the model's own. A prefix such as "module." may differ.
        datum: "row", or for "next_token" also "token": L_n is then nats/token and n the number of predicted tokens,
            n beta = n / log n; otherwise a row is a datum and its loss the sum over its tokens. `Target.num_data`
            counts rows in either case.
        pad_token: the token that is padding at the ends of rows, where there is no attention mask; negative tokens
            always are. `Target.note` says how many. -1: no token is, where one looked like it.
        inverse_temperature: beta of that n; 1/log n by default.
        options: as of `loss_target`, e.g. localization, chunk_size, trainable=["layers/0/*"], where names of
            `components` stand for theirs, too: trainable="l0h1".

    Raises:
        ValueError: a model, loss, data or weights that do not fit; an ImportError names a missing framework's extra.
    """
    model = unwrapped(model)
    view, taken = view_model(model, weights), arguments(model)
    options["trainable"] = expanded(options.get("trainable"), model, view.params)
    rows = as_rows(columns(data, taken))
    if loss == "next_token":
        if datum not in ("row", "token"):
            raise ValueError(f"model_target: datum is {datum!r}; it must be 'row' or 'token'.")
        return _language(model, view, rows, taken, datum, pad_token, inverse_temperature, options)
    if datum != "row":
        raise ValueError(
            f"model_target: datum is {datum!r}; leave it out: only loss='next_token' knows other data than 'row'."
        )
    return _supervised(model, view, loss, rows, taken, pad_token, inverse_temperature, options)


def _target(loss: LossPerDatum, view: Model, rows: Any, beta: float | None, options: dict[str, Any]) -> Target:
    """Arrays that reach the loss through stop_gradient alone are held constant by the model, and so are not sampled."""
    try:
        return loss_target(loss, view.params, rows, inverse_temperature=beta, **options)
    except CutError as error:
        constant = error.leaves
        if options.get("trainable") is not None or set(constant) == set(view.params):
            raise
        options["trainable"] = lambda name: name not in constant
        return loss_target(loss, view.params, rows, inverse_temperature=beta, **options)


def next_token(logits: Float[Array, "row position token"], tokens: Any) -> Float[Array, " row"]:
    """Minus log-likelihood of every token but the first given those before it, summed over a row [nats/row].

    Negative tokens are padding: they are not predicted.
    """
    following = tokens[:, 1:]
    losses = cross_entropy(logits[:, :-1], jnp.maximum(following, 0))
    return jnp.sum(jnp.where(following >= 0, losses, 0.0), axis=1)


def _supervised(
    model: Any, view: Model, loss: str | Callable, rows: Any, taken: tuple[str, ...], pad_token: int | None,
    beta: float | None, options: dict[str, Any],
) -> Target:  # fmt: skip
    named = {"cross_entropy": cross_entropy, "squared_error": squared_error}
    if not (loss in named if isinstance(loss, str) else callable(loss)):
        raise ValueError(
            f"model_target: loss is {loss!r}; choose {', '.join(named)} or next_token, or give a function."
        )
    _check_pair(rows)
    inputs, targets = _pair(rows)
    tokens = None
    if is_tokens(model, inputs, taken):
        known = getattr(model.config, "vocab_size", None) if hasattr(model, "config") else None
        form = form_of(inputs, taken, pad_token, shift=False)
        _check_length(view, form.tokens(inputs).shape[1])
        tokens = settled(form, inputs, known or 1 << 31, model, taken, pad_token)
    elif pad_token is not None:
        raise ValueError(
            "model_target: pad_token is given, but the inputs are no tokens, data['input_ids']; leave it out."
        )
    called = tokens.form.inputs if tokens else lambda inputs: inputs
    outputs = _outputs_of_two(view, inputs, called)
    of_outputs = partial(_named_loss, named[loss]) if isinstance(loss, str) else view.native(loss)
    if loss == "cross_entropy" and hasattr(targets, "dtype"):
        where = "model_target: the labels, data['targets']," if isinstance(rows, Mapping) else "the labels, data[1],"
        check_labels(targets, (len(targets) if np.ndim(targets) else 0, *array_of(outputs).shape[1:]), where)

    def per_row(params: dict[str, Array], rows: Any) -> Array:
        inputs, targets = _pair(rows)
        values = of_outputs(view.apply(params, called(inputs)), targets)
        return values if values.ndim < 2 else values.reshape(values.shape[0], -1).sum(1)

    target = _target(per_row, view, rows, beta, options)
    return _of_tokens(target, rows, tokens, taken, lambda rows: _pair(rows)[0]) if tokens else target


def _named_loss(loss: Callable, outputs: Any, targets: Any) -> Array:
    return loss(array_of(outputs), targets)


def _pair(rows: Any) -> tuple[Any, Any]:
    """Inputs and targets; of what a tokenizer gives, the labels and all the rest."""
    if isinstance(rows, Mapping) and IDS in rows:
        label = next(name for name in LABELS if name in rows)
        return {name: column for name, column in rows.items() if name != label}, rows[label]
    return (rows["inputs"], rows["targets"]) if isinstance(rows, Mapping) else (rows[0], rows[1])


def _check_pair(rows: Any) -> None:
    if isinstance(rows, Mapping) and (set(rows) == {"inputs", "targets"} or (IDS in rows and {*LABELS} & set(rows))):
        return
    if isinstance(rows, tuple | list) and len(rows) == 2:
        return
    given = sorted(rows, key=str) if isinstance(rows, Mapping) else f"a {type(rows).__name__}"
    given = f"{given} of {len(rows)}" if isinstance(rows, tuple | list) else given
    raise ValueError(f"model_target: data is {given}; give (inputs, targets) or {{'inputs', 'targets'}}.")


def _outputs_of_two(view: Model, inputs: Any, called: Callable[[Any], Any]) -> Any:
    """Shapes of what the model makes of two rows, given what it is called with for them.

    Raises:
        ValueError: it fails on them.
    """
    two = jax.tree.map(lambda a: a[:2], inputs)
    try:
        return jax.eval_shape(lambda params, rows: view.apply(params, called(rows)), view.params, two)
    except Exception as error:  # of any framework
        raise ValueError(
            f"model_target: the model failed on two rows of the inputs, which are {shapes(two)}; give inputs "
            f"that fit it, and a model that JAX can trace: {error}"
        ) from error


def array_of(outputs: Any) -> Any:
    """The outputs of a model that a named loss takes: an array, or the `logits` of what Hugging Face models return.

    Raises:
        ValueError: neither.
    """
    outputs = outputs["logits"] if isinstance(outputs, Mapping) and "logits" in outputs else outputs
    outputs = getattr(outputs, "logits", outputs)
    if not hasattr(outputs, "ndim"):
        keys = f" with {', '.join(map(str, outputs))}" if isinstance(outputs, Mapping) else ""
        raise ValueError(
            f"model_target: the model's output is a {type(outputs).__name__}{keys}; a named loss needs one "
            "array, or one called "
            "logits. Give a pair (apply, params) whose apply returns the array, or a loss function of such outputs."
        )
    return outputs


def _check_length(view: Model, length: int) -> None:
    """Raises ValueError for more positions than the model has, which JAX would read beside their table."""
    for path, leaf in view.params.items():
        if outside(path) == "pos" and leaf.shape[0] < length:
            raise ValueError(
                f"model_target: rows have {length} positions, and the model has {leaf.shape[0]} ({path}); cut the rows."
            )


def _language(
    model: Any, view: Model, rows: Any, taken: tuple[str, ...], datum: str, pad_token: int | None,
    beta: float | None, options: dict[str, Any],
) -> Target:  # fmt: skip
    """The loss of a row of tokens, and the beta per row at which n beta is that of the data asked for."""
    form = form_of(rows, taken, pad_token, shift=True)
    _check_length(view, form.tokens(rows).shape[1])
    shape = array_of(_outputs_of_two(view, rows, form.inputs)).shape
    if len(shape) != 3 or shape[1] != form.tokens(rows).shape[1]:
        raise ValueError(
            f"model_target: two rows of {form.tokens(rows).shape[1]} tokens give outputs of the shape {shape}; "
            "loss='next_token' needs logits, (row, position, token)."
        )
    tokens = settled(form, rows, shape[2], model, taken, pad_token)
    per_datum = tokens.seen.predicted / tokens.num_rows if datum == "token" else 1.0
    if datum == "token":
        beta = per_datum * (1 / np.log(tokens.seen.predicted) if beta is None else beta)

    def per_row(params: dict[str, Array], rows: Any) -> Array:
        return next_token(array_of(view.apply(params, tokens.form.inputs(rows))), tokens.form.due(rows)) / per_datum

    return _of_tokens(_target(per_row, view, rows, beta, options), rows, tokens, taken, lambda rows: rows)


def _of_tokens(
    target: Target, rows: Any, tokens: Tokens, taken: tuple[str, ...], part: Callable[[Any], Any]
) -> Target:
    """The target that says what of its tokens is padding, and looks at those of other data, too."""
    read, first = target.read, jax.tree.map(lambda a: a[:1], rows)
    assert read is not None

    def read_tokens(data: Any) -> tuple[Callable, Any]:
        given = alike(as_rows(columns(data, taken)), first)
        tokens.check(part(given), "test_data")
        return read(given)

    return target._replace(read=read_tokens, note=tokens.note)
