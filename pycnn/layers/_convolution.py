"""`Conv1D` and `Conv2D`: the same few weights at each place of a sequence or an image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pycnn._checks import check_bool, check_fits, check_size, known
from pycnn.backend.interface import TensorSpec
from pycnn.exceptions import DataError, PycnnError
from pycnn.layers._weighted import Weighted
from pycnn.layers._windows import Windows, check_sizes, plain, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from pycnn import initializers
    from pycnn._typing import Array, ArrayLike, Shape
    from pycnn.backend.interface import Setting

    Sizes = int | Sequence[int]


class _Convolution(Weighted):
    """What convolutions along one and two axes share: to a backend they are one kind."""

    core_kind = "convolution"
    axes = 0

    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        activation: str = "linear",
        *,
        strides: Sizes = 1,
        padding: str = "valid",
        dilation: Sizes = 1,
        use_bias: bool = True,
        weight_initializer: str | initializers.Initializer | None = None,
        bias_initializer: str | initializers.Initializer | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        max_norm: float | None = None,
    ) -> None:
        super().__init__(activation, weight_initializer, bias_initializer, l1, l2, max_norm)
        if activation == "softmax":
            raise DataError(
                f"{type(self).__name__} cannot have the activation 'softmax', which is of a whole "
                "sample's units: Flatten() and Dense(classes, 'softmax') behind it give one "
                "probability a class"
            )
        self._filters = check_size(filters, "filters")
        self._windows = Windows(
            check_sizes(kernel_size, "kernel_size", self.axes),
            check_sizes(strides, "strides", self.axes),
            padding,
            check_sizes(dilation, "dilation", self.axes),
        )
        self._use_bias = check_bool(use_bias, "use_bias")

    @property
    def filters(self) -> int:
        """Number of filters: features of an output, at each place."""
        return self._filters

    @property
    def kernel_size(self) -> int | Shape:
        """What a filter covers: one number, or rows and columns."""
        return self._sizes(self._windows.size)

    @property
    def strides(self) -> int | Shape:
        """From one place of the filters to the next."""
        return self._sizes(self._windows.strides)

    @property
    def padding(self) -> str:
        """What filters see beyond the image."""
        return self._windows.padding

    @property
    def dilation(self) -> int | Shape:
        """From one number that a filter sees to the next."""
        return self._sizes(self._windows.dilation)

    @property
    def sees_zeros(self) -> bool:
        """Whether filters see zeros beyond the image, as they do at its edges."""
        return self.padding == "same" and max(self._windows.size) > 1

    @property
    def knows_lengths(self) -> bool:  # type: ignore[override]
        """Whether positions of a sequence do not see each other."""
        return set(self._windows.size + self._windows.strides) == {1}

    @property
    def use_bias(self) -> bool:
        """Whether there is a bias for each filter."""
        return self._use_bias

    def _sizes(self, sizes: Shape) -> int | Shape:
        return sizes[0] if self.axes == 1 else sizes

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of a sample behind the layer."""
        shape = (*self._windows.count(self, input_shape), self.filters)
        check_fits(known(shape), f"{self!r} on samples of shape {input_shape}")
        return shape

    def tensor_specs(self, input_shape: Shape) -> tuple[TensorSpec, ...]:
        """Return what arrays the layer has: W, which penalties and `max_norm` mean, and b."""
        W = TensorSpec("W", (self.filters, *self._windows.size, input_shape[-1]), "weight")
        return (W, TensorSpec("b", (self.filters,), "bias")) if self.use_bias else (W,)

    def _settings(self, input_shape: Shape) -> Mapping[str, Setting]:
        return {
            **super()._settings(input_shape),
            **self._windows.settings(input_shape),
            "units": self.filters,
            "no_bias": not self.use_bias,
        }

    def initialize(self, bits: np.random.PCG64) -> None:
        """Draw the parameters of a bound layer."""
        filters, *kernel, channels = self.W.shape
        taps = math.prod(kernel)
        fans = taps * filters, taps * channels
        law = self.weight_initializer.law(*fans)
        self.W[:] = law.draw(bits, filters, taps * channels).reshape(self.W.shape)
        if self.b is not None:
            self.b[:] = self.bias_initializer.law(*fans).draw_bias(bits, filters, taps * channels)

    @property
    def b(self) -> Array | None:
        """Biases, (filters,): a live view into the network's parameters; None where it has none."""
        return self._get("b") if self.use_bias else None

    @b.setter
    def b(self, value: ArrayLike) -> None:
        if not self.use_bias:
            raise PycnnError("this layer has no biases: use_bias=False")
        self._set("b", value)

    def config(self) -> dict[str, Any]:
        """Return kind and settings as plain data, from which `from_config` rebuilds the layer."""
        return {
            "kind": self.kind,
            "filters": self.filters,
            "kernel_size": plain(self._windows.size),
            "activation": self.activation,
            "strides": plain(self._windows.strides),
            "padding": self.padding,
            "dilation": plain(self._windows.dilation),
            "use_bias": self.use_bias,
            **self._config_of_weights(),
        }

    def __repr__(self) -> str:
        windows = self._windows
        parts = [repr(self.filters), repr(shown(windows.size)), repr(self.activation)]
        parts += [f"strides={shown(windows.strides)!r}"] if max(windows.strides) > 1 else []
        parts += [f"padding={self.padding!r}"] if self.padding != "valid" else []
        parts += [f"dilation={shown(windows.dilation)!r}"] if max(windows.dilation) > 1 else []
        parts += ["use_bias=False"] if not self.use_bias else []
        return f"{type(self).__name__}({', '.join([*parts, *self._shown_of_weights()])})"


