import ast
import csv
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slt.catalogue.registry import Potential, define, potential, potential_table, potentials

DATA = Path(__file__).parents[2] / "data"
NAMES = list(potentials())
EXACT = [name for name, entry in potentials().items() if entry.exact is not None]
COSTLY = ("rrr_2_2_1_1", "tanh2_truth0", "xy_yz_zx", "parabola", "circle", "mix2_ab", "node", "D4", "A3")
COVARIATES = np.linspace(-2, 2, 9)
NORMAL = np.polynomial.hermite_e.hermegauss(40)


def rows(file):
    with (DATA / file).open() as lines:
        return list(csv.DictReader(lines))


TABLE = {row["id"]: row for row in rows("rlct_table.csv")}
FINITE_N = [row for row in rows("rlct_finite_n.csv") if potential(row["id"]).exact is not None]


# What the expressions of the table call: written a second time, in numpy, and compared with the catalogue.
def tanh_k(w, units, xp, target=0.0):
    f = sum(w[i] * np.tanh(w[units + i] * COVARIATES) for i in range(units))
    return np.mean((f - target) ** 2) / 2


def mix_kl(a, b, xp):
    nodes, weights = NORMAL
    ratio = 1 - a + a * np.exp(b * nodes - b**2 / 2)
    return -np.sum(weights * np.log(ratio)) / np.sqrt(2 * np.pi)


def matprod_k(w, widths, target, xp):
    P = np.eye(widths[0])
    for rows_, cols in zip(widths[1:], widths[:-1], strict=True):
        A, w = w[: rows_ * cols].reshape(rows_, cols), w[rows_ * cols :]
        P = A @ P
    return np.sum((P - (0 if target is None else target)) ** 2) / 2


def fa_kl(w, p, xp):
    S = np.diag(np.exp(w[:p])) + np.outer(w[p:], w[p:])
    return (np.trace(np.linalg.inv(S)) - p + np.linalg.slogdet(S)[1]) / 2


def table_energy(name, w):
    scope = {"w": w, "np": np, "xp": np, "XG": COVARIATES}
    scope |= {"tanh_k": tanh_k, "mix_kl": mix_kl, "matprod_k": matprod_k, "fa_kl": fa_kl}
    return float(eval(TABLE[name]["K"], scope))


def points(entry: Potential, num=15, seed=0):
    """w*, then points of the box or around w*, then the same at a tenth and a hundredth of the distance from w*."""
    rng = np.random.default_rng(seed)
    wide = entry.minimum + 0.5 * rng.standard_normal((num, entry.dim))
    if entry.box is not None:
        wide = rng.uniform(*entry.box, size=(num, entry.dim))
    near = np.concatenate([entry.minimum + d * (wide - entry.minimum) for d in (1.0, 0.1, 0.01)])
    return np.vstack((entry.minimum, near.astype(np.float32)))


@cache
def evaluated(name):
    """Points, and there the energy and its gradient in double precision."""
    batch = points(potential(name))
    with jax.enable_x64(True):
        return batch, *map(np.asarray, jax.jit(jax.vmap(jax.value_and_grad(potential(name).energy)))(batch))


def prior(row):
    """The arguments of `exact` that give the posterior of one line of the table."""
    if not row["gamma"]:
        return {"localization": None}
    center = ast.literal_eval(row["center"])
    origin_is_minimum = np.isscalar(center) and potential(row["id"]).box is None
    return {"localization": float(row["gamma"]), "center": None if origin_is_minimum else center}


def test_the_table_is_covered_and_more():
    assert set(TABLE) <= set(NAMES)
    assert len(NAMES) >= 60
    assert len(EXACT) >= 50
    assert len({entry.formula + str(entry.minimum) for entry in potentials().values()}) >= len(NAMES) - 8


@pytest.mark.parametrize("name", list(TABLE))
def test_rlct_and_multiplicity_of_the_table(name):
    entry, row = potential(name), TABLE[name]
    assert (str(entry.rlct), entry.multiplicity, entry.dim) == (row["lambda"], int(row["m"]), int(row["dim"]))


@pytest.mark.parametrize("name", list(TABLE))
def test_energy_of_the_table(name):
    batch, values, _ = evaluated(name)
    np.testing.assert_allclose(values, [table_energy(name, w) for w in batch], rtol=1e-9, atol=1e-14)


def check_finite_n(row):
    """Within 1e-6 of an exact line, or 4 standard errors (false failure 6e-5) of a sampled one."""
    value = potential(row["id"]).exact(float(row["n"]), **prior(row))
    mean, error = float(row["E_nK"]), float(row["abs_err_E"])
    if row["kind"] != "exact":
        assert error < 0.01 * mean
        assert abs(value.mean - mean) < 4 * error
        return
    expected = [mean, float(row["Var_nK"]), float(row["logZ"])]
    np.testing.assert_allclose(value[:3], expected, rtol=1e-6, atol=1e-9)
    assert abs(value.mean - mean) < value.error + error + 1e-8 * mean


