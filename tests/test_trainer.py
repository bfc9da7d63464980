"""`Network.trainer`: what `train_on_batch` does, in less time."""

import copy
import os
import sys
import threading

import numpy as np
import pytest

import pycnn
from pycnn import GRU, SGD, Adam, BatchNorm, Dense, Dropout, Network, callbacks
from pycnn._random import SHUFFLING, Stream, generator
from pycnn._training.trainer import BatchTraining
from pycnn.exceptions import BusyError, DataError, DivergedError, LabelError, ShapeError
from pycnn.history import History
from pycnn.schedules import ExponentialDecay

RNG = np.random.default_rng(21)
X, Y = RNG.normal(size=(12, 5)), RNG.normal(size=(12, 2))
WEIGHT = RNG.random(12)

OPTIMIZERS = [
    SGD(0.05),
    Adam(0.01, clip_norm=0.5),
    SGD(ExponentialDecay(0.1, 0.9), momentum=0.9, nesterov=True),
]


def network(backend, outputs=2, activation="linear", **how):
    layers = [Dense(7, "tanh"), BatchNorm(), Dropout(0.3), Dense(outputs, activation)]
    return Network(5, layers, seed=3, backend=backend, **how)


def same(net, other):
    states = [each.training_record.present(1.0) for each in (net, other)]
    return (
        net.theta.tobytes() == other.theta.tobytes()
        and net.epochs_trained == other.epochs_trained
        and states[0].slots.tobytes() == states[1].slots.tobytes()
        and states[0].updates == states[1].updates
        and states[0].epoch == states[1].epoch
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_a_trainer_is_train_on_batch_to_the_bit(backend, optimizer):
    net, other = network(backend, l2=0.01), network(backend, l2=0.01)
    train = net.trainer(4, optimizer)
    x, y = np.empty((4, 5)), np.empty((4, 2))
    for step in range(9):
        rows = slice(step % 3 * 4, step % 3 * 4 + 4)
        weight = WEIGHT[rows].copy() if step in (4, 5) else None
        logs = other.train_on_batch(X[rows], Y[rows], optimizer=optimizer, sample_weight=weight)
        x[:], y[:] = X[rows], Y[rows]
        given = (x, y) if step % 2 else (X[rows], Y[rows])
        assert train(*given, weight) == logs["loss"]
        assert same(net, other)
        if step == 6:  # between two of them others may train
            other.learning_rate_factor = net.learning_rate_factor = 0.5
            other.partial_fit(X, Y, batch_size=5, optimizer=optimizer)
            net.partial_fit(X, Y, batch_size=5, optimizer=optimizer)
    assert net.history["loss"] == other.history["loss"]


@pytest.mark.parametrize(
    ("activation", "outputs", "targets"),
    [
        ("softmax", 3, [0, 2, 1, 0]),
        ("softmax", 3, [[0.5, 0.25, 0.25]] * 4),
        ("sigmoid", 1, [0.0, 1.0, 0.5, 1.0]),
        ("linear", 1, [[3.0], [1.0], [2.0], [4.0]]),
    ],
)
def test_a_trainer_takes_the_targets_that_fit_takes(backend, activation, outputs, targets):
    net, other = (network(backend, outputs, activation) for _ in range(2))
    train = net.trainer(4)
    for first in (0, 4, 4):
        x, y = X[first : first + 4], np.array(targets)
        assert train(x, y) == other.train_on_batch(x, y)["loss"]
    assert same(net, other)
    assert np.array_equal(net.classes, other.classes)
    before = net.theta.tobytes()
    if activation != "linear":
        wrong = np.array(targets) + 2
        for _ in range(2):
            with pytest.raises((DataError, LabelError)):
                train(x, wrong)
    assert net.theta.tobytes() == before


@pytest.mark.parametrize("dtype", [np.intp, np.int32, np.float64])
def test_labels_that_are_written_into_the_same_array_are_seen(backend, dtype):
    net, other = (network(backend, 3, "softmax") for _ in range(2))
    train, x, y = net.trainer(4), np.empty((4, 5)), np.array([0, 2, 1, 0], dtype)
    for first in (0, 4, 8):
        x[:] = X[first : first + 4]
        assert train(x, y) == other.train_on_batch(x, y)["loss"]
        y[:] = (y + 1) % 3
    assert same(net, other)
    for wrong in (3, -1):
        y[1] = wrong
        with pytest.raises(LabelError, match=f"labels .*{wrong}.* not among"):
            train(x, y)
    assert same(net, other)


def test_labels_of_the_users_and_scaled_targets_are_read_each_time(backend):
    net, other = (network(backend, 3, "softmax") for _ in range(2))
    train, y = net.trainer(4), np.array([10, 20, 30, 10])
    for _ in range(3):
        assert train(X[:4], y) == other.train_on_batch(X[:4], y)["loss"]
        y[:] = np.roll(y, 1)
    net, other = network(backend, 1), network(backend, 1)
    train, y = net.trainer(4), np.array([1.0, 2.0, 3.0, 4.0])
    assert train(X[:4], y) == other.train_on_batch(X[:4], y)["loss"]
    net.target_scale = other.target_scale = [2.0], [3.0]
    for _ in range(2):
        assert train(X[:4], y) == other.train_on_batch(X[:4], y)["loss"]
        y += 1
    assert same(net, other)


def test_numbers_that_are_not_finite_change_nothing(backend):
    net, other = network(backend), network(backend)
    train, x, y, weight = net.trainer(4), X[:4].copy(), Y[:4].copy(), WEIGHT[:4].copy()
    for _ in range(2):  # the first call, and a later one
        for array in (x, y, weight):
            kept = array.flat[1]
            for value in (np.nan, np.inf):
                array.flat[1] = value
                with pytest.raises(DivergedError, match="NaN or an infinity") as caught:
                    train(x, y, weight)
                assert caught.value.epoch == net.epochs_trained + 1
            array.flat[1] = kept
        assert net.theta.tobytes() == other.theta.tobytes()
        assert train(x, y, weight) == other.train_on_batch(x, y, sample_weight=weight)["loss"]
    assert same(net, other)
    net.parameters[0] = np.nan
    with pytest.raises(DataError, match="parameters are not finite"):
        net.trainer(4)(X[:4], Y[:4])


@pytest.mark.filterwarnings("ignore::pycnn.exceptions.DataWarning")
@pytest.mark.parametrize("targets", [1e3, 1e160])
def test_a_step_that_overflows_is_not_made(backend, targets):
    net = network(backend)
    train, before = net.trainer(4, SGD(1e308) if targets == 1e3 else SGD(0.1)), net.theta.copy()
    for _ in range(2):
        with pytest.raises(DivergedError, match="smaller learning_rate"):
            train(X[:4], targets * Y[:4])
        assert net.theta.tobytes() == before.tobytes()
    present = net.training_record.present(1.0)
    assert (net.epochs_trained, present.updates, present.slots.any()) == (0, 0, False)


def test_what_is_no_such_array_is_refused(backend):
    net = network(backend)
    train = net.trainer(4)
    good = X[:4], Y[:4]
    for _ in range(2):
        for x, y, weight in [
            (X[:3], Y[:3], None),
            (X[:4].tolist(), Y[:4], None),
            (X[:4].astype(np.float32), Y[:4], None),
            (X[:4], Y[:4, :1].copy(), None),
            (X[:4], np.zeros((4, 2), int), None),
            (X[:8:2], Y[:4], None),
            (np.asfortranarray(X[:4]), Y[:4], None),
            (*good, np.ones(3)),
            (*good, [1.0] * 4),
            (*good, -np.ones(4)),
            (np.frombuffer(bytearray(b"?" + X[:4].tobytes()), offset=1).reshape(4, 5), Y[:4], None),
        ]:
            before = net.theta.tobytes()
            with pytest.raises((ShapeError, DataError)):
                train(x, y, weight)
            assert net.theta.tobytes() == before
            assert not net.training_record.line
        assert train(*good) > 0
    with pytest.raises(DataError, match="batch_size must be at least 2"):
        net.trainer()
    with pytest.raises(DataError, match="LBFGS"):
        net.trainer(4, pycnn.optimizers.LBFGS())
    with pytest.raises(DataError, match="batch must be at least 1"):
        net.trainer(0)
    tokens = Network(pycnn.Tokens(9, length=3), [pycnn.Embedding(2), pycnn.Flatten(), Dense(1)])
    with pytest.raises(DataError, match="use train_on_batch"):
        tokens.trainer()


def test_a_sum_of_weights_that_is_too_large_is_refused_each_time(backend):
    net = network(backend)
    train, weight = net.trainer(4), np.ones(4)
    train(X[:4], Y[:4], weight)
    before = net.theta.tobytes()
    for value in (0.9e250, 1.7e308):
        weight[:] = value
        with pytest.raises(DataError, match="finite sum, of at most 1e"):
            train(X[:4], Y[:4], weight)
        assert net.theta.tobytes() == before


def test_parameters_that_have_become_read_only_are_not_written_to(backend):
    net = network(backend)
    train, x, y = net.trainer(4), X[:4].copy(), Y[:4].copy()
    train(x, y)
    before, net.theta.flags.writeable = net.theta.copy(), False
    for call in (
        lambda: train(x, y),
        lambda: net.train_on_batch(x, y),
        lambda: net.partial_fit(X, Y, batch_size=4),
        lambda: net.fit(X, Y, epochs=1),
        lambda: net.gradients(X, Y, training=True, reduction="sum"),
        lambda: SGD(0.1).apply(net, before[: net.parameters.size], weight=4),
    ):
        with pytest.raises(DataError, match="read-only"):
            call()
        assert not net.training_record.line
    assert net.theta.tobytes() == before.tobytes()
    assert net.epochs_trained == 1
    net.theta.flags.writeable = True
    assert train(x, y) > 0


@pytest.mark.filterwarnings("ignore:Setting the shape:DeprecationWarning")
def test_an_array_that_is_reshaped_in_place_is_looked_at_again(backend):
    net = network(backend)
    train, given = net.trainer(4), [X[:4].copy(), Y[:4].copy(), WEIGHT[:4].copy()]
    train(*given)
    before = net.theta.tobytes()
    for array, shape in zip(given, [(5, 4), (2, 4), (4, 1)], strict=True):
        kept, array.shape = array.shape, shape
        with pytest.raises(ShapeError):
            train(*given)
        array.shape = kept
    assert net.theta.tobytes() == before
    for batch, frozen in ((4, False), (1, False), (1, True)):
        predict, x = net.predictor(batch, frozen=frozen), X[:batch].copy()
        predict(x)
        x.shape = x.shape[::-1]
        with pytest.raises(ShapeError):
            predict(x)


def test_one_training_at_a_time(backend):
    net = network(backend)
    train, errors, entered, left = net.trainer(4), [], threading.Event(), threading.Event()

    def hold(network, epoch, logs):
        with pytest.raises(BusyError):
            train(X[:4], Y[:4])
        entered.set()
        left.wait(10)

    thread = threading.Thread(target=net.fit, args=(X, Y), kwargs={"epochs": 1, "callbacks": hold})
    thread.start()
    assert entered.wait(10)
    with pytest.raises(BusyError):
        train(X[:4], Y[:4])
    left.set()
    thread.join()

    def many():
        for _ in range(300):
            try:
                train(X[:4].copy(), Y[:4].copy())
            except BusyError as error:
                errors.append(error)

    before, threads = net.epochs_trained, [threading.Thread(target=many) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert net.epochs_trained == before + 900 - len(errors)
    assert not net.training_record.line


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_trainer_goes_on_after_a_fork(backend):
    net = network(backend)
    train = net.trainer(4)
    train(X[:4], Y[:4])
    net.training_record.line[object()] = os.getpid()  # a training that the child has not
    child = os.fork()
    if not child:
        os._exit(0 if train(X[:4], Y[:4]) > 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with pytest.raises(BusyError):
        train(X[:4], Y[:4])


def test_a_trainer_goes_on_with_what_was_saved(backend, tmp_path):
    net = network(backend)
    train = net.trainer(4, "adam")
    for _ in range(3):
        train(X[:4], Y[:4])
    net.save(tmp_path / "net.safetensors", training_state=True)
    loaded, copied = pycnn.load(tmp_path / "net.safetensors", backend=backend), copy.deepcopy(net)
    for other in (loaded, copied):
        other.trainer(4)(X[4:8], Y[4:8])  # by the optimizer of before
    train(X[4:8], Y[4:8])
    assert same(net, loaded)
    assert same(net, copied)
    net.fit(X, Y, epochs=1, callbacks=callbacks.Callback())
    train(X[:4], Y[:4])  # a fit ends it: it begins anew
    assert net.training_record.present(1.0).updates == 1


def test_new_numbers_in_the_same_arrays_are_trained_on(backend):
    net, other = network(backend, 3, "softmax"), network(backend, 3, "softmax")
    train, x, y, weight = net.trainer(4), X[:4].copy(), np.array([0, 1, 2, 0]), WEIGHT[:4].copy()
    for step in range(4):
        x[0], y[0], weight[1] = X[step], step % 3, step
        logs = other.train_on_batch(x, y, sample_weight=weight)
        assert train(x, y, weight) == logs["loss"]
    assert same(net, other)
    y[0] = -1
    with pytest.raises(LabelError):
        train(x, y, weight)
    y[0], weight[0] = 0, 1e-260
    with pytest.raises(DataError, match="at least 1e-250"):
        train(x, y, weight)
    assert same(net, other)


def test_one_hot_numbers_show_classes_as_long_as_they_are(backend):
    net, other = network(backend), network(backend)
    train, y = net.trainer(4), np.eye(2)[[0, 1, 1, 0]]
    for number in (1.0, 1.0, 0.5, 1.0):
        y[0, 0] = number
        assert train(X[:4], y) == other.train_on_batch(X[:4], y)["loss"]
        assert np.array_equal(net.classes, other.classes)


def test_what_a_masked_array_hides_later_is_refused(backend):
    for place in range(3):
        train, given = network(backend).trainer(4), [X[:4].copy(), Y[:4].copy(), WEIGHT[:4].copy()]
        given[place] = np.ma.masked_array(given[place])
        train(*given)
        given[place][1] = np.ma.masked
        with pytest.raises(DataError, match="mask"):
            train(*given)


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="PyPy's arrays are elsewhere")
def test_arrays_that_are_kept_cannot_be_moved(backend):
    net, x, y, weight = network(backend), X[:4].copy(), Y[:4].copy(), WEIGHT[:4].copy()
    row = X[:1].copy()
    train, predicts = net.trainer(4), [net.predictor(frozen=frozen) for frozen in (False, True)]
    for _ in range(2):
        train(x, y, weight)
    for predict in predicts:
        predict(row)
    for array in (x, y, weight, row):
        with pytest.raises(ValueError, match="cannot resize"):
            array.resize((1000, 1000), refcheck=False)


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="PyPy's arrays are elsewhere")
def test_an_array_that_has_been_moved_is_found_where_it_is(backend):
    net, other = network(backend), network(backend)
    train, x, y = net.trainer(4), X[:4].copy(), Y[:4].copy()
    for step in range(3):
        if step == 1:  # as somebody may do who holds the only reference
            x.resize((1000, 1000), refcheck=False)
            x.resize((4, 5), refcheck=False)
            x[:] = X[4:8]
        assert train(x, y) == other.train_on_batch(x, y)["loss"]
    assert same(net, other)


def test_a_trainer_that_was_interrupted_lends_all_anew(backend, monkeypatch):
    net = Network((None, 3), [GRU(4), Dense(2)], seed=0, backend=backend)
    train, x = net.trainer(4), np.ones((4, 2, 3))
    train(x, Y[:4])
    lend = BatchTraining.lend

    def interrupted(self, data):
        lend(self, data)
        raise KeyboardInterrupt

    monkeypatch.setattr(BatchTraining, "lend", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(np.ones((4, 500, 3)), Y[:4])
    monkeypatch.undo()
    other = copy.deepcopy(net)
    assert train(x.copy(), Y[:4]) == other.train_on_batch(x, Y[:4])["loss"]


def test_a_step_that_was_done_is_measured_also_where_ctrl_c_comes_behind_it(backend, monkeypatch):
    net, other, write, stops = network(backend), network(backend), History.write, []

    def interrupted(*given):
        if stops:
            raise stops.pop()
        write(*given)

    monkeypatch.setattr(History, "write", interrupted)
    for _ in range(2):
        net.partial_fit(X, Y)
    other.partial_fit(X, Y)
    stops.append(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        other.partial_fit(X, Y)
    assert net.history["loss"] == other.history["loss"]
    assert same(net, other)


def test_a_step_that_is_refused_leaves_the_history(backend):
    net = network(backend)
    history = net.fit(X, Y, epochs=2)
    net.train_on_batch(X, Y)
    net.parameters[0] = np.nan
    with pytest.raises(DataError, match="not finite"):
        net.partial_fit(X, Y)
    assert net.history is history


@pytest.mark.parametrize("call", ["advance", "random_raw"])
def test_numbers_are_the_same_after_ctrl_c_while_they_are_drawn(call):
    class Interrupted:
        def __init__(self, bits):
            self.bits = bits

        def __getattr__(self, name):
            def run(*given):
                result = getattr(self.bits, name)(*given)
                if name == call:
                    raise KeyboardInterrupt
                return result

            return run

    stream = Stream(3, SHUFFLING)
    stream.take(0, 5)
    stream._bits = Interrupted(stream._bits)
    with pytest.raises(KeyboardInterrupt):
        stream.take(9, 5)
    assert np.array_equal(stream.take(9, 5), generator(3, SHUFFLING).random_raw(14)[9:])
