"""The loader: hands a training's samples to a backend, as they lie or piece by piece."""

from __future__ import annotations

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
    from collections.abc import Callable

    from pycnn._model import Model
    from pycnn._training.checkpoint import TrainingRecord
    from pycnn._typing import Array
    from pycnn.backend.interface import Data

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
    """

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
            if self.is_stream and not self.data.more():
                if not state.position:
                    raise DataError("X must have at least one mini-batch")
                self.record.in_step = True
                self.data.counted = state.position
                state.epoch, state.position = state.epoch + 1, 0
        return done

    def _train_piece(
        self, theta: Array, state: TrainingState, piece: Data, first: int, batch: int, done: int
    ) -> int:
        """Let the backend train on some mini-batches, as a part of an epoch."""
        epoch = state.epoch
        self.sample = piece
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
        return (
            _augmented(self.network, self.augment, piece, epoch, batch) if self.augment else piece
        )


def _augmented(network: Model, augment: list[Augment], data: Data, epoch: int, batch: int) -> Data:
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
