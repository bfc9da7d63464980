"""ONNX files, read: as those that pycnn wrote, or as what other programs export."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from pycnn import _plain, losses
from pycnn._architecture import Architecture
from pycnn._checks import check_choice
from pycnn._data.arrays import as_names
from pycnn._data.scaling import TargetScale
from pycnn._data.tokens import check_inputs
from pycnn._io.model_file import FAULTS, class_count, rebuilt, shown, unpack_classes
from pycnn._io.onnx.model import OnnxModel
from pycnn._io.onnx.writer import DTYPES, LAYOUTS, Graph, graph_bytes, graph_of
from pycnn.exceptions import DataTypeError, ModelFileError
from pycnn.layers import check_layers

__all__ = ["read_state"]


def read_state(source: Any) -> dict[str, Any]:
    """Return what `Network.__setstate__` takes, but for the backend; see `pycnn.from_onnx`."""
    if hasattr(source, "SerializeToString"):  # onnx.ModelProto
        source = source.SerializeToString()
    elif hasattr(source, "read"):
        source = source.read()
        if not isinstance(source, bytes):
            raise DataTypeError(f"path must be a file of bytes, but it reads {type(source)}")
    if isinstance(source, (bytes, bytearray, memoryview)):
        name, content = "the ONNX model", bytes(source)
    else:
        name = os.fsdecode(source)
        with open(name, "rb") as file:
            content = file.read()
    try:
        model = OnnxModel(content)
        state = _own(model, len(content))
        if state is None:
            from pycnn._io.onnx.foreign import state_of  # not needed for what pycnn wrote

            state = state_of(model)
    except FAULTS as error:
        raise ModelFileError(f"{name} {shown(error)}") from None
    return state


def _own(model: OnnxModel, size: int) -> dict[str, Any] | None:
    """Return the state of a network that pycnn has written; None: others have, or have changed it.

    The metadata say which layers there are. What is written of them with 1, 2, ... for parameters
    tells where in the file each parameter is; with these all must be written as it is there.
    """
    try:
        given = _plain.from_text(model.metadata["pycnn"], size)
        layers = check_layers(rebuilt(given["layers"]))
        loss = losses.from_config(given["loss"], layers[-1].activation)
        architecture = Architecture(check_inputs(given["inputs"]), layers, loss)
        count = architecture.parameter_count + architecture.statistic_count
        room = sum(array.size for array in model.arrays.values())
        if count > room:
            return None
        scale = given["target_scale"]
        if scale is not None:
            scale = TargetScale.check(scale, architecture.output_shape[-1])
        layout = check_choice(given["layout"], LAYOUTS, "layout")
        dtype = check_choice(given["dtype"], tuple(DTYPES), "dtype")

        def written(theta: Any) -> Graph:
            return graph_of(architecture, theta, Graph(dtype, model.opset, room), layout, scale)

        theta = np.zeros(count)
        for name, places in written(np.arange(1.0, count + 1)).arrays.items():
            if name.startswith("layers."):
                there = places > 0  # 0: what is no parameter
                theta[places[there].astype(np.intp) - 1] = model.arrays[name][there]
        if graph_bytes(written(theta), architecture, layout) != model.graph:
            return None
        classes, names = given["classes"], given["feature_names"]
        classes_there = class_count(losses.name_of(loss), architecture.output_shape[-1])
        return {
            **{name: given[name] for name in ("inputs", "layers")},
            "loss": losses.to_config(loss),
            "seed": 0,
            "classes": None if classes is None else unpack_classes(classes, classes_there),
            "feature_names": None if names is None else as_names(names, architecture.inputs),
            "target_scale": scale,
            "epochs_trained": 0,
            "metadata": {},
            "parameters": theta,
        }
    except FAULTS:
        return None
