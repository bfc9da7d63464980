"""Targets: what users hand in becomes what the loss wants, and outputs what users know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn import losses
from pycnn._checks import check_choice, find_not_finite
from pycnn._data.arrays import as_numbers, as_values, as_weights, check_finite, is_ready
from pycnn._data.labels import (
    as_labels,
    find_classes,
    find_two_classes,
    is_numeric,
    positions_of,
    read_labels,
    refuse_gap,
    show_labels,
)
from pycnn._record import Record
from pycnn.exceptions import DataError, DataTypeError, LabelError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycnn._data.arrays import Finder
    from pycnn._data.scaling import TargetScale
    from pycnn._typing import AnyArray, Array, Flags, Indices, Shape

    RowName = Callable[[int], str]

MISSING = ("error", "mask")
# What a target that was not observed is taken for, until its place is NaN.
_FILL = {"numbers": 0.0, "counts": 0.0, "binary": 0.0, "signs": 1.0}


def _row_name(row: int) -> str:
    return f"row {row}"


def check_missing(value: Any) -> bool:
    """Tell whether NaN targets are such that have not been observed."""
    return check_choice(value, MISSING, "missing_targets") == "mask"


def is_one_hot(y: AnyArray) -> bool:
    """Tell whether each row that was observed is a 1 among zeros, of at least two numbers."""
    if y.ndim != 2 or y.shape[1] < 2:
        return False
    row = y[0].tolist()  # tells most targets that are no classes at once
    if row.count(0) != len(row) - 1 and any(value == value for value in row):
        return False
    y = y[~np.isnan(y).all(axis=1)]
    ones = y == 1
    return bool(len(y) and (ones.sum(axis=1) == 1).all() and (ones | (y == 0)).all())


class Targets(Record):
    """Encoded targets."""

    y: Array | Indices  # as `Data` has them
    classes: AnyArray | None  # the label of each class; None where targets are no classes


class TargetEncoder:
    """What targets and outputs are to one network, from the user's side and back to it.

    It is never changed: what a training has learned of its targets is another encoder.

    Parameters
    ----------
    loss : str
    units : int
        n_L, of sequences the features of a position.
    classes : ndarray or None
        The label of each class, once learned.
    scale : TargetScale or None
        The unit of each output; None: that of the user's targets.
    positions : int or None
        Of an output that is a sequence: each has a target.
    """

    __slots__ = (
        "classes",
        "estimates_the_mean",
        "has_classes",
        "is_multi_label",
        "loss",
        "positions",
        "scale",
        "takes_numbers",
        "targets",
        "units",
    )

    def __init__(
        self,
        loss: str,
        units: int,
        classes: AnyArray | None = None,
        scale: TargetScale | None = None,
        positions: int | None = None,
    ) -> None:
        self.loss, self.units, self.positions = loss, units, positions
        self.classes, self.scale = classes, scale
        self.targets = losses.targets(loss)
        # Whether outputs are answers that do not depend on each other: several sigmoid units.
        self.is_multi_label = units > 1 and self.targets in ("binary", "signs")
        self.estimates_the_mean = losses.estimates_the_mean(loss)
        one_hot = losses.may_be_one_hot(loss)
        # Whether targets are classes: by the loss, or because those of a fit were one-hot.
        self.has_classes = losses.is_classification(loss) or (one_hot and classes is not None)
        # Whether any numbers, (rows, units), are targets as they are, and show nothing else.
        self.takes_numbers = (
            positions is None
            and scale is None
            and self.targets == "numbers"
            and not (one_hot and units > 1)
        )

    def shows_classes(self, y: AnyArray) -> bool:
        """Tell whether these targets are classes: by the loss, or because they are one-hot."""
        if losses.is_classification(self.loss):
            return True
        return losses.may_be_one_hot(self.loss) and self.classes is not None and is_one_hot(y)

    # ------------------------------------------------------------ from the user's side

    def encode(
        self,
        value: Any,
        name: str,
        rows: int,
        *,
        learn: bool = False,
        missing: bool = False,
        lengths: Indices | None = None,
        find: Finder = find_not_finite,
    ) -> Targets:
        """Return targets as the loss wants them, and the classes that they show or were held to.

        Parameters
        ----------
        value : array-like
            Numbers, labels or one-hot rows.
        name : str
            The user's name for it.
        rows : int
            The number of X's rows, each of which has a target.
        learn : bool
            Whether labels may be learned from this `value`.
        missing : bool
            Whether a gap (NaN, None, NaT, NA, a masked value) is a target that was not observed,
            which becomes NaN, and not a mistake. Of sequences also a label of -1.
        lengths : ndarray, optional
            Of sequences: what stands behind them was not observed.
        find : callable, optional
            Finds what is not finite in an array.
        """
        if self._is_ready(value, rows, missing, find):
            return self._in_unit(self._encode_all(value, name, learn, find=find))
        wanted = self.targets
        array, gaps = read_labels(value, name, wanted in ("numbers", "counts"))
        if self.positions is not None:
            self._check_sequences(array, name, rows, self.positions)
            behind = np.zeros(array.shape[:2], np.bool_)
            if lengths is not None:
                behind |= np.arange(self.positions) >= lengths[:, None]
            if missing and array.ndim == 2 and wanted != "signs" and array.dtype.kind == "i":
                gaps = gaps | (array == -1)
            behind = behind if array.ndim == 2 else behind[:, :, None]
            if not missing:
                refuse_gap(value, name, gaps & ~behind)
            return self._encode_sequences(array, gaps | behind, name, learn)
        if not missing:
            refuse_gap(value, name, gaps)
        elif wanted not in _FILL or self.loss == "custom":
            raise DataError(
                f"missing_targets='mask' wants a loss that is a sum over the outputs, such as mse; "
                f"with {self.loss} a target is all of a row"
            )
        if not array.size:
            raise DataError(f"{name} must have at least one sample, got shape {array.shape}")
        if array.ndim not in (1, 2) or len(array) != rows:
            raise ShapeError(
                f"{name} must have one target for each of the {rows} rows of its X, "
                f"got shape {array.shape}"
            )
        if gaps.any():
            targets = self._encode_observed(array, gaps, name, learn)
        else:
            targets = self._encode_all(array, name, learn)
        return self._in_unit(targets)

    def _is_ready(self, value: Any, rows: int, missing: bool, find: Finder) -> bool:
        """Tell whether targets are an array of as many numbers, none of which is a gap."""
        return (
            type(value) is np.ndarray
            and self.positions is None
            and not missing
            and 1 <= value.ndim <= 2
            and len(value) == rows
            and value.size > 0
            and (value.dtype.kind in "biu" or (is_ready(value) and find(value) == value.size))
        )

    def _in_unit(self, targets: Targets) -> Targets:
        """Return targets in the network's own unit."""
        if self.scale is None:
            return targets
        return Targets(self.scale.scaled(targets.y), None)  # numbers with a unit are no classes

    def _check_sequences(self, array: AnyArray, name: str, rows: int, positions: int) -> None:
        """Raise `ShapeError` where there is not a target for each position."""
        shapes: list[Shape] = [(rows, positions, self.units)]
        if self.units == 1 or self.targets == "classes":
            shapes.insert(0, (rows, positions))
        if array.shape in shapes:
            return
        hint = ""
        if array.ndim and len(array) == rows and array.ndim < 3:
            hint = "; the last layer gives a sequence, each position of which has a target"
        wanted = " or ".join(map(str, shapes))
        raise ShapeError(f"{name} must have shape {wanted}, got {array.shape}{hint}")

    def _encode_sequences(self, array: AnyArray, gaps: Flags, name: str, learn: bool) -> Targets:
        """Encode (rows, P) or (rows, P, n): those positions that have a target, as if samples."""
        shape = array.shape[:2]
        array, gaps = (each.reshape(-1, *each.shape[2:]) for each in (array, gaps))
        seen: Flags = ~gaps if gaps.ndim == 1 else ~np.all(gaps, axis=1)
        if not seen.any():
            y = np.full((len(array), self.units), np.nan)
            return Targets(y.reshape(*shape, self.units), self.classes)
        places = np.flatnonzero(seen)

        def row_name(row: int) -> str:
            return "row {}, position {}".format(*np.unravel_index(places[row], shape))

        array, gaps = array[seen], gaps[seen]
        try:
            if gaps.any():
                if self.targets == "classes":
                    row = row_name(int(gaps.any(axis=-1).argmax()))
                    raise DataError(
                        f"{name} must have all numbers of a position or none; see {row}"
                    )
                targets = self._encode_observed(array, gaps, name, learn, row_name)
            else:
                targets = self._encode_all(array, name, learn, row_name)
        except LabelError as error:
            if array.dtype.kind != "i" or not (array == -1).any():
                raise
            row = row_name(int((array == -1).argmax()))
            raise LabelError(
                f"{error}. The label -1 at {row} stands for a target that was not observed where "
                "missing_targets='mask'"
            ) from None
        y = targets.y
        if not seen.all():
            y = np.full(
                (seen.size, *targets.y.shape[1:]), -1 if y.dtype.kind == "i" else np.nan, y.dtype
            )
            y[seen] = targets.y
        return self._in_unit(targets._replace(y=y.reshape(*shape, *y.shape[1:])))

    def _encode_observed(
        self, array: AnyArray, gaps: Flags, name: str, learn: bool, row_name: RowName = _row_name
    ) -> Targets:
        """Encode targets of which some were not observed: NaN, once the labels are known."""
        filled = array.copy()
        wanted = self.targets
        if losses.is_classification(self.loss) and self.units == 1:
            if gaps.all():
                return Targets(np.full((len(array), 1), np.nan), self.classes)
            filled[gaps] = array[~gaps][0]  # a label that was observed: gaps add none
        elif is_numeric(array):
            filled[gaps] = _FILL[wanted]
        targets = self._encode_all(filled, name, learn, row_name)
        y = targets.y.astype(np.float64)
        y[gaps.reshape(y.shape)] = np.nan
        return self._encode_numbers(y, learn) if wanted == "numbers" else targets._replace(y=y)

    def _encode_all(
        self,
        array: AnyArray,
        name: str,
        learn: bool,
        row_name: RowName = _row_name,
        find: Finder = find_not_finite,
    ) -> Targets:
        """Encode targets without gaps."""
        wanted = self.targets
        single = array.ndim == 1 or array.shape[1] == 1
        if wanted == "classes" and single and (self.units > 1 or array.ndim == 1):
            return self._encode_labels(array.ravel(), name, learn)
        if wanted == "binary" and single and self.units == 1:
            return self._encode_binary(array.ravel(), name, learn)
        if wanted == "signs" and single and self.units == 1:
            return self._encode_signs(array.ravel(), name, learn)
        numbers = as_numbers(array, name)
        numbers = numbers.reshape(len(array), -1)
        if numbers.shape[1] != self.units:
            labels = array.ndim == 1 and array.dtype.kind in "biu"
            hint = f"; classes are rows such as np.eye({self.units})[{name}]" if labels else ""
            wants = f"({len(array)}, {self.units})"
            raise ShapeError(f"{name} must have shape {wants}, got {array.shape}{hint}")
        check_finite(numbers, name, find)
        if wanted == "numbers":
            return self._encode_numbers(numbers, learn)
        self._check_range(numbers, name, row_name)
        if wanted == "classes":
            known = np.arange(self.units) if self.classes is None else self.classes
            return Targets(numbers, known)
        return Targets(numbers, None)

    def _check_range(self, numbers: Array, name: str, row_name: RowName) -> None:
        """Raise `DataError` at the first row whose numbers this loss cannot have."""
        wanted = self.targets
        if wanted == "counts":
            wrong, rule, what = numbers < 0, "be >= 0", "is"
        elif wanted == "signs":
            wrong, rule, what = np.abs(numbers) != 1, "be -1 or 1", "is"
        else:
            wrong, rule, what = (numbers < 0) | (numbers > 1), "lie in [0, 1]", "does"
        if wrong.any():
            row = row_name(int(wrong.any(axis=1).argmax()))
            raise DataError(f"{name} must {rule} for {self.loss}; {row} {what} not")
        if wanted == "classes":
            sums = numbers.sum(axis=1)
            uneven = np.abs(sums - 1) > 1e-6
            if uneven.any():
                first = int(uneven.argmax())
                raise DataError(
                    f"each row of {name} must add up to 1; {row_name(first)} gives {sums[first]:g}"
                )

    def _encode_numbers(self, y: Array, learn: bool) -> Targets:
        """Return numbers, which show classes where they are one-hot."""
        if not (losses.may_be_one_hot(self.loss) and is_one_hot(y)):
            return Targets(y, None)
        new = self.classes is None and learn
        return Targets(y, np.arange(self.units) if new else self.classes)

    def _encode_labels(self, labels: AnyArray, name: str, learn: bool) -> Targets:
        """Return class indices for a softmax output."""
        classes = self.classes
        if classes is None:
            classes = find_classes(labels, name, self.units, learn)
        return Targets(positions_of(labels, classes, name), classes)

    def _encode_binary(self, labels: AnyArray, name: str, learn: bool) -> Targets:
        """Return 0/1 (or probabilities) of shape (rows, 1) for one sigmoid unit."""
        classes = self.classes
        if is_numeric(labels) and (classes is None or is_numeric(classes)):
            values = as_numbers(labels, name)
            zero_one = classes is None or np.array_equal(classes.astype(np.float64), [0, 1])
            if zero_one and (values >= 0).all() and (values <= 1).all():
                if classes is None:
                    hard = np.isin(values, (0, 1)).all()
                    classes = np.array([0, 1]).astype(labels.dtype if hard else np.int64)
                return Targets(values.reshape(-1, 1), classes)
        if classes is None:
            classes = find_two_classes(labels, name, learn, "values in [0, 1]", "0 and 1")
        positions = positions_of(labels, classes, name)
        return Targets(positions.astype(np.float64).reshape(-1, 1), classes)

    def _encode_signs(self, labels: AnyArray, name: str, learn: bool) -> Targets:
        """Return -1 and 1 of shape (rows, 1) for one unit with the hinge loss."""
        classes = self.classes
        if classes is None and is_numeric(labels) and np.isin(labels, (-1, 1)).all():
            both = np.array([-1, 1])  # also where one of them does not occur
            classes = both.astype(labels.dtype) if labels.dtype.kind in "if" else both
        if classes is None:
            classes = find_two_classes(labels, name, learn, "-1 and 1", "-1 and 1")
        signs = 2 * positions_of(labels, classes, name).astype(np.float64) - 1
        return Targets(signs.reshape(-1, 1), classes)

    def check_classes(self, value: Any) -> AnyArray:
        """Return the labels that `partial_fit`'s `classes` names, sorted.

        Raises
        ------
        DataError, LabelError
            If the loss has no classes, there are too few or too many, or others than the known
            ones.
        """
        labels = as_labels(value, "classes")
        wanted = self.targets
        if wanted not in ("classes", "binary", "signs") or (wanted != "classes" and self.units > 1):
            raise DataError(
                f"classes must be None for targets that are no labels, as for {self.loss}"
            )
        count = self.units if wanted == "classes" else 2
        classes = np.unique(labels)
        if labels.ndim != 1 or len(labels) != count or len(classes) != count:
            shown = show_labels(labels.ravel())
            raise LabelError(f"classes must be {count} different labels, got {shown}")
        if self.classes is None:
            return classes
        if not np.array_equal(classes, self.classes):
            raise LabelError(
                f"classes must be those that the network has learned ({show_labels(self.classes)}),"
                f" got {show_labels(classes)}"
            )
        return self.classes

    def class_weights(self, class_weight: Any, targets: Targets) -> Array | None:
        """Return a weight for each row from weights for each class.

        `class_weight` is None, ``"balanced"`` (rows / (classes * rows of the class)), or a mapping
        from labels to weights >= 0, in which absent labels weigh 1.
        """
        if class_weight is None:
            return None
        if targets.classes is None:
            raise DataError("class_weight needs targets that are classes, one for each sample")
        index: Indices
        if targets.y.dtype.kind == "i":
            index, seen = targets.y.astype(np.intp, copy=False), targets.y >= 0
        else:
            above = self.units == 1
            index = (
                (targets.y[..., 0] > 0.5).astype(np.intp) if above else targets.y.argmax(axis=-1)
            )
            seen = ~np.all(np.isnan(targets.y), axis=-1)
        classes = targets.classes
        if isinstance(class_weight, str) and class_weight == "balanced":
            observed = index[seen]
            counts = np.bincount(observed, minlength=len(classes))
            by_class = len(observed) / (len(classes) * np.maximum(counts, 1))
        elif not isinstance(class_weight, str) and hasattr(class_weight, "items"):
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
        weight = by_class[index].astype(np.float64)
        positions = index.shape[1] if index.ndim == 2 else None
        return as_weights(weight, "class_weight", len(index), positions)

    # ------------------------------------------------------------ back to it

    def unscaled(self, outputs: Array) -> Array:
        """Bring outputs (..., n_L) back to the unit of the user's targets, in place."""
        return outputs if self.scale is None else self.scale.restore(outputs)

    def indices(self, values: AnyArray) -> Indices:
        """Return which class targets or outputs stand for; of several answers 0 or 1 for each."""
        if values.dtype.kind == "i":
            return values
        if self.targets not in ("binary", "signs"):
            return values.argmax(axis=-1)
        above = (values > losses.boundary(self.loss)).astype(np.intp)
        return above if self.is_multi_label else above[..., 0]

    def labels(self, values: AnyArray) -> AnyArray:
        """Return the label that targets or outputs stand for; of several answers one for each."""
        index = self.indices(values)
        if self.classes is not None and not self.is_multi_label:
            return self.classes[index]
        return 2 * index - 1 if self.targets == "signs" else index

    def probabilities(self, outputs: Array) -> Array:
        """Return the probability of each class, of which one sigmoid unit has two."""
        if self.targets == "binary" and self.units == 1:
            return np.concatenate([1 - outputs, outputs], axis=-1)
        return outputs
