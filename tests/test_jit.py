import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import slt
from slt.jit import KEEP, shared_jit

X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)


def counted(function):
    """The function, and the list that grows by one whenever it is traced."""
    traced = []

    def outer(*args):
        traced.append(1)
        return function(*args)

    return outer, traced


def scaled(factor, power, x):
    return factor * x**power


def test_functions_equal_up_to_arrays_share_a_program():
    apply, traced = counted(lambda function, x: function(x))
    apply = shared_jit(apply)
    for factor in (2.0, 3.0):
        assert float(apply(Partial(scaled, jnp.asarray(factor), 2), jnp.asarray(5.0))) == factor * 25
    assert len(traced) == 1
    assert float(apply(Partial(scaled, jnp.asarray(2.0), 3), jnp.asarray(5.0))) == 250
    assert len(traced) == 2


def test_a_number_that_is_no_array_is_static():
    apply, traced = counted(lambda n, x: jnp.zeros(n) + x)
    apply = shared_jit(apply)
    assert apply(2, jnp.ones(())).shape == (2,)
    assert apply(3, jnp.ones(())).shape == (3,)
    assert len(traced) == 2


def test_old_programs_are_dropped():
    apply, traced = counted(lambda n, x: n * x)
    apply = shared_jit(apply)
    for n in [*range(KEEP + 1), 0]:
        assert float(apply(n, jnp.ones(()))) == n
    assert len(traced) == KEEP + 2


@pytest.mark.parametrize("rows", [60, 20], ids=["full batch", "minibatch"])
def test_a_further_checkpoint_at_another_localisation_compiles_nothing(rows):
    """Batches are on a grid of ratio sqrt(2): the fourth of these has one that was there before."""
    loss, traced = counted(lambda w, rows: 0.5 * (rows @ w["a"] - 1) ** 2)
    options = {"max_gradients": 20_000, "batch_size": rows // 4, "num_chains": 2, "sampler": "chains"}

    def estimate(seed, gamma):
        w = {"a": jnp.asarray(np.random.default_rng(seed).normal(size=3), jnp.float32)}
        target = slt.loss_target(loss, w, X, localization=gamma, control_variate=False)
        return slt.estimate_llc(target, seed=seed, **options).estimates["llc"].value

    values = {estimate(seed, gamma) for seed, gamma in enumerate((100.0, 50.0, 70.0))}
    assert len(values) == 3
    count = len(traced)
    estimate(3, 60.0)
    assert len(traced) - count <= 3  # the checks of a target evaluate its loss on two rows


def test_arrays_of_numpy_are_traced():
    apply, traced = counted(lambda x: 2 * x)
    apply = shared_jit(apply)
    np.testing.assert_array_equal(apply(np.arange(3)), [0, 2, 4])
    np.testing.assert_array_equal(apply(np.arange(3) + 1), [2, 4, 6])
    assert len(traced) == 1
