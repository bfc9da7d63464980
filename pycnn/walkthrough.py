"""The lecture's worked example, recomputed: every quantity, in its order and notation.

The lecture rounds the prediction to 0.816 and goes on from there, so its figures after that differ
from the exact ones in the fourth decimal. Both are shown: what the network computes, and what
comes out by hand, by the same recursion, from the rounded prediction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pycnn._public import names_of
from pycnn.layers import Dense
from pycnn.network import Network
from pycnn.optimizers import SGD
from pycnn.trace import Trace

if TYPE_CHECKING:
    from pycnn._typing import Array

__all__ = ["build_network", "walkthrough"]
__dir__ = names_of(__name__)


X = np.array([0.5, 1.0])
Y = 1.0
LEARNING_RATE = 0.1
WEIGHTS = ([[0.1, 0.2], [0.3, 0.4]], [[0.5, 0.6], [0.7, 0.8]], [[0.9, 1.0]])
BIASES = ([0.05, 0.05], [0.1, 0.1], [0.15])


def build_network(backend: str = "auto") -> Network:
    """Return the lecture's 2-2-2-1 network with its initial parameters.

    Parameters
    ----------
    backend : {"auto", "c", "numpy"}, default "auto"

    Returns
    -------
    Network
    """
    network = Network(
        2, [Dense(2, "relu"), Dense(2, "relu"), Dense(1, "sigmoid")], seed=0, backend=backend
    )
    for layer, weight, bias in zip(network.layers, WEIGHTS, BIASES, strict=True):
        layer.W, layer.b = weight, bias
    return network


def walkthrough(backend: str = "auto") -> str:
    """Return the worked example as text: both forward passes, the gradients, one update.

    Parameters
    ----------
    backend : {"auto", "c", "numpy"}, default "auto"
        Which core computes the exact figures.

    Returns
    -------
    str
    """
    network = build_network(backend)
    first = network.trace([X], [Y])
    old = [(layer.W.copy(), layer.b.copy()) for layer in network.layers]
    by_hand = Hand.from_prediction(round(float(first.A[3][0, 0]), 3), first, old)
    parts = [
        *_one_hidden_neuron(backend),
        *_setup(network),
        *_forward(first, old, by_hand),
        *_backward(first, old, by_hand),
    ]
    network.fit([X], [Y], epochs=1, batch_size=1, optimizer=SGD(LEARNING_RATE), progress=False)
    new = [(layer.W, layer.b) for layer in network.layers]
    parts += _update(old, new, by_hand)
    parts += _second_iteration(first, network.trace([X], [Y]))
    return "\n".join(parts)


class Hand(NamedTuple):
    """The backward pass from a rounded prediction; lists are indexed by layer number."""

    prediction: float
    delta: list[Array]
    dW: list[Array]
    db: list[Array]

    @classmethod
    def from_prediction(
        cls, prediction: float, trace: Trace, parameters: list[tuple[Array, Array]]
    ) -> Hand:
        """Propagate the error of `prediction` back through the activations of `trace`."""
        delta = [np.array([prediction - Y])]
        for l in (2, 1):  # noqa: E741 - the lecture's l
            weight, _ = parameters[l]  # W[l + 1]: the list starts with layer 1
            delta.insert(0, (weight.T @ delta[0]) * (_column(trace.Z[l]) > 0))
        dW = [np.outer(d, _column(trace.A[l])) for l, d in enumerate(delta)]  # noqa: E741
        nothing = np.empty(0)
        return cls(prediction, [nothing, *delta], [nothing, *dW], [nothing, *delta])


# ------------------------------------------------------------------ the parts of the text


def _one_hidden_neuron(backend: str) -> list[str]:
    network = Network(2, [Dense(1, "sigmoid"), Dense(1, "sigmoid")], seed=0, backend=backend)
    (hidden, output) = network.layers
    hidden.W[:], hidden.b[:], output.W[:], output.b[:] = [[0.1, 0.3]], [0.05], [[0.2]], [0.01]
    trace = network.trace([X], [Y])
    quantities = (trace.Z[1], trace.A[1], trace.Z[2], trace.A[2])
    z_h, a_h, z_o, y_hat = (float(_column(quantity)[0]) for quantity in quantities)
    rounded = round(a_h, 4)
    z_hand = float(output.W[0, 0]) * rounded + float(output.b[0])
    return [
        *_title("One hidden neuron: a forward pass"),
        f"x = {_row(X)}    sigmoid in both layers",
        f"W_h1 = {_row(hidden.W[0])}  b_h1 = {_short(hidden.b[0])}"
        f"    W_o1 = {_row(output.W[0])}  b_o1 = {_short(output.b[0])}",
        "",
        *_sums("z_h1 = W_h1 x + b_h1", hidden.W, X, hidden.b, np.array([z_h])),
        "",
        HEADER,
        *_both(f"a_h1 = σ({_short(z_h)})", a_h, rounded, 4),
        *_both(
            f"z_o1 = W_o1 a_h1 + b_o1 = {_short(output.W[0, 0] * rounded)} + {_short(output.b[0])}",
            z_o,
            z_hand,
        ),
        *_both("ŷ = a_o1 = σ(z_o1)", y_hat, 1 / (1 + np.exp(-z_hand)), 4),
        "",
    ]


def _setup(network: Network) -> list[str]:
    lines = [
        *_title("The 2-2-2-1 network"),
        "relu in layers 1 and 2, sigmoid in layer 3, binary cross-entropy, one sample,",
        f"gradient descent with learning rate α = {LEARNING_RATE}",
        "",
        *_matrix("x", X),
        f"y = {Y}",
    ]
    for l, layer in enumerate(network.layers, start=1):  # noqa: E741
        lines += [*_matrix(f"W[{l}]", layer.W), *_matrix(f"b[{l}]", layer.b)]
    return [*lines, ""]


def _forward(trace: Trace, parameters: list[tuple[Array, Array]], hand: Hand) -> list[str]:
    lines = [*_title("Step 1: forward propagation"), *_matrix("A[0] = x", X), ""]
    for l, (weight, bias) in enumerate(parameters, start=1):  # noqa: E741
        name = f"Z[{l}] = W[{l}] A[{l - 1}] + b[{l}]"
        lines += _sums(name, weight, _column(trace.A[l - 1]), bias, _column(trace.Z[l]))
        if l < len(parameters):
            lines += [*_matrix(f"A[{l}] = max(0, Z[{l}])", _column(trace.A[l]), 2), ""]
    z, guess = float(_column(trace.Z[3])[0]), hand.prediction
    loss_by_hand = -(Y * np.log(guess) + (1 - Y) * np.log(1 - guess))
    return [
        *lines,
        "",
        f"Below, by hand means: with ŷ rounded to {_short(guess)} before it is used.",
        "",
        HEADER,
        *_both(f"ŷ = A[3] = σ(Z[3]) = σ({_short(z)})", trace.A[3], guess, 3),
        *_both("1 - ŷ", 1 - trace.A[3], 1 - guess, 3),
        *_both("log(ŷ)", np.log(trace.A[3]), np.log(guess), 3),
        *_both("L = -[y log(ŷ) + (1 - y) log(1 - ŷ)]", trace.loss, loss_by_hand, 3),
        "",
    ]


# Decimals that the lecture prints; None: as many as the figure has.
DELTA_DECIMALS = {3: 3, 2: 4, 1: None}
BIAS_DECIMALS = {3: 4, 2: 5, 1: None}


def _backward(trace: Trace, parameters: list[tuple[Array, Array]], hand: Hand) -> list[str]:
    lines = [
        *_title("Step 2: backpropagation"),
        "sigmoid: f'(z) = a (1 - a)    relu: f'(z) = 1 for z > 0, else 0",
        "",
        HEADER,
    ]
    for l in (3, 2, 1):  # noqa: E741
        decimals = DELTA_DECIMALS[l]
        if l == 3:
            lines += _both("δ[3] = ŷ - y", trace.delta[3], hand.delta[3], decimals)
        else:
            weight, _ = parameters[l]
            products = weight.T * hand.delta[l + 1]
            error = weight.T @ _column(trace.delta[l + 1])
            name = f"W[{l + 1}]ᵀ δ[{l + 1}]"
            sums = _both(name, error, products.sum(axis=1), decimals)
            if products.shape[1] > 1:
                sums = [f"{s} = {_signed_sum(row)}" for s, row in zip(sums, products, strict=True)]
            lines += sums
            slope = (_column(trace.Z[l]) > 0).astype(float)
            lines += [f"f'(Z[{l}])".ljust(LABEL) + _row(slope, 0) + "ᵀ"]
            lines += _both(
                f"δ[{l}] = ({name}) ⊙ f'(Z[{l}])", trace.delta[l], hand.delta[l], decimals
            )
        lines += _both(f"dL/dW[{l}] = δ[{l}] A[{l - 1}]ᵀ", trace.dW[l], hand.dW[l], 5)
        lines += [*_both(f"dL/db[{l}] = δ[{l}]", trace.db[l], hand.db[l], decimals), ""]
    return lines


def _update(
    old: list[tuple[Array, Array]], new: list[tuple[Array, Array]], hand: Hand
) -> list[str]:
    lines = [
        *_title("Step 3: parameter update"),
        f"θ_new = θ_old - α dL/dθ with α = {LEARNING_RATE}",
        "",
        HEADER,
    ]
    for l in (3, 2, 1):  # noqa: E741
        gradients = (("W", hand.dW[l], 6), ("b", hand.db[l], BIAS_DECIMALS[l]))
        for (name, gradient, decimals), before, after in zip(
            gradients, old[l - 1], new[l - 1], strict=True
        ):
            step = LEARNING_RATE * gradient
            lines += _both(f"α dL/d{name}[{l}]", before - after, step, decimals)
            lines += _both(f"{name}_new[{l}]", after, before - step, decimals)
        lines.append("")
    return lines


def _second_iteration(first: Trace, second: Trace) -> list[str]:
    lines = [*_title("Second iteration: forward again, with the new parameters")]
    for l in (1, 2, 3):  # noqa: E741
        lines += _matrix(f"Z[{l}]", _column(second.Z[l]), 6)
        lines += _matrix(f"A[{l}]" + (" = ŷ_new" if l == 3 else ""), _column(second.A[l]), 6)
    lines += [
        "",
        f"L(ŷ_new, y) = {second.loss:.6f}, lower than the first iteration's {first.loss:.6f}",
        "",
        "Its error signals and gradients, for the second update:",
        "",
    ]
    for l in (3, 2, 1):  # noqa: E741
        lines += _matrix(f"δ[{l}]", _column(second.delta[l]), 6)
        lines += _matrix(f"dL/dW[{l}]", _present(second.dW[l]), 6)
        lines += _matrix(f"dL/db[{l}]", _present(second.db[l]), 6)
    return lines


# ------------------------------------------------------------------ how figures are written

LABEL, EXACT = 44, 24
HEADER = " " * LABEL + "exact".ljust(EXACT) + "by hand"


def _title(text: str) -> list[str]:
    return [text, "=" * len(text), ""]


def _present(value: Array | None) -> Array:
    assert value is not None  # only index 0 of a trace's lists is empty
    return value


def _column(value: Array | None) -> Array:
    return _present(value)[:, 0]


def _short(value: float, decimals: int | None = None) -> str:
    """Return the figure with so many decimals, or with as many as it has."""
    if decimals is not None:
        return f"{value:.{decimals}f}"
    text = f"{value:.10g}"
    return text if "." in text else f"{text}.0"


def _row(values: Array, decimals: int | None = None) -> str:
    return "(" + "  ".join(_short(value, decimals) for value in values) + ")"


def _matrix(name: str, value: Array, decimals: int | None = None) -> list[str]:
    """Return ``name = rows``; a vector is a column."""
    rows = [_row(row, decimals) for row in value.reshape(len(value), -1)]
    indent = " " * (len(name) + 3)
    return [f"{name} = {rows[0]}", *(indent + row for row in rows[1:])]


def _both(
    name: str,
    exact: Array | float | None,
    by_hand: Array | float,
    decimals: int | None = None,
) -> list[str]:
    """Return the exact figures and those by hand side by side, below their name."""
    left, right = (np.asarray(v, dtype=np.float64) for v in (exact, by_hand))
    left, right = (v.reshape(len(v) if v.ndim else 1, -1) for v in (left, right))
    lines = [
        " " * LABEL + _row(a, 6).ljust(EXACT) + _row(b, decimals)
        for a, b in zip(left, right, strict=True)
    ]
    lines[0] = name.ljust(LABEL) + lines[0][LABEL:]
    return lines


def _sums(name: str, weight: Array, a: Array, bias: Array, z: Array) -> list[str]:
    """Return each neuron's weighted sum, worked out step by step."""
    lines = []
    for w, b, total in zip(weight, bias, z, strict=True):
        factors = " + ".join(f"({_short(u)} · {_short(v)})" for u, v in zip(w, a, strict=True))
        products = " + ".join(_short(product) for product in w * a)
        lines += [
            f"  {factors} + {_short(b)}",
            f"    = {products} + {_short(b)} = {_short(w @ a)} + {_short(b)} = {_tidy(total)}",
        ]
    return [name, *lines]


def _tidy(value: float) -> str:
    """Return at least two decimals, as the lecture writes pre-activations."""
    text = _short(value)
    return text if len(text.partition(".")[2]) > 1 else f"{value:.2f}"


def _signed_sum(terms: Array) -> str:
    text = _short(terms[0])
    for term in terms[1:]:
        text += f" {'-' if term < 0 else '+'} {_short(abs(term))}"
    return text
