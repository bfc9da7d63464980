"""Where rows come from: parts of a table, which whoever computes with them opens by himself."""

from __future__ import annotations

import glob
import mmap
import os
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from pycnn._checks import check_size
from pycnn._data.arrays import as_array
from pycnn._record import Record
from pycnn.exceptions import DataError, DataTypeError, PycnnError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pycnn._typing import AnyArray

    Tables: TypeAlias = tuple[Any, Any, Any, Any]

# What is handed in, in this order: the last two need not be there.
NAMES = "X", "y", "sample_weight", "lengths"


class Source(Protocol):
    """Some rows, in their order: features, targets, and weights and lengths or None."""

    rows: int
    stays: bool  # in memory once it is open; else it is opened anew where it is needed

    @property
    def name(self) -> str:
        """What a message calls it; "" where its rows are no more than the user's."""
        ...

    def open(self) -> Tables:
        """Return X, y, sample_weight and lengths."""
        ...

    def cut(self, first: int, end: int) -> Source | None:
        """Return some of its rows; None where it is read as a whole or not at all."""
        ...


def say_where(error: PycnnError, source: Source, first_row: int) -> None:
    """Let an error about some rows say which these are: from `first_row` of all, and their file."""
    said = str(error)
    if first_row:
        said += f", counted from row {first_row} of the data"
    if source.name:
        said += f"; in {source.name}"
    error.args = (said,)


def four(tables: Sequence[Any]) -> Tables:
    """Return X, y, sample_weight and lengths; None for those that are not there."""
    X, y, weight, lengths = (*tables, None, None)[:4]
    return X, y, weight, lengths


def _rows_of(table: Any) -> int:
    return int(table.shape[0]) if hasattr(table, "shape") else len(table)


def _slice(table: Any, first: int, end: int) -> Any:
    if isinstance(table, _Map):
        return table.open()[table.first + first : table.first + end]
    if table is None or (first == 0 and end == _rows_of(table)):
        return table
    return table.iloc[first:end] if hasattr(table, "iloc") else table[first:end]


def is_file(table: Any) -> bool:
    """Tell whether a table's file travels instead of its rows."""
    return isinstance(_describe(table), _Map)


class _Map(Record):
    """A memory map as it travels: its file, which the other side must see under the same name."""

    path: str
    dtype: Any
    offset: int
    shape: tuple[int, ...]
    order: Any
    first: int  # of its rows that counts

    def open(self) -> AnyArray:
        """Map the file."""
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape, self.order)


def _describe(table: Any) -> Any:
    """Return a map of a whole file as its description, and any other table as it is."""
    if not isinstance(table, np.memmap):
        return table
    if not isinstance(table.base, mmap.mmap) or table.filename is None:
        return np.asarray(table)  # a part of one
    if table.mode == "c":
        return np.asarray(table)  # what has been written to it is not in the file
    order = "F" if table.flags.f_contiguous and not table.flags.c_contiguous else "C"
    path = os.path.abspath(str(table.filename))
    return _Map(path, table.dtype, table.offset, table.shape, order, 0)


class Arrays:
    """Rows `first` ... `end` of arrays; of memory maps the file's name travels, not the rows."""

    stays = True

    def __init__(self, tables: Tables, first: int, end: int) -> None:
        self.tables, self.first, self.end = tables, first, end
        self.rows = end - first

    @property
    def name(self) -> str:
        """The files of memory maps."""
        parts = map(_describe, self.tables)
        return " and ".join(part.path for part in parts if isinstance(part, _Map))

    def open(self) -> Tables:
        """Return X, y, sample_weight and lengths."""
        X, y, weight, lengths = (_slice(table, self.first, self.end) for table in self.tables)
        return X, y, weight, lengths

    def cut(self, first: int, end: int) -> Arrays:
        """Return some of its rows."""
        return Arrays(self.tables, self.first + first, self.first + end)

    def __getstate__(self) -> dict[str, Any]:
        return {"tables": tuple(map(self._travelling, self.tables)), "rows": self.rows}

    def _travelling(self, table: Any) -> Any:
        part = _describe(table)
        if isinstance(part, _Map):
            return part._replace(first=part.first + self.first)
        part = _slice(part, self.first, self.end)
        return np.ascontiguousarray(part) if isinstance(part, np.ndarray) else part

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Files are not opened: a worker of Dask ends where a message cannot be read.
        self.tables, self.rows = state["tables"], state["rows"]
        self.first, self.end = 0, self.rows


