"""Influence and susceptibility: coverage, finite differences, two runs of digits, leave-one-out, observed losses.

linear: 200 entries of a Gaussian linear model (tests/estimate/test_influence.py) at `--seeds` seeds: coverage of 90 %
intervals, rms z, entries beyond 4 errors; minibatches: of 8000 rows; blocks: of the susceptibility of blocks. tanh: a
net of 9 parameters, re-sampled with a datum weighted 1 ± h. digits: the shipped classifier, two runs, agreement said
and found. retraining: 20 of its rows left out, trained on from w*. observe: cost and values of four sets, and of runs
of their own.
Run: python tests/benchmarks/influence.py linear
"""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from estimate import test_influence as linear_model
from scipy import stats

import slt
from slt.estimate import estimate_susceptibility
from slt.stats.correlation import rank_correlation
from slt.targets import networks
from slt.targets.data import load_digits

DATA = Path(__file__).parents[2] / "data"


def pulls(found, exact, rows=slice(None)):
    z = ((found.value - exact) / found.error)[rows]
    return z, np.abs(z) < stats.t.ppf(0.95, found.dof)


def coverage(name, runs):
    """runs: of (z, covered)."""
    z, inside = (np.concatenate([part.ravel() for part in parts]) for parts in zip(*runs, strict=True))
    each = [part.mean() for _, part in runs]
    print(
        f"{name}: {len(runs)} runs of {len(z) // len(runs)} entries; coverage of 90 % {inside.mean():.3f} ± "
        f"{np.std(each, ddof=1) / len(each) ** 0.5:.3f}, rms z {np.sqrt((z**2).mean()):.2f}, beyond 4 errors "
        f"{(np.abs(z) > 4).sum()}, largest {np.abs(z).max():.1f}"
    )


def linear(given):
    model, exact = linear_model, linear_model.exact()
    for sampler in ("chains", "tempering"):
        runs = []
        for seed in range(given.seeds):
            options = model.OPTIONS | {"sampler": sampler, "seed": seed, "baseline": False}
            found = slt.estimate_influence(model.TARGET, observables=model.OBSERVABLES, **options)
            runs.append(pulls(found, exact))
        coverage(f"influence, {sampler}", runs)


def blocks(given):
    model, exact, runs = linear_model, linear_model.blocks(), []
    for seed in range(given.seeds):
        options = model.OPTIONS | {"seed": seed, "baseline": False}
        found = estimate_susceptibility(model.TARGET, {"a": ["*[0:2]"], "b": ["*[2:6]"]}, **options)
        runs.append(pulls(found, exact))
    coverage("susceptibility, chains", runs)


