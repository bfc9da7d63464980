"""pycnn itself, through the calls that users make."""

# ruff: noqa: D102 (the methods are documented in Peer)
from __future__ import annotations

from typing import TYPE_CHECKING

import pycnn
from benchmarks.peers import Peer, Task

if TYPE_CHECKING:
    from benchmarks.workloads import Array, Workload


def make_network(workload: Workload) -> pycnn.Network:
    """Return the workload's network; its initial parameters are those of all peers."""
    units = zip(workload.sizes[1:], workload.activations, strict=True)
    layers = [pycnn.Dense(count, activation) for count, activation in units]
    return pycnn.Network(workload.sizes[0], layers, loss=workload.loss, seed=0)


class Pycnn(Peer):
    """`Network.fit` and `Network.predict`."""

    title = "pycnn"

    def __init__(self, task: Task) -> None:
        self.task = task
        self.net = make_network(task.workload)
        self.optimizer = pycnn.SGD(task.workload.learning_rate)
        self.batches = [task.X[rows] for rows in task.batches()]
        self.call = self.net.predict
        self.output: Array | None = None

    def run(self, epochs: int) -> None:
        task = self.task
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

    def result(self) -> Array:
        if self.output is None:
            return self.net.parameters.copy()
        return self.output.reshape(-1, self.net.outputs).copy()


class PycnnBound(Pycnn):
    """The callable that `Network.predictor` binds to a network, for one row at a time."""

    title = "pycnn, bound"

    @classmethod
    def refuses(cls, workload: Workload) -> str | None:
        if workload.training or workload.batch > 1:
            return "for one row at a time"
        if not hasattr(pycnn.Network, "predictor"):
            return "this version has no Network.predictor"
        return None

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.call = self.net.predictor(batch=1)
