import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_agrees
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from slt.pac_bayes.laws import flat_loss, mlp_law
from slt.pac_bayes.pushforward import drawn_log_ratio, extend, flow_kl, kl_curve, push_forward, pushforward_kl
from slt.pac_bayes.steps import (
    extended_momentum,
    gradient_descent,
    gradient_flow,
    lanczos_log_det,
    stochastic_log_det,
    two_product_log_det,
)
from slt.studies.frames import momentum
from slt.targets.gaussian import gaussian_law
from slt.targets.networks import mlp_init, mlp_loss

KEY = jax.random.key(0)


def regression(dim=4, num=12, seed=0):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(num, dim))
    return {"inputs": inputs, "targets": inputs @ rng.normal(size=dim) + 0.3 * rng.normal(size=num)}


def square_loss(w, batch):
    return 0.5 * jnp.mean((batch["inputs"] @ w - batch["targets"]) ** 2)


def xor_net(widths=(2, 3, 1), num=12):
    inputs = np.random.default_rng(1).normal(size=(num, 2))
    data = {"inputs": inputs, "targets": np.sign(inputs[:, :1] * inputs[:, 1:])}
    return flat_loss(mlp_loss("tanh", "squared_error"), mlp_init(KEY, widths)), data


def linear_map(data, law, eta, steps):
    """Mean and covariance of w_T by the closed form w_T = w* + (I - eta H)^T (w_0 - w*)."""
    x, y = data["inputs"], data["targets"]
    hessian = x.T @ x / len(x)
    best = np.linalg.solve(hessian, x.T @ y / len(x))
    a = np.linalg.matrix_power(np.eye(len(best)) - eta * hessian, steps)
    log_det = steps * np.log1p(-eta * np.linalg.eigvalsh(hessian)).sum()  # that of the matrix itself loses digits
    return best + a @ (law.mean - best), a @ np.diag(law.std**2) @ a.T, log_det


def gaussian_kl(mean, cov, log_det, law, prior):
    shift = (mean - prior.mean) / prior.std
    trace = np.sum(np.diag(cov) / prior.std**2)
    return 0.5 * (trace + shift @ shift - len(mean)) - log_det - np.sum(np.log(law.std / prior.std))


@pytest.mark.parametrize("steps", [1, 4, 12])
def test_linear_regression_has_the_density_of_its_closed_form_at_every_draw(steps):
    data, law = regression(), gaussian_law([0.1, -0.3, 0.0, 0.5], [1.0, 0.5, 2.0, 0.8])
    mean, cov, _ = linear_map(data, law, 0.2, steps)
    training = gradient_descent(square_loss, step_size=0.2)
    run = push_forward(KEY, law.draw(KEY, 5), training, data, law=law, times=(steps,))
    w = run.positions[:, 0]
    want = stats.multivariate_normal(mean, cov).logpdf(w) - stats.norm(law.mean, law.std).logpdf(w).sum(1)
    np.testing.assert_allclose(run.log_ratio[:, 0], want, rtol=1e-10)
    assert run.side == "exact"


def test_linear_regression_without_sampling_error_has_the_closed_form_divergence():
    data, prior = regression(), gaussian_law(np.zeros(4), 1.3)
    law = gaussian_law([0.1, -0.3, 0.0, 0.5], [1.0, 0.5, 2.0, 0.8])
    root = np.diag(law.std) * 2.0  # sigma points m ± sqrt(D) s_i e_i average every quadratic exactly
    start = np.concatenate([law.mean + root, law.mean - root])
    run = push_forward(
        KEY, start, gradient_descent(square_loss, step_size=0.2), data, law=law, prior=prior, times=(0, 40)
    )
    for index, steps in enumerate((0, 40)):
        want = gaussian_kl(*linear_map(data, law, 0.2, steps), law, prior)
        assert run.log_ratio[:, index].mean() == pytest.approx(want, rel=1e-11)


