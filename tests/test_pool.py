"""Pooling and padding: against PyTorch, both backends, the same bits, files, and their mistakes."""

import copy
import io
import itertools
import json
import os
import pickle

import numpy as np
import pytest

import pycnn
from pycnn import (
    AveragePool1D,
    AveragePool2D,
    Conv1D,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePool1D,
    GlobalAveragePool2D,
    GlobalMaxPool1D,
    GlobalMaxPool2D,
    MaxPool1D,
    MaxPool2D,
    Network,
    Residual,
    ZeroPadding2D,
    gradient_check,
)
from pycnn._io import model_file, safetensors_file
from pycnn.exceptions import (
    DataError,
    DataTypeError,
    ModelFileError,
    ShapeError,
    UnknownNameError,
)

PUBLIC = {name: getattr(pycnn, name) for name in pycnn.__all__}
POOLS = [MaxPool1D, MaxPool2D, AveragePool1D, AveragePool2D]
GLOBAL_POOLS = [GlobalMaxPool1D, GlobalMaxPool2D, GlobalAveragePool1D, GlobalAveragePool2D]


def is_along_a_sequence(layer):
    return type(layer).__name__.endswith("1D")


def is_maximum(layer):
    return "Max" in type(layer).__name__


# ------------------------------------------------------------------ PyTorch


