"""ONNX Runtime, for inference."""

# ruff: noqa: D102 (the methods are documented in Peer)
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks.peers import Peer, Task

if TYPE_CHECKING:
    from benchmarks.workloads import Array, Workload

# Versions that every installed runtime reads, whatever the installed onnx would write.
OPSET, IR_VERSION = 17, 8


def _model(task: Task) -> bytes:
    """Return the network as an ONNX model."""
    operators = {"relu": "Relu", "tanh": "Tanh", "softmax": "Softmax"}
    nodes, constants, at = [], [], "x"
    for i, (W, b) in enumerate(task.parameters):
        constants += [numpy_helper.from_array(W, f"W{i}"), numpy_helper.from_array(b, f"b{i}")]
        nodes.append(helper.make_node("Gemm", [at, f"W{i}", f"b{i}"], [f"z{i}"], transB=1))
        nodes.append(
            helper.make_node(operators[task.workload.activations[i]], [f"z{i}"], [f"a{i}"])
        )
        at = f"a{i}"
    sizes = task.workload.sizes
    x = helper.make_tensor_value_info("x", TensorProto.DOUBLE, [task.workload.batch, sizes[0]])
    y = helper.make_tensor_value_info(at, TensorProto.DOUBLE, [task.workload.batch, sizes[-1]])
    graph = helper.make_graph(nodes, "network", [x], [y], constants)
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
    return model.SerializeToString()


class OnnxRuntime(Peer):
    """`InferenceSession.run`."""

    title = "ONNX Runtime"

    @classmethod
    def refuses(cls, workload: Workload) -> str | None:
        return "inference only" if workload.training else None

    def __init__(self, task: Task) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = task.threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            _model(task), options, providers=["CPUExecutionProvider"]
        )
        self.feeds = [{"x": task.X[rows]} for rows in task.batches()]

    def run(self, epochs: int) -> None:
        call = self.session.run
        for _ in range(epochs):
            for feed in self.feeds:
                (self.output,) = call(None, feed)

    def result(self) -> Array:
        return self.output


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
