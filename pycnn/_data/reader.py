"""`Reader`: how one network reads what users hand in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pycnn._data.arrays import as_weights, check_columns, column_names
from pycnn._data.sources import LazyTable, as_table
from pycnn._data.targets import TargetEncoder
from pycnn.backend.interface import Data

if TYPE_CHECKING:
    from pycnn._data.arrays import Finder
    from pycnn._data.scaling import TargetScale
    from pycnn._data.targets import Targets
    from pycnn._typing import AnyArray, Array, Shape


class Reader:
    """How a network reads what users hand in, by what it has learned of it.

    It is never changed: what a training has learned of its data is another reader.

    Parameters
    ----------
    shape : tuple of int
        Of a sample.
    find_not_finite : callable
    names : tuple of str or None
        Those of the columns, once learned.
    encoder : TargetEncoder
    """

    __slots__ = ("encoder", "find_not_finite", "names", "shape")

    def __init__(
        self,
        shape: Shape,
        find_not_finite: Finder,
        names: tuple[str, ...] | None,
        encoder: TargetEncoder,
    ) -> None:
        self.shape, self.find_not_finite = shape, find_not_finite
        self.names, self.encoder = names, encoder

    def rows(self, X: Any, name: str) -> Array | LazyTable:
        """Return a checked table, unread where it would take much memory.

        A data frame's columns must have the names that are known.
        """
        check_columns(X, name, self.names)
        return as_table(X, name, self.shape, self.find_not_finite)

    def read(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        called: tuple[str, str, str] = ("X", "y", "sample_weight"),
        learn: bool = False,
        missing: bool = False,
    ) -> tuple[Data, Targets]:
        """Return checked samples, and their targets with the classes that these show.

        Parameters
        ----------
        called : tuple of str
            The user's names for the three.
        learn, missing : bool
            As for `TargetEncoder.encode`.
        """
        x = self.rows(X, called[0])
        targets = self.encoder.encode(y, called[1], len(x), learn=learn, missing=missing)
        return Data(x, targets.y, as_weights(sample_weight, called[2], len(x))), targets

    def encoding(self, classes: AnyArray | None, scale: TargetScale | None) -> Reader:
        """Return a reader whose encoder has these classes, and this scale."""
        encoder = TargetEncoder(self.encoder.loss, self.encoder.units, classes, scale)
        return Reader(self.shape, self.find_not_finite, self.names, encoder)

    def naming(self, names: tuple[str, ...] | None) -> Reader:
        """Return a reader of columns with these names."""
        return Reader(self.shape, self.find_not_finite, names, self.encoder)

    def after(self, X: Any, targets: Targets) -> Reader:
        """Return the reader of a network that has learned from such samples."""
        names = self.names or column_names(X)
        if targets.classes is self.encoder.classes and names is self.names:
            return self  # nothing new
        return self.encoding(targets.classes, self.encoder.scale).naming(names)
