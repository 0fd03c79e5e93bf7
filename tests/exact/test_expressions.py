"""What may be given, read as it is written; what is too large is refused before anything is expanded; closed forms."""

import time
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import sympy

from slt.exact import exact_rlct

X, Y = sympy.symbols("x y")
SIXTY = [f"x{i}" for i in range(60)]


@pytest.mark.parametrize(
    ("given", "rlct"),
    [
        ("1e-400*x**2 + y**2", 1),
        ("x**2 - 2*x*y + 1.00000000000000000001*y**2", 1),
        ("x**2 - 2*x*y + 1.0*y**2", Fraction(1, 2)),
        ("x**2 - 2*x*y + 1.0000000000000000*y**2", Fraction(1, 2)),
        ("(0.1*x - 1/10*y)**2", Fraction(1, 2)),
        ("(1e-3*x - y/1000)**2", Fraction(1, 2)),
        ("(.5*x - 5e-1*y)**2", Fraction(1, 2)),
        ("(1_000*x - 1E3*y)**2", Fraction(1, 2)),
        ("(x \N{MINUS SIGN} y)**2", Fraction(1, 2)),
        ("x^2^2", Fraction(1, 4)),
        ("-(-x)^2 + 2*x^2", Fraction(1, 2)),
        ("(x**2)/3\n + y**(4/2)", 1),
        (X**2 - 2 * X * Y + 1.0000000000000002 * Y**2, 1),
        ((0.1 * X - Y / 10) ** 2, Fraction(1, 2)),
        (X**2 - 2 * X * Y + sympy.Float("1.0000000000000000000001", 30) * Y**2, 1),
        ({(2, 0): "1e-300", (0, 2): np.float64(0.1)}, 1),
        ({(2, 0): 1, (1, 1): "-2", (0, 2): "1.00000000000000000000000001"}, 1),
    ],
    ids=str,
)
def test_a_number_is_what_is_written(given, rlct):
    found = exact_rlct(given)
    assert (found.rlct, found.status) == (rlct, "exact")


def test_the_point_is_read_as_written_too():
    for at in ("0.1", "1e-1", "1/10", 0.1, np.float64(0.1), Fraction(1, 10)):
        assert exact_rlct("(x - 1/10)**2", at=[at]).rlct == Fraction(1, 2)
    with pytest.raises(ValueError, match="λ is infinite"):
        exact_rlct("(x - 1/10)**2", at=["0.10000000000000000000001"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2x**2", r"write products with \*"),
        ("2 x**2", r"write products with \*"),
        ("x(y + 1)", r"with a \* in every product"),
        ("x²", "invalid character"),
        ("x**-2", "an exponent is a whole number"),
        ("x**0.5", "an exponent is a whole number"),
        ("x**y", "an exponent is a whole number"),
        ("x/0", "not a polynomial"),
        ("1/x", "not a polynomial"),
        ("True*x**2", "not part of a polynomial"),
        ("1j*x**2", "not part of a polynomial"),
        ("x.y", "not part of a polynomial"),
        ("x**2; y", "cannot be read"),
        ("-" * 3000 + "x", "cannot be read"),
        ("(" * 500 + "x" + ")" * 500, "cannot be read"),
        ("*".join(["x"] * 5000), "cannot be read"),
    ],
    ids=lambda text: text[:20],
)
def test_what_cannot_be_read_is_said_in_a_sentence(text, message):
    with pytest.raises(ValueError, match=f"exact_rlct: [\\s\\S]*{message}"):
        exact_rlct(text)


