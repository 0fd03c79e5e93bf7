"""Two variables: the exact real log canonical threshold of every ideal, by toric blow-ups until normal crossing.

At a point with local coordinates (u, v) the ideal is u^A v^B Π p_i^e_i J with distinct reduced curves p_i, an ideal J
of finite codimension, and the measure |u|^a |v|^b. Each edge normal (p, q) of their Newton polygons is a divisor with
candidate (p(a+1) + q(b+1)) / (its order); the real roots z = r of the edge polynomials are the points of it where
something passes, with u' = its equation and v' = z - r there. Complex roots have no real points: they count in the
orders only. Roots are rational, or an algebraic number adjoined exactly; a second adjunction is refused.
Source: Varchenko 1976; Saito 2007, arXiv:0707.2308 (real log canonical thresholds).
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cache, reduce
from itertools import pairwise
from math import inf
from typing import Any, NamedTuple

import sympy
from sympy.polys.rings import PolyRing

from slt.exact.newton import facets
from slt.exact.polynomials import PolyElement

MAX_DEPTH = 60
Sheet = tuple[PolyElement, int]
Pair = tuple[int, int]


class UndecidedError(ArithmeticError):
    """The resolution would need a tower of field extensions, or does not end."""


class Local(NamedTuple):
    """rlct and multiplicity at a point; divisor: where it is attained; sign_changes: a real branch has odd order."""

    rlct: Fraction | float
    multiplicity: int
    divisor: str
    sign_changes: bool = False


class _Point(NamedTuple):
    """u^A v^B Π p_i^e_i J with |u|^a |v|^b, (A, B) = monomial and (a, b) = weight; no J: it is the unit ideal."""

    sheets: tuple[Sheet, ...]
    ideal: tuple[PolyElement, ...]
    monomial: Pair
    weight: tuple[Fraction, Fraction]


class _Ray(NamedTuple):
    """A divisor: weights of (u, v), order of the ideal along it, and its log discrepancy Σ w_i (τ_i + 1)."""

    weights: Pair
    level: int
    discrepancy: Fraction

    @property
    def pole(self) -> Fraction | float:
        return self.discrepancy / self.level if self.level else inf


def resolve(generators: Sequence[PolyElement], weight: Sequence[Fraction]) -> Local:
    """λ and m of Σ|f_i| with the weight |x|^τ1 |y|^τ2 at the origin of the plane.

    Raises:
        UndecidedError: see the head of this file.
    """
    common = reduce(lambda f, g: f.gcd(g), generators)
    ideal = tuple(f.exquo(common) for f in generators)
    sheets, monomial = [], [0, 0]
    for p, e in common.factor_list()[1]:
        if p in common.ring.gens:
            monomial[common.ring.gens.index(p)] = e
        elif not p.coeff(1):
            sheets.append((p, e))
    rest = () if any(f.coeff(1) for f in ideal) else ideal
    found = _resolve(_Point(tuple(sheets), rest, (monomial[0], monomial[1]), (weight[0], weight[1])), 0)
    return found._replace(sign_changes=found.sign_changes or any(k % 2 for k in monomial))


def _resolve(point: _Point, depth: int) -> Local:
    if depth > MAX_DEPTH:
        raise UndecidedError(f"no normal crossing after {MAX_DEPTH} blow-ups")
    crossing = _crossing(point)
    if crossing is not None:
        return crossing
    rays = _rays(point)
    found = [_at_corners(rays)]
    for ray in rays[1:-1]:
        found += _on_divisor(point, ray, depth)
    return _deepest(found)


def _deepest(found: Sequence[Local]) -> Local:
    least = min(x.rlct for x in found)
    best = max((x for x in found if x.rlct == least), key=lambda x: x.multiplicity)
    return best._replace(sign_changes=any(x.sign_changes for x in found))


def _crossing(point: _Point) -> Local | None:
    """One smooth curve v' = 0 across the only divisor u = 0, or across nothing."""
    if point.ideal or len(point.sheets) != 1:
        return None
    curve, order = point.sheets[0]
    for i, j in ((0, 1), (1, 0)):
        transversal = curve.coeff(curve.ring.gens[j])
        if transversal and not point.monomial[j] and not point.weight[j]:
            unit = (1, 0) if i == 0 else (0, 1)
            return _normal_crossing(_Ray(unit, point.monomial[i], point.weight[i] + 1), order)
    return None


