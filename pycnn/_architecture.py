"""`Architecture`: the one walk over a network's layers, and the table of tensors that it leaves.

Whoever has to know where in theta a layer's arrays lie, or of what shape its outputs are, reads the
table: files, folding, summary, trace, the backends. Nobody else asks layer after layer.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pycnn._checks import LARGEST, check_fits, is_open, known
from pycnn._data.tokens import Tokens, at_length
from pycnn.exceptions import DataError, ShapeError
from pycnn.layers._composite import specs_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pycnn._typing import Array, Shape
    from pycnn.backend.interface import LayerSpec, Role, TensorSpec
    from pycnn.layers import Layer
    from pycnn.losses import Loss


# These two are no NamedTuples, each of which makes `import pycnn` 0.2 ms longer.


class Tensor:
    """An array of a network: whose it is, and where it lies."""

    __slots__ = ("layer", "name", "offset", "role", "shape")

    def __init__(self, layer: int, name: str, shape: Shape, role: Role, offset: int) -> None:
        self.layer = layer  # its number, from 1
        self.name = name  # within the layer: W, or inner.1.W in a composite one
        self.shape, self.role = shape, role
        self.offset = offset  # into theta

    @property
    def full_name(self) -> str:
        """The name among those of the whole network, which files have too."""
        return f"layers.{self.layer}.{self.name}"

    @property
    def size(self) -> int:
        """Count of its numbers."""
        return math.prod(self.shape)

    def view(self, theta: Array) -> Array:
        """Return the array in `theta`, or in another buffer that is laid out like it."""
        return theta[self.offset : self.offset + self.size].reshape(self.shape)


class Part:
    """A layer of a network, be it within a composite one."""

    __slots__ = ("depth", "layer", "name", "spec")

    def __init__(self, name: str, depth: int, layer: Layer, spec: LayerSpec) -> None:
        self.name = name  # 2, or 2.inner.1 within a composite layer
        self.depth = depth  # of the composite layers around it
        self.layer, self.spec = layer, spec

    @property
    def parameters(self) -> tuple[TensorSpec, ...]:
        """The layer's own, without those of layers within it."""
        if self.spec.inner:
            return ()
        return tuple(tensor for tensor in self.spec.tensors if tensor.role != "statistic")


