"""The layers that normalize: `BatchNorm` over a mini-batch, `LayerNorm` over a sample's units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn._checks import check_real, known
from pycnn.backend.interface import TensorSpec
from pycnn.layers._base import Layer, as_image, check_softmax

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pycnn._typing import Array, ArrayLike, Shape
    from pycnn.backend.interface import Setting


class _Normalization(Layer):
    """What the normalization layers share: a number a unit or, of images, a channel."""

    normalizes_inputs = True

    def __init__(self, activation: str, epsilon: float) -> None:
        super().__init__(activation)
        self._epsilon = check_real(epsilon, "epsilon", above=0)

    @property
    def epsilon(self) -> float:
        """What is added to the variances."""
        return self._epsilon

    def tensor_specs(self, input_shape: Shape) -> tuple[TensorSpec, ...]:
        """Return what arrays the layer has, one number a unit or a channel."""
        check_softmax(self, input_shape)
        features = input_shape[-1:]
        return (TensorSpec("gamma", features, "scale"), TensorSpec("beta", features, "bias"))

    def _settings(self, input_shape: Shape) -> Mapping[str, Setting]:
        shape = {"shape": as_image(input_shape)} if len(input_shape) > 1 else {}
        return {"epsilon": self.epsilon} | shape

    def initialize(self, bits: np.random.PCG64) -> None:
        """Let the layer normalize and nothing else."""
        self.gamma[:] = 1.0
        self.beta[:] = 0.0

    @property
    def gamma(self) -> Array:
        """Scales, (n_l,) or (channels,): a live view into the network's parameters."""
        return self._get("gamma")

    @gamma.setter
    def gamma(self, value: ArrayLike) -> None:
        self._set("gamma", value)

    @property
    def beta(self) -> Array:
        """Shifts, (n_l,) or (channels,): a live view into the network's parameters."""
        return self._get("beta")

    @beta.setter
    def beta(self, value: ArrayLike) -> None:
        self._set("beta", value)


class BatchNorm(_Normalization):
    """Normalize each unit, or channel of images, over the mini-batch (Ioffe & Szegedy, 2015).

    ``Z = gamma * (A_previous - mean) / sqrt(variance + epsilon) + beta``, ``A = f(Z)``. In training
    mean and variance are the mini-batch's; in prediction they are what training has counted,
    `mean` and `variance`, to which each mini-batch adds its share: ``(1 - momentum) * counted +
    momentum * seen``, where the variance that is seen is the unbiased estimate. The usual place is
    behind a linear `Dense`, with the activation here: ``Dense(64), BatchNorm("relu")``.

    Samples of more than one axis, images and sequences, are normalized a channel at a time, over
    the mini-batch and all positions: behind a convolution, whose bias has no use then,
    ``Conv2D(16, 3, use_bias=False), BatchNorm("relu")``.

    Sample weights do not enter mean and variance. One number has no variance: a mini-batch of one
    sample, if that is a single row, is not counted.

    Parameters
    ----------
    activation : str, default "linear"
        One of `pycnn.activations.ACTIVATIONS`.
    momentum : float, default 0.1
        Share of the latest mini-batch, 0 to 1.
    epsilon : float, default 1e-5
        Added to the variances; above 0.

    Raises
    ------
    UnknownNameError, DataError, DataTypeError
        If an argument is not valid.

    Examples
    --------
    >>> BatchNorm("relu", momentum=0.01)
    BatchNorm('relu', momentum=0.01)
    """

    kind = "batch_norm"
    takes_parts = True
    needs_batch = True

    def __init__(
        self, activation: str = "linear", *, momentum: float = 0.1, epsilon: float = 1e-5
    ) -> None:
        super().__init__(activation, epsilon)
        self._momentum = check_real(momentum, "momentum", at_least=0, at_most=1)

    @property
    def momentum(self) -> float:
        """Share of the latest mini-batch in what is counted."""
        return self._momentum

    def tensor_specs(self, input_shape: Shape) -> tuple[TensorSpec, ...]:
        """Return what arrays the layer has, one number a unit or a channel."""
        return (
            *super().tensor_specs(input_shape),
            TensorSpec("mean", input_shape[-1:], "statistic"),
            TensorSpec("variance", input_shape[-1:], "statistic"),
        )

    def _settings(self, input_shape: Shape) -> Mapping[str, Setting]:
        return {**super()._settings(input_shape), "momentum": self.momentum}

    def _least_batch(self, input_shape: Shape) -> int:
        """Return 2, where one sample has one number of each channel: that has no variance."""
        return 1 if known(input_shape[:-1]) > 1 else 2

    def initialize(self, bits: np.random.PCG64) -> None:
        """Let the layer normalize and nothing else, and count from mean 0 and variance 1."""
        super().initialize(bits)
        self.mean[:] = 0.0
        self.variance[:] = 1.0

    @property
    def mean(self) -> Array:
        """Means that training has counted, as many as in `gamma`: a live view of statistics."""
        return self._get("mean")

    @mean.setter
    def mean(self, value: ArrayLike) -> None:
        self._set("mean", value)

    @property
    def variance(self) -> Array:
        """Variances that training has counted: a live view, as `mean`."""
        return self._get("variance")

    @variance.setter
    def variance(self, value: ArrayLike) -> None:
        self._set("variance", value)

    def config(self) -> dict[str, Any]:
        """Return kind and settings as plain data, from which `from_config` rebuilds the layer."""
        return {
            "kind": self.kind,
            "activation": self.activation,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
        }

    def __repr__(self) -> str:
        parts = [repr(self.activation)] if self.activation != "linear" else []
        parts += [f"momentum={self.momentum!r}"] if self.momentum != 0.1 else []
        parts += [f"epsilon={self.epsilon!r}"] if self.epsilon != 1e-5 else []
        return f"BatchNorm({', '.join(parts)})"


class LayerNorm(_Normalization):
    """Normalize each sample over its units (Ba, Kiros & Hinton, 2016).

    ``Z = gamma * (A_previous - mean) / sqrt(variance + epsilon) + beta``, ``A = f(Z)``, with the
    mean and the variance of the sample's own units: the same in training and in prediction, and
    for any batch size. Of samples of more than one axis each position is normalized over its
    channels.

    Parameters
    ----------
    activation : str, default "linear"
        One of `pycnn.activations.ACTIVATIONS`.
    epsilon : float, default 1e-5
        Added to the variances; above 0.

    Raises
    ------
    UnknownNameError, DataError, DataTypeError
        If an argument is not valid.

    Examples
    --------
    >>> LayerNorm("gelu")
    LayerNorm('gelu')
    """

    kind = "layer_norm"
    knows_lengths = takes_parts = True

    def __init__(self, activation: str = "linear", *, epsilon: float = 1e-5) -> None:
        super().__init__(activation, epsilon)

    def config(self) -> dict[str, Any]:
        """Return kind and settings as plain data, from which `from_config` rebuilds the layer."""
        return {"kind": self.kind, "activation": self.activation, "epsilon": self.epsilon}

    def __repr__(self) -> str:
        parts = [repr(self.activation)] if self.activation != "linear" else []
        parts += [f"epsilon={self.epsilon!r}"] if self.epsilon != 1e-5 else []
        return f"LayerNorm({', '.join(parts)})"
