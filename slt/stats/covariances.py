r"""Covariances of many losses with a few observables, from running sums: how a posterior answers to its data.

By fluctuation and dissipation the derivative of a mean E[phi] by the weight of a datum is -beta Cov(l_i, phi). Draws of
one chain are summed up in batches of consecutive draws, (row, column) cross-products each, so that memory does not grow
with the draws and never holds rows times rows unless so many columns are asked for. A batch sees its own deviations
from the means of its chain: differences between chains that have not met are no covariance, and are told apart.

All rows rise and fall with the distance from w*: this *shared mode*, the first principal component v of the rows, is
found from their covariances with a few fixed combinations of all of them, in one pass. Given it, the covariances are
(1 - v v^T) C.

Source: fluctuation and dissipation, Baker et al. 2025, arXiv:2504.18274; one pass, Tropp et al. 2017,
arXiv:1706.05736; false discoveries, Benjamini & Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x.
"""

from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Bool, Float
from scipy import stats

from slt.stats.agreement import halves_agreement
from slt.stats.checks import finite, shape_of
from slt.stats.per_datum import MANY_CHAINS

SKETCH = 8
"""Fixed combinations of all rows by which the shared mode is found."""


class Sums(NamedTuple):
    """Sums over the draws of a batch; all dims (chain, batch, ...), or without the second while they build up.

    count: draws of a batch. rows, columns: their means. row_squares, column_squares: sums of squared deviations from
    these. cross: sums of products of deviations, dims (..., row, column), those with the combinations of all rows last.
    """

    count: Any
    rows: Any
    columns: Any
    row_squares: Any
    column_squares: Any
    cross: Any


class Term(NamedTuple):
    """Second moments about centres, one column: as each batch sees them, dims (chain, batch, row), and their mean."""

    value: Float[np.ndarray, " row"]
    error: Float[np.ndarray, " row"]
    dof: float


class Covariances(NamedTuple):
    """Covariances of rows with columns, within chains, with what is known of each.

    value, error: dims (row, column), with `dof` degrees of freedom. given_mode, given_mode_error: with the shared mode
    projected out. between: covariance of the means of chains, which draws that have met do not have.
    mode: loadings of the shared mode, dims (row,), and `share`, its part of the variance of all rows.
    agreement: Spearman correlation over the rows between halves of the chains, the mean over the ways of halving them,
    for each column; NaN of few rows.
    rhat, ess: of every row and then of every column.
    """

    value: Float[np.ndarray, "row column"]
    error: Float[np.ndarray, "row column"]
    dof: float
    given_mode: Float[np.ndarray, "row column"]
    given_mode_error: Float[np.ndarray, "row column"]
    between: Float[np.ndarray, "row column"]
    mode: Float[np.ndarray, " row"]
    share: float
    agreement: Float[np.ndarray, " column"]
    rhat: Float[np.ndarray, " series"]
    ess: Float[np.ndarray, " series"]


def summed(rows: Float[np.ndarray, "chain draw row"], columns: Float[np.ndarray, "chain draw column"]) -> Sums:
    """Sums over the draws of one batch of each chain."""
    x, y = np.asarray(rows, np.float64), np.asarray(columns, np.float64)
    y = np.concatenate([y, x @ combinations(x.shape[-1])], -1)
    mean_x, mean_y = x.mean(1), y.mean(1)
    x, y = x - mean_x[:, None], y - mean_y[:, None]
    cross = np.matmul(x.transpose(0, 2, 1), y).astype(np.float32)  # of deviations: rounding is relative to these
    return Sums(np.full(len(x), x.shape[1]), mean_x, mean_y, (x**2).sum(1), (y**2).sum(1), cross)


def merged(a: Sums, b: Sums) -> Sums:
    """The sums over the draws of both (Chan, Golub & LeVeque 1983)."""
    count = a.count + b.count
    share = (b.count / count)[:, None]
    weight = a.count[:, None] * share
    x, y = b.rows - a.rows, b.columns - a.columns
    cross = a.cross + b.cross + ((weight * x)[:, :, None] * y[:, None]).astype(np.float32)
    return Sums(
        count,
        a.rows + share * x,
        a.columns + share * y,
        a.row_squares + b.row_squares + weight * x**2,
        a.column_squares + b.column_squares + weight * y**2,
        cross,
    )


def combinations(num_rows: int) -> Float[np.ndarray, "row sketch"]:
    """Their sum, and sums with random but fixed signs, of length 1 each; as many as there are rows, at most SKETCH."""
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (num_rows, min(SKETCH, num_rows)))
    signs[:, 0] = 1.0
    return signs / np.sqrt(num_rows)


