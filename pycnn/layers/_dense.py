"""`Dense`: each unit sees all units of the layer before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn import activations, initializers
from pycnn._checks import check_real, check_size
from pycnn.backend.interface import TensorSpec
from pycnn.layers._base import Layer, check_flat

if TYPE_CHECKING:
    from pycnn._typing import Array, ArrayLike, Shape


class Dense(Layer):
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
    bias_initializer : str or Initializer, optional
        Where b starts; by default ``"fan_in_uniform"``, so that units bend at different places, and
        ``"zeros"`` for linear and softmax, which do not bend.
    l1, l2 : float, default 0.0
        Strengths >= 0 of this layer's penalty, ``l1 sum |W| + l2/2 sum W^2``, which is added to the
        mean loss (so they do not depend on the batch size) and to the network's own, if any. Biases
        are not penalized.
    max_norm : float, optional
        After each update the weights of a neuron, a row of W, are scaled down to this Euclidean
        norm where theirs is larger (Srivastava et al., 2014).

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
        bias_initializer: str | initializers.Initializer | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        max_norm: float | None = None,
    ) -> None:
        super().__init__(activation)
        self._units = check_size(units, "units")
        suited = activations.TABLE[self.activation]
        if weight_initializer is None:
            weight_initializer = suited.weight_initializer
        if bias_initializer is None:
            bias_initializer = suited.bias_initializer
        self._weight_initializer = initializers.get(weight_initializer, "weight_initializer")
        self._bias_initializer = initializers.get(bias_initializer, "bias_initializer")
        self._l1 = check_real(l1, "l1", at_least=0)
        self._l2 = check_real(l2, "l2", at_least=0)
        self._max_norm = 0.0
        if max_norm is not None:
            self._max_norm = check_real(max_norm, "max_norm", above=0)

    @property
    def units(self) -> int:
        """Number of neurons, n_l."""
        return self._units

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

    @property
    def max_norm(self) -> float | None:
        """Largest norm of a row of W."""
        return self._max_norm or None

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of a sample behind the layer."""
        return (self.units,)

    def tensor_specs(self, input_shape: Shape) -> tuple[TensorSpec, ...]:
        """Return what arrays the layer has: W, which penalties and `max_norm` mean, and b."""
        fan_in = check_flat(self, input_shape)
        return (
            TensorSpec("W", (self.units, fan_in), "weight"),
            TensorSpec("b", (self.units,), "bias"),
        )

    def _settings(self, input_shape: Shape) -> dict[str, float]:
        return {"l1": self.l1, "l2": self.l2, "max_norm": self._max_norm}

    def initialize(self, bits: np.random.PCG64) -> None:
        """Draw the parameters of a bound layer."""
        fan_out, fan_in = self.W.shape
        self.W[:] = self.weight_initializer.draw(bits, fan_out, fan_in)
        self.b[:] = self.bias_initializer.draw_bias(bits, fan_out, fan_in)

    @property
    def W(self) -> Array:
        """Weights, (n_l, n_{l-1}): a live view into the network's parameters."""
        return self._get("W")

    @W.setter
    def W(self, value: ArrayLike) -> None:
        self._set("W", value)

    @property
    def b(self) -> Array:
        """Biases, (n_l,): a live view into the network's parameters."""
        return self._get("b")

    @b.setter
    def b(self, value: ArrayLike) -> None:
        self._set("b", value)

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
            "max_norm": self.max_norm,
        }

    def __repr__(self) -> str:
        parts = [repr(self.units), repr(self.activation)]
        suited = activations.TABLE[self.activation]
        if self.weight_initializer.name != suited.weight_initializer:
            parts.append(f"weight_initializer={self.weight_initializer!r}")
        if self.bias_initializer.name != suited.bias_initializer:
            parts.append(f"bias_initializer={self.bias_initializer!r}")
        for name in ("l1", "l2", "max_norm"):
            if value := getattr(self, name):
                parts.append(f"{name}={value!r}")
        return f"Dense({', '.join(parts)})"
