"""Ready-made callbacks: what each does to a training, what it remembers, what it refuses."""

import copy
import csv
import importlib
import json
import math
import os
import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import pycnn
from pycnn import SGD, Dense, Network, callbacks
from pycnn._training.checkpoint import TrainingRecord
from pycnn.callbacks import (
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TensorBoard,
    TerminateOnNaN,
)
from pycnn.exceptions import DataError, DataTypeError, DivergedError, ShapeError, UnknownNameError

RNG = np.random.default_rng(3)
X = RNG.normal(size=(12, 2))
Y = X[:, 0] - 0.5 * X[:, 1]
NAN, INF = math.nan, math.inf


def make_network(backend="auto"):
    return Network(2, [Dense(3, "tanh"), Dense(1)], seed=1, backend=backend)


class StandIn:
    """A network of one parameter, the epoch's number, for logs that are fed by hand."""

    def __init__(self):
        self.parameters = self.theta = np.zeros(1)
        self.stop_training = False
        self.learning_rate_factor = 1.0
        self.saved = []
        self.training_record = TrainingRecord()

    def save(self, path, training_state=False):
        self.saved.append(path)


def feed(callback, values, name="val_loss", network=None, first=1, end=True):
    """Run the hooks as `Network.fit` does, on logs with these values."""
    network = network or StandIn()
    network.stop_training = False
    callback.on_train_begin(network)
    for epoch, value in enumerate(values, start=first):
        callback.on_epoch_begin(network, epoch)
        network.parameters[:] = epoch
        callback.on_epoch_end(network, epoch, {"loss": 0.5, name: value})
        if network.stop_training:
            break
    if end:
        callback.on_train_end(network)
    return network


def through_a_file(state):
    """Return a state as JSON and arrays bring it back."""
    arrays = {key: value for key, value in state.items() if isinstance(value, np.ndarray)}
    plain = {key: value for key, value in state.items() if key not in arrays}
    return json.loads(json.dumps(plain, allow_nan=False)) | copy.deepcopy(arrays)


@pytest.fixture
def saved(monkeypatch):
    """What `Network.save` is asked for."""
    calls, save = [], Network.save

    def record(network, path, *, training_state=False):
        calls.append((os.fspath(path), training_state))
        save(network, path, training_state=training_state)

    monkeypatch.setattr(Network, "save", record)
    return calls


# ------------------------------------------------------------------ early stopping


def test_early_stopping_ends_after_patience_and_restores_the_best():
    stopping = EarlyStopping(patience=3)
    net = feed(stopping, [5, 3, 4, 3, 3.5, 1])
    assert net.stop_training
    assert (stopping.best, stopping.best_epoch, stopping.stopped_epoch) == (3, 2, 5)
    assert net.parameters == 2


def test_early_stopping_restores_the_best_when_nothing_was_stopped():
    stopping = EarlyStopping(patience=3)
    net = feed(stopping, [5, 3, 4])
    assert not net.stop_training
    assert stopping.stopped_epoch is None
    assert net.parameters == 2


def test_early_stopping_keeps_the_last_parameters_when_asked():
    stopping = EarlyStopping(patience=2, restore_best_weights=False)
    assert feed(stopping, [1, 2, 3]).parameters == 3
    assert stopping.best_parameters is None
    assert stopping.best_epoch == 1


def test_an_improvement_is_by_more_than_min_delta():
    # Exact in binary: 1 -> 0.75 is a gain of just min_delta, 1 -> 0.5 of more.
    stopping = EarlyStopping(patience=2, min_delta=0.25)
    feed(stopping, [1, 0.75, 0.75])
    assert (stopping.best_epoch, stopping.stopped_epoch) == (1, 3)
    feed(stopping, [1, 0.75, 0.5])
    assert (stopping.best_epoch, stopping.stopped_epoch) == (3, None)


def test_patience_counts_epochs_in_a_row():
    stopping = EarlyStopping(patience=2)
    feed(stopping, [5, 6, 4, 5, 3, 4, 4])
    assert (stopping.best_epoch, stopping.stopped_epoch) == (5, 7)


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_what_is_not_finite_never_counts_as_better(mode, bad):
    stopping = EarlyStopping(patience=3, mode=mode)
    feed(stopping, [bad, 2, bad, bad])
    assert (stopping.best, stopping.best_epoch, stopping.wait) == (2, 2, 2)


def test_nothing_but_nan_ends_the_training_and_restores_nothing():
    stopping = EarlyStopping(patience=2)
    net = feed(stopping, [NAN, NAN, NAN])
    assert stopping.stopped_epoch == 2
    assert (stopping.best, stopping.best_epoch) == (None, None)
    assert net.parameters == 2


# Prechelt 1998: GL(t) = 100 (E(t) / E_opt(t) - 1), and the training ends as soon as GL > 5.
GENERALIZATION = {
    "5 % are not too many": ([2.0, 2.1, 1.0, 1.05, 0.5], None),
    "a little more are": ([2.0, 1.0, 1.0500001, 0.5], 3),
    "of the best, not of the last": ([1.0, 1.04, 1.08, 0.1], 3),
    "NaN is": ([1.0, NAN, 0.5], 2),
    "infinity is": ([1.0, INF, 0.5], 2),
    "but not before there is a best": ([NAN, INF, 1.0, 0.9], None),
    "of a negative loss by its size": ([-2.0, -1.9, -1.8999, -3.0], 3),
    "of 0 anything": ([0.0, 0.0, 1e-9, 0.0], 3),
    "a plateau is no loss": ([1.0] * 40, None),
}


