"""Drawing one of several by their probabilities: csrc/sample.c, to the bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pycnn import _exact

if TYPE_CHECKING:
    from pycnn._typing import Array
    from pycnn.backend.interface import Sampler


def sampler(temperature: float, top_k: int, top_p: float) -> Sampler:
    """Return a callable that draws a place by probabilities and a number from 0 to below 1.

    Probabilities are raised to 1 / temperature; at 0 the first of the largest is taken. With
    `top_k` above 0 so many of the most probable are left, with `top_p` below 1 as few as have
    together that part of the sum; in both cases what equals the last of them, too. The callable
    returns -1 where the probabilities are none.
    """

    def sample(probabilities: Array, draw: float) -> int:
        if not (probabilities >= 0).all() or not 0 < _sum(probabilities) < np.inf:
            return -1
        if temperature == 0:
            return int(probabilities.argmax())
        weights = probabilities
        if temperature != 1:
            weights = _sharpened(weights, temperature)
        if 0 < top_k < len(weights):
            weights = _from(weights, np.sort(weights)[-top_k])
        if 0 < top_p < 1:
            weights = _from(weights, _threshold(weights, top_p * _sum(weights)))
        below = np.cumsum(weights)
        found = int(np.searchsorted(below, draw * below[-1], side="right"))
        # Where sums are subnormal, rounding may leave nothing above.
        return found if found < len(below) else int(weights.argmax())

    return sample


def _sharpened(weights: Array, temperature: float) -> Array:
    """Return p^(1 / temperature), divided by the largest."""
    ratio = weights / weights.max()
    exponent = np.full_like(ratio, -np.inf)
    with np.errstate(over="ignore"):
        exponent[ratio > 0] = _exact.log(ratio[ratio > 0]) / temperature
    return np.where(exponent >= -700, _exact.exp(np.maximum(exponent, -700.0)), 0.0)


def _sum(weights: Array) -> float:
    """Return the sum, in one chain."""
    with np.errstate(over="ignore"):
        return float(np.cumsum(weights)[-1])


def _from(weights: Array, threshold: float) -> Array:
    """Return the weights from a threshold on, and 0 for the others."""
    return np.where(weights >= threshold, weights, 0.0)


def _threshold(weights: Array, wanted: float) -> float:
    """Return the highest weight from which on there is as much as is wanted, by halving."""
    values = np.unique(np.append(weights, 0.0))
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        if _sum(_from(weights, values[middle])) >= wanted:
            low = middle
        else:
            high = middle
    return float(values[low])
