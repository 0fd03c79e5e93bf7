import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_agrees
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from slt._types import Estimate
from slt.studies.function_space import (
    Functions,
    boolean_inputs,
    count_functions,
    draw_functions,
    entropy,
    fit_probability,
    fits,
    function_kl,
    subset_simulation,
)
from slt.studies.infinite_width import nngp_kernel, orthant_probability
from slt.targets.gaussian import gaussian_law

KEY = jax.random.key(0)


def linear(w, x):
    return x @ w


def test_boolean_inputs_are_all_and_distinct():
    inputs = boolean_inputs(3)
    assert inputs.shape == (8, 3)
    assert len(np.unique(inputs, axis=0)) == 8
    assert set(inputs.ravel()) == {-1.0, 1.0}
    with pytest.raises(ValueError, match="between 1 and 16"):
        boolean_inputs(0)


def test_functions_are_counted_most_frequent_first():
    labels = np.array([[0, 1, 1], [1, 1, 1], [0, 1, 1], [0, 0, 0], [0, 1, 1], [1, 1, 1]], bool)
    functions = count_functions(labels)
    assert functions.counts.tolist() == [3, 2, 1]
    assert functions.labels.tolist() == [[False, True, True], [True, True, True], [False, False, False]]
    assert functions.total == 6
    with pytest.raises(ValueError, match="booleans"):
        count_functions(labels.astype(int))


def test_signs_of_one_weight_share_the_prior_and_fits_selects():
    prior = draw_functions(KEY, linear, gaussian_law([0.0], 1.0), [[1.0], [2.0], [-1.0]], 4000, chunk=1500)
    assert prior.total == 4000
    assert len(prior.counts) == 2
    assert prior.counts[0] / 4000 == pytest.approx(0.5, abs=6 * 0.5 / 4000**0.5)
    assert fits(prior.labels, [0, 2], [True, False]).sum() == 1
    evidence = fit_probability(prior, [0], [True])
    assert_agrees(evidence, np.log(2), resolution=0.1, false_fail=1e-6)
    assert prior.labels[fits(prior.labels, [0], [True])].tolist() == [[True, True, False]]
    with pytest.raises(ValueError, match="none of 4000 draws fits"):
        fit_probability(prior, [0, 1], [True, False])


def test_entropies_of_the_reference():
    """A Zipf law of 4096 atoms: the plug-in is low, Chao-Shen nearer; Good-Turing sees the mass that draws missed."""
    share = 1 / np.arange(1, 4097)
    share /= share.sum()
    counts = np.random.default_rng(0).multinomial(2000, share)
    plug_in, chao_shen, unseen = entropy(counts)
    exact = -np.sum(share * np.log(share))
    assert plug_in < exact - 0.2
    assert abs(chao_shen - exact) < 0.5 * (exact - plug_in)
    assert unseen == pytest.approx(share[counts == 0].sum(), abs=0.05)
    assert entropy([5, 5, 5, 5])[0] == pytest.approx(np.log(4))
    assert entropy([1000, 1000])[1] == pytest.approx(np.log(2))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_the_chain_identity_is_exact_on_tables_of_counts(seed):
    """KL(Q to P) = -ln P(S) + KL(Q to P_B) for plug-in laws; so a lost term or a wrong sign shows at once."""
    rng = np.random.default_rng(seed)
    labels = boolean_inputs(3) > 0
    labels = np.unique(rng.random((40, 8)) < 0.5, axis=0)
    prior = Functions(labels, rng.integers(1000, 100_000, len(labels)))
    targets = labels[0, [1, 4]]
    keep = fits(labels, [1, 4], targets)
    posterior = Functions(labels[keep], prior.counts[keep])
    trained = Functions(posterior.labels, rng.integers(1, 500, len(posterior.counts)))
    left = function_kl(trained, prior, support=1).plug_in.value.value
    right = function_kl(trained, posterior, support=1).plug_in.value.value
    assert left == pytest.approx(fit_probability(prior, [1, 4], targets).value + right, abs=2e-3)


def test_divergence_of_sampled_laws_brackets_the_truth_and_knows_its_error():
    rng = np.random.default_rng(1)
    p, q = rng.dirichlet(np.ones(16)), rng.dirichlet(np.ones(16) * 3)
    exact = float(np.sum(q * np.log(q / p)))
    labels = boolean_inputs(4) > 0
    z = []
    for _ in range(200):
        trained = Functions(labels, rng.multinomial(4000, q))
        trained = Functions(labels[trained.counts > 0], trained.counts[trained.counts > 0])
        value = function_kl(trained, Functions(labels, rng.multinomial(20_000, p)), support=16).plug_in.value
        z.append((value.value - 15 / 8000 - exact) / value.mcse)
    assert np.std(z) == pytest.approx(1, abs=0.25)  # 200 replicates know it to 5 %
    assert abs(np.mean(z)) < 0.5


def test_an_unseen_function_costs_a_finite_amount():
    labels = boolean_inputs(2)[:, :2] > 0
    trained, prior = Functions(labels[:1], np.array([10])), Functions(labels[1:2], np.array([99]))
    bracket = function_kl(trained, prior)
    assert bracket.plug_in.value.value == pytest.approx(-np.log(0.5 / (99 + 0.5 * 4)))
    assert bracket.plug_in.side == "none"


