"""Conjecture C26 tested: the slope of KL in ln(1/s) against the Hessian's rank and twice the learning coefficient.

XOR nets 2-w-1 tanh on the four points, half squared error, and analytic potentials whose minima are regular, degenerate
along a manifold, or singular. Slopes are of the linearised divergence; for the potentials the mixture's own stands
beside it. 2 lambda of a potential is exact, at the minima that descent reaches; of a net it is estimated at the end of
one run that fits, by `estimate_llc` at n beta = 10^4, gamma = 1 (widths 2 and 8).
Run: python tests/benchmarks/codimension.py
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from asked import words
from rich.console import Console

from slt._types import Estimate
from slt.estimate.llc import estimate_llc
from slt.pac_bayes.laws import flat_loss, mlp_law, unflatten
from slt.report.plots.base import BLUE, GREY, VERMILION, new_figure
from slt.report.tables.base import Column, plus_minus, table
from slt.studies.smoothing import codimension, codimension_curve, end_to_end, linearised_kl, smoothed_kl
from slt.targets.gaussian import gaussian_law
from slt.targets.networks import mlp_init, mlp_loss
from slt.targets.target import loss_target

RESULT = Path(__file__).with_suffix(".json")
KEY = jax.random.key(0)
RANK = 1e-3
"""Eigenvalues of the Hessian above it count [nats/datum per squared unit]."""
SCALES = np.geomspace(1e-5, 0.3, 28)
POTENTIALS = {
    "x² + 2y² (regular)": (2, 2.0, lambda w: w[0] ** 2 + 2 * w[1] ** 2),
    "(x² + y² - 1)²/4 (circle)": (2, 1.0, lambda w: (w[0] ** 2 + w[1] ** 2 - 1) ** 2 / 4),
    "w⁴": (1, 0.5, lambda w: w[0] ** 4),
    "y⁴, x free": (2, 0.5, lambda w: w[1] ** 4),
    "x² + y⁴": (2, 1.5, lambda w: w[0] ** 2 + w[1] ** 4),
    "x⁴ + y⁴": (2, 1.0, lambda w: w[0] ** 4 + w[1] ** 4),
    "x²y² (two lines)": (2, 1.0, lambda w: (w[0] * w[1]) ** 2),
}


def measured(name, objective, law, data, step_size, steps, num_chains):
    start = law.draw(KEY, num_chains)
    end, values = end_to_end(objective, start, data, law=law, prior=law, step_size=step_size, steps=steps)
    with jax.enable_x64(True):
        hessian = jax.jit(jax.vmap(lambda w: jax.hessian(objective)(w, data)))(jnp.asarray(end))
        spectrum = np.linalg.eigvalsh(np.asarray(hessian))
        loss = np.asarray(jax.vmap(lambda w: objective(w, data))(jnp.asarray(end)))
    found = codimension(SCALES, [linearised_kl(end, values, law, s).value for s in SCALES])
    rank = (spectrum > RANK).sum(1)
    curve = codimension_curve(values, SCALES)
    inside = (found.window[0] <= SCALES) & (found.window[1] >= SCALES)
    row = {
        "name": name, "parameters": law.mean.size, "codimension": found.slope.value, "error": found.slope.mcse,
        "chain_error": max(c.mcse for c, keep in zip(curve, inside, strict=True) if keep),
        "window": list(found.window), "status": found.status, "hessian_rank": float(rank.mean()),
        "hessian_rank_spread": float(rank.std()), "loss": float(loss.mean()), "fitted": float((loss < 1e-2).mean()),
        "scales": SCALES.tolist(), "local": [c.value for c in curve],
    }  # fmt: skip
    return row, end, loss


def potential_rows():
    for name, (dim, twice, formula) in POTENTIALS.items():
        law = gaussian_law(np.zeros(dim), 0.4)
        row, end, _ = measured(name, lambda w, batch, f=formula: f(w), law, (), 0.05, 100_000, 200)
        scales = (0.05, 0.1, 0.2)
        sandwich = [smoothed_kl(KEY, end, law, scale=s) for s in scales]
        for side in ("loo", "mixture"):
            values = [getattr(s, side).value.value for s in sandwich]
            row[f"{side}_slope"] = float(-np.polyfit(np.log(scales), values, 1)[0])
        yield row | {"twice_llc": twice, "twice_llc_error": 0.0}


def network_rows(widths=(2, 3, 4, 6, 8), estimated=(2, 8)):
    inputs = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    data = {"inputs": inputs, "targets": inputs[:, :1] * inputs[:, 1:]}
    for width in widths:
        shape = (2, width, 1)
        like, loss = mlp_init(KEY, shape), mlp_loss("tanh", "squared_error")
        row, end, losses = measured(f"XOR 2-{width}-1", flat_loss(loss, like), mlp_law(shape), data, 0.1, 3000, 24)
        row |= {"twice_llc": None, "twice_llc_error": None}
        if width in estimated:
            w = unflatten(like)(jnp.asarray(end[np.argmin(losses)], jnp.float32))
            batch = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), data)
            target = loss_target(loss, w, batch, inverse_temperature=2500.0, localization=1.0)
            result = estimate_llc(target, tolerance=0.1)
            llc = result.estimates["llc"]
            row |= {"twice_llc": 2 * llc.value, "twice_llc_error": 2 * llc.mcse, "llc_status": result.verdict.status}
        yield row


def codimension_table(rows):
    """Slope of KL in ln(1/s) beside the Hessian's rank and twice the learning coefficient.

    Args:
        rows: with "name", "parameters", "codimension", "error", "window", "status", "hessian_rank", "twice_llc" and
            "twice_llc_error".
    """

    def twice(row):
        return "–" if row["twice_llc"] is None else plus_minus(Estimate(row["twice_llc"], row["twice_llc_error"]))

    columns = [
        Column("minimum", lambda row: row["name"], "whole"),
        Column("d", lambda row: row["parameters"]),
        Column("slope", lambda row: Estimate(row["codimension"], row["error"])),
        Column("s from–to", lambda row: "{:.1g}–{:.1g}".format(*row["window"])),
        Column("Hessian rank", lambda row: row["hessian_rank"]),
        Column("2λ", twice),
        Column("", lambda row: row["status"], "text"),
    ]
    return table("Codimension by smoothing (slope of KL in ln(1/s))", columns, rows)


def plot_codimension(rows):
    """Slope of KL in ln(1/s) against s; dashes: Hessian rank, dots: twice the learning coefficient.

    Args:
        rows: with "name", "scales", "local", "hessian_rank" and "twice_llc" (or None).
    """
    count = -(-len(rows) // 3)
    figure, axes = new_figure(count, height=2.1 * count + 0.6, ncols=3, sharex=True)
    for ax, row in zip(np.ravel(axes), rows, strict=False):
        ax.plot(row["scales"], row["local"], color=BLUE, label="slope of KL")
        ax.axhline(row["hessian_rank"], color=VERMILION, ls="--", label="Hessian rank")
        if row["twice_llc"] is not None:
            ax.axhline(row["twice_llc"], color="black", ls=":", label="2λ")
        ax.axvspan(*row["window"], color=GREY, alpha=0.15, lw=0, label="window" if row["status"] == "plateau" else None)
        ax.set(xscale="log", ylim=(0, None))
        ax.set_title(row["name"], fontsize="small")
    for ax in np.ravel(axes)[len(rows) :]:
        ax.set_visible(False)
    figure.supxlabel("smoothing s [prior std]")
    figure.supylabel("−dKL/d ln s")
    handles = {label: h for ax in np.ravel(axes) for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=4, frameon=False)
    return figure


def main() -> None:
    words(__doc__)
    rows = []
    for part in (potential_rows(), network_rows()):
        for row in part:
            rows.append(row)
            print({k: v for k, v in row.items() if k not in ("scales", "local")}, flush=True)
    RESULT.write_text(json.dumps(rows) + "\n")
    Console().print(codimension_table(rows))
    plot_codimension(rows).savefig(RESULT.with_suffix(".png"))


if __name__ == "__main__":
    main()
