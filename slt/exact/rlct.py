"""Exact real log canonical thresholds of polynomials: reduce the germ by rules that are theorems, then resolve.

Sums and products in disjoint variables, smooth generators and completed squares take a germ apart; one variable is
elementary, two are resolved completely, more go to the Newton polyhedron, in new coordinates where it is degenerate.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from time import process_time
from typing import Literal, NamedTuple

import sympy

from slt.exact import reductions
from slt.exact.newton import TooLargeError, distance, facets
from slt.exact.polyhedral import Answer, polyhedral_answer, tight_face
from slt.exact.polynomials import (
    Germ,
    NegativeError,
    PolyElement,
    Polynomial,
    Scalar,
    check_vertices,
    negative,
    oriented,
    read_germ,
)
from slt.exact.resolution import UndecidedError, resolve

MAX_CHANGES = 12
"""Coordinate changes tried before a degenerate germ is given up."""
SECONDS = 6.0
"""CPU time after which no further change is tried, and faces that are left are not decided: an upper bound, then."""
MAX_SIZE = 30
"""Generators times variables up to which coordinate changes are tried."""


@dataclass
class Budget:
    """changes: of coordinates that may still be tried. until: process time to end at [s]."""

    changes: int
    until: float


class ExactRlct(NamedTuple):
    """λ and m of a potential at a point, and how they were found.

    rlct: λ, Z(t) ~ C t^-λ (log t)^(m-1) [1].
    multiplicity: m [1].
    status: "exact", or "upper bound": the true λ is at most this.
    face: monomials of K on the minimal face of the Newton polyhedron through the point that decides λ.
    reason: why it is exact, or what could not be shown.
    steps: the reductions and coordinate changes made before.
    variables: names, in order.
    """

    rlct: Fraction
    multiplicity: int
    status: Literal["exact", "upper bound"]
    face: tuple[str, ...]
    reason: str
    steps: tuple[str, ...]
    variables: tuple[str, ...]


def exact_rlct(
    polynomial: Polynomial | Iterable[Polynomial],
    *,
    at: Mapping[str, Scalar] | Sequence[Scalar] | None = None,
    weight: Mapping[str, Scalar] | Sequence[Scalar] | None = None,
) -> ExactRlct:
    r"""Real log canonical threshold λ and multiplicity m of a polynomial potential K >= 0 at a zero.

    $\int e^{-tK(w)} |w - w_0|^\tau \, dw \sim C\, t^{-\lambda} (\log t)^{m-1}$ over a small neighbourhood of w_0.
    "exact" is claimed only where it is proved: complete resolution for up to two variables, and a Newton polyhedron
    whose nondegeneracy over the reals was decided on every compact face for more. Everything else is an upper bound.

    Args:
        polynomial: K as a SymPy expression, a string ('x**2*y**4 + (x - y)**2'), or a dict {exponents: coefficient}
            in w1, w2, ...; or a list of such f_i, which means K = Σ f_i². Coefficients are rational; a decimal is
            read as written.
        at: the point w_0, by name or in the order of the variables; coordinates left out are 0.
        weight: exponents τ > -1 of the prior |w - w_0|^τ, likewise.

    Returns:
        ExactRlct.

    Raises:
        ValueError: not a polynomial, zero, not zero at the point (λ is infinite), or negative values near the point.

    Source: Watanabe 2009; Lin 2011, thesis; Varchenko 1976; Saito 2007, arXiv:0707.2308.
    """
    germ = read_germ(polynomial, at=at, weight=weight)
    try:
        if germ.nonnegative:
            check_vertices(germ.generators[0])
        answer = _scaled(_solve(germ, Budget(MAX_CHANGES, process_time() + SECONDS)), germ.power)
    except NegativeError as error:
        raise negative(germ, str(error)) from None
    return ExactRlct(
        answer.rlct,
        answer.multiplicity,
        "exact" if answer.exact else "upper bound",
        tuple(map(str, answer.face)),
        answer.reason,
        answer.steps,
        germ.names,
    )


def read_coordinates(text: str | None, option: str) -> dict[str, str]:
    """{"x": "1", "y": "1/2"} from "x=1,y=1/2".

    Raises:
        ValueError: an entry that is not name=value.
    """
    pairs = [part.split("=") for part in (text or "").split(",") if part.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"{option} is {text!r}; write name=value pairs joined by commas, as in x=1,y=1/2.")
    return {name.strip(): value.strip() for name, value in pairs}


def _scaled(answer: Answer, power: int) -> Answer:
    """Of (Σ|f_i|)^power."""
    return answer._replace(rlct=answer.rlct / power, face=tuple(x**power for x in answer.face))


def _after(step: str, answer: Answer) -> Answer:
    return answer._replace(steps=(step, *answer.steps))


def _solve(germ: Germ, budget: Budget) -> Answer:
    generators = germ.generators if len(germ.generators) == 1 else reductions.interreduce(germ.generators)
    germ = reductions.restrict(germ, generators)
    if germ.ring.ngens == 1:
        return _one_variable(germ)
    return _principal(germ, budget) if len(germ.generators) == 1 else _ideal(germ, budget)


def _one_variable(germ: Germ) -> Answer:
    order = min(a[0] for f in germ.generators for a in f.monoms())
    if germ.nonnegative and order % 2:
        raise NegativeError(f"it has a zero of odd order {order}")
    face = (germ.ring.symbols[0] ** order,)
    return Answer((germ.weight[0] + 1) / order, 1, True, face, "one variable: (τ + 1) / order")


def _product(parts: Sequence[tuple[Germ, int]], budget: Budget) -> Answer:
    """Factors in disjoint variables, each to a power: λ is the least, m adds up over those that attain it."""
    answers = [_scaled(_solve(germ, budget), power) for germ, power in parts]
    least = min(answer.rlct for answer in answers)
    deepest = [answer for answer in answers if answer.rlct == least]
    face = (reduce(sympy.Mul, (a.face[0] for a in deepest)),) if all(len(a.face) == 1 for a in deepest) else ()
    step = "product of factors in disjoint variables: " + ", ".join("{" + ", ".join(g.names) + "}" for g, _ in parts)
    return Answer(
        least,
        sum(answer.multiplicity for answer in deepest),
        all(answer.exact for answer in answers),
        face or deepest[0].face,
        _reasons(answers),
        (step, *_steps(answers)),
    )


def _sum(parts: Sequence[Germ], budget: Budget) -> Answer:
    """Ideals, or nonnegative functions, in disjoint variables: λ adds, and m - 1."""
    answers = [_solve(germ, budget) for germ in parts]
    step = "sum of parts in disjoint variables: " + ", ".join("{" + ", ".join(g.names) + "}" for g in parts)
    return _added(answers)._replace(steps=(step, *_steps(answers)))


def _added(answers: Sequence[Answer]) -> Answer:
    return Answer(
        sum((answer.rlct for answer in answers), Fraction(0)),
        sum(answer.multiplicity - 1 for answer in answers) + 1,
        all(answer.exact for answer in answers),
        tuple(x for answer in answers for x in answer.face),
        _reasons(answers),
        _steps(answers),
    )


def _reasons(answers: Sequence[Answer]) -> str:
    chosen = [a.reason for a in answers if not a.exact] or [a.reason for a in answers]
    return "; ".join(dict.fromkeys(chosen))


def _steps(answers: Sequence[Answer]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(step for answer in answers for step in answer.steps))


def _principal(germ: Germ, budget: Budget) -> Answer:
    f = germ.generators[0]
    sheets = reductions.factors(f)
    groups = reductions.components([reductions.support(p) for p, _ in sheets])
    if len(groups) > 1:
        parts = [_factor_germ(germ, [sheets[i] for i in group]) for group in groups]
        return _product(parts, budget)
    if len(sheets) == 1:
        return _irreducible(germ, *sheets[0], budget)
    reduced = germ._replace(generators=(reductions.product_of(sheets),))
    return _joint(reductions.restrict(reduced, reduced.generators), budget)


def _factor_germ(germ: Germ, sheets: Sequence[tuple[PolyElement, int]]) -> tuple[Germ, int]:
    """A product of factors, as a power of one if there is one only."""
    if len(sheets) == 1:
        (p, e) = sheets[0]
        odd = germ.nonnegative and e % 2 == 1
        p = oriented(p) if odd else p
        return reductions.restrict(germ._replace(nonnegative=odd), (p,)), e
    f = oriented(reductions.product_of(sheets)) if germ.nonnegative else reductions.product_of(sheets)
    return reductions.restrict(germ, (f,)), 1


def _irreducible(germ: Germ, p: PolyElement, e: int, budget: Budget) -> Answer:
    part, power = _factor_germ(germ, [(p, e)])
    if power > 1 or part.ring.ngens == 1:
        return _scaled(_solve(part, budget), power)
    p = part.generators[0]
    i = reductions.smooth_variable(p, part)
    if i is not None and part.nonnegative:
        raise NegativeError("its linear part is not zero")
    if i is not None:
        face = (part.ring.symbols[i],)
        return Answer(Fraction(1), 1, True, face, "its zeros are smooth: a coordinate by itself")
    if part.nonnegative or reductions.is_nonnegative(oriented(p), part):
        p = oriented(p)
        part = part._replace(generators=(p,), nonnegative=True)
        summands = reductions.summands(p)
        if len(summands) > 1:
            return _sum([reductions.restrict(part, (g,)) for g in summands], budget)
        square = reductions.complete_square(p, part)
        if square is not None:
            return _completed(part, *square, budget)
    return _joint(part, budget)


def _completed(germ: Germ, i: int, rest: PolyElement, budget: Budget) -> Answer:
    name = germ.names[i]
    step = f"square completed in {name}, which becomes a coordinate and adds 1/2"
    square = Answer(Fraction(1, 2), 1, True, (germ.ring.symbols[i] ** 2,), f"a square in {name}")
    if not rest:
        return square._replace(steps=(step,))
    check_vertices(rest)
    other = _solve(germ._replace(generators=(rest,)), budget)
    return _after(step, _added([square, other])._replace(reason=other.reason))


def _ideal(germ: Germ, budget: Budget) -> Answer:
    common = reduce(lambda f, g: f.gcd(g), germ.generators)
    sheets = reductions.factors(common)
    if sheets:
        shared = reductions.product_of(sheets)
        rest = [f.exquo(shared) for f in germ.generators]
        if any(f.coeff(1) for f in rest):
            return _solve(germ._replace(generators=(shared,)), budget)
        supports = [reductions.support(p) for p, _ in sheets]
        supports.append(frozenset().union(*map(reductions.support, rest)))
        groups = reductions.components(supports)
        if len(groups) > 1:
            return _product([_group_germ(germ, sheets, rest, group) for group in groups], budget)
        return _joint(germ, budget)
    places = reductions.smooth_intersection(germ, germ.generators)
    if places:
        face = (germ.ring.symbols[i] for i in places)
        reason = "the generators are coordinates by themselves"
        return Answer(Fraction(len(germ.generators)), 1, True, tuple(face), reason)
    found = reductions.eliminate(germ)
    if found is not None:
        return _eliminated(germ, *found, budget)
    groups = reductions.components([reductions.support(f) for f in germ.generators])
    if len(groups) > 1:
        return _sum([reductions.restrict(germ, [germ.generators[i] for i in group]) for group in groups], budget)
    return _joint(germ, budget)


def _group_germ(
    germ: Germ, sheets: Sequence[tuple[PolyElement, int]], rest: Sequence[PolyElement], group: Sequence[int]
) -> tuple[Germ, int]:
    inside = [sheets[i] for i in group if i < len(sheets)]
    if len(sheets) not in group:
        return _factor_germ(germ, inside)
    shared = reductions.product_of(inside) if inside else germ.ring.one
    return reductions.restrict(germ, [shared * f for f in rest]), 1


def _eliminated(germ: Germ, f: PolyElement, i: int, rest: Sequence[PolyElement], budget: Budget) -> Answer:
    step = f"{f.as_expr()} is a coordinate in place of {germ.names[i]} and adds 1 to λ of Σ|f|"
    smooth = Answer(Fraction(1), 1, True, (germ.ring.symbols[i],), "a smooth generator")
    left = [g for g in rest if g]
    if not left:
        return smooth._replace(steps=(step,))
    other = _solve(germ._replace(generators=tuple(left)), budget)
    return _after(step, _added([smooth, other])._replace(reason=other.reason))


def _joint(germ: Germ, budget: Budget) -> Answer:
    """What no rule takes apart: fewer variables if it does not depend on all, else resolution or polyhedron."""
    sheets = reductions.factors(germ.generators[0]) if len(germ.generators) == 1 else []
    if sheets and not any(germ.weight) and reductions.smooth_intersection(germ, [p for p, _ in sheets]):
        return _crossing(germ, [e for _, e in sheets])
    direction = reductions.invariant_direction(germ)
    if direction is not None:
        i, generators = direction
        step = f"constant along a line: a linear change removes {germ.names[i]}"
        return _after(step, _solve(germ._replace(generators=tuple(generators)), budget))
    if germ.ring.ngens == 2:
        return _two_variables(germ)
    answer = polyhedral_answer(germ, [(p, e) for p, e in sheets if p not in germ.ring.gens], until=budget.until)
    if answer.exact or len(germ.generators) * germ.ring.ngens > MAX_SIZE:
        return answer
    return _changed(germ, answer, budget)


def _crossing(germ: Germ, orders: Sequence[int]) -> Answer:
    """Smooth factors with independent gradients: coordinates, each to its power."""
    if germ.nonnegative and any(e % 2 for e in orders):
        raise NegativeError("a smooth factor of it has an odd power")
    e = max(orders)
    return Answer(
        Fraction(1, e), orders.count(e), True, (), f"normal crossing of smooth factors; order {e} along the worst"
    )


def _changed(germ: Germ, answer: Answer, budget: Budget) -> Answer:
    """The first coordinate change after which λ is exact, or the least upper bound that one gives."""
    for text, generators in reductions.shears(germ):
        if budget.changes <= 0 or process_time() > budget.until:
            break
        budget.changes -= 1
        other = _after(text, _solve(germ._replace(generators=tuple(generators)), budget))
        if other.exact:
            return other
        if other.rlct < answer.rlct:
            answer = other
    return answer


def _two_variables(germ: Germ) -> Answer:
    """The complete resolution; the face of the polyhedron if that alone gives the same."""
    rlct, tight = distance(facets(a for f in germ.generators for a in f.monoms()), germ.weight)
    face = tight_face(germ, tight)
    try:
        found = resolve(germ.generators, germ.weight)
    except (UndecidedError, TooLargeError) as error:
        reason = f"the resolution was not completed: {error}"
        return Answer(rlct, 1, False, face, reason)
    if germ.nonnegative and found.sign_changes:
        raise NegativeError("it changes sign across a real branch of its zeros")
    reason = f"two variables, resolved completely; attained at {found.divisor}"
    return Answer(Fraction(found.rlct), found.multiplicity, True, face if found.rlct == rlct else (), reason)
