"""What may be done to a germ without changing its RLCT: units, other generators, fewer variables, new coordinates."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import prod
from typing import Any

import sympy
from sympy.polys.matrices import DomainMatrix
from sympy.polys.rings import PolyRing

from slt.exact.newton import Exponents, TooLargeError, compact_faces, facets, lattice_basis
from slt.exact.polynomials import Germ, PolyElement, oriented
from slt.exact.resolution import UndecidedError, resolve

MAX_FACTORED = 150
"""Terms up to which a polynomial is factored."""
MAX_HILBERT = 30
"""Degree in one variable up to which irreducibility is looked for in it."""
PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
MAX_UNITS = 20
"""Terms up to which a generator among others is searched for units and multiples."""
MAX_COLUMNS = 400
"""Monomials up to which generators are made linearly independent."""


def restrict(germ: Germ, generators: Sequence[PolyElement]) -> Germ:
    """The germ of these generators, in a ring of only the variables that they have."""
    ring = generators[0].ring
    used = [i for i in range(ring.ngens) if any(a[i] for f in generators for a in f.monoms())]
    small = PolyRing([ring.symbols[i] for i in used], ring.domain)
    moved = (small.from_dict({tuple(a[i] for i in used): c for a, c in f.terms()}) for f in generators)
    weight = dict(zip(germ.names, germ.weight, strict=True))
    names = map(str, small.symbols)
    return germ._replace(generators=tuple(moved), weight=tuple(weight[name] for name in names))


def factors(f: PolyElement) -> list[tuple[PolyElement, int]]:
    """Factors that vanish at the origin with their powers; a long polynomial gives up only its monomial."""
    ring = f.ring
    low = [min(column) for column in zip(*f.monoms(), strict=True)]
    found = [(x, k) for x, k in zip(ring.gens, low, strict=True) if k]
    rest = ring.from_dict({tuple(k - m for k, m in zip(a, low, strict=True)): c for a, c in f.terms()})
    if rest.coeff(1):
        return found
    few = len(rest) * max(ring.ngens, 2) <= 2 * MAX_FACTORED
    pieces = rest.factor_list()[1] if few and not _seen_irreducible(rest) else [(rest, 1)]
    return [*found, *((p, e) for p, e in pieces if not p.coeff(1))]


def _seen_irreducible(f: PolyElement) -> bool:
    """Whether numbers for all but one variable leave an irreducible polynomial of the same degree in it.

    Factors would stay factors: f has no monomial factor, and so none without x if a coefficient of x^k is a monomial.
    This is quick, where factoring in many variables may take minutes.
    """
    for i in range(f.ring.ngens):
        columns: dict[int, list] = {}
        for a, c in f.terms():
            columns.setdefault(a[i], []).append((a, c))
        if not 0 < max(columns) <= MAX_HILBERT or min(map(len, columns.values())) > 1:
            continue
        for shift in range(3):
            values = [sympy.QQ(PRIMES[(j + shift) % len(PRIMES)]) for j in range(f.ring.ngens)]
            powers = {k: sum(c * _value(a, values, i) for a, c in terms) for k, terms in columns.items()}
            found = sympy.Poly({(k,): sympy.QQ.to_sympy(c) for k, c in powers.items()}, sympy.Symbol("x"))
            if found.degree() == max(columns) and found.is_irreducible:
                return True
    return False


def _value(a: Sequence[int], values: Sequence[Any], left_out: int) -> Any:
    return prod((v**k for j, (v, k) in enumerate(zip(values, a, strict=True)) if j != left_out), start=sympy.QQ(1))


def product_of(sheets: Sequence[tuple[PolyElement, int]]) -> PolyElement:
    """Π p^e."""
    return sympy.prod((p**e for p, e in sheets), start=sheets[0][0].ring.one)


def without_units(f: PolyElement) -> PolyElement:
    """f without the factors that do not vanish at the origin; a homogeneous polynomial has none."""
    if f.coeff(1):
        return f.ring.one
    if len({sum(a) for a in f.monoms()}) == 1 or len(f) > MAX_UNITS:
        return f
    return product_of(factors(f))


def interreduce(generators: Sequence[PolyElement]) -> list[PolyElement]:
    """Simpler generators of the same ideal: no units, no linear dependence, no multiples of one another."""
    current = [without_units(f) for f in generators if f]
    for _ in range(6):
        reduced = _echelon(current)
        for g in sorted(reduced, key=len):
            if g in reduced:
                reduced = [f if f == g else _modulo(f, g) for f in reduced]
                reduced = [f for f in reduced if f]
        reduced = [without_units(f) for f in reduced]
        if set(reduced) == set(current):
            break
        current = reduced
    return current


def _modulo(f: PolyElement, g: PolyElement) -> PolyElement:
    """0 if g divides f; f without the multiples of a monomial g."""
    if len(g) == 1:
        (a,) = g.monoms()
        return f.ring.from_dict({b: c for b, c in f.terms() if any(x < y for x, y in zip(b, a, strict=True))})
    return f.ring.zero if len(f) <= MAX_UNITS and not f.rem(g) else f


def _echelon(generators: Sequence[PolyElement]) -> list[PolyElement]:
    """Reduced row echelon form of the coefficients, monomials of low degree first."""
    ring = generators[0].ring
    columns = sorted({a for f in generators for a in f.monoms()}, key=lambda a: (sum(a), tuple(-k for k in a)))
    if len(columns) > MAX_COLUMNS:
        return list(generators)
    rows = [[f.get(a, ring.domain.zero) for a in columns] for f in generators]
    matrix = DomainMatrix(rows, (len(rows), len(columns)), ring.domain).rref()[0].to_dense().to_list()
    kept = [{a: c for a, c in zip(columns, row, strict=True) if c} for row in matrix]
    return [ring.from_dict(terms) for terms in kept if terms]


def components(supports: Sequence[frozenset[int]]) -> list[list[int]]:
    """Indices of the supports, grouped so that different groups share no variable."""
    groups: list[tuple[frozenset[int], list[int]]] = []
    for index, support in enumerate(supports):
        touching = [group for group in groups if group[0] & support]
        groups = [group for group in groups if group not in touching]
        merged = support.union(*(variables for variables, _ in touching))
        groups.append((merged, sorted([index, *(i for _, members in touching for i in members)])))
    return [members for _, members in groups]


def support(f: PolyElement) -> frozenset[int]:
    """Indices of the variables of f."""
    return frozenset(i for a in f.monoms() for i, k in enumerate(a) if k)


def summands(f: PolyElement) -> list[PolyElement]:
    """f as a sum of polynomials in disjoint variables."""
    terms = f.terms()
    groups = components([frozenset(i for i, k in enumerate(a) if k) for a, _ in terms])
    return [f.ring.from_dict(dict(terms[i] for i in group)) for group in groups]


def smooth_variable(f: PolyElement, germ: Germ) -> int | None:
    """A variable without weight in which f has a linear term: f itself can take its place."""
    ring = f.ring
    return next((i for i, x in enumerate(ring.gens) if f.coeff(x) and not germ.weight[i]), None)


def eliminate(germ: Germ) -> tuple[PolyElement, int, list[PolyElement]] | None:
    """A generator a u + b with a(0) != 0, its variable u, and the others at u = -b/a, times a power of the unit a."""
    choices = []
    for f in germ.generators:
        for i, x in enumerate(germ.ring.gens):
            if f.coeff(x) and not germ.weight[i] and max(a[i] for a in f.monoms()) == 1:
                choices.append((len(f), len(choices), f, i))
    if not choices:
        return None
    _, _, f, i = min(choices)
    return f, i, [_substitute(g, f, i) for g in germ.generators if g != f]


def _substitute(g: PolyElement, f: PolyElement, i: int) -> PolyElement:
    one = f.ring.one
    a, b = in_powers(f, i)[1], in_powers(f, i).get(0, f.ring.zero)
    parts = in_powers(g, i)
    degree = max(parts)
    terms = (part * ((-b) ** k if k else one) * a ** (degree - k) for k, part in parts.items())
    return sum(terms, f.ring.zero)


def in_powers(f: PolyElement, i: int) -> dict[int, PolyElement]:
    """Coefficients of f as a polynomial in variable i."""
    parts: dict[int, dict[Exponents, object]] = {}
    for a, c in f.terms():
        parts.setdefault(a[i], {})[(*a[:i], 0, *a[i + 1 :])] = c
    return {k: f.ring.from_dict(terms) for k, terms in parts.items()}


def complete_square(f: PolyElement, germ: Germ) -> tuple[int, PolyElement] | None:
    """A variable u with f = a u² + b u + c, a(0) != 0, and 4ac - b²: 4af = (2au + b)² + (4ac - b²)."""
    for i in range(f.ring.ngens):
        parts = in_powers(f, i)
        zero = f.ring.zero
        if max(parts) == 2 and parts[2].coeff(1) and not germ.weight[i]:
            return i, 4 * parts[2] * parts.get(0, zero) - parts.get(1, zero) ** 2
    return None


def is_nonnegative(f: PolyElement, germ: Germ) -> bool:
    """Whether f >= 0 near the origin is plain: even powers, sums, completed squares, or a curve's real branches."""
    if all(c > 0 and not any(k % 2 for k in a) for a, c in f.terms()):
        return True
    part = restrict(germ, (f,))
    f = part.generators[0]
    parts = summands(f)
    if len(parts) > 1:
        return all(is_nonnegative(g, part) for g in parts)
    square = complete_square(f, part._replace(weight=(Fraction(0),) * f.ring.ngens))
    if square is not None:
        i, rest = square
        return in_powers(f, i)[2].coeff(1) > 0 and (not rest or (not rest.coeff(1) and is_nonnegative(rest, part)))
    return f.ring.ngens == 2 and oriented(f) == f and _no_sign_change(f)


