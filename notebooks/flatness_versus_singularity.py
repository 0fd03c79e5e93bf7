# %% [markdown]
# # Why basin broadness is not enough
#
# "Flat minima generalise" is usually made precise with the Hessian: the flatter the minimum, the smaller its
# eigenvalues, the larger the basin. At the minima of neural networks most eigenvalues are zero, and then the Hessian
# is silent. This notebook looks at four valleys with the same floor and answers one question in five ways:
#
# *how fast does the volume of almost-as-good parameters shrink as we ask for a lower loss?*
#
# The answer is an exponent, the learning coefficient λ (Watanabe 2009): $V(\varepsilon) \sim C\,\varepsilon^{\lambda}
# (\log 1/\varepsilon)^{m-1}$. It sets the free energy, and through it how well the model generalises. Claims C4 and C5
# of the discussion that this project answers are put to the test: the Hessian cannot tell x⁴ from x⁶, crossing valleys
# have a λ of their own, and the asymptotic laws hold from about n = 200.

# %%
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import slt
from slt.report.plots.base import BLUE, GREEN, ORANGE, VERMILION, new_figure

QUICK = "SLT_QUICK" in os.environ
FIGURES = Path(os.environ.get("SLT_FIGURES", "notebooks/figures"))
FIGURES.mkdir(parents=True, exist_ok=True)

VALLEYS = {"x**2": "pow2", "x**4": "pow4", "x**6": "pow6", "x**2*y**2": "x2y2"}  # formula: name in the catalogue
COLOURS = dict(zip(VALLEYS, (BLUE, ORANGE, GREEN, VERMILION), strict=True))

# %% [markdown]
# ## 1. What the Hessian sees
#
# At the origin of x⁴, of x⁶ and of the crossing valley x²y² the Hessian is zero. Any measure built on it alone — trace,
# determinant, log-volume of the Gaussian basin, number of zero eigenvalues — gives x⁴ and x⁶ the same value, and the
# volume √(2πT/h) of the basin is infinite for both.

# %%
print(f"{'K':12} {'Hessian eigenvalues':22} {'basin volume at T = 0.01':>24}")
for formula, name in VALLEYS.items():
    entry = slt.potential(name)
    curvature = np.linalg.eigvalsh(jax.hessian(entry.energy)(jnp.zeros(entry.dim)))
    with np.errstate(divide="ignore"):
        volume = np.prod(np.sqrt(2 * np.pi * 0.01 / curvature))
    print(f"{formula:12} {np.round(curvature, 6)!s:22} {volume:24.4g}")

# %% [markdown]
# ## 2. The volume itself
#
# The share of the cube [-1, 1]^d with K < ε is elementary: ε^(1/2k) for x^(2k), and √ε (1 - log √ε) for x²y², since
# -log|xy| is a sum of two exponential variables. On logarithmic axes λ is the slope. The four slopes differ, although
# three of the Hessians vanish; and the crossing is as steep as x² but higher by a logarithm: its multiplicity is m = 2.
# A count of flat dimensions would call x²y² flat in both directions and x⁴ flat in one. Their exponents say otherwise.

# %%
depth = np.logspace(-12, 0, 200)
root = np.sqrt(depth)
SHARE = {"x**2": root, "x**4": depth**0.25, "x**6": depth ** (1 / 6), "x**2*y**2": root * (1 - np.log(root))}

figure, (left, right) = new_figure(1, height=3.2, ncols=2)
line = np.linspace(-1, 1, 201)
for formula, share in SHARE.items():
    along = {"x**2*y**2": line**4}.get(formula, line ** int(formula[3:4]))
    label = formula.replace("**", "^").replace("*", "") + (", diagonal" if "y" in formula else "")
    left.plot(line, along, color=COLOURS[formula], label=label, ls="--" if "y" in formula else "-")
    right.loglog(depth, share, color=COLOURS[formula])
left.set(xlabel="position", ylabel="K [nats/datum]", title="four valleys")
left.legend(frameon=False, fontsize=8, loc="upper center")
right.set(xlabel="ε [nats/datum]", ylabel="share of the cube with K < ε", title="their volumes")
figure.savefig(FIGURES / "valley_volumes.png", dpi=110)

# %% [markdown]
# ## 3. The learning coefficient: exact, and estimated
#
# `slt.exact_rlct` finds λ and m of a polynomial exactly (`slt exact "x**2*y**2"` on the command line), and
# `slt.estimate_llc` measures λ̂ = nβ E[K] from draws of the posterior, as one would for a network. A finite nβ has its
# own exact value, by quadrature, and that is what the estimate must agree with: for a crossing it is below λ by about
# (m - 1)/log(nβ), a property of the model and not an error of the sampler.

# %%
NBETA = 1e4
print(f"{'K':12} {'λ':>5} {'m':>3} {'exact at nβ = 1e4':>18} {'estimate':>20}")
for formula, name in VALLEYS.items():
    entry, law = slt.potential(name), slt.exact_rlct(formula)
    assert (law.rlct, law.multiplicity, law.status) == (entry.rlct, entry.multiplicity, "exact")
    finite = entry.exact(NBETA, localization=None).mean
    estimate = "(left out)"
    if not QUICK or formula == "x**4":
        target = slt.potential_target(entry.energy, jnp.zeros(entry.dim), nbeta=NBETA, box=entry.box)
        estimate = str(slt.estimate_llc(target, tolerance=0.05 if QUICK else 0.01).estimates["llc"])
    print(f"{formula:12} {law.rlct!s:>5} {law.multiplicity:3d} {finite:18.4f} {estimate:>20}")

