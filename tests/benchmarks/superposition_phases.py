"""The 5-gon to 6-gon transition of the toy model of superposition, c = 6, posterior exp(-n L(w)) N(w; 0, I).

    python tests/benchmarks/superposition_phases.py [--n 150 250 400 600] [--particles 512]

Masses of the phases by tempered SMC from the prior, 16 replicates, against the free energies of the polygons and the
shorter formulas; then the learning coefficients of both points at the same n beta, in the local posterior.
"""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import slt
from slt.catalogue.superposition import polygon, polygon_free_energy, sides, superposition_loss
from slt.geometry.curvature import harmonic_llc, hessian_eigenvalues
from slt.report import plots
from slt.samplers.tempering import tempered_smc
from slt.stats.phases import crossing, phase_log_odds, phase_mass
from slt.stats.replicates import replicate_mean

FIGURE = Path(__file__).with_suffix(".png")
LOCALIZATION = 30.0


def tempered(num_particles):
    """Compiled (key, n) -> positions and evidences of 16 replicates of the posterior at n."""

    def run(key, n):
        smc = tempered_smc(
            lambda w: n * superposition_loss(w), lambda w: -0.5 * w @ w, lambda k: jax.random.normal(k, (18,)),
            num_particles=num_particles, num_integration_steps=8,
        )  # fmt: skip
        current = smc.run(key)
        return current.states.position, current.log_evidence

    return jax.jit(run)


def phases(positions):
    """Phase of every particle, (replicate, particle); the plateau and its well, 5 and 5+, are one basin."""
    names = np.array(sides(positions.reshape(-1, 18))).reshape(positions.shape[:2])
    return {"5-gon": (names == "5") | (names == "5+"), "6-gon": names == "6", "4-gon": np.char.startswith(names, "4")}


def measure(sizes, num_particles):
    """Masses by phase, and log odds of 6 against 5, at every n."""
    run, masses, odds = tempered(num_particles), {}, []
    for n in sizes:
        wall, cpu = time.perf_counter(), time.process_time()
        positions, evidence = map(np.asarray, run(jax.random.key(int(n)), float(n)))
        inside = phases(positions)
        for name, where in inside.items():
            masses.setdefault(name, []).append(phase_mass(where, evidence))
        odds.append(phase_log_odds(inside["6-gon"], inside["5-gon"], evidence))
        row = ", ".join(f"{name} {estimates[-1]}" for name, estimates in masses.items())
        seconds = f"{time.perf_counter() - wall:.0f} s wall, {time.process_time() - cpu:.0f} s CPU"
        print(f"n = {n}: {row}; log odds 6 against 5: {odds[-1]}; {seconds}", flush=True)
    return masses, odds


def predictions(five, six, n):
    """Log odds of 6 against 5: with all constants; with those of the prior density alone; without any."""
    gap = n * (six.loss - five.loss) + float(six.rlct - five.rlct) * np.log(n)
    prior = 0.5 * (6 * (six.length**2 + six.bias**2) - 5 * (five.length**2 + five.bias**2))
    full = polygon_free_energy(six, n) - polygon_free_energy(five, n)
    return {"all constants": (n, -full), "prior density alone": (n, -gap - prior), "no constants": (n, -gap)}


def coefficients(five, six):
    """λ̂ of both points at equal n beta and gamma: 16 replicates of 128 particles, 25 sweeps after 25 of warm-up.

    The pentagon is taken at b_6 = -3, far out on its plateau: nearer the edge the localised posterior at n beta = 10^4
    leaves for the well of the 5+, 69 nats deeper.
    """

    def run(key, center, nbeta):
        def energy(w):
            return nbeta * (superposition_loss(w) - superposition_loss(center))

        smc = tempered_smc(
            energy, lambda w: -0.5 * LOCALIZATION * (w - center) @ (w - center),
            lambda k: center + LOCALIZATION**-0.5 * jax.random.normal(k, (18,)),
            num_particles=128, num_integration_steps=8,
        )  # fmt: skip
        run_key, sweep_key = jax.random.split(key)
        return smc.sweep(sweep_key, smc.run(run_key), 50)[1]

    compiled = jax.jit(run)
    for nbeta in (600.0, 1e4):
        for point in (five, six):
            minimum = jnp.asarray(point.position, jnp.float32)
            minimum = minimum.at[17].set(-3.0) if point is five else minimum
            energies = np.asarray(compiled(jax.random.key(0), minimum, nbeta), np.float64)[:, 25:]
            target = slt.potential_target(superposition_loss, minimum, nbeta=nbeta, localization=LOCALIZATION)
            harmonic = harmonic_llc(hessian_eigenvalues(target), nbeta=nbeta, precision=LOCALIZATION)
            print(
                f"n beta = {nbeta:g}, {point.name}-gon: λ̂ = {replicate_mean(energies.mean((1, 2)))}, "
                f"harmonic {harmonic:.3f}, theory {float(point.rlct):g}",
                flush=True,
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[150, 250, 400, 600])
    parser.add_argument("--particles", type=int, default=512)
    arguments = parser.parse_args()
    five, six = polygon(6, 5), polygon(6, 6)
    masses, odds = measure(arguments.n, arguments.particles)
    print(f"measured crossing: n = {crossing(arguments.n, odds)}")
    lines = predictions(five, six, np.linspace(50, 1000, 96))
    for label, (n, log_odds) in lines.items():
        above = np.flatnonzero((log_odds[:-1] <= 0) & (log_odds[1:] > 0))
        at = np.interp(0, log_odds[above[0] : above[0] + 2], n[above[0] : above[0] + 2]) if len(above) else np.nan
        print(f"predicted crossing, {label}: n = {at:.0f}")
    plots.plot_phases(arguments.n, masses, odds, lines).savefig(FIGURE, dpi=90)
    coefficients(five, six)


if __name__ == "__main__":
    main()
