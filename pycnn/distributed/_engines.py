"""Engines: where the sums over chunks are computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from pycnn.distributed._shard import Failure, Held, Shard
from pycnn.distributed._sources import from_arrays
from pycnn.distributed._survey import survey
from pycnn.distributed._tree import WITHOUT_END, Tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pycnn._typing import Array, Bits, Indices
    from pycnn.distributed._sources import Chunks, Source
    from pycnn.distributed._survey import Question, Survey

_Result = TypeVar("_Result")


class Engine(Protocol):
    """Computes sums over chunks, whoever does it, to the same bits."""

    def sources(self, data: Any) -> list[Source]:
        """Return the parts of what a user has handed in."""
        ...

    def survey(self, sources: list[Source], question: Question) -> list[Survey]:
        """Look through the parts' targets."""
        ...

    def begin(self, state: dict[str, Any], sources: list[Source], chunks: Chunks) -> None:
        """Hand out the parts."""

    def sums(self, theta: Array, numbers: Indices, epoch: int, keys: Bits | None) -> Array:
        """Return the sum over some chunks, whose numbers ascend, as `Shard.sums` has its rows."""
        ...

    def end(self) -> None:
        """Let go of what was handed out."""


def check(result: _Result | Failure) -> _Result:
    """Return a result; raise what has gone wrong where it was computed."""
    if isinstance(result, Failure):
        raise result.error
    return result


def held_of(sources: Sequence[Source], chunks: Chunks, first: int, end: int) -> Iterable[Held]:
    """Yield the parts that have the chunks `first` ... `end`, cut where they can be."""
    rows = 0
    for source, begin, behind in zip(sources, chunks.firsts, chunks.firsts[1:], strict=False):
        low, high = max(begin, first), min(behind, end)
        if low < high:
            from_row = (low - begin) * chunks.size
            to_row = min(source.rows, (high - begin) * chunks.size)
            part = source if (low, high) == (begin, behind) else source.cut(from_row, to_row)
            assert part is not None
            yield Held(part, low, rows + from_row)
        rows += source.rows


def ranges(limits: Sequence[int]) -> list[tuple[int, int]]:
    """Return the range of numbers that each share has for itself; the last one has no end."""
    ends = [*limits[1:-1], WITHOUT_END]
    return list(zip(limits, ends, strict=False))


def add_up(parts: Iterable[tuple[list[int], Array]]) -> Array:
    """Return the sum of nodes that come in the order of their numbers."""
    tree = Tree()
    for numbers, values in parts:
        for number, node in zip(numbers, values, strict=True):
            tree.add(number, node)
    [(_, total)] = tree.finish()
    return total


class Here:
    """Without anybody else: this process has all chunks."""

    def sources(self, data: Any) -> list[Source]:
        """Return the parts of what a user has handed in."""
        return from_arrays(data)

    def survey(self, sources: list[Source], question: Question) -> list[Survey]:
        """Look through the parts' targets."""
        return [check(survey(source, question)) for source in sources]

    def begin(self, state: dict[str, Any], sources: list[Source], chunks: Chunks) -> None:
        """Take all of them."""
        self.shard = Shard(state, chunks.size, 0, WITHOUT_END)
        for held in held_of(sources, chunks, 0, chunks.count):
            self.shard.hold(held)

    def sums(self, theta: Array, numbers: Indices, epoch: int, keys: Bits | None) -> Array:
        """Return the sum over some chunks."""
        return add_up([check(self.shard.sums(theta, numbers, epoch, keys))])

    def end(self) -> None:
        """Do nothing."""


def split(numbers: Indices, limits: Sequence[int]) -> list[Indices]:
    """Return which of some ascending numbers each share has."""
    return np.split(numbers, np.searchsorted(numbers, limits[1:-1]))
