"""Analytic potentials that are polynomials: powers, quadratic forms, monomials, curves, boundaries, two phases.

One call of `define` is one entry.
"""

from functools import reduce
from operator import add, mul

import numpy as np

from slt.catalogue.closed_forms import by_prior, linear_block, product, quadratic, separable
from slt.catalogue.entry import Potential, define, namespace, power
from slt.catalogue.quadrature import Rule, nested

ELEMENTARY = "elementary: K is a power or a sum of powers in disjoint variables"
CROSSING = "normal crossing: Watanabe 2009, Algebraic Geometry and Statistical Learning Theory, ch. 3-4"
NEWTON = "Newton polyhedron, nondegenerate: Lin 2011, thesis; Varchenko 1976"
CURVE = "half the log canonical threshold of a weighted homogeneous curve, min(1, sum of weights)"
SMOOTH = "smooth zero set of codimension one"


def polynomial_potentials() -> tuple[Potential, ...]:
    """All entries of this file."""
    return (*_powers(), *_quadratics(), *_monomials(), *_sums(), *_curves(), *_boundaries(), *_phases())


def _powers() -> list[Potential]:
    even = [
        define(f"pow{p}", f"w^{p}", lambda w, p=p: power(w[0], p), f"1/{p}", dim=1, source=ELEMENTARY, tags="power")
        for p in (2, 4, 6, 8)
    ]
    # The weight |w|^h, normalised: λ = (1 + h) / p.
    weighted = [
        define(
            name, formula, lambda w, p=p: power(w[0], p), rlct, dim=1, source=ELEMENTARY, gaussian=False,
            log_weight=lambda w, h=h: h * namespace(w).log(abs(w[0])), rule=product([p], weights=[h]),
            tags="power weight",
        )
        for name, formula, p, h, rlct in (
            ("pow2_prior1", "w^2, prior |w|", 2, 1.0, "1"),
            ("pow4_prior2", "w^4, prior w^2", 4, 2.0, "3/4"),
            ("pow4_priormhalf", "w^4, prior |w|^(-1/2)", 4, -0.5, "1/8"),
        )
    ]  # fmt: skip
    return [
        *even,
        *weighted,
        define("pow2_scale", "50 w^2", lambda w: 50.0 * w[0] ** 2, "1/2", dim=1, source=ELEMENTARY, tags="power"),
        define(
            "dwell", "(w^2 - 1/4)^2", lambda w: (w[0] ** 2 - 0.25) ** 2, "1/2", dim=1, minimum=[0.5], source=SMOOTH,
            tags="power two-minima",
        ),
    ]  # fmt: skip


def _squares(weights) -> Rule:
    """K = sum_i c_i w_i², coordinate by coordinate."""
    return separable([([i], nested(lambda w, c=c: c * w[0] ** 2, [0.0])) for i, c in enumerate(weights) if c])


def _quadratics() -> list[Potential]:
    rotated = _rotated(np.array([2.0, 0.5, 0.01, 0.0, 0.0]))
    spread = np.logspace(-2, 2, 10)
    stiff = _rotated(np.array([1e3, 1.0, 1e-3]))
    return [
        define("quad_r1_d2", "w1^2", lambda w: w[0] ** 2, "1/2", dim=2, source=ELEMENTARY,
               rule=_squares([1, 0]), tags="quadratic free-direction"),
        define("quad_r2_d2", "w1^2 + w2^2", lambda w: w[0] ** 2 + w[1] ** 2, "1", dim=2, source=ELEMENTARY,
               rule=_squares([1, 1]), tags="quadratic regular"),
        define("quad_corr", "(w1^2 + w2^2)/2 + 0.98 w1 w2",
               lambda w: 0.5 * (w[0] ** 2 + w[1] ** 2) + 0.98 * w[0] * w[1], "1", dim=2, source=ELEMENTARY,
               tags="quadratic regular correlated"),
        define("quad_r10_d10", "sum_i c_i w_i^2, c = 0.01 ... 100",
               lambda w: namespace(w).sum(namespace(w).asarray(spread, w.dtype) * w**2), "5", dim=10,
               source=ELEMENTARY, rule=_squares(spread), tags="quadratic regular ill-conditioned highdim"),
        define("quad_r5_d20", "w1^2 + ... + w5^2 in 20 variables", lambda w: namespace(w).sum(w[:5] ** 2), "5/2",
               dim=20, source=ELEMENTARY, rule=_squares(np.arange(20) < 5), tags="quadratic free-direction highdim"),
        define("quad_r3_d5", "w'Hw/2, H of rank 3 in 5 variables, rotated", _form(rotated), "3/2", dim=5, box=None,
               source=ELEMENTARY, rule=quadratic(rotated, np.zeros(5)), tags="quadratic free-direction correlated"),
        define("quad_stiff_d3", "w'Hw/2, H of condition 1e6, rotated", _form(stiff), "3/2", dim=3, box=None,
               source=ELEMENTARY, rule=quadratic(stiff, np.zeros(3)), tags="quadratic regular ill-conditioned"),
        define("ball4_d3", "|w|^4 in 3 variables", lambda w: namespace(w).sum(w**2, 0) ** 2, "3/4", dim=3, box=None,
               source="definite form of degree 4: d/4", rule=by_prior(origin=product([4], sizes=[3])), tags="radial"),
        define("ball6_d4", "|w|^6 in 4 variables", lambda w: namespace(w).sum(w**2, 0) ** 3, "2/3", dim=4, box=None,
               source="definite form of degree 6: d/6", rule=by_prior(origin=product([6], sizes=[4])), tags="radial"),
    ]  # fmt: skip