def test_the_density_of_a_network_is_that_of_its_end_to_end_jacobian():
    objective, data = xor_net()
    law = gaussian_law(np.zeros(13), 0.7)
    start = law.draw(KEY, 4)
    run = push_forward(KEY, start, gradient_descent(objective, step_size=0.05), data, law=law, times=(30,))
    with jax.enable_x64(True):
        end = jax.jit(lambda w: jax.lax.fori_loop(0, 30, lambda _, x: x - 0.05 * jax.grad(objective)(x, data), w))
        log_det = np.array([np.linalg.slogdet(jax.jacfwd(end)(jnp.asarray(w)))[1] for w in start])
        want = jax.vmap(law.log_density)(start) - jax.vmap(law.log_density)(run.positions[:, 0]) - log_det
    np.testing.assert_allclose(run.log_ratio[:, 0], want, rtol=1e-9)


def test_the_densities_of_a_bent_map_integrate_to_one():
    """1-D quadrature of dQ/dP over P: a wrong sign or a lost step size shows here without any formula."""
    law = gaussian_law([0.0], 1.0)
    start = np.linspace(-7, 7, 2001)[:, None]
    training = gradient_descent(lambda w, batch: jnp.log(jnp.cosh(w[0] - 0.5)), step_size=0.7)
    run = push_forward(KEY, start, training, (), law=law, times=(6,))
    w = run.positions[:, 0, 0]
    density = np.exp(run.log_ratio[:, 0]) * stats.norm.pdf(w)
    assert np.all(np.diff(w) > 0)
    assert np.trapezoid(density, w) == pytest.approx(1, abs=1e-3)


def test_momentum_by_frames_is_the_linear_map_of_the_heavy_ball():
    data, law = regression(), gaussian_law(np.zeros(4), 1.0)
    hessian = data["inputs"].T @ data["inputs"] / 12
    eye, zero = np.eye(4), np.zeros((4, 4))
    block = np.block([[eye - 0.2 * hessian, 0.8 * eye], [-0.2 * hessian, 0.8 * eye]])
    full = np.linalg.matrix_power(block, 25) @ np.concatenate([eye, zero])
    training = momentum(square_loss, step_size=0.2, momentum=0.8)
    run = push_forward(KEY, law.draw(KEY, 3), training, data, law=law, times=(25,))
    first, last = stats.norm.logpdf(law.draw(KEY, 3)).sum(1), stats.norm.logpdf(run.positions[:, 0]).sum(1)
    np.testing.assert_allclose(run.log_ratio[:, 0], first - last - np.linalg.slogdet(full[:4])[1], rtol=1e-9)


def test_the_extended_prior_bounds_momentum_from_above():
    objective, data = xor_net()
    law = gaussian_law(np.zeros(13), 0.7)
    pair = extend(law, 0.05)
    training = extended_momentum(objective, step_size=0.02, momentum=0.9)
    run = push_forward(KEY, pair.draw(KEY, 20), training, data, law=pair, times=(0, 20))
    plain = momentum(objective, step_size=0.02, momentum=0.9)
    exact = push_forward(KEY, law.draw(KEY, 20), plain, data, law=law, times=(20,))
    upper = pushforward_kl(run)
    assert upper.side == "upper"
    assert pushforward_kl(run, 0).value.value == 0
    assert upper.value.value > pushforward_kl(exact).value.value
    with jax.enable_x64(True):  # the determinant mu^(2D)... of the pair, from its dense Jacobian
        z = jnp.asarray(pair.draw(KEY, 1)[0])
        jacobian = jax.jacfwd(lambda x: training.step(KEY, x, jax.tree.map(jnp.asarray, data))[0])(z)
        assert np.linalg.slogdet(jacobian)[1] == pytest.approx(training.step(KEY, z, data)[1])


