"""`Dense`: each unit sees all units of the layer before it, or all features of a position."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pycnn._checks import check_size
from pycnn.backend.interface import TensorSpec
from pycnn.layers._base import as_image, check_no_image
from pycnn.layers._weighted import Weighted

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from pycnn import initializers
    from pycnn._typing import Array, ArrayLike, Shape
    from pycnn.backend.interface import Setting


class Dense(Weighted):
    """A fully connected layer: ``A = f(W @ A_previous + b)`` (lecture, equations 1 and 2).

    Of a sequence, (positions, features), each position goes through it, by the same weights.

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
    knows_lengths = takes_parts = True

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
        super().__init__(activation, weight_initializer, bias_initializer, l1, l2, max_norm)
        self._units = check_size(units, "units")

    @property
    def units(self) -> int:
        """Number of neurons, n_l."""
        return self._units

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of a sample behind the layer."""
        check_no_image(self, input_shape)
        return (*input_shape[:-1], self.units)

    def tensor_specs(self, input_shape: Shape) -> tuple[TensorSpec, ...]:
        """Return what arrays the layer has: W, which penalties and `max_norm` mean, and b."""
        return (
            TensorSpec("W", (self.units, input_shape[-1]), "weight"),
            TensorSpec("b", (self.units,), "bias"),
        )

    def _settings(self, input_shape: Shape) -> Mapping[str, Setting]:
        own = super()._settings(input_shape)
        if len(input_shape) == 1:
            return own
        return {**own, "shape": as_image(input_shape), "units": self.units}

    def initialize(self, bits: np.random.PCG64) -> None:
        """Draw the parameters of a bound layer."""
        fan_out, fan_in = self.W.shape
        self.W[:] = self.weight_initializer.draw(bits, fan_out, fan_in)
        self.b[:] = self.bias_initializer.draw_bias(bits, fan_out, fan_in)

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
            **self._config_of_weights(),
        }

    def __repr__(self) -> str:
        parts = [repr(self.units), repr(self.activation), *self._shown_of_weights()]
        return f"Dense({', '.join(parts)})"
