"""Losses that are Python functions: the same training as by the core's, and nothing lost."""

import contextlib
import copy
import gc
import pickle
import weakref

import numpy as np
import pytest

import pycnn
from pycnn import SGD, Adam, BatchNorm, Dense, Dropout, Network
from pycnn.exceptions import (
    DataTypeError,
    DivergedError,
    PycnnError,
    ShapeError,
    UnknownNameError,
)

rng = np.random.default_rng(3)
X, Y = rng.normal(size=(70, 5)), rng.normal(size=(70, 2))


def mean_mse(a, y):
    return 0.5 * ((a - y) ** 2).sum() / len(a), (a - y) / len(a)


def each_mse(a, y):
    return 0.5 * ((a - y) ** 2).sum(axis=1), a - y


def network(loss, backend="auto"):
    layers = [Dense(9, "tanh"), BatchNorm(), Dropout(0.2), Dense(2)]
    return Network(5, layers, loss=loss, seed=1, backend=backend)


@pytest.mark.parametrize("options", [{}, {"optimizer": Adam()}, {"batch_size": None}])
@pytest.mark.parametrize("function", [mean_mse, each_mse])
def test_a_function_trains_as_the_loss_it_is(backend, function, options):
    ours, own = network("mse", backend), network(function, backend)
    histories = [
        net.fit(X, Y, epochs=3, batch_size=16, **options)
        if "batch_size" not in options
        else net.fit(X, Y, epochs=3, **options)
        for net in (ours, own)
    ]
    assert np.abs(ours.theta - own.theta).max() < 1e-12
    assert np.allclose(histories[0]["loss"], histories[1]["loss"], rtol=1e-13)
    assert own.evaluate(X, Y).keys() == {"loss"}
    assert abs(own.evaluate(X, Y)["loss"] - ours.evaluate(X, Y)["loss"]) < 1e-12
    assert np.abs(own.gradients(X, Y)[1] - ours.gradients(X, Y)[1]).max() < 1e-12


@pytest.mark.parametrize("training", [False, True])
def test_its_gradient_meets_differences(backend, training):
    def log_cosh(a, y):
        return np.log(np.cosh(a - y)).sum(axis=1), np.tanh(a - y)

    net = network(log_cosh, backend)
    assert pycnn.gradient_check(net, X[:20], Y[:20], training=training) < 1e-7


def test_weights_count_samples(backend):
    weight = np.arange(70) % 3
    ours, own = network("mse", backend), network(each_mse, backend)
    for net in (ours, own):
        net.fit(X, Y, epochs=2, sample_weight=weight)
    assert np.abs(ours.theta - own.theta).max() < 1e-12


def test_threads_and_one_sample():
    results = []
    before = pycnn.get_num_threads()
    try:
        for threads in (1, 2):
            pycnn.set_num_threads(threads)
            net = Network(5, [Dense(900, "tanh"), Dense(2)], loss=each_mse, seed=0)
            net.fit(np.tile(X, (5, 1)), np.tile(Y, (5, 1)), epochs=1, batch_size=200)
            net.fit(X[:3], Y[:3], epochs=1, batch_size=1)
            results.append(net.parameters.tobytes())
    finally:
        pycnn.set_num_threads(before)
    assert results[0] == results[1]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_what_it_raises_reaches_the_caller(backend, error):
    calls = []

    def third_time(a, y):
        calls.append(1)
        if len(calls) == 3:
            raise error("third")
        return each_mse(a, y)

    net, other = network(third_time, backend), network(each_mse, backend)
    with pytest.raises(error, match="third"):
        net.fit(X, Y, epochs=1, batch_size=10, shuffle=False)
    other.fit(X[:20], Y[:20], epochs=1, batch_size=10, shuffle=False)
    assert np.abs(net.theta - other.theta).max() < 1e-12  # two steps are done
    net.fit(X, Y, epochs=1)  # and it can be trained on
    assert net.evaluate(X, Y)["loss"] > 0


def test_what_it_raises_keeps_nothing_alive(backend):
    class Large:
        pass

    seen = []

    def failing(a, y):
        large = Large()
        seen.append(weakref.ref(large))
        raise ZeroDivisionError

    net = network(failing, backend)
    gc.disable()  # which would find it in the end
    try:
        for call in (net.evaluate, net.gradients, net.partial_fit):
            with contextlib.suppress(ZeroDivisionError):
                call(X, Y)
        alive = [large() for large in seen]
    finally:
        gc.enable()
    assert alive == [None] * 3


def test_a_mini_batch_after_all_the_data_at_once_takes_little_memory(core):
    net = network(each_mse, "c")
    net.evaluate(np.tile(X, (10, 1)), np.tile(Y, (10, 1)), batch_size=None)
    net.gradients(X[:8], Y[:8])
    assert [workspace.batch for workspace in net.plan._idle] == [8]
    net.predict(X[:3])
    net.evaluate(np.tile(X, (10, 1)), np.tile(Y, (10, 1)), batch_size=None)
    (workspace,) = net.plan._idle
    assert (workspace.batch, workspace.mode) == (700, 0)  # no room for a way back


