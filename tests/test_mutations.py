"""Planted errors that a test must catch: each mutation of a copy of the package turns one quick test red."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
LANGEVIN, RUN = "tests/samplers/test_langevin.py", "tests/samplers/test_run.py"
LANCZOS, SPECTRUM = "tests/geometry/test_lanczos.py", "tests/geometry/test_spectrum.py"
OPERATORS = "tests/geometry/test_operators.py"
EXACT = "tests/targets/test_exact.py"
PUSH = "tests/pac_bayes/test_pushforward.py"
NUMPYRO = "tests/targets/test_numpyro_models.py"
CRITERIA, EVIDENCE = "tests/estimators/test_criteria.py", "tests/estimators/test_free_energy.py"


class Mutation(NamedTuple):
    """file of slt: the text `old`, found once or more, becomes `new`, and `test` must fail."""

    file: str
    old: str
    new: str
    test: str


MUTATIONS = {
    "SGLD noise variance halved": Mutation(
        "samplers/langevin.py", "scale = (2 * step_size) ** 0.5", "scale = step_size**0.5", f"{LANGEVIN}::test_sgld_has"
    ),
    "every noise variance halved": Mutation(
        "samplers/noise.py", "(value * s)", "(value * s / math.sqrt(2))", f"{LANGEVIN}::test_leimkuhler"
    ),
    "SGLD drift halved": Mutation(
        "samplers/langevin.py", "w - step_size * g", "w - 0.5 * step_size * g", f"{LANGEVIN}::test_sgld_has"
    ),
    "kinetic drift halved": Mutation(
        "samplers/langevin.py", "v - time_step * g", "v - 0.5 * time_step * g", f"{LANGEVIN}::test_sghmc_positions"
    ),
    "momentum never applied": Mutation(
        "samplers/langevin.py", "w + 0.5 * h * v", "w + 0 * h * v", f"{LANGEVIN}::test_sgnht_momentum"
    ),
    "batch size used for n": Mutation(
        "targets/target.py",
        "nbeta * excess(w, batch)",
        "nbeta / excess.args[3] * batch[1].shape[0] * excess(w, batch)",
        f"{RUN}::test_the_number_of_data",
    ),
    "one key for all chains": Mutation(
        "samplers/run.py", "jax.random.fold_in(run_key, chain)", "run_key", f"{RUN}::test_every_chain_and_step"
    ),
    "one key for all draws": Mutation(
        "samplers/run.py",
        "jax.random.fold_in(key, index * shape.thinning + i)",
        "jax.random.fold_in(key, i)",
        f"{RUN}::test_every_chain_and_step",
    ),
    "one key for all steps of a draw": Mutation(
        "samplers/run.py",
        "jax.random.fold_in(key, index * shape.thinning + i)",
        "jax.random.fold_in(key, index)",
        f"{RUN}::test_every_chain_and_step",
    ),
    "one key for all replicates": Mutation(
        "samplers/tempering.py",
        "jax.lax.map(one_run, jax.random.split(key, num_replicates))",
        "jax.lax.map(lambda _: one_run(key), jax.random.split(key, num_replicates))",
        "tests/samplers/test_tempering.py::test_replicates_are",
    ),
    "nondegeneracy not checked": Mutation(
        "targets/polyhedral.py",
        "    for face in faces:\n        level",
        "    for face in faces[:1]:\n        level",
        f"{EXACT}::test_what_stays_degenerate",
    ),
    "Jacobian of a blow-up forgotten": Mutation(
        "targets/resolution.py",
        "(ray.discrepancy - 1, Fraction(0))",
        "(Fraction(0), Fraction(0))",
        f"{EXACT}::test_where",
    ),
    "multiplicity always 1": Mutation(
        "targets/polyhedral.py",
        "rank(f.weights for f in tight), tight_face",
        "1, tight_face",
        f"{EXACT}::test_literature",
    ),
    "burn-in averaged in": Mutation(
        "samplers/run.py", "loss=loss[:, num_warmup:]", "loss=loss", f"{RUN}::test_a_far_start"
    ),
    "sign of the log-determinant": Mutation(
        "pac_bayes/pushforward.py",
        "log_density(w) - volume",
        "log_density(w) + volume",
        f"{PUSH}::test_linear_regression",
    ),
    "step size dropped from the Jacobian": Mutation(
        "pac_bayes/steps.py", "- step_size * jax.jacfwd", "- jax.jacfwd", f"{PUSH}::test_linear_regression"
    ),
    "prior variance for its standard deviation": Mutation(
        "pac_bayes/laws.py", "/ self.std) ** 2)", "/ self.std**2) ** 2)", f"{PUSH}::test_linear_regression"
    ),
    "leave-one-out with itself": Mutation(
        "pac_bayes/smoothing.py",
        "log_parts.at[i].set(-jnp.inf)",
        "log_parts",
        "tests/pac_bayes/test_smoothing.py::test_points_that",
    ),
    "entropy of Q added to its cross entropy": Mutation(
        "pac_bayes/function_space.py",
        "cross - plug_in",
        "cross + plug_in",
        "tests/pac_bayes/test_function_space.py::test_divergence_of",
    ),
    "sign of the Gibbs energy": Mutation(
        "pac_bayes/gibbs.py",
        "-evidence - nbeta * loss",
        "-evidence + nbeta * loss",
        "tests/pac_bayes/test_gibbs.py::test_the_reference",
    ),
    "autocorrelation ignored": Mutation(
        "estimators/llc.py",
        "mcse(values), ",
        "float(values.std() / values.size**0.5), ",
        "tests/estimators/test_llc.py::test_the_error_of_the_mean",
    ),
    "Jacobian of a NumPyro prior dropped": Mutation(
        "targets/numpyro_models.py",
        "-jnp.asarray(potential_energy(prior_alone, data, named, u))",
        '__import__("numpyro").infer.util.log_density(prior_alone, data, named, constrain(u))[0]',
        f"{NUMPYRO}::test_the_prior_is_drawn",
    ),
    "likelihood of a NumPyro model counted in its prior": Mutation(
        "targets/numpyro_models.py", "hide=list(sites.observed)", "hide=[]", f"{NUMPYRO}::test_prior_and_likelihood_add"
    ),
    "prior of a NumPyro model counted twice": Mutation(
        "targets/numpyro_models.py",
        "base.loss(u, batch) - log_prior(u)",
        "base.loss(u, batch) - 2 * log_prior(u)",
        f"{NUMPYRO}::test_the_minimum_is_the_mode",
    ),
    "only the last observed site of a NumPyro model counted": Mutation(
        "targets/numpyro_checks.py",
        "for name in sites.observed]).sum(0)",
        "for name in sites.observed])[-1]",
        f"{NUMPYRO}::test_likelihood_of_a_datum",
    ),
    "toy model of superposition: a factor of its integral": Mutation(
        "targets/superposition.py",
        "slope**2 / 3",
        "slope**2 / 2",
        "tests/targets/test_superposition.py::test_closed_form_is",
    ),
    "jackknife error too small by a root": Mutation(
        "estimators/phases.py",
        "(count - 1) * np.mean",
        "np.mean",
        "tests/estimators/test_phases.py::test_the_error_of_a_mass",
    ),
    "Lanczos basis not orthogonalised": Mutation(
        "geometry/lanczos.py", "w - (basis @ w) @ basis", "w", f"{LANCZOS}::test_the_basis_stays"
    ),
    "Radau node on the wrong side": Mutation(
        "geometry/lanczos.py", "node + solveh_banded", "node - solveh_banded", f"{LANCZOS}::test_radau_keeps"
    ),
    "breakdown not noticed": Mutation(
        "geometry/lanczos.py", "norm > tiny * scale", "norm > 0 * scale", f"{LANCZOS}::test_it_stops"
    ),
    "error of the probes with ddof 0": Mutation(
        "geometry/spectrum.py", "ddof=1", "ddof=0", f"{SPECTRUM}::test_the_standard_error"
    ),
    "truncation left out of the error": Mutation(
        "geometry/spectrum.py", "math.hypot(sem, third)", "sem", f"{SPECTRUM}::test_a_truncated_run"
    ),
    "Gauss-Newton without the loss Hessian": Mutation(
        "geometry/operators.py",
        "back(jax.jvp(slope, (z,), (tangent,))[1])",
        "back(tangent / n)",
        f"{OPERATORS}::test_every_product",
    ),
    "rows after the last whole chunk forgotten": Mutation(
        "geometry/operators.py",
        "return total if whole == n else",
        "return total if n else",
        f"{OPERATORS}::test_chunks",
    ),
    "importance weight of the rays dropped": Mutation(
        "geometry/nonlocal_volume.py",
        "log_p + inside - log_q",
        "log_p + inside",
        "tests/geometry/test_nonlocal_volume.py::test_an_ellipsoid_under",
    ),
    "one key for all replicates of splitting": Mutation(
        "samplers/splitting.py",
        "jax.lax.map(one, jax.random.split(key, num_replicates))",
        "jax.lax.map(lambda _: one(key), jax.random.split(key, num_replicates))",
        "tests/samplers/test_splitting.py::test_replicates_are",
    ),
    "order statistics taken for quantiles": Mutation(
        "samplers/splitting.py",
        "shrink = digamma(num - ranks + 1.0) - digamma(num + 1.0)",
        "shrink = 2 * (digamma(num - ranks + 1.0) - digamma(num + 1.0))",
        "tests/samplers/test_splitting.py::test_chi_square",
    ),
    "threshold of the ellipsoid halved": Mutation(
        "geometry/volume.py",
        "0.5 * dim * math.log(2 * threshold)",
        "0.5 * dim * math.log(threshold)",
        "tests/geometry/test_volume.py::test_an_ellipsoid_has",
    ),
    "square root of the determinant dropped": Mutation(
        "geometry/volume.py",
        "math.log(2 * threshold) - 0.5 * log_det",
        "math.log(2 * threshold) - log_det",
        "tests/geometry/test_volume.py::test_an_ellipsoid_has",
    ),
    "bits in nats": Mutation(
        "geometry/volume.py",
        "return -self.log_volume / math.log(2)",
        "return -self.log_volume",
        "tests/geometry/test_volume.py::test_bits_locate",
    ),
    "half of the contour lost": Mutation(
        "geometry/prior_mass.py",
        "math.log(2 / math.pi * _half_line(integrand))",
        "math.log(1 / math.pi * _half_line(integrand))",
        "tests/geometry/test_prior_mass.py::test_equal_eigenvalues",
    ),
    "multiplicity one too many": Mutation(
        "geometry/volume_scaling.py",
        "for j in range(m))",
        "for j in range(m + 1))",
        "tests/geometry/test_volume_scaling.py::test_the_exponent_of",
    ),
    "PAC-Bayes: 2 sqrt(n) dropped": Mutation(
        "pac_bayes/bounds.py",
        "np.log(2 * np.sqrt(num_data) / delta)",
        "np.log(1 / delta)",
        "tests/pac_bayes/test_bounds.py::test_golden_values",
    ),
    "PAC-Bayes: delta not split over the events": Mutation(
        "pac_bayes/certificate.py",
        "each = (delta - spent) / len(events)",
        "each = delta - spent",
        "tests/pac_bayes/test_certificate.py::test_every_family",
    ),
    "PAC-Bayes: draws not paid for": Mutation(
        "pac_bayes/certificate.py",
        "return Evidence(high,",
        "return Evidence(risk,",
        "tests/pac_bayes/test_certificate.py::test_draws_are_paid",
    ),
    "PAC-Bayes: a lower bound on KL accepted": Mutation(
        "pac_bayes/kl.py",
        'not in ("exact", "upper")',
        'not in ("exact", "upper", "lower")',
        "tests/pac_bayes/test_kl.py::test_a_lower_bound_certifies_nothing",
    ),
    "PAC-Bayes: data of the learnt prior counted": Mutation(
        "pac_bayes/gaussian.py",
        "num_data=rows - num_prior_data",
        "num_data=rows",
        "tests/pac_bayes/test_gaussian.py::test_only_data_the_prior",
    ),
    "PAC-Bayes: stopping times not paid for": Mutation(
        "certify.py", "c.delta / len(run.times)", "c.delta", "tests/test_certify.py::test_every_stopping_time"
    ),
    "nu without its half": Mutation(
        "estimators/criteria.py",
        "inverse_temperature) / 2)",
        "inverse_temperature))",
        f"{CRITERIA}::test_every_criterion",
    ),
    "looks at a diverged run kept": Mutation(
        "criteria.py", "max(seen) // 2", "0", "tests/test_criteria.py::test_looks_at_a_run"
    ),
    "volume without its half": Mutation(
        "volumes.py", "value=-0.5 * found", "value=-found", "tests/test_volumes.py::test_the_volume_of_a_posterior"
    ),
    "refused measures shown as numbers": Mutation(
        "series.py", "NONE, _refusal", "estimate, _refusal", "tests/test_series_measures.py::test_a_checkpoint_that"
    ),
    "beta dropped from WAIC": Mutation(
        "estimators/criteria.py", "beta * v - p", "v - p", f"{CRITERIA}::test_every_criterion"
    ),
    "datum left out with the wrong sign": Mutation(
        "estimators/pointwise.py",
        "_log_sum(-inverse_temperature * log_likelihood)",
        "_log_sum(inverse_temperature * log_likelihood)",
        f"{CRITERIA}::test_every_criterion",
    ),
    "correlation of batches ignored": Mutation(
        "estimators/pointwise.py",
        "np.sqrt(stretch / series.size)",
        "np.sqrt(0.3 / series.size)",
        f"{CRITERIA}::test_errors",
    ),
    "sign of (m - 1)": Mutation(
        "estimators/free_energy.py", "_cell(mean + shapes,", "_cell(mean - shapes,", f"{EVIDENCE}::test_rlct_and"
    ),
    "variance dropped from thermodynamic integration": Mutation(
        "estimators/free_energy.py", "value - t**2 * variance", "value", f"{EVIDENCE}::test_thermodynamic"
    ),
    "sign of the constants of phases": Mutation(
        "estimators/transition.py",
        "+ self.constant",
        "- self.constant",
        "tests/estimators/test_transition.py::test_five",
    ),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Package and tests apart from the ones at work, with the mutation applied by whoever asks."""
    base = tmp_path_factory.mktemp("original")
    ignored = shutil.ignore_patterns("__pycache__", "benchmarks")
    for folder in ("slt", "tests", "data"):
        shutil.copytree(ROOT / folder, base / folder, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", base)
    return base


def outcome(folder, tests):
    """Exit code and output of the tests, on the package in that folder: its pyproject puts it first on the path."""
    patterns = " or ".join(test.split("::")[1] for test in tests)
    files = sorted({test.split("::")[0] for test in tests})
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files, "-k", patterns]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, timeout=600)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_without_mutation_the_tests_pass(copy):
    code, output = outcome(copy, [mutation.test for mutation in MUTATIONS.values()])
    assert code == 0, output


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS)
def test_mutation_turns_its_test_red(copy, tmp_path, mutation):
    shutil.copytree(copy, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "slt" / mutation.file
    text = path.read_text()
    assert mutation.old in text, f"{mutation.file} no longer has {mutation.old!r}; bring this mutation up to date"
    path.write_text(text.replace(mutation.old, mutation.new))
    code, output = outcome(tmp_path, [mutation.test])
    assert code == 1, f"pytest ended with {code}; 1 means that tests ran and failed.\n{output}"
    assert re.search(r"^E +(AssertionError|assert )", output, re.MULTILINE), output


@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS)
def test_every_mutation_still_finds_its_place_and_its_test(mutation):
    assert mutation.old in (ROOT / "slt" / mutation.file).read_text()
    file, name = mutation.test.split("::")
    assert f"def {name}" in (ROOT / file).read_text()
