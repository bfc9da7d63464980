"""The cells of a table's column: which spell numbers, which stand for none, which are text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn.exceptions import DataError, DataTypeError

if TYPE_CHECKING:
    import pandas as pd

    from pycnn._typing import Array, Flags


# What R, SQL, pandas and spreadsheets write in a column of numbers where there is none.
GAPS = {"NA", "N/A", "n/a", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None", "<NA>"}
GAPS |= {"#NA", "#N/A", "#N/A N/A", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"}
TRUTH = {"True": 1.0, "TRUE": 1.0, "true": 1.0, "False": 0.0, "FALSE": 0.0, "false": 0.0}


@dataclass
class Reading:
    """How the cells of a table are read; what concerns a file alone comes last.

    Without a delimiter it is a comma, or a tab in a file named so.
    """

    na: list[str] = field(default_factory=list)
    decimal: str = "."
    thousands: str = ""
    delimiter: str = ""
    encoding: str = "utf-8"

    def check(self) -> Reading:
        """Return itself, or raise `DataError` for marks that cannot be told apart."""
        for name, mark in (("decimal", self.decimal), ("thousands", self.thousands or " ")):
            if len(mark) != 1 or mark.isalnum() or mark in "+-\n\r":
                raise DataError(f"{name} must be one character such as , or . but got {mark!r}")
        if self.decimal == self.thousands:
            raise DataError(f"decimal and thousands must differ, got {self.decimal!r} for both")
        return self

    def pattern(self) -> re.Pattern[str]:
        """Return what matches a number."""
        whole = r"\d+"
        if self.thousands:
            whole = rf"(?:\d{{1,3}}(?:{self._between()}\d{{3}})+|\d+)"
        point = re.escape(self.decimal)
        number = rf"(?:{whole}(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?|inf|infinity"
        return re.compile(rf"[+-]?(?:{number})", re.ASCII | re.IGNORECASE)

    def number(self, text: str) -> float:
        """Return the number that a text spells."""
        if self.thousands:
            text = re.sub(self._between(), "", text)
        return float(text.replace(self.decimal, "."))

    def _between(self) -> str:
        """Return what matches the mark between thousands; of spaces, those of any width."""
        return "[ \u00a0\u202f]" if self.thousands == " " else re.escape(self.thousands)


class Cells:
    """A column of text or of mixed values, seen by its distinct ones.

    Attributes
    ----------
    texts : list of str
        The distinct values.
    codes : ndarray of shape (rows,)
        Which of them each row holds; -1 for a cell that is empty or `Reading.na`.
    counts : ndarray of shape (len(texts),)
        How many rows hold each.
    values : ndarray of shape (len(texts),)
        The number that each spells, or NaN.
    gap, odd : ndarray of bool of shape (len(texts),)
        In a column of numbers: stands for none; is neither a number nor stands for none.
    truth : bool
        Whether the column holds truth values and nothing else.
    listed : dict
        How many rows hold each of `Reading.na`.
    """

    def __init__(self, column: pd.Series, reading: Reading) -> None:
        import pandas as pd

        self.name = str(column.name)
        self.reading = reading
        try:
            codes, distinct = pd.factorize(column.astype(object))
        except TypeError:
            raise DataTypeError(
                f"column {self.name!r} must hold numbers, text or dates, but holds lists or the "
                "like"
            ) from None
        self.texts = [as_text(value) for value in distinct]
        self.holds_dates = any(is_date(value) for value in distinct[:100])
        counts = np.bincount(codes[codes >= 0], minlength=len(distinct))
        bare = [text.strip() for text in self.texts]
        self.listed = {t: int(n) for t, n in zip(bare, counts, strict=True) if t in reading.na}
        blank = [not text or text in self.listed for text in bare]
        self.codes = np.where(np.array([*blank, True])[codes], -1, codes)
        self.counts = np.where(blank, 0, counts)

        words = {text for text, n in zip(bare, self.counts, strict=True) if n} - GAPS
        self.truth = bool(words) and words <= TRUTH.keys()
        # Signs alone, such as the classes + and -, are text.
        signs = bool(words) and not any(map(has_letters, words))
        self.values = np.full(len(distinct), np.nan)
        self.gap = np.zeros(len(distinct), dtype=bool)
        pattern = reading.pattern()
        for at in np.flatnonzero(self.counts):
            text = bare[at]
            if self.truth and text in TRUTH:
                self.values[at] = TRUTH[text]
            elif pattern.fullmatch(text):
                self.values[at] = reading.number(text)
            else:  # ? and - stand for "missing" in a column of numbers
                self.gap[at] = text in GAPS or not (signs or has_letters(text))
        self.odd = (self.counts > 0) & np.isnan(self.values) & ~self.gap

    @property
    def mostly_numbers(self) -> bool:
        """Whether numbers are more than half of what the column holds, or it holds gaps alone."""
        spelled, odd = self.counts[~np.isnan(self.values)].sum(), self.counts[self.odd].sum()
        return bool(spelled > odd) or not odd

    @property
    def leading_zeros(self) -> str:
        """A code such as 007, or nothing."""
        return next((t for t in self.texts if t.isdecimal() and len(t) > 1 and t[0] == "0"), "")

    def numbers(self) -> Array:
        """Return the number of each row, NaN where there is none."""
        return np.append(self.values, np.nan)[self.codes]

    def first(self, which: Flags) -> tuple[str, int]:
        """Return the first cell that is one of the chosen distinct values, and its row from 1."""
        row = int(np.append(which, False)[self.codes].argmax())
        return self.texts[self.codes[row]], row + 1

    def taken(self) -> dict[str, int]:
        """Return what a column of numbers has in place of one, and how often."""
        gaps = zip(self.texts, self.counts, self.gap, strict=True)
        return self.listed | {text: int(n) for text, n, gap in gaps if gap}

    def spelled_otherwise(self) -> list[dict[str, str]]:
        """Return the marks with which all odd cells would be numbers."""
        odd = [self.texts[at].strip() for at in np.flatnonzero(self.odd)]
        ways = [{"thousands": ","}, {"decimal": ","}, {"thousands": " "}, {"thousands": "'"}]
        ways += [{"thousands": "."}, {"decimal": "."}, {"decimal": ",", "thousands": "."}]
        fitting: list[dict[str, str]] = []
        for way in ways:
            other = replace(self.reading)
            for name, mark in way.items():
                setattr(other, name, mark)
            if other.decimal == other.thousands or (len(way) > 1 and fitting):
                continue
            if odd and all(map(other.pattern().fullmatch, odd)):
                fitting.append(way)
        return fitting


def as_text(value: Any) -> str:
    """Return a value as the text that a CSV file has for it."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def has_letters(text: str) -> bool:
    """Tell whether there are letters or digits in a text."""
    return any(map(str.isalnum, text))


def is_date(value: Any) -> bool:
    """Tell whether a value is a date by its type."""
    import datetime

    return isinstance(value, (datetime.date, np.datetime64))


def has_numbers(column: pd.Series) -> bool:
    """Tell whether a column holds numbers or truth values by its type."""
    import pandas as pd

    return bool(pd.api.types.is_numeric_dtype(column.dtype))


def plain_numbers(column: pd.Series) -> Array:
    """Return the numbers of a column that has them by its type, NaN where they are missing."""
    if column.dtype.kind == "c":
        raise DataTypeError(f"column {column.name!r} must hold real numbers, got complex ones")
    if isinstance(column.dtype, np.dtype):
        return column.to_numpy(dtype=np.float64)
    return column.to_numpy(dtype=np.float64, na_value=np.nan)
