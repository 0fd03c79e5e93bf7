"""Every kernel keeps one contract, and every stochastic-gradient kernel its *own* discretised stationary law.

Errors are between independent chains, so that autocorrelation cannot shrink them. Each comparison has a false-failure
rate of 1e-6; the resolutions, 1-5 % of the exact value, stand in the calls. Halved noise or drift is off by a factor
of about 2.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_agrees

from slt.samplers.langevin import leimkuhler_matthews, preconditioned, sghmc, sgld, sgnht
from slt.samplers.mcmc import hmc, mala, mclmc, nuts
from slt.stats.replicates import replicate_mean

FALSE_FAIL = 1e-6

KERNELS = {
    "sgld": lambda u: sgld(u, step_size=0.01),
    "leimkuhler_matthews": lambda u: leimkuhler_matthews(u, step_size=0.01),
    "sghmc": lambda u: sghmc(u, step_size=0.1, friction=1.0),
    "preconditioned": lambda u: preconditioned(u, step_size=0.01, num_adapt=3),
    "preconditioned_adapting": lambda u: preconditioned(u, step_size=0.01, num_adapt=None),
    "sgnht": lambda u: sgnht(u, step_size=0.1, friction=1.0),
    "mala": lambda u: mala(u, step_size=0.01),
    "hmc": lambda u: hmc(u, step_size=0.1, num_integration_steps=3),
    "hmc_decades": lambda u: hmc(u, step_size=0.1, num_integration_steps=3, decades=2.0),
    "nuts": lambda u: nuts(u, step_size=0.3, max_doublings=3),
    "mclmc": lambda u: mclmc(u, step_size=0.1, decoherence_length=1.0),
}
TREE = {"a": jnp.full((2, 3), 0.5, jnp.float32), "b": [jnp.asarray(-0.3, jnp.float32), (jnp.linspace(-1.0, 1.0, 4),)]}
BATCH = jnp.asarray(2.0)


def energy(position, batch):
    """Curved, and not finite where the first entry exceeds 5."""
    value = 0.5 * batch * sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(position))
    return jnp.where(jax.tree.leaves(position)[0].ravel()[0] > 5, jnp.nan, value)


def same(a, b):
    return jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), a, b))


class Kernel(NamedTuple):
    """A sampler whose programs are compiled once for all tests of its contract; traces: of its energy so far."""

    sampler: Any
    init: Callable
    step: Callable
    traces: list


@pytest.fixture(scope="module", params=KERNELS)
def kernel(request):
    traces = []

    def counted(position, batch):
        traces.append(None)
        return energy(position, batch)

    sampler = KERNELS[request.param](counted)
    return Kernel(sampler, jax.jit(sampler.init), jax.jit(sampler.step), traces)


def test_contract(kernel):
    """Jit, pytree, one compile, keys alone decide, Info is finite and sized as promised."""
    step, start = kernel.step, kernel.init(TREE, BATCH)
    key = jax.random.key(0)
    first, info = step(key, start, BATCH)
    compiled, states = len(kernel.traces), [first]
    for i in range(1, 5):
        states.append(step(jax.random.fold_in(key, i), states[-1], BATCH)[0])
    assert len(kernel.traces) == compiled, "a later step traced again"
    assert jax.tree.structure(first.position) == jax.tree.structure(TREE)
    for state in states:
        assert jax.tree.map(lambda a: (a.shape, a.dtype), state) == jax.tree.map(lambda a: (a.shape, a.dtype), start)
        assert jax.tree.all(jax.tree.map(lambda a: bool(jnp.isfinite(a).all()), state.position))
    assert same(step(key, start, BATCH)[0].position, first.position)
    other = step(jax.random.key(1), start, BATCH)[0]
    assert not same(other, first)
    assert all(np.shape(part) == () for part in info)
    assert 0 <= float(info.acceptance_rate) <= 1
    assert info.diverging.dtype == bool
    assert not bool(info.diverging)
    assert int(info.num_gradients) >= 1


def test_chains_by_vmap_in_a_scan_are_the_chains_one_by_one(kernel):
    """A scan carries the state, and what it gives for many chains at once is what each gives alone, step by step."""

    def chain(key, position):
        def move(state, step_key):
            state, info = kernel.sampler.step(step_key, state, BATCH)
            return state, (state.position, info)

        return jax.lax.scan(move, kernel.sampler.init(position, BATCH), jax.random.split(key, 4))

    positions = jax.tree.map(lambda a: jnp.stack([a, 0.5 * a, -a]), TREE)
    keys = jax.random.split(jax.random.key(0), 3)
    state, (together, info) = jax.jit(jax.vmap(chain))(keys, positions)
    assert info.diverging.shape == (3, 4)
    assert jax.tree.structure(state.position) == jax.tree.structure(TREE)
    for c in range(3):
        alone = kernel.init(jax.tree.map(lambda a, c=c: a[c], positions), BATCH)
        for i, step_key in enumerate(jax.random.split(keys[c], 4)):
            alone, _ = kernel.step(step_key, alone, BATCH)
            found = jax.tree.map(lambda a, c=c, i=i: a[c, i], together)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, alone.position)


def test_an_energy_that_is_not_finite_is_flagged(kernel):
    broken = jax.tree.map(lambda a: a + 10, TREE)
    assert bool(kernel.step(jax.random.key(0), kernel.init(broken, BATCH), BATCH)[1].diverging)


METROPOLIS = {
    "mala": lambda u: mala(u, step_size=0.5),
    "hmc": lambda u: hmc(u, step_size=0.5, num_integration_steps=3),
    "nuts": lambda u: nuts(u, step_size=0.5, max_doublings=2),
    "mclmc": lambda u: mclmc(u, step_size=0.5, decoherence_length=1.0),
}


@pytest.mark.parametrize("build", METROPOLIS.values(), ids=METROPOLIS)
def test_proposals_that_are_not_finite_or_far_too_high_are_flagged_though_the_state_stays(build):
    """Every start is a point island: whatever is proposed lies outside, and the chain stays where it is."""

    def island(w, outside):
        return jnp.where(jnp.abs(w).max() < 1e-3, 0.5 * jnp.sum(w**2), outside * (1 + jnp.sum(w**2)))

    sampler = build(island)

    @jax.jit
    def flagged(outside):
        state = sampler.init(jnp.zeros(2), outside)
        keys = jax.random.split(jax.random.key(0), 200)
        return jax.vmap(lambda key: sampler.step(key, state, outside)[1].diverging)(keys).sum()

    assert [int(flagged(outside)) for outside in (jnp.nan, jnp.inf, 1e6)] == [200, 200, 200]


def test_mala_flags_as_many_proposals_as_leave_the_domain():
    """U = w²/2 on |w| < 1, NaN outside: from w = 0 the proposal is N(0, 2 eps), outside with probability 0.3173."""
    sampler = mala(lambda w, _: jnp.where(jnp.abs(w) < 1, 0.5 * w**2, jnp.nan), step_size=0.5)
    state = sampler.init(jnp.zeros(()), None)
    info = jax.vmap(lambda key: sampler.step(key, state, None)[1])(jax.random.split(jax.random.key(0), 20_000))
    assert abs(float(info.diverging.mean()) - 0.3173) < 5 * (0.3173 * 0.6827 / 20_000) ** 0.5
    assert float(info.acceptance_rate[info.diverging].max()) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sgld(energy, step_size=0.0), "sgld: step_size is 0.0; it must be positive"),
        (lambda: leimkuhler_matthews(energy, step_size=-1.0), "leimkuhler_matthews: step_size is -1.0"),
        (lambda: leimkuhler_matthews(energy, step_size=float("nan")), "leimkuhler_matthews: step_size is nan"),
        (lambda: sghmc(energy, step_size=0.1, friction=0.0), "sghmc: friction is 0.0"),
        (lambda: sgnht(energy, step_size=0.1, friction=-1.0), "sgnht: friction is -1.0"),
        (lambda: preconditioned(energy, step_size=0.1, num_adapt=5, decay=1.0), "decay is 1.0; it must lie strictly"),
        (lambda: preconditioned(energy, step_size=0.1, num_adapt=5, damping=0.0), "damping is 0.0"),
    ],
)
def test_wrong_settings_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ---------------------------------------------------------------- stationary laws


def quadratic(curvature, noise=0.0):
    """U = Σ κ w²/2 whose gradient carries N(0, noise²) per entry by way of the batch."""
    return lambda w, batch: 0.5 * jnp.sum(curvature * w**2) + noise * jnp.vdot(batch, w)


def time_averages(sampler, statistic, *, dim=1, chains=512, steps=1500, warmup=200, start=0.0, seed=0):
    """Mean of statistic(state) over the kept steps of each chain, leading axis chain; batches are N(0, I)."""

    def one_chain(key):
        def body(carry, i):
            state, total = carry
            batch_key, step_key = jax.random.split(jax.random.fold_in(key, i))
            state, _ = sampler.step(step_key, state, jax.random.normal(batch_key, (dim,)))
            value = statistic(state)
            return (state, jax.tree.map(lambda t, v: t + jnp.where(i < warmup, 0, v), total, value)), None

        first = sampler.init(jnp.full(dim, start), jnp.zeros(dim))
        zero = jax.tree.map(jnp.zeros_like, statistic(first))
        (state, total), _ = jax.lax.scan(body, (first, zero), jnp.arange(warmup + steps))
        return jax.tree.map(lambda t: t / steps, total), state

    averages, states = jax.jit(jax.vmap(one_chain))(jax.random.split(jax.random.key(seed), chains))
    return jax.tree.map(lambda a: np.asarray(a, np.float64), averages), states


def position_variance(sampler, **options):
    values, _ = time_averages(sampler, lambda state: jnp.mean(state.position**2), **options)
    return replicate_mean(values)


@pytest.mark.parametrize(("curvature", "step_size"), [(1.0, 0.2), (1.0, 1.0), (50.0, 0.01)])
def test_sgld_has_variance_one_over_kappa_times_one_minus_eps_kappa_half(curvature, step_size):
    exact = 1 / (curvature * (1 - step_size * curvature / 2))
    got = position_variance(sgld(quadratic(curvature), step_size=step_size))
    assert_agrees(got, exact, resolution=0.03 * exact, false_fail=FALSE_FAIL)


@pytest.mark.parametrize("noise", [1.0, 5.0])
def test_sgld_under_gradient_noise_is_its_autoregression(noise):
    """w' = (1 − εκ) w + √(2ε) ξ − ε s ζ has variance (2ε + ε²s²)/(1 − (1 − εκ)²)."""
    curvature, step_size = 2.0, 0.1
    exact = (2 * step_size + (step_size * noise) ** 2) / (1 - (1 - step_size * curvature) ** 2)
    got = position_variance(sgld(quadratic(curvature, noise), step_size=step_size))
    assert_agrees(got, exact, resolution=0.03 * exact, false_fail=FALSE_FAIL)


