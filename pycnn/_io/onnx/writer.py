"""ONNX files, written: a third reader of what a layer says to the backends, beside C and NumPy.

A row of `LAYERS` writes a kind's operations, one of `_ACTIVATIONS` an activation's, in terms of
what ONNX Runtime computes in both precisions; where float32 has a single operation, by that.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pycnn import losses
from pycnn._checks import check_choice, check_size
from pycnn._data.tokens import Tokens, plain_inputs
from pycnn._files import write_whole
from pycnn._io.model_file import pack_classes
from pycnn._io.onnx.protobuf import field
from pycnn._version import __version__
from pycnn.backend.numpy.activation import (
    GELU_CUBIC,
    GELU_LINEAR,
    LEAKY_SLOPE,
    SELU_SCALE,
    SELU_SCALE_ALPHA,
    TAIL,
    TAIL_K,
)
from pycnn.backend.numpy.embedding import waves
from pycnn.exceptions import DataError, PycnnWarning, warn
from pycnn.layers._base import views_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pycnn._architecture import Architecture
    from pycnn._model import Model
    from pycnn._typing import AnyArray, Array, Shape
    from pycnn.backend.interface import LayerSpec

DTYPES = {"float32": ("<f4", 1), "float64": ("<f8", 11)}
INT64 = 7
LAYOUTS = ("channels_last", "channels_first")
OPSETS = range(18, 26)
IR_VERSION = 8  # any reader of these opsets knows it
MOST_BYTES = 2**31 - 1  # of a protobuf message
_WITHOUT_FLOAT64 = ("AveragePool", "Conv", "GRU", "LSTM", "RNN")  # in ONNX Runtime 1.32


class Value(NamedTuple):
    """What is computed of a batch of samples: its name, and how one sample of it lies."""

    name: str
    shape: Shape  # as in pycnn
    first: bool = False  # whether channels come first here


class Part(NamedTuple):
    """A layer, with the name and the arrays that it has in the network."""

    name: str
    spec: LayerSpec
    arrays: Mapping[str, Array]

    def setting(self, name: str) -> Any:
        """Return one of the layer's settings; 0 where its kind has none of that name."""
        return self.spec.settings.get(name, 0)


class Graph:
    """The operations so far.

    Parameters
    ----------
    dtype : {"float32", "float64"}
    opset : int
    room : float
        The most numbers that what is no array of the network's may have.

    Attributes
    ----------
    arrays : dict
        By their names: the network's, which a layer's name begins, and constants.
    """

    def __init__(self, dtype: str, opset: int, room: float = math.inf) -> None:
        self.dtype, self.opset, self.room = dtype, opset, room
        self.arrays: dict[str, AnyArray] = {}
        self.nodes: list[tuple[str, list[str], list[str], dict[str, Any]]] = []
        self._constants: dict[tuple[Any, ...], str] = {}

    @property
    def is_float32(self) -> bool:
        """Whether numbers are of 32 bits."""
        return self.dtype == "float32"

    def check_room(self, part: Part, *shape: int | None) -> None:
        """Raise `DataError` before an array is made that is too large, or has an open length."""
        if None in shape or math.prod(size or 0 for size in shape) > self.room:
            raise DataError(
                f"{part.name}, of kind {part.spec.kind}, needs an array of shape {shape} in ONNX, "
                "for which inputs must have a length: Tokens(vocabulary, length), (positions, n)"
            )

    def node(self, op: str, *inputs: str, output: int = 0, **attributes: Any) -> str:
        """Add an operation; return the name of one of its outputs."""
        name = f"{op.lower()}_{len(self.nodes) + 1}"
        self.nodes.append((op, list(inputs), [""] * output + [name], attributes))
        return name

    def array(self, name: str, array: Array) -> str:
        """Add an array of the network's; return its name."""
        self.arrays[name] = array
        return name

    def number(self, value: float | Array) -> str:
        """Return the name of a constant: a number, or an array of them."""
        return self._constant(np.asarray(value, np.float64))

    def integers(self, *values: int) -> str:
        """Return the name of a constant row of integers, as sizes and axes are."""
        return self._constant(np.asarray(values, np.int64))

    def _constant(self, array: AnyArray) -> str:
        key = array.dtype.kind, array.shape, array.tobytes()
        if key not in self._constants:
            self._constants[key] = f"constant_{len(self._constants) + 1}"
            self.arrays[self._constants[key]] = array
        return self._constants[key]

    def end(self, name: str) -> None:
        """Let what has this name be the output."""
        if name == "input":
            name = self.node("Identity", name)
        self.nodes = [
            (
                op,
                [{name: "output"}.get(i, i) for i in inputs],
                [{name: "output"}.get(o, o) for o in outputs],
                given,
            )
            for op, inputs, outputs, given in self.nodes
        ]

    def turned(self, x: Value, first: bool) -> Value:
        """Return a value with its channels first, or last."""
        if x.first == first or len(x.shape) < 2:
            return x._replace(first=False) if len(x.shape) < 2 else x
        axes = range(1, len(x.shape))
        perm = [0, len(x.shape), *axes] if first else [0, *(a + 1 for a in axes), 1]
        return x._replace(name=self.node("Transpose", x.name, perm=perm), first=first)


