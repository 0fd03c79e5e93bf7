"""Curvature and noise on problems where they are known; warm-up and drift on planted ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slt.samplers.tune import half_drift, largest_curvature, noise_trace, warmup_end
from slt.targets.target import loss_target

KEY = jax.random.key(0)


def test_largest_curvature_of_a_quadratic():
    """Eigenvalues 1 ... 20 and 100 in random directions, as a pytree: 15 power iterations leave below 1e-4."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(21, 21)))[0]
    matrix = jnp.asarray(basis @ np.diag([*range(1, 21), 100.0]) @ basis.T, jnp.float32)

    def energy(w, batch):
        x = jnp.concatenate([w["a"].ravel(), w["b"]])
        return 0.5 * x @ matrix @ x

    position = {"a": jnp.zeros((3, 4)), "b": jnp.ones(9)}
    assert float(largest_curvature(KEY, energy, position, ())) == pytest.approx(100, rel=1e-4)


def test_largest_curvature_is_that_of_the_position():
    """U = w⁴ + v²/2: 12 w² where that exceeds 1, and the absolute value of a negative one."""

    def curvature(w, sign=1.0):
        energy = lambda p, batch: sign * (p[0] ** 4 + p[1] ** 2 / 2)  # noqa: E731
        return float(largest_curvature(KEY, energy, jnp.array([w, 0.0]), (), num_iterations=40))

    assert curvature(0.0) == pytest.approx(1)
    assert curvature(2.0) == pytest.approx(48, rel=1e-4)
    assert curvature(2.0, sign=-1.0) == pytest.approx(48, rel=1e-4)


def test_largest_curvature_never_exceeds_the_largest_eigenvalue():
    eigenvalues = jnp.linspace(0.1, 3.0, 50)
    energy = lambda w, batch: 0.5 * jnp.sum(eigenvalues * w**2)  # noqa: E731
    got = [float(largest_curvature(jax.random.key(s), energy, jnp.zeros(50), ())) for s in range(5)]
    assert max(got) <= 3.0 + 1e-5
    assert min(got) > 2.7


@pytest.mark.parametrize("control_variate", [False, True])
def test_noise_trace_of_least_squares(control_variate):
    """tr Cov of one row's gradient, by the full sum over rows; 100 keys of 8 groups resolve 15 % at 6 standard errors.

    Without control variate at w: −nβ (y − xᵀw) x; with it, −nβ xxᵀ(w − w*) up to sign.
    """
    rng = np.random.default_rng(0)
    n, dim = 400, 20
    x = rng.normal(size=(n, dim))
    y = x @ rng.normal(size=dim) + 0.5 * rng.normal(size=n)
    optimum = np.linalg.lstsq(x, y, rcond=None)[0]
    point = optimum + 0.1 * rng.normal(size=dim)
    data = {"x": jnp.asarray(x, jnp.float32), "y": jnp.asarray(y, jnp.float32)}
    target = loss_target(
        lambda w, rows: 0.5 * (rows["y"] - rows["x"] @ w) ** 2, jnp.asarray(optimum, jnp.float32), data,
        control_variate=control_variate,
    )  # fmt: skip
    rows = x * (x @ (point - optimum))[:, None] if control_variate else -x * (y - x @ point)[:, None]
    exact = target.nbeta**2 * np.var(rows, axis=0).sum()
    trace = jax.jit(lambda k: noise_trace(k, target.energy, jnp.asarray(point, jnp.float32), target.data))
    values = np.array([float(trace(k)) for k in jax.random.split(KEY, 100)])
    error = values.std(ddof=1) / np.sqrt(100)
    assert 6 * error < 0.15 * exact
    assert values.mean() == pytest.approx(exact, abs=6 * error)


def test_a_potential_has_no_gradient_noise():
    assert float(noise_trace(KEY, lambda w, batch: jnp.sum(w**2), jnp.ones(3), ())) == 0


def white(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("height", [20.0, -20.0], ids=["down", "up"])
@pytest.mark.parametrize("length", [50, 400, 900])
def test_warmup_end_finds_a_planted_transient(height, length):
    """An exponential of 5 time constants within `length` draws: cut where it is below the noise, not far beyond."""
    transient = height * np.exp(-5 * np.arange(2000) / length)
    start, drift = warmup_end(white((4, 2000)) + transient)
    assert abs(transient[start]) < 1.0
    assert start < 2 * length + 40
    assert abs(drift) < 4


def test_without_transient_little_is_cut():
    starts = [warmup_end(white((4, 2000), seed))[0] for seed in range(10)]
    assert np.median(starts) <= 200


def test_a_trend_through_the_whole_run_is_left_in_the_drift():
    trend = np.linspace(0, 5, 2000)
    start, drift = warmup_end(white((4, 2000)) + trend)
    assert start <= 1000
    assert drift > 4


@pytest.mark.parametrize("slope", [2.0, -2.0])
def test_half_drift_of_a_planted_trend(slope):
    """A line from 0 to s: halves differ by s/2; the trend's own spread is in their error, so only the sign is exact."""
    drift = half_drift(white((8, 1000)) + np.linspace(0, slope, 1000))
    assert np.sign(drift) == np.sign(slope)
    assert abs(drift) > 4


def test_half_drift_of_white_noise_is_standard_normal():
    """200 runs: mean within 0.35, spread within 25 %; both 5 standard errors."""
    drifts = [half_drift(white((4, 200), seed)) for seed in range(200)]
    assert abs(np.mean(drifts)) < 5 / np.sqrt(200)
    assert np.std(drifts) == pytest.approx(1, abs=0.25)
