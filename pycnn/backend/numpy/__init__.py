"""The NumPy backend: the lecture's formulas as they stand there, a column a sample.

It is what runs where the C core cannot be compiled, and the specification that the core is tested
against. Inside, A^[l] is (n_l, m); outside, a row is a sample.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pycnn._data.arrays import find_not_finite
from pycnn.backend.interface import NotFiniteError, OptimizerSpec, Totals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from pycnn._typing import Array
    from pycnn.backend.interface import (
        Data,
        LayerSpec,
        LossFunction,
        Predictor,
        RowPredictor,
        TrainingState,
    )

__all__ = [
    "compiler",
    "create_plan",
    "evaluate",
    "find_not_finite",
    "gradients",
    "isa",
    "penalty",
    "predict",
    "predict_samples",
    "predictor",
    "row_predictor",
    "threads",
    "trace",
    "train",
]


def isa() -> str:
    """Name the instruction set: NumPy's own business."""
    return "numpy"


def compiler() -> str:
    """Name the compiler: there is none."""
    return "none (NumPy fallback)"


def threads() -> int:
    """Return the most threads that a call will use; those of NumPy's products are its own."""
    return 1


# Rows that `predict` takes through the network together.
PIECE = 1024
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
# Outputs below this, which only an underflow makes, have its logarithm.
LEAST_FOR_LOG = 2.0**-960

# ------------------------------------------------ f(z), and f' from a = f(z) or, some, from z


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
    """Return e^z_j / sum_k e^z_k, column by column."""
    e = np.exp(z - z.max(axis=0))
    return e / e.sum(axis=0)


def softmax_delta(g: Array, a: Array) -> Array:
    """Turn g = dL/da into dL/dz = a (g - sum_k g_k a_k)."""
    return a * (g - (g * a).sum(axis=0))


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

# ----------------------------------------- L's terms, delta, and which classes are right
# A loss is the sum over the outputs of its terms, (n_L, m). p is its parameter: huber's delta,
# quantile's q.


def mse(z: Array, a: Array, y: Array, p: float) -> Array:
    """Return 1/2 (a - y)^2."""
    return 0.5 * (a - y) ** 2


def mse_delta(z: Array, a: Array, y: Array, p: float) -> Array:
    """Return dL/da = a - y."""
    return a - y


def mse_correct(a: Array, y: Array) -> Array:
    """Return 1 where the largest output is the largest target's, which may be one-hot, else 0.

    One output has no classes, and a sample that has not been observed as a whole is not right.
    """
    right = (a.argmax(axis=0) == y.argmax(axis=0)) & ~np.isnan(y).any(axis=0) & (len(a) > 1)
    return np.broadcast_to(np.where(right, 1.0, 0.0), a.shape)


def no_correct(a: Array, y: Array) -> Array:
    """Return zeros: regression has no classes."""
    return np.zeros(a.shape)


def binary_crossentropy(z: Array, a: Array, y: Array, p: float) -> Array:
    """Return -[y log a + (1 - y) log(1 - a)], computed from the logit z."""
    return np.where(z > 0, z * (1 - y), -z * y) + np.log1p(np.exp(-np.abs(z)))


def binary_crossentropy_delta(z: Array, a: Array, y: Array, p: float) -> Array:
    """Return dL/dz = a - y = (1 - y) sigmoid(z) - y sigmoid(-z), without the cancellation."""
    return (1 - y) * sigmoid(z) - y * sigmoid(-z)


def binary_crossentropy_correct(a: Array, y: Array) -> Array:
    """Return 1 for outputs on the target's side of 1/2, else 0."""
    return np.where((a > 0.5) == (y > 0.5), 1.0, 0.0)


def _odds_against(z: Array, a: Array) -> tuple[Array, Array]:
    """Return t = argmax_j z_j as a mask, and sum_{j != t} a_j / a_t."""
    top = np.arange(len(z))[:, None] == z.argmax(axis=0)
    return top, np.where(top, 0.0, a).sum(axis=0) / np.where(top, a, 0.0).sum(axis=0)


