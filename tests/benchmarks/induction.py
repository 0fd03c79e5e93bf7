"""An attention-only transformer of two layers learns induction: λ̂ along its training, with stages and their borders.

Rows repeat a block of 4 to 7 of 16 tokens, the length of the block differing from row to row; 2816 parameters in plain
JAX, 800 steps of Adam. λ̂ of every checkpoint at γ = 200 and nβ = 50 on 256 of the 2048 rows, a datum being a token,
with the mean excess losses of the tokens that induction predicts and of the others, by the same runs. A second series
of every fourth checkpoint, with another seed, tells whether runs agree within their errors.
Run: python tests/benchmarks/induction.py
"""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console

import slt
from slt.report import plots, tables
from slt.targets import as_function

VOCABULARY, LENGTH, WIDTH, HEADS = 16, 16, 16, 2
ROWS, NBETA, GAMMA, STEPS = 256, 50.0, 200.0, 800


def repeated(rng, number):
    """Rows of tokens, and at which of them the token before has stood in the row already: induction predicts these."""
    period, place = rng.integers(4, 8, (number, 1)), np.arange(LENGTH)[None]
    blocks = rng.permuted(np.tile(np.arange(VOCABULARY, dtype=np.int32), (number, 1)), axis=1)
    return np.take_along_axis(blocks, place % period, 1), place > period


def initial(key):
    keys = iter(jax.random.split(key, 11))

    def draw(*shape):
        return WIDTH**-0.5 * jax.random.normal(next(keys), shape)

    size = WIDTH // HEADS
    inner = {"W_Q": (WIDTH, size), "W_K": (WIDTH, size), "W_V": (WIDTH, size), "W_O": (size, WIDTH)}
    blocks = [{"attn": {name: draw(HEADS, *shape) for name, shape in inner.items()}} for _ in range(2)]
    ends = {"embed": {"W_E": draw(VOCABULARY, WIDTH)}, "pos_embed": {"W_pos": draw(LENGTH, WIDTH)}}
    return ends | {"blocks": blocks, "unembed": {"W_U": draw(WIDTH, VOCABULARY)}}


def apply(params, tokens):
    length = tokens.shape[1]
    x = params["embed"]["W_E"][tokens] + params["pos_embed"]["W_pos"][:length]
    for attn in (block["attn"] for block in params["blocks"]):
        q, k, v = (jnp.einsum("rpd,hde->rhpe", x, attn[f"W_{kind}"]) for kind in "QKV")
        scores = jnp.where(jnp.tri(length, dtype=bool), q @ jnp.swapaxes(k, 2, 3) / q.shape[-1] ** 0.5, -jnp.inf)
        x = x + jnp.einsum("rhpe,hed->rpd", jax.nn.softmax(scores) @ v, attn["W_O"])
    return x @ params["unembed"]["W_U"]


def token_losses(logits, rows):
    """Of every token but the first [nats]."""
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits[:, :-1], rows[:, 1:])


def train(rows, every):
    """{step: parameters}, by Adam in batches of 128 rows; the rate falls to nothing."""
    optimiser = optax.adam(optax.cosine_decay_schedule(1e-2, STEPS))

    def update(carry, key):
        params, state = carry
        batch = jnp.asarray(rows)[jax.random.randint(key, (128,), 0, len(rows))]
        gradient = jax.grad(lambda w: token_losses(apply(w, batch), batch).mean())(params)
        updates, state = optimiser.update(gradient, state)
        return (optax.apply_updates(params, updates), state), None

    advance = jax.jit(lambda carry, keys: jax.lax.scan(update, carry, keys)[0])
    keys = jax.random.split(jax.random.key(100), STEPS)
    params = initial(jax.random.key(0))
    carry, found = (params, optimiser.init(params)), {}
    for step in range(0, STEPS, every):
        carry = advance(carry, keys[step : step + every])
        found[step + every] = carry[0]
    return found


def mean_loss(params, rows, chosen):
    """Of some tokens, as a function of the sampled parameters; `params` tells their names."""
    mask = jnp.asarray(chosen[:, 1:] / chosen[:, 1:].sum(), jnp.float32)
    _, function = as_function((apply, params))
    return lambda w: jnp.sum(mask * token_losses(function(w, jnp.asarray(rows)), jnp.asarray(rows)))


def refined(results, kinds, sampled):
    """n beta times each mean excess loss: that of a function counts as it is, so its value at w* is taken off here."""
    for result in results:
        step = result.settings["checkpoint"]
        parts = [f"{step:5d}"]
        for name, kind in kinds.items():
            estimate, at = result.estimates[name], float(kind(sampled[step]))
            parts.append(f"{name}: {at:.3f} nats/token at w*, λ̂ {NBETA * (estimate.value - at):.2f} ± "
                         f"{NBETA * estimate.mcse:.2f}")  # fmt: skip
        print("; ".join(parts))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=40, help="steps between two checkpoints")
    parser.add_argument("--last", type=int, default=STEPS, help="checkpoint, of which λ̂ is estimated")
    parser.add_argument("--gradients", type=int, default=70_000, help="budget of a checkpoint [of one row]")
    parser.add_argument("--folder", type=Path, default=Path("results/induction"))
    given, began = parser.parse_args(), time.process_time()
    rows, seen = repeated(np.random.default_rng(0), 2048)
    checkpoints = {step: w for step, w in train(rows, given.every).items() if step <= given.last}
    rows, seen = rows[:ROWS], seen[:ROWS]
    first = next(iter(checkpoints.values()))
    kinds = {"induction": mean_loss(first, rows, seen), "others": mean_loss(first, rows, ~seen)}

    def build(params):
        return slt.model_target(
            (apply, params), "next_token", rows, datum="token", localization=GAMMA,
            inverse_temperature=NBETA / (ROWS * (LENGTH - 1)),
        )  # fmt: skip

    options = {"folder": given.folder, "observe": kinds, "tolerance": 0.05, "max_gradients": given.gradients}
    options |= {"batch_size": 32, "warm_start": False}
    series = slt.estimate_series(build, checkpoints, **options)
    Console(width=140).print(tables.series_table(series.results))
    refined(series.results, kinds, {step: as_function((apply, w))[0] for step, w in checkpoints.items()})
    plots.plot_series(series.results).savefig(given.folder / "series.png")
    print(f"{(time.process_time() - began) / 60:.1f} CPU minutes, {series.hits} points found", flush=True)
    again = slt.estimate_series(build, dict(list(checkpoints.items())[::4]), seed=1, **options)
    one = {result.settings["checkpoint"]: result.estimates["llc"] for result in series.results}
    for result in again.results:
        a, b = one[result.settings["checkpoint"]], result.estimates["llc"]
        apart = (a.value - b.value) / np.hypot(a.mcse, b.mcse)
        print(f"{result.settings['checkpoint']:5d}: two runs {a} and {b}, {apart:.1f} errors apart")
    print(f"{(time.process_time() - began) / 60:.1f} CPU minutes in all")


if __name__ == "__main__":
    main()
