r"""Trained networks with more parameters than any closed form reaches, and the $\hat\lambda$ of long exact chains.

A network is its data, made anew from a seed in float64 by NumPy, its loss, and a minimum w* that is kept in
`networks.npz`. References are those of full-batch kinetic Langevin chains at two steps that agree
(`tests/benchmarks/network_references.py`); they are what an estimate from minibatches is to give. To add a network, add
one line to `NETWORKS` and run that script for it.
"""

import itertools
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slt._types import Estimate, Params
from slt.targets.target import Target, loss_target

WEIGHTS, REFERENCES = (Path(__file__).with_name(f"networks.{kind}") for kind in ("npz", "json"))
NOISE = 0.5
"""Standard deviation of the noise of a regression."""

Forward = Callable[[Params, Array], Array]


class Network(NamedTuple):
    """A network and where it was trained.

    init: a generator -> parameters to train from. forward: (parameters, inputs) -> outputs.
    draw: a generator -> inputs and answers of n rows; whole numbers are classes. gammas: localisations that have a
    reference. weight_decay: of training, [nats/datum per squared unit].
    """

    name: str
    formula: str
    init: Callable[[np.random.Generator], Params]
    forward: Forward
    draw: Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]
    gammas: tuple[float, ...]
    weight_decay: float
    seed: int

    @property
    def data(self) -> tuple[Array, Array]:
        """Inputs and answers of all rows."""
        x, y = self.draw(np.random.default_rng([self.seed, 0]))
        return jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32 if y.dtype.kind == "f" else jnp.int32)

    def loss(self, params: Params, rows: tuple[Array, Array]) -> Float[Array, " row"]:
        """Cross-entropy of classes, summed over the tokens of a row, or squared error over twice the noise's variance
        [nats/datum].
        """
        x, y = rows
        out = self.forward(params, x)
        if jnp.issubdtype(y.dtype, jnp.floating):
            return jnp.sum((out - y) ** 2, -1) / (2 * NOISE**2)
        return jax.nn.logsumexp(out, -1) - jnp.take_along_axis(out, y[:, None], -1)[:, 0]

    def minimum(self) -> Params:
        """w*.

        Raises:
            ValueError: it was never trained.
        """
        shapes = self.init(np.random.default_rng([self.seed, 1]))
        leaves, tree = jax.tree.flatten(shapes)
        with np.load(WEIGHTS) as kept:
            if self.name not in kept:
                raise ValueError(f"{self.name} has no trained weights; run tests/benchmarks/network_references.py.")
            flat = np.split(kept[self.name], np.cumsum([leaf.size for leaf in leaves])[:-1])
        return jax.tree.unflatten(
            tree, [jnp.asarray(w.reshape(leaf.shape)) for w, leaf in zip(flat, leaves, strict=True)]
        )

    def target(self, localization: float) -> Target:
        """Its posterior around w* at beta = 1/log n."""
        return loss_target(
            self.loss, self.minimum(), self.data, localization=localization, weight_decay=self.weight_decay
        )


class Reference(NamedTuple):
    r"""The $\hat\lambda$ of long full-batch chains, pooled over two steps.

    estimate: with its error. steps: both time steps h. gap: of both estimates, in its errors. adjusted: that of a
    Metropolis-adjusted run, where there is one. virial: E[grad U . (w - w*)]/d. ess: independent draws.
    """

    estimate: Estimate
    steps: tuple[float, float]
    gap: float
    adjusted: Estimate | None
    virial: float
    ess: float


def networks() -> MappingProxyType[str, Network]:
    """All networks by name, read-only."""
    return MappingProxyType({network.name: network for network in NETWORKS})


