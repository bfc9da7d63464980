"""Layers, as users write them down; a `Network` holds copies that carry its parameters."""

from __future__ import annotations

import copy
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn import activations, initializers
from pycnn._checks import check_real
from pycnn._data import as_values
from pycnn._names import look_up
from pycnn.exceptions import DataError, DataTypeError, PycnnError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

__all__ = ["Dense", "Layer"]


def check_size(value: Any, name: str) -> int:
    """Return `value` as an int >= 1, or raise naming the argument."""
    try:
        size = operator.index(value)
    except TypeError:
        raise DataTypeError(f"{name} must be an integer, got {value!r}") from None
    if isinstance(value, (bool, np.bool_)):
        raise DataTypeError(f"{name} must be an integer, got {value!r}")
    if size < 1:
        raise DataError(f"{name} must be at least 1, got {size}")
    return size


class Dense:
    """A fully connected layer: ``A = f(W @ A_previous + b)`` (lecture, equations 1 and 2).

    Parameters
    ----------
    units : int
        Number of neurons, n_l.
    activation : str, default "linear"
        One of `pycnn.activations.ACTIVATIONS`.
    weight_initializer : str or Initializer, optional
        Where W starts; by default what suits the activation: ``"he_normal"`` for relu, leaky_relu,
        elu, gelu, gelu_tanh and silu, ``"glorot_uniform"`` for the others. See
        `pycnn.initializers`.
    bias_initializer : str or Initializer, default "zeros"
        Where b starts. One that scales with the layer's size sees ``fan_out`` = `units`.
    l1, l2 : float, default 0.0
        Strengths >= 0 of this layer's penalty, ``l1 sum |W| + l2/2 sum W^2``, which is added to the
        mean loss (so they do not depend on the batch size) and to the network's own, if any. Biases
        are not penalized.

    Raises
    ------
    UnknownNameError, DataError, DataTypeError
        If an argument is not valid.

    Examples
    --------
    >>> Dense(32, "relu")
    Dense(32, 'relu')
    """

    kind = "dense"

    def __init__(
        self,
        units: int,
        activation: str = "linear",
        *,
        weight_initializer: str | initializers.Initializer | None = None,
        bias_initializer: str | initializers.Initializer = "zeros",
        l1: float = 0.0,
        l2: float = 0.0,
    ) -> None:
        self._units = check_size(units, "units")
        self._activation = activations.check(activation)
        if weight_initializer is None:
            weight_initializer = activations.default_initializer(self.activation)
        self._weight_initializer = initializers.get(weight_initializer, "weight_initializer")
        self._bias_initializer = initializers.get(bias_initializer, "bias_initializer")
        self._l1 = check_real(l1, "l1", at_least=0)
        self._l2 = check_real(l2, "l2", at_least=0)
        self._W: Array | None = None
        self._b: Array | None = None

    # What the layer is cannot change: a network's buffers have been sized by it.

    @property
    def units(self) -> int:
        """Number of neurons, n_l."""
        return self._units

    @property
    def activation(self) -> str:
        """Name of the activation f."""
        return self._activation

    @property
    def weight_initializer(self) -> initializers.Initializer:
        """Where W starts."""
        return self._weight_initializer

    @property
    def bias_initializer(self) -> initializers.Initializer:
        """Where b starts."""
        return self._bias_initializer

    @property
    def l1(self) -> float:
        """Strength of the penalty on the weights' sizes."""
        return self._l1

    @property
    def l2(self) -> float:
        """Strength of the penalty on the weights' squares."""
        return self._l2

    def parameter_count(self, fan_in: int) -> int:
        """Return how many parameters the layer has on top of `fan_in` inputs."""
        return self.units * fan_in + self.units

    def bound(self, theta: Array, fan_in: int) -> Dense:
        """Return a copy whose W and b are views into `theta`, this layer's part of it."""
        layer = copy.copy(self)
        count = self.units * fan_in
        layer._W = theta[:count].reshape(self.units, fan_in)
        layer._b = theta[count:]
        return layer

    def initialize(self, bits: np.random.PCG64) -> None:
        """Draw the parameters of a bound layer."""
        fan_out, fan_in = self.W.shape
        self.W[:] = self.weight_initializer.draw(bits, fan_out, fan_in)
        self.b[:] = self.bias_initializer.draw(bits, fan_out, 1)[:, 0]

    @property
    def W(self) -> Array:
        """Weights, (n_l, n_{l-1}): a live view into the network's parameters."""
        return self._view(self._W)

    @W.setter
    def W(self, value: ArrayLike) -> None:
        self.W[:] = as_values(value, "W", self.W.shape)

    @property
    def b(self) -> Array:
        """Biases, (n_l,): a live view into the network's parameters."""
        return self._view(self._b)

    @b.setter
    def b(self, value: ArrayLike) -> None:
        self.b[:] = as_values(value, "b", self.b.shape)

    @staticmethod
    def _view(view: Array | None) -> Array:
        if view is None:
            raise PycnnError("this layer has no parameters yet: it is not part of a network")
        return view

    def config(self) -> dict[str, Any]:
        """Return kind and settings as plain data, from which `from_config` rebuilds the layer."""
        return {
            "kind": self.kind,
            "units": self.units,
            "activation": self.activation,
            "weight_initializer": self.weight_initializer.config(),
            "bias_initializer": self.bias_initializer.config(),
            "l1": self.l1,
            "l2": self.l2,
        }

    def __repr__(self) -> str:
        parts = [repr(self.units), repr(self.activation)]
        if self.weight_initializer.name != activations.default_initializer(self.activation):
            parts.append(f"weight_initializer={self.weight_initializer!r}")
        if self.bias_initializer.name != "zeros":
            parts.append(f"bias_initializer={self.bias_initializer!r}")
        parts += [
            f"{name}={value!r}" for name, value in (("l1", self.l1), ("l2", self.l2)) if value
        ]
        return f"Dense({', '.join(parts)})"


# The kinds of layers there are; other kinds join this union.
Layer = Dense

_KINDS: dict[str, type[Layer]] = {Dense.kind: Dense}


def from_config(config: dict[str, Any]) -> Layer:
    """Rebuild a layer from its `config`."""
    settings = dict(config)
    return look_up(settings.pop("kind", None), _KINDS, "layer kind")(**settings)
