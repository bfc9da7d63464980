"""What it takes to go on with a training: kept in memory, saved with the model, taken up again."""

from __future__ import annotations

import math
import os
from _thread import get_ident  # threading takes longer to import
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pycnn._random import Permutations
from pycnn._record import Record
from pycnn.backend.interface import Totals
from pycnn.exceptions import BusyError, DataError
from pycnn.history import History

if TYPE_CHECKING:
    from pycnn._typing import Array
    from pycnn.backend.protocol import Backend

# The sums over an unfinished epoch: `Totals`, and that of the gradients' norms.
RUNNING = len(Totals._fields) + 1
NOT_BEGUN = np.zeros(RUNNING)  # nobody changes it
# Counts in a file: more than anybody reaches, and few enough to be multiplied.
LARGEST_COUNT = 1 << 40


class Process:
    """The process that runs; to ask the system takes a fifth of a microsecond."""

    id = os.getpid()


def _renew() -> None:
    Process.id = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


class Checkpoint(Record):
    """A training between two steps. Nothing of it is changed in place, but for `partial_fit`.

    The order of an epoch's samples follows from the network's seed and `epochs_trained`, the
    schedule's position from `epoch` and `position`.
    """

    settings: dict[str, Any]  # what has to be the same to go on, as plain data
    history: History  # may have later epochs too
    slots: Array
    theta: Array | None = None  # None: wherever the network is, for `partial_fit`
    epoch: int = 0  # finished epochs of this training
    position: int = 0  # samples of the next epoch that are done
    running: Array = NOT_BEGUN  # the sums over these
    updates: int = 0
    epochs_trained: int = 0
    learning_rate_factor: float = 1.0
    callbacks: Sequence[dict[str, Any]] = ()  # as of `callbacks.states_of`
    start: int = 0  # of the next window, where sequences are trained on in such ...
    carried: Array | None = None  # ... and what layers remember there

    def plain(self, theta: Array) -> dict[str, Any]:
        """Return it as plain data, without what a network with parameters `theta` has itself."""
        values = self._asdict()
        values["history"] = dict(History.truncated(self.history, self.epoch))
        if self.theta is not None and _same_bits(self.theta, theta):
            values["theta"] = None
        return values

    @classmethod
    def from_plain(cls, values: Mapping[str, Any], theta: Array) -> Checkpoint:
        """Return what `plain` has described; it shares no memory that training changes."""
        changed: dict[str, Any] = {"slots": values["slots"].copy()}
        if values["settings"]["by"] == "fit" and values["theta"] is None:
            changed["theta"] = theta.copy()
        epochs = max(map(len, values["history"].values()), default=0)
        changed["history"] = History.truncated(values["history"], epochs)
        return cls(**{**values, **changed})


def _same_bits(a: Array, b: Array) -> bool:
    return np.array_equal(a.view(np.uint64), b.view(np.uint64))


_AS_THEY_ARE = frozenset({str, int, bool, type(None)})


def as_plain(value: Any) -> Any:
    """Return a setting as JSON would give it back; what is unknown to JSON as its repr."""
    if type(value) in _AS_THEY_ARE:  # most are, and each `fit` comes here
        return value
    if isinstance(value, np.generic):
        value = value.item()
    # In front of Mapping, which is slow to ask for.
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, (list, tuple)):
        return [as_plain(item) for item in value]
    if isinstance(value, (dict, Mapping)):
        return {str(key): as_plain(item) for key, item in value.items()}
    return repr(value)


# ------------------------------------------------------------------ what the network has of it


class Running(Protocol):
    """A fit that runs, in a thread."""

    thread: int

    def capture(self) -> Checkpoint:
        """Return the training as it stands."""
        ...


class TrainingRecord:
    """What a network has of its training: who may train it, and what it takes to go on.

    Attributes
    ----------
    line : dict
        Who wants to train it, each with its process: only the first one may.
    last : Checkpoint or None
        The one that was kept last.
    epochs : int
        Those of `last`, where `partial_fit` goes on and changes its slots in place.
    batches : BatchTraining or None
        What has done its last step of one mini-batch, and is ready for the next one.
    running : Running or None
        The fit that runs.
    in_step : bool
        Whether parameters, optimizer and history may not belong together: a step is being done, or
        written down.
    """

    def __init__(self, last: Checkpoint | None = None) -> None:
        self.line: dict[object, int] = {}
        self.last = last
        self._counting: Any = last  # has the updates
        self.epochs = 0 if last is None else last.epoch
        self.batches: Any = None
        self._orders: Permutations | None = None
        self.running: Running | None = None
        self.in_step = False

    def get_in_line(self, me: object) -> None:
        """Let the first in line train the network, and nobody else.

        Whoever calls this leaves the line at last, in a ``finally`` whose first and only call is
        ``line.pop(me, None)``: so no signal, wherever it comes, leaves the network busy.

        Raises
        ------
        BusyError
            If `me` is not the first.
        """
        self.line[me] = process = Process.id
        if len(self.line) == 1:
            return
        for who, where in list(self.line.items()):
            if where != process:  # a fork has left it behind
                self.line.pop(who, None)
        first, *_ = list(self.line)  # at once, without a GIL too: others may come at any time
        if first is not me:
            raise BusyError("this network is being trained already; train a copy instead")

    @property
    def updates(self) -> int:
        """Those of `last`, where `partial_fit` goes on."""
        return 0 if self.last is None else int(self._counting.updates)

    def go_on(self, last: Checkpoint, counting: Any) -> None:
        """Let a `partial_fit` begin behind this one, whose `updates` are then another object's."""
        self.last, self.epochs, self._counting = last, last.epoch, counting

    def orders(self, core: Backend, seed: int, rows: int) -> Permutations:
        """Return the orders of so many samples, from where they have been read to."""
        kept = self._orders
        if kept is None or (kept.seed, kept.size) != (seed, rows):
            self._orders = kept = Permutations(seed, rows, core.permutations(seed, rows))
        return kept

    def to_resume(self) -> Checkpoint:
        """Return where a training goes on that was interrupted.

        Raises
        ------
        DataError
            If there is nothing to go on with.
        """
        if self.last is None:
            raise DataError(
                "resume=True needs a training state: that of a fit that was interrupted, or of a "
                "file that was saved with training_state=True"
            )
        return self.last

    def present(self, learning_rate_factor: float) -> Checkpoint | None:
        """Return what it takes to go on: with the training of this thread, or with the last one.

        Amid a step, where a signal's handler may ask, it is the last that was kept. `partial_fit`
        goes on with the network's `learning_rate_factor`, which may have been set since.
        """
        running, last = self.running, self.last
        if running is not None and running.thread == get_ident() and not self.in_step:
            return running.capture()
        if last is not None and last.settings["by"] == "partial_fit":
            return last._replace(
                updates=self.updates,
                epoch=self.epochs,
                learning_rate_factor=learning_rate_factor,
            )
        return last