# ------------------------------------------------------------------ activations


def _least_zero(g: Graph, x: str) -> str:
    return g.node("Min", x, g.number(0.0))


def _elu(g: Graph, x: str, scale: float, of_power: float) -> str:
    power = g.node("Sub", g.node("Exp", _least_zero(g, x)), g.number(1.0))
    linear = g.node("Relu", x)
    if scale != 1:
        linear = g.node("Mul", linear, g.number(scale))
        power = g.node("Mul", power, g.number(of_power))
    return g.node("Add", linear, power)


def _gelu(g: Graph, x: str) -> str:
    """Write max(z, 0) - |z| Q(|z|), as `normal_tail` has it."""
    size = g.node("Min", g.node("Abs", x), g.number(40.0))
    over = g.node("Add", size, g.number(TAIL_K))
    t = g.node("Div", g.node("Sub", size, g.number(TAIL_K)), over)
    series = g.number(TAIL[0])
    for coefficient in TAIL[1:]:
        series = g.node("Add", g.node("Mul", series, t), g.number(coefficient))
    power = g.node("Exp", g.node("Mul", g.node("Mul", size, size), g.number(-0.5)))
    tail = g.node("Mul", power, g.node("Div", series, over))
    return g.node("Sub", g.node("Relu", x), g.node("Mul", size, tail))


def _gelu_tanh(g: Graph, x: str) -> str:
    near = g.node("Clip", x, g.number(-40.0), g.number(40.0))
    square = g.node("Mul", g.node("Mul", near, near), g.number(GELU_CUBIC))
    u = g.node("Mul", near, g.node("Add", square, g.number(GELU_LINEAR)))
    return g.node("Mul", x, g.node("Sigmoid", u))


def _softplus(g: Graph, x: str) -> str:
    power = g.node("Exp", g.node("Neg", g.node("Abs", x)))
    more = g.node("Log", g.node("Add", power, g.number(1.0)))
    return g.node("Add", g.node("Relu", x), more)


def _softsign(g: Graph, x: str) -> str:
    return g.node("Div", x, g.node("Add", g.node("Abs", x), g.number(1.0)))


def _hard_sigmoid(g: Graph, x: str) -> str:
    line = g.node("Add", g.node("Div", x, g.number(6.0)), g.number(0.5))
    return g.node("Clip", line, g.number(0.0), g.number(1.0))


