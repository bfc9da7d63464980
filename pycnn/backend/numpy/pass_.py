"""A mini-batch's way through the network: forward, the loss, and backward; csrc/pass.c."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pycnn.backend.interface import Totals, up_to_lengths
from pycnn.backend.numpy.layer import Activations, backward_through, forward_through
from pycnn.backend.numpy.loss import DELTA_IS_DZ, LOSSES, smoothed

if TYPE_CHECKING:
    from pycnn._typing import Array
    from pycnn.backend.interface import Data
    from pycnn.backend.numpy.layer import BatchContext
    from pycnn.backend.numpy.plan import Plan


class Targets(NamedTuple):
    """Y, (P, n, m), and the weights, (P, m), at each of P positions: one where there are none."""

    Y: Array
    weight: Array


class BackwardPass(NamedTuple):
    """What `backward` returns: the totals, the activations, delta^[1..L], and dL/dA^[0]."""

    totals: Totals
    activations: Activations
    delta: list[Array]
    below: Array


def load_targets(plan: Plan, data: Data) -> Targets:
    """Return targets, smoothed where the loss says so, and weights."""
    P = plan.positions
    Y = data.one_hot(plan.units).reshape(data.rows, P, plan.units).transpose(1, 2, 0)
    weight = np.ones(data.rows) if data.weight is None else data.weight.T
    weight = np.broadcast_to(weight, (P, data.rows))
    weight = np.where(np.isnan(Y).all(axis=1), 0.0, weight)  # without any target: not there
    if data.lengths is not None and plan.is_sequence:
        weight = np.where(np.arange(P)[:, None] < data.lengths, weight, 0.0)
    return Targets(smoothed(plan.loss, Y, plan.loss_parameter), weight)


def forward(plan: Plan, theta: Array, data: Data, context: BatchContext) -> Activations:
    """Take the samples through the layers."""
    states = None if data.state is None else data.state.T  # a view: it is changed in place
    context = context._replace(lengths=data.lengths, states=states)
    x = up_to_lengths(data.x, data.lengths, plan.input_positions)
    return forward_through(plan.layers, theta, x.T, context)


def score(plan: Plan, activations: Activations, targets: Targets) -> tuple[Totals, Array]:
    """Return the sums over the samples, without the penalty, and the loss's slopes."""
    Y, w = targets
    shape = plan.positions, plan.units, -1
    z, a = activations.Z[-1].reshape(shape), activations.A[-1].reshape(shape)
    if plan.loss_function is not None:
        shown = -1, *plan.output_shape
        outputs, wanted = (each.transpose(2, 0, 1).reshape(shown).copy() for each in (a, Y))
        losses, slopes = plan.loss_function(outputs, wanted)
        losses = losses.reshape(-1, plan.positions).T
        slopes = slopes.reshape(-1, plan.positions, plan.units).transpose(1, 2, 0)
        right = np.zeros(w.shape)
    else:
        loss, loss_delta, correct = LOSSES[plan.loss]
        seen = ~np.isnan(Y)  # what has not been observed does not count
        p = plan.loss_parameter
        losses = np.where(seen, loss(z, a, Y, p), 0.0).sum(axis=1)
        slopes = np.where(seen, loss_delta(z, a, Y, p), 0.0)
        right = np.where(seen, correct(a, Y), 0.0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
    weighted = np.where(w == 0, 0.0, w * losses)
    return Totals(float(weighted.sum()), float(w.sum()), float((w * right).sum())), slopes


def backward(
    plan: Plan, theta: Array, data: Data, context: BatchContext, grad: Array
) -> BackwardPass:
    """Put the gradient's sums over the samples into `grad` (lecture, equations 3 and 4)."""
    activations = forward(plan, theta, data, context)
    targets = load_targets(plan, data)
    totals, slopes = score(plan, activations, targets)
    w = targets.weight[:, None]
    g = np.where(w == 0, 0.0, w * slopes).reshape(-1, data.rows)
    derived = plan.loss in DELTA_IS_DZ
    grad[:] = 0.0  # layers that share an array add to it
    delta, below = backward_through(plan.layers, theta, activations, g, grad, derived=derived)
    return BackwardPass(totals, activations, delta, below)
