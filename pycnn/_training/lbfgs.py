"""L-BFGS: quasi-Newton steps over the whole data, which must be small.

The direction comes from the last few pairs s = theta_k+1 - theta_k, y = g_k+1 - g_k by the two-loop
recursion, the step's length from a line search for the strong Wolfe conditions.

Loss and gradient are a backend's. All that is computed here are elementwise operations, which IEEE
754 rounds exactly, and sums in NumPy's own order, pairwise, which depends on the length alone: so
the bits are the same for any number of threads and any instruction set. A BLAS would not do.

Sources: Liu & Nocedal 1989; Nocedal & Wright, Numerical Optimization, 2006 ("N&W").
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pycnn._checks import check_fits
from pycnn._training import advice
from pycnn._training.checkpoint import RUNNING
from pycnn._training.checkpointer import Place
from pycnn.callbacks import ReduceLROnPlateau
from pycnn.exceptions import DataError, DivergedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycnn._model import Model
    from pycnn._training.checkpoint import Checkpoint
    from pycnn._training.checkpointer import Reporter
    from pycnn._training.loader import Loader
    from pycnn._typing import Array
    from pycnn.callbacks import Callback
    from pycnn.optimizers import LBFGS

    Line = Callable[[float], tuple[float, float]]

# Of the Wolfe conditions: how much of the decrease that the slope promises there must be, and how
# much of the slope may be left (N&W, section 3.1: the usual ones for quasi-Newton directions).
DECREASE, CURVATURE = 1e-4, 0.9
# A pair whose curvature s.y / y.y is below this is rounding, or no minimum is near: it is left out.
LEAST_CURVATURE = float(np.finfo(np.float64).eps)


def dot(a: Array, b: Array) -> float:
    """Return sum_i a_i b_i; infinite or NaN where that overflows."""
    return float(np.add.reduce(a * b))


# ------------------------------------------------------------------ the line search


class _Point(NamedTuple):
    """A place on the line, with the loss there and its derivative along the line."""

    length: float
    loss: float
    slope: float


def wolfe_step(line: Line, start: tuple[float, float], first: float, evaluations: int) -> float:
    """Return the length of a step along a line of descent (N&W, algorithms 3.5 and 3.6).

    Parameters
    ----------
    line : callable
        Returns loss and slope at a length; a loss that is not finite is too long a step.
    start : (loss, slope)
        At length 0; the slope is below 0.
    first : float
        The length to try first.
    evaluations : int
        How often to call `line` at most.

    Returns
    -------
    float
        A length with the strong Wolfe conditions; where none was found, the one with the least loss
        of those that have the first of them, enough decrease, and 0 where there is none.
    """
    origin = _Point(0.0, *start)
    before = low = origin  # low: the best that is found
    high: _Point | None = None  # the other end of where a step must be, once there is one
    length = first
    for _ in range(evaluations):
        now = _Point(length, *line(length))
        enough = now.loss <= origin.loss + DECREASE * length * origin.slope
        if not (enough and now.loss < low.loss):
            high = now
        elif abs(now.slope) <= -CURVATURE * origin.slope:
            return length
        else:
            ahead = math.inf if high is None else high.length - low.length
            if now.slope * ahead >= 0:  # losses fall towards the other end
                high = low
            before, low = low, now
        length = _beyond(before, low) if high is None else _between(low, high)
        if length in (low.length, math.inf) or (high is not None and length == high.length):
            break
    return low.length


def _cubic_minimum(a: _Point, b: _Point) -> float:
    """Return where the cubic through two points with their slopes is least; NaN: nowhere."""
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.length - b.length)
    square = d1 * d1 - a.slope * b.slope
    if not 0 <= square < math.inf:
        return math.nan
    d2 = math.copysign(math.sqrt(square), b.length - a.length)
    divisor = b.slope - a.slope + 2 * d2
    if divisor == 0:
        return math.nan
    return b.length - (b.length - a.length) * ((b.slope + d2 - d1) / divisor)  # N&W, 3.59


def _between(low: _Point, high: _Point) -> float:
    """Return a length between two, at least a tenth of their distance from either."""
    length = _cubic_minimum(low, high) if math.isfinite(high.loss) else math.nan
    if math.isnan(length):
        return 0.5 * (low.length + high.length)
    margin = 0.1 * (high.length - low.length)
    bounds = sorted((low.length + margin, high.length - margin))
    return min(max(length, bounds[0]), bounds[1])


def _beyond(before: _Point, now: _Point) -> float:
    """Return a length of 2 to 10 times the present one, where the slope still falls."""
    length = _cubic_minimum(before, now)
    if math.isnan(length):
        return 2 * now.length
    return min(max(length, 2 * now.length), 10 * now.length)


# ------------------------------------------------------------------ the minimizer


class Minimizer:
    """Moves a vector to lower losses, step by step.

    Parameters
    ----------
    function : callable
        ``function(theta, gradient)`` returns the loss and fills the gradient.
    theta : ndarray
        The live vector: always that of the last finished step.
    history_size, max_evaluations : int
        See `pycnn.optimizers.LBFGS`.
    """

    def __init__(
        self,
        function: Callable[[Array, Array], float],
        theta: Array,
        history_size: int,
        max_evaluations: int,
    ) -> None:
        self.function = function
        self.theta = theta
        self.history_size, self.max_evaluations = history_size, max_evaluations
        self.pairs: deque[tuple[Array, Array]] = deque(maxlen=history_size)
        # Loss and gradient are those at `at`, once they are known.
        self.known = False
        self.at, self.loss, self.gradient = theta.copy(), math.nan, np.empty_like(theta)
        # The same of what the line search tries.
        self.trial, self.trial_loss = np.empty_like(theta), math.nan
        self.trial_gradient = np.empty_like(theta)

    @np.errstate(all="ignore")
    def look(self) -> bool:
        """Compute loss and gradient unless they are known; tell whether they are finite."""
        moved = not np.array_equal(self.at, self.theta)
        if moved and self.known:  # by someone else: what is remembered belongs elsewhere
            self.pairs.clear()
        if moved or not self.known:
            self.at[:] = self.theta
            self.loss = self.function(self.at, self.gradient)
            self.known = True
        return math.isfinite(self.loss) and math.isfinite(self.gradient_norm())

    def gradient_norm(self) -> float:
        """Return the gradient's Euclidean norm."""
        return math.sqrt(dot(self.gradient, self.gradient))

    def largest_component(self) -> float:
        """Return the gradient's maximum norm."""
        return float(np.abs(self.gradient).max())

    @np.errstate(all="ignore")
    def step(self) -> bool:
        """Move theta to a lower loss; False, with theta as it was, where no step was found.

        `look` must have found all finite.
        """
        if self.pairs and self._search(self._direction(), 1.0):
            return True
        self.pairs.clear()  # what they say of the curvature has not helped
        norm = self.gradient_norm()
        return norm > 0 and self._search(-self.gradient, min(1.0, 1.0 / norm))

    def _direction(self) -> Array:
        """Return -H g for the inverse Hessian H that the pairs stand for (N&W, algorithm 7.4)."""
        q = -self.gradient
        used = []
        for s, y in reversed(self.pairs):
            curvature = dot(s, y)
            alpha = dot(s, q) / curvature
            q -= alpha * y
            used.append((s, y, curvature, alpha))
        _, y, curvature, _ = used[0]  # the newest pair has the scale: N&W, equation 7.20
        q *= curvature / dot(y, y)
        for s, y, curvature, alpha in reversed(used):
            q += (alpha - dot(y, q) / curvature) * s
        return q

    def _search(self, direction: Array, first: float) -> bool:
        """Step along a direction, if it descends."""
        slope = dot(direction, self.gradient)
        if not -math.inf < slope < 0:
            return False
        tried = 0.0

        def line(length: float) -> tuple[float, float]:
            nonlocal tried
            tried = length
            return self._try(direction, length)

        length = wolfe_step(line, (self.loss, slope), first, self.max_evaluations)
        if length == 0:
            return False
        if length != tried:  # the best was not the last
            line(length)
        self._accept()
        return True

    def _try(self, direction: Array, length: float) -> tuple[float, float]:
        """Return loss and slope at theta + length direction; infinite where one is not finite."""
        np.multiply(direction, length, out=self.trial)
        self.trial += self.at
        self.trial_loss = self.function(self.trial, self.trial_gradient)
        slope = dot(self.trial_gradient, direction)
        # A weight can overflow while the loss stays finite: relu hides minus infinity.
        finite = math.isfinite(self.trial_loss) and math.isfinite(slope)
        if not (finite and np.isfinite(self.trial).all()):
            return math.inf, math.inf
        return self.trial_loss, slope

    def _accept(self) -> None:
        """Move theta to what was tried last, and remember the pair that this makes."""
        s, y = self.trial - self.at, self.trial_gradient - self.gradient
        if _is_pair(s, y):
            self.pairs.append((s, y))
        self.at, self.trial = self.trial, self.at
        self.gradient, self.trial_gradient = self.trial_gradient, self.gradient
        self.loss = self.trial_loss
        self.theta[:] = self.at

    def memory(self) -> Array:
        """Return what, with theta, decides the next steps: the pairs, the oldest first.

        All s in the first half of the rows, all y in the second, 0 where there is none yet. Loss
        and gradient are not among it: computed again, they have the same bits.
        """
        memory = np.zeros((2, self.history_size, len(self.theta)))
        for i, pair in enumerate(self.pairs):
            memory[:, i] = pair
        return memory.reshape(2 * self.history_size, -1)

    def restore(self, memory: Array, count: int) -> None:
        """Go on from what `memory` returned with `count` pairs; theta must be what it was then.

        Raises
        ------
        DataError
            If it is not the memory of such a minimizer.
        """
        shape = 2 * self.history_size, len(self.theta)
        if memory.shape != shape or not 0 <= count <= self.history_size:
            raise DataError(
                f"the memory of L-BFGS must have shape {shape} and at most {self.history_size} "
                f"pairs, got {memory.shape} and {count}"
            )
        s, y = memory.reshape(2, self.history_size, -1)[:, :count]
        pairs = [(a.copy(), b.copy()) for a, b in zip(s, y, strict=True)]
        with np.errstate(all="ignore"):
            if not all(_is_pair(a, b) for a, b in pairs):
                raise DataError("the memory of L-BFGS must have products s.y above 0")
        self.pairs.clear()
        self.pairs.extend(pairs)
        self.known = False


