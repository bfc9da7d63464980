"""Arrays that users hand in become finite float64, or a clear exception says where they are not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn._checks import find_not_finite
from pycnn.backend.interface import up_to_lengths
from pycnn.exceptions import DataError, DataTypeError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pycnn._typing import AnyArray, Array, Indices, Shape
    from pycnn.backend.interface import Data

    Finder = Callable[[Array], int]

_FLOAT64 = np.dtype(np.float64)
# Numbers that one call of NumPy's takes: some milliseconds, between which Ctrl-C is answered.
AT_A_TIME = 1 << 20
# Sample weights between these can be multiplied with a loss, and learning rates divided by their
# sums, without leaving the numbers that float64 has with all digits.
LEAST_WEIGHT, MOST_WEIGHT = 1e-250, 1e250


def as_array(value: Any, name: str) -> AnyArray:
    """Return `value` as an array, what is masked as it lies there.

    Whose library it is of does not matter: what has `__array__`, a buffer or `__dlpack__` says by
    itself where its numbers are, and these are not copied where NumPy can read them there.
    """
    if type(value).__module__.startswith("polars."):
        refuse_times(value, name)
    try:
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            return np.from_dlpack(value)
        try:
            return np.asarray(value)
        except np.exceptions.DTypePromotionError:  # dates beside numbers, which are told by place
            return np.asarray(value, dtype=object)
    except (ValueError, TypeError, RuntimeError, BufferError) as error:
        if hasattr(value, "__dlpack__"):  # on another device, say, or a dtype that NumPy has not
            kind = type(value).__name__
            raise DataTypeError(f"{name} is a {kind} that NumPy cannot read: {error}") from None
        raise ShapeError(f"{name} must be a regular array: {error}") from None


def refuse_times(value: Any, name: str) -> None:
    """Raise `DataTypeError` for a column of times beside others, in a frame of polars.

    NumPy would have numbers of them, in whatever unit they are kept.
    """
    times = [one.is_temporal() for one in getattr(value, "dtypes", ())]
    if any(times) and not all(times):
        column = times.index(True)
        raise DataTypeError(
            f"{name} must have no times beside other values, but column {column} "
            f"({value.columns[column]!r}) is of {value.dtypes[column]}"
        )


def from_tensor(value: Any, name: str) -> Any:
    """Return another library's tensor as an array of the same memory; anything else as it is."""
    is_tensor = hasattr(value, "__dlpack__") and not isinstance(value, np.ndarray)
    return as_array(value, name) if is_tensor else value


def from_nullable(value: Any, kinds: str, dtype: type) -> Any:
    """Return columns of pandas' own dtypes, all of these `kinds`, as an array; else the same.

    NumPy would make objects of them, or does so where one has a gap, which becomes NaN here.
    """
    types = getattr(value, "dtypes", None)
    if types is None or not hasattr(value, "to_numpy"):
        return value
    each = [types] if hasattr(types, "kind") else list(types)
    if all(isinstance(one, np.dtype) for one in each):
        return value
    if not all(getattr(one, "kind", None) in set(kinds) for one in each):
        return value
    gap = {"na_value": np.nan} if dtype is np.float64 else {}
    try:
        return value.to_numpy(dtype=dtype, **gap)
    except (ValueError, TypeError):  # a gap among integers
        return value


# NPY_ARRAY_C_CONTIGUOUS and NPY_ARRAY_ALIGNED: to ask for each by its name takes twice as long.
_READY = 0x0001 | 0x0100


def is_ready(value: Any) -> bool:
    """Tell whether `value` is an array that the core can read as it is."""
    if type(value) is not np.ndarray or value.dtype is not _FLOAT64:
        return False
    return value.flags.num & _READY == _READY


def as_numbers(value: Any, name: str) -> Array:
    """Return `value` as contiguous, aligned float64, converted only if need be.

    What has a real value is converted, such as `decimal.Decimal`; a gap (None, pandas' NA and NaT)
    becomes NaN.
    """
    if is_ready(value):
        ready: Array = value
        return ready
    array = as_array(from_nullable(value, "biuf", np.float64), name)
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        where = np.argwhere(np.ma.getmaskarray(value))[0]
        raise DataError(f"{name} must have all its values, but is masked{place_of(where)}")
    names = column_names(value)
    if array.dtype.kind in "US" and not hasattr(value, "dtype"):
        array = np.asarray(value, dtype=object)  # the texts among its numbers
    if array.dtype.kind == "O":
        array = side_by_side(array, name)
    if array.dtype.kind == "O":
        array = real_values(array, name, names)
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


