import math

import jax.numpy as jnp
import numpy as np
import pytest

from slt import potential_target
from slt.studies.segment import basin_segment


def view(potential, minimum):
    return potential_target(potential, jnp.asarray(minimum, float), nbeta=1.0)


def circle(w):
    return (jnp.sum(w**2) - 1.0) ** 2


def test_a_segment_of_an_annulus_has_the_area_of_the_annulus():
    # {(rho^2 - 1)^2 <= T, |angle| <= delta}: area 2 delta sqrt(T), exactly; the behaviour is the angle itself
    T, delta = 1e-4, 0.6
    found = basin_segment(view(circle, [1.0, 0.0]), lambda w: jnp.arctan2(w[1], w[0]), threshold=T, change=delta)
    exact = math.log(2 * delta * math.sqrt(T))
    assert found.log_volume_to_first_order == pytest.approx(exact, abs=1e-9)
    assert found.log_volume == pytest.approx(exact, abs=1e-3)  # chords of 1/20 of the arc
    assert (found.dimension, found.trivial, found.reason) == (2, 0, "")


def test_walking_sees_what_the_jacobian_does_not():
    # behaviour w itself, rms over two outputs: the chord 2 sin(angle/2)/sqrt(2) against its tangent
    T, delta = 1e-4, 1.2
    found = basin_segment(view(circle, [1.0, 0.0]), lambda w: w, threshold=T, change=delta)
    arc = 2 * math.asin(delta * math.sqrt(2) / 2)
    np.testing.assert_allclose(found.extents, delta * math.sqrt(2), rtol=1e-9)
    np.testing.assert_allclose(found.walked_extents, arc, rtol=2e-3)
    assert found.log_volume == pytest.approx(math.log(2 * arc * math.sqrt(T)), abs=3e-3)


def test_a_plane_of_minima():
    # two tangent directions, behaviour of slopes 2 and 5, cross-section of one: an elliptic cylinder
    T, delta = 0.02, 0.3
    found = basin_segment(
        view(lambda w: 3 * w[0] ** 2, [0.0, 0.0, 0.0]),
        lambda w: jnp.array([2 * w[1], 5 * w[2]]),
        threshold=T,
        change=delta,
    )
    exact = math.log(2 * math.sqrt(T / 3)) + math.log(math.pi * 2 * delta**2 / 10)
    assert found.log_volume_to_first_order == pytest.approx(exact, abs=1e-9)
    assert found.log_volume == pytest.approx(exact, abs=1e-6)


def test_directions_that_change_nothing_are_counted_and_left_out():
    found = basin_segment(view(lambda w: w[0] ** 2, [0.0, 0.0, 0.0]), lambda w: w[1], threshold=0.1, change=0.1)
    assert (found.trivial, found.dimension) == (1, 2)
    assert "does not change" in found.reason


def test_a_walk_without_end_is_said():
    found = basin_segment(
        view(circle, [1.0, 0.0]), lambda w: jnp.sin(jnp.arctan2(w[1], w[0])), threshold=1e-4, change=5.0, max_length=3.0
    )
    assert "walks ended" in found.reason


def test_a_hessian_that_is_too_large_is_refused_before_it_is_formed():
    target = view(lambda w: jnp.sum(w[:2]) ** 2, jnp.zeros(5001))
    with pytest.raises(ValueError, match=r"5001 parameters.*formed up to 5000"):
        basin_segment(target, lambda w: w, threshold=0.1, change=0.1)


def test_bad_input_is_refused():
    target = view(circle, [1.0, 0.0])
    with pytest.raises(ValueError, match="positive"):
        basin_segment(target, lambda w: w, threshold=0.0, change=0.1)
    with pytest.raises(ValueError, match="no direction is flat"):
        basin_segment(view(lambda w: jnp.sum(w**2), [0.0]), lambda w: w, threshold=0.1, change=0.1)
    with pytest.raises(ValueError, match="no minimum"):
        basin_segment(view(lambda w: w[0] ** 2 - w[1] ** 2, [0.0, 0.0]), lambda w: w, threshold=0.1, change=0.1)
