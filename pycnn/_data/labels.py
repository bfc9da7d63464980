"""Labels of classes: numbers, strings, bytes or dates, all of one type; where they have gaps."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn._data.arrays import (
    NOT_REAL,
    as_array,
    check_finite,
    column_names,
    is_gap,
    place_of,
    real_values,
)
from pycnn.exceptions import DataError, DataTypeError, LabelError

if TYPE_CHECKING:
    from pycnn._typing import AnyArray, Flags, Indices


def as_labels(value: Any, name: str) -> AnyArray:
    """Return an array of numbers, strings, bytes or dates without gaps."""
    array, gaps = read_labels(value, name)
    refuse_gap(value, name, gaps)
    return array


def refuse_gap(value: Any, name: str, gaps: Flags) -> None:
    """Raise `DataError` that says where the first gap is."""
    if gaps.any():
        where = np.argwhere(gaps)[0]
        if isinstance(value, np.ma.MaskedArray):
            what = "masked"
        else:
            what = str(np.asarray(value)[tuple(where)]).replace("nan", "NaN")
        rule = "be finite" if what == "NaN" else "have no gaps"
        place = place_of(where, column_names(value))
        raise DataError(f"{name} must {rule}, but is {what}{place}")


def read_labels(value: Any, name: str, numbers: bool = False) -> tuple[AnyArray, Flags]:
    """Return an array of numbers, strings, bytes or dates, and where it has gaps.

    Objects become one of these, or only `numbers`; what stands in the gaps is of no account.
    """
    array = as_array(value, name)
    if array.dtype.kind == "T":  # NumPy's variable-width strings
        array = array.astype(object)
    elif array.dtype.kind in "US" and not hasattr(value, "dtype"):
        array = np.asarray(value, dtype=object)  # NumPy turns the numbers among texts into text
    is_masked = isinstance(value, np.ma.MaskedArray)
    gaps: Flags = np.ma.getmaskarray(value) if is_masked else np.zeros((), np.bool_)
    if array.dtype.kind == "O":
        missing = np.fromiter(map(is_gap, array.flat), dtype=bool, count=array.size)
        gaps = gaps | missing.reshape(array.shape)
        names = column_names(value)
        if numbers:
            array = real_values(np.where(gaps, 0, array), name, names)
        else:
            observed = _one_kind(array, ~gaps, name, names)
            array = np.zeros(array.shape, observed.dtype)
            array[~gaps] = observed
    elif array.dtype.kind == "f":
        gaps = gaps | np.isnan(array)
    elif array.dtype.kind in "mM":
        gaps = gaps | np.isnat(array)
    if array.dtype.kind not in "biufUSM":
        raise DataTypeError(f"{name} must hold numbers, strings or dates, got dtype {array.dtype}")
    if gaps.shape != array.shape:
        gaps = np.zeros(array.shape, dtype=bool)
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # longdouble
            known = np.where(gaps, 0, array) if gaps.any() else array
            check_finite(known.astype(np.float64, copy=False), name, columns=column_names(value))
    return array, gaps


def _one_kind(
    array: AnyArray, wanted: Flags, name: str, columns: tuple[str, ...] | None
) -> AnyArray:
    """Return some of an array of objects as labels of one type."""
    kinds: tuple[type, ...] = (str, bytes, datetime.date)
    items = array[wanted]
    if not items.size:
        return np.zeros(0)
    if all(isinstance(item, str) for item in items):
        return items.astype(str)
    if all(isinstance(item, bytes) for item in items):
        return items.astype(bytes)
    if all(isinstance(item, datetime.date) for item in items):
        return _without_zone(items, name).astype("datetime64")
    if all(isinstance(item, np.datetime64) for item in items):
        return items.astype("datetime64")
    if not any(isinstance(item, (*kinds, *NOT_REAL)) for item in items):
        try:
            numbers = np.array(items.tolist())
            if numbers.dtype.kind in "biuf" and numbers.shape == items.shape:
                return numbers
        except (ValueError, OverflowError):
            pass
        full = np.where(wanted, array, 0)
        return real_values(full, name, columns)[wanted]
    found: dict[Any, int] = {}  # the first item of each kind
    others: tuple[type, ...] = (*kinds, *NOT_REAL)
    for i, item in enumerate(items):
        found.setdefault(next((kind for kind in others if isinstance(item, kind)), None), i)
    places = np.argwhere(wanted)
    shown = " and ".join(
        f"{items[i]!r:.40} ({type(items[i]).__name__}){place_of(places[i], columns)}"
        for i in list(found.values())[:2]
    )
    raise DataTypeError(
        f"{name} must hold labels of one type: numbers, strings or dates; got {shown}"
    )


def _without_zone(items: AnyArray, name: str) -> AnyArray:
    """Return moments with a time zone as those of UTC: NumPy's have none."""
    zoned = [getattr(item, "tzinfo", None) is not None for item in items]
    if not any(zoned):
        return items
    if not all(zoned):
        raise DataTypeError(f"{name} must not hold moments with a time zone and without one")
    moments = [item.astimezone(datetime.UTC).replace(tzinfo=None) for item in items]
    return np.array(moments, dtype=object)


