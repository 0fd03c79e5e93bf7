"""Default estimates of the catalogue's potentials beside their exact finite-n values."""

import math
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax

from slt._progress import tracked
from slt._types import Estimate
from slt.catalogue.networks import networks, references
from slt.catalogue.registry import potential, potentials, target_of
from slt.estimate.llc import estimate_llc
from slt.targets.target import Target

VALIDATION_NBETA = 1e4
QUICK = ("pow2", "pow4", "quad_r5_d20", "x2y2", "x2y4", "x2y2z2", "parabola", "cusp", "abx_truth0", "rrr_2_2_2_0")
"""A case of each kind, for `slt validate --suite quick`."""


class ValidationRow(NamedTuple):
    """One estimate of `slt validate` beside its exact values.

    case: name in the catalogue; rlct, multiplicity: exact, NaN and 0 of a network; nbeta, exact: the finite-n value at
    that n times beta; z: (estimate - exact)/error, that of a reference included; status: of the verdict; seconds: wall
    time; seed: of the run.
    """

    case: str
    rlct: float
    multiplicity: int
    nbeta: float
    exact: float
    estimate: Estimate
    z: float
    status: str
    seconds: float
    seed: int


def validate(
    cases: Sequence[str] | None = None, *, suite: str = "quick", seeds: Sequence[int] = (0,), progress: bool = False
) -> Iterator[ValidationRow]:
    """Default estimates against exact values at n beta = 1e4: "name" under N(w*, I), "name@box" under the box's prior.

    Those of the suite "networks" are "name@gamma": trained nets beside long full-batch chains, at beta = 1/log n.

    Raises:
        ValueError: an unknown suite or case, or one without an exact value.
    """
    if suite not in SUITES:
        raise ValueError(f"validate: suite is {suite!r}; it must be one of {', '.join(SUITES)}.")
    names = list(cases) if cases else SUITES[suite]()
    runs = [(name, seed) for name in names for seed in seeds]
    with tracked(progress, len(runs), "runs") as update:
        for done, (name, seed) in enumerate(runs):
            update(done, f"{name}, seed {seed}")
            yield _validate_one(name, seed)


def _full_suite() -> list[str]:
    known = [entry for entry in potentials().values() if entry.exact is not None]
    suffix = {"gaussian": "", "uniform": "@box"}
    return [entry.name + suffix[prior] for entry in known for prior in entry.priors]


SUITES = {
    "quick": lambda: list(QUICK),
    "full": _full_suite,
    "networks": lambda: [f"{network}@{gamma:g}" for network, gamma in references()],
}
"""Names of the cases of each suite."""


class _Case(NamedTuple):
    """What is estimated, and what is known of it; exact: with the error of a reference, 0 where it is a closed form."""

    target: Target
    rlct: float
    multiplicity: int
    exact: Estimate


def _validate_one(name: str, seed: int) -> ValidationRow:
    case = _of_network(name) if name.partition("@")[0] in networks() else _of_potential(name)
    started = time.perf_counter()
    result = estimate_llc(case.target, seed=seed)
    estimate = result.estimates["llc"]
    return ValidationRow(
        case=name,
        rlct=case.rlct,
        multiplicity=case.multiplicity,
        nbeta=case.target.nbeta,
        exact=case.exact.value,
        estimate=estimate,
        z=(estimate.value - case.exact.value) / math.hypot(estimate.mcse, case.exact.mcse),
        status=result.verdict.status,
        seconds=time.perf_counter() - started,
        seed=seed,
    )


def _of_potential(name: str) -> _Case:
    base, _, prior = name.partition("@")
    entry = potential(base)
    if prior not in ("", "box") or {"": "gaussian", "box": "uniform"}[prior] not in entry.priors:
        raise ValueError(
            f"validate: {name!r} is not a case; {base} has the priors {', '.join(entry.priors)} ('@box' is uniform)."
        )
    if entry.exact is None:
        raise ValueError(f"validate: {base} has no exact finite-n value; `slt potentials` shows which have.")
    gamma = None if prior else 1.0
    with jax.enable_x64(True):
        exact = entry.exact(VALIDATION_NBETA, localization=gamma).mean
        target = target_of(entry, nbeta=VALIDATION_NBETA, localization=gamma)
    return _Case(target, float(entry.rlct), entry.multiplicity, Estimate(exact, 0.0))


def _of_network(name: str) -> _Case:
    base, _, gamma = name.partition("@")
    known = {f"{network}@{gamma:g}": (network, gamma) for network, gamma in references()}
    if name not in known:
        near = [case for case in known if case.startswith(f"{base}@")] or list(known)
        raise ValueError(f"validate: {name!r} has no reference; these have: {', '.join(near)}.")
    target = networks()[base].target(float(gamma))
    return _Case(target, math.nan, 0, references()[known[name]].estimate)
