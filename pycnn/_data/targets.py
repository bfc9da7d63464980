"""Targets and class labels: what users hand in becomes what the loss wants."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pycnn import losses
from pycnn._checks import check_choice
from pycnn._data.arrays import (
    NOT_REAL,
    as_array,
    as_numbers,
    as_values,
    as_weights,
    check_finite,
    column_names,
    is_gap,
    place_of,
    real_values,
)
from pycnn.exceptions import DataError, DataTypeError, LabelError, ShapeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

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


def as_labels(value: Any, name: str) -> NDArray[Any]:
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
    array = as_array(value, name)
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


def show_labels(labels: NDArray[Any]) -> str:
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
            f"{name} holds labels {outside}of {len(distinct)} classes ({show_labels(distinct)}), "
            f"but the output layer has {units} units"
        )
    if not learn:
        raise LabelError(
            f"{name} holds labels ({show_labels(distinct)}), but the network has learned no "
            f"classes yet: fit it first, or give class indices 0 ... {units - 1}"
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
        f"{name} holds labels ({show_labels(np.unique(unknown))}) that are not among the network's "
        f"classes ({show_labels(classes)})"
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
        raise LabelError(f"{name} must hold {wanted}, got {show_labels(classes)}")
    if not learn:
        raise LabelError(
            f"{name} holds labels ({show_labels(classes)}), but the network has learned no classes "
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
    labels = as_labels(value, "classes")
    wanted = losses.targets(loss)
    if wanted not in ("classes", "binary", "signs") or (wanted != "classes" and units != 1):
        raise DataError(f"classes must be None for targets that are no labels, as for {loss}")
    count = units if wanted == "classes" else 2
    classes = np.unique(labels)
    if labels.ndim != 1 or len(labels) != count or len(classes) != count:
        raise LabelError(
            f"classes must be {count} different labels, got {show_labels(labels.ravel())}"
        )
    if known is not None:
        if not np.array_equal(classes, known):
            raise LabelError(
                f"classes must be those that the network has learned ({show_labels(known)}), "
                f"got {show_labels(classes)}"
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
                    f"({show_labels(classes)})"
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
