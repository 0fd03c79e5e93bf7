# %% [markdown]
# # What did training use?
#
# A network starts from random weights and is trained. How much of its freedom did training use up? Count it like
# this: before training, its weights follow the law $P$ of the initialisation. After training, they follow another law
# $Q$, that of *trained* networks over random initialisations. The divergence
#
# $$\mathrm{KL}(Q \Vert P) = \mathbb{E}_Q \log \frac{dQ}{dP}$$
#
# says how many nats it takes to single out the trained networks among the untrained ones. It is not only a measure of
# use: it enters the PAC-Bayes bound, which certifies the error R on data never seen from the training error q,
#
# $$\mathrm{kl}(q \Vert R) \le \frac{\mathrm{KL}(Q \Vert P) + \ln(2\sqrt n/\delta)}{n}.$$
#
# Gradient descent is a map $w \mapsto w - \eta \nabla C(w)$. Where it is one to one, it moves density around and
# squeezes it by the determinant of $I - \eta H$, so $\log dQ/dP$ is known exactly, step by step.

# %%
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from slt.estimate.llc import estimate_llc
from slt.geometry.local import eigenbasis
from slt.geometry.volume import log_fuzzy_ellipsoid
from slt.pac_bayes.holdout import single_draw_bound
from slt.pac_bayes.laws import flat_loss, mlp_law, unflatten
from slt.pac_bayes.pushforward import kl_curve, push_forward
from slt.pac_bayes.steps import gradient_descent
from slt.report.plots.base import BLUE, CHAINS, GREEN, ORANGE, VERMILION, new_figure
from slt.targets.data import load_digits, randomised
from slt.targets.gaussian import Gaussian
from slt.targets.minimise import polish
from slt.targets.networks import accuracy, mlp_apply, mlp_init, mlp_loss
from slt.targets.target import loss_target

QUICK = "SLT_QUICK" in os.environ
FIGURES = Path(os.environ.get("SLT_FIGURES", "notebooks/figures"))
FIGURES.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## XOR: use grows with time
#
# Thirty-two points in the plane, labelled by the sign of $x_1 x_2$, and tanh networks of one hidden layer. Twenty
# starts are trained at once; each carries its own $\log dQ/dP$ along.

# %%
rng = np.random.default_rng(1)
points = rng.normal(size=(32, 2))
XOR = {"inputs": points, "targets": np.sign(points[:, :1] * points[:, 1:])}
TIMES = (0, 10, 30, 100) if QUICK else (0, 10, 30, 100, 300)
WIDTHS = (2,) if QUICK else (2, 4, 8)
loss = mlp_loss("tanh", "squared_error")


def train_all(width, chains=10 if QUICK else 20):
    """(the law of starts, trainings) of a network of that width."""
    law = mlp_law((2, width, 1))
    objective = flat_loss(loss, mlp_init(jax.random.key(0), (2, width, 1)))
    training = gradient_descent(objective, step_size=0.1)
    start = law.draw(jax.random.key(width), chains)
    return law, push_forward(jax.random.key(0), start, training, XOR, law=law, times=TIMES)


runs = {width: train_all(width) for width in WIDTHS}
curves = {width: kl_curve(run) for width, (_, run) in runs.items()}

figure, (top, bottom) = new_figure(2, height=5.0, sharex=True)
for color, width in zip(CHAINS, WIDTHS, strict=False):
    values = [kl.value.value for kl in curves[width]]
    top.errorbar(TIMES, values, yerr=[kl.value.mcse for kl in curves[width]], color=color, marker="o", ms=3,
                 label=f"{width} hidden units")  # fmt: skip
    bottom.plot(TIMES, runs[width][1].loss.mean(0), color=color, marker="o", ms=3)
top.set(ylabel="KL(Q‖P)  [nats]")
bottom.set(ylabel="training loss  [nats/datum]", xlabel="steps of gradient descent")
bottom.set_xscale("symlog", linthresh=10)
figure.legend(loc="outside lower center", ncols=5, frameon=False, fontsize="small")
figure.savefig(FIGURES / "use_time.png", dpi=80)
for width in WIDTHS:
    print(f"{width} hidden units, {runs[width][0].mean.size} parameters: KL after {TIMES[-1]} steps "
          f"{curves[width][-1].value} nats, side: {curves[width][-1].side}")  # fmt: skip

# %% [markdown]
# The divergence does not level off when the loss does. In every direction in which the loss curves, gradient descent
# keeps contracting, and every halving of a spread costs another $\ln 2$: the limit law has no density at all. So
# there is no such thing as *the* KL of a trained network, only that of a network trained for so long; a bound must
# stop early, or add noise. Width makes it grow too: more directions contract at once, for the same function.
#
# ## Three measures of one minimum
#
# Two other numbers say how much freedom a minimum leaves: the bits that its basin takes of the prior in the quadratic
# approximation, and the learning coefficient $\hat\lambda$, which counts directions with their degeneracy. All three in
# coordinates in which the initial law is the standard normal. Where the verdict on $\hat\lambda$ is "not a minimum", a
# lower one lies within reach of the posterior, and the number is neither to be used nor drawn. So it is for both
# widths here: with 32 data and this prior the mode fits XOR badly, and the posterior spreads over several of them.

