"""The configuration of a run, read from TOML or derived from a checkpoint, with errors a person can act on.

Paths to read are relative to the file that names them; the output path is relative to the current directory.
"""

import difflib
import hashlib
import os
import re
import tomllib
import typing
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from slt.targets.networks import load_checkpoint

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, int | float) else value


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelConfig(_Section):
    """What is estimated: a trained network's checkpoint, or a potential of the catalogue."""

    checkpoint: Path | None = None
    builtin: str | None = None
    loss: Literal["cross_entropy", "squared_error"] | None = None
    """Loss per datum; the checkpoint's own if left out."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.checkpoint is None) == (self.builtin is None):
            raise ValueError("give exactly one of `checkpoint` (a safetensors file) and `builtin` (a potential)")
        return self


class DataConfig(_Section):
    """What it was trained on; every value left out is the checkpoint's own."""

    file: Path | None = None
    scale: Positive | None = None
    """Inputs are divided by it."""
    num_test: Annotated[int, Field(ge=0)] | None = None
    split_seed: Annotated[int, Field(ge=0)] | None = None


class PosteriorConfig(_Section):
    """Which posterior: exp(-n beta L_n(w) - gamma / 2 |w - w*|^2)."""

    localization: Annotated[tuple[NonNegative, ...], BeforeValidator(_as_tuple)] = ()
    """gamma [1 / unit of w squared], one or several; empty means the default of `estimate_llc`."""
    inverse_temperature: Positive | None = None
    """beta, 1 / log n if left out; n beta for a potential, which has no data."""
    parameters: tuple[str, ...] = ()
    """Globs of the leaves to sample, e.g. "layer_1/*": the coefficient of a block, the rest held at w*; empty: all."""


class RunConfig(_Section):
    """How it is computed; None leaves the choice to `estimate_llc`."""

    seed: Annotated[int, Field(ge=0)] = 0
    sampler: str = "auto"
    chains: Annotated[int, Field(ge=2)] | None = None
    tolerance: Positive | None = None
    """Standard error asked, relative to max(estimate, 1/4) [1]."""
    max_gradients: Annotated[int, Field(gt=0)] | None = None
    """Budget per localisation [gradients of one datum]."""
    output: Path | None = None
    """Where the result goes, .zarr or .nc; results/<name of the config>.zarr if left out."""


class SeriesConfig(_Section):
    """Many checkpoints of one training, for `slt series`."""

    checkpoints: str
    """Glob of safetensors files; their step is "step" of their metadata, or the last number in their name."""
    measures: tuple[str, ...] = ()
    """Beside the coefficient, "singular_fluctuation" and "volume"; see `estimate_series`."""


class Config(_Section):
    """One run: what `slt estimate` does."""

    model: ModelConfig
    data: DataConfig = DataConfig()
    posterior: PosteriorConfig = PosteriorConfig()
    run: RunConfig = RunConfig()


class BinaryDataConfig(_Section):
    """Two classes: the labels in `positive` against all others."""

    file: Path
    scale: Positive = 1.0
    """Inputs are divided by it."""
    num_test: Annotated[int, Field(ge=2)]
    """Data set aside for the test set."""
    split_seed: Annotated[int, Field(ge=0)] = 0
    positive: Annotated[tuple[int, ...], Field(min_length=1)] = (1,)
    label_noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the training labels drawn anew by a fair coin."""


class NetworkConfig(_Section):
    """A fully connected tanh network with a normal initial law."""

    hidden: tuple[Annotated[int, Field(ge=1)], ...] = (4,)
    weight_scale: Positive = 1.0
    """Weights start as N(0, scale^2 / fan-in)."""
    bias_std: Positive = 0.3


class CertificateConfig(_Section):
    """How the certificates are made; see `slt.pac_bayes`."""

    delta: Annotated[float, Field(gt=0, lt=1)] = 0.05
    objective: Literal["classic", "quadratic", "lambda", "kl"] = "kl"
    """What the Gaussian posterior minimises."""
    steps: Annotated[int, Field(ge=1)] = 3000
    learning_rate: Positive = 1e-2
    train_steps: Annotated[int, Field(ge=1)] = 1500
    """Of Adam, for the network that a posterior starts from."""
    num_draws: Annotated[int, Field(ge=1)] = 4000
    """Draws of a posterior, all paid for."""
    prior_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Part of the training data that a learnt prior sees; it does not count in its bound."""
    step_size: Positive = 0.2
    """Of the gradient descent of the pushforward."""
    times: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0, 10, 20, 40, 80, 160)
    """Steps at which it may stop, all paid for."""


