"""Samples that are more than a row: their shapes, and the layers that change them."""

import copy
import pickle

import numpy as np
import pytest

import pycnn
from pycnn import (
    BatchNorm,
    Dense,
    Dropout,
    Flatten,
    Network,
    Rescale,
    Reshape,
    Residual,
    gradient_check,
)
from pycnn.augmentation import Compose, GaussianNoise, ImageFlip, ImageShift, Mixup
from pycnn.exceptions import DataError, DataTypeError, ShapeError

RNG = np.random.default_rng(5)
IMAGES = RNG.uniform(size=(40, 6, 5, 1))
LABELS = RNG.integers(0, 3, 40)


def network(shape=(6, 5, 1), backend="auto", *layers):
    """A network of images, with a layer's worth of shapes in between."""
    middle = layers or (Flatten(), Dense(7, "tanh"), Reshape((7, 1)), Flatten())
    return Network(shape, [*middle, Dense(3, "softmax")], seed=3, backend=backend)


def test_inputs_have_a_shape_and_a_number():
    net = network()
    assert net.input_shape == (6, 5, 1)
    assert net.inputs == 30
    assert Network(4, [Dense(1)]).input_shape == (4,)
    assert Network([4], [Dense(1)], seed=0).inputs == 4
    assert Network(np.int64(4), [Dense(1)]).input_shape == (4,)
    assert repr(net).startswith("Network((6, 5, 1), [Flatten(), Dense(7, 'tanh'), Reshape((7, 1))")


def test_a_network_of_shapes_is_shown_with_them(capsys):
    net = network()
    net.summary()
    shown = capsys.readouterr().out
    assert "3 reshape" in shown
    assert "(7, 1)" in shown
    assert "(6, 5, 1) inputs, 3 outputs" in shown
    assert "54 activations a sample (0.4 kB)" in shown  # 30 + 7 + 7 + 7 + 3
    assert "(6, 5, 1) inputs" in net._repr_html_()
    assert eval(repr(net)).input_shape == (6, 5, 1)


