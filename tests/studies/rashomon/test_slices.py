"""Slices, nudges and wells against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slt.studies.rashomon.slices import eigenvector_plane, embed, loss_slice, nudge, plane_through, wells

SCALE = np.array([0.0, 1.0, 4.0, 0.5])


def quadratic(w):
    return 0.5 * jnp.sum(jnp.asarray(SCALE) * w**2)


def test_a_slice_is_the_quadratic_on_its_plane():
    part = loss_slice(quadratic, np.zeros(4), np.eye(4)[1], np.eye(4)[2], num_points=5)
    a, b = np.meshgrid(part.a, part.b)
    np.testing.assert_allclose(part.loss, 0.5 * a**2 + 2 * b**2, atol=1e-6)


def test_lowest_and_highest_eigenvectors():
    low = eigenvector_plane(quadratic, np.zeros(4), lowest=True)
    high = eigenvector_plane(quadratic, np.zeros(4), lowest=False)
    assert [int(np.argmax(np.abs(v))) for v in (*low, *high)] == [0, 3, 2, 1]


def test_three_minima_lie_on_their_plane():
    points = np.random.default_rng(0).normal(size=(3, 4))
    center, first, second = plane_through(points)
    part = loss_slice(quadratic, center, first, second, marks=points, num_points=3)
    np.testing.assert_allclose(center + part.marks @ np.stack([first, second]), points, atol=1e-12)
    assert np.abs(part.marks).max() <= 1 + 1e-12
    assert first @ second == pytest.approx(0, abs=1e-12)


def test_share_of_nudges_that_stay():
    """K = w_1^2/2 in the plane: a nudge of length r stays below 1/2 with probability (2/pi) asin(1/r)."""
    found = nudge(jax.random.key(2), lambda w: 0.5 * w[0] ** 2, np.zeros(2), lengths=[0.5, 2.0], num_nudges=4000)
    share = found.share(0.5)
    assert share[0] == 1
    exact = 2 / np.pi * np.arcsin(0.5)
    assert abs(share[1] - exact) < 5 * np.sqrt(exact * (1 - exact) / 4000)  # fails rightly once in 2e6, resolves 4 %


def test_an_embedding_needs_more_points_than_its_perplexity():
    with pytest.raises(ValueError, match="more points"):
        embed(np.zeros((10, 3)))
    points = np.concatenate([np.zeros((40, 3)), 10 + np.zeros((40, 3))]) + np.random.default_rng(0).normal(size=(80, 3))
    flat = embed(points, perplexity=10)
    assert flat.shape == (80, 2)


def test_a_line_of_minima_has_a_well_of_two_dimensions():
    """K = w_2^2 (1 - w_1)^2/2: from w_1 < 0 with small w_2 the flow ends on w_2 = 0, from w_1 near 1 on w_1 = 1."""
    starts = np.array([[-0.5, 0.3], [-0.8, -0.2], [0.95, 0.9], [1.1, -1.0]])
    found = wells(
        lambda w: 0.5 * w[1] ** 2 * (1 - w[0]) ** 2,
        [lambda w: jnp.abs(w[1]), lambda w: jnp.abs(1 - w[0])],
        starts=starts,
        learning_rate=0.05,
    )
    assert found.well.tolist() == [0, 0, 1, 1]
    assert found.share() == {0: 0.5, 1: 0.5}
    # the flow conserves w_2^2 - (1 - w_1)^2
    invariant = found.lines[..., 1] ** 2 - (1 - found.lines[..., 0]) ** 2
    np.testing.assert_allclose(invariant[:, -1], invariant[:, 0], rtol=0.08)


def test_parallel_directions_are_refused():
    with pytest.raises(ValueError, match="independent"):
        loss_slice(quadratic, np.zeros(4), np.eye(4)[0], 2 * np.eye(4)[0])
