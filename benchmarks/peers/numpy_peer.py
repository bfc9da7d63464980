"""The formulas of the lecture, in NumPy, as one would write them down."""

# ruff: noqa: D102 (the methods are documented in Peer)
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.peers import Peer, Task, flatten

if TYPE_CHECKING:
    from benchmarks.workloads import Array


def _softmax(z: Array) -> Array:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


_ACTIVATIONS = {
    "linear": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "softmax": _softmax,
}

# f'(z) from a = f(z)
_DERIVATIVES = {"relu": lambda a: a > 0, "tanh": lambda a: 1 - a * a}


class NumPy(Peer):
    """A row a sample: Z = A W^T + b."""

    title = "NumPy"

    def __init__(self, task: Task) -> None:
        workload = task.workload
        self.task = task
        self.parameters = task.copied_parameters()
        self.functions = [_ACTIVATIONS[name] for name in workload.activations]
        self.derivative = _DERIVATIVES[workload.hidden]
        self.batches = []
        for rows in task.batches():
            y = task.y[rows]
            one_hot = y if y.ndim == 2 else np.eye(workload.sizes[-1])[y]
            self.batches.append((task.X[rows], one_hot, y))
        self.total = 0.0
        self.output: Array | None = None

    def forward(self, x: Array) -> list[Array]:
        activations = [x]
        for (W, b), function in zip(self.parameters, self.functions, strict=True):
            activations.append(function(activations[-1] @ W.T + b))
        return activations

    def loss(self, output: Array, y: Array) -> float:
        if self.task.workload.loss == "mse":
            return 0.5 * ((output - y) ** 2).sum() / len(y)
        if self.task.workload.loss == "binary_crossentropy":
            return -np.log(np.where(y == 1, output, 1 - output)).mean()
        return -np.log(output[np.arange(len(y)), y]).mean()

    def step(self, x: Array, one_hot: Array, y: Array) -> None:
        activations = self.forward(x)
        self.total += self.loss(activations[-1], y)
        rate = self.task.workload.learning_rate / len(x)
        delta = activations[-1] - one_hot
        for i in reversed(range(len(self.parameters))):
            W, b = self.parameters[i]
            dW, db = delta.T @ activations[i], delta.sum(axis=0)
            if i > 0:
                delta = (delta @ W) * self.derivative(activations[i])
            W -= rate * dW
            b -= rate * db

    def run(self, epochs: int) -> None:
        for _ in range(epochs):
            for x, one_hot, y in self.batches:
                if self.task.workload.training:
                    self.step(x, one_hot, y)
                else:
                    self.output = self.forward(x)[-1]

    def result(self) -> Array:
        return flatten(self.parameters) if self.output is None else self.output
