"""Chains from w* beside chains from draws of the prior: one posterior, and one of two parts that are walled off."""

import jax.numpy as jnp
import numpy as np
import pytest

from slt.estimate.llc import estimate_llc
from slt.targets.target import potential_target

AWAY = np.array([2.5, 0.0, 0.0])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_chains_that_sit_in_one_of_two_phases_are_not_converged(seed):
    """A well of w* with three quarters of the mass, its mean energy 1.48, and a wide one with the rest, at 2.8.

    Between them is a wall of some 25 nats. From w* alone: 1.48 ± .02 where 1.8 is right.
    """
    wells = potential_target(
        lambda w: jnp.minimum(4 * w @ w, 0.1 + 0.5 * (w - AWAY) @ (w - AWAY)), jnp.zeros(3), nbeta=12.0
    )
    result = estimate_llc(wells, seed=seed, sampler="chains", max_gradients=60_000)
    assert result.verdict.status == "not converged"
    assert "draws of the prior stay" in result.verdict.reasons[0]
    assert result.diagnostics["datum_gradients"] < 1.2 * 60_000


def test_a_wall_of_ten_nats_is_seen_at_a_small_budget():
    """Chains from the prior that were still coming down in their first half: 1.49 ± .07 "converged", 2.23 is right."""
    there = np.array([1.7, 0.0, 0.0])
    wells = potential_target(
        lambda w: jnp.minimum(4 * w @ w, 0.1 + 0.5 * (w - there) @ (w - there)), jnp.zeros(3), nbeta=12.0
    )
    result = estimate_llc(wells, seed=5, sampler="chains", max_gradients=20_000)
    assert result.verdict.status == "not converged"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_one_posterior_is_found_from_everywhere(seed):
    """K = |w|² and a valley, K = (|w|² − 1)²: chains from the prior end where those from w* are."""
    for loss, start in ((lambda w: w @ w, jnp.zeros(3)), (lambda w: (w @ w - 1) ** 2, jnp.eye(3)[0])):
        result = estimate_llc(
            potential_target(loss, start, nbeta=30.0), seed=seed, sampler="chains", max_gradients=60_000
        )
        assert result.verdict.status == "converged"
        found, level = result.diagnostics, result.estimates["llc"]
        assert abs(found["elsewhere"] - level.value) < 4 * np.hypot(found["elsewhere_error"], level.mcse)
