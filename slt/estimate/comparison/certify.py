"""Certificates of one model: what PAC-Bayes and a test set guarantee about its error, by every posterior at hand.

Four posteriors: one draw of the law of initial parameters, pushed forward by gradient descent; a Gaussian about w*,
optimised, with the prior where training started; the same with a prior trained on part of the data; and w* itself, on
the test set alone. One that refuses says why.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from slt._types import Batch, Key, Params
from slt.estimate.comparison.certified import Certificates, Certified, Stopped
from slt.estimate.comparison.subjects import Subject
from slt.geometry.curvature import DENSE_DIM
from slt.pac_bayes.certificate import Certificate, bound_table
from slt.pac_bayes.gaussian import PerDatum, fit_gaussian, gaussian_certificate, posterior_risk, scaled_prior_kl
from slt.pac_bayes.holdout import holdout_bound, single_draw_bound
from slt.pac_bayes.kl import KL
from slt.pac_bayes.laws import unflatten
from slt.pac_bayes.pushforward import drawn_log_ratio, push_forward
from slt.pac_bayes.steps import gradient_descent
from slt.targets.gaussian import Gaussian, gaussian_law
from slt.targets.networks import train as train_network

CHOSEN = "kl, exact constant"
"""The family of all certificates here, chosen before any data are seen."""
TEST_DRAWS = 500
"""Draws behind a plain mean on the test set."""


class Flat(NamedTuple):
    """A subject seen by flat parameters.

    loss: of each datum [nats]. surrogate: 1 - exp(-loss), in [0, 1]. errors: zero or one. law: of initial parameters.
    start: where training started, None where nobody says. minimum: w*. unravel: back to the model's own parameters.
    """

    loss: PerDatum
    surrogate: PerDatum
    errors: PerDatum
    law: Gaussian
    start: Float[np.ndarray, " dim"] | None
    minimum: Float[np.ndarray, " dim"]
    unravel: Callable[[Array], Params]
    rows: Batch

    @property
    def num_data(self) -> int:
        """Training data n."""
        return jax.tree.leaves(self.rows)[0].shape[0]

    @property
    def prior(self) -> Gaussian:
        """The law of initial parameters, centred where training started."""
        return self.law if self.start is None else self.law._replace(mean=self.start)

    def error(self, w: Any, rows: Batch) -> float:
        """Share of wrong labels at one w; NaN without rows."""
        return math.nan if rows is None else float(np.mean(jax.jit(self.errors)(jnp.asarray(w, jnp.float32), rows)))


def flattened(subject: Subject) -> Flat:
    """The functions that certificates need, of flat parameters.

    Raises:
        ValueError: a subject without data, or without a zero-one loss.
    """
    target = subject.target
    if subject.errors is None or target.log_likelihood is None:
        raise ValueError("A certificate needs data and a loss in [0, 1]: give the subject `errors`.")
    log_likelihood, errors, unravel = target.log_likelihood, subject.errors, unflatten(target.minimum)
    minimum = _flat(target.minimum)

    def loss(w: Any, rows: Batch) -> Array:
        return -log_likelihood(unravel(w), (rows, jnp.zeros(jax.tree.leaves(rows)[0].shape[0])))

    return Flat(
        loss=loss,
        surrogate=lambda w, rows: -jnp.expm1(-loss(w, rows)),
        errors=lambda w, rows: errors(unravel(w), rows),
        law=subject.prior or gaussian_law(np.zeros(minimum.size), 1.0),
        start=None if subject.initial is None else _flat(subject.initial),
        minimum=minimum,
        unravel=unravel,
        rows=target.data[0],
    )


def certify(
    subject: Subject,
    *,
    seed: int = 0,
    delta: float = 0.05,
    objective: str = "kl",
    steps: int = 3000,
    learning_rate: float = 1e-2,
    train_steps: int = 1500,
    num_draws: int = 4000,
    prior_share: float = 0.5,
    step_size: float = 0.2,
    times: Sequence[int] = (0, 10, 20, 40, 80, 160),
    say: Callable[[str], None] = lambda _: None,
) -> Certificates:
    """All certificates of one model, each with probability 1 - delta.

    Args:
        subject: with `errors`; `test_data`, `prior`, `initial` and `train` make more of it. The prior is the law that
            initial parameters are drawn from, N(0, I) unless given; of a learnt prior, training starts from `initial`,
            or a draw of that law, and is `train`, or Adam on the target's loss.
        seed: of everything.
        objective, steps, learning_rate: of `fit_gaussian`. num_draws: of a posterior, all paid for.
        train_steps: of Adam, where the subject has no trainer of its own.
        prior_share: part of the data that the learnt prior sees; it does not count in its bound.
        step_size, times: of the gradient descent of the pushforward, which may stop at any of these; all are paid for.
        say: is told what is being done.

    Raises:
        ValueError: a subject without data or zero-one loss, or a delta or share out of range.
    """
    if not (0 < delta < 1 and 0 < prior_share < 1):
        raise ValueError(f"certify: delta is {delta}, prior_share {prior_share}; both lie strictly between 0 and 1.")
    model = flattened(subject)
    draw, descend, fit, learn, shuffle = jax.random.split(jax.random.key(seed), 5)
    order = jax.random.permutation(shuffle, model.num_data)  # the learnt prior sees the first rows
    model = model._replace(rows=jax.tree.map(lambda x: x[order], model.rows))
    options = {"objective": objective, "steps": steps, "learning_rate": learning_rate, "initial_std": 0.1}
    shared = {"delta": delta, "num_draws": num_draws, "test": subject.test_data, "options": options}
    rows, curve, table = [], [], []

    def pushforward() -> Certified:
        found, seen = certify_pushforward(
            (draw, descend), model, delta=delta, step_size=step_size, times=times, test=subject.test_data
        )
        curve.extend(seen)
        return found

    def gaussian() -> Certified:
        found, families = certify_gaussian(fit, model, model.minimum, model.prior, name="Gaussian", **shared)
        table.extend(families.rows)
        return found

    def learnt() -> Certified:
        train_key, fit_key = jax.random.split(learn)
        seen = int(prior_share * model.num_data)
        center = trained(train_key, subject, model, seen, train_steps)
        prior = model.law._replace(mean=center)
        return certify_gaussian(
            fit_key, model, center, prior, name="Gaussian, learnt prior", num_prior_data=seen, **shared
        )[0]

    def held_out() -> Certified:
        return certify_held_out(model, subject.test_data, delta=delta)

    for name, run in (
        ("pushforward, one draw", pushforward), ("Gaussian", gaussian), ("Gaussian, learnt prior", learnt),
        ("w* itself", held_out),
    ):  # fmt: skip
        say(f"certificate: {name}")
        rows.append(_timed(name, run, 1 - delta))
    return Certificates(rows, curve, table, [], [])


def certify_pushforward(
    keys: tuple[Key, Key], model: Flat, *, delta: float, step_size: float, times: Sequence[int], test: Batch | None
) -> tuple[Certified, list[Stopped]]:
    """One training from a random start, stopped at the best of a grid of times, each of which is paid for.

    Raises:
        ValueError: more than 5000 parameters, or no time without a step before it that is not one to one.
    """
    if model.minimum.size > DENSE_DIM:
        raise ValueError(
            f"The pushforward takes the dense Hessian of every step, which is formed up to {DENSE_DIM} parameters; "
            f"these are {model.minimum.size}."
        )
    training = gradient_descent(lambda w, b: jnp.mean(model.loss(w, b)), step_size=step_size)
    run = push_forward(keys[1], model.law.draw(keys[0], 1), training, model.rows, law=model.law, times=times)
    curve = []
    for i, (step, w, ratio, loss) in enumerate(
        zip(run.times, run.positions[0], run.log_ratio[0], run.loss[0], strict=True)
    ):
        error, bound = model.error(w, model.rows), math.nan
        if math.isfinite(ratio):
            paid = delta / len(run.times)
            bound = single_draw_bound(error, drawn_log_ratio(run, index=i), num_data=model.num_data, delta=paid)
        curve.append(Stopped(int(step), float(loss), error, model.error(w, test), float(ratio), float(bound)))
    best = min(curve, key=lambda stop: stop.bound if math.isfinite(stop.bound) else math.inf)
    if not math.isfinite(best.bound):
        drawn_log_ratio(run, index=0)  # refuses, with the step and the remedy
    note = f"stopped at {best.steps} steps, {len(curve)} times paid for; {run.note}, one to one along its path"
    return Certified(
        "pushforward, one draw", best.bound, 1 - delta, "single-draw kl", best.train_error, best.test_error,
        best.log_ratio, model.num_data, 0.0, note,
    ), curve  # fmt: skip


def certify_gaussian(
    key: Key,
    model: Flat,
    start: Float[np.ndarray, " dim"],
    prior: Gaussian,
    *,
    name: str,
    delta: float,
    num_draws: int,
    test: Batch | None,
    options: dict[str, Any],
    num_prior_data: int = 0,
) -> tuple[Certified, Certificate]:
    """A Gaussian posterior, trained on its bound from `start`; and all bounds on it side by side.

    Raises:
        ValueError: as `optimised`.
    """
    fit_key, draw_key, test_key = jax.random.split(key, 3)
    posterior, kl = optimised(
        fit_key, model, start, prior, num_data=model.num_data - num_prior_data, delta=delta, **options
    )
    found = gaussian_certificate(
        draw_key, model.errors, posterior, kl, model.rows, num_prior_data=num_prior_data, num_draws=num_draws,
        delta=delta, families=[CHOSEN],
    )  # fmt: skip
    unseen = jax.tree.map(lambda x: x[num_prior_data:], model.rows)
    risk = float(posterior_risk(draw_key, model.errors, posterior, unseen, num_draws=num_draws).mean())
    table = bound_table(risk, kl, num_data=found.num_data, delta=delta, num_draws=num_draws)
    wrong = math.nan
    if test is not None:
        wrong = float(posterior_risk(test_key, model.errors, posterior, test, num_draws=TEST_DRAWS).mean())
    seen = f"prior trained on {num_prior_data} data, which do not count; " if num_prior_data else ""
    note = f"{seen}{kl.note}; {num_draws} draws"
    return Certified(
        name, found.bound, 1 - delta, found.family, found.risk, wrong, found.kl, found.num_data, 0.0, note
    ), table


def certify_held_out(model: Flat, test: Batch | None, *, delta: float) -> Certified:
    """The trained network itself, on the test set alone.

    Raises:
        ValueError: there is none.
    """
    if test is None:
        raise ValueError("There are no test data: set rows aside, e.g. by data.num_test.")
    error, count = model.error(model.minimum, test), jax.tree.leaves(test)[0].shape[0]
    bound = float(holdout_bound(round(error * count), count, delta=delta))
    return Certified(
        "w* itself", bound, 1 - delta, "test set, Clopper-Pearson", model.error(model.minimum, model.rows), error,
        math.nan, count, 0.0, "no prior; the test set is used up by one look",
    )  # fmt: skip


def optimised(
    key: Key, model: Flat, start: Float[np.ndarray, " dim"], prior: Gaussian, *, num_data: int, **options: Any
) -> tuple[Gaussian, KL]:
    """The Gaussian posterior that `fit_gaussian` finds, and its KL to the prior, whose scale is paid for.

    Raises:
        ValueError: a training that left the finite numbers, or what `fit_gaussian` refuses.
    """
    posterior = fit_gaussian(
        key, model.surrogate, start, prior, model.rows, num_data=num_data, free_scale=True, **options
    )
    if not (np.isfinite(posterior.mean).all() and np.isfinite(posterior.std).all()):
        raise ValueError(
            f"The bound could not be minimised: its training left the finite numbers (n = {num_data}). "
            "Take more data, a smaller learning_rate, or another objective."
        )
    return posterior, scaled_prior_kl(posterior, prior)[0]


def trained(key: Key, subject: Subject, model: Flat, num_data: int, steps: int) -> Float[np.ndarray, " dim"]:
    """Parameters trained on the first `num_data` rows, by the subject's own trainer or by Adam."""
    start_key, train_key = jax.random.split(key)
    start = model.law.draw(start_key, 1)[0] if model.start is None else model.start
    rows = jax.tree.map(lambda x: x[:num_data], model.rows)
    if subject.train is not None:
        return _flat(subject.train(train_key, model.unravel(jnp.asarray(start, jnp.float32)), rows))
    first = jnp.asarray(start, jnp.float32)
    found = train_network(train_key, first, model.loss, rows, steps=steps, batch_size=256, learning_rate=3e-3)
    return np.asarray(found, np.float64)


def _timed(name: str, run: Callable[[], Certified], confidence: float) -> Certified:
    """With the seconds it took; a refusal is an answer."""
    started = time.perf_counter()
    try:
        found = run()
    except ValueError as error:
        found = Certified(name, math.nan, confidence, "none", math.nan, math.nan, math.nan, 0, 0.0, str(error))
    return found._replace(seconds=time.perf_counter() - started)


def _flat(params: Params) -> Float[np.ndarray, " dim"]:
    return np.asarray(ravel_pytree(params)[0], np.float64)
