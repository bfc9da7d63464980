"""What an ONNX file holds: its nodes, its arrays, its metadata; nothing is understood yet."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pycnn._io.onnx.protobuf import bytes_of, integers, read, text
from pycnn.exceptions import ModelFileError

if TYPE_CHECKING:
    from pycnn._typing import AnyArray

__all__ = ["MLDOMAIN", "Info", "Node", "OnnxModel", "number_of"]

# The numbers of ONNX's types: their dtypes, and the field where values may stand that are not raw.
_TYPES = {
    1: ("<f4", 4),
    2: ("u1", 5),
    3: ("i1", 5),
    4: ("<u2", 5),
    5: ("<i2", 5),
    6: ("<i4", 5),
    7: ("<i8", 7),
    9: ("?", 5),
    10: ("<f2", 5),
    11: ("<f8", 10),
    12: ("<u4", 11),
    13: ("<u8", 11),
}
STRING = 8
MLDOMAIN = "ai.onnx.ml"
MOST_AXES = 8


class Info(NamedTuple):
    """An input or an output of the graph."""

    name: str
    type: int  # 0: no tensor
    shape: list[int | None]  # None: any size


class Node(NamedTuple):
    """An operation."""

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    given: dict[str, Any]  # its attributes

    def __str__(self) -> str:
        return f"node {self.name or self.outputs[:1] or '?'!r} ({self.op})"


def number_of(value: float) -> float:
    """Return the number that somebody has written down, where 32 bits of it are left."""
    return float(str(np.float32(value)))


def _tensor(data: memoryview) -> tuple[str, AnyArray]:
    """Return name and values of a TensorProto: bools, or numbers as float64 or int64."""
    own = read(data)
    name = text(own[8][-1]) if 8 in own else ""
    if integers(own.get(14, [])) == [1] or 13 in own:
        raise ModelFileError(
            f"has the array {name!r} in another file: one file of all is what torch.onnx.export "
            "writes with external_data=False, or onnx.save(onnx.load(path), new_path)"
        )
    shape, (code,) = integers(own.get(1, [])), integers(own.get(2, [0]))[-1:]
    size = math.prod(shape)
    if len(shape) > MOST_AXES or min([0, *shape]) < 0:
        raise ValueError(f"{name!r} has the shape {shape}")
    if code == STRING:
        texts = [text(value) for value in own.get(6, [])]
        if len(texts) != size:
            raise ValueError(f"{name!r} has {len(texts)} texts in the shape {shape}")
        return name, np.array(texts, object).reshape(shape)
    if code not in _TYPES:
        raise ModelFileError(f"has the array {name!r} of a type that pycnn does not read: {code}")
    dtype, place = np.dtype(_TYPES[code][0]), _TYPES[code][1]
    if 9 in own:
        values = np.frombuffer(bytes_of(own[9][-1]), dtype)
    elif place in (4, 10):
        values = np.frombuffer(b"".join(map(bytes_of, own.get(place, []))), dtype)
    else:
        numbers = np.array(integers(own.get(place, [])), np.int64)
        # Halves are there as their bits.
        values = numbers.astype("<u2").view(dtype) if code == 10 else numbers.astype(dtype)
    if values.size != size:
        raise ValueError(f"{name!r} has {values.size} numbers in the shape {shape}")
    with np.errstate(all="ignore"):
        wide: AnyArray = values.astype({"f": np.float64, "b": np.bool_}.get(dtype.kind, np.int64))
    return name, wide.reshape(shape)


def _attribute(data: memoryview) -> tuple[str, Any]:
    own = read(data)
    name, (kind,) = text(own[1][-1]), integers(own.get(20, [0]))[-1:]
    if kind == 1 or (not kind and 2 in own):
        return name, number_of(np.frombuffer(bytes_of(own[2][-1]), "<f4")[0])
    if kind == 2 or (not kind and 3 in own):
        return name, integers(own.get(3, [0]))[-1]
    if kind == 3 or (not kind and 4 in own):
        return name, text(own[4][-1]) if 4 in own else ""
    if kind == 4 or (not kind and 5 in own):
        return name, _tensor(bytes_of(own[5][-1]))[1]
    if kind == 6 or (not kind and 7 in own):
        floats = np.frombuffer(b"".join(map(bytes_of, own.get(7, []))), "<f4")
        return name, [number_of(value) for value in floats]
    if kind == 7 or (not kind and 8 in own):
        return name, integers(own.get(8, []))
    if kind == 8 or (not kind and 9 in own):
        return name, [text(value) for value in own.get(9, [])]
    return name, None  # a graph, or a type: no operation that is read has one


def _node(data: memoryview) -> Node:
    own = read(data)
    inputs, outputs = ([text(value) for value in own.get(n, [])] for n in (1, 2))
    op, name, domain = (text(own[n][-1]) if n in own else "" for n in (4, 3, 7))
    given = dict(_attribute(bytes_of(value)) for value in own.get(5, []))
    if domain not in ("", "ai.onnx", MLDOMAIN):
        op = f"{domain}.{op}"
    return Node(op, name, inputs, outputs, given)


def _info(data: memoryview) -> Info:
    own = read(data)
    name = text(own[1][-1])
    kind = read(bytes_of(own[2][-1])) if 2 in own else {}
    if 1 not in kind:
        return Info(name, 0, [])
    tensor = read(bytes_of(kind[1][-1]))
    shape: list[int | None] = []
    for part in read(bytes_of(tensor[2][-1])).get(1, []) if 2 in tensor else []:
        size = read(bytes_of(part)).get(1, [0])[-1]
        shape.append(size if isinstance(size, int) and size > 0 else None)
    return Info(name, integers(tensor.get(1, [0]))[-1], shape)


class OnnxModel:
    """A file's content.

    Attributes
    ----------
    nodes : list of Node
    arrays : dict
        The graph's own, by name.
    inputs, outputs : list of Info
    opset : int
        Of ONNX's own operations.
    metadata : dict
    graph : memoryview
        The bytes of the graph.

    Raises
    ------
    ModelFileError, ValueError, LookupError
        If it is no such file.
    """

    def __init__(self, content: bytes) -> None:
        own = read(memoryview(content))
        if 7 not in own:
            raise ModelFileError("is no ONNX model: it has no graph")
        if 25 in own:
            raise ModelFileError("has functions of its own, which pycnn does not read")
        self.graph = bytes_of(own[7][-1])
        self.opset = 0
        for part in own.get(8, []):
            entry = read(bytes_of(part))
            if 1 not in entry or text(entry[1][-1]) in ("", "ai.onnx"):
                self.opset = integers(entry.get(2, [0]))[-1]
        self.metadata: dict[str, str] = {}
        for part in own.get(14, []):
            entry = read(bytes_of(part))
            self.metadata[text(entry[1][-1])] = text(entry[2][-1]) if 2 in entry else ""
        graph = read(self.graph)
        if 15 in graph:
            raise ModelFileError("has sparse arrays, which pycnn does not read")
        self.arrays = dict(_tensor(bytes_of(part)) for part in graph.get(5, []))
        self.nodes = [_node(bytes_of(part)) for part in graph.get(1, [])]
        infos = [[_info(bytes_of(part)) for part in graph.get(n, [])] for n in (11, 12)]
        # Before opset 9 arrays are inputs too.
        self.inputs = [info for info in infos[0] if info.name not in self.arrays]
        self.outputs = infos[1]
