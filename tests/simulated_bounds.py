"""Violation rates of the bounds where everything is known: finite hypothesis sets, known risks, exact divergences."""

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from slt.pac_bayes import bernstein, bounds, holdout
from slt.pac_bayes.bounds import FAMILIES, family_bound
from slt.pac_bayes.kl_inverse import kl_inverse_upper

LEVELS = np.array([0.0, 0.5, 1.0])


class Scenario(NamedTuple):
    """posterior: "gibbs" at inverse temperature beta per datum, or "adversary", which knows the true risks.

    risks: range of the true risks. half: share of the risk that comes as losses of 1/2, so that variances differ.
    """

    num_data: int
    hypotheses: int
    risks: tuple[float, float]
    half: float
    posterior: str
    beta: float = 0.0


SCENARIOS = {
    "one hypothesis, n = 50": Scenario(50, 1, (0.3, 0.3), 0.0, "gibbs"),
    "one hypothesis, n = 1000": Scenario(1000, 1, (0.05, 0.05), 0.3, "gibbs"),
    "Gibbs, warm": Scenario(200, 256, (0.05, 0.5), 0.3, "gibbs", 0.2),
    "Gibbs, cold": Scenario(200, 256, (0.2, 0.3), 0.0, "gibbs", 2.0),
    "empirical risk minimiser": Scenario(50, 256, (0.3, 0.3), 0.0, "gibbs", 1e6),
    "adversary, 2 hypotheses": Scenario(50, 2, (0.3, 0.3), 0.0, "adversary"),
    "adversary, 16 hypotheses": Scenario(300, 16, (0.1, 0.3), 0.2, "adversary"),
}


class Sample(NamedTuple):
    """Per data set: posterior means, KL, true risk; and one draw of the posterior with its log ratio."""

    risk: np.ndarray
    second_moment: np.ndarray
    variance: np.ndarray
    exceedances: np.ndarray
    kl: np.ndarray
    truth: np.ndarray
    drawn_risk: np.ndarray
    drawn_log_ratio: np.ndarray
    drawn_truth: np.ndarray


def simulate(scenario: Scenario, num_sets: int, *, seed: int = 0) -> Sample:
    """Losses of every hypothesis independent, so that the counts of the three levels are all that is needed."""
    rng = np.random.default_rng(seed)
    n, truth = scenario.num_data, np.linspace(*scenario.risks, scenario.hypotheses)
    of_half = 2 * scenario.half * truth
    of_one = truth - of_half / 2
    chances = np.stack([1 - of_half - of_one, of_half, of_one], -1)
    shares = rng.multinomial(n, chances, size=(num_sets, scenario.hypotheses)) / n
    mean, square = shares @ LEVELS, shares @ LEVELS**2
    log_q = _log_posterior(scenario, mean, truth)
    q = np.exp(log_q)
    log_ratio = log_q + np.log(scenario.hypotheses)
    drawn = (q.cumsum(1) < rng.uniform(size=(num_sets, 1))).sum(1).clip(max=scenario.hypotheses - 1)
    rows = np.arange(num_sets)
    exceedances = np.stack([(q * (shares[..., 1] + shares[..., 2])).sum(1), (q * shares[..., 2]).sum(1)], -1)
    return Sample(
        risk=(q * mean).sum(1).clip(0, 1),
        second_moment=(q * square).sum(1).clip(0, 1),
        variance=(q * (square - mean**2)).sum(1) * n / (n - 1),
        exceedances=exceedances.clip(0, 1),
        kl=np.where(q > 0, q * log_ratio, 0.0).sum(1).clip(min=0),
        truth=q @ truth,
        drawn_risk=mean[rows, drawn],
        drawn_log_ratio=log_ratio[rows, drawn],
        drawn_truth=truth[drawn],
    )


def _log_posterior(scenario: Scenario, mean: np.ndarray, truth: np.ndarray) -> np.ndarray:
    if scenario.posterior == "gibbs":
        exponent = -scenario.beta * scenario.num_data * mean
        return exponent - logsumexp(exponent, axis=1, keepdims=True)
    best, worst = np.zeros_like(mean), np.full(len(mean), -np.inf)
    for theta in np.concatenate([[0.0], np.logspace(-2, 1.5, 24)]):
        exponent = theta * scenario.num_data * (truth - mean)
        log_q = exponent - logsumexp(exponent, axis=1, keepdims=True)
        q = np.exp(log_q)
        risk, true = (q * mean).sum(1), q @ truth
        kl = np.where(q > 0, q * (log_q + np.log(scenario.hypotheses)), 0.0).sum(1)
        gap = np.where(risk < true, scenario.num_data * _kl(risk, true) - kl, -np.inf)
        best[gap > worst] = log_q[gap > worst]
        worst = np.maximum(worst, gap)
    return best


def _kl(q: np.ndarray, p: np.ndarray) -> np.ndarray:
    q = q.clip(1e-300, 1)
    return q * np.log(q / p) + (1 - q) * np.log(((1 - q) / (1 - p)).clip(1e-300))


def violations(scenario: Scenario, num_sets: int, *, delta: float, seed: int = 0) -> dict[str, float]:
    """Share of data sets whose true risk exceeds each bound."""
    s, n = simulate(scenario, num_sets, seed=seed), scenario.num_data
    setting = {"num_data": n, "delta": delta}
    trade_offs = {  # which know no data
        "Catoni": np.sqrt(2 * (np.log(1 / delta) + 1) / (n * np.mean(scenario.risks))),
        "Catoni, linear": 5 * n**0.5,
    }
    limits = {}
    for name in FAMILIES:
        chosen = {"trade_off": trade_offs[name]} if name in trade_offs else {}
        moments = {"second_moment": s.second_moment, "variance": s.variance}
        limits[name] = family_bound(name, s.risk, s.kl, **setting, **moments, **chosen)
    limits["split-kl"] = bernstein.split_kl_bound(s.exceedances, s.kl, levels=LEVELS, **setting)
    rates = {name: float(np.mean(s.truth > limit)) for name, limit in limits.items()}
    lower = bounds.kl_lower_bound(s.risk, s.kl, **setting)
    single = holdout.single_draw_bound(s.drawn_risk, s.drawn_log_ratio, **setting)
    rates["kl, from below"] = float(np.mean(s.truth < lower))
    rates["single draw"] = float(np.mean(s.drawn_truth > single))
    return rates


def planted(scenario: Scenario, num_sets: int, *, delta: float, seed: int = 0) -> dict[str, float]:
    """The same for bounds with an error planted, to show that the simulation can tell."""
    s, n = simulate(scenario, num_sets, seed=seed), scenario.num_data
    wrong = {
        "kl, divergence left out": bounds.kl_bound(s.risk, 0.0, num_data=n, delta=delta),
        "kl, 2 n data counted": bounds.kl_bound(s.risk, s.kl, num_data=2 * n, delta=delta),
        "kl, confidence left out": kl_inverse_upper(s.risk, s.kl / n),
        "Catoni, confidence left out": family_bound("Catoni, grid", s.risk, s.kl, num_data=n, delta=0.999),
    }
    return {name: float(np.mean(s.truth > limit)) for name, limit in wrong.items()}
