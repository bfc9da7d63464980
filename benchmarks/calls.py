"""What a row and a step cost from C and from Python: ``python -m benchmarks.calls``.

Tiny networks of sigmoid units on squared errors, which all libraries have, one thread. In one
process each takes its turn at each task, many times, and the fastest turn counts: on a machine
where others work too that is what tells most. FANN is `libdoublefann.so.2` (Debian's libfann2),
genann what ``pip install cynn`` brings; who is not there is left out.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import os
import subprocess
import tempfile
import time
from ctypes import CFUNCTYPE, POINTER, c_double, c_float, c_size_t, c_uint, c_void_p
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn import SGD, Dense, Network, backend

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Task = Callable[[int], float]

ROOT = Path(__file__).parents[1]
NETWORKS = ((64, 32, 10), (2, 2, 2, 1))
ROWS, BATCH = 256, 32
_FILL = CFUNCTYPE(None, c_uint, c_uint, c_uint, POINTER(c_double), POINTER(c_double))
_FANN_SIGMOID, _FANN_INCREMENTAL, _FANN_BATCH = 3, 0, 1


def _build(folder: str) -> ctypes.CDLL:
    """Compile the loops with the core, as anybody would."""
    path = Path(folder) / "calls.so"
    sources = [str(source) for source in (ROOT / "csrc").glob("*.c")]
    compiler = os.environ.get("CC", "cc")
    options = ["-O2", "-shared", "-fPIC", f"-I{ROOT / 'csrc'}", "-o", str(path)]
    loops = str(ROOT / "benchmarks" / "calls.c")
    subprocess.run([compiler, *options, loops, *sources, "-pthread", "-lm"], check=True)
    library = ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)  # it helps genann out
    library.subject_create.restype = c_void_p
    for name in (
        "predict",
        "predictor",
        "train",
        "run",
        "genann_train",
        "fann_train",
        "fann_batch",
    ):
        getattr(library, f"time_{name}").restype = c_double
    return library


def _at(array: Array) -> c_void_p:
    return c_void_p(array.ctypes.data)


def _n(*counts: int) -> list[c_size_t]:
    return [c_size_t(count) for count in counts]


class _Data:
    def __init__(self, sizes: tuple[int, ...]) -> None:
        rng = np.random.default_rng(0)
        self.sizes, self.inputs, self.outputs = sizes, sizes[0], sizes[-1]
        self.X = rng.normal(size=(ROWS, sizes[0]))
        self.y = rng.uniform(size=(ROWS, sizes[-1]))

    def put(self, row: int, x: Any, y: Any) -> None:
        """Copy a row to where pointers of C point."""
        np.ctypeslib.as_array(x, (self.inputs,))[:] = self.X[row]
        np.ctypeslib.as_array(y, (self.outputs,))[:] = self.y[row]


def _from_c(lib: ctypes.CDLL, data: _Data, net: Network) -> dict[str, Task]:
    sizes = (c_size_t * len(data.sizes))(*data.sizes)
    depth = len(data.sizes) - 1
    subject = c_void_p(lib.subject_create(sizes, *_n(depth), _at(net.theta), *_n(ROWS)))
    assert subject, "the core has refused the network"
    x, y = _at(data.X), _at(data.y)
    return {
        "row": lambda n: lib.time_predictor(subject, x, *_n(ROWS, data.inputs, n)),
        "row, in place": lambda n: lib.time_predict(subject, x, *_n(ROWS, data.inputs, 1, n)),
        "32 rows": lambda n: lib.time_predict(subject, x, *_n(ROWS, data.inputs, BATCH, n)),
        "step": lambda n: lib.time_train(subject, x, y, *_n(ROWS, 1, n)),
        "step of 32": lambda n: lib.time_train(subject, x, y, *_n(ROWS, BATCH, n)),
    }


def _timed(run: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - start) / calls


def _from_python(data: _Data, net: Network) -> dict[str, Task]:
    frozen, rows = net.predictor(frozen=True), list(data.X)
    bound, batch = net.predictor(BATCH), data.X[:BATCH].copy()
    single = [row[None].copy() for row in data.X]

    def each(call: Callable[[Array], Array], inputs: list[Array]) -> Task:
        return lambda n: _timed(lambda: [call(x) for _ in range(n) for x in inputs],
                                n * len(inputs))  # fmt: skip

    def fit(size: int) -> Task:
        def run(n: int) -> float:
            how = {"batch_size": size, "optimizer": SGD(0.01), "shuffle": False}
            return _timed(lambda: net.fit(data.X, data.y, epochs=n, progress=False, **how),
                          n * ROWS // size)  # fmt: skip

        return run

    return {
        "row": each(frozen, rows),
        "row, in place": each(net.predict, single),
        "32 rows": each(bound, [batch]),
        "step": fit(1),
        "step of 32": fit(BATCH),
    }


def _from_genann(lib: ctypes.CDLL, data: _Data) -> dict[str, Task]:
    found = importlib.util.find_spec("cynn.genann")
    if found is None or found.origin is None:
        raise ModuleNotFoundError
    genann = ctypes.CDLL(found.origin)
    genann.genann_init.restype = c_void_p
    hidden = data.sizes[1:-1]
    net = c_void_p(genann.genann_init(data.inputs, len(hidden), hidden[0], data.outputs))
    x, y = _at(data.X), _at(data.y)
    counts = (ROWS, data.inputs, data.outputs)
    return {
        "row": lambda n: lib.time_run(genann.genann_run, net, x, *_n(ROWS, data.inputs, n)),
        "step": lambda n: lib.time_genann_train(genann.genann_train, net, x, y, *_n(*counts, n)),
    }


def _from_fann(lib: ctypes.CDLL, data: _Data) -> dict[str, Task]:
    fann = ctypes.CDLL("libdoublefann.so.2")
    fann.fann_create_standard_array.restype = c_void_p
    fann.fann_create_train_from_callback.restype = c_void_p
    fann.fann_set_activation_steepness_hidden.argtypes = [c_void_p, c_double]
    fann.fann_set_activation_steepness_output.argtypes = [c_void_p, c_double]
    fann.fann_set_learning_rate.argtypes = [c_void_p, c_float]
    sizes = (c_uint * len(data.sizes))(*data.sizes)
    x, y = _at(data.X), _at(data.y)

    def make(algorithm: int) -> c_void_p:
        net = c_void_p(fann.fann_create_standard_array(len(data.sizes), sizes))
        fann.fann_set_activation_function_hidden(net, _FANN_SIGMOID)
        fann.fann_set_activation_function_output(net, _FANN_SIGMOID)
        fann.fann_set_activation_steepness_hidden(net, 0.5)
        fann.fann_set_activation_steepness_output(net, 0.5)
        fann.fann_set_learning_rate(net, 0.01)
        fann.fann_set_training_algorithm(net, algorithm)
        return net

    one, many = make(_FANN_INCREMENTAL), make(_FANN_BATCH)
    fill = _FILL(lambda row, inputs, outputs, to_x, to_y: data.put(row, to_x, to_y))
    batch = c_void_p(fann.fann_create_train_from_callback(BATCH, data.inputs, data.outputs, fill))
    counts = (ROWS, data.inputs, data.outputs)
    return {
        "row": lambda n: lib.time_run(fann.fann_run, one, x, *_n(ROWS, data.inputs, n)),
        "step": lambda n: lib.time_fann_train(fann.fann_train, one, x, y, *_n(*counts, n)),
        "step of 32": lambda n: lib.time_fann_batch(fann.fann_train_epoch, many, batch, *_n(8 * n)),
    }


def _count(run: Task, seconds: float) -> int:
    """Return how often a task goes into so many seconds."""
    count, elapsed = 1, 0.0
    while elapsed < seconds / 2:
        count *= 2
        start = time.perf_counter()
        run(count)
        elapsed = time.perf_counter() - start
        for _ in range(3):  # others may have been in its way
            start = time.perf_counter()
            run(count)
            elapsed = min(elapsed, time.perf_counter() - start)
    return count


def _best(peers: dict[str, dict[str, Task]], turns: int, seconds: float) -> dict[str, Any]:
    """Return the fastest turn of each peer at each task."""
    best: dict[str, dict[str, float]] = {name: {} for name in peers}
    counts = {
        (name, task): _count(run, seconds) for name in peers for task, run in peers[name].items()
    }
    for _ in range(turns):
        for name, tasks in peers.items():
            for task, run in tasks.items():
                taken = run(counts[name, task])
                best[name][task] = min(best[name].get(task, taken), taken)
    return best


def tables(turns: int, seconds: float) -> str:
    """Return a table for each network."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        lib = _build(folder)
        for sizes in NETWORKS:
            data = _Data(sizes)
            net = Network(sizes[0], [Dense(n, "sigmoid") for n in sizes[1:]], loss="mse", seed=0)
            peers = {"C": _from_c(lib, data, net), "Python": _from_python(data, net)}
            for name, make in (("genann", _from_genann), ("FANN", _from_fann)):
                try:
                    peers[name] = make(lib, data)
                except (OSError, ModuleNotFoundError):
                    lines.append(f"{name} is not here\n")
            best = _best(peers, turns, seconds)
            tasks = list(best["C"])
            lines.append(f"**{'-'.join(map(str, sizes))}** ({backend.load('c').isa()}; load "
                         f"{os.getloadavg()[0]:.0f} on {os.cpu_count()} CPUs), ns\n")  # fmt: skip
            lines.append("| | " + " | ".join(tasks) + " |\n| --- |" + " ---: |" * len(tasks))
            for name, times in best.items():
                cells = [f"{times[task]:,.0f}" if task in times else "–" for task in tasks]
                lines.append(f"| {name} | " + " | ".join(cells) + " |")
            lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Print a table for each network."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calls", description=__doc__)
    parser.add_argument("--turns", type=int, default=200, help="of each at each task")
    parser.add_argument("--seconds", type=float, default=0.003, help="of a turn, about")
    options = parser.parse_args()
    print(tables(options.turns, options.seconds))


if __name__ == "__main__":
    main()
