"""Time and memory: 150 trainings of a width-8 XOR net with exact KL; stochastic log-determinants on 10^5 parameters.

Run: python tests/benchmarks/pushforward_cost.py [ensemble] [two_product] [lanczos]
"""

import json
import resource
import time
from pathlib import Path

import jax
import numpy as np
from asked import words

from slt.pac_bayes.laws import flat_loss, mlp_law
from slt.pac_bayes.pushforward import kl_curve, push_forward, pushforward_kl
from slt.pac_bayes.steps import LogDet, gradient_descent, lanczos_log_det, two_product_log_det
from slt.report.plots.base import VERMILION, log_scale, new_figure, points
from slt.targets.data import load_digits
from slt.targets.networks import mlp_init, mlp_loss

RESULT = Path(__file__).with_suffix(".json")
DIGITS = Path(__file__).parents[2] / "data" / "digits.npz"
KEY = jax.random.key(0)


def megabytes() -> float:
    """Largest resident memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(call):
    wall, cpu = time.perf_counter(), time.process_time()
    value = call()
    return value, {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}


def ensemble(num_chains=150, steps=1000, width=8) -> dict:
    inputs = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    data = {"inputs": inputs, "targets": inputs[:, :1] * inputs[:, 1:]}
    objective = flat_loss(mlp_loss("tanh", "squared_error"), mlp_init(KEY, (2, width, 1)))
    law = mlp_law((2, width, 1))
    training = gradient_descent(objective, step_size=0.05)
    times = tuple(range(0, steps + 1, 50))
    run, spent = timed(lambda: push_forward(KEY, law.draw(KEY, num_chains), training, data, law=law, times=times))
    plot_kl_curve(times, kl_curve(run), run.loss.mean(0).tolist()).savefig(RESULT.with_suffix(".png"))
    kl = pushforward_kl(run).value
    return {"parameters": law.mean.size, "chains": num_chains, "steps": steps, **spent, "kl": kl.value, "mcse": kl.mcse}


def large(log_det: LogDet, widths=(64, 320, 240, 10), steps=15, num_chains=2) -> dict:
    data = load_digits(DIGITS).train
    objective = flat_loss(mlp_loss("tanh", "cross_entropy"), mlp_init(KEY, widths))
    law = mlp_law(widths, bias_std=0.1)
    before = megabytes()
    training = gradient_descent(objective, step_size=0.05, log_det=log_det)

    def go(number):
        times = (0, number)
        return push_forward(
            KEY, law.draw(KEY, num_chains), training, data, law=law, times=times, vmap_size=1, dtype="float32"
        )

    short = min((timed(lambda: go(1))[1] for _ in range(2)), key=lambda t: t["cpu_seconds"])
    run, spent = timed(lambda: go(1 + steps))
    kl = pushforward_kl(run).value
    per_step = {k: (spent[k] - short[k]) / (steps * num_chains) for k in spent}
    return {
        "parameters": law.mean.size, "data": len(data["inputs"]), "per_step": per_step, "kl": kl.value, "mcse": kl.mcse,
        "megabytes_before": before, "megabytes": megabytes(), "side": run.side,
    }  # fmt: skip


def plot_kl_curve(times, curve, losses):
    """KL(Q_t to P) with 90 % intervals above, mean training loss below, against steps.

    Args:
        times: steps. curve: of `kl_curve`. losses: mean loss at every time [nats/datum].
    """
    figure, (top, bottom) = new_figure(2, height=5.5, sharex=True)
    steps = np.asarray(times)
    points(top, steps, [kl.value for kl in curve], np.ones(len(steps), bool), label=f"{curve[0].side}")
    top.set(ylabel="KL(Q_t ‖ P)  [nats]", title=curve[-1].note)
    bottom.plot(steps, losses, color=VERMILION)
    log_scale(bottom.set_yscale, losses)
    bottom.set(xlabel="steps", ylabel="mean loss [nats/datum]")
    return figure


def main() -> None:
    parts = {
        "ensemble": ensemble,
        "two_product": lambda: large(two_product_log_det()),
        "lanczos": lambda: large(lanczos_log_det()),
    }
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for name in words(__doc__, "PART", parts) or parts:
        result[name] = parts[name]()
        print(name, result[name], flush=True)
        RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
