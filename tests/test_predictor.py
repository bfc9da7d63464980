"""`Network.predictor`: what `predict` says, of the present parameters or of a copy of them."""

import gc

import numpy as np
import pytest

from pycnn import SGD, BatchNorm, Dense, Dropout, LayerNorm, Network, Residual
from pycnn.activations import ACTIVATIONS
from pycnn.exceptions import DataTypeError

RNG = np.random.default_rng(11)
X, Y = RNG.normal(size=(30, 6)), RNG.normal(size=(30, 2))

STACKS = {
    "dense": lambda f: [Dense(40, f), Dense(9, f), Dense(2)],
    "narrow": lambda f: [Dense(3, f), Dense(4, f), Dense(2)],
    "normalized": lambda f: [Dense(12, f), BatchNorm(f), Dropout(0.3), LayerNorm(f), Dense(2)],
    "residual": lambda f: [
        Residual([Dense(33, f), BatchNorm(), Dense(6)], activation=f),
        Residual([Dense(8, f)], shortcut=Dense(8)),
        Dense(2),
    ],
}


def trained(layers, backend, **how):
    net = Network(6, layers, seed=4, backend=backend)
    net.fit(X, Y, epochs=2, optimizer=SGD(0.01), progress=False, **how)
    return net


@pytest.mark.parametrize("stack", list(STACKS))
@pytest.mark.parametrize("frozen", [False, True], ids=["live", "frozen"])
def test_a_predictor_says_what_predict_says(backend, stack, frozen):
    close = {"c": 0, "numpy": 1e-12}[backend]  # NumPy sums a row alone in another order
    for activation in ACTIVATIONS if backend == "c" else ("relu", "softmax"):
        net = trained(STACKS[stack](activation), backend)
        expected = net.predict(X)
        one, three = net.predictor(frozen=frozen), net.predictor(3, frozen=frozen)
        rows = np.concatenate([one(row).copy() for row in X])
        np.testing.assert_allclose(rows, expected, rtol=close, err_msg=activation)
        rows = np.concatenate([three(X[i : i + 3]).copy() for i in range(0, 30, 3)])
        np.testing.assert_allclose(rows, expected, rtol=close, err_msg=activation)


@pytest.mark.parametrize("batch", [1, 5])
def test_what_a_network_learns_later_is_not_for_a_frozen_predictor(backend, batch):
    net = trained(STACKS["normalized"]("tanh"), backend, scale_targets=True)
    rows, before = X[:batch], net.predict(X[:batch])
    live, frozen = net.predictor(batch), net.predictor(batch, frozen=True)
    net.fit(X, 3 * Y + 1, epochs=2, scale_targets=True, progress=False)
    net.theta[:2] = 0.5
    assert (net.predict(rows) != before).all()
    assert live(rows).tobytes() == net.predict(rows).tobytes()
    assert frozen(rows).tobytes() == before.tobytes()
    assert net.predictor(batch, frozen=True)(rows).tobytes() == net.predict(rows).tobytes()


@pytest.mark.parametrize("stack", ["dense", "narrow"])
def test_a_frozen_predictor_outlives_its_network(backend, stack):
    net = trained(STACKS[stack]("relu"), backend)
    expected, frozen = net.predict(X[:1]).tobytes(), net.predictor(frozen=True)
    del net
    gc.collect()
    assert [frozen(X[:1]).tobytes() for _ in range(3)] == 3 * [expected]


@pytest.mark.parametrize("frozen", [False, True], ids=["live", "frozen"])
def test_a_predictor_lets_nan_through_and_takes_rows_from_any_address(backend, frozen):
    net = trained(STACKS["dense"]("tanh"), backend)
    predict = net.predictor(frozen=frozen)
    assert np.isnan(predict(np.full((1, 6), np.nan))).all()
    odd = np.frombuffer(bytearray(b"?" + X[0].tobytes()), np.float64, offset=1)
    assert predict(odd).tobytes() == net.predict(X[:1]).tobytes()


def test_frozen_is_a_bool(backend):
    net = Network(2, [Dense(1)], seed=0, backend=backend)
    with pytest.raises(DataTypeError, match="frozen must be"):
        net.predictor(frozen=1)
