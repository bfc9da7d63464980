"""Tables whose rows follow each other in time: windows of some rows, of which the next is foretold.

Nothing is shuffled across a split: what is held out is the end of the series, and the windows that
are trained on end before it, targets included.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

import pycnn
from pycnn._checks import check_size
from pycnn._table.columns import mean_and_deviation
from pycnn.cli import report
from pycnn.cli import table as tables
from pycnn.cli.examples import Examples
from pycnn.cli.output import as_csv, note
from pycnn.cli.using import encode
from pycnn.exceptions import DataError, ModelFileError, PycnnError
from pycnn.table import Target

if TYPE_CHECKING:
    import pandas as pd

    from pycnn._typing import Array, Indices
    from pycnn.cli.table import FileTable

# Numbers of the windows that are predicted together.
NUMBERS_PER_PIECE = 1 << 20
# Windows that something can be learned from.
FEWEST = 3


class Windows:
    """How rows become a network's inputs: `sequence` of them, for the one `horizon` behind.

    The target stands in a window, too: window i has the rows i ... i + sequence - 1.
    """

    def __init__(self, sequence: int, horizon: int, season: int) -> None:
        self.sequence, self.horizon, self.season = sequence, horizon, season

    def of(self, X: Array) -> Array:
        """Return all windows, (count, sequence, columns): views."""
        if len(X) < self.sequence:
            raise DataError(f"a window needs {self.sequence} rows, and the table has {len(X)}")
        every = np.lib.stride_tricks.sliding_window_view(X, self.sequence, axis=0)
        return np.moveaxis(every, -1, 1)

    @property
    def ahead(self) -> int:
        """Rows from the first one of a window to the one that is foretold."""
        return self.sequence - 1 + self.horizon

    def targets(self, values: Array) -> Array:
        """Return what each window is to foretell, as far as the table has it."""
        if len(values) <= self.ahead:
            raise DataError(
                f"--sequence {self.sequence} and --horizon {self.horizon} need "
                f"{self.ahead + 1} rows at least, and the table has {len(values)}"
            )
        return values[self.ahead :]

    def naive(self, values: Array) -> dict[str, Array]:
        """Return what needs no network, for the same: the last value, and that of a season ago."""
        count = len(self.targets(values))
        seasons = -(-self.horizon // self.season) * self.season
        ago = np.arange(count) + self.ahead - seasons
        before = np.full(count, np.nan)
        before[ago >= 0] = values[ago[ago >= 0]]
        return {
            "persistence": values[self.sequence - 1 :][:count],
            f"{self.season} before": before,
        }

    def compared(self, values: Array, windows: Any) -> str:
        """Return the errors of the naive forecasts, for those of these windows that have them."""
        true = self.targets(values)[windows]
        lines = [f"{'without a network':<18}{'RMSE':<12}MAE"]
        for name, forecast in self.naive(values).items():
            error = (forecast[windows] - true)[np.isfinite(forecast[windows])]
            if len(error):
                rmse = float(np.sqrt((error**2).mean()))
                lines.append(f"{name:<18}{rmse:<12.6g}{float(np.abs(error).mean()):.6g}")
        return "\n".join(lines)

    def to_metadata(self) -> dict[str, int]:
        """Return plain data for ``network.metadata["series"]``."""
        return dict(vars(self))


def stored(network: pycnn.Network) -> Windows | None:
    """Return how the rows of a series became the model's inputs; None for other models."""
    kept = network.metadata.get("series")
    if kept is None:
        return None
    try:
        windows = Windows(**{name: check_size(value, name) for name, value in kept.items()})
        if network.input_shape[0] != windows.sequence or len(network.input_shape) != 2:
            raise ValueError
    except (PycnnError, TypeError, ValueError, AttributeError):
        raise ModelFileError("the model's windows do not fit its network") from None
    return windows


