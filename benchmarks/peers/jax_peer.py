"""JAX: a whole epoch as one compiled `lax.scan` over its mini-batches, or each step by itself."""

# ruff: noqa: D102 (the methods are documented in Peer)
from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import pycnn
from benchmarks.peers import Peer, Task, flatten_named

if TYPE_CHECKING:
    from benchmarks.workloads import Array, Workload

jax.config.update("jax_enable_x64", True)

_ACTIVATIONS = {
    "linear": lambda z: z,
    "relu": lambda z: jnp.maximum(z, 0),
    "tanh": jnp.tanh,
    "gelu": lambda z: jax.nn.gelu(z, approximate=False),
}

# Steps in the scan's body: 2 is the fastest here where steps are tiny, and costs nothing elsewhere.
UNROLL = 2


class _Function:
    """A layer: what it computes of its arrays `w`, by pycnn's names, and of x.

    The arrays lie as the computation wants them.
    """

    axes: ClassVar[dict[str, tuple[int, ...]]] = {}  # of pycnn's array, in the order of ours

    def __init__(self, own: Any) -> None:
        self.own = own
        activation = getattr(own, "activation", "linear")
        self.activation = _ACTIVATIONS.get(activation, _ACTIVATIONS["linear"])

    def arrays(self, dtype: Any) -> dict[str, Any]:
        """Return copies of the layer's arrays."""
        return {
            name: jnp.array(np.transpose(array, self.order(name, array)), dtype)
            for name, array in self.own.tensors.items()
        }

    def order(self, name: str, array: Any) -> tuple[int, ...]:
        return self.axes.get(name.rpartition(".")[2], tuple(range(array.ndim)))

    def read(self, w: dict[str, Any]) -> dict[str, Array]:
        """Return them as pycnn has them."""
        return {
            name: np.transpose(np.asarray(array, np.float64), np.argsort(self.order(name, array)))
            for name, array in w.items()
        }

    def __call__(self, w: dict[str, Any], x: Any) -> Any:
        raise NotImplementedError


class _Dense(_Function):
    """W lies as `x @ W` wants it: one sample at a time that is faster."""

    axes: ClassVar = {"W": (1, 0)}

    def __call__(self, w: dict[str, Any], x: Any) -> Any:
        return self.activation(x @ w["W"] + w["b"])


class _Convolution(_Function):
    def __init__(self, own: Any) -> None:
        super().__init__(own)
        self.images = isinstance(own, pycnn.Conv2D)
        self.axes = {"W": (1, 2, 3, 0) if self.images else (1, 2, 0)}

    def __call__(self, w: dict[str, Any], x: Any) -> Any:
        layout = ("NHWC", "HWIO", "NHWC") if self.images else ("NWC", "WIO", "NWC")
        strides = (1, 1) if self.images else (1,)
        padding = self.own.padding.upper()
        z = lax.conv_general_dilated(x, w["W"], strides, padding, dimension_numbers=layout)
        return self.activation(z + w["b"])


class _MaxPool(_Function):
    def __call__(self, w: dict[str, Any], x: Any) -> Any:
        window = (1, *np.broadcast_to(self.own.pool_size, x.ndim - 2), 1)
        return lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")


class _GlobalAverage(_Function):
    def __call__(self, w: dict[str, Any], x: Any) -> Any:
        return x.mean(axis=1)


class _Flatten(_Function):
    def __call__(self, w: dict[str, Any], x: Any) -> Any:
        return x.reshape(len(x), -1)


