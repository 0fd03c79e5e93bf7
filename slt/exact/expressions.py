"""What a polynomial may be given as, read exactly: text, SymPy expressions, coefficients; and how large it may be.

A number is taken as it is written, 0.1 as 1/10. Degree, terms and digits are bounded from the expression as it stands,
before anything is expanded.
"""

import ast
import operator
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import comb, log2
from numbers import Number
from typing import Any, NamedTuple

import sympy

Scalar = int | float | Fraction | str | sympy.Expr
Polynomial = str | sympy.Expr | Mapping[Any, Scalar]
MAX_DEGREE = 400
MAX_TERMS = 2_000
"""Terms of all generators together, once expanded."""
MAX_DIGITS = 1_000
"""Digits of a coefficient."""
MAX_TEXT = 100_000
"""Characters of an expression."""
_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


class Size(NamedTuple):
    """Upper bounds of an expanded polynomial. top, bottom: bits of numerators and denominators."""

    degree: int
    terms: int
    top: float
    bottom: float


def read_expression(polynomial: Any) -> sympy.Expr:
    """As a SymPy expression with rational numbers, not expanded.

    Raises:
        ValueError: of none of the known forms, or larger than is supported.
    """
    if isinstance(polynomial, str):
        return _parse(polynomial)
    if isinstance(polynomial, Mapping):
        return _from_coefficients(polynomial)
    if not isinstance(polynomial, sympy.Expr | Number):
        raise ValueError(
            f"exact_rlct: {polynomial!r} is a {type(polynomial).__name__}; give a SymPy expression, a string such as "
            "'x**2*y**4', or a dict {exponents: coefficient}."
        )
    expression: Any = polynomial if isinstance(polynomial, sympy.Expr) else rational(polynomial)  # type: ignore[arg-type]
    return expression.replace(lambda e: e.is_Float, _as_written)


def rational(value: Scalar) -> Any:
    """An exact number; a float is taken as the decimal that it is written as, 0.1 as 1/10.

    Raises:
        ValueError: not a finite real rational, or one of more than 1000 digits.
    """
    large = isinstance(value, int) and value.bit_length() > MAX_DIGITS * log2(10)
    text = "10**..." if large else str(value).strip().replace("\N{MINUS SIGN}", "-")
    digits, _, exponent = text.lower().partition("e")
    if large or len(digits) > 2 * MAX_DIGITS or len(exponent) > 5 or abs(int(_digits(exponent))) > MAX_DIGITS:
        raise ValueError(f"exact_rlct: the number {text[:20]} has too many digits; up to {MAX_DIGITS:,} are supported.")
    try:
        return sympy.Rational(Fraction(text))
    except (ValueError, ZeroDivisionError):
        raise ValueError(
            f"exact_rlct: {value!r} is not a rational number; give an integer, a fraction such as '1/3', or a decimal."
        ) from None


def check_size(expressions: Sequence[sympy.Expr], num_variables: int) -> None:
    """Refuse what would take very long to expand, before it is.

    Raises:
        ValueError: names the bound that is passed.
    """
    sizes = [_size(expression, num_variables) for expression in expressions]
    degree, terms = max(size.degree for size in sizes), sum(size.terms for size in sizes)
    if degree > MAX_DEGREE:
        raise ValueError(f"exact_rlct: the degree is {_shown(degree)}; up to {MAX_DEGREE} is supported.")
    if terms > MAX_TERMS:
        raise ValueError(
            f"exact_rlct: expanded, it has up to {_shown(terms)} terms; up to {MAX_TERMS:,} are supported. Give fewer "
            "terms of a series, or new variables for factors that are coordinates."
        )


def natural(symbol: Any) -> tuple:
    """The order of names with numbers at their end: w2 before w10."""
    head = symbol.name.rstrip("0123456789")
    return head, int(symbol.name[len(head) :][:20] or -1), symbol.name


def _size(e: Any, n: int) -> Size:
    """Of a sum: the larger degree, all terms; of a product or power: sums and products of these."""
    if e.is_Symbol:
        return Size(1, 1, 1.0, 0.0)
    if e.is_Rational:
        return Size(0, 1, int(e.p).bit_length(), int(e.q - 1).bit_length())
    if e.is_Add or e.is_Mul:
        parts = [_size(part, n) for part in e.args]
        found = parts[0]
        for part in parts[1:]:
            found = _sum(found, part, n) if e.is_Add else _product(found, part, n)
        return found
    if e.is_Pow and e.exp.is_Integer and e.exp >= 0:
        return _power(_size(e.base, n), int(e.exp), n)
    raise ValueError(
        f"exact_rlct: {str(e)[:80]} is not a polynomial with rational coefficients; replace an analytic function "
        "by enough of its Taylor series, and an irrational coefficient by a rational one or a scaled variable."
    )


def _sum(a: Size, b: Size, n: int) -> Size:
    top = max(a.top + b.bottom, b.top + a.bottom) + 1
    return _checked(max(a.degree, b.degree), a.terms + b.terms, top, a.bottom + b.bottom, n)


def _product(a: Size, b: Size, n: int) -> Size:
    top = a.top + b.top + log2(min(a.terms, b.terms))
    return _checked(a.degree + b.degree, a.terms * b.terms, top, a.bottom + b.bottom, n)


