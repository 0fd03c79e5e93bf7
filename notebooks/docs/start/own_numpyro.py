"""A NumPyro model takes the place of a target; w* is found, and the prior is the model's own."""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

import slt


def mixture(x):  # its truth below is N(0, 1): the second part has nothing to do, λ = 1/2
    share = numpyro.sample("share", dist.Uniform(0, 1))
    mean = numpyro.sample("mean", dist.Normal(0, 1))
    parts = dist.Normal(jnp.stack([jnp.zeros(()), mean]), 1.0)
    shares = dist.Categorical(jnp.stack([1 - share, share]))
    with numpyro.plate("data", len(x)):
        numpyro.sample("x", dist.MixtureSameFamily(shares, parts), obs=x)


x = jax.random.normal(jax.random.key(2), (50,))
result = slt.estimate_criteria(mixture, x, tolerance=0.05)  # at β = 1
for name in ("waic", "singular_fluctuation"):
    print(name, result.estimates[name], result.verdict.status)