_ACTIVATIONS: dict[str, Callable[[Graph, str], str]] = {
    "linear": lambda g, x: x,
    "sigmoid": lambda g, x: g.node("Sigmoid", x),
    "relu": lambda g, x: g.node("Relu", x),
    "tanh": lambda g, x: g.node("Tanh", x),
    "softmax": lambda g, x: g.node("Softmax", x, axis=-1),
    "leaky_relu": lambda g, x: g.node("Max", x, g.node("Mul", x, g.number(LEAKY_SLOPE))),
    "elu": lambda g, x: _elu(g, x, 1.0, 1.0),
    "selu": lambda g, x: _elu(g, x, SELU_SCALE, SELU_SCALE_ALPHA),
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": lambda g, x: g.node("Mul", x, g.node("Sigmoid", x)),
    "softplus": _softplus,
    "softsign": _softsign,
    "hard_sigmoid": _hard_sigmoid,
    "hard_tanh": lambda g, x: g.node("Clip", x, g.number(-1.0), g.number(1.0)),
}
# What float32 has as one operation: its name, its attributes, and since which opset.
_OF_FLOAT32: dict[str, tuple[str, dict[str, Any], int]] = {
    "leaky_relu": ("LeakyRelu", {"alpha": LEAKY_SLOPE}, 0),
    "elu": ("Elu", {}, 0),
    "selu": ("Selu", {}, 0),
    "gelu": ("Gelu", {}, 20),
    "gelu_tanh": ("Gelu", {"approximate": "tanh"}, 20),
    "softplus": ("Softplus", {}, 0),
    "softsign": ("Softsign", {}, 0),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}, 0),
}


def _activated(g: Graph, name: str, x: Value) -> Value:
    op, attributes, since = _OF_FLOAT32.get(name, ("", {}, 0))
    if op and g.is_float32 and g.opset >= since:
        return x._replace(name=g.node(op, x.name, **attributes))
    return x._replace(name=_ACTIVATIONS[name](g, x.name))


# ------------------------------------------------------------------ layers: z of x


def _product(g: Graph, x: str, name: str, W: Array, b: Array, b_name: str, row: bool) -> str:
    """Write x W^T + b, of rows or at each position."""
    bias = g.array(b_name, b)
    if row:
        return g.node("Gemm", x, g.array(name, W), bias, transB=1)
    return g.node("Add", g.node("MatMul", x, g.array(name, W.T)), bias)


def _dense(g: Graph, part: Part, x: Value) -> Value:
    x, own = g.turned(x, False), part.arrays
    row = len(x.shape) == 1
    out = _product(g, x.name, f"{part.name}.W", own["W"], own["b"], f"{part.name}.b", row)
    return Value(out, part.spec.output_shape)


def _tied_dense(g: Graph, part: Part, x: Value) -> Value:
    x, row = g.turned(x, False), len(x.shape) == 1
    table, bias = "layers.1.W", g.array(f"{part.name}.b", part.arrays["b"])
    if row:
        out = g.node("Gemm", x.name, table, bias, transB=1)
    else:
        turned = g.node("Transpose", table, perm=[1, 0])
        out = g.node("Add", g.node("MatMul", x.name, turned), bias)
    return Value(out, part.spec.output_shape)


def _batch_norm(g: Graph, part: Part, x: Value) -> Value:
    if g.is_float32:
        x = g.turned(x, True)
        own = [g.array(f"{part.name}.{name}", array) for name, array in part.arrays.items()]
        epsilon = part.setting("epsilon")
        return x._replace(name=g.node("BatchNormalization", x.name, *own, epsilon=epsilon))
    # epsilon is of 32 bits there; channels go along the axis that they lie on.
    shape = (-1, *(1,) * (len(x.shape) - 1)) if x.first else (-1,)
    gamma, beta, mean, variance = (
        g.array(f"{part.name}.{name}", array.reshape(shape)) for name, array in part.arrays.items()
    )
    deviation = g.node("Sqrt", g.node("Add", variance, g.number(part.setting("epsilon"))))
    scaled = g.node("Mul", g.node("Sub", x.name, mean), g.node("Div", gamma, deviation))
    return x._replace(name=g.node("Add", scaled, beta))