@pytest.mark.parametrize("view", [(40, 6, 5, 1), (40, 30), (40, 6, 5)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
def test_images_may_lie_in_rows_and_without_their_one_channel(view, dtype, backend):
    images = (IMAGES * 200).astype(dtype)
    expected = network(backend=backend).predict(images.astype(np.float64).reshape(40, 30))
    net = network(backend=backend)
    assert net.predict(images.reshape(view)).tobytes() == expected.tobytes()
    assert net.predict(images.reshape(view).tolist()).tobytes() == expected.tobytes()
    for row in range(3):
        one = images.reshape(view)[row : row + 1].astype(np.float64)
        assert net.predict(one).tobytes() == expected[row].tobytes()


def test_a_shape_changes_nothing_but_how_numbers_are_seen(backend):
    shaped = Network((6, 5), [Flatten(), Dense(7, "relu"), Dense(3, "softmax")], seed=3)
    flat = Network(30, [Dense(7, "relu"), Dense(3, "softmax")], seed=3, backend=backend)
    assert shaped.parameters.tobytes() == flat.parameters.tobytes()
    kwargs = {"epochs": 2, "batch_size": 16, "optimizer": "adam"}
    shaped.fit(IMAGES[..., 0], LABELS, **kwargs)
    flat.fit(IMAGES.reshape(40, 30), LABELS, **kwargs)
    np.testing.assert_allclose(shaped.parameters, flat.parameters, rtol=0, atol=1e-12)


def test_strides_memory_maps_and_iterables_are_the_same_samples(backend, tmp_path, monkeypatch):
    monkeypatch.setattr("pycnn._data.sources.WHOLE", 100)
    monkeypatch.setattr("pycnn._data.sources.PIECE", 2000)
    images = (IMAGES * 255).astype(np.uint8)

    def trained(X):
        net = network((6, 5, 1), backend, Rescale(1 / 255), Flatten(), Dense(7, "tanh"))
        net.fit(X, LABELS, epochs=2, batch_size=8)
        return net.parameters.tobytes() + net.predict(X).tobytes()

    expected = trained(images.astype(np.float64))
    assert trained(images) == expected
    wide = np.zeros((40, 6, 10, 2), np.uint8)
    wide[:, :, ::2, :1] = images
    assert trained(wide[:, :, ::2, :1]) == expected
    assert trained(np.asfortranarray(images)) == expected
    np.save(tmp_path / "images.npy", images)
    assert trained(np.load(tmp_path / "images.npy", mmap_mode="r")) == expected
    np.save(tmp_path / "columns.npy", np.asfortranarray(images))
    assert trained(np.load(tmp_path / "columns.npy", mmap_mode="r")) == expected
    layers = Rescale(1 / 255), Flatten()
    net, other = (network((6, 5, 1), backend, *layers) for _ in range(2))
    batches = [(images[i : i + 8], LABELS[i : i + 8]) for i in range(0, 40, 8)]
    net.fit(batches, epochs=2)
    other.fit(images, LABELS, epochs=2, batch_size=8, shuffle=False)
    assert net.parameters.tobytes() == other.parameters.tobytes()


@pytest.mark.parametrize(
    ("shape", "given", "words"),
    [
        ((6, 5, 3), (40, 3, 6, 5), r"channels come last: np.moveaxis\(X, 1, -1\)"),
        ((6, 5, 3), (6, 5, 3), r"a single sample is X\[np.newaxis\]"),
        ((6, 5, 1), (6, 5), r"a single sample is X\[np.newaxis\]"),
        ((6, 5), (6, 5, 40), r"samples come first: np.moveaxis\(X, -1, 0\)"),
        ((6, 5, 3), (40, 7, 5), r"\(samples, 6, 5, 3\) or \(samples, 90\), got \(40, 7, 5\)$"),
        ((6, 5, 3), (40, 6, 5), r"np.repeat\(X\[..., np.newaxis\], 3, axis=-1\) gives grey images"),
        ((6, 5, 1), (40, 6, 5, 3), r"X.mean\(axis=-1\) makes grey images of coloured ones"),
        ((6, 5, 1), (40, 31), r"\(samples, 6, 5, 1\) or \(samples, 30\) or \(samples, 6, 5\)"),
        ((6, 5, 1), (), r"got \(\)$"),
        ((30,), (40, 6, 5), r"X.reshape\(len\(X\), -1\) has a row for each sample"),
    ],
)
def test_another_shape_is_refused_with_the_remedy(shape, given, words, backend):
    net = Network(shape, [Flatten(), Dense(1)], backend=backend)
    for call in (net.predict, lambda X: net.fit(X, np.zeros(len(X) if X.shape else 1))):
        with pytest.raises(ShapeError, match=words):
            call(np.zeros(given))


def test_no_image_and_what_is_not_finite_are_refused_with_their_place(backend, monkeypatch):
    net = network(backend=backend)
    with pytest.raises(DataError, match=r"at least one sample, got shape \(0, 6, 5, 1\)"):
        net.predict(np.zeros((0, 6, 5, 1)))
    bad = IMAGES.copy()
    bad[7, 3, 2, 0] = np.nan
    for call in (net.predict, lambda X: net.fit(X, LABELS), lambda X: net.evaluate(X, LABELS)):
        with pytest.raises(DataError, match=r"is NaN at index \(7, 3, 2, 0\)"):
            call(bad)
    monkeypatch.setattr("pycnn._data.sources.WHOLE", 100)
    with pytest.raises(DataError, match=r"is NaN at index \(7, 3, 2, 0\)"):
        net.predict(bad.astype(np.float32))


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ("28", DataTypeError, "inputs must be an integer or a tuple of integers, got '28'"),
        (2.5, DataTypeError, "inputs must be an integer"),
        (True, DataTypeError, "inputs must be an integer"),
        ((28, 2.5), DataTypeError, "inputs must be an integer, got 2.5"),
        ((28, 0), DataError, "inputs must be at least 1, got 0"),
        ((-1, 5), DataError, "inputs must be at least 1, got -1"),
        ((), DataError, "inputs must have 1 to 3 sizes"),
        ((1, 2, 3, 4), DataError, "inputs must have 1 to 3 sizes"),
        ((2**40, 2**40), ShapeError, "does not fit into memory"),
        ({3}, DataTypeError, "inputs must be an integer or a tuple"),
    ],
)
def test_inputs_that_are_no_shape_are_refused(value, error, words):
    with pytest.raises(error, match=words):
        Network(value, [Flatten(), Dense(1)])