def categorical_crossentropy(z: Array, a: Array, y: Array, p: float) -> Array:
    """Return -y_j log a_j, with -log a_j = max_k z_k - z_j + log(1 + odds against)."""
    _, rest = _odds_against(z, a)
    minus_log_a = z.max(axis=0) - z + np.log1p(rest)
    return y * np.where(y == 0, 0.0, minus_log_a)


def categorical_crossentropy_delta(z: Array, a: Array, y: Array, p: float) -> Array:
    """Return dL/dz = a sum_k y_k - y, without the cancellation where a is near 1."""
    top, rest = _odds_against(z, a)
    not_a = np.where(top, rest / (1 + rest), 1 - a)
    return a * (y.sum(axis=0) - y) - y * not_a


def categorical_crossentropy_correct(a: Array, y: Array) -> Array:
    """Return 1 where the largest output is the largest target's, else 0."""
    right = a.argmax(axis=0) == y.argmax(axis=0)
    return np.broadcast_to(np.where(right, 1.0, 0.0), a.shape)


def mae(z: Array, a: Array, y: Array, p: float) -> Array:
    """Return |a - y|."""
    return np.abs(a - y)


def mae_delta(z: Array, a: Array, y: Array, p: float) -> Array:
    """Return dL/da = the sign of a - y."""
    return np.sign(a - y)


def huber(z: Array, a: Array, y: Array, p: float) -> Array:
    """Return e^2 / 2 where |e| <= p, else p (|e| - p / 2), for e = a - y."""
    size = np.abs(a - y)
    return np.where(size <= p, 0.5 * size * size, p * (size - 0.5 * p))


def huber_delta(z: Array, a: Array, y: Array, p: float) -> Array:
    """Return dL/da = a - y, held to -p ... p."""
    return np.clip(a - y, -p, p)


def poisson(z: Array, a: Array, y: Array, p: float) -> Array:
    """Return a - y log a."""
    return a - y * np.log(np.maximum(a, LEAST_FOR_LOG))


def poisson_delta(z: Array, a: Array, y: Array, p: float) -> Array:
    """Return dL/da = 1 - y / a."""
    return 1 - y / np.maximum(a, LEAST_FOR_LOG)


def hinge(z: Array, a: Array, y: Array, p: float) -> Array:
    """Return max(0, 1 - y a)."""
    return np.maximum(1 - y * a, 0.0)


def hinge_delta(z: Array, a: Array, y: Array, p: float) -> Array:
    """Return dL/da = -y where 1 - y a > 0, else 0."""
    return np.where(1 - y * a > 0, -y, 0.0)


def hinge_correct(a: Array, y: Array) -> Array:
    """Return 1 for outputs on the target's side of 0, else 0."""
    return np.where((a > 0) == (y > 0), 1.0, 0.0)


def quantile(z: Array, a: Array, y: Array, p: float) -> Array:
    """Return p (y - a) where a < y, else (1 - p) (a - y)."""
    return np.where(a < y, p, 1 - p) * np.abs(a - y)


def quantile_delta(z: Array, a: Array, y: Array, p: float) -> Array:
    """Return dL/da = -p where a < y, 1 - p where a > y."""
    return np.where(a < y, -p, np.where(a > y, 1 - p, 0.0))


def kl_divergence(z: Array, a: Array, y: Array, p: float) -> Array:
    """Return y log(y / a), computed from the logits as the cross-entropy is."""
    _, rest = _odds_against(z, a)
    log_a = -(z.max(axis=0) - z + np.log1p(rest))
    log_y = np.log(np.where(y < LEAST_FOR_LOG, 1.0, y))
    return y * np.where(y == 0, 0.0, log_y - log_a)


LOSSES = {
    "mse": (mse, mse_delta, mse_correct),
    "binary_crossentropy": (
        binary_crossentropy,
        binary_crossentropy_delta,
        binary_crossentropy_correct,
    ),
    "categorical_crossentropy": (
        categorical_crossentropy,
        categorical_crossentropy_delta,
        categorical_crossentropy_correct,
    ),
    "mae": (mae, mae_delta, no_correct),
    "huber": (huber, huber_delta, no_correct),
    "poisson": (poisson, poisson_delta, no_correct),
    "hinge": (hinge, hinge_delta, hinge_correct),
    "quantile": (quantile, quantile_delta, no_correct),
    "kl_divergence": (
        kl_divergence,
        categorical_crossentropy_delta,  # the targets' own entropy does not depend on z
        categorical_crossentropy_correct,
    ),
}
# Those whose delta is dL/dz already, where the others' is dL/da.
DELTA_IS_DZ = ("binary_crossentropy", "categorical_crossentropy", "kl_divergence")

