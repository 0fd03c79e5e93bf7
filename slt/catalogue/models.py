"""Potentials of statistical models: divergences of regressions, networks, mixtures and matrix products.

One call of `define` is one entry. Covariates take nine equally likely values on [-2, 2] where a model needs them.
"""

from itertools import pairwise

import numpy as np

from slt.catalogue.closed_forms import by_prior, gram_square, linear_block, matrix_pair, product
from slt.catalogue.entry import Potential, define, namespace
from slt.catalogue.theorems import deep_linear_rlct, reduced_rank_rlct, tanh_rlct

AOYAGI_WATANABE = "Aoyagi & Watanabe 2005, Neural Networks 18:924"
AOYAGI_DEEP = "Aoyagi 2024, Neural Networks 172:106132"
CROSSING = "locally (ab)^2: Watanabe 2009, Algebraic Geometry and Statistical Learning Theory"
VANDERMONDE = "Aoyagi & Watanabe 2006; Aoyagi 2019, Entropy 21:561"
BLOW_UP = "blow-up of each block: min over blocks of (size / power), m = number of minimisers"
COVARIATES = np.linspace(-2.0, 2.0, 9)
_HALF = np.linspace(0.5, 2.0, 4)
_NORMAL = np.arange(-9.5, 9.6, 0.5)
"""Trapezoid nodes for E over N(0, 1); for analytic integrands of this kind the rule is exact to round-off."""
_WEIGHTS = 0.5 * np.exp(-(_NORMAL**2) / 2) / np.sqrt(2 * np.pi)


def model_potentials() -> tuple[Potential, ...]:
    """All entries of this file."""
    return (*_regressions(), *_mixtures(), *_products(), *_reduced_rank(), *_deep_linear(), *_others())


def _regressions() -> list[Potential]:
    half = np.sqrt(0.5)
    return [
        define("abx_truth0", "(ab)^2 / 2", lambda w: 0.5 * (w[0] * w[1]) ** 2, "1/2", 2, dim=2, source=CROSSING,
               tags="regression"),
        define("abx_truth1", "(ab - 1/2)^2 / 2", lambda w: 0.5 * (w[0] * w[1] - 0.5) ** 2, "1/2", dim=2,
               minimum=[half, half], source="smooth zero set of codimension one", tags="regression"),
        define("a_tanh_bx", "E[(a tanh(bx))^2] / 2", lambda w: _tanh_energy(w, 1), *tanh_rlct(1), dim=2,
               source=VANDERMONDE, tags="regression network"),
        define("tanh2_truth0", "E[(a1 tanh(b1 x) + a2 tanh(b2 x))^2] / 2", lambda w: _tanh_energy(w, 2), *tanh_rlct(2),
               dim=4, box=None, source=VANDERMONDE, tags="regression network",
               rule=linear_block(_tanh_design, [0, 1], [2, 3], np.zeros(4))),
        define("tanh3_truth0", "E[(sum_i a_i tanh(b_i x))^2] / 2, 3 units", lambda w: _tanh_energy(w, 3), *tanh_rlct(3),
               dim=6, box=None, known=False, source=VANDERMONDE, tags="regression network"),
        define("tanh4_truth0", "E[(sum_i a_i tanh(b_i x))^2] / 2, 4 units", lambda w: _tanh_energy(w, 4), *tanh_rlct(4),
               dim=8, box=None, known=False, source=VANDERMONDE, tags="regression network"),
        define("tanh1_truth1", "E[(a tanh(bx) - tanh(x/2)/2)^2] / 2", _tanh_shifted, "1", dim=2, minimum=[0.5, 0.5],
               source="regular: d/2", tags="regression network regular"),
        define("a_relu_bx_sym", "E[(a relu(bx))^2] / 2", _relu_energy, "1/2", 2, dim=2, source=CROSSING,
               tags="regression network"),
        define("logistic_ab", "log cosh(ab/2)", _logistic, "1/2", 2, dim=2, source=CROSSING, tags="regression"),
    ]  # fmt: skip


def _tanh_energy(w, units: int):
    """½ E (sum_i a_i tanh(b_i x))² with w = (a, b); odd in x, so the positive half of the covariates is enough."""
    f = sum(w[i] * namespace(w).tanh(w[units + i] * _column(w, _HALF)) for i in range(units))
    return namespace(w).sum(f**2, 0) / len(COVARIATES)


def _tanh_shifted(w):
    f = w[0] * namespace(w).tanh(w[1] * _column(w, _HALF)) - 0.5 * namespace(w).tanh(0.5 * _column(w, _HALF))
    return namespace(w).sum(f**2, 0) / len(COVARIATES)


def _tanh_design(b):
    scale = np.sqrt(2 / len(COVARIATES))
    return scale * np.moveaxis(np.tanh(b[:, :, None] * _HALF), 0, 2), np.zeros(len(_HALF))


