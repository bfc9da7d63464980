"""Training: which samples make a step, what stops it, and what it leaves behind."""

import gc
import io
import os
import signal
import sys
import threading
import time
import types
import warnings

import numpy as np
import pytest

import pycnn
from pycnn import SGD, Callback, Dense, History, Network, gradient_check
from pycnn.callbacks import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from pycnn.exceptions import BusyError, DataError, DivergedError

RNG = np.random.default_rng(20)
X = RNG.normal(size=(22, 3))
Y = (X[:, 0] * X[:, 1] > 0).astype(float)
WEIGHT = RNG.choice([0.0, 1.0, 2.0, 3.0], size=22)


def make_network(backend, seed=5, **options):
    return Network(
        3, [Dense(4, "tanh"), Dense(1, "sigmoid")], seed=seed, backend=backend, **options
    )


def softmax_network(backend, seed=5):
    return Network(3, [Dense(5, "relu"), Dense(3, "softmax")], seed=seed, backend=backend)


def lecture_training(net, X, y, batch_size, epochs, alpha, weight=None):
    """Return parameters and losses of the lecture's loop: forward, delta, gradient, update."""
    (W1, b1), (W2, b2) = ((layer.W.copy(), layer.b[:, None].copy()) for layer in net.layers)
    weight = np.ones(len(X)) if weight is None else weight
    losses = []
    for _ in range(epochs):
        total = 0.0
        for start in range(0, len(X), batch_size):
            rows = slice(start, start + batch_size)
            A0, Y, w = X[rows].T, y[None, rows], weight[rows]
            A1 = np.tanh(W1 @ A0 + b1)
            A2 = 1 / (1 + np.exp(-(W2 @ A1 + b2)))
            total += -(w * (Y * np.log(A2) + (1 - Y) * np.log(1 - A2))).sum()
            if w.sum() == 0:
                continue
            delta2 = (A2 - Y) * w
            delta1 = (W2.T @ delta2) * (1 - A1**2)
            for theta, gradient in (
                (W2, delta2 @ A1.T),
                (b2, delta2.sum(axis=1, keepdims=True)),
                (W1, delta1 @ A0.T),
                (b1, delta1.sum(axis=1, keepdims=True)),
            ):
                theta -= alpha * gradient / w.sum()
        losses.append(total / weight.sum())
    return np.concatenate([part.ravel() for part in (W1, b1, W2, b2)]), losses


# ------------------------------------------------------------------ which samples make a step


