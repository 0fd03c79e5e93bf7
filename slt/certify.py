"""Certificates for a small classifier of two classes, and three measures of its minimum side by side: `slt bound`."""

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slt._types import Batch, Params
from slt.config import BoundConfig
from slt.estimate import estimate_llc
from slt.geometry.volume import Prior, log_fuzzy_ellipsoid
from slt.pac_bayes.bounds import holdout_bound, single_draw_bound
from slt.pac_bayes.certificate import FAMILIES, Certificate, bound_table
from slt.pac_bayes.gaussian import fit_gaussian, gaussian_certificate, posterior_risk, scaled_prior_kl
from slt.pac_bayes.kl import KL
from slt.pac_bayes.laws import Law, mlp_law, unflatten
from slt.pac_bayes.pushforward import drawn_log_ratio, push_forward
from slt.pac_bayes.report import BoundReport, Certified, FamilyRow, Measured, Stopped
from slt.pac_bayes.steps import gradient_descent
from slt.targets import networks
from slt.targets.data import Data, Split, load_npz, split
from slt.targets.polish import polish
from slt.targets.target import loss_target

CHOSEN = "kl, exact constant"
"""The family of all certificates here, chosen before any data are seen."""


class Problem(NamedTuple):
    """A network with its initial law, and two classes to tell apart. All functions take flat parameters and a batch.

    loss: cross-entropy of each datum [nats]. surrogate: probability of the wrong label. errors: zero or one.
    """

    law: Law
    data: Split
    loss: Callable[[Any, Batch], Float[Array, " batch"]]
    surrogate: Callable[[Any, Batch], Float[Array, " batch"]]
    errors: Callable[[Any, Batch], Float[Array, " batch"]]

    @property
    def num_data(self) -> int:
        """Training data n."""
        return len(self.data.train["targets"])

    def error(self, w: Any, part: Data) -> float:
        """Share of wrong labels at one w."""
        return float(np.mean(jax.jit(self.errors)(jnp.asarray(w, jnp.float32), part)))


def binary_problem(
    data: Split, hidden: tuple[int, ...], *, weight_scale: float = 1.0, bias_std: float = 0.3
) -> Problem:
    """A tanh network for labels 0 and 1 whose initial law is normal, biases included, so that it has a density."""
    widths = (data.train["inputs"].shape[1], *hidden, 2)
    like: Params = jax.eval_shape(lambda key: networks.mlp_init(key, widths), jax.random.key(0))
    unravel = unflatten(like)

    def loss(w: Any, batch: Batch) -> Array:
        return networks.cross_entropy(networks.mlp_apply(unravel(w), batch["inputs"]), batch["targets"])

    def errors(w: Any, batch: Batch) -> Array:
        logits = networks.mlp_apply(unravel(w), batch["inputs"])
        return (jnp.argmax(logits, -1) != batch["targets"]).astype(jnp.float32)

    law = mlp_law(widths, weight_scale=weight_scale, bias_std=bias_std)
    return Problem(law, data, loss, lambda w, batch: -jnp.expm1(-loss(w, batch)), errors)


def binary_data(config: BoundConfig) -> Split:
    """The two classes of the configuration, shuffled, a share of the training labels made random where asked."""
    given = config.data
    rows = load_npz(given.file, scale=given.scale)
    rows["targets"] = np.isin(rows["targets"], given.positive).astype(np.int32)
    train, test = split(rows, given.num_test, seed=given.split_seed)
    rng = np.random.default_rng(given.split_seed)
    order = rng.permutation(len(train["targets"]))
    train = {name: values[order] for name, values in train.items()}
    return Split(randomised(train, given.label_noise, rng), test)


def randomised(data: Data, share: float, rng: np.random.Generator) -> Data:
    """That share of the labels drawn anew by a fair coin."""
    noisy = rng.uniform(size=len(data["targets"])) < share
    coin = rng.integers(0, 2, len(data["targets"]))
    return data | {"targets": np.where(noisy, coin, data["targets"]).astype(np.int32)}


def run_bounds(config: BoundConfig, *, say: Callable[[str], None] = lambda _: None) -> BoundReport:
    """All certificates and measures of a configuration; `say` is told what is being done.

    Raises:
        ValueError: data, a network or settings that a certificate refuses.
    """
    data = binary_data(config)
    problem = _problem(data, config.network.hidden, config)
    say("pushforward of the initialisation")
    stopped, curve = certify_pushforward(problem, config)
    say("Gaussian posterior")
    gaussian, table = certify_gaussian(problem, config)
    say("data-dependent prior")
    learnt = certify_learnt_prior(problem, config)
    held_out = certify_held_out(problem, config)
    measures = []
    for hidden in config.measures.hidden:
        say(f"three measures, {hidden} hidden units")
        measures.append(measure(_problem(data, (hidden,), config), config, name=f"{hidden} hidden units"))
    families = [FamilyRow(*row) for row in table.rows]
    return BoundReport([stopped, gaussian, learnt, held_out], curve, families, measures)


