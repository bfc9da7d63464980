"""Z = W A + b, of sequences at each position; csrc/dense.c."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pycnn.backend.numpy.layer import LayerOps, as_columns, as_samples

if TYPE_CHECKING:
    from pycnn._typing import Array
    from pycnn.backend.numpy.layer import BatchContext, Layer


def forward(layer: Layer, theta: Array, a: Array, context: BatchContext) -> tuple[Array, None]:
    """Return W A + b (lecture, equation 1)."""
    W, b = layer.parameters(theta)
    samples, a = a.shape[1], as_columns(a, W.shape[1])
    if context.alone:
        rows = np.matmul(a.T[:, None, :], W.T)[:, 0, :] + b
        return as_samples(rows.T, samples), None
    return as_samples(W @ a + b[:, None], samples), None


def backward(layer: Layer, theta: Array, saved: None, delta: Array, a: Array, grad: Array) -> Array:
    """Put delta A^T and sum delta into `grad`; return W^T delta (lecture, equations 3 and 4)."""
    W, _ = layer.parameters(theta)
    dW, db = layer.parameters(grad)
    samples, a = a.shape[1], as_columns(a, W.shape[1])
    delta = as_columns(delta, len(W))
    dW[:] = delta @ a.T
    db[:] = delta.sum(axis=1)
    return as_samples(W.T @ delta, samples)


DENSE = LayerOps(forward, backward)
