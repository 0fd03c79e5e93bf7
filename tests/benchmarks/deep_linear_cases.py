"""Forty deep linear teachers of the 1K class of Lau et al., on which local learning coefficients are benchmarked.

Model y = W_L ... W_1 x with L = 2..5 weight matrices, widths H_0 (input), ..., H_L (output) uniform on 5..50, data
x ~ U[-10, 10]^{H_0} and y = f(x; w*) without noise, n = 1e5. Loss: squared error, mean over data and output
coordinates, without a factor 1/2. Posterior: exp(-nbeta L_n(w) - (gamma / 2) |w - w*|^2), nbeta = n / log n, gamma = 1.

* aligned: every W_s has rank r on subspaces shared with its neighbours. This is the deepest stratum of the fibre of
  rank-r products, where the local learning coefficient is Aoyagi's formula.
* generic: truncated-normal initialisation; each matrix has its rank cut with probability 1/2. The local learning
  coefficient is at least the formula.

Source: Lau et al. 2023, arXiv:2308.12108; Aoyagi 2024, Neural Networks 172:106132.
"""

import argparse
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import stats

from slt.catalogue.theorems import deep_linear_rlct

NUM_DATA = 100_000
NBETA = NUM_DATA / np.log(NUM_DATA)
LOCALIZATION = 1.0
BATCH_SIZE = 500
NUM_CASES = 20
KINDS = ("aligned", "generic")
RANK_TOLERANCE = 1e-10
"""Singular values below this fraction of the largest are zero; each teacher has a gap from 1e-12 to 1e-5 around it."""


class Case(NamedTuple):
    """One teacher: weights[s] is W_{s+1}, of shape (widths[s+1], widths[s]); rank is that of the product."""

    name: str
    kind: str
    seed: int
    widths: tuple[int, ...]
    rank: int
    weights: tuple[np.ndarray, ...]

    @property
    def num_params(self) -> int:
        """Number of weights."""
        return sum(w.size for w in self.weights)

    @property
    def rlct(self) -> tuple[float, int]:
        """Global learning coefficient and multiplicity of rank-r products (Aoyagi 2024)."""
        rlct, multiplicity = deep_linear_rlct(self.widths, self.rank)
        return float(rlct), int(multiplicity)


def product(weights) -> np.ndarray:
    """W_L ... W_1."""
    result = weights[0]
    for weight in weights[1:]:
        result = weight @ result
    return result


def numerical_rank(matrix: np.ndarray) -> int:
    """Rank in float64; raises ValueError if the singular values have no clear gap."""
    values = np.linalg.svd(matrix, compute_uv=False)
    relative = values / values[0]
    if np.any((relative > 1e-12) & (relative < 1e-5)):
        raise ValueError(
            "numerical_rank: a singular value is between 1e-12 and 1e-5 of the largest; draw another matrix."
        )
    return int(np.sum(relative > RANK_TOLERANCE))


def _widths(rng: np.random.Generator) -> tuple[int, ...]:
    num_layers = rng.integers(2, 6)
    return tuple(int(h) for h in rng.integers(5, 51, size=num_layers + 1))


def aligned_weights(rng: np.random.Generator, widths: tuple[int, ...], rank: int) -> tuple[np.ndarray, ...]:
    """W_s = Q_s[:, :r] diag(sigma) Q_{s-1}[:, :r]^T with orthogonal Q_s.

    sigma is a decreasing geometric sequence times the root-mean-square singular value of a matrix with entries
    N(0, 1 / fan_in), such that the r singular values of the product are well separated, over a ratio of 6.25.
    """
    num_layers = len(widths) - 1
    bases = [stats.ortho_group.rvs(h, random_state=rng)[:, :rank] for h in widths]
    weights = []
    for s in range(1, len(widths)):
        scale = np.sqrt(widths[s] / min(widths[s], widths[s - 1]))
        sigma = scale * np.geomspace(2.5, 0.4, rank) ** (1 / num_layers)
        weights.append((bases[s] * sigma) @ bases[s - 1].T)
    return tuple(weights)