def _no_sign_change(f: PolyElement) -> bool:
    try:
        return not resolve((f,), (Fraction(0), Fraction(0))).sign_changes
    except (UndecidedError, TooLargeError):
        return False


def invariant_direction(germ: Germ) -> tuple[int, list[PolyElement]] | None:
    """A variable that a linear change removes: v·∇f = 0 for all generators f, and w_i = 0 is a slice across v."""
    ring = germ.ring
    slopes = [[f.diff(x) for x in ring.gens] for f in germ.generators]
    rows = [[d.get(a, ring.domain.zero) for d in row] for row in slopes for a in {a for d in row for a in d.monoms()}]
    matrix: Any = DomainMatrix(rows, (len(rows), ring.ngens), ring.domain)
    for v in matrix.to_field().nullspace().to_dense().to_list():
        moved = [i for i, x in enumerate(v) if x]
        for i in moved:
            if all(not germ.weight[j] for j in moved if j != i):
                return i, [in_powers(f, i).get(0, ring.zero) for f in germ.generators]
    return None


def shears(germ: Germ) -> Iterator[tuple[str, list[PolyElement]]]:
    """Changes w_i -> w_i + r w^b that move a rational root of an edge polynomial to 0, multiple ones first."""
    found: dict[tuple[int, PolyElement], int] = {}
    for f in germ.generators:
        for p, e in factors(f):
            for i, change, multiplicity in _edge_roots(p):
                if not germ.weight[i]:
                    key = (i, change)
                    found[key] = max(found.get(key, 0), multiplicity * e)
    ring = germ.ring
    for (i, change), _ in sorted(found.items(), key=lambda item: -item[1]):
        x = ring.gens[i]
        sign = "-" if change.LC < 0 else "+"
        text = f"{x} -> {x} {sign} {(-change if change.LC < 0 else change).as_expr()}"
        yield text, [f.compose(x, x + change) for f in germ.generators]