@cache
def references() -> dict[tuple[str, float], Reference]:
    """By network and localisation; errors times the root mean square of all gaps, where that is above 1."""
    found: dict[tuple[str, float], Reference] = {}
    rows = json.loads(REFERENCES.read_text())
    scale = max(1.0, float(np.sqrt(np.mean([row["gap"] ** 2 for row in rows]))))
    for row in rows:
        adjusted = row["adjusted"] and Estimate(*row["adjusted"])
        found[row["network"], row["gamma"]] = Reference(
            Estimate(row["estimate"][0], scale * row["estimate"][1]), tuple(row["steps"]), row["gap"], adjusted,
            row["virial"], row["ess"],
        )  # fmt: skip
    return found


def _mlp(widths: list[int], activation: Callable) -> tuple[Callable, Forward]:
    """Init and forward of a multilayer perceptron."""

    def init(rng: np.random.Generator) -> Params:
        return [_dense(rng, a, b) for a, b in itertools.pairwise(widths)]

    def forward(params: Any, x: Array) -> Array:
        for weight, bias in params[:-1]:
            x = activation(x @ weight + bias)
        return x @ params[-1][0] + params[-1][1]

    return init, forward


def _dense(rng: np.random.Generator, inputs: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    weight = rng.standard_normal((inputs, outputs)) * (1.5 / inputs) ** 0.5
    return weight.astype(np.float32), np.zeros(outputs, np.float32)


def _teacher(rng: np.random.Generator, x: np.ndarray, outputs: int) -> np.ndarray:
    """A random net of 24 tanh units, outputs of about unit variance."""
    first = rng.standard_normal((x.shape[1], 24)) * (2 / x.shape[1]) ** 0.5
    return np.tanh(x @ first) @ rng.standard_normal((24, outputs)) / 24**0.5 * 1.5


def _sampled(rng: np.random.Generator, logits: np.ndarray) -> np.ndarray:
    return np.argmax(logits + rng.gumbel(size=logits.shape), -1)


def _classes(n: int, inputs: int, classes: int, sharpness: float = 3.0) -> Callable:
    """Normal inputs, classes drawn from a teacher's softmax."""

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        x = rng.standard_normal((n, inputs))
        return x, _sampled(rng, sharpness * _teacher(rng, x, classes))

    return draw


def _regression(n: int, inputs: int, outputs: int) -> Callable:
    """Normal inputs, a teacher's outputs with normal noise."""

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        x = rng.standard_normal((n, inputs))
        mean = _teacher(rng, x, outputs)
        return x, mean + NOISE * rng.standard_normal(mean.shape)

    return draw


def _net(
    seed: int, name: str, formula: str, parts: tuple[Callable, Forward], draw: Callable, *gammas: float
) -> Network:
    """Trained with a weight decay of 1e-3."""
    return Network(name, formula, *parts, draw, gammas, 1e-3, seed)


NETWORKS = (
    _net(1, "tanh_classes", "20-44-44-10 tanh", _mlp([20, 44, 44, 10], jnp.tanh), _classes(4000, 20, 10), 10.0, 100.0),
    _net(2, "gelu_wide", "20-120-8 GELU", _mlp([20, 120, 8], jax.nn.gelu), _classes(6000, 20, 8), 1.0, 10.0),
    _net(3, "relu_deep", "16-32-32-32-32-6 ReLU", _mlp([16, *[32] * 4, 6], jax.nn.relu), _classes(6000, 16, 6), 100.0),
    _net(4, "tanh_regression", "8-56-48-2 tanh", _mlp([8, 56, 48, 2], jnp.tanh), _regression(5000, 8, 2), 100.0),
    _net(5, "gelu_regression", "10-36-36-36-1 GELU", _mlp([10, *[36] * 3, 1], jax.nn.gelu), _regression(4000, 10, 1),
         100.0),
    _net(6, "relu_regression", "12-200-4 ReLU", _mlp([12, 200, 4], jax.nn.relu), _regression(8000, 12, 4), 100.0),
    _net(9, "tanh_many_rows", "24-48-48-5 tanh", _mlp([24, 48, 48, 5], jnp.tanh), _classes(20_000, 24, 5), 10.0),
)  # fmt: skip
