"""Dask's workers as an engine: an actor on each has a share of the chunks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn.distributed._engines import add_up, check, held_of, ranges, split
from pycnn.distributed._shard import Shard
from pycnn.distributed._sources import NAMES, Part, from_arrays, is_file
from pycnn.distributed._survey import survey
from pycnn.exceptions import DataError, DataTypeError, ShapeError, WorkerLostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycnn._typing import Array, Bits, Indices
    from pycnn.distributed._shard import Held
    from pycnn.distributed._sources import Chunks, Source, Tables
    from pycnn.distributed._survey import Question, Survey

PATIENCE = 10.0  # seconds without an answer, after which a worker is lost
PULSE = 1.0  # seconds between two looks at whether it answers
ADVICE = "scatter it with broadcast=True, or hand in what Dask can compute again"
NO_WORKERS = "no Dask worker is left; the network is as after the last step"
NO_SCHEDULER = "Dask's scheduler does not answer; the network is as after the last step"


class LostError(Exception):
    """A call that a worker did not answer."""


class Remote(Shard):
    """A shard as an actor: with as many threads as its worker has, and parts that Dask brings."""

    def __init__(
        self, state: dict[str, Any], size: int, first: int, end: int, client: int, parts: list[Any]
    ) -> None:
        super().__init__(state, size, first, end)
        self.parts = parts
        self._set_threads(client)

    def _set_threads(self, client: int) -> None:
        import os

        from distributed.worker import get_worker

        from pycnn._threads import set_num_threads

        if os.getpid() != client:  # there the limit is the user's
            set_num_threads(get_worker().state.nthreads)

    def hold_part(self, place: int, rows: int, first_chunk: int, first_row: int) -> Any:
        """Take in what Dask has brought."""
        from pycnn.distributed._shard import Held

        return self.hold(Held(Part(self.parts[place], rows), first_chunk, first_row))


class Share:
    """A shard from this side: what it holds, and the worker that it is on."""

    def __init__(self, held: list[Held], first: int, end: int, chunks: int) -> None:
        self.held, self.first, self.end, self.chunks = held, first, end, chunks
        self.worker = ""  # address
        self.ready = False  # there, with all that it holds
        self.future: Any = None
        self.actor: Any = None


class Workers:
    """The workers of a Dask cluster have the chunks; lost ones are replaced by those left."""

    def __init__(self, client: Any, retries: int, timeout: float) -> None:
        if not _is_client(client) or client.asynchronous:
            raise DataTypeError(f"client must be a dask.distributed.Client, got {client!r:.80}")
        if client.status != "running":
            raise DataError(f"client must be running, but is {client.status}")
        self.client, self.retries, self.timeout = client, retries, timeout
        self.shares: list[Share] = []
        self.lost: set[str] = set()
        self.direct = client.direct_to_workers
        if self.direct is None:  # not settled: theta need not pass through the scheduler
            client.direct_to_workers = True

    # -------------------------------------------------------------- what it trains on

    def sources(self, data: Any) -> list[Source]:
        """Return the parts of what a user has handed in, Dask's as futures."""
        from dask.base import is_dask_collection
        from distributed.client import Future

        tables = list(data) if isinstance(data, (tuple, list)) else [data]
        if tables and all(isinstance(each, Future) for each in tables):
            return [Part(future) for future in tables]
        if tables and all(is_dask_collection(each) and hasattr(each, "key") for each in tables):
            return [Part(future) for future in self.client.compute(tables)]
        if any(is_dask_collection(each) for each in tables if each is not None):
            return [Part(future) for future in self._computed(tables)]
        return from_arrays(data)

    def _computed(self, tables: list[Any]) -> Any:
        """Return futures of the partitions of (X, y, ...), which are cut alike."""
        from dask.base import is_dask_collection
        from dask.delayed import delayed

        if not 2 <= len(tables) <= 4:
            raise DataTypeError(
                "data must be (X, y), (X, y, sample_weight) or (X, y, sample_weight, lengths)"
            )
        parts: dict[int, list[Any]] = {}  # by the table's place
        for place, (name, table) in enumerate(zip(NAMES, tables, strict=False)):
            if table is None:
                continue
            if not is_dask_collection(table) or not hasattr(table, "to_delayed"):
                raise DataTypeError(f"data: {name} must be a Dask array or data frame, as others")
            blocks = getattr(table, "numblocks", None)
            if blocks is not None and any(count != 1 for count in blocks[1:]):
                raise DataError(f"data: {name} must be chunked by rows alone: rechunk((rows, -1))")
            parts[place] = np.asarray(table.to_delayed(), object).ravel().tolist()
        if len({len(each) for each in parts.values()}) > 1:
            raise ShapeError("data: X, y, sample_weight and lengths must be chunked alike")
        places = list(parts)

        def together(*there: Any) -> Tables:
            tables = dict(zip(places, there, strict=True))
            return tables[0], tables[1], tables.get(2), tables.get(3)

        return self.client.compute(list(map(delayed(together), *parts.values())))

    def survey(self, sources: list[Source], question: Question) -> list[Survey]:
        """Look through the parts' targets, where the parts are."""
        parts = [source.value for source in sources if isinstance(source, Part)]
        how: dict[str, Any] = {"question": question, "pure": False}
        if parts:
            _check_held(parts)
            futures = self.client.map(_survey_part, parts, range(len(parts)), **how)
        elif _are_files(sources):
            futures = self.client.map(survey, sources, **how)
        else:
            return [check(survey(source, question)) for source in sources]
        from distributed.client import FutureCancelledError
        from distributed.scheduler import KilledWorker

        try:
            return [check(future.result(timeout=self.timeout)) for future in futures]
        except FutureCancelledError:
            self._alive()  # says so if it is the scheduler that is lost
            raise WorkerLostError(f"a part of the data is lost with its worker: {ADVICE}") from None
        except KilledWorker as error:
            raise WorkerLostError(f"while the data were looked through: {error}") from None
        except TimeoutError:
            raise WorkerLostError(
                f"the parts of the data were not there within timeout={self.timeout:g} seconds"
            ) from None

    # -------------------------------------------------------------- who has what

    def begin(self, state: dict[str, Any], sources: list[Source], chunks: Chunks) -> None:
        """Hand out the parts."""
        from distributed.protocol.pickle import dumps

        try:
            dumps(state)
        except Exception as error:
            raise DataTypeError(f"net must be able to travel to the workers: {error}") from None
        self.state, self.size = state, chunks.size
        count = min(len(self._alive()), chunks.count)
        if not count:
            raise WorkerLostError("the client has no workers")
        whole = [source.cut(0, 1) is None for source in sources]
        self.limits = chunks.shares(count, whole)
        for (first, end), last in zip(ranges(self.limits), self.limits[1:], strict=True):
            held = list(held_of(sources, chunks, first, last))
            self.shares.append(Share(held, first, end, last - first))
        try:
            self._repeat(self._place)
        except WorkerLostError as error:
            if str(error) == NO_SCHEDULER:
                raise
            raise WorkerLostError(
                f"{error}. Workers that end at the start may lack pycnn: their logs say so"
            ) from None

    def _alive(self) -> list[str]:
        if self.client.status == "closed":
            raise WorkerLostError("the client is closed; the network is as after the last step")
        try:
            workers = self.client.sync(self.client.scheduler.ncores, callback_timeout=PATIENCE)
        except OSError:  # a timeout is one too
            raise WorkerLostError(NO_SCHEDULER) from None
        return sorted(address for address in workers if address not in self.lost)

    def _place(self) -> None:
        """Bring each share that is nowhere to the worker that has the fewest chunks."""
        new = [share for share in self.shares if not share.ready and share.held]
        if not new:
            return
        until = time.monotonic() + PATIENCE
        while not (alive := self._alive()):
            if time.monotonic() > until:
                raise WorkerLostError(NO_WORKERS)
            time.sleep(0.2)  # a nanny starts another one
        for share in new:
            share.worker = ""
        for share in new:
            load = dict.fromkeys(alive, 0)
            for other in self.shares:
                if other.worker in load:
                    load[other.worker] += other.chunks
            share.worker = min(alive, key=load.__getitem__)
            self._create(share)
        for share in new:
            self._await_actor(share)
        self._gather([(s, self._held_call(s, i)) for s in new for i in range(len(s.held))])
        for share in new:
            share.ready = True

    def _create(self, share: Share) -> None:
        parts = [h.source.value for h in share.held if isinstance(h.source, Part)]
        _check_held(parts)
        import os

        arguments = self.state, self.size, share.first, share.end, os.getpid(), parts
        share.future = self.client.submit(
            Remote, *arguments, actor=True, workers=[share.worker], pure=False
        )

    def _await_actor(self, share: Share) -> None:
        """Wait until a share's actor is there; parts that Dask makes anew may take long."""
        brought = any(isinstance(held.source, Part) for held in share.held)
        until = time.monotonic() + (self.timeout if brought else PATIENCE)
        while not share.future.done():
            if time.monotonic() > until or share.worker not in self._alive():
                self._give_up([share])
            time.sleep(0.01)
        if share.future.status == "error":
            from distributed.scheduler import KilledWorker

            error = share.future.exception(timeout=PATIENCE)
            lost = isinstance(error, (KilledWorker, OSError)) or share.worker not in self._alive()
            if not lost:
                error.add_note(f"on {share.worker}, which must have the same pycnn and packages")
                raise error
        try:
            share.actor = share.future.result(timeout=PATIENCE)
        except Exception:  # it was there: the worker is not
            self._give_up([share])

    def _held_call(self, share: Share, place: int) -> Any:
        held = share.held[place]
        if isinstance(held.source, Part):
            return self._call(
                share, "hold_part", place, held.source.rows, held.first_chunk, held.first_row
            )
        return self._call(share, "hold", held)

    # -------------------------------------------------------------- calls that somebody answers

    def _call(self, share: Share, name: str, *arguments: Any) -> Any:
        try:
            return getattr(share.actor, name)(*arguments)
        except RuntimeError:  # Dask knows already
            self._give_up([share])

    def _give_up(self, shares: list[Share]) -> Any:
        """Leave the workers of these shares to themselves."""
        workers = {share.worker for share in shares}
        self.lost |= workers
        for share in self.shares:
            if share.worker in workers:
                share.future.release()
                share.ready = False
        raise LostError(", ".join(sorted(workers)))

    def _gather(self, calls: list[tuple[Share, Any]]) -> list[Any]:
        """Return what calls have returned, in their order.

        Raises
        ------
        LostError
            If a worker does not answer.
        """
        until = time.monotonic() + self.timeout
        return [check(self._await(share, call, until)) for share, call in calls]

    def _await(self, share: Share, call: Any, until: float) -> Any:
        heard, beat = time.monotonic(), None
        while True:
            try:
                return call.result(timeout=PULSE)
            except TimeoutError:
                pass
            except Exception:  # shards return their own errors: these are the connection's
                self._give_up([share])
            now = time.monotonic()
            if beat is None or beat.done():
                heard, beat = now, self._call(share, "beat")
            if now - heard > PATIENCE - PULSE or now > until:
                self._give_up([share])

    def _repeat(self, attempt: Callable[[], Any]) -> Any:
        """Return what an attempt does, with all shares placed, however many workers are lost."""
        lost = ""
        for _ in range(self.retries + 1):
            try:
                self._place()
                return attempt()
            except LostError as error:
                lost = str(error)
        raise WorkerLostError(
            f"the step was tried {self.retries + 1} times, and each time a worker was lost, the "
            f"last {lost}; the network is as after the last step"
        )

    # -------------------------------------------------------------- a step

    def sums(self, theta: Array, numbers: Indices, epoch: int, keys: Bits | None) -> Array:
        """Return the sum over some chunks."""
        parts = split(numbers, self.limits)
        total: Array = self._repeat(lambda: self._sums(theta, parts, epoch, keys))
        return total

    def _sums(self, theta: Array, parts: list[Indices], *random: Any) -> Array:
        calls = [
            (share, self._call(share, "sums", theta, part, *random))
            for share, part in zip(self.shares, parts, strict=True)
            if len(part)
        ]
        return add_up((numbers, np.require(v, None, "W")) for numbers, v in self._gather(calls))

    def end(self) -> None:
        """Let the workers have their memory back."""
        self.client.direct_to_workers = self.direct
        for share in self.shares:
            if share.future is not None:
                share.future.release()
        self.shares = []


def _check_held(parts: list[Any]) -> None:
    """Raise `WorkerLostError` where nobody has a part, nor can make it."""
    for part in parts:
        if part.status in ("cancelled", "lost"):
            part.release()
            raise WorkerLostError(
                f"a part of the data is lost with its worker ({part.key}): {ADVICE}"
            )


def _is_client(value: Any) -> bool:
    try:
        from distributed.client import Client
    except ImportError:
        return False
    return isinstance(value, Client)


def _survey_part(value: Any, number: int, question: Question) -> Any:
    return survey(Part(value, name=f"part {number} of the data"), question)


def _are_files(sources: list[Source]) -> bool:
    """Tell whether the workers can open the parts without their rows passing through the client."""
    tables = [table for source in sources for table in getattr(source, "tables", ())]
    return all(table is None or is_file(table) for table in tables)
