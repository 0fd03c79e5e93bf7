"""`estimate_criteria` against the closed forms of a conjugate Gaussian model; what it stores; what it refuses."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_agrees, misjudge

import slt
from slt import store
from slt._types import Estimate
from slt.draws import Result, Verdict
from slt.estimate import series
from slt.estimate.criteria import watch_fluctuation

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
    options = {"tolerance": 0.03 if request.param == "tempering" else 0.015, "max_gradients": 3_000_000}
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
    assert_agrees(slt.stats.psis_loo(again.draws.log_likelihood).loss, result.estimates["waic"].value,
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
    monkeypatch.setattr("slt.estimate.criteria.STORED", 100)
    monkeypatch.setattr("slt.estimate.looks.MAX_BATCHES", 16)
    result = slt.estimate_criteria(target(1.0), sampler="chains", max_gradients=3_000_000, tolerance=0.03)
    assert result.draws.log_likelihood is None
    assert "psis_loo" not in result.estimates
    assert_agrees(result.estimates["waic"], exact(1.0)["waic"], resolution=0.02, false_fail=FALSE_FAIL)


def test_what_has_no_criteria_is_refused():
    with pytest.raises(ValueError, match="potential without data"):
        slt.estimate_criteria(slt.potential_target(lambda w: w @ w, jnp.zeros(2), nbeta=10.0))
    with pytest.raises(ValueError, match="test_data has rows of the shapes"):
        slt.estimate_criteria(target(1.0), test_data=jnp.zeros((5, 2)))


def watched(**options):
    """A run for the learning coefficient, and its singular fluctuation."""
    beta = 1 / np.log(N)
    look, fluctuation = watch_fluctuation(target(beta))
    result = slt.estimate_llc(target(beta), sampler="chains", watch=look, **options)
    return result, fluctuation


def test_another_run_gives_its_singular_fluctuation_and_the_same_estimate():
    options = {"max_gradients": 3_000_000, "tolerance": 0.02}
    result, fluctuation = watched(**options)
    exact_value = exact(1 / np.log(N))["singular_fluctuation"]
    assert_agrees(fluctuation(result), exact_value, resolution=0.1, false_fail=FALSE_FAIL)
    alone = slt.estimate_llc(target(1 / np.log(N)), sampler="chains", **options)
    assert result.estimates == alone.estimates


def test_a_run_without_a_number_has_no_fluctuation():
    _, fluctuation = watched(max_gradients=50_000)
    nothing = Result({"llc": Estimate(np.nan, np.inf)}, Verdict("not converged"), series.NO_DRAWS, {}, {})
    with pytest.raises(ValueError, match="gave no learning coefficient"):
        fluctuation(nothing)


def test_the_share_of_minibatch_noise_is_in_its_error():
    result, fluctuation = watched(max_gradients=300_000)
    quiet, level = fluctuation(result), result.estimates["llc"].value
    loud = fluctuation(result._replace(diagnostics=result.diagnostics | {"noise_correction": level}))
    assert loud.value == quiet.value
    assert loud.mcse == pytest.approx(np.hypot(quiet.mcse, quiet.value / 2), rel=1e-6)


def test_looks_at_a_run_that_diverged_are_void(monkeypatch):
    """Its first step is beyond the stable one: its sums are not finite."""
    misjudge(monkeypatch, 4.0)
    beta = 1 / np.log(N)
    found = slt.estimate_criteria(target(beta), sampler="chains", max_gradients=1_000_000).estimates
    assert_agrees(
        found["singular_fluctuation"], exact(beta)["singular_fluctuation"], resolution=0.1, false_fail=FALSE_FAIL
    )


def saturated():
    """A logistic regression with three data far from the boundary, whose cross entropy is exactly 0 in float32."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=57) * 0.7, [9.0, 10.0, -9.0]]).astype(np.float32)
    y = (rng.uniform(size=60) < 1 / (1 + np.exp(-4 * x))).astype(np.float32)
    y[-3:] = [1, 1, 0]

    def loss(w, rows):
        z = (w[0] * rows[0] + w[1]) * (2 * rows[1] - 1)
        return jnp.logaddexp(0.0, -z)

    return loss, x, y


