"""The lecture's quantities, in the lecture's orientation: a column is a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pycnn._public import names_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["Trace"]
__dir__ = names_of(__name__)


class Trace(NamedTuple):
    """Every quantity of one forward and backward pass; lists are indexed by layer number.

    Attributes
    ----------
    A : list of ndarray of shape (n_l, m)
        Activations; ``A[0]`` is the input.
    Z : list of ndarray of shape (n_l, m)
        Pre-activations; ``Z[0]`` is None, as in `delta`, `dW` and `db`.
    delta : list of ndarray of shape (n_l, m)
        Error signals dL/dZ of each sample's own loss (the mean's 1/m comes in with dW and db).
    dW : list of ndarray of shape (n_l, n_{l-1})
        Gradients of the mean loss (lecture, equation 3).
    db : list of ndarray of shape (n_l,)
        Gradients of the mean loss (lecture, equation 4).
    loss : float
        The mean loss.
    Y : ndarray of shape (n_L, m)
        The targets.
    """

    A: list[Array]
    Z: list[Array | None]
    delta: list[Array | None]
    dW: list[Array | None]
    db: list[Array | None]
    loss: float
    Y: Array

    def __str__(self) -> str:
        """Return the pass in the order and notation of the lecture's worked example."""
        L = len(self.A) - 1
        lines = ["Forward propagation", "", show("A[0]", self.A[0])]
        for l in range(1, L + 1):  # noqa: E741 - the lecture's l
            lines += [
                show(f"Z[{l}] = W[{l}] A[{l - 1}] + b[{l}]", self.Z[l]),
                show(f"A[{l}] = f(Z[{l}])", self.A[l]),
            ]
        lines += [show("Y", self.Y), f"L = {self.loss:.6g}", "", "Backpropagation", ""]
        for l in range(L, 0, -1):  # noqa: E741
            how = f"(W[{l + 1}]^T delta[{l + 1}]) * f'(Z[{l}])" if l < L else f"dL/dZ[{l}]"
            lines += [
                show(f"delta[{l}] = {how}", self.delta[l]),
                show(f"dW[{l}] = 1/m delta[{l}] A[{l - 1}]^T", self.dW[l]),
                show(f"db[{l}] = 1/m sum delta[{l}]", self.db[l]),
            ]
        return "\n".join(lines)


def show(name: str, value: Array | None) -> str:
    """Return ``name = value`` with the rows of a matrix below each other; vectors as columns."""
    if value is None:
        return name
    matrix = value.reshape(len(value), -1)
    with np.printoptions(precision=6, suppress=False, threshold=100, linewidth=88):
        text = str(matrix)
    indent = " " * 4
    return name + "\n" + "\n".join(indent + line for line in text.splitlines()) + "\n"
