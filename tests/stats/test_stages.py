import itertools

import numpy as np
import pytest
from scipy import stats

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
    assert all(stage.earliest <= stage.first <= stage.latest for stage in found)


@pytest.mark.parametrize("seed", range(5))
def test_noise_of_the_stated_size_is_no_stage(seed):
    values = 5 + np.random.default_rng(seed).normal(scale=0.3, size=30)
    assert stages(series(values, error=0.3)) == [Stage(0, 29, "stays", 0, 0)]


def test_intervals_are_those_of_all_cuts_summed_one_by_one():
    """Each stretch by a Gaussian integral of its own, over the values at its two ends."""
    rng, error = np.random.default_rng(2), 1.0
    values = np.concatenate([np.zeros(5), np.full(5, 6.0), np.linspace(3, -9, 6)]) + rng.normal(scale=error, size=16)
    found = stages(series(values, error))
    assert [stage.trend for stage in found] == ["stays", "stays", "falls"]
    errors = np.hypot(error, 0.05 * np.ptp(values))

    def log_integral(part):
        ends = np.linspace([1.0, 0.0], [0.0, 1.0], len(part)) / errors
        best = np.linalg.lstsq(ends, part / errors)[0]
        return -0.5 * np.sum((part / errors - ends @ best) ** 2) - 0.5 * np.linalg.slogdet(ends.T @ ends)[1]

    law = np.zeros((2, 17))
    for cuts in itertools.combinations(range(17), 2):
        parts = np.split(values, cuts)
        if min(map(len, parts)) >= 3:
            law[[0, 1], cuts] += np.exp(sum(map(log_integral, parts)))
    below = np.cumsum(law, 1) / law.sum(1, keepdims=True)
    for stage, border in zip(found[1:], below, strict=True):
        assert (stage.earliest, stage.latest) == (np.argmax(border >= 0.05), np.argmax(border >= 0.95))
    wide = stages(series(values, error), probability=0.999)
    assert all(a.latest - a.earliest > b.latest - b.earliest for a, b in zip(wide[1:], found[1:], strict=True))


@pytest.mark.parametrize(("kind", "probability", "longest"), [("jump", 0.9, 7), ("jump", 0.5, 3), ("corner", 0.9, 6)])
def test_intervals_hold_the_border_at_least_as_often_as_they_say(kind, probability, longest):
    """150 series with one border anywhere: a jump by 3 errors, or a corner from which on it climbs by 1.5 a checkpoint.

    Intervals that hold it just as often as they say fail with 4e-4 (the seed is fixed). Those that hold it
    in 80 % for 90 % are seen in 61 of 100, and those that are too wide by their mean length.
    """
    rng, number, inside, lengths = np.random.default_rng(7), 24, [], []
    while len(inside) < 150:
        first = int(rng.integers(5, number - 5))
        place = np.arange(number) - first
        truth = np.where(place < 0, 0.0, 3.0 if kind == "jump" else 1.5 * (place + 0.5))
        found = stages(series(truth + rng.normal(size=number), 1.0), probability=probability)
        if len(found) == 2:
            inside.append(found[1].earliest <= first <= found[1].latest)
            lengths.append(found[1].latest - found[1].earliest)
    assert sum(inside) > stats.binom.ppf(4e-4, 150, probability)
    assert np.mean(lengths) < longest


@pytest.mark.parametrize("probability", [0.0, 1.0, np.nan])
def test_a_probability_that_is_none_is_refused(probability):
    with pytest.raises(ValueError, match="probability"):
        stages(series(np.arange(9)), probability=probability)


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(ValueError, match="at least 3 are needed"):
        stages(series([1.0, 2.0]))
    with pytest.raises(ValueError, match="estimate of checkpoint 1 is nan"):
        stages(series([1.0, np.nan, 2.0]))
