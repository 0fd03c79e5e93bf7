"""Streamed covariances: exact against NumPy, errors that cover, the shared mode, two halves, false findings."""

import numpy as np
import pytest
from scipy import stats

from slt.stats.covariances import (
    Sums,
    covariances,
    discoveries,
    from_sums,
    mean_of,
    merged,
    moment,
    shared_mode,
    stacked,
    standardised,
    summed,
)

MIX = np.random.default_rng(1).normal(size=(8, 8))


def correlated(seed, *, chains=4, draws=480, memory=0.0, size=8):
    """Gaussian chains of a known covariance MIX MIX^T, each draw remembering a share of the one before."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(chains, draws, size))
    for t in range(1, draws):
        noise[:, t] = memory * noise[:, t - 1] + np.sqrt(1 - memory**2) * noise[:, t]
    return noise @ MIX[:size, :size].T


def test_sums_are_those_of_all_draws_whatever_the_batches():
    x = correlated(0, chains=3, draws=24)
    y = x[..., :2] ** 2
    batches = [summed(x[:, i : i + 4], y[:, i : i + 4]) for i in range(0, 24, 4)]
    whole, joined = summed(x, y), batches[0]
    for batch in batches[1:]:
        joined = merged(joined, batch)
    for one, other in zip(whole, joined, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)
    split = stacked(batches)
    np.testing.assert_allclose(moment(split, 1).mean((0, 1)), moment(stacked([whole]), 1)[:, 0].mean(0), rtol=1e-4)


def test_independent_draws_have_the_covariance_of_numpy():
    """Pooled within chains; the factor of the means of chains is that of N - 1 draws, up to the noise of its tau."""
    x = correlated(0, draws=240)
    found = covariances(x, x[..., :3])
    exact = np.mean([np.cov(chain.T)[:, :3] for chain in x], 0)
    np.testing.assert_allclose(found.value, exact, rtol=0.01)
    means = x.mean(1)
    np.testing.assert_allclose(found.between, np.cov(means.T)[:, :3], rtol=1e-5)
    assert found.rhat.shape == found.ess.shape == (11,)
    assert found.rhat.max() < 1.1
    assert found.ess.min() > 200


@pytest.mark.parametrize(("memory", "chains"), [(0.0, 4), (0.7, 4), (0.7, 8)])
def test_errors_cover_and_entries_are_unbiased(memory, chains):
    """60 runs of 64 entries: coverage of 90 % intervals; entries of a run share its draws: the band is 5 errors wide.

    False-failure rate below 1e-5; an error 20 % off moves the coverage by 8 points.
    """
    truth, inside, pulls = MIX @ MIX.T, [], []
    for seed in range(60):
        x = correlated(seed, memory=memory, chains=chains)
        found = covariances(x, x)
        pull = (found.value - truth) / found.error
        inside.append(np.abs(pull) < stats.t.ppf(0.95, found.dof))
        pulls.append(pull)
    assert 0.85 < np.mean(inside) < 0.95
    assert abs(np.mean(pulls)) < 0.15


def test_chains_that_have_not_met_are_no_covariance():
    x = correlated(0) + 50 * np.arange(4)[:, None, None]
    found, together = covariances(x, x), covariances(correlated(0), correlated(0))
    np.testing.assert_allclose(found.value, together.value, rtol=1e-3, atol=1e-2)
    assert found.rhat.min() > 3
    assert np.linalg.norm(found.between) > 100 * np.linalg.norm(found.value)


def test_the_shared_mode_is_the_first_principal_component():
    rng = np.random.default_rng(3)
    loadings = 1 + 0.3 * rng.normal(size=60)
    x = 3 * rng.normal(size=(4, 400, 1)) * loadings + rng.normal(size=(4, 400, 60))
    found = covariances(x, x[..., :2])
    values, vectors = np.linalg.eigh(np.mean([np.cov(chain.T) for chain in x], 0))
    assert abs(found.mode @ vectors[:, -1]) > 0.999
    assert found.share == pytest.approx(values[-1] / values.sum(), rel=0.02)
    np.testing.assert_allclose(found.mode @ found.given_mode, 0, atol=1e-6 * np.abs(found.value).max())
    assert np.abs(found.given_mode).max() < 0.2 * np.abs(found.value).max()
    mode, share = shared_mode(stacked([summed(np.ones((2, 3, 4)), np.ones((2, 3, 1)))] * 4))
    assert share == 0
    assert mode.shape == (4,)


def test_halves_that_see_noise_do_not_agree_and_those_that_see_structure_do():
    x = correlated(0)
    assert np.median(covariances(x, x).agreement) > 0.85
    noise = np.random.default_rng(0).normal(size=(4, 200, 300))
    assert abs(covariances(noise, np.random.default_rng(1).normal(size=(4, 200, 1))).agreement[0]) < 0.25


def test_products_about_given_centres():
    x = correlated(0)
    sums = stacked([summed(x[:, i : i + 40], x[:, i : i + 40, :1] ** 2) for i in range(0, 480, 40)])
    found = mean_of(moment(sums, 0, np.full(8, 2.0), 1.0), scale=-3.0)
    np.testing.assert_allclose(found.value, -3 * ((x - 2) * (x[..., :1] ** 2 - 1)).mean((0, 1)), rtol=1e-4, atol=1e-3)
    assert (found.error > 0).all()


def test_false_discoveries_are_as_many_as_said():
    """2000 entries, half of them 0: at a rate of 10 %, at most 15 % of what is found is wrong, in 20 tables of 20."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        truth = np.repeat([0.0, 4.0], 1000)
        found = discoveries(truth + rng.normal(size=2000), np.ones(2000), np.inf)
        assert found[:1000].sum() <= 0.15 * found.sum()
        assert found[1000:].mean() > 0.9
    assert not discoveries(np.zeros(5), np.zeros(5), 3.0).any()


def test_standardised_columns_do_not_know_their_factor():
    values, errors = np.random.default_rng(0).normal(size=(2, 20, 3))
    factor = np.array([1.0, 50.0, 1e-3])
    one, other = standardised(values, np.abs(errors)), standardised(factor * values, factor * np.abs(errors))
    np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((4, 100), (4, 100, 1)), "needed: .chain, draw, row."),
        (((4, 100, 3), (4, 90, 1)), "of the same draws"),
        (((1, 100, 3), (1, 100, 1)), "at least 2 chains"),
        (((4, 3, 3), (4, 3, 1)), "at least 2 chains of 4 batches"),
    ],
)
def test_what_gives_no_error_is_refused(shapes, message):
    with pytest.raises(ValueError, match=message):
        covariances(*map(np.ones, shapes))


def test_a_diverged_chain_is_named():
    x = correlated(0)
    x[2, 7, 3] = np.nan
    with pytest.raises(ValueError, match="chain 2, draw 7, row 3"):
        covariances(x, x)
    sums = stacked([summed(x[:, i : i + 40], x[:, i : i + 40, :1]) for i in range(0, 480, 40)])
    with pytest.raises(ValueError, match="chain 2, batch 0"):
        from_sums(sums)
    assert isinstance(sums, Sums)
