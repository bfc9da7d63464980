"""Layers, as users write them down; a `Network` holds copies that carry its parameters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn import activations, initializers
from pycnn._checks import check_real, check_size, look_up
from pycnn._data import as_values
from pycnn._public import names_of
from pycnn.exceptions import DataError, DataTypeError, PycnnError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

__all__ = ["BatchNorm", "Dense", "Dropout", "Layer", "LayerNorm"]
__dir__ = names_of(__name__)


class _Layer:
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

    def shapes(self, fan_in: int) -> dict[str, tuple[int, ...]]:
        """Return the parameters' names and shapes on top of `fan_in` inputs."""
        raise NotImplementedError

    def statistic_shapes(self, fan_in: int) -> dict[str, tuple[int, ...]]:
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


class Dense(_Layer):
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
        super().__init__(check_size(units, "units"), activation)
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
    def weight_initializer(self) -> initializers.Initializer:
        """Where W starts."""
        return self._weight_initializer

    @property
    def bias_initializer(self) -> initializers.Initializer:
        """Where b starts."""
        return self._bias_initializer

    @property
    def l1(self) -> float:  # type: ignore[override]
        """Strength of the penalty on the weights' sizes."""
        return self._l1

    @property
    def l2(self) -> float:  # type: ignore[override]
        """Strength of the penalty on the weights' squares."""
        return self._l2

    @property
    def max_norm(self) -> float | None:  # type: ignore[override]
        """Largest norm of a row of W."""
        return self._max_norm or None

    def width(self, fan_in: int) -> int:
        """Return how many units the layer has: the same on any number of inputs."""
        return self.units

    def shapes(self, fan_in: int) -> dict[str, tuple[int, ...]]:
        """Return the parameters' names and shapes on top of `fan_in` inputs."""
        return {"W": (self.units, fan_in), "b": (self.units,)}

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


class Dropout(_Layer):
    """In training, set a random share of the numbers to 0 (Srivastava et al., 2014).

    The others are divided by ``1 - rate``, so that sums keep their mean (inverted dropout);
    in prediction the layer changes nothing. Which numbers are dropped follows from the network's
    seed, the epoch, the layer, the sample's place in the epoch and the unit: the same on both
    backends, for any number of threads, and when a training is resumed.

    Parameters
    ----------
    rate : float, default 0.5
        Share that is dropped, from 0 to below 1.

    Raises
    ------
    DataError, DataTypeError
        If `rate` is not valid.

    Examples
    --------
    >>> Dropout(0.2)
    Dropout(0.2)
    """

    kind = "dropout"

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__(None, "linear")
        self._rate = check_real(rate, "rate", at_least=0)
        if self._rate >= 1:
            raise DataError(f"rate must be at least 0 and below 1, got {rate!r}")

    @property
    def rate(self) -> float:  # type: ignore[override]
        """Share that is dropped."""
        return self._rate

    def shapes(self, fan_in: int) -> dict[str, tuple[int, ...]]:
        """Return nothing: there are no parameters."""
        return {}

    def config(self) -> dict[str, Any]:
        """Return kind and settings as plain data, from which `from_config` rebuilds the layer."""
        return {"kind": self.kind, "rate": self.rate}

    def __repr__(self) -> str:
        return f"Dropout({self.rate!r})"


class _Normalization(_Layer):
    """What the normalization layers share."""

    def __init__(self, activation: str, epsilon: float) -> None:
        super().__init__(None, activation)
        self._epsilon = check_real(epsilon, "epsilon", above=0)

    @property
    def epsilon(self) -> float:  # type: ignore[override]
        """What is added to the variances."""
        return self._epsilon

    def shapes(self, fan_in: int) -> dict[str, tuple[int, ...]]:
        """Return the parameters' names and shapes on top of `fan_in` inputs."""
        return {"gamma": (fan_in,), "beta": (fan_in,)}

    def initialize(self, bits: np.random.PCG64) -> None:
        """Let the layer normalize and nothing else."""
        self.gamma[:] = 1.0
        self.beta[:] = 0.0

    @property
    def gamma(self) -> Array:
        """Scales, (n_l,): a live view into the network's parameters."""
        return self._get("gamma")

    @gamma.setter
    def gamma(self, value: ArrayLike) -> None:
        self._set("gamma", value)

    @property
    def beta(self) -> Array:
        """Shifts, (n_l,): a live view into the network's parameters."""
        return self._get("beta")

    @beta.setter
    def beta(self, value: ArrayLike) -> None:
        self._set("beta", value)


