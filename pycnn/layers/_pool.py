"""Pooling: of each window of an image or a sequence the largest number, or the mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pycnn.layers._base import Layer
from pycnn.layers._windows import Windows, check_image, check_sizes, plain, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pycnn._typing import Shape
    from pycnn.backend.interface import Setting

    Sizes = int | Sequence[int]


class _Pool(Layer):
    """What layers share that pool window by window."""

    axes = 0

    def __init__(
        self, pool_size: Sizes = 2, *, strides: Sizes | None = None, padding: str = "valid"
    ) -> None:
        super().__init__()
        size = check_sizes(pool_size, "pool_size", self.axes)
        step = size if strides is None else check_sizes(strides, "strides", self.axes)
        self._windows = Windows(size, step, padding, (1,) * self.axes)

    @property
    def pool_size(self) -> int | Shape:
        """What a window covers: one number, or rows and columns."""
        return self._sizes(self._windows.size)

    @property
    def strides(self) -> int | Shape:
        """From one window to the next."""
        return self._sizes(self._windows.strides)

    @property
    def padding(self) -> str:
        """Whether windows may reach beyond the image."""
        return self._windows.padding

    def _sizes(self, sizes: Shape) -> int | Shape:
        return sizes[0] if self.axes == 1 else sizes

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of a sample behind the layer."""
        return (*self._windows.count(self, input_shape), input_shape[-1])

    def _settings(self, input_shape: Shape) -> Mapping[str, Setting]:
        return self._windows.settings(input_shape)

    def config(self) -> dict[str, Any]:
        """Return kind and settings as plain data, from which `from_config` rebuilds the layer."""
        return {
            "kind": self.kind,
            "pool_size": plain(self._windows.size),
            "strides": plain(self._windows.strides),
            "padding": self.padding,
        }

    def __repr__(self) -> str:
        windows = self._windows
        parts = [repr(shown(windows.size))]
        parts += [f"strides={shown(windows.strides)!r}"] if windows.strides != windows.size else []
        parts += [f"padding={self.padding!r}"] if self.padding != "valid" else []
        return f"{type(self).__name__}({', '.join(parts)})"


