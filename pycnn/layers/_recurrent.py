"""`SimpleRNN`, `LSTM`, `GRU`: a sequence step by step; `Bidirectional`: from both of its ends."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from pycnn import activations, initializers
from pycnn._checks import check_bool, check_choice, check_fits, check_size, known
from pycnn.backend.interface import LayerSpec, TensorSpec
from pycnn.exceptions import DataError, DataTypeError
from pycnn.layers._base import Layer, as_image, views_of, whole_sequences
from pycnn.layers._weighted import Weighted
from pycnn.layers._windows import check_image

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    import numpy as np

    from pycnn._typing import Array, ArrayLike, Shape
    from pycnn.backend.interface import Setting

    Start = str | initializers.Initializer | None


class _Recurrent(Weighted):
    """What recurrent layers share: at each step W sees the position, and U the step before."""

    gates = 1
    is_sum = False
    has_steps = True
    knows_lengths = takes_parts = True

    def __init__(
        self,
        units: int,
        *,
        return_sequences: bool = False,
        reverse: bool = False,
        weight_initializer: Start = None,
        recurrent_initializer: Start = None,
        bias_initializer: Start = None,
        l1: float = 0.0,
        l2: float = 0.0,
        max_norm: float | None = None,
    ) -> None:
        super().__init__("linear", weight_initializer, bias_initializer, l1, l2, max_norm)
        self._units = check_size(units, "units")
        self._return_sequences = check_bool(return_sequences, "return_sequences")
        self._reverse = check_bool(reverse, "reverse")
        self._recurrent_initializer = initializers.get(
            "orthogonal" if recurrent_initializer is None else recurrent_initializer,
            "recurrent_initializer",
        )

    def _suited(self) -> tuple[str, str]:
        return "glorot_uniform", "zeros"

    @property
    def units(self) -> int:
        """Numbers of the state h, n_l."""
        return self._units

    @property
    def return_sequences(self) -> bool:
        """Whether the output is h at each position; else it is the last step's."""
        return self._return_sequences

    @property
    def reverse(self) -> bool:
        """Whether the steps go from the last position to the first."""
        return self._reverse

    @property
    def recurrent_initializer(self) -> initializers.Initializer:
        """Where U starts, gate by gate."""
        return self._recurrent_initializer

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of a sample behind the layer."""
        (positions,) = check_image(self, input_shape, 1)
        shape = (positions, self.units) if self.return_sequences else (self.units,)
        check_fits(known(shape), f"{self!r} on samples of shape {tuple(input_shape)}")
        return shape

    def tensor_specs(self, input_shape: Shape) -> tuple[TensorSpec, ...]:
        """Return what arrays the layer has: W and U, which penalties and `max_norm` mean, and b."""
        check_image(self, input_shape, 1)
        rows = self.gates * self.units
        return (
            TensorSpec("W", (rows, input_shape[1]), "weight"),
            TensorSpec("U", (rows, self.units), "weight"),
            TensorSpec("b", (rows,), "bias"),
        )

    def _settings(self, input_shape: Shape) -> Mapping[str, Setting]:
        return {
            **super()._settings(input_shape),
            "shape": as_image(input_shape),
            "units": self.units,
            "reverse": int(self.reverse),
            "return_sequences": int(self.return_sequences),
        }

    def spec(self, input_shape: Shape) -> LayerSpec:
        """Return the layer as the backends need to know it: activations are within its steps."""
        return super().spec(input_shape)._replace(activation="linear")

    def part_spec(self, input_shape: Shape, window: int) -> LayerSpec:
        """Return the layer as it takes the next part, if it begins with the first."""
        if self.reverse:
            raise whole_sequences(self, "begins with the last position of a sequence")
        return super().part_spec(input_shape, window)

    def _by_gate(self, name: str) -> list[Array]:
        """Return the rows of an array that each gate has."""
        return [*self._get(name).reshape(self.gates, self.units, *self._get(name).shape[1:])]

    def initialize(self, bits: np.random.PCG64) -> None:
        """Draw W, then U, then b, each gate by gate."""
        units, features = self.units, self.W.shape[1]
        for W in self._by_gate("W"):
            W[:] = self.weight_initializer.draw(bits, units, features)
        for U in self._by_gate("U"):
            U[:] = self.recurrent_initializer.draw(bits, units, units)
        for b in self._by_gate("b"):
            b[:] = self.bias_initializer.draw_bias(bits, units, features)

    @property
    def U(self) -> Array:
        """Weights of the step before: a live view into the network's parameters."""
        return self._get("U")

    @U.setter
    def U(self, value: ArrayLike) -> None:
        self._set("U", value)

    @property
    def b(self) -> Array:
        """Biases: a live view into the network's parameters."""
        return self._get("b")

    @b.setter
    def b(self, value: ArrayLike) -> None:
        self._set("b", value)

    def config(self) -> dict[str, Any]:
        """Return kind and settings as plain data, from which `from_config` rebuilds the layer."""
        return {
            "kind": self.kind,
            "units": self.units,
            **self._config_of_activation(),
            "return_sequences": self.return_sequences,
            "reverse": self.reverse,
            "recurrent_initializer": self.recurrent_initializer.config(),
            **self._config_of_weights(),
        }

    def _config_of_activation(self) -> dict[str, str]:
        """Return the activation, where there is a choice."""
        return {}

    def __repr__(self) -> str:
        parts = [repr(self.units), *map(repr, self._config_of_activation().values())]
        parts += ["return_sequences=True"] if self.return_sequences else []
        parts += ["reverse=True"] if self.reverse else []
        if self.recurrent_initializer != initializers.Orthogonal():
            parts.append(f"recurrent_initializer={self.recurrent_initializer!r}")
        return f"{type(self).__name__}({', '.join([*parts, *self._shown_of_weights()])})"


