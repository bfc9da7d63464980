"""Label smoothing, and targets that have not been observed: both backends, and PyTorch."""

import numpy as np
import pytest

import pycnn
from pycnn import Dense, Network, losses
from pycnn.exceptions import DataError, DataTypeError, PairingError

rng = np.random.default_rng(8)
X = rng.normal(size=(60, 4))


def classifier(loss, backend="auto", units=3):
    output = "softmax" if units == 3 else "sigmoid"
    return Network(4, [Dense(7, "tanh"), Dense(units, output)], loss=loss, seed=1, backend=backend)


@pytest.mark.parametrize("units", [3, 1, 2])
def test_smoothing_is_the_same_on_both_backends(core, units):
    y = rng.integers(0, 3, 60) if units == 3 else rng.integers(0, 2, (60, units))
    kind = losses.CategoricalCrossentropy if units == 3 else losses.BinaryCrossentropy
    nets = [classifier(kind(0.2), backend, units) for backend in ("c", "numpy")]
    for net in nets:
        assert pycnn.gradient_check(net, X, y) < 1e-7
        net.fit(X, y, epochs=3, batch_size=3)
        net.fit(X, y, epochs=3, batch_size=16)
    assert np.abs(nets[0].parameters - nets[1].parameters).max() < 1e-12
    assert nets[0].evaluate(X, y)["accuracy"] == nets[1].evaluate(X, y)["accuracy"]
    plain = classifier(kind.name, "auto", units)
    none = classifier(kind(0.0), "auto", units)
    for net in (plain, none):
        net.fit(X, y, epochs=3)
    assert plain.parameters.tobytes() == none.parameters.tobytes()
    assert repr(nets[0]).count("label_smoothing=0.2") == 1


def test_smoothing_is_pytorchs(backend):
    torch = pytest.importorskip("torch")
    y = rng.integers(0, 3, 60)
    net = classifier(losses.CategoricalCrossentropy(0.15), backend)
    theta = torch.from_numpy(net.parameters.copy()).requires_grad_()
    w1, b1, w2, b2 = torch.split(theta, [28, 7, 21, 3])
    hidden = torch.tanh(torch.from_numpy(X) @ w1.reshape(7, 4).T + b1)
    logits = hidden @ w2.reshape(3, 7).T + b2
    expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(y), label_smoothing=0.15)
    expected.backward()
    loss, grad = net.gradients(X, y)
    assert abs(loss - expected.item()) < 1e-10
    assert np.abs(grad - theta.grad.numpy()).max() < 1e-10


def test_smoothing_is_kept_in_files(tmp_path):
    net = classifier(losses.CategoricalCrossentropy(0.25))
    net.save(tmp_path / "model.safetensors")
    other = pycnn.load(tmp_path / "model.safetensors")
    assert (other.loss, other.loss_parameter) == ("categorical_crossentropy", 0.25)


@pytest.mark.parametrize("value", [1.0, -0.1, np.nan])
def test_smoothing_is_from_0_to_below_1(value):
    with pytest.raises(DataError, match="label_smoothing"):
        losses.BinaryCrossentropy(value)
    with pytest.raises(DataTypeError, match="label_smoothing"):
        losses.BinaryCrossentropy("much")
    with pytest.raises(PairingError):
        Network(4, [Dense(1)], loss=losses.BinaryCrossentropy(0.1))


# ------------------------------------------------------------------ targets that are NaN

MASKED = {
    "mse": "linear",
    "mae": "linear",
    "huber": "tanh",
    "quantile": "linear",
    "poisson": "softplus",
    "hinge": "linear",
    "binary_crossentropy": "sigmoid",
}


def with_gaps(loss):
    y = rng.integers(0, 2, (60, 3)).astype(float)
    y = 2 * y - 1 if loss == "hinge" else y
    gaps = rng.random((60, 3)) < 0.4
    gaps[5] = True
    return y, np.where(gaps, np.nan, y), gaps


@pytest.mark.parametrize("loss", MASKED)
def test_what_has_not_been_observed_does_not_count(loss, backend):
    """The core's own view: the loss is the mean over samples of the observed outputs' terms."""
    y, masked, gaps = with_gaps(loss)
    net = Network(4, [Dense(5, "tanh"), Dense(3, MASKED[loss])], loss=loss, seed=2, backend=backend)
    whole, _ = net.reader.read(X, y)
    data = whole._replace(y=masked)
    grad = np.empty_like(net.parameters)
    totals = net.core.gradients(net.plan, net.theta, data, grad)
    assert totals.weight == (~gaps.all(axis=1)).sum() < 60
    terms, slopes = np.zeros((60, 3)), np.zeros_like(grad)
    for j in range(3):  # one output at a time: the others' weights are 0
        alone = Network(4, [Dense(5, "tanh"), Dense(1, MASKED[loss])], loss=loss, backend=backend)
        alone.layers[0].W, alone.layers[0].b = net.layers[0].W, net.layers[0].b
        alone.layers[1].W, alone.layers[1].b = net.layers[1].W[[j]], net.layers[1].b[[j]]
        seen = ~gaps[:, j]
        part, gradient = alone.gradients(X[seen], y[seen, j : j + 1])
        terms[0, j] = part * seen.sum()
        share = seen.sum() / totals.weight
        slopes[:25] += share * gradient[:25]
        slopes[25 + 5 * j : 30 + 5 * j] += share * gradient[25:30]
        slopes[40 + j] += share * gradient[30]
    assert abs(totals.loss - terms.sum()) < 1e-12 * max(1, abs(terms.sum()))
    assert np.abs(grad - slopes).max() < 1e-13
    evaluated = net.core.evaluate(net.plan, net.theta, data)
    if loss in ("hinge", "binary_crossentropy"):
        a = net.predict(X)
        right = ((a > (0 if loss == "hinge" else 0.5)) == (y > 0.5)) & ~gaps
        share = right.sum(axis=1) / np.maximum((~gaps).sum(axis=1), 1)
        assert abs(evaluated.correct - share.sum()) < 1e-12
