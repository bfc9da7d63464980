"""Threads: how many there are, and that nobody can tell from a single bit of the results."""

import hashlib
import math
import multiprocessing
import os
import shutil
import signal
import threading

import numpy as np
import pytest

import pycnn
from pycnn import SGD, Dense, Network, _threads

RNG = np.random.default_rng(6)
X = RNG.random((300, 784))
LABELS = RNG.integers(0, 10, 300)

PATIENCE = 60  # seconds until what should take milliseconds counts as hanging


@pytest.fixture
def three_threads(monkeypatch):
    monkeypatch.setattr(_threads, "_limit", 3)


def make_network(backend, seed=0):
    """Return a network whose mini-batches are worth sharing out."""
    return Network(784, [Dense(128, "relu"), Dense(10, "softmax")], seed=seed, backend=backend)


def train(backend, seed=0, epochs=2):
    """Return the bits of a network that did 3 steps an epoch."""
    net = make_network(backend, seed)
    net.fit(X, LABELS, epochs=epochs, batch_size=128, optimizer=SGD(0.1))
    return hashlib.sha256(net.parameters.tobytes()).hexdigest()


def run_together(*works):
    """Call each in a thread of its own, all at once; raise what one of them raised."""
    barrier = threading.Barrier(len(works))
    errors = []

    def run(work):
        try:
            barrier.wait(PATIENCE)
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    if errors:
        raise errors[0]


SAME_FILE = """
import importlib.util
import pycnn
spec = importlib.util.spec_from_file_location("again", {file!r})
again = importlib.util.module_from_spec(spec)
spec.loader.exec_module(again)
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="the system counts no threads")
def test_the_network_of_these_tests_is_worth_three_threads(core, run_python):
    code = SAME_FILE.format(file=__file__) + (
        "count = lambda: len(again.os.listdir('/proc/self/task'))\n"
        "before = count(); again.train('c'); print(count() - before)"
    )
    assert int(run_python(code, PYCNN_NUM_THREADS="3")) == 2


# ------------------------------------------------------------------ forked children

forks = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system"
)
beside_threads = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def train_and_send(connection):
    signal.alarm(PATIENCE)  # a child that hangs does not outlive its test
    connection.send(train("c"))
    connection.close()


def trained_by_children(count, at_once=4):
    """Return the set of what so many children send."""
    context = multiprocessing.get_context("fork")
    results = set()
    for start in range(0, count, at_once):
        children = []
        for _ in range(min(at_once, count - start)):
            receiver, sender = context.Pipe(duplex=False)
            child = context.Process(target=train_and_send, args=(sender,))
            child.start()
            sender.close()
            children.append((child, receiver))
        for child, receiver in children:
            with receiver:
                assert receiver.poll(PATIENCE), "a forked child hangs"
                results.add(receiver.recv())
            child.join(PATIENCE)
            assert child.exitcode == 0
    return results


@forks
def test_a_hundred_children_of_a_process_with_threads_train_to_the_same_bits(core, run_python):
    # From a fresh process: to fork this one, with all that the tests have loaded, takes longer.
    code = SAME_FILE.format(file=__file__) + (
        "result = again.train('c')\n"
        "print(again.trained_by_children(100) == {result}, again.train('c') == result)"
    )
    assert run_python(code, "-W", "ignore::DeprecationWarning", PYCNN_NUM_THREADS="3") == (
        "True True\n"  # the second: the parent's own threads are as they were
    )


@forks
@beside_threads
def test_children_forked_while_the_parent_trains_train_to_the_same_bits(core, three_threads):
    result = train("c")
    done = threading.Event()
    children = []

    def fork():
        try:
            children.append(trained_by_children(12))
        finally:
            done.set()

    def train_meanwhile():
        while not done.is_set():
            assert train("c") == result

    run_together(fork, train_meanwhile)
    assert children == [{result}]


# ------------------------------------------------------------------ neighbours


def test_training_does_not_disturb_those_who_predict_nor_they_the_training(backend, three_threads):
    result = train(backend, seed=1)
    net = make_network(backend)
    rows = [slice(0, n) for n in (1, 2, 7, 40, 128, 200, 257, 300)]
    right = [net.predict(X[r]).tobytes() for r in rows]
    done = threading.Event()

    def predict(rows, expected):
        while True:
            last = done.is_set()
            assert net.predict(X[rows]).tobytes() == expected, f"{rows.stop} rows"
            if last:
                return

    def train_meanwhile():
        try:
            for _ in range({"c": 3, "numpy": 1}[backend]):  # that long do the others predict
                assert train(backend, seed=1) == result
        finally:
            done.set()

    predictors = [lambda a=a: predict(*a) for a in zip(rows, right, strict=True)]
    run_together(train_meanwhile, *predictors)


def test_networks_that_train_at_the_same_time_do_not_disturb_each_other(backend, three_threads):
    epochs = {"c": 12, "numpy": 1}[backend]  # BLAS's threads get in each other's way
    alone = [train(backend, seed, epochs) for seed in (0, 1, 2)]
    together = {}

    def train_and_keep(seed):
        together[seed] = train(backend, seed, epochs)

    run_together(*(lambda seed=seed: train_and_keep(seed) for seed in (0, 1, 2)))
    assert [together[seed] for seed in (0, 1, 2)] == alone


# ------------------------------------------------------------------ numbers and instruction sets

COUNTS = (1, 2, 3, 4, 7)
AGAIN = """
try:
    print(*again.bits_by_thread_count())
