"""The driver of mini-batch steps.

It trains blocks of epochs, in groups of mini-batches that take about `PERIOD` seconds: each group
is one call into a backend, or as many as the loader has pieces for it. An interruption leaves a
whole step or nothing. Python looks for signals in calls, so where several things must change
together, nothing is called between them.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from pycnn import _random
from pycnn._checks import LARGEST
from pycnn._data.stream import UNKNOWN
from pycnn._training import advice
from pycnn._training import checkpointer as checkpointers
from pycnn._training.checkpoint import NOT_BEGUN
from pycnn._training.checkpointer import Place
from pycnn.backend.interface import NotFiniteError, TrainingState
from pycnn.exceptions import DataError, DataWarning, warn
from pycnn.schedules import Constant

if TYPE_CHECKING:
    from pycnn._model import Model
    from pycnn._training.checkpoint import Checkpoint
    from pycnn._training.checkpointer import Reporter
    from pycnn._training.loader import Loader
    from pycnn._typing import Array, Bits, NDArray
    from pycnn.optimizers import Optimizer

# Seconds between two returns from a backend: how fast Ctrl-C and the progress bar answer.
PERIOD = 0.05


# Epochs whose means arrays take longer to make than Python does.
FEW = 16


class Pace:
    """How many steps take about `PERIOD` seconds."""

    def __init__(self) -> None:
        self.steps = 1

    def adapt(self, done: int, seconds: float) -> None:
        """Learn from how long some steps have taken."""
        ideal = done * PERIOD / max(seconds, 1e-9)
        self.steps = max(1, int(min(ideal, 8 * self.steps)))


class Steps:
    """Mini-batch steps by an optimizer: its memory, the learning rates, and the present block.

    Parameters
    ----------
    network : Model
    optimizer : Optimizer
    loader : Loader
    batch_size : int
    epochs : int
        Those of the whole training, on which learning rates may depend.
    shuffle : bool
    block : int, default 1
        Epochs that are trained without a pause.
    """

    keeps_cheaply = True

    def __init__(
        self,
        network: Model,
        optimizer: Optimizer,
        loader: Loader,
        *,
        batch_size: int,
        epochs: int,
        shuffle: bool,
        block: int = 1,
    ) -> None:
        self.network, self.loader, self.theta = network, loader, network.theta
        self.batch_size, self.epochs = batch_size, epochs
        self.shuffle, self.block = shuffle, block
        self.schedule = optimizer.schedule()
        if loader.rows == UNKNOWN and not isinstance(self.schedule, Constant):
            raise DataError(
                "X must have a length, the number of its mini-batches, for learning rates that "
                "change: give a list, or an object with __len__"
            )
        self.spec = optimizer.spec()
        self._set_length(-(-loader.rows // batch_size) * loader.windows, 0)
        self.slots = optimizer.new_slots(network.parameters.size)
        self.updates = 0
        self.pace = Pace()
        # Of the present block, or of the last one:
        self.state: TrainingState | None = None
        self.factor = 1.0  # of the learning rates
        self.first_epoch = 1  # its number in this training
        self.history_before = 0  # epochs
        # Where the next block starts in its first epoch, with the sums over what is done of it:
        self.begins = Place(0, NOT_BEGUN, 0)

    # -------------------------------------------------------------- between two blocks

    def _set_length(self, steps: int, epochs: int) -> None:
        """Go on behind so many epochs of so many steps each."""
        self.steps_per_epoch = steps
        self.total_steps = min(steps * self.epochs, LARGEST)
        self.step = steps * epochs  # first of the present block

    def take_up(self, checkpoint: Checkpoint) -> None:
        """Go on from where another one has been, in its slots."""
        batches = checkpoint.settings.get("batches")
        steps = self.steps_per_epoch if batches is None else batches * self.loader.windows
        self._set_length(steps, checkpoint.epoch)
        self.slots = checkpoint.slots
        self.updates = checkpoint.updates
        at = checkpoint.position, checkpoint.running, checkpoint.updates
        self.begins = Place(*at, checkpoint.start, checkpoint.carried)

    def fits(self, checkpoint: Checkpoint) -> bool:
        """Tell whether the checkpoint's state is one that it could have been in."""
        return checkpoint.slots.shape == self.slots.shape and self.loader.fits(checkpoint)

    def place(self) -> Place:
        """Return where it is."""
        state = self.state
        if state is None:
            return self.begins._replace(updates=self.updates)
        if state.epoch == state.epochs:
            return Place(0, NOT_BEGUN, state.updates)
        norm = 0.0 if state.norms is None else state.norms[state.epoch]
        running = np.append(state.totals[state.epoch], norm)
        return Place(state.position, running, state.updates, state.start, state.carried)

    def train(self, epochs: int, reporter: Reporter) -> bool:
        """Train a block of epochs; tell whether to its end, or a callback has ended it before."""
        state = self.begin(min(epochs, self.block), reporter)
        is_whole = self.train_block(state, reporter)
        if is_whole and self.loader.is_stream:
            self._hold_to_length(reporter)
        return is_whole

    def begin(self, count: int, reporter: Reporter) -> TrainingState:
        """Begin a block of `count` epochs; return its state."""
        network, loader = self.network, self.loader
        self.first_epoch, self.history_before = reporter.next_epoch, reporter.history.epochs
        loader.first_epoch = network.epochs_trained
        self.factor = network.learning_rate_factor
        order = None
        if self.shuffle:
            orders = loader.record.orders(network.core, network.seed, loader.rows)
            following = self.epochs - reporter.history.epochs
            order = orders.take(network.epochs_trained, count, following)
        state = TrainingState(
            count,
            self.batch_size,
            self._rate(),
            order,
            self.spec,
            self.slots,
            self.updates,
            self._dropout_keys(count),
        )
        begins, self.begins = self.begins, Place(0, NOT_BEGUN, 0)
        state.position, state.start, state.carried = begins.position, begins.start, begins.carried
        state.steps = self.loader.step_of(state)
        state.totals[0] = begins.running[:-1]
        if state.norms is not None:
            state.norms[0] = begins.running[-1]
        self.state = state
        return state

    def _dropout_keys(self, count: int) -> Bits | None:
        """Return the keys of so many epochs, where anything is dropped: drawing them takes time."""
        network = self.network
        if not network.architecture.is_random:
            return None
        return _random.dropout_keys(network.seed, network.epochs_trained, count)

    def _hold_to_length(self, reporter: Reporter) -> None:
        """Go on with as many mini-batches an epoch as the last one had; warn where that is news."""
        stream, checkpointer = self.loader.data, reporter.checkpointer
        count = stream.counted
        assert checkpointer is not None
        steps = count * self.loader.windows
        if stream.said == UNKNOWN or steps == self.steps_per_epoch:
            return
        if "batches" not in checkpointer.settings:
            warn(
                f"X has a length of {stream.said}, but has yielded {count} mini-batches: all of "
                "them are trained on, and learning rates that change go by the number that the "
                "epoch before had",
                DataWarning,
            )
        # A training that goes on must know it.
        checkpointer.settings = checkpointer.settings | {"batches": count}
        self._set_length(steps, reporter.history.epochs)

    # -------------------------------------------------------------- within a block

    def train_block(self, state: TrainingState, reporter: Reporter) -> bool:
        """Train the block that has begun; tell whether to its end."""
        kept, safe = time.perf_counter(), state.snapshot(self.theta)
        while state.epoch < state.epochs:
            started = time.perf_counter()
            try:
                steps = self._train(state, self.pace.steps)
                now = time.perf_counter()
                self.pace.adapt(steps, now - started)
                due = now - kept > checkpointers.CHECKPOINT_PERIOD
                # A weight can overflow while the loss stays finite: relu hides minus infinity.
                if (due or state.epoch > self._written(reporter)) and not self._is_finite():
                    self._diverged(state, safe, reporter)
                self._write(state, reporter)
                reporter.record.in_step = False
            except NotFiniteError:
                self._diverged(state, safe, reporter)
            except BaseException:
                if not self._is_finite():
                    state.restore(self.theta, safe)
                elif reporter.validation is None:  # an epoch is done when it has been measured
                    self._write(state, reporter)
                raise
            if due and state.epoch < state.epochs:
                kept, safe = now, state.snapshot(self.theta)
                reporter.keep()
            if self._ends_here(state, reporter):
                break
        self.updates = state.updates
        self.step += state.steps
        return state.epoch == state.epochs

    def _is_finite(self) -> bool:
        return self.network.core.find_not_finite(self.theta) == self.theta.size

    def _written(self, reporter: Reporter) -> int:
        """Return how many epochs of this block are in the history."""
        return reporter.history.epochs - self.history_before

    def _rates(self, steps: NDArray[np.int64]) -> Array:
        """Return the learning rates of these steps."""
        rates = self.schedule.rates(steps, self.steps_per_epoch, self.total_steps)
        return np.ascontiguousarray(rates * self.factor, dtype=np.float64)

    def _rate(self) -> float:
        """Return the learning rate of the block's first step."""
        if isinstance(self.schedule, Constant):
            return self.schedule.learning_rate * self.factor
        return float(self._rates(np.array([self.step]))[0])

    def _train(self, state: TrainingState, steps: int) -> int:
        """Do up to so many steps in the backend; return how many."""
        if not isinstance(self.schedule, Constant):
            end = state.epochs * self.steps_per_epoch
            if not self.loader.is_stream:  # which may yield more than its length says
                steps = min(steps, end - state.steps)
            at = np.minimum(np.arange(state.steps, state.steps + steps), end - 1)
            state.learning_rates = self._rates(self.step + at)
            state.learning_rate = float(state.learning_rates[0])
        return self.loader.train(self.theta, state, steps)

    def _means(self, totals: Array) -> dict[str, list[float]]:
        """Return the means of epochs from their sums, also of what is done of one."""
        shows_classes = self.network.encoder.has_classes
        if len(totals) > FEW:
            sums, weights, hits = totals.T
            with np.errstate(all="ignore"):
                loss = np.where(weights != 0, sums / weights, math.nan)
                accuracy = np.where(np.isnan(loss), math.nan, hits / weights)
            columns = {"loss": loss.tolist()}
            return columns | {"accuracy": accuracy.tolist()} if shows_classes else columns
        # As `Totals` has them, but of plain numbers: of thousands of tuples the garbage collector
        # takes notice, and a Ctrl-C that comes while it calls a weak reference's function is lost.
        rows = totals.tolist()
        columns = {"loss": [s / w if w else math.nan for s, w, _ in rows]}
        if shows_classes:
            each = zip(columns["loss"], rows, strict=True)
            columns["accuracy"] = [h / w if v == v else math.nan for v, (_, w, h) in each]
        return columns

    def _write(self, state: TrainingState, reporter: Reporter) -> None:
        """Put the epochs that are finished into the history."""
        loader, first = self.loader, self._written(reporter)
        count = state.epoch - first
        if count:
            columns = self._means(state.totals[first : state.epoch])
            if state.norms is not None:
                steps = state.steps if loader.is_stream else self.steps_per_epoch
                columns["gradient_norm"] = (state.norms[first : state.epoch] / steps).tolist()
            reporter.write(columns, count, 256 if loader.is_stream else state.batch_size)
        reporter.show(min(1.0, loader.step_of(state) / self.steps_per_epoch))

    def _ends_here(self, state: TrainingState, reporter: Reporter) -> bool:
        """Tell the callbacks where a group of mini-batches ends; whether one ends the training."""
        if not reporter.hears_groups:
            return False
        # With callbacks, a block is one epoch.
        logs = {key: value for key, [value] in self._means(state.totals).items()}
        logs["batch"] = state.steps
        if self.loader.rows != UNKNOWN:
            logs["batches"] = max(self.steps_per_epoch, state.steps)
        return reporter.end_group(self.first_epoch, logs) and state.epoch < state.epochs

    # -------------------------------------------------------------- where it diverges

    def _diverged(
        self, state: TrainingState, safe: tuple[Any, ...], reporter: Reporter
    ) -> NoReturn:
        """Put the last finite parameters in place and raise `DivergedError`."""
        loader = self.loader
        what = "the loss became NaN or infinite"
        if not self._is_finite():
            what = "the parameters overflowed"
            state.restore(self.theta, safe)
            if loader.can_go_back:
                self._replay(state)
        self._write(state, reporter)
        epoch = self.first_epoch + state.epoch
        batch = loader.step_of(state) + 1
        cause = advice.cause(self.network, loader.sample, state.learning_rate)
        raise advice.divergence(what, epoch, batch, cause) from None

    def _replay(self, state: TrainingState) -> None:
        """Train again from a snapshot up to the last step whose parameters are finite.

        Steps are the same every time, so large strides come first; where one goes too far it is
        taken back, and smaller ones follow.
        """
        stride = max(1, self.pace.steps)
        while True:
            before, is_finite = state.snapshot(self.theta), False
            try:
                self._train(state, stride)
                is_finite = self._is_finite() and state.epoch < state.epochs
            except NotFiniteError:
                pass
            finally:
                if not is_finite:
                    state.restore(self.theta, before)
            if is_finite:
                continue
            if stride == 1:
                return
            stride = max(1, stride // 16)
