# %% [markdown]
# # Every measure of a minimum, side by side: digits
#
# How degenerate is the minimum that a network was trained to? There are a dozen answers in use: the number of
# parameters, the rank of the Hessian, its trace, the volume of the basin, the learning coefficient, the free energy,
# the divergence that a PAC-Bayes bound pays for. They are seldom seen together. `slt.compare` puts them into one table,
# each with its error, its cost, or the reason why it is not available.
#
# ## 1. How to read it
#
# Two valleys whose answers are known. Everything under one heading is on one scale. *Dimensions* are what half the
# number of parameters is to a regular model: the learning coefficient λ, half a rank, half an effective dimension.
# *Prices* are nats: the free energy, and minus the logarithm of a volume of height T = 1/(nβ) under the same prior. On
# an ordinary quadratic minimum they all say the same.

# %%
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

import slt
from slt.report import plots, tables
from slt.studies.rashomon import settle, spectra, train_ensemble
from slt.studies.rashomon.measures import ensemble_llc
from slt.targets.data import load_digits
from slt.targets.networks import mlp_init, mlp_loss, regularised

QUICK = "SLT_QUICK" in os.environ
FIGURES = Path(os.environ.get("SLT_FIGURES", "notebooks/figures"))
FIGURES.mkdir(parents=True, exist_ok=True)
DATA = Path(__file__).parents[1] / "data"
console = Console(width=100)

# %%
wanted = ["curvature"] if QUICK else ["llc", "curvature", "volumes"]
options = {"volumes": {"estimators": ["hessian"] if QUICK else ["hessian", "radial"]}}
names = {"x²y²": "x2y2"} if QUICK else {"x² + y²": "quad_r2_d2", "x²y²": "x2y2"}
valleys = {label: slt.estimate.potential_subject(name) for label, name in names.items()}
console.print(tables.comparison_table(slt.compare(valleys, measures=wanted, options=options)))

# %% [markdown]
# For x² + y² all dimensions are 1, and all prices agree to within two nats (at a height T they count the ellipsoid's
# inside or average over it). For x²y² they part, and every disagreement has one reason: the Hessian at the origin is
# zero, so whatever is made of its eigenvalues speaks of a flat plane.
#
# - *rank H / 2* and *effective dimension / 2* are 0, where λ is 1/2 (0.41 at this n, since the multiplicity is 2);
# - *free energy, quadratic*, the *fuzzy ellipsoid* and the *ellipsoid* are 0 nats, the whole prior, where the exact
#   free energy is 3.4 nats, and so is the volume that rays find without a Hessian (*radial*);
# - *as it is* is infinite, *zeros discarded* the volume of a space of no dimensions, and the other two treatments in
#   units of w say how their own replacement for a zero was chosen, and nothing else;
# - *d / 2* is 1: wrong on the other side.
#
# ## 2. A classifier of digits
#
# A 16-4-10 tanh network on 200 handwritten digits shrunk to 4 × 4 pixels, trained with a little weight decay to the
# bottom of its objective, near enough (smaller still where this notebook is only tried out).

# %%


def shrunk(part, num):
    """4 × 4 pixels."""
    return {
        "inputs": part["inputs"][:num].reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16),
        "targets": part["targets"][:num],
    }


DECAY, WIDTH = 1e-3, (2 if QUICK else 4)
shipped = load_digits(DATA / "digits.npz")
train, test = shrunk(shipped.train, 60 if QUICK else 200), shrunk(shipped.test, 360)
loss = mlp_loss("tanh", "cross_entropy")
objective = regularised(loss, DECAY)
double = {"inputs": np.asarray(train["inputs"], np.float64), "targets": train["targets"]}


def minima(init, runs):
    """Parameters of that many trained and settled networks, leading axis run, and the spectra of their objective."""
    with jax.enable_x64(True):
        rows = jax.tree.map(jnp.asarray, double)
        steps = 200 if QUICK else 2000
        found = train_ensemble(jax.random.key(0), init, loss, rows, num_runs=runs, weight_decay=DECAY, max_loss=0.0,
                               num_steps=steps)  # fmt: skip
        params, lowest = settle(objective, found.params, rows, num_steps=5 if QUICK else 30)
        spectrum = spectra(objective, params, rows)
    print(f"{runs} minima, objective {lowest.min():.4f} to {lowest.max():.4f} nats/datum, largest gradient "
          f"{spectrum.gradient_norm.max():.1e}")  # fmt: skip
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), params), spectrum


def start(key):
    """Weights between 0.2 and 5 times the usual size."""
    scale_key, init_key = jax.random.split(key)
    scale = jnp.exp(jax.random.uniform(scale_key, minval=jnp.log(0.2), maxval=jnp.log(5.0)))
    return jax.tree.map(lambda a: scale * a, mlp_init(init_key, (16, WIDTH, 10)))


RUNS = 4 if QUICK else 10
params, spectrum = minima(start, RUNS)
points = [jax.tree.map(lambda a, i=i: a[i], params) for i in range(RUNS)]
first = slt.estimate.mlp_subject(points[0], train, test, localization=1.0, weight_decay=DECAY)
wanted = ["losses"] if QUICK else ["llc", "criteria", "curvature", "gradients", "certificate", "losses"]
options = {"llc": {"tolerance": 0.03}, "criteria": {"tolerance": 0.05}}
found = slt.compare({"digits": first}, measures=wanted, options=options)
console.print(tables.comparison_table(found))
plots.plot_comparison(found).savefig(FIGURES / "comparison_digits.png", dpi=70)

