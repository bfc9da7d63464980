"""Train at random with the vector kernels and with the plain ones, and explain where they part.

    python scripts/against_baseline.py --count 2400

Both round, in different places. Where the parameters differ by more than 1e-9 at the end, or one
training ends early and the other does not, the same is done on one instruction set, from starts
that lie one unit in the last place beside, and with gradients that differ by as much as outputs
near 1 are rounded (what comes through a saturated unit is a difference of such). If these part as
much, it is the training that tells apart what arithmetic cannot, and neither result is wrong. The
table says what makes it do so: what, replaced by something else, lets both agree again. It fails if
a difference has no such explanation.
"""

import argparse
import collections
import copy
import os
import random
import sys
import warnings

import numpy as np

import pycnn
from pycnn import BatchNorm, Dense, Dropout, LayerNorm, Network, Residual
from pycnn._random import permutations
from pycnn.activations import ACTIVATIONS
from pycnn.exceptions import PycnnError

TOLERANCE = 1e-9
STARTS = 12  # beside the start
LIKE = 0.01  # of a difference: what counts as one of its kind
OUTPUTS = {
    "binary_crossentropy": ("sigmoid",),
    "categorical_crossentropy": ("softmax",),
    "kl_divergence": ("softmax",),
    "poisson": ("softplus", "sigmoid"),
    "hinge": ("linear",),
    "mse": tuple(ACTIVATIONS),
    "mae": tuple(ACTIVATIONS),
    "huber": tuple(ACTIVATIONS),
    "quantile": tuple(ACTIVATIONS),
}
LOSSES = {"huber": pycnn.losses.Huber(0.3), "quantile": pycnn.losses.Quantile(0.3)}
OPTIMIZERS = {
    "SGD": [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}],
    "Adam": [{}],
    "AdamW": [{}],
    "RMSprop": [{}, {"momentum": 0.9}, {"centered": True}],
    "Adagrad": [{}],
    "Rprop": [{}],
}


def a_layer(rng, width):
    """Return a hidden layer on so many units, and its own."""
    units, activation = rng.choice((1, 2, 5, 8, 13, 30)), rng.choice(list(ACTIVATIONS))
    kind = rng.randrange(10)
    if kind == 0:
        return BatchNorm(activation), width
    if kind == 1:
        return LayerNorm(activation), width
    if kind == 2:
        return Dropout(0.3), width
    if kind == 3:
        return Residual([Dense(units, activation), Dense(width)]), width
    penalties = {"l1": 0.001, "l2": 0.01} if rng.randrange(6) == 0 else {}
    return Dense(units, activation, **penalties), units


def a_training(seed):
    """Return all that decides a training."""
    rng = random.Random(seed)
    inputs = width = rng.randint(1, 12)
    layers = []
    for _ in range(rng.randrange(4)):
        layer, width = a_layer(rng, width)
        layers.append(layer)
    loss = rng.choice(list(OUTPUTS))
    outputs = rng.randint(1, 4) + (loss == "categorical_crossentropy")
    layers.append(Dense(outputs, rng.choice(OUTPUTS[loss])))
    name = rng.choice(list(OPTIMIZERS))
    settings = dict(rng.choice(OPTIMIZERS[name]))
    settings["learning_rate"] = 10 ** rng.uniform(-3, 1)
    if rng.randrange(6) == 0:
        settings |= {"clip_value": 0.1} if rng.randrange(2) else {"clip_norm": 0.5}
    return {
        "inputs": inputs,
        "layers": layers,
        "loss": loss,
        "outputs": outputs,
        "optimizer": name,
        "settings": settings,
        "rows": rng.randint(1, 150),
        "batch_size": rng.choice((1, 3, 16, 32, None)),
        "epochs": rng.randint(1, 30),
        "seed": seed,
    }


def data_of(training):
    """Return inputs, and targets that the loss can have."""
    rng = np.random.default_rng(training["seed"])
    X = rng.normal(size=(training["rows"], training["inputs"]))
    y = rng.normal(size=(training["rows"], training["outputs"]))
    loss = training["loss"]
    if loss == "binary_crossentropy":
        y = (y > 0).astype(float)
    elif loss in ("categorical_crossentropy", "kl_divergence"):
        y = np.eye(training["outputs"])[y.argmax(axis=1)]
    elif loss == "hinge":
        y = np.where(y > 0, 1.0, -1.0)
    elif loss == "poisson":
        y = abs(y)
    return X, y


def beside(values, rng):
    """Return numbers of which each is the next larger or smaller one."""
    return np.nextafter(values, np.where(rng.random(values.shape) < 0.5, -np.inf, np.inf))