# ------------------------------------------------------------------ the network


class Plan(NamedTuple):
    """Shapes and functions of a network; no parameters."""

    layers: tuple[LayerSpec, ...]
    loss: str
    loss_parameter: float
    loss_function: LossFunction | None

    @property
    def parameter_count(self) -> int:
        """Length of theta without the statistics behind it."""
        return sum(_count(layer, fan_in) for layer, fan_in in self.widths())

    def widths(self) -> Iterator[tuple[LayerSpec, int]]:
        """Yield each layer with its number of inputs."""
        for layer in self.layers:
            yield layer, layer.input_shape[0]

    def parts(self, theta: Array) -> Iterator[tuple[LayerSpec, Array, Array]]:
        """Yield each layer with its part of theta and its statistics, as views.

        The parameters are W (n_l, n_{l-1}) and b, or gamma and beta.
        """
        at, counted = 0, self.parameter_count
        for layer, fan_in in self.widths():
            end = at + _count(layer, fan_in)
            kept = sum(math.prod(t.shape) for t in layer.tensors if t.role == "statistic")
            yield layer, theta[at:end], theta[counted : counted + kept]
            at, counted = end, counted + kept


def _count(layer: LayerSpec, fan_in: int) -> int:
    return sum(math.prod(t.shape) for t in layer.tensors if t.role != "statistic")


def create_plan(
    layers: Sequence[LayerSpec],
    loss: str,
    loss_parameter: float = 0.0,
    loss_function: LossFunction | None = None,
) -> Plan:
    """Return the plan of a network."""
    return Plan(tuple(layers), loss, loss_parameter, loss_function)


# ------------------------------------------------- layers: Z from A^[l-1], and what lies behind
#
# Each `*_forward` returns Z and a note for `*_backward`, which puts the gradients' sums over the
# samples into `out` and returns dL/dA^[l-1]. `p` is the layer's part of theta.


class Passing(NamedTuple):
    """A mini-batch that is trained on: where its dropout masks are drawn from."""

    key: int
    position: int


def _weights(p: Array, fan_in: int) -> tuple[Array, Array]:
    """Return W, (n_l, n_{l-1}), and b, (n_l, 1), as views."""
    units = p.size // (fan_in + 1)
    return p[: units * fan_in].reshape(units, fan_in), p[units * fan_in :].reshape(-1, 1)


def dense_forward(
    layer: LayerSpec, number: int, p: Array, statistics: Array, a: Array, training: Passing | None
) -> tuple[Array, Any]:
    """Return W A + b (lecture, equation 1)."""
    W, b = _weights(p, len(a))
    return W @ a + b, None


def dense_backward(
    layer: LayerSpec, p: Array, note: Any, delta: Array, a: Array, out: Array
) -> Array:
    """Put delta A^T and sum delta into `out`; return W^T delta (lecture, equations 3 and 4)."""
    W, _ = _weights(p, len(a))
    dW, db = _weights(out, len(a))
    dW[:] = delta @ a.T
    db[:] = delta.sum(axis=1, keepdims=True)
    return W.T @ delta


