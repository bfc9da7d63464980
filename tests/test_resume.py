"""Exact resume: a training that was interrupted ends in the bits of one that was not."""

import copy
import io
import json
import os
import pickle
import signal
import sys
import threading
import time

import numpy as np
import pytest

import pycnn
from pycnn import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    BatchNorm,
    Callback,
    Dense,
    Dropout,
    LayerNorm,
    Network,
    RMSprop,
    Rprop,
)
from pycnn._io import model_file, safetensors_file
from pycnn._training import checkpointer, steps
from pycnn.callbacks import (
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TensorBoard,
    TerminateOnNaN,
)
from pycnn.exceptions import DataError, DataTypeError, DivergedError, ModelFileError
from pycnn.schedules import CosineDecay, ExponentialDecay, OneCycle, StepDecay, Warmup

RNG = np.random.default_rng(9)
X = RNG.normal(size=(23, 3))
Y = np.where(X[:, 0] * X[:, 1] > 0, "yes", "no")
EPOCHS = 7


def make_network(backend="auto", seed=5, **options):
    layers = [Dense(4, "tanh"), Dense(1, "sigmoid")]
    return Network(3, layers, seed=seed, backend=backend, **options)


def fit(net, optimizer=None, callbacks=(), **options):
    settings = {"epochs": EPOCHS, "batch_size": 5, "optimizer": optimizer or Adam(0.02)}
    return net.fit(X, Y, callbacks=list(callbacks), **(settings | options))


def assert_same(net, other):
    assert net.parameters.tobytes() == other.parameters.tobytes()
    assert dict(net.history) == dict(other.history)
    assert net.history.epochs == other.history.epochs
    assert net.epochs_trained == other.epochs_trained
    assert net.learning_rate_factor == other.learning_rate_factor


def file_of(net, path):
    net.save(path, training_state=True)
    return path.read_bytes()


@pytest.fixture
def small_groups(monkeypatch):
    """The core comes back after every mini-batch, and keeps the state each time."""
    monkeypatch.setattr(steps, "PERIOD", 0.0)
    monkeypatch.setattr(checkpointer, "CHECKPOINT_PERIOD", -1.0)


# ------------------------------------------------------------------ from files at epoch boundaries

OPTIMIZERS = {
    "SGD": SGD(0.1),
    "Nesterov": SGD(0.1, momentum=0.9, nesterov=True),
    "Adam": Adam(0.02),
    "AdamW": AdamW(0.02, weight_decay=0.1),
    "RMSprop": RMSprop(0.01, momentum=0.5, centered=True),
    "Adagrad": Adagrad(0.1),
    "Rprop": Rprop(0.01),
    "clipped": Adam(0.02, clip_value=0.5, clip_norm=0.05),
    "step": SGD(StepDecay(0.1, factor=0.5, every=1.5)),
    "exponential": SGD(ExponentialDecay(0.1, 0.8)),
    "cosine": SGD(CosineDecay(0.1), momentum=0.5),
    "restarts": SGD(CosineDecay(0.1, epochs=1.5, restarts=True, growth=1.5)),
    "warm-up": Adam(Warmup(CosineDecay(0.1), epochs=2.3)),
    "one cycle": Adam(OneCycle(0.1)),
}


@pytest.mark.twin_when_thorough
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_checkpoint_leads_to_the_same_file(backend, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    options = {"batch_size": None} if name == "Rprop" else {}
    whole = make_network(backend)
    fit(whole, OPTIMIZERS[name], [ModelCheckpoint("{epoch}")], **options)
    expected = file_of(whole, tmp_path / "whole")
    for epoch in range(1, EPOCHS + 1):
        net = pycnn.load(str(epoch), backend)
        fit(net, OPTIMIZERS[name], [ModelCheckpoint("{epoch}")], resume=True, **options)
        assert_same(net, whole)
        assert file_of(net, tmp_path / "part") == expected


def deep_network(backend):
    """Return a network whose layers draw random numbers and keep running statistics."""
    layers = [
        *(Dense(8, "relu", max_norm=1.5), Dropout(0.3), Dense(6, l1=0.001), BatchNorm("tanh")),
        *(Dropout(0.2), LayerNorm(), Dense(1, "sigmoid")),
    ]
    return Network(3, layers, seed=5, backend=backend, l2=0.01)


def test_dropout_and_running_statistics_go_on(backend, small_groups, tmp_path):
    def hooks():
        def save(network, epoch, logs):
            network.save(tmp_path / f"{epoch}-{logs['batch']}", training_state=True)

        stopping = EarlyStopping("val_loss", patience=2, min_delta=0.01)
        return [stopping, LambdaCallback(on_batch_group_end=save)]

    def train(net, **options):
        settings = {"epochs": 30, "validation_data": (X[:9], Y[:9]), "optimizer": Adam(0.05)}
        fit(net, callbacks=hooks(), **(settings | options))

    whole = deep_network(backend)
    train(whole)
    assert whole.history.epochs < 30  # stopped, and back at the best epoch
    expected = file_of(whole, tmp_path / "whole")
    assert whole.training_record.last.theta.tobytes() != whole.theta.tobytes()
    for name in sorted(set(os.listdir(tmp_path)) - {"whole"}):
        net = pycnn.load(tmp_path / name, backend)
        train(net, resume=True)
        assert_same(net, whole)
        assert net.statistics.tobytes() == whole.statistics.tobytes()
        assert file_of(net, tmp_path / "part") == expected


def test_a_loss_of_ones_own_goes_on(backend, tmp_path):
    def quartic(a, y):
        return ((a - y) ** 4).sum(axis=1), 4 * (a - y) ** 3

    def train(net, **options):
        hooks = [ModelCheckpoint(tmp_path / "{epoch}")]
        net.fit(X, X[:, 0], epochs=5, optimizer=Adam(0.05), callbacks=hooks, **options)

    whole = Network(3, [Dense(4, "tanh"), Dense(1)], loss=quartic, seed=1, backend=backend)
    train(whole)
    net = pycnn.load(tmp_path / "2", backend, loss=quartic)
    train(net, resume=True)
    assert_same(net, whole)


def callbacks_of(folder):
    """Return callbacks of all kinds, those that remember something on both sides of the file's."""
    return [
        ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=0.05, cooldown=1),
        ModelCheckpoint(folder / "{epoch}"),
        EarlyStopping("val_loss", patience=2, min_delta=0.02),
        CSVLogger(folder / "log.csv"),
        ModelCheckpoint(folder / "best", best_only=True, monitor="loss"),
        TerminateOnNaN(),
        LambdaCallback(),
        lambda network, epoch, logs: None,
    ]


