"""Reading polynomials exactly: expressions, strings, coefficient dicts or generators become one `Germ` at a point.

A germ is the ideal (f_1, ..., f_r) near the origin, with the weight |w|^τ. Its RLCT is that of Σ|f_i|; the potential
K ~ (Σ|f_i|)^power has the power-th part of it. K = f_1² + ... + f_r² has power 2; a K that is not seen to be such a
sum is its own only generator, with power 1, and must be nonnegative.
"""

import operator
import random
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from functools import reduce
from itertools import combinations_with_replacement, product
from math import prod
from typing import Any, NamedTuple

import sympy
from sympy.polys.rings import PolyRing

from slt.exact.expressions import MAX_TERMS, Polynomial, Scalar, check_size, natural, rational, read_expression

Exponents = tuple[int, ...]
PolyElement = Any
"""sympy.polys.rings.PolyElement, whose annotations do not carry through arithmetic."""
MAX_GENERATORS = 64
"""Squares that K is taken apart into; beyond that it is its own generator."""


class Germ(NamedTuple):
    """generators: f_i in one ring, the point at its origin; weight: τ of each variable; power: see above.

    nonnegative: the one generator is K itself, so a change of its sign is an error.
    """

    generators: tuple[PolyElement, ...]
    weight: tuple[Fraction, ...]
    power: int = 2
    nonnegative: bool = False

    @property
    def ring(self) -> PolyRing:
        """The ring of the generators."""
        return self.generators[0].ring

    @property
    def names(self) -> tuple[str, ...]:
        """The variables in order."""
        return tuple(map(str, self.ring.symbols))


def read_germ(
    polynomial: Polynomial | Iterable[Polynomial],
    *,
    at: Mapping[str, Scalar] | Sequence[Scalar] | None = None,
    weight: Mapping[str, Scalar] | Sequence[Scalar] | None = None,
) -> Germ:
    """Germ of a potential K, or of K = Σ f_i² if a list of f_i is given, at a point.

    Args:
        polynomial: SymPy expression, string, or {exponents: coefficient}; a list or tuple of these means Σ f_i².
        at: coordinates of the point, by name or in the order of the variables; 0 where left out.
        weight: exponents τ > -1 of the prior |w - at|^τ, likewise.

    Raises:
        ValueError: not a polynomial with rational coefficients; zero; or positive at the point, where λ is infinite.
    """
    many = isinstance(polynomial, Iterable) and not isinstance(polynomial, str | Mapping | sympy.Basic)
    expressions = [read_expression(p) for p in (polynomial if many else [polynomial])]  # pyright: ignore[reportGeneralTypeIssues]
    if not expressions:
        raise ValueError("exact_rlct: the list of polynomials is empty; give at least one.")
    symbols: list[Any] = sorted({x for e in expressions for x in e.free_symbols}, key=natural)
    if not symbols:
        raise ValueError(
            f"exact_rlct: {expressions[0]} has no variables; give a polynomial in some: λ is defined at a zero of one."
        )
    names = tuple(map(str, symbols))
    point, tau = _coordinates("at", at, names), _coordinates("weight", weight, names)
    if min(tau) <= -1:
        raise ValueError(f"exact_rlct: weight {weight}; give τ > -1, for which |w|^τ has finite mass.")
    squares = expressions if many else _square_roots(expressions[0])
    ring = PolyRing(symbols, sympy.QQ)
    check_size(squares or expressions, len(symbols))
    bases, power = _without_power(squares) if squares else (expressions, 1)
    generators = tuple(_translate(_polynomial(ring, e), point) for e in bases)
    germ = Germ(generators, tau, 2 * power if squares else 1, not squares)
    return _check_zero(germ, point)


def _without_power(squares: Sequence[Any]) -> tuple[Sequence[Any], int]:
    """f and k where the only generator is written as f^k."""
    if len(squares) == 1 and squares[0].is_Pow:
        return [squares[0].base], int(squares[0].exp)
    return squares, 1


def _check_zero(germ: Germ, point: Sequence[Fraction]) -> Germ:
    kept = tuple(f for f in germ.generators if f)
    if not kept:
        raise ValueError("exact_rlct: the polynomial is identically zero; its volume does not shrink and λ is 0.")
    value = [f.coeff(1) for f in kept]
    if any(value):
        where = ", ".join(f"{name} = {x}" for name, x in zip(germ.names, point, strict=True))
        raise ValueError(
            f"exact_rlct: at {where} the value is {next(v for v in value if v)}, not 0, so λ is infinite there. "
            "Give a zero by `at`, or subtract the minimum."
        )
    return germ._replace(generators=kept)


