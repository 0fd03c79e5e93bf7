"""The registry of analytic potentials: the ground truth that every sampler and estimator is tried on.

With t = nβ, λ and m describe Z(t) = ∫ φ exp(-tK) ~ C t^-λ (log t)^(m-1), and
`exact` gives E[tK], Var[tK] and log Z at finite t. To add a potential, add one `define(...)` to a catalogue file.
"""

from difflib import get_close_matches
from fractions import Fraction
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

import jax.numpy as jnp

from slt._options import checked
from slt.catalogue.entry import Potential as Potential
from slt.catalogue.entry import define as define
from slt.catalogue.models import model_potentials
from slt.catalogue.polynomials import polynomial_potentials
from slt.catalogue.quadrature import Moments as Moments
from slt.targets.target import Target, potential_target


class Row(NamedTuple):
    """One line of the table of potentials; exact: whether finite-n values are known."""

    name: str
    formula: str
    dim: int
    rlct: Fraction
    multiplicity: int
    exact: bool
    source: str


@cache
def potentials() -> MappingProxyType[str, Potential]:
    """All potentials by name, read-only."""
    entries = (*polynomial_potentials(), *model_potentials())
    return MappingProxyType({entry.name: entry for entry in entries})


@checked
def potential(name: str) -> Potential:
    """The potential of that name.

    Raises:
        ValueError: no such name; lists the nearest ones.
    """
    entries = potentials()
    if name not in entries:
        near = get_close_matches(name, entries, n=5, cutoff=0.4) or list(entries)[:5]
        raise ValueError(
            f"potential: there is no {name!r}. Near it: {', '.join(near)}. "
            f"`potentials()` lists all {len(entries)} names; choose one."
        )
    return entries[name]


def potential_table() -> list[Row]:
    """Name, formula, dimension, λ, m, whether finite-n values are exact, and source of every potential."""
    return [
        Row(p.name, p.formula, p.dim, p.rlct, p.multiplicity, p.exact is not None, p.source)
        for p in potentials().values()
    ]


def target_of(entry: Potential, *, nbeta: float, localization: float | None) -> Target:
    """The posterior of an entry around its minimum.

    Args:
        nbeta: n times beta [1].
        localization: gamma of the prior N(w*, I/gamma); None for the uniform prior on its box.
    """
    minimum = jnp.asarray(entry.minimum, float)
    if localization is None:
        return potential_target(entry.energy, minimum, nbeta=nbeta, box=entry.box, log_weight=entry.log_weight)
    return potential_target(entry.energy, minimum, nbeta=nbeta, localization=localization)