@pytest.mark.parametrize("case", GENERALIZATION)
def test_early_stopping_by_the_generalization_loss(case):
    values, stopped = GENERALIZATION[case]
    stopping = EarlyStopping(relative=0.05)
    network = feed(stopping, values)
    assert stopping.stopped_epoch == stopped
    assert network.stop_training == (stopped is not None)
    assert network.parameters[0] == stopping.best_epoch
    assert stopping.patience is None


def test_of_a_score_the_generalization_loss_is_how_far_it_fell():
    stopping = EarlyStopping("val_accuracy", relative=0.1)
    feed(stopping, [0.5, 0.8, 0.73, 0.71, 0.9], "val_accuracy")
    assert (stopping.best_epoch, stopping.stopped_epoch) == (2, 4)


def test_a_generalization_loss_and_patience_are_held_to_whichever_comes_first():
    values = [1.0, 1.01, 1.02, 2.0]
    for patience, stopped in ((2, 3), (9, 4)):
        stopping = EarlyStopping(patience=patience, relative=0.05)
        feed(stopping, values)
        assert stopping.stopped_epoch == stopped


def test_a_generalization_loss_that_has_ended_a_training_ends_it_after_a_resume_too():
    stopping = EarlyStopping(relative=0.05)
    network = feed(stopping, [1.0, 2.0], end=False)
    assert network.stop_training
    again = EarlyStopping(relative=0.05)
    again.set_state(through_a_file(stopping.get_state()))
    network.stop_training = False
    again.on_train_begin(network)
    assert network.stop_training


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({}, "EarlyStopping()"),
        ({"patience": 5}, "EarlyStopping(patience=5)"),
        ({"relative": 0.05}, "EarlyStopping(relative=0.05)"),
        ({"relative": 0.05, "patience": 7}, "EarlyStopping(patience=7, relative=0.05)"),
    ],
)
def test_early_stopping_shows_what_it_was_given(settings, shown):
    stopping = EarlyStopping(**settings)
    assert repr(stopping) == shown
    assert stopping.patience == settings.get("patience", None if "relative" in settings else 5)
    for bad, error in ((-0.1, DataError), (NAN, DataError), ("5 %", DataTypeError)):
        with pytest.raises(error, match="relative must be"):
            EarlyStopping(relative=bad)


def test_early_stopping_does_not_look_at_the_first_epochs():
    stopping = EarlyStopping(patience=2, start_from_epoch=3)
    net = feed(stopping, [1, 2, 3, 9, 8, 9, 9, 9])
    assert (stopping.best, stopping.best_epoch, stopping.stopped_epoch) == (8, 5, 7)
    assert net.parameters == 5


@pytest.mark.parametrize(
    ("monitor", "best"),
    [
        *[(name, 1) for name in ("loss", "val_loss", "val_error", "rmse", "val_log_loss")],
        *[(name, 1) for name in ("error_rate", "f1_loss", "val_crossentropy")],
        *[(name, 3) for name in ("accuracy", "val_accuracy", "val_r2", "val_f1", "f1_macro")],
        *[(name, 3) for name in ("roc_auc", "val_AUC", "recall", "top_k_accuracy", "my-score")],
    ],
)
def test_auto_mode_knows_losses_and_scores(monitor, best):
    stopping = EarlyStopping(monitor)
    feed(stopping, [2, 1, 3, 2], name=monitor)
    assert stopping.best == best
    other = {"min": "max", "max": "min"}["min" if best == 1 else "max"]
    stopping = EarlyStopping(monitor, mode=other)
    feed(stopping, [2, 1, 3, 2], name=monitor)
    assert stopping.best == 4 - best


@pytest.mark.parametrize("monitor", ["val_gain", "", "valloss", "glossy"])
def test_auto_mode_asks_where_it_cannot_tell(monitor):
    with pytest.raises(DataError, match=r"'auto' cannot tell .* give mode='min' or mode='max'"):
        EarlyStopping(monitor)
    assert EarlyStopping(monitor, mode="max").mode == "max"


def test_early_stopping_in_a_fit(backend):
    # The validation targets are the opposite of what is learned: from some epoch on it gets worse.
    net = make_network(backend)
    stopping = EarlyStopping(patience=4)
    scores, thetas = [], []

    def record(network, epoch, logs):
        scores.append(logs["val_loss"])
        thetas.append(network.parameters.copy())

    history = net.fit(
        X, Y, epochs=500, validation_data=(X, -Y), callbacks=[stopping, record], optimizer=SGD(0.05)
    )
    best = int(np.argmin(scores))
    assert stopping.stopped_epoch == history.epochs == best + 1 + 4 < 500
    assert stopping.best == scores[best]
    assert stopping.best_epoch == best + 1
    assert net.parameters.tobytes() == thetas[best].tobytes()
    assert net.evaluate(X, -Y)["loss"] == scores[best]


