"""Augmentation: training data that is varied anew for each mini-batch.

An augmenter is called as ``augmenter(x, y, rng)`` with a mini-batch and a random generator of its
own, and returns the ``(x, y)`` to train on:

=============  ==========================================================  ===================
augmenter      what it does                                                source
=============  ==========================================================  ===================
GaussianNoise  x + scale * N(0, 1)                                         Bishop (1995)
Mixup          lambda * row + (1 - lambda) * another row, in x and y       Zhang et al. (2018)
ImageShift     moves each image by up to `pixels`
ImageFlip      mirrors each image, with a probability
Compose        several, one after the other
=============  ==========================================================  ===================

Any function of this form will do. It must leave the arrays it gets as they are, and draw from `rng`
alone: then a training can be repeated to the bit. The augmenters here take the raw 64-bit stream of
the generator and transform it themselves (see `pycnn._random`).

>>> import numpy as np
>>> x, y = np.array([[1.0, 2.0, 3.0]]), np.array([[1.0]])
>>> flip = ImageFlip((1, 3), probability=1)
>>> flip(x, y, np.random.default_rng(0))[0]
array([[3., 2., 1.]])
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pycnn import _random
from pycnn._checks import Settings, check_bool, check_real, check_size
from pycnn._exact import exp, half_cosine, log
from pycnn._public import names_of
from pycnn.exceptions import DataError, DataTypeError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycnn._typing import Array

    Augmenter = Callable[[Array, Array, np.random.Generator], tuple[Array, Array]]

__all__ = ["Compose", "GaussianNoise", "ImageFlip", "ImageShift", "Mixup"]
__dir__ = names_of(__name__)


def _bits(rng: np.random.Generator) -> np.random.PCG64:
    """Return the source of raw numbers: NumPy freezes its stream, not the generator's methods."""
    return cast("np.random.PCG64", rng.bit_generator)


