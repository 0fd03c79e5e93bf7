r"""K = w^(2k), prior N(0, 1): KL of Gibbs against lambda ln t, of gradient flow against (1 - lambda) ln t.

The flow is stopped where its expected K is that of the Gibbs posterior at t = n beta. Truth: quadrature over w_0 of the
closed-form flow map; the package's Runge-Kutta flow stands beside it where its run is short.
Run: python tests/benchmarks/pushforward_singular.py
"""

import json
from pathlib import Path

import jax
import numpy as np
from asked import words
from scipy.optimize import brentq

from slt.catalogue.registry import potential
from slt.pac_bayes.gibbs import gibbs_kl
from slt.pac_bayes.pushforward import push_forward
from slt.pac_bayes.steps import gradient_flow
from slt.targets.gaussian import gaussian_law

RESULT = Path(__file__).with_suffix(".json")
TEMPERATURES = (1e2, 1e3, 1e6, 1e8, 1e10, 1e12)
NODES, WEIGHTS = np.polynomial.legendre.leggauss(4000)
START = 9 * NODES**3  # dense near 0, where late flow still moves
PRIOR = 9 * 3 * NODES**2 * WEIGHTS * np.exp(-0.5 * START**2) / np.sqrt(2 * np.pi)


def flow(start: np.ndarray, k: int, time: float) -> tuple[np.ndarray, np.ndarray]:
    """(w_T, ln|dw_T/dw_0|) in closed form."""
    if k == 1:
        return start * np.exp(-2 * time), np.full(start.shape, -2 * time)
    log_d = np.log1p(2 * k * (2 * k - 2) * time * start ** (2 * k - 2))
    return start * np.exp(-log_d / (2 * k - 2)), -(2 * k - 1) / (2 * k - 2) * log_d


def matched_time(k: int, mean_energy: float) -> float:
    """Time at which the flow's expected K is that of the Gibbs posterior."""
    gap = lambda log_time: np.log(PRIOR @ flow(START, k, np.exp(log_time))[0] ** (2 * k) / mean_energy)  # noqa: E731
    return float(np.exp(brentq(gap, -20, 80 if k > 1 else 4, xtol=1e-13)))


def flow_divergence(k: int, time: float) -> float:
    end, log_det = flow(START, k, time)
    return float(PRIOR @ (0.5 * (end**2 - START**2) - log_det))


def package(k: int, time: float) -> float:
    """The same by the package's flow, averaged with Gauss-Legendre weights on [-4.5, 4.5]."""
    nodes, weights = np.polynomial.legendre.leggauss(120)
    start, law = 4.5 * nodes, gaussian_law([0.0], 1.0)
    stiffest = 2 * k * (2 * k - 1) * 4.5 ** (2 * k - 2)
    steps = int(np.ceil(time * stiffest / 0.5))
    training = gradient_flow(lambda w, batch: w[0] ** (2 * k), time_step=time / steps)
    run = push_forward(jax.random.key(0), start[:, None], training, (), law=law, times=(steps,))
    prior = 4.5 * weights * np.exp(-0.5 * start**2) / np.sqrt(2 * np.pi)
    return float(prior @ run.log_ratio[:, 0] / prior.sum())


def case(k: int) -> dict:
    rows = []
    for t in TEMPERATURES:
        moments = potential(f"pow{2 * k}").exact(t, localization=1.0)
        time = matched_time(k, moments.mean / t)
        gibbs = gibbs_kl([moments.log_evidence] * 2, [moments.mean / t] * 2, nbeta=t).value.value
        row = {"t": t, "time": time, "gibbs": gibbs, "pushforward": flow_divergence(k, time)}
        if t <= 1e3:
            row["package"] = package(k, time)
        rows.append(row)
    log_t = np.log([row["t"] for row in rows[-3:]])
    slopes = {name: float(np.polyfit(log_t, [r[name] for r in rows[-3:]], 1)[0]) for name in ("gibbs", "pushforward")}
    return {"k": k, "rlct": 1 / (2 * k), "slopes": slopes, "rows": rows}


def main() -> None:
    words(__doc__)
    result = [case(k) for k in (1, 2, 3)]
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    for entry in result:
        rlct, slopes = entry["rlct"], entry["slopes"]
        print(
            f"k = {entry['k']}: slope of KL_Gibbs {slopes['gibbs']:.5f} (λ = {rlct:.5f}), "
            f"of KL_pushforward {slopes['pushforward']:.5f} (1 - λ = {1 - rlct:.5f})"
        )
        for row in entry["rows"]:
            print("   " + ", ".join(f"{name} {value:.8g}" for name, value in row.items()))


if __name__ == "__main__":
    main()
