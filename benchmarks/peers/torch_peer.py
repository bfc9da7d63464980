"""PyTorch: as everyone writes it, and with the whole step compiled."""

# ruff: noqa: D102 (the methods are documented in Peer)
from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from benchmarks.peers import Peer, Task, flatten

if TYPE_CHECKING:
    from benchmarks.workloads import Array, Workload

_ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}


def _loss(name: str, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    if name == "mse":
        return 0.5 * functional.mse_loss(z, y)
    if name == "binary_crossentropy":
        return functional.binary_cross_entropy_with_logits(z, y)
    return functional.cross_entropy(z, y)


class _Torch(Peer):
    def __init__(self, task: Task) -> None:
        torch.set_num_threads(task.threads)
        self.task = task
        self.weights = [torch.from_numpy(p) for layer in task.copied_parameters() for p in layer]
        X, y = torch.from_numpy(task.X), torch.from_numpy(task.y)
        self.batches = [(X[rows], y[rows]) for rows in task.batches()]
        self.rows = [task.X[rows] for rows in task.batches()]
        self.total = torch.zeros((), dtype=torch.float64)
        self.output: Array | None = None

    def forward(self, weights: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """Return the output layer's z."""
        hidden = _ACTIVATIONS[self.task.workload.hidden]
        for i in range(0, len(weights) - 2, 2):
            x = hidden(functional.linear(x, weights[i], weights[i + 1]))
        return functional.linear(x, weights[-2], weights[-1])

    def predict(self, weights: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.forward(weights, x), dim=1)

    def step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def run(self, epochs: int) -> None:
        if self.task.workload.training:
            step = self.step
            for _ in range(epochs):
                for x, y in self.batches:
                    self.total += step(x, y)
            return
        predict = self.predict
        with torch.inference_mode():
            for _ in range(epochs):
                for row in self.rows:
                    self.output = predict(self.weights, torch.from_numpy(row)).numpy()

    def result(self) -> Array:
        if self.output is not None:
            return self.output
        weights = [p.detach().numpy() for p in self.weights]
        return flatten(list(zip(weights[::2], weights[1::2], strict=True)))


class TorchEager(_Torch):
    """Autograd and `torch.optim.SGD`, fused."""

    title = "PyTorch"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        if task.workload.training:
            self.weights = [nn.Parameter(p) for p in self.weights]
            rate = task.workload.learning_rate
            self.optimizer = torch.optim.SGD(self.weights, lr=rate, fused=True)

    def step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        loss = _loss(self.task.workload.loss, self.forward(self.weights, x), y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()


class TorchCompiled(_Torch):
    """Forward, backward and update as one graph."""

    title = "PyTorch, compiled"

    @classmethod
    def refuses(cls, workload: Workload) -> str | None:
        return None if shutil.which("c++") or shutil.which("g++") else "needs a C++ compiler"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        workload = task.workload

        def loss(weights: list[torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return _loss(workload.loss, self.forward(weights, x), y)

        def step(weights: list[torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            gradients, value = torch.func.grad_and_value(loss)(weights, x, y)
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.sub_(gradient, alpha=workload.learning_rate)
            return value

        torch.compiler.reset()
        self.compiled = torch.compile(step, dynamic=False, fullgraph=True)
        if not workload.training:
            self.predict = torch.compile(self.predict, dynamic=False, fullgraph=True)

    def step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.compiled(self.weights, x, y)
