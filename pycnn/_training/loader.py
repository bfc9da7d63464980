"""The loader: hands a training's samples to a backend, as they lie or piece by piece."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pycnn import _random
from pycnn._data import sources
from pycnn._data.arrays import as_numbers, check_finite
from pycnn._data.sources import LazyTable
from pycnn._data.stream import UNKNOWN, BatchStream
from pycnn.backend.interface import TrainingState
from pycnn.exceptions import DataError, DataTypeError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pycnn._model import Model
    from pycnn._training.checkpoint import Checkpoint, TrainingRecord
    from pycnn._typing import Array
    from pycnn.backend.interface import Data, Totals

    # (x, y, rng) -> (x, y)
    Augment = Callable[[Array, Array, np.random.Generator], tuple[Any, Any]]


def check_augment(augment: Any) -> list[Augment]:
    """Return a list of augmenters."""
    given = [augment] if callable(augment) else augment
    if given is None:
        return []
    if isinstance(given, (list, tuple)) and all(callable(item) for item in given):
        return cast("list[Augment]", list(given))
    raise DataTypeError(
        f"augment must be a function (x, y, rng) -> (x, y) or a list of them, got {augment!r}"
    )


class Loader:
    """What a training trains on: data as they lie, or in pieces.

    Attributes
    ----------
    is_stream : bool
        Whether mini-batches come from an iterable of the user's.
    is_whole : bool
        Whether a backend can read the data as they are.
    first_epoch : int
        The number, of all that the network was trained for, of the present block's first epoch.
    sample : Data
        What the data are like: of what is not in memory, what was read last.
    windows : int
        Steps that a mini-batch is trained in.
    settings : dict
        What else has to be the same in a training that goes on with this one.
    """

    windows = 1
    settings: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self, network: Model, record: TrainingRecord, data: Any, augment: list[Augment]
    ) -> None:
        self.network, self.record = network, record
        self.data, self.augment = data, augment
        self.is_stream = isinstance(data, BatchStream)
        self.is_whole = not (self.is_stream or isinstance(data.x, LazyTable) or augment)
        self.rows: int = data.rows
        self.first_epoch = network.epochs_trained
        self.sample = data

    @property
    def can_go_back(self) -> bool:
        """Whether steps can be done again."""
        source = self.data.source if self.is_stream else None
        return source is None or callable(source) or iter(source) is not source

    def train(self, theta: Array, state: TrainingState, steps: int) -> int:
        """Do up to `steps` steps of training, as the backends' ``train``; return how many.

        Raises
        ------
        NotFiniteError
            As they do.
        """
        if self.is_whole:
            return self._let_train(theta, self.data, state, steps)
        done = 0
        while done < steps and state.epoch < state.epochs:
            piece = self._next_piece(state, steps - done)
            if piece is not None:
                done += self._train_piece(theta, state, *piece, done)
            self._end_epoch(state)
        return done

    def _end_epoch(self, state: TrainingState) -> None:
        """End the epoch where an iterable has no more mini-batches."""
        if self.is_stream and not self.data.more():
            if not state.position:
                raise DataError("X must have at least one mini-batch")
            self.record.in_step = True
            self.data.counted = state.position
            state.epoch, state.position = state.epoch + 1, 0

    def gradients(self, theta: Array, gradient: Array) -> Totals:
        """Put the mean loss's gradient over all samples into `gradient`, as the backends do."""
        plan = self.network.planned(self.data.x.shape[1]).plan
        return self.network.core.gradients(plan, theta, self.data, gradient)

    def _train_piece(
        self, theta: Array, state: TrainingState, piece: Data, first: int, batch: int, done: int
    ) -> int:
        """Let the backend train on some mini-batches, as a part of an epoch."""
        epoch, part = state.epoch, self._part_of(state, batch, first, done)
        self.sample = piece
        steps = -(-piece.rows // batch)
        rows, last = (1, UNKNOWN) if self.is_stream else (batch, self.rows)
        try:
            result = self._let_train(theta, piece, part, steps)
        finally:
            # Also where a loss is not finite, and on Ctrl-C, of which there cannot be another:
            # nothing is called here, and Python looks for signals in calls.
            state.updates = part.updates
            state.steps += part.steps
            state.position += part.steps * rows
            if state.position >= last:
                state.epoch, state.position = epoch + 1, 0
        self.record.in_step = state.epoch != epoch
        return result

    def _part_of(self, state: TrainingState, batch: int, first: int, done: int) -> TrainingState:
        """Return the state of a part of an epoch, the first sample of which has this number."""
        epoch = state.epoch
        part = TrainingState(
            1, batch, state.learning_rate, None, state.optimizer, state.slots, state.updates
        )
        part.sample_offset = first
        if state.dropout_keys is not None:
            part.dropout_keys = state.dropout_keys[epoch : epoch + 1]
        if state.learning_rates is not None:
            part.learning_rates = state.learning_rates[done:]
        part.totals = state.totals[epoch : epoch + 1]  # the same memory: sums go on in one chain
        if state.norms is not None:
            part.norms = state.norms[epoch : epoch + 1]
        return part

    def step_of(self, state: TrainingState) -> int:
        """Return how many steps of the epoch are done."""
        return state.position // state.batch_size

    def fits(self, checkpoint: Checkpoint) -> bool:
        """Tell whether a training can go on from there, as far as windows are concerned."""
        return checkpoint.start == 0 and checkpoint.carried is None

    def _let_train(self, theta: Array, data: Data, state: TrainingState, steps: int) -> int:
        network = self.network
        plan = network.planned(data.x.shape[1]).plan
        self.record.in_step = True
        done: int = network.core.train(plan, theta, data, state, steps)
        return done

    def _next_piece(self, state: TrainingState, steps: int) -> tuple[Data, int, int] | None:
        """Return the samples of the next steps, how many came before, and a mini-batch's size."""
        epoch, position = self.first_epoch + state.epoch, state.position
        if self.is_stream:
            self.data.go_to(position)
            first = self.data.seen
            batch = self.data.following()
            if batch is None:
                return None
            return self._augmented(batch, epoch, position), first, batch.rows
        size = state.batch_size
        most = max(1, sources.PIECE // (8 * size * self.data.x.shape[1]))
        part = slice(position, min(position + min(steps, most) * size, self.rows))
        piece = self.data.take(part if state.order is None else state.order[state.epoch, part])
        if self.augment:
            parts = [
                self._augmented(piece.take(slice(at, at + size)), epoch, (position + at) // size)
                for at in range(0, piece.rows, size)
            ]
            x, y = (np.concatenate([getattr(p, name) for p in parts]) for name in ("x", "y"))
            piece = piece._replace(x=x, y=y)
        return piece, position, size

    def _augmented(self, piece: Data, epoch: int, batch: int) -> Data:
        return augmented(self.network, self.augment, piece, epoch, batch) if self.augment else piece


class WindowLoader(Loader):
    """Trains on the sequences of a mini-batch window by window, each of which is a step.

    What layers remember goes on from one window to the next, and gradients end where a window
    begins: truncated back-propagation through time (Williams & Peng, 1990).

    Parameters
    ----------
    size : int
        Positions of a window; the last one of a sequence may have fewer.
    """

    def __init__(
        self,
        network: Model,
        record: TrainingRecord,
        data: Data | BatchStream,
        augment: list[Augment],
        size: int,
    ) -> None:
        super().__init__(network, record, data, augment)
        self.is_whole, self.size = False, size
        first = data.peek() if isinstance(data, BatchStream) else data
        self.positions: int = first.y.shape[1]
        self.windows = -(-self.positions // size)
        core, plan = network.core, network.planned(first.x.shape[1]).plan
        self.numbers = core.state_count(plan)  # that are remembered of a sequence
        # The last mini-batch and how many samples came before it, by its place.
        self._batch: tuple[tuple[int, int], Data, int] = (-1, -1), first, 0

    def step_of(self, state: TrainingState) -> int:
        """Return how many steps of the epoch are done."""
        return super().step_of(state) * self.windows + state.start // self.size

    def fits(self, checkpoint: Checkpoint) -> bool:
        """Tell whether a training can go on from there, as far as windows are concerned."""
        start, carried = checkpoint.start, checkpoint.carried
        if not start or carried is None:
            return super().fits(checkpoint)
        within = start % self.size == 0 and start < self.positions
        if self.is_stream:  # the mini-batch itself is not known yet
            return within and carried.ndim == 2 and carried.shape[1] == self.numbers
        rows = min(checkpoint.settings["batch_size"], self.rows - checkpoint.position)
        return within and carried.shape == (rows, self.numbers)

    def train(self, theta: Array, state: TrainingState, steps: int) -> int:
        """Do up to `steps` steps of training, as the backends' ``train``; return how many."""
        done = 0
        while done < steps and state.epoch < state.epochs:
            if self._find_batch(state):
                done += self._train_window(theta, state, done)
            if not state.start:
                self._end_epoch(state)
        return done

    def _train_window(self, theta: Array, state: TrainingState, done: int) -> int:
        _, batch, before = self._batch
        first, epoch = state.start, state.epoch
        end = min(first + self.size, self.positions)
        after = np.zeros((batch.rows, self.numbers)) if state.carried is None else state.carried
        after = after.copy()
        self.sample = window = batch.window(first, end, self.positions, after)
        # No two windows of an epoch draw the same random numbers.
        drawn = before * self.windows + first // self.size * max(state.batch_size, batch.rows)
        part = self._part_of(state, batch.rows, drawn, done)
        following: tuple[int, int, int, Array | None] = epoch, state.position, end, after
        if end == self.positions:
            rows, last = (1, UNKNOWN) if self.is_stream else (batch.rows, self.rows)
            behind = state.position + rows
            following = (epoch, behind, 0, None) if behind < last else (epoch + 1, 0, 0, None)
        try:
            result = self._let_train(theta, window, part, 1)
        finally:
            # As in `_train_piece`: nothing is called here.
            state.updates = part.updates
            state.steps += part.steps
            if part.steps:
                state.epoch, state.position, state.start, state.carried = following
        self.record.in_step = state.epoch != epoch
        return result

    def _find_batch(self, state: TrainingState) -> bool:
        """Have the mini-batch that is trained on, whole sequences; tell whether there is one."""
        place = self.first_epoch + state.epoch, state.position
        if self._batch[0] == place:
            return True
        piece = self._next_piece(state, 1)
        if piece is None:
            return False
        batch, before, _ = piece
        if batch.y.shape[1] != self.positions:
            raise ShapeError(
                f"truncate wants sequences of one length in all mini-batches, but number "
                f"{state.position} of X has {batch.y.shape[1]} positions, the first one "
                f"{self.positions}; lengths= say where shorter ones end"
            )
        if state.carried is not None and len(state.carried) != batch.rows:
            raise DataError(
                f"resume=True: mini-batch {state.position} of X has {batch.rows} samples, but "
                f"{len(state.carried)} where the training has ended"
            )
        self._batch = place, batch, before
        return True


def augmented(network: Model, augment: list[Augment], data: Data, epoch: int, batch: int) -> Data:
    """Return a mini-batch as the augmenters change it, by random numbers of its own."""
    x, y = network.in_shape(data.x).copy(), data.one_hot(network.encoder.units).copy()
    scale = network.encoder.scale
    if scale is not None:
        scale.restore(y)
    bits = _random.generator(network.seed, _random.AUGMENTING, epoch, batch)
    rng = np.random.Generator(bits)
    for augmenter in augment:
        name = getattr(augmenter, "__name__", repr(augmenter))
        try:
            new_x, new_y = augmenter(x, y, rng)
        except (TypeError, ValueError) as error:
            raise DataTypeError(f"augment: {name} must return (x, y): {error}") from error
        new_x = as_numbers(new_x, f"augment: x of {name}")
        new_y = as_numbers(new_y, f"augment: y of {name}")
        if new_x.shape != x.shape or new_y.shape != y.shape:
            raise ShapeError(
                f"augment: {name} must keep the shapes {x.shape} and {y.shape}, "
                f"got {new_x.shape} and {new_y.shape}"
            )
        x, y = new_x, new_y
        check_finite(x, f"augment: x of {name}")
    y = y if scale is None else scale.scaled(y)
    return data._replace(x=x.reshape(len(x), -1), y=y)
