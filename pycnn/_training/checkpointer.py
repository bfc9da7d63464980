"""A training while it goes on: what moves it, what keeps it, and whom it tells of its epochs."""

from __future__ import annotations

import math
import os
import time
from _thread import get_ident  # threading takes longer to import
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pycnn import callbacks as _callbacks
from pycnn._model import Loan
from pycnn._record import Record
from pycnn._training.checkpoint import LARGEST_COUNT, Checkpoint, as_plain
from pycnn.exceptions import DataError
from pycnn.history import History

if TYPE_CHECKING:
    from pycnn._model import Model
    from pycnn._scoring import Validation
    from pycnn._training.checkpoint import TrainingRecord
    from pycnn._training.progress import Bar
    from pycnn._typing import Array
    from pycnn.callbacks import Callback
    from pycnn.schedules import Schedule

# Seconds between two checkpoints that are copied in the midst of something.
CHECKPOINT_PERIOD = 1.0


class Place(Record):
    """Where a driver is between two steps: as `Checkpoint` has it."""

    position: int
    running: Array
    updates: int
    start: int = 0
    carried: Array | None = None


class Driver(Protocol):
    """What moves the parameters: mini-batch steps by an optimizer, or iterations of L-BFGS."""

    schedule: Schedule
    keeps_cheaply: bool  # a checkpoint takes less than an epoch

    @property
    def slots(self) -> Array:
        """What it remembers from step to step."""
        ...

    def take_up(self, checkpoint: Checkpoint) -> None:
        """Go on from where another one has been, in the checkpoint's slots."""

    def fits(self, checkpoint: Checkpoint) -> bool:
        """Tell whether the checkpoint's state is one that it could have been in."""
        ...

    def place(self) -> Place:
        """Return where it is."""
        ...

    def train(self, epochs: int, reporter: Reporter) -> bool:
        """Train for up to so many epochs and report them; tell whether the last one is whole."""
        ...


