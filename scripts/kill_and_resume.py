"""Kill trainings at random moments and resume them: the files must be those of uninterrupted ones.

    python scripts/kill_and_resume.py [--kills 20] [--case sgd|adam|cosine] [--backend c|numpy]

Each training runs in a process of its own, keeps checkpoints, and is killed (SIGKILL) at a moment
drawn from its whole length, some of them again after they were resumed. Then it is resumed to its
end. Its last file, with the training state, and its log must be byte for byte those of a training
that nobody has killed.
"""

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import pycnn
from pycnn import SGD, Adam, Dense, Network, callbacks, schedules

CHECKPOINT, FINAL, LOG = "checkpoint.safetensors", "final.safetensors", "log.csv"
# A fork has no need to import all again; it is that of a process that never trains.
CAN_FORK = "fork" in multiprocessing.get_all_start_methods()
PROCESSES = multiprocessing.get_context("fork" if CAN_FORK else None)


def layers(dropout):
    """Return layers, with dropout where there is such a thing."""
    hidden = [Dense(48, "tanh"), Dense(24, "relu")]
    if dropout and hasattr(pycnn, "Dropout"):
        hidden = [layer for dense in hidden for layer in (dense, pycnn.Dropout(0.2))]
    return [*hidden, Dense(3, "softmax")]


def data():
    """Return 3 noisy classes."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 20))
    y = (X[:, :3] + 0.7 * rng.normal(size=(2000, 3))).argmax(axis=1)
    return X, y


CASES = {
    "sgd": lambda: ({"optimizer": SGD(0.05, momentum=0.9)}, []),
    "adam": lambda: ({"optimizer": Adam(0.002, clip_norm=1.0), "validation_split": 0.2}, []),
    "cosine": lambda: (
        {"optimizer": SGD(schedules.CosineDecay(0.02)), "validation_split": 0.2, "batch_size": 8},
        [
            callbacks.ReduceLROnPlateau(factor=0.9, patience=2),
            callbacks.EarlyStopping(patience=15),
        ],
    ),
}


def train(folder, sender, case, epochs, backend):
    """Train in a folder, on from its checkpoint if there is one."""
    os.chdir(folder)
    X, y = data()
    settings, hooks = CASES[case]()
    resume = Path(CHECKPOINT).exists()
    if resume:
        network = pycnn.load(CHECKPOINT, backend)
    else:
        network = Network(20, layers(dropout=case == "adam"), seed=7, backend=backend)
    begun = callbacks.LambdaCallback(on_train_begin=lambda network: sender.send("begun"))
    # A checkpoint between other callbacks: those behind it learn of its epoch after a resumption.
    hooks = [begun, *hooks[:1], callbacks.ModelCheckpoint(CHECKPOINT), *hooks[1:]]
    hooks.append(callbacks.CSVLogger(LOG))
    network.fit(X, y, epochs=epochs, callbacks=hooks, resume=resume, progress=False, **settings)
    network.save(FINAL, training_state=True)


def start(folder, arguments):
    """Start a training in a folder; return it once it has begun."""
    receiver, sender = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=train, args=(folder, sender, *arguments))
    process.start()
    sender.close()
    try:
        receiver.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"the training has failed with status {process.exitcode}") from None
    return process


def finish(process):
    """Let a training run to its end."""
    process.join()
    if process.exitcode:
        raise RuntimeError(f"the training has failed with status {process.exitcode}")


def killed(process, moment):
    """Kill a training after so many seconds; tell whether it was alive until then."""
    time.sleep(moment)
    alive = process.exitcode is None
    process.kill()
    process.join()
    return alive


def files(folder):
    """Return what a training leaves."""
    return [Path(folder, name).read_bytes() for name in (FINAL, CHECKPOINT, LOG)]


def check(case, kills, arguments, rng):
    """Kill trainings of one kind; return how many ended in other files."""
    with tempfile.TemporaryDirectory() as folder:
        process, begun = start(folder, arguments), time.perf_counter()
        finish(process)
        length = time.perf_counter() - begun
        expected = files(folder)
    wrong, done, total = 0, [], 0
    while len(done) < kills:
        with tempfile.TemporaryDirectory() as folder:
            if not killed(start(folder, arguments), rng.uniform(0, length)):
                continue  # over before its time: another one
            total += 1
            while rng.random() < 0.3:  # a training that has begun again may be killed again
                total += killed(start(folder, arguments), rng.uniform(0, length / 2))
            there = Path(folder, CHECKPOINT).exists()
            epoch = len(Path(folder, LOG).read_text().splitlines()) - 1 if there else 0
            done.append(max(0, epoch))
            finish(start(folder, arguments))
            wrong += files(folder) != expected
    epochs = len(expected[2].splitlines()) - 1
    print(
        f"{case:7s} {kills} trainings of {epochs} epochs, {total} kills, last resumed at epochs "
        f"{', '.join(map(str, sorted(done)))}: {wrong or 'none'} differ"
    )
    return wrong


def main():
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="trainings to kill, of each kind")
    parser.add_argument("--case", choices=CASES, help="one kind of training; by default all")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--seed", type=int, help="of the moments; by default another each time")
    given = parser.parse_args()
    seed = random.randrange(10**6) if given.seed is None else given.seed
    print(f"moments drawn with --seed {seed}")
    wrong = 0
    for case in [given.case] if given.case else CASES:
        arguments = (case, given.epochs, given.backend)
        wrong += check(case, given.kills, arguments, random.Random(seed))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
