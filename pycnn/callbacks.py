"""Callbacks: what runs between epochs, ready-made or of the user's own.

=================  ================================================================
EarlyStopping      end the training when a value no longer improves
ModelCheckpoint    save the model every few epochs, or when it is the best so far
ReduceLROnPlateau  lower the learning rates when a value no longer improves
TerminateOnNaN     end the training when a value is NaN or infinite
LambdaCallback     functions of your own as hooks
CSVLogger          write a row an epoch to a CSV file
TensorBoard        write the learning curves for TensorBoard
=================  ================================================================

`Network.fit` calls them in the order of its list. Each starts every training afresh, unless it goes
on from a saved training state.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pycnn._checks import check_bool, check_choice, check_real, check_size, suggest
from pycnn._public import names_of
from pycnn.exceptions import DataError, DataTypeError, ShapeError, UnknownNameError

if TYPE_CHECKING:
    from typing import TypeAlias

    from pycnn._typing import Array

    Check = Callable[[Any, str], Any]
    # A `pycnn.Network`, whose module imports this one. Hooks of the user's own may name its class.
    Network: TypeAlias = Any

__all__ = [
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "LambdaCallback",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "TensorBoard",
    "TerminateOnNaN",
]
__dir__ = names_of(__name__)

MODES = ("auto", "min", "max")
# What mode="auto" goes by: the words of a value's name; "f1_loss" is a loss.
_SMALL_IS_GOOD = {"crossentropy", "deviance", "error", "loss", "mae", "mse", "rmse"}
_LARGE_IS_GOOD = {"acc", "accuracy", "auc", "f1", "precision", "r2", "recall", "score"}


class Callback:
    """Base: override what you need.

    Setting ``network.stop_training = True`` ends training after the present epoch, or at once in
    `on_batch_group_end`. `Network.fit` also takes plain functions ``f(network, epoch, logs)``,
    called at the end of each epoch.

    A callback that also has ``get_state()`` and ``set_state(state)`` is saved and restored with a
    training state; the state is a dict of numbers, strings, lists and ndarrays. ``set_state`` comes
    before `on_train_begin`. A training that goes on from the midst of an epoch begins with
    `on_epoch_begin` for it. That something has ended the training is not a part of the state: a
    callback that ends it for good remembers that, and sets ``network.stop_training`` again in
    `on_train_begin`.

    Examples
    --------
    >>> from pycnn import Dense, Network
    >>> class Stop(Callback):
    ...     def on_epoch_end(self, network, epoch, logs):
    ...         network.stop_training = logs["loss"] < 0.01
    >>> net = Network(1, [Dense(1)], seed=0)
    >>> history = net.fit([[0], [1]], [1, 3], epochs=1000, callbacks=[Stop()])
    >>> history.epochs < 1000
    True
    """

    def on_train_begin(self, network: Network) -> None:
        """Run before the first epoch."""

    def on_epoch_begin(self, network: Network, epoch: int) -> None:
        """Run before an epoch; epochs count from 1."""

    def on_batch_group_end(self, network: Network, epoch: int, logs: dict[str, float]) -> None:
        """Run each time the core comes back from a group of mini-batches, about every 50 ms.

        `logs` has the means over the epoch so far, ``loss`` (and ``accuracy``), and how many of the
        epoch's mini-batches are done: ``batch`` of ``batches``. How many make a group depends on
        the machine's speed. The last group of an epoch comes just before `on_epoch_end`.

        Setting ``network.stop_training`` here ends training at once: the parameters are those after
        `batch` mini-batches. An epoch that is not finished then is not in the history, has no
        `on_epoch_end`, and is finished by a fit that resumes.
        """

    def on_epoch_end(self, network: Network, epoch: int, logs: dict[str, float]) -> None:
        """Run after an epoch; `logs` has what `History` gets: ``loss``, ``val_loss``, ...

        Where `fit` does not measure the validation data in each epoch, their values are NaN in the
        others.
        """

    def on_train_end(self, network: Network) -> None:
        """Run after the last epoch; not after an exception."""


class _FunctionCallback(Callback):
    def __init__(self, function: Callable[[Network, int, dict[str, float]], Any]) -> None:
        self.function = function

    def on_epoch_end(self, network: Network, epoch: int, logs: dict[str, float]) -> None:
        self.function(network, epoch, logs)


def as_callbacks(callbacks: Any) -> list[Callback]:
    """Return a list of callbacks from None, one, or an iterable of callbacks and functions."""
    if callbacks is None:
        return []
    if isinstance(callbacks, Callback) or not isinstance(callbacks, Iterable):
        callbacks = [callbacks]
    result: list[Callback] = []
    for item in callbacks:
        if isinstance(item, Callback):
            result.append(item)
        elif callable(item) and not isinstance(item, type):
            result.append(_FunctionCallback(item))
        else:
            raise DataTypeError(
                "callbacks must hold Callback objects or functions f(network, epoch, logs), "
                f"got {item!r}"
            )
    return result


def name_of(callback: Any) -> str:
    """Return what a training state knows a callback by."""
    name = type(callback).__name__
    watches = isinstance(callback, _Monitor) and hasattr(callback, "_small")
    return f"{name}({callback.monitor})" if watches else name


def decides(callback: Any) -> bool:
    """Tell whether a training could end otherwise without what the callback remembers."""
    return _has_state(callback) and getattr(callback, "_decides", True)


def hears_groups(callback: Any) -> bool:
    """Tell whether a callback does anything where a group of mini-batches ends."""
    hook = getattr(callback.on_batch_group_end, "__func__", None)
    return hook is not Callback.on_batch_group_end


def _has_state(callback: Any) -> bool:
    return hasattr(callback, "get_state") and hasattr(callback, "set_state")


def states_of(callbacks: Sequence[Any], pending: Sequence[Any]) -> list[dict[str, Any]]:
    """Return what each callback remembers, as it is now; `pending` do not know of the last epoch.

    For each its ``name``, its ``state`` (None: it has none), and whether it was ``told``.
    """
    result = []
    for callback in callbacks:
        state = callback.get_state() if _has_state(callback) else None
        if state is not None and not isinstance(callback, _Stateful):
            if not isinstance(state, Mapping):
                raise DataTypeError(
                    f"get_state of {type(callback).__name__} must return a dict, got {state!r}"
                )
            state = _copied(state)
        told = not any(callback is other for other in pending)
        result.append({"name": name_of(callback), "state": state, "told": told})
    return result


def _copied(state: Mapping[str, Any]) -> dict[str, Any]:
    from copy import deepcopy

    return deepcopy(dict(state))


def restore_states(callbacks: Sequence[Any], saved: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Give the callbacks back what `states_of` has returned; return those that are to be told.

    The first of a name gets what the first of that name has left, and so on. One that only watches
    and has left nothing starts afresh.
    """
    left: dict[str, list[Mapping[str, Any]]] = {}
    for entry in saved:
        left.setdefault(entry["name"], []).append(entry)
    done, pending = [], []
    try:
        for callback in callbacks:
            entries = left.get(name_of(callback)) or [{"state": None, "told": True}]
            entry = entries.pop(0)
            if entry["state"] is None and decides(callback):
                raise DataError(f"the training state must have one of {name_of(callback)}")
            if entry["state"] is not None and _has_state(callback):
                callback.set_state(_copied(entry["state"]))
                done.append(callback)
            if not entry["told"]:
                pending.append(callback)
    except BaseException:
        forget_states(done)
        raise
    return pending