class _Recurrent(_Function):
    """What x brings is computed for all positions at once, the rest in a scan over time."""

    axes: ClassVar = {"W": (1, 0), "U": (1, 0)}

    def __call__(self, w: dict[str, Any], x: Any) -> Any:
        brought = jnp.swapaxes(x @ w["W"] + w["b"], 0, 1)
        start = jnp.zeros((len(x), self.own.units), x.dtype)
        step = self.lstm if isinstance(self.own, pycnn.LSTM) else self.gru
        (h, _), outputs = lax.scan(lambda s, z: step(w, s, z), (start, start), brought)
        return jnp.swapaxes(outputs, 0, 1) if self.own.return_sequences else h

    def lstm(self, w: dict[str, Any], state: Any, z: Any) -> Any:
        h, c = state
        i, f, g, o = jnp.split(z + h @ w["U"], 4, axis=1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h if self.own.return_sequences else None

    def gru(self, w: dict[str, Any], state: Any, z: Any) -> Any:
        h, _ = state
        (z_r, z_u, z_n), (q_r, q_u, q_n) = (jnp.split(part, 3, axis=1) for part in (z, h @ w["U"]))
        u = jax.nn.sigmoid(z_u + q_u)
        n = jnp.tanh(z_n + jax.nn.sigmoid(z_r + q_r) * (q_n + w["b_n"]))
        h = (1 - u) * n + u * h
        return (h, h), h if self.own.return_sequences else None


class _Embedding(_Function):
    def __call__(self, w: dict[str, Any], x: Any) -> Any:
        return w["W"][x]


class _Positions(_Function):
    def __call__(self, w: dict[str, Any], x: Any) -> Any:
        return x + w["W"]


def _normalize(gamma: Any, beta: Any, epsilon: float, x: Any) -> Any:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    return gamma * centred * lax.rsqrt(variance + epsilon) + beta


class _LayerNorm(_Function):
    def __call__(self, w: dict[str, Any], x: Any) -> Any:
        return _normalize(w["gamma"], w["beta"], self.own.epsilon, x)


class _Block(_Function):
    axes: ClassVar = {
        "W": (1, 0), **{f"W_{role}": (1, 0) for role in ("query", "key", "value", "output")},
    }  # fmt: skip

    def norm(self, w: dict[str, Any], name: str, x: Any) -> Any:
        epsilon = getattr(self.own, name).epsilon
        return _normalize(w[f"{name}.gamma"], w[f"{name}.beta"], epsilon, x)

    def attention(self, w: dict[str, Any], x: Any) -> Any:
        rows, positions, features = x.shape
        heads = self.own.heads
        query, key, value = (
            (x @ w[f"attention.W_{role}"] + w[f"attention.b_{role}"]).reshape(
                rows, positions, heads, -1
            )
            for role in ("query", "key", "value")
        )
        scores = jnp.einsum("btnd,bsnd->bnts", query, key) / np.sqrt(features // heads)
        seen = np.tril(np.ones((positions, positions), bool))
        shares = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), axis=-1)
        found = jnp.einsum("bnts,bsnd->btnd", shares, value).reshape(x.shape)
        return found @ w["attention.W_output"] + w["attention.b_output"]

    def __call__(self, w: dict[str, Any], x: Any) -> Any:
        x = x + self.attention(w, self.norm(w, "norm_1", x))
        inner = self.norm(w, "norm_2", x) @ w["dense_1.W"] + w["dense_1.b"]
        return x + _ACTIVATIONS["gelu"](inner) @ w["dense_2.W"] + w["dense_2.b"]


_FUNCTIONS = {
    pycnn.Dense: _Dense,
    pycnn.Conv1D: _Convolution,
    pycnn.Conv2D: _Convolution,
    pycnn.MaxPool1D: _MaxPool,
    pycnn.MaxPool2D: _MaxPool,
    pycnn.GlobalAveragePool1D: _GlobalAverage,
    pycnn.Flatten: _Flatten,
    pycnn.LSTM: _Recurrent,
    pycnn.GRU: _Recurrent,
    pycnn.Embedding: _Embedding,
    pycnn.PositionEmbedding: _Positions,
    pycnn.LayerNorm: _LayerNorm,
    pycnn.TransformerBlock: _Block,
}