def test_a_loss_that_is_not_finite_is_a_divergence(backend):
    net = network(lambda a, y: (np.full(len(a), np.nan), a), backend)
    with pytest.raises(DivergedError):
        net.fit(X, Y, epochs=1)
    assert np.isfinite(net.theta).all()


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (lambda a, y: 1.0, DataTypeError, "must return"),
        (lambda a, y: (1.0, a[:, :1]), ShapeError, "gradient must have"),
        (lambda a, y: (np.ones(3), a), ShapeError, "a number or of shape"),
        (lambda a, y: ("x", a), DataTypeError, "must return"),
    ],
)
def test_what_it_must_return(backend, function, error, words):
    with pytest.raises(error, match=words):
        network(function, backend).fit(X, Y)


def test_files_keep_all_but_the_function(tmp_path):
    net = network(each_mse)
    net.fit(X, Y, epochs=1, optimizer=SGD(0.1))
    net.save(tmp_path / "model.safetensors")
    without = pycnn.load(tmp_path / "model.safetensors")
    assert without.predict(X).tobytes() == net.predict(X).tobytes()
    with pytest.raises(PycnnError, match="loss=function"):
        without.fit(X, Y)
    for other in (
        pycnn.load(tmp_path / "model.safetensors", loss=each_mse),
        pickle.loads(pickle.dumps(net)),
        copy.deepcopy(net),
    ):
        assert other.loss == "custom"
        assert other.evaluate(X, Y) == net.evaluate(X, Y)


def test_what_is_no_function_is_refused():
    with pytest.raises(UnknownNameError, match="loss must be one of"):
        network(3.5)


# ------------------------------------------------------------------ losses that are no means


def lack_of_correlation(sizes):
    """1 - the correlation of outputs and targets over all samples of a call; notes their number."""

    def loss(a, y):
        sizes.append(len(a))
        da, dy = a - a.mean(axis=0), y - y.mean(axis=0)
        saa, syy, say = ((u * v).sum(axis=0) for u, v in ((da, da), (dy, dy), (da, dy)))
        r = say / np.sqrt(saa * syy)
        return float((1 - r).sum()), r * da / saa - dy / np.sqrt(saa * syy)

    return loss


LARGE = rng.normal(size=(1300, 5))
TARGETS = LARGE[:, :2] ** 2 + 0.1 * rng.normal(size=(1300, 2))


def correlated(backend, sizes, **options):
    layers = [Dense(9, "tanh"), Dense(2)]
    return Network(5, layers, loss=lack_of_correlation(sizes), seed=1, backend=backend, **options)


def test_a_mini_batch_is_one_call_however_large(backend):
    sizes = []
    net = correlated(backend, sizes)
    net.gradients(LARGE, TARGETS)
    assert sizes == [1300]
    sizes.clear()
    net.fit(LARGE, TARGETS, epochs=1, batch_size=700)
    assert sizes == [700, 600]
    sizes.clear()
    net.fit([(LARGE[:900], TARGETS[:900]), (LARGE[900:], TARGETS[900:])], epochs=1)
    assert sizes == [900, 400]
    sizes.clear()
    net.fit(LARGE, TARGETS, epochs=2, batch_size=None, optimizer="lbfgs")
    assert set(sizes) == {1300}
    assert pycnn.gradient_check(net, LARGE, TARGETS) < 1e-6


@pytest.mark.parametrize("options", [{}, {"optimizer": Adam()}, {"callbacks": [print]}])
def test_both_backends_learn_a_loss_that_is_no_mean(core, options):
    results = []
    for backend in ("c", "numpy"):
        sizes = []
        net = correlated(backend, sizes)
        history = net.fit(LARGE, TARGETS, epochs=4, batch_size=400, validation_split=0.4, **options)
        results.append((net.parameters.copy(), history, sizes))
    (theta, history, sizes), (other, history_2, sizes_2) = results
    assert sizes == sizes_2
    assert np.abs(theta - other).max() < 1e-9
    assert np.allclose(history["val_loss"], history_2["val_loss"], rtol=1e-12)
    assert history["loss"][-1] < history["loss"][0]


def test_evaluate_and_validation_say_how_many_samples_they_take(backend, monkeypatch, tmp_path):
    sizes = []
    net = correlated(backend, sizes, l2=0.01)
    net.fit(LARGE, TARGETS, epochs=1)  # a workspace that is larger than what comes
    net.gradients(LARGE, TARGETS)
    np.save(tmp_path / "x.npy", LARGE)
    monkeypatch.setattr("pycnn._data.sources.WHOLE", 0)
    stored = np.load(tmp_path / "x.npy", mmap_mode="r")
    for x in (LARGE, stored):
        for size, expected in ((256, [256] * 5 + [20]), (900, [900, 400]), (None, [1300])):
            sizes.clear()
            scores = net.evaluate(x, TARGETS, batch_size=size)
            assert sizes == expected
            if size is None:
                assert scores["loss"] == pytest.approx(net.gradients(LARGE, TARGETS)[0], rel=1e-12)
        sizes.clear()
        net.evaluate(x, TARGETS)
        assert sizes == [256] * 5 + [20]
        sizes.clear()
        net.fit(x, TARGETS, epochs=1, batch_size=800, validation_data=(x[:1000], TARGETS[:1000]))
        assert sizes == [800, 500, 800, 200]
    for wrong in (0, 1.5, "all"):
        with pytest.raises((DataTypeError, PycnnError), match="batch_size"):
            net.evaluate(LARGE, TARGETS, batch_size=wrong)
