r"""Parts of a transformer by name, "embed", "l0", "l0 attn", "l0h1", "l0 mlp", "l0 norm", "unembed", as selections.

What a head holds: its own slices of the queries and of the output projection, and the keys and values that it reads.
Where heads share those (grouped-query attention), the keys and values of its group are part of every head of the group,
so that such heads overlap. Biases of queries, keys and values go with them. The bias of the output projection, and
norms of queries and keys that all heads have in common, are the layer's: in "l0 attn", in no head.

"l0" is all of a layer: "l0 attn", "l0 mlp", "l0 norm" and whatever else it has. Tied embeddings are one leaf, so that
"unembed" is then "embed". Leaves outside of the layers that have no name here go by that of their module.
"""

import difflib
import fnmatch
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np

from slt._options import checked
from slt.targets.selection import SLICED, Selection
from slt.targets.views import unwrapped, view_model


class Blocks(NamedTuple):
    """How heads lie in a leaf: one after the other along an axis.

    parts: queries, keys and values of all heads one after the other in it. shared: blocks of groups of heads.
    """

    axis: int
    parts: int = 1
    shared: bool = False


HEADS = {
    # GPT-2, whose weights are (in, out)
    "*c_attn/weight": Blocks(1, 3), "*c_attn/bias": Blocks(0, 3), "*attn/c_proj/weight": Blocks(0),
    # GPT-NeoX and Pythia: queries, keys and values of one head side by side
    "*query_key_value/*": Blocks(0), "*attention/dense/weight": Blocks(1),
    # Llama, Qwen, Gemma, Mistral
    "*/q_proj/*": Blocks(0), "*/[kv]_proj/*": Blocks(0, shared=True), "*/o_proj/weight": Blocks(1),
    # BERT
    "*self/query/*": Blocks(0), "*self/key/*": Blocks(0), "*self/value/*": Blocks(0),
    "*attention/output/dense/weight": Blocks(1),
    # TransformerLens, whose heads have an axis of their own
    "*[Wb]_Q": Blocks(0), "*[Wb]_[KV]": Blocks(0, shared=True), "*W_O": Blocks(0),
    # torch.nn.MultiheadAttention
    "*in_proj_weight": Blocks(0, 3), "*in_proj_bias": Blocks(0, 3), "*out_proj/weight": Blocks(1),
    # equinox.nn.MultiheadAttention and flax.nnx.MultiHeadAttention
    "*query_proj/*": Blocks(0), "*key_proj/*": Blocks(0), "*value_proj/*": Blocks(0), "*output_proj/weight": Blocks(1),
    "*query/kernel": Blocks(1), "*key/kernel": Blocks(1), "*value/kernel": Blocks(1), "*out/kernel": Blocks(0),
    "*query/bias": Blocks(0), "*key/bias": Blocks(0), "*value/bias": Blocks(0),
}  # fmt: skip
"""{leaf of an attention layer: where its heads are}; the first that matches. One more architecture is a line here."""
ENDS = {
    "pos": ("*wpe/*", "*position_embeddings/*", "*pos_embed/*", "*W_pos"),
    "unembed": ("*lm_head/*", "*embed_out/*", "*unembed/*"),
    "embed": ("*wte/*", "*embed_in/*", "*embed_tokens/*", "*word_embeddings/*", "*embed/*"),
}
"""Leaves outside of the layers; the first that matches."""
NORM = re.compile(r"(?i)(\w*_)?layer_?norm|norm_?\d*|ln_?\w*")
ROLES = {
    "attn": re.compile(r"(?i)(self_?)?att(entio)?n\w*|mha"),
    "mlp": re.compile(r"(?i)mlp|ffn?|feed_?forward|intermediate|output|linear\d|fc\d"),
}
LAYER = re.compile(r"(?:(?P<stack>.+?)/)?(?P<index>\d+)/(?P<rest>.+)")
NUMBERS = {
    "heads": ("num_attention_heads", "n_head", "n_heads", "num_heads"),
    "groups": ("num_key_value_heads", "n_key_value_heads", "num_kv_heads"),
}

