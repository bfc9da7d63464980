"""ONNX Runtime, for inference."""

# ruff: noqa: D102 (the methods are documented in Peer)
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import pycnn
from benchmarks.peers import Peer, Task

if TYPE_CHECKING:
    from benchmarks.workloads import Array, Workload

# Versions that every installed runtime reads, whatever the installed onnx would write.
OPSET, IR_VERSION = 17, 8
_OPERATORS = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "softmax": "Softmax"}


class _Graph:
    """Nodes one behind the other, and the arrays that they need."""

    def __init__(self, precision: str) -> None:
        self.precision = precision
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, array: Any) -> str:
        """Add an array: of integers as it is, of others in the precision."""
        array = np.asarray(array)
        array = array if array.dtype.kind == "i" else array.astype(self.precision)
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def node(self, operator: str, *inputs: Any, **attributes: Any) -> str:
        """Add an operator over names and arrays; return its output's name."""
        names = [name if isinstance(name, str) else self.constant(name) for name in inputs]
        outputs = [f"n{len(self.nodes)}"]
        self.nodes.append(helper.make_node(operator, names, outputs, **attributes))
        return outputs[0]


def _dense(g: _Graph, own: Any, x: str, before: Any, flattened: Any) -> str:
    W = own.W
    if flattened is not None:  # whose channels come first here
        W = np.moveaxis(W.reshape(-1, *flattened), -1, 1).reshape(len(W), -1)
    if len(before) == 1:
        return g.node("Gemm", x, W, own.b, transB=1)
    return g.node("Add", g.node("MatMul", x, W.T), own.b)


def _convolution(g: _Graph, own: Any, x: str, before: Any, flattened: Any) -> str:
    pad = "SAME_UPPER" if own.padding == "same" else "VALID"
    return g.node("Conv", x, np.moveaxis(own.W, -1, 1), own.b, auto_pad=pad)


def _max_pool(g: _Graph, own: Any, x: str, before: Any, flattened: Any) -> str:
    window = list(np.broadcast_to(own.pool_size, len(before) - 1))
    return g.node("MaxPool", x, kernel_shape=window, strides=window)


def _average(g: _Graph, own: Any, x: str, before: Any, flattened: Any) -> str:
    return g.node("Flatten", g.node("GlobalAveragePool", x))


def _gates(own: Any, order: str, names: str) -> Any:
    """Return what puts the rows of gates, those of `names`, into another order."""
    rows = np.concatenate([np.arange(own.units) + names.index(gate) * own.units for gate in order])
    return lambda array: array[rows]


def _recurrent(g: _Graph, own: Any, x: str, before: Any, flattened: Any) -> str:
    """Time comes first here, so that of one sample only the names of the axes change."""
    lstm = isinstance(own, pycnn.LSTM)
    put = _gates(own, "iofg", "ifgo") if lstm else _gates(own, "urn", "run")
    second = np.zeros_like(own.b) if lstm else np.concatenate([np.zeros(2 * own.units), own.b_n])
    arrays = [put(own.W)[None], put(own.U)[None], np.concatenate([put(own.b), put(second)])[None]]
    x = g.node("Transpose", x, perm=[1, 0, 2])
    settings = {"hidden_size": own.units} | ({} if lstm else {"linear_before_reset": 1})
    y = g.node("LSTM" if lstm else "GRU", x, *arrays, **settings)  # (T, 1, m, n)
    if own.return_sequences:
        return g.node("Transpose", g.node("Squeeze", y, np.array([1])), perm=[1, 0, 2])
    last = g.node("Gather", y, np.array(before[0] - 1), axis=0)
    return g.node("Squeeze", last, np.array([0]))


def _norm(g: _Graph, own: Any, x: str, *_: Any) -> str:
    return g.node("LayerNormalization", x, own.gamma, own.beta, axis=-1, epsilon=own.epsilon)


def _block(g: _Graph, own: Any, x: str, before: Any, flattened: Any) -> str:
    positions, features = before
    t, width = own.tensors, features // own.heads
    normed = _norm(g, own.norm_1, x)
    split = np.array([1, positions, own.heads, width])

    def part(role: str, perm: list[int]) -> str:
        z = g.node("MatMul", normed, t[f"attention.W_{role}"].T)
        z = g.node("Add", z, t[f"attention.b_{role}"])
        return g.node("Transpose", g.node("Reshape", z, split), perm=perm)

    scores = g.node("MatMul", part("query", [0, 2, 1, 3]), part("key", [0, 2, 3, 1]))
    scores = g.node("Div", scores, np.array(np.sqrt(width)))
    mask = np.triu(np.full((positions, positions), -1e30), 1)
    shares = g.node("Softmax", g.node("Add", scores, mask), axis=-1)
    found = g.node("MatMul", shares, part("value", [0, 2, 1, 3]))
    found = g.node("Transpose", found, perm=[0, 2, 1, 3])
    found = g.node("Reshape", found, np.array([1, positions, features]))
    found = g.node("MatMul", found, t["attention.W_output"].T)
    x = g.node("Add", x, g.node("Add", found, t["attention.b_output"]))
    z = _dense(g, own.dense_1, _norm(g, own.norm_2, x), before, None)
    half = g.node("Mul", z, np.array(0.5))
    erf = g.node("Erf", g.node("Div", z, np.array(np.sqrt(2.0))))
    a = g.node("Mul", half, g.node("Add", erf, np.array(1.0)))
    return g.node("Add", x, _dense(g, own.dense_2, a, before, None))


