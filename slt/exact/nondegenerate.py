"""Real nondegeneracy: do the polynomials of a compact face have a zero in (R*)^n at which their rank is too small?

With b_1, ..., b_d a basis of the lattice that the exponents of a face span, z_j = w^b_j maps (R*)^n onto those
orthants of (R*)^d whose signs the b_j mod 2 can reach, so a face of dimension d is a question in d variables. Decided
by signs (all coefficients alike in an orthant), one variable by Sturm, more by a Groebner basis over Q and the real
roots of its eliminants; what is left is undecided, and nothing is guessed.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import reduce
from itertools import combinations, product
from typing import Any, NamedTuple

import sympy
from sympy.polys.groebnertools import groebner
from sympy.polys.orderings import grevlex, lex
from sympy.polys.rings import PolyRing

from slt.exact.newton import lattice_basis
from slt.exact.polynomials import PolyElement

Signs = tuple[int, ...]
MAX_TERMS = 60
MAX_DEGREE = 12


class Zeros(NamedTuple):
    """Real torus zeros of a face: `regular`: at each of them the rank suffices (True) or it is not known to (False).

    exist: there is one (True), there is none (False), or it is not known (None).
    """

    regular: bool
    exist: bool | None


NONE = Zeros(True, False)


def torus_zeros(system: Sequence[PolyElement], need: int) -> Zeros:
    """Whether the Jacobian of the system in log coordinates has rank `need` at every common zero in (R*)^n."""
    if any(len(f) == 1 for f in system):
        return NONE
    reduced, orthants = _to_lattice(system)
    orthants = [signs for signs in orthants if not any(_definite(f, signs) for f in reduced)]
    if not orthants:
        return NONE
    if reduced[0].ring.ngens == 1:
        return _one_variable(reduced, orthants, need)
    exist = True if len(reduced) == 1 and any(_takes_both_signs(reduced[0], signs) for signs in orthants) else None
    return Zeros(_is_regular(reduced, orthants, need), exist)


def _to_lattice(system: Sequence[PolyElement]) -> tuple[list[PolyElement], list[Signs]]:
    """The system in coordinates z of its lattice, and the orthants of z that real w reach."""
    base = [f.monoms()[0] for f in system]
    shifts = [
        [tuple(x - y for x, y in zip(a, b, strict=True)) for a in f.monoms()] for f, b in zip(system, base, strict=True)
    ]
    basis = lattice_basis(a for rows in shifts for a in rows)
    ring = PolyRing([f"z{j}" for j in range(len(basis))], sympy.QQ)
    reduced = []
    for f, rows in zip(system, shifts, strict=True):
        powers = [_coordinates(row, basis) for row in rows]
        low = [min(column) for column in zip(*powers, strict=True)]
        terms = zip(powers, f.coeffs(), strict=True)
        reduced.append(ring.from_dict({tuple(k - m for k, m in zip(p, low, strict=True)): c for p, c in terms}))
    reached = {(1,) * len(basis)}
    for column in zip(*basis, strict=True):
        flip = tuple(-1 if b % 2 else 1 for b in column)
        reached |= {tuple(s * t for s, t in zip(signs, flip, strict=True)) for signs in reached}
    return reduced, sorted(reached, reverse=True)


def _coordinates(vector: Sequence[int], basis: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Integers k with vector = Σ k_j basis_j, for a basis in echelon form."""
    rest, found = list(vector), []
    for row in basis:
        pivot = next(i for i, x in enumerate(row) if x)
        k = rest[pivot] // row[pivot]
        rest = [x - k * y for x, y in zip(rest, row, strict=True)]
        found.append(k)
    return tuple(found)


def _in_orthant(f: PolyElement, signs: Signs) -> list[tuple[tuple[int, ...], Fraction]]:
    """Terms of f(signs * z)."""
    return [(a, c * sympy.prod(s for s, k in zip(signs, a, strict=True) if k % 2)) for a, c in f.terms()]


def _definite(f: PolyElement, signs: Signs) -> bool:
    return len({c > 0 for _, c in _in_orthant(f, signs)}) == 1


def _takes_both_signs(f: PolyElement, signs: Signs) -> bool:
    ticks = [Fraction(1, 3), Fraction(1), Fraction(3)] if len(signs) < 5 else [Fraction(1, 3), Fraction(3)]
    values = set()
    for z in product(ticks, repeat=len(signs)):
        terms = (Fraction(int(c.numerator), int(c.denominator)) * _monomial(z, a) for a, c in _in_orthant(f, signs))
        values.add(_sign(sum(terms)))
        if {-1, 1} <= values:
            return True
    return False