def forget_states(callbacks: Iterable[Any]) -> None:
    """Let the next training start afresh, where none has begun with the states given back."""
    for callback in callbacks:
        if isinstance(callback, _Stateful):
            callback._restored = False


# ------------------------------------------------------------------ checks


def _check_count(value: Any, name: str) -> int:
    return check_size(value, name, at_least=0)


def _check_text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise DataTypeError(f"{name} must be a string, got {value!r}")
    return value


def _check_path(value: Any, name: str) -> str:
    try:
        path = os.fsdecode(value)
    except TypeError:
        raise DataTypeError(f"{name} must be a path, got {value!r}") from None
    if not path:
        raise DataError(f"{name} must not be empty")
    return path


def _make_folder_of(path: str) -> None:
    os.makedirs(os.path.dirname(path) or os.curdir, exist_ok=True)


def _check_parameters(value: Any, name: str) -> Array:
    """Return a copy of a saved parameter vector."""
    if not isinstance(value, np.ndarray) or value.dtype != np.float64:
        raise DataTypeError(f"{name} must be a float64 array, got {value!r}")
    if value.ndim != 1 or not np.isfinite(value).all():
        raise DataError(f"{name} must be a vector of finite numbers, got shape {value.shape}")
    return value.copy()


def _wants_small(monitor: str, mode: str) -> bool:
    """Tell whether a small value of `monitor` is better than a large one."""
    if check_choice(mode, MODES, "mode") != "auto":
        return mode == "min"
    words = set(re.findall(r"[a-z]+[0-9]*", monitor.lower()))
    if words & _SMALL_IS_GOOD:
        return True
    if words & _LARGE_IS_GOOD:
        return False
    raise DataError(
        f"mode='auto' cannot tell whether a small or a large {monitor!r} is better; "
        "give mode='min' or mode='max'"
    )


