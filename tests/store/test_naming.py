"""Names that files forbid, that xarray takes for coordinates, or that collide, come back as they were."""

import jax
import ml_dtypes
import numpy as np
import pytest
from store.test_store import FORMATS, assert_identical, make_result

from slt import store
from slt._types import Estimate

NAMES = ["a/b", "a_b", "1st", "two words", "", ".", "..", "__x", "a", "a_mcse", "a_dof", "a_mcse_mcse", "llc", "chain",
         "draw", "λ̂", "x ", "verdict", "localization", "names", "w_dim_0", "A"]  # fmt: skip


@pytest.mark.parametrize("suffix", FORMATS)
def test_estimates_diagnostics_and_values_per_datum_of_any_name(tmp_path, suffix):
    for order in (NAMES, NAMES[::-1]):
        result = make_result()._replace(
            estimates={name: Estimate(float(i), 0.1 * i, 3.0 + i) for i, name in enumerate(order)},
            diagnostics={name: float(i) for i, name in enumerate(order)},
            pointwise={name: np.full(3, float(i)) for i, name in enumerate(order)},
        )
        other = result._replace(settings=result.settings | {"localization": 2.0})
        stored = [result] if order is NAMES else [result, other]
        path = store.save(stored, tmp_path / f"a{suffix}", overwrite=True)
        for left, right in zip(stored, store.load(path), strict=True):
            assert_identical(left, right)


def test_a_name_that_can_be_had_is_had():
    estimates = store.to_datatree([make_result()])["estimates"]
    assert set(estimates.data_vars) >= {"llc", "llc_mcse", "llc_dof"}
    profile = store.to_datatree([make_result(), make_result(localization=2.0)])
    assert profile["llc_mcse"].dims == ("localization",)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    "tree",
    [
        {"chain": 0.0, "draw": 1.0, "w": np.zeros(3)},
        {"sample": 0.0, "log_likelihood": 1.0, "datum": 2.0, "localization": 3.0, "path": 4.0, "attrs": 5.0},
        {"w": np.zeros(3), "w_dim_0": 1.0, "w_dim_1": np.zeros((2, 2))},
        {"": 1.0, "a/b": 2.0, "a": {"b": 3.0}, "a.b": 4.0, "..": 5.0, "é ": 6.0},
        {0: 1.0, 1: [2.0, {"0": 3.0}]},
        [[1.0], [[2.0]]],
    ],
    ids=str,
)
def test_positions_of_any_name(tmp_path, suffix, tree):
    count = iter(range(100))
    positions = jax.tree.map(lambda x: np.full((4, 20, *np.shape(x)), float(next(count))), tree)
    result = make_result(positions=positions)
    assert_identical(result, store.load(store.save([result], tmp_path / f"a{suffix}"))[0])


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    "dtype", ["float16", ml_dtypes.bfloat16, "float32", "float64", "int32", "bool", "int8"], ids=str
)
def test_positions_of_any_precision(tmp_path, suffix, dtype):
    result = make_result(positions={"w": np.random.default_rng(0).normal(size=(4, 20, 3)).astype(dtype)})
    assert_identical(result, store.load(store.save([result], tmp_path / f"a{suffix}"))[0])


@pytest.mark.parametrize("suffix", FORMATS)
def test_settings_and_numbers_of_any_kind(tmp_path, suffix):
    given = {"settings": "x", "names": 1, "b": True, "none": None, "big": 2**64, "nan": np.inf, "list": [1], "": "é"}
    result = make_result()._replace(settings=given, diagnostics={"zero": -0.0, "inf": -np.inf, "nan": np.nan})
    (again,) = store.load(store.save([result], tmp_path / f"a{suffix}"))
    assert again.settings == given
    assert str(again.diagnostics) == str(result.diagnostics)


@pytest.mark.parametrize("suffix", FORMATS)
def test_names_of_any_text(tmp_path, suffix):
    rng = np.random.default_rng(0)
    names = sorted({"".join(map(chr, rng.integers(1, 1500, rng.integers(0, 4)))) for _ in range(30)})
    result = make_result(positions={name: np.full((4, 20), float(i)) for i, name in enumerate(names)})._replace(
        estimates={name: Estimate(float(i), 2.0) for i, name in enumerate(names)},
        settings={name: name for name in names},
    )
    assert_identical(result, store.load(store.save([result], tmp_path / f"a{suffix}", config="\n".join(names)))[0])
