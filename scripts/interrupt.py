"""Send SIGINT at random moments: each call must answer at once, and leave all as it should be.

    python scripts/interrupt.py [--count 400] [--limit 100] [--backend c] [CALL ...]

Another process sends the signals. After each one: the call has raised `KeyboardInterrupt`, within
--limit milliseconds; the parameters are those of a whole step of an uninterrupted run, the history
agrees with itself, and the network can be trained again; there is no file but the one that is
saved, and that is the old one or the new one, whole; nothing has been printed. Ends with a table,
and with status 1 where something was otherwise.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import pycnn
from pycnn import LBFGS, Adam, BatchNorm, Dense, Dropout, Network
from pycnn._training import steps as driver

# Reads how long to wait from its input, and prints when it has sent the signal.
SENDER = """
import os, signal, sys, time
for line in sys.stdin:
    time.sleep(float(line))
    print(time.perf_counter(), flush=True)
    os.kill(os.getppid(), signal.SIGINT)
"""
PATIENCE = 5.0  # seconds that an interrupt may take before it counts as lost
rng = np.random.default_rng(0)
X, Y = rng.normal(size=(4000, 12)), rng.normal(size=(4000, 1))
MUCH, MUCH_Y = rng.normal(size=(100_000, 30)), rng.normal(size=(100_000, 1))
FEW = slice(0, 512)


def each_mse(a, y):
    """Return mse's losses and gradient."""
    return 0.5 * ((a - y) ** 2).sum(axis=1), a - y


def small(loss="mse"):
    """Return a network whose steps take a tenth of a millisecond or so."""
    layers = [Dense(200, "tanh"), BatchNorm(), Dropout(0.1), Dense(100, "tanh"), Dense(1)]
    return Network(12, layers, loss=loss, seed=1, backend=options.backend)


def plain():
    """Return one in which samples do not meet, and nothing is random."""
    return Network(12, [Dense(200, "tanh"), Dense(1)], seed=1, backend=options.backend)


def large():
    """Return a network for `MUCH`."""
    layers = [Dense(256, "relu"), Dense(256, "relu"), Dense(1)]
    return Network(30, layers, seed=1, backend=options.backend)


def digest(net):
    """Return what tells parameters and statistics apart."""
    return hash(net.theta.tobytes())


class Steps(pycnn.callbacks.Callback):
    """Collects the parameters after each step."""

    def __init__(self):
        self.digests = []

    def on_train_begin(self, network):
        """Before the first one."""
        self.digests.append(digest(network))

    def on_batch_group_end(self, network, epoch, logs):
        """After each one, where a group is a step."""
        self.digests.append(digest(network))


class Case:
    """A call, and what must hold when it has been interrupted."""

    def __init__(self, make, call, epochs=0, settings=None, again=False):
        self.make, self.call = make, call
        self.again = again  # call it again and again, as it takes less than a moment
        self.digests = {digest(make())}
        if epochs:  # the same training, step by step
            before, driver.PERIOD = driver.PERIOD, 0.0
            steps = Steps()
            settings = {"epochs": epochs, "callbacks": [steps]} | settings
            make().fit(settings.pop("X"), settings.pop("y", None), **settings)
            driver.PERIOD = before
            self.digests |= set(steps.digests)

    def faults(self, net):
        """Yield what is not as it should be."""
        if digest(net) not in self.digests:
            yield "the parameters are not those of a whole step"
        history = net.history
        if history is not None and any(len(v) != history.epochs for v in history.values()):
            yield "the history does not agree with itself"
        if net.training_record.line or net.training_record.running is not None:
            yield "the network is busy"
        inputs = X if net.inputs == X.shape[1] else MUCH
        if not np.isfinite(net.predict(inputs[:40])).all():
            yield "predictions are not finite"
        net.fit(inputs[:40], Y[:40], epochs=1)


class Files(Case):
    """One that writes or reads a file."""

    def __init__(self, call):
        super().__init__(small, call, again=True)
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "model.safetensors"
        net = small()
        net.save(self.path)
        self.contents = {self.path.read_bytes()}
        net.metadata = {"other": 1}
        net.save(self.path)
        self.contents.add(self.path.read_bytes())

    def faults(self, net):
        """Yield what is not as it should be, of the file too."""
        yield from super().faults(net)
        if os.listdir(self.folder.name) != [self.path.name]:
            yield "there are other files"
        elif self.path.read_bytes() not in self.contents:
            yield "the file is neither the old nor the new one"


def save(case, net):
    """Save the network as it is not in the file."""
    net.metadata = {} if net.metadata else {"other": 1}
    net.save(case.path)


