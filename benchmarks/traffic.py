"""A model of what crosses between caches in a training step: ``python -m benchmarks.traffic``.

No measurement: it counts the float64 numbers that one group of threads reads and another has
written since, as `csrc/pass.c` shares out the work. A group is what has a cache in common: a core,
or the cores of a third-level cache. Shares are taken to be equal, caches to be large enough, and
the data to be read from memory by whoever wants them.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

GROUPS = {
    2: "2 cores; 8 or 16 on two L3s",
    4: "4 cores; 16 on four L3s",
    8: "8 cores; 64 on eight L3s",
}
NETWORKS = {
    "T4b32": ((784, 128, 10), 32),
    "T4b128": ((784, 128, 10), 128),
    "T5": ((784, 1024, 1024, 10), 256),
}


class Layer(NamedTuple):
    """Bytes that cross for a layer, into all groups together."""

    weights: float  # forward, of which each group has updated but its share
    inputs: float  # forward, where it is shared out by units
    rows: float  # of the inputs, for the gradient
    deltas: float  # for the gradient
    outputs: float  # of a layer that was shared out by units, to the next one

    @property
    def total(self) -> float:
        """Sum all of them."""
        return sum(self)


def crossing(sizes: tuple[int, ...], batch: int, groups: int, by_units: bool) -> list[Layer]:
    """Count layer after layer; `by_units`: the first one is shared out by its units."""
    elsewhere = groups - 1  # of `groups` copies of something, so many come from others ...
    other_part = 1 - 1 / groups  # ... and so much of one copy, of which each group reads a part
    layers = []
    for number, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        units = by_units and number == 0
        layers.append(
            Layer(
                0 if units else 8 * fan_in * fan_out * elsewhere,
                8 * fan_in * batch * elsewhere if units else 0,
                8 * fan_in * batch * elsewhere,
                8 * fan_out * batch * other_part,
                8 * fan_out * batch * other_part if units else 0,
            )
        )
    return layers


def main() -> None:
    """Print the table of docs/performance.md."""
    print("| network | groups | by samples | | first layer by units | | so it is shared out by |")
    print("| --- | --- | ---: | --- | ---: | --- | --- |")
    for name, (sizes, batch) in NETWORKS.items():
        for groups, machine in GROUPS.items():
            cells = []
            for by_units in (False, True):
                layers = crossing(sizes, batch, groups, by_units)
                each = " + ".join(f"{layer.total / 1e6:.2f}" for layer in layers)
                cells += [f"{sum(layer.total for layer in layers) / 1e6:.2f} MB", each]
            decided = "units" if sizes[1] > batch else "samples"
            print(f"| {name} | {groups}: {machine} | {' | '.join(cells)} | {decided} |")


if __name__ == "__main__":
    main()
