import math

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slt._types import Estimate
from slt.geometry.volume import (
    VolumeRow,
    fuzzy_log_volume,
    hessian_volumes,
    laplace_log_evidence,
    log_ellipsoid,
    log_fuzzy_ellipsoid,
    log_unit_ball,
    shifted_log_volume,
)
from slt.targets.gaussian import Gaussian

H = np.array([4.0, 1.0, 0.5])


def by_treatment(rows):
    return {row.treatment.split(",")[0]: row for row in rows}


@pytest.mark.parametrize(("dim", "volume"), [(1, 2.0), (2, math.pi), (3, 4 / 3 * math.pi), (5, 8 * math.pi**2 / 15)])
def test_unit_balls(dim, volume):
    assert log_unit_ball(dim) == pytest.approx(math.log(volume), abs=1e-14)


def test_an_ellipsoid_has_the_volume_of_its_semi_axes():
    T = 0.02
    axes = np.sqrt(2 * T / H)
    row = by_treatment(hessian_volumes(H, threshold=T))["as it is"]
    assert row.log_volume == pytest.approx(math.log(4 / 3 * math.pi * axes.prod()), abs=1e-13)
    assert row.bits == pytest.approx(-math.log2(4 / 3 * math.pi * axes.prod()), abs=1e-12)
    assert row.error == 0
    assert not row.reason


def test_every_treatment_of_zeros_is_what_it_says():
    T, fraction = 0.1, 0.5
    rows = by_treatment(
        hessian_volumes(
            np.array([0.0, 0.0, 2.0, 4.0]), threshold=T, fraction=fraction, prior=Gaussian(0.0, 0.5), weight_decay=1.0
        )
    )

    def volume(h):
        h = np.asarray(h)
        return log_unit_ball(h.size) + 0.5 * np.sum(np.log(2 * T / h))

    c = T / 0.5**2
    assert math.isinf(rows["as it is"].log_volume)
    assert "singular" in rows["as it is"].reason
    assert rows["zeros discarded"].log_volume == pytest.approx(volume([2, 4]))
    assert "2 dimensions" in rows["zeros discarded"].reason
    assert rows["zeros replaced by 1"].log_volume == pytest.approx(volume([1, 1, 2, 4]))
    assert rows["zeros replaced by 0.5 of the mean"].log_volume == pytest.approx(volume([1.5, 1.5, 2, 4]))
    shifted = rows["H + (λ + c) I"]
    assert shifted.log_volume == pytest.approx(volume(np.array([0, 0, 2, 4.0]) + 1 + c))
    assert rows["fuzzy ellipsoid"].log_volume == pytest.approx(-0.5 * np.log1p(0.25 * 2 / T) - 0.5 * np.log1p(10))
    assert rows["ellipsoid"].measure == "initialisation"


def test_an_indefinite_hessian_is_refused_unless_a_policy_says_otherwise():
    h = np.array([-0.5, 1.0, 2.0])
    rows = hessian_volumes(h, threshold=0.1, prior=Gaussian(0.0, 1.0))
    assert all(math.isnan(row.log_volume) and "negative" in row.reason and "-0.5" in row.reason for row in rows)
    absolute = by_treatment(hessian_volumes(h, threshold=0.1, negative="absolute"))["as it is"]
    assert absolute.log_volume == pytest.approx(
        by_treatment(hessian_volumes(abs(h), threshold=0.1))["as it is"].log_volume
    )
    assert "absolute" in absolute.reason
    clamped = by_treatment(hessian_volumes(h, threshold=0.1, negative="clamp"))["as it is"]
    assert math.isinf(clamped.log_volume)


def test_what_outweighs_the_negative_eigenvalues_stays_defined():
    """c = T/sigma^2 = 0.1 lifts -0.05 above zero, so that two treatments need no policy; the others refuse."""
    h = np.array([-0.05, 1.0, 2.0])
    rows = by_treatment(hessian_volumes(h, threshold=0.1, prior=Gaussian(0.0, 1.0)))
    lifted = next(row for name, row in rows.items() if name.startswith("H + "))
    assert lifted.log_volume == pytest.approx(log_ellipsoid(np.log(h + 0.1).sum(), 3, threshold=0.1))
    assert rows["fuzzy ellipsoid"].log_volume == pytest.approx(-0.5 * np.log1p(h / 0.1).sum())
    assert "negative" in lifted.reason
    refused = [row for name, row in rows.items() if not name.startswith(("H + ", "fuzzy"))]
    assert len(refused) == 5
    assert all(math.isnan(row.log_volume) for row in refused)


