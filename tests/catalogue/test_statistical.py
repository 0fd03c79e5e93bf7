"""Shipped models: λ by an independent route, and models that bind to data drawn at their truth."""

import jax
import pytest

from slt.catalogue.statistical import mixture_two_means, naive_bayes, power_regression, statistical_models
from slt.catalogue.theorems import vandermonde_rlct
from slt.exact.rlct import exact_rlct
from slt.targets.numpyro_models import bind

# f_i with K comparable to the sum of f_i², in coordinates in which the truth is 0 and the free means are u, s, t
LOCAL_FORMS = {
    "tanh_1": ["a*b"],
    "mixture_weight_and_mean": ["a*b"],
    "mixture_two_means": ["u", "a*b**2"],
    "mixture_two_means_weight_0.3": ["u", "b**2"],
    "factor_analysis_3": ["u", "s", "t", "a*b", "a*c", "b*c"],
    "naive_bayes_3": ["u", "s", "t", "w*a*b", "w*a*c", "w*b*c"],
    "product_truth_0": ["a*b"],
    "product_truth_1": ["u"],
    "power_1": ["w"],
    "power_2": ["w**2"],
    "power_3": ["w**3"],
}


@pytest.mark.parametrize("name", LOCAL_FORMS)
def test_rlct_and_multiplicity_are_those_of_the_local_form(name):
    model, exact = statistical_models()[name], exact_rlct(LOCAL_FORMS[name])
    assert exact.status == "exact"
    assert (model.rlct, model.multiplicity) == (exact.rlct, exact.multiplicity)


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
