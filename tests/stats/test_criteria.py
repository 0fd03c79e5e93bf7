"""Criteria of per-datum log-likelihoods against closed forms of a conjugate Gaussian posterior.

Model x_i ~ N(w, 1), prior N(0, s^2), at any beta: w | x ~ N(m, v), so that every posterior mean has a closed form.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arviz_stats.base.array import array_stats
from helpers import assert_agrees

from slt.stats import criteria
from slt.stats.per_datum import Pointwise, merge, pointwise, summarise
from slt.stats.psis import psis_loo

DATA = np.random.default_rng(7).normal(0.3, 1.0, 30)
N = len(DATA)
FALSE_FAIL = 1e-6
LOG_2PI = np.log(2 * np.pi)


def posterior(beta, scale=2.0, data=DATA):
    precision = beta * len(data) + 1 / scale**2
    return beta * data.sum() / precision, 1 / precision


def exact(beta):
    """Closed forms at inverse temperature beta, per datum where they are losses."""
    mean, var = posterior(beta)
    gap = DATA - mean

    def log_moment(a):  # log E[p_i^a], p_i^a Gaussian in w
        return -a / 2 * LOG_2PI - 0.5 * np.log1p(a * var) - a * gap**2 / (2 * (1 + a * var))

    variance = gap**2 * var + var**2 / 2
    return {
        "functional_variance": variance.sum(),
        "singular_fluctuation": beta / 2 * variance.sum(),
        "gibbs_loss": np.mean(0.5 * LOG_2PI + (gap**2 + var) / 2),
        "bayes_loss": -np.mean(log_moment(1.0)),
        "waic": -np.mean(log_moment(1.0)) + beta * variance.mean(),
        "importance_loo": np.mean(log_moment(-beta) - log_moment(1 - beta)),
        "wbic": np.sum(0.5 * LOG_2PI + (gap**2 + var) / 2),
    }


def draws(beta, *, chains=4, number=5000, correlation=0.0, seed=0):
    """Log-likelihoods of exact or AR(1) draws of the posterior, dims (chain, draw, datum)."""
    rng = np.random.default_rng(seed)
    mean, var = posterior(beta)
    w = rng.normal(size=(chains, number))
    for t in range(1, number):
        w[:, t] = correlation * w[:, t - 1] + np.sqrt(1 - correlation**2) * w[:, t]
    return -0.5 * LOG_2PI - (DATA - (mean + np.sqrt(var) * w)[..., None]) ** 2 / 2


RESOLUTION = {
    "functional_variance": 0.15, "singular_fluctuation": 0.05, "gibbs_loss": 0.003, "bayes_loss": 0.001,
    "waic": 0.006, "importance_loo": 0.006, "wbic": 0.08,
}  # fmt: skip


CASES = [(name, beta) for beta in (1.0, 0.5) for name in RESOLUTION if name != "wbic"] + [("wbic", 1 / np.log(N))]


@pytest.mark.parametrize(("name", "beta"), CASES)
def test_every_criterion_has_its_closed_form(name, beta):
    """20 000 draws resolve a tenth of what nu without its 1/2 or WAIC without beta would move."""
    found = getattr(criteria, name)(pointwise(draws(beta), inverse_temperature=beta))
    assert_agrees(found, exact(beta)[name], resolution=RESOLUTION[name] / beta**1.5, false_fail=FALSE_FAIL)


def test_leave_one_out_is_leaving_one_out():
    """The closed form of importance sampling, refitted by hand without each datum in turn."""
    refitted = []
    for i in range(N):
        mean, var = posterior(1.0, data=np.delete(DATA, i))
        refitted.append(0.5 * LOG_2PI + 0.5 * np.log1p(var) + (DATA[i] - mean) ** 2 / (2 * (1 + var)))
    assert exact(1.0)["importance_loo"] == pytest.approx(np.mean(refitted), rel=1e-12)


@pytest.mark.parametrize(("chains", "number", "correlation"), [(4, 600, 0.9), (16, 100, 0.0)])
def test_errors_cover(chains, number, correlation):
    """200 runs: 90 % intervals of every criterion cover in 82 to 96 %: 1e-3 if right, never at half the error."""
    truth, names = exact(1.0), [name for name in RESOLUTION if name != "wbic"]
    hits = dict.fromkeys(names, 0)
    for seed in range(200):
        values = draws(1.0, chains=chains, number=number, correlation=correlation, seed=seed)
        sums = pointwise(values, inverse_temperature=1.0)
        for name in names:
            low, high = getattr(criteria, name)(sums).interval(0.9)
            hits[name] += low <= truth[name] <= high
    assert all(164 <= count <= 192 for count in hits.values()), hits


@pytest.mark.parametrize("library", [np, jnp], ids=["numpy", "jax"])
def test_merged_sums_are_the_sums_of_all_draws(library):
    with jax.enable_x64(True):
        values = library.asarray(draws(0.5, number=60)[0][:, None])
        parts = [summarise(values[a:b], inverse_temperature=0.5) for a, b in ((0, 10), (10, 35), (35, 60))]
        merged, whole = merge(merge(*parts[:2]), parts[2]), summarise(values, inverse_temperature=0.5)
        for left, right in zip(merged, whole, strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-12)


def test_unequal_batches_are_weighted_by_their_draws():
    values = draws(1.0, chains=9, number=60)
    parts = [summarise(values[:, a:b].swapaxes(0, 1), inverse_temperature=1.0) for a, b in ((0, 20), (20, 60))]
    sums = Pointwise(*(np.stack(fields, 1) for fields in zip(*(part[:-1] for part in parts), strict=True)), 1.0)
    whole = pointwise(values, inverse_temperature=1.0)
    for name in ("functional_variance", "bayes_loss", "importance_loo"):
        assert getattr(criteria, name)(sums).value == pytest.approx(getattr(criteria, name)(whole).value, rel=1e-12)


def test_values_per_datum_add_up():
    sums = pointwise(draws(0.5), inverse_temperature=0.5)
    values = criteria.pointwise_criteria(sums)
    assert values["functional_variance"].sum() == pytest.approx(criteria.functional_variance(sums).value)
    for name, of in (("bayes_training", "bayes_loss"), ("waic", "waic"), ("importance_loo", "importance_loo")):
        assert values[name].mean() == pytest.approx(getattr(criteria, of)(sums).value)


def test_psis_loo_is_the_one_of_arviz():
    values = draws(1.0, number=500)
    found = psis_loo(values)
    elpd, pareto_k, _ = array_stats.loo(np.moveaxis(values, 2, 0))
    np.testing.assert_allclose(-found.values, elpd, atol=2e-3)
    assert found.loss.value == pytest.approx(-elpd.mean(), abs=2e-4)
    assert abs(found.pareto_k - pareto_k).max() < 0.1
    assert_agrees(found.loss, exact(1.0)["importance_loo"], resolution=0.02, false_fail=FALSE_FAIL)


def test_wbic_refuses_another_temperature_and_names_both():
    sums = pointwise(draws(1.0), inverse_temperature=1.0)
    with pytest.raises(ValueError, match=r"beta = 1; WBIC is defined at beta = 1/log n = 0.294014 \(n = 30\)"):
        criteria.wbic(sums)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((4, 20, 3)), "80 draws in all; at least 100 are needed"),
        (np.zeros((1, 200, 3)), "at least 2 chains"),
        (np.zeros((400, 3)), "needed: .chain, draw, datum."),
        (np.where(np.arange(1200).reshape(2, 200, 3) == 603, -np.inf, 0.0), "chain 1, draw 1, datum 0 is -inf"),
    ],
)
def test_what_cannot_be_judged_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        criteria.waic(pointwise(values, inverse_temperature=1.0))
