import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_agrees
from scipy import stats

from slt import Estimate, compare, potential_target
from slt.draws import Verdict
from slt.estimate import Subject, correlations, mlp_subject, potential_subject
from slt.estimate.comparison import measures as computations
from slt.estimate.comparison.rows import Compared, Comparison, Measure
from slt.geometry.rank import rank_of_values
from slt.targets.networks import mlp_apply, mlp_init
from slt.targets.target import at_temperature, loss_target

NBETA = 100.0
H = np.array([4.0, 1.0])
SMALL = {
    "llc": {"tolerance": 0.03},
    "free_energy": {"num_particles": 256, "num_replicates": 8},
    "volumes": {"num_particles": 256, "num_replicates": 8, "num_moves": 24, "num_rays": 100},
}


def quadratic(h=H, **options):
    h = jnp.asarray(h)
    return potential_target(lambda w: 0.5 * jnp.sum(h * w**2), jnp.zeros(h.size), nbeta=NBETA, **options)


@pytest.fixture(scope="module")
def regular():
    options = SMALL | {"free_energy": {"num_particles": 128, "num_replicates": 8, "max_nbeta": 1e5}}
    return compare({"q": quadratic()}, measures=["llc", "free_energy", "curvature", "volumes"], options=options)


@pytest.fixture(scope="module")
def crossing():
    subject = potential_subject("x2y2", nbeta=1e3)
    return compare({"c": subject}, measures=["llc", "free_energy", "curvature", "volumes"], options=SMALL)


def estimate(row):
    return Estimate(row.value, row.error)


# Of a regular quadratic every measure is known in closed form, at this n beta and gamma: a factor 2 turns a row red.
LLC = 0.5 * float(np.sum(H / (H + 1 / NBETA)))
FREE_ENERGY = 0.5 * float(np.sum(np.log1p(NBETA * H)))
T = 1 / NBETA
AREA = math.pi * 2 * T / math.sqrt(4.0)


@pytest.mark.parametrize(
    ("measure", "exact"),
    [
        ("d / 2", 1.0),
        ("rank H / 2", 1.0),
        ("effective dimension / 2", LLC),
        ("trace H", 5.0),
        ("largest eigenvalue of H", 4.0),
        ("free energy, quadratic", FREE_ENERGY),
        ("−log V, as it is", -math.log(AREA)),
        ("−log V, zeros discarded", -math.log(AREA)),
        ("−log V, zeros replaced by 1", -math.log(AREA)),
        ("−log V, H + (λ + c) I", -math.log(math.pi * 2 * T / math.sqrt(4.01 * 1.01))),
        ("−log V, fuzzy ellipsoid", FREE_ENERGY),
    ],
)
def test_exact_rows_of_the_quadratic(regular, measure, exact):
    row = regular.value("q", measure)
    assert (row.status, row.error) == ("exact", 0)
    assert row.value == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize(
    ("measure", "exact", "resolution"),
    [
        ("λ̂", LLC, 0.2),
        ("free energy", FREE_ENERGY, 0.2),
        ("KL, Gibbs posterior", FREE_ENERGY - LLC, 0.2),
    ],
)
def test_sampled_rows_of_the_quadratic(regular, measure, exact, resolution):
    row = regular.value("q", measure)
    assert row.status == "converged"
    assert row.seconds > 0
    # the error is between 8 replicates or more: 7 degrees of freedom at least
    assert_agrees(estimate(row)._replace(dof=7), exact, resolution=resolution * max(exact, 0.5), false_fail=1e-4)


def test_the_sampled_volumes_of_the_quadratic_are_the_ellipsoid_s(regular):
    exact = regular.value("q", "−log V, ellipsoid").value
    points = stats.norm(scale=1.0).ppf((np.arange(2000) + 0.5) / 2000)
    share = np.mean(0.5 * (H[0] * points[:, None] ** 2 + H[1] * points**2) < T)  # the mass by brute force
    assert exact == pytest.approx(-math.log(share), abs=0.05)
    for name in ("splitting", "radial, star-shaped"):
        row = regular.value("q", f"−log V, {name}")
        assert abs(row.value - exact) < 5 * row.error < 0.6


def test_the_crossing_has_its_exact_values_and_no_hessian(crossing):
    known = {name: crossing.value("c", name).value for name in ("λ at this n, exact", "free energy, exact")}
    assert_agrees(
        estimate(crossing.value("c", "λ̂"))._replace(dof=7), known["λ at this n, exact"], resolution=0.1, false_fail=1e-4
    )
    assert_agrees(
        estimate(crossing.value("c", "free energy"))._replace(dof=7), known["free energy, exact"], resolution=0.4,
        false_fail=1e-4,
    )  # fmt: skip
    growth = crossing.value("c", "λ, free-energy growth")
    assert_agrees(estimate(growth)._replace(dof=7), 0.5, resolution=0.15, false_fail=1e-4)
    assert crossing.value("c", "rank H / 2").value == 0
    assert crossing.value("c", "effective dimension / 2").value == 0
    singular = crossing.value("c", "−log V, as it is")
    assert singular.status == "not available"
    assert "singular: 2 of 2" in singular.reason
    price = crossing.value("c", "−log V, splitting")
    assert abs(price.value - known["free energy, exact"]) < 1  # the same price, up to O(1)
    assert price.value > 1