def test_round_off_counts_as_zero():
    rows = by_treatment(hessian_volumes(np.array([-1e-17, 1e-16, 1.0]), threshold=0.1))
    assert math.isinf(rows["as it is"].log_volume)


@given(st.floats(0.01, 100.0), st.floats(-3, 3))
@settings(max_examples=25, deadline=None)
def test_volumes_scale_with_the_units_of_w(factor, log_threshold):
    T = 10.0**log_threshold
    for before, after in zip(
        hessian_volumes(H, threshold=T, prior=Gaussian(-np.array([0.1, 0.2, 0.3]), 0.7)),
        hessian_volumes(H / factor**2, threshold=T, prior=Gaussian(-factor * np.array([0.1, 0.2, 0.3]), 0.7 * factor)),
        strict=True,
    ):
        grows = 3 * math.log(factor) if before.measure == "lebesgue" else 0.0
        assert after.log_volume == pytest.approx(before.log_volume + grows, abs=1e-9)


def test_the_fuzzy_ellipsoid_is_the_gaussian_integral():
    # one dimension: E exp(-h (w - w*)^2 / 2T) over N(m, s^2), w* - m = d, is N(d; 0, s^2 + T/h) sqrt(2 pi T/h)
    h, T, s, d = 3.0, 0.2, 0.8, 1.1
    variance = s**2 + T / h
    exact = -0.5 * d**2 / variance + 0.5 * math.log(T / h / variance)
    assert log_fuzzy_ellipsoid(np.array([h]), Gaussian(-d, s), threshold=T) == pytest.approx(exact, abs=1e-13)


def test_the_laplace_evidence_is_exact_on_a_quadratic():
    from slt import potential

    entry = potential("quad_r3_d5")
    h = np.array([2.0, 0.5, 0.01, 0.0, 0.0])
    exact = entry.exact(1e3, localization=2.0).log_evidence
    assert laplace_log_evidence(h, nbeta=1e3, precision=2.0) == pytest.approx(exact, abs=1e-9)
    with pytest.raises(ValueError, match="no Gaussian integral"):
        laplace_log_evidence(np.array([-1.0, 1.0]), nbeta=1e3, precision=2.0)


def test_a_log_determinant_with_an_error_gives_the_same_volumes_with_theirs():
    T, scale = 0.05, 2.0
    h = np.array([0.0, 0.3, 5.0])
    log_det = Estimate(float(np.sum(np.log(h + T / scale**2))), 0.4)
    rows = by_treatment(hessian_volumes(h, threshold=T, prior=Gaussian(0.0, scale)))
    shifted = shifted_log_volume(log_det, 3, threshold=T)
    fuzzy = fuzzy_log_volume(log_det, 3, threshold=T, prior_scale=scale)
    assert shifted.log_volume == pytest.approx(rows["H + (λ + c) I"].log_volume, abs=1e-12)
    assert fuzzy.log_volume == pytest.approx(rows["fuzzy ellipsoid"].log_volume, abs=1e-12)
    assert shifted.error == fuzzy.error == 0.2


def test_lambda_of_the_catalogue_lies_between_half_the_rank_and_half_the_dimension():
    from slt.catalogue import potentials

    shown = 0
    for entry in potentials().values():
        if {"quadratic", "separable"} & set(entry.tags) and entry.dim <= 5:
            with jax.enable_x64(True):
                h = np.linalg.eigvalsh(np.asarray(jax.hessian(entry.energy)(entry.minimum)))
            assert (abs(h) > 1e-9).sum() / 2 <= float(entry.rlct) <= entry.dim / 2
            shown += 1
    assert shown >= 8


@pytest.mark.parametrize(
    ("eigenvalues", "options", "match"),
    [
        ([], {}, "at least one"),
        ([1.0, np.nan], {}, "non-finite"),
        ([1.0], {"threshold": 0.0}, "threshold"),
        ([1.0], {"weight_decay": -1.0}, "weight_decay"),
        ([1.0], {"prior": Gaussian(0.0, 0.0)}, "one positive standard deviation"),
        ([1.0], {"negative": "ignore"}, "policy"),
    ],
)
def test_bad_input_is_refused(eigenvalues, options, match):
    with pytest.raises(ValueError, match=match):
        hessian_volumes(np.array(eigenvalues), **{"threshold": 0.1, **options})


def test_bits_locate_a_basin():
    assert VolumeRow("half", math.log(0.5)).bits == pytest.approx(1.0)
