"""How the estimators learn: an epoch of mini-batches, or L-BFGS over all of the data.

The arithmetic is that of scikit-learn's solvers, so that the same draws give the same numbers to
rounding, by four differences from `Network.fit`:

- The penalty of a mini-batch is alpha over the sum of its samples' weights: the smaller last one of
  an epoch has another than those before it, and with weights each has its own.
- Adam's epsilon is added to sqrt(v), and not to sqrt(v / (1 - beta_2^t)): each step has its own.
- A velocity of SGD has the learning rate in it, and keeps it where the rate changes.
- Samples come in an order that the caller has drawn.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn import _random
from pycnn._architecture import Architecture
from pycnn._data.sources import LazyTable, pieces_of
from pycnn._training.steps import PERIOD
from pycnn.backend.interface import NotFiniteError, Totals, TrainingState

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycnn._typing import Array, Indices
    from pycnn.backend.interface import Data
    from pycnn.network import Network
    from pycnn.optimizers import Optimizer

    # Hears of the means so far, the mini-batches done and those of the epoch.
    Hear = Callable[[Totals, int, int], Any]

GROUP = 64  # steps of a call into the core, behind which Ctrl-C is heard


class Batches:
    """The samples of a training, in mini-batches with their penalties.

    Parameters
    ----------
    network : Network
    data : Data
    size : int
        Samples of a mini-batch.
    alpha : float
        The penalty of a mini-batch is ``alpha / 2 sum W^2`` over the sum of its weights.
    """

    def __init__(self, network: Network, data: Data, size: int, alpha: float) -> None:
        self.network, self.data, self.size, self.alpha = network, data, size, alpha
        self.count = -(-data.rows // size)
        self.l2 = alpha / size
        own, self.plan = network.architecture, network.plan
        if self.l2 != network.l2:
            penalized = Architecture(own.input_shape, own.layers, own.loss, (0.0, self.l2))
            self.plan = network.plan_of(penalized.specs)
        self.is_alike = isinstance(data.x, np.ndarray) and data.weight is None
        self.is_weight = of_weights(network, 1.0)
        self.gradient = np.empty_like(network.parameters)

    def train(self, state: TrainingState, steps: int) -> None:
        """Do up to so many steps."""
        left = (self.data.rows - state.position) // self.size
        if left and self.is_alike:
            network = self.network
            network.core.train(self.plan, network.theta, self.data, state, min(steps, left))
        else:
            self._step(state)

    def _step(self, state: TrainingState) -> None:
        """Do a step whose penalty is not the plan's, or whose samples have to be read first."""
        network, plan, core = self.network, self.plan, self.network.core
        part = slice(state.position, state.position + self.size)
        data = self.data.take(part if state.order is None else state.order[0, part])
        totals = core.gradient_sums(
            plan,
            network.theta,
            data,
            self.gradient,
            state.dropout_keys,
            state.position,
            network.statistics,
        )
        if totals.weight:
            shrinking = network.parameters * self.is_weight
            loss = totals.loss + 0.5 * self.alpha * float(shrinking @ shrinking)
            if not math.isfinite(loss):
                raise NotFiniteError(state.steps)
            state.totals[0] += np.multiply(
                (loss, totals.weight, totals.correct), data.rows / totals.weight
            )
            # The plan's own is added to the mean.
            self.gradient += (self.alpha - self.l2 * totals.weight) * shrinking
            core.update(plan, network.theta, self.gradient, totals.weight, state)
        else:
            state.steps += 1
        state.position += data.rows
        state.epoch = int(state.position == self.data.rows)


def of_weights(network: Network, value: float) -> Array:
    """Return a vector like theta, with this value where weights are, and else zeros."""
    found = np.zeros_like(network.parameters)
    for tensor in network.architecture.tensors:
        if tensor.role == "weight":
            tensor.view(found)[...] = value
    return found