def _relu_energy(w):
    xp = namespace(w)
    return 0.5 * w[0] ** 2 * xp.mean(xp.maximum(w[1] * _column(w, COVARIATES), 0.0) ** 2, 0)


def _column(w, values: np.ndarray):
    """Constants along a new first axis, in the dtype of w, ready to broadcast against one coordinate."""
    return namespace(w).asarray(values, w.dtype).reshape((-1,) + (1,) * (w.ndim - 1))


def _logistic(w):
    xp = namespace(w)
    z = xp.abs(w[0] * w[1]) / 2
    small = xp.where(z < 0.1, z, 0.0) ** 2
    series = small / 2 - small**2 / 12 + small**3 / 45 - 17 * small**4 / 2520 + 31 * small**5 / 14175
    return xp.where(z < 0.1, series, z + xp.log1p(xp.exp(-2 * z)) - np.log(2.0))


def _mixtures() -> list[Potential]:
    return [
        define("mix2_ab", "KL(N(0,1) || (1-a) N(0,1) + a N(b,1))", _mixture_weight_and_mean, "1/2", 2, dim=2,
               box=((0.0, -1.0), (1.0, 1.0)), gaussian=False, source=CROSSING, tags="mixture"),
        define("mix3_means", "KL(N(0,1) || a N(b1,1) + (1-a) N(b2,1))", _mixture_two_means, "3/4", dim=3,
               minimum=[0.5, 0.0, 0.0], box=((0.0, -1.0, -1.0), (1.0, 1.0, 1.0)), gaussian=False, known=False,
               source="mean and second moment: u^2 + b^4, 1/2 + 1/4", tags="mixture"),
    ]  # fmt: skip


def _excess(w, mean):
    """N(mean, 1) / N(0, 1) - 1 at the nodes."""
    return namespace(w).expm1(mean * _column(w, _NORMAL) - mean**2 / 2)


def _kullback_leibler(w, r):
    """E[r - log(1 + r)] over N(0, 1), r the relative excess of the model density; its own Taylor series near 0."""
    xp = namespace(w)
    small = xp.where(xp.abs(r) < 0.05, r, 0.0)
    series = small * 0
    for k in range(13, 1, -1):
        series = small * series + (-1) ** k / k
    large = xp.where(xp.abs(r) < 0.05, 1.0, r)
    divergence = xp.where(xp.abs(r) < 0.05, small**2 * series, large - xp.log1p(large))
    return xp.sum(_column(w, _WEIGHTS) * divergence, 0)


def _mixture_weight_and_mean(w):
    return _kullback_leibler(w, w[0] * _excess(w, w[1]))


def _mixture_two_means(w):
    return _kullback_leibler(w, w[0] * _excess(w, w[1]) + (1 - w[0]) * _excess(w, w[2]))


def _products() -> list[Potential]:
    """½ Π_B |w_B|²: rank-one tensors at 0, or chains of linear maps through widths of one."""

    def outer(name, sizes, rlct, multiplicity):
        starts = np.cumsum((0, *sizes))
        pieces = list(pairwise(starts))

        def energy(w):
            factors = [namespace(w).sum(w[i:j] ** 2, 0) for i, j in pieces]
            return 0.5 * namespace(w).prod(namespace(w).stack(factors), 0)

        rule = by_prior(origin=product([2] * len(sizes), scale=0.5, sizes=sizes))
        formula = " ".join(f"|a{i + 1}|^2" for i in range(len(sizes))) + f" / 2, sizes {sizes}"
        return define(name, formula, energy, rlct, multiplicity, dim=sum(sizes), box=None, source=BLOW_UP, rule=rule,
                      tags="tensor product")  # fmt: skip

    return [
        outer("outer_1_1_1", (1, 1, 1), "1/2", 3),
        outer("outer_2_2", (2, 2), "1", 2),
        outer("outer_2_3", (2, 3), "1", 1),
        outer("outer_1_2_3", (1, 2, 3), "1/2", 1),
        outer("outer_3_3_3", (3, 3, 3), "3/2", 3),
    ]


def _chain(widths, rank):
    """½ |A_L ... A_1 - X|_F² with X the leading identity of the given rank; w holds the A_s row by row, in order."""
    shapes = list(zip(widths[1:], widths[:-1], strict=True))
    ends = np.cumsum([0] + [rows * cols for rows, cols in shapes])
    target = _leading(widths[-1], widths[0], rank)

    def energy(w):
        xp = namespace(w)
        P = None
        for start, end, shape in zip(ends[:-1], ends[1:], shapes, strict=True):
            A = w[start:end].reshape(shape)
            P = A if P is None else A @ P
        return 0.5 * xp.sum((P - xp.asarray(target, w.dtype)) ** 2)

    minimum = np.concatenate([_leading(*shape, rank).ravel() for shape in shapes])
    return energy, minimum


