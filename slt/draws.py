"""What a run leaves behind: draws with their diagnostics, and the result computed from them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from arviz_stats.base.array import array_stats
from jaxtyping import Float, PyTree

from slt._rows import Glance, as_html, as_text, to_dataframe
from slt._types import Estimate


class Draws(NamedTuple):
    """Kept draws of several chains; burn-in stands apart and is never averaged.

    loss: excess loss L_n(w) - L_n(w*) of each kept draw [nats/datum], dims (chain, draw).
    warmup_loss: the same during warm-up, for the trace only, dims (chain, warmup_draw).
    acceptance_rate, diverging: per kept draw, dims (chain, draw).
    first_divergence: index of the first non-finite draw of each chain (-1: none), dims (chain,).
    num_gradients: gradient evaluations spent, each on one batch, warm-up and tuning included.
    positions: parameters of each kept draw, leading dims (chain, draw), or None.
    log_likelihood: log p(x_i | w) of thinned draws [nats], dims (chain, thinned_draw, datum), or None.
    """

    loss: Float[np.ndarray, "chain draw"]
    warmup_loss: Float[np.ndarray, "chain warmup_draw"]
    acceptance_rate: Float[np.ndarray, "chain draw"]
    diverging: np.ndarray
    first_divergence: np.ndarray
    num_gradients: int
    positions: PyTree[np.ndarray] | None = None
    log_likelihood: Float[np.ndarray, "chain thinned_draw datum"] | None = None

    def glance(self) -> Glance:
        """What `repr` shows: how many, never the draws themselves."""
        chains, draws = self.loss.shape
        kept = [name for name in ("positions", "log_likelihood") if getattr(self, name) is not None]
        return Glance(f"Draws: {chains} chains of {draws}, warm-up {self.warmup_loss.shape[1]}", [], kept)

    __repr__ = as_text
    _repr_html_ = as_html


class Verdict(NamedTuple):
    """status: "converged", "not converged", "biased" or "not a minimum"; reasons: why, with the remedy."""

    status: str
    reasons: tuple[str, ...] = ()


class Cell(NamedTuple):
    """One estimate of a result, as a row of its table."""

    name: str
    estimate: Estimate
    status: str


class Result(NamedTuple):
    """One target, one posterior, one set of numbers; what `store` writes and `plotting` draws.

    estimates: by name, e.g. "llc", "llc_variance", "llc_two_temperature".
    diagnostics: plain numbers, e.g. "rhat", "ess", "divergences", "gradient_norm", "seconds".
    settings: what produced the run, e.g. "sampler", "step_size", "nbeta", "localization", "num_params", "seed".
    pointwise: values per datum, e.g. of "waic", where they were computed.
    refused: for estimates that are NaN as this run cannot support them, the verdict that says why.
    """

    estimates: dict[str, Estimate]
    verdict: Verdict
    draws: Draws
    diagnostics: dict[str, float]
    settings: dict[str, str | float | int]
    pointwise: dict[str, Float[np.ndarray, " datum"]] | None = None
    refused: dict[str, Verdict] | None = None

    def rows(self) -> list[Cell]:
        """A row for every estimate, with the status of the verdict on it."""
        refused = self.refused or {}
        return [Cell(name, x, refused.get(name, self.verdict).status) for name, x in self.estimates.items()]

    def glance(self) -> Glance:
        """What `repr` shows: the posterior, every estimate with its error, and why not to trust it."""
        known = {"d": "num_params", "n": "num_data", "nβ": "nbeta", "γ": "localization", "seed": "seed"}
        facts = [f"{sign} = {self.settings[name]:.6g}" for sign, name in known.items() if name in self.settings]
        lines = [(cell.name, cell.estimate, cell.status) for cell in self.rows()]
        return Glance(f"Result, {self.verdict.status}: {', '.join(facts)}", lines, self.verdict.reasons)

    def to_dataframe(self) -> Any:
        """The estimates as a `pandas.DataFrame`, a row each."""
        return to_dataframe(self.rows())

    def to_datatree(self) -> Any:
        """The whole result as an `xarray.DataTree` in the ArviZ schema; see `slt.store`."""
        from slt import store

        return store.to_datatree([self])

    __repr__ = as_text
    _repr_html_ = as_html


Watch = Callable[[int, PyTree], None]
"""(group, positions with the leading axes chain and particle) -> None, called every few steps of a run.

A run has the groups 0 and 1; one that starts again after a divergence has two new ones, and all before are void."""


class Options(NamedTuple):
    """What `estimate_llc` was asked for, see there; who else looks at the positions, and after how many draws again.

    effective: draws worth of an independent one that chains have to have, however precise their mean energy is.
    """

    seed: int
    tolerance: float
    max_gradients: int
    num_chains: int
    batch_size: int
    progress: bool
    checkpoint: Path | None = None
    watch: Watch | None = None
    mesh: Any = None
    warm_start: tuple[float, int] | None = None
    spacing: int = 1
    max_seconds: float | None = None
    effective: float = 0.0

    def asked(self, estimate: Estimate) -> float:
        """The standard error to reach [1]."""
        return self.tolerance * max(abs(estimate.value), 0.25)

    def unmet(self, estimate: Estimate) -> tuple[str, ...]:
        """A sentence where the budget ended before the tolerance was met, by more than its own uncertainty."""
        if estimate.mcse <= 1.05 * self.asked(estimate):
            return ()
        return (
            f"The budget ended at a standard error of {estimate.mcse:.2g}, above the {self.asked(estimate):.2g} asked.",
        )


def rhat(values: Float[np.ndarray, "chain draw"]) -> float:
    """Rank-normalised split R-hat (Vehtari et al. 2021, arXiv:1903.08008), by arviz-stats."""
    return _scalar(array_stats.rhat(np.asarray(values, np.float64), method="rank"))


def ess(values: Float[np.ndarray, "chain draw"]) -> float:
    """Effective sample size for the mean (Vehtari et al. 2021, arXiv:1903.08008), by arviz-stats."""
    return _scalar(array_stats.ess(np.asarray(values, np.float64), method="mean"))


def effective(values: Float[np.ndarray, "..."], mcse: float) -> float:
    """Independent draws, out of these, whose mean would have that standard error; all of them where it has none."""
    return float(values.var() / mcse**2) if mcse > 0 else float(values.size)


def mcse(values: Float[np.ndarray, "chain draw"]) -> float:
    """Monte Carlo standard error of the mean (Vehtari et al. 2021, arXiv:1903.08008), by arviz-stats."""
    return _scalar(array_stats.mcse(np.asarray(values, np.float64), method="mean"))


def _scalar(value: Any) -> float:
    return float(np.asarray(value))
