"""dL/dX: against differences and PyTorch, on both backends, in any company."""

import numpy as np
import pytest

import pycnn
from pycnn import (
    AveragePool2D,
    BatchNorm,
    Conv1D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    LayerNorm,
    MaxPool1D,
    MaxPool2D,
    Network,
    Rescale,
    Reshape,
    Residual,
    SpatialDropout,
    ZeroPadding2D,
)
from pycnn.exceptions import DataError, LabelError, ShapeError

RNG = np.random.default_rng(7)
X = RNG.normal(size=(40, 4, 3, 2))
LABELS = RNG.integers(0, 3, 40)

# What reads the input first is a layer of each kind; what follows is smooth.
STACKS = {
    "dense": lambda: [Dense(7, "tanh"), Dense(5, "gelu")],
    "dropout": lambda: [Dropout(0.4), Dense(7, "tanh"), Dropout(0.2)],
    "batch norm": lambda: [BatchNorm("silu"), Dense(7, "tanh"), BatchNorm()],
    "layer norm": lambda: [LayerNorm(), Dense(7, "tanh"), LayerNorm("softplus")],
    "rescale": lambda: [Rescale(0.25, -1.0), Dense(7, "tanh")],
    "reshape": lambda: [Reshape((6, 4)), Flatten(), Dense(7, "tanh")],
    "convolution": lambda: [
        Reshape((4, 3, 2)),
        Conv2D(3, 2, "tanh", padding="same", strides=2),
        Conv2D(5, 2, "silu"),
        Flatten(),
    ],
    "images": lambda: [
        Reshape((4, 3, 2)),
        SpatialDropout(0.5),
        BatchNorm("silu"),
        ZeroPadding2D(1),
        Residual([Conv2D(4, 3, "tanh")], shortcut=Conv2D(4, 3, dilation=1, use_bias=False)),
        MaxPool2D(2, strides=1, padding="same"),
        LayerNorm(),
        AveragePool2D((2, 1), strides=1),
        GlobalAveragePool2D(),
    ],
    "max pooling of the input": lambda: [Reshape((4, 3, 2)), MaxPool2D(2, strides=1), Flatten()],
    "sequences": lambda: [Reshape((12, 2)), Conv1D(3, 4, "gelu"), MaxPool1D(2), Flatten()],
    "residual": lambda: [Residual([Dense(9, "tanh"), Dense(24)], activation="tanh")],
    "residual with two readers": lambda: [
        Residual(
            [Residual([Dense(24, "tanh"), Dropout(0.5)]), BatchNorm()],
            shortcut=Residual([LayerNorm()], shortcut=Dense(24, "sigmoid")),
        )
    ],
}


def network(name, backend="auto", *, shape=(24,), seed=3):
    layers = STACKS[name]()
    front = [] if len(shape) == 1 or isinstance(layers[0], Reshape) else [Flatten()]
    net = Network(shape, [*front, *layers, Dense(3, "softmax")], seed=seed, backend=backend)
    net.statistics = 1.0 + 0.5 * np.abs(np.cos(np.arange(net.statistics.size)))
    return net


def differences(net, X, y, h=1e-4):
    """Return dL/dX by five-point differences: samples do not know of each other."""
    flat = np.asarray(X, dtype=float).reshape(len(X), -1)
    result = np.empty_like(flat)
    for i, sample in enumerate(flat):
        for k in range(flat.shape[1]):
            moved = np.repeat(sample[None], 4, axis=0)
            moved[:, k] += h * np.array([-2, -1, 1, 2])
            losses = [net.evaluate(row[None], y[i : i + 1])["loss"] for row in moved]
            result[i, k] = np.dot(losses, [1, -8, 8, -1]) / (12 * h)
    return result.reshape(X.shape)


@pytest.mark.twin_when_thorough
@pytest.mark.parametrize("name", STACKS)
def test_it_meets_the_differences_of_the_loss(name, backend):
    net = network(name, backend, shape=X.shape[1:])
    gradient = net.input_gradient(X[:3], LABELS[:3])
    assert gradient.shape == (3, 4, 3, 2)
    assert np.abs(gradient).max() > 1e-3
    errors = [np.abs(gradient - differences(net, X[:3], LABELS[:3], h)) for h in (1e-4, 1e-5)]
    assert np.minimum(*errors).max() < 1e-9  # the longer step may meet a tie of a max pooling


