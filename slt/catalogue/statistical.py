"""Singular statistical models with a known learning coefficient: NumPyro models, and data drawn at their truth.

`Model.run` is ordinary NumPyro code: `slt.estimate_llc(model.run, *model.draw(key, n))`. A λ here is global, that of
the deepest true parameter of a prior that is positive everywhere. To add a model, write one function and name it in
`statistical_models`.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array

from slt._types import Key
from slt.catalogue.theorems import deep_linear_rlct, reduced_rank_rlct, tanh_rlct


class Model(NamedTuple):
    """A NumPyro model with a truth.

    run: the model, called with the data. draw: (key, n) -> its arguments, n data drawn at the truth.
    rlct, multiplicity: λ and m, theorem or derivation in `source`. num_params: d.
    """

    name: str
    formula: str
    run: Callable
    draw: Callable[[Key, int], tuple[Array, ...]]
    rlct: Fraction
    multiplicity: int
    num_params: int
    source: str


def statistical_models() -> MappingProxyType[str, Model]:
    """One model of every kind by name, read-only; the functions of this file give others."""
    models = (
        reduced_rank(3, 2, 2, rank=1),
        reduced_rank(2, 2, 2, rank=1),
        deep_linear([2, 2, 2, 2], rank=0),
        tanh_network(1),
        tanh_network(2),
        mixture_weight_and_mean(),
        mixture_two_means(),
        mixture_two_means(weight=0.3),
        factor_analysis(3),
        naive_bayes(3),
        product_regression(0.0),
        product_regression(1.0),
        power_regression(1),
        power_regression(2),
        power_regression(3),
    )
    return MappingProxyType({model.name: model for model in models})


def reduced_rank(inputs: int, hidden: int, outputs: int, *, rank: int) -> Model:
    """Reduced rank regression, y = B A x + N(0, I) with x ~ N(0, I), at a true map of the given rank."""
    law = reduced_rank_rlct(inputs, hidden, outputs, rank)
    source = "Aoyagi & Watanabe 2005, Neural Networks 18:924"
    return _linear(f"reduced_rank_{inputs}_{hidden}_{outputs}_r{rank}", [inputs, hidden, outputs], rank, law, source)


def deep_linear(widths: Sequence[int], *, rank: int) -> Model:
    """Deep linear network, y = A_L ... A_1 x + N(0, I) with x ~ N(0, I), at a true map of the given rank."""
    name = f"deep_linear_{'_'.join(map(str, widths))}_r{rank}"
    return _linear(name, widths, rank, deep_linear_rlct(widths, rank), "Aoyagi 2024, Neural Networks 172:106132")


def _linear(name: str, widths: Sequence[int], rank: int, law: tuple[Fraction, int], source: str) -> Model:
    shapes = [(widths[s + 1], widths[s]) for s in range(len(widths) - 1)]
    true_map = np.zeros((widths[-1], widths[0]), np.float32)
    true_map[range(rank), range(rank)] = 1.0

    def run(x: Array, y: Array) -> None:
        mean = x
        for s, shape in enumerate(shapes):
            mean = mean @ _latent(f"A{s + 1}", dist.Normal(0, 1).expand(shape).to_event(2)).T
        with numpyro.plate("data", len(x)):
            numpyro.sample("y", dist.Normal(mean, 1.0).to_event(1), obs=y)

    def draw(key: Key, n: int) -> tuple[Array, ...]:
        x_key, y_key = jax.random.split(key)
        x = jax.random.normal(x_key, (n, widths[0]))
        return x, x @ true_map.T + jax.random.normal(y_key, (n, widths[-1]))

    formula = f"y = {' '.join(f'A{s}' for s in range(len(shapes), 0, -1))} x + N(0, I), true rank {rank}"
    return Model(name, formula, run, draw, *law, sum(a * b for a, b in shapes), source)


def tanh_network(hidden: int) -> Model:
    """y = sum_i a_i tanh(b_i x) + N(0, 1) with x ~ U[-2, 2], at y = 0."""

    def run(x: Array, y: Array) -> None:
        a = _latent("a", dist.Normal(0, 1).expand([hidden]).to_event(1))
        b = _latent("b", dist.Normal(0, 1).expand([hidden]).to_event(1))
        _observe(y, jnp.tanh(x[:, None] * b) @ a)

    formula = f"y = sum of {hidden} a tanh(bx) + N(0, 1), truth 0"
    source = "Aoyagi & Watanabe 2006; Aoyagi 2019, Entropy 21:561"
    return Model(f"tanh_{hidden}", formula, run, _regression(lambda x: 0 * x), *tanh_rlct(hidden), 2 * hidden, source)


def mixture_weight_and_mean() -> Model:
    """(1 - a) N(0, 1) + a N(b, 1) with a ~ U[0, 1], b ~ N(0, 1), at N(0, 1): locally K ~ a² b²."""

    def run(x: Array) -> None:
        a, b = _latent("a", dist.Uniform(0.0, 1.0)), _latent("b", dist.Normal(0, 1))
        _observe_mixture(x, a, jnp.stack([jnp.zeros(()), b]))

    source = "locally (ab)²: Watanabe 2009, Algebraic Geometry and Statistical Learning Theory"
    formula = "(1-a) N(0,1) + a N(b,1), truth N(0,1)"
    return Model("mixture_weight_and_mean", formula, run, _normal, Fraction(1, 2), 2, 2, source)


def mixture_two_means(*, weight: float | None = None) -> Model:
    """(1 - a) N(b_0, 1) + a N(b_1, 1) with b ~ N(0, 1) and a ~ U[0, 1] or fixed, at N(0, 1).

    With u the mean, K ~ u² + a² b_1⁴ wherever a < 1: λ = 1/2 + 1/4, at a = 0 as elsewhere; m = 1.
    """
    if weight is not None and not 0 < weight < 1:
        raise ValueError(f"mixture_two_means: weight is {weight}; it must lie strictly between 0 and 1, or be None.")

    def run(x: Array) -> None:
        a = _latent("a", dist.Uniform(0.0, 1.0)) if weight is None else jnp.asarray(weight)
        _observe_mixture(x, a, _latent("b", dist.Normal(0, 1).expand([2]).to_event(1)))

    known = "unknown weight" if weight is None else f"weight {weight}"
    name = "mixture_two_means" if weight is None else f"mixture_two_means_weight_{weight}"
    source = "derived: mean and second moment, u² + a²b⁴; for a known weight also Aoyagi 2019, Entropy 21:561 (Q = 1)"
    formula = f"(1-a) N(b0,1) + a N(b1,1), {known}, truth N(0,1)"
    return Model(name, formula, run, _normal, Fraction(3, 4), 1, 2 + (weight is None), source)


def factor_analysis(variables: int) -> Model:
    """x ~ N(0, diag(v) + l l') with v ~ LogNormal(0, 1/2) and l ~ N(0, 1), at N(0, I): one factor that is not there.

    The variances are fitted freely, p/2; off the diagonal K ~ sum_(i<j) l_i² l_j² adds p/4.

    Args:
        variables: p, at least 2; m = 2 at p = 2, where the ideal is (l_1 l_2) alone, and 1 from p = 3 on.
    """
    p = variables
    if p < 2:
        raise ValueError(f"factor_analysis: {p} variables; give at least 2.")

    def run(x: Array) -> None:
        v = _latent("v", dist.LogNormal(0.0, 0.5).expand([p]).to_event(1))
        loading = _latent("l", dist.Normal(0, 1).expand([p]).to_event(1))
        with numpyro.plate("data", len(x)):
            law = dist.LowRankMultivariateNormal(jnp.zeros(p), loading[:, None], v)
            numpyro.sample("x", law, obs=x)

    def draw(key: Key, n: int) -> tuple[Array, ...]:
        return (jax.random.normal(key, (n, p)),)

    source = "Drton et al. 2025, arXiv:2511.15419 (one factor at a diagonal truth); also derived"
    formula = f"x ~ N(0, diag(v) + l l'), {p} variables, truth N(0, I)"
    return Model(f"factor_analysis_{p}", formula, run, draw, Fraction(3 * p, 4), 2 if p == 2 else 1, 2 * p, source)


def naive_bayes(features: int) -> Model:
    """Binary features, independent given a hidden state of two; uniform priors; at independent fair coins.

    The means are fitted freely, n/2; the covariances are w(1-w) d_i d_j with w the weight of a state and d the
    differences between the states, and λ of w² sum_(i<j) d_i² d_j² is min(1/2, n/4).

    Args:
        features: n, at least 3.
    """
    if features < 3:
        raise ValueError(f"naive_bayes: {features} features; give at least 3.")

    def run(x: Array) -> None:
        weight = _latent("weight", dist.Uniform(0.0, 1.0))
        p = _latent("p", dist.Uniform(0.0, 1.0).expand([2, features]).to_event(2))
        with numpyro.plate("data", len(x)):
            states = dist.Bernoulli(p).to_event(1)
            labels = dist.Categorical(jnp.stack([1 - weight, weight]))
            numpyro.sample("x", dist.MixtureSameFamily(labels, states), obs=x)

    def draw(key: Key, n: int) -> tuple[Array, ...]:
        return (jax.random.bernoulli(key, 0.5, (n, features)).astype(jnp.int32),)

    source = "Rusakov & Geiger 2005, JMLR 6:1 (independent features); also derived"
    formula = f"{features} binary features, two hidden states, truth independent"
    rlct = Fraction(features + 1, 2)
    return Model(f"naive_bayes_{features}", formula, run, draw, rlct, 1, 2 * features + 1, source)


def product_regression(truth: float) -> Model:
    """y = a b x + N(0, 1) with x ~ U[-2, 2], at ab = truth: λ = 1/2, with m = 2 at truth 0 and 1 elsewhere."""

    def run(x: Array, y: Array) -> None:
        a, b = _latent("a", dist.Normal(0, 1)), _latent("b", dist.Normal(0, 1))
        _observe(y, a * b * x)

    draw = _regression(lambda x: truth * x)
    source = "normal crossing at truth 0, a smooth curve elsewhere: Watanabe 2009"
    name = f"product_truth_{truth:g}"
    return Model(name, f"y = abx + N(0, 1), truth {truth:g} x", run, draw, Fraction(1, 2), 1 + (truth == 0), 2, source)


def power_regression(power: int) -> Model:
    """y = w^k x + N(0, 1) with x ~ U[-2, 2], at w = 0: K ~ w^(2k), λ = 1/(2k)."""
    if power < 1:
        raise ValueError(f"power_regression: power is {power}; it must be at least 1.")

    def run(x: Array, y: Array) -> None:
        _observe(y, _latent("w", dist.Normal(0, 1)) ** power * x)

    draw, source = _regression(lambda x: 0 * x), "monomial: Watanabe 2009"
    formula = f"y = w^{power} x + N(0, 1), truth 0"
    return Model(f"power_{power}", formula, run, draw, Fraction(1, 2 * power), 1, 1, source)


def _latent(name: str, law: dist.Distribution) -> Array:
    return jnp.asarray(numpyro.sample(name, law))


def _observe(y: Array, mean: Array) -> None:
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def _observe_mixture(x: Array, weight: Array, means: Array) -> None:
    with numpyro.plate("data", len(x)):
        labels = dist.Categorical(jnp.stack([1 - weight, weight]))
        numpyro.sample("x", dist.MixtureSameFamily(labels, dist.Normal(means, 1.0)), obs=x)


def _normal(key: Key, n: int) -> tuple[Array, ...]:
    return (jax.random.normal(key, (n,)),)


def _regression(mean: Callable[[Array], Array]) -> Callable[[Key, int], tuple[Array, ...]]:
    def draw(key: Key, n: int) -> tuple[Array, ...]:
        x_key, y_key = jax.random.split(key)
        x = jax.random.uniform(x_key, (n,), minval=-2.0, maxval=2.0)
        return x, mean(x) + jax.random.normal(y_key, (n,))

    return draw
