"""The closed form of the toy model against quadrature, its critical points against their published values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slt.catalogue.superposition import polygon, polygon_free_energy, sides, superposition_loss


def by_quadrature(position, num_points=4000):
    """Mean of |x - ReLU(W'W x + b)|² over x = mu e_i by the midpoint rule, straight from the definition."""
    c = len(position) // 3
    W, b = position[: 2 * c].reshape(2, c), position[2 * c :]
    mu = (np.arange(num_points) + 0.5) / num_points
    x = mu[:, None, None] * np.eye(c)
    return float(((x - np.maximum(x @ (W.T @ W) + b, 0)) ** 2).sum(-1).mean())


@pytest.mark.parametrize("seed", range(5))
def test_closed_form_is_the_integral(seed):
    position = np.random.default_rng(seed).normal(0, 0.8, size=18)
    with jax.enable_x64(True):
        assert float(superposition_loss(jnp.asarray(position))) == pytest.approx(by_quadrature(position), rel=1e-5)


def test_no_weights_and_no_nan():
    position = jnp.zeros(18).at[12:].set(-0.5)
    assert float(superposition_loss(position)) == pytest.approx(1 / 3)
    assert bool(jnp.isfinite(jax.grad(superposition_loss)(position)).all())


@pytest.mark.parametrize(
    ("c", "k", "constant", "loss"),
    [
        (4, 4, False, 0.0), (5, 4, False, 0.06667), (5, 4, True, 0.05667), (5, 5, False, 0.01583),
        (6, 4, False, 0.11111), (6, 5, False, 0.06874), (6, 5, True, 0.06180), (6, 6, False, 0.04819),
    ],
)  # fmt: skip
def test_losses_of_the_polygons(c, k, constant, loss):
    """Chen et al. 2023, arXiv:2310.06301, table of critical points."""
    point = polygon(c, k, constant=constant)
    assert point.loss == pytest.approx(loss, abs=6e-6)
    assert point.loss == pytest.approx(by_quadrature(point.position), abs=1e-7)


def test_learning_coefficients_are_half_the_rank_of_the_hessian():
    with jax.enable_x64(True):
        derivatives = jax.jit(lambda w: (jax.grad(superposition_loss)(w), jax.hessian(superposition_loss)(w)))
        for k, constant, rlct in ((5, False, 7), (5, True, 8.5), (6, False, 8.5)):
            point = polygon(6, k, constant=constant)
            gradient, hessian = derivatives(jnp.asarray(point.position))
            eigenvalues = np.linalg.eigvalsh(np.asarray(hessian))
            assert float(jnp.abs(gradient).max()) < 1e-12
            assert eigenvalues.min() > -1e-12
            assert float(point.rlct) == rlct == (eigenvalues > 1e-9).sum() / 2


def test_the_square_has_a_kink_and_no_single_coefficient():
    assert polygon(4, 4).rlct is None
    curvature = []
    with jax.enable_x64(True):
        center = jnp.asarray(polygon(4, 4).position)
        for sign in (1.0, -1.0):
            moved = center.at[8].add(sign * 1e-4)
            curvature.append(2 * float(superposition_loss(moved)) / 1e-8)
    assert curvature[0] > 1.5 * curvature[1] > 0


def test_sides_counts_long_vectors_and_constants():
    positions = np.stack([polygon(6, 6).position, polygon(6, 5).position, polygon(6, 4, constant=True).position])
    assert sides(positions) == ["6", "5", "4++"]


def test_refusals():
    with pytest.raises(ValueError, match="4 to 6 vertices"):
        polygon(6, 7)
    with pytest.raises(ValueError, match="one to spare"):
        polygon(5, 5, constant=True)


def test_free_energies_of_the_polygons():
    """From one n to another the 6-gon gains n dL + 17/2 log n exactly; its constant, term by term by hand."""
    point = polygon(6, 6)
    gain = polygon_free_energy(point, 2000) - polygon_free_energy(point, 1000)
    assert gain == pytest.approx(1000 * point.loss + 8.5 * np.log(2), rel=1e-9)
    log_det = -22.817939  # of the 17 eigenvalues
    prior = 6 * (point.length**2 + point.bias**2) / 2 + 9 * np.log(2 * np.pi)
    copies = np.log(120 * 2 * np.pi * np.sqrt(6) * point.length)
    constant = prior - copies + 0.5 * log_det - 8.5 * np.log(2 * np.pi)
    assert polygon_free_energy(point, 1000) == pytest.approx(
        1000 * point.loss + 8.5 * np.log(1000) + constant, abs=1e-4
    )
    with pytest.raises(ValueError, match="at most one"):
        polygon_free_energy(polygon(6, 4), 100)
