"""`ZeroPadding2D`: zeros around an image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pycnn._checks import check_fits
from pycnn.exceptions import DataError
from pycnn.layers._base import Layer
from pycnn.layers._windows import check_image, check_sizes, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pycnn._typing import Shape
    from pycnn.backend.interface import Setting


class ZeroPadding2D(Layer):
    """Put zeros around an image, (rows, columns, channels).

    Convolutions have ``padding="same"`` for what is usual; this is for other margins.

    Parameters
    ----------
    padding : int or (int, int) or ((int, int), (int, int)), default 1
        How many rows and columns there are on each side: one number for all sides; one for above
        and below, one for left and right; or ``((above, below), (left, right))``.

    Raises
    ------
    DataError, DataTypeError
        If `padding` is not valid.
    ShapeError
        When a network is made of it: if samples are no images.

    Examples
    --------
    >>> from pycnn import Flatten, Network
    >>> net = Network((1, 2, 1), [ZeroPadding2D(((0, 1), (1, 0))), Flatten()])
    >>> net.predict([[3, 1]]).reshape(2, 3)
    array([[0., 3., 1.],
           [0., 0., 0.]])
    """

    kind = "zero_padding2d"
    core_kind = "zero_padding"

    def __init__(self, padding: int | Sequence[int] | Sequence[Sequence[int]] = 1) -> None:
        super().__init__()
        pair = padding if isinstance(padding, (tuple, list)) else (padding, padding)
        if len(pair) != 2:
            raise DataError(
                "padding must be an integer, a pair of them, or a pair of pairs, "
                f"((above, below), (left, right)), got {padding!r:.80}"
            )
        rows, columns = (check_sizes(side, "padding", 2, at_least=0) for side in pair)
        self._padding = rows, columns

    @property
    def padding(self) -> tuple[Shape, Shape]:
        """How many zeros there are: ((above, below), (left, right))."""
        return self._padding

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of a sample behind the layer."""
        image = check_image(self, input_shape, 2)
        sizes = (n + sum(more) for n, more in zip(image, self.padding, strict=True))
        shape = (*sizes, input_shape[-1])
        check_fits(math.prod(shape), f"{self!r} on samples of shape {input_shape}")
        return shape

    def _settings(self, input_shape: Shape) -> Mapping[str, Setting]:
        rows, columns = self.padding
        return {"shape": input_shape, "margins": (*rows, *columns)}

    def config(self) -> dict[str, Any]:
        """Return kind and settings as plain data, from which `from_config` rebuilds the layer."""
        return {"kind": self.kind, "padding": [list(side) for side in self.padding]}

    def __repr__(self) -> str:
        rows, columns = self.padding
        if rows[0] != rows[1] or columns[0] != columns[1]:
            return f"ZeroPadding2D({self.padding})"
        return f"ZeroPadding2D({shown((rows[0], columns[0]))})"
