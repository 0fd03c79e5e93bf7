"""Curvature, noise and heat on problems where they are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov

from slt.geometry.landscape import Measure, Stage, largest_curvature, loss_measure, noise_measure
from slt.targets.target import loss_target, without_control_variate

KEY = jax.random.key(0)


def test_largest_curvature_of_a_quadratic():
    """Eigenvalues 1 ... 20 and 100 in random directions, as a pytree."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(21, 21)))[0]
    matrix = jnp.asarray(basis @ np.diag([*range(1, 21), 100.0]) @ basis.T, jnp.float32)

    def energy(w, batch):
        x = jnp.concatenate([w["a"].ravel(), w["b"]])
        return 0.5 * x @ matrix @ x

    position = {"a": jnp.zeros((3, 4)), "b": jnp.ones(9)}
    assert float(largest_curvature(KEY, energy, position, ())) == pytest.approx(100, rel=1e-4)


def test_largest_curvature_is_that_of_the_position():
    """U = w⁴ + v²/2: 12 w² where that exceeds 1, and the absolute value where all are negative."""

    def curvature(w, sign=1.0):
        energy = lambda p, batch: sign * (p[0] ** 4 + p[1] ** 2 / 2)  # noqa: E731
        return float(largest_curvature(KEY, energy, jnp.array([w, 0.0]), ()))

    assert curvature(0.0) == pytest.approx(1)
    assert curvature(2.0) == pytest.approx(48, rel=1e-4)
    assert curvature(2.0, sign=-1.0) == pytest.approx(48, rel=1e-4)


def test_largest_curvature_never_exceeds_the_largest_eigenvalue():
    eigenvalues = jnp.linspace(0.1, 3.0, 50)
    energy = lambda w, batch: 0.5 * jnp.sum(eigenvalues * w**2)  # noqa: E731
    got = [float(largest_curvature(jax.random.key(s), energy, jnp.zeros(50), ())) for s in range(5)]
    assert max(got) <= 3.0 + 1e-5
    assert min(got) > 2.9


@pytest.mark.parametrize("decay", [0.03, 0.1, 0.4])
@pytest.mark.parametrize("curvature", [0.01, 1.0, 30.0])
def test_heat_is_that_of_the_discrete_lyapunov_equation(decay, curvature):
    """One direction of curvature c, the prior's share included: the law of BAOAB with kicks of variance h²Σ/B.

    What the loss holds beyond its part of the curvature times the variance without noise; to rounding.
    """
    h, precision, sigma, rows = 0.25, 0.005, 7.0, 20
    c = np.exp(-decay)

    def variance(noise):
        kick = np.array([[1.0, 0.0], [-h * curvature, 1.0]])
        drift = lambda dt: np.array([[1.0, dt], [0.0, 1.0]])  # noqa: E731
        step = drift(h / 2) @ np.diag([1.0, c]) @ drift(h / 2) @ kick
        through = drift(h / 2) @ np.diag([1.0, c]) @ drift(h / 2)
        injected = noise * through @ np.diag([0.0, 1.0]) @ through.T + (1 - c**2) * drift(h / 2) @ np.diag(
            [0.0, 1.0]
        ) @ drift(h / 2).T
        return solve_discrete_lyapunov(step, injected)[0, 0]

    assert variance(0.0) == pytest.approx(1 / curvature, rel=1e-8)  # positions of BAOAB are exact
    exact = 0.5 * (curvature - precision) * (variance(h**2 * sigma / rows) - variance(0.0))
    measure = Measure(np.array([[curvature - precision]]), np.array([[sigma]]))
    found = measure.heat(step_size=h, decay=decay, precision=precision, rows=rows).value
    assert found == pytest.approx(exact, rel=1e-6)


def test_a_direction_that_the_loss_does_not_confine_holds_no_heat():
    measure = Measure(np.array([[-3.0, 0.0, 1e6]]), np.array([[5.0, 5.0, 1.0]]))
    heat = measure.heat(step_size=1e-4, decay=0.4, precision=1.0, rows=1).value
    assert heat == pytest.approx(0.5 * 1e-8 / (4 * np.tanh(0.2)) / (1 - 1e-2 / 4), rel=1e-3)
    assert measure.trace == 11


