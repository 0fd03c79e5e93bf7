"""Running chains: scan over draws, vmap or map over chains, one device or a mesh of them, resumable checkpoints."""

import contextlib
import hashlib
import io
import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from slt._options import checked
from slt._progress import tracked
from slt._types import Batch, Energy, Key, Params, Sampler
from slt.draws import Draws
from slt.jit import shared_jit
from slt.samplers.mesh import checked_mesh, is_key, on_mesh, over_chains

DIGEST_SIZE = 64
"""Characters of the checksum at the end of a checkpoint."""
STRETCHES, LOOKS = 20, 100
"""Stretches of a run, and the most of one in which somebody looks at the positions."""


class Chains(NamedTuple):
    """Where every chain stands: kernel states with a leading chain axis, the run's key, draws taken so far."""

    states: Any
    key: Key
    index: Array


class Record(NamedTuple):
    """What is kept of a stretch of draws, dims (chain, draw): means over the thinned steps, and any divergence.

    loss: what was observed, with dims of its own after these where that is an array.
    """

    loss: Array
    acceptance_rate: Array
    diverging: Array
    num_gradients: Array
    positions: Any


class Runner(NamedTuple):
    """init(key, positions, data) -> Chains; advance(chains, data, num_draws) -> (Chains, Record)."""

    init: Callable[[Key, Params, Batch], Chains]
    advance: Callable[[Chains, Batch, int], tuple[Chains, Record]]


def runner(
    sampler: Sampler,
    observe: Energy,
    *,
    batch_size: int | None = None,
    thinning: int = 1,
    chain_method: str | int = "auto",
    keep_positions: bool = False,
    mesh: Mesh | None = None,
) -> Runner:
    """Compiled functions that start and advance several chains of one sampler.

    Keys depend on (run key, chain, step) alone, so a run cut anywhere and resumed gives the same bits.

    Args:
        observe: function of (position, batch) to record, a number or an array of them, evaluated on the batch *before*
            it moves the position, so that it is unbiased given the position; averaged over the `thinning` steps of a
            draw.
        batch_size: rows drawn afresh with replacement for every step and chain; the whole data set by default.
        chain_method: "vmap", "map", a number of chains to vmap at a time, or "auto" (by the number of parameters).
        mesh: devices to spread over, of one process or of several (`jax.distributed`): chains over its axis "chain",
            rows over its axis "data". Draws are those of one device up to rounding.
    """
    if chain_method not in ("auto", "vmap", "map") and not (isinstance(chain_method, int) and chain_method > 0):
        raise ValueError(
            f"runner: chain_method is {chain_method!r}; it must be 'auto', 'vmap', 'map' or a number of chains."
        )
    mesh = None if mesh is None else checked_mesh(mesh)
    if thinning < 1:
        raise ValueError(f"runner: thinning is {thinning}; a draw takes at least 1 step.")

    shape = _Shape(batch_size, thinning, chain_method, keep_positions, mesh)

    def init(key: Key, positions: Params, data: Batch) -> Chains:
        return _init(sampler, shape, key, positions, data)

    def advance(chains: Chains, data: Batch, num_draws: int) -> tuple[Chains, Record]:
        return _advance(sampler, observe, shape, chains, data, num_draws)

    return Runner(init, advance) if mesh is None else Runner(*on_mesh(init, advance, mesh))


class _Shape(NamedTuple):
    """What a compiled run depends on beside its sampler; fields as of `runner`."""

    batch_size: int | None
    thinning: int
    chain_method: str | int
    keep_positions: bool
    mesh: Mesh | None


@shared_jit
def _init(sampler: Sampler, shape: _Shape, key: Key, positions: Params, data: Batch) -> Chains:
    batch = _rows(jax.random.key(0), data, shape.batch_size)
    states = over_chains(shape.chain_method, positions, shape.mesh)(sampler.init, positions, batch)
    return Chains(states, key, jnp.zeros((), jnp.int32))