def _cut_rank(matrix: np.ndarray, rank: int) -> np.ndarray:
    u, sigma, vt = np.linalg.svd(matrix, full_matrices=False)
    return (u[:, :rank] * sigma[:rank]) @ vt[:rank]


def generic_weights(rng: np.random.Generator, widths: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """N(0, 1) truncated at 2, times 1 / sqrt(fan_in); each matrix with probability 1/2 cut to a rank in 1..full."""
    weights = []
    for fan_in, fan_out in pairwise(widths):
        weight = stats.truncnorm.rvs(-2, 2, size=(fan_out, fan_in), random_state=rng) / np.sqrt(fan_in)
        if rng.random() < 0.5:
            weight = _cut_rank(weight, int(rng.integers(1, min(fan_in, fan_out) + 1)))
        weights.append(weight)
    return tuple(weights)


def make_case(kind: str, index: int) -> Case:
    """The teacher of that kind and index, the same on every machine."""
    if kind not in KINDS:
        raise ValueError(f"make_case: kind is {kind!r}; allowed are {KINDS}.")
    seed = 1000 * (1 + KINDS.index(kind)) + index
    rng = np.random.default_rng(seed)
    widths = _widths(rng)
    if kind == "aligned":
        weights = aligned_weights(rng, widths, int(rng.integers(1, min(widths) + 1)))
    else:
        weights = generic_weights(rng, widths)
    return Case(f"{kind}-{index:02d}", kind, seed, widths, numerical_rank(product(weights)), weights)


def all_cases(kinds=KINDS) -> list[Case]:
    """All teachers of the given kinds."""
    return [make_case(kind, index) for kind in kinds for index in range(NUM_CASES)]


def select_cases(names: list[str]) -> list[Case]:
    """Cases whose name starts with one of the given names; all of them if none is given."""
    chosen = [case for case in all_cases() if not names or case.name.startswith(tuple(names))]
    if not chosen:
        raise ValueError(f"select_cases: no case is called {names}; names are aligned-00..19 and generic-00..19.")
    return chosen


def dataset(case: Case, num_data: int = NUM_DATA) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (n, H_0) and noise-free targets (n, H_L), float64, from the case's seed."""
    rng = np.random.default_rng([case.seed, 1])
    x = rng.uniform(-10.0, 10.0, size=(num_data, case.widths[0]))
    return x, x @ product(case.weights).T


def second_moment(case: Case) -> np.ndarray:
    """S = X^T X / n of the case's data: L_n(w) = tr(D S D^T) / H_L with D = product(w) - product(w*)."""
    x, _ = dataset(case)
    return x.T @ x / len(x)


def hessian_rank(weights) -> int:
    """Rank of the Hessian of the loss at a zero of the loss.

    With A_s = W_L ... W_{s+1} and B_s = W_{s-1} ... W_1 the tangent image is the sum of col(A_s) x row(B_s); both
    families are nested, so its dimension is the sum over s of (rank A_s - rank A_{s-1}) rank B_s, with rank A_0 = 0.
    """
    left = [numerical_rank(product(weights[s + 1 :])) for s in range(len(weights) - 1)] + [weights[-1].shape[0]]
    right = [weights[0].shape[1]] + [numerical_rank(product(weights[:s])) for s in range(1, len(weights))]
    return sum((a - b) * r for a, b, r in zip(left, [0, *left], right, strict=False))


def main() -> None:
    """Lists the cases."""
    parser = argparse.ArgumentParser(description="List the deep linear benchmark teachers.")
    parser.add_argument("names", nargs="*", help="case names or their beginnings, e.g. aligned-03; default: all")
    for case in select_cases(parser.parse_args().names):
        rlct, multiplicity = case.rlct
        singular = np.linalg.svd(product(case.weights), compute_uv=False)[: case.rank]
        print(
            f"{case.name} {list(case.widths)!s:26s} rank {case.rank:2d} params {case.num_params:5d} "
            f"rlct {rlct:8.2f} m {multiplicity:2d} H/2 {hessian_rank(case.weights) / 2:7.1f} "
            f"singular values of the product {singular[-1]:.3g}..{singular[0]:.3g}"
        )


if __name__ == "__main__":
    main()
