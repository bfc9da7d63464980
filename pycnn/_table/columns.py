"""What is learned about a table's column, and how its values become a network's inputs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pycnn._table.cells import GAPS, Cells
from pycnn.exceptions import DataError, DataTypeError

if TYPE_CHECKING:
    import pandas as pd

    from pycnn._typing import Array


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

    @property
    def names(self) -> list[str]:
        """Name each of the network's inputs."""
        return [self.name, f"{self.name} missing"] if self.missing else [self.name]

    def encode(self, values: Array, out: Array) -> None:
        """Write the network's inputs into `out` (rows, inputs)."""
        absent = np.isnan(values)
        out[:, 0] = np.where(absent, 0.0, (values - self.mean) / self.scale)  # 0 is the mean
        if self.missing:
            out[:, 1] = absent


@dataclass
class TextColumn:
    """A one-hot column of text; with `missing`, that is a category too."""

    name: str
    categories: list[str]
    missing: bool

    @property
    def names(self) -> list[str]:
        """Name each of the network's inputs."""
        names = [f"{self.name}={category}" for category in self.categories]
        return [*names, f"{self.name} missing"] if self.missing else names

    def encode(self, cells: Cells, out: Array) -> list[str]:
        """Write the network's inputs into `out` (rows, inputs); return what is no category."""
        known = {category: at for at, category in enumerate(self.categories)}
        places = [known.get(text, -1) for text in cells.texts]
        absent = len(known) if self.missing else -1
        place = np.array([*places, absent], dtype=np.intp)[cells.codes]
        rows = np.flatnonzero(place >= 0)
        out[rows, place[rows]] = 1.0
        found = zip(cells.texts, cells.counts, places, strict=True)
        return sorted(text for text, n, at in found if n and at < 0)


@dataclass
class DateColumn:
    """A column of dates: standardised days, then the cycles of year, week and, with `time`, day.

    `form` is how they are written, as `datetime.strptime` has it, or ``ISO8601``.
    """

    name: str
    form: str
    mean: float
    scale: float
    time: bool
    missing: bool

    @classmethod
    def fit(cls, name: str, form: str, dates: pd.Series) -> DateColumn:
        """Take mean and deviation of the dates that are there."""
        days = _days(dates)
        known = days[~np.isnan(days)]
        mean, scale = mean_and_deviation(known, name)
        time = bool((known != np.floor(known)).any())
        return cls(name, form, mean, scale, time, len(known) < len(days))

    @property
    def names(self) -> list[str]:
        """Name each of the network's inputs."""
        cycles = ["year", "week", "day"] if self.time else ["year", "week"]
        names = [f"{self.name} days"]
        names += [f"{self.name} {wave} of {cycle}" for cycle in cycles for wave in ("sin", "cos")]
        return [*names, f"{self.name} missing"] if self.missing else names

    def encode(self, dates: pd.Series, out: Array) -> None:
        """Write the network's inputs into `out` (rows, inputs)."""
        days = _days(dates)
        hour = days - np.floor(days)
        parts = (dates.dt.month, dates.dt.day, dates.dt.days_in_month)
        month, day, length = (part.to_numpy(dtype=np.float64) for part in parts)
        # Each in turns; the first day of 1970 was a Thursday, and weeks start on Monday.
        cycles = [(month - 1 + (day - 1 + hour) / length) / 12, (days + 3) % 7 / 7, hour]
        inputs = [(days - self.mean) / self.scale]
        for turn in cycles if self.time else cycles[:2]:
            inputs += [np.sin(2 * np.pi * turn), np.cos(2 * np.pi * turn)]
        absent = np.isnan(days)
        for at, values in enumerate(inputs):
            out[:, at] = np.where(absent, 0.0, values)
        if self.missing:
            out[:, -1] = absent


Column = NumberColumn | TextColumn | DateColumn