def _layer_norm(g: Graph, part: Part, x: Value) -> Value:
    x, epsilon = g.turned(x, False), part.setting("epsilon")
    gamma, beta = (g.array(f"{part.name}.{name}", part.arrays[name]) for name in ("gamma", "beta"))
    if g.is_float32:
        inputs = x.name, gamma, beta
        return x._replace(name=g.node("LayerNormalization", *inputs, axis=-1, epsilon=epsilon))
    last = g.integers(-1)
    centred = g.node("Sub", x.name, g.node("ReduceMean", x.name, last))
    variance = g.node("ReduceMean", g.node("Mul", centred, centred), last)
    deviation = g.node("Sqrt", g.node("Add", variance, g.number(epsilon)))
    scaled = g.node("Mul", g.node("Div", centred, deviation), gamma)
    return x._replace(name=g.node("Add", scaled, beta))


def _reshape(g: Graph, part: Part, x: Value) -> Value:
    shape = part.spec.output_shape
    if shape == x.shape:
        return x
    x = g.turned(x, False)
    return Value(g.node("Reshape", x.name, g.integers(0, *shape)), shape)


def _rescale(g: Graph, part: Part, x: Value) -> Value:
    out, offset = g.node("Mul", x.name, g.number(part.setting("scale"))), part.setting("offset")
    return x._replace(name=g.node("Add", out, g.number(offset)) if offset else out)