def covariances(
    rows: Float[ArrayLike, "chain draw row"], columns: Float[ArrayLike, "chain draw column"], *, num_batches: int = 12
) -> Covariances:
    """Covariances of draws that are in memory, in `num_batches` stretches of each chain; what is left over is dropped.

    Args:
        rows: losses of every draw and row. columns: observables of the same draws.

    Raises:
        ValueError: not three axes, other chains or draws of the one than of the other, fewer than 2 chains or 4 draws a
            chain, or a value that is not finite.
    """
    shapes = shape_of("covariances", rows), shape_of("covariances", columns)
    if any(len(shape) != 3 for shape in shapes) or shapes[0][:2] != shapes[1][:2] or min(shapes[0]) < 1:
        raise ValueError(
            f"covariances: the shapes are {shapes[0]} and {shapes[1]}; needed: (chain, draw, row) and (chain, draw, "
            "column) of the same draws."
        )
    x, y = (
        finite("covariances", values, ("chain", "draw", what), "leave diverged chains out.")
        for values, what in ((rows, "row"), (columns, "column"))
    )
    batches = min(num_batches, x.shape[1])
    size = x.shape[1] // batches
    stretches = [slice(i * size, (i + 1) * size) for i in range(batches)]
    return from_sums(stacked([summed(x[:, part], y[:, part]) for part in stretches]))


def stacked(batches: list[Sums]) -> Sums:
    """Consecutive batches of the same chains, side by side along a second axis."""
    return Sums(*(np.stack(parts, 1) for parts in zip(*batches, strict=True)))


def from_sums(sums: Sums) -> Covariances:
    """What the sums of all batches say, dims (chain, batch, ...); errors are those of means over batches.

    Raises:
        ValueError: fewer than 2 chains of 4 batches (of 2 from 8 chains on), or sums that are not finite.
    """
    sums = checked_sums(sums)
    count = sums.cross.shape[-1] - combinations(sums.rows.shape[-1]).shape[1]
    mode, share = shared_mode(sums)
    fields = [_column(sums, j, mode) for j in range(count)]
    whole, given, agreement = zip(*fields, strict=True)
    between = _between(sums)[:, :count]
    rhat, ess = (np.concatenate(parts) for parts in zip(*_mixing(sums, count), strict=True))
    return Covariances(
        _columns(whole, "value"), _columns(whole, "error"), min(term.dof for term in whole),
        _columns(given, "value"), _columns(given, "error"), between, mode, share, np.array(agreement), rhat, ess,
    )  # fmt: skip


def checked_sums(sums: Sums) -> Sums:
    """The sums; raises ValueError where no error can be had from them."""
    chains, batches = sums.count.shape
    least = 2 if chains >= MANY_CHAINS else 4
    if chains < 2 or batches < least:
        raise ValueError(
            f"covariances: {chains} chains of {batches} batches; needed: at least 2 chains of {least} batches, or an "
            "error cannot be told from autocorrelation. Sample longer, or in more chains."
        )
    for name, axis in (("rows", "row"), ("columns", "column")):
        finite("covariances", getattr(sums, name), ("chain", "batch", axis), "leave diverged chains out.")
    return sums


def moment(
    sums: Sums, column: int, row_center: ArrayLike | None = None, column_center: float | None = None
) -> Float[np.ndarray, "chain batch row"]:
    """E[(x - a)(y - b)] as every batch sees it; a and b are the means of its chain where they are not given."""
    a = sums.rows.mean(1, keepdims=True) if row_center is None else np.asarray(row_center)
    y = sums.columns[..., column]
    b = y.mean(1, keepdims=True) if column_center is None else column_center
    own = sums.cross[..., column].astype(np.float64) / sums.count[..., None]
    return own + (sums.rows - a) * (y - b)[..., None]


def mean_of(seen: Float[np.ndarray, "chain batch row"], *, scale: float = 1.0) -> Term:
    """Mean over all batches with its error.

    Few chains: batches are long, and what neighbours share, found from all rows together, is what is left of
    autocorrelation. From MANY_CHAINS on the error is the one between chains, whatever happens within.
    """
    value = seen.mean((0, 1))
    chains, batches = seen.shape[:2]
    if chains >= MANY_CHAINS:
        return Term(scale * value, abs(scale) * seen.mean(1).std(0, ddof=1) / np.sqrt(chains), chains - 1.0)
    deviation = seen - value
    spread = deviation.std((0, 1), ddof=1)
    unit = deviation / np.where(spread > 0, spread, 1.0)
    neighbours = max(0.0, float((unit[:, 1:] * unit[:, :-1]).mean() / max((unit**2).mean(), 1e-300)))
    stretch = (1 + neighbours) / max(1 - neighbours, 2 / (batches + 1))
    error = spread * np.sqrt(stretch / (chains * batches))
    return Term(scale * value, abs(scale) * error, max(chains * batches / stretch - 1, 1.0))


