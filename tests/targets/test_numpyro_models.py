"""NumPyro models as targets: densities against NumPyro's own, likelihoods against sums by hand, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from helpers import assert_agrees
from numpyro import handlers
from numpyro.infer import MCMC, NUTS
from numpyro.infer.util import potential_energy
from scipy import special, stats

from slt.catalogue.registry import potential
from slt.estimate.criteria import estimate_criteria
from slt.estimate.free_energy import estimate_free_energy
from slt.estimate.llc import estimate_llc
from slt.stats.per_datum import pointwise
from slt.targets.numpyro_models import as_target, bind, numpyro_log_likelihood, numpyro_target
from slt.targets.target import potential_target

RNG = np.random.default_rng(0)
Y = RNG.normal(size=30).astype(np.float32)
X = RNG.normal(size=(30, 3)).astype(np.float32)


def constrained(y):
    """Every kind of support: simplex, positive, an interval whose end is sampled, ordered, a Cholesky factor."""
    weights = numpyro.sample("weights", dist.Dirichlet(jnp.array([2.0, 1.0, 3.0])))
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    top = numpyro.sample("top", dist.Gamma(2.0, 1.0))
    inside = numpyro.sample("inside", dist.Uniform(0.0, top))
    L = numpyro.sample("L", dist.LKJCholesky(2, 1.5))
    numpyro.deterministic("twice", 2 * inside)
    location = inside + weights[0] - weights[2] + L[1, 0]
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", dist.Normal(location, scale), obs=y)


def regression(x, y=None, hidden=1):
    A = numpyro.sample("A", dist.Normal(0, 1).expand([hidden, x.shape[1]]).to_event(2))
    with numpyro.plate("data", x.shape[0]):
        numpyro.sample("y", dist.Normal((x @ A.T).sum(-1), 1.0), obs=y)


def standardising(y):
    """The model on a few rows is another model."""
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y - y.mean())


def fixed_length(y):
    """The plate does not follow the data: rows cannot be cut."""
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("data", 30):
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def two_sites(y, z, mask):
    """Two sites of one plate, one masked, one with a further plate of features."""
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("features", z.shape[1], dim=-2), numpyro.plate("data", len(y), dim=-1):
        numpyro.sample("z", dist.Normal(mu, 2.0), obs=z.T)
    with numpyro.plate("data", len(y)), handlers.mask(mask=mask):
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


@pytest.mark.parametrize(
    ("model", "data", "named"), [(constrained, (Y,), {}), (regression, (X,), {"y": Y, "hidden": 2})]
)
def test_prior_and_likelihood_add_to_the_density_of_numpyro(model, data, named):
    bound = bind(model, data, named)
    u = bound.draw_prior(jax.random.key(1))
    ours = bound.log_prior(u) + bound.log_likelihood(u, bound.data).sum()
    assert ours == pytest.approx(-float(potential_energy(model, data, named, u)), rel=1e-5)


def test_the_prior_is_drawn_as_it_is_dense():
    """Its density integrates to one only with the Jacobian, once; a shift of the draws by 3 % has a p-value of 1e-6."""

    def model(y):
        p = numpyro.sample("p", dist.Beta(2.0, 3.0))
        with numpyro.plate("data", len(y)):
            numpyro.sample("y", dist.Normal(p, 1.0), obs=y)

    bound = bind(model, (Y,), {})
    u = jnp.linspace(-15, 15, 2001)
    density = jnp.exp(jax.vmap(lambda value: bound.log_prior({"p": value}))(u))
    assert float(jnp.trapezoid(density, u)) == pytest.approx(1.0, abs=1e-4)
    draws = jax.jit(jax.vmap(bound.draw_prior))(jax.random.split(jax.random.key(0), 20_000))["p"]
    assert stats.kstest(special.expit(np.asarray(draws, np.float64)), stats.beta(2, 3).cdf).pvalue > 1e-6


def test_likelihood_of_a_datum_adds_its_sites_and_features_and_minds_the_mask():
    z, mask = RNG.normal(size=(30, 2)), np.arange(30) % 3 > 0
    bound = bind(two_sites, (Y, z, mask), {})
    by_hand = stats.norm(0.3, 2).logpdf(z).sum(1) + mask * stats.norm(0.3, 1).logpdf(Y)
    np.testing.assert_allclose(bound.log_likelihood({"mu": jnp.array(0.3)}, bound.data), by_hand, rtol=1e-4)


@pytest.mark.parametrize(("model", "cut"), [(standardising, False), (fixed_length, False)])
def test_rows_are_cut_only_where_the_model_on_rows_is_the_same(model, cut):
    bound = bind(model, (Y,), {})
    observed = Y - Y.mean() if model is standardising else Y
    assert isinstance(bound.data, list) == cut
    rows = jnp.array([4, 1])
    part = bound.log_likelihood({"mu": jnp.array(0.3)}, jax.tree.map(lambda a: a[rows], bound.data))
    np.testing.assert_allclose(part, stats.norm(0.3, 1).logpdf(observed[[4, 1]]), rtol=1e-4)


def test_rows_of_positional_and_named_data_are_cut():
    bound = bind(regression, (X,), {"y": Y, "hidden": 2})
    u, rows = bound.draw_prior(jax.random.key(0)), jnp.array([4, 1])
    expected = stats.norm(X @ np.asarray(u["A"]).sum(0), 1).logpdf(Y)[[4, 1]]
    np.testing.assert_allclose(bound.log_likelihood(u, [a[rows] for a in bound.data]), expected, rtol=1e-4)


def test_the_minimum_is_the_mode_at_the_temperature():
    """mu ~ N(0, 1), y ~ N(mu, 1): the mode at beta is beta sum y / (1 + beta n)."""
    target = numpyro_target(fixed_length, Y)
    beta = 1 / np.log(30)
    assert float(target.minimum["mu"]) == pytest.approx(beta * Y.sum() / (1 + 30 * beta), abs=1e-4)
    assert target.precision == pytest.approx(1.0, abs=1e-3)
    assert target.gradient_norm < 1e-4


def test_localisation_multiplies_the_prior():
    target = numpyro_target(fixed_length, Y, localization=50.0, minimum={"mu": 0.25})
    u = {"mu": jnp.array(0.7)}
    assert float(target.prior.log_density(u)) == pytest.approx(stats.norm.logpdf(0.7) - 25 * 0.45**2, abs=1e-4)
    draws = jax.vmap(target.prior.draw)(jax.random.split(jax.random.key(0), 500))["mu"]
    # the tight Gaussian is drawn from and the wide prior weights it, not the other way round
    assert float(draws.std()) == pytest.approx(50**-0.5, rel=0.15)
    assert float(target.prior.log_weight(u)) == pytest.approx(stats.norm.logpdf(0.7), abs=1e-4)


def test_an_estimate_from_a_model_and_its_data():
    """y ~ N(mu, 1), mu ~ N(0, 1): n beta (L_n(mu) - L_n(mode)) is n beta (mu - mode)^2/2 and a term of mean zero."""
    result = estimate_llc(fixed_length, Y, tolerance=0.02)
    nbeta = 30 / np.log(30)
    assert result.verdict.status == "converged"
    assert_agrees(result.estimates["llc"], nbeta / 2 / (1 + nbeta), resolution=0.05, false_fail=1e-6)


def test_log_likelihoods_of_a_run():
    mcmc = MCMC(
        NUTS(fixed_length), num_warmup=10, num_samples=7, num_chains=2, chain_method="vectorized", progress_bar=False
    )
    mcmc.run(jax.random.key(0), Y)
    values = numpyro_log_likelihood(mcmc)
    mu = np.asarray(mcmc.get_samples(group_by_chain=True)["mu"])
    assert values.shape == (2, 7, 30)
    np.testing.assert_allclose(values, stats.norm(mu[..., None], 1).logpdf(Y), rtol=1e-4)
    with pytest.raises(ValueError, match="draws"):
        pointwise(values, inverse_temperature=1.0)
    with pytest.raises(ValueError, match=r"call mcmc\.run"):
        numpyro_log_likelihood(MCMC(NUTS(fixed_length), num_warmup=1, num_samples=1))


def no_plate(y):
    numpyro.sample("y", dist.Normal(numpyro.sample("mu", dist.Normal(0, 1)), 1).expand([len(y)]), obs=y)


def discrete(y):
    with numpyro.plate("data", len(y)):
        z = numpyro.sample("z", dist.Bernoulli(0.5), infer={"enumerate": "parallel"})
        numpyro.sample("y", dist.Normal(z, 1.0), obs=y)


def local(y):
    with numpyro.plate("data", len(y)):
        z = numpyro.sample("z", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(z, 1.0), obs=y)


def subsampled(y):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("data", len(y), subsample_size=5) as rows:
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y[rows])


def with_factor(y):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    numpyro.factor("extra", -(mu**2))
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (no_plate, (Y,), r"lies in no plate.*numpyro\.plate\('data', len\(y\)\)"),
        (with_factor, (Y,), "factor 'extra' lies in no plate"),
        (discrete, (Y,), r"'z' is discrete.*MixtureSameFamily"),
        (local, (Y,), r"'z' lies in the plate 'data'.*integrate it out"),
        (subsampled, (Y,), "subsample_size"),
        (regression, (X, Y[:, None]), r"'y' has shape \(30, 1\).*\(30,\).*broadcast"),
        (regression, (X, Y[:20]), r"\(20,\)"),
        (regression, (X[:, 0], Y), "failed on its data"),
        (regression, (X, None), "no observed site"),
        (fixed_length, (np.where(np.arange(30) == 4, np.nan, Y),), "holds NaN"),
        (regression, (X[:2], Y[:2]), "at least 3"),
    ],
)  # fmt: skip
def test_refusals_say_what_to_do(model, data, message):
    with pytest.raises(ValueError, match=message):
        numpyro_target(model, *data)


def test_a_target_takes_no_data_and_a_number_is_no_model():
    target = potential_target(potential("x2y2").energy, jnp.zeros(2), nbeta=100.0)
    assert as_target(target) is target
    with pytest.raises(ValueError, match="holds its own data"):
        as_target(target, (Y,))
    with pytest.raises(ValueError, match="tolerence"):
        estimate_llc(target, tolerence=0.1)
    with pytest.raises(ValueError, match="neither a Target nor a NumPyro model"):
        as_target(3.0)


def test_a_given_minimum_needs_every_site():
    with pytest.raises(ValueError, match="minimum names nothing"):
        numpyro_target(fixed_length, Y, minimum={})
    target = numpyro_target(fixed_length, Y, minimum={"mu": 0.25})
    assert float(target.minimum["mu"]) == pytest.approx(0.25)


@pytest.mark.parametrize("estimate", [estimate_llc, estimate_criteria, estimate_free_energy])
def test_every_estimator_takes_a_model_or_a_target_alone(estimate):
    with pytest.raises(ValueError, match="lies in no plate"):
        estimate(no_plate, Y)
    with pytest.raises(ValueError, match="holds its own data"):
        estimate(potential_target(potential("x2y2").energy, jnp.zeros(2), nbeta=100.0), Y)


def test_models_that_do_the_same_keep_the_names_of_their_sites():
    """The program of the one would give the other draws without a site, and a likelihood that is constant."""

    def build(name):
        def model(y):
            center = numpyro.sample(name, dist.Normal(0, 1))
            with numpyro.plate("data", 30):
                numpyro.sample("y", dist.Normal(center, 1.0), obs=y)

        return model

    for name in ("first", "second"):
        target = numpyro_target(build(name), Y)
        assert set(target.prior.draw(jax.random.key(0))) == {name}
