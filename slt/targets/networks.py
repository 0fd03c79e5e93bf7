"""Small fully connected networks: initialisation, losses per datum, training, and safetensors checkpoints.

A network is a plain pytree {"layer_0": {"weight", "bias"}, ...}; a batch is {"inputs", "targets"}.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int
from safetensors.numpy import save

from slt._types import Batch, Key, Params
from slt.targets.labels import check_label_form, check_labels
from slt.targets.weights import check_finite, read_safetensors

ACTIVATIONS: dict[str, Callable] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "identity": lambda x: x,
}


def mlp_init(key: Key, widths: Sequence[int]) -> Params:
    r"""Weights $\mathcal{N}(0, 1/\text{fan-in})$, biases zero.

    Args:
        key: JAX random key.
        widths: units of every layer, inputs and outputs included, e.g. (64, 32, 10).

    Raises:
        ValueError: fewer than two widths, or one below 1.

    Source: LeCun et al. 1998, Efficient BackProp.
    """
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(f"mlp_init: widths is {tuple(widths)}; give at least two, each at least 1, e.g. (64, 32, 10).")
    shapes = list(pairwise(widths))
    keys = jax.random.split(key, len(shapes))
    return {
        f"layer_{i}": {"weight": jax.random.normal(k, shape) / shape[0] ** 0.5, "bias": jnp.zeros(shape[1])}
        for i, (k, shape) in enumerate(zip(keys, shapes, strict=True))
    }


def mlp_apply(
    params: Params, inputs: Float[Array, "batch features"], activation: str = "tanh"
) -> Float[Array, "batch outputs"]:
    r"""$h_{l+1} = \phi(h_l W_l + b_l)$, without $\phi$ after the last layer.

    Raises:
        ValueError: an activation that is not in ACTIVATIONS.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"mlp_apply: activation is {activation!r}; choose one of {', '.join(ACTIVATIONS)}.")
    layers = [params[f"layer_{i}"] for i in range(len(params))]
    hidden = inputs
    for layer in layers[:-1]:
        hidden = ACTIVATIONS[activation](hidden @ layer["weight"] + layer["bias"])
    return hidden @ layers[-1]["weight"] + layers[-1]["bias"]


def cross_entropy(logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]) -> Float[Array, " batch"]:
    r"""$-\log\,\mathrm{softmax}(\text{logits})_{\text{label}}$ of each datum [nats]; NaN if the label is no class.

    Raises:
        ValueError: labels that are no integers or not one a row, e.g. one-hot, or fewer than two classes.
    """
    labels = jnp.asarray(labels)
    check_label_form(logits.shape, labels)
    labels = labels.astype(jnp.int32)
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
    # an index below 0 would count from the last class
    return jnp.where((labels >= 0) & (labels < logits.shape[-1]), losses, jnp.nan)


def check_mlp(params: Any, activation: Any, loss: str, data: Mapping[str, Any], where: str = "mlp") -> None:
    """Whether data fit a network of this file.

    Args:
        where: what error messages call the network, such as the path of its checkpoint.

    Raises:
        ValueError: no such network, an unknown activation or loss, inputs of another width, targets that do not fit.
    """
    check_architecture(params, where)
    if activation not in list(ACTIVATIONS):
        raise ValueError(
            f"{where}: activation is {activation!r}; choose from {', '.join(ACTIVATIONS)}, of a file in its metadata."
        )
    if loss not in list(LOSSES):
        raise ValueError(f"{where}: loss is {loss!r}; choose from {', '.join(LOSSES)}.")
    if not isinstance(data, Mapping) or not {"inputs", "targets"} <= set(data):
        given = sorted(map(str, data)) if isinstance(data, Mapping) else f"a {type(data).__name__}"
        raise ValueError(f"{where}: the data are {given}; give a dict of inputs and targets.")
    inputs, targets = data["inputs"], data["targets"]
    width, outputs = params["layer_0"]["weight"].shape[0], params[f"layer_{len(params) - 1}"]["weight"].shape[1]
    if np.ndim(inputs) != 2 or np.shape(inputs)[1] != width:
        raise ValueError(
            f"{where}: the inputs have the shape {np.shape(inputs)}, but the network takes (rows, {width}); reshape "
            "them, or give the data that it was trained on."
        )
    shape = (len(inputs), outputs)
    if loss == "cross_entropy":
        check_labels(targets, shape, f"{where}: the labels")
    elif np.shape(targets) not in {shape, shape[: 1 + (outputs > 1)]}:
        raise ValueError(
            f"{where}: the targets have the shape {np.shape(targets)} and the outputs {shape}; give as many."
        )


