"""Activations: f(z), and f' from a = f(z) or, of some, from z; csrc/activation_template.h."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pycnn._typing import Array

LEAKY_SLOPE = 0.01
SELU_SCALE, SELU_SCALE_ALPHA = 1.0507009873554805, 1.7580993408473768
GELU_LINEAR, GELU_CUBIC = 1.5957691216057308, 0.07135481627260025
# The polynomial of `normal_tail`, highest power first.
TAIL_K = 5.0
TAIL = (
    -1.9750205117389054e-11,
    -4.215048810150002e-10,
    -1.1003514880321343e-09,
    2.380938735908965e-09,
    1.0732670653455705e-08,
    -8.83395147619223e-09,
    -7.012796329386927e-08,
    4.0453499469914684e-08,
    4.3632213903968043e-07,
    -3.347456433999717e-07,
    -2.7707520210893634e-06,
    3.979875146352331e-06,
    1.6681654735816092e-05,
    -4.976247516686963e-05,
    -5.9375811494585084e-05,
    0.0005448989960971598,
    -0.0007978693886321235,
    -0.0029933767622323353,
    0.020795066799200485,
    -0.06911863870685579,
    0.16502036617040983,
    -0.3135331566712881,
    0.495305615969976,
    -0.6653825028900568,
    0.769193049750063,
)


def linear(z: Array) -> Array:
    """Return z."""
    return z.copy()


def linear_delta(g: Array, a: Array) -> Array:
    """Turn g = dL/da into dL/dz: f' = 1."""
    return g


def sigmoid(z: Array) -> Array:
    """Return 1 / (1 + e^-z), with an exponent that is never positive."""
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, e) / (1 + e)


def sigmoid_delta(g: Array, a: Array) -> Array:
    """Turn g = dL/da into dL/dz: f' = a (1 - a)."""
    return g * (a * (1 - a))


def relu(z: Array) -> Array:
    """Return max(0, z)."""
    return np.where(z < 0, 0.0, z)


def relu_delta(g: Array, a: Array) -> Array:
    """Turn g = dL/da into dL/dz: f' = 1 where z > 0, else 0."""
    return np.where(a > 0, g, 0.0)


def tanh(z: Array) -> Array:
    """Return tanh z."""
    return np.tanh(z)


def tanh_delta(g: Array, a: Array) -> Array:
    """Turn g = dL/da into dL/dz: f' = 1 - a^2."""
    return g * (1 - a * a)


def softmax(z: Array) -> Array:
    """Return e^z_j / sum_k e^z_k, column by column; of (P, n, m) at each position."""
    e = np.exp(z - z.max(axis=-2, keepdims=True))
    return e / e.sum(axis=-2, keepdims=True)


def softmax_delta(g: Array, a: Array) -> Array:
    """Turn g = dL/da into dL/dz = a (g - sum_k g_k a_k)."""
    return a * (g - (g * a).sum(axis=-2, keepdims=True))


def leaky_relu(z: Array) -> Array:
    """Return z where z >= 0, else z / 100."""
    return np.where(z < 0, LEAKY_SLOPE * z, z)


def leaky_relu_delta(g: Array, a: Array) -> Array:
    """Turn g = dL/da into dL/dz: f' = 1 where z > 0, else 1 / 100."""
    return np.where(a > 0, g, LEAKY_SLOPE * g)


def elu(z: Array) -> Array:
    """Return z where z >= 0, else e^z - 1."""
    return np.where(z >= 0, z, np.expm1(np.minimum(z, 0.0)))


def elu_delta(g: Array, a: Array) -> Array:
    """Turn g = dL/da into dL/dz: f' = 1 where z > 0, else e^z = a + 1."""
    return g * np.where(a > 0, 1.0, a + 1)


def selu(z: Array) -> Array:
    """Return lambda z where z >= 0, else lambda alpha (e^z - 1)."""
    return np.where(z >= 0, SELU_SCALE * z, SELU_SCALE_ALPHA * np.expm1(np.minimum(z, 0.0)))


def selu_delta(g: Array, a: Array) -> Array:
    """Turn g = dL/da into dL/dz: f' = lambda where z > 0, else a + lambda alpha."""
    return g * np.where(a > 0, SELU_SCALE, a + SELU_SCALE_ALPHA)


def normal_tail(x: Array) -> Array:
    """Return Q(x) = 1/2 erfc(x / sqrt 2) = e^{-x^2/2} P(t) / (x + K) with t = (x - K) / (x + K).

    For 0 <= x <= 40; beyond it is 0. P has been fitted, with relative errors below 2^-55.
    """
    series = np.zeros_like(x)
    t = (x - TAIL_K) / (x + TAIL_K)
    for coefficient in TAIL:
        series = series * t + coefficient
    high = x.astype(np.float32).astype(np.float64)  # its square is exact
    power = np.exp(-0.5 * high * high) * np.exp(-0.5 * (x - high) * (x + high))
    return power * (series / (x + TAIL_K))


