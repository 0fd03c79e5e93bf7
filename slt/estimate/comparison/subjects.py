"""What is compared: a minimum, with whatever of its model is known beyond the target."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slt._options import checked
from slt._types import Batch, Estimate, Key, Params
from slt.catalogue.registry import Potential, potential, target_of
from slt.geometry.operators import Network, mlp_network
from slt.pac_bayes.laws import mlp_law
from slt.targets.gaussian import Gaussian
from slt.targets.networks import check_mlp, mlp_apply, mlp_loss
from slt.targets.rows import as_rows, in_memory
from slt.targets.target import Target, loss_target

BIAS_STD = 0.3
"""Of the initial law of a network's biases, which needs a density."""


class Subject(NamedTuple):
    """A minimum to be measured; each field beyond the target makes more measures available.

    network: outputs and loss apart, for the rank of behavioural gradients. test_data: rows like the target's data.
    errors: (params, rows) -> zero-one loss of each datum, for certificates. prior: law of the certificates, chosen
    without the data; N(0, I) by default, its scale then taken from a grid and paid for. initial: parameters that
    training started from, where the prior is centred then. train: (key, start, rows) -> parameters trained on them.
    known: numbers from elsewhere by name, such as an exact value or a frequency, to stand in the same table.
    """

    target: Target
    network: Network | None = None
    test_data: Batch | None = None
    errors: Callable[[Params, Batch], Float[Array, " batch"]] | None = None
    prior: Gaussian | None = None
    known: Mapping[str, float | Estimate] = {}
    initial: Params | None = None
    train: Callable[[Key, Params, Batch], Params] | None = None


@checked
def mlp_subject(
    params: Params,
    data: Batch,
    test_data: Batch | None = None,
    *,
    activation: str = "tanh",
    loss: str = "cross_entropy",
    errors: Callable[[Params, Batch], Array] | None = None,
    known: Mapping[str, float | Estimate] | None = None,
    initial: Params | None = None,
    **options: Any,
) -> Subject:
    """A fully connected network of `slt.targets.networks` with all that the comparison can use.

    Args:
        params: the minimum. data, test_data: {"inputs", "targets"}.
        errors: zero-one loss; wrong labels for cross entropy, where it is left out.
        known, initial: as in `Subject`. options: of `loss_target`, such as localization and weight_decay.

    Raises:
        ValueError: what `loss_target` or `mlp_network` refuses.
    """
    data = as_rows(data)
    check_mlp(params, activation, loss, data, "mlp_subject")
    if test_data is not None:
        rows: Any = in_memory(test_data)
        check_mlp(params, activation, loss, rows, "mlp_subject, test_data")
        test_data = rows
    target = loss_target(mlp_loss(activation, loss), params, data, **options)

    def wrong_label(w: Params, rows: Batch) -> Array:
        logits = mlp_apply(w, rows["inputs"], activation)
        return (jnp.argmax(logits, -1) != rows["targets"]).astype(jnp.float32)

    if errors is None and loss == "cross_entropy":
        errors = wrong_label
    layers = [params[f"layer_{i}"]["weight"] for i in range(len(params))]
    widths = (layers[0].shape[0], *(weight.shape[1] for weight in layers))
    network = mlp_network(params, data, activation=activation, loss=loss)
    return Subject(target, network, test_data, errors, mlp_law(widths, bias_std=BIAS_STD), known or {}, initial)


@checked
def potential_subject(name: str | Potential, *, nbeta: float = 1e4, localization: float | None = 1.0) -> Subject:
    """A potential of the catalogue with its exact values beside the estimates, where they are known.

    Args:
        localization: gamma of N(w*, I/gamma); the box's prior where None, or where the potential allows no other.

    Raises:
        ValueError: no such name, or what `potential_target` refuses.
    """
    entry = potential(name) if isinstance(name, str) else name
    gamma = localization if "gaussian" in entry.priors else None
    target = target_of(entry, nbeta=nbeta, localization=gamma)
    known = {"λ, exact": float(entry.rlct), "m, exact": float(entry.multiplicity)}
    if entry.exact is not None:
        moments = entry.exact(nbeta, localization=gamma)
        known["λ at this n, exact"] = float(np.asarray(moments.mean))
        known["free energy, exact"] = -float(np.asarray(moments.log_evidence))
    return Subject(target, known=known)
