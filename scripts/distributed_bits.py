"""Show that a training has the same bits, whoever computes it: a SHA-256 of theta each.

python scripts/distributed_bits.py
python scripts/distributed_bits.py dask 3
python scripts/distributed_bits.py dask avx2 avx512
python scripts/distributed_bits.py namespaces
mpirun -n 4 python scripts/distributed_bits.py mpi
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
import time
from typing import Any

import numpy as np
from distributed_faults import HOSTS, Cluster, namespaces

import pycnn
from pycnn import distributed
from pycnn.layers import AveragePool2D, Conv2D, Dense, Dropout, Flatten

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40_000, 20))
Y = (X[:, 0] * X[:, 1] > 0).astype(int) + (X[:, 2] > 1)
LENGTHS = RNG.integers(1, 11, 2000)
IMAGES = np.abs(RNG.normal(size=(512, 28, 28, 1))).clip(0, 1)
TANH = [Dense(32, "tanh"), Dense(3, "softmax")]
LENET = [  # LeCun et al. 1998
    *(Conv2D(6, 5, "tanh", padding="same"), AveragePool2D(2)),
    *(Conv2D(16, 5, "tanh"), AveragePool2D(2), Flatten()),
    *(Dense(120, "tanh"), Dense(84, "tanh"), Dense(3, "softmax")),
]
ROWS, BATCH = {"chunk_rows": 1024}, {"chunk_rows": 1024, "batch_size": 16_384}
# Layers, data, and how it is trained on them.
KINDS: dict[str, tuple[list[Any], tuple[Any, ...], dict[str, Any]]] = {
    "full batch": (TANH, (X, Y), ROWS),
    "batches of 16,384": (TANH, (X, Y), BATCH),
    "L-BFGS": (TANH, (X, Y), ROWS | {"optimizer": "lbfgs"}),
    "dropout": ([TANH[0], Dropout(0.3), TANH[1]], (X, Y), BATCH),
    "LeNet": (LENET, (IMAGES, Y[:512]), {"chunk_rows": 64, "batch_size": 256}),
    "LSTM": (
        [pycnn.LSTM(16), TANH[1]],
        (X[:2000].reshape(-1, 10, 2), Y[:2000], None, LENGTHS),
        {"chunk_rows": 256, "batch_size": 1024},
    ),
}


def network(kind: str) -> pycnn.Network:
    """Return the network of a kind before its training."""
    layers, data, _ = KINDS[kind]
    return pycnn.Network(data[0].shape[1:], layers, seed=1, l2=1e-4)


def show(name: str, **where: Any) -> None:
    """Train all kinds, and print their hashes."""
    for kind, (_, data, how) in KINDS.items():
        net, started = network(kind), time.monotonic()
        if "comm" in where:
            part = distributed.rows_of(len(data[0]), where["comm"], chunk_rows=how["chunk_rows"])
            data = tuple(table if table is None else table[part] for table in data)
        distributed.fit(net, data, epochs=10, **how, **where)
        sha = hashlib.sha256(net.theta.tobytes()).hexdigest()
        took = time.monotonic() - started
        sys.stdout.write(f"{kind:18} {name:20} {sha[:16]} {took:6.1f} s\n")
        sys.stdout.flush()


def show_distances() -> None:
    """Print how far `Network.fit` is, after a step and after ten epochs."""
    for kind, (_, (x, y, *others), how) in KINDS.items():
        apart = []
        batch = how.get("batch_size", len(x))
        given = dict(zip(("sample_weight", "lengths"), others, strict=False))
        for epochs, rows in ((1, batch), (10, len(x))):
            far, near, some = network(kind), network(kind), slice(rows)
            tables = [t if t is None else t[some] for t in (x, y, *others)]
            settings = how | {"epochs": epochs, "shuffle": False}
            distributed.fit(far, tables, **settings)
            there = {k: v if v is None else v[some] for k, v in given.items()} | settings
            del there["chunk_rows"]
            near.fit(tables[0], tables[1], **({"batch_size": None} | there))
            apart.append(np.abs(far.theta - near.theta).max())
        sys.stdout.write(f"{kind:18} from fit: {apart[0]:.1e} (a step) {apart[1]:.1e} (all)\n")


def main(how: str = "here", *more: str) -> None:
    """Train in this process, or elsewhere."""
    if how == "here":
        show("one process")
        show_distances()
    elif how == "mpi":
        from mpi4py import MPI

        rank, size = MPI.COMM_WORLD.Get_rank(), MPI.COMM_WORLD.Get_size()
        show(f"rank {rank} of {size}", comm=MPI.COMM_WORLD)
    else:
        from distributed import Client

        isas = int(more[0]) * [""] if more and more[0].isdigit() else list(more) or HOSTS * [""]
        where = namespaces() if how == "namespaces" else contextlib.nullcontext([])
        with (
            where as names,
            contextlib.closing(Cluster(names, isas)) as cluster,
            Client(cluster.address, timeout=60) as client,
        ):
            client.wait_for_workers(len(isas), timeout=120)
            sys.stdout.write(f"{client.run(lambda: pycnn.config()['isa'])}\n")
            show(" ".join((how, *more)), client=client)


if __name__ == "__main__":
    main(*sys.argv[1:])
