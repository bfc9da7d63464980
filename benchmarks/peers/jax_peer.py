"""JAX: a whole epoch is one compiled `lax.scan` over its mini-batches."""

# ruff: noqa: D102 (the methods are documented in Peer)
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers import Peer, Task, flatten

if TYPE_CHECKING:
    from benchmarks.workloads import Array

jax.config.update("jax_enable_x64", True)

_ACTIVATIONS = {"relu": lambda z: jnp.maximum(z, 0), "tanh": jnp.tanh}

# Steps in the scan's body: 2 is the fastest here where steps are tiny, and costs nothing elsewhere.
UNROLL = 2


class Jax(Peer):
    """Weights lie as `x @ W` wants them, (n_{l-1}, n_l): one sample at a time that is faster."""

    title = "JAX"

    def __init__(self, task: Task) -> None:
        workload = task.workload
        self.task = task
        self.weights = [(jnp.array(W.T), jnp.array(b)) for W, b in task.parameters]
        self.batches = [task.X[rows] for rows in task.batches()]
        self.output: Array | None = None
        hidden = _ACTIVATIONS[workload.hidden]

        def forward(weights: Any, x: Any) -> Any:
            *inner, (W, b) = weights
            for V, c in inner:
                x = hidden(x @ V + c)
            return x @ W + b

        def loss(weights: Any, x: Any, y: Any) -> Any:
            z = forward(weights, x)
            if workload.loss == "mse":
                return 0.5 * jnp.mean((z - y) ** 2)
            if workload.loss == "binary_crossentropy":
                return jnp.mean(jnp.logaddexp(0, z) - y * z)
            return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], axis=1))

        def step(weights: Any, batch: Any) -> Any:
            value, gradients = jax.value_and_grad(loss)(weights, *batch)
            rate = workload.learning_rate
            return jax.tree.map(lambda p, g: p - rate * g, weights, gradients), value

        def epoch(weights: Any, X: Any, y: Any) -> Any:
            weights, values = jax.lax.scan(step, weights, (X, y), unroll=UNROLL)
            return weights, values.mean()

        self.epoch = jax.jit(epoch, donate_argnums=0)
        self.predict = jax.jit(lambda weights, x: jax.nn.softmax(forward(weights, x)))
        if workload.training:
            shape = (workload.steps, workload.batch)
            self.X = jnp.asarray(task.X.reshape(*shape, -1))
            self.y = jnp.asarray(task.y.reshape(*shape, *task.y.shape[1:]))

    def run(self, epochs: int) -> None:
        if self.task.workload.training:
            for _ in range(epochs):
                self.weights, self.value = self.epoch(self.weights, self.X, self.y)
            jax.block_until_ready(self.weights)
            return
        for _ in range(epochs):
            for batch in self.batches:
                self.output = np.asarray(self.predict(self.weights, batch))

    def result(self) -> Array:
        if self.output is not None:
            return self.output
        return flatten([(np.asarray(W).T, np.asarray(b)) for W, b in self.weights])
