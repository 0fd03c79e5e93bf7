"""Models, their outputs, losses, parameters and weights."""
# ruff: noqa: E501, E731 (tables: a case a line)

import json
from collections.abc import Iterator

import equinox as eqx
import jax.numpy as jnp
import numpy as np

import slt
from fuzz.case import GOOD, LINEAR, PAIR, Case, X, exact_loss, npz, saved, written


def model_cases() -> Iterator[Case]:
    w = PAIR[1]
    outputs = {
        "a tuple": lambda p, x: (x @ p["w"], x),
        "a dict": lambda p, x: {"scores": x @ p["w"]},
        "a single logit": lambda p, x: (x @ p["w"])[:, 0],
        "one class": lambda p, x: (x @ p["w"])[:, :1],
        "None": lambda p, x: None,
        "NaN": lambda p, x: x @ p["w"] * jnp.nan,
        "an error of its own": lambda p, x: 1 / 0,
        "a wrong width": lambda p, x: x @ p["w"].T,
        "a missing parameter": lambda p, x: x @ p["v"],
        "NumPy of a tracer": lambda p, x: np.asarray(x) @ np.asarray(p["w"]),
        "a branch on a value": lambda p, x: x @ p["w"] if p["w"].sum() > 0 else x,
        "all rows at once": lambda p, x: x @ p["w"] - (x @ p["w"]).mean(0),
    }
    for name, apply in outputs.items():
        yield Case("model", f"outputs: {name}", lambda _, a=apply: slt.model_target((a, w), "cross_entropy", (X, GOOD)))
    named = lambda p, x: {"logits": x @ p["w"], "hidden": x}
    yield Case(
        "model",
        "outputs: logits",
        lambda _: slt.model_target((named, w), "cross_entropy", (X, GOOD)).loss_at_minimum,
        exact_loss(),
    )
    models = {"text": "gpt2", "class": eqx.nn.Linear, "None": None, "params alone": w, "three": (*PAIR, 1), "a number": 3,
              "stateful": eqx.nn.make_with_state(Normed)()[0]}  # fmt: skip
    for name, model in models.items():
        yield Case("model", f"model: {name}", lambda _, m=model: slt.model_target(m, "cross_entropy", (X, GOOD)))
    for name, loss in {"unknown": "hinge", "None": None, "number": 3, "total": lambda z, y: jnp.sum(z),
                       "complex": lambda z, y: 1j * z[:, 0], "integer": lambda z, y: jnp.argmax(z, 1),
                       "failing": lambda z, y: z @ y}.items():  # fmt: skip
        yield Case("model", f"loss: {name}", lambda _, one=loss: slt.model_target(PAIR, one, (X, GOOD)))
    params = {"integers": {"w": np.ones((3, 2), int)}, "NaN": {"w": np.full((3, 2), np.nan)}, "text": {"w": "tanh"}, "empty": {},
              "None": None, "complex": {"w": np.ones((3, 2), complex)}, "masked": {"w": np.ma.masked_array(w["w"], w["w"] > 0)},
              "beyond float32": {"w": np.full((3, 2), 1e300)}, "objects": {"w": np.array([[{}] * 2] * 3)},
              "no entries": {"w": np.ones((0, 2))}}  # fmt: skip
    for name, p in params.items():
        yield Case(
            "params", f"model_target: {name}", lambda _, p=p: slt.model_target((PAIR[0], p), "cross_entropy", (X, GOOD))
        )
        yield Case(
            "params",
            f"loss_target: {name}",
            lambda _, p=p: slt.loss_target(lambda p, x: 0.5 * (x @ p["w"]).sum(1), p, X),
        )
        yield Case(
            "params",
            f"potential_target: {name}",
            lambda _, p=p: slt.potential_target(lambda p: jnp.sum(p["w"] ** 2), p, nbeta=1.0),
        )
        yield Case(
            "params",
            f"polish: {name}",
            lambda _, p=p: slt.polish(lambda p, x: 0.5 * (x @ p["w"]).sum(1), p, X, adam_steps=1),
        )


class Normed(eqx.Module):
    norm: eqx.nn.BatchNorm

    def __init__(self):
        self.norm = eqx.nn.BatchNorm(3, axis_name="batch", mode="ema")

    def __call__(self, v, state):
        return self.norm(v, state)


def weight_cases() -> Iterator[Case]:
    w, b = np.asarray(LINEAR.weight), np.asarray(LINEAR.bias)
    given = {
        "missing": {"weight": w},
        "surplus": {"weight": w, "bias": b, "scale": b.copy()},
        "two prefixes": {"model.weight": w, "module.net.bias": b},
        "shape": {"weight": w.T, "bias": b},
        "integers": {"weight": w.astype(np.int8), "bias": b},
        "NaN": {"weight": w * np.nan, "bias": b},
        "text": {"weight": "a", "bias": b},
        "None": {"weight": None, "bias": b},
        "nested": {"linear": {"weight": w, "bias": b}},
        "ragged": {"weight": [[1.0], [1.0, 2.0]], "bias": b},
        "nothing": {},
        "a number": 3,
        "a list": [w, b],
    }
    for name, weights in given.items():
        yield Case("weights", f"names: {name}",
                   lambda _, w=weights: slt.model_target(LINEAR, "cross_entropy", (X, GOOD), weights=w))  # fmt: skip
    for name, make in FILES.items():
        yield Case("weights", f"file: {name}", lambda folder, m=make: slt.targets.load_weights(m(folder)))


FILES = {
    "nowhere": lambda folder: folder / "nowhere.safetensors",
    "a folder": lambda folder: folder,
    "another suffix": written("a.pkl", b""),
    "no suffix": written("weights", b""),
    "empty safetensors": written("a.safetensors", b""),
    "text safetensors": written("a.safetensors", b"hello" * 9),
    "NaN in safetensors": saved("a.safetensors", w=np.array([np.nan], np.float32)),
    "empty npz": written("a.npz", b""),
    "pickled npz": npz("a.npz", w=np.array([{}], object)),
    "json without a map": written("a.index.json", b"{}"),
    "json of a list": written("a.index.json", b"[1]"),
    "no json": written("a.index.json", b"\xff"),
    "index of missing files": written("a.index.json", json.dumps({"weight_map": {"w": "b.safetensors"}}).encode()),
}
