"""A data frame's columns as the numbers that a network reads, and the column that it predicts.

What a column is (numbers, text, dates) and which task its target poses is decided once, by
`Table.fit`; from then on every table is read in the same way. All of it is plain data, which a
model keeps in its metadata.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from pycnn._checks import check_choice, suggest
from pycnn._public import names_of
from pycnn._table.cells import GAPS, Cells, Reading, has_numbers, plain_numbers
from pycnn._table.columns import (
    ISO,
    Column,
    DateColumn,
    NumberColumn,
    TextColumn,
    date_forms,
    look_like_dates,
    read_dates,
)
from pycnn._table.findings import Findings
from pycnn.exceptions import DataError, DataTypeError, LabelError, ModelFileError, UnknownNameError

if TYPE_CHECKING:
    import pandas as pd

    from pycnn._typing import AnyArray, Array, Flags, Indices

    Labels = AnyArray

__all__ = ["Table"]
__dir__ = names_of(__name__)

Self = TypeVar("Self", bound="Table")

TASKS = ("classification", "regression")
# Whole numbers with more distinct values than this are a quantity, not classes.
MOST_NUMERIC_CLASSES = 20
# Up to this number, a float is each whole one.
MOST_EXACT = 2.0**53
# Text with more distinct values than this, and in more than half the rows, names the rows.
MOST_NAMES = 20


@dataclass
class Target:
    """The column to predict.

    A network's prediction times `scale` plus `mean` is in the column's unit: 1 and 0, except in
    files of version 0.1, whose networks do not know their `target_scale`. `text` tells that its
    labels are text.
    """

    name: str
    task: str
    mean: float = 0.0
    scale: float = 1.0
    text: bool = False


@dataclass
class Truth:
    """A target column that was read: labels or numbers, and in which rows there are any."""

    values: Any
    observed: Flags
    task: str
    text: bool


class Table:
    """The transform of a data frame: its columns as a network's inputs, its target as labels.

    Numbers are standardised; text becomes one-hot; truth values are 0 and 1; a missing number
    becomes the mean, beside an input that says "was missing", missing text a category of its own.
    A column that is mostly numbers is one, also where its type is text: NA, NaN, null, None and
    signs such as ? are gaps in it, any other text is an error that names the cell. In a column of
    text an empty cell alone is missing.

    Parameters
    ----------
    task : {"classification", "regression"}, optional
        By default classification for text, truth values and few distinct whole numbers.
    text : sequence of str, optional
        Columns to take as text even where they hold numbers.
    date : sequence of str, optional
        Columns to take as dates: days, and the cycles of year, week and, where there are times,
        day. How dates are written is found out, or follows the name: ``"born=%d/%m/%Y"``.
    na : sequence of str, optional
        What else stands for a missing value, in any column.
    decimal, thousands : str
        The marks inside of numbers that are written as text.
    common_scale : bool, default False
        Numbers keep their own means but share one scale, as fits columns of one unit (the pixels
        of an image: one that is hardly ever lit does not outweigh the others).

    Attributes
    ----------
    names : list of str
        Names of the columns of X.
    columns : list
        What was learned about each column.
    target : object or None
        The target's `name` and `task`.
    notes : list of str
        What `fit` noticed; it gives them as `DataWarning` too.

    Raises
    ------
    UnknownNameError, DataError, DataTypeError
        If a setting is not valid.

    Examples
    --------
    >>> import pycnn
    >>> frame = {"size": [1.0, 2.0, 3.0, None], "colour": ["red", "blue", "red", "red"],
    ...          "kind": ["plum", "plum", "rose", "rose"]}
    >>> table = pycnn.Table().fit(frame, "kind")
    >>> table.names
    ['size', 'size missing', 'colour=blue', 'colour=red']
    >>> X, y = table.transform(frame), table.targets(frame)
    >>> X.shape, y.tolist()
    ((4, 4), ['plum', 'plum', 'rose', 'rose'])

    Kept with the model, it serves whoever loads it, ``pycnn predict`` among them:

    >>> net = pycnn.Network(4, [pycnn.Dense(1, "sigmoid")], seed=0)
    >>> net.metadata["table"] = table.to_metadata()
    >>> pycnn.Table.from_metadata(net.metadata["table"])
    Table(2 columns as 4 inputs, target 'kind')
    """

    # Whether remedies are spelled as options of the command line.
    _in_shell: ClassVar[bool] = False

    def __init__(
        self,
        *,
        task: str | None = None,
        text: Iterable[str] = (),
        date: Iterable[str] = (),
        na: Iterable[str] = (),
        decimal: str = ".",
        thousands: str = "",
        common_scale: bool = False,
    ) -> None:
        for name, value in (("text", text), ("date", date), ("na", na)):
            if isinstance(value, str):
                raise DataTypeError(f"{name} must be a sequence of texts, got {value!r}")
        if task is not None:
            check_choice(task, TASKS, self._option("task"))
        self.task = task
        self.text = list(text)
        self.date = list(date)
        self.common_scale = common_scale
        self.reading = Reading(list(na), decimal, thousands).check()
        self.columns: list[Column] = []
        self.target: Target | None = None
        self.notes: list[str] = []
        self.training_rows = 0
        # The command line's own: where the rows came from, and how it parted them.
        self.source = ""
        self.seed = 0
        self.test_size = 0.0

    def __repr__(self) -> str:
        if not self.columns:
            return "Table()"
        target = f", target {self.target.name!r}" if self.target else ""
        return f"Table({len(self.columns)} columns as {len(self.names)} inputs{target})"

    @property
    def names(self) -> list[str]:
        """Names of the columns of X."""
        return [name for column in self.columns for name in column.names]

    # -------------------------------------------------------------- learning the columns

    def fit(self: Self, frame: Any, target: str | None = None, *, rows: Any = None) -> Self:
        """Decide what each column is, and take means, deviations and categories.

        Parameters
        ----------
        frame : pandas DataFrame, or what makes one
            Such as a mapping of columns or a list of records.
        target : str, optional
            The column to predict; all others are the network's inputs.
        rows : array-like of int or bool, optional
            The rows to take means, deviations and categories from, those of the training where the
            frame has others too. By default all.

        Returns
        -------
        Table
            Itself.

        Raises
        ------
        UnknownNameError
            If a column that is named is not there.
        DataTypeError, DataError, LabelError
            If a column or the target cannot be worked with.
        """
        import warnings

        from pycnn.exceptions import DataWarning

        self.fit_frame(as_frame(frame), target, rows)
        for note in self.notes:
            warnings.warn(note, DataWarning, stacklevel=2)
        return self

    def fit_frame(
        self,
        frame: pd.DataFrame,
        target: str | None,
        rows: Any = None,
        codes: Mapping[str, str] | None = None,
    ) -> None:
        """Do what `fit` does, and only keep the notes.

        `codes` are columns of numbers that the file has with leading zeros, each with an example.
        """
        forms, as_text = self._date_columns(frame), set(self.text)
        for name in self.text:
            check_column(frame, name, self._option("text"))
        findings = Findings(self)
        for name, example in (codes or {}).items():
            if name in frame and name != target:
                findings.codes(name, example)
        goal = None
        if target is not None:
            truth = self.read_target(frame, target, findings=findings)
            if truth.task == "classification":
                self.check_classes(truth.values[truth.observed], target)
            goal = Target(target, truth.task, text=truth.text)
        chosen = np.arange(len(frame)) if rows is None else np.arange(len(frame))[rows]
        if not len(chosen):
            raise DataError("a table must have at least one row to learn from")
        features = [name for name in frame.columns if name != target]
        if not features:
            raise DataError(
                "there is no column"
                + (f" but the target {target!r} to predict it from" if target is not None else "")
            )
        scale = None
        if self.common_scale:
            numbers = frame[features].iloc[chosen].to_numpy(dtype=np.float64)
            scale = float(np.sqrt(numbers.var(axis=0).mean())) or 1.0
        plain = [name for name in features if name not in forms and name not in as_text]
        arrays = self._arrays(frame, plain, findings)
        findings.look_at(list(arrays), np.array(list(arrays.values())).reshape(-1, len(frame)))
        columns: list[Column] = []
        empty = []
        for name in features:
            column: Column | None
            if name in arrays:
                column = _fit_numbers(name, arrays[name][chosen], scale)
            else:
                column = self._fit_column(frame[name], chosen, forms.get(name), scale, findings)
            if column is None:
                empty.append(name)
            else:
                columns.append(column)
        if not columns:
            raise DataError("all columns but the target are empty")
        if empty:
            part = "" if rows is None else " in the training part"
            findings.say(f"left out, as empty{part}: {', '.join(empty)}")
        self.columns, self.target = columns, goal
        self.notes = findings.taken_for_missing() + findings.tell()
        self.training_rows = len(chosen)

    def _date_columns(self, frame: pd.DataFrame) -> dict[str, str]:
        """Return the columns of dates, with the form that the user gives, or nothing."""
        forms = {}
        for entry in self.date:
            name, _, form = entry.rpartition("=")
            if entry in frame or name not in frame:
                name, form = entry, ""
            check_column(frame, name, self._option("date"))
            forms[name] = form
        return forms

    def _fit_column(
        self,
        column: pd.Series,
        rows: Indices,
        form: str | None,
        scale: float | None,
        findings: Findings,
    ) -> Column | None:
        """Return what is learned about a column; None where the chosen rows hold nothing."""
        name = str(column.name)
        if form is not None:
            return self._fit_dates(column, rows, form)
        cells = None
        if name in self.text or not has_numbers(column):
            cells = self._cells(column)
            if name in self.text or not self._is_of_numbers(cells):
                return self._fit_text(cells, rows, findings)
        if cells is not None and cells.leading_zeros:
            findings.codes(name, cells.leading_zeros)
        values = self._numbers(column, cells, findings)
        findings.look_at([name], values[None])
        return _fit_numbers(name, values[rows], scale)

    def _arrays(
        self, frame: pd.DataFrame, wanted: Iterable[str], findings: Findings
    ) -> dict[str, Array]:
        """Return those of the wanted columns that are numbers by their type, checked.

        Not one by one, which takes pandas a tenth of a millisecond a column.
        """
        dtypes = dict(zip(frame.columns, frame.dtypes, strict=True))
        plain = [n for n in wanted if isinstance(dtypes[n], np.dtype) and dtypes[n].kind in "biuf"]
        if not plain:
            return {}
        columns = np.ascontiguousarray(frame[plain].to_numpy(dtype=np.float64).T)
        checked = (self._checked(*column, findings) for column in zip(plain, columns, strict=True))
        return dict(zip(plain, checked, strict=True))

    def _fit_dates(self, column: pd.Series, rows: Indices, form: str) -> DateColumn | None:
        name = str(column.name)
        cells = None if column.dtype.kind == "M" else Cells(column, self.reading)
        if cells is not None and not form:
            form = self._find_form(cells)
        dates = read_dates(column, cells, form).iloc[rows]
        return None if dates.isna().all() else DateColumn.fit(name, form or ISO, dates)

    def _find_form(self, cells: Cells) -> str:
        """Return the form of a column's dates."""
        filled = [text for text, n in zip(cells.texts, cells.counts, strict=True) if n]
        texts = [text for text in filled if text not in GAPS]
        forms = date_forms(texts) if texts else [ISO]
        named = f"column {cells.name!r}"
        if not forms:
            alone = np.array([not date_forms([text]) for text in cells.texts[:1000]])
            wrong = np.zeros(len(cells.texts), dtype=bool)
            wrong[: len(alone)] = alone & (cells.counts > 0)[: len(alone)]
            text, row = cells.first(wrong if wrong.any() else cells.counts > 0)
            raise DataTypeError(
                f"{named} must hold dates of one form, got {text!r} in row {row}: "
                f"{self.remedy('date', f'{cells.name}=%d/%m/%Y')} tells the form, "
                f"{self.remedy('na', text)} takes a text as missing"
            )
        if len(forms) > 1:
            ways = " or ".join(self.remedy("date", f"{cells.name}={form}") for form in forms[:2])
            raise DataError(f"{named} has dates of two meanings, such as {texts[0]!r}: give {ways}")
        return forms[0]

    def _fit_text(self, cells: Cells, rows: Indices, findings: Findings) -> TextColumn | None:
        codes = cells.codes[rows]
        known = codes[codes >= 0]
        if not len(known):
            return None
        distinct = sorted(cells.texts[code] for code in np.unique(known))
        if len(distinct) > MOST_NAMES and len(distinct) > len(known) / 2:
            spells = self.reading.pattern().fullmatch
            odd = next((text for text in distinct if not spells(text)), distinct[0])
            if look_like_dates([odd]):
                raise DataTypeError(self._date_message(cells.name, f" such as {odd!r}"))
            raise DataError(
                f"column {cells.name!r} is text with {len(distinct)} distinct values in "
                f"{len(known)} rows, such as {odd!r}: {self.leave_out(cells.name)}, or make all "
                "its values numbers"
            )
        findings.take(cells.name, cells.listed)
        if look_like_dates(distinct):
            findings.add(
                "dates",
                f"column {cells.name!r} holds dates, such as {distinct[0]!r}, taken as categories; "
                f"{self.remedy('date', cells.name)} makes numbers of them",
            )
        return TextColumn(cells.name, distinct, len(known) < len(rows))

    def _cells(self, column: pd.Series) -> Cells:
        """Return the cells of a column that has no numbers by its type."""
        cells = Cells(column, self.reading)
        if cells.holds_dates and cells.name not in self.text:
            raise DataTypeError(self._date_message(cells.name, ""))
        return cells

    def is_of_numbers(self, column: pd.Series) -> bool:
        """Tell whether a column is one of numbers."""
        return has_numbers(column) or self._is_of_numbers(self._cells(column))

    def numbers(self, column: pd.Series, findings: Findings | None = None) -> Array:
        """Return the numbers of a column that was learned as such, NaN where they are missing."""
        cells = None
        if not has_numbers(column):
            cells = self._cells(column)
            if cells.odd.any():
                self._refuse_odd(cells, decided=True)
        return self._numbers(column, cells, findings or Findings(self))

    def _is_of_numbers(self, cells: Cells) -> bool:
        """Tell whether a column that has text in it is one of numbers."""
        if cells.mostly_numbers:
            return True
        if cells.spelled_otherwise():
            self._refuse_odd(cells)
        return False

    def _numbers(self, column: pd.Series, cells: Cells | None, findings: Findings) -> Array:
        """Return the numbers of a column, NaN where they are missing."""
        name = str(column.name)
        if cells is not None:
            if cells.odd.any():
                self._refuse_odd(cells)
            findings.take(name, cells.taken())
            values = cells.numbers()
        else:
            values = plain_numbers(column)
        return self._checked(name, values, findings)

    def _checked(self, name: str, values: Array, findings: Findings) -> Array:
        """Return finite numbers, NaN also for those that stand for a missing value."""
        for text in self.reading.na:
            if self.reading.pattern().fullmatch(text):
                listed = values == self.reading.number(text)
                findings.take(name, {text: int(listed.sum())})
                values = np.where(listed, np.nan, values)
        if np.isinf(values).any():
            row = int(np.isinf(values).argmax()) + 1
            raise DataError(f"column {name!r} must be finite, but is infinite in row {row}")
        return values

    def _refuse_odd(self, cells: Cells, *, decided: bool = False) -> None:
        """Raise the error of a column of numbers with cells that are none."""
        text, row = cells.first(cells.odd)
        others = int(cells.counts[cells.odd].sum()) - 1
        more = f" and {others} more {'cells' if others > 1 else 'cell'}" if others else ""
        ways = [
            " ".join(self.remedy(option, mark) for option, mark in way.items())
            for way in cells.spelled_otherwise()
        ]
        remedy = f"{' or '.join(ways)} reads numbers of that form"
        if not ways:
            remedy = f"{self.remedy('na', text)} takes it as missing"
        distinct = int((cells.counts > 0).sum())
        few = distinct <= MOST_NAMES or distinct <= cells.counts.sum() / 2
        if few and not decided:
            remedy += f", {self.remedy('text', cells.name)} makes categories of the column"
        raise DataTypeError(
            f"column {cells.name!r} must hold numbers, got {text!r} in row {row}{more}: {remedy}"
        )

    def _date_message(self, name: str, example: str) -> str:
        return (
            f"column {name!r} holds dates{example}: {self.remedy('date', name)} makes numbers of "
            f"them, {self.leave_out(name)}"
        )

    # -------------------------------------------------------------- the target

    def read_target(
        self,
        frame: pd.DataFrame,
        name: str,
        fitted: Target | None = None,
        findings: Findings | None = None,
    ) -> Truth:
        """Return a target column's labels or numbers, of its own kind or of one fitted before."""
        check_column(frame, name, self._option("target"))
        findings = findings or Findings(self)
        column = frame[name]
        text = name in self.text if fitted is None else fitted.text
        cells = None
        if text or not has_numbers(column):
            cells = Cells(column, self.reading)
            if cells.holds_dates and not text:
                raise DataTypeError(
                    f"target column {name!r} holds dates: make numbers or labels of them"
                )
            if fitted is None and not text:
                text = not self._is_of_numbers(cells) or self._is_of_codes(cells)
        if cells is not None and text:
            values: Any = np.array([*cells.texts, ""], dtype=str)[cells.codes]
            observed = cells.codes >= 0
            findings.take(name, cells.listed)
            findings.classes_named_as_gaps(cells)
            truth = False
        else:
            values = self._numbers(column, cells, findings)
            observed = ~np.isnan(values)
            truth = cells.truth if cells is not None else str(column.dtype).startswith("bool")
        if not observed.any():
            raise DataError(f"target column {name!r} is empty")
        known = values[observed]
        exact = None  # whole numbers of more digits than a float has
        if not text and column.dtype.kind in "iu" and np.abs(known).max() > MOST_EXACT:
            exact = np.zeros(len(values), column.dtype.kind + "8")
            exact[observed] = known = column[observed].to_numpy(exact.dtype)
        task = self._task(name, known, text, truth) if fitted is None else fitted.task
        if task == "regression":
            if fitted is None:
                findings.look_at_target(name, known)
        elif truth:
            values = values == 1
        elif exact is not None:
            values = exact
        elif not text and (known == np.floor(known)).all() and np.abs(known).max() < 2.0**63:
            if np.abs(known).max() > MOST_EXACT and not observed.all():
                raise DataError(
                    f"target column {name!r} has classes of more digits than a number keeps, and "
                    f"gaps: {self.remedy('text', name)} takes them as they are written"
                )
            values = np.where(observed, values, 0.0).astype(np.int64)
        return Truth(values, observed, task, text)

    def _is_of_codes(self, cells: Cells) -> bool:
        """Tell whether numbers are codes such as 007, which are not to lose their zeros."""
        if not cells.leading_zeros or self.task == "regression":
            return False
        return self.task is not None or task_of(cells.numbers()[cells.codes >= 0]) == TASKS[0]

    def _task(self, name: str, known: Any, text: bool, truth: bool) -> str:
        if self.task == "regression" and text:
            raise DataTypeError(
                f"target column {name!r} holds text such as {str(known[0])!r}: "
                f"{self.remedy('task', 'regression')} needs numbers"
            )
        if self.task is not None:
            return self.task
        return "classification" if text or truth else task_of(known)

    def check_classes(self, labels: Labels, name: str) -> Labels:
        """Return the distinct labels, in order."""
        classes = np.unique(labels)
        if len(classes) < 2:
            raise LabelError(f"target column {name!r} holds one class only: {classes[0]}")
        if len(classes) > MOST_NAMES and len(classes) > len(labels) / 2:
            remedy = self.remedy("task", "regression")
            hint = "" if labels.dtype.kind == "U" else f"; for a quantity give {remedy}"
            raise LabelError(
                f"target column {name!r} holds {len(classes)} distinct values in {len(labels)} "
                f"rows: these are no classes{hint}"
            )
        return classes

    # -------------------------------------------------------------- using them

    def transform(self, frame: Any) -> Array:
        """Return a network's inputs for each row of a frame.

        Columns may stand in any order; those that `fit` has not seen are ignored. A category that
        it has not seen is none of those that it has, with a `DataWarning`.

        Parameters
        ----------
        frame : pandas DataFrame, or what makes one

        Returns
        -------
        ndarray of shape (rows, len(names))

        Raises
        ------
        DataError, DataTypeError
            If a column is missing, or holds what does not fit it.
        """
        import warnings

        from pycnn.exceptions import DataWarning

        X, findings = self.encode(as_frame(frame))
        for note in findings.tell():
            warnings.warn(note, DataWarning, stacklevel=2)
        return X

    def targets(self, frame: Any) -> Labels:
        """Return what a network is to learn for each row of a frame: labels, or numbers.

        Parameters
        ----------
        frame : pandas DataFrame, or what makes one

        Returns
        -------
        ndarray of shape (rows,)
            Labels in their own type; a regression's numbers in their own unit.

        Raises
        ------
        DataError, DataTypeError, UnknownNameError
            If the target is not there, or missing in a row.
        """
        self._check_fitted()
        if self.target is None:
            raise DataError("the table was fitted without a target: fit(frame, target) names one")
        truth = self.read_target(as_frame(frame), self.target.name, self.target)
        if not truth.observed.all():
            row = int((~truth.observed).argmax()) + 1
            raise DataError(
                f"target column {self.target.name!r} is missing in row {row}: leave such rows out"
            )
        return truth.values

    def encode(self, frame: pd.DataFrame) -> tuple[Array, Findings]:
        """Return a network's inputs for each row, and what the user should know."""
        self._check_fitted()
        check_has(frame, [column.name for column in self.columns])
        X = np.zeros((len(frame), len(self.names)))
        findings = Findings(self)
        numbers = [column.name for column in self.columns if isinstance(column, NumberColumn)]
        arrays = self._arrays(frame, numbers, findings)
        start = 0
        for column in self.columns:
            stop = start + len(column.names)
            out, name = X[:, start:stop], column.name
            if isinstance(column, NumberColumn) and name in arrays:
                column.encode(arrays[name], out)
            else:
                self._encode_column(column, frame[name], out, findings)
            start = stop
        return X, findings

    def _encode_column(
        self, column: Column, values: pd.Series, out: Array, findings: Findings
    ) -> None:
        if isinstance(column, NumberColumn):
            column.encode(self.numbers(values, findings), out)
        elif isinstance(column, DateColumn):
            of_dates = values.dtype.kind == "M"
            texts = None if of_dates else Cells(values, self.reading)
            column.encode(read_dates(values, texts, column.form), out)
        else:
            cells = Cells(values, self.reading)
            findings.take(column.name, cells.listed)
            unseen = column.encode(cells, out)
            if unseen:
                findings.say(
                    f"column {column.name!r} has values that training did not see, taken as none "
                    f"of its categories: {', '.join(map(repr, unseen[:5]))}"
                    + (", ..." if len(unseen) > 5 else "")
                )

    def _check_fitted(self) -> None:
        if not self.columns:
            raise DataError("the table has not learned its columns yet: call fit first")

    # -------------------------------------------------------------- plain data

    def to_metadata(self) -> dict[str, Any]:
        """Return plain data for ``network.metadata["table"]``."""
        return {
            "columns": [asdict(column) for column in self.columns],
            "target": None if self.target is None else asdict(self.target),
            "source": self.source,
            "seed": self.seed,
            "test_size": self.test_size,
            "training_rows": self.training_rows,
            "reading": asdict(self.reading),
        }

    @classmethod
    def from_metadata(cls: type[Self], data: Any, inputs: int | None = None) -> Self:
        """Rebuild a table from the metadata of a model.

        Parameters
        ----------
        data : dict
            What `to_metadata` returned.
        inputs : int, optional
            How many inputs the network has.

        Returns
        -------
        Table

        Raises
        ------
        ModelFileError
            If the data are not those of a table, or not of one with so many inputs.
        """
        table = cls()
        try:
            data = dict(data)
            table.columns = [
                _build(kind, column)
                for column in data.pop("columns")
                for kind in [_kind_of(column)]
            ]
            target = data.pop("target")
            table.target = None if target is None else _build(Target, target)
            # Until version 0.1 these stood for a gap in any column, text or not.
            table.reading = _build(Reading, data.pop("reading", {"na": sorted(GAPS)})).check()
            for name in ("source", "seed", "test_size", "training_rows"):
                _check_type(data[name], type(getattr(table, name)))
                setattr(table, name, data.pop(name))
            names = [column.name for column in table.columns]
            sound = len(set(names)) == len(names) > 0 and not data
            sound = sound and table.seed >= 0 and 0 <= table.test_size < 1
            sound = sound and (inputs is None or len(table.names) == inputs)
            sound = sound and (table.target is None or table.target.task in TASKS)
            if not sound:
                raise ValueError
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
            raise ModelFileError("the model's table of columns does not fit its network") from None
        return table

    # -------------------------------------------------------------- words

    def _option(self, name: str) -> str:
        return f"--{name}" if self._in_shell else name

    def remedy(self, option: str, value: str) -> str:
        """Return a setting as it is typed."""
        if not self._in_shell:
            return f"{option}={[value] if option in ('na', 'text', 'date') else value!r}"
        from shlex import quote

        between = "=" if value.startswith("-") else " "
        return f"--{option}{between}{quote(value)}"

    def leave_out(self, name: str) -> str:
        """Return how a column is left out."""
        if not self._in_shell:
            return "leave it out of the frame"
        return f"{self.remedy('drop', name)} leaves it out"


