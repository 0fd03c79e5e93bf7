"""The command line, `slt COMMAND`: each command calls into a module. Wrong input: a paragraph, exit code 2."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from slt.app.command import Command, Keep, print_table, show, stores, with_figures

SOURCE = "CONFIG|CHECKPOINT|FUNCTION"


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; the entry point `slt`."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminated)
    try:
        cli.main(args, prog_name="slt")
    except (ValueError, OSError, ImportError) as error:
        Console(stderr=True).print(Text(f"Error: {error}", style="red"), soft_wrap=True)
        sys.exit(2)


def _terminated(number: int, _: Any) -> None:
    """A batch system that ends a job should not do so without a word."""
    text = "Stopped by SIGTERM. What was stored is whole; the same command goes on from its checkpoints."
    os.write(2, f"{text}\n".encode())
    sys.exit(128 + number)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="slt-toolkit")
def cli() -> None:
    """Learning coefficients of trained models and potentials, with error bars that are right."""


def command(short: str, *, name: str | None = None, example: str = "", keys: str = "") -> Callable:
    """A command with its line in `slt --help`."""
    return cli.command(name, cls=Command, short_help=short, example=example, keys=keys)


@command("Learning coefficient λ̂ of a model, over γ", keys="Config", example="slt estimate data/digits.toml")
@click.argument("source", metavar=SOURCE)
@click.option("--seed", type=click.IntRange(0), help="Seed, in place of the configuration's.")
@stores
def estimate(source: str, seed: int | None, keep: Keep) -> None:
    """Local learning coefficient of a trained model, as a profile over the localisation.

    FUNCTION is package.module:function, seen from the current folder; it returns a Target or (model, loss, data), and
    naming it runs its module.
    """
    from slt import store
    from slt.app import experiment, problem

    config, text = _read(source)
    if seed is not None:
        config = config.model_copy(update={"run": config.run.model_copy(update={"seed": seed})})
        text += f"\n# on the command line: run.seed = {seed}\n"
    path = keep.path(source, configured=config.run.output)
    fingerprint = problem.source_hash(config)
    work = store.checkpoint_folder(path, text + fingerprint)
    results = experiment.run_config(config, progress=not keep.quiet, checkpoint=work / "run")
    store.save(results, path, config=text, target_hash=fingerprint, overwrite=keep.overwrite)
    store.discard(work)
    keep.show("estimate", results, path)


@command("λ̂ along the checkpoints of a training", keys="Config", example="slt series runs/steps --measure volume")
@click.argument("source", type=click.Path(path_type=Path), metavar="CONFIG|FOLDER")
@click.option(
    "--measure",
    "measures",
    multiple=True,
    metavar="NAME",
    help="Beside λ̂: singular_fluctuation (ν of the same run) or volume (log V of its Hessian basin). May be repeated.",
)
@stores
def series(source: Path, measures: tuple[str, ...], keep: Keep) -> None:
    """Learning coefficients along the checkpoints of a training: a FOLDER of them, or a CONFIG with [series].

    Every point is kept beside the output under its content: a stopped series goes on, a second one computes nothing,
    and a measure that is added later leaves the rest. In a CONFIG: measures = ["singular_fluctuation", "volume"].
    """
    from slt import store
    from slt.app import config as configuration
    from slt.app import experiment

    configs, section, text = configuration.read_series(source)
    if measures:
        text += f"\n# on the command line: series.measures = {list(measures)}\n"
    names = list(dict.fromkeys([*section.measures, *measures]))
    path = keep.path(source, "_series")
    folder = path.with_name(f"{path.name}.points")
    found = experiment.run_series(configs, folder, measures=names, progress=not keep.quiet)
    store.save(found.results, path, config=text, coordinate="checkpoint", overwrite=keep.overwrite)
    done = f"; {found.hits} of {len(found.results)} points were done before"
    keep.show("estimate", found.results, path, done)


@command("PAC-Bayes certificates of a model", keys="Config", example="slt bound data/bound.toml")
@click.argument("source", metavar=SOURCE)
@click.option("--measures", help="As of `slt compare`, of the same minimum beside its certificates; e.g. llc,volumes.")
@stores
def bound(source: str, measures: str | None, keep: Keep) -> None:
    """PAC-Bayes certificates of a trained classifier: what is guaranteed about its error, and by which posterior.

    The model is any of `slt compare` with data; one of your own is a FUNCTION that returns a Subject.
    """
    from slt.app import experiment

    config, text = _read(source)
    path = keep.path(source, "-bound", configured=config.run.output)
    with Console(stderr=True).status("starting") as status:
        say = (lambda _: None) if keep.quiet else status.update
        found = experiment.run_bounds(config, measures=_names(measures) or (), say=say)
    keep.tables("bound", found, path, text)


@command("every measure of one minimum or several", keys="Config", example="slt compare quad_r5_d20 x2y2")
@click.argument("sources", nargs=-1, required=True, metavar=f"{SOURCE}|POTENTIAL...")
@click.option(
    "--measures",
    help="Some of llc, criteria, free_energy, curvature, gradients, volumes, certificate and losses, "
    "joined by commas; all if left out.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of every run.")
@stores
def compare(
    sources: tuple[str, ...],
    measures: str | None,
    seed: int,
    keep: Keep,
) -> None:
    """Every measure of one minimum, or of several, in one table: each with its error, or why it is not available.

    A minimum is a configuration, a checkpoint, a function, or a potential of the catalogue by name (`slt potentials`).
    """
    from slt.app import experiment
    from slt.estimate.comparison import run

    subjects, text = experiment.subjects_of(sources)
    path = keep.path("comparison")
    names = _names(measures)
    with Console(stderr=True).status("starting") as status:
        say = (lambda _: None) if keep.quiet else status.update
        found = run.compare(subjects, measures=names, seed=seed, say=say)
    keep.tables("comparison", found, path, text)


@command("WAIC, WBIC, leave-one-out, ν", keys="Config", example="slt criteria data/digits.toml")
@click.argument("source", metavar=f"{SOURCE}|RESULT")
@stores
def criteria(source: str, keep: Keep) -> None:
    """Losses, singular fluctuation, WAIC, WBIC and leave-one-out, of a model or from a stored RESULT.

    A configuration without posterior.inverse_temperature is sampled at beta = 1, as WAIC and leave-one-out mean it;
    posterior.inverse_temperature = 1/log n gives WBIC. Of several localisations it takes the least.
    """
    from slt import store
    from slt.app import experiment, problem
    from slt.report import views

    if source.endswith((".zarr", ".nc")):
        for result in store.load(source):
            show(views.shown("criteria", result))
        return
    config, text = _read(source)
    path = keep.path(source, "-criteria")
    result = experiment.run_criteria(config, progress=not keep.quiet)
    store.save([result], path, config=text, target_hash=problem.source_hash(config), overwrite=keep.overwrite)
    keep.show("criteria", result, path)


@command("which data move which losses", keys="Config", example="slt influence data/digits.toml")
@click.argument("source", metavar=SOURCE)
@stores
def influence(source: str, keep: Keep) -> None:
    """Influence of training rows on test losses or on one another, or, with components, how each answers to the rows.

    [influence] says of which rows, on what, and of which components; run.tolerance is the standard error of a
    correlation. Of several localisations it takes the first.
    """
    from slt import store
    from slt.app import experiment, problem

    config, text = _read(source)
    path = keep.path(source, "-influence")
    found = experiment.run_influence(config, progress=not keep.quiet)
    fingerprint = problem.source_hash(config)
    store.save_response(found, path, config=text, target_hash=fingerprint, overwrite=keep.overwrite)
    keep.show("response", found, path)


@command(
    "free energy −log Z, and λ, m of its growth", name="free-energy", keys="Config",
    example="slt free-energy free_energy.toml   ([model] builtin = \"x2y2\", [posterior] inverse_temperature = 1000)",
)  # fmt: skip
@click.argument("source", metavar=SOURCE)
@stores
def free_energy(source: str, keep: Keep) -> None:
    """Free energy -log Z by tempering from the prior, and (λ, m) from its growth; for models of few parameters.

    Of several localisations it takes the least.
    """
    from slt import store
    from slt.app import experiment, problem

    config, text = _read(source)
    path = keep.path(source, "-free-energy")
    found = experiment.run_free_energy(config)
    fingerprint = problem.source_hash(config)
    store.save_free_energy(found, path, config=text, target_hash=fingerprint, overwrite=keep.overwrite)
    keep.show("free energy", found, path)


@command("where to trust λ̂: steps, γ and nβ around it", keys="Config", example="slt calibrate data/digits.toml")
@click.argument("source", metavar=SOURCE)
@stores
def calibrate(source: str, keep: Keep) -> None:
    """Where to trust an estimate: λ̂ over step size, localisation and temperature around the automatic choice."""
    from slt.app import experiment

    config, text = _read(source)
    path = keep.path(source, "-calibration")
    found = experiment.calibrate_config(config)
    keep.tables("calibration", found, path, text)


@command("basin volume around a model", keys="Config", example="slt volume data/digits.toml --threshold 0.01")
@click.argument("source", metavar=SOURCE)
@click.option("--threshold", default=0.01, show_default=True, help="How far the loss may rise [nats/datum].")
@stores
def volume(source: str, threshold: float, keep: Keep) -> None:
    """Basin volume around a model, by every treatment of flat directions, and the bits that locate it."""
    from slt.app import experiment

    config, text = _read(source)
    path = keep.path(source, "-volume")
    rows = experiment.config_volumes(config, threshold=threshold)
    text += f"\n# on the command line: threshold = {threshold}\n"
    keep.tables("volume", rows, path, text)


@command("tables, figures and one HTML page of RESULTs", example="slt report results/*.zarr --html report.html")
@click.argument("results", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="RESULT...")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write one self-contained page here.")
@with_figures
def report(results: tuple[Path, ...], html: Path | None, figures: Path | None) -> None:
    """Tables and figures of stored RESULTs: .zarr or .nc of any command that stores one, .csv of `slt validate`."""
    from slt.report import views
    from slt.report.page import page

    sections = [views.stored(path) for path in results]
    for section in sections:
        folder = figures / section.title if figures and len(sections) > 1 else figures
        show(section, quiet=html is not None, figures=folder)
    if html is not None:
        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_text(page(" · ".join(section.title for section in sections), sections), encoding="utf-8")
        click.echo(f"Page written to {html}, {html.stat().st_size / 1024:.0f} KiB.")


@command("default estimates against exact values", example="slt validate --cases x2y2,quad_r5_d20")
@click.option("--suite", type=click.Choice(["quick", "full", "networks"]), default="quick", show_default=True)
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Runs of every case.")
@click.option("--cases", help="Names of the catalogue, joined by commas, in place of a suite.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the rows here as CSV.")
@click.option("--quiet", is_flag=True, help="No progress.")
@with_figures
def validate(suite: str, seeds: int, cases: str | None, output: Path | None, quiet: bool, figures: Path | None) -> None:
    """Estimates against exact values on the catalogue of analytic potentials."""
    from slt import store
    from slt.estimate import validation
    from slt.report import views

    names = _names(cases)
    rows = []
    for row in validation.validate(names, suite=suite, seeds=range(seeds), progress=not quiet):
        rows.append(row)
        if output is not None:
            store.save_rows(rows, output)
    show(views.shown("validation", rows), figures=figures)


@command("the catalogue of analytic potentials", example="slt potentials")
def potentials() -> None:
    """The catalogue of analytic potentials with their exact learning coefficients."""
    from slt.catalogue.registry import potential_table
    from slt.report.tables import potentials_table

    print_table(potentials_table(potential_table()))


@command("exact λ and m of a polynomial", example='slt exact "x**2*y**4 + (x - y)**6"')
@click.argument("polynomials", nargs=-1, required=True, metavar="POLYNOMIAL...")
@click.option("--at", metavar="x=1,y=1/2", help="The zero at which λ is asked; 0 where left out.")
@click.option("--weight", metavar="x=1", help="Exponents τ > -1 of a prior |w|^τ; 0 where left out.")
@click.option("--output", type=click.Path(path_type=Path), help="Store the answer here, .zarr or .nc.")
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
def exact(
    polynomials: tuple[str, ...], at: str | None, weight: str | None, output: Path | None, overwrite: bool
) -> None:
    """Exact λ and multiplicity of a polynomial K >= 0, or of K = f1^2 + f2^2 + ... if several are given.

    slt exact "x + y**2" "z"

    slt exact "(x*y - 1/2)**2" --at x=1,y=1/2
    """
    from slt.exact.rlct import exact_rlct, read_coordinates
    from slt.report import views

    keep = Keep(output, overwrite, quiet=False, figures=None)
    path = output and keep.path(output)
    found = exact_rlct(
        list(polynomials) if polynomials[1:] else polynomials[0],
        at=read_coordinates(at, "--at"),
        weight=read_coordinates(weight, "--weight"),
    )
    if path is None:
        show(views.shown("exact", found))
        return
    asked = f"# slt exact {' '.join(polynomials)} --at {at} --weight {weight}\n"
    keep.tables("exact", found, path, asked)


def _names(joined: str | None) -> list[str] | None:
    """What is joined by commas."""
    return [name.strip() for name in joined.split(",") if name.strip()] if joined else None


def _read(source: str) -> tuple[Any, str]:
    from slt.app import config

    return config.read_config(source)