@pytest.mark.parametrize("name", STACKS)
def test_both_backends_agree(name, core):
    c = network(name, "c")
    rows = X.reshape(len(X), -1)
    expected = copy_to(c, "numpy").input_gradient(rows, LABELS)
    assert np.abs(c.input_gradient(rows, LABELS) - expected).max() < 1e-12 * np.abs(expected).max()


def copy_to(net, backend):
    return type(net).from_state(net.__getstate__() | {"backend": backend})


def test_it_is_pytorchs(backend):
    torch = pytest.importorskip("torch")
    net = Network(
        24, [Dense(9, "tanh"), BatchNorm("relu"), Dense(3, "softmax")], seed=1, backend=backend
    )
    net.statistics = RNG.uniform(0.5, 1.5, net.statistics.size)
    theirs = torch.nn.Sequential(
        torch.nn.Linear(24, 9),
        torch.nn.Tanh(),
        torch.nn.BatchNorm1d(9),
        torch.nn.ReLU(),
        torch.nn.Linear(9, 3),
    ).double()
    tensors = {name: torch.tensor(value) for name, value in net.tensors.items()}
    with torch.no_grad():
        for number, layer in ((1, theirs[0]), (3, theirs[4])):
            layer.weight[:] = tensors[f"layers.{number}.W"]
            layer.bias[:] = tensors[f"layers.{number}.b"]
        theirs[2].weight[:], theirs[2].bias[:] = tensors["layers.2.gamma"], tensors["layers.2.beta"]
        theirs[2].running_mean[:] = tensors["layers.2.mean"]
        theirs[2].running_var[:] = tensors["layers.2.variance"]
    theirs.eval()
    x = torch.tensor(X.reshape(len(X), -1), requires_grad=True)
    torch.nn.functional.cross_entropy(theirs(x), torch.tensor(LABELS), reduction="sum").backward()
    gradient = net.input_gradient(X.reshape(len(X), -1), LABELS)
    assert np.abs(gradient - x.grad.numpy()).max() < 1e-14


def test_that_of_a_convolutional_network_is_pytorchs(backend):
    torch = pytest.importorskip("torch")
    layers = [Conv2D(5, 3, "tanh", padding="same"), MaxPool2D(2), Conv2D(4, 2, "relu")]
    net = Network((8, 6, 3), [*layers, Flatten(), Dense(3, "softmax")], seed=1, backend=backend)
    images = RNG.normal(size=(5, 8, 6, 3))
    x = torch.tensor(np.moveaxis(images, -1, 1), requires_grad=True)
    W = {name: torch.tensor(value) for name, value in net.tensors.items()}
    f = torch.nn.functional
    first = f.conv2d(x, W["layers.1.W"].permute(0, 3, 1, 2), W["layers.1.b"], padding=1)
    a = f.max_pool2d(torch.tanh(first), 2)
    a = torch.relu(f.conv2d(a, W["layers.3.W"].permute(0, 3, 1, 2), W["layers.3.b"]))
    z = a.permute(0, 2, 3, 1).flatten(1) @ W["layers.5.W"].T + W["layers.5.b"]
    f.cross_entropy(z, torch.tensor(LABELS[:5]), reduction="sum").backward()
    expected = np.moveaxis(x.grad.numpy(), 1, -1)
    assert np.abs(net.input_gradient(images, LABELS[:5]) - expected).max() < 1e-13


@pytest.mark.parametrize("name", STACKS)
def test_a_sample_has_the_same_bits_in_any_company_and_on_any_threads(name, core, monkeypatch):
    monkeypatch.setattr(pycnn._threads, "_limit", None)
    net = network(name, "c")
    rows = np.repeat(X.reshape(len(X), -1), 15, axis=0) + np.linspace(0, 1, 600)[:, None]
    labels = np.repeat(LABELS, 15)
    expected = net.input_gradient(rows, labels)
    for threads in (1, 2, 3, 7):
        pycnn.set_num_threads(threads)
        assert net.input_gradient(rows, labels).tobytes() == expected.tobytes()
    for first, count in ((0, 1), (5, 3), (17, 25), (300, 257)):
        some = slice(first, first + count)
        assert net.input_gradient(rows[some], labels[some]).tobytes() == expected[some].tobytes()


