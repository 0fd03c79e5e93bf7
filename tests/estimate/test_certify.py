import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slt.estimate.comparison import Subject, certify, compare, mlp_subject
from slt.estimate.comparison.certify import CHOSEN, certify_pushforward, flattened
from slt.pac_bayes.holdout import holdout_bound, single_draw_bound
from slt.targets.data import randomised, two_classes
from slt.targets.gaussian import gaussian_law
from slt.targets.networks import mlp_init, mlp_loss, train
from slt.targets.target import loss_target, potential_target

TIMES = (0, 3, 6)
QUICK = {"times": TIMES, "steps": 200, "train_steps": 200, "num_draws": 200}


def blobs(num, seed):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, num).astype(np.int32)
    inputs = rng.normal(size=(num, 4)).astype(np.float32)
    inputs[:, 0] += 3 * targets - 1.5
    return {"inputs": inputs, "targets": targets}


@pytest.fixture(scope="module")
def subject():
    start = mlp_init(jax.random.key(3), (4, 2, 2))
    data = blobs(600, 0)
    params = train(
        jax.random.key(0), start, mlp_loss("tanh", "cross_entropy"), data, steps=300, batch_size=100, learning_rate=0.01
    )
    return mlp_subject(params, data, blobs(100, 1), localization=1.0, initial=start)


@pytest.fixture(scope="module")
def report(subject):
    return certify(subject, **QUICK)


def test_every_certificate_counts_only_data_it_may(report):
    found = {row.posterior: row for row in report.certificates}
    assert [row.num_data for row in found.values()] == [600, 600, 300, 100]
    assert all(row.confidence == pytest.approx(0.95) for row in found.values())
    assert all(row.bound > row.train_error for row in report.certificates[:-1])
    assert report.certificates[-1].bound > report.certificates[-1].test_error
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


def test_a_step_that_is_not_one_to_one_certifies_nothing(subject):
    keys = jax.random.key(0), jax.random.key(1)
    with pytest.raises(ValueError, match=r"at step 0 of chain 0 step size times largest curvature"):
        certify_pushforward(keys, flattened(subject), delta=0.05, step_size=1e3, times=(3,), test=None)


def test_the_test_set_certifies_the_trained_network(report):
    row = report.certificates[-1]
    assert row.bound == pytest.approx(holdout_bound(round(row.test_error * 100), 100), rel=1e-12)
    assert math.isnan(row.kl)


def test_the_families_share_the_draws_of_the_certificate(report):
    alone = {row.family: row.alone for row in report.families}
    assert alone[CHOSEN] == pytest.approx(report.certificates[1].bound, rel=1e-12)


def test_the_prior_lies_where_training_started(subject):
    """From there the posterior is nearer than from the centre of the law that the start was drawn from."""
    measures = {"measures": ["certificate"], "options": {"certificate": {"steps": 300}}}
    at = compare({"s": subject, "c": subject._replace(initial=None)}, **measures)
    start, center = (at.value(name, "KL, Gaussian posterior").value for name in "sc")
    assert flattened(subject).prior.mean == pytest.approx(flattened(subject).start)
    assert start != center


def test_any_model_law_trainer_and_classes_have_certificates():
    """Three classes, a linear model of one's own, least squares by a closed form as trainer: rows 1..n/2 are its."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300).astype(np.int32)
    rows = {"x": (np.eye(3)[labels] + 0.3 * rng.normal(size=(300, 3))).astype(np.float32), "label": labels}
    seen = []

    def loss(w, rows):
        return -jnp.take_along_axis(jax.nn.log_softmax(rows["x"] @ w["A"]), rows["label"][:, None], 1)[:, 0]

    def errors(w, rows):
        return (jnp.argmax(rows["x"] @ w["A"], -1) != rows["label"]).astype(jnp.float32)

    def trainer(key, start, rows):
        seen.append(len(rows["label"]))
        x = np.asarray(rows["x"])
        return {"A": jnp.asarray(5 * np.linalg.lstsq(x, np.eye(3)[np.asarray(rows["label"])], rcond=None)[0])}

    target = loss_target(loss, trainer(None, None, rows), rows, localization=1.0)
    law = gaussian_law(np.zeros(9), 2.0)
    found = certify(Subject(target, errors=errors, prior=law, train=trainer), **QUICK | {"step_size": 0.05})
    by_name = {row.posterior: row for row in found.certificates}
    assert seen == [300, 150]
    assert all(by_name[name].bound < 0.5 for name in ("Gaussian", "Gaussian, learnt prior"))
    assert "no test data" in by_name["w* itself"].note
    assert math.isnan(by_name["w* itself"].bound)
    assert math.isnan(by_name["Gaussian"].test_error)


def test_what_has_no_error_to_bound_is_refused():
    with pytest.raises(ValueError, match="give the subject `errors`"):
        certify(Subject(potential_target(lambda w: jnp.sum(w**2), jnp.zeros(2), nbeta=100.0)))
    with pytest.raises(ValueError, match=r"delta is 0\.0"):
        certify(Subject(potential_target(lambda w: jnp.sum(w**2), jnp.zeros(2), nbeta=100.0)), delta=0.0)


def test_random_labels_are_fair_coins():
    data = {"inputs": np.zeros((4000, 1), np.float32), "targets": np.ones(4000, np.int32)}
    rng = np.random.default_rng(0)
    assert randomised(data, 0.0, rng)["targets"].all()
    kept = randomised(data, 0.5, rng)["targets"].mean()
    assert kept == pytest.approx(0.75, abs=5 * (0.75 * 0.25 / 4000) ** 0.5)


def test_two_classes_are_some_labels_against_the_others():
    data = {"inputs": np.zeros((4, 1), np.float32), "targets": np.array([0, 3, 5, 3], np.int32)}
    assert two_classes(data, (3, 5))["targets"].tolist() == [0, 1, 1, 1]
    with pytest.raises(ValueError, match=r"positive is \(7,\), but the labels are \[0 3 5\]"):
        two_classes(data, (7,))
    with pytest.raises(ValueError, match="it needs whole labels"):
        two_classes(data | {"targets": np.zeros((4, 1), np.float32)}, (0,))
