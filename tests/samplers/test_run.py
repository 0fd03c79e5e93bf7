"""Running chains: what is kept, which rows and keys a step sees, and that a killed run resumes bit for bit."""

import signal
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_agrees
from scipy import stats

from slt._types import Info, Sampler
from slt.draws import ess
from slt.samplers import run as runs
from slt.samplers.langevin import LangevinState, leimkuhler_matthews, sgld
from slt.samplers.run import runner, sample
from slt.stats.learning_coefficient import llc
from slt.stats.replicates import replicate_mean
from slt.targets.target import loss_target

KEY = jax.random.key(3)


def quadratic(w, batch):
    return 0.5 * jnp.sum(w**2)


def counter():
    """A kernel whose position counts its steps, so that every draw tells which step it was."""

    def step(key, state, batch):
        info = Info(jnp.ones(()), jnp.zeros((), bool), jnp.ones((), jnp.int32))
        return LangevinState(state.position + 1), info

    return Sampler(lambda position, batch: LangevinState(position), step)


def key_teller():
    """A kernel whose position is the first word of the key of its step, and how often a step had that of the last."""

    def step(key, state, batch):
        word = (jax.random.key_data(key)[0] >> 8).astype(jnp.float32)
        info = Info(jnp.ones(()), jnp.zeros((), bool), jnp.ones((), jnp.int32))
        again = state.position[1] + (word == state.position[0])
        return LangevinState(jnp.stack([word, again])), info

    return Sampler(lambda position, batch: LangevinState(position), step)


def first(w, batch):
    return w[0]


def run(sampler=None, positions=None, data=(), **options):
    sampler = sampler or sgld(quadratic, step_size=0.1)
    positions = jnp.zeros((3, 2)) if positions is None else positions
    return sample(KEY, sampler, positions, data, **{"observe": quadratic, "num_draws": 10} | options)


def test_warmup_is_kept_apart_and_never_among_the_draws():
    draws = run(counter(), observe=first, num_draws=6, num_warmup=4, keep_positions=True)
    np.testing.assert_array_equal(draws.warmup_loss, np.tile(np.arange(4), (3, 1)))
    np.testing.assert_array_equal(draws.loss, np.tile(np.arange(4, 10), (3, 1)))
    np.testing.assert_array_equal(draws.positions[..., 0], draws.loss + 1)
    assert draws.acceptance_rate.shape == draws.diverging.shape == (3, 6)


def test_a_far_start_does_not_enter_the_mean():
    """E[w²/2] = ½ (Leimkuhler-Matthews is exact here); 64 chains resolve 0.05 at a false-failure rate of 1e-6.

    Started at w = 100, the warm-up alone would move the mean by more than 10.
    """
    sampler = leimkuhler_matthews(quadratic, step_size=0.5)
    draws = run(sampler, jnp.full((64, 1), 100.0), num_warmup=200, num_draws=1000)
    assert draws.warmup_loss.mean() > 10
    assert_agrees(replicate_mean(draws.loss.mean(1)), 0.5, resolution=0.05, false_fail=1e-6)


@pytest.mark.parametrize("thinning", [1, 5])
def test_a_draw_is_the_mean_over_its_steps_and_counts_their_gradients(thinning):
    draws = run(counter(), observe=first, num_draws=8, num_warmup=2, thinning=thinning)
    steps = np.arange(10 * thinning).reshape(10, thinning).mean(1)
    np.testing.assert_allclose(np.concatenate([draws.warmup_loss, draws.loss], 1), np.tile(steps, (3, 1)))
    assert draws.num_gradients == 3 * 10 * thinning


def test_positions_only_where_asked_for_in_the_shape_of_the_parameters():
    positions = {"a": jnp.zeros((3, 2, 4)), "b": jnp.zeros(3)}
    sampler = sgld(lambda w, batch: jnp.sum(w["a"] ** 2) + w["b"] ** 2, step_size=0.1)
    options = {"observe": lambda w, batch: w["b"], "num_warmup": 3, "num_draws": 7}
    assert run(sampler, positions, **options).positions is None
    kept = run(sampler, positions, keep_positions=True, **options).positions
    assert jax.tree.map(np.shape, kept) == {"a": (3, 7, 2, 4), "b": (3, 7)}


def test_the_same_key_gives_the_same_draws_and_another_does_not():
    options = {"observe": quadratic, "num_draws": 10}
    sampler = sgld(quadratic, step_size=0.1)
    one, two, three = (sample(jax.random.key(k), sampler, jnp.zeros((3, 2)), (), **options).loss for k in (0, 0, 1))
    np.testing.assert_array_equal(one, two)
    assert not np.isclose(one[:, 1:], three[:, 1:]).any()


