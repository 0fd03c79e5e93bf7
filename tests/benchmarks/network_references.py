r"""Train the networks of `slt.catalogue.networks` and sample each posterior by long full-batch chains.

python tests/benchmarks/network_references.py --train --only tanh       (weights into slt/catalogue/networks.npz)
python tests/benchmarks/network_references.py --only tanh               (references into slt/catalogue/networks.json)

BAOAB at h sqrt(largest curvature) of .7 and .5 (exact on quadratics at any stable step), half of the chains each, from
w*; a third is dropped. `--adjusted` adds a run of Hamiltonian Monte Carlo of BlackJAX from where these end.
"""

import argparse
import json
import re
import time
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from slt.catalogue.networks import REFERENCES, WEIGHTS, Network, networks
from slt.draws import ess, rhat
from slt.estimate.chains import excess_and_virial
from slt.estimate.rounds import mean
from slt.geometry.landscape import largest_curvature
from slt.samplers.langevin import sghmc
from slt.samplers.run import runner
from slt.stats.learning_coefficient import llc
from slt.targets.minimise import polish

RATIOS = (0.7, 0.5)
CHAINS = 2
"""At each step."""
VIRIAL, GAP = 0.01, 2.5
"""Distance of the virial from 1, and of both estimates in their errors, beyond which a run is no reference."""


def train(network: Network, steps: int) -> dict[str, float]:
    """Adam and L-BFGS on all data until the gradient is small against the noise of the posterior; weights are kept."""
    rng = np.random.default_rng([network.seed, 1])
    params = jax.tree.map(jnp.asarray, network.init(rng))
    data, started = network.data, time.process_time()
    params = polish(
        network.loss, params, data, weight_decay=network.weight_decay, adam_steps=steps, lbfgs_steps=steps,
        learning_rate=3e-3,
    )  # fmt: skip
    kept = dict(np.load(WEIGHTS)) if WEIGHTS.exists() else {}
    kept[network.name] = np.asarray(ravel_pytree(params)[0], np.float32)
    np.savez(WEIGHTS, **dict(sorted(kept.items())))
    target = network.target(network.gammas[0])
    found = {"d": target.num_params, "loss": target.loss_at_minimum, "gradient": target.gradient_norm}
    return found | {"cpu": time.process_time() - started}


