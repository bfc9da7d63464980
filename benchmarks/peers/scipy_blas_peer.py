"""The same formulas over BLAS itself, with everything preallocated: what a careful user writes."""

# ruff: noqa: D102 (the methods are documented in Peer)
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg.blas import dgemm
from scipy.special import expit

from benchmarks.peers import Peer, Task, flatten

if TYPE_CHECKING:
    from benchmarks.workloads import Array


class SciPyBLAS(Peer):
    """A row a sample; to BLAS, which counts by columns, each array is its transpose.

    The bias is in place before the product is added to it, and the gradient's product goes
    straight into W.
    """

    title = "SciPy BLAS"

    def __init__(self, task: Task) -> None:
        workload = task.workload
        m = workload.batch
        self.task = task
        self.parameters = task.copied_parameters()
        self.output = [np.empty((m, units)) for units in workload.sizes[1:]]
        self.delta = [np.empty((m, units)) for units in workload.sizes[1:]]
        self.slope = [np.empty((m, units)) for units in workload.sizes[1:]]
        self.positive = [np.empty((m, units), dtype=bool) for units in workload.sizes[1:]]
        self.db = [np.empty(units) for units in workload.sizes[1:]]
        self.column = np.empty((m, 1))
        self.index = np.arange(m)
        self.batches = []
        for rows in task.batches():
            y = task.y[rows]
            one_hot = y if y.ndim == 2 else np.eye(workload.sizes[-1])[y]
            self.batches.append((task.X[rows], one_hot, y))
        self.total = 0.0

    def forward(self, x: Array) -> None:
        a = x
        last = len(self.parameters) - 1
        for i, (W, b) in enumerate(self.parameters):
            z = self.output[i]
            z[:] = b
            dgemm(1.0, W.T, a.T, beta=1.0, c=z.T, trans_a=True, overwrite_c=True)
            if i < last:
                self.activate(z)
            a = z

    def activate(self, z: Array) -> None:
        if self.task.workload.hidden == "relu":
            np.maximum(z, 0, out=z)
        else:
            np.tanh(z, out=z)

    def finish(self, z: Array, y: Array) -> float:
        """Turn the output layer's z into its activation; return the mean loss."""
        loss = self.task.workload.loss
        if loss == "mse":
            difference = np.subtract(z, y, out=self.delta[-1]).ravel()
            return 0.5 * float(difference @ difference) / len(z)
        if loss == "binary_crossentropy":
            expit(z, out=z)
            return -float(np.log(np.where(y == 1, z, 1 - z)).mean())
        np.max(z, axis=1, keepdims=True, out=self.column)
        z -= self.column
        np.exp(z, out=z)
        np.sum(z, axis=1, keepdims=True, out=self.column)
        z /= self.column
        return -float(np.log(z[self.index, y]).mean())

    def step(self, x: Array, one_hot: Array, y: Array) -> None:
        self.forward(x)
        self.total += self.finish(self.output[-1], y)
        rate = self.task.workload.learning_rate / len(x)
        np.subtract(self.output[-1], one_hot, out=self.delta[-1])
        for i in reversed(range(len(self.parameters))):
            W, b = self.parameters[i]
            delta = self.delta[i]
            below = x if i == 0 else self.output[i - 1]
            if i > 0:
                dgemm(1.0, W.T, delta.T, c=self.delta[i - 1].T, overwrite_c=True)
            dgemm(-rate, below.T, delta.T, beta=1.0, c=W.T, trans_b=True, overwrite_c=True)
            np.sum(delta, axis=0, out=self.db[i])
            self.db[i] *= rate
            b -= self.db[i]
            if i > 0:
                self.differentiate(i - 1)

    def differentiate(self, i: int) -> None:
        """Multiply delta by f'(z), from a = f(z)."""
        a = self.output[i]
        if self.task.workload.hidden == "relu":
            np.greater(a, 0, out=self.positive[i])
            self.delta[i] *= self.positive[i]
        else:
            slope = np.multiply(a, a, out=self.slope[i])
            np.subtract(1, slope, out=slope)
            self.delta[i] *= slope

    def run(self, epochs: int) -> None:
        for _ in range(epochs):
            for x, one_hot, y in self.batches:
                if self.task.workload.training:
                    self.step(x, one_hot, y)
                else:
                    self.forward(x)
                    self.finish(self.output[-1], y)

    def result(self) -> Array:
        if self.task.workload.training:
            return flatten(self.parameters)
        return self.output[-1].copy()