def _power(a: Size, k: int, n: int) -> Size:
    if a.degree and k * a.degree > 10 * MAX_DEGREE:
        raise ValueError(f"exact_rlct: the degree is {_shown(k * a.degree)}; up to {MAX_DEGREE} is supported.")
    top, bottom = k * (a.top + log2(a.terms)), k * a.bottom
    if max(top, bottom) > 4 * MAX_DIGITS * log2(10):
        raise ValueError(
            f"exact_rlct: a power has coefficients of more than {4 * MAX_DIGITS:,} digits, which is too many."
        )
    return _checked(k * a.degree, comb(a.terms + k - 1, k), top, bottom, n)


def _checked(degree: int, terms: int, top: float, bottom: float, n: int) -> Size:
    """No more terms than monomials of that degree; and a count need not be exact where it is far too large."""
    monomials = comb(min(degree, 10 * MAX_DEGREE) + n, n)
    return Size(degree, min(terms, monomials, 1000 * MAX_TERMS), top, bottom)


def _shown(number: int) -> str:
    return f"{number:,}" if number < 10**12 else f"about 10^{int(log2(number) / log2(10))}"


def _digits(exponent: str) -> str:
    return exponent if re.fullmatch(r"[+-]?\d+", exponent) else "0"


def _as_written(number: sympy.Float) -> sympy.Rational:
    """The shortest decimal that is this float."""
    short = str(number)
    if number._prec == 53 and sympy.Float(short, precision=53) != number:
        short = repr(float(number))
    return rational(short)


def _from_coefficients(coefficients: Mapping[Any, Scalar]) -> sympy.Expr:
    """{(2, 0): 1, (0, 3): 1} -> w1² + w2³."""
    keys = [key if isinstance(key, tuple) else (key,) for key in coefficients]
    if not keys or len({len(key) for key in keys}) > 1 or not all(isinstance(k, int) and k >= 0 for k in sum(keys, ())):
        raise ValueError(
            f"exact_rlct: the exponents are {list(coefficients)}; give tuples of nonnegative integers, one for each "
            "variable, as in {(2, 0): 1, (0, 3): 1} for w1^2 + w2^3."
        )
    w = sympy.symbols(f"w1:{len(keys[0]) + 1}")
    terms = (
        rational(c) * sympy.prod(x**k for x, k in zip(w, key, strict=True))
        for key, c in zip(keys, coefficients.values(), strict=True)
    )
    return sympy.Add(*terms)


def _parse(text: str) -> sympy.Expr:
    """A string of numbers, names, + - * / ** ^ and parentheses; evaluated by nobody but us."""
    line = " ".join(text.replace("^", "**").replace("\N{MINUS SIGN}", "-").split())
    if len(line) > MAX_TEXT:
        raise ValueError(f"exact_rlct: the expression has {len(line):,} characters; up to {MAX_TEXT:,} are supported.")
    try:
        tree = ast.parse(line, mode="eval")
        return sympy.sympify(_build(tree.body, line.encode()))
    except (SyntaxError, MemoryError, RecursionError) as error:
        why = error.msg if isinstance(error, SyntaxError) else "too deeply nested"
        raise ValueError(
            f"exact_rlct: {_cut(text)!r} cannot be read ({why}); write products with * and powers with ** or ^, "
            "as in 'x**2*y**4 + (x - y)**2', and no Python keyword as a variable."
        ) from None


def _build(node: ast.AST, line: bytes) -> Any:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return _raised(_build(node.left, line), _build(node.right, line), node)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        return _chain(node, line)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_build(node.left, line), _build(node.right, line))
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_build(node.operand, line))
    if isinstance(node, ast.Name):
        return sympy.Symbol(node.id)
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        written = line[node.col_offset : node.end_col_offset].decode()
        return rational(node.value if re.match(r"0[xob]", written, re.I) else written.replace("_", ""))
    raise ValueError(
        f"exact_rlct: {_cut(ast.unparse(node))!r} in {_cut(line.decode())!r} is not part of a polynomial; allowed are "
        "rational numbers, variables, + - * and powers, with a * in every product. An analytic function can be "
        "replaced by enough of its Taylor series."
    )


def _chain(node: ast.AST, line: bytes) -> Any:
    """A sum of however many terms, which Python nests to the left, without a level for each."""
    terms = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        term = _build(node.right, line)
        terms.append(-term if isinstance(node.op, ast.Sub) else term)
        node = node.left
    return sympy.Add(_build(node, line), *reversed(terms))


def _raised(base: Any, exponent: Any, node: ast.BinOp) -> Any:
    """base**exponent, after a look at how large it is: SymPy multiplies powers of numbers out at once."""
    if not (exponent.is_Integer and exponent >= 0):
        raise ValueError(
            f"exact_rlct: {_cut(ast.unparse(node))!r} is not a polynomial: an exponent is a whole number, 0 or more; "
            "give one."
        )
    _power(_size(base, max(len(base.free_symbols), 1)), int(exponent), max(len(base.free_symbols), 1))
    return base**exponent


def _cut(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}..."
