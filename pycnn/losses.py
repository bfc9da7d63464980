"""The losses by name. What they compute is in the backends.

========================  ==================================================  ==================
name                      L of one sample                                     output activation
========================  ==================================================  ==================
mse                       1/2 sum_j (a_j - y_j)^2                             any
mae                       sum_j |a_j - y_j|                                   any
huber                     sum_j h(a_j - y_j), see `Huber`                     any
quantile                  sum_j max(q (y_j - a_j), (1 - q) (a_j - y_j))       any
poisson                   sum_j [a_j - y_j log a_j]                           softplus; sigmoid,
                                                                              softmax
binary_crossentropy       -sum_j [y_j log a_j + (1 - y_j) log(1 - a_j)]       sigmoid
hinge                     sum_j max(0, 1 - y_j a_j), y_j = -1 or 1            linear
categorical_crossentropy  -sum_j y_j log a_j                                  softmax
kl_divergence             sum_j y_j log(y_j / a_j); 0 where y_j = 0           softmax
========================  ==================================================  ==================

All are sums over the outputs, not means: with several outputs they are so many times what libraries
give that average over outputs too, and `mse` has the lecture's 1/2. A mini-batch's loss is the mean
over its samples; with sample weights, the weighted mean.

`poisson` is the negative log likelihood of counts y >= 0 whose mean is a (less log y!, which does
not depend on a), so a must be above 0; where an underflow makes it 0, the logarithm is that of
2^-960, and the loss stays finite. `hinge` takes labels of two classes, which become -1 and 1, or -1
and 1 themselves; `kl_divergence` takes what `categorical_crossentropy` does, and differs from it by
the entropy of the targets, so it is 0 where a = y.

The cross-entropies take smoothed labels as `BinaryCrossentropy` and `CategoricalCrossentropy`, and
a function of your own makes any other loss: see `Custom`.

`huber` and `quantile` are short for ``Huber()`` and ``Quantile()``:

>>> import pycnn
>>> pycnn.Network(3, [pycnn.Dense(1)], loss=pycnn.losses.Quantile(0.9), seed=0)
Network(3, [Dense(1, 'linear')], loss=Quantile(q=0.9), seed=0)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pycnn._checks import Settings, check_choice, check_real
from pycnn._public import names_of
from pycnn.exceptions import DataError, DataTypeError, PairingError, PycnnError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycnn._typing import Array

    Function = Callable[[Any, Any], tuple[Any, Any]]  # see `Custom`

__all__ = [
    "LOSSES",
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Custom",
    "Huber",
    "Loss",
    "Quantile",
]
__dir__ = names_of(__name__)

#: The names that `Network` takes as ``loss``.
LOSSES = (
    "mse",
    "binary_crossentropy",
    "categorical_crossentropy",
    "mae",
    "huber",
    "poisson",
    "hinge",
    "quantile",
    "kl_divergence",
)

_DEFAULTS = {"sigmoid": "binary_crossentropy", "softmax": "categorical_crossentropy"}
# Output activations that a loss goes with, the recommended one first; any, where it is not here.
_NEEDS = {
    "binary_crossentropy": ("sigmoid",),
    "categorical_crossentropy": ("softmax",),
    "kl_divergence": ("softmax",),
    "poisson": ("softplus", "sigmoid", "softmax"),
    "hinge": ("linear",),
}
# What targets are: any numbers, where a loss is not here.
_TARGETS = {
    "binary_crossentropy": "binary",
    "categorical_crossentropy": "classes",
    "kl_divergence": "classes",
    "poisson": "counts",
    "hinge": "signs",
}


class Loss(Settings):
    """Base: a loss that carries a number.

    Examples
    --------
    >>> isinstance(Huber(0.5), Loss), Huber(0.5).config()
    (True, {'name': 'huber', 'delta': 0.5})
    """

    name = ""

    @property
    def parameter(self) -> float:
        """The number."""
        (value,) = vars(self).values()
        return float(value)

    def config(self) -> dict[str, Any]:
        """Return the loss as plain data, for `from_config`."""
        return {"name": self.name, **vars(self)}


class Huber(Loss):
    """``sum_j h(a_j - y_j)``: squared where an error is small, straight where it is large.

    ``h(e) = e^2 / 2`` for ``|e| <= delta``, else ``delta (|e| - delta / 2)``: an outlier pulls no
    harder than an error of delta does (Huber, 1964).

    Parameters
    ----------
    delta : float, default 1
        Where the straight parts begin, above 0.

    Raises
    ------
    DataError, DataTypeError
        If `delta` is not a finite number above 0.

    Examples
    --------
    >>> Huber(0.5)
    Huber(delta=0.5)
    """

    name = "huber"

    def __init__(self, delta: float = 1.0) -> None:
        self._settle(delta=check_real(delta, "delta", above=0))


class Quantile(Loss):
    """``sum_j max(q (y_j - a_j), (1 - q) (a_j - y_j))``, the pinball loss.

    It is least, on average, where a share q of the targets lies below the output: the output learns
    the q-quantile of the targets, for q = 0.5 the median (Koenker and Bassett, 1978).

    Parameters
    ----------
    q : float, default 0.5
        Between 0 and 1.

    Raises
    ------
    DataError, DataTypeError
        If `q` is not a number between 0 and 1.

    Examples
    --------
    >>> Quantile(0.9)
    Quantile(q=0.9)
    """

    name = "quantile"

    def __init__(self, q: float = 0.5) -> None:
        value = check_real(q, "q")
        if not 0 < value < 1:
            raise DataError(f"q must be above 0 and below 1, got {q!r}")
        self._settle(q=value)


class _Smoothed(Loss):
    """What the cross-entropies share: the targets' smoothing."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        value = check_real(label_smoothing, "label_smoothing", at_least=0)
        if value >= 1:
            raise DataError(
                f"label_smoothing must be at least 0 and below 1, got {label_smoothing!r}"
            )
        self._settle(label_smoothing=value)


