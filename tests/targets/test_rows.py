import jax
import jax.numpy as jnp
import numpy as np
import pytest

import slt
from slt.targets.rows import as_rows, in_chunks

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(50, 3)).astype(np.float32), RNG.normal(size=50).astype(np.float32)
W = jnp.asarray([0.3, -0.2, 0.5])


def loss(w, rows):
    x, y = rows
    return 0.5 * (y - jnp.tanh(x @ w)) ** 2


def memory_map(path, array):
    np.save(path, array)
    return np.load(path, mmap_mode="r")


def test_a_memory_map_gives_the_same_target_and_the_same_draws(tmp_path):
    mapped = (memory_map(tmp_path / "x.npy", X.astype(np.float64)), Y)
    targets = [slt.loss_target(loss, W, data, localization=1.0) for data in ((X, Y), mapped)]
    rows = targets[1].data[0]
    assert rows.shape == (50,)
    assert jnp.issubdtype(rows.dtype, jnp.integer)
    draws = [
        slt.samplers.sample(
            jax.random.key(0), slt.samplers.sgld(t.energy, step_size=1e-3), jnp.stack([W, W]), t.data,
            observe=t.loss, num_draws=20, batch_size=8, keep_positions=True,
        )
        for t in targets
    ]  # fmt: skip
    np.testing.assert_allclose(draws[0].positions, draws[1].positions, rtol=1e-5)
    assert np.ptp(draws[0].loss) > 0


def test_batches_are_joined_in_order_and_an_exhausted_generator_is_refused():
    batches = ({"x": X[i : i + 20], "y": Y[i : i + 20]} for i in range(0, 50, 20))
    joined = as_rows(batches)
    np.testing.assert_array_equal(joined["x"], X)
    np.testing.assert_array_equal(joined["y"], Y)
    with pytest.raises(ValueError, match="no batches"):
        as_rows(batches)


@pytest.mark.parametrize("size", [1, 7, 25, 50, 64])
def test_chunks_leave_value_and_gradient_alone(size):
    chunked = in_chunks(loss, size)
    np.testing.assert_allclose(chunked(W, (X, Y)), loss(W, (X, Y)), rtol=1e-6)
    gradients = [jax.grad(lambda w, f=f: f(w, (X, Y)).mean())(W) for f in (loss, chunked)]
    np.testing.assert_allclose(*gradients, rtol=1e-5)


def test_the_gradient_of_a_chunked_loss_needs_the_memory_of_a_chunk():
    def wide(w, rows):
        return jnp.sum(jnp.tanh(jnp.tanh(rows @ w) @ w.T), 1)

    w, rows = jnp.zeros((64, 2048)), jnp.zeros((4096, 64))
    used = [
        jax.jit(jax.grad(lambda w, r, f=f: f(w, r).mean()))
        .lower(w, rows)
        .compile()
        .memory_analysis()
        .temp_size_in_bytes
        for f in (wide, in_chunks(wide, 256))
    ]
    assert used[1] < used[0] / 6, used


def test_chunks_of_no_rows_are_refused():
    with pytest.raises(ValueError, match="at least 1 row"):
        slt.loss_target(loss, W, (X, Y), chunk_size=0)