def certify_pushforward(problem: Problem, config: BoundConfig) -> tuple[Certified, list[Stopped]]:
    """One training from a random start, stopped at the best of a grid of times, each of which is paid for."""
    started, c = time.perf_counter(), config.certificate
    training = gradient_descent(lambda w, b: jnp.mean(problem.loss(w, b)), step_size=c.step_size)
    start = problem.law.draw(jax.random.key(config.run.seed), 1)
    run = push_forward(
        jax.random.key(config.run.seed), start, training, problem.data.train, law=problem.law, times=c.times
    )
    curve = []
    for i, (steps, w, ratio, loss) in enumerate(
        zip(run.times, run.positions[0], run.log_ratio[0], run.loss[0], strict=True)
    ):
        error, bound = problem.error(w, problem.data.train), math.nan
        if math.isfinite(ratio):
            log_ratio = drawn_log_ratio(run, index=i)
            bound = float(
                single_draw_bound(error, log_ratio, num_data=problem.num_data, delta=c.delta / len(run.times))
            )
        test = problem.error(w, problem.data.test)
        curve.append(Stopped(int(steps), float(loss), error, test, float(ratio), bound))
    best = min(curve, key=lambda stop: stop.bound if math.isfinite(stop.bound) else math.inf)
    if not math.isfinite(best.bound):
        drawn_log_ratio(run, index=0)  # refuses, with the step and the remedy
    note = f"stopped at {best.steps} steps, {len(curve)} times paid for; {run.note}, one to one along its path"
    certified = Certified(
        "pushforward, one draw", best.bound, 1 - c.delta, "single-draw kl", best.train_error, best.test_error,
        best.log_ratio, problem.num_data, time.perf_counter() - started, note,
    )  # fmt: skip
    return certified, curve


def certify_gaussian(problem: Problem, config: BoundConfig) -> tuple[Certified, Certificate]:
    """A Gaussian posterior around a trained net, prior at its initialisation; and all bounds on it side by side."""
    started, c = time.perf_counter(), config.certificate
    start = problem.law.draw(jax.random.key(config.run.seed), 1)[0]
    prior = problem.law._replace(mean=start)
    trained = train_flat(problem, start, problem.data.train, steps=c.train_steps)
    posterior, kl = _optimised(problem, config, trained, prior, problem.num_data)
    draw_key = jax.random.key(config.run.seed + 2)
    found = gaussian_certificate(
        draw_key, problem.errors, posterior, kl, problem.data.train, num_draws=c.num_draws, delta=c.delta,
        families=[CHOSEN],
    )  # fmt: skip
    row = _certified("Gaussian", found, posterior, problem, config, started, f"{kl.note}; {c.num_draws} draws")
    risk = float(posterior_risk(draw_key, problem.errors, posterior, problem.data.train, num_draws=c.num_draws).mean())
    table = bound_table(
        risk, kl, num_data=problem.num_data, delta=c.delta, num_draws=c.num_draws, families=list(FAMILIES)
    )
    return row, table


def certify_learnt_prior(problem: Problem, config: BoundConfig) -> Certified:
    """The same around a prior trained on the first part of the data; only the rest counts."""
    started, c = time.perf_counter(), config.certificate
    seen = int(c.prior_share * problem.num_data)
    first = {name: part[:seen] for name, part in problem.data.train.items()}
    start = problem.law.draw(jax.random.key(config.run.seed), 1)[0]
    center = train_flat(problem, start, first, steps=c.train_steps)
    prior = problem.law._replace(mean=center)
    posterior, kl = _optimised(problem, config, center, prior, problem.num_data - seen)
    found = gaussian_certificate(
        jax.random.key(config.run.seed + 2), problem.errors, posterior, kl, problem.data.train, num_prior_data=seen,
        num_draws=c.num_draws, delta=c.delta, families=[CHOSEN],
    )  # fmt: skip
    note = f"prior trained on {seen} data, which do not count; {c.num_draws} draws"
    return _certified("Gaussian, learnt prior", found, posterior, problem, config, started, note)


def certify_held_out(problem: Problem, config: BoundConfig) -> Certified:
    """The trained network itself, on the test set alone."""
    started, c = time.perf_counter(), config.certificate
    start = problem.law.draw(jax.random.key(config.run.seed), 1)[0]
    trained = train_flat(problem, start, problem.data.train, steps=c.train_steps)
    test = problem.data.test
    error, count = problem.error(trained, test), len(test["targets"])
    bound = float(holdout_bound(round(error * count), count, delta=c.delta))
    return Certified(
        "trained network", bound, 1 - c.delta, "test set, Clopper-Pearson", problem.error(trained, problem.data.train),
        error, math.nan, count, time.perf_counter() - started, "no prior; the test set is used up by one look",
    )  # fmt: skip


