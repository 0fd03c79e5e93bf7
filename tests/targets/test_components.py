"""Components of models of JAX; those of PyTorch are in tests/pytorch."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import slt
from slt.targets import as_function, components
from slt.targets.components import expanded
from slt.targets.selection import select

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


class Block(eqx.Module):
    attn: eqx.nn.MultiheadAttention
    norm: eqx.nn.LayerNorm
    mlp: eqx.nn.MLP

    def __init__(self, key):
        first, second = jax.random.split(key)
        self.attn = eqx.nn.MultiheadAttention(HEADS, WIDTH, use_query_bias=True, key=first)
        self.norm, self.mlp = eqx.nn.LayerNorm(WIDTH), eqx.nn.MLP(WIDTH, WIDTH, 16, 1, key=second)


class Language(eqx.Module):
    embed: eqx.nn.Embedding
    layers: list[Block]
    unembed: eqx.nn.Linear

    def __init__(self, key):
        keys = jax.random.split(key, 4)
        self.embed, self.unembed = eqx.nn.Embedding(7, WIDTH, key=keys[0]), eqx.nn.Linear(WIDTH, 7, key=keys[1])
        self.layers = [Block(keys[2]), Block(keys[3])]

    def __call__(self, tokens):
        x = jax.vmap(self.embed)(tokens)
        seen = jnp.tril(jnp.ones((len(tokens), len(tokens)), bool))
        for layer in self.layers:
            x = x + layer.attn(x, x, x, mask=seen)
            x = x + jax.vmap(layer.mlp)(jax.vmap(layer.norm)(x))
        return jax.vmap(self.unembed)(x)


def test_components_of_equinox_models_are_found_by_name_and_glob():
    net = Language(jax.random.key(0))
    parts = components(net)
    layers = {f"l{i}{part}" for i in range(2) for part in ("", " attn", " mlp", " norm", *(f"h{h}" for h in range(4)))}
    assert set(parts) == layers | {"embed", "unembed"}
    name = "layers/0/attn"
    assert sorted(parts["l0h1"]) == [
        f"{name}/key_proj/weight[2:4]", f"{name}/output_proj/weight[:, 2:4]", f"{name}/query_proj/bias[2:4]",
        f"{name}/query_proj/weight[2:4]", f"{name}/value_proj/weight[2:4]",
    ]  # fmt: skip
    assert all(pattern.endswith("4:8]") for pattern in components(net, num_heads=2)["l0h1"])
    assert expanded(["l1h[12]", "l0 norm"], net, ()) == [*parts["l1h1"], *parts["l1h2"], *parts["l0 norm"]]
    chosen = select(lambda w, rows: w, as_function(net)[0], expanded(["l1h[12]", "l0 norm"], net, ()))[1]
    assert sum(leaf.size for leaf in chosen.values()) == 2 * (4 * SIZE * WIDTH + SIZE) + 2 * WIDTH


def test_a_head_of_an_equinox_model_that_writes_nothing_has_no_gradient_in_what_it_reads():
    params, apply = as_function(Language(jax.random.key(0)))
    patterns = components((apply, params), num_heads=HEADS)["l1h2"]
    (written,) = [p for p in patterns if "output_proj" in p]
    name, index = written.removesuffix("]").split("[")
    params |= {name: params[name].at[eval(f"jnp.s_[{index}]")].set(0)}
    gradient = jax.jit(jax.grad(lambda w: (apply(w, TOKENS) ** 2).mean()))(params)
    for leaf in ("query_proj/weight", "key_proj/weight", "value_proj/weight"):
        moved = np.abs(gradient[f"layers/1/attn/{leaf}"]).max(1) > 0
        assert np.flatnonzero(~moved).tolist() == [4, 5]
        assert f"layers/1/attn/{leaf}[4:6]" in patterns
