"""Checks of single arguments; each error names the argument, what it must be, and what it was."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np

from pycnn.exceptions import DataError, DataTypeError, ShapeError, UnknownNameError

if TYPE_CHECKING:
    from pycnn._typing import Array

__all__ = [
    "LARGEST",
    "Settings",
    "check_bool",
    "check_choice",
    "check_fits",
    "check_real",
    "check_shape",
    "check_size",
    "find_not_finite",
    "look_up",
    "suggest",
]

T = TypeVar("T")

# What an index can be: no count of things that are there is larger.
LARGEST = sys.maxsize
# Of a sample: the rows, columns and channels of an image.
MOST_DIMENSIONS = 3
# Numbers that are looked at together: what marks them is as long.
LOOKED_AT = 1 << 20


def check_size(value: Any, name: str, at_least: int = 1) -> int:
    """Return `value` as an int from `at_least` to `LARGEST`.

    Raises
    ------
    DataTypeError
        If it is not an integer.
    DataError
        If it is out of bounds.
    """
    if type(value) is int and at_least <= value <= LARGEST:
        return value
    try:
        size = operator.index(value)
    except TypeError:
        raise DataTypeError(f"{name} must be an integer, got {value!r}") from None
    if isinstance(value, (bool, np.bool_)):
        raise DataTypeError(f"{name} must be an integer, got {value!r}")
    if not at_least <= size <= LARGEST:
        bound = f"at least {at_least}" if size < at_least else f"at most {LARGEST}"
        raise DataError(f"{name} must be {bound}, got {_shown(size)}")
    return size


def check_shape(value: Any, name: str, *, may_follow: bool = False) -> tuple[int, ...]:
    """Return a sample's shape as a tuple: that of `value` or, for an integer n, ``(n,)``.

    With `may_follow` one of the sizes may be -1.

    Raises
    ------
    DataTypeError, DataError
        If it is neither, has more than three sizes or none, or one of them is out of bounds.
    """
    sizes = (value,) if hasattr(value, "__index__") else value
    if not isinstance(sizes, (tuple, list)):
        raise DataTypeError(f"{name} must be an integer or a tuple of integers, got {value!r:.80}")
    if not 1 <= len(sizes) <= MOST_DIMENSIONS:
        raise DataError(f"{name} must have 1 to {MOST_DIMENSIONS} sizes, got {value!r:.80}")
    if may_follow and (unknown := [size for size in sizes if type(size) is int and size == -1]):
        if len(unknown) > 1:
            raise DataError(f"{name} may have one -1, which follows from the rest, got {value!r}")
        return tuple(-1 if size == -1 else check_size(size, name) for size in sizes)
    shape = tuple(check_size(size, name) for size in sizes)
    check_fits(math.prod(shape), f"{name}: a sample of shape {shape}")
    return shape


def is_open(shape: tuple[int | None, ...]) -> bool:
    """Tell whether samples of this shape are sequences of any length, whose first size is None."""
    return None in shape


def known(shape: tuple[int | None, ...]) -> int:
    """Return how many numbers there are: of sequences of any length at each position."""
    return math.prod([size for size in shape if size is not None])


def _shown(value: Any) -> str:
    """Return the repr of a number: Python refuses to write out an integer of many digits."""
    try:
        return repr(value)
    except ValueError:
        return f"an integer of {value.bit_length()} bits"


def check_fits(count: int, what: str) -> None:
    """Raise `ShapeError` where so many numbers, those of `what`, cannot be in memory."""
    if count > LARGEST // 8:
        raise ShapeError(f"{what} does not fit into memory")


def check_real(
    value: Any,
    name: str,
    *,
    above: float = -math.inf,
    at_least: float = -math.inf,
    at_most: float = math.inf,
) -> float:
    """Return `value` as a finite float within the bounds.

    Raises
    ------
    DataTypeError
        If it is not a real number.
    DataError
        If it is out of bounds, NaN or infinite.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise DataTypeError(f"{name} must be a number, got {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not (math.isfinite(number) and number > above and at_least <= number <= at_most):
        bounds = (("above", above), ("at least", at_least), ("at most", at_most))
        rules = [f"{word} {bound:g}" for word, bound in bounds if math.isfinite(bound)]
        raise DataError(f"{name} must be {' and '.join(['finite', *rules])}, got {_shown(value)}")
    return number


def check_bool(value: Any, name: str) -> bool:
    """Return `value` as a bool, or raise `DataTypeError`."""
    if value is True or value is False:
        return value
    if not isinstance(value, np.bool_):
        raise DataTypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


# ------------------------------------------------------------------ names


def suggest(name: str, valid: Iterable[str]) -> str:
    """Return ``"; did you mean 'relu'?"``, or nothing when no valid name is near."""
    import difflib

    names = {each.lower(): each for each in valid}
    # A longer one is near to none of them, and difflib takes many times a name's memory.
    near = difflib.get_close_matches(name[:100].lower(), names, n=1, cutoff=0.5)
    return f"; did you mean {names[near[0]]!r}?" if near else ""


def look_up(name: Any, table: Mapping[str, T], what: str) -> T:
    """Return ``table[name]``, or raise `UnknownNameError` that lists what there is."""
    if isinstance(name, str) and name in table:
        return table[name]
    hint = suggest(name, table) if isinstance(name, str) else ""
    raise UnknownNameError(f"{what} must be one of {', '.join(table)}; got {name!r}{hint}")


def check_choice(name: Any, valid: tuple[str, ...], what: str) -> str:
    """Return `name` when it is among `valid`, else raise `UnknownNameError`."""
    if type(name) is str and name in valid:
        return name
    return look_up(name, {v: v for v in valid}, what)


# ------------------------------------------------------------------ settings


class Settings:
    """Base of small immutable objects that are nothing but their settings.

    `repr` rebuilds the object, and objects of one type and the same settings are equal. As frozen
    dataclasses are, but without code that is generated anew at each import.
    """

    def _settle(self, **settings: Any) -> None:
        """Keep the settings, from `__init__` and named as its arguments are."""
        vars(self).update(settings)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} cannot be changed; make a new one")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} cannot be changed; make a new one")

    def __repr__(self) -> str:
        settings = ", ".join(f"{key}={value!r}" for key, value in vars(self).items())
        return f"{type(self).__name__}({settings})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).items()))


def find_not_finite(array: Array) -> int:
    """Return the flat index of the first infinity or NaN, or the size when there is none."""
    flat = array.reshape(-1)
    for first in range(0, flat.size, LOOKED_AT):
        finite = np.isfinite(flat[first : first + LOOKED_AT])
        if not finite.all():
            return first + int(finite.argmin())
    return array.size
