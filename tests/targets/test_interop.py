import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

import slt
from slt.targets.interop import next_token
from slt.targets.views import view_model
from slt.targets.weights import load_weights

nnx = pytest.importorskip("flax.nnx", reason="the extra slt-toolkit[flax] is not installed")

RNG = np.random.default_rng(0)
X, LABELS = RNG.normal(size=(60, 3)).astype(np.float32), RNG.integers(0, 4, 60)
SHAPES = {"first/bias": (5,), "first/weight": (5, 3), "second/bias": (4,), "second/weight": (4, 5)}
WEIGHTS = {name: RNG.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


class EquinoxNet(eqx.Module):
    first: eqx.nn.Linear
    dropout: eqx.nn.Dropout
    second: eqx.nn.Linear

    def __call__(self, x, *, key=None):
        return self.second(self.dropout(jnp.tanh(self.first(x)), key=key))


class Rows(nnx.Module):
    """A linear layer that keeps (out, in), as Equinox and PyTorch do."""

    def __init__(self, shape):
        self.weight, self.bias = nnx.Param(jnp.zeros(shape)), nnx.Param(jnp.zeros(shape[0]))

    def __call__(self, x):
        return x @ self.weight.T + self.bias


class NnxNet(nnx.Module):
    def __init__(self):
        self.first, self.second = Rows((5, 3)), Rows((4, 5))
        self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.second(self.dropout(jnp.tanh(self.first(x))))


class Standard(nnx.Module):
    """With the layers of Flax, whose kernels are (in, out)."""

    def __init__(self, rngs, *, normalise=True):
        self.first, self.second = nnx.Linear(3, 5, rngs=rngs), nnx.Linear(5, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(5, rngs=rngs) if normalise else lambda x: x

    def __call__(self, x):
        return self.second(self.norm(jnp.tanh(self.first(x))))


def equinox_net():
    key = jax.random.key(0)
    return EquinoxNet(eqx.nn.Linear(3, 5, key=key), eqx.nn.Dropout(0.5), eqx.nn.Linear(5, 4, key=key))


def plain_net():
    params = {layer: {"weight": jnp.zeros(SHAPES[f"{layer}/weight"]), "bias": jnp.zeros(SHAPES[f"{layer}/bias"])}
              for layer in ("first", "second")}  # fmt: skip

    def apply(params, x):
        first, second = params["first"], params["second"]
        return jnp.tanh(x @ first["weight"].T + first["bias"]) @ second["weight"].T + second["bias"]

    return apply, params


NETS = {"equinox": equinox_net, "nnx": NnxNet, "plain": plain_net}


def target_of(net, **options):
    return slt.model_target(net, "cross_entropy", (X, LABELS), weights=WEIGHTS, localization=1.0, **options)


def three_draws(target):
    starts = jax.tree.map(lambda a: jnp.stack([a, a]), target.minimum)
    kernel = slt.samplers.sghmc(target.energy, step_size=0.05, friction=1.0)
    return slt.samplers.sample(
        jax.random.key(1), kernel, starts, target.data, observe=target.loss, num_draws=5, batch_size=16,
        keep_positions=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def plain():
    target = target_of(plain_net())
    return (
        target,
        jax.grad(target.energy)(jax.tree.map(lambda a: a + 0.1, target.minimum), target.data),
        three_draws(target),
    )


@pytest.mark.parametrize("framework", ["equinox", "nnx"])
def test_every_framework_gives_the_same_loss_gradient_and_draws(framework, plain):
    reference, gradient, draws = plain
    target = target_of(NETS[framework]())
    assert {name: leaf.shape for name, leaf in target.minimum.items()} == SHAPES
    assert target.loss_at_minimum == pytest.approx(reference.loss_at_minimum, rel=1e-6)
    moved = jax.tree.map(lambda a: a + 0.1, target.minimum)
    found = jax.grad(target.energy)(moved, target.data)
    for name in SHAPES:
        np.testing.assert_allclose(found[name], gradient[name], rtol=1e-4, atol=1e-5)
    again = three_draws(target)
    for name in SHAPES:
        np.testing.assert_allclose(again.positions[name], draws.positions[name], rtol=1e-4, atol=1e-5)
    assert np.ptp(again.positions["first/weight"], axis=1).min() > 1e-3  # they moved


def test_layers_of_flax_agree_after_transposition(plain):
    module = Standard(nnx.Rngs(0), normalise=False)
    kernels = {name.replace("weight", "kernel"): w.T if w.ndim == 2 else w for name, w in WEIGHTS.items()}
    target = slt.model_target(module, "cross_entropy", (X, LABELS), weights=kernels, localization=1.0)
    assert target.loss_at_minimum == pytest.approx(plain[0].loss_at_minimum, rel=1e-6)


def test_evaluation_mode_uses_running_statistics_and_leaves_the_model_alone():
    module = Standard(nnx.Rngs(0))
    for _ in range(3):
        module(jnp.asarray(X + 2))  # moves the running mean
    view = view_model(module)
    assert "norm/mean" not in view.params
    assert "norm/scale" in view.params
    one, many = view.apply(view.params, X[:1]), view.apply(view.params, X)
    np.testing.assert_allclose(one[0], many[0], rtol=1e-5)  # a batch of one has no statistics of its own
    assert not module.norm.use_running_average
    net = equinox_net()
    view_model(net)
    assert not net.dropout.inference


def test_half_precision_becomes_single():
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16) if eqx.is_inexact_array(a) else a, equinox_net())
    assert {leaf.dtype for leaf in view_model(half).params.values()} == {jnp.dtype(jnp.float32)}


def test_a_prefix_that_all_names_have_in_common_is_that_of_a_wrapper():
    given = {f"module.net.{name.replace('/', '.')}": value for name, value in WEIGHTS.items()}
    np.testing.assert_array_equal(view_model(equinox_net(), given).params["first/bias"], WEIGHTS["first/bias"])


def test_one_head_is_a_slice():
    target = target_of(equinox_net(), trainable=["first/weight[0:2]"])
    assert target.num_params == 6


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_weights_are_read_from_files(tmp_path, suffix, plain):
    path = tmp_path / f"weights{suffix}"
    dotted = {name.replace("/", "."): value for name, value in WEIGHTS.items()}
    save_file(dotted, path) if suffix == ".safetensors" else np.savez(path, **dotted)
    target = slt.model_target(equinox_net(), "cross_entropy", (X, LABELS), weights=path)
    assert target.loss_at_minimum == pytest.approx(plain[0].loss_at_minimum, rel=1e-6)


def test_a_pickle_is_never_loaded(tmp_path):
    np.savez(tmp_path / "evil.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="not a whole npz file of plain arrays"):
        load_weights(tmp_path / "evil.npz")
    (tmp_path / "a.pkl").write_bytes(b"")
    with pytest.raises(ValueError, match=r"ends in '\.pkl'"):
        load_weights(tmp_path / "a.pkl")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: {k: v for k, v in w.items() if k != "first/bias"}, "first/bias is missing"),
        (lambda w: w | {"extra": np.ones(2)}, "extra has no place in the model"),
        (lambda w: w | {"first/bias": np.ones(6)}, r"first/bias has the shape \(6,\) where \(5,\) is due"),
    ],
)
def test_weights_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        view_model(equinox_net(), change(WEIGHTS))