@pytest.mark.parametrize(("curvature", "step_size"), [(1.0, 0.2), (1.0, 1.0), (50.0, 0.03)])
def test_leimkuhler_matthews_is_exact_on_quadratics(curvature, step_size):
    got = position_variance(leimkuhler_matthews(quadratic(curvature), step_size=step_size))
    assert_agrees(got, 1 / curvature, resolution=0.03 / curvature, false_fail=FALSE_FAIL)


@pytest.mark.parametrize(("curvature", "step_size", "friction"), [(1.0, 0.3, 1.0), (1.0, 1.5, 0.5), (50.0, 0.2, 10.0)])
def test_sghmc_positions_are_exact_on_quadratics(curvature, step_size, friction):
    sampler = sghmc(quadratic(curvature), step_size=step_size, friction=friction)
    assert_agrees(position_variance(sampler), 1 / curvature, resolution=0.03 / curvature, false_fail=FALSE_FAIL)


def test_sghmc_kicked_momentum_has_its_discretised_law():
    """BAOAB's own momentum is half a kick after ours; on a quadratic its variance is 1 − h²κ/4 exactly."""
    curvature, h = 1.0, 0.8
    sampler = sghmc(quadratic(curvature), step_size=h, friction=1.0)
    values, _ = time_averages(sampler, lambda s: jnp.mean((s.momentum - 0.5 * h * curvature * s.position) ** 2))
    assert_agrees(replicate_mean(values), 1 - h**2 * curvature / 4, resolution=0.02, false_fail=FALSE_FAIL)


