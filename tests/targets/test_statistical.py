"""Shipped models: λ by an independent route, and models that bind to data drawn at their truth."""

from fractions import Fraction

import jax
import numpy as np
import pytest
from scipy import optimize

from slt.targets.numpyro_models import bind
from slt.targets.rlct import vandermonde_rlct
from slt.targets.statistical import mixture_two_means, naive_bayes, power_regression, statistical_models

# exponents of monomials g with K comparable to the sum of g²; u is a coordinate that is fitted freely
IDEALS = {
    "tanh_1": [(1, 1)],
    "mixture_weight_and_mean": [(1, 1)],
    "mixture_two_means": [(1, 0, 0), (0, 1, 2)],
    "mixture_two_means_weight_0.3": [(1, 0), (0, 2)],
    "factor_analysis_3": [*np.eye(6, dtype=int)[:3], (0, 0, 0, 1, 1, 0), (0, 0, 0, 1, 0, 1), (0, 0, 0, 0, 1, 1)],
    "naive_bayes_3": [
        *np.eye(7, dtype=int)[:3], (0, 0, 0, 1, 1, 1, 0), (0, 0, 0, 1, 1, 0, 1), (0, 0, 0, 1, 0, 1, 1),
    ],
    "product_truth_0": [(1, 1)],
    "product_truth_1": [(1, 0)],
    "power_1": [(1,)],
    "power_2": [(2,)],
    "power_3": [(3,)],
}  # fmt: skip


def weights_of_the_pole(exponents):
    """λ of a monomial ideal: least sum of weights that give every g² degree 1 or more (Howald 2001)."""
    rows = 2 * np.array(exponents)
    found = optimize.linprog(np.ones(rows.shape[1]), A_ub=-rows, b_ub=-np.ones(len(rows)), method="highs")
    return Fraction(found.fun).limit_denominator(1000)


@pytest.mark.parametrize("name", IDEALS)
def test_rlct_of_the_local_form(name):
    assert statistical_models()[name].rlct == weights_of_the_pole(IDEALS[name])


def test_two_means_of_known_weight_are_the_vandermonde_case():
    assert (mixture_two_means(weight=0.5).rlct, 1) == vandermonde_rlct(2, step=1)


@pytest.mark.parametrize("name", ["reduced_rank_3_2_2_r1", "naive_bayes_3"])
def test_a_model_binds_to_data_at_its_truth(name):
    model = statistical_models()[name]
    data = model.draw(jax.random.key(0), 40)
    bound = bind(model.run, data, {})
    assert bound.sites.num_data == 40
    assert isinstance(bound.data, list)
    assert sum(leaf.size for leaf in jax.tree.leaves(bound.draw_prior(jax.random.key(1)))) == model.num_params


def test_wrong_arguments_are_refused():
    for call in (lambda: power_regression(0), lambda: naive_bayes(2), lambda: mixture_two_means(weight=1.0)):
        with pytest.raises(ValueError, match=r"must|at least"):
            call()