def side_by_side(array: AnyArray, name: str) -> AnyArray:
    """Return a column of lists, which Arrow, polars and pandas have, as a matrix; else the same."""
    if array.ndim != 1 or not array.size:
        return array
    is_matrix = all(isinstance(item, (list, np.ndarray)) for item in array)
    return as_array(array.tolist(), name) if is_matrix else array


# What `float` takes, but is no real number.
NOT_REAL = (str, bytes, complex, np.datetime64, np.timedelta64, np.complexfloating)


def real_values(array: AnyArray, name: str, columns: tuple[str, ...] | None) -> Array:
    """Return Python objects as numbers; the first that is none is named with its place."""
    try:
        if not any(isinstance(item, NOT_REAL) for item in array.flat):
            return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        pass
    numbers = np.empty(array.shape)
    for where, item in np.ndenumerate(array):
        try:
            if is_gap(item):
                item = np.nan
            if isinstance(item, NOT_REAL):
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
    """Return " at row 3, column 1 ('age')" for an index of an array; of images all of it."""
    if len(where) > 2:
        return f" at index ({', '.join(str(int(i)) for i in where)})"
    words = (" at row ", ", column ")
    place = "".join(f"{word}{int(i)}" for word, i in zip(words, where, strict=False))
    if columns is None or len(where) != 2:
        return place
    return f"{place} ({columns[where[1]]!r})"


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
        last = len(shape) > 2 and array.shape == (shape[0], shape[-1], *shape[1:-1])
        hint = f"; channels come last: np.moveaxis({name}, 1, -1)" if last else ""
        raise ShapeError(f"{name} must have shape {shape}, got {array.shape}{hint}")
    check_finite(array, name)
    return array


def as_matrix(value: Any, name: str, shape: Shape, find: Finder | None = find_not_finite) -> Array:
    """Return samples of this shape as finite numbers, (at least 1, n_0): a row a sample.

    ``find=None`` leaves it to the caller to see that they are finite.
    """
    array = as_numbers(value, name)
    check_samples(array.shape, name, shape)
    names = column_names(value)
    if find is not None or names is not None:  # a frame's is told by the column's name
        check_finite(array, name, find or find_not_finite, names)
    return array.reshape(len(array), -1)


def check_samples(given: Shape, name: str, shape: Shape) -> None:
    """Raise where an array of the shape `given` does not hold samples of this shape.

    They may also lie in rows, and without the axis of a single channel.

    Raises
    ------
    ShapeError
        If there are other numbers in a sample, or they lie in another order.
    DataError
        If there is no sample.
    """
    if given[1:] == shape and given[0]:
        return
    columns = math.prod(shape)
    accepted = [shape, (columns,)] + ([shape[:-1]] if len(shape) > 1 and shape[-1] == 1 else [])
    if given[1:] not in accepted:
        wanted = dict.fromkeys("(samples, " + ", ".join(map(str, s)) + ")" for s in accepted)
        hint = _shape_hint(given, name, shape)
        raise ShapeError(f"{name} must have shape {' or '.join(wanted)}, got {given}{hint}")
    if not given[0]:
        raise DataError(f"{name} must have at least one sample, got shape {given}")


