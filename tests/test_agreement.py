"""The C core and the NumPy fallback are two programs for one set of formulas.

Outputs, losses and gradients agree to 1e-12 relative, parameters to 1e-9 after 100 steps. Arrays
are compared norm-wise, max|a - b| <= tolerance * max|b|: a single element may be the small
difference of large terms, whose order of summation is each backend's own, and then has no digits
to agree on.
"""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pycnn
from pycnn import SGD, Dense, Network

ACTIVATIONS = ("linear", "sigmoid", "relu", "tanh", "softmax")
# output activation, loss, kind of targets
OUTPUTS = (
    *((activation, "mse", "numbers") for activation in ACTIVATIONS),
    ("sigmoid", "binary_crossentropy", "binary"),
    ("sigmoid", "binary_crossentropy", "multi-label"),
    ("softmax", "categorical_crossentropy", "labels"),
    ("softmax", "categorical_crossentropy", "one-hot"),
)
EDGES = (1, 2, 7, 8, 9, 15, 16, 17, 24, 31, 33, 48, 64, 67)

pytestmark = [
    pytest.mark.usefixtures("core"),
    # Targets are drawn without regard to what the output can reach.
    pytest.mark.filterwarnings("ignore::pycnn.exceptions.DataWarning"),
]


ROWS = (1, 2, 7, 8, 15, 16, 17, 31, 33, 64, 100, 128, 129)


@st.composite
def cases(draw, outputs, rows=ROWS, widest=67, weighted=None):
    """Draw a network on both backends, and data for it."""
    output, loss, kind = outputs
    depth = draw(st.integers(1, 6))
    edges = st.sampled_from([w for w in EDGES if w <= widest])
    widths = draw(st.lists(edges, min_size=depth + 1, max_size=depth + 1))
    if kind == "binary":
        widths[-1] = 1
    elif kind == "labels":
        widths[-1] = max(2, widths[-1])
    activations = st.sampled_from(ACTIVATIONS)
    hidden = draw(st.lists(activations, min_size=depth - 1, max_size=depth - 1))
    layers = [Dense(n, a) for n, a in zip(widths[1:], [*hidden, output], strict=True)]
    seed = draw(st.integers(0, 2**32))
    rng = np.random.default_rng(seed)
    nets = [Network(widths[0], layers, loss, seed=seed, backend=b) for b in ("c", "numpy")]
    theta = nets[0].parameters + rng.normal(scale=0.1, size=nets[0].parameters.size)
    for net in nets:
        net.parameters = theta

    m = draw(st.sampled_from(rows))
    X = rng.normal(size=(m, widths[0]))
    if kind == "numbers":
        y = rng.normal(size=(m, widths[-1]))
    elif kind == "labels":
        y = rng.integers(widths[-1], size=m)
    elif kind == "one-hot":
        y = np.eye(widths[-1])[rng.integers(widths[-1], size=m)]
    else:
        y = rng.integers(2, size=(m, widths[-1])).astype(float)
    weighted = draw(st.booleans()) if weighted is None else weighted
    weight = rng.choice([0.0, 0.5, 1.0, 3.0], size=m) if weighted else None
    return *nets, X, y, weight


def assert_agree(c, numpy, what, tolerance=1e-12):
    c, numpy = np.asarray(c), np.asarray(numpy)
    assert c.shape == numpy.shape, what
    assert np.isfinite(c).all(), what
    distance, size = np.abs(c - numpy).max(), np.abs(numpy).max()
    assert distance <= tolerance * size, f"{what}: {distance / size:.2e} relative"


