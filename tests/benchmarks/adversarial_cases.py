"""Potentials and losses chosen to break an estimator, each with its exact finite-n value by closed form or quadrature.

Symmetry and product structure leave integrals over one or two variables: sums of one-dimensional potentials, radial
ones, and those of an axis and a distance from it. Every quadrature is repeated on half of its nodes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from slt.targets.target import Target, loss_target, potential_target


class Case(NamedTuple):
    """build() -> Target; truth() -> n beta E[K - K(w*)]."""

    name: str
    kind: str
    build: Callable[[], Target]
    truth: Callable[[], float]


def nodes(*centers: float, reach: float, finest: float, count: int = 1500) -> np.ndarray:
    """Geometric nodes on both sides of every center, each of the same density in log distance."""
    arms = np.geomspace(finest, reach, count)
    return np.unique(np.concatenate([np.concatenate([c - arms, [c], c + arms]) for c in centers]))


def _weights(x: np.ndarray) -> np.ndarray:
    step = np.diff(x)
    return 0.5 * (np.concatenate([step, [0]]) + np.concatenate([[0], step]))


def quadrature(energy: Callable, log_density: Callable, *axes: np.ndarray) -> float:
    """E[energy] under exp(-energy + log_density), by the trapezoid rule; repeated on half of the nodes."""
    fine, coarse = (_once(energy, log_density, *(x[::every] for x in axes)) for every in (1, 2))
    if not abs(fine - coarse) <= 4e-3 * max(abs(fine), 0.25):
        raise ArithmeticError(f"quadrature: {fine} on all nodes and {coarse} on half of them.")
    return fine


def _once(energy: Callable, log_density: Callable, *axes: np.ndarray) -> float:
    with jax.enable_x64(True):
        grid = jnp.meshgrid(*map(jnp.asarray, axes), indexing="ij")
        weights = np.ones([])
        for x in axes:
            weights = np.multiply.outer(weights, _weights(x))
        value = np.asarray(energy(*grid)) * np.ones(weights.shape)
        log_mass = np.asarray(log_density(*grid)) - value
    mass = weights * np.exp(log_mass - log_mass.max())
    return float((mass * value).sum() / mass.sum())


def _at(k: Callable, *point: float) -> float:
    """K at a point, in float64 as the estimate has it: in float32 a 1e-300 that keeps a logarithm finite is nothing."""
    with jax.enable_x64(True):
        return float(k(*map(jnp.asarray, point)))


def gaussian_of(gamma: float, *centers: float) -> Callable:
    """Log density of N(center, 1/gamma) on every axis."""
    return lambda *w: -0.5 * gamma * sum((x - c) ** 2 for x, c in zip(w, centers, strict=True))


def rotation(dim: int, seed: int = 0) -> np.ndarray:
    """A random orthogonal matrix."""
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, dim)))[0]


CASES: list[Case] = []


def _add(name: str, kind: str, build: Callable[[], Target], truth: Callable[[], float]) -> None:
    CASES.append(Case(name, kind, build, truth))


def _line(
    name: str,
    kind: str,
    k: Callable,
    nbeta: float,
    *,
    at: float = 0.0,
    gamma: float = 1.0,
    centers: tuple = (),
    finest: float = 1e-9,
    count: int = 40_000,
    dim: int = 1,
    box: tuple | None = None,
    rotate: bool = False,
) -> None:
    """K = sum of k(w_i) over dim coordinates, each under N(at, 1/gamma) or uniform on the box."""
    turn = rotation(dim) if rotate else None

    def potential(w: Any) -> Any:
        v = w if turn is None else at + turn @ (w - at)
        return jnp.sum(k(v))

    def truth() -> float:
        x = nodes(at, *centers, reach=12 / gamma**0.5 if box is None else box[1] - box[0], finest=finest, count=count)
        density = gaussian_of(gamma, at)
        if box is not None:
            x, density = np.clip(x, *box), jnp.zeros_like
            x = np.unique(x)
        floor = _at(k, at)
        return dim * quadrature(lambda x: nbeta * (k(x) - floor), density, x)

    _add(
        name,
        kind,
        lambda: potential_target(potential, np.full(dim, at), nbeta=nbeta, localization=gamma, box=box),
        truth,
    )


def _plane(
    name: str,
    kind: str,
    k: Callable,
    nbeta: float,
    *,
    at: tuple = (0.0, 0.0),
    gamma: float = 1.0,
    axes: tuple | None = None,
    box: tuple | None = None,
    grid: int | None = None,
) -> None:
    """K = k(x, y) under N(at, 1/gamma), on geometric nodes around `at` or on a uniform grid of prior width."""

    def truth() -> float:
        if axes is not None:
            x, y = axes
        elif grid:
            x, y = (np.linspace(c - 5.5 / gamma**0.5, c + 5.5 / gamma**0.5, grid) for c in at)
        else:
            x, y = (nodes(c, reach=8 / gamma**0.5, finest=1e-7, count=1200) for c in at)
        density = gaussian_of(gamma, *at)
        if box is not None:
            x, y, density = np.unique(np.clip(x, *box)), np.unique(np.clip(y, *box)), lambda *w: 0.0
        return quadrature(lambda x, y: nbeta * k(x, y), density, x, y)

    _add(
        name,
        kind,
        lambda: potential_target(lambda w: k(w[0], w[1]), np.array(at), nbeta=nbeta, localization=gamma, box=box),
        truth,
    )


def _polar(name: str, kind: str, k: Callable, nbeta: float) -> None:
    """K = k(x, y) with valleys along the axes and the diagonal, under N(0, 1), in polar coordinates."""

    def truth() -> float:
        angle = np.clip(nodes(*np.arange(0, 9) * np.pi / 4, reach=0.5, finest=1e-7, count=700), 0, 2 * np.pi)
        radius = np.geomspace(1e-5, 8, 1500)
        return quadrature(
            lambda r, a: nbeta * k(r * jnp.cos(a), r * jnp.sin(a)),
            lambda r, a: jnp.log(r) - r**2 / 2,
            radius,
            np.unique(angle),
        )

    _add(name, kind, lambda: potential_target(lambda w: k(w[0], w[1]), np.zeros(2), nbeta=nbeta), truth)


def _radial(name: str, kind: str, k: Callable, dim: int, nbeta: float, *, gamma: float = 1.0) -> None:
    """K = k(r) with r = |w - w*|; the density of r has the factor r^(d-1)."""

    def truth() -> float:
        r = np.geomspace(1e-10, 14 * (1 + dim**0.5 / 5) / gamma**0.5, 400_000)
        return quadrature(lambda r: nbeta * (k(r) - k(0.0)), lambda r: -gamma * r**2 / 2 + (dim - 1) * jnp.log(r), r)

    _add(
        name,
        kind,
        lambda: potential_target(
            lambda w: k(jnp.sqrt(jnp.sum(w**2) + 1e-300)), np.zeros(dim), nbeta=nbeta, localization=gamma
        ),
        truth,
    )


def _axial(
    name: str, kind: str, k: Callable, dim: int, nbeta: float, *, at: float = 0.0, axis: np.ndarray, rho: np.ndarray
) -> None:
    """K = k(w_0, rho) with rho = |w_1...| in dim - 1 dimensions, under N((at, 0, ...), 1)."""

    def truth() -> float:
        density = lambda z, r: -((z - at) ** 2) / 2 - r**2 / 2 + (dim - 2) * jnp.log(r)  # noqa: E731
        floor = _at(k, at, 0.0)
        return quadrature(lambda z, r: nbeta * (k(z, r) - floor), density, axis, rho)

    start = np.zeros(dim)
    start[0] = at
    _add(
        name,
        kind,
        lambda: potential_target(lambda w: k(w[0], jnp.sqrt(jnp.sum(w[1:] ** 2) + 1e-300)), start, nbeta=nbeta),
        truth,
    )


def _radii(
    name: str, kind: str, k: Callable, dims: tuple[int, int], nbeta: float, *, of_difference: Callable | None = None
) -> None:
    """K = k(|a|, |b|), a and b in dims dimensions, under N(0, 1); or a function of |a|^2 - |b|^2, and K that of it."""
    p, q = dims

    def truth() -> float:
        a = b = np.geomspace(1e-7, 12, 1800)
        if of_difference is not None:
            return _difference_of_squares(of_difference, dims, nbeta)
        density = lambda a, b: -(a**2) / 2 - b**2 / 2 + (p - 1) * jnp.log(a) + (q - 1) * jnp.log(b)  # noqa: E731
        return quadrature(lambda a, b: nbeta * k(a, b), density, a, b)

    def potential(w: Any) -> Any:
        return k(jnp.sqrt(jnp.sum(w[:p] ** 2) + 1e-300), jnp.sqrt(jnp.sum(w[p:] ** 2) + 1e-300))

    _add(name, kind, lambda: potential_target(potential, np.zeros(p + q), nbeta=nbeta), truth)


def _difference_of_squares(k: Callable, dims: tuple[int, int], nbeta: float) -> float:
    """n beta E[k(|a|^2 - |b|^2)]: a difference s and y = |b|^2 of chi-square laws, of dims degrees of freedom."""
    p, q = dims

    def density(s: Any, y: Any) -> Any:
        x = jnp.maximum(s + y, 1e-300)
        law = (p / 2 - 1) * jnp.log(x) - x / 2 + (q / 2 - 1) * jnp.log(y) - y / 2
        return jnp.where(s + y > 0, law, -jnp.inf)

    axes = nodes(0.0, reach=40, finest=1e-7, count=1500), np.geomspace(1e-7, 80, 3000)
    return quadrature(lambda s, y: nbeta * k(s) + 0 * y, density, *axes)


def _quadratic(
    name: str, kind: str, h: np.ndarray, nbeta: float, *, at: float = 0.0, gamma: float = 1.0, offset: float = 0.0
) -> None:
    """K = offset + v^T H v / 2, v = w - at, H of eigenvalues h: (1/2) sum of n beta h/(n beta h + gamma)."""
    turn = rotation(len(h))

    def potential(w: Any) -> Any:
        return offset + 0.5 * jnp.sum(h * (turn @ (w - at)) ** 2)

    _add(
        name,
        kind,
        lambda: potential_target(potential, np.full(len(h), at), nbeta=nbeta, localization=gamma),
        lambda: float(0.5 * np.sum(nbeta * h / (nbeta * h + gamma))),
    )


def _product(name: str, power: int, dim: int, nbeta: float) -> None:
    """K = (product of w_i)^power on the box [0, 1]^d: minus the log of the product is Gamma(d)."""

    def truth() -> float:
        t = np.linspace(1e-9, 80, 200_000)
        return quadrature(lambda t: nbeta * jnp.exp(-power * t), lambda t: (dim - 1) * jnp.log(t) - t, t)

    _add(
        name,
        "far crossing",
        lambda: potential_target(lambda w: jnp.prod(w) ** power, np.zeros(dim), nbeta=nbeta, box=(0.0, 1.0)),
        truth,
    )


def _data(
    name: str,
    kind: str,
    loss: Callable,
    data: Any,
    at: np.ndarray,
    *,
    gamma: float = 1.0,
    reach: float = 6.0,
    grid: int = 1201,
) -> None:
    """A loss with data and two parameters, on a uniform grid of the prior's width."""

    def truth() -> float:
        n = len(data[0])
        nbeta = n / np.log(n)
        wide = tuple(np.asarray(a, np.float64) for a in data)
        floor = float(np.mean(loss(at.astype(np.float64), wide)))
        axes = tuple(np.linspace(c - reach, c + reach, grid) for c in at.astype(np.float64))

        def energy(x: Any, y: Any) -> Any:
            flat = jnp.stack([x.ravel(), y.ravel()], 1)
            mean = jax.lax.map(lambda w: jnp.mean(loss(w, wide)), flat, batch_size=2000)
            return nbeta * (mean.reshape(x.shape) - floor)

        return quadrature(energy, gaussian_of(gamma, *at.astype(np.float64)), *axes)

    _add(name, kind, lambda: loss_target(loss, at.astype(np.float32), data, localization=gamma), truth)


