"""Measures workloads with one number of threads: a process of its own, started by `__main__`.

Thread counts and CPUs are decided for a whole process, before NumPy and the others are imported.
Each finished workload is a line of JSON on standard output.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.peers import Peer, Task
    from benchmarks.workloads import Array, Workload

# Seconds that a peer has to prepare itself (compile, convert) and to do its first epoch.
PREPARATION_LIMIT = 180
# A turn is at least so many epochs: what a call costs once (pycnn and scikit-learn check their
# data, which takes a tenth of the shortest epochs over 60,000 rows) counts, but not for more than
# it does in use.
LEAST_EPOCHS = 3
# Seconds between two peers' turns: the threads of one, which wait busily for more work, go to
# sleep before the next begins.
PAUSE = 0.1


def environment(threads: int, isa: str | None) -> dict[str, str]:
    """Return the environment in which every library uses so many threads."""
    count = str(threads)
    names = ("PYCNN", "OPENBLAS", "OMP", "MKL", "BLIS", "NUMEXPR")
    variables = {f"{name}_NUM_THREADS": count for name in names} | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    if threads == 1:
        variables["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    if isa is not None:
        variables["PYCNN_ISA"] = isa
    return os.environ | variables


class _TooSlowError(Exception):
    pass


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise _TooSlowError(f"not ready after {seconds:g} s")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _seconds(run: Callable[[int], None], epochs: int, threads: int) -> float:
    """Return what some epochs take: of one thread CPU time, which others disturb less."""
    clock = time.process_time if threads == 1 else time.perf_counter
    start = clock()
    run(epochs)
    return clock() - start


def _epochs_in(run: Callable[[int], None], seconds: float, threads: int, workload: Workload) -> int:
    """Return how many epochs take about so long, and are enough; whole `passes`."""
    epochs, passes = workload.passes, workload.passes
    while (elapsed := _seconds(run, epochs, threads)) < seconds / 4:
        epochs *= 4
    turns = round(epochs * seconds / elapsed / passes)
    return max(1 if passes > 1 else LEAST_EPOCHS, turns) * passes


def _make_task(workload: Workload, threads: int) -> Task:
    from benchmarks.peers import Task
    from benchmarks.workloads import make_data

    return Task(workload, workload.network(), *make_data(workload), threads)


def _prepare(name: str, task: Task, reference: Array | None) -> tuple[Peer, dict[str, Any]]:
    """Return a peer that has done its first epoch, and what there is to say of it."""
    from benchmarks import peers

    kind = peers.load(name)
    refusal = kind.check_family(task.workload)
    if refusal:
        raise NotImplementedError(refusal)
    with _time_limit(PREPARATION_LIMIT):
        start = time.perf_counter()
        peer = kind(task)
        peer.run(task.workload.passes)
        prepared = time.perf_counter() - start
    right, remark = peer.check(peer.result() if reference is None else reference)
    note = {"title": kind.title, "precision": kind.precision, "prepared": prepared,
            "agrees": right, "remark": remark}  # fmt: skip
    return peer, note


def measure(
    workload: Workload,
    names: dict[str, int | None],
    threads: int,
    repeats: int,
    slice_seconds: float,
) -> dict[str, Any]:
    """Let the peers take turns at a workload, of so many epochs or, where None, of so many seconds.

    Returns
    -------
    dict
        ``"peers"``: for each name its notes and seconds a step, a number a turn; ``"absent"``: why
        a peer is not among them; ``"peak"``: GFLOP/s of the FMA peak, measured with each round.
    """
    from benchmarks import machine

    task = _make_task(workload, threads)
    runners: dict[str, tuple[Peer, int]] = {}
    results: dict[str, Any] = {}
    absent: dict[str, str] = {}
    reference = None
    for name in names:
        try:
            peer, results[name] = _prepare(name, task, reference)
            if reference is None:
                reference = peer.result()
            epochs = names[name] or _epochs_in(peer.run, slice_seconds, threads, workload)
            runners[name] = peer, epochs
            results[name]["epochs"] = epochs
        except Exception as error:  # whatever it is, the others go on
            if name == "pycnn":
                raise
            results.pop(name, None)
            text = str(error).strip().partition("\n")[0]
            known = isinstance(error, (NotImplementedError, ImportError, _TooSlowError))
            absent[name] = text if known else f"{type(error).__name__}: {text}"
    times: dict[str, list[float]] = {name: [] for name in runners}
    sets, peaks = machine.instruction_sets(), []
    gc.collect()
    gc.disable()
    for _ in range(repeats):
        if sets:
            peaks.append(machine.fma_peak(sets[0], threads))
        for name, (peer, epochs) in runners.items():
            time.sleep(PAUSE)
            times[name].append(_seconds(peer.run, epochs, threads) / epochs / workload.steps)
    gc.enable()
    for name, turns in times.items():
        results[name] |= {"best": min(turns), "median": statistics.median(turns),
                          "worst": max(turns), "turns": turns}  # fmt: skip
    return {
        "workload": workload.name,
        "threads": threads,
        "flops": workload.flops,
        "peers": results,
        "absent": absent,
        "peak": peaks,
    }


def main() -> None:
    """Read the orders from the command line, write results to standard output."""
    orders = json.loads(sys.argv[1])
    threads = orders["threads"]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    # Libraries may print what they like: results have standard output for themselves.
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    from benchmarks import machine
    from benchmarks.workloads import WORKLOADS

    def write(**line: Any) -> None:
        print(json.dumps(line), file=output, flush=True)

    write(limits=machine.limits(threads), threads=threads)
    for name, peers in orders["workloads"].items():
        workload = WORKLOADS[name].shortened() if orders["quick"] else WORKLOADS[name]
        start = time.perf_counter()
        result = measure(workload, peers, threads, orders["repeats"], orders["slice_seconds"])
        write(result=result | {"seconds": time.perf_counter() - start})


if __name__ == "__main__":
    main()