class GaussianNoise(Settings):
    """``x + scale * N(0, 1)``, drawn for each value; `y` stays.

    On average it acts as a penalty on the network's slope (Bishop 1995, "Training with Noise is
    Equivalent to Tikhonov Regularization").

    Parameters
    ----------
    scale : float
        The noise's standard deviation, at least 0.

    Raises
    ------
    DataError, DataTypeError
        If the argument is not valid.
    """

    scale: float

    def __init__(self, scale: float) -> None:
        self._settle(scale=check_real(scale, "scale", at_least=0))

    def __call__(self, x: Array, y: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return the mini-batch with noise; see `pycnn.augmentation`."""
        return x + self.scale * _random.normal(_bits(rng), x.size).reshape(x.shape), y


class Mixup(Settings):
    """``lambda * row + (1 - lambda) * another row``, in `x` and `y` alike (Zhang et al. 2018).

    Each row of the mini-batch is mixed with that which a random permutation puts beside it, with
    lambda ~ Beta(alpha, alpha) drawn for each row. It needs targets that can be mixed: one-hot
    rows or numbers.

    Parameters
    ----------
    alpha : float, default 0.2
        Above 0: the smaller, the closer lambda keeps to 0 and 1.

    Raises
    ------
    DataError, DataTypeError
        If the argument is not valid; by the call, if `y` holds class indices.

    Examples
    --------
    >>> mixup = Mixup(0.4)
    >>> x, y = np.eye(2), np.eye(2)
    >>> mixed_x, mixed_y = mixup(x, y, np.random.default_rng(1))
    >>> bool((mixed_x == mixed_y).all())
    True
    """

    alpha: float

    def __init__(self, alpha: float = 0.2) -> None:
        self._settle(alpha=check_real(alpha, "alpha", above=0))

    def __call__(self, x: Array, y: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return the mixed mini-batch; see `pycnn.augmentation`."""
        if y.ndim != 2 or y.dtype.kind != "f":
            raise DataTypeError(
                "Mixup needs targets y that are rows of floats (one-hot for classes), "
                f"got {y.dtype} of shape {y.shape}"
            )
        bits = _bits(rng)
        other = np.argsort(bits.random_raw(len(x)), kind="stable")
        share = _symmetric_beta(bits, self.alpha, len(x))[:, np.newaxis]
        in_x = share.reshape(-1, *[1] * (x.ndim - 1))
        return in_x * x + (1 - in_x) * x[other], share * y + (1 - share) * y[other]


def _symmetric_beta(bits: np.random.PCG64, alpha: float, size: int) -> Array:
    """Draw from Beta(alpha, alpha): 1/2 +- 1/2 sqrt(w / (1 + w)), w = (U^(-1/alpha) - 1) cos^2 A.

    U is uniform in (0, 1), the angle A in a quarter turn (Devroye, "Random variate generation in
    one line of code", 1996, after Best 1978).
    """
    u, angle, side = (_random.uniform(bits, size) for _ in range(3))
    with np.errstate(over="ignore"):
        exponent = np.minimum(-log(u + 2.0**-54) / alpha, 700)  # beyond, w / (1 + w) is 1
    w = (exp(exponent) - 1) * half_cosine(angle)
    return 0.5 + np.where(side < 0.5, -0.5, 0.5) * np.sqrt(w / (1 + w))


class ImageShift(Settings):
    """Each image moved by up to `pixels` up or down, and left or right; `y` stays.

    All (2 pixels + 1)^2 shifts are equally likely. What moves out of the image is lost.

    Parameters
    ----------
    shape : (height, width) or (height, width, channels)
        Of an image; where the samples of `x` are rows, one is flattened in this order.
    pixels : int, default 1
        At least 1, and below height and width.
    fill : float, default 0
        The value of the pixels that come in.

    Raises
    ------
    ShapeError, DataError, DataTypeError
        If an argument is not valid; by the call, if the samples of `x` are not of this shape.
    """

    shape: tuple[int, ...]
    pixels: int
    fill: float

    def __init__(self, shape: tuple[int, ...], pixels: int = 1, fill: float = 0.0) -> None:
        self._settle(
            shape=_check_shape(shape),
            pixels=check_size(pixels, "pixels"),
            fill=check_real(fill, "fill"),
        )
        if self.pixels >= min(self.shape[:2]):
            raise DataError(
                f"pixels must be below height and width of the images, {self.shape[:2]}, "
                f"got {self.pixels}"
            )

    def __call__(self, x: Array, y: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return the mini-batch with its images moved; see `pycnn.augmentation`."""
        images, p = _as_images(x, self.shape, "ImageShift"), self.pixels
        count, height, width, _ = images.shape
        padded = np.pad(images, ((0, 0), (p, p), (p, p), (0, 0)), constant_values=self.fill)
        down, right = np.floor(
            _random.uniform(_bits(rng), 2 * count).reshape(2, count, 1) * (2 * p + 1)
        ).astype(np.intp)
        rows = 2 * p - down + np.arange(height)
        columns = 2 * p - right + np.arange(width)
        image = np.arange(count)[:, np.newaxis, np.newaxis]
        moved = padded[image, rows[:, :, np.newaxis], columns[:, np.newaxis, :]]
        return moved.reshape(x.shape), y


class ImageFlip(Settings):
    """Each image mirrored with the given probability; `y` stays.

    Parameters
    ----------
    shape : (height, width) or (height, width, channels)
        Of an image; where the samples of `x` are rows, one is flattened in this order.
    horizontal : bool, default True
        Whether left and right are exchanged.
    vertical : bool, default False
        Whether top and bottom are exchanged, independently of that.
    probability : float, default 0.5
        Of each exchange, in [0, 1].

    Raises
    ------
    ShapeError, DataError, DataTypeError
        If an argument is not valid; by the call, if the samples of `x` are not of this shape.
    """

    shape: tuple[int, ...]
    horizontal: bool
    vertical: bool
    probability: float

    def __init__(
        self,
        shape: tuple[int, ...],
        horizontal: bool = True,
        vertical: bool = False,
        probability: float = 0.5,
    ) -> None:
        self._settle(
            shape=_check_shape(shape),
            horizontal=check_bool(horizontal, "horizontal"),
            vertical=check_bool(vertical, "vertical"),
            probability=check_real(probability, "probability", at_least=0, at_most=1),
        )
        if not (self.horizontal or self.vertical):
            raise DataError("horizontal or vertical must be True")

    def __call__(self, x: Array, y: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return the mini-batch with images mirrored; see `pycnn.augmentation`."""
        images = _as_images(x, self.shape, "ImageFlip")
        for wanted, axis in ((self.horizontal, 2), (self.vertical, 1)):
            if wanted:
                chosen = _random.uniform(_bits(rng), len(x)) < self.probability
                chosen = chosen.reshape(-1, 1, 1, 1)
                images = np.where(chosen, np.flip(images, axis), images)
        return images.reshape(x.shape), y


class Compose(Settings):
    """Several augmenters, one after the other.

    Parameters
    ----------
    *augmenters : callable
        Those of this module, or functions ``f(x, y, rng) -> (x, y)`` of your own.

    Raises
    ------
    DataError, DataTypeError
        If there are none, or one cannot be called.

    Examples
    --------
    >>> Compose(ImageShift((8, 8)), GaussianNoise(0.1))
    Compose(ImageShift(shape=(8, 8), pixels=1, fill=0.0), GaussianNoise(scale=0.1))
    """

    augmenters: tuple[Augmenter, ...]

    def __init__(self, *augmenters: Augmenter) -> None:
        if not augmenters:
            raise DataError("augmenters must hold at least one")
        for augmenter in augmenters:
            if not callable(augmenter) or isinstance(augmenter, type):
                raise DataTypeError(
                    f"augmenters must be callables such as GaussianNoise(0.1), got {augmenter!r}"
                )
        self._settle(augmenters=augmenters)

    def __call__(self, x: Array, y: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return what the last augmenter returns; see `pycnn.augmentation`."""
        for augmenter in self.augmenters:
            x, y = augmenter(x, y, rng)
        return x, y

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.augmenters))})"


def _check_shape(shape: Any) -> tuple[int, ...]:
    """Return the shape of an image as ints."""
    if not isinstance(shape, (tuple, list)):
        raise DataTypeError(f"shape must be a tuple such as (28, 28), got {shape!r}")
    if len(shape) not in (2, 3):
        raise ShapeError(
            f"shape must be (height, width) or (height, width, channels), got {shape!r}"
        )
    return tuple(check_size(size, "each size in shape") for size in shape)


def _as_images(x: Array, shape: tuple[int, ...], user: str) -> Array:
    """Return the samples of x, images or rows, as images, (m, height, width, channels)."""
    image, size = (*shape, 1)[:3], math.prod(shape)
    if x.shape[1:] not in (image, image[:2] if image[2] == 1 else image, (size,)):
        raise ShapeError(
            f"{user} of images {shape} needs x of shape (m, {size}) or (m, "
            f"{', '.join(map(str, shape))}), got {x.shape}"
        )
    return x.reshape(len(x), *image)
