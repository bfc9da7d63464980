"""What is measured: networks, losses, mini-batches and data, as one table."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# Activation of the output layer, by loss: each loss has the one that belongs to it.
OUTPUT = {
    "binary_crossentropy": "sigmoid",
    "categorical_crossentropy": "softmax",
    "mse": "linear",
}


@dataclass(frozen=True)
class Workload:
    """A network and what is done with it.

    An epoch is one pass over the data: `steps` mini-batches of `batch` samples, in the order in
    which they lie, so that everyone sees the same ones.
    """

    name: str
    sizes: tuple[int, ...]  # n_0 ... n_L
    hidden: str  # activation of the hidden layers
    loss: str
    batch: int
    steps: int
    data: Literal["parabola", "digits", "classes", "curve"]
    learning_rate: float = 0.05
    training: bool = True
    # How many times faster than the fastest peer pycnn means to be, by number of threads.
    goals: dict[int, float] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Number of samples."""
        return self.steps * self.batch

    @property
    def activations(self) -> tuple[str, ...]:
        """Activation of each layer."""
        return (self.hidden,) * (len(self.sizes) - 2) + (OUTPUT[self.loss],)

    @property
    def flops(self) -> int:
        """Floating-point operations of a step's matrix products, a multiply-add counting as two.

        Training needs three products a layer, Z = W A, W^T delta and delta A^T, but the second
        not for the first layer.
        """
        products = [m * n for m, n in zip(self.sizes, self.sizes[1:], strict=False)]
        count = 3 * sum(products) - products[0] if self.training else sum(products)
        return 2 * self.batch * count

    def describe(self) -> str:
        """Say in a line what it is."""
        sizes = "-".join(map(str, self.sizes))
        if len(self.sizes) > 6:
            sizes = f"{self.sizes[0]}-[{self.sizes[1]}]×{len(self.sizes) - 2}-{self.sizes[-1]}"
        if not self.training:
            rows = "one row at a time" if self.batch == 1 else f"{self.batch:,} rows"
            return f"predict, {sizes} {self.hidden}, {rows}"
        loss = {"binary_crossentropy": "BCE", "categorical_crossentropy": "CE", "mse": "MSE"}
        output = "" if self.loss == "mse" else f"{OUTPUT[self.loss]} "
        return f"train, {sizes} {self.hidden}, {output}{loss[self.loss]}, batch {self.batch}"

    def shortened(self) -> Workload:
        """Return the same with a sixteenth of the data, for a quick look."""
        return replace(self, steps=max(1, self.steps // 16))


_BCE, _CE = "binary_crossentropy", "categorical_crossentropy"
_DIGITS, _MNIST = (64, 32, 10), (784, 128, 10)

# The rows are whole mini-batches: 1,792 of the 1,797 digits; 59,904 rows where MNIST has 60,000.
WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("T1", (2, 2, 2, 1), "relu", _BCE, 1, 4096, "parabola", goals={1: 1.3}),
        Workload("T2", (2, 16, 1), "tanh", _BCE, 4, 1024, "parabola", goals={1: 3}),
        Workload("T3b1", _DIGITS, "relu", _CE, 1, 1792, "digits", goals={1: 2.5}),
        Workload("T3b32", _DIGITS, "relu", _CE, 32, 56, "digits", goals={1: 1.8}),
        Workload("T4b32", _MNIST, "relu", _CE, 32, 1872, "classes", goals={1: 1.35, 2: 1.2}),
        Workload("T4b128", _MNIST, "relu", _CE, 128, 468, "classes", goals={1: 1.15, 2: 1.1}),
        Workload(
            "T5", (784, 1024, 1024, 10), "relu", _CE, 256, 10, "classes", goals={1: 1.1, 2: 1.1}
        ),
        Workload(
            "T6", (32, *[64] * 20, 1), "tanh", "mse", 64, 64, "curve", 0.01, goals={1: 1.25, 2: 2}
        ),
        Workload("I1", _DIGITS, "relu", _CE, 1, 1024, "digits", training=False, goals={1: 2.5}),
        Workload(
            "I2", _MNIST, "relu", _CE, 10_000, 1, "classes", training=False, goals={1: 1.1, 2: 1.1}
        ),
    )
}


def make_data(workload: Workload) -> tuple[Array, Array | NDArray[np.int64]]:
    """Return the samples and their targets, the same at every call.

    Returns
    -------
    X : ndarray of shape (rows, n_0)
    y : ndarray
        Labels (rows,) for categorical cross-entropy, else numbers (rows, 1).
    """
    rng = np.random.default_rng(0)
    rows, inputs = workload.rows, workload.sizes[0]
    if workload.data == "digits":
        from pycnn.datasets import load_digits

        images, labels = load_digits()
        return images[:rows] / 16, labels[:rows]
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
