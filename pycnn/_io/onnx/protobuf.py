"""Protobuf's wire format, in which ONNX files are: a message is fields, each with its number."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    # An integer, or the bytes of whatever else it is.
    Value = int | memoryview

__all__ = ["bytes_of", "field", "integers", "read", "text"]


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1  # negative ones as two's complement
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes((*out, number))


def field(number: int, *values: int | float | str | bytes) -> bytes:
    """Return a field with each of the values: floats are of 32 bits, messages are bytes."""
    out = []
    for value in values:
        if isinstance(value, int):
            out += [_varint(number << 3), _varint(value)]
        elif isinstance(value, float):
            out += [_varint(number << 3 | 5), struct.pack("<f", value)]
        else:
            content = value.encode() if isinstance(value, str) else value
            out += [_varint(number << 3 | 2), _varint(len(content)), content]
    return b"".join(out)


def _take(data: memoryview, at: int) -> tuple[int, int]:
    """Return the integer that begins at a byte, and where it ends."""
    number = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("an integer that does not end")
        byte = data[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            break
    number &= (1 << 64) - 1
    return number - (number >> 63 << 64), at


def read(data: memoryview) -> dict[int, list[Value]]:
    """Return a message's values by the numbers of their fields, or raise `ValueError`."""
    found: dict[int, list[Value]] = {}
    at = 0
    while at < len(data):
        key, at = _take(data, at)
        kind, size = key & 7, 0
        if kind == 0:
            value, at = _take(data, at)
            found.setdefault(key >> 3, []).append(value)
            continue
        if kind == 2:
            size, at = _take(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field of kind {kind}")
        if not 0 <= size <= len(data) - at:
            raise ValueError("a field that is longer than what it is in")
        found.setdefault(key >> 3, []).append(data[at : at + size])
        at += size
    return found


def integers(values: Iterable[Value]) -> list[int]:
    """Return integers that are fields of their own, or packed."""
    found = []
    for value in values:
        if isinstance(value, int):
            found.append(value)
            continue
        at = 0
        while at < len(value):
            number, at = _take(value, at)
            found.append(number)
    return found


def bytes_of(value: Value) -> memoryview:
    """Return what must not be an integer."""
    if isinstance(value, int):
        raise ValueError("an integer where a message or a text should be")
    return value


def text(value: Value) -> str:
    """Return what is a text, in UTF-8."""
    return bytes(bytes_of(value)).decode()
