import math

import numpy as np
import pytest

from slt import certify
from slt.config import BoundConfig
from slt.pac_bayes.bounds import holdout_bound, single_draw_bound
from slt.targets.data import Split

TIMES = (0, 3, 6)


def blobs(num, seed):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, num).astype(np.int32)
    inputs = rng.normal(size=(num, 4)).astype(np.float32)
    inputs[:, 0] += 3 * targets - 1.5
    return {"inputs": inputs, "targets": targets}


def configured(path, **certificate):
    return BoundConfig.model_validate(
        {
            "data": {"file": path, "num_test": 100, "positive": [1]},
            "network": {"hidden": [2]},
            "certificate": {"times": TIMES, "steps": 200, "train_steps": 200, "num_draws": 200} | certificate,
            "measures": {"hidden": [2], "max_gradients": 300_000},
        }
    )


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "blobs.npz"
    np.savez(path, **blobs(700, 0))
    return configured(path)


@pytest.fixture(scope="module")
def report(config):
    return certify.run_bounds(config)


def test_every_certificate_counts_only_data_it_may(report):
    found = {row.posterior: row for row in report.certificates}
    assert [row.num_data for row in found.values()] == [600, 600, 300, 100]
    assert all(row.confidence == pytest.approx(0.95) for row in found.values())
    assert all(row.bound > row.train_error for row in report.certificates)
    assert found["Gaussian"].bound < 0.5
    assert found["Gaussian, learnt prior"].kl < found["Gaussian"].kl


def test_every_stopping_time_is_paid_for(report):
    best, *_ = report.certificates
    assert [stop.steps for stop in report.curve] == list(TIMES)
    assert best.bound == min(stop.bound for stop in report.curve)
    for stop in report.curve:
        by_hand = single_draw_bound(stop.train_error, stop.log_ratio, num_data=600, delta=0.05 / len(TIMES))
        assert stop.bound == pytest.approx(by_hand, rel=1e-12)
    assert report.curve[0].log_ratio == 0


def test_a_step_that_is_not_one_to_one_certifies_nothing(config):
    certificate = config.certificate.model_copy(update={"step_size": 1e3, "times": (3,)})
    wild = config.model_copy(update={"certificate": certificate})
    problem = certify.binary_problem(certify.binary_data(wild), (2,))
    with pytest.raises(ValueError, match=r"at step 0 of chain 0 step size times largest curvature"):
        certify.certify_pushforward(problem, wild)


def test_the_test_set_certifies_the_trained_network(report):
    row = report.certificates[-1]
    assert row.bound == pytest.approx(holdout_bound(round(row.test_error * 100), 100), rel=1e-12)
    assert math.isnan(row.kl)


def test_the_families_share_the_draws_of_the_certificate(report):
    gaussian = report.certificates[1]
    alone = {row.family: row.alone for row in report.families}
    assert alone["kl, exact constant"] == pytest.approx(gaussian.bound, rel=1e-12)


def test_three_measures_of_one_minimum(report, config):
    (row,) = report.measures
    assert row.num_params == 4 * 2 + 2 + 2 * 2 + 2
    assert row.free_energy == pytest.approx(600 * row.train_loss + row.llc * math.log(600))
    assert 0 < row.llc < row.num_params
    assert row.volume_bits > 0


def test_the_bits_of_a_quadratic_basin_are_those_of_its_normal_integral():
    """E exp(-nbeta h (u-u*)^2/2) over N(0, 1) is (1+a)^(-1/2) exp(-u*^2 a/(2 (1+a))), a = nbeta h."""
    h, mode, nbeta = np.array([2.0, 0.5, 0.0]), np.array([0.3, -1.0, 2.0], np.float32), 40.0
    a = nbeta * h
    exact = 0.5 * np.sum(np.log1p(a) + mode.astype(float) ** 2 * a / (1 + a)) / math.log(2)

    def loss(u, data):
        return 0.5 * ((u - mode) ** 2 * h).sum() + 0 * data["inputs"][:, 0]

    assert certify.volume_bits(loss, mode, blobs(5, 0), nbeta=nbeta) == pytest.approx(exact, rel=1e-6)


def test_random_labels_are_fair_coins():
    data = {"inputs": np.zeros((4000, 1), np.float32), "targets": np.ones(4000, np.int32)}
    rng = np.random.default_rng(0)
    assert certify.randomised(data, 0.0, rng)["targets"].all()
    kept = certify.randomised(data, 0.5, rng)["targets"].mean()
    assert kept == pytest.approx(0.75, abs=5 * (0.75 * 0.25 / 4000) ** 0.5)


def test_the_network_has_a_density_and_counts_its_errors():
    data = Split(blobs(50, 1), blobs(20, 2))
    problem = certify.binary_problem(data, (3,))
    assert problem.law.mean.size == 4 * 3 + 3 + 3 * 2 + 2
    assert (problem.law.std > 0).all()
    w = problem.law.draw(certify.jax.random.key(0), 1)[0]
    assert 0 <= problem.error(w, data.test) <= 1
    assert 20 * problem.error(w, data.test) == pytest.approx(round(20 * problem.error(w, data.test)), abs=1e-5)
