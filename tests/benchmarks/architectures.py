"""Models as their users have them, one line each: is the loss the model's own, which parts are found, how long is it?

Random weights from configurations, nothing is downloaded: the tiny models of the tests, and the architecture of
Pythia-14M in full. The line is run as it is printed. Seconds are those to the first target of an architecture, which
compiles, and to the next, which does not; CPU seconds beside them. Needs the extra `hf`, and TransformerLens 3 for its
rows: run in the environment of `make torch-test`.
Run: PYTHONPATH=.:tests python tests/benchmarks/architectures.py
"""

import argparse
import time
from functools import partial

import numpy as np
import torch
from pytorch.architectures import EVERY, model, own_loss, tokens

import slt

CAUSAL = 'slt.model_target(model, "next_token", tokens, datum="token")'
PADDED = 'slt.model_target(model, "next_token", {"input_ids": tokens, "attention_mask": mask}, datum="token")'
ROWS = 'slt.model_target(model, "cross_entropy", {"input_ids": tokens, "labels": labels})'


def pythia(seed: int) -> torch.nn.Module:
    """The architecture of Pythia-14M: 6 layers of 4 heads, width 128, 50,304 tokens."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(seed)
    shape = {"hidden_size": 128, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 512}
    return GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=50304, max_position_embeddings=2048, **shape))


def timed(line: str, names: dict) -> tuple[slt.Target, float, float]:
    """What the line gives, seconds, and seconds of CPU."""
    began, cpu = time.perf_counter(), time.process_time()
    target = eval(line, {"slt": slt}, names)
    return target, time.perf_counter() - began, time.process_time() - cpu


def row(name: str, line: str, build, ids: np.ndarray, mask: np.ndarray | None = None) -> None:
    """One line of the table: the second target is of other weights."""
    labels = np.arange(len(ids)) % 3
    given = {"tokens": ids, "labels": labels, "mask": mask}
    seconds = []
    for seed in (0, 1):
        made = build(seed=seed)
        target, wall, cpu = timed(line, given | {"model": made})
        seconds.append(f"{wall:.1f} ({cpu:.1f})")
    if mask is None:
        own = own_loss(made, ids, labels if line == ROWS else None).item()
    else:
        after = np.roll(mask, 1, 1) * mask * (np.arange(ids.shape[1]) > 0)
        own = own_loss(made, ids, np.where(after, ids, -100), attention_mask=mask).item()
    found = slt.targets.components(made)
    heads = sum("h" in part and part[0] == "l" and part[-1].isdigit() for part in found)
    print(
        f"| {name} | {target.num_params:,} | 1 | {target.loss_at_minimum:.6f} | {own:.6f} | "
        f"{target.loss_at_minimum / own - 1:+.0e} | {len(found)}, {heads} heads | {seconds[0]} | {seconds[1]} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=2, help="of the tiny models")
    parser.add_argument("--only", default="", help="part of the name of the models to show")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{CAUSAL}\n{PADDED}\n{ROWS}\n")
    print("| model | parameters | lines | loss | its own | relative | components | s (CPU) | s (CPU), next |")
    print("|---|---|---|---|---|---|---|---|---|")
    mask = np.ones_like(ids := tokens())
    mask[:5, :3] = 0
    long = np.random.default_rng(0).integers(3, 50304, (32, 32))
    tiny = {name: partial(model, name, layers=given.layers) for name in EVERY}
    cases = {name: (ROWS if name == "BERT" else CAUSAL, build, ids) for name, build in tiny.items()}
    cases["GPT-2, padded left"] = (PADDED, tiny["GPT-2"], ids, mask)
    cases["Pythia-14M"] = (CAUSAL, pythia, long)
    for name, (line, build, *data) in cases.items():
        if given.only in name:
            row(name, line, build, *data)


if __name__ == "__main__":
    main()