class Architecture:
    """Layers on top of each other, as a plan: shapes, names and offsets, no parameters.

    Theta has the parameters of all layers, in their order, and behind them the statistics of all.

    Parameters
    ----------
    input_shape : tuple of int
        Of one sample; of sequences of any length the first size is None, as in all shapes that
        follow from it. What a backend computes with is then the architecture `at_length`.
    layers : sequence of Layer
    loss : str or Loss
        One that goes with the last layer's activation.
    penalty : (l1, l2)
        The network's own, for whatever has the role of a weight.

    Attributes
    ----------
    shapes : tuple of shapes, L + 1 of them
        Of a sample before the first layer, between the layers, and at the end.
    inputs, outputs : int
        How many numbers a sample has at both ends, or each position where any number will do.
    specs : tuple of LayerSpec
        The layers as the backends need to know them, with all penalties.
    tensors : tuple of Tensor
        The table, in the order of theta.
    parameter_count, statistic_count : int
    is_random : bool
        Whether any layer draws random numbers in training.
    is_penalized : bool
        Whether the loss includes anything for the size of the weights.
    least_batch : int
        Samples that a mini-batch must have in training.

    output_shape : tuple of int
        Of a sample at the end: (n_L,), or (positions, features) of a sequence.

    Raises
    ------
    ShapeError
        If a layer does not fit the one before it, or all of them not into memory, or if a sample
        is an image at the end.
    """

    def __init__(
        self,
        input_shape: Shape,
        layers: Sequence[Layer],
        loss: str | Loss,
        penalty: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        if isinstance(input_shape, Tokens) and not layers[0].takes_tokens:
            raise ShapeError(
                f"the first layer of a network on {input_shape} must make numbers of tokens, as "
                f"Embedding(64) does, but is {layers[0]!r}"
            )
        self.input_shape = input_shape
        self.layers = tuple([layer.in_network(input_shape, layers[0]) for layer in layers])
        self.loss = loss
        self.penalty = penalty
        specs: list[LayerSpec] = []
        shapes = [input_shape]
        for number, layer in enumerate(self.layers, start=1):
            if layer.needs_length and is_open(shapes[-1]):
                raise ShapeError(
                    f"{layer!r}, as layer {number} is, needs sequences of one length, but these "
                    f"have shape {shapes[-1]}: give the network their length. (A recurrent layer "
                    "makes a row of sequences of any length, and so does GlobalAveragePool1D.)"
                )
            specs.append(_penalized(layer.spec(shapes[-1]), *penalty))
            shapes.append(specs[-1].output_shape)
        if len(shapes[-1]) > 2:
            raise ShapeError(
                f"the last layer must give samples that are one row, or a sequence, but they have "
                f"shape {shapes[-1]}: Flatten() behind it makes them one row"
            )
        self.shapes, self.specs = tuple(shapes), tuple(specs)
        self.output_shape: Shape = shapes[-1]
        self.inputs, self.outputs = known(shapes[0]), known(shapes[-1])
        # Lists: an interrupt is lost that comes while a generator is closed before its end.
        self.is_random = True in [spec.is_random for spec in specs]
        self.is_penalized = True in [_is_penalized(spec) for spec in specs]
        self.least_batch = max([spec.least_batch for spec in specs])
        self.tensors = tuple(_lay_out(specs))
        numbers = [tensor.size for tensor in self.tensors if tensor.role != "statistic"]
        self.parameter_count = sum(numbers)
        self.statistic_count = sum(tensor.size for tensor in self.tensors) - self.parameter_count
        check_fits(
            self.parameter_count + self.statistic_count,
            f"a network of {self.parameter_count} parameters",
        )

    def at_length(self, positions: int) -> Architecture:
        """Return the same layers, with the same arrays, on sequences of so many positions.

        Raises
        ------
        ShapeError
            If a layer has other arrays then, or needs more positions.
        """
        shape = at_length(self.input_shape, positions)
        other = Architecture(shape, self.layers, self.loss, self.penalty)
        for own, theirs in zip(self.tensors, other.tensors, strict=True):
            if own.shape != theirs.shape:
                raise ShapeError(
                    f"{self.layers[own.layer - 1]!r}, as layer {own.layer} is, needs sequences of "
                    f"one length: its {own.name} depends on it"
                )
        return other

    def shortest(self) -> Architecture:
        """Return that of the shortest sequences, but for a factor of 2; of one length itself."""
        if not is_open(self.input_shape):
            return self
        positions = 1
        while True:
            try:
                return self.at_length(positions)
            except ShapeError:  # windows that cover more
                if positions > LARGEST >> 8:
                    raise
                positions *= 2

    def part_specs(self, positions: int) -> tuple[LayerSpec, ...]:
        """Return the layers as they take so many positions, the next ones of a sequence each time.

        Theta is the same. Raises `DataError` by the name of a layer that reads whole sequences
        alone, or where samples are none.
        """
        self._check_sequences("one position after the other cannot be taken")
        shape, window = at_length(self.input_shape, positions), self.input_shape[0] or 0
        specs = specs_of(self.layers, shape, window)
        return tuple(_penalized(spec, *self.penalty) for spec in specs)

    def check_windows(self) -> None:
        """Raise `DataError` where sequences cannot be trained on window by window.

        That takes a target at each position, and layers of which a state alone goes on.
        """
        parts = self.part_specs(1)
        for number, (layer, part) in enumerate(zip(self.layers, parts, strict=True), start=1):
            if len(part.output_shape) == 1:
                raise DataError(
                    f"truncate wants an output at each position, but {layer!r}, as layer {number} "
                    "is, makes one row of a sequence; return_sequences=True in a recurrent layer "
                    "leaves a sequence"
                )
            if has_window([part]):
                raise DataError(
                    f"truncate must be None with {layer!r}, as layer {number} is: it needs all "
                    "positions before, and no state goes on in their place"
                )

    def _check_sequences(self, what: str) -> None:
        if len(self.input_shape) != 2 and not isinstance(self.input_shape, Tokens):
            raise DataError(
                f"{what} where samples are no sequences, (positions, features), but have shape "
                f"{self.input_shape}"
            )

    def check_lengths(self) -> None:
        """Raise `DataError` where samples are no sequences, or a layer knows no lengths.

        A layer that makes one row of a sequence is the last that has to know them.
        """
        self._check_sequences("lengths must be None")
        for number, (layer, spec) in enumerate(zip(self.layers, self.specs, strict=True), start=1):
            if not spec.knows_lengths:
                raise DataError(
                    f"lengths must be None with {layer!r}, as layer {number} is: it would take "
                    "what stands behind the end of a sequence for a part of it"
                )
            if len(spec.output_shape) == 1 and len(self.output_shape) == 2:
                raise DataError(
                    f"lengths must be None where layer {number} makes one row of a sequence, and a "
                    "layer behind it another sequence"
                )
            if len(spec.output_shape) == 1:
                return

    def by_layer(self) -> list[list[Tensor]]:
        """Return each layer's tensors, the parameters first."""
        own: list[list[Tensor]] = [[] for _ in self.layers]
        for tensor in self.tensors:
            own[tensor.layer - 1].append(tensor)
        return own

    def find(self, name: str) -> list[Tensor | None]:
        """Return each layer's tensor of that name; None where it has none."""
        found: list[Tensor | None] = [None] * len(self.layers)
        for tensor in self.tensors:
            if tensor.name == name:
                found[tensor.layer - 1] = tensor
        return found

    @property
    def output_shapes(self) -> tuple[Shape, ...]:
        """The shape of a sample behind each layer of the list."""
        return tuple(spec.output_shape for spec in self.specs)

    def parts(self) -> Iterator[Part]:
        """Yield all layers; behind a composite one those within it."""
        for number, (layer, spec) in enumerate(zip(self.layers, self.specs, strict=True), start=1):
            yield from _parts(f"{number}", 0, layer, spec)

    def bound(self, theta: Array) -> tuple[Layer, ...]:
        """Return copies of the layers whose arrays are views into `theta`."""
        return tuple(
            layer.bound(shape, {tensor.name: tensor.view(theta) for tensor in own})
            for layer, shape, own in zip(self.layers, self.shapes, self.by_layer(), strict=False)
        )


def has_window(specs: Iterable[LayerSpec]) -> bool:
    """Tell whether a layer remembers positions, and not only what they have left."""
    return any(
        "window" in spec.settings
        or has_window(spec.inner)
        or (spec.shortcut is not None and has_window([spec.shortcut]))
        for spec in specs
    )


def _lay_out(specs: Sequence[LayerSpec]) -> Iterator[Tensor]:
    """Yield all tensors in the order of theta."""
    offset = 0
    for statistics in (False, True):
        for number, spec in enumerate(specs, start=1):
            for name, shape, role in spec.tensors:
                if (role == "statistic") == statistics:
                    yield Tensor(number, name, shape, role, offset)
                    offset += math.prod(shape)


def _penalized(spec: LayerSpec, l1: float, l2: float) -> LayerSpec:
    """Return a layer's spec with the network's penalty on its weights added to its own."""
    if spec.inner:
        shortcut = None if spec.shortcut is None else _penalized(spec.shortcut, l1, l2)
        inner = tuple(_penalized(layer, l1, l2) for layer in spec.inner)
        return spec._replace(inner=inner, shortcut=shortcut)
    if "weight" not in [tensor.role for tensor in spec.tensors]:
        return spec
    own = spec.settings
    both = {"l1": own.get("l1", 0.0) + l1, "l2": own.get("l2", 0.0) + l2}
    return spec._replace(settings={**own, **both})


def _is_penalized(spec: LayerSpec) -> bool:
    within = (*spec.inner, *([] if spec.shortcut is None else [spec.shortcut]))
    own = spec.settings.get("l1") or spec.settings.get("l2")
    return bool(own) or True in [_is_penalized(layer) for layer in within]


def _parts(name: str, depth: int, layer: Layer, spec: LayerSpec) -> Iterator[Part]:
    yield Part(name, depth, layer, spec)
    for child, inner, of_inner in layer.within(spec):
        yield from _parts(f"{name}.{child}", depth + 1, inner, of_inner)