def minibatches(given):
    """8000 rows in minibatches, whose heat is in the error: 40 rows, each on every other and on the mean of 8000."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8000, 6))
    y = x @ rng.normal(size=6) + rng.normal(size=8000)
    w = np.linalg.solve(x.T @ x, x.T @ y)
    rows = x.astype(np.float32), y.astype(np.float32)
    target = slt.loss_target(linear_model.loss, jnp.asarray(w, jnp.float32), rows, localization=1.0)
    spread = np.linalg.inv(target.inverse_temperature * x.T @ x + np.eye(6))
    some, s = slice(0, None, 200), x[::200] @ spread @ x[::200].T
    mu = (y - x @ w)[some]
    exact, runs = -target.inverse_temperature * (0.5 * s**2 + np.outer(mu, mu) * s), []
    for seed in range(given.seeds):
        options = {"seed": seed, "baseline": False, "max_gradients": given.max_gradients, "sampler": "chains"}
        found = slt.estimate_influence(target, some, **options)
        runs.append(pulls(found, exact))
        scale = (found.value * exact).sum() / (exact**2).sum()
        print(f"heat {found.diagnostics['heat']:.3f}, size of the table over the exact one {scale:.3f}", flush=True)
    coverage("influence, minibatches", runs)


def tanh(given):
    """A net 2-3-1 on 40 rows; w* is that of equal weights throughout, as is the prior."""
    rng, h = np.random.default_rng(0), given.h
    x = rng.normal(size=(60, 2)).astype(np.float32)
    y = (np.tanh(x @ [1.5, -1.0]) + 0.3 * rng.normal(size=60)).astype(np.float32)

    def loss(w, rows):
        x, y, weight = rows
        return weight * 0.5 * (y - jnp.tanh(x @ w["inner"]) @ w["outer"]) ** 2 / 0.09

    def rows(weight):
        return x[:40], y[:40], weight

    ones, start = np.ones(40, np.float32), {"inner": jnp.asarray(rng.normal(size=(2, 3)), jnp.float32)}
    start |= {"outer": jnp.asarray(0.5 * rng.normal(size=3), jnp.float32)}
    trained = slt.polish(loss, start, rows(ones), weight_decay=1e-2)
    test = (x[40:], y[40:], np.ones(20, np.float32))
    options = {"localization": 1.0, "weight_decay": 1e-2}
    target = slt.loss_target(loss, trained, rows(ones), **options)
    found = slt.estimate_influence(target, observables={"test": test}, tolerance=0.03, sampler="tempering")
    print(found, flush=True)
    order = np.argsort(found.value[:, 0])
    for i in order[[0, 1, 38, 39]]:
        ends = []
        for side in (1, -1):
            weight = ones.copy()
            weight[i] += side * h
            moved = slt.loss_target(loss, trained, rows(weight), **options)
            run = slt.estimate_llc(moved, observe={"test": test}, tolerance=0.03, sampler="tempering")
            ends.append(run.estimates["test"])
        slope = (ends[0].value - ends[1].value) / (2 * h)
        error = np.hypot(ends[0].mcse, ends[1].mcse) / (2 * h)
        value, own = found.value[i, 0], found.error[i, 0]
        z, gaussian = (value - slope) / np.hypot(own, error), found.harmonic[i, 0]
        print(f"row {i}: influence {value:.5f} ± {own:.5f}, differences {slope:.5f} ± {error:.5f}, z {z:.1f}; "
              f"Gaussian {gaussian:.5f}", flush=True)  # fmt: skip


def classifier(gamma):
    params, metadata = networks.load_checkpoint(DATA / "digits_mlp.safetensors")
    rows = load_digits(DATA / "digits.npz")
    loss, decay = networks.mlp_loss("tanh", "cross_entropy"), metadata["weight_decay"]
    target = slt.loss_target(loss, params, rows.train, localization=gamma, weight_decay=decay)
    return target, loss, params, rows, decay


def digits(given):
    target, _, _, rows, _ = classifier(given.gamma)
    sets = {"test loss": rows.test}
    sets |= {f"test row {i}": jax.tree.map(lambda a, i=i: a[i : i + 1], rows.test) for i in range(0, 360, 30)}
    found = []
    for seed in (0, 1):
        began = time.process_time()
        found.append(slt.estimate_influence(target, slice(0, None, 7), sets, seed=seed, tolerance=given.tolerance,
                                            max_gradients=given.max_gradients, baseline=not seed))  # fmt: skip
        said = found[-1].diagnostics
        print(f"run {seed}: {found[-1].verdict}, {time.process_time() - began:.0f} s CPU, effective draws of the worst "
              f"{said['ess']:.0f}, two such runs said to agree by {said['agreement']:.2f}, in the worst column by "
              f"{said['least_agreement']:.2f}; reproducible {found[-1].reproducible().sum()}",
              *found[-1].verdict.reasons, sep="\n  ", flush=True)  # fmt: skip
    one, other = found
    between = [stats.spearmanr(one.value[:, j], other.value[:, j])[0] for j in range(len(one.columns))]
    passed = one.reproducible() | other.reproducible()
    if passed.any():
        print(f"of the {passed.sum()} columns that a run calls reproducible the least agree by "
              f"{min(np.array(between)[passed]):.2f}")  # fmt: skip
    z = (one.value - other.value) / np.hypot(one.error, other.error)
    whole = stats.spearmanr(*(part.standardised()[0].ravel() for part in found))[0]
    gaussian = [stats.spearmanr(one.value[:, j], one.harmonic[:, j])[0] for j in range(len(one.columns))]
    print(f"between runs, Spearman of a column: median {np.median(between):.2f}, least {min(between):.2f}; of all "
          f"standardised entries {whole:.2f}; rms z {np.sqrt((z**2).mean()):.2f}\nwith the Gaussian baseline: median "
          f"{np.median(gaussian):.2f}\n{one.statement()}")  # fmt: skip


def retraining(given):
    """Test loss after training on without one of the 20 rows of largest influence, against minus that; L-BFGS from w*.

    Freely, and held to w* as the posterior is, by (gamma/(2 n beta)) |w - w*|^2.
    """
    target, loss, params, rows, decay = classifier(given.gamma)
    found = slt.estimate_influence(target, slice(0, None, 7), {"test loss": rows.test}, tolerance=given.tolerance,
                                   max_gradients=given.max_gradients)  # fmt: skip
    print(found.verdict, found.diagnostics["agreement"], flush=True)
    predicted = {"sampled": -found.value[:, 0], "Gaussian": -found.harmonic[:, 0]}
    chosen = np.argsort(-np.abs(predicted["sampled"]))[:20]

    def held(w, part):
        apart = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), w, params)
        return loss(w, part) + target.localization / (2 * target.nbeta) * sum(jax.tree.leaves(apart))

    for name, objective in (("held to w*", held), ("free", loss)):

        def test_loss(train, objective=objective):
            done = slt.polish(objective, params, train, weight_decay=decay, adam_steps=0, lbfgs_steps=given.steps)
            return float(np.mean(np.asarray(loss(done, rows.test), np.float64)))

        level, changes = test_loss(rows.train), []
        for k in chosen:
            row = int(found.rows[k].removeprefix("row "))
            without = jax.tree.map(lambda a, row=row: np.delete(a, row, 0), rows.train)
            changes.append(test_loss(without) - level)
            print(f"{name}, without row {row}: {changes[-1]:+.6f}, sampled {predicted['sampled'][k]:+.6f} ± "
                  f"{found.error[k, 0]:.6f}, Gaussian {predicted['Gaussian'][k]:+.6f}", flush=True)  # fmt: skip
        for kind, values in predicted.items():
            said = rank_correlation(values[chosen], np.array(changes), np.arange(20))
            print(f"{name}, {kind}: rank correlation with 20 retrainings {said.value:.2f} [{said.low:.2f}, "
                  f"{said.high:.2f}]", flush=True)  # fmt: skip


def observe(given):
    """Four sets of 300 rows of the digits, beside one run and in four of their own."""
    target, _, _, rows, _ = classifier(given.gamma)
    sets = {f"part {k}": jax.tree.map(lambda a, k=k: a[300 * k : 300 * k + 300], rows.train) for k in range(4)}
    options = {"max_gradients": given.max_gradients, "tolerance": 1e-3}

    def timed(**more):
        began = time.process_time()
        run = slt.estimate_llc(target, **options, **more)
        return run, time.process_time() - began

    for again in range(2):  # the first compiles
        plain, alone = timed()
        run, beside = timed(observe=sets)
        same = plain.estimates["llc"] == run.estimates["llc"]
        print(f"{'with' if again else 'before'} compiled programs: {alone:.1f} and {beside:.1f} s CPU, ratio "
              f"{beside / alone:.2f}; the coefficient is the same: {same}", flush=True)  # fmt: skip
    for i, (name, part) in enumerate(sets.items()):
        own = timed(observe={name: part}, seed=i + 1)[0].estimates[name]
        value = run.estimates[name]
        print(f"{name}: {value}, by itself {own}, z {(value.value - own.value) / np.hypot(value.mcse, own.mcse):.1f}")


PARTS = {f.__name__: f for f in (linear, minibatches, blocks, tanh, digits, retraining, observe)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--gamma", type=float, default=100.0)
    parser.add_argument("--tolerance", type=float, default=0.03)
    parser.add_argument("--max-gradients", type=int, default=25_000_000)
    parser.add_argument("--h", type=float, default=0.5, help="change of a weight")
    parser.add_argument("--steps", type=int, default=300, help="of L-BFGS in a retraining")
    given = parser.parse_args()
    for part in given.parts:
        PARTS[part](given)


if __name__ == "__main__":
    main()
