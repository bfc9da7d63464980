"""The lecture's quantities, in the lecture's orientation: a column is a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pycnn._public import names_of
from pycnn._record import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycnn._typing import Array


__all__ = ["Trace"]
__dir__ = names_of(__name__)

# The learning rate of the lecture, and of `SGD` by default.
ALPHA = 0.1
# Numbers and rows of a matrix that can be taken in at a glance.
LARGEST_SHOWN, MOST_ROWS = 100, 12


class Trace(Record):
    """Every quantity of one forward and backward pass; lists are indexed by layer number.

    Attributes
    ----------
    A : list of ndarray of shape (n_l, m)
        Activations; ``A[0]`` is the input. What has a shape is flat here, the features of a place
        beside each other: ``A[1].T.reshape(m, rows, columns, channels)`` are images.
    Z : list of ndarray of shape (n_l, m)
        Pre-activations; ``Z[0]`` is None, as in `delta`, `dW` and `db`.
    delta : list of ndarray of shape (n_l, m)
        Error signals dL/dZ of each sample's own loss (the mean's 1/m comes in with dW and db).
    dW : list of ndarray of shape (n_l, n_{l-1})
        Gradients of the mean loss (lecture, equation 3); of a convolution they have its W's shape.
    db : list of ndarray of shape (n_l,)
        Gradients of the mean loss (lecture, equation 4).
    loss : float
        The mean loss.
    Y : ndarray of shape (n_L, m)
        The targets.
    W, b : list of ndarray of shape (n_l, n_{l-1}) and (n_l,)
        Weights and biases; None for layers that have none, as in `dW` and `db`.
    slope : list of ndarray of shape (n_l, m)
        Derivatives f'(Z); None for softmax, whose outputs depend on all of a sample's Z.

    Examples
    --------
    >>> from pycnn import Dense, Network
    >>> net = Network(2, [Dense(3, "tanh"), Dense(1, "sigmoid")], seed=0)
    >>> trace = net.trace([[0, 1]], [1])
    >>> [a.shape for a in trace.A], trace.dW[1].shape
    ([(2, 1), (3, 1), (1, 1)], (3, 2))
    """

    A: list[Array]
    Z: list[Array | None]
    delta: list[Array | None]
    dW: list[Array | None]
    db: list[Array | None]
    loss: float
    Y: Array

    W: Sequence[Array | None] = ()
    b: Sequence[Array | None] = ()
    slope: Sequence[Array | None] = ()

    def __str__(self) -> str:
        """Return the pass in the order and notation of the lecture's worked example.

        What is too large to read is its shape, with its least number, its mean and its largest.
        """
        numbers = range(1, len(self.A))
        weights = [l for l in numbers if self.W and self.W[l] is not None]  # noqa: E741
        lines = ["Forward propagation", "", show("A[0]", self.A[0])]
        for l in numbers:  # noqa: E741 - the lecture's l
            if l in weights:
                lines += [show(f"W[{l}]", self.W[l]), show(f"b[{l}]", self.b[l])]
            lines += [
                show(f"Z[{l}]{self._product(l)}", self.Z[l]),
                show(f"A[{l}] = f(Z[{l}])", self.A[l]),
            ]
        lines += [show("Y", self.Y), f"L = {self.loss:.6g}", "", "Backpropagation", ""]
        last = numbers[-1]
        for l in reversed(numbers):  # noqa: E741
            how = f"dL/dZ[{l}]"
            if l < last and self._is_dense(l + 1):
                how = f"(W[{l + 1}]^T delta[{l + 1}]) * f'(Z[{l}])"
            lines += [
                show(f"f'(Z[{l}])", self.slope[l] if self.slope else None),
                show(f"delta[{l}] = {how}", self.delta[l]),
                show(f"dW[{l}]{self._gradient(l)}", self.dW[l]),
                show(f"db[{l}]{self._bias_gradient(l)}", self.db[l]),
            ]
        if weights:
            lines += [f"Gradient descent, with alpha = {ALPHA}", ""]
        for l in weights:  # noqa: E741
            for name, value, gradient in (("W", self.W, self.dW), ("b", self.b, self.db)):
                before, change = value[l], gradient[l]
                if before is None or change is None:  # a convolution may have no biases
                    continue
                lines.append(show(f"{name}[{l}] - alpha d{name}[{l}]", before - ALPHA * change))
        return "\n".join(line for line in lines if line is not None)

    def _is_dense(self, l: int) -> bool:  # noqa: E741 - the lecture's l
        """Tell whether W[l] has a row for each unit, and a column for each of its inputs."""
        W = self.W[l] if self.W else None
        return W is not None and W.shape == (len(self.A[l]), len(self.A[l - 1]))

    def _has_windows(self, l: int) -> bool:  # noqa: E741
        """Tell whether W[l], of more axes than two, moves over the places of A[l - 1]."""
        W = self.W[l] if self.W else None
        return W is not None and W.ndim > 2

    def _product(self, l: int) -> str:  # noqa: E741
        """Return how Z[l] follows from A[l - 1], where one formula says it."""
        if not (self._is_dense(l) or self._has_windows(l)):
            return ""
        bias = "" if self.b[l] is None else f" + b[{l}]"
        window = "sum over a window of " if self._has_windows(l) else ""
        return f" = {window}W[{l}] A[{l - 1}]{bias}"

    def _bias_gradient(self, l: int) -> str:  # noqa: E741
        """Return how db[l] follows from delta[l], where one formula says it."""
        return f" = 1/m sum delta[{l}]" if self._gradient(l) else ""

    def _gradient(self, l: int) -> str:  # noqa: E741
        """Return how dW[l] follows from delta[l], where one formula says it."""
        if self._has_windows(l):
            return f" = 1/m sum over all places of delta[{l}] A[{l - 1}]"
        return f" = 1/m delta[{l}] A[{l - 1}]^T" if self._is_dense(l) or not self.W else ""


def slope_of(activation: str, z: Array | None, a: Array) -> Array | None:
    """Return f'(Z); None for softmax, which has one for each pair of outputs."""
    from pycnn.backend.numpy.activation import ACTIVATIONS, FROM_Z

    if activation == "softmax" or z is None:
        return None
    _, derive = ACTIVATIONS[activation]
    with np.errstate(all="ignore"):
        return derive(np.ones_like(a), z if activation in FROM_Z else a)


def show(name: str, value: Array | None) -> str | None:
    """Return ``name = value`` with the rows of a matrix below each other; vectors as columns."""
    if value is None:
        return None
    matrix = value.reshape(len(value), -1)
    if matrix.size > LARGEST_SHOWN or len(matrix) > MOST_ROWS:
        shape = " x ".join(map(str, value.shape))
        ends = f"{matrix.min():.6g} ... {matrix.max():.6g}, mean {matrix.mean():.6g}"
        return f"{name}\n    {shape}: {ends}\n"
    with np.printoptions(precision=6, suppress=False, threshold=LARGEST_SHOWN, linewidth=88):
        text = str(matrix)
    indent = " " * 4
    return name + "\n" + "\n".join(indent + line for line in text.splitlines()) + "\n"
