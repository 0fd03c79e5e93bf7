"""What a configuration is about, its files read once: a trained network, a potential, or a function of the user's own.

A function is named as "package.module:function" and found from the current folder on. Naming it runs its module. It
returns a `Target`, (model, loss, data) as `model_target` takes them, or a `Subject` with all that certificates need.
"""

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from slt._types import Batch, Params
from slt.app.config import Config
from slt.catalogue.registry import potential, target_of
from slt.estimate.comparison import Subject, mlp_subject, potential_subject
from slt.estimate.comparison.subjects import BIAS_STD
from slt.pac_bayes.laws import mlp_law, unflatten
from slt.targets import networks
from slt.targets.data import Split, load_npz, randomised, split, two_classes
from slt.targets.interop import model_target
from slt.targets.minimise import polish
from slt.targets.target import Target, loss_target, relocated

POTENTIAL_NBETA = 1e4
"""n beta of a potential, which has no data, where none is given."""


class Problem(NamedTuple):
    """One configuration, ready to be asked.

    build: gamma, or None for the default -> Target. subject: gamma -> all that a comparison can use.
    localization: those that were given. test_data: rows set aside, or None. facts: losses and accuracies to report.
    """

    build: Callable[[float | None], Target]
    subject: Callable[[float | None], Subject]
    localization: tuple[float, ...]
    facts: dict[str, float]
    test_data: Batch | None = None

    @property
    def first(self) -> float | None:
        """The first localisation asked for, None for the default."""
        return self.localization[0] if self.localization else None

    @property
    def least(self) -> float | None:
        """The least: there the posterior is nearest to that of the model's own prior."""
        return min(self.localization, default=None)


def problem(config: Config) -> Problem:
    """The problem of a configuration.

    Raises:
        ValueError: a model, data file or function that does not fit, with what is expected.
    """
    if config.model.builtin is not None:
        return _potential(config)
    if config.model.function is not None:
        return _function(config)
    return _trained(config) if config.model.hidden is not None else _checkpoint(config)


def _potential(config: Config) -> Problem:
    assert config.model.builtin is not None
    entry = potential(config.model.builtin)
    nbeta = config.posterior.inverse_temperature or POTENTIAL_NBETA
    default = 1.0 if "gaussian" in entry.priors else None

    def subject(gamma: float | None) -> Subject:
        return potential_subject(entry, nbeta=nbeta, localization=default if gamma is None else gamma)

    def build(gamma: float | None) -> Target:
        return target_of(entry, nbeta=nbeta, localization=default if gamma is None else gamma)

    return Problem(build, subject, config.posterior.localization, {})


def _rows(config: Config) -> Split:
    """Training and test rows, as the configuration wants their labels."""
    data = config.data
    assert data.file is not None
    rows = load_npz(data.file, scale=data.scale or 1.0)
    if data.positive:
        rows = two_classes(rows, data.positive)
    train, test = split(rows, data.num_test or 0, seed=data.split_seed or 0)
    if data.label_noise:
        train = randomised(train, data.label_noise, np.random.default_rng([data.split_seed or 0, 1]))
    return Split(train, test)


def _trained(config: Config) -> Problem:
    """A network that is trained here, with the weight decay 1/n of an initial law of unit width."""
    assert config.model.hidden is not None
    parts = _rows(config)
    inputs, labels = parts.train["inputs"], parts.train["targets"]
    if labels.dtype.kind != "i" or labels.ndim != 1 or inputs.ndim != 2:
        raise ValueError(
            f"model.hidden: the inputs have shape {inputs.shape} and the targets {labels.dtype} {labels.shape}; a "
            "classifier takes (datum, feature) and one whole label each."
        )
    widths = (inputs.shape[1], *config.model.hidden, int(labels.max()) + 1)
    like = jax.eval_shape(lambda key: networks.mlp_init(key, widths), jax.random.key(0))
    draw = mlp_law(widths, bias_std=BIAS_STD).draw(jax.random.key(config.run.seed), 1)[0]
    start = unflatten(like)(jnp.asarray(draw, jnp.float32))
    decay, steps = 1 / len(labels), config.certificate.train_steps
    loss = networks.mlp_loss("tanh", "cross_entropy")
    params = polish(loss, start, parts.train, weight_decay=decay, adam_steps=steps, lbfgs_steps=500, learning_rate=0.03)
    return _network(config, params, parts, "tanh", decay, start)


def _checkpoint(config: Config) -> Problem:
    assert config.model.checkpoint is not None
    params, metadata = networks.load_checkpoint(config.model.checkpoint)
    if "activation" not in metadata:
        raise ValueError(
            f"{config.model.checkpoint} does not say how its network computes: `activation` is missing from its "
            'metadata. For a model of your own give model.function = "package.module:function", a function that '
            "returns (model, loss, data) as `slt.model_target` takes them."
        )
    initial = None if config.model.initial is None else networks.load_checkpoint(config.model.initial)[0]
    activation, decay = metadata["activation"], metadata.get("weight_decay", 0.0)
    parts, where = _rows(config), f"{config.model.checkpoint} on {config.data.file}"
    for rows in (parts.train, *([parts.test] if len(parts.test["targets"]) else [])):
        networks.check_mlp(params, activation, config.model.loss or "cross_entropy", rows, where)
    if not isinstance(decay, int | float):
        raise ValueError(f"{config.model.checkpoint} has the weight_decay {decay!r} in its metadata; write a number.")
    return _network(config, params, parts, activation, float(decay), initial)