def test_quadratic_gradient_flow_has_its_closed_form():
    """KL = hT + (e^(-2hT) - 1)/2 a dimension for the standard normal prior."""
    curvatures = jnp.array([0.5, 2.0])
    law = gaussian_law(np.zeros(2), 1.0)
    start = np.sqrt(2) * np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])

    def at(step):
        flow = gradient_flow(lambda w, batch: 0.5 * jnp.sum(curvatures * w**2), time_step=step)
        return push_forward(KEY, start, flow, (), law=law, times=(round(1.5 / step),))

    coarse, fine = at(0.02), at(0.01)
    h = 1.5 * np.array([0.5, 2.0])
    want = np.sum(h + (np.exp(-2 * h) - 1) / 2)
    assert fine.log_ratio.mean() == pytest.approx(want, rel=1e-8)
    assert fine.side == "none"
    upper = flow_kl(coarse, fine)
    assert upper.side == "upper"
    assert want <= upper.value.value <= want + 1e-5
    with pytest.raises(ValueError, match="half the time step"):
        flow_kl(fine, coarse)


@pytest.mark.parametrize("k", [2, 3])
def test_singular_flow_grows_as_the_reference_says(k):
    """w^(2k): the log-determinant of the closed-form flow map, D^(-(2k-1)/(2k-2)), D = 1 + 2k(2k-2) T w0^(2k-2)."""
    law, start = gaussian_law([0.0], 1.0), np.array([[0.3], [-0.8], [1.2]])
    flow = gradient_flow(lambda w, batch: w[0] ** (2 * k), time_step=0.0025)
    run = push_forward(KEY, start, flow, (), law=law, times=(4000,))
    d = 1 + 2 * k * (2 * k - 2) * 10.0 * start[:, 0] ** (2 * k - 2)
    end = start[:, 0] * d ** (-1 / (2 * k - 2))
    want = stats.norm.logpdf(start[:, 0]) - stats.norm.logpdf(end) + (2 * k - 1) / (2 * k - 2) * np.log(d)
    np.testing.assert_allclose(run.positions[:, 0, 0], end, rtol=1e-6)
    np.testing.assert_allclose(run.log_ratio[:, 0], want, rtol=1e-6)


@settings(max_examples=3, deadline=None)  # every example compiles anew
@given(st.integers(0, 1000))
def test_each_positive_direction_contributes_its_curvature_times_time(seed):
    h = np.random.default_rng(seed).uniform(0.2, 1.0, 3)
    training = gradient_descent(lambda w, batch: 0.5 * jnp.sum(jnp.asarray(h) * w**2), step_size=0.01)
    law = gaussian_law(np.zeros(3), 1.0)
    run = push_forward(KEY, law.draw(KEY, 2), training, (), law=law, times=(1000, 2000))
    growth = np.diff(run.log_ratio, axis=1) + 0.5 * np.diff((run.positions**2).sum(2), axis=1) * -1
    np.testing.assert_allclose(growth[:, 0], -1000 * np.log1p(-0.01 * h).sum(), rtol=1e-9)


def test_the_two_product_bound_is_above_by_its_own_expectation():
    data, law = regression(), gaussian_law(np.zeros(4), 1.0)
    start = np.repeat(law.draw(KEY, 1), 4000, 0)
    hessian = 0.2 * data["inputs"].T @ data["inputs"] / 12
    training = gradient_descent(square_loss, step_size=0.2, log_det=two_product_log_det())
    run = push_forward(KEY, start, training, data, law=law, times=(3,))
    exact = push_forward(KEY, start[:2], gradient_descent(square_loss, step_size=0.2), data, law=law, times=(3,))
    gap = 3 * (np.trace(hessian) + np.trace(hessian @ hessian) + np.linalg.slogdet(np.eye(4) - hessian)[1])
    assert gap > 0.02
    assert run.side == "upper"
    value = pushforward_kl(run).value
    assert_agrees(value._replace(value=value.value - exact.log_ratio[0, 0]), gap, resolution=0.2, false_fail=1e-6)


def test_the_two_product_bound_sees_one_sharp_direction_among_many_at_the_first_step():
    """At eta lambda = 0.9 the bound fails; a power iteration took steps to see it, which were certified too low."""
    law = gaussian_law(np.zeros(400), 1.0)
    training = gradient_descent(lambda w, batch: 0.45 * w[0] ** 2, step_size=1.0, log_det=two_product_log_det())
    run = push_forward(KEY, law.draw(KEY, 2), training, (), law=law, times=(1,))
    assert run.singular is not None
    assert run.singular.step == 0
    assert run.singular.reach == pytest.approx(0.9)