AXES = {"heads": {"*W_Q": 0, "*query/kernel": 1}, "groups": {"*W_K": 0, "*key/kernel": 1}}
"""Leaves with an axis of heads, which tells their number."""


class Leaf(NamedTuple):
    """Of the sampled parameters. name: by which it is sampled, also where it stands under another as well."""

    name: str
    shape: tuple[int, ...]


@checked
def components(model: Any, *, num_heads: int | None = None, num_kv_heads: int | None = None) -> dict[str, list[str]]:
    """Selections of leaves and slices by the name of what they are, as `trainable` takes them.

    They are found from the names and shapes of the leaves, and from the numbers of heads in the model's configuration
    or an axis of a leaf: GPT-2, GPT-NeoX and Pythia, Llama, Qwen, Gemma, Mistral, BERT, TransformerLens, and modules
    with the attention of PyTorch, Equinox or Flax NNX. For others a list of globs is the selection.

    Args:
        model: as of `model_target`.
        num_heads: of attention heads in each layer; by default what the model says.
        num_kv_heads: of heads of keys and values, where several heads share one.

    Raises:
        ValueError: numbers of heads that do not fit the shapes.
    """
    model = unwrapped(model)
    leaves = _leaves(model)
    heads = num_heads or _number(model, "heads") or _count(leaves, "heads")
    groups = num_kv_heads or _number(model, "groups") or _count(leaves, "groups") or heads
    if heads and heads % (groups or heads):
        raise ValueError(f"components: {heads} heads cannot share {groups} of keys and values; give a divisor.")
    stacks = _stacks(leaves)
    found: dict[str, list[str]] = {}
    for path, leaf in leaves.items():
        place = LAYER.fullmatch(path)
        if place is None or (place["stack"] or "") not in stacks:
            found.setdefault(outside(path), []).append(leaf.name)
            continue
        layer = f"{place['stack']} " * (len(stacks) > 1) + f"l{place['index']}"
        role = _role(place["rest"])
        for name in (layer, *([f"{layer} {role}"] if role else [])):
            found.setdefault(name, []).append(leaf.name)
        if heads and groups:
            for head, piece in _pieces(leaf, place["rest"], heads, groups):
                found.setdefault(f"{layer}h{head}", []).append(piece)
    return {name: list(dict.fromkeys(found[name])) for name in sorted(found, key=_order)}


def expanded(trainable: Selection, model: Any, named: Any) -> Selection:
    """The selection with components in place of their names, or of globs of these; leaves come first.

    Raises:
        ValueError: something that is neither, with the nearest name.
    """
    if trainable is None or callable(trainable):
        return trainable
    chosen: list[str] = []
    known: dict[str, list[str]] | None = None
    for item in [trainable] if isinstance(trainable, str) else trainable:
        sliced = SLICED.fullmatch(item)
        if fnmatch.filter(named, sliced["glob"] if sliced else item):
            chosen.append(item)
            continue
        known = components(model) if known is None else known
        parts = fnmatch.filter(known, item)
        if not parts:
            near = difflib.get_close_matches(item, [*known, *named], n=1)
            hint = f"the nearest is {near[0]!r}; " if near else ""
            raise ValueError(
                f"trainable: {item!r} is no component and matches no leaf; {hint}components are "
                f"{', '.join(known)}, and leaves {', '.join(named)}."
            )
        chosen += [pattern for part in parts for pattern in known[part]]
    return list(dict.fromkeys(chosen))