def test_best_parameters_outlive_an_exception(backend):
    net, stopping = make_network(backend), EarlyStopping("loss")

    def fail(network, epoch, logs):
        if epoch == 4:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        net.fit(X, Y, epochs=9, callbacks=[stopping, fail])
    assert stopping.best_epoch == 4
    assert stopping.best_parameters.tobytes() == net.parameters.tobytes()


@pytest.mark.parametrize(
    "make",
    [EarlyStopping, ReduceLROnPlateau, lambda: ModelCheckpoint("{epoch}", best_only=True)],
    ids=["EarlyStopping", "ReduceLROnPlateau", "ModelCheckpoint"],
)
def test_a_monitor_that_is_not_in_the_logs_is_an_error_that_names_what_there_is(backend, make):
    net = make_network(backend)
    with pytest.raises(
        UnknownNameError,
        match=r"monitor of .* must be one of loss; got 'val_loss'; give fit validation_data or",
    ):
        net.fit(X, Y, epochs=3, callbacks=make())
    assert net.history.epochs == 1


def test_a_monitor_of_a_metric_that_was_not_asked_for_tells_how_to_ask(backend):
    watch = EarlyStopping("val_rmse")
    with pytest.raises(UnknownNameError, match=r"'val_rmse'; fit\(metrics=\['rmse'\]\) measures"):
        make_network(backend).fit(X, Y, epochs=2, validation_split=0.2, callbacks=watch)


def test_a_mistyped_monitor_gets_a_suggestion():
    with pytest.raises(UnknownNameError, match=r"one of loss, val_accuracy; .* 'val_accuracy'"):
        feed(EarlyStopping("val_acc"), [1], name="val_accuracy")
    with pytest.raises(UnknownNameError, match="must be one of loss, val_loss"):
        feed(EarlyStopping("val_r2", start_from_epoch=9), [1])


def test_one_object_serves_two_fits(backend):
    stopping = EarlyStopping(patience=2)
    results = []
    for _ in range(2):
        net = make_network(backend)
        net.fit(X, Y, epochs=300, validation_data=(X, -Y), callbacks=stopping)
        results.append((stopping.stopped_epoch, stopping.best, net.parameters.tobytes()))
    assert results[0] == results[1]
    assert results[0][0] is not None


def test_early_stopping_goes_on_from_a_state():
    values = [5, 4, 3, 4, 4, 4, 4]
    whole = EarlyStopping(patience=4)
    expected = feed(whole, values).parameters
    for cut in range(8):
        first, second = EarlyStopping(patience=4), EarlyStopping(patience=4)
        feed(first, values[:cut], end=False)
        second.set_state(through_a_file(first.get_state()))
        net = feed(second, values[cut:], first=cut + 1)
        assert net.parameters == expected
        assert vars(second)["best_epoch"] == whole.best_epoch
        assert second.stopped_epoch == whole.stopped_epoch == 7


def test_a_restored_state_serves_one_training_only():
    stopping = EarlyStopping(patience=2)
    stopping.set_state({"best": -9.0, "best_epoch": 1, "wait": 1})
    feed(stopping, [1, 1, 1, 1])
    assert (stopping.best, stopping.stopped_epoch) == (-9, 1)
    feed(stopping, [1, 1, 1, 1])
    assert (stopping.best, stopping.stopped_epoch) == (1, 3)


def test_a_state_shares_no_memory_with_its_callback():
    stopping = EarlyStopping()
    feed(stopping, [3, 4])
    state = stopping.get_state()
    state["best_parameters"][:] = 7
    assert stopping.best_parameters == 1
    stopping.set_state(state)
    state["best_parameters"][:] = 8
    assert stopping.best_parameters == 7


def test_best_parameters_of_another_network_are_refused(backend):
    stopping = EarlyStopping("loss")
    stopping.set_state({"best": 1.0, "best_parameters": np.zeros(5)})
    with pytest.raises(ShapeError, match=r"best_parameters .* shape \(13,\), got \(5,\)"):
        make_network(backend).fit(X, Y, epochs=1, callbacks=stopping)


# ------------------------------------------------------------------ states of all


STATEFUL = [
    EarlyStopping(),
    ReduceLROnPlateau(cooldown=2, patience=1),
    ModelCheckpoint("model-{epoch}", best_only=True),
    CSVLogger("log.csv"),
    TensorBoard("runs"),
]