def reference(network: Network, gamma: float, *, steps: int, adjusted: bool) -> dict[str, Any]:
    """A row of `networks.json`."""
    target = network.target(gamma)
    observe = jax.tree_util.Partial(excess_and_virial, target.loss, target.energy, target.minimum)
    key, started = jax.random.key(network.seed), time.process_time()
    ends = jax.tree.map(lambda a: jnp.repeat(jnp.asarray(a)[None], CHAINS, 0), target.minimum)
    curvature = float(largest_curvature(key, target.energy, target.minimum, target.data))
    for pilot in range(3):  # the curvature of the typical set
        h = 0.5 / curvature**0.5
        run = runner(sghmc(target.energy, step_size=h, friction=0.05 / h), observe)
        chains, _ = run.advance(run.init(jax.random.fold_in(key, pilot), ends, target.data), target.data, 150)
        ends = chains.states.position
        top = jax.tree.map(lambda a: a[0], ends)
        curvature = max(curvature, float(largest_curvature(key, target.energy, top, target.data)))
    found, virials, energies, effective, sizes = [], [], [], 0.0, []
    for group, ratio in enumerate(RATIOS):
        h = ratio / curvature**0.5
        decay = min(max(2 * h * target.precision**0.5, 0.02), 0.2)
        run = runner(sghmc(target.energy, step_size=h, friction=decay / h), observe)
        chains = run.init(jax.random.fold_in(key, 100 + group), ends, target.data)
        chains, record = run.advance(chains, target.data, int(steps * RATIOS[0] / ratio))
        seen = np.asarray(record.loss, np.float64)
        seen = seen[:, seen.shape[1] // 3 :]
        energy = target.nbeta * seen[..., 0]
        found.append(mean(energy))
        virials.append(seen[..., 1].mean() / target.num_params)
        energies.append(energy)
        effective += ess(energy)
        sizes.append(h)
        thirds = [part.mean() for part in np.array_split(energy, 3, 1)]
        print(f"    h {h:.3g}: {found[-1]}, virial {virials[-1]:.4f}, thirds {np.round(thirds, 1)}", flush=True)
    weights = np.array([1 / e.mcse**2 for e in found])
    value = float(np.dot(weights, [e.value for e in found]) / weights.sum())
    gap = (found[0].value - found[1].value) / float(np.hypot(found[0].mcse, found[1].mcse))
    error = float(weights.sum() ** -0.5) * max(abs(gap) / 1.65, 1.0)
    row = {
        "network": network.name, "gamma": gamma, "estimate": [value, error], "steps": sizes, "gap": gap,
        "adjusted": None, "virial": float(np.mean(virials)), "ess": effective, "d": target.num_params,
        "n": target.num_data, "nbeta": target.nbeta, "kappa": curvature / target.precision - 1,
        "cpu": time.process_time() - started,
    }  # fmt: skip
    if adjusted:
        row["adjusted"] = hamiltonian(jax.random.fold_in(key, 999), target, chains.states.position, curvature, steps)
    return row


def hamiltonian(key: Any, target: Any, ends: Any, curvature: float, steps: int) -> list[float]:
    """Mean and error of the energy under HMC of BlackJAX, from positions of the chains."""
    h, inner = 0.6 / curvature**0.5 / target.num_params**0.1, 12
    flat, unravel = ravel_pytree(target.minimum)

    def log_density(w: Any) -> Any:
        return -target.energy(unravel(w), target.data)

    kernel = blackjax.hmc(log_density, h, jnp.ones(flat.size), inner)

    @jax.jit
    def run(key: Any, start: Any) -> Any:
        def step(state: Any, k: Any) -> Any:
            state, info = kernel.step(k, state)
            return state, (target.loss(unravel(state.position), target.data), info.acceptance_rate)

        return jax.lax.scan(step, kernel.init(start), jax.random.split(key, steps // inner))[1]

    starts = jax.vmap(lambda w: ravel_pytree(w)[0])(ends)
    losses, rate = map(np.asarray, jax.lax.map(lambda a: run(*a), (jax.random.split(key, len(starts)), starts)))
    found = llc(losses[:, losses.shape[1] // 5 :].astype(np.float64), nbeta=target.nbeta)
    print(f"    HMC: {found}, acceptance {rate.mean():.2f}, R-hat {rhat(losses):.3f}", flush=True)
    return [found.value, found.mcse]


def main() -> None:
    """Train, or sample, and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="regular expression on names")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--steps", type=int, default=3000, help="of a chain at the larger step, or of both optimisers")
    parser.add_argument("--adjusted", action="store_true", help="a Metropolis-adjusted run, too")
    arguments = parser.parse_args()
    for network in (n for n in networks().values() if re.search(arguments.only, n.name)):
        if arguments.train:
            found = train(network, arguments.steps)
            print(network.name, {key: round(value, 5) for key, value in found.items()}, flush=True)
            continue
        for gamma in network.gammas:
            print(f"{network.name}, gamma {gamma:g}", flush=True)
            row = reference(network, gamma, steps=arguments.steps, adjusted=arguments.adjusted)
            if abs(row["virial"] - 1) > VIRIAL or abs(row["gap"]) > GAP:
                print(f"    not kept: virial {row['virial']:.4f}, gap {row['gap']:.2f}; raise --steps", flush=True)
                continue
            rows = json.loads(REFERENCES.read_text()) if REFERENCES.exists() else []
            others = [r for r in rows if (r["network"], r["gamma"]) != (network.name, gamma)]
            rows = sorted([*others, row], key=lambda r: (r["network"], r["gamma"]))
            REFERENCES.write_text(json.dumps(rows, indent=1) + "\n")
            print("   ", {key: row[key] for key in ("estimate", "gap", "virial", "kappa")}, flush=True)


if __name__ == "__main__":
    main()
