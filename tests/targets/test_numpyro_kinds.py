"""Kinds of NumPyro models as people write them: the log-likelihood of each datum by hand, or a sentence that says why.

Each model is asked for all data and for some rows, traced, in another order: how it was cut may not show.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.contrib.control_flow import scan
from numpyro.infer.reparam import LocScaleReparam
from scipy import stats

from slt.estimate.free_energy import estimate_free_energy
from slt.estimate.llc import estimate_llc
from slt.geometry.local import eigenbasis
from slt.targets.numpyro_models import bind, numpyro_target

RNG = np.random.default_rng(5)
N = 24
Y = RNG.normal(size=N).astype(np.float32)
T = np.linspace(1, 50, N).astype(np.float32)
GROUP = np.arange(N) % 3
LEVEL = RNG.integers(1, 4, N)
SEEN = RNG.random(N) < 0.7
W = np.array([0.1, 0.2, 0.3], np.float32)
GAPS = np.where(SEEN, Y, np.nan).astype(np.float32)
A = 0.3


def normal(mean, scale=1.0, y=Y):
    return stats.norm(mean, scale).logpdf(y)


def slope_of(scale):
    """y ~ N(a scale(t), 1)."""

    def model(t, y):
        a = numpyro.sample("a", dist.Normal(0, 1))
        with numpyro.plate("data", len(y)):
            numpyro.sample("y", dist.Normal(a * scale(t), 1), obs=y)

    return model


def effects(count):
    """An effect of each group, their number from the data."""

    def model(group, y):
        with numpyro.plate("groups", count(group)):
            m = numpyro.sample("m", dist.Normal(0, 1))
        with numpyro.plate("data", len(y)):
            numpyro.sample("y", dist.Normal(m[group], 1), obs=y)

    return model


def design(group, y):
    m = numpyro.sample("m", dist.Normal(0, 1).expand([3]).to_event(1))
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", dist.Normal(jnp.asarray(np.eye(3)[group]) @ m, 1), obs=y)


def branch(y):
    a = numpyro.sample("a", dist.Normal(0, 1))
    if (y < 0).any():
        with numpyro.plate("data", len(y)):
            numpyro.sample("y", dist.StudentT(4.0, a, 1.0), obs=y)


def in_numpy(y):
    a = numpyro.sample("a", dist.Normal(0, 1))
    with numpyro.plate("data", len(y)):
        numpyro.sample("z", dist.Normal(a, 1), obs=np.arctan(y))


def lagged(y):
    a = numpyro.sample("a", dist.Normal(0, 1))
    with numpyro.plate("data", len(y) - 1):
        numpyro.sample("y", dist.Normal(a * y[:-1], 1), obs=y[1:])


def weighted(y):
    """A constant that depends on the number of data."""
    a = numpyro.sample("a", dist.Normal(0, 1))
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", dist.Normal(a, np.sqrt(len(y))), obs=y)


def by_position(y):
    a = numpyro.sample("a", dist.Normal(0, 1))
    with numpyro.plate("data", len(y)) as i:
        numpyro.sample("y", dist.Normal(a * i, 1), obs=y)


def masked(y, seen):
    a = numpyro.sample("a", dist.Normal(0, 1))
    with numpyro.plate("data", len(y)), handlers.mask(mask=seen):
        numpyro.sample("y", dist.Normal(a, 1), obs=y)


def masked_by_nan(y):
    a = numpyro.sample("a", dist.Normal(0, 1))
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", dist.Normal(a, 1).mask(~jnp.isnan(y)), obs=y)


def masked_features(y):
    """Rows of three entries, some of them missing; a row counts while one of its entries is there."""
    a = numpyro.sample("a", dist.Normal(0, 1))
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", dist.Normal(a, 1).expand(y.shape).mask(~jnp.isnan(y)).to_event(1), obs=y)


def two_sites(y, z):
    a = numpyro.sample("a", dist.Normal(0, 1))
    with numpyro.plate("data", len(y)):
        numpyro.sample("z", dist.Poisson(jnp.exp(a)), obs=z)
        with handlers.mask(mask=~np.isnan(y)):
            numpyro.sample("y", dist.Normal(a, 1), obs=y)


def censored(y):
    """Above 1/2 it is only known that it is above."""
    a = numpyro.sample("a", dist.Normal(0, 1))
    with numpyro.plate("data", len(y)):
        with handlers.mask(mask=y < 0.5):
            numpyro.sample("y", dist.Normal(a, 1), obs=y)
        with handlers.mask(mask=y >= 0.5):
            numpyro.factor("tail", jax.scipy.stats.norm.logsf(0.5, a, 1))


def whole_subsample(y):
    a = numpyro.sample("a", dist.Normal(0, 1))
    with numpyro.plate("data", len(y), subsample_size=len(y)):
        numpyro.sample("y", dist.Normal(a, 1), obs=y)


def in_columns(table):
    """Data along the second plate."""
    a = numpyro.sample("a", dist.Normal(0, 1))
    with numpyro.plate("data", len(table), dim=-2), numpyro.plate("feature", table.shape[1], dim=-1):
        numpyro.sample("y", dist.Normal(a, 1), obs=table)


def from_dict(data, robust=False):
    a = numpyro.sample("a", dist.Normal(0, 1))
    with numpyro.plate("data", data["y"].shape[0]):
        law = dist.StudentT(4.0, a * data["t"], 1.0) if robust else dist.Normal(a * data["t"], 1)
        numpyro.sample("y", law, obs=data["y"])


def residuals(t, y):
    a = numpyro.sample("a", dist.Normal(0, 1))
    with numpyro.plate("data", len(y)):
        numpyro.sample("rest", dist.Normal(0, 1), obs=y - a * t)


def labels(group):
    m = numpyro.sample("m", dist.Normal(0, 1).expand([3]).to_event(1))
    with numpyro.plate("data", len(group)):
        numpyro.sample("y", dist.Categorical(logits=m), obs=group)


def mixture(y):
    m = numpyro.sample("m", dist.Normal(0, 1).expand([3]).to_event(1))
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", dist.MixtureSameFamily(dist.Categorical(jnp.ones(3) / 3), dist.Normal(m, 1.0)), obs=y)


ROW = {"a": jnp.asarray(A)}
MEANS = {"m": jnp.asarray(W)}
TABLE = np.where(RNG.random((N, 3)) < 0.5, RNG.normal(size=(N, 3)), np.nan).astype(np.float32)
TABLE[4] = np.nan
FULL = RNG.normal(size=(N, 3)).astype(np.float32)
COUNTS = RNG.poisson(1.5, N)
t4 = stats.t(4, A)

RIGHT = {
    "as many groups as np.unique": (effects(lambda g: len(np.unique(g))), (GROUP, Y), MEANS, normal(W[GROUP])),
    "as many groups as the largest": (effects(lambda g: int(g.max()) + 1), (GROUP, Y), MEANS, normal(W[GROUP])),
    "a set": (effects(lambda g: len(set(g.tolist()))), (GROUP, Y), MEANS, normal(W[GROUP])),
    "np.eye": (design, (GROUP, Y), MEANS, normal(W[GROUP])),
    "a branch": (branch, (Y,), ROW, t4.logpdf(Y)),
    "a transform by NumPy": (in_numpy, (Y,), ROW, normal(A, y=np.arctan(Y))),
    "over the largest": (slope_of(lambda t: t / t.max()), (T, Y), ROW, normal(A * T / 50)),
    "from the first": (slope_of(lambda t: t - t[0]), (T, Y), ROW, normal(A * (T - 1))),
    "from the smallest": (slope_of(lambda t: t - t.min()), (T[::-1], Y), ROW, normal(A * (T[::-1] - 1))),
    "standardised": (slope_of(lambda t: (t - t.mean()) / t.std()), (T, Y), ROW, normal(A * (T - T.mean()) / T.std())),
    "of a median": (slope_of(lambda t: t - jnp.median(t)), (T, Y), ROW, normal(A * (T - np.median(T)))),
    "ranks": (slope_of(lambda t: jnp.argsort(jnp.argsort(t))), (Y, Y), ROW, normal(A * Y.argsort().argsort())),
    "a level over the largest": (slope_of(lambda t: t / t.max()), (LEVEL, Y), ROW, normal(A * LEVEL / 3)),
    "sums of all before": (slope_of(jnp.cumsum), (0.1 * Y, Y), ROW, normal(A * np.cumsum(0.1 * Y))),
    "the datum before": (lagged, (Y,), ROW, normal(A * Y[:-1], y=Y[1:])),
    "the number of data": (weighted, (Y,), ROW, normal(A, np.sqrt(N))),
    "numbers of the plate": (by_position, (Y,), ROW, normal(A * np.arange(N))),
    "a mask": (masked, (Y, SEEN), ROW, normal(A)[SEEN]),
    "a mask over NaN": (masked, (GAPS, SEEN), ROW, normal(A)[SEEN]),
    "a distribution masked": (masked_by_nan, (GAPS,), ROW, normal(A)[SEEN]),
    "masked entries": (masked_features, (TABLE,), ROW, np.nansum(normal(A, y=TABLE), 1)[(TABLE == TABLE).any(1)]),
    "one site of two masked": (
        two_sites, (GAPS, COUNTS), ROW, np.where(SEEN, normal(A), 0) + stats.poisson(np.exp(A)).logpmf(COUNTS),
    ),
    "censored": (censored, (Y,), ROW, np.where(Y < 0.5, normal(A), stats.norm(A).logsf(0.5))),
    "a subsample of all": (whole_subsample, (Y,), ROW, normal(A)),
    "a dictionary": (from_dict, ({"t": T, "y": Y},), ROW, normal(A * T)),
    "residuals": (residuals, (T, Y), ROW, normal(A * T)),
    "labels": (labels, (GROUP,), MEANS, (W - np.log(np.exp(W).sum()))[GROUP]),
    "a mixture": (mixture, (Y,), MEANS, np.log(np.mean([stats.norm(m).pdf(Y) for m in W], 0))),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_every_datum_has_its_likelihood(name):
    model, data, u, expected = RIGHT[name]
    bound = bind(model, data, {})
    assert bound.sites.num_data == len(expected)
    rows = np.random.default_rng(0).permutation(len(expected))
    for some in (rows, rows[:1], rows[: len(rows) // 2]):
        found = jax.jit(bound.log_likelihood)(u, jax.tree.map(lambda a, some=some: a[some], bound.data))
        np.testing.assert_allclose(found, expected[some], atol=3e-5, rtol=1e-4)


def test_a_plate_of_features_is_summed_over():
    bound = bind(in_columns, (FULL,), {}, "data")
    np.testing.assert_allclose(bound.log_likelihood(ROW, bound.data), normal(A, y=FULL).sum(1), atol=3e-5)


def test_rows_are_cut_where_they_can_be():
    """Minibatches of a model that takes rows see those alone."""
    for name in ("a mask", "a dictionary", "labels", "one site of two masked"):
        model, data, _, _ = RIGHT[name]
        assert isinstance(bind(model, data, {}).data, list) == (name != "one site of two masked")


def hierarchy(group, y):
    mu, tau = numpyro.sample("mu", dist.Normal(0, 2)), numpyro.sample("tau", dist.HalfNormal(1))
    with numpyro.plate("groups", 6):
        a = numpyro.sample("a", dist.Normal(mu, tau))
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", dist.Normal(a[group], 1), obs=y)


SIX = np.arange(60) % 6
HIER = (RNG.normal(size=6)[SIX] + RNG.normal(size=60)).astype(np.float32)


def test_a_centred_hierarchy_has_no_mode_and_says_so():
    target = numpyro_target(hierarchy, SIX, HIER)
    assert "'tau' goes to 0" in target.flaw
    result = estimate_llc(target, tolerance=0.2)
    assert result.verdict.status == "not a minimum"
    assert "LocScaleReparam(0)" in result.verdict.reasons[0]


def test_a_hierarchy_without_its_centre_has_a_mode():
    """The mode at beta = 1 is that of the marginal quadratic: grad U = 0."""
    model = handlers.reparam(hierarchy, config={"a": LocScaleReparam(0)})
    target = numpyro_target(model, SIX, HIER, inverse_temperature=1.0)
    assert set(target.minimum) == {"mu", "tau", "a_decentered"}
    assert target.flaw == ""
    assert target.gradient_norm * target.nbeta < 0.05


def test_curvature_is_had_where_a_model_indexes_by_whole_numbers():
    """The Hessian, in float64, of group means is diagonal: a share of the data each."""
    target = numpyro_target(effects(lambda g: int(g.max()) + 1), GROUP, Y, minimum=MEANS)
    np.testing.assert_allclose(eigenbasis(target).values, np.full(3, 1 / 3), rtol=1e-6)


def half_observed(y, seen):
    a = numpyro.sample("a", dist.Normal(0, 1))
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", dist.Normal(a, 1), obs=y, obs_mask=seen)


def masked_prior(y, seen):
    with handlers.mask(mask=False):
        a = numpyro.sample("a", dist.Normal(0, 1))
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", dist.Normal(a, 1), obs=y)


def masked_by_parameter(y):
    a = numpyro.sample("a", dist.Normal(0, 1))
    with numpyro.plate("data", len(y)), handlers.mask(mask=y > a):
        numpyro.sample("y", dist.Normal(a, 1), obs=y)


def point_mass(y):
    a = numpyro.sample("a", dist.Delta(0.5))
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", dist.Normal(a, 1), obs=y)


def imputed(y):
    a = numpyro.sample("a", dist.Normal(0, 1))
    gaps = np.flatnonzero(np.isnan(y))
    lost = numpyro.sample("lost", dist.Normal(0, 1).expand([len(gaps)]).to_event(1))
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", dist.Normal(a, 1), obs=jnp.asarray(y).at[gaps].set(lost))


def process(t, y):
    scale = numpyro.sample("scale", dist.HalfNormal(1))
    kernel = scale * jnp.exp(-((t[:, None] - t) ** 2)) + jnp.eye(len(t))
    numpyro.sample("y", dist.MultivariateNormal(0.0, kernel), obs=y)


def scanned(y):
    a = numpyro.sample("a", dist.Normal(0, 1))

    def step(before, now):
        numpyro.sample("y", dist.Normal(a * before, 1), obs=now)
        return now, None

    scan(step, 0.0, y)


def subsampled(y):
    a = numpyro.sample("a", dist.Normal(0, 1))
    with numpyro.plate("data", len(y), subsample_size=8):
        numpyro.sample("y", dist.Normal(a, 1), obs=numpyro.subsample(jnp.asarray(y), 0))


def scaled(y):
    a = numpyro.sample("a", dist.Normal(0, 1))
    with numpyro.plate("data", len(y)), handlers.scale(scale=2.0):
        numpyro.sample("y", dist.Normal(a, 1), obs=y)


def learnt(y):
    a = numpyro.sample("a", dist.Normal(0, 1)) + numpyro.param("shift", 0.5)
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", dist.Normal(a, 1), obs=y)


def counted(y):
    rate = numpyro.sample("rate", dist.Gamma(2.0, 1.0))
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", dist.Poisson(rate), obs=y)


def two_plates(y, t):
    a = numpyro.sample("a", dist.Normal(0, 1))
    with numpyro.plate("one", len(y)):
        numpyro.sample("y", dist.Normal(a, 1), obs=y)
    with numpyro.plate("two", len(t)):
        numpyro.sample("t", dist.Normal(a, 9), obs=t)


def switch(y):
    z = numpyro.sample("z", dist.Bernoulli(0.5))
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", dist.Normal(z, 1.0), obs=y)


plain = slope_of(lambda t: t)


@pytest.mark.parametrize(
    ("law", "kind"),
    [
        (dist.Gamma(0.05, 1.0), r"rounded to an end of its support in \d\.\d%"),
        (dist.ImproperUniform(dist.constraints.positive, (), ()), "improper"),
    ],
)
def test_priors_that_cannot_be_drawn_are_not_sampled_as_if_they_could(law, kind):
    """One in eighty draws of Gamma(0.05, 1) is 0 in float32, whose logarithm is no position; it may not be left out."""

    def model(y):
        p = numpyro.sample("p", law)
        with numpyro.plate("data", len(y)):
            numpyro.sample("y", dist.Poisson(p), obs=y)

    target = numpyro_target(model, COUNTS, minimum={"p": 1.5})
    with pytest.raises(ValueError, match=f"the prior is {kind}"):
        estimate_free_energy(target)
    localised = numpyro_target(model, COUNTS, minimum={"p": 1.5}, localization=1.0)
    assert localised.prior.draw is not None


REFUSED = {
    "jnp.unique": (effects(lambda g: jnp.unique(g).size), (GROUP, Y), r"with NumPy on NumPy arrays, np\.unique"),
    "plates of two kinds": (in_columns, (FULL,), "data_plate="),
    "obs_mask": (half_observed, (Y, SEEN), r"'y' has an obs_mask.*handlers\.mask"),
    "a masked prior": (masked_prior, (Y, SEEN), r"prior of the latent site 'a'.*ImproperUniform"),
    "a mask by a parameter": (masked_by_parameter, (Y,), r"handlers\.mask takes out depends on the parameters"),
    "nearly all masked": (masked, (Y, np.arange(N) < 2), r"n = 2 data, 22 more are taken out by handlers\.mask"),
    "NaN": (slope_of(lambda t: t), (T, GAPS), r"'y' holds NaN.*handlers\.mask"),
    "a Delta": (point_mass, (Y,), r"'a' is a Delta.*numpyro\.deterministic"),
    "imputed data": (imputed, (GAPS,), r"'y' are values of latent sites.*handlers\.mask"),
    "a Gaussian process": (process, (T, Y), "lies in no plate.*Gaussian process"),
    "a scan": (scanned, (Y,), "lies in no plate.*scan over time"),
    "a subsample": (subsampled, (Y,), "subsample_size"),
    "a scale": (scaled, (Y,), r"scaled by .*handlers\.scale"),
    "a numpyro.param": (learnt, (Y,), r"'shift' is a numpyro\.param"),
    "two plates": (two_plates, (Y, T[:9]), "different plates"),
    "a discrete parameter": (switch, (Y,), "'z' is discrete"),
    "a fixed parameter": (handlers.substitute(plain, data={"a": 1.0}), (T, Y), r"'a' has the same value.*substitute"),
    "a condition": (handlers.condition(plain, data={"a": 1.0}), (T, Y), "condition|no latent site"),
    "a seeded model": (handlers.seed(plain, 0), (T, Y), r"'a' has the same value.*handlers\.seed"),
    "a count of one half": (counted, (np.where(np.arange(N) == 3, 0.5, COUNTS),), "not finite.*datum 3 has likelihood"),
    "a negative count": (counted, (np.where(np.arange(N) == 3, -1, COUNTS),), "not finite.*datum 3 has likelihood"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_a_sentence(name):
    model, data, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        numpyro_target(model, *data)


def test_a_bayesian_network_of_flax_is_no_model_with_parameters():
    linen = pytest.importorskip("flax.linen")
    from numpyro.contrib.module import random_flax_module

    def model(x, y):
        net = random_flax_module("net", linen.Dense(1), dist.Normal(0, 1), input_shape=(1,))
        with numpyro.plate("data", len(y)):
            numpyro.sample("y", dist.Normal(net(x)[:, 0], 1), obs=y)

    bound = bind(model, (T[:, None] / 50, Y), {})
    assert set(bound.sites.latent) == {"net/bias", "net/kernel"}
    u = {"net/bias": jnp.full(1, 0.2), "net/kernel": jnp.full((1, 1), A)}
    np.testing.assert_allclose(bound.log_likelihood(u, bound.data), normal(0.2 + A * T / 50), atol=3e-5)
