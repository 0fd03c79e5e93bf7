r"""Curvature as products with a vector: Hessian, Gauss–Newton, residual part and Fisher of any pytree of parameters.

For a mean loss $L(w) = \frac1n \sum_i \ell(f(w, x_i), y_i)$ with outputs f the Hessian splits exactly,
$H = J^\top (\partial^2 \ell) J + \sum_o \partial_o\ell \; \partial^2 f_o = \mathrm{GGN} + S$ (means over the data).

Every builder returns an `Operator`. Its product is a pure function of (v, *args): parameters and data are arguments of
whatever is compiled around it, never constants in it. Data are gone through in chunks. float64 unless asked otherwise,
since the precision of the products, not of the eigensolver, decides what can be told from zero.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from slt._types import Batch, Key, Params
from slt.targets.columns import check_finite_values
from slt.targets.inputs import check_data, check_params, size
from slt.targets.networks import LOSSES, check_mlp, mlp_apply
from slt.targets.rows import as_rows
from slt.targets.target import CHUNK, Target

Vector = Float[Array, " dim"]


class Network(NamedTuple):
    """A trained model, split into outputs and the loss on them; `network` and `mlp_network` check and build one.

    outputs: (params, rows) -> (batch, outputs). loss: (outputs, rows) -> (batch,) [nats].
    params: any pytree of floats. data: pytree of arrays with one common leading axis.
    """

    outputs: Callable[[Params, Batch], Float[Array, "batch outputs"]]
    loss: Callable[[Float[Array, "batch outputs"], Batch], Float[Array, " batch"]]
    params: Params
    data: Batch


class Operator(NamedTuple):
    """A symmetric matrix A by its products.

    product: (v, *args) -> A v, pure, on flat vectors of `dim` entries of `dtype`. args: parameters and data.
    lower_bound: no eigenvalue is below it; 0 for positive semidefinite, -inf where nothing is known.
    gradient_norm: |grad L| at the point [nats/datum per unit]; scale: |w| there.
    """

    product: Callable[..., Vector]
    args: tuple
    dim: int
    dtype: np.dtype
    lower_bound: float
    gradient_norm: float
    scale: float


def network(outputs: Callable, loss: Callable, params: Params, data: Batch) -> Network:
    """Check and bind the parts of a `Network`.

    Raises:
        ValueError: no data, unequal numbers of rows, parameters that are not finite floats, outputs that are not
            (batch, outputs), or a loss that is not one finite number a row.
    """
    params = jax.tree.map(lambda a: a if isinstance(a, jax.Array) else np.asarray(a), params)
    check_params(params)
    data = as_rows(data)
    n = check_data(data, least=1)
    for path, leaf in jax.tree_util.tree_leaves_with_path(data):
        check_finite_values(np.asarray(leaf), f"data{jax.tree_util.keystr(path)}")
    double = any(np.asarray(leaf).dtype == np.float64 for leaf in jax.tree.leaves((params, data)))
    with precision(np.float64 if double else np.float32):
        shapes = jax.eval_shape(outputs, params, data)
    if len(shapes.shape) != 2 or shapes.shape[0] != n:
        raise ValueError(f"network: outputs of {n} rows have shape {shapes.shape}; they must be ({n}, outputs).")
    with precision(np.float64 if double else np.float32):
        values = np.asarray(jax.jit(lambda w, d: loss(outputs(w, d), d))(params, data))
    if values.shape != (n,) or not np.all(np.isfinite(values)):
        raise ValueError(
            f"network: the loss of {n} rows has shape {values.shape} and {int((~np.isfinite(values)).sum())} values "
            f"that are not finite; it must be ({n},) and finite at these parameters."
        )
    return Network(outputs, loss, params, data)


def mlp_network(params: Params, data: Batch, *, activation: str = "tanh", loss: str = "cross_entropy") -> Network:
    """The `Network` of a fully connected net of `slt.targets.networks` on {"inputs", "targets"}.

    Raises:
        ValueError: an unknown loss or activation, or what `network` refuses.
    """
    data = as_rows(data)
    check_mlp(params, activation, loss, data, "mlp_network")
    return network(
        lambda w, rows: mlp_apply(w, rows["inputs"], activation),
        lambda outputs, rows: LOSSES[loss](outputs, rows["targets"]),
        params,
        data,
    )


def precision(dtype: Any):
    """Context in which JAX keeps that dtype: float64 products need it wherever they are compiled or called."""
    return jax.enable_x64(np.dtype(dtype) == np.float64)


def cast(tree: PyTree, dtype: Any) -> PyTree:
    """Floating leaves in that dtype, others as they are; call it inside `precision(dtype)`."""
    return jax.tree.map(
        lambda a: jnp.asarray(a, dtype) if jnp.issubdtype(jnp.result_type(a), jnp.floating) else jnp.asarray(a), tree
    )


def hessian(subject: Network | Target, *, dtype: Any = np.float64, chunk: int = CHUNK) -> Operator:
    r"""$H = \nabla^2 L(w)$ of the mean loss per datum, by forward over reverse differentiation.

    Args:
        subject: a `Network`, or a `Target`, whose loss (not its prior) is meant.
        dtype: of the products. chunk: rows of data at a time.
    """
    part, params, data, _ = _mean_loss(subject)

    def product(v: Vector, point: Params, rows: Batch) -> Vector:
        w, unravel = ravel_pytree(point)

        def term(batch: Batch) -> Vector:
            return jax.jvp(jax.grad(lambda x: part(unravel(x), batch)), (w,), (v,))[1]

        return _accumulate(term, rows, chunk)

    return _operator(product, part, params, data, dtype, chunk, lower_bound=-np.inf)


def gauss_newton(subject: Network, *, dtype: Any = np.float64, chunk: int = CHUNK) -> Operator:
    r"""$\frac1n \sum_i J_i^\top (\partial^2 \ell_i) J_i$: semidefinite where the loss is convex in the outputs.

    It is the Fisher matrix where the loss is minus the log-likelihood of an exponential family in its natural
    parameters (squared error, cross entropy of logits). Source: Schraudolph 2002, doi:10.1162/08997660260028683;
    Martens 2020, arXiv:1412.1193.
    """
    part, params, data, n = _mean_loss(subject)
    outputs, loss = subject.outputs, subject.loss

    def product(v: Vector, point: Params, rows: Batch) -> Vector:
        w, unravel = ravel_pytree(point)

        def term(batch: Batch) -> Vector:
            z, back = jax.vjp(lambda x: outputs(unravel(x), batch), w)
            tangent = jax.jvp(lambda x: outputs(unravel(x), batch), (w,), (v,))[1]
            slope = jax.grad(lambda u: jnp.sum(loss(u, batch)) / n)
            return back(jax.jvp(slope, (z,), (tangent,))[1])[0]

        return _accumulate(term, rows, chunk)

    return _operator(product, part, params, data, dtype, chunk, lower_bound=0.0)


def residual(subject: Network, *, dtype: Any = np.float64, chunk: int = CHUNK) -> Operator:
    r"""$S = \frac1n \sum_i \sum_o \partial_o \ell_i \; \partial^2 f_{io}$, which the Gauss–Newton matrix omits.

    It vanishes at a perfect fit and for models linear in their parameters; all negative curvature of a convex loss
    sits in it.
    """
    part, params, data, n = _mean_loss(subject)
    outputs, loss = subject.outputs, subject.loss

    def product(v: Vector, point: Params, rows: Batch) -> Vector:
        w, unravel = ravel_pytree(point)

        def term(batch: Batch) -> Vector:
            z = outputs(unravel(w), batch)
            slope = jax.grad(lambda u: jnp.sum(loss(u, batch)) / n)(z)
            return jax.jvp(jax.grad(lambda x: jnp.vdot(slope, outputs(unravel(x), batch))), (w,), (v,))[1]

        return _accumulate(term, rows, chunk)

    return _operator(product, part, params, data, dtype, chunk, lower_bound=-np.inf)


def empirical_fisher(subject: Network, *, dtype: Any = np.float64, chunk: int = CHUNK) -> Operator:
    r"""$\frac1n \sum_i g_i g_i^\top$ of the gradients $g_i = \nabla \ell_i$ at the observed targets.

    Not the Fisher matrix: that takes its targets from the model (`fisher`). Source: Kunstner et al. 2019,
    arXiv:1905.12558.
    """
    part, params, data, n = _mean_loss(subject)
    outputs, loss = subject.outputs, subject.loss

    def product(v: Vector, point: Params, rows: Batch) -> Vector:
        w, unravel = ravel_pytree(point)

        def term(batch: Batch) -> Vector:
            def losses(x: Vector) -> Array:
                return loss(outputs(unravel(x), batch), batch)

            along = jax.jvp(losses, (w,), (v,))[1]
            return jax.vjp(losses, w)[1](along / n)[0]

        return _accumulate(term, rows, chunk)

    return _operator(product, part, params, data, dtype, chunk, lower_bound=0.0)


def fisher(
    subject: Network, draw: Callable[[Key, Array, Batch], Batch], key: Key, *, num_draws: int = 1, **options: Any
) -> Operator:
    r"""Fisher matrix $\frac1n \sum_i \mathbb{E}_{y \sim p(\cdot|f_i)}[g_i(y) g_i(y)^\top]$, targets by Monte Carlo.

    Args:
        draw: (key, outputs, rows) -> rows with their targets drawn from the model.
        num_draws: targets drawn for every datum.
        options: dtype and chunk, as for `hessian`.
    """

    def rows_of(one: Key) -> Batch:
        return draw(one, subject.outputs(subject.params, subject.data), subject.data)

    drawn = [rows_of(one) for one in jax.random.split(key, num_draws)]
    data = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *drawn)
    return empirical_fisher(subject._replace(data=data), **options)


def dense(operator: Operator, *, batch_size: int = 64) -> Float[np.ndarray, "dim dim"]:
    """The matrix itself, symmetrised, column by column.

    Raises:
        ValueError: an entry that is not finite.
    """

    @jax.jit
    def columns(args: tuple) -> Array:
        def column(i: Array) -> Vector:
            return operator.product(jax.nn.one_hot(i, operator.dim, dtype=operator.dtype), *args)

        return jax.lax.map(column, jnp.arange(operator.dim), batch_size=min(batch_size, operator.dim))

    with precision(operator.dtype):
        matrix = np.asarray(columns(operator.args), np.float64)
    check_finite(matrix)
    return (matrix + matrix.T) / 2


def check_finite(values: np.ndarray) -> None:
    """Raises ValueError where a Hessian product gave NaN or infinity."""
    bad = int(np.sum(~np.isfinite(values)))
    if bad:
        raise ValueError(
            f"curvature: products with the matrix gave {bad} of {values.size} numbers that are not finite. The loss "
            "has no finite second derivative there (sqrt or log at 0, a norm at 0, overflow): move off that "
            "point, add "
            "a small constant inside the root, or use float64."
        )


def _mean_loss(subject: Network | Target) -> tuple[Callable[[Params, Batch], Array], Params, Batch, int]:
    """(part, params, data, n): the parts of disjoint batches sum to L."""
    if isinstance(subject, Target):
        n = subject.num_data

        def share(w: Params, batch: Batch) -> Array:
            leaves = jax.tree.leaves(batch)
            return subject.loss(w, batch) * ((leaves[0].shape[0] if leaves else n) / n)

        return share, subject.minimum, subject.data, n
    n = jax.tree.leaves(subject.data)[0].shape[0]
    return (
        lambda w, batch: jnp.sum(subject.loss(subject.outputs(w, batch), batch)) / n,
        subject.params,
        subject.data,
        n,
    )


def _operator(
    product: Callable, part: Callable, params: Params, data: Batch, dtype: Any, chunk: int, *, lower_bound: float
) -> Operator:
    """Cast what the product reads, and measure the gradient at the point."""
    with precision(dtype):
        params, data = cast(params, dtype), cast(data, dtype)

        @jax.jit
        def gradient(w: Params, rows: Batch) -> Array:
            return _accumulate(lambda batch: ravel_pytree(jax.grad(part)(w, batch))[0], rows, chunk)

        norm = float(jnp.linalg.norm(gradient(params, data)))
        scale = float(jnp.linalg.norm(ravel_pytree(params)[0]))
    return Operator(product, (params, data), size(params), np.dtype(dtype), lower_bound, norm, scale)


def _accumulate(term: Callable[[Batch], Vector], data: Batch, chunk: int) -> Vector:
    """Sum of `term` over chunks of rows: scanned where they are whole, the rest at the end."""
    leaves = jax.tree.leaves(data)
    n = leaves[0].shape[0] if leaves else 0
    if n <= chunk:
        return term(data)
    whole = n // chunk * chunk
    stacked = jax.tree.map(lambda a: a[:whole].reshape(-1, chunk, *a.shape[1:]), data)
    first = jax.eval_shape(term, jax.tree.map(lambda a: a[:chunk], data))
    total = jax.lax.scan(lambda t, rows: (t + term(rows), None), jnp.zeros(first.shape, first.dtype), stacked)[0]
    return total if whole == n else total + term(jax.tree.map(lambda a: a[whole:], data))


def leaf_slices(params: Params, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Positions in the flat vector of the leaves below each top-level key."""
    index = ravel_pytree(jax.tree.map(lambda a: jnp.asarray(a, jnp.int32), params))[1](jnp.arange(size(params)))
    return {name: np.concatenate([np.ravel(a) for a in jax.tree.leaves(index[name])]).astype(int) for name in names}
