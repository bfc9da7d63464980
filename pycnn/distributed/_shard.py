"""`Shard`: some of the chunks of a training, and the sums over them."""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn._model import Model
from pycnn._record import Record
from pycnn._training.fitting import with_class_weights
from pycnn._training.loader import augmented
from pycnn._version import __version__
from pycnn.distributed._sources import say_where
from pycnn.distributed._tree import Tree
from pycnn.exceptions import DataError, PycnnError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycnn._training.fitting import Request
    from pycnn._typing import Array, Bits, Indices
    from pycnn.backend.interface import Data
    from pycnn.distributed._sources import Source
    from pycnn.distributed._tree import Node

TOTALS = 3  # numbers of `Totals`, which stand behind a gradient's sums


class Failure(Record):
    """What went wrong where something was computed, as it travels."""

    error: Exception

    def __reduce__(self) -> tuple[Any, ...]:
        import pickle

        try:
            pickle.loads(pickle.dumps(self.error))
        except Exception:  # such as one that holds what cannot travel
            return Failure, (RuntimeError(f"{type(self.error).__name__}: {self.error}"),)
        return Failure, (self.error,)


class Held(Record):
    """A source, and which chunks are its rows."""

    source: Source
    first_chunk: int
    first_row: int  # among the rows of all sources


def _first_chunk(held: Held) -> int:
    return held.first_chunk


class Shard:
    """Computes the sums over its chunks, wherever it is.

    No call of it raises: what went wrong is a `Failure`. And none changes what another one
    computes, so that each may be made again, here or elsewhere.

    Parameters
    ----------
    state : dict
        Of the network, as `state_of` returns it.
    size : int
        Rows of a chunk.
    first, end : int
        The range of numbers that only its chunks are in.
    """

    def __init__(self, state: dict[str, Any], size: int, first: int, end: int) -> None:
        self.state, self.size, self.range = state, size, (first, end)
        self.model: Model | None = None
        self.held: list[Held] = []
        self.data: dict[int, Data] = {}  # of what has been opened, by its place in `held`

    def hold(self, held: Held) -> Failure | None:
        """Take in a source, before any sums: in whichever order calls arrive."""
        insort(self.held, held, key=_first_chunk)
        return None

    async def beat(self) -> None:
        """Answer, while another call computes."""

    def sums(
        self, theta: Array, numbers: Indices, epoch: int, keys: Bits | None
    ) -> tuple[list[int], Array] | Failure:
        """Return the nodes over some of its chunks, whose numbers ascend: numbers, and sums.

        A row of the sums is a gradient's with the three of `Totals` behind it. What is random
        follows from the number of the `epoch`, or of dropout from its `keys`.
        """
        try:
            nodes = self._nodes(self._model(), theta, numbers, epoch, keys)
            return [number for number, _ in nodes], np.array([values for _, values in nodes])
        except Exception as error:
            return Failure(error)

    def _model(self) -> Model:
        if self.model is None:
            if self.state["version"] != __version__:
                raise DataError(
                    f"all must have the same release of pycnn, but the training has "
                    f"{self.state['version']} and a worker {__version__}"
                )
            self.model = Model.from_state(self.state)
        return self.model

    def _nodes(
        self, model: Model, theta: Array, numbers: Indices, epoch: int, keys: Bits | None
    ) -> list[Node]:
        model.theta[:] = theta
        tree, count = Tree(*self.range), model.parameters.size
        for number in numbers.tolist():
            data, first_row = self._chunk(model, number)
            if self.state["augment"]:
                data = augmented(model, self.state["augment"], data, epoch, number)
            leaf = np.empty(count + TOTALS)
            plan = model.planned(data.x.shape[1]).plan
            grad = leaf[:count]
            totals = model.core.gradient_sums(plan, model.theta, data, grad, keys, first_row)
            leaf[count:] = totals.loss, totals.weight, totals.correct
            tree.add(number, leaf)
        return tree.finish()

    def _chunk(self, model: Model, number: int) -> tuple[Data, int]:
        """Return the samples of a chunk, and the number of the first among all rows."""
        place = bisect_right(self.held, number, key=_first_chunk) - 1
        held = self.held[place]
        first = (number - held.first_chunk) * self.size
        if place not in self.data:
            self._open(model, place)
        data, end = self.data[place], first + self.size
        return data.take(slice(first, end)), held.first_row + first

    def _open(self, model: Model, place: int) -> None:
        """Read a source, and let those go that do not stay."""
        for other in [other for other in self.data if not self.held[other].source.stays]:
            del self.data[other]
        held = self.held[place]
        try:
            missing = self.state["missing"]
            data, targets = model.reader.read(*held.source.open(), missing=missing)
            by_class = model.encoder.class_weights(self.state["class_weight"], targets)
            self.data[place] = with_class_weights(data, by_class)
        except PycnnError as error:
            say_where(error, held.source, held.first_row)
            raise


def state_of(
    model: Model, names: Sequence[str] | None, classes: Any, request: Request
) -> dict[str, Any]:
    """Return what a shard has to know of a network, without its parameters, and of a training."""
    state = Model.__getstate__(model)
    return state | {
        "version": __version__,
        "augment": request.augment,
        "class_weight": request.class_weight,
        "missing": request.missing_targets,
        "backend": model.backend,
        "feature_names": names,
        "classes": classes,
        "parameters": 0.0,
        "history": None,
        "metadata": {},
    }
