"""Checks of single settings; each error names the argument, what it must be, and what it was."""

from __future__ import annotations

import math
import operator
import sys
from typing import Any

import numpy as np

from pycnn.exceptions import DataError, DataTypeError, ShapeError

__all__ = ["LARGEST", "check_bool", "check_fits", "check_real", "check_size"]

# What an index can be: no count of things that are there is larger.
LARGEST = sys.maxsize


def check_size(value: Any, name: str, at_least: int = 1) -> int:
    """Return `value` as an int from `at_least` to `LARGEST`.

    Raises
    ------
    DataTypeError
        If it is not an integer.
    DataError
        If it is out of bounds.
    """
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
    if not isinstance(value, (bool, np.bool_)):
        raise DataTypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)
