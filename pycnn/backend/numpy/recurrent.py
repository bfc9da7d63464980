"""Layers that go through a sequence step by step, and two of them side by side; csrc/recurrent.c.

A step makes of x and the state before it, h and for an LSTM also c, the state behind it, by the
sums x' = W x + b and q = U h (of a GRU's n: U_n h + b_n), of all gates one below the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pycnn.backend.numpy.activation import ACTIVATIONS, FROM_Z, sigmoid
from pycnn.backend.numpy.composite import Paths
from pycnn.backend.numpy.layer import (
    LayerOps,
    backward_through,
    forward_through,
    update_statistics,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycnn._typing import Array
    from pycnn.backend.interface import LayerSpec
    from pycnn.backend.numpy.layer import BatchContext, Layer

    State = tuple[Array, ...]  # h, c: each (H, m)
    # (layer, x', q, state before) -> the state behind, and what is saved for the way back
    Step = Callable[[Layer, Array, Array, State], tuple[State, Any]]
    # (layer, saved, state before, dL/dstate behind) -> dL/dx', dL/dq, and dL/dstate before without
    # what goes through U
    Back = Callable[[Layer, Any, State, State], tuple[Array, Array, State]]


class Cell(NamedTuple):
    """What a kind of recurrent layer does at each step."""

    states: int
    step: Step
    back: Back


def simple_step(layer: Layer, x: Array, q: Array, before: State) -> tuple[State, Array]:
    """Return h = f(x' + q) (Elman 1990)."""
    f, _ = ACTIVATIONS[layer.spec.settings["activation"]]
    z = x + q
    h = f(z)
    return (h,), z if layer.spec.settings["activation"] in FROM_Z else h


def simple_back(layer: Layer, saved: Array, before: State, after: State) -> tuple[Any, ...]:
    """Return dL/dz twice: both sums have it."""
    _, f_delta = ACTIVATIONS[layer.spec.settings["activation"]]
    dz = f_delta(after[0], saved)
    return dz, dz, (np.zeros_like(dz),)


def lstm_step(layer: Layer, x: Array, q: Array, before: State) -> tuple[State, Any]:
    """Return h = o tanh(c), c = f c_before + i g (Hochreiter & Schmidhuber 1997; Gers et al. 2000).

    The gates are i, f, o = sigmoid(z) and g = tanh(z), in the order i, f, g, o.
    """
    z_i, z_f, z_g, z_o = np.split(x + q, 4)
    i, f, g, o = sigmoid(z_i), sigmoid(z_f), np.tanh(z_g), sigmoid(z_o)
    c = f * before[1] + i * g
    tanh_c = np.tanh(c)
    return (o * tanh_c, c), (i, f, g, o, tanh_c)


def lstm_back(layer: Layer, saved: Any, before: State, after: State) -> tuple[Any, ...]:
    """Return dL/dz twice, and f dL/dc."""
    i, f, g, o, tanh_c = saved
    dh, dc = after
    dc = dc + dh * o * (1 - tanh_c * tanh_c)
    dz = np.concatenate(
        [
            dc * g * (i * (1 - i)),
            dc * before[1] * (f * (1 - f)),
            dc * i * (1 - g * g),
            dh * tanh_c * (o * (1 - o)),
        ]
    )
    return dz, dz, (np.zeros_like(dh), dc * f)


def gru_step(layer: Layer, x: Array, q: Array, before: State) -> tuple[State, Any]:
    """Return h = (1 - u) n + u h_before (Cho et al. 2014, with the reset behind the product).

    The gates are r, u = sigmoid(x' + q) and n = tanh(x' + r q), in the order r, u, n.
    """
    (x_r, x_u, x_n), (q_r, q_u, q_n) = np.split(x, 3), np.split(q, 3)
    r, u = sigmoid(x_r + q_r), sigmoid(x_u + q_u)
    n = np.tanh(x_n + r * q_n)
    return ((1 - u) * n + u * before[0],), (r, u, n, q_n)


def gru_back(layer: Layer, saved: Any, before: State, after: State) -> tuple[Any, ...]:
    """Return dL/dx', dL/dq, which differ in n, and u dL/dh."""
    r, u, n, q_n = saved
    (dh,) = after
    dn = dh * (1 - u) * (1 - n * n)
    du = dh * (before[0] - n) * (u * (1 - u))
    dr = dn * q_n * (r * (1 - r))
    return np.concatenate([dr, du, dn]), np.concatenate([dr, du, dn * r]), (dh * u,)


class Walk(NamedTuple):
    """What a layer saves of its way through the positions, in the order of its steps."""

    positions: range
    here: list[Any]  # (m,) whether a sample has that position
    states: list[State]  # before each step, and behind the last
    saved: list[Any]
    gradients: list[Array]  # dL/dh behind each step, (H, m), once it has been gone back: last first


def _product(W: Array, a: Array, alone: bool) -> Array:
    """Return W A; a sample's bits do not depend on those beside it where it is `alone`."""
    return np.matmul(a.T[:, None, :], W.T)[:, 0, :].T if alone else W @ a


def _by_position(layer: Layer, a: Array) -> Array:
    """Return what lies a column a sample as (T, F, m)."""
    return a.reshape(*layer.spec.input_shape, -1)


def _forward(
    cell: Cell, layer: Layer, theta: Array, a: Array, context: BatchContext
) -> tuple[Array, Walk]:
    W, U, b, *b_n = layer.parameters(theta)
    x, (units, samples) = _by_position(layer, a), (U.shape[1], a.shape[1])
    outputs = np.zeros((len(x), units, samples))
    lengths = np.full(samples, len(x)) if context.lengths is None else context.lengths
    state: State = tuple(np.zeros((cell.states, units, samples)))
    if context.states is not None:
        state = tuple(context.states[layer.state].reshape(cell.states, units, samples).copy())
    positions = range(len(x) - 1, -1, -1) if layer.setting("reverse") else range(len(x))
    walk = Walk(positions, [], [state], [], [])
    for t in positions:
        here = t < lengths
        q = _product(U, state[0], context.alone)
        for bias in b_n:
            q[-units:] += bias[:, None]
        sums = _product(W, np.where(here, x[t], 0.0), context.alone) + b[:, None]
        after, saved = cell.step(layer, sums, q, state)
        state = tuple(np.where(here, new, old) for new, old in zip(after, state, strict=True))
        walk.here.append(here)
        walk.states.append(state)
        walk.saved.append(saved)
        outputs[t] = np.where(here, state[0], 0.0)
    if context.states is not None:
        context.states[layer.state] = np.concatenate(state)
    sequences = layer.setting("return_sequences")
    return outputs.reshape(-1, samples) if sequences else state[0].copy(), walk


def _backward(
    cell: Cell, layer: Layer, theta: Array, walk: Walk, delta: Array, a: Array, grad: Array
) -> Array:
    W, U, *_ = layer.parameters(theta)
    dW, dU, db, *db_n = layer.parameters(grad)
    x, units = _by_position(layer, a), U.shape[1]
    sequences = layer.setting("return_sequences")
    below, dU[:] = np.zeros_like(x), 0.0
    dW[:], db[:] = 0.0, 0.0
    for bias in db_n:
        bias[:] = 0.0
    after: State = tuple([np.zeros_like(part) for part in walk.states[0]])
    if not sequences:
        after = (delta, *after[1:])
    steps = zip(walk.positions, walk.here, walk.states[:-1], walk.saved, strict=True)
    for t, here, before, saved in reversed(list(steps)):
        if sequences:
            of_t = delta.reshape(len(x), units, -1)[t]
            after = (after[0] + np.where(here, of_t, 0.0), *after[1:])
        walk.gradients.append(after[0])
        dx, dq, (dh, *others) = cell.back(layer, saved, before, after)
        dx, dq = np.where(here, dx, 0.0), np.where(here, dq, 0.0)
        there = (dh + U.T @ dq, *others)
        after = tuple(np.where(here, new, old) for new, old in zip(there, after, strict=True))
        dW += dx @ np.where(here, x[t], 0.0).T
        dU += dq @ before[0].T
        db += dx.sum(axis=1)
        for bias in db_n:
            bias += dq[-units:].sum(axis=1)
        below[t] = W.T @ dx
    return below.reshape(a.shape)


def _ops(cell: Cell) -> LayerOps:
    def forward(layer: Layer, theta: Array, a: Array, context: BatchContext) -> tuple[Array, Walk]:
        return _forward(cell, layer, theta, a, context)

    def backward(
        layer: Layer, theta: Array, saved: Walk, delta: Array, a: Array, grad: Array
    ) -> Array:
        return _backward(cell, layer, theta, saved, delta, a, grad)

    def state_count(spec: LayerSpec) -> int:
        return cell.states * spec.output_shape[-1]

    return LayerOps(forward, backward, state_count=state_count)


SIMPLE_RNN = _ops(Cell(1, simple_step, simple_back))
LSTM = _ops(Cell(2, lstm_step, lstm_back))
GRU = _ops(Cell(1, gru_step, gru_back))


def _features(layer: Layer, a: Array) -> Array:
    """Return what lies a column a sample as (positions or 1, features, m)."""
    return a.reshape(-1, layer.spec.output_shape[-1], a.shape[-1])


def concatenate_forward(
    layer: Layer, theta: Array, a: Array, context: BatchContext
) -> tuple[Array, Paths]:
    """Return the features of both paths, those of the inner layers first."""
    inner = forward_through(layer.inner, theta, a, context)
    shortcut = forward_through(layer.shortcut, theta, a, context)
    half = layer.spec.output_shape[-1] // 2
    both = [path.A[-1].reshape(-1, half, a.shape[1]) for path in (inner, shortcut)]
    return np.concatenate(both, axis=1).reshape(-1, a.shape[1]), Paths(inner, shortcut)


def concatenate_backward(
    layer: Layer, theta: Array, saved: Paths, delta: Array, a: Array, grad: Array
) -> Array:
    """Return the sum of both paths' dL/dA: each has its own features of delta at its end."""
    below = np.zeros_like(a)
    paths = zip((layer.inner, layer.shortcut), saved, strict=True)
    for (layers, path), own in zip(
        paths, np.split(_features(layer, delta), 2, axis=1), strict=True
    ):
        end = own.reshape(-1, a.shape[1])
        below += backward_through(layers, theta, path, end, grad)[1]
    return below


def concatenate_update_statistics(layer: Layer, theta: Array, saved: Paths) -> None:
    """Let the layers of both paths do so."""
    update_statistics(layer.inner, theta, saved.inner.saved)
    update_statistics(layer.shortcut, theta, saved.shortcut.saved)


CONCATENATE = LayerOps(concatenate_forward, concatenate_backward, concatenate_update_statistics)
