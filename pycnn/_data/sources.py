"""Where samples come from that do not lie in memory as the core reads them, and choices among them.

A `LazyTable` is of a smaller dtype, in a file, or sparse: it is read a few megabytes of float64 at
a time, with the same results, to the bit, as if all lay in memory.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn import _random
from pycnn._checks import find_not_finite
from pycnn._data.arrays import as_matrix, check_samples, from_tensor, place_of
from pycnn._data.tokens import Tokens, as_integers, check_range
from pycnn.backend.interface import up_to_lengths
from pycnn.exceptions import DataError, DataTypeError

if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterator

    from pycnn._typing import Array, Indices, Shape
    from pycnn.backend.interface import Data


# A table that takes no more bytes than this as float64 is converted at once: that is faster.
WHOLE = 64 << 20
# Bytes of float64 that a piece has about; the core reads it from the third-level cache.
PIECE = 8 << 20
# Rows of a file that are read before their pages are let go: a page may be one of 2 MB.
TOGETHER = 64
# Bytes of a file's column that are read before: those of rows lie all over it, in order.
SEGMENT = 16 << 20


class LazyTable:
    """A table whose rows become float64 when they are asked for.

    Where `values` have more axes than two, a row is what stands behind the first.
    """

    def __init__(
        self,
        values: Any,
        name: str,
        index: Indices | None = None,
        shape: Shape = (),
        lengths: Indices | None = None,
    ) -> None:
        self.values, self.name = values, name
        self.sample_shape = shape  # of sequences, and of tokens
        self.index = index  # of the rows that belong to it; None: all
        self.lengths = lengths  # of all sequences in `values`: what is behind is not looked at

    def __len__(self) -> int:
        return int(self.values.shape[0]) if self.index is None else len(self.index)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self), math.prod(self.values.shape[1:])

    @property
    def ndim(self) -> int:
        """Two."""
        return 2

    def select(self, index: Indices) -> LazyTable:
        """Return some of the rows, still unread."""
        chosen = index if self.index is None else self.index[index]
        return LazyTable(self.values, self.name, chosen, self.sample_shape, self.lengths)

    def with_lengths(self, lengths: Indices) -> LazyTable:
        """Return these sequences, of which only what is before the lengths is looked at."""
        return LazyTable(self.values, self.name, self.index, self.sample_shape, lengths)

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
                block = np.array(part, dtype=np.float64, order="C").reshape(len(part), -1)
        if self.lengths is not None:
            block = up_to_lengths(block, self.lengths[index], self.sample_shape[0])
        if isinstance(self.sample_shape, Tokens):
            numbers = np.arange(self.values.shape[0])[index]
            check_range(block, self.name, self.sample_shape, numbers)
        elif self.values.dtype.kind not in "biu":
            place = find_not_finite(block)
            if place != block.size:
                row, column = divmod(place, block.shape[1])
                number = np.arange(self.values.shape[0])[index][row]
                what = "NaN" if np.isnan(block[row, column]) else "infinite"
                inner = np.unravel_index(column, self.values.shape[1:])
                where = place_of([int(number), *map(int, inner)])
                raise DataError(f"{self.name} must be finite, but is {what}{where}")
        return block

    def pieces(self) -> Iterator[tuple[slice, Array]]:
        """Read all rows in order, a few megabytes at a time."""
        step = max(1, PIECE // (8 * self.shape[1]))
        for first in range(0, len(self), step):
            part = slice(first, min(first + step, len(self)))
            yield part, self[part]


def _read_file(values: Any, index: Indices) -> Array:
    """Return rows of a file as float64; its pages are let go every now and then.

    Where numbers of a column are neighbours (Fortran's order), each row has a page of its own in
    every column: a column is read for all rows at a time, in the order of the file, so that no page
    is wanted twice.
    """
    table = np.asarray(values)
    if table.ndim > 2 and table[:1].flags.c_contiguous:
        table = table.reshape(len(table), -1)  # a view
    by_row, by_column = abs(table.strides[0]), max(map(abs, table.strides[1:]))
    if table.ndim > 2 or by_row >= by_column:
        block = np.empty((len(index), math.prod(table.shape[1:])))
        for first in range(0, len(index), TOGETHER):
            some = slice(first, first + TOGETHER)
            block[some] = table[index[some]].reshape(-1, block.shape[1])
            _let_go(values)
        return block
    order = np.argsort(index, kind="stable")
    rows = index[order]
    block = np.empty((table.shape[1], len(rows)))
    span = max(1, by_row * int(rows[-1] - rows[0]))
    together = max(TOGETHER, len(rows) * SEGMENT // span)
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


def as_table(
    value: Any, name: str, shape: Shape, find: Any, *, all_there: bool = True
) -> Array | LazyTable:
    """Return a table as the core reads it or, where that would take much memory, unread.

    Where not all of sequences is there, the caller sees that what is there are tokens.

    Raises
    ------
    ShapeError, DataTypeError, DataError
        As `as_matrix`.
    """
    if isinstance(shape, Tokens):
        return _as_tokens(value, name, shape, all_there)
    if type(value) is np.ndarray and value.dtype == np.float64:  # what most callers hand in
        return as_matrix(value, name, shape, find)
    value = from_tensor(value, name)
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
        return as_matrix(value, name, shape, find)
    check_samples(value.shape, name, shape)
    rows = LazyTable(value, name, shape=shape)
    return rows[:] if sparse and math.prod(rows.shape) * 8 <= WHOLE else rows


def _as_tokens(value: Any, name: str, shape: Tokens, all_there: bool) -> Array | LazyTable:
    """Return samples of tokens as numbers that the core reads, or unread."""
    array = as_integers(value, name, shape)
    check_samples(array.shape, name, shape)
    if array.size * 8 > WHOLE:
        return LazyTable(value if isinstance(value, np.memmap) else array, name, shape=shape)
    if all_there:
        check_range(array, name, shape)
    return np.require(array, np.float64, ["C", "A"])


def whole(data: Data) -> Data:
    """Return data that are all in memory."""
    return data._replace(x=data.x[:]) if isinstance(data.x, LazyTable) else data


def select(data: Data, index: Indices) -> Data:
    """Return some rows, of a table that has not been read unread."""
    if not isinstance(data.x, LazyTable):
        return data.take(index)
    return data.take(index, data.x.select(index))


def pieces_of(data: Data) -> Iterator[Data]:
    """Read data whose `x` are `LazyTable`, a few megabytes at a time."""
    for part, x in data.x.pieces():
        yield data.take(part, x)


def batches_of(data: Data, size: int) -> Iterator[Data]:
    """Read data in their order, so many rows at a time."""
    for first in range(0, data.rows, size):
        yield data.take(slice(first, first + size))


# ------------------------------------------------------------------ rows to hold out


def check_fraction(value: Any) -> float:
    """Return `validation_split` as a float in [0, 1)."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise DataTypeError(f"validation_split must be a number, got {value!r}")
    if not 0 <= value < 1:
        raise DataError(f"validation_split must be at least 0 and below 1, got {value!r}")
    return float(value)


def split_rows(rows: int, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Return the rows to train on and those to hold out, drawn by the seed, each in order."""
    count = max(1, round(rows * fraction))
    if count >= rows:
        raise DataError(
            f"validation_split={fraction} leaves none of the {rows} samples to train on"
        )
    keys = _random.generator(seed, _random.SPLITTING).random_raw(rows)
    order = np.argsort(keys, kind="stable")
    return np.sort(order[count:]), np.sort(order[:count])
