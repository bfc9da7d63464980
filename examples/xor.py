"""The smallest problem that needs a hidden layer, and every quantity of one step."""

import sys

from pycnn import SGD, Dense, Network


def main() -> int:
    X, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
    net = Network(2, [Dense(4, "tanh"), Dense(1, "sigmoid")], seed=0)
    print(net.trace(X, y))

    history = net.fit(X, y, epochs=2000, batch_size=None, optimizer=SGD(1.0))
    print(f"loss {history['loss'][0]:.4f} -> {history['loss'][-1]:.6f}")
    for row, probability in zip(X, net.predict(X)[:, 0], strict=True):
        print(row, f"{probability:.4f}")
    return 0 if history["loss"][-1] < 0.01 else 1


if __name__ == "__main__":
    sys.exit(main())
