"""From a configuration to results: one function a command, and sweeps over many configurations."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from slt.app.config import Config, PosteriorConfig, read_config
from slt.app.problem import problem, source_hash
from slt.draws import Result
from slt.estimate.calibration import Calibration, calibrate
from slt.estimate.comparison import Certificates, Subject, certify, compare, potential_subject
from slt.estimate.criteria import estimate_criteria
from slt.estimate.free_energy import estimate_free_energy
from slt.estimate.influence import estimate_influence, estimate_susceptibility
from slt.estimate.llc import llc_profile
from slt.estimate.series import Series, estimate_series
from slt.estimate.volume import basin_volumes
from slt.geometry.volume import VolumeRow
from slt.stats.free_energy import FreeEnergy
from slt.stats.response import Response
from slt.store.cache import cached, is_cached
from slt.targets.rows import as_rows
from slt.targets.target import Target


def run_config(config: Config, *, progress: bool = False, checkpoint: Path | None = None) -> list[Result]:
    """The results of a configuration, one for each localisation.

    Raises:
        ValueError: a model or data file that does not fit, or an option `estimate_llc` refuses.
    """
    if config.model.builtin is not None and config.posterior.inverse_temperature is None:
        raise ValueError("posterior.inverse_temperature is missing; for a builtin potential it is n beta, e.g. 10000.")
    asked = problem(config)
    options = _options(config) | {"progress": progress, "checkpoint": checkpoint}
    results = llc_profile(asked.build, asked.localization or (None,), **options)
    return [result._replace(diagnostics=result.diagnostics | asked.facts) for result in results]


def run_criteria(config: Config, *, progress: bool = False) -> Result:
    """Criteria of a configuration's model at beta = 1, unless it gives another, with its held-out rows as test data.

    Of several localisations it takes the least: there the posterior is nearest to that of the model's own prior.

    Raises:
        ValueError: a potential, which has no data, or an option `estimate_criteria` refuses.
    """
    if config.model.builtin is not None:
        raise ValueError(f"criteria need a network with data; model.builtin is the potential {config.model.builtin!r}.")
    posterior = config.posterior
    if posterior.inverse_temperature is None:
        posterior = posterior.model_copy(update={"inverse_temperature": 1.0})
    asked = problem(config.model_copy(update={"posterior": posterior}))
    target = asked.build(asked.least)
    result = estimate_criteria(target, test_data=asked.test_data, progress=progress, **_options(config))
    return result._replace(diagnostics=result.diagnostics | asked.facts)


def run_influence(config: Config, *, progress: bool = False) -> Response:
    """Influence of a configuration's training rows, or susceptibility of components to them; [influence] says which.

    Of several localisations it takes the first.

    Raises:
        ValueError: a potential, test rows that there are not, or what the two estimates refuse.
    """
    asked, section = problem(config), config.influence
    target = asked.build(asked.first)
    if target.read is None:
        raise ValueError(f"influence needs a model with data; {config.model.builtin!r} is a potential.")
    observed = None if section.rows is None else slice(0, None, max(target.num_data // section.rows, 1))
    options: dict[str, Any] = _options(config) | {"progress": progress}
    if section.components:
        return estimate_susceptibility(target, section.components, observed=observed, **options)
    kind = section.observable or ("rows" if asked.test_data is None else "test")
    if kind != "rows" and asked.test_data is None:
        raise ValueError(f'influence.observable is {kind!r}, but no rows are set aside as test data; take "rows".')
    observables = None if kind == "rows" else {"test loss": asked.test_data}
    if kind == "each test row":
        rows = as_rows(asked.test_data)
        count = len(jax.tree.leaves(rows)[0])
        observables = {f"test row {i}": jax.tree.map(lambda a, i=i: a[i : i + 1], rows) for i in range(count)}
    return estimate_influence(target, observed, observables, **options)


def run_free_energy(config: Config) -> FreeEnergy:
    """Free energy of a configuration's model at its n beta; of several localisations the least.

    Raises:
        ValueError: an improper prior, for a network without localisation or weight decay.
    """
    asked = problem(config)
    return estimate_free_energy(asked.build(asked.least), seed=config.run.seed)


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
    latest = problem(last)
    gamma = latest.build(None).localization if latest.first is None else latest.first

    def build(config: Config) -> tuple[Target, dict[str, float]]:
        asked = problem(config)
        return asked.build(gamma), asked.facts

    return estimate_series(build, configs, folder=folder, measures=measures, progress=progress, **_options(last))


def calibrate_config(config: Config) -> Calibration:
    """The calibration of a configuration's target, around its first localisation.

    Raises:
        ValueError: a potential of the catalogue, which is sampled without a step to choose.
    """
    if config.model.builtin is not None:
        raise ValueError("calibrate: give a trained network's checkpoint; a builtin potential needs no calibration.")
    asked = problem(config)
    return calibrate(asked.build(asked.first), seed=config.run.seed)


def config_volumes(config: Config, *, threshold: float) -> list[VolumeRow]:
    """Basin volumes of a configuration's model, of height `threshold` [nats/datum].

    Raises:
        ValueError: what `basin_volumes` refuses.
    """
    if config.model.builtin is not None:  # a height of K, not of n beta K
        config = config.model_copy(update={"posterior": PosteriorConfig(inverse_temperature=1.0)})
    return basin_volumes(problem(config).build(None), threshold=threshold, seed=config.run.seed)


def run_bounds(config: Config, *, measures: Sequence[str] = (), say: Callable[[str], None] = print) -> Certificates:
    """Certificates of a configuration's model, and the measures of a comparison beside them.

    Raises:
        ValueError: a model without data or zero-one loss, or an unknown measure.
    """
    asked = problem(config)
    subject = asked.subject(asked.first)
    found = certify(subject, seed=config.run.seed, say=say, **config.certificate.model_dump())
    if not measures:
        return found
    llc = {name: value for name, value in _options(config).items() if name != "seed"}
    delta = config.certificate.delta
    beside = compare(
        {"w*": subject}, measures=measures, seed=config.run.seed, delta=delta, options={"llc": llc}, say=say
    )
    return found._replace(subjects=beside.subjects, measures=beside.measures)


def subjects_of(sources: Sequence[str]) -> tuple[dict[str, Subject], str]:
    """What `slt compare` is given, by name: configurations, checkpoints and names of the catalogue; and the TOML text.

    Raises:
        FileNotFoundError, ValueError: a source that is neither a file that can be read nor a name of the catalogue.
    """
    subjects, texts = {}, []
    for source in sources:
        if Path(source).suffix in (".toml", ".safetensors") or ":" in source or Path(source).exists():
            config, text = read_config(source)
            asked = problem(config)
            name, subject = Path(source).stem, asked.subject(asked.first)
        else:
            name, subject, text = source, potential_subject(source), f'[model]\nbuiltin = "{source}"\n'
        if name in subjects:
            raise ValueError(f"compare: {name!r} is given twice; each minimum needs a name of its own.")
        subjects[name] = subject
        texts.append(f"# {name}\n{text}")
    return subjects, "\n".join(texts)


def sweep(
    configs: Sequence[Config], folder: str | Path, *, map: Callable[..., Any] = map, patience: float | None = None
) -> list[list[Result]]:
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
        patience: how long to wait for the next future [s], for ever by default: without workers none ever comes.

    Raises:
        Exception: the first that a configuration raised, after all others are done and stored.
        ConnectionError: the scheduler was lost. TimeoutError: patience has ended.
    """
    path = Path(folder).resolve()
    tasks = list(map(_sweep_one, configs, [path] * len(configs)))
    failures: list[Exception] = []
    for task in tasks:
        done = _outcome(task, patience)
        failures += [done] if isinstance(done, Exception) else []
        if isinstance(done, ConnectionError | TimeoutError):
            break  # the others would not come either
    if failures:
        stored = sum(is_cached(path, _content(config)) for config in configs)
        failures[0].add_note(
            f"{stored} of {len(configs)} configurations are done and stored; the same call computes the others alone."
        )
        raise failures[0]
    return [cached(path, _content(config), _refuse)[0] for config in configs]


