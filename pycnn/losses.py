"""The losses by name. What they compute is in the backends.

========================  ==============================================  =================
name                      L of one sample                                 output activation
========================  ==============================================  =================
mse                       1/2 sum_j (a_j - y_j)^2                         any
binary_crossentropy       -sum_j [y_j log a_j + (1 - y_j) log(1 - a_j)]   sigmoid
categorical_crossentropy  -sum_j y_j log a_j                              softmax
========================  ==============================================  =================

A mini-batch's loss is the mean over its samples; with sample weights, the weighted mean.
"""

from __future__ import annotations

from typing import Any

from pycnn._names import check_choice
from pycnn.exceptions import PairingError

__all__ = ["LOSSES"]

LOSSES = ("mse", "binary_crossentropy", "categorical_crossentropy")

_DEFAULTS = {"sigmoid": "binary_crossentropy", "softmax": "categorical_crossentropy"}
_NEEDS = {loss: activation for activation, loss in _DEFAULTS.items()}


def check(name: Any, output_activation: str) -> str:
    """Return the name of a loss that goes with the output activation.

    None stands for the one that belongs to it.

    Raises
    ------
    UnknownNameError
        If there is no such loss.
    PairingError
        If it needs another output activation.
    """
    if name is None:
        return _DEFAULTS.get(output_activation, "mse")
    loss = check_choice(name, LOSSES, "loss")
    needed = _NEEDS.get(loss, output_activation)
    if needed != output_activation:
        raise PairingError(
            f"loss {loss!r} needs a {needed} output layer, got {output_activation!r}; "
            f"with {output_activation} use {_DEFAULTS.get(output_activation, 'mse')!r}"
        )
    return loss


def is_classification(loss: str) -> bool:
    """Tell whether targets of this loss are classes."""
    return loss in _NEEDS
