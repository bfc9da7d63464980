"""Each activation: against PyTorch, differences of the loss, the other backend, and its limits."""

import math
import pickle

import numpy as np
import pytest

import pycnn
from pycnn import SGD, Dense, Network
from pycnn.exceptions import UnknownNameError

NAMES = pycnn.activations.ACTIVATIONS
# Where the derivative jumps, differences of the loss measure nothing.
KINKS = {
    "relu": (0,),
    "leaky_relu": (0,),
    "selu": (0,),
    "hard_sigmoid": (-3, 3),
    "hard_tanh": (-1, 1),
}
ROWS = 12
X = np.cos(np.arange(ROWS * 4) * 1.7).reshape(ROWS, 4)
Y = np.sin(np.arange(ROWS * 3.0)).reshape(ROWS, 3)


def varied_network(backend, activation, output="linear"):
    """Return a 4-9-5-3 network with fixed parameters, no two alike."""
    layers = [Dense(9, activation), Dense(5, activation), Dense(3, output)]
    net = Network(4, layers, "mse", seed=0, backend=backend)
    net.parameters = 0.9 * np.sin(1 + 2.4 * np.arange(net.parameters.size))
    return net


def identity_network(backend, activation):
    """Return a network whose only z is its input."""
    net = Network(1, [Dense(1, activation)], "mse", backend=backend)
    net.parameters = [1.0, 0.0]
    return net


def derivative(net, z):
    """Return f'(z): with a - y = 1, delta is that."""
    a = net.predict(z)
    return net.trace(z, a - 1).delta[1].ravel()


def assert_agree(left, right, what, tolerance=1e-12):
    assert np.isfinite(left).all(), what
    distance = np.abs(np.asarray(left) - right).max()
    assert distance <= tolerance * np.abs(right).max(), f"{what}: {distance:.2e}"


@pytest.mark.usefixtures("core")
@pytest.mark.parametrize("activation", NAMES)
def test_the_backends_agree(activation):
    for output in ("linear", activation):
        c, numpy = (varied_network(backend, activation, output) for backend in ("c", "numpy"))
        assert_agree(c.predict(X), numpy.predict(X), "predict")
        left, right = c.trace(X, Y), numpy.trace(X, Y)
        assert left.loss == pytest.approx(right.loss, rel=1e-12)
        for name in ("Z", "A", "delta", "dW", "db"):
            for one, other in zip(getattr(left, name)[1:], getattr(right, name)[1:], strict=True):
                assert_agree(one, other, name)
        for net in (c, numpy):
            net.fit(X, Y, epochs=1, batch_size=ROWS, optimizer=SGD(0.05))
        assert_agree(c.parameters, numpy.parameters, "one step")
        for batch_size, epochs in ((1, 4), (5, 25)):
            for net in (c, numpy):
                net.fit(X, Y, epochs=epochs, batch_size=batch_size, optimizer=SGD(0.02))
            assert_agree(c.parameters, numpy.parameters, "training", 1e-9)


@pytest.mark.twin_when_thorough
@pytest.mark.parametrize("activation", NAMES)
def test_gradients_meet_the_differences_of_the_loss(backend, activation):
    net = varied_network(backend, activation)
    z = np.concatenate([part.ravel() for part in net.trace(X, Y).Z[1:3]])
    kinks = KINKS.get(activation, ())
    assert all(np.abs(z - kink).min() > 1e-3 for kink in kinks)
    assert pycnn.gradient_check(net, X, Y) < (1e-6 if kinks else 1e-7)
    trace = net.trace(X, Y)  # a gradient of zeros would prove nothing
    assert all(np.abs(gradient).max() > 1e-4 for gradient in (*trace.dW[1:], *trace.db[1:]))


@pytest.mark.parametrize("activation", [name for name in NAMES if name != "softmax"])
def test_derivatives_meet_the_differences_of_the_function(backend, activation):
    z = np.linspace(-9.03, 9.01, 301)[:, None]
    net, h = identity_network(backend, activation), 1e-3
    for kink in KINKS.get(activation, ()):
        z = z[np.abs(z[:, 0] - kink) > 3 * h]
    steps = [net.predict(z + k * h) for k in (-2, -1, 1, 2)]
    difference = (steps[0] - 8 * steps[1] + 8 * steps[2] - steps[3]) / (12 * h)
    tolerance = 1e-4 if activation in ("elu", "softsign") else 1e-9  # f'' or f''' jumps at 0
    np.testing.assert_allclose(derivative(net, z), difference[:, 0], rtol=0, atol=tolerance)


