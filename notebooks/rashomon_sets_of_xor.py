# %% [markdown]
# # Rashomon sets of XOR
#
# Train a small network on XOR a hundred times and it will find a hundred different sets of weights, all of them right.
# The set of all weights with (almost) the lowest loss is the *Rashomon set*, after the film in which every witness
# tells another story that fits the facts. What does it look like? Is it one piece? Do trainings end in its roomiest
# corners? The post "Broad basins and data compression" (Larsen, Kwa and others, 2022) asked this of networks so small
# that everything can be computed, and its claims, C20 to C25 and C29 of the list that this project answers, are
# measured here anew, beside C12 to C14 of V. Hebbar's "Information Loss → Basin flatness".

# %%
import os
from itertools import combinations
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # many small matrices: threads would only wait for each other

import jax
import jax.numpy as jnp
import numpy as np

from slt.report.plots import plot_embedding, plot_near_zero, plot_paths, plot_slices, plot_wells
from slt.studies.rashomon import (
    bezier,
    eigenvector_plane,
    embed,
    equipartition,
    frequencies,
    loss_slice,
    nudge,
    plane_through,
    walk,
    wells,
)
from slt.studies.rashomon.minima import find_minima, mlp_residuals
from slt.targets.networks import mlp_apply

QUICK = "SLT_QUICK" in os.environ
FIGURES = Path(os.environ.get("SLT_FIGURES", "notebooks/figures"))
FIGURES.mkdir(parents=True, exist_ok=True)
jax.config.update("jax_enable_x64", True)  # zeros are told from small numbers in double precision only

XOR = {"inputs": np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), "targets": np.array([[0.0], [1], [1], [0]])}
WIDTHS = (2, 4) if QUICK else (2, 3, 4, 8)
RUNS = 16 if QUICK else 150

# %% [markdown]
# ## 1. How many directions are free? (C21)
#
# A network 2-w-1 has d = 4w + 1 weights. Where the Hessian of the loss has a zero eigenvalue, moving along its
# eigenvector costs nothing to second order, so the number of zeros is the dimension of the set around that minimum, if
# the set is smooth there. The authors stopped training at a small loss, counted the *near*-zero eigenvalues, and found
# a broad distribution with its mode a little below the maximum.
#
# `find_minima` trains, stops at loss 10⁻³, and then walks every run down to the bottom of its basin, where the loss is
# below 10⁻²⁰. Counted at the stop, the answer depends on what "near" means. Counted at the bottom, nothing is left to
# choose: there is a gap of many decades between the smallest eigenvalue that counts and the largest that does not.

# %%
found = {
    (activation, width): find_minima(
        jax.random.key(width), (2, width, 1), XOR, num_runs=RUNS, activation=activation, num_steps=2000
    )
    for activation in ("tanh", "relu")
    for width in (WIDTHS if activation == "tanh" or not QUICK else ())
}
exact = {name: minima.settled & (minima.loss < 1e-20) for name, minima in found.items()}
print("eigenvalues that are not (near) zero: stopped at loss 1e-3, counted above 1e-4 or 1e-3 of the largest; settled")
print(f"{'':14} {'d':>3} {'fitted':>7} {'1e-4':>12} {'1e-3':>12}   settled: rank (runs)")
for (activation, width), minima in found.items():
    dim = 4 * width + 1
    spread = [dim - minima.stopped.near_zero(t) for t in (1e-4, 1e-3)]
    texts = [f"{np.median(s):.0f} [{s.min()}, {s.max()}]" for s in spread]
    ranks, runs = np.unique(dim - minima.bottom.gap()[0][exact[activation, width]], return_counts=True)
    print(f"{activation}, width {width:2d} {dim:3d} {len(minima.loss):7d} {texts[0]:>12} {texts[1]:>12}   "
          + ", ".join(f"{rank} ({number})" for rank, number in zip(ranks, runs, strict=True)))  # fmt: skip

