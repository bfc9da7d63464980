"""`BatchStream`: mini-batches that the user makes, from whatever can be iterated over."""

from __future__ import annotations

import contextlib
import itertools
import operator
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pycnn._data.sources import whole
from pycnn.exceptions import DataError, DataTypeError, DataWarning, warn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pycnn._data.reader import Reader
    from pycnn.backend.interface import Data

# The length of an iterable whose length nobody knows.
UNKNOWN = 1 << 40


def is_stream(X: Any, y: Any) -> bool:
    """Tell whether `X` is meant as an iterable of mini-batches."""
    if y is not None or isinstance(X, np.ndarray) or hasattr(X, "__array__"):
        return False
    if isinstance(X, (list, tuple)):
        return bool(X) and all(isinstance(item, tuple) and 2 <= len(item) <= 4 for item in X)
    return callable(X) or hasattr(X, "__iter__")


class BatchStream:
    """Mini-batches from an iterable: each of its items counts as a row."""

    weight: Any = None

    def __init__(
        self,
        reader: Reader,
        source: Any,
        epochs: int,
        missing: bool,
        least_batch: Callable[[Data], int],
    ) -> None:
        self.reader, self.source = reader, source  # the reader learns from the mini-batches
        self.missing = missing  # whether NaN targets have not been observed
        self.least_batch = least_batch  # samples that such a mini-batch must have
        if not callable(source) and iter(source) is source and epochs > 1:
            raise DataError(
                "X can be gone through only once, but epochs is more than 1: give a list, a "
                "function that returns a new iterator, or an object with __iter__ of its own"
            )
        self.said = UNKNOWN  # its length, by its own account
        if not callable(source):
            with contextlib.suppress(TypeError, NotImplementedError):
                self.said = operator.length_hint(source, UNKNOWN)
        self.rows = max(1, self.said)
        self.at = -1  # number of the item that comes next; -1: not begun
        self.seen = 0  # samples of those before it
        self.items: Iterator[Any] = iter(())
        self.ahead: list[Any] = []  # the item that comes next, where it has been asked for
        self.counted = 0  # items of the epoch that has ended last
        self.lone = False  # it has been told that the last of them has one sample

    def more(self) -> bool:
        """Tell whether there is another mini-batch."""
        if not self.ahead:
            self.ahead = list(itertools.islice(self.items, 1))
        return bool(self.ahead)

    def peek(self) -> Data:
        """Return the first mini-batch, which comes again.

        Raises
        ------
        DataError
            If there is none, or it has too few samples.
        """
        self.go_to(0)
        begun = list(self.ahead) if self.more() else []
        first = self.following()
        if first is None:
            raise DataError("X must have at least one mini-batch")
        self.at, self.seen, self.ahead = 0, 0, begun
        return first

    def go_to(self, position: int) -> None:
        """Make item number `position` the next."""
        if not 0 <= self.at <= position:
            items = self.source() if callable(self.source) else self.source
            try:
                self.items = iter(cast("Iterable[Any]", items))
            except TypeError:
                raise DataTypeError(
                    "X must return an iterator of mini-batches when it is called, "
                    f"got {items!r:.80}"
                ) from None
            self.at, self.seen, self.ahead = 0, 0, []
        while self.at < position and self.following() is not None:
            pass

    def following(self) -> Data | None:
        """Return the next mini-batch; None behind the last."""
        if not self.more():
            return None
        if self.at >= 1000 + 10 * self.said:  # no honest length is wrong by so much
            raise DataError(
                f"X has a length of {self.said}, but has yielded {self.at} mini-batches and goes "
                "on: an epoch is all that it yields, so its iterator must come to an end"
            )
        data = self._read(self.ahead.pop())
        self.at += 1
        self.seen += data.rows
        if data.rows < self.least_batch(data):
            data = data.take(np.zeros(1, np.intp))  # its memory may be that of the next one, too
            self._check_lone()
        return data

    def _check_lone(self) -> None:
        """Refuse a mini-batch of one sample for `BatchNorm`; warn where it is but the last."""
        if self.at == 1 or self.more():
            raise DataError(
                f"mini-batches of X must have at least 2 samples for BatchNorm, but number "
                f"{self.at - 1} has one, which has no variance; LayerNorm normalizes samples one "
                "by one"
            )
        if not self.lone:
            self.lone = True
            warn_lone_sample("X ends with a")

    def _read(self, item: Any) -> Data:
        what = f"mini-batch {self.at} of X"
        if not isinstance(item, (tuple, list)) or not 2 <= len(item) <= 4:
            raise DataTypeError(
                f"{what} must be (x, y), (x, y, sample_weight) or (x, y, sample_weight, lengths), "
                f"got {item!r:.80}"
            )
        x, y, *beside = item
        called = f"x in {what}", f"y in {what}", f"weights in {what}", f"lengths in {what}"
        data, targets = self.reader.read(
            x, y, *beside, called=called, learn=True, missing=self.missing
        )
        self.reader = self.reader.after(x, targets)
        return whole(data)


def warn_lone_sample(what: str) -> None:
    """Warn that an epoch ends with a mini-batch of one sample, in a network with `BatchNorm`."""
    warn(
        f"{what} mini-batch of one sample, of which BatchNorm, having no variance, makes the same "
        "numbers whatever it is: that step is noise. Choose another batch_size, or leave a sample "
        "out",
        DataWarning,
    )