def test_callbacks_go_on_from_every_checkpoint_wherever_they_stand(backend, tmp_path):
    options = {"epochs": 60, "validation_split": 0.3, "optimizer": Adam(0.1)}
    whole, hooks = make_network(backend), callbacks_of(tmp_path)
    fit(whole, callbacks=hooks, **options)
    stopped = hooks[2].stopped_epoch
    assert 3 < stopped == hooks[2].best_epoch + 2 == whole.history.epochs < 60
    assert whole.learning_rate_factor < 1
    files = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    final = file_of(whole, tmp_path / "final")
    for epoch in range(1, stopped + 1):
        for name, content in files.items():  # as the interruption left them
            if not name.isdecimal() or int(name) <= epoch:
                (tmp_path / name).write_bytes(content)
            else:
                (tmp_path / name).unlink()
        net, others = pycnn.load(tmp_path / str(epoch), backend), callbacks_of(tmp_path)
        fit(net, callbacks=others, resume=True, **options)
        assert_same(net, whole)
        assert others[2].best_parameters.tobytes() == hooks[2].best_parameters.tobytes()
        assert [vars(c).get("stopped_epoch") for c in others] == [
            vars(c).get("stopped_epoch") for c in hooks
        ]
        assert {n: (tmp_path / n).read_bytes() for n in files} == files
        assert file_of(net, tmp_path / "final") == final


def test_class_and_sample_weights_and_unshuffled_epochs_go_on(backend, tmp_path):
    options = {
        "class_weight": {"no": 2.0},
        "sample_weight": np.arange(23.0),
        "shuffle": False,
        "callbacks": [ModelCheckpoint(tmp_path / "{epoch}")],
    }
    whole = make_network(backend)
    fit(whole, **options)
    net = pycnn.load(tmp_path / "3", backend)
    fit(net, resume=True, **options)
    assert_same(net, whole)


def test_a_resumed_training_may_itself_be_interrupted(backend, tmp_path):
    hooks = [ModelCheckpoint(tmp_path / "{epoch}"), EarlyStopping("loss", patience=50)]
    whole = make_network(backend)
    fit(whole, callbacks=hooks)
    net = make_network(backend)
    fit(net, epochs=2, callbacks=hooks)
    for epochs in (4, 6, EPOCHS):
        net = pycnn.load(tmp_path / str(epochs - 2), backend)
        fit(net, epochs=epochs, callbacks=hooks, resume=True)
    assert_same(net, whole)


def test_the_other_backend_goes_on_as_well(core, tmp_path):
    whole = make_network("c")
    fit(whole, callbacks=[ModelCheckpoint(tmp_path / "{epoch}")])
    net = pycnn.load(tmp_path / "3", "numpy")
    fit(net, callbacks=[ModelCheckpoint(tmp_path / "{epoch}")], resume=True)
    assert np.allclose(net.parameters, whole.parameters, rtol=0, atol=1e-9)


def test_what_callbacks_do_when_training_begins_is_not_done_twice(backend, tmp_path):
    class Begin(Callback):
        def on_train_begin(self, network):
            network.learning_rate_factor = 0.5
            network.parameters[:] *= 2

        def on_epoch_end(self, network, epoch, logs):
            network.learning_rate_factor *= 0.9
            network.parameters[:] *= 0.99

    hooks = [Begin(), ModelCheckpoint(tmp_path / "{epoch}")]
    whole = make_network(backend)
    fit(whole, callbacks=hooks)
    net = pycnn.load(tmp_path / "3", backend)
    fit(net, callbacks=hooks, resume=True)
    assert_same(net, whole)


# ------------------------------------------------------------------ in memory


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_batch_group_end", "on_epoch_end"])
def test_a_fit_that_an_exception_ended_goes_on(backend, small_groups, hook, error):
    counts = []

    class Fail(Callback):
        armed = False

    def fail(self, *arguments):
        counts.append(1)
        if self.armed and len(counts) in (3, 8):
            raise error

    setattr(Fail, hook, fail)

    def callbacks():
        return [EarlyStopping("loss", patience=99), Fail(), ReduceLROnPlateau("loss", patience=1)]

    whole = make_network(backend)
    fit(whole, callbacks=callbacks())
    counts.clear()
    Fail.armed = True
    net, hooks = make_network(backend), callbacks()
    with pytest.raises(error):
        fit(net, callbacks=hooks)
    with pytest.raises(error):
        fit(net, callbacks=hooks, resume=True)
    fit(net, callbacks=hooks, resume=True)
    assert_same(net, whole)