@pytest.mark.parametrize(
    ("model", "loss", "data", "options", "message"),
    [
        ("a string", "cross_entropy", (X, LABELS), {}, "the model is a str"),
        (equinox_net(), "hinge", (X, LABELS), {}, "loss is 'hinge'"),
        (equinox_net(), "cross_entropy", {"x": X, "y": LABELS}, {}, r"data is \['x', 'y'\]"),
        (equinox_net(), "cross_entropy", (X, LABELS), {"datum": "token"}, "only loss='next_token'"),
        (equinox_net(), "next_token", X, {}, "integer tokens"),
        (equinox_net(), "next_token", np.ones((5, 3), int), {"datum": "word"}, "must be 'row' or 'token'"),
    ],
)
def test_wrong_calls_say_what_is_allowed(model, loss, data, options, message):
    with pytest.raises(ValueError, match=message):
        slt.model_target(model, loss, data, **options)


class TestLanguage:
    tokens = np.array([[1, 2, 0, 3], [0, 1, 1, -1], [2, 2, 3, 0], [3, 0, -1, -1]])
    table = np.random.default_rng(3).normal(size=(4, 4)).astype(np.float32)
    model = (lambda p, x: p["table"][x], {"table": table})

    def by_hand(self):
        """Minus log-likelihood of every predicted token of each row, summed."""
        log_probability = self.table - np.log(np.exp(self.table).sum(1, keepdims=True))
        return [-sum(log_probability[a, b] for a, b in itertools.pairwise(row) if b >= 0) for row in self.tokens]

    def test_the_loss_of_a_row_is_the_sum_over_its_tokens_and_padding_is_not_predicted(self):
        np.testing.assert_allclose(
            next_token(self.table[np.maximum(self.tokens, 0)], self.tokens), self.by_hand(), rtol=1e-6
        )

    def test_per_row(self):
        target = slt.model_target(self.model, "next_token", self.tokens)
        assert target.loss_at_minimum == pytest.approx(np.mean(self.by_hand()), rel=1e-6)
        assert target.nbeta == pytest.approx(4 / np.log(4))

    def test_per_token_n_counts_predicted_tokens(self):
        target = slt.model_target(self.model, "next_token", {"inputs": self.tokens}, datum="token")
        assert target.loss_at_minimum == pytest.approx(np.sum(self.by_hand()) / 9, rel=1e-6)  # 3 + 2 + 3 + 1
        assert target.nbeta == pytest.approx(9 / np.log(9))
        assert (
            slt.model_target(self.model, "next_token", self.tokens, datum="token", inverse_temperature=0.5).nbeta == 4.5
        )