class MeasuresConfig(_Section):
    """Networks of one hidden layer for the table of three measures; none by default."""

    hidden: tuple[Annotated[int, Field(ge=1)], ...] = ()
    max_gradients: Annotated[int, Field(gt=0)] = 10_000_000
    """Budget of each learning coefficient [gradients of one datum]."""


class BoundRunConfig(_Section):
    """seed of everything; output: results/<name of the config>.zarr if left out."""

    seed: Annotated[int, Field(ge=0)] = 0
    output: Path | None = None


class BoundConfig(_Section):
    """What `slt bound` does."""

    data: BinaryDataConfig
    network: NetworkConfig = NetworkConfig()
    certificate: CertificateConfig = CertificateConfig()
    measures: MeasuresConfig = MeasuresConfig()
    run: BoundRunConfig = BoundRunConfig()


def read_bound_config(path: str | os.PathLike) -> tuple[BoundConfig, str]:
    """The checked configuration of `slt bound` and its TOML text; raises as `read_config`."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}; give a .toml configuration, e.g. data/bound.toml.")
    text = _text(path)
    try:
        config = BoundConfig.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not valid TOML: {error}.") from None
    except ValidationError as error:
        problems = " ".join(_explain(detail, BoundConfig) for detail in error.errors())
        raise ValueError(f"{path} cannot be used. {problems}") from None
    file = _existing(path.parent / config.data.file, f"{path}: data.file")
    return config.model_copy(update={"data": config.data.model_copy(update={"file": file})}), text


def read_config(path: str | os.PathLike) -> tuple[Config, str]:
    """The checked configuration of a TOML file, or of a checkpoint with every default, and its TOML text.

    Raises:
        FileNotFoundError: no such file, or a file it names does not exist.
        ValueError: neither TOML nor a checkpoint, an unknown key, or a value of the wrong type or range.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}; give a .toml configuration or a .safetensors checkpoint.")
    if path.suffix == ".safetensors":
        text = f'[model]\ncheckpoint = "{path.name}"\n'
    elif path.suffix == ".toml":
        text = _text(path)
    else:
        raise ValueError(f"{path} is neither a .toml configuration nor a .safetensors checkpoint; give one of these.")
    return parse_config(text, name=str(path), folder=path.parent), text


def parse_config(text: str, *, name: str = "configuration", folder: Path = Path()) -> Config:
    """As `read_config`, from the TOML text itself.

    Args:
        text: TOML.
        name: what error messages call it.
        folder: what its paths are relative to.

    Raises:
        FileNotFoundError: a file it names does not exist.
        ValueError: not TOML, an unknown key, or a value of the wrong type or range.
    """
    try:
        sections = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{name} is not valid TOML: {error}.") from None
    return _complete(_validated(sections, name), name, folder)


