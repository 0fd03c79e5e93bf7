"""PyTorch modules as pure functions of JAX arrays, through torchax; imported only where a PyTorch module is given."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from slt.targets.weights import fill, to_numpy


def torch_model(model: Any, weights: Mapping[str, Any] | None) -> tuple[dict[str, Any], Callable, Callable]:
    """(params, apply, native) of a `torch.nn.Module`; see `slt.targets.interop.Model`.

    Parameters that do not require a gradient, and buffers, stay at what they are. Tied weights are one parameter.

    Raises:
        ImportError: torchax is not installed.
        ValueError: no parameter requires a gradient, or weights that do not fit.
    """
    try:
        from torchax.interop import call_torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError("PyTorch models need torchax; install it with: pip install 'slt-toolkit[torch]'") from error
    import torch  # pyright: ignore[reportMissingImports]

    frozen = copy.deepcopy(model).cpu().eval()
    if weights is not None:
        _load(frozen, weights)
    tensors = dict((*frozen.named_parameters(), *frozen.named_buffers()))
    arrays = {name: _array(tensor) for name, tensor in tensors.items()}
    trained = {name.replace(".", "/"): name for name, p in frozen.named_parameters() if p.requires_grad}
    if not trained:
        raise ValueError("model_target: no parameter of the model requires a gradient; call model.requires_grad_().")

    def forward(state: dict[str, Any], inputs: Any) -> Any:
        args = inputs if isinstance(inputs, tuple) else () if isinstance(inputs, Mapping) else (inputs,)
        with torch.device("jax"):  # tensors that the model makes itself, such as masks
            return torch.func.functional_call(frozen, state, args, inputs if isinstance(inputs, Mapping) else {})

    def apply(params: dict[str, Any], inputs: Any) -> Any:
        return call_torch(
            forward,
            arrays | {trained[path]: value for path, value in params.items()},
            jax.tree.map(jnp.asarray, inputs),
        )

    params = {path: arrays[trained[path]] for path in sorted(trained)}
    return params, apply, lambda loss: lambda outputs, targets: call_torch(loss, outputs, targets)


def _load(model: Any, weights: Mapping[str, Any]) -> None:
    import torch  # pyright: ignore[reportMissingImports]

    names = {name.replace(".", "/"): name for name in model.state_dict()}
    new = fill({path: _array(model.state_dict()[name]) for path, name in names.items()}, weights)
    model.load_state_dict({names[path]: torch.from_numpy(np.array(array)) for path, array in new.items()})


def _array(tensor: Any) -> jax.Array:
    """Floats in the default precision of JAX: half precision does not resolve a posterior."""
    array = to_numpy(tensor)
    return jnp.asarray(array, float) if np.issubdtype(array.dtype, np.floating) else jnp.asarray(array)
