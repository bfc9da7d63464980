"""Augmentation: training data that is varied anew for each mini-batch.

An augmenter is called as ``augmenter(x, y, rng)`` with a mini-batch and a random generator of its
own, and returns the ``(x, y)`` to train on:

===============  ========================================================  ======================
augmenter        what it does                                              source
===============  ========================================================  ======================
GaussianNoise    x + scale * N(0, 1)                                       Bishop (1995)
Mixup            lambda * row + (1 - lambda) * another row, in x and y     Zhang et al. (2018)
ImageShift       moves each image by up to `pixels`
ImageFlip        mirrors each image, with a probability
ImageRotation    turns each image by up to `degrees`
ImageCrop        enlarges a part of each image to the whole
ImageCutout      covers a square of each image                             DeVries, Taylor (2017)
ImageBrightness  x + a number drawn for each image
ImageContrast    moves each image's values away from their mean, or to it
Compose          several, one after the other
===============  ========================================================  ======================

An image is (height, width) or (height, width, channels), as the samples of a network with such an
`input_shape` are. Where samples are rows, an augmenter that must know where pixels lie is given the
images' `shape`.

Any function of this form will do. It must leave the arrays it gets as they are, and draw from `rng`
alone: then a training can be repeated to the bit. The augmenters here take the raw 64-bit stream of
the generator and transform it themselves (see `pycnn._random`).

>>> import numpy as np
>>> x, y = np.array([[1.0, 2.0, 3.0]]), np.array([[1.0]])
>>> flip = ImageFlip((1, 3), probability=1)
>>> flip(x, y, np.random.default_rng(0))[0]
array([[3., 2., 1.]])
>>> images = np.arange(6.0).reshape(1, 2, 3)
>>> ImageFlip(probability=1)(images, y, np.random.default_rng(0))[0]
array([[[2., 1., 0.],
        [5., 4., 3.]]])
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pycnn import _random
from pycnn._checks import Settings, check_bool, check_real, check_size
from pycnn._exact import exp, half_cosine, log, sine_and_cosine
from pycnn._public import names_of
from pycnn.exceptions import DataError, DataTypeError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycnn._typing import Array

    Augmenter = Callable[[Array, Array, np.random.Generator], tuple[Array, Array]]

__all__ = [
    "Compose",
    "GaussianNoise",
    "ImageBrightness",
    "ImageContrast",
    "ImageCrop",
    "ImageCutout",
    "ImageFlip",
    "ImageRotation",
    "ImageShift",
    "Mixup",
]
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

    Examples
    --------
    >>> x, y = np.zeros((1000, 10)), np.zeros(1000)
    >>> noisy, _ = GaussianNoise(0.1)(x, y, np.random.default_rng(0))
    >>> round(float(noisy.std()), 2)
    0.1
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

    All (2 pixels + 1)^2 shifts are equally likely. What moves out of the image is lost. It is the
    same as a random crop, of the image's size, out of the image with a margin of `pixels`.

    Parameters
    ----------
    shape : (height, width) or (height, width, channels), optional
        Of an image; where the samples of `x` are rows, one is flattened in this order. By default
        the samples are images, of whatever shape they have.
    pixels : int, default 1
        At least 1, and below height and width.
    fill : float, default 0
        The value of the pixels that come in.

    Raises
    ------
    ShapeError, DataError, DataTypeError
        If an argument is not valid; by the call, if the samples of `x` are not such images.

    Examples
    --------
    >>> augment = ImageShift(pixels=1)
    >>> images, y = np.ones((5, 8, 8, 1)), np.zeros(5)
    >>> augment(images, y, np.random.default_rng(0))[0].shape
    (5, 8, 8, 1)
    """

    shape: tuple[int, ...] | None
    pixels: int
    fill: float

    def __init__(
        self, shape: tuple[int, ...] | None = None, pixels: int = 1, fill: float = 0.0
    ) -> None:
        self._settle(
            shape=_check_shape(shape),
            pixels=check_size(pixels, "pixels"),
            fill=check_real(fill, "fill"),
        )
        if self.shape is not None:
            self._check_fits(self.shape)

    def _check_fits(self, shape: tuple[int, ...]) -> None:
        if self.pixels >= min(shape[:2]):
            raise DataError(
                f"pixels must be below height and width of the images, {shape[:2]}, "
                f"got {self.pixels}"
            )

    def __call__(self, x: Array, y: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return the mini-batch with its images moved; see `pycnn.augmentation`."""
        images, p = _as_images(x, self.shape, "ImageShift"), self.pixels
        count, height, width, _ = images.shape
        self._check_fits((height, width))
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
    shape : (height, width) or (height, width, channels), optional
        Of an image; where the samples of `x` are rows, one is flattened in this order. By default
        the samples are images, of whatever shape they have.
    horizontal : bool, default True
        Whether left and right are exchanged.
    vertical : bool, default False
        Whether top and bottom are exchanged, independently of that.
    probability : float, default 0.5
        Of each exchange, in [0, 1].

    Raises
    ------
    ShapeError, DataError, DataTypeError
        If an argument is not valid; by the call, if the samples of `x` are not such images.

    Examples
    --------
    >>> x = np.array([[[1.0, 2.0, 3.0]]])
    >>> ImageFlip(probability=1)(x, np.zeros(1), np.random.default_rng(0))[0]
    array([[[3., 2., 1.]]])
    """

    shape: tuple[int, ...] | None
    horizontal: bool
    vertical: bool
    probability: float

    def __init__(
        self,
        shape: tuple[int, ...] | None = None,
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


class ImageRotation(Settings):
    """Each image turned about its middle by an angle from -degrees to degrees; `y` stays.

    All angles are equally likely. A pixel's value is interpolated between the four that it comes
    to lie between.

    Parameters
    ----------
    shape : (height, width) or (height, width, channels), optional
        Of an image; where the samples of `x` are rows, one is flattened in this order. By default
        the samples are images, of whatever shape they have.
    degrees : float, default 10
        Above 0, at most 180.
    fill : float, default 0
        The value of what comes in from outside of the image.

    Raises
    ------
    ShapeError, DataError, DataTypeError
        If an argument is not valid; by the call, if the samples of `x` are not such images.

    Examples
    --------
    >>> augment = ImageRotation(degrees=15)
    >>> images, y = np.ones((5, 8, 8, 1)), np.zeros(5)
    >>> augment(images, y, np.random.default_rng(0))[0].shape
    (5, 8, 8, 1)
    """

    shape: tuple[int, ...] | None
    degrees: float
    fill: float

    def __init__(
        self, shape: tuple[int, ...] | None = None, degrees: float = 10.0, fill: float = 0.0
    ) -> None:
        self._settle(
            shape=_check_shape(shape),
            degrees=check_real(degrees, "degrees", above=0, at_most=180),
            fill=check_real(fill, "fill"),
        )

    def __call__(self, x: Array, y: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return the mini-batch with its images turned; see `pycnn.augmentation`."""
        images = _as_images(x, self.shape, "ImageRotation")
        count, height, width, _ = images.shape
        sine, cosine = sine_and_cosine(
            self.degrees / 180 * _plus_minus(_bits(rng), count).reshape(count, 1, 1)
        )
        middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
        down = np.arange(height)[:, np.newaxis] - middle_row
        right = np.arange(width) - middle_column
        rows = middle_row + (cosine * down + sine * right)
        columns = middle_column + (cosine * right - sine * down)
        return _interpolated(images, rows, columns, self.fill).reshape(x.shape), y


class ImageCrop(Settings):
    """A part of each image, enlarged to the whole; `y` stays.

    Its height and width are a share from `smallest` to 1 of the image's, all equally likely, and
    so is its place. A pixel's value is interpolated between the four that it comes to lie between.
    (A crop out of an image with a margin is what `ImageShift` does.)

    Parameters
    ----------
    shape : (height, width) or (height, width, channels), optional
        Of an image; where the samples of `x` are rows, one is flattened in this order. By default
        the samples are images, of whatever shape they have.
    smallest : float, default 0.8
        In (0, 1]: the smallest share.

    Raises
    ------
    ShapeError, DataError, DataTypeError
        If an argument is not valid; by the call, if the samples of `x` are not such images.

    Examples
    --------
    >>> augment = ImageCrop(smallest=0.8)
    >>> images, y = np.ones((5, 8, 8, 1)), np.zeros(5)
    >>> augment(images, y, np.random.default_rng(0))[0].shape
    (5, 8, 8, 1)
    """

    shape: tuple[int, ...] | None
    smallest: float

    def __init__(self, shape: tuple[int, ...] | None = None, smallest: float = 0.8) -> None:
        self._settle(
            shape=_check_shape(shape),
            smallest=check_real(smallest, "smallest", above=0, at_most=1),
        )

    def __call__(self, x: Array, y: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return the mini-batch with parts of its images; see `pycnn.augmentation`."""
        images = _as_images(x, self.shape, "ImageCrop")
        count, height, width, _ = images.shape
        share, top, left = _random.uniform(_bits(rng), 3 * count).reshape(3, count, 1, 1)
        lost = (1 - self.smallest) * share
        rows = lost * top * (height - 1) + (1 - lost) * np.arange(height)[:, np.newaxis]
        columns = lost * left * (width - 1) + (1 - lost) * np.arange(width)
        return _interpolated(images, rows, columns, 0.0).reshape(x.shape), y


class ImageCutout(Settings):
    """A square of each image covered; `y` stays.

    Each pixel is the square's middle equally often, so that at the border less is covered
    (T. DeVries, G. Taylor 2017, "Improved Regularization of Convolutional Neural Networks with
    Cutout").

    Parameters
    ----------
    shape : (height, width) or (height, width, channels), optional
        Of an image; where the samples of `x` are rows, one is flattened in this order. By default
        the samples are images, of whatever shape they have.
    size : int, default 8
        The square's side in pixels, at least 1, and at most height and width.
    fill : float, default 0
        The value that covers: the images' mean, where that is not 0.

    Raises
    ------
    ShapeError, DataError, DataTypeError
        If an argument is not valid; by the call, if the samples of `x` are not such images.

    Examples
    --------
    >>> augment = ImageCutout(size=2)
    >>> images, y = np.ones((5, 8, 8, 1)), np.zeros(5)
    >>> augment(images, y, np.random.default_rng(0))[0].shape
    (5, 8, 8, 1)
    """

    shape: tuple[int, ...] | None
    size: int
    fill: float

    def __init__(
        self, shape: tuple[int, ...] | None = None, size: int = 8, fill: float = 0.0
    ) -> None:
        self._settle(
            shape=_check_shape(shape),
            size=check_size(size, "size"),
            fill=check_real(fill, "fill"),
        )
        if self.shape is not None:
            self._check_fits(self.shape)

    def _check_fits(self, shape: tuple[int, ...]) -> None:
        if self.size > min(shape[:2]):
            raise DataError(
                f"size must be at most height and width of the images, {shape[:2]}, got {self.size}"
            )

    def __call__(self, x: Array, y: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return the mini-batch with its images covered; see `pycnn.augmentation`."""
        images = _as_images(x, self.shape, "ImageCutout")
        count, height, width, _ = images.shape
        self._check_fits((height, width))
        row, column = _random.uniform(_bits(rng), 2 * count).reshape(2, count, 1)
        above = np.arange(height) - (np.floor(row * height) - self.size // 2)
        before = np.arange(width) - (np.floor(column * width) - self.size // 2)
        in_rows, in_columns = ((at >= 0) & (at < self.size) for at in (above, before))
        covered = in_rows[:, :, np.newaxis, np.newaxis] & in_columns[:, np.newaxis, :, np.newaxis]
        return np.where(covered, self.fill, images).reshape(x.shape), y


class ImageBrightness(Settings):
    """``x + a``, with `a` drawn for each image from -amount to amount; `y` stays.

    Parameters
    ----------
    amount : float, default 0.2
        In the unit of `x`, above 0.
    limits : (float, float), optional
        What leaves them is set to them, as to 0 and 1 where that is all that a pixel can be.

    Raises
    ------
    DataError, DataTypeError
        If an argument is not valid.

    Examples
    --------
    >>> augment = ImageBrightness(0.2)
    >>> images, y = np.ones((5, 8, 8, 1)), np.zeros(5)
    >>> augment(images, y, np.random.default_rng(0))[0].shape
    (5, 8, 8, 1)
    """

    amount: float
    limits: tuple[float, float] | None

    def __init__(self, amount: float = 0.2, limits: tuple[float, float] | None = None) -> None:
        self._settle(
            amount=check_real(amount, "amount", above=0),
            limits=_check_limits(limits),
        )

    def __call__(self, x: Array, y: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return the mini-batch, lighter or darker; see `pycnn.augmentation`."""
        added = self.amount * _plus_minus(_bits(rng), len(x))
        return _limited(x + added.reshape(-1, *[1] * (x.ndim - 1)), self.limits), y


class ImageContrast(Settings):
    """``mean + c (x - mean)``, with `c` drawn for each image from 1 - amount to 1 + amount.

    The mean is that of all the image's values; `y` stays.

    Parameters
    ----------
    amount : float, default 0.2
        Above 0, at most 1.
    limits : (float, float), optional
        What leaves them is set to them, as to 0 and 1 where that is all that a pixel can be.

    Raises
    ------
    DataError, DataTypeError
        If an argument is not valid.

    Examples
    --------
    >>> augment = ImageContrast(0.2)
    >>> images, y = np.ones((5, 8, 8, 1)), np.zeros(5)
    >>> augment(images, y, np.random.default_rng(0))[0].shape
    (5, 8, 8, 1)
    """

    amount: float
    limits: tuple[float, float] | None

    def __init__(self, amount: float = 0.2, limits: tuple[float, float] | None = None) -> None:
        self._settle(
            amount=check_real(amount, "amount", above=0, at_most=1),
            limits=_check_limits(limits),
        )

    def __call__(self, x: Array, y: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return the mini-batch with more contrast or less; see `pycnn.augmentation`."""
        flat = x.reshape(len(x), -1)
        # NumPy promises the order of this sum, and of no other.
        mean = np.add.accumulate(flat, axis=1)[:, -1:] / flat.shape[1]
        factor = 1 + self.amount * _plus_minus(_bits(rng), len(x))[:, np.newaxis]
        return _limited(mean + factor * (flat - mean), self.limits).reshape(x.shape), y


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


def _check_shape(shape: Any) -> tuple[int, ...] | None:
    """Return the shape of an image as ints, or None."""
    if shape is None:
        return None
    if not isinstance(shape, (tuple, list)):
        raise DataTypeError(f"shape must be a tuple such as (28, 28), got {shape!r}")
    if len(shape) not in (2, 3):
        raise ShapeError(
            f"shape must be (height, width) or (height, width, channels), got {shape!r}"
        )
    return tuple(check_size(size, "each size in shape") for size in shape)


def _check_limits(limits: Any) -> tuple[float, float] | None:
    """Return two numbers, the first below the second, or None."""
    if limits is None:
        return None
    if not isinstance(limits, (tuple, list)) or len(limits) != 2:
        raise DataTypeError(f"limits must be two numbers such as (0, 1), got {limits!r}")
    least, greatest = (check_real(limit, "each of limits") for limit in limits)
    if not least < greatest:
        raise DataError(f"limits must be (least, greatest), got {limits!r}")
    return least, greatest


def _limited(x: Array, limits: tuple[float, float] | None) -> Array:
    return x if limits is None else np.clip(x, *limits)


def _as_images(x: Array, shape: tuple[int, ...] | None, user: str) -> Array:
    """Return the samples of x, images or rows, as images, (m, height, width, channels)."""
    if shape is None:
        if x.ndim not in (3, 4):
            raise ShapeError(
                f"{user} needs x of shape (m, height, width) or (m, height, width, channels), or "
                f"the images' shape, as in {user}((28, 28)), where samples are rows; got {x.shape}"
            )
        shape = x.shape[1:]
    image, size = (*shape, 1)[:3], math.prod(shape)
    if x.shape[1:] not in (image, image[:2] if image[2] == 1 else image, (size,)):
        raise ShapeError(
            f"{user} of images {shape} needs x of shape (m, {size}) or (m, "
            f"{', '.join(map(str, shape))}), got {x.shape}"
        )
    return x.reshape(len(x), *image)


def _plus_minus(bits: np.random.PCG64, size: int) -> Array:
    """Draw from [-1, 1)."""
    return 2 * _random.uniform(bits, size) - 1


def _interpolated(images: Array, rows: Array, columns: Array, fill: float) -> Array:
    """Return the images' values at `rows` and `columns`, (m, height, width), between the pixels.

    Outside lies `fill`. On a pixel the value is the pixel's, to the bit.
    """
    count, height, width, channels = images.shape
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=fill)
    rows, columns = np.broadcast_arrays(
        np.clip(rows, -1, height) + 1, np.clip(columns, -1, width) + 1
    )
    # The neighbour below or behind is one that is there; its weight may be 1.
    row, column = np.minimum(np.floor(rows), height), np.minimum(np.floor(columns), width)
    down, right = (rows - row)[..., np.newaxis], (columns - column)[..., np.newaxis]
    first = np.arange(count).reshape(count, 1, 1) * ((height + 2) * (width + 2))
    place = first + (row * (width + 2) + column).astype(np.intp)
    pixels = padded.reshape(-1, channels)
    above, below = (
        (1 - right) * pixels[at] + right * pixels[at + 1] for at in (place, place + width + 2)
    )
    return (1 - down) * above + down * below
