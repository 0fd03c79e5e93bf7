from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from slt.targets.data import load_digits
from slt.targets.networks import (
    accuracy,
    cross_entropy,
    load_checkpoint,
    mlp_apply,
    mlp_init,
    mlp_loss,
    regularised,
    save_checkpoint,
    squared_error,
    train,
)

DATA = Path(__file__).parents[2] / "data"


def test_initial_weights_have_variance_one_over_fan_in_and_differ_between_layers():
    params = mlp_init(jax.random.key(0), (100, 100, 100))
    first, second = (np.asarray(params[f"layer_{i}"]["weight"]) for i in range(2))
    for weight in (first, second):  # the variance of 10^4 normals is known to 1.4 %
        assert weight.var() * 100 == pytest.approx(1, abs=0.08)
    assert not np.allclose(first, second)
    assert not np.any(params["layer_0"]["bias"])


def test_apply_is_the_formula_by_hand():
    params = {"layer_0": {"weight": jnp.array([[1.0, -2.0]]), "bias": jnp.array([0.5, 0.0])},
              "layer_1": {"weight": jnp.array([[1.0], [3.0]]), "bias": jnp.array([-1.0])}}  # fmt: skip
    x = jnp.array([[0.3], [-0.7]])
    want = np.tanh(x + 0.5) + 3 * np.tanh(-2 * x) - 1
    np.testing.assert_allclose(mlp_apply(params, x), want, rtol=1e-6)
    np.testing.assert_allclose(
        mlp_apply(params, x, "relu"), np.maximum(x + 0.5, 0) + 3 * np.maximum(-2 * x, 0) - 1, rtol=1e-6
    )
    np.testing.assert_allclose(mlp_apply(params, x, "identity"), -5 * x - 0.5, rtol=1e-5)


def test_eleven_layers_are_applied_in_order():
    params = mlp_init(jax.random.key(1), [2] * 12)
    want = np.eye(2)
    for i in range(11):
        want = want @ np.asarray(params[f"layer_{i}"]["weight"])
    np.testing.assert_allclose(mlp_apply(params, jnp.eye(2), "identity"), want, rtol=1e-3, atol=1e-6)


def test_losses_are_negative_log_densities():
    logits, labels = jax.random.normal(jax.random.key(0), (5, 3)), jnp.array([0, 1, 2, 0, 1])
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(cross_entropy(logits, labels), -np.log(probabilities[np.arange(5), labels]), rtol=1e-5)
    y, f = np.random.default_rng(0).normal(size=(2, 5, 3))
    want = -stats.norm.logpdf(y, f).sum(1) - 1.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(squared_error(jnp.asarray(f), jnp.asarray(y)), want, rtol=1e-4)


def test_one_output_is_compared_with_its_own_target_whatever_the_axes():
    """Not with every target of the batch, to which (n, 1) and (n,) would spread."""
    f, y = jnp.arange(3.0), jnp.array([1.0, 3.0, 5.0])
    for outputs in (f, f[:, None]):
        for targets in (y, y[:, None]):
            np.testing.assert_allclose(squared_error(outputs, targets), [0.5, 2.0, 4.5])
    with pytest.raises(ValueError, match=r"outputs have shape \(3, 2\) and the targets \(3,\)"):
        squared_error(jnp.zeros((3, 2)), y)


def test_a_label_that_is_no_class_has_no_loss():
    losses = cross_entropy(jnp.zeros((3, 4)), jnp.array([-1, 4, 3]))
    np.testing.assert_array_equal(jnp.isnan(losses), [True, True, False])
    assert accuracy(jnp.eye(4)[:, :3], jnp.array([0, 1, 1, 0])) == 0.75


