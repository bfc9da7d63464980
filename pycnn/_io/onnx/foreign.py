"""What other programs have written as ONNX: layers are found along the way from input to output.

What lies on the way is told by an index: an array of the tensor's shape in ONNX, a batch of one
sample, that holds where in pycnn's sample each number is. Transposing, reshaping and flattening
move the index alone, and a layer takes its weights in its order. Which axis is the batch's is known
all the way, as nothing of one sample may come of another. Activations are told by their values:
whatever has those of one of pycnn's is that, however it is put together.
"""

from __future__ import annotations

import math
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn import activations, layers, losses
from pycnn._architecture import Architecture
from pycnn._data.tokens import Tokens, check_inputs, plain_inputs
from pycnn._io.model_file import FAULTS, class_count
from pycnn._io.onnx.attention import OPERATIONS, add_attention, with_blocks
from pycnn._io.onnx.flow import Flow, is_natural, places
from pycnn._io.onnx.graph import Graph
from pycnn._io.onnx.operations import (
    FLOATS,
    FUNCTIONS,
    INTEGERS,
    LINES,
    MOST_NUMBERS,
    MOVES,
    OTHERS,
    axes_of,
    concatenated,
    fitting,
    meet,
)
from pycnn._io.onnx.writer import GRU_GATES, LSTM_GATES, RNN_ACTIVATIONS, gates
from pycnn.backend.numpy.activation import ACTIVATIONS
from pycnn.exceptions import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pycnn._io.onnx.model import Node, OnnxModel
    from pycnn._typing import Array, Shape

__all__ = ["state_of"]

LOOPS = ("Loop", "Scan")
FROM_KERAS = (
    "; a recurrent layer's weights pycnn.from_keras(model, network) takes, if it is Keras's"
)
MOST_PIECES = 24  # of an activation
MOST_FEATURES = 1 << 16  # of a norm that is told by its values
NEAR = [*np.linspace(-30, 30, 63), -1e-3, 1e-3, -0.1, 0.1, 0.0, 1.0, -1.0, 3.0, -3.0]
FAR = np.array([40, 60, 90, 150, 250, 400, 600, *10.0 ** np.arange(3, 31)])  # bounds are seen
PROBES = np.array([*NEAR, *FAR, *-FAR])
MAY_OVERFLOW = abs(PROBES) > 600  # exp does
SHAPES = [name for name in ACTIVATIONS if name not in ("linear", "softmax")]
KNOWN = np.array([ACTIVATIONS[name][0](PROBES) for name in SHAPES])
LARGE_PRIME = 2**31 - 1
# What a norm is made of. Bounds, such as Clip's, could lie where none of its probes is.
NORM = (*LINES, "Neg", "Pow", "Reciprocal", "Sqrt")
# What tokens may be cast to on their way to a table.
CASTS: dict[int, type[np.generic]] = {
    1: np.float32,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    11: np.float64,
}


# ------------------------------------------------------------------ operations that are layers


def _dense(flow: Flow, W: Array, b: Array) -> None:
    """Add W x + b, of rows or at each position."""
    order, lead = flow.rows(W.shape[1]), flow.index.shape[:-1]
    if order is not None:
        W = W[:, np.argsort(order)]
    index = places(*lead, len(W))
    flow.add(layers.Dense(len(W)), (*flow.shape[:-1], len(W)), index, W=W.copy(), b=b)


def _gemm(flow: Flow, given: Any, W: Array, b: Any = None) -> None:
    W = given.get("alpha", 1.0) * (W if given.get("transB") else W.T)
    if np.ndim(b) > 1 and len(b) > 1:
        raise ValueError("the bias is not one row")
    bias = np.zeros(len(W)) if b is None else given.get("beta", 1.0) * np.ravel(b)
    if given.get("transA") or flow.index.ndim != 2:
        raise ValueError("only samples in rows can be taken")
    _dense(flow, W, np.broadcast_to(bias, len(W)).copy())


def _matmul(flow: Flow, given: Any, W: Array) -> None:
    if W.ndim != 2:
        raise ValueError("weights must be one matrix")
    _dense(flow, W.T, np.zeros(W.shape[1]))


