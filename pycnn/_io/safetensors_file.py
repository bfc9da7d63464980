"""Reading safetensors files, with every size checked before any memory is asked for.

The format: eight bytes with the header's length, the header as JSON, and the tensors' bytes, one
after the other without gaps. Writing is left to the library of that name.
"""

from __future__ import annotations

import math
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from pycnn._plain import parse

if TYPE_CHECKING:
    from pycnn._typing import AnyArray

__all__ = ["read"]

_DTYPES = {
    "BOOL": np.dtype("?"),
    **{f"I{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"U{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
}
_MOST_DIMENSIONS = 32  # of an array in NumPy 1
_LARGEST = 1 << 40  # bytes of a file; also where a dimension takes none, in an empty array


def read(file: IO[bytes], size: int) -> tuple[dict[str, str], dict[str, AnyArray]]:
    """Return the metadata and the tensors of a file of `size` bytes.

    Raises
    ------
    ValueError
        If it is not an intact safetensors file.
    """
    start = 8 + int.from_bytes(file.read(8), "little")
    if not 8 < start <= size:
        raise ValueError("it is too short for its header")
    header = file.read(start - 8)
    if not header.startswith(b"{"):
        raise ValueError("its header is no JSON object")
    entries = parse(header.decode("utf-8"), size)
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("its metadata are not texts")
    places = {name: _place(name, entry) for name, entry in entries.items()}
    at = 0
    for begin, end in sorted((begin, end) for begin, end, _, _ in places.values()):
        if begin != at:
            raise ValueError("its tensors do not lie one behind the other")
        at = end
    if at != size - start:
        raise ValueError("it has more or fewer bytes than its tensors")
    content = bytearray(size - start)
    if file.readinto(content) != len(content):  # type: ignore[attr-defined]
        raise ValueError("it became shorter while it was read")
    tensors = {
        name: np.frombuffer(content, dtype, math.prod(shape), begin).reshape(shape)
        for name, (begin, _, dtype, shape) in places.items()
    }
    return metadata, tensors


def _place(name: str, entry: Any) -> tuple[int, int, np.dtype[Any], list[int]]:
    """Return where a tensor begins and ends, its dtype and its shape."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"its tensor {name} is not described")
    dtype = _DTYPES.get(str(entry["dtype"]))
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
