"""Ctrl-C: it reaches the user from every call and soon, and leaves all as after a whole step."""

import copy
import itertools
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

import pycnn
from pycnn import LBFGS, SGD, Adam, BatchNorm, Dense, Dropout, Network
from pycnn._training import steps as driver

by_timer = pytest.mark.skipif(
    not hasattr(signal, "setitimer"), reason="this system cannot send signals by a timer"
)
rng = np.random.default_rng(5)
ROWS = 300_000
# Of the places where a signal may come; in .ci/run all that are listed are tried.
SPACING = 1 if os.environ.get("PYCNN_EVERY_COMPILER", "") not in ("", "0") else 2


@pytest.fixture
def interrupt_in():
    """Have a function of a name interrupted at its very first line, by a signal that comes in C.

    Signals come all the time; the one that Python finds there is taken for a Ctrl-C.
    """

    def begin(name):
        def handler(_number, frame):
            code = None if frame is None else frame.f_code
            if code is not None and code.co_name == name and frame.f_lineno == code.co_firstlineno:
                signal.setitimer(signal.ITIMER_REAL, 0)
                raise KeyboardInterrupt(name)

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)

    before = signal.getsignal(signal.SIGALRM)
    yield begin
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def much():
    return rng.normal(size=(ROWS, 8)), rng.normal(size=(ROWS, 1))


def network(*layers, loss="mse", backend="c"):
    net = Network(8, [*layers, Dense(1)], loss=loss, seed=2, backend=backend)
    net.parameters[:] += 0.01  # none is 0: a rate of 1e-300 changes nothing
    return net


CALLS = {
    "predict": lambda net, X, y: net.predict(X),
    "predictor": lambda net, X, y: net.predictor(len(X))(X),
    "evaluate": lambda net, X, y: net.evaluate(X, y),
    "gradients": lambda net, X, y: net.gradients(X, y),
    "input gradient": lambda net, X, y: net.input_gradient(X, y),
    "validation": lambda net, X, y: net.fit(
        X[:32], y[:32], epochs=1, optimizer=SGD(1e-300), validation_data=(X, y)
    ),
    "one step": lambda net, X, y: net.fit(X, y, batch_size=None, epochs=1),
    "Adam": lambda net, X, y: net.fit(X, y, batch_size=None, epochs=1, optimizer=Adam()),
    "L-BFGS": lambda net, X, y: net.fit(X, y, batch_size=None, epochs=1, optimizer=LBFGS()),
}


@by_timer
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_one_call_over_much_data_can_be_interrupted(core, interrupt_in, much, call):
    net = network(Dense(160, "tanh"), Dense(160, "tanh"))
    theta = net.parameters.tobytes()
    interrupt_in("pycnn_call_poll")
    with pytest.raises(KeyboardInterrupt, match="pycnn_call_poll"):
        call(net, *much)
    assert net.parameters.tobytes() == theta
    assert np.isfinite(net.predict(much[0][:10])).all()
    net.fit(much[0][:10], much[1][:10], epochs=1)


@by_timer
def test_one_step_of_samples_that_meet_can_be_interrupted(core, interrupt_in, much):
    X, y = (array[:30_000] for array in much)
    net = network(Dense(160, "tanh"), BatchNorm(), Dense(160, "tanh"), Dense(160, "tanh"))
    theta = net.theta.tobytes()
    interrupt_in("pycnn_call_poll")
    with pytest.raises(KeyboardInterrupt, match="pycnn_call_poll"):
        net.fit(X, y, batch_size=None, epochs=50, optimizer=SGD(1e-300))
    assert net.parameters.tobytes() == theta[: net.parameters.nbytes]


@by_timer
def test_an_interrupt_at_the_first_line_of_a_loss_makes_no_step(core, interrupt_in, capfd):
    X, y = rng.normal(size=(512, 8)), rng.normal(size=(512, 1))
    steps = []

    def loss(a, y):
        steps[-1].append(net.parameters.tobytes())
        return 0.5 * ((a - y) ** 2).sum(axis=1), a - y

    def train():
        steps.append([])
        net.fit(X, y, epochs=40, batch_size=64, shuffle=False)

    net = network(Dense(300, "tanh"), Dense(300, "tanh"), loss=loss)
    start = net.parameters.copy()
    train()
    for _ in range(5):
        net.parameters = start
        interrupt_in("pycnn_call_loss")
        with pytest.raises(KeyboardInterrupt, match="pycnn_call_loss"):
            train()
        assert steps[-1] == steps[0][: len(steps[-1])]
        assert net.parameters.tobytes() == steps[0][len(steps[-1])]
    assert capfd.readouterr().err == ""


