"""Planted errors that a test must catch: each mutation of a copy of the package turns one quick test red."""

import ast
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
EXACT = "tests/exact/test_rlct.py"
PUSH = "tests/pac_bayes/test_pushforward.py"
KINDS = "tests/targets/test_numpyro_kinds.py"
PRIOR = "tests/targets/test_prior.py"
LOSS, DEPENDENCE = "tests/targets/test_loss.py", "tests/targets/test_dependence.py"
NUMPYRO = "tests/targets/test_numpyro_models.py"
CRITERIA, EVIDENCE = "tests/stats/test_criteria.py", "tests/stats/test_free_energy.py"


class Mutation(NamedTuple):
    """In that function of a file of slt every expression or statement `old` becomes `new`, and `test` must fail."""

    file: str
    function: str
    old: str
    new: str
    test: str


MUTATIONS = {
    "the checksum of a stored result is not compared": Mutation(
        "store/files.py",
        "open_datatree",
        "found != tree_digest(tree, without=DIGEST)",
        "not tree_digest(tree, without=DIGEST)",
        "tests/store/test_damage.py::test_bits_of",
    ),
    "a cache takes whatever has the name": Mutation(
        "store/cache.py",
        "_stored",
        "tree.attrs.get('target_hash') == name",
        "True",
        "tests/store/test_cache.py::test_what_is_damaged",
    ),
    "MALA looks at the state that is kept": Mutation(
        "samplers/mcmc.py",
        "mala.step",
        "(ratio < -DIVERGENT) | ~jnp.isfinite(proposed.logdensity)",
        "~jnp.isfinite(state.logdensity)",
        f"{LANGEVIN}::test_proposals_that",
    ),
    "a decimal goes through a float": Mutation(
        "exact/expressions.py",
        "_build",
        "written.replace('_', '')",
        "node.value",
        "tests/exact/test_expressions.py::test_a_number",
    ),
    "neighbouring seeds share a stream": Mutation(
        "samplers/seeds.py",
        "derived_seed",
        "[str(int(seed)), *parts]",
        "parts",
        "tests/samplers/test_seeds.py::test_uses",
    ),
    "SGLD noise variance halved": Mutation(
        "samplers/langevin.py",
        "sgld.step",
        "2 * step_size",
        "step_size",
        f"{LANGEVIN}::test_sgld_has",
    ),
    "every noise variance halved": Mutation(
        "samplers/noise.py",
        "_hashed_normal",
        "value * s",
        "value * s / math.sqrt(2)",
        f"{LANGEVIN}::test_leimkuhler",
    ),
    "SGLD drift halved": Mutation(
        "samplers/langevin.py",
        "sgld.step",
        "step_size * g",
        "0.5 * step_size * g",
        f"{LANGEVIN}::test_sgld_has",
    ),
    "kinetic drift halved": Mutation(
        "samplers/langevin.py",
        "_kinetic_step",
        "time_step * g",
        "0.5 * time_step * g",
        f"{LANGEVIN}::test_sghmc_positions",
    ),
    "momentum never applied": Mutation(
        "samplers/langevin.py",
        "sgnht.step",
        "0.5 * h",
        "0 * h",
        f"{LANGEVIN}::test_sgnht_momentum",
    ),
    "batch size used for n": Mutation(
        "targets/target.py",
        "posterior_energy",
        "nbeta * excess(w, batch)",
        "nbeta / excess.args[3] * batch[1].shape[0] * excess(w, batch)",
        f"{RUN}::test_the_number_of_data",
    ),
    "one key for all chains": Mutation(
        "samplers/run.py",
        "_advance.one_chain",
        "jax.random.fold_in(run_key, chain)",
        "run_key",
        f"{RUN}::test_every_chain_and_step",
    ),
    "one key for all draws": Mutation(
        "samplers/run.py",
        "_advance.one_draw.body",
        "index * shape.thinning + i",
        "i",
        f"{RUN}::test_every_chain_and_step",
    ),
    "one key for all steps of a draw": Mutation(
        "samplers/run.py",
        "_advance.one_draw.body",
        "index * shape.thinning + i",
        "index",
        f"{RUN}::test_every_chain_and_step",
    ),
    "one key for all replicates": Mutation(
        "samplers/tempering.py",
        "tempered_smc.run",
        "jax.random.split(key, num_replicates)",
        "jnp.repeat(key[None], num_replicates)",
        "tests/samplers/test_tempering.py::test_replicates_are",
    ),
    "no particles around w*": Mutation(
        "samplers/tempering.py",
        "tempered_smc.run",
        "SHARE * (jnp.arange(num_replicates) % 2)",
        "0 * (jnp.arange(num_replicates) % 2)",
        "tests/estimate/test_verdict.py::test_a_hole_that",
    ),
    "a gate of three normal errors": Mutation(
        "estimate/rounds.py",
        "is_beyond",
        "stats.t.isf(FALSE / 2, found.dof)",
        "3",
        "tests/estimate/test_chains.py::test_gates_are",
    ),
    "an uncertain virial left out of the error": Mutation(
        "estimate/rounds.py",
        "read",
        "math.isfinite(virial.mcse)",
        "False",
        "tests/estimate/test_chains.py::test_a_virial_too",
    ),
    "rounding is not looked at": Mutation(
        "estimate/verdict.py",
        "judge_rounding",
        "not error ** 2 > ROUNDING * asked",
        "error ** 2 > ROUNDING * asked",
        "tests/estimate/test_verdict.py::test_what_rounding",
    ),
    "potentials in float32": Mutation(
        "targets/target.py",
        "in_precision",
        "nullcontext() if jax.tree.leaves(target.data) else jax.enable_x64(True)",
        "nullcontext()",
        "tests/estimate/test_verdict.py::test_potentials_are",
    ),
    "nondegeneracy not checked": Mutation(
        "exact/polyhedral.py",
        "_degenerate",
        "not torus_zeros(system, floor(rlct) + 1).regular",
        "False",
        f"{EXACT}::test_what_stays_degenerate",
    ),
    "Jacobian of a blow-up forgotten": Mutation(
        "exact/resolution.py",
        "_blow_up",
        "ray.discrepancy - 1",
        "Fraction(0)",
        f"{EXACT}::test_where",
    ),
    "multiplicity always 1": Mutation(
        "exact/polyhedral.py",
        "_polyhedron",
        "rank((f.weights for f in tight))",
        "1",
        f"{EXACT}::test_literature",
    ),
    "burn-in averaged in": Mutation(
        "samplers/run.py",
        "draws_from_record",
        "loss[:, num_warmup:]",
        "loss",
        f"{RUN}::test_a_far_start",
    ),
    "sign of the log-determinant": Mutation(
        "pac_bayes/pushforward.py",
        "_one_chain.run.span",
        "law.log_density(start) - prior.log_density(w) - volume",
        "law.log_density(start) - prior.log_density(w) + volume",
        f"{PUSH}::test_linear_regression",
    ),
    "step size dropped from the Jacobian": Mutation(
        "pac_bayes/steps.py",
        "dense_log_det.apply",
        "step_size * jax.jacfwd(gradient)(w)",
        "jax.jacfwd(gradient)(w)",
        f"{PUSH}::test_linear_regression",
    ),
    "prior variance for its standard deviation": Mutation(
        "targets/gaussian.py",
        "Gaussian.log_density",
        "(w - self.mean) / self.std",
        "(w - self.mean) / self.std ** 2",
        f"{PUSH}::test_linear_regression",
    ),
    "leave-one-out with itself": Mutation(
        "studies/smoothing.py",
        "_mixture_ratios.all_points.one",
        "log_parts.at[i].set(-jnp.inf)",
        "log_parts",
        "tests/studies/test_smoothing.py::test_points_that",
    ),
    "entropy of Q added to its cross entropy": Mutation(
        "studies/function_space.py",
        "function_kl",
        "cross - plug_in",
        "cross + plug_in",
        "tests/studies/test_function_space.py::test_divergence_of",
    ),
    "sign of the Gibbs energy": Mutation(
        "pac_bayes/gibbs.py",
        "gibbs_kl",
        "nbeta * loss",
        "-nbeta * loss",
        "tests/pac_bayes/test_gibbs.py::test_the_reference",
    ),
    "autocorrelation ignored": Mutation(
        "stats/learning_coefficient.py",
        "_mean",
        "mcse(values)",
        "float(values.std() / values.size ** 0.5)",
        "tests/stats/test_llc.py::test_the_error_of_the_mean",
    ),
    "Jacobian of a NumPyro prior dropped": Mutation(
        "targets/numpyro_models.py",
        "bind",
        "-jnp.asarray(potential_energy(prior_alone, data, named, u))",
        "__import__('numpyro').infer.util.log_density(prior_alone, data, named, constrain(u))[0]",
        f"{NUMPYRO}::test_the_prior_is_drawn",
    ),
    "likelihood of a NumPyro model counted in its prior": Mutation(
        "targets/numpyro_models.py",
        "bind",
        "list(sites.observed)",
        "[]",
        f"{NUMPYRO}::test_prior_and_likelihood_add",
    ),
    "prior of a NumPyro model counted twice": Mutation(
        "targets/numpyro_models.py",
        "numpyro_target",
        "trace(bound.log_prior, (center,))",
        "trace(lambda u: 2 * bound.log_prior(u), (center,))",
        f"{NUMPYRO}::test_the_minimum_is_the_mode",
    ),
    "a later trace not compared with the first": Mutation(
        "targets/loss.py",
        "_Program.at",
        "self._check_unchanged()",
        "None",
        f"{LOSS}::test_a_target_made_after_a_change_has_the_new_value_and_one_made_before_the_old_or_an_error",
    ),
    "constants of another loss with the same operations": Mutation(
        "targets/loss.py",
        "Traced.__call__",
        "self.constants[slot]",
        "self.program.constants[slot]",
        f"{LOSS}::test_checkpoints_whose_losses_differ_in_numbers_share_every_program",
    ),
    "constants inside nested operations left out of fingerprints": Mutation(
        "targets/jaxprs.py",
        "describe",
        "f'const {atom(v)} {digest(c)}'",
        "f'const {atom(v)}'",
        f"{LOSS}::test_a_fingerprint_knows_every_constant_wherever_it_sits",
    ),
    "half precision left as it is": Mutation(
        "targets/loss.py",
        "_Program._raw",
        "widened(opened(closed), jax.tree.leaves(args[0]))",
        "opened(closed)",
        f"{LOSS}::test_a_model_that_computes_in_less_precision_has_the_curvature_of_its_parameters",
    ),
    "slopes of a part of a path taken for those of the whole": Mutation(
        "targets/slopes.py",
        "path_losses",
        "width * path.slopes",
        "path.slopes",
        f"{DEPENDENCE}::test_losses_that_can_be_differentiated_almost_everywhere_pass",
    ),
    "losses of rows in pairs and alone not compared with those of all": Mutation(
        "targets/dependence.py",
        "check_rows",
        "np.nanmax(excess) > 0",
        "False",
        f"{DEPENDENCE}::test_a_loss_of_a_row_that_depends_on_the_batch_is_refused",
    ),
    "parameters without a gradient sampled": Mutation(
        "targets/dependence.py",
        "check_gradient",
        "still is not None",
        "False",
        f"{DEPENDENCE}::test_parameters_that_matter_without_a_gradient_are_named_with_the_remedy",
    ),
    "prior of a NumPyro model rebuilt as a Gaussian of its curvature": Mutation(
        "targets/prior.py",
        "model_prior",
        "model_prior(log_density, draw, center, gamma, undrawn=undrawn)",
        "gaussian_prior(center, gamma + own.precision)",
        f"{PRIOR}::test_a_prior_at_another",
    ),
    "curvature of a prior along the ones alone": Mutation(
        "targets/prior.py",
        "_mean_curvature",
        "jnp.eye(number, dtype=flat.dtype)",
        "jnp.ones((1, number), flat.dtype)",
        f"{PRIOR}::test_the_mean_curvature",
    ),
    "rows of a NumPyro model tried untraced": Mutation(
        "targets/numpyro_rows.py",
        "_agree",
        "(jax.jit(cut), jax.jit(whole))",
        "(cut, whole)",
        f"{KINDS}::test_every_datum_has_its",
    ),
    "masked data counted": Mutation(
        "targets/numpyro_checks.py",
        "_unmasked",
        "isinstance(fn, MaskedDistribution)",
        "False",
        f"{KINDS}::test_every_datum_has_its",
    ),
    "a density without a mode taken": Mutation(
        "targets/numpyro_minimum.py",
        "find_minimum",
        "(settled[0], True) if settled else (lowest, False)",
        "(lowest, True)",
        f"{KINDS}::test_a_centred_hierarchy",
    ),
    "only the last observed site of a NumPyro model counted": Mutation(
        "targets/numpyro_checks.py",
        "log_likelihoods",
        "jnp.stack([_per_datum(trace[name], sites.plate) for name in sites.observed]).sum(0)",
        "jnp.stack([_per_datum(trace[name], sites.plate) for name in sites.observed])[-1]",
        f"{NUMPYRO}::test_likelihood_of_a_datum",
    ),
    "toy model of superposition: a factor of its integral": Mutation(
        "catalogue/superposition.py",
        "_squared_error.antiderivative",
        "mu * slope ** 2 / 3",
        "mu * slope ** 2 / 2",
        "tests/catalogue/test_superposition.py::test_closed_form_is",
    ),
    "jackknife error too small by a root": Mutation(
        "stats/replicates.py",
        "jackknife",
        "(count - 1) * np.mean((without - without.mean()) ** 2)",
        "np.mean((without - without.mean()) ** 2)",
        "tests/stats/test_replicates.py::test_the_jackknife_of",
    ),
    "lambda not bounded by the growth of K": Mutation(
        "stats/free_energy.py",
        "_check_slope",
        "FALL * largest",
        "np.inf",
        f"{EVIDENCE}::test_a_slope_above_d_half",
    ),
    "a slope that still falls taken for asymptotic": Mutation(
        "stats/free_energy.py",
        "_asymptotic",
        "int(falling[-1]) + 1 if len(falling) else 0",
        "0",
        f"{EVIDENCE}::test_regular_models",
    ),
    "log Z as the mean of the logs": Mutation(
        "stats/replicates.py",
        "log_mean",
        "np.log(share[keep].mean())",
        "np.log(share[keep]).mean()",
        "tests/stats/test_replicates.py::test_the_log_of_a_mean",
    ),
    "Lanczos basis not orthogonalised": Mutation(
        "geometry/lanczos.py",
        "tridiagonal.orthogonal",
        "w - basis @ w @ basis",
        "w",
        f"{LANCZOS}::test_the_basis_stays",
    ),
    "Radau node on the wrong side": Mutation(
        "geometry/lanczos.py",
        "_radau",
        "node + solveh_banded(banded, end)[-1]",
        "node - solveh_banded(banded, end)[-1]",
        f"{LANCZOS}::test_radau_keeps",
    ),
    "breakdown not noticed": Mutation(
        "geometry/lanczos.py",
        "tridiagonal.step",
        "tiny * scale",
        "0 * scale",
        f"{LANCZOS}::test_it_stops",
    ),
    "error of the probes with ddof 0": Mutation(
        "geometry/spectrum.py",
        "_combine",
        "np.std(gauss, ddof=1)",
        "np.std(gauss, ddof=0)",
        f"{SPECTRUM}::test_the_standard_error",
    ),
    "truncation left out of the error": Mutation(
        "geometry/spectrum.py",
        "_combine",
        "math.hypot(sem, third)",
        "sem",
        f"{SPECTRUM}::test_a_truncated_run",
    ),
    "Gauss-Newton without the loss Hessian": Mutation(
        "geometry/operators.py",
        "gauss_newton.product.term",
        "jax.jvp(slope, (z,), (tangent,))[1]",
        "tangent / n",
        f"{OPERATORS}::test_every_product",
    ),
    "rows after the last whole chunk forgotten": Mutation(
        "geometry/operators.py",
        "_accumulate",
        "whole == n",
        "n",
        f"{OPERATORS}::test_chunks",
    ),
    "importance weight of the rays dropped": Mutation(
        "geometry/rays.py",
        "cast_rays",
        "log_p + inside - log_q",
        "log_p + inside",
        "tests/geometry/test_rays.py::test_an_ellipsoid_under",
    ),
    "one key for all replicates of splitting": Mutation(
        "samplers/splitting.py",
        "splitting",
        "jax.lax.map(one, jax.random.split(key, num_replicates))",
        "jax.lax.map(lambda _: one(key), jax.random.split(key, num_replicates))",
        "tests/samplers/test_splitting.py::test_replicates_are",
    ),
    "order statistics taken for quantiles": Mutation(
        "samplers/splitting.py",
        "_level",
        "digamma(num - ranks + 1.0) - digamma(num + 1.0)",
        "2 * (digamma(num - ranks + 1.0) - digamma(num + 1.0))",
        "tests/samplers/test_splitting.py::test_chi_square",
    ),
    "threshold of the ellipsoid halved": Mutation(
        "geometry/volume.py",
        "log_ellipsoid",
        "2 * threshold",
        "threshold",
        "tests/geometry/test_volume.py::test_an_ellipsoid_has",
    ),
    "square root of the determinant dropped": Mutation(
        "geometry/volume.py",
        "log_ellipsoid",
        "0.5 * log_det",
        "log_det",
        "tests/geometry/test_volume.py::test_an_ellipsoid_has",
    ),
    "bits in nats": Mutation(
        "geometry/volume.py",
        "VolumeRow.bits",
        "-self.log_volume / math.log(2)",
        "-self.log_volume",
        "tests/geometry/test_volume.py::test_bits_locate",
    ),
    "half of the contour lost": Mutation(
        "geometry/prior_mass.py",
        "log_prior_mass",
        "2 / math.pi",
        "1 / math.pi",
        "tests/geometry/test_prior_mass.py::test_equal_eigenvalues",
    ),
    "multiplicity one too many": Mutation(
        "geometry/exponent.py",
        "_shapes",
        "range(m)",
        "range(m + 1)",
        "tests/geometry/test_exponent.py::test_the_exponent_of",
    ),
    "PAC-Bayes: 2 sqrt(n) dropped": Mutation(
        "pac_bayes/bounds.py",
        "complexity",
        "2 * np.sqrt(num_data)",
        "1",
        "tests/pac_bayes/test_bounds.py::test_golden_values",
    ),
    "PAC-Bayes: delta not split over the events": Mutation(
        "pac_bayes/certificate.py",
        "bound_table",
        "(delta - spent) / len(events)",
        "delta - spent",
        "tests/pac_bayes/test_certificate.py::test_every_family",
    ),
    "PAC-Bayes: draws not paid for": Mutation(
        "pac_bayes/certificate.py",
        "_evidence",
        "Evidence(high, kl, n, np.maximum(square, high ** 2), np.minimum(n / (n - 1) * spread, 1.0))",
        "Evidence(risk, kl, n, np.maximum(square, high ** 2), np.minimum(n / (n - 1) * spread, 1.0))",
        "tests/pac_bayes/test_certificate.py::test_draws_are_paid",
    ),
    "PAC-Bayes: a lower bound on KL accepted": Mutation(
        "pac_bayes/kl.py",
        "certifiable",
        "('exact', 'upper')",
        "('exact', 'upper', 'lower')",
        "tests/pac_bayes/test_kl.py::test_a_lower_bound_certifies_nothing",
    ),
    "PAC-Bayes: data of the learnt prior counted": Mutation(
        "pac_bayes/gaussian.py",
        "gaussian_certificate",
        "rows - num_prior_data",
        "rows",
        "tests/pac_bayes/test_gaussian.py::test_only_data_the_prior",
    ),
    "PAC-Bayes: stopping times not paid for": Mutation(
        "estimate/comparison/certify.py",
        "certify_pushforward",
        "delta / len(run.times)",
        "delta",
        "tests/estimate/test_certify.py::test_every_stopping_time",
    ),
    "nu without its half": Mutation(
        "stats/criteria.py",
        "singular_fluctuation",
        "float(sums.inverse_temperature) / 2",
        "float(sums.inverse_temperature)",
        f"{CRITERIA}::test_every_criterion",
    ),
    "looks at a diverged run kept": Mutation(
        "estimate/looks.py",
        "counted",
        "max(seen) // 2",
        "0",
        "tests/estimate/test_criteria.py::test_looks_at_a_run",
    ),
    "volume without its half": Mutation(
        "estimate/volume.py",
        "posterior_volume",
        "-0.5 * found.info.value",
        "-found.info.value",
        "tests/estimate/test_volumes.py::test_the_volume_of_a",
    ),
    "refused measures shown as numbers": Mutation(
        "estimate/series.py",
        "_with_measures",
        "(NONE, _refusal(estimate, verdict))",
        "(estimate, _refusal(estimate, verdict))",
        "tests/estimate/test_series_measures.py::test_a_checkpoint",
    ),
    "beta dropped from WAIC": Mutation(
        "stats/criteria.py",
        "_waic",
        "beta * v",
        "v",
        f"{CRITERIA}::test_every_criterion",
    ),
    "datum left out with the wrong sign": Mutation(
        "stats/per_datum.py",
        "summarise",
        "-inverse_temperature",
        "inverse_temperature",
        f"{CRITERIA}::test_every_criterion",
    ),
    "correlation of batches ignored": Mutation(
        "stats/per_datum.py",
        "estimate",
        "stretch / series.size",
        "0.3 / series.size",
        f"{CRITERIA}::test_errors",
    ),
    "sign of (m - 1)": Mutation(
        "stats/free_energy.py",
        "_posterior",
        "mean + shapes",
        "mean - shapes",
        f"{EVIDENCE}::test_rlct_and",
    ),
    "variance dropped from thermodynamic integration": Mutation(
        "stats/free_energy.py",
        "_integral",
        "value - t ** 2 * variance",
        "value",
        f"{EVIDENCE}::test_thermodynamic",
    ),
    "sign of the constants of phases": Mutation(
        "stats/transition.py",
        "Phase.free_energy",
        "np.exp(log_n) * self.loss + self.rlct * log_n - slow + self.constant",
        "np.exp(log_n) * self.loss + self.rlct * log_n - slow - self.constant",
        "tests/stats/test_transition.py::test_five",
    ),
}