def _regression(name: str, n: int, d: int, *, scale: float = 1.0, condition: float = 1.0, offset: float = 0.0) -> None:
    """Least squares at its optimum: (1/2) sum of n beta h/(n beta h + 1)."""
    rng = np.random.default_rng(1)
    x = (rng.normal(size=(n, d)) * np.geomspace(1, 1 / condition, d)) @ rotation(d)
    x, y = x.astype(np.float32), (scale * rng.normal(size=n)).astype(np.float32)
    optimum = np.linalg.lstsq(x.astype(float), y.astype(float), rcond=None)[0]
    h = n / np.log(n) * np.linalg.eigvalsh(x.T.astype(float) @ x / n)

    def loss(w: Any, rows: Any) -> Any:
        return offset + 0.5 * (rows[1] - rows[0] @ w) ** 2

    _add(
        name,
        "loss",
        lambda: loss_target(loss, optimum.astype(np.float32), (x, y), localization=1.0),
        lambda: float(0.5 * np.sum(h / (h + 1))),
    )


# one dimension and sums of it
_line("x^2 times 1e12", "scale", lambda x: 1e12 * x**2, 1.0)
_line("x^2 times 1e-6", "scale", lambda x: 1e-6 * x**2, 1e4)
_line("x^2 times 1e30", "scale", lambda x: 1e30 * x**2, 1.0, finest=1e-18)
_line("x^20", "power", lambda x: x**20, 1e6)
_line("|x|", "power", abs, 1e3)
_line("sqrt |x|", "power", lambda x: abs(x) ** 0.5, 1e3, finest=1e-14)
_line("stairs", "discontinuous", lambda x: jnp.floor(abs(x) * 10) / 10, 50.0, count=400_000, finest=1e-5)
_line("a slit", "hole", lambda x: jnp.where(abs(x) > 1e-3, 1.0, 0.0), 20.0, count=400_000, finest=1e-6)
_line("ripple", "many minima", lambda x: x**2 / 2 + 1 - jnp.cos(100 * x), 100.0, count=400_000, finest=1e-4)
_line("x^2 left, x^4 right", "power", lambda x: jnp.where(x < 0, x**2, x**4), 1e5)
_line("x on [0, 1]", "wall", lambda x: x, 1e3, box=(0.0, 1.0))
_line("x^2 on [0, 1]", "wall", lambda x: x**2, 1e4, box=(0.0, 1.0))
_line("sum x^2 on a box of 1e6", "scale", lambda x: x**2, 10.0, dim=3, box=(-1e6, 1e6), finest=1e-6)
_line("double well", "many minima", lambda x: (x**2 - 1) ** 2, 100.0, at=1.0, centers=(-1.0,))
_line("x^4 and (x - 2)^2", "two lambdas", lambda x: x**4 * (x - 2) ** 2, 1e3, at=2.0, centers=(0.0,))
_line("x^2 and (x - 2)^4", "two lambdas", lambda x: x**2 * (x - 2) ** 4, 1e4, at=0.0, centers=(2.0,))
_line("width 1e-4 at 1e4", "precision", lambda x: 0.5 * (x - 1e4) ** 2, 1e8, at=1e4, dim=2)
_line("width 1e-3 at 12345.678", "precision", lambda x: (x - 12345.678) ** 2, 1e6, at=12345.678, dim=3)
_line(
    "parabola with a cliff",
    "discontinuous",
    lambda x: x**2 + jnp.where(x > 0.02, 0.05, 0.0),
    1e3,
    count=400_000,
    finest=1e-5,
)
_line("exp(-1/x^2)", "flat", lambda x: jnp.exp(-1 / (x**2 + 1e-12)), 1e4)
_line("needle of 1e-4", "hole", lambda x: -jnp.expm1(-abs(x) / 1e-4), 30.0, finest=1e-12)
_line(
    "1/log(1/|x|)",
    "log-singular",
    lambda x: 1 / jnp.log(jnp.e + 1 / (abs(x) + 1e-300)),
    100.0,
    finest=1e-100,
    count=200_000,
)
_line("sum |x|, 10 dimensions", "power", abs, 1e3, dim=10)
_line("sum x^20, 5 dimensions", "power", lambda x: x**20, 1e6, dim=5)
_line(
    "sum of double wells, 5 dimensions", "many minima", lambda x: (x**2 - 1) ** 2, 20.0, dim=5, at=1.0, centers=(-1.0,)
)
_line(
    "sum of ripples, 8 dimensions",
    "many minima",
    lambda x: x**2 / 2 + 1 - jnp.cos(30 * x),
    20.0,
    dim=8,
    count=400_000,
    finest=1e-4,
)
_line("corner of [0, 1]^10", "wall", lambda x: x, 1e3, dim=10, box=(0.0, 1.0))
_line("corner of [0, 1]^8, quadratic", "wall", lambda x: x**2, 1e5, dim=8, box=(0.0, 1.0))
_line("wall at 0.3", "wall", lambda x: (x - 0.3) ** 2 + 3 * (x - 0.3), 200.0, at=0.3, dim=2, box=(0.3, 4.0))
_line("sum x^2, width 1e-6", "scale", lambda x: 1e12 * x**2, 1.0, dim=5)
_line("sum x^2, width 1e6", "scale", lambda x: 1e-12 * x**2, 1.0, dim=4, gamma=1e-14, finest=1.0)
_line("sqrt |x|, 4 dimensions turned", "power", lambda x: abs(x) ** 0.5, 100.0, dim=4, finest=1e-14)