@pytest.mark.twin_when_thorough
@pytest.mark.parametrize("calls", range(1, 12))
def test_ctrl_c_anywhere_in_an_epoch_or_a_block_of_epochs(
    backend, small_groups, monkeypatch, tmp_path, calls
):
    optimizer = Adam(OneCycle(0.05), clip_norm=0.1)
    whole = make_network(backend)
    fit(whole, optimizer)
    net, train, count = make_network(backend), steps.Steps._train, []

    def interrupted(*arguments):
        done = train(*arguments)
        count.append(done)
        if len(count) == calls:
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(steps.Steps, "_train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(net, optimizer)
    net.save(tmp_path / "interrupted", training_state=True)
    at_interruption = net.parameters.tobytes()
    loaded = pycnn.load(tmp_path / "interrupted", backend)
    assert loaded.parameters.tobytes() == at_interruption
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), loaded, net):
        fit(other, optimizer, resume=True)
        assert_same(other, whole)


@pytest.mark.skipif(not hasattr(signal, "raise_signal"), reason="no signals")
def test_a_real_ctrl_c_is_mended(backend):
    rows = 40_000
    inputs, targets = np.resize(X, (rows, 3)), np.resize(Y, rows)
    options = {"epochs": 2, "optimizer": Adam(0.001), "batch_size": 4 if backend == "c" else 64}
    whole, net = make_network(backend), make_network(backend)
    whole.fit(inputs, targets, **options)
    start = net.parameters.tobytes()

    def interrupt():
        while net.parameters.tobytes() == start:
            time.sleep(0.001)
        signal.raise_signal(signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        net.fit(inputs, targets, **options)
    except KeyboardInterrupt:
        net.fit(inputs, targets, resume=True, **options)
    thread.join()
    assert_same(net, whole)


@pytest.mark.filterwarnings("ignore:X is not scaled")
def test_a_divergence_comes_again(backend):
    def diverge(**options):
        net.fit(10 * X, 10 * X.sum(axis=1), epochs=500, optimizer=SGD(3.0), **options)

    net = Network(3, [Dense(4), Dense(1)], seed=1, backend=backend)
    with pytest.raises(DivergedError) as first:
        diverge()
    theta = net.parameters.tobytes()
    with pytest.raises(DivergedError) as second:
        diverge(resume=True)
    assert (first.value.epoch, first.value.batch) == (second.value.epoch, second.value.batch)
    assert net.parameters.tobytes() == theta


def test_what_was_given_back_for_a_training_that_did_not_begin_is_forgotten(backend):
    class Refusing(pycnn.Callback):
        def on_train_begin(self, network):
            raise ValueError("not today")

    stopping, fresh = EarlyStopping("loss", patience=1), EarlyStopping("loss", patience=1)
    net = make_network(backend)
    fit(net, callbacks=[stopping], epochs=3)
    with pytest.raises(ValueError, match="not today"):
        fit(net, callbacks=[Refusing(), stopping], epochs=6, resume=True)
    other = make_network(backend, seed=6)
    for callback in (stopping, fresh):
        fit(copy.deepcopy(other), callbacks=[callback], epochs=1)
    assert stopping.get_state().keys() == fresh.get_state().keys()
    assert stopping.best == fresh.best


def test_a_fit_that_is_not_resumed_starts_anew(backend, tmp_path):
    hooks = [EarlyStopping("loss", patience=50), ModelCheckpoint(tmp_path / "model")]
    net = make_network(backend)
    fit(net, callbacks=hooks)
    loaded = pycnn.load(tmp_path / "model", backend)
    fit(loaded, callbacks=hooks)
    fit(net, callbacks=hooks)
    assert_same(net, loaded)
    assert net.epochs_trained == 2 * EPOCHS
    assert net.history.epochs == EPOCHS


def test_threads_and_callbacks_see_the_same_training(backend, tmp_path):
    seen = []

    def look(network, epoch, logs):
        other = copy.deepcopy(network)  # what this thread trains: as it stands
        seen.append(other.training_record.last.epoch)
        thread = threading.Thread(
            target=lambda: seen.append(copy.copy(network).training_record.last.epoch)
        )
        thread.start()
        thread.join()  # any other thread: what was kept last

    fit(make_network(backend), callbacks=[look])
    assert seen == [n for epoch in range(1, EPOCHS + 1) for n in (epoch, epoch - 1)]


# ------------------------------------------------------------------ batch groups


def test_the_batch_group_hook_tells_the_running_loss(backend, small_groups):
    calls, ends = [], []
    hook = LambdaCallback(
        on_batch_group_end=lambda net, epoch, logs: calls.append((epoch, logs)),
        on_epoch_end=lambda net, epoch, logs: ends.append((len(calls), logs)),
    )
    net = make_network(backend)
    fit(net, SGD(1e-300), [hook], epochs=2, shuffle=False)
    assert [(epoch, logs["batch"]) for epoch, logs in calls] == [
        (epoch, batch) for epoch in (1, 2) for batch in range(1, 6)
    ]
    assert all(logs["batches"] == 5 for _, logs in calls)
    for epoch, logs in calls:  # the parameters stay, so a part's means are its own
        rows = min(5 * logs["batch"], 23)
        scores = net.evaluate(X[:rows], Y[:rows])
        assert logs["loss"] == pytest.approx(scores["loss"], rel=1e-12)
        assert logs["accuracy"] == pytest.approx(scores["accuracy"])
        assert epoch in (1, 2)
    assert [at for at, _ in ends] == [5, 10]
    assert calls[4][1]["loss"] == ends[0][1]["loss"] == net.history["loss"][0]


def test_the_batch_group_hook_changes_nothing_about_the_training(backend, small_groups):
    one, other = make_network(backend), make_network(backend)
    fit(one)
    fit(other, callbacks=[LambdaCallback(on_batch_group_end=lambda *a: None)])
    assert_same(one, other)


def stop_at(epoch, batch):
    def stop(network, at, logs):
        network.stop_training = (at, logs["batch"]) == (epoch, batch)

    return LambdaCallback(on_batch_group_end=stop)


@pytest.mark.parametrize("batch", range(1, 6))
def test_stopping_in_a_batch_group_is_at_once_and_can_be_resumed(
    backend, small_groups, tmp_path, batch
):
    ends = []
    optimizer = Adam(CosineDecay(0.05), clip_norm=0.1)
    end = LambdaCallback(
        on_epoch_end=lambda net, epoch, logs: ends.append(epoch),
        on_train_end=lambda net: ends.append("end"),
    )
    whole, net = make_network(backend), make_network(backend)
    fit(whole, optimizer, [stop_at(0, 0), end])
    ends.clear()
    history = fit(net, optimizer, [stop_at(3, batch), end])
    finished = batch == 5  # the whole epoch: it counts
    assert history is net.history
    assert history.epochs == net.epochs_trained == 2 + finished
    assert ends == [1, 2, *([3] if finished else []), "end"]
    assert net.stop_training

    loaded = pycnn.load(file_path(net, tmp_path), backend)
    for other in (loaded, net):
        fit(other, optimizer, resume=True)
        assert_same(other, whole)


def file_path(net, folder):
    net.save(folder / "model", training_state=True)
    return folder / "model"


def test_a_file_from_the_midst_of_an_epoch_leads_to_the_same_bits(backend, small_groups, tmp_path):
    def save(network, epoch, logs):
        network.save(tmp_path / f"{epoch}-{logs['batch']}", training_state=True)

    def hooks():
        return [
            EarlyStopping("loss", patience=50),
            LambdaCallback(on_batch_group_end=save),
            ReduceLROnPlateau("loss", patience=1, factor=0.5),
        ]

    whole = make_network(backend)
    fit(whole, Adam(0.05, clip_norm=0.1), hooks(), epochs=3)
    for name in sorted(os.listdir(tmp_path)):
        net = pycnn.load(tmp_path / name, backend)
        fit(net, Adam(0.05, clip_norm=0.1), hooks(), epochs=3, resume=True)
        assert_same(net, whole)


def test_stopping_before_an_epoch_is_after_that_epoch(backend, small_groups):
    def stop(network, epoch):
        network.stop_training = epoch == 3

    net = make_network(backend)
    assert fit(net, callbacks=[LambdaCallback(on_epoch_begin=stop)]).epochs == 3


# ------------------------------------------------------------------ how many epochs


@pytest.mark.parametrize("schedule", [0.1, StepDecay(0.1, 0.5, 2), CosineDecay(0.1, epochs=3)])
def test_more_epochs_go_on_where_the_rates_do_not_depend_on_them(backend, tmp_path, schedule):
    whole, net = make_network(backend), make_network(backend)
    stopping = EarlyStopping("loss", patience=50)
    fit(whole, SGD(schedule, momentum=0.9), [stopping], epochs=12)
    fit(net, SGD(schedule, momentum=0.9), [stopping])
    loaded = pycnn.load(file_path(net, tmp_path), backend)
    for other in (net, loaded):
        assert fit(other, SGD(schedule, momentum=0.9), [stopping], resume=True).epochs == EPOCHS
        fit(other, SGD(schedule, momentum=0.9), [stopping], epochs=12, resume=True)
        assert_same(other, whole)


@pytest.mark.parametrize(
    "schedule", [CosineDecay(0.1), OneCycle(0.1), Warmup(CosineDecay(0.1), epochs=100)]
)
def test_more_epochs_are_refused_where_the_rates_depend_on_them(backend, schedule):
    net = make_network(backend)
    fit(net, SGD(schedule))
    before = net.parameters.tobytes()
    with pytest.raises(DataError, match=r"epochs was 7 and is now 8, on which the learning rates"):
        fit(net, SGD(schedule), epochs=8, resume=True)
    assert net.parameters.tobytes() == before
    assert fit(net, SGD(schedule), resume=True).epochs == EPOCHS


def test_fewer_epochs_than_are_done_are_refused(backend, small_groups):
    net = make_network(backend)
    fit(net, callbacks=[stop_at(3, 2)])
    for epochs in (1, 2):
        with pytest.raises(DataError, match=rf"epochs must be at least the 3 .* got {epochs}"):
            fit(net, epochs=epochs, resume=True)
    assert fit(net, epochs=3, resume=True).epochs == 3


# ------------------------------------------------------------------ wrong use


def test_resume_without_a_state_is_refused(backend, tmp_path):
    net = make_network(backend)
    with pytest.raises(DataError, match="resume=True needs a training state"):
        fit(net, resume=True)
    with pytest.raises(DataError, match="training_state=True needs a network that has been"):
        net.save(tmp_path / "model", training_state=True)
    assert os.listdir(tmp_path) == []
    fit(net)
    net.save(tmp_path / "model")
    with pytest.raises(DataError, match="resume=True needs a training state"):
        fit(pycnn.load(tmp_path / "model", backend), resume=True)
    for name, value in (("resume", 1), ("training_state", "yes")):
        with pytest.raises(DataTypeError, match=f"{name} must be True or False"):
            net.fit(X, Y, **{name: value}) if name == "resume" else net.save("x", **{name: value})
    net.partial_fit(X, Y)
    with pytest.raises(DataError, match="trained by partial_fit or train_on_batch last"):
        fit(net, resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 6}, "batch_size was 5 and is now 6"),
        ({"batch_size": None}, "batch_size was 5 and is now 23"),
        ({"optimizer": Adam(0.03)}, "optimizer.learning_rate was 0.02 and is now 0.03"),
        ({"optimizer": SGD(0.02)}, "optimizer.name was 'adam' and is now 'sgd'"),
        ({"optimizer": Adam(StepDecay(0.02))}, "optimizer.learning_rate was 0.02 and is now {"),
        ({"shuffle": False}, "shuffle was True and is now False"),
        ({"sample_weight": np.ones(23)}, "weighted was False and is now True"),
        ({"validation_split": 0.1}, "rows was 23 and is now 21; validation_rows was None and"),
        ({"validation_data": (X, Y)}, "validation_rows was None and is now 23"),
        ({"callbacks": []}, r"callbacks was \['EarlyStopping\(loss\)'\] and is now \[\]"),
        (
            {"callbacks": [EarlyStopping("accuracy")]},
            r"is now \['EarlyStopping\(accuracy\)'\]",
        ),
        (
            {"callbacks": [TerminateOnNaN(), EarlyStopping("loss")]},
            r"is now \['EarlyStopping\(loss\)', 'TerminateOnNaN'\]",
        ),
    ],
)
def test_other_arguments_are_refused_and_named(backend, tmp_path, change, message):
    def same():
        return [EarlyStopping("loss", patience=50), lambda network, epoch, logs: None]

    net, whole = make_network(backend), make_network(backend)
    fit(whole, callbacks=same())
    fit(net, epochs=3, callbacks=same())
    net = pycnn.load(file_path(net, tmp_path), backend)
    before = net.__getstate__()["parameters"].tobytes()
    with pytest.raises(DataError, match=rf"needs the arguments of .*{message}"):
        fit(net, **({"callbacks": same()} | change), resume=True)
    assert net.parameters.tobytes() == before
    assert net.history is None
    with pytest.raises(DataError, match="rows was 23 and is now 22"):
        net.fit(X[1:], Y[1:], epochs=3, batch_size=5, callbacks=same(), resume=True)
    net.seed = 6
    with pytest.raises(DataError, match="seed was 5 and is now 6"):
        fit(net, callbacks=same(), resume=True)
    net.seed = 5
    fit(net, callbacks=same(), resume=True)
    assert_same(net, whole)


