"""`Residual`: what some layers make of their input is added to the input itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pycnn._checks import is_open
from pycnn.backend.interface import LayerSpec
from pycnn.exceptions import DataTypeError, ShapeError
from pycnn.layers._base import Layer, as_image, check_list, check_softmax, views_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Self

    import numpy as np

    from pycnn._typing import Array, Shape
    from pycnn.backend.interface import TensorSpec


class Residual(Layer):
    """Layers with a shortcut around them: ``A = f(inner(A_previous) + shortcut(A_previous))``.

    Through the shortcut the error signal reaches the layers before it undiminished, so that deep
    networks learn (He, Zhang, Ren & Sun, 2016).

    Parameters
    ----------
    layers : sequence of Layer
        The inner layers, one on top of the other. The last one is linear as a rule: it is the sum
        that goes through `activation`.
    shortcut : Layer, optional
        What is beside them. By default nothing changes on that way, for which the inner layers must
        have as many units as they have inputs; ``Dense(n)`` makes other numbers fit.
    activation : str, default "linear"
        One of `pycnn.activations.ACTIVATIONS`.

    Attributes
    ----------
    inner : tuple of Layer
        The inner layers; in a network with their parameters.
    shortcut : Layer or None

    Raises
    ------
    UnknownNameError, DataError, DataTypeError
        If an argument is not valid.
    ShapeError
        When a network is made of it: if the two ways end in different shapes.

    Examples
    --------
    >>> from pycnn import Dense, Network
    >>> block = Residual([Dense(8, "relu"), Dense(8)], activation="relu")
    >>> net = Network(3, [Dense(8, "relu"), block, block, Dense(1)], seed=0)
    >>> net.layers[1].inner[0].W.shape
    (8, 8)
    >>> "layers.2.inner.1.W" in net.tensors
    True
    """

    kind = "residual"

    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        shortcut: Layer | None = None,
        activation: str = "linear",
    ) -> None:
        super().__init__(activation)
        if shortcut is not None and not isinstance(shortcut, Layer):
            raise DataTypeError(f"shortcut must be a layer such as Dense(10), got {shortcut!r}")
        self._inner = tuple(check_list(layers, "one inner layer"))
        self._shortcut = shortcut
        self.is_random = True in [child.is_random for _, child in self.children]
        self.needs_batch = True in [child.needs_batch for _, child in self.children]
        self.needs_length = True in [child.needs_length for _, child in self.children]
        self.knows_lengths = False not in [child.knows_lengths for _, child in self.children]

    @property
    def inner(self) -> tuple[Any, ...]:
        """The inner layers, one on top of the other."""
        return self._inner

    @property
    def shortcut(self) -> Any:
        """The layer beside the inner ones; None: their input goes that way as it is."""
        return self._shortcut

    @property
    def children(self) -> tuple[tuple[str, Layer], ...]:
        """The inner layers and the shortcut, with their names."""
        beside = () if self._shortcut is None else (("shortcut", self._shortcut),)
        return (*((f"inner.{n}", child) for n, child in enumerate(self._inner, start=1)), *beside)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of a sample behind the layer."""
        return self.spec(input_shape).output_shape

    def tensor_specs(self, input_shape: Shape) -> tuple[TensorSpec, ...]:
        """Return what arrays the children have: all parameters first, then all statistics."""
        return self.spec(input_shape).tensors

    def spec(self, input_shape: Shape) -> LayerSpec:
        """Return the layer as the backends need to know it, and its children."""
        return self._whole(input_shape, None)

    def part_spec(self, input_shape: Shape, window: int) -> LayerSpec:
        """Return the layer as it takes the next part, if its children do."""
        return self._whole(input_shape, window)

    def _whole(self, input_shape: Shape, window: int | None) -> LayerSpec:
        inner = specs_of(self._inner, input_shape, window)
        shape = inner[-1].output_shape
        beside_inner = [] if self._shortcut is None else [self._shortcut]
        shortcut = next(iter(specs_of(beside_inner, input_shape, window)), None)
        beside = input_shape if shortcut is None else shortcut.output_shape
        if beside != shape:
            raise ShapeError(
                f"the inner layers of Residual give {_units(shape)}, but "
                f"{'their input has' if shortcut is None else 'its shortcut gives'} "
                f"{_units(beside)}: {_remedy(input_shape, shape)}"
            )
        check_softmax(self, shape)
        specs = [*inner, *([] if shortcut is None else [shortcut])]
        tensors = [
            tensor._replace(name=f"{name}.{tensor.name}")
            for (name, _), spec in zip(self.children, specs, strict=True)
            for tensor in spec.tensors
        ]
        return LayerSpec(
            self.kind,
            input_shape,
            shape,
            tuple(sorted(tensors, key=lambda tensor: tensor.role == "statistic")),
            self.activation,
            {"shape": as_image(shape)} if len(shape) == 2 else {},
            needs_batch=self.needs_batch,
            is_random=self.is_random,
            least_batch=max([spec.least_batch for spec in specs]),
            inner=tuple(inner),
            shortcut=shortcut,
            knows_lengths=self.knows_lengths,
        )

    def bound(self, input_shape: Shape, views: Mapping[str, Array]) -> Self:
        """Return a copy whose children have `views`, their arrays by the names of this layer's."""
        layer, spec = super().bound(input_shape, views), self.spec(input_shape)
        layer._inner = tuple(
            child.bound(of_child.input_shape, views_of(f"inner.{n}", views))
            for n, (child, of_child) in enumerate(zip(self._inner, spec.inner, strict=True), 1)
        )
        if self._shortcut is not None:
            layer._shortcut = self._shortcut.bound(input_shape, views_of("shortcut", views))
        return layer

    def initialize(self, bits: np.random.PCG64) -> None:
        """Draw the parameters of the inner layers, then those of the shortcut."""
        for _, child in self.children:
            child.initialize(bits)

    def config(self) -> dict[str, Any]:
        """Return kind and settings as plain data, from which `from_config` rebuilds the layer."""
        return {
            "kind": self.kind,
            "layers": [layer.config() for layer in self._inner],
            "shortcut": None if self._shortcut is None else self._shortcut.config(),
            "activation": self.activation,
        }

    @classmethod
    def rebuilt(cls, settings: dict[str, Any], rebuild: Callable[[Any], Layer]) -> Layer:
        """Return the layer of a `config`, whose children `rebuild` makes of theirs."""
        shortcut = settings["shortcut"]
        children = {
            "layers": [rebuild(config) for config in settings["layers"]],
            "shortcut": None if shortcut is None else rebuild(shortcut),
        }
        return super().rebuilt(settings | children, rebuild)

    def __repr__(self) -> str:
        parts = [repr(list(self._inner))]
        parts += [f"shortcut={self._shortcut!r}"] if self._shortcut is not None else []
        parts += [f"activation={self.activation!r}"] if self.activation != "linear" else []
        return f"Residual({', '.join(parts)})"


