"""Every convention of a target by hand, every wrong call by its message."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slt.targets.minimise import deficit, polish
from slt.targets.target import loss_target, potential_target

N, DIM = 50, 3


def squared(params, rows):
    return 0.5 * (rows["y"] - rows["x"] @ params["weight"] - params["bias"]) ** 2


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, DIM))
    return {"x": x, "y": x @ [1.0, -2.0, 0.5] + 0.3 + 0.2 * rng.normal(size=N)}


@pytest.fixture
def optimum(data):
    design = np.column_stack([data["x"], np.ones(N)])
    solution = np.linalg.lstsq(design, data["y"], rcond=None)[0]
    return {"weight": solution[:3], "bias": solution[3]}


@pytest.fixture
def elsewhere(optimum):
    return {"weight": jnp.asarray(optimum["weight"] + [0.1, -0.2, 0.3]), "bias": jnp.asarray(optimum["bias"] + 0.4)}


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def mean_loss(params, data):
    weight, bias = (np.asarray(params[name]) for name in ("weight", "bias"))
    return float(np.mean(0.5 * (data["y"] - data["x"] @ weight - bias) ** 2))


def square(params):
    return sum(float(np.sum(np.square(leaf))) for leaf in jax.tree.leaves(params))


def minus(a, b):
    return jax.tree.map(lambda x, y: np.asarray(x) - np.asarray(y), a, b)


def over_batches_of_one(function, target):
    """function(batch) of every batch of one row, leading axis batch."""
    return jax.vmap(function)(jax.tree.map(lambda a: a[:, None], target.data))


def flat(tree, *, keep=0):
    """All leaves side by side, after `keep` leading axes."""
    return np.concatenate([np.reshape(leaf, (*np.shape(leaf)[:keep], -1)) for leaf in jax.tree.leaves(tree)], -1)


def test_full_energy_is_its_formula(data, optimum, elsewhere):
    target = loss_target(squared, optimum, data, inverse_temperature=0.3, localization=5.0)
    want = N * 0.3 * (mean_loss(elsewhere, data) - mean_loss(optimum, data)) + 2.5 * square(minus(elsewhere, optimum))
    assert float(target.energy(elsewhere, target.data)) == pytest.approx(want, rel=1e-12)
    excess = mean_loss(elsewhere, data) - mean_loss(optimum, data)
    assert float(target.loss(elsewhere, target.data)) == pytest.approx(excess, rel=1e-12)
    assert target.nbeta == pytest.approx(N * 0.3)
    assert (target.num_data, target.num_params, target.precision) == (N, 4, 5.0)
    assert target.loss_at_minimum == pytest.approx(mean_loss(optimum, data), rel=1e-12)


def test_defaults_are_one_over_log_n_and_a_ball_as_wide_as_the_minimum(data, optimum):
    target = loss_target(squared, optimum, data)
    assert target.inverse_temperature == pytest.approx(1 / math.log(N))
    assert target.localization == pytest.approx(4 / square(optimum))
    origin = {"weight": jnp.zeros(3), "bias": jnp.zeros(())}
    assert loss_target(squared, origin, data).localization == 1.0


def test_loss_and_energy_vanish_at_the_minimum_for_all_data_and_for_any_batch(data, optimum):
    target = loss_target(squared, optimum, data)
    for function in (target.loss, target.energy):
        assert float(function(target.minimum, target.data)) == 0
        values = over_batches_of_one(lambda batch, f=function: f(target.minimum, batch), target)
        np.testing.assert_allclose(values, np.zeros(N), atol=1e-12)


def test_weight_decay_enters_the_prior_with_nbeta_and_not_the_loss(data, optimum, elsewhere):
    plain = loss_target(squared, optimum, data, localization=5.0)
    decayed = loss_target(squared, optimum, data, localization=5.0, weight_decay=0.7)
    gap = float(decayed.energy(elsewhere, decayed.data) - plain.energy(elsewhere, plain.data))
    assert gap == pytest.approx(plain.nbeta * 0.35 * square(elsewhere), rel=1e-10)
    assert float(decayed.loss(elsewhere, decayed.data)) == float(plain.loss(elsewhere, plain.data))
    assert decayed.precision == pytest.approx(5.0 + plain.nbeta * 0.7)


def test_gradient_norm_is_that_of_the_decayed_objective(data, optimum):
    def ridge(decay):
        design = np.column_stack([data["x"], np.ones(N)])
        solution = np.linalg.solve(design.T @ design / N + decay * np.eye(4), design.T @ data["y"] / N)
        return {"weight": solution[:3], "bias": solution[3]}

    assert loss_target(squared, ridge(0.4), data, weight_decay=0.4).gradient_norm < 1e-12
    assert loss_target(squared, optimum, data).gradient_norm < 1e-12
    origin = {"weight": np.zeros(3), "bias": np.zeros(())}
    want = np.linalg.norm(np.column_stack([data["x"], np.ones(N)]).T @ data["y"] / N)
    assert loss_target(squared, origin, data).gradient_norm == pytest.approx(want)


@pytest.mark.parametrize("control_variate", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_minibatch_gradients_are_unbiased_over_all_batches(data, optimum, elsewhere, control_variate, weight_decay):
    target = loss_target(squared, optimum, data, weight_decay=weight_decay, control_variate=control_variate)
    for function in (target.energy, target.loss):
        both = jax.value_and_grad(function)
        values, gradients = over_batches_of_one(lambda batch, f=both: f(elsewhere, batch), target)
        value, gradient = both(elsewhere, target.data)
        assert np.mean(values) == pytest.approx(float(value), rel=1e-10)
        np.testing.assert_allclose(flat(gradients, keep=1).mean(0), flat(gradient), rtol=1e-9)


def test_control_variate_removes_the_gradient_noise_at_the_minimum(data, optimum):
    def spread(control_variate):
        target = loss_target(squared, optimum, data, control_variate=control_variate)
        gradients = over_batches_of_one(lambda batch: jax.grad(target.energy)(target.minimum, batch), target)
        return target, np.linalg.norm(np.std(flat(gradients, keep=1), 0))

    target, without = spread(False)
    residual = data["y"] - data["x"] @ optimum["weight"] - optimum["bias"]
    rows = residual[:, None] * np.column_stack([np.ones(N), data["x"]])
    assert without == pytest.approx(target.nbeta * np.linalg.norm(np.std(rows, 0)), rel=1e-9)
    assert not target.control_variate
    assert spread(True)[1] < 1e-10
    assert spread(None)[1] < 1e-10, "needed here, so it must be on by default"


def test_control_variate_is_off_where_the_data_are_fitted_exactly(data):
    rows = data | {"y": data["x"] @ [1.0, -2.0, 0.5] + 0.3}
    target = loss_target(squared, {"weight": np.array([1.0, -2.0, 0.5]), "bias": np.array(0.3)}, rows)
    assert not target.control_variate
    point = {"weight": jnp.zeros(3), "bias": jnp.zeros(())}
    batch = jax.tree.map(lambda a: a[:1], target.data)
    want = float(squared(point, batch[0])[0])
    assert float(target.loss(point, batch)) == pytest.approx(want, rel=1e-10)


def test_log_likelihood_is_per_datum(data, optimum, elsewhere):
    target = loss_target(squared, optimum, data)
    got = target.log_likelihood(elsewhere, target.data)
    np.testing.assert_allclose(got, -squared(elsewhere, data), rtol=1e-12)
    assert got.shape == (N,)


def test_log_prior_is_the_energy_without_the_loss(data, optimum, elsewhere):
    target = loss_target(squared, optimum, data, localization=2.0, weight_decay=0.1)
    rest = float(target.energy(elsewhere, target.data)) - target.nbeta * float(target.loss(elsewhere, target.data))
    assert -float(target.prior.log_density(elsewhere)) == pytest.approx(rest, rel=1e-9)


def test_prior_draws_are_the_gaussian_of_localization_and_decay_together():
    """Mean and variance of 20000 draws; false-failure rate 6e-6 in all, resolution 4 % of a standard deviation."""
    target = loss_target(
        lambda w, rows: 0.5 * (rows - w[0]) ** 2, jnp.array([2.0, -1.0, 0.5]), jnp.arange(10.0),
        inverse_temperature=1.0, localization=3.0, weight_decay=0.2,
    )  # fmt: skip
    draws = np.asarray(jax.vmap(target.prior.draw)(jax.random.split(jax.random.key(0), 20_000)))
    scaled = (draws - np.array([2.0, -1.0, 0.5]) * 3 / 5) * np.sqrt(5)
    assert np.abs(scaled.mean(0)).max() < 4.9 / np.sqrt(20_000)
    assert np.abs((scaled**2).mean(0) - 1).max() < 4.9 * np.sqrt(2 / 20_000)


def test_prior_is_improper_without_localization(data, optimum):
    assert loss_target(squared, optimum, data, localization=0.0).prior.draw is None


def test_pytrees_of_any_shape_and_data_that_is_one_array():
    params = [(jnp.ones((2, 2)),), {"a": jnp.zeros(())}]
    data = jnp.arange(6.0).reshape(3, 2)

    def loss(w, rows):
        return jnp.sum((rows @ w[0][0] + w[1]["a"]) ** 2, 1)

    target = loss_target(loss, params, data, localization=1.0)
    assert target.num_params == 5
    shifted = jax.tree.map(lambda a: a + 0.5, params)
    want = target.nbeta * float(jnp.mean(loss(shifted, data) - loss(params, data))) + 0.5 * 5 * 0.25
    assert float(target.energy(shifted, target.data)) == pytest.approx(want, rel=1e-12)


def test_trainable_restricts_to_the_accepted_leaves(data, optimum, elsewhere):
    target = loss_target(squared, optimum, data, localization=2.0, trainable=lambda path: path == "bias")
    assert target.num_params == 1
    (leaf,) = jax.tree.leaves(target.minimum)
    assert float(leaf) == optimum["bias"]
    moved = jax.tree.map(lambda a: a + 0.4, target.minimum)
    want = mean_loss(optimum | {"bias": optimum["bias"] + 0.4}, data) - mean_loss(optimum, data)
    assert float(target.loss(moved, target.data)) == pytest.approx(want, rel=1e-10)
    assert float(target.energy(moved, target.data)) == pytest.approx(target.nbeta * want + 0.16, rel=1e-10)


def test_gradient_at_the_minimum_is_exact_with_more_data_than_one_chunk():
    data = jnp.asarray(np.random.default_rng(0).normal(size=9001))
    target = loss_target(lambda w, rows: 0.5 * (rows - w) ** 2, jnp.zeros(()), data)
    assert target.gradient_norm == pytest.approx(abs(float(data.mean())), rel=1e-9)


@pytest.mark.parametrize("nbeta", [1.0, 250.0])
def test_potential_energy_is_its_formula(nbeta):
    center = jnp.array([1.0, -1.0])
    target = potential_target(lambda w: jnp.sum(w**2) ** 2, center, nbeta=nbeta, localization=3.0)
    point = jnp.array([0.3, 0.4])
    want = nbeta * (0.25**2 - 4) + 1.5 * (0.49 + 1.96)
    assert float(target.energy(point, target.data)) == pytest.approx(want, rel=1e-12)
    assert float(target.loss(center, target.data)) == 0
    assert (target.nbeta, target.num_data) == (nbeta, 1)


def test_box_replaces_the_localization_and_weights_the_prior():
    target = potential_target(
        lambda w: jnp.sum(w**2), jnp.zeros(2), nbeta=10.0, localization=7.0, box=(-1.0, 2.0), log_weight=lambda w: w[0]
    )
    point = jnp.array([0.5, -0.5])
    assert float(target.energy(point, ())) == pytest.approx(10 * 0.5 - 0.5, rel=1e-12)
    assert target.localization == 0
    draws = np.asarray(jax.vmap(target.prior.draw)(jax.random.split(jax.random.key(0), 1000)))
    assert draws.min() > -1
    assert draws.max() < 2
    assert draws.max() - draws.min() > 2.9


def test_a_box_may_be_a_number_or_as_the_minimum_is():
    minimum = {"a": jnp.zeros(()), "b": jnp.ones(2)}
    sides = ({"a": -1.0, "b": np.array([0.0, -3.0])}, {"a": 2.0, "b": 5.0})
    for box, want in (((-1.0, 5.0), [3.5, 3.0, 3.0]), (sides, [0.5, 3.0, 3.0])):
        target = potential_target(lambda w: w["a"] ** 2 + jnp.sum((w["b"] - 1) ** 2), minimum, nbeta=10.0, box=box)
        folded = target.prior.fold({"a": jnp.array(3.5), "b": jnp.array([7.0, 3.0])})
        np.testing.assert_allclose(flat(folded), want)
        draws = jax.vmap(target.prior.draw)(jax.random.split(jax.random.key(0), 100))
        assert jax.tree.all(jax.tree.map(jnp.allclose, jax.vmap(target.prior.fold)(draws), draws))


@pytest.mark.parametrize("given", [jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize(("wide", "due"), [(True, "float64"), (False, "float32")])
def test_parameters_are_in_the_default_precision(data, optimum, given, wide, due):
    with jax.enable_x64(wide):
        params = jax.tree.map(lambda a: jnp.asarray(a, given), optimum)
        minimum = loss_target(squared, params, data).minimum
    assert {leaf.dtype for leaf in jax.tree.leaves(minimum)} == {jnp.dtype(due)}


def test_leaves_that_are_not_sampled_may_be_whole_numbers(data, optimum):
    target = loss_target(squared, optimum | {"step": 7}, data, trainable=["weight", "bias"])
    assert target.num_params == 4


@settings(max_examples=50, deadline=None)
@given(st.floats(-30, 30), st.integers(-4, 4))
def test_fold_reflects_repeats_and_stays_inside(x, periods):
    low, high = -1.0, 2.5
    with jax.enable_x64(True):
        fold = potential_target(lambda w: jnp.sum(w**2), jnp.zeros(1), nbeta=1.0, box=(low, high)).prior.fold
        point = jnp.array([x])
        inside = float(fold(point)[0])
        assert low <= inside <= high
        assert float(fold(2 * high - point)[0]) == pytest.approx(inside, abs=1e-9)
        assert float(fold(2 * low - point)[0]) == pytest.approx(inside, abs=1e-9)
        assert float(fold(point + 2 * periods * (high - low))[0]) == pytest.approx(inside, abs=1e-9)
        assert float(fold(fold(point))[0]) == pytest.approx(inside, abs=1e-9)
        if low < x < high:
            assert inside == pytest.approx(x, abs=1e-12)


NAN = float("nan")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": {"x": np.full((N, 3), NAN), "y": np.zeros(N)}}, r"data\['x'\] holds NaN"),
        ({"data": {"x": np.zeros((N, 3)), "y": np.full(N, np.inf)}}, r"data\['y'\] holds .*first inf in row 0"),
        ({"data": {"x": np.zeros((0, 3)), "y": np.zeros(0)}}, "n = 0 rows"),
        ({"data": {"x": np.zeros((2, 3)), "y": np.zeros(2)}}, "n = 2 rows; at least 3"),
        ({"data": {"x": np.zeros((N, 3)), "y": np.zeros(N - 1)}}, "same number n of rows"),
        ({"data": {"x": np.zeros((N, 3)), "y": np.zeros(())}}, "is the single number"),
        ({"data": {}}, "data holds no array"),
        ({"data": {"x": np.zeros((N, 3))}}, "do params fit"),
        ({"data": {"x": np.zeros((N, 4)), "y": np.zeros(N)}}, "do params fit"),
        ({"params": {"weight": np.zeros(3)}}, "do params fit"),
        ({"params": {"weight": np.full(3, NAN), "bias": np.zeros(())}}, "holds NaN or infinite"),
        ({"params": {"weight": np.zeros(3, int), "bias": np.zeros(())}}, "must be floating point"),
        ({"params": {"weight": np.zeros(3), "bias": np.zeros(()), "activation": "relu"}}, "'activation'.* is 'relu'"),
        ({"params": {}}, "holds no parameter"),
        ({"data": {"x": np.zeros((N, 3)), "y": np.array(["a"] * N)}}, r"data\['y'\] holds text .*no numbers"),
        ({"data": [[0.0] * 3] * N}, "do params fit"),
        ({"localization": -1.0}, "gamma must be finite and at least 0"),
        ({"localization": NAN}, "localization is nan"),
        ({"inverse_temperature": 0.0}, "must be positive and finite"),
        ({"inverse_temperature": -0.1}, "must be positive and finite"),
        ({"inverse_temperature": math.inf}, "must be positive and finite"),
        ({"weight_decay": -1e-4}, "weight_decay is -0.0001"),
        ({"weight_decay": NAN}, "weight_decay is nan"),
        ({"loss": lambda w, rows: jnp.mean(squared(w, rows))}, "one value per row"),
        ({"loss": lambda w, rows: squared(w, rows)[:, None]}, "one value per row"),
        ({"loss": lambda w, rows: squared(w, rows) + jnp.sum(rows["y"] ** 2)}, "may not depend on other rows"),
        ({"loss": lambda w, rows: jnp.log(0 * squared(w, rows))}, "the loss of datum 0 at params is -inf"),
        ({"trainable": lambda path: False}, "accepts no leaf; the leaves are bias, weight"),
    ],
)
def test_wrong_calls_say_what_is_wrong(data, optimum, change, message):
    call = {"loss": squared, "params": optimum, "data": data} | change
    with pytest.raises(ValueError, match=message):
        loss_target(**call)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nbeta": 0.0}, "nbeta is 0.0; it must be positive"),
        ({"nbeta": -5.0}, "nbeta is -5"),
        ({"nbeta": NAN}, "nbeta is nan"),
        ({"nbeta": math.inf}, "nbeta is inf"),
        ({"localization": -1.0}, "gamma must be finite and at least 0"),
        ({"box": (0.5, 1.0)}, "lies outside the box"),
        ({"box": (1.0, -1.0)}, "every upper side must exceed"),
        ({"minimum": jnp.array([NAN])}, "holds NaN"),
        ({"minimum": jnp.array([1])}, "must be floating point"),
        ({"potential": lambda w: jnp.log(jnp.sum(w))}, "it must be finite"),
        ({"potential": lambda w: w**2}, r"of shape \(1,\); it must return one number"),
    ],
)
def test_wrong_potentials_say_what_is_wrong(change, message):
    call = {"potential": lambda w: jnp.sum(w**2), "minimum": jnp.zeros(1), "nbeta": 10.0} | change
    with pytest.raises(ValueError, match=message):
        potential_target(**call)


def test_polish_reaches_the_least_squares_solution(data, optimum, elsewhere):
    polished = polish(squared, elsewhere, data)
    np.testing.assert_allclose(flat(polished), flat(optimum), atol=1e-6)
    assert loss_target(squared, polished, data).gradient_norm < 1e-7


def test_polish_reaches_the_ridge_solution(data, elsewhere):
    design = np.column_stack([data["x"], np.ones(N)])
    want = np.linalg.solve(design.T @ design / N + 0.5 * np.eye(4), design.T @ data["y"] / N)
    polished = polish(squared, elsewhere, data, weight_decay=0.5, adam_steps=0)
    np.testing.assert_allclose(flat(polished), [want[3], *want[:3]], atol=1e-6)


def test_polish_never_returns_a_worse_point(data, optimum):
    polished = polish(squared, optimum, data, learning_rate=10.0, lbfgs_steps=1)
    assert mean_loss(polished, data) <= mean_loss(optimum, data) + 1e-15


def test_deficit_is_the_energy_below_that_of_the_claimed_minimum():
    """U = nβ κ/2 (|w|² − |w*|²) + γ/2 |w − w*|²: its lowest value is −(nβκ|w*|)²/(2(nβκ + γ))."""
    claimed = jnp.array([0.3, -0.4])
    nbeta, gamma, curvature = 100.0, 5.0, 2.0
    target = potential_target(lambda w: 0.5 * curvature * jnp.sum(w**2), claimed, nbeta=nbeta, localization=gamma)
    want = (nbeta * curvature * 0.5) ** 2 / (2 * (nbeta * curvature + gamma))
    assert deficit(target) == pytest.approx(want, rel=1e-8)
    origin = potential_target(lambda w: 0.5 * curvature * jnp.sum(w**2), jnp.zeros(2), nbeta=nbeta)
    assert deficit(origin) == pytest.approx(0, abs=1e-12)
