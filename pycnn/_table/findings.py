"""What the user should know about a table: what was taken for missing, what may mislead."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pycnn._table.cells import GAPS, Cells

if TYPE_CHECKING:
    from pycnn._typing import Array


# Fewer rows do not show that a column merely counts them, or what is far from the others.
FEWEST_ROWS = 20
# Numbers that stand for "missing" in many a file, where they lie far from the others.
SENTINELS = [sign * (10.0**n - 1) for n in range(1, 7) for sign in (-1, 1)]
# Values so few hide the others' differences if these spread less than by this share.
FEW, HIDDEN = 0.01, 0.01
# The skewness of an exponential distribution is 2.
SKEWED = 3.0
# Notes of one kind beyond these are counted only.
MOST_NOTES = 3


class Remedies(Protocol):
    """Who knows what a user can do about a finding, and how it is typed: a table."""

    def remedy(self, option: str, value: str) -> str:
        """Return a setting as it is typed."""
        ...

    def leave_out(self, name: str) -> str:
        """Return how a column is left out."""
        ...


class Findings:
    """What the user should know about a table; of many notes of one kind the first ones."""

    def __init__(self, remedies: Remedies) -> None:
        self.remedies = remedies
        self.taken: dict[str, tuple[int, list[str]]] = {}
        self.notes: dict[str, list[str]] = {}

    def say(self, note: str) -> None:
        """Keep a note that always counts."""
        self.notes.setdefault(note, []).append(note)

    def add(self, kind: str, note: str) -> None:
        """Keep a note of a kind that many columns may call for."""
        self.notes.setdefault(kind, []).append(note)

    def take(self, name: str, texts: dict[str, int]) -> None:
        """Keep what of a column was taken for missing."""
        for text, rows in texts.items():
            if rows:
                before, names = self.taken.get(text, (0, []))
                self.taken[text] = before + rows, [*names[:MOST_NOTES], name]

    def taken_for_missing(self) -> list[str]:
        """Return what was taken for missing, how often and where."""
        told = []
        for text, (rows, names) in self.taken.items():
            columns = ", ".join(names[:MOST_NOTES]) + (", ..." if names[MOST_NOTES:] else "")
            cells = "cells" if rows > 1 else "cell"
            told.append(f"taken as missing: {text!r} in {rows} {cells} of {columns}")
        return told

    def tell(self) -> list[str]:
        """Return all other notes."""
        told = []
        for notes in self.notes.values():
            told += notes[:MOST_NOTES]
            if notes[MOST_NOTES:]:
                told.append(f"... and so for {len(notes) - MOST_NOTES} more columns")
        return told

    def codes(self, name: str, example: str) -> None:
        """Keep that a column of codes is taken as numbers."""
        self.add(
            "codes",
            f"column {name!r} has codes with leading zeros, such as {example!r}, taken as numbers; "
            f"{self.remedies.remedy('text', name)} makes categories of them",
        )

    def classes_named_as_gaps(self, cells: Cells) -> None:
        """Keep that a class has a name that means "missing" elsewhere."""
        for text, rows in zip(cells.texts, cells.counts, strict=True):
            if rows and text in GAPS:
                self.say(
                    f"{text!r} is a class of the target {cells.name!r}, in {rows} rows; "
                    f"{self.remedies.remedy('na', text)} takes it as missing"
                )

    def look_at(self, names: Sequence[str], columns: Array, *, target: bool = False) -> None:
        """Keep what may mislead in columns of numbers (columns, rows), or in the target."""
        rows = columns.shape[1]
        if rows < FEWEST_ROWS:
            return
        with warnings.catch_warnings(), np.errstate(over="ignore", invalid="ignore"):
            warnings.simplefilter("ignore")  # columns without a number
            low, high = np.nanmin(columns, axis=1), np.nanmax(columns, axis=1)
            mean, deviation = np.nanmean(columns, axis=1), np.nanstd(columns, axis=1)
            distance = np.maximum(high - mean, mean - low)
        # What one value among equal ones reaches at most is (rows - 1) / sqrt(rows) deviations.
        far = distance > deviation * min(8.0, 0.9 * np.sqrt(rows))
        counting = high - low == rows - 1
        marked = np.isin(low, SENTINELS) | np.isin(high, SENTINELS)
        for at in np.flatnonzero(far | counting | marked).tolist():
            values = columns[at]
            known = values[~np.isnan(values)]
            if len(known) < FEWEST_ROWS:
                continue
            if counting[at] and not target:
                self._count_rows(names[at], values)
            if not any(self._mark(names[at], known, end) for end in (low[at], high[at])):
                self._outlier(names[at], values, known)

    def _count_rows(self, name: str, values: Array) -> None:
        """Keep that a column holds each of as many numbers in a row as there are rows."""
        if len(np.unique(values)) == len(values):
            self.add(
                "counts",
                f"column {name!r} counts the rows, {values.min():.0f} to {values.max():.0f}, which "
                f"tells nothing of new ones; {self.remedies.leave_out(name)}",
            )

    def _outlier(self, name: str, values: Array, known: Array) -> None:
        """Keep that few values are so far from the others that these become one."""
        middle = float(np.median(known))
        low, high = float(known.min()), float(known.max())
        few = int(len(known) * FEW) or 1
        far = np.abs(known - middle)
        rest = known[np.argsort(far, kind="stable")[:-few]]
        spread = float(rest.std())
        if 0 < spread < HIDDEN * known.std():
            value = high if high - middle > middle - low else low
            row = int((values == value).argmax()) + 1
            self.add(
                "outlier",
                f"column {name!r}: {value:g} in row {row} is so far from the others, "
                f"{rest.min():g} to {rest.max():g}, that it hides their differences",
            )

    def _mark(self, name: str, known: Array, value: float) -> bool:
        """Keep that a number far from the others may stand for "missing"; tell whether it may."""
        if value not in SENTINELS:
            return False
        others = known[known != value]
        rows = len(known) - len(others)
        if rows < 2 or len(others) < FEWEST_ROWS:
            return False
        low, high = float(others.min()), float(others.max())
        if low == high or max(low - value, value - high) <= high - low:
            return False
        self.add(
            "sentinel",
            f"column {name!r}: {value:g} in {rows} rows lies far from the others, {low:g} to "
            f"{high:g}; {self.remedies.remedy('na', f'{value:.0f}')} takes it as missing",
        )
        return True

    def look_at_target(self, name: str, known: Array) -> None:
        """Keep that few rows outweigh all others in a squared error."""
        if len(known) < FEWEST_ROWS:
            return
        self.look_at([name], known[None], target=True)
        with np.errstate(all="ignore"):
            standard = (known - known.mean()) / known.std()
            skewness = float((standard**3).mean())
        if skewness > SKEWED and known.min() >= 0:
            self.add(
                "skew",
                f"target column {name!r} is skewed, half of it below {np.median(known):g} but the "
                f"largest {known.max():g}: few rows outweigh the others; its logarithm may be "
                "learned better",
            )
