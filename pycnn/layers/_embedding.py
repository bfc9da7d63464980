"""`Embedding`, `PositionEmbedding`, `TiedDense`: numbers for tokens and places, and back again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pycnn import initializers
from pycnn._checks import check_choice, check_size
from pycnn._data.tokens import Tokens
from pycnn.backend.interface import TensorSpec
from pycnn.exceptions import ShapeError
from pycnn.layers._base import Layer, as_image, check_window

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from pycnn._typing import Array, ArrayLike, Shape
    from pycnn.backend.interface import LayerSpec, Setting


class _Table(Layer):
    """What the embeddings share: W, a row for each token or position."""

    def initialize(self, bits: np.random.PCG64) -> None:
        """Draw W from U(-0.05, 0.05)."""
        if self._tensors:
            self.W[:] = initializers.Uniform().draw(bits, *self.W.shape)

    @property
    def W(self) -> Array:
        """A row for each token, or position: a live view into the network's parameters."""
        return self._get("W")

    @W.setter
    def W(self, value: ArrayLike) -> None:
        self._set("W", value)


class Embedding(_Table):
    """A row of numbers for each token, which training finds: ``A[t] = W[token t]``.

    It is the first layer of a network whose inputs are `Tokens`. W is (vocabulary, units); it
    starts in U(-0.05, 0.05).

    Parameters
    ----------
    units : int
        Numbers that stand for a token.

    Raises
    ------
    DataError, DataTypeError
        If `units` is not valid.
    ShapeError
        When a network is made of it: if its inputs are not tokens.

    Examples
    --------
    >>> from pycnn import Dense, Flatten, Network, Tokens
    >>> layers = [Embedding(8), Flatten(), Dense(50, "softmax")]
    >>> net = Network(Tokens(50, length=3), layers, seed=0)
    >>> net.layers[0].W.shape
    (50, 8)
    """

    kind = "embedding"
    knows_lengths = takes_parts = True
    takes_tokens = True
    normalizes_inputs = True

    def __init__(self, units: int) -> None:
        super().__init__()
        self._units = check_size(units, "units")

    @property
    def units(self) -> int:
        """Numbers that stand for a token."""
        return self._units

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of a sample behind the layer."""
        return (*input_shape, self.units)

    def tensor_specs(self, input_shape: Shape) -> tuple[TensorSpec, ...]:
        """Return what array the layer has."""
        return (TensorSpec("W", (self._vocabulary(input_shape), self.units), "weight"),)

    def _vocabulary(self, input_shape: Shape) -> int:
        if not isinstance(input_shape, Tokens):
            raise ShapeError(
                f"{self!r} takes tokens, as the first layer of a network whose inputs are "
                f"Tokens(vocabulary, length), but samples have shape {input_shape} there"
            )
        return input_shape.vocabulary

    def _settings(self, input_shape: Shape) -> Mapping[str, Setting]:
        return {"vocabulary": self._vocabulary(input_shape), "units": self.units}

    def config(self) -> dict[str, Any]:
        """Return kind and settings as plain data, from which `from_config` rebuilds the layer."""
        return {"kind": self.kind, "units": self.units}

    def __repr__(self) -> str:
        return f"Embedding({self.units!r})"


class PositionEmbedding(_Table):
    """Add what stands for a position to what is there: ``A[t] = A_previous[t] + W[t]``.

    Attention sees the positions as a set, so that it needs to be told which is where.

    Parameters
    ----------
    kind : {"learned", "sinusoidal"}, default "learned"
        W is learned, and starts in U(-0.05, 0.05); or it consists of sines and cosines,
        ``W[t, 2i] = sin(t / 10000^(2i / n))`` and ``W[t, 2i + 1]`` the cosine of the same, for n
        features (Vaswani et al., 2017), and the layer has no parameters.

    Raises
    ------
    UnknownNameError
        If there is no such kind.
    ShapeError
        When a network is made of it: if samples are no sequences.

    Examples
    --------
    >>> PositionEmbedding("sinusoidal")
    PositionEmbedding('sinusoidal')
    """

    kind = "position_embedding"
    knows_lengths = takes_parts = True

    def __init__(self, kind: str = "learned") -> None:
        super().__init__()
        self._kind = check_choice(kind, ("learned", "sinusoidal"), "kind")
        self.needs_length = self._kind == "learned"

    @property
    def position_kind(self) -> str:
        """Whether W is ``"learned"`` or ``"sinusoidal"``."""
        return self._kind

    def tensor_specs(self, input_shape: Shape) -> tuple[TensorSpec, ...]:
        """Return what array the layer has, if any."""
        check_sequence(self, input_shape)
        learned = self._kind == "learned"
        return (TensorSpec("W", tuple(input_shape), "weight"),) if learned else ()

    def part_spec(self, input_shape: Shape, window: int) -> LayerSpec:
        """Return the layer as it takes the next part: W has a row for each position of all."""
        check_window(self, window)
        spec = super().part_spec(input_shape, window)
        return spec._replace(
            tensors=self.tensor_specs((window, *input_shape[1:])),
            settings={**spec.settings, "window": window},
        )

    def _settings(self, input_shape: Shape) -> Mapping[str, Setting]:
        return {"shape": as_image(input_shape), "sinusoidal": int(self._kind == "sinusoidal")}

    def config(self) -> dict[str, Any]:
        """Return kind and settings as plain data, from which `from_config` rebuilds the layer."""
        return {"kind": self.kind, "position_kind": self._kind}

    @classmethod
    def rebuilt(cls, settings: dict[str, Any], rebuild: Any) -> Layer:
        """Return the layer of a `config`."""
        return cls(**{"kind": settings.pop("position_kind"), **settings})

    def __repr__(self) -> str:
        return (
            f"PositionEmbedding({self._kind!r})"
            if self._kind != "learned"
            else ("PositionEmbedding()")
        )


class TiedDense(Layer):
    """Outputs for each token by the network's own embedding: ``A = f(W @ A_previous + b)``.

    W is that of the `Embedding`, of which a network on tokens has one, (vocabulary, units): both
    ways teach it (Press & Wolf, 2017). The layer itself has but b, (vocabulary,), which starts as
    zeros. Of sequences it takes each position by itself.

    Parameters
    ----------
    activation : str, default "softmax"
        One of `pycnn.activations.ACTIVATIONS`.

    Raises
    ------
    UnknownNameError
        If there is no such activation.
    ShapeError
        When a network is made of it: if that does not begin with an `Embedding`, or samples have
        another number of features there than the embedding has units.

    Examples
    --------
    >>> from pycnn import Dense, Embedding, Flatten, Network, Tokens
    >>> layers = [Embedding(8), Flatten(), Dense(8), TiedDense()]
    >>> net = Network(Tokens(50, length=3), layers, seed=0)
    >>> list(net.layers[-1].tensors)
    ['b']
    """

    kind = "tied_dense"
    knows_lengths = takes_parts = True

    def __init__(self, activation: str = "softmax") -> None:
        super().__init__(activation)
        self._table: Shape | None = None  # shape of the network's embedding

    def in_network(self, inputs: Shape, first: Layer) -> Layer:
        """Return the layer as it is in a network that begins with `first`."""
        layer: TiedDense = object.__new__(type(self))
        vars(layer).update(vars(self))
        layer._table = None
        if isinstance(inputs, Tokens) and first.takes_tokens:
            layer._table = first.tensor_specs(inputs)[0].shape
        return layer

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of a sample behind the layer."""
        if self._table is None:
            raise ShapeError(
                f"{self!r} takes its weights from the network's embedding: it is a layer of the "
                "network's own list, in a network on Tokens whose first layer is Embedding(units)"
            )
        vocabulary, units = self._table
        if input_shape[-1] != units:
            raise ShapeError(
                f"{self!r} takes its weights from an embedding of {units} units, but samples have "
                f"shape {input_shape}: Dense({units}) in front of it makes their features as many"
            )
        return (*input_shape[:-1], vocabulary)

    def tensor_specs(self, input_shape: Shape) -> tuple[TensorSpec, ...]:
        """Return what array the layer has of its own."""
        return (TensorSpec("b", self.output_shape(input_shape)[-1:], "bias"),)

    def _settings(self, input_shape: Shape) -> Mapping[str, Setting]:
        shape = {"shape": as_image(input_shape)} if len(input_shape) > 1 else {}
        return {"units": self.output_shape(input_shape)[-1], **shape}

    def initialize(self, bits: np.random.PCG64) -> None:
        """Let b start as zeros."""
        self.b[:] = 0.0

    @property
    def b(self) -> Array:
        """Biases, (vocabulary,): a live view into the network's parameters."""
        return self._get("b")

    @b.setter
    def b(self, value: ArrayLike) -> None:
        self._set("b", value)

    def config(self) -> dict[str, Any]:
        """Return kind and settings as plain data, from which `from_config` rebuilds the layer."""
        return {"kind": self.kind, "activation": self.activation}

    def __repr__(self) -> str:
        return f"TiedDense({self.activation!r})"


def check_sequence(layer: Layer, input_shape: Shape) -> None:
    """Raise `ShapeError` where a sample is no sequence, (positions, features)."""
    if len(input_shape) != 2:
        raise ShapeError(
            f"{layer!r} takes sequences, samples of shape (positions, features), but they have "
            f"shape {input_shape}"
        )
