"""What turns the columns of a table into the numbers that a network reads, and back.

It is fitted on the training rows alone and kept, as plain data, in the model's metadata: numbers
are standardised, text becomes one-hot, a missing value the column's mean or a category of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pycnn import _random
from pycnn._names import check_choice, suggest
from pycnn.exceptions import DataError, DataTypeError, LabelError, ModelFileError, UnknownNameError

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
Labels = NDArray[Any]

TASKS = ("classification", "regression")
# Whole numbers with more distinct values than this are a quantity, not classes.
MOST_NUMERIC_CLASSES = 20
# Text with more distinct values than this, and in more than half the rows, names the rows.
MOST_NAMES = 20


# ------------------------------------------------------------------ columns


@dataclass
class NumberColumn:
    """A standardised column of numbers; with `missing`, a second one that says "was missing"."""

    name: str
    mean: float
    scale: float
    missing: bool

    @classmethod
    def fit(cls, name: str, values: Array, *, scale: float | None = None) -> NumberColumn:
        """Take mean and deviation of the values that are there."""
        known = values[~np.isnan(values)]
        mean, deviation = mean_and_deviation(known, name)
        return cls(name, mean, scale or deviation, len(known) < len(values))

    def encode(self, column: pd.Series) -> tuple[list[Array], str]:
        """Return the network's inputs, and what the user should know."""
        values = as_numbers(column)
        absent = np.isnan(values)
        standard = np.where(absent, 0.0, (values - self.mean) / self.scale)  # 0 is the mean
        return [standard, absent.astype(np.float64)] if self.missing else [standard], ""


@dataclass
class TextColumn:
    """A one-hot column of text; with `missing`, that is a category too."""

    name: str
    categories: list[str]
    missing: bool

    @classmethod
    def fit(cls, name: str, column: pd.Series) -> TextColumn:
        """Take the values that occur as categories."""
        known = column.dropna().astype(str)
        distinct = sorted(known.unique())
        if len(distinct) > MOST_NAMES and len(distinct) > len(known) / 2:
            raise DataError(
                f"column {name!r} is text with {len(distinct)} distinct values in {len(known)} rows"
                f", such as {odd_one(known)!r}: leave it out with --drop {quoted(name)}, or make "
                "all its values numbers"
            )
        return cls(name, distinct, len(known) < len(column))

    def encode(self, column: pd.Series) -> tuple[list[Array], str]:
        """Return the network's inputs, and what the user should know."""
        absent = column.isna().to_numpy()
        values = column.astype(str).to_numpy(dtype=object)
        inputs = [(values == category) & ~absent for category in self.categories]
        unseen = ~absent & ~np.any(inputs, axis=0) if inputs else ~absent
        if self.missing:
            inputs.append(absent)
        note = ""
        if unseen.any():
            distinct = sorted(set(values[unseen]))
            note = (
                f"column {self.name!r} has values that training did not see, taken as none of its "
                f"categories: {', '.join(map(repr, distinct[:5]))}"
                + (", ..." if len(distinct) > 5 else "")
            )
        return [one_hot.astype(np.float64) for one_hot in inputs], note


Column = NumberColumn | TextColumn


def odd_one(texts: pd.Series) -> str:
    """Return a value that is no number, for a column that holds both."""
    for value in texts:
        try:
            float(value)
        except ValueError:
            return str(value)
    return str(texts.iloc[0])


def quoted(name: str) -> str:
    """Return a column's name as it is typed in a shell."""
    import shlex

    return shlex.quote(name)


def is_text(column: pd.Series) -> bool:
    """Tell whether a column holds text; truth values are numbers, also beside missing ones."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column.dtype):
        return False
    return not all(isinstance(value, bool) for value in column.dropna())


def as_numbers(column: pd.Series) -> Array:
    """Return a column's numbers, NaN where they are missing."""
    if is_text(column):
        known = column.dropna()
        value = odd_one(known)
        row = known.index[known == value][0] + 1
        raise DataTypeError(f"column {column.name!r} must hold numbers, got {value!r} in row {row}")
    values: Array = column.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isinf(values).any():
        row = int(np.isinf(values).argmax()) + 1
        raise DataError(f"column {column.name!r} must be finite, but is infinite in row {row}")
    return values


