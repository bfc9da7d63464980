"""Scores and confusion matrices as aligned text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pycnn._typing import Array, Indices, NDArray


# From here on the confusion matrix is left out for a list of what is confused most.
MOST_CLASSES = 25
# A wider table gets numbers for column heads.
WIDTH = 100
LONGEST_LABEL = 16


def classification_report(true: Indices, predicted: Indices, labels: Sequence[Any]) -> str:
    """Return accuracy and confusion matrix of class indices."""
    right = int((true == predicted).sum())
    head = f"accuracy  {right / len(true):.4f}  ({right} of {len(true)} right)"
    if len(labels) > MOST_CLASSES:
        return f"{head}\n\n{confusion_list(true, predicted, labels)}"
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(counts, (true, predicted), 1)
    return f"{head}\n\n{confusion_table(counts, [str(label) for label in labels])}"


def confusion_table(counts: NDArray[np.int64], labels: Sequence[str]) -> str:
    """Return the matrix with a row for each true class and a column for each predicted one."""
    names = [shorten(label) for label in labels]
    figures = max(len(str(counts.max())), 2)
    heads = names
    widths = [max(len(head), figures) for head in heads]
    first = max(len(name) for name in names)
    if first + sum(widths) + 2 * len(widths) > WIDTH:
        heads = [str(number) for number in range(1, len(names) + 1)]
        names = [f"{head:>2} {name}" for head, name in zip(heads, names, strict=True)]
        widths = [max(len(head), figures) for head in heads]
        first = max(len(name) for name in names)
    lines = ["confusion matrix (row: true class, column: predicted)", ""]
    cells = zip(heads, widths, strict=True)
    lines.append(" " * first + "".join(f"  {head:>{width}}" for head, width in cells))
    for name, row in zip(names, counts.tolist(), strict=True):
        cells = zip((str(count or ".") for count in row), widths, strict=True)
        lines.append(name.ljust(first) + "".join(f"  {text:>{width}}" for text, width in cells))
    return "\n".join(lines)


def confusion_list(true: Indices, predicted: Indices, labels: Sequence[Any]) -> str:
    """Return the ten pairs of classes that are confused most."""
    wrong = true != predicted
    pairs, counts = np.unique(true[wrong] * len(labels) + predicted[wrong], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:10]
    lines = [f"most confused of {len(labels)} classes", ""]
    for pair, count in zip(pairs[order].tolist(), counts[order].tolist(), strict=True):
        one, other = (shorten(str(labels[at])) for at in divmod(pair, len(labels)))
        lines.append(f"{count:>6}  {one} taken for {other}")
    return "\n".join(lines if len(pairs) else ["no class is confused with another"])


def shown(text: str, *, lines: bool = False) -> str:
    """Return a text in which a terminal finds no command; `lines` keeps its line breaks."""
    if text.isprintable():
        return text
    from unicodedata import category

    kept = "\n\t" if lines else "\t"
    hidden = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return "".join(c if c in kept or category(c) not in hidden else repr(c)[1:-1] for c in text)


def shorten(label: str) -> str:
    """Return a label that is short enough to stand in a table."""
    label = shown(label)
    return label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 3] + "..."


def regression_report(true: Array, predicted: Array) -> str:
    """Return R², RMSE and MAE, in the target's own unit."""
    error = predicted - true
    # Of equal numbers the mean is another one, by rounding.
    variation = float(((true - true.mean()) ** 2).sum()) if np.ptp(true) else 0.0
    r2 = f"{1 - float((error**2).sum()) / variation:.4f}" if variation else "not defined: no spread"
    return (
        f"R²    {r2}\n"
        f"RMSE  {float(np.sqrt((error**2).mean())):.6g}\n"
        f"MAE   {float(np.abs(error).mean()):.6g}"
    )


def listing(values: Sequence[Any], limit: int = 10) -> str:
    """Return ``a, b, c, ...``."""
    some = ", ".join(shown(str(value)) for value in values[:limit])
    return some + (", ..." if len(values) > limit else "")
