"""Claims about behaviour and rank, each with the numbers that decide it.

XOR nets at exact global minima under four losses, and another critical point: rank H against rank G with singular
values; the behaviour manifold; the kinds of flat dimension. Information loss by layer: a net built to merge inputs, and
trained ReLU nets. The Fisher matrix of nets with and without a continuous symmetry.
Run: python tests/benchmarks/behaviour_claims.py [--figures FOLDER]
"""

import argparse
import sys
from pathlib import Path

import jax
import numpy as np

sys.path.append(str(Path(__file__).parents[1]))

from geometry import xor
from geometry.matrices import classifier

from slt.geometry.behaviour import behaviour_manifold, behavioural_gradients, flat_dimensions, rank_claim
from slt.geometry.operators import gauss_newton, mlp_network
from slt.geometry.rank import numerical_rank, symmetric_rank
from slt.studies.information import information_loss
from slt.targets.networks import mlp_init, mlp_loss, train


def values(rank) -> str:
    return " ".join(f"{value:.1e}" for value in rank.singular_values[: rank.rank + 2])


def ranks() -> None:
    print("rank H against rank G on XOR (2-3-1 or 2-3-2 tanh), singular values down to two below the rank")
    nets = {name: xor.fitted(*case) for name, case in xor.LOSSES.items()} | {"AND, saddle, MSE": xor.saddle()}
    for name, net in nets.items():
        claim = rank_claim(net)
        print(
            f"\n{name}: rank H {claim.hessian.rank}, rank G {claim.gradients.rank}: "
            f"{'equal' if claim.equal else 'NOT equal'}; |grad L| {claim.gradient_norm:.1e}, |S|/|H| "
            f"{claim.residual_share:.1e}, loss curvature {claim.loss_curvature:.1e} ({claim.reason})\n"
            f"  H: {values(claim.hessian)}   gap {claim.hessian.gap:.1f} decades\n"
            f"  G: {values(claim.gradients)}   gap {claim.gradients.gap:.1f} decades"
        )
    net = nets["MSE"]
    manifold = behaviour_manifold(net, jax.random.key(0))
    print(
        f"\nBehaviour manifold of the MSE net: dimension {manifold.dimension} <= {manifold.rank.shape[1]} - "
        f"{manifold.rank.rank}; share of chords in span G {manifold.tangent[0]:.1e} at radius 1e-2, "
        f"{manifold.tangent[1]:.1e} at 1e-3; outputs kept to {manifold.outputs:.0e}"
    )
    rng = np.random.default_rng(0)
    elsewhere = {"inputs": 3 * rng.normal(size=(200, 2)), "targets": np.zeros((200, 1))}
    for activation in ("tanh", "relu"):
        flat = flat_dimensions(relu_xor() if activation == "relu" else net, elsewhere, jax.random.key(1))
        print(f"Flat dimensions of the {activation} MSE net: {flat}")


def relu_xor():
    """|x - y| by two units, and a third that takes part: scaling each unit leaves the function as it is."""
    params = {
        "layer_0": {"weight": np.array([[1.0, -1.0, 1.0], [-1.0, 1.0, 1.0]]), "bias": np.array([0.0, 0.0, 0.5])},
        "layer_1": {"weight": np.array([[1.0], [1.0], [0.3]]), "bias": np.zeros(1)},
    }
    params["layer_0"]["bias"][:2] = 0.1
    inputs = xor.INPUTS
    hidden = np.maximum(inputs @ params["layer_0"]["weight"] + params["layer_0"]["bias"], 0)
    return mlp_network(
        params, {"inputs": inputs, "targets": hidden @ params["layer_1"]["weight"]},
        activation="relu", loss="squared_error",
    )  # fmt: skip


def show(title: str, report) -> None:
    print(
        f"\n{title}: {report.num_outputs} outputs, {report.num_params} parameters ({report.live} live), rank "
        f"{report.rank}, deficit {report.deficit}: {report.explained} by merged inputs, {report.affine} by "
        f"shared linear regions, {report.deficit - report.explained - report.affine} other\n"
        f"{'layer':>9s} {'distinct':>9s} {'dead':>5s} {'rank':>5s} {'from':>5s} {'after':>6s} "
        f"{'g after':>8s} {'g before':>9s} {'explains':>9s} {'bound':>6s}"
    )
    for layer in report.layers:
        print(
            f"{layer.name:>9s} {layer.distinct:9d} {layer.dead:5d} {layer.rank:5d} {layer.rank_from:5d} "
            f"{layer.rank_after:6d} {layer.gradients_after:8.0e} {layer.gradients_before:9.0e} {layer.explained:9d} "
            f"{layer.bound:6d}"
        )


def information(figures: Path | None) -> None:
    rng = np.random.default_rng(0)
    inputs = np.concatenate([rng.uniform(-2, -1, 6), rng.uniform(0.5, 2, 4)])[:, None]
    params = {
        "layer_0": {"weight": np.array([[1.0, 1.3, 0.7]]), "bias": np.array([5.0, 4.0, 6.0])},
        "layer_1": {"weight": np.full((3, 4), 0.4) + 0.1 * np.eye(3, 4), "bias": np.full(4, -7.2)},
        "layer_2": {"weight": rng.normal(size=(4, 1)), "bias": np.zeros(1)},
    }
    built = mlp_network(
        params, {"inputs": inputs, "targets": np.zeros((10, 1))}, activation="relu", loss="squared_error"
    )
    reports = {"Built: layer_1 merges six of ten inputs": information_loss(built, activation="relu")}
    data = {"inputs": rng.normal(size=(40, 2)).astype(np.float32)}
    data["targets"] = np.sin(2 * data["inputs"][:, :1]) * data["inputs"][:, 1:]
    for hidden in ((4, 4), (8, 8), (16, 16)):
        start = mlp_init(jax.random.key(sum(hidden)), (2, *hidden, 1))
        loss = mlp_loss("relu", "squared_error")
        trained = train(jax.random.key(0), start, loss, data, steps=2000, batch_size=40, learning_rate=1e-2)
        net = mlp_network(trained, data, activation="relu", loss="squared_error")
        reports[f"Trained ReLU 2-{'-'.join(map(str, hidden))}-1"] = information_loss(net, activation="relu")
    for title, report in reports.items():
        show(title, report)
    if figures:
        from slt.report.plots import plot_rank_by_layer

        figures.mkdir(parents=True, exist_ok=True)
        for i, report in enumerate(reports.values()):
            plot_rank_by_layer(report).savefig(figures / f"rank_by_layer_{i}.png")


def fisher_ranks() -> None:
    print("\nGauss-Newton (= Fisher) matrix of 4-6-3 nets at random parameters, 100 inputs: null directions")
    for activation, loss in (("tanh", "squared_error"), ("tanh", "cross_entropy"), ("relu", "squared_error")):
        net = classifier(activation=activation, loss=loss, n=100)
        params = jax.tree.map(lambda a: a + 0.3, net.params)  # biases away from zero
        moved = net._replace(params=params)
        rank = symmetric_rank(gauss_newton(moved))
        gradients = numerical_rank(behavioural_gradients(moved))
        print(f"  {activation}, {loss}: {rank.nullity} of {rank.shape[1]} ({rank.reason}); rank G {gradients.rank}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figures", type=Path)
    chosen = parser.parse_args()
    ranks()
    information(chosen.figures)
    fisher_ranks()


if __name__ == "__main__":
    main()
