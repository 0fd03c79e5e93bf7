"""Every command on bad files, in process."""
# ruff: noqa: E501 (tables: a case a line)

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fuzz.case import GOOD, Case, X, saved, written
from fuzz.data import LABELS
from slt.app.cli import main
from slt.targets.networks import mlp_init, save_checkpoint


def _network(folder: Path, metadata: dict | None = None, widths: tuple = (3, 4, 2)) -> Path:
    base = {"widths": list(widths), "activation": "tanh", "loss": "cross_entropy", "data": "data.npz"}
    save_checkpoint(folder / "net_1.safetensors", mlp_init(jax.random.key(0), widths), base | (metadata or {}))
    return folder / "net_1.safetensors"


def _with_data(metadata: dict | None = None, widths: tuple = (3, 4, 2), **arrays: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        np.savez(folder / "data.npz", **({"inputs": X, "targets": GOOD} | arrays))
        return _network(folder, metadata, widths)

    return write


def _toml(text: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        _with_data()(folder)
        (folder / "run.toml").write_text(text)
        return folder / "run.toml"

    return write


MODEL = '[model]\ncheckpoint = "net_1.safetensors"\n'
SOURCES: dict[str, Callable[[Path], Path]] = {
    **{f"labels: {name}": _with_data(targets=labels) for name, labels in LABELS.items() if name != "one-hot integers"},
    "inputs: wrong width": _with_data(inputs=X[:, :2]),
    "inputs: images": _with_data(inputs=X.reshape(12, 3, 1)),
    "inputs: text": _with_data(inputs=X.astype(str)),
    "inputs: NaN": _with_data(inputs=X * np.nan),
    "inputs: one number": _with_data(inputs=np.array(1.0)),
    "inputs: complex": _with_data(inputs=X * 1j),
    "inputs: time stamps": _with_data(inputs=1.7e9 + X.astype(float)),
    "data: no npz": lambda folder: [_network(folder), (folder / "data.npz").write_text("a")][0],
    "data: nowhere": _network,
    "data: a number": _with_data({"data": 3}),
    "metadata: no activation": _with_data({"activation": None}),
    "metadata: unknown activation": _with_data({"activation": "swish"}),
    "metadata: list of activations": _with_data({"activation": ["tanh"]}),
    "metadata: unknown loss": _with_data({"loss": "hinge"}),
    "metadata: widths are text": _with_data({"widths": "3,4,2"}),
    "metadata: other widths": _with_data({"widths": [3, 5, 2]}),
    "metadata: scale is text": _with_data({"scale": "a"}),
    "metadata: num_test too large": _with_data({"num_test": 99}),
    "metadata: weight decay is text": _with_data({"weight_decay": "a"}),
    "metadata: split seed": _with_data({"split_seed": 2**40}),
    "one output": _with_data(widths=(3, 4, 1)),
    "foreign names": saved("a.safetensors", **{"0.weight": np.ones((2, 3), np.float32)}),
    "foreign, told of data": lambda folder: [_with_data()(folder), saved("a.safetensors", {"data": '"data.npz"', "loss": '"cross_entropy"'}, w=X)(folder)][1],
    "foreign .pt": written("a.pt", b"PK"),
    "array below an array": saved("a.safetensors", **{"layer_0": X, "layer_0/weight": X}),
    "empty checkpoint": written("a.safetensors", b""),
    "empty TOML": _toml(""),
    "no TOML": _toml("[model"),
    "deep TOML": _toml("a = " + "[" * 5000 + "]" * 5000),
    "not UTF-8": lambda folder: written("run.toml", b"\xff\xfe")(folder),
    "section is a number": _toml("model = 3"),
    "section is a list": _toml("[[model]]\ncheckpoint = 'a'"),
    "unknown section": _toml(MODEL + "[posterio]\n"),
    "unknown key": _toml(MODEL + "[run]\nchain = 4\n"),
    "checkpoint is a number": _toml("[model]\ncheckpoint = 3\n"),
    "checkpoint nowhere": _toml('[model]\ncheckpoint = "nowhere.safetensors"\n'),
    "two models": _toml(MODEL + 'builtin = "x2y2"\n'),
    "unknown potential": _toml('[model]\nbuiltin = "nowhere"\n[posterior]\ninverse_temperature = 10\n'),
    "negative gamma": _toml(MODEL + "[posterior]\nlocalization = -1\n"),
    "text gamma": _toml(MODEL + '[posterior]\nlocalization = "a"\n'),
    "NaN beta": _toml(MODEL + "[posterior]\ninverse_temperature = nan\n"),
    "infinite beta": _toml(MODEL + "[posterior]\ninverse_temperature = inf\n"),
    "no such leaf": _toml(MODEL + '[posterior]\nparameters = ["layer_9/*"]\n'),
    "slice that does not fit": _toml(MODEL + '[posterior]\nparameters = ["layer_0/weight[9:12]"]\n'),
    "large seed": _toml(MODEL + f"[run]\nseed = {10**30}\n"),
    "odd chains": _toml(MODEL + "[run]\nchains = 3\n"),
    "zero tolerance": _toml(MODEL + "[run]\ntolerance = 0\n"),
    "unknown sampler": _toml(MODEL + '[run]\nsampler = "gibbs"\n'),
    "a folder": lambda folder: folder / "x.toml",
    "another suffix": written("a.yaml", b""),
}  # fmt: skip
COMMANDS = ("estimate", "criteria", "compare", "volume", "calibrate", "free-energy", "series", "bound", "influence")
ONLY = {
    "series": ("a folder", "empty TOML", "no TOML", "deep TOML", "not UTF-8", "section is a number", "another suffix"),
    "bound": ("a folder", "empty TOML", "no TOML", "deep TOML", "not UTF-8", "section is a number", "unknown section"),
    "influence": ("inputs: text", "data: nowhere", "metadata: no activation", "unknown key", "unknown potential"),
}
"""Commands that read another configuration: what of the sources is bad for them too."""
RUN = ("no such leaf", "slice that does not fit", "odd chains", "zero tolerance", "unknown sampler")
"""What only `estimate` and `criteria` look at."""


def command_cases() -> Iterator[Case]:
    for source, make in SOURCES.items():
        for command in COMMANDS:
            if command in ONLY and source not in ONLY[command]:
                continue
            if source in RUN and command not in ("estimate", "criteria"):
                continue
            yield Case(f"slt {command}", source, lambda folder, c=command, m=make: _run(c, str(m(folder)), folder))
    usage = {
        "no command": ["estimat"], "no argument": ["estimate"], "unknown option": ["estimate", "a.toml", "--nowhere"],
        "seed": ["estimate", "a.toml", "--seed", "a"], "negative seed": ["compare", "x2y2", "--seed", "-1"],
        "measures": ["compare", "x2y2", "--measures", "nowhere"], "subject": ["compare", "nowhere"],
        "suite": ["validate", "--suite", "medium"], "cases": ["validate", "--cases", "nowhere"], "seeds": ["validate", "--seeds", "0"],
        "polynomial": ["exact", "sin(x)"], "at": ["exact", "x", "--at", "x:1"], "weight": ["exact", "x**2", "--weight", "x=-2"],
        "report": ["report", "nowhere.zarr"], "report of a picture": ["report", "a.png"], "threshold": ["volume", "x.toml", "--threshold", "a"],
    }  # fmt: skip
    for name, args in usage.items():
        yield Case("usage", name, lambda folder, a=args: _run(*a, folder=folder, output=False))


def _run(*args: Any, folder: Path | None = None, output: bool = True) -> None:
    """Exit code 2 and a paragraph become a ValueError; the paragraph is its message."""
    args, folder = (args[:-1], args[-1]) if folder is None else (args, folder)
    extra = ["--output", str(folder / "out.nc")] if output and args[0] not in ("volume", "calibrate") else []
    error = (folder / "stderr").open("w+")
    with contextlib.redirect_stderr(error), contextlib.redirect_stdout(error):
        try:
            main([*args, *extra])
        except SystemExit as stop:
            code = stop.code
    error.seek(0)
    text = " ".join(error.read().split())
    if code == 2:
        raise ValueError(text)
    raise AssertionError(f"exit code {code}: {text}")
