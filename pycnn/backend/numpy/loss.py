"""Losses: the terms of L, delta, and which classes are right; csrc/loss_template.h.

A loss is the sum over the outputs of its terms, (n_L, m), at each position (P, n, m). p is its
parameter: huber's delta, quantile's q.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pycnn.backend.numpy.activation import sigmoid

if TYPE_CHECKING:
    from pycnn._typing import Array, Flags

# Outputs below this, which only an underflow makes, have its logarithm.
LEAST_FOR_LOG = 2.0**-960


def mse(z: Array, a: Array, y: Array, p: float) -> Array:
    """Return 1/2 (a - y)^2."""
    return 0.5 * (a - y) ** 2


def mse_delta(z: Array, a: Array, y: Array, p: float) -> Array:
    """Return dL/da = a - y."""
    return a - y


def _same_largest(a: Array, y: Array) -> Flags:
    """Tell where the largest output is the largest target's."""
    same: Flags = a.argmax(axis=-2, keepdims=True) == y.argmax(axis=-2, keepdims=True)
    return same


def mse_correct(a: Array, y: Array) -> Array:
    """Return 1 where the largest output is the largest target's, which may be one-hot, else 0.

    One output has no classes, and a sample that has not been observed as a whole is not right.
    """
    right = _same_largest(a, y) & ~np.isnan(y).any(axis=-2, keepdims=True) & (a.shape[-2] > 1)
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
    top = np.arange(z.shape[-2])[:, None] == z.argmax(axis=-2, keepdims=True)
    others, own = np.where(top, 0.0, a), np.where(top, a, 0.0)
    return top, others.sum(axis=-2, keepdims=True) / own.sum(axis=-2, keepdims=True)


def categorical_crossentropy(z: Array, a: Array, y: Array, p: float) -> Array:
    """Return -y_j log a_j, with -log a_j = max_k z_k - z_j + log(1 + odds against)."""
    _, rest = _odds_against(z, a)
    minus_log_a = z.max(axis=-2, keepdims=True) - z + np.log1p(rest)
    return y * np.where(y == 0, 0.0, minus_log_a)


def categorical_crossentropy_delta(z: Array, a: Array, y: Array, p: float) -> Array:
    """Return dL/dz = a sum_k y_k - y, without the cancellation where a is near 1."""
    top, rest = _odds_against(z, a)
    not_a = np.where(top, rest / (1 + rest), 1 - a)
    return a * (y.sum(axis=-2, keepdims=True) - y) - y * not_a


def categorical_crossentropy_correct(a: Array, y: Array) -> Array:
    """Return 1 where the largest output is the largest target's, else 0."""
    return np.broadcast_to(np.where(_same_largest(a, y), 1.0, 0.0), a.shape)


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
    log_a = -(z.max(axis=-2, keepdims=True) - z + np.log1p(rest))
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


def smoothed(loss: str, Y: Array, p: float) -> Array:
    """Return the targets, moved by p towards no preference, for losses that smooth labels.

    Szegedy et al. 2016.
    """
    undecided = {"binary_crossentropy": 0.5, "categorical_crossentropy": 1 / Y.shape[-2]}
    if loss not in undecided or not p:
        return Y
    return (1 - p) * Y + p * undecided[loss]
