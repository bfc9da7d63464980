"""gamma x^ + beta, x^ normalized over samples or over a sample's units; csrc/normalization.c.

Of images each position of a sample is a column of its features, as if it were a sample.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pycnn.backend.numpy.layer import LayerOps, as_columns, as_samples

if TYPE_CHECKING:
    from pycnn._typing import Array
    from pycnn.backend.numpy.layer import BatchContext, Layer


class Normalized(NamedTuple):
    """What a batch normalization saves: x^, 1 / deviation, and the moments, (features, 1)."""

    x: Array
    inverse: Array
    mean: Array
    variance: Array
    training: bool


def batch_norm_forward(
    layer: Layer, theta: Array, a: Array, context: BatchContext
) -> tuple[Array, Normalized]:
    """Return gamma x^ + beta, x^ normalized over the samples (Ioffe & Szegedy 2015)."""
    samples, a = a.shape[1], as_columns(a, layer.spec.input_shape[-1])
    gamma, beta = (vector[:, None] for vector in layer.parameters(theta))
    mean, variance = (vector[:, None] for vector in layer.statistics(theta))
    if context.training:
        mean, variance = a.mean(axis=1, keepdims=True), a.var(axis=1, keepdims=True)
    inverse = 1 / np.sqrt(variance + layer.setting("epsilon"))
    x = (a - mean) * inverse
    saved = Normalized(x, inverse, mean, variance, context.training)
    return as_samples(gamma * x + beta, samples), saved


def batch_norm_backward(
    layer: Layer, theta: Array, saved: Normalized, delta: Array, a: Array, grad: Array
) -> Array:
    """Put the gradients of gamma and beta into `grad`; return dL/dA."""
    gamma = layer.parameters(theta)[0][:, None]
    delta = as_columns(delta, layer.spec.input_shape[-1])
    product = (delta * saved.x).sum(axis=1, keepdims=True)
    total = delta.sum(axis=1, keepdims=True)
    dgamma, dbeta = layer.parameters(grad)
    dgamma[:], dbeta[:] = product[:, 0], total[:, 0]
    part = 1 / delta.shape[1] if saved.training else 0.0
    below = gamma * saved.inverse * (delta - part * total - saved.x * (part * product))
    return as_samples(below, a.shape[1])


def batch_norm_update_statistics(layer: Layer, theta: Array, saved: Normalized) -> None:
    """Move the statistics towards the mini-batch's, the variance as an unbiased estimate."""
    numbers = saved.x.shape[1]
    if numbers == 1:
        return
    momentum = layer.setting("momentum")
    seen = saved.mean, saved.variance * (numbers / (numbers - 1))
    for counted, new in zip(layer.statistics(theta), seen, strict=True):
        counted[:] = (1 - momentum) * counted + momentum * new[:, 0]


def layer_norm_forward(
    layer: Layer, theta: Array, a: Array, context: BatchContext
) -> tuple[Array, tuple[Array, Array]]:
    """Return gamma x^ + beta, x^ normalized over a sample's units (Ba et al. 2016)."""
    samples, a = a.shape[1], as_columns(a, layer.spec.input_shape[-1])
    gamma, beta = (vector[:, None] for vector in layer.parameters(theta))
    rows = np.ascontiguousarray(a.T)  # a sample's sum must not depend on those beside it
    inverse = 1 / np.sqrt(rows.var(axis=1) + layer.setting("epsilon"))
    x = (a - rows.mean(axis=1)) * inverse
    return as_samples(gamma * x + beta, samples), (x, inverse)


def layer_norm_backward(
    layer: Layer, theta: Array, saved: tuple[Array, Array], delta: Array, a: Array, grad: Array
) -> Array:
    """Put the gradients of gamma and beta into `grad`; return dL/dA."""
    gamma = layer.parameters(theta)[0][:, None]
    x, inverse = saved
    delta = as_columns(delta, layer.spec.input_shape[-1])
    dgamma, dbeta = layer.parameters(grad)
    dgamma[:], dbeta[:] = (delta * x).sum(axis=1), delta.sum(axis=1)
    g = gamma * delta
    below = inverse * (g - g.mean(axis=0) - x * (g * x).mean(axis=0))
    return as_samples(below, a.shape[1])


BATCH_NORM = LayerOps(batch_norm_forward, batch_norm_backward, batch_norm_update_statistics)
LAYER_NORM = LayerOps(layer_norm_forward, layer_norm_backward)