def _normal_crossing(ray: _Ray, order: int) -> Local:
    """u^level v^order: the divisor and a smooth real branch across it."""
    branch = Fraction(1, order)
    rlct = min(ray.pole, branch)
    name = _name(ray) if ray.pole == rlct else f"a smooth branch of order {order}"
    return Local(rlct, 2 if ray.pole == branch else 1, name, bool(order % 2))


def _name(ray: _Ray) -> str:
    return f"divisor of weights {ray.weights}, order {ray.level}, discrepancy {ray.discrepancy}"


def _rays(point: _Point) -> list[_Ray]:
    """Both axes and all edge normals, by slope."""
    normals = {(1, 0), (0, 1)}
    for group in (*((p,) for p, _ in point.sheets), *([point.ideal] if point.ideal else [])):
        support = [a for f in group for a in f.monoms()]
        normals |= {facet.weights for facet in facets(support) if min(facet.weights) > 0}
    (A, B), (a, b) = point.monomial, point.weight
    rays = []
    for p, q in sorted(normals, key=lambda w: Fraction(w[1], w[0]) if w[0] else inf):
        level = A * p + B * q + sum(e * _order([f], (p, q)) for f, e in point.sheets)
        level += _order(point.ideal, (p, q)) if point.ideal else 0
        rays.append(_Ray((p, q), level, p * (a + 1) + q * (b + 1)))
    return rays


def _order(group: Sequence[PolyElement], weights: Pair) -> int:
    return min(weights[0] * i + weights[1] * j for f in group for i, j in f.monoms())


def _at_corners(rays: Sequence[_Ray]) -> Local:
    """On the divisors away from every curve: two neighbours meet."""
    least = min(ray.pole for ray in rays)
    double = any(x.pole == y.pole == least for x, y in pairwise(rays))
    attained = next(ray for ray in rays if ray.pole == least)
    return Local(least, 2 if double else 1, _name(attained))


def _on_divisor(point: _Point, ray: _Ray, depth: int) -> Iterator[Local]:
    """Every real point of the divisor where a curve or the ideal J passes."""
    passing: dict[PolyElement, list[tuple[int, int]]] = {}
    for number, (p, _) in enumerate(point.sheets):
        for q, e in _edge_factors([p], ray.weights):
            passing.setdefault(q, []).append((number, e))
    for q, e in _edge_factors(point.ideal, ray.weights):
        passing.setdefault(q, []).append((-1, e))
    for q, through in passing.items():
        number, multiplicity = through[0]
        if len(through) == 1 and number >= 0 and multiplicity == 1:
            if _num_real_roots(q):
                yield _normal_crossing(ray, point.sheets[number][1])
            continue
        for root, domain in _real_roots(q):
            yield _resolve(_blow_up(point, ray, root, domain, {i for i, _ in through}), depth + 1)


def _edge_factors(group: Sequence[PolyElement], weights: Pair) -> list[tuple[PolyElement, int]]:
    """Irreducible factors of the greatest common edge polynomial in z, z excluded, each monic."""
    if not group:
        return []
    least = _order(group, weights)
    ring = PolyRing(("z",), group[0].ring.domain)
    edges = [_edge(f, weights, ring) for f in group if _order([f], weights) == least]
    common = reduce(lambda f, g: f.gcd(g), edges)
    return [(p.monic(), e) for p, e in common.factor_list()[1]]


def _edge(f: PolyElement, weights: Pair, ring: PolyRing) -> PolyElement:
    s, t = _chart(weights)
    least = _order([f], weights)
    terms = {s * i + t * j: c for (i, j), c in f.terms() if weights[0] * i + weights[1] * j == least}
    low = min(terms)
    return ring.from_dict({(k - low,): c for k, c in terms.items()})


