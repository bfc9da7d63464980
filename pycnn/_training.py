"""The training loop around the backends: orders, pace, callbacks, and what happens on divergence.

Each call into a backend does many mini-batches and comes back after about `PERIOD` seconds.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn import _random, losses
from pycnn.backend.interface import NotFiniteError, Totals, TrainingState
from pycnn.exceptions import DivergedError
from pycnn.schedules import Constant

if TYPE_CHECKING:
    from pycnn.backend.interface import Array, Data
    from pycnn.callbacks import Callback
    from pycnn.history import History
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
    data: Data,
    *,
    epochs: int,
    batch_size: int,
    optimizer: Optimizer,
    shuffle: bool,
    validation: Data | None,
    callbacks: list[Callback],
    progress: bool,
) -> None:
    """Train for `epochs` epochs, appending to ``network.history``."""
    history = network.history
    assert history is not None
    pace = _Pace()
    progress_of = _Optimization(network, optimizer, data.rows, batch_size, epochs)
    # Epochs between which there is nothing to do go to the backend together.
    alone = bool(callbacks) or validation is not None
    block = 1 if alone else max(1, ORDER_ENTRIES // data.rows)
    with _Bar(epochs, progress) as bar:
        for callback in callbacks:
            callback.on_train_begin(network)
        while history.epochs < epochs and not network.stop_training:
            for callback in callbacks:
                callback.on_epoch_begin(network, history.epochs + 1)
            count = min(block, epochs - history.epochs)
            order = None
            if shuffle:
                order = _random.permutations(network.seed, network.epochs_trained, count, data.rows)
            state = progress_of.next_state(count, order)
            _Block(network, data, state, progress_of, pace, validation, bar).run()
            for callback in callbacks:
                callback.on_epoch_end(network, history.epochs, _last(history))
        for callback in callbacks:
            callback.on_train_end(network)


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
        self.spec = optimizer.spec()
        self.steps_per_epoch = -(-rows // batch_size)
        self.total_steps = self.steps_per_epoch * epochs
        self.slots = np.zeros((self.spec.slots, network.parameters.size))
        self.updates = 0
        self.step = 0  # first of the present block

    def next_state(self, count: int, order: Any) -> TrainingState:
        """Return the state of the next `count` epochs."""
        rate = self.rates(self.step, 1)[0]
        network = self.network
        masks = _random.masks(network.seed, network.epochs_trained, count)
        return TrainingState(
            count, self.batch_size, rate, order, self.spec, self.slots, self.updates, masks
        )

    def rates(self, step: int, count: int) -> Array:
        """Return the learning rates of `count` steps."""
        steps = np.arange(step, step + count)
        rates = self.schedule.rates(steps, self.steps_per_epoch, self.total_steps)
        return np.ascontiguousarray(rates * self.network.learning_rate_factor, dtype=np.float64)

    def train(self, state: TrainingState, data: Data, theta: Array, steps: int) -> int:
        """Do some steps of a block in the backend."""
        network = self.network
        if not isinstance(self.schedule, Constant):
            left = state.epochs * self.steps_per_epoch - state.steps
            state.learning_rates = self.rates(self.step + state.steps, min(steps, left))
            state.learning_rate = float(state.learning_rates[0])
        done: int = network._backend.train(network._plan, theta, data, state, steps)
        return done

    def finish(self, state: TrainingState) -> None:
        """Take over what a block has left behind."""
        self.updates = state.updates
        self.step += state.steps


class _Block:
    """Some epochs that are trained without a pause."""

    def __init__(
        self,
        network: Network,
        data: Data,
        state: TrainingState,
        optimization: _Optimization,
        pace: _Pace,
        validation: Data | None,
        bar: _Bar,
    ) -> None:
        self.network, self.data, self.state = network, data, state
        self.optimization = optimization
        self.pace, self.validation, self.bar = pace, validation, bar
        self.theta: Array = network._theta
        self.recorded = 0  # epochs of this block that are in the history
        assert network.history is not None
        self.history = network.history
        self.first_epoch = self.history.epochs + 1

    def run(self) -> None:
        state = self.state
        checkpoint = self.checkpoint()
        while state.epoch < state.epochs:
            started = time.perf_counter()
            try:
                steps = self.train(self.pace.steps)
            except NotFiniteError:
                self.diverged(*checkpoint)
            except KeyboardInterrupt:
                self.record()
                raise
            now = time.perf_counter()
            self.pace.adapt(steps, now - started)
            due = now - checkpoint[0] > CHECKPOINT_PERIOD
            if due or state.epoch > self.recorded:
                # A weight can overflow while the loss stays finite: relu hides minus infinity.
                if not np.isfinite(self.theta).all():
                    self.diverged(*checkpoint)
                checkpoint = self.checkpoint() if due else checkpoint
            self.record()
        self.optimization.finish(state)

    def train(self, steps: int) -> int:
        return self.optimization.train(self.state, self.data, self.theta, steps)

    def checkpoint(self) -> tuple[float, Array, tuple[Any, ...]]:
        return time.perf_counter(), self.theta.copy(), self.state.snapshot()

    def record(self) -> None:
        """Put the epochs that are finished into the history."""
        network, state = self.network, self.state
        classification = losses.is_classification(network.loss)
        while self.recorded < state.epoch:
            totals = Totals(*state.totals[self.recorded].tolist())
            logs = {"loss": totals.mean_loss()}
            if classification:
                logs["accuracy"] = totals.accuracy()
            if state.norms is not None:
                steps = self.optimization.steps_per_epoch
                logs["gradient_norm"] = float(state.norms[self.recorded]) / steps
            if self.validation is not None:
                scores = network._score(self.validation)
                logs |= {f"val_{key}": value for key, value in scores.items()}
            self.history.append(logs)
            network.epochs_trained += 1
            self.recorded += 1
        self.bar.show(self.history, state.position / self.data.rows)

    def diverged(self, _time: float, theta: Array, state: tuple[Any, ...]) -> None:
        """Put the last finite parameters in place and raise `DivergedError`."""
        what = "the loss became NaN or infinite"
        if not np.isfinite(self.theta).all():
            what = "the parameters overflowed"
            self.theta[:] = theta
            self.state.restore(state)
            self.replay()
        self.record()
        number = self.first_epoch + self.state.epoch
        batch = self.state.position // self.state.batch_size + 1
        raise DivergedError(
            f"{what} at epoch {number}, batch {batch}; the parameters are those of the last "
            f"finite step. A smaller learning_rate than {self.state.learning_rate:g} or inputs "
            "scaled to mean 0 and deviation 1 may help",
            number,
            batch,
        )

    def replay(self) -> None:
        """Train again from a checkpoint up to the last step whose parameters are finite.

        Steps are the same every time, so large strides come first; where one goes too far it is
        taken back, and smaller ones follow.
        """
        stride = max(1, self.pace.steps)
        while True:
            theta, state = self.theta.copy(), self.state.snapshot()
            try:
                self.train(stride)
                finite = np.isfinite(self.theta).all() and self.state.epoch < self.state.epochs
            except NotFiniteError:
                finite = False
            if finite:
                continue
            self.theta[:] = theta
            self.state.restore(state)
            if stride == 1:
                return
            stride = max(1, stride // 16)


def _is_interactive() -> bool:
    """Tell whether someone is looking: a terminal, or a notebook."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    return terminal or "ipykernel" in sys.modules