def test_sghmc_is_heated_by_gradient_noise_and_the_thermostat_is_not():
    """Kicks of h s ζ act as noise of temperature h s²/(2α): first order in h. The thermostat finds the friction."""
    h, noise, friction, dim = 0.1, 4.0, 1.0, 10
    heat = h * noise**2 / (2 * friction)
    options = {"dim": dim, "chains": 64, "steps": 4000, "warmup": 1000}
    heated = position_variance(sghmc(quadratic(1.0, noise), step_size=h, friction=friction), **options)
    cooled = position_variance(sgnht(quadratic(1.0, noise), step_size=h, friction=friction), **options)
    assert_agrees(heated, 1 + heat, resolution=0.15, false_fail=FALSE_FAIL)
    assert_agrees(cooled, 1.0, resolution=0.05, false_fail=FALSE_FAIL)


@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_sgnht_holds_kinetic_energy_and_position_variance(noise):
    """To O(h²κ), within the resolution: d/2, 1/κ, and a friction grown by the h s²/2 that the noise feeds in."""
    dim, h, curvature = 10, 0.1, 2.0
    sampler = sgnht(quadratic(curvature, noise), step_size=h, friction=1.0)

    def statistic(s):
        kinetic = 0.5 * jnp.sum(s.momentum**2)
        return {"position": jnp.mean(s.position**2), "kinetic": kinetic, "friction": s.friction}

    values, states = time_averages(sampler, statistic, dim=dim, chains=64, steps=4000, warmup=1000)
    estimates = {name: replicate_mean(value) for name, value in values.items()}
    assert_agrees(estimates["position"], 1 / curvature, resolution=0.025, false_fail=FALSE_FAIL)
    assert estimates["kinetic"].value == pytest.approx(dim / 2, rel=0.05)
    assert estimates["friction"].value == pytest.approx(1 + 0.5 * h * noise**2, rel=0.08)
    assert estimates["friction"].mcse < 0.02
    assert estimates["kinetic"].mcse < 0.02 * dim / 2
    assert np.isfinite(np.asarray(states.friction)).all()


