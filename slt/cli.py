"""The command line, `slt COMMAND`: each command calls into a module. Wrong input: a paragraph, exit code 2."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console, RenderableType
from rich.text import Text

with_figures = click.option("--figures", type=click.Path(path_type=Path, file_okay=False), help="Draw them in here.")


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; the entry point `slt`."""
    try:
        cli.main(args, prog_name="slt")
    except (ValueError, OSError, ImportError) as error:
        Console(stderr=True).print(Text(f"Error: {error}", style="red"), soft_wrap=True)
        sys.exit(2)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="slt-toolkit")
def cli() -> None:
    """Learning coefficients of trained models and potentials, with error bars that are right."""


@cli.command()
@click.argument("source", type=click.Path(path_type=Path), metavar="CONFIG|CHECKPOINT")
@click.option("--output", type=click.Path(path_type=Path), help="Where the result goes, .zarr or .nc.")
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
@click.option("--seed", type=click.IntRange(0), help="Seed, in place of the configuration's.")
@click.option("--quiet", is_flag=True, help="No progress, no tables.")
@with_figures
def estimate(
    source: Path, output: Path | None, overwrite: bool, seed: int | None, quiet: bool, figures: Path | None
) -> None:
    """Local learning coefficient of a trained model, as a profile over the localisation."""
    from slt import config as configuration
    from slt import experiment, store, views

    config, text = configuration.read_config(source)
    if seed is not None:
        config = config.model_copy(update={"run": config.run.model_copy(update={"seed": seed})})
        text += f"\n# on the command line: run.seed = {seed}\n"
    path = store.check_output(
        output or config.run.output or Path("results") / f"{source.stem}.zarr", overwrite=overwrite
    )
    fingerprint = configuration.target_hash(config)
    work = store.checkpoint_folder(path, text + fingerprint)
    results = experiment.run_config(config, progress=not quiet, checkpoint=work / "run")
    store.save(results, path, config=text, target_hash=fingerprint, overwrite=overwrite)
    store.discard(work)
    _show(views.of_results(results), quiet=quiet, figures=figures)
    click.echo(f"Stored in {path}.")


@cli.command()
@click.argument("source", type=click.Path(path_type=Path), metavar="CONFIG|FOLDER")
@click.option(
    "--measure",
    "measures",
    multiple=True,
    metavar="NAME",
    help="Beside λ̂: singular_fluctuation (ν of the same run) or volume (log V of its Hessian basin). May be repeated.",
)
@click.option("--output", type=click.Path(path_type=Path), help="Where the result goes, .zarr or .nc.")
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
@click.option("--quiet", is_flag=True, help="No progress, no tables.")
@with_figures
def series(
    source: Path, measures: tuple[str, ...], output: Path | None, overwrite: bool, quiet: bool, figures: Path | None
) -> None:
    """Learning coefficients along the checkpoints of a training: a FOLDER of them, or a CONFIG with [series].

    Every point is kept beside the output under its content: a stopped series goes on, a second one computes nothing,
    and a measure that is added later leaves the rest. In a CONFIG: measures = ["singular_fluctuation", "volume"].

    slt series runs/steps --measure singular_fluctuation --measure volume
    """
    from slt import config as configuration
    from slt import experiment, store, views

    configs, section, text = configuration.read_series(source)
    if measures:
        text += f"\n# on the command line: series.measures = {list(measures)}\n"
    names = list(dict.fromkeys([*section.measures, *measures]))
    path = store.check_output(output or Path("results") / f"{source.stem}_series.zarr", overwrite=overwrite)
    folder = path.with_name(f"{path.name}.points")
    found = experiment.run_series(configs, folder, measures=names, progress=not quiet)
    store.save(found.results, path, config=text, coordinate="checkpoint", overwrite=overwrite)
    _show(views.of_results(found.results), quiet=quiet, figures=figures)
    click.echo(f"Stored in {path}; {found.hits} of {len(found.results)} points were done before.")


@cli.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="Where the result goes, .zarr or .nc.")
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
@click.option("--quiet", is_flag=True, help="No progress, no tables.")
@with_figures
def bound(config: Path, output: Path | None, overwrite: bool, quiet: bool, figures: Path | None) -> None:
    """PAC-Bayes certificates of a small network on two classes, and three measures of its minimum."""
    from slt import certify, store, views
    from slt.config import read_bound_config

    settings, text = read_bound_config(config)
    path = store.check_output(
        output or settings.run.output or Path("results") / f"{config.stem}.zarr", overwrite=overwrite
    )
    with Console(stderr=True).status("starting") as status:
        report = certify.run_bounds(settings, say=(lambda _: None) if quiet else status.update)
    store.save_tables(report._asdict(), path, kind="bound", config=text, overwrite=overwrite)
    _show(views.of_bounds(report), quiet=quiet, figures=figures)
    click.echo(f"Stored in {path}.")