def test_a_log_determinant_can_be_passed_in():
    data, law = regression(), gaussian_law(np.zeros(4), 1.0)

    def by_columns(key, product, dim):
        return jnp.linalg.slogdet(jax.vmap(product)(jnp.eye(dim)))[1]

    passed = gradient_descent(square_loss, step_size=0.2, log_det=stochastic_log_det(by_columns))
    runs = [
        push_forward(KEY, law.draw(KEY, 3), training, data, law=law, times=(10,))
        for training in (passed, gradient_descent(square_loss, step_size=0.2))
    ]
    np.testing.assert_allclose(runs[0].log_ratio, runs[1].log_ratio, rtol=1e-10)


def test_lanczos_quadrature_is_unbiased_and_exact_in_a_full_krylov_space():
    objective, data = xor_net()
    law = gaussian_law(np.zeros(13), 0.7)
    start = np.repeat(law.draw(KEY, 1), 700, 0)
    training = gradient_descent(objective, step_size=0.05, log_det=lanczos_log_det(num_steps=13))
    run = push_forward(KEY, start, training, data, law=law, times=(5,))
    exact = push_forward(
        KEY, start[:1], gradient_descent(objective, step_size=0.05), data, law=law, times=(5,)
    ).log_ratio[0, 0]
    value = pushforward_kl(run).value
    assert_agrees(value, exact, resolution=0.1, false_fail=1e-6)
    alone = gradient_descent(lambda w, batch: 0.3 * w[0] ** 2, step_size=1.0, log_det=lanczos_log_det())
    one = push_forward(KEY, [[2.0]], alone, (), law=gaussian_law([0.0], 1.0), times=(1,))
    assert one.log_ratio[0, 0] == pytest.approx(0.5 * (0.8**2 - 4) - np.log(0.4), rel=1e-12)


def test_one_draw_has_no_error_and_a_random_log_determinant_no_side():
    data, law = regression(), gaussian_law(np.zeros(4), 1.0)
    runs = {}
    for name, how in (("dense", None), ("two", two_product_log_det()), ("lanczos", lanczos_log_det())):
        training = gradient_descent(square_loss, step_size=0.2, log_det=how)
        runs[name] = push_forward(KEY, law.draw(KEY, 2), training, data, law=law, times=(5,))
    kl = drawn_log_ratio(runs["dense"], 1)
    assert (kl.value.value, kl.value.mcse, kl.side) == (runs["dense"].log_ratio[1, 0], 0.0, "exact")
    assert drawn_log_ratio(runs["two"]).side == "none"
    assert drawn_log_ratio(runs["lanczos"]).side == "none"
    assert pushforward_kl(runs["two"]).side == "upper"


def test_batches_of_a_fixed_order_are_exact_and_an_order_a_chain_is_an_upper_bound():
    data, law = regression(), gaussian_law(np.zeros(4), 1.0)
    order = np.random.default_rng(0).integers(0, 12, (9, 4))
    full = np.eye(4)
    for rows in order:
        x = data["inputs"][rows]
        full = (np.eye(4) - 0.1 * x.T @ x / 4) @ full
    start = law.draw(KEY, 2)
    training = gradient_descent(square_loss, step_size=0.1)
    run = push_forward(KEY, start, training, data, law=law, times=(9,), orders=order)
    change = stats.norm.logpdf(start).sum(1) - stats.norm.logpdf(run.positions[:, 0]).sum(1)
    np.testing.assert_allclose(run.log_ratio[:, 0], change - np.linalg.slogdet(full)[1], rtol=1e-9)
    assert (run.side, "fixed batch order" in run.note) == ("exact", True)
    each = push_forward(KEY, start, training, data, law=law, times=(9,), orders=np.stack([order, order[::-1]]))
    assert each.side == "upper"
    np.testing.assert_allclose(each.log_ratio[0], run.log_ratio[0], rtol=1e-12)
    assert each.log_ratio[1, 0] != pytest.approx(run.log_ratio[1, 0], rel=1e-6)


