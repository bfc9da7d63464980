"""Plain data as text: JSON that one program writes and reads, so there is one way to write a thing.

Whatever `to_text` accepts `from_text` reads, wherever it is called from, and nothing else: no NaN,
no key twice, no nesting that would exhaust a stack, and no small text that asks for much memory.
"""

from __future__ import annotations

import json
import sys
from typing import Any

__all__ = ["from_text", "parse", "to_text"]

# JSON's own recursion, `copy.deepcopy`'s and pickle's reach this far from any depth of the stack.
MOST_NESTED = 100
# Bytes that CPython takes for what begins or ends with these characters: an object with its table,
# a list, half a string, a key's place in a table, a number with its place in a list.
_COSTS = {"{": 272, "[": 96, '"': 32, ":": 56, ",": 40}
# Memory for the objects behind a text: so much in any case, and so much for each byte of a file.
FREE, PER_BYTE = 40 << 20, 10


def to_text(value: Any) -> str:
    """Return plain data (dicts with string keys, lists, strings, finite numbers, None) as JSON.

    Raises
    ------
    ValueError
        If it holds anything that would not come back as it is.
    """
    try:
        text = json.dumps(value, sort_keys=True, allow_nan=False)
        _check_depth(value)
        if json.loads(text) != value:
            raise ValueError("keys must be strings, and sequences lists")
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    return text


def from_text(text: str, size: int) -> Any:
    """Return what `to_text` has made `text` of, in a file of `size` bytes.

    Raises
    ------
    ValueError
        If it did not.
    """
    value = parse(text, size)
    _check_depth(value)
    if json.dumps(value, sort_keys=True, allow_nan=False) != text:
        raise ValueError("JSON that is not written as pycnn writes it")
    return value


def parse(text: str, size: int) -> Any:
    """Return what any JSON text in a file of `size` bytes stands for, or raise `ValueError`."""
    cost = sys.getsizeof(text) + sum(text.count(mark) * cost for mark, cost in _COSTS.items())
    if cost > FREE + PER_BYTE * size:
        raise ValueError(f"JSON that would take {cost:,} bytes of memory, of a file of {size:,}")
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("JSON that is nested too deep") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("JSON with a key that is there twice")
    return found


def _check_depth(value: Any) -> None:
    """Raise `ValueError` where lists and dicts are nested too deep; not by recursion."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(MOST_NESTED):
        inner = [outer.values() if isinstance(outer, dict) else outer for outer in level]
        level = [item for items in inner for item in items if isinstance(item, (dict, list))]
        if not level:
            return
    raise ValueError(f"nothing may be nested more than {MOST_NESTED} deep")
