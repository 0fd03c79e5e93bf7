"""Results one can hold: a short repr, HTML, a DataFrame, a DataTree; never a dump of draws."""

import jax.numpy as jnp
import numpy as np
import pytest
from store.test_store import make_result

import slt
from slt._types import Estimate
from slt.draws import Verdict
from slt.estimate.calibration import Calibration, Point
from slt.estimate.comparison.certified import Certificates, Certified
from slt.estimate.comparison.rows import Compared, Comparison, Measure
from slt.estimate.series import Series
from slt.geometry.exponent import Scaling
from slt.stats.free_energy import FreeEnergy
from slt.stats.response import Response


def point(result, step):
    return result._replace(settings=result.settings | {"checkpoint": step})


RESULT = make_result()
HELD = {
    "result": RESULT,
    "draws": RESULT.draws,
    "series": Series([point(make_result(), float(i)) for i in range(60)], 3),
    "comparison": Comparison(
        [Compared("a", 2, 0, 1e4, 1.0, 1.0, 0.01, 1.0)],
        [Measure("a", f"measure {i}", "nats", 1.5, 0.1, "converged", 1.0) for i in range(40)],
        [],
    ),
    "free energy": FreeEnergy(
        np.geomspace(1, 1e4, 50), np.zeros((32, 50)), np.zeros((32, 50)), {"free_energy": Estimate(3.0, 0.1)}, None,
        Verdict("converged"), {},
    ),
    "certificates": Certificates([Certified(f"Q{i}", 0.4, 0.95, "kl", 0.1, 0.1, 9.0, 99, 1.0, "") for i in range(40)],
                                 [], [], [], []),
    "response": Response(
        "influence", [f"row {i}" for i in range(500)], ["a", "b"], *np.ones((6, 500, 2)), 20.0, np.ones(500),
        np.ones(2), Verdict("converged"), {"share": 0.4}, {},
    ),
    "calibration": Calibration([Point(1.0, 0.1, 1.0, 198.0, Estimate(5.0, 0.1), 1.0, 0.0, True, "")] * 50, 1.0, 198.0),
}  # fmt: skip


@pytest.mark.parametrize("name", HELD)
def test_a_repr_is_short_and_shows_no_draws(name):
    shown = repr(HELD[name])
    assert len(shown.splitlines()) < 30
    assert "array(" not in shown
    assert max(map(len, shown.splitlines())) < 400
    assert "<table>" in HELD[name]._repr_html_()


def test_what_holds_arrays_shows_their_shapes():
    rows = np.zeros((300, 3))
    target = slt.loss_target(lambda w, x: 0.5 * (x @ w["w"]) ** 2, {"w": jnp.zeros(3)}, rows, localization=1.0)
    assert "float32[300, 3]" in repr(target)
    assert "num_data=300" in repr(target)
    scaling = Scaling(None, Verdict("converged"), np.zeros((4, 60)), np.zeros((4, 60)), 1, 2)
    assert "log_epsilon=float64[4, 60], log_volume=float64[4, 60], rank=1" in repr(scaling)
    assert all(len(repr(x).splitlines()) == 1 for x in (target, scaling))
    assert "+16 more" in repr(scaling._replace(dim=list(range(40))))


def test_a_result_says_its_posterior_its_numbers_and_its_verdict():
    shown = repr(RESULT)
    assert RESULT.verdict.status in shown.splitlines()[0]
    assert f"γ = {RESULT.settings['localization']:.6g}" in shown.splitlines()[0]
    for name, estimate in RESULT.estimates.items():
        assert any(name in line and str(estimate) in line for line in shown.splitlines())


def test_a_data_frame_holds_what_the_result_holds():
    frame = RESULT.to_dataframe().set_index("name")
    for name, estimate in RESULT.estimates.items():
        assert tuple(frame.loc[name, ["estimate", "estimate_mcse", "estimate_dof"]]) == pytest.approx(
            tuple(estimate), nan_ok=True
        )
    assert len(HELD["series"].to_dataframe()) == 60 * len(RESULT.estimates)
    assert list(HELD["comparison"].to_dataframe()["value"]) == [1.5] * 40
    assert HELD["calibration"].to_dataframe()["trusted"].all()


def test_a_data_tree_is_that_of_the_store():
    tree = RESULT.to_datatree()
    np.testing.assert_array_equal(tree["sample_stats"]["loss"], RESULT.draws.loss)