class BatchNorm(_Normalization):
    """Normalize each unit over the mini-batch (Ioffe & Szegedy, 2015).

    ``Z = gamma * (A_previous - mean) / sqrt(variance + epsilon) + beta``, ``A = f(Z)``. In training
    mean and variance are the mini-batch's; in prediction they are what training has counted,
    `mean` and `variance`, to which each mini-batch adds its share: ``(1 - momentum) * counted +
    momentum * seen``, where the variance that is seen is the unbiased estimate. The usual place is
    behind a linear `Dense`, with the activation here: ``Dense(64), BatchNorm("relu")``.

    Sample weights do not enter mean and variance. A mini-batch of one sample has no variance: it
    is not counted.

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

    def __init__(
        self, activation: str = "linear", *, momentum: float = 0.1, epsilon: float = 1e-5
    ) -> None:
        super().__init__(activation, epsilon)
        self._momentum = check_real(momentum, "momentum", at_least=0, at_most=1)

    @property
    def momentum(self) -> float:  # type: ignore[override]
        """Share of the latest mini-batch in what is counted."""
        return self._momentum

    def statistic_shapes(self, fan_in: int) -> dict[str, tuple[int, ...]]:
        """Return the names and shapes of what training counts beside."""
        return {"mean": (fan_in,), "variance": (fan_in,)}

    def initialize(self, bits: np.random.PCG64) -> None:
        """Let the layer normalize and nothing else, and count from mean 0 and variance 1."""
        super().initialize(bits)
        self.mean[:] = 0.0
        self.variance[:] = 1.0

    @property
    def mean(self) -> Array:
        """Means that training has counted, (n_l,): a live view into the network's statistics."""
        return self._get("mean")

    @mean.setter
    def mean(self, value: ArrayLike) -> None:
        self._set("mean", value)

    @property
    def variance(self) -> Array:
        """Variances that training has counted, (n_l,): a live view, as `mean`."""
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
    for any batch size.

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

    def __init__(self, activation: str = "linear", *, epsilon: float = 1e-5) -> None:
        super().__init__(activation, epsilon)

    def config(self) -> dict[str, Any]:
        """Return kind and settings as plain data, from which `from_config` rebuilds the layer."""
        return {"kind": self.kind, "activation": self.activation, "epsilon": self.epsilon}

    def __repr__(self) -> str:
        parts = [repr(self.activation)] if self.activation != "linear" else []
        parts += [f"epsilon={self.epsilon!r}"] if self.epsilon != 1e-5 else []
        return f"LayerNorm({', '.join(parts)})"


Layer = Dense | Dropout | BatchNorm | LayerNorm

_KINDS: dict[str, type[Layer]] = {
    layer.kind: layer for layer in (Dense, Dropout, BatchNorm, LayerNorm)
}


def check_layers(layers: Any) -> list[Layer]:
    """Return the layers of a network as a list, or raise `DataError`, `DataTypeError`."""
    if isinstance(layers, Layer):
        raise DataTypeError("layers must be a list of layers such as [Dense(10)], got one layer")
    try:
        specs = list(layers)
    except TypeError:
        raise DataTypeError(f"layers must be a list of layers, got {layers!r}") from None
    if not specs:
        raise DataError("layers must hold at least the output layer")
    for spec in specs:
        if not isinstance(spec, Layer):
            raise DataTypeError(f"layers must hold layers such as Dense(10), got {spec!r}")
    if isinstance(specs[-1], Dropout):
        raise DataError(
            "the last layer must not be Dropout: nothing would learn from what it drops"
        )
    return specs


def from_config(config: dict[str, Any]) -> Layer:
    """Rebuild a layer from its `config`."""
    settings = dict(config)
    return look_up(settings.pop("kind", None), _KINDS, "layer kind")(**settings)
