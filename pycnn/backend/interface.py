"""What passes the seam: plain data that both backends read. Validation has happened above."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from pycnn._record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pycnn._typing import Array, Bits, Flags, Indices, Shape

    Predictor = Callable[[Array], Array]
    RowPredictor = Callable[[Array], Array | None]
    Sampler = Callable[[Array, float], int]
    Sampling = tuple[float, int, float]  # temperature, top_k or 0, top_p or 1
    # (tokens, known, count, written) -> how many tokens were written behind those that are known
    Writer = Callable[[Indices, int, int, int], int]
    # (outputs, targets) -> each sample's loss, and its derivative by the outputs; all (m, n_L) but
    # the loss, (m,). Of sequences each position's: all (m, T, n) but the loss, (m, T)
    LossFunction = Callable[[Array, Array], tuple[Array, Array]]

# Penalties and max-norms mean the weights. A statistic is counted by training, not learned.
Role: TypeAlias = Literal["weight", "bias", "scale", "statistic"]

# A number, sizes along some axes, or what one of the core's enums calls a choice ("same").
Setting: TypeAlias = "float | str | tuple[int, ...]"

_NO_SETTINGS: Mapping[str, Any] = MappingProxyType({})


class TensorSpec(Record):
    """An array that a layer has in theta."""

    name: str
    shape: Shape
    role: Role


class LayerSpec(Record):
    """A layer on a given input, as a backend needs to know it: the core's ``pycnn_layer_spec``."""

    kind: str
    input_shape: Shape  # of a sample
    output_shape: Shape
    tensors: tuple[TensorSpec, ...]  # as in theta and in the files; the statistics come last
    activation: str = "linear"
    settings: Mapping[str, Any] = _NO_SETTINGS  # a `Setting` by its name in ``pycnn_layer_spec``
    needs_batch: bool = False  # in training an output depends on the whole mini-batch
    is_random: bool = False  # it draws random numbers in training
    least_batch: int = 1  # samples of a mini-batch, of which a layer makes something in training
    inner: tuple[LayerSpec, ...] = ()  # a composite layer's layers, one after the other ...
    shortcut: LayerSpec | None = None  # ... and the one beside them; None: the identity
    name: str | None = None  # within another, in the names of tensors; "": none; None: its number
    knows_lengths: bool = False  # positions of a sequence that are not there do not matter to it


class OptimizerSpec(Record):
    """An optimizer's settings, as the C core's ``pycnn_optimizer``; 0 turns a clip off."""

    kind: str
    momentum: float = 0.0
    nesterov: bool = False
    centered: bool = False
    beta_1: float = 0.0
    beta_2: float = 0.0
    epsilon: float = 0.0
    weight_decay: float = 0.0
    clip_value: float = 0.0
    clip_norm: float = 0.0
    increase: float = 0.0
    decrease: float = 0.0
    min_step: float = 0.0
    max_step: float = 0.0
    slots: int = 0  # buffers as long as theta that it remembers


def up_to_lengths(x: Array, lengths: Indices | None, positions: int) -> Array:
    """Return sequences, (m, T F), with zeros behind their lengths, whatever stands there."""
    if lengths is None:
        return x
    there = np.arange(positions) < lengths[:, None]
    return np.where(there[..., None], x.reshape(len(x), positions, -1), 0.0).reshape(len(x), -1)


