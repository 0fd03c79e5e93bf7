"""Modules as people have them, and test data in every form that data take: against the module itself, or its arrays."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

import slt
from slt.targets.weights import fill, load_weights

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 6)).astype(np.float32)
LABELS = (X[:, 0] > 0).astype(np.int32)


def cross_entropy(logits):
    return float(-np.asarray(jax.nn.log_softmax(logits))[np.arange(30), LABELS].mean())


@pytest.mark.parametrize("cell", ["GRUCell", "SimpleCell"])
def test_a_recurrent_network_of_flax_is_a_target(cell):
    nnx = pytest.importorskip("flax.nnx")

    class Recurrent(nnx.Module):
        def __init__(self, rngs):
            self.rnn = nnx.RNN(getattr(nnx, cell)(1, 4, rngs=rngs))
            self.out = nnx.Linear(4, 2, rngs=rngs)

        def __call__(self, v):
            return self.out(self.rnn(v[..., None])[:, -1])

    model = Recurrent(nnx.Rngs(0))
    target = slt.model_target(model, "cross_entropy", (X, LABELS))
    assert target.loss_at_minimum == pytest.approx(cross_entropy(model(X)), rel=1e-5)


class Normed(eqx.Module):
    linear: eqx.nn.Linear
    norm: eqx.nn.BatchNorm

    def __init__(self):
        self.linear = eqx.nn.Linear(6, 2, key=jax.random.key(0))
        self.norm = eqx.nn.BatchNorm(2, axis_name="batch", mode="ema")

    def __call__(self, v, state):
        return self.norm(self.linear(v), state)


def test_a_stateful_equinox_module_is_used_with_the_statistics_that_training_left():
    model, state = eqx.nn.make_with_state(Normed)()
    trained = jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
    _, state = trained(jnp.asarray(X + 1), state)
    quiet = eqx.nn.inference_mode(model)
    logits = jax.vmap(lambda v: quiet(v, state)[0])(jnp.asarray(X))
    target = slt.model_target((model, state), "cross_entropy", (X, LABELS))
    assert target.loss_at_minimum == pytest.approx(cross_entropy(logits), rel=1e-5)
    with pytest.raises(ValueError, match="make_with_state"):
        slt.model_target(model, "cross_entropy", (X, LABELS))


def test_tied_arrays_of_a_checkpoint_have_all_their_names(tmp_path):
    stored = {"embed.weight": X}
    save_file(stored, tmp_path / "a.safetensors", {"format": "pt", "head.weight": "embed.weight"})
    found = load_weights(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(found["head.weight"], X)
    assert list(fill({"embed/weight": jnp.asarray(X)}, found)) == ["embed/weight"]  # another name is no surplus
    (tmp_path / "a.index.json").write_text('{"weight_map": {"embed.weight": "a.safetensors"}}')
    np.testing.assert_array_equal(load_weights(tmp_path / "a.index.json")["embed.weight"], X)


FORMS = {
    "list for a tuple": lambda x, y: [x, y],
    "lists": lambda x, y: (x.tolist(), y.tolist()),
    "Series": lambda x, y: (x, pd.Series(y)),
    "loader": lambda x, y: iter([(x[:4], y[:4]), (x[4:], y[4:])]),
    "rows": lambda x, y: list(zip(x, y, strict=True)),
}


@pytest.mark.parametrize("form", FORMS)
def test_test_data_take_the_forms_of_data(form):
    target = slt.loss_target(lambda w, r: 0.5 * (r[1] - r[0] @ w) ** 2, jnp.ones(6), (X, LABELS))
    x, y = X[:9] + 1, LABELS[:9]
    log_likelihood, batch = target.read(FORMS[form](x, y))
    np.testing.assert_allclose(-log_likelihood(target.minimum, batch), 0.5 * (y - x @ np.ones(6)) ** 2, rtol=1e-5)


def test_test_data_of_another_shape_or_without_a_finite_loss_are_named():
    target = slt.model_target((lambda p, v: v @ p["w"], {"w": np.ones((6, 2))}), "cross_entropy", (X, LABELS))
    with pytest.raises(ValueError, match="test_data has rows of the shapes"):
        target.read((X[:, :3], LABELS))
    with pytest.raises(ValueError, match="test_data: the loss of datum 4 at w"):
        target.read((X, np.where(np.arange(30) == 4, 2, LABELS)))
