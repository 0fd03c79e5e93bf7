"""Columns, forms of data and labels, times the functions that take them."""
# ruff: noqa: E501 (tables: a case a line)

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "targets"))
import jax
import test_columns as columns

import slt
from fuzz.case import GOOD, LINEAR, PAIR, Case, X, exact_loss
from slt import estimate, geometry
from slt.targets.networks import mlp_init


def _plain_target() -> slt.Target:
    return slt.loss_target(columns.loss, columns.W, (columns.X, columns.Y), localization=1.0)


def _of(data: Any) -> Any:
    return data() if callable(data) and data is not columns.loss else data


def column_cases() -> Iterator[Case]:
    """Every column and form of `test_columns`, as data of a loss, as test data, for `polish` and for `network`."""
    takers = {
        "loss_target": lambda data: slt.loss_target(columns.loss, columns.W, data),
        "test_data": lambda data: _plain_target().read(data),
        "polish": lambda data: slt.polish(columns.loss, columns.W, data, adam_steps=1, lbfgs_steps=1),
        "network": lambda data: geometry.network(lambda w, r: jnp.ones((3, 2)), lambda z, r: z[:, 0], columns.W, data),
    }
    for name, (data, _) in columns.REFUSED.items():
        if "row" in name.split() and "one" in name.split():
            continue
        for taker, call in takers.items():
            if taker == "network" and name in ("int64", "negative int64", "uint64", "int64 on disk", "time stamps",
                                               "integer time stamps", "tiny", "float64 beyond float32"):  # fmt: skip
                continue  # it computes in 64 bits
            yield Case("column", f"{taker}: {name}", lambda _, c=call, d=data: c(_of(d)), word="data")
    for name, make in columns.RIGHT.items():
        yield Case("form of data", f"loss_target: {name}", lambda _, m=make: _loss_of(m()), columns.EXACT)
        if name not in ("mapping that is no dict", "npz file", "list of dicts", "memory maps", "namedtuple"):
            yield Case("form of data", f"test_data: {name}", lambda _, m=make: _test_loss(m()), columns.EXACT)


def _loss_of(data: Any) -> float:
    return slt.loss_target(columns.loss, columns.W, data).loss_at_minimum


def _test_loss(data: Any) -> float:
    return float(np.mean(_plain_target().read(data)[1][1]))


LABELS = {
    "one class too many": np.where(np.arange(12) == 4, 2, GOOD),
    "-1": np.where(np.arange(12) == 4, -1, GOOD),
    "-100": np.where(np.arange(12) == 4, -100, GOOD),
    "from 1": GOOD + 1,
    "floats": GOOD.astype(np.float32),
    "shape (n, 1)": GOOD[:, None],
    "one-hot": np.eye(2)[GOOD],
    "one-hot integers": np.eye(2, dtype=int)[GOOD],
    "text": GOOD.astype(str),
    "NaN": np.where(np.arange(12) == 4, np.nan, GOOD),
    "2**32 + 1": GOOD.astype(np.int64) + 2**32,
    "too few": GOOD[:7],
    "none": GOOD[:0],
    "int8 of 200": np.full(12, 200, np.uint8).astype(np.int8),
    "one number": np.array(1),
    "complex": GOOD + 1j,
    "dates": GOOD.astype("M8[s]"),
}
FINE = {"int8": GOOD.astype(np.int8), "uint8": GOOD.astype(np.uint8), "bool": GOOD.astype(bool), "int64": GOOD.astype(np.int64),
        "uint64": GOOD.astype(np.uint64), "big-endian": GOOD.astype(">i4")}  # fmt: skip


def mlp() -> dict:
    params = mlp_init(jax.random.key(0), (3, 2))
    return {"layer_0": {"weight": jnp.asarray(PAIR[1]["w"]), "bias": params["layer_0"]["bias"]}}


def label_cases() -> Iterator[Case]:
    takers = {
        "model_target(Equinox)": lambda y: slt.model_target(LINEAR, "cross_entropy", (X, y)),
        "model_target(pair)": lambda y: slt.model_target(PAIR, "cross_entropy", {"inputs": X, "targets": y}),
        "mlp_subject": lambda y: estimate.mlp_subject(mlp(), {"inputs": X, "targets": y}),
        "mlp_network": lambda y: geometry.mlp_network(mlp(), {"inputs": X, "targets": y}),
    }
    for name, labels in LABELS.items():
        for taker, call in takers.items():
            yield Case("labels", f"{taker}: {name}", lambda _, c=call, y=labels: c(y))
    exact = exact_loss()
    for name, labels in FINE.items():
        yield Case("labels", f"model_target(pair): {name}",
                   lambda _, y=labels: slt.model_target(PAIR, "cross_entropy", (X, y)).loss_at_minimum, exact)  # fmt: skip
        yield Case("labels", f"mlp_subject: {name}",
                   lambda _, y=labels: estimate.mlp_subject(mlp(), {"inputs": X, "targets": y}).target.loss_at_minimum,
                   exact)  # fmt: skip