# %% [markdown]
# What the table says, row by row where rows disagree:
#
# - **d / 2, rank H / 2, rank G / 2** are 59, 56.5 and 59, five times λ̂ ≈ 10.5. A rank counts every direction that is
#   not *exactly* flat, however little the data care for it. The rank of H is 5 below that of G because adding one
#   number to all logits changes no probability (4 hidden units and a bias): raw logits are the known exception to
#   "rank H = rank G" (C10).
# - **Effective dimension / 2**, 10.9, is the Hessian's own prediction of λ̂ for a quadratic at this nβ and γ. It is
#   close, so here the curvature is not wrong; what was wrong was counting. The difference of 4 % is many times the
#   error of λ̂: the loss is not quite a quadratic at the scale of the posterior.
# - **ν**, the singular fluctuation, is 6.6 where λ̂ is 10.5. In a regular model that contains the truth both would be
#   d/2 at the same temperature; ν is local, too, and measured at β = 1.
# - **WAIC** is refused: it presumes a prior that has not seen the data, and a prior centred at w* has.
# - **KL of the Gaussian posterior** is 195 nats, ten times the quadratic free energy. Both are prices in nats, but of
#   different questions: the free energy is paid within a ball about w*, the KL from a prior that knows nothing of w*.
#   The **PAC-Bayes bound** it buys is true and loose; the test set certifies far more.
#
# The [benchmark](../tests/benchmarks/comparison.md) adds cases in which the Hessian itself is at fault:
#
# - *A reduced-rank net*, y = BAx with factors of rank 1 in a hidden layer of 2: rank H / 2 and the effective
#   dimension say 2.5; λ is 3.5 (Aoyagi & Watanabe 2005), and λ̂ = 3.369 ± 0.008 at this n, below λ because the
#   multiplicity is 2. The unused hidden unit is a crossing, like x²y². The quadratic free energy is 23.2 nats;
#   tempering finds 30.8 ± 0.1, counting 32.5 ± 0.3.
# - *XOR minima of a ReLU network.* At 160 of 165 fitted minima rank H is 4, and λ̂ = 1.992 ± 0.004 is half of it. At
#   the other five the rank is 3, half of it 1.5, but λ̂ = 1.920 ± 0.004: to second order the fourth direction is
#   flat, and within reach of the posterior it is not. There the quadratic free energy is 4.6 nats short; at rank 4 by
#   0.7 only.
# - *The shipped classifier* of 2410 parameters: rank H / 2 = 1140, half the effective dimension 23.2, λ̂ = 25.0 ±
#   0.2. Its Hessian has 431 negative eigenvalues, so every treatment that would need it positive is refused.
#
# ## 3. Which measure predicts the test loss?
#
# One minimum is an anecdote. The network above is the first of an ensemble that started from weights of very different
# size and therefore ended in different minima of one objective. The learning coefficients of all are sampled at once,
# and handed to the table as known from elsewhere; where R-hat says that a chain has not mixed, none is.


# %%
def penalised(w, rows):
    return loss(w, rows) + 0.5 * DECAY * sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(w))


draws = (
    {"num_warmup": 50, "num_draws": 50, "thinning": 1, "num_chains": 2}
    if QUICK
    else {"num_warmup": 300, "num_draws": 300}
)
rows, nbeta = jax.tree.map(jnp.asarray, train), first.target.nbeta
sampled = ensemble_llc(jax.random.key(1), penalised, params, rows, spectrum.eigenvalues[:, -1], nbeta=nbeta, **draws)
print(f"λ̂ from {sampled.value.min():.2f} to {sampled.value.max():.2f}, errors up to {sampled.mcse.max():.2f}, "
      f"R-hat up to {sampled.rhat.max():.2f}")  # fmt: skip
subjects = {}
for i, point in enumerate(points):
    known = {"norm of w": float(jnp.sqrt(sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(point))))}
    if sampled.rhat[i] < 1.1:
        known["λ̂, ensemble"] = slt.Estimate(sampled.value[i], sampled.mcse[i], sampled.dof[i])
    subjects[f"run {i}"] = slt.estimate.mlp_subject(
        point, train, test, localization=1.0, weight_decay=DECAY, known=known
    )
many = slt.compare(subjects, measures=["curvature", "losses"] if QUICK else ["curvature", "gradients", "losses"])
console.print(tables.correlation_table(many))
plots.plot_correlations(many).savefig(FIGURES / "comparison_correlations.png", dpi=70)

# %% [markdown]
# With ten minima hardly anything is decided, and the intervals say so: only the training objective's own loss goes with
# the test loss for certain. λ̂, the effective dimension and the quadratic free energy lean the same way (ρ near 0.4),
# the largest eigenvalue and the norm not at all; all of their intervals contain zero. Ranks and d are the same for
# all ten and predict nothing. A ranking of measures without such intervals would have been noise.
#
# ## What to take away
#
# - One table shows which measures answer the same question. The effective dimension at the scale of the posterior and
#   λ̂ do; ranks and parameter counts answer another.
# - Where the loss is degenerate beyond second order, only sampling and counting know (x²y², the XOR minima of rank 3).
# - A dash with a reason is a result: it keeps a number that means something else out of the comparison.
