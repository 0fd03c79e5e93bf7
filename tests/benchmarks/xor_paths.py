"""Are independently found XOR minima connected inside the set of exact fits? Paths, and a pair that has none.

tanh nets 2-4-1 and 2-2-1, six minima each, all 15 pairs: the straight line, a walk along the zero-eigenspace with
projection, and that walk after the hidden units of one end were permuted and their signs flipped to match the other's.
One pair each way is then tried with a rapidly exploring tree and a Bezier curve, and drawn. The set is loss < 1e-8.
Run: python tests/benchmarks/xor_paths.py
"""

import json
import os
import time
from itertools import combinations
from pathlib import Path

from asked import words

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small matrices: more threads only wait for each other

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from slt.report.plots import plot_paths
from slt.studies.rashomon import bezier, explore, match_units, walk
from slt.studies.rashomon.minima import find_minima, mlp_residuals
from slt.studies.rashomon.paths import Connection

RESULT = Path(__file__).with_suffix(".json")
TOLERANCE, MINIMA = 1e-8, 6
XOR = {"inputs": np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), "targets": np.array([[0.0], [1], [1], [0]])}


def straight(objective, start, goal) -> Connection:
    points = start + np.linspace(0, 1, 201)[:, None] * (goal - start)
    loss = np.asarray(objective(jnp.asarray(points)))
    arc = np.linspace(0, np.linalg.norm(goal - start), 201)
    return Connection(points, loss, arc, bool(loss.max() <= TOLERANCE), float(loss.max()), 0)


def flip_signs(params: dict, reference: dict) -> dict:
    """tanh(-z) = -tanh(z): a unit and its mirror image are one function; take that nearer to the reference's unit."""
    first, last = params["layer_0"], params["layer_1"]
    there = reference["layer_0"], reference["layer_1"]
    agreement = (
        np.sum(first["weight"] * there[0]["weight"], 0)
        + first["bias"] * there[0]["bias"]
        + np.sum(last["weight"] * there[1]["weight"], 1)
    )
    sign = np.where(agreement < 0, -1.0, 1.0)
    return {
        "layer_0": {"weight": first["weight"] * sign, "bias": first["bias"] * sign},
        "layer_1": {"weight": last["weight"] * sign[:, None], "bias": last["bias"]},
    }


def matched(unravel, start, goal) -> np.ndarray:
    """The start with its units permuted and mirrored, in turns, until they lie nearest to the goal's."""
    near, reference = (jax.tree.map(np.asarray, unravel(jnp.asarray(w))) for w in (start, goal))
    for _ in range(4):
        near = flip_signs(match_units(near, reference), reference)
    return np.asarray(ravel_pytree(near)[0])


def pairs(width: int) -> tuple[dict, dict]:
    """Counts of every way of joining, and the objects for a closer look."""
    minima = find_minima(jax.random.key(0), (2, width, 1), XOR, num_runs=40)
    points = minima.flat[minima.settled & (minima.loss < 1e-20)][:MINIMA]
    like = jax.tree.map(lambda a: a[0], minima.params)
    residuals, unravel = mlp_residuals(like, XOR), ravel_pytree(like)[1]
    objective = jax.jit(jax.vmap(lambda w: 0.5 * jnp.sum(residuals(w) ** 2)))
    walks, again, barriers = {}, {}, {}
    for i, j in combinations(range(MINIMA), 2):
        walks[i, j] = walk(residuals, points[i], points[j])
        again[i, j] = walk(residuals, matched(unravel, points[i], points[j]), points[j])
        barriers[i, j] = straight(objective, points[i], points[j]).barrier
    counts = {
        "pairs": len(walks), "dim": points.shape[1], "straight_least_barrier": min(barriers.values()),
        "straight_median_barrier": float(np.median(list(barriers.values()))),
        "walks": sum(w.connected for w in walks.values()), "matched_walks": sum(w.connected for w in again.values()),
        "largest_loss_on_connected_walks": max((w.barrier for w in walks.values() if w.connected), default=None),
    }  # fmt: skip
    return counts, {"points": points, "residuals": residuals, "objective": objective, "walks": walks, "matched": again}


def close_look(found: dict, pair: tuple[int, int], max_tries: int) -> tuple[dict[str, Connection], dict]:
    """All the ways of joining one pair, and what each says."""
    start, goal = found["points"][pair[0]], found["points"][pair[1]]
    residuals = found["residuals"]
    ways = {
        "walk": found["walks"][pair],
        "tree": explore(jax.random.key(1), residuals, start, goal, max_tries=max_tries),
        "Bézier": bezier(
            jax.random.key(2), lambda w: 0.5 * jnp.sum(residuals(w) ** 2), start, goal, tolerance=TOLERANCE
        ),
        "straight": straight(found["objective"], start, goal),
    }
    said = {
        name: {"connected": way.connected, "barrier": way.barrier, "length": float(way.arc[-1]), "tried": way.tried,
               "distance_left": float(np.linalg.norm(way.points[-1] - goal))}
        for name, way in ways.items()
    }  # fmt: skip
    return ways, said | {"pair": pair, "distance": float(np.linalg.norm(goal - start))}


def main() -> None:
    words(__doc__)
    cpu, result = time.process_time(), {}
    with jax.enable_x64(True):
        for width, wanted, tries in ((4, True, 100), (2, False, 150)):
            counts, found = pairs(width)
            print(f"2-{width}-1 tanh: {counts}", flush=True)
            pair = next(p for p, way in found["walks"].items() if way.connected == wanted)
            ways, said = close_look(found, pair, tries)
            print("\n".join(f"  {name}: {value}" for name, value in said.items()), flush=True)
            result[str(width)] = counts | {"closer": said}
            name = RESULT.with_name(f"xor_paths_width_{width}.png")
            plot_paths(ways, tolerance=TOLERANCE).savefig(name, dpi=90)
    result["cpu_seconds"] = time.process_time() - cpu
    RESULT.write_text(json.dumps(result) + "\n")
    print(f"{result['cpu_seconds']:.0f} s of CPU")


if __name__ == "__main__":
    main()
