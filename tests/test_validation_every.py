"""Validation that is measured in some epochs only, and what the others are to those who watch."""

import csv
import math
import pickle

import numpy as np
import pytest

import pycnn
from pycnn import LBFGS, Adam, Callback, Dense, Network
from pycnn.callbacks import (
    CSVLogger,
    EarlyStopping,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from pycnn.exceptions import DataError, DataTypeError

RNG = np.random.default_rng(6)
X = RNG.normal(size=(40, 3))
Y = X[:, 0] - 0.5 * X[:, 1]


def network(backend, seed=2):
    return Network(3, [Dense(4, "tanh"), Dense(1)], seed=seed, backend=backend)


def settings(**more):
    return {"epochs": 7, "batch_size": 10, "optimizer": Adam(0.01), "validation_split": 0.25} | more


SOURCES = {
    "mini-batches": lambda: ((X, Y), settings()),
    "whole": lambda: ((X, Y), settings(batch_size=None)),
    "L-BFGS": lambda: ((X, Y), settings(batch_size=None, optimizer=LBFGS())),
    "an iterable": lambda: (
        ([(X[:20], Y[:20]), (X[20:], Y[20:])],),
        {"epochs": 7, "optimizer": Adam(0.01), "validation_data": (X[:9], Y[:9])},
    ),
    "callbacks": lambda: ((X, Y), settings(callbacks=[Callback()])),
    "metrics": lambda: ((X, Y), settings(metrics=["mae"])),
}


@pytest.mark.parametrize("every", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("source", SOURCES)
def test_every_so_many_epochs_and_the_last_are_measured(backend, source, every):
    arguments, options = SOURCES[source]()
    usual = network(backend)
    usual.fit(*arguments, **options)
    net = network(backend)
    history = net.fit(*arguments, **options, validation_every=every)
    assert net.parameters.tobytes() == usual.parameters.tobytes()
    assert list(history) == list(usual.history)
    for name, values in usual.history.items():
        due = [
            value if not name.startswith("val_") or epoch % every == 0 or epoch == 7 else math.nan
            for epoch, value in enumerate(values, start=1)
        ]
        np.testing.assert_array_equal(history[name], due)


def test_an_epoch_in_which_a_minimum_ends_the_training_is_measured(backend):
    X, Y = np.array([[-1.0], [0.0], [1.0]]), [1.0, 3.0, 5.0]
    net = Network(1, [Dense(1)], seed=0, backend=backend)
    options = {"batch_size": None, "optimizer": LBFGS(), "validation_data": (X, Y)}
    history = net.fit(X, Y, epochs=97, validation_every=50, **options)
    assert history.epochs < 50
    assert history["val_loss"][-1] < 1e-9
    assert np.isnan(history["val_loss"][:-1]).all()


class Watcher(Callback):
    def __init__(self):
        self.seen = []

    def on_epoch_end(self, network, epoch, logs):
        self.seen.append(logs["val_loss"])


def test_callbacks_see_nan_in_the_epochs_between(backend):
    watcher = Watcher()
    history = network(backend).fit(X, Y, **settings(callbacks=[watcher]), validation_every=3)
    np.testing.assert_array_equal(watcher.seen, history["val_loss"])
    assert np.isnan(watcher.seen).tolist() == [True, True, False, True, True, False, False]


def test_early_stopping_counts_the_epochs_that_are_measured(backend):
    stopping = EarlyStopping(patience=2, min_delta=1e9)
    history = network(backend).fit(
        X, Y, **settings(callbacks=[stopping], epochs=50), validation_every=4
    )
    assert (stopping.best_epoch, stopping.stopped_epoch, history.epochs) == (4, 12, 12)
    relative = EarlyStopping(relative=1e9)
    network(backend).fit(X, Y, **settings(callbacks=[relative]), validation_every=4)
    assert relative.stopped_epoch is None


def test_a_plateau_counts_the_epochs_that_are_measured(backend):
    plateau = ReduceLROnPlateau(factor=0.5, patience=2, min_delta=1e9, cooldown=1)
    net = network(backend)
    factors = []
    watch = pycnn.callbacks.LambdaCallback(
        on_epoch_end=lambda net, *_: factors.append(net.learning_rate_factor)
    )
    net.fit(X, Y, **settings(callbacks=[plateau, watch], epochs=12), validation_every=2)
    assert factors == [1.0] * 5 + [0.5] * 6 + [0.25]


def test_nan_of_an_epoch_that_is_not_measured_terminates_nothing(backend):
    for monitor in (None, "val_loss"):
        callback = TerminateOnNaN(monitor)
        history = network(backend).fit(X, Y, **settings(callbacks=[callback]), validation_every=3)
        assert history.epochs == 7
        assert callback.stopped_epoch is None


def test_files_have_a_column_for_what_is_measured_later(backend, tmp_path):
    logger = CSVLogger(tmp_path / "training.csv")
    best = ModelCheckpoint(tmp_path / "{epoch}.safetensors", best_only=True)
    history = network(backend).fit(X, Y, **settings(callbacks=[logger, best]), validation_every=3)
    with open(tmp_path / "training.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["val_loss"] for row in rows] == list(map(str, history["val_loss"]))
    assert {path.stem for path in tmp_path.glob("*.safetensors")} <= {"3", "6", "7"}


class Interrupt(Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, network, epoch, logs):
        if epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.mark.parametrize("epoch", [1, 3, 4])
@pytest.mark.parametrize("optimizer", [Adam(0.01), LBFGS()], ids=["adam", "lbfgs"])
def test_a_resumed_training_ends_in_the_same_bits(backend, optimizer, epoch):
    options = settings(optimizer=optimizer, batch_size=None, validation_every=3)
    straight = network(backend)
    straight.fit(X, Y, **options, callbacks=[EarlyStopping(patience=1, min_delta=1e9)])
    net = network(backend)
    stopping = EarlyStopping(patience=1, min_delta=1e9)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y, **options, callbacks=[Interrupt(epoch), stopping])
    again = pickle.loads(pickle.dumps(net))
    again.fit(X, Y, **options, callbacks=[EarlyStopping(patience=1, min_delta=1e9)], resume=True)
    assert again.parameters.tobytes() == straight.parameters.tobytes()
    assert again.history.epochs == straight.history.epochs == 6
    for name, values in straight.history.items():
        np.testing.assert_array_equal(again.history[name], values)


def test_a_resumed_training_keeps_to_its_epochs(backend):
    net = network(backend)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y, **settings(callbacks=[Interrupt(2)]), validation_every=3)
    with pytest.raises(DataError, match="validation_every was 3 and is now 2"):
        net.fit(X, Y, **settings(), validation_every=2, resume=True)
    # States of before there was a choice measured every epoch.
    net = network(backend)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y, **settings(callbacks=[Interrupt(2)]))
    del net.training_record.last.settings["validation_every"]
    net.fit(X, Y, **settings(), resume=True)
    straight = network(backend)
    straight.fit(X, Y, **settings())
    assert net.parameters.tobytes() == straight.parameters.tobytes()


@pytest.mark.parametrize(("value", "error"), [(0, DataError), (1.5, DataTypeError)])
def test_a_wrong_number_is_named(value, error):
    with pytest.raises(error, match="validation_every must be"):
        network("auto").fit(X, Y, **settings(), validation_every=value)


def test_without_validation_data_there_is_nothing_to_leave_out(backend):
    history = network(backend).fit(X, Y, epochs=3, validation_every=2)
    assert list(history) == ["loss"]


def test_a_picture_connects_what_was_measured():
    pytest.importorskip("matplotlib")
    history = network("auto").fit(X, Y, **settings(), validation_every=3)
    figure = history.plot()
    (line,) = (line for line in figure.axes[0].lines if line.get_label() == "validation")
    assert list(line.get_xdata()) == [3, 6, 7]
    assert list(line.get_ydata()) == [history["val_loss"][i - 1] for i in (3, 6, 7)]
