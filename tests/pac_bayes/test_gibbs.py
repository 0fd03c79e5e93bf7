import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slt._types import Estimate
from slt.catalogue.registry import potential
from slt.pac_bayes.gibbs import gibbs_kl, kl_floor
from slt.pac_bayes.pushforward import push_forward, pushforward_kl
from slt.pac_bayes.steps import gradient_flow
from slt.samplers.tempering import tempered_smc
from slt.targets.gaussian import gaussian_law
from slt.targets.target import potential_target

NODES, WEIGHTS = np.polynomial.legendre.leggauss(2000)
START = 9 * NODES**3
MASS = 9 * 3 * NODES**2 * WEIGHTS * np.exp(-0.5 * START**2) / np.sqrt(2 * np.pi)


def gibbs(k, t):
    """(F, E[K], KL) of w^(2k) under N(0, 1) by quadrature."""
    weight = MASS * np.exp(-t * START ** (2 * k))
    log_z, energy = np.log(weight.sum()), weight @ START ** (2 * k) / weight.sum()
    return -log_z, energy, -log_z - t * energy


def pushforward(k, time):
    """(E[K(w_T)], KL) of gradient flow by its closed form."""
    if k == 1:
        end, log_det = START * np.exp(-2 * time), np.full(START.shape, -2 * time)
    else:
        log_d = np.log1p(2 * k * (2 * k - 2) * time * START ** (2 * k - 2))
        end, log_det = START * np.exp(-log_d / (2 * k - 2)), -(2 * k - 1) / (2 * k - 2) * log_d
    return MASS @ end ** (2 * k), MASS @ (0.5 * (end**2 - START**2) - log_det)


@pytest.mark.parametrize(("k", "reference"), [(1, 2.1541), (2, 1.2504), (3, 0.9464)])
def test_the_reference_values_at_a_hundred(k, reference):
    moments = potential(f"pow{2 * k}").exact(100.0, localization=1.0)
    kl = gibbs_kl([moments.log_evidence] * 2, [moments.mean / 100] * 2, nbeta=100.0)
    assert kl.value.value == pytest.approx(reference, abs=6e-5)
    assert kl.value.value == pytest.approx(gibbs(k, 100.0)[2], rel=1e-8)
    assert kl.side == "exact"


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_slope_in_ln_t_is_the_learning_coefficient(k):
    t = np.array([1e8, 1e10])
    slope = np.diff([gibbs(k, x)[2] for x in t])[0] / np.log(100)
    assert slope == pytest.approx(1 / (2 * k), rel=5e-3)


def test_replicates_give_the_error_of_the_difference():
    kl = gibbs_kl([-3.0, -3.2, -2.9], [0.01, 0.02, 0.03], nbeta=100.0)
    values = np.array([3.0 - 1.0, 3.2 - 2.0, 2.9 - 3.0])
    log_of_mean = np.log(np.mean(np.exp([-3.0, -3.2, -2.9])))  # Z is unbiased, its logarithm is not
    assert kl.value.value == pytest.approx(-log_of_mean - 2.0)
    assert kl.value.mcse == pytest.approx(values.std(ddof=1) / 3**0.5, rel=0.01)


def test_tempering_gives_the_divergence_of_the_gibbs_posterior():
    entry = potential("pow4")
    target = potential_target(entry.energy, entry.minimum, nbeta=100.0, localization=1.0)
    smc = tempered_smc(
        lambda w: 100.0 * target.loss(w, ()),
        target.prior.log_density,
        target.prior.draw,
        num_particles=500,
        num_replicates=16,
    )
    run = smc.run(jax.random.key(0))
    energy = np.asarray(jax.vmap(jax.vmap(lambda w: target.loss(w, ())))(run.states.position)).mean(1)
    kl = gibbs_kl(run.log_evidence, energy, nbeta=100.0).value
    assert kl.mcse < 0.05
    assert abs(kl.value - 1.2504) < 5 * kl.mcse


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.floats(-2, 2))
def test_no_posterior_is_cheaper_than_gibbs_at_the_same_loss(k, log_time):
    """Donsker-Varadhan: the floor is below the pushforward and, within the grid, the matched Gibbs posterior's KL."""
    loss, divergence = pushforward(k, 10.0 ** min(log_time, 0.5 if k == 1 else 2))
    t = np.geomspace(1e-2, 1e7, 400)
    floor = kl_floor(t, [Estimate(gibbs(k, x)[0], 0.0) for x in t], loss)
    assert divergence >= floor.value.value - 1e-9
    if floor.inside:
        matched = gibbs(k, floor.nbeta)
        assert floor.value.value == pytest.approx(matched[2], abs=0.02)
        assert np.log(matched[1] / loss) == pytest.approx(0, abs=0.1)


def test_the_package_flow_obeys_the_floor():
    law = gaussian_law([0.0], 1.0)
    training = gradient_flow(lambda w, batch: w[0] ** 4, time_step=0.01)
    run = push_forward(jax.random.key(0), law.draw(jax.random.key(1), 400), training, (), law=law, times=(100,))
    t = np.geomspace(1e-2, 1e4, 100)
    floor = kl_floor(t, [Estimate(gibbs(2, x)[0], 0.0) for x in t], float(run.loss.mean()))
    value = pushforward_kl(run).value
    assert value.value - 5 * value.mcse > floor.value.value > 0.3


def test_a_loss_above_the_prior_costs_nothing():
    floor = kl_floor([1.0, 2.0], [Estimate(0.5, 0.1), Estimate(0.8, 0.1)], 3.0)
    assert floor.value.value == 0
    assert not floor.inside


def test_wrong_calls():
    with pytest.raises(ValueError, match="at least 2 replicates"):
        gibbs_kl([1.0], [1.0], nbeta=1.0)
    with pytest.raises(ValueError, match="did not reach"):
        gibbs_kl([np.nan, 1.0], [1.0, 1.0], nbeta=1.0)
    with pytest.raises(ValueError, match="one each"):
        kl_floor([1.0], [], 0.1)