@pytest.mark.parametrize("control_variate", [False, True])
def test_noise_of_least_squares(control_variate):
    """tr Cov of one row's gradient and its heat, by the full sum over rows; 1000 vectors resolve 20 % at 6 errors.

    Without control variate at w: −nβ (y − xᵀw) x; with it, −nβ xxᵀ(w − w*) up to sign. Curvature on all rows.
    """
    rng = np.random.default_rng(0)
    n, dim = 400, 12
    x = rng.normal(size=(n, dim)) * np.geomspace(0.1, 2, dim)
    y = x @ rng.normal(size=dim) + 0.5 * rng.normal(size=n)
    optimum = np.linalg.lstsq(x, y, rcond=None)[0]
    point = optimum + 0.1 * rng.normal(size=dim)
    data = {"x": jnp.asarray(x, jnp.float32), "y": jnp.asarray(y, jnp.float32)}
    target = loss_target(
        lambda w, rows: 0.5 * (rows["y"] - rows["x"] @ w) ** 2, jnp.asarray(optimum, jnp.float32), data,
        control_variate=control_variate, localization=3.0,
    )  # fmt: skip
    rows = x * (x @ (point - optimum))[:, None] if control_variate else -x * (y - x @ point)[:, None]
    covariance = target.nbeta**2 * np.cov(rows.T, ddof=0)
    plain = without_control_variate(target)
    assert plain.gradients_per_row(8) == 1
    found = noise_measure(
        KEY, target.energy, plain.loss, target.nbeta, jnp.asarray(point, jnp.float32), target.data, target.data,
        num_vectors=1000, num_rows=64,
    )  # fmt: skip
    measure = Measure(*(np.asarray(a, np.float64) for a in found))
    squares = measure.weights.sum(1)
    assert 6 * squares.std(ddof=1) / 1000**0.5 < 0.2 * np.trace(covariance)
    assert measure.trace == pytest.approx(np.trace(covariance), abs=6 * squares.std(ddof=1) / 1000**0.5)
    h = 0.6 / np.sqrt(target.nbeta * np.linalg.eigvalsh(x.T @ x / n)[-1] + 3)
    heat = measure.heat(step_size=h, decay=0.4, precision=3.0, rows=50)
    values, vectors = np.linalg.eigh(target.nbeta * x.T @ x / n)
    sizes = np.einsum("ji,jk,ki->i", vectors, covariance, vectors)
    factor = h**2 / (4 * 50 * np.tanh(0.2)) / (1 - h**2 * (values + 3) / 4)
    exact = float(np.sum(factor * sizes * 0.5 * values / (values + 3)))
    assert 6 * heat.mcse < 0.2 * exact
    assert heat.value == pytest.approx(exact, abs=6 * heat.mcse)


def test_the_loss_seen_from_a_random_vector_has_its_trace():
    """Weights sum to d, and nodes weighted to the trace, exactly so for a diagonal Hessian and random signs."""
    curvatures = jnp.linspace(0.1, 3.0, 10)
    nodes, weights = loss_measure(KEY, lambda w, batch: 0.5 * jnp.sum(curvatures * w**2), 7.0, jnp.zeros(10), ())
    assert float(weights.sum()) == pytest.approx(10, rel=1e-5)
    assert float((nodes * weights).sum()) == pytest.approx(7 * float(curvatures.sum()), rel=1e-5)


@pytest.mark.parametrize("curvature", [0.01, 1.0, 30.0])
def test_heat_of_a_stage_that_lasts_is_that_of_the_closed_form(curvature):
    h, precision, rows = 0.25, 0.005, 20
    measure = Measure(np.array([[curvature - precision]]), np.array([[7.0]]))
    known = measure.heat(step_size=h, decay=0.4, precision=precision, rows=rows).value
    for stages in ([Stage(h, 0.4, 5)], [Stage(h, 0.03, 50), Stage(h, 0.4, 60_000), Stage(h, 0.4, 7)]):
        found, temperature = measure.after(stages, precision=precision, rows=rows)
        assert found.value == pytest.approx(known, rel=1e-6)
        assert temperature == pytest.approx(2 * known * curvature / (curvature - precision), rel=1e-6)


def test_heat_that_is_left_of_earlier_stages():
    """20,000 chains of kicks on two quadratics, mixed for ever, cooled for 8 steps and measured for 12: to five errors.

    The soft one has all of its heat still, the stiff one none. An error of a mean is .5 %: false-failure rate 1e-6.
    """
    h, sigma, precision, rows = 0.2, 2.0, 0.001, 4
    stages = [Stage(h, 0.05, 300), Stage(h, 0.4, 8), Stage(h, 0.4, 12)]
    rng = np.random.default_rng(0)
    for curvature in (0.02, 4.0):
        w = v = np.zeros(20_000)
        for stage in (stages[0], *stages):
            c, held = np.exp(-stage.decay), []
            for _ in range(stage.steps):
                held.append(w**2)
                kicked = v - h * (curvature * w + rng.normal(size=w.shape) * (sigma / rows) ** 0.5)
                w, v = w + h / 2 * (1 + c) * kicked, c * kicked
        found = 0.5 * (curvature - precision) * np.mean(held, 0)
        measure = Measure(np.array([[curvature - precision]]), np.array([[sigma]]))
        value = measure.after(stages, precision=precision, rows=rows)[0].value
        assert abs(found.mean() - value) < 5 * found.std() / len(found) ** 0.5 < 0.05 * value
        cold = measure.heat(step_size=h, decay=0.4, precision=precision, rows=rows).value
        assert value > 2 * cold if curvature < 1 else value < 1.3 * cold
