"""How the cost of a training step grows: ``python -m benchmarks.growth``.

Time per multiply-add of steps of dense relu networks, as one size grows and the others stay:
width, mini-batch, depth; with one thread (CPU time) and with all (the clock's). Least of several
turns. What is drawn flat grows as its arithmetic does; what a step costs beside that shows at the
left.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from pycnn import SGD, Dense, Network, get_num_threads, set_num_threads

WIDTHS = (8, 12, 16, 24, 32, 48, 64, 96, 100, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096)
BATCHES = (1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64, 96, 100, 128, 192, 256, 512, 1024, 4096)
DEPTHS = (1, 2, 3, 5, 10, 20, 50, 100)
CHARTS = {
    "width": [(width, 32, 2) for width in WIDTHS],
    "batch": [(64, batch, 2) for batch in BATCHES],
    "depth": [(64, 32, depth) for depth in DEPTHS],
}
TURN, LEAST_EPOCHS = 0.02, 6  # seconds, and what makes a call's own cost small


def multiply_adds(width: int, batch: int, depth: int) -> int:
    """Count those of a step: forward, back but for the first layer, and the gradients."""
    return width * width * batch * (3 * depth - 1)


def step_time(width: int, batch: int, depth: int, turns: int) -> float:
    """Measure a step, in seconds: of several that one call of `fit` does."""
    net = Network(width, [Dense(width, "relu") for _ in range(depth)], "mse", seed=0)
    steps = max(1, min(1000, 20_000 // batch, int(2e9 / multiply_adds(width, batch, depth) / 8)))
    generator = np.random.default_rng(0)
    x, y = np.abs(generator.normal(size=(2, steps * batch, width)))  # relu reaches them
    clock = time.process_time if get_num_threads() == 1 else time.perf_counter
    optimizer, best, epochs = SGD(1e-6), np.inf, LEAST_EPOCHS
    for _ in range(turns):
        start = clock()
        net.fit(x, y, epochs=epochs, batch_size=batch, optimizer=optimizer)
        taken = clock() - start
        best = min(best, taken / steps / epochs)
        epochs = max(epochs, min(100, int(TURN * epochs / taken)))
    return best


def draw(path: Path, results: dict[str, dict[str, list[float]]]) -> None:
    """Draw one chart for each size that grows."""
    from matplotlib.figure import Figure

    figure = Figure((12, 3.6), layout="constrained")
    for axes, (name, points) in zip(figure.subplots(1, 3), CHARTS.items(), strict=True):
        sizes = [
            dict(zip(("width", "batch", "depth"), point, strict=True))[name] for point in points
        ]
        for threads, nanoseconds in results[name].items():
            axes.loglog(sizes, nanoseconds, marker="o", markersize=3, label=f"threads: {threads}")
        axes.set(xlabel=name, ylabel="ns per multiply-add")
        axes.legend()
    figure.savefig(path, dpi=100)


def main() -> None:
    """Measure, print, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, get_num_threads()}))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    results: dict[str, dict[str, list[float]]] = {name: {} for name in CHARTS}
    for threads in arguments.threads:
        set_num_threads(threads)
        for name, points in CHARTS.items():
            for point in points:
                spent = step_time(*point, arguments.turns) / multiply_adds(*point) * 1e9
                results[name].setdefault(str(threads), []).append(spent)
                print(
                    f"{name}, threads: {threads}, {point}: {spent:.4f} ns a multiply-add",
                    flush=True,
                )
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "growth.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    draw(arguments.out / "growth.png", results)


if __name__ == "__main__":
    main()
