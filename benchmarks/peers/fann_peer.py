"""FANN, the Fast Artificial Neural Network library, in double precision through ctypes.

FANN has arithmetic of its own: squared error instead of cross-entropy, no softmax (sigmoid units
stand for it), no relu (its piecewise linear unit, which also stops at 1, stands for it), and
derivatives of sigmoid and tanh that are kept away from zero. So its results are not pycnn's; it is
checked that it learns, or that it predicts what this network should.
"""

# ruff: noqa: D102 (the methods are documented in Peer)
from __future__ import annotations

import ctypes
import weakref
from ctypes import CFUNCTYPE, POINTER, c_double, c_float, c_int, c_uint, c_void_p
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.peers import Peer, Task

if TYPE_CHECKING:
    from benchmarks.workloads import Array, Workload

# More operations a step than this would only show, slowly, that FANN takes one sample at a time.
MOST_FLOPS = 10_000_000

# From fann_data.h
_LINEAR, _SIGMOID, _SIGMOID_SYMMETRIC, _LINEAR_PIECE = 0, 3, 5, 12
_ACTIVATIONS = {
    "linear": _LINEAR,
    "relu": _LINEAR_PIECE,
    "tanh": _SIGMOID_SYMMETRIC,
    "sigmoid": _SIGMOID,
    "softmax": _SIGMOID,
}
_TRAIN_INCREMENTAL, _TRAIN_BATCH, _ERROR_LINEAR = 0, 1, 0
_CONNECTION = np.dtype([("source", np.uint32), ("target", np.uint32), ("weight", np.float64)])

_FILL = CFUNCTYPE(None, c_uint, c_uint, c_uint, POINTER(c_double), POINTER(c_double))
_SIGNATURES = {
    "fann_create_standard_array": (c_void_p, [c_uint, POINTER(c_uint)]),
    "fann_create_train_from_callback": (c_void_p, [c_uint, c_uint, c_uint, _FILL]),
    "fann_subset_train_data": (c_void_p, [c_void_p, c_uint, c_uint]),
    "fann_destroy": (None, [c_void_p]),
    "fann_destroy_train": (None, [c_void_p]),
    "fann_set_activation_function_layer": (None, [c_void_p, c_int, c_int]),
    "fann_set_activation_steepness_layer": (None, [c_void_p, c_double, c_int]),
    "fann_set_training_algorithm": (None, [c_void_p, c_int]),
    "fann_set_train_error_function": (None, [c_void_p, c_int]),
    "fann_set_learning_rate": (None, [c_void_p, c_float]),
    "fann_set_weight_array": (None, [c_void_p, c_void_p, c_uint]),
    "fann_train_epoch": (c_float, [c_void_p, c_void_p]),
    "fann_train_on_data": (None, [c_void_p, c_void_p, c_uint, c_uint, c_float]),
    "fann_train": (None, [c_void_p, c_void_p, c_void_p]),
    "fann_test_data": (c_float, [c_void_p, c_void_p]),
    "fann_run": (c_void_p, [c_void_p, c_void_p]),
}


def _open() -> ctypes.CDLL:
    library = ctypes.CDLL("libdoublefann.so.2")
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


_fann = _open()


