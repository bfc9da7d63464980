"""The exceptions and warnings of pycnn: each also is the builtin a stranger would catch."""

import contextlib
import os
import sys
import warnings

from pycnn._public import names_of

__all__ = [
    "BackendError",
    "BusyError",
    "DataError",
    "DataTypeError",
    "DataWarning",
    "DivergedError",
    "LabelError",
    "LayerWarning",
    "ModelFileError",
    "PairingError",
    "PycnnError",
    "PycnnWarning",
    "ShapeError",
    "UnknownNameError",
    "WorkerLostError",
]
__dir__ = names_of(__name__)

_PACKAGE = os.path.dirname(__file__) + os.sep


class PycnnError(Exception):
    """Base of all errors that pycnn raises on purpose."""


class ShapeError(PycnnError, ValueError):
    """An array or a size does not have the shape that is asked for."""


class DataTypeError(PycnnError, TypeError, ValueError):
    """Values are not numbers: a TypeError to NumPy, a ValueError to scikit-learn."""


class DataError(PycnnError, ValueError):
    """Values that cannot be worked with: empty, NaN, infinite, out of range."""


class LabelError(PycnnError, ValueError):
    """Labels that do not fit the network's classes."""


class PairingError(PycnnError, ValueError):
    """A loss that does not go with the output activation."""


class UnknownNameError(PycnnError, ValueError):
    """A name, of an activation or a loss say, that does not exist."""


class ModelFileError(PycnnError, ValueError):
    """A file that is not an intact pycnn model."""


class DivergedError(PycnnError, FloatingPointError):
    """Training reached a loss that is not finite.

    Attributes
    ----------
    epoch, batch : int
        Where it happened, counted from 1.
    """

    def __init__(self, message: str, epoch: int = 0, batch: int = 0) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.batch = batch


class BusyError(PycnnError, RuntimeError):
    """The network is being trained already."""


class WorkerLostError(PycnnError, RuntimeError):
    """A machine that a training beyond this one cannot do without is lost."""


class BackendError(PycnnError, ImportError):
    """The compute backend that was asked for is not there."""


class PycnnWarning(UserWarning):
    """Base of the warnings that teach: something is allowed, but seldom meant.

    ``warnings.simplefilter("ignore", PycnnWarning)`` turns them off.
    """


class DataWarning(PycnnWarning):
    """Data, or a setting for them, with which training seldom does well."""


class LayerWarning(PycnnWarning):
    """A layer that does not learn; only with ``diagnose=True``."""


def warn(message: str, category: type[PycnnWarning]) -> None:
    """Warn at the line outside of pycnn that led here."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    # Python itself raises where the standard error is closed: then nobody would have read it.
    with contextlib.suppress(AttributeError, ValueError):
        warnings.warn(message, category, stacklevel=level)