def _outcome(task: Any, patience: float | None) -> Any:
    """What a task returned or raised; a lost scheduler and an ended patience say so."""
    try:
        if not hasattr(task, "result"):
            return task
        return task.result() if patience is None else task.result(timeout=patience)
    except (CancelledError, asyncio.CancelledError) as error:
        return ConnectionError(f"sweep: the scheduler was lost, or the task cancelled ({error}); start a new client.")
    except TimeoutError:
        return TimeoutError(f"sweep: no configuration ended within {patience} s; see whether there are workers.")
    except Exception as error:  # a worker that was lost too often
        return error


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
    return hashlib.sha256(f"{text}{source_hash(config)}{metadata.version('slt-toolkit')}".encode()).hexdigest()


def _refuse(checkpoint: Path) -> list[Result]:
    raise FileNotFoundError(
        f"sweep: a worker said it was done, but {checkpoint}.nc is not here; give a folder that all workers share."
    )


def _options(config: Config) -> dict[str, Any]:
    """What a configuration says about the run, as options of `estimate_llc`."""
    run = config.run
    given = {
        "tolerance": run.tolerance,
        "num_chains": run.chains,
        "max_gradients": run.max_gradients,
        "max_seconds": run.max_seconds,
    }
    options = {"seed": run.seed, "sampler": run.sampler}
    return options | {name: value for name, value in given.items() if value is not None}
