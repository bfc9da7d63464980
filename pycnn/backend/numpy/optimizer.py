"""Optimizers, and the norms that gradients and weights are held to; csrc/optimizer_template.h.

An optimizer changes theta by the gradient g and remembers what it needs in its slots, in place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pycnn._typing import Array
    from pycnn.backend.interface import OptimizerSpec


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


def norms(x: Array, axis: int | None = None) -> tuple[Array, Array, Array]:
    """Return x, its Euclidean norms, and the power of two that both have been multiplied by.

    That is 1, but where the square of a norm overflows.
    """
    square = (x * x).sum(axis=axis, keepdims=True)
    shrunk = np.where(np.isinf(square), 2.0**-600, 1.0)
    if (shrunk < 1).any():
        x = x * shrunk
        square = (x * x).sum(axis=axis, keepdims=True)
    return x, np.sqrt(square), shrunk


def hold(most: float, x: Array, norms: Array, shrunk: Array) -> Array:
    """Return what `_norms` has returned held to norms of `most` at most."""
    return x * np.where(norms > most * shrunk, most / norms, 1 / shrunk)


def clip(o: OptimizerSpec, grad: Array) -> tuple[Array, float]:
    """Return the gradient held to +-clip_value, then to clip_norm (Pascanu et al. 2013).

    And, with a clip_norm, its norm in between.
    """
    if o.clip_value:
        grad = np.clip(grad, -o.clip_value, o.clip_value)
    if not o.clip_norm:
        return grad, 0.0
    grad, norm, shrunk = norms(grad)
    return hold(o.clip_norm, grad, norm, shrunk), float(norm[0] / shrunk[0])