class Counter(Callback):
    """A callback of one's own, with a state of every kind."""

    def __init__(self):
        self.seen = {"n": 0, "text": "a", "list": [[1, 2.5], None], "array": np.arange(3)}

    def on_epoch_end(self, network, epoch, logs):
        self.seen["n"] = np.int64(self.seen["n"] + 1)
        self.seen["array"] = np.asarray(self.seen["array"] + 1)
        self.seen["list"].append(epoch)

    def get_state(self):
        return self.seen

    def set_state(self, state):
        self.seen = dict(state)


@pytest.mark.parametrize(
    "array",
    [
        *(np.arange(3), np.ones((2, 0), np.float32), np.array([True]), np.arange(4, dtype=">i2")),
        *(np.array(5), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(8)[::2]),
    ],
    ids=str,
)
def test_states_of_ones_own_come_back(backend, tmp_path, array):
    counter, checkpoint = Counter(), ModelCheckpoint(tmp_path / "{epoch}")
    counter.seen["array"] = array
    fit(make_network(backend), callbacks=[counter, checkpoint])
    other = Counter()
    net = pycnn.load(tmp_path / "4", backend)
    fit(net, callbacks=[other, checkpoint], resume=True)
    assert other.seen["n"] == EPOCHS
    assert other.seen["list"] == counter.seen["list"]
    assert other.seen["array"].dtype == (array + 1).dtype
    assert np.array_equal(other.seen["array"], counter.seen["array"])


