"""Losses that depend on other rows, and parameters on which the loss depends without a gradient, are refused."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import slt
from slt.targets.dependence import check_potential
from slt.targets.networks import save_checkpoint

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 2)).astype(np.float32)
Y = RNG.normal(size=60).astype(np.float32)
LABELS = (RNG.uniform(size=60) < 0.5).astype(np.int32)
PARAMS = {"a": jnp.array([0.7, -0.4]), "b": jnp.array([[0.3, 0.8], [-0.6, 0.5]])}


def linear(w, rows):
    return rows[0] @ w["a"] - rows[1] + jnp.sum(jnp.tanh(rows[0] @ w["b"]), 1)


ACROSS_ROWS = {
    "batch mean": lambda w, r: 0.5 * (linear(w, r) - jnp.mean(linear(w, r))) ** 2,
    "batch deviation": lambda w, r: 0.5 * (linear(w, r) / (1 + jnp.std(r[1]))) ** 2,
    "mean over the batch": lambda w, r: linear(w, r) ** 2 / len(r[1]),
    "largest of the batch": lambda w, r: linear(w, r) ** 2 / jnp.max(linear(w, r) ** 2),
    "place in the batch": lambda w, r: linear(w, r) ** 2 * jnp.linspace(1, 1.1, len(r[1])),
    "running sum": lambda w, r: jnp.cumsum(linear(w, r) ** 2),
    "row before": lambda w, r: (linear(w, r) - 0.02 * jnp.roll(linear(w, r), 1)) ** 2,
    "outer difference": lambda w, r: jnp.mean((r[0] @ w["a"] - r[1][:, None]) ** 2, 0),
    "ranks": lambda w, r: linear(w, r) ** 2 + 0.01 * jnp.argsort(jnp.argsort(r[1])),
    "late rows alone": lambda w, r: linear(w, r) ** 2 + 0.1 * (jnp.arange(len(r[1])) > 30),
    "dropout": lambda w, r: linear(w, r) ** 2 * jax.random.bernoulli(jax.random.key(0), 0.5, (len(r[1]),)),
}


def target_of(loss, params=PARAMS, rows=(X, Y), **options):
    return slt.loss_target(loss, params, rows, localization=1.0, **options)


@pytest.mark.parametrize("name", ACROSS_ROWS)
def test_a_loss_of_a_row_that_depends_on_the_batch_is_refused(name):
    with pytest.raises(ValueError, match="may not depend on other rows"):
        target_of(ACROSS_ROWS[name])


def test_rounding_is_no_dependence_on_other_rows():
    large = lambda w, r: 0.5 * (1e3 + linear(w, r) - 1e3) ** 2 + jnp.sum((1e3 * r[0]) @ w["b"], 1) * 1e-6  # noqa: E731
    picked = lambda w, r: jnp.tanh(r[0] @ w["b"])[np.arange(len(r[1])), np.zeros(len(r[1]), int)] ** 2  # noqa: E731
    for loss in (large, picked):
        assert target_of(loss).num_data == 60


def straight_through(w):
    return w + jax.lax.stop_gradient(jnp.round(4 * w) / 4 - w) * 1.0


def misclassified(w, r):
    return ((r[0] @ w["a"] > 0) != (r[1] > 0)).astype(jnp.float32)


WITHOUT_GRADIENT = {
    "stop_gradient": (lambda w, r: linear(w | {"a": jax.lax.stop_gradient(w["a"])}, r) ** 2, "a"),
    "rounded": (lambda w, r: linear(w | {"b": jnp.round(4 * w["b"]) / 4}, r) ** 2, "b"),
    "one entry rounded": (lambda w, r: linear(w | {"a": w["a"].at[1].set(jnp.round(8 * w["a"][1]) / 8)}, r) ** 2, "a"),
    "one entry stopped": (
        lambda w, r: linear(w | {"b": w["b"].at[0, 1].set(jax.lax.stop_gradient(w["b"][0, 1]))}, r) ** 2,
        "b",
    ),
    "integers": (lambda w, r: linear(w | {"a": (10 * w["a"]).astype(int) / 10}, r) ** 2, "a"),
    "0-1 loss": (lambda w, r: misclassified(w, r) + 0.01 * linear({"a": jnp.zeros(2), "b": w["b"]}, r) ** 2, "a"),
    "argmax": (lambda w, r: (r[1] - r[0][:, jnp.argmax(w["a"])]) ** 2 + jnp.sum(w["b"] ** 2), "a"),
    "sign": (lambda w, r: (r[1] - jnp.sign(r[0] @ w["b"]) @ w["a"]) ** 2, "b"),
    "threshold": (lambda w, r: jnp.where(r[0][:, 0] > w["a"][0], 1.0, 0.0) + (r[1] - r[0] @ w["b"][0]) ** 2, "a"),
}


@pytest.mark.parametrize("name", WITHOUT_GRADIENT)
def test_parameters_that_matter_without_a_gradient_are_named_with_the_remedy(name):
    loss, leaf = WITHOUT_GRADIENT[name]
    with pytest.raises(ValueError, match=rf"depends on .*{leaf}, but its gradient there is exactly zero.*trainable="):
        target_of(loss)
    other = "b" if leaf == "a" else "a"
    if name not in ("argmax", "0-1 loss"):
        assert target_of(loss, trainable=[other]).num_params == PARAMS[other].size


WRONG_GRADIENT = {
    "straight through": lambda w, r: linear(w | {"a": straight_through(3 * w["a"])}, r) ** 2,
    "half stopped": lambda w, r: linear(w | {"a": 0.5 * w["a"] + 0.5 * jax.lax.stop_gradient(w["a"])}, r) ** 2,
    "0-1 loss and a penalty": lambda w, r: misclassified(w, r) + 1e-3 * (jnp.sum(w["a"] ** 2) + jnp.sum(w["b"] ** 2)),
    "slope with another sign": lambda w, r: (
        linear({"a": 2 * jax.lax.stop_gradient(w["a"]) - w["a"], "b": w["b"]}, r) ** 2
    ),
}


@pytest.mark.parametrize("name", WRONG_GRADIENT)
def test_a_gradient_that_is_not_the_derivative_is_refused(name):
    with pytest.raises(ValueError, match="is not its derivative"):
        target_of(WRONG_GRADIENT[name])


def dead(w, r):
    return (r[1] - jax.nn.relu(r[0] @ w["b"] - 1e3).sum(1) - r[0] @ w["a"]) ** 2


SOUND = {
    "relu": lambda w, r: (r[1] - jax.nn.relu(r[0] @ w["b"]) @ w["a"]) ** 2,
    "dead units": dead,
    "absolute values": lambda w, r: jnp.abs(r[1] - r[0] @ w["a"]) + jnp.sum(jnp.abs(w["b"])),
    "maximum": lambda w, r: jnp.maximum(linear(w, r) ** 2, r[0][:, 0] * w["b"][0, 0]),
    "hard tanh": lambda w, r: (r[1] - jnp.clip(5 * r[0] @ w["b"], -1, 1) @ w["a"]) ** 2,
    "unused leaf": lambda w, r: (r[1] - r[0] @ w["a"]) ** 2,
    "stopped and unused": lambda w, r: (r[1] - r[0] @ w["a"]) ** 2 + 0 * jax.lax.stop_gradient(w["b"][0, 0]),
    "steep": lambda w, r: jax.nn.softplus(50 * linear(w, r)),
    "cusp": lambda w, r: jnp.sqrt(jnp.abs(linear(w, r)) + 1e-6),
    "logsumexp": lambda w, r: jax.nn.logsumexp(jnp.stack([r[0] @ w["a"], r[0] @ w["b"][0]]), axis=0),
    "large": lambda w, r: 1e4 * linear(w, r) ** 2,
    "small": lambda w, r: 1e-4 * linear(w, r) ** 2,
}


@pytest.mark.parametrize("start", ["generic", "zero"])
@pytest.mark.parametrize("name", SOUND)
def test_losses_that_can_be_differentiated_almost_everywhere_pass(name, start):
    params = PARAMS if start == "generic" else jax.tree.map(jnp.zeros_like, PARAMS)
    assert target_of(SOUND[name], params).num_params == 6


STEPS = {
    "rounded": lambda w: jnp.round(4 * w[0]) ** 2 + w[1] ** 2,
    "sign": lambda w: 1 - jnp.sign(w[0] * w[1] - 2) * 1.0,
    "stopped": lambda w: jnp.sum(jax.lax.stop_gradient(w) ** 2),
    "integers": lambda w: w[0] ** 2 + (10 * jnp.abs(w[1])).astype(int) / 10,
}


@pytest.mark.parametrize("name", STEPS)
def test_chains_refuse_a_potential_without_a_gradient(name):
    target = slt.potential_target(STEPS[name], jnp.zeros(2), nbeta=100.0)
    with pytest.raises(ValueError, match="its gradient there is exactly zero"):
        slt.estimate_llc(target, sampler="chains", max_gradients=10_000)


def test_potentials_with_flat_directions_kinks_and_cusps_have_a_gradient():
    for potential in (
        lambda w: w[0] ** 2 * w[1] ** 2,
        lambda w: w[0] ** 2 + 0 * w[1],
        lambda w: jnp.sum(jnp.abs(w)),
        lambda w: jnp.sum(jax.nn.relu(jnp.abs(w) - 1.0)),
        lambda w: jnp.sum(jnp.sqrt(jnp.abs(w) + 1e-12)),
    ):
        check_potential(lambda w, _, f=potential: f(w), jnp.zeros(2), 1.0)


def test_rows_of_an_embedding_that_no_datum_uses_are_free():
    table = jnp.asarray(RNG.normal(size=(50, 2)), jnp.float32)
    loss = lambda w, r: jnp.sum(w[r] ** 2, 1)  # noqa: E731
    assert target_of(loss, table, np.arange(30)).num_params == 100


class Standardised(eqx.Module):
    mean: jax.Array
    count: jax.Array
    weight: jax.Array

    def __call__(self, v):
        mean = jax.lax.stop_gradient(self.mean)
        return jax.jit(lambda x: (x - mean) * (1 + jnp.floor(jax.lax.stop_gradient(self.count))))(v) @ self.weight


def test_arrays_that_a_model_holds_constant_are_not_sampled():
    model = Standardised(jnp.ones(2), jnp.array(3.0), jnp.array([0.5, 0.3]))
    target = slt.model_target(model, "squared_error", (X, Y), localization=1.0)
    assert list(target.minimum) == ["weight"]
    pair = (
        lambda w, x: (x - jax.lax.stop_gradient(w["mean"])) @ w["weight"],
        {"mean": jnp.ones(2), "weight": jnp.ones(2)},
    )
    assert list(slt.model_target(pair, "squared_error", (X, Y)).minimum) == ["weight"]
    with pytest.raises(ValueError, match="depends on mean"):
        slt.model_target(pair, "squared_error", (X, Y), trainable=["*"])
    with pytest.raises(ValueError, match="depends on mean, but"):
        slt.loss_target(lambda w, r: (r[1] - pair[0](w, r[0])) ** 2, pair[1], (X, Y), localization=1.0)


def test_names_that_collide_are_refused(tmp_path):
    params = {"a/b": jnp.ones(2), "a": {"b": jnp.ones(2)}}
    apply = lambda w, x: x @ (w["a/b"] + 2 * w["a"]["b"])  # noqa: E731
    with pytest.raises(ValueError, match=r"are both named 'a/b'"):
        slt.model_target((apply, params), "squared_error", (X, Y))
    loss = lambda w, r: (r[1] - apply(w, r[0])) ** 2  # noqa: E731
    with pytest.raises(ValueError, match=r"are both named 'a/b'"):
        target_of(loss, params, trainable=["a/*"])
    assert target_of(loss, params).num_params == 4
    with pytest.raises(ValueError, match=r"are both named '0/1'"):
        target_of(lambda w, r: r[1] * jnp.sum(w["0/1"]), {"0/1": W, "0": [W, W]}, trainable=["*"])
    with pytest.raises(ValueError, match='holds "/"'):
        save_checkpoint(tmp_path / "a.safetensors", params, {})


W = jnp.ones(1)