def _is_pair(s: Array, y: Array) -> bool:
    """Tell whether a step and the gradient's change along it are of use: H stays positive."""
    curvature, square = dot(s, y), dot(y, y)
    return 0 < square < math.inf and LEAST_CURVATURE * square < curvature < math.inf


# ------------------------------------------------------------------ the training


class Iterations:
    """The driver of an `LBFGS`: an iteration over the whole data is an epoch.

    It is saved and taken up again as mini-batch steps are: `slots` are the minimizer's memory, the
    number of updates is that of the pairs in it, and the first of the running sums, of which there
    are none between iterations, is 1 where a minimum has been reached.
    """

    keeps_cheaply = False  # its memory is 20 times theta

    def __init__(self, network: Model, loader: Loader, optimizer: LBFGS) -> None:
        self.network, self.loader = network, loader
        self.schedule = optimizer.schedule()
        self.tolerance = optimizer.tolerance
        steps = optimizer.history_size
        check_fits(2 * steps * network.parameters.size, f"a history_size of {steps} steps")
        self.minimizer = Minimizer(
            self._evaluate, network.parameters, optimizer.history_size, optimizer.max_evaluations
        )
        self.accuracy = self.weight = 0.0  # at the last evaluation
        self.ended = False

    @property
    def slots(self) -> Array:
        """What is remembered, a copy."""
        return self.minimizer.memory()

    def take_up(self, checkpoint: Checkpoint) -> None:
        """Go on from where another one has been."""
        self.minimizer.restore(checkpoint.slots, checkpoint.updates)
        if checkpoint.running[0]:  # interrupted between the last iteration and the end
            self._end()

    def fits(self, checkpoint: Checkpoint) -> bool:
        """Tell whether the checkpoint's state is one that it could have been in."""
        return checkpoint.slots.shape == self.slots.shape and checkpoint.start == 0

    def place(self) -> Place:
        """Return where it is."""
        running = np.zeros(RUNNING)
        running[0] = self.ended
        return Place(0, running, len(self.minimizer.pairs))

    def train(self, epochs: int, reporter: Reporter) -> bool:
        """Do an iteration, an epoch of one mini-batch, and report it."""
        epoch = reporter.next_epoch
        reporter.record.in_step = True
        logs = self._iterate(epoch)
        reporter.write({key: [value] for key, value in logs.items()}, 1, self.loader.rows)
        reporter.record.in_step = False
        reporter.show(0.0)
        del logs["gradient_norm"]
        reporter.end_group(epoch, logs | {"batch": 1, "batches": 1})
        return True

    def _iterate(self, epoch: int) -> dict[str, float]:
        """Do an iteration; return what the history gets. At a minimum, stop the training.

        Raises
        ------
        DivergedError
            If loss or gradient are not finite where the parameters stand.
        """
        minimizer = self.minimizer
        if not minimizer.look():
            raise DivergedError(
                f"the loss or its gradient is NaN or infinite at epoch {epoch}, before a step of "
                f"L-BFGS. {advice.cause(self.network, self.loader.sample, None)}",
                epoch,
                1,
            )
        accuracy = self.accuracy
        moved = minimizer.largest_component() > self.tolerance and minimizer.step()
        accuracy = self.accuracy if moved else accuracy
        if not moved or minimizer.largest_component() <= self.tolerance:
            self._end()
        logs = {"loss": minimizer.loss if self.weight else math.nan}
        if self.network.encoder.has_classes:
            logs["accuracy"] = accuracy
        return logs | {"gradient_norm": minimizer.gradient_norm()}

    def _end(self) -> None:
        self.ended = self.network.stop_training = True

    def _evaluate(self, theta: Array, gradient: Array) -> float:
        totals = self.loader.gradients(theta, gradient)
        self.accuracy, self.weight = totals.accuracy(), totals.weight
        return totals.mean_loss() if totals.weight else 0.0  # nothing that could descend