class SimpleRNN(_Recurrent):
    """A recurrent layer: each step sees its position and what the step before has made.

    From h[0] = 0, at the positions t = 1 ... T of a sequence (Elman, 1990)::

        h[t] = f(W x[t] + U h[t-1] + b)

    Errors go back through all steps, by U^T at each, and so become small or large with the number
    of steps (Bengio, Simard & Frasconi, 1994): `LSTM` and `GRU` hold them up better, and
    ``clip_norm`` of an optimizer bounds the step that is made of large ones.

    Parameters
    ----------
    units : int
        Numbers of the state h, n_l.
    activation : str, default "tanh"
        f, one of `pycnn.activations.ACTIVATIONS` but softmax.
    return_sequences : bool, default False
        Whether the output is h at all positions, (T, units), which another recurrent layer can
        read; else it is that of the last step, (units,).
    reverse : bool, default False
        Whether the steps go from the last position to the first. Outputs stay at their positions.
    weight_initializer : str or Initializer, default "glorot_uniform"
        Where W starts, (units, features). See `pycnn.initializers`.
    recurrent_initializer : str or Initializer, default "orthogonal"
        Where U starts, (units, units).
    bias_initializer : str or Initializer, default "zeros"
        Where b starts, (units,).
    l1, l2 : float, default 0.0
        As in `Dense`: strengths of the penalty on W and U.
    max_norm : float, optional
        As in `Dense`: the largest Euclidean norm of a row of W, and of one of U.

    Raises
    ------
    UnknownNameError, DataError, DataTypeError
        If an argument is not valid.
    ShapeError
        When a network is made of it: if samples are no sequences.

    Examples
    --------
    >>> from pycnn import Dense, Network
    >>> net = Network((20, 3), [SimpleRNN(16), Dense(1)], seed=0, backend="numpy")
    >>> net.layers[0].U.shape
    (16, 16)
    """

    kind = "simple_rnn"

    def __init__(
        self,
        units: int,
        activation: str = "tanh",
        *,
        return_sequences: bool = False,
        reverse: bool = False,
        weight_initializer: Start = None,
        recurrent_initializer: Start = None,
        bias_initializer: Start = None,
        l1: float = 0.0,
        l2: float = 0.0,
        max_norm: float | None = None,
    ) -> None:
        super().__init__(
            units,
            return_sequences=return_sequences,
            reverse=reverse,
            weight_initializer=weight_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            l1=l1,
            l2=l2,
            max_norm=max_norm,
        )
        self._activation = activations.check(activation)
        if activation == "softmax":
            raise DataError(
                "SimpleRNN cannot have the activation 'softmax', which lets its units add up to 1 "
                "at each step: Dense(classes, 'softmax') behind it gives one probability a class"
            )

    def _settings(self, input_shape: Shape) -> Mapping[str, Setting]:
        return {**super()._settings(input_shape), "activation": self.activation}

    def _config_of_activation(self) -> dict[str, str]:
        return {"activation": self.activation}


