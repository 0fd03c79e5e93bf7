"""What tempering makes of its two kinds of replicates, those from the prior and those also from around w*."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from helpers import assert_agrees
from scipy import stats

from slt.draws import Options
from slt.estimate.llc import estimate_llc
from slt.estimate.tempering import _estimates, _mean, _of_one_mind, _two_phases
from slt.samplers.tempering import Tempered

OPTIONS = Options(0, 0.01, 100_000, 2, 100, progress=False)


class States(NamedTuple):
    """All that is looked at of them."""

    position: np.ndarray


def found_of(means, logs, width=10.0):
    """Replicates with these means of the energy, in every sweep, and logs of the evidence; the even from the prior.

    Energies of particles are normal with that standard deviation, and stand for distances from w*.
    """
    particles = width * stats.norm.ppf((np.arange(1000) + 0.5) / 1000)
    energies = np.repeat(np.asarray(means, float)[:, None, None] + particles, 2, axis=1)
    fields: Any = States(energies[:, -1, :, None]), None, np.asarray(logs, float), *3 * (np.zeros(len(logs)),)
    return _of_one_mind(Tempered(*fields), energies, np.zeros(1))


def mean_of(found):
    return _mean(found, lambda e: e.mean((1, 2)))


@pytest.mark.parametrize(
    ("spread", "bias", "least"), [(0.05, 0.0, 0.86), (0.2, 0.0, 0.83), (0.05, 4.0, 0.71), (0.3, 4.0, 0.74)]
)
def test_intervals_cover_when_one_kind_is_off(spread, bias, least):
    """Means N(0, 1), those from around w* off by `bias` of the errors of that kind, log Z of the given spread there.

    Of intervals at 90 % 0.92, 0.90, 0.80 and 0.83 cover; the share among 400 is below `least` by chance once in 2e4.
    With the error between all replicates alone it is 0.24 in the third case and 0.26 in the last.
    """
    rng, covered = np.random.default_rng(0), []
    for _ in range(400):
        means, logs = rng.normal(size=16), 0.05 * rng.normal(size=16)
        means[1::2] += bias / 8**0.5
        logs[1::2] *= spread / 0.05
        found = found_of(means, logs)
        if found.counted.all():
            low, high = mean_of(found).interval(0.9)
            covered.append(low <= 0 <= high)
    assert least < np.mean(covered) < 0.98


def test_kinds_count_by_the_precision_of_their_evidence():
    """Spreads of 0.05, which counts as 0.1, and of 0.4: weights 16 and 1, times the masses."""
    means, signs = np.tile([1.0, 2.0, 3.0, 0.0], 4), np.repeat([1.0, -1.0], 8)
    logs = np.where(np.arange(16) % 2, 0.4, 0.05) * signs / np.std(signs[::2], ddof=1)
    weights = np.where(np.arange(16) % 2, 1.0, 16.0)
    found = found_of(means, logs)
    np.testing.assert_allclose(np.exp(found.log_weights - found.log_weights.min()), weights)
    weights *= np.exp(logs)
    assert mean_of(found).value == pytest.approx(weights @ means / weights.sum())


def test_the_error_is_at_least_the_share_of_the_difference_of_the_kinds():
    """Of the same weight, three errors apart: half of the difference. Half an error apart: that of all replicates."""
    noise = np.tile([1.0, 1.0, -1.0, -1.0], 4)
    for errors in (0.5, 3.0):
        gap = errors * np.std(noise[::2], ddof=1) / 2
        means = noise + np.where(np.arange(16) % 2, gap, 0.0)
        alone = np.std(means, ddof=1) / 4
        assert mean_of(found_of(means, np.zeros(16))).mcse == pytest.approx(alone if errors < 1 else gap / 2)


def test_two_phases_of_like_masses_are_refused_and_of_unlike_ones_the_heavier_counts():
    """50 from the prior and 5 from around w*: of masses e^0.3 : 1 either may be missing, of e^20 : 1 not."""
    rng = np.random.default_rng(1)
    kind = np.arange(16) % 2
    means = np.where(kind, 5.0, 50.0) + 0.05 * rng.normal(size=16)
    for lead, refused in ((0.3, True), (20.0, False)):
        found = found_of(means, np.where(kind, lead, 0.0) + 0.05 * rng.normal(size=16))
        estimate = mean_of(found)
        assert found.counted.tolist() == (kind == 1).tolist()
        assert abs(estimate.value - 5.0) < 0.1
        assert bool(_two_phases(found, estimate, OPTIONS)) == refused


def test_a_kind_that_is_uneven_where_the_other_has_been_does_not_count():
    """Means off by 0.1, a tenth of their spread, log Z of spreads 0.5 and 0.05: those from the prior count, unrefused.

    Not where it was the uneven kind that had found more, nor where the other has no particle at its energies.
    """
    kind, noise = np.arange(16) % 2, np.tile([1.0, 1.0, -1.0, -1.0], 4)
    uneven = np.where(kind, 0.5, 0.05) * noise
    for shift, lead, refused in ((0.1, 0.0, False), (0.1, 2.0, True), (4.0, 0.0, True)):
        found = found_of(5 + kind * shift + 0.01 * noise, uneven + lead * kind, width=1.0)
        assert (found.counted == (kind == 0)).all() == (not refused)
        assert (found.missing == 0.0) == (not refused)


def test_a_precise_kind_that_has_missed_a_part_does_not_count():
    """Log Z of spreads 0.05 from the prior and 0.5 from around w*, means one error apart: both count, each by its
    precision; but those from around w* alone if none from the prior has been at the energies of a half of theirs.
    """
    kind, noise = np.arange(16) % 2, np.tile([1.0, 1.0, -1.0, -1.0], 4)
    logs = np.where(kind, 0.5, 0.05) * noise
    for width, count in ((10.0, 16), (0.01, 8)):
        found = found_of(np.where(kind, 3.0, 0.1) * noise + 2.0 * kind, logs, width=width)
        assert found.counted.sum() == count
        assert found.counted[1::2].all()


def test_an_error_is_no_smaller_than_what_no_particle_has_seen():
    """16,000 particles at 12 within 1e-6, of which 1 in 16,000 may be in a hole: 12/16,000, where exact is 11.99998."""
    noise = 1e-7 * np.tile([1.0, 1.0, -1.0, -1.0], 4)
    llc = _estimates(found_of(12 + noise, np.zeros(16), width=1e-6))["llc"]
    assert llc.mcse == pytest.approx(12 / 16_000)


def test_a_prior_far_from_the_data_does_not_make_the_mode_no_minimum():
    """m ~ N(3, 0.2²), ten data about 0: half of the draws have a smaller loss than the mode, by up to 9 nats.

    E = n beta/2(n beta + 25) at the mode of a Gaussian, at a false-failure rate of 1e-4; the virial to 5 of its
    standard errors, of 16 × 1024 particles with the spread √2 of z².
    """

    def model(y):
        m = numpyro.sample("m", dist.Normal(3.0, 0.2))
        with numpyro.plate("data", len(y)):
            numpyro.sample("y", dist.Normal(m, 1.0), obs=y)

    result = estimate_llc(model, jnp.linspace(-1, 1, 10), tolerance=0.02)
    nbeta = 10 / np.log(10)
    assert result.verdict.status == "converged"
    assert_agrees(result.estimates["llc"], 0.5 * nbeta / (nbeta + 25), resolution=0.03, false_fail=1e-4)
    assert result.diagnostics["lowest_energy"] > -1e-3
    assert abs(result.diagnostics["virial"] - 1) < 5 * 2**0.5 / (16 * 1024) ** 0.5
