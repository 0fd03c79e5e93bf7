"""The posterior of some of the coordinates of a target, all others held at w*."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from slt._types import Params
from slt.targets.inputs import dot
from slt.targets.loss import trace
from slt.targets.prior import gaussian_prior
from slt.targets.selection import Selection, select
from slt.targets.target import Target, posterior_energy, without_control_variate


class Restricted(NamedTuple):
    """target: of the chosen coordinates v. embed: v -> w = (u*, v). pick: w -> v, of any tree like the minimum."""

    target: Target
    embed: Callable[[Params], Params]
    pick: Callable[[Params], Params]


def restricted(target: Target, chosen: Selection) -> Restricted:
    """The same loss, data, beta and gamma as a function of the coordinates that a selection of leaves and slices names.

    Minibatches have no control variate.

    Args:
        chosen: as `trainable` of `loss_target`, of the sampled parameters of the target; None for all of them.

    Raises:
        ValueError: nothing chosen, a glob that finds nothing, or a prior that is no Gaussian.
    """
    if target.prior.gaussian is None:
        raise ValueError(
            f"restricted: the prior is {target.prior.kind}; a component is sampled under an isotropic Gaussian prior "
            "alone. Give a `loss_target` with localization or weight_decay."
        )
    plain = without_control_variate(target)
    minimum = jax.tree.map(jnp.asarray, target.minimum)
    whole, free = select(lambda w, _: w, minimum, chosen)
    embed = trace(lambda v: whole(v, None), (free,))
    prior = gaussian_prior(free, target.localization, target.prior.decay, target.inverse_temperature)
    loss = Partial(_through, embed, plain.loss)
    energy = Partial(posterior_energy, loss, prior.log_density, jnp.asarray(target.nbeta))
    likelihood = target.log_likelihood and Partial(_through, embed, target.log_likelihood)
    made = plain._replace(energy=energy, loss=loss, log_likelihood=likelihood, prior=prior, minimum=free)
    force = jax.grad(energy)(free, target.data)
    made = made._replace(gradient_norm=float(jnp.sqrt(dot(force, force))) / target.nbeta)
    return Restricted(made, embed, lambda w: select(lambda full, _: full, w, chosen)[1])


def _through(embed: Callable, function: Callable, v: Params, batch: Any) -> Any:
    return function(embed(v), batch)