def _look_up(logs: Mapping[str, float], name: str, what: str) -> float:
    """Return ``logs[name]``, or raise `UnknownNameError` that lists what there is."""
    if name in logs:
        return float(logs[name])
    if name.startswith("val_") and not any(key.startswith("val_") for key in logs):
        hint = "; give fit validation_data or validation_split"
    else:
        from pycnn import _scoring  # imported when used

        hint = suggest(name, logs)
        if name.startswith("val_") and name[4:] in _scoring.NAMES:
            hint = f"; fit(metrics=[{name[4:]!r}]) measures it"
    raise UnknownNameError(f"{what} must be one of {', '.join(logs)}; got {name!r}{hint}")


def _is_left_out(network: Any, epoch: int, name: str, value: float) -> bool:
    """Tell whether `fit` has not measured a value of the validation data in this epoch."""
    if not (name.startswith("val_") and math.isnan(value)):
        return False
    fit = network.training_record.running
    return fit is not None and not fit.measures(epoch)


# ------------------------------------------------------------------ what the ready-made ones share


class _Ready(Callback):
    """Base of the ready-made callbacks: `repr` rebuilds the object, leaving defaults out."""

    def __repr__(self) -> str:
        from inspect import signature

        parameters = signature(type(self)).parameters.values()
        settings = [(p.name, self._setting(p.name), p.default) for p in parameters]
        given = (f"{name}={value!r}" for name, value, default in settings if value != default)
        return f"{type(self).__name__}({', '.join(given)})"

    def _setting(self, name: str) -> Any:
        return getattr(self, name)