@pytest.mark.parametrize("kind", STATEFUL, ids=lambda c: type(c).__name__)
def test_states_survive_json_and_another_object(kind, tmp_path, monkeypatch, fake_tensorboardx):
    monkeypatch.chdir(tmp_path)
    one, other = copy.deepcopy(kind), copy.deepcopy(kind)
    fresh = one.get_state()
    feed(one, [3, 2, 4])
    state = one.get_state()
    assert set(state) > {key for key, value in fresh.items() if value is None}
    assert state != fresh
    other.set_state(through_a_file(state))
    assert repr(other.get_state()) == repr(state)
    one.on_train_begin(StandIn())
    assert one.get_state() == fresh
    other.on_train_begin(StandIn())
    assert repr(other.get_state()) == repr(state)


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        (None, DataTypeError, "the state of EarlyStopping must be a dict, got None"),
        ({"bests": 1}, DataError, "must hold best, best_epoch, .*; got 'bests'"),
        ({"best": "1"}, DataTypeError, "best in the state of EarlyStopping must be a number"),
        ({"best": NAN}, DataError, "best in the state of EarlyStopping must be finite"),
        ({"wait": -1}, DataError, "wait in the state of EarlyStopping must be at least 0"),
        ({"best_epoch": 1.5}, DataTypeError, "best_epoch .* must be an integer"),
        ({"best_parameters": [1.0]}, DataTypeError, "best_parameters .* float64 array"),
        ({"best_parameters": np.zeros(1, int)}, DataTypeError, "best_parameters .* float64"),
        ({"best_parameters": np.zeros((1, 1))}, DataError, r"vector .* shape \(1, 1\)"),
        ({"best_parameters": np.array([NAN])}, DataError, "finite numbers"),
    ],
)
def test_what_is_no_state_is_refused_and_changes_nothing(state, error, message):
    stopping = EarlyStopping()
    feed(stopping, [1, 2])
    before = repr(stopping.get_state())
    with pytest.raises(error, match=message):
        stopping.set_state(state if state is None else {"wait": 9} | state)
    assert repr(stopping.get_state()) == before
    stopping.on_train_begin(StandIn())
    assert stopping.get_state() == {"wait": 0}


# ------------------------------------------------------------------ NaN


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_terminate_on_nan_ends_quietly(bad):
    terminate = TerminateOnNaN()
    net = feed(terminate, [1, 2, bad, 4])
    assert net.stop_training
    assert terminate.stopped_epoch == 3
    assert net.parameters == 3
    feed(terminate, [1, 2])
    assert terminate.stopped_epoch is None


def test_terminate_on_nan_may_look_at_one_value_only():
    terminate = TerminateOnNaN("loss")
    assert not feed(terminate, [1, NAN, 3]).stop_training
    with pytest.raises(UnknownNameError, match=r"monitor of TerminateOnNaN .* loss, val_loss"):
        feed(TerminateOnNaN("val_r2"), [1])


def test_terminate_on_nan_sees_a_validation_loss_that_overflows(backend):
    net = make_network(backend)
    history = net.fit(X, Y, epochs=9, validation_data=(X, 1e200 * Y), callbacks=TerminateOnNaN())
    assert history.epochs == 1
    assert not math.isfinite(history["val_loss"][0])


def test_a_training_loss_that_is_not_finite_still_raises(backend):
    with pytest.raises(DivergedError):
        make_network(backend).fit(X, Y, epochs=9, optimizer=SGD(1e200), callbacks=TerminateOnNaN())


# ------------------------------------------------------------------ learning rate


def factors(callback, values, network=None, first=1):
    """Return the factor after each epoch."""
    network, result = network or StandIn(), []
    callback.on_train_begin(network)
    for epoch, value in enumerate(values, start=first):
        callback.on_epoch_end(network, epoch, {"val_loss": value})
        result.append(network.learning_rate_factor)
    return result


def test_a_plateau_lowers_the_rates_after_patience():
    plateau = ReduceLROnPlateau(factor=0.5, patience=2)
    assert factors(plateau, [3, 3, 3, 3, 3, 1, 1, 1]) == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]


def test_a_cooldown_does_not_count():
    plateau = ReduceLROnPlateau(factor=0.5, patience=2, cooldown=3)
    #  best, 2 bad: lowered; 3 in the cooldown; 2 bad: lowered
    assert factors(plateau, [3] * 8) == [1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25]


def test_what_is_better_in_a_cooldown_is_remembered():
    plateau = ReduceLROnPlateau(factor=0.5, patience=1, cooldown=2)
    assert factors(plateau, [3, 3, 1, 2, 2]) == [1, 0.5, 0.5, 0.5, 0.25]
    assert plateau.best == 1


def test_the_factor_is_not_lowered_below_the_least():
    plateau = ReduceLROnPlateau(factor=0.1, patience=1, min_factor=0.5)
    assert factors(plateau, [1] * 4) == [1, 0.5, 0.5, 0.5]
    low = StandIn()
    low.learning_rate_factor = 0.25  # by somebody else
    assert factors(plateau, [1] * 3, low) == [0.25] * 3


def test_a_small_gain_or_nan_is_none():
    plateau = ReduceLROnPlateau(factor=0.5, patience=1)
    assert factors(plateau, [1, 1 - 5e-5, 0.9, NAN]) == [1, 0.5, 0.5, 0.25]


def test_a_plateau_in_a_score_is_one_too():
    plateau = ReduceLROnPlateau("val_r2", factor=0.5, patience=1)
    assert feed(plateau, [0.1, 0.2, 0.3], name="val_r2").learning_rate_factor == 1
    assert feed(plateau, [0.3, 0.2], name="val_r2").learning_rate_factor == 0.5


