import math

import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner
from helpers import assert_agrees
from scipy.stats import chi2

from slt import loss_target, potential, potential_target
from slt._types import Estimate
from slt.app.cli import cli
from slt.estimate.volume import basin_volumes, posterior_volume, volume_ladder, volume_scaling
from slt.geometry.curvature import harmonic_llc
from slt.geometry.prior_mass import log_prior_mass
from slt.targets.gaussian import Gaussian

FAST = {"num_particles": 256, "num_replicates": 8, "num_moves": 24}


def test_all_estimators_agree_on_an_ellipsoid_and_say_what_they_are():
    h, T = np.array([20.0, 1.0, 0.0]), 0.01
    target = potential_target(lambda w: 0.5 * jnp.sum(jnp.asarray(h) * (w - 0.5) ** 2), jnp.full(3, 0.5), nbeta=100.0)
    start = Gaussian(0.1, 0.7)
    rows = {row.treatment: row for row in basin_volumes(target, threshold=T, initialisation=start, **FAST)}
    exact = log_prior_mass(h, threshold=T, scale=0.7, offset=np.full(3, 0.4))
    assert rows["ellipsoid"].log_volume == pytest.approx(exact, abs=1e-6)
    for name in ("radial, star-shaped", "splitting"):
        assert abs(rows[name].log_volume - exact) < 4 * rows[name].error < 0.8
    assert math.isinf(rows["as it is"].log_volume)
    assert rows["ellipsoid"].bits == pytest.approx(-exact / math.log(2))


@pytest.mark.slow
def test_splitting_mixes_in_twenty_dimensions_by_default():
    """P(sum of five w² < 1e-4) for w ~ N(0, I): 60 moves a level give half a nat too much. False failures: 1e-4."""
    entry = potential("quad_r5_d20")
    target = potential_target(entry.energy, jnp.zeros(20), nbeta=1e4)
    rows = {row.treatment: row for row in basin_volumes(target, threshold=1e-4, estimators=["splitting"])}
    exact = float(np.log(chi2.cdf(1e-4, 5)))
    found = Estimate(rows["splitting"].log_volume, rows["splitting"].error, 11)
    assert_agrees(found, exact, resolution=0.45, false_fail=1e-4)


def test_a_slope_is_said():
    target = potential_target(lambda w: 0.5 * jnp.sum(w**2), jnp.full(2, 0.5), nbeta=100.0)
    rows = basin_volumes(target, estimators=["hessian"])
    assert all("Not a critical point" in row.reason and "0.71" in row.reason for row in rows)


def test_the_volume_exponent_is_the_learning_coefficient_and_the_hessian_is_wrong():
    entry = potential("x2y2")
    minimum = jnp.asarray(entry.minimum, float)
    target = potential_target(entry.energy, minimum, nbeta=1.0, box=entry.box)
    found = volume_scaling(target, **FAST)
    rlct = float(entry.rlct)
    assert found.exponent.rlct.mcse < 0.06 * rlct
    assert abs(found.exponent.rlct.value - rlct) < 4 * found.exponent.rlct.mcse
    assert found.verdict.status == "converged"
    assert found.rank == 0
    assert found.exponent.multiplicity == entry.multiplicity or found.exponent.probability < 0.9


def test_float32_data_are_seen_in_float64():
    x = np.linspace(-1, 1, 20, dtype=np.float32)
    target = loss_target(
        lambda w, rows: 0.5 * (rows["y"] - w["a"] * rows["x"]) ** 2,
        {"a": jnp.asarray(2.0, jnp.float32)},
        {"x": jnp.asarray(x), "y": jnp.asarray(2 * x)},
    )
    ladder = volume_ladder(target, lowest=1e-16, **FAST)
    assert (ladder.stop == 0).all()  # float32 would end at about 1e-9
    half = float(np.mean(x.astype(float) ** 2))
    rows = basin_volumes(target, threshold=1e-3, estimators=["hessian", "radial"], initialisation=Gaussian(0.0, 1.0))
    exact = log_prior_mass(np.array([half]), threshold=1e-3, scale=1.0, offset=np.array([2.0]))
    assert abs(rows[-1].log_volume - exact) < 5 * rows[-1].error < 0.5