def test_potentials_say_that_they_have_no_data():
    found = compare({"p": quadratic()}, measures=["criteria", "gradients", "certificate", "losses"])
    assert all(row.status == "not available" and math.isnan(row.value) for row in found.measures)
    reasons = {row.measure: row.reason for row in found.measures}
    assert "without data" in reasons["WAIC"]
    assert "network" in reasons["rank G / 2"]
    assert "errors" in reasons["PAC-Bayes bound"]
    assert "no data" in reasons["test loss"]


def test_a_coefficient_that_its_verdict_refuses_is_not_shown():
    slope = potential_target(lambda w: jnp.sum((w - 1.0) ** 2), jnp.zeros(2), nbeta=NBETA)
    found = compare(slope, measures=["llc"], options=SMALL)
    row = found.value("minimum", "λ̂")
    assert row.status == "not a minimum"
    assert not row.known
    assert math.isnan(row.value)
    assert math.isnan(row.error)
    assert "Refused" in row.reason
    assert "polish" in row.reason


@pytest.mark.parametrize("status", ["not converged", "biased", "not a minimum"])
def test_every_verdict_but_converged_refuses(monkeypatch, status):
    result = SimpleNamespace(estimates={"llc": Estimate(3.0, 0.1)}, verdict=Verdict(status, ("Because.",)))
    monkeypatch.setattr(computations, "estimate_llc", lambda target, **options: result)
    row = compare(classifier(), measures=["llc"]).value("minimum", "λ̂")
    assert row.status == status
    assert math.isnan(row.value)
    assert "3 ± 0.1" in row.reason
    assert "Because." in row.reason
    assert compare(classifier(), measures=["llc"]).value("minimum", "WBIC").status == status


def test_only_refusals_are_caught(monkeypatch):
    def broken(*_, **__):
        raise TypeError("a bug")

    monkeypatch.setattr(computations, "estimate_llc", broken)
    with pytest.raises(TypeError, match="a bug"):
        compare(quadratic(), measures=["llc"])


def test_large_models_are_told_why():
    big = potential_target(lambda w: jnp.sum(w**2), jnp.zeros(60), nbeta=NBETA)
    found = compare(big, measures=["free_energy", "volumes"], options={"volumes": {"estimators": ["hessian"]}})
    assert "at most 50 parameters" in found.value("minimum", "free energy").reason
    assert found.value("minimum", "−log V, splitting").status == "not available"


def test_a_rank_without_a_gap_is_refused():
    with pytest.raises(ValueError, match=r"No gap decides the rank.*at 1e-06"):
        computations._half_rank(rank_of_values(np.logspace(0, -20, 60), (60, 60)))


def data(seed, n=60):
    x = np.random.default_rng(seed).normal(size=(n, 2)).astype(np.float32)
    return {"inputs": x, "targets": (x[:, 0] > 0).astype(np.int32)}


def classifier(test=None, **options):
    params = mlp_init(jax.random.key(0), (2, 3, 2))
    return mlp_subject(params, data(0), test, localization=1.0, **options)


def test_losses_and_the_certificate_of_a_classifier():
    test = data(1, 40)
    subject = classifier(test)
    found = compare(
        {"net": subject}, measures=["losses", "certificate", "gradients"], options={"certificate": {"steps": 50}}
    )
    logits = np.asarray(mlp_apply(subject.target.minimum, test["inputs"]), np.float64)
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(40), test["targets"]]
    wrong = logits.argmax(1) != test["targets"]
    row = found.value("net", "test loss")
    assert row.value == pytest.approx(losses.mean(), rel=1e-5)
    assert row.error == pytest.approx(losses.std(ddof=1) / math.sqrt(40), rel=1e-4)
    assert found.value("net", "test error").value == pytest.approx(wrong.mean())
    exact = stats.beta.ppf(0.95, wrong.sum() + 1, 40 - wrong.sum())
    assert found.value("net", "test-set bound").value == pytest.approx(exact)
    assert found.value("net", "rank G / 2").value <= subject.target.num_params / 2
    bound, kl = found.value("net", "PAC-Bayes bound"), found.value("net", "KL, Gaussian posterior")
    assert 0 < bound.value <= 1
    assert kl.value > 0
    assert "95%" in bound.reason


def test_wbic_is_the_tempered_loss_and_needs_its_temperature(monkeypatch):
    result = SimpleNamespace(estimates={"llc": Estimate(3.0, 0.1)}, verdict=Verdict("converged"))
    monkeypatch.setattr(computations, "estimate_llc", lambda target, **options: result)
    row = compare(classifier(), measures=["llc"]).value("minimum", "WBIC")
    n, loss = 60, classifier().target.loss_at_minimum
    assert row.value == pytest.approx(n * loss + 3 * math.log(n))
    assert row.error == pytest.approx(0.1 * math.log(n))
    other = compare(classifier(inverse_temperature=1.0), measures=["llc"]).value("minimum", "WBIC")
    assert other.status == "not available"
    assert "1/log n" in other.reason