def _leading(rows: int, cols: int, rank: int) -> np.ndarray:
    matrix = np.zeros((rows, cols))
    matrix[range(rank), range(rank)] = 1.0
    return matrix


def _linear_network(name, widths, rank, law, source, tags, rule=None) -> Potential:
    energy, minimum = _chain(widths, rank)
    formula = f"|{' '.join(f'A{s}' for s in range(len(widths) - 1, 0, -1))} - X|^2 / 2, widths {widths}, rank {rank}"
    return define(name, formula, energy, *law, dim=len(minimum), minimum=minimum, box=None, source=source, rule=rule,
                  known=rule is not None, tags=tags)  # fmt: skip


def _reduced_rank() -> list[Potential]:
    """Name rrr_M_N_H_r: inputs, outputs, hidden, true rank."""
    rank_one = linear_block(_rank_one_design, [2, 3], [0, 1], [1.0, 0.0, 1.0, 0.0])
    rules = {(2, 2, 1, 1): rank_one}
    shapes = (
        (1, 1, 1, 0), (2, 2, 1, 0), (2, 2, 2, 0), (2, 3, 2, 0), (3, 3, 2, 0), (3, 3, 3, 0), (4, 4, 4, 0), (2, 2, 6, 0),
        (2, 2, 1, 1), (2, 2, 2, 1), (4, 4, 4, 2),
    )  # fmt: skip
    return [
        _linear_network(
            f"rrr_{M}_{N}_{H}_{r}", [M, H, N], r, reduced_rank_rlct(M, H, N, r), AOYAGI_WATANABE, "matrix reduced-rank",
            rules.get((M, N, H, r), by_prior(origin=matrix_pair(M, H, N)) if r == 0 else None),
        )
        for M, N, H, r in shapes
    ]  # fmt: skip


def _rank_one_design(a):
    """½ |b a' - E11|²: linear in the two entries of b."""
    first, second = a
    zero = 0 * first
    rows = [(first, zero), (second, zero), (zero, first), (zero, second)]
    return np.stack([np.stack(row, 1) for row in rows], 1), np.array([1.0, 0.0, 0.0, 0.0])


def _deep_linear() -> list[Potential]:
    shapes = (
        ([1, 1, 1, 1], 0), ([1, 1, 1, 1, 1], 0), ([2, 1, 1, 3], 0), ([2, 2, 2, 2], 0), ([3, 2, 3, 4], 0),
        ([2, 2, 2, 2, 2], 0), ([3, 3, 3, 3], 1), ([10, 10, 10, 10], 3),
    )  # fmt: skip

    def rule(widths):
        if max(widths[1:-1]) > 1:
            return None
        sizes = [widths[0], *(1 for _ in widths[3:]), widths[-1]]
        return by_prior(origin=product([2] * len(sizes), scale=0.5, sizes=sizes))

    return [
        _linear_network(f"dln_{'_'.join(map(str, H))}_r{r}", H, r, deep_linear_rlct(H, r), AOYAGI_DEEP,
                        "matrix deep-linear", rule(H))
        for H, r in shapes
    ]  # fmt: skip


def _others() -> list[Potential]:
    def gram(rows, cols):
        def energy(w):
            U = w.reshape((rows, cols))
            return 0.5 * namespace(w).sum((U.T @ U) ** 2)

        return energy

    return [
        define("symmf_2_1_0", "|u u'|^2 / 2, u in 2 variables", gram(2, 1), "1/2", dim=2, box=None,
               source="definite form of degree 4: d/4", rule=by_prior(origin=product([4], scale=0.5, sizes=[2])),
               tags="matrix symmetric"),
        define("symmf_3_2_0", "|U U'|^2 / 2, U 3 x 2", gram(3, 2), "3/2", dim=6, box=None,
               source="definite form of degree 4: d/4", rule=by_prior(origin=gram_square(3, 2)),
               tags="matrix symmetric"),
        define("fa_p3_diag", "KL(N(0,I) || N(0, diag(exp v) + l l')), p = 3", _factor_analysis, "9/4", dim=6, box=None,
               known=False, source="one-factor analysis at a diagonal truth, 3p/4: Drton et al. 2025, arXiv:2511.15419",
               tags="factor-analysis"),
    ]  # fmt: skip


def _factor_analysis(w):
    """½ (tr S⁻¹ - p + log det S), S = diag(exp v) + l lᵀ, by the rank-one update; each part stays accurate near S = I.

    With e = exp(-v) and q = Σ e l²: tr S⁻¹ = Σ e - Σ e² l² / (1 + q), log det S = Σ v + log(1 + q).
    """
    xp = namespace(w)
    v, squares = w[:3], w[3:] ** 2
    e = xp.exp(-v)
    q = xp.sum(e * squares)
    return 0.5 * (xp.sum(xp.expm1(-v) + v) + xp.log1p(q) - xp.sum(e**2 * squares) / (1 + q))
