"""Learning-rate schedules: the learning rate as a function of the training's progress.

With eta the `learning_rate`, t = step / steps_per_epoch the epochs passed, T the whole training:

=================  ===============================================  ===========================
schedule           learning rate                                    source
=================  ===============================================  ===========================
Constant           eta
StepDecay          eta * factor^floor(t / every)
ExponentialDecay   eta * rate^t
CosineDecay        minimum + (eta - minimum) (1 + cos(pi t/T)) / 2  Loshchilov & Hutter (2017)
Warmup             linear up to another schedule, then that         Goyal et al. (2017)
OneCycle           up and down again along half cosines             Smith & Topin (2018)
=================  ===============================================  ===========================

A schedule is a pure function of the step's number: it has no state, so a training that is resumed
needs nothing but that number. The rates come from operations that IEEE 754 rounds exactly, so they
have the same bits on every machine, alone or among others.

>>> import numpy as np
>>> Warmup(StepDecay(0.1, every=2), epochs=2).rates(np.arange(6), 1, 6).round(4).tolist()
[0.0, 0.05, 0.1, 0.1, 0.01, 0.01]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pycnn._checks import Settings, check_bool, check_real, check_size, look_up
from pycnn._exact import half_cosine, integer_power, power
from pycnn._public import names_of
from pycnn.exceptions import DataError, DataTypeError

if TYPE_CHECKING:
    from pycnn._typing import Array, ArrayLike, NDArray


__all__ = [
    "Constant",
    "CosineDecay",
    "ExponentialDecay",
    "OneCycle",
    "Schedule",
    "StepDecay",
    "Warmup",
]
__dir__ = names_of(__name__)


class Schedule:
    """Base: a schedule of your own overrides `rates`.

    One that keeps its settings as attributes gets `config` with it.

    Attributes
    ----------
    needs_total : bool
        Whether the rates depend on the length of the whole training. Those that do not also serve
        `Network.partial_fit` and a training that is resumed for more epochs.

    Examples
    --------
    >>> class Halved(Schedule):
    ...     needs_total = False
    ...     def rates(self, steps, steps_per_epoch, total_steps):
    ...         return 0.1 * 0.5 ** (np.asarray(steps) // steps_per_epoch)
    >>> Halved().rates([0, 1, 2], 1, 3).tolist()
    [0.1, 0.05, 0.025]
    """

    kind: ClassVar[str] = ""

    @property
    def needs_total(self) -> bool:
        """Whether the rates depend on the length of the whole training; here, as a precaution."""
        return True

    def rates(self, steps: ArrayLike, steps_per_epoch: int, total_steps: int) -> Array:
        """Return the learning rate of each mini-batch.

        Parameters
        ----------
        steps : array-like of shape (n,)
            Numbers of mini-batches, counted from 0 at the start of the training.
        steps_per_epoch : int
            Mini-batches in an epoch.
        total_steps : int
            Mini-batches in the whole training. Steps beyond its last keep the last one's rate.

        Returns
        -------
        ndarray of shape (n,)

        Raises
        ------
        DataError, DataTypeError
            If an argument is not made of whole numbers, or out of range.
        """
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """Return kind and settings as plain data, from which `from_config` rebuilds the object."""
        settings = {
            key: value.config() if isinstance(value, Schedule) else value
            for key, value in vars(self).items()
        }
        return {"kind": self.kind, **settings}


def _check_steps(steps: Any, steps_per_epoch: Any, total_steps: Any) -> NDArray[np.int64]:
    """Return the steps, none beyond the training's last."""
    for value, name in ((steps_per_epoch, "steps_per_epoch"), (total_steps, "total_steps")):
        check_size(value, name)
    array = np.asarray(steps)
    if array.dtype.kind not in "iu" and array.size:
        raise DataTypeError(f"steps must be integers, got dtype {array.dtype}")
    if (array < 0).any():
        raise DataError(f"steps must be at least 0, got {array.min()}")
    return np.asarray(np.minimum(array, total_steps - 1), np.int64)


def _in_steps(epochs: float, steps_per_epoch: int) -> float:
    """Return a duration in steps; what misses a whole number by rounding alone is that number."""
    steps = epochs * steps_per_epoch
    whole = round(steps)
    if abs(steps - whole) <= 1e-9 * whole:
        return float(whole)
    return max(steps, 1e-6)  # so that a number of periods fits into 63 bits


def _check_duration(value: Any, name: str) -> float:
    return check_real(value, name, above=0, at_most=1e9)


class Constant(Settings, Schedule):
    """The same learning rate throughout.

    Parameters
    ----------
    learning_rate : float
        Above 0.

    Raises
    ------
    DataError, DataTypeError
        If the argument is not valid.

    Examples
    --------
    >>> Constant(0.1).rates([0, 1, 2], 1, 3).tolist()
    [0.1, 0.1, 0.1]
    """

    kind: ClassVar[str] = "constant"
    learning_rate: float

    def __init__(self, learning_rate: float) -> None:
        self._settle(learning_rate=check_real(learning_rate, "learning_rate", above=0))

    @property
    def needs_total(self) -> bool:
        """Whether the rates depend on the length of the whole training."""
        return False

    def rates(self, steps: ArrayLike, steps_per_epoch: int, total_steps: int) -> Array:
        """Return the learning rate of each mini-batch; see `Schedule.rates`."""
        return np.full(_check_steps(steps, steps_per_epoch, total_steps).shape, self.learning_rate)


class StepDecay(Settings, Schedule):
    """``eta * factor ** floor(t / every)``: multiplied by `factor` after each `every` epochs.

    Parameters
    ----------
    learning_rate : float
        The rate eta of the first step, above 0.
    factor : float, default 0.1
        In (0, 1].
    every : float, default 10
        Epochs between two drops.

    Raises
    ------
    DataError, DataTypeError
        If an argument is not valid.

    Examples
    --------
    >>> StepDecay(0.5, factor=0.5, every=2).rates([0, 1, 2, 3, 4], 1, 5).tolist()
    [0.5, 0.5, 0.25, 0.25, 0.125]
    """

    kind: ClassVar[str] = "step_decay"
    learning_rate: float
    factor: float
    every: float

    def __init__(self, learning_rate: float, factor: float = 0.1, every: float = 10) -> None:
        self._settle(
            learning_rate=check_real(learning_rate, "learning_rate", above=0),
            factor=check_real(factor, "factor", above=0, at_most=1),
            every=_check_duration(every, "every"),
        )

    @property
    def needs_total(self) -> bool:
        """Whether the rates depend on the length of the whole training."""
        return False

    def rates(self, steps: ArrayLike, steps_per_epoch: int, total_steps: int) -> Array:
        """Return the learning rate of each mini-batch; see `Schedule.rates`."""
        at = _check_steps(steps, steps_per_epoch, total_steps)
        drops = np.floor(at / _in_steps(self.every, steps_per_epoch)).astype(np.int64)
        return self.learning_rate * integer_power(self.factor, drops)


class ExponentialDecay(Settings, Schedule):
    """``eta * rate ** t``: multiplied by `rate` in the course of each epoch.

    Parameters
    ----------
    learning_rate : float
        The rate eta of the first step, above 0.
    rate : float, default 0.95
        In (0, 1].
    staircase : bool, default False
        Whether the rate drops between epochs only: ``eta * rate ** floor(t)``.

    Raises
    ------
    DataError, DataTypeError
        If an argument is not valid.

    Examples
    --------
    >>> ExponentialDecay(1.0, 0.25).rates([0, 1, 2, 3, 4], 2, 6).tolist()
    [1.0, 0.5, 0.25, 0.125, 0.0625]
    """

    kind: ClassVar[str] = "exponential_decay"
    learning_rate: float
    rate: float
    staircase: bool

    def __init__(self, learning_rate: float, rate: float = 0.95, staircase: bool = False) -> None:
        self._settle(
            learning_rate=check_real(learning_rate, "learning_rate", above=0),
            rate=check_real(rate, "rate", above=0, at_most=1),
            staircase=check_bool(staircase, "staircase"),
        )

    @property
    def needs_total(self) -> bool:
        """Whether the rates depend on the length of the whole training."""
        return False

    def rates(self, steps: ArrayLike, steps_per_epoch: int, total_steps: int) -> Array:
        """Return the learning rate of each mini-batch; see `Schedule.rates`."""
        at = _check_steps(steps, steps_per_epoch, total_steps)
        if self.staircase:
            return self.learning_rate * integer_power(self.rate, at // steps_per_epoch)
        return self.learning_rate * power(self.rate, at / steps_per_epoch)


class CosineDecay(Settings, Schedule):
    """``minimum + (eta - minimum) * (1 + cos(pi t / T)) / 2``, once or with warm restarts.

    Loshchilov & Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts" (2017), equation 5.

    Parameters
    ----------
    learning_rate : float
        The rate eta of the first step, above 0.
    minimum : float, default 0
        The rate after T epochs, from 0 to `learning_rate`.
    epochs : float, optional
        The period T; by default the whole training, whose end then reaches the minimum. Without
        restarts the rate stays at the minimum after it.
    restarts : bool, default False
        Whether the rate goes back to `learning_rate` after each period; needs `epochs`.
    growth : float, default 1
        How many times longer each period is than that before it, at least 1; needs `restarts`.

    Raises
    ------
    DataError, DataTypeError
        If an argument is not valid.

    Examples
    --------
    >>> CosineDecay(1.0, epochs=2, restarts=True, growth=2).rates(range(6), 1, 6).round(3).tolist()
    [1.0, 0.5, 1.0, 0.854, 0.5, 0.146]
    """

    kind: ClassVar[str] = "cosine_decay"
    learning_rate: float
    minimum: float
    epochs: float | None
    restarts: bool
    growth: float

    def __init__(
        self,
        learning_rate: float,
        minimum: float = 0.0,
        epochs: float | None = None,
        restarts: bool = False,
        growth: float = 1.0,
    ) -> None:
        self._settle(
            learning_rate=check_real(learning_rate, "learning_rate", above=0),
            minimum=check_real(minimum, "minimum", at_least=0),
            epochs=None if epochs is None else _check_duration(epochs, "epochs"),
            restarts=check_bool(restarts, "restarts"),
            growth=check_real(growth, "growth", at_least=1),
        )
        if self.minimum > self.learning_rate:
            raise DataError(
                f"minimum must be at most the learning_rate {self.learning_rate}, "
                f"got {self.minimum}"
            )
        if self.restarts and self.epochs is None:
            raise DataError("epochs, the first period, must be given with restarts=True")
        if self.growth != 1 and not self.restarts:
            raise DataError(f"growth={self.growth} needs restarts=True")

    @property
    def needs_total(self) -> bool:
        """Whether the rates depend on the length of the whole training."""
        return self.epochs is None

    def rates(self, steps: ArrayLike, steps_per_epoch: int, total_steps: int) -> Array:
        """Return the learning rate of each mini-batch; see `Schedule.rates`."""
        at = _check_steps(steps, steps_per_epoch, total_steps)
        if self.epochs is None:
            passed = at / total_steps
        elif self.restarts:
            first = max(1.0, _in_steps(self.epochs, steps_per_epoch))
            passed = _share_of_period(at, first, self.growth)
        else:
            passed = np.minimum(at / _in_steps(self.epochs, steps_per_epoch), 1.0)
        return _between(self.learning_rate, self.minimum, passed)


def _share_of_period(at: NDArray[np.int64], first: float, growth: float) -> Array:
    """Return which share of its period each step has behind it."""
    last = at.max(initial=0)
    starts, lengths = [0.0], [first]
    while starts[-1] + lengths[-1] <= last:
        starts.append(starts[-1] + lengths[-1])
        lengths.append(lengths[-1] * growth)
    period = np.searchsorted(starts, at, side="right") - 1
    return (at - np.array(starts)[period]) / np.array(lengths)[period]


def _between(first: float, last: float, passed: Array) -> Array:
    """Return the half cosine from `first`, where `passed` is 0, to `last`, where it is 1."""
    share = half_cosine(passed)
    return first * share + last * (1 - share)


class Warmup(Settings, Schedule):
    """``(start + (1 - start) * t / epochs) * eta``, then another schedule, which starts at eta.

    Goyal et al., "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour" (2017), section 2.2.

    Parameters
    ----------
    schedule : Schedule or float
        What follows. Its step 0 is the first after the warm-up, and what remains of the training
        is the whole for it. A number stands for `Constant`.
    epochs : float, default 5
        Length of the warm-up, rounded to whole steps, at least one.
    start : float, default 0
        Share of eta that the first step gets, in [0, 1].

    Raises
    ------
    DataError, DataTypeError
        If an argument is not valid.

    Examples
    --------
    >>> Warmup(0.5, epochs=2, start=0.2).rates([0, 1, 2, 3], 1, 4).round(6).tolist()
    [0.1, 0.3, 0.5, 0.5]
    """

    kind: ClassVar[str] = "warmup"
    schedule: Schedule
    epochs: float
    start: float

    def __init__(self, schedule: Schedule | float, epochs: float = 5, start: float = 0.0) -> None:
        self._settle(
            schedule=get(schedule, "schedule"),
            epochs=_check_duration(epochs, "epochs"),
            start=check_real(start, "start", at_least=0, at_most=1),
        )

    @property
    def needs_total(self) -> bool:
        """Whether the rates depend on the length of the whole training."""
        return self.schedule.needs_total

    def rates(self, steps: ArrayLike, steps_per_epoch: int, total_steps: int) -> Array:
        """Return the learning rate of each mini-batch; see `Schedule.rates`."""
        at = _check_steps(steps, steps_per_epoch, total_steps)
        warm = max(1, round(self.epochs * steps_per_epoch))
        after = np.maximum(at - warm, 0)
        rates = self.schedule.rates(after, steps_per_epoch, max(1, total_steps - warm))
        share = self.start + (1 - self.start) * (at / warm)
        return np.where(at < warm, share * rates, rates)


class OneCycle(Settings, Schedule):
    """Up from ``eta / div_factor`` to eta, then down to the first rate / `final_div_factor`.

    Both along half cosines, over the whole training. Smith & Topin, "Super-Convergence" (2018), in
    the two phases of PyTorch's OneCycleLR: with N steps the top is at step pct_start * N - 1 and
    the lowest rate at step N - 1.

    Parameters
    ----------
    learning_rate : float
        The highest rate eta, above 0.
    pct_start : float, default 0.3
        Share of the training in which the rate rises, in [0, 1].
    div_factor : float, default 25
        The first rate is ``eta / div_factor``; at least 1.
    final_div_factor : float, default 1e4
        The last rate is ``eta / div_factor / final_div_factor``; at least 1.

    Raises
    ------
    DataError, DataTypeError
        If an argument is not valid.

    Examples
    --------
    >>> OneCycle(1.0).rates([0, 1, 2, 5, 9], 1, 10).round(6).tolist()
    [0.04, 0.52, 1.0, 0.611262, 4e-06]
    """

    kind: ClassVar[str] = "one_cycle"
    learning_rate: float
    pct_start: float
    div_factor: float
    final_div_factor: float

    def __init__(
        self,
        learning_rate: float,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        self._settle(
            learning_rate=check_real(learning_rate, "learning_rate", above=0),
            pct_start=check_real(pct_start, "pct_start", at_least=0, at_most=1),
            div_factor=check_real(div_factor, "div_factor", at_least=1),
            final_div_factor=check_real(final_div_factor, "final_div_factor", at_least=1),
        )

    @property
    def needs_total(self) -> bool:
        """Whether the rates depend on the length of the whole training."""
        return True

    def rates(self, steps: ArrayLike, steps_per_epoch: int, total_steps: int) -> Array:
        """Return the learning rate of each mini-batch; see `Schedule.rates`."""
        at = _check_steps(steps, steps_per_epoch, total_steps).astype(np.float64)
        low = self.learning_rate / self.div_factor
        top, end = self.pct_start * total_steps - 1, total_steps - 1
        # A phase shorter than a step has no step within it; 1.0 then keeps the division valid.
        rise = np.clip(at / (top if top > 0 else 1.0), 0, 1)
        fall = np.clip((at - top) / (end - top if end > top else 1.0), 0, 1)
        return np.where(
            (at <= top) & (top > 0),
            _between(low, self.learning_rate, rise),
            _between(self.learning_rate, low / self.final_div_factor, fall),
        )


_KINDS: dict[str, type[Schedule]] = {
    cls.kind: cls for cls in (Constant, StepDecay, ExponentialDecay, CosineDecay, Warmup, OneCycle)
}


def from_config(config: dict[str, Any]) -> Schedule:
    """Rebuild a schedule from its `Schedule.config`.

    Raises
    ------
    UnknownNameError, DataError, DataTypeError
        If there is no such kind, or a setting is not valid.
    """
    if not isinstance(config, dict):
        raise DataTypeError(f"a schedule's config must be a dict, got {config!r}")
    settings = {
        key: from_config(value) if isinstance(value, dict) else value
        for key, value in config.items()
    }
    kind = look_up(settings.pop("kind", None), _KINDS, "schedule kind")
    try:
        return kind(**settings)
    except TypeError as error:
        if isinstance(error, DataTypeError):
            raise
        raise DataError(f"the config of a {kind.__name__} does not fit it: {error}") from None


def get(value: Any, argument: str = "learning_rate") -> Schedule:
    """Return a schedule from itself, or a `Constant` one from a number.

    Raises
    ------
    DataError, DataTypeError
        If `value` is neither a schedule nor a finite number above 0.
    """
    if isinstance(value, Schedule):
        return value
    if isinstance(value, (bool, str)) or not isinstance(value, (int, float, np.number)):
        raise DataTypeError(
            f"{argument} must be a number or a schedule such as StepDecay(0.1), got {value!r}"
        )
    return Constant(check_real(value, argument, above=0))
