"""Components by name against what PyTorch's own gradients say of a head that is switched off."""

import numpy as np
import pytest
import torch
from pytorch.architectures import CAUSAL, EVERY, HEADS, KV_HEADS, LENS, model, own_loss, tokens

import slt
from slt.targets import components
from slt.targets.selection import select

TOKENS = tokens()
OUTPUTS = ("c_proj", "dense", "o_proj", "attention.output.dense")
"""Modules that write what the heads read, for each of the architectures."""


def masks(made, patterns):
    """Of every parameter, which of its entries are selected."""
    held = {name.replace(".", "/"): np.zeros(p.shape, bool) for name, p in made.named_parameters()}
    zeros = {name: np.zeros(mask.shape, np.float32) for name, mask in held.items()}
    _, chosen = select(lambda params, rows: rows, zeros, patterns)
    for key in chosen:
        name, _, index = key.partition("[")
        held[name][eval(f"np.s_[{index}" if index else "...")] = True
    return held


def silence(made, name, heads):
    """Heads of the first layer write nothing: what they read and write has no gradient."""
    width = 8 if name == "Gemma" else 4

    def hook(module, inputs):
        wide = inputs[0].clone()
        if wide.ndim == 4:  # (row, position, head, width)
            wide[:, :, heads] = 0
        else:
            for head in heads:
                wide[..., head * width : (head + 1) * width] = 0
        return (wide, *inputs[1:])

    if name in LENS:
        made.blocks[0].attn.hook_z.register_forward_hook(lambda module, inputs, out: hook(module, (out,))[0])
        return
    paths = {"GPT-2": "transformer.h.0.attn.c_proj", "GPT-NeoX": "gpt_neox.layers.0.attention.dense",
             "BERT": "bert.encoder.layer.0.attention.output.dense"}  # fmt: skip
    made.get_submodule(paths.get(name, "model.layers.0.self_attn.o_proj")).register_forward_pre_hook(hook)


@pytest.mark.parametrize("name", EVERY)
def test_the_gradient_of_a_dead_head_is_the_complement_of_its_selection(name):
    made, labels = model(name, layers=2), np.arange(12) % 3 if name == "BERT" else None
    parts = components(made)
    group = HEADS // KV_HEADS.get(name, HEADS)
    dead = list(range(group, 2 * group)) if group < HEADS else list(range(HEADS))  # whole groups share keys and values
    silence(made, name, dead)
    own_loss(made, TOKENS, labels).backward()
    held = masks(made, [pattern for head in dead for pattern in parts[f"l0h{head}"]])
    attention = masks(made, parts["l0 attn"])
    assert sum(mask.sum() for mask in held.values()) > 0
    for leaf, parameter in made.named_parameters():
        path = leaf.replace(".", "/")
        still = np.asarray(parameter.grad) == 0
        assert still[held[path]].all()
        if attention[path].any() and not _shared(path, name):
            np.testing.assert_array_equal(still, held[path], err_msg=path)


def _shared(path, name):
    """What all heads have in common has a gradient of rounding alone: biases of keys, and norms where all are dead."""
    return "norm" in path or "bias" in path or "b_" in path


@pytest.mark.parametrize("name", [name for name in EVERY if KV_HEADS.get(name, HEADS) < HEADS])
def test_one_dead_head_of_a_group_leaves_its_keys_and_values_alive(name):
    """The queries and outputs are its own; the keys and values are also in the selection of the others of its group."""
    made = model(name, layers=1)
    silence(made, name, [1])
    own_loss(made, TOKENS).backward()
    mine, other = (set(components(made)[f"l0h{head}"]) for head in (1, 0))
    for patterns, dead in ((mine - other, True), (mine & other, False)):
        held = masks(made, list(patterns))
        assert sum(mask.sum() for mask in held.values()) > 0
        for leaf, parameter in made.named_parameters():
            gradient = np.asarray(parameter.grad)[held[leaf.replace(".", "/")]]
            assert (gradient == 0).all() if dead else (gradient != 0).all()


@pytest.mark.parametrize("name", EVERY)
def test_parts_are_the_whole(name):
    made = model(name, layers=2)
    parts = components(made)
    due = {f"l{i}{part}" for i in range(2) for part in ("", " attn", " mlp", " norm", *(f"h{h}" for h in range(HEADS)))}
    assert due | {"embed"} <= set(parts)
    assert ("unembed" in parts) == (name != "BERT")
    for layer in ("l0", "l1"):
        kinds = [part for kind in (" attn", " mlp", " norm") for part in parts[layer + kind]]
        assert sorted(kinds) == sorted(parts[layer])
        heads = {pattern for head in range(HEADS) for pattern in parts[f"{layer}h{head}"]}
        inside, attention = masks(made, list(heads)), masks(made, parts[f"{layer} attn"])
        for path, mask in inside.items():
            assert not (mask & ~attention[path]).any()
            if path.endswith(("proj/weight", "c_attn/weight", "query_key_value/weight", "query/weight", "W_Q", "W_O")):
                assert (mask == attention[path]).all()  # no weight of a projection is in no head
    whole = [part for name, patterns in parts.items() if "h" not in name[:4] for part in patterns]
    assert set(whole) == {n.replace(".", "/") for n, _ in made.named_parameters()}


def test_a_head_is_a_component_of_the_target():
    made = model("Llama", layers=2)
    target = slt.model_target(made, "next_token", TOKENS, trainable="l1h2")
    assert target.num_params == 4 * 4 * 16
    both = slt.model_target(made, "next_token", TOKENS, trainable=["l1h[23]", "model/norm/weight"])
    assert both.num_params == (2 * 2 + 2) * 4 * 16 + 16  # one of keys and one of values for two heads


def test_other_modules_go_by_their_paths_and_heads_by_a_number():
    plain = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    assert components(plain) == {"0": ["0/weight", "0/bias"], "2": ["2/weight", "2/bias"]}
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16)
    parts = components(torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))
    weight = "layers/1/self_attn/in_proj_weight"
    assert parts["l1h1"][:3] == [f"{weight}[4:8]", f"{weight}[12:16]", f"{weight}[20:24]"]
    with pytest.raises(ValueError, match="3 heads do not divide"):
        components(model("GPT-2"), num_heads=3)
    with pytest.raises(ValueError, match="cannot share 3"):
        components(model("Llama"), num_kv_heads=3)
    made = model("Llama")
    made.model.layers[0].requires_grad_(False)
    assert set(components(made)) == {"embed", "final norm", "unembed"}


@pytest.mark.parametrize("name", list(CAUSAL)[:1])
def test_an_unknown_component_names_the_nearest(name):
    with pytest.raises(ValueError, match=r"'l0 atn' is no component.*the nearest is 'l0 attn'"):
        slt.model_target(model(name), "next_token", TOKENS, trainable="l0 atn")
