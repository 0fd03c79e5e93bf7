"""Exact finite-n moments of structured potentials of any number of variables; conventions as in `quadrature`.

Sums over independent blocks, products of norms of blocks, Gaussian quadratic forms, models linear in one block, and
products of Gaussian matrices through the eigenvalues of a Wishart matrix.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import special

from slt.catalogue.quadrature import (
    Box,
    Conditional,
    Moments,
    Points,
    Prior,
    Rule,
    Values,
    iterated,
    log_prior,
)
from slt.targets.gaussian import Gaussian

ROUND_OFF = 1e-12
Design = Callable[[Points], tuple[Float[np.ndarray, "num rows cols"], Float[np.ndarray, "*num rows"]]]
LogFactor = Callable[[Values, float], tuple[Values, Values, Values]]


def by_prior(*, uniform: Rule | None = None, origin: Rule | None = None, elsewhere: Rule | None = None) -> Rule:
    """One rule per prior: uniform on the box, Gaussian centred at 0, and Gaussian centred elsewhere.

    Raises:
        ValueError (of the rule): no exact value is known for the prior asked for.
    """
    allowed = {"a box": uniform, "a Gaussian centred at 0": origin or elsewhere, "a Gaussian elsewhere": elsewhere}

    def rule(nbeta: float, prior: Prior) -> Moments:
        kind = "a box" if isinstance(prior, Box) else "a Gaussian elsewhere"
        kind = "a Gaussian centred at 0" if isinstance(prior, Gaussian) and not prior.mean.any() else kind
        chosen = allowed[kind]
        if chosen is None:
            known = ", ".join(name for name, option in allowed.items() if option is not None)
            raise ValueError(f"exact value: the prior is {kind}; known are: {known}. Change localization or center.")
        return chosen(nbeta, prior)

    return rule


def separable(blocks: Sequence[tuple[Sequence[int], Rule]]) -> Rule:
    """K = sum_B K_B(w_B) over disjoint blocks of coordinates: means, variances and log evidences add.

    Args:
        blocks: (coordinates, rule) of each block; coordinates in no block are free.
    """

    def rule(nbeta: float, prior: Prior) -> Moments:
        parts = [block(nbeta, _marginal(prior, np.asarray(index))) for index, block in blocks]
        return Moments(*(float(np.sum(column)) for column in zip(*parts, strict=True)))

    return rule


def _marginal(prior: Prior, index: np.ndarray) -> Prior:
    if isinstance(prior, Gaussian):
        return Gaussian(prior.mean[index], prior.std)
    if prior.log_weight is not None or prior.limits is not None:
        raise ValueError("separable: the box is weighted or cut, so blocks are dependent. Use a plain box.")
    return Box(prior.low[index], prior.high[index])


def product(
    powers: Sequence[int],
    *,
    scale: float = 1.0,
    sizes: Sequence[int] | None = None,
    weights: Sequence[float] | None = None,
) -> Rule:
    """K = scale Π_B |w_B|^p_B over consecutive blocks, by Mellin-Barnes.

    Z(t) = 1/(2πi) ∫_(c-i∞)^(c+i∞) Γ(s) (t scale)^-s Π_B E|w_B|^(-p_B s) ds, 0 < c < λ; the integrand of
    E[tK exp(-tK)] has a factor s more, that of E[(tK)² exp(-tK)] a factor s(s+1). The trapezoid
    rule converges geometrically.

    Args:
        powers: p_B [1].
        scale: the constant in front of K.
        sizes: dimension of each block (1 each unless given); above 1 the prior must be Gaussian.
        weights: exponents h of a box prior Π|w|^h; must match the log_weight of the prior.

    Raises:
        ValueError (of the rule): a Gaussian prior not centred at 0, a box that is neither [-a, a] nor [0, a] in every
            coordinate, or a weight that is not the declared one.
    """
    p = np.asarray(powers, np.float64)
    m = np.ones_like(p) if sizes is None else np.asarray(sizes, np.float64)

    def rule(nbeta: float, prior: Prior) -> Moments:
        log_moment, poles = _log_mellin(prior, p, m, weights)
        return _mellin_barnes(np.log(nbeta * scale), log_moment, float(poles.min()))

    return rule


def _mellin_barnes(log_t: float, log_moment: Callable, rlct: float) -> Moments:
    """Trapezoid rule on Re s = c just left of the first pole at λ; step and length for 45 nats."""
    gap = rlct / (2 + 0.5 * rlct * max(log_t, 0.0))
    nats = 45 + rlct * abs(log_t)
    step = 2 * np.pi * gap / nats
    s = (rlct - gap) + 1j * np.arange(-nats * 2 / np.pi, nats * 2 / np.pi, step)
    log_terms = special.loggamma(s) - s * log_t + log_moment(s)
    peak = log_terms.real.max()
    terms = np.exp(log_terms - peak)
    total = terms.sum().real
    first, second = (s * terms).sum().real / total, (s * (s + 1) * terms).sum().real / total
    log_evidence = peak + np.log(total * step / (2 * np.pi))
    return Moments(float(first), float(second - first**2), float(log_evidence), 1e-10)


def _log_mellin(prior: Prior, p: np.ndarray, m: np.ndarray, weights) -> tuple[Callable, np.ndarray]:
    """Log Π_B E|w_B|^(-p_B s) as a function of s, and its first poles."""
    if isinstance(prior, Gaussian):
        if np.any(prior.mean != 0) or weights is not None:
            raise ValueError(
                f"product: the Gaussian prior has center {prior.mean.tolist()} and weight exponents {weights}; "
                "only center 0 without a weight has closed moments. Use `nested` or `linear_block` elsewhere."
            )
        scale = 0.5 * np.log(prior.precision / 2)
        half = m / 2
        return lambda s: sum(
            special.loggamma(h - q * s / 2) - special.gammaln(h) + q * s * scale for q, h in zip(p, half, strict=True)
        ), m / p
    low, high = prior.low, prior.high
    odd = (low != 0) & (low != -high)
    weighted = prior.log_weight is not None
    if np.any(m > 1) or odd.any() or prior.limits is not None or weighted != (weights is not None):
        raise ValueError(
            f"product: box {low.tolist()} to {high.tolist()}, block sizes {m.tolist()}, weight exponents {weights}; "
            "allowed are blocks of one coordinate on [-a, a] or [0, a] with the declared weight. Else use `nested`."
        )
    h = np.ones_like(p) if weights is None else 1 + np.asarray(weights, np.float64)
    return lambda s: sum(np.log(x / (x - q * s)) - q * s * np.log(a) for q, x, a in zip(p, h, high, strict=True)), h / p


def quadratic(hessian: Float[np.ndarray, "dim dim"], minimum: ArrayLike) -> Rule:
    """K = ½ (w-w*)ᵀ H (w-w*), any rank, under N(c, I/γ).

    In the eigenbasis of H, with d = w* - c, q = tλ/(tλ+γ) and u = tλ (γ d/(tλ+γ))²: E[tK] = ½ Σ (q + u),
    Var[tK] = Σ (½ q² + q u) and log Z = -½ Σ (log(1 + tλ/γ) + q γ d²).

    Raises:
        ValueError: H is not symmetric. (Of the rule: the prior is a box; use `separable` or `nested`.)
    """
    H = np.asarray(hessian, np.float64)
    if not np.allclose(H, H.T):
        raise ValueError("quadratic: the Hessian is not symmetric; give (H + Hᵀ)/2, which defines the same form.")
    eigenvalues, V = np.linalg.eigh(H)
    # Round-off in place of an exact zero would become curvature at large t.
    eigenvalues[eigenvalues < len(H) * np.finfo(float).eps * eigenvalues.max()] = 0.0

    def rule(nbeta: float, prior: Prior) -> Moments:
        gaussian = _gaussian("quadratic", prior, "`separable` for a diagonal form or `nested`")
        g = gaussian.precision
        tl = nbeta * eigenvalues
        d = V.T @ (np.asarray(minimum, np.float64) - gaussian.mean)
        q, shift = tl / (tl + g), tl * (g * d / (tl + g)) ** 2
        mean, variance = 0.5 * np.sum(q + shift), np.sum(0.5 * q**2 + q * shift)
        return Moments(float(mean), float(variance), float(-0.5 * np.sum(np.log1p(tl / g) + q * g * d**2)), ROUND_OFF)

    return rule


def linear_block(design: Design, linear: Sequence[int], outer: Sequence[int], minimum: ArrayLike) -> Rule:
    """K = ½ |Φ(b) a - y(b)|² under N(c, I/γ): the block a is integrated exactly, the one to three b by quadrature.

    Given b, a is normal with precision P = tΦᵀΦ + γ and mean μ; with Q = ΦᵀΦ and gradient g = Φᵀ(Φμ - y),
    E[tK|b] = t K(μ, b) + ½ t tr(Q P⁻¹), Var[tK|b] = ½ t² tr((Q P⁻¹)²) + t² gᵀP⁻¹g and
    log Z(b) = ½ log det(γ P⁻¹) - t K(μ, b) - γ/2 |μ - c_a|².

    Args:
        design: points b (len(outer), num) -> Φ (num, rows, len(linear)) and y (rows,) or (num, rows).
        linear: coordinates of a.
        outer: coordinates of b.
        minimum: a zero of K.
    """
    order = np.concatenate((outer, linear)).astype(int)
    zero = np.asarray(minimum, np.float64)[order]

    def rule(nbeta: float, prior: Prior) -> Moments:
        g = _gaussian("linear_block", prior, "`nested`")
        permuted = Gaussian(g.mean[order], g.std)
        a0 = permuted.mean[len(outer) :]

        def leaf(b: Points) -> Conditional:
            inner = _integrate_linear(*design(b), nbeta, g.precision, a0)
            return inner._replace(log_mass=inner.log_mass + log_prior(permuted, b))

        return iterated(leaf, permuted, zero, len(outer))

    return rule


def _integrate_linear(Phi, y, t: float, g: float, a0: np.ndarray) -> Conditional:
    V = _eigenvectors(np.swapaxes(Phi, 1, 2) @ Phi)
    U = Phi @ V
    eigenvalues = np.sum(U**2, axis=1)
    y = np.broadcast_to(y, Phi.shape[:2])
    Uy, prior_mean = np.einsum("nri,nr->ni", U, y), np.einsum("nji,j->ni", V, a0)
    P = t * eigenvalues + g
    mu = (t * Uy + g * prior_mean) / P
    residual = np.einsum("nri,ni->nr", U, mu) - y
    gradient = np.einsum("nri,nr->ni", U, residual)
    k, q = 0.5 * np.sum(residual**2, axis=1), t * eigenvalues / P
    mean, variance = t * k + 0.5 * q.sum(axis=1), np.sum(0.5 * q**2 + t**2 * gradient**2 / P, axis=1)
    misfit = 0.5 * g * np.sum((mu - prior_mean) ** 2, axis=1)
    return Conditional(0.5 * np.sum(np.log(g / P), axis=1) - t * k - misfit, mean, variance)


def _eigenvectors(Q: Float[np.ndarray, "num cols cols"]) -> Float[np.ndarray, "num cols cols"]:
    """Of each symmetric matrix; a single rotation when it is 2 x 2, which is far faster than LAPACK one by one."""
    if Q.shape[1] != 2:
        return np.linalg.eigh(Q)[1]
    angle = 0.5 * np.arctan2(2 * Q[:, 0, 1], Q[:, 0, 0] - Q[:, 1, 1])
    c, s = np.cos(angle), np.sin(angle)
    return np.moveaxis(np.array([[c, -s], [s, c]]), 2, 0)


def matrix_pair(inputs: int, hidden: int, outputs: int) -> Rule:
    """K = ½ |B A|_F², A hidden x inputs and B outputs x hidden, under N(0, I/γ).

    One factor is integrated exactly, so that E exp(-tK) = E Π_i (1 + t x_i/γ²)^(-k/2) over the eigenvalues x_i of the
    Wishart matrix of the other, with k the number of rows of B, or of columns of A; the smaller matrix is left.
    """
    (p, q), k = min(((hidden, inputs), outputs), ((hidden, outputs), inputs), key=lambda shape: min(shape[0]))

    def log_factor(x: Values, s: float) -> tuple[Values, Values, Values]:
        share = s * x / (1 + s * x)
        return -0.5 * k * np.log1p(s * x), -0.5 * k * share, -0.5 * k * share / (1 + s * x)

    return _wishart(p, q, log_factor)


def gram_square(rows: int, cols: int) -> Rule:
    """K = ½ |U Uᵀ|_F² = ½ Σ x_i², U rows x cols, under N(0, I/γ); x_i the eigenvalues of the Wishart matrix over γ."""

    def log_factor(x: Values, s: float) -> tuple[Values, Values, Values]:
        psi = -0.5 * s * x**2
        return psi, psi, psi

    return _wishart(rows, cols, log_factor)


def _wishart(rows: int, cols: int, log_factor: LogFactor) -> Rule:
    """E Π_i exp ψ(x_i; t/γ²) over the eigenvalues x of a p x p Wishart matrix with q degrees of freedom, p <= q.

    Their density is Π x^((q-p-1)/2) exp(-x/2) Π_(i<j) |x_i - x_j|, so by de Bruijn's formula the expectation is the
    ratio of Pfaffians of A_jk = ∬ sign(y-x) x^j y^k w(x) w(y) dx dy (bordered by ∫ x^j w for odd p), with exp ψ in w
    and without. Moments are derivatives in log t: E[tK] = -D log Z, Var[tK] = D² log Z - D log Z.

    Args:
        rows: p or q, in either order [1].
        cols: the other one [1].
        log_factor: (x, t/γ²) -> ψ, Dψ and D²ψ with D = d/d log t.

    Source: de Bruijn 1955, J. Indian Math. Soc. 19:133; Edelman & Rao 2005, Acta Numerica 14:233.
    """
    p, q = min(rows, cols), max(rows, cols)

    def rule(nbeta: float, prior: Prior) -> Moments:
        gaussian = _gaussian("matrix_pair", prior, "the exact λ alone")
        if np.any(gaussian.mean != 0):
            raise ValueError("matrix_pair: the center is not 0; the eigenvalue law is known there only. Localise at 0.")
        s = nbeta / gaussian.precision**2
        log_z, first, second = _log_pfaffian(p, q, lambda x: log_factor(x, s), s)
        log_one, _, _ = _log_pfaffian(p, q, lambda x: 3 * (0 * x,), s)
        return Moments(-first, second - first, log_z - log_one, 1e-9)

    return rule


def _log_pfaffian(p: int, q: int, psi: Callable, s: float) -> tuple[float, float, float]:
    """Log Pf A, D log Pf A = ½ tr A⁻¹A' and D² log Pf A = ½ tr(A⁻¹A'' - (A⁻¹A')²)."""
    cells, order = 2 * int(np.log1p(s) + 90), 16
    nodes, weights = np.polynomial.legendre.leggauss(order)
    edges = np.linspace(-np.log1p(s) - 80, np.log(250.0 + 20 * p * q), cells + 1)
    half = (edges[1] - edges[0]) / 2
    x = np.exp(edges[:-1, None] + half * (1 + nodes)).ravel()
    log_psi, d1, d2 = psi(x)
    log_w = log_psi - x / 2 + (q - p + 1) / 2 * np.log(x)
    f = np.exp(np.arange(p)[:, None] * np.log(x) + log_w - log_w.max())
    scale = f @ np.tile(half * weights, cells)
    f = f / scale[:, None]
    derivatives = (f, d1 * f, (d1**2 + d2) * f)
    A, A1, A2 = _antisymmetric(derivatives, half, cells)
    X, Y = np.linalg.solve(A, A1), np.linalg.solve(A, A2)
    log_pf = 0.5 * np.linalg.slogdet(A)[1] + np.sum(np.log(scale)) + p * log_w.max()
    return float(log_pf), float(0.5 * np.trace(X)), float(0.5 * np.trace(Y - X @ X))


def _antisymmetric(derivatives: Sequence[np.ndarray], half: float, cells: int) -> list[np.ndarray]:
    """The bordered matrix of de Bruijn of the functions f, and its first two derivatives by the product rule."""
    weights = np.polynomial.legendre.leggauss(len(derivatives[0][0]) // cells)[1]
    tiled = np.tile(half * weights, cells)
    totals = [f @ tiled for f in derivatives]
    signs = [2 * _cumulative(f, half, cells) - total[:, None] for f, total in zip(derivatives, totals, strict=True)]
    pair = [[(signs[i] * tiled) @ derivatives[j].T for j in range(3)] for i in range(3)]
    blocks = [pair[0][0], pair[1][0] + pair[0][1], pair[2][0] + 2 * pair[1][1] + pair[0][2]]
    if len(totals[0]) % 2 == 0:
        return blocks
    corner = np.zeros((1, 1))
    return [np.block([[B, f[:, None]], [-f[None], corner]]) for B, f in zip(blocks, totals, strict=True)]


def _cumulative(f: np.ndarray, half: float, cells: int) -> np.ndarray:
    """Running integral of f at the Gauss nodes of equal cells, by integrating its Legendre interpolant in each."""
    order = f.shape[1] // cells
    nodes, weights = np.polynomial.legendre.leggauss(order)
    P = np.polynomial.legendre.legvander(nodes, order)
    k = np.arange(1, order)
    primitive = np.column_stack((nodes + 1, (P[:, k + 1] - P[:, k - 1]) / (2 * k + 1)))
    to_running = half * primitive @ (weights[:, None] * P[:, :order] * (np.arange(order) + 0.5)).T
    cellwise = f.reshape(len(f), cells, order)
    whole = half * cellwise @ weights
    before = np.cumsum(whole, axis=1) - whole
    return (cellwise @ to_running.T + before[:, :, None]).reshape(f.shape)


def _gaussian(name: str, prior: Prior, remedy: str) -> Gaussian:
    if not isinstance(prior, Gaussian):
        raise ValueError(f"{name}: the prior is a box; N(center, I/localization) is needed. Localise, or use {remedy}.")
    return prior
