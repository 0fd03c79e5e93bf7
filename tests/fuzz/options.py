"""Options of every function, out of their type and range; potentials, arrays, polynomials and stored files."""
# ruff: noqa: E501 (tables: a case a line)

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import slt
from fuzz.case import GOOD, PAIR, RNG, Case, X, written
from slt import estimate, geometry, pac_bayes, samplers, stats, store
from slt._options import _plain


def square(w: jax.Array) -> jax.Array:
    return jnp.sum(w**2)


def _potential(**options: Any) -> slt.Target:
    return slt.potential_target(square, jnp.zeros(2), **({"nbeta": 100.0} | options))


def _regression(**options: Any) -> slt.Target:
    return slt.loss_target(lambda w, r: 0.5 * (r[1] - r[0] @ w) ** 2, jnp.zeros(3), (X, X[:, 0]), **options)


def _law() -> Any:
    return pac_bayes.gaussian_law(np.zeros(2), np.ones(2))


FUNCTIONS: dict[str, tuple[Callable, Callable[..., Any]]] = {
    "loss_target": (slt.loss_target, _regression),
    "potential_target": (slt.potential_target, _potential),
    "model_target": (slt.model_target, lambda **o: slt.model_target(PAIR, "cross_entropy", (X, GOOD), **o)),
    "polish": (slt.polish, lambda **o: slt.polish(lambda w, x: 0.5 * (x @ w) ** 2, jnp.ones(3), X, **o)),
    "estimate_llc": (slt.estimate_llc, lambda **o: slt.estimate_llc(_potential(), **o)),
    "estimate_criteria": (slt.estimate_criteria, lambda **o: slt.estimate_criteria(_regression(), **o)),
    "estimate_free_energy": (slt.estimate_free_energy, lambda **o: slt.estimate_free_energy(_potential(), **o)),
    "basin_volumes": (slt.basin_volumes, lambda **o: slt.basin_volumes(_potential(), **o)),
    "volume_ladder": (estimate.volume.volume_ladder, lambda **o: slt.volume_scaling(_potential(), **o)),
    "calibrate": (slt.calibrate, lambda **o: slt.calibrate(_regression(), **o)),
    "compare": (slt.compare, lambda **o: slt.compare(_potential(), **o)),
    "potential_subject": (estimate.potential_subject, lambda **o: estimate.potential_subject("x2y2", **o)),
    "sgld": (samplers.sgld, lambda **o: samplers.sgld(square, **({"step_size": 0.1} | o))),
    "leimkuhler_matthews": (samplers.leimkuhler_matthews, lambda **o: samplers.leimkuhler_matthews(square, **o)),
    "sgnht": (samplers.sgnht, lambda **o: samplers.sgnht(square, **({"step_size": 0.1, "friction": 1.0} | o))),
    "preconditioned": (samplers.preconditioned, lambda **o: samplers.preconditioned(square, **({"step_size": 0.1, "num_adapt": 3} | o))),
    "mala": (samplers.mala, lambda **o: samplers.mala(square, **o)),
    "hmc": (samplers.hmc, lambda **o: samplers.hmc(square, **({"step_size": 0.1, "num_integration_steps": 3} | o))),
    "nuts": (samplers.nuts, lambda **o: samplers.nuts(square, **({"step_size": 0.1} | o))),
    "mclmc": (samplers.mclmc, lambda **o: samplers.mclmc(square, **({"step_size": 0.1, "decoherence_length": 1.0} | o))),
    "tempered_smc": (samplers.tempered_smc, lambda **o: samplers.tempered_smc(square, square, lambda k: jax.random.normal(k, (2,)), **o)),
    "kl_bound": (pac_bayes.kl_bound, lambda **o: pac_bayes.kl_bound(0.1, 1.0, **({"num_data": 100} | o))),
    "holdout_bound": (pac_bayes.holdout_bound, lambda **o: pac_bayes.holdout_bound(3, **({"num_test": 100} | o))),
    "single_draw_bound": (pac_bayes.single_draw_bound, lambda **o: pac_bayes.single_draw_bound(0.1, 1.0, **({"num_data": 100} | o))),
    "bound_table": (pac_bayes.bound_table, lambda **o: pac_bayes.bound_table(**({"risk": 0.1, "kl": 1.0, "num_data": 100} | o))),
    "mlp_law": (pac_bayes.mlp_law, lambda **o: pac_bayes.mlp_law((3, 2), **o)),
    "gradient_descent": (pac_bayes.gradient_descent, lambda **o: pac_bayes.gradient_descent(square, **o)),
    "hessian_volumes": (geometry.hessian_volumes, lambda **o: geometry.hessian_volumes(np.ones(2), **({"threshold": 0.1} | o))),
    "llc": (stats.llc, lambda **o: stats.llc(RNG.normal(size=(4, 100)), **o)),
    "llc_two_temperature": (stats.llc_two_temperature, lambda **o: stats.llc_two_temperature(RNG.normal(size=(4, 100)), **({"nbeta": 1.0} | o))),
    "pointwise": (stats.pointwise, lambda **o: stats.pointwise(RNG.normal(size=(4, 100, 3)), **({"inverse_temperature": 1.0} | o))),
    "gibbs_kl": (pac_bayes.gibbs_kl, lambda **o: pac_bayes.gibbs_kl(np.arange(3.0), np.arange(3.0), **o)),
    "potential": (slt.potential, lambda **o: slt.potential(**o)),
}  # fmt: skip
ALLOWED = {
    ("*", "seed"): {0},
    ("*", "weight_decay"): {0, math.inf} - {math.inf},
    ("*", "localization"): {0},
    ("*", "adam_steps"): {0},
    ("*", "lbfgs_steps"): {0},
    ("*", "num_warmup"): {0},
    ("*", "decades"): {0},
    ("*", "max_nbeta"): set(),
    ("holdout_bound", "errors"): {0},
    ("bound_table", "risk"): {0},
    ("bound_table", "kl"): {0},
    ("bound_table", "second_moment"): {0},
    ("volume_ladder", "lowest"): {0},
    ("mlp_law", "bias_std"): {0},
    ("hessian_volumes", "zero_below"): {0},
}
"""Values outside of what is usual that a function takes on purpose."""


