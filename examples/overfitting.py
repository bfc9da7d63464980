"""Overfitting, and what mends it: 200 digits to learn from, five remedies and none.

A network that is much too large for 200 images learns them by heart. Side by side: as it is, with
L2, dropout, early stopping, augmentation, and all four together. 797 images are the test set, which
decides nothing; each seed draws 200 of the others to train on, and another 400 for validation, by
which early stopping goes. The remedies' strengths below were chosen by such validation parts too,
those of other seeds.

It prints the test scores over all seeds, and draws (with Matplotlib: pip install 'pycnn[plot]') the
learning curves of the first seed and every seed's scores.
"""

import argparse
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

import pycnn
from pycnn import Adam, Dense, Dropout, Network
from pycnn.augmentation import GaussianNoise, ImageShift
from pycnn.callbacks import Callback, EarlyStopping
from pycnn.metrics import accuracy, log_loss

TRAINING, TEST = "#1f77b4", "#d95f02"  # also told apart by the colour-blind

shift = ImageShift((8, 8), pixels=1)


def nudge(x, y, rng):
    """Move each image by less than a pixel: some way to where ImageShift puts it."""
    moved, _ = shift(x, y, rng)
    return x + rng.random((len(x), 1)) * (moved - x), y


METHODS = {
    "plain": {},
    "L2": {"l2": 1e-3},
    "dropout": {"dropout": (0.1, 0.3)},  # of the inputs, of each hidden layer
    "early stopping": {"stop": True},
    "augmentation": {"augment": [nudge, GaussianNoise(0.2)]},
    # Together, each may be weaker.
    "all four": {
        "l2": 1e-3,
        "dropout": (0.0, 0.2),
        "stop": True,
        "augment": [nudge, GaussianNoise(0.1)],
    },
}


class Score(NamedTuple):
    """What one trained network has reached: (accuracy, loss) of each set."""

    training: tuple[float, float]
    test: tuple[float, float]
    epoch: int  # from which the parameters are


class Curves(Callback):
    """Notes the losses on training and test set, as the network predicts: nothing dropped."""

    def __init__(self, training, test):
        self.sets = training, test
        self.losses = [], []

    def on_epoch_end(self, network, epoch, logs):
        """Measure both."""
        for values, data in zip(self.losses, self.sets, strict=True):
            values.append(score(network, data)[1])


def score(net, data):
    """Return accuracy and loss; the loss is the cross-entropy, without the penalty of L2."""
    X, y = data
    probabilities = net.predict(X)
    return accuracy(y, probabilities.argmax(axis=1)), log_loss(y, probabilities)


def train(parts, seed, epochs, watch, *, l2=0.0, dropout=(0.0, 0.0), stop=False, augment=None):
    training, validation, test = parts
    inputs, hidden = dropout
    layers = [
        Dropout(inputs),
        *[Dense(128, "relu"), Dropout(hidden)] * 3,
    ]  # Dropout(0) does nothing
    net = Network(64, [*layers, Dense(10, "softmax")], seed=seed, l2=l2)
    stopping = EarlyStopping("val_loss", patience=20)
    curves = Curves(training, test)
    net.fit(
        *training,
        epochs=epochs,
        batch_size=40,
        optimizer=Adam(0.003),
        augment=augment,
        validation_data=validation if stop else None,
        callbacks=[stopping] * stop + [curves] * watch,
    )
    epoch = stopping.best_epoch or epochs
    return Score(score(net, training), score(net, test), epoch), curves


def draw(scores, curves, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 9.5), dpi=85, layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.75, 1), hspace=0.03)
    above.suptitle("Loss while training (first seed)", fontsize=12)
    grid = above.subplots(2, 3, sharex=True, sharey=True).ravel()
    for axes, (name, curve) in zip(grid, curves.items(), strict=True):
        for values, colour, label in zip(
            curve.losses, (TRAINING, TEST), ("training", "test"), strict=True
        ):
            axes.plot(range(1, len(values) + 1), values, color=colour, linewidth=1.5, label=label)
        if "stop" in METHODS[name]:
            best = scores[name][0].epoch
            axes.axvline(best, color="0.3", linestyle=":", label=f"best validation: {best}")
        axes.set_title(name, fontsize=11)
        axes.legend(edgecolor="none", framealpha=1, fontsize=9, loc="upper right")
        axes.set_ylim(0, 0.8)
        axes.label_outer()
    for axes in grid[3:]:
        axes.set_xlabel("epoch")
    for axes in grid[::3]:
        axes.set_ylabel("loss")

    seeds = len(scores["plain"])
    below.suptitle(f"Test scores, a point a seed ({seeds}); the bar is their mean", fontsize=12)
    panels = below.subplots(1, 2)
    for axes, part, label in zip(panels, (0, 1), ("test accuracy", "test loss"), strict=True):
        for place, results in enumerate(scores.values()):
            values = [result.test[part] for result in results]
            aside = np.linspace(-0.2, 0.2, seeds) if seeds > 1 else 0.0
            axes.scatter(place + aside, values, s=14, color=TEST, alpha=0.75, linewidths=0)
            mean = statistics.fmean(values)
            axes.hlines(mean, place - 0.32, place + 0.32, color="0.15", linewidth=1.8)
        axes.set_xticks(range(len(scores)), [name.replace(" ", "\n") for name in scores])
        axes.tick_params(axis="x", labelsize=8.5)
        axes.set_ylabel(label)
    panels[1].set_ylim(bottom=0)
    for axes in (*grid, *panels):
        axes.grid(color="0.92", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def spread(values):
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{deviation}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10, help="how many trainings of each kind")
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("--out", type=Path, default=Path("overfitting.png"))
    args = parser.parse_args()

    X, y = pycnn.datasets.load_digits()
    X = X / 16
    order = np.random.default_rng(0).permutation(len(X))
    pool, test = order[:1000], order[1000:]

    scores = {name: [] for name in METHODS}
    curves = {}
    for seed in range(args.seeds):
        drawn = np.random.default_rng(seed).permutation(pool)
        parts = [(X[rows], y[rows]) for rows in (drawn[:200], drawn[200:600], test)]
        for name, settings in METHODS.items():
            result, curve = train(parts, seed, args.epochs, seed == 0, **settings)
            scores[name].append(result)
            curves.setdefault(name, curve)

    print(f"mean ± standard deviation of {args.seeds} seeds")
    print(f"{'':14}  training accuracy  {'test accuracy':14} {'test loss':14}  better than plain")
    plain = [result.test[1] for result in scores["plain"]]
    for name, results in scores.items():
        losses = [result.test[1] for result in results]
        better = sum(a < b for a, b in zip(losses, plain, strict=True))
        print(
            f"{name:14}  {spread([result.training[0] for result in results]):17}  "
            f"{spread([result.test[0] for result in results]):14} {spread(losses):14}  "
            + (f"{better} of {args.seeds}, by loss" if name != "plain" else "")
        )
    try:
        draw(scores, curves, args.out)
    except ImportError:
        print("no picture: pip install 'pycnn[plot]'")
    else:
        print(f"picture in {args.out}")
    together = statistics.fmean(result.test[1] for result in scores["all four"])
    return 0 if together < 0.8 * statistics.fmean(plain) else 1


if __name__ == "__main__":
    sys.exit(main())