class RowGroup:
    """A row group of a Parquet file."""

    stays = False

    def __init__(self, path: str, group: int, rows: int, target: list[str], weight: Any) -> None:
        self.path, self.group, self.rows = path, group, rows
        self.target, self.weight = target, weight

    @property
    def name(self) -> str:
        """Which one of which file."""
        return f"row group {self.group} of {self.path}"

    def open(self) -> Tables:
        """Return X as a data frame, and the columns of targets and weights."""
        from pyarrow.parquet import ParquetFile

        with ParquetFile(self.path) as file:
            frame = file.read_row_group(self.group).to_pandas()
        wanted = {*self.target, self.weight}
        frame = frame.reset_index([each for each in frame.index.names if each in wanted - {None}])
        y = frame[self.target if len(self.target) > 1 else self.target[0]].to_numpy()
        weight = None if self.weight is None else frame[self.weight].to_numpy()
        others = self.target if weight is None else [*self.target, self.weight]
        return frame.drop(columns=others), y, weight, None

    def cut(self, first: int, end: int) -> None:
        """Return None: a row group is read as a whole."""
        return


class Part:
    """What a Dask worker has, or makes by a graph: (X, y[, sample_weight[, lengths]])."""

    stays = True

    def __init__(self, value: Any, rows: int = 0, name: str = "") -> None:
        self.value, self.rows = value, rows  # a future; where it is opened, what it stands for
        self.name = name

    def open(self) -> Tables:
        """Return X, y, sample_weight and lengths."""
        if not isinstance(self.value, (tuple, list)) or not 2 <= len(self.value) <= 4:
            raise DataTypeError(
                "data: each part must be (X, y), (X, y, sample_weight) or (X, y, sample_weight, "
                f"lengths), got {type(self.value).__name__}"
            )
        return four(self.value)

    def cut(self, first: int, end: int) -> None:
        """Return None: a part stays whole, so that no rows pass through the client."""
        return


# ------------------------------------------------------------------ what users hand in