class Series(Examples):
    """The windows of a table, in the order of time, each with the target to foretell."""

    things = "windows"
    hidden = (64,)

    def __init__(
        self,
        frame: pd.DataFrame,
        table: FileTable,
        target: str | None,
        windows: Windows,
        test_size: float | None,
        patience: int | None,
    ) -> None:
        if target is None:
            columns = report.listing(list(frame.columns), 20)
            raise DataError(f"--target is missing: the columns are {columns}")
        if table.task == "classification":
            raise DataError("--sequence foretells numbers: --task classification has none")
        tables.check_column(frame, target, "--target")
        table.task = "regression"
        self.values = table.read_target(frame, target).values
        self.y = windows.targets(self.values)
        observed = np.flatnonzero(np.isfinite(self.y))
        if not len(observed):
            raise DataError(f"target column {target!r} has nothing that a window could foretell")
        if len(observed) < len(self.y):
            lost = len(self.y) - len(observed)
            note(f"Note: left out, as their target {target!r} is missing: {lost} window(s)")
        self.windows = windows
        self._hold_out(observed, test_size, patience, table.seed)
        if len(self.train) < FEWEST:
            raise DataError(
                f"--sequence {windows.sequence}, --horizon {windows.horizon} and the test part "
                f"leave {len(self.train)} windows of {len(self.values)} rows to learn from, and "
                f"{FEWEST} are the least: smaller ones leave more"
            )
        table.test_size = self.test_size
        # Of what is held out nothing is known, not even the mean.
        seen = int(self.train[-1]) + windows.ahead + 1
        table.fit_frame(frame, None, np.arange(seen), frame.attrs.get("codes", {}))
        for told in table.notes:
            note(f"Note: {told}")
        table.target = self.goal = Target(target, "regression")
        self.table = table
        self.unit = mean_and_deviation(self.y[self.train], target)
        self.X = windows.of(encode(table, frame, taken=False))

    def _split(self, rows: Indices, size: float, seed: int) -> tuple[Indices, Indices]:
        """Return what comes first, and the end; a sequence is not shuffled."""
        rest = len(rows) - round(len(rows) * size)
        return rows[:rest], rows[rest:]

    def first_layers(self, activation: str) -> list[pycnn.layers.Layer]:
        """Return what makes one row of a window."""
        return [pycnn.Flatten()]

    def first_sizes(self) -> list[str]:
        """Return a window's sizes."""
        return ["x".join(map(str, self.X.shape[1:]))]

    def keep_with(self, network: pycnn.Network) -> None:
        """Keep the transform with the network, and the windows."""
        network.metadata["table"] = self.table.to_metadata()
        network.metadata["series"] = self.windows.to_metadata()

    def describe(self) -> str:
        """Return the data in two lines."""
        steps = "the next row" if self.windows.horizon == 1 else f"{self.windows.horizon} rows on"
        return (
            f"data      {self.table.source}: {len(self.values)} rows as {len(self.y)} windows of "
            f"{self.windows.sequence} rows and {self.X.shape[2]} inputs; {self._held()}\n"
            f"target    {report.shown(self.goal.name)}, {steps}; what is held out is the end"
        )

    def compared(self, rows: Any) -> str:
        """Return what needs no network, to hold its score against."""
        return "\n\n" + self.windows.compared(self.values, rows)


# ------------------------------------------------------------------ using a model


def forecasts(network: pycnn.Network, windows: Windows, X: Array, target: Target) -> Iterator[str]:
    """Return forecasts as CSV: the number of the row that is foretold, from 1, and its target."""
    every = windows.of(X)
    yield as_csv([["row", target.name]])
    step = max(1, NUMBERS_PER_PIECE // (windows.sequence * X.shape[1]))
    for first in range(0, len(every), step):
        outputs = network.predict(every[first : first + step])[:, 0]
        rows = range(first + windows.ahead + 1, first + windows.ahead + 1 + len(outputs))
        yield as_csv(zip(rows, outputs.tolist(), strict=True))


def scored(network: pycnn.Network, windows: Windows, X: Array, values: Array) -> tuple[int, str]:
    """Return how many windows of a table have a target, and the scores on them."""
    true = windows.targets(values)
    observed = np.flatnonzero(np.isfinite(true))
    every = windows.of(X)
    step = max(1, NUMBERS_PER_PIECE // (windows.sequence * X.shape[1]))
    pieces = [observed[first : first + step] for first in range(0, len(observed), step)]
    predicted = np.concatenate([network.predict(every[piece])[:, 0] for piece in pieces])
    text = report.regression_report(true[observed], predicted)
    return len(observed), f"{text}\n\n{windows.compared(values, observed)}"
