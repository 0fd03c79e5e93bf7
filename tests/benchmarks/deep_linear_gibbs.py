r"""Exact Gibbs sampling of deep linear posteriors, batched over chains; NumPy, float64.

Posterior exp(-scale |(W_L ... W_1 - T) C|_F^2 - (gamma / 2) |w - w*|^2) with scale = nbeta / H_L and C C^T = X^T X / n,
so that the first term is nbeta L_n(w). A sweep leaves it invariant; it draws exactly, in turn:

* along each hidden layer's gauge group, W_s -> G W_s, W_{s+1} -> W_{s+1} G^-1, which leaves the loss as it is: for
  G = I + e_i t^T (t_i = 0, determinant 1) the energy is quadratic in t, so t is Gaussian; diagonal G by Metropolis
  (Liu & Sabatti 2000, Biometrika 87:353);
* each layer: given the others W_s is Gaussian with precision 2 scale A^T A (x) B B^T + gamma, where
  A = W_L ... W_{s+1} and B = W_{s-1} ... W_1 C.

There is no step size: it enters narrow arms that Hamiltonian trajectories cannot, and moves far along the fibre.
Run as a program it prints the top curvature of nbeta L_n at w* and after 40 sweeps: what a Langevin step has to bear.
"""

import argparse
from typing import NamedTuple

import numpy as np
from deep_linear_cases import LOCALIZATION, NBETA, Case, product, second_moment, select_cases


class Posterior(NamedTuple):
    """optimum: the teacher's layers w*; root: C; target: T C; scale: nbeta / H_L; localization: gamma."""

    optimum: tuple[np.ndarray, ...]
    root: np.ndarray
    target: np.ndarray
    scale: float
    localization: float


def make_posterior(case: Case, localization: float) -> Posterior:
    """The case's posterior, from its teacher and the second moments of its data."""
    root = np.linalg.cholesky(second_moment(case))
    return Posterior(case.weights, root, product(case.weights) @ root, NBETA / case.widths[-1], localization)


def nbeta_loss(posterior: Posterior, layers: list[np.ndarray]) -> np.ndarray:
    """nbeta L_n of each chain."""
    return posterior.scale * np.sum((product([posterior.root, *layers]) - posterior.target) ** 2, axis=(-2, -1))


def sweep(rng: np.random.Generator, posterior: Posterior, layers: list[np.ndarray]) -> list[np.ndarray]:
    """All gauges, then all layers once; layers[s] has shape (chain, H_{s+1}, H_s)."""
    layers = [layer.copy() for layer in layers]
    for s in range(len(layers) - 1):
        pair = slice(s, s + 2)
        shear_gauge(rng, *layers[pair], *posterior.optimum[pair], posterior.localization)
        scale_gauge(rng, *layers[pair], *posterior.optimum[pair], posterior.localization)
    right = np.broadcast_to(posterior.root, (len(layers[0]), *posterior.root.shape))
    for s, anchor in enumerate(posterior.optimum):
        left = product([np.eye(anchor.shape[0]), *layers[s + 1 :]])
        layers[s] = draw_layer(rng, left, right, anchor, posterior)
        right = layers[s] @ right
    return layers


def draw_layer(rng, left, right, anchor, posterior: Posterior) -> np.ndarray:
    """W ~ exp(-scale |left W right - target|^2 - (gamma / 2) |W - anchor|^2), in the eigenbases of its precision."""
    a, u = np.linalg.eigh(left.mT @ left)
    b, v = np.linalg.eigh(right @ right.mT)
    curvature = 2 * posterior.scale * np.maximum(a, 0)[..., :, None] * np.maximum(b, 0)[..., None, :]
    precision = curvature + posterior.localization
    pull = 2 * posterior.scale * left.mT @ posterior.target @ right.mT + posterior.localization * anchor
    mean = (u.mT @ pull @ v) / precision
    return u @ (mean + rng.standard_normal(mean.shape) / np.sqrt(precision)) @ v.mT


