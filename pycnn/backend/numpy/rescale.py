"""Another unit: scale x + offset; csrc/rescale.c."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycnn.backend.numpy.layer import LayerOps

if TYPE_CHECKING:
    from pycnn._typing import Array
    from pycnn.backend.numpy.layer import BatchContext, Layer


def forward(layer: Layer, theta: Array, a: Array, context: BatchContext) -> tuple[Array, None]:
    """Return scale * A + offset."""
    return a * layer.setting("scale") + layer.setting("offset"), None


def backward(layer: Layer, theta: Array, saved: None, delta: Array, a: Array, grad: Array) -> Array:
    """Return scale * delta."""
    return delta * layer.setting("scale")


RESCALE = LayerOps(forward, backward)