# f far from 0, and its derivative
LIMITS = {
    "linear": ((-1e300, 1), (1e300, 1)),
    "sigmoid": ((0, 0), (1, 0)),
    "relu": ((0, 0), (1e300, 1)),
    "tanh": ((-1, 0), (1, 0)),
    "softmax": ((1, 0), (1, 0)),
    "leaky_relu": ((-1e298, 0.01), (1e300, 1)),
    "elu": ((-1, 0), (1e300, 1)),
    "selu": ((-1.7580993408473768, 0), (1.0507009873554805e300, 1.0507009873554805)),
    "gelu": ((0, 0), (1e300, 1)),
    "gelu_tanh": ((0, 0), (1e300, 1)),
    "silu": ((0, 0), (1e300, 1)),
    "softplus": ((0, 0), (1e300, 1)),
    "softsign": ((-1, 0), (1, 0)),
    "hard_sigmoid": ((0, 0), (1, 0)),
    "hard_tanh": ((-1, 0), (1, 0)),
}
SLOPE_AT_0 = {"selu": 1.7580993408473768, "sigmoid": 0.25, "hard_sigmoid": 1 / 6, "softplus": 0.5}
SLOPE_AT_0 |= {"gelu": 0.5, "gelu_tanh": 0.5, "silu": 0.5, "relu": 0, "softmax": 0}
SLOPE_AT_0 |= {"leaky_relu": 0.01}


@pytest.mark.parametrize("activation", NAMES)
def test_far_from_0_values_and_derivatives_are_the_limits(backend, activation):
    net = identity_network(backend, activation)
    for z, (value, slope) in zip((-1e300, 1e300), LIMITS[activation], strict=True):
        assert net.predict([[z]]).item() == pytest.approx(value, rel=1e-15, abs=0)
        if abs(value) <= 2:  # else a - 1 = a
            assert derivative(net, [[z]]).item() == pytest.approx(slope, rel=1e-15, abs=1e-300)
    for z in (-1e4, -800.0, -746.0, -710.0, -41.0, 41.0, 710.0, 746.0, 800.0, 1e4):
        value, slope = LIMITS[activation][z > 0]
        value = value if abs(value) <= 2 else math.copysign(value / 1e300 * abs(z), z)
        near = 0.03 if activation == "softsign" else 1e-14
        assert net.predict([[z]]).item() == pytest.approx(value, rel=near, abs=1e-14)
        assert derivative(net, [[z]]).item() == pytest.approx(slope, rel=1e-10, abs=1e-3)


@pytest.mark.parametrize("activation", NAMES)
@pytest.mark.parametrize("z", [0.0, -0.0, 5e-324, -5e-324, 1e-310, -1e-310, 1e-200, -1e-200])
def test_near_0_values_and_derivatives_are_those_of_0(backend, activation, z):
    net = identity_network(backend, activation)
    at_0 = {"sigmoid": 0.5, "softmax": 1.0, "softplus": math.log(2), "hard_sigmoid": 0.5}
    a, slope = net.predict([[z]]).item(), SLOPE_AT_0.get(activation, 1.0)
    if activation in at_0:
        assert a == pytest.approx(at_0[activation], rel=1e-15)
    else:
        two_sided = {"relu": z > 0, "leaky_relu": 1 if z > 0 else 0.01}
        if activation == "selu" and z > 0:
            slope = 1.0507009873554805
        assert a == pytest.approx(two_sided.get(activation, slope) * z, rel=1e-14, abs=1e-323)
    if z < 0 or activation not in KINKS:
        assert derivative(net, [[z]]).item() == pytest.approx(slope, rel=1e-14)