class BinaryCrossentropy(_Smoothed):
    """``-sum_j [y_j log a_j + (1 - y_j) log(1 - a_j)]`` with smoothed targets.

    Targets become ``(1 - e) y + e / 2``: no output is drawn all the way to 0 or 1 (Szegedy et al.,
    2016). Accuracy counts as without.

    Parameters
    ----------
    label_smoothing : float, default 0
        e, from 0 to below 1.

    Raises
    ------
    DataError, DataTypeError
        If `label_smoothing` is not valid.

    Examples
    --------
    >>> BinaryCrossentropy(0.1)
    BinaryCrossentropy(label_smoothing=0.1)
    """

    name = "binary_crossentropy"


class CategoricalCrossentropy(_Smoothed):
    """``-sum_j y_j log a_j`` with smoothed targets.

    Targets become ``(1 - e) y + e / n_L``: no output is drawn all the way to 0 or 1 (Szegedy et
    al., 2016). Accuracy counts as without.

    Parameters
    ----------
    label_smoothing : float, default 0
        e, from 0 to below 1.

    Raises
    ------
    DataError, DataTypeError
        If `label_smoothing` is not valid.

    Examples
    --------
    >>> CategoricalCrossentropy(0.1)
    CategoricalCrossentropy(label_smoothing=0.1)
    """

    name = "categorical_crossentropy"