class Fann(Peer):
    """One sample a step is one call an epoch; mini-batches, or all steps, are a call each."""

    title = "FANN"

    @classmethod
    def refuses(cls, workload: Workload) -> str | None:
        if workload.flops > MOST_FLOPS:
            return "one sample at a time: far behind on large networks and batches"
        return None

    def __init__(self, task: Task) -> None:
        workload = task.workload
        self.task = task
        self.network = self._make_network()
        weakref.finalize(self, _fann.fann_destroy, self.network)
        self.data = self._make_data()
        self.batches = [self.data]
        if workload.training and workload.batch > 1:
            self.batches = [
                _fann.fann_subset_train_data(self.data, rows.start, workload.batch)
                for rows in task.batches()
            ]
        for data in {self.data, *self.batches}:
            weakref.finalize(self, _fann.fann_destroy_train, data)
        self.rows = list(task.X)
        self.pairs = []
        if workload.calls:
            self.pairs = [(c_void_p(x.ctypes.data), c_void_p(y.ctypes.data))
                          for x, y in zip(task.X, task.y, strict=True)]  # fmt: skip
        self.error = _fann.fann_test_data(self.network, self.data)

    def _make_network(self) -> int:
        workload = self.task.workload
        sizes = workload.sizes
        network = _fann.fann_create_standard_array(len(sizes), (c_uint * len(sizes))(*sizes))
        for i, name in enumerate(workload.activations, start=1):
            _fann.fann_set_activation_function_layer(network, _ACTIVATIONS[name], i)
            # FANN's sigmoid is 1 / (1 + exp(-2 * steepness * z)).
            steepness = 0.5 if _ACTIVATIONS[name] == _SIGMOID else 1.0
            _fann.fann_set_activation_steepness_layer(network, steepness, i)
        algorithm = _TRAIN_INCREMENTAL if workload.batch == 1 else _TRAIN_BATCH
        _fann.fann_set_training_algorithm(network, algorithm)
        _fann.fann_set_train_error_function(network, _ERROR_LINEAR)
        _fann.fann_set_learning_rate(network, workload.learning_rate)
        connections = self._connections()
        _fann.fann_set_weight_array(network, connections.ctypes.data, len(connections))
        return network

    def _connections(self) -> np.ndarray:
        """Return the initial weights; units are counted through, a bias behind each layer's."""
        parts, first = [], 0
        for W, b in self.task.parameters:
            fan_out, fan_in = W.shape
            part = np.empty((fan_out, fan_in + 1), dtype=_CONNECTION)
            part["source"] = first + np.arange(fan_in + 1)
            part["target"] = first + fan_in + 1 + np.arange(fan_out)[:, None]
            part["weight"] = np.column_stack([W, b])
            parts.append(part.ravel())
            first += fan_in + 1
        return np.concatenate(parts)

    def _make_data(self) -> int:
        task, sizes = self.task, self.task.workload.sizes
        targets = task.y if task.y.ndim == 2 else np.eye(sizes[-1])[task.y]

        def fill(row: int, inputs: int, outputs: int, x, y) -> None:  # type: ignore[no-untyped-def]
            np.ctypeslib.as_array(x, (inputs,))[:] = task.X[row]
            np.ctypeslib.as_array(y, (outputs,))[:] = targets[row]

        rows = task.workload.rows
        return _fann.fann_create_train_from_callback(rows, sizes[0], sizes[-1], _FILL(fill))

    def run(self, epochs: int) -> None:
        network = self.network
        if self.task.workload.calls:
            one = _fann.fann_train
            for _ in range(epochs):
                for x, y in self.pairs:
                    one(network, x, y)
            return
        if self.task.workload.passes > 1:
            _fann.fann_train_on_data(network, self.data, epochs, 0, 0.0)
            return
        if self.task.workload.training:
            train = _fann.fann_train_epoch
            for _ in range(epochs):
                for data in self.batches:
                    train(network, data)
            return
        call = _fann.fann_run
        for _ in range(epochs):
            for row in self.rows:
                output = call(network, row.ctypes.data)
        self.output = output  # FANN's own memory, the same at each call

    def result(self) -> Array:
        units = self.task.workload.sizes[-1]
        return np.ctypeslib.as_array(ctypes.cast(self.output, POINTER(c_double)), (units,)).copy()

    def check(self, reference: Array) -> tuple[bool, str]:
        if self.task.workload.training:
            error = _fann.fann_test_data(self.network, self.data)
            return (
                error < self.error,
                f"own arithmetic: squared error {self.error:.3f} → {error:.3f}",
            )
        a = self.rows[-1]
        for (W, b), name in zip(self.task.parameters, self.task.workload.activations, strict=True):
            z = W @ a + b
            a = np.clip(z, 0, 1) if _ACTIVATIONS[name] == _LINEAR_PIECE else 1 / (1 + np.exp(-z))
        return bool(np.allclose(self.result(), a)), "own activations"
