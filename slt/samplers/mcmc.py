"""Kernels through BlackJAX: MALA, HMC, NUTS, MCLMC. They need the same batch, the whole data set, at every step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from blackjax.mcmc import diffusions, integrators, proposal
from blackjax.mcmc import hmc as blackjax_hmc
from blackjax.mcmc import mala as blackjax_mala
from blackjax.mcmc import mclmc as blackjax_mclmc
from blackjax.mcmc import nuts as blackjax_nuts
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from slt._options import checked
from slt._types import Batch, Energy, Info, Key, Params, Sampler

DIVERGENT = 1000.0
"""Nats of energy error beyond which a step diverges: what BlackJAX takes for HMC and NUTS."""


@checked
def mala(energy: Energy, *, step_size: float) -> Sampler:
    """Metropolis-adjusted Langevin, proposal w - eps grad U + sqrt(2 eps) xi. Source: Roberts & Tweedie 1996.

    A step diverges where its *proposal* is not finite, or loses more than `DIVERGENT` nats, as in Hamiltonian kernels.
    """

    def cost(state: Any, other: Any) -> Array:
        """U(other) - log q(state | other), up to constants."""
        back = jax.tree.map(
            lambda w, x, g: w - x - step_size * g, state.position, other.position, other.logdensity_grad
        )
        return -other.logdensity + optax.tree.norm(back, squared=True) / (4 * step_size)

    log_acceptance = proposal.compute_asymmetric_acceptance_ratio(cost)

    def step(key: Key, state: Any, batch: Batch) -> tuple[Any, Info]:
        noise_key, accept_key = jax.random.split(key)
        propose = diffusions.overdamped_langevin(jax.value_and_grad(_log_density(energy, batch)))
        proposed = blackjax_mala.MALAState(*propose(noise_key, state, step_size))
        ratio = log_acceptance(state, proposed)  # minus infinity where it is not a number
        diverging = (ratio < -DIVERGENT) | ~jnp.isfinite(proposed.logdensity)
        state, (_, rate, _) = proposal.static_binomial_sampling(accept_key, ratio, state, proposed)
        return state, Info(rate, diverging, jnp.ones((), jnp.int32))

    return Sampler(_init(blackjax_mala.init, energy), step)


@checked
def hmc(
    energy: Energy,
    *,
    step_size: float,
    num_integration_steps: int,
    inverse_mass_matrix: Array | None = None,
    decades: float = 0.0,
) -> Sampler:
    """Hamiltonian Monte Carlo whose step is drawn afresh, log-uniform over `decades` below `step_size`, each time.

    The step is independent of the state, so the kernel leaves exp(-U) invariant; small steps enter thin valleys that a
    fixed step bounces off (NUTS at its defaults is up to 16 % low on x^2 y^4). Source: Neal 2011, arXiv:1206.1901.
    """
    kernel = blackjax_hmc.build_kernel()

    def step(key: Key, state: Any, batch: Batch) -> tuple[Any, Info]:
        scale_key, key = jax.random.split(key)
        epsilon: Any = step_size * 10 ** (-decades * jax.random.uniform(scale_key))
        mass = _unit_mass(state.position) if inverse_mass_matrix is None else inverse_mass_matrix
        state, info = kernel(key, state, _log_density(energy, batch), epsilon, mass, num_integration_steps)
        return state, Info(info.acceptance_rate, info.is_divergent, jnp.asarray(num_integration_steps, jnp.int32))

    return Sampler(_init(blackjax_hmc.init, energy), step)


@checked
def nuts(
    energy: Energy, *, step_size: float, inverse_mass_matrix: Array | None = None, max_doublings: int = 10
) -> Sampler:
    """No-U-turn sampler. Source: Hoffman & Gelman 2014, arXiv:1111.4246."""
    kernel = blackjax_nuts.build_kernel()

    def step(key: Key, state: Any, batch: Batch) -> tuple[Any, Info]:
        mass = _unit_mass(state.position) if inverse_mass_matrix is None else inverse_mass_matrix
        state, info = kernel(key, state, _log_density(energy, batch), step_size, mass, max_doublings)
        return state, Info(info.acceptance_rate, info.is_divergent, jnp.asarray(info.num_integration_steps, jnp.int32))

    return Sampler(_init(blackjax_nuts.init, energy), step)


@checked
def mclmc(energy: Energy, *, step_size: float, decoherence_length: float) -> Sampler:
    """Microcanonical Langevin, unadjusted: biased by its energy error. Source: Robnik et al. 2023, arXiv:2212.08549."""
    kernel = blackjax_mclmc.build_kernel(integrator=integrators.isokinetic_mclachlan)

    def init(position: Params, batch: Batch) -> Any:
        # a fixed start of the unit momentum; the first decoherence lengths belong to warm-up
        return blackjax_mclmc.init(position, _log_density(energy, batch), jax.random.key(0))

    def step(key: Key, state: Any, batch: Batch) -> tuple[Any, Info]:
        mass = jnp.ones(_unit_mass(state.position).shape)
        state, info = kernel(key, state, _log_density(energy, batch), mass, decoherence_length, step_size)
        diverging = ~info.nonans | (jnp.abs(info.energy_change) > DIVERGENT)
        return state, Info(jnp.ones(()), diverging, jnp.full((), 2, jnp.int32))

    return Sampler(init, step)


def _log_density(energy: Energy, batch: Batch) -> Callable[[Params], Array]:
    return lambda position: -energy(position, batch)


def _init(init: Callable, energy: Energy) -> Callable[[Params, Batch], Any]:
    return lambda position, batch: init(position, _log_density(energy, batch))


def _unit_mass(position: Params) -> Array:
    return jnp.ones_like(ravel_pytree(position)[0])
