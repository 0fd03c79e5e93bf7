from fractions import Fraction
from functools import cache
from itertools import permutations, product
from math import isqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slt.catalogue.theorems import Rlct, deep_linear_rlct, reduced_rank_rlct, tanh_rlct, vandermonde_rlct

SMALL = [(M, H, N, r) for M, H, N in product(range(1, 7), repeat=3) for r in range(min(M, H, N) + 1)]


def diversity_rlct(widths, rank):
    """λ from the diversity-multiplexing exponent of a product of Gaussian matrices, one term per layer of excess."""
    n = sorted(width - rank for width in widths)
    terms = (1 - i + min((sum(n[: k + 1]) - i) // k for k in range(1, len(n))) for i in range(1, n[0] + 1))
    return Fraction(rank * (widths[0] + widths[-1] - rank), 2) + Fraction(sum(terms), 2)


def quiver_rlct(widths, rank):
    """λ as half the least codimension of an orbit of quiver representations, by exhaustive search (Pepin Lehalleur &
    Rimanyi 2024, arXiv:2411.19920): multiplicities of intervals that cover layer s exactly widths[s] times."""
    last = len(widths) - 1
    intervals = [(a, b) for a in range(last + 1) for b in range(a, last + 1) if (a, b) != (0, last)]
    tangles = [
        (i, j) for (i, (a, b)) in enumerate(intervals) for j, (c, d) in enumerate(intervals) if a < c <= b + 1 <= d
    ]

    @cache
    def covers(index, remaining):
        if index == len(intervals):
            return [()] if not any(remaining) else []
        a, b = intervals[index]
        found = []
        for count in range(min(remaining[a : b + 1]) + 1):
            rest = tuple(x - count * (a <= s <= b) for s, x in enumerate(remaining))
            found += [(count, *tail) for tail in covers(index + 1, rest)]
        return found

    codimension = min(sum(m[i] * m[j] for i, j in tangles) for m in covers(0, tuple(width - rank for width in widths)))
    return Fraction(codimension + rank * (widths[0] + widths[-1] - rank), 2)


@pytest.mark.parametrize(
    ("widths", "rank", "rlct", "multiplicity"),
    [
        ((1, 1, 1), 0, "1/2", 2),
        ((1, 1, 1, 1), 0, "1/2", 3),
        ((2, 2, 2), 0, "3/2", 1),
        ((2, 2, 2, 2), 0, "3/2", 3),
        ((3, 3, 3), 0, "7/2", 2),
        ((3, 3, 3, 3), 0, "3", 1),
        ((3, 2, 3), 1, "7/2", 2),
        ((2, 3, 2), 1, "2", 1),
        ((27, 20, 9), 5, "215/2", 1),
        ((6, 5, 7, 6), 3, "16", None),
        ((6, 21, 10, 49, 19), 6, "57", None),
    ],
)
def test_deep_linear_published_values(widths, rank, rlct, multiplicity):
    law = deep_linear_rlct(widths, rank)
    assert law.rlct == Fraction(rlct)
    assert multiplicity in (None, law.multiplicity)


@pytest.mark.parametrize("rank", [0, 2, 4])
def test_a_single_matrix_is_regular(rank):
    assert deep_linear_rlct((4, 7), rank) == Rlct(Fraction(4 * 7, 2), 1)


def test_reduced_rank_published_values():
    expected = {1: "11/2", 2: "10", 3: "27/2", 4: "15", 5: "16", 6: "17"}
    law = [reduced_rank_rlct(6, H, 6, min(H, 3)) for H in expected]
    assert [str(x.rlct) for x in law] == list(expected.values())
    assert [x.multiplicity for x in law] == [1, 1, 1, 2, 1, 2]


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_no_spare_hidden_unit_leaves_the_manifold_of_that_rank(rank):
    assert reduced_rank_rlct(5, rank, 4, rank).rlct == Fraction(rank * (5 + 4 - rank), 2)


def test_reduced_rank_is_the_two_layer_network():
    assert all(reduced_rank_rlct(M, H, N, r) == deep_linear_rlct((M, H, N), r) for M, H, N, r in SMALL)


@given(st.lists(st.integers(1, 9), min_size=3, max_size=6), st.data())
def test_deep_linear_agrees_with_the_diversity_form(widths, data):
    rank = data.draw(st.integers(0, min(widths)))
    assert deep_linear_rlct(widths, rank).rlct == diversity_rlct(widths, rank)


@pytest.mark.parametrize(
    "widths", [(1, 2, 2), (2, 3, 2), (3, 2, 3), (3, 3, 3), (2, 2, 2, 2), (2, 3, 2, 3), (1, 2, 3, 1)]
)
def test_deep_linear_agrees_with_exhaustive_search(widths):
    for rank in range(min(widths) + 1):
        assert deep_linear_rlct(widths, rank).rlct == quiver_rlct(widths, rank)


@pytest.mark.parametrize(("widths", "rank"), [((2, 3, 4, 2), 1), ((3, 5, 4), 2), ((2, 2, 5, 3, 4), 0)])
def test_only_the_ends_of_a_network_matter_and_only_through_the_rank(widths, rank):
    laws = [deep_linear_rlct(w, rank) for w in permutations(widths)]
    bases = [Fraction(rank * (w[0] + w[-1] - rank), 2) for w in permutations(widths)]
    assert len({(law.rlct - base, law.multiplicity) for law, base in zip(laws, bases, strict=True)}) == 1


@pytest.mark.parametrize("hidden", range(1, 30))
def test_tanh_closed_form(hidden):
    h = isqrt(hidden)
    expected = Rlct(Fraction(hidden + h * h + h, 4 * h + 2), 2 if h * h == hidden else 1)
    assert tanh_rlct(hidden) == expected


def test_vandermonde_published_values():
    assert [str(vandermonde_rlct(H, step=1).rlct) for H in range(1, 7)] == ["1/2", "3/4", "1", "7/6", "4/3", "3/2"]
    assert [vandermonde_rlct(1, step=2, outputs=M).rlct for M in (1, 2, 5)] == [Fraction(1, 2)] * 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reduced_rank_rlct(2, 0, 2, 0), "at least 1"),
        (lambda: reduced_rank_rlct(2, 2, 2, 3), "rank 0 to 2"),
        (lambda: deep_linear_rlct([3], 0), "at least two"),
        (lambda: deep_linear_rlct([3, 2, 3], -1), "rank 0 to 2"),
        (lambda: vandermonde_rlct(0, step=2), ">= 1"),
        (lambda: tanh_rlct(-3), ">= 1"),
    ],
)
def test_impossible_models_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