class LSTM(_Recurrent):
    """A recurrent layer with a memory c beside h, and gates that decide what it keeps.

    From h[0] = c[0] = 0, at the positions t = 1 ... T of a sequence (Hochreiter & Schmidhuber,
    1997; with the gate f of Gers, Schmidhuber & Cummins, 2000)::

        i, f, o = sigmoid(z_i), sigmoid(z_f), sigmoid(z_o);  g = tanh(z_g)
        c[t] = f c[t-1] + i g
        h[t] = o tanh(c[t])

    with ``z = W x[t] + U h[t-1] + b``, whose rows are those of i, f, g and o, `units` of each.

    Parameters
    ----------
    units : int
        Numbers of h, and of c.
    return_sequences, reverse : bool, default False
        As in `SimpleRNN`.
    weight_initializer, recurrent_initializer : str or Initializer
        As in `SimpleRNN`, for each gate by itself: W is (4 units, features), U (4 units, units).
    bias_initializer : str or Initializer, default "zeros"
        Where b starts, (4 units,), but for the part of f, which starts as 1 whatever this is: what
        is in the memory stays there until training finds reasons (Jozefowicz et al., 2015).
    l1, l2 : float, default 0.0
        As in `Dense`: strengths of the penalty on W and U.
    max_norm : float, optional
        As in `Dense`: the largest Euclidean norm of a row of W, and of one of U.

    Raises
    ------
    UnknownNameError, DataError, DataTypeError
        If an argument is not valid.
    ShapeError
        When a network is made of it: if samples are no sequences.

    Examples
    --------
    >>> from pycnn import Dense, Network
    >>> layers = [LSTM(32, return_sequences=True), LSTM(16), Dense(10, "softmax")]
    >>> net = Network((28, 28), layers, seed=0, backend="numpy")
    >>> net.layers[1].W.shape
    (64, 32)
    >>> net.layers[0]
    LSTM(32, return_sequences=True)
    """

    kind = "lstm"
    gates = 4

    def initialize(self, bits: np.random.PCG64) -> None:
        """Draw W, then U, then b, each gate by gate; the biases of f are 1."""
        super().initialize(bits)
        self._by_gate("b")[1][:] = 1.0


class GRU(_Recurrent):
    """A recurrent layer whose gates decide how much of the state h changes.

    From h[0] = 0, at the positions t = 1 ... T of a sequence (Cho et al., 2014, with the reset
    behind the product by U, as other libraries have it)::

        r, u = sigmoid(W_r x[t] + U_r h[t-1] + b_r), sigmoid(W_u x[t] + U_u h[t-1] + b_u)
        n = tanh(W_n x[t] + b[n] + r (U_n h[t-1] + b_n))
        h[t] = (1 - u) n + u h[t-1]

    W, U and b have the rows of r, u and n, `units` of each, and n has a second bias, `b_n`.

    Parameters
    ----------
    units : int
        Numbers of h.
    return_sequences, reverse : bool, default False
        As in `SimpleRNN`.
    weight_initializer, recurrent_initializer : str or Initializer
        As in `SimpleRNN`, for each gate by itself: W is (3 units, features), U (3 units, units).
    bias_initializer : str or Initializer, default "zeros"
        Where b, (3 units,), and b_n, (units,), start.
    l1, l2 : float, default 0.0
        As in `Dense`: strengths of the penalty on W and U.
    max_norm : float, optional
        As in `Dense`: the largest Euclidean norm of a row of W, and of one of U.

    Raises
    ------
    UnknownNameError, DataError, DataTypeError
        If an argument is not valid.
    ShapeError
        When a network is made of it: if samples are no sequences.

    Examples
    --------
    >>> from pycnn import Dense, Network
    >>> net = Network((100, 1), [GRU(64), Dense(1)], seed=0, backend="numpy")
    >>> list(net.layers[0].tensors)
    ['W', 'U', 'b', 'b_n']
    """

    kind = "gru"
    gates = 3

    def tensor_specs(self, input_shape: Shape) -> tuple[TensorSpec, ...]:
        """Return what arrays the layer has: those of the others, and b_n."""
        return (*super().tensor_specs(input_shape), TensorSpec("b_n", (self.units,), "bias"))

    def initialize(self, bits: np.random.PCG64) -> None:
        """Draw W, then U, then b, each gate by gate, then b_n."""
        super().initialize(bits)
        self.b_n[:] = self.bias_initializer.draw_bias(bits, self.units, self.units)

    @property
    def b_n(self) -> Array:
        """Second biases of n, (units,): a live view into the network's parameters."""
        return self._get("b_n")

    @b_n.setter
    def b_n(self, value: ArrayLike) -> None:
        self._set("b_n", value)


