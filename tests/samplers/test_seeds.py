"""No two uses of a seed share a stream, and no two seeds; the source has no other way to a key."""

import ast
from itertools import product
from pathlib import Path

import numpy as np

import slt
from slt.samplers.seeds import derived_seed

ROOT = Path(slt.__file__).parent
CONSTANT = {
    "slt/app/problem.py:_trained", "slt/samplers/run.py:_init", "slt/samplers/mcmc.py:mclmc",
    "slt/samplers/mcmc.py:init", "slt/samplers/tempering.py:tempered_smc", "slt/store/cache.py:fingerprint",
    "slt/targets/slopes.py:_along",
    "slt/samplers/splitting.py:_flatten", "slt/pac_bayes/steps.py:curvature_reach", "slt/pac_bayes/steps.py:reach",
    "slt/targets/prior.py:_mean_curvature", "slt/targets/prior.py:_evenness",
}  # fmt: skip
"""Functions whose key shapes an array or starts an iteration that forgets it; the models of NumPyro's are beside."""


def functions():
    for file in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                yield f"slt/{file.relative_to(ROOT)}:{function.name}", function


def named(node):
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def test_uses_points_and_seeds_have_streams_of_their_own():
    uses = [("rays",), ("ladder",), ("start",), (0.0,), (1.0,), (1e-3,), ("0.0",), ("a", "b"), ("a b",), ("b", "a")]
    seeds = {derived_seed(seed, *use) for seed, use in product(range(50), uses)}
    assert len(seeds) == 50 * len(uses)
    assert derived_seed(3, 1) == derived_seed(3, 1.0) == derived_seed(np.int64(3), np.float64(1))
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_bits_of_derived_seeds_are_even():
    """Means of each bit over 2000 seeds, within 5 standard errors: a false failure once in 50,000."""
    bits = np.array([[derived_seed(seed, "x") >> k & 1 for k in range(32)] for seed in range(2000)])
    assert np.abs(bits.mean(0) - 0.5).max() < 5 * 0.5 / 2000**0.5


def test_no_seed_is_made_by_addition():
    """seed + 1 is the seed of a neighbour."""
    found = [
        f"{name}: {ast.unparse(node)}"
        for name, function in functions()
        for node in ast.walk(function)
        if isinstance(node, ast.BinOp)
        and any(ast.unparse(side).split(".")[-1] == "seed" for side in (node.left, node.right))
    ]
    assert not found


def test_a_key_is_of_a_seed_or_stands_in_the_list():
    found = {
        name
        for name, function in functions()
        for node in ast.walk(function)
        if named(node) in ("jax.random.key", "jax.random.PRNGKey", "random.key")
        and isinstance(node.args[0], ast.Constant)
    }
    assert {name for name in found if "numpyro" not in name} <= CONSTANT


def test_a_seed_makes_one_key_in_a_function():
    """Two keys of one seed are one key used twice."""
    found = []
    for name, function in functions():
        calls = [ast.unparse(node) for node in ast.walk(function) if named(node) == "jax.random.key"]
        found += [name for call in set(calls) if "seed" in call and calls.count(call) > 1]
    assert not found
