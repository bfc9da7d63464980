"""The calls that pass the seam, each a few lines over passes and updates; csrc/network.c."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from pycnn._checks import find_not_finite
from pycnn.backend.interface import NotFiniteError, TrainingState, up_to_lengths
from pycnn.backend.numpy.layer import BatchContext, steps_through, update_statistics
from pycnn.backend.numpy.pass_ import backward, forward, load_targets, score
from pycnn.backend.numpy.update import mean_gradient, penalty, step
from pycnn.exceptions import DataError, LabelError

if TYPE_CHECKING:
    from pycnn._typing import Array, Bits, Indices, Shape
    from pycnn.backend.interface import (
        Data,
        OptimizerSpec,
        Predictor,
        RowPredictor,
        Totals,
    )
    from pycnn.backend.numpy.plan import Plan
    from pycnn.backend.protocol import BatchTrainer

# Below it a sum of weights is nothing to divide by; csrc/pass.h.
LEAST_WEIGHT, MOST_WEIGHT = 1e-250, 1e250
# Rows that `predict` takes through the network together.
PIECE = 1024

MEASURING = BatchContext()
PREDICTING = BatchContext(alone=True)


def isa() -> str:
    """Name the instruction set: NumPy's own business."""
    return "numpy"


def compiler() -> str:
    """Name the compiler: there is none."""
    return "none (NumPy fallback)"


def threads() -> int:
    """Return the most threads that a call will use; those of NumPy's products are its own."""
    return 1


@np.errstate(all="ignore")
def predict(plan: Plan, theta: Array, x: Array, out: Array, lengths: Indices | None = None) -> bool:
    """Put the network's output for each row of `x` into `out`; return whether `x` is finite.

    Where it is not, `out` is not to be used. What stands behind the `lengths` does not matter.
    """
    x = up_to_lengths(x, lengths, plan.input_positions)
    finite = find_not_finite(x) == x.size
    if finite:
        _predict(plan, theta, x, out, PREDICTING._replace(lengths=lengths))
    return finite


@np.errstate(all="ignore")
def predict_samples(plan: Plan, theta: Array, x: Array, keys: Bits, first: int, out: Array) -> None:
    """Put the outputs with dropout left on into `out`, (draws, rows, ...), by a key a draw.

    `first` is the number of the first row of `x`, which is finite.
    """
    for key, drawn in zip(keys, out, strict=True):
        context = BatchContext(dropping=True, dropout_key=int(key), sample_offset=first, alone=True)
        _predict(plan, theta, x, drawn, context)


def _predict(plan: Plan, theta: Array, x: Array, out: Array, context: BatchContext) -> None:
    """Put the network's output for each row of `x` into `out`.

    Some rows at a time, between which Ctrl-C is answered.
    """
    states = context.states
    out = out.reshape(len(x), -1)
    for first in range(0, len(x), PIECE):
        some = slice(first, first + PIECE)
        here = context._replace(
            sample_offset=context.sample_offset + first,
            lengths=None if context.lengths is None else context.lengths[some],
            states=None if states is None else states[:, some],
        )
        last = x[some].T
        for _, a, _ in steps_through(plan.layers, theta, last, here):
            last = a
        out[some] = last.T


def predictor(
    plan: Plan, theta: Array, batch: int, outputs: Shape, frozen: bool = False
) -> Predictor:
    """Return a callable that predicts `batch` rows with the least delay.

    It raises ValueError where they are not contiguous. A frozen one has a copy of theta.
    """
    result = np.zeros((batch, *outputs))
    theta = theta.copy() if frozen else theta

    def predict_bound(x: Array) -> Array:
        if not x.flags.c_contiguous:
            raise ValueError("ndarray is not C-contiguous")
        _predict(plan, theta, x.reshape(batch, -1), result, PREDICTING)
        return result

    return predict_bound


def state_count(plan: Plan) -> int:
    """Return how many numbers go on from one part of a sequence to the next."""
    return plan.state_count


def stepper(
    plan: Plan, theta: Array, batch: int, outputs: Shape, frozen: bool = False
) -> tuple[Predictor, Array]:
    """Return what takes the next part of `batch` sequences, and the state, (batch, numbers).

    The state is there from one call to the next; zeros begin new sequences.
    """
    result, states = np.zeros((batch, *outputs)), np.zeros((batch, plan.state_count))
    theta = theta.copy() if frozen else theta
    context = PREDICTING._replace(states=states.T)

    @np.errstate(all="ignore")
    def step(x: Array) -> Array:
        _predict(plan, theta, x.reshape(batch, -1), result, context)
        return result

    return step, states


def row_predictor(plan: Plan, theta: Array, outputs: Shape) -> RowPredictor:
    """Return a callable that predicts one row: None where that is not contiguous or not finite."""

    def predict_row(x: Array) -> Array | None:
        result = np.empty((1, *outputs))
        return (
            result
            if x.flags.c_contiguous and predict(plan, theta, x.reshape(1, -1), result)
            else None
        )

    return predict_row


