"""What recurrent networks remember, and why.

`python examples/recurrent_networks.py`, some minutes.

Three tasks that need memory, each with a plain network, an LSTM and a GRU: to say symbols 20 steps
after they were there, to add two numbers that are marked among 100 (Hochreiter & Schmidhuber,
1997), and to tell whether brackets close. Then the reason: how large the error's gradient still is
at the first position of 100, of what it is at the last, where the answer is; and what clipping does
where it has become larger. `--picture gradients.png` draws it (Matplotlib).
"""

import argparse
import warnings

import numpy as np

import pycnn
from pycnn import GRU, LSTM, SGD, Adam, Dense, Network, SimpleRNN

KINDS = {"SimpleRNN": SimpleRNN, "LSTM": LSTM, "GRU": GRU}


def copying(rng, count, symbols=8, read=5, wait=20):
    """Symbols, then the sign to say each of them `wait` steps after it was there; else no label."""
    said = rng.integers(symbols, size=(count, read))
    X, y = np.zeros((count, wait + read, symbols + 1)), np.full((count, wait + read), -1)
    X[:, :read] = np.eye(symbols + 1)[said]
    X[:, wait:, symbols] = 1
    y[:, wait:] = said
    return X, y


def adding(rng, count, length=100):
    """Numbers, two of which have a mark beside them, and the sum of these."""
    X = np.zeros((count, length, 2))
    X[:, :, 0] = rng.uniform(size=(count, length))
    half = length // 2
    rows = np.arange(count)
    X[rows, rng.integers(half, size=count), 1] = 1
    X[rows, half + rng.integers(length - half, size=count), 1] = 1
    return X, (X[:, :, 0] * X[:, :, 1]).sum(axis=1, keepdims=True)


def brackets(rng, count, length=24, depth=4):
    """Brackets, at most so deep, and whether all close; in half of them one is turned round."""
    steps = np.empty((count, length), int)
    open_ = np.zeros(count, int)
    for t in range(length):
        left = length - t
        up = rng.uniform(size=count) < 0.5
        up = np.where(open_ == 0, True, np.where(open_ >= min(depth, left), False, up))
        steps[:, t] = np.where(up, 1, -1)
        open_ += steps[:, t]
    y = rng.integers(2, size=count)
    turned = np.flatnonzero(y == 0)
    steps[turned, rng.integers(length, size=turned.size)] *= -1
    return np.eye(2)[(steps + 1) // 2], y


# What makes samples, the layers behind the recurrent one, its units, epochs of 8,000 samples.
TASKS = {
    "copying": (copying, lambda: Dense(8, "softmax"), 64, 40),
    "adding": (adding, lambda: Dense(1), 32, 25),
    "brackets": (brackets, lambda: Dense(2, "softmax"), 16, 15),
}


def learned(task, kind, seed):
    """Return what a network scores on new samples: accuracy, or the mean squared error."""
    make, output, units, epochs = TASKS[task]
    rng = np.random.default_rng(seed)
    X, y = make(rng, 8000)
    layer = KINDS[kind](units, return_sequences=task == "copying")
    net = Network(X.shape[1:], [layer, output()], seed=seed)
    options = {"missing_targets": "mask"} if task == "copying" else {}  # a label of -1 is none
    net.fit(X, y, epochs=epochs, batch_size=32, optimizer=Adam(0.003, clip_norm=1.0), **options)
    X, y = make(rng, 2000)
    if task == "adding":
        return float(np.mean((net.predict(X) - y) ** 2))
    return net.evaluate(X, y, **options)["accuracy"]


# What goes back unchanged, vanishes, explodes, and is carried.
STARTS = {
    "SimpleRNN": SimpleRNN(32),
    "SimpleRNN, U smaller": SimpleRNN(
        32, recurrent_initializer={"name": "orthogonal", "gain": 0.8}
    ),
    "SimpleRNN, linear, U larger": SimpleRNN(
        32, "linear", recurrent_initializer={"name": "orthogonal", "gain": 1.1}
    ),
    "LSTM": LSTM(32),
    "GRU": GRU(32),
}


def side_by_side(picture):
    """Print how dL/dh changes over 100 positions, before and after some training, and the loss."""
    X, y = adding(np.random.default_rng(0), 2000)
    start = {
        name: Network((100, 2), [layer, Dense(1)], seed=0, loss="mse")
        for name, layer in STARTS.items()
    }
    if picture:
        from pycnn import plot

        plot.gradients(start, X[:200], y[:200], picture)
    print("\ndL/dh at the first of 100 positions, of that at the last; and the loss")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pycnn.exceptions.PycnnWarning)
        for name, layer in STARTS.items():
            for clip in (None, 1.0):
                net = Network((100, 2), [layer, Dense(1)], seed=0)
                try:
                    options = {"optimizer": SGD(0.05, clip_norm=clip), "diagnose": True}
                    history = net.fit(X, y, epochs=3, batch_size=32, **options)
                    ends = [f"{history[key][-1]:.2g}" for key in ("gradient_ratio_1", "loss")]
                except pycnn.exceptions.DivergedError:
                    ends = ["diverged", ""]
                print(f"{name:28} {f'clip_norm={clip}':14}", *ends)


def main():
    """Print a table for each task, and the gradients' sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--picture")
    options = parser.parse_args()
    for task in options.tasks:
        measure = "mean squared error" if task == "adding" else "accuracy"
        for kind in KINDS:
            scores = [learned(task, kind, seed) for seed in range(options.seeds)]
            spread = f"{np.mean(scores):.4f} ({min(scores):.4f} ... {max(scores):.4f})"
            print(f"{task:9} {kind:9} {measure}: {spread}", flush=True)
    side_by_side(options.picture)


if __name__ == "__main__":
    main()