TRAIN = """
import hashlib
import numpy as np
from pycnn import SGD, Dense, Network, activations
rng = np.random.Generator(np.random.PCG64(9))
X, Y = rng.random((300, 40)) - 0.5, rng.random((300, 5))
for name in activations.ACTIVATIONS:
    net = Network(40, [Dense(96, name), Dense(64, name), Dense(5, name)], "mse", seed=1,
                  backend="c")
    for batch_size in (256, 300, 3):
        net.fit(X, Y, epochs=1, batch_size=batch_size, optimizer=SGD(0.01))
    print(name, hashlib.sha256(net.parameters.tobytes() + net.predict(X).tobytes()).hexdigest())
"""

# Any loss on top of any activation, whether they suit each other or not.
pytestmark = pytest.mark.filterwarnings("ignore::pycnn.exceptions.DataWarning")


@pytest.mark.usefixtures("core")
def test_neither_threads_nor_the_instruction_set_show_in_the_bits(run_python):
    expected = run_python(TRAIN, PYCNN_NUM_THREADS="1")
    assert len(expected.split()) == 2 * len(NAMES)
    assert run_python(TRAIN, PYCNN_NUM_THREADS="2") == expected
    isa = pycnn.config()["isa"]
    if isa == "avx512":
        assert run_python(TRAIN, PYCNN_ISA="avx2") == expected


@pytest.mark.parametrize("activation", NAMES)
def test_a_network_of_it_survives_a_file_a_pickle_and_its_repr(backend, activation, tmp_path):
    net = varied_network(backend, activation, activation)
    net.save(tmp_path / "net.safetensors")
    loaded = pycnn.load(tmp_path / "net.safetensors", backend=backend)
    for other in (loaded, pickle.loads(pickle.dumps(net))):
        assert [layer.activation for layer in other.layers] == [activation] * 3
        assert other.predict(X).tobytes() == net.predict(X).tobytes()
    assert repr(eval(repr(net), vars(pycnn) | {"Dense": Dense})) == repr(net)


def test_a_wrong_name_is_an_error_that_knows_better():
    with pytest.raises(UnknownNameError, match=r"activation must be one of linear, .*hard_tanh"):
        Dense(3, "swosh")
    for wrong, right in (("leakyrelu", "leaky_relu"), ("gelu_tan", "gelu_tanh"), ("SiLU", "silu")):
        with pytest.raises(UnknownNameError, match=f"did you mean '{right}'"):
            Dense(3, wrong)
    for wrong in (None, 3, ["relu"], np.tanh):
        with pytest.raises(UnknownNameError, match="activation must be one of"):
            Dense(3, wrong)


def in_torch():
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    return torch, {
        "sigmoid": torch.sigmoid,
        "relu": f.relu,
        "tanh": torch.tanh,
        "softmax": lambda z: f.softmax(z, dim=1),
        "leaky_relu": f.leaky_relu,
        "elu": f.elu,
        "selu": f.selu,
        "gelu": f.gelu,
        "gelu_tanh": lambda z: f.gelu(z, approximate="tanh"),
        "silu": f.silu,
        "softplus": lambda z: f.softplus(z, threshold=50),
        "softsign": f.softsign,
        "hard_sigmoid": lambda z: f.relu6(z + 3) / 6,  # its own one's 1/6 is a float32
        "hard_tanh": f.hardtanh,
    }


@pytest.mark.parametrize("activation", [name for name in NAMES if name != "linear"])
def test_pytorch_agrees(backend, activation):
    torch, functions = in_torch()
    rng = np.random.default_rng(6)
    for scale in (0.1, 1, 10, 300):
        z = rng.normal(size=(200, 3)) * scale
        net = Network(3, [Dense(3, activation)], "mse", backend=backend)
        net.parameters = np.append(np.eye(3).ravel(), np.zeros(3))
        y = rng.normal(size=z.shape)
        their_z = torch.tensor(z, requires_grad=True)
        their_a = functions[activation](their_z)
        (0.5 * (their_a - torch.tensor(y)) ** 2).sum().backward()
        trace = net.trace(z, y)
        assert_agree(trace.A[1].T, their_a.detach().numpy(), "forward", 1e-10)
        assert_agree(trace.delta[1].T, their_z.grad.numpy(), "gradient", 1e-10)
        near = np.abs(z) < 30  # one by one
        np.testing.assert_allclose(
            trace.A[1].T[near], their_a.detach().numpy()[near], rtol=1e-10, atol=1e-15
        )
