"""What a step beyond this process costs: python benchmarks/several_machines.py [most workers].

Milliseconds a step, beside those of this process, for networks of three sizes on a few rows; under
MPI (``mpirun -n 4 python benchmarks/several_machines.py mpi``) those of all ranks together. Behind
the least time of a step stands what processors are busy for in a step, this process's and the
workers' together: others that compute here make that but little longer.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

import pycnn
from pycnn import distributed

UNITS = {"20 kB": 48, "0.7 MB": 296, "10 MB": 1112}
STEPS, FIRST = 25, 5
X = np.random.default_rng(0).normal(size=(32, 10))
Y = X[:, :1]


def busy(client: Any = None) -> float:
    """Return the seconds that processors were busy for, here and on workers."""
    far = {} if client is None else client.run(time.process_time)
    return time.process_time() + sum(far.values())


def step(units: int, **where: Any) -> tuple[float, float]:
    """Return the milliseconds that a step takes, the least, and those of processors, the mean."""
    layers = [pycnn.Dense(units, "tanh"), pycnn.Dense(units, "tanh"), pycnn.Dense(1)]
    net = pycnn.Network(10, layers, seed=0)
    times: list[float] = []
    spent: list[float] = []

    def watch(_net: Any, epoch: int, _logs: Any) -> None:
        if epoch in (FIRST, STEPS):
            spent.append(busy(where.get("client")))
        times.append(time.perf_counter())

    how: dict[str, Any] = {"epochs": STEPS, "chunk_rows": 4, "callbacks": [watch]}
    distributed.fit(net, (X, Y), **how, **where)
    if not times:  # another rank
        return 0.0, 0.0
    mean = (spent[1] - spent[0]) / (STEPS - FIRST)
    return 1e3 * float(np.diff(times[FIRST:-1]).min()), 1e3 * mean


def show(name: str, times: dict[str, tuple[float, float]]) -> None:
    """Print a row of the table."""
    row = (f"{key} {least:8.2f} ms ({mean:.2f})" for key, (least, mean) in times.items())
    print(f"{name:12}", *row, flush=True)


def main() -> None:
    """Print the table."""
    if sys.argv[1:] == ["mpi"]:
        from mpi4py import MPI

        times = {key: step(units, comm=MPI.COMM_WORLD) for key, units in UNITS.items()}
        if MPI.COMM_WORLD.Get_rank() == 0:
            show(f"MPI, {MPI.COMM_WORLD.Get_size()}", times)
        return
    from distributed import Client, LocalCluster

    show("here", {key: step(units) for key, units in UNITS.items()})
    for count in range(1, int(*(sys.argv[1:] or ["4"])) + 1):
        settings = {"threads_per_worker": 1, "dashboard_address": ":0", "host": "127.0.0.1"}
        with LocalCluster(n_workers=count, **settings) as cluster, Client(cluster) as client:
            show(f"Dask, {count}", {k: step(n, client=client) for k, n in UNITS.items()})


if __name__ == "__main__":
    main()
