"""PyTorch modules as pure functions of JAX arrays, through torchax; imported only where a PyTorch module is given."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from slt.targets.columns import as_array
from slt.targets.weights import fill, without_wrappers


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
        raise ImportError("PyTorch models need torchax; install it in the clone: pip install '.[torch]'") from error
    import torch  # pyright: ignore[reportMissingImports]

    frozen = copy.deepcopy(model).cpu().eval()
    if hasattr(frozen, "set_attn_implementation"):
        frozen.set_attn_implementation("eager")  # the others give NaN to positions that see nothing, as padding may
    if weights is not None:
        _load(frozen, weights)
    tensors = dict((*frozen.named_parameters(), *frozen.named_buffers()))
    arrays = {name: _array(tensor) for name, tensor in tensors.items()}
    trained = {name.replace(".", "/"): name for name, p in frozen.named_parameters() if p.requires_grad}
    if len(trained) < sum(p.requires_grad for p in frozen.parameters()):
        raise ValueError("model_target: two parameters have one name once dots are slashes; rename a module.")
    if not trained:
        raise ValueError("model_target: no parameter of the model requires a gradient; call model.requires_grad_().")

    def forward(state: dict[str, Any], inputs: Any) -> Any:
        args = inputs if isinstance(inputs, tuple) else () if isinstance(inputs, Mapping) else (inputs,)
        with torch.device("jax"), device_of_jax():  # tensors that the model makes itself, such as masks
            outputs = torch.func.functional_call(frozen, state, args, inputs if isinstance(inputs, Mapping) else {})
        return getattr(outputs, "logits", outputs)  # Hugging Face's classes of outputs are none that JAX knows

    def apply(params: dict[str, Any], inputs: Any) -> Any:
        return call_torch(
            forward,
            arrays | {trained[path]: value for path, value in params.items()},
            jax.tree.map(jnp.asarray, inputs),
        )

    params = {path: arrays[trained[path]] for path in sorted(trained)}
    return params, apply, lambda loss: lambda outputs, targets: call_torch(loss, outputs, targets)


def device_of_jax() -> Any:
    """A context in which every device that a model names, such as one it remembers, is the one of JAX."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch.overrides import TorchFunctionMode  # pyright: ignore[reportMissingImports]

    class Moved(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
            if func in (torch.Tensor.cpu, torch.Tensor.cuda):
                return args[0]
            kwargs = {name: "jax" if name == "device" and value else value for name, value in (kwargs or {}).items()}
            if func is torch.Tensor.to:
                args = tuple("jax" if isinstance(value, str | torch.device) else value for value in args)
            return func(*args, **kwargs)

    return Moved()


def _load(model: Any, weights: Mapping[str, Any]) -> None:
    import torch  # pyright: ignore[reportMissingImports]

    names = {name.replace(".", "/"): name for name in model.state_dict()}
    tied: dict[int, list[str]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        tied.setdefault(id(tensor), []).append(name.replace(".", "/"))
    due = {path: _array(model.state_dict()[name]) for path, name in names.items()}
    try:
        new = fill(due, weights, tied.values())
    except ValueError:
        renamed = _renamed(model, weights)
        if renamed is None:
            raise
        new = fill(due, renamed, tied.values())
    model.load_state_dict({names[path]: torch.from_numpy(np.array(array)) for path, array in new.items()})


def _renamed(model: Any, weights: Mapping[str, Any]) -> dict[str, Any] | None:
    """The weights by the names of the module, where its class knows other names of files; None where they do not fit.

    Hugging Face's classes have had other names than they have, and write files with these.
    """
    if not hasattr(model, "from_pretrained"):
        return None
    import torch  # pyright: ignore[reportMissingImports]

    state = {
        without_wrappers(str(name)).replace("/", "."): torch.from_numpy(np.array(as_array(value, f"weights: {name}")))
        for name, value in weights.items()
    }
    loaded, told = type(model).from_pretrained(
        None, config=copy.deepcopy(model.config), state_dict=state, output_loading_info=True
    )
    if any(told[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")):
        return None
    return {name: tensor.detach().numpy() for name, tensor in loaded.state_dict().items()}


def _array(tensor: Any) -> jax.Array:
    """Floats in the default precision of JAX: half precision does not resolve a posterior."""
    array = np.asarray(as_array(tensor, "a tensor of the model"))
    return jnp.asarray(array, float) if np.issubdtype(array.dtype, np.floating) else jnp.asarray(array)
