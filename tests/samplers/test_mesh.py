"""Chains and rows on several devices: forced host devices in one process, and two processes on loopback."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROGRAM = """
import sys
import jax
address, number, mine, output = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
if number > 1:
    jax.distributed.initialize(address, number, mine)
import jax.numpy as jnp, numpy as np
import slt

def loss(w, rows):
    return 0.5 * (rows["y"] - jnp.tanh(rows["x"] @ w)) ** 2

rng = np.random.default_rng(0)
data = {"x": rng.normal(size=(64, 3)).astype(np.float32), "y": rng.normal(size=64).astype(np.float32)}
w = np.array([0.3, -0.2, 0.5], np.float32)
target = slt.loss_target(loss, w, data, localization=1.0)
kernel = slt.samplers.sghmc(target.energy, step_size=0.05, friction=1.0)

def draws(**options):
    starts = np.tile(w, (8, 1))
    options |= {"observe": target.loss, "num_draws": 10, "keep_positions": True}
    return slt.samplers.sample(jax.random.key(0), kernel, starts, target.data, **options).positions

found = {}
for case in sys.argv[5:]:
    shape, axes, method, rows = case.split("/")
    shape, axes = tuple(map(int, shape.split("x"))), tuple(axes.split("x"))
    method, rows = int(method) if method.isdigit() else method, int(rows) or None
    mesh = jax.make_mesh(shape, axes) if axes != ("none",) else None
    found[case.replace("/", "|")] = draws(mesh=mesh, chain_method=method, batch_size=rows)
if mine == 0:
    np.savez(output, **found)
"""


def start(output, cases, *, devices=1, address="", number=1, mine=0):
    env = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", PROGRAM, address, str(number), str(mine), str(output), *cases]
    root = Path(__file__).parents[2]
    return subprocess.Popen(command, env=env, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process):
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 0, output


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    path = tmp_path_factory.mktemp("mesh") / "one.npz"
    finish(start(path, ["1/none/vmap/0", "1/none/vmap/16"]))
    found = np.load(path)
    return {int(name.split("|")[-1]): found[name] for name in found.files}


def assert_same(path, expected):
    found = np.load(path)
    for name in found.files:
        np.testing.assert_allclose(found[name], expected[int(name.split("|")[-1])], atol=2e-6, err_msg=name)


def test_draws_on_forced_host_devices_are_those_of_one_device(tmp_path, one_device):
    cases = ["8/chain/vmap/16", "2/data/vmap/0", "2x4/chainxdata/map/0", "4/chain/2/16"]
    finish(start(tmp_path / "many.npz", cases, devices=8))
    assert_same(tmp_path / "many.npz", one_device)
    assert np.abs(one_device[0] - one_device[16]).max() > 1e-3  # a batch is not all rows


def test_draws_of_two_processes_are_those_of_one(tmp_path, one_device):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    cases = ["2/chain/vmap/16", "2/data/vmap/0"]
    processes = [start(tmp_path / "two.npz", cases, address=address, number=2, mine=mine) for mine in (0, 1)]
    for process in processes:
        finish(process)
    assert_same(tmp_path / "two.npz", one_device)


def test_what_does_not_split_is_refused():
    import jax
    import jax.numpy as jnp

    from slt.samplers.langevin import sgld
    from slt.samplers.run import runner

    def energy(w, batch):
        return jnp.sum(w**2)

    kernel = sgld(energy, step_size=0.1)
    with pytest.raises(ValueError, match="name them 'chain', 'data'"):
        runner(kernel, energy, mesh=jax.make_mesh((1,), ("batch",)))
    with pytest.raises(ValueError, match="chain_method is 0"):
        runner(kernel, energy, chain_method=0)