def _window(g: Graph, part: Part) -> dict[str, Any]:
    """Return where the windows of a convolution or a pooling are."""
    axes = len(part.spec.input_shape) - 1
    size, strides, dilation = (
        part.setting(name)[-axes:] for name in ("kernel", "strides", "dilation")
    )
    pads = [(0, 0)] * axes
    if part.setting("padding") == "same":
        if max(strides) > 1:  # else it does not depend on the length
            g.check_room(part, *part.spec.input_shape)
        pads = [
            (max(total, 0) // 2, max(total, 0) - max(total, 0) // 2)
            for n, k, s, d in zip(part.spec.input_shape, size, strides, dilation, strict=False)
            for total in [((-(-n // s) - 1) * s - n if s > 1 else -1) + (k - 1) * d + 1]
        ]
    before, after = zip(*pads, strict=True)
    return {
        "dilations": [*dilation],
        "kernel_shape": [*size],
        "pads": [*before, *after],
        "strides": [*strides],
    }


def _convolution(g: Graph, part: Part, x: Value) -> Value:
    x = g.turned(x, True)
    inputs = [g.array(f"{part.name}.W", np.moveaxis(part.arrays["W"], -1, 1))]
    if "b" in part.arrays:
        inputs.append(g.array(f"{part.name}.b", part.arrays["b"]))
    out = g.node("Conv", x.name, *inputs, **_window(g, part))
    return Value(out, part.spec.output_shape, True)


def _pool(g: Graph, part: Part, x: Value, kind: str, **more: int) -> Value:
    shape = part.spec.output_shape
    if len(shape) == 1:  # of the whole sample
        axes = range(1 + x.first, len(x.shape) + x.first)
        reduce = "ReduceMax" if kind == "MaxPool" else "ReduceMean"
        return Value(g.node(reduce, x.name, g.integers(*axes), keepdims=0), shape)
    x, window = g.turned(x, True), _window(g, part)
    del window["dilations"]
    return Value(g.node(kind, x.name, **window, **more), shape, True)


def _max_pool(g: Graph, part: Part, x: Value) -> Value:
    return _pool(g, part, x, "MaxPool")


def _average_pool(g: Graph, part: Part, x: Value) -> Value:
    return _pool(g, part, x, "AveragePool", count_include_pad=0)


def _zero_padding(g: Graph, part: Part, x: Value) -> Value:
    above, below, left, right = part.setting("margins")
    before = [0, 0, above, left] if x.first else [0, above, left, 0]
    after = [0, 0, below, right] if x.first else [0, below, right, 0]
    out = g.node("Pad", x.name, g.integers(*before, *after))
    return Value(out, part.spec.output_shape, x.first)


def _residual(g: Graph, part: Part, x: Value) -> Value:
    a, b = (_through(g, path, x) for path in _paths(part))
    b = g.turned(b, a.first)
    return a._replace(name=g.node("Add", a.name, b.name))


def _concatenate(g: Graph, part: Part, x: Value) -> Value:
    both = [g.turned(_through(g, path, x), False).name for path in _paths(part)]
    return Value(g.node("Concat", *both, axis=-1), part.spec.output_shape)


def _stack(g: Graph, part: Part, x: Value) -> Value:
    return _through(g, _paths(part)[0], x)


def _embedding(g: Graph, part: Part, x: Value) -> Value:
    table = g.array(f"{part.name}.W", part.arrays["W"])
    return Value(g.node("Gather", table, x.name), part.spec.output_shape)


def _position_embedding(g: Graph, part: Part, x: Value) -> Value:
    x = g.turned(x, False)
    if "W" in part.arrays:
        table = g.array(f"{part.name}.W", part.arrays["W"])
    else:
        g.check_room(part, *x.shape)
        table = g.number(waves(*x.shape))
    return x._replace(name=g.node("Add", x.name, table))


def _attention(g: Graph, part: Part, x: Value) -> Value:
    x, heads = g.turned(x, False), part.setting("heads")
    length, features = x.shape
    size = features // heads

    def of(role: str, inputs: str) -> str:
        names = f"{part.name}.W_{role}", f"{part.name}.b_{role}"
        W, b = part.arrays[f"W_{role}"], part.arrays[f"b_{role}"]
        return _product(g, inputs, names[0], W, b, names[1], False)

    def split(role: str, *perm: int) -> str:
        apart = g.node("Reshape", of(role, x.name), g.integers(0, -1, heads, size))
        return g.node("Transpose", apart, perm=perm)

    query, key = split("query", 0, 2, 1, 3), split("key", 0, 2, 3, 1)
    scores = g.node("Mul", g.node("MatMul", query, key), g.number(size**-0.5))
    if part.setting("causal"):
        g.check_room(part, length, length)
        later = np.triu(np.full((length, length), -np.inf), 1)
        scores = g.node("Add", scores, g.number(later))
    taken = g.node("MatMul", g.node("Softmax", scores, axis=-1), split("value", 0, 2, 1, 3))
    together = g.node("Transpose", taken, perm=[0, 2, 1, 3])
    rows = g.node("Reshape", together, g.integers(0, -1, features))
    return Value(of("output", rows), x.shape)


# Where our gates are among ONNX's, in its order.
LSTM_GATES, GRU_GATES = (0, 3, 1, 2), (1, 0, 2)
RNN_ACTIVATIONS = {
    "tanh": "Tanh",
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "elu": "Elu",
    "softsign": "Softsign",
    "softplus": "Softplus",
}


def gates(array: Array, order: tuple[int, ...]) -> Array:
    """Return an array whose first axis are gates with these in another order."""
    return array.reshape(len(order), -1, *array.shape[1:])[[*order]].reshape(array.shape)


def _recurrent(
    g: Graph, part: Part, x: Value, op: str, order: tuple[int, ...], **more: Any
) -> Value:
    x, own, units = g.turned(x, False), part.arrays, part.setting("units")
    W, U = (g.array(f"{part.name}.{name}", gates(own[name], order)[None]) for name in "WU")
    of_state = np.zeros_like(own["b"])
    if "b_n" in own:
        of_state[-units:] = own["b_n"]
    both = np.concatenate([gates(own["b"], order), of_state])[None]
    b = g.array(f"{part.name}.b", both)
    if part.setting("reverse"):
        more["direction"] = "reverse"
    inputs = g.node("Transpose", x.name, perm=[1, 0, 2]), W, U, b
    each = part.setting("return_sequences")
    out = g.node(op, *inputs, output=0 if each else 1, hidden_size=units, **more)
    out = g.node("Squeeze", out, g.integers(1 if each else 0))
    if each:
        out = g.node("Transpose", out, perm=[1, 0, 2])
    return Value(out, part.spec.output_shape)


def _simple_rnn(g: Graph, part: Part, x: Value) -> Value:
    name = part.setting("activation")
    if name not in RNN_ACTIVATIONS:
        raise DataError(
            f"ONNX has no recurrent layer with the activation {name!r}; it has "
            f"{', '.join(RNN_ACTIVATIONS)}"
        )
    return _recurrent(g, part, x, "RNN", (0,), activations=[RNN_ACTIVATIONS[name]])


def _lstm(g: Graph, part: Part, x: Value) -> Value:
    return _recurrent(g, part, x, "LSTM", LSTM_GATES)


def _gru(g: Graph, part: Part, x: Value) -> Value:
    return _recurrent(g, part, x, "GRU", GRU_GATES, linear_before_reset=1)


LAYERS: dict[str, Callable[[Graph, Part, Value], Value]] = {
    "dense": _dense,
    "dropout": lambda g, part, x: x,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "residual": _residual,
    "reshape": _reshape,
    "rescale": _rescale,
    "convolution": _convolution,
    "max_pool": _max_pool,
    "average_pool": _average_pool,
    "zero_padding": _zero_padding,
    "simple_rnn": _simple_rnn,
    "lstm": _lstm,
    "gru": _gru,
    "concatenate": _concatenate,
    "stack": _stack,
    "embedding": _embedding,
    "position_embedding": _position_embedding,
    "attention": _attention,
    "tied_dense": _tied_dense,
}


def _paths(part: Part) -> tuple[list[Part], list[Part]]:
    """Return what a composite layer is made of: the inner layers, and the one beside them."""

    def within(spec: LayerSpec, number: str) -> Part:
        name = number if spec.name is None else spec.name
        arrays = views_of(name, part.arrays) if name else part.arrays
        return Part(f"{part.name}.{name}" if name else part.name, spec, arrays)

    inner = [within(spec, f"inner.{n}") for n, spec in enumerate(part.spec.inner, 1)]
    beside = part.spec.shortcut
    return inner, [] if beside is None else [within(beside, "shortcut")]


def _through(g: Graph, parts: Iterable[Part], x: Value) -> Value:
    """Write layers on top of each other."""
    for part in parts:
        z = LAYERS[part.spec.kind](g, part, x)
        if part.spec.activation == "softmax":
            z = g.turned(z, False)
        x = _activated(g, part.spec.activation, z)
    return x


# ------------------------------------------------------------------ files


def graph_of(architecture: Architecture, theta: Array, g: Graph, layout: str, scale: Any) -> Graph:
    """Write all of a network into an empty graph; return it."""
    parts = [
        Part(f"layers.{n}", spec, {tensor.name: tensor.view(theta) for tensor in own})
        for n, (spec, own) in enumerate(
            zip(architecture.specs, architecture.by_layer(), strict=True), 1
        )
    ]
    shape = architecture.input_shape
    first = layout == LAYOUTS[1] and len(shape) > 1
    x = g.turned(_through(g, parts, Value("input", shape, first)), False)
    out = x.name
    if scale is not None:  # the outputs' own unit
        out = g.node("Add", g.node("Mul", out, g.number(scale[1])), g.number(scale[0]))
    g.end(out)
    return g


def _attribute(name: str, value: Any) -> bytes:
    """Return an AttributeProto."""
    several = isinstance(value, (list, tuple, range))
    kind = type(value[0] if several else value)
    number, code = {float: (2, 1), int: (3, 2), str: (4, 3)}[kind]
    if not several:
        return field(1, name) + field(number, value) + field(20, code)
    return field(1, name) + field(number + 5, *value) + field(20, code + 5)


def _node(number: int, op: str, inputs: list[str], outputs: list[str], given: Any) -> bytes:
    """Return a NodeProto."""
    attributes = [_attribute(name, value) for name, value in given.items()]
    named = field(3, f"{op.lower()}_{number}"), field(4, op)
    return b"".join([field(1, *inputs), field(2, *outputs), *named, field(5, *attributes)])


def _tensor(name: str, array: AnyArray, dtype: str) -> bytes:
    """Return a TensorProto."""
    little, code = DTYPES[dtype] if array.dtype.kind == "f" else ("<i8", INT64)
    with np.errstate(over="ignore"):
        narrow = array.astype(little)
    if dtype == "float32" and (np.isinf(narrow) & np.isfinite(array)).any():
        raise DataError(
            f'{name} has {abs(array).max():.3g}, which is too large for dtype="float32": '
            'dtype="float64" holds it'
        )
    content = narrow.tobytes()
    return field(1, *array.shape) + field(2, code) + field(8, name) + field(9, content)


def _value_info(name: str, code: int, shape: Iterable[int]) -> bytes:
    """Return a ValueInfoProto: a batch of samples."""
    named = [field(2, "positions") if size is None else field(1, size) for size in shape]
    sizes = field(2, "batch"), *named
    tensor = field(1, code) + field(2, field(1, *sizes))
    return field(1, name) + field(2, field(1, tensor))


def graph_bytes(g: Graph, architecture: Architecture, layout: str) -> bytes:
    """Return the GraphProto."""
    code, shape = DTYPES[g.dtype][1], architecture.input_shape
    of_input = INT64 if isinstance(shape, Tokens) else code
    if layout == LAYOUTS[1] and len(shape) > 1:
        shape = (shape[-1], *shape[:-1])
    return b"".join(
        [
            field(1, *(_node(n, *node) for n, node in enumerate(g.nodes, 1))),
            field(2, "pycnn"),
            field(5, *(_tensor(name, array, g.dtype) for name, array in g.arrays.items())),
            field(11, _value_info("input", of_input, shape)),
            field(12, _value_info("output", code, architecture.output_shape)),
        ]
    )


def to_bytes(network: Model, dtype: str, opset: int, layout: str) -> bytes:
    """Return what `Network.to_onnx` promises; the network's normalizations have been folded."""
    architecture, scale = network.architecture, network.target_scale
    g = graph_of(architecture, network.theta, Graph(dtype, opset), layout, scale)
    missing = sorted({node[0] for node in g.nodes} & {*_WITHOUT_FLOAT64})
    if missing and not g.is_float32:
        warn(
            f"ONNX Runtime cannot run this file: it has no float64 {', '.join(missing)}; "
            'dtype="float32" it runs',
            PycnnWarning,
        )
    classes, of_loss = network.classes, losses.to_config(architecture.loss)
    packed_classes = None if classes is None else pack_classes(np.asarray(classes), len(classes))
    description = {
        "inputs": plain_inputs(architecture.input_shape),
        "layers": [layer.config() for layer in network.layers],
        "loss": of_loss,
        "classes": packed_classes,
        "feature_names": None if network.feature_names is None else [*network.feature_names],
        "target_scale": None if network.encoder.scale is None else network.encoder.scale.config(),
        "dtype": dtype,
        "layout": layout,
    }
    metadata = {
        "version": __version__,
        "loss": json.dumps(of_loss),
        "classes": json.dumps(packed_classes and packed_classes["values"]),
        "pycnn": json.dumps(description, sort_keys=True),
    }
    content = b"".join(
        [
            field(1, IR_VERSION),
            field(2, "pycnn"),
            field(3, __version__),
            field(7, graph_bytes(g, architecture, layout)),
            field(8, field(1, "") + field(2, opset)),
            field(14, *(field(1, key) + field(2, value) for key, value in metadata.items())),
        ]
    )
    if len(content) > MOST_BYTES:
        raise DataError(f"an ONNX file holds {MOST_BYTES:,} bytes, but this has {len(content):,}")
    return content


def to_onnx(
    network: Model,
    path: str | bytes | os.PathLike[str] | None,
    dtype: str,
    opset: int,
    layout: str,
) -> bytes | None:
    """Do what `Network.to_onnx` promises, of a network without normalizations."""
    check_choice(dtype, tuple(DTYPES), "dtype")
    check_choice(layout, LAYOUTS, "layout")
    if check_size(opset, "opset") not in OPSETS:
        raise DataError(f"opset must be {OPSETS[0]} ... {OPSETS[-1]}, got {opset}")
    if path is not None and not os.fspath(path):
        raise DataError(f"path must name a file, got {path!r}")
    content = to_bytes(network, dtype, opset, layout)
    if path is None:
        return content
    write_whole(Path(os.fsdecode(path)), [content])
    return None