class Custom(Loss):
    """A loss of your own, a Python function: the slow path, called for each mini-batch.

    ``Network(..., loss=function)`` makes one. All else (layers, optimizer, penalties) runs in the
    core as ever; only the loss and its derivative by the outputs come from the function.

    Parameters
    ----------
    function : callable
        ``function(y_pred, y_true) -> (loss, gradient)``, both arguments of shape (m, n_L): the
        outputs behind their activation, and the targets as numbers. Either `loss` is the
        mini-batch's mean, a number, and `gradient`, (m, n_L), its derivative by `y_pred`; or `loss`
        has one value for each sample, (m,), and a row of `gradient` is the derivative of that
        sample's. Sample weights need the latter. It need not be a mean over samples: in training,
        and for `Network.gradients`, a mini-batch is one call, however large; `Network.evaluate`
        and validation call it for some samples at a time, see there. Where outputs are sequences
        all are (m, positions, n_L), and the loss has a value for each position, (m, positions);
        targets that were not observed are NaN then, and what stands there in both is of no account.

    Raises
    ------
    DataTypeError
        If `function` cannot be called; while it is used, if it does not return a pair of arrays of
        numbers.
    ShapeError
        While it is used, if what it returns has another shape.

    Examples
    --------
    >>> def log_cosh(y_pred, y_true):
    ...     error = y_pred - y_true
    ...     return np.log(np.cosh(error)).sum(axis=1), np.tanh(error)
    >>> from pycnn import Dense, Network
    >>> net = Network(1, [Dense(1)], loss=log_cosh, seed=0)
    >>> net.fit([[0], [1], [2]], [1, 3, 5], epochs=200)["loss"][-1] < 0.01
    True
    """

    name = "custom"

    def __init__(self, function: Function | None) -> None:
        if function is not None and not callable(function):
            raise DataTypeError(f"loss must be a name, a Loss or a function, got {function!r}")
        self._settle(function=function)

    function: Function | None

    @property
    def parameter(self) -> float:
        """None is needed."""
        return 0.0

    def config(self) -> dict[str, Any]:
        """Return the loss as plain data: a function is none."""
        return {"name": self.name}

    def __call__(self, outputs: Array, targets: Array) -> tuple[Array, Array]:
        """Return each sample's loss, (m,), and its derivative by the outputs, (m, n_L).

        Of sequences, (m, P, n), each position's, (m, P).
        """
        if self.function is None:
            raise PycnnError(
                "the loss of this network is a function of its maker's, which no file keeps: "
                "give it to load(path, loss=function)"
            )
        shape = outputs.shape
        try:
            loss, gradient = self.function(outputs, targets)
            values = np.asarray(loss, dtype=np.float64)
            slopes = np.asarray(gradient, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DataTypeError(
                f"the loss function must return (loss, gradient) as numbers: {error}"
            ) from error
        if slopes.shape != shape:
            raise ShapeError(
                f"the loss function's gradient must have the outputs' shape {shape}, "
                f"got {slopes.shape}"
            )
        if values.shape == () and np.isnan(targets).all(axis=-1).any():
            raise ShapeError(
                f"the loss function must give a loss for each position, of shape {shape[:-1]}, "
                "where some have no target: a single number would count these"
            )
        if values.shape == ():
            return np.full(shape[:-1], float(values)), slopes * math.prod(shape[:-1])
        if values.shape != shape[:-1]:
            raise ShapeError(
                f"the loss function's loss must be a number or of shape {shape[:-1]}, "
                f"got {values.shape}"
            )
        return values, slopes


_WITH_SETTINGS: dict[str, type[Loss]] = {
    loss.name: loss for loss in (Huber, Quantile, BinaryCrossentropy, CategoricalCrossentropy)
}
_ALWAYS_WITH = (Huber.name, Quantile.name)  # also where only the name is given


def name_of(loss: str | Loss) -> str:
    """Return the name of a checked loss."""
    return loss if isinstance(loss, str) else loss.name


def check(loss: Any, output_activation: str) -> str | Loss:
    """Return a loss that goes with the output activation: its name, or an object with its number.

    None stands for the one that belongs to the activation.

    Raises
    ------
    UnknownNameError
        If there is no such loss.
    PairingError
        If it needs another output activation.
    """
    default = _DEFAULTS.get(output_activation, "mse")
    if loss is None:
        return default
    checked: str | Loss
    if isinstance(loss, Loss):
        checked = loss
    elif callable(loss) and not isinstance(loss, type):
        checked = Custom(cast("Function", loss))
    else:
        name = check_choice(loss, LOSSES, "loss")
        checked = _WITH_SETTINGS[name]() if name in _ALWAYS_WITH else name
    needed = _NEEDS.get(name_of(checked), (output_activation,))
    if output_activation not in needed:
        raise PairingError(
            f"loss {name_of(checked)!r} needs a {' or '.join(needed)} output layer, "
            f"got {output_activation!r}; with {output_activation} use {default!r}"
        )
    return checked


def to_config(loss: str | Loss) -> Any:
    """Return a checked loss as plain data."""
    return loss if isinstance(loss, str) else loss.config()


def from_config(config: Any, output_activation: str) -> str | Loss:
    """Return the loss that `to_config` describes."""
    if not isinstance(config, dict):
        return check(check_choice(config, LOSSES, "loss"), output_activation)
    if config == {"name": Custom.name}:
        return Custom(None)
    settings = dict(config)
    name = check_choice(settings.pop("name"), tuple(_WITH_SETTINGS), "loss")
    return check(_WITH_SETTINGS[name](**settings), output_activation)


def targets(loss: str) -> str:
    """Return what targets of this loss are: numbers, counts, signs, binary or classes."""
    return _TARGETS.get(loss, "numbers")


def is_classification(loss: str) -> bool:
    """Tell whether targets of this loss are classes."""
    return targets(loss) in ("signs", "binary", "classes")


def is_distance(loss: str) -> bool:
    """Tell whether a loss knows only how far outputs are from targets, which may be anywhere."""
    return targets(loss) == "numbers" and loss != "custom"


def may_be_one_hot(loss: str) -> bool:
    """Tell whether numbers that are targets of this loss can turn out to be classes."""
    return loss == "mse"


def gives_probabilities(loss: str) -> bool:
    """Tell whether outputs are probabilities of classes."""
    return targets(loss) in ("binary", "classes")


def boundary(loss: str) -> float:
    """Return the output that divides two classes."""
    return 0.0 if targets(loss) == "signs" else 0.5


def estimates_the_mean(loss: str) -> bool:
    """Tell whether outputs are to be near the targets, so that R^2 is a score."""
    return not is_classification(loss) and loss not in ("quantile", "custom")
