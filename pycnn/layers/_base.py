"""`Layer`: what a layer says of itself, and what it has once it is part of a network."""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any

from pycnn import activations
from pycnn._checks import known
from pycnn._data.arrays import as_values
from pycnn.backend.interface import LayerSpec
from pycnn.exceptions import DataError, DataTypeError, PycnnError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Self

    import numpy as np

    from pycnn._typing import Array, ArrayLike, Shape
    from pycnn.backend.interface import Setting, TensorSpec


class Layer:
    """Base: a name, an activation, and arrays once the layer is part of a network.

    A layer as the user writes it down has no arrays; a network's copy has views into the network's
    theta. What a network has to know of a layer it asks the layer: nobody asks for its kind.

    Examples
    --------
    >>> from pycnn import Dense, Network
    >>> layer = Dense(3, "relu")
    >>> net = Network(2, [layer], seed=0)
    >>> net.layers[0].W.shape, net.layers[0].units
    ((3, 2), 3)
    """

    kind = ""
    core_kind = ""  # what the backends call it, where they know several kinds as one
    is_random = False  # draws random numbers in training
    needs_batch = False  # in training an output depends on the whole mini-batch
    normalizes_inputs = False  # they may come in any unit
    can_be_last = True  # the layers before it learn from all of its outputs
    takes_tokens = False  # it makes numbers of whole ones that stand for something
    needs_length = False  # of sequences: what it is depends on how many positions there are
    knows_lengths = False  # what stands behind the end of a sequence changes nothing before it
    takes_parts = False  # of a sequence, one after the other, as if it read the whole at once
    has_steps = False  # it goes through a sequence step by step, and back through all of them

    def __init_subclass__(cls) -> None:
        """Give an `__init__` of a class that is not public the name of the one that has it.

        Python's own errors about arguments tell it.
        """
        own = cls.__init__
        if not cls.__name__.startswith("_") and own.__qualname__.startswith("_"):
            named: Any = FunctionType(
                own.__code__, own.__globals__, own.__name__, own.__defaults__, own.__closure__
            )
            named.__kwdefaults__, named.__doc__ = own.__kwdefaults__, own.__doc__
            named.__annotations__ = own.__annotations__
            named.__qualname__ = f"{cls.__qualname__}.__init__"
            cls.__init__ = named  # type: ignore[method-assign]

    def __init__(self, activation: str = "linear") -> None:
        self._activation = activations.check(activation)
        self._output_shape: Shape | None = None
        self._tensors: dict[str, Array] = {}

    # What the layer is cannot change: a network's buffers have been sized by it.

    @property
    def units(self) -> int:
        """Number of neurons, n_l."""
        if self._output_shape is None:
            raise PycnnError(
                "this layer has as many units as the one before it: it is not part of a network yet"
            )
        return known(self._output_shape)

    @property
    def activation(self) -> str:
        """Name of the activation f."""
        return self._activation

    @property
    def tensors(self) -> dict[str, Array]:
        """All parameters and statistics by name: live views, in the order of the files."""
        return dict(self._tensors)

    @property
    def children(self) -> tuple[tuple[str, Layer], ...]:
        """The layers that a composite layer is made of, with their names."""
        return ()

    # ------------------------------------------------ what it would be on inputs of some shape

    def in_network(self, inputs: Shape, first: Layer) -> Layer:
        """Return the layer as it is in a network with these inputs, which `first` reads."""
        return self

    def within(self, spec: LayerSpec) -> Iterator[tuple[str, Layer, LayerSpec]]:
        """Yield the layers that one of such a `spec` is made of, with their names and specs."""
        for (name, child), own in zip(self.children, [*spec.inner, spec.shortcut], strict=False):
            assert own is not None
            yield name, child, own

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of a sample behind the layer."""
        return input_shape

    def tensor_specs(self, input_shape: Shape) -> tuple[TensorSpec, ...]:
        """Return what arrays the layer has: the parameters first, the statistics behind them."""
        return ()

    def spec(self, input_shape: Shape) -> LayerSpec:
        """Return the layer as the backends need to know it."""
        return LayerSpec(
            self.core_kind or self.kind,
            input_shape,
            self.output_shape(input_shape),
            self.tensor_specs(input_shape),
            self.activation,
            self._settings(input_shape),
            self.needs_batch,
            self.is_random,
            self._least_batch(input_shape),
            knows_lengths=self.knows_lengths,
        )

    def part_spec(self, input_shape: Shape, window: int) -> LayerSpec:
        """Return the layer as it takes the next part of a sequence, which goes on from the last.

        `input_shape` is that of a part, and `window` the most positions that all of them have; 0:
        there may be any number.

        Raises
        ------
        DataError
            If it is a layer that reads whole sequences alone.
        """
        # Behind the last position that is there a sequence may be one row, and stay it.
        row = len(input_shape) == 1 and len(self.output_shape(input_shape)) == 1
        if not (self.takes_parts or row):
            raise whole_sequences(self, "reads all positions of a sequence at once")
        return self.spec(input_shape)

    def _settings(self, input_shape: Shape) -> Mapping[str, Setting]:
        """Return what a backend computes with, by the core's names."""
        return {}

    def _least_batch(self, input_shape: Shape) -> int:
        """Return of how many samples at least the layer makes something in training."""
        return 1

    def config(self) -> dict[str, Any]:
        """Return kind and settings as plain data, from which `from_config` rebuilds the layer."""
        raise NotImplementedError

    @classmethod
    def rebuilt(cls, settings: dict[str, Any], rebuild: Callable[[Any], Layer]) -> Layer:
        """Return the layer of a `config`; `rebuild` makes a layer of a whole one."""
        return cls(**settings)

    # ------------------------------------------------ as a part of a network

    def bound(self, input_shape: Shape, views: Mapping[str, Array]) -> Self:
        """Return a copy that has `views`, its arrays by the names of `tensor_specs`."""
        layer: Self = object.__new__(type(self))
        vars(layer).update(vars(self))
        layer._output_shape = self.output_shape(input_shape)
        layer._tensors = dict(views)
        return layer

    def initialize(self, bits: np.random.PCG64) -> None:
        """Draw the parameters of a bound layer."""

    def _get(self, name: str) -> Array:
        if name not in self._tensors:
            raise PycnnError("this layer has no parameters yet: it is not part of a network")
        return self._tensors[name]

    def _set(self, name: str, value: ArrayLike) -> None:
        view = self._get(name)
        view[:] = as_values(value, name, view.shape)


