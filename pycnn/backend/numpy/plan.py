"""The plan of a network: its layers, with the operations of their kinds; csrc/plan.c."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pycnn.backend import interface
from pycnn.backend.numpy.attention import ATTENTION
from pycnn.backend.numpy.composite import RESIDUAL
from pycnn.backend.numpy.convolution import CONVOLUTION
from pycnn.backend.numpy.dense import DENSE
from pycnn.backend.numpy.dropout import DROPOUT
from pycnn.backend.numpy.embedding import EMBEDDING, POSITION_EMBEDDING, TIED_DENSE
from pycnn.backend.numpy.layer import Layer
from pycnn.backend.numpy.normalization import BATCH_NORM, LAYER_NORM
from pycnn.backend.numpy.padding import ZERO_PADDING
from pycnn.backend.numpy.pool import AVERAGE_POOL, MAX_POOL
from pycnn.backend.numpy.recurrent import CONCATENATE, GRU, LSTM, SIMPLE_RNN
from pycnn.backend.numpy.rescale import RESCALE
from pycnn.backend.numpy.reshape import RESHAPE
from pycnn.backend.numpy.stack import STACK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pycnn.backend.interface import LayerSpec, LossFunction, TensorSpec

LAYERS = {
    "dense": DENSE,
    "dropout": DROPOUT,
    "batch_norm": BATCH_NORM,
    "layer_norm": LAYER_NORM,
    "residual": RESIDUAL,
    "reshape": RESHAPE,
    "rescale": RESCALE,
    "convolution": CONVOLUTION,
    "max_pool": MAX_POOL,
    "average_pool": AVERAGE_POOL,
    "zero_padding": ZERO_PADDING,
    "simple_rnn": SIMPLE_RNN,
    "lstm": LSTM,
    "gru": GRU,
    "concatenate": CONCATENATE,
    "stack": STACK,
    "embedding": EMBEDDING,
    "position_embedding": POSITION_EMBEDDING,
    "attention": ATTENTION,
    "tied_dense": TIED_DENSE,
}


class Plan(interface.Plan):
    """The layers and the loss of a network; no parameters."""

    def __init__(
        self,
        layers: Sequence[LayerSpec],
        loss: str,
        loss_parameter: float,
        loss_function: LossFunction | None,
    ) -> None:
        tensors = [tensor for spec in layers for tensor in _tensors(spec)]
        self.parameter_count = sum(_size(tensor) for tensor in tensors if not _is_counted(tensor))
        places = _Places(self.parameter_count)
        self.layers = tuple(places.place(spec) for spec in layers)
        self.state_count = places.state
        self.leaves = tuple(leaf for layer in self.layers for leaf in layer.leaves())
        self.input_positions = layers[0].input_shape[0]
        self.output_shape = layers[-1].output_shape
        # Of what a loss is: (P, n) of a sequence, which has one at each position; else all.
        self.is_sequence = len(self.output_shape) == 2
        self.positions = self.output_shape[0] if self.is_sequence else 1
        self.units = math.prod(self.output_shape) // self.positions
        self.loss = loss
        self.loss_parameter = loss_parameter
        self.loss_function = loss_function


class _Places:
    """Where the next layer's numbers lie, and which number it has itself."""

    def __init__(self, parameter_count: int) -> None:
        self.parameter, self.statistic, self.number, self.state = 0, parameter_count, 0, 0

    def place(self, spec: LayerSpec) -> Layer:
        """Return a layer; those that it is made of come first."""
        inner, shortcut = (tuple(map(self.place, path)) for path in _paths(spec))
        places = () if inner else tuple(map(self._place_tensor, spec.tensors))
        ops, state = LAYERS[spec.kind], self.state
        self.number += 1
        self.state += ops.state_count(spec)
        own = slice(state, self.state)
        return Layer(spec, ops, self.number - 1, places, inner, shortcut, own)

    def _place_tensor(self, tensor: TensorSpec) -> slice:
        """Return the tensor's place in theta: statistics lie behind all parameters."""
        name = "statistic" if _is_counted(tensor) else "parameter"
        at = getattr(self, name)
        setattr(self, name, at + _size(tensor))
        return slice(at, at + _size(tensor))


def _paths(spec: LayerSpec) -> tuple[tuple[LayerSpec, ...], tuple[LayerSpec, ...]]:
    return spec.inner, () if spec.shortcut is None else (spec.shortcut,)


def _tensors(spec: LayerSpec) -> Iterator[TensorSpec]:
    """Yield a layer's own tensors or, of a composite one, those of the layers in it."""
    for path in _paths(spec):
        for part in path:
            yield from _tensors(part)
    if not spec.inner:
        yield from spec.tensors


def _size(tensor: TensorSpec) -> int:
    return math.prod(tensor.shape)


def _is_counted(tensor: TensorSpec) -> bool:
    return tensor.role == "statistic"


def create_plan(
    layers: Sequence[LayerSpec],
    loss: str,
    loss_parameter: float = 0.0,
    loss_function: LossFunction | None = None,
) -> Plan:
    """Return the plan of a network."""
    return Plan(layers, loss, loss_parameter, loss_function)