def mutated(mutation):
    """The file with the mutation in it; layout and comments of either play no part."""
    tree = ast.parse((ROOT / "slt" / mutation.file).read_text())
    where = tree
    for name in mutation.function.split("."):
        inside = (n for n in ast.walk(where) if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name == name)
        where = next(inside, None)
        assert where is not None, f"{mutation.file} no longer has {mutation.function}; bring this mutation up to date"
    old, new = (ast.parse(text).body[0] for text in (mutation.old, mutation.new))
    if isinstance(old, ast.Expr):
        old, new = old.value, new.value
    found = Replaced(ast.dump(old), new)
    found.generic_visit(where)
    assert found.count, f"{mutation.function} no longer has {mutation.old!r}; bring this mutation up to date"
    return ast.unparse(tree)


class Replaced(ast.NodeTransformer):
    """Every node like one takes the form of another."""

    def __init__(self, old, new):
        self.old, self.new, self.count = old, new, 0

    def visit(self, node):
        if ast.dump(node) == self.old:
            self.count += 1
            return self.new
        return self.generic_visit(node)


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
def test_every_mutation_finds_its_place_and_its_test():
    for mutation in MUTATIONS.values():
        mutated(mutation)
        file, name = mutation.test.split("::")
        assert f"def {name}" in (ROOT / file).read_text(), mutation


@pytest.mark.slow
def test_without_mutation_the_tests_pass(copy):
    code, output = outcome(copy, [mutation.test for mutation in MUTATIONS.values()])
    assert code == 0, output


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS)
def test_mutation_turns_its_test_red(copy, tmp_path, mutation):
    shutil.copytree(copy, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "slt" / mutation.file
    path.write_text(mutated(mutation))
    code, output = outcome(tmp_path, [mutation.test])
    assert code == 1, f"pytest ended with {code}; 1 means that tests ran and failed.\n{output}"
    assert re.search(r"^E +(AssertionError|assert |Failed: DID NOT RAISE)", output, re.MULTILINE), output
