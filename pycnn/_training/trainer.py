"""Steps of one mini-batch each, with the least delay: what online learning calls again and again.

`Network.train_on_batch`, `Network.partial_fit` where the samples are one mini-batch, and
`Network.trainer` are one training, whose state the network's record has: each goes on where the
one before has been, if that was by an equal optimizer, and counts as an epoch.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np

from pycnn import _random, losses
from pycnn._data.tokens import Tokens
from pycnn._training import advice, fitting
from pycnn._training.checkpoint import Checkpoint, Process, as_plain
from pycnn.backend.interface import NotFiniteError
from pycnn.exceptions import DataError, PycnnError, ShapeError
from pycnn.history import History
from pycnn.schedules import Constant

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycnn._data.reader import Reader
    from pycnn._model import Model, Planned
    from pycnn._training.checkpoint import TrainingRecord
    from pycnn._typing import Array, Indices
    from pycnn.backend.interface import Data
    from pycnn.backend.protocol import BatchTrainer
    from pycnn.exceptions import DivergedError
    from pycnn.optimizers import Optimizer

_FLOAT64 = np.dtype(np.float64)
_NOTHING: Any = object()  # which nobody else has


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


class BatchTraining:
    """A training by one mini-batch after the other, each of which is an epoch.

    Parameters
    ----------
    network : Model
    record : TrainingRecord
    optimizer : Optimizer

    Raises
    ------
    DataError
        If there is no such training by the optimizer; see `check_without_end`.
    """

    def __init__(self, network: Model, record: TrainingRecord, optimizer: Optimizer) -> None:
        check_without_end(optimizer)
        self.network, self.record, self.optimizer = network, record, optimizer
        self.theta = network.theta
        self.settings = {"by": "partial_fit", "optimizer": as_plain(optimizer.config())}
        self.schedule, self.spec = optimizer.schedule(), optimizer.spec()
        self.factor: float | None = None  # of the learning rate, where that is always the same
        self.draws = _random.Stream(network.seed, _random.DROPPING)
        is_random = network.architecture.is_random
        self.keys = np.zeros(1, np.uint64) if is_random else None
        self.planned: Planned | None = None
        self.core: BatchTrainer = _NOTHING  # until samples are lent
        self.last: Checkpoint = _NOTHING  # that of the record, while nobody else trains
        self.steps_before = 0  # of the core's, when the training was taken up

    def present(self) -> Checkpoint:
        """Return where the network's training stands, or the beginning of another one."""
        before = self.record.present(self.network.learning_rate_factor)
        slots = self.spec.slots, self.network.parameters.size
        if before is None or before.settings != self.settings:
            return Checkpoint(self.settings, History(), np.zeros(slots))
        if before.slots.shape != slots:
            raise DataError("the training state does not fit its own optimizer")
        return before

    def lend(self, data: Data, order: Indices | None = None) -> None:
        """Let the next steps be on these samples, which have been checked, in this order."""
        planned = self.network.planned(data.x.shape[1])
        if planned is not self.planned:
            self.network.check_writeable()
            given = planned.plan, self.theta, self.spec, self.keys
            self.planned, self.core = planned, self.network.core.batch_trainer(*given)
            self.last = _NOTHING
        self.core.lend(data, order)
        if self.record.last is not self.last:
            self.take_up()

    def take_up(self) -> None:
        """Go on from where the network's training stands."""
        before = self.present()
        self.network.learning_rate_factor = before.learning_rate_factor
        self.core.remember(before.slots, before.updates)
        self.factor = None
        self.last = before
        self.record.go_on(before, self.core.training)
        self.steps_before = self.core.done.steps - before.epoch

    def step(self) -> float:
        """Do a step on the samples that are lent; return their mean loss before it.

        Raises
        ------
        NotFiniteError, DataError, LabelError
            As `BatchTrainer.run`; nothing has changed then.
        """
        network, record, core = self.network, self.record, self.core
        if record.last is not self.last:
            self.take_up()
            core = self.core
        if network.learning_rate_factor != self.factor:
            self._set_rate()
        if self.keys is not None:
            self.keys[:] = self.draws.take(network.epochs_trained, 1)
        if not self.theta.flags.writeable:
            network.check_writeable()
        # Ctrl-C surfaces as soon as a call returns. Nothing else is called, and Python looks for
        # signals in calls: what has been done is counted, or nothing was done.
        try:
            loss = core.run()
            if loss != loss:
                core.check()
        except BaseException:
            if core.done.steps - self.steps_before > record.epochs:
                record.epochs += 1
                network.epochs_trained += 1
            raise
        record.epochs += 1
        network.epochs_trained += 1
        return loss

    def _set_rate(self) -> None:
        network, step = self.network, self.record.epochs
        factor = network.learning_rate_factor
        (rate,) = self.schedule.rates(np.array([step]), 1, step + 1) * factor
        self.core.training.learning_rate = rate
        self.factor = factor if isinstance(self.schedule, Constant) else None

    def means(self) -> dict[str, float]:
        """Return what the history has of the last step."""
        totals, norms = self.core.totals, self.core.norms
        loss, weight = totals.loss, totals.weight
        logs = {"loss": loss / weight if weight else math.nan}
        if self.network.encoder.has_classes:
            logs["accuracy"] = totals.correct / weight if weight else math.nan
        if norms is not None:
            logs["gradient_norm"] = float(norms[0])
        return logs

    def train(self, data: Data, history: History | None = None) -> None:
        """Do a step on the samples that are lent, and write it down.

        Raises
        ------
        DivergedError
            If the loss, or what would become of the parameters, is not finite.
        """
        record, before = self.record, self.record.epochs
        try:
            self.step()
            if history is not None:
                self._write(history)
        except NotFiniteError:
            raise self.divergence(data) from None
        except BaseException:
            if history is not None and record.epochs > before:  # the step was done, and is measured
                self._write(history)
            raise
        finally:
            if history is not None:  # as above, nothing is called
                history.epochs += record.epochs - before

    def _write(self, history: History) -> None:
        history.write({key: [value] for key, value in self.means().items()}, 1)

    def divergence(self, data: Data) -> DivergedError:
        """Return what is to be said of a step on finite samples that was not made."""
        fitting.check_parameters(self.network)
        over = self.core.totals.weight > 0  # the loss was finite
        what = "the parameters overflowed" if over else "the loss became NaN or infinite"
        cause = advice.cause(self.network, data, self.core.training.learning_rate)
        return advice.divergence(what, self.record.epochs + 1, 1, cause)


