"""`MultiHeadAttention` and `TransformerBlock`: each position of a sequence looks at the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pycnn import activations, initializers
from pycnn._checks import check_bool, check_real, check_size
from pycnn.backend.interface import LayerSpec, TensorSpec
from pycnn.exceptions import DataError, PycnnError, ShapeError
from pycnn.layers._base import Layer, as_image, check_window, views_of, whole_sequences
from pycnn.layers._composite import specs_of
from pycnn.layers._dense import Dense
from pycnn.layers._dropout import Dropout
from pycnn.layers._embedding import check_sequence
from pycnn.layers._normalization import LayerNorm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Self

    import numpy as np

    from pycnn._typing import Array, Shape
    from pycnn.backend.interface import Setting

_ROLES = ("query", "key", "value", "output")


def _view(name: str) -> Any:
    """Return the property of one of a layer's arrays."""
    return property(
        lambda self: self._get(name),
        lambda self, value: self._set(name, value),
        doc=f"`{name}`: a live view into the network's parameters.",
    )


class MultiHeadAttention(Layer):
    """Each position takes what it needs from the others (Vaswani et al., 2017).

    For each head, of d features, ``S = q k^T / sqrt(d)``, ``P = softmax(S)`` over the keys, and
    ``P v``; q, k and v are each ``W x + b`` at every position, of which the heads have consecutive
    rows. What all heads give, side by side, goes through W_output and b_output. The features stay
    as many as they are.

    The arrays, live views in a network, are `W_query`, `W_key`, `W_value` and `W_output`,
    (features, features), which start as ``"glorot_uniform"`` says, and `b_query`, `b_key`,
    `b_value` and `b_output`, (features,), which start as zeros.

    Parameters
    ----------
    heads : int
        How many; they share out the features, whose number they must divide.
    causal : bool, default False
        Whether a position sees only itself and those before it: what a network needs that predicts
        what comes next.

    Raises
    ------
    DataError, DataTypeError
        If an argument is not valid.
    ShapeError
        When a network is made of it: if samples are no sequences, or the heads do not divide their
        features.

    Examples
    --------
    >>> from pycnn import Dense, Flatten, Network
    >>> net = Network((5, 8), [MultiHeadAttention(2), Flatten(), Dense(1)])
    >>> net.layers[0].W_query.shape
    (8, 8)
    """

    kind = "multi_head_attention"
    core_kind = "attention"
    knows_lengths = takes_parts = True

    W_query = _view("W_query")
    W_key = _view("W_key")
    W_value = _view("W_value")
    W_output = _view("W_output")
    b_query = _view("b_query")
    b_key = _view("b_key")
    b_value = _view("b_value")
    b_output = _view("b_output")

    def __init__(self, heads: int, *, causal: bool = False) -> None:
        super().__init__()
        self._heads = check_size(heads, "heads")
        self._causal = check_bool(causal, "causal")

    @property
    def heads(self) -> int:
        """How many share out the features."""
        return self._heads

    @property
    def causal(self) -> bool:
        """Whether a position sees only itself and those before it."""
        return self._causal

    def tensor_specs(self, input_shape: Shape) -> tuple[TensorSpec, ...]:
        """Return what arrays the layer has: four W, then four b."""
        check_sequence(self, input_shape)
        features = input_shape[1]
        if features % self.heads:
            raise ShapeError(
                f"{self!r} shares out the features among its heads, but samples have shape "
                f"{tuple(input_shape)}, and {features} is no multiple of {self.heads}"
            )
        return (
            *[TensorSpec(f"W_{role}", (features, features), "weight") for role in _ROLES],
            *[TensorSpec(f"b_{role}", (features,), "bias") for role in _ROLES],
        )

    def part_spec(self, input_shape: Shape, window: int) -> LayerSpec:
        """Return the layer as it takes the next part: it remembers the keys and values of all."""
        if not self.causal:
            raise whole_sequences(self, "looks at what comes behind a position, too")
        check_window(self, window)
        spec = super().part_spec(input_shape, window)
        return spec._replace(settings={**spec.settings, "window": window})

    def _settings(self, input_shape: Shape) -> Mapping[str, Setting]:
        shape = as_image(input_shape)
        return {"shape": shape, "heads": self.heads, "causal": int(self.causal)}

    def initialize(self, bits: np.random.PCG64) -> None:
        """Draw the four W; the biases start as zeros."""
        for role in _ROLES:
            W = self._get(f"W_{role}")
            W[:] = initializers.GlorotUniform().draw(bits, *W.shape)
            self._get(f"b_{role}")[:] = 0.0

    def probabilities(self, inputs: Array) -> Array:
        """Return how much each position takes from each other.

        Parameters
        ----------
        inputs : ndarray of shape (m, positions, features)
            What the layer reads.

        Returns
        -------
        ndarray of shape (m, heads, positions, positions)
            For each position a row, whose sum is 1.
        """
        from pycnn.backend.numpy import attention  # imported when used

        query, key = (
            attention.split(inputs @ self._get(f"W_{role}").T + self._get(f"b_{role}"), self.heads)
            for role in ("query", "key")
        )
        mask = attention.seen(inputs.shape[1], self.causal, None)
        return attention.probabilities(query, key, mask)

    def config(self) -> dict[str, Any]:
        """Return kind and settings as plain data, from which `from_config` rebuilds the layer."""
        return {"kind": self.kind, "heads": self.heads, "causal": self.causal}

    def __repr__(self) -> str:
        return f"MultiHeadAttention({self.heads!r}{', causal=True' if self.causal else ''})"


