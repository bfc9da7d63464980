"""The training loop around the backends: orders, pace, callbacks, and what happens on divergence.

Each call into a backend does many mini-batches and comes back after about `PERIOD` seconds.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn import _random
from pycnn._checks import LARGEST
from pycnn._data.sources import UNKNOWN, Batches
from pycnn._training import advice, lbfgs
from pycnn._training.checkpoint import RUNNING, Checkpoint, Checkpointer, as_plain
from pycnn._training.loader import Loader
from pycnn._training.progress import Bar
from pycnn.backend.interface import NotFiniteError, TrainingState
from pycnn.callbacks import forget_states
from pycnn.exceptions import DataError, DataWarning, DivergedError, warn
from pycnn.history import History
from pycnn.optimizers import LBFGS
from pycnn.schedules import Constant

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pycnn._data.sources import Augment, Reader
    from pycnn._scoring import Validation
    from pycnn._typing import Array
    from pycnn.backend.interface import Data
    from pycnn.callbacks import Callback
    from pycnn.network import Network
    from pycnn.optimizers import Optimizer

# Seconds between two returns from a backend: how fast Ctrl-C and the progress bar answer.
PERIOD = 0.05
# Seconds between two copies of the parameters, to go back to after a divergence.
CHECKPOINT_PERIOD = 1.0
# Short epochs are trained several in one call; so many entries may their orders have together.
ORDER_ENTRIES = 1 << 16


class _Pace:
    """How many steps take about `PERIOD` seconds."""

    def __init__(self) -> None:
        self.steps = 1

    def adapt(self, done: int, seconds: float) -> None:
        ideal = done * PERIOD / max(seconds, 1e-9)
        self.steps = max(1, int(min(ideal, 8 * self.steps)))


def run(
    network: Network,
    data: Data | Batches,
    learned: Reader,
    *,
    epochs: int,
    batch_size: int,
    optimizer: Optimizer,
    shuffle: bool,
    validation: Validation | None,
    callbacks: list[Callback],
    progress: bool,
    augment: list[Augment],
    validation_every: int,
    resume: Checkpoint | None,
) -> None:
    """Train until there are `epochs` epochs in ``network.history``, a new one or `resume`'s.

    The reader that has `learned` from the data the classes, the features' names and the targets'
    scale is the network's from where the training begins.

    Raises
    ------
    DataError
        If `resume` is not a state of such a training; nothing has changed then.
    """
    pace = _Pace()
    loader = Loader(network, data, augment)
    optimization: _Optimization | lbfgs.Training
    if isinstance(optimizer, LBFGS):
        assert not isinstance(data, Batches)
        optimization = lbfgs.Training(network, data, optimizer)
    else:
        optimization = _Optimization(network, optimizer, data.rows, batch_size, epochs)
    settings = {
        "epochs": epochs,
        "batch_size": batch_size,
        "optimizer": optimizer.config(),
        "shuffle": shuffle,
        "seed": network.seed,
        "rows": data.rows,
        "weighted": data.weight is not None,
        "validation_rows": None if validation is None else validation.rows,
        "validation_every": validation_every,
    }
    if validation is not None and validation.metrics:
        settings["metrics"] = [metric.name for metric in validation.metrics]
    scale = learned.encoder.scale
    if scale is not None:
        settings["target_scale"] = scale.config()
    checkpointer = Checkpointer(network, optimization, callbacks, settings)
    if resume is not None:
        checkpointer.check(resume, isinstance(data, Batches))
        if isinstance(optimization, _Optimization) and "batches" in checkpointer.settings:
            optimization.set_length(checkpointer.settings["batches"], 0)
    # Epochs between which there is nothing to do go to the backend together.
    alone = bool(callbacks) or validation is not None
    alone = alone or not loader.is_whole
    at_once = 1 if alone else max(1, ORDER_ENTRIES // data.rows)
    record = network.training_record
    record.in_step, record.running = False, checkpointer
    try:
        with Bar(epochs, progress) as bar:
            network.reader = learned
            checkpointer.begin(resume)
            history = network.history
            assert history is not None
            checkpointer.end_epoch(_last(history))
            kept = -math.inf
            while history.epochs < epochs and not network.stop_training:
                # The memory of L-BFGS is 20 times theta: to copy it each epoch takes too long.
                often = isinstance(optimization, _Optimization)
                if often or time.perf_counter() - kept > CHECKPOINT_PERIOD:
                    checkpointer.keep()
                    kept = time.perf_counter()
                for callback in callbacks:
                    callback.on_epoch_begin(network, history.epochs + 1)
                if isinstance(optimization, lbfgs.Training):
                    _iterate(network, optimization, validation, bar, checkpointer)
                    checkpointer.end_epoch(_last(history))
                    continue
                count = min(at_once, epochs - history.epochs)
                order = _order(network, count, data.rows) if shuffle else None
                state = optimization.next_state(count, order)
                if _Block(
                    network, loader, state, optimization, pace, validation, bar, checkpointer
                ).run():
                    if isinstance(data, Batches):
                        _hold_to_length(data, optimization, checkpointer, history)
                    checkpointer.end_epoch(_last(history))
            checkpointer.keep()
            record.running = None  # what they do at the end is not a part of the training
            for callback in callbacks:
                callback.on_train_end(network)
    finally:
        record.running = None
        forget_states(callbacks)


def run_one(
    network: Network, data: Data, *, batch_size: int, optimizer: Optimizer, shuffle: bool, log: bool
) -> dict[str, float]:
    """Train for one epoch, on from those before with an equal optimizer; return its means.

    Parameters
    ----------
    log : bool
        Whether to put them into ``network.history`` too.
    """
    before = network.training_record.present(network.learning_rate_factor)
    settings = {"by": "partial_fit", "optimizer": as_plain(optimizer.config())}
    if before is None or before.settings != settings:
        before = Checkpoint(settings, History(), _new_slots(network, optimizer))
    history = before.history if log else History()
    optimization = _Optimization(network, optimizer, data.rows, batch_size, before.epoch + 1)
    if before.slots.shape != optimization.slots.shape:
        raise DataError("the training state does not fit its own optimizer")
    network.learning_rate_factor = before.learning_rate_factor
    optimization.take_up(before)
    order = _order(network, 1, data.rows) if shuffle else None
    state = optimization.next_state(1, order)
    bar, loader = Bar(1, False), Loader(network, data, [])
    block = _Block(network, loader, state, optimization, _Pace(), None, bar, None, history)
    block.first_epoch = before.epoch + 1  # of all calls, also those without a history
    block.after = before._replace(epoch=before.epoch + 1)
    record = network.training_record
    record.last, record.updates = before, before.updates  # from here on it changes
    if log:
        network.history = history
    try:
        block.run()
    finally:
        record.updates = state.updates
    return _last(history)


def _new_slots(network: Network, optimizer: Optimizer) -> Array:
    return np.zeros((optimizer.spec().slots, network.parameters.size))


def check_without_end(optimizer: Optimizer) -> None:
    """Raise `DataError` where the learning rates depend on how long the training will be.

    Or where the optimizer has no single steps, as `LBFGS`.
    """
    optimizer.spec()
    schedule = optimizer.schedule()
    if schedule.needs_total:
        raise DataError(
            f"optimizer must have learning rates that do not depend on the length of the whole "
            f"training, which nobody knows here; got {schedule!r}"
        )


def _hold_to_length(
    batches: Batches, optimization: _Optimization, checkpointer: Checkpointer, history: History
) -> None:
    """Go on with as many mini-batches an epoch as the last one had; warn where that is news."""
    count = batches.counted
    if batches.said == UNKNOWN or count == optimization.steps_per_epoch:
        return
    if "batches" not in checkpointer.settings:
        warn(
            f"X has a length of {batches.said}, but has yielded {count} mini-batches: all of them "
            "are trained on, and learning rates that change go by the number that the epoch before "
            "had",
            DataWarning,
        )
    # A training that goes on must know it.
    checkpointer.settings = checkpointer.settings | {"batches": count}
    optimization.set_length(count, history.epochs)


def _order(network: Network, count: int, rows: int) -> Any:
    return _random.permutations(network.seed, network.epochs_trained, count, rows)


def _iterate(
    network: Network,
    training: lbfgs.Training,
    validation: Validation | None,
    bar: Bar,
    checkpointer: Checkpointer,
) -> None:
    """Do an iteration over the whole data: an epoch of one mini-batch."""
    history = network.history
    assert history is not None
    network.training_record.in_step = True
    logs = training.run_epoch()
    columns = {key: [value] for key, value in logs.items()}
    _record(network, history, columns, 1, validation, training.data.rows)
    network.training_record.in_step = False
    bar.show(history, 0.0)
    checkpointer.pending = list(checkpointer.callbacks)
    del logs["gradient_norm"]
    for callback in checkpointer.callbacks:
        group = logs | {"batch": 1, "batches": 1}
        callback.on_batch_group_end(network, history.epochs, group)


def _record(
    network: Network,
    history: History,
    columns: dict[str, list[float]],
    count: int,
    validation: Validation | None,
    batch_size: int,
    after: Checkpoint | None = None,
) -> None:
    """Put finished epochs into the history; let the network have the training `after` them.

    With `validation`, or an `after`, it is a single one.
    """
    record = network.training_record
    checkpointer = record.running
    if validation is not None and checkpointer is not None:
        due = checkpointer.measures(history.epochs + 1) or network.stop_training
        scores = dict.fromkeys(checkpointer.measured, math.nan)
        if due or not scores:  # once in any case: the names are known from the first epoch on
            measured = network.score_data(validation.data, batch_size, validation.metrics)
            scores = {f"val_{key}": v if due else math.nan for key, v in measured.items()}
            checkpointer.measured = list(scores)
        columns |= {key: [value] for key, value in scores.items()}
    history.write(columns, count)
    after = record.last if after is None else after
    # It counts for all, or for nobody: nothing is called here, and Python looks for signals in
    # calls.
    history.epochs += count
    network.epochs_trained += count
    record.last = after


def _last(history: History) -> dict[str, float]:
    return {key: values[-1] for key, values in history.items()}


class _Optimization:
    """What goes on from one block to the next: the optimizer's memory, and the learning rate."""

    def __init__(
        self, network: Network, optimizer: Optimizer, rows: int, batch_size: int, epochs: int
    ) -> None:
        self.network = network
        self.batch_size = batch_size
        self.schedule = optimizer.schedule()
        if rows == UNKNOWN and not isinstance(self.schedule, Constant):
            raise DataError(
                "X must have a length, the number of its mini-batches, for learning rates that "
                "change: give a list, or an object with __len__"
            )
        self.spec = optimizer.spec()
        self.epochs = epochs
        self.set_length(-(-rows // batch_size), 0)
        self.slots = _new_slots(network, optimizer)
        self.updates = 0
        self.factor = 1.0  # of the learning rates of the present block
        self.state: TrainingState | None = None  # of the present block, or the last
        self.position = 0  # where the next block starts in its first epoch
        self.running: Array = np.zeros(RUNNING)  # sums over what is done of that epoch

    def set_length(self, steps: int, epochs: int) -> None:
        """Go on behind so many epochs of so many steps each."""
        self.steps_per_epoch = steps
        self.total_steps = min(steps * self.epochs, LARGEST)
        self.step = steps * epochs  # first of the present block

    def take_up(self, training: Checkpoint) -> None:
        """Go on from where another one has been, in its slots."""
        self.slots = training.slots
        self.updates = training.updates
        self.step = training.epoch * self.steps_per_epoch
        self.position, self.running = training.position, training.running.copy()

    def place(self) -> tuple[int, Array, int]:
        """Return the position in the present epoch, the sums over its part done, the updates."""
        state = self.state
        if state is None:
            return self.position, self.running.copy(), self.updates
        if state.epoch == state.epochs:
            return 0, np.zeros(RUNNING), state.updates
        norm = 0.0 if state.norms is None else state.norms[state.epoch]
        return state.position, np.append(state.totals[state.epoch], norm), state.updates

    def next_state(self, count: int, order: Any) -> TrainingState:
        """Return the state of the next `count` epochs."""
        self.factor = self.network.learning_rate_factor
        rate = self.rates(np.array([self.step]))[0]
        keys = _random.dropout_keys(self.network.seed, self.network.epochs_trained, count)
        state = TrainingState(
            count, self.batch_size, rate, order, self.spec, self.slots, self.updates, keys
        )
        state.position, self.position = self.position, 0
        state.steps = state.position // self.batch_size
        state.totals[0] = self.running[:-1]
        if state.norms is not None:
            state.norms[0] = self.running[-1]
        self.running[:] = 0.0
        self.state = state
        return state

    def rates(self, steps: NDArray[np.int64]) -> Array:
        """Return the learning rates of these steps."""
        rates = self.schedule.rates(steps, self.steps_per_epoch, self.total_steps)
        return np.ascontiguousarray(rates * self.factor, dtype=np.float64)

    def train(self, state: TrainingState, loader: Loader, theta: Array, steps: int) -> int:
        """Do some steps of a block in the backend."""
        if not isinstance(self.schedule, Constant):
            end = state.epochs * self.steps_per_epoch
            if not isinstance(loader.data, Batches):  # which may yield more than its length says
                steps = min(steps, end - state.steps)
            at = np.minimum(np.arange(state.steps, state.steps + steps), end - 1)
            state.learning_rates = self.rates(self.step + at)
            state.learning_rate = float(state.learning_rates[0])
        return loader.train(theta, state, steps)

    def finish(self, state: TrainingState) -> None:
        """Take over what a block has left behind."""
        self.updates = state.updates
        self.step += state.steps


class _Block:
    """Some epochs that are trained without a pause."""

    def __init__(
        self,
        network: Network,
        loader: Loader,
        state: TrainingState,
        optimization: _Optimization,
        pace: _Pace,
        validation: Validation | None,
        bar: Bar,
        checkpointer: Checkpointer | None,
        history: History | None = None,
    ) -> None:
        self.network, self.loader, self.state = network, loader, state
        loader.first_epoch = network.epochs_trained
        self.optimization = optimization
        self.pace, self.validation, self.bar, self.checkpointer = (
            pace,
            validation,
            bar,
            checkpointer,
        )
        self.theta: Array = network.theta
        history = network.history if history is None else history
        assert history is not None
        self.history = history
        self.before = history.epochs
        self.first_epoch = self.before + 1
        self.after: Checkpoint | None = None  # of the network's, once done

    @property
    def recorded(self) -> int:
        """Epochs of this block that are in the history."""
        return self.history.epochs - self.before

    def run(self) -> bool:
        """Train; return whether to the end, or a callback has stopped it before."""
        state = self.state
        kept, checkpoint = time.perf_counter(), state.snapshot(self.theta)
        while state.epoch < state.epochs:
            started = time.perf_counter()
            try:
                steps = self.train(self.pace.steps)
                now = time.perf_counter()
                self.pace.adapt(steps, now - started)
                due = now - kept > CHECKPOINT_PERIOD
                # A weight can overflow while the loss stays finite: relu hides minus infinity.
                if (due or state.epoch > self.recorded) and not np.isfinite(self.theta).all():
                    self.diverged(checkpoint)
                self.record()
                self.network.training_record.in_step = False
            except NotFiniteError:
                self.diverged(checkpoint)
            except BaseException:
                if not np.isfinite(self.theta).all():
                    state.restore(self.theta, checkpoint)
                elif self.validation is None:  # an epoch is done when it has been measured
                    self.record()
                raise
            if due and state.epoch < state.epochs:
                kept, checkpoint = now, state.snapshot(self.theta)
                if self.checkpointer is not None:
                    self.checkpointer.keep()
            if self.ends_group():
                break
        self.optimization.finish(state)
        return state.epoch == state.epochs

    def train(self, steps: int) -> int:
        return self.optimization.train(self.state, self.loader, self.theta, steps)

    def ends_group(self) -> bool:
        """Tell the callbacks where a group of mini-batches ends; whether one ends the training."""
        checkpointer, state = self.checkpointer, self.state
        if checkpointer is None or not checkpointer.callbacks:
            return False
        finished = state.epoch == state.epochs  # with callbacks, a block is one epoch
        if finished:
            checkpointer.pending = list(checkpointer.callbacks)
        logs = {key: value for key, [value] in self.means(0, 1).items()} | {"batch": state.steps}
        if self.loader.rows != UNKNOWN:
            logs["batches"] = max(self.optimization.steps_per_epoch, state.steps)
        stopped = self.network.stop_training
        for callback in checkpointer.callbacks:
            callback.on_batch_group_end(self.network, self.first_epoch, dict(logs))
        return self.network.stop_training and not stopped and not finished

    def means(self, first: int, count: int) -> dict[str, list[float]]:
        """Return the means over epochs of this block, also over what is done of one."""
        # As `Totals` has them, but of plain numbers: of thousands of tuples the garbage collector
        # takes notice, and a Ctrl-C that comes while it calls a weak reference's function is lost.
        sums, weights, hits = self.state.totals[first : first + count].T.tolist()
        loss = [s / w if w else math.nan for s, w in zip(sums, weights, strict=True)]
        columns = {"loss": loss}
        if self.network.encoder.has_classes:
            rows = zip(loss, hits, weights, strict=True)
            columns["accuracy"] = [h / w if v == v else math.nan for v, h, w in rows]
        return columns

    def record(self) -> None:
        """Put the epochs that are finished into the history."""
        state, first = self.state, self.recorded
        count = state.epoch - first
        if count:
            columns = self.means(first, count)
            is_iterable = isinstance(self.loader.data, Batches)
            if state.norms is not None:
                steps = state.steps if is_iterable else self.optimization.steps_per_epoch
                columns["gradient_norm"] = (state.norms[first : state.epoch] / steps).tolist()
            size = 256 if is_iterable else state.batch_size
            _record(self.network, self.history, columns, count, self.validation, size, self.after)
        self.bar.show(self.history, min(1.0, state.position / self.loader.rows))

    def diverged(self, checkpoint: tuple[Any, ...]) -> None:
        """Put the last finite parameters in place and raise `DivergedError`."""
        what = "the loss became NaN or infinite"
        if not np.isfinite(self.theta).all():
            what = "the parameters overflowed"
            self.state.restore(self.theta, checkpoint)
            if self.loader.can_go_back:
                self.replay()
        self.record()
        number = self.first_epoch + self.state.epoch
        batch = self.state.position // self.state.batch_size + 1
        raise DivergedError(
            f"{what} at epoch {number}, batch {batch}; the parameters are those of the last "
            "finite step. "
            + advice.cause(self.network, self.loader.sample, self.state.learning_rate),
            number,
            batch,
        ) from None

    def replay(self) -> None:
        """Train again from a checkpoint up to the last step whose parameters are finite.

        Steps are the same every time, so large strides come first; where one goes too far it is
        taken back, and smaller ones follow.
        """
        stride = max(1, self.pace.steps)
        while True:
            before = self.state.snapshot(self.theta)
            finite = False
            try:
                self.train(stride)
                finite = bool(np.isfinite(self.theta).all())
                finite = finite and self.state.epoch < self.state.epochs
            except NotFiniteError:
                pass
            finally:
                if not finite:
                    self.state.restore(self.theta, before)
            if finite:
                continue
            if stride == 1:
                return
            stride = max(1, stride // 16)
