"""λ and m of an ideal from its Newton polyhedron, with the proof of nondegeneracy on all compact faces or without.

At a torus point of the divisors of a face of weights w, with f_w the part of f of least weight, the pulled-back ideal
is u^c (f_1,w, ..., f_r,w, ...). It has the polyhedron's λ there if no f_i,w vanish together, or if at every real
common zero their rank s exceeds that λ (s coordinates v_1, ..., v_s lie in the ideal and alone would give s). For one
function Π p_i^e_i the p_i that vanish must have independent gradients, and λ = min(polyhedron, 1/e_i of those that do).
Source: Varchenko 1976; Saito 2007, arXiv:0707.2308; Lin 2011, thesis (ideals, weights).
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations
from math import floor, inf
from time import process_time
from typing import NamedTuple

import numpy as np
import sympy
from scipy.optimize import linprog
from sympy.polys.rings import PolyRing

from slt.exact.newton import Exponents, Face, Facet, TooLargeError, compact_faces, distance, facets, minimal, rank
from slt.exact.nondegenerate import torus_zeros
from slt.exact.polynomials import Germ, NegativeError, PolyElement

Sheet = tuple[PolyElement, int]


class Answer(NamedTuple):
    """λ and m of Σ|f_i|; exact, or an upper bound; the monomials of the face that decides; why; and what was done."""

    rlct: Fraction
    multiplicity: int
    exact: bool
    face: tuple[sympy.Expr, ...]
    reason: str
    steps: tuple[str, ...] = ()


class _Polyhedron(NamedTuple):
    normals: tuple[Facet, ...]
    rlct: Fraction
    tight: tuple[Facet, ...]
    multiplicity: int
    face: tuple[sympy.Expr, ...]


def polyhedral_answer(germ: Germ, sheets: Sequence[Sheet], *, until: float = inf) -> Answer:
    """The polyhedron's λ and m, exact if nondegeneracy is proved.

    Args:
        germ: the ideal.
        sheets: of a principal ideal, its distinct factors p_i and their powers e_i, other than the variables.
        until: process time after which the faces that are left count as degenerate [s].
    """
    support = minimal(a for f in germ.generators for a in f.monoms())
    try:
        found = _polyhedron(support, germ)
        faces = compact_faces(support, found.normals)
    except TooLargeError as error:
        return _crude(support, germ, str(error))
    if germ.generators[1:]:
        bad = next(_degenerate(germ.generators, faces, found.rlct, until), None)
        return _ideal_answer(found, bad, germ.ring)
    if germ.nonnegative:
        _check_vertices(germ.generators[0], faces)
    return _principal_answer(germ, sheets, faces, found, until)


def _polyhedron(support: Sequence[Exponents], germ: Germ) -> _Polyhedron:
    normals = facets(support)
    rlct, tight = distance(normals, germ.weight)
    return _Polyhedron(normals, rlct, tight, rank(f.weights for f in tight), tight_face(germ, tight))


def tight_face(germ: Germ, tight: Sequence[Facet]) -> tuple[sympy.Expr, ...]:
    """The monomials on all these facets."""
    support = minimal(a for f in germ.generators for a in f.monoms())
    on = [a for a in support if all(_dot(f.weights, a) == f.level for f in tight)]
    return _monomials(on, germ.ring)


def _monomials(exponents: Sequence[Exponents], ring: PolyRing) -> tuple[sympy.Expr, ...]:
    return tuple(ring.from_dict({a: ring.domain.one}).as_expr() for a in sorted(exponents))


def _dot(left: Sequence[int], right: Sequence[int]) -> int:
    return sum(x * y for x, y in zip(left, right, strict=True))


def _crude(support: Sequence[Exponents], germ: Germ, why: str) -> Answer:
    """The bound of one weight vector, which is valid whatever the weights: those of a linear program in floats."""
    sizes = [float(t + 1) for t in germ.weight]
    program = linprog(sizes, A_ub=-np.array(support, float), b_ub=-np.ones(len(support)))
    weights = [max(Fraction(0), Fraction(float(w)).limit_denominator(60)) for w in program.x]
    levels = [sum(w * k for w, k in zip(weights, a, strict=True)) for a in support]
    on = [a for a, level in zip(support, levels, strict=True) if level == min(levels)]
    rlct = sum((w * (t + 1) for w, t in zip(weights, germ.weight, strict=True)), Fraction(0)) / min(levels)
    return Answer(rlct, 1, False, _monomials(on, germ.ring), f"{why}; this is the bound of its least weights")


def _initial(f: PolyElement, weights: Exponents, level: int) -> PolyElement:
    return f.ring.from_dict({a: c for a, c in f.terms() if _dot(weights, a) == level})


def _level(f: PolyElement, weights: Exponents) -> int:
    return min(_dot(weights, a) for a in f.monoms())


def _degenerate(
    generators: Sequence[PolyElement], faces: Sequence[Face], rlct: Fraction, until: float
) -> Iterator[Face]:
    for face in faces:
        level = min(_level(f, face.weights) for f in generators)
        system = [part for f in generators if (part := _initial(f, face.weights, level))]
        if process_time() > until or not torus_zeros(system, floor(rlct) + 1).regular:
            yield face


def _ideal_answer(found: _Polyhedron, bad: Face | None, ring: PolyRing) -> Answer:
    return Answer(found.rlct, found.multiplicity, bad is None, found.face, _why(bad, ring))


def _why(bad: Face | None, ring: PolyRing) -> str:
    if bad is None:
        return "nondegenerate on every compact face of the Newton polyhedron"
    names = ", ".join(map(str, _monomials(sorted(bad.exponents), ring)))
    return f"degenerate, or not shown to be nondegenerate, on the compact face {{{names}}}"


def _check_vertices(f: PolyElement, faces: Sequence[Face]) -> None:
    terms = dict(f.terms())
    for face in faces:
        if len(face.exponents) == 1:
            (a,) = face.exponents
            if terms[a] < 0 or any(k % 2 for k in a):
                raise NegativeError(f"the monomial {_monomials([a], f.ring)[0]} leads along some curve to the point")


def _principal_answer(
    germ: Germ, sheets: Sequence[Sheet], faces: Sequence[Face], found: _Polyhedron, until: float
) -> Answer:
    """min(polyhedron's λ, 1/e of the sheets with real zeros near the point), where the sheets cross normally."""
    meet = False
    exist: dict[int, bool | None] = dict.fromkeys(range(len(sheets)), False)
    reach = dict.fromkeys(range(len(sheets)), 0)
    for face in faces:
        parts = [_initial(p, face.weights, _level(p, face.weights)) for p, _ in sheets]
        loose = [i for i, part in enumerate(parts) if len(part) > 1]
        for size in range(1, len(loose) + 1):
            for chosen in combinations(loose, size):
                zeros = torus_zeros([parts[i] for i in chosen], size)
                if process_time() > until or not zeros.regular:
                    return _ideal_answer(found, face, germ.ring)
                if size > 1:
                    meet |= zeros.exist is not False
                elif zeros.exist is not False:
                    (i,) = chosen
                    exist[i] = exist[i] or zeros.exist
                    through = rank(f.weights for f in face.facets if f in found.tight)
                    reach[i] = max(reach[i], through + 1)
    if germ.nonnegative and any(exist[i] and e % 2 for i, (_, e) in enumerate(sheets)):
        raise NegativeError("it changes sign across a real branch of its zeros")
    return _with_sheets(germ, sheets, found, (exist, reach, meet))


def _with_sheets(germ: Germ, sheets: Sequence[Sheet], found: _Polyhedron, zeros: tuple) -> Answer:
    exist, reach, meet = zeros
    plain = _ideal_answer(found, None, germ.ring)
    possible = [i for i, (_, e) in enumerate(sheets) if exist[i] is not False and Fraction(1, e) <= found.rlct]
    if not possible:
        return plain
    branch = min(Fraction(1, sheets[i][1]) for i in possible)
    deepest = [i for i in possible if Fraction(1, sheets[i][1]) == branch]
    if any(exist[i] is None for i in possible) or (meet and len(deepest) > 1):
        why = "whether the strict transforms have real zeros, or where they meet, was not decided"
        return plain._replace(exact=False, reason=why)
    if branch < found.rlct:
        return Answer(
            branch, 1, True, (), "a smooth real branch of the zeros lies deeper than the polyhedron's divisors"
        )
    multiplicity = max(found.multiplicity, *(reach[i] for i in deepest))
    return plain._replace(multiplicity=multiplicity, reason=f"{plain.reason}, with a smooth branch of the same order")