class Trainer:
    """Trains on one mini-batch after the other, in arrays that need not be converted.

    Attributes
    ----------
    like : tuple
        The shapes of x and y, y's dtype, and the weight's shape of what may be lent as it is ...
    reader : Reader or None
        ... as long as the network reads by this one.
    """

    def __init__(self, training: BatchTraining, batch: int) -> None:
        network = training.network
        if isinstance(network.input_shape, Tokens):
            raise DataError("a trainer takes samples of numbers, not tokens; use train_on_batch")
        self._training, self._batch = training, batch
        self._network, self._record = network, training.record
        least = network.planned(network.inputs).architecture.least_batch
        fitting.check_batch(least, None, batch)
        self.like: tuple[Any, ...] = ((),) * 4
        self.reader: Reader | None = None

    def callable(self) -> Callable[..., float]:
        """Return what `pycnn.Network.trainer` promises."""
        network, record, step = self._network, self._record, self._training.step
        line, lend, explain = record.line, self._lend, self._explain
        last_x: Any = None  # what is lent ...
        last_y: Any = None
        last_weight: Any = None
        x_shape: Any = None  # ... as it was then: shapes can be set
        y_shape: Any = None
        weight_shape: Any = None
        # NumPy does not move the numbers of an array that has a weak reference. One that comes for
        # the first time gets none, since others may follow it: it is lent anew when it comes again.
        pinned: Any = None

        def train(x: Array, y: Array | Indices, weight: Array | None = None) -> float:
            nonlocal last_x, last_y, last_weight, x_shape, y_shape, weight_shape, pinned
            me = object()
            try:
                line[me] = Process.id
                if len(line) > 1:  # else it is the first
                    record.get_in_line(me)
                if (
                    x is not last_x
                    or y is not last_y
                    or weight is not last_weight
                    or pinned is None
                    or network.reader is not self.reader
                    or x.shape != x_shape
                    or y.shape != y_shape
                    or (weight is not None and weight.shape != weight_shape)
                ):
                    again = x is last_x and y is last_y and weight is last_weight
                    last_x = pinned = None  # until all of it is lent
                    if lend(x, y, weight):
                        x_shape, y_shape, _, weight_shape = self.like
                        if again:
                            pinned = ref(x), ref(y), weight is None or ref(weight)
                        last_x, last_y, last_weight = x, y, weight
                try:
                    return step()
                except (NotFiniteError, PycnnError):
                    explain(x, y, weight)
                    raise
            finally:
                line.pop(me, None)

        return train

    def _explain(self, x: Any, y: Any, weight: Any) -> None:
        """Raise what is to be said of a step that cannot be done."""
        self._check(x, y, weight)
        data, _ = fitting.read_one(self._network, x, y, weight, None, None)
        if isinstance(sys.exception(), NotFiniteError):
            raise self._training.divergence(data) from None

    def _lend(self, x: Any, y: Any, weight: Any) -> bool:
        """Lend a mini-batch to the core; tell whether the arrays are, and not what was read."""
        x_shape, y_shape, y_dtype, weight_shape = self.like
        if (
            type(x) is type(y) is np.ndarray
            and x.shape == x_shape
            and y.shape == y_shape
            and (x.dtype is _FLOAT64 or x.dtype == _FLOAT64)
            and (y.dtype is y_dtype or y.dtype == y_dtype)
            and (weight is None) == (weight_shape is None)
            and (weight is None or self._is_array(weight, weight_shape))
            and self._network.reader is self.reader
        ):
            try:
                self._training.core.lend_again(x, y, weight)
            except ValueError:
                self._check(x, y, weight)
                raise
            return True
        return self._read(x, y, weight)

    def _read(self, x: Any, y: Any, weight: Any) -> bool:
        """Lend what `train_on_batch` would; tell whether such arrays can be lent as they are."""
        self._check(x, y, weight)
        network, training = self._network, self._training
        data, learned = fitting.read_one(network, x, y, weight, None, None)
        fitting.check_one(network, data, None)
        network.learn(learned)
        self.reader = None  # as long as it is not clear what is lent
        training.lend(data)
        # Others are read each time, such as one-hot numbers, of which classes are learned.
        encoder = learned.encoder
        if data.has_labels:
            classes = encoder.classes
            plain = classes is not None and np.array_equal(classes, np.arange(encoder.units))
            plain = plain and y.dtype == data.y.dtype and data.y.ndim == 1
        else:
            plain = np.may_share_memory(data.y, y)
            plain = plain and not (losses.may_be_one_hot(network.loss) and encoder.has_classes)
        given = [x, y] if weight is None else [x, y, weight]
        if not (plain and all(type(array) is np.ndarray for array in given)):
            return False
        training.core.lend_again(x, y, weight)  # and not what reading has made of them
        self.like = x.shape, y.shape, y.dtype, None if weight is None else weight.shape
        self.reader = learned
        return True

    def _is_array(self, value: Any, shape: Any) -> bool:
        return type(value) is np.ndarray and value.dtype == _FLOAT64 and value.shape == shape

    def _check(self, x: Any, y: Any, weight: Any) -> None:
        """Raise where arrays are not of the right kind, or not finite."""
        labels = losses.targets(self._network.loss) == "classes"
        for name, array in (("x", x), ("y", y), ("weight", weight)):
            if array is None and name == "weight":
                continue
            whole = name == "y" and labels
            if not (
                isinstance(array, np.ndarray)
                and (array.dtype == _FLOAT64 or (whole and array.dtype.kind in "iu"))
                and array.shape[:1] == (self._batch,)
            ):
                kinds = "float64 or integer" if whole else "float64"
                got = repr(array)[:80]
                if isinstance(array, np.ndarray):
                    got = f"{array.dtype} of shape {array.shape}"
                raise ShapeError(
                    f"{name} must be a {kinds} array with a batch of {self._batch}, got {got}"
                )
            if not (array.flags.c_contiguous and array.flags.aligned):
                raise ShapeError(f"{name} must be contiguous; np.ascontiguousarray({name}) is")
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                epoch = self._record.epochs + 1
                raise advice.divergence(f"{name} has a NaN or an infinity", epoch, 1, "")