def _rotated(eigenvalues: np.ndarray) -> np.ndarray:
    """A matrix with these eigenvalues, turned by the fixed reflection I - 2vv' with v along (1, 2, ..., d)."""
    v = np.arange(1.0, len(eigenvalues) + 1)
    Q = np.eye(len(v)) - 2 * np.outer(v, v) / (v @ v)
    return Q @ np.diag(eigenvalues) @ Q


def _form(H: np.ndarray):
    eigenvalues, V = np.linalg.eigh(H)
    root = np.sqrt(np.maximum(eigenvalues, 0.0))[:, None] * V.T

    def energy(w):
        return 0.5 * namespace(w).sum((namespace(w).asarray(root, w.dtype) @ w) ** 2, 0)

    return energy


def _cross(w) -> tuple[np.ndarray, np.ndarray]:
    """Design of K = (w1 w2 a)²: linear in a."""
    return np.sqrt(2) * (w[0] * w[1])[:, None, None], np.zeros(1)


def _monomials() -> list[Potential]:
    def monomial(name, formula, p, rlct, multiplicity, rule=None):
        return define(
            name, formula, lambda w: reduce(mul, (power(w[i], k) for i, k in enumerate(p))), rlct, multiplicity,
            dim=len(p), source=CROSSING, rule=rule, tags="monomial normal-crossing",
        )  # fmt: skip

    mellin = product([2, 2, 2])
    cubic = by_prior(uniform=mellin, origin=mellin, elsewhere=linear_block(_cross, [2], [0, 1], np.zeros(3)))
    return [
        monomial("x2y2", "(w1 w2)^2", (2, 2), "1/2", 2),
        monomial("x2y4", "w1^2 w2^4", (2, 4), "1/4", 1),
        monomial("x4y4", "(w1 w2)^4", (4, 4), "1/4", 2),
        monomial("x2y2z2", "(w1 w2 w3)^2", (2, 2, 2), "1/2", 3, cubic),
        *(
            monomial(name, formula, p, rlct, m, by_prior(uniform=product(p), origin=product(p)))
            for name, formula, p, rlct, m in (
                ("x2y4z4", "w1^2 (w2 w3)^4", (2, 4, 4), "1/4", 2),
                ("x2y4z6", "w1^2 w2^4 w3^6", (2, 4, 6), "1/6", 1),
                ("mono4", "(w1 w2 w3 w4)^2", (2, 2, 2, 2), "1/2", 4),
            )
        ),
    ]


def _separated(name: str, p: tuple[int, ...], rlct: str) -> Potential:
    """Define sum_i w_i^p_i."""
    blocks = [([i], nested(lambda w, k=k: power(w[0], k), [0.0])) for i, k in enumerate(p)]
    formula = " + ".join(f"w{i + 1}^{k}" for i, k in enumerate(p))
    return define(
        name, formula, lambda w: reduce(add, (power(w[i], k) for i, k in enumerate(p))), rlct, dim=len(p),
        source=ELEMENTARY, rule=separable(blocks), tags="separable",
    )  # fmt: skip


def _sums() -> list[Potential]:
    separated = [
        ("x2_y4", (2, 4), "3/4"),
        ("x4_y4", (4, 4), "1/2"),
        ("x2_y6", (2, 6), "2/3"),
        ("x4_y6", (4, 6), "5/12"),
        ("quartic4", (4, 4, 4, 4), "1"),
    ]
    joint = [
        ("circ4", "(w1^2 + w2^2)^2", lambda w: (w[0] ** 2 + w[1] ** 2) ** 2, "1/2", 1),
        ("y2_x2py2", "w2^2 (w1^2 + w2^2)", lambda w: w[1] ** 2 * (w[0] ** 2 + w[1] ** 2), "1/2", 2),
        ("x4_x2y2_y4", "w1^4 + w1^2 w2^2 + w2^4", _quartic, "1/2", 1),
    ]
    return [
        *(_separated(*row) for row in separated),
        *(define(name, formula, energy, rlct, m, dim=2, source=NEWTON, tags="newton")
          for name, formula, energy, rlct, m in joint),
        *_blocks(),
    ]  # fmt: skip