class _Stateful(_Ready):
    """Base of callbacks that remember something from epoch to epoch.

    `_memory` has each remembered attribute, with where it starts and how a saved value is checked.
    `set_state` fills them for the one training that begins next; any other starts afresh.
    """

    _memory: ClassVar[Mapping[str, tuple[Any, Check]]] = {}
    _decides = True  # False: the training is the same without it
    _restored = False  # by set_state, for the next training
    _resumed = False  # the present training goes on from a saved state

    def __init__(self) -> None:
        self._remember({})

    def _remember(self, values: Mapping[str, Any]) -> None:
        for name, (start, _) in self._memory.items():
            setattr(self, name, values.get(name, start))

    def on_train_begin(self, network: Network) -> None:
        """Start afresh, or from what `set_state` has set."""
        self._resumed, self._restored = self._restored, False
        if not self._resumed:
            self._remember({})

    def get_state(self) -> dict[str, Any]:
        """Return what is remembered: numbers, strings and arrays; what is None is left out."""
        return {
            name: value.copy() if isinstance(value, np.ndarray) else value
            for name in self._memory
            if (value := getattr(self, name)) is not None
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take up what `get_state` returned: the next training goes on from it.

        Parameters
        ----------
        state : dict

        Raises
        ------
        DataError, DataTypeError
            If it is not a state of such a callback; nothing has changed then.
        """
        what = f"the state of {type(self).__name__}"
        if not isinstance(state, Mapping):
            raise DataTypeError(f"{what} must be a dict, got {state!r}")
        unknown = [name for name in state if name not in self._memory]
        if unknown:
            raise DataError(f"{what} must hold {', '.join(self._memory)}; got {unknown[0]!r}")
        values = {
            name: self._memory[name][1](value, f"{name} in {what}") for name, value in state.items()
        }
        self._remember(values)
        self._restored = True


class _Monitor(_Stateful):
    """Base of callbacks that ask whether a value is the best so far."""

    monitor: str
    mode: str
    min_delta: float = 0.0
    best: float | None
    _small: bool

    def _watch(self, monitor: str, mode: str) -> None:
        self.monitor = _check_text(monitor, "monitor")
        self.mode, self._small = mode, _wants_small(monitor, mode)

    def _measure(self, logs: Mapping[str, float]) -> float:
        return _look_up(logs, self.monitor, f"monitor of {type(self).__name__}")

    def _is_better(self, value: float) -> bool:
        """Tell whether `value` is better than the best by more than `min_delta`."""
        if not math.isfinite(value):
            return False
        if self.best is None:
            return True
        gain = self.best - value if self._small else value - self.best
        return gain > self.min_delta


# ------------------------------------------------------------------ stopping


class EarlyStopping(_Monitor):
    """End the training when a value no longer improves, and go back to the best parameters.

    Parameters
    ----------
    monitor : str, default "val_loss"
        Which value of the logs to watch, such as ``"val_loss"`` or ``"accuracy"``.
    patience : int, optional
        After so many epochs in a row without improvement the training ends; at least 1. By default
        5, and with `relative` as many as there are.
    min_delta : float, default 0
        An improvement is by more than this. NaN and infinity never are one.
    restore_best_weights : bool, default True
        Whether the network gets back, at the end of the training, the parameters of the epoch with
        the best value: also where all epochs have been trained and nothing was stopped. After an
        exception (a divergence, Ctrl-C) it keeps its last ones; `best_parameters` has the others.
    mode : {"auto", "min", "max"}, default "auto"
        Whether small or large is better. ``"auto"``: small for what is named a loss or an error,
        large for accuracy, r2, f1, auc, precision, recall and scores.
    start_from_epoch : int, default 0
        The first so many epochs are not looked at: they are neither the best nor too many.
    relative : float, optional
        The training ends as soon as the value is worse than the best by more than this fraction of
        it, or NaN: the generalization loss ``value / best - 1`` of Prechelt, "Early stopping - but
        when?" (1998), whose GL_5 is 0.05. At least 0; of a negative best it counts the size.

    Epochs in which `Network.fit` does not measure the validation data, for its `validation_every`,
    are not looked at.

    Attributes
    ----------
    best : float or None
        The best value; None before there is one.
    best_epoch : int or None
        Its epoch, counted from 1.
    best_parameters : ndarray or None
        The parameters after that epoch, if `restore_best_weights`, and behind them whatever else
        the network learns (running statistics).
    stopped_epoch : int or None
        The epoch after which this callback ended the training.
    wait : int
        Epochs, of those that are looked at, since the last improvement.

    Raises
    ------
    DataError, DataTypeError, UnknownNameError
        If an argument is not valid; after the first epoch, if `monitor` is not in the logs.

    Examples
    --------
    >>> EarlyStopping(relative=0.05)
    EarlyStopping(relative=0.05)
    >>> import numpy as np
    >>> from pycnn import Dense, Network
    >>> X = np.linspace(-1, 1, 20)[:, None]
    >>> stopping = EarlyStopping("loss", patience=3, min_delta=0.01)
    >>> net = Network(1, [Dense(1)], seed=0)
    >>> history = net.fit(X, 2 * X, epochs=1000, callbacks=[stopping])
    >>> stopping.stopped_epoch == history.epochs == stopping.best_epoch + 3
    True
    """

    best_epoch: int | None
    best_parameters: Array | None
    stopped_epoch: int | None
    wait: int

    _memory: ClassVar = {
        "best": (None, check_real),
        "best_epoch": (None, _check_count),
        "best_parameters": (None, _check_parameters),
        "stopped_epoch": (None, _check_count),
        "wait": (0, _check_count),
    }

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int | None = None,
        min_delta: float = 0.0,
        restore_best_weights: bool = True,
        mode: str = "auto",
        start_from_epoch: int = 0,
        relative: float | None = None,
    ) -> None:
        super().__init__()
        self._watch(monitor, mode)
        self._given_patience = None if patience is None else check_size(patience, "patience")
        self.patience = self._given_patience
        self.relative: float | None = None
        if relative is not None:
            self.relative = check_real(relative, "relative", at_least=0)
        elif patience is None:
            self.patience = 5
        self.min_delta = check_real(min_delta, "min_delta", at_least=0)
        self.restore_best_weights = check_bool(restore_best_weights, "restore_best_weights")
        self.start_from_epoch = _check_count(start_from_epoch, "start_from_epoch")

    def on_train_begin(self, network: Network) -> None:
        """Start afresh, or from what `set_state` has set."""
        super().on_train_begin(network)
        by_margin = self.relative is not None and self.stopped_epoch is not None
        if by_margin or self._has_waited():  # interrupted between the decision and the end
            network.stop_training = True
        best = self.best_parameters
        if best is not None and best.shape != network.theta.shape:
            raise ShapeError(
                f"best_parameters in the state of EarlyStopping must have shape "
                f"{network.theta.shape}, got {best.shape}"
            )

    def on_epoch_end(self, network: Network, epoch: int, logs: dict[str, float]) -> None:
        """Note an improvement, or end the training after too many epochs without one."""
        value = self._measure(logs)
        self.stopped_epoch = None
        if epoch <= self.start_from_epoch or _is_left_out(network, epoch, self.monitor, value):
            return
        if self._is_better(value):
            self.best, self.best_epoch, self.wait = value, epoch, 0
            if self.restore_best_weights:
                self.best_parameters = network.theta.copy()
            return
        self.wait += 1
        if self._has_waited() or self._is_far_from_best(value):
            self.stopped_epoch = epoch
            network.stop_training = True

    def _has_waited(self) -> bool:
        return self.patience is not None and self.wait >= self.patience

    def _is_far_from_best(self, value: float) -> bool:
        if self.relative is None or self.best is None:
            return False
        margin = self.relative * abs(self.best)
        near = value <= self.best + margin if self._small else value >= self.best - margin
        return not near  # as NaN is

    def _setting(self, name: str) -> Any:
        return self._given_patience if name == "patience" else super()._setting(name)

    def on_train_end(self, network: Network) -> None:
        """Give the network its best parameters back."""
        if self.restore_best_weights and self.best_parameters is not None:
            network.theta[:] = self.best_parameters


class TerminateOnNaN(_Stateful):
    """End the training quietly when a value in the logs is NaN or infinite.

    `Network.fit` needs no callback to notice a *training* loss that is not finite: it raises
    `DivergedError` and goes back to the last finite step. This callback looks at what else is
    measured, such as ``val_loss``, and raises nothing: training ends after the epoch, with the
    parameters that it has led to.

    Parameters
    ----------
    monitor : str, optional
        Which value of the logs to watch; by default all of them.

    Attributes
    ----------
    stopped_epoch : int or None
        The epoch after which this callback ended the training.

    Raises
    ------
    DataTypeError, UnknownNameError
        If `monitor` is not a string; after the first epoch, if it is not in the logs.

    Examples
    --------
    >>> from pycnn import Dense, Network
    >>> net = Network(1, [Dense(1)], seed=0)
    >>> history = net.fit([[0], [1]], [0, 1], epochs=3, callbacks=[TerminateOnNaN()])
    >>> history.epochs
    3
    """

    stopped_epoch: int | None

    _memory: ClassVar = {"stopped_epoch": (None, _check_count)}

    def __init__(self, monitor: str | None = None) -> None:
        super().__init__()
        self.monitor = None if monitor is None else _check_text(monitor, "monitor")

    def on_train_begin(self, network: Network) -> None:
        """Start afresh, or from what `set_state` has set."""
        super().on_train_begin(network)
        if self.stopped_epoch is not None:  # interrupted between the decision and the end
            network.stop_training = True

    def on_epoch_end(self, network: Network, epoch: int, logs: dict[str, float]) -> None:
        """End the training if a value is not finite."""
        watched = logs
        if self.monitor is not None:
            value = _look_up(logs, self.monitor, "monitor of TerminateOnNaN")
            watched = {self.monitor: value}
        if not all(
            math.isfinite(value) or _is_left_out(network, epoch, name, value)
            for name, value in watched.items()
        ):
            self.stopped_epoch = epoch
            network.stop_training = True


# ------------------------------------------------------------------ learning rate


class ReduceLROnPlateau(_Monitor):
    """Multiply all learning rates by `factor` when a value no longer improves.

    It works on ``network.learning_rate_factor``, by which every learning rate is multiplied, the
    rates of a schedule too; each training starts from 1.

    Parameters
    ----------
    monitor : str, default "val_loss"
        Which value of the logs to watch.
    factor : float, default 0.1
        What to multiply by, in (0, 1).
    patience : int, default 10
        After so many epochs in a row without improvement the rates are lowered; at least 1.
    min_delta : float, default 1e-4
        An improvement is by more than this. NaN and infinity never are one.
    cooldown : int, default 0
        So many epochs after each reduction do not count as epochs without improvement.
    min_factor : float, default 0
        Below this ``network.learning_rate_factor`` is not lowered; in [0, 1].
    mode : {"auto", "min", "max"}, default "auto"
        Whether small or large is better; see `EarlyStopping`.

    Attributes
    ----------
    best : float or None
        The best value; None before there is one.
    wait : int
        Epochs since the last improvement or reduction, less those of the cooldown.
    cooldown_left : int
        How many of the next epochs do not count.

    Raises
    ------
    DataError, DataTypeError, UnknownNameError
        If an argument is not valid; after the first epoch, if `monitor` is not in the logs.

    Examples
    --------
    >>> plateau = ReduceLROnPlateau("val_accuracy", factor=0.5, patience=3, min_factor=0.01)
    >>> plateau
    ReduceLROnPlateau(monitor='val_accuracy', factor=0.5, patience=3, min_factor=0.01)
    >>> net.fit(X, y, validation_split=0.2, callbacks=[plateau])  # doctest: +SKIP
    """

    wait: int
    cooldown_left: int

    _memory: ClassVar = {
        "best": (None, check_real),
        "wait": (0, _check_count),
        "cooldown_left": (0, _check_count),
    }

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_factor: float = 0.0,
        mode: str = "auto",
    ) -> None:
        super().__init__()
        self._watch(monitor, mode)
        self.factor = check_real(factor, "factor", above=0)
        if self.factor >= 1:
            raise DataError(f"factor must be below 1, got {factor!r}")
        self.patience = check_size(patience, "patience")
        self.min_delta = check_real(min_delta, "min_delta", at_least=0)
        self.cooldown = _check_count(cooldown, "cooldown")
        self.min_factor = check_real(min_factor, "min_factor", at_least=0, at_most=1)

    def on_epoch_end(self, network: Any, epoch: int, logs: dict[str, float]) -> None:
        """Note an improvement, or lower the rates after too many epochs without one."""
        value = self._measure(logs)
        if _is_left_out(network, epoch, self.monitor, value):
            return
        cooling = self.cooldown_left > 0
        self.cooldown_left -= cooling
        if self._is_better(value):
            self.best, self.wait = value, 0
            return
        self.wait += not cooling
        if self.wait >= self.patience:
            self.wait, self.cooldown_left = 0, self.cooldown
            present = network.learning_rate_factor
            if present > self.min_factor:
                network.learning_rate_factor = max(present * self.factor, self.min_factor)


# ------------------------------------------------------------------ keeping


def _check_template(path: Any) -> tuple[str, list[str]]:
    """Return a template of a path, and the names of its fields."""
    from string import Formatter

    template = _check_path(path, "path")
    try:
        parts = Formatter().parse(template)
        names = [name for _, name, _, _ in parts if name is not None]
        for name in names:
            if not name or name.isdigit() or set(name) & set(".["):
                raise ValueError(f"{{{name}}} is not the name of a value")
        template.format_map({name: 1 if name == "epoch" else 1.0 for name in names})
    except (ValueError, LookupError) as error:
        raise DataError(
            "path may have fields such as {epoch:03d} and {val_loss:.3f}, "
            f"got {template!r}: {error}"
        ) from None
    return template, names


class ModelCheckpoint(_Monitor):
    """Save the model every few epochs, or when it is the best so far.

    With a training state, ``pycnn.load(path).fit(..., resume=True)`` goes on to the same end, bit
    by bit; callbacks behind this one in the list are told of the saved epoch's end then. Each
    file is written as a whole or not at all, so a crash leaves the one before intact.

    Parameters
    ----------
    path : path-like
        Where to save; fields such as ``{epoch:03d}`` and ``{val_loss:.3f}`` are filled in, from the
        epoch's number and its logs. Without fields each file replaces the one before. Folders that
        are missing are made.
    every : int, default 1
        Only each so-many-th epoch is saved, or considered.
    training_state : bool, default True
        Whether to save what it takes to go on with the training as if it had not been interrupted.
    best_only : bool, default False
        Whether to save only a model whose `monitor` is better than that of any saved before in this
        training. NaN and infinity never are better.
    monitor : str, default "val_loss"
        Which value of the logs tells the best.
    mode : {"auto", "min", "max"}, default "auto"
        Whether small or large is better; see `EarlyStopping`.

    Attributes
    ----------
    last_path : str or None
        The file that was saved last.
    best : float or None
        Its value, if `best_only`.
    best_epoch : int or None
        Its epoch, if `best_only`.

    Raises
    ------
    DataError, DataTypeError, UnknownNameError
        If an argument is not valid; after the first epoch, if `monitor` or a field of `path` is not
        in the logs.
    OSError
        While training, if a file cannot be written.

    Examples
    --------
    >>> ModelCheckpoint("epoch-{epoch:03d}.safetensors", every=10)
    ModelCheckpoint(path='epoch-{epoch:03d}.safetensors', every=10)
    >>> best = ModelCheckpoint("best.safetensors", best_only=True, training_state=False)
    >>> net.fit(X, y, validation_split=0.2, callbacks=[best])  # doctest: +SKIP
    """

    best_epoch: int | None
    last_path: str | None

    _decides = False
    _memory: ClassVar = {
        "best": (None, check_real),
        "best_epoch": (None, _check_count),
        "last_path": (None, _check_text),
    }

    def __init__(
        self,
        path: str | os.PathLike[str],
        every: int = 1,
        training_state: bool = True,
        best_only: bool = False,
        monitor: str = "val_loss",
        mode: str = "auto",
    ) -> None:
        super().__init__()
        self.path, self._fields = _check_template(path)
        self.every = check_size(every, "every")
        self.training_state = check_bool(training_state, "training_state")
        self.best_only = check_bool(best_only, "best_only")
        self.monitor = _check_text(monitor, "monitor")
        self.mode = check_choice(mode, MODES, "mode")
        if self.best_only:
            self._watch(monitor, mode)

    def on_epoch_end(self, network: Any, epoch: int, logs: dict[str, float]) -> None:
        """Save the model, if it is its turn."""
        values = {**logs, "epoch": epoch}
        for name in self._fields:
            _look_up(values, name, "a field in the path of ModelCheckpoint")
        value = self._measure(logs) if self.best_only else None
        if epoch % self.every:
            return
        if value is not None:
            if not self._is_better(value):
                return
            self.best, self.best_epoch = value, epoch
        self.last_path = self.path.format_map(values)
        _make_folder_of(self.last_path)
        network.save(self.last_path, training_state=self.training_state)


class CSVLogger(_Stateful):
    r"""Write the logs to a CSV file, a row an epoch: what crashes later leaves all rows before.

    The columns are ``epoch`` and what the first epoch's logs have; values that turn up later are
    left out, and those that are missing leave their cell empty. Numbers keep all their digits.

    Parameters
    ----------
    path : path-like
        The file. Folders that are missing are made.
    append : bool, default False
        Whether each training adds to the file. By default each one replaces it, except for one
        that goes on from a saved training state: that drops the rows, if any, of the epochs that
        it trains again, and adds to the others.
    separator : str, default ","
        The character between cells.

    Attributes
    ----------
    last_epoch : int or None
        The epoch that was written last.

    Raises
    ------
    DataError, DataTypeError
        If an argument is not valid; after the first epoch, if the file that is to be continued has
        other columns.
    OSError
        While training, if the file cannot be written.

    Examples
    --------
    >>> CSVLogger("training.tsv", separator="\t")
    CSVLogger(path='training.tsv', separator='\t')
    >>> net.fit(X, y, callbacks=[CSVLogger("training.csv")])  # doctest: +SKIP
    """

    last_epoch: int | None

    _decides = False
    _memory: ClassVar = {"last_epoch": (None, _check_count)}

    def __init__(
        self, path: str | os.PathLike[str], append: bool = False, separator: str = ","
    ) -> None:
        super().__init__()
        self.path = _check_path(path, "path")
        self.append = check_bool(append, "append")
        self.separator = _check_text(separator, "separator")
        printable = separator == "\t" or separator.isprintable()
        if len(separator) != 1 or not printable or separator.isalnum() or separator in "\"'+-._":
            raise DataError(
                f"separator must be one character such as ',' or ';', got {separator!r}"
            )
        self._columns: list[str] | None = None

    def on_train_begin(self, network: Network) -> None:
        """Make the file, or make sure that it can be written."""
        super().on_train_begin(network)
        self._columns = None
        _make_folder_of(self.path)
        with open(self.path, "a" if self.append or self._resumed else "w", encoding="utf-8"):
            pass

    def on_epoch_end(self, network: Network, epoch: int, logs: dict[str, float]) -> None:
        """Write the epoch's row."""
        row = {"epoch": epoch} | logs | {"epoch": epoch}
        rows = []
        if self._columns is None and (self.append or self._resumed):
            self._columns = self._columns_there(row, epoch)
        if self._columns is None:
            self._columns = list(row)
            rows.append(self._columns)
        rows.append([str(row.get(name, "")) for name in self._columns])
        import csv

        # Opened anew for each row: nothing waits in a buffer, and no exception leaves it open.
        with open(self.path, "a", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter=self.separator, lineterminator="\n").writerows(rows)
        self.last_epoch = epoch

    def _columns_there(self, row: Mapping[str, float], epoch: int) -> list[str] | None:
        """Return the columns of the file that is to be continued, made ready; None: it is empty."""
        import csv

        with open(self.path, encoding="utf-8", newline="") as file:
            lines = list(file)
        if not lines:
            return None
        table = list(csv.reader(lines, delimiter=self.separator))
        columns = table[0]
        if sorted(columns) != sorted(row):
            raise DataError(
                f"{self.path} has the columns {', '.join(columns)}; a training with "
                f"{', '.join(row)} cannot be appended"
            )
        kept = len(lines)
        if self._resumed and len(table) == len(lines):
            at = columns.index("epoch")
            while kept > 1 and _is_from(table[kept - 1], at, epoch):
                kept -= 1
        if kept < len(lines) or not lines[-1].endswith("\n"):
            from pathlib import Path

            from pycnn._files import write_whole

            text = "".join(lines[:kept])
            write_whole(Path(self.path), [(text if text.endswith("\n") else text + "\n").encode()])
        return columns


def _is_from(cells: list[str], at: int, epoch: int) -> bool:
    """Tell whether a row is of this epoch or a later one."""
    return len(cells) > at and cells[at].isdecimal() and int(cells[at]) >= epoch


class TensorBoard(_Stateful):
    """Write the learning curves for TensorBoard, a point an epoch for each value of the logs.

    Needs the extra ``tensorboard`` (tensorboardX). A training that goes on from a saved training
    state takes the place of the points, if any, of the epochs that it trains again; another one
    wants a folder of its own, or the curves of both lie over each other.

    Parameters
    ----------
    log_dir : path-like
        The folder of this training's curves.

    Attributes
    ----------
    last_epoch : int or None
        The epoch that was written last.

    Raises
    ------
    DataError, DataTypeError
        If `log_dir` is not a path.
    ImportError
        When training begins, if tensorboardX is not there.

    Examples
    --------
    >>> TensorBoard("runs/first")
    TensorBoard(log_dir='runs/first')
    >>> net.fit(X, y, callbacks=[TensorBoard("runs/first")])  # doctest: +SKIP
    """

    last_epoch: int | None

    _decides = False
    _memory: ClassVar = {"last_epoch": (None, _check_count)}

    def __init__(self, log_dir: str | os.PathLike[str]) -> None:
        super().__init__()
        self.log_dir = _check_path(log_dir, "log_dir")
        self._writer: Any = None

    def on_train_begin(self, network: Network) -> None:
        """Make sure that tensorboardX is there."""
        super().on_train_begin(network)
        self._close()  # what an exception has left
        _tensorboardx()

    def on_epoch_begin(self, network: Network, epoch: int) -> None:
        """Open the file, before the first epoch."""
        self._open(epoch)

    def _open(self, epoch: int) -> None:
        if self._writer is None:
            purge = self._resumed and os.path.isdir(self.log_dir)
            options = {"purge_step": epoch} if purge else {}
            self._writer = _tensorboardx().SummaryWriter(self.log_dir, **options)

    def on_epoch_end(self, network: Network, epoch: int, logs: dict[str, float]) -> None:
        """Write the epoch's points."""
        self._open(epoch)  # a training may go on with the end of an epoch
        for name, value in logs.items():
            if not _is_left_out(network, epoch, name, value):
                self._writer.add_scalar(name, float(value), epoch)
        self._writer.flush()
        self.last_epoch = epoch

    def on_train_end(self, network: Network) -> None:
        """Close the file."""
        self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _tensorboardx() -> Any:
    try:
        import tensorboardX
    except ImportError as error:
        raise ImportError(
            "TensorBoard needs tensorboardX: pip install 'pycnn[tensorboard]'"
        ) from error
    return tensorboardX


# ------------------------------------------------------------------ functions of one's own


class LambdaCallback(_Ready):
    """Functions of your own as hooks, without a class.

    Parameters
    ----------
    on_train_begin : callable, optional
        ``f(network)``, before the first epoch.
    on_epoch_begin : callable, optional
        ``f(network, epoch)``, before each epoch; epochs count from 1.
    on_batch_group_end : callable, optional
        ``f(network, epoch, logs)``, about every 50 ms; see `Callback.on_batch_group_end`.
    on_epoch_end : callable, optional
        ``f(network, epoch, logs)``, after each epoch.
    on_train_end : callable, optional
        ``f(network)``, after the last epoch; not after an exception.

    Raises
    ------
    DataTypeError
        If an argument cannot be called.

    Examples
    --------
    >>> from pycnn import Dense, Network
    >>> done = LambdaCallback(on_train_end=lambda network: print(network.history.epochs, "epochs"))
    >>> history = Network(1, [Dense(1)]).fit([[0], [1]], [0, 1], epochs=3, callbacks=[done])
    3 epochs
    """

    def __init__(
        self,
        on_train_begin: Callable[[Network], Any] | None = None,
        on_epoch_begin: Callable[[Network, int], Any] | None = None,
        on_epoch_end: Callable[[Network, int, dict[str, float]], Any] | None = None,
        on_train_end: Callable[[Network], Any] | None = None,
        on_batch_group_end: Callable[[Network, int, dict[str, float]], Any] | None = None,
    ) -> None:
        self._functions: dict[str, Callable[..., Any] | None] = {
            "on_train_begin": on_train_begin,
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_end": on_train_end,
            "on_batch_group_end": on_batch_group_end,
        }
        for name, function in self._functions.items():
            if function is not None and not callable(function):
                raise DataTypeError(f"{name} must be a function, got {function!r}")

    def _setting(self, name: str) -> Any:
        return self._functions[name]

    def _call(self, name: str, *arguments: Any) -> None:
        function = self._functions[name]
        if function is not None:
            function(*arguments)

    def on_train_begin(self, network: Network) -> None:
        """Call the function of this name."""
        self._call("on_train_begin", network)

    def on_epoch_begin(self, network: Network, epoch: int) -> None:
        """Call the function of this name."""
        self._call("on_epoch_begin", network, epoch)

    def on_batch_group_end(self, network: Network, epoch: int, logs: dict[str, float]) -> None:
        """Call the function of this name."""
        self._call("on_batch_group_end", network, epoch, logs)

    def on_epoch_end(self, network: Network, epoch: int, logs: dict[str, float]) -> None:
        """Call the function of this name."""
        self._call("on_epoch_end", network, epoch, logs)

    def on_train_end(self, network: Network) -> None:
        """Call the function of this name."""
        self._call("on_train_end", network)