def test_waic_is_of_a_prior_that_has_not_seen_the_data(monkeypatch):
    asked = {}

    def fake(target, **options):
        asked["beta"] = target.inverse_temperature
        names = ("singular_fluctuation", "waic", "bayes_generalization")
        return SimpleNamespace(
            estimates=dict(zip(names, (Estimate(2.0, 0.1), Estimate(0.5, 0.01), Estimate(0.7, 0.02)), strict=True)),
            verdict=Verdict("converged"),
        )

    monkeypatch.setattr(computations, "estimate_criteria", fake)
    local = compare(classifier(data(1)), measures=["criteria"])
    assert asked["beta"] == 1
    assert local.value("minimum", "ν").value == 2
    assert local.value("minimum", "Bayes test loss").value == 0.7
    assert local.value("minimum", "WAIC").status == "not available"
    assert "0.5 ± 0.01" in local.value("minimum", "WAIC").reason
    params = mlp_init(jax.random.key(0), (2, 3, 2))
    free = compare(mlp_subject(params, data(0), localization=0.0, weight_decay=0.1), measures=["criteria"])
    assert free.value("minimum", "WAIC").value == 0.5


def test_another_temperature_is_the_target_built_at_it():
    def loss(w, rows):
        return 0.5 * (rows["y"] - w["a"] * rows["x"]) ** 2

    rows = {"x": jnp.arange(1.0, 9.0), "y": jnp.arange(1.0, 9.0) ** 1.1}
    given = {"a": jnp.asarray([1.2])}
    options = {"weight_decay": 0.3, "localization": 2.0}
    moved = at_temperature(loss_target(loss, given, rows, inverse_temperature=0.2, **options), 1.0)
    built = loss_target(loss, given, rows, inverse_temperature=1.0, **options)
    w = {"a": jnp.asarray([0.4])}
    assert float(moved.energy(w, moved.data)) == pytest.approx(float(built.energy(w, built.data)), rel=1e-6)
    assert moved.nbeta == built.nbeta == 8
    assert moved.precision == pytest.approx(built.precision)
    np.testing.assert_allclose(moved.prior.draw(jax.random.key(0))["a"], built.prior.draw(jax.random.key(0))["a"])


def test_numbers_from_elsewhere_stand_in_the_table():
    subject = Subject(quadratic(), known={"frequency": 0.25, "norm": Estimate(2.0, 0.5)})
    found = compare(subject, measures=["curvature"])
    assert found.value("minimum", "frequency").value == 0.25
    assert found.value("minimum", "norm").error == 0.5
    with pytest.raises(ValueError, match="has no 'λ̂'"):
        found.value("minimum", "λ̂")


def ensemble(num=24, refused=()):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=num)
    heads = [Compared(f"m{i}", 3, 10, 5.0, 1.0, 1.0, 0.2, 1.0) for i in range(num)]
    columns = {
        "test loss": truth,
        "λ̂": truth**3,
        "d / 2": np.ones(num),
        "trace H": -truth + 1e-9 * rng.normal(size=num),
        "ν": rng.normal(size=num),
    }
    rows = [
        Measure(f"m{i}", name, "loss", value, 0.0, "biased" if (i, name) in refused else "converged", 0.1)
        for name, values in columns.items()
        for i, value in enumerate(values)
    ]
    return Comparison(heads, rows, [])


def test_correlations_find_what_predicts_and_say_what_does_not():
    found = {row.measure: row for row in correlations(ensemble())}
    assert set(found) == {"λ̂", "d / 2", "trace H", "ν"}
    assert found["λ̂"].value == pytest.approx(1)
    assert found["λ̂"].verdict == "positive"
    assert found["trace H"].verdict == "negative"
    assert "same" in found["d / 2"].verdict
    assert found["ν"].low < found["ν"].value < found["ν"].high
    assert {row.outcome for row in found.values()} == {"test loss"}


def test_refused_numbers_enter_no_correlation():
    refused = {(i, "λ̂") for i in range(21)}
    row = next(row for row in correlations(ensemble(refused=refused)) if row.measure == "λ̂")
    assert row.number == 3
    assert math.isnan(row.value)
    assert "4 are needed" in row.verdict


def test_groups_are_the_unit():
    found = ensemble()
    groups = {f"m{i}": i % 3 for i in range(24)}
    assert all("needed" in row.verdict or "same" in row.verdict for row in correlations(found, groups=groups))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"measures": ["lcc"]}, "choose from llc"),
        ({"measures": []}, "choose from llc"),
        ({"options": {"rays": {}}}, "rays"),
        ({"threshold": 0.0}, "threshold"),
        ({"delta": 1.0}, "delta"),
    ],
)
def test_wrong_input_is_refused(options, match):
    with pytest.raises(ValueError, match=match):
        compare(quadratic(), **options)
    with pytest.raises(ValueError, match="no subjects"):
        compare({})
