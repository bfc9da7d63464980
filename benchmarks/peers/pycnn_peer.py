"""pycnn itself, through the calls that users make."""

# ruff: noqa: D102 (the methods are documented in Peer)
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import pycnn
from benchmarks.peers import Peer, Task

if TYPE_CHECKING:
    from benchmarks.workloads import Array, Workload


class Pycnn(Peer):
    """`Network.fit` (a call a step: `Network.train_on_batch`) and `Network.predict`."""

    title = "pycnn"
    families = ("rows", "layers")

    def __init__(self, task: Task) -> None:
        self.task = task
        self.net = task.workload.network()
        self.optimizer = pycnn.SGD(task.workload.learning_rate)
        self.batches = [task.X[rows] for rows in task.batches()]
        self.targets = [task.y[rows] for rows in task.batches()]
        self.call = self.net.predict
        self.output: Array | None = None

    def run(self, epochs: int) -> None:
        task = self.task
        if task.workload.calls:
            self.train(epochs)
            return
        if task.workload.training:
            self.net.fit(
                task.X,
                task.y,
                epochs=epochs,
                batch_size=task.workload.batch,
                optimizer=self.optimizer,
                shuffle=False,
                progress=False,
            )
            return
        call = self.call
        for _ in range(epochs):
            for batch in self.batches:
                output = call(batch)
        self.output = output

    def train(self, epochs: int) -> None:
        """Do each step by a call of its own."""
        train, optimizer = self.net.train_on_batch, self.optimizer
        for _ in range(epochs):
            for x, y in zip(self.batches, self.targets, strict=True):
                train(x, y, optimizer=optimizer)

    def result(self) -> Array:
        if self.output is None:
            return self.net.parameters.copy()
        return self.output.reshape(-1, *self.net.output_shape).copy()


class PycnnBound(Pycnn):
    """What `Network.trainer` and `Network.predictor` bind to a network, for one row at a time."""

    title = "pycnn, bound"

    @classmethod
    def refuses(cls, workload: Workload) -> str | None:
        if (workload.training and not workload.calls) or workload.batch > 1:
            return "for one row at a time"
        return None

    def train(self, epochs: int) -> None:
        """Do each step by a call of its own, in arrays that stay."""
        train = self.trainer
        for _ in range(epochs):
            for x, y in zip(self.batches, self.targets, strict=True):
                train(x, y)

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.trainer = self.net.trainer(1, self.optimizer) if task.workload.calls else None
        self.batches = [batch.astype(np.float64) for batch in self.batches]
        self.call = self.net.predictor(batch=1)


class PycnnFrozen(PycnnBound):
    """The same with a copy of the parameters, laid out for a single row."""

    title = "pycnn, frozen"

    @classmethod
    def refuses(cls, workload: Workload) -> str | None:
        return (
            "for predicting one row at a time" if workload.training else super().refuses(workload)
        )

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.call = self.net.predictor(batch=1, frozen=True)