def test_a_plateau_goes_on_from_a_state():
    values = [3, 3, 3, 3, 2, 2, 2, 2, 2, 2]
    options = {"factor": 0.5, "patience": 2, "cooldown": 1}
    expected = factors(ReduceLROnPlateau(**options), values)
    assert expected[-1] < 0.5
    for cut in range(len(values)):
        one, other, net = ReduceLROnPlateau(**options), ReduceLROnPlateau(**options), StandIn()
        left = factors(one, values[:cut], net)
        other.set_state(through_a_file(one.get_state()))
        assert left + factors(other, values[cut:], net, first=cut + 1) == expected


def test_a_plateau_in_a_fit(backend):
    net, plateau, seen = make_network(backend), ReduceLROnPlateau("loss", 0.5, 2, min_delta=1e9), []
    for _ in range(2):
        net.learning_rate_factor = 1.0
        net.fit(
            X,
            Y,
            epochs=5,
            callbacks=[plateau, lambda net, epoch, logs: seen.append(net.learning_rate_factor)],
        )
    assert seen == [1, 1, 0.5, 0.5, 0.25] * 2


# ------------------------------------------------------------------ checkpoints


def test_a_checkpoint_is_saved_every_few_epochs(backend, saved, tmp_path):
    net, thetas = make_network(backend), []
    checkpoint = ModelCheckpoint(tmp_path / "new" / "{epoch:03d}-{loss:.3f}", every=2)
    history = net.fit(
        X,
        Y,
        epochs=5,
        callbacks=[checkpoint, lambda n, e, logs: thetas.append(n.parameters.copy())],
    )
    paths = [str(tmp_path / "new" / f"{n:03d}-{history['loss'][n - 1]:.3f}") for n in (2, 4)]
    assert saved == [(path, True) for path in paths]
    assert checkpoint.last_path == paths[-1]
    assert sorted(os.listdir(tmp_path / "new")) == [os.path.basename(path) for path in paths]
    for path, theta in zip(paths, (thetas[1], thetas[3]), strict=True):
        assert pycnn.load(path, backend).parameters.tobytes() == theta.tobytes()


def test_a_path_without_fields_is_replaced(backend, saved, tmp_path):
    net = make_network(backend)
    path = tmp_path / "model.safetensors"
    net.fit(X, Y, epochs=3, callbacks=ModelCheckpoint(path, training_state=False))
    assert saved == [(str(path), False)] * 3
    assert os.listdir(tmp_path) == ["model.safetensors"]
    assert pycnn.load(path, backend).parameters.tobytes() == net.parameters.tobytes()


def test_only_the_best_of_those_considered_is_saved(tmp_path):
    template = str(tmp_path / "{epoch}")
    saved = [str(tmp_path / str(n)) for n in range(9)]
    checkpoint = ModelCheckpoint(template, best_only=True)
    assert feed(checkpoint, [NAN, 4, 5, 3, 3]).saved == [saved[2], saved[4]]
    assert (checkpoint.best, checkpoint.best_epoch) == (3, 4)
    assert checkpoint.last_path == saved[4]
    assert feed(checkpoint, [9, 8]).saved == [saved[1], saved[2]]  # a new training
    checkpoint = ModelCheckpoint(template, every=2, best_only=True, monitor="val_r2")
    assert feed(checkpoint, [9, 1, 9, 0, 9, 2], name="val_r2").saved == [saved[2], saved[6]]


def test_a_checkpoint_goes_on_from_a_state(tmp_path):
    one = ModelCheckpoint(tmp_path / "{epoch}", best_only=True)
    other = copy.deepcopy(one)
    feed(one, [3, 2])
    other.set_state(through_a_file(one.get_state()))
    assert feed(other, [2.5, 1], first=3).saved == [str(tmp_path / "4")]


def test_the_state_in_a_checkpoint_has_its_own_epoch(tmp_path):
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}", best_only=True)
    states = []
    net = StandIn()
    net.save = lambda path, training_state: states.append(checkpoint.get_state())
    feed(checkpoint, [3, 2], network=net)
    assert [(state["best"], state["best_epoch"]) for state in states] == [(3, 1), (2, 2)]


def test_a_field_that_is_not_in_the_logs_is_noticed_after_the_first_epoch(backend, tmp_path):
    net = make_network(backend)
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}-{val_loss}", every=100)
    with pytest.raises(UnknownNameError, match=r"path of ModelCheckpoint .* loss, epoch; got 'v"):
        net.fit(X, Y, epochs=200, callbacks=checkpoint)
    assert net.history.epochs == 1


def test_a_checkpoint_that_cannot_be_written_is_an_error(backend, saved, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        make_network(backend).fit(X, Y, callbacks=ModelCheckpoint(tmp_path / "file" / "model"))


@pytest.mark.parametrize(
    "path",
    [
        *("{", "}", "{}", "{0}", "{epoch.real}", "{val_loss[0]}", "{epoch:q}", "{val_loss:d}"),
        *("{epoch:{width}}", "{epoch:{}}", "{epoch!x}"),
    ],
)
def test_a_template_that_cannot_be_filled_in_is_refused(path):
    with pytest.raises(DataError, match=r"path may have fields such as {epoch:03d}"):
        ModelCheckpoint(path)


def test_doubled_braces_are_braces(tmp_path):
    assert feed(ModelCheckpoint(f"{tmp_path}/{{{{a}}}}"), [1]).saved == [f"{tmp_path}/{{a}}"]


# ------------------------------------------------------------------ CSV


def read(path, separator=","):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter=separator))