def gelu(z: Array) -> Array:
    """Return z Phi(z), with Phi the standard normal distribution."""
    x = np.minimum(np.abs(z), 40.0)
    tail = x * normal_tail(x)
    return np.where(z < 0, -tail, z - tail)


def gelu_delta(g: Array, z: Array) -> Array:
    """Turn g = dL/da into dL/dz: f' = Phi(z) + z phi(z)."""
    x = np.clip(z, -40.0, 40.0)
    tail = normal_tail(np.abs(x))
    density = np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)
    return g * (np.where(z < 0, tail, 1 - tail) + x * density)


def gelu_tanh(z: Array) -> Array:
    """Return 1/2 z (1 + tanh(u / 2)) = z sigmoid(u), u = 2 sqrt(2 / pi) (z + 0.044715 z^3)."""
    x = np.clip(z, -40.0, 40.0)
    return np.maximum(z, -40.0) * sigmoid(x * (GELU_LINEAR + GELU_CUBIC * x * x))


def gelu_tanh_delta(g: Array, z: Array) -> Array:
    """Turn g = dL/da into dL/dz: f' = s + z s (1 - s) du/dz with s = sigmoid(u)."""
    x = np.clip(z, -40.0, 40.0)
    u = x * (GELU_LINEAR + GELU_CUBIC * x * x)
    slope = GELU_LINEAR + 3 * GELU_CUBIC * x * x
    return g * (sigmoid(u) + x * sigmoid(u) * sigmoid(-u) * slope)


def silu(z: Array) -> Array:
    """Return z sigmoid(z)."""
    return np.maximum(z, -800.0) * sigmoid(z)


def silu_delta(g: Array, z: Array) -> Array:
    """Turn g = dL/da into dL/dz: f' = s + z s (1 - s) with s = sigmoid(z)."""
    x = np.clip(z, -800.0, 800.0)
    return g * (sigmoid(x) + x * sigmoid(x) * sigmoid(-x))


def softplus(z: Array) -> Array:
    """Return log(1 + e^z), with an exponent that is never positive."""
    return np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z)))


def softplus_delta(g: Array, a: Array) -> Array:
    """Turn g = dL/da into dL/dz: f' = sigmoid(z) = 1 - e^-a."""
    return g * -np.expm1(-a)


def softsign(z: Array) -> Array:
    """Return z / (1 + |z|); -1 and 1 at the infinities."""
    size = np.abs(z)
    return np.where(size > 2.0**60, np.sign(z), z / (1 + size))


def softsign_delta(g: Array, a: Array) -> Array:
    """Turn g = dL/da into dL/dz: f' = 1 / (1 + |z|)^2 = (1 - |a|)^2."""
    return g * (1 - np.abs(a)) ** 2


def hard_sigmoid(z: Array) -> Array:
    """Return max(0, min(1, z / 6 + 1/2))."""
    return np.clip(z / 6 + 0.5, 0.0, 1.0)


def hard_sigmoid_delta(g: Array, a: Array) -> Array:
    """Turn g = dL/da into dL/dz: f' = 1/6 where 0 < a < 1, else 0."""
    return np.where((a > 0) & (a < 1), g * (1 / 6), 0.0)


def hard_tanh(z: Array) -> Array:
    """Return max(-1, min(1, z))."""
    return np.clip(z, -1.0, 1.0)


def hard_tanh_delta(g: Array, a: Array) -> Array:
    """Turn g = dL/da into dL/dz: f' = 1 where -1 < a < 1, else 0."""
    return np.where(np.abs(a) < 1, g, 0.0)


ACTIVATIONS = {
    "linear": (linear, linear_delta),
    "sigmoid": (sigmoid, sigmoid_delta),
    "relu": (relu, relu_delta),
    "tanh": (tanh, tanh_delta),
    "softmax": (softmax, softmax_delta),
    "leaky_relu": (leaky_relu, leaky_relu_delta),
    "elu": (elu, elu_delta),
    "selu": (selu, selu_delta),
    "gelu": (gelu, gelu_delta),
    "gelu_tanh": (gelu_tanh, gelu_tanh_delta),
    "silu": (silu, silu_delta),
    "softplus": (softplus, softplus_delta),
    "softsign": (softsign, softsign_delta),
    "hard_sigmoid": (hard_sigmoid, hard_sigmoid_delta),
    "hard_tanh": (hard_tanh, hard_tanh_delta),
}
# Those whose derivative takes z, not a: it does not follow from a, which falls and rises.
FROM_Z = ("gelu", "gelu_tanh", "silu")