# %% [markdown]
# ## 4. Free energy
#
# The same exponent is the price of a model in Bayesian model selection: -log ∫ exp(-nK) = λ log n - (m - 1) log log n
# + O(1). It grows by λ log 10 with every decade of data: x⁶ pays a third of what x² pays, and no second derivative
# knows it. Two minima compete through n·L + λ log n, so a low-λ minimum of slightly higher loss wins up to some n.

# %%
decades = [1e2, 1e4, 1e6, 1e8]
print(f"{'K':12} {'λ':>7}   slope of the free energy per log n, from n to 100 n")
for formula, name in VALLEYS.items():
    entry = slt.potential(name)
    energy = [-entry.exact(n, localization=None).log_evidence for n in decades]
    slopes = "  ".join(f"{slope:.4f}" for slope in np.diff(energy) / np.log(100))
    print(f"{formula:12} {float(entry.rlct):7.4f}   {slopes}")

# %% [markdown]
# For the crossing the slope alone creeps towards 1/2 without arriving. `slt.estimate_free_energy` therefore fits λ and
# m together, to evidence sampled along one tempering run up to nβ = 10¹⁶ (half a minute; left out of quick runs).

# %%
if not QUICK:
    entry = slt.potential("x2y2")
    target = slt.potential_target(entry.energy, jnp.zeros(2), nbeta=NBETA, box=entry.box)
    fit = slt.estimate_free_energy(target).fit
    print(f"the crossing from its free energy: λ = {fit.rlct}, m = {fit.multiplicity}; P(m) = {fit.probabilities}")

# %% [markdown]
# ## 5. How well they generalise, from n = 10 on
#
# Now let the valley be a statistical model: x_i ~ N(f(w), 1) with f(w) = w, w², w³ or ab, and truth 0, so that
# K = f²/2. The Bayes predictive density has expected excess loss E[G] - L₀ ≈ λ/n. Because the data enter through their
# mean only, the expectation over data sets is a one-dimensional integral: no Monte Carlo, the curves below are exact.
# The prior is uniform on [-1, 1]^d.
#
# With m = 1 the law holds early, singular or not. (E[G] is the increment of the mean free energy from n to n + 1, so
# n times it is n λ log(1 + 1/n), which is λ (1 - 1/2n).) The crossing follows λ - (m - 1)/log n instead and stays well
# below 1/2 for every n that anybody will have.


# %%
def prior_of_mean(formula):
    """Nodes and weights of the prior law of u = f(w)."""
    node, weight = np.polynomial.legendre.leggauss(20)  # on each of 60 panels of [-1, 1]
    s = ((np.arange(60)[:, None] + (node + 1) / 2) / 30 - 1).ravel()
    weight = np.tile(weight / 60, 60)
    if formula == "x**2*y**2":  # u = ab has density log(1/|u|) / 2; u = ±s² makes it smooth enough
        return np.sign(s) * s**2, weight * np.abs(s) * -np.log(s**2)
    return s ** (int(formula[3:4]) // 2), weight / 2


def generalisation(formula, n, order=60):
    """N times the excess E[G] - L0 of the Bayes predictive density, in nats, by three nested quadratures."""
    u, prior = prior_of_mean(formula)
    z, weight = np.polynomial.hermite_e.hermegauss(order)
    weight = weight / weight.sum()
    log_posterior = np.outer(z, u) * np.sqrt(n) - n * u**2 / 2
    posterior = np.exp(log_posterior - log_posterior.max(axis=1, keepdims=True)) * prior
    posterior /= posterior.sum(axis=1, keepdims=True)
    ratio = posterior @ np.expm1(np.outer(u, z) - u[:, None] ** 2 / 2)  # p(x | data) / p(x | truth) - 1
    return -n * weight @ np.log1p(ratio) @ weight


# %%
sizes = np.array([10, 200, 10000] if QUICK else [10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000])
figure, ax = new_figure(height=3.6)
print("n × (E[G] - L0) / λ")
print(f"{'K':12}" + "".join(f"{n:>8d}" for n in sizes))
for formula in VALLEYS:
    law = float(slt.exact_rlct(formula).rlct)
    curve = np.array([generalisation(formula, n) for n in sizes])
    print(f"{formula:12}" + "".join(f"{value / law:8.3f}" for value in curve))
    label = {"x**2": "f = w", "x**4": "f = w²", "x**6": "f = w³"}.get(formula, "f = ab")
    ax.semilogx(sizes, curve, color=COLOURS[formula], marker="o", ms=4, label=label)
    ax.axhline(law, color=COLOURS[formula], ls=":", lw=1)
    assert (abs(curve[sizes == 200].item() / law - 1) < 0.01) == ("y" not in formula)  # claim C5
ax.axvline(200, color="0.8", zorder=0)
ax.set(xlabel="n", ylabel="n × excess loss [nats]", title="generalisation of four models; dotted: λ", ylim=(0, 0.6))
ax.legend(frameon=False, ncols=4, loc="upper left")
figure.savefig(FIGURES / "valley_generalisation.png", dpi=110)

# %% [markdown]
# ## What to take away
#
# - Flat directions are not alike. The Hessian orders x² against the rest and then stops; λ orders all four.
# - The Hessian basin volume is infinite at three of the four minima. The true volume is finite and is a power law.
# - λ comes with m. A crossing has λ = 1/2 like x², but its volume, free energy and loss carry logarithms, so a
#   finite-n estimate of λ alone reads 0.41 where the exponent is 1/2. Compare with the exact finite-n value, or fit λ
#   and m jointly.
# - "The asymptotics hold from n ≈ 200" is right in the three valleys with m = 1, to 0.2 % and even 1 % at n = 50, and
#   wrong in the crossing, 35 % below at n = 200 and 21 % at n = 10⁴: corrections of order 1/log n do not go away.
