"""The Newton polyhedron of a set of exponents: conv(exponents) + R^n_≥0, its facets, compact faces and distance.

All in integers, so a facet is its own certificate: weights w >= 0 with w·a >= c for every exponent a bound the RLCT
of Σ|f_i| from above by Σ w_i (τ_i + 1) / c, whatever the polynomials, and the least of these bounds is the Newton
polyhedron's λ. Source: Varchenko 1976; Arnold, Gusein-Zade & Varchenko, vol. II; Lin 2011, thesis (weights τ).
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import gcd
from typing import NamedTuple

Exponents = tuple[int, ...]
MAX_RAYS = 6000
MAX_FACES = 4000
MAX_WORK = 20_000_000
"""Comparisons of rays, and of faces, before a polyhedron is given up: seconds."""


class Facet(NamedTuple):
    """w·a >= level for every point a of the polyhedron, with primitive weights w >= 0."""

    weights: Exponents
    level: int


class Face(NamedTuple):
    """A compact face: its exponents, weights of its relative interior (all positive), and its normal facets."""

    exponents: frozenset[Exponents]
    weights: Exponents
    facets: tuple[Facet, ...]


class TooLargeError(ArithmeticError):
    """The polyhedron has too many facets or faces to be listed."""


def minimal(exponents: Iterable[Exponents]) -> tuple[Exponents, ...]:
    """Exponents that no other divides; no other lies on a compact face."""
    kept: list[Exponents] = []
    for a in sorted(set(exponents), key=lambda a: (sum(a), a)):
        if not any(all(x <= y for x, y in zip(b, a, strict=True)) for b in kept):
            kept.append(a)
    return tuple(kept)


def facets(exponents: Iterable[Exponents]) -> tuple[Facet, ...]:
    """Every facet of positive level: the extreme rays (w, c) of {w >= 0, 0 <= c <= min_a w·a} with c = min > 0.

    The double description method: rays of the orthant, then one inequality w·a >= c after the other.

    Raises:
        TooLargeError: more than MAX_RAYS rays on the way, or more than MAX_WORK comparisons.
    """
    points = minimal(exponents)
    n = len(points[0])
    rays = [tuple(int(i == j) for j in range(n + 1)) for i in range(n + 1)]
    tight = [((1 << (n + 1)) - 1) ^ (1 << i) for i in range(n + 1)]
    work = 0
    for number, a in enumerate(points):
        signs = [_dot(r, (*a, -1)) for r in rays]
        work += len(rays) * sum(s > 0 for s in signs) * sum(s < 0 for s in signs)
        if work > MAX_WORK:
            raise TooLargeError(f"the Newton polyhedron has too many facets ({len(rays)} on the way)")
        rays, tight = _cut(rays, tight, (*a, -1), 1 << (n + 1 + number))
        if len(rays) > MAX_RAYS:
            raise TooLargeError(f"the Newton polyhedron has more than {MAX_RAYS} facets")
    return tuple(Facet(r[:-1], r[-1]) for r in rays if r[-1] > 0)


def _cut(rays: list[Exponents], tight: list[int], normal: Exponents, bit: int) -> tuple[list[Exponents], list[int]]:
    """Rays of the cone cut by normal·r >= 0: those inside, and one on each edge that crosses the plane."""
    values = [_dot(r, normal) for r in rays]
    kept = [(r, t | bit if v == 0 else t) for r, t, v in zip(rays, tight, values, strict=True) if v >= 0]
    above = [i for i, v in enumerate(values) if v > 0]
    below = [i for i, v in enumerate(values) if v < 0]
    for i in above:
        for j in below:
            common = tight[i] & tight[j]
            if _adjacent(common, i, j, tight):
                mixed = tuple(values[i] * y - values[j] * x for x, y in zip(rays[i], rays[j], strict=True))
                kept.append((_primitive(mixed), common | bit))
    return [r for r, _ in kept], [t for _, t in kept]


def _adjacent(common: int, i: int, j: int, tight: Sequence[int]) -> bool:
    return not any(common & t == common for k, t in enumerate(tight) if k not in (i, j))


def _primitive(vector: Exponents) -> Exponents:
    divisor = gcd(*vector)
    return tuple(x // divisor for x in vector)


def _dot(left: Iterable, right: Iterable):
    return sum(x * y for x, y in zip(left, right, strict=True))


def pole(facet: Facet, weight: Sequence[Fraction]) -> Fraction:
    """The candidate Σ w_i (τ_i + 1) / c of the divisor that a facet stands for [1]."""
    return Fraction(_dot(facet.weights, (t + 1 for t in weight)), facet.level)


def distance(normals: Sequence[Facet], weight: Sequence[Fraction]) -> tuple[Fraction, tuple[Facet, ...]]:
    """λ = min pole over the facets, and the facets that attain it: those through the point (τ + 1) / λ."""
    poles = [pole(facet, weight) for facet in normals]
    return min(poles), tuple(facet for facet, value in zip(normals, poles, strict=True) if value == min(poles))


def rank(rows: Iterable[Sequence[int]]) -> int:
    """Rank of an integer matrix."""
    return len(lattice_basis(rows))


def lattice_basis(rows: Iterable[Sequence[int]]) -> list[list[int]]:
    """Basis, in echelon form, of the lattice that integer vectors span."""
    left = [list(row) for row in rows if any(row)]
    basis: list[list[int]] = []
    column = 0
    while left:
        active = [row for row in left if row[column]]
        while len(active) > 1:
            pivot = min(active, key=lambda row: abs(row[column]))
            for row in active:
                if row is not pivot:
                    factor = row[column] // pivot[column]
                    row[:] = [x - factor * y for x, y in zip(row, pivot, strict=True)]
            active = [row for row in active if row[column]]
        basis += active
        left = [row for row in left if any(row) and row not in active]
        column += 1
    return basis


def compact_faces(exponents: Iterable[Exponents], normals: Sequence[Facet]) -> list[Face]:
    """Every compact face, from vertices up, as an intersection of facets.

    A face is compact if the weights of its facets have no common zero.

    Raises:
        TooLargeError: more than MAX_FACES faces.
    """
    points = minimal(exponents)
    n = len(points[0])
    axes = tuple(Facet(tuple(int(i == j) for j in range(n)), 0) for i in range(n))
    every = [*normals, *axes]
    on = [sum(1 << k for k, a in enumerate(points) if _dot(f.weights, a) == f.level) for f in every]
    loose = [sum(1 << i for i, w in enumerate(f.weights) if w == 0) for f in every]
    found = _intersections([(p, d) for p, d in zip(on, loose, strict=True) if p])
    faces = []
    for mask in {p for p, d in found if not d}:
        through = [f for f, p in zip(every, on, strict=True) if mask & p == mask]
        weights = tuple(map(sum, zip(*(f.weights for f in through), strict=True)))
        chosen = frozenset(a for k, a in enumerate(points) if mask >> k & 1)
        faces.append(Face(chosen, _primitive(weights), tuple(f for f in through if f.level)))
    return sorted(faces, key=lambda face: (len(face.exponents), sorted(face.exponents)))


def _intersections(sets: list[tuple[int, int]]) -> set[tuple[int, int]]:
    """All intersections of the sets, componentwise, whose first component is not empty."""
    found = set(sets)
    new = list(found)
    work = 0
    while new:
        work += 10 * len(new) * len(sets)
        fresh = {(p & q, d & e) for p, d in new for q, e in sets if p & q} - found
        found |= fresh
        new = list(fresh)
        if len(found) > MAX_FACES or work > MAX_WORK:
            raise TooLargeError(f"the Newton polyhedron has more than {MAX_FACES} faces")
    return found