# two dimensions
_plane("x^2 y^2", "far crossing", lambda x, y: x**2 * y**2, 1e6)
_plane("x^2 y^4 plus x^6", "far crossing", lambda x, y: x**2 * y**4 + x**6, 1e5)
_plane("banana", "banana", lambda x, y: 10 * (y - x**2) ** 2 + (1 - x) ** 2, 30.0, at=(1.0, 1.0), grid=4001)
_plane("degenerate banana", "banana", lambda x, y: (y - x**2) ** 2, 2e3, grid=4001)
_plane(
    "spiral",
    "spiral",
    lambda x, y: 1 - jnp.cos(6 * jnp.sqrt(x**2 + y**2) - jnp.arctan2(y, x)),
    100.0,
    at=(1e-6, 0.0),
    grid=4001,
)
_plane("ring", "valley", lambda x, y: (x**2 + y**2 - 1) ** 2, 1e3, at=(1.0, 0.0), grid=4001)
_plane("hyperbola", "valley", lambda x, y: (x * y - 1) ** 2, 300.0, at=(1.0, 1.0), grid=4001)
_plane("funnel", "funnel", lambda x, y: y**2 / 20 + x**2 * jnp.exp(-4 * y) / 100, 100.0, grid=4001)
_plane("squared cusp", "far crossing", lambda x, y: (y**2 - x**3) ** 2, 1e4, grid=6001)
_plane("x^2 + y^20", "power", lambda x, y: x**2 + y**20, 1e4)
_plane("|x| + y^2", "power", lambda x, y: abs(x) + y**2, 1e4)
_plane("|x y|", "far crossing", lambda x, y: abs(x * y), 1e3)
_plane("max(|x|, y^2)", "power", lambda x, y: jnp.maximum(abs(x), y**2), 1e3)
_plane("x + y^2 on a box", "wall", lambda x, y: x + y**2, 1e3, box=(0.0, 1.0))
_plane("x y on a box", "wall", lambda x, y: x * y, 1e4, box=(0.0, 1.0))
_plane(
    "crossing at (0, 3)",
    "far crossing",
    lambda x, y: x**2 * (y - 3) ** 2,
    1e4,
    axes=(nodes(0.0, reach=8, finest=1e-7, count=1000), nodes(0.0, 3.0, reach=8, finest=1e-6, count=700)),
)
_plane(
    "x^4 (y - 2)^2",
    "two lambdas",
    lambda x, y: x**4 * (y - 2) ** 2,
    1e4,
    at=(1.0, 2.0),
    axes=(nodes(0.0, 1.0, reach=8, finest=1e-6, count=700), nodes(2.0, reach=8, finest=1e-7, count=1000)),
)
_plane(
    "Himmelblau",
    "many minima",
    lambda x, y: (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2,
    2.0,
    at=(3.0, 2.0),
    gamma=0.1,
    grid=4001,
)
_polar("three lines", "far crossing", lambda x, y: (x * y * (x - y)) ** 2, 1e5)
_plane(
    "checkers",
    "discontinuous",
    lambda x, y: jnp.mod(jnp.floor(3 * x) + jnp.floor(3 * y), 2) / 2 + (x**2 + y**2) / 4,
    20.0,
    at=(0.1, 0.1),
    grid=6001,
)
_plane("exp(-1/r^2) in the plane", "flat", lambda x, y: jnp.exp(-1 / (x**2 + y**2 + 1e-12)), 1e4, grid=3001)
_plane("x^2 + sqrt |y|", "power", lambda x, y: x**2 + abs(y) ** 0.5, 1e3)
_plane("two crossed ravines", "valley", lambda x, y: jnp.minimum((x - y) ** 2, (x + 2 * y) ** 2), 1e3, grid=6001)

# radial and axial ones
_radial("hole of 0.03, 5 dimensions", "hole", lambda r: -jnp.expm1(-(r**2) / (2 * 0.03**2)), 5, 200.0)
_radial("hole of 0.001, 2 dimensions", "hole", lambda r: -jnp.expm1(-(r**2) / (2 * 1e-3**2)), 2, 50.0)
_radial("hole of 0.1, 10 dimensions", "hole", lambda r: -jnp.expm1(-(r**2) / (2 * 0.1**2)), 10, 200.0)
_radial("hole of 0.2 with half of the mass", "hole", lambda r: -jnp.expm1(-(r**2) / (2 * 0.2**2)), 4, 13.0)
_radial("shallow hole", "hole", lambda r: -jnp.expm1(-(r**2) / (2 * 0.05**2)), 6, 12.0)
_radial("r^20, 6 dimensions", "power", lambda r: r**20, 6, 1e5)
_radial("r, 8 dimensions", "power", lambda r: r, 8, 1e3)
_radial("sqrt r, 4 dimensions", "power", lambda r: r**0.5, 4, 300.0)
_radial("r^4, 15 dimensions", "power", lambda r: r**4, 15, 1e4)
_radial("Student, 3 dimensions", "heavy", lambda r: jnp.log1p(1e4 * r**2), 3, 20.0)
_radial("Student, barely local", "heavy", lambda r: jnp.log1p(1e6 * r**2), 2, 1.5)
_radial("ball with a step, 6 dimensions", "discontinuous", lambda r: jnp.where(r > 0.3, 1.0, 0.0), 6, 30.0)
_axial(
    "sphere in 10 dimensions",
    "valley",
    lambda z, r: (z**2 + r**2 - 1) ** 2,
    10,
    1e3,
    at=1.0,
    axis=np.linspace(-2, 2, 2001),
    rho=np.linspace(1e-6, 2, 2001),
)
for _dim, _eps, _a in ((10, 0.05, 400.0), (10, 0.02, 400.0), (20, 0.07, 100.0), (3, 0.006, 1e4), (6, 0.015, 50.0)):
    _axial(
        f"two wells, {_dim} dimensions, {_a:g} and {_eps:g}",
        "first order",
        lambda z, r, a=_a, eps=_eps: jnp.minimum(0.5 * a * (z**2 + r**2), eps + 0.5 * ((z - 2) ** 2 + r**2)),
        _dim,
        1e3,
        axis=nodes(0.0, 2.0, reach=8, finest=1e-5, count=700),
        rho=np.geomspace(1e-6, 8, 1500),
    )
_axial(
    "needle beside a bowl, 5 dimensions",
    "first order",
    lambda z, r: jnp.minimum(50 * jnp.sqrt(z**2 + r**2), 0.02 + 0.5 * ((z - 1) ** 2 + r**2)),
    5,
    1e3,
    axis=nodes(0.0, 1.0, reach=8, finest=1e-7, count=700),
    rho=np.geomspace(1e-8, 8, 1500),
)

# products and factorisations
_product("product of 4, squared", 2, 4, 1e5)
_product("product of 8", 1, 8, 1e4)
_radii("|a|^2 |b|^2, 2 and 2", "union", lambda a, b: a**2 * b**2, (2, 2), 1e5)
_radii("|a|^2 |b|^2, 10 and 10", "union", lambda a, b: a**2 * b**2, (10, 10), 1e4)
_radii("line and plane", "union", lambda a, b: a**2 * b**2, (1, 2), 1e5)
_radii("line and 6 dimensions", "union", lambda a, b: a**2 * b**2, (1, 6), 1e4)
_radii(
    "(|a|^2 - |b|^2)^2",
    "valley",
    lambda a, b: (a**2 - b**2) ** 2,
    (3, 4),
    1e4,
    of_difference=lambda s: s**2,
)
_radii("|a|^4 + |a b|", "union", lambda a, b: a**4 + a * b, (3, 3), 1e4)

# quadratic forms
_quadratic("condition 1e12, 12 dimensions", "turned", np.geomspace(1e-6, 1e6, 12), 100.0)
_quadratic("ravine, 2 dimensions", "turned", np.array([1e6, 1e-2]), 1e3)
_quadratic("rank 3 of 15", "turned", np.concatenate([np.zeros(12), [1.0, 10.0, 100.0]]), 1e3)
_quadratic("20 dimensions, condition 1e4", "turned", np.geomspace(1e-2, 1e2, 20), 1e3)
_quadratic("offset 1e4", "precision", np.full(3, 2.0), 1e5, offset=1e4)
_quadratic("offset 1e2 at 50", "precision", np.full(3, 2.0), 1e5, offset=1e2, at=50.0)
_quadratic("width 1e-3 at 1e6", "precision", np.ones(4), 1e6, at=1e6)


def _losses() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=300).astype(np.float32)
    noise = rng.normal(size=300).astype(np.float32)
    label = (rng.uniform(size=300) < 1 / (1 + np.exp(-x))).astype(np.float32)
    _regression("regression, 10 parameters, condition 1e3", 300, 10, condition=1e3)
    _regression("regression, 20 parameters", 400, 20)
    _regression("regression, targets of 1e4", 300, 2, scale=1e4)
    _regression("regression, loss about 1e5", 300, 3, offset=1e5)
    _regression("regression, loss about 100", 300, 3, offset=100.0)
    _data(
        "a tanh(b x), zero truth",
        "loss",
        lambda w, b: 0.5 * (b[1] - w[0] * jnp.tanh(w[1] * b[0])) ** 2 + 0.0,
        (x, 0.0 * noise),
        np.zeros(2),
    )
    _data(
        "a relu(b x), zero truth",
        "loss",
        lambda w, b: 0.5 * (b[1] - w[0] * jax.nn.relu(w[1] * b[0])) ** 2,
        (x, 0.0 * noise),
        np.zeros(2),
    )
    _data(
        "logistic with a dead weight",
        "loss",
        lambda w, b: jnp.logaddexp(0.0, (1 - 2 * b[1]) * (w[0] * b[0])) + 0.0 * w[1],
        (x, label),
        _logistic(x, label),
    )
    _data(
        "|residual|, two slopes",
        "loss",
        lambda w, b: abs(b[1] - w[0] * jax.nn.relu(b[0]) - w[1] * jax.nn.relu(-b[0])),
        (x, 0.0 * noise),
        np.zeros(2),
        reach=1.0,
    )


def _logistic(x: np.ndarray, label: np.ndarray) -> np.ndarray:
    from scipy.optimize import minimize_scalar

    slope = minimize_scalar(lambda a: float(np.logaddexp(0.0, (1 - 2 * label) * a * x.astype(float)).sum())).x
    return np.array([slope, 0.0])


_losses()
