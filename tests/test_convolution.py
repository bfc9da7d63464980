"""Convolutions: against PyTorch, both backends, the same bits, files, and their mistakes."""

import copy
import itertools
import json
import os
import pickle
import tracemalloc

import numpy as np
import pytest

import pycnn
from pycnn import (
    LBFGS,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    BatchNorm,
    Conv1D,
    Conv2D,
    Dense,
    Flatten,
    MaxPool2D,
    Network,
    Rescale,
    Reshape,
    RMSprop,
    Rprop,
    gradient_check,
    initializers,
)
from pycnn._io import model_file, safetensors_file
from pycnn.exceptions import (
    DataError,
    DataTypeError,
    ModelFileError,
    PycnnError,
    ShapeError,
    UnknownNameError,
)
from pycnn.layers import from_config

PUBLIC = {name: getattr(pycnn, name) for name in pycnn.__all__}
RNG = np.random.default_rng(7)


# ------------------------------------------------------------------ PyTorch


@pytest.fixture
def torch():
    """PyTorch on one thread: more take long to begin with so little work."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch
    torch.set_num_threads(before)


def in_torch(torch, layer, images):
    """Return what PyTorch computes of images, and the leaves that it finds the derivatives by."""
    inputs = torch.tensor(images, requires_grad=True)
    parameters = [torch.tensor(p, requires_grad=True) for p in layer.tensors.values()]
    kernel, *bias = parameters
    sizes = (layer.kernel_size, layer.strides, layer.dilation)
    if isinstance(layer, Conv1D):
        sizes = [(size,) for size in sizes]
    beside = []
    for n, k, s, d in zip(images.shape[1:-1], *sizes, strict=True):
        total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0) if layer.padding == "same" else 0
        beside = [total // 2, total - total // 2, *beside]  # the last axis first
    function = torch.nn.functional.conv1d if len(sizes[0]) == 1 else torch.nn.functional.conv2d
    padded = torch.nn.functional.pad(inputs.movedim(-1, 1), beside)
    z = function(padded, kernel.movedim(-1, 1), *bias, stride=sizes[1], dilation=sizes[2])
    return torch.tanh(z.movedim(1, -1).flatten(1)), [inputs, *parameters]


def check_against_torch(torch, backend, layer, shape, samples):
    """Compare outputs and all gradients, that of the images through a convolution before them."""
    rng = np.random.default_rng(samples)
    through = (Conv1D if len(shape) == 2 else Conv2D)(shape[-1], 1, use_bias=False)
    net = Network(shape, [through, layer, Flatten()], loss="mse", seed=2, backend=backend)
    net.layers[0].W[:] = np.eye(shape[-1]).reshape(net.layers[0].W.shape)
    images, y = rng.normal(size=(samples, *shape)), rng.normal(size=(samples, net.outputs))
    outputs, (inputs, *parameters) = in_torch(torch, net.layers[1], images)
    loss = ((outputs - torch.tensor(y)) ** 2).sum() / (2 * samples)
    loss.backward()
    places = list(range(len(shape)))
    expected = [np.tensordot(inputs.grad.numpy(), images, axes=(places, places))]
    expected += [parameter.grad.numpy() for parameter in parameters]
    found, gradient = net.gradients(images, y)
    expected = np.concatenate([part.ravel() for part in expected])
    bound = 1e-10 * max(1, abs(expected).max())
    np.testing.assert_allclose(net.predict(images), outputs.detach().numpy(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(found, loss.item(), rtol=1e-10)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=bound)


def cases():
    """Return layers with the shapes and numbers of samples that they are met with."""
    every = itertools.product(
        *((1, 2, 3), (1, 2, 3, 5, 7), ("valid", "same"), (1, 2), (True, False)),
        *((1, 3, 8, 17), (1, 3, 8, 25, 129)),
    )
    found = []
    for strides, kernel, padding, dilation, one, channels, samples in every:
        if padding == "valid" and (kernel - 1) * dilation >= 9:
            continue
        filters = (1, 2, 3, 4, 8, 13)[len(found) % 6]
        options = {"padding": padding, "use_bias": len(found) % 5 > 0}
        if one:
            layer = Conv1D(filters, kernel, "tanh", strides=strides, dilation=dilation, **options)
            found.append((layer, (11, channels), samples))
        else:
            other = {1: 2, 2: 1, 3: 2, 5: 3, 7: 5}[kernel]  # columns, of their own
            layer = Conv2D(
                *(filters, (kernel, other), "tanh"),
                strides=(strides, 1 + strides % 3),
                dilation=(dilation, 1),
                **options,
            )
            found.append((layer, (9 + 2 * (len(found) % 2), 7, channels), samples))
    return found


CASES = cases()
# Of each backend's own some; with PYCNN_EVERY_COMPILER, as in .ci/run, a tenth of all.
MANY = os.environ.get("PYCNN_EVERY_COMPILER", "") not in ("", "0")
CHOSEN = np.random.default_rng(17).permutation(len(CASES))[: len(CASES) // 10 if MANY else 40]


@pytest.mark.parametrize("group", range(4))
def test_values_and_all_gradients_are_pytorchs(torch, backend, group):
    for number in CHOSEN[group::4]:
        check_against_torch(torch, backend, *CASES[number])


def check_backends(layer, shape, samples):
    """Compare outputs and gradients of the core and its twin."""
    rng = np.random.default_rng(samples)
    images = rng.normal(size=(samples, *shape))
    through = (Conv1D if len(shape) == 2 else Conv2D)(shape[-1], 1)
    nets = [
        Network(shape, [through, layer, Flatten()], loss="mse", seed=2, backend=name)
        for name in ("c", "numpy")
    ]
    y = rng.normal(size=(samples, nets[0].outputs))
    outputs = [net.predict(images) for net in nets]
    gradients = [net.gradients(images, y)[1] for net in nets]
    np.testing.assert_allclose(*outputs, rtol=0, atol=1e-12)
    np.testing.assert_allclose(*gradients, rtol=0, atol=1e-12 * max(1, abs(gradients[1]).max()))


def test_the_twin_computes_the_same(core):
    for number in CHOSEN:
        check_backends(*CASES[number])


@pytest.mark.parametrize("kernel", [(7, 1), (2, 7), (7, 8)])
def test_filters_may_be_larger_than_the_image(torch, backend, kernel):
    for strides in (1, 2):
        layer = Conv2D(3, kernel, "tanh", padding="same", strides=strides)
        check_against_torch(torch, backend, layer, (2, 3, 2), 9)


def test_an_image_may_be_one_row_or_one_column(torch, backend):
    for shape in ((1, 5, 2), (5, 1, 2), (1, 1, 3), (1, 2)):
        layer = (Conv1D if len(shape) == 2 else Conv2D)(3, 3, "tanh", padding="same")
        check_against_torch(torch, backend, layer, shape, 9)


@pytest.mark.parametrize(("name", "steps"), [("c", 50), ("numpy", 3)])
def test_lenet_trains_as_pytorchs(torch, request, name, steps):
    if name == "c":
        request.getfixturevalue("core")
    pool, conv = torch.nn.functional.max_pool2d, torch.nn.functional.conv2d
    layers = [Conv2D(6, 5, "relu", padding="same"), MaxPool2D(2), Conv2D(16, 5, "relu")]
    layers += [MaxPool2D(2), Flatten(), Dense(120, "relu"), Dense(84, "relu"), Dense(10, "softmax")]
    net = Network((28, 28, 1), layers, seed=4, backend=name)
    rng = np.random.default_rng(4)
    X, y = rng.uniform(size=(8 * steps, 28, 28, 1)), rng.integers(0, 10, 8 * steps)
    leaves = [torch.tensor(p.copy(), requires_grad=True) for p in net.tensors.values()]
    velocities = [torch.zeros_like(leaf) for leaf in leaves]
    kernel_1, b_1, kernel_2, b_2, *dense = leaves
    losses = []
    for first in range(0, len(X), 8):
        images = torch.tensor(X[first : first + 8]).movedim(-1, 1)
        a = pool(conv(images, kernel_1.movedim(-1, 1), b_1, padding=2).relu(), 2)
        a = pool(conv(a, kernel_2.movedim(-1, 1), b_2).relu(), 2).movedim(1, -1).flatten(1)
        for W, b in (dense[:2], dense[2:4]):
            a = (a @ W.T + b).relu()
        targets = torch.tensor(y[first : first + 8])
        loss = torch.nn.functional.cross_entropy(a @ dense[4].T + dense[5], targets)
        losses.append(loss.item())
        slopes = torch.autograd.grad(loss, leaves)
        with torch.no_grad():  # torch.optim takes seconds to import
            for leaf, velocity, slope in zip(leaves, velocities, slopes, strict=True):
                leaf -= 0.05 * velocity.mul_(0.9).add_(slope)
    history = net.fit(
        X, y, batch_size=8, epochs=1, optimizer=SGD(0.05, momentum=0.9), shuffle=False
    )
    np.testing.assert_allclose(history["loss"], [np.mean(losses)], rtol=1e-10)
    expected = np.concatenate([leaf.detach().numpy().ravel() for leaf in leaves])
    np.testing.assert_allclose(net.parameters, expected, rtol=0, atol=1e-10)


# ------------------------------------------------------------------ the same bits

SHAPE = (7, 6, 2)
IMAGES = RNG.integers(0, 256, (60, *SHAPE)).astype(np.uint8)
LABELS = RNG.integers(0, 3, 60)


def network(backend="auto", seed=3, **settings):
    """A small network of convolutions of all sorts, and one along the rows at the end."""
    layers = [
        Rescale(1 / 255),
        Conv2D(9, 3, "relu", padding="same", **settings),
        Conv2D(4, (2, 3), "tanh", strides=(2, 1), use_bias=False),
        Conv2D(5, 2, "tanh", padding="same", dilation=2),
        Reshape((3, -1)),
        Conv1D(6, 2, "sigmoid"),
        Flatten(),
        Dense(3, "softmax"),
    ]
    return Network(SHAPE, layers, seed=seed, backend=backend)


def test_gradients_of_convolutions_meet_differences(backend):
    images = IMAGES[:8]
    net = network(backend, l2=0.01)
    most = 2000 if backend == "c" else 60
    assert gradient_check(net, images, LABELS[:8], max_parameters=most) < 1e-7


def test_backends_agree_on_convolutions(core):
    nets = [network(name) for name in ("c", "numpy")]
    assert nets[0].parameters.tobytes() == nets[1].parameters.tobytes()
    gradients = [net.gradients(IMAGES, LABELS)[1] for net in nets]
    np.testing.assert_allclose(*gradients, rtol=0, atol=1e-14)
    traces = [net.trace(IMAGES, LABELS) for net in nets]
    for name in ("Z", "A", "delta"):
        for ours, theirs in zip(*(getattr(trace, name) for trace in traces), strict=True):
            if ours is not None:
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 3, 25, None])
def test_threads_change_no_bit_of_a_training(core, batch_size):
    found, before = set(), pycnn.get_num_threads()
    try:
        for threads in (1, 2, 3, 7):
            pycnn.set_num_threads(threads)
            net = network("c")
            net.fit(IMAGES, LABELS, epochs=2, batch_size=batch_size, optimizer="adam")
            net.fit(np.tile(IMAGES, (11, 1, 1, 1)), np.tile(LABELS, 11), epochs=1, batch_size=600)
            found.add(net.theta.tobytes() + net.predict(IMAGES).tobytes())
    finally:
        pycnn.set_num_threads(before)
    assert len(found) == 1


def test_where_images_lie_changes_no_bit(backend, tmp_path, monkeypatch):
    def trained(X):
        net = network(backend)
        net.fit(X, LABELS, epochs=2, batch_size=8)
        return net.parameters.tobytes() + net.predict(X).tobytes()

    expected = trained(IMAGES.astype(np.float64))
    monkeypatch.setattr("pycnn._data.sources.WHOLE", 100)
    monkeypatch.setattr("pycnn._data.sources.PIECE", 2000)
    wide = np.zeros((60, 7, 12, 2), np.uint8)
    wide[:, :, ::2] = IMAGES
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    flat = IMAGES.reshape(60, -1)
    for X in (IMAGES, IMAGES.astype(np.float32), wide[:, :, ::2], mapped, flat, flat.tolist()):
        assert trained(X) == expected


def test_what_was_stopped_goes_on_with_the_same_bits(backend, tmp_path):
    def stop(net, epoch, logs):
        net.stop_training = epoch == 2

    settings = {"epochs": 5, "batch_size": 16, "optimizer": "adam"}
    once, net = network(backend), network(backend)
    once.fit(IMAGES, LABELS, **settings)
    net.fit(IMAGES, LABELS, **settings, callbacks=[stop])
    net.save(tmp_path / "net.safetensors", training_state=True)
    loaded = pycnn.load(tmp_path / "net.safetensors", backend=backend)
    for other in (net, loaded):
        other.fit(IMAGES, LABELS, **settings, resume=True)
        assert other.theta.tobytes() == once.theta.tobytes()


def test_a_row_has_its_bits_alone_in_a_slice_and_in_a_batch(backend):
    net = network(backend)
    rows = np.tile(IMAGES, (5, 1, 1, 1)).astype(np.float64)
    expected = net.predict(rows)
    some = [0, 7, 8, 31, 64, 299]
    alone = [net.predict(rows[i : i + 1])[0] for i in some]
    assert np.array(alone).tobytes() == expected[some].tobytes()
    assert net.predict(rows[3:20]).tobytes() == expected[3:20].tobytes()
    for frozen in (False, True):
        one, four = net.predictor(frozen=frozen), net.predictor(4, frozen=frozen)
        found = np.array([one(rows[i])[0].copy() for i in some])
        assert found.tobytes() == expected[some].tobytes()
        assert four(rows[5:9]).tobytes() == expected[5:9].tobytes()


# ------------------------------------------------------------------ training

TRAININGS = {
    "momentum": {"optimizer": SGD(0.05, momentum=0.9, nesterov=True)},
    "adam": {"optimizer": Adam(0.01)},
    "adamw": {"optimizer": AdamW(0.01)},
    "rmsprop": {"optimizer": RMSprop(0.005, centered=True)},
    "adagrad": {"optimizer": Adagrad(0.02)},
    "rprop": {"optimizer": Rprop(), "batch_size": None},
    "lbfgs": {"optimizer": LBFGS(), "batch_size": None},
    "clipped": {"optimizer": SGD(0.2, clip_norm=0.3, clip_value=0.1)},
    "weighted": {"sample_weight": np.arange(60) % 4 / 2, "class_weight": "balanced"},
    "one by one": {"batch_size": 1},
    "three by three": {"batch_size": 3},
}
PENALTIES = {
    "l1 and l2": {"l1": 0.01, "l2": 0.02},
    "max_norm": {"max_norm": 0.5},
}


@pytest.mark.parametrize("name", [*TRAININGS, *PENALTIES])
def test_both_backends_train_alike(core, name):
    settings = {"epochs": 3, "batch_size": 16, "optimizer": SGD(0.1)} | TRAININGS.get(name, {})
    thetas = []
    for backend in ("c", "numpy"):
        net = network(backend, **PENALTIES.get(name, {}))
        before = net.theta.copy()
        net.fit(IMAGES, LABELS, **settings)
        assert (net.theta != before).mean() > 0.9
        thetas.append(net.theta)
    np.testing.assert_allclose(*thetas, rtol=0, atol=1e-10)
    if name == "max_norm":
        norms = np.linalg.norm(net.layers[1].W.reshape(9, -1), axis=1)
        assert norms.max() <= 0.5 * (1 + 1e-15)
        assert norms.max() > 0.49


def test_gradients_do_not_depend_on_what_was_computed_before(core):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(600, 4, 4, 1)), rng.integers(0, 2, 600)
    layers = [Conv2D(3, 2, "relu"), BatchNorm(), Flatten(), Dense(2, "softmax")]
    net = Network((4, 4, 1), layers, seed=0, backend="c")
    net.fit(X, y, epochs=1, batch_size=600)  # all in one mini-batch, since that is normalized
    other = copy.copy(net)
    net.gradients(X, y, training=True)
    assert np.array_equal(net.gradients(X, y)[1], other.gradients(X, y)[1])


def test_a_penalty_means_all_weights_and_no_bias(backend):
    net = Network((4, 4, 2), [Conv2D(3, 2, l1=0.5), Flatten(), Dense(1)], l2=0.25, backend=backend)
    W, D = net.layers[0].W, net.layers[2].W
    net.layers[0].b = np.full(3, 100.0)
    x = np.zeros((1, 4, 4, 2))
    y = net.predict(x)
    loss = net.evaluate(x, y)["loss"]
    squares = (W**2).sum() + (D**2).sum()
    np.testing.assert_allclose(loss, 0.5 * abs(W).sum() + 0.125 * squares, rtol=1e-14)


# ------------------------------------------------------------------ where they start


@pytest.mark.parametrize("layer", [Conv1D(200, 5, "relu"), Conv2D(200, (1, 5), "relu")])
@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("he_normal", 2 / 40),
        ("he_uniform", 2 / 40),
        ("glorot_normal", 2 / (40 + 1000)),
        ("glorot_uniform", 2 / (40 + 1000)),
        ("fan_in_uniform", 1 / 40 / 3),
    ],
)
def test_weights_and_biases_start_by_the_fans_of_a_convolution(layer, name, variance):
    made = type(layer)(200, layer.kernel_size, weight_initializer=name, bias_initializer=name)
    shape = (9, 8) if isinstance(layer, Conv1D) else (1, 9, 8)
    layers = [Network(shape, [made, Flatten(), Dense(1)], seed=seed).layers[0] for seed in range(3)]
    W, b = (np.concatenate([getattr(x, of).ravel() for x in layers]) for of in ("W", "b"))
    assert W.var() == pytest.approx(variance, rel=0.03)
    assert b.var() == pytest.approx(variance, rel=0.25)


def test_an_initializer_of_ones_own_draws_filters():
    class Counting(initializers.Initializer):
        name = "counting"

        def draw(self, bits, fan_out, fan_in):
            return np.arange(float(fan_out * fan_in)).reshape(fan_out, fan_in)

    class Scaled(Counting):
        name = "scaled"

        def law(self, fan_out, fan_in):
            return initializers.Uniform(fan_out, fan_out)

    layer = Conv2D(3, 2, weight_initializer=Counting(), bias_initializer=Counting())
    found = Network((4, 4, 2), [layer, Flatten(), Dense(1)], seed=0).layers[0]
    assert found.W.ravel().tolist() == list(range(24))
    assert found.b.tolist() == [0, 1, 2]
    layer = Conv2D(3, 2, weight_initializer=Scaled())
    found = Network((4, 4, 2), [layer, Flatten(), Dense(1)], seed=0).layers[0]
    assert (found.W == 12).all()


# ------------------------------------------------------------------ what it says of itself


@pytest.mark.parametrize(
    "text",
    [
        "Conv2D(8, 3, 'linear')",
        "Conv2D(8, (3, 5), 'relu', strides=(1, 2), padding='same', dilation=2, use_bias=False)",
        "Conv2D(8, 3, 'tanh', weight_initializer=Zeros(), l1=0.5, l2=0.1, max_norm=2.0)",
        "Conv1D(4, 3, 'relu', strides=2, dilation=3)",
    ],
)
def test_a_layer_is_shown_as_it_is_written(text):
    layer = eval(text, {**PUBLIC, **vars(initializers)})
    assert repr(layer) == text
    again = from_config(json.loads(json.dumps(layer.config())))
    assert repr(again) == text
    assert again.config() == layer.config()


def test_settings_can_be_read():
    layer = Conv2D(8, (3, 5), strides=(1, 2), padding="same", dilation=2, use_bias=False)
    assert (layer.filters, layer.kernel_size, layer.strides) == (8, (3, 5), (1, 2))
    assert (layer.padding, layer.dilation, layer.use_bias) == ("same", (2, 2), False)
    assert Conv1D(8, 3, strides=2).kernel_size == 3
    assert Conv1D(8, [3], strides=np.int64(2)).strides == 2
    assert layer.b is None


def test_biases_can_be_set_where_there_are_some():
    net = network("auto")
    net.layers[1].b = np.arange(9)
    assert net.layers[1].b.tolist() == list(range(9))
    assert net.tensors["layers.2.b"].tolist() == list(range(9))
    assert "layers.3.b" not in net.tensors
    with pytest.raises(PycnnError, match="this layer has no biases: use_bias=False"):
        net.layers[2].b = np.zeros(4)
    with pytest.raises(PycnnError, match="not part of a network"):
        _ = Conv2D(8, 3).b


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: Conv2D(0, 3), DataError, "filters must be at least 1, got 0"),
        (lambda: Conv2D(8.0, 3), DataTypeError, "filters must be an integer, got 8.0"),
        (lambda: Conv2D(8, 0), DataError, "kernel_size must be at least 1, got 0"),
        (lambda: Conv2D(8, 3.0), DataTypeError, "an integer or a pair of integers, got 3.0"),
        (lambda: Conv2D(8, (3, 3, 3)), DataError, r"a pair of integers, got \(3, 3, 3\)"),
        (lambda: Conv1D(8, (3, 3)), DataError, r"kernel_size must be an integer, got \(3, 3\)"),
        (lambda: Conv2D(8, (3, True)), DataTypeError, "kernel_size must be an integer, got True"),
        (lambda: Conv2D(8, 3, strides=0), DataError, "strides must be at least 1, got 0"),
        (lambda: Conv2D(8, 3, dilation=(1, -1)), DataError, "dilation must be at least 1, got -1"),
        (lambda: Conv2D(8, 3, padding="Same"), UnknownNameError, "did you mean 'same'"),
        (lambda: Conv2D(8, 3, use_bias=1), DataTypeError, "use_bias must be True or False, got 1"),
        (lambda: Conv2D(8, 3, "softmax"), DataError, r"Flatten\(\) and Dense\(classes, 'softmax'"),
        (lambda: Conv2D(8, 3, l1=-1), DataError, "l1 must be"),
    ],
)
def test_wrong_settings_are_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize(
    ("shape", "layer", "words"),
    [
        (784, Conv2D(8, 3), r"\(rows, columns, channels\), but they have shape \(784,\): Reshape\("
         r"\(28, 28, 1\)\) in front"),
        (783, Conv2D(8, 3), r"Reshape\(\(rows, columns, channels\)\) in front of it"),
        ((9, 8), Conv2D(8, 3), r"shape \(9, 8\): Reshape\(\(9, 8, 1\)\) in front of it"),
        (30, Conv1D(8, 3), r"\(positions, channels\), but .* \(30,\): Reshape\(\(30, 1\)\)"),
        ((9, 8, 3), Conv1D(8, 3), r"shape \(9, 8, 3\): Reshape\(\(9, 24\)\) in front of it"),
        ((4, 9, 2), Conv2D(8, 5), r"covers 5 rows and 5 columns, more than its input of shape "
         r"\(4, 9, 2\) has: take a smaller one, or padding=\"same\""),
        ((4, 2), Conv1D(8, 3, dilation=2), r"covers 5 positions, more than"),
        ((3, 32, 32), Conv2D(8, 5), r"channels come last, as in \(32, 32, 3\)"),
        ((6, 6, 1), Conv2D(8, 3, padding="same", dilation=6), "see one of them at most"),
        ((9, 9, 1), Conv2D(2**60, 3), "does not fit into memory"),
        ((9, 9, 1), Conv2D(8, 2**30, padding="same"), "does not fit into memory"),
    ],
)  # fmt: skip
def test_samples_that_do_not_suit_are_refused_with_the_remedy(shape, layer, words, backend):
    with pytest.raises(ShapeError, match=words):
        Network(shape, [layer, Flatten(), Dense(1)], backend=backend)


def test_networks_are_copied_and_shown(tmp_path, capsys):
    net = network()
    net.fit(IMAGES, LABELS, epochs=1)
    net.save(tmp_path / "net.safetensors")
    assert rb"\"format\": 2" in (tmp_path / "net.safetensors").read_bytes()
    loaded = pycnn.load(tmp_path / "net.safetensors")
    for other in (loaded, pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        assert repr(other) == repr(net)
        assert other.predict(IMAGES).tobytes() == net.predict(IMAGES).tobytes()
    net.summary()
    assert "W (9, 3, 3, 2), b (9,)" in capsys.readouterr().out
    assert "(7, 6, 9)" in net._repr_html_()


# ------------------------------------------------------------------ model files


HUGE = 2**62
WRONG = {
    "filters": [0, -1, 10, HUGE, 10**30, 9.0, "9", None, True, [9]],
    "kernel_size": [0, 2, 6, HUGE, 10**30, 3.0, "33", None, [], [3], [3, 2], [3, 3, 3], [3, HUGE]],
    "strides": [0, -1, 2.0, None, [1], [1, 0], [10**30, 1], [1, 1, 1]],
    "dilation": [0, 7, HUGE, [1, HUGE], [1, 10**30], None],
    "padding": ["Same", "valid", 1, None, []],
    "use_bias": [False, 1, None, "True"],
    "activation": ["softmax", "rleu", None],
    "kernel": [3],
    "units": [9],
}


@pytest.mark.parametrize("key", WRONG)
def test_forged_settings_are_refused_and_take_no_memory(tmp_path, key):
    path = tmp_path / "net.safetensors"
    layers = [Conv2D(9, 3, "relu", padding="same", strides=2), Flatten(), Dense(3, "softmax")]
    Network(SHAPE, layers, seed=1).save(path)
    with open(path, "rb") as file:
        metadata, tensors, _ = safetensors_file.read(file, path.stat().st_size)
    described = json.loads(metadata["pycnn"])
    tensors = {name: np.array(tensor) for name, tensor in tensors.items()}

    def forge(change):
        forged = copy.deepcopy(described)
        forged["layers"][0].update(change)
        del forged["sha256"]
        numbers = np.concatenate([tensors[name].ravel() for name in sorted(tensors)])
        forged["sha256"] = model_file._checksum(forged, numbers)
        text = json.dumps(forged, sort_keys=True)
        path.write_bytes(b"".join(safetensors_file.write(tensors, {"pycnn": text})))
        return pycnn.load(path)

    assert forge({"strides": 2, "kernel_size": 3}).layers[0].kernel_size == (3, 3)
    tracemalloc.start()
    try:
        for value in WRONG[key]:
            with pytest.raises(ModelFileError):
                forge({key: value})
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_weights_of_pytorchs_layout_are_refused_with_the_remedy():
    net = Network((6, 5, 2), [Conv2D(3, 3), Flatten(), Dense(1)], seed=0)
    with pytest.raises(ShapeError, match=r"channels come last: np.moveaxis\(W, 1, -1\)"):
        net.layers[0].W = np.zeros((3, 2, 3, 3))
    net.layers[0].W = np.moveaxis(np.zeros((3, 2, 3, 3)), 1, -1)