class Files:
    """Rows in files, as `from_npy` and `from_parquet` describe them: none has been read.

    Examples
    --------
    >>> import tempfile
    >>> from pycnn import distributed
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/X.npy", np.zeros((100, 3)))
    ...     np.save(f"{folder}/y.npy", np.zeros(100))
    ...     files = distributed.from_npy(f"{folder}/X.npy", f"{folder}/y.npy")
    >>> isinstance(files, distributed.Files)
    True
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = list(sources)

    def __repr__(self) -> str:
        rows = sum(source.rows for source in self.sources)
        return f"<{len(self.sources)} parts of files, {rows} rows>"


def _paths(pattern: Any, name: str) -> list[str]:
    """Return the files of a path, a pattern, or a list of either, in the order of their names."""
    given = pattern if isinstance(pattern, (list, tuple)) else [pattern]
    found: list[str] = []
    for item in given:
        if not isinstance(item, (str, os.PathLike)):
            raise DataTypeError(f"{name} must be a path, a pattern or a list of them, got {item!r}")
        path = os.fspath(item)
        found += [path] if os.path.exists(path) else sorted(glob.glob(path))
    if not found:
        raise DataError(f"{name} must name a file, but there is none: {pattern!r}")
    return found


def _mapped(path: str, name: str) -> AnyArray:
    """Return the array of a file, unread."""
    try:
        table = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{name}: {path} cannot be mapped as a .npy file: {error}") from None
    if not isinstance(table, np.memmap):
        table.close()
        raise DataError(f"{name}: {path} must be a .npy file of one array, but is an .npz file")
    return table


def from_npy(X: Any, y: Any, sample_weight: Any = None, lengths: Any = None) -> Files:
    """Describe rows in ``.npy`` files, which the workers map into memory and read themselves.

    Parameters
    ----------
    X, y : path, pattern such as ``"train/x-*.npy"``, or list of paths
        Files of features and of their targets, in the order of their names: as many of each, with
        as many rows.
    sample_weight, lengths : the same, optional

    Returns
    -------
    Files
        For `fit`. Workers must see the files under the same names. Chunks begin anew with each
        file: files whose rows are a multiple of `chunk_rows` give the bits of one array.

    Raises
    ------
    DataError, ShapeError
        If there are no such files, or they do not belong together.

    Examples
    --------
    >>> import tempfile
    >>> from pycnn import distributed
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for part in range(2):
    ...         np.save(f"{folder}/x-{part}.npy", np.zeros((100, 3)))
    ...         np.save(f"{folder}/y-{part}.npy", np.zeros(100))
    ...     distributed.from_npy(f"{folder}/x-*.npy", f"{folder}/y-*.npy")
    <2 parts of files, 200 rows>
    """
    given = dict(zip(NAMES, (X, y, sample_weight, lengths), strict=True))
    given = {name: item for name, item in given.items() if item is not None or name in "Xy"}
    paths = {name: _paths(item, name) for name, item in given.items()}
    if len({len(each) for each in paths.values()}) > 1:
        counts = ", ".join(f"{name} {len(each)}" for name, each in paths.items())
        raise ShapeError(f"X and y must have as many files each, got {counts}")
    sources = []
    for files in zip(*paths.values(), strict=True):
        maps = {name: _mapped(path, name) for path, name in zip(files, paths, strict=True)}
        rows = [each.shape[0] if each.ndim else -1 for each in maps.values()]
        if len(set(rows)) > 1 or rows[0] < 1:
            raise ShapeError(f"files must have as many rows, at least one; {files} have {rows}")
        # None stays open: a thousand may be all that the system allows a process.
        described = [_describe(maps[name]) if name in maps else None for name in NAMES]
        sources.append(Arrays(four(described), 0, rows[0]))
    return Files(sources)


def from_parquet(
    path: Any, *, target: str | Sequence[str], sample_weight: str | None = None
) -> Files:
    """Describe rows in Parquet files, of which workers read a row group at a time.

    Parameters
    ----------
    path : path, pattern, or list of paths
        Files, or a folder of them.
    target : str or list of str
        The column of the targets, or those of several outputs. All others are features.
    sample_weight : str, optional
        The column of the weights.

    Returns
    -------
    Files
        For `fit`. Workers must see the files under the same names. Chunks begin anew with each row
        group. A row group is read anew in each step, and takes its place in memory meanwhile.

    Raises
    ------
    DataError, DataTypeError
        If there is no such file, or no such column.
    ImportError
        If pyarrow is not there: ``pip install 'pycnn[tables]'``.

    Examples
    --------
    >>> import tempfile
    >>> import pyarrow
    >>> import pyarrow.parquet
    >>> from pycnn import distributed
    >>> table = pyarrow.table({"age": [31.0, 54.0], "weight": [70.5, 82.0], "ill": [0.0, 1.0]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pyarrow.parquet.write_table(table, f"{folder}/patients.parquet")
    ...     distributed.from_parquet(f"{folder}/*.parquet", target="ill")
    <1 parts of files, 2 rows>
    """
    try:
        from pyarrow import ArrowInvalid
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise ImportError("from_parquet needs pyarrow: pip install 'pycnn[tables]'") from None

    targets = [target] if isinstance(target, str) else target
    if not (isinstance(targets, (list, tuple)) and all(isinstance(t, str) for t in targets)):
        raise DataTypeError(f"target must be a column's name or a list of them, got {target!r:.80}")
    targets = list(targets)
    if not isinstance(sample_weight, (str, type(None))):
        raise DataTypeError(f"sample_weight must be a column's name, got {sample_weight!r:.80}")
    wanted = targets if sample_weight is None else [*targets, sample_weight]
    if not targets:
        raise DataError("target must name a column, got an empty list")
    if len({*wanted}) < len(wanted):
        raise DataError(f"target and sample_weight must be different columns, got {wanted}")
    sources: list[Source] = []
    for name in _paths(path, "path"):
        inside = os.path.join(name, "*.parquet")
        for each in _paths(inside, "path") if os.path.isdir(name) else [name]:
            try:
                opened = ParquetFile(each)
            except ArrowInvalid as error:
                raise DataError(f"path: {each} is no Parquet file: {error}") from None
            with opened as file:
                for column in wanted:
                    if column not in file.schema_arrow.names:
                        raise DataError(f"{each} has no column {column!r}")
                whole = file.metadata
                for group in range(whole.num_row_groups):
                    rows = whole.row_group(group).num_rows
                    if rows:
                        full = os.path.abspath(each)
                        sources.append(RowGroup(full, group, rows, targets, sample_weight))
    if not sources:
        raise DataError(f"path must have rows, but has none: {path!r}")
    return Files(sources)


def from_arrays(data: Any) -> list[Source]:
    """Return the rows of (X, y), (X, y, sample_weight) or (X, y, sample_weight, lengths)."""
    if not isinstance(data, (tuple, list)) or not 2 <= len(data) <= 4:
        raise DataTypeError(
            "data must be (X, y), (X, y, sample_weight) or (X, y, sample_weight, lengths), what "
            "from_npy or from_parquet returns, or with Dask a list of futures; got "
            f"{type(data).__name__}"
        )
    X, y, *others = (
        t if t is None or hasattr(t, "shape") else as_array(t, name)
        for t, name in zip(four(data), NAMES, strict=True)
    )
    if not getattr(X, "shape", ()):
        raise DataTypeError(f"X must be an array or a table of rows, got {data[0]!r:.80}")
    if y is None:
        raise DataError("y must be given")
    rows = _rows_of(X)
    for name, table in zip(NAMES[1:], (y, *others), strict=True):
        if table is not None and (not table.shape or _rows_of(table) != rows):
            raise ShapeError(f"{name} must have X's {rows} rows, got shape {table.shape}")
    return [Arrays(four((X, y, *others)), 0, rows)] if rows else []


# ------------------------------------------------------------------ chunks, and who has which


class Chunks:
    """The chunks of sources, numbered through: so many rows each, the last of a source fewer."""

    def __init__(self, rows: Sequence[int], size: int) -> None:
        self.rows, self.size = list(rows), size
        counts = -(-np.asarray(self.rows, np.int64) // size)
        self.firsts = [0, *np.cumsum(counts).tolist()]  # number of each source's first chunk
        self.count = self.firsts[-1]

    def layout(self) -> list[int]:
        """Return the rows of parts that have the same chunks, and are as few as they can be."""
        merged: list[int] = []
        for rows in self.rows:
            if merged and merged[-1] % self.size == 0:
                merged[-1] += rows
            elif rows:
                merged.append(rows)
        return merged

    def of(self, source: int) -> Iterator[tuple[int, int]]:
        """Yield the chunks of a source: number, and the first of its rows in the source."""
        for number in range(self.firsts[source], self.firsts[source + 1]):
            yield number, (number - self.firsts[source]) * self.size

    def shares(self, count: int, whole: Sequence[bool]) -> list[int]:
        """Return `count` + 1 numbers of chunks that make about equal shares.

        They are multiples of a large power of two, so that a share is few subtrees; but what is
        read as a `whole` is in one share.
        """
        grain = 1 << max(0, (self.count // (8 * count)).bit_length() - 1)
        limits = [0]
        for i in range(1, count):
            limit = min(self.count, (self.count * i // count + grain // 2) // grain * grain)
            source = int(np.searchsorted(self.firsts, limit, "right")) - 1
            if source < len(whole) and whole[source]:
                near = self.firsts[source : source + 2]
                limit = min(near, key=lambda place: abs(place - limit))
            limits.append(max(limits[-1], limit))
        return [*limits, self.count]


def rows_of(rows: int, comm: Any, *, chunk_rows: int = 4096) -> slice:
    """Return which of `rows` rows a rank of MPI holds: whole chunks, about as many each.

    Parameters
    ----------
    rows : int
        Of all ranks together.
    comm : mpi4py.MPI.Comm
    chunk_rows : int, default 4096
        As for `fit`.

    Returns
    -------
    slice
        Empty where there are more ranks than chunks.

    Examples
    --------
    >>> class Comm:  # of four ranks, the second of them
    ...     def Get_size(self):
    ...         return 4
    ...
    ...     def Get_rank(self):
    ...         return 1
    >>> rows_of(100_000, Comm())
    slice(24576, 49152, None)
    """
    if not hasattr(comm, "Get_size"):
        raise DataTypeError(f"comm must be a communicator of mpi4py, got {comm!r:.80}")
    rows, chunk_rows = check_size(rows, "rows", 0), check_size(chunk_rows, "chunk_rows")
    limits = Chunks([rows], chunk_rows).shares(comm.Get_size(), [False])
    first, end = (min(rows, limits[comm.Get_rank() + i] * chunk_rows) for i in (0, 1))
    return slice(first, end)
