"""Many threads at once, with what an interpreter offers to make them meet.

Without a GIL that is a great deal; with one, it changes hands each microsecond. Every result is
held to the bits that a thread alone gets: what may be shared is told in docs/threads.md.
"""

import copy
import pickle
import sys
import sysconfig
import threading
import weakref

import numpy as np
import pytest

import pycnn
from pycnn import Adam, BatchNorm, Dense, Dropout, Network, _threads
from pycnn._training import checkpointer
from pycnn.exceptions import BusyError

RNG = np.random.default_rng(15)
X = RNG.normal(size=(96, 5))
LABELS = RNG.integers(0, 3, 96)
PATIENCE = 100  # seconds until what should take a few counts as hanging


@pytest.fixture(autouse=True)
def hasty():
    """Let the threads take turns as often as Python can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def three_threads(monkeypatch):
    monkeypatch.setattr(_threads, "_limit", 3)


def make_network(backend, seed=0):
    layers = [Dense(7, "relu"), BatchNorm(), Dropout(0.2), Dense(3, "softmax")]
    return Network(5, layers, seed=seed, backend=backend)


def train(net, epochs=2, **options):
    return net.fit(X, LABELS, epochs=epochs, optimizer=Adam(0.01), **options)


def together(*works):
    """Call each in a thread of its own, all at once; return their results."""
    barrier = threading.Barrier(len(works))
    results, errors = [None] * len(works), []

    def run(place, work):
        try:
            barrier.wait(PATIENCE)
            results[place] = work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=item, daemon=True) for item in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    if errors:
        raise errors[0]
    return results


def all_that_reads(net):
    """Return the bits of everything that reads a network's parameters."""
    return (
        net.predict(X).tobytes(),
        net.predict(X[:1]).tobytes(),  # has a way of its own
        net.predict_samples(X[:9], 3, seed=1).tobytes(),
        repr(net.evaluate(X, LABELS)),
        net.gradients(X, LABELS)[1].tobytes(),
        net.input_gradient(X, LABELS).tobytes(),
        net.trace(X[:4], LABELS[:4]).dW[1].tobytes(),
        net.predictor()(X[0]).tobytes(),
        copy.deepcopy(net).predict(X).tobytes(),
    )


def test_many_threads_compute_with_one_network(backend, three_threads):
    net = make_network(backend)
    train(net)
    expected = all_that_reads(net)

    def read():
        return [all_that_reads(net) for _ in range(4)]

    assert together(*[read] * 6) == [[expected] * 4] * 6


def test_networks_are_made_trained_kept_and_dropped_in_many_threads(backend, tmp_path):
    def live(name):
        found = set()
        for _ in range(3):
            net = make_network(backend)
            train(net)
            net.save(tmp_path / name, training_state=True)
            for other in (pycnn.load(tmp_path / name, backend), pickle.loads(pickle.dumps(net))):
                train(other, 3, resume=True)
                other.partial_fit(X, LABELS)
                found.add(other.parameters.tobytes())
        return found

    expected = live("alone")
    assert len(expected) == 1
    names = [f"file {number}" for number in range(5)]
    assert together(*(lambda name=name: live(name) for name in names)) == [expected] * 5


def test_the_number_of_threads_may_change_while_others_compute(core, monkeypatch):
    monkeypatch.setattr(_threads, "_limit", 2)
    wide = Network(64, [Dense(64, "relu"), Dropout(0.5), Dense(10)], seed=0, backend="c")
    rows = RNG.normal(size=(256, 64))

    def compute():
        net = copy.deepcopy(wide)
        drawn = net.predict_samples(rows, 4, seed=0)
        net.fit(rows, rows[:, :10], epochs=3, batch_size=128, optimizer=Adam(0.01))
        return drawn.tobytes(), net.predict(rows).tobytes()

    def change():
        for n in [1, 4, 2, 3] * 30:
            pycnn.set_num_threads(n)
            wide.predict(rows)

    expected = compute()
    assert together(change, change, compute, compute, compute)[2:] == [expected] * 3


def test_a_call_holds_the_pool_that_it_computes_with(core, monkeypatch):
    from pycnn.backend import c

    plan = make_network("c").plan
    monkeypatch.setattr(_threads, "_limit", 5)
    pool = weakref.ref(c._pool.get())
    workspace = plan.take(9, c.lib.PYCNN_FORWARD, c._pool.get())
    monkeypatch.setattr(_threads, "_limit", 6)
    assert c._pool.get() is not pool()
    assert pool() is not None
    plan.give_back(workspace)
    assert pool() is None


