"""What ArviZ makes of what we store, and we of what ArviZ stores."""

import warnings

import arviz_base
import arviz_stats
import numpy as np
import pytest
from store.test_store import make_result

from slt import stats, store

MEANS = np.random.default_rng(0).normal(0, 0.1, (4, 500, 1))
DATA = np.random.default_rng(1).normal(size=(3, 10))
LOG_LIKELIHOOD = -0.5 * (DATA.reshape(1, 1, 30) - MEANS) ** 2 - 0.5 * np.log(2 * np.pi)
TREE = arviz_base.from_dict(
    {"posterior": {"mean": MEANS[..., 0]}, "log_likelihood": {"y": LOG_LIKELIHOOD.reshape(4, 500, 3, 10)}}
)


def test_waic_of_a_tree_is_its_formula():
    p = np.exp(LOG_LIKELIHOOD).reshape(-1, 30)
    waic = -np.log(p.mean(0)).mean() + np.log(p).var(0, ddof=1).mean()
    assert stats.waic(TREE).value == pytest.approx(waic, rel=1e-12)
    assert stats.waic(TREE) == stats.waic(stats.pointwise(LOG_LIKELIHOOD, inverse_temperature=1.0))
    assert stats.bayes_loss(TREE).value == pytest.approx(-np.log(p.mean(0)).mean(), rel=1e-12)


def test_leave_one_out_of_a_tree_is_that_of_arviz():
    found = stats.psis_loo(TREE)
    pytest.importorskip("xarray_einstats", reason="comes with arviz-stats[xarray]")
    theirs = arviz_stats.loo(TREE, pointwise=True)
    assert found.loss.value == pytest.approx(-theirs.elpd / 30, rel=1e-5)
    np.testing.assert_allclose(-found.values, theirs.elpd_i.to_numpy().ravel(), rtol=1e-4)


def test_a_tree_says_which_variable_and_which_temperature():
    two = arviz_base.from_dict({"log_likelihood": {"y": LOG_LIKELIHOOD, "z": 2 * LOG_LIKELIHOOD}})
    with pytest.raises(ValueError, match="has 'y', 'z' and var_name is None"):
        stats.waic(two)
    chosen = stats.pointwise(two, var_name="y")
    assert stats.waic(chosen) == stats.waic(TREE)
    with pytest.raises(ValueError, match="has no variable"):
        stats.gibbs_loss(arviz_base.from_dict({"posterior": {"mean": MEANS[..., 0]}}))
    with pytest.raises(ValueError, match="inverse_temperature is missing"):
        stats.pointwise(LOG_LIKELIHOOD)
    ours = make_result(data=6)
    draws = ours.draws._replace(log_likelihood=LOG_LIKELIHOOD)
    ours = ours._replace(draws=draws, settings=ours.settings | {"inverse_temperature": 0.5}, pointwise=None)
    tree = ours.to_datatree()
    assert stats.waic(tree) == stats.waic(stats.pointwise(LOG_LIKELIHOOD, inverse_temperature=0.5))
    with pytest.raises(ValueError, match=r"at beta = 0\.5"):
        stats.psis_loo(tree)


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_arviz_summarises_and_draws_what_we_store(tmp_path, suffix):
    pytest.importorskip("xarray_einstats", reason="comes with arviz-stats[xarray]")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = store.save([make_result()], tmp_path / f"a{suffix}")
        tree = store.open_datatree(path)
    table = arviz_stats.summary(tree, group="sample_stats", round_to="none")
    assert table.loc["loss", "mean"] == pytest.approx(make_result().draws.loss.mean(), rel=1e-12)
    assert table.loc["divergent", "mean"] == make_result().draws.diverging.mean()
    plots = pytest.importorskip("arviz_plots")
    for draw in (plots.plot_trace, plots.plot_rank):
        draw(tree, group="sample_stats", var_names=["loss"], backend="none")


def test_others_read_our_zarr_without_a_warning(tmp_path):
    import xarray as xr

    path = store.save([make_result()], tmp_path / "a.zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with xr.open_datatree(path) as tree:
            assert float(tree["estimates"]["llc"]) == make_result().estimates["llc"].value
