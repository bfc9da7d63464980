"""pycnn's estimators beside scikit-learn's: single fits, and grid searches.

    python -m benchmarks.sklearn_estimators

The same mini-batches, epochs and draws, so that the weights agree: the last column says how far
they lie apart. Both take turns, and the fastest of them counts: CPU time of one thread, which
others who use the machine disturb least.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # read by what is imported now

import numpy as np
from sklearn import neural_network
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler

import pycnn.sklearn

SETS = {
    "digits": lambda: load_digits(return_X_y=True),
    "breast cancer": lambda: load_breast_cancer(return_X_y=True),
    "20,000 rows": lambda: make_classification(
        20_000, 20, n_informative=10, n_classes=3, random_state=0
    ),
}
CASES = [
    ("adam", {}),
    ("adam, batches of 32", {"batch_size": 32}),
    ("sgd", {"solver": "sgd"}),
    ("lbfgs", {"solver": "lbfgs"}),
    ("adam, early stopping", {"early_stopping": True}),
]
GRID = {  # with 5 folds 60 fits
    "alpha": [1e-4, 1e-2, 1.0],
    "hidden_layer_sizes": [(50,), (100,)],
    "learning_rate_init": [1e-3, 1e-2],
}


def clocked(estimator: Any, X: Any, y: Any) -> tuple[float, Any]:
    """Return the seconds of a fit, and what has been fitted."""
    started = time.process_time()
    estimator.fit(X, y)
    return time.process_time() - started, estimator


def compare(name: str, make: Any, X: Any, y: Any, repeats: int) -> None:
    """Print a row of the table."""
    best = [np.inf, np.inf]
    fitted: list[Any] = [None, None]
    for _ in range(repeats):
        for i, module in enumerate((neural_network, pycnn.sklearn)):
            seconds, fitted[i] = clocked(make(module), X, y)
            best[i] = min(best[i], seconds)
    ends = [getattr(each, "best_estimator_", each) for each in fitted]
    apart = max(np.abs(a - b).max() for a, b in zip(ends[0].coefs_, ends[1].coefs_, strict=True))
    print(
        f"| {name} | {ends[0].n_iter_} | {best[0]:.3f} | {best[1]:.3f} | {best[0] / best[1]:.1f} "
        f"| {apart:.0e} |",
        flush=True,
    )


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-grid", action="store_true")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    common = {"max_iter": given.epochs, "random_state": 0}
    print("| | epochs | scikit-learn, s | pycnn, s | ratio | weights apart |")
    print("| --- | --- | --- | --- | --- | --- |")
    for data, load in SETS.items():
        X, y = load()
        X = StandardScaler().fit_transform(X)
        for case, settings in CASES:
            compare(
                f"{data}, {case}",
                lambda module, own=settings: module.MLPClassifier(**common, **own),
                X,
                y,
                given.repeats,
            )
        if not given.no_grid and len(X) < 10_000:
            compare(
                f"{data}, grid search of 60 fits",
                lambda module: GridSearchCV(module.MLPClassifier(**common), GRID, cv=5),
                X,
                y,
                1,
            )


if __name__ == "__main__":
    main()
