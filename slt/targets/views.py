"""Models of any framework as pure functions of their parameters.

A model is used in *evaluation mode*: dropout is off, batch normalisation uses its running statistics, which stay at
what was trained. Parameters are a flat dict {"layers/0/weight": array}; float16 and bfloat16 become float32. The model
handed over is left as it was, and later changes of it are not seen.
"""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
from jaxtyping import Array

from slt.targets.inputs import as_params
from slt.targets.selection import named_leaves
from slt.targets.weights import fill, load_weights


class Model(NamedTuple):
    """params: by slash-joined path. apply: (params, inputs) -> outputs, for a batch.

    native: what makes a loss written in the model's own framework one of JAX arrays.
    """

    params: dict[str, Array]
    apply: Callable[[dict[str, Array], Any], Any]
    native: Callable[[Callable], Callable] = lambda loss: loss


def as_function(
    model: Any, weights: str | os.PathLike | Mapping[str, Any] | None = None
) -> tuple[dict[str, Array], Callable[[dict[str, Array], Any], Any]]:
    """(params, apply) of any model of `model_target`: what everything that takes a function of parameters works on.

    apply(params, inputs) gives the outputs of a batch, in evaluation mode, of arrays of JAX; those of a Hugging Face
    model are its logits. (apply, params), with other params of these names, is a model again. Raises as `model_target`.
    """
    view = view_model(unwrapped(model), weights)
    return view.params, view.apply


def unwrapped(model: Any) -> Any:
    """The module inside of `torch.compile` and of (Distributed)DataParallel."""
    while inner := getattr(model, "_orig_mod", None) or (
        getattr(model, "module", None) if type(model).__name__ in ("DataParallel", "DistributedDataParallel") else None
    ):
        model = inner
    return model


def view_model(model: Any, weights: str | os.PathLike | Mapping[str, Any] | None = None) -> Model:
    """Parameters and a pure function of any supported model, in evaluation mode; arguments as of `model_target`."""
    if weights is not None and not isinstance(weights, Mapping):
        weights = load_weights(weights)
    if isinstance(model, eqx.Module):
        return _equinox(model, None, weights)
    if isinstance(model, tuple) and len(model) == 2 and isinstance(model[1], eqx.nn.State):
        return _equinox(*model, weights)
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


def _equinox(model: eqx.Module, state: eqx.nn.State | None, weights: Mapping[str, Any] | None) -> Model:
    is_index = lambda leaf: isinstance(leaf, eqx.nn.StateIndex)  # noqa: E731
    if state is None and any(map(is_index, jax.tree.leaves(model, is_leaf=is_index))):
        raise ValueError(
            "model_target: the Equinox module has a state (as BatchNorm has); give the pair (module, state) that "
            "eqx.nn.make_with_state made and training left, whose statistics are then used as they are."
        )
    arrays, static = eqx.partition(eqx.nn.inference_mode(model), eqx.is_inexact_array)
    named, rebuild = named_leaves(arrays)

    def apply(params: dict[str, Array], inputs: Any) -> Any:
        module = eqx.combine(rebuild(params), static)
        one = module if state is None else lambda *args, **named: module(*args, state=state, **named)[0]
        return jax.vmap(lambda x: call(one, x))(inputs)

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
        trained = rebuild({names[path]: value for path, value in params.items()})
        return call(
            nnx.merge(graph, trained, rest, copy=True), inputs
        )  # copy: counters of rngs count within this trace

    return Model(as_params({path: filled[path] for path, name in names.items() if name in params}), apply)


def call(module: Callable, inputs: Any) -> Any:
    """The module of a tuple of positional, or a dict of named arguments, or of one array."""
    if isinstance(inputs, tuple):
        return module(*inputs)
    return module(**inputs) if isinstance(inputs, Mapping) else module(inputs)