def test_bad_input_is_refused():
    target = potential_target(lambda w: jnp.sum(w**2), jnp.zeros(2), nbeta=1.0)
    with pytest.raises(ValueError, match="estimators"):
        basin_volumes(target, estimators=["guess"])
    with pytest.raises(ValueError, match="threshold"):
        basin_volumes(target, threshold=0.0)
    with pytest.raises(ValueError, match="max_evaluations"):
        volume_ladder(target, max_evaluations=10)
    with pytest.raises(ValueError, match="improper"):
        volume_ladder(potential_target(lambda w: jnp.sum(w**2), jnp.zeros(2), nbeta=1.0, localization=0.0))


def test_the_command_line_prints_the_table(tmp_path):
    path = tmp_path / "cusp.toml"
    path.write_text('[model]\nbuiltin = "parabola"\n[posterior]\ninverse_temperature = 100.0\n')
    text = CliRunner().invoke(cli, ["volume", str(path), "--threshold", "0.5"]).output
    assert "fuzzy ellipsoid" in text
    assert "splitting" in text


def test_beyond_the_dense_limit_the_log_determinant_is_sampled():
    dim = 5100
    h = np.concatenate([np.zeros(dim - 40), np.linspace(1.0, 10.0, 40)])
    target = potential_target(lambda w: 0.5 * jnp.sum(jnp.asarray(h, w.dtype) * w**2), jnp.zeros(dim), nbeta=1.0)
    rows = basin_volumes(target, threshold=0.1, initialisation=Gaussian(0.0, 1.0))
    assert [row.measure for row in rows] == ["lebesgue", "initialisation"]
    exact = -0.5 * np.sum(np.log1p(h / 0.1))
    assert 0 < rows[1].error < 3
    assert abs(rows[1].log_volume - exact) < 4 * rows[1].error + 1e-6
    assert "centred at w*" in rows[1].reason


H = np.array([40.0, 3.0, 0.2, 0.0])


def quadratic(h=H, nbeta=150.0, gamma=2.0):
    return potential_target(
        lambda w: 0.5 * jnp.sum(jnp.asarray(h) * w**2), jnp.zeros(len(h)), nbeta=nbeta, localization=gamma
    )


def test_the_volume_of_a_posterior_is_a_ratio_of_gaussian_integrals():
    exact = -0.5 * np.sum(np.log1p(150 * H / 2.0))
    found = posterior_volume(quadratic())
    assert found.value == pytest.approx(exact, rel=1e-6)
    assert found.mcse == 0
    start = Gaussian(jnp.zeros(4), 2.0**-0.5)
    rows = basin_volumes(quadratic(), threshold=1 / 150, initialisation=start, estimators=["hessian"])
    (fuzzy,) = [row.log_volume for row in rows if row.treatment == "fuzzy ellipsoid"]
    assert found.value == pytest.approx(fuzzy, rel=1e-6)


def test_the_learning_coefficient_of_a_quadratic_is_the_slope_of_its_volume():
    step = 1e-3
    high, low = (posterior_volume(quadratic(nbeta=150 * math.exp(s))).value for s in (step, -step))
    assert -(high - low) / (2 * step) == pytest.approx(harmonic_llc(H, nbeta=150.0, precision=2.0), rel=1e-4)


def test_weight_decay_is_part_of_the_prior_of_the_volume():
    x = np.random.default_rng(0).normal(size=(50, 2))
    target = loss_target(
        lambda w, rows: 0.5 * (rows @ w) ** 2,
        jnp.zeros(2),
        x,
        inverse_temperature=0.5,
        localization=2.0,
        weight_decay=0.1,
    )
    exact = -0.5 * np.linalg.slogdet(np.eye(2) + 0.5 * x.T @ x / (2.0 + 50 * 0.5 * 0.1))[1]
    assert posterior_volume(target).value == pytest.approx(exact, rel=1e-5)


def test_a_sampled_volume_holds_the_exact_one():
    h = np.geomspace(1e-3, 50, 60)
    exact = -0.5 * np.sum(np.log1p(150 * h / 2.0))
    found = posterior_volume(quadratic(h), dense_dim=1)  # Hadamard probes or not: it has an error
    assert 0 < found.mcse < 5
    assert abs(found.value - exact) < 5 * found.mcse


def test_a_posterior_without_a_volume_is_refused():
    with pytest.raises(ValueError, match="improper"):
        posterior_volume(loss_target(lambda w, x: (x @ w) ** 2, jnp.zeros(2), np.eye(3, 2), localization=0.0))
    with pytest.raises(ValueError, match="indefinite"):
        posterior_volume(quadratic(np.array([1.0, -1.0])))
