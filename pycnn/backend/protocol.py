"""The calls of a backend. Only annotations need them: import it under TYPE_CHECKING."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from pycnn.backend.interface import Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from pycnn._random import PermutationDrawer
    from pycnn._typing import Array, Bits, Indices, Shape
    from pycnn.backend.interface import (
        Data,
        LayerSpec,
        LossFunction,
        OptimizerSpec,
        Predictor,
        RowPredictor,
        Sampler,
        Sampling,
        Totals,
        TrainingState,
        Writer,
    )

PlanT = TypeVar("PlanT")


class BatchTrainer(Protocol):
    """Does one step after another, each on a mini-batch that is lent to it: all of it or nothing.

    `training` has the learning rate of the next step, as `learning_rate`, and how many have changed
    theta, as `updates`; `done` how many were done, as `steps`; `totals` the sums of loss, weight
    and right answers over the last one.
    """

    training: Any
    done: Any
    totals: Any
    norms: Array | None  # (1,) of its gradient, where that is clipped

    def remember(self, slots: Array, updates: int) -> None:
        """Go on with what the optimizer remembers after so many updates; it changes in place."""

    def lend(self, data: Data, order: Indices | None = None) -> None:
        """Take the samples of the next steps, in this order."""

    def lend_again(self, x: Array, y: Array | Indices, weight: Array | None) -> None:
        """Take other samples, in contiguous arrays of the same shapes and kinds as before."""

    @property
    def run(self) -> Callable[[], float]:
        """Do a step; return the mean loss before it, or raise why it was not done.

        NaN where nothing has a weight, or it was not done, and `check` is to raise why.
        """
        ...

    def check(self) -> None:
        """Raise why the last step was not done, if so.

        NotFiniteError where samples, loss, or what theta would become are not finite; else a
        DataError or LabelError.
        """


class BackendOf(Protocol[PlanT]):
    """The calls of a backend whose plans are of type `PlanT`.

    Each takes a plan that the backend has made, and theta: the parameters with the statistics
    behind them. Arrays that are written to stand first among the results, `out`, `grad`, ...
    """

    __name__: str

    def isa(self) -> str:
        """Name the instruction set."""
        ...

    def compiler(self) -> str:
        """Name the compiler."""
        ...

    def threads(self) -> int:
        """Return the most threads that a call will use."""
        ...

    def find_not_finite(self, array: Array) -> int:
        """Return the flat index of the first infinity or NaN, or the size when there is none."""
        ...

    def permutations(self, seed: int, size: int) -> PermutationDrawer:
        """Return what draws permutations of ``range(size)``, as `pycnn._random.permutations`."""
        ...

    def create_plan(
        self,
        layers: Sequence[LayerSpec],
        loss: str,
        loss_parameter: float = 0.0,
        loss_function: LossFunction | None = None,
    ) -> PlanT:
        """Return the plan of a network."""
        ...

    def predict(
        self, plan: PlanT, theta: Array, x: Array, out: Array, lengths: Indices | None = None
    ) -> bool:
        """Put the outputs for each row of `x` into `out`; return whether `x` is finite.

        What stands behind the `lengths` of sequences does not matter.
        """
        ...

    def predict_samples(
        self, plan: PlanT, theta: Array, x: Array, keys: Bits, first: int, out: Array
    ) -> None:
        """Put the outputs with dropout left on into `out`, (draws, rows, ...), by a key a draw."""

    def predictor(
        self, plan: PlanT, theta: Array, batch: int, outputs: Shape, frozen: bool = False
    ) -> Predictor:
        """Return a callable that predicts `batch` rows with the least delay."""
        ...

    def row_predictor(self, plan: PlanT, theta: Array, outputs: Shape) -> RowPredictor:
        """Return a callable that predicts one row, or says None."""
        ...

    def state_count(self, plan: PlanT) -> int:
        """Return how many numbers go on from one part of a sequence to the next."""
        ...

    def stepper(
        self, plan: PlanT, theta: Array, batch: int, outputs: Shape, frozen: bool = False
    ) -> tuple[Predictor, Array]:
        """Return what takes the next part of sequences, and their state, (batch, numbers)."""
        ...

    def sampler(self, temperature: float, top_k: int, top_p: float) -> Sampler:
        """Return a callable that draws a place by probabilities and a number in [0, 1), or -1."""
        ...

    def writer(
        self, plan: PlanT, half: PlanT | None, theta: Array, how: Sampling, seed: int
    ) -> Writer:
        """Return a callable that writes on from tokens, by plans of one and of half a window."""
        ...

    def penalty(self, plan: PlanT, theta: Array) -> float:
        """Return what the loss includes for the size of the weights."""
        ...

    def evaluate(self, plan: PlanT, theta: Array, data: Data) -> Totals:
        """Return the sums of loss, weight and right answers over the data."""
        ...

    def gradients(
        self,
        plan: PlanT,
        theta: Array,
        data: Data,
        grad: Array,
        dropout_keys: Bits | None = None,
    ) -> Totals:
        """Put the mean loss's gradient over the data into `grad`."""
        ...

    def gradient_sums(
        self,
        plan: PlanT,
        theta: Array,
        data: Data,
        grad: Array,
        dropout_keys: Bits | None = None,
        sample_offset: int = 0,
        statistics: Array | None = None,
    ) -> Totals:
        """Put the sums over the samples of their losses' gradients into `grad`."""
        ...

    def update(
        self,
        plan: PlanT,
        theta: Array,
        grad: Array,
        weight: float,
        state: TrainingState,
    ) -> None:
        """Change theta and the state as a step of training does, by a gradient's sums."""

    def trace(
        self,
        plan: PlanT,
        theta: Array,
        data: Data,
        grad: Array,
        z: Array,
        a: Array,
        delta: Array,
    ) -> Totals:
        """As `gradients`, and put Z, A and delta of each layer into the rest."""
        ...

    def input_gradient(self, plan: PlanT, theta: Array, data: Data, out: Array) -> None:
        """Put the gradient of each sample's own loss by its inputs into `out`, a row a sample."""

    def train(
        self, plan: PlanT, theta: Array, data: Data, state: TrainingState, max_steps: int
    ) -> int:
        """Do up to `max_steps` steps of training; return how many were done."""
        ...

    def batch_trainer(
        self, plan: PlanT, theta: Array, optimizer: OptimizerSpec, keys: Bits | None
    ) -> BatchTrainer:
        """Return what does one step after another with the least delay, each on a mini-batch."""
        ...


Backend: TypeAlias = BackendOf[Plan]  # whichever: its plans are its own business
