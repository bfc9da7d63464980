"""The activations by name. What they compute is in the backends.

========  ===========================  =================================
name      f(z)                         f'(z), with a = f(z)
========  ===========================  =================================
linear    z                            1
sigmoid   1 / (1 + e^-z)               a (1 - a)
relu      max(0, z)                    1 for z > 0, else 0
tanh      (e^z - e^-z) / (e^z + e^-z)  1 - a^2
softmax   e^z_j / sum_k e^z_k          Jacobian a_j (1[j=k] - a_k)
========  ===========================  =================================
"""

from __future__ import annotations

from typing import Any

from pycnn._names import check_choice

__all__ = ["ACTIVATIONS"]

ACTIVATIONS = ("linear", "sigmoid", "relu", "tanh", "softmax")

_DEFAULT_INITIALIZERS = {"relu": "he_normal"}


def check(name: Any) -> str:
    """Return `name` if it is an activation's, else raise `UnknownNameError`."""
    return check_choice(name, ACTIVATIONS, "activation")


def default_initializer(activation: str) -> str:
    """Return the initializer that suits an activation: He's for relu, Glorot's for the others."""
    return _DEFAULT_INITIALIZERS.get(activation, "glorot_uniform")