@pytest.mark.parametrize(
    "state",
    [
        {"x": object()},
        {"x": float("nan")},
        {1: 2},
        {"x": (1,)},
        {"x": np.array(["a"])},
        {(1,): np.ones(1)},
    ],
)
def test_states_that_no_file_can_keep_are_refused(backend, tmp_path, state):
    counter = Counter()
    net = make_network(backend)
    net.save(tmp_path / "model")
    before = (tmp_path / "model").read_bytes()
    counter.get_state = lambda: state
    with pytest.raises(DataTypeError, match="state of Counter must hold plain data"):
        fit(net, callbacks=[counter, ModelCheckpoint(tmp_path / "model")])
    assert (tmp_path / "model").read_bytes() == before
    counter.get_state = lambda: [1]
    with pytest.raises(DataTypeError, match=r"get_state of Counter must return a dict, got \[1\]"):
        fit(net, callbacks=[counter])


def test_a_state_that_a_callback_refuses_changes_nothing(backend, tmp_path):
    class Fussy(Counter):
        def set_state(self, state):
            raise DataError("not this one")

    def hooks():
        return [EarlyStopping("loss", patience=2, min_delta=9.0), Fussy()]

    net = make_network(backend)
    fit(net, callbacks=hooks())
    assert net.history.epochs == 3
    net = pycnn.load(file_path(net, tmp_path), backend)
    again = hooks()
    with pytest.raises(DataError, match="not this one"):
        fit(net, callbacks=again, resume=True)
    assert net.history is None
    assert fit(net, callbacks=again).epochs == 3  # afresh: no memory of the state


