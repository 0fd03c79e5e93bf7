"""A PyTorch transformer trained here on English that ships with Python: its LLC whole and head by head.

Bytes of `pydoc_data.topics`; a causal transformer of 1.07 M parameters (2 layers, 4 heads, width 200, context 32),
trained by Adam to a minimum of L_n + (a/2)|w|^2; then the coefficient of all parameters, and of each head (its rows of
in_proj and columns of out_proj), all at the same n, beta, gamma. A datum is a token, a row of the data 31 of them.
Needs PyTorch: run in the environment of `make torch-test`.
Run: python tests/benchmarks/transformer.py
"""

import argparse
import time
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import torch
from torch import nn

import slt

WIDTH, HEADS, LAYERS, CONTEXT = 200, 4, 2, 32
DECAY = 1e-3
"""a [nats/token per squared unit]."""


class Transformer(nn.Module):
    """Pre-norm blocks from PyTorch's own layers; a causal mask made in the forward pass."""

    def __init__(self):
        super().__init__()
        self.embed, self.place = nn.Embedding(256, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        layer = {"batch_first": True, "norm_first": True, "dropout": 0.0, "activation": "gelu"}
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, **layer) for _ in range(LAYERS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 256)

    def forward(self, tokens):
        length = tokens.shape[1]
        mask = torch.ones(length, length, dtype=torch.bool).triu(1)
        hidden = self.embed(tokens) + self.place(torch.arange(length))
        for block in self.blocks:
            hidden = block(hidden, src_mask=mask)
        return self.head(self.norm(hidden))


def rows(count: int) -> np.ndarray:
    """Rows of the text, as bytes, spread over all of it."""
    text = np.frombuffer("\n".join(topics[name] for name in sorted(topics)).encode(), np.uint8).astype(np.int32)
    every = text[: len(text) // CONTEXT * CONTEXT].reshape(-1, CONTEXT)
    return every[:: max(1, len(every) // count)][:count]


def train(model: nn.Module, tokens: np.ndarray, steps: int) -> None:
    """Adam with weight decay in the objective, so that w* is a minimum of it; the rate falls to nothing."""
    optimiser = torch.optim.Adam(model.parameters(), weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps, final_div_factor=1e3)
    rng = np.random.default_rng(0)
    for step in range(steps):
        batch = torch.from_numpy(tokens[rng.integers(0, len(tokens), 32)]).long()
        loss = nn.functional.cross_entropy(model(batch)[:, :-1].flatten(0, 1), batch[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 200 == 0 or step == steps - 1:
            print(f"step {step:5d}: loss {loss.item():.3f} nats/token", flush=True)


def head_of(layer: int, head: int) -> list[str]:
    """The slices that are one head: queries, keys and values, and what it writes."""
    size = WIDTH // HEADS
    parts = [slice(part * WIDTH + head * size, part * WIDTH + (head + 1) * size) for part in range(3)]
    name = f"blocks/{layer}/self_attn"
    read = [f"{name}/in_proj_weight[{part.start}:{part.stop}]" for part in parts]
    return [*read, f"{name}/out_proj/weight[:, {head * size}:{(head + 1) * size}]"]


def estimate(
    model: nn.Module, tokens: np.ndarray, given: argparse.Namespace, gradients: int, trainable=None, before=None
) -> slt.Result:
    began, cpu = time.perf_counter(), time.process_time()
    target = slt.model_target(
        model, "next_token", tokens, datum="token", localization=given.localization, weight_decay=DECAY,
        trainable=trainable,
    )  # fmt: skip
    result = slt.estimate_llc(
        target, num_chains=2, batch_size=given.batch, max_gradients=gradients, tolerance=0.05, warm_start=before
    )
    spent = f"{time.perf_counter() - began:.0f} s ({time.process_time() - cpu:.0f} s CPU)"
    print(
        f"{target.num_params:9,d} parameters: λ̂ {result.estimates['llc']}, {result.verdict.status}, L_n "
        f"{target.loss_at_minimum:.3f} nats/token, gradient {target.gradient_norm:.1g}, nβ {target.nbeta:.0f}, γ "
        f"{target.localization:g}, batches of {result.settings['batch_size']} rows, R-hat "
        f"{result.diagnostics['rhat']:.3f}, ESS {result.diagnostics['ess']:.0f}, {spent}",
        flush=True,
    )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500, help="of training")
    parser.add_argument("--weights", type=Path, default=Path("results/transformer.pt"), help="read, or trained first")
    parser.add_argument("--gradients", type=int, default=24_000, help="budget of the whole model [of one row]")
    parser.add_argument("--head-gradients", type=int, default=12_000, help="budget of a head [of one row]")
    parser.add_argument("--batch", type=int, default=4, help="rows of a minibatch at first")
    parser.add_argument("--rows", type=int, default=512, help="rows of the text")
    parser.add_argument("--localization", type=float, default=10_000.0)
    parser.add_argument("--heads", type=int, default=HEADS * LAYERS, help="how many heads")
    given = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model, tokens = Transformer(), rows(given.rows)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {tokens.shape[0] * (CONTEXT - 1):,} tokens")
    if given.weights.exists():
        model.load_state_dict(torch.load(given.weights, weights_only=True))
    else:
        train(model, tokens, given.steps)
        given.weights.parent.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), given.weights)
    print("whole model", end=" ")
    estimate(model, tokens, given, given.gradients)
    before = None
    for layer, head in [(layer, head) for layer in range(LAYERS) for head in range(HEADS)][: given.heads]:
        print(f"layer {layer} head {head}", end=" ")
        before = estimate(model, tokens, given, given.head_gradients, head_of(layer, head), before)


if __name__ == "__main__":
    main()
