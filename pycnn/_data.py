"""What users hand in becomes what the backends read, or a clear exception. Nothing else checks."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pycnn import _random, losses
from pycnn._checks import check_choice
from pycnn.exceptions import DataError, DataTypeError, LabelError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pycnn.backend.interface import Data

    Array = NDArray[np.float64]
    Finder = Callable[[Array], int]

_FLOAT64 = np.dtype(np.float64)
# Numbers that one call of NumPy's takes: some milliseconds, between which Ctrl-C is answered.
AT_A_TIME = 1 << 20
# Sample weights between these can be multiplied with a loss, and learning rates divided by their
# sums, without leaving the numbers that float64 has with all digits.
LEAST_WEIGHT, MOST_WEIGHT = 1e-250, 1e250


def _asarray(value: Any, name: str) -> NDArray[Any]:
    """Return `value` as an array, what is masked as it lies there."""
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as error:
        raise ShapeError(f"{name} must be a regular array: {error}") from None


def as_numbers(value: Any, name: str) -> Array:
    """Return `value` as contiguous, aligned float64, converted only if need be.

    What has a real value is converted, such as `decimal.Decimal`; a gap (None, pandas' NA and NaT)
    becomes NaN.
    """
    if type(value) is np.ndarray and value.dtype is _FLOAT64:
        flags = value.flags
        if flags.c_contiguous and flags.aligned:
            return value
    array = _asarray(value, name)
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        where = np.argwhere(np.ma.getmaskarray(value))[0]
        raise DataError(f"{name} must have all its values, but is masked{place_of(where)}")
    names = column_names(value)
    if array.dtype.kind in "US" and not hasattr(value, "dtype"):
        array = np.asarray(value, dtype=object)  # the texts among its numbers
    if array.dtype.kind == "O":
        array = _real_values(array, name, names)
    if array.dtype.kind not in "biuf":
        place = "" if names is None else place_of((0, 0), names)
        raise DataTypeError(f"{name} must hold real numbers, got dtype {array.dtype}{place}")
    with np.errstate(over="ignore"):  # what overflows to infinity is refused as such
        if array.ndim == 0 or array.size <= AT_A_TIME:
            return np.require(array, np.float64, ["C", "A"])
        if array.dtype == _FLOAT64 and array.flags.c_contiguous and array.flags.aligned:
            return array
        numbers = np.empty(array.shape)
        rows = max(1, AT_A_TIME * len(array) // array.size)
        for first in range(0, len(array), rows):
            numbers[first : first + rows] = array[first : first + rows]
        return numbers


# What `float` takes, but is no real number.
_NOT_REAL = (str, bytes, complex, np.datetime64, np.timedelta64, np.complexfloating)


def _real_values(array: NDArray[Any], name: str, columns: tuple[str, ...] | None) -> Array:
    """Return Python objects as numbers; the first that is none is named with its place."""
    try:
        if not any(isinstance(item, _NOT_REAL) for item in array.flat):
            return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        pass
    numbers = np.empty(array.shape)
    for where, item in np.ndenumerate(array):
        try:
            if is_gap(item):
                item = np.nan
            if isinstance(item, _NOT_REAL):
                raise TypeError(type(item).__name__)
            numbers[where] = item
        except OverflowError:
            raise DataError(
                f"{name} must hold numbers that a float can hold, got {item!r:.40}"
                f"{place_of(where, columns)}"
            ) from None
        except (TypeError, ValueError):
            raise DataTypeError(
                f"{name} must hold numbers, got {item!r:.40} ({type(item).__name__})"
                f"{place_of(where, columns)}"
            ) from None
    return numbers


def is_gap(item: Any) -> bool:
    """Tell whether an object stands for a value that is missing: None, NaN, NaT, pandas' NA."""
    if item is None or type(item).__name__ == "NAType":
        return True
    try:
        return bool(item != item)
    except (TypeError, ValueError, ArithmeticError):
        return False


def place_of(where: Sequence[int], columns: tuple[str, ...] | None = None) -> str:
    """Return " at row 3, column 1 ('age')" for an index of an array."""
    words = (" at row ", ", column ")
    place = "".join(f"{word}{int(i)}" for word, i in zip(words, where, strict=False))
    if columns is None or len(where) != 2:
        return place
    return f"{place} ({columns[where[1]]!r})"


def find_not_finite(array: Array) -> int:
    """Return the flat index of the first infinity or NaN, or the size when there is none."""
    flat = array.reshape(-1)
    for first in range(0, flat.size, AT_A_TIME):
        finite = np.isfinite(flat[first : first + AT_A_TIME])
        if not finite.all():
            return first + int(finite.argmin())
    return array.size


def check_finite(
    array: Array, name: str, find: Finder = find_not_finite, columns: tuple[str, ...] | None = None
) -> None:
    """Raise `DataError` that says where the first NaN or infinity stands."""
    index = find(array)
    if index == array.size:
        return
    where = np.unravel_index(index, array.shape)
    what = "NaN" if np.isnan(array[where]) else "infinite"
    place = place_of([int(i) for i in where], columns)
    raise DataError(f"{name} must be finite, but is {what}{place}")


def as_values(value: Any, name: str, shape: tuple[int, ...]) -> Array:
    """Return `value` as finite numbers of exactly this shape."""
    array = as_numbers(value, name)
    if array.shape != shape:
        raise ShapeError(f"{name} must have shape {shape}, got {array.shape}")
    check_finite(array, name)
    return array


def as_matrix(value: Any, name: str, columns: int, find: Finder | None = find_not_finite) -> Array:
    """Return `value` as finite numbers of shape (at least 1, columns).

    ``find=None`` leaves it to the caller to see that they are finite.
    """
    array = as_numbers(value, name)
    if array.ndim != 2 or array.shape[1] != columns:
        hint = ""
        if array.shape == (columns,):
            hint = f"; a single sample is {name}.reshape(1, -1)"
        elif array.ndim == 1 and columns == 1:
            hint = f"; a single feature is {name}.reshape(-1, 1)"
        raise ShapeError(f"{name} must have shape (samples, {columns}), got {array.shape}{hint}")
    if not len(array):
        raise DataError(f"{name} must have at least one sample, got shape {array.shape}")
    names = column_names(value)
    if find is not None or names is not None:  # a frame's is told by the column's name
        check_finite(array, name, find or find_not_finite, names)
    return array


def as_weights(value: Any, name: str, rows: int) -> Array | None:
    """Return sample weights: None, or finite numbers >= 0 of shape (rows,)."""
    if value is None:
        return None
    weight = as_values(value, name, (rows,))
    if (weight < 0).any():
        raise DataError(f"{name} must be >= 0, but is {weight.min()} at row {weight.argmin()}")
    small = (weight > 0) & (weight < LEAST_WEIGHT)
    if small.any():
        row = int(small.argmax())
        raise DataError(
            f"{name} must be 0 or at least {LEAST_WEIGHT:g}, but is {weight[row]:g} at row {row}; "
            "all weights may be multiplied by one number, since only their ratios count"
        )
    with np.errstate(over="ignore"):
        if not weight.sum() <= MOST_WEIGHT:
            raise DataError(f"{name} must have a finite sum, of at most {MOST_WEIGHT:g}")
    return weight


def variation(y: Array, w: Array) -> Array:
    """Return each column's sum_i w_i (y_i - mean)^2, exactly 0 where it does not vary.

    Distances are taken from the value of the largest weight. Between near values they are exact:
    rounding neither makes up a spread nor hides a small one around a large mean.

    Parameters
    ----------
    y, w : ndarray of shape (rows, columns)
        Finite numbers, and weights >= 0.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        distance = np.where(w == 0, 0.0, y - np.take_along_axis(y, w.argmax(axis=0)[None], axis=0))
        mean = (w * distance).sum(axis=0) / np.where(w.any(axis=0), w.sum(axis=0), 1.0)
        sums: Array = (w * (distance - mean) ** 2).sum(axis=0)
    return np.where(np.isnan(sums), np.inf, sums)  # of finite numbers: an overflow


def check_measurable(data: Data, name: str) -> None:
    """Raise `DataError` where no sample has both a weight and a target: there is no mean."""
    counts = np.ones(data.rows, dtype=bool) if data.weight is None else data.weight > 0
    if not counts.any():
        raise DataError(f"{name} must have a sample of weight above 0; all of its weights are 0")
    if data.y.ndim == 2 and not (counts & ~np.isnan(data.y).all(axis=1)).any():
        raise DataError(f"{name} must have a target that was observed; all of its targets are NaN")


# ------------------------------------------------------------------ names of columns


def column_names(value: Any) -> tuple[str, ...] | None:
    """Return the names of a data frame's columns; None where they are not all text."""
    names = getattr(value, "column_names", None)  # PyArrow
    return _texts(getattr(value, "columns", None) if names is None else names)


def _texts(value: Any) -> tuple[str, ...] | None:
    try:
        items = tuple(value)
    except TypeError:
        return None
    if isinstance(value, str) or not all(isinstance(item, str) for item in items):
        return None
    return tuple(map(str, items))


def as_names(value: Any, count: int) -> tuple[str, ...]:
    """Return `value` as that many names of columns."""
    names = _texts(value)
    if names is None or len(names) != count:
        raise DataError(f"feature_names must be None or {count} strings, got {value!r:.200}")
    return names


def check_columns(value: Any, name: str, known: tuple[str, ...] | None) -> None:
    """Hold a data frame's columns to those that the network was trained on.

    Raises
    ------
    DataError
        If there are as many of them, but in another order or by other names.
    ShapeError
        If there are more or fewer.
    """
    names = None if known is None else column_names(value)
    if names is None or known is None or names == known:
        return
    if len(names) != len(known):
        parts = [f"{word} {_show_names(odd)}" for word, odd in _differences(names, known) if odd]
        raise ShapeError(
            f"{name} must have shape (samples, {len(known)}), the columns that the network was "
            f"trained on, got {len(names)} columns, {' and '.join(parts) or 'some of them twice'}"
        )
    place = next(i for i, (a, b) in enumerate(zip(names, known, strict=True)) if a != b)
    same = sorted(names) == sorted(known)
    hint = "; X[list(network.feature_names)] has them in that order" if same else ""
    raise DataError(
        f"{name} must have the columns that the network was trained on, in their order, "
        f"{_show_names(known)}, got {_show_names(names)}: column {place} is {names[place]!r}, and "
        f"was {known[place]!r}{hint}"
    )


def _differences(
    names: tuple[str, ...], known: tuple[str, ...]
) -> list[tuple[str, tuple[str, ...]]]:
    there, wanted = set(names), set(known)
    new = tuple(name for name in names if name not in wanted)
    return [("with", new), ("without", tuple(name for name in known if name not in there))]


def _show_names(names: tuple[str, ...]) -> str:
    shown = ", ".join(f"{name!r:.40}" for name in names[:10])
    return f"[{shown}{', ...' if len(names) > 10 else ''}]"


# ------------------------------------------------------------------ targets and class labels

MISSING = ("error", "mask")


def check_missing(value: Any) -> bool:
    """Tell whether NaN targets are such that have not been observed."""
    return check_choice(value, MISSING, "missing_targets") == "mask"


def is_one_hot(y: NDArray[Any]) -> bool:
    """Tell whether each row that was observed is a 1 among zeros, of at least two numbers."""
    if y.ndim != 2 or y.shape[1] < 2:
        return False
    row = y[0]  # tells most targets that are no classes at once
    if not (np.isnan(row).all() or (row == 0).sum() == len(row) - 1):
        return False
    y = y[~np.isnan(y).all(axis=1)]
    ones = y == 1
    return bool(len(y) and (ones.sum(axis=1) == 1).all() and (ones | (y == 0)).all())


class Targets(NamedTuple):
    """Encoded targets."""

    y: Array | NDArray[np.intp]  # (rows, n_L), or (rows,) class indices
    classes: NDArray[Any] | None  # the label of each class; None where targets are no classes


def encode_targets(
    value: Any,
    name: str,
    *,
    rows: int,
    units: int,
    loss: str,
    classes: NDArray[Any] | None,
    learn: bool,
    missing: bool = False,
) -> Targets:
    """Return targets as the loss wants them, and the classes that they show or were held to.

    Parameters
    ----------
    value : array-like
        Numbers, labels or one-hot rows.
    name : str
        What the user calls it.
    rows, units : int
        Shape that is asked for: one target for each row of X, n_L units.
    loss : str
        The network's loss.
    classes : ndarray of shape (classes,), or None
        The labels learned so far.
    learn : bool
        Whether labels may be learned from this `value`.
    missing : bool
        Whether a gap (NaN, None, NaT, NA, a masked value) is a target that was not observed, which
        becomes NaN, and not a mistake.
    """
    array, gaps = _read(value, name, losses.targets(loss) in ("numbers", "counts"))
    fill = _FILL.get(losses.targets(loss))
    if missing and (fill is None or loss == "custom"):
        raise DataError(
            f"missing_targets='mask' wants a loss that is a sum over the outputs, such as mse; "
            f"with {loss} a target is all of a row"
        )
    if not missing:
        _refuse_gap(value, name, gaps)
    if not array.size:
        raise DataError(f"{name} must have at least one sample, got shape {array.shape}")
    if array.ndim not in (1, 2) or len(array) != rows:
        raise ShapeError(
            f"{name} must have one target for each of the {rows} rows of its X, "
            f"got shape {array.shape}"
        )
    if gaps.any():
        return _encode_observed(array, gaps, fill, name, rows, units, loss, classes, learn)
    single = array.ndim == 1 or array.shape[1] == 1
    wanted = losses.targets(loss)
    if wanted == "classes" and single and (units > 1 or array.ndim == 1):
        return _encode_labels(array.ravel(), name, units, classes, learn)
    if wanted == "binary" and single and units == 1:
        return _encode_binary(array.ravel(), name, classes, learn)
    if wanted == "signs" and single and units == 1:
        return _encode_signs(array.ravel(), name, classes, learn)

    numbers = as_numbers(array, name)
    numbers = numbers.reshape(rows, -1)
    if numbers.shape[1] != units:
        labels = array.ndim == 1 and array.dtype.kind in "biu"
        hint = f"; classes are rows such as np.eye({units})[{name}]" if labels else ""
        raise ShapeError(f"{name} must have shape ({rows}, {units}), got {array.shape}{hint}")
    check_finite(numbers, name)
    if wanted == "numbers":
        return _numbers(numbers, loss, classes, learn)
    if wanted == "counts":
        if (numbers < 0).any():
            row = int((numbers < 0).any(axis=1).argmax())
            raise DataError(f"{name} must be >= 0 for {loss}; row {row} is not")
        return Targets(numbers, None)
    if wanted == "signs":
        wrong = np.abs(numbers) != 1
        if wrong.any():
            row = int(wrong.any(axis=1).argmax())
            raise DataError(f"{name} must be -1 or 1 for {loss}; row {row} is not")
        return Targets(numbers, None)
    if (numbers < 0).any() or (numbers > 1).any():
        row = int(((numbers < 0) | (numbers > 1)).any(axis=1).argmax())
        raise DataError(f"{name} must lie in [0, 1] for {loss}; row {row} does not")
    if wanted == "classes":
        sums = numbers.sum(axis=1)
        wrong = np.abs(sums - 1) > 1e-6
        if wrong.any():
            row = int(wrong.argmax())
            raise DataError(f"each row of {name} must add up to 1; row {row} gives {sums[row]:g}")
        return Targets(numbers, np.arange(units) if classes is None else classes)
    return Targets(numbers, None)


def _numbers(y: Array, loss: str, classes: NDArray[Any] | None, learn: bool) -> Targets:
    """Return numbers, which show classes where they are one-hot."""
    if not (losses.may_be_one_hot(loss) and is_one_hot(y)):
        return Targets(y, None)
    return Targets(y, np.arange(y.shape[1]) if classes is None and learn else classes)


# What a target that was not observed is taken for, until its place is NaN.
_FILL = {"numbers": 0.0, "counts": 0.0, "binary": 0.0, "signs": 1.0}


def _encode_observed(
    array: NDArray[Any],
    gaps: NDArray[np.bool_],
    fill: float | None,
    name: str,
    rows: int,
    units: int,
    loss: str,
    classes: NDArray[Any] | None,
    learn: bool,
) -> Targets:
    """Encode targets of which some were not observed: NaN, once the labels are known."""
    filled = array.copy()
    if losses.is_classification(loss) and units == 1:
        if gaps.all():
            return Targets(np.full((rows, 1), np.nan), classes)
        filled[gaps] = array[~gaps][0]  # a label that was observed: gaps add none
    else:
        filled = np.where(gaps, fill or 0.0, array) if _is_numeric(array) else array
    targets = encode_targets(
        filled, name, rows=rows, units=units, loss=loss, classes=classes, learn=learn
    )
    y = targets.y.astype(np.float64)
    y[gaps.reshape(y.shape)] = np.nan
    if losses.targets(loss) == "numbers":
        return _numbers(y, loss, classes, learn)
    return Targets(y, targets.classes)


def _labels(value: Any, name: str) -> NDArray[Any]:
    """Return an array of numbers, strings, bytes or dates without gaps."""
    array, gaps = _read(value, name)
    _refuse_gap(value, name, gaps)
    return array


def _refuse_gap(value: Any, name: str, gaps: NDArray[np.bool_]) -> None:
    if gaps.any():
        where = np.argwhere(gaps)[0]
        if isinstance(value, np.ma.MaskedArray):
            what = "masked"
        else:
            what = str(np.asarray(value)[tuple(where)]).replace("nan", "NaN")
        rule = "be finite" if what == "NaN" else "have no gaps"
        place = place_of(where, column_names(value))
        raise DataError(f"{name} must {rule}, but is {what}{place}")


def _read(value: Any, name: str, numbers: bool = False) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return an array of numbers, strings, bytes or dates, and where it has gaps.

    Objects become one of these, or only `numbers`; what stands in the gaps is of no account.
    """
    array = _asarray(value, name)
    if array.dtype.kind == "T":  # NumPy's variable-width strings
        array = array.astype(object)
    elif array.dtype.kind in "US" and not hasattr(value, "dtype"):
        array = np.asarray(value, dtype=object)  # NumPy turns the numbers among texts into text
    is_masked = isinstance(value, np.ma.MaskedArray)
    gaps: NDArray[np.bool_] = np.ma.getmaskarray(value) if is_masked else np.zeros((), np.bool_)
    if array.dtype.kind == "O":
        missing = np.fromiter(map(is_gap, array.flat), dtype=bool, count=array.size)
        gaps = gaps | missing.reshape(array.shape)
        names = column_names(value)
        if numbers:
            array = _real_values(np.where(gaps, 0, array), name, names)
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
    array: NDArray[Any], wanted: NDArray[np.bool_], name: str, columns: tuple[str, ...] | None
) -> NDArray[Any]:
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
    if not any(isinstance(item, (*kinds, *_NOT_REAL)) for item in items):
        try:
            numbers = np.array(items.tolist())
            if numbers.dtype.kind in "biuf" and numbers.shape == items.shape:
                return numbers
        except (ValueError, OverflowError):
            pass
        full = np.where(wanted, array, 0)
        return _real_values(full, name, columns)[wanted]
    found: dict[Any, int] = {}  # the first item of each kind
    others: tuple[type, ...] = (*kinds, *_NOT_REAL)
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


def _without_zone(items: NDArray[Any], name: str) -> NDArray[Any]:
    """Return moments with a time zone as those of UTC: NumPy's have none."""
    zoned = [getattr(item, "tzinfo", None) is not None for item in items]
    if not any(zoned):
        return items
    if not all(zoned):
        raise DataTypeError(f"{name} must not hold moments with a time zone and without one")
    moments = [item.astimezone(datetime.UTC).replace(tzinfo=None) for item in items]
    return np.array(moments, dtype=object)


def _is_numeric(array: NDArray[Any]) -> bool:
    return array.dtype.kind in "biuf"


def _show(labels: NDArray[Any]) -> str:
    shown = ", ".join(repr(item) for item in labels[:8].tolist())
    return shown + (", ..." if len(labels) > 8 else "")


def _encode_labels(
    labels: NDArray[Any], name: str, units: int, classes: NDArray[Any] | None, learn: bool
) -> Targets:
    """Return class indices for a softmax output."""
    if classes is None:
        classes = _find_classes(labels, name, units, learn)
    return Targets(_positions(labels, classes, name), classes)


def _find_classes(labels: NDArray[Any], name: str, units: int, learn: bool) -> NDArray[Any]:
    distinct = np.unique(labels)
    if _is_numeric(labels):
        are_indices = bool(
            ((distinct >= 0) & (distinct < units) & (distinct == np.floor(distinct))).all()
        )
        if are_indices:  # also when not every class occurs
            indices = np.arange(units)
            with np.errstate(over="ignore"):
                classes = indices.astype(labels.dtype)  # may be too narrow: uint8 for 300 units
            return classes if np.array_equal(classes, indices) else indices
    if len(distinct) != units:
        outside = f"outside 0 ... {units - 1} and " if _is_numeric(labels) else ""
        raise LabelError(
            f"{name} holds labels {outside}of {len(distinct)} classes ({_show(distinct)}), "
            f"but the output layer has {units} units"
        )
    if not learn:
        raise LabelError(
            f"{name} holds labels ({_show(distinct)}), but the network has learned no classes "
            f"yet: fit it first, or give class indices 0 ... {units - 1}"
        )
    return distinct


def _positions(labels: NDArray[Any], classes: NDArray[Any], name: str) -> NDArray[np.intp]:
    """Return where each label stands among the sorted classes."""
    if _is_numeric(labels) != _is_numeric(classes) or (
        not _is_numeric(labels) and labels.dtype.kind != classes.dtype.kind
    ):
        unknown = labels
    else:
        index = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
        unknown = labels[classes[index] != labels]
        if not len(unknown):
            return np.ascontiguousarray(index, dtype=np.intp)
    raise LabelError(
        f"{name} holds labels ({_show(np.unique(unknown))}) that are not among the network's "
        f"classes ({_show(classes)})"
    )


def _encode_binary(
    labels: NDArray[Any], name: str, classes: NDArray[Any] | None, learn: bool
) -> Targets:
    """Return 0/1 (or probabilities) of shape (rows, 1) for one sigmoid unit."""
    if _is_numeric(labels) and (classes is None or _is_numeric(classes)):
        values = as_numbers(labels, name)
        zero_one = classes is None or np.array_equal(classes.astype(np.float64), [0, 1])
        if zero_one and (values >= 0).all() and (values <= 1).all():
            if classes is None:
                hard = np.isin(values, (0, 1)).all()
                classes = np.array([0, 1]).astype(labels.dtype if hard else np.int64)
            return Targets(values.reshape(-1, 1), classes)
    if classes is None:
        classes = _two_classes(labels, name, learn, "values in [0, 1]", "0 and 1")
    positions = _positions(labels, classes, name)
    return Targets(positions.astype(np.float64).reshape(-1, 1), classes)


def _encode_signs(
    labels: NDArray[Any], name: str, classes: NDArray[Any] | None, learn: bool
) -> Targets:
    """Return -1 and 1 of shape (rows, 1) for one unit with the hinge loss."""
    if classes is None and _is_numeric(labels) and np.isin(labels, (-1, 1)).all():
        both = np.array([-1, 1])  # also where one of them does not occur
        classes = both.astype(labels.dtype) if labels.dtype.kind in "if" else both
    if classes is None:
        classes = _two_classes(labels, name, learn, "-1 and 1", "-1 and 1")
    signs = 2 * _positions(labels, classes, name).astype(np.float64) - 1
    return Targets(signs.reshape(-1, 1), classes)


def _two_classes(
    labels: NDArray[Any], name: str, learn: bool, values: str, pair: str
) -> NDArray[Any]:
    """Return the two labels, sorted."""
    classes = np.unique(labels)
    if len(classes) != 2:
        wanted = f"{values}, or labels of two classes"
        raise LabelError(f"{name} must hold {wanted}, got {_show(classes)}")
    if not learn:
        raise LabelError(
            f"{name} holds labels ({_show(classes)}), but the network has learned no classes "
            f"yet: fit it first, or give {pair}"
        )
    return classes


def check_classes(value: Any, units: int, loss: str, known: NDArray[Any] | None) -> NDArray[Any]:
    """Return the labels that `partial_fit`'s `classes` names, sorted; `known` are learned already.

    Raises
    ------
    DataError, LabelError
        If the loss has no classes, there are too few or too many, or others than the known ones.
    """
    labels = _labels(value, "classes")
    wanted = losses.targets(loss)
    if wanted not in ("classes", "binary", "signs") or (wanted != "classes" and units != 1):
        raise DataError(f"classes must be None for targets that are no labels, as for {loss}")
    count = units if wanted == "classes" else 2
    classes = np.unique(labels)
    if labels.ndim != 1 or len(labels) != count or len(classes) != count:
        raise LabelError(f"classes must be {count} different labels, got {_show(labels.ravel())}")
    if known is not None:
        if not np.array_equal(classes, known):
            raise LabelError(
                f"classes must be those that the network has learned ({_show(known)}), "
                f"got {_show(classes)}"
            )
        return known
    return classes


def class_weights(class_weight: Any, targets: Targets, loss: str, units: int) -> Array | None:
    """Return a weight for each row from weights for each class.

    `class_weight` is None, ``"balanced"`` (rows / (classes * rows of the class)), or a mapping
    from labels to weights >= 0, in which absent labels weigh 1.
    """
    if class_weight is None:
        return None
    if targets.classes is None:
        raise DataError("class_weight needs targets that are classes, one for each sample")
    if targets.y.ndim == 1:
        index = targets.y
    elif units == 1:
        index = (targets.y[:, 0] > 0.5).astype(np.intp)
    else:
        index = targets.y.argmax(axis=1)
    classes = targets.classes
    if isinstance(class_weight, str) and class_weight == "balanced":
        observed = index if targets.y.ndim == 1 else index[~np.isnan(targets.y).all(axis=1)]
        counts = np.bincount(observed, minlength=len(classes))
        by_class = len(observed) / (len(classes) * np.maximum(counts, 1))
    elif hasattr(class_weight, "items"):
        by_class = np.ones(len(classes))
        known = {label: i for i, label in enumerate(classes.tolist())}
        for label, weight in class_weight.items():
            if label not in known:
                raise LabelError(
                    f"class_weight names {label!r}, which is not among the classes "
                    f"({_show(classes)})"
                )
            by_class[known[label]] = as_values(weight, f"class_weight[{label!r}]", ())
        if (by_class < 0).any():
            raise DataError("class_weight must be >= 0 for every class")
    else:
        raise DataTypeError(
            "class_weight must be None, 'balanced' or a mapping from labels to weights, "
            f"got {class_weight!r}"
        )
    return as_weights(by_class[index].astype(np.float64), "class_weight", len(index))


def check_share(value: Any) -> float:
    """Return `validation_split` as a float in [0, 1)."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise DataTypeError(f"validation_split must be a number, got {value!r}")
    if not 0 <= value < 1:
        raise DataError(f"validation_split must be at least 0 and below 1, got {value!r}")
    return float(value)


def split_rows(rows: int, share: float, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows to train on and those to hold out, drawn by the seed, each in order."""
    count = max(1, round(rows * share))
    if count >= rows:
        raise DataError(f"validation_split={share} leaves none of the {rows} samples to train on")
    keys = _random.generator(seed, _random.SPLITTING).random_raw(rows)
    order = np.argsort(keys, kind="stable")
    return np.sort(order[count:]), np.sort(order[:count])