class Bidirectional(Layer):
    """Two recurrent layers alike, one of which goes through the sequence from its other end.

    So the output at a position knows what comes before it and what comes behind it (Schuster &
    Paliwal, 1997). The names of its arrays have ``"forward."`` and ``"backward."`` in front.

    Parameters
    ----------
    layer : SimpleRNN, LSTM or GRU
        The one of them; the other has the same settings, but for `reverse`.
    merge : {"concatenate", "sum"}, default "concatenate"
        What becomes of both outputs: they are features side by side, 2 units, or added up.

    Raises
    ------
    DataError, DataTypeError
        If an argument is not valid.
    ShapeError
        When a network is made of it: if samples are no sequences.

    Examples
    --------
    >>> from pycnn import Dense, Network
    >>> net = Network((29, 12), [Bidirectional(LSTM(16)), Dense(9, "softmax")], backend="numpy")
    >>> net.layers[0].backward.W.shape
    (64, 12)
    >>> net.layers[1].W.shape
    (9, 32)
    """

    kind = "bidirectional"
    knows_lengths = True

    def __init__(self, layer: Layer, merge: str = "concatenate") -> None:
        super().__init__()
        if not isinstance(layer, _Recurrent):
            raise DataTypeError(f"layer must be a recurrent one such as LSTM(16), got {layer!r}")
        self._merge = check_choice(merge, ("concatenate", "sum"), "merge")
        self._forward, self._backward = layer, copy.copy(layer)
        self._backward._reverse = not layer.reverse

    @property
    def merge(self) -> str:
        """What becomes of both outputs."""
        return self._merge

    @property
    def forward(self) -> Any:
        """The layer that was given; in a network with its parameters."""
        return self._forward

    @property
    def backward(self) -> Any:
        """The layer that begins at the other end."""
        return self._backward

    @property
    def children(self) -> tuple[tuple[str, Layer], ...]:
        """Both layers, with their names."""
        return ("forward", self._forward), ("backward", self._backward)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of a sample behind the layer."""
        return self.spec(input_shape).output_shape

    def tensor_specs(self, input_shape: Shape) -> tuple[TensorSpec, ...]:
        """Return what arrays both layers have, those of `forward` first."""
        return self.spec(input_shape).tensors

    def spec(self, input_shape: Shape) -> LayerSpec:
        """Return the layer as the backends need to know it: two paths, which meet."""
        forward = self._forward.spec(input_shape)._replace(name="forward")
        backward = self._backward.spec(input_shape)._replace(name="backward")
        *positions, units = forward.output_shape
        return LayerSpec(
            "residual" if self.merge == "sum" else "concatenate",
            input_shape,
            (*positions, units if self.merge == "sum" else 2 * units),
            tuple(
                tensor._replace(name=f"{path.name}.{tensor.name}")
                for path in (forward, backward)
                for tensor in path.tensors
            ),
            settings={"shape": as_image(forward.output_shape)} if positions else {},
            inner=(forward,),
            shortcut=backward,
            knows_lengths=self.knows_lengths,
        )

    def bound(self, input_shape: Shape, views: Mapping[str, Array]) -> Self:
        """Return a copy whose layers have `views`, their arrays by the names of this layer's."""
        layer = super().bound(input_shape, views)
        layer._forward, layer._backward = (
            child.bound(input_shape, views_of(name, views))
            for name, child in (("forward", self._forward), ("backward", self._backward))
        )
        return layer

    def initialize(self, bits: np.random.PCG64) -> None:
        """Draw the parameters of `forward`, then those of `backward`."""
        for _, child in self.children:
            child.initialize(bits)

    def config(self) -> dict[str, Any]:
        """Return kind and settings as plain data, from which `from_config` rebuilds the layer."""
        return {"kind": self.kind, "layer": self._forward.config(), "merge": self.merge}

    @classmethod
    def rebuilt(cls, settings: dict[str, Any], rebuild: Callable[[Any], Layer]) -> Layer:
        """Return the layer of a `config`, whose layer `rebuild` makes of its own."""
        return super().rebuilt(settings | {"layer": rebuild(settings["layer"])}, rebuild)

    def __repr__(self) -> str:
        merge = "" if self.merge == "concatenate" else f", merge={self.merge!r}"
        return f"Bidirectional({self._forward!r}{merge})"
