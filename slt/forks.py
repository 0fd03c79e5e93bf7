"""A process forked after JAX started has no threads of JAX: its first computation would wait for ever."""

import os
from typing import Any

import jax

_forked = [False]


def check_not_forked() -> None:
    """Raises ValueError in such a process, which would hang otherwise."""
    if _forked[0]:
        raise ValueError(
            "This process was forked (os.fork, or multiprocessing by its method 'fork') after JAX had started, and "
            "would wait for ever. Start processes by multiprocessing.get_context('spawn'), or by Dask; or fork before "
            "anything is computed."
        )


def _in_child() -> None:
    bridge: Any = getattr(getattr(jax, "_src", None), "xla_bridge", None)
    started = getattr(bridge, "backends_are_initialized", lambda: False)
    _forked[0] = _forked[0] or bool(started())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
