r"""Reference values E[nbeta L_n(w)] of the deep linear teachers by long exact chains, in float64.

The posterior is exp(-nbeta L_n(w) - (gamma / 2) |w - w*|^2) on the sample second moments of the data. The default
kernel is the Gibbs sampler of `deep_linear_gibbs`; `--kernel hmc` and `nuts` are the check (`deep_linear_hmc`).

Half of the chains start at w*, half at w* + 1.5 N(0, I / gamma) brought to the valley by Gibbs sweeps. One JSON per run
goes to the output directory; a run whose file exists is skipped; `--collect` only writes the table.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from arviz_stats.base import array_stats
from deep_linear_cases import LOCALIZATION, NBETA, NUM_DATA, Case, all_cases, hessian_rank, select_cases
from deep_linear_gibbs import Posterior, make_posterior, nbeta_loss, start, sweep
from deep_linear_hmc import BLOCK, Chain, compile_block, tune

TABLE = Path(__file__).with_suffix(".json")
OVERDISPERSION = 1.5


NextBlock = Callable[[], Chain]


def gibbs_blocks(case: Case, posterior: Posterior, options: argparse.Namespace) -> tuple[NextBlock, dict[str, Any]]:
    """Gibbs from fresh starts: a function that draws the next block, and its settings."""
    rng = np.random.default_rng([case.seed, 2, options.seed])
    layers = start(rng, posterior, options.chains, overdispersion=OVERDISPERSION)

    def next_block():
        nonlocal layers
        losses = []
        for _ in range(BLOCK):
            layers = sweep(rng, posterior, layers)
            losses.append(nbeta_loss(posterior, layers))
        loss = np.stack(losses, axis=1)
        return Chain(loss, np.ones_like(loss), np.zeros(loss.shape, bool), np.zeros(loss.shape, int))

    return next_block, {}


def gradient_blocks(case: Case, posterior: Posterior, options: argparse.Namespace) -> tuple[NextBlock, dict[str, Any]]:
    """HMC or NUTS by BlackJAX: tunes the step size, then as `gibbs_blocks`."""
    rng = np.random.default_rng([case.seed, 3, options.seed])
    layers = start(rng, posterior, options.chains, overdispersion=OVERDISPERSION)
    positions = jnp.concatenate([jnp.reshape(jnp.asarray(w), (options.chains, -1)) for w in layers], axis=1)
    block = compile_block(posterior, options.kernel)
    length = options.trajectory / np.sqrt(posterior.localization)
    key = jax.random.key(case.seed + options.seed)
    step_size = tune(jax.random.fold_in(key, 0), block, positions, length, options.tuning_rounds)

    def next_block():
        nonlocal key, positions
        key, key_block = jax.random.split(key)
        positions, chain = block(key_block, positions, step_size, length)
        return Chain(*(np.asarray(part) for part in chain))

    return next_block, {"step_size": step_size, "trajectory_length": length if options.kernel == "hmc" else None}


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Mean over (chain, draw) and its Monte Carlo standard error."""
    return float(np.mean(values)), float(array_stats.mcse(values, method="mean"))


def z_score(first: np.ndarray, second: np.ndarray) -> float:
    """Difference of two means in standard errors."""
    (a, da), (b, db) = mean_and_error(first), mean_and_error(second)
    return (a - b) / float(np.hypot(da, db))