@shared_jit
def _advance(
    sampler: Sampler, observe: Energy, shape: _Shape, chains: Chains, data: Batch, num_draws: int
) -> tuple[Chains, Record]:
    def one_step(key: Key, state: Any, data: Batch) -> tuple[Any, tuple]:
        batch_key, step_key = jax.random.split(key)
        batch = _rows(batch_key, data, shape.batch_size)
        value = observe(state.position, batch)
        state, info = sampler.step(step_key, state, batch)
        broken = info.diverging | ~jnp.isfinite(value).all()
        return state, (value, info.acceptance_rate, broken, info.num_gradients)

    def one_draw(key: Key, state: Any, index: Array, data: Batch) -> tuple[Any, tuple]:
        def body(state: Any, i: Array) -> tuple[Any, tuple]:
            return one_step(jax.random.fold_in(key, index * shape.thinning + i), state, data)

        state, (value, rate, diverging, gradients) = jax.lax.scan(body, state, jnp.arange(shape.thinning))
        kept = state.position if shape.keep_positions else None
        return state, (value.mean(0), rate.mean(), diverging.any(), gradients.sum(), kept)

    def one_chain(args: tuple[Array, Any], shared: tuple[Key, Array, Batch]) -> tuple[Any, tuple]:
        (chain, state), (run_key, index, data) = args, shared
        key = jax.random.fold_in(run_key, chain)
        steps = index + jnp.arange(num_draws)
        return jax.lax.scan(lambda s, i: one_draw(key, s, i, data), state, steps)

    number = jax.tree.leaves(chains.states)[0].shape[0]
    over = over_chains(shape.chain_method, chains.states.position, shape.mesh)
    states, kept = over(one_chain, (jnp.arange(number), chains.states), (chains.key, chains.index, data))
    if shape.mesh is not None:  # every process can read a replicated array
        kept = jax.lax.with_sharding_constraint(kept, NamedSharding(shape.mesh, PartitionSpec()))
    return Chains(states, chains.key, chains.index + num_draws), Record(*kept)


@checked
def sample(
    key: Key,
    sampler: Sampler,
    positions: Params,
    data: Batch,
    *,
    observe: Energy,
    num_draws: int,
    num_warmup: int = 0,
    batch_size: int | None = None,
    thinning: int = 1,
    chain_method: str | int = "auto",
    keep_positions: bool = False,
    mesh: Mesh | None = None,
    progress: bool = False,
    checkpoint: str | Path | None = None,
) -> Draws:
    """Run several chains and keep their draws; memory does not grow with draws unless positions are asked for.

    Args:
        positions: one start per chain, leading axis chain (at least 2).
        observe: (position, batch) -> scalar to keep of every draw, e.g. `target.loss`.
        mesh, chain_method: as of `runner`.
        num_draws, num_warmup: draws kept, and draws before them that only enter the trace.
        checkpoint: file to which the run is written every few seconds and from which it resumes, bit for bit.

    Raises:
        ValueError: fewer than 2 chains, counts out of range, or a checkpoint of another run, truncated or damaged,
            which is named and never taken, nor replaced.
    """
    number = jax.tree.leaves(positions)[0].shape[0]
    if number < 2:
        raise ValueError(f"sample: {number} chain given; at least 2 are needed, or convergence cannot be judged.")
    if num_draws < 4 or num_warmup < 0:
        raise ValueError(f"sample: num_draws is {num_draws}, num_warmup {num_warmup}; needed: at least 4 and 0.")
    run = runner(
        sampler, observe, batch_size=batch_size, thinning=thinning, chain_method=chain_method,
        keep_positions=keep_positions, mesh=mesh,
    )  # fmt: skip
    chains = run.init(key, positions, data)
    chains, record = advance_with_progress(
        run, chains, data, num_warmup + num_draws, progress=progress, checkpoint=checkpoint
    )
    return draws_from_record(record, num_warmup)


