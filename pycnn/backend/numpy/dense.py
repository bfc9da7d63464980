"""Z = W A + b; csrc/dense.c."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pycnn.backend.numpy.layer import LayerOps

if TYPE_CHECKING:
    from pycnn._typing import Array
    from pycnn.backend.numpy.layer import BatchContext, Layer


def forward(layer: Layer, theta: Array, a: Array, context: BatchContext) -> tuple[Array, None]:
    """Return W A + b (lecture, equation 1)."""
    W, b = layer.parameters(theta)
    if context.alone:
        return (np.matmul(a.T[:, None, :], W.T)[:, 0, :] + b).T, None
    return W @ a + b[:, None], None


def backward(layer: Layer, theta: Array, saved: None, delta: Array, a: Array, grad: Array) -> Array:
    """Put delta A^T and sum delta into `grad`; return W^T delta (lecture, equations 3 and 4)."""
    W, _ = layer.parameters(theta)
    dW, db = layer.parameters(grad)
    dW[:] = delta @ a.T
    db[:] = delta.sum(axis=1)
    return W.T @ delta


DENSE = LayerOps(forward, backward)
