"""Keras on TensorFlow: `Model.fit`; one sample by a `tf.function`."""

# ruff: noqa: D102 (the methods are documented in Peer)
from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import tensorflow as tf

import pycnn
from benchmarks.peers import Peer, Task, flatten_named

if TYPE_CHECKING:
    from benchmarks.workloads import Array

    Tensors = dict[str, Array]

_ROLES = ("query", "key", "value")


class _Positions(keras.layers.Layer):
    """A row for each position, added to what is there."""

    def build(self, shape: Any) -> None:
        self.table = self.add_weight(shape=shape[1:], initializer="zeros")

    def call(self, x: Any) -> Any:
        return x + self.table


def _keep_second(units: int) -> Any:
    """Return what keeps the second biases of a GRU at 0, but for n's: they are added to others."""
    used = np.array([[1.0] * 3 * units, [0.0] * 2 * units + [1.0] * units])
    return lambda b: b * keras.ops.convert_to_tensor(used, b.dtype)


def _gelu(z: Any) -> Any:
    """As TensorFlow has it, whose own rounds the square root of 2 to single precision."""
    return 0.5 * z * (1.0 + keras.ops.erf(z / np.sqrt(2.0)))


def _block(own: Any, shape: Any) -> Any:
    """Return a function of the tensor in front of a Transformer's block, and its layers."""
    features = shape[-1]
    norms = [keras.layers.LayerNormalization(epsilon=own.norm_1.epsilon) for _ in range(2)]
    attention = keras.layers.MultiHeadAttention(own.heads, features // own.heads)
    dense = [keras.layers.Dense(own.hidden, _gelu), keras.layers.Dense(features)]

    def call(x: Any) -> Any:
        normed = norms[0](x)
        x = keras.layers.Add()([x, attention(normed, normed, use_causal_mask=True)])
        return keras.layers.Add()([x, dense[1](dense[0](norms[1](x)))])

    return call, [norms[0], attention, norms[1], *dense]


def _make(own: Any, shape: Any) -> Any:
    """Return a Keras layer for one of pycnn's; none has the output's activation."""
    layers, kind = keras.layers, type(own).__name__
    activation = getattr(own, "activation", "linear")
    activation = activation if activation in ("relu", "tanh") else "linear"
    if kind in ("Conv1D", "Conv2D"):
        made = getattr(layers, kind)
        return made(own.filters, own.kernel_size, padding=own.padding, activation=activation)
    if kind == "Dense":
        return layers.Dense(own.units, activation)
    if kind in ("MaxPool1D", "MaxPool2D"):
        return getattr(layers, kind)(own.pool_size)
    if kind == "LSTM":
        return layers.LSTM(own.units, return_sequences=own.return_sequences)
    if kind == "GRU":
        constraint = _keep_second(own.units)
        return layers.GRU(
            own.units, return_sequences=own.return_sequences, bias_constraint=constraint
        )
    if kind == "Embedding":
        return layers.Embedding(*own.W.shape)
    if kind == "LayerNorm":
        return layers.LayerNormalization(epsilon=own.epsilon)
    return {"PositionEmbedding": _Positions, "Flatten": layers.Flatten,
            "GlobalAveragePool1D": layers.GlobalAveragePooling1D}[kind]()  # fmt: skip


def _to_keras(own: Any, t: Tensors) -> list[Array]:
    """Return arrays by pycnn's names as Keras's list of a layer's weights."""
    kind = type(own).__name__
    if kind in ("Conv1D", "Conv2D"):
        return [np.moveaxis(t["W"], 0, -1), t["b"]]
    if kind == "Dense":
        return [t["W"].T, t["b"]]
    if kind == "LSTM":
        return [t["W"].T, t["U"].T, t["b"]]
    if kind == "GRU":  # z, r, h, of which z is our u
        second = np.concatenate([np.zeros(2 * own.units), t["b_n"]])
        swap = _swapped(own.units)
        return [t["W"].T[:, swap], t["U"].T[:, swap], np.stack([t["b"], second])[:, swap]]
    if kind == "TransformerBlock":
        return _block_to_keras(own.heads, t)
    return list(t.values())  # the others have the same


def _swapped(units: int) -> Array:
    return np.concatenate([np.arange(units) + part * units for part in (1, 0, 2)])


def _block_to_keras(heads: int, t: Tensors) -> list[Array]:
    features = len(t["norm_1.gamma"])
    attention = []
    for role in _ROLES:
        attention.append(t[f"attention.W_{role}"].T.reshape(features, heads, -1))
        attention.append(t[f"attention.b_{role}"].reshape(heads, -1))
    attention.append(t["attention.W_output"].T.reshape(heads, -1, features))
    attention.append(t["attention.b_output"])
    dense = [t["dense_1.W"].T, t["dense_1.b"], t["dense_2.W"].T, t["dense_2.b"]]
    norms = [[t[f"norm_{i}.gamma"], t[f"norm_{i}.beta"]] for i in (1, 2)]
    return [*norms[0], *attention, *norms[1], *dense]


def _from_keras(own: Any, weights: list[Array]) -> Tensors:
    """Return the inverse of `_to_keras`: which places the numbers 0, 1, ... of pycnn come to."""
    size = sum(array.size for array in own.tensors.values())
    counted = np.arange(1.0, size + 1)
    places, first = {}, 0
    for name, array in own.tensors.items():
        places[name] = counted[first : first + array.size].reshape(array.shape)
        first += array.size
    where = np.concatenate([np.ravel(part) for part in _to_keras(own, places)] or [counted])
    values = np.concatenate([np.ravel(part) for part in weights] or [counted])
    found = np.empty(size)
    found[where[where > 0].astype(int) - 1] = values[where > 0]
    return {name: found[place.astype(int) - 1] for name, place in places.items()}


class Keras(Peer):
    """The layers that Keras has, by its own names."""

    title = "Keras"
    families = ("layers",)

    def __init__(self, task: Task) -> None:
        workload, net = task.workload, task.net
        self.task = task
        _set_threads(task.threads)
        self.choose_precision()
        tokens = isinstance(net.input_shape, pycnn.Tokens)
        dtype = "int32" if tokens else self.precision
        self.model, self.parts = self.build(dtype)
        self.X = task.X.astype(dtype)
        self.y = task.y if task.y.dtype == np.int64 else task.y.astype(self.precision)
        self.batches = [self.X[rows] for rows in task.batches()]
        self.output: Array | None = None
        if workload.training:
            loss: Any = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            if workload.loss == "mse":
                loss = lambda y, z: 0.5 * keras.ops.mean((z - y) ** 2, axis=-1)  # noqa: E731
            self.model.compile(keras.optimizers.SGD(workload.learning_rate), loss)
        last = keras.ops.softmax if workload.loss != "mse" else lambda z: z
        self.predict = tf.function(lambda x: last(self.model(x, training=False)))

    def choose_precision(self) -> None:
        """Set what layers and losses compute in."""
        keras.config.set_floatx(self.precision)
        keras.config.set_dtype_policy(self.precision)

    def build(self, dtype: str) -> tuple[Any, list[list[Any]]]:
        """Return the model, and for each of pycnn's layers those that it became."""
        net, parts = self.task.net, []
        shape: Any = tuple(net.input_shape)
        x = start = keras.Input(shape, dtype=dtype)
        for own, behind in zip(net.layers, net.architecture.output_shapes, strict=True):
            if isinstance(own, pycnn.TransformerBlock):
                call, layers = _block(own, shape)
                x = call(x)
            else:
                layers = [_make(own, shape)]
                x = layers[0](x)
            weights = _to_keras(own, dict(own.tensors))
            for layer in layers:
                count = len(layer.get_weights())
                layer.set_weights(weights[:count])
                weights = weights[count:]
            parts.append(layers)
            shape = behind
        return keras.Model(start, x), parts

    def run(self, epochs: int) -> None:
        workload = self.task.workload
        if workload.training:
            self.choose_precision()
            self.model.fit(
                self.X,
                self.y,
                batch_size=workload.batch,
                epochs=epochs,
                shuffle=False,
                verbose=0,
            )
            return
        predict = self.predict
        for _ in range(epochs):
            for batch in self.batches:
                self.output = predict(tf.constant(batch)).numpy()

    def result(self) -> Array:
        if self.output is not None:
            return self.output
        found = []
        for own, layers in zip(self.task.net.layers, self.parts, strict=True):
            weights = [array for layer in layers for array in layer.get_weights()]
            found.append(_from_keras(own, weights))
        return flatten_named(self.task.net, found)


class KerasSingle(Keras):
    """The same in single precision."""

    title = "Keras, float32"
    precision = "float32"


def _set_threads(threads: int) -> None:
    """Say how many threads there are; what that changes it cannot once it computes."""
    if tf.config.threading.get_intra_op_parallelism_threads() != threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
