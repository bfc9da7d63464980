"""Why deep networks do not learn, and what lets them: initial weights and normalization.

Three pairs of networks on the digits. Within a pair one thing differs; all are trained alike:

- 20 layers of tanh: weights from N(0, 1), or Xavier's (Glorot's);
- 20 layers of relu: weights from N(0, 1), or He's;
- 50 layers of sigmoid, with Xavier's weights: as they are, or with batch normalization.

It prints a table, and draws (with Matplotlib: pip install 'pycnn[plot]') the loss and, before the
first step, what happens inside: how much each layer's activations tell one sample from another, and
how large the gradient of its weights is. Where either grows or shrinks from layer to layer, nothing
is learned.
"""

import argparse
import copy
import math
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

import pycnn
from pycnn import SGD, BatchNorm, Dense, Network
from pycnn.exceptions import DivergedError
from pycnn.initializers import Normal

WIDTH = 64
BAD, GOOD = "#d95f02", "#1f77b4"  # also told apart by the colour-blind

UNIT = Normal(std=1)
# Title, then of each of the two: name and weights; and what the picture says of the bad one.
EXPERIMENTS = [
    (
        "20 layers, tanh",
        ("N(0, 1)", "Xavier"),
        (UNIT, "glorot_normal"),
        ((0.05, 0.72, "saturated: most are near -1 or 1"), (0.35, 0.88, "explodes backward")),
    ),
    (
        "20 layers, relu",
        ("N(0, 1)", "He"),
        (UNIT, "he_normal"),
        ((0.05, 0.88, "explodes forward"), (0.05, 0.78, "far too large for any step")),
    ),
    (
        "50 layers, sigmoid",
        ("Xavier", "Xavier, BatchNorm"),
        ("glorot_normal", "glorot_normal"),
        (
            (0.3, 0.6, "vanishes forward, to the\nsize of rounding errors"),
            (0.05, 0.6, "vanishes\nbackward"),
        ),
    ),
]


class Result(NamedTuple):
    """What one network has shown."""

    label: str
    losses: list[float]  # before the training, then of each epoch
    end: str  # where a training that diverged has ended
    accuracy: float
    spreads: list[float]
    norms: list[float]


def stack(depth, activation, weights, normalize):
    """Return `depth` layers: the last is the output, which starts alike in all networks."""
    layers = []
    for _ in range(depth - 1):
        if normalize:
            layers += [Dense(WIDTH, weight_initializer=weights), BatchNorm(activation)]
        else:
            layers += [Dense(WIDTH, activation, weight_initializer=weights)]
    return [*layers, Dense(10, "softmax", weight_initializer="glorot_normal")]


def spreads(net, X, y):
    """Return each hidden layer's deviation of the activations from sample to sample."""
    net = copy.deepcopy(net)
    for number, layer in enumerate(net.layers, start=1):
        if isinstance(layer, BatchNorm):  # normalizes by these samples, as training would
            a = net.trace(X, y).A[number - 1]
            layer.mean, layer.variance = a.mean(axis=1), a.var(axis=1)
    trace = net.trace(X, y)
    return [
        float(np.sqrt(np.mean(np.var(a, axis=1))))
        for a, layer in zip(trace.A[1:-1], net.layers[:-1], strict=True)
        if layer.activation != "linear"
    ]


def gradient_norms(net, X, y):
    """Return the norm of the loss's gradient by each layer's weights W."""
    _, gradient = net.gradients(X, y, training=True)
    norms, at, shape = [], 0, (net.inputs,)
    for layer in net.layers:
        if isinstance(layer, Dense):
            norms.append(float(np.linalg.norm(gradient[at : at + layer.W.size])))
        tensors = layer.tensor_specs(shape)
        at += sum(math.prod(tensor.shape) for tensor in tensors if tensor.role != "statistic")
        shape = layer.output_shape(shape)
    return norms


