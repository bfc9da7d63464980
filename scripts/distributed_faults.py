"""Lose what takes part in a training, at random moments, and compare the bits with one process.

    python scripts/distributed_faults.py kill 20       # SIGKILL for a worker
    python scripts/distributed_faults.py pause 5       # SIGSTOP for a worker, for --seconds
    python scripts/distributed_faults.py cut 5         # a worker's network namespace has no link
    python scripts/distributed_faults.py client 3      # SIGKILL for the client; another resumes
    python scripts/distributed_faults.py scheduler 1   # SIGKILL for Dask's scheduler
    python scripts/distributed_faults.py rank 3        # SIGKILL for a rank of MPI; a job resumes
    python scripts/distributed_faults.py namespaces 1  # nothing is lost

`cut` and `namespaces` need root and iproute2. Traffic goes to loopback, or to 10.77.0.0/24 within
this machine.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import pycnn
from pycnn import distributed
from pycnn.exceptions import WorkerLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distributed import Client

HOSTS = 3
BRIDGE, NETWORK, PORT = "pycnn-br", "10.77.0", 8799
IN_NAMESPACES = "cut", "namespaces"
RNG = np.random.default_rng(0)
X = RNG.normal(size=(40_000, 20))
Y = (X[:, 0] * X[:, 1] > 0).astype(int)


def train(epochs: int, path: str = "", **where: Any) -> str:
    """Train, on from the checkpoint at `path` where there is one; return the SHA-256 of theta."""
    layers = [pycnn.Dense(32, "tanh"), pycnn.Dropout(0.2), pycnn.Dense(2, "softmax")]
    net, resume = pycnn.Network(20, layers, seed=1), os.path.exists(path)
    if resume:
        net = pycnn.load(path)
    callbacks: list[Any] = [lambda *_: time.sleep(0.02)]
    if path:
        callbacks.append(pycnn.callbacks.ModelCheckpoint(path))
    data: Any = X, Y
    if "comm" in where:
        part = distributed.rows_of(len(X), where["comm"], chunk_rows=1024)
        data = X[part], Y[part]
    how: dict[str, Any] = {"epochs": epochs, "chunk_rows": 1024, "batch_size": 16_384}
    distributed.fit(net, data, callbacks=callbacks, resume=resume, **how, **where)
    return hashlib.sha256(net.theta.tobytes()).hexdigest()


# ------------------------------------------------------------------ a cluster of processes


class Cluster:
    """A scheduler and workers of Dask, in namespaces of these names or without.

    Parameters
    ----------
    names : list of str
        Of namespaces, as many as there are workers, or none.
    isas : list of str
        What each worker has as `PYCNN_ISA`; "": the best.
    """

    def __init__(self, names: list[str], isas: list[str] = HOSTS * [""]) -> None:
        self.names, self.isas = names, isas
        self.hosts = [f"{NETWORK}.{10 + i}" if names else "127.0.0.1" for i in range(len(isas))]
        self.address = f"tcp://{f'{NETWORK}.1' if names else '127.0.0.1'}:{PORT}"
        command = ["-m", "distributed.cli.dask_scheduler", "--no-dashboard", "--host", self.address]
        self.scheduler = subprocess.Popen([sys.executable, *command])
        self.workers = [self._worker(i) for i in range(len(isas))]

    def _worker(self, i: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "distributed.cli.dask_worker", self.address, "--no-nanny"]
        command += ["--nthreads", "1", "--no-dashboard", "--host", self.hosts[i]]
        inside = ["ip", "netns", "exec", self.names[i]] if self.names else []
        own = {"PYCNN_ISA": self.isas[i]} if self.isas[i] else {}
        return subprocess.Popen([*inside, *command], env=os.environ | own)

    def renew(self, i: int) -> None:
        """Put another worker in the place of this one."""
        if self.names:
            ip("link", "set", f"{self.names[i]}-a", "up")
        end(self.workers[i])
        self.workers[i] = self._worker(i)

    def close(self) -> None:
        """End all processes."""
        for process in (*self.workers, self.scheduler):
            end(process)


def end(process: subprocess.Popen[Any]) -> None:
    """Kill a process, which may be paused."""
    process.kill()
    process.wait()


def ip(*arguments: str) -> None:
    """Call iproute2."""
    subprocess.run(["ip", *arguments], check=True)


@contextlib.contextmanager
def namespaces() -> Iterator[list[str]]:
    """Yield the names of namespaces with addresses of their own, which a bridge connects."""
    names = [f"pycnn-{i}" for i in range(HOSTS)]
    ip("link", "add", BRIDGE, "type", "bridge")
    try:
        ip("addr", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for i, name in enumerate(names):
            ip("netns", "add", name)
            ip("link", "add", f"{name}-a", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", f"{name}-a", "master", BRIDGE, "up")
            ip("-n", name, "addr", "add", f"{NETWORK}.{10 + i}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)
        ip("link", "del", BRIDGE)


# ------------------------------------------------------------------ what is lost


class Fault:
    """Does something once, some seconds from now."""

    def __init__(self, what: Callable[[], Any], after: float) -> None:
        self.what, self.at = what, 0.0
        self.timer = threading.Timer(after, self)
        self.timer.start()

    def __call__(self) -> None:
        """Do it."""
        self.at = time.monotonic()
        self.what()


def lose_worker(cluster: Cluster, client: Client, given: argparse.Namespace, after: float) -> str:
    """Train while a worker, or the scheduler, is lost."""
    client.wait_for_workers(HOSTS, timeout=120)
    i = random.randrange(HOSTS)
    pid = cluster.workers[i].pid
    what = {
        "kill": lambda: os.kill(pid, signal.SIGKILL),
        "pause": lambda: pause(pid, given.seconds),
        "cut": lambda: ip("link", "set", f"{cluster.names[i]}-a", "down"),
        "scheduler": cluster.scheduler.kill,
        "namespaces": lambda: None,
    }
    fault = Fault(what[given.how], after)
    try:
        return train(given.epochs, client=client)
    except WorkerLostError as error:
        return f"an error after {time.monotonic() - fault.at:.1f} s: {error}"
    finally:
        fault.timer.join()
        if given.how in ("kill", "cut"):
            cluster.renew(i)


def pause(pid: int, seconds: float) -> None:
    """Stop a process for so long."""
    os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(pid, signal.SIGCONT)


def lose_client(command: list[str], ranks: bool, after: float) -> str:
    """Train in another process, which is lost, or a rank of it, and again to the end."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        command = [*command, "--path", str(path / "last.safetensors")]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not (started := sorted(path.glob("*.pid"))):
            time.sleep(0.1)
        time.sleep(after)
        killed = time.monotonic()
        pid = int(random.choice(started).stem) if ranks else process.pid
        with contextlib.suppress(ProcessLookupError):  # it was quick
            os.kill(pid, signal.SIGKILL)
        process.wait(30)
        sys.stdout.write(f"ended {time.monotonic() - killed:.1f} s later; ")
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0]


