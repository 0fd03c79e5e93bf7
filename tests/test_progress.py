"""A line a minute where there is no terminal, also over tasks in a row; nothing where it is not asked for."""

import pytest

from slt import _progress
from slt._progress import tracked


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(_progress, "_last", [0.0])
    return now


def test_one_line_a_minute(clock, capsys):
    for task in range(3):
        with tracked(True, 4, "draws") as update:
            for done in range(5):
                update(done, f"round {task}")
                clock[0] += 10
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" ")[2] for line in lines] == ["round 1: 1 of 4 draws", "round 2: 2 of 4 draws"]


def test_a_forecast_ends_the_line_and_stands_under_the_bar(clock, capsys):
    with tracked(True, 4, "draws", note="forecast: 9 s") as update:
        clock[0] += 100
        update(2, "round")
    assert capsys.readouterr().err.endswith(" round: 2 of 4 draws; forecast: 9 s\n")
    bar = _progress._Bar()
    assert len(list(bar.get_renderables())) == 1
    bar.note = "forecast: 9 s"
    assert list(bar.get_renderables())[1:] == ["forecast: 9 s"]


def test_nothing_unless_asked(clock, capsys):
    with tracked(False, 4, "draws") as update:
        clock[0] += 1000
        update(4, "round")
    done = capsys.readouterr()
    assert done.out + done.err == ""
