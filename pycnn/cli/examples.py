"""What a network is trained on, whatever it was read from, and the parts that are held out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from pycnn.cli import table as tables
from pycnn.exceptions import DataError

if TYPE_CHECKING:
    import pycnn
    from pycnn._typing import AnyArray, Indices
    from pycnn.table import Target

TEST_SIZE = 0.2
# Fewer examples hold out no test part unless they are told to, and no part to stop early by: they
# would decide nothing.
FEWEST_ROWS_TO_SPLIT = 50
VALIDATION_SIZE = 0.2  # of the training part; docs/defaults.md tells how it was chosen


class Examples(ABC):
    """Inputs `X`, and `y`: class indices, or the target's numbers in their own unit.

    `train` and `test` are places among them; `train` is parted into `fit`, which the network
    learns, and `validation`, which tells it when to stop.
    """

    # What an example is called, and the units of the hidden layers that suit them.
    things: ClassVar[str]
    hidden: ClassVar[tuple[int, ...]]

    X: AnyArray
    y: AnyArray
    goal: Target
    classes: Any = None
    unit: tuple[float, float] | None = None  # of the network's output: mean, deviation
    test_size: float
    train: Indices
    test: Indices
    fit: Indices
    validation: Indices

    def first_layers(self, activation: str) -> list[pycnn.layers.Layer]:
        """Return the layers in front of the hidden ones of `hidden`."""
        return []

    def first_sizes(self) -> list[str]:
        """Return the sizes of the inputs and of those layers, in words."""
        return [str(self.X.shape[1])]

    @abstractmethod
    def keep_with(self, network: pycnn.Network) -> None:
        """Put into the network's metadata how its inputs are made."""

    @abstractmethod
    def describe(self) -> str:
        """Return the data in two lines."""

    def compared(self, rows: Any) -> str:
        """Return what there is to hold a score on these rows against, in lines behind it."""
        return ""

    def network_target(self, rows: Any) -> Any:
        """Return what the network is to learn: labels, or numbers in their own unit."""
        return self.y[rows] if self.classes is None else self.classes[self.y[rows]]

    def _hold_out(
        self, rows: Indices, test_size: float | None, patience: int | None, seed: int
    ) -> None:
        """Part the examples at these places."""
        self.test_size = _check_test_size(test_size, len(rows))
        self.train, self.test = self._hold_out_test(rows, seed)
        self.fit, self.validation = self._hold_out_validation(patience, seed)

    def _hold_out_test(self, rows: Indices, seed: int) -> tuple[Indices, Indices]:
        """Return the rows to train on, and those of the test."""
        size, count = self.test_size, f"{len(rows)} {self.things}"
        train, test = self._split(rows, size, seed)
        if not len(train):
            raise DataError(f"--test-size {size} leaves none of {count} to train on")
        if size and not len(test):
            raise DataError(f"--test-size {size} of {count} is not one {self.things[:-1]}")
        return train, test

    def _hold_out_validation(self, patience: int | None, seed: int) -> tuple[Indices, Indices]:
        """Return the rows that the network learns, and those that tell it when to stop."""
        if patience == 0 or (patience is None and len(self.train) < FEWEST_ROWS_TO_SPLIT):
            return self.train, self.train[:0]
        # Another seed: the places within the training part are not to follow the test's.
        fit, validation = self._split(self.train, VALIDATION_SIZE, seed + 1)
        if not len(fit) or not len(validation):
            raise DataError(
                f"--patience holds out a part of the {self.things} to train on, and "
                f"{len(self.train)} are too few for it"
            )
        return fit, validation

    def _split(self, rows: Indices, size: float, seed: int) -> tuple[Indices, Indices]:
        """Return rows in two parts, each with its part of every class."""
        strata = None if self.classes is None else self.y[rows]
        rest, held_out = tables.split(len(rows), size, seed, strata)
        return rows[rest], rows[held_out]

    def _held(self) -> str:
        """Return in words what the test holds out."""
        if len(self.test):
            return f"{len(self.test)} held out for the test"
        if len(self.train) < FEWEST_ROWS_TO_SPLIT:
            return f"no test part, as there are less than {FEWEST_ROWS_TO_SPLIT}"
        return "no test part"


def _check_test_size(size: float | None, rows: int) -> float:
    """Return the fraction of the examples that the test holds out."""
    if size is None:
        size = TEST_SIZE if rows >= FEWEST_ROWS_TO_SPLIT else 0.0
    if not 0 <= size < 1:
        raise DataError(f"--test-size must be at least 0 and below 1, got {size}")
    return size
