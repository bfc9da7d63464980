"""Safetensors files: reading, with every size checked before any memory is asked for; writing.

The format: eight bytes with the header's length, the header as JSON, and the tensors' bytes, one
after the other without gaps; all numbers little-endian. What is written are the very bytes that the
library of that name writes.
"""

from __future__ import annotations

import json
import math
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from pycnn._plain import parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pycnn._typing import AnyArray

__all__ = ["read", "write"]

# In the order of the tensors in a file: each begins where its numbers are aligned.
_DTYPES = {
    name: np.dtype(f"<{code}")
    for name, code in (
        *(("U64", "u8"), ("I64", "i8"), ("F64", "f8")),
        *(("F32", "f4"), ("U32", "u4"), ("I32", "i4")),
        *(("F16", "f2"), ("U16", "u2"), ("I16", "i2")),
        *(("I8", "i1"), ("U8", "u1"), ("BOOL", "?")),
    )
}
_BFLOAT16 = np.dtype("V2")  # the upper halves of float32, which NumPy does not have
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_RANKS = {name: rank for rank, name in enumerate(_DTYPES)}
_LONGEST_HEADER = 100_000_000  # bytes that the library reads
_MOST_DIMENSIONS = 32  # of an array in NumPy 1
_LARGEST = 1 << 40  # bytes of a file; also where a dimension takes none, in an empty array


def write(tensors: Mapping[str, AnyArray], metadata: Mapping[str, str]) -> list[Any]:
    """Return the bytes of a file: those of its header, and what each tensor lends, by its order.

    Raises
    ------
    ValueError
        If no such file could be read.
    """
    little = {
        name: np.asarray(tensor, tensor.dtype.newbyteorder("<"), order="C")
        for name, tensor in tensors.items()
    }
    unknown = [name for name, tensor in little.items() if tensor.dtype not in _NAMES]
    if unknown:
        raise ValueError(f"the tensor {unknown[0]} has the dtype {little[unknown[0]].dtype}")
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    content, at = [], 0
    for name in sorted(little, key=lambda name: (_RANKS[_NAMES[little[name].dtype]], name)):
        tensor = little[name]
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [at, at + tensor.nbytes],
        }
        at += tensor.nbytes
        content.append(tensor.reshape(-1).view(np.uint8))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    _read_header(text, 8 + len(text) + at)
    return [len(text).to_bytes(8, "little") + text, *content]


def read(
    file: IO[bytes], size: int, bfloat16: bool = False
) -> tuple[dict[str, str], dict[str, AnyArray], list[Any]]:
    """Return the metadata and the tensors of a file of `size` bytes, and its bytes as they lie.

    Tensors of bfloat16 are refused, or widened to float32.

    Raises
    ------
    ValueError
        If it is not an intact safetensors file.
    """
    length = file.read(8)
    start = 8 + int.from_bytes(length, "little")
    if not 8 < start <= size:
        raise ValueError("it is too short for its header")
    header = file.read(min(start - 8, _LONGEST_HEADER + 1))
    metadata, places = _read_header(header, size, bfloat16)
    content = bytearray(size - start)
    if file.readinto(content) != len(content):  # type: ignore[attr-defined]
        raise ValueError("it became shorter while it was read")
    tensors = {
        name: np.frombuffer(content, dtype, math.prod(shape), begin)
        .reshape(shape)
        .astype(dtype.newbyteorder("="), copy=False)
        for name, (begin, _, dtype, shape) in places.items()
    }
    for name, tensor in tensors.items():
        if tensor.dtype == _BFLOAT16:
            bits = tensor.view("<u2").astype(np.uint32) << np.uint32(16)
            tensors[name] = bits.view(np.float32)
    return metadata, tensors, [length + header, content]


def _read_header(
    header: bytes, size: int, bfloat16: bool = False
) -> tuple[dict[str, str], dict[str, tuple[int, int, np.dtype[Any], list[int]]]]:
    """Return the metadata, and the places of the tensors, of a file of `size` bytes."""
    if len(header) > _LONGEST_HEADER:
        raise ValueError(f"its header is longer than {_LONGEST_HEADER:,} bytes")
    if not header.startswith(b"{"):
        raise ValueError("its header is no JSON object")
    entries = parse(header.decode("utf-8"), size)
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("its metadata are not texts")
    places = {name: _place(name, entry, bfloat16) for name, entry in entries.items()}
    at = 0
    for begin, end in sorted((begin, end) for begin, end, _, _ in places.values()):
        if begin != at:
            raise ValueError("its tensors do not lie one behind the other")
        at = end
    if at != size - 8 - len(header):
        raise ValueError("it has more or fewer bytes than its tensors")
    return metadata, places


def _place(name: str, entry: Any, bfloat16: bool) -> tuple[int, int, np.dtype[Any], list[int]]:
    """Return where a tensor begins and ends, its dtype and its shape."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"its tensor {name} is not described")
    dtype = _DTYPES.get(str(entry["dtype"]))
    if bfloat16 and entry["dtype"] == "BF16":
        dtype = _BFLOAT16
    shape, offsets = entry["shape"], entry["data_offsets"]
    if dtype is None:
        raise ValueError(f"its tensor {name} has the dtype {entry['dtype']}")
    if (
        not (_are_sizes(shape) and len(shape) <= _MOST_DIMENSIONS)
        or not (_are_sizes(offsets) and len(offsets) == 2)
        or math.prod(shape) * dtype.itemsize != offsets[1] - offsets[0]
    ):
        raise ValueError(f"its tensor {name} does not have the size of its shape")
    return offsets[0], offsets[1], dtype, shape


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n <= _LARGEST for n in value)