def _leaves(model: Any) -> dict[str, Leaf]:
    """Sampled leaves by path; of PyTorch tied ones by each of theirs."""
    if "torch.nn" not in sys.modules or not isinstance(model, sys.modules["torch.nn"].Module):
        return {path: Leaf(path, np.shape(value)) for path, value in view_model(model).params.items()}
    names = {id(p): name.replace(".", "/") for name, p in model.named_parameters()}
    every = model.named_parameters(remove_duplicate=False)
    return {n.replace(".", "/"): Leaf(names[id(p)], tuple(p.shape)) for n, p in every if p.requires_grad}


def _stacks(leaves: dict[str, Leaf]) -> set[str]:
    """Paths of the lists of layers: those that hold attention or an MLP."""
    places = [place for place in map(LAYER.fullmatch, leaves) if place]
    return {place["stack"] or "" for place in places if _role(place["rest"]) in ROLES}


def _role(rest: str) -> str:
    """What a leaf is in its layer."""
    modules = rest.split("/")[:-1]
    if modules and NORM.fullmatch(modules[-1]):
        return "norm"
    return next((role for role, name in ROLES.items() if any(map(name.fullmatch, modules))), "")


def outside(path: str) -> str:
    """What a leaf outside of the layers is."""
    *modules, _ = path.split("/")
    known = next((name for name, globs in ENDS.items() if any(fnmatch.fnmatchcase(path, g) for g in globs)), None)
    if known or not modules:
        return known or path
    return "final norm" if NORM.fullmatch(modules[-1]) and "embeddings" not in modules else "/".join(modules)


def _pieces(leaf: Leaf, rest: str, heads: int, groups: int) -> Iterator[tuple[int, str]]:
    """(head, its slices of a leaf), none where the leaf has no heads."""
    blocks = next((blocks for glob, blocks in HEADS.items() if fnmatch.fnmatchcase(rest, glob)), None)
    if blocks is None or len(leaf.shape) <= blocks.axis:
        return
    count, size = groups if blocks.shared else heads, leaf.shape[blocks.axis]
    width = size // (blocks.parts * count)
    if width * blocks.parts * count != size:
        raise ValueError(
            f"components: {leaf.name} has the shape {leaf.shape}, whose axis {blocks.axis} {count} heads do not "
            "divide; give num_heads and num_kv_heads of the model."
        )
    for head in range(heads):
        block = head * count // heads
        for part in range(blocks.parts):
            start = part * size // blocks.parts + block * width
            yield head, f"{leaf.name}[{':, ' * blocks.axis}{start}:{start + width}]"


def _number(model: Any, what: str) -> int | None:
    """A number of heads from the configuration of a model, or from the one its modules agree on."""
    config: Any = getattr(model, "config", None) or getattr(model, "cfg", None)
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    for owners in ([config], _modules(model)):
        found = {getattr(owner, name, None) for owner in owners for name in NUMBERS[what]} - {None}
        if len(found) == 1 and isinstance(number := found.pop(), int):
            return number
    return None


def _modules(model: Any) -> Iterable[Any]:
    """What may say its number of heads: modules of PyTorch, attention of Equinox."""
    if hasattr(model, "modules"):
        return model.modules()
    attention = lambda node: isinstance(node, eqx.nn.MultiheadAttention)  # noqa: E731
    return filter(attention, jax.tree.leaves(model, is_leaf=attention))


def _count(leaves: dict[str, Leaf], what: str) -> int | None:
    """A number of heads from the leaves that have an axis of them, where all of these have as many."""
    counts = {
        leaf.shape[axis]
        for path, leaf in leaves.items()
        for glob, axis in AXES[what].items()
        if len(leaf.shape) == 3 and fnmatch.fnmatchcase(path, glob)
    }
    return counts.pop() if len(counts) == 1 else None


def _order(name: str) -> tuple:
    """Embeddings, layers with their parts, the rest."""
    layer = re.fullmatch(r"(.* )?l(\d+)(?:h(\d+)| (.*))?", name)
    if layer is None:
        return (0 if name in ("embed", "pos") else 2, name)
    return (1, layer[1] or "", int(layer[2]), int(layer[3] or -1), layer[4] or "")
