"""BlackJAX's HMC and NUTS on deep linear posteriors, in float64: the independent check of `deep_linear_gibbs`.

Step size tuned on the typical set, then fixed, and for HMC jittered by 20 %. Curvatures span gamma to 1e9, so a
trajectory of one period of the localisation takes up to 1e5 gradients.
"""

from typing import NamedTuple

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from deep_linear_gibbs import Posterior

TARGET_ACCEPTANCE = 0.8
BLOCK = 20
"""Draws of one compiled call."""


class Chain(NamedTuple):
    """Values of nbeta L_n with their diagnostics; dims (chain, draw)."""

    loss: np.ndarray
    acceptance: np.ndarray
    diverging: np.ndarray
    num_gradients: np.ndarray


def log_density_and_loss(posterior: Posterior):
    """Log density and nbeta L_n as JAX functions of the flat weights, written independently of the Gibbs sampler."""
    root, target, center = (jnp.asarray(part) for part in (posterior.root, posterior.target, _flat(posterior.optimum)))
    shapes = [w.shape for w in posterior.optimum]
    bounds = np.cumsum([0] + [w.size for w in posterior.optimum])

    def loss(position):
        layers = [position[a:b].reshape(shape) for a, b, shape in zip(bounds, bounds[1:], shapes, strict=False)]
        factors = [root, *layers] if shapes[0][1] <= shapes[-1][0] else [root, *layers][::-1]
        result = factors[0]
        for factor in factors[1:]:
            result = factor @ result if factors[0] is root else result @ factor
        return posterior.scale * jnp.sum((result - target) ** 2)

    return lambda w: -loss(w) - posterior.localization / 2 * jnp.sum((w - center) ** 2), loss


def _flat(layers) -> np.ndarray:
    return np.concatenate([np.ravel(layer) for layer in layers])


def compile_block(posterior: Posterior, kernel: str):
    """Compiled (key, positions, step_size, trajectory_length) -> (positions, Chain), BLOCK draws of all chains."""
    log_density, loss = log_density_and_loss(posterior)
    move = (_nuts_move if kernel == "nuts" else _hmc_move)(log_density)

    def draw(positions, key_and_step):
        key, step_size, trajectory_length = key_and_step
        key_move, key_jitter = jax.random.split(key)
        num_steps = jnp.maximum(1, jnp.ceil(trajectory_length / step_size)).astype(int)
        jittered = step_size * jax.random.uniform(key_jitter, minval=0.8, maxval=1.2)
        keys = jax.random.split(key_move, len(positions))
        moved, *info = jax.vmap(move, (0, 0, None, None))(keys, positions, jittered, num_steps)
        return moved, Chain(jax.vmap(loss)(moved), *info)

    @jax.jit
    def block(key, positions, step_size, trajectory_length):
        inputs = jax.random.split(key, BLOCK), jnp.full(BLOCK, step_size), jnp.full(BLOCK, trajectory_length)
        positions, chain = jax.lax.scan(draw, positions, inputs)
        return positions, jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), chain)

    return block


def _hmc_move(log_density):
    kernel = blackjax.hmc.build_kernel()

    def move(key, position, step_size, num_steps):
        state = blackjax.hmc.init(position, log_density)
        state, info = kernel(key, state, log_density, step_size, jnp.ones_like(position), num_steps)
        return state.position, info.acceptance_rate, info.is_divergent, num_steps

    return move


def _nuts_move(log_density):
    kernel = blackjax.nuts.build_kernel()

    def move(key, position, step_size, num_steps):
        del num_steps
        state = blackjax.nuts.init(position, log_density)
        state, info = kernel(key, state, log_density, step_size, jnp.ones_like(position), max_num_doublings=14)
        return state.position, info.acceptance_rate, info.is_divergent, info.num_integration_steps

    return move


def tune(key, block, positions, trajectory_length: float, rounds: int) -> float:
    """Robbins-Monro on the step size towards the target acceptance; short trajectories first: w* is not typical."""
    log_step = np.log(2e-4)
    for i in range(rounds):
        length = trajectory_length * min(1.0, 0.02 * 2**i)
        positions, chain = block(jax.random.fold_in(key, i), positions, np.exp(log_step), length)
        error = float(np.mean(np.nan_to_num(chain.acceptance))) - TARGET_ACCEPTANCE
        log_step += (2.0 if error < -0.4 else 1.0) * error / max(1.0, i / 6) ** 0.6
    return float(np.exp(log_step))