def train(label, layers, train, test, args):
    net = Network(64, layers, seed=args.seed)
    look = train[0][:256], train[1][:256]
    inside = spreads(net, *look), gradient_norms(net, *look)
    losses, end = [net.gradients(*train, training=True)[0]], ""
    try:
        net.fit(*train, epochs=args.epochs, batch_size=32, optimizer=SGD(0.01))
    except DivergedError as error:
        end = f"diverged: epoch {error.epoch}, batch {error.batch}"
    losses += net.history.get("loss", [])
    return Result(label, losses, end, net.evaluate(*test)["accuracy"], *inside)


def draw(pairs, path):
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(11.5, 9), dpi=85, layout="constrained")
    grid = figure.subplots(len(pairs), 3)
    heads = (
        "Loss of each epoch",
        "Before training: activations' spread\n(deviation from sample to sample)",
        "Before training: norm of the\ngradient by each layer's weights",
    )
    for axes, head in zip(grid[0], heads, strict=True):
        axes.set_title(head, fontsize=11)
    for (title, pair, notes), row in zip(pairs, grid, strict=True):
        curves, spread, norms = row
        curves.axhline(math.log(10), color="0.5", linestyle=":", linewidth=1, label="guessing")
        for result, colour in zip(pair, (BAD, GOOD), strict=True):
            style = {"color": colour, "linewidth": 1.6}
            how = result.end or f"{result.accuracy:.0%} of test right"
            losses = [] if result.end else result.losses
            curves.plot(range(len(losses)), losses, **style, label=f"{result.label}: {how}")
            spread.plot(range(1, len(result.spreads) + 1), result.spreads, **style)
            norms.plot(range(1, len(result.norms) + 1), result.norms, **style)
        curves.set(xlabel="epoch", ylabel="loss", ylim=(0, 4.6))
        curves.legend(frameon=False, fontsize=9, loc="upper right", borderaxespad=0)
        curves.annotate(
            title,
            (-0.21, 0.5),
            xycoords="axes fraction",
            rotation=90,
            ha="center",
            va="center",
            fontsize=11,
        )
        for axes, (x, y, text) in zip((spread, norms), notes, strict=True):
            axes.set(xlabel="layer", yscale="log")
            low, high = axes.get_ylim()
            axes.set_ylim(min(low, 1e-3), max(high, 1e2))  # not to make much of little
            axes.text(x, y, text, transform=axes.transAxes, color=BAD, fontsize=9)
        for axes in row:
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
            axes.grid(color="0.92", linewidth=0.8)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("deep_networks.png"))
    args = parser.parse_args()

    X, y = pycnn.datasets.load_digits()
    X = (X - X.mean()) / X.std()
    order = np.random.default_rng(0).permutation(len(X))
    parts = [(X[rows], y[rows]) for rows in (order[360:], order[:360])]

    pairs = []
    print(f"{'network':18}  {'weights':17}  {'loss before':>11}  {'after':26}  test accuracy")
    for title, labels, weights, notes in EXPERIMENTS:
        pair = []
        depth, activation = int(title[:2]), title.split()[-1]
        for label, initializer in zip(labels, weights, strict=True):
            layers = stack(depth, activation, initializer, normalize="BatchNorm" in label)
            pair.append(train(label, layers, *parts, args))
            losses, end, accuracy = pair[-1][1:4]
            print(
                f"{title:18}  {label:17}  {losses[0]:11.3g}  {end or f'{losses[-1]:.3g}':26}  "
                f"{accuracy:13.1%}"
            )
        pairs.append((title, pair, notes))
    try:
        draw(pairs, args.out)
    except ImportError:
        print("no picture: pip install 'pycnn[plot]'")
    else:
        print(f"picture in {args.out}")
    # NaN is bad, too: the outputs of what has diverged.
    as_told = (good.accuracy > 0.85 and not bad.accuracy >= 0.3 for _, (bad, good), _ in pairs)
    return 0 if all(as_told) else 1


if __name__ == "__main__":
    sys.exit(main())