def advance_with_progress(
    run: Runner,
    chains: Chains,
    data: Batch,
    num_draws: int,
    *,
    progress: bool = False,
    checkpoint: str | Path | None = None,
    label: str = "sampling",
    watch: Callable[[Params], None] | None = None,
    spacing: int = 1,
    stretch: int | None = None,
    note: str = "",
) -> tuple[Chains, Record]:
    """`run.advance` in stretches; after each the progress, a checkpoint, and a look at the positions.

    Looks are at least `spacing` draws apart, unless that makes fewer than 20 of them. A stretch of another length is
    another program, so that runs of several lengths had better name one that divides them.
    """
    most, fewest = -(-num_draws // STRETCHES), -(-num_draws // LOOKS)
    if stretch is None:
        stretch = max(1, most if watch is None else max(fewest, min(spacing, most)))
    record: Any = None
    done = 0
    identity = {}
    if checkpoint is not None:
        identity = {"num_draws": num_draws, "start": int(chains.index), "first_draw": _first_draw(run, chains, data)}
        with contextlib.suppress(FileNotFoundError):
            chains, record, done = _load(checkpoint, run, chains, data, identity)
    with tracked(progress, num_draws, "draws", done=done, note=note) as update:
        update(done, label)
        while done < num_draws:
            count = min(stretch, num_draws - done)
            chains, new = run.advance(chains, data, count)
            new = jax.tree.map(np.asarray, new)
            record = new if record is None else join_records(record, new)
            done += count
            update(done, label)
            if watch is not None:
                watch(chains.states.position)
            if checkpoint is not None:
                _save(checkpoint, chains, record, done, identity)
    return chains, record


def join_records(record: Record, new: Record) -> Record:
    """Two stretches of the same chains, one after the other."""
    return jax.tree.map(lambda a, b: np.concatenate([a, b], 1), record, new)


def draws_from_record(record: Record, num_warmup: int) -> Draws:
    """Split a record into warm-up and kept draws; find the first divergence of each chain among non-finite values."""
    loss = np.asarray(record.loss)
    broken = ~np.isfinite(loss)
    first = np.where(broken.any(1), broken.argmax(1), -1)
    positions = None if record.positions is None else jax.tree.map(lambda a: a[:, num_warmup:], record.positions)
    return Draws(
        loss=loss[:, num_warmup:],
        warmup_loss=loss[:, :num_warmup],
        acceptance_rate=np.asarray(record.acceptance_rate)[:, num_warmup:],
        diverging=np.asarray(record.diverging)[:, num_warmup:],
        first_divergence=first,
        num_gradients=int(np.sum(record.num_gradients, dtype=np.int64)),
        positions=positions,
    )


def _rows(key: Key, data: Batch, batch_size: int | None) -> Batch:
    leaves = jax.tree.leaves(data)
    if batch_size is None or not leaves or batch_size >= leaves[0].shape[0]:
        return data
    rows = jax.random.randint(key, (batch_size,), 0, leaves[0].shape[0])
    return jax.tree.map(lambda a: a[rows], data)


class CheckpointError(ValueError):
    """A checkpoint that is damaged, or is not of this run."""


def _save(path: str | Path, chains: Chains, record: Record, done: int, identity: dict) -> None:
    """Write beside the file and rename, so that a kill at any moment leaves a whole checkpoint.

    The file beside has a name of its own, and whoever ends the same run first may clear it away.
    """
    partial = Path(path).with_name(f"{Path(path).name}.{uuid.uuid4().hex[:12]}.partial")
    leaves = jax.tree.map(_plain, (chains, record))
    try:
        with partial.open("wb+") as file:
            file.write((json.dumps(identity | {"done": done, "slt_checkpoint": 2}) + "\n").encode())
            eqx.tree_serialise_leaves(file, leaves)
            file.seek(0)
            file.write(hashlib.file_digest(file, "sha256").hexdigest().encode())  # which has read up to the end
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            partial.replace(path)
    except OSError as error:
        raise OSError(error.errno, f"checkpoint {path} could not be written ({error}); give another folder") from error
    finally:
        partial.unlink(missing_ok=True)  # what a full disk left


def _load(path: str | Path, run: Runner, chains: Chains, data: Batch, identity: dict) -> tuple[Chains, Record, int]:
    """Read a checkpoint of exactly this run, or say what does not fit."""
    advice = "Delete the file to start afresh, or repeat the call with the settings that wrote it."
    content = Path(path).read_bytes()
    file = io.BytesIO(content[:-DIGEST_SIZE])
    try:
        header = json.loads(file.readline())
        done, form = int(header.pop("done")), int(header.pop("slt_checkpoint"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"checkpoint {path} is not a checkpoint of slt or is damaged ({error}). {advice}"
        ) from error
    if header != identity or form != 2:
        raise CheckpointError(
            f"checkpoint {path} belongs to another run: it has {header}, this run {identity}. {advice}"
        )
    if hashlib.sha256(content[:-DIGEST_SIZE]).hexdigest().encode() != content[-DIGEST_SIZE:]:
        raise CheckpointError(f"checkpoint {path} is truncated or damaged: it does not have its checksum. {advice}")
    like = jax.eval_shape(lambda c, d: run.advance(c, d, done), chains, data)
    like = jax.tree.map(_like, (chains, like[1]))
    try:
        states, record = eqx.tree_deserialise_leaves(file, like)
    except (RuntimeError, ValueError, EOFError, OSError) as error:
        raise CheckpointError(f"checkpoint {path} is of another shape ({error}). {advice}") from error
    key = jax.random.wrap_key_data(states.key, impl=jax.random.key_impl(chains.key))
    return jax.tree.map(jnp.asarray, states._replace(key=key)), record, done


def _first_draw(run: Runner, chains: Chains, data: Batch) -> str:
    """SHA-256 of the data and of the bits of one draw from here: another model, step, batch or start has another."""
    after, record = run.advance(chains, data, 1)
    digest = hashlib.sha256(str(jax.tree.structure(record)).encode())
    for leaf in jax.tree.leaves((data, after, record)):
        digest.update(_plain(leaf).tobytes())
    return digest.hexdigest()


def _plain(leaf: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)


def _like(leaf: Any) -> np.ndarray:
    if is_key(leaf):
        return np.asarray(jax.random.key_data(leaf))
    return np.empty(leaf.shape, leaf.dtype)
