"""Ctrl-C: it reaches the user from every call and soon, and leaves all as after a whole step."""

import signal

import numpy as np
import pytest

from pycnn import LBFGS, SGD, Adam, BatchNorm, Dense, Network

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "setitimer"), reason="this system cannot send signals by a timer"
)
rng = np.random.default_rng(5)
ROWS = 300_000


@pytest.fixture
def interrupt_in():
    """Have a function of a name interrupted at its very first line, by a signal that comes in C.

    Signals come all the time; the one that Python finds there is taken for a Ctrl-C.
    """

    def begin(name):
        def handler(_number, frame):
            code = None if frame is None else frame.f_code
            if code is not None and code.co_name == name and frame.f_lineno == code.co_firstlineno:
                signal.setitimer(signal.ITIMER_REAL, 0)
                raise KeyboardInterrupt(name)

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)

    before = signal.getsignal(signal.SIGALRM)
    yield begin
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def much():
    return rng.normal(size=(ROWS, 8)), rng.normal(size=(ROWS, 1))


def network(*layers, loss="mse", backend="c"):
    net = Network(8, [*layers, Dense(1)], loss=loss, seed=2, backend=backend)
    net.parameters[:] += 0.01  # none is 0: a rate of 1e-300 changes nothing
    return net


CALLS = {
    "predict": lambda net, X, y: net.predict(X),
    "predictor": lambda net, X, y: net.predictor(len(X))(X),
    "evaluate": lambda net, X, y: net.evaluate(X, y),
    "gradients": lambda net, X, y: net.gradients(X, y),
    "validation": lambda net, X, y: net.fit(
        X[:32], y[:32], epochs=1, optimizer=SGD(1e-300), validation_data=(X, y)
    ),
    "one step": lambda net, X, y: net.fit(X, y, batch_size=None, epochs=1),
    "Adam": lambda net, X, y: net.fit(X, y, batch_size=None, epochs=1, optimizer=Adam()),
    "L-BFGS": lambda net, X, y: net.fit(X, y, batch_size=None, epochs=1, optimizer=LBFGS()),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_one_call_over_much_data_can_be_interrupted(core, interrupt_in, much, call):
    net = network(Dense(160, "tanh"), Dense(160, "tanh"))
    theta = net.parameters.tobytes()
    interrupt_in("pycnn_call_poll")
    with pytest.raises(KeyboardInterrupt, match="pycnn_call_poll"):
        call(net, *much)
    assert net.parameters.tobytes() == theta
    assert np.isfinite(net.predict(much[0][:10])).all()
    net.fit(much[0][:10], much[1][:10], epochs=1)


def test_one_step_of_samples_that_meet_can_be_interrupted(core, interrupt_in, much):
    X, y = (array[:30_000] for array in much)
    net = network(Dense(160, "tanh"), BatchNorm(), Dense(160, "tanh"), Dense(160, "tanh"))
    theta = net._theta.tobytes()
    interrupt_in("pycnn_call_poll")
    with pytest.raises(KeyboardInterrupt, match="pycnn_call_poll"):
        net.fit(X, y, batch_size=None, epochs=50, optimizer=SGD(1e-300))
    assert net.parameters.tobytes() == theta[: net.parameters.nbytes]


def test_an_interrupt_at_the_first_line_of_a_loss_makes_no_step(core, interrupt_in, capfd):
    X, y = rng.normal(size=(512, 8)), rng.normal(size=(512, 1))
    steps = []

    def loss(a, y):
        steps[-1].append(net.parameters.tobytes())
        return 0.5 * ((a - y) ** 2).sum(axis=1), a - y

    def train():
        steps.append([])
        net.fit(X, y, epochs=40, batch_size=64, shuffle=False)

    net = network(Dense(300, "tanh"), Dense(300, "tanh"), loss=loss)
    start = net.parameters.copy()
    train()
    for _ in range(5):
        net.parameters = start
        interrupt_in("pycnn_call_loss")
        with pytest.raises(KeyboardInterrupt, match="pycnn_call_loss"):
            train()
        assert steps[-1] == steps[0][: len(steps[-1])]
        assert net.parameters.tobytes() == steps[0][len(steps[-1])]
    assert capfd.readouterr().err == ""
