"""Looking up what users name, and the nearest valid name where they mistype it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pycnn.exceptions import UnknownNameError

T = TypeVar("T")


def suggest(name: str, valid: Iterable[str]) -> str:
    """Return ``"; did you mean 'relu'?"``, or nothing when no valid name is near."""
    import difflib

    # A longer one is near to none of them, and difflib takes many times a name's memory.
    near = difflib.get_close_matches(name[:100].lower(), list(valid), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def look_up(name: Any, table: Mapping[str, T], what: str) -> T:
    """Return ``table[name]``, or raise `UnknownNameError` that lists what there is."""
    if isinstance(name, str) and name in table:
        return table[name]
    hint = suggest(name, table) if isinstance(name, str) else ""
    raise UnknownNameError(f"{what} must be one of {', '.join(table)}; got {name!r}{hint}")


def check_choice(name: Any, valid: tuple[str, ...], what: str) -> str:
    """Return `name` when it is among `valid`, else raise `UnknownNameError`."""
    return look_up(name, {v: v for v in valid}, what)