def check_architecture(params: Any, where: str) -> None:
    """Raises ValueError unless params are those of a network of this file."""
    layers = [params.get(f"layer_{i}", {}) for i in range(len(params))] if isinstance(params, Mapping) else [{}]
    whole = all(isinstance(layer, Mapping) and set(layer) == {"weight", "bias"} for layer in layers)
    shapes = [(np.shape(layer["weight"]), np.shape(layer["bias"])) for layer in layers] if whole else []
    if (
        not shapes
        or any(len(w) != 2 or b != w[1:] for w, b in shapes)
        or any(one[0][1] != two[0][0] for one, two in pairwise(shapes))
    ):
        names = ", ".join(sorted(map(str, params))[:5]) if isinstance(params, Mapping) else type(params).__name__
        raise ValueError(
            f"{where} is no network that this program made, of layer_0/weight, layer_0/bias and so on: it has {names}; "
            "a model of another program is used in Python: slt.model_target(model, loss, data, weights=path)."
        )


def squared_error(outputs: Float[Array, "batch *o"], targets: Float[Array, "batch *t"]) -> Float[Array, " batch"]:
    r"""$\frac12 \lVert y - f \rVert^2$ of each datum: Gaussian of unit variance, its constant left out [nats].

    A single output may have an axis of its own or not, in the outputs as in the targets.

    Raises:
        ValueError: not as many outputs as targets a row.
    """
    given, due = (a[:, None] if a.ndim == 1 else a for a in (outputs, targets))
    if given.shape != due.shape:
        raise ValueError(
            f"squared_error: the outputs have shape {outputs.shape} and the targets {targets.shape}; "
            "as many of one as of the other are needed in every row."
        )
    return 0.5 * jnp.sum((due - given) ** 2, axis=-1)


def accuracy(logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]) -> Float[Array, ""]:
    """Fraction of data whose largest logit is at the label [1]."""
    return jnp.mean(jnp.argmax(logits, axis=-1) == labels)


LOSSES: dict[str, Callable] = {"cross_entropy": cross_entropy, "squared_error": squared_error}


def mlp_loss(activation: str, loss: str) -> Callable[[Params, Batch], Float[Array, " batch"]]:
    """Loss per datum [nats] of a network: (params, {"inputs", "targets"}) -> (batch,).

    Raises:
        ValueError: a loss or activation this file does not have.
    """
    if loss not in LOSSES or activation not in ACTIVATIONS:
        raise ValueError(
            f"mlp_loss: loss is {loss!r} and activation {activation!r}; "
            f"choose from {', '.join(LOSSES)} and {', '.join(ACTIVATIONS)}."
        )
    return lambda params, batch: LOSSES[loss](mlp_apply(params, batch["inputs"], activation), batch["targets"])


def regularised(
    loss: Callable[[Params, Batch], Float[Array, " batch"]], weight_decay: float
) -> Callable[[Params, Batch], Float[Array, ""]]:
    r"""The objective of `train`, $\frac1n \sum_i \ell_i(w) + \frac{\text{decay}}{2} \lVert w \rVert^2$ [nats/datum]."""
    return lambda params, batch: (
        jnp.mean(loss(params, batch)) + 0.5 * weight_decay * optax.tree.norm(params, squared=True)
    )


