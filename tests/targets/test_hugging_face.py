"""Data of the package `datasets`."""

import datasets
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import slt
from slt.targets.rows import as_rows

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 4)), RNG.integers(0, 3, 60)


def whole():
    return datasets.Dataset.from_dict({"inputs": X.tolist(), "targets": Y.tolist()})


def test_columns_keep_their_precision():
    rows = as_rows(whole())
    np.testing.assert_array_equal(rows["inputs"], X)
    np.testing.assert_array_equal(rows["targets"], Y)
    assert rows["inputs"].dtype == np.float64


def test_columns_without_numbers_or_of_unequal_rows_are_named():
    with pytest.raises(ValueError, match=r"data\['text'\] holds text"):
        as_rows(datasets.Dataset.from_dict({"x": [1.0, 2.0], "text": ["a", "bc"]}))
    ragged = datasets.Dataset.from_dict({"words": [[1, 2], [1]]})
    for form in (ragged, ragged.to_iterable_dataset()):
        with pytest.raises(
            ValueError, match=r"data\['words'\] has rows of unequal shape, \(2,\) in row 0 and \(1,\) in"
        ):
            as_rows(form)


def cross_entropy(logits, rows):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.asarray(rows["targets"])[:, None], 1)[:, 0]


def draw(target):
    starts = jax.tree.map(lambda a: jnp.stack([a, a]), target.minimum)
    kernel = slt.samplers.sgld(target.energy, step_size=1e-3)
    options = {"observe": target.loss, "num_draws": 10, "batch_size": 20}
    return slt.samplers.sample(jax.random.key(2), kernel, starts, target.data, **options).loss


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


def test_a_stream_a_selection_and_a_column_are_rows():
    stream = as_rows(whole().to_iterable_dataset())
    np.testing.assert_array_equal(stream["inputs"], X)
    np.testing.assert_array_equal(as_rows(whole().select(range(7)))["targets"], Y[:7])
    np.testing.assert_array_equal(as_rows(whole()["inputs"]), X)


def test_splits_must_be_chosen():
    with pytest.raises(ValueError, match=r"splits \(train, test\); give one, such as data\['train'\]"):
        as_rows(datasets.DatasetDict(train=whole(), test=whole()))
