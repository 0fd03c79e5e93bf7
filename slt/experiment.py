"""From a configuration to results: the profile over localisations of a trained model, and the validation suite."""

import hashlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.progress import Progress

from slt.cache import cached
from slt.calibration import Calibration, calibrate
from slt.comparison import Subject, mlp_subject, potential_subject
from slt.config import Config, read_config, target_hash
from slt.criteria import estimate_criteria
from slt.draws import Result, ValidationRow
from slt.estimate import estimate_llc, llc_profile
from slt.estimators.free_energy import FreeEnergy
from slt.evidence import estimate_free_energy
from slt.geometry.volume import VolumeRow
from slt.series import Series, estimate_series
from slt.targets import networks
from slt.targets.data import load_npz, split
from slt.targets.potentials import Potential, potential, potentials
from slt.targets.target import Target, loss_target, potential_target
from slt.volumes import basin_volumes

VALIDATION_NBETA = 1e4
QUICK = ("pow2", "pow4", "quad_r5_d20", "x2y2", "x2y4", "x2y2z2", "parabola", "cusp", "abx_truth0", "rrr_2_2_2_0")
"""A case of each kind, for `slt validate --suite quick`."""


def run_config(config: Config, *, progress: bool = False, checkpoint: Path | None = None) -> list[Result]:
    """The results of a configuration, one for each localisation.

    Raises:
        ValueError: a model or data file that does not fit, or an option `estimate_llc` refuses.
    """
    options = _options(config) | {"progress": progress, "checkpoint": checkpoint}
    if config.model.builtin is not None:
        entry, nbeta = potential(config.model.builtin), config.posterior.inverse_temperature
        if nbeta is None:
            raise ValueError(
                "posterior.inverse_temperature is missing; for a builtin potential it is n beta, e.g. 10000."
            )
        gammas = config.posterior.localization or (1.0,)
        return llc_profile(lambda g: _potential_target(entry, nbeta, g), gammas, **options)
    build, facts = _network_target(config)
    gammas = config.posterior.localization or (build(None).localization,)
    results = llc_profile(build, gammas, **options)
    return [result._replace(diagnostics=result.diagnostics | facts) for result in results]


def run_criteria(config: Config, *, progress: bool = False) -> Result:
    """Criteria of a configuration's network at beta = 1, unless it gives another, with its held-out rows as test data.

    Of several localisations it takes the least: there the posterior is nearest to that of the model's own prior.

    Raises:
        ValueError: a potential, which has no data, or an option `estimate_criteria` refuses.
    """
    if config.model.builtin is not None:
        raise ValueError(f"criteria need a network with data; model.builtin is the potential {config.model.builtin!r}.")
    posterior = config.posterior
    if posterior.inverse_temperature is None:
        posterior = posterior.model_copy(update={"inverse_temperature": 1.0})
    build, facts = _network_target(config.model_copy(update={"posterior": posterior}))
    target = build(min(posterior.localization, default=None))
    assert config.data.file is not None
    rows = load_npz(config.data.file, scale=config.data.scale or 1.0)
    _, test = split(rows, config.data.num_test or 0, seed=config.data.split_seed or 0)
    test = test if len(test["targets"]) else None
    result = estimate_criteria(target, test_data=test, progress=progress, **_options(config))
    return result._replace(diagnostics=result.diagnostics | facts)


def run_free_energy(config: Config) -> FreeEnergy:
    """Free energy of a configuration's network at its n beta, or of its potential; of several localisations the least.

    Raises:
        ValueError: an improper prior, for a network without localisation or weight decay.
    """
    gamma = min(config.posterior.localization, default=None)
    if config.model.builtin is not None:
        nbeta = config.posterior.inverse_temperature or VALIDATION_NBETA
        target = _potential_target(potential(config.model.builtin), nbeta, gamma)
    else:
        target = _network_target(config)[0](gamma)
    return estimate_free_energy(target, seed=config.run.seed)


def run_series(
    configs: Mapping[float, Config], folder: Path, *, measures: Sequence[str] = (), progress: bool = False
) -> Series:
    """One estimate for each checkpoint, at one localisation: the one given, or the default at the last checkpoint.

    Raises:
        ValueError: several localisations, checkpoints that are no networks, or an unknown measure.
        OSError: the disk is full; what was stored before is whole.
    """
    last = configs[max(configs)]
    if len(last.posterior.localization) > 1:
        raise ValueError(
            f"posterior.localization is {last.posterior.localization}; a series is run at one: give one value or none."
        )
    gamma = last.posterior.localization[0] if last.posterior.localization else None
    gamma = _network_target(last)[0](None).localization if gamma is None else gamma

    def build(config: Config) -> tuple[Target, dict[str, float]]:
        target, facts = _network_target(config)
        return target(gamma), facts

    return estimate_series(build, configs, folder=folder, measures=measures, progress=progress, **_options(last))