class Stochastic:
    """What an optimizer remembers from epoch to epoch.

    Parameters
    ----------
    optimizer : Optimizer
    solver : {"sgd", "adam", None}
        Whose arithmetic is meant; None: the optimizer's own.
    parameters : int
        Of the network.
    """

    def __init__(self, optimizer: Optimizer, solver: str | None, parameters: int) -> None:
        self.optimizer, self.solver = optimizer, solver
        self.slots = optimizer.new_slots(parameters)
        self.steps = self.updates = 0
        rate = optimizer.learning_rate
        self.learning_rate = rate if isinstance(rate, float) else math.nan  # of a schedule

    def change_rate(self, rate: float) -> None:
        """Go on with another learning rate."""
        if rate != self.learning_rate:
            self.slots *= self.learning_rate / rate
            self.learning_rate = rate

    def train_epoch(
        self, batches: Batches, order: Indices | None, epochs: int, hear: Hear | None
    ) -> Totals | None:
        """Train for an epoch of a training that has so many; None: one who hears has ended it.

        Raises
        ------
        NotFiniteError
            If a loss or a parameter is not finite.
        """
        network, spec = batches.network, self.optimizer.spec()
        rate, factor = self.learning_rate, network.learning_rate_factor
        key = None
        if network.architecture.is_random:
            key = _random.dropout_keys(network.seed, network.epochs_trained, 1)
        state = TrainingState(
            1, batches.size, rate * factor, order, spec, self.slots, self.updates, key
        )
        heard = time.perf_counter()
        try:
            while state.epoch == 0:
                steps = GROUP
                if self.solver == "adam":
                    rest = 1 - spec.beta_2 ** (state.updates + 1)
                    state.optimizer = spec._replace(epsilon=spec.epsilon / math.sqrt(rest))
                    steps = 1
                elif self.solver is None:
                    self._set_rates(state, batches.count, epochs, factor)
                batches.train(state, steps)
                if hear and (state.epoch or time.perf_counter() - heard > PERIOD):
                    hear(Totals(*state.totals[0].tolist()), state.steps, batches.count)
                    heard = time.perf_counter()
                    if network.stop_training and state.epoch == 0:
                        return None
        finally:
            self.updates = state.updates
            self.steps += state.steps
        if not np.isfinite(network.theta).all():
            raise NotFiniteError(state.steps)
        network.epochs_trained += 1
        return Totals(*state.totals[0].tolist())

    def _set_rates(self, state: TrainingState, count: int, epochs: int, factor: float) -> None:
        """Give the next steps their learning rates, by the optimizer's schedule."""
        at = np.arange(GROUP) + self.steps + state.steps
        state.learning_rates = factor * self.optimizer.schedule().rates(at, count, count * epochs)
        state.learning_rate = float(state.learning_rates[0])


def minimize(network: Network, data: Data, alpha: float, hear: Hear, **limits: Any) -> Any:
    """Move the parameters to a minimum, by SciPy's L-BFGS-B as scikit-learn calls it.

    Parameters
    ----------
    network : Network
    data : Data
    alpha : float
        The penalty is ``alpha / 2 sum W^2`` over the sum of the weights.
    hear : callable
        Hears of each iteration; an exception of it ends them.
    **limits
        SciPy's options.

    Returns
    -------
    scipy.optimize.OptimizeResult
    """
    import scipy.optimize

    penalized = of_weights(network, alpha)
    total = data.rows if data.weight is None else float(data.weight.sum())
    lazy = isinstance(data.x, LazyTable)
    loss = math.nan

    def evaluate(theta: Array) -> tuple[float, Array]:
        nonlocal loss
        network.parameters[:] = theta
        shrinking = penalized * theta
        loss, gradient = 0.5 * float(shrinking @ theta), shrinking
        for piece in pieces_of(data) if lazy else [data]:
            more, slope, _ = network.sum_gradients(piece, False, 0)
            loss, gradient = loss + more, gradient + slope
        loss /= total
        return loss, gradient / total

    def finish_iteration(theta: Array) -> None:
        network.parameters[:] = theta
        hear(Totals(loss, 1.0, math.nan), 1, 1)

    result = scipy.optimize.minimize(
        evaluate,
        network.parameters.copy(),
        method="L-BFGS-B",
        jac=True,
        callback=finish_iteration,
        options=limits,
    )
    network.parameters[:] = result.x
    return result
