"""Write the files of version 0.1 that the tests read, with what 0.1 made of them.

git worktree add ../pycnn-0.1 8f5c541    # the last commit of 0.1.0
pip install ../pycnn-0.1
python tests/data/write_0_1.py tests/data
"""

import contextlib
import json
import pickle
import sys
import time
from pathlib import Path

import numpy as np

import pycnn
from pycnn import (
    LBFGS,
    SGD,
    Adam,
    BatchNorm,
    Dense,
    Dropout,
    LayerNorm,
    Network,
    RMSprop,
    callbacks,
    losses,
)
from pycnn.schedules import StepDecay

assert pycnn.__version__ == "0.1.0"
FOLDER = Path(sys.argv[1])
X = np.sin(np.arange(36.0)).reshape(12, 3)
y = X[:, 0] - X[:, 1]
INDEX = np.arange(12) % 3
WORDS = np.array(["ant", "bee", "\u00e9\u4e2d"])[INDEX]
expected = {}


class Stop(Exception):
    """What ends a training in its midst."""


def stop_at(epoch):
    """Return a callback that ends a training by an exception."""

    def stop(network, now, logs):
        if now == epoch:
            raise Stop

    return stop


class StopAmid(callbacks.Callback):
    """Ends a training between two calls of the core, of a mini-batch each as `slow` makes them."""

    def __init__(self, calls):
        """Stop after so many calls."""
        self.calls = calls

    def on_batch_group_end(self, network, epoch, logs):
        """Stop, if it is time."""
        self.calls -= 1
        if self.calls == 0:
            network.stop_training = True


def slow(x, y, rng):
    """Take longer than a call of the core may, and change nothing."""
    time.sleep(0.1)
    return x, y


def write(name, net, **options):
    """Save a network, and return the file's path."""
    path = FOLDER / f"{name}-0.1.safetensors"
    net.save(path, **options)
    return path


def write_pickle(name, net):
    """Pickle a network."""
    (FOLDER / f"{name}-0.1.pickle").write_bytes(pickle.dumps(net, 4))


def end_of(name, net, history):
    """Keep what a training ended in."""
    expected[name] = {
        "predict": net.predict(X).tolist(),
        "loss": history["loss"],
        "parameters": net.parameters.tolist(),
    }


def write_training(name, make, target, broken, settings):
    """Break a training, save it, and let it go on to its end."""
    net = make()
    with contextlib.suppress(Stop):
        net.fit(X, target, **settings() | broken)
    path = write(name, net, training_state=True)
    again = pycnn.load(path)
    end_of(name, again, again.fit(X, target, resume=True, **settings()))
    return net


# ------------------------------------------------------------------ models

layers = [
    Dense(4, "relu", l2=0.01, weight_initializer="he_uniform"),
    BatchNorm("tanh"),
    Dropout(0.25),
    Dense(3, "softmax"),
]
net = Network(3, layers, seed=7, l1=0.001)
net.fit(X, WORDS, epochs=3, batch_size=5)
net.metadata = {"scale": [0.5, 2], "note": "\u00e9\u4e2d\U0001f600", "none": None}
write("model", net)
write_pickle("model", net)
expected["model"] = {"predict": net.predict(X).tolist(), "evaluate": net.evaluate(X, WORDS)}

layers = [
    LayerNorm(),
    Dense(5, "gelu", l1=0.01, max_norm=0.75, weight_initializer="xavier_normal"),
    BatchNorm(momentum=0.3, epsilon=1e-3),
    LayerNorm("selu", epsilon=1e-4),
    Dropout(0.5),
    Dense(2, "sigmoid", bias_initializer="normal"),
]
net = Network(3, layers, loss=losses.BinaryCrossentropy(0.1), seed=8, l2=0.002)
targets = np.stack([y > 0, X[:, 2] > 0], axis=1)
net.fit(X, targets, epochs=2, batch_size=4, optimizer=Adam(0.02, clip_norm=0.5))
write("layers", net)
expected["layers"] = {
    "predict": net.predict(X).tolist(),
    "evaluate": net.evaluate(X, targets),
    "config": [layer.config() for layer in net.layers],
}

for name, loss, activation in [
    ("huber", losses.Huber(0.3), "linear"),
    ("quantile", losses.Quantile(0.8), "softsign"),
    ("poisson", "poisson", "softplus"),
]:
    net = Network(3, [Dense(3, "hard_tanh"), Dense(1, activation)], loss=loss, seed=2)
    net.fit(X, np.abs(y), epochs=2, batch_size=4)
    write(name, net)
    expected[name] = {
        "predict": net.predict(X).tolist(),
        "evaluate": net.evaluate(X, np.abs(y)),
    }

for name, labels in {
    "dates": np.array(["2001-02-03", "2004-05-06", "2030-01-01"], "M8[D]"),
    "bytes": np.array([b"\x00a", b"\xffb", b"\xffc"]),
    "wide": np.array(["a", "b", "c"], "<U50"),
    "unsigned": np.array([1, 2**53 + 1, 2**64 - 1], np.uint64),
}.items():
    net = Network(3, [Dense(3, "softmax")], seed=7)
    net.fit(X, labels[INDEX], epochs=1)
    write(name, net)

# ------------------------------------------------------------------ trainings

net = write_training(
    "training",
    lambda: Network(3, [Dense(4, "tanh"), Dropout(0.25), Dense(1)], loss=losses.Huber(0.5), seed=5),
    y,
    {
        "callbacks": [
            callbacks.EarlyStopping("loss", patience=50),
            callbacks.ReduceLROnPlateau("loss", patience=1),
            stop_at(3),
        ]
    },
    lambda: {
        "epochs": 6,
        "batch_size": 5,
        "optimizer": Adam(StepDecay(0.02, every=2, factor=0.5)),
        "callbacks": [
            callbacks.EarlyStopping("loss", patience=50),
            callbacks.ReduceLROnPlateau("loss", patience=1),
        ],
    },
)
write_pickle("training", net)

# Two of the four mini-batches of the second epoch are trained on.
write_training(
    "midst",
    lambda: Network(
        3,
        [Dense(4, "relu", max_norm=1.0), BatchNorm("tanh"), Dropout(0.3), Dense(3, "softmax")],
        seed=6,
        l2=0.01,
    ),
    WORDS,
    {"augment": slow, "callbacks": [StopAmid(6)]},
    lambda: {
        "epochs": 4,
        "batch_size": 3,
        "optimizer": RMSprop(0.01, centered=True, momentum=0.5, clip_value=0.2),
        "sample_weight": 1 + INDEX / 4,
        "augment": lambda x, y, rng: (x, y),
    },
)

write_training(
    "lbfgs",
    lambda: Network(3, [Dense(3, "tanh", l1=0.001), Dense(1)], seed=5),
    y,
    {"callbacks": [stop_at(4)]},
    lambda: {"epochs": 8, "batch_size": None, "optimizer": LBFGS(history_size=3)},
)

net = Network(3, [Dense(4, "tanh"), Dropout(0.25), Dense(1)], loss=losses.Huber(0.5), seed=5)
for _ in range(3):
    net.partial_fit(X, y, optimizer=SGD(0.05, momentum=0.9))
path = write("partial", net, training_state=True)
again = pycnn.load(path)
end_of("partial", again, again.partial_fit(X, y))

text = json.dumps(expected, indent=1)
(FOLDER / "expected-0.1.json").write_text(text + "\n", encoding="utf-8")
