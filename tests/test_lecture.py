"""The lecture's worked 2-2-2-1 example, quantity by quantity."""

import math

import numpy as np
import pytest

import pycnn
from pycnn import SGD, Dense, Network

W = [None, [[0.1, 0.2], [0.3, 0.4]], [[0.5, 0.6], [0.7, 0.8]], [[0.9, 1.0]]]
B = [None, [0.05, 0.05], [0.1, 0.1], [0.15]]
X, Y = [0.5, 1.0], 1.0
ALPHA = 0.1

# As printed, where y-hat was rounded to 0.816 before it went on.
PRINTED = {
    "Z": [None, [0.30, 0.60], [0.61, 0.79], [1.489]],
    "A": [[0.5, 1.0], [0.30, 0.60], [0.61, 0.79], [0.816]],
    "delta": [None, [-0.2116, -0.24656], [-0.1656, -0.1840], [-0.184]],
    "dW": [
        None,
        [[-0.10580, -0.21160], [-0.12328, -0.24656]],
        [[-0.04968, -0.09936], [-0.05520, -0.11040]],
        [[-0.11224, -0.14536]],
    ],
    "db": [None, [-0.2116, -0.24656], [-0.1656, -0.1840], [-0.184]],
    "loss": 0.203,
}
PRINTED_UPDATE = {
    "W": [
        None,
        [[0.110580, 0.221160], [0.312328, 0.424656]],
        [[0.504968, 0.609936], [0.705520, 0.811040]],
        [[0.911224, 1.014536]],
    ],
    "b": [None, [0.07116, 0.074656], [0.11656, 0.11840], [0.1684]],
}


def recursion(digits=None):
    """Return the example's quantities, from plain floats and sums; y-hat rounded if asked."""

    def dot(u, v):
        return math.fsum(p * q for p, q in zip(u, v, strict=True))

    A, Z = [X], [None]
    for l in (1, 2, 3):  # noqa: E741
        z = [dot(row, A[-1]) + bias for row, bias in zip(W[l], B[l], strict=True)]
        Z.append(z)
        A.append([max(0.0, v) for v in z] if l < 3 else [1 / (1 + math.exp(-v)) for v in z])
    if digits is not None:
        A[3] = [round(A[3][0], digits)]
    delta = [None, None, None, [A[3][0] - Y]]
    for l in (2, 1):  # noqa: E741
        back = [dot(column, delta[l + 1]) for column in zip(*W[l + 1], strict=True)]
        delta[l] = [g * (z > 0) for g, z in zip(back, Z[l], strict=True)]
    dW = [None] + [[[d * a for a in A[l - 1]] for d in delta[l]] for l in (1, 2, 3)]  # noqa: E741
    return {"Z": Z, "A": A, "delta": delta, "dW": dW, "db": delta, "loss": -math.log(A[3][0])}


def lecture_network(backend):
    layers = [Dense(2, "relu"), Dense(2, "relu"), Dense(1, "sigmoid")]
    net = Network(2, layers, backend=backend)
    for layer, weights, bias in zip(net.layers, W[1:], B[1:], strict=True):
        layer.W, layer.b = weights, bias
    return net


def compare(trace, expected, **tolerance):
    assert trace["loss"] == pytest.approx(expected["loss"], **tolerance)
    for name in ("Z", "A", "delta", "dW", "db"):
        for l in (1, 2, 3):  # noqa: E741
            got = np.asarray(trace[name][l], dtype=float).ravel()
            want = np.asarray(expected[name][l], dtype=float).ravel()
            assert got == pytest.approx(want, **tolerance), f"{name}[{l}]"


def test_every_quantity_is_that_of_an_independent_recursion(backend):
    trace = lecture_network(backend).trace([X], [Y])
    compare(trace._asdict(), recursion(), rel=1e-12, abs=0)


