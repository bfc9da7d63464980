"""Each position looks at the others, in several heads (Vaswani et al. 2017); csrc/attention.c."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pycnn.backend.numpy.embedding import as_samples, as_sequences
from pycnn.backend.numpy.layer import LayerOps

if TYPE_CHECKING:
    from pycnn._typing import AnyArray, Array, Indices
    from pycnn.backend.interface import LayerSpec
    from pycnn.backend.numpy.layer import BatchContext, Layer


class Attended(NamedTuple):
    """What an attention saves; the first four (samples, heads, positions, ...)."""

    query: Array
    key: Array
    value: Array
    probability: Array  # of each position's keys, (..., positions, positions)
    heads: Array  # all heads' outputs side by side, (samples, positions, features)


def split(sequences: Array, heads: int) -> Array:
    """Return (samples, positions, features) as (samples, heads, positions, features of a head)."""
    samples, length, features = sequences.shape
    return sequences.reshape(samples, length, heads, features // heads).swapaxes(1, 2)


def join(parts: Array) -> Array:
    """Return what `split` has split."""
    samples, heads, length, features = parts.shape
    return parts.swapaxes(1, 2).reshape(samples, length, heads * features)


def seen(length: int, causal: bool, lengths: Indices | None) -> AnyArray:
    """Return which keys a position sees, (samples or 1, 1, positions, positions)."""
    every = np.tri(length, dtype=bool) if causal else np.ones((length, length), bool)
    if lengths is None:
        return every[None, None]
    return every & (np.arange(length) < np.reshape(lengths, (-1, 1)))[:, None, None, :]


def probabilities(query: Array, key: Array, mask: AnyArray) -> Array:
    """Return softmax(q k^T / sqrt(d)) over the keys that are seen; 0 for the others."""
    scores = query @ key.swapaxes(2, 3) / np.sqrt(query.shape[3])
    largest = np.max(scores, axis=3, keepdims=True, where=mask, initial=-np.inf)
    powers = np.where(mask, np.exp(np.where(mask, scores - largest, 0.0)), 0.0)
    total = powers.sum(axis=3, keepdims=True)
    return powers / np.where(total == 0, 1.0, total)  # a sample of length 0 sees nothing


def weighted(p: Array, value: Array, mask: AnyArray) -> Array:
    """Return p v, in which a value that is not seen has no part, also where it is not finite."""
    out: Array = p @ value
    if not np.isfinite(out).all():
        each = np.zeros((*p.shape, value.shape[3]))
        np.multiply(p[..., None], value[:, :, None], where=mask[..., None], out=each)
        out = each.sum(axis=3)
    return out


def remembered(
    layer: Layer, states: Array, key: Array, value: Array
) -> tuple[Array, Array, AnyArray]:
    """Return the keys and values of all positions up to now, and which of them are seen.

    A state holds those of `window` positions, and how many of them are there.
    """
    samples, heads, length, _ = key.shape
    window, state = int(layer.setting("window")), states[layer.state]
    before = np.clip(state[-1], 0, window - length).astype(np.intp)
    rows, places = np.arange(samples)[:, None], before[:, None] + np.arange(length)
    both = as_sequences(state[:-1], layer.spec.input_shape[1]).reshape(samples, 2, window, -1)
    both[rows, 0, places], both[rows, 1, places] = join(key), join(value)
    state[:-1] = both.reshape(samples, -1).T
    state[-1] += length
    mask = np.arange(window) <= places[:, None, :, None]
    return split(both[:, 0], heads), split(both[:, 1], heads), mask


def state_count(spec: LayerSpec) -> int:
    """Return how many numbers remember keys and values, and how many of these there are."""
    window = int(spec.settings.get("window", 0))
    return 2 * window * spec.input_shape[1] + 1 if window else 0


def forward(layer: Layer, theta: Array, a: Array, context: BatchContext) -> tuple[Array, Attended]:
    """Return each position's mean of the values, weighted by how its query fits their keys."""
    W_query, W_key, W_value, W_output, b_query, b_key, b_value, b_output = layer.parameters(theta)
    heads = int(layer.setting("heads"))
    x = as_sequences(a, len(W_query))
    query, key, value = (
        split(x @ W.T + b, heads)
        for W, b in ((W_query, b_query), (W_key, b_key), (W_value, b_value))
    )
    if context.states is None:
        mask = seen(x.shape[1], bool(layer.setting("causal")), context.lengths)
    else:
        key, value, mask = remembered(layer, context.states, key, value)
    p = probabilities(query, key, mask)
    out = join(weighted(p, value, mask))
    return as_samples(out @ W_output.T + b_output), Attended(query, key, value, p, out)


def backward(
    layer: Layer, theta: Array, saved: Attended, delta: Array, a: Array, grad: Array
) -> Array:
    """Put the gradients of all four W and b into `grad`; return dL/dA."""
    weights, gradients = layer.parameters(theta)[:4], layer.parameters(grad)
    query, key, value, p, out = saved
    features, heads = len(weights[0]), query.shape[1]
    x, above = as_sequences(a, features), as_sequences(delta, features)
    of_heads = split(above @ weights[3], heads)
    dp = of_heads @ value.swapaxes(2, 3)
    ds = p * (dp - (dp * p).sum(axis=3, keepdims=True)) / np.sqrt(query.shape[3])
    deltas = join(ds @ key), join(ds.swapaxes(2, 3) @ query), join(p.swapaxes(2, 3) @ of_heads)
    sums = zip(gradients[:4], gradients[4:], (*deltas, above), (x, x, x, out), strict=True)
    for dW, db, d, below in sums:
        dW[:] = np.einsum("mti,mtj->ij", d, below, optimize=True)
        db[:] = d.sum(axis=(0, 1))
    dq, dk, dv = (d @ W for d, W in zip(deltas, weights[:3], strict=True))
    return as_samples(dq + dk + dv)


ATTENTION = LayerOps(forward, backward, state_count=state_count)