def test_layers_that_take_rows_name_what_makes_them():
    with pytest.raises(ShapeError, match=r"have shape \(6, 5, 1\): Flatten\(\) in front"):
        Network((6, 5, 1), [Dense(2), Dense(1)])
    with pytest.raises(ShapeError, match=r"shape \(3, 2, 1\): Flatten\(\) behind it"):
        Network(4, [Dense(6), Reshape((3, 2, 1))])


def test_reshape_refuses_what_does_not_fit():
    with pytest.raises(ShapeError, match=r"\(\(4, 5\)\) cannot take .*\(6, 5\): they have 30"):
        Network((6, 5), [Reshape((4, 5)), Flatten(), Dense(1)])
    with pytest.raises(ShapeError, match=r"Reshape\(\(4, -1\)\) cannot take"):
        Network((6, 5), [Reshape((4, -1)), Flatten(), Dense(1)])
    with pytest.raises(DataError, match="shape may have one -1, which follows from the rest"):
        Reshape((-1, -1))
    with pytest.raises(DataError, match="shape must be at least 1, got 0"):
        Reshape(0)
    with pytest.raises(DataTypeError, match="shape must be an integer or a tuple"):
        Reshape("flat")
    net = Network((6, 5), [Reshape((3, -1, 2)), Reshape(-1), Dense(1)])
    assert net.architecture.shapes == ((6, 5), (3, 5, 2), (30,), (1,))


@pytest.mark.parametrize("bad", [0, np.nan, np.inf, "2", None, True])
def test_rescale_refuses_what_is_no_factor(bad):
    with pytest.raises((DataError, DataTypeError), match="scale must"):
        Rescale(bad)
    if bad is not True and bad != 0:
        with pytest.raises((DataError, DataTypeError), match="offset must"):
            Rescale(1.0, bad)


def test_rescale_is_a_line(backend):
    net = Network((2, 2), [Rescale(2, -1), Flatten(), Rescale(0.1)], seed=0, backend=backend)
    X = RNG.normal(size=(37, 2, 2))
    expected = ((X * 2.0 + -1.0).reshape(37, 4) * 0.1) + 0.0
    assert net.predict(X).tobytes() == expected.tobytes()
    assert repr(Rescale(2, -1)) == "Rescale(2.0, offset=-1.0)"


def test_bytes_come_in_as_they_are_with_rescale(backend):
    images = (IMAGES * 255).astype(np.uint8)
    net = network((6, 5, 1), backend, Rescale(1 / 255), Flatten(), Dense(8, "relu"))
    history = net.fit(images, LABELS, epochs=30, optimizer="adam")  # and no warning of their size
    assert history["loss"][-1] < history["loss"][0]


MIXED = (
    Rescale(2.0, 0.5),
    Dropout(0.2),
    Flatten(),
    Dense(12, "tanh"),
    Residual([Reshape((3, 4)), Rescale(0.5), Flatten(), Dense(12)], activation="tanh"),
    BatchNorm(),
    Reshape((2, 6)),
    Flatten(),
)


@pytest.mark.twin_when_thorough
def test_gradients_of_shapes_are_right(backend):
    net = network((6, 5, 1), backend, *MIXED)
    for training in (False, True):
        assert gradient_check(net, IMAGES, LABELS, training=training) < 1e-7