def _margins(given: Any, sizes: Any, kernel: Any, strides: Any, dilation: Any) -> tuple[str, Any]:
    """Return the padding, and the margins that are there beside it."""
    axes = len(sizes)
    pads = given.get("pads") or [0] * 2 * axes
    same = []
    for n, k, s, d in zip(sizes, kernel, strides, dilation, strict=True):
        total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        same.append((total // 2, total - total // 2))
    auto = given.get("auto_pad", "NOTSET")
    if auto == "SAME_LOWER":
        pads = [*(after for _, after in same), *(before for before, _ in same)]
    own = [*zip(pads[:axes], pads[axes:], strict=True)]
    if auto == "SAME_UPPER" or (own == same and auto == "NOTSET" and any(pads)):
        return "same", None
    return "valid", own if any(pads) and auto != "VALID" else None


def _pad(flow: Flow, margins: Any) -> Shape:
    """Add zeros around images; return their sizes."""
    sizes, _ = flow.image()
    if margins:
        if len(sizes) != 2:
            raise ValueError(f"pads {margins} of a sequence are none of pycnn's")
        sizes = _add_margins(flow, margins, 1)
    return sizes


def _add_margins(flow: Flow, margins: Any, channels: int) -> Shape:
    """Add zeros around images whose channels ONNX has at this axis; return their sizes."""
    shape = layers.ZeroPadding2D(margins).output_shape(flow.shape)
    index = np.moveaxis(places(1, *shape), -1, channels)
    flow.add(layers.ZeroPadding2D(margins), shape, index)
    return shape[:-1]


def _windows(flow: Flow, given: Any, kernel: Any) -> tuple[Any, Any, Any, str, Any]:
    """Return sizes, strides, dilation, padding and margins of windows."""
    sizes, _ = flow.image()
    strides = given.get("strides") or [1] * len(sizes)
    dilation = given.get("dilations") or [1] * len(sizes)
    return sizes, strides, dilation, *_margins(given, sizes, kernel, strides, dilation)


def _add_windows(flow: Flow, layer: Any, channels: int, **arrays: Array) -> None:
    shape = layer.output_shape(flow.shape)
    flow.add(layer, shape, np.moveaxis(places(1, *shape), -1, 1), **arrays)


def _conv(flow: Flow, given: Any, W: Array, b: Any = None) -> None:
    filters, channels, *kernel = W.shape
    _, strides, dilation, padding, margins = _windows(flow, given, kernel)
    if given.get("group", 1) != 1 or channels != flow.shape[-1]:
        raise ValueError("groups of channels")
    _pad(flow, margins)
    make = layers.Conv1D if len(kernel) == 1 else layers.Conv2D
    layer = make(
        filters, kernel, strides=strides, padding=padding, dilation=dilation, use_bias=b is not None
    )
    arrays = {"W": np.moveaxis(W, 1, -1).copy()} | ({} if b is None else {"b": b.copy()})
    _add_windows(flow, layer, filters, **arrays)


def _pool(flow: Flow, given: Any, is_max: bool) -> None:
    kernel = given["kernel_shape"]
    sizes, strides, dilation, padding, margins = _windows(flow, given, kernel)
    if {*dilation} != {1}:
        raise ValueError("dilations of a pooling")
    if padding == "same" and not is_max and given.get("count_include_pad"):
        padding, margins = "valid", None
        pads = given["pads"]
        margins = [*zip(pads[: len(sizes)], pads[len(sizes) :], strict=True)]
    if margins:
        last = flow.items[-1].config.get("activation", "linear") if flow.items else "linear"
        least = activations.TABLE[last].low
        if least < 0 if is_max else not given.get("count_include_pad"):
            raise ValueError(f"pads {margins} of a pooling")
    sizes = _pad(flow, margins)
    over = [(n - k) % s for n, k, s in zip(sizes, kernel, strides, strict=True)]
    if given.get("ceil_mode") and any(over):
        raise ValueError("windows that begin within and end beyond the image")
    names = ("MaxPool1D", "MaxPool2D") if is_max else ("AveragePool1D", "AveragePool2D")
    make = getattr(layers, names[len(kernel) - 1])
    _add_windows(flow, make(kernel, strides=strides, padding=padding), flow.shape[-1])


def _reduce(flow: Flow, given: Any, name: str, axes: tuple[int, ...], keep: int) -> None:
    """Add a pooling of whole samples."""
    index = flow.whole()
    axes = tuple(sorted(axis % index.ndim for axis in axes))
    if flow.batch in axes:
        raise ValueError("an operation across the batch")
    others = [axis for axis in range(index.ndim) if axis not in axes]
    sizes = [index.shape[axis] for axis in axes]
    channels = index.size // math.prod(sizes)
    if len(sizes) not in (1, 2) or not is_natural(index.transpose([*axes, *others])):
        raise ValueError("not the positions of whole samples")
    flow.see((*sizes, channels))
    kept = [1 if axis in axes else size for axis, size in enumerate(index.shape)]
    shape = kept if keep else [index.shape[axis] for axis in others]
    layer = getattr(layers, f"Global{name}Pool{len(sizes)}D")()
    flow.add(layer, (channels,), places(channels).reshape(shape))
    flow.batch = flow.batch if keep else others.index(flow.batch)


def _reduction(name: str) -> Callable[..., None]:
    return lambda flow, given, *more: _reduce(
        flow, given, name, axes_of(given, *more), given.get("keepdims", 1)
    )


def _global(name: str) -> Callable[..., None]:
    return lambda flow, given: _reduce(flow, given, name, (*range(2, flow.index.ndim),), 1)


def _batch_norm(flow: Flow, given: Any, *arrays: Array) -> None:
    if given.get("training_mode") or not given.get("is_test", 1):
        raise ValueError("statistics of the batch")
    order = np.arange(len(arrays[0]))
    if flow.index.ndim == 2:
        order = np.argsort(flow.rows(len(order)))  # type: ignore[arg-type]
    else:
        flow.image()
    gamma, beta, mean, variance = (array[order] for array in arrays)
    layer = layers.BatchNorm(
        epsilon=given.get("epsilon", 1e-5), momentum=round(1 - given.get("momentum", 0.9), 7)
    )
    own = {"gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
    flow.add(layer, flow.shape, flow.index, **own)


def _layer_norm(flow: Flow, given: Any, gamma: Array, beta: Any = None) -> None:
    order = flow.rows(len(gamma))
    if given.get("axis", -1) % flow.index.ndim != flow.index.ndim - 1:
        raise ValueError("several axes are normalized")
    beta = np.zeros(len(gamma)) if beta is None else beta
    if order is not None:
        gamma, beta = gamma[np.argsort(order)], beta[np.argsort(order)]
    layer = layers.LayerNorm(epsilon=given.get("epsilon", 1e-5))
    flow.add(layer, flow.shape, flow.index, gamma=gamma, beta=beta)


def _softmax(flow: Flow, given: Any, opset: int) -> None:
    axis, last = given.get("axis", -1 if opset >= 13 else 1), flow.index.ndim - 1
    if axis % (last + 1) != last:
        raise ValueError("softmax must be along the last axis")
    order = flow.rows(flow.index.shape[-1])
    if order is None and not is_natural(flow.index):
        raise ValueError("softmax must be at each position")
    flow.activate("softmax")


def _scaler(flow: Flow, given: Any) -> None:
    scale, offset = np.array(given["scale"]), np.array(given["offset"])
    _lines(flow, "Mul", scale, -offset * scale)


def _lines(flow: Flow, op: str, scale: Any, shift: Any) -> None:
    """Scale and shift numbers by constants, of features or positions."""
    index = flow.whole()
    size = index.size
    both = np.empty((2, size))
    for own, values in zip(both, (scale, shift), strict=True):
        own[index.ravel()] = np.broadcast_to(values, index.shape).ravel()
    if len(flow.shape) == 1:
        flow.line(*both)
        return
    by_position = both.reshape(2, -1, flow.shape[-1])
    if (by_position == by_position[:, :1]).all():
        flow.line(*by_position[:, 0])
    elif op == "Add" and len(flow.shape) == 2:
        flow.add(layers.PositionEmbedding(), flow.shape, index, W=by_position[1].copy())
    else:
        flow.see((size,))
        flow.line(*both)


def _recurrent(flow: Flow, node: Node, each: bool, W: Any, U: Any, b: Any, *states: Any) -> None:
    given, bidirectional = node.given, node.given.get("direction") == "bidirectional"
    for state in states:
        if state is not None and np.any(state):
            raise ValueError("lengths, states that are not 0, or peepholes")
    order = {"RNN": (0,), "LSTM": LSTM_GATES, "GRU": GRU_GATES}[node.op]
    length, samples, features = flow.whole().shape
    paths, rows, units = U.shape
    in_order = samples == 1 and flow.batch == 1 and is_natural(flow.index)
    if not in_order or W.shape != (paths, rows, features):
        raise ValueError("samples must be (time, batch, features)")
    if paths != 1 + bidirectional or rows != len(order) * units:
        raise ValueError(f"weights of shape {U.shape}")
    names = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}.get(node.op, ["Tanh"])
    own = given.get("activations") or names * paths
    known = {onnx: name for name, onnx in RNN_ACTIVATIONS.items()}
    numbers = given.get("activation_alpha") or given.get("activation_beta")
    wrong = own != names * paths and (node.op != "RNN" or len({*own}) > 1 or own[0] not in known)
    if wrong or numbers or given.get("clip") or given.get("layout") or given.get("input_forget"):
        raise ValueError("activations, a clip, a layout or coupled gates that pycnn does not have")
    if node.op == "GRU" and not given.get("linear_before_reset"):
        raise ValueError("pycnn's GRU has the reset behind the product: linear_before_reset=1")
    back = tuple(int(n) for n in np.argsort(order))
    b = np.zeros((paths, 2 * rows)) if b is None else b.reshape(paths, 2 * rows)
    arrays = {}
    for path, name in enumerate(("forward.", "backward.") if bidirectional else ("",)):
        of_x, of_h = (gates(part, back) for part in b[path].reshape(2, rows))
        if node.op == "GRU":
            arrays[f"{name}b_n"] = of_h[-units:].copy()
            of_h[-units:] = 0
        arrays[f"{name}b"] = of_x + of_h
        arrays[f"{name}W"], arrays[f"{name}U"] = gates(W[path], back), gates(U[path], back)
    more = {"activation": known[own[0]]} if node.op == "RNN" else {}
    make: Any = layers.SimpleRNN if node.op == "RNN" else getattr(layers, node.op)
    reverse = given.get("direction") == "reverse"
    layer = make(units, return_sequences=each, reverse=reverse, **more)
    flow.see((length, features))
    layer = layers.Bidirectional(layer) if bidirectional else layer
    shape = (length, paths * units) if each else (paths * units,)
    index = places(length, paths, 1, units) if each else places(paths, 1, units)
    flow.add(layer, shape, index, **arrays)
    flow.batch = 2 if each else 1


# Layers by operations: of the way so far, the attributes, and the other inputs.
LAYERS: dict[str, Callable[..., None]] = {
    "AveragePool": lambda flow, given: _pool(flow, given, False),
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "Gemm": _gemm,
    "GlobalAveragePool": _global("Average"),
    "GlobalMaxPool": _global("Max"),
    "LayerNormalization": _layer_norm,
    "MatMul": _matmul,
    "MaxPool": lambda flow, given: _pool(flow, given, True),
    "ReduceMax": _reduction("Max"),
    "ReduceMean": _reduction("Average"),
    "Scaler": _scaler,
}
KNOWN_OPS = {*FUNCTIONS, *MOVES, *OTHERS, *LAYERS, "Shape", "LSTM", "GRU", "RNN", "Pad", "Softmax"}
CHANNELS_FIRST = ("Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")


class Way(Graph):
    """A graph, and what its nodes are in terms of layers."""

    def activation(self, name: str, joins: Iterable[tuple[str, list[int]]]) -> tuple[str, str]:
        """Return the longest way from a tensor that is an activation: which, and its end; or ""."""
        values: dict[str, Any] = {name: PROBES}
        best = "", ""
        for number, (out, done) in enumerate(joins):
            if number == MOST_PIECES:
                break
            for at in done:
                node = self.nodes[at]
                inputs = [values.get(x, self.arrays.get(x)) if x else None for x in node.inputs]
                scalar = all(
                    x in values or not x or np.size(self.arrays.get(x, ())) == 1
                    for x in node.inputs
                )
                if not scalar or node.op not in {*FUNCTIONS, "Identity", "Cast"}:
                    return best
                if node.op == "Cast" and node.given.get("to") not in FLOATS:
                    return best
                inputs = [
                    x if x is None or np.ndim(x) == 0 or x.size > 1 else x.ravel()[0]
                    for x in inputs
                ]
                values[node.outputs[0]] = (
                    FUNCTIONS[node.op](node.given, *inputs) if node.op in FUNCTIONS else inputs[0]
                )
            found = np.asarray(values.get(out, 0.0))
            # A number that hardly changes anything is a bias.
            first = number == 0 and len(done) == 1 and self.nodes[done[0]].op in LINES
            if first and not abs(found - PROBES)[: len(NEAR)].max() > 1e-3:
                return best
            near = abs(KNOWN - found) <= 2e-6 * (1 + abs(KNOWN))
            near |= MAY_OVERFLOW & ~np.isfinite(found)
            which = np.flatnonzero(near.all(axis=1))
            if which.size:
                best = SHAPES[which[0]], out
        return best

    def normalization(
        self, flow: Flow, name: str, end: str, within: set[int]
    ) -> tuple[str, float, Array, Array] | None:
        """Return the end of the longest way that normalizes rows, epsilon, and gamma and beta.

        It is told by its values, as activations are: whatever has those of a layer normalization
        is one, whether it divides or multiplies by the reciprocal, before or behind the scale.
        """
        best: tuple[str, float, Array, Array] | None = None
        axes, features = flow.index.ndim, flow.index.shape[-1]
        if (
            axes < 2
            or not 2 <= features <= MOST_FEATURES
            or flow.index.size != math.prod(flow.shape)
        ):
            return best
        draw = np.random.default_rng(0).normal(size=(5, features))
        probes = np.vstack([0 * draw[:1], draw[:2], 2e-3 * draw[2:], 1e3 * draw[:1] + 1])
        values: dict[str, Any] = {name: probes.reshape(-1, *[1] * (axes - 2), features)}
        epsilons: set[float] = {0.0}
        for number, (out, done) in enumerate(self.joins(name, end, within)):
            if number == MOST_PIECES or (number == 0 and len(done) < 2):
                break
            for node in (self.nodes[at] for at in done):
                inputs = [values.get(x, self.arrays.get(x)) if x else None for x in node.inputs]
                if node.op in ("ReduceMean", "GlobalAveragePool"):
                    along = [axis % axes for axis in axes_of(node.given, *inputs[1:])]
                    if node.op == "GlobalAveragePool":  # which tf2onnx makes of what it can
                        along = [*range(2, axes)]
                    if along != [axes - 1] or node.inputs[0] not in values:
                        return best
                    kept = bool(node.given.get("keepdims", 1))
                    given = values[node.inputs[0]]
                    values[node.outputs[0]] = np.mean(given, axis=-1, keepdims=kept)
                    continue
                there = [x for x in inputs if x is not None]
                if node.op not in (LINES if best else NORM) or not meet(there, probes.size):
                    return best
                if node.op == "Add":
                    epsilons |= {float(np.ravel(x)[0]) for x in there if np.size(x) == 1}
                values[node.outputs[0]] = FUNCTIONS[node.op](node.given, *inputs)
            found = np.asarray(values[out])
            if found.shape != values[name].shape:
                continue
            y, beta = found.reshape(probes.shape), found.reshape(probes.shape)[0]
            centred = probes - probes.mean(axis=1, keepdims=True)
            for epsilon in epsilons:
                x = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + epsilon)
                gamma = (y[1] - beta) / x[1]
                near = abs(gamma * x[1:] + beta - y[1:]) <= 1e-9 * (1 + abs(y[1:]))
                if near.all() and gamma.any():
                    best = out, epsilon, gamma, beta.copy()
        return best

    def tokens(self, name: str, joins: Iterable[tuple[str, list[int]]]) -> str:
        """Return the end of the longest way that leaves each token of a table as it is; or "".

        Keras counts negative ones from the end of the table, and pycnn refuses these.
        """
        names = [node.inputs[0] for node in self.nodes if node.op == "Gather"]
        tables = [self.arrays[name] for name in names if name in self.arrays]
        count = max((len(table) for table in tables if table.ndim == 2), default=0)
        values: dict[str, Any] = {name: np.arange(count)}
        best = ""
        if not count:
            return best
        for number, (out, done) in enumerate(joins):
            if number == MOST_PIECES:
                break
            for node in (self.nodes[at] for at in done):
                inputs = [values.get(x, self.arrays.get(x)) for x in node.inputs]
                there = [x for x in inputs if x is not None]
                if len(there) < len(inputs) or not meet(there, count):
                    return best
                if node.op == "Cast" and node.given.get("to") in CASTS:
                    values[node.outputs[0]] = np.asarray(there[0], CASTS[node.given["to"]])
                elif node.op in FUNCTIONS:
                    values[node.outputs[0]] = FUNCTIONS[node.op](node.given, *there)
                else:
                    return best
            if out in values and np.array_equal(values[out], values[name]):
                best = out
        return best

    def follow(self, flow: Flow, name: str, end: str) -> None:
        """Add the layers from a tensor to another."""
        within = self.before(end)
        if not flow.items and self.model.inputs[0].type in INTEGERS:
            with np.errstate(all="ignore"):
                name = self.tokens(name, self.joins(name, end, within)) or name
        while name != end:
            self.seen[name] = flow.index, flow.batch
            self.settle(name, flow.index)
            with np.errstate(all="ignore"):
                found, out = self.activation(name, self.joins(name, end, within))
                norm = None if found else self.normalization(flow, name, end, within)
            if found:
                flow.activate(found)
            elif norm:
                out, epsilon, gamma, beta = norm
                _layer_norm(flow, {"epsilon": epsilon}, gamma, beta)
            else:
                joins = self.joins(name, end, within)
                out, done = next(joins, ("", []))
                if not out:
                    strange = [self.nodes[at] for at in sorted(within)]
                    strange = [node for node in strange if node.op not in KNOWN_OPS]
                    where = f"{strange[0]}: pycnn has no layer for it" if strange else f"{name!r}"
                    advice = any(node.op in LOOPS for node in strange) * FROM_KERAS
                    raise ModelFileError(
                        f"has no way from its input to its output, at {where}{advice}"
                    )
                out = self._step(flow, name, out, done, joins)
            name = out

    def _step(self, flow: Flow, name: str, out: str, done: list[int], joins: Iterator[Any]) -> str:
        """Add what comes next; return where it ends, which may lie behind what comes next."""
        node = self.nodes[done[-1]]
        try:
            ops = {self.nodes[at].op for at in done}
            if ops & {*OPERATIONS} and ops != {"Softmax"} and node.op not in ("Add", "Concat"):
                return add_attention(self, flow, name, chain([(out, done)], joins))
            if len(done) == 1:
                self._layer(flow, name, out, node)
            else:
                self._both(flow, name, node)
            return out
        except ModelFileError:
            raise
        except FAULTS as error:
            raise ModelFileError(f"cannot be read at {node}: {error}") from None

    def _layer(self, flow: Flow, name: str, out: str, node: Node) -> None:
        op, given = node.op, node.given
        others: list[Any] = [self.arrays.get(x) for x in node.inputs if x != name]
        if any(x and x not in self.arrays and x != name for x in node.inputs):
            raise ValueError("more than one of its inputs is no constant")
        recurrent = op in ("RNN", "LSTM", "GRU")
        if out not in node.outputs[: 1 + recurrent]:
            raise ValueError(f"its output {out!r} is none that pycnn has")
        if op == "Gather" and len(flow.items) == 0 and node.inputs[1] == name:
            self._embed(flow, given, self.arrays[node.inputs[0]])
        elif op in LINES and len(node.inputs) == 2 and len(others) == 1:
            c, ahead = others[0], node.inputs[0] == name
            if "axis" in given:
                raise ValueError("an axis that a constant lies along, as before opset 7")
            if op in ("Add", "Sub"):
                sign = 1.0 if ahead or op == "Add" else -1.0
                _lines(flow, "Add", sign, -c if ahead and op == "Sub" else c)
            elif op == "Div" and not ahead:
                raise ValueError("a division by what is no constant")
            else:
                _lines(flow, op, c if op == "Mul" else 1 / c, 0.0)
        elif node.inputs[0] != name:
            raise ValueError("a constant stands where samples should")
        elif recurrent:
            _recurrent(flow, node, out == node.outputs[0], *[*others, None][:3], *others[3:])
        elif op == "Pad":
            pads = [*given["pads"]] if "pads" in given else [int(n) for n in others[0]]
            half = len(pads) // 2
            value = [given.get("value", 0), *(x for x in others[1:2] if x is not None)]
            if given.get("mode", "constant") != "constant" or any(map(np.any, value)):
                raise ValueError("only zeros can be around images")
            if others[2:] and others[2] is not None:
                raise ValueError("pads of axes that are named")
            if half == 4 and any(pads) and not any(pads[at] for at in (0, 3, 4, 7)):
                index = flow.whole()
                if flow.batch == 0 and is_natural(index):  # channels last, as Keras has them
                    flow.see(index.shape[1:])
                    _add_margins(flow, [*zip(pads[1:3], pads[5:7], strict=True)], -1)
                    return
            if any(pads[:2] + pads[half : half + 2]):
                raise ValueError("pads of batch or channels")
            _pad(flow, [*zip(pads[2:half], pads[half + 2 :], strict=True)])
        elif op == "Softmax":
            _softmax(flow, given, self.model.opset)
        elif op in MOVES:
            self._move(flow, node, *others)
        elif op in LAYERS:
            LAYERS[op](flow, given, *others)
        elif op in FUNCTIONS:
            raise ValueError(
                "no activation of pycnn's, or not with its numbers: leaky_relu's slope is 0.01, "
                "elu's alpha 1, and those of the others are as in pycnn.activations"
            )
        else:
            raise ValueError("pycnn has no layer for this operation")

    def _move(self, flow: Flow, node: Node, *others: Any) -> None:
        """Move numbers: those of two samples have to be moved as those of each."""
        op, given, index = node.op, node.given, flow.index
        if op == "Cast":
            tokens = not flow.items and self.model.inputs[0].type in INTEGERS
            if given.get("to") not in ((1, 11, *INTEGERS) if tokens else FLOATS):
                raise ValueError("numbers become integers")
            return
        if op == "Reshape":
            self._reshape(flow, others[0], given, node.inputs[1] in self.fixed)
            return
        two = np.concatenate([index, index + MOST_NUMBERS], flow.batch)
        moved = np.asarray(MOVES[op](given, 2 * MOST_NUMBERS, two, *others))
        for axis in range(moved.ndim):
            if moved.shape[axis] % 2 == 0:
                first, second = np.split(moved, 2, axis)
                own = (first < MOST_NUMBERS).all() and (second == first + MOST_NUMBERS).all()
                if first.size and own:
                    flow.index, flow.batch = first, axis
                    return
        raise ValueError("numbers of several samples become one's, or some of them are taken")

    def _reshape(self, flow: Flow, shape: Any, given: Any, is_fixed: bool) -> None:
        """Reshape; the batch's size is one where a shape has been computed of that of the index."""
        index, axis, count = flow.index, flow.batch, 1
        if is_fixed:
            # An open one has a size that divides nothing else.
            count = self.batch or (LARGE_PRIME if -1 in shape else 1)
        wide = [*index.shape]
        wide[axis] *= count
        sizes = [int(size) for size in shape]
        if not given.get("allowzero"):
            sizes = [wide[n] if size == 0 else size for n, size in enumerate(sizes)]
        if -1 in sizes:
            sizes[sizes.index(-1)] = math.prod(wide) // -math.prod(sizes)
        ahead = math.prod(wide[:axis])
        axes = [n for n, s in enumerate(sizes) if math.prod(sizes[:n]) == ahead and s % count == 0]
        if not axes:
            raise ValueError("numbers of several samples become one's")
        flow.batch = axis if axis in axes else axes[0]
        sizes[flow.batch] //= count
        flow.index = index.reshape(fitting(*sizes))

    def _embed(self, flow: Flow, given: Any, W: Array) -> None:
        index, axis = flow.index, flow.batch
        if W.ndim != 2 or given.get("axis", 0) != 0 or index.ndim != 2 or index.shape[axis] != 1:
            raise ValueError("an embedding takes (batch, length) tokens of one table")
        if not is_natural(flow.whole()):
            raise ValueError("tokens in another order")
        flow.shape = Tokens(len(W), index.size)
        there = places(index.size, W.shape[1])
        layer, index = layers.Embedding(W.shape[1]), np.expand_dims(there, axis)
        flow.add(layer, there.shape, index, W=W.copy())

    def _both(self, flow: Flow, name: str, node: Node) -> None:
        """Add a residual layer: two ways from a tensor that end in a sum."""
        ends = node.inputs
        if node.op == "Concat":  # of parts of what is there
            parts = [Flow(flow.shape, flow.index, flow.batch) for _ in ends]
            for part, end in zip(parts, ends, strict=True):
                self.follow(part, name, end)
            if not any(part.items for part in parts):
                flow.batch = parts[0].batch
                if {part.batch for part in parts} != {flow.batch} or flow.batch == (
                    node.given["axis"] % parts[0].index.ndim
                ):
                    raise ValueError("numbers of several samples become one's")
                flow.index = concatenated(node.given, [part.index for part in parts])
                return
        if node.op != "Add" or any(end in self.arrays for end in ends) or ends[0] == ends[1]:
            raise ValueError("ways that meet otherwise than in a sum of two")
        paths = []
        for end in ends:
            path = Flow(flow.shape, flow.index, flow.batch)
            self.follow(path, name, end)
            paths.append(path)
        inner, beside = sorted(paths, key=lambda path: -len(path.items))
        same = inner.batch == beside.batch and np.array_equal(inner.index, beside.index)
        if len(beside.items) > 1 or not same:
            raise ValueError("a shortcut of more than one layer, or in another order")
        names = [f"inner.{n}." for n in range(1, len(inner.items) + 1)] + ["shortcut."]
        arrays = {
            f"{name}{own}": array
            for name, item in zip(names, inner.items + beside.items, strict=False)
            for own, array in item.arrays.items()
        }
        inner_layers, *shortcut = (
            [layers.from_config(item.config) for item in path.items]
            for path in ([inner, beside] if beside.items else [inner])
        )
        layer = layers.Residual(inner_layers, shortcut=shortcut[0][0] if shortcut else None)
        flow.add(layer, inner.shape, inner.index, **arrays)
        flow.batch = inner.batch


# ------------------------------------------------------------------ a whole model


def _start(way: Way) -> tuple[str, Flow]:
    """Return the input, and the way from it."""
    inputs = way.model.inputs
    if len(inputs) != 1:
        names = ", ".join(info.name for info in inputs)
        raise ModelFileError(f"has the inputs {names or 'none'}: a network of pycnn's has one")
    name, kind, sizes = inputs[0]
    open_axes = [axis for axis, size in enumerate(sizes) if size is None]
    batch = open_axes[0] if len(open_axes) == 1 else 0
    shape = [size for axis, size in enumerate(sizes) if axis != batch]
    if None in shape or not shape or kind not in FLOATS + INTEGERS:
        raise ModelFileError(
            f"has the input {name!r} of type {kind} and shape {sizes}: pycnn needs numbers, and "
            "all sizes but the batch's"
        )
    own = tuple(size or 1 for size in shape)
    way.batch = sizes[batch]
    index = places(*own)
    if len(own) > 1 and _sees_channels_first(way, name):
        own = (*own[1:], own[0])
        index = np.moveaxis(places(*own), -1, 0)
    return name, Flow(own, np.expand_dims(index, batch), batch)


def _sees_channels_first(way: Way, name: str) -> bool:
    """Whether the first that asks for positions is an operation that has channels first."""
    names = [name]
    for known in names:
        for at in way.users.get(known, ()):
            op = way.nodes[at].op
            if op == "GlobalAveragePool" and any(
                known in way.nodes[user].inputs
                for user in way.users.get(way.nodes[at].outputs[0], ())
            ):
                return False  # a mean that is subtracted: a layer normalization of rows
            if op in (*CHANNELS_FIRST, "BatchNormalization"):
                return True
            if op in FUNCTIONS or op in ("Cast", "Dropout", "Identity", "Pad"):
                names += [out for out in way.nodes[at].outputs if out not in names]
            elif op != "Shape":
                return False
    return False


def _end(way: Way) -> tuple[str, Any]:
    """Return the tensor that is the network's output, and the labels of its classes, if any."""
    outputs = [info for info in way.model.outputs if info.type in (0, *FLOATS)]
    if len(outputs) != 1:
        raise ModelFileError(f"has {len(outputs)} outputs of numbers: a network of pycnn's has one")
    name, labels = outputs[0].name, None
    for node in way.nodes:
        if node.op == "ArrayFeatureExtractor":
            labels = way.arrays.get(node.inputs[0])
    while True:
        if name not in way.maker:
            raise ModelFileError(f"has the output {outputs[0].name!r}, which no layer makes")
        node = way.nodes[way.maker[name]]
        if node.op == "ZipMap":
            labels = node.given.get("classlabels_strings") or node.given["classlabels_int64s"]
        elif node.op == "Concat" and len(node.inputs) == 2:  # 1 - p and p
            other = way.nodes[way.maker.get(node.inputs[0], way.maker[name])]
            one = way.arrays.get(other.inputs[0])
            if other.op != "Sub" or other.inputs[1] != node.inputs[1] or one is None or one != 1:
                break
            name = node.inputs[1]
            continue
        elif node.op != "Identity" and (node.op != "Cast" or node.given.get("to") not in FLOATS):
            break
        name = node.inputs[0]
    if labels is not None:
        labels = np.array(np.ravel(labels).tolist())
    return name, labels


def state_of(model: OnnxModel) -> dict[str, Any]:
    """Return the state of a network for a model that another program has written."""
    way = Way(model)
    start, flow = _start(way)
    end, labels = _end(way)
    inputs = flow.shape
    way.follow(flow, start, end)
    if not is_natural(flow.whole()):
        raise ModelFileError("has its outputs in another order than pycnn would")
    if len(flow.shape) == 2 and flow.index.shape[flow.batch] > 1:
        raise ModelFileError(
            f"has at {way.nodes[way.maker[end]]} the positions of all sequences as rows, "
            "(batch * positions, features): pycnn's outputs are (batch, positions, features)"
        )
    if len(flow.shape) > 2 or (len(flow.shape) == 2 and flow.index.ndim == 2):
        flow.see((flow.index.size,))
    items = with_blocks(flow.items)
    if items and items[0].config["kind"] == "embedding":
        inputs = Tokens(len(items[0].arrays["W"]), inputs[0])
    elif model.inputs[0].type in INTEGERS:
        raise ModelFileError("takes integers that are no tokens")
    # Where weights start follows from the activation, which has come later.
    found = layers.check_layers(
        [
            layers.from_config({k: v for k, v in item.config.items() if "_initializer" not in k})
            for item in items
        ]
    )
    loss = losses.check(None, found[-1].activation)
    architecture = Architecture(check_inputs(inputs), found, loss)
    parts = [np.empty(0)]
    for place in architecture.tensors:
        array = items[place.layer - 1].arrays[place.name]
        if array.shape != place.shape:
            raise ValueError(f"{place.full_name} has shape {array.shape}, not {place.shape}")
        parts.append(array.ravel())
    if labels is not None:
        count = class_count(losses.name_of(loss), architecture.output_shape[-1])
        if len(labels) != count or not (labels[1:] > labels[:-1]).all():
            raise ModelFileError(f"has other labels than {count} in their order")
    return {
        "inputs": plain_inputs(inputs),
        "layers": [layer.config() for layer in found],
        "loss": losses.to_config(loss),
        "seed": 0,
        "classes": labels,
        "feature_names": None,
        "target_scale": None,
        "epochs_trained": 0,
        "metadata": {},
        "parameters": np.concatenate(parts),
    }
