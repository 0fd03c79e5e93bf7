"""Assertions, and planted faults, shared by the tests."""

from scipy import stats

from slt._types import Estimate
from slt.estimate import chains


def assert_agrees(estimate: Estimate, exact: float, *, resolution: float, false_fail: float) -> None:
    r"""Demand $t \cdot \mathrm{mcse} \le$ resolution and $|\text{value} - \text{exact}| \le t \cdot \mathrm{mcse}$.

    The first demand keeps a noisy run from passing, the second a wrong one. t is the two-sided Student quantile.

    Args:
        estimate: the Monte Carlo number under test.
        exact: what it must agree with [unit of the estimate].
        resolution: the discrepancy this test must be able to detect [unit of the estimate].
        false_fail: probability that a right estimator fails the second demand [1].

    Raises:
        AssertionError: the run is too noisy, or the value is wrong.
    """
    half = stats.t.ppf(1 - false_fail / 2, estimate.dof) * estimate.mcse
    gap = abs(estimate.value - exact)
    numbers = (
        f"value {estimate.value:.6g}, exact {exact:.6g}, gap {gap:.3g}; "
        f"mcse {estimate.mcse:.3g}, dof {estimate.dof:.3g}; "
        f"half-width {half:.3g} at false-failure rate {false_fail:g}; resolution asked {resolution:.3g}"
    )
    assert half <= resolution, f"too noisy to resolve {resolution:.3g}: {numbers}"
    errors = gap / estimate.mcse if estimate.mcse else float("inf")
    assert gap <= half, f"wrong by {errors:.2g} standard errors: {numbers}"


def misjudge(monkeypatch, factor: float) -> None:
    """Tuning of chains that ends with a step so many times the right one."""
    tune = chains.tune

    def too_bold(*args):
        plan, positions = tune(*args)
        return plan._replace(step_size=factor * plan.step_size), positions

    monkeypatch.setattr(chains, "tune", too_bold)
