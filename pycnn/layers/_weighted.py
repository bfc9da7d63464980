"""What layers with weights and biases share: where these start, and what holds them small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pycnn import activations, initializers
from pycnn._checks import check_real
from pycnn.layers._base import Layer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pycnn._typing import Array, ArrayLike, Shape
    from pycnn.backend.interface import Setting


class Weighted(Layer):
    """Base: a layer with ``W``, whose first axis are its neurons or filters, and ``b``."""

    is_sum = True  # it is f(W A + b), and normalization beside it can become part of W and b

    def __init__(
        self,
        activation: str,
        weight_initializer: str | initializers.Initializer | None,
        bias_initializer: str | initializers.Initializer | None,
        l1: float,
        l2: float,
        max_norm: float | None,
    ) -> None:
        super().__init__(activation)
        of_weights, of_biases = self._suited()
        if weight_initializer is None:
            weight_initializer = of_weights
        if bias_initializer is None:
            bias_initializer = of_biases
        self._weight_initializer = initializers.get(weight_initializer, "weight_initializer")
        self._bias_initializer = initializers.get(bias_initializer, "bias_initializer")
        self._l1 = check_real(l1, "l1", at_least=0)
        self._l2 = check_real(l2, "l2", at_least=0)
        self._max_norm = 0.0
        if max_norm is not None:
            self._max_norm = check_real(max_norm, "max_norm", above=0)

    def _suited(self) -> tuple[str, str]:
        """Return by which initializers W and b start where nothing else is said."""
        suited = activations.TABLE[self.activation]
        return suited.weight_initializer, suited.bias_initializer

    @property
    def sees_zeros(self) -> bool:
        """Whether it sees zeros beyond its input, which a layer in front of it cannot change."""
        return False

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
        """Largest norm of a neuron's or a filter's weights."""
        return self._max_norm or None

    def _settings(self, input_shape: Shape) -> Mapping[str, Setting]:
        return {"l1": self.l1, "l2": self.l2, "max_norm": self._max_norm}

    @property
    def W(self) -> Array:
        """Weights: a live view into the network's parameters."""
        return self._get("W")

    @W.setter
    def W(self, value: ArrayLike) -> None:
        self._set("W", value)

    def _config_of_weights(self) -> dict[str, Any]:
        """Return these settings as plain data."""
        return {
            "weight_initializer": self.weight_initializer.config(),
            "bias_initializer": self.bias_initializer.config(),
            "l1": self.l1,
            "l2": self.l2,
            "max_norm": self.max_norm,
        }

    def _shown_of_weights(self) -> list[str]:
        """Return those of these settings that are not the defaults, as arguments."""
        of_weights, of_biases = self._suited()
        parts = []
        if self.weight_initializer.name != of_weights:
            parts.append(f"weight_initializer={self.weight_initializer!r}")
        if self.bias_initializer.name != of_biases:
            parts.append(f"bias_initializer={self.bias_initializer!r}")
        for name in ("l1", "l2", "max_norm"):
            if value := getattr(self, name):
                parts.append(f"{name}={value!r}")
        return parts
