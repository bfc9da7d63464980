"""scikit-learn's multi-layer perceptron."""

# ruff: noqa: D102 (the methods are documented in Peer)
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor

from benchmarks.peers import Peer, Task, flatten

if TYPE_CHECKING:
    from benchmarks.workloads import Array


class ScikitLearn(Peer):
    """An epoch is one call of `partial_fit`."""

    title = "scikit-learn"

    def __init__(self, task: Task) -> None:
        workload = task.workload
        self.task = task
        settings: dict[str, Any] = {
            "hidden_layer_sizes": workload.sizes[1:-1],
            "activation": workload.hidden,
            "solver": "sgd",
            "alpha": 0.0,
            "batch_size": workload.batch,
            "learning_rate_init": workload.learning_rate,
            "shuffle": False,
            "momentum": 0.0,
            "nesterovs_momentum": False,
        }
        self.y = task.y.ravel()
        self.settings: dict[str, Any] = {}
        if workload.loss == "mse":
            self.model: Any = MLPRegressor(**settings)
        else:
            self.model = MLPClassifier(**settings)
            self.settings["classes"] = np.arange(max(2, workload.sizes[-1]))
        # A first call sets the model up; then it starts again, from the weights of all peers.
        some = slice(workload.batch)
        self.model.partial_fit(task.X[some], self.y[some], **self.settings)
        for i, (W, b) in enumerate(task.parameters):
            self.model.coefs_[i][:] = W.T
            self.model.intercepts_[i][:] = b
        self.batches = [task.X[rows] for rows in task.batches()]
        self.output: Array | None = None

    def run(self, epochs: int) -> None:
        if self.task.workload.training:
            for _ in range(epochs):
                self.model.partial_fit(self.task.X, self.y, **self.settings)
            return
        predict = self.model.predict_proba
        for _ in range(epochs):
            for batch in self.batches:
                self.output = predict(batch)

    def result(self) -> Array:
        if self.output is not None:  # of two classes it has both
            return self.output[:, -self.task.workload.sizes[-1] :]
        layers = zip(self.model.coefs_, self.model.intercepts_, strict=True)
        return flatten([(W.T, b) for W, b in layers])
