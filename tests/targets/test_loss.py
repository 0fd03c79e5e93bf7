"""A loss is what it was when its target was made, whatever it reads; equal losses share their programs."""

import sys
import types
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import slt
from slt.geometry.operators import dense, hessian
from slt.store.cache import fingerprint, function_digest
from slt.targets.loss import at_rows, trace

Y = np.random.default_rng(0).normal(size=50).astype(np.float32)
W = jnp.array([0.2])
BASE = float(np.mean(0.5 * (Y - 0.2) ** 2))

scale, factors = 1.0, np.ones(1, np.float32)
held = types.ModuleType("held_by_name")
sys.modules["held_by_name"] = held
held.scale = 1.0


class Scaled:
    scale = 1.0

    def __init__(self):
        self.own, self.table = 1.0, {"scale": 1.0}

    def __call__(self, w, rows):
        return self.own * self.table["scale"] * self.scale * square(w, rows)


def square(w, rows):
    return 0.5 * (rows - w[0]) ** 2


def helper(values):
    return scale * values


@jax.jit
def jitted(w, rows):
    return scale * square(w, rows)


def of_global(w, rows):
    return scale * square(w, rows)


def of_helper(w, rows):
    return helper(square(w, rows))


def of_array(w, rows):
    return factors[0] * square(w, rows)


def of_jitted_array(w, rows):
    return jax.jit(lambda v: v * factors)(square(w, rows))


def of_scan(w, rows):
    return jax.lax.map(lambda row: jax.jit(lambda v: v * factors[0])(square(w, row)), rows)


def of_module(w, rows):
    return held.scale * square(w, rows)


instance = Scaled()


def change_global():
    global scale
    scale = 2.0


def change_helper():
    globals()["helper"] = lambda values: 2.0 * values


CHANGES = {
    "a global": (of_global, change_global),
    "a global of a helper": (of_helper, change_global),
    "the helper itself": (of_helper, change_helper),
    "a global of a jitted loss": (jitted, change_global),
    "an array in place": (of_array, lambda: factors.fill(2.0)),
    "an array in a jitted function": (of_jitted_array, lambda: factors.fill(2.0)),
    "an array in a function that is mapped": (of_scan, lambda: factors.fill(2.0)),
    "a module held by name": (of_module, lambda: setattr(held, "scale", 2.0)),
    "an attribute": (instance, lambda: setattr(instance, "own", 2.0)),
    "an entry": (instance, lambda: instance.table.update(scale=2.0)),
    "an attribute of the class": (instance, lambda: setattr(Scaled, "scale", 2.0)),
}


@pytest.fixture
def restored():
    yield
    global scale
    scale, held.scale, Scaled.scale, instance.own = 1.0, 1.0, 1.0, 1.0
    instance.table["scale"] = 1.0
    factors.fill(1.0)
    globals()["helper"] = lambda values: scale * values


def target_of(loss, rows=Y, **options):
    return slt.loss_target(loss, W, rows, localization=1.0, **options)


@pytest.mark.parametrize("name", CHANGES)
def test_a_target_made_after_a_change_has_the_new_value_and_one_made_before_the_old_or_an_error(name, restored):
    loss, change = CHANGES[name]
    before = target_of(loss)
    change()
    after = target_of(loss)
    assert before.loss_at_minimum == pytest.approx(BASE, rel=1e-5)
    assert after.loss_at_minimum == pytest.approx(2 * BASE, rel=1e-5)
    assert float(after.log_likelihood(W, (Y[:7], 0.0))[3]) == pytest.approx(-((Y[3] - 0.2) ** 2), rel=1e-5)
    assert float(-before.log_likelihood(W, before.data).mean()) == pytest.approx(BASE, rel=1e-5)
    if before.log_likelihood.args[0].program == after.log_likelihood.args[0].program:  # constants are arguments
        assert float(before.log_likelihood(W, (Y[:7], 0.0))[3]) == pytest.approx(-0.5 * (Y[3] - 0.2) ** 2, rel=1e-5)
    with pytest.raises(ValueError, match=r"has changed since the target was made: .*(mul|operations).*"):
        before.log_likelihood(W, (Y[:8], 0.0))


def test_an_unchanged_loss_serves_any_number_of_rows_and_precision():
    target = target_of(of_array)
    for count in (1, 7, 49):
        assert target.log_likelihood(W, (Y[:count], 0.0)).shape == (count,)
    with jax.enable_x64(True):
        assert target.log_likelihood(jnp.array([0.2], float), (Y[:9].astype(float), 0.0)).dtype == np.float64


def test_what_a_potential_reads_is_frozen_when_its_target_is_made():
    targets = []
    for c in (1.0, 4.0):  # both functions see the last c
        array = np.array([c], np.float32)
        targets.append(slt.potential_target(lambda w: c * array[0] * w @ w, jnp.zeros(2), nbeta=10.0))  # noqa: B023
        array *= 100
    assert [float(t.loss(jnp.ones(2), ())) for t in targets] == [2.0, 32.0]
    assert len({t.loss.args[0].args[0].program for t in targets}) == 2  # c is a literal of the operations


