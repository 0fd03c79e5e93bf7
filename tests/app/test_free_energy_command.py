"""`slt free-energy` stores what it shows, and `slt report` shows it again; criteria of a profile's configuration."""

from pathlib import Path

import jax
import numpy as np
import pytest
from click.testing import CliRunner
from report.test_criteria_table import shown

from slt import store
from slt.app import experiment
from slt.app.cli import cli
from slt.app.config import parse_config
from slt.draws import Verdict
from slt.estimate.free_energy import estimate_free_energy
from slt.report.tables import free_energy_table
from slt.stats.free_energy import no_fit

DATA = Path(__file__).parents[2] / "data"
TEXT = '[model]\nbuiltin = "x2y2"\n[posterior]\ninverse_temperature = 1000.0\nlocalization = [10.0, 1.0]\n'


@pytest.fixture(scope="module")
def found():
    """A small run of the configuration above, by the command's own function."""
    with pytest.MonkeyPatch.context() as patch:
        small = {"num_particles": 128, "num_replicates": 8, "max_nbeta": 1e6}
        patch.setattr(
            experiment, "estimate_free_energy", lambda target, **kw: estimate_free_energy(target, **kw, **small)
        )
        return experiment.run_free_energy(parse_config(TEXT))


def test_the_least_localisation_is_taken_and_lambda_is_near_its_value(found):
    assert found.settings["localization"] == 1.0
    assert found.settings["nbeta"] == 1000.0
    assert found.estimates["rlct"].value == pytest.approx(0.5, abs=4 * found.estimates["rlct"].mcse)


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
@pytest.mark.parametrize("fitted", [True, False])
def test_it_comes_back_bit_for_bit(found, tmp_path, suffix, fitted):
    found = found if fitted else found._replace(fit=no_fit("not asymptotic: too few data."))
    again = store.load_free_energy(store.save_free_energy(found, tmp_path / f"a{suffix}"))
    assert again.verdict == found.verdict
    assert again.settings == found.settings
    assert list(again.estimates) == list(found.estimates)
    assert jax.tree.structure(again) == jax.tree.structure(found)
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(found), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="no stored result"):
        store.load(tmp_path / f"a{suffix}")


def test_a_coefficient_that_is_not_stated_has_a_verdict_of_its_own(found):
    none = no_fit("not asymptotic: too few data.")
    bare = found._replace(fit=none, estimates=found.estimates | {"rlct": none.rlct}, verdict=Verdict("converged"))
    assert bare.refused == {"rlct": Verdict("not converged", (none.reason,))}
    assert found.refused == {}
    status = bare.to_dataframe().set_index("name")["status"]
    assert status.to_dict() == {"free_energy": "converged", "thermodynamic": "converged", "rlct": "not converged"}
    assert "nan ± inf      not converged" in repr(bare)
    assert "refused" in shown(free_energy_table(bare))


def test_the_command_stores_shows_and_reopens(found, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "run_free_energy", lambda config: found)
    config, out, figures = tmp_path / "run.toml", tmp_path / "a.nc", tmp_path / "figures"
    config.write_text(TEXT)
    done = CliRunner().invoke(cli, ["free-energy", str(config), "--output", str(out), "--figures", str(figures)])
    assert done.exit_code == 0, done.output
    assert "probability of multiplicity m = 2" in done.output
    assert [path.name for path in figures.iterdir()] == ["free_energy.png"]
    again = CliRunner().invoke(cli, ["report", str(out)])
    assert again.exit_code == 0
    assert again.output.strip() in done.output
    with pytest.raises(ValueError, match="holds no free energy"):
        store.load_free_energy(store.save_tables({}, tmp_path / "b.nc", kind="bound"))


def test_criteria_of_a_profile_are_those_at_its_least_localisation(monkeypatch):
    def stop(target, **_):
        assert target.localization == 1.0
        assert target.inverse_temperature == 1.0
        raise InterruptedError

    monkeypatch.setattr(experiment, "estimate_criteria", stop)
    text = '[model]\ncheckpoint = "digits_mlp.safetensors"\n[posterior]\nlocalization = [10.0, 1.0, 100.0]\n'
    with pytest.raises(InterruptedError):
        experiment.run_criteria(parse_config(text, folder=DATA))