def specs_of(
    layers: Iterable[Layer], input_shape: Shape, window: int | None = None
) -> list[LayerSpec]:
    """Return the specs of layers on top of each other; with a `window` as they take parts."""
    specs: list[LayerSpec] = []
    for layer in layers:
        shape = specs[-1].output_shape if specs else input_shape
        specs.append(layer.spec(shape) if window is None else layer.part_spec(shape, window))
    return specs


def _units(shape: Shape) -> str:
    if len(shape) != 1:
        return f"shape {shape}"
    return f"{shape[0]} unit{'' if shape[0] == 1 else 's'}"


def _remedy(given: Shape, wanted: Shape) -> str:
    """Return what makes the one shape of the other."""
    if len(given) == len(wanted) == 1:
        return f"shortcut=Dense({wanted[0]}) makes them fit"
    if len(given) == len(wanted) and not is_open((*given, *wanted)):
        strides = tuple(-(-n // m) for n, m in zip(given[:-1], wanted[:-1], strict=True))
        there = tuple(-(-n // s) for n, s in zip(given[:-1], strides, strict=True))
        if there == wanted[:-1]:
            stride = strides[0] if len(set(strides)) == 1 else strides
            also = "" if stride == 1 else f", strides={stride}"
            return f"shortcut=Conv{len(strides)}D({wanted[-1]}, 1{also}) makes them fit"
    return "both ways must end in the same shape"