@pytest.mark.parametrize("thinning", [1, 3])
def test_every_chain_and_step_has_its_own_key(thinning):
    """64 x 100 words of 24 bits: about one pair of equal ones is expected, ten have probability below 1e-6."""
    draws = run(key_teller(), jnp.zeros((64, 2)), observe=first, num_draws=100, keep_positions=True, thinning=thinning)
    words, again = np.moveaxis(draws.positions, -1, 0)
    assert len(np.unique(words)) > words.size - 11
    assert not again.any()


def test_chains_from_one_start_are_independent():
    """Correlation between 8 chains of 4000 nearly white draws (κε = 1): |r| < 0.1, which is 6 standard errors."""
    draws = run(leimkuhler_matthews(quadratic, step_size=1.0), jnp.zeros((8, 1)), observe=first, num_draws=4000)
    correlation = np.corrcoef(draws.loss)
    assert np.abs(correlation - np.eye(8)).max() < 0.1


DATA = {"row": jnp.arange(1000.0), "twin": jnp.arange(1000.0) * 2}


@pytest.mark.parametrize("method", ["vmap", "map"])
def test_every_step_of_every_chain_sees_a_fresh_batch_of_the_right_size(method):
    sizes = []

    def observe(w, batch):
        sizes.append(batch["row"].shape)
        return jnp.where((batch["twin"] == 2 * batch["row"]).all(), batch["row"][0], jnp.nan)

    options = {"observe": observe, "num_draws": 200, "batch_size": 20, "chain_method": method}
    rows = run(sgld(quadratic, step_size=0.1), jnp.zeros((4, 1)), DATA, **options).loss
    assert set(sizes) == {(20,)}
    assert np.isfinite(rows).all(), "the leaves of a batch are the same rows"
    assert stats.chisquare(np.histogram(rows, 10, (0, 1000))[0]).pvalue > 1e-6
    assert np.abs(np.corrcoef(rows) - np.eye(4)).max() < 0.45  # 6 errors
    assert np.mean(rows[:, 1:] == rows[:, :-1]) < 0.03, "a new batch at every step"


def test_the_kernel_moves_on_the_batch_that_was_observed():
    """What is recorded is that of the position *before* the batch moved it, on that very batch."""

    def step(key, state, batch):
        info = Info(jnp.ones(()), jnp.zeros((), bool), jnp.ones((), jnp.int32))
        return LangevinState(batch["row"][:1]), info

    sampler = Sampler(lambda position, batch: LangevinState(position), step)
    options = {"batch_size": 3, "keep_positions": True, "num_draws": 50}
    draws = run(sampler, jnp.zeros((2, 1)), DATA, observe=lambda w, batch: batch["row"][0], **options)
    np.testing.assert_array_equal(draws.positions[..., 0], draws.loss)


@pytest.mark.parametrize("batch_size", [None, 1000, 5000])
def test_no_batch_size_or_a_large_one_means_all_data_in_order(batch_size):
    def observe(w, batch):
        return jnp.where((batch["row"] == DATA["row"]).all(), 1.0, 0.0)

    assert (run(data=DATA, observe=observe, batch_size=batch_size).loss == 1).all()


def test_the_number_of_data_and_not_the_batch_size_enters_the_energy():
    """Posterior variance of a mean from minibatches of 10 of n = 1000: 1/(nβ + γ); resolution 10 %, false fail 1e-6.

    With the batch size in place of n it would be about 1/(10 β + γ), ninety times as large.
    """
    data = jnp.asarray(np.random.default_rng(0).normal(size=1000), jnp.float32)
    data = data - data.mean()
    target = loss_target(lambda w, rows: 0.5 * (rows - w[0]) ** 2, jnp.zeros(1), data, localization=1.0)
    sampler = leimkuhler_matthews(target.energy, step_size=0.3 / target.nbeta)
    options = {"batch_size": 10, "num_warmup": 100, "num_draws": 2000, "observe": lambda w, batch: w[0] ** 2}
    draws = run(sampler, jnp.zeros((64, 1)), target.data, **options)
    exact = 1 / (target.nbeta + 1)
    assert_agrees(replicate_mean(draws.loss.mean(1)), exact, resolution=0.1 * exact, false_fail=1e-6)


