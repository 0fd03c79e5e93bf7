import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import rel_entr

from slt.pac_bayes.kl_inverse import kl_inverse_lower, kl_inverse_upper

MEANS = np.array([0.0, 1e-6, 0.01, 0.05, 0.1, 0.5, 0.9, 0.999, 1.0])
NATS = np.array([1e-9, 1e-4, 0.01, 0.1, 1.0, 5.0])


def reference(q, c, far):
    """The root by scipy; kl is too large at the far end, or that end is the answer."""

    def gap(p):
        return rel_entr(q, p) + rel_entr(1 - q, 1 - p) - c

    return brentq(gap, q, far, xtol=1e-15, rtol=1e-14) if q != far and gap(far) > 0 else far


@pytest.mark.parametrize("c", NATS)
@pytest.mark.parametrize("q", MEANS)
def test_both_inverses_agree_with_brentq(q, c):
    if q < 1:
        np.testing.assert_allclose(kl_inverse_upper(q, c), reference(q, c, 1.0), rtol=0, atol=1e-10)
    if q > 0:
        np.testing.assert_allclose(kl_inverse_lower(q, c), reference(q, c, 0.0), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("q", "c", "upper", "lower"),
    [(0.0, 0.01, 0.00995017, 0.0), (0.05, 0.01, 0.08690215, 0.02498114), (0.1, 0.1, 0.28237914, 0.01656436)],
)
def test_golden_values(q, c, upper, lower):
    np.testing.assert_allclose([kl_inverse_upper(q, c), kl_inverse_lower(q, c)], [upper, lower], atol=6e-9)


@pytest.mark.parametrize("c", [0.0, 1e-12, 0.3, 40.0, np.inf])
def test_the_ends_are_exact(c):
    np.testing.assert_allclose(kl_inverse_upper(0.0, c), -np.expm1(-c), rtol=1e-14, atol=1e-17)
    np.testing.assert_allclose(kl_inverse_lower(1.0, c), np.exp(-c), rtol=1e-14, atol=1e-17)
    assert kl_inverse_upper(1.0, c) == 1
    assert kl_inverse_lower(0.0, c) == 0
    np.testing.assert_allclose(kl_inverse_upper(0.3, 0.0), 0.3, rtol=1e-15)


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(1e-12, 20))
def test_the_inverses_bracket_q_and_do_not_fall_short(q, c):
    upper, lower = float(kl_inverse_upper(q, c)), float(kl_inverse_lower(q, c))
    assert lower <= q <= upper
    with mpmath.workdps(50):
        for outside in (upper + 1e-12, lower - 1e-12):
            assert not 0 < outside < 1 or bernoulli_kl(mpmath.mpf(q), mpmath.mpf(outside)) >= c


def bernoulli_kl(q, p):
    """kl(q || p) to 50 digits."""
    return sum(a * mpmath.log(a / b) for a, b in ((q, p), (1 - q, 1 - p)) if a > 0)


@pytest.mark.parametrize("inverse", [kl_inverse_upper, kl_inverse_lower])
@pytest.mark.parametrize(("q", "c"), [(0.05, 0.01), (0.3, 0.5), (0.01, 0.02), (0.97, 0.05)])
def test_the_derivative_is_that_of_finite_differences(inverse, q, c):
    with jax.enable_x64(True):
        by_q, by_c = jax.jit(jax.grad(inverse, (0, 1)))(q, c)
    h, k = 1e-4 * min(q, 1 - q), 1e-4 * c
    np.testing.assert_allclose(by_q, (inverse(q + h, c) - inverse(q - h, c)) / (2 * h), rtol=1e-6)
    np.testing.assert_allclose(by_c, (inverse(q, c + k) - inverse(q, c - k)) / (2 * k), rtol=1e-6)


def test_jax_arrays_keep_their_dtype_and_map():
    q = jnp.array([0.05, 0.1])
    value = jax.jit(jax.vmap(kl_inverse_upper))(q, jnp.array([0.01, 0.1]))
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, [0.08690215, 0.28237914], rtol=1e-5)
    by_c = jax.grad(lambda c: kl_inverse_upper(jnp.zeros(()), c))(0.01)
    np.testing.assert_allclose(by_c, np.exp(-0.01), rtol=1e-5)


@pytest.mark.parametrize(("q", "c"), [(-0.1, 0.1), (1.1, 0.1), (0.5, -1e-9), (np.nan, 0.1), (0.5, np.nan)])
def test_arguments_out_of_range_are_refused(q, c):
    with pytest.raises(ValueError, match=r"q must lie in \[0, 1\]"):
        kl_inverse_upper(q, c)
