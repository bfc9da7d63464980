"""Checks of single settings; each error names the argument, what it must be, and what it was."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pycnn.exceptions import DataError, DataTypeError

__all__ = ["check_bool", "check_real"]


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
        raise DataError(f"{name} must be {' and '.join(['finite', *rules])}, got {value!r}")
    return number


def check_bool(value: Any, name: str) -> bool:
    """Return `value` as a bool, or raise `DataTypeError`."""
    if not isinstance(value, (bool, np.bool_)):
        raise DataTypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)
