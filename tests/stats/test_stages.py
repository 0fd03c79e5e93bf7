import numpy as np
import pytest

from slt._types import Estimate
from slt.stats.stage import Stage, stages


def series(values, error=0.1):
    return [Estimate(float(value), error) for value in values]


def test_a_staircase_is_cut_at_its_corners():
    values = [*np.zeros(8), *np.linspace(3, 20, 6), *np.full(10, 20.0), *np.linspace(18, 10, 5)]
    found = stages(series(values + np.random.default_rng(0).normal(scale=0.1, size=len(values))))
    assert [stage.trend for stage in found] == ["stays", "rises", "stays", "falls"]
    np.testing.assert_allclose([stage.first for stage in found], [0, 8, 14, 24], atol=1)
    assert [a.last + 1 for a in found[:-1]] == [b.first for b in found[1:]]


@pytest.mark.parametrize("seed", range(5))
def test_noise_of_the_stated_size_is_no_stage(seed):
    values = 5 + np.random.default_rng(seed).normal(scale=0.3, size=30)
    assert stages(series(values, error=0.3)) == [Stage(0, 29, "stays")]


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(ValueError, match="at least 3 are needed"):
        stages(series([1.0, 2.0]))
    with pytest.raises(ValueError, match="estimate of checkpoint 1 is nan"):
        stages(series([1.0, np.nan, 2.0]))
