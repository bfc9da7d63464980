"""What runs here: the machine, its measured limits, the versions of all peers."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import subprocess
import tempfile
import threading
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "torch",
    "jax",
    "keras",
    "tensorflow",
    "tensorflow-cpu",
    "onnxruntime",
)
INSTRUCTION_SETS = ("avx512", "avx2", "baseline")

# Bytes that are read again and again, to see each level of the memory.
BUFFERS = {"256 KiB": 1 << 18, "8 MiB": 1 << 23, "512 MiB": 1 << 29}


@functools.cache
def _library() -> ctypes.CDLL:
    """Compile machine.c and load it.

    Raises
    ------
    OSError, subprocess.CalledProcessError
        If there is no C compiler, or it fails.
    """
    source = Path(__file__).with_name("machine.c")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "machine.so")
        command = ["cc", "-O3", "-ffp-contract=fast", "-shared", "-fPIC", "-o", path, source]
        subprocess.run(command, check=True, capture_output=True)
        return ctypes.CDLL(str(path))


@functools.cache
def instruction_sets() -> list[str]:
    """Return those that can be measured here, the best first."""
    try:
        library = _library()
    except (OSError, subprocess.CalledProcessError):
        return []
    return [
        isa for isa in INSTRUCTION_SETS if isa == "baseline" or getattr(library, f"has_{isa}")()
    ]


def _rate_of_threads(call: Callable[[int], float], threads: int, seconds: float) -> float:
    """Run `call` over and over on each thread for some time; return the sum of their rates.

    ``call(thread)`` does a little work, without the GIL, and returns how much. As with workloads,
    the time of one thread is CPU time.
    """
    clock = time.process_time if threads == 1 else time.perf_counter
    rates = [0.0] * threads
    barrier = threading.Barrier(threads)

    def work(thread: int) -> None:
        barrier.wait()
        done, start = 0.0, clock()
        while (elapsed := clock() - start) < seconds:
            done += call(thread)
        rates[thread] = done / elapsed

    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(rates)


def fma_peak(isa: str, threads: int, seconds: float = 0.05) -> float:
    """Measure float64 multiply-adds in registers, in GFLOP/s."""
    library = _library()
    chains = getattr(library, f"fma_chains_{isa}")
    chains.argtypes, chains.restype = [ctypes.c_size_t, *[ctypes.c_double] * 2], ctypes.c_double
    flops = ctypes.c_size_t.in_dll(library, f"fma_flops_{isa}").value
    rounds = 100_000

    def call(thread: int) -> float:
        chains(rounds, 0.5, 0.5)
        return rounds * flops / 1e9

    return _rate_of_threads(call, threads, seconds)


def read_bandwidth(isa: str, threads: int, size: int, seconds: float = 0.2) -> float:
    """Measure reading `size` bytes (divided among the threads) again and again, in GB/s."""
    read = getattr(_library(), f"read_all_{isa}")
    read.argtypes, read.restype = [ctypes.c_void_p, ctypes.c_size_t], ctypes.c_double
    count = size // 8 // threads
    blocks = []
    for _ in range(threads):
        block = np.ones(count + 8)
        blocks.append(block[-block.ctypes.data % 64 // 8 :][:count])
    repeats = max(1, (1 << 22) // (count * 8))

    def call(thread: int) -> float:
        for _ in range(repeats):
            read(blocks[thread].ctypes.data, count)
        return repeats * count * 8 / 1e9

    return _rate_of_threads(call, threads, seconds)


def between_cores(rounds: int = 2000, size: int = 1 << 19) -> dict[str, float] | None:
    """Measure what lies between the first and the last CPU of this process; None if there is one.

    A virtual machine's CPUs may lie on one third-level cache, or on two: then a word takes four
    times as long from one to the other, what one has written the other reads at a third of the
    rate, and what the other has read takes four times as long to be written again. Which it is
    changes as its host pleases, so a figure of two threads says what was found.
    """
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    if len(cpus) < 2 or not instruction_sets():
        return None
    library = _library()
    hand_over, share = library.hand_over, library.write_and_read
    hand_over.argtypes = [ctypes.c_void_p, *[ctypes.c_size_t] * 2]
    share.argtypes = [*[ctypes.c_void_p] * 2, *[ctypes.c_size_t] * 3]
    hand_over.restype = share.restype = ctypes.c_double
    words, data = np.zeros((6, 8), np.uintp), np.zeros(size // 8 + 8)
    start = data[-data.ctypes.data % 64 // 8 :].ctypes.data
    found: list[list[float]] = [[], []]

    def work(who: int) -> None:
        os.sched_setaffinity(0, {cpus[-who]})  # of this thread
        for word in words[:5]:
            found[who].append(hand_over(word.ctypes.data, rounds, who))
        found[who].append(share(words[5].ctypes.data, start, size // 8, 100, who))

    threads = [threading.Thread(target=work, args=(who,)) for who in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    write, read = (size / 1e9 / times[5] for times in found)
    return {"one way": min(found[1][:5]) * 1e9, "read": read, "write": write}


def limits(threads: int) -> dict[str, Any]:
    """Measure peak and bandwidths; empty without a C compiler."""
    sets = instruction_sets()
    if not sets:
        return {}
    return {
        "peak": {isa: max(fma_peak(isa, threads) for _ in range(5)) for isa in sets},
        "bandwidth": {
            name: max(read_bandwidth(sets[0], threads, size) for _ in range(3))
            for name, size in BUFFERS.items()
        },
        "between cores": between_cores() if threads > 1 else None,
    }


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _governor() -> str | None:
    path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return path.read_text(encoding="ascii").strip() if path.exists() else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def describe() -> dict[str, Any]:
    """Return what a reader of the figures must know of machine and software."""
    import pycnn

    return {
        "cpu": _cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        "governor": _governor(),
        "load": os.getloadavg()[0],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "pycnn": pycnn.config(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
    }
