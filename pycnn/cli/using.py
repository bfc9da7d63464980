"""A model and a table that go together: what is read for it, and what it says of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import pycnn
from pycnn import losses
from pycnn._checks import suggest
from pycnn._table.cells import Reading
from pycnn._table.columns import DateColumn, NumberColumn, TextColumn
from pycnn.cli import images, reading, report
from pycnn.cli import table as tables
from pycnn.cli.output import as_csv, note
from pycnn.cli.table import FileTable
from pycnn.exceptions import DataError, LabelError, ModelFileError
from pycnn.table import Table, Target, Truth, check_has

if TYPE_CHECKING:
    import pandas as pd

    from pycnn._typing import Indices

# Predictions are formatted in pieces of so many.
VALUES_PER_PIECE = 1 << 18


def stored_table(network: pycnn.Network) -> FileTable | None:
    """Return the transform that `train` put into the model; None for a model from elsewhere."""
    if "table" not in network.metadata:
        return None
    # Of a series a sample is some rows, each with so many inputs.
    table = FileTable.from_metadata(network.metadata["table"], network.input_shape[-1])
    classes = classes_of(network)
    if table.target is not None:
        if (table.target.task == "classification") != (classes is not None):
            raise ModelFileError("the model's task does not fit its output layer")
        table.target.text = _are_text(classes)
    return table


def reads_images(network: pycnn.Network, paths: Iterable[Path]) -> bool:
    """Tell whether a model is one of images; one from elsewhere by what it is given."""
    if images.stored(network) is not None:
        return True
    if "table" in network.metadata or not any(images.is_image(path) for path in paths):
        return False
    images.check_reads_images(network)
    note("Note: the model does not say how images were read for it; taken as bytes 0 ... 255")
    return True


def classes_of(network: pycnn.Network) -> Any:
    """Return the label of each class, or None for a network that does not choose one of several."""
    if not losses.is_classification(network.loss):
        return None
    if network.outputs == 1 or losses.targets(network.loss) == "classes":
        unnamed = np.arange(max(2, network.outputs))
        return unnamed if network.classes is None else network.classes
    return None


def choose(network: pycnn.Network, outputs: Any) -> Any:
    """Return the index of the most probable class."""
    if network.outputs == 1:
        return (outputs[:, 0] > losses.boundary(network.loss)).astype(np.intp)
    return outputs.argmax(axis=1)


def _are_text(classes: Any) -> bool:
    return classes is not None and classes.dtype.kind == "U"


def read_for(
    network: pycnn.Network, path: Path, options: reading.Options, target: str | None
) -> tuple[pd.DataFrame, FileTable, Target]:
    """Read a table for a model, and return the transform and the target with it."""
    table = stored_table(network)
    classes = classes_of(network)
    task = "regression" if classes is None else "classification"
    goal = Target(target or "prediction", task, text=_are_text(classes))
    if table is not None:
        goal = table.target or goal
        for option, kind in (("text", TextColumn), ("date", DateColumn)):
            for name in getattr(options, option):
                if any(c.name == name and not isinstance(c, kind) for c in table.columns):
                    raise DataError(f"--{option} {name}: the model has learned it otherwise")
        table.reading = options.over(table.reading)
        text = [c.name for c in table.columns if not isinstance(c, NumberColumn)]
        text += [target or goal.name] if goal.text else []
        return reading.read(path, table.reading, text=text), table, goal
    # A model that was saved from Python: its inputs are the columns by the names of the training's
    # frame, or else all of them as they stand.
    table = FileTable()
    table.reading, table.target = options.over(Reading()), goal
    frame = reading.read(path, table.reading, text=[target] if target and goal.text else ())
    if target is not None:
        tables.check_column(frame, target, "--target")
    names = list(network.feature_names or (name for name in frame.columns if name != target))
    check_has(frame, names)
    numeric = [name for name in names if table.is_of_numbers(frame[name])]
    if len(names) != network.inputs or len(numeric) != len(names):
        raise DataError(
            f"the model keeps no table of columns, so {path} must have exactly its "
            f"{network.inputs} inputs as columns of numbers; it has {len(names)} columns, "
            f"{len(numeric)} of them numbers"
        )
    table.columns = [NumberColumn(name, 0.0, 1.0, False) for name in names]
    for name in names:
        if np.isnan(table.numbers(frame[name])).any():
            raise DataError(f"column {name!r} has missing values; the model cannot fill them")
    note(f"Note: the model keeps no table of columns; taken as they are: {report.listing(names)}")
    return frame, table, goal


def rows_with_target(truth: Truth, target: str) -> Indices:
    """Return the places of the rows that have a target."""
    observed = np.flatnonzero(truth.observed)
    lost = len(truth.observed) - len(observed)
    if lost:
        note(f"Note: left out, as their target {target!r} is missing: {lost} row(s)")
    return observed


def class_indices(labels: Any, classes: Any, name: str) -> Indices:
    """Return where each label stands among the classes."""
    known = {label: index for index, label in enumerate(classes.tolist())}
    unknown = sorted({label for label in labels.tolist() if label not in known}, key=str)
    if unknown:
        shown = ", ".join(repr(label) for label in unknown[:5])
        hint = suggest(str(unknown[0]), [str(label) for label in known])
        raise LabelError(
            f"target column {name!r} holds labels that are not among the model's classes: "
            f"{shown}{', ...' if len(unknown) > 5 else ''}{hint}"
        )
    return np.array([known[label] for label in labels.tolist()], dtype=np.intp)


def encode(table: Table, frame: pd.DataFrame, *, taken: bool = True) -> Any:
    """Return a network's inputs; tell what was `taken` for missing, unless that was told."""
    X, findings = table.encode(frame)
    for missing in findings.taken_for_missing() if taken else ():
        note(f"Note: {missing}")
    for finding in findings.tell():
        note(f"Warning: {finding}")
    return X


