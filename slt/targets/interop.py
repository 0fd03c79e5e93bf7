r"""A trained model of any framework becomes a target in one line.

A model is used in *evaluation mode*: dropout is off, batch normalisation uses its running statistics, which stay at
what was trained. What is sampled are its trainable parameters, as a flat dict {"layers/0/weight": array}; float16 and
bfloat16 become float32. The model handed over is left as it was.
"""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slt.targets.inputs import LossPerDatum, as_params
from slt.targets.networks import cross_entropy, squared_error
from slt.targets.rows import as_rows
from slt.targets.selection import named_leaves
from slt.targets.target import Target, loss_target
from slt.targets.weights import fill, load_weights


class Model(NamedTuple):
    """params: by slash-joined path. apply: (params, inputs) -> outputs, for a batch.

    native: what makes a loss written in the model's own framework one of JAX arrays.
    """

    params: dict[str, Array]
    apply: Callable[[dict[str, Array], Any], Any]
    native: Callable[[Callable], Callable] = lambda loss: loss


def model_target(
    model: Any,
    loss: str | Callable[[Any, Any], Any],
    data: Any,
    *,
    weights: str | os.PathLike | Mapping[str, Any] | None = None,
    datum: str = "row",
    inverse_temperature: float | None = None,
    **options: Any,
) -> Target:
    r"""Target of a trained Equinox, Flax NNX or PyTorch module, or of a pair (apply, params).

    Args:
        model: an Equinox module (of one example), a Flax NNX or PyTorch module (of a batch), or (apply, params) with
            apply(params, inputs) -> outputs of a batch. PyTorch needs the extra `slt-toolkit[torch]`.
        loss: "cross_entropy", "squared_error" or "next_token", or (outputs, targets) -> one value per row
            [nats/datum], written in the model's own framework.
        data: (inputs, targets) or {"inputs", "targets"}, and in the forms of `loss_target`; inputs may be a tuple or
            dict of arguments of the model. For "next_token" the tokens alone, (row, position), padded with negatives.
        weights: a .safetensors, .npz or .pt file, or named arrays, to use in place of the model's own.
        datum: "row", or for "next_token" also "token": L_n is then nats/token and n the number of predicted tokens,
            n beta = n / log n; otherwise a row is a datum and its loss the sum over its tokens. `Target.num_data`
            counts rows in either case.
        inverse_temperature: beta of that n; 1/log n by default.
        options: as of `loss_target`, e.g. localization, trainable=["layers/0/*"], chunk_size.

    Raises:
        ValueError: a model, loss, data or weights that do not fit; an ImportError names a missing framework's extra.
    """
    view = view_model(model, weights)
    rows = as_rows(data)
    if loss != "next_token":
        if datum != "row":
            raise ValueError(f"model_target: datum is {datum!r}; only loss='next_token' knows other data than 'row'.")
        per_row = _supervised(view, loss, rows)
        return loss_target(per_row, view.params, rows, inverse_temperature=inverse_temperature, **options)
    if datum not in ("row", "token"):
        raise ValueError(f"model_target: datum is {datum!r}; it must be 'row' or 'token'.")
    tokens = rows["inputs"] if isinstance(rows, Mapping) and "inputs" in rows else rows
    per_row, beta = _language(view, tokens, datum, inverse_temperature)
    return loss_target(per_row, view.params, tokens, inverse_temperature=beta, **options)


def view_model(model: Any, weights: str | os.PathLike | Mapping[str, Any] | None = None) -> Model:
    """Parameters and a pure function of any supported model, in evaluation mode; arguments as of `model_target`."""
    if weights is not None and not isinstance(weights, Mapping):
        weights = load_weights(weights)
    if isinstance(model, eqx.Module):
        return _equinox(model, weights)
    if isinstance(model, tuple) and len(model) == 2 and callable(model[0]):
        named, rebuild = named_leaves(model[1])
        return Model(as_params(fill(named, weights)), lambda params, inputs: model[0](rebuild(params), inputs))
    if _is_module(model, "flax.nnx"):
        return _nnx(model, weights)
    if _is_module(model, "torch.nn"):
        from slt.targets.interop_torch import torch_model

        return Model(*torch_model(model, weights))
    raise ValueError(
        f"model_target: the model is a {type(model).__name__}; give an Equinox, Flax NNX or PyTorch module, or a pair "
        "(apply, params) with apply(params, inputs) -> outputs."
    )


