"""What calls from Python and short epochs cost: ``python -m benchmarks.online [--processes 10]``.

Tiny networks on one thread, whose arithmetic takes next to no time. Each process times each task,
of many turns the fastest; printed are the best, the median and the worst of the processes. With
JAX there, the epochs of one step are also those of a hand-written backward pass in one scan.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

import pycnn
from pycnn import SGD, Dense, Network, backend
from pycnn.backend.interface import Data, TrainingState
from pycnn.callbacks import Callback, EarlyStopping

if TYPE_CHECKING:
    from collections.abc import Callable

    Tasks = dict[str, tuple[Callable[[], Any], int]]  # and how many are in one

# Seconds of a turn, short enough to be left alone on a busy machine, and of all turns of a task.
TURN, TURNS, LEAST_TURNS = 0.001, 0.25, 5
EPOCHS, SHORT = 10_000, 200
RNG = np.random.default_rng(0)
XOR = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0.0], [1], [1], [0]])
TABLE = RNG.normal(size=(350, 9)), RNG.integers(2, size=(350, 2)).astype(float)


def _network(*sizes: int) -> Network:
    layers = [Dense(units, "sigmoid") for units in sizes[1:]]
    return Network(sizes[0], layers, loss="mse", seed=0)


def _calls() -> Tasks:
    """Return calls on one row, and a fit of an epoch on four, of 2-2-2-1."""
    net, optimizer = _network(2, 2, 2, 1), SGD(0.1)
    x, y = XOR[0][1:2].copy(), XOR[1][1:2].copy()
    others = [(x.copy(), y.copy()) for _ in range(2)]
    labels = Network(2, [Dense(2, "softmax")], seed=0)
    labels.fit(XOR[0], XOR[1].astype(int), epochs=1)
    large, row = _network(64, 32, 10), RNG.normal(size=(1, 64))
    train, bound, frozen = net.trainer(1, optimizer), net.predictor(), net.predictor(frozen=True)
    wide, wide_frozen = large.predictor(), large.predictor(frozen=True)

    def alternate() -> None:
        train(*others[0])
        train(*others[1])

    return {
        "trainer, the same arrays": (lambda: train(x, y), 1),
        "trainer, other arrays": (alternate, 2),
        "train_on_batch": (lambda: net.train_on_batch(x, y, optimizer=optimizer), 1),
        "partial_fit": (lambda: net.partial_fit(x, y, optimizer=optimizer), 1),
        "gradients": (lambda: net.gradients(x, y), 1),
        "evaluate": (lambda: net.evaluate(x, y), 1),
        "predict": (lambda: net.predict(x), 1),
        "predict_classes": (lambda: labels.predict_classes(x), 1),
        "predictor": (lambda: bound(x), 1),
        "predictor, frozen": (lambda: frozen(x), 1),
        "predictor 64-32-10": (lambda: wide(row), 1),
        "predictor 64-32-10, frozen": (lambda: wide_frozen(row), 1),
        "fit of one epoch, 4 rows": (lambda: net.fit(*XOR, epochs=1, progress=False), 1),
    }


def _epochs() -> Tasks:
    """Return epochs of one step: XOR by 2-16-1, and 350 rows of 9 columns by 9-4-2-2."""
    xor, table = _network(2, 16, 1), _network(9, 4, 2, 2)
    how = {"batch_size": None, "progress": False}
    held = {"validation_data": (TABLE[0][:100], TABLE[1][:100])}

    def in_core() -> None:
        slots = np.zeros((0, xor.parameters.size))
        state = TrainingState(EPOCHS, 4, 0.5, None, SGD(0.5).spec(), slots)
        xor.core.train(xor.plan, xor.theta, Data(*XOR, None), state, EPOCHS)

    def fit(**more: Any) -> tuple[Callable[[], Any], int]:
        return lambda: table.fit(*TABLE, epochs=SHORT, **how, **more), SHORT

    long: dict[str, Any] = {"epochs": EPOCHS, "optimizer": SGD(0.5), "shuffle": False}
    patient = EarlyStopping(patience=EPOCHS)
    return {
        "epoch of XOR": (lambda: xor.fit(*XOR, **long, **how), EPOCHS),
        "... in the core": (in_core, EPOCHS),
        "epoch of 350 rows": fit(),
        "... in their order": fit(shuffle=False),
        "... with a callback": fit(callbacks=Callback()),
        "... with validation": fit(**held),
        "... with early stopping": fit(callbacks=patient, **held),
    }


def _by_jax() -> Tasks:
    """Return XOR's epochs in one scan, with a backward pass written by hand."""
    try:
        import jax
        import jax.numpy as jnp
    except ImportError:
        return {}
    jax.config.update("jax_enable_x64", True)
    x, y = map(jnp.asarray, XOR)
    net = _network(2, 16, 1)
    start = [jnp.asarray(array.copy()) for layer in net.layers for array in (layer.W, layer.b)]

    def step(theta: Any, _: Any) -> Any:
        W1, b1, W2, b2 = theta
        a1 = jax.nn.sigmoid(x @ W1.T + b1)
        a2 = jax.nn.sigmoid(a1 @ W2.T + b2)
        d2 = (a2 - y) * a2 * (1 - a2) / len(x)
        d1 = d2 @ W2 * a1 * (1 - a1)
        slopes = d1.T @ x, d1.sum(axis=0), d2.T @ a1, d2.sum(axis=0)
        after = [value - 0.5 * slope for value, slope in zip(theta, slopes, strict=True)]
        return after, ((a2 - y) ** 2).sum() / (2 * len(x))

    train = jax.jit(lambda theta: jax.lax.scan(step, theta, None, length=EPOCHS))
    return {"epoch of XOR by JAX, by hand": (lambda: jax.block_until_ready(train(start)), EPOCHS)}


def _time(run: Callable[[], Any], inside: int) -> float:
    """Return the microseconds of one, in the fastest turn: CPU time, which others disturb less."""
    clock, best, turns = time.process_time, float("inf"), 0
    run()
    start = clock()
    run()
    count = max(1, int(TURN / (clock() - start)))
    end = time.perf_counter() + TURNS
    while turns < LEAST_TURNS or time.perf_counter() < end:
        start = clock()
        for _ in range(count):
            run()
        best, turns = min(best, (clock() - start) / count), turns + 1
    return best * 1e6 / inside


def _measure() -> dict[str, float]:
    """Return what each task takes in this process."""
    warnings.simplefilter("ignore", pycnn.exceptions.PycnnWarning)
    pycnn.set_num_threads(1)
    tasks = _calls() | _epochs() | _by_jax()
    return {name: _time(run, inside) for name, (run, inside) in tasks.items()}


def table(processes: int) -> str:
    """Return a table of what so many processes measure, one after the other."""
    command = [sys.executable, "-m", "benchmarks.online", "--measure"]
    runs = [
        json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        for _ in range(processes)
    ]
    lines = [
        f"{backend.load('c').isa()}, load {os.getloadavg()[0]:.0f} on {os.cpu_count()} CPUs, "
        f"{processes} processes:\n",
        "| µs | best | median | worst |\n| --- | ---: | ---: | ---: |",
    ]
    for name in runs[0]:
        times = [run[name] for run in runs]
        cells = [f"{value:.2f}" for value in (min(times), statistics.median(times), max(times))]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.online", description=__doc__)
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--measure", action="store_true", help="in this process, as JSON")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(_measure()))
        return
    print(table(options.processes), end="")


if __name__ == "__main__":
    main()
