"""The configuration of a run, read from TOML or derived from a checkpoint, with errors a person can act on.

Paths to read are relative to the file that names them; the output path is relative to the current directory.
"""

import difflib
import os
import re
import tomllib
import typing
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from slt.targets.networks import check_architecture, load_checkpoint

Seed = Annotated[int, Field(ge=0, lt=2**32)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
FUNCTION = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, int | float) else value


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ModelConfig(_Section):
    """What is estimated: a trained network's checkpoint, a potential of the catalogue, or a function of one's own."""

    checkpoint: Path | None = None
    """A .safetensors file of a network of `slt.targets.networks`; it names its architecture, loss, data and split."""
    builtin: str | None = None
    """A name of `slt potentials`."""
    function: Annotated[str, Field(pattern=FUNCTION)] | None = None
    """package.module:function, which returns a Target or (model, loss, data); naming it runs its module."""
    hidden: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    """Hidden widths of a tanh classifier that is trained here, from a draw of its initial law."""
    initial: Path | None = None
    """Checkpoint that the training of `checkpoint` started from: certificates centre their prior there."""
    loss: Literal["cross_entropy", "squared_error"] | None = None
    """Loss per datum; the checkpoint's own if left out."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(given is not None for given in (self.checkpoint, self.builtin, self.function, self.hidden)) != 1:
            raise ValueError(
                "give exactly one of `checkpoint` (a safetensors file), `builtin` (a potential), `function` "
                "(package.module:function) and `hidden` (widths of a network to train)"
            )
        if self.initial is not None and self.checkpoint is None:
            raise ValueError("`initial` is where the training of a `checkpoint` started; give both, or neither")
        if self.hidden is not None and self.loss == "squared_error":
            raise ValueError("a network of `hidden` widths is a classifier; leave `loss` out")
        return self


class DataConfig(_Section):
    """What it was trained on; every value left out is the checkpoint's own."""

    file: Path | None = None
    """An npz file with `inputs` and `targets`."""
    scale: Positive | None = None
    """Inputs are divided by it."""
    num_test: Annotated[int, Field(ge=0)] | None = None
    """Rows set aside as test data."""
    split_seed: Seed | None = None
    """Which rows."""
    positive: tuple[int, ...] = ()
    """Two classes: these labels against all others."""
    label_noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the training labels of two classes that is drawn anew by a fair coin."""

    @model_validator(mode="after")
    def _coins(self) -> Self:
        if self.label_noise and not self.positive:
            raise ValueError("label_noise is for two classes; name those of one by `positive`")
        return self


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

    seed: Seed = 0
    """Of every random number."""
    sampler: str = "auto"
    """auto, tempering or chains."""
    chains: Annotated[int, Field(ge=2)] | None = None
    """Even."""
    tolerance: Positive | None = None
    """Standard error asked, relative to max(estimate, 1/4) [1]."""
    max_gradients: Annotated[int, Field(gt=0)] | None = None
    """Budget per localisation [gradients of one datum]."""
    max_seconds: Positive | None = None
    """No round of chains is begun that would not end within them, per localisation."""
    output: Path | None = None
    """Where the result goes, .zarr or .nc; results/<name of the config>.zarr if left out."""


class SeriesConfig(_Section):
    """Many checkpoints of one training, for `slt series`."""

    checkpoints: str
    """Glob of safetensors files; their step is "step" of their metadata, or the last number in their name."""
    measures: tuple[str, ...] = ()
    """Beside the coefficient, "singular_fluctuation" and "volume"; see `estimate_series`."""


class InfluenceConfig(_Section):
    """What `slt influence` looks at; see `estimate_influence` and `estimate_susceptibility`."""

    rows: Annotated[int, Field(ge=1)] | None = None
    """Training rows whose influence is asked, evenly spaced, at least so many; all if left out."""
    observable: Literal["test", "each test row", "rows"] | None = None
    """What they influence: the mean test loss, that of each test row, or one another; the first there is."""
    components: dict[str, tuple[str, ...]] = {}
    """Globs of leaves by name, e.g. {first = ["layer_0/*"]}: given, how each of them answers to those rows instead."""


class CertificateConfig(_Section):
    """How the certificates of `slt bound` are made; see `certify`."""

    delta: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Probability that a certificate may fail."""
    objective: Literal["classic", "quadratic", "lambda", "kl"] = "kl"
    """What the Gaussian posterior minimises."""
    steps: Annotated[int, Field(ge=1)] = 3000
    """Of that training."""
    learning_rate: Positive = 1e-2
    """Of that training."""
    train_steps: Annotated[int, Field(ge=1)] = 1500
    """Of Adam, for a network that is trained here: that of model.hidden, and the center of a learnt prior."""
    num_draws: Annotated[int, Field(ge=1)] = 4000
    """Draws of a posterior, all paid for."""
    prior_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Part of the training data that a learnt prior sees; it does not count in its bound."""
    step_size: Positive = 0.2
    """Of the gradient descent of the pushforward."""
    times: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0, 10, 20, 40, 80, 160)
    """Steps at which it may stop, all paid for."""


class Config(_Section):
    """One model, and what is asked of it: the configuration of every command."""

    model: ModelConfig
    data: DataConfig = DataConfig()
    posterior: PosteriorConfig = PosteriorConfig()
    run: RunConfig = RunConfig()
    influence: InfluenceConfig = InfluenceConfig()
    certificate: CertificateConfig = CertificateConfig()


def keys(root: type[BaseModel]) -> list[tuple[str, str]]:
    """Every key of a configuration with what it means and its default, for `--help`."""
    found = []
    for section, outer in root.model_fields.items():
        for key, field in getattr(outer.annotation, "model_fields", {}).items():
            default = "" if field.is_required() or field.default in (None, ()) else f" [{field.default}]"
            found.append((f"{section}.{key}", f"{field.description or ''}{default}".strip()))
    return found


def read_config(path: str | os.PathLike) -> tuple[Config, str]:
    """The checked configuration of a TOML file, or of a checkpoint with every default, and its TOML text.

    Raises:
        FileNotFoundError: no such file, or a file it names does not exist.
        ValueError: neither TOML nor a checkpoint, an unknown key, or a value of the wrong type or range.
    """
    if re.match(FUNCTION, str(path)):
        text = f'[model]\nfunction = "{path}"\n'
        return parse_config(text, name=str(path)), text
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no file {path}; give a .toml configuration, a .safetensors checkpoint, or a function of your "
            "own as package.module:function."
        )
    if path.suffix == ".safetensors":
        text = f'[model]\ncheckpoint = "{path.name}"\n'
    elif path.suffix == ".toml":
        text = _text(path)
    else:
        raise ValueError(
            f"{path} is neither a .toml configuration nor a .safetensors checkpoint of this program; give one "
            "of these. "
            "Weights of other programs are used in Python: slt.model_target(model, loss, data, weights=path)."
        )
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
    sections = _sections(text, name)
    return _complete(_validated(sections, name, Config), name, folder)


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
        raise FileNotFoundError(
            f"There is neither a folder of checkpoints nor a .toml configuration at {path}; give one."
        )
    sections = _sections(text, str(path))
    series = _validated(sections.pop("series", {}), f"The section [series] of {path}", SeriesConfig)
    if series.checkpoints.startswith("/") or not series.checkpoints:
        raise ValueError(f"{path}: checkpoints is {series.checkpoints!r}; give a pattern relative to {folder}.")
    files = sorted(folder.glob(series.checkpoints))
    if not files:
        raise FileNotFoundError(f"{path}: no checkpoint matches {series.checkpoints!r} in {folder}.")
    found: dict[float, Config] = {}
    for file in files:
        given = sections.get("model", {})
        model = given | {"checkpoint": file.name} if isinstance(given, dict) else given
        config = _complete(_validated(sections | {"model": model}, str(path), Config), str(path), file.parent)
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
    found = step if step is not None else numbers[-1]
    try:
        return float(found)
    except (TypeError, ValueError):
        raise ValueError(f"{file} has the step {found!r} in its metadata; write a number.") from None


def _sections(text: str, name: str) -> dict[str, typing.Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{name} is not valid TOML: {error}; correct it there.") from None
    except RecursionError:
        raise ValueError(f"{name} is nested too deeply; write sections of plain values.") from None


def _validated[Checked: BaseModel](sections: typing.Any, name: str, root: type[Checked]) -> Checked:
    try:
        return root.model_validate(sections)
    except ValidationError as error:
        problems = " ".join(_explain(detail, root) for detail in error.errors())
        raise ValueError(f"{name} cannot be used. {problems}") from None


def _complete(config: Config, name: str, folder: Path) -> Config:
    """Resolve paths and take from the checkpoint what the configuration leaves out."""
    if config.model.hidden is not None:
        if config.data.file is None:
            raise ValueError(f"{name} gives no data.file, on which the network of model.hidden is trained; add it.")
        file = _existing(folder / config.data.file, f"{name}: data.file")
        return config.model_copy(update={"data": config.data.model_copy(update={"file": file})})
    if config.model.checkpoint is None:
        return config
    checkpoint = _existing(folder / config.model.checkpoint, f"{name}: model.checkpoint")
    params, metadata = load_checkpoint(checkpoint)
    check_architecture(params, str(checkpoint))
    file = folder / config.data.file if config.data.file else None
    if file is None and "data" in metadata:
        file = checkpoint.parent / str(metadata["data"])
    loss = config.model.loss or metadata.get("loss")
    if file is None or loss is None:
        missing = "data.file" if file is None else "model.loss"
        raise ValueError(f"{name} gives no {missing}, and neither does {checkpoint}; add it to the configuration.")
    data = {
        key: given if (given := getattr(config.data, key)) is not None else metadata.get(key, default)
        for key, default in (("scale", 1.0), ("num_test", 0), ("split_seed", 0))
    }
    given = config.model.initial
    initial = None if given is None else _existing(folder / given, f"{name}: model.initial")
    known = {"checkpoint": checkpoint, "loss": loss, "initial": initial}
    data["file"] = _existing(file, f"{name}: data.file")
    return config.model_copy(
        update={
            "model": config.model.model_copy(update=known),
            "data": _validated(config.data.model_dump() | data, f"{name}: [data]", DataConfig),
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
    message = detail["msg"].removeprefix("Value error, ").replace("Input should", "It must")
    message = message.replace("Input is not a valid path for <class 'pathlib._local.Path'>", "It must be a path")
    return f"`{place}` is {detail['input']!r:.80}: {message[0].lower()}{message[1:]}."


def _known_keys(location: tuple[int | str, ...], section: typing.Any) -> list[str]:
    for part in location:
        section = section.model_fields[part].annotation
    return list(section.model_fields)