except pycnn.exceptions.BackendError:
    print("cannot run here")
"""


def bits_by_thread_count():
    """Return a hash of parameters and predictions for each of COUNTS."""
    results = []
    for count in COUNTS:
        pycnn.set_num_threads(count)
        net = make_network("c", seed=3)
        net.fit(X, LABELS, epochs=1, batch_size=128, optimizer=SGD(0.1), validation_split=0.1)
        bits = net.parameters.tobytes() + net.predict(X).tobytes() + repr(net.history).encode()
        results.append(hashlib.sha256(bits).hexdigest())
    return results


def test_neither_number_of_threads_nor_instruction_set_shows_in_the_bits(core, run_python):
    found = {}
    for isa in ("avx512", "avx2", "neon", "baseline"):
        output = run_python(SAME_FILE.format(file=__file__) + AGAIN, PYCNN_ISA=isa)
        if output != "cannot run here\n":
            results = output.split()
            assert len(results) == len(COUNTS)
            assert len(set(results)) == 1, f"{isa} with {COUNTS} threads"
            found[isa] = results[0]
    del found["baseline"]  # has no fused multiply-add, and other last bits
    assert len(set(found.values())) <= 1


# ------------------------------------------------------------------ how many


def test_set_num_threads_goes_before_the_environment(run_python):
    code = "import pycnn; pycnn.set_num_threads(2); print(pycnn.get_num_threads())"
    assert int(run_python(code, PYCNN_NUM_THREADS="5", OMP_NUM_THREADS="6")) == 2


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_a_process_that_is_held_to_one_cpu_gets_one_thread(run_python):
    code = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "import pycnn; print(pycnn.get_num_threads())"
    )
    assert int(run_python(code)) == 1


CGROUPS = {
    "none": ({}, math.inf),
    "no limit": ({"sys/fs/cgroup/cpu.max": "max 100000\n"}, math.inf),
    "at the root": ({"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
    "the root of a container": (
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "300000 100000\n"},
        3,
    ),
    "nested": (
        {
            "proc/self/cgroup": "0::/user.slice/job 7\n",
            "sys/fs/cgroup/user.slice/job 7/cpu.max": "400000 100000\n",
        },
        4,
    ),
    "a tighter one above": (
        {
            "proc/self/cgroup": "0::/a/b/c\n",
            "sys/fs/cgroup/a/b/c/cpu.max": "max 100000\n",
            "sys/fs/cgroup/a/b/cpu.max": "400000 100000\n",
            "sys/fs/cgroup/a/cpu.max": "100000 50000\n",
        },
        2,
    ),
    "another group's": (
        {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/b/cpu.max": "100000 100000\n"},
        math.inf,
    ),
    "begins above what can be seen": (
        {"proc/self/cgroup": "0::/docker/1f2e\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"},
        2,
    ),
    "version 1": (
        {
            "proc/self/cgroup": "5:memory:/m\n4:cpu,cpuacct:/a/b\n1:name=systemd:/\n0::/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "250000\n",
            "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu/a/b/cpu.cfs_quota_us": "800000\n",
            "sys/fs/cgroup/cpu/a/b/cpu.cfs_period_us": "100000\n",
        },
        2.5,
    ),
    "version 1 at the root": (
        {
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        0.5,
    ),
    "period 0": ({"sys/fs/cgroup/cpu.max": "100000 0\n"}, math.inf),
    "quota 0": ({"sys/fs/cgroup/cpu.max": "0 100000\n"}, math.inf),
    "too long": ({"sys/fs/cgroup/cpu.max": "9" * 400 + " 1\n"}, math.inf),
    "much too long": ({"sys/fs/cgroup/cpu.max": "9" * 9999 + " 1\n"}, math.inf),
    "one number": ({"sys/fs/cgroup/cpu.max": "100000\n"}, math.inf),
    "three numbers": ({"sys/fs/cgroup/cpu.max": "1 2 3\n"}, math.inf),
    "empty": ({"proc/self/cgroup": "", "sys/fs/cgroup/cpu.max": ""}, math.inf),
    "no numbers": ({"sys/fs/cgroup/cpu.max": "\udc80 ½\n"}, math.inf),
    "odd groups": (
        {"proc/self/cgroup": "\n:\n0\n0::\n0::/../\udcff\n0::/a\0b\ncpu\n:cpu\n1:cpu:\n"},
        math.inf,
    ),
}


@pytest.mark.skipif(os.name == "nt", reason="control groups are Linux's")
@pytest.mark.parametrize("case", CGROUPS)
def test_the_quota_is_the_least_on_the_way_from_the_group_to_the_root(tmp_path, case):
    files, quota = CGROUPS[case]
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode(errors="surrogateescape"))
    assert _threads._cgroup_quota(str(tmp_path)) == quota


@pytest.mark.parametrize(("quota", "threads"), [(0.5, 1), (1.9, 1), (2.0, 2), (math.inf, 4)])
def test_the_default_keeps_to_the_quota_and_is_at_least_one(monkeypatch, quota, threads):
    monkeypatch.delenv("PYCNN_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 5}, raising=False)
    monkeypatch.setattr(_threads, "_cgroup_quota", lambda: quota)
    assert _threads._default.__wrapped__() == threads


# ------------------------------------------------------------------ threadpoolctl


def ours(info):
    return [library for library in info if library["internal_api"] == "pycnn"]


def test_threadpoolctl_shows_the_threads_and_limits_them(core, three_threads):
    threadpoolctl = pytest.importorskip("threadpoolctl")
    from pycnn import _native
    from pycnn.backend import c

    shown = ours(threadpoolctl.threadpool_info())
    assert len(shown) == 1
    assert shown[0]["user_api"] == "pycnn"
    assert shown[0]["num_threads"] == 3
    assert shown[0]["version"] == pycnn.__version__
    assert os.path.samefile(shown[0]["filepath"], _native.__file__)
    result = train("c")
    for limits in (1, {"pycnn": 1}, [{**shown[0], "num_threads": 1}]):
        with threadpoolctl.threadpool_limits(limits=limits):
            assert pycnn.get_num_threads() == pycnn.config()["threads"] == 1
            assert not c._pool.get()
            assert train("c") == result
        assert pycnn.get_num_threads() == 3
    with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        assert pycnn.get_num_threads() == 3


ORDERS = {
    "before pycnn": "import threadpoolctl, pycnn\nmake()",
    "before the first network": "import pycnn, threadpoolctl\nmake()",
    "after the first network": "import pycnn\nmake()\nimport threadpoolctl",
}
INFO = """
def make():
    from pycnn import Dense, Network
    Network(1, [Dense(1)])
{order}
info = [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "pycnn"]
print(len(info), *(library["num_threads"] for library in info))
with threadpoolctl.threadpool_limits(limits=1):
    print(pycnn.get_num_threads())
