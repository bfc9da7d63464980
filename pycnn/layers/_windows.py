"""Windows that move over an image or along a sequence: what convolution and pooling share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pycnn._checks import check_choice, check_size, is_open
from pycnn.exceptions import DataError, DataTypeError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pycnn._typing import Shape
    from pycnn.backend.interface import Setting
    from pycnn.layers._base import Layer

AXES = {1: ("positions",), 2: ("rows", "columns")}
PADDINGS = ("valid", "same")


def check_sizes(value: Any, name: str, axes: int, at_least: int = 1) -> Shape:
    """Return a size along each axis: an integer stands for all of them.

    Raises
    ------
    DataTypeError, DataError
        If it is neither an integer nor as many as there are axes, or out of bounds.
    """
    must = f"{name} must be an integer{'' if axes == 1 else ' or a pair of integers'}"
    if isinstance(value, (tuple, list)):
        if len(value) != axes:
            raise DataError(f"{must}, got {value!r:.80}")
        return tuple(check_size(size, name, at_least) for size in value)
    if not hasattr(value, "__index__"):
        raise DataTypeError(f"{must}, got {value!r:.80}")
    return (check_size(value, name, at_least),) * axes


def shown(sizes: Shape) -> int | Shape:
    """Return sizes as users write them: one number where all axes have the same."""
    return sizes[0] if len(set(sizes)) == 1 else sizes


def plain(sizes: Shape) -> int | list[int]:
    """Return sizes as plain data, for a `config`: along a sequence one number."""
    return sizes[0] if len(sizes) == 1 else list(sizes)


def check_image(layer: Layer, input_shape: Shape, axes: int) -> Shape:
    """Return the sizes of a sample along the axes, or raise `ShapeError` where it has others."""
    if len(input_shape) == axes + 1:
        return input_shape[:-1]
    names = ", ".join((*AXES[axes], "channels"))
    if is_open(input_shape):
        raise ShapeError(
            f"{layer!r} takes samples of shape ({names}), but they are sequences: {input_shape}"
        )
    row = axes == 1 and len(input_shape) == 1
    recurrent = ", or return_sequences=True in a recurrent layer there" if row else ""
    raise ShapeError(
        f"{layer!r} takes samples of shape ({names}), but they have shape {input_shape}: "
        f"Reshape({_remedy(input_shape, axes)}) in front of it makes them so{recurrent}"
    )


def _remedy(shape: Shape, axes: int) -> str:
    """Return a shape that samples probably are meant to have."""
    numbers = math.prod(shape)
    side = math.isqrt(numbers)
    if len(shape) == axes:
        return f"{(*shape, 1)}"
    if axes == 1:
        return f"{(shape[0], numbers // shape[0])}"
    return f"{(side, side, 1)}" if side * side == numbers else "(rows, columns, channels)"


def _counted(sizes: Shape) -> str:
    """Return such as "3 rows and 5 columns"."""
    return " and ".join(f"{n} {name}" for n, name in zip(sizes, AXES[len(sizes)], strict=True))


class Windows:
    """How large windows are, how far apart, and what they see beyond the image.

    Parameters
    ----------
    size, strides, dilation : tuple of int
        Along each axis.
    padding : {"valid", "same"}
        Windows stay within the image, or there is one for each strides-th input: then what they
        see beyond is zero (``total = max((ceil(n / s) - 1) s + (k - 1) d + 1 - n, 0)`` numbers,
        half of them, rounded down, in front).
    """

    def __init__(self, size: Shape, strides: Shape, padding: str, dilation: Shape) -> None:
        self.size, self.strides, self.dilation = size, strides, dilation
        self.padding = check_choice(padding, PADDINGS, "padding")

    def count(self, layer: Layer, input_shape: Shape) -> Shape:
        """Return how many there are along each axis, or raise `ShapeError` where none fits."""
        image = check_image(layer, input_shape, len(self.size))
        if is_open(image):
            return image
        reach = tuple((k - 1) * d + 1 for k, d in zip(self.size, self.dilation, strict=True))
        if self.padding == "same":
            far = [
                d >= n for k, d, n in zip(self.size, self.dilation, image, strict=True) if k > 1 < d
            ]
            if True in far:
                raise ShapeError(
                    f"{layer!r} takes numbers that are {shown(self.dilation)} apart, but its input "
                    f"has shape {input_shape}: a window would see one of them at most"
                )
            return tuple(-(-n // s) for n, s in zip(image, self.strides, strict=True))
        if any(r > n for r, n in zip(reach, image, strict=True)):
            raise ShapeError(
                f"a window of {layer!r} covers {_counted(reach)}, more than its input of shape "
                f"{input_shape} has: {self._remedy(input_shape)}"
            )
        return tuple((n - r) // s + 1 for n, r, s in zip(image, reach, self.strides, strict=True))

    def _remedy(self, input_shape: Shape) -> str:
        turned = (*input_shape[1:], input_shape[0])
        if len(input_shape) == 3 and input_shape[0] <= 4 < min(input_shape[1:]):
            return f"channels come last, as in {turned}"
        return 'take a smaller one, or padding="same"'

    def settings(self, input_shape: Shape) -> Mapping[str, Setting]:
        """Return all of this by the core's names; a sequence is an image of one row."""
        beside = (1,) * (2 - len(self.size))
        return {
            "shape": (*beside, *input_shape),
            "kernel": (*beside, *self.size),
            "strides": (*beside, *self.strides),
            "dilation": (*beside, *self.dilation),
            "padding": self.padding,
        }