def read_series(path: str | os.PathLike) -> tuple[dict[float, Config], SeriesConfig, str]:
    """{step: configuration} of a TOML file with a section [series], or of a folder; that section; and the TOML text.

    Raises:
        FileNotFoundError: no such file or folder, or no checkpoint in it.
        ValueError: as `read_config`; two checkpoints of one step; a checkpoint without a step.
    """
    path = Path(path)
    if path.is_dir():
        text, folder = '[series]\ncheckpoints = "*.safetensors"\n', path
    elif path.suffix == ".toml" and path.is_file():
        text, folder = _text(path), path.parent
    else:
        raise FileNotFoundError(f"There is neither a folder of checkpoints nor a .toml configuration at {path}.")
    try:
        sections = tomllib.loads(text)
        series = SeriesConfig.model_validate(sections.pop("series", {}))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not valid TOML: {error}.") from None
    except ValidationError as error:
        problems = " ".join(_explain(detail, SeriesConfig) for detail in error.errors())
        raise ValueError(f"The section [series] of {path} cannot be used. {problems}") from None
    files = sorted(folder.glob(series.checkpoints))
    if not files:
        raise FileNotFoundError(f"{path}: no checkpoint matches {series.checkpoints!r} in {folder}.")
    found: dict[float, Config] = {}
    for file in files:
        model = sections.get("model", {}) | {"checkpoint": file.name}
        config = _complete(_validated(sections | {"model": model}, str(path)), str(path), file.parent)
        step = _step(file)
        if step in found:
            raise ValueError(f"{path}: {file.name} and another checkpoint both have the step {step:g}; keep one.")
        found[step] = config
    return dict(sorted(found.items())), series, text


def _step(file: Path) -> float:
    step = load_checkpoint(file)[1].get("step")
    numbers = re.findall(r"\d+", file.stem)
    if step is None and not numbers:
        raise ValueError(f"{file} has no step: write it into the metadata as `step`, or into the name of the file.")
    return float(step if step is not None else numbers[-1])


def target_hash(config: Config) -> str:
    """SHA-256 of what is estimated: the checkpoint and the data, or the potential's name."""
    digest = hashlib.sha256((config.model.builtin or "").encode())
    for path in (config.model.checkpoint, config.data.file):
        digest.update(path.read_bytes() if path else b"")
    return digest.hexdigest()


def _validated(sections: dict[str, typing.Any], name: str) -> Config:
    try:
        return Config.model_validate(sections)
    except ValidationError as error:
        problems = " ".join(_explain(detail) for detail in error.errors())
        raise ValueError(f"{name} cannot be used. {problems}") from None


def _complete(config: Config, name: str, folder: Path) -> Config:
    """Resolve paths and take from the checkpoint what the configuration leaves out."""
    if config.model.checkpoint is None:
        return config
    checkpoint = _existing(folder / config.model.checkpoint, f"{name}: model.checkpoint")
    _, metadata = load_checkpoint(checkpoint)
    file = folder / config.data.file if config.data.file else None
    if file is None and "data" in metadata:
        file = checkpoint.parent / metadata["data"]
    loss = config.model.loss or metadata.get("loss")
    if file is None or loss is None:
        missing = "data.file" if file is None else "model.loss"
        raise ValueError(f"{name} gives no {missing}, and neither does {checkpoint}; add it to the configuration.")
    data = {
        key: given if (given := getattr(config.data, key)) is not None else metadata.get(key, default)
        for key, default in (("scale", 1.0), ("num_test", 0), ("split_seed", 0))
    }
    return config.model_copy(
        update={
            "model": config.model.model_copy(update={"checkpoint": checkpoint, "loss": loss}),
            "data": DataConfig(file=_existing(file, f"{name}: data.file"), **data),
        }
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not valid TOML: byte {error.start} is not UTF-8; save it in that encoding."
        ) from None


def _existing(path: Path, what: str) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"{what}: there is no file {path}; paths are relative to the file that names them.")
    return path


def _explain(detail: typing.Any, root: typing.Any = Config) -> str:
    """One sentence for one problem pydantic found."""
    place = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        known = _known_keys(detail["loc"][:-1], root)
        near = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(known)}."
        return f"Unknown key `{place}`; {hint}"
    if detail["type"] == "missing":
        return f"`{place}` is missing; add it."
    message = detail["msg"].removeprefix("Value error, ")
    return f"`{place}` is {detail['input']!r}: {message[0].lower()}{message[1:]}."


def _known_keys(location: tuple[int | str, ...], section: typing.Any) -> list[str]:
    for part in location:
        section = section.model_fields[part].annotation
    return list(section.model_fields)
