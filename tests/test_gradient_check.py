"""Every derivative against differences of the loss, and the test itself against wrong ones."""

import types

import numpy as np
import pytest

import pycnn
from pycnn import Dense, Network

ACTIVATIONS = ("linear", "sigmoid", "relu", "tanh", "softmax")
OUTPUTS = (
    *((activation, "mse") for activation in ACTIVATIONS),
    ("sigmoid", "binary_crossentropy"),
    ("softmax", "categorical_crossentropy"),
)

ROWS = 6
X = np.cos(np.arange(ROWS * 4) * 1.7).reshape(ROWS, 4)
WEIGHT = np.array([1.0, 0.0, 2.5, 0.5, 1.0, 3.0])


def varied_network(backend, hidden, output, loss):
    """Return a 4-5-4-3 network with fixed parameters, no two alike, and targets for it."""
    layers = [Dense(5, hidden), Dense(4, hidden), Dense(3, output)]
    net = Network(4, layers, loss, backend=backend)
    net.parameters = 0.9 * np.sin(1 + 2.3 * np.arange(net.parameters.size))
    y = np.arange(ROWS) % 3
    if loss == "binary_crossentropy":
        y = np.array([y == 0, y < 2, y == 2], dtype=float).T
    elif loss == "mse":
        y = np.sin(np.arange(ROWS * 3.0)).reshape(ROWS, 3)
    return net, y


@pytest.mark.twin_when_thorough
@pytest.mark.parametrize(("output", "loss"), OUTPUTS)
@pytest.mark.parametrize("hidden", ACTIVATIONS)
def test_gradients_meet_the_differences_of_the_loss(backend, hidden, output, loss):
    net, y = varied_network(backend, hidden, output, loss)
    before = net.parameters.copy()
    assert pycnn.gradient_check(net, X, y) < 1e-7
    assert pycnn.gradient_check(net, X, y, sample_weight=WEIGHT) < 1e-7
    np.testing.assert_array_equal(net.parameters, before)
    trace = net.trace(X, y)  # a gradient of zeros would prove nothing
    assert all(np.abs(g).max() > 1e-4 for g in (*trace.dW[1:], *trace.db[1:]))
    gradient = net.gradients(X, y)[1]
    assert (np.abs(gradient) > 1e-9).mean() > 0.5  # relu's dead units have none


def test_a_deep_and_narrow_network_meets_the_differences(backend):
    net = Network(3, [Dense(2, "tanh")] * 5 + [Dense(1, "sigmoid")], seed=3, backend=backend)
    assert pycnn.gradient_check(net, X[:, :3], [0, 1] * 3) < 1e-7


def test_soft_targets_meet_the_differences(backend):
    net, _ = varied_network(backend, "tanh", "softmax", "categorical_crossentropy")
    soft = np.abs(np.sin(np.arange(ROWS * 3.0))).reshape(ROWS, 3)
    assert pycnn.gradient_check(net, X, soft / soft.sum(axis=1, keepdims=True)) < 1e-7


def test_a_large_network_is_checked_on_a_sample_of_its_parameters(backend):
    net = Network(4, [Dense(200, "tanh"), Dense(1)], seed=0, backend=backend)
    y = np.arange(6.0)
    assert pycnn.gradient_check(net, X, y, max_parameters=20, seed=1) < 1e-7
    results = {pycnn.gradient_check(net, X, y, max_parameters=20, seed=1) for _ in range(2)}
    assert len(results) == 1


WRONG = {
    "sigmoid": lambda g, a: g * a,
    "relu": lambda g, a: g,
    "tanh": lambda g, a: g * (1 - a),
    "softmax": lambda g, a: g * a * (1 - a),  # the diagonal of the Jacobian alone
    "linear": lambda g, a: 1.001 * g,
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_wrong_derivative_is_caught(monkeypatch, activation):
    from pycnn.backend.numpy.activation import ACTIVATIONS as TWINS

    net, y = varied_network("numpy", activation, "linear", "mse")
    assert pycnn.gradient_check(net, X, y) < 1e-7
    f, _ = TWINS[activation]
    monkeypatch.setitem(TWINS, activation, (f, WRONG[activation]))
    assert pycnn.gradient_check(net, X, y, max_parameters=30, seed=0) > 9e-4


@pytest.mark.parametrize(
    ("part", "factor"),
    [
        (slice(None), 1.001),
        (slice(None), 0.5),
        (slice(None), 0.0),
        (slice(0, 20), -1.0),  # W[1]
        (slice(-3, None), 1.01),  # b[3]
    ],
)
def test_a_corrupted_gradient_is_caught(backend, part, factor):
    net, y = varied_network(backend, "tanh", "sigmoid", "binary_crossentropy")
    right = net.core

    def gradients(plan, theta, data, grad, dropout_keys=None):
        totals = right.gradients(plan, theta, data, grad, dropout_keys)
        grad[part] *= factor
        return totals

    net._core = types.SimpleNamespace(**vars(right) | {"gradients": gradients})
    assert pycnn.gradient_check(net, X, y) > 9e-4