def measure(problem: Problem, config: BoundConfig, *, name: str) -> Measured:
    """KL and bound, basin volume, learning coefficient and free energy of one network at the posterior mode.

    In coordinates in which the initial law is the standard normal, about 0 or a start: so all three see one prior.
    """
    c, law = config.certificate, problem.law
    center, scale = jnp.asarray(law.mean, jnp.float32), jnp.asarray(law.std, jnp.float32)

    def loss(u: Array, batch: Batch) -> Array:
        return problem.loss(center + scale * u, batch)

    train, n = problem.data.train, problem.num_data
    start = law.whiten(law.draw(jax.random.key(config.run.seed), 1)[0])
    mode = polish(loss, jnp.asarray(start, jnp.float32), train, weight_decay=1 / n, adam_steps=c.train_steps,
                  lbfgs_steps=500, learning_rate=0.03)  # fmt: skip
    w = law.mean + law.std * np.asarray(mode, np.float64)
    posterior, kl = _optimised(problem, config, w, law, n)
    found = gaussian_certificate(
        jax.random.key(config.run.seed + 2), problem.errors, posterior, kl, train, num_draws=c.num_draws,
        delta=c.delta, families=[CHOSEN],
    )  # fmt: skip
    target = loss_target(loss, mode, train, weight_decay=1 / n)
    result = estimate_llc(target, seed=config.run.seed, max_gradients=config.measures.max_gradients)
    llc, train_loss = result.estimates["llc"], target.loss_at_minimum
    energy = n * train_loss + llc.value * math.log(n)
    return Measured(
        name, law.mean.size, train_loss, problem.error(w, problem.data.test), found.kl, found.bound,
        volume_bits(loss, mode, train, nbeta=target.nbeta), llc.value, llc.mcse, energy,
        llc.mcse * math.log(n), result.verdict.status,
    )  # fmt: skip


def volume_bits(loss: Callable, mode: Array, data: Data, *, nbeta: float) -> float:
    r"""$-\log_2 \mathbb{E}_{\mathcal{N}(0, I)} \exp(-\frac{n\beta}{2}(u-u^*)^\top H (u-u^*))$, h < 0 cut to 0."""
    with jax.enable_x64(True):
        point, rows = jnp.asarray(mode, jnp.float64), jax.tree.map(jnp.asarray, data)
        matrix = np.asarray(jax.jit(jax.hessian(lambda u, d: jnp.mean(loss(u, d))))(point, rows))
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    prior = Prior(1.0, vectors.T @ np.asarray(mode, np.float64))
    return -log_fuzzy_ellipsoid(np.maximum(values, 0.0), prior, threshold=1 / nbeta) / math.log(2)


def train_flat(problem: Problem, start: Float[np.ndarray, " dim"], data: Data, *, steps: int) -> np.ndarray:
    """Adam on the cross-entropy of all data, from flat parameters."""
    first = jnp.asarray(start, jnp.float32)
    key = jax.random.key(0)
    found = networks.train(key, first, problem.loss, data, steps=steps, batch_size=256, learning_rate=3e-3)
    return np.asarray(found, np.float64)


def _optimised(problem: Problem, config: BoundConfig, start: np.ndarray, prior: Law, num_data: int) -> tuple[Law, KL]:
    c = config.certificate
    posterior = fit_gaussian(
        jax.random.key(config.run.seed + 1), problem.surrogate, start, prior, problem.data.train, num_data=num_data,
        objective=c.objective, delta=c.delta, steps=c.steps, learning_rate=c.learning_rate, initial_std=0.1,
        free_scale=True,
    )  # fmt: skip
    return posterior, scaled_prior_kl(posterior, prior)[0]


def _certified(
    name: str, found: Certificate, posterior: Law, problem: Problem, config: BoundConfig, started: float, note: str
) -> Certified:
    key = jax.random.key(config.run.seed + 3)
    test = float(posterior_risk(key, problem.errors, posterior, problem.data.test, num_draws=500).mean())
    return Certified(
        name, found.bound, 1 - found.delta, found.family, found.risk, test, found.kl, found.num_data,
        time.perf_counter() - started, note,
    )  # fmt: skip


def _problem(data: Split, hidden: tuple[int, ...], config: BoundConfig) -> Problem:
    net = config.network
    return binary_problem(data, hidden, weight_scale=net.weight_scale, bias_std=net.bias_std)