def wants_bar(progress: bool | None) -> bool:
    """Tell whether to show a progress bar; None: where someone is looking, and tqdm is there.

    Raises
    ------
    ImportError
        If one is asked for and tqdm is not there.
    """
    if not (_is_interactive() if progress is None else progress):
        return False
    if importlib.util.find_spec("tqdm") is not None:
        return True
    if progress:
        raise ImportError("progress=True needs tqdm: pip install 'pycnn[progress]'")
    return False


class _Bar:
    """A progress bar, where one is wanted."""

    def __init__(self, epochs: int, progress: bool) -> None:
        self.epochs = epochs
        self.bar: Any = None
        if not progress:
            return
        from tqdm.auto import tqdm

        self.bar = tqdm(
            total=epochs,
            bar_format="{desc} |{bar:20}| {percentage:3.0f} % {elapsed}<{remaining}{postfix}",
            desc=f"epoch 1/{epochs}",
            dynamic_ncols=True,
        )

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def show(self, history: History, part: float) -> None:
        """Show the epochs that are done, and the part of the present one."""
        if self.bar is None:
            return
        self.bar.set_description_str(
            f"epoch {min(history.epochs + 1, self.epochs)}/{self.epochs}", refresh=False
        )
        if history.epochs:
            self.bar.set_postfix(
                {key: f"{value:.3g}" for key, value in _last(history).items()}, refresh=False
            )
        self.bar.update(history.epochs + part - self.bar.n)