def is_numeric(array: AnyArray) -> bool:
    """Tell whether labels are numbers."""
    return array.dtype.kind in "biuf"


def show_labels(labels: AnyArray) -> str:
    """Return the first few labels, for a message."""
    shown = ", ".join(repr(item) for item in labels[:8].tolist())
    return shown + (", ..." if len(labels) > 8 else "")


def find_classes(labels: AnyArray, name: str, units: int, learn: bool) -> AnyArray:
    """Return `units` different labels, sorted; whole numbers below `units` stand for themselves."""
    distinct = np.unique(labels)
    if is_numeric(labels):
        are_indices = bool(
            ((distinct >= 0) & (distinct < units) & (distinct == np.floor(distinct))).all()
        )
        if are_indices:  # also when not every class occurs
            indices = np.arange(units)
            with np.errstate(over="ignore"):
                classes = indices.astype(labels.dtype)  # may be too narrow: uint8 for 300 units
            return classes if np.array_equal(classes, indices) else indices
    if len(distinct) != units:
        outside = f"outside 0 ... {units - 1} and " if is_numeric(labels) else ""
        raise LabelError(
            f"{name} holds labels {outside}of {len(distinct)} classes ({show_labels(distinct)}), "
            f"but the output layer has {units} units"
        )
    if not learn:
        raise LabelError(
            f"{name} holds labels ({show_labels(distinct)}), but the network has learned no "
            f"classes yet: fit it first, or give class indices 0 ... {units - 1}"
        )
    return distinct


def find_two_classes(labels: AnyArray, name: str, learn: bool, values: str, pair: str) -> AnyArray:
    """Return the two labels, sorted."""
    classes = np.unique(labels)
    if len(classes) != 2:
        wanted = f"{values}, or labels of two classes"
        raise LabelError(f"{name} must hold {wanted}, got {show_labels(classes)}")
    if not learn:
        raise LabelError(
            f"{name} holds labels ({show_labels(classes)}), but the network has learned no classes "
            f"yet: fit it first, or give {pair}"
        )
    return classes


def positions_of(labels: AnyArray, classes: AnyArray, name: str) -> Indices:
    """Return where each label stands among the sorted classes."""
    if is_numeric(labels) != is_numeric(classes) or (
        not is_numeric(labels) and labels.dtype.kind != classes.dtype.kind
    ):
        unknown = labels
    else:
        index = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
        unknown = labels[classes[index] != labels]
        if not len(unknown):
            return np.ascontiguousarray(index, dtype=np.intp)
    raise LabelError(
        f"{name} holds labels ({show_labels(np.unique(unknown))}) that are not among the network's "
        f"classes ({show_labels(classes)})"
    )