LARGE = [
    "x**10**10", "10**10**10*x**2", "x**1000000000", "(x + y)^1000", "(a+b+c+d)**500", "((x**10)**10)**10",
    "((x+y)**30)**30", "1e-99999999*x**2", "1e99999999*x**2", "9" * 5000 + "*x**2", "9" * 3000 + "*x**2",
    "(10**600*x + y)**100", "((x+y+z)**20 + x)**20", "1/3**10**9*x**2", "0**10**10*x**2 + y**2 + 2**2**2**2**2*x",
    "*".join(f"({a}**2 + {b}**2)" for a, b in zip(SIXTY[::2], SIXTY[1::2], strict=True)),
    "(" + "+".join(SIXTY) + ")**20", "(" + "+".join(SIXTY) + ")**2*(" + "-".join(SIXTY) + ")**4",
]  # fmt: skip


@pytest.mark.parametrize(
    "given", [*LARGE, {(10**10,): 1}, (X + Y) ** 10**9, X**400 * (X + Y) ** 800], ids=lambda g: str(g)[:25]
)
def test_what_is_too_large_is_refused_at_once(given):
    started = time.process_time()
    with pytest.raises(ValueError, match=r"exact_rlct: .*(degree|terms|digits|cannot be read)"):
        exact_rlct(given)
    assert time.process_time() - started < 2


def test_a_point_that_makes_it_too_large_is_refused():
    with pytest.raises(ValueError, match="too many terms"):
        exact_rlct("(x*y*z*w - 1)**40*x**60", at=[1, 1, 1, 1])


@pytest.mark.parametrize(
    ("given", "rlct", "multiplicity"),
    [
        ("+".join(f"{a}**2" for a in SIXTY), 30, 1),
        ("*".join(f"{a}**2" for a in SIXTY), Fraction(1, 2), 60),
        ("(" + "+".join(SIXTY) + ")**4", Fraction(1, 4), 1),
        ("+".join(f"({a} - {b}**2)**2" for a, b in pairwise(SIXTY)), Fraction(59, 2), 1),
        ("(x + y)**400", Fraction(1, 400), 1),
        ("(x + y - z)**30*(x - y)**20", Fraction(1, 30), 1),
        ("x**200*y**200*z**198", Fraction(1, 200), 2),
        ("10**900*x**2 + y**4/10**900", Fraction(3, 4), 1),
        ("(a*b*c + d*e*f + g*h*i + a**5 + e**7)**2", Fraction(1, 2), 1),
        ("+".join(["x**2"] * 5000), Fraction(1, 2), 1),
    ],
    ids=lambda g: str(g)[:25],
)
def test_what_is_large_but_simple_is_answered(given, rlct, multiplicity):
    started = time.process_time()
    found = exact_rlct(given)
    assert (found.rlct, found.multiplicity, found.status) == (rlct, multiplicity, "exact")
    assert time.process_time() - started < 10


def test_a_polyhedron_that_is_too_large_is_bounded_in_seconds():
    started = time.process_time()
    found = exact_rlct("+".join(f"({a}*{b})**2" for a, b in pairwise(SIXTY)))
    assert (found.rlct, found.status) == (15, "upper bound")
    assert time.process_time() - started < 15


# ---------------------------------------------------------------- closed forms


def monomials():
    for powers in [(2,), (2, 2), (4, 2), (2, 4, 4), (6, 6, 6), (2, 6, 4, 6)]:
        text = "*".join(f"x{i}**{k}" for i, k in enumerate(powers))
        yield text, Fraction(1, max(powers)), powers.count(max(powers))


def brieskorn():
    """λ of Σ x_i^a_i, all a_i even, is Σ 1/a_i; of its root f = Σ ± x_i^p_i, K = f², min(1, Σ 1/p_i)/2."""
    for powers in [(2, 4), (4, 6), (2, 4, 8), (6, 6, 6), (2, 2, 10, 12), (8, 10, 12, 14, 16)]:
        yield "+".join(f"x{i}**{k}" for i, k in enumerate(powers)), sum(Fraction(1, k) for k in powers), 1
    for powers in [(2, 3), (3, 4), (3, 5), (5, 7), (2, 7), (3, 5, 7), (4, 5, 6), (3, 7, 11), (5, 6, 7, 8)]:
        total = sum(Fraction(1, k) for k in powers)
        text = "+".join(f"x{i}**{k}" for i, k in enumerate(powers))
        if total != 1:
            yield f"({text})**2", min(Fraction(1), total) / 2, 1