@pytest.mark.parametrize("batch_size", [None, 5])
def test_vmap_and_map_over_chains_give_the_same_draws(batch_size):
    def energy(w, batch):
        return 0.5 * jnp.sum((w - batch["row"][:5].mean() / 1000) ** 2)

    sampler = leimkuhler_matthews(energy, step_size=0.1)
    options = {"batch_size": batch_size, "num_draws": 50, "keep_positions": True}
    one, other = (run(sampler, jnp.zeros((3, 2)), DATA, chain_method=m, **options) for m in ("vmap", "map"))
    np.testing.assert_allclose(one.loss, other.loss, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(one.positions, other.positions, rtol=1e-4, atol=1e-6)


def test_a_diverging_chain_is_reported_with_chain_and_draw_and_refused_by_the_mean():
    """Chain 1 starts where a step of 0.1 on a quartic is unstable: |w| grows as w³ until it overflows."""
    sampler = sgld(lambda w, batch: jnp.sum(w**4), step_size=0.1)
    starts = jnp.array([[0.1], [100.0], [0.1]])
    draws = run(sampler, starts, observe=lambda w, batch: jnp.sum(w**4), num_draws=20)
    np.testing.assert_array_equal(draws.first_divergence >= 0, [False, True, False])
    broken = int(draws.first_divergence[1])
    assert np.isfinite(draws.loss[1, :broken]).all()
    assert not np.isfinite(draws.loss[1, broken])
    assert draws.diverging[1, broken]
    assert not draws.diverging[[0, 2]].any()
    with pytest.raises(ValueError, match=f"chain 1, draw {broken}"):
        llc(draws.loss, nbeta=1.0)
    assert np.isfinite(llc(draws.loss[draws.first_divergence < 0], nbeta=1.0).value)


def test_a_run_cut_into_pieces_is_the_run():
    run_ = runner(sgld(quadratic, step_size=0.1), quadratic)
    start = run_.init(KEY, jnp.zeros((3, 2)), ())
    _, whole = run_.advance(start, (), 30)
    middle, head = run_.advance(start, (), 13)
    _, tail = run_.advance(middle, (), 17)
    np.testing.assert_array_equal(np.concatenate([head.loss, tail.loss], 1), whole.loss)


def test_effective_draws_of_a_slow_chain_are_few():
    """AR(1) with coefficient 0.9: 1/19 of the draws are effective. Within a factor 1.5 of 8000 draws."""
    draws = run(sgld(quadratic, step_size=0.1), jnp.zeros((4, 1)), observe=first, num_warmup=200, num_draws=2000)
    assert 8000 / 19 / 1.5 < ess(draws.loss) < 8000 / 19 * 1.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positions": jnp.zeros((1, 2))}, "1 chain given; at least 2"),
        ({"num_draws": 3}, "num_draws is 3"),
        ({"num_warmup": -1}, "num_warmup -1"),
        ({"thinning": 0}, "thinning is 0; a draw takes at least 1 step"),
        ({"chain_method": "pmap"}, "'auto', 'vmap', 'map' or a number"),
    ],
)
def test_wrong_calls_say_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        run(**options)


# ---------------------------------------------------------------- checkpoints

CHECKPOINTED = """
    import jax, jax.numpy as jnp
    from slt.samplers import run
    from slt.samplers.langevin import leimkuhler_matthews

    def energy(w, batch):
        return 0.5 * jnp.sum(w["a"] ** 2) + jnp.sum((w["b"] - batch.mean()) ** 4)

    def go(checkpoint, **changes):
        options = {"num_draws": 60, "num_warmup": 40, "thinning": 2, "keep_positions": True} | changes
        key = options.pop("key", 3)
        positions = options.pop("positions", {"a": jnp.zeros((3, 2)), "b": jnp.ones((3, 1))})
        data = options.pop("data", jnp.arange(10.0))
        sampler = leimkuhler_matthews(energy, step_size=options.pop("step_size", 0.05))
        options = {"observe": energy, "batch_size": 4, "checkpoint": checkpoint} | options
        return run.sample(jax.random.key(key), sampler, positions, data, **options)
"""  # fmt: skip
SAVED_THEN_KILLED = """
    import os, signal, sys
    save, saves = run._save, []

    def save_and_die(*args):
        save(*args)
        saves.append(None)
        if len(saves) == 7:
            os.kill(os.getpid(), signal.SIGKILL)

    run._save = save_and_die
    go(sys.argv[1])
"""
KILLED_WHILE_SAVING = """
    import os, signal, sys
    write, writes = run.eqx.tree_serialise_leaves, []

    def write_half_and_die(file, leaves):
        writes.append(None)
        if len(writes) == 7:
            file.write(b"half a file")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        write(file, leaves)

    run.eqx.tree_serialise_leaves = write_half_and_die
    go(sys.argv[1])
"""

go = {}
exec(textwrap.dedent(CHECKPOINTED), go)  # the very code of the killed process
go = go["go"]


@pytest.fixture(scope="module")
def uninterrupted():
    return go(None)