def test_both_backends_agree_on_shapes(core):
    nets = [network((6, 5, 1), name, *MIXED) for name in ("c", "numpy")]
    np.testing.assert_allclose(*(n.predict(IMAGES) for n in nets), rtol=0, atol=1e-13)
    traces = [n.trace(IMAGES, LABELS) for n in nets]
    for name in ("Z", "A", "delta"):
        for ours, theirs in zip(*(getattr(t, name) for t in traces), strict=True):
            if ours is not None:
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)
    for n in nets:
        n.fit(IMAGES, LABELS, epochs=3, batch_size=7)
    np.testing.assert_allclose(*(n.theta for n in nets), rtol=0, atol=1e-11)


def test_a_mini_batch_of_one_image_is_trained_on_and_threads_change_nothing(backend):
    found = set()
    before = pycnn.get_num_threads()
    try:
        for threads in (1, 2, 3):
            pycnn.set_num_threads(threads)
            net = network((6, 5, 1), backend, *(MIXED[:5]))
            net.fit(IMAGES, LABELS, epochs=2, batch_size=1)
            net.fit(IMAGES, LABELS, epochs=2, batch_size=None)
            found.add(net.theta.tobytes())
    finally:
        pycnn.set_num_threads(before)
    assert len(found) == 1


def test_networks_of_shapes_are_saved_pickled_and_folded(tmp_path, backend):
    net = network((6, 5, 1), backend, *MIXED)
    net.fit(IMAGES, LABELS, epochs=2)
    expected = net.predict(IMAGES)
    net.save(tmp_path / "net.safetensors", training_state=True)
    assert rb"\"format\": 2" in (tmp_path / "net.safetensors").read_bytes()  # 0.1 says so
    loaded = pycnn.load(tmp_path / "net.safetensors", backend=backend)
    for other in (loaded, pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        assert other.input_shape == (6, 5, 1)
        assert repr(other) == repr(net)
        assert other.predict(IMAGES).tobytes() == expected.tobytes()
    np.testing.assert_allclose(net.folded().predict(IMAGES), expected, rtol=0, atol=1e-12)
    net.fit(IMAGES, LABELS, epochs=2)
    loaded.fit(IMAGES, LABELS, epochs=2)
    assert loaded.theta.tobytes() == net.theta.tobytes()


def test_a_predictor_takes_an_image(backend):
    net = network(backend=backend)
    expected = net.predict(IMAGES)
    p = net.predictor()
    for shape in ((1, 6, 5, 1), (6, 5, 1), (30,), (1, 30)):
        assert p(IMAGES[0].reshape(shape)).tobytes() == expected[0].tobytes()
    p = net.predictor(4)
    assert p(IMAGES[:4]).tobytes() == expected[:4].tobytes()
    with pytest.raises(ShapeError, match=r"\(4, 6, 5, 1\), got float64 of shape \(5, 6, 5, 1\)"):
        p(IMAGES[:5])


def test_augmenters_see_images(backend):
    seen = []

    def look(x, y, rng):
        seen.append(x.shape)
        return x, y

    shape = (6, 5, 1)
    change = Compose(ImageShift(shape), ImageFlip((6, 5)), GaussianNoise(0.1), Mixup())
    nets = [network(backend=backend), network((30,), backend, Dense(7, "tanh"))]
    nets[1].parameters = nets[0].parameters
    for net, X in zip(nets, (IMAGES, IMAGES.reshape(40, 30)), strict=True):
        net.fit(X, LABELS, epochs=1, batch_size=16, augment=[change, look])
    assert seen == [(16, *shape), (16, *shape), (8, *shape), (16, 30), (16, 30), (8, 30)]
    np.testing.assert_allclose(nets[0].parameters, nets[1].parameters, rtol=0, atol=1e-12)
    with pytest.raises(DataTypeError, match=r"needs x of shape \(m, 25\) or \(m, 5, 5\), got"):
        nets[0].fit(IMAGES, LABELS, augment=ImageFlip((5, 5)))