def check_window(layer: Layer, window: int) -> None:
    """Raise `DataError` where a layer that remembers each position is to remember any number."""
    if not window:
        raise DataError(
            f"{layer!r} remembers each position, and has no end here: to take one after the other "
            "the network's inputs must have a length"
        )


def whole_sequences(layer: Layer, why: str) -> DataError:
    """Return the error of a layer that cannot take a sequence in parts."""
    return DataError(f"{layer!r} {why}: it cannot take one after the other")


def check_no_image(layer: Layer, input_shape: Shape) -> None:
    """Raise `ShapeError` where a sample is neither one row nor a sequence of rows."""
    if len(input_shape) > 2:
        raise ShapeError(
            f"{layer!r} takes samples that are one row, or a sequence of rows, but they have shape "
            f"{input_shape}: Flatten() in front of it makes them one row"
        )


def as_image(shape: Shape) -> Shape:
    """Return (rows, columns, features) of a sample's shape: a sequence has one row."""
    return (1,) * (3 - len(shape)) + shape


def check_softmax(layer: Layer, shape: Shape) -> None:
    """Raise `ShapeError` where softmax would be of an image: no single row, nor a sequence."""
    if layer.activation == "softmax" and len(shape) > 2:
        raise ShapeError(
            f"{layer!r} cannot have the activation 'softmax', which is of a whole row of units, on "
            f"samples of shape {shape}: Flatten() in front of it makes them a row"
        )


def check_list(layers: Any, least: str) -> list[Layer]:
    """Return layers on top of each other as a list, or raise `DataError`, `DataTypeError`.

    `least` names what must be there.
    """
    if isinstance(layers, Layer):
        raise DataTypeError("layers must be a list of layers such as [Dense(10)], got one layer")
    try:
        found = list(layers)
    except TypeError:
        raise DataTypeError(f"layers must be a list of layers, got {layers!r}") from None
    if not found:
        raise DataError(f"layers must hold at least {least}")
    for layer in found:
        if not isinstance(layer, Layer):
            raise DataTypeError(f"layers must hold layers such as Dense(10), got {layer!r}")
    return found


def views_of(child: str, views: Mapping[str, Array]) -> dict[str, Array]:
    """Return the arrays of a layer within another, by its own names for them."""
    prefix = f"{child}."
    return {n.removeprefix(prefix): view for n, view in views.items() if n.startswith(prefix)}
