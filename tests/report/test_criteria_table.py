"""The table of criteria, from memory and from a stored result by `slt criteria RESULT`."""

import numpy as np
import pytest
from rich.console import Console

from slt import store
from slt._types import Estimate
from slt.app.cli import main
from slt.draws import Draws, Result, Verdict
from slt.report.tables import criteria_table


def make_result(**estimates):
    zeros = np.zeros((4, 10))
    draws = Draws(zeros, zeros, zeros, zeros.astype(bool), np.full(4, -1), 100)
    return Result(
        estimates={name: Estimate(*value) for name, value in estimates.items()},
        verdict=Verdict("converged", ("The largest Pareto k is 0.90.",)),
        draws=draws,
        diagnostics={"waic_data_error": 0.05, "largest_pareto_k": 0.9},
        settings={
            "inverse_temperature": 1.0,
            "localization": 10.0,
            "num_data": 100,
            "num_params": 3,
            "sampler": "tempering",
        },
        pointwise={"waic": np.zeros(100)},
    )


FULL = make_result(
    bayes_generalization=(0.1094, 0.0012, 15),
    waic=(1.3513, 0.0012, 15),
    singular_fluctuation=(1.11, 0.01, 15),
    bayes_training=(1.3, 0.001, 15),
)


def shown(renderable):
    console = Console(width=100)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_every_number_has_its_unit_and_its_errors():
    text = shown(criteria_table(FULL))
    assert "β = 1, γ = 10, n = 100, d = 3" in text
    assert "…" not in text
    (line,) = (line for line in text.splitlines() if line.strip().startswith("WAIC [nats/datum]"))
    assert "1.3513 ± 0.0012" in line
    assert line.rstrip().endswith("0.05")
    assert "largest Pareto k is 0.90" in text


def test_the_command_prints_a_stored_result(tmp_path, capsys):
    path = store.save([FULL], tmp_path / "a.nc")
    with pytest.raises(SystemExit):
        main(["criteria", str(path)])
    assert "1.3513 ± 0.0012" in capsys.readouterr().out


def test_a_result_without_criteria_is_refused():
    with pytest.raises(ValueError, match="has no criteria"):
        criteria_table(make_result(llc=(0.5, 0.1, 3)))