figure = plot_near_zero(
    {
        "stopped, 10⁻³": {w: found["tanh", w].stopped.near_zero(1e-3) for w in WIDTHS},
        "stopped, 10⁻⁴": {w: found["tanh", w].stopped.near_zero(1e-4) for w in WIDTHS},
        "settled": {w: found["tanh", w].bottom.gap()[0][exact["tanh", w]] for w in WIDTHS},
    },
    {w: 4 * w - 3 for w in WIDTHS},
)
figure.savefig(FIGURES / "rashomon_counts.png", dpi=80)
assert all((found["tanh", w].bottom.gap()[0][exact["tanh", w]] == 4 * w - 3).all() for w in WIDTHS)

# %% [markdown]
# Every tanh network has exactly d - 4 zeros. The broad distribution of near-zero counts is an artefact of stopping
# early. The Hessian is a sum, JᵀJ/n, of rank four at most, and a part that is linear in the residual errors; every
# eigenvalue beyond four is of the second part, and vanishes with the errors.
#
# That d - 4 is the only possibility can be proved. Let h be the activations of a hidden unit at the four inputs and h'
# its slopes, which a tanh keeps above zero. The rank of the Hessian at a perfect fit is that of the gradients of the
# four outputs, and every unit in use contributes the three columns h', h'x₁, h'x₂. They miss one direction of the
# four, v = (1, -1, -1, 1)/h'. For rank 3 the constant, from the output bias, and all activations would have to be
# perpendicular to v. Then so would every output the network can make, y = (0, 1, 1, 0) included, but
# v·y = -1/h'₂ - 1/h'₃ < 0.
#
# A ReLU has slope zero where it is off, and then rank 3 is possible; less is not. Only there is a distribution at
# all, and its mode, d - 4, is indeed one below the maximum. As the network grows, the special ones become rare (C13).

# %%
for (activation, width), minima in found.items():
    if activation == "relu":
        zeros = minima.bottom.gap()[0][exact[activation, width]]
        print(f"ReLU, width {width}: {np.mean(zeros == 4 * width - 2):.0%} of {len(zeros)} minima have d - 3 zeros")

# %% [markdown]
# ## 2. Slices (C23)
#
# One tanh minimum of width 4, and the loss on planes through it: along two eigenvectors of eigenvalue zero, along the
# two of largest eigenvalue, and on the plane through three minima that were found independently. The line is loss 10⁻³.
# Along the flat directions the loss stays tiny far out: the slice through them is a lake. The stiff ones make a
# narrow pit. On the plane through them, three minima are three pits: what connects them, if anything, is not flat.

# %%
minima = found["tanh", 4]
points = minima.flat[exact["tanh", 4]]
one = jax.tree.map(lambda a: a[0], minima.params)
residuals = mlp_residuals(one, XOR)


def objective(w):
    return 0.5 * jnp.sum(residuals(w) ** 2)


grid = 21 if QUICK else 61
flat, stiff = (eigenvector_plane(objective, points[0], lowest=lowest) for lowest in (True, False))
center, first, second = plane_through(points[:3])
slices = {
    "two flat directions": loss_slice(objective, points[0], *flat, num_points=grid),
    "two stiffest directions": loss_slice(objective, points[0], *stiff, num_points=grid),
    "plane through three minima": loss_slice(
        objective, center, first, second, marks=points[:3], extent=(-1.3, 1.3), num_points=grid
    ),
}
plot_slices(slices, max_loss=1e-3).savefig(FIGURES / "rashomon_slices.png", dpi=80)
for name, part in slices.items():
    print(f"{name}: loss at most 1e-3 on {np.mean(part.loss <= 1e-3):.0%} of the slice")

# %% [markdown]
# ## 3. Nudges (C24)
#
# The authors nudged a trained network at random, kept the nudges that did not raise the loss, and saw many. How many
# depends on how far one nudges, and on what still counts as not raised. The picture embeds nudges of several lengths
# in the plane by t-SNE, which keeps neighbours together; filled ones stay at a loss of 10⁻³.