def option_cases() -> Iterator[Case]:
    """Every option with a plain annotation: of another type, NaN, and out of every reasonable range."""
    for where, (function, call) in FUNCTIONS.items():
        for name, parameter in inspect.signature(function).parameters.items():
            kinds = _plain(parameter.annotation)
            if not kinds or (
                parameter.kind is parameter.POSITIONAL_OR_KEYWORD and where not in ("potential", "bound_table")
            ):
                continue
            for value in _bad_values(kinds):
                allowed = ALLOWED.get((where, name), set()) | ALLOWED.get(("*", name), set())
                if isinstance(value, int | float) and any(value == a for a in allowed):
                    continue
                yield Case(
                    "option", f"{where}({name}={value!r})", lambda _, c=call, n=name, v=value: c(**{n: v}), word=name
                )


def _bad_values(kinds: tuple[type, ...]) -> list[Any]:
    values: list[Any] = [[], "nonsense", 1j]
    if type(None) not in kinds:
        values.append(None)
    if int in kinds or float in kinds:
        values += [math.nan, -1, math.inf]
    if int in kinds and float not in kinds:
        values += [1.5, -(10**30)]
    if str in kinds and float not in kinds and int not in kinds:
        values += [3]
    return values


def potential_cases() -> Iterator[Case]:
    potentials = {
        "a vector": lambda w: w**2,
        "a tuple": lambda w: (jnp.sum(w), 1),
        "None": lambda w: None,
        "an integer": lambda w: jnp.sum(w > 0),
        "complex": lambda w: jnp.sum(w) * 1j,
        "NaN": lambda w: jnp.sum(w) * jnp.nan,
        "infinite": lambda w: jnp.log(jnp.sum(w**2)),
        "failing": lambda w: w @ jnp.ones(7),
        "a branch": lambda w: 0.0 if w[0] > 0 else 1.0,
        "NumPy": lambda w: float(np.sum(np.asarray(w))),
    }
    for name, potential in potentials.items():
        yield Case("potential", name, lambda _, p=potential: slt.potential_target(p, jnp.zeros(2), nbeta=10.0))
    yield Case("potential", "no function", lambda _: slt.potential_target("x**2", jnp.zeros(2), nbeta=10.0))
    boxes = {"inverted": (1.0, -1.0), "outside": (1.0, 2.0), "empty": (0.0, 0.0), "NaN": (np.nan, 1.0), "infinite": (-np.inf, np.inf),
             "one side": (1.0,), "number": 3.0, "text": "ab", "wrong shape": (np.zeros(3), np.ones(3)), "None": (None, 1.0)}  # fmt: skip
    for name, box in boxes.items():
        yield Case("box", name, lambda _, b=box: _potential(box=b), word="box")