def simple_singularities():
    """K = f² of the A, D, E germs in three variables: their own threshold is above 1, so that the smooth part decides.

    In two variables it is that of the germ: 1/2 + 1/(k + 1), 1/(k - 1) + (k - 2)/(2 (k - 1)), 7/12, 5/9, 8/15.
    """
    for k in (2, 4, 6):
        yield f"(x**2 + y**{k + 1})**2", Fraction(1, 4) + Fraction(1, 2 * (k + 1)), 1
    for k in (4, 5, 6, 7):
        yield f"(x**2*y + y**{k - 1})**2", (Fraction(1, k - 1) + Fraction(k - 2, 2 * (k - 1))) / 2, 1
    yield "(x**3 + y**4)**2", Fraction(7, 24), 1
    yield "(x**3 + x*y**3)**2", Fraction(5, 18), 1
    yield "(x**3 + y**5)**2", Fraction(8, 30), 1
    for f in ("x**2*y + y**3 - z**2", "x**3 + y**4 - z**2", "x**3 + x*y**3 + z**2", "x**3 + y**5 + z**2", "x*y + z**5"):
        yield f"({f})**2", Fraction(1, 2), 1


def sums_of_squares():
    yield "x**2*y**2 + y**2*z**2 + z**2*x**2", Fraction(3, 4), 1
    yield "(x*y)**2 + z**2", 1, 2
    yield "x**2*y**2 + z**2*w**2", 1, 3
    yield "(x**2 - y**3)**2 + z**4", Fraction(5, 12) + Fraction(1, 4), 1
    yield "(x*u)**2 + (x*v)**2 + (y*u)**2 + (y*v)**2", 1, 2  # rank one of 2 x 2 near 0: min(d1, d2)/2, twice
    yield "(x*y*z)**2 + w**6", Fraction(1, 2) + Fraction(1, 6), 3
    yield "(x + y**2)**2 + (x - y**2)**2", Fraction(3, 4), 1
    yield "(x**2 + y**2)**3", Fraction(1, 3), 1
    yield "(x**2 + y**2 + z**2)**5*w**2", Fraction(3, 10), 1


CLOSED = [*monomials(), *brieskorn(), *simple_singularities(), *sums_of_squares()]


def test_the_closed_forms_are_as_many_as_promised():
    assert len(CLOSED) >= 40


@pytest.mark.parametrize(("text", "rlct", "multiplicity"), CLOSED, ids=[text for text, *_ in CLOSED])
def test_what_is_said_to_be_exact_is(text, rlct, multiplicity):
    found = exact_rlct(text)
    assert found.status == "exact"
    assert (found.rlct, found.multiplicity) == (rlct, multiplicity)


@pytest.mark.parametrize(("text", "rlct", "multiplicity"), CLOSED[::3], ids=[text for text, *_ in CLOSED[::3]])
def test_linear_changes_of_coordinates_never_make_a_false_exact(text, rlct, multiplicity):
    """A unipotent change with its inverse's determinant 1, and another point: λ and m stay, or it is an upper bound."""
    expression = sympy.sympify(text)
    symbols = sorted(expression.free_symbols, key=str)
    shift = [Fraction(i + 1, 3) for i in range(len(symbols))]
    moved = {
        s: s
        - sympy.Rational(shift[i])
        + sum((t - sympy.Rational(shift[i + 1 + j])) * (j - 1) for j, t in enumerate(symbols[i + 1 :]))
        for i, s in enumerate(symbols)
    }
    found = exact_rlct(expression.xreplace(moved), at=dict(zip(map(str, symbols), shift, strict=True)))
    assert found.rlct >= rlct
    if found.status == "exact":
        assert (found.rlct, found.multiplicity) == (rlct, multiplicity)