def mean_and_deviation(values: Array, name: str) -> tuple[float, float]:
    """Return both, the deviation as 1 where all values are the same."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = float(values.mean()), float(values.std())
    if not np.isfinite([mean, deviation]).all():
        raise DataError(f"column {name!r} holds numbers too large to be standardised")
    # Rounding gives a constant column a tiny deviation that says nothing.
    constant = deviation <= 1e-12 * abs(mean)
    return mean, 1.0 if constant else deviation


# ------------------------------------------------------------------ the target


@dataclass
class Target:
    """The column to predict. `mean` and `scale` are those of a regression; classes have 0 and 1."""

    name: str
    task: str
    mean: float = 0.0
    scale: float = 1.0


def choose_task(column: pd.Series, task: str | None) -> str:
    """Return the task that fits a target column without missing values."""
    text = is_text(column)
    if task is not None:
        check_choice(task, TASKS, "--task")
        if text and task == "regression":
            raise DataTypeError(
                f"target column {column.name!r} holds text such as {odd_one(column)!r}: "
                "--task regression needs numbers"
            )
        return task
    if text or column.dtype == bool or column.dtype == object:
        return "classification"
    values = as_numbers(column)
    distinct = np.unique(values)
    whole = bool((distinct == np.floor(distinct)).all())
    few = len(distinct) <= 2 or len(distinct) <= min(MOST_NUMERIC_CLASSES, len(values) / 2)
    return "classification" if whole and few else "regression"


def as_labels(column: pd.Series, *, text: bool | None = None) -> Labels:
    """Return labels in their own type: text, truth values, whole numbers or numbers."""
    if is_text(column) if text is None else text:
        return column.astype(str).to_numpy(dtype=str)
    if all(isinstance(value, (bool, np.bool_)) for value in column):
        return column.to_numpy(dtype=bool)
    values = as_numbers(column)
    return values.astype(np.int64) if (values == np.floor(values)).all() else values


def find_classes(labels: Labels, name: str) -> Labels:
    """Return the distinct labels, in order."""
    classes = np.unique(labels)
    if len(classes) < 2:
        raise LabelError(f"target column {name!r} holds one class only: {classes[0]}")
    if len(classes) > MOST_NAMES and len(classes) > len(labels) / 2:
        hint = "" if labels.dtype.kind == "U" else "; for a quantity give --task regression"
        raise LabelError(
            f"target column {name!r} holds {len(classes)} distinct values in {len(labels)} rows: "
            f"these are no classes{hint}"
        )
    return classes


def class_indices(labels: Labels, classes: Labels, name: str) -> NDArray[np.intp]:
    """Return where each label stands among the classes."""
    known = {label: index for index, label in enumerate(classes.tolist())}
    unknown = sorted({label for label in labels.tolist() if label not in known}, key=str)
    if unknown:
        shown = ", ".join(repr(label) for label in unknown[:5])
        hint = suggest(str(unknown[0]), [str(label) for label in known])
        raise LabelError(
            f"target column {name!r} holds labels that are not among the model's classes: "
            f"{shown}{', ...' if len(unknown) > 5 else ''}{hint}"
        )
    return np.array([known[label] for label in labels.tolist()], dtype=np.intp)


# ------------------------------------------------------------------ the whole table


@dataclass
class Table:
    """The transform of a table: its columns in the order of the network's inputs, its target."""

    columns: list[Column]
    target: Target
    source: str
    seed: int
    test_size: float
    training_rows: int

    @property
    def text_columns(self) -> list[str]:
        """Columns that a file must be read as text for."""
        return [column.name for column in self.columns if isinstance(column, TextColumn)]

    def encode(self, frame: pd.DataFrame) -> tuple[Array, list[str]]:
        """Return the network's inputs for each row, and what the user should know."""
        missing = [column.name for column in self.columns if column.name not in frame]
        if missing:
            names = ", ".join(map(repr, missing[:8])) + (", ..." if len(missing) > 8 else "")
            raise DataError(
                f"the table lacks {len(missing)} of the model's {len(self.columns)} columns: "
                f"{names}{suggest(missing[0], frame.columns)}"
            )
        parts, notes = [], []
        for column in self.columns:
            inputs, note = column.encode(frame[column.name])
            parts += inputs
            notes += [note] if note else []
        return np.column_stack(parts), notes

    def to_metadata(self) -> dict[str, Any]:
        """Return plain data for ``network.metadata["table"]``."""
        return asdict(self)

    @classmethod
    def from_metadata(cls, data: Any, inputs: int) -> Table:
        """Rebuild from a model's metadata, for a network with so many inputs."""
        try:
            columns: list[Column] = [
                TextColumn(**column) if "categories" in column else NumberColumn(**column)
                for column in data["columns"]
            ]
            table = cls(**{**data, "columns": columns, "target": Target(**data["target"])})
            check_choice(table.target.task, TASKS, "task")
            width = sum(
                (len(c.categories) if isinstance(c, TextColumn) else 1) + bool(c.missing)
                for c in columns
            )
            scaled = [c for c in (*columns, table.target) if not isinstance(c, TextColumn)]
            numbers = [(part.mean, part.scale) for part in scaled]
            means, scales = np.array(numbers, dtype=np.float64).T
            sound = np.isfinite(means).all() and np.isfinite(scales).all() and (scales > 0).all()
            if width != inputs or not sound:
                raise ValueError
        except (TypeError, ValueError, KeyError, AttributeError):
            raise ModelFileError("the model's table of columns does not fit its network") from None
        return table

    @classmethod
    def plain(cls, names: Sequence[str], target: str, task: str) -> Table:
        """Return the transform that changes nothing, for a model that was saved without one."""
        columns: list[Column] = [NumberColumn(name, 0.0, 1.0, False) for name in names]
        return cls(columns, Target(target, task), "", 0, 0.0, 0)