def test_sgnht_momentum_moves_the_position():
    """Between two noiseless half kicks w advances by h v: a momentum that is never applied stands still."""
    h = 0.1
    sampler = sgnht(lambda w, batch: jnp.zeros(()), step_size=h, friction=1e-9)
    start = sampler.init(jnp.zeros(4), None)._replace(momentum=jnp.ones(4), friction=jnp.zeros(()))
    moved, _ = sampler.step(jax.random.key(0), start, None)
    np.testing.assert_allclose(moved.position, h * np.ones(4), rtol=1e-3)


KAPPA = jnp.array([1.0, 100.0])


def test_frozen_preconditioner_is_sgld_in_its_units_at_condition_number_100():
    """Each chain i freezes P_i; its variance in direction j is 1/(κ_j (1 − ε P_ij κ_j/2)), exactly."""
    step_size, damping = 0.02, 1e-3
    sampler = preconditioned(quadratic(KAPPA), step_size=step_size, num_adapt=1000, decay=0.99, damping=damping)
    values, states = time_averages(
        sampler, lambda s: s.position**2, dim=2, start=0.5, warmup=2000, steps=3000, chains=512
    )
    rate = step_size / (np.sqrt(np.asarray(states.second_moment, np.float64) / (1 - 0.99**1000)) + damping)
    exact = 1 / (np.asarray(KAPPA) * (1 - rate * np.asarray(KAPPA) / 2))
    for direction in range(2):
        ratio = replicate_mean(values[:, direction] / exact[:, direction])
        assert_agrees(ratio, 1.0, resolution=0.05, false_fail=FALSE_FAIL)
    spread = np.median(rate[:, 0] / rate[:, 1])
    assert 3 < spread < 30, "the stiff direction takes the smaller step"


def test_a_frozen_preconditioner_stays_frozen():
    sampler = preconditioned(quadratic(1.0), step_size=0.01, num_adapt=5)
    state = sampler.init(jnp.ones(1), None)
    seen = []
    for i in range(8):
        state, _ = sampler.step(jax.random.key(i), state, jnp.zeros(1))
        seen.append(float(state.second_moment[0]))
    assert len(set(seen[:5])) == 5
    assert len(set(seen[4:])) == 1


def test_adapting_preconditioner_is_biased_even_at_small_steps():
    """Why the published form is not the default: with ε P κ/2 below 1 % its variance is off by more than 10 %.

    The exact law is not known. The run resolves 0.15 at a false-failure rate of 1e-6 and must lie beyond that.
    """
    sampler = preconditioned(quadratic(1.0), step_size=0.01, num_adapt=None, decay=0.9)
    got = position_variance(sampler, start=0.5, steps=6000, warmup=1000, chains=512)
    assert 6 * got.mcse < 0.15
    assert abs(got.value - 1) > 0.15
