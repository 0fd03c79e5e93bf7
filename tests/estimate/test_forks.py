"""A process forked after JAX started says so in place of waiting for ever; one forked before it works."""

import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
    import os, sys, warnings
    warnings.simplefilter("ignore")
    import jax, jax.numpy as jnp
    import slt

    def target():
        return slt.potential_target(lambda w: jnp.sum(w**2), jnp.zeros(2), nbeta=100.0)

    late = sys.argv[1] == "late"
    if late:
        given = target()
    child = os.fork()
    if child == 0:
        try:
            for call in (lambda: slt.estimate_llc(given), target) if late else (target,):
                try:
                    call()
                    print("computed", flush=True)
                except ValueError as error:
                    print(error, flush=True)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.parametrize("when", ["late", "early"])
def test_a_forked_process(when):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), when], check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    if when == "late":
        assert done.stdout.count("forked") >= 2
        assert "get_context('spawn')" in done.stdout
        assert "computed" not in done.stdout.splitlines()
    else:
        assert done.stdout == "computed\n"