def test_nothing_is_changed_by_it_and_what_follows_is_the_same(backend):
    net, other = (network("residual with two readers", backend) for _ in range(2))
    rows = X.reshape(len(X), -1)
    before = net.theta.tobytes()
    net.input_gradient(rows, LABELS)
    assert net.theta.tobytes() == before
    for each in (net, other):
        each.fit(rows, LABELS, epochs=2, batch_size=9)
        each.input_gradient(rows[:3], LABELS[:3])
        each.partial_fit(rows, LABELS)
    assert net.theta.tobytes() == other.theta.tobytes()


def test_it_is_by_what_is_handed_in_whatever_its_form(backend):
    images = RNG.integers(0, 256, (5, 4, 3, 2)).astype(np.uint8)
    net = Network(
        (4, 3, 2), [Rescale(1 / 255), Flatten(), Dense(3, "softmax")], seed=0, backend=backend
    )
    y = LABELS[:5]
    gradient = net.input_gradient(images, y)
    assert np.abs(gradient - differences(net, images, y, h=0.01)).max() < 1e-9
    for same in (
        images.reshape(5, -1),
        images.astype(np.float32),
        np.repeat(images, 2, axis=0)[::2],
        np.asfortranarray(images),
    ):
        assert net.input_gradient(same, y).tobytes() == gradient.tobytes()
    # The same network over numbers that are scaled before has a gradient 255 times as large.
    scaled = Network((4, 3, 2), [Flatten(), Dense(3, "softmax")], seed=0, backend=backend)
    scaled.parameters = net.parameters
    assert scaled.input_gradient(images / 255, y) == pytest.approx(255 * gradient, rel=1e-12)


def test_the_loss_is_in_the_networks_own_unit_and_each_samples_own(backend):
    net = Network(2, [Dense(1)], seed=0, l2=0.1, backend=backend)
    net.layers[0].W = [[3.0, -1.0]]
    rows = np.array([[1.0, 1.0], [0.0, 2.0]])
    assert net.input_gradient(rows, [0.0, 1.0]) == pytest.approx(
        np.array([[6.0, -2.0], [-9.0, 3.0]])  # (3 x_1 - x_2 - y) (3, -1), and no 1 / m
    )
    net.target_scale = [10.0], [5.0]
    assert net.input_gradient(rows, [10.0, 15.0]) == pytest.approx(
        np.array([[6.0, -2.0], [-9.0, 3.0]])
    )


def test_a_loss_of_ones_own_has_one_too(backend):
    def loss(output, target):
        return 0.5 * ((output - target) ** 2).sum(axis=1), output - target

    own, ours = (
        Network(24, [Dense(5, "tanh"), Dense(2)], loss=how, seed=0, backend=backend)
        for how in (loss, "mse")
    )
    rows, y = X.reshape(len(X), -1), RNG.normal(size=(len(X), 2))
    assert own.input_gradient(rows, y) == pytest.approx(ours.input_gradient(rows, y), rel=1e-12)


def test_descending_by_it_makes_an_image_of_a_class(backend):
    net = network("dense", backend)
    rows, wanted = X.reshape(len(X), -1)[:1].copy(), np.array([2])
    before = net.evaluate(rows, wanted)["loss"]
    for _ in range(50):
        rows -= 0.5 * net.input_gradient(rows, wanted)
    assert net.evaluate(rows, wanted)["loss"] < 0.1 * before
    assert net.predict_classes(rows) == wanted


def test_what_it_cannot_be_taken_of_is_refused_as_elsewhere(backend):
    net = network("dense", backend)
    rows = X.reshape(len(X), -1)
    with pytest.raises(ShapeError, match=r"X must have shape \(samples, 24\)"):
        net.input_gradient(rows[:, :7], LABELS)
    broken = rows.copy()
    broken[1, 2] = np.nan
    with pytest.raises(DataError, match=r"X must be finite, but is NaN at row 1, column 2"):
        net.input_gradient(broken, LABELS)
    with pytest.raises(LabelError):
        net.input_gradient(rows, LABELS + 7)
    with pytest.raises(ShapeError):
        net.input_gradient(rows, LABELS[:5])
