"""LSTM and GRU against Keras 3 in float64: ``python scripts/against_keras.py``.

``pip install keras`` is needed; it runs on PyTorch here. Weights go over in its order of gates
(LSTM i, f, g, o, as ours; GRU z, r, h, where ours is r, u, n, "reset after"); compared are outputs,
all gradients and 20 steps of SGD with momentum. It prints the largest differences, and fails above
1e-10.
"""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch
from keras.src.backend.common import dtypes

import pycnn

# But on TensorFlow products of float64 come out as float32.
dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
TOLERANCE = 1e-10
SHAPE, UNITS, SAMPLES, STEPS = (9, 4), 7, 13, 20
keras.config.set_floatx("float64")
keras.config.set_dtype_policy("float64")


def by_gate(array: np.ndarray, kind: str) -> np.ndarray:
    """Return rows of gates in Keras's order, or theirs in ours: r and u change places."""
    if kind == "LSTM":
        return array
    r, u, n = np.split(array, 3)
    return np.concatenate([u, r, n])


def to_keras(net: pycnn.Network, kind: str) -> list[np.ndarray]:
    """Return the arrays of a network as its Keras twin has them."""
    recurrent, dense = net.layers
    own = [by_gate(recurrent.W, kind).T, by_gate(recurrent.U, kind).T]
    bias = by_gate(recurrent.b, kind)
    if kind == "GRU":
        second = np.concatenate([np.zeros(2 * UNITS), recurrent.b_n])
        bias = np.stack([bias, second])
    return [*own, bias, dense.W.T, dense.b]


def from_keras(arrays: list[np.ndarray], kind: str) -> np.ndarray:
    """Return such arrays, or gradients like them, in the order of `Network.parameters`."""
    W, U, bias, W2, b2 = arrays
    rows = [by_gate(W.T, kind), by_gate(U.T, kind)]
    if kind == "GRU":  # its second bias is ours for n alone
        rows += [by_gate(bias[0], kind), bias[1][2 * UNITS :]]
    else:
        rows.append(bias)
    return np.concatenate([array.ravel() for array in [*rows, W2.T, b2]])


def compare(kind: str, sequences: bool) -> dict[str, float]:
    """Return the largest differences of outputs, gradients and parameters after some steps."""
    rng = np.random.default_rng(3)
    layer = {"LSTM": pycnn.LSTM, "GRU": pycnn.GRU}[kind](UNITS, return_sequences=sequences)
    net = pycnn.Network(SHAPE, [layer, pycnn.Dense(2)], loss="mse", seed=1)
    net.parameters[:] += 0.1 * rng.normal(size=net.parameters.size)
    X = rng.normal(size=(SAMPLES, *SHAPE))
    y = rng.normal(size=(SAMPLES, *net.output_shape))

    make = {"LSTM": keras.layers.LSTM, "GRU": keras.layers.GRU}[kind]
    theirs = keras.Sequential(
        [keras.Input(SHAPE), make(UNITS, return_sequences=sequences), keras.layers.Dense(2)]
    )
    theirs.set_weights(to_keras(net, kind))
    variables = [variable.value for variable in theirs.trainable_variables]
    # A GRU's second biases of r and u, which add to the first, are not trained: ours has none.
    trained = torch.ones((2, 3 * UNITS), dtype=torch.float64)
    trained[1, : 2 * UNITS] = 0

    def gradients() -> list[torch.Tensor]:
        loss = 0.5 * ((theirs(torch.tensor(X)) - torch.tensor(y)) ** 2).sum(-1).mean()
        found = list(torch.autograd.grad(loss, variables))
        if kind == "GRU":
            found[2] = found[2] * trained
        return found

    def difference(ours: np.ndarray, others: np.ndarray) -> float:
        return float(np.abs(ours - others).max())

    result = {"outputs": difference(net.predict(X), theirs(torch.tensor(X)).detach().numpy())}
    expected = from_keras([gradient.numpy() for gradient in gradients()], kind)
    result["gradients"] = difference(net.gradients(X, y)[1], expected)
    descent = keras.optimizers.SGD(0.05, momentum=0.9)
    for _ in range(STEPS):
        descent.apply(gradients(), theirs.trainable_variables)
    options = {"epochs": STEPS, "batch_size": SAMPLES, "shuffle": False}
    net.fit(X, y, optimizer=pycnn.SGD(0.05, momentum=0.9), **options)
    after = from_keras(theirs.get_weights(), kind)
    result[f"parameters after {STEPS} steps"] = difference(net.parameters, after)
    return result


def main() -> None:
    """Compare all."""
    print(f"Keras {keras.__version__}, PyTorch {torch.__version__}, pycnn {pycnn.__version__}")
    worst = 0.0
    for kind in ("LSTM", "GRU"):
        for sequences in (False, True):
            found = compare(kind, sequences)
            worst = max(worst, *found.values())
            shown = ", ".join(f"{name} {value:.1e}" for name, value in found.items())
            print(f"{kind}, {'all outputs' if sequences else 'last output'}: {shown}")
    if not worst <= TOLERANCE:
        raise SystemExit(f"{worst:.1e} is more than {TOLERANCE:g}")


if __name__ == "__main__":
    main()
