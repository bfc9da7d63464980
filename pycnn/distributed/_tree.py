"""Sums along a fixed tree: what they are rounded to does not depend on who adds which part."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from pycnn._typing import Array

    # A subtree's sum, under the number of its last leaf.
    Node: TypeAlias = tuple[int, Array]

WITHOUT_END = 1 << 62  # beyond all numbers of leaves


def _level(a: int, b: int) -> int:
    """Return the height at which two leaves of the binary tree over all numbers meet."""
    return (a ^ b).bit_length()


class Tree:
    """Adds up leaves, in the order of their numbers, as a binary tree over all numbers does.

    A node is the sum of its left and its right half; what has no leaves is left out. So the sum
    follows from the numbers of the leaves alone. Who has those from `first` to below `end` adds
    where nobody else can have a part of it, and hands on what is left: as many nodes as the
    logarithm of the range, whose sum a `Tree` over all numbers makes.

    Parameters
    ----------
    first, end : int
        The range of numbers that no other tree has leaves in.
    """

    def __init__(self, first: int = 0, end: int = WITHOUT_END) -> None:
        self.first, self.end = first, end
        self.nodes: list[Node] = []

    def add(self, number: int, leaf: Array) -> None:
        """Add a leaf behind those that came before; its memory is the tree's from here on."""
        while len(self.nodes) > 1 and self._height() < _level(self.nodes[-1][0], number):
            if not self._join():
                break
        self.nodes.append((number, leaf))

    def finish(self) -> list[Node]:
        """Return the nodes that are left once all leaves are there."""
        while len(self.nodes) > 1 and self._join():
            pass
        return self.nodes

    def _height(self) -> int:
        return _level(self.nodes[-2][0], self.nodes[-1][0])

    def _join(self) -> bool:
        """Add the last two nodes, if all that lies below their sum is in the range."""
        (_, left), (number, right) = self.nodes[-2:]
        height = self._height()
        begin = number >> height << height
        if begin < self.first or begin + (1 << height) > self.end:
            return False
        left += right
        self.nodes[-2:] = [(number, left)]
        return True