def in_torch(layer, images):
    """Return what PyTorch makes of images, (samples, channels, *places)."""
    torch = pytest.importorskip("torch")
    nn = torch.nn.functional
    axes = images.ndim - 2
    if isinstance(layer, ZeroPadding2D):
        (above, below), (left, right) = layer.padding
        return nn.pad(images, (left, right, above, below))
    if "Global" in type(layer).__name__:
        flat = images.flatten(2)
        return flat.amax(2) if is_maximum(layer) else flat.mean(2)
    sizes, strides = ((x,) * (axes == 1) or x for x in (layer.pool_size, layer.strides))
    beside = []
    for n, k, s in zip(images.shape[2:], sizes, strides, strict=True):
        total = max((-(-n // s) - 1) * s + k - n, 0) if layer.padding == "same" else 0
        beside = [total // 2, total - total // 2, *beside]  # the last axis first
    if is_maximum(layer):
        pool = nn.max_pool1d if axes == 1 else nn.max_pool2d
        return pool(nn.pad(images, beside, value=-torch.inf), sizes, strides)
    pool = nn.avg_pool1d if axes == 1 else nn.avg_pool2d
    there = torch.ones_like(images)
    sums, shares = (pool(nn.pad(x, beside), sizes, strides) for x in (images, there))
    return sums / shares


def check_against_torch(backend, layer, shape, samples, values):
    """Compare outputs, and the gradient of the images by a convolution that changes nothing."""
    import torch

    rng = np.random.default_rng(samples)
    through = (Conv1D if len(shape) == 2 else Conv2D)(shape[-1], 1)
    net = Network(shape, [through, layer, Flatten()], loss="mse", seed=2, backend=backend)
    net.layers[0].W[:] = np.eye(shape[-1]).reshape(net.layers[0].W.shape)
    net.layers[0].b[:] = 0
    images = values(rng, (samples, *shape))
    y = rng.normal(size=(samples, net.outputs))
    inputs = torch.tensor(images, requires_grad=True)
    outputs = in_torch(layer, inputs.movedim(-1, 1)).movedim(1, -1).flatten(1)
    loss = ((outputs - torch.tensor(y)) ** 2).sum() / (2 * samples)
    loss.backward()
    found, gradient = net.gradients(images, y)
    places = list(range(len(shape)))
    dW = np.tensordot(inputs.grad.numpy(), images, axes=(places, places))
    db = inputs.grad.numpy().sum(axis=tuple(places))
    expected = np.concatenate([dW.ravel(), db])
    bound = 1e-10 * max(1, abs(expected).max())
    np.testing.assert_allclose(net.predict(images), outputs.detach().numpy(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(found, loss.item(), rtol=1e-10)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=bound)


def normal(rng, shape):
    return rng.normal(size=shape)


def tied(rng, shape):
    """Numbers of which many are equal: there, too, the first one is meant."""
    return rng.integers(-2, 3, size=shape).astype(float)


def cases():
    """Return layers with the shapes and numbers of samples that they are met with."""
    every = itertools.product(
        *(POOLS, (1, 2, 3), (2, 3), ("valid", "same")), (1, 3, 8, 17), (1, 3, 8, 25, 129)
    )
    for number, (kind, strides, size, padding, channels, samples) in enumerate(every):
        values = (normal, tied)[number % 2]
        if kind in (MaxPool1D, AveragePool1D):
            layer = kind(size, strides=strides, padding=padding)
            yield layer, (10 + number % 3, channels), samples, values
            continue
        sizes, steps = (size, 1 + number % 4), (strides, 1 + number % 3)
        layer = kind(sizes, strides=steps, padding=padding)
        yield layer, (7 + number % 2, 5, channels), samples, values
    for kind, channels in itertools.product(GLOBAL_POOLS, (1, 3, 17)):
        shape = (9, channels) if "1D" in kind.__name__ else (5, 3, channels)
        yield kind(), shape, 25, normal  # PyTorch's amax shares out what is tied
    for padding, channels in itertools.product((0, 1, (2, 0), ((0, 3), (1, 0))), (1, 3, 17)):
        yield ZeroPadding2D(padding), (3, 4, channels), 8, normal


CASES = list(cases())
if not os.environ.get("PYCNN_EVERY_COMPILER"):
    some = np.random.default_rng(17).choice(len(CASES), 60, replace=False)
    CASES = [CASES[i] for i in sorted(some)]


def test_outputs_and_gradients_are_those_of_pytorch(backend):
    pytest.importorskip("torch")
    for case in CASES:
        check_against_torch(backend, *case)


# ------------------------------------------------------------------ by hand

IMAGE = np.array([[3.0, 1, 4, 1, 5], [9, 2, 6, 5, 3], [5, 8, 9, 7, 9]])


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (MaxPool2D(), [[9, 6]]),
        (MaxPool2D(2, padding="same"), [[9, 6, 5], [8, 9, 9]]),
        (MaxPool2D((1, 3), strides=(2, 1)), [[4, 4, 5], [9, 9, 9]]),
        (MaxPool2D(9, strides=9, padding="same"), [[9]]),
        (AveragePool2D(2, padding="same"), [[3.75, 4, 4], [6.5, 8, 9]]),
        (AveragePool2D((3, 1), strides=(1, 2)), [[17 / 3, 19 / 3, 17 / 3]]),
        (MaxPool2D(1), IMAGE),
    ],
    ids=repr,
)
def test_an_image_is_pooled(layer, expected, backend):
    net = Network((3, 5, 1), [layer, Flatten()], backend=backend)
    (found,) = net.predict(IMAGE[None])
    np.testing.assert_allclose(found, np.ravel(expected), rtol=1e-15)


def test_a_nan_is_seen_in_the_windows_that_have_it_and_in_no_other(backend):
    layers = [Conv2D(2, 1), Conv2D(1, 1), MaxPool2D(2, strides=1), Flatten()]
    net = Network((3, 5, 2), layers, seed=0, backend=backend)
    net.layers[0].W[:] = np.diag([1e308, 1e308])[:, None, None]
    net.layers[1].W[:] = 1
    images = np.zeros((15, 3, 5, 2))
    for sample in range(15):
        images[sample, sample // 5, sample % 5] = 10, -10  # inf - inf
    with np.errstate(all="ignore"):
        found = net.predict(images).reshape(15, 2, 4)
    seen = np.lib.stride_tricks.sliding_window_view(images[..., 0], (2, 2), (1, 2)).any((3, 4))
    np.testing.assert_array_equal(np.isnan(found), seen)


# ------------------------------------------------------------------ in networks

RNG = np.random.default_rng(7)
IMAGES, LABELS = RNG.normal(size=(41, 7, 6, 2)), RNG.integers(0, 3, size=41)


def network(backend, seed=1):
    layers = [
        *(ZeroPadding2D(((1, 0), (0, 2))), Conv2D(5, 3, "tanh"), MaxPool2D(3, strides=2)),
        *(Conv2D(8, 2, "tanh", padding="same"), AveragePool2D(2, strides=1, padding="same")),
        *(MaxPool2D((2, 1), padding="same"), GlobalAveragePool2D(), Dense(3, "softmax")),
    ]
    return Network((7, 6, 2), layers, seed=seed, backend=backend)


def sequences(backend):
    layers = [
        *(Conv1D(4, 3, "tanh"), MaxPool1D(3, strides=1, padding="same"), AveragePool1D(2)),
        *(GlobalMaxPool1D(), Dense(3, "softmax")),
    ]
    return Network((14, 6), layers, seed=1, backend=backend)


def test_gradients_meet_differences(backend):
    assert gradient_check(network(backend), IMAGES[:9], LABELS[:9], max_parameters=60) < 1e-6
    X = IMAGES[:9].reshape(9, 14, 6)
    assert gradient_check(sequences(backend), X, LABELS[:9], max_parameters=60) < 1e-6


@pytest.mark.parametrize("make", [network, sequences])
def test_both_backends_agree(core, make):
    nets = [make(name) for name in ("c", "numpy")]
    X = IMAGES.reshape(41, *nets[0].input_shape)
    for batch_size in (1, 3, 8, 25, None):
        results = [net.gradients(X, LABELS) for net in nets]
        np.testing.assert_allclose(results[0][1], results[1][1], rtol=0, atol=1e-12)
        np.testing.assert_allclose(*(net.predict(X) for net in nets), rtol=0, atol=1e-12)
        for net in nets:
            net.fit(X, LABELS, epochs=1, batch_size=batch_size, shuffle=False)
    np.testing.assert_allclose(nets[0].theta, nets[1].theta, rtol=0, atol=1e-11)


def test_what_is_handed_back_does_not_change_what_it_is_made_of(core):
    """Neither a trace's deltas nor those that other layers get."""
    around = Residual([MaxPool2D(3, strides=1, padding="same")])
    layers = [Conv2D(3, 3), MaxPool2D(2, strides=1), around, Conv2D(2, 2), Flatten(), Dense(3)]
    nets = [Network((7, 6, 2), layers, seed=1, backend=name) for name in ("c", "numpy")]
    X, Y = IMAGES[:5], IMAGES[:5, 0, :3, 0]
    results = [[*net.trace(X, Y).delta[1:], net.gradients(X, Y)[1]] for net in nets]
    for in_c, in_numpy in zip(*results, strict=True):
        np.testing.assert_allclose(in_c, in_numpy, rtol=0, atol=1e-12)


def test_threads_and_what_is_beside_a_sample_change_no_bit(backend):
    found, before = set(), pycnn.get_num_threads()
    try:
        for threads in (1, 2, 3):
            pycnn.set_num_threads(threads)
            net = network(backend)
            for batch_size in (1, 16, None):
                net.fit(IMAGES, LABELS, epochs=1, batch_size=batch_size)
            found.add(net.theta.tobytes())
    finally:
        pycnn.set_num_threads(before)
    assert len(found) == 1
    expected, one = net.predict(IMAGES), net.predictor()
    for i in (0, 17, 40):
        assert net.predict(IMAGES[i : i + 1]).tobytes() == expected[i].tobytes()
        assert one(IMAGES[i]).tobytes() == expected[i].tobytes()


def test_networks_that_pool_are_saved_and_copied(tmp_path, backend):
    net = network(backend)
    net.fit(IMAGES, LABELS, epochs=2)
    net.save(tmp_path / "net", training_state=True)
    loaded = pycnn.load(tmp_path / "net", backend=backend)
    for other in (loaded, pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        assert repr(other) == repr(net)
        assert other.predict(IMAGES).tobytes() == net.predict(IMAGES).tobytes()
    for trained in (net, loaded):
        trained.fit(IMAGES, LABELS, epochs=2)
    assert loaded.theta.tobytes() == net.theta.tobytes()


@pytest.mark.parametrize(
    "layer",
    [
        *(kind(3, strides=2, padding="same") for kind in POOLS),
        *(kind() for kind in (*POOLS, *GLOBAL_POOLS)),
        *(MaxPool2D((2, 3)), AveragePool2D(2, strides=(1, 2)), MaxPool1D(3, strides=3)),
        *map(ZeroPadding2D, (0, 1, (2, 1), ((1, 0), (2, 2)))),
    ],
    ids=repr,
)
def test_a_layer_is_rebuilt_from_what_it_says_of_itself(layer):
    shown = eval(repr(layer), PUBLIC)
    config = json.loads(json.dumps(layer.config()))
    for other in (shown, pycnn.layers.from_config(config)):
        assert type(other) is type(layer)
        assert (repr(other), other.config()) == (repr(layer), layer.config())


def test_settings_are_as_they_were_given():
    layer = MaxPool2D((2, 3), padding="same")
    assert (layer.pool_size, layer.strides, layer.padding) == ((2, 3), (2, 3), "same")
    layer = AveragePool1D(np.int64(4), strides=2)
    assert (layer.pool_size, layer.strides, layer.padding) == (4, 2, "valid")
    assert ZeroPadding2D((1, 2)).padding == ((1, 1), (2, 2))


# ------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: MaxPool2D(0), DataError, "pool_size must be at least 1, got 0"),
        (lambda: MaxPool2D((2, 2, 2)), DataError, "an integer or a pair of integers, got"),
        (lambda: MaxPool1D((2, 2)), DataError, "must be an integer, got"),
        (lambda: MaxPool2D(1.5), DataTypeError, "an integer or a pair of integers, got 1.5"),
        (lambda: MaxPool2D(True), DataTypeError, "must be an integer, got True"),
        (lambda: AveragePool2D(strides=0), DataError, "strides must be at least 1, got 0"),
        (lambda: AveragePool1D(padding="full"), UnknownNameError, "padding must be one of valid"),
        (lambda: ZeroPadding2D(-1), DataError, "padding must be at least 0, got -1"),
        (lambda: ZeroPadding2D((1, 2, 3)), DataError, "a pair of pairs"),
        (lambda: ZeroPadding2D(((1, 2, 3), 1)), DataError, "an integer or a pair of integers, got"),
        (lambda: ZeroPadding2D("same"), DataTypeError, "must be an integer"),
    ],
)
def test_wrong_settings_are_errors_that_say_what_is_right(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("shape", "layer", "message"),
    [
        ((28, 28), MaxPool2D(), r"\(rows, columns, channels\), but .* \(28, 28\): Reshape\(\(28, "),
        ((784,), GlobalMaxPool2D(), r"but they have shape \(784,\): Reshape\(\(28, 28, 1\)\)"),
        ((9, 3, 1), AveragePool1D(), r"\(positions, channels\), but they have shape \(9, 3, 1\)"),
        ((9,), GlobalAveragePool1D(), r"\(positions, channels\), but they have shape \(9,\)"),
        ((4, 4), ZeroPadding2D(), r"\(rows, columns, channels\), but they have shape \(4, 4\)"),
        ((3, 9, 2), MaxPool2D(4), r"covers 4 rows and 4 columns, .* \(3, 9, 2\) has: take a"),
        ((3, 32, 32), MaxPool2D(4), r"channels come last, as in \(32, 32, 3\)"),
        ((1, 2, 1), ZeroPadding2D(10**18), "does not fit into memory"),
    ],
)
def test_samples_of_another_shape_are_errors_that_say_what_to_do(shape, layer, message, backend):
    with pytest.raises(ShapeError, match=message):
        Network(shape, [layer, Flatten(), Dense(1)], backend=backend)


def test_a_window_larger_than_anything_sees_the_whole_image(backend):
    layer = MaxPool2D(10**18, strides=10**18, padding="same")
    net = Network((7, 6, 2), [layer, Flatten()], backend=backend)
    assert net.predict(IMAGES).tobytes() == IMAGES.max(axis=(1, 2)).tobytes()


@pytest.mark.parametrize("name", ["MaxPooling2D", "AvgPool2d", "GlobalAvgPool2D", "ZeroPad2d"])
def test_the_names_of_other_libraries_lead_to_ours(name):
    ours = {"M": "MaxPool2D", "A": "AveragePool2D", "G": "GlobalAveragePool2D"}
    expected = ours.get(name[0], "ZeroPadding2D")
    with pytest.raises(AttributeError, match=f"did you mean '{expected}'"):
        getattr(pycnn, name)


@pytest.mark.parametrize(
    "change",
    [
        {"pool_size": 0},
        {"pool_size": [2, 2, 2]},
        {"pool_size": 10**30},
        {"pool_size": None},
        {"strides": [0, 1]},
        {"padding": "full"},
        {"pool_size": 99, "padding": "valid"},
        {"kind": "max_pool1d"},
        {"kind": "global_max_pool2d"},
        {"kind": "max_pool3d"},
        {"dilation": 1},
    ],
    ids=str,
)
def test_files_with_settings_that_cannot_be_are_refused(tmp_path, change):
    path = tmp_path / "net"
    layers = [MaxPool2D(4, padding="same"), Flatten(), Dense(2)]
    Network((7, 6, 2), layers, seed=0).save(path)
    forge(path, change)
    with pytest.raises(ModelFileError, match="is damaged or was altered"):
        pycnn.load(path)


@pytest.mark.parametrize(
    "padding", [-1, [1, 2, 3], [[1, 2], [3]], [[10**18, 0], [0, 0]], "same", None, 10**30, 1.0]
)
def test_files_with_margins_that_cannot_be_are_refused(tmp_path, padding):
    path = tmp_path / "net"
    layers = [ZeroPadding2D(1), GlobalMaxPool2D(), Dense(2)]
    Network((7, 6, 2), layers, seed=0).save(path)
    forge(path, {"padding": padding})
    with pytest.raises(ModelFileError, match="is damaged or was altered"):
        pycnn.load(path)


def forge(path, change):
    """Change the first layer's settings in a file, whose checksum fits again."""
    content = path.read_bytes()
    metadata, tensors, _ = safetensors_file.read(io.BytesIO(content), len(content))
    description = json.loads(metadata["pycnn"])
    description["layers"][0].update(change)
    text = json.dumps(description, sort_keys=True)
    path.write_bytes(b"".join(map(bytes, model_file._seal(tensors, text))))
