"""Data of the package `datasets`: the package itself where it is installed, elsewhere a stand-in with what we call."""

import importlib.util

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import slt
from slt.targets.rows import as_rows

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 4)), RNG.integers(0, 3, 60)
INSTALLED = importlib.util.find_spec("datasets") is not None
if INSTALLED:
    import datasets

    # the folder tests/torch, on the path of the tests, looks like an empty package of that name
    datasets.config.TORCH_AVAILABLE &= getattr(importlib.util.find_spec("torch"), "origin", None) is not None
real = pytest.mark.skipif(not INSTALLED, reason="what only the package datasets itself does")


class StandIn:
    """Columns of Python numbers, as arrays of their own precision where dtype=None asks for it."""

    def __init__(self, columns):
        self.columns = columns
        self.column_names = list(columns)

    def with_format(self, kind, dtype=np.float32):
        assert kind == "numpy"
        return StandIn({name: self._array(column, dtype) for name, column in self.columns.items()})

    @staticmethod
    def _array(column, dtype):
        kinds = {len(row) if isinstance(row, list) else 0 for row in column}
        return np.asarray(column, object if len(kinds) > 1 else dtype)

    def __len__(self):
        return len(self.columns[self.column_names[0]])

    def __getitem__(self, key):
        return self.columns if key == slice(None) else self.columns[key]


def dataset(**columns):
    return datasets.Dataset.from_dict(columns) if INSTALLED else StandIn(columns)


def whole():
    return dataset(inputs=X.tolist(), targets=Y.tolist())


def test_columns_keep_their_precision():
    rows = as_rows(whole())
    np.testing.assert_array_equal(rows["inputs"], X)
    np.testing.assert_array_equal(rows["targets"], Y)
    assert rows["inputs"].dtype == np.float64


def test_columns_without_numbers_or_of_unequal_rows_are_named():
    with pytest.raises(ValueError, match="columns text, words have rows of unequal shape"):
        as_rows(dataset(x=[1.0, 2.0], text=["a", "bc"], words=[[1, 2], [1]]))


def cross_entropy(logits, rows):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.asarray(rows["targets"])[:, None], 1)[:, 0]


def draw(target):
    starts = jax.tree.map(lambda a: jnp.stack([a, a]), target.minimum)
    kernel = slt.sgld(target.energy, step_size=1e-3)
    options = {"observe": target.loss, "num_draws": 10, "batch_size": 20}
    return slt.sample(jax.random.key(2), kernel, starts, target.data, **options).loss


@pytest.mark.parametrize("kind", ["loss", "model"])
def test_a_target_is_that_of_the_arrays_in_loss_gradient_and_draws(kind):
    net = eqx.nn.MLP(4, 3, 5, 1, key=jax.random.key(0))
    weight = jax.random.normal(jax.random.key(1), (4, 3))

    def build(data):
        if kind == "model":
            return slt.model_target(net, "cross_entropy", data, localization=1.0)
        return slt.loss_target(lambda w, rows: cross_entropy(rows["inputs"] @ w, rows), weight, data, localization=1.0)

    left, right = build({"inputs": X, "targets": Y}), build(whole())
    assert left.loss_at_minimum == right.loss_at_minimum
    gradients = [jax.grad(target.energy)(target.minimum, target.data) for target in (left, right)]
    jax.tree.map(np.testing.assert_array_equal, *gradients)
    draws = [draw(target) for target in (left, right)]
    assert np.ptp(draws[0]) > 0
    np.testing.assert_array_equal(*draws)


@real
def test_a_stream_a_selection_and_a_column_are_rows():
    stream = as_rows(whole().to_iterable_dataset())
    np.testing.assert_array_equal(stream["inputs"], X)
    np.testing.assert_array_equal(as_rows(whole().select(range(7)))["targets"], Y[:7])
    np.testing.assert_array_equal(as_rows(whole()["inputs"]), X)


@real
def test_splits_must_be_chosen():
    with pytest.raises(ValueError, match=r"splits \(train, test\); give one, such as data\['train'\]"):
        as_rows(datasets.DatasetDict(train=whole(), test=whole()))
