"""Layers on top of each other, as one layer; csrc/composite.c."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycnn.backend.numpy.layer import (
    LayerOps,
    backward_through,
    forward_through,
    update_statistics,
)

if TYPE_CHECKING:
    from pycnn._typing import Array
    from pycnn.backend.numpy.layer import Activations, BatchContext, Layer


def stack_forward(
    layer: Layer, theta: Array, a: Array, context: BatchContext
) -> tuple[Array, Activations]:
    """Return what the last of the layers makes of A."""
    activations = forward_through(layer.inner, theta, a, context)
    return activations.A[-1], activations


def stack_backward(
    layer: Layer, theta: Array, saved: Activations, delta: Array, a: Array, grad: Array
) -> Array:
    """Return dL/dA, that of the first of the layers."""
    return backward_through(layer.inner, theta, saved, delta, grad)[1]


def stack_update_statistics(layer: Layer, theta: Array, saved: Activations) -> None:
    """Let the layers do so."""
    update_statistics(layer.inner, theta, saved.saved)


STACK = LayerOps(stack_forward, stack_backward, stack_update_statistics)