def check_vertices(f: PolyElement) -> None:
    """Raise unless the leading monomials of K >= 0 along many weighted curves are even with positive coefficients."""
    for a, c in _some_vertices(f):
        if c < 0 or any(k % 2 for k in a):
            lead = f.ring.from_dict({a: c}).as_expr()
            raise NegativeError(f"{lead} leads along some curve to the point")


def oriented(f: PolyElement) -> PolyElement:
    """f or -f: the one whose first vertex has a positive coefficient."""
    return f if _some_vertices(f)[0][1] > 0 else -f


def _some_vertices(f: PolyElement) -> list[tuple[Exponents, Any]]:
    """Terms that are alone on a face of the Newton polyhedron: least for some of 64 fixed weight vectors."""
    source = random.Random(0)
    found = []
    for _ in range(64):
        weights = [source.randint(1, 10**9) ** 2 for _ in f.ring.gens]
        found.append(min(f.terms(), key=lambda term: sum(w * k for w, k in zip(weights, term[0], strict=True))))
    return found


class NegativeError(ArithmeticError):
    """K takes negative values near the point; says how that was seen, maybe in other coordinates."""


def negative(germ: Germ, why: str) -> ValueError:
    """The same for the user."""
    return ValueError(
        f"exact_rlct: K = {germ.generators[0].as_expr()} takes negative values near the point: {why}. "
        "Z(t) = ∫ exp(-tK) then diverges. For the potential f^2 of a function f give the square, or f in a list."
    )


def _polynomial(ring: PolyRing, expression: sympy.Expr) -> PolyElement:
    try:
        poly = sympy.Poly(expression, *ring.symbols)
        return ring.from_dict({key: ring.domain.from_sympy(c) for key, c in poly.as_dict(native=False).items()})
    except (sympy.PolynomialError, sympy.CoercionFailed):
        raise ValueError(
            f"exact_rlct: {expression} is not a polynomial with rational coefficients in "
            f"{', '.join(map(str, ring.symbols))}; replace an analytic function by enough of its Taylor series, and "
            "an irrational coefficient by a rational one or a scaled variable."
        ) from None


def _coordinates(what: str, given: Any, names: Sequence[str]) -> tuple[Fraction, ...]:
    order = ", ".join(names)
    if given is None:
        given = {}
    if isinstance(given, Mapping):
        if unknown := set(map(str, given)) - set(names):
            raise ValueError(f"exact_rlct: `{what}` names {sorted(unknown)}; the variables are {order}: name those.")
        given = [{str(name): value for name, value in given.items()}.get(name, 0) for name in names]
    if len(given) != len(names):
        raise ValueError(
            f"exact_rlct: `{what}` has {len(given)} entries; the variables are {order}: give one each, in this order."
        )
    return tuple(Fraction(str(rational(value))) for value in given)


def _translate(f: PolyElement, point: Sequence[Fraction]) -> PolyElement:
    ring = f.ring
    moves = [p != 0 for p in point]
    if sum(prod(k + 1 for k, moved in zip(a, moves, strict=True) if moved) for a in f.monoms()) > 10 * MAX_TERMS:
        raise ValueError(
            f"exact_rlct: around {', '.join(map(str, point))} the polynomial has too many terms (up to "
            f"{10 * MAX_TERMS:,} are expanded); write it in variables that vanish at the point."
        )
    moved = [(x, x + ring.domain(p)) for x, p in zip(ring.gens, map(_to_domain, point), strict=True) if p]
    return f.compose(moved) if moved else f


def _to_domain(value: Fraction) -> Any:
    return sympy.QQ(value.numerator, value.denominator)


def _square_roots(expression: Any) -> list[Any] | None:
    """Functions g_i with K ~ Σ g_i², if the expression as written shows them; positive factors do not matter."""
    if expression.is_Number:
        return [sympy.Integer(1)] if expression.is_positive else None
    if expression.is_Add:
        parts = [_square_roots(term) for term in expression.args]
        return None if any(part is None for part in parts) else [g for part in parts if part for g in part]
    if expression.is_Mul:
        parts = [_square_roots(factor) for factor in expression.args]
        if any(part is None for part in parts) or prod(len(part) for part in parts if part) > MAX_GENERATORS:
            return None
        return [reduce(operator.mul, choice) for choice in product(*(part for part in parts if part))]
    if expression.is_Pow and expression.exp.is_Integer and expression.exp > 0:
        base, exponent = expression.args
        if exponent % 2 == 0:
            return [base ** (exponent // 2)]
        inner = _square_roots(base)
        if inner is not None and len(inner) ** int(exponent) <= MAX_GENERATORS:
            return [reduce(operator.mul, choice) for choice in combinations_with_replacement(inner, int(exponent))]
    return None
