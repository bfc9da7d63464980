"""The command line's table: remedies as options, and the split into training and test part."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pycnn import _random
from pycnn.table import TASKS, Table, check_column

if TYPE_CHECKING:
    from pycnn._typing import Indices

__all__ = ["TASKS", "FileTable", "check_column", "split"]


class FileTable(Table):
    """The transform of a file's table."""

    _in_shell = True


def split(
    rows: int, test_size: float, seed: int, classes: Indices | None
) -> tuple[Indices, Indices]:
    """Return the training rows and the test rows, drawn by the seed.

    With `classes` each class has its share in the test part, and at least one row in the other.
    """
    keys = _random.generator(seed, _random.SPLITTING).random_raw(rows)
    order = np.argsort(keys, kind="stable")
    if classes is None:
        held = round(rows * test_size)
        test = order[:held]
    else:
        counts = np.bincount(classes)
        quota = counts * test_size
        held_by_class = np.minimum(np.floor(quota), np.maximum(counts - 1, 0)).astype(np.intp)
        # What rounding down left over goes to the largest remainders.
        by_remainder = np.argsort(held_by_class - quota, kind="stable")
        able = by_remainder[held_by_class[by_remainder] < counts[by_remainder] - 1]
        left = max(round(rows * test_size) - int(held_by_class.sum()), 0)
        held_by_class[able[:left]] += 1
        # The rows class by class, each class in the order that was drawn.
        by_class = order[np.argsort(classes[order], kind="stable")]
        place = np.arange(rows) - np.repeat(np.cumsum(counts) - counts, counts)
        test = by_class[place < np.repeat(held_by_class, counts)]
    train = np.setdiff1d(order, test)
    return train, np.sort(test)