def predictions(network: pycnn.Network, X: Any, target: Target) -> Iterator[str]:
    """Return predictions as CSV, piece by piece: of many classes they are long."""
    yield as_csv([_head(network, target)])
    rows = max(1, VALUES_PER_PIECE // network.outputs)
    for start in range(0, len(X), rows):
        yield as_csv(_predicted(network, X[start : start + rows], target))


def image_predictions(network: pycnn.Network, paths: Sequence[Path]) -> Iterator[str]:
    """Return predictions as CSV, a line for each image, read and predicted piece by piece."""
    target = images.TARGET
    yield as_csv([["file", *_head(network, target)]])
    for start in range(0, len(paths), images.IMAGES_PER_PIECE):
        piece = paths[start : start + images.IMAGES_PER_PIECE]
        rows = _predicted(network, images.read_images(piece, network.input_shape), target)
        yield as_csv([str(path), *row] for path, row in zip(piece, rows, strict=True))


def _head(network: pycnn.Network, target: Target) -> list[str]:
    """Return the names of a prediction's columns."""
    classes = classes_of(network)
    if classes is not None:
        return [target.name, *(f"probability of {label}" for label in classes)]
    if network.outputs == 1:
        return [target.name]
    return [f"{target.name}_{i + 1}" for i in range(network.outputs)]


def _predicted(network: pycnn.Network, X: Any, target: Target) -> Iterable[Sequence[Any]]:
    """Return the cells of each row's prediction."""
    outputs, classes = network.predict(X), classes_of(network)
    if classes is None:
        # In full: the shortest digits that tell one number from the next.
        return (outputs * target.scale + target.mean).tolist()
    labels = classes[choose(network, outputs)].tolist()
    if network.outputs == 1:
        outputs = np.column_stack([1 - outputs, outputs])
    cells = zip(labels, outputs.tolist(), strict=True)
    return ([label, *(f"{value:.6g}" for value in row)] for label, row in cells)


def scores(network: pycnn.Network, target: Target, X: Any, y: Any) -> str:
    """Return the scores of a network on encoded rows and class indices or numbers."""
    outputs = network.predict(X)
    if target.task == "classification":
        return report.classification_report(y, choose(network, outputs), classes_of(network))
    if network.outputs > 1:
        raise DataError(f"the model has {network.outputs} outputs; one column cannot score them")
    values = outputs[:, 0] * target.scale + target.mean
    return report.regression_report(y, values)
