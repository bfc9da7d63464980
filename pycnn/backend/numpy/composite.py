"""f(inner(A) + shortcut(A)): two paths, whose deltas add up; csrc/composite.c."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pycnn.backend.numpy.layer import (
    Activations,
    LayerOps,
    backward_through,
    forward_through,
    update_statistics,
)

if TYPE_CHECKING:
    from pycnn._typing import Array
    from pycnn.backend.numpy.layer import BatchContext, Layer


class Paths(NamedTuple):
    """What a residual layer saves. A path of no layers is the identity."""

    inner: Activations
    shortcut: Activations


def residual_forward(
    layer: Layer, theta: Array, a: Array, context: BatchContext
) -> tuple[Array, Paths]:
    """Return inner(A) + shortcut(A) (He et al. 2016)."""
    inner = forward_through(layer.inner, theta, a, context)
    shortcut = forward_through(layer.shortcut, theta, a, context)
    return inner.A[-1] + shortcut.A[-1], Paths(inner, shortcut)


def residual_backward(
    layer: Layer, theta: Array, saved: Paths, delta: Array, a: Array, grad: Array
) -> Array:
    """Return the sum of both paths' dL/dA: each has dL/dZ at its end."""
    _, inner = backward_through(layer.inner, theta, saved.inner, delta, grad)
    _, shortcut = backward_through(layer.shortcut, theta, saved.shortcut, delta, grad)
    return inner + shortcut


def residual_update_statistics(layer: Layer, theta: Array, saved: Paths) -> None:
    """Let the layers of both paths do so."""
    update_statistics(layer.inner, theta, saved.inner.saved)
    update_statistics(layer.shortcut, theta, saved.shortcut.saved)


RESIDUAL = LayerOps(residual_forward, residual_backward, residual_update_statistics)