# ------------------------------------------------------------------ between any two calls of Python

FOLDER = str(Path(pycnn.__file__).parent)


def interrupted_at(number, call):
    """Raise KeyboardInterrupt where pycnn's code looks for signals the `number`-th time.

    That is at the beginning of each function in Python, and behind each call of one in C. Returns
    whether it came to that.
    """
    places = itertools.count()

    def profile(frame, event, _argument):
        if (
            event in ("call", "c_return")
            and frame.f_code.co_filename.startswith(FOLDER)
            and next(places) == number
        ):
            raise KeyboardInterrupt

    sys.setprofile(profile)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    assert next(places) <= number, "the interrupt was swallowed"
    return False


def places(stride):
    """Numbers of places: the first ones all, then some."""
    return itertools.chain(range(40), itertools.count(40, stride * SPACING))


X, Y = rng.normal(size=(40, 3)), rng.normal(size=(40, 1))
V = rng.normal(size=(9, 3)), rng.normal(size=(9, 1))


def small(backend):
    layers = [Dense(5, "tanh"), BatchNorm(), Dropout(0.2), Dense(1)]
    return Network(3, layers, seed=1, backend=backend)


def mini_batches():
    return [(X[i : i + 8], Y[i : i + 8]) for i in range(0, 40, 8)]


def each_mse(a, y):
    return 0.5 * ((a - y) ** 2).sum(axis=1), a - y


FITS = {
    "SGD": lambda net, hooks, **more: net.fit(
        X, Y, epochs=3, batch_size=8, callbacks=hooks, **more
    ),
    "Adam, clipped": lambda net, hooks, **more: net.fit(
        X, Y, epochs=3, batch_size=8, callbacks=hooks, **more, optimizer=Adam(clip_norm=0.1)
    ),
    "validation": lambda net, hooks, **more: net.fit(
        X, Y, epochs=3, batch_size=8, callbacks=hooks, **more, validation_data=V
    ),
    "mini-batches": lambda net, hooks, **more: net.fit(
        mini_batches(), epochs=3, callbacks=hooks, **more
    ),
    "augment": lambda net, hooks, **more: net.fit(
        X, Y, epochs=3, batch_size=8, callbacks=hooks, **more, augment=lambda x, y, _: (x + 0.1, y)
    ),
}


def agrees_with_itself(net, history):
    assert all(len(values) == history.epochs for values in history.values())
    assert history.epochs == net.epochs_trained
    assert net.training_record.running is None
    assert not net.training_record.line