def test_training_reaches_the_ridge_solution():
    key = jax.random.key(0)
    inputs = jax.random.normal(key, (200, 3))
    targets = inputs @ jnp.array([[1.0], [-2.0], [0.5]]) + 0.3
    loss = mlp_loss("identity", "squared_error")
    params = train(
        key, mlp_init(key, (3, 1)), loss, {"inputs": inputs, "targets": targets},
        steps=2000, batch_size=200, learning_rate=0.05, weight_decay=0.1,
    )  # fmt: skip
    design = np.column_stack([inputs, np.ones(200)])
    want = np.linalg.solve(design.T @ design / 200 + 0.1 * np.eye(4), design.T @ np.asarray(targets) / 200)
    have = np.concatenate([params["layer_0"]["weight"], params["layer_0"]["bias"][None]])
    np.testing.assert_allclose(have, want, atol=0.05)  # batches with replacement leave some noise


def test_a_checkpoint_round_trip_is_exact(tmp_path):
    params = mlp_init(jax.random.key(0), (4, 3, 2))
    metadata = {"widths": [4, 3, 2], "activation": "relu", "loss": "squared_error", "data": "a.npz", "split_seed": 3}
    save_checkpoint(tmp_path / "a.safetensors", params, metadata)
    again, read = load_checkpoint(tmp_path / "a.safetensors")
    assert read == metadata
    assert jax.tree.structure(again) == jax.tree.structure(params)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, again, params)))
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_the_shipped_classifier_is_as_described():
    params, metadata = load_checkpoint(DATA / "digits_mlp.safetensors")
    data = load_digits(DATA / metadata["data"], seed=metadata["split_seed"])
    loss = mlp_loss(metadata["activation"], metadata["loss"])
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 2410
    assert float(jnp.mean(loss(params, data.train))) == pytest.approx(0.0322, abs=5e-4)
    assert float(accuracy(mlp_apply(params, data.test["inputs"]), data.test["targets"])) > 0.98
    gradient = jax.grad(regularised(loss, metadata["weight_decay"]))(params, data.train)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient)) < 1e-5


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_checkpoint_is_named(tmp_path, keep):
    path = tmp_path / "a.safetensors"
    path.write_bytes((DATA / "digits_mlp.safetensors").read_bytes()[:keep])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load_checkpoint(path)


def test_wrong_checkpoints_are_named(tmp_path):
    path, params = tmp_path / "a.safetensors", mlp_init(jax.random.key(0), (4, 3, 2))
    with pytest.raises(FileNotFoundError, match="no file"):
        load_checkpoint(path)
    path.write_text("not a checkpoint, but long enough to have a header")
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load_checkpoint(path)
    save_checkpoint(path, params, {"widths": [4, 5, 2]})
    with pytest.raises(ValueError, match=r"layer_0/weight has shape \(4, 3\) where \(4, 5\) is due"):
        load_checkpoint(path)
    save_checkpoint(path, params, {"widths": [4, 3, 2, 1]})
    with pytest.raises(ValueError, match=r"layer_2/bias has shape None where \(1,\)"):
        load_checkpoint(path)
    save_checkpoint(path, jax.tree.map(lambda x: x / 0, params), {})
    with pytest.raises(ValueError, match="NaN or infinity in layer_0/bias"):
        load_checkpoint(path)


def test_other_wrong_calls(tmp_path):
    params = mlp_init(jax.random.key(0), (2, 2))
    with pytest.raises(ValueError, match="at least two"):
        mlp_init(jax.random.key(0), (3,))
    with pytest.raises(ValueError, match="at least 1"):
        mlp_init(jax.random.key(0), (3, 0))
    with pytest.raises(ValueError, match="choose one of tanh"):
        mlp_apply(params, jnp.ones((1, 2)), "tan")
    with pytest.raises(ValueError, match="choose from cross_entropy"):
        mlp_loss("tanh", "hinge")
    with pytest.raises(ValueError, match="rename it"):
        save_checkpoint(tmp_path / "a", {"a/b": jnp.ones(1)}, {})
    with pytest.raises(ValueError, match="a is a list"):
        save_checkpoint(tmp_path / "a", {"a": [1.0]}, {})
