import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.distributions import Normal, kl_divergence

from slt._types import Estimate
from slt.pac_bayes import bounds
from slt.pac_bayes.certificate import bound_table
from slt.pac_bayes.gaussian import (
    OBJECTIVES,
    ScaleGrid,
    bounded_cross_entropy,
    fit_gaussian,
    gaussian_certificate,
    gaussian_kl,
    posterior_risk,
    scaled_prior_kl,
)
from slt.pac_bayes.kl import KL
from slt.targets.gaussian import Gaussian, gaussian_law

KEY = jax.random.key(0)


def example(seed=0, dim=20):
    rng = np.random.default_rng(seed)
    posterior = Gaussian(rng.normal(size=dim), np.exp(rng.normal(size=dim) - 2))
    return posterior, gaussian_law(rng.normal(size=dim), np.exp(0.3 * rng.normal(size=dim)))


def classification(n=400, dim=5):
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(n, dim)).astype(np.float32)
    return {"inputs": inputs, "targets": (inputs[:, 0] + 0.3 * rng.normal(size=n) > 0).astype(np.int32)}


def errors(w, batch):
    return ((batch["inputs"] @ w > 0) != batch["targets"]).astype(jnp.float32)


def surrogate(w, batch):
    margin = batch["inputs"] @ w
    return bounded_cross_entropy(jnp.stack([jnp.zeros_like(margin), margin], 1), batch["targets"])


def test_the_divergence_of_normal_laws_is_that_of_numpyro():
    posterior, prior = example()
    with jax.enable_x64(True):
        reference = jnp.sum(kl_divergence(Normal(*posterior), Normal(*prior)))
    found = gaussian_kl(posterior, prior)
    assert found.value.value == pytest.approx(float(reference), rel=1e-12)
    assert (found.side, found.value.mcse) == ("exact", 0.0)
    with pytest.raises(ValueError, match="20 parameters and the prior 3"):
        gaussian_kl(posterior, gaussian_law(np.zeros(3), 1.0))


def test_the_prior_of_the_grid_is_the_best_of_all_its_scales():
    posterior, prior = example()
    grid = ScaleGrid()
    kl, chosen = scaled_prior_kl(posterior, prior, grid=grid)
    j = np.arange(1, 400)
    scales = grid.largest * np.exp(-j / grid.steps)
    mass = 6 / (np.pi * j) ** 2
    paid = [
        gaussian_kl(posterior, prior._replace(std=prior.std * s)).value.value - np.log(p)
        for s, p in zip(scales, mass, strict=True)
    ]
    assert kl.side == "upper"
    assert min(paid) <= kl.value.value <= min(paid) + 0.05
    assert kl.value.value == pytest.approx(
        paid[int(np.argmin(np.abs(scales * prior.std[0] - chosen.std[0])))], rel=1e-9
    )


def test_the_bounded_cross_entropy_is_clamped_and_scaled():
    logits = jnp.array([[0.0, 0.0], [-50.0, 50.0], [0.0, np.log(3.0)]])
    np.testing.assert_allclose(
        bounded_cross_entropy(logits, jnp.array([0, 0, 1])),
        [np.log(2) / np.log(1e5), 1.0, -np.log(0.75) / np.log(1e5)],
        rtol=1e-5,
    )  # fmt: skip


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_training_lowers_the_bound_it_minimises(objective):
    data = classification()
    prior = gaussian_law(np.zeros(5), 1.0)
    start = np.array([1.0, 0, 0, 0, 0])
    fitted = fit_gaussian(
        KEY, surrogate, start, prior, data, num_data=400, objective=objective, steps=400, learning_rate=3e-2
    )

    def bound(q):
        risk = np.mean(posterior_risk(KEY, surrogate, q, data, num_draws=200))
        return bounds.kl_bound(risk, gaussian_kl(q, prior), num_data=400)

    first = Gaussian(start, prior.std * 0.03)
    assert bound(fitted) < bound(first) - 0.01
    assert (fitted.std > 2 * first.std).all()


def test_the_risk_of_a_posterior_is_that_of_its_draws():
    """E over w ~ N(m, s^2) of the error of sign(w x) at one x is Phi(-m/s)."""
    data = {"inputs": np.ones((2, 1), np.float32), "targets": np.ones(2, np.int32)}
    draws = posterior_risk(KEY, errors, gaussian_law([0.5], 1.0), data, num_draws=20_000)
    exact = 0.3085375387
    assert draws.mean() == pytest.approx(exact, abs=5 * (exact * (1 - exact) / 20_000) ** 0.5)
    assert len(np.unique(draws)) == 2


def test_only_data_the_prior_has_not_seen_count():
    data, posterior = classification(), gaussian_law([2.0, 0, 0, 0, 0], 0.1)
    poisoned = data | {"targets": np.concatenate([1 - data["targets"][:150], data["targets"][150:]])}
    setting = {"num_prior_data": 150, "num_draws": 300}
    found = gaussian_certificate(KEY, errors, posterior, KL(Estimate(3.0, 0.0), "exact"), data, **setting)
    other = gaussian_certificate(KEY, errors, posterior, KL(Estimate(3.0, 0.0), "exact"), poisoned, **setting)
    assert found == other  # what the prior has seen is not looked at
    assert found.num_data == 250
    risk = posterior_risk(
        KEY, errors, posterior, {name: part[150:] for name, part in data.items()}, num_draws=300
    ).mean()
    by_hand = bound_table(float(risk), 3.0, num_data=250, num_draws=300, families=["kl, exact constant"])
    assert found == by_hand


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda d, q: fit_gaussian(KEY, surrogate, q.mean, q, d, num_data=400, objective="f_bbb"), "f_bbb"),
        (lambda d, q: fit_gaussian(KEY, surrogate, q.mean, q, d, num_data=1), "num_data is 1"),
        (lambda d, q: fit_gaussian(KEY, surrogate, q.mean, q, d, num_data=400, delta=1.0), "delta"),
        (lambda d, q: posterior_risk(KEY, errors, q, d, num_draws=0), "num_draws is 0"),
        (lambda d, q: posterior_risk(KEY, lambda w, b: 2 * errors(w, b), q, d, num_draws=8), "outside"),
        (lambda d, q: gaussian_certificate(KEY, errors, q, gaussian_kl(q, q), d, num_prior_data=399), "2 must be left"),
        (lambda d, q: gaussian_certificate(KEY, errors, q, KL(Estimate(1.0, 0.0), "lower"), d), "lower"),
    ],
)
def test_what_certifies_nothing_is_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call(classification(), gaussian_law(np.zeros(5), 1.0))