@pytest.mark.parametrize("name", sorted({row["id"] for row in FINITE_N}))
def test_finite_n_of_the_table(name):
    for row in FINITE_N:
        if row["id"] == name and (row["n"] in ("100", "1e+06") or row["kind"] != "exact"):
            check_finite_n(row)


@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row in FINITE_N if row["n"] not in ("100", "1e+06")])
def test_finite_n_of_the_rest_of_the_table(row):
    check_finite_n(row)


@pytest.mark.parametrize("name", NAMES)
def test_energy_is_least_and_smooth_at_the_minimum(name):
    _, values, gradients = evaluated(name)
    assert abs(values[0]) < 1e-30
    assert "boundary" in potential(name).tags or np.all(abs(gradients[0]) < 1e-15)
    assert np.all(values >= 0)
    assert np.all(np.isfinite(gradients))


@pytest.mark.parametrize("name", NAMES)
def test_single_precision_near_the_minimum(name):
    batch, double, _ = evaluated(name)
    single = np.asarray(jax.jit(jax.vmap(potential(name).energy))(batch[1:].astype(np.float32)))
    assert single.dtype == np.float32
    for x, y in zip(np.split(single, 3), np.split(double[1:], 3), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-2, atol=1e-3 * y.max())


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in COSTLY else n for n in EXACT])
def test_posterior_tends_to_rlct_and_multiplicity(name):
    """m = 1: E[tK] → λ. m > 1: 1/(λ - E[tK]) grows by 1/(m-1) per unit of log t."""
    entry = potential(name)
    localization = None if "uniform" in entry.priors and name not in ("xy_yz_zx", "x2_y2pz2") else 1.0
    late, rlct = entry.exact(1e10, localization=localization).mean, float(entry.rlct)
    if entry.multiplicity == 1:
        assert abs(late - rlct) < 0.013
    else:
        early = entry.exact(1e6, localization=localization).mean
        slope = (1 / (rlct - late) - 1 / (rlct - early)) / np.log(1e4)
        assert slope * (entry.multiplicity - 1) == pytest.approx(1, abs=0.16)


@pytest.mark.parametrize("name", EXACT)
def test_a_factor_of_two_in_the_energy_shows(name):
    """log Z(2t) - log Z(t) = -∫ E[tK] d log t, about the mean of the two ends, and far beyond the tolerance above."""
    entry = potential(name)
    localization = None if "uniform" in entry.priors and name not in ("xy_yz_zx", "x2_y2pz2") else 10.0
    single, double = (entry.exact(t, localization=localization) for t in (50.0, 100.0))
    drop = (single.log_evidence - double.log_evidence) / np.log(2)
    assert drop == pytest.approx((single.mean + double.mean) / 2, rel=0.05)
    assert drop > 1e-3


def test_local_rlct_of_two_phases():
    line, origin = potential("two_phase_12_line"), potential("two_phase_12_origin")
    assert (line.rlct, origin.rlct) == (potential("pow2").rlct, potential("pow4").rlct)
    w = jnp.array([0.3, -0.2])
    assert line.energy(w) == origin.energy(w)


def test_log_weight_of_a_cut_or_weighted_box():
    wedge = potential("wedge_domain").log_weight
    assert wedge(jnp.array([0.5, 0.3])) == 0
    assert wedge(jnp.array([0.5, 0.1])) == -jnp.inf
    assert potential("pow4_prior2").log_weight(jnp.array([-0.5])) == pytest.approx(2 * np.log(0.5))
    assert potential("pow2").log_weight is None


def test_defining_one_more_takes_one_call():
    entry = define("extra", "w^10", lambda w: w[0] ** 10, "1/10", dim=1, source="elementary")
    assert entry.exact(1e9, localization=None).mean == pytest.approx(0.1, abs=1e-8)
    assert entry.priors == ("uniform", "gaussian")


def test_table_prints_every_entry_once():
    table = potential_table()
    assert [row.name for row in table] == NAMES
    assert all(row.formula and row.source and row.dim > 0 for row in table)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: potential("x2y3"), "Near it: x2y4"),
        (lambda: potential("pow2").exact(0.0, localization=1.0), "positive and finite"),
        (lambda: potential("pow2").exact(1.0, localization=-1.0), "positive number, or None"),
        (lambda: potential("pow2").exact(1.0, localization=None, center=[0.0]), "without localization"),
        (lambda: potential("x2y2").exact(1.0, localization=1.0, center=[0.0]), "a scalar or 2"),
        (lambda: potential("rrr_2_2_2_0").exact(1.0, localization=None), "no box"),
        (lambda: potential("rrr_2_2_2_0").exact(1.0, localization=1.0, center=1.0), "centred at 0"),
        (lambda: potential("halfline_linear").exact(1.0, localization=1.0), "only the box prior"),
        (lambda: potential("mix2_ab").exact(1.0, localization=1.0), "only the box prior"),
    ],
)
def test_wrong_calls_say_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()