def calibrate_config(config: Config) -> Calibration:
    """The calibration of a configuration's target, around its first localisation.

    Raises:
        ValueError: a potential of the catalogue, which is sampled without a step to choose.
    """
    if config.model.checkpoint is None:
        raise ValueError("calibrate: give a trained network's checkpoint; a builtin potential needs no calibration.")
    gamma = config.posterior.localization[0] if config.posterior.localization else None
    return calibrate(_network_target(config)[0](gamma), seed=config.run.seed)


def config_volumes(config: Config, *, threshold: float) -> list[VolumeRow]:
    """Basin volumes of a configuration's model, of height `threshold` [nats/datum].

    Raises:
        ValueError: what `basin_volumes` refuses.
    """
    if config.model.builtin is not None:
        entry = potential(config.model.builtin)
        target = _potential_target(entry, 1.0, 1.0 if "gaussian" in entry.priors else None)
    else:
        target = _network_target(config)[0](None)
    return basin_volumes(target, threshold=threshold, seed=config.run.seed)


def subjects_of(sources: Sequence[str]) -> tuple[dict[str, Subject], str]:
    """What `slt compare` is given, by name: configurations, checkpoints and names of the catalogue; and the TOML text.

    Raises:
        FileNotFoundError, ValueError: a source that is neither a file that can be read nor a name of the catalogue.
    """
    subjects, texts = {}, []
    for source in sources:
        if Path(source).suffix in (".toml", ".safetensors"):
            config, text = read_config(source)
            name, subject = Path(source).stem, _config_subject(config)
        else:
            name, subject, text = source, potential_subject(source), f'[model]\nbuiltin = "{source}"\n'
        if name in subjects:
            raise ValueError(f"compare: {name!r} is given twice; each minimum needs a name of its own.")
        subjects[name] = subject
        texts.append(f"# {name}\n{text}")
    return subjects, "\n".join(texts)


def _config_subject(config: Config) -> Subject:
    """At the first localisation of the configuration."""
    posterior = config.posterior
    gamma = posterior.localization[0] if posterior.localization else None
    if config.model.builtin is not None:
        nbeta = posterior.inverse_temperature or VALIDATION_NBETA
        return potential_subject(config.model.builtin, nbeta=nbeta, localization=1.0 if gamma is None else gamma)
    if posterior.parameters:
        raise ValueError(
            "compare: posterior.parameters selects a block; leave it out, since a comparison is of whole models."
        )
    assert config.model.checkpoint is not None
    assert config.data.file is not None
    params, metadata = networks.load_checkpoint(config.model.checkpoint)
    rows = load_npz(config.data.file, scale=config.data.scale or 1.0)
    train, test = split(rows, config.data.num_test or 0, seed=config.data.split_seed or 0)
    return mlp_subject(
        params,
        train,
        test if len(test["targets"]) else None,
        activation=metadata["activation"],
        loss=config.model.loss or "cross_entropy",
        inverse_temperature=posterior.inverse_temperature,
        localization=gamma,
        weight_decay=float(metadata.get("weight_decay", 0.0)),
    )


def sweep(configs: Sequence[Config], folder: str | Path, *, map: Callable[..., Any] = map) -> list[list[Result]]:
    """The results of many configurations, computed wherever `map` runs them and stored in a folder as they are done.

    A call that was stopped, or lost workers, goes on where it was: a finished configuration is found by its content, an
    unfinished one resumes from its checkpoint, and both give the same bits as an undisturbed sweep. On a SLURM cluster,
    with the package dask-jobqueue:

        cluster = dask_jobqueue.SLURMCluster(cores=4, processes=1, memory="16GB", walltime="04:00:00")
        cluster.adapt(maximum=50)
        sweep(configs, "/shared/sweep", map=distributed.Client(cluster).map)

    Args:
        folder: that all workers can write to.
        map: (function, *iterables) -> results or futures: the builtin, or `map` of a Dask `Client`.

    Raises:
        Exception: the first that a configuration raised, after all others are done and stored.
    """
    tasks = list(map(_sweep_one, configs, [Path(folder).resolve()] * len(configs)))
    failures: list[Exception] = []
    for task in tasks:
        try:
            done = task.result() if hasattr(task, "result") else task
        except Exception as error:  # a worker that was lost too often
            done = error
        failures += [done] if isinstance(done, Exception) else []
    if failures:
        failures[0].add_note(f"{len(tasks) - len(failures)} of {len(tasks)} configurations are done and stored.")
        raise failures[0]
    return [cached(Path(folder).resolve(), _content(config), _refuse)[0] for config in configs]


def _sweep_one(config: Config, folder: Path) -> str | Exception:
    """The name under which the results are stored, or what went wrong, lest it stop the others."""
    name = _content(config)
    try:
        cached(folder, name, lambda checkpoint: run_config(config, checkpoint=checkpoint))
    except Exception as error:
        return error
    return name


def _content(config: Config) -> str:
    """SHA-256 of a configuration without its paths, of the files it names, and of the version of the package."""
    text = config.model_dump_json(exclude={"model": {"checkpoint"}, "data": {"file"}, "run": {"output"}})
    return hashlib.sha256(f"{text}{target_hash(config)}{metadata.version('slt-toolkit')}".encode()).hexdigest()