def fit_columns(frame: pd.DataFrame, *, common_scale: bool) -> list[Column]:
    """Fit the transform of every column.

    With `common_scale`, numbers keep their own means but share one scale, as fits columns of one
    unit (the pixels of an image): a pixel that is hardly ever lit does not outweigh the others.
    """
    shared = None
    if common_scale:
        numbers = frame.to_numpy(dtype=np.float64)
        shared = float(np.sqrt(numbers.var(axis=0).mean())) or 1.0
    columns: list[Column] = []
    for name in frame.columns:
        column = frame[name]
        if is_text(column):
            columns.append(TextColumn.fit(name, column))
        else:
            columns.append(NumberColumn.fit(name, as_numbers(column), scale=shared))
    return columns


def check_column(frame: pd.DataFrame, name: str, what: str) -> None:
    """Raise `UnknownNameError` unless the table has that column."""
    if name in frame:
        return
    hint = suggest(name, frame.columns)
    columns = ", ".join(frame.columns[:12]) + (", ..." if len(frame.columns) > 12 else "")
    raise UnknownNameError(f"{what}: there is no column {name!r}; the columns are {columns}{hint}")


def split(
    rows: int, test_size: float, seed: int, classes: NDArray[np.intp] | None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the training rows and the test rows, drawn by the seed.

    With `classes` each class has its share in the test part, and at least one row in the other.
    """
    keys = _random.generator(seed, _random.SPLITTING).random_raw(rows)
    order = np.argsort(keys, kind="stable")
    if classes is None:
        held = round(rows * test_size)
        test = order[:held]
    else:
        counts = np.bincount(classes)
        quota = counts * test_size
        held_by_class = np.minimum(np.floor(quota), np.maximum(counts - 1, 0)).astype(np.intp)
        # What rounding down left over goes to the largest remainders.
        for index in np.argsort(held_by_class - quota, kind="stable"):
            if held_by_class.sum() >= round(rows * test_size):
                break
            if held_by_class[index] < counts[index] - 1:
                held_by_class[index] += 1
        groups = [order[classes[order] == index][:held] for index, held in enumerate(held_by_class)]
        test = np.concatenate(groups)
    train = np.setdiff1d(order, test)
    return train, np.sort(test)
