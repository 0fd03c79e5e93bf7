"""What goes wrong on a cluster: a worker killed, the scheduler restarted, the disk full; results are the same bits.

Four configurations of catalogue potentials on two Dask workers. The full disk is a tmpfs of 1 MiB, for which this needs
to be root.
Run: python tests/benchmarks/faults.py
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from distributed import Client, LocalCluster

from slt.app import experiment
from slt.app.config import Config, parse_config

TEXT = '[model]\nbuiltin = "{}"\n[posterior]\ninverse_temperature = 1000.0\n[run]\nseed = {}\ntolerance = 0.2\n'


def configs() -> list[Config]:
    return [parse_config(TEXT.format(name, seed)) for seed in (0, 1) for name in ("pow2", "pow4")]


def cluster() -> tuple[LocalCluster, Client]:
    made = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    return made, Client(made)


def same(found, expected) -> bool:
    return all(
        a[0].estimates == b[0].estimates and np.array_equal(a[0].draws.loss, b[0].draws.loss)
        for a, b in zip(found, expected, strict=True)
    )


def worker_killed(folder: Path, expected) -> None:
    made, client = cluster()
    with made, client:
        futures = client.map(experiment._sweep_one, configs(), [folder] * 4)
        while not (busy := [worker for worker, tasks in client.processing().items() if tasks]):
            time.sleep(0.05)
        time.sleep(1)
        os.kill(client.run(os.getpid)[busy[0]], signal.SIGKILL)
        client.gather(futures)
        found = experiment.sweep(configs(), folder, map=client.map)
    print(f"worker killed: {len(found)} results, same bits: {same(found, expected)}", flush=True)


def scheduler_restarted(folder: Path, expected) -> None:
    """Scheduler and workers are killed together once a result is stored; a new cluster is given the same sweep."""
    served = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True,
                              start_new_session=True)  # fmt: skip
    assert served.stdout is not None
    client = Client(served.stdout.readline().strip())
    futures = client.map(experiment._sweep_one, configs(), [folder] * 4)
    while len(list(folder.glob("*.nc"))) < 1:
        time.sleep(0.1)
    os.killpg(served.pid, signal.SIGKILL)
    kept = len(list(folder.glob("*.nc")))
    del futures
    with contextlib.suppress(Exception):
        client.close(timeout=5)
    made, client = cluster()
    with made, client:
        found = experiment.sweep(configs(), folder, map=client.map)
    print(f"scheduler killed with {kept} of 4 stored, started anew: same bits: {same(found, expected)}", flush=True)


def disk_full(folder: Path, expected) -> None:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", str(folder)], check=True)
    try:
        experiment.sweep(configs()[:1], folder)
        ballast = folder / "ballast"
        try:
            with ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(2**12))
        except OSError:
            pass
        try:
            experiment.sweep(configs(), folder)
        except OSError as error:
            print(f"disk full: {error} {getattr(error, '__notes__', '')}")
        subprocess.run(["mount", "-o", "remount,size=64M", str(folder)], check=True)
        found = experiment.sweep(configs(), folder)
        print(f"space freed: same bits: {same(found, expected)}, left over: "
              f"{[p.name for p in folder.iterdir() if p.suffix != '.nc' and p != ballast]}", flush=True)  # fmt: skip
    finally:
        subprocess.run(["umount", str(folder)], check=True)


PARTS = {"worker": worker_killed, "scheduler": scheduler_restarted, "disk": disk_full}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=PARTS, help="all unless given")
    parser.add_argument("--serve", action="store_true", help="be the cluster that is killed")
    given = parser.parse_args()
    if given.serve:
        print(cluster()[0].scheduler_address, flush=True)
        time.sleep(3600)
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        expected = experiment.sweep(configs(), base / "alone")
        for part in given.parts or PARTS:
            PARTS[part](base / part, expected)


if __name__ == "__main__":
    main()
