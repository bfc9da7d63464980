"""`Flatten` and `Reshape`: the same numbers, seen in another shape."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pycnn._checks import check_shape
from pycnn.exceptions import ShapeError
from pycnn.layers._base import Layer, as_image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pycnn._typing import Shape
    from pycnn.backend.interface import Setting


class _Shape(Layer):
    """What these layers share: to a backend they are one kind, since shapes are not its concern."""

    core_kind = "reshape"
    needs_length = True

    def _settings(self, input_shape: Shape) -> Mapping[str, Setting]:
        shape = self.output_shape(input_shape)
        return {"shape": as_image(shape)} if len(shape) == 2 else {}


class Flatten(_Shape):
    """Make one row of a sample, in the order of NumPy's ``reshape``: what `Dense` layers take.

    Examples
    --------
    >>> from pycnn import Dense, Network
    >>> Network((28, 28), [Flatten(), Dense(10, "softmax")], seed=0).layers[1].W.shape
    (10, 784)
    """

    kind = "flatten"

    def __init__(self) -> None:
        super().__init__()

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of a sample behind the layer."""
        return (math.prod(input_shape),)

    def config(self) -> dict[str, Any]:
        """Return kind and settings as plain data, from which `from_config` rebuilds the layer."""
        return {"kind": self.kind}

    def __repr__(self) -> str:
        return "Flatten()"


class Reshape(_Shape):
    """Give a sample another shape, in the order of NumPy's ``reshape``.

    Parameters
    ----------
    shape : int or tuple of int
        Of a sample behind the layer. One of its sizes may be -1: it follows from the others.

    Raises
    ------
    DataError, DataTypeError
        If `shape` is not valid.
    ShapeError
        When a network is made of it: if a sample has another number of numbers.

    Examples
    --------
    >>> Reshape((7, 7, -1))
    Reshape((7, 7, -1))
    """

    kind = "reshape"

    def __init__(self, shape: int | Sequence[int]) -> None:
        super().__init__()
        self._shape = check_shape(shape, "shape", may_follow=True)

    @property
    def shape(self) -> Shape:
        """As it was given: of a sample behind the layer."""
        return self._shape

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of a sample behind the layer."""
        numbers, known = math.prod(input_shape), abs(math.prod(self._shape))
        if numbers % known if -1 in self._shape else numbers != known:
            raise ShapeError(
                f"Reshape({self._shape}) cannot take samples of shape {input_shape}: they have "
                f"{numbers} numbers"
            )
        return tuple(numbers // known if size == -1 else size for size in self._shape)

    def config(self) -> dict[str, Any]:
        """Return kind and settings as plain data, from which `from_config` rebuilds the layer."""
        return {"kind": self.kind, "shape": list(self._shape)}

    def __repr__(self) -> str:
        return f"Reshape({self._shape})"
