"""`estimate_criteria` against the closed forms of a conjugate Gaussian model; what it stores; what it refuses."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_agrees

import slt
from slt import store

N, SCALE, FALSE_FAIL = 30, 2.0, 1e-6
DATA = np.random.default_rng(7).normal(0.3, 1.0, N)
TEST = np.random.default_rng(8).normal(0.3, 1.0, 50)


def target(beta):
    """x_i ~ N(w, 1), prior N(0, SCALE²), in float32 as networks are."""
    return slt.loss_target(
        lambda w, x: 0.5 * np.log(2 * np.pi) + (x - w) ** 2 / 2,
        jnp.float32(DATA.mean()),
        jnp.asarray(DATA, jnp.float32),
        inverse_temperature=beta,
        localization=0.0,
        weight_decay=1 / (N * beta * SCALE**2),
    )


def exact(beta):
    var = 1 / (beta * N + 1 / SCALE**2)
    mean = beta * DATA.sum() * var
    gap, test_gap = DATA - mean, TEST - mean
    bayes = 0.5 * np.log(2 * np.pi * (1 + var)) + gap**2 / (2 * (1 + var))
    variance = gap**2 * var + var**2 / 2
    return {
        "functional_variance": variance.sum(),
        "singular_fluctuation": beta / 2 * variance.sum(),
        "bayes_training": bayes.mean(),
        "bayes_generalization": (0.5 * np.log(2 * np.pi * (1 + var)) + test_gap**2 / (2 * (1 + var))).mean(),
        "gibbs_generalization": (0.5 * np.log(2 * np.pi) + (test_gap**2 + var) / 2).mean(),
        "waic": bayes.mean() + beta * variance.mean(),
        "wbic": N * 0.5 * np.log(2 * np.pi) + (gap**2 + var).sum() / 2,
    }


@pytest.fixture(scope="module", params=["tempering", "chains"])
def result(request):
    options = {"tolerance": 0.03, "max_gradients": 3_000_000}
    return slt.estimate_criteria(
        target(1.0), test_data=jnp.asarray(TEST, jnp.float32), sampler=request.param, **options
    )


def test_both_samplers_reach_the_closed_forms(result):
    truth = exact(1.0)
    resolution = {"functional_variance": 0.2, "singular_fluctuation": 0.1, "waic": 0.01}
    for name in truth.keys() - {"wbic"}:
        assert_agrees(
            result.estimates[name], truth[name], resolution=resolution.get(name, 0.006), false_fail=FALSE_FAIL
        )
    assert result.verdict.status == "converged"
    assert "wbic" not in result.estimates
    assert result.settings["inverse_temperature"] == 1.0


def test_thinned_log_likelihoods_and_values_per_datum_are_kept_and_stored(result, tmp_path):
    (again,) = store.load(store.save([result], tmp_path / "a.nc"))
    np.testing.assert_array_equal(again.draws.log_likelihood, result.draws.log_likelihood)
    assert again.draws.log_likelihood.shape[2] == N
    assert again.estimates["waic"].value == pytest.approx(again.pointwise["waic"].mean())
    assert_agrees(slt.psis_loo(again.draws.log_likelihood).loss, result.estimates["waic"].value,
                  resolution=0.02, false_fail=FALSE_FAIL)  # fmt: skip


def test_wbic_at_its_temperature():
    beta = 1 / np.log(N)
    estimates = slt.estimate_criteria(target(beta), tolerance=0.03).estimates
    truth = exact(beta)
    for name, resolution in (("wbic", 0.1), ("waic", 0.01), ("singular_fluctuation", 0.05)):
        assert_agrees(estimates[name], truth[name], resolution=resolution, false_fail=FALSE_FAIL)
    assert "psis_loo" not in estimates


def test_many_data_are_streamed_in_bounded_memory(monkeypatch):
    """Nothing is stored, and batches are merged two by two, with the same answer."""
    monkeypatch.setattr("slt.criteria.STORED", 100)
    monkeypatch.setattr("slt.criteria.MAX_BATCHES", 8)
    result = slt.estimate_criteria(target(1.0), sampler="chains", max_gradients=3_000_000, tolerance=0.03)
    assert result.draws.log_likelihood is None
    assert "psis_loo" not in result.estimates
    assert_agrees(result.estimates["waic"], exact(1.0)["waic"], resolution=0.02, false_fail=FALSE_FAIL)


def test_what_has_no_criteria_is_refused():
    with pytest.raises(ValueError, match="potential without data"):
        slt.estimate_criteria(slt.potential_target(lambda w: w @ w, jnp.zeros(2), nbeta=10.0))
    with pytest.raises(ValueError, match="rows of test_data have shapes"):
        slt.estimate_criteria(target(1.0), test_data=jnp.zeros((5, 2)))
