"""A graph: who makes and who uses a tensor, what is constant, what all of it goes through."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

import numpy as np

from pycnn._io.onnx.operations import MOST_NUMBERS, MOVES, Room
from pycnn.exceptions import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycnn._io.onnx.model import OnnxModel
    from pycnn._typing import AnyArray

FREE = 1 << 20  # numbers of constants that may be computed, beside as many as the file has


class Graph:
    """The nodes of a graph, of which some are constant and the others lie on the way."""

    def __init__(self, model: OnnxModel) -> None:
        self.model, self.nodes, self.arrays = model, model.nodes, dict(model.arrays)
        self.room = Room(FREE + 4 * sum(array.size for array in model.arrays.values()))
        self.users: dict[str, list[int]] = {}
        self.maker: dict[str, int] = {}
        self.batch: int | None = None  # its size, unless it is open
        there = {*self.arrays, *(info.name for info in model.inputs)}
        for at, node in enumerate(self.nodes):
            for name in {*node.inputs}:
                self.users.setdefault(name, []).append(at)
            for name in filter(None, node.outputs):
                if name in self.users or name in self.maker or name in there:
                    raise ModelFileError(f"makes {name!r} at {node}, but has or takes it before")
                self.maker[name] = at
            self._fold(at)
        self.fixed = {*self.arrays}  # what is so for any shape
        self.seen: dict[str, tuple[AnyArray, int]] = {}  # tensors on the way: index, batch's axis

    def _fold(self, at: int) -> None:
        """Compute a node that is constant, and what is constant then."""
        node = self.nodes[at]
        if any(name and name not in self.arrays for name in node.inputs):
            return
        found = self.room.compute(
            node.op, node.given, [self.arrays.get(name) for name in node.inputs]
        )
        if found is not None:
            self._define(node.outputs[0], found)

    def _define(self, name: str, array: AnyArray) -> None:
        self.arrays[name] = array
        for at in self.users.get(name, ()):
            if at > self.maker[name] and self.nodes[at].outputs[0] not in self.arrays:
                self._fold(at)

    def settle(self, name: str, index: AnyArray) -> None:
        """Let what asks for a tensor's shape, or how it would be when moved, be constant."""
        for at in self.users.get(name, ()):
            node = self.nodes[at]
            out = node.outputs[0]
            if node.op == "Shape" and out not in self.arrays:
                start, end = node.given.get("start", 0), node.given.get("end", index.ndim)
                self._define(out, np.array(index.shape[start:end], np.int64))
            asked = any(self.nodes[asks].op == "Shape" for asks in self.users.get(out, ()))
            moves = node.op in ("Transpose", "Squeeze", "Unsqueeze") and node.inputs[0] == name
            more = [self.arrays.get(other) for other in node.inputs[1:]]
            if asked and moves and all(x is not None for x in more):
                self.settle(out, MOVES[node.op](node.given, MOST_NUMBERS, index, *more))

    def before(self, end: str) -> set[int]:
        """Return the nodes that a tensor is made by."""
        found: set[int] = set()
        names = [end]
        while names:
            at = self.maker.get(names.pop())
            if at is not None and at not in found:
                found.add(at)
                names += self.nodes[at].inputs
        return found

    def joins(self, name: str, end: str, within: set[int]) -> Iterator[tuple[str, list[int]]]:
        """Yield tensors that all of the way goes through, with the nodes since the last."""

        def users(name: str) -> list[int]:
            return [
                at
                for at in self.users.get(name, ())
                if at in within
                and self.nodes[at].op != "Shape"
                and self.nodes[at].outputs[0] not in self.arrays
            ]

        ahead = users(name)
        left, known, done = {name: len(ahead)}, {*ahead}, []
        while ahead:
            at = heappop(ahead)
            if any(users(made) or made == end for made in self.nodes[at].outputs):
                done.append(at)  # else but the shape of what it makes is asked for
            for used in {*self.nodes[at].inputs} & left.keys():
                left[used] -= 1
                if not left[used]:
                    del left[used]
            for made in self.nodes[at].outputs:
                following = users(made)
                if following or made == end:
                    left[made] = len(following)
                for at_next in following:
                    if at_next not in known:
                        known.add(at_next)
                        heappush(ahead, at_next)
            if len(left) == 1 and name not in left:
                yield next(iter(left)), done
                done = []