def _refuse(checkpoint: Path) -> list[Result]:
    raise FileNotFoundError(
        f"sweep: a worker said it was done, but {checkpoint}.nc is not here; give a folder that all workers share."
    )


def _options(config: Config) -> dict[str, Any]:
    """What a configuration says about the run, as options of `estimate_llc`."""
    run = config.run
    given = {"tolerance": run.tolerance, "num_chains": run.chains, "max_gradients": run.max_gradients}
    options = {"seed": run.seed, "sampler": run.sampler}
    return options | {name: value for name, value in given.items() if value is not None}


def validate(
    cases: Sequence[str] | None = None, *, suite: str = "quick", seeds: Sequence[int] = (0,), progress: bool = False
) -> Iterator[ValidationRow]:
    """Default estimates against exact values at n beta = 1e4: "name" under N(w*, I), "name@box" under the box's prior.

    Raises:
        ValueError: an unknown suite or case, or one without an exact value.
    """
    if suite not in ("quick", "full"):
        raise ValueError(f"validate: suite is {suite!r}; it must be 'quick' or 'full'.")
    names = list(cases) if cases else list(QUICK) if suite == "quick" else _full_suite()
    with Progress(disable=not (progress and sys.stdout.isatty()), transient=True) as bar:
        task = bar.add_task("validating", total=len(names) * len(seeds))
        for name in names:
            for seed in seeds:
                bar.update(task, description=f"{name}, seed {seed}")
                with jax.enable_x64(True):
                    row = _validate_one(name, seed)
                bar.advance(task)
                yield row


def _full_suite() -> list[str]:
    known = [entry for entry in potentials().values() if entry.exact is not None]
    suffix = {"gaussian": "", "uniform": "@box"}
    return [entry.name + suffix[prior] for entry in known for prior in entry.priors]


def _validate_one(name: str, seed: int) -> ValidationRow:
    base, _, prior = name.partition("@")
    entry = potential(base)
    if prior not in ("", "box") or {"": "gaussian", "box": "uniform"}[prior] not in entry.priors:
        raise ValueError(
            f"validate: {name!r} is not a case; {base} has the priors {', '.join(entry.priors)} ('@box' is uniform)."
        )
    if entry.exact is None:
        raise ValueError(f"validate: {base} has no exact finite-n value; `slt potentials` shows which have.")
    gamma = None if prior else 1.0
    exact = entry.exact(VALIDATION_NBETA, localization=gamma).mean
    started = time.perf_counter()
    result = estimate_llc(_potential_target(entry, VALIDATION_NBETA, gamma), seed=seed)
    estimate = result.estimates["llc"]
    return ValidationRow(
        case=name,
        rlct=float(entry.rlct),
        multiplicity=entry.multiplicity,
        nbeta=VALIDATION_NBETA,
        exact=exact,
        estimate=estimate,
        z=(estimate.value - exact) / estimate.mcse,
        status=result.verdict.status,
        seconds=time.perf_counter() - started,
        seed=seed,
    )


def _potential_target(entry: Potential, nbeta: float, gamma: float | None) -> Target:
    minimum = jnp.asarray(entry.minimum, float)
    if gamma is None:
        return potential_target(entry.energy, minimum, nbeta=nbeta, box=entry.box, log_weight=entry.log_weight)
    return potential_target(entry.energy, minimum, nbeta=nbeta, localization=gamma)


def _network_target(config: Config) -> tuple[Callable[[float | None], Target], dict[str, float]]:
    """gamma -> Target of a checkpoint on its training rows, and losses and accuracies to report beside it."""
    assert config.model.checkpoint is not None
    assert config.data.file is not None
    params, metadata = networks.load_checkpoint(config.model.checkpoint)
    rows = load_npz(config.data.file, scale=config.data.scale or 1.0)
    train, test = split(rows, config.data.num_test or 0, seed=config.data.split_seed or 0)
    loss = networks.mlp_loss(metadata["activation"], config.model.loss or "cross_entropy")

    globs = config.posterior.parameters

    def build(gamma: float | None) -> Target:
        return loss_target(
            loss,
            params,
            train,
            inverse_temperature=config.posterior.inverse_temperature,
            localization=gamma,
            weight_decay=float(metadata.get("weight_decay", 0.0)),
            trainable=globs or None,
        )

    facts = {"train_loss": float(np.mean(loss(params, train)))}
    logits = {"train": networks.mlp_apply(params, jnp.asarray(train["inputs"]), metadata["activation"])}
    if len(test["targets"]):
        facts["test_loss"] = float(np.mean(loss(params, test)))
        logits["test"] = networks.mlp_apply(params, jnp.asarray(test["inputs"]), metadata["activation"])
    if config.model.loss == "cross_entropy":
        for name, part in (("train", train), ("test", test)):
            if name in logits:
                facts[f"{name}_accuracy"] = float(networks.accuracy(logits[name], jnp.asarray(part["targets"])))
    return build, facts
