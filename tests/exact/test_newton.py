from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from sympy import QQ, ring

from slt.exact.newton import compact_faces, distance, facets, lattice_basis, minimal, rank
from slt.exact.nondegenerate import torus_zeros

R, x, y, z = ring("x,y,z", QQ)


def point_sets(dim, top=6, most=7):
    return st.lists(st.tuples(*[st.integers(0, top)] * dim).filter(any), min_size=1, max_size=most, unique=True)


@settings(deadline=None, max_examples=30)
@given(point_sets(3), st.tuples(*[st.integers(0, 2)] * 3))
def test_distance_is_that_of_a_linear_program(points, weight):
    rlct, tight = distance(facets(points), [Fraction(t) for t in weight])
    program = linprog(np.array(weight) + 1.0, A_ub=-np.array(points, float), b_ub=-np.ones(len(points)))
    assert float(rlct) == pytest.approx(program.fun, rel=1e-8)
    assert 1 <= rank(f.weights for f in tight) <= 3


@settings(deadline=None, max_examples=30)
@given(point_sets(3))
def test_every_facet_supports_the_polyhedron_in_enough_points(points):
    for weights, level in facets(points):
        values = [sum(w * k for w, k in zip(weights, a, strict=True)) for a in points]
        assert min(values) == level
        on = [a for a, v in zip(points, values, strict=True) if v == level]
        axes = [tuple(int(i == j) for j in range(3)) for i in range(3) if weights[i] == 0]
        assert rank([*(tuple(np.subtract(a, on[0])) for a in on), *axes]) == 2


@settings(deadline=None, max_examples=30)
@given(point_sets(3, top=5, most=6))
def test_compact_faces_are_those_that_positive_weights_find(points):
    known = {face.exponents for face in compact_faces(points, facets(points))}
    assert {frozenset({a}) for a in minimal(points) if frozenset({a}) in known} <= known
    for weights in product([1, 2, 3, 5, 8], repeat=3):
        values = {a: sum(w * k for w, k in zip(weights, a, strict=True)) for a in minimal(points)}
        assert frozenset(a for a, v in values.items() if v == min(values.values())) in known
    for face in compact_faces(points, facets(points)):
        values = {a: sum(w * k for w, k in zip(face.weights, a, strict=True)) for a in minimal(points)}
        assert min(face.weights) > 0
        assert face.exponents == {a for a, v in values.items() if v == min(values.values())}


def test_the_unit_point_may_lie_on_a_vertex_an_edge_or_a_facet():
    ranks = {(2, 2, 2): 3}
    assert rank(f.weights for f in distance(facets(ranks), [Fraction(0)] * 3)[1]) == 3
    edge = [(1, 1, 0), (0, 0, 1)]
    assert distance(facets(edge), [Fraction(0)] * 3)[0] == 2
    assert rank(f.weights for f in distance(facets(edge), [Fraction(0)] * 3)[1]) == 2


def test_lattice_basis_spans_and_keeps_its_index():
    assert rank([(2, -2, 0), (0, 2, -2), (2, 0, -2)]) == 2
    basis = lattice_basis([(2, 4), (3, 6), (0, 5)])
    assert abs(round(np.linalg.det(np.array(basis, float)))) == 5


@pytest.mark.parametrize(
    ("system", "need", "regular", "exist"),
    [
        ([(x + y**2) ** 2], 1, False, True),
        ([x**2 + y**2], 1, True, False),
        ([x**2 - y**2], 1, True, True),
        ([x**2 + y**3], 1, True, True),
        ([x**2 * y**2 + 2 * x * y * z**2 + z**4], 1, False, True),
        ([x**2 * y**2 + x * y * z**2 + z**4], 1, True, False),
        ([x**2 + x**2 * y**2 + y**2], 1, True, False),
        ([x + y + z], 1, True, True),
        ([(x - y) * (y - z) * (x - z)], 1, False, True),
        ([x + y, z], 1, True, False),
        ([x**2 + y**2 - z**2, x - y], 2, True, None),
        ([x**2 + y**2 - z**2, (x - z) * y**2], 2, True, None),
        ([x - y, x**2 - y**2], 2, False, True),
        ([(x**2 - 2 * y**2) ** 2], 1, False, True),
        ([(x**2 + 2 * y**2) ** 2], 1, True, False),
    ],
)
def test_real_zeros_of_a_face(system, need, regular, exist):
    assert torus_zeros(system, need) == (regular, exist)