def take_part(given: argparse.Namespace) -> None:
    """Train as a client, or as a rank, that will be lost."""
    (Path(given.path).parent / f"{os.getpid()}.pid").touch()
    if given.address:
        from distributed import Client

        with Client(given.address) as client:
            found = train(given.epochs, given.path, client=client)
    else:
        from mpi4py import MPI

        found = train(given.epochs, given.path, comm=MPI.COMM_WORLD)
    sys.stdout.write(found + "\n")


# ------------------------------------------------------------------ as often as is asked for


def repeat(given: argparse.Namespace, attempt: Callable[[float], str]) -> int:
    """Try it so often, at random moments; return how often the bits were others."""
    expected, wrong = train(given.epochs), 0
    for _ in range(given.count):
        after, started = random.uniform(0.0, given.within), time.monotonic()
        found = attempt(after)
        told = found if found.startswith("an error") else "the same bits"
        if len(found) == len(expected) and found != expected:
            told, wrong = "OTHER BITS", wrong + 1
        took = time.monotonic() - started
        sys.stdout.write(f"{given.how} after {after:.2f} s: {told}; {took:.0f} s in all\n")
        sys.stdout.flush()
    return wrong


def on_dask(given: argparse.Namespace) -> int:
    """Lose workers, the client or the scheduler of a cluster."""
    from distributed import Client

    where = namespaces() if given.how in IN_NAMESPACES else contextlib.nullcontext([])
    with where as names, contextlib.closing(Cluster(names)) as cluster:
        if given.how == "client":
            command = [sys.executable, __file__, "part", "--address", cluster.address]
            command += ["--epochs", str(given.epochs)]
            with Client(cluster.address, timeout=60) as client:
                client.wait_for_workers(HOSTS, timeout=120)
            return repeat(given, lambda after: lose_client(command, False, after))
        with Client(cluster.address, timeout=60) as client:
            return repeat(given, lambda after: lose_worker(cluster, client, given, after))


def main() -> None:
    """Lose what is asked for, as often."""
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = ["kill", "pause", "cut", "client", "scheduler", "rank", "namespaces", "part"]
    parser.add_argument("how", choices=kinds)
    parser.add_argument("count", type=int, nargs="?", default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--within", type=float, default=4.0, help="seconds until something is lost")
    parser.add_argument("--seconds", type=float, default=60.0, help="that a pause takes")
    parser.add_argument("--address", default="", help=argparse.SUPPRESS)
    parser.add_argument("--path", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.how == "part":
        take_part(given)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was set up is taken down
    random.seed(given.seed)
    if given.how == "rank":
        command = ["mpirun", "--oversubscribe", "--allow-run-as-root", "-n", str(HOSTS)]
        command += [sys.executable, __file__, "part", "--epochs", str(given.epochs)]
        sys.exit(repeat(given, lambda after: lose_client(command, True, after)))
    sys.exit(on_dask(given))


if __name__ == "__main__":
    main()