@pytest.mark.filterwarnings("ignore:batch_size=1000")
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("batch_size", [None, 1, 2, 8, 21, 22, 1000])
def test_fit_is_the_lectures_loop(backend, batch_size, weight):
    # 22 rows in batches of 8: the last has 6 and is averaged over 6.
    net = make_network(backend)
    parameters, losses = lecture_training(net, X, Y, batch_size or 22, 5, 0.3, weight)
    history = net.fit(
        X,
        Y,
        epochs=5,
        batch_size=batch_size,
        optimizer=SGD(0.3),
        shuffle=False,
        sample_weight=weight,
    )
    np.testing.assert_allclose(net.parameters, parameters, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:y is not scaled")
def test_shuffling_takes_every_sample_once_an_epoch_and_in_a_new_order(backend):
    # One weight, no hidden layer, targets that are far apart: the sum of the steps tells the order.
    rows = np.arange(1.0, 9.0)[:, None]

    def run(**options):
        net = Network(1, [Dense(1)], seed=1, backend=backend)
        net.parameters = [0, 0]
        net.fit(rows, rows**3, batch_size=1, optimizer=SGD(0.003), **options)
        return net.parameters.tobytes()

    assert run(epochs=1) != run(epochs=1, shuffle=False)
    orders = pycnn._random.permutations(1, 8)(0, 50)
    assert (np.sort(orders, axis=1) == np.arange(8)).all()
    assert len({order.tobytes() for order in orders}) == 50
    net = Network(1, [Dense(1)], seed=1, backend=backend)
    net.parameters = [0, 0]
    for order in orders[:2]:
        net.fit(
            rows[order],
            rows[order] ** 3,
            epochs=1,
            batch_size=1,
            optimizer=SGD(0.003),
            shuffle=False,
        )
    assert run(epochs=2) == net.parameters.tobytes()


def test_whole_sample_weights_equal_repeated_rows(backend):
    weighted, repeated = make_network(backend), make_network(backend)
    counts = WEIGHT.astype(int)
    left = weighted.fit(X, Y, epochs=10, batch_size=None, sample_weight=counts)
    X2, Y2 = np.repeat(X, counts, axis=0), np.repeat(Y, counts)
    right = repeated.fit(X2, Y2, epochs=10, batch_size=None)
    np.testing.assert_allclose(weighted.parameters, repeated.parameters, rtol=1e-12)
    for key in left:
        np.testing.assert_allclose(left[key], right[key], rtol=1e-12)


def test_a_batch_whose_weights_are_all_zero_changes_nothing(backend):
    one, other = make_network(backend), make_network(backend)
    options = {"epochs": 3, "batch_size": 8, "shuffle": False}
    one.fit(X[8:], Y[8:], **options)
    other.fit(X, Y, sample_weight=np.repeat([0.0, 1.0], [8, 14]), **options)
    assert one.parameters.tobytes() == other.parameters.tobytes()


def test_all_weights_zero_leave_the_network_as_it_was(backend):
    net = make_network(backend)
    before = net.parameters.tobytes()
    history = net.fit(X, Y, epochs=2, sample_weight=np.zeros(22))
    assert net.parameters.tobytes() == before
    assert np.isnan(history["loss"]).all()
    assert np.isnan(history["accuracy"]).all()
    scores = net.evaluate(X, Y, np.zeros(22))
    assert list(scores) == ["loss", "accuracy"]
    assert np.isnan(list(scores.values())).all()
    loss, gradient = net.gradients(X, Y, np.zeros(22))
    assert np.isnan(loss)
    assert not gradient.any()
    assert np.isnan(net.train_on_batch(X, Y, sample_weight=np.zeros(22))["loss"])
    with pytest.raises(DataError, match="weight above 0"):
        gradient_check(net, X, Y, sample_weight=np.zeros(22))


@pytest.mark.parametrize("monitored", ["loss", "accuracy"])
def test_an_epoch_that_measures_nothing_is_never_the_best(backend, monitored, tmp_path):
    stopping = EarlyStopping(monitored, patience=2)
    keeping = ModelCheckpoint(tmp_path / "best.safetensors", best_only=True, monitor=monitored)
    plateau = ReduceLROnPlateau(monitored, patience=1)
    history = make_network(backend).fit(
        X, Y, epochs=5, sample_weight=np.zeros(22), callbacks=[stopping, keeping, plateau]
    )
    assert stopping.best is keeping.best is plateau.best is None
    assert history.epochs == 2
    assert not list(tmp_path.iterdir())


def test_validation_that_can_measure_nothing_is_refused_before_anything_changes(backend):
    net = Network(3, [Dense(2)], seed=0, backend=backend)
    before = net.parameters.tobytes()
    unknown, target = np.full((22, 2), np.nan), X[:, :2]
    batches = [(X, target)]
    cases = [
        ("validation_data must.*weight above 0", {"validation_data": (X, target, np.zeros(22))}),
        ("validation_data must.*all of its targets", {"validation_data": (X, unknown)}),
        (
            "validation_data must.*target",  # the one that is known has no weight
            {"validation_data": (X[:2], [[1.0, np.nan], [np.nan, np.nan]], [0.0, 1.0])},
        ),
        ("validation_split=0.2 must", {"validation_split": 0.2, "sample_weight": np.zeros(22)}),
    ]
    for message, options in cases:
        with pytest.raises(DataError, match=message):
            net.fit(X, target, missing_targets="mask", **options)
        if "validation_data" in options:
            with pytest.raises(DataError, match=message):
                net.fit(batches, missing_targets="mask", **options)
    assert net.parameters.tobytes() == before
    assert net.history is None
    scores = net.evaluate(X, unknown, missing_targets="mask")
    assert list(scores) == ["loss", "r2"]
    assert np.isnan(list(scores.values())).all()


def test_class_weights_equal_the_sample_weights_that_they_stand_for(backend):
    labels = np.array(["ant", "bee", "cat"])[np.arange(22) % 5 % 3]
    by_label = {"ant": 0.5, "cat": 3.0}
    counts = {label: (labels == label).sum() for label in np.unique(labels)}
    for class_weight, equivalent in (
        (by_label, [by_label.get(label, 1.0) for label in labels]),
        ("balanced", [22 / (3 * counts[label]) for label in labels]),
    ):
        one, other = softmax_network(backend), softmax_network(backend)
        one.fit(X, labels, epochs=4, class_weight=class_weight, sample_weight=WEIGHT)
        other.fit(X, labels, epochs=4, sample_weight=np.multiply(WEIGHT, equivalent))
        assert one.parameters.tobytes() == other.parameters.tobytes()


def test_class_weights_work_for_one_sigmoid_unit_and_for_one_hot_rows(backend):
    one, other = make_network(backend), make_network(backend)
    one.fit(X, Y, epochs=4, class_weight={1: 4.0})
    other.fit(X, Y, epochs=4, sample_weight=1 + 3 * Y)
    assert one.parameters.tobytes() == other.parameters.tobytes()
    one, other = softmax_network(backend), softmax_network(backend)
    labels = np.arange(22) % 3
    one.fit(X, np.eye(3)[labels], epochs=4, class_weight="balanced")
    other.fit(X, labels, epochs=4, class_weight="balanced")
    assert one.parameters.tobytes() == other.parameters.tobytes()


# ------------------------------------------------------------------ what is measured


def test_history_is_a_mapping_of_a_value_an_epoch(backend):
    net = make_network(backend)
    history = net.fit(X, Y, epochs=3, validation_data=(X, Y))
    assert history is net.history
    assert isinstance(history, History)
    assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert len(history) == 4
    assert history.epochs == net.epochs_trained == 3
    assert {len(values) for values in history.values()} == {3}
    assert all(isinstance(v, float) for values in history.values() for v in values)
    assert repr(history).startswith("History(epochs=3, last: loss=")
    assert dict(history)["loss"] == history["loss"]


def test_the_loss_of_an_epoch_is_that_before_its_update(backend):
    net = make_network(backend)
    before = net.evaluate(X, Y)
    history = net.fit(X, Y, epochs=1, batch_size=None)
    assert history["loss"][0] == pytest.approx(before["loss"], rel=1e-13)
    assert history["accuracy"][0] == before["accuracy"]


def test_validation_data_is_measured_after_each_epoch(backend):
    net, seen = make_network(backend), []
    history = net.fit(
        X[:15],
        Y[:15],
        epochs=4,
        validation_data=(X[15:], Y[15:], WEIGHT[15:]),
        callbacks=lambda net, epoch, logs: seen.append(net.evaluate(X[15:], Y[15:], WEIGHT[15:])),
    )
    assert history["val_loss"] == [scores["loss"] for scores in seen]
    assert history["val_accuracy"] == [scores["accuracy"] for scores in seen]


def test_validation_changes_nothing_about_the_training(backend):
    one, other = make_network(backend), make_network(backend)
    one.fit(X, Y, epochs=4)
    other.fit(X, Y, epochs=4, validation_data=(X, Y))
    assert one.parameters.tobytes() == other.parameters.tobytes()


def test_validation_split_holds_a_share_out_of_the_training(backend):
    net = make_network(backend)
    history = net.fit(X[:5], Y[:5], epochs=2, validation_split=0.2, shuffle=False)
    matches = []
    for out in range(5):  # exactly one row can have been held out
        keep = np.arange(5) != out
        other = make_network(backend)
        other.fit(X[:5][keep], Y[:5][keep], epochs=2, shuffle=False)
        if other.parameters.tobytes() == net.parameters.tobytes():
            matches.append(other.evaluate(X[out : out + 1], Y[out : out + 1])["loss"])
    assert matches == [history["val_loss"][-1]]


def test_validation_split_is_the_same_in_every_fit_and_depends_on_the_seed(backend):
    def losses(seed):
        net = make_network(backend, seed=seed)
        net.parameters = np.linspace(-1, 1, net.parameters.size)
        options = {"epochs": 1, "validation_split": 0.5, "optimizer": SGD(1e-300)}
        return [net.fit(X, Y, **options)["val_loss"][0] for _ in range(2)]

    assert losses(1)[0] == losses(1)[1] == losses(1)[0]
    assert losses(1) != losses(2)


def test_validation_split_splits_weights_of_samples_and_classes_too(backend):
    one, other = make_network(backend), make_network(backend)
    left = one.fit(X, Y, epochs=3, validation_split=0.3, class_weight={1: 2.0})
    right = other.fit(X, Y, epochs=3, validation_split=0.3, sample_weight=1 + Y)
    assert left["loss"] == right["loss"]
    assert one.parameters.tobytes() == other.parameters.tobytes()


def test_regression_is_scored_by_the_share_of_explained_variance(backend):
    net = Network(3, [Dense(2)], seed=0, backend=backend)
    targets = X[:, :2] + 0.1
    assert net.evaluate(X, net.predict(X))["r2"] == pytest.approx(1)
    error = ((net.predict(X) - targets) ** 2 * WEIGHT[:, None]).sum()
    mean = np.average(targets, axis=0, weights=WEIGHT)
    variation = ((targets - mean) ** 2 * WEIGHT[:, None]).sum()
    score = net.evaluate(X, targets, WEIGHT)
    assert score["r2"] == pytest.approx(1 - error / variation)
    assert score["loss"] == pytest.approx(error / 2 / WEIGHT.sum())


def constant(backend, values, loss=None):
    """Return a network that predicts these values whatever it is given."""
    net = Network(3, [Dense(len(values))], loss=loss, seed=0, backend=backend)
    net.layers[0].W[:], net.layers[0].b[:] = 0, values
    return net


@pytest.mark.parametrize("loss", ["mse", "mae"])
def test_r2_knows_targets_that_do_not_vary_from_those_that_hardly_do(backend, loss):
    met, missed = constant(backend, [0.1], loss), constant(backend, [0.2], loss)
    for y, options in (
        ([0.1] * 3, {}),  # whose mean is not 0.1
        ([0.1] * 22, {}),
        ([0.1, 0.1, 0.1, 5.0], {"sample_weight": [1, 2, 3, 0]}),
        ([0.1, np.nan, 0.1, 0.1], {"missing_targets": "mask"}),
    ):
        x = X[: len(y)]
        assert met.evaluate(x, y, **options)["r2"] == 1
        assert missed.evaluate(x, y, **options)["r2"] == 0
    history = missed.fit(
        X, X[:, 0], epochs=1, optimizer=SGD(1e-9), validation_data=(X[:3], [0.1] * 3)
    )
    assert history["val_r2"] == [0]
    # A small spread around a large mean is one: errors are as large as it, so r2 is 0.
    y = 1e9 + np.tile([-1e-5, 1e-5], 11)
    assert constant(backend, [1e9], loss).evaluate(X, y)["r2"] == pytest.approx(0, abs=1e-12)
    # Over several outputs one that does not vary adds nothing to the variation.
    y = np.column_stack([[0.1] * 22, np.tile([-1.0, 1.0], 11)])
    assert constant(backend, [0.1, 0.0], loss).evaluate(X, y)["r2"] == pytest.approx(0, abs=1e-14)


def test_r2_of_outputs_that_are_no_numbers_is_none(backend):
    for y in (X[:, 0], np.ones(22)):
        scores = constant(backend, [np.nan]).evaluate(X, y)
        assert list(scores) == ["loss", "r2"]
        assert np.isnan(list(scores.values())).all()


# ------------------------------------------------------------------ callbacks and stopping


class Recorder(Callback):
    def __init__(self):
        self.calls = []

    def on_train_begin(self, network):
        self.calls.append("begin")

    def on_epoch_begin(self, network, epoch):
        self.calls.append(("epoch", epoch, network.history.epochs))

    def on_epoch_end(self, network, epoch, logs):
        self.calls.append(("end", epoch, sorted(logs), network.history.epochs))

    def on_train_end(self, network):
        self.calls.append("done")


def test_callbacks_are_called_in_order_with_epochs_from_1(backend):
    recorder, seen = Recorder(), []
    net = make_network(backend)
    net.fit(X, Y, epochs=2, callbacks=[recorder, lambda net, epoch, logs: seen.append(epoch)])
    keys = ["accuracy", "loss"]
    assert recorder.calls == [
        "begin",
        ("epoch", 1, 0),
        ("end", 1, keys, 1),
        ("epoch", 2, 1),
        ("end", 2, keys, 2),
        "done",
    ]
    assert seen == [1, 2]


def test_callbacks_change_nothing_about_the_training(backend):
    one, other = make_network(backend), make_network(backend)
    one.fit(X, Y, epochs=6)
    other.fit(X, Y, epochs=6, callbacks=Recorder())
    assert one.parameters.tobytes() == other.parameters.tobytes()
    assert one.history["loss"] == other.history["loss"]


def test_stop_training_ends_after_the_present_epoch(backend):
    def stop(net, epoch, logs):
        net.stop_training = epoch == 3

    net = make_network(backend)
    assert net.fit(X, Y, epochs=100, callbacks=stop).epochs == 3
    assert net.fit(X, Y, epochs=2).epochs == 2  # the next fit starts afresh
    assert net.epochs_trained == 5


def assert_usable(net):
    assert np.isfinite(net.parameters).all()
    assert np.isfinite(net.predict(X)).all()
    assert net.fit(X, Y, epochs=1).epochs == 1


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_an_exception_in_a_callback_comes_out_and_leaves_a_usable_network(backend, error):
    def fail(net, epoch, logs):
        if epoch == 3:
            raise error

    net, other = make_network(backend), make_network(backend)
    with pytest.raises(error):
        net.fit(X, Y, epochs=100, callbacks=[fail])
    assert net.history.epochs == net.epochs_trained == 3
    other.fit(X, Y, epochs=3)
    assert net.parameters.tobytes() == other.parameters.tobytes()
    assert_usable(net)


@pytest.mark.parametrize("rows", [22, 40_000], ids=["short epochs", "long epochs"])
def test_ctrl_c_during_a_long_fit_is_answered(backend, rows):
    net = make_network(backend)
    inputs, targets = (np.resize(a, (rows, *a.shape[1:])) for a in (X, Y))
    start = net.parameters.tobytes()
    sent, ended = [], threading.Event()

    def interrupt():
        while net.parameters.tobytes() == start:  # until training runs
            time.sleep(0.01)
        sent.append(time.monotonic())
        signal.raise_signal(signal.SIGINT)
        if not ended.wait(60):  # a failure, and not a training without end
            net.stop_training = True

    thread = threading.Thread(target=interrupt)
    # Python itself loses an interrupt that comes while the collector calls a weak reference's
    # function, of which other tests leave many.
    gc.collect()
    gc.disable()
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            net.fit(inputs, targets, epochs=10**8)
    finally:
        ended.set()
        gc.enable()
    answered = time.monotonic() - sent[0]
    thread.join()
    assert answered < 5  # a fraction of a second, where the machine has nothing else to do
    assert net.history.epochs == net.epochs_trained
    assert_usable(net)


# ------------------------------------------------------------------ threads and processes


def training_in_the_background(net):
    """Return a thread that trains `net`, and the event that lets it end."""
    started, release = threading.Event(), threading.Event()

    def wait(net, epoch, logs):
        started.set()
        release.wait(60)

    thread = threading.Thread(target=net.fit, args=(X, Y), kwargs={"epochs": 1, "callbacks": wait})
    thread.start()
    started.wait(60)
    return thread, release


def test_a_second_fit_at_the_same_time_is_refused(backend):
    net = make_network(backend)
    thread, release = training_in_the_background(net)
    history = net.history
    try:
        with pytest.raises(BusyError, match="being trained already") as caught:
            net.fit(X, Y, epochs=1)
        assert isinstance(caught.value, RuntimeError)
        assert net.history is history
        net.predict(X)  # may go on meanwhile
    finally:
        release.set()
        thread.join()
    assert_usable(net)


def test_a_fit_from_inside_a_callback_is_refused(backend):
    net = make_network(backend)
    with pytest.raises(BusyError):
        net.fit(X, Y, epochs=2, callbacks=lambda net, epoch, logs: net.fit(X, Y))
    assert net.history.epochs == 1
    assert_usable(net)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_process_forked_during_training_can_train(backend):
    net = make_network(backend)
    thread, release = training_in_the_background(net)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads: on purpose
            child = os.fork()
        if child == 0:
            status = 1
            try:
                signal.alarm(60)
                net.fit(X, Y, epochs=2)
                status = 0 if np.isfinite(net.predict(X)).all() else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        release.set()
        thread.join()
    assert_usable(net)


def test_eight_threads_predict_at_once_and_get_the_right_answers(backend):
    net = Network(30, [Dense(40, "tanh"), Dense(7, "softmax")], seed=0, backend=backend)
    data = [np.random.default_rng(n).normal(size=(1 + 60 * n, 30)) for n in range(8)]
    right = [net.predict(x).tobytes() for x in data]
    wrong = []

    def work(x, expected):
        for _ in range(20):
            if net.predict(x).tobytes() != expected:
                wrong.append(len(x))

    threads = [threading.Thread(target=work, args=a) for a in zip(data, right, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ------------------------------------------------------------------ it learns


def test_xor_is_learned(backend):
    net = Network(2, [Dense(4, "tanh"), Dense(1, "sigmoid")], seed=0, backend=backend)
    corners, targets = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
    net.fit(corners, targets, epochs=2000, batch_size=None, optimizer=SGD(1.0))
    assert net.evaluate(corners, targets)["loss"] < 0.01
    assert net.predict_classes(corners).tolist() == targets


def test_digits_are_learned(backend):
    images, labels = pycnn.datasets.load_digits()
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order] / 16, labels[order]
    net = Network(64, [Dense(32, "relu"), Dense(10, "softmax")], seed=0, backend=backend)
    net.fit(images[360:], labels[360:], epochs=30, batch_size=32)
    assert net.evaluate(images[:360], labels[:360])["accuracy"] >= 0.96


def test_a_curve_is_learned(backend):
    x = np.linspace(-1, 1, 200)[:, None]
    net = Network(1, [Dense(16, "tanh"), Dense(1)], seed=0, backend=backend)
    net.fit(x, np.sin(3 * x), epochs=100, batch_size=20, optimizer=SGD(0.2, momentum=0.9))
    assert net.evaluate(x, np.sin(3 * x))["r2"] > 0.99


def test_text_labels_are_learned(backend):
    labels = np.where(X[:, 0] > 0.3, "large", np.where(X[:, 0] < -0.3, "small", "medium"))
    net = softmax_network(backend)
    net.fit(X, labels, epochs=600, batch_size=8)
    assert (net.predict_classes(X) == labels).mean() > 0.9


# ------------------------------------------------------------------ resuming and diverging


@pytest.mark.parametrize("options", [{}, {"shuffle": False}, {"batch_size": None}])
def test_fitting_in_two_parts_gives_the_bits_of_one(backend, options):
    whole, parts = make_network(backend), make_network(backend)
    left = whole.fit(X, Y, epochs=10, **options)["loss"]
    right = [v for n in (5, 5) for v in parts.fit(X, Y, epochs=n, **options)["loss"]]
    assert whole.parameters.tobytes() == parts.parameters.tobytes()
    assert left == right


# What diverges is what fit warns of.
unscaled = pytest.mark.filterwarnings("ignore:X is not scaled")


def diverging(backend, rate=3.0):
    """Return a network, and data with which SGD(rate) overflows after some steps."""
    net = Network(3, [Dense(4, "linear"), Dense(1)], seed=1, backend=backend)
    return net, {"X": 10 * X, "y": 10 * X.sum(axis=1), "optimizer": SGD(rate)}


@unscaled
@pytest.mark.parametrize("rate", [0.5, 3.0, 1e6])
@pytest.mark.parametrize("batch_size", [1, 4, None])
def test_divergence_is_an_error_that_leaves_the_last_finite_step(backend, batch_size, rate):
    net, arguments = diverging(backend, rate)
    options = {**arguments, "batch_size": batch_size, "shuffle": False}
    with pytest.raises(DivergedError, match="learning_rate") as caught:
        net.fit(epochs=500, **options)
    error = caught.value
    assert isinstance(error, FloatingPointError)
    assert f"epoch {error.epoch}, batch {error.batch}" in str(error)
    assert error.__suppress_context__  # one traceback, of the user's error alone
    assert np.isfinite(net.parameters).all()
    assert net.history.epochs == net.epochs_trained == error.epoch - 1
    if error.epoch > 1:  # up to the epoch before, all is as if nobody had wanted more
        other, _ = diverging(backend, rate)
        assert other.fit(epochs=error.epoch - 1, **options)["loss"] == net.history["loss"]


@unscaled
@pytest.mark.parametrize("callbacks", [None, [Callback()]], ids=["block", "epoch by epoch"])
@pytest.mark.parametrize("batch_size", [1, 5, None])
def test_divergence_is_noticed_at_the_same_batch_on_both_backends(core, batch_size, callbacks):
    places = set()
    for backend in ("c", "numpy"):
        net, arguments = diverging(backend)
        with pytest.raises(DivergedError) as caught:
            net.fit(epochs=500, batch_size=batch_size, callbacks=callbacks, **arguments)
        places.add((caught.value.epoch, caught.value.batch))
    assert len(places) == 1


@pytest.mark.parametrize("epochs", [1, 3, 4000])
def test_weights_that_overflow_behind_a_finite_loss_are_noticed(backend, epochs):
    # Row 3 sends W and b to minus infinity, where relu's output and gradient are 0 for ever.
    net = Network(1, [Dense(1, "relu")], backend=backend)
    net.parameters = [10.0, 0.0]
    with pytest.raises(DivergedError, match="parameters overflowed at epoch 1, batch 3") as caught:
        net.fit(
            [[1], [2], [1], [1], [3]],
            [10, 20, 0, 1, 1],
            epochs=epochs,
            batch_size=1,
            optimizer=SGD(1e308),
            shuffle=False,
        )
    assert (caught.value.epoch, caught.value.batch) == (1, 3)
    assert net.parameters.tolist() == [10.0, 0.0]
    assert net.history.epochs == net.epochs_trained == 0


@unscaled
def test_a_network_that_diverged_can_be_trained_again(backend):
    net, arguments = diverging(backend, 1e6)
    with pytest.raises(DivergedError):
        net.fit(epochs=50, **arguments)
    net.parameters = np.full(net.parameters.size, 0.1)
    history = net.fit(arguments["X"], arguments["y"], epochs=5, optimizer=SGD(1e-4))
    assert history["loss"][-1] < history["loss"][0]


def test_progress_draws_a_bar_only_when_asked_or_interactive(backend, capsys):
    pytest.importorskip("tqdm")
    net = make_network(backend)
    net.fit(X, Y, epochs=2)
    assert capsys.readouterr().err == ""
    net.fit(X, Y, epochs=2, progress=True)
    assert "epoch 2/2" in capsys.readouterr().err


class Stream:
    """A standard error as some programs put in its place: a part of what a file is."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass


class Terminal(Stream):
    """A terminal that goes away after some writing."""

    lasts = 10**9

    def isatty(self):
        return True

    def write(self, text):
        super().write(text)
        if len(self.text) > self.lasts:
            raise BrokenPipeError("the other end has gone")


class OddTerminal(Stream):
    def isatty(self):
        raise OSError("not a terminal")


def closed_stream():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("progress", [None, True])
@pytest.mark.parametrize(
    "make", [lambda: None, object, Stream, OddTerminal, closed_stream], ids=range(5)
)
def test_a_standard_error_that_is_no_file_does_not_keep_fit_from_training(
    backend, make, progress, monkeypatch
):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys, "stderr", make())
    assert make_network(backend).fit(X, Y, epochs=2, progress=progress).epochs == 2


def test_a_standard_error_that_was_deleted_does_not_keep_fit_from_training(backend, monkeypatch):
    monkeypatch.delattr(sys, "stderr")
    assert make_network(backend).fit(X, Y, epochs=2).epochs == 2


def test_a_notebook_without_a_standard_error_has_no_bar(backend, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    monkeypatch.setattr(sys, "stderr", None)
    assert make_network(backend).fit(X, Y, epochs=2).epochs == 2


def test_a_terminal_that_goes_away_takes_the_bar_along_and_not_the_training(backend, monkeypatch):
    tqdm = pytest.importorskip("tqdm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    make_network(backend).fit(X, Y, epochs=3)
    assert "epoch 3/3" in terminal.text
    terminal = Terminal()
    terminal.lasts = 10
    monkeypatch.setattr(sys, "stderr", terminal)
    callback = pycnn.callbacks.LambdaCallback(on_epoch_end=lambda *_: time.sleep(0.15))
    history = make_network(backend).fit(X, Y, epochs=3, callbacks=[callback])
    assert history.epochs == 3
    assert "epoch 3/3" not in terminal.text

    def draw_another_bar():
        with tqdm.tqdm.get_lock():
            drawn.append(True)

    drawn = []
    other = threading.Thread(target=draw_another_bar, daemon=True)
    other.start()
    other.join(timeout=10)
    assert drawn  # tqdm's lock, which all bars share, is free


def test_without_tqdm_a_bar_that_was_asked_for_is_an_error_and_others_are_left_out(
    backend, monkeypatch
):
    for name in ("tqdm", "tqdm.auto"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(sys, "stderr", Terminal())
    net = make_network(backend)
    assert net.fit(X, Y, epochs=2).epochs == 2
    with pytest.raises(ImportError, match="progress=True needs tqdm"):
        net.fit(X, Y, epochs=2, progress=True)
    assert net.fit(X, Y, epochs=2).epochs == 2


def test_a_warning_that_nobody_can_read_is_not_an_error(backend, run_python):
    code = f"""if True:
        import io, sys, pycnn
        closed = io.StringIO()
        closed.close()
        for sys.stderr in (None, object(), closed):
            net = pycnn.Network(1, [pycnn.Dense(1)], seed=0, backend={backend!r})
            net.fit([[1e4], [-1e4]], [1, 0], epochs=2, optimizer="adam")
            print(net.history.epochs)
        sys.stderr = sys.__stderr__
    """
    assert run_python(code) == "2\n2\n2\n"