def begin(training, isa, start):
    """Return the network, the data and the optimizer of a training."""
    os.environ.pop("PYCNN_ISA", None)
    if isa is not None:
        os.environ["PYCNN_ISA"] = isa
    X, y = data_of(training)
    net = Network(
        training["inputs"],
        copy.deepcopy(training["layers"]),
        LOSSES.get(training["loss"], training["loss"]),
        seed=training["seed"],
        backend="c",
    )
    if start > 0:
        rng = np.random.default_rng(start)
        net.parameters, X = beside(net.parameters, rng), beside(X, rng)
    return net, X, y, getattr(pycnn, training["optimizer"])(**training["settings"])


def run(training, isa=None, start=0):
    """Return how a training ended, the parameters then, and the number of epochs."""
    net, X, y, optimizer = begin(training, isa, start)
    end = "finished"
    try:
        net.fit(
            X,
            y,
            epochs=training["epochs"],
            batch_size=training["batch_size"],
            optimizer=optimizer,
        )
    except PycnnError as error:
        end = type(error).__name__
    return end, net.parameters, net.epochs_trained


def run_by_hand(training, noise):
    """Return the same of a loop over the mini-batches, with that noise in their gradients, or 0."""
    net, X, y, optimizer = begin(training, None, 0)
    rng, size, state = np.random.default_rng(noise), training["batch_size"] or len(X), None
    end = "finished"
    try:
        for _ in range(training["epochs"]):
            order = permutations(net.seed, net.epochs_trained, 1, len(X)).ravel()
            for first in range(0, len(X), size):
                rows = order[first : first + size]
                _, gradient, weight = net.gradients(
                    X[rows], y[rows], training=True, reduction="sum", first_row=first
                )
                if noise > 0:
                    ulp = np.finfo(float).eps * max(1, abs(gradient).max()) / 2
                    gradient = gradient + rng.choice((-ulp, 0, ulp), gradient.size)
                state = optimizer.apply(net, gradient, state, weight=weight)
            net.epochs_trained += 1
    except PycnnError as error:
        end = type(error).__name__
    return end, net.parameters, net.epochs_trained


def difference(one, other):
    """Return the largest difference of two trainings' parameters; infinity where one ends early."""
    if one[0] != other[0] or one[2] != other[2]:
        return np.inf
    return float(abs(one[1] - other[1]).max() / max(1, abs(one[1]).max()))


def changed(training, **settings):
    """Return a training with other settings of its optimizer."""
    return training | {"settings": training["settings"] | settings}


def others(training):
    """Yield causes of a difference, and the training without them."""
    name, settings = training["optimizer"], training["settings"]
    if name == "Rprop":
        yield (
            "Rprop: the sign of a gradient that is rounding noise",
            training | {"optimizer": "SGD", "settings": {"learning_rate": 0.01}},
        )
    if settings.get("centered"):
        yield (
            "centered RMSprop: a variance that is a small difference",
            changed(training, centered=False),
        )
    if name in ("Adam", "AdamW", "RMSprop", "Adagrad"):
        yield (
            "small gradients, divided by their own size: beside epsilon 1e-4 they agree",
            changed(training, epsilon=1e-4),
        )
    if training["loss"] in ("mae", "hinge", "quantile"):
        yield "a kink of the loss: with mse they agree", training | {"loss": "mse"}
    smaller = settings["learning_rate"] / 10
    yield (
        "growth: with a tenth of the learning rate they agree",
        changed(training, learning_rate=smaller),
    )


def explain(training, fused, apart):
    """Return a cause, and how far apart lie trainings that begin or go on beside it; or None."""
    like = LIKE * min(1, apart)
    most = max(difference(fused, run(training, start=k + 1)) for k in range(STARTS))
    if most < like:
        exact = run_by_hand(training, 0)
        most = max(difference(exact, run_by_hand(training, k + 1)) for k in range(STARTS))
    if most < like:
        return None, most
    for cause, other in others(training):
        if difference(run(other), run(other, isa="baseline")) <= TOLERANCE:
            return cause, most
    return "other growth: what begins beside it parts alike", most


def main():
    """Do what the command line asks for; return 1 where a difference has no explanation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2400)
    parser.add_argument("--first", type=int, default=0, help="seed of the first training")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    pycnn.set_num_threads(1)
    causes, ended, early, faults = collections.Counter(), 0, 0, 0
    for seed in range(arguments.first, arguments.first + arguments.count):
        training = a_training(seed)
        fused, plain = run(training), run(training, isa="baseline")
        apart = difference(fused, plain)
        early += fused[0] != "finished"
        if apart <= TOLERANCE:
            continue
        cause, most = explain(training, fused, apart)
        ended += np.isinf(apart)
        faults += cause is None
        causes[cause or "no explanation"] += 1
        name = training["optimizer"]
        print(f"{seed}: {apart:.1e}, beside it {most:.1e}; {name}: {cause}", flush=True)
    for cause, count in causes.most_common():
        print(f"{count:6,}  {cause}")
    print(f"{causes.total():6,} of {arguments.count:,} differ, {ended} end differently")
    print(f"{early:6,} end early")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
