"""The bound of lambda by the growth of K at w*, and whether the minimum is regular there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import slt
from slt.geometry.growth import growth_at_minimum

KEY = jax.random.key(0)


def growth(energy, dim, nbeta=1e8, **prior):
    with jax.enable_x64(True):
        target = slt.potential_target(energy, jnp.zeros(dim), nbeta=nbeta, **prior)
        return growth_at_minimum(KEY, target, nbeta)


@pytest.mark.parametrize(
    ("energy", "dim", "largest", "regular"),
    [
        (lambda w: w @ w, 3, 1.5, True),
        (lambda w: w[0] ** 2 + 30 * (w[1] - w[0] ** 2) ** 2, 2, 1.0, True),
        (lambda w: w[0] ** 2 * w[1] ** 2, 2, 1.0, False),
        (lambda w: w[0] ** 2 + w[1] ** 4, 2, 1.0, False),
        (lambda w: jnp.sum(jnp.abs(w)), 2, 2.0, False),
        (lambda w: jnp.abs(w[0]) ** 1.5, 1, 2 / 3, False),
    ],
    ids=["regular", "curved", "crossing", "quartic", "absolute", "power 1.5"],
)
def test_bound_and_regularity(energy, dim, largest, regular):
    """|w|_1 has lambda = d and |w|^1.5 has 2/3, above d/2, since they have no second derivative."""
    found = growth(energy, dim)
    assert found.largest == pytest.approx(largest, rel=0.02)
    assert found.regular == regular


def test_at_the_wall_of_a_box_the_bound_stands():
    found = growth(lambda w: w[0], 1, box=(0.0, 1.0))
    assert found.largest == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize(("nbeta", "regular"), [(1e2, False), (1e6, True)])
def test_a_direction_that_is_not_resolved_is_still_rising(nbeta, regular):
    """K = w0² + 1e-3 w1² under N(0, I): kappa_1 = 2e-3 n beta adds 1/2 kappa/(1 + kappa)² to the slope in an e-fold."""
    found = growth(lambda w: w[0] ** 2 + 1e-3 * w[1] ** 2, 2, nbeta=nbeta)
    kappa = nbeta * np.array([2.0, 2e-3])
    assert found.regular == regular
    assert found.rise == pytest.approx(np.sum(kappa / (1 + kappa) ** 2) / 2, rel=0.4)


def test_a_prior_that_vanishes_at_the_minimum_bounds_nothing():
    """Weight |w|³: lambda of w² is 2, above d/2."""
    found = growth(lambda w: w @ w, 1, box=(-1.0, 1.0), log_weight=lambda w: 3 * jnp.log(jnp.abs(w[0])))
    assert found.largest >= 2