_NODES = {
    pycnn.Dense: _dense,
    pycnn.Conv1D: _convolution,
    pycnn.Conv2D: _convolution,
    pycnn.MaxPool1D: _max_pool,
    pycnn.MaxPool2D: _max_pool,
    pycnn.GlobalAveragePool1D: _average,
    pycnn.Flatten: lambda g, own, x, *_: g.node("Flatten", x),
    pycnn.LSTM: _recurrent,
    pycnn.GRU: _recurrent,
    pycnn.Embedding: lambda g, own, x, *_: g.node("Gather", own.W, x),
    pycnn.PositionEmbedding: lambda g, own, x, *_: g.node("Add", x, own.W),
    pycnn.LayerNorm: _norm,
    pycnn.TransformerBlock: _block,
}


def _model(task: Task, precision: str, inputs: Array) -> bytes:
    """Return the network as an ONNX model that takes arrays like `inputs`."""
    graph, at, flattened, net = _Graph(precision), "x", None, task.net
    shapes = [net.input_shape, *net.architecture.output_shapes]
    for i, own in enumerate(net.layers):
        at = _NODES[type(own)](graph, own, at, shapes[i], flattened)
        flattened = shapes[i] if isinstance(own, pycnn.Flatten) and len(shapes[i]) > 1 else None
        if operator := _OPERATORS.get(getattr(own, "activation", "linear")):
            at = graph.node(operator, at)
    real = helper.np_dtype_to_tensor_dtype(np.dtype(precision))
    kind = TensorProto.INT64 if inputs.dtype.kind == "i" else real
    x = helper.make_tensor_value_info("x", kind, inputs.shape)
    y = helper.make_tensor_value_info(at, real, [len(inputs), *net.output_shape])
    made = helper.make_graph(graph.nodes, "network", [x], [y], graph.constants)
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(made, opset_imports=[opset], ir_version=IR_VERSION)
    return model.SerializeToString()


class OnnxRuntime(Peer):
    """`InferenceSession.run`."""

    title = "ONNX Runtime"
    families = ("rows",)  # it has no float64 Conv, LSTM, GRU, Erf

    @classmethod
    def refuses(cls, workload: Workload) -> str | None:
        return "inference only" if workload.training else None

    def __init__(self, task: Task) -> None:
        self.task = task
        image = any(isinstance(own, (pycnn.Conv1D, pycnn.Conv2D)) for own in task.net.layers)
        X = np.ascontiguousarray(np.moveaxis(task.X, -1, 1) if image else task.X)
        X = X if X.dtype.kind == "i" else X.astype(self.precision)
        batches = [X[rows] for rows in task.batches()]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = task.threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            _model(task, self.precision, batches[0]), options, providers=["CPUExecutionProvider"]
        )
        self.feeds = [{"x": batch} for batch in batches]

    def run(self, epochs: int) -> None:
        call = self.session.run
        for _ in range(epochs):
            for feed in self.feeds:
                (self.output,) = call(None, feed)

    def result(self) -> Array:
        return self.output


class OnnxRuntimeSingle(OnnxRuntime):
    """The same in single precision."""

    title = "ONNX Runtime, float32"
    precision = "float32"
    families = ("layers",)


class OnnxRuntimeBound(OnnxRuntime):
    """Input and output bound once; a call copies a row in and computes."""

    title = "ONNX Runtime, bound"

    @classmethod
    def refuses(cls, workload: Workload) -> str | None:
        single = not workload.training and workload.batch == 1
        return None if single else "for one row at a time"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.input = onnxruntime.OrtValue.ortvalue_from_numpy(self.feeds[0]["x"])
        self.bound = onnxruntime.OrtValue.ortvalue_from_numpy(
            np.empty((1, task.workload.sizes[-1]))
        )
        self.binding = self.session.io_binding()
        self.binding.bind_ortvalue_input("x", self.input)
        self.binding.bind_ortvalue_output(self.session.get_outputs()[0].name, self.bound)
        self.batches = [feed["x"] for feed in self.feeds]

    def run(self, epochs: int) -> None:
        update, call, binding = (
            self.input.update_inplace,
            self.session.run_with_iobinding,
            self.binding,
        )
        for _ in range(epochs):
            for batch in self.batches:
                update(batch)
                call(binding)

    def result(self) -> Array:
        return self.bound.numpy().copy()