def window_begin(known: int, window: int) -> int:
    """Return where the window begins that so many positions are read in; 0: it has no end.

    When one is full, its last half begins the next.
    """
    step = window - window // 2
    return -(-max(0, known - window) // step) * step if window else 0


class Data(Record):
    """Labelled samples: contiguous float64 (labels: intp), a row a sample.

    Where the outputs are sequences, (P, n), each position has a target and, it may be, a weight.
    """

    x: Any  # (rows, n_0); above the backends also `pycnn._data.sources.LazyTable`
    # (rows, n_L) or (rows, P, n); or class indices, (rows,) or (rows, P), -1: not observed
    y: Array | Indices
    weight: Array | None  # (rows,) or (rows, P), or all are 1
    lengths: Indices | None = None  # (rows,) positions of each that are there, or all are
    # (rows, numbers) what layers remember of the positions before, in the order of the C core; a
    # call leaves there what they remember behind the last one. None: nothing, zeros.
    state: Array | None = None

    @property
    def rows(self) -> int:
        """Number of samples."""
        return len(self.x)

    @property
    def has_labels(self) -> bool:
        """Whether the targets are class indices."""
        return self.y.dtype.kind == "i"

    def one_hot(self, units: int) -> Array:
        """Return the targets as (..., units) numbers, also where they are class indices.

        What was not observed is NaN.
        """
        if not self.has_labels:
            return self.y.astype(np.float64, copy=False)
        y = (self.y[..., None] == np.arange(units)).astype(np.float64)
        y[self.y < 0] = np.nan
        return y

    def take(self, index: Indices | slice, x: Any = None) -> Data:
        """Return some rows; `x` are theirs, where somebody has looked them up."""
        return self._replace(
            x=self.x[index] if x is None else x,
            y=self.y[index],
            weight=None if self.weight is None else self.weight[index],
            lengths=None if self.lengths is None else self.lengths[index],
            state=None if self.state is None else self.state[index],
        )

    def window(self, first: int, end: int, positions: int, state: Array) -> Data:
        """Return some of the positions of sequences, each of which has a target.

        A sequence that has ended before has nothing in them, and no target.
        """
        x = self.x.reshape(self.rows, positions, -1)[:, first:end].copy().reshape(self.rows, -1)
        lengths, count = self.lengths, end - first
        if lengths is not None:
            lengths = (lengths - first).clip(0, count)
            x, lengths = up_to_lengths(x, lengths, count), np.maximum(lengths, 1)
            lengths = None if lengths.min() == count else lengths
        weight = self.weight
        if weight is not None and weight.ndim == 2:
            weight = weight[:, first:end].copy()
        y: Array | Indices = self.y[:, first:end].copy()
        return Data(x, y, weight, lengths, state)

    def observed(self) -> Flags:
        """Tell for each sample, or each position of sequences, whether it has any target."""
        if self.has_labels:
            return self.y >= 0
        seen: Flags = np.logical_not(np.isnan(self.y).all(axis=-1))
        return seen

    def by_position(self) -> Data:
        """Return the data with each position of a sequence as a sample; `x` stays as it is."""
        if self.y.ndim == 2 - self.has_labels:
            return self
        rows, positions = self.y.shape[:2]
        weight = self.weight
        if weight is not None:
            weight = np.repeat(weight, positions) if weight.ndim == 1 else weight.ravel()
        return self._replace(y=self.y.reshape(rows * positions, *self.y.shape[2:]), weight=weight)


class Totals(Record):
    """Weighted sums over samples: the mean loss is ``loss / weight``."""

    loss: float
    weight: float
    correct: float

    def mean_loss(self) -> float:
        """Return the weighted mean; NaN when all weights are 0, which measures nothing."""
        return self.loss / self.weight if self.weight else math.nan

    def accuracy(self) -> float:
        """Return the weighted fraction of right answers; NaN where there is no mean loss."""
        return math.nan if math.isnan(self.mean_loss()) else self.correct / self.weight


class TrainingState:
    """Everything that decides the next training step, beside theta: plain data.

    Counts epochs and samples as the C core's ``pycnn_training`` does; `totals` has a row an epoch:
    the sums of loss, weight and right answers over that epoch.
    """

    def __init__(
        self,
        epochs: int,
        batch_size: int,
        learning_rate: float,
        order: Indices | None,
        optimizer: OptimizerSpec | None = None,
        slots: Array | None = None,
        updates: int = 0,
        dropout_keys: Bits | None = None,
    ) -> None:
        self.epochs = epochs
        self.epoch = 0
        self.position = 0
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.order = order  # (epochs, rows), or None: as they lie
        self.totals: Array = np.zeros((epochs, 3))
        self.optimizer = optimizer  # None: gradient descent
        self.slots: Array = np.zeros(0) if slots is None else slots  # (slots, parameters)
        self.updates = updates  # of theta since the slots were zero
        self.dropout_keys = dropout_keys  # (epochs,) what dropout's random numbers follow from
        self.sample_offset = 0  # samples of the epoch that came before this data
        self.learning_rates: Array | None = None  # of each step of the next call
        # Sums of the gradients' norms, where they are clipped and so known.
        clips = optimizer is not None and optimizer.clip_norm > 0
        self.norms: Array | None = np.zeros(epochs) if clips else None
        self.steps = 0  # mini-batches done
        # Where sequences are trained on window by window: where the next one begins, and what is
        # remembered there. It is replaced, never changed.
        self.start = 0
        self.carried: Array | None = None
        self._kept: tuple[Array, Array] | None = None  # of `keep`

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_kept": None}

    def keep(self, theta: Array) -> tuple[Array, Array]:
        """Return copies of theta and the slots, in buffers that the next call overwrites.

        New ones for each step would take longer than the step: their pages come from the system.
        """
        if self._kept is None or self._kept[0].shape != theta.shape:
            self._kept = np.empty_like(theta), np.empty_like(self.slots)
        self._kept[0][:], self._kept[1][:] = theta, self.slots
        return self._kept

    def snapshot(self, theta: Array) -> tuple[Any, ...]:
        """Return what a training step changes, `theta` too, to be put back by `restore`."""
        norms = None if self.norms is None else self.norms.copy()
        place = self.epoch, self.position, self.start, self.carried, self.updates, self.steps
        return place, self.totals.copy(), self.slots.copy(), norms, theta.copy()

    def restore(self, theta: Array, snapshot: tuple[Any, ...]) -> None:
        """Put back what `snapshot` returned.

        Nothing is called here, and Python looks for signals in calls: all comes back, or nothing.
        """
        place, totals, slots, norms, parameters = snapshot
        self.epoch, self.position, self.start, self.carried, self.updates, self.steps = place
        self.totals[:], self.slots[:], theta[:] = totals, slots, parameters
        if self.norms is not None:
            self.norms[:] = norms


class NotFiniteError(Exception):
    """A mini-batch's loss is not finite; `steps` were done before it."""

    def __init__(self, steps: int) -> None:
        super().__init__(steps)
        self.steps = steps


class Plan:
    """What a backend keeps of a network, for itself: shapes, functions, buffers; no parameters."""
