"""What a training has to know of all rows before it begins, whoever has them."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn import losses
from pycnn._data.arrays import as_lengths
from pycnn._data.labels import read_labels, refuse_gap
from pycnn._data.targets import TargetEncoder
from pycnn._record import Record
from pycnn._training.fitting import with_class_weights
from pycnn.distributed._shard import Failure
from pycnn.distributed._sources import four, say_where
from pycnn.exceptions import DataError, PycnnError

if TYPE_CHECKING:
    from pycnn._data.reader import Reader
    from pycnn._training.fitting import Request
    from pycnn._typing import AnyArray
    from pycnn.backend.interface import Data
    from pycnn.distributed._sources import Source, Tables

ROWS = 256  # that tell what the others are like
MOST_LABELS = 1 << 16


class Question(Record):
    """What a training asks of each source before it begins."""

    loss: str
    size: int  # rows of a chunk
    in_sequences: bool  # a target at each position
    missing: bool  # whether a gap is a target that was not observed


class Survey(Record):
    """What a training has to know of a source's rows before it begins."""

    rows: int
    weighted: bool
    labels: Any  # different targets, if they are labels; None: they are numbers, or too many
    counts: Any  # of each label
    marks: list[int]  # by which other data are told: a hash of each chunk's first row
    sample: Tables  # the first rows


def survey(source: Source, question: Question) -> Survey | Failure:
    """Look through the targets of a source."""
    try:
        tables = X, y, weight, lengths = source.open()
        rows = int(X.shape[0]) if hasattr(X, "shape") else len(X)
        labels = counts = None
        targets = losses.targets(question.loss)
        if targets in ("classes", "binary", "signs") and 1 <= np.ndim(y) <= 2:
            labels, counts = np.unique(_observed(y, lengths, question), return_counts=True)
            if len(labels) > MOST_LABELS:
                labels = counts = None
        marks = [_mark(tables, row) for row in range(0, rows, question.size)]
        first = [None if table is None else table[:ROWS] for table in tables]
        first = [np.array(t) if isinstance(t, np.memmap) else t for t in first]
        return Survey(rows, weight is not None, labels, counts, marks, four(first))
    except Exception as error:
        if isinstance(error, PycnnError):
            say_where(error, source, 0)
        return Failure(error)


def _observed(y: Any, lengths: Any, question: Question) -> AnyArray:
    """Return those of labels that are there, as `TargetEncoder.encode` will look at them."""
    array, gaps = read_labels(y, "y")
    there = np.ones(array.shape, np.bool_)
    if question.in_sequences and array.ndim == 2:
        rows, positions = array.shape
        if lengths is not None:
            ends = as_lengths(lengths, "lengths", rows, positions)
            there &= np.arange(positions) < ends[:, None]
        if question.missing and array.dtype.kind == "i":
            gaps = gaps | (array == -1)
    if not question.missing:
        refuse_gap(y, "y", gaps & there)
    observed: AnyArray = array[there & ~gaps]
    return observed


def _mark(tables: Tables, row: int) -> int:
    """Return a hash of a row, whatever kinds of tables hold it."""
    mark = 0
    for table in tables:
        if table is None:
            continue
        values = table[row : row + 1]
        values = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
        numbers = values.dtype.kind in "biuf"
        content = values.astype(np.float64).tobytes() if numbers else repr(values.tolist()).encode()
        mark = zlib.crc32(content, mark)
    return mark


def mark_of(surveys: list[Survey]) -> str:
    """Return a hash of the chunks' first rows, in whichever parts the chunks are."""
    marks = [mark for found in surveys for mark in found.marks]
    return f"{zlib.crc32(np.array(marks, np.uint32).tobytes()):08x}"


def learn(reader: Reader, surveys: list[Survey], request: Request) -> tuple[Reader, Data, Request]:
    """Return what there is to learn of all rows.

    Returns
    -------
    reader : Reader
        That has learned labels and names.
    sample : Data
        The first rows.
    request : Request
        Whose weights of classes are known.
    """
    surveys = [found for found in surveys if found.rows]
    if not surveys:
        raise DataError("data must have at least one row")
    labels, (X, y, weight, lengths) = [found.labels for found in surveys], surveys[0].sample
    encoder, shape = reader.encoder, np.shape(y)
    are_labels = len(shape) == 1 or shape[1:] == (1,)
    if encoder.positions is not None:
        are_labels = len(shape) == 2  # one at each position
        encoder = TargetEncoder(encoder.loss, encoder.units, encoder.classes, encoder.scale)
    if are_labels and not encoder.is_multi_label and all(each is not None for each in labels):
        different = np.unique(np.concatenate(labels))
        reader = reader.after(X, encoder.encode(different, "y", len(different), learn=True))
    missing = request.missing_targets
    try:
        sample, targets = reader.read(X, y, weight, lengths, learn=True, missing=missing)
    except PycnnError as error:
        if surveys[0].rows > ROWS:
            error.args = (f"{error} (of the first {ROWS} rows)",)
        raise
    reader = reader.after(X, targets)
    if isinstance(request.class_weight, str) and request.class_weight == "balanced":
        if not are_labels or any(each is None for each in labels):
            raise DataError("class_weight='balanced' wants labels; else name the classes' weights")
        request = request._replace(class_weight=_balanced(reader.encoder.classes, surveys))
    by_class = reader.encoder.class_weights(request.class_weight, targets)
    return reader, with_class_weights(sample, by_class), request


def _balanced(classes: Any, surveys: list[Survey]) -> dict[Any, float]:
    """Return the weights of `TargetEncoder.class_weights`, from the labels of all rows."""
    counts = dict.fromkeys([] if classes is None else classes.tolist(), 0)
    for found in surveys:
        for label, count in zip(found.labels.tolist(), found.counts.tolist(), strict=True):
            if label not in counts:  # such as a probability
                raise DataError(f"class_weight='balanced' wants labels of classes, got {label!r}")
            counts[label] += count
    rows = sum(counts.values())
    return {label: rows / (len(counts) * max(count, 1)) for label, count in counts.items()}
