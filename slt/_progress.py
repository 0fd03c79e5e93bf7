"""Progress on long work, and its forecast: a bar in a terminal, one line a minute in notebooks and logs."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

MINUTE = 60.0
"""Seconds between two lines, also of tasks that follow one another."""
_last = [0.0]

Update = Callable[[int, str], None]


class _Bar(Progress):
    """A bar with a note under it."""

    note = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.note:
            yield self.note


@contextmanager
def tracked(shown: bool, total: int, unit: str, *, done: int = 0, note: str = "") -> Iterator[Update]:
    """A function (done, label) to call as the work goes on.

    Args:
        shown: whether anything is. total, done: number of units in all, and from the start.
        note: what is known beforehand, under the bar and at the end of every line.
    """
    if not shown:
        yield lambda done, label: None
    elif sys.stdout.isatty():
        columns = TextColumn("{task.description}"), BarColumn(), TextColumn(f"{{task.completed}}/{{task.total}} {unit}")
        with _Bar(*columns, TimeRemainingColumn(), transient=True) as bar:
            bar.note = note
            task = bar.add_task("", total=total, completed=done)
            yield lambda done, label: bar.update(task, completed=done, description=label)
    else:
        _last[0] = _last[0] or time.monotonic()
        rest = f"; {note}" if note else ""
        yield lambda done, label: _line(f"{label}: {done} of {total} {unit}{rest}")


def _line(text: str) -> None:
    now = time.monotonic()
    if now - _last[0] >= MINUTE:
        _last[0] = now
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
