"""A layer of a plan, the operations of its kind, and the walk through a row of layers.

Inside, A^[l] is (n_l, m): a column a sample.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pycnn.backend.numpy.activation import ACTIVATIONS, FROM_Z

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pycnn._typing import Array, Indices
    from pycnn.backend.interface import LayerSpec

    # (layer, theta, A^[l-1], context) -> Z^[l], and what is saved for the others
    Forward = Callable[["Layer", Array, Array, "BatchContext"], tuple[Array, Any]]
    # (layer, theta, saved, delta, A^[l-1], gradient) -> dL/dA^[l-1]; the gradient's sums over the
    # samples are written into this layer's part of a buffer like theta without statistics
    Backward = Callable[["Layer", Array, Any, Array, Array, Array], Array]
    # (layer, theta, saved): the statistics in theta get the mini-batch's
    UpdateStatistics = Callable[["Layer", Array, Any], None]
    # Numbers of a sample that go on into the next part of its sequence.
    StateCount = Callable[[LayerSpec], int]


class BatchContext(NamedTuple):
    """What all layers see of the samples that go through them; by default those of a measurement.

    A product of whole matrices makes a sample's last bits depend on those beside it. Where
    predictions must not, each sample is multiplied `alone`.
    """

    training: bool = False  # normalize by the mini-batch's own moments
    dropping: bool = False  # drop units: in training, and where predictions are drawn
    dropout_key: int = 0  # the random numbers that are drawn from ...
    sample_offset: int = 0  # ... and the first sample's place among them
    alone: bool = False
    lengths: Indices | None = None  # positions of each sample that are there, (m,); all are
    # What the parts of the sequences before have left, (numbers of all layers, m), which becomes
    # what this one leaves. None: it begins with zeros, and nobody goes on from it.
    states: Array | None = None


class LayerOps(NamedTuple):
    """What a kind of layer can do."""

    forward: Forward
    backward: Backward
    update_statistics: UpdateStatistics | None = None
    state_count: StateCount = lambda spec: 0


class Layer(NamedTuple):
    """A layer of a plan: what it is, and where its numbers lie."""

    spec: LayerSpec
    ops: LayerOps
    number: int  # among the layers that draw random numbers
    places: tuple[slice, ...]  # of its tensors in theta
    inner: tuple[Layer, ...] = ()  # a composite layer's layers ...
    shortcut: tuple[Layer, ...] = ()  # ... and the one beside them, or none
    state: slice = slice(0)  # its numbers in BatchContext.states

    def parameters(self, buffer: Array) -> list[Array]:
        """Return the layer's views into theta, or a gradient like it."""
        return [
            buffer[place].reshape(tensor.shape)
            for tensor, place in zip(self.spec.tensors, self.places, strict=True)
            if tensor.role != "statistic"
        ]

    def statistics(self, theta: Array) -> list[Array]:
        """Return the layer's views into what training counts, behind the parameters."""
        return [
            theta[place].reshape(tensor.shape)
            for tensor, place in zip(self.spec.tensors, self.places, strict=True)
            if tensor.role == "statistic"
        ]

    def weights(self, buffer: Array) -> list[Array]:
        """Return those views that penalties and max-norms mean."""
        return [
            buffer[place].reshape(tensor.shape)
            for tensor, place in zip(self.spec.tensors, self.places, strict=True)
            if tensor.role == "weight"
        ]

    def setting(self, name: str) -> float:
        """Return one of the layer's settings; 0 where its kind has none of that name."""
        return self.spec.settings.get(name, 0.0)

    def leaves(self) -> Iterator[Layer]:
        """Yield the layers that it is made of, or itself."""
        for layer in (*self.inner, *self.shortcut):
            yield from layer.leaves()
        if not self.inner:
            yield self


def by_position(layer: Layer, a: Array) -> Array:
    """Return Z or A as (P, n, m) where the layer's output is a sequence, else as they are."""
    shape = layer.spec.output_shape
    return a.reshape(*shape, -1) if len(shape) == 2 else a


def as_columns(a: Array, features: int) -> Array:
    """Return what lies a column a sample with a column for each position of each sample."""
    return a.reshape(-1, features, a.shape[1]).swapaxes(0, 1).reshape(features, -1)


def as_samples(columns: Array, samples: int) -> Array:
    """Return such columns as they lie between layers, a column a sample."""
    features = len(columns)
    return columns.reshape(features, -1, samples).swapaxes(0, 1).reshape(-1, samples)


class Activations(NamedTuple):
    """A forward pass: Z^[1..L], A^[0..L], and what each layer has saved for its backward."""

    Z: list[Array]
    A: list[Array]
    saved: list[Any]


def steps_through(
    layers: Sequence[Layer], theta: Array, a: Array, context: BatchContext
) -> Iterator[tuple[Array, Array, Any]]:
    """Yield each layer's Z, A = f(Z) (lecture, equations 1 and 2) and what it has saved."""
    for layer in layers:
        z, saved = layer.ops.forward(layer, theta, a, context)
        f, _ = ACTIVATIONS[layer.spec.activation]
        a = f(by_position(layer, z)).reshape(z.shape)
        yield z, a, saved
        if len(layer.spec.output_shape) == 1:  # the sequences, if any, have ended
            context = context._replace(lengths=None)


def forward_through(
    layers: Sequence[Layer], theta: Array, a: Array, context: BatchContext
) -> Activations:
    """Take A^[0] through layers, one after the other."""
    activations = Activations([], [a], [])
    for step in steps_through(layers, theta, a, context):
        for kept, value in zip(activations, step, strict=True):
            kept.append(value)
    return activations


def backward_through(
    layers: Sequence[Layer],
    theta: Array,
    activations: Activations,
    g: Array,
    grad: Array,
    *,
    derived: bool = False,
) -> tuple[list[Array], Array]:
    """Return the layers' delta = dL/dZ, and dL/dA^[0]; the gradient's sums go into `grad`.

    `g` is dL/dA of the last layer or, with `derived`, its delta already.
    """
    deltas: list[Array] = [g] * len(layers)
    for l in reversed(range(len(layers))):  # noqa: E741 - the lecture's l, counted from 0
        layer = layers[l]
        if not (derived and l == len(layers) - 1):
            _, f_delta = ACTIVATIONS[layer.spec.activation]
            from_z = layer.spec.activation in FROM_Z
            known = activations.Z[l] if from_z else activations.A[l + 1]
            shape = g.shape
            g = f_delta(by_position(layer, g), by_position(layer, known)).reshape(shape)
        deltas[l] = g
        g = layer.ops.backward(layer, theta, activations.saved[l], g, activations.A[l], grad)
    return deltas, g


def update_statistics(layers: Sequence[Layer], theta: Array, saved: Sequence[Any]) -> None:
    """Let the statistics behind theta's parameters have the mini-batch's."""
    for layer, own in zip(layers, saved, strict=True):
        if layer.ops.update_statistics is not None:
            layer.ops.update_statistics(layer, theta, own)