# %%
lengths = (0.02, 0.05, 0.1, 0.2, 0.5)
nudges = nudge(jax.random.key(1), objective, points[0], lengths=lengths, num_nudges=40 if QUICK else 150)
share = nudges.share(1e-3)
print("length of nudge:   " + "  ".join(f"{length:5.2f}" for length in lengths))
print("stay at loss 1e-3: " + "  ".join(f"{s:5.0%}" for s in share))
cloud = nudges.points.reshape(-1, points.shape[1])
plot_embedding(embed(cloud), nudges.loss.ravel(), max_loss=1e-3).savefig(FIGURES / "rashomon_nudges.png", dpi=80)

# %% [markdown]
# ## 4. Paths (C14, C20, C23)
#
# From one minimum, walk towards another: project the direction on the zero-eigenspace, take a small step, return to
# the set by Gauss-Newton, repeat. If the walk arrives, the two lie in one connected piece of {loss < 10⁻⁸}, though
# the straight line between them leads over a hill. Six minima of each width make fifteen pairs.

# %%
paths, failed = {}, {}
for width in (4, 2):
    here = found["tanh", width].flat[exact["tanh", width]][: 4 if QUICK else 6]
    fit = mlp_residuals(jax.tree.map(lambda a: a[0], found["tanh", width].params), XOR)
    ways = {pair: walk(fit, here[pair[0]], here[pair[1]]) for pair in combinations(range(len(here)), 2)}
    lines = [
        max(float(0.5 * jnp.sum(fit(here[i] + t * (here[j] - here[i])) ** 2)) for t in np.linspace(0, 1, 21))
        for i, j in ways
    ]
    arrived = [pair for pair, way in ways.items() if way.connected]
    print(
        f"width {width}: {len(arrived)} of {len(ways)} walks arrive; straight lines climb to {min(lines):.2g} at least"
    )
    pair = arrived[0] if width == 4 else next(p for p, way in ways.items() if not way.connected)
    curve = bezier(
        jax.random.key(2), lambda w, fit=fit: 0.5 * jnp.sum(fit(w) ** 2), *here[list(pair)], tolerance=1e-8,
        num_steps=500 if QUICK else 3000,
    )  # fmt: skip
    print(f"  pair {pair}: walk ends {np.linalg.norm(ways[pair].points[-1] - here[pair[1]]):.2g} from the goal, "
          f"largest loss on it {ways[pair].barrier:.1g}; Bézier curve: {curve.barrier:.1g}")  # fmt: skip
    chosen = paths if width == 4 else failed
    chosen |= {f"walk, width {width}": ways[pair], f"Bézier, width {width}": curve}
    if width == 4:
        seen = np.linspace(-1, 2, 13)
        plane = np.stack(np.meshgrid(seen, seen), -1).reshape(-1, 2)
        ends = [mlp_apply(jax.tree.map(lambda a, i=i: a[i], found["tanh", 4].params), plane) for i in pair]
        differ = float(np.mean((ends[0] > 0.5) != (ends[1] > 0.5)))
        print(f"  its ends disagree on {differ:.0%} of the square [-1, 2]²: two algorithms, one connected set")
plot_paths(paths, tolerance=1e-8).savefig(FIGURES / "rashomon_path.png", dpi=80)
plot_paths(failed, tolerance=1e-8).savefig(FIGURES / "rashomon_no_path.png", dpi=80)

# %% [markdown]
# With four hidden units every walk arrives: the set is one piece as far as we looked, and "basin" is the wrong word for
# what a run ends in. With two it falls apart; nearly no walk arrives, nor does the curve. A failed search is no proof
# that there is no path. The Bézier curve is too stiff to stay in so thin a set, even where the walk shows that one can.
#
# ## 5. A thin set with a wide well (C25)
#
# A set of dimension one can attract from two. K = w₂²(1 - w₁)²/2 has two lines of minima, w₂ = 0 and w₁ = 1, crossing
# in the point (1, 0). Every flow line conserves w₂² - (1 - w₁)², so the diagonals through the crossing divide the
# plane into wells: half of it ends on either line, though a line has no area.

