"""Laws of Boolean functions: both sides of the chain identity at 3 bits, -ln P(S) at 7 bits.

3 bits, net 3-16-1 tanh, prior N(0, 1/fan-in) weights and N(0, 1) biases, S = the majority on five of eight inputs, Q =
full-batch gradient descent on half squared error, step 0.1, 200 steps, starts that then fit S. The left side counts Q
and prior draws; the right side has -ln P(S) and P_B(.|S) from subset simulation and shares no prior draw with it.

7 bits, net 7-40-1 tanh, S = 32 of 128 inputs for the majority, and the first 10 of them for parity: 600 particles
could not fit all 32. Beside it the infinite-width process, of all 32 rows too.
Run: python tests/benchmarks/function_space.py [three_bits] [seven_bits]
"""

import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from asked import words

from slt.pac_bayes.laws import flat_loss, mlp_law, unflatten
from slt.report.plots.base import CHAINS, GREY, new_figure
from slt.studies.function_space import (
    boolean_inputs,
    count_functions,
    draw_functions,
    fit_probability,
    fits,
    function_kl,
    subset_simulation,
)
from slt.studies.infinite_width import nngp_kernel, orthant_probability
from slt.targets.networks import mlp_apply, mlp_init, mlp_loss

RESULT = Path(__file__).with_suffix(".json")


def outputs(widths):
    unravel = unflatten(mlp_init(jax.random.key(0), widths))
    return lambda w, x: mlp_apply(unravel(w), x)[:, 0]


def trained_functions(widths, law, inputs, rows, targets, num, steps=200, step_size=0.1):
    """Labellings of trained nets that fit S, and the share of starts that do."""
    objective = flat_loss(mlp_loss("tanh", "squared_error"), mlp_init(jax.random.key(0), widths))
    signs = jnp.asarray(2.0 * targets - 1, jnp.float32)[:, None]
    batch = {"inputs": jnp.asarray(inputs[rows], jnp.float32), "targets": signs}
    net = outputs(widths)

    def one(w):
        w = jax.lax.fori_loop(0, steps, lambda _, x: x - step_size * jax.grad(objective)(x, batch), w)
        return net(w, jnp.asarray(inputs, jnp.float32)) > 0

    start = jnp.asarray(law.draw(jax.random.key(11), num), jnp.float32)
    labels = np.asarray(jax.jit(lambda s: jax.lax.map(one, s, batch_size=2000))(start))
    keep = fits(labels, rows, targets)
    return count_functions(labels[keep]), float(keep.mean())


def three_bits(num_prior: int = 1_000_000, num_trained: int = 20_000) -> dict:
    widths, inputs = (3, 16, 1), boolean_inputs(3)
    law, net = mlp_law(widths), outputs(widths)
    rows = np.array([0, 1, 3, 6, 7])
    targets = inputs[rows].sum(1) > 0
    prior = draw_functions(jax.random.key(1), net, law, inputs, num_prior)
    trained, share = trained_functions(widths, law, inputs, rows, targets, num_trained)
    left = function_kl(trained, prior)
    evidence, particles = subset_simulation(
        jax.random.key(2), net, law, inputs[rows], targets, num_particles=8000, num_replicates=8, num_moves=30
    )
    unseen = jax.jit(jax.vmap(lambda w: net(w, jnp.asarray(inputs, jnp.float32)) > 0))(
        jnp.asarray(particles, jnp.float32)
    )
    bayes = count_functions(np.asarray(unseen))
    discrepancy = function_kl(trained, bayes, support=2 ** (len(inputs) - len(rows)))
    right = evidence.value + discrepancy.plug_in.value.value
    error = float(np.hypot(evidence.mcse, discrepancy.plug_in.value.mcse))
    counted = fit_probability(prior, rows, targets)
    return {
        "fit_share": share, "functions_of_prior": len(prior.counts), "zipf": prior.counts[:256].tolist(),
        "evidence_counted": counted._asdict(), "evidence_subset": evidence._asdict(),
        "discrepancy": discrepancy.plug_in.value._asdict(),
        "left_plug_in": left.plug_in.value._asdict(), "left_chao_shen": left.corrected.value._asdict(),
        "right": right, "right_error": error, "unseen_mass_of_q": left.unseen,
        "gap_in_errors": (left.plug_in.value.value - right) / float(np.hypot(error, left.plug_in.value.mcse)),
    }  # fmt: skip


def seven_bit_case(name: str, size: int, num_particles: int = 600, num_moves: int = 8, num_replicates: int = 4) -> dict:
    """-ln P(S) of `size` rows; of all 32 by the infinite-width process, too."""
    widths, inputs = (7, 40, 1), boolean_inputs(7)
    law, net = mlp_law(widths), outputs(widths)
    rows = np.sort(np.random.default_rng(0).choice(128, 32, replace=False))
    labels = {"majority": inputs.sum(1) > 0, "parity": inputs.prod(1) > 0}[name]
    kernel = nngp_kernel(inputs[rows], depth=1, activation="tanh")
    case = {
        "rows": size,
        "infinite_width": orthant_probability(kernel[:size, :size], labels[rows[:size]])._asdict(),
        "infinite_width_32": orthant_probability(kernel, labels[rows])._asdict(),
        "uniform": size * float(np.log(2)),
    }
    print(name, case, flush=True)
    cpu = time.process_time()
    evidence, _ = subset_simulation(
        jax.random.key(3), net, law, inputs[rows[:size]], labels[rows[:size]],
        num_particles=num_particles, num_moves=num_moves, num_replicates=num_replicates,
    )  # fmt: skip
    return case | {"subset": evidence._asdict(), "cpu_seconds": time.process_time() - cpu}


def seven_bits() -> dict:
    return {"majority": seven_bit_case("majority", 32), "parity": seven_bit_case("parity", 10)}


def plot_function_prior(laws):
    """Share of every function against its rank, on logarithmic axes, with Zipf's 1/rank for the eye.

    Args:
        laws: name -> counts of functions, most frequent first.
    """
    figure, ax = new_figure()
    for color, (name, counts) in zip(CHAINS, laws.items(), strict=False):
        share = np.asarray(counts, float) / np.sum(counts)
        ax.plot(np.arange(1, len(share) + 1), share, ".", ms=4, color=color, label=f"{name}, {len(share)} functions")
    rank = np.arange(1, max(len(c) for c in laws.values()) + 1)
    ax.plot(rank, 1 / rank / np.sum(1 / rank), color=GREY, lw=1, label="1/rank")
    ax.set(xscale="log", yscale="log", xlabel="rank of the function", ylabel="probability")
    ax.legend(frameon=False)
    return figure


def main() -> None:
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for name in words(__doc__, "PART", ("three_bits", "seven_bits")) or ("three_bits", "seven_bits"):
        result[name] = {"three_bits": three_bits, "seven_bits": seven_bits}[name]()
        RESULT.write_text(json.dumps(result) + "\n")
        print(name, json.dumps({k: v for k, v in result[name].items() if k != "zipf"}, indent=1), flush=True)
    law = {"3-16-1 tanh nets, 3 bits": result["three_bits"]["zipf"]}
    plot_function_prior(law).savefig(RESULT.with_suffix(".png"))


if __name__ == "__main__":
    main()
