"""Try a wheel where there is no clone: `python tests/wheel.py dist`, called by `make dist`.

A new environment gets the newest wheel of that folder and its dependencies alone, no extra; a user's own function is
estimated, stored and reopened, and what is not there (figures, demo data) must be said in so many words.
"""

import argparse
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

OWN = '''
import jax.numpy as jnp
import slt


def tiny():
    x = jnp.linspace(-1.0, 1.0, 60)
    loss = lambda w, rows: 0.5 * (rows[1] - rows[0] @ w) ** 2
    features = jnp.stack([x, x**2], 1)
    return slt.loss_target(loss, jnp.zeros(2), (features, 0.0 * x), localization=1.0)
'''
READ = 'import slt; r = slt.load("own.nc")[0]; print(r.estimates["llc"], r.verdict.status)'
TYPED = "import importlib.resources as r; assert (r.files('slt') / 'py.typed').is_file(); print('py.typed is there')"


def clean_environment(folder: Path, wheel: Path, extra: list[str]) -> Path:
    """Its python, with the wheel and its dependencies; `extra` goes to pip."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, wheel, *extra], check=True)
    return python


def attempt(command: list, folder: Path, *, says: str, fails: bool = False) -> None:
    """Run it away from the clone; its output must say that, and it must fail where it should, without a traceback."""
    done = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True)
    output = done.stdout + done.stderr
    shown = " ".join(str(part) for part in command[1:])[:70]
    if (done.returncode != 0) != fails or says not in " ".join(output.split()) or "Traceback" in output:
        sys.exit(f"FAILED: {shown}: ended with {done.returncode}; due: {says!r}\n{output}")
    print(f"ok: {shown}: … {says} …", flush=True)


def try_wheel(python: Path, folder: Path) -> None:
    """The first steps of somebody who has the package and no clone, in a minimal install."""
    slt = python.with_name("slt")
    (folder / "my_models.py").write_text(OWN)
    attempt([python, "-c", TYPED], folder, says="py.typed is there")
    attempt([slt, "--help"], folder, says="estimate")
    attempt([slt, "exact", "x**2*y**4"], folder, says="1/4")
    attempt([slt, "estimate", "my_models:tiny", "--output", "own.nc"], folder, says="converged")
    attempt([python, "-c", READ], folder, says="converged")
    attempt([slt, "report", "own.nc"], folder, says="learning coefficient")
    attempt([slt, "report", "own.nc", "--figures", "figures"], folder, says="pip install matplotlib", fails=True)
    attempt([slt, "estimate", "data/digits.toml"], folder, says="data/digits.toml", fails=True)


def main() -> None:
    """The newest wheel of the folder, in a new environment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the wheel is")
    parser.add_argument("--python", type=Path, help="of an environment that has it, in place of a new one")
    parser.add_argument("--pip", nargs="*", default=[], help="more arguments of pip install, e.g. numpy==2.2.0")
    asked = parser.parse_args()
    wheel = max(asked.folder.resolve().glob("*.whl"), key=lambda path: path.stat().st_mtime)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work"
        work.mkdir()
        python = asked.python or clean_environment(Path(folder) / "clean", wheel, asked.pip)
        try_wheel(python.absolute(), work)
    print(f"{wheel.name} works without the clone.")


if __name__ == "__main__":
    main()