# ------------------------------------------------------------------ helpers


def _fit_numbers(name: str, values: Array, scale: float | None) -> NumberColumn | None:
    """Return what is learned about numbers; None where there are none."""
    return None if np.isnan(values).all() else NumberColumn.fit(name, values, scale=scale)


def task_of(values: Array) -> str:
    """Return the task that fits a target of numbers."""
    distinct = np.unique(values)
    whole = bool((distinct == np.floor(distinct)).all())
    few = len(distinct) <= 2 or len(distinct) <= min(MOST_NUMERIC_CLASSES, len(values) / 2)
    return "classification" if whole and few else "regression"


def as_frame(frame: Any) -> pd.DataFrame:
    """Return a pandas frame whose columns have names, each its own."""
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        try:  # PyArrow and polars have frames of their own
            frame = frame.to_pandas() if hasattr(frame, "to_pandas") else pd.DataFrame(frame)
        except (TypeError, ValueError) as error:
            raise DataError(f"frame must be a data frame or make one: {error}") from None
    names = frame.columns.map(str)
    if not names.is_unique:
        raise DataError(f"frame names a column twice: {names[names.duplicated()][0]!r}")
    return frame if names.equals(frame.columns) else frame.set_axis(names, axis=1)


def check_column(frame: pd.DataFrame, name: str, what: str) -> None:
    """Raise `UnknownNameError` unless the table has that column."""
    if name in frame:
        return
    hint = suggest(name, frame.columns)
    columns = ", ".join(frame.columns[:12]) + (", ..." if len(frame.columns) > 12 else "")
    raise UnknownNameError(f"{what}: there is no column {name!r}; the columns are {columns}{hint}")