def _blocks() -> list[Potential]:
    def blocks(name, formula, energy, rlct, multiplicity, dim, rule, box=(-1.0, 1.0)):
        known = {"dim": dim, "source": NEWTON, "rule": rule, "box": box, "tags": "blocks"}
        return define(name, formula, energy, rlct, multiplicity, **known)

    crossing, steep = nested(lambda w: (w[0] * w[1]) ** 2, np.zeros(2)), nested(_x2y4, np.zeros(2))
    square = nested(lambda w: w[0] ** 2, np.zeros(1))
    conic = product([2, 2], sizes=[1, 2])
    return [
        blocks("xy_yz_zx", "(w1 w2)^2 + (w2 w3)^2 + (w3 w1)^2", _triangle, "3/4", 1, 3,
               by_prior(elsewhere=linear_block(_triangle_design, [2], [0, 1], np.zeros(3))), box=None),
        blocks("x2y2_z2", "(w1 w2)^2 + w3^2", lambda w: (w[0] * w[1]) ** 2 + w[2] ** 2, "1", 2, 3,
               separable([([0, 1], crossing), ([2], square)])),
        blocks("x2y4_z2", "w1^2 w2^4 + w3^2", lambda w: _x2y4(w) + w[2] ** 2, "3/4", 1, 3,
               separable([([0, 1], steep), ([2], square)])),
        blocks("x2y2_z2u2", "(w1 w2)^2 + (w3 w4)^2", lambda w: (w[0] * w[1]) ** 2 + (w[2] * w[3]) ** 2, "1", 3, 4,
               separable([([0, 1], crossing), ([2, 3], crossing)])),
        blocks("x2_y2pz2", "w1^2 (w2^2 + w3^2)", lambda w: w[0] ** 2 * (w[1] ** 2 + w[2] ** 2), "1/2", 1, 3,
               by_prior(origin=conic, elsewhere=linear_block(_conic_design, [0], [1, 2], np.zeros(3))), box=None),
    ]  # fmt: skip


def _x2y4(w):
    return w[0] ** 2 * power(w[1], 4)


def _quartic(w):
    x, y = w[0] ** 2, w[1] ** 2
    return x * x + x * y + y * y


def _triangle(w):
    x, y, z = w[0] ** 2, w[1] ** 2, w[2] ** 2
    return x * y + y * z + z * x


def _triangle_design(w):
    """Linear in w3: rows √2 (w2 w3, w1 w3, w1 w2)."""
    x, y = np.sqrt(2) * w
    zero = 0 * x
    return np.stack([y, x, zero], 1)[:, :, None], np.stack([zero, zero, -x * w[1]], 1)


def _conic_design(w):
    """Linear in w1: rows √2 (w2, w3) w1."""
    return np.sqrt(2) * w.T[:, :, None], np.zeros(2)