def _with_penalty(plan: Plan, theta: Array, totals: Totals) -> Totals:
    return totals._replace(loss=totals.loss + totals.weight * penalty(plan, theta))


@np.errstate(all="ignore")
def evaluate(plan: Plan, theta: Array, data: Data) -> Totals:
    """Return the sums of loss, weight and right answers over the data."""
    activations = forward(plan, theta, data, MEASURING)
    totals, _ = score(plan, activations, load_targets(plan, data))
    return _with_penalty(plan, theta, totals)


@np.errstate(all="ignore")
def gradients(
    plan: Plan, theta: Array, data: Data, grad: Array, dropout_keys: Bits | None = None
) -> Totals:
    """Put the mean loss's gradient over the data into `grad` (lecture, equations 3 and 4).

    With `dropout_keys`, (1,), as in training on the data as one mini-batch.
    """
    context = MEASURING
    if dropout_keys is not None:
        context = BatchContext(training=True, dropping=True, dropout_key=int(dropout_keys[0]))
    totals, *_ = backward(plan, theta, data, context, grad)
    mean_gradient(plan, theta, grad, totals.weight)
    return _with_penalty(plan, theta, totals) if totals.weight else totals


@np.errstate(all="ignore")
def gradient_sums(
    plan: Plan,
    theta: Array,
    data: Data,
    grad: Array,
    dropout_keys: Bits | None = None,
    sample_offset: int = 0,
    statistics: Array | None = None,
) -> Totals:
    """Put the sums over the samples of their losses' gradients into `grad`, without the penalty.

    With `dropout_keys`, (1,), as in training on the data as one mini-batch, the first sample of
    which has the number `sample_offset` in the epoch; then `statistics` are updated, if given.
    """
    context = MEASURING
    if dropout_keys is not None:
        context = BatchContext(True, True, int(dropout_keys[0]), sample_offset)
    totals, activations, *_ = backward(plan, theta, data, context, grad)
    if statistics is not None and totals.weight > 0 and np.isfinite(totals.loss):
        after = theta.copy()
        update_statistics(plan.layers, after, activations.saved)
        statistics[:] = after[plan.parameter_count :]
    return totals


@np.errstate(all="ignore")
def update(
    plan: Plan,
    theta: Array,
    grad: Array,
    weight: float,
    state: TrainingState,
) -> None:
    """Change theta and the state as a step of training does.

    `grad` has the gradient's sums over samples of that weight, without the penalty.
    """
    assert state.optimizer is not None
    after, changed, updates = theta.copy(), state.slots.copy(), state.updates + 1
    how = state.optimizer, changed, state.learning_rate, updates
    norm = step(plan, after, grad.copy(), weight, *how)
    norms = state.norms if state.norms is not None and state.norms.size else np.zeros(1)
    # Nothing is called in between: all of it or nothing.
    theta[:], state.slots[:] = after, changed
    norms[state.epoch] += norm
    state.updates = updates
    state.steps += 1


@np.errstate(all="ignore")
def trace(
    plan: Plan, theta: Array, data: Data, grad: Array, z: Array, a: Array, delta: Array
) -> Totals:
    """As `gradients`, and put Z, A and delta of each layer, one after the other, into the rest."""
    totals, activations, deltas, _ = backward(plan, theta, data, MEASURING, grad)
    for out, parts in ((z, activations.Z), (a, activations.A[1:]), (delta, deltas)):
        np.concatenate([part.ravel() for part in parts], out=out)
    mean_gradient(plan, theta, grad, totals.weight)
    return _with_penalty(plan, theta, totals) if totals.weight else totals


@np.errstate(all="ignore")
def input_gradient(plan: Plan, theta: Array, data: Data, out: Array) -> None:
    """Put the gradient of each sample's own loss by its inputs into `out`, a row a sample."""
    *_, below = backward(plan, theta, data, MEASURING, np.empty(plan.parameter_count))
    out[:] = below.T


@np.errstate(all="ignore")
def train(plan: Plan, theta: Array, data: Data, state: TrainingState, max_steps: int) -> int:
    """Do up to `max_steps` steps of training; return how many were done.

    Raises
    ------
    NotFiniteError
        Before the update of a mini-batch whose loss is not finite.
    """
    grad = np.empty(plan.parameter_count)
    samples, steps = data.rows, 0
    while steps < max_steps and state.epoch < state.epochs:
        end = min(state.position + state.batch_size, samples)
        rows = slice(state.position, end)
        batch = data.take(rows if state.order is None else state.order[state.epoch, rows])
        key = 0 if state.dropout_keys is None else int(state.dropout_keys[state.epoch])
        context = BatchContext(True, True, key, state.sample_offset + state.position)
        totals, activations, *_ = backward(plan, theta, batch, context, grad)
        if data.state is not None:
            data.state[rows if state.order is None else state.order[state.epoch, rows]] = (
                batch.state
            )
        if totals.weight:
            totals = _with_penalty(plan, theta, totals)
        if not np.isfinite(totals.loss):
            raise NotFiniteError(steps)
        rate = state.learning_rate
        if state.learning_rates is not None:
            rate = float(state.learning_rates[steps])
        after, slots, updates, norm = theta.copy(), state.slots.copy(), state.updates, 0.0
        if totals.weight > 0:
            updates += 1
            norm = step(plan, after, grad, totals.weight, state.optimizer, slots, rate, updates)
            update_statistics(plan.layers, after, activations.saved)
        # The whole step, or nothing of it: up to the loop's end nothing is called, and Python looks
        # for signals in calls.
        theta[:], state.slots[:], state.updates = after, slots, updates
        state.totals[state.epoch] += totals
        if state.norms is not None:
            state.norms[state.epoch] += norm
        state.position = end
        if end == samples:
            state.position = 0
            state.epoch += 1
        steps += 1
        state.steps += 1
    return steps