class Conv1D(_Convolution):
    """Filters along a sequence, (positions, channels): the same weights at each position.

    A filter f sees k positions and all their channels::

        z[x, f] = sum over l, c of W[f, l, c] a[x s + l d - p, c] + b[f]

    with strides s, dilation d, and p numbers of padding in front (the cross-correlation that deep
    learning calls convolution: Goodfellow, Bengio & Courville, 2016, section 9.1).

    Parameters
    ----------
    filters : int
        Number of filters, each of which makes one feature of the output.
    kernel_size : int
        Positions that a filter sees.
    activation : str, default "linear"
        One of `pycnn.activations.ACTIVATIONS`, but softmax, which is of a whole row of units.
    strides : int, default 1
        From one place of the filters to the next: with 2 the output has half as many positions.
    padding : {"valid", "same"}, default "valid"
        Filters stay within the sequence, ``(n - (k - 1) d - 1) // s + 1`` places, or beyond it they
        see zeros, ``ceil(n / s)`` places: with a stride of 1 as many as inputs.
    dilation : int, default 1
        From one position that a filter sees to the next (Yu & Koltun, 2016).
    use_bias : bool, default True
        Whether each filter has a bias. In front of `BatchNorm` it has no use.
    weight_initializer, bias_initializer : str or Initializer, optional
        As in `Dense`, with ``fan_in = k channels`` and ``fan_out = k filters``.
    l1, l2 : float, default 0.0
        As in `Dense`: strengths of the penalty on the weights.
    max_norm : float, optional
        As in `Dense`: the largest Euclidean norm of a filter's weights.

    Raises
    ------
    UnknownNameError, DataError, DataTypeError
        If an argument is not valid.
    ShapeError
        When a network is made of it: if samples are no sequences, or too short.

    Examples
    --------
    >>> from pycnn import Conv1D, Dense, Flatten, Network
    >>> net = Network((128, 9), [Conv1D(32, 5, "relu"), Flatten(), Dense(6, "softmax")], seed=0)
    >>> net.layers[0].W.shape
    (32, 5, 9)
    """

    kind = "conv1d"
    axes = 1


class Conv2D(_Convolution):
    """Filters over an image, (rows, columns, channels): the same weights at each place of it.

    A filter f sees a window of it and all its channels::

        z[y, x, f] = sum over k, l, c of W[f, k, l, c] a[y s + k d - p, x s + l d - p, c] + b[f]

    with strides s, dilation d, and p numbers of padding in front, all of them for rows and columns
    of their own (LeCun et al., 1998; it is the cross-correlation that deep learning calls
    convolution: Goodfellow, Bengio & Courville, 2016, section 9.1). Channels come last, so images
    that have them first go through ``np.moveaxis(X, 1, -1)``.

    Parameters
    ----------
    filters : int
        Number of filters, each of which makes one feature of the output.
    kernel_size : int or (int, int)
        Rows and columns that a filter sees; one number stands for both, here and below.
    activation : str, default "linear"
        One of `pycnn.activations.ACTIVATIONS`, but softmax, which is of a whole row of units.
    strides : int or (int, int), default 1
        From one place of the filters to the next: with 2 the output has half as many rows and
        columns.
    padding : {"valid", "same"}, default "valid"
        Filters stay within the image, ``(n - (k - 1) d - 1) // s + 1`` places along an axis, or
        beyond it they see zeros, ``ceil(n / s)`` places: with a stride of 1 as many as inputs.
    dilation : int or (int, int), default 1
        From one number that a filter sees to the next (Yu & Koltun, 2016).
    use_bias : bool, default True
        Whether each filter has a bias. In front of `BatchNorm` it has no use.
    weight_initializer, bias_initializer : str or Initializer, optional
        As in `Dense`, with ``fan_in = rows columns channels`` and ``fan_out = rows columns
        filters``, of the kernel.
    l1, l2 : float, default 0.0
        As in `Dense`: strengths of the penalty on the weights.
    max_norm : float, optional
        As in `Dense`: the largest Euclidean norm of a filter's weights.

    Raises
    ------
    UnknownNameError, DataError, DataTypeError
        If an argument is not valid.
    ShapeError
        When a network is made of it: if samples are no images, or too small.

    Examples
    --------
    >>> from pycnn import Conv2D, Dense, Flatten, Network
    >>> layers = [Conv2D(6, 5, "relu", padding="same"), Flatten(), Dense(10, "softmax")]
    >>> net = Network((28, 28, 1), layers, seed=0)
    >>> net.layers[0].W.shape
    (6, 5, 5, 1)
    >>> net.layers[0]
    Conv2D(6, 5, 'relu', padding='same')
    """

    kind = "conv2d"
    axes = 2