@pytest.mark.parametrize("outputs", OUTPUTS)
@settings(max_examples=15)
@given(data=st.data())
def test_outputs_losses_and_gradients_agree(outputs, data):
    c, numpy, X, y, weight = data.draw(cases(outputs))
    assert_agree(c.predict(X), numpy.predict(X), "predict")

    scores = [net.evaluate(X, y, weight) for net in (c, numpy)]
    assert scores[0].keys() == scores[1].keys()
    for key in scores[0]:
        assert scores[0][key] == pytest.approx(scores[1][key], rel=1e-12, abs=1e-13, nan_ok=True), (
            key
        )

    (loss_c, grad_c), (loss_numpy, grad_numpy) = (n.gradients(X, y, weight) for n in (c, numpy))
    assert loss_c == pytest.approx(loss_numpy, rel=1e-12, nan_ok=True)  # where all weights are 0
    assert loss_c == pytest.approx(scores[0]["loss"], rel=1e-12, nan_ok=True)
    assert_agree(grad_c, grad_numpy, "gradient")


@pytest.mark.parametrize("outputs", OUTPUTS)
@settings(max_examples=7)
@given(data=st.data())
def test_every_quantity_of_a_trace_agrees(outputs, data):
    c, numpy, X, y, _ = data.draw(cases(outputs))
    left, right = c.trace(X, y), numpy.trace(X, y)
    assert left.loss == pytest.approx(right.loss, rel=1e-12)
    np.testing.assert_array_equal(left.Y, right.Y)
    np.testing.assert_array_equal(left.A[0], X.T)
    for name in ("Z", "A", "delta", "dW", "db"):
        for l in range(1, len(left.A)):  # noqa: E741
            assert_agree(getattr(left, name)[l], getattr(right, name)[l], f"{name}[{l}]")
    pairs = zip(left.dW[1:], left.db[1:], strict=True)
    flat = np.concatenate([gradient.ravel() for pair in pairs for gradient in pair])
    np.testing.assert_array_equal(flat, c.gradients(X, y)[1])


@pytest.mark.parametrize("outputs", OUTPUTS)
@settings(max_examples=4)
@given(data=st.data(), shuffle=st.booleans())
def test_parameters_agree_after_100_steps(outputs, data, shuffle):
    # 27 rows in batches of 8: the fourth of each epoch has three. 25 epochs are 100 steps.
    c, numpy, X, y, weight = data.draw(cases(outputs, rows=[27], widest=33))
    histories = [
        net.fit(
            X,
            y,
            epochs=25,
            batch_size=8,
            optimizer=SGD(0.02),
            sample_weight=weight,
            shuffle=shuffle,
        )
        for net in (c, numpy)
    ]
    assert_agree(c.parameters, numpy.parameters, "parameters", 1e-9)
    for key in histories[1]:
        assert_agree(histories[0][key], histories[1][key], key, 1e-9)


@pytest.mark.parametrize("rows", [255, 256, 257, 600])
@settings(max_examples=2)
@given(data=st.data(), outputs=st.sampled_from(OUTPUTS))
def test_data_larger_than_a_piece_agrees(rows, data, outputs):
    c, numpy, X, y, weight = data.draw(cases(outputs, rows=[rows], weighted=True))
    assert_agree(c.predict(X), numpy.predict(X), "predict")
    assert_agree(c.gradients(X, y, weight)[1], numpy.gradients(X, y, weight)[1], "gradient")
    for net in (c, numpy):
        net.fit(X, y, epochs=3, batch_size=None, sample_weight=weight, optimizer=SGD(0.05))
    assert_agree(c.parameters, numpy.parameters, "parameters", 1e-9)


# ------------------------------------------------------------------ far from 0


def one_layer(backend, units, activation):
    """Return a network whose logits are its inputs."""
    net = Network(units, [Dense(units, activation)], backend=backend)
    net.parameters = np.append(np.eye(units).ravel(), np.zeros(units))
    return net


