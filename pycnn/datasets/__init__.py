"""Small real data sets that come with the package."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pycnn._public import names_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Samples", "load_digits"]
__dir__ = names_of(__name__)


class Samples(NamedTuple):
    """A data set: unpack it as ``X, y``."""

    X: NDArray[np.float64]
    y: NDArray[np.int64]


def load_digits() -> Samples:
    """Return the UCI handwritten digits: 1,797 images of 8 x 8 pixels in 10 classes.

    Returns
    -------
    X : ndarray of shape (1797, 64)
        Pixel intensities 0 ... 16, a row an image, row by row.
    y : ndarray of shape (1797,)
        The digits 0 ... 9.

    Notes
    -----
    E. Alpaydin & C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning
    Repository, doi:10.24432/C50P49, CC BY 4.0: the test part, as scikit-learn distributes it.

    Examples
    --------
    >>> X, y = load_digits()
    >>> X.shape, y[:3]
    ((1797, 64), array([0, 1, 2]))
    """
    from importlib.resources import files

    with (
        files(__name__).joinpath("digits.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as stored,
    ):
        return Samples(stored["images"].astype(np.float64), stored["labels"].astype(np.int64))
