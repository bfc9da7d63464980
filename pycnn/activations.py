"""The activations by name. What they compute is in the backends.

============  ==================================  ===================================
name          f(z)                                f'(z), with a = f(z)
============  ==================================  ===================================
linear        z                                   1
sigmoid       s(z) = 1 / (1 + e^-z)               a (1 - a)
relu          max(0, z)                           1 for z > 0, else 0
tanh          (e^z - e^-z) / (e^z + e^-z)         1 - a^2
softmax       e^z_j / sum_k e^z_k                 Jacobian a_j (1[j=k] - a_k)
leaky_relu    z for z > 0, else 0.01 z            1 for z > 0, else 0.01
elu           z for z > 0, else e^z - 1           1 for z > 0, else a + 1
selu          l z for z > 0, else l k (e^z - 1)   l for z > 0, else a + l k
gelu          z Phi(z)                            Phi(z) + z phi(z)
gelu_tanh     z s(u) = z / 2 (1 + tanh(u / 2))    s(u) + z s(u) (1 - s(u)) du/dz
silu          z s(z)                              s(z) + z s(z) (1 - s(z))
softplus      log(1 + e^z)                        s(z) = 1 - e^-a
softsign      z / (1 + |z|)                       (1 - |a|)^2
hard_sigmoid  max(0, min(1, z / 6 + 1/2))         1/6 for 0 < a < 1, else 0
hard_tanh     max(-1, min(1, z))                  1 for -1 < a < 1, else 0
============  ==================================  ===================================

Phi, phi: the standard normal distribution and its density, Phi(z) = (1 + erf(z / sqrt 2)) / 2.
In gelu_tanh, u = 2 sqrt(2 / pi) (z + 0.044715 z^3), which makes s(u) nearly Phi(z). In selu,
l = 1.0507009873554805 and k = 1.6732632423543772; it keeps inputs of mean 0 and variance 1 so where
weights have mean 0 and variance 1 / fan_in (``initializers.Normal(0, fan_in ** -0.5)``).

Sources: leaky_relu, Maas et al. (2013); elu with alpha = 1, Clevert et al. (2016); selu, Klambauer
et al. (2017); gelu and gelu_tanh, Hendrycks and Gimpel (2016); silu, also there, and as "swish"
Ramachandran et al. (2017); softplus, Dugas et al. (2001); softsign, Bergstra et al. (2009);
hard_sigmoid as in Howard et al. (2019).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pycnn._checks import check_choice
from pycnn._public import names_of
from pycnn._record import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

__all__ = ["ACTIVATIONS"]
__dir__ = names_of(__name__)


class Activation(Record):
    """What is known of an activation beside its values."""

    low: float = -math.inf  # its values lie between these
    high: float = math.inf
    # Weights: He's for relu and what is shaped like it, which lets about half of a signal through.
    weight_initializer: str = "glorot_uniform"
    # A bias says where a unit bends. With zeros all units of a first layer bend at 0, which the few
    # inputs of a small problem cannot make up for. What does not bend, or is an output of classes,
    # starts with zeros.
    bias_initializer: str = "fan_in_uniform"
    # Where it saturates: the slope f'(z) from a = f(z), relative to the greatest.
    relative_slope: Callable[[Array], Array] | None = None


def _half(low: float) -> Activation:
    return Activation(low, weight_initializer="he_normal")


TABLE = {
    "linear": Activation(bias_initializer="zeros"),
    "sigmoid": Activation(0.0, 1.0, relative_slope=lambda a: 4 * a * (1 - a)),
    "relu": _half(0.0),
    "tanh": Activation(-1.0, 1.0, relative_slope=lambda a: 1 - a * a),
    "softmax": Activation(0.0, 1.0, bias_initializer="zeros"),
    "leaky_relu": _half(-math.inf),
    "elu": _half(-1.0),
    "selu": Activation(-1.7581),
    "gelu": _half(-0.17),
    "gelu_tanh": _half(-0.1701),
    "silu": _half(-0.2785),
    "softplus": Activation(0.0),
    "softsign": Activation(-1.0, 1.0, relative_slope=lambda a: (1 - abs(a)) ** 2),
    "hard_sigmoid": Activation(0.0, 1.0, relative_slope=lambda a: 1.0 * ((a > 0) & (a < 1))),
    "hard_tanh": Activation(-1.0, 1.0, relative_slope=lambda a: 1.0 * (abs(a) < 1)),
}
#: The names that layers take as ``activation``.
ACTIVATIONS = tuple(TABLE)


def check(name: Any) -> str:
    """Return `name` if it is an activation's, else raise `UnknownNameError`."""
    return check_choice(name, ACTIVATIONS, "activation")