@pytest.mark.parametrize("signs", [[True, True, True], [True, False, True]])
def test_subset_simulation_is_the_orthant_of_a_gaussian(signs):
    """Three linear outputs of three weights: P(S) is a trivariate orthant, known in closed form."""
    rows = np.array([[1.0, 0.2, 0.1], [0.5, 1.0, -0.3], [-0.2, 0.4, 1.0]])
    law = gaussian_law(np.zeros(3), [1.0, 0.5, 2.0])
    cov = rows @ np.diag(law.std**2) @ rows.T * np.outer(*[np.where(signs, 1.0, -1.0)] * 2)
    corr = cov / np.sqrt(np.outer(np.diag(cov), np.diag(cov)))
    exact = 1 / 8 + np.arcsin(corr[np.triu_indices(3, 1)]).sum() / (4 * np.pi)
    evidence, particles = subset_simulation(KEY, linear, law, rows, signs, num_particles=1000, num_replicates=12)
    assert_agrees(evidence, -np.log(exact), resolution=0.2, false_fail=1e-6)
    assert (((particles @ rows.T) > 0) == signs).all()
    process = orthant_probability(rows @ np.diag(law.std**2) @ rows.T, signs)
    assert process.value == pytest.approx(-np.log(exact), abs=1e-3)
    assert abs(process.value + np.log(exact)) < 8 * process.mcse + 1e-6


def test_subset_simulation_reaches_what_counting_cannot():
    """One weight vector, 14 near-copies of one input: P(S) is about a half, whatever the number of rows."""
    x = np.ones((14, 1))
    evidence, _ = subset_simulation(KEY, linear, gaussian_law([0.0], 1.0), x, [True] * 14, num_particles=500)
    assert_agrees(evidence, np.log(2), resolution=0.25, false_fail=1e-6)
    with pytest.raises(ValueError, match="no particle fits"):
        subset_simulation(KEY, linear, gaussian_law([0.0], 1.0), [[1.0], [1.0]], [True, False], num_particles=50)


def test_orthants_of_independent_and_equicorrelated_normals():
    signs = np.array([True, False] * 10)
    assert orthant_probability(np.eye(20), signs).value == pytest.approx(20 * np.log(2), rel=1e-12)
    n = 9  # correlation 1/2: P(all positive) = 1/(n + 1)
    value = orthant_probability(0.5 * np.eye(n) + 0.5, [True] * n)
    assert value.value == pytest.approx(np.log(n + 1), abs=2e-3)
    mixed = stats.multivariate_normal(np.zeros(4), 0.5 * np.eye(4) + 0.5)
    flip = np.diag([1, -1, 1, 1])
    cdf = stats.multivariate_normal(np.zeros(4), flip @ mixed.cov @ flip).cdf(np.zeros(4))
    assert orthant_probability(mixed.cov, [True, False, True, True]).value == pytest.approx(-np.log(cdf), abs=2e-3)
    with pytest.raises(ValueError, match="not positive definite"):
        orthant_probability(np.ones((3, 3)), [True] * 3)
    with pytest.raises(ValueError, match="for 2 labels"):
        orthant_probability(np.eye(3), [True] * 2)


@pytest.mark.parametrize("activation", ["relu", "erf", "tanh"])
def test_the_kernel_is_the_covariance_of_wide_networks(activation):
    x = boolean_inputs(3)[[0, 3, 5]] * np.array([1.0, 0.5, 0.2])
    functions = {"relu": lambda u: np.maximum(u, 0), "tanh": np.tanh, "erf": lambda u: np.asarray(jax.lax.erf(u))}
    kernel = nngp_kernel(x, depth=1, activation=activation, weight_scale=1.3, bias_std=0.4)
    first = nngp_kernel(x, depth=0, weight_scale=1.3, bias_std=0.4)
    np.testing.assert_allclose(first, 0.16 + 1.69 * x @ x.T / 3)
    u = np.random.default_rng(0).multivariate_normal(np.zeros(3), first, 400_000)
    hidden = np.asarray(functions[activation](jnp.asarray(u)), np.float64)
    want = 0.16 + 1.69 * hidden.T @ hidden / len(u)
    np.testing.assert_allclose(kernel, want, atol=0.02)
    if activation == "tanh":
        two = nngp_kernel(x, depth=2, activation="tanh")
        assert np.linalg.eigvalsh(two)[0] > 0


def test_wrong_calls():
    with pytest.raises(ValueError, match="choose one of relu, erf, tanh"):
        nngp_kernel(np.eye(2), depth=1, activation="gelu")
    with pytest.raises(ValueError, match="at least 2 replicates"):
        subset_simulation(KEY, linear, gaussian_law([0.0], 1.0), [[1.0]], [True], num_replicates=1)
    with pytest.raises(ValueError, match="at least 1 draw"):
        draw_functions(KEY, linear, gaussian_law([0.0], 1.0), [[1.0]], 0)
    assert isinstance(orthant_probability(np.eye(2), [True, True]), Estimate)