def _is_module(model: Any, library: str) -> bool:
    """Whether it is a `Module` of a library, which is then imported already."""
    return library in sys.modules and isinstance(model, sys.modules[library].Module)


def next_token(logits: Float[Array, "row position token"], tokens: Any) -> Float[Array, " row"]:
    """Minus log-likelihood of every token but the first given those before it, summed over a row [nats/row].

    Negative tokens are padding: they are not predicted.
    """
    following = tokens[:, 1:]
    losses = cross_entropy(logits[:, :-1], jnp.maximum(following, 0))
    return jnp.sum(jnp.where(following >= 0, losses, 0.0), axis=1)


def _supervised(view: Model, loss: str | Callable, rows: Any) -> LossPerDatum:
    named = {"cross_entropy": cross_entropy, "squared_error": squared_error}
    if isinstance(loss, str) and loss not in named:
        raise ValueError(
            f"model_target: loss is {loss!r}; choose {', '.join(named)} or next_token, or give a function."
        )
    keys = ("inputs", "targets") if isinstance(rows, Mapping) else (0, 1)
    if (
        not isinstance(rows, Mapping | tuple | list)
        or len(rows) != 2
        or (keys[0] == "inputs" and set(rows) != set(keys))
    ):
        given = sorted(rows) if isinstance(rows, Mapping) else type(rows).__name__
        raise ValueError(f"model_target: data is {given}; give (inputs, targets) or {{'inputs', 'targets'}}.")
    of_outputs = named[loss] if isinstance(loss, str) else view.native(loss)

    def per_row(params: dict[str, Array], rows: Any) -> Array:
        values = of_outputs(view.apply(params, rows[keys[0]]), rows[keys[1]])
        return values if values.ndim < 2 else values.reshape(values.shape[0], -1).sum(1)

    return per_row


def _language(view: Model, tokens: Any, datum: str, beta: float | None) -> tuple[LossPerDatum, float | None]:
    """Loss of a row of tokens, and the beta per row at which n beta is that of the data asked for."""
    if not hasattr(tokens, "ndim") or tokens.ndim != 2 or not np.issubdtype(tokens.dtype, np.integer):
        raise ValueError("model_target: loss='next_token' needs integer tokens of the shape (row, position).")
    predicted = int(sum(np.sum(np.asarray(tokens[i : i + 4096, 1:]) >= 0) for i in range(0, len(tokens), 4096)))
    per_datum = predicted / len(tokens) if datum == "token" else 1.0
    if datum == "token":
        beta = per_datum * (1 / np.log(predicted) if beta is None else beta)
    return lambda params, rows: next_token(view.apply(params, jnp.maximum(rows, 0)), rows) / per_datum, beta


def _equinox(model: eqx.Module, weights: Mapping[str, Any] | None) -> Model:
    arrays, static = eqx.partition(eqx.nn.inference_mode(model), eqx.is_inexact_array)
    named, rebuild = named_leaves(arrays)

    def apply(params: dict[str, Array], inputs: Any) -> Any:
        module = eqx.combine(rebuild(params), static)
        return jax.vmap(lambda x: call(module, x))(inputs)

    return Model(as_params(fill(named, weights)), apply)


def _nnx(model: Any, weights: Mapping[str, Any] | None) -> Model:
    from flax import nnx

    frozen = nnx.clone(model)
    frozen.eval()
    graph, trained, rest = nnx.split(frozen, nnx.Param, ...)
    params, rebuild = named_leaves(trained)
    others, rebuild_others = named_leaves(rest)
    statistics = {name: value for name, value in others.items() if eqx.is_inexact_array(value)}
    names = {name.removesuffix("/value"): name for name in (*params, *statistics)}
    filled = fill({path: (params | statistics)[name] for path, name in names.items()}, weights)
    rest = rebuild_others(others | {name: filled[path] for path, name in names.items() if name in statistics})

    def apply(params: dict[str, Array], inputs: Any) -> Any:
        return call(nnx.merge(graph, rebuild({names[path]: value for path, value in params.items()}), rest), inputs)

    return Model(as_params({path: filled[path] for path, name in names.items() if name in params}), apply)


def call(module: Callable, inputs: Any) -> Any:
    """The module of a tuple of positional, or a dict of named arguments, or of one array."""
    if isinstance(inputs, tuple):
        return module(*inputs)
    return module(**inputs) if isinstance(inputs, Mapping) else module(inputs)
