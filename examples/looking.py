"""What a convolutional network looks at: its filters, what they find, and what decides.

    python examples/looking.py [--fashion] [--folder .]

Trains a small network on the handwritten digits that come with pycnn, or with --fashion on 12,000
images of Fashion-MNIST (pycnn.datasets.load_fashion_mnist says what to install), and draws it:
filters.png, feature_maps.png, saliency.png, occlusion.png.
"""

import argparse
from pathlib import Path

import pycnn
from pycnn import Adam, Conv2D, Dense, Flatten, MaxPool2D, Network, Rescale, plot
from pycnn.datasets import FASHION_MNIST_CLASSES, load_digits, load_fashion_mnist


def read(fashion: bool):
    """Return images, (m, rows, columns), labels, and the largest value of a pixel."""
    if not fashion:
        X, y = load_digits()
        return X.reshape(-1, 8, 8), y, 16
    (X, y), _ = load_fashion_mnist()
    return X[:12_000], [FASHION_MNIST_CLASSES[label] for label in y[:12_000]], 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fashion", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path())
    arguments = parser.parse_args()
    X, y, white = read(arguments.fashion)
    held_out = len(X) // 6
    large = X.shape[1] > 8
    layers = [
        Rescale(1 / white),
        Conv2D(8, 5 if large else 3, "relu", padding="same"),
        MaxPool2D(2),
        Conv2D(16, 5 if large else 3, "relu", padding="same"),
        MaxPool2D(2),
        Flatten(),
        Dense(10, "softmax"),
    ]
    net = Network((*X.shape[1:], 1), layers, seed=0)
    net.fit(X[held_out:], y[held_out:], epochs=3 if large else 10, optimizer=Adam(0.003))
    scores = net.evaluate(X[:held_out], y[:held_out])
    print(f"pycnn {pycnn.__version__}: accuracy on {held_out} others {scores['accuracy']:.3f}")
    plot.filters(net, path=arguments.folder / "filters.png")
    plot.feature_maps(net, X[0], path=arguments.folder / "feature_maps.png")
    plot.saliency(net, X[:5], path=arguments.folder / "saliency.png")
    plot.occlusion(net, X[4], path=arguments.folder / "occlusion.png")


if __name__ == "__main__":
    main()