@pytest.mark.parametrize("y", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("z", [0.0, -0.0, 1e3, -1e3, 1e300, -1e300])
def test_binary_crossentropy_is_finite_and_right_for_extreme_logits(backend, z, y):
    trace = one_layer(backend, 1, "sigmoid").trace([[z]], [y])
    exact = math.log(2) if z == 0 else abs(z) * (1 - y if z > 0 else y)
    assert trace.loss == pytest.approx(exact, rel=1e-15)
    exact = (0.5 if z == 0 else float(z > 0)) - y
    assert trace.delta[1].item() == pytest.approx(exact, abs=1e-300)


@pytest.mark.parametrize("label", [0, 1, 2])
@pytest.mark.parametrize(
    "z", [(0, 0, 0), (1e3, -1e3, 0), (-1e3, 1e3, 1e3), (1e300, 0, -1e300), (-1e300,) * 3]
)
def test_categorical_crossentropy_is_finite_and_right_for_extreme_logits(backend, z, label):
    net = one_layer(backend, 3, "softmax")
    trace = net.trace([z], [label])
    ties = sum(v == max(z) for v in z)
    assert trace.loss == pytest.approx(max(z) - z[label] + math.log(ties), rel=1e-15, abs=0)
    share = np.array([(v == max(z)) / ties for v in z])
    delta = (share - np.eye(3)[label])[:, None]
    np.testing.assert_allclose(trace.delta[1], delta, rtol=1e-15, atol=1e-16)
    np.testing.assert_array_equal(net.trace([z], np.eye(3)[[label]]).delta[1], trace.delta[1])


@pytest.mark.parametrize("z", [1.0, 20.0, 36.0, 40.0, 100.0, 700.0])
def test_tiny_losses_keep_their_relative_precision(backend, z):
    loss, delta = math.log1p(math.exp(-z)), math.exp(-z) / (1 + math.exp(-z))
    near = {"rel": 4e-15, "abs": 0}
    for logit, y, sign in ((z, 1, -1), (-z, 0, 1)):
        trace = one_layer(backend, 1, "sigmoid").trace([[logit]], [y])
        assert trace.loss == pytest.approx(loss, **near)
        assert trace.delta[1].item() == pytest.approx(sign * delta, **near)
    trace = one_layer(backend, 2, "softmax").trace([[z, 0.0]], [0])
    assert trace.loss == pytest.approx(loss, **near)
    np.testing.assert_allclose(trace.delta[1][:, 0], [-delta, delta], rtol=4e-15)


def test_losses_match_fifty_digit_arithmetic(backend):
    logits = [-30.5, -3.25, -1e-9, 0.0, 0.5, 7.125, 38.0]
    with mpmath.workdps(50):
        for y in (0.0, 0.3, 1.0):
            for z in logits:
                a = 1 / (1 + mpmath.exp(-mpmath.mpf(z)))
                exact = -(y * mpmath.log(a) + (1 - mpmath.mpf(y)) * mpmath.log(1 - a))
                got = one_layer(backend, 1, "sigmoid").gradients([[z]], [y])[0]
                assert got == pytest.approx(float(exact), rel=4e-15, abs=0)
        powers = [mpmath.exp(mpmath.mpf(z)) for z in logits]
        for label, power in enumerate(powers):
            exact = -mpmath.log(power / mpmath.fsum(powers))
            got = one_layer(backend, len(logits), "softmax").gradients([logits], [label])[0]
            assert got == pytest.approx(float(exact), rel=4e-15, abs=0)


# ------------------------------------------------------------------ every instruction set

AGAIN = """
import sys
import pycnn, pytest
try:
    pycnn.Network(1, [pycnn.Dense(1)], backend="c")
except pycnn.exceptions.BackendError:
    print("cannot run here")
    sys.exit()
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-k", "not instruction_sets", {file!r}]))
"""


@pytest.mark.thorough
def test_the_other_instruction_sets_of_this_machine_agree(core, run_python):
    here = pycnn.backend.load("c").isa()  # what the tests above have run on
    others = [isa for isa in ("baseline", "avx2", "avx512", "neon") if isa != here]
    alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    output = {
        isa: run_python(AGAIN.format(file=__file__), PYCNN_ISA=isa, **alone) for isa in others
    }
    assert here == "baseline" or " passed" in output["baseline"], output
    assert all(" passed" in text or text.strip() == "cannot run here" for text in output.values())