def check(
    network: Model, data: Any, batch_size: int | None, callbacks: list[Callback], augment: Any
) -> None:
    """Raise `DataError` where `Network.fit` cannot do what it is asked with an `LBFGS`."""
    if augment or not isinstance(getattr(data, "x", None), np.ndarray):
        raise DataError(
            "LBFGS wants X as one array that fits into memory, and no augment: its steps need the "
            "loss of all samples again and again"
        )
    rows = data.rows
    if batch_size is not None and batch_size < rows:
        raise DataError(
            f"batch_size must be None with LBFGS, whose every step takes all {rows} samples; "
            f"got {batch_size}{' (the default)' if batch_size == 32 else ''}"
        )
    if any(isinstance(callback, ReduceLROnPlateau) for callback in callbacks):
        raise DataError(
            "callbacks must have no ReduceLROnPlateau with LBFGS, which has no learning rate: "
            "a line search finds the length of each step"
        )
    for part in network.architecture.parts():
        if part.spec.inner:
            continue
        if part.spec.is_random or part.spec.needs_batch:
            raise DataError(
                f"layers must have no {type(part.layer).__name__} with LBFGS, as layer {part.name} "
                "is: its loss must be the same function of the parameters at every step"
            )
        if max_norm := part.spec.settings.get("max_norm"):
            raise DataError(
                f"max_norm must be None with LBFGS, but that of layer {part.name} is "
                f"{max_norm:g}: its steps know no bounds"
            )