@pytest.fixture
def checkpoint(tmp_path):
    """The file of a finished run."""
    go(tmp_path / "run.ckpt")
    return tmp_path / "run.ckpt"


def assert_same_bits(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


@pytest.mark.parametrize("death", [SAVED_THEN_KILLED, KILLED_WHILE_SAVING], ids=["after a save", "within a save"])
def test_a_run_killed_with_sigkill_resumes_bit_for_bit(tmp_path, uninterrupted, death):
    path = tmp_path / "run.ckpt"
    script = textwrap.dedent(CHECKPOINTED) + textwrap.dedent(death)
    killed = subprocess.run([sys.executable, "-c", script, str(path)], check=False, capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert path.exists()
    assert_same_bits(go(path), uninterrupted)


def test_a_finished_run_is_read_back_and_not_repeated(checkpoint, uninterrupted, monkeypatch):
    monkeypatch.setattr("slt.samplers.run._save", lambda *args: pytest.fail("a finished run was run again"))
    assert_same_bits(go(checkpoint), uninterrupted)


@pytest.mark.parametrize("part", [0.01, 0.5, 0.95])
def test_a_truncated_checkpoint_is_refused_with_the_remedy(checkpoint, part):
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: int(part * len(content))])
    with pytest.raises(ValueError, match=r"(truncated|damaged)[\s\S]*Delete the file to start afresh"):
        go(checkpoint)


@pytest.mark.parametrize("content", [b"", b"\n", b"\x93\xff\x00\n", b"not json\n", b"{}\n", b"[1]\n", b"null\n"])
def test_a_file_of_something_else_is_refused_with_the_remedy(tmp_path, content):
    path = tmp_path / "run.ckpt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"not a checkpoint of slt[\s\S]*Delete the file to start afresh"):
        go(path)


@pytest.mark.parametrize("change", [{"key": 4}, {"num_draws": 61}, {"num_warmup": 41}])
def test_the_checkpoint_of_another_run_is_refused_with_the_remedy(checkpoint, change):
    with pytest.raises(ValueError, match=r"belongs to another run[\s\S]*Delete the file to start afresh"):
        go(checkpoint, **change)


@pytest.mark.parametrize(
    "change",
    [
        {"positions": {"a": jnp.zeros((3, 5)), "b": jnp.ones((3, 1))}},
        {"positions": {"a": jnp.zeros((4, 2)), "b": jnp.ones((4, 1))}},
    ],
    ids=["parameters", "chains"],
)
def test_a_checkpoint_of_another_shape_is_refused_with_the_remedy(checkpoint, change):
    with pytest.raises(ValueError, match=r"(of another shape|another run)[\s\S]*Delete the file to start afresh"):
        go(checkpoint, **change)


OTHER_SETTINGS = {
    "start": {"positions": {"a": jnp.ones((3, 2)), "b": jnp.ones((3, 1))}},
    "thinning": {"thinning": 3},
    "batch": {"batch_size": 5},
    "record": {"keep_positions": False},
    "step": {"step_size": 0.06},
    "data": {"data": jnp.arange(10.0) + 1},
}


@pytest.mark.parametrize("change", OTHER_SETTINGS.values(), ids=OTHER_SETTINGS)
def test_a_checkpoint_of_other_settings_is_refused(checkpoint, change):
    """Else the draws of one posterior are handed out as those of another."""
    with pytest.raises(ValueError, match="another run"):
        go(checkpoint, **change)


def test_every_flipped_bit_of_a_checkpoint_is_found(checkpoint, uninterrupted):
    content = checkpoint.read_bytes()
    for at in np.random.default_rng(0).integers(0, len(content), 6):
        flipped = bytearray(content)
        flipped[at] ^= 2
        checkpoint.write_bytes(flipped)
        with pytest.raises(ValueError, match="Delete the file to start afresh"):
            go(checkpoint)


def test_two_that_run_with_one_checkpoint_both_end_with_the_same(tmp_path, uninterrupted, monkeypatch):
    """A twin begins and ends within each save of the first, and takes its half-written files away."""
    path, save, write, nested = tmp_path / "run.ckpt", runs._save, runs.eqx.tree_serialise_leaves, []

    def write_beside_a_twin(file, leaves):
        write(file, leaves)
        if len(nested) < 2:
            nested.append(None)
            runs._save(path, *latest)
            for left in tmp_path.glob("*.partial"):
                left.unlink()

    def remember(path, *args):
        latest[:] = args
        save(path, *args)

    latest = []
    monkeypatch.setattr(runs, "_save", remember)
    monkeypatch.setattr(runs.eqx, "tree_serialise_leaves", write_beside_a_twin)
    assert_same_bits(go(path), uninterrupted)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert_same_bits(go(path), uninterrupted)