def _part(name: str) -> Any:
    """Return the property of one of the layers that a block is made of."""

    def part(self: TransformerBlock) -> Layer:
        for own, child in self.children:
            if own == name:
                return child
        raise PycnnError("this layer has no layers in it yet: it is not part of a network")

    return property(part, doc=f"`{name}`, with its parameters.")


class TransformerBlock(Layer):
    """Attention, then a small network at each position, with a shortcut around either.

    With ``norm_first``, as networks are that learn from the start (Xiong et al., 2020)::

        B = A_previous + dropout(attention(norm_1(A_previous)))
        A = B + dropout(dense_2(f(dense_1(norm_2(B)))))

    else as it was at first (Vaswani et al., 2017)::

        B = norm_1(A_previous + dropout(attention(A_previous)))
        A = norm_2(B + dropout(dense_2(f(dense_1(B)))))

    The names of its arrays have these in front: ``"attention.W_query"``, ``"norm_1.gamma"``,
    ``"dense_1.W"``, ``"dense_2.b"``.

    Parameters
    ----------
    heads : int
        Of the attention; they must divide the features.
    hidden : int, optional
        Units of the small network, by default four times the features.
    activation : str, default "gelu"
        Theirs, one of `pycnn.activations.ACTIVATIONS`.
    causal : bool, default False
        Whether a position sees only itself and those before it.
    dropout : float, default 0.0
        Share of what is added to either shortcut that is dropped in training.
    norm_first : bool, default True
        Whether norms are in front of the parts, or behind the sums.

    Raises
    ------
    UnknownNameError, DataError, DataTypeError
        If an argument is not valid.
    ShapeError
        When a network is made of it: if samples are no sequences, or the heads do not divide their
        features.

    Examples
    --------
    >>> TransformerBlock(2, causal=True)
    TransformerBlock(2, causal=True)
    """

    kind = "transformer_block"
    core_kind = "stack"
    knows_lengths = True

    def __init__(
        self,
        heads: int,
        hidden: int | None = None,
        *,
        activation: str = "gelu",
        causal: bool = False,
        dropout: float = 0.0,
        norm_first: bool = True,
    ) -> None:
        super().__init__()
        self._attention = MultiHeadAttention(heads, causal=causal)
        self._hidden = None if hidden is None else check_size(hidden, "hidden")
        self._inner_activation = activations.check(activation)
        if self._inner_activation == "softmax":
            raise DataError("activation must be one of each unit by itself, got 'softmax'")
        self._dropout = check_real(dropout, "dropout", at_least=0)
        if self._dropout >= 1:
            raise DataError(f"dropout must be at least 0 and below 1, got {dropout!r}")
        self._norm_first = check_bool(norm_first, "norm_first")
        self.is_random = self._dropout > 0
        self._parts: tuple[tuple[str, Layer], ...] = ()  # in a network

    @property
    def heads(self) -> int:
        """Of the attention."""
        return self._attention.heads

    @property
    def causal(self) -> bool:
        """Whether a position sees only itself and those before it."""
        return self._attention.causal

    @property
    def dropout(self) -> float:
        """Share of what is added to either shortcut that is dropped in training."""
        return self._dropout

    @property
    def norm_first(self) -> bool:
        """Whether norms are in front of the parts, or behind the sums."""
        return self._norm_first

    @property
    def hidden(self) -> int | None:
        """Units of the small network; None: four times the features, before these are known."""
        return self._hidden

    @property
    def children(self) -> tuple[tuple[str, Layer], ...]:
        """The layers that it is made of, with their names; none before it is in a network."""
        return self._parts

    attention = _part("attention")
    norm_1 = _part("norm_1")
    norm_2 = _part("norm_2")
    dense_1 = _part("dense_1")
    dense_2 = _part("dense_2")

    def _groups(self, features: int) -> list[tuple[bool, list[tuple[str, Layer]]]]:
        """Return the layers, with their names, and whether there is a shortcut around some."""
        attention: list[tuple[str, Layer]] = [("attention", self._attention)]
        dense: list[tuple[str, Layer]] = [
            ("dense_1", Dense(self._hidden or 4 * features, self._inner_activation)),
            ("dense_2", Dense(features)),
        ]
        norm_1: list[tuple[str, Layer]] = [("norm_1", LayerNorm())]
        norm_2: list[tuple[str, Layer]] = [("norm_2", LayerNorm())]
        if self._dropout:
            attention.append(("dropout_1", Dropout(self._dropout)))
            dense.append(("dropout_2", Dropout(self._dropout)))
        if self._norm_first:
            return [(True, norm_1 + attention), (True, norm_2 + dense)]
        return [(True, attention), (False, norm_1), (True, dense), (False, norm_2)]

    def tensor_specs(self, input_shape: Shape) -> tuple[TensorSpec, ...]:
        """Return what arrays the layers have that it is made of."""
        return self.spec(input_shape).tensors

    def spec(self, input_shape: Shape) -> LayerSpec:
        """Return the layer as the backends need to know it: a stack of residual layers."""
        return self._stack(input_shape, None)

    def part_spec(self, input_shape: Shape, window: int) -> LayerSpec:
        """Return the layer as it takes the next part: see `MultiHeadAttention`."""
        if not self.causal:
            raise whole_sequences(self, "looks at what comes behind a position, too")
        return self._stack(input_shape, window)

    def _stack(self, input_shape: Shape, window: int | None) -> LayerSpec:
        check_sequence(self, input_shape)
        stack: list[LayerSpec] = []
        for has_shortcut, group in self._groups(input_shape[1]):
            specs = [
                spec._replace(name=name)
                for (name, _), spec in zip(
                    group, specs_of([layer for _, layer in group], input_shape, window), strict=True
                )
            ]
            whole = self._composed("residual", specs)._replace(name="")
            stack += [whole] if has_shortcut else specs
        return self._composed(self.core_kind, stack)

    def _composed(self, kind: str, specs: list[LayerSpec]) -> LayerSpec:
        """Return a layer of `specs`, whose arrays have their names in front."""
        tensors = [
            tensor._replace(name=f"{spec.name}.{tensor.name}" if spec.name else tensor.name)
            for spec in specs
            for tensor in spec.tensors
        ]
        shape, random = specs[0].input_shape, True in [spec.is_random for spec in specs]
        settings = {"shape": as_image(shape)}
        return LayerSpec(
            kind,
            shape,
            shape,
            tuple(tensors),
            settings=settings,
            is_random=random,
            inner=tuple(specs),
            knows_lengths=True,
        )

    def within(self, spec: LayerSpec) -> Iterator[tuple[str, Layer, LayerSpec]]:
        """Yield the layers that one of such a `spec` is made of, with their names and specs."""
        named = self._parts or [
            pair for _, group in self._groups(spec.input_shape[1]) for pair in group
        ]
        leaves = [leaf for part in spec.inner for leaf in part.inner or (part,)]
        for (name, layer), leaf in zip(named, leaves, strict=True):
            yield name, layer, leaf

    def _on(self, input_shape: Shape) -> list[tuple[str, Layer, Shape]]:
        """Return the layers, with their names and the shapes of what each reads."""
        own = self.within(self.spec(input_shape))
        return [(name, layer, spec.input_shape) for name, layer, spec in own]

    # ------------------------------------------------ as a part of a network

    def bound(self, input_shape: Shape, views: Mapping[str, Array]) -> Self:
        """Return a copy whose layers have `views`, their arrays by the names of this layer's."""
        layer = super().bound(input_shape, views)
        layer._hidden = self._hidden or 4 * input_shape[1]
        parts = self._on(input_shape)
        layer._parts = tuple(
            (name, child.bound(shape, views_of(name, views))) for name, child, shape in parts
        )
        return layer

    def initialize(self, bits: np.random.PCG64) -> None:
        """Draw the parameters of the layers that it is made of."""
        for _, child in self._parts:
            child.initialize(bits)

    def probabilities(self, inputs: Array) -> Array:
        """Return how much each position takes from each other: see `MultiHeadAttention`'s."""
        if self._norm_first:
            norm = self.norm_1
            deviation = (inputs.var(axis=2, keepdims=True) + norm.epsilon) ** 0.5
            inputs = (inputs - inputs.mean(axis=2, keepdims=True)) / deviation
            inputs = norm.gamma * inputs + norm.beta
        found: Array = self.attention.probabilities(inputs)
        return found

    def config(self) -> dict[str, Any]:
        """Return kind and settings as plain data, from which `from_config` rebuilds the layer."""
        return {
            "kind": self.kind,
            "heads": self.heads,
            "hidden": self._hidden,
            "activation": self._inner_activation,
            "causal": self.causal,
            "dropout": self._dropout,
            "norm_first": self._norm_first,
        }

    def __repr__(self) -> str:
        parts = [repr(self.heads)]
        if self._hidden is not None and self._hidden != 4 * self._features:
            parts.append(repr(self._hidden))
        if self._inner_activation != "gelu":
            parts.append(f"activation={self._inner_activation!r}")
        parts += ["causal=True"] if self.causal else []
        parts += [f"dropout={self._dropout!r}"] if self._dropout else []
        parts += [] if self._norm_first else ["norm_first=False"]
        return f"TransformerBlock({', '.join(parts)})"

    @property
    def _features(self) -> int:
        """Of each position, once it is in a network; else 0."""
        return self._output_shape[1] if self._output_shape else 0
