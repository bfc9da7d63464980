"""A training loop of one's own that ends in the bits of `fit`, and one that adds up pieces."""

import sys

import numpy as np

from pycnn import Adam, BatchNorm, Dense, Dropout, Network
from pycnn.datasets import load_digits

EPOCHS, BATCH_SIZE = 3, 64


def network() -> Network:
    layers = [Dense(32, l2=1e-4), BatchNorm("relu"), Dropout(0.1), Dense(10, "softmax")]
    return Network(64, layers, seed=0)


def main() -> int:
    X, y = load_digits()
    X = X / 16

    fitted = network()
    fitted.fit(X, y, epochs=EPOCHS, batch_size=BATCH_SIZE, optimizer=Adam(0.005), shuffle=False)

    # What fit does, step by step: the gradient's sum over a mini-batch, and a step from it.
    net, optimizer, state = network(), Adam(0.005), None
    for _ in range(EPOCHS):
        for first in range(0, len(X), BATCH_SIZE):
            part = slice(first, first + BATCH_SIZE)
            _, gradient, weight = net.gradients(
                X[part], y[part], training=True, reduction="sum", first_row=first
            )
            state = optimizer.apply(net, gradient, state, weight=weight)
        net.epochs_trained += 1  # by which the next epoch's dropout is drawn
    same = np.array_equal(net.parameters, fitted.parameters)
    print(f"a loop of one's own: {'the bits of fit' if same else 'NOT the bits of fit'}")

    # Sums add up: mini-batches larger than memory, or of which each machine has a part.
    whole = Network(64, [Dense(32, "relu"), Dense(10, "softmax")], seed=0)
    _, gradient, weight = whole.gradients(X, y, reduction="sum")
    parts = [whole.gradients(X[i::4], y[i::4], reduction="sum") for i in range(4)]
    together = sum(part[1] for part in parts)
    difference = np.abs(together - gradient).max() / np.abs(gradient).max()
    print(f"four parts together: {sum(part[2] for part in parts):.0f} of {weight:.0f} samples,")
    print(f"a gradient that differs by {difference:.0e} of its largest component")
    return 0 if same and difference < 1e-12 else 1


if __name__ == "__main__":
    sys.exit(main())