class _GlobalPool(Layer):
    """What layers share that pool whole images: a window that is as large."""

    axes = 0
    knows_lengths = True

    def __init__(self) -> None:
        super().__init__()

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of a sample behind the layer: its channels."""
        check_image(self, input_shape, self.axes)
        return (input_shape[-1],)

    def _settings(self, input_shape: Shape) -> Mapping[str, Setting]:
        once = (1,) * self.axes
        return Windows(input_shape[:-1], once, "valid", once).settings(input_shape)

    def config(self) -> dict[str, Any]:
        """Return kind and settings as plain data, from which `from_config` rebuilds the layer."""
        return {"kind": self.kind}

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class MaxPool1D(_Pool):
    """Of each window along a sequence, (positions, channels), and each channel the largest number.

    Parameters
    ----------
    pool_size : int, default 2
        Positions that a window covers.
    strides : int, optional
        From one window to the next; by default `pool_size`, so that they lie side by side.
    padding : {"valid", "same"}, default "valid"
        Windows stay within the sequence, ``(n - k) // s + 1`` of them, and what is left at its end
        is not seen; or there are ``ceil(n / s)``, which may reach beyond it: of these what is there
        counts.

    Raises
    ------
    DataError, DataTypeError, UnknownNameError
        If an argument is not valid.
    ShapeError
        When a network is made of it: if samples are no sequences, or shorter than a window.

    See Also
    --------
    MaxPool2D : Which of equal numbers is meant, and what becomes of NaN.

    Examples
    --------
    >>> from pycnn import Flatten, Network
    >>> net = Network((6, 1), [MaxPool1D(), Flatten()])
    >>> net.predict([[3, 1, 4, 1, 5, 9]]).ravel()
    array([3., 4., 9.])
    """

    kind = "max_pool1d"
    core_kind = "max_pool"
    axes = 1


class MaxPool2D(_Pool):
    """Of each window of an image, (rows, columns, channels), and each channel the largest number.

    An image becomes smaller by it, and what is found there depends less on where it is (LeCun et
    al., 1998; Goodfellow, Bengio & Courville, 2016, section 9.3). Going back, the whole gradient of
    an output belongs to the number that was the largest, of equal ones to the first, row by row. A
    NaN counts as the largest: it is not lost.

    Parameters
    ----------
    pool_size : int or (int, int), default 2
        Rows and columns that a window covers; one number stands for both, here and below.
    strides : int or (int, int), optional
        From one window to the next; by default `pool_size`, so that they lie side by side.
    padding : {"valid", "same"}, default "valid"
        Windows stay within the image, ``(n - k) // s + 1`` of them along an axis, and what is left
        behind the last one is not seen; or there are ``ceil(n / s)``, which may reach beyond it: of
        these what is there counts.

    Raises
    ------
    DataError, DataTypeError, UnknownNameError
        If an argument is not valid.
    ShapeError
        When a network is made of it: if samples are no images, or smaller than a window.

    Examples
    --------
    >>> from pycnn import Conv2D, Dense, Flatten, Network
    >>> layers = [Conv2D(6, 5, "relu", padding="same"), MaxPool2D(2), Flatten(), Dense(10)]
    >>> [layer.units for layer in Network((28, 28, 1), layers, seed=0).layers]
    [4704, 1176, 1176, 10]
    """

    kind = "max_pool2d"
    core_kind = "max_pool"
    axes = 2


class AveragePool1D(_Pool):
    """Of each window along a sequence, (positions, channels), and each channel the mean.

    Parameters
    ----------
    pool_size, strides, padding
        As in `MaxPool1D`: the mean, too, is that of what is there.

    Raises
    ------
    DataError, DataTypeError, UnknownNameError, ShapeError
        As `MaxPool1D` does.

    Examples
    --------
    >>> from pycnn import Flatten, Network
    >>> net = Network((5, 1), [AveragePool1D(padding="same"), Flatten()])
    >>> net.predict([[3, 1, 4, 1, 5]]).ravel()
    array([2. , 2.5, 5. ])
    """

    kind = "average_pool1d"
    core_kind = "average_pool"
    axes = 1


class AveragePool2D(_Pool):
    """Of each window of an image, (rows, columns, channels), and each channel the mean.

    Parameters
    ----------
    pool_size, strides, padding
        As in `MaxPool2D`: the mean, too, is that of what is there.

    Raises
    ------
    DataError, DataTypeError, UnknownNameError, ShapeError
        As `MaxPool2D` does.

    Examples
    --------
    >>> AveragePool2D((2, 3), strides=1, padding="same")
    AveragePool2D((2, 3), strides=1, padding='same')
    """

    kind = "average_pool2d"
    core_kind = "average_pool"
    axes = 2


class GlobalMaxPool1D(_GlobalPool):
    """Of a whole sequence, (positions, channels), and each channel the largest number.

    Raises
    ------
    ShapeError
        When a network is made of it: if samples are no sequences.

    Examples
    --------
    >>> from pycnn import Network
    >>> Network((3, 2), [GlobalMaxPool1D()]).predict([[3, 1, 4, 1, 5, 9]])
    array([[5., 9.]])
    """

    kind = "global_max_pool1d"
    core_kind = "max_pool"
    axes = 1


class GlobalMaxPool2D(_GlobalPool):
    """Of a whole image, (rows, columns, channels), and each channel the largest number.

    Raises
    ------
    ShapeError
        When a network is made of it: if samples are no images.

    Examples
    --------
    >>> from pycnn import Conv2D, Dense, Network
    >>> layers = [Conv2D(32, 3, "relu"), GlobalMaxPool2D(), Dense(10, "softmax")]
    >>> Network((28, 28, 1), layers, seed=0).layers[2].W.shape
    (10, 32)
    """

    kind = "global_max_pool2d"
    core_kind = "max_pool"
    axes = 2


class GlobalAveragePool1D(_GlobalPool):
    """Of a whole sequence, (positions, channels), and each channel the mean.

    Raises
    ------
    ShapeError
        When a network is made of it: if samples are no sequences.

    Examples
    --------
    >>> from pycnn import Conv1D, Dense, Network
    >>> layers = [Conv1D(32, 5, "relu"), GlobalAveragePool1D(), Dense(6, "softmax")]
    >>> Network((128, 9), layers, seed=0).layers[2].W.shape
    (6, 32)
    """

    kind = "global_average_pool1d"
    core_kind = "average_pool"
    axes = 1


class GlobalAveragePool2D(_GlobalPool):
    """Of a whole image, (rows, columns, channels), and each channel the mean.

    In front of the last layer it takes the place of `Flatten` and most of the weights (Lin, Chen &
    Yan, 2014).

    Raises
    ------
    ShapeError
        When a network is made of it: if samples are no images.

    Examples
    --------
    >>> from pycnn import Conv2D, Dense, Network
    >>> layers = [Conv2D(32, 3, "relu"), GlobalAveragePool2D(), Dense(10, "softmax")]
    >>> Network((28, 28, 1), layers, seed=0).layers[2].W.shape
    (10, 32)
    """

    kind = "global_average_pool2d"
    core_kind = "average_pool"
    axes = 2