# %%
starts = np.stack(np.meshgrid(np.linspace(-0.9, 2.9, 12), np.linspace(-1.85, 1.85, 11)), -1).reshape(-1, 2)
flow = wells(
    lambda w: 0.5 * w[1] ** 2 * (1 - w[0]) ** 2,
    [lambda w: jnp.abs(w[1]), lambda w: jnp.abs(1 - w[0])],
    starts=starts,
    learning_rate=0.02,
    num_steps=3000,
)
plot_wells(flow, title="K = w₂²(1 - w₁)²/2").savefig(FIGURES / "rashomon_wells.png", dpi=80)
print({f"well {w}": f"{s:.0%}" for w, s in flow.share().items()})

# %% [markdown]
# ## 6. Which solution is found? (C12, C13)
#
# At the bottom all tanh minima have the same dimension, so dimension cannot tell which of them will be found (C12). The
# functions they compute away from the four data do differ. Call two networks alike if they answer alike on a grid of
# points of [-1, 2]². How many kinds are there, and how consistent are the runs, as the network grows? The surprisal of
# a run is -log of the share of runs that found its function [nats].

# %%
corner = np.stack(np.meshgrid(np.linspace(-1, 2, 5), np.linspace(-1, 2, 5)), -1).reshape(-1, 2)
for width in WIDTHS:
    minima = found["tanh", width]
    answers = np.asarray(jax.vmap(lambda w: mlp_apply(w, corner)[:, 0])(minima.params) > 0.5)
    share, number = frequencies(answers)
    each = np.array([(np.mean(answers == one) * len(answers) - 1) / (len(answers) - 1) for one in answers])
    error = 2 * each.std() / len(each) ** 0.5  # of a mean over pairs
    mean, spread = equipartition(share)
    print(f"width {width}: {len(np.unique(number))} functions in {len(share)} runs, commonest {share.max():.0%}; "
          f"two runs agree on {each.mean():.1%} ± {error:.1%}; surprisal {mean:.1f} ± {spread:.1f}")  # fmt: skip

# %% [markdown]
# Dimension predicts nothing, and yet some functions are found far more often than others. Does anything else predict
# it? `tests/benchmarks/boolean_frequency.py` asks this of 1200 trainings on Boolean functions of which a part is shown:
# with four bits the log det of the non-zero eigenvalues, the bits of the basin, λ̂ and the norm all fall as the
# frequency rises, for tanh and for ReLU. Frequent functions have soft walls (C22): not the floor of a basin but its
# walls decide how often it is found.
#
# ## 7. How many directions matter, against width? (C29)
#
# Where training stopped, the number of eigenvalues that are *not* near zero grows with width; at the bottom it is four,
# the number of data, whatever the width. So the growth that the authors saw and did not quantify is again that of the
# residual part: its exponent depends on where training stopped and on the threshold.

# %%
for level in (1e-4, 1e-3, 1e-2):
    mean = [np.mean(4 * w + 1 - found["tanh", w].stopped.near_zero(level)) for w in WIDTHS]
    slope = np.polyfit(np.log(WIDTHS), np.log(mean), 1)[0]
    print(f"above {level:g}: " + ", ".join(f"width {w}: {m:.1f}" for w, m in zip(WIDTHS, mean, strict=True))
          + f"; exponent {slope:.2f}")  # fmt: skip

# %% [markdown]
# ## What to take away
#
# - C21: for tanh there is no distribution of dimensions, only of how early one stopped. For ReLU there is: d - 4 and
#   d - 3. The mode is one below the maximum from width 3 on, and the maximal ones become rare as width grows.
# - C13: that is also the first half of this claim, for ReLU. The second half, that runs agree more the wider the
#   network, shows weakly, and only at width 8.
# - C14: one connected piece from width 4 on, as far as we looked, and many pieces at width 2.
# - C20: two ends of one path compute different functions away from the data. They are not *linearly* connected: every
#   straight line climbs. The set is curved.
# - C23: flat slices, and paths along the zero-eigenspace: confirmed, though straight flat directions end.
# - C24: true of short nudges, false of long ones; say the length. C25: true, here of half of the plane.
# - C12: dimension cannot predict what is found where it is the same everywhere; the walls do (C22).
# - C29: the growth that slowly decelerates is one of the threshold and of stopping; at the bottom there is none.
