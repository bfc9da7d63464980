"""The same filters at each place of an image; csrc/convolution.c."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pycnn.backend.numpy.layer import LayerOps
from pycnn.backend.numpy.windows import as_columns, as_images, places, taps

if TYPE_CHECKING:
    from pycnn._typing import Array
    from pycnn.backend.numpy.layer import BatchContext, Layer


def _filters(layer: Layer, buffer: Array) -> tuple[Array, list[Array]]:
    """Return W as [filters, rows, columns, features], and b or nothing."""
    W, *b = layer.parameters(buffer)
    return W.reshape(len(W), *layer.spec.settings["kernel"], -1), b


def forward(layer: Layer, theta: Array, a: Array, context: BatchContext) -> tuple[Array, None]:
    """Return the sums of W[f, k, l, c] A[y s + k d - p, x s + l d - p, c], and b[f] with them.

    A sample's product is one of its own, so its bits do not depend on those beside it.
    """
    W, b = _filters(layer, theta)
    images = as_images(a, layer.spec.settings["shape"])
    z = np.zeros((len(images), *places(layer), len(W)))
    for tap in taps(layer):
        z[tap.outputs] += images[tap.inputs] @ W[:, *tap.place].T
    for bias in b:
        z += bias
    return as_columns(z), None


def backward(layer: Layer, theta: Array, saved: None, delta: Array, a: Array, grad: Array) -> Array:
    """Put the sums of delta A over places and samples into `grad`; return dL/dA."""
    W, _ = _filters(layer, theta)
    dW, db = _filters(layer, grad)
    images = as_images(a, layer.spec.settings["shape"])
    deltas = as_images(delta, (*places(layer), len(W)))
    below = np.zeros_like(images)
    dW[:] = 0.0
    for tap in taps(layer):
        seen, there = images[tap.inputs], deltas[tap.outputs]
        dW[:, *tap.place] = np.tensordot(there, seen, axes=([0, 1, 2], [0, 1, 2]))
        below[tap.inputs] += there @ W[:, *tap.place]
    for bias in db:
        bias[:] = deltas.sum(axis=(0, 1, 2))
    return as_columns(below)


CONVOLUTION = LayerOps(forward, backward)