def test_a_callback_that_has_got_a_state_is_refused(backend):
    net = make_network(backend)
    fit(net, callbacks=[type("Mine", (Callback,), {})()])
    mine = type("Mine", (Counter,), {})()
    with pytest.raises(DataError, match=r"callbacks was \[\] and is now \['Mine'\]"):
        fit(net, callbacks=[mine], resume=True)


def test_callbacks_that_only_watch_may_come_and_go(backend, tmp_path):
    whole, net = make_network(backend), make_network(backend)
    stopping = EarlyStopping("loss", patience=50)
    fit(whole, callbacks=[stopping])
    fit(net, epochs=3, callbacks=[print_nothing, ModelCheckpoint(tmp_path / "a"), stopping])
    net = pycnn.load(tmp_path / "a", backend)
    log = CSVLogger(tmp_path / "log")
    fit(net, epochs=5, callbacks=[EarlyStopping("loss", patience=50), log], resume=True)
    assert epochs_in(tmp_path / "log") == ["epoch", "4", "5"]
    log = CSVLogger(tmp_path / "log")
    fit(net, callbacks=[log, print_nothing, EarlyStopping("loss", patience=50)], resume=True)
    assert epochs_in(tmp_path / "log") == ["epoch", *"4567"]
    assert_same(net, whole)


def epochs_in(path):
    return [line.split(",")[0] for line in path.read_text().splitlines()]


def print_nothing(network, epoch, logs):
    pass


@pytest.mark.parametrize("behind", [False, True])
def test_who_has_ended_a_training_ends_it_again(backend, tmp_path, behind):
    def hooks(patience=2):
        stopping = [EarlyStopping("loss", patience, min_delta=9), TerminateOnNaN()]
        files = [ModelCheckpoint(tmp_path / "{epoch}")]
        return files + stopping if behind else stopping + files

    whole = make_network(backend)
    fit(whole, callbacks=hooks())
    assert whole.history.epochs == 3
    net = pycnn.load(tmp_path / "3", backend)
    fit(net, callbacks=hooks(), resume=True)
    assert_same(net, whole)
    assert fit(net, callbacks=hooks(), resume=True).epochs == 3
    assert fit(net, callbacks=hooks(patience=4), resume=True).epochs == 5

    net = Network(3, [Dense(1)], seed=1, backend=backend)  # and a validation loss of infinity
    far = {"validation_data": (1e200 * X, X[:, 0]), "epochs": 9}
    net.fit(X, X[:, 0], callbacks=hooks(patience=99), **far)
    assert net.history.epochs == 1
    net = pycnn.load(tmp_path / "1", backend)
    assert net.fit(X, X[:, 0], callbacks=hooks(patience=99), resume=True, **far).epochs == 1


def test_a_training_that_a_function_has_stopped_goes_on(backend, tmp_path):
    def stop(network, epoch, logs):
        network.stop_training = epoch == 3

    whole, net = make_network(backend), make_network(backend)
    fit(whole)
    fit(net, callbacks=[stop])
    loaded = pycnn.load(file_path(net, tmp_path), backend)
    for other in (net, loaded):
        assert fit(other, resume=True).epochs == EPOCHS
        assert_same(other, whole)


def test_a_tensorboard_behind_the_checkpoint_is_told_of_the_epoch(tmp_path, monkeypatch):
    points = []

    class Writer:
        def __init__(self, log_dir, purge_step=None):
            points.append(("open", purge_step))
            os.makedirs(log_dir, exist_ok=True)

        def add_scalar(self, name, value, epoch):
            points.append(epoch)

        def flush(self):
            pass

        close = flush

    module = type(sys)("tensorboardX")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "tensorboardX", module)

    def hooks():
        return [ModelCheckpoint(tmp_path / "{epoch}"), TensorBoard(tmp_path / "runs")]

    net = Network(3, [Dense(1)], seed=0)
    net.fit(X, X[:, 0], epochs=4, callbacks=hooks())
    points.clear()
    net = pycnn.load(tmp_path / "2")
    net.fit(X, X[:, 0], epochs=4, callbacks=hooks(), resume=True)
    assert points == [("open", 2), 2, 3, 4]


# ------------------------------------------------------------------ what a file keeps


def test_files_without_a_state_are_as_they_were(backend, tmp_path):
    net, fresh = make_network(backend), make_network(backend)
    fit(net)
    net.save(tmp_path / "trained")
    metadata, tensors = read((tmp_path / "trained").read_bytes())
    assert set(tensors) == {f"layers.{n}.{p}" for n in (1, 2) for p in "Wb"}
    assert "training" not in json.loads(metadata["pycnn"])
    fresh.save(tmp_path / "fresh")
    assert pycnn.load(tmp_path / "fresh").training_record.last is None