def test_the_csv_file_has_the_history_to_the_last_bit(backend, tmp_path):
    path = tmp_path / "new" / "log.csv"
    net, sizes = make_network(backend), []
    history = net.fit(
        X,
        Y,
        epochs=4,
        validation_split=0.25,
        callbacks=[CSVLogger(path), lambda net, epoch, logs: sizes.append(len(read(path)))],
    )
    assert sizes == [2, 3, 4, 5]  # a row an epoch, at once
    table = read(path)
    assert table[0] == ["epoch", *history]
    assert [int(row[0]) for row in table[1:]] == [1, 2, 3, 4]
    for column, values in enumerate(history.values(), start=1):
        assert [float(row[column]) for row in table[1:]] == values


@pytest.mark.parametrize("separator", [";", "\t", " ", "|"])
def test_the_separator_may_be_another(tmp_path, separator):
    path = tmp_path / "log"
    feed(CSVLogger(path, separator=separator), [1.5, NAN], name=f"a{separator}b")
    assert read(path, separator) == [
        ["epoch", "loss", f"a{separator}b"],
        ["1", "0.5", "1.5"],
        ["2", "0.5", "nan"],
    ]


def test_numbers_of_numpy_are_written_as_numbers(tmp_path):
    feed(CSVLogger(tmp_path / "log"), [np.float64(0.1), np.float32(0.5)])
    assert [row[2] for row in read(tmp_path / "log")] == ["val_loss", "0.1", "0.5"]


def test_values_that_come_or_go_leave_the_columns_as_they_are(tmp_path):
    logger = CSVLogger(tmp_path / "log")
    logger.on_train_begin(StandIn())
    for epoch, logs in enumerate([{"a": 1, "b": 2}, {"b": 3}, {"a": 4, "b": 5, "c": 6}], start=1):
        logger.on_epoch_end(StandIn(), epoch, logs)
    assert read(tmp_path / "log") == [
        ["epoch", "a", "b"],
        ["1", "1", "2"],
        ["2", "", "3"],
        ["3", "4", "5"],
    ]


def test_a_second_training_replaces_the_file_or_is_appended(backend, tmp_path):
    path = tmp_path / "log"
    for append, epochs in ((False, [1, 2]), (True, [1, 2, 1, 2])):
        logger = CSVLogger(path, append=append)
        path.unlink(missing_ok=True)
        for _ in range(2):
            make_network(backend).fit(X, Y, epochs=2, callbacks=logger)
        table = read(path)
        assert table[0] == ["epoch", "loss"]
        assert [int(row[0]) for row in table[1:]] == epochs


def test_a_file_is_appended_in_the_order_of_its_columns(tmp_path):
    path = tmp_path / "log"
    path.write_text("val_loss,epoch,loss\n7,1,8")  # the last line without its end
    feed(CSVLogger(path, append=True), [1])
    assert path.read_text() == "val_loss,epoch,loss\n7,1,8\n1,1,0.5\n"


@pytest.mark.parametrize("text", ["epoch,loss\n1,2\n", "epoch;loss;val_loss\n", "\n", "1,2,3\n"])
def test_a_file_with_other_columns_is_not_appended(tmp_path, text):
    path = tmp_path / "log"
    path.write_text(text)
    with pytest.raises(DataError, match=r"has the columns .*; .* epoch, loss, val_loss cannot be"):
        feed(CSVLogger(path, append=True), [1])
    assert path.read_text() == text


def test_a_resumed_training_replaces_the_rows_it_trains_again(tmp_path):
    path = tmp_path / "log"
    one, other = CSVLogger(path), CSVLogger(path)
    feed(one, [1, 2])
    state = through_a_file(one.get_state())
    feed(one, [1, 2, 3, 4])
    other.set_state(state)
    feed(other, [30, 40, 50], first=3)
    assert [row[2] for row in read(path)] == ["val_loss", "1", "2", "30", "40", "50"]
    assert other.last_epoch == 5
    feed(other, [6])  # the next one starts afresh
    assert [row[2] for row in read(path)] == ["val_loss", "6"]


def test_a_resumed_training_keeps_what_was_appended_before(tmp_path):
    path = tmp_path / "log"
    logger = CSVLogger(path, append=True)
    feed(logger, [1, 2, 3])
    feed(logger, [4, 5, 6])
    logger.set_state({"last_epoch": 1})
    feed(logger, [7], first=2)
    assert [row[2] for row in read(path)[1:]] == ["1", "2", "3", "4", "7"]


def test_a_resumed_training_whose_file_is_gone_starts_one(tmp_path):
    logger = CSVLogger(tmp_path / "log")
    logger.set_state({"last_epoch": 4})
    feed(logger, [1], first=5)
    assert [row[0] for row in read(tmp_path / "log")] == ["epoch", "5"]