def shared_mode(sums: Sums) -> tuple[Float[np.ndarray, " row"], float]:
    """First principal component of the rows, of length 1 and positive sum, and its share of the variance of all rows.

    By the Nyström approximation Y (S^T Y)^+ Y^T of the covariance C, Y = C S, S the combinations of all rows.
    """
    combined = combinations(sums.rows.shape[-1])
    number = combined.shape[1]
    columns = range(sums.cross.shape[-1] - number, sums.cross.shape[-1])
    y = np.stack([moment(sums, j).mean((0, 1)) for j in columns], 1)
    total = float(_variance(sums.rows, sums.row_squares, sums.count).sum())
    core = combined.T @ y
    values, vectors = np.linalg.eigh((core + core.T) / 2)
    kept = values > 1e-9 * max(values.max(), 1e-300)
    factor = y @ (vectors[:, kept] / np.sqrt(values[kept]))
    if not total > 0 or not kept.any():  # the rows do not move
        return combined[:, 0], 0.0
    left, sizes, _ = np.linalg.svd(factor, full_matrices=False)
    first = left[:, 0] * (1.0 if left[:, 0].sum() >= 0 else -1.0)
    return first, min(float(sizes[0] ** 2) / total, 1.0)


def standardised(
    values: Float[np.ndarray, "row column"], errors: Float[np.ndarray, "row column"]
) -> tuple[Float[np.ndarray, "row column"], Float[np.ndarray, "row column"]]:
    """Every column less its mean over the rows, over its spread: columns of unknown factors become comparable."""
    spread = values.std(0)
    spread = np.where(spread > 0, spread, np.nan)
    return (values - values.mean(0)) / spread, errors / spread


def discoveries(
    values: Float[np.ndarray, "..."], errors: Float[np.ndarray, "..."], dof: float, *, rate: float = 0.1
) -> Bool[np.ndarray, "..."]:
    """Which entries differ from 0, of which a share `rate` at most is expected to be wrong (Benjamini & Hochberg)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        p = 2 * stats.t.sf(np.abs(values) / errors, dof)
    p = np.where(np.isfinite(p), p, 1.0)
    ordered = np.sort(p.ravel())
    below = np.flatnonzero(ordered <= rate * np.arange(1, p.size + 1) / p.size)
    return p <= (ordered[below[-1]] if below.size else -1.0)


def _column(sums: Sums, column: int, mode: np.ndarray) -> tuple[Term, Term, float]:
    """Covariances of all rows with one column, the same given the shared mode, and how halves agree."""
    seen = moment(sums, column) * _correction(sums)
    given = seen - (seen @ mode)[..., None] * mode
    return mean_of(seen), mean_of(given), halves_agreement(seen.mean(1))


def _columns(terms: Any, field: str) -> np.ndarray:
    return np.stack([getattr(term, field) for term in terms], 1)


def _correction(sums: Sums) -> float:
    """N/(N - tau): what deviations from the mean of a chain of N draws, tau of which are worth one, are too small by.

    tau is the median over the rows.
    """
    draws = float(sums.count.sum(1).mean())
    tau = float(np.median(_times(sums.rows, sums.row_squares, sums.count)))
    return draws / (draws - min(max(tau, 1.0), draws / 4))


def _variance(means: np.ndarray, squares: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Variance of the draws within chains, for each of the last axis."""
    spread = (means - means.mean(1, keepdims=True)) ** 2
    return (squares + count[..., None] * spread).sum((0, 1)) / count.sum()


def _times(means: np.ndarray, squares: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Integrated autocorrelation time [draws], from the means of batches within chains."""
    variance = _variance(means, squares, count)
    spread = ((means - means.mean(1, keepdims=True)) ** 2).sum((0, 1)) / (means.shape[0] * (means.shape[1] - 1))
    return np.where(variance > 0, count.mean() * spread / np.where(variance > 0, variance, 1.0), 1.0)


def _between(sums: Sums) -> np.ndarray:
    """Covariance of the means of chains, dims (row, column)."""
    x, y = sums.rows.mean(1), sums.columns.mean(1)
    return (x - x.mean(0)).T @ (y - y.mean(0)) / (len(x) - 1)


def _mixing(sums: Sums, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split R-hat and effective draws of the rows, and of the columns."""
    columns = sums.columns[..., :count], sums.column_squares[..., :count]
    found = []
    for means, squares in ((sums.rows, sums.row_squares), columns):
        half = means.shape[1] // 2
        parts = np.concatenate([means[:, :half].mean(1), means[:, -half:].mean(1)])
        variance = _variance(means, squares, sums.count)
        moving = variance > 0
        draws = sums.count.sum(1).mean() / 2
        rhat = np.sqrt(1 - 1 / draws + parts.var(0, ddof=1) / np.where(moving, variance, 1.0))
        ess = sums.count.sum() / np.maximum(_times(means, squares, sums.count), 1e-12)
        found.append((np.where(moving, rhat, 1.0), np.minimum(ess, sums.count.sum())))
    return found