def _differences(before: Any, now: Any, name: str = "") -> list[str]:
    """Return what differs between two settings, in words."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        found = []
        for key in [*now, *(key for key in before if key not in now)]:
            path = f"{name}.{key}" if name else key
            found += _differences(before.get(key), now.get(key), path)
        return found
    return [] if before == now else [f"{name} was {before!r} and is now {now!r}"]


class Checkpointer:
    """Knows, between any two steps of a `Network.fit`, what it takes to go on with it."""

    def __init__(
        self,
        network: Model,
        record: TrainingRecord,
        driver: Driver,
        callbacks: list[Callback],
        settings: dict[str, Any],
    ) -> None:
        self.network, self.record = network, record
        self.driver, self.callbacks = driver, callbacks
        names = [_callbacks.name_of(c) for c in callbacks if _callbacks.decides(c)]
        self.settings = as_plain({"by": "fit", **settings, "callbacks": sorted(names)})
        self.pending: list[Callback] = []  # they do not know yet that an epoch has ended
        self.thread = get_ident()
        self.kept_at = -math.inf  # seconds

    def capture(self) -> Checkpoint:
        """Return the training as it stands."""
        network, driver = self.network, self.driver
        history, place = network.history, driver.place()
        assert history is not None
        return Checkpoint(
            self.settings,
            history,
            driver.slots.copy(),
            network.theta.copy(),
            history.epochs,
            place.position,
            place.running,
            place.updates,
            network.epochs_trained,
            network.learning_rate_factor,
            _callbacks.states_of(self.callbacks, self.pending),
            place.start,
            place.carried,
        )

    def keep(self) -> None:
        """Let the network have the training as it stands, to be resumed after an interruption.

        Other threads compute with its parameters, until there is a later one.
        """
        self.record.last = kept = self.capture()
        self._lend(kept)
        self.kept_at = time.perf_counter()

    def _lend(self, kept: Checkpoint) -> None:
        assert kept.theta is not None
        self.network.loan = Loan(kept.theta, kept, self.thread, os.getpid())

    def keep_between_epochs(self) -> None:
        """Keep the training as it stands, unless that takes long and was done a moment ago."""
        if self.driver.keeps_cheaply or time.perf_counter() - self.kept_at > CHECKPOINT_PERIOD:
            self.keep()

    def measures(self, epoch: int) -> bool:
        """Tell whether the validation data are measured after this epoch."""
        due: bool = epoch % self.settings["validation_every"] == 0
        return due or epoch == self.settings["epochs"]

    def begin(self, checkpoint: Checkpoint | None) -> History:
        """Put the network where a training starts or goes on, and tell the callbacks."""
        network = self.network
        network.stop_training = False
        if checkpoint is None:
            network.learning_rate_factor = 1.0
            network.history = history = History()
        else:
            network.history = history = History.truncated(checkpoint.history, checkpoint.epoch)
            self._lend(checkpoint)
            self.driver.take_up(checkpoint._replace(slots=checkpoint.slots.copy()))
            self._put_back(checkpoint)
        # Until all is put back, the training would go on from the same checkpoint.
        self.record.in_step = checkpoint is not None
        for callback in self.callbacks:
            callback.on_train_begin(network)
        if checkpoint is not None:  # what they change at the beginning, they have changed before
            self._put_back(checkpoint)
        self.record.in_step = False
        return history

    def _put_back(self, checkpoint: Checkpoint) -> None:
        network = self.network
        network.theta[:] = checkpoint.theta
        network.epochs_trained = checkpoint.epochs_trained
        network.learning_rate_factor = checkpoint.learning_rate_factor

    def check(self, checkpoint: Checkpoint, is_stream: bool) -> None:
        """Give the callbacks their states back, for a training that can go on from this one.

        Raises
        ------
        DataError, DataTypeError
            If it cannot; nothing has changed then.
        """
        if checkpoint.settings.get("by") != "fit":
            raise DataError(
                "resume=True needs the state of a fit, but the network was trained by "
                "partial_fit or train_on_batch last"
            )
        before, now = {"validation_every": 1, **checkpoint.settings}, dict(self.settings)
        batches = before.pop("batches", None)  # of an iterable whose length says another number
        self._check_settings(before, now)
        least = checkpoint.epoch + (checkpoint.position + checkpoint.start > 0)
        if self.settings["epochs"] < least:
            raise DataError(
                f"epochs must be at least the {least} of the state, got {self.settings['epochs']}"
            )
        batch_size, rows = now["batch_size"], now["rows"]
        if (
            not self.driver.fits(checkpoint)
            or checkpoint.position % batch_size
            or (checkpoint.position >= rows and not is_stream)
            or not (batches is None or (type(batches) is int and 0 < batches <= LARGEST_COUNT))
        ):
            raise DataError("resume=True: the training state does not fit its own settings")
        if checkpoint.theta is None or not np.isfinite(checkpoint.theta).all():
            raise DataError("the training state's parameters are not finite")
        self.pending = _callbacks.restore_states(self.callbacks, checkpoint.callbacks)
        if batches is not None:
            self.settings = self.settings | {"batches": batches}

    def _check_settings(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        """Raise `DataError` where settings differ on which the training depends."""
        schedule = self.driver.schedule
        epochs_before, epochs = before.pop("epochs", None), now.pop("epochs")
        different = _differences(before, now)
        if epochs != epochs_before and schedule.needs_total:
            different.append(
                f"epochs was {epochs_before!r} and is now {epochs!r}, on which the learning "
                f"rates of {schedule!r} depend"
            )
        if different:
            raise DataError(
                f"resume=True needs the arguments of the training's start: {'; '.join(different)}"
            )

    def end_epoch(self) -> None:
        """Tell the callbacks that do not know it yet that an epoch has ended."""
        history = self.network.history
        assert history is not None
        logs = history.last() if self.pending else {}
        while self.pending:
            callback = self.pending.pop(0)  # one that saves the network has been told itself
            callback.on_epoch_end(self.network, history.epochs, logs)


class Reporter:
    """Reports what a driver has done: to the history, the progress bar and the callbacks.

    Parameters
    ----------
    network : Model
    record : TrainingRecord
    history : History
        Where finished epochs are written down.
    bar : Bar
    checkpointer : Checkpointer, optional
        That of the fit, whose callbacks are told. `partial_fit` has none.
    validation : Validation, optional
        What a fit measures after an epoch.
    after : Checkpoint, optional
        What the network has of a `partial_fit` when its epoch is done.
    """

    def __init__(
        self,
        network: Model,
        record: TrainingRecord,
        history: History,
        bar: Bar,
        checkpointer: Checkpointer | None = None,
        validation: Validation | None = None,
        after: Checkpoint | None = None,
    ) -> None:
        self.network, self.record = network, record
        self.history, self.bar = history, bar
        self.checkpointer, self.validation, self.after = checkpointer, validation, after
        self.callbacks = [] if checkpointer is None else checkpointer.callbacks
        self.hears_groups = any(map(_callbacks.hears_groups, self.callbacks))
        self.varied: float | None = None  # what the validation data's targets do
        self.measured: dict[str, float] = {}  # of the validation data, by name, the last time

    @property
    def next_epoch(self) -> int:
        """Number of the epoch that comes next, of the whole training, from 1."""
        return self.history.epochs + 1 if self.after is None else self.after.epoch

    def keep(self) -> None:
        """Let the network have the fit as it stands."""
        if self.checkpointer is not None:
            self.checkpointer.keep()

    def write(self, columns: dict[str, list[float]], count: int, batch_size: int) -> None:
        """Write down finished epochs, a single one where there are callbacks or `validation`."""
        network, record, history = self.network, self.record, self.history
        if self.validation is not None:
            columns |= self._scores(self.validation, batch_size)
        history.write(columns, count)
        if self.checkpointer is not None:
            self.checkpointer.pending = list(self.callbacks)
        last, epochs = record.last, record.epochs
        if self.after is not None:
            last, epochs = self.after, self.after.epoch
        # It counts for all, or for nobody: nothing is called here, and Python looks for signals in
        # calls.
        history.epochs += count
        network.epochs_trained += count
        record.last, record.epochs = last, epochs

    def _scores(self, validation: Validation, batch_size: int) -> dict[str, list[float]]:
        """Measure the validation data, or leave them out in this epoch."""
        network, checkpointer = self.network, self.checkpointer
        assert checkpointer is not None
        due = checkpointer.measures(self.next_epoch) or network.stop_training
        if not due and self.measured:  # once in any case: so the names are known
            return {f"val_{key}": [math.nan] for key in self.measured}
        if self.varied is None:
            self.varied = network.spread_of(validation.data)
        given = validation.data, batch_size, validation.metrics, self.varied
        self.measured = network.score_data(*given)
        return {f"val_{key}": [v if due else math.nan] for key, v in self.measured.items()}

    def show(self, part: float) -> None:
        """Show the epochs that are done, and the part of the present one."""
        self.bar.show(self.history, part)

    def end_group(self, epoch: int, logs: dict[str, float]) -> bool:
        """Tell the callbacks where a group of mini-batches ends; whether one ends the training."""
        network = self.network
        stopped = network.stop_training
        for callback in self.callbacks:
            callback.on_batch_group_end(network, epoch, dict(logs))
        return network.stop_training and not stopped