def check_has(frame: pd.DataFrame, names: Sequence[str]) -> None:
    """Raise `DataError` unless the table has all columns of a model."""
    missing = [name for name in names if name not in frame]
    if missing:
        listed = ", ".join(map(repr, missing[:8])) + (", ..." if len(missing) > 8 else "")
        raise DataError(
            f"the table lacks {len(missing)} of the model's {len(names)} columns: "
            f"{listed}{suggest(missing[0], frame.columns)}"
        )


def _kind_of(column: dict[str, Any]) -> type[Column]:
    if "categories" in column:
        return TextColumn
    return DateColumn if "form" in column else NumberColumn


T = TypeVar("T")


def _build(kind: type[T], data: dict[str, Any]) -> T:
    """Return a dataclass of plain data, or raise TypeError or ValueError."""
    made = kind(**data)
    for name, wanted in kind.__annotations__.items():
        value = getattr(made, name)
        _check_type(value, {"str": str, "bool": bool, "float": float}.get(wanted, list))
        if name == "scale" and value <= 0:
            raise ValueError(name)
        if isinstance(value, list):
            for item in value:
                _check_type(item, str)
            if len(set(value)) < len(value):
                raise ValueError(name)
    return made


def _check_type(value: Any, wanted: type) -> None:
    """Raise TypeError or ValueError unless a value is of a type, and finite."""
    if wanted is float:
        if type(value) not in (int, float) or not np.isfinite(float(value)):
            raise ValueError(value)
    elif type(value) is not wanted:
        raise TypeError(value)
