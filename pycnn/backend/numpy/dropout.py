"""Dropout, and the random numbers that follow from a key and a counter; csrc/dropout.c."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pycnn.backend.numpy.layer import LayerOps

if TYPE_CHECKING:
    from pycnn._typing import Array, Bits
    from pycnn.backend.numpy.layer import BatchContext, Layer


def random_bits(key: Bits, counter: Bits) -> Bits:
    """Return 64 random bits for each counter: SplitMix64's finalizer; csrc/normalization.h."""
    x = key + (counter + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def dropout_mask(
    key: int, number: int, position: int, rate: float, units: int, samples: int
) -> Array:
    """Return 0 for a fraction `rate` of all, else 1 / (1 - rate), (units, samples)."""
    layer = random_bits(np.array([key], np.uint64), np.array([number], np.uint64))
    sample = random_bits(layer, np.arange(position, position + samples, dtype=np.uint64))
    draw = random_bits(sample, np.arange(units, dtype=np.uint64)[:, None]) >> np.uint64(11)
    return np.where(draw < np.uint64(int(rate * 2**53)), 0.0, 1 / (1 - rate))


def forward(
    layer: Layer, theta: Array, a: Array, context: BatchContext
) -> tuple[Array, Array | None]:
    """Return A with a fraction of its numbers 0 and the others larger (Srivastava et al. 2014)."""
    if not context.dropping:
        return a.copy(), None
    key, position, rate = context.dropout_key, context.sample_offset, layer.setting("rate")
    units, samples = a.shape
    features = layer.spec.settings.get("shape", (units,))[-1]  # each at all positions of an image
    mask = dropout_mask(key, layer.number, position, rate, features, samples)
    mask = np.tile(mask, (units // features, 1))
    return a * mask, mask


def backward(
    layer: Layer, theta: Array, saved: Array | None, delta: Array, a: Array, grad: Array
) -> Array:
    """Return delta, 0 where A was dropped."""
    return delta if saved is None else delta * saved


DROPOUT = LayerOps(forward, backward)