def test_a_csv_file_that_cannot_be_written_is_noticed_before_training(backend, tmp_path):
    net = make_network(backend)
    with pytest.raises(OSError, match=tmp_path.name):
        net.fit(X, Y, callbacks=CSVLogger(tmp_path))
    assert net.epochs_trained == 0


# ------------------------------------------------------------------ TensorBoard


@pytest.fixture
def fake_tensorboardx(monkeypatch):
    """A stand-in for tensorboardX, and what it was asked for."""
    writers = []

    class SummaryWriter:
        def __init__(self, logdir, **options):
            self.logdir, self.options = logdir, options
            self.points, self.flushed, self.closed = [], 0, False
            writers.append(self)

        def add_scalar(self, tag, value, step):
            self.points.append((tag, value, step))

        def flush(self):
            self.flushed = len(self.points)

        def close(self):
            self.closed = True

    module = SimpleNamespace(SummaryWriter=SummaryWriter, writers=writers)
    monkeypatch.setitem(sys.modules, "tensorboardX", module)
    return module


def test_tensorboard_gets_a_point_an_epoch(backend, tmp_path, fake_tensorboardx):
    board = TensorBoard(tmp_path)
    history = make_network(backend).fit(X, Y, epochs=2, validation_split=0.25, callbacks=board)
    (writer,) = fake_tensorboardx.writers
    assert (writer.logdir, writer.options) == (str(tmp_path), {})
    assert writer.points == [(key, history[key][n - 1], n) for n in (1, 2) for key in history]
    assert writer.flushed == len(writer.points)
    assert writer.closed
    make_network(backend).fit(X, Y, epochs=1, callbacks=board)
    assert len(fake_tensorboardx.writers) == 2


def test_tensorboard_closes_what_an_exception_has_left(backend, tmp_path, fake_tensorboardx):
    def fail(network, epoch, logs):
        raise ZeroDivisionError

    board, net = TensorBoard(tmp_path), make_network(backend)
    with pytest.raises(ZeroDivisionError):
        net.fit(X, Y, callbacks=[board, fail])
    assert fake_tensorboardx.writers[0].flushed
    net.fit(X, Y, epochs=1, callbacks=board)
    assert [writer.closed for writer in fake_tensorboardx.writers] == [True, True]


def test_a_resumed_training_hides_the_points_it_trains_again(tmp_path, fake_tensorboardx):
    board = TensorBoard(tmp_path)
    board.set_state({"last_epoch": 3})
    feed(board, [1, 1], first=4)
    feed(board, [1])
    assert [w.options for w in fake_tensorboardx.writers] == [{"purge_step": 4}, {}]
    board = TensorBoard(tmp_path / "gone")
    board.set_state({"last_epoch": 3})
    feed(board, [1], first=4)
    assert fake_tensorboardx.writers[-1].options == {}