def test_a_history_with_infinities_comes_back(backend, tmp_path):
    values = [np.inf, np.nan, -np.inf, 1e308, -0.0, 5e-324, 1.0]
    net = make_network(backend)
    fit(net)
    net.history._values["val_loss"] = list(values)
    loaded = pycnn.load(file_path(net, tmp_path), backend)
    assert fit(loaded, resume=True)["val_loss"].__repr__() == repr(values)
    assert fit(net, resume=True)["loss"] == loaded.history["loss"]


@pytest.mark.filterwarnings("ignore::pycnn.exceptions.DataWarning")
def test_optimizer_memory_that_has_overflowed_comes_back(backend, tmp_path):
    def make():
        return Network(1, [Dense(1)], loss="mae", seed=0, backend=backend)

    whole, net, far = make(), make(), np.full((8, 1), 1e160)
    settings = {"batch_size": 4, "optimizer": "adam"}
    whole.fit(far, np.zeros(8), epochs=4, **settings)
    net.fit(far, np.zeros(8), epochs=2, **settings)
    assert np.isinf(net.training_record.last.slots).any()
    assert np.isfinite(net.parameters).all()
    loaded = pycnn.load(file_path(net, tmp_path), backend)
    assert loaded.training_record.last.slots.tobytes() == net.training_record.last.slots.tobytes()
    loaded.fit(far, np.zeros(8), epochs=4, resume=True, **settings)
    assert_same(loaded, whole)


def test_a_history_of_other_things_than_numbers_is_refused(tmp_path):
    net = make_network()
    fit(net)
    net.training_record.last.history._values["note"] = ["a"] * EPOCHS
    with pytest.raises(DataTypeError, match=r"history\['note'\] must hold numbers"):
        file_path(net, tmp_path)


def test_a_factor_that_is_not_finite_is_refused(backend, tmp_path):
    def spoil(network, epoch, logs):
        network.learning_rate_factor = np.inf

    net = make_network(backend)
    with pytest.raises(DataError, match="learning_rate_factor must be finite"):
        fit(net, callbacks=[spoil, ModelCheckpoint(tmp_path / "model")])


def test_pickles_without_a_state_still_load():
    net = make_network()
    state = net.__getstate__()
    del state["training"]
    other = Network.__new__(Network)
    other.__setstate__(state)
    assert other.parameters.tobytes() == net.parameters.tobytes()


def test_a_copy_shares_nothing_that_training_changes(backend):
    net = make_network(backend)
    net.partial_fit(X, Y, optimizer="adam")
    for make in (copy.copy, copy.deepcopy):
        other, reference = make(net), pickle.loads(pickle.dumps(net))
        other.partial_fit(X, Y)
        history = reference.partial_fit(X, Y)
        assert history.epochs == 2
        assert net.training_record.last.history.epochs == 1
        slots, theirs = (each.training_record.last.slots for each in (net, other))
        assert not np.shares_memory(slots, theirs)
        assert_same(other, reference)


def test_every_flipped_byte_of_a_state_is_noticed(tmp_path):
    net = make_network()
    fit(net, callbacks=[EarlyStopping("loss", patience=50)])
    content = file_path(net, tmp_path).read_bytes()
    for at in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[at] ^= 1
        (tmp_path / "model").write_bytes(damaged)
        with pytest.raises(ModelFileError):
            pycnn.load(tmp_path / "model")


# ------------------------------------------------------------------ hostile files


def read(content):
    """Return a safetensors file's metadata and tensors."""
    return safetensors_file.read(io.BytesIO(content), len(content))[:2]


def forged(content, path, change):
    """Return a file with a changed training, its checksum made to fit."""
    metadata, tensors = read(content)
    description = json.loads(metadata["pycnn"])
    change(description, tensors)
    del description["sha256"]
    names = sorted(tensors)
    parameters = [tensors[name].ravel() for name in names if name.startswith("layers.")]
    others = {name: tensors[name] for name in names if not name.startswith("layers.")}
    description["sha256"] = model_file._checksum(description, np.concatenate(parameters), others)
    text = json.dumps(description, sort_keys=True)
    return b"".join(safetensors_file.write(tensors, {"pycnn": text}))


def value(key, new):
    def change(description, tensors):
        if new is None:
            del description["training"][key]
        else:
            description["training"][key] = new

    return pytest.param(change, id=f"{key}={new!r:.30}")


def tensor(name, new):
    def change(description, tensors):
        if new is None:
            del tensors[f"training.{name}"]
        else:
            tensors[f"training.{name}"] = new

    return pytest.param(change, id=f"{name}={new!r:.30}")


def entry(key, new):
    def change(description, tensors):
        description["training"]["callbacks"][0][key] = new

    return pytest.param(change, id=f"{key}={new!r:.30}")


def no_training(description, tensors):
    del description["training"]


