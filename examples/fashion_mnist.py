"""Tell clothes apart: Fashion-MNIST, 60,000 images to learn from and 10,000 to be tested on.

    python examples/fashion_mnist.py                              # LeNet, a minute or two
    python examples/fashion_mnist.py --network residual --seeds 3

LeNet (LeCun et al. 1998, with relu and max pooling) is the network of the textbooks. The residual
one has batch normalization, shortcuts, and images that are mirrored and moved each time they are
seen; both train by one cycle of the learning rate. It prints the test accuracy and the confusion
matrix, and draws that matrix and the mistakes that the network was surest of (with Matplotlib: pip
install 'pycnn[plot]'). The images come with Debian's and Ubuntu's package dataset-fashion-mnist.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pycnn import (
    SGD,
    Adam,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    MaxPool2D,
    Network,
    Rescale,
    Residual,
)
from pycnn.augmentation import ImageFlip, ImageShift
from pycnn.datasets import FASHION_MNIST_CLASSES, load_fashion_mnist
from pycnn.metrics import confusion_matrix
from pycnn.schedules import OneCycle

CLASSES = np.array(FASHION_MNIST_CLASSES)
# Bytes with the mean and the deviation of these images become numbers around 0.
STANDARDIZE = {"scale": 1 / 90, "offset": -73 / 90}


def lenet():
    return [
        Rescale(**STANDARDIZE),
        Conv2D(6, 5, "relu", padding="same"),
        MaxPool2D(2),
        Conv2D(16, 5, "relu"),
        MaxPool2D(2),
        Flatten(),
        Dense(120, "relu"),
        Dense(84, "relu"),
        Dense(10, "softmax"),
    ]


def convolution(filters, activation="relu"):
    """Return a convolution, and what normalizes its channels, which makes a bias needless."""
    return [Conv2D(filters, 3, padding="same", use_bias=False), BatchNorm(activation)]


def residual():
    layers = [Rescale(**STANDARDIZE), *convolution(24), MaxPool2D(2)]
    for filters in (48, 96):
        inner = [*convolution(filters), *convolution(filters, "linear")]
        layers += [*convolution(filters), Residual(inner, activation="relu")]
        layers += [MaxPool2D(2)] if filters == 48 else []
    return [*layers, GlobalAveragePool2D(), Dropout(0.2), Dense(10, "softmax")]


class Plan(NamedTuple):
    """A network, how it is trained, and the accuracy that it is to reach."""

    layers: list
    epochs: int
    optimizer: object
    goal: float
    augment: list | None = None
    l2: float = 0.0


def plan(name):
    if name == "lenet":
        return Plan(lenet(), 15, Adam(OneCycle(0.004)), 0.90)
    optimizer = SGD(OneCycle(0.1), momentum=0.9, nesterov=True)
    return Plan(residual(), 14, optimizer, 0.93, [ImageFlip(), ImageShift(pixels=2)], 3e-4)


def draw(y, outputs, X, path):
    """Draw the confusion matrix, and the mistakes that the network was surest of."""
    from matplotlib import pyplot as plt

    predicted = outputs.argmax(axis=1)
    counts = confusion_matrix(y, predicted)
    figure = plt.figure(figsize=(14, 6.5), layout="constrained")
    left, right = figure.subfigures(1, 2)
    axes = left.subplots()
    axes.imshow(np.sqrt(counts), cmap="Blues")
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if count > 400 else "black"
        axes.text(column, row, count or "", ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(10), CLASSES, rotation=45, ha="right")
    axes.set_yticks(range(10), CLASSES)
    axes.set(xlabel="taken for", ylabel="is")
    axes.set_title(f"{(predicted == y).mean():.1%} of {len(y):,} test images are right")
    wrong = np.flatnonzero(predicted != y)
    surest = wrong[np.argsort(-outputs[wrong].max(axis=1), kind="stable")]
    right.suptitle("the mistakes that it was surest of")
    for image, place in zip(surest, right.subplots(4, 5).flat, strict=False):
        place.imshow(X[image], cmap="gray_r")
        place.set_title(f"{CLASSES[y[image]]}\ntaken for {CLASSES[predicted[image]]}", fontsize=8)
    for place in right.axes:
        place.axis("off")
    figure.savefig(path, dpi=110)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", choices=["lenet", "residual"], default="lenet")
    parser.add_argument("--epochs", type=int, help="by default what reaches the goal")
    parser.add_argument("--seeds", type=int, default=1, help="how many trainings")
    parser.add_argument("--folder", help="of the four files, if they lie elsewhere")
    parser.add_argument("--out", type=Path, default=Path("fashion_mnist.png"))
    args = parser.parse_args()

    try:
        (X, y), (X_test, y_test) = load_fashion_mnist(args.folder)
    except FileNotFoundError as error:
        print(f"nothing to learn from: {error}")
        return 0

    accuracies, first = [], None
    for seed in range(args.seeds):
        how = plan(args.network)
        net = Network((28, 28, 1), how.layers, l2=how.l2, seed=seed)
        if first is None:
            net.summary()
        epochs, started = args.epochs or how.epochs, time.perf_counter()
        net.fit(X, y, epochs=epochs, batch_size=128, optimizer=how.optimizer, augment=how.augment)
        seconds = time.perf_counter() - started
        outputs = net.predict(X_test)
        first = outputs if first is None else first
        accuracies.append(float((outputs.argmax(axis=1) == y_test).mean()))
        print(
            f"seed {seed}: test accuracy {accuracies[-1]:.4f} after {epochs} epochs, "
            f"{seconds:.0f} s, {seconds / epochs:.1f} s each",
            flush=True,
        )

    print("\nconfusion matrix of seed 0 (row: true class, column: predicted)")
    for name, row in zip(CLASSES, confusion_matrix(y_test, first.argmax(axis=1)), strict=True):
        print(f"{name:12}" + "".join(f"{count or '.':>5}" for count in row))
    try:
        draw(y_test, first, X_test, args.out)
    except ImportError:
        print("no picture: pip install 'pycnn[plot]'")
    else:
        print(f"picture in {args.out}")
    mean = statistics.fmean(accuracies)
    print(f"{args.network}: mean test accuracy {mean:.4f} of {args.seeds} seed(s), goal {how.goal}")
    return 0 if args.epochs or mean >= how.goal else 1


if __name__ == "__main__":
    sys.exit(main())