def _curves() -> list[Potential]:
    """K = f² of a plane curve f, unless said otherwise."""
    return [
        *(
            define(name, f"({formula})^2", lambda w, f=f: f(w[0], w[1]) ** 2, rlct, m, dim=2, source=source,
                   tags="curve")
            for name, formula, f, rlct, m, source in (
                ("parabola", "w2 - w1^2", lambda x, y: y - x**2, "1/2", 1, SMOOTH),
                ("node", "w1^2 - w2^2", lambda x, y: (x - y) * (x + y), "1/2", 2, CROSSING),
                ("cusp", "w1^2 - w2^3", lambda x, y: x**2 - power(y, 3), "5/12", 1, CURVE),
                ("A3", "w1^2 - w2^4", lambda x, y: x**2 - power(y, 4), "3/8", 1, CURVE),
                ("A4", "w1^2 - w2^5", lambda x, y: x**2 - power(y, 5), "7/20", 1, CURVE),
                ("D4", "w1^2 w2 - w2^3", lambda x, y: x**2 * y - power(y, 3), "1/3", 1, CURVE),
                ("D4p", "w1^2 w2 + w2^3", lambda x, y: x**2 * y + power(y, 3), "1/3", 1, CURVE),
                ("D5", "w1^2 w2 + w2^4", lambda x, y: x**2 * y + power(y, 4), "5/16", 1, CURVE),
                ("E6", "w1^3 + w2^4", lambda x, y: power(x, 3) + power(y, 4), "7/24", 1, CURVE),
                ("E7", "w1^3 + w1 w2^3", lambda x, y: power(x, 3) + x * power(y, 3), "5/18", 1, CURVE),
                ("E8", "w1^3 + w2^5", lambda x, y: power(x, 3) + power(y, 5), "4/15", 1, CURVE),
            )
        ),
        define("parabola_x4", "(w2 - w1^2)^2 + w1^4", lambda w: (w[1] - w[0] ** 2) ** 2 + power(w[0], 4), "3/4", dim=2,
               source="change of variables u = w2 - w1^2: u^2 + w1^4", tags="curve"),
        define("circle", "(w1^2 + w2^2 - 1)^2", lambda w: (w[0] ** 2 + w[1] ** 2 - 1.0) ** 2, "1/2", dim=2,
               minimum=[1.0, 0.0], box=(-2.0, 2.0), source=SMOOTH, tags="curve"),
        define("E8_3d", "(w1^2 + w2^3 + w3^5)^2", lambda w: (w[0] ** 2 + power(w[1], 3) + power(w[2], 5)) ** 2, "1/2",
               dim=3, known=False, source="real smooth points of the surface: 1/2, before the weights' 31/60",
               tags="surface"),
    ]  # fmt: skip


def _boundaries() -> list[Potential]:
    def wedge(i, points):
        first = np.zeros(points.shape[1])
        return (first, first + 1) if i == 0 else (points[0] / 2, points[0])

    def inside(w):
        xp = namespace(w)
        return xp.where((w[1] >= w[0] / 2) & (w[1] <= w[0]), 0.0, -xp.inf)

    def bounded(name, formula, energy, rlct, m=1, *, dim=2, box=(0.0, 1.0), source=ELEMENTARY, **options):
        return define(name, formula, energy, rlct, m, dim=dim, box=box, gaussian=False, source=source,
                      tags="boundary", **options)  # fmt: skip

    return [
        bounded("halfline_linear", "w on [0, 1]", lambda w: w[0], "1", dim=1),
        bounded("halfline_quad", "w^2 on [0, 1]", lambda w: w[0] ** 2, "1/2", dim=1),
        bounded("xy_quadrant", "w1 w2 on [0, 1]^2", lambda w: w[0] * w[1], "1", 2, source=CROSSING),
        bounded("quadrant_quad", "w1^2 + w2^2 on [0, 1]^2", lambda w: w[0] ** 2 + w[1] ** 2, "1"),
        bounded("lin_plus_quad", "w1 + w2^2, w1 >= 0", lambda w: w[0] + w[1] ** 2, "3/2",
                box=((0.0, -1.0), (1.0, 1.0))),
        bounded("wedge_domain", "(w1 w2)^2 on w1/2 <= w2 <= w1 <= 1", lambda w: (w[0] * w[1]) ** 2, "1/2",
                log_weight=inside, limits=wedge, source="the wedge avoids both axes: d/4 = 1/2, m = 1"),
        bounded("x2y2_prior_x", "(w1 w2)^2, prior |w1|", lambda w: (w[0] * w[1]) ** 2, "1/2", box=(-1.0, 1.0),
                log_weight=lambda w: namespace(w).log(abs(w[0])), rule=product([2, 2], weights=[1.0, 0.0]),
                source="Lin 2011, thesis: τ-distance; poles (1 + h)/2 = 1 and 1/2"),
    ]  # fmt: skip


def _phases() -> list[Potential]:
    """(w1 - 1)^(2a) (w1² + w2²)^(2b): λ = 1/(2a) on the line, 2/(4b) at the origin; each box holds one phase."""

    def phase(a, b, name, minimum, rlct):
        box = (np.array(minimum) - 0.5, np.array(minimum) + 0.5)
        return define(
            f"two_phase_{a}{b}_{name}", f"(w1 - 1)^{2 * a} (w1^2 + w2^2)^{2 * b}",
            lambda w: power(w[0] - 1.0, 2 * a) * power(w[0] ** 2 + w[1] ** 2, 2 * b), rlct, dim=2, minimum=minimum,
            box=box, source="local λ of the phase at w*: 1/(2a) or d/(4b)", tags="two-phase",
        )  # fmt: skip

    return [
        entry
        for a, b in ((1, 1), (1, 2), (2, 1))
        for entry in (
            phase(a, b, "line", [1.0, 0.0], f"1/{2 * a}"),
            phase(a, b, "origin", [0.0, 0.0], f"1/{2 * b}"),
        )
    ]
