"""`Reader`: how one network reads what users hand in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn._checks import is_open
from pycnn._checks import known as known_size
from pycnn._data.arrays import (
    as_lengths,
    as_weights,
    check_columns,
    check_finite,
    column_names,
    from_nullable,
    is_ready,
)
from pycnn._data.sources import LazyTable, as_table
from pycnn._data.targets import TargetEncoder, Targets
from pycnn._data.tokens import Tokens, check_range, fitted
from pycnn.backend.interface import Data, up_to_lengths
from pycnn.exceptions import ShapeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycnn._data.arrays import Finder
    from pycnn._data.scaling import TargetScale
    from pycnn._typing import AnyArray, Array, Indices, Shape


_NAMES = "X", "y", "sample_weight", "lengths"


class Reader:
    """How a network reads what users hand in, by what it has learned of it.

    It is never changed: what a training has learned of its data is another reader.

    Parameters
    ----------
    shape : tuple of int
        Of a sample.
    find_not_finite : callable
    check_lengths : callable
        Raises where a layer knows no lengths.
    find_positions : callable
        Returns those of the outputs, by how many numbers a sample has; None: these are one row.
    names : tuple of str or None
        Those of the columns, once learned.
    encoder : TargetEncoder
    """

    __slots__ = (
        "check_lengths",
        "encoder",
        "find_not_finite",
        "find_positions",
        "names",
        "shape",
        "takes_arrays",
    )

    def __init__(
        self,
        shape: Shape,
        find_not_finite: Finder,
        check_lengths: Callable[[], None],
        find_positions: Callable[[int], int | None],
        names: tuple[str, ...] | None,
        encoder: TargetEncoder,
    ) -> None:
        self.shape, self.find_not_finite = shape, find_not_finite
        self.check_lengths, self.find_positions = check_lengths, find_positions
        self.names, self.encoder = names, encoder
        # Whether arrays of numbers are what the core reads, without a question.
        self.takes_arrays = len(shape) == 1 and encoder.takes_numbers

    def rows(self, X: Any, name: str) -> Array | LazyTable:
        """Return a checked table, unread where it would take much memory.

        A data frame's columns must have the names that are known.
        """
        check_columns(X, name, self.names)
        X, shape = fitted(self.shape, X, name)
        return as_table(X, name, shape, self.find_not_finite)

    def sequences(
        self, X: Any, name: str, lengths: Any, called: str
    ) -> tuple[Array | LazyTable, Indices | None]:
        """Return a table as `rows` does, and the lengths, behind which it is not looked at."""
        if lengths is None:
            return self.rows(X, name), None
        self.check_lengths()
        check_columns(X, name, self.names)
        X, shape = fitted(self.shape, X, name)
        values = X
        if column_names(X) is not None:
            values = np.asarray(from_nullable(X, "iu", np.int64))
        x = as_table(values, name, shape, None, all_there=False)
        checked = as_lengths(lengths, called, len(x), shape[0])
        if isinstance(x, LazyTable):
            return x.with_lengths(checked), checked
        if isinstance(shape, Tokens):
            x = up_to_lengths(x, checked, shape[0])
            check_range(x, name, shape)
        elif self.find_not_finite(x) != x.size:
            x = up_to_lengths(x, checked, shape[0])
            check_finite(x.reshape(-1, *shape), name)
        return x, checked

    def read(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        lengths: Any = None,
        *,
        called: tuple[str, str, str, str] = _NAMES,
        learn: bool = False,
        missing: bool = False,
    ) -> tuple[Data, Targets]:
        """Return checked samples, and their targets with the classes that these show.

        Parameters
        ----------
        called : tuple of str
            The user's names for the four.
        learn, missing : bool
            As for `TargetEncoder.encode`.
        """
        if self.takes_arrays and sample_weight is None and lengths is None:
            ready = self._read_arrays(X, y)
            if ready is not None:
                return ready, Targets(ready.y, None)
        return self._read_any(X, y, sample_weight, lengths, called, learn, missing)

    def _read_any(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        lengths: Any,
        called: tuple[str, str, str, str],
        learn: bool,
        missing: bool,
    ) -> tuple[Data, Targets]:
        """Return what `read` promises, of samples that do not lie as the core reads them."""
        x, known = self.sequences(X, called[0], lengths, called[3])
        encoder = self._encoder_for(x)
        positions = encoder.positions
        ends = None if positions is None else known  # those of the targets
        how = {"learn": learn, "missing": missing}
        find = self.find_not_finite
        try:
            targets = encoder.encode(y, called[1], len(x), lengths=ends, find=find, **how)
        except ShapeError as error:
            each = len(x), x.shape[1] // known_size(self.shape[1:])
            sequences = len(self.shape) == 2 or isinstance(self.shape, Tokens)
            if positions is not None or not sequences or np.shape(y)[:2] != each:
                raise
            raise ShapeError(
                f"{error}; the network makes one output of a whole sequence, where "
                "return_sequences=True in its last recurrent layer leaves one at each position"
            ) from None
        weight = as_weights(sample_weight, called[2], len(x), positions, ends)
        return Data(x, targets.y, weight, known), targets

    def samples(
        self, X: Any, y: Any, sample_weight: Any, lengths: Any, *, missing: bool = False
    ) -> Data:
        """Return checked samples, of which nothing is learned."""
        if self.takes_arrays and sample_weight is None and lengths is None:
            ready = self._read_arrays(X, y)
            if ready is not None:
                return ready
        return self._read_any(X, y, sample_weight, lengths, _NAMES, False, missing)[0]

    def _read_arrays(self, X: Any, y: Any) -> Data | None:
        """Return samples that lie as the core reads them; None: others, or not finite ones."""
        if not (is_ready(X) and is_ready(y) and X.shape[1:] == self.shape):
            return None
        rows, units, find = len(X), self.encoder.units, self.find_not_finite
        if y.shape != (rows, units):
            if y.shape != (rows,) or units != 1:
                return None
            y = y.reshape(rows, 1)
        if not rows or find(X) != X.size or find(y) != y.size:
            return None
        return Data(X, y, None)

    def _encoder_for(self, x: Array | LazyTable) -> TargetEncoder:
        """Return the encoder of the targets of such samples."""
        own = self.encoder
        if not is_open(self.shape):
            return own
        positions = self.find_positions(x.shape[1])
        return TargetEncoder(own.loss, own.units, own.classes, own.scale, positions)

    def encoding(self, classes: AnyArray | None, scale: TargetScale | None) -> Reader:
        """Return a reader whose encoder has these classes, and this scale."""
        own = self.encoder
        encoder = TargetEncoder(own.loss, own.units, classes, scale, own.positions)
        return self._with(self.names, encoder)

    def naming(self, names: tuple[str, ...] | None) -> Reader:
        """Return a reader of columns with these names."""
        return self._with(names, self.encoder)

    def _with(self, names: tuple[str, ...] | None, encoder: TargetEncoder) -> Reader:
        callables = self.find_not_finite, self.check_lengths, self.find_positions
        return Reader(self.shape, *callables, names, encoder)

    def after(self, X: Any, targets: Targets) -> Reader:
        """Return the reader of a network that has learned from such samples."""
        names = self.names or column_names(X)
        if targets.classes is self.encoder.classes and names is self.names:
            return self  # nothing new
        return self.encoding(targets.classes, self.encoder.scale).naming(names)
