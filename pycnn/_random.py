"""Random numbers that decide results: from the raw 64-bit stream of a seeded bit generator.

NumPy freezes that stream; the methods of `numpy.random.Generator` may change between releases. The
transforms are exactly rounded functions (`_exact`), so they give the same bits on every machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn._exact import normal_quantile
from pycnn.exceptions import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    from pycnn._typing import Array, Bits, Indices

    # (first, count) -> (count, size)
    PermutationDrawer: TypeAlias = Callable[[int, int], Indices]


# Entries of permutations that are drawn ahead: a fraction of a millisecond.
AHEAD = 1 << 12

# One bit generator for each use, so that none disturbs another.
INITIAL_PARAMETERS, SHUFFLING, SPLITTING, DROPPING, DIAGNOSING, AUGMENTING, SAMPLING = range(7)
GENERATING = 7


def fresh_seed() -> int:
    """Return a seed from the operating system's entropy."""
    return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])


def check_seed(seed: Any) -> int:
    """Return `seed` as an int; None asks for a fresh one."""
    if seed is None:
        return fresh_seed()
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise DataError(f"seed must be None or an integer >= 0, got {seed!r}")
    return int(seed)


def generator(seed: int, *use: int) -> np.random.PCG64:
    """Return the bit generator of `seed` for one use."""
    return np.random.PCG64(np.random.SeedSequence(seed, spawn_key=use))


def uniform(bits: np.random.PCG64, size: int) -> Array:
    """Draw from [0, 1): the upper 53 bits of each raw number."""
    return (bits.random_raw(size) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def draws(seed: int) -> Iterator[float]:
    """Yield the numbers from [0, 1) that decide what is written, one after the other."""
    bits = generator(seed, GENERATING)
    while True:
        yield from uniform(bits, 256).tolist()


def normal(bits: np.random.PCG64, size: int) -> Array:
    """Draw from the standard normal distribution, by inversion: one raw number a draw."""
    return normal_quantile(uniform(bits, size) + 2.0**-54)  # the middle of each step: never 0 or 1


class Stream:
    """The raw numbers of a seed for one use, wherever in the stream they are: it is read on.

    To make a bit generator takes longer than a short epoch.
    """

    def __init__(self, seed: int, use: int) -> None:
        self.seed, self.use = seed, use
        self._bits: np.random.PCG64 | None = None
        self._place = 0

    def take(self, first: int, count: int) -> Bits:
        """Return numbers `first`, `first` + 1, ..."""
        bits, place, self._bits = self._bits, self._place, None  # Ctrl-C may come behind each call
        if bits is None:
            bits, place = generator(self.seed, self.use), 0
        if first != place:
            bits.advance((first - place) % (1 << 128))
        numbers: Bits = bits.random_raw(count)
        self._bits, self._place = bits, first + count
        return numbers


def permutations(seed: int, size: int) -> PermutationDrawer:
    """Return what draws permutations number `first`, `first` + 1, ... of ``range(size)``.

    The n-th permutation sorts the raw numbers n * size, ..., (n + 1) * size - 1 of the seed's
    stream, so it can be had without those before it.
    """
    stream = Stream(seed, SHUFFLING)

    def draw(first: int, count: int) -> Indices:
        keys = stream.take(first * size, count * size).reshape(count, size)
        return np.argsort(keys, axis=1, kind="stable")

    return draw


class Permutations:
    """The `permutations` of one size, of which some are drawn before they are asked for.

    Parameters
    ----------
    seed, size : int
    draw : callable
        As of `permutations`, or faster.
    """

    def __init__(self, seed: int, size: int, draw: PermutationDrawer) -> None:
        self.seed, self.size, self._draw = seed, size, draw
        self._first, self._drawn = 0, np.zeros((0, size), np.intp)

    def take(self, first: int, count: int, following: int = 0) -> Indices:
        """Return number `first`, ..., `count` of them; up to `following` may be asked for next."""
        at = first - self._first
        if 0 <= at <= len(self._drawn) - count:
            return self._drawn[at : at + count]
        number = max(count, min(following, AHEAD // self.size))
        drawn = self._draw(first, number)
        if number > count:
            self._first, self._drawn = first, drawn
        return drawn[:count]


def dropout_keys(seed: int, first: int, count: int) -> Bits:
    """Return what dropout's random numbers follow from in epoch `first`, `first` + 1, ..."""
    bits = generator(seed, DROPPING)
    bits.advance(first)
    return bits.random_raw(count)
