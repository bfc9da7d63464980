"""How the cost of a training step grows: ``python -m benchmarks.growth``.

Time per multiply-add of steps of dense relu networks, as one size grows and the others stay:
width, mini-batch, depth; with one thread (CPU time) and with all (the clock's). All take turns, so
that a moment in which the machine does something else does not hit every turn of one, and the least
counts. What is drawn flat grows as its arithmetic does; what a step costs beside that shows at the
left. The dashed lines are the machine's limit: its peak of fused multiply-adds, just then.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from benchmarks import machine
from pycnn import SGD, Dense, Network, get_num_threads, set_num_threads

WIDTHS = (8, 12, 16, 24, 32, 48, 64, 96, 100, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096)
BATCHES = (1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64, 96, 100, 128, 192, 256, 512, 1024, 4096)
DEPTHS = (1, 2, 3, 5, 10, 20, 50, 100)
CHARTS = {
    "width": [(width, 32, 2) for width in WIDTHS],
    "batch": [(64, batch, 2) for batch in BATCHES],
    "depth": [(64, 32, depth) for depth in DEPTHS],
}
TITLES = {
    "width": "32 samples, 2 layers",
    "batch": "width 64, 2 layers",
    "depth": "width 64, 32 samples",
}
TURN = 0.02  # seconds, about

Sizes = tuple[int, int, int]


def multiply_adds(width: int, batch: int, depth: int) -> int:
    """Count those of a step: forward, back but for the first layer, and the gradients."""
    return width * width * batch * (3 * depth - 1)


class Point:
    """Steps of one size: what twice as many take longer, so that what a call costs is left out."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        fit_for = int(2e9 / multiply_adds(*sizes) / 8)
        self.steps = max(1, min(1000, 20_000 // sizes[1], fit_for))
        self.epochs = 0
        self.best = [np.inf, np.inf]  # seconds of so many epochs, and of twice as many

    def take_turn(self) -> None:
        """Train for a moment."""
        width, batch, depth = self.sizes
        net = Network(width, [Dense(width, "relu") for _ in range(depth)], "mse", seed=0)
        generator = np.random.default_rng(0)
        x, y = np.abs(generator.normal(size=(2, self.steps * batch, width)))  # relu reaches them
        clock = time.process_time if get_num_threads() == 1 else time.perf_counter

        def train(epochs: int) -> float:
            start = clock()
            net.fit(x, y, epochs=epochs, batch_size=batch, optimizer=SGD(1e-6))
            return clock() - start

        taken = train(1)  # brings all into cache
        if not self.epochs:
            self.epochs = max(1, min(100, int(TURN / taken)))
        for i in range(2):
            self.best[i] = min(self.best[i], train(self.epochs * (i + 1)))

    def nanoseconds(self) -> float:
        """Return the time of a multiply-add."""
        steps = self.epochs * self.steps
        return max(self.best[1] - self.best[0], 1e-9) / steps / multiply_adds(*self.sizes) * 1e9


def draw(path: Path, results: dict[str, dict[str, list[float]]], limits: dict[str, float]) -> None:
    """Draw one chart for each size that grows."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator, ScalarFormatter

    figure = Figure((12, 4), layout="constrained")
    charts = figure.subplots(1, 3, sharey=True)
    for axes, (name, points) in zip(charts, CHARTS.items(), strict=True):
        sizes = [point[list(CHARTS).index(name)] for point in points]
        for threads, nanoseconds in results[name].items():
            label = f"{threads} thread{'s' * (threads != '1')}"
            (line,) = axes.plot(sizes, nanoseconds, marker="o", markersize=3, label=label)
            if threads in limits:
                axes.axhline(limits[threads], color=line.get_color(), linestyle="--", linewidth=0.8)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter(ScalarFormatter())
        doubled = [size for size in sizes if size & (size - 1) == 0]
        axes.xaxis.set_major_locator(FixedLocator(doubled[::2] if len(doubled) > 8 else sizes))
        axes.yaxis.set_major_locator(FixedLocator([0.02, 0.03, 0.05, 0.1, 0.2, 0.4]))
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_locator(NullLocator())
        axes.grid(alpha=0.3)
        axes.set_xlabel(name)
        axes.set_title(TITLES[name], fontsize="medium")
    charts[0].set_ylabel("ns per multiply-add")
    charts[0].legend()
    figure.savefig(path, dpi=100)


def table(results: dict[str, dict[str, list[float]]]) -> str:
    """Return the figures as tables of Markdown."""
    parts = []
    for name, by_threads in results.items():
        sizes = [str(point[list(CHARTS).index(name)]) for point in CHARTS[name]]
        rows = [[name, *sizes], ["---", *["---:"] * len(sizes)]]
        for threads, spent in by_threads.items():
            label = f"{threads} thread{'s' * (threads != '1')}"
            rows.append([label, *(f"{one:.3f}" for one in spent)])
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Measure, print, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, get_num_threads()}))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    measured = {
        threads: {name: [Point(sizes) for sizes in points] for name, points in CHARTS.items()}
        for threads in arguments.threads
    }
    limits: dict[str, float] = {}
    for turn in range(arguments.turns):
        for threads, charts in measured.items():
            set_num_threads(threads)
            for isa in machine.instruction_sets()[:1]:  # none without a C compiler
                peak = machine.fma_peak(isa, threads) / 2  # of two operations each
                limits[str(threads)] = min(limits.get(str(threads), np.inf), 1 / peak)
            for points in charts.values():
                for point in points:
                    point.take_turn()
        print(f"{turn + 1} of {arguments.turns} turns", flush=True)
    results: dict[str, dict[str, list[float]]] = {name: {} for name in CHARTS}
    for threads, charts in measured.items():
        for name, points in charts.items():
            results[name][str(threads)] = [point.nanoseconds() for point in points]
    print("the machine's limit:", {threads: f"{one:.4f} ns" for threads, one in limits.items()})
    print(table(results))
    arguments.out.mkdir(parents=True, exist_ok=True)
    everything = results | {"limit": limits}
    (arguments.out / "growth.json").write_text(json.dumps(everything, indent=1), encoding="utf-8")
    draw(arguments.out / "growth.png", results, limits)


if __name__ == "__main__":
    main()