ARRAYS = {
    "text": np.array([["a", "b"]] * 2),
    "objects": np.array([[{}, 1]] * 2),
    "NaN": np.full((4, 40), np.nan),
    "infinite": np.full((4, 40), np.inf),
    "empty": np.zeros((0, 0)),
    "no draws": np.zeros((4, 0)),
    "a number": 3.0,
    "None": None,
    "complex": np.ones((4, 40), complex),
    "four axes": np.ones((2, 2, 2, 2)),
    "ragged": [[1.0], [1.0, 2.0]],
    "masked": np.ma.masked_array(np.ones((4, 40)), np.eye(4, 40)),
}


def array_cases() -> Iterator[Case]:
    takers = {
        "llc": lambda a: stats.llc(a, nbeta=1.0),
        "llc_variance": lambda a: stats.llc_variance(a, nbeta=1.0),
        "llc_two_temperature": lambda a: stats.llc_two_temperature(a, nbeta=1.0),
        "replicate_mean": stats.replicate_mean,
        "log_mean": stats.log_mean,
        "pointwise": lambda a: stats.pointwise(a, inverse_temperature=1.0),
        "psis_loo": stats.psis_loo,
        "numerical_rank": geometry.numerical_rank,
        "hessian_volumes": lambda a: geometry.hessian_volumes(a, threshold=0.1),
        "gibbs_kl": lambda a: pac_bayes.gibbs_kl(a, a, nbeta=1.0),
    }
    for name, array in ARRAYS.items():
        for taker, call in takers.items():
            yield Case("array", f"{taker}: {name}", lambda _, c=call, a=array: c(a))


def polynomial_cases() -> Iterator[Case]:
    texts = ["", " ", "x +", "(x", "x)", "sin(x)", "x**y", "x**-1", "x**0.5", "1/x", "1/0", "x = y", "x < y", "None", "[x]", "{}", "x; y",
             "__import__('os')", "lambda: x", "x..y", "'x'", "x if y else z", "∂x", "x!", "5", "x + 1", "-x**2", "nan*x", "inf*x"]  # fmt: skip
    for text in texts:
        yield Case("polynomial", repr(text), lambda _, t=text: slt.exact_rlct(t))
    for name, value in {
        "None": None,
        "a number": 3,
        "no polynomials": [],
        "a list of numbers": [1, 2],
        "a function": square,
    }.items():
        yield Case("polynomial", name, lambda _, v=value: slt.exact_rlct(v))
    for name, at in {
        "text": "x",
        "unknown": {"q": 1},
        "NaN": {"x": math.nan},
        "no zero": {"x": 1},
        "a word": {"x": "a"},
        "too many": [0, 0],
    }.items():
        yield Case("polynomial", f"at: {name}", lambda _, a=at: slt.exact_rlct("x**2", at=a))


def store_cases() -> Iterator[Case]:
    paths = {
        "nowhere": lambda folder: folder / "nowhere.zarr",
        "another suffix": lambda folder: folder / "a.png",
        "no suffix": lambda folder: folder / "a",
        "empty netCDF": written("a.nc", b""),
        "text netCDF": written("a.nc", b"hello"),
        "empty folder": lambda folder: [(folder / "a.zarr").mkdir(), folder / "a.zarr"][1],
    }
    for name, make in paths.items():
        yield Case("store", f"load: {name}", lambda folder, m=make: store.load(m(folder)))
        yield Case("store", f"load_free_energy: {name}", lambda folder, m=make: store.load_free_energy(m(folder)))
    for name, results in {"nothing": [], "no results": [1], "None": None}.items():
        yield Case("store", f"save: {name}", lambda folder, r=results: store.save(r, folder / "a.nc"))
    yield Case("store", "save: another suffix", lambda folder: store.save([], folder / "a.png"))
