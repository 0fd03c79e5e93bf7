"""What `import slt` gives, and what it does not load."""

import subprocess
import sys

import slt


def test_every_public_name_is_there():
    assert "estimate_llc" in slt.__all__
    for name in slt.__all__:
        assert getattr(slt, name).__name__.rpartition(".")[2] == name


def test_the_command_line_starts_without_the_numerics():
    heavy = ("jax", "scipy", "sympy", "xarray", "numpyro", "pydantic", "matplotlib")
    code = f"import sys, slt.app.cli; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
