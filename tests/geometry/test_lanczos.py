"""The Lanczos run: exactness, breakdown, probes, and the lower bound of the spectrum."""

import jax
import numpy as np
import pytest
from geometry.matrices import MATVEC, with_spectrum

from slt.geometry.lanczos import _radau, gauss_rule, lanczos_spectrum, tridiagonal
from slt.geometry.spectrum import log_det, trace


def run(matrix, **options):
    return lanczos_spectrum(MATVEC, matrix.shape[0], jax.random.key(0), args=(matrix,), **options)


def test_as_many_steps_as_dimensions_give_every_eigenvalue():
    values = np.array([-2.0, -0.5, 0.0, 1e-3, 1.0, 3.0, 7.0])
    spectrum = run(with_spectrum(values), num_probes=3)
    np.testing.assert_allclose(spectrum.gauss.nodes, np.tile(values, (3, 1)), atol=1e-13)
    assert list(spectrum.steps) == [7, 7, 7]


def test_the_basis_stays_orthogonal_where_ritz_values_converge():
    """Without the second pass copies of the outliers appear: a hundred steps find each of five just once."""
    outliers = np.array([5.0, 10, 20, 50, 100])
    matrix = with_spectrum(np.concatenate([np.linspace(0, 1, 295), outliers]))
    nodes = run(matrix, num_probes=2, num_steps=150).gauss.nodes
    np.testing.assert_allclose(nodes[:, -5:], np.tile(outliers, (2, 1)), rtol=1e-10)
    assert np.all(nodes[:, -6] < 1.01)


def test_orthogonality_survives_a_spread_of_twelve_decades():
    """The first pass alone leaves errors that the next steps amplify; the Ritz values then leave the spectrum."""
    values = np.logspace(-12, 0, 60)
    with jax.enable_x64(True):
        matrix = with_spectrum(values)
        start = jax.random.normal(jax.random.key(1), (60,), np.float64)
        alpha, beta, steps = tridiagonal(lambda v: matrix @ v, start / np.linalg.norm(start), 60)
    found = np.linalg.eigvalsh(np.diag(alpha) + np.diag(beta[:-1], 1) + np.diag(beta[:-1], -1))[60 - int(steps) :]
    assert np.sum(found > 0.5e-3) == np.sum(values > 0.5e-3)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_it_stops_where_the_krylov_space_is_exhausted(dtype):
    """Rank 20 + cI has 21 eigenvalues; matfree 0.6.3 alone gives NaN from the 40th step on."""
    values = np.concatenate([np.zeros(280), np.logspace(-1, 1, 20)])
    spectrum = run(with_spectrum(values, dtype=dtype), num_steps=100, dtype=dtype, lower_bound=0.0)
    assert spectrum.steps.max() <= 24
    for c in (1.0, 1e-2, 1e-3):
        result = log_det(spectrum, c)
        exact = np.sum(np.log(values + c))
        assert abs(result.value.value - exact) < 4.8 * result.sem  # t of 9 dof at 1e-3
        assert result.verdict.status == "converged"


def test_multiples_of_the_identity_and_zero_end_at_once():
    for value, exact in ((2.0, 50 * np.log(2.5)), (0.0, 50 * np.log(0.5))):
        spectrum = run(with_spectrum(np.full(50, value)), lower_bound=0.0)
        assert spectrum.steps.max() <= 2
        result = log_det(spectrum, 0.5)
        assert result.value.value == pytest.approx(exact, abs=1e-9)
        assert result.verdict.status == "converged"


def test_probes_are_independent_and_lie_on_the_sphere():
    matrix = with_spectrum(np.linspace(1, 2, 200))
    spectrum = run(matrix, num_probes=4, num_steps=10)
    np.testing.assert_allclose(spectrum.gauss.weights.sum(1), 1)
    assert len(set(spectrum.gauss.nodes[:, 0])) == 4
    assert trace(spectrum).value == pytest.approx(300, rel=0.01)


def test_the_same_key_gives_the_same_run_in_one_compile():
    matrix = with_spectrum(np.linspace(1, 2, 50))
    first, second = run(matrix, num_probes=2, num_steps=5), run(matrix, num_probes=2, num_steps=5)
    np.testing.assert_array_equal(first.gauss.nodes, second.gauss.nodes)


def test_radau_keeps_its_node_and_integrates_one_degree_more():
    """On a measure of 12 atoms: moments up to degree 2k are exact, one above the Gauss rule's 2k - 1."""
    rng = np.random.default_rng(0)
    atoms, mass = np.sort(rng.uniform(0.2, 3, 12)), rng.dirichlet(np.ones(12))
    with jax.enable_x64(True):
        alpha, beta, _ = tridiagonal(lambda v: np.asarray(atoms) * v, jax.numpy.sqrt(mass), 4)
    nodes, weights = _radau(np.asarray(alpha), np.asarray(beta), 0.1)
    assert nodes[0] == pytest.approx(0.1, abs=1e-12)
    for degree in range(9):
        assert weights @ nodes**degree == pytest.approx(mass @ atoms**degree, rel=1e-10)
    assert weights @ nodes**9 != pytest.approx(mass @ atoms**9, rel=1e-10)


@pytest.mark.parametrize("steps", [20, 80])
def test_the_lower_bound_is_below_the_smallest_eigenvalue_and_the_ritz_value_above(steps):
    """An edge that thins out, where Ritz values lag most; failure has probability 1e-4 by the bound."""
    values = np.concatenate([np.linspace(0, 1, 396) ** 0.5, [-1.5e-3, -1.6e-3, -1.8e-3, -2e-3]])
    spectrum = run(with_spectrum(values), num_steps=steps, num_probes=5)
    assert spectrum.lower_bound < -2e-3 <= spectrum.lambda_min + 1e-12
    assert spectrum.lambda_min - spectrum.lower_bound < 40 / steps**2 * 1.1


def test_steps_double_until_truncation_is_below_the_standard_error():
    values = np.concatenate([np.zeros(200), np.logspace(-4, 1, 200)])
    options = {"lower_bound": 0.0, "num_steps": 10, "num_probes": 4}
    short, extended = run(with_spectrum(values), **options), run(with_spectrum(values), resolve=1e-5, **options)
    assert log_det(short, 1e-5).verdict.status == "not converged"
    result = log_det(extended, 1e-5)
    assert result.verdict.status == "converged"
    assert 10 < result.steps <= 160
    assert run(with_spectrum(values), resolve=1e-5, max_steps=20, **options).steps[0] == 20


def test_wrong_calls_and_products_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        run(with_spectrum(np.ones(3)), num_probes=0)
    with pytest.raises(ValueError, match="not finite"):
        run(with_spectrum(np.full(3, np.nan)))


@pytest.mark.parametrize("num_steps", [3, 8])
def test_the_gauss_rule_of_a_vector_is_exact_where_its_krylov_space_ends(num_steps):
    """Of three distinct eigenvalues three steps know all; further ones add nodes of weight 0."""
    values, start = np.repeat([0.5, 1.0, 4.0], 4), np.random.default_rng(0).normal(size=12)
    start /= np.linalg.norm(start)
    with jax.enable_x64(True):
        nodes, weights = map(np.asarray, jax.jit(lambda u: gauss_rule(lambda v: values * v, u, num_steps))(start))
    assert nodes[-1] == pytest.approx(4.0, rel=1e-12)
    assert weights @ np.log(nodes) == pytest.approx(start**2 @ np.log(values), rel=1e-11)
