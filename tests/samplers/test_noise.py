"""The hashed normals are held to the law of `jax.random.normal`, which runs as control through the same tests.

Every comparison of a mean has a false-failure rate of 1e-6 (4.9 standard errors), a p-value must exceed 1e-6;
with the fixed seeds below the file as a whole fails by chance with probability below 1e-3.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_agrees
from scipy import signal, special, stats

from slt._types import Estimate
from slt.samplers.noise import TO_NORMAL, normal_like

FALSE_FAIL = 1e-6
COUNT = 1_000_000


def threefry_like(key, tree):
    leaves, treedef = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves))
    return treedef.unflatten([jax.random.normal(k, v.shape, v.dtype) for k, v in zip(keys, leaves, strict=True)])


SOURCES = {"hashed": normal_like, "threefry": threefry_like}


@pytest.fixture(params=SOURCES)
def source(request):
    """The noise under test, or jax.random.normal as its control."""
    return request.param


@cache
def one_large_leaf(source, seed):
    return np.asarray(SOURCES[source](jax.random.key(seed), jnp.zeros(COUNT)), np.float64)


@cache
def over_steps(source, seed, *, steps=10_000, size=100):
    """Noise of a run: one key a step, dims (step, entry)."""
    key = jax.random.key(seed)
    draw = jax.jit(jax.vmap(lambda i: SOURCES[source](jax.random.fold_in(key, i), jnp.zeros(size))))
    return np.asarray(draw(jnp.arange(steps)), np.float64)


LAYOUTS = {"leaf": one_large_leaf, "steps": over_steps}


def agrees(values, exact, *, variance, resolution):
    """Mean of independent values of known variance."""
    error = np.sqrt(variance / np.size(values))
    assert_agrees(Estimate(float(np.mean(values)), error), exact, resolution=resolution, false_fail=FALSE_FAIL)


def uncorrelated(a, b):
    """Correlation of the values, of their squares and of their signs is 0; 1e6 pairs resolve 0.005."""
    for f in (lambda z: z, lambda z: (z**2 - 1) / np.sqrt(2), np.sign):
        agrees(f(np.ravel(a)) * f(np.ravel(b)), 0.0, variance=1.0, resolution=5e-3 * np.sqrt(COUNT / np.size(a)))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("power", "resolution"), [(1, 0.005), (2, 0.007), (3, 0.02), (4, 0.05), (5, 0.16), (6, 0.5)])
def test_moments(source, layout, power, resolution):
    def moment(k):
        return float(special.factorial2(k - 1)) if k % 2 == 0 else 0.0

    draws = LAYOUTS[layout](source, 1)
    agrees(draws**power, moment(power), variance=moment(2 * power) - moment(power) ** 2, resolution=resolution)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_kolmogorov_smirnov(source, layout):
    """False-failure rate 1e-6; detects a distance of 0.003 between distribution functions."""
    assert stats.kstest(np.ravel(LAYOUTS[layout](source, 1)), "norm").pvalue > FALSE_FAIL


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("threshold", [3.0, 4.0])
@pytest.mark.parametrize("side", [-1, 1])
def test_tail_counts(source, layout, threshold, side):
    """False-failure rate 1e-6; resolves 14 % of the mass beyond 3 and, of 32 draws expected, a doubling beyond 4."""
    count = int(np.sum(side * LAYOUTS[layout](source, 1) > threshold))
    assert stats.binomtest(count, COUNT, stats.norm.sf(threshold)).pvalue > FALSE_FAIL


@pytest.mark.parametrize("lag", [1, 2, 3, 16, 256, 1024, 2**16])
def test_neighbouring_entries_are_uncorrelated(source, lag):
    draws = one_large_leaf(source, 1)
    uncorrelated(draws[:-lag], draws[lag:])


@pytest.mark.parametrize("lag", [1, 2, 8])
def test_consecutive_steps_are_uncorrelated(source, lag):
    draws = over_steps(source, 1)
    uncorrelated(draws[:-lag], draws[lag:])


@pytest.mark.parametrize("shift", [1, 7])
def test_an_entry_is_uncorrelated_with_its_neighbours_a_step_later(source, shift):
    draws = over_steps(source, 1)
    uncorrelated(draws[:-1, :-shift], draws[1:, shift:])
    uncorrelated(draws[:-1, shift:], draws[1:, :-shift])


def test_chains_are_uncorrelated(source):
    """Keys as a run makes them: fold_in(fold_in(run key, chain), step), steps the same for both chains."""
    key = jax.random.key(6)
    keys = jax.vmap(lambda c: jax.vmap(lambda i: jax.random.fold_in(jax.random.fold_in(key, c), i))(jnp.arange(1000)))(
        jnp.arange(11)
    )
    draws = np.asarray(jax.jit(jax.vmap(jax.vmap(lambda k: SOURCES[source](k, jnp.zeros(100)))))(keys), np.float64)
    uncorrelated(draws[:-1], draws[1:])
    uncorrelated(np.repeat(draws[:1], 10, 0), draws[1:])


def test_leaves_are_uncorrelated(source):
    tree = {"a": jnp.zeros(COUNT), "b": (jnp.zeros((1000, 1000)),)}
    noise = SOURCES[source](jax.random.key(7), tree)
    uncorrelated(np.asarray(noise["a"], np.float64), np.asarray(noise["b"][0], np.float64))


def test_sums_over_a_step_and_over_the_run_have_the_variance_of_independent_terms(source):
    """Sees correlation of *any* pairs of entries, or of steps: 3 % of the variance over 10^5 sums of 100 terms, and a
    doubling over 100 sums of 10^5 terms; false-failure rate 1e-6 each (exact chi-square)."""
    draws = over_steps(source, 8, steps=100_000)
    for axis, resolution in ((1, 0.03), (0, 1.0)):
        sums = draws.sum(axis) / np.sqrt(draws.shape[axis])
        total = float(np.sum(sums**2))
        low, high = stats.chi2.ppf([FALSE_FAIL / 2, 1 - FALSE_FAIL / 2], sums.size)
        assert high / sums.size - 1 < resolution
        assert low < total < high


def test_always_finite(source):
    """The law is cut where a 23-bit uniform ends, at 5.3 standard deviations, and not far below."""
    largest = max(np.abs(LAYOUTS[layout](source, seed)).max() for layout in LAYOUTS for seed in (1, 2))
    assert 4.5 < largest < 5.6


def test_signs_are_balanced(source):
    draws = one_large_leaf(source, 1)
    agrees(np.sign(draws), 0.0, variance=1.0, resolution=0.005)


def test_keys_decide_and_shapes_and_types_are_kept(source):
    tree = {"a": jnp.zeros((2, 3)), "b": [jnp.zeros(()), jnp.zeros(4)]}
    draw = SOURCES[source]
    noise = draw(jax.random.key(0), tree)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), noise) == jax.tree.map(lambda a: (a.shape, a.dtype), tree)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), noise, draw(jax.random.key(0), tree)))
    assert not jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).any()), noise, draw(jax.random.key(1), tree)))


def test_double_precision_leaves_are_normal_too(source):
    """1e5 draws; false-failure rate 1e-6."""
    with jax.enable_x64(True):
        tree = (jnp.zeros(50_000), jnp.zeros(50_000))
        first, second = map(np.asarray, SOURCES[source](jax.random.key(0), tree))
    assert first.dtype == np.float64
    assert stats.kstest(np.concatenate([first, second]), "norm").pvalue > FALSE_FAIL
    agrees(first * second, 0.0, variance=1.0, resolution=0.025)


def test_transform_of_four_uniforms_is_normal_without_sampling():
    """The law of the sum of four 16-bit uniforms by convolution, and its polynomial against the normal."""
    triangle = signal.fftconvolve(np.full(65536, 2.0**-16), np.full(65536, 2.0**-16))
    mass = np.maximum(signal.fftconvolve(triangle, triangle), 0)
    s = (np.arange(mass.size) - 2 * 65535) * np.sqrt(3) / 65536
    z = s * sum(c * s ** (2 * k) for k, c in enumerate(TO_NORMAL))
    assert (np.diff(z) > 0).all(), "increasing, so that its distribution function is that of the sum"
    for power, exact, tolerance in ((2, 1, 1e-3), (4, 3, 1e-3), (6, 15, 2e-3), (8, 105, 2e-2)):
        assert mass @ z**power == pytest.approx(exact, rel=tolerance)
    assert np.abs(np.cumsum(mass) - mass / 2 - stats.norm.cdf(z)).max() < 2e-4
    for threshold, tolerance in ((3.0, 0.02), (4.0, 0.1)):
        assert mass[z > threshold].sum() == pytest.approx(stats.norm.sf(threshold), rel=tolerance)
