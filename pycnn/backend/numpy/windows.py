"""How windows move over images: which outputs meet which inputs; csrc/convolution.h."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycnn._typing import Array, Shape
    from pycnn.backend.numpy.layer import Layer


class Tap(NamedTuple):
    """A place within all windows at once: the outputs whose windows have it on the image."""

    place: tuple[int, int]  # row and column in the window
    outputs: tuple[slice, slice, slice]  # of (samples, rows, columns): those windows
    inputs: tuple[slice, slice, slice]  # what they see there, in the same order


def as_images(a: Array, shape: Shape) -> Array:
    """Return what lies a column a sample as (samples, rows, columns, features)."""
    return np.ascontiguousarray(a.T).reshape(-1, *shape)


def as_columns(images: Array) -> Array:
    """Return images as they lie between layers, a column a sample."""
    return images.reshape(len(images), -1).T


def places(layer: Layer) -> tuple[int, int]:
    """Return how many windows there are along rows and columns; a sequence has one row."""
    rows, columns = (1, 1, *layer.spec.output_shape[:-1])[-2:]
    return rows, columns


def taps(layer: Layer) -> Iterator[Tap]:
    """Yield the places within windows in their order: what is beyond the image is left out."""
    rows, columns = (list(_along(layer, axis)) for axis in (0, 1))
    everything = slice(None)
    for k, rows_out, rows_in in rows:
        for l, columns_out, columns_in in columns:  # noqa: E741 - as in the formula
            outputs, inputs = (everything, rows_out, columns_out), (everything, rows_in, columns_in)
            yield Tap((k, l), outputs, inputs)


def _along(layer: Layer, axis: int) -> Iterator[tuple[int, slice, slice]]:
    """Yield each tap along an axis that sees the image, which windows do there, and where."""
    settings, count = layer.spec.settings, places(layer)[axis]
    names = "shape", "kernel", "strides", "dilation"
    n, size, stride, dilation = (settings[name][axis] for name in names)
    covered = (count - 1) * stride + (size - 1) * dilation + 1
    before = max(covered - n, 0) // 2 if settings["padding"] == "same" else 0
    least = max(-(((count - 1) * stride - before) // dilation), 0)
    for tap in range(least, min((before + n - 1) // dilation + 1, size)):
        first = tap * dilation - before  # what the first window sees there
        start = max(-(first // stride), 0)
        stop = max(min((n - 1 - first) // stride + 1, count), start)
        at = first + start * stride
        yield tap, slice(start, stop), slice(at, at + (stop - start) * stride, stride)
