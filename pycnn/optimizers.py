"""Optimizers: how a gradient changes the parameters. The arithmetic is in the backends."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pycnn._names import look_up
from pycnn.exceptions import DataError, DataTypeError

__all__ = ["SGD"]


class SGD:
    """Gradient descent, ``theta <- theta - learning_rate * dL/dtheta`` (lecture, update rule).

    Batch, stochastic or mini-batch gradient descent, by `Network.fit`'s `batch_size`.

    Parameters
    ----------
    learning_rate : float, default 0.1
        The step size alpha, above 0.

    Raises
    ------
    DataError, DataTypeError
        If the learning rate is not a finite number above 0.
    """

    name = "sgd"

    def __init__(self, learning_rate: float = 0.1) -> None:
        if isinstance(learning_rate, bool) or not isinstance(
            learning_rate, (int, float, np.integer, np.floating)
        ):
            raise DataTypeError(f"learning_rate must be a number, got {learning_rate!r}")
        try:
            self.learning_rate = float(learning_rate)
        except OverflowError:
            self.learning_rate = math.inf
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise DataError(f"learning_rate must be finite and above 0, got {learning_rate!r}")

    def __repr__(self) -> str:
        return f"SGD({self.learning_rate!r})"


_TABLE = {SGD.name: SGD}


def get(optimizer: Any) -> SGD:
    """Return an optimizer from an object or its name; None stands for ``SGD()``."""
    if optimizer is None:
        return SGD()
    if isinstance(optimizer, SGD):
        return optimizer
    if isinstance(optimizer, str):
        return look_up(optimizer, _TABLE, "optimizer")()
    raise DataTypeError(
        f"optimizer must be an optimizer such as SGD(0.1), or its name; got {optimizer!r}"
    )