def test_a_step_that_is_not_one_to_one_is_reported_and_refused_from_there_on():
    law = gaussian_law([0.0], 0.1)
    start = np.array([[0.2], [2.0], [0.1]])  # curvature 3 w² climbs while w grows from 0.2 on -cos-like slopes
    training = gradient_descent(lambda w, batch: -0.25 * w[0] ** 2 + w[0] ** 4 / 24, step_size=0.9)
    run = push_forward(KEY, start, training, (), law=law, times=(0, 2, 20))
    assert run.singular is not None
    assert run.singular[:2] == (0, 1)
    assert run.singular.reach == pytest.approx(0.9 * 1.5)
    assert pushforward_kl(run, 0).value.value == pytest.approx(0)
    with pytest.raises(ValueError, match=r"at step 0 of chain 1 step size times largest curvature is 1.350"):
        pushforward_kl(run, 1)


def test_the_divergence_grows_with_time_and_ends_in_a_curve():
    objective, data = xor_net()
    law = mlp_law((2, 3, 1))
    run = push_forward(
        KEY, law.draw(KEY, 30), gradient_descent(objective, step_size=0.02), data, law=law, times=(0, 50, 200)
    )
    curve = [kl.value for kl in kl_curve(run)]
    assert curve[0].value == 0
    assert curve[0].value < curve[1].value < curve[2].value
    assert curve[1].mcse == pytest.approx(run.log_ratio[:, 1].std(ddof=1) / 30**0.5)
    assert curve[1].dof == 29
    assert np.all(np.diff(run.loss.mean(0)) < 0)


def test_the_law_of_a_network_has_the_order_of_its_parameters():
    like = mlp_init(KEY, (3, 5, 2))
    marked = jax.tree.map(lambda a: jnp.full(a.shape, 0.25), like)
    marked["layer_0"]["weight"] = jnp.full((3, 5), 2 / 3**0.5)
    marked["layer_1"]["weight"] = jnp.full((5, 2), 2 / 5**0.5)
    from jax.flatten_util import ravel_pytree

    np.testing.assert_allclose(mlp_law((3, 5, 2), weight_scale=2, bias_std=0.25).std, ravel_pytree(marked)[0])
    batch = {"inputs": jnp.ones((4, 3)), "targets": jnp.ones((4, 2))}
    loss = mlp_loss("tanh", "squared_error")
    np.testing.assert_allclose(flat_loss(loss, like)(ravel_pytree(like)[0], batch), loss(like, batch).mean(), rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": np.ones(3)}, "must be \\(chain, dim\\)"),
        ({"start": np.full((2, 4), np.nan)}, "not finite"),
        ({"times": (5, 5)}, "ascending"),
        ({"times": (0.5,)}, "ascending"),
        ({"orders": np.zeros((3, 2), int)}, "for all 5 steps"),
        ({"orders": np.zeros((3, 5, 2), int)}, "2 chains"),
    ],
)
def test_wrong_calls(change, message):
    law = gaussian_law(np.zeros(4), 1.0)
    good = {"start": law.draw(KEY, 2), "times": (5,), "orders": None} | change
    with pytest.raises(ValueError, match=message):
        push_forward(
            KEY, good["start"], gradient_descent(square_loss, step_size=0.1), regression(),
            law=law, times=good["times"], orders=good["orders"],
        )  # fmt: skip


def test_wrong_laws_and_steps():
    with pytest.raises(ValueError, match="has no density"):
        gaussian_law([0.0, 0.0], [1.0, 0.0])
    with pytest.raises(ValueError, match="and its like"):
        gaussian_law([0.0, 0.0], [1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="at least two"):
        mlp_law((3,))
    with pytest.raises(ValueError, match="step_size is -1"):
        gradient_descent(square_loss, step_size=-1)
    run = push_forward(
        KEY, np.zeros((1, 4)), gradient_descent(square_loss, step_size=0.1), regression(),
        law=gaussian_law(np.zeros(4), 1.0), times=(1,),
    )  # fmt: skip
    with pytest.raises(ValueError, match="at least 2"):
        pushforward_kl(run)
