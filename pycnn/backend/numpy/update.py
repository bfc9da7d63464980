"""From a gradient's sums over samples to a step: penalty, clips, the optimizer; csrc/update.c."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pycnn.backend.interface import OptimizerSpec
from pycnn.backend.numpy.optimizer import OPTIMIZERS, clip, hold, norms

if TYPE_CHECKING:
    from pycnn._typing import Array
    from pycnn.backend.numpy.plan import Plan


def penalty(plan: Plan, theta: Array) -> float:
    """Return what the loss includes for the size of the weights: l1 sum |w| + l2/2 sum w^2."""
    total = 0.0
    for layer in plan.leaves:
        l1, l2 = layer.setting("l1"), layer.setting("l2")
        for W in layer.weights(theta) if l1 or l2 else ():
            total += l1 * float(np.abs(W).sum()) + 0.5 * l2 * float((W**2).sum())
    return total


def mean_gradient(plan: Plan, theta: Array, grad: Array, weight: float) -> None:
    """Make of `grad`, a sum over samples, the mean's, with the penalty's."""
    if not weight:
        grad[:] = 0.0
        return
    grad /= weight
    for layer in plan.leaves:
        l1, l2 = layer.setting("l1"), layer.setting("l2")
        if l1 or l2:
            for W, dW in zip(layer.weights(theta), layer.weights(grad), strict=True):
                dW += l1 * np.sign(W) + l2 * W


def constrain(plan: Plan, theta: Array) -> None:
    """Scale the weights of each unit down to its layer's max_norm (Srivastava et al. 2014)."""
    for layer in plan.leaves:
        if most := layer.setting("max_norm"):
            for W in layer.weights(theta):
                rows = W.reshape(len(W), -1)
                rows[:] = hold(most, *norms(rows, axis=1))


def step(
    plan: Plan,
    theta: Array,
    sums: Array,
    weight: float,
    optimizer: OptimizerSpec | None,
    slots: Array,
    rate: float,
    number: int,
) -> float:
    """Do step `number`, 1 ..., by a gradient's sums over samples; return the norm that is clipped.

    The buffers change: theta, the slots, and the sums, which become the mean's.
    """
    chosen = optimizer or OptimizerSpec("sgd")
    mean_gradient(plan, theta, sums, weight)
    held, norm = clip(chosen, sums)
    descend = OPTIMIZERS[chosen.kind]
    descend(chosen, theta[: plan.parameter_count], held, slots, rate, number)
    constrain(plan, theta)
    return norm
