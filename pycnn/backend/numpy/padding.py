"""Zeros around an image; csrc/padding.c."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pycnn.backend.numpy.layer import LayerOps
from pycnn.backend.numpy.windows import as_columns, as_images

if TYPE_CHECKING:
    from pycnn._typing import Array
    from pycnn.backend.numpy.layer import BatchContext, Layer


def forward(layer: Layer, theta: Array, a: Array, context: BatchContext) -> tuple[Array, None]:
    """Return A with zeros around it."""
    above, below, left, right = layer.spec.settings["margins"]
    images = as_images(a, layer.spec.settings["shape"])
    return as_columns(np.pad(images, ((0, 0), (above, below), (left, right), (0, 0)))), None


def backward(layer: Layer, theta: Array, saved: None, delta: Array, a: Array, grad: Array) -> Array:
    """Return what of delta lies within the image."""
    above, _, left, _ = layer.spec.settings["margins"]
    rows, columns, _ = layer.spec.settings["shape"]
    deltas = as_images(delta, layer.spec.output_shape)
    return as_columns(deltas[:, above : above + rows, left : left + columns])


ZERO_PADDING = LayerOps(forward, backward)