class Jax(Peer):
    """Of rows an epoch is one scan; of layers a step is one call: XLA's loops slow convolutions."""

    title = "JAX"
    families = ("rows", "layers")

    def by_hand(self, workload: Workload) -> Any:
        """Return a loss with its gradients, by weights, x and y; None: JAX differentiates."""

    def __init__(self, task: Task) -> None:
        workload, net = task.workload, task.net
        self.task = task
        self.functions = [_FUNCTIONS[type(own)](own) for own in net.layers]
        self.weights = [function.arrays(self.precision) for function in self.functions]
        tokens = isinstance(net.input_shape, pycnn.Tokens)
        X = task.X.astype(np.int32 if tokens else self.precision)
        y = task.y if task.y.dtype == np.int64 else task.y.astype(self.precision)
        self.batches = [X[rows] for rows in task.batches()]
        self.output: Array | None = None

        def forward(weights: Any, x: Any) -> Any:
            for function, w in zip(self.functions, weights, strict=True):
                x = function(w, x)
            return x

        def loss(weights: Any, x: Any, y: Any) -> Any:
            z = forward(weights, x)
            if workload.loss == "mse":
                return 0.5 * jnp.mean((z - y) ** 2)
            if workload.loss == "binary_crossentropy":
                return jnp.mean(jnp.logaddexp(0, z) - y * z)
            return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[..., None], axis=-1))

        differentiate = self.by_hand(workload) or jax.value_and_grad(loss)

        def step(weights: Any, batch: Any) -> Any:
            value, gradients = differentiate(weights, *batch)
            rate = workload.learning_rate
            return jax.tree.map(lambda p, g: p - rate * g, weights, gradients), value

        def epoch(weights: Any, X: Any, y: Any) -> Any:
            weights, values = jax.lax.scan(step, weights, (X, y), unroll=UNROLL)
            return weights, values.mean()

        def epochs(weights: Any, X: Any, y: Any) -> Any:
            def one(weights: Any, _: Any) -> Any:
                return epoch(weights, X, y) if workload.steps > 1 else step(weights, (X[0], y[0]))

            return jax.lax.scan(one, weights, None, length=workload.passes, unroll=UNROLL)

        def predict(weights: Any, x: Any) -> Any:
            z = forward(weights, x)
            if workload.loss == "binary_crossentropy":
                return jax.nn.sigmoid(z)
            return z if workload.loss == "mse" else jax.nn.softmax(z)

        self.passes = jax.jit(epoch if workload.passes == 1 else epochs, donate_argnums=0)
        self.step = jax.jit(step, donate_argnums=0)
        self.predict = jax.jit(predict)
        if workload.training:
            shape = (workload.steps, workload.batch)
            self.X = jnp.asarray(X.reshape(*shape, *X.shape[1:]))
            self.y = jnp.asarray(y.reshape(*shape, *y.shape[1:]))
            self.pairs = list(zip(self.X, self.y, strict=True))

    def run(self, epochs: int) -> None:
        if not self.task.workload.training:
            for _ in range(epochs):
                for batch in self.batches:
                    self.output = np.asarray(self.predict(self.weights, batch))
            return
        workload = self.task.workload
        for _ in range(epochs // workload.passes):
            if workload.family == "rows" and not workload.calls:
                self.weights, self.value = self.passes(self.weights, self.X, self.y)
                continue
            for pair in self.pairs:
                self.weights, self.value = self.step(self.weights, pair)
        jax.block_until_ready(self.weights)

    def result(self) -> Array:
        if self.output is not None:
            return self.output
        arrays = [f.read(w) for f, w in zip(self.functions, self.weights, strict=True)]
        return flatten_named(self.task.net, arrays)


class JaxSingle(Jax):
    """The same in single precision."""

    title = "JAX, float32"
    precision = "float32"
    families = ("layers",)


# f'(z) from a = f(z)
_SLOPES = {"relu": lambda a: a > 0, "tanh": lambda a: 1 - a * a}


class JaxByHand(Jax):
    """The same with the backward pass written down, as the lecture has it."""

    title = "JAX, by hand"
    families = ("rows",)

    @classmethod
    def refuses(cls, workload: Workload) -> str | None:
        return None if workload.training else "training only"

    def by_hand(self, workload: Workload) -> Any:
        slope, last = _SLOPES[workload.hidden], len(workload.sizes) - 2

        def score(z: Any, y: Any) -> tuple[Any, Any]:
            """Return the mean loss and dL/dz."""
            if workload.loss == "mse":
                return 0.5 * jnp.mean((z - y) ** 2), (z - y) / len(z)
            if workload.loss == "binary_crossentropy":
                loss = jnp.mean(jnp.logaddexp(0, z) - y * z)
                return loss, (jax.nn.sigmoid(z) - y) / len(z)
            shares, one_hot = jax.nn.log_softmax(z), jax.nn.one_hot(y, z.shape[1])
            return -jnp.sum(shares * one_hot) / len(z), (jnp.exp(shares) - one_hot) / len(z)

        def differentiate(weights: Any, x: Any, y: Any) -> Any:
            outputs = [x]
            for function, w in zip(self.functions, weights, strict=True):
                outputs.append(function(w, outputs[-1]))
            loss, delta = score(outputs[-1], y)
            gradients = []
            for number in range(last, -1, -1):
                below = outputs[number]
                gradients.append({"W": below.T @ delta, "b": delta.sum(axis=0)})
                if number:
                    delta = (delta @ weights[number]["W"].T) * slope(below)
            return loss, gradients[::-1]

        return differentiate