def summarise(chain: Chain, burn_in: int) -> dict[str, Any]:
    """Value, error and convergence of the draws after burn-in; profile of all draws of the chains from w*."""
    kept = chain.loss[:, burn_in:]
    value, mcse = mean_and_error(kept)
    half = kept.shape[1] // 2
    from_optimum = chain.loss[: len(chain.loss) // 2]
    return {
        "value": value,
        "mcse": mcse,
        "rhat": float(array_stats.rhat(kept, method="rank")),
        "ess": float(array_stats.ess(kept, method="mean")),
        "variance": float(np.var(kept)),
        "drift_z": z_score(kept[:, :half], kept[:, half:]),
        "start_z": z_score(kept[: len(kept) // 2], kept[len(kept) // 2 :]),
        "divergences": int(np.sum(chain.diverging[:, burn_in:])),
        "acceptance": float(np.mean(chain.acceptance[:, burn_in:])),
        "draws_per_chain": kept.shape[1],
        "profile_tenths": [float(np.mean(part)) for part in np.array_split(from_optimum, 10, axis=1)],
    }


def run(case: Case, localization: float, options: argparse.Namespace) -> dict[str, Any]:
    """Draws until the relative error is reached or the seconds or the draws are spent; the first fifth is burn-in."""
    began = time.perf_counter()
    prepare = gibbs_blocks if options.kernel == "gibbs" else gradient_blocks
    next_block, settings = prepare(case, make_posterior(case, localization), options)
    ready = time.perf_counter()
    blocks: list[Chain] = []
    while True:
        blocks.append(next_block())
        num_draws = BLOCK * len(blocks)
        if num_draws % (5 * BLOCK) or num_draws < options.min_draws:
            continue
        whole = Chain(*(np.concatenate(parts, axis=1) for parts in zip(*blocks, strict=True)))
        summary = summarise(whole, num_draws // 5)
        done = summary["mcse"] <= options.relative_mcse * summary["value"] and summary["rhat"] < 1.01
        if done or time.perf_counter() - ready > options.seconds or num_draws >= options.max_draws:
            break
    settings |= {"kernel": options.kernel, "localization": localization, "nbeta": NBETA, "num_data": NUM_DATA}
    settings |= {"chains": options.chains, "burn_in": num_draws // 5, "seed": options.seed}
    settings |= {"num_gradients": int(np.sum(whole.num_gradients))}
    seconds = {"tuning_seconds": ready - began, "seconds": time.perf_counter() - began}
    return {**describe(case), **summary, **settings, **seconds, "trace": np.round(whole.loss, 3).tolist()}


def describe(case: Case) -> dict[str, Any]:
    """What is known of the case without sampling."""
    rlct, multiplicity = case.rlct
    return {
        "name": case.name,
        "widths": list(case.widths),
        "rank": case.rank,
        "num_params": case.num_params,
        "rlct": rlct,
        "multiplicity": multiplicity,
        "half_hessian_rank": hessian_rank(case.weights) / 2,
    }


def file_of(output: Path, case: Case, kernel: str, localization: float) -> Path:
    """Where a run is kept."""
    return output / f"{case.name}_{kernel}_{localization:g}.json"


COLUMNS = ("value", "mcse", "rhat", "divergences", "drift_z", "start_z", "ess", "seconds")
TABLE_COLUMNS = (*COLUMNS, "draws_per_chain", "seed", "profile_tenths")
SHOWN = ("name", "rlct", "half_hessian_rank", *COLUMNS, "acceptance", "num_gradients", "draws_per_chain")
OTHER_COLUMNS = ("kernel", "localization", "value", "mcse", "rhat", "divergences", "acceptance", "num_gradients")


def collect(output: Path) -> list[dict[str, Any]]:
    """One compact row a case from its default run, with its other kernels and localisations where they were run."""
    rows = []
    for case in all_cases():
        path = file_of(output, case, "gibbs", LOCALIZATION)
        if not path.exists():
            continue
        result = json.loads(path.read_text())
        row = {**describe(case), **{key: result[key] for key in TABLE_COLUMNS}}
        others = [json.loads(p.read_text()) for p in sorted(output.glob(f"{case.name}_*.json")) if p != path]
        row["others"] = [{key: other[key] for key in OTHER_COLUMNS} for other in others]
        rows.append(_rounded(row))
    return rows


def _rounded(value):
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("names", nargs="*", help="case names or their beginnings, e.g. aligned-03 or generic; default: all")
    add("--output", type=Path, default=Path("results"), help="directory of the run files (default: results)")
    add("--kernel", default="gibbs", choices=["gibbs", "hmc", "nuts"], help="exact kernel (default: gibbs)")
    add("--localization", type=float, nargs="+", default=[LOCALIZATION], help="gamma, one run each (default: 1)")
    add("--seed", type=int, default=0, help="seed of starts and draws (default: 0)")
    add("--chains", type=int, default=4, help="chains, half of them from w* (default: 4)")
    add("--trajectory", type=float, default=0.1, help="HMC trajectory length times sqrt(gamma) (default: 0.1)")
    add("--tuning-rounds", type=int, default=12, help=f"rounds of {BLOCK} draws for the step size (default: 12)")
    add("--seconds", type=float, default=35.0, help="time limit of a run after tuning (default: 35)")
    add("--relative-mcse", type=float, default=0.0025, help="stop at this error over value (default: 0.0025)")
    add("--min-draws", type=int, default=200, help="draws per chain before it may stop (default: 200)")
    add("--max-draws", type=int, default=20_000, help="draws per chain at which it stops (default: 20000)")
    add("--collect", action="store_true", help=f"only write {TABLE.name} from the run files")
    return parser.parse_args()


def main() -> None:
    """Runs the cases named and rewrites the table."""
    jax.config.update("jax_enable_x64", True)
    options = parse_arguments()
    options.output.mkdir(parents=True, exist_ok=True)
    for case in [] if options.collect else select_cases(options.names):
        for localization in options.localization:
            path = file_of(options.output, case, options.kernel, localization)
            if path.exists():
                continue
            result = run(case, localization, options)
            path.write_text(json.dumps(result))
            print(json.dumps(_rounded({key: result[key] for key in SHOWN})), flush=True)
    rows = collect(options.output)
    TABLE.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    print(f"{TABLE.name}: {len(rows)} cases")


if __name__ == "__main__":
    main()