def test_a_derivative_rule_that_reads_a_changed_global_is_an_error(restored):
    @jax.custom_vjp
    def slope(x):
        return x**2

    slope.defvjp(lambda x: (x**2, x), lambda x, ct: (2 * scale * x * ct,))
    traced = trace(lambda w: slope(w).sum(), (W,))
    assert float(jax.grad(traced)(W)[0]) == pytest.approx(0.4)
    change_global()
    with pytest.raises(ValueError, match="derivative rule"):
        jax.grad(traced)(W)
    again = trace(lambda w: slope(w).sum(), (W,))
    assert float(jax.grad(again)(W)[0]) == pytest.approx(0.8)
    assert again.program != traced.program


def test_custom_rules_keys_and_transformations_are_those_of_the_function():
    @jax.custom_jvp
    def doubled(x):
        return x**2

    doubled.defjvp(lambda primals, tangents: (doubled(*primals), 4 * primals[0] * tangents[0]))

    def function(w, rows):
        noise = jax.random.normal(jax.random.key(3), (2,))
        return jax.checkpoint(lambda x: doubled(x @ w + noise[0]))(rows)

    w, rows = jnp.array([1.0, 2.0]), jnp.arange(8.0).reshape(4, 2)
    traced = trace(function, (w, at_rows(rows, 2)), (w, rows))
    np.testing.assert_allclose(traced(w, rows), function(w, rows), rtol=1e-6)
    for transformed in (jax.jacrev, jax.jacfwd, lambda f: jax.jit(jax.vmap(f, (0, None)))):
        given = jnp.stack([w, w]) if transformed not in (jax.jacrev, jax.jacfwd) else w
        np.testing.assert_allclose(transformed(traced)(given, rows), transformed(function)(given, rows), rtol=1e-6)


def counted_losses():
    """Each call makes a loss anew, another function object with other constants; and the number of its traces."""
    traces = []

    def make(factor):
        frozen = np.full((1, 3), factor, np.float32)

        def loss(w, rows):
            traces.append(len(rows))
            picked = (rows * frozen)[np.arange(len(rows)), np.zeros(len(rows), int)]
            return 0.5 * (picked * w["a"][0] + (rows @ w["a"]) - 1) ** 2

        return loss

    return make, traces


def test_checkpoints_whose_losses_differ_in_numbers_share_every_program():
    make, traces = counted_losses()
    rows = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    options = {"max_gradients": 20_000, "batch_size": 15, "num_chains": 2, "sampler": "chains"}

    def estimate(seed, factor):
        w = {"a": jnp.asarray(np.random.default_rng(seed).normal(size=3), jnp.float32)}
        target = slt.loss_target(make(factor), w, rows, localization=100.0, control_variate=False)
        return slt.estimate_llc(target, seed=seed, **options).estimates["llc"].value

    alone = estimate(1, 2.0)
    estimate(0, 5.0)
    traces.clear()
    assert estimate(1, 2.0) == alone  # the constants of its own, by programs of another
    assert traces == [2, 60]  # those of the target itself, none of the estimate


@pytest.mark.parametrize("double", [False, True])
def test_curvature_reads_constants_in_full_precision(double):
    x = np.random.default_rng(1).normal(size=(40, 2))
    x = x if double else x.astype(np.float32)

    def loss(w, index):
        return 0.5 * (jnp.asarray(x)[index] @ w) ** 2

    target = slt.loss_target(loss, jnp.zeros(2), np.arange(40), localization=1.0)
    np.testing.assert_allclose(dense(hessian(target)), x.T.astype(float) @ x / 40, rtol=1e-12)


class Half(eqx.Module):
    weight: jax.Array

    def __call__(self, v):
        return jnp.tanh(v.astype(jnp.bfloat16) @ self.weight.astype(jnp.bfloat16)).astype(jnp.float32)


class Layer(nnx.Module):
    def __init__(self, dtype):
        self.layer = nnx.Linear(2, 1, use_bias=False, rngs=nnx.Rngs(0), dtype=dtype)

    def __call__(self, v):
        return jnp.tanh(self.layer(v))


def in_half(w, v):
    def step(total, column):
        return total + column, None

    terms = v.astype(jnp.float16).T * w["weight"].astype(jnp.float16)[:, None]
    return jnp.tanh(jax.lax.scan(step, jnp.zeros(len(v), jnp.float16), terms)[0])


def with_rules(w, v):
    z = (v @ w["weight"]).astype(jnp.bfloat16)
    return jax.nn.relu(jnp.tanh(z)) - jax.nn.relu(-jnp.tanh(z)) + 0 * jax.nn.softplus(z)


def in_single(w, v):
    return jnp.tanh(jnp.asarray(v, jnp.float32) @ jnp.asarray(w["weight"], jnp.float32))