def shear_gauge(rng, below, above, below_anchor, above_anchor, gamma: float) -> None:
    """For each hidden unit i, t in G = I + e_i t^T from its Gaussian, precision P = gamma (R R^T + |c|^2 I), in place.

    R is `below` with row i set to zero, c column i of `above`; the noise sqrt(gamma) (R xi + |c| xi') has covariance P.
    """
    chains, width, fan_in = below.shape
    for i in range(width):
        rest = below.copy()
        rest[:, i] = 0.0
        column = above[:, :, i].copy()
        size = np.sum(column**2, axis=1)[:, None]
        precision = gamma * (rest @ rest.mT + size[:, :, None] * np.eye(width))
        pull = gamma * (_apply((above - above_anchor).mT, column) - _apply(rest, below[:, i] - below_anchor[i]))
        noise = _apply(rest, rng.standard_normal((chains, fan_in)))
        noise += np.sqrt(size) * rng.standard_normal((chains, width))
        force = pull + np.sqrt(gamma) * noise
        force[:, i] = 0.0
        t = np.linalg.solve(precision, force[:, :, None])
        below[:, i] += np.sum(t * rest, axis=1)
        above -= column[:, :, None] * t.mT


def scale_gauge(rng, below, above, below_anchor, above_anchor, gamma: float) -> None:
    """Metropolis on G = exp(diag(a)), unit by unit, in place; exp(a (fan_in - fan_out)) is its Jacobian."""
    a = 0.3 * rng.standard_normal(below.shape[:2])

    def energy(below, above):
        return gamma / 2 * (np.sum((below - below_anchor) ** 2, axis=2) + np.sum((above - above_anchor) ** 2, axis=1))

    proposed = energy(np.exp(a)[:, :, None] * below, above * np.exp(-a)[:, None, :])
    log_ratio = energy(below, above) - proposed + a * (below.shape[2] - above.shape[1])
    a = np.where(np.log(rng.random(a.shape)) < log_ratio, a, 0.0)
    below *= np.exp(a)[:, :, None]
    above *= np.exp(-a)[:, None, :]


def _apply(matrix, vector):
    return (matrix @ vector[:, :, None])[:, :, 0]


def start(
    rng: np.random.Generator, posterior: Posterior, num_chains: int, *, overdispersion: float, sweeps: int = 20
) -> list[np.ndarray]:
    """Half of the chains at w*; half at w* + overdispersion N(0, I / gamma), brought to the valley by sweeps."""
    spread = overdispersion / np.sqrt(posterior.localization)
    layers = [w + spread * rng.standard_normal((num_chains, *w.shape)) for w in posterior.optimum]
    for _ in range(sweeps):
        layers = sweep(rng, posterior, layers)
    for layer, optimum in zip(layers, posterior.optimum, strict=True):
        layer[: num_chains // 2] = optimum
    return layers


def top_curvature(posterior: Posterior, layers, num_iterations: int = 60) -> float:
    """Largest eigenvalue of 2 scale J^T J, the Gauss-Newton Hessian of nbeta L_n, by power iteration."""
    rights = [product([posterior.root, *layers[:s]]) for s in range(len(layers))]
    lefts = [product([np.eye(w.shape[0]), *layers[s + 1 :]]) for s, w in enumerate(layers)]
    vector, norm = [np.ones_like(w) for w in layers], 1.0
    for _ in range(num_iterations):
        change = sum(a @ v @ b for a, v, b in zip(lefts, vector, rights, strict=True))
        vector = [2 * posterior.scale * a.T @ change @ b.T for a, b in zip(lefts, rights, strict=True)]
        norm = float(np.sqrt(sum(np.sum(v**2) for v in vector)))
        vector = [v / norm for v in vector]
    return norm


def main() -> None:
    """Prints the curvatures of the cases named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="case names or their beginnings, e.g. aligned-03; default: all")
    parser.add_argument("--localization", type=float, default=LOCALIZATION, help="gamma (default: 1)")
    options = parser.parse_args()
    for case in select_cases(options.names):
        posterior = make_posterior(case, options.localization)
        layers = start(np.random.default_rng(case.seed), posterior, 2, overdispersion=1.0, sweeps=40)
        at_optimum, typical = (top_curvature(posterior, [w[i] for w in layers]) for i in range(2))
        print(f"{case.name} top curvature of nbeta L_n: at w* {at_optimum:.2e}, typical {typical:.2e}", flush=True)


if __name__ == "__main__":
    main()