# %%
MEASURED = () if QUICK else WIDTHS[:2]  # the learning coefficients are the slow part
measured = []
for width in MEASURED:
    law, run = runs[width]
    like = mlp_init(jax.random.key(0), (2, width, 1))
    centre, scale = jnp.asarray(law.mean, jnp.float32), jnp.asarray(law.std, jnp.float32)
    flat = flat_loss(loss, like)

    def per_datum(u, batch, flat=flat, centre=centre, scale=scale):
        return jax.vmap(lambda row: flat(centre + scale * u, jax.tree.map(lambda x: x[None], row)))(batch)

    data = jax.tree.map(lambda x: np.asarray(x, np.float32), XOR)
    ends = [jnp.asarray(law.whiten(run.positions[i, -1]), jnp.float32) for i in np.argsort(run.loss[:, -1])[:12]]
    modes = [polish(per_datum, end, data, weight_decay=1 / 32, adam_steps=3000, lbfgs_steps=1000) for end in ends]
    mode = min(modes, key=lambda u: float(jnp.mean(per_datum(u, data)) + u @ u / 64))  # small networks get stuck
    target = loss_target(per_datum, mode, data, weight_decay=1 / 32)
    result = estimate_llc(target, tolerance=0.1)
    basis = eigenbasis(target)
    prior = Gaussian(-basis.vectors.T @ np.asarray(mode, np.float64), 1.0)
    bits = -log_fuzzy_ellipsoid(np.maximum(basis.values, 0.0), prior, threshold=1 / target.nbeta) / np.log(2)
    usable = result.estimates["llc"] if result.verdict.status == "converged" else None
    measured.append((width, law.mean.size, curves[width][-1].value, bits, usable))
    print(f"width {width}: KL {curves[width][-1].value} nats, volume {bits:.1f} bits, "
          f"λ̂ {result.estimates['llc']} ({result.verdict.status})")  # fmt: skip

figure, ax = new_figure()
sizes = [row[1] for row in measured]
ax.plot(sizes, [row[2].value for row in measured], marker="s", color=BLUE, label=f"KL after {TIMES[-1]} steps [nats]")
ax.plot(sizes, [row[3] * np.log(2) for row in measured], marker="^", color=GREEN, label="−ln volume [nats]")
usable = [row for row in measured if row[4] is not None]
if usable:
    ax.errorbar([row[1] for row in usable], [row[4].value for row in usable], yerr=[row[4].mcse for row in usable],
                marker="o", color=VERMILION, label="λ̂")  # fmt: skip
ax.set(xlabel="parameters", yscale="log")
figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize="small")
figure.savefig(FIGURES / "use_measures.png", dpi=80)

# %% [markdown]
# ## Digits: what do random labels cost?
#
# Handwritten digits, 0-4 against 5-9, shrunk to 4 × 4 pixels, and a network of 78 parameters. A share of the labels is
# replaced by coin flips. One training, its $\log dQ/dP$, and the bound it buys (for this one draw; every stopping time
# is paid for).

# %%
DIGITS = (0, 10) if QUICK else (0, 20, 40, 80, 160)
NOISE = (0.0,) if QUICK else (0.0, 0.5, 1.0)
NUM = 200 if QUICK else 1437


def shrunk(part, num):
    images = part["inputs"][:num].reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16)
    return {"inputs": images, "targets": (part["targets"][:num] >= 5).astype(np.int32)}


shipped = load_digits(Path(__file__).parents[1] / "data" / "digits.npz")
clean = shrunk(shipped.train, NUM)
like, law = mlp_init(jax.random.key(0), (16, 4, 2)), mlp_law((16, 4, 2), bias_std=0.3)
unravel, classify = unflatten(like), flat_loss(mlp_loss("tanh", "cross_entropy"), like)
figure, (left, right) = new_figure(1, ncols=2)
for color, share in zip((BLUE, GREEN, ORANGE, VERMILION, "black"), NOISE, strict=False):
    train = randomised(clean, share, np.random.default_rng(0))
    training = gradient_descent(classify, step_size=0.1)
    run = push_forward(jax.random.key(0), law.draw(jax.random.key(5), 1), training, train, law=law, times=DIGITS)
    logits = [mlp_apply(unravel(w), train["inputs"]) for w in run.positions[0]]
    errors = [1 - float(accuracy(out, train["targets"])) for out in logits]
    bounds = single_draw_bound(errors, run.log_ratio[0], num_data=NUM, delta=0.05 / len(DIGITS))
    left.plot(DIGITS, run.log_ratio[0], color=color, marker="o", ms=3, label=f"{share:.0%} random labels")
    right.plot(DIGITS, errors, color=color, marker="o", ms=3)
    right.plot(DIGITS, bounds, color=color, marker="s", ms=3, ls="--")
    print(f"{share:.0%} random labels: log dQ/dP {run.log_ratio[0, -1]:.1f} nats, training error {errors[-1]:.3f}, "
          f"best bound {bounds.min():.3f}")  # fmt: skip
left.set(xlabel="steps", ylabel="log dQ/dP  [nats]")
right.set(xlabel="steps", ylabel="training error; dashed: bound")
figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize="small")
figure.savefig(FIGURES / "use_digits.png", dpi=80)

# %% [markdown]
# With random labels there is nothing to find: the error stays near a coin's, and the bound says so, as it must. With
# true labels the error falls faster than the divergence climbs, for a while, and the best bound is below a coin's.
# Then contraction goes on while the error hardly improves, and the bound turns back up. That turn, and not the
# error, is what limits a certificate from the pushforward of the initialisation.
