r"""Are two minima connected inside the set? Walks with projection, rapidly exploring trees, and Bézier curves.

The set is {w: r(w) = 0} for the residuals r of a perfect fit; its tangent space at w is the kernel of J = dr/dw, the
zero-eigenspace of the Gauss-Newton Hessian. A step along the tangent is followed by minimum-norm Gauss-Newton steps
w - J^+ r(w) back to the set.

Source: trees: LaValle & Kuffner 2001, with projection: Jaillet & Porta 2013; curves: Garipov et al. 2018,
arXiv:1802.10026.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from scipy.optimize import linear_sum_assignment
from scipy.special import comb

from slt._types import Key, Scalar

Residuals = Callable[[Float[Array, " dim"]], Float[Array, " residual"]]
PROJECTIONS = 12
"""Most Gauss-Newton steps back to the set after each step along it; two or three are enough as a rule."""
HALVINGS = 8
"""How often a segment between two points is halved, each new point projected, until its middle is in the set too."""


class Connection(NamedTuple):
    """A chain of points from one minimum towards another.

    points: dims (point, dim). loss: the half squared residual |r|^2/2 at each, or the objective of a curve [nats].
    arc: length travelled. connected: the end was reached below the tolerance. barrier: the largest loss along it,
    straight segments between the points included. tried: points that were grown in all.
    """

    points: Float[np.ndarray, "point dim"]
    loss: Float[np.ndarray, " point"]
    arc: Float[np.ndarray, " point"]
    connected: bool
    barrier: float
    tried: int


def walk(
    residuals: Residuals,
    start: Float[np.ndarray, " dim"],
    goal: Float[np.ndarray, " dim"],
    *,
    step: float = 0.02,
    tolerance: float = 1e-8,
    max_steps: int = 5000,
) -> Connection:
    """Walk the zero-eigenspace from `start` straight towards `goal`, projected back to the set after every step.

    The walk ends at the goal, or where no tangent direction leads closer: then it is not connected *by this walk*.

    Args:
        residuals: of a perfect fit, flat parameters -> (residual,).
        step: length of a step [parameter units]. tolerance: largest |r|^2/2 on the path [nats].

    Raises:
        ValueError: a step that is not positive, an end that is not in the set to the tolerance.
    """
    _check("walk", residuals, start, goal, step, tolerance)
    run = _walker(residuals, step, tolerance, max_steps)
    taken, _, points, going = run(jnp.asarray(start), jnp.asarray(goal))
    kept = int(taken) - (not bool(going))
    return _path(residuals, [np.asarray(start), *np.asarray(points[:kept])], goal, step, tolerance, int(taken))


def explore(
    key: Key,
    residuals: Residuals,
    start: Float[np.ndarray, " dim"],
    goal: Float[np.ndarray, " dim"],
    *,
    step: float = 0.1,
    tolerance: float = 1e-8,
    max_tries: int = 1000,
    goal_share: float = 0.3,
) -> Connection:
    """Rapidly exploring random tree on the set, from `start`, pulled to `goal` in a share of its steps.

    A random point is drawn around both ends, the nearest node of the tree walks towards it along the set as far as it
    gets closer. "Not found" after `max_tries` draws is no proof that there is no path.

    Args:
        max_tries: random points drawn. goal_share: fraction of the draws that are the goal itself.

    Raises:
        ValueError: as `walk`.
    """
    _check("explore", residuals, start, goal, step, tolerance)
    move = _mover(residuals, tolerance)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
    center, spread = (start + goal) / 2, max(float(np.linalg.norm(goal - start)), step)
    nodes, parents = [np.asarray(start, np.float64)], [-1]
    for _ in range(max_tries):
        wanted = goal if rng.random() < goal_share else center + spread * rng.normal(size=len(goal)) / len(goal) ** 0.5
        at = int(np.argmin(np.linalg.norm(np.asarray(nodes) - wanted, axis=1)))
        for _ in range(50):
            gap = wanted - nodes[at]
            distance = np.linalg.norm(gap)
            new, ok = move(nodes[at], gap, min(step, distance))
            if not bool(ok) or np.linalg.norm(wanted - new) > distance - 0.2 * step:
                break
            nodes.append(np.asarray(new))
            parents.append(at)
            at = len(nodes) - 1
        if np.linalg.norm(nodes[at] - goal) <= step:
            break
    end = int(np.argmin(np.linalg.norm(np.asarray(nodes) - goal, axis=1)))
    chain = []
    while end >= 0:
        chain.append(nodes[end])
        end = parents[end]
    return _path(residuals, chain[::-1], goal, step, tolerance, len(nodes))


def bezier(
    key: Key,
    objective: Callable[[Float[Array, " dim"]], Scalar],
    start: Float[np.ndarray, " dim"],
    goal: Float[np.ndarray, " dim"],
    *,
    tolerance: float,
    num_bends: int = 3,
    num_steps: int = 2000,
    num_points: int = 101,
) -> Connection:
    """Bézier curve between two minima whose mean loss is minimised over its `num_bends` control points.

    For any loss, perfect fit or not; `barrier` is the largest loss on a fine grid of the curve.

    Args:
        objective: flat parameters -> loss [nats/datum].
        tolerance: largest loss at which the two count as connected [nats/datum].

    Raises:
        ValueError: no bend.
    """
    if num_bends < 1:
        raise ValueError(f"bezier: num_bends is {num_bends}; at least 1 control point is needed between the ends.")
    ends = jnp.asarray(start), jnp.asarray(goal)
    places = jnp.linspace(0, 1, num_bends + 2)[1:-1, None]
    bends = ends[0] + places * (ends[1] - ends[0])
    rule = optax.adam(optax.cosine_decay_schedule(0.02, num_steps))

    def curve(bends: Array, t: Array) -> Array:
        return _bernstein(num_bends + 1, t) @ jnp.concatenate([ends[0][None], bends, ends[1][None]])

    def step(carry: tuple, key: Key) -> tuple:
        bends, state = carry
        t = (jnp.arange(16) + jax.random.uniform(key)) / 16  # one random shift of a grid
        gradient = jax.grad(lambda b: jnp.mean(jax.vmap(objective)(curve(b, t))))(bends)
        update, state = rule.update(gradient, state)
        return (bends + update, state), None

    keys = jax.random.split(key, num_steps)
    bends = jax.jit(lambda b: jax.lax.scan(step, (b, rule.init(b)), keys)[0][0])(bends)
    points = np.asarray(curve(bends, jnp.linspace(0, 1, num_points)))
    loss = np.asarray(jax.jit(jax.vmap(objective))(jnp.asarray(points)))
    barrier = float(loss.max())
    return Connection(points, loss, _arc(points), barrier <= tolerance, barrier, num_steps)


def match_units(params: dict, reference: dict) -> dict:
    """One hidden layer's units permuted so that they lie closest to those of `reference`; the function is unchanged.

    Raises:
        ValueError: not two layers `layer_0`, `layer_1` as `mlp_init` makes them.
    """
    if set(params) != {"layer_0", "layer_1"}:
        raise ValueError(
            f"match_units: the layers are {sorted(params)}; needed: layer_0 and layer_1, one hidden layer."
        )

    def units(p: dict) -> np.ndarray:
        parts = (p["layer_0"]["weight"].T, p["layer_0"]["bias"][:, None], p["layer_1"]["weight"])
        return np.concatenate([np.asarray(part) for part in parts], axis=1)

    cost = np.sum((units(reference)[:, None] - units(params)[None]) ** 2, axis=2)
    order = linear_sum_assignment(cost)[1]
    first, last = params["layer_0"], params["layer_1"]
    return {
        "layer_0": {"weight": first["weight"][:, order], "bias": first["bias"][order]},
        "layer_1": {"weight": last["weight"][order], "bias": last["bias"]},
    }


@lru_cache(maxsize=16)
def _walker(residuals: Residuals, step: float, tolerance: float, max_steps: int) -> Callable:
    """(start, goal) -> (steps, last point, all points, whether it was still going), compiled once for many pairs."""
    move = _mover(residuals, tolerance)

    @jax.jit
    def run(start: Array, goal: Array) -> tuple:
        def unfinished(carry: tuple) -> Array:
            i, x, _, going = carry
            return going & (i < max_steps) & (jnp.linalg.norm(goal - x) > step)

        def body(carry: tuple) -> tuple:
            i, x, points, _ = carry
            new, good = move(x, goal - x, jnp.asarray(step, x.dtype))
            good = good & (jnp.linalg.norm(goal - new) < jnp.linalg.norm(goal - x) - 0.01 * step)
            x = jnp.where(good, new, x)
            return i + 1, x, points.at[i].set(x), good

        empty = jnp.zeros((max_steps, start.size), start.dtype)
        return jax.lax.while_loop(unfinished, body, (0, start, empty, jnp.asarray(True)))

    return run


@lru_cache(maxsize=16)
def _mover(residuals: Residuals, tolerance: float) -> Callable:
    """(point, direction, length) -> (point on the set, whether it is within the tolerance)."""

    @jax.jit
    def move(x: Array, direction: Array, length: Array) -> tuple[Array, Array]:
        jacobian = jax.jacrev(residuals)(x)
        tangent = direction - jnp.linalg.pinv(jacobian, rtol=1e-10) @ (jacobian @ direction)
        size = jnp.linalg.norm(tangent)
        moved = x + length * tangent / jnp.maximum(size, 1e-30)

        y, loss = _project(residuals, moved, 1e-6 * tolerance)
        return y, (loss <= tolerance) & (size > 1e-6 * jnp.linalg.norm(direction)) & jnp.isfinite(y).all()

    return move


def _project(residuals: Residuals, x: Array, goal: float) -> tuple[Array, Scalar]:
    """Minimum-norm Gauss-Newton until |r|^2/2 is at most `goal`."""

    def unfinished(carry: tuple) -> Array:
        return (carry[0] < PROJECTIONS) & (carry[2] > goal)

    def back(carry: tuple) -> tuple:
        i, y, _ = carry
        y = y - jnp.linalg.pinv(jax.jacrev(residuals)(y), rtol=1e-10) @ residuals(y)
        return i + 1, y, 0.5 * jnp.sum(residuals(y) ** 2)

    return jax.lax.while_loop(unfinished, back, (0, x, 0.5 * jnp.sum(residuals(x) ** 2)))[1:]


def _path(
    residuals: Residuals, points: list[np.ndarray], goal: np.ndarray, step: float, tolerance: float, tried: int
) -> Connection:
    """Join the goal where it is within a step, then halve segments until their middles are in the set too."""
    near = bool(np.linalg.norm(points[-1] - goal) <= step)
    chain = np.asarray([*points, goal] if near else points)
    measure, project = _on_chains(residuals, tolerance)
    middle_loss = np.zeros(0)
    for _ in range(HALVINGS):
        middles = (chain[1:] + chain[:-1]) / 2
        middle_loss = measure(middles)
        bad = np.flatnonzero(middle_loss > tolerance)
        if not len(bad):
            break
        chain = np.insert(chain, bad + 1, project(middles[bad]), axis=0)
    loss = measure(chain)
    barrier = float(max(loss.max(), middle_loss.max(initial=0.0)))
    return Connection(chain, loss, _arc(chain), near and barrier <= tolerance, barrier, tried)


@lru_cache(maxsize=16)
def _on_chains(residuals: Residuals, tolerance: float) -> tuple[Callable, Callable]:
    """|r|^2/2 and the projection, of every point of a chain; padded to few lengths, as each one is compiled."""

    def padded(function: Callable) -> Callable[[np.ndarray], np.ndarray]:
        compiled = jax.jit(jax.vmap(function))

        def call(points: np.ndarray) -> np.ndarray:
            room = max(64, 2 ** (len(points) - 1).bit_length()) - len(points)
            filled = np.concatenate([points, np.repeat(points[-1:], room, axis=0)])
            return np.asarray(compiled(jnp.asarray(filled)))[: len(points)]

        return call

    return (
        padded(lambda x: 0.5 * jnp.sum(residuals(x) ** 2)),
        padded(lambda x: _project(residuals, x, 1e-6 * tolerance)[0]),
    )


def _arc(points: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])


def _bernstein(degree: int, t: Array) -> Array:
    """Bernstein polynomials of that degree at t, dims (t, degree + 1)."""
    k = np.arange(degree + 1)
    return jnp.asarray(comb(degree, k)) * t[:, None] ** k * (1 - t[:, None]) ** (degree - k)


def _check(
    where: str, residuals: Residuals, start: np.ndarray, goal: np.ndarray, step: float, tolerance: float
) -> None:
    if not step > 0 or not tolerance > 0:
        raise ValueError(f"{where}: step is {step}, tolerance {tolerance}; both must be positive.")
    for name, point in (("start", start), ("goal", goal)):
        loss = float(0.5 * jnp.sum(residuals(jnp.asarray(point)) ** 2))
        if not loss <= tolerance:
            raise ValueError(
                f"{where}: the loss at {name} is {loss:.3g}, above the tolerance {tolerance:.3g}; "
                "`settle` it first, or raise the tolerance."
            )