def _network(
    config: Config, params: Params, parts: Split, activation: str, weight_decay: float, initial: Params | None
) -> Problem:
    kind = config.model.loss or "cross_entropy"
    loss = networks.mlp_loss(activation, kind)
    options = {"inverse_temperature": config.posterior.inverse_temperature, "weight_decay": weight_decay}
    test_data = parts.test if len(parts.test["targets"]) else None

    def build(gamma: float | None) -> Target:
        chosen = config.posterior.parameters or None
        return loss_target(loss, params, parts.train, localization=gamma, trainable=chosen, **options)

    def subject(gamma: float | None) -> Subject:
        if config.posterior.parameters:
            raise ValueError(
                "compare: posterior.parameters selects a block; leave it out, since a comparison is of whole models."
            )
        return mlp_subject(
            params, parts.train, test_data, activation=activation, loss=kind, initial=initial, localization=gamma,
            **options,
        )  # fmt: skip

    facts = _facts(params, activation, kind, parts)
    return Problem(build, subject, config.posterior.localization, facts, test_data)


def _facts(params: Any, activation: str, kind: str, parts: Split) -> dict[str, float]:
    """Losses, and accuracies of a classifier, on the training and the test rows."""
    facts = {}
    for name, rows in (("train", parts.train), ("test", parts.test)):
        if not len(rows["targets"]):
            continue
        facts[f"{name}_loss"] = float(np.mean(networks.mlp_loss(activation, kind)(params, rows)))
        if kind == "cross_entropy":
            logits = networks.mlp_apply(params, jnp.asarray(rows["inputs"]), activation)
            facts[f"{name}_accuracy"] = float(networks.accuracy(logits, jnp.asarray(rows["targets"])))
    return facts


def _function(config: Config) -> Problem:
    assert config.model.function is not None
    given = _imported(config.model.function)()
    posterior = config.posterior
    if isinstance(given, tuple) and not isinstance(given, Target) and len(given) == 3:
        model, loss, data = given
        options = {"inverse_temperature": posterior.inverse_temperature, "trainable": posterior.parameters or None}

        def build(gamma: float | None) -> Target:
            return model_target(model, loss, data, localization=gamma, **options)

    elif isinstance(given, Target | Subject):
        of = given.target if isinstance(given, Subject) else given
        if posterior.parameters:
            raise ValueError(
                f"{config.model.function} returns a {type(given).__name__}, whose parameters are chosen already; leave "
                "posterior.parameters out, or return (model, loss, data)."
            )

        def build(gamma: float | None) -> Target:
            return relocated(of, posterior.inverse_temperature, gamma)

    else:
        raise ValueError(
            f"{config.model.function} returned a {type(given).__name__}; it must return a Target, a Subject, or "
            "(model, loss, data) as `slt.model_target` takes them."
        )
    whole = given if isinstance(given, Subject) else None

    def subject(gamma: float | None) -> Subject:
        return Subject(build(gamma)) if whole is None else whole._replace(target=build(gamma))

    return Problem(build, subject, posterior.localization, {}, whole.test_data if whole else None)


def _imported(name: str) -> Callable[[], Any]:
    """The function of "package.module:function", whose module is run for it."""
    module, _, attribute = name.partition(":")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise ValueError(
            f"model.function is {name!r}, but there is no module {error.name!r} in {Path.cwd()} or among the installed "
            "packages; give package.module:function, seen from the current folder."
        ) from None
    function = getattr(found, attribute, None)
    if not callable(function):
        names = [key for key, value in vars(found).items() if inspect.isfunction(value) and value.__module__ == module]
        raise ValueError(f"model.function is {name!r}, but {module} has no function {attribute!r}; it has {names}.")
    return function


def source_hash(config: Config) -> str:
    """SHA-256 of what is estimated: the checkpoint and the data, the potential's name, or the function's module."""
    model = config.model
    digest = hashlib.sha256((model.builtin or model.function or "").encode())
    module = sys.modules.get(model.function.partition(":")[0]) if model.function else None
    if model.hidden is not None:
        digest.update(repr((model.hidden, config.run.seed, config.certificate.train_steps)).encode())
    if config.data.positive:
        digest.update(repr((config.data.positive, config.data.label_noise)).encode())
    files = [
        model.checkpoint,
        model.initial,
        config.data.file,
        Path(module.__file__) if module and module.__file__ else None,
    ]
    for path in files:
        digest.update(path.read_bytes() if path else b"")
    return digest.hexdigest()
