import contextlib

import numpy as np
import pytest

from slt._types import Estimate
from slt.pac_bayes.kl import KL, certifiable, exact


@pytest.mark.parametrize("side", ["exact", "upper"])
def test_an_exact_or_upper_divergence_may_enter(side):
    assert certifiable(KL(Estimate(3.0, 0.0), side)) == 3.0


@pytest.mark.parametrize("side", ["lower", "none"])
def test_a_divergence_that_may_be_too_small_is_refused(side):
    with pytest.raises(ValueError, match=f"nearest neighbours.*{side}"):
        certifiable(KL(Estimate(3.0, 0.0), side, "nearest neighbours"))


def test_a_lower_bound_certifies_nothing():
    accepted = []
    for side in ("exact", "upper", "lower", "none"):
        with contextlib.suppress(ValueError):
            certifiable(KL(Estimate(3.0, 0.0), side))
            accepted.append(side)
    assert accepted == ["exact", "upper"]


@pytest.mark.parametrize("mcse", [0.1, np.nan, np.inf])
def test_a_monte_carlo_error_cannot_be_paid_for(mcse):
    with pytest.raises(ValueError, match="single_draw_bound"):
        certifiable(KL(Estimate(3.0, mcse, 20.0), "exact"))


@pytest.mark.parametrize("value", [-1.0, np.nan, np.array([1.0, -1e-3])])
def test_a_divergence_is_not_negative(value):
    with pytest.raises(ValueError, match="at least 0"):
        certifiable(value)


def test_a_log_density_ratio_may_be_negative_but_not_nan():
    assert certifiable(-2.0, single_draw=True) == -2.0
    with pytest.raises(ValueError, match="NaN"):
        certifiable(np.nan, single_draw=True)
    with pytest.raises(ValueError, match="NaN"):
        certifiable(exact(np.inf)._replace(value=Estimate(np.nan, 0.0)))


def test_numbers_without_error_are_made_by_one_call():
    assert exact(2.5) == KL(Estimate(2.5, 0.0), "exact", "closed form")
    with pytest.raises(ValueError, match="nan"):
        exact(float("nan"))
