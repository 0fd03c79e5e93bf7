r"""Where a network loses information about its inputs, and what that costs in rank.

Inputs i and j *merge* after layer l where their activations coincide; every later parameter then has the same gradient
for both, so the row combination e_i - e_j of G vanishes on those columns. Where it vanishes on the earlier columns, too
(dead ReLUs, few parameters), the rank of G is lower by it, and the layer where they merged explains that.

Source: V. Hebbar 2022, "Information Loss → Basin flatness".
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.linalg import null_space, orth

from slt._types import Params
from slt.geometry.behaviour import behavioural_gradients
from slt.geometry.operators import Network, cast, leaf_slices, precision
from slt.geometry.rank import numerical_rank
from slt.targets.networks import ACTIVATIONS

BLOCK = 10**7
"""Numbers at a time when activations are compared in pairs."""
MAX_ROWS = 10_000


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

    explained: by merged inputs, of all layers. affine: beyond that, by inputs in one linear region of a ReLU net: with
    the same units on, gradients are affine in the input, so a region of d-dimensional inputs gives d + 1 rows at most.
    Both count dependent rows: where there are more outputs than parameters they may exceed the deficit.
    """

    layers: tuple[Layer, ...]
    rank: int
    num_outputs: int
    num_params: int
    live: int
    deficit: int
    explained: int
    affine: int


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

    Raises:
        ValueError: more than 10,000 rows, or what `behavioural_gradients` refuses.
    """
    inputs = np.asarray(subject.data["inputs"])
    if len(inputs) > MAX_ROWS:
        raise ValueError(
            f"information_loss: {len(inputs):,} rows; all pairs are compared, up to {MAX_ROWS:,} rows. Give a part."
        )
    gradients = behavioural_gradients(subject)
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
        total = _vanishing(by_row, _merged(groups))
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
    combinations = _merged(_groups(after[-2], tolerance)) if len(after) > 1 else []
    if activation in ("relu", "identity"):
        combinations = [*combinations, *_affine(inputs, after[:-1])]
    rank = _rank(gradients)
    return InformationLoss(
        tuple(layers), rank, gradients.shape[0], gradients.shape[1], int(alive.sum()), min(gradients.shape) - rank,
        explained, max(0, _vanishing(by_row, combinations) - explained),
    )  # fmt: skip


def _rank(matrix: np.ndarray) -> int:
    return numerical_rank(np.ascontiguousarray(matrix)).rank if matrix.size else 0


def _groups(activations: np.ndarray, tolerance: float) -> np.ndarray:
    """For every input the first one whose activations coincide with its own."""
    scale = max(float(np.max(np.abs(activations))), 1e-300)
    rows = max(1, BLOCK // activations.size)
    blocks = [activations[i : i + rows] for i in range(0, len(activations), rows)]
    near = (np.max(np.abs(block[:, None] - activations[None]), axis=-1) <= tolerance * scale for block in blocks)
    return np.concatenate([np.argmax(part, axis=1) for part in near])


def _merged(groups: np.ndarray) -> list[np.ndarray]:
    """e_i - e_j of every input i and the first one j it has merged with."""
    unit = np.eye(len(groups))
    return [unit[i] - unit[j] for i, j in enumerate(groups) if i != j]


def _affine(inputs: np.ndarray, hidden: list[np.ndarray]) -> list[np.ndarray]:
    """Combinations of inputs with the same units on that cancel every affine function of the input."""
    patterns = np.concatenate([layer > 0 for layer in hidden], 1) if hidden else np.ones((len(inputs), 1))
    found = []
    for pattern in np.unique(patterns, axis=0):
        members = np.flatnonzero(np.all(patterns == pattern, axis=1))
        features = np.hstack([np.ones((members.size, 1)), np.asarray(inputs[members], np.float64)])
        for combination in null_space(features.T).T:
            found.append(np.zeros(len(inputs)))
            found[-1][members] = combination
    return found


def _vanishing(by_row: np.ndarray, combinations: list[np.ndarray]) -> int:
    """Dimension of the row combinations that vanish on all of G: their number minus the rank they have in it."""
    if not combinations:
        return 0
    basis = orth(np.stack(combinations).T).T
    size = max(float(np.max(np.abs(by_row))), 1e-300)
    rows = np.einsum("ci,iop->cop", basis, by_row).reshape(-1, by_row.shape[-1])
    return rows.shape[0] - _rank(np.where(np.abs(rows) < 1e-10 * size, 0.0, rows))


def _difference(by_row: np.ndarray, groups: np.ndarray) -> float:
    """Largest difference of gradients inside a group, relative to the largest gradient."""
    size = max(float(np.max(np.abs(by_row), initial=0.0)), 1e-300)
    return float(np.max(np.abs(by_row - by_row[groups]), initial=0.0)) / size
