"""What the commands have in common: a help with keys and an example, and the options of what they store and show."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich.console import Console, RenderableType


class Command(click.Command):
    """A command whose help ends with the keys of CONFIG, where it takes one, and with an example that works."""

    def __init__(self, *args: Any, example: str = "", keys: str = "", **options: Any) -> None:
        super().__init__(*args, **options)
        self.example, self.keys = example, keys

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """The keys are those of the models that read the file, so that neither can say what the other does not."""
        if self.keys:
            from slt.app import config

            with formatter.section("Keys of CONFIG (TOML)"):
                formatter.write_dl(config.keys(getattr(config, self.keys)))
        if self.example:
            with formatter.section("Example"):
                formatter.write_text(self.example)


with_figures = click.option("--figures", type=click.Path(path_type=Path, file_okay=False), help="Draw them in here.")


class Keep(NamedTuple):
    """What a command that stores its result was told about that."""

    output: Path | None
    overwrite: bool
    quiet: bool
    figures: Path | None

    def path(self, source: str | Path, ending: str = "", *, configured: Path | None = None) -> Path:
        """Where the result goes, asked before a long run: results/NAME.zarr unless given."""
        from slt import store

        name = f"{Path(source).stem.replace(':', '.')}{ending}.zarr"
        return store.check_output(self.output or configured or Path("results") / name, overwrite=self.overwrite)

    def tables(self, kind: str, found: Any, path: Path, text: str) -> None:
        """Store what was found as the tables of its kind, and show it."""
        from slt.report import views

        views.keep(kind, found, path, config=text, overwrite=self.overwrite)
        self.show(kind, found, path)

    def show(self, kind: str, found: Any, path: Path, more: str = "") -> None:
        """What was found, its figures, and where it is stored."""
        from slt.report import views

        show(views.shown(kind, found), quiet=self.quiet, figures=self.figures)
        click.echo(f"Stored in {path}{more}.")


def stores(function: Callable) -> Callable:
    """The options of every command that stores what it found, which it takes as `keep`."""

    @functools.wraps(function)
    def call(*args: Any, output: Path | None, overwrite: bool, quiet: bool, figures: Path | None, **named: Any) -> Any:
        return function(*args, keep=Keep(output, overwrite, quiet, figures), **named)

    options = [
        click.option("--output", type=click.Path(path_type=Path), help="Where the result goes, .zarr or .nc."),
        click.option("--overwrite", is_flag=True, help="Replace what is there."),
        click.option("--quiet", is_flag=True, help="No progress, no tables."),
        with_figures,
    ]
    return functools.reduce(lambda made, option: option(made), reversed(options), call)


def show(section: Any, *, quiet: bool = False, figures: Path | None = None) -> None:
    """The tables of a section, unless quiet, and its figures, into that folder."""
    if not quiet:
        print_table(section.content)
    if figures is not None:
        _write({name: draw() for name, draw in section.figures.items()}, figures)


def print_table(table: RenderableType) -> None:
    """To the terminal in its width, elsewhere in 100 columns."""
    Console(width=None if sys.stdout.isatty() else 100).print(table)


def _write(drawn: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in drawn.items():
        figure.savefig(folder / name)
    click.echo(f"Figures in {folder}: {', '.join(drawn)}.")
