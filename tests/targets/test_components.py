"""Components of models of JAX; those of PyTorch are in tests/pytorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import slt
from slt.targets import as_function, components

TOKENS = np.random.default_rng(0).integers(0, 7, (12, 6))
WIDTH, HEADS, SIZE = 8, 4, 2


def lens():
    """An attention-only transformer in plain JAX, its leaves named as TransformerLens names them."""
    keys = iter(jax.random.split(jax.random.key(0), 8))
    shapes = {f"W_{kind}": (HEADS, WIDTH, SIZE) for kind in "QKV"} | {"W_O": (HEADS, SIZE, WIDTH)}
    params = {
        "embed": {"W_E": jax.random.normal(next(keys), (7, WIDTH))},
        "blocks": [{"attn": {name: jax.random.normal(next(keys), shape) for name, shape in shapes.items()}}],
        "unembed": {"W_U": jax.random.normal(next(keys), (WIDTH, 7))},
    }

    def apply(params, tokens):
        x, attn = params["embed"]["W_E"][tokens], params["blocks"][0]["attn"]
        q, k, v = (jnp.einsum("rpd,hde->rhpe", x, attn[f"W_{kind}"]) for kind in "QKV")
        seen = jnp.tril(jnp.ones((tokens.shape[1], tokens.shape[1]), bool))
        weights = jax.nn.softmax(jnp.where(seen, q @ jnp.swapaxes(k, 2, 3), -jnp.inf), axis=-1)
        return (x + jnp.einsum("rhpe,hed->rpd", weights @ v, attn["W_O"])) @ params["unembed"]["W_U"]

    return apply, params


def test_heads_of_a_function_are_found_from_an_axis_of_its_leaves():
    parts = components(lens())
    assert set(parts) == {"embed", "l0", "l0 attn", "l0h0", "l0h1", "l0h2", "l0h3", "unembed"}
    assert sorted(parts["l0h2"]) == [f"blocks/0/attn/W_{kind}[2:3]" for kind in "KOQV"]
    target = slt.model_target(lens(), "next_token", TOKENS, trainable="l0h[12]")
    assert target.num_params == 2 * 4 * WIDTH * SIZE
    assert target.minimum["blocks/0/attn/W_Q[1:2]"].shape == (1, WIDTH, SIZE)


@pytest.mark.parametrize(
    ("trainable", "message"),
    [
        ("l0h4", "'l0h4' is no component and matches no leaf; the nearest is 'l0h3'"),
        (["l0", "embd/W_E"], "the nearest is 'embed/W_E'"),
        ("l1 mlp", "components are embed, l0, l0 attn"),
    ],
)
def test_what_is_no_component_is_refused_with_the_nearest(trainable, message):
    with pytest.raises(ValueError, match=message):
        slt.model_target(lens(), "next_token", TOKENS, trainable=trainable)


def test_attention_of_flax_has_an_axis_of_heads_too():
    nnx = pytest.importorskip("flax.nnx")

    class Block(nnx.Module):
        def __init__(self, rngs):
            self.attn = nnx.MultiHeadAttention(HEADS, WIDTH, rngs=rngs, decode=False)

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.layers = nnx.List([Block(rngs)])

        def __call__(self, x):
            return self.layers[0].attn(x)

    net = Net(nnx.Rngs(0))
    assert {"layers/0/attn/query/kernel[:, 1:2]", "layers/0/attn/out/kernel[1:2]"} <= set(components(net)["l0h1"])
    params, apply = as_function(net)
    x = jax.random.normal(jax.random.key(1), (2, 3, WIDTH))
    np.testing.assert_allclose(apply(params, x), net(x), rtol=1e-5)
