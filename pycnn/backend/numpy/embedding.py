"""A row of numbers for each token, or position; and outputs by the same; csrc/embedding.c."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pycnn.backend.numpy.layer import LayerOps

if TYPE_CHECKING:
    from pycnn._typing import Array, Indices
    from pycnn.backend.interface import LayerSpec
    from pycnn.backend.numpy.layer import BatchContext, Layer


def as_sequences(a: Array, features: int) -> Array:
    """Return what lies a column a sample as (samples, positions, features)."""
    return np.ascontiguousarray(a.T).reshape(a.shape[1], -1, features)


def as_samples(sequences: Array) -> Array:
    """Return such sequences as they lie between layers, a column a sample."""
    return np.ascontiguousarray(sequences.reshape(len(sequences), -1).T)


def embedding_forward(
    layer: Layer, theta: Array, a: Array, context: BatchContext
) -> tuple[Array, Indices]:
    """Return row k of W for each token k, NaN for what is none, and the tokens, a row a sample."""
    (W,) = layer.parameters(theta)
    given, vocabulary = a.T, len(W)
    known = (given >= 0) & (given < vocabulary) & (np.floor(given) == given)
    tokens = np.where(known, given, 0).astype(np.intp)
    return as_samples(np.where(known[:, :, None], W[tokens], np.nan)), tokens


def embedding_backward(
    layer: Layer, theta: Array, saved: Indices, delta: Array, a: Array, grad: Array
) -> Array:
    """Add each token's sum of delta to its row of `grad`; there is nothing to go back to."""
    (dW,) = layer.parameters(grad)
    sums = np.zeros_like(dW)
    np.add.at(sums, saved, as_sequences(delta, dW.shape[1]))
    dW += sums  # an output by the same table has its part there
    return np.zeros_like(a)


EMBEDDING = LayerOps(embedding_forward, embedding_backward)


def waves(length: int, features: int) -> Array:
    """Return a row for each position: sines and cosines of it, ever longer (Vaswani et al. 2017).

    ``[t, 2i] = sin(t / 10000^(2i / features))``, ``[t, 2i + 1]`` the cosine of the same.
    """
    column = np.arange(features)
    angles = np.arange(length)[:, None] / 10000.0 ** (column // 2 * 2 / features)
    return np.where(column % 2 == 0, np.sin(angles), np.cos(angles))


def position_forward(
    layer: Layer, theta: Array, a: Array, context: BatchContext
) -> tuple[Array, None]:
    """Return A with each position's own row added."""
    length, features = layer.spec.input_shape
    places = np.arange(length)[:, None]  # of each sample
    if context.states is not None:
        before = context.states[layer.state]
        places = places + np.clip(before, 0, layer.setting("window") - length).astype(np.intp)
        before += length
    rows = layer.parameters(theta) or [waves(int(places.max()) + 1, features)]
    return a + rows[0][places].swapaxes(1, 2).reshape(length * features, -1), None


def position_backward(
    layer: Layer, theta: Array, saved: None, delta: Array, a: Array, grad: Array
) -> Array:
    """Put the sum of delta over the samples into `grad`; return delta."""
    for dW in layer.parameters(grad):
        dW[:] = delta.sum(axis=1).reshape(dW.shape)
    return delta


def position_state_count(spec: LayerSpec) -> int:
    """Return that one number remembers how many positions were before."""
    return int(spec.settings.get("window", 0) != 0)


POSITION_EMBEDDING = LayerOps(position_forward, position_backward, state_count=position_state_count)


def _table(layer: Layer, buffer: Array) -> Array:
    """Return the embedding's array, with which theta begins: it is the network's first layer."""
    vocabulary, features = layer.spec.output_shape[-1], layer.spec.input_shape[-1]
    return buffer[: vocabulary * features].reshape(vocabulary, features)


def tied_forward(layer: Layer, theta: Array, a: Array, context: BatchContext) -> tuple[Array, None]:
    """Return W A + b at each position, W being the embedding's (Press & Wolf 2017)."""
    W, (b,) = _table(layer, theta), layer.parameters(theta)
    return as_samples(as_sequences(a, W.shape[1]) @ W.T + b), None


def tied_backward(
    layer: Layer, theta: Array, saved: None, delta: Array, a: Array, grad: Array
) -> Array:
    """Add the gradient of W to the embedding's part of `grad`; return W^T delta."""
    W, (db,) = _table(layer, theta), layer.parameters(grad)
    deltas, sequences = as_sequences(delta, len(W)), as_sequences(a, W.shape[1])
    dW = _table(layer, grad)
    dW += np.einsum("mtv,mtf->vf", deltas, sequences, optimize=True)
    db[:] = deltas.sum(axis=(0, 1))
    return as_samples(deltas @ W)


TIED_DENSE = LayerOps(tied_forward, tied_backward)
