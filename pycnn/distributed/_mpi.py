"""The ranks of MPI as an engine: rank 0 trains, and all of them compute sums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn.distributed._engines import add_up, check, held_of, ranges, split
from pycnn.distributed._shard import Failure, Shard
from pycnn.distributed._sources import from_arrays, say_where
from pycnn.distributed._survey import survey
from pycnn.exceptions import DataTypeError, PycnnError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pycnn._model import Model
    from pycnn._training.loader import Augment
    from pycnn._typing import Array, Bits, Indices
    from pycnn.distributed._engines import Engine
    from pycnn.distributed._sources import Chunks, Source, Tables
    from pycnn.distributed._survey import Question, Survey
    from pycnn.history import History


class Own:
    """Rows that a rank has handed in itself, as the others know them."""

    stays = True

    def __init__(self, rank: int) -> None:
        self.rank, self.rows, self.name = rank, 0, f"the rows of rank {rank}"

    def open(self) -> Tables:
        """Raise: only their rank has them."""
        raise NotImplementedError

    def cut(self, first: int, end: int) -> None:
        """Return None: they stay where they are."""
        return


class Ranks:
    """Ranks that do, one call after the other, what rank 0 asks for."""

    def __init__(self, comm: Any, data: Any, augment: list[Augment]) -> None:
        if not hasattr(comm, "Bcast"):
            raise DataTypeError(f"comm must be a communicator of mpi4py, got {comm!r:.80}")
        self.comm, self.data, self.augment = comm.Dup(), data, augment
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        self.own: list[Source] = []

    def run(self, net: Model, train: Callable[[Engine], History]) -> History:
        """Let rank 0 train, and the others compute; all have its network at the end."""
        try:
            if self.rank:
                failed, after = self._serve()
            else:
                failed, after = None, {}
                try:
                    train(self)
                except Exception as error:
                    failed = Failure(error)
                after = _outcome(net)
                self._ask("stop", failed, after)
        except BaseException:  # others wait for what does not come
            import traceback

            traceback.print_exc()
            self.comm.Abort(1)
            raise
        self.comm.Free()
        if self.rank:
            _adopt(net, after)
        if failed is not None:
            raise failed.error
        assert net.history is not None
        return net.history

    def _serve(self) -> tuple[Failure | None, dict[str, Any]]:
        while True:
            name, arguments = self.comm.bcast(None)
            if name == "stop":
                failed, after = arguments
                return failed, after
            getattr(self, "_" + name)(*arguments)

    def _ask(self, name: str, *arguments: Any) -> None:
        """Let all ranks do the same."""
        self.comm.bcast((name, arguments))

    # -------------------------------------------------------------- what rank 0 asks for

    def sources(self, data: Any) -> list[Source]:
        """Return each rank's own rows."""
        self._ask("take_own")
        counts = [check(count) for count in self._take_own()]
        return [Own(rank) for rank, count in enumerate(counts) for _ in range(count)]

    def survey(self, sources: list[Source], question: Question) -> list[Survey]:
        """Look through the parts' targets, each rank through some."""
        shared = None if all(isinstance(source, Own) for source in sources) else sources
        self._ask("survey_some", shared, question)
        found = self._survey_some(shared, question)
        if shared is None:
            surveys = [each for some in found for each in some]
            for source, each in zip(sources, surveys, strict=True):
                if isinstance(each, Failure) and isinstance(each.error, PycnnError):
                    say_where(each.error, source, 0)
            return [check(each) for each in surveys]
        return [check(found[i % self.size][i // self.size]) for i in range(len(sources))]

    def begin(self, state: dict[str, Any], sources: list[Source], chunks: Chunks) -> None:
        """Let each rank have its share."""
        owners = [source.rank for source in sources if isinstance(source, Own)]
        if owners:
            before = np.searchsorted(owners, np.arange(self.size + 1))
            self.limits = [chunks.firsts[place] for place in before]
        else:
            whole = [source.cut(0, 1) is None for source in sources]
            self.limits = chunks.shares(self.size, whole)
        # Each rank has augmenters of its own, which need not be such as can travel.
        state = state | {"augment": []}
        self._ask("have", state, sources, chunks, self.limits)
        self._have(state, sources, chunks, self.limits)

    def sums(self, theta: Array, numbers: Indices, epoch: int, keys: Bits | None) -> Array:
        """Return the sum over some chunks."""
        parts = split(numbers, self.limits)
        given = parts, epoch, keys, len(theta)
        self._ask("add", *given)
        results = self._add(*given, theta)
        return add_up([check(result) for result in results])

    def end(self) -> None:
        """Do nothing: the ranks go on with what comes behind `fit`."""

    # -------------------------------------------------------------- what every rank does

    def _take_own(self) -> list[int | Failure]:
        try:
            self.own = from_arrays(self.data)
            count: int | Failure = len(self.own)
        except Exception as error:
            count = Failure(error)
        counts: list[int | Failure] = self.comm.gather(count)
        return counts

    def _survey_some(self, shared: list[Source] | None, question: Question) -> list[Any]:
        mine = self.own if shared is None else shared[self.rank :: self.size]
        found: list[Any] = self.comm.gather([survey(source, question) for source in mine])
        return found

    def _have(
        self, state: dict[str, Any], sources: list[Source], chunks: Chunks, limits: list[int]
    ) -> None:
        first, end = ranges(limits)[self.rank]
        self.shard = Shard(state | {"augment": self.augment}, chunks.size, first, end)
        for held in held_of(sources, chunks, limits[self.rank], limits[self.rank + 1]):
            if isinstance(held.source, Own):
                held = held._replace(source=self.own[0])
            self.shard.hold(held)

    def _add(
        self,
        parts: Sequence[Indices],
        epoch: int,
        keys: Bits | None,
        size: int,
        theta: Array | None = None,
    ) -> list[Any]:
        """Compute sums, and let rank 0 have those of all."""
        own = np.empty(size) if theta is None else np.ascontiguousarray(theta)
        self.comm.Bcast(own)
        result: Any = [], np.empty((0, 0))
        if len(parts[self.rank]):
            result = self.shard.sums(own, parts[self.rank], epoch, keys)
        failed = isinstance(result, Failure)
        shapes = self.comm.gather(result if failed else (result[0], np.shape(result[1])))
        if self.rank:
            if not failed and result[0]:
                self.comm.Send(result[1], 0)
            return []
        results = [result]
        for rank in range(1, self.size):
            found = shapes[rank]
            if not isinstance(found, Failure):
                numbers, shape = found
                values = np.empty(shape)
                if numbers:
                    self.comm.Recv(values, rank)
                found = numbers, values
            results.append(found)
        return results


def _outcome(net: Model) -> dict[str, Any]:
    """Return what a training leaves in a network."""
    return {
        "theta": net.theta,
        "reader": (net.feature_names, net.classes),
        "attributes": {
            name: getattr(net, name)
            for name in ("epochs_trained", "history", "learning_rate_factor", "stop_training")
        },
    }


def _adopt(net: Model, after: dict[str, Any]) -> None:
    """Let a network have what a training has left in another one."""
    net.theta[:] = after["theta"]
    names, classes = after["reader"]
    net.learn(net.reader.encoding(classes, net.encoder.scale).naming(names))
    vars(net).update(after["attributes"])