def test_trace_arrays_have_the_lectures_orientation(backend):
    trace = lecture_network(backend).trace([X, X, [0, 0]], [1, 0, 1])
    assert [a.shape for a in trace.A] == [(2, 3), (2, 3), (2, 3), (1, 3)]
    assert [z.shape for z in trace.Z[1:]] == [(2, 3), (2, 3), (1, 3)]
    assert [d.shape for d in trace.delta[1:]] == [(2, 3), (2, 3), (1, 3)]
    assert [g.shape for g in trace.dW[1:]] == [(2, 2), (2, 2), (1, 2)]
    assert [g.shape for g in trace.db[1:]] == [(2,), (2,), (1,)]
    assert trace.Z[0] is trace.delta[0] is trace.dW[0] is trace.db[0] is None
    np.testing.assert_array_equal(trace.A[0], np.transpose([X, X, [0, 0]]))
    np.testing.assert_array_equal(trace.Y, [[1, 0, 1]])


def test_rounding_y_hat_to_three_digits_gives_the_printed_figures():
    # 5e-6 is half of the last digit of the longest figures printed; the loss has three digits.
    rounded = recursion(digits=3)
    assert round(rounded["loss"], 3) == PRINTED["loss"]
    compare(rounded | {"loss": PRINTED["loss"]}, PRINTED, abs=5e-6, rel=0)


def test_trace_is_near_the_printed_figures(backend):
    compare(lecture_network(backend).trace([X], [Y])._asdict(), PRINTED, abs=5e-4, rel=0)


@pytest.mark.parametrize("batch_size", [None, 1])
def test_one_step_of_gradient_descent_gives_the_updated_parameters(backend, batch_size):
    net = lecture_network(backend)
    history = net.fit([X], [Y], epochs=1, batch_size=batch_size, optimizer=SGD(ALPHA))
    exact = recursion()
    assert history["loss"] == [pytest.approx(exact["loss"], rel=1e-12)]
    for l, layer in enumerate(net.layers, start=1):  # noqa: E741
        updated = np.array(W[l]) - ALPHA * np.array(exact["dW"][l])
        np.testing.assert_allclose(layer.W, updated, rtol=1e-13)
        np.testing.assert_allclose(layer.b, np.subtract(B[l], np.multiply(ALPHA, exact["db"][l])))
        np.testing.assert_allclose(layer.W, PRINTED_UPDATE["W"][l], atol=5e-5, rtol=0)
        np.testing.assert_allclose(layer.b, PRINTED_UPDATE["b"][l], atol=5e-5, rtol=0)


def test_the_loss_of_the_second_iteration_is_lower(backend):
    net = lecture_network(backend)
    first, second = net.fit([X], [Y], epochs=2, batch_size=None, optimizer=SGD(ALPHA))["loss"]
    assert second < first
    assert net.evaluate([X], [Y])["loss"] < second


def test_the_network_with_one_hidden_neuron_predicts_0_5324(backend):
    net = Network(2, [Dense(1, "sigmoid"), Dense(1, "sigmoid")], backend=backend)
    net.parameters = [0.1, 0.3, 0.05, 0.2, 0.01]
    trace = net.trace([X], [Y])
    assert trace.Z[1].item() == pytest.approx(0.4, rel=1e-15)
    assert round(trace.A[1].item(), 4) == 0.5987
    assert round(net.predict([X]).item(), 4) == 0.5324
    assert pycnn.gradient_check(net, [X], [Y]) < 1e-7


def test_print_trace_shows_the_quantities_in_the_lectures_order(backend, capsys):
    print(lecture_network(backend).trace([X], [Y]))
    shown = capsys.readouterr().out
    order = ["A[0]"]
    for l in (1, 2, 3):  # noqa: E741
        order += [f"W[{l}]\n", f"b[{l}]\n", f"Z[{l}] = W[{l}] A[{l - 1}] + b[{l}]", f"A[{l}] ="]
    order += ["Y\n", "L = 0.2"]
    for l in (3, 2, 1):  # noqa: E741
        order += [f"f'(Z[{l}])\n", f"delta[{l}] =", f"dW[{l}] =", f"db[{l}] ="]
    for l in (1, 2, 3):  # noqa: E741
        order += [f"W[{l}] - alpha dW[{l}]", f"b[{l}] - alpha db[{l}]"]
    places = []
    for name in order:
        places.append(shown.find(name, places[-1] if places else 0))
    assert -1 not in places
    assert places == sorted(places)
    for figure in ("0.3", "0.61", "1.489", f"{1 / (1 + math.exp(-1.489)):.6f}"):
        assert figure in shown