def _shape_hint(given: Shape, name: str, shape: Shape) -> str:
    """Return what makes the samples fit, where that is plain from their shape."""
    if len(shape) == 1:
        if given == shape:
            return f"; a single sample is {name}.reshape(1, -1)"
        if len(given) == 1 and shape == (1,):
            return f"; a single feature is {name}.reshape(-1, 1)"
        if len(given) > 2 and math.prod(given[1:]) == shape[0]:
            return (
                f"; {name}.reshape(len({name}), -1) has a row for each sample, and a network of "
                f"{given[1:]} inputs takes them as they are"
            )
        return ""
    if given in (shape, shape[:-1]):
        return f"; a single sample is {name}[np.newaxis]"
    if given[1:] == (shape[-1], *shape[:-1]):
        return f"; channels come last: np.moveaxis({name}, 1, -1)"
    if given[:-1] == shape:
        return f"; samples come first: np.moveaxis({name}, -1, 0)"
    if len(shape) == 3 and given[1:-1] == shape[:-1] and (given[-1], shape[-1]) == (3, 1):
        return f"; {name}.mean(axis=-1) makes grey images of coloured ones"
    if len(shape) == 3 and given[1:] == shape[:-1] and shape[-1] == 3:
        return f"; np.repeat({name}[..., np.newaxis], 3, axis=-1) gives grey images three channels"
    return ""


def as_weights(
    value: Any,
    name: str,
    rows: int,
    positions: int | None = None,
    lengths: Indices | None = None,
) -> Array | None:
    """Return sample weights: None, or finite numbers >= 0 of shape (rows,).

    Where outputs are sequences of so many `positions` also (rows, positions); what stands behind
    the `lengths` does not matter then, and becomes 0.
    """
    if value is None:
        return None
    weight = as_numbers(value, name)
    shapes = [(rows,)] if positions is None else [(rows,), (rows, positions)]
    if weight.shape not in shapes:
        wanted = " or ".join(map(str, shapes))
        raise ShapeError(f"{name} must have shape {wanted}, got {weight.shape}")
    if lengths is not None and weight.ndim == 2:
        weight = up_to_lengths(weight, lengths, weight.shape[1])
    check_finite(weight, name)
    if (weight < 0).any():
        where = np.unravel_index(weight.argmin(), weight.shape)
        raise DataError(f"{name} must be >= 0, but is {weight.min()}{position_of(where)}")
    small = (weight > 0) & (weight < LEAST_WEIGHT)
    if small.any():
        where = np.unravel_index(small.argmax(), weight.shape)
        raise DataError(
            f"{name} must be 0 or at least {LEAST_WEIGHT:g}, but is {weight[where]:g}"
            f"{position_of(where)}; "
            "all weights may be multiplied by one number, since only their ratios count"
        )
    with np.errstate(over="ignore"):
        if not weight.sum() <= MOST_WEIGHT:
            raise DataError(f"{name} must have a finite sum, of at most {MOST_WEIGHT:g}")
    return weight


def as_lengths(value: Any, name: str, rows: int, positions: int) -> Indices:
    """Return the lengths of sequences: integers from 1 to `positions`, of shape (rows,)."""
    array = as_array(from_nullable(value, "iu", np.int64), name)
    if array.dtype.kind not in "iu":
        hint = f"; {name}.astype(int) if they are whole" if array.dtype.kind == "f" else ""
        raise DataTypeError(f"{name} must hold integers, got dtype {array.dtype}{hint}")
    if array.shape != (rows,):
        raise ShapeError(
            f"{name} must have shape ({rows},), one length for each row of its X, got {array.shape}"
        )
    wrong = (array < 1) | (array > positions)
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{name} must lie in 1 ... {positions}, the positions of X, but is {array[row]} at row "
            f"{row}"
        )
    return np.ascontiguousarray(array, dtype=np.intp)


def position_of(where: Sequence[Any]) -> str:
    """Return " at row 3" or, where a sample has positions, " at row 3, position 1"."""
    words = (" at row ", ", position ")
    return "".join(f"{word}{int(i)}" for word, i in zip(words, where, strict=False))


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
    data = data.by_position()
    counts = np.ones(len(data.y), dtype=bool) if data.weight is None else data.weight > 0
    if not counts.any():
        raise DataError(f"{name} must have a sample of weight above 0; all of its weights are 0")
    if not (counts & data.observed()).any():
        what = "-1" if data.has_labels else "NaN"
        raise DataError(
            f"{name} must have a target that was observed; all of its targets are {what}"
        )


# ------------------------------------------------------------------ names of columns


def column_names(value: Any) -> tuple[str, ...] | None:
    """Return the names of a data frame's columns; None where they are not all text."""
    if type(value) is np.ndarray:
        return None
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
