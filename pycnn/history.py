"""What training has measured, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pycnn._public import names_of

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["History"]
__dir__ = names_of(__name__)


class History(Mapping[str, list[float]]):
    """A value an epoch for each quantity: ``history["loss"][-1]`` is the last epoch's loss.

    ``loss`` (and ``accuracy`` for classes) is the mean over the epoch's mini-batches as they were
    trained on, each before its own update; ``val_loss``, ``val_accuracy`` or ``val_r2``, and what
    `metrics` asks for, are those of the validation data after the epoch. With `LBFGS` the loss is
    that after the iteration. What was not measured, for want of weight or targets, is NaN.

    With ``diagnose=True``, for each layer l at the end of the epoch, on at most 256 of the rows
    that are trained on, always the same ones, with the network as it predicts:

    ======================  ================================================================
    ``gradient_norm_l``     Euclidean norm of the loss's gradient by the layer's W and b
    ``activation_mean_l``   mean of the activations A^[l]
    ``activation_std_l``    their standard deviation
    ``dead_share_l``        relu: fraction of the units that are 0 for all of these rows; of
                            images the features that are 0 at all places
    ``saturated_share_l``   sigmoid, tanh, softsign, hard ones: fraction of the activations where
                            the slope f' is below a hundredth of its greatest
    ``gradient_ratio_l``    recurrent, with the last step's output: mean norm of dL/dh at the first
                            step, over that at the last
    ======================  ================================================================

    Attributes
    ----------
    epochs : int
        Number of finished epochs.

    Examples
    --------
    >>> from pycnn import Dense, Network
    >>> history = Network(1, [Dense(1)], seed=0).fit([[0], [1]], [1, 3], epochs=20)
    >>> history.epochs, list(history), len(history["loss"])
    (20, ['loss'], 20)
    """

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}
        self.epochs = 0

    @classmethod
    def truncated(cls, series: Mapping[str, list[float]], epochs: int) -> History:
        """Return a history of the first so many epochs of another one's series."""
        history = cls()
        history.epochs = min(epochs, max(map(len, series.values()), default=0))
        history._values = {key: list(v[:epochs]) for key, v in series.items() if v[:epochs]}
        return history

    def __getstate__(self) -> dict[str, object]:
        """Return the epochs that are finished now: a training may write down more meanwhile."""
        return vars(self) | vars(History.truncated(self, self.epochs))

    def append(self, logs: Mapping[str, float]) -> None:
        """Add an epoch."""
        self.write({key: [value] for key, value in logs.items()}, 1)
        self.epochs += 1

    def write(self, columns: Mapping[str, list[float]], count: int) -> None:
        """Write down `count` epochs that count once `epochs` says so; without a column, as NaN.

        So an interruption, which may come between any two values, leaves no half of an epoch.
        """
        for key in {**self._values, **columns}:
            values = self._values.setdefault(key, [])
            if len(values) != self.epochs:
                self._align(values)
            values += columns.get(key) or [math.nan] * count

    def add(self, logs: Mapping[str, float]) -> None:
        """Give the last epoch more values; epochs without one have NaN."""
        for key, value in logs.items():
            values = self._values.setdefault(key, [])
            self._align(values)
            values[-1] = value

    def last(self) -> dict[str, float]:
        """Return the last epoch's values."""
        epochs, all_of_them = self.epochs, list(self._values.items()) if self.epochs else []
        return {
            key: values[-1] if len(values) == epochs else self[key][-1]
            for key, values in all_of_them
        }

    def _align(self, values: list[float]) -> None:
        """Give a series as many values as there are epochs."""
        del values[self.epochs :]
        values += [math.nan] * (self.epochs - len(values))

    def __getitem__(self, key: str) -> list[float]:
        values = self._values[key]
        if len(values) != self.epochs:  # an epoch is being written down, or was to be
            values = values[:]
            self._align(values)
        return values

    def __iter__(self) -> Iterator[str]:
        # Those of now: a training in another thread may add one.
        return iter(list(self._values) if self.epochs else ())

    def __len__(self) -> int:
        return len(self._values) if self.epochs else 0

    def __repr__(self) -> str:
        last = ", ".join(f"{key}={values[-1]:.4g}" for key, values in self.items())
        return f"History(epochs={self.epochs}{', last: ' + last if last else ''})"

    def _repr_html_(self) -> str:
        from pycnn._html import history_table

        return history_table(self, self.epochs)

    def to_frame(self) -> DataFrame:
        """Return the values as a data frame; needs pandas.

        Returns
        -------
        pandas.DataFrame
            A column a quantity; the index, ``epoch``, counts from 1.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise ImportError("to_frame needs pandas: pip install pandas") from None
        finished = History.truncated(self, self.epochs)  # a training may write down more meanwhile
        index = pandas.RangeIndex(1, finished.epochs + 1, name="epoch")
        return pandas.DataFrame(dict(finished), index=index, dtype=float)

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw the learning curves; needs the ``plot`` extra (Matplotlib).

        Parameters
        ----------
        path : path-like, optional
            Where to write the picture; its ending tells the format.

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it where it is a cell's last value.
        """
        from pycnn._plot import learning_curves

        return learning_curves(self, path)