def test_saturated_data_cost_no_estimate():
    """Exact leave-one-out by quadrature under N(0, 25 I)."""
    loss, x, y = saturated()
    a, b = np.meshgrid(np.linspace(-2, 22, 301), np.linspace(-8, 8, 201), indexing="ij")
    log_p = -np.logaddexp(0, -(a[..., None] * x + b[..., None]) * (2 * y - 1))
    log_post = log_p.sum(-1) - (a**2 + b**2) / 50
    weight = np.exp(log_post - log_post.max())
    exact = np.mean([np.log((weight * np.exp(-log_p[..., i])).sum() / weight.sum()) for i in range(60)])
    decay = 1 / (60 * 25)
    start = slt.polish(loss, jnp.array([4.0, 0.0]), (x, y), weight_decay=decay)
    target = slt.loss_target(loss, start, (x, y), inverse_temperature=1.0, localization=0.0, weight_decay=decay)
    found = slt.estimate_criteria(target, tolerance=0.05)
    assert found.refused is None
    assert_agrees(found.estimates["psis_loo"], exact, resolution=0.02, false_fail=FALSE_FAIL)
    assert_agrees(found.estimates["importance_loo"], exact, resolution=0.02, false_fail=FALSE_FAIL)
    assert (found.pointwise["pareto_k"][-3:] == 0).all()


def test_criteria_away_from_a_minimum_refuse_the_coefficient_alone():
    """w* three standard deviations of the data off: E[L_n] - L_n(w*) is -4.5 n nats, and the criteria do not care."""
    away = target(1.0)
    away = slt.loss_target(
        lambda w, x: 0.5 * np.log(2 * np.pi) + (x - w) ** 2 / 2, jnp.float32(DATA.mean() + 3.0),
        jnp.asarray(DATA, jnp.float32), inverse_temperature=1.0, localization=0.0, weight_decay=1 / (N * SCALE**2),
    )  # fmt: skip
    found = slt.estimate_criteria(away, tolerance=0.03)
    assert np.isnan(found.estimates["llc"].value)
    assert found.refused["llc"].status == "not a minimum"
    assert found.verdict.status == "converged"
    assert_agrees(found.estimates["waic"], exact(1.0)["waic"], resolution=0.02, false_fail=FALSE_FAIL)


def test_a_test_datum_of_density_zero_costs_its_own_loss_alone():
    """Uniform on [w - 2, w + 2] with a test row far outside: generalisation is refused, what is of the data stands."""
    rows = np.linspace(-0.5, 0.5, 20).astype(np.float32)
    box = slt.loss_target(
        lambda w, x: jnp.where(x < 50, 0.5 * (x - w) ** 2, jnp.inf), jnp.float32(0.0), jnp.asarray(rows),
        inverse_temperature=1.0, localization=0.0, weight_decay=0.05,
    )  # fmt: skip
    found = slt.estimate_criteria(box, test_data=jnp.asarray([0.1, 99.0, 0.2, 0.3], jnp.float32), tolerance=0.05)
    assert sorted(found.refused) == ["bayes_generalization", "gibbs_generalization"]
    assert "datum 1" in found.refused["gibbs_generalization"].reasons[0]
    assert np.isfinite(found.estimates["psis_loo"].value)


def test_log_likelihoods_that_float32_cannot_tell_apart_are_refused():
    """Rows of -1e7 nats: float32 resolves one nat."""
    huge = slt.loss_target(
        lambda w, x: 1e7 + (x - w) ** 2 / 2, jnp.float32(DATA.mean()), jnp.asarray(DATA, jnp.float32),
        inverse_temperature=1.0, localization=0.0, weight_decay=1 / (N * SCALE**2),
    )  # fmt: skip
    found = slt.estimate_criteria(huge, tolerance=0.05)
    assert found.verdict.status == "not converged"
    assert any("x64" in reason for reason in found.verdict.reasons)