def test_tensorboard_without_tensorboardx_names_the_extra(backend, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    net = make_network(backend)
    with pytest.raises(ImportError, match=r"pip install 'pycnn\[tensorboard\]'"):
        net.fit(X, Y, callbacks=TensorBoard(tmp_path))
    assert net.epochs_trained == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_real_tensorboardx_writes_a_file(tmp_path):
    pytest.importorskip("tensorboardX")
    for resumed in (False, True):
        board = TensorBoard(tmp_path / "runs")
        if resumed:
            board.set_state({"last_epoch": 2})
        make_network().fit(X, Y, epochs=3, callbacks=board)
    files = os.listdir(tmp_path / "runs")
    assert files
    assert any(b"loss" in (tmp_path / "runs" / name).read_bytes() for name in files)


# ------------------------------------------------------------------ functions


def test_a_lambda_callback_calls_each_function(backend):
    calls = []
    every = LambdaCallback(
        on_train_begin=lambda net: calls.append("begin"),
        on_epoch_begin=lambda net, epoch: calls.append(epoch),
        on_epoch_end=lambda net, epoch, logs: calls.append((epoch, list(logs))),
        on_train_end=lambda net: calls.append("end"),
    )
    make_network(backend).fit(X, Y, epochs=2, callbacks=[every, LambdaCallback()])
    assert calls == ["begin", 1, (1, ["loss"]), 2, (2, ["loss"]), "end"]


# ------------------------------------------------------------------ all together


def test_watching_changes_nothing_about_the_training(backend, saved, tmp_path, fake_tensorboardx):
    one, other = make_network(backend), make_network(backend)
    one.fit(X, Y, epochs=6, validation_split=0.25)
    every = [
        EarlyStopping(patience=99, restore_best_weights=False),
        ReduceLROnPlateau(patience=99),
        TerminateOnNaN(),
        LambdaCallback(),
        CSVLogger(tmp_path / "log.csv"),
        TensorBoard(tmp_path / "runs"),
        ModelCheckpoint(tmp_path / "{epoch}"),
    ]
    other.fit(X, Y, epochs=6, validation_split=0.25, callbacks=every)
    assert one.parameters.tobytes() == other.parameters.tobytes()
    assert dict(one.history) == dict(other.history)


@pytest.mark.parametrize(
    "text",
    [
        "EarlyStopping()",
        "EarlyStopping(monitor='loss', patience=2, min_delta=0.5, restore_best_weights=False, "
        "mode='max', start_from_epoch=3)",
        "ModelCheckpoint(path='a{epoch}')",
        "ModelCheckpoint(path='a', every=2, training_state=False, best_only=True, "
        "monitor='b', mode='min')",
        "ReduceLROnPlateau()",
        "ReduceLROnPlateau(monitor='r2', factor=0.5, patience=1, min_delta=0.0, cooldown=1, "
        "min_factor=0.25, mode='min')",
        "TerminateOnNaN()",
        "TerminateOnNaN(monitor='loss')",
        "LambdaCallback()",
        "LambdaCallback(on_epoch_end=print)",
        "CSVLogger(path='a')",
        r"CSVLogger(path='a', append=True, separator='\t')",
        "TensorBoard(log_dir='a')",
    ],
)
def test_repr_rebuilds_the_object(text):
    made = eval(text, {**vars(callbacks), "print": print})
    expected = text.replace("=print", f"={print!r}")
    assert repr(made) == expected
    assert repr(pickle.loads(pickle.dumps(made))) == expected


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: EarlyStopping(5), DataTypeError, "monitor must be a string, got 5"),
        (lambda: EarlyStopping(patience=0), DataError, "patience must be at least 1, got 0"),
        (lambda: EarlyStopping(patience=1.0), DataTypeError, "patience must be an integer"),
        (lambda: EarlyStopping(patience=True), DataTypeError, "patience must be an integer"),
        (lambda: EarlyStopping(min_delta=-1), DataError, "min_delta must be finite and at least 0"),
        (lambda: EarlyStopping(min_delta=NAN), DataError, "min_delta must be finite"),
        (lambda: EarlyStopping(restore_best_weights=1), DataTypeError, "restore_best_weights must"),
        (lambda: EarlyStopping(mode="low"), UnknownNameError, "mode must be one of auto, min, max"),
        (lambda: EarlyStopping(mode=None), UnknownNameError, "mode must be one of auto, min, max"),
        (lambda: EarlyStopping(start_from_epoch=-1), DataError, "start_from_epoch must be at"),
        (lambda: ReduceLROnPlateau(factor=1), DataError, "factor must be below 1, got 1"),
        (lambda: ReduceLROnPlateau(factor=0), DataError, "factor must be finite and above 0"),
        (lambda: ReduceLROnPlateau(factor="a"), DataTypeError, "factor must be a number"),
        (lambda: ReduceLROnPlateau(patience=0), DataError, "patience must be at least 1"),
        (lambda: ReduceLROnPlateau(min_delta=-1), DataError, "min_delta must be"),
        (lambda: ReduceLROnPlateau(cooldown=-1), DataError, "cooldown must be at least 0"),
        (lambda: ReduceLROnPlateau(min_factor=2), DataError, "min_factor must be .* at most 1"),
        (lambda: ReduceLROnPlateau("gain"), DataError, "mode='auto' cannot tell"),
        (lambda: ModelCheckpoint(5), DataTypeError, "path must be a path, got 5"),
        (lambda: ModelCheckpoint(""), DataError, "path must not be empty"),
        (lambda: ModelCheckpoint("a", every=0), DataError, "every must be at least 1"),
        (lambda: ModelCheckpoint("a", training_state=None), DataTypeError, "training_state must"),
        (lambda: ModelCheckpoint("a", best_only="no"), DataTypeError, "best_only must be True or"),
        (lambda: ModelCheckpoint("a", monitor=None), DataTypeError, "monitor must be a string"),
        (lambda: ModelCheckpoint("a", mode="x"), UnknownNameError, "mode must be one of"),
        (lambda: ModelCheckpoint("a", best_only=True, monitor="b"), DataError, "mode='auto'"),
        (lambda: TerminateOnNaN(1), DataTypeError, "monitor must be a string"),
        (lambda: LambdaCallback(5), DataTypeError, "on_train_begin must be a function, got 5"),
        (lambda: LambdaCallback(on_epoch_end="a"), DataTypeError, "on_epoch_end must be"),
        (lambda: CSVLogger(None), DataTypeError, "path must be a path"),
        (lambda: CSVLogger("a", append=1), DataTypeError, "append must be True or False"),
        (lambda: CSVLogger("a", separator=5), DataTypeError, "separator must be a string"),
        *[
            (lambda s=s: CSVLogger("a", separator=s), DataError, "separator must be one character")
            for s in ["", ";;", "\n", "\r", '"', "a", "0", ".", "-", "e", "\0"]
        ],
        (lambda: TensorBoard(5), DataTypeError, "log_dir must be a path"),
        (lambda: TensorBoard(""), DataError, "log_dir must not be empty"),
    ],
)
def test_arguments_that_are_not_valid_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_importing_the_package_loads_no_tensorboard(run_python):
    assert run_python("import sys, pycnn; print('tensorboardX' in sys.modules)") == "False\n"
    assert importlib.import_module("pycnn.callbacks") is callbacks
