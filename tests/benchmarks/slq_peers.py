"""Stochastic Lanczos quadrature of one Hessian by this package and by its peers: time and error of each.

The 3605-parameter network of geometry_problem.py, float64, full batch, 10 probes of 80 steps, log det(H + cI) from the
nodes and weights of each. Every contestant runs in a process of its own on one core; the torch peers (curvlinops,
PyHessian, hessian-eigenthings) under the interpreter given by --peers, and those that are absent are left out. CPU
seconds of the fastest of --rounds calls, after a warm-up call; errors are root mean squares over the rounds' seeds.
Run: python tests/benchmarks/slq_peers.py --peers PYTHON
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PROBES, STEPS = 10, 80
SHIFTS = (1e-1, 1e-2, 3e-3)
PEERS = ("curvlinops", "pyhessian", "hessian-eigenthings")
SINGLE = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def measure(run, rounds: int) -> None:
    """Time `run(seed) -> (nodes, weights)`, each (probe, step), and print what it gives for every shift."""
    run(1000)
    times, values = [], []
    for seed in range(rounds):
        start = time.process_time()
        nodes, weights = (np.asarray(a, np.float64) for a in run(seed))
        times.append(time.process_time() - start)
        with np.errstate(invalid="ignore"):
            values.append([3605 * float(np.mean(np.sum(weights * np.log(nodes + c), 1))) for c in SHIFTS])
    print(json.dumps({"seconds": min(times), "values": values}))


def own(dtype: str, rounds: int) -> None:
    import jax
    from geometry_problem import problem

    from slt.geometry.lanczos import lanczos_spectrum
    from slt.geometry.operators import hessian

    operator = hessian(problem(), dtype=np.dtype(dtype))

    def run(seed: int):
        spectrum = lanczos_spectrum(
            operator.product, operator.dim, jax.random.key(seed), args=operator.args, dtype=operator.dtype,
            num_probes=PROBES, num_steps=STEPS,
        )  # fmt: skip
        return spectrum.gauss

    measure(run, rounds)


def matfree(rounds: int) -> None:
    import jax
    from geometry_problem import problem
    from matfree import decomp

    from slt.geometry.operators import hessian

    operator = hessian(problem())
    tridiag = decomp.tridiag_sym(STEPS, materialize=True)

    @jax.jit
    def probes(key, args):
        def one(k):
            v = jax.random.rademacher(k, (operator.dim,), np.float64)
            return tridiag(lambda x: operator.product(x, *args), v).J_small

        return jax.lax.map(one, jax.random.split(key, PROBES))

    def run(seed: int):
        with jax.enable_x64(True):
            nodes, vectors = np.linalg.eigh(np.asarray(probes(jax.random.key(seed), operator.args)))
        return nodes, vectors[:, 0] ** 2

    measure(run, rounds)


def torch_model(file: str):
    import torch

    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    stored = np.load(file)
    layers: list = []
    for i in range(3):
        weight, bias = stored[f"layer_{i}.weight"], stored[f"layer_{i}.bias"]
        linear = torch.nn.Linear(*weight.shape)
        linear.weight.data, linear.bias.data = torch.tensor(weight.T.copy()), torch.tensor(bias)
        layers += [linear, torch.nn.Tanh()]
    model = torch.nn.Sequential(*layers[:-1])
    return model, torch.tensor(stored["inputs"]), torch.tensor(stored["targets"]).long()


def curvlinops(file: str, rounds: int) -> None:
    import torch
    from curvlinops import HessianLinearOperator
    from curvlinops.papyan2020traces.spectrum import fast_lanczos

    model, x, y = torch_model(file)
    operator = HessianLinearOperator(
        model, torch.nn.CrossEntropyLoss(), list(model.parameters()), [(x, y)], check_deterministic=False
    )

    def run(seed: int):
        torch.manual_seed(seed)
        pairs = [fast_lanczos(operator, STEPS) for _ in range(PROBES)]
        return [e.detach().numpy() for e, _ in pairs], [v[0].detach().numpy() ** 2 for _, v in pairs]

    measure(run, rounds)


def pyhessian(file: str, rounds: int) -> None:
    """Release 0.1 calls torch.eig, which is gone: the symmetric solver stands in for it."""
    import torch

    def eig(matrix, eigenvectors):
        values, vectors = torch.linalg.eigh(matrix)
        return torch.stack([values, torch.zeros_like(values)], 1), vectors

    torch.eig = eig
    from pyhessian import hessian as build

    model, x, y = torch_model(file)
    computation = build(model, torch.nn.CrossEntropyLoss(), data=(x, y), cuda=False)

    def run(seed: int):
        torch.manual_seed(seed)
        return computation.density(iter=STEPS, n_v=PROBES)

    measure(run, rounds)


def eigenthings(file: str, rounds: int) -> None:
    import torch
    from hessian_eigenthings import HessianOperator, spectral_density, supervised_loss

    model, x, y = torch_model(file)
    operator = HessianOperator(model, [(x, y)], supervised_loss(torch.nn.CrossEntropyLoss()))

    def run(seed: int):
        result = spectral_density(operator, num_runs=PROBES, lanczos_steps=STEPS, num_grid_points=16, seed=100 * seed)
        return result.raw_eigenvalues, result.raw_weights

    measure(run, rounds)


def child(python: str, *arguments: str, folder: Path) -> dict | str:
    """What a contestant printed, or why it did not."""
    environment = os.environ | SINGLE | {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
    command = [python, str(Path(__file__).resolve()), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no message"])[-1]
    return json.loads(done.stdout.strip().splitlines()[-1])


def report(name: str, result: dict | str, exact: np.ndarray) -> None:
    if isinstance(result, str):
        print(f"{name:32s} absent: {result}", flush=True)
        return
    errors = np.sqrt(np.mean((np.array(result["values"]) - exact) ** 2, 0))
    cells = "".join(f"{error:12.2f}" for error in errors)
    print(f"{name:32s} {result['seconds']:9.2f} {cells}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", help="python interpreter that has the torch peers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="these contestants, joined by commas")
    parser.add_argument("--role", help="for the child processes")
    parser.add_argument("--file", help="for the child processes")
    chosen = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    roles = {
        "own float64": lambda: own("float64", chosen.rounds),
        "own float32": lambda: own("float32", chosen.rounds),
        "matfree": lambda: matfree(chosen.rounds),
        "curvlinops": lambda: curvlinops(chosen.file, chosen.rounds),
        "pyhessian": lambda: pyhessian(chosen.file, chosen.rounds),
        "hessian-eigenthings": lambda: eigenthings(chosen.file, chosen.rounds),
    }
    if chosen.role:
        roles[chosen.role]()
        return
    from geometry_problem import FILE, data, hessian_values

    eigenvalues = hessian_values()
    exact = np.array([np.sum(np.log(eigenvalues + c)) for c in SHIFTS])
    print(f"exact log det(H + cI) for c = {SHIFTS}: {', '.join(f'{v:.2f}' for v in exact)}")
    print(f"{'':32s} {'CPU s':>9s} " + "".join(f"{f'rms c={c:g}':>12s}" for c in SHIFTS))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "problem.npz"
        np.savez(file, **dict(np.load(FILE)), **data())
        wanted = chosen.only.split(",") if chosen.only else list(roles)
        for name in [name for name in roles if name in wanted and name not in PEERS]:
            report(
                name, child(sys.executable, "--role", name, "--rounds", str(chosen.rounds), folder=Path.cwd()), exact
            )
        for name in [name for name in PEERS if name in wanted]:
            arguments = ("--role", name, "--file", str(file), "--rounds", str(chosen.rounds))
            found = child(chosen.peers, *arguments, folder=Path(folder)) if chosen.peers else "no --peers given"
            report(name, found, exact)


if __name__ == "__main__":
    main()