@cli.command()
@click.argument("sources", nargs=-1, required=True, metavar="CONFIG|CHECKPOINT|POTENTIAL...")
@click.option(
    "--measures",
    help="Some of llc, criteria, free_energy, curvature, gradients, volumes, certificate and losses, "
    "joined by commas; all if left out.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of every run.")
@click.option("--output", type=click.Path(path_type=Path), help="Where the result goes, .zarr or .nc.")
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
@click.option("--quiet", is_flag=True, help="No progress, no tables.")
@with_figures
def compare(
    sources: tuple[str, ...],
    measures: str | None,
    seed: int,
    output: Path | None,
    overwrite: bool,
    quiet: bool,
    figures: Path | None,
) -> None:
    """Every measure of one minimum, or of several, in one table: each with its error, or why it is not available.

    A minimum is a configuration, a checkpoint, or a potential of the catalogue by name (`slt potentials`).

    slt compare data/digits_mlp.safetensors

    slt compare quad_r5_d20 x2y2
    """
    from slt import experiment, store, views
    from slt.comparison import run

    subjects, text = experiment.subjects_of(sources)
    path = store.check_output(output or Path("results") / "comparison.zarr", overwrite=overwrite)
    names = [name.strip() for name in measures.split(",") if name.strip()] if measures else None
    with Console(stderr=True).status("starting") as status:
        say = (lambda _: None) if quiet else status.update
        found = run.compare(subjects, measures=names, seed=seed, say=say)
    store.save_tables(found._asdict(), path, kind="comparison", config=text, overwrite=overwrite)
    _show(views.of_comparison(found), quiet=quiet, figures=figures)
    click.echo(f"Stored in {path}.")


@cli.command()
@click.argument("source", type=click.Path(path_type=Path), metavar="CONFIG|CHECKPOINT|RESULT")
@click.option("--output", type=click.Path(path_type=Path), help="Where a new result goes, .zarr or .nc.")
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
@click.option("--quiet", is_flag=True, help="No progress, no table.")
def criteria(source: Path, output: Path | None, overwrite: bool, quiet: bool) -> None:
    """Losses, singular fluctuation, WAIC, WBIC and leave-one-out, of a network or from a stored RESULT.

    A configuration without posterior.inverse_temperature is sampled at beta = 1, as WAIC and leave-one-out mean it;
    posterior.inverse_temperature = 1/log n gives WBIC. Of several localisations it takes the least.
    """
    from slt import config as configuration
    from slt import experiment, store, views

    if source.suffix in (".zarr", ".nc"):
        for result in store.load(source):
            _show(views.of_criteria(result))
        return
    config, text = configuration.read_config(source)
    path = store.check_output(output or Path("results") / f"{source.stem}-criteria.zarr", overwrite=overwrite)
    result = experiment.run_criteria(config, progress=not quiet)
    store.save([result], path, config=text, target_hash=configuration.target_hash(config), overwrite=overwrite)
    _show(views.of_criteria(result), quiet=quiet)
    click.echo(f"Stored in {path}.")


@cli.command("free-energy")
@click.argument("source", type=click.Path(path_type=Path), metavar="CONFIG|CHECKPOINT")
@click.option("--output", type=click.Path(path_type=Path), help="Where the result goes, .zarr or .nc.")
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
@click.option("--quiet", is_flag=True, help="No table.")
@with_figures
def free_energy(source: Path, output: Path | None, overwrite: bool, quiet: bool, figures: Path | None) -> None:
    """Free energy -log Z by tempering from the prior, and (λ, m) from its growth; for models of few parameters.

    Of several localisations it takes the least.
    """
    from slt import config as configuration
    from slt import experiment, store, views

    config, text = configuration.read_config(source)
    path = store.check_output(output or Path("results") / f"{source.stem}-free-energy.zarr", overwrite=overwrite)
    found = experiment.run_free_energy(config)
    fingerprint = configuration.target_hash(config)
    store.save_free_energy(found, path, config=text, target_hash=fingerprint, overwrite=overwrite)
    _show(views.of_free_energy(found), quiet=quiet, figures=figures)
    click.echo(f"Stored in {path}.")