def cases():
    """Return what makes each case."""
    data = {"X": X, "y": Y}
    adam = {"optimizer": Adam(), "batch_size": 32}
    one = {"batch_size": None, "shuffle": False}
    shift = {"augment": lambda x, y, _: (x + 0.1, y)}
    validation = {"validation_data": (np.tile(X, (20, 1)), np.tile(Y, (20, 1)))}
    few = {"X": X[FEW], "y": Y[FEW]}

    def fit(**settings):
        return lambda _, net: net.fit(X, Y, epochs=10_000, **settings)

    return {
        "fit": lambda: Case(small, fit(**adam), 25, data | adam),
        "fit, validation": lambda: Case(small, fit(**adam, **validation), 8, data | adam),
        "custom loss": lambda: Case(lambda: small(each_mse), fit(**adam), 10, data | adam),
        "augment": lambda: Case(small, fit(**adam, **shift), 10, data | adam | shift),
        "partial_fit": lambda: Case(
            small,
            lambda _, net: net.partial_fit(X[FEW], Y[FEW], **adam),
            100,
            few | adam,
            again=True,
        ),
        "train_on_batch": lambda: Case(
            plain,
            lambda _, net: net.train_on_batch(X[FEW], Y[FEW], optimizer=Adam()),
            1500,
            few | {"optimizer": Adam()} | one,
            again=True,
        ),
        "L-BFGS": lambda: Case(
            plain,
            fit(batch_size=None, optimizer=LBFGS(tolerance=1e-12)),
            500,
            data | {"optimizer": LBFGS(tolerance=1e-12), "batch_size": None},
        ),
        "predict": lambda: Case(large, lambda _, net: net.predict(MUCH)),
        "evaluate": lambda: Case(large, lambda _, net: net.evaluate(MUCH, MUCH_Y)),
        "gradients": lambda: Case(large, lambda _, net: net.gradients(MUCH, MUCH_Y)),
        "one step": lambda: Case(
            large, lambda _, net: net.fit(MUCH, MUCH_Y, epochs=1, batch_size=None)
        ),
        "save": lambda: Files(save),
        "load": lambda: Files(lambda case, _: pycnn.load(case.path, options.backend)),
    }


def interrupt(case, sender, longest):
    """Interrupt one call; return after how many seconds it ended, or None, and what is wrong."""
    net = case.make()
    finished = False
    wait = random.uniform(0, longest)
    try:
        start = time.perf_counter()
        sender.stdin.write(f"{wait}\n")
        sender.stdin.flush()
        case.call(case, net)
        while case.again and time.perf_counter() - start < wait + PATIENCE:
            case.call(case, net)
        finished = True
        time.sleep(PATIENCE)
    except KeyboardInterrupt:
        now = time.perf_counter()
    else:
        sender.stdout.readline()
        return None, ["the interrupt was lost"]
    sent = float(sender.stdout.readline())
    if finished and not case.again:
        return None, []  # the call had ended before
    return now - sent, list(case.faults(net))


def run(name, case, sender):
    """Interrupt a call so often, and print a row."""
    longest = 0.1 if case.again else 0.15
    seconds, faults, misses = [], [], 0
    while len(seconds) < options.count and len(faults) < 10 and misses < 20 * options.count:
        took, wrong = interrupt(case, sender, longest)
        faults += wrong
        if took is None:
            misses += not wrong
            longest = longest if wrong else max(0.9 * longest, 0.001)
        else:
            seconds.append(took)
    times = sorted(1000 * s for s in seconds) or [float("nan")]
    late = sum(not t <= options.limit for t in times)
    print(
        f"{name:16} {len(seconds):6} {statistics.median(times):9.1f} "
        f"{times[int(0.99 * (len(times) - 1))]:9.1f} {times[-1]:9.1f} {late:6} {len(faults):6}",
        *sorted(set(faults)),
        flush=True,
    )
    return late + len(faults) + (len(seconds) < options.count)


def main():
    """Interrupt all cases; return the exit status."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    known = cases()
    noise = tempfile.TemporaryFile()  # noqa: SIM115
    stderr = os.dup(2)
    sender = subprocess.Popen(
        [sys.executable, "-c", SENDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    print(f"backend {options.backend}, {pycnn.get_num_threads()} threads; milliseconds")
    print(f"{'':16} {'count':>6} {'median':>9} {'99 %':>9} {'most':>9} {'late':>6} {'faults':>6}")
    os.dup2(noise.fileno(), 2)
    bad = sum(run(name, known[name](), sender) for name in options.calls or known)
    os.dup2(stderr, 2)
    sender.stdin.close()
    sender.wait()
    noise.seek(0)
    printed = noise.read().decode()
    print(f"printed meanwhile: {printed!r}")
    return 1 if bad or printed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--limit", type=float, default=100.0, help="milliseconds")
    parser.add_argument("--backend", default="c")
    parser.add_argument("calls", nargs="*", metavar="CALL", help="those to interrupt; default: all")
    options = parser.parse_args()
    sys.exit(main())