class _BatchTrainer:
    """As the C backend's, by `train` on copies."""

    def __init__(
        self, plan: Plan, theta: Array, optimizer: OptimizerSpec, keys: Bits | None
    ) -> None:
        self._plan, self._theta, self._optimizer, self._keys = plan, theta, optimizer, keys
        self.training = SimpleNamespace(updates=0, learning_rate=0.0)
        self.totals = SimpleNamespace(loss=0.0, weight=0.0, correct=0.0)
        self.norms: Array | None = None
        self.done = SimpleNamespace(steps=0)

    def remember(self, slots: Array, updates: int) -> None:
        """Go on with what the optimizer remembers after so many updates; it changes in place."""
        self._slots, self.training.updates = slots, updates

    def lend(self, data: Data, order: Indices | None = None) -> None:
        """Take the samples of the next steps, in this order."""
        self._data, self._order = data, order

    def lend_again(self, x: Array, y: Array | Indices, weight: Array | None) -> None:
        """Take other samples, in arrays of the same shapes and kinds as before."""
        data, given = self._data, [x, y] if weight is None else [x, y, weight]
        if not all(array.flags.c_contiguous and array.flags.aligned for array in given):
            raise ValueError("arrays must be contiguous, and aligned")
        self._data = data._replace(
            x=x.reshape(data.x.shape), y=y.reshape(data.y.shape), weight=weight
        )

    def check(self) -> None:
        """Nothing: `run` raises."""

    def run(self) -> float:
        """Do a step."""
        data, training, totals = self._data, self.training, self.totals
        totals.weight = 0.0
        order = None if self._order is None else self._order[None]
        rate, slots = training.learning_rate, self._slots.copy()
        part = TrainingState(
            1, data.rows, rate, order, self._optimizer, slots, training.updates, self._keys
        )
        if data.lengths is None:
            _check_batch(self._plan, data)
        after = self._theta.copy()
        train(self._plan, after, data, part, 1)
        totals.loss, totals.weight, totals.correct = part.totals[0].tolist()
        self.norms = part.norms
        if not np.isfinite(after).all():
            raise NotFiniteError(0)
        # The whole step, or nothing of it: nothing is called.
        self._theta[:], self._slots[:] = after, part.slots
        training.updates = part.updates
        self.done.steps += 1
        return totals.loss / totals.weight if totals.weight else math.nan


@np.errstate(over="ignore")
def _check_batch(plan: Plan, data: Data) -> None:
    """Raise where a step cannot be done with such numbers; csrc/network.c."""
    given = [data.x, data.y] if data.weight is None else [data.x, data.y, data.weight]
    if not all(np.isfinite(array).all() for array in given):
        raise NotFiniteError(0)
    weight = data.weight
    if weight is not None and ((weight < 0) | ((weight > 0) & (weight < LEAST_WEIGHT))).any():
        raise DataError("a weight is below 0, or divides by next to nothing")
    if weight is not None and weight.sum() > MOST_WEIGHT:
        raise DataError("the weights have too large a sum")
    y = data.y
    least = 0 if y.ndim == 1 else -1  # of a position that was not observed
    if data.has_labels and ((y < least) | (y >= plan.units)).any():
        raise LabelError("a label is no class")
    shares = plan.loss in ("categorical_crossentropy", "kl_divergence")
    if not data.has_labels and (
        ((shares or plan.loss == "binary_crossentropy") and not ((y >= 0) & (y <= 1)).all())
        or (plan.loss == "poisson" and (y < 0).any())
        or (plan.loss == "hinge" and (np.abs(y) != 1).any())
        or (shares and (np.abs(y.sum(axis=-1) - 1) > 1e-6).any())
    ):
        raise DataError("a target is out of the loss's range")


def batch_trainer(
    plan: Plan, theta: Array, optimizer: OptimizerSpec, keys: Bits | None
) -> BatchTrainer:
    """Return what does one step after another, each on a mini-batch."""
    return _BatchTrainer(plan, theta, optimizer, keys)
