"""Networks of images and sequences beside PyTorch: ``python -m benchmarks.images``.

A training step of plain descent and the output of one sample, in float64; PyTorch also in float32.
In one process each takes its turn at each task, many times, and the fastest turn counts: on a
machine where others work too that is what tells most. With one thread it is CPU time.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn import (
    SGD,
    AveragePool1D,
    Conv1D,
    Conv2D,
    Dense,
    Flatten,
    MaxPool1D,
    MaxPool2D,
    Network,
    backend,
    set_num_threads,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Task = Callable[[], Any]

LEARNING_RATE = 0.01
CALLS = {"step": 10, "sample": 100}  # of a turn


@dataclass(frozen=True)
class Case:
    """A network, and how many samples a step has."""

    name: str
    shape: tuple[int, ...]
    layers: tuple[Any, ...]  # Conv's filters and window, the window of a pool, units
    batch: int


_SAME = {"padding": "same"}
_LENET = (("conv", 6, 5, _SAME), ("max", 2), ("conv", 16, 5, {}), ("max", 2), ("dense", 120),
          ("dense", 84), ("dense", 10))  # fmt: skip
CASES = (
    Case("C1", (8, 8, 1), (("conv", 8, 3, _SAME), ("max", 2), ("conv", 16, 3, _SAME),
                           ("dense", 10)), 32),
    Case("C2", (28, 28, 1), _LENET, 32),
    Case("C2b", (28, 28, 1), _LENET, 128),
    Case("C3", (128, 9), (("conv", 32, 5, _SAME), ("max", 2), ("conv", 64, 5, _SAME),
                          ("average", 64), ("dense", 6)), 64),
)  # fmt: skip


def _network(case: Case) -> Network:
    flat = len(case.shape) == 2
    kinds = {
        "conv": Conv1D if flat else Conv2D,
        "max": MaxPool1D if flat else MaxPool2D,
        "average": AveragePool1D,
    }
    layers: list[Any] = []
    for index, (kind, *sizes) in enumerate(case.layers):
        last = index == len(case.layers) - 1
        if kind == "conv":
            layers.append(kinds[kind](sizes[0], sizes[1], "relu", **sizes[2]))
        elif kind == "dense":
            layers += [] if any(isinstance(layer, Flatten) for layer in layers) else [Flatten()]
            layers.append(Dense(sizes[0], "softmax" if last else "relu"))
        else:
            layers.append(kinds[kind](sizes[0]))
    return Network(case.shape, layers, seed=0)


def _from_pycnn(case: Case, net: Network, X: Array, y: NDArray[np.int64]) -> dict[str, Task]:
    predict, x = net.predictor(frozen=True), X[0].copy()
    how = {"batch_size": case.batch, "optimizer": SGD(LEARNING_RATE), "shuffle": False}
    return {
        "step": lambda: net.fit(X, y, epochs=1, progress=False, **how),
        "sample": lambda: [predict(x) for _ in range(CALLS["sample"])],
    }


def _torch_model(case: Case, net: Network) -> Any:
    import torch

    flat = len(case.shape) == 2
    conv = torch.nn.Conv1d if flat else torch.nn.Conv2d
    pool = torch.nn.MaxPool1d if flat else torch.nn.MaxPool2d
    layers: list[Any] = []
    shapes = [case.shape]
    for own in net.layers:
        if isinstance(own, (Conv1D, Conv2D)):
            W = np.moveaxis(own.W, -1, 1)
            layer = conv(shapes[-1][-1], own.filters, own.kernel_size, padding=own.padding)
        elif isinstance(own, Dense):
            W = own.W
            if isinstance(layers[-1], torch.nn.Flatten):  # whose channels come first
                W = np.moveaxis(W.reshape(-1, *shapes[-2]), -1, 1).reshape(len(W), -1)
            layer = torch.nn.Linear(W.shape[1], own.units)
        elif isinstance(own, Flatten):
            layer, W = torch.nn.Flatten(), None
        elif isinstance(own, AveragePool1D):
            layer, W = torch.nn.AvgPool1d(own.pool_size), None
        else:
            layer, W = pool(own.pool_size), None
        layers.append(layer)
        if W is not None:
            with torch.no_grad():
                layer.weight = torch.nn.Parameter(torch.tensor(W))
                layer.bias = torch.nn.Parameter(torch.tensor(own.b))
            layers += [torch.nn.ReLU()] if own.activation == "relu" else []
        shapes.append(own.output_shape(shapes[-1]))
    return torch.nn.Sequential(*layers)


def _from_torch(
    case: Case, net: Network, X: Array, y: NDArray[np.int64], kind: str
) -> dict[str, Task]:
    import torch

    dtype = getattr(torch, kind)
    model = _torch_model(case, net).to(dtype)
    inputs = torch.tensor(np.ascontiguousarray(np.moveaxis(X, -1, 1)), dtype=dtype)
    labels = torch.tensor(y)
    with torch.no_grad():
        found = torch.softmax(model(inputs), 1).double().numpy()
    error = np.abs(found - net.predict(X)).max()
    assert error < (1e-12 if kind == "float64" else 1e-4), f"another network: {error}"
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE)

    def step() -> None:
        for first in range(0, len(inputs), case.batch):
            rows = slice(first, first + case.batch)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(inputs[rows]), labels[rows]).backward()
            optimizer.step()

    def sample() -> None:
        with torch.inference_mode():
            for _ in range(CALLS["sample"]):
                model(inputs[:1])

    return {"step": step, "sample": sample}


def _best(
    tasks: dict[str, dict[str, Task]], turns: int, clock: Callable[[], float]
) -> dict[str, dict[str, float]]:
    """Return the microseconds of the fastest turn of each at each task."""
    best = {name: dict.fromkeys(own, np.inf) for name, own in tasks.items()}
    for _ in range(turns):
        for name, own in tasks.items():
            for task, run in own.items():
                start = clock()
                run()
                taken = (clock() - start) / CALLS[task] * 1e6
                best[name][task] = min(best[name][task], taken)
    return best


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.images", description=__doc__)
    parser.add_argument("--turns", type=int, default=30, help="of each at each task")
    parser.add_argument("--threads", type=int, default=1, help="of each (default: 1)")
    options = parser.parse_args()
    set_num_threads(options.threads)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    try:
        import torch

        torch.set_num_threads(options.threads)
        kinds = ["float64", "float32"]
    except ImportError:
        print("PyTorch is not here")
        kinds = []
    print(f"{backend.load('c').isa()}, threads: {options.threads}, load "
          f"{os.getloadavg()[0]:.0f} on {os.cpu_count()} CPUs; us\n")  # fmt: skip
    print("| | batch | task | pycnn |" + "".join(f" PyTorch, {kind} | ratio |" for kind in kinds))
    print("| --- | ---: | --- | ---: |" + " ---: | ---: |" * len(kinds))
    for case in CASES:
        rng = np.random.default_rng(0)
        rows, net = CALLS["step"] * case.batch, _network(case)
        X, y = rng.random((rows, *case.shape)), rng.integers(0, net.outputs, rows)
        net.predict(X)
        tasks = {kind: _from_torch(case, net, X, y, kind) for kind in kinds}
        best = _best({"pycnn": _from_pycnn(case, net, X, y)} | tasks, options.turns, clock)
        for task in CALLS:
            own = best["pycnn"][task]
            row = "".join(f" {best[k][task]:,.1f} | {best[k][task] / own:.1f} |" for k in kinds)
            print(f"| {case.name} | {case.batch} | {task} | {own:,.1f} |{row}", flush=True)


if __name__ == "__main__":
    main()
