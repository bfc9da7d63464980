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
    """Base of all errors that pycnn raises on purpose.

    Examples
    --------
    >>> from pycnn import Dense, Network
    >>> try:
    ...     Network(2, [Dense(1)], seed=0).predict([[1, 2, 3]])
    ... except PycnnError as error:
    ...     print(type(error).__name__)
    ShapeError
    """


class ShapeError(PycnnError, ValueError):
    """An array or a size does not have the shape that is asked for.

    Examples
    --------
    >>> from pycnn import Dense, Network
    >>> Network(2, [Dense(1)], seed=0).predict([[1, 2, 3]])
    Traceback (most recent call last):
        ...
    pycnn.exceptions.ShapeError: X must have shape (samples, 2), got (1, 3)
    """


class DataTypeError(PycnnError, TypeError, ValueError):
    """Values are not numbers: a TypeError to NumPy, a ValueError to scikit-learn.

    Examples
    --------
    >>> from pycnn import Dense
    >>> Dense("4")
    Traceback (most recent call last):
        ...
    pycnn.exceptions.DataTypeError: units must be an integer, got '4'
    """


class DataError(PycnnError, ValueError):
    """Values that cannot be worked with: empty, NaN, infinite, out of range.

    Examples
    --------
    >>> from pycnn import SGD
    >>> SGD(-1)
    Traceback (most recent call last):
        ...
    pycnn.exceptions.DataError: learning_rate must be finite and above 0, got -1
    """


class LabelError(PycnnError, ValueError):
    """Labels that do not fit the network's classes.

    Examples
    --------
    >>> from pycnn import Dense, Network
    >>> net = Network(1, [Dense(2, "softmax")], seed=0)
    >>> history = net.fit([[0], [1]], ["no", "yes"], epochs=1)
    >>> try:
    ...     net.evaluate([[0]], ["perhaps"])
    ... except LabelError as error:
    ...     print(error)
    y holds labels ('perhaps') that are not among the network's classes ('no', 'yes')
    """


class PairingError(PycnnError, ValueError):
    """A loss that does not go with the output activation.

    Examples
    --------
    >>> from pycnn import Dense, Network
    >>> try:
    ...     Network(2, [Dense(3, "relu")], loss="binary_crossentropy")
    ... except PairingError as error:
    ...     print(error)
    loss 'binary_crossentropy' needs a sigmoid output layer, got 'relu'; with relu use 'mse'
    """


class UnknownNameError(PycnnError, ValueError):
    """A name, of an activation or a loss say, that does not exist.

    Examples
    --------
    >>> from pycnn import Dense
    >>> try:
    ...     Dense(4, "rlu")
    ... except UnknownNameError as error:
    ...     print(str(error).split("; ")[-1])
    did you mean 'relu'?
    """


class ModelFileError(PycnnError, ValueError):
    """A file that is not an intact pycnn model.

    Examples
    --------
    >>> import os
    >>> import pycnn
    >>> try:
    ...     pycnn.load(__file__)
    ... except ModelFileError as error:
    ...     print("no model:", os.path.basename(__file__) in str(error))
    no model: True
    """


class DivergedError(PycnnError, FloatingPointError):
    """Training reached a loss that is not finite.

    Attributes
    ----------
    epoch, batch : int
        Where it happened, counted from 1.

    Examples
    --------
    >>> from pycnn import SGD, Dense, Network
    >>> try:
    ...     Network(1, [Dense(1)], seed=0).fit([[9], [1]], [1, 3], epochs=999, optimizer=SGD(9))
    ... except DivergedError as error:
    ...     print(error.batch)
    1
    """

    def __init__(self, message: str, epoch: int = 0, batch: int = 0) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.batch = batch


class BusyError(PycnnError, RuntimeError):
    """The network is being trained already.

    Examples
    --------
    >>> from pycnn import Dense, Network
    >>> def again(network, epoch, logs):
    ...     network.fit([[0], [1]], [0, 1])
    >>> try:
    ...     Network(1, [Dense(1)], seed=0).fit([[0], [1]], [0, 1], epochs=1, callbacks=again)
    ... except BusyError as error:
    ...     print(error)
    this network is being trained already; train a copy instead
    """


class WorkerLostError(PycnnError, RuntimeError):
    """A machine that a training beyond this one cannot do without is lost.

    The network is as after the last step, from where another call may go on.

    Examples
    --------
    >>> from pycnn import distributed
    >>> try:
    ...     distributed.fit(net, (X, y), client=client, epochs=100)  # doctest: +SKIP
    ... except WorkerLostError:
    ...     distributed.fit(net, (X, y), client=other, epochs=100, resume=True)  # doctest: +SKIP
    """


class BackendError(PycnnError, ImportError):
    """The compute backend that was asked for is not there.

    Examples
    --------
    >>> from pycnn import Dense, Network
    >>> try:
    ...     net = Network(2, [Dense(1)], backend="c")
    ... except BackendError:  # installed without a C compiler
    ...     net = Network(2, [Dense(1)], backend="numpy")
    """


class PycnnWarning(UserWarning):
    """Base of the warnings that teach: something is allowed, but seldom meant.

    ``warnings.simplefilter("ignore", PycnnWarning)`` turns them off.

    Examples
    --------
    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", PycnnWarning)
    """


class DataWarning(PycnnWarning):
    """Data, or a setting for them, with which training seldom does well.

    Examples
    --------
    >>> import warnings
    >>> from pycnn import SGD, Dense, Network
    >>> net = Network(1, [Dense(1)], seed=0)
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     history = net.fit([[1000], [3000]], [0, 1], epochs=1, optimizer=SGD(1e-9))
    >>> print(caught[0].category.__name__, str(caught[0].message).partition(":")[0])
    DataWarning X is not scaled
    """


class LayerWarning(PycnnWarning):
    """A layer that does not learn; only with ``diagnose=True``.

    Examples
    --------
    >>> import warnings
    >>> from pycnn import Dense, Network
    >>> net = Network(1, [Dense(2, "relu"), Dense(1)], seed=0)
    >>> net.layers[0].b[:] = -9
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     history = net.fit([[0], [1]], [0, 1], epochs=1, diagnose=True)
    >>> print(str(caught[0].message).partition(":")[0])
    2 of the 2 units of layer 1 are dead before the first epoch
    """


def warn(message: str, category: type[PycnnWarning]) -> None:
    """Warn at the line outside of pycnn that led here."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    # Python itself raises where the standard error is closed: then nobody would have read it.
    with contextlib.suppress(AttributeError, ValueError):
        warnings.warn(message, category, stacklevel=level)