KERNEL = np.array([0.5, -0.25], np.float32)
MODELS = {
    "Equinox": lambda: Half(jnp.asarray(KERNEL)),
    "NNX, bfloat16": lambda: layer(jnp.bfloat16),
    "NNX, float16": lambda: layer(jnp.float16),
    "NNX, float32": lambda: layer(jnp.float32),
    "a scan": lambda: (in_half, {"weight": jnp.asarray(KERNEL)}),
    "custom rules": lambda: (with_rules, {"weight": jnp.asarray(KERNEL)}),
    "float32 in float64": lambda: (in_single, {"weight": jnp.asarray(KERNEL)}),
}


def layer(dtype):
    model = Layer(dtype)
    model.layer.kernel[...] = jnp.asarray(KERNEL)[:, None]
    return model


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_computes_in_less_precision_has_the_curvature_of_its_parameters(name):
    x = np.random.default_rng(2).normal(size=(60, 2)).astype(np.float32)
    y = np.random.default_rng(3).normal(size=60).astype(np.float32)
    target = slt.model_target(MODELS[name](), "squared_error", (x, y), localization=1.0)
    with jax.enable_x64(True):
        exact = jax.hessian(lambda w: jnp.mean(0.5 * (jnp.tanh(x.astype(float) @ w) - y) ** 2))(KERNEL.astype(float))
    np.testing.assert_allclose(dense(hessian(target)), exact, rtol=1e-10, atol=1e-12)


def of_constant(c):
    return lambda w, rows: c[0] * square(w, rows)


def of_jit(c):
    return lambda w, rows: jax.jit(lambda v: c * v)(square(w, rows))


def of_jit_in_map(c):
    return lambda w, rows: jax.lax.map(lambda row: jax.jit(lambda v: jnp.sum(c * v))(square(w, row)), rows)


def of_branch(c):
    return lambda w, rows: jax.lax.cond(True, lambda v: c[0] * v, lambda v: v, square(w, rows))


def of_rule(c):
    @jax.custom_vjp
    def same(x):
        return x

    same.defvjp(lambda x: (x, None), lambda _, ct: (ct * c[0],))
    return lambda w, rows: square(same(w), rows)


def of_number(c):
    number = float(c[0])
    return lambda w, rows: number * square(w, rows)


def of_partial(c):
    return partial(lambda k, w, rows: k[0] * square(w, rows), c)


FORMS = [of_constant, of_jit, of_jit_in_map, of_branch, of_rule, of_number, of_partial]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_a_fingerprint_knows_every_constant_wherever_it_sits(form):
    one, same, other = (trace(form(np.array([c], np.float32)), (W, Y)) for c in (1.0, 1.0, 1.5))
    assert slt.targets.digests.digest(one) == slt.targets.digests.digest(same)
    assert slt.targets.digests.digest(one) != slt.targets.digests.digest(other)


def test_a_fingerprint_knows_constants_of_jitted_potentials_and_the_file_of_a_memory_map(tmp_path):
    def potential(a):
        array = np.array([a, a], np.float32)
        return slt.potential_target(jax.jit(lambda w: jnp.sum(array * w**2)), jnp.zeros(2), nbeta=10.0)

    assert fingerprint(potential(1.0)) == fingerprint(potential(1.0)) != fingerprint(potential(2.0))
    names = []
    for i, shift in enumerate((0, 0, 1)):
        if i != 1:
            np.save(tmp_path / f"{i // 2}.npy", Y + shift)
        rows = np.load(tmp_path / f"{i // 2}.npy", mmap_mode="r")
        names.append(fingerprint(target_of(square, rows)))
    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize("sampler", ["chains", "tempering"])
def test_a_potential_of_which_a_fingerprint_was_taken_is_sampled_as_before(sampler):
    target = slt.potential_target(lambda w: jnp.sum(w**2), jnp.zeros(2), nbeta=1e3)
    fingerprint(target)
    estimate = slt.estimate_llc(target, sampler=sampler, max_gradients=20_000).estimates["llc"]
    assert abs(estimate.value - 2000 / 2001) < 5 * estimate.mcse


def measured(target):
    return helper(np.float64(target.num_params)) * held.scale


@pytest.mark.parametrize(
    "change",
    [change_global, change_helper, lambda: setattr(held, "scale", 3.0), lambda: setattr(Scaled, "scale", 3.0)],
    ids=["a global of a helper", "a helper", "an attribute of a module", "a class"],
)
def test_the_digest_of_a_measure_knows_what_it_names(change, restored):
    wrapped = partial(lambda kind, target: kind.scale * measured(target), Scaled)
    before = function_digest(wrapped)
    globals()["unrelated"] = 17
    assert function_digest(wrapped) == before
    change()
    assert function_digest(wrapped) != before


def test_functions_that_do_the_same_under_other_names_share_no_program():
    """As draws of two NumPyro models whose sites have other names: a compiled program returns the names, too."""
    one, other = (trace(lambda x, name=name: {name: 2 * x}, (jnp.ones(3),)) for name in ("mu", "mean"))
    assert one.program != other.program
    assert set(one(jnp.ones(3))) == {"mu"}
    assert set(other(jnp.ones(3))) == {"mean"}