def train(
    key: Key,
    params: Params,
    loss: Callable[[Params, Batch], Float[Array, " batch"]],
    data: Batch,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
) -> Params:
    """Minimise `regularised(loss, weight_decay)` by Adam with a cosine schedule, on batches drawn with replacement.

    Args:
        key: JAX random key.
        params: where to start.
        loss: loss per datum, (params, batch) -> (batch,) [nats].
        data: pytree of arrays with one leading axis, the data.
        steps: number of updates.
        batch_size: data per update.
        learning_rate: Adam's rate at the first step.
        weight_decay: coefficient of half the squared norm; a true penalty, not AdamW's decoupled decay.

    Source: Kingma & Ba 2015, arXiv:1412.6980.
    """
    data = jax.tree.map(jnp.asarray, data)
    num_data = jax.tree.leaves(data)[0].shape[0]
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
    objective = regularised(loss, weight_decay)

    def update(carry, step_key):
        params, state = carry
        rows = jax.random.randint(step_key, (batch_size,), 0, num_data)
        gradient = jax.grad(objective)(params, jax.tree.map(lambda x: x[rows], data))
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(params, updates), state), None

    scan = jax.jit(lambda params, keys: jax.lax.scan(update, (params, optimizer.init(params)), keys)[0][0])
    return scan(params, jax.random.split(key, steps))


def save_checkpoint(path: str | os.PathLike, params: Params, metadata: Mapping[str, Any]) -> None:
    """Write nested dicts of arrays as safetensors, names joined by "/"; metadata as JSON in the header.

    Metadata names the architecture ("widths", "activation"), the "loss", the "data" file and its "split_seed".
    The file appears whole or not at all.

    Raises:
        ValueError: a key that holds "/", or params that are not nested dicts of arrays.
    """
    payload = save(_flatten(params), {name: json.dumps(value) for name, value in metadata.items()})
    temporary = Path(path).with_name(f".{Path(path).name}.{os.getpid()}.tmp")
    temporary.write_bytes(payload)
    temporary.replace(path)


def load_checkpoint(path: str | os.PathLike) -> tuple[Params, dict[str, Any]]:
    """Read what `save_checkpoint` wrote: (params, metadata).

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a safetensors file, truncated, with NaN, or of shapes that contradict its "widths".
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"load_checkpoint: there is no file {path}; give a .safetensors checkpoint.")
    arrays, header = read_safetensors(path)
    metadata = {name: _parse(value) for name, value in header.items()}
    _check_shapes(path, check_finite(arrays, path), metadata)
    params: dict[str, Any] = {}
    for name, array in arrays.items():
        *parents, last = name.split("/")
        node = params
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ValueError(
                    f"load_checkpoint: {path} names both {parent!r} and {name!r}, an array and what lies below it; "
                    "rename one of them."
                )
        if last in node:
            raise ValueError(f"load_checkpoint: {path} names both {name!r} and something below it; rename one of them.")
        node[last] = array
    return params, metadata


def _flatten(params: Params, prefix: str = "") -> dict[str, np.ndarray]:
    flat: dict[str, np.ndarray] = {}
    for name, value in params.items():
        if "/" in name:
            raise ValueError(f'save_checkpoint: the key {name!r} holds "/", which joins names in the file; rename it.')
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}/")
        elif isinstance(value, jax.Array | np.ndarray):
            flat[prefix + name] = np.ascontiguousarray(value)
        else:
            raise ValueError(
                f"save_checkpoint: {prefix}{name} is a {type(value).__name__}; "
                "only nested dicts of arrays are stored, so convert it to those."
            )
    return flat


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text  # a header another program wrote


def _check_shapes(path: str | os.PathLike, arrays: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    if "widths" not in metadata:
        return
    widths = metadata["widths"]
    if not (isinstance(widths, list) and all(isinstance(width, int) for width in widths)):
        raise ValueError(
            f"load_checkpoint: the widths in the metadata of {path} are {widths!r}; write a list of integers."
        )
    want = {f"layer_{i}/weight": shape for i, shape in enumerate(pairwise(widths))}
    want |= {f"layer_{i}/bias": (width,) for i, width in enumerate(widths[1:])}
    have = {name: array.shape for name, array in arrays.items()}
    wrong = [
        f"{name} has shape {have.get(name)} where {want.get(name)} is due"
        for name in want | have
        if want.get(name) != have.get(name)
    ]
    if wrong:
        raise ValueError(
            f"load_checkpoint: {path} does not fit its own architecture {widths}: {'; '.join(wrong)}. "
            "Correct the widths in its metadata or write the file again."
        )
