import jax.numpy as jnp
import numpy as np
import pytest

from slt.targets.selection import select

PARAMS = {
    "attn": {"weight": jnp.arange(24.0).reshape(6, 4), "bias": jnp.arange(6.0)},
    "out": [jnp.ones(3), jnp.ones(2)],
}


def loss(params, rows):
    weight, bias = params["attn"]["weight"], params["attn"]["bias"]
    return rows * (jnp.sum(weight**2) + 3 * jnp.sum(bias) + 5 * jnp.sum(params["out"][1]))


def test_a_slice_is_what_is_sampled_and_the_rest_stays():
    restricted, free = select(loss, PARAMS, ["attn/weight[2:4]", "out/1"])
    assert {name: leaf.shape for name, leaf in free.items()} == {"attn/weight[2:4]": (2, 4), "out/1": (2,)}
    np.testing.assert_array_equal(free["attn/weight[2:4]"], PARAMS["attn"]["weight"][2:4])
    rows = jnp.ones(2)
    np.testing.assert_array_equal(restricted(free, rows), loss(PARAMS, rows))
    moved = free | {"attn/weight[2:4]": free["attn/weight[2:4]"] + 1}
    full = PARAMS | {"attn": PARAMS["attn"] | {"weight": PARAMS["attn"]["weight"].at[2:4].add(1)}}
    np.testing.assert_allclose(restricted(moved, rows), loss(full, rows), rtol=1e-6)


@pytest.mark.parametrize(
    ("trainable", "names"),
    [
        (lambda path: path.startswith("out"), {"out/0", "out/1"}),
        ("attn/*", {"attn/weight", "attn/bias"}),
        (["out/[01]"], {"out/0", "out/1"}),  # a character class, not a slice
        (["attn/weight[:, 1]", "attn/weight[0:6, 2:4]"][1:], {"attn/weight[0:6,2:4]"}),
        (["attn/*[0:2]"], {"attn/weight[0:2]", "attn/bias[0:2]"}),
        (["attn/weight[0:2]", "attn/weight[2:4]"], {"attn/weight[0:2]", "attn/weight[2:4]"}),
        (["attn/weight[0:2]", "attn/weight"], {"attn/weight"}),  # the whole swallows its slices
    ],
)
def test_globs_and_slices_choose_leaves(trainable, names):
    assert set(select(loss, PARAMS, trainable)[1]) == names


@pytest.mark.parametrize(
    ("trainable", "message"),
    [
        (lambda path: False, "accepts no leaf"),
        (["attn/wight"], "did you mean 'attn/weight'"),
        (["attn/weight[9:12]"], "is empty"),
        (["attn/bias[:, 0:2]"], "does not fit the shape"),
        (["attn/weight[0:3]", "attn/weight[2:4]"], "overlap"),
        (["attn/weight[0:1:2:3]"], "does not end in a slice"),
    ],
)
def test_a_selection_that_finds_nothing_is_refused(trainable, message):
    with pytest.raises(ValueError, match=message):
        select(loss, PARAMS, trainable)
