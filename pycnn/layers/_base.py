"""`Layer`: what all kinds of layers have."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn import activations
from pycnn._data.arrays import as_values
from pycnn.exceptions import PycnnError

if TYPE_CHECKING:
    from pycnn._typing import Array, ArrayLike, Shape


class Layer:
    """What all kinds of layers have: a name, an activation, and parameters once they are bound.

    A layer as the user writes it down has no parameters; a network's copy has views into the
    network's.
    """

    kind = ""
    l1 = l2 = max_norm = rate = epsilon = momentum = 0.0  # what a kind does not have

    def __init__(self, units: int | None, activation: str) -> None:
        self._units = units
        self._activation = activations.check(activation)
        self._tensors: dict[str, Array] = {}

    # What the layer is cannot change: a network's buffers have been sized by it.

    @property
    def units(self) -> int:
        """Number of neurons, n_l."""
        if self._units is None:
            raise PycnnError(
                "this layer has as many units as the one before it: it is not part of a network yet"
            )
        return self._units

    @property
    def activation(self) -> str:
        """Name of the activation f."""
        return self._activation

    @property
    def tensors(self) -> dict[str, Array]:
        """All parameters and statistics by name: live views, in the order of the files."""
        return dict(self._tensors)

    def width(self, fan_in: int) -> int:
        """Return how many units the layer has on top of `fan_in` inputs."""
        return fan_in

    def shapes(self, fan_in: int) -> dict[str, Shape]:
        """Return the parameters' names and shapes on top of `fan_in` inputs."""
        raise NotImplementedError

    def statistic_shapes(self, fan_in: int) -> dict[str, Shape]:
        """Return the names and shapes of what training counts beside."""
        return {}

    def bound(self, theta: Array, statistics: Array, fan_in: int) -> Any:
        """Return a copy with views into `theta` and `statistics`, this layer's part of them."""
        layer = object.__new__(type(self))
        vars(layer).update(vars(self))
        layer._units = self.width(fan_in)
        layer._tensors = {}
        for buffer, shapes in (
            (theta, self.shapes(fan_in)),
            (statistics, self.statistic_shapes(fan_in)),
        ):
            at = 0
            for name, shape in shapes.items():
                size = math.prod(shape)
                layer._tensors[name] = buffer[at : at + size].reshape(shape)
                at += size
        return layer

    def initialize(self, bits: np.random.PCG64) -> None:
        """Draw the parameters of a bound layer."""

    def _get(self, name: str) -> Array:
        if name not in self._tensors:
            raise PycnnError("this layer has no parameters yet: it is not part of a network")
        return self._tensors[name]

    def _set(self, name: str, value: ArrayLike) -> None:
        view = self._get(name)
        view[:] = as_values(value, name, view.shape)
