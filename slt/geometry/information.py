r"""Where a network loses information about its inputs, and what that costs in rank.

Inputs i and j *merge* after layer l where their activations coincide; every later parameter then has the same gradient
for both, so the row combination e_i - e_j of G vanishes on those columns. Where it vanishes on the earlier columns, too
(dead ReLUs, few parameters), the rank of G is lower by it, and the layer where they merged explains that.

Source: V. Hebbar 2022, "Information Loss → Basin flatness".
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from slt._types import Params
from slt.geometry.behaviour import behavioural_gradients
from slt.geometry.operators import Network, cast, leaf_slices, precision
from slt.geometry.rank import numerical_rank
from slt.targets.networks import ACTIVATIONS


class Layer(NamedTuple):
    """One layer of a net.

    distinct: inputs that differ after it. dead: its units that give zero for every input.
    rank: of the gradients of its own parameters; rank_from: of this and all later layers; rank_after: of later ones.
    gradients_after: largest difference of merged inputs' gradients in later parameters, relative (0 by the claim);
    gradients_before: the same up to this layer (not 0: the rank survives; 0: it is lost).
    explained: rank deficit explained by inputs that merge here.
    bound: (live parameters up to here) + outputs * distinct: rank G cannot exceed it.
    """

    name: str
    distinct: int
    dead: int
    rank: int
    rank_from: int
    rank_after: int
    gradients_after: float
    gradients_before: float
    explained: int
    bound: int


class InformationLoss(NamedTuple):
    """rank: of G; deficit: min(outputs, parameters) - rank; live: parameters with any gradient at all.

    explained: by merged inputs, of all layers. dead: by fewer live parameters than outputs, beyond that.
    """

    layers: tuple[Layer, ...]
    rank: int
    num_outputs: int
    num_params: int
    live: int
    deficit: int
    explained: int
    dead: int


def mlp_activations(
    params: Params, inputs: Float[np.ndarray, "batch features"], activation: str
) -> list[Float[np.ndarray, "batch units"]]:
    """Activations after every layer, the outputs last, in float64."""
    with precision(np.float64):
        hidden, after = cast(inputs, np.float64), []
        for i in range(len(params)):
            layer = cast(params[f"layer_{i}"], np.float64)
            hidden = hidden @ layer["weight"] + layer["bias"]
            hidden = hidden if i == len(params) - 1 else ACTIVATIONS[activation](hidden)
            after.append(np.asarray(hidden))
    return after


def information_loss(subject: Network, *, activation: str, tolerance: float = 1e-10) -> InformationLoss:
    """The rank deficit of a fully connected net, layer by layer.

    Args:
        subject: from `mlp_network`, with data {"inputs", ...}.
        activation: that of the net.
        tolerance: activations this close, relative to the largest of the layer, coincide.
    """
    gradients = behavioural_gradients(subject)
    inputs = np.asarray(subject.data["inputs"])
    after = mlp_activations(subject.params, inputs, activation)
    names = [f"layer_{i}" for i in range(len(after))]
    columns = leaf_slices(subject.params, names)
    num_outputs = gradients.shape[0] // len(inputs)
    by_row = gradients.reshape(len(inputs), num_outputs, -1)
    alive = np.any(gradients != 0, axis=0)
    layers, explained = [], 0
    for i, name in enumerate(names):
        early, late = (
            np.concatenate([columns[n] for n in part] or [np.zeros(0, int)])
            for part in (names[: i + 1], names[i + 1 :])
        )
        groups = _groups(after[i], tolerance)
        total = _explained(by_row, groups)
        own = np.concatenate([columns[name], late])
        layers.append(
            Layer(
                name, len(set(groups)), int(np.sum(np.all(after[i] == 0, axis=0))),
                _rank(gradients[:, columns[name]]), _rank(gradients[:, own]), _rank(gradients[:, late]),
                _difference(by_row[..., late], groups), _difference(by_row[..., early], groups),
                total - explained, int(np.sum(alive[early])) + num_outputs * len(set(groups)),
            )
        )  # fmt: skip
        explained = total
    rank = _rank(gradients)
    deficit = min(gradients.shape) - rank
    dead = max(0, min(gradients.shape) - explained - int(alive.sum()))
    return InformationLoss(
        tuple(layers), rank, gradients.shape[0], gradients.shape[1], int(alive.sum()), deficit, explained,
        min(dead, deficit - explained),
    )  # fmt: skip


def _rank(matrix: np.ndarray) -> int:
    return numerical_rank(np.ascontiguousarray(matrix)).rank if matrix.size else 0


def _groups(activations: np.ndarray, tolerance: float) -> np.ndarray:
    """For every input the first one whose activations coincide with its own."""
    scale = max(float(np.max(np.abs(activations))), 1e-300)
    distance = np.max(np.abs(activations[:, None] - activations[None]), axis=-1)
    return np.argmax(distance <= tolerance * scale, axis=1)


def _explained(by_row: np.ndarray, groups: np.ndarray) -> int:
    """Dimension of the row combinations of merged inputs that vanish on all of G: their number minus their rank."""
    merged = np.flatnonzero(groups != np.arange(len(groups)))
    if merged.size == 0:
        return 0
    differences = (by_row[merged] - by_row[groups[merged]]).reshape(-1, by_row.shape[-1])
    size = max(float(np.max(np.abs(by_row))), 1e-300)
    differences = np.where(np.abs(differences) < 1e-12 * size, 0.0, differences)
    return differences.shape[0] - _rank(differences)


def _difference(by_row: np.ndarray, groups: np.ndarray) -> float:
    """Largest difference of gradients inside a group, relative to the largest gradient."""
    size = max(float(np.max(np.abs(by_row), initial=0.0)), 1e-300)
    return float(np.max(np.abs(by_row - by_row[groups]), initial=0.0)) / size
