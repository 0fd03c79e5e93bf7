"""Named arrays of a checkpoint, and their place in a model. Nothing here unpickles.

Names are joined by "/", whatever the file has: PyTorch's "layers.0.weight" is "layers/0/weight".
"""

import difflib
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open

from slt.targets.columns import as_array


def load_weights(path: str | os.PathLike) -> dict[str, Any]:
    """Every array of a checkpoint by name: a .safetensors or .npz file, a .pt, .pth or .bin file by
    `torch.load(weights_only=True)`, the .index.json of a checkpoint in several files, or a folder of
    `save_pretrained`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another suffix, a folder with none or several, a damaged file, one with pickled objects, or NaN or
            infinity in an array.
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"load_weights: a {type(path).__name__} is no path; give a file, or a dict of arrays by name.")
    path = _in_folder(Path(path)) if Path(path).is_dir() else Path(path)
    if path.suffix not in READERS:
        raise ValueError(f"load_weights: {path} ends in {path.suffix!r}; give a file in {', '.join(READERS)}.")
    if not path.is_file():
        raise FileNotFoundError(f"load_weights: there is no file {path}.")
    return check_finite(READERS[path.suffix](path), path)


def _in_folder(folder: Path) -> Path:
    """The checkpoint in a folder: what `save_pretrained` writes, or the one file with weights."""
    found = [folder / name for name in PRETRAINED if (folder / name).is_file()]
    others = [path for path in sorted(folder.iterdir()) if path.suffix in READERS and path.suffix != ".json"]
    if not found and len(others) == 1:
        found = others
    if not found:
        held = f"holds {', '.join(path.name for path in others[:4])}" if others else "holds no file of weights"
        raise ValueError(
            f"load_weights: the folder {folder} {held}; give one file in {', '.join(READERS)}, or a folder with "
            f"{PRETRAINED[0]}."
        )
    return found[0]


def read_safetensors(path: str | os.PathLike) -> tuple[dict[str, jax.Array], dict[str, str]]:
    """Arrays by name, and the texts in the header.

    Raises:
        ValueError: damaged, or another format.
    """
    try:
        with safe_open(path, framework="flax") as file:  # NumPy knows no bfloat16
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            return arrays, file.metadata() or {}
    except (SafetensorError, TypeError, AttributeError) as error:  # the latter: a dtype that JAX does not know
        raise ValueError(
            f"{path} is not a whole safetensors file ({error}); it may be truncated or of another format. "
            "Write it again."
        ) from None


def _safetensors(path: Path) -> dict[str, Any]:
    """A tied array is stored once; its other names are in the header, each with the name it is stored under."""
    arrays, header = read_safetensors(path)
    return arrays | {name: arrays[stored] for name, stored in header.items() if stored in arrays and name not in arrays}


def _sharded(path: Path) -> dict[str, Any]:
    """A checkpoint in several files beside its index, {"weight_map": {name: file}}."""
    try:
        places = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        files = {file: path.parent / file for file in sorted(set(places.values()))}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(
            f"load_weights: {path} has no weight_map; give the .index.json that lies beside the files of a checkpoint."
        ) from None
    arrays: dict[str, Any] = {}
    for file in files.values():
        arrays |= load_weights(file)
    missing = [name for name in places if name not in arrays]
    if missing:
        raise ValueError(
            f"load_weights: {path} names {missing[0]}, which is not in {places[missing[0]]}; write it again."
        )
    return arrays


def check_finite(arrays: dict[str, Any], path: str | os.PathLike) -> dict[str, Any]:
    """The same arrays.

    Raises:
        ValueError: NaN or infinity in one.
    """
    bad = [
        name for name, a in arrays.items() if jnp.issubdtype(a.dtype, jnp.floating) and not bool(jnp.isfinite(a).all())
    ]
    if bad:
        raise ValueError(f"{path} has NaN or infinity in {', '.join(bad)}; train again, or give another.")
    return arrays


def fill(
    named: Mapping[str, Any], weights: Mapping[str, Any] | None, tied: Iterable[Sequence[str]] = ()
) -> dict[str, Any]:
    """The arrays of a model, by path, or those of a checkpoint in their place and dtype.

    Args:
        tied: paths that are one array in the model, all but one of which may be missing from the checkpoint.

    Raises:
        ValueError: names, shapes or kinds of numbers that do not fit, with the nearest name.
    """
    if weights is None:
        return dict(named)
    given = {str(name).replace(".", "/"): _array(value, str(name)) for name, value in weights.items()}
    given = _placed(given, named)
    for paths in tied:
        given |= {path: given[known] for known in paths if known in given for path in paths if path not in given}
    missing = [f"{name} is missing{_near(name, given)}" for name in named if name not in given]
    used = {id(given[name]) for name in named if name in given}  # another name of a used array is no surplus
    surplus = [name for name in given if name not in named and id(given[name]) not in used]
    wrong = missing + [f"{name} has no place in the model{_near(name, named)}" for name in surplus]
    wrong += [
        f"{name} has the shape {np.shape(given[name])} where {np.shape(old)} is due"
        for name, old in named.items()
        if name in given and np.shape(given[name]) != np.shape(old)
    ]
    wrong += [
        f"{name} holds {np.asarray(given[name]).dtype} where {old.dtype} is due"
        for name, old in named.items()
        if name in given and _is_float(old) and not _is_float(given[name])
    ]
    if wrong:
        raise ValueError(
            f"weights do not fit the model: {'; '.join(wrong[:5])}{'; …' * (len(wrong) > 5)}. Give the weights "
            "of this "
            "architecture, as a dict where names have to change (see `load_weights`)."
        )
    return {name: jnp.asarray(np.asarray(given[name]), old.dtype) for name, old in named.items()}


def without_wrappers(name: str) -> str:
    """A name in a checkpoint of a wrapped module, as it is without the wrapper."""
    parts = name.replace(".", "/").split("/")
    start = next((i for i, part in enumerate(parts) if part not in WRAPPERS), 0)
    return "/".join(part for part in parts[start:] if part != WRAPPERS[0])


def _placed(given: dict[str, Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """Given arrays by the names of the model: all as they are, without a prefix, or with one, as most of them fit.

    A prefix is a wrapper's, or the first part of the names, as of a model that was saved without its head.
    """

    def fits(names: dict[str, str]) -> int:
        return sum(new in named for new in names.values()) if len(set(names.values())) == len(names) else -1

    bare = {name: without_wrappers(name) for name in given}
    heads = sorted({name.split("/")[0] for name in named if "/" in name})
    common = len({new.split("/")[0] for new in bare.values() if "/" in new}) == 1
    ways = [
        {name: name for name in given},
        bare,
        {name: new.partition("/")[2] or new for name, new in bare.items()} if common else bare,
        *({name: f"{head}/{new}" for name, new in bare.items()} for head in heads),
    ]
    best = max(ways, key=fits)  # the first of equals
    if 2 * fits(best) < len(named):
        return given
    return {best[name]: value for name, value in given.items()}


def _array(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        raise ValueError(f"weights: {name} is a dict; give one array a name, the names joined by '/'.")
    return as_array(value, f"weights: {name}")


def _is_float(array: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(array), jnp.floating)


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
        raise ImportError(f"{path} needs PyTorch; in the clone: pip install '.[torch]'") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling errors of many kinds
        raise ValueError(
            f"load_weights: {path} is not a file of plain tensors ({str(error).splitlines()[0]}); "
            "write it with torch.save(model.state_dict(), path)."
        ) from None
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"load_weights: {path} is no state dict; write it with torch.save(model.state_dict(), path).")
    return {name: np.asarray(as_array(tensor, str(name))) for name, tensor in state.items()}


READERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    ".safetensors": _safetensors, ".npz": _npz, ".pt": _torch, ".pth": _torch, ".bin": _torch, ".json": _sharded
}  # fmt: skip
PRETRAINED = (
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"
)  # fmt: skip
"""What `save_pretrained` of the package `transformers` calls its checkpoints."""
WRAPPERS = ("_orig_mod", "module")
"""Names under which torch.compile and data parallelism hold the module they wrap."""
