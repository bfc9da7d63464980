"""What is measured: networks, losses, mini-batches and data, as one table."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pycnn import (
    GRU,
    LSTM,
    Conv1D,
    Conv2D,
    Dense,
    Embedding,
    Flatten,
    GlobalAveragePool1D,
    LayerNorm,
    MaxPool1D,
    MaxPool2D,
    Network,
    PositionEmbedding,
    Tokens,
    TransformerBlock,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pycnn.layers import Layer

    Array = NDArray[np.float64]

# Activation of the output layer, by loss: each loss has the one that belongs to it.
OUTPUT = {
    "binary_crossentropy": "sigmoid",
    "categorical_crossentropy": "softmax",
    "mse": "linear",
}
# What each kind of table is about, by what the options and the documents' markers call it.
FAMILIES = ("rows", "layers")


@dataclass(frozen=True)
class Workload:
    """A network and what is done with it.

    An epoch is one pass over the data: `steps` mini-batches of `batch` samples, in the order in
    which they lie, so that everyone sees the same ones. What is timed are `passes` of them, one
    after the other.
    """

    name: str
    inputs: int | tuple[int, ...] | Tokens  # of a sample, as `pycnn.Network` is told
    layers: tuple[Layer, ...]
    loss: str
    batch: int
    steps: int
    data: Literal["parabola", "xor", "digits", "classes", "curve", "noise"]
    learning_rate: float = 0.05
    training: bool = True
    passes: int = 1
    calls: bool = False  # each step is a call from Python of its own
    # How many times faster than the fastest peer pycnn means to be, by number of threads.
    goals: dict[int, float] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Number of samples."""
        return self.steps * self.batch

    @property
    def family(self) -> str:
        """Of rows and dense layers, or of layers over images and sequences."""
        dense = isinstance(self.inputs, int) and all(isinstance(own, Dense) for own in self.layers)
        return "rows" if dense else "layers"

    @property
    def sizes(self) -> tuple[int, ...]:
        """n_0 ... n_L of a network of dense layers."""
        return (self.inputs, *(own.units for own in self.layers))  # type: ignore[attr-defined]

    @property
    def activations(self) -> tuple[str, ...]:
        """Activation of each layer."""
        return tuple(own.activation for own in self.layers)

    @property
    def hidden(self) -> str:
        """Activation of the hidden layers, where that is one."""
        return self.activations[0]

    def network(self) -> Network:
        """Return the network; its initial parameters are those of all peers."""
        return Network(self.inputs, list(self.layers), loss=self.loss, seed=0)

    @property
    def flops(self) -> int:
        """Floating-point operations of a step's matrix products, a multiply-add counting as two.

        Training needs three products a layer, Z = W A, W^T delta and delta A^T, but the second
        not for the first layer that has weights.
        """
        net = self.network()
        shapes = [net.input_shape, *net.architecture.output_shapes]
        counts = [
            _multiplications(own, before, behind)
            for own, before, behind in zip(net.layers, shapes, shapes[1:], strict=False)
        ]
        count = sum(counts)
        if self.training:
            count = 3 * count - next(count for count in counts if count)
        return 2 * self.batch * count

    def describe(self) -> str:
        """Say in a line what it is."""
        if self.family == "layers":
            return self._describe_layers()
        sizes = "-".join(map(str, self.sizes))
        if len(self.sizes) > 6:
            sizes = f"{self.sizes[0]}-[{self.sizes[1]}]×{len(self.sizes) - 2}-{self.sizes[-1]}"
        if not self.training:
            rows = "one row at a time" if self.batch == 1 else f"{self.batch:,} rows"
            return f"predict, {sizes} {self.hidden}, {rows}"
        loss = {"binary_crossentropy": "BCE", "categorical_crossentropy": "CE", "mse": "MSE"}
        output = "" if self.loss == "mse" else f"{OUTPUT[self.loss]} "
        text = f"train, {sizes} {self.hidden}, {output}{loss[self.loss]}, batch {self.batch}"
        if self.passes > 1:
            text += f", {self.passes:,} epochs of {self.steps} step"
        return f"{text}, a call from Python each step" if self.calls else text

    def _describe_layers(self) -> str:
        what = f"train, batch {self.batch}" if self.training else "predict, one sample at a time"
        return f"{what}: {self.inputs}: {', '.join(map(repr, self.network().layers))}"

    def shortened(self) -> Workload:
        """Return the same with a sixteenth of the data, for a quick look."""
        steps, passes = max(1, self.steps // 16), max(1, self.passes // 16)
        return replace(self, steps=steps, passes=passes)


def _multiplications(own: Layer, before: Any, behind: Any) -> int:
    """Return how many multiply-adds a layer's products take for one sample."""
    if isinstance(own, (Conv1D, Conv2D)):
        return math.prod(behind) * own.W[0].size
    if isinstance(own, (GRU, LSTM)):
        return before[0] * (own.W.size + own.U.size)
    if isinstance(own, Dense):
        return math.prod(behind[:-1]) * own.W.size
    if isinstance(own, TransformerBlock):
        positions, features = before
        keys = (positions + 1) / 2 if own.causal else positions
        inner = sum(own.tensors[name].size for name in own.tensors if ".W" in name)
        return round(positions * (inner + 2 * keys * features))
    return 0


_BCE, _CE = "binary_crossentropy", "categorical_crossentropy"
_DIGITS, _MNIST = (64, 32, 10), (784, 128, 10)


def _dense(sizes: tuple[int, ...], hidden: str, loss: str) -> tuple[int, tuple[Layer, ...], str]:
    """Return inputs, layers and loss of a network of dense layers."""
    layers = [Dense(units, hidden) for units in sizes[1:-1]]
    return sizes[0], (*layers, Dense(sizes[-1], OUTPUT[loss])), loss


_TINY = (2, 2, 2, 1)
# The rows are whole mini-batches: 1,792 of the 1,797 digits; 14,976 where MNIST has 60,000.
_ROWS = (
    Workload("T1", *_dense(_TINY, "relu", _BCE), 1, 4096, "parabola", goals={1: 1.3}),
    Workload("T1c", *_dense(_TINY, "relu", _BCE), 1, 4096, "parabola", calls=True),
    Workload("T2", *_dense((2, 16, 1), "tanh", _BCE), 4, 1024, "parabola", goals={1: 3}),
    Workload("XOR", *_dense((2, 16, 1), "tanh", _BCE), 4, 1, "xor", passes=10_000, goals={1: 2}),
    Workload("T3b1", *_dense(_DIGITS, "relu", _CE), 1, 1792, "digits", goals={1: 2.5}),
    Workload("T3b32", *_dense(_DIGITS, "relu", _CE), 32, 56, "digits", goals={1: 1.8}),
    Workload("T4b32", *_dense(_MNIST, "relu", _CE), 32, 468, "classes", goals={1: 1.35, 2: 1.2}),
    Workload("T4b128", *_dense(_MNIST, "relu", _CE), 128, 117, "classes", goals={1: 1.15, 2: 1.1}),
    Workload(
        "T5", *_dense((784, 1024, 1024, 10), "relu", _CE), 256, 10, "classes",
        goals={1: 1.1, 2: 1.1},
    ),
    Workload(
        "T6", *_dense((32, *[64] * 20, 1), "tanh", "mse"), 64, 64, "curve", 0.01,
        goals={1: 1.25, 2: 2},
    ),
    Workload("I0", *_dense(_TINY, "relu", _BCE), 1, 1024, "parabola", training=False,
             goals={1: 1}),
    Workload("I1", *_dense(_DIGITS, "relu", _CE), 1, 1024, "digits", training=False,
             goals={1: 2.5}),
    Workload("I2", *_dense(_MNIST, "relu", _CE), 10_000, 1, "classes", training=False,
             goals={1: 1.1, 2: 1.1}),
)  # fmt: skip

LENET = (
    Conv2D(6, 5, "relu", padding="same"),
    MaxPool2D(2),
    Conv2D(16, 5, "relu"),
    MaxPool2D(2),
    Flatten(),
    Dense(120, "relu"),
    Dense(84, "relu"),
    Dense(10, "softmax"),
)
_SMALL = (
    Conv2D(8, 3, "relu", padding="same"),
    MaxPool2D(2),
    Conv2D(16, 3, "relu", padding="same"),
    Flatten(),
    Dense(10, "softmax"),
)
_SIGNAL = (
    Conv1D(32, 5, "relu", padding="same"),
    MaxPool1D(2),
    Conv1D(64, 5, "relu", padding="same"),
    GlobalAveragePool1D(),
    Dense(6, "softmax"),
)
_WRITER = (Embedding(64), LSTM(128, return_sequences=True), Dense(64, "softmax"))
TRANSFORMER = (
    Embedding(64),
    PositionEmbedding(),
    TransformerBlock(4, causal=True),
    TransformerBlock(4, causal=True),
    LayerNorm(),
    Dense(64, "softmax"),
)
TOKENS = Tokens(64, length=64)
_STEPS = {"data": "noise", "learning_rate": 0.01}
_LAYERS = (
    Workload("C1", (8, 8, 1), _SMALL, _CE, 32, 40, goals={1: 5}, **_STEPS),
    Workload("C2", (28, 28, 1), LENET, _CE, 32, 10, goals={1: 6.5}, **_STEPS),
    Workload("C2b", (28, 28, 1), LENET, _CE, 128, 4, goals={1: 5.5}, **_STEPS),
    Workload("C3", (128, 9), _SIGNAL, _CE, 64, 6, goals={1: 2}, **_STEPS),
    Workload("R1", (28, 28), (LSTM(32), Dense(10, "softmax")), _CE, 32, 20, goals={1: 1.4},
             **_STEPS),
    Workload("R2", (100, 1), (GRU(64), Dense(1)), "mse", 32, 4, goals={1: 1.6}, **_STEPS),
    Workload("R3", TOKENS, _WRITER, _CE, 16, 2, goals={1: 1.5}, **_STEPS),
    Workload("A1", TOKENS, TRANSFORMER, _CE, 16, 2, goals={1: 1.8}, **_STEPS),
)  # fmt: skip
# One sample at a time, of the same networks.
_SINGLE = {"C1": 4.0, "C2": 7.0, "C3": 2.5, "R1": 1.3, "R2": 1.2, "R3": 0.95, "A1": 1.05}

WORKLOADS = {
    workload.name: workload
    for workload in (
        *_ROWS,
        *_LAYERS,
        *(
            replace(workload, name=f"{workload.name}s", batch=1, steps=64, training=False,
                    goals={1: _SINGLE[workload.name]})
            for workload in _LAYERS
            if workload.name in _SINGLE
        ),
    )
}  # fmt: skip


def make_data(workload: Workload) -> tuple[Array, Array | NDArray[np.int64]]:
    """Return the samples and their targets, the same at every call.

    Returns
    -------
    X : ndarray of shape (rows, n_0), or (rows, *inputs) where samples are no rows
        Numbers; tokens are integers.
    y : ndarray
        Labels (rows,) for categorical cross-entropy (of sequences that are told apart at each
        position: (rows, positions)), else numbers (rows, 1).
    """
    rng = np.random.default_rng(0)
    rows = workload.rows
    if workload.data == "noise":
        return _noise(workload, rng)
    inputs = workload.sizes[0]
    if workload.data == "digits":
        from pycnn.datasets import load_digits

        images, labels = load_digits()
        return images[:rows] / 16, labels[:rows]
    if workload.data == "xor":
        return np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0.0], [1], [1], [0]])
    if workload.data == "parabola":  # above a parabola, or below
        X = rng.uniform(-1, 1, (rows, 2))
        return X, (X[:, 1:] > X[:, :1] ** 2 - 0.3).astype(np.float64)
    if workload.data == "curve":
        X = rng.uniform(-1, 1, (rows, inputs))
        return X, np.sin(X.sum(axis=1, keepdims=True) / math.sqrt(inputs) * 3)
    # Images of ten classes, as MNIST's are in size and range: a blurred class mean each.
    labels = rng.integers(0, 10, rows)
    means = rng.random((10, inputs))
    X = rng.random((rows, inputs))
    X += means[labels]
    X /= 2
    return X, labels


def _noise(workload: Workload, rng: Any) -> tuple[Array, Array | NDArray[np.int64]]:
    """Return numbers from 0 to 1, or tokens: what a step takes does not depend on what they are."""
    rows, inputs, shape = workload.rows, workload.inputs, workload.network().output_shape
    if isinstance(inputs, Tokens):
        X = rng.integers(0, inputs.vocabulary, (rows, *inputs))
    else:
        X = rng.random((rows, *inputs))
    if workload.loss == "mse":
        return X, rng.random((rows, *shape))
    return X, rng.integers(0, shape[-1], (rows, *shape[:-1]))
