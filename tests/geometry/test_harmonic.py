"""The Gaussian posterior on a Krylov space against that of the dense Hessian."""

import jax
import numpy as np
import pytest

import slt
from slt.geometry import harmonic as law_of
from slt.geometry.harmonic import gradients, harmonic, krylov, shifts, solve
from slt.targets.networks import mlp_init, mlp_loss

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 6)).astype(np.float32)
ROWS = {"inputs": X, "targets": (np.abs(X[:, 0]) + X[:, 1] > 0.5).astype(np.int32)}
LOSS = mlp_loss("tanh", "cross_entropy")


@pytest.fixture(scope="module")
def target():
    """6-14-2, 128 parameters, as drawn: curvatures of 4 decades, some below 0."""
    params = mlp_init(jax.random.key(0), (6, 14, 2))
    return slt.loss_target(LOSS, params, ROWS, localization=1.0, weight_decay=1e-2)


def losses(w):
    return LOSS(w, {name: part[:5] for name, part in ROWS.items()})


def test_products_with_what_is_asked_are_those_of_the_dense_hessian(target):
    dense, seeds = harmonic(target), gradients(losses, target.minimum)
    assert dense.doubt == 0
    exact = solve(dense, seeds)
    inverse = dense.vectors @ ((1 / (dense.nbeta * np.maximum(dense.values, 0) + dense.precision))[:, None]
                               * dense.vectors.T)  # fmt: skip
    np.testing.assert_allclose(exact, inverse @ seeds, rtol=1e-4, atol=1e-6 * np.abs(exact).max())
    errors, doubts = [], []
    for number in (12, 24, 60):
        law = krylov(target, seeds, number)
        assert law.vectors.shape == (128, number)
        np.testing.assert_allclose(law.vectors.T @ law.vectors, np.eye(number), atol=2e-5)
        errors.append(float((np.linalg.norm(solve(law, seeds) - exact, axis=0) / np.linalg.norm(exact, axis=0)).max()))
        doubts.append(law.doubt)
    assert errors[2] < 0.02
    assert errors[0] > errors[1] > errors[2]
    assert all(error < doubt for error, doubt in zip(errors, doubts, strict=True))


def test_draws_have_the_covariance_of_the_law_and_leave_what_is_not_chosen(target):
    law = krylov(target, gradients(losses, target.minimum), 24)
    draws = shifts(law, 4000, seed=0) @ solve(law, np.eye(128))[:, :3]
    covariance = solve(law, np.eye(128))
    expected = covariance[:, :3].T @ covariance @ covariance[:, :3]
    np.testing.assert_allclose(np.cov(draws.T), expected, atol=0.1 * expected.diagonal().max())  # 4 errors
    some = shifts(harmonic(target), 10, seed=0, chosen=np.array([3, 7]))
    assert np.flatnonzero(some.any(0)).tolist() == [3, 7]


def test_many_seeds_are_combined_and_a_model_too_large_for_memory_is_refused(target, monkeypatch):
    combined = gradients(lambda w: LOSS(w, ROWS), target.minimum)
    assert combined.shape == (128, law_of.SEEDS)
    monkeypatch.setattr(law_of, "LARGEST", 0)
    assert harmonic(target, losses).vectors.shape == (128, law_of.DIRECTIONS)
    monkeypatch.setattr(law_of, "NUMBERS", 128 * 15)
    with pytest.raises(ValueError, match="16 vectors of all parameters at least, and this target samples 128"):
        harmonic(target, losses)
    with pytest.raises(ValueError, match="Select fewer"):
        harmonic(target)