@cache
def _chart(weights: Pair) -> Pair:
    """(s, t) >= 0 with p t - q s = 1: x = u^p z^s, y = u^q z^t maps (R*)² onto itself."""
    p, q = weights
    s = next(s for s in range(p) if (1 + q * s) % p == 0)
    return s, (1 + q * s) // p


def _blow_up(point: _Point, ray: _Ray, root: Any, domain: Any, through: set[int]) -> _Point:
    """Local coordinates at the point z = root of the divisor; `through`: sheets that pass, -1 for J."""
    ring = PolyRing(("u", "v"), domain)
    sheets, power = [], 0
    for number, (p, e) in enumerate(point.sheets):
        if number in through:
            curve = _transform(p, ray.weights, _order([p], ray.weights), root, ring)
            if curve.coeff(ring.gens[1]) and len(curve) == 1:
                power += e
            else:
                sheets.append((curve, e))
    ideal: tuple[PolyElement, ...] = ()
    if -1 in through:
        least = _order(point.ideal, ray.weights)
        ideal = tuple(_transform(f, ray.weights, least, root, ring) for f in point.ideal)
        ideal = () if any(f.coeff(1) for f in ideal) else ideal
    return _Point(tuple(sheets), ideal, (ray.level, power), (ray.discrepancy - 1, Fraction(0)))


def _transform(f: PolyElement, weights: Pair, level: int, root: Any, ring: PolyRing) -> PolyElement:
    """f(u^p z^s, u^q z^t) / (u^level z^k) at z = root + v, with the largest k."""
    s, t = _chart(weights)
    low = min(s * i + t * j for i, j in f.monoms())
    convert = ring.domain.convert_from
    terms = {
        (weights[0] * i + weights[1] * j - level, s * i + t * j - low): convert(c, f.ring.domain)
        for (i, j), c in f.terms()
    }
    return ring.from_dict(terms).compose(ring.gens[1], ring.gens[1] + ring.ground_new(root))


def _real_roots(q: PolyElement) -> Iterator[tuple[Any, Any]]:
    """Real roots of an irreducible polynomial with the field that holds each."""
    domain = q.ring.domain
    if q.degree() == 1:
        yield -q.coeff(1) / q.LC, domain
        return
    count = _num_real_roots(q)
    if count and domain != sympy.QQ:
        raise UndecidedError("a tower of algebraic field extensions would be needed")
    if count and q.degree() > 6:
        raise UndecidedError(f"an algebraic number of degree {q.degree()} would be needed")
    poly = sympy.Poly(q.as_expr(), *q.ring.symbols)
    for k in range(count):
        field = sympy.QQ.algebraic_field(sympy.AlgebraicNumber((poly, sympy.CRootOf(poly, k))))
        yield field.unit, field


def _num_real_roots(q: PolyElement) -> int:
    """Number of real roots of a squarefree polynomial, by Sturm's theorem."""
    if q.degree() == 1:
        return 1
    chain = [q, q.diff(q.ring.gens[0])]
    while chain[-1].degree() > 0:
        chain.append(-chain[-2].rem(chain[-1]))
    top = [_sign(f.LC, q.ring.domain) for f in chain]
    bottom = [s * (-1) ** f.degree() for s, f in zip(top, chain, strict=True)]
    return _variations(bottom) - _variations(top)


def _variations(signs: Sequence[int]) -> int:
    return sum(x != y for x, y in pairwise(signs))


def _sign(value: Any, domain: Any) -> int:
    """Sign of an element, not 0, of Q or of a real extension of it: an interval that does not hold 0."""
    if domain == sympy.QQ:
        return 1 if value > 0 else -1
    coefficients = value.to_list()[::-1]
    root, width = domain.ext, sympy.Rational(1, 100)
    while isinstance(root, sympy.AlgebraicNumber):
        root = root.root
    while True:
        near = root.eval_rational(width)
        size = abs(near) + 1
        total = sum(c * near**k for k, c in enumerate(coefficients))
        error = width * sum(abs(c) * k * size ** (k - 1) for k, c in enumerate(coefficients) if k)
        if abs(total) > error:
            return 1 if total > 0 else -1
        width = width**2
