"""The law around w*: its density is normalised, and that of its draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slt.samplers.around import Law, around, mixture, smallest_radius

NUMBER = 200_000
BOX = (jnp.array([-1.0, 0.0, 0.0]), jnp.array([2.0, 1.0, 3.0]))


@pytest.mark.parametrize(("low", "high", "center"), [(None, None, 0.3), (0.0, 1.0, 0.0), (-1.0, 2.0, 0.5)])
def test_density_on_a_line_integrates_to_one(low, high, center):
    """Trapezoid rule in log distance on both sides; to 1e-3."""
    with jax.enable_x64(True):
        sides = None if low is None else (jnp.array([low]), jnp.array([high]))
        width = 1.0 if low is None else high - low
        law = around(jnp.array([center]), jnp.array([width]), 1e-4, sides)
        arm = np.geomspace(1e-9, 3, 100_000)
        x = np.concatenate([center - arm[::-1], center + arm])
        x = x if low is None else x[(x >= low) & (x <= high)]
        density = np.exp(np.asarray(jax.vmap(law.log_density)(jnp.asarray(x)[:, None])))
    assert np.trapezoid(density, x) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("sides", [None, BOX], ids=["ball", "box"])
@pytest.mark.parametrize("center", [(0.0, 0.0, 0.0), (0.5, 1.0, 0.3)], ids=["corner", "wall"])
def test_density_in_three_dimensions_is_that_of_the_draws(sides, center):
    """Mass of a cube about w*, of half side 0.01, by draws and by the density; five standard errors of both, 2 %."""
    with jax.enable_x64(True):
        center, half = jnp.array(center), 0.01
        law = around(center, jnp.array([3.0, 1.0, 3.0]), 1e-3, sides)
        draws = jax.vmap(law.draw)(jax.random.split(jax.random.key(0), NUMBER))
        drawn = (jnp.abs(draws - center) < half).all(1)
        shift = jnp.sign(jax.random.normal(jax.random.key(1), (NUMBER, 3))) * half
        # log-uniform in the largest coordinate, so that the peak at w* is seen
        size = 1e-5 ** jax.random.uniform(jax.random.key(2), (NUMBER, 1))
        shift = shift * size * jax.random.uniform(jax.random.key(3), (NUMBER, 3)).at[:, 0].set(1.0)
        shift = jax.vmap(jnp.roll)(shift, jax.random.randint(jax.random.key(4), (NUMBER,), 0, 3))
        density = 1 / (24 * jnp.max(jnp.abs(shift), 1) ** 3 * np.log(1e5))
        inside = True if sides is None else ((center + shift >= sides[0]) & (center + shift <= sides[1])).all(1)
        ratio = jnp.where(inside, jnp.exp(jax.vmap(law.log_density)(center + shift)) / density, 0.0)
    error = float(jnp.hypot(drawn.std(), ratio.std())) / NUMBER**0.5
    assert error < 0.006
    assert abs(float(drawn.mean()) - float(ratio.mean())) < 5 * error
    if sides is not None:
        assert bool(((draws >= sides[0]) & (draws <= sides[1])).all())


def test_a_share_of_the_draws_is_around():
    one, two = (
        Law(lambda key, a=a: jnp.full(1, a), lambda x, a=a: jnp.where(x[0] == a, 0.0, -jnp.inf)) for a in (0.0, 1.0)
    )
    both = mixture(one, two, 0.25)
    draws = jax.vmap(both.draw)(jax.random.split(jax.random.key(0), 4000))
    assert abs(float(draws.mean()) - 0.25) < 5 * 0.5 / 4000**0.5
    assert float(both.log_density(jnp.zeros(1))) == pytest.approx(np.log(0.75))


def test_smallest_radius_is_where_the_energy_is_flat():
    """U = a r² with r in units of the scale: below 0.1 nats for r < √(0.1/a), found to a factor of two."""
    with jax.enable_x64(True):
        for a in (1e4, 1e20):
            radius = smallest_radius(
                jax.random.key(0), lambda x, a=a: a * jnp.sum((x / 3) ** 2), jnp.zeros(4), jnp.full(4, 3.0)
            )
            assert 0.5 <= radius / (0.1 / a) ** 0.5 <= 1.0