print(pycnn.get_num_threads())
"""


@pytest.mark.parametrize("order", ORDERS)
def test_threadpoolctl_may_be_imported_at_any_time(core, run_python, order):
    pytest.importorskip("threadpoolctl")
    output = run_python(INFO.format(order=ORDERS[order]), PYCNN_NUM_THREADS="5")
    assert output.split() == ["1", "5", "1", "5"]


def test_threadpoolctl_does_not_take_anothers_library_for_ours(core, run_python, tmp_path):
    pytest.importorskip("threadpoolctl")
    from pycnn import _native

    other = shutil.copy(_native.__file__, tmp_path)  # of the same name: not the one in use
    code = (
        f"import ctypes, threadpoolctl, pycnn; pycnn.config(); ctypes.CDLL({other!r})\n"
        "print(*(i['filepath'] for i in threadpoolctl.threadpool_info() if i['user_api']=='pycnn'))"
    )
    assert os.path.samefile(run_python(code).strip(), _native.__file__)


def test_without_threadpoolctl_nothing_is_amiss(core, run_python):
    code = (
        "import sys; sys.modules['threadpoolctl'] = None\n"
        "import pycnn; print(pycnn.config()['backend'])"
    )
    assert run_python(code).strip() == "c"


# As deep as training, prediction and all else go, with products whose weights are copied.
IN_A_SMALL_STACK = """
import sys, threading, numpy as np, pycnn
from pycnn import BatchNorm, Dense, Dropout, Network
pycnn.set_num_threads(2)
try:
    pycnn.config()
except pycnn.exceptions.BackendError:
    print("cannot run here")
    sys.exit()
X = np.random.default_rng(0).normal(size=(400, 300))
y = X[:, 0] - X[:, 1]
results = []

def work():
    layers = [Dense(300, "tanh"), Dropout(0.1), Dense(40), BatchNorm("gelu"), Dense(1)]
    net = Network(300, layers, seed=0)
    net.fit(X, y, epochs=1, batch_size=300, optimizer="adam", validation_split=0.1)
    net.gradients(X, y)
    net.input_gradient(X, y)
    net.trace(X[:9], y[:9])
    results.append((net.parameters.tobytes(), net.predict(X).tobytes(), net.evaluate(X, y)))

work()
try:
    threading.stack_size(65536)
except ValueError:  # 64-bit ARM's C library makes none smaller
    threading.stack_size(131072)
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(results[0] == results[1])
"""


def test_a_thread_with_a_stack_of_64_kb_trains_and_predicts(backend, run_python):
    found = set()
    for isa in ("avx512", "avx2", "neon", "baseline") if backend == "c" else ("",):
        environment = {"PYCNN_BACKEND": backend} | ({"PYCNN_ISA": isa} if isa else {})
        found.add(run_python(IN_A_SMALL_STACK, **environment))
    assert found <= {"True\n", "cannot run here\n"}
    assert "True\n" in found
