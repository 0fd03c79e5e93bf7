"""Exact real log canonical thresholds (λ, m) of models whose formula is a theorem, in rational arithmetic.

Z(t) = ∫ φ(w) exp(-t K(w)) dw ~ C t^-λ (log t)^(m-1). These λ are global, those of the deepest zero of K.
"""

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations
from typing import NamedTuple


class Rlct(NamedTuple):
    """rlct: λ, the real log canonical threshold of K [1]; multiplicity: m, the order of its pole [1]."""

    rlct: Fraction
    multiplicity: int


def reduced_rank_rlct(inputs: int, hidden: int, outputs: int, rank: int) -> Rlct:
    """λ of y = B A x with A hidden x inputs, B outputs x hidden, at a true map of the given rank.

    With M inputs, N outputs, H hidden and r the rank: if each of N+r, M+r, H+r is at most the sum of the other two
    letters, λ = (2(H+r)(M+N) + 2MN - (H+r)² - M² - N² [+ 1]) / 8, where the 1 (and m = 2) belongs to odd M+N+H+r;
    otherwise one factor has room to spare, m = 1 and λ = (HM-Hr+Nr)/2, (HN-Hr+Mr)/2 or MN/2.

    Args:
        inputs: width M of the first layer [1].
        hidden: width H of the second [1].
        outputs: width N of the third [1].
        rank: rank of the true map, at most min(inputs, hidden, outputs) [1].

    Raises:
        ValueError: a width below 1, or a rank that three such layers cannot have.

    Source: Aoyagi & Watanabe 2005, Neural Networks 18:924.
    """
    _check_layers("reduced_rank_rlct", (inputs, hidden, outputs), rank)
    M, H, N, r = inputs, hidden, outputs, rank
    if N + r > M + H:
        return Rlct(Fraction(H * M - H * r + N * r, 2), 1)
    if M + r > N + H:
        return Rlct(Fraction(H * N - H * r + M * r, 2), 1)
    if H + r > M + N:
        return Rlct(Fraction(M * N, 2), 1)
    odd = (M + N + H + r) % 2
    return Rlct(Fraction(2 * (H + r) * (M + N) + 2 * M * N - (H + r) ** 2 - M**2 - N**2 + odd, 8), 1 + odd)


def deep_linear_rlct(widths: Sequence[int], rank: int) -> Rlct:
    """λ of y = A_L ... A_1 x with A_s of size widths[s] x widths[s-1], at a true map of the given rank.

    With excess D_s = H_s - r and Σ the ell+1 layers of least excess for which ell max_Σ D <= sum_Σ D < ell min_rest D,
    λ = r(H_0 + H_L - r)/2 + a(ell-a)/(4 ell) - (ell-1)/(4 ell) (sum_Σ D)² + ½ sum_(i<j in Σ) D_i D_j and
    m = a(ell-a) + 1, where a = sum_Σ D - ell (ceil(sum_Σ D / ell) - 1).

    Args:
        widths: layer widths from input to output, two at least [1].
        rank: rank of the true map, at most min(widths) [1].

    Raises:
        ValueError: fewer than two widths, a width below 1, or a rank that such layers cannot have.

    Source: Aoyagi 2024, Neural Networks 172:106132.
    """
    _check_layers("deep_linear_rlct", tuple(widths), rank)
    D = sorted(width - rank for width in widths)
    ell = next(k for k in range(1, len(D)) if _is_active(D, k))
    total = sum(D[: ell + 1])
    a = total - ell * (-(-total // ell) - 1)
    base = Fraction(rank * (widths[0] + widths[-1] - rank), 2)
    pairs = Fraction(sum(x * y for x, y in combinations(D[: ell + 1], 2)), 2)
    rlct = base + Fraction(a * (ell - a), 4 * ell) - Fraction((ell - 1) * total**2, 4 * ell) + pairs
    return Rlct(rlct, a * (ell - a) + 1)


def _is_active(excess: Sequence[int], ell: int) -> bool:
    """Whether the ell+1 smallest of the sorted excesses obey ell max <= sum < ell min of the rest."""
    total = sum(excess[: ell + 1])
    return ell * excess[ell] <= total and (ell + 1 == len(excess) or total < ell * excess[ell + 1])


def vandermonde_rlct(hidden: int, *, step: int, outputs: int = 1) -> Rlct:
    """λ of sum_I |sum_(i<=H) a_i b_i^I|² at 0, over I = 1, 1+Q, 1+2Q, ...; each b_i is a scalar, each a_i a vector.

    With k the largest i for which 2H >= M(i(i-1)Q + 2i), λ = (MQk(k+1) + 2H) / (4(1+kQ)); m = 2 on equality, else 1.

    Args:
        hidden: number H of units [1].
        step: Q, the gap between powers: 1 for mixtures and generic activations, 2 for odd activations [1].
        outputs: M, the dimension of each a_i [1].

    Raises:
        ValueError: an argument below 1.

    Source: Aoyagi 2019, Entropy 21:561.
    """
    if min(hidden, step, outputs) < 1:
        raise ValueError(
            f"vandermonde_rlct: hidden={hidden}, step={step}, outputs={outputs}; each must be an integer >= 1. "
            "For a model without units λ is 0."
        )
    H, Q, M = hidden, step, outputs
    k = max((i for i in range(1, H + 1) if M * (i * (i - 1) * Q + 2 * i) <= 2 * H), default=0)
    tie = M * (k * (k - 1) * Q + 2 * k) == 2 * H
    return Rlct(Fraction(M * Q * k * (k + 1) + 2 * H, 4 * (1 + k * Q)), 2 if k > 0 and tie else 1)


def tanh_rlct(hidden: int) -> Rlct:
    """λ of f(x) = sum_(i<=H) a_i tanh(b_i x) at f = 0.

    With h = floor(√H), λ = (H + h² + h) / (4h + 2), and m = 2 if H = h², else 1.

    Args:
        hidden: number H of units [1].

    Raises:
        ValueError: hidden is below 1.

    Source: Aoyagi & Watanabe 2006; Aoyagi 2019, Entropy 21:561 (odd activation: powers 1, 3, 5, ...).
    """
    return vandermonde_rlct(hidden, step=2)


def _check_layers(name: str, widths: tuple[int, ...], rank: int) -> None:
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(f"{name}: widths are {widths}; give at least two, each an integer of at least 1.")
    if not 0 <= rank <= min(widths):
        raise ValueError(
            f"{name}: rank is {rank}; a product through widths {widths} has rank 0 to {min(widths)}. "
            "Lower the rank or widen the narrowest layer."
        )