def _monomial(point: Sequence[Fraction], powers: Sequence[int]) -> Fraction:
    return reduce(lambda total, pair: total * pair[0] ** pair[1], zip(point, powers, strict=True), Fraction(1))


def _sign(value: Fraction | int) -> int:
    return (value > 0) - (value < 0)


def _one_variable(system: Sequence[PolyElement], orthants: Sequence[Signs], need: int) -> Zeros:
    common = reduce(lambda f, g: f.gcd(g), system)
    if not _has_root(common, orthants):
        return NONE
    slopes = [f.diff(f.ring.gens[0]) for f in system]
    double = reduce(lambda f, g: f.gcd(g), slopes, common) if need == 1 else common
    return Zeros(not _has_root(double, orthants), True)


def _has_root(f: PolyElement, orthants: Sequence[Signs]) -> bool:
    """Whether f in one variable, f(0) != 0, has a root of a sign among the orthants."""
    if f.degree() <= 0:
        return False
    poly = sympy.Poly(f.as_expr(), *f.ring.symbols)
    return any(poly.count_roots(*((0, None) if signs[0] > 0 else (None, 0))) > 0 for signs in orthants)


def _is_regular(system: Sequence[PolyElement], orthants: Sequence[Signs], need: int) -> bool:
    """No zero of the system and of all minors of order `need`, in these orthants."""
    equations = [f for f in (*system, *_minors(system, need)) if f]
    ring = system[0].ring
    if sum(map(len, equations)) > MAX_TERMS or max(sum(a) for f in equations for a in f.monoms()) > MAX_DEGREE:
        return False
    with_inverse: Any = PolyRing([*map(str, ring.symbols), "t"], sympy.QQ, order=grevlex)  # pyright: ignore[reportArgumentType]
    unit = with_inverse.one - reduce(lambda x, y: x * y, with_inverse.gens)
    basis = groebner([*(_embed(f, with_inverse) for f in equations), unit], with_inverse)
    if basis == [with_inverse.one]:
        return True
    kept = [f for f in basis if all(a[-1] == 0 for a in f.monoms())]
    left = [s for s in orthants if not any(_definite(f, (*s, 1)) for f in kept)]
    eliminants = [_eliminant(basis, k) for k in range(ring.ngens)] if left else []
    return not any(
        all(e is None or _has_root(e, [(signs[k],)]) for k, e in enumerate(eliminants)) for signs in left
    )  # fmt: skip


def _embed(f: PolyElement, ring: PolyRing) -> PolyElement:
    return ring.from_dict({(*a, 0): c for a, c in f.terms()})


def _minors(system: Sequence[PolyElement], order: int) -> list[PolyElement]:
    """Minors of the Jacobian z_k ∂f_i/∂z_k."""
    gens = system[0].ring.gens
    rows = [[z * f.diff(z) for z in gens] for f in system]
    return [
        _determinant([[row[k] for k in columns] for row in chosen])
        for chosen in combinations(rows, order)
        for columns in combinations(range(len(gens)), order)
    ]


def _determinant(matrix: Sequence[Sequence[PolyElement]]) -> PolyElement:
    if len(matrix) == 1:
        return matrix[0][0]
    terms = [
        (-1) ** k * entry * _determinant([[*row[:k], *row[k + 1 :]] for row in matrix[1:]])
        for k, entry in enumerate(matrix[0])
    ]
    return sum(terms[1:], terms[0])


def _eliminant(basis: Sequence[PolyElement], keep: int) -> PolyElement | None:
    """A polynomial in z_keep alone that vanishes on the zeros, without its root 0, if there is one."""
    ring = basis[0].ring
    order = [*(i for i in range(ring.ngens) if i != keep), keep]
    sorted_ring = PolyRing([ring.symbols[i] for i in order], sympy.QQ, lex)
    moved = [sorted_ring.from_dict({tuple(a[i] for i in order): c for a, c in f.terms()}) for f in basis]
    alone = [f for f in groebner(moved, sorted_ring) if all(not any(a[:-1]) for a in f.monoms())]
    if not alone:
        return None
    low = min(a[-1] for a in alone[0].monoms())
    single = PolyRing((ring.symbols[keep],), sympy.QQ)
    return single.from_dict({(a[-1] - low,): c for a, c in alone[0].terms()})
