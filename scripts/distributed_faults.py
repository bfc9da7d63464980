"""Lose Dask workers in the midst of a training, and compare its bits with those of one process.

    python scripts/distributed_faults.py kill 20     # SIGKILL at random moments
    python scripts/distributed_faults.py pause 5     # SIGSTOP, for a minute at most
    python scripts/distributed_faults.py cut 5       # a network namespace loses its link

`cut` needs root and iproute2. Traffic goes to loopback, or to 10.77.0.0/24 within this machine.
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
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from distributed import Client, LocalCluster

import pycnn
from pycnn import distributed
from pycnn.exceptions import WorkerLostError

if TYPE_CHECKING:
    from collections.abc import Iterator

HOSTS = 3
BRIDGE, NETWORK, PORT = "pycnn-br", "10.77.0", 8799
RNG = np.random.default_rng(0)
X = RNG.normal(size=(40_000, 20))
Y = (X[:, 0] * X[:, 1] > 0).astype(int)
EPOCHS = 60


def train(client: Any = None) -> str:
    """Train for a few seconds; return the SHA-256 of theta."""
    started = time.monotonic()
    layers = [pycnn.Dense(32, "tanh"), pycnn.Dropout(0.2), pycnn.Dense(2, "softmax")]
    net = pycnn.Network(20, layers, seed=1)
    slowly = [lambda *_: time.sleep(0.02)]
    how: dict[str, Any] = {"epochs": EPOCHS, "chunk_rows": 1024, "batch_size": 16_384}
    distributed.fit(net, (X, Y), client=client, callbacks=slowly, **how)
    sys.stdout.write(f"trained for {time.monotonic() - started:.1f} s; ")
    return hashlib.sha256(net.theta.tobytes()).hexdigest()


def with_signals(sign: int, after: float) -> Any:
    """Train on a cluster of which a worker gets a signal after some seconds."""
    settings = {"threads_per_worker": 1, "dashboard_address": ":0", "host": "127.0.0.1"}
    with LocalCluster(n_workers=HOSTS, **settings) as cluster, Client(cluster) as client:
        pid = random.choice(sorted(client.run(os.getpid).values()))
        timers = [threading.Timer(after, os.kill, (pid, sign))]
        if sign == signal.SIGSTOP:
            timers.append(threading.Timer(after + 60, os.kill, (pid, signal.SIGCONT)))
        for timer in timers:
            timer.start()
        try:
            return train(client)
        finally:
            for timer in timers:
                timer.cancel()
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def ip(*arguments: str) -> None:
    """Call iproute2."""
    subprocess.run(["ip", *arguments], check=True)


@contextlib.contextmanager
def hosts() -> Iterator[list[str]]:
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


def with_namespaces(after: float | None) -> Any:
    """Train on three namespaces, one of which loses its link after some seconds."""
    python, scheduler = sys.executable, f"tcp://{NETWORK}.1:{PORT}"
    processes = []
    with hosts() as names:
        try:
            command = [python, "-m", "distributed.cli.dask_scheduler", "--no-dashboard"]
            processes.append(subprocess.Popen([*command, "--host", scheduler]))
            for i, name in enumerate(names):
                command = [python, "-m", "distributed.cli.dask_worker", scheduler, "--no-nanny"]
                command += ["--nthreads", "1", "--no-dashboard", "--host", f"{NETWORK}.{10 + i}"]
                processes.append(subprocess.Popen(["ip", "netns", "exec", name, *command]))
            with Client(scheduler, timeout=60) as client:
                client.wait_for_workers(HOSTS, timeout=60)
                link = ("link", "set", f"{random.choice(names)}-a", "down")
                timer = threading.Timer(after or 0.0, ip, link)
                if after is not None:
                    timer.start()
                return train(client)
        finally:
            for process in processes:
                process.kill()
                process.wait()


def main() -> None:
    """Lose workers as often as is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("how", choices=["kill", "pause", "cut", "namespaces"])
    parser.add_argument("count", type=int, nargs="?", default=1)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was set up is taken down
    random.seed(given.seed)
    expected = train()
    wrong = 0
    for _ in range(given.count):
        after, started = random.uniform(0.1, 4.0), time.monotonic()
        try:
            if given.how in ("cut", "namespaces"):
                found = with_namespaces(after if given.how == "cut" else None)
            else:
                found = with_signals(
                    signal.SIGKILL if given.how == "kill" else signal.SIGSTOP, after
                )
            told = "the same bits" if found == expected else "OTHER BITS"
        except WorkerLostError as error:
            told = f"an error that says so: {error}"
        wrong += told == "OTHER BITS"
        took = time.monotonic() - started
        sys.stdout.write(f"{given.how} after {after:.2f} s: {told}; {took:.0f} s in all\n")
        sys.stdout.flush()
    sys.exit(wrong)


if __name__ == "__main__":
    main()
