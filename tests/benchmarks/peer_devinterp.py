"""Milliseconds per SGLD step and chain of devinterp, in its own environment; called by throughput.py, prints JSON.

Each figure is the slope between a short and a long call, so that what a call costs once is left out.
"""

import argparse
import json
import time
import warnings
from functools import partial
from importlib import metadata
from itertools import pairwise

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

WIDTHS = {"1.4k": (16, 50, 10), "11k": (64, 128, 24, 10), "100k": (256, 300, 80, 10), "1.8M": (784, 1024, 1024, 10)}
BATCH, ROWS, CHAINS = 256, 4096, 4


def network(widths):
    layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def version_1(model, data, draws):
    from devinterp.optim.sgld import SGLD
    from devinterp.slt.sampler import estimate_learning_coeff_with_summary
    from devinterp.utils import evaluate_ce

    loader = DataLoader(data, batch_size=BATCH, shuffle=True)
    estimate_learning_coeff_with_summary(
        model, loader, evaluate=evaluate_ce, sampling_method=SGLD, num_chains=CHAINS, num_draws=draws, init_loss=1.0,
        optimizer_kwargs={"lr": 1e-9, "localization": 1.0, "nbeta": 100.0}, verbose=False, cores=1, seed=0,
    )  # fmt: skip


def version_2(model, data, draws):
    from datasets import Dataset
    from devinterp.slt.sampling import sample

    inputs, targets = data.tensors
    ids = [[i, i] for i in range(ROWS)]  # a "sequence" is the number of a row
    rows = Dataset.from_dict({"input_ids": ids}).with_format("torch")

    def loss(model, ids):
        row = ids[:, 0]
        return nn.functional.cross_entropy(model(inputs[row]), targets[row], reduction="none")[:, None]

    sample(
        model, rows, {}, lr=1e-9, n_beta=100.0, num_chains=CHAINS, num_draws=draws, batch_size=BATCH, localization=1.0,
        num_init_loss_batches=1, loss_fn=loss, device="cpu",
    )  # fmt: skip


def fastest(call):
    """Wall and CPU seconds of the fastest of three calls."""
    seconds = []
    for _ in range(3):
        began = time.perf_counter(), time.process_time()
        call()
        seconds.append((time.perf_counter() - began[0], time.process_time() - began[1]))
    return tuple(map(min, zip(*seconds, strict=True)))


def slope(short, long, draws):
    """Seconds a draw; of the long call as a whole where a load made the short one as slow."""
    return (long - short) / (draws - draws // 4) if long > short else long / draws


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, nargs=4, default=(400, 400, 200, 30), help="of each size")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    version = metadata.version("devinterp")
    run = version_1 if version.startswith("1.") else version_2
    for (name, widths), draws in zip(WIDTHS.items(), given.draws, strict=True):
        model = network(widths)
        data = TensorDataset(torch.randn(ROWS, widths[0]), torch.randint(widths[-1], (ROWS,)))
        run(model, data, 5)
        short, long = (fastest(partial(run, model, data, count)) for count in (draws // 4, draws))
        wall, cpu = (1e3 * slope(a, b, draws) / CHAINS for a, b in zip(short, long, strict=True))
        print(json.dumps({"version": version, "size": name, "wall": wall, "cpu": cpu}), flush=True)


if __name__ == "__main__":
    main()