def _edge_roots(p: PolyElement) -> Iterator[tuple[int, PolyElement, int]]:
    """Variable, monomial times root, and multiplicity of the root, for edges along w_i / w^b."""
    try:
        faces = compact_faces(p.monoms(), facets(p.monoms()))
    except TooLargeError:
        return
    terms = dict(p.terms())
    for face in faces:
        points = sorted(face.exponents)
        directions = lattice_basis([x - y for x, y in zip(a, points[0], strict=True)] for a in points)
        if len(directions) != 1:
            continue
        for step in (directions[0], [-x for x in directions[0]]):
            for i in (i for i, k in enumerate(step) if k == 1 and all(x <= 0 for j, x in enumerate(step) if j != i)):
                yield from _roots_along(p, {a: terms[a] for a in points}, step, i)


def _roots_along(p: PolyElement, edge: dict, step: Sequence[int], i: int) -> Iterator[tuple[int, PolyElement, int]]:
    low = min(a[i] for a in edge)
    line = PolyRing(("z",), p.ring.domain)
    poly = line.from_dict({(a[i] - low,): c for a, c in edge.items()})
    other = tuple(0 if j == i else -x for j, x in enumerate(step))
    for q, e in poly.factor_list()[1]:
        if q.degree() == 1 and q.coeff(1):
            yield i, p.ring.from_dict({other: -q.coeff(1) / q.LC}), e


def smooth_intersection(germ: Germ, functions: Sequence[PolyElement]) -> tuple[int, ...]:
    """Variables without weight whose places all these functions can take at once; none if they cannot."""
    free = [i for i, t in enumerate(germ.weight) if not t]
    rows = [[f.coeff(germ.ring.gens[i]) for i in free] for f in functions]
    if not free or len(rows) > len(free):
        return ()
    pivots = DomainMatrix(rows, (len(rows), len(free)), germ.ring.domain).rref()[1]
    return tuple(free[k] for k in pivots) if len(pivots) == len(rows) else ()
