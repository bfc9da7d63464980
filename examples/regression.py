"""Fit a curve through noisy points: regression with a linear output."""

import argparse
import sys
from pathlib import Path

import numpy as np

from pycnn import SGD, Dense, Network


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("regression.png"))
    args = parser.parse_args()

    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(-1, 1, 400))
    y = np.sin(3 * x) + 0.1 * rng.normal(size=400)
    X = x.reshape(-1, 1)

    net = Network(1, [Dense(32, "tanh"), Dense(32, "tanh"), Dense(1)], seed=0)
    net.fit(X, y, epochs=1000, batch_size=32, optimizer=SGD(0.1))
    r2 = net.evaluate(X, y)["r2"]
    print(f"R2 {r2:.4f}; the noise leaves {1 - 0.1**2 / y.var():.4f} to explain")

    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no picture: pip install 'pycnn[plot]'")
    else:
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.subplots()
        axes.plot(x, y, ".", color="0.7", label="data")
        axes.plot(x, np.sin(3 * x), "--", color="0.3", label="sin 3x")
        axes.plot(x, net.predict(X)[:, 0], linewidth=2, label="network")
        axes.set(xlabel="x", ylabel="y")
        axes.legend(frameon=False)
        figure.savefig(args.out, dpi=150)
        print(f"picture in {args.out}")
    return 0 if r2 > 0.95 else 1


if __name__ == "__main__":
    sys.exit(main())
