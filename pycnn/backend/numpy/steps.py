"""What recurrent layers do at each of their steps, forward and back, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pycnn.backend.numpy.composite import Paths
from pycnn.backend.numpy.layer import BatchContext, backward_through, forward_through
from pycnn.backend.numpy.plan import create_plan
from pycnn.backend.numpy.recurrent import Walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pycnn._typing import Array, Indices
    from pycnn.backend.interface import LayerSpec


class Steps(NamedTuple):
    """The way of a recurrent layer through its positions, in the order of the steps."""

    number: int  # of the network's layer that it is, or is within, from 1
    positions: Indices  # (T,)
    states: Array  # (T, units, m): h behind each step
    gradients: Array  # (T, m): the norm of each sample's dL/dh there; NaN where it has no position
    has_sequences: bool  # whether each step has a delta from above, and not the last one alone

    def ratio(self) -> float:
        """Return how much larger the gradient is at the first step than at the last."""
        there = ~np.isnan(self.gradients)
        ends = [there.argmax(axis=0), len(there) - 1 - there[::-1].argmax(axis=0)]
        first, last = (np.mean(self.gradients[end, range(there.shape[1])]) for end in ends)
        return float(first / last) if last > 0 else float("nan")


def steps_of(
    specs: Sequence[LayerSpec],
    theta: Array,
    A: Sequence[Array],
    delta: Sequence[Array | None] = (),
    lengths: Indices | None = None,
) -> Iterator[Steps]:
    """Yield the steps of all recurrent layers, by what a trace knows; without `delta`, of 0."""
    for number, layer in enumerate(create_plan(specs, "mse").layers, start=1):
        # Attention remembers steps only where a sample is some of them.
        leaves = [leaf for leaf in layer.leaves() if leaf.ops.state_count(leaf.spec)]
        if leaves:
            context = BatchContext(lengths=lengths)
            path = forward_through([layer], theta, A[number - 1], context)
            above = delta[number] if delta else np.zeros_like(path.A[-1])
            assert above is not None
            backward_through([layer], theta, path, above, np.empty_like(theta), derived=True)
            for leaf, walk in zip(leaves, _walks(path.saved), strict=True):
                gradients = _norms(np.array(walk.gradients[::-1]))
                gradients[~np.array(walk.here)] = np.nan
                states = np.array([state[0] for state in walk.states[1:]])
                sequences = bool(leaf.setting("return_sequences"))
                yield Steps(number, np.array(walk.positions), states, gradients, sequences)
        if len(layer.spec.output_shape) == 1:
            lengths = None


@np.errstate(invalid="ignore", over="ignore", divide="ignore")
def _norms(vectors: Array) -> Array:
    """Return the norms along the second axis, whose squares may overflow, or vanish."""
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    parts = np.where(largest > 0, vectors / largest, 0)
    norms: Array = largest[:, 0] * np.linalg.norm(parts, axis=1)
    return np.where(np.isinf(largest[:, 0]), np.inf, norms)


def _walks(saved: Sequence[Any]) -> Iterator[Walk]:
    """Yield the ways of recurrent layers among what some layers have saved."""
    for own in saved:
        if isinstance(own, Walk):
            yield own
        elif isinstance(own, Paths):
            for path in own:
                yield from _walks(path.saved)