def test_of_many_fits_at_once_each_is_whole_or_refused(backend):
    def fit_or_not():
        done = 0
        for _ in range(5):
            try:
                train(net, 1)
                done += 1
            except BusyError:
                continue
        return done

    net = make_network(backend)
    done = sum(together(*[fit_or_not] * 5))
    assert 1 <= done <= 25
    alone = make_network(backend)
    for _ in range(done):
        train(alone, 1)
    assert net.epochs_trained == done
    assert net.parameters.tobytes() == alone.parameters.tobytes()


def test_who_reads_a_network_amid_a_fit_sees_what_the_fit_has_kept(backend, monkeypatch, tmp_path):
    monkeypatch.setattr(checkpointer, "CHECKPOINT_PERIOD", 1e9)  # at the ends of epochs alone
    epochs = {"c": 40, "numpy": 15}[backend]
    right, done = [], threading.Event()

    def note(net, *_):
        right.append([kind(net) for kind in kinds])

    def fit():
        try:
            train(net, epochs, callbacks=[lambda *_: None])  # so that each epoch has an end
        finally:
            done.set()

    def read(kind):
        seen = []
        while not done.is_set():
            seen.append(kind(net))
        return [*seen, kind(net)]

    def copied(net):
        other = copy.deepcopy(net)
        epochs = 0 if other.history is None else other.history.epochs
        return other.epochs_trained, epochs, other.predict(X).tobytes()

    def saved(net):
        net.save(tmp_path / "model")
        return pycnn.load(tmp_path / "model", backend).predict(X).tobytes()

    kinds = [
        lambda net: net.predict(X).tobytes(),
        lambda net: net.predict(X[:1]).tobytes(),
        lambda net: net.predict_samples(X[:9], 3, seed=1).tobytes(),
        lambda net: repr(net.evaluate(X, LABELS)),
        saved,
        copied,
    ]
    alone, net = make_network(backend), make_network(backend)
    note(alone)
    train(alone, epochs, callbacks=[note])
    _, *seen = together(fit, *(lambda kind=kind: read(kind) for kind in kinds))
    assert net.parameters.tobytes() == alone.parameters.tobytes()
    for found, after_epochs in zip(seen, zip(*right, strict=True), strict=True):
        assert set(found) <= set(after_epochs)
        assert found[-1] == after_epochs[-1]


def test_a_copy_is_of_one_moment_where_a_fit_ends_meanwhile(backend, monkeypatch):
    net, fits = make_network(backend), [lambda: train(net, 3)]

    def slow_copy(compute):  # of the parameters: the fit is over before it has them
        if fits:
            together(fits.pop())
        return Network.with_theta(net, compute)

    monkeypatch.setattr(net, "with_theta", slow_copy)
    state = net.__getstate__()
    assert state["epochs_trained"] == state["history"].epochs == 3
    assert state["parameters"].tobytes() == net.theta.tobytes()


def test_a_history_is_read_while_epochs_are_written_down(backend):
    pytest.importorskip("pandas")
    net, done = make_network(backend), threading.Event()

    def fit():
        try:
            for _ in range(3):
                train(net, 20, validation_split=0.2)
                net.partial_fit(X, LABELS)
        finally:
            done.set()

    def read():
        while not done.is_set():
            history = net.history
            if history is None:
                continue
            repr(history)
            for finished in (copy.deepcopy(history), pickle.loads(pickle.dumps(history))):
                assert {len(values) for values in finished.values()} <= {finished.epochs}
                assert not any(np.isnan(values).any() for values in finished.values())
            assert not history.to_frame().isna().any(axis=None)

    together(fit, read, read)


AT_ONCE = """
import sys, threading
sys.setswitchinterval(1e-6)
barrier, found = threading.Barrier(8), []

def work():
    barrier.wait()
    import pycnn
    net = pycnn.Network(2, [pycnn.Dense(1)], seed=0)
    net.fit([[0, 1], [1, 0]], [1, 2], epochs=2, validation_data=([[1, 1]], [3]), metrics=["r2"])
    pycnn.Table, pycnn.datasets.load_digits, pycnn.augmentation, pycnn.metrics, pycnn.gradient_check
    found.append((net.parameters.tobytes(), str(pycnn.config())))

threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(found), len(set(found)))
"""


def test_pycnn_may_be_imported_first_by_many_threads_at_once(run_python):
    assert run_python(AT_ONCE) == "8 1\n"


def test_without_a_gil_the_core_does_not_bring_one_back(core, run_python):
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("this interpreter has a GIL")
    assert (
        run_python("import sys, pycnn; pycnn.config(); print(sys._is_gil_enabled())") == "False\n"
    )