def mean_and_deviation(values: Array, name: str) -> tuple[float, float]:
    """Return both, the deviation as 1 where all values are the same."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = float(values.mean()), float(values.std())
    if not np.isfinite([mean, deviation]).all():
        raise DataError(f"column {name!r} holds numbers too large to be standardised")
    if deviation > 1e-6 * abs(mean):
        return mean, deviation
    # Measured from one of them, what the values have in common does not round their spread away.
    apart = values - values[0]
    mean, deviation = float(values[0] + apart.mean()), float(apart.std())
    # Whole numbers are exact; others may differ by a few units in the last place by rounding alone.
    largest = float(np.abs(values).max())
    whole = bool((values == np.floor(values)).all())
    rounding = 0.0 if whole else 8 * float(np.finfo(np.float64).eps) * largest
    return mean, deviation if np.ptp(values) > rounding else 1.0


# ------------------------------------------------------------------ dates

ISO = "ISO8601"
DAYS = ["%Y/%m/%d", "%Y.%m.%d"]
for year in ("%Y", "%y"):
    for sign in "/.-":
        DAYS += [f"%d{sign}%m{sign}{year}", f"%m{sign}%d{sign}{year}"]
    DAYS += [f"%d-%b-{year}", f"%d %b {year}"]
DAYS += ["%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y"]
TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", "T%H:%M:%S")
DATE_LIKE = re.compile(
    r"\d{1,4}[-/. ](\d{1,2}|[^\W\d]{3,9})[-/. ]\d{1,4}([T ].*)?|[^\W\d]{3,9} \d{1,2},? \d{4}( .*)?"
)


def _days(dates: pd.Series) -> Array:
    """Return days since 1970 and their parts, NaN where there is no date."""
    since = dates.to_numpy() - np.datetime64(0, "D")
    return np.asarray(since / np.timedelta64(1, "D"), dtype=np.float64)


def parse_dates(texts: Sequence[str], form: str) -> pd.Series:
    """Return the dates, in universal time, that are written in a form; NaT for what is not."""
    import pandas as pd

    dates = pd.to_datetime(pd.Series(texts, dtype=object), format=form, errors="coerce", utc=True)
    return dates.dt.tz_localize(None)


def date_forms(texts: Sequence[str]) -> list[str]:
    """Return the forms in which all of the texts are dates; those of one meaning once."""
    forms = [ISO, *(day + time for time in TIMES for day in DAYS)]
    for sample in (texts[:1], texts[:50], texts):  # the first text rules out most of them
        forms = [form for form in forms if parse_dates(sample, form).notna().all()]
    meanings: dict[bytes, str] = {}
    for form in forms:
        meanings.setdefault(_days(parse_dates(texts, form)).tobytes(), form)
    return list(meanings.values())


def look_like_dates(texts: Sequence[str]) -> bool:
    """Tell whether all of the texts are dates."""
    return bool(texts) and all(map(DATE_LIKE.fullmatch, texts)) and bool(date_forms(texts))


def read_dates(column: pd.Series, cells: Cells | None, form: str) -> pd.Series:
    """Return a column's dates, NaT where they are missing; `cells` are None for dates by type."""
    import pandas as pd

    if cells is None:
        zoned = getattr(column.dtype, "tz", None) is not None
        dates = column.dt.tz_convert("UTC").dt.tz_localize(None) if zoned else column
        return dates.reset_index(drop=True)
    try:
        dates = parse_dates(cells.texts, form)
    except ValueError as error:
        raise DataError(f"column {cells.name!r}, dates of the form {form!r}: {error}") from None
    filled = (cells.counts > 0) & ~np.isin(cells.texts, list(GAPS))
    wrong = filled & dates.isna().to_numpy()
    if wrong.any():
        text, row = cells.first(wrong)
        raise DataTypeError(
            f"column {cells.name!r} must hold dates of the form {form}, got {text!r} in row {row}"
        )
    dates = pd.concat([dates, pd.Series([pd.NaT], dtype=dates.dtype)], ignore_index=True)
    return dates.iloc[cells.codes].reset_index(drop=True)