def test_print_trace_ends_with_the_lectures_update(backend):
    net = lecture_network(backend)
    shown = str(net.trace([X], [Y])).partition("Gradient descent, with alpha = 0.1")[2]
    net.fit([X], [Y], epochs=1, batch_size=1, optimizer=SGD(ALPHA))
    for layer in net.layers:
        for value in (*layer.W.ravel(), *layer.b):
            assert f"{value:.6f}".rstrip("0") in shown


def test_trace_has_what_its_quantities_follow_from(backend):
    net = lecture_network(backend)
    trace = net.trace([X, X, [0, 0]], [1, 0, 1])
    for l, layer in enumerate(net.layers, start=1):  # noqa: E741
        assert trace.W[l].tobytes() == layer.W.tobytes()
        assert trace.b[l].tobytes() == layer.b.tobytes()
        assert not np.shares_memory(trace.W[l], net.parameters)
    for l in (1, 2):  # noqa: E741
        np.testing.assert_array_equal(trace.slope[l], (trace.Z[l] > 0).astype(float))
        expected = (trace.W[l + 1].T @ trace.delta[l + 1]) * trace.slope[l]
        np.testing.assert_allclose(trace.delta[l], expected, rtol=1e-12)
    np.testing.assert_allclose(trace.slope[3], trace.A[3] * (1 - trace.A[3]), rtol=1e-12)


def test_a_trace_of_many_samples_is_printed_on_a_page(backend):
    X, y = pycnn.datasets.load_digits()
    net = Network(64, [Dense(32, "relu"), Dense(10, "softmax")], seed=0, backend=backend)
    trace = net.trace(X / 16, y)
    lines = str(trace).splitlines()
    assert len(lines) < 100
    assert max(map(len, lines)) <= 100
    assert f"    32 x 1797: {trace.A[1].min():.6g} ... {trace.A[1].max():.6g}" in str(trace)
    assert "f'(Z[1])" in str(trace)
    assert "f'(Z[2])\n" not in str(trace)  # softmax has none
    assert trace.slope[2] is None


def test_the_trace_of_what_no_one_formula_says_gives_none(backend):
    layers = [pycnn.Embedding(4), pycnn.PositionEmbedding(), pycnn.LSTM(3), Dense(2, "softmax")]
    net = Network(pycnn.Tokens(9, 5), layers, seed=0, backend=backend)
    shown = str(net.trace([[1, 2, 3, 4, 8]], [1]))
    for l in (1, 2, 3):  # noqa: E741 - the lecture's l
        assert f"Z[{l}] = " not in shown
        assert f"dW[{l}] = " not in shown
        assert f"dW[{l}]\n" in shown
    assert "Z[4] = W[4] A[3] + b[4]\n" in shown
    assert "delta[2] = dL/dZ[2]\n" in shown
    assert "db[3]\n" in shown


def test_the_trace_of_a_convolution_says_what_its_sums_are(backend):
    layers = [
        pycnn.Conv2D(2, 2, "relu", use_bias=False),
        pycnn.Conv2D(1, 2, "tanh"),
        pycnn.Flatten(),
        Dense(2, "softmax"),
    ]
    net = Network((4, 4, 1), layers, seed=0, backend=backend)
    shown = str(net.trace(np.arange(16.0).reshape(1, 4, 4) / 16, [1]))
    for line in (
        "Z[1] = sum over a window of W[1] A[0]\n",
        "Z[2] = sum over a window of W[2] A[1] + b[2]\n",
        "Z[4] = W[4] A[3] + b[4]\n",
        "delta[1] = dL/dZ[1]\n",
        "delta[3] = (W[4]^T delta[4]) * f'(Z[3])\n",
        "dW[2] = 1/m sum over all places of delta[2] A[1]\n",
        "W[1] - alpha dW[1]\n",
    ):
        assert line in shown
    assert "b[1]" not in shown