BAD_COUNTS = [None, -1, 1.5, "3", True, [], {}, 1 << 41, 10**30, float("nan"), float("inf")]
COUNTS = ("epoch", "position", "updates", "epochs_trained")
THETA = 4 * 4 + 5
REFUSED_BY_LOAD = [
    *(value(key, count) for key in COUNTS for count in BAD_COUNTS),
    *(value("epoch", count) for count in (0, 2, 4, 1 << 39)),
    *(value("settings", new) for new in (None, [], 5, {}, {"by": "me"}, {"by": []})),
    *(value("settings", {"by": "partial_fit", **more}) for more in ({}, {"optimizer": "adam"})),
    *(value("settings", {"by": "fit", "optimizer": new}) for new in (None, [], "adam")),
    *(value("learning_rate_factor", new) for new in (None, "1", True, float("nan"), [], 10**400)),
    *(value("history", new) for new in (None, 5, [5], ["loss", "loss"], ["x"], [], {})),
    *(value("callbacks", new) for new in (None, 5, [5], [{}], [None], [])),
    *(
        value("callbacks", [{"name": "EarlyStopping(loss)", "told": True, "state": state}])
        for state in (
            *(None, 5, [], {}, {"plain": {}}, {"arrays": ["best_parameters"]}),
            {"plain": [], "arrays": ["best_parameters"]},
            {"plain": {"best_parameters": 1}, "arrays": ["best_parameters"]},
            {"plain": {}, "arrays": ["best_parameters", "best_parameters"]},
            {"plain": {}, "arrays": ["best_parameters", []]},
            {"plain": {}, "arrays": 5},
        )
    ),
    *(entry("name", new) for new in (None, 5, [])),
    *(entry("told", new) for new in (None, 0, "yes", [])),
    value("more", 1),
    *(tensor("running", new) for new in (None, np.zeros(3), np.zeros((4, 1)))),
    *(tensor("slots", new) for new in (None, np.zeros(2, np.float32))),
    *(tensor("history.loss", new) for new in (None, np.zeros(2), np.zeros(4), np.zeros(()))),
    tensor("history.loss", np.zeros(3, int)),
    tensor("history.loss", np.zeros((2_000_000, 0))),
    tensor("history.loss", np.zeros((3, 1))),
    tensor("theta", np.zeros(THETA + 1)),
    tensor("theta", np.zeros(THETA, np.float32)),
    tensor("more", np.zeros(1)),
    pytest.param(no_training, id="no training"),
]


def settings(key, new):
    def change(description, tensors):
        description["training"]["settings"][key] = new

    return pytest.param(change, id=f"settings.{key}={new!r:.30}")


def state(key, new):
    def change(description, tensors):
        description["training"]["callbacks"][0]["state"]["plain"][key] = new

    return pytest.param(change, id=f"state.{key}={new!r:.30}")


def short_best(description, tensors):
    tensors["training.callbacks.0.best_parameters"] = np.zeros(3)


REFUSED_BY_FIT = [
    *(value("position", count) for count in (3, 25, 1 << 40)),
    entry("name", "EarlyStopping"),
    tensor("slots", np.zeros((1, THETA))),
    tensor("slots", np.zeros((3, THETA))),
    tensor("slots", np.zeros((2, THETA - 1))),
    tensor("slots", np.zeros(2 * THETA)),
    tensor("slots", np.zeros((0, THETA))),
    tensor("theta", np.full(THETA, np.nan)),
    *(settings("rows", new) for new in (24, None, "23", 1 << 60)),
    *(settings("batch_size", new) for new in (1, 0, [])),
    *(settings("optimizer", new) for new in ({}, {"name": "sgd"})),
    settings("callbacks", []),
    settings("more", 1),
    *(state("wait", new) for new in (-1, 1.5, "x")),
    *(state("best", new) for new in ("x", [1], {})),
    state("more", 1),
    pytest.param(short_best, id="short best_parameters"),
]


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """Return a file with a training state."""
    net = make_network()
    fit(net, callbacks=[EarlyStopping("loss", patience=50)], epochs=3)
    return file_path(net, tmp_path_factory.mktemp("state")).read_bytes()


def go_on(net):
    return fit(net, callbacks=[EarlyStopping("loss", patience=50)], resume=True)


def test_forging_nothing_goes_on(content, tmp_path):
    path = tmp_path / "model"
    path.write_bytes(forged(content, path, lambda description, tensors: None))
    assert go_on(pycnn.load(path)).epochs == EPOCHS


@pytest.mark.parametrize("change", REFUSED_BY_LOAD)
def test_a_forged_state_is_refused(content, tmp_path, change):
    path = tmp_path / "model"
    path.write_bytes(forged(content, path, change))
    with pytest.raises(ModelFileError, match="damaged or was altered"):
        pycnn.load(path)


@pytest.mark.parametrize("change", REFUSED_BY_FIT)
def test_a_state_that_fits_nothing_is_refused_when_it_is_taken_up(
    backend, content, tmp_path, change
):
    path = tmp_path / "model"
    path.write_bytes(forged(content, path, change))
    net = pycnn.load(path, backend)
    before = net.parameters.tobytes()
    with pytest.raises((DataError, DataTypeError, pycnn.exceptions.ShapeError)):
        go_on(net)
    assert net.parameters.tobytes() == before
    assert fit(net).epochs == EPOCHS  # the model itself is sound


def test_slots_of_another_size_are_refused_by_partial_fit(backend, tmp_path):
    net = make_network()
    net.partial_fit(X, Y, optimizer="adam")
    for slots in (np.zeros((2, 3)), np.zeros((1, THETA))):
        content = file_path(net, tmp_path).read_bytes()
        path = tmp_path / "forged"
        path.write_bytes(forged(content, path, tensor("slots", slots).values[0]))
        loaded = pycnn.load(path, backend)
        with pytest.raises(DataError, match="does not fit"):
            loaded.partial_fit(X, Y)
        loaded.partial_fit(X, Y, optimizer="sgd")


# ------------------------------------------------------------------ killed for real


@pytest.mark.thorough
def test_killed_trainings_end_in_the_same_files(run_script):
    printed = run_script("kill_and_resume.py", "--kills", "2", "--epochs", "16")
    assert printed.count("none differ") == 3
