from pathlib import Path

import jax
import pytest

from slt.app.config import parse_config, read_config
from slt.targets.networks import mlp_init, save_checkpoint

DATA = Path(__file__).parents[2] / "data"
POTENTIAL = '[model]\nbuiltin = "x^2"\n'


def test_the_demo_is_valid_and_completed_from_its_checkpoint():
    config, text = read_config(DATA / "digits.toml")
    assert config.model.checkpoint == DATA / "digits_mlp.safetensors"
    assert config.model.loss == "cross_entropy"
    assert (config.data.file, config.data.scale) == (DATA / "digits.npz", 16)
    assert (config.data.num_test, config.data.split_seed) == (360, 0)
    assert config.posterior.localization == (1.0, 10.0, 100.0, 1000.0)
    assert text == (DATA / "digits.toml").read_text()


def test_a_checkpoint_is_a_configuration_with_every_default():
    config, text = read_config(DATA / "digits_mlp.safetensors")
    assert config.data == read_config(DATA / "digits.toml")[0].data
    assert config.posterior.localization == ()
    assert parse_config(text, folder=DATA) == config


def test_what_the_configuration_says_wins_over_the_checkpoint():
    text = '[model]\ncheckpoint = "digits_mlp.safetensors"\n[data]\nnum_test = 0\nsplit_seed = 7\n'
    config = parse_config(text, folder=DATA)
    assert (config.data.num_test, config.data.split_seed, config.data.scale) == (0, 7, 16)


def test_one_localization_is_a_profile_of_one():
    assert parse_config(POTENTIAL + "[posterior]\nlocalization = 2").posterior.localization == (2.0,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (POTENTIAL + "[run]\nchain = 4", r"Unknown key `run\.chain`; did you mean `chains`\?"),
        (POTENTIAL + "[postrior]\n", r"Unknown key `postrior`; did you mean `posterior`\?"),
        (POTENTIAL + "[run]\nxyz = 4", r"Unknown key `run\.xyz`; known here: seed, sampler"),
        (POTENTIAL + "[run]\nchains = 1", r"`run\.chains` is 1: it must be greater than or equal to 2"),
        (POTENTIAL + '[run]\nseed = "a"', r"`run\.seed` is 'a': it must be a valid integer"),
        (POTENTIAL + "[run]\ntolerance = 0", r"`run\.tolerance` is 0: it must be greater than 0"),
        (POTENTIAL + "[posterior]\nlocalization = -1", r"`posterior\.localization\.0` is -1: .* or equal to 0"),
        (POTENTIAL + "[posterior]\nlocalization = [1, nan]", r"`posterior\.localization\.1` is nan"),
        (POTENTIAL + "[posterior]\ninverse_temperature = 0", "greater than 0"),
        (POTENTIAL + "[posterior]\ninverse_temperature = inf", "finite number"),
        ("", "`model` is missing; add it"),
        ("[model]", "give exactly one of `checkpoint`"),
        ('[model]\nbuiltin = "a"\ncheckpoint = "b"', "give exactly one of `checkpoint`"),
        ("[model", "is not valid TOML"),
    ],
)
def test_a_wrong_value_is_one_clear_paragraph(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse_config(text, name="run.toml")
    assert str(caught.value).startswith("run.toml ")
    assert "\n" not in str(caught.value)
    assert "pydantic" not in str(caught.value)


def test_a_file_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / "run.toml").write_bytes(b"# \xe9\n")
    with pytest.raises(ValueError, match=r"run\.toml is not valid TOML: byte 2 is not UTF-8"):
        read_config(tmp_path / "run.toml")


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere\.toml"):
        read_config(tmp_path / "nowhere.toml")
    with pytest.raises(FileNotFoundError, match=r"model\.checkpoint: there is no file .*a\.safetensors"):
        parse_config('[model]\ncheckpoint = "a.safetensors"', folder=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"data\.file: there is no file .*b\.npz"):
        parse_config('[model]\ncheckpoint = "digits_mlp.safetensors"\n[data]\nfile = "b.npz"', folder=DATA)
    (tmp_path / "run.yaml").touch()
    with pytest.raises(ValueError, match=r"neither a \.toml configuration nor"):
        read_config(tmp_path / "run.yaml")


def test_a_checkpoint_that_names_no_data_asks_for_it(tmp_path):
    save_checkpoint(tmp_path / "a.safetensors", mlp_init(jax.random.key(0), (2, 2)), {})
    with pytest.raises(ValueError, match=r"gives no data\.file"):
        read_config(tmp_path / "a.safetensors")
    (tmp_path / "a.npz").touch()
    with pytest.raises(ValueError, match=r"gives no model\.loss"):
        parse_config('[model]\ncheckpoint = "a.safetensors"\n[data]\nfile = "a.npz"', folder=tmp_path)