@pytest.mark.twin_when_thorough
@pytest.mark.parametrize("fit", FITS.values(), ids=FITS.keys())
def test_a_fit_interrupted_anywhere_leaves_a_whole_step(backend, monkeypatch, fit):
    monkeypatch.setattr(driver, "PERIOD", 0.0)  # every step is a group

    class Record(pycnn.callbacks.Callback):
        def __init__(self):
            self.thetas = []

        def on_train_begin(self, network):
            self.thetas.append(network.theta.tobytes())

        def on_batch_group_end(self, network, epoch, logs):
            self.thetas.append(network.theta.tobytes())

    record = Record()
    fit(small(backend), [record])
    assert len(record.thetas) == 1 + 3 * 5
    interrupted = 0
    for number in places(41 if backend == "c" else 97):
        net = small(backend)
        if not interrupted_at(number, lambda net=net: fit(net, [Record()])):
            break
        interrupted += 1
        step = record.thetas.index(net.theta.tobytes())
        if net.history is not None:
            agrees_with_itself(net, net.history)
            assert net.history.epochs in (step // 5, max(step - 1, 0) // 5)
        net.fit(X[:8], Y[:8], epochs=1)
    assert interrupted > 45
    assert net.theta.tobytes() == record.thetas[-1]


@pytest.mark.twin_when_thorough
@by_timer
@pytest.mark.parametrize("kind", ["Adam", "mini-batches", "L-BFGS"])
def test_what_a_signal_handler_saves_goes_on_to_the_same_bits(backend, tmp_path, kind):
    hidden = [Dense(5, "tanh"), Dense(1)]
    settings = {"epochs": 8000 if backend == "c" else 300, "optimizer": Adam()}
    data = mini_batches() if kind == "mini-batches" else X, None if kind == "mini-batches" else Y
    if kind == "mini-batches":
        settings["epochs"] = 300 if backend == "c" else 100
    if kind == "L-BFGS":
        settings = {"epochs": 200, "optimizer": LBFGS(tolerance=0.0), "batch_size": None}

    def handler(_number, _frame):
        saved.append(tmp_path / str(len(saved)))
        net.save(saved[-1], training_state=True)
        signal.setitimer(signal.ITIMER_REAL, 0.02 if len(saved) < 4 else 0)

    saved = []
    net, straight = (Network(3, hidden, seed=1, backend=backend) for _ in range(2))
    straight.fit(*data, **settings)
    net.save(tmp_path / "first")  # what is imported late is there
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    try:
        net.fit(*data, **settings)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert saved
    for path in saved:
        other = pycnn.load(path, backend)
        other.fit(*data, resume=True, **settings)
        assert other.theta.tobytes() == straight.theta.tobytes()
        assert dict(other.history) == dict(straight.history)
    assert net.theta.tobytes() == straight.theta.tobytes()


class Count(pycnn.callbacks.Callback):
    """Remembers which epochs it has been told of."""

    def __init__(self):
        self.told = []

    def on_epoch_end(self, network, epoch, logs):
        self.told.append(epoch)

    def get_state(self):
        return {"told": list(self.told)}

    def set_state(self, state):
        self.told = list(state["told"])


@pytest.mark.twin_when_thorough
@pytest.mark.parametrize("fit", FITS.values(), ids=FITS.keys())
def test_a_copy_made_anywhere_in_a_fit_goes_on_to_the_same_end(backend, monkeypatch, fit):
    monkeypatch.setattr(driver, "PERIOD", 0.0)  # every step is a group
    straight, calls, copies = small(backend), itertools.count(), []

    def profile(frame, event, _argument):
        code = frame.f_code
        if event not in ("call", "c_return") or not code.co_filename.startswith(FOLDER):
            return
        # Between that a callback is to be told and that it is, nobody can know whether it has been.
        if code.co_name != "end_epoch" and next(calls) % stride == 0:
            sys.setprofile(None)
            copies.append(copy.deepcopy(straight))
            sys.setprofile(profile)

    stride = (13 if backend == "c" else 101) * SPACING
    sys.setprofile(profile)
    try:
        fit(straight, [Count()])
    finally:
        sys.setprofile(None)
    copies = [other for other in copies if other.training_record.last is not None]
    assert len(copies) > 15
    for other in copies:
        count = Count()
        fit(other, [count], resume=True)
        assert count.told == [1, 2, 3]
        assert other.theta.tobytes() == straight.theta.tobytes()
        assert dict(other.history) == dict(straight.history)


def test_epochs_that_are_trained_together_are_in_the_history_wherever_they_end(
    backend, monkeypatch
):
    thetas, count = [], 30 if backend == "c" else 12
    hook = pycnn.callbacks.LambdaCallback(
        on_train_begin=lambda net: thetas.append(net.theta.tobytes()),
        on_batch_group_end=lambda net, *_: thetas.append(net.theta.tobytes()),
    )
    monkeypatch.setattr(driver, "PERIOD", 0.0)  # every step is a group
    small(backend).fit(X, Y, epochs=count, batch_size=8, callbacks=hook)
    assert len(thetas) == 1 + count * 5
    monkeypatch.setattr(driver, "PERIOD", 1e9)  # a group is as many as there may be
    epochs = set()
    for number in places(3 if backend == "c" else 997):
        net = small(backend)
        if not interrupted_at(number, lambda net=net: net.fit(X, Y, epochs=count, batch_size=8)):
            break
        step = thetas.index(net.theta.tobytes())
        if net.history is not None:
            agrees_with_itself(net, net.history)
            assert net.history.epochs == step // 5
            epochs.add(net.history.epochs)
    assert len(epochs) > 3


@pytest.mark.parametrize("method", ["partial_fit", "train_on_batch"])
def test_a_partial_fit_interrupted_anywhere_agrees_with_its_memory(backend, monkeypatch, method):
    monkeypatch.setattr(driver, "PERIOD", 0.0)
    size = 8 if method == "partial_fit" else 40
    options = {"batch_size": size} if method == "partial_fit" else {}

    def train(net):
        getattr(net, method)(X, Y, optimizer=Adam(), **options)

    one = small(backend)
    train(one)
    steps = 40 // size
    for number in places(13 if backend == "c" else 83):
        net = small(backend)
        train(net)
        if not interrupted_at(number, lambda net=net: train(net)):
            break
        training = net.training_record.present(1.0)
        done = training.updates - steps
        assert training.epoch == net.epochs_trained
        assert training.epoch == 1 or done == steps
        changed = net.theta.tobytes() != one.theta.tobytes()
        assert changed == (done > 0)
        assert (training.slots.tobytes() != one.training_record.last.slots.tobytes()) == changed
        if method == "partial_fit":
            agrees_with_itself(net, net.history)
        assert not net.training_record.line
        train(net)
    assert number > 40
    assert net.training_record.present(1.0).updates == 2 * steps


def test_an_apply_interrupted_anywhere_makes_a_whole_step_or_none(backend):
    adam, net = Adam(clip_norm=0.1), small(backend)
    _, gradient, weight = net.gradients(X, Y, reduction="sum")
    state = adam.apply(net, gradient, weight=weight)
    thetas, slots, steps = [], [], set()
    for changed in (False, True):
        other, memory = copy.deepcopy((net, state))
        if changed:
            adam.apply(other, gradient, memory, weight=weight)
        thetas.append(other.theta.tobytes())
        slots.append(memory._state.slots.tobytes())
    for number in itertools.count():
        other, memory = copy.deepcopy((net, state))
        came = interrupted_at(
            number,
            lambda: adam.apply(other, gradient, memory, weight=weight),  # noqa: B023
        )
        done = thetas.index(other.theta.tobytes())
        assert (memory.steps, memory.updates) == (1 + done, 1 + done)
        assert memory._state.slots.tobytes() == slots[done]
        assert not other.training_record.line
        steps.add(done)
        if not came:
            break
    assert steps == {0, 1}
    assert number > 10


# Between open() and its `with` no line of Python's can come: the file closes itself, and says so.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_save_interrupted_anywhere_leaves_one_whole_file(tmp_path):
    path = tmp_path / "model.safetensors"
    net = small("auto")
    net.save(path)
    before = path.read_bytes()
    net.parameters[:] += 1
    net.save(path)
    after = path.read_bytes()
    seen = set()
    for number in places(7):
        path.write_bytes(before)
        came = interrupted_at(number, lambda: net.save(path))
        assert [p.name for p in tmp_path.iterdir()] == [path.name]
        seen.add(path.read_bytes())
        if not came:
            break
    assert seen == {before, after}


def test_an_interrupted_epoch_is_in_no_series_of_the_history():
    history = pycnn.history.History()
    history.write({"loss": [1.0]}, 1)
    assert (dict(history), history.epochs, len(history)) == ({}, 0, 0)
    assert repr(history) == "History(epochs=0)"
    history.append({"loss": 2.0})
    history.write({"loss": [3.0], "val_loss": [3.0]}, 1)
    assert history["loss"] == [2.0]
    assert [len(series) for series in history.values()] == [1, 1]
    history.epochs += 1  # who has looked meanwhile, in another thread, has changed nothing
    assert history["loss"] == [2.0, 3.0]
    history.epochs -= 1
    history.append({"loss": 4.0})
    assert history["loss"] == [2.0, 4.0]


@pytest.mark.skipif(not hasattr(pycnn.network.os, "fork"), reason="needs fork")
def test_a_child_of_a_fork_does_not_wait_for_a_fit_of_its_parent(backend):
    net = small(backend)
    net.training_record.line[object()] = 1  # that of another process
    net.fit(X, Y, epochs=1)
    assert not net.training_record.line


def test_what_is_looked_at_and_copied_in_pieces_is_the_same(backend, monkeypatch):
    x = rng.normal(size=(30, 3))
    strided = np.asfortranarray(x).astype(">f8")
    net = small(backend)
    whole = net.predict(x)
    piece = {"c": "c.LOOKED_AT", "numpy": "numpy.network.PIECE"}[backend]
    for name in ("backend." + piece, "_checks.LOOKED_AT", "_data.arrays.AT_A_TIME"):
        monkeypatch.setattr("pycnn." + name, 7)
    assert net.predict(x).tobytes() == net.predict(strided).tobytes() == whole.tobytes()
    for row, column in ((0, 0), (2, 1), (2, 0), (29, 2)):
        wrong = strided.copy()
        wrong[row, column] = np.nan
        for call in (net.predict, lambda x: net.fit(x, x[:, :1], epochs=1)):
            with pytest.raises(pycnn.exceptions.DataError, match=f"row {row}, column {column}"):
                call(wrong)


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent by another process")
def test_interrupts_at_random_moments_leave_no_fault(core, run_script):
    options = ["--count", "7", "--limit", "inf"]
    run_script("interrupt.py", *options, "partial_fit", "predict", "save")
