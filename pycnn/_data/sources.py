"""Where a training's samples come from, when they do not lie in memory as the core reads them.

`Rows` are a table of another kind: of a smaller dtype, in a file, or sparse. `Batches` are
mini-batches that the user makes. `train` hands either to a backend in pieces, a few megabytes of
float64 at a time, with the same results, to the bit, as if all lay in memory.
"""

from __future__ import annotations

import contextlib
import itertools
import operator
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pycnn import _random
from pycnn._checks import find_not_finite
from pycnn._data.arrays import (
    as_matrix,
    as_weights,
    check_columns,
    column_names,
)
from pycnn._data.targets import TargetEncoder
from pycnn.backend.interface import Data
from pycnn.exceptions import DataError, DataTypeError, DataWarning, ShapeError, warn

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from pycnn._data.arrays import Finder
    from pycnn._data.scaling import TargetScale
    from pycnn._data.targets import Targets
    from pycnn._typing import AnyArray

    Array = NDArray[np.float64]
    # (x, y, rng) -> (x, y)
    Augment = Callable[[Array, Array, np.random.Generator], tuple[Any, Any]]

# A table that takes no more bytes than this as float64 is converted at once: that is faster.
WHOLE = 64 << 20
# Bytes of float64 that a piece has about; the core reads it from the third-level cache.
PIECE = 8 << 20
# Rows of a file that are read before their pages are let go: a page may be one of 2 MB.
TOGETHER = 64
# Bytes of a file's column that are read before: those of rows lie all over it, in order.
STRETCH = 16 << 20
# Of an iterable whose length nobody knows.
UNKNOWN = 1 << 40


