"""Targets in a unit of the network's own: what `Network.fit` does with ``scale_targets=True``.

Inside, a target is ``(y - mean) / deviation``; outside, an output is ``a * deviation + mean``. The
backends know nothing of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn import losses
from pycnn._data.arrays import as_values, variation
from pycnn._record import Record
from pycnn.exceptions import DataError, DataTypeError

if TYPE_CHECKING:
    from pycnn._typing import AnyArray, Array
    from pycnn.backend.interface import Data


def check_can_scale(activation: str, loss: str) -> None:
    """Raise `DataError` where outputs and targets cannot have another unit."""
    if activation != "linear" or not losses.is_distance(loss):
        raise DataError(
            "targets can be scaled for a linear output with the loss mse, mae, huber or quantile, "
            f"not for {activation} with {loss}"
        )


class TargetScale(Record):
    """The unit of each output: its targets' mean and standard deviation."""

    mean: Array  # (n_L,)
    deviation: Array  # (n_L,), above 0

    @classmethod
    def check(cls, value: Any, units: int) -> TargetScale:
        """Return ``(mean, deviation)`` as arrays that nobody changes."""
        if not isinstance(value, (tuple, list)) or len(value) != 2:
            raise DataTypeError(f"target_scale must be (mean, deviation), got {value!r:.200}")
        mean, deviation = (
            as_values(part, f"target_scale's {name}", (units,)).copy()
            for part, name in zip(value, cls._fields, strict=True)
        )
        if not (deviation > 0).all():
            raise DataError(f"target_scale's deviation must be above 0, got {deviation.min()}")
        mean.flags.writeable = deviation.flags.writeable = False
        return cls(mean, deviation)

    @classmethod
    def of(cls, data: Data) -> TargetScale:
        """Return what the targets have that were observed, by their weights.

        Where an output's targets are all the same, the deviation is 1.

        Raises
        ------
        DataError
            If an output has no target, or such that no float holds their distance.
        """
        data = data.by_position()
        weight = np.ones(len(data.y)) if data.weight is None else data.weight
        w = np.where(np.isnan(data.y), 0.0, weight[:, None])
        known = w.any(axis=0)
        if not known.all():
            raise DataError(
                "y must have a target that was observed, of weight above 0, for each output, to be "
                f"scaled; output {known.argmin()} has none"
            )
        y = np.where(w == 0, 0.0, data.y)
        # Between near numbers distances are exact; in a unit near the largest no square overflows.
        origin = np.take_along_axis(y, w.argmax(axis=0)[None], axis=0)
        with np.errstate(over="ignore"):
            distance = np.where(w == 0, 0.0, y - origin)
        largest = np.abs(distance).max(axis=0)
        if not np.isfinite(largest).all():
            raise DataError("y must hold numbers whose distance a float can hold, to be scaled")
        unit = np.ldexp(1.0, np.frexp(largest)[1] - 1)
        fraction = w / w.sum(axis=0)
        mean = origin[0] + unit * (fraction * (distance / unit)).sum(axis=0)
        deviation = unit * np.sqrt(variation(distance / unit, fraction))
        return cls.check((mean, np.where(deviation > 0, deviation, 1.0)), data.y.shape[1])

    def scale(self, data: Data) -> Data:
        """Return data whose targets are in this unit."""
        return data._replace(y=self.scaled(data.y))

    def scaled(self, y: AnyArray) -> Array:
        """Return targets (..., n_L) in this unit."""
        with np.errstate(over="ignore"):  # which the loss will be told by
            scaled: Array = (y - self.mean) / self.deviation
        return scaled

    def config(self) -> list[list[float]]:
        """Return it as plain data."""
        return [self.mean.tolist(), self.deviation.tolist()]

    def restore(self, outputs: Array) -> Array:
        """Bring outputs (..., n_L), or targets, back from this unit, in place; return them."""
        with np.errstate(over="ignore", invalid="ignore"):
            outputs *= self.deviation
            outputs += self.mean
        return outputs
