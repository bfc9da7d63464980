"""Recognise handwritten digits: the built-in data set, from loading to a saved model."""

import argparse
import sys
from pathlib import Path

import numpy as np

import pycnn
from pycnn import SGD, Dense, Network


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("digits.safetensors"))
    args = parser.parse_args()

    X, y = pycnn.datasets.load_digits()  # pixels 0 ... 16
    X = X / 16
    order = np.random.default_rng(0).permutation(len(X))
    train, test = order[360:], order[:360]

    net = Network(64, [Dense(32, "relu"), Dense(10, "softmax")], seed=0)
    net.summary()
    history = net.fit(
        X[train],
        y[train],
        epochs=60,
        batch_size=32,
        optimizer=SGD(0.1),
        validation_data=(X[test], y[test]),
    )
    print(history)

    net.save(args.out)
    scores = pycnn.load(args.out).evaluate(X[test], y[test])
    print(f"test accuracy {scores['accuracy']:.4f}, model in {args.out}")
    try:
        history.plot(args.out.with_suffix(".png"))
    except ImportError as error:
        print(f"no picture: {error}")
    return 0 if scores["accuracy"] >= 0.96 else 1


if __name__ == "__main__":
    sys.exit(main())