class Rows:
    """A table whose rows become float64 when they are asked for."""

    def __init__(self, values: Any, name: str, index: NDArray[np.intp] | None = None) -> None:
        self.values, self.name = values, name
        self.index = index  # of the rows that belong to it; None: all

    def __len__(self) -> int:
        return int(self.values.shape[0]) if self.index is None else len(self.index)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self), int(self.values.shape[1])

    @property
    def ndim(self) -> int:
        """Two."""
        return 2

    def select(self, index: NDArray[np.intp]) -> Rows:
        """Return some of the rows, still unread."""
        return Rows(self.values, self.name, index if self.index is None else self.index[index])

    def __getitem__(self, index: Any) -> Array:
        """Read rows; those of a file do not stay in memory."""
        if self.index is not None:
            index = self.index[index]
        if _file_of(self.values) is not None:
            if isinstance(index, slice):
                index = np.arange(*index.indices(self.values.shape[0]))
            with np.errstate(over="ignore"):  # what overflows is refused as infinite
                block = _read_file(self.values, index)
        else:
            part = self.values[index]
            if hasattr(part, "toarray"):  # sparse
                part = part.toarray()
            with np.errstate(over="ignore"):
                block = np.array(part, dtype=np.float64, order="C")
        if self.values.dtype.kind not in "biu":
            place = find_not_finite(block)
            if place != block.size:
                row, column = divmod(place, block.shape[1])
                number = np.arange(self.values.shape[0])[index][row]
                what = "NaN" if np.isnan(block[row, column]) else "infinite"
                raise DataError(
                    f"{self.name} must be finite, but is {what} at row {number}, column {column}"
                )
        return block

    def pieces(self) -> Iterator[tuple[slice, Array]]:
        """Read all rows in order, a few megabytes at a time."""
        step = max(1, PIECE // (8 * self.shape[1]))
        for first in range(0, len(self), step):
            part = slice(first, min(first + step, len(self)))
            yield part, self[part]


def _read_file(values: Any, index: NDArray[np.intp]) -> Array:
    """Return rows of a file as float64; its pages are let go every now and then.

    Where numbers of a column are neighbours (Fortran's order), each row has a page of its own in
    every column: a column is read for all rows at a time, in the order of the file, so that no page
    is wanted twice.
    """
    table = np.asarray(values)
    by_row, by_column = map(abs, table.strides)
    if by_row >= by_column:
        block = np.empty((len(index), table.shape[1]))
        for first in range(0, len(index), TOGETHER):
            some = slice(first, first + TOGETHER)
            block[some] = table[index[some]]
            _let_go(values)
        return block
    order = np.argsort(index, kind="stable")
    rows = index[order]
    block = np.empty((table.shape[1], len(rows)))
    span = max(1, by_row * int(rows[-1] - rows[0]))
    together = max(TOGETHER, len(rows) * STRETCH // span)
    read = 0
    for column, into in zip(table.T, block, strict=True):
        for first in range(0, len(rows), together):
            if read >= together:
                _let_go(values)
                read = 0
            some = slice(first, first + together)
            into[some] = column[rows[some]]
            read += len(rows[some])
    _let_go(values)
    result = np.empty(block.T.shape)
    result[order] = block.T
    return result


def _file_of(values: Any) -> mmap.mmap | None:
    """Return the map of a file whose pages can be let go: in mode "c" changes would be lost."""
    file = getattr(values, "_mmap", None)
    if file is None:
        return None
    import mmap

    shared = getattr(values, "mode", None) in ("r", "r+", "w+")
    return file if isinstance(file, mmap.mmap) and shared else None


def _let_go(values: Any) -> None:
    """Let the system take back the memory that holds what was read of a file."""
    file = _file_of(values)
    if file is not None:
        import mmap

        if hasattr(mmap, "MADV_DONTNEED"):
            file.madvise(mmap.MADV_DONTNEED)


def as_rows(value: Any, name: str, columns: int, find: Any) -> Array | Rows:
    """Return a table as the core reads it or, where that would take much memory, unread.

    Raises
    ------
    ShapeError, DataTypeError, DataError
        As `as_matrix`.
    """
    sparse = type(value).__module__.partition(".")[0] == "scipy" and hasattr(value, "tocsr")
    if sparse:
        value = value.tocsr()
        if value.dtype.kind not in "biuf":
            raise DataTypeError(f"{name} must hold real numbers, got dtype {value.dtype}")
    elif not (
        isinstance(value, np.ndarray)
        and value.dtype.kind in "biuf"
        and not isinstance(value, np.ma.MaskedArray)
        and (isinstance(value, np.memmap) or value.dtype != np.float64)
        and value.size * 8 > WHOLE
    ):
        return as_matrix(value, name, columns, find)
    if value.ndim != 2 or value.shape[1] != columns:
        raise ShapeError(f"{name} must have shape (samples, {columns}), got {value.shape}")
    if not value.shape[0]:
        raise DataError(f"{name} must have at least one sample, got shape {value.shape}")
    rows = Rows(value, name)
    return rows[:] if sparse and rows.shape[0] * columns * 8 <= WHOLE else rows


class Reader:
    """How a network reads what users hand in, by what it has learned of it.

    It is never changed: what a training has learned of its data is another reader.

    Parameters
    ----------
    columns : int
        n_0.
    find_not_finite : callable
    names : tuple of str or None
        Those of the columns, once learned.
    encoder : TargetEncoder
    """

    __slots__ = ("columns", "encoder", "find_not_finite", "names")

    def __init__(
        self,
        columns: int,
        find_not_finite: Finder,
        names: tuple[str, ...] | None,
        encoder: TargetEncoder,
    ) -> None:
        self.columns, self.find_not_finite = columns, find_not_finite
        self.names, self.encoder = names, encoder

    def rows(self, X: Any, name: str) -> Array | Rows:
        """Return a checked table, unread where it would take much memory.

        A data frame's columns must have the names that are known.
        """
        check_columns(X, name, self.names)
        return as_rows(X, name, self.columns, self.find_not_finite)

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
        return Reader(self.columns, self.find_not_finite, self.names, encoder)

    def naming(self, names: tuple[str, ...] | None) -> Reader:
        """Return a reader of columns with these names."""
        return Reader(self.columns, self.find_not_finite, names, self.encoder)

    def after(self, X: Any, targets: Targets) -> Reader:
        """Return the reader of a network that has learned from such samples."""
        learned = self.encoding(targets.classes, self.encoder.scale)
        return learned.naming(self.names or column_names(X))


def whole(data: Data) -> Data:
    """Return data that are all in memory."""
    return data._replace(x=data.x[:]) if isinstance(data.x, Rows) else data


def select(data: Data, index: NDArray[np.intp]) -> Data:
    """Return some rows, of a table that has not been read unread."""
    if not isinstance(data.x, Rows):
        return data.take(index)
    weight = None if data.weight is None else data.weight[index]
    return Data(data.x.select(index), data.y[index], weight)


def pieces_of(data: Data) -> Iterator[Data]:
    """Read data whose `x` are `Rows`, a few megabytes at a time."""
    for part, x in data.x.pieces():
        yield Data(x, data.y[part], None if data.weight is None else data.weight[part])


def batches_of(data: Data, size: int) -> Iterator[Data]:
    """Read data in their order, so many rows at a time."""
    for first in range(0, data.rows, size):
        yield data.take(slice(first, first + size))


# ------------------------------------------------------------------ rows to hold out


def check_share(value: Any) -> float:
    """Return `validation_split` as a float in [0, 1)."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise DataTypeError(f"validation_split must be a number, got {value!r}")
    if not 0 <= value < 1:
        raise DataError(f"validation_split must be at least 0 and below 1, got {value!r}")
    return float(value)


def split_rows(rows: int, share: float, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows to train on and those to hold out, drawn by the seed, each in order."""
    count = max(1, round(rows * share))
    if count >= rows:
        raise DataError(f"validation_split={share} leaves none of the {rows} samples to train on")
    keys = _random.generator(seed, _random.SPLITTING).random_raw(rows)
    order = np.argsort(keys, kind="stable")
    return np.sort(order[count:]), np.sort(order[:count])


# ------------------------------------------------------------------ mini-batches of the user's


def is_batches(X: Any, y: Any) -> bool:
    """Tell whether `X` is meant as an iterable of mini-batches."""
    if y is not None or isinstance(X, np.ndarray) or hasattr(X, "__array__"):
        return False
    if isinstance(X, (list, tuple)):
        return bool(X) and all(isinstance(item, tuple) and len(item) in (2, 3) for item in X)
    return callable(X) or hasattr(X, "__iter__")


class Batches:
    """Mini-batches from an iterable: each of its items counts as a row."""

    weight: Any = None

    def __init__(
        self, reader: Reader, source: Any, epochs: int, missing: bool, needs_batch: bool
    ) -> None:
        self.reader, self.source = reader, source  # the reader learns from the mini-batches
        self.missing = missing  # whether NaN targets have not been observed
        self.needs_batch = needs_batch  # whether one sample alone cannot be trained on
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
        if data.rows == 1 and self.needs_batch:
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
        if not isinstance(item, (tuple, list)) or len(item) not in (2, 3):
            raise DataTypeError(f"{what} must be (x, y) or (x, y, sample_weight), got {item!r:.80}")
        x, y, weight = (*item, None)[:3]
        called = f"x in {what}", f"y in {what}", f"weights in {what}"
        data, targets = self.reader.read(
            x, y, weight, called=called, learn=True, missing=self.missing
        )
        self.reader = self.reader.after(x, targets)
        return whole(data)


# ------------------------------------------------------------------ augmentation


def check_augment(augment: Any) -> list[Augment]:
    """Return a list of augmenters."""
    given = [augment] if callable(augment) else augment
    if given is None:
        return []
    if isinstance(given, (list, tuple)) and all(callable(item) for item in given):
        return cast("list[Augment]", list(given))
    raise DataTypeError(
        f"augment must be a function (x, y, rng) -> (x, y) or a list of them, got {augment!r}"
    )


def warn_lone_sample(what: str) -> None:
    """Warn that an epoch ends with a mini-batch of one sample, in a network with `BatchNorm`."""
    warn(
        f"{what} mini-batch of one sample, of which BatchNorm, having no variance, makes the same "
        "numbers whatever it is: that step is noise. Choose another batch_size, or leave a sample "
        "out",
        DataWarning,
    )