def random_bits(key: NDArray[np.uint64], counter: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return 64 random bits for each counter: SplitMix64's finalizer; csrc/normalization.h."""
    x = key + (counter + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def dropout_mask(
    key: int, number: int, position: int, rate: float, units: int, samples: int
) -> Array:
    """Return 0 for a share `rate` of all, else 1 / (1 - rate), (units, samples)."""
    layer = random_bits(np.array([key], np.uint64), np.array([number], np.uint64))
    sample = random_bits(layer, np.arange(position, position + samples, dtype=np.uint64))
    draw = random_bits(sample, np.arange(units, dtype=np.uint64)[:, None]) >> np.uint64(11)
    return np.where(draw < np.uint64(int(rate * 2**53)), 0.0, 1 / (1 - rate))


def dropout_forward(
    layer: LayerSpec, number: int, p: Array, statistics: Array, a: Array, training: Passing | None
) -> tuple[Array, Any]:
    """Return A with a share of its numbers 0 and the others larger (Srivastava et al. 2014)."""
    if training is None:
        return a.copy(), None
    mask = dropout_mask(training.key, number, training.position, layer.settings["rate"], *a.shape)
    return a * mask, mask


def dropout_backward(
    layer: LayerSpec, p: Array, note: Any, delta: Array, a: Array, out: Array
) -> Array:
    """Return delta, 0 where A was dropped."""
    return delta if note is None else delta * note


def batch_norm_forward(
    layer: LayerSpec, number: int, p: Array, statistics: Array, a: Array, training: Passing | None
) -> tuple[Array, Any]:
    """Return gamma x^ + beta, x^ normalized over the samples (Ioffe & Szegedy 2015)."""
    gamma, beta = p.reshape(2, -1, 1)
    mean, variance = statistics.reshape(2, -1, 1)
    if training is not None:
        mean, variance = a.mean(axis=1, keepdims=True), a.var(axis=1, keepdims=True)
    inverse = 1 / np.sqrt(variance + layer.settings["epsilon"])
    normalized = (a - mean) * inverse
    return gamma * normalized + beta, (normalized, inverse, mean, variance, training is not None)


def batch_norm_backward(
    layer: LayerSpec, p: Array, note: Any, delta: Array, a: Array, out: Array
) -> Array:
    """Put the gradients of gamma and beta into `out`; return dL/dA."""
    gamma, _ = p.reshape(2, -1, 1)
    normalized, inverse, _, _, training = note
    product = (delta * normalized).sum(axis=1, keepdims=True)
    total = delta.sum(axis=1, keepdims=True)
    out[:] = np.concatenate((product, total)).ravel()
    share = 1 / a.shape[1] if training else 0.0
    return gamma * inverse * (delta - share * total - normalized * (share * product))


def batch_norm_remember(layer: LayerSpec, statistics: Array, note: Any, samples: int) -> None:
    """Let the statistics have a share of the mini-batch's, the variance as an unbiased estimate."""
    if samples > 1:
        _, _, mean, variance, _ = note
        seen = np.concatenate((mean, variance * (samples / (samples - 1)))).ravel()
        statistics[:] = (1 - layer.settings["momentum"]) * statistics + layer.settings[
            "momentum"
        ] * seen


def layer_norm_forward(
    layer: LayerSpec, number: int, p: Array, statistics: Array, a: Array, training: Passing | None
) -> tuple[Array, Any]:
    """Return gamma x^ + beta, x^ normalized over a sample's units (Ba et al. 2016)."""
    gamma, beta = p.reshape(2, -1, 1)
    rows = np.ascontiguousarray(a.T)  # a sample's sum must not depend on those beside it
    inverse = 1 / np.sqrt(rows.var(axis=1) + layer.settings["epsilon"])
    normalized = (a - rows.mean(axis=1)) * inverse
    return gamma * normalized + beta, (normalized, inverse)


def layer_norm_backward(
    layer: LayerSpec, p: Array, note: Any, delta: Array, a: Array, out: Array
) -> Array:
    """Put the gradients of gamma and beta into `out`; return dL/dA."""
    gamma, _ = p.reshape(2, -1, 1)
    normalized, inverse = note
    out[:] = np.concatenate(((delta * normalized).sum(axis=1), delta.sum(axis=1)))
    g = gamma * delta
    return inverse * (g - g.mean(axis=0) - normalized * (g * normalized).mean(axis=0))


LAYERS: dict[str, tuple[Callable[..., tuple[Array, Any]], Callable[..., Array]]] = {
    "dense": (dense_forward, dense_backward),
    "dropout": (dropout_forward, dropout_backward),
    "batch_norm": (batch_norm_forward, batch_norm_backward),
    "layer_norm": (layer_norm_forward, layer_norm_backward),
}

# ------------------------------------------------------------------ a pass through all layers


class Pass(NamedTuple):
    """A forward pass: Z^[1..L], A^[0..L], and each layer's note for the way back."""

    Z: list[Array]
    A: list[Array]
    notes: list[Any]


def _forward(plan: Plan, theta: Array, X: Array, training: Passing | None = None) -> Pass:
    """Take the rows of X through the layers (lecture, equations 1 and 2)."""
    way = Pass([], [X.T], [])
    for number, (layer, p, statistics) in enumerate(plan.parts(theta)):
        f, _ = ACTIVATIONS[layer.activation]
        forward, _ = LAYERS[layer.kind]
        z, note = forward(layer, number, p, statistics, way.A[-1], training)
        way.Z.append(z)
        way.A.append(f(z))
        way.notes.append(note)
    return way


def _backward(
    plan: Plan, theta: Array, way: Pass, slopes: Array, w: Array, grad: Array
) -> list[Array]:
    """Return delta^[1..L]; put the gradients' sums over the samples into `grad`.

    `slopes` is what the loss's `*_delta` says.
    """
    L = len(plan.layers)
    g = np.where(w == 0, 0.0, w * slopes)
    delta = [g] * L
    parts, gradients = list(plan.parts(theta)), list(plan.parts(grad))
    for l in reversed(range(L)):  # noqa: E741 - the lecture's l, counted from 0
        layer, p, _ = parts[l]
        if l < L - 1 or plan.loss not in DELTA_IS_DZ:
            _, f_delta = ACTIVATIONS[layer.activation]
            g = f_delta(g, way.Z[l] if layer.activation in FROM_Z else way.A[l + 1])
        delta[l] = g
        _, backward = LAYERS[layer.kind]
        g = backward(layer, p, way.notes[l], g, way.A[l], gradients[l][1])
    return delta


def _score(plan: Plan, way: Pass, Y: Array, w: Array) -> tuple[Totals, Array]:
    """Return the sums over the samples, and the loss's slopes."""
    z, a = way.Z[-1], way.A[-1]
    if plan.loss_function is not None:
        losses, slopes = plan.loss_function(a.T.copy(), Y.T.copy())
        slopes, right = slopes.T, np.zeros(len(losses))
    else:
        loss, loss_delta, correct = LOSSES[plan.loss]
        seen = ~np.isnan(Y)  # what has not been observed does not count
        p = plan.loss_parameter
        losses = np.where(seen, loss(z, a, Y, p), 0.0).sum(axis=0)
        slopes = np.where(seen, loss_delta(z, a, Y, p), 0.0)
        right = np.where(seen, correct(a, Y), 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    weighted = np.where(w == 0, 0.0, w * losses)
    return Totals(float(weighted.sum()), float(w.sum()), float((w * right).sum())), slopes


def _targets(plan: Plan, data: Data) -> tuple[Array, Array]:
    """Return Y, (n_L, m), smoothed where the loss says so, and the weights, (m,)."""
    weight = np.ones(data.rows) if data.weight is None else data.weight
    units = plan.layers[-1].output_shape[0]
    Y = data.one_hot(units).T
    weight = np.where(np.isnan(Y).all(axis=0), 0.0, weight)  # without any target: not there
    shares = {"binary_crossentropy": 0.5, "categorical_crossentropy": 1 / units}
    if plan.loss in shares and plan.loss_parameter:  # Szegedy et al. 2016
        Y = (1 - plan.loss_parameter) * Y + plan.loss_parameter * shares[plan.loss]
    return Y, weight


@np.errstate(all="ignore")
def predict(plan: Plan, theta: Array, x: Array, out: Array) -> bool:
    """Put the network's output for each row of `x` into `out`; return whether `x` is finite.

    Where it is not, `out` is not to be used.
    """
    finite = find_not_finite(x) == x.size
    if finite:
        _predict(plan, theta, x, out)
    return finite


@np.errstate(all="ignore")
def predict_samples(
    plan: Plan, theta: Array, x: Array, keys: NDArray[np.uint64], first: int, out: Array
) -> None:
    """Put the outputs with dropout left on into `out`, (draws, rows, n_L), by a key a draw.

    `first` is the number of the first row of `x`, which is finite.
    """
    for key, drawn in zip(keys, out, strict=True):
        _predict(plan, theta, x, drawn, Passing(int(key), first))


def _predict(
    plan: Plan, theta: Array, x: Array, out: Array, dropping: Passing | None = None
) -> None:
    """Put the network's output for each row of `x` into `out`; with `dropping`, dropout drops.

    Some rows at a time, between which Ctrl-C is answered.
    """
    for first in range(0, len(x), PIECE):
        some = slice(first, first + PIECE)
        drops = None if dropping is None else Passing(dropping.key, dropping.position + first)
        _predict_piece(plan, theta, x[some], out[some], drops)


def _predict_piece(
    plan: Plan, theta: Array, x: Array, out: Array, dropping: Passing | None
) -> None:
    """Take some rows through the network.

    Each row is multiplied on its own, (1, n_{l-1}) @ (n_{l-1}, n_l): a product of the whole matrix
    would make a row's last bits depend on the rows beside it.
    """
    a = x.T
    for number, (layer, p, statistics) in enumerate(plan.parts(theta)):
        f, _ = ACTIVATIONS[layer.activation]
        if layer.kind == "dense":
            W, b = _weights(p, len(a))
            z = (np.matmul(a.T[:, None, :], W.T)[:, 0, :] + b[:, 0]).T
        else:
            forward, _ = LAYERS[layer.kind]
            drops = dropping if layer.kind == "dropout" else None
            z, _ = forward(layer, number, p, statistics, a, drops)
        a = f(z)
    out[:] = a.T


def predictor(plan: Plan, theta: Array, batch: int, outputs: int) -> Predictor:
    """Return a callable that predicts `batch` rows with the least delay.

    It raises ValueError where they are not contiguous.
    """
    result = np.zeros((batch, outputs))

    def predict_bound(x: Array) -> Array:
        if not x.flags.c_contiguous:
            raise ValueError("ndarray is not C-contiguous")
        _predict(plan, theta, x.reshape(batch, -1), result)
        return result

    return predict_bound


def row_predictor(plan: Plan, theta: Array, outputs: int) -> RowPredictor:
    """Return a callable that predicts one row: None where that is not contiguous or not finite."""

    def predict_row(x: Array) -> Array | None:
        result = np.empty((1, outputs))
        return result if x.flags.c_contiguous and predict(plan, theta, x, result) else None

    return predict_row


@np.errstate(all="ignore")
def evaluate(plan: Plan, theta: Array, data: Data) -> Totals:
    """Return the sums of loss, weight and right answers over the data."""
    totals, _ = _score(plan, _forward(plan, theta, data.x), *_targets(plan, data))
    return totals._replace(loss=totals.loss + totals.weight * penalty(plan, theta))


@np.errstate(all="ignore")
def gradients(
    plan: Plan,
    theta: Array,
    data: Data,
    grad: Array,
    dropout_keys: NDArray[np.uint64] | None = None,
) -> Totals:
    """Put the mean loss's gradient over the data into `grad` (lecture, equations 3 and 4).

    With `dropout_keys`, (1,), as in training on the data as one mini-batch.
    """
    way = _forward(
        plan, theta, data.x, None if dropout_keys is None else Passing(int(dropout_keys[0]), 0)
    )
    Y, w = _targets(plan, data)
    totals, slopes = _score(plan, way, Y, w)
    _backward(plan, theta, way, slopes, w, grad)
    return _mean_gradient(plan, theta, grad, totals)


def _mean_gradient(plan: Plan, theta: Array, grad: Array, totals: Totals) -> Totals:
    """Make of `grad`, a sum over samples, the mean's, and let it and the loss have the penalty."""
    if not totals.weight:
        grad[:] = 0.0
        return totals
    grad /= totals.weight
    for (layer, p, _), (_, g, _) in zip(plan.parts(theta), plan.parts(grad), strict=True):
        if layer.settings.get("l1", 0.0) or layer.settings.get("l2", 0.0):
            W, dW = p[: -layer.output_shape[0]], g[: -layer.output_shape[0]]
            dW += layer.settings.get("l1", 0.0) * np.sign(W) + layer.settings.get("l2", 0.0) * W
    return totals._replace(loss=totals.loss + totals.weight * penalty(plan, theta))


def penalty(plan: Plan, theta: Array) -> float:
    """Return what the loss includes for the size of the weights: l1 sum |w| + l2/2 sum w^2."""
    return sum(
        layer.settings.get("l1", 0.0) * float(np.abs(p[: -layer.output_shape[0]]).sum())
        + 0.5 * layer.settings.get("l2", 0.0) * float((p[: -layer.output_shape[0]] ** 2).sum())
        for layer, p, _ in plan.parts(theta)
        if layer.settings.get("l1", 0.0) or layer.settings.get("l2", 0.0)
    )


# ------------------------------------------------------------------ optimizers; csrc/optimizer.c
#
# Each changes theta by the gradient g and remembers what it needs in its slots, in place.


def sgd(o: OptimizerSpec, theta: Array, g: Array, slots: Array, rate: float, t: int) -> None:
    """Descend, with momentum (Polyak 1964) or Nesterov's (Sutskever et al. 2013)."""
    if not o.momentum:
        theta -= rate * g
        return
    velocity = slots[0]
    velocity[:] = o.momentum * velocity + g
    theta -= rate * (g + o.momentum * velocity if o.nesterov else velocity)


def adam(o: OptimizerSpec, theta: Array, g: Array, slots: Array, rate: float, t: int) -> None:
    """Adam (Kingma & Ba 2015), with decoupled weight decay (Loshchilov & Hutter 2019)."""
    mean, square = slots
    mean[:] = o.beta_1 * mean + (1 - o.beta_1) * g
    square[:] = o.beta_2 * square + (1 - o.beta_2) * g * g
    theta *= 1 - rate * o.weight_decay
    corrected = mean / (1 - o.beta_1**t)
    theta -= rate * corrected / (np.sqrt(square / (1 - o.beta_2**t)) + o.epsilon)


def rmsprop(o: OptimizerSpec, theta: Array, g: Array, slots: Array, rate: float, t: int) -> None:
    """RMSprop (Hinton 2012), centered or not (Graves 2013)."""
    square = slots[0]
    square[:] = o.beta_2 * square + (1 - o.beta_2) * g * g
    variance = square
    if o.centered:
        mean = slots[1]
        mean[:] = o.beta_2 * mean + (1 - o.beta_2) * g
        variance = np.maximum(square - mean * mean, 0.0)
    direction = g / (np.sqrt(variance) + o.epsilon)
    if o.momentum:
        velocity = slots[-1]
        velocity[:] = o.momentum * velocity + direction
        direction = velocity
    theta -= rate * direction


def adagrad(o: OptimizerSpec, theta: Array, g: Array, slots: Array, rate: float, t: int) -> None:
    """Adagrad (Duchi et al. 2011)."""
    slots[0] += g * g
    theta -= rate * g / (np.sqrt(slots[0]) + o.epsilon)


def rprop(o: OptimizerSpec, theta: Array, g: Array, slots: Array, rate: float, t: int) -> None:
    """iRprop- (Igel & Huesken 2000)."""
    before, step = slots
    if t == 1:
        step[:] = rate
    same = before * g
    step *= np.where(same > 0, o.increase, np.where(same < 0, o.decrease, 1.0))
    np.clip(step, o.min_step, o.max_step, out=step)
    before[:] = np.where(same < 0, 0.0, g)
    theta -= np.sign(before) * step


OPTIMIZERS = {f.__name__: f for f in (sgd, adam, rmsprop, adagrad, rprop)}


def _norms(x: Array, axis: int | None = None) -> tuple[Array, Array, Array]:
    """Return x, its Euclidean norms, and the power of two that both have been multiplied by.

    That is 1, but where the square of a norm overflows.
    """
    square = (x * x).sum(axis=axis, keepdims=True)
    shrunk = np.where(np.isinf(square), 2.0**-600, 1.0)
    if (shrunk < 1).any():
        x = x * shrunk
        square = (x * x).sum(axis=axis, keepdims=True)
    return x, np.sqrt(square), shrunk


def _hold(most: float, x: Array, norms: Array, shrunk: Array) -> Array:
    """Return what `_norms` has returned held to norms of `most` at most."""
    return x * np.where(norms > most * shrunk, most / norms, 1 / shrunk)


def _clip(o: OptimizerSpec, grad: Array) -> tuple[Array, float]:
    """Return the gradient held to +-clip_value, then to clip_norm (Pascanu et al. 2013).

    And, with a clip_norm, its norm in between.
    """
    if o.clip_value:
        grad = np.clip(grad, -o.clip_value, o.clip_value)
    if not o.clip_norm:
        return grad, 0.0
    grad, norm, shrunk = _norms(grad)
    return _hold(o.clip_norm, grad, norm, shrunk), float(norm[0] / shrunk[0])


@np.errstate(all="ignore")
def trace(
    plan: Plan, theta: Array, data: Data, grad: Array, z: Array, a: Array, delta: Array
) -> Totals:
    """As `gradients`, and put Z, A and delta of each layer, one after the other, into the rest."""
    way = _forward(plan, theta, data.x)
    Y, w = _targets(plan, data)
    totals, slopes = _score(plan, way, Y, w)
    D = _backward(plan, theta, way, slopes, w, grad)
    for out, parts in ((z, way.Z), (a, way.A[1:]), (delta, D)):
        np.concatenate([part.ravel() for part in parts], out=out)
    return _mean_gradient(plan, theta, grad, totals)


def _constrain(plan: Plan, theta: Array) -> None:
    """Scale the weights of each unit down to its layer's max_norm (Srivastava et al. 2014)."""
    for (layer, p, _), (_, fan_in) in zip(plan.parts(theta), plan.widths(), strict=True):
        if layer.settings.get("max_norm", 0.0):
            W, _ = _weights(p, fan_in)
            W[:] = _hold(layer.settings.get("max_norm", 0.0), *_norms(W, axis=1))


def _remember(plan: Plan, theta: Array, way: Pass) -> None:
    """Let the statistics behind theta's parameters have the mini-batch's."""
    for (layer, _, statistics), note in zip(plan.parts(theta), way.notes, strict=True):
        if layer.kind == "batch_norm":
            batch_norm_remember(layer, statistics, note, way.A[0].shape[1])


@np.errstate(all="ignore")
def train(plan: Plan, theta: Array, data: Data, state: TrainingState, max_steps: int) -> int:
    """Do up to `max_steps` steps of training; return how many were done.

    Raises
    ------
    NotFiniteError
        Before the update of a mini-batch whose loss is not finite.
    """
    grad = np.empty(plan.parameter_count)
    optimizer = state.optimizer or OptimizerSpec("sgd")
    update = OPTIMIZERS[optimizer.kind]
    samples, steps = data.rows, 0
    while steps < max_steps and state.epoch < state.epochs:
        end = min(state.position + state.batch_size, samples)
        rows = slice(state.position, end)
        batch = data.take(rows if state.order is None else state.order[state.epoch, rows])
        key = 0 if state.dropout_keys is None else int(state.dropout_keys[state.epoch])
        way = _forward(plan, theta, batch.x, Passing(key, state.sample_offset + state.position))
        Y, w = _targets(plan, batch)
        totals, slopes = _score(plan, way, Y, w)
        _backward(plan, theta, way, slopes, w, grad)
        totals = _mean_gradient(plan, theta, grad, totals)
        if not np.isfinite(totals.loss):
            raise NotFiniteError(steps)
        rate = state.learning_rate
        if state.learning_rates is not None:
            rate = float(state.learning_rates[steps])
        after, slots, updates, norm = theta.copy(), state.slots.copy(), state.updates, 0.0
        if totals.weight > 0:
            updates += 1
            g, norm = _clip(optimizer, grad)
            update(optimizer, after[: plan.parameter_count], g, slots, rate, updates)
            _constrain(plan, after)
            _remember(plan, after, way)
        # The whole step, or nothing of it: up to the loop's end nothing is called, and Python looks
        # for signals in calls.
        theta[:], state.slots[:], state.updates = after, slots, updates
        state.totals[state.epoch] += totals
        if state.norms is not None:
            state.norms[state.epoch] += norm
        state.position = end
        if end == samples:
            state.position = 0
            state.epoch += 1
        steps += 1
        state.steps += 1
    return steps
