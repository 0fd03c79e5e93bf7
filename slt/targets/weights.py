"""Named arrays of a checkpoint, and their place in a model. Nothing here unpickles.

Names are joined by "/", whatever the file has: PyTorch's "layers.0.weight" is "layers/0/weight".
"""

import difflib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open


def load_weights(path: str | os.PathLike) -> dict[str, Any]:
    """Every array of a .safetensors or .npz file, or of a .pt or .pth file by `torch.load(weights_only=True)`, by name.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another suffix, a damaged file, one with pickled objects, or NaN or infinity in an array.
    """
    path = Path(path)
    readers = {".safetensors": lambda path: read_safetensors(path)[0], ".npz": _npz, ".pt": _torch, ".pth": _torch}
    if path.suffix not in readers:
        raise ValueError(f"load_weights: {path} ends in {path.suffix!r}; give a file in {', '.join(readers)}.")
    if not path.is_file():
        raise FileNotFoundError(f"load_weights: there is no file {path}.")
    return check_finite(readers[path.suffix](path), path)


def read_safetensors(path: str | os.PathLike) -> tuple[dict[str, jax.Array], dict[str, str]]:
    """Arrays by name, and the texts in the header.

    Raises:
        ValueError: damaged, or another format.
    """
    try:
        with safe_open(path, framework="flax") as file:  # NumPy knows no bfloat16
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            return arrays, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a whole safetensors file ({error}); it may be truncated or of another format. "
            "Write it again."
        ) from None


def check_finite(arrays: dict[str, Any], path: str | os.PathLike) -> dict[str, Any]:
    """The same arrays.

    Raises:
        ValueError: NaN or infinity in one.
    """
    bad = [
        name for name, a in arrays.items() if jnp.issubdtype(a.dtype, jnp.floating) and not bool(jnp.isfinite(a).all())
    ]
    if bad:
        raise ValueError(f"{path} has NaN or infinity in {', '.join(bad)}; train again.")
    return arrays


def fill(named: Mapping[str, Any], weights: Mapping[str, Any] | None) -> dict[str, Any]:
    """The arrays of a model, by path, or those of a checkpoint in their place and dtype.

    Raises:
        ValueError: names or shapes that do not fit, with the nearest name.
    """
    if weights is None:
        return dict(named)
    given = {name.replace(".", "/"): value for name, value in weights.items()}
    wrong = [f"{name} is missing{_near(name, given)}" for name in named if name not in given]
    wrong += [f"{name} has no place in the model{_near(name, named)}" for name in given if name not in named]
    wrong += [
        f"{name} has the shape {np.shape(given[name])} where {np.shape(old)} is due"
        for name, old in named.items()
        if name in given and np.shape(given[name]) != np.shape(old)
    ]
    if wrong:
        raise ValueError(f"weights do not fit the model: {'; '.join(wrong[:5])}{'; …' * (len(wrong) > 5)}.")
    return {name: jnp.asarray(given[name], old.dtype) for name, old in named.items()}


def _near(name: str, names: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, list(names), n=1)
    return f" (nearest: {near[0]})" if near else ""


def _npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"load_weights: {path} is not a whole npz file of plain arrays ({error}); write it with numpy.savez."
        ) from None


def _torch(path: Path) -> dict[str, Any]:
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(f"{path} needs PyTorch; install it with: pip install 'slt-toolkit[torch]'") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling errors of many kinds
        raise ValueError(
            f"load_weights: {path} is not a file of plain tensors ({str(error).splitlines()[0]}); "
            "write it with torch.save(model.state_dict(), path)."
        ) from None
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"load_weights: {path} is no state dict; write it with torch.save(model.state_dict(), path).")
    return {name: to_numpy(tensor) for name, tensor in state.items()}


def to_numpy(tensor: Any) -> np.ndarray:
    """A PyTorch tensor as an array; NumPy knows no bfloat16."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
