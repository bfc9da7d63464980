"""Of each window the largest number, or the mean; csrc/pool.c."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pycnn.backend.numpy.layer import LayerOps
from pycnn.backend.numpy.windows import as_columns, as_images, places, taps

if TYPE_CHECKING:
    from pycnn._typing import AnyArray, Array, Flags, Indices
    from pycnn.backend.numpy.layer import BatchContext, Layer


def _are_there(images: Array, lengths: Indices) -> Flags:
    """Tell which positions of (m, 1, T, F), sequences that windows cover as a whole, are there."""
    return (np.arange(images.shape[2]) < lengths[:, None])[:, None, :, None]


def max_forward(layer: Layer, theta: Array, a: Array, context: BatchContext) -> tuple[Array, Array]:
    """Return each window's largest number, or a NaN that it has; and the same as images."""
    images = as_images(a, layer.spec.settings["shape"])
    if context.lengths is not None:
        images = np.where(_are_there(images, context.lengths), images, -np.inf)
    most = np.full((len(images), *places(layer), images.shape[-1]), -np.inf)
    for tap in taps(layer):
        seen, so_far = images[tap.inputs], most[tap.outputs]
        np.copyto(so_far, seen, where=(seen > so_far) | np.isnan(seen))
    return as_columns(most), most


def max_backward(
    layer: Layer, theta: Array, saved: Array, delta: Array, a: Array, grad: Array
) -> Array:
    """Return delta at the places where the largest numbers were, of equal ones at the first."""
    images = as_images(a, layer.spec.settings["shape"])
    rest = as_images(delta, saved.shape[1:]).copy()  # what has not found its place
    below = np.zeros_like(images)
    for tap in taps(layer):
        seen, there = images[tap.inputs], rest[tap.outputs]
        found = (seen == saved[tap.outputs]) | np.isnan(seen)
        below[tap.inputs] += np.where(found, there, 0.0)
        there[found] = 0.0
    return as_columns(below)


def _numbers(layer: Layer) -> Array:
    """Return how many numbers each window covers, (1, rows, columns, 1)."""
    count = np.zeros((1, *places(layer), 1))
    for tap in taps(layer):
        count[tap.outputs] += 1
    return count


def average_forward(
    layer: Layer, theta: Array, a: Array, context: BatchContext
) -> tuple[Array, Indices | None]:
    """Return each window's mean over what it covers; the lengths are saved."""
    images = as_images(a, layer.spec.settings["shape"])
    count: AnyArray = _numbers(layer)
    if context.lengths is not None:
        images = np.where(_are_there(images, context.lengths), images, 0.0)
        count = context.lengths[:, None, None, None]
    z = np.zeros((len(images), *places(layer), images.shape[-1]))
    for tap in taps(layer):
        z[tap.outputs] += images[tap.inputs]
    return as_columns(z / count), context.lengths


def average_backward(
    layer: Layer, theta: Array, saved: Indices | None, delta: Array, a: Array, grad: Array
) -> Array:
    """Return delta, shared out equally to what each window covers."""
    rows, columns, features = layer.spec.settings["shape"]
    count = _numbers(layer) if saved is None else saved[:, None, None, None]
    parts = as_images(delta, (*places(layer), features)) / count
    below = np.zeros((len(parts), rows, columns, features))
    for tap in taps(layer):
        below[tap.inputs] += parts[tap.outputs]
    if saved is not None:
        below[~np.broadcast_to(_are_there(below, saved), below.shape)] = 0.0
    return as_columns(below)


MAX_POOL = LayerOps(max_forward, max_backward)
AVERAGE_POOL = LayerOps(average_forward, average_backward)