@cli.command()
@click.argument("source", type=click.Path(path_type=Path), metavar="CONFIG|CHECKPOINT")
@with_figures
def calibrate(source: Path, figures: Path | None) -> None:
    """Where to trust an estimate: λ̂ over step size, localisation and temperature around the automatic choice."""
    from slt import config as configuration
    from slt import experiment, plotting, tables

    found = experiment.calibrate_config(configuration.read_config(source)[0])
    _print(tables.calibration_table(found))
    if figures is not None:
        _write({"calibration.png": plotting.plot_calibration(found)}, figures)


@cli.command()
@click.argument("source", type=click.Path(path_type=Path), metavar="CONFIG|CHECKPOINT")
@click.option("--threshold", default=0.01, show_default=True, help="How far the loss may rise [nats/datum].")
def volume(source: Path, threshold: float) -> None:
    """Basin volume around a model, by every treatment of flat directions, and the bits that locate it."""
    from slt import config as configuration
    from slt import experiment, tables

    config, _ = configuration.read_config(source)
    _print(tables.volume_table(experiment.config_volumes(config, threshold=threshold)))


@cli.command()
@click.argument("results", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="RESULT...")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write one self-contained page here.")
@with_figures
def report(results: tuple[Path, ...], html: Path | None, figures: Path | None) -> None:
    """Tables and figures of stored RESULTs: .zarr or .nc of any command that stores one, .csv of `slt validate`."""
    from slt import views
    from slt.page import page

    sections = [views.stored(path) for path in results]
    for section in sections:
        folder = figures / section.title if figures and len(sections) > 1 else figures
        _show(section, quiet=html is not None, figures=folder)
    if html is not None:
        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_text(page(" · ".join(section.title for section in sections), sections), encoding="utf-8")
        click.echo(f"Page written to {html}, {html.stat().st_size / 1024:.0f} KiB.")


@cli.command()
@click.option("--suite", type=click.Choice(["quick", "full"]), default="quick", show_default=True)
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Runs of every case.")
@click.option("--cases", help="Names of the catalogue, joined by commas, in place of a suite.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the rows here as CSV.")
@click.option("--quiet", is_flag=True, help="No progress.")
@with_figures
def validate(suite: str, seeds: int, cases: str | None, output: Path | None, quiet: bool, figures: Path | None) -> None:
    """Estimates against exact values on the catalogue of analytic potentials."""
    from slt import experiment, store, views

    names = [name.strip() for name in cases.split(",") if name.strip()] if cases else None
    rows = []
    for row in experiment.validate(names, suite=suite, seeds=range(seeds), progress=not quiet):
        rows.append(row)
        if output is not None:
            store.save_rows(rows, output)
    _show(views.of_rows(rows), figures=figures)


@cli.command()
def potentials() -> None:
    """The catalogue of analytic potentials with their exact learning coefficients."""
    from slt.tables import potentials_table
    from slt.targets.potentials import potential_table

    _print(potentials_table(potential_table()))


@cli.command()
@click.argument("polynomials", nargs=-1, required=True, metavar="POLYNOMIAL...")
@click.option("--at", metavar="x=1,y=1/2", help="The zero at which λ is asked; 0 where left out.")
@click.option("--weight", metavar="x=1", help="Exponents τ > -1 of a prior |w|^τ; 0 where left out.")
def exact(polynomials: tuple[str, ...], at: str | None, weight: str | None) -> None:
    """Exact λ and multiplicity of a polynomial K >= 0, or of K = f1^2 + f2^2 + ... if several are given.

    slt exact "x**2*y**4 + (x - y)**6"

    slt exact "x + y**2" "z"

    slt exact "(x*y - 1/2)**2" --at x=1,y=1/2
    """
    from slt.tables import exact_table
    from slt.targets.exact import exact_rlct, read_coordinates

    found = exact_rlct(
        list(polynomials) if polynomials[1:] else polynomials[0],
        at=read_coordinates(at, "--at"),
        weight=read_coordinates(weight, "--weight"),
    )
    _print(exact_table(found))


def _show(section: Any, *, quiet: bool = False, figures: Path | None = None) -> None:
    if not quiet:
        _print(section.content)
    if figures is not None:
        _write({name: draw() for name, draw in section.figures.items()}, figures)


def _print(table: RenderableType) -> None:
    Console(width=None if sys.stdout.isatty() else 100).print(table)


def _write(drawn: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in drawn.items():
        figure.savefig(folder / name)
    click.echo(f"Figures in {folder}: {', '.join(drawn)}.")
