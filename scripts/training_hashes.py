"""Print a hash of each of some fifty trainings, to be held against those of another version.

    python scripts/training_hashes.py [--backend c|numpy] > before.txt
    python scripts/training_hashes.py [--backend c|numpy] --against before.txt

Every layer, activation, loss, optimizer and source of data, weights, penalties, callbacks and
resume have a part in them. A hash covers the parameters, the history and some predictions. Where
the C core has fused multiply-adds it is the same for every instruction set and number of threads
(PYCNN_ISA, PYCNN_NUM_THREADS); the NumPy backend's depends on NumPy's version and the machine.
"""

import argparse
import hashlib
import sys
import tempfile
from pathlib import Path

import numpy as np

import pycnn
from pycnn import (
    LBFGS,
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
    Residual,
    RMSprop,
    Rprop,
    activations,
    augmentation,
    callbacks,
    losses,
    schedules,
)

EPOCHS, BATCH = 4, 16


def raw(seed, *shape):
    """Return uniform numbers in 0 ... 1 from a stream that NumPy has frozen."""
    bits = np.random.PCG64(seed).random_raw(int(np.prod(shape)))
    return ((bits >> np.uint64(11)) * 2.0**-53).reshape(shape)


X = 2 * raw(1, 150, 13) - 1
LABELS = (X[:, :3] + 0.3 * raw(2, 150, 3)).argmax(axis=1)
NUMBERS = np.stack([X[:, 0] - X[:, 1] * X[:, 2], X[:, 3] ** 2], axis=1)
WEIGHT = raw(3, 150) * (raw(4, 150) > 0.1)
GAPS = np.where(raw(5, 150, 2) < 0.2, np.nan, NUMBERS)


def dense(units, activation="linear", **settings):
    """Return a layer whose start does not hang on what the defaults are."""
    return Dense(
        units,
        activation,
        weight_initializer=settings.pop("weight_initializer", "glorot_uniform"),
        bias_initializer=settings.pop("bias_initializer", "zeros"),
        **settings,
    )


def digest(net, *more):
    """Return a hash of all that training has decided."""
    parts = [net.parameters.tobytes(), net.statistics.tobytes(), net.predict(X[:7]).tobytes()]
    if net.history is not None:
        for name, values in sorted(net.history.items()):
            parts += [name.encode(), np.array(values, dtype=np.float64).tobytes()]
    parts += [np.asarray(part).tobytes() for part in more]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:32]


def classifier(backend, hidden=None, **settings):
    """Return a network for three classes."""
    hidden = [dense(24, "relu"), dense(9, "tanh")] if hidden is None else hidden
    return Network(13, [*hidden, dense(3, "softmax")], seed=5, backend=backend, **settings)


def regressor(backend, hidden=None, output="linear", **settings):
    """Return a network for two numbers."""
    hidden = [dense(20, "tanh")] if hidden is None else hidden
    return Network(13, [*hidden, dense(2, output)], seed=6, backend=backend, **settings)


def fit(net, x=X, y=LABELS, **settings):
    """Train a network a little, and return its hash."""
    given = {"epochs": EPOCHS, "batch_size": BATCH, "optimizer": SGD(0.05), "progress": False}
    net.fit(x, y, **(given | settings))
    return digest(net)


class Stop(Callback):
    """Ends a training after some epochs, as a user would."""

    def __init__(self, epoch):
        """Stop after this epoch."""
        self.epoch = epoch

    def on_epoch_end(self, network, epoch, logs):
        """Stop, if it is time."""
        if epoch == self.epoch:
            network.stop_training = True


def resumed(backend, through_file, hidden=None, **settings):
    """Stop a training, resume it, and return the hash of its end."""
    hidden = [dense(24, "relu"), Dropout(0.3), BatchNorm("relu")] if hidden is None else hidden
    net = classifier(backend, hidden)
    settings = {"optimizer": Adam(0.01), "validation_split": 0.2} | settings
    fit(net, epochs=7, callbacks=[Stop(3)], **settings)
    if through_file:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.safetensors")
            net.save(path, training_state=True)
            net = pycnn.load(path, backend=backend)
    return fit(net, epochs=7, resume=True, **settings)


def memory_map(backend, dtype):
    """Train from a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.npy")
        np.save(path, X.astype(dtype))
        result = fit(classifier(backend), np.load(path, mmap_mode="r"))
    return result


def mini_batches(backend):
    """Train from an iterable."""
    pieces = [(X[i : i + 20], LABELS[i : i + 20], WEIGHT[i : i + 20]) for i in range(0, 140, 20)]
    net = classifier(backend)
    net.fit(pieces, epochs=EPOCHS, optimizer=RMSprop(0.01), progress=False)
    return digest(net)


def bit_by_bit(backend):
    """Train by calls of partial_fit and train_on_batch."""
    net = classifier(backend, [dense(12, "relu"), Dropout(0.2)])
    for start in (0, 50, 100):
        net.partial_fit(X[start : start + 50], LABELS[start : start + 50], optimizer=Adam(0.01))
    logs = net.train_on_batch(X[:30], LABELS[:30], optimizer=Adam(0.02, clip_norm=0.1))
    return digest(net, *logs.values())


def cubic(outputs, targets):
    """Return |a - y|^3 of each sample, and its derivative."""
    error = outputs - targets
    return (np.abs(error) ** 3).sum(axis=1), 3 * error * np.abs(error)


def gradients(backend):
    """Return the hash of losses, gradients and traces."""
    net = classifier(backend, [dense(24, "relu", l1=0.01), BatchNorm("tanh"), LayerNorm()], l2=0.1)
    loss, gradient = net.gradients(X, LABELS, WEIGHT)
    of_training, other = net.gradients(X, LABELS, training=True)
    trace = net.trace(X[:9], LABELS[:9])
    return digest(net, loss, gradient, of_training, other, *trace.Z[1:], *trace.A, *trace.delta[1:])


def trainings(backend):
    """Yield the name of each training and what runs it."""
    for name in activations.ACTIVATIONS:
        if name != "softmax":
            yield f"activation {name}", lambda n=name: fit(classifier(backend, [dense(24, n)]))
    regression = {"mse", "mae", losses.Huber(0.3), losses.Quantile(0.7), losses.Custom(cubic)}
    for loss in sorted(regression, key=str):
        yield (
            f"loss {loss if isinstance(loss, str) else type(loss).__name__}",
            lambda loss=loss: fit(regressor(backend, loss=loss), y=NUMBERS),
        )
    smooth = losses.CategoricalCrossentropy(0.1), losses.BinaryCrossentropy(0.1)
    yield (
        "loss poisson",
        lambda: fit(
            regressor(backend, output="softplus", loss="poisson"), y=np.floor(4 * NUMBERS**2)
        ),
    )
    yield "loss hinge", lambda: fit(regressor(backend, loss="hinge"), y=np.sign(NUMBERS))
    yield (
        "loss kl",
        lambda: fit(
            regressor(backend, output="softmax", loss="kl_divergence"),
            y=np.tile([0.25, 0.75], (150, 1)),
        ),
    )
    yield "loss smooth categorical", lambda: fit(classifier(backend, loss=smooth[0]))
    yield (
        "loss smooth binary",
        lambda: fit(regressor(backend, output="sigmoid", loss=smooth[1]), y=(NUMBERS > 0.2)),
    )
    for optimizer in (
        SGD(0.05, momentum=0.9),
        SGD(0.05, momentum=0.9, nesterov=True),
        Adam(0.01),
        AdamW(0.01, weight_decay=0.1),
        RMSprop(0.01),
        RMSprop(0.01, centered=True, momentum=0.5),
        Adagrad(0.05),
        SGD(0.5, clip_norm=0.2, clip_value=0.05),
        SGD(schedules.Warmup(schedules.CosineDecay(0.1), epochs=1)),
    ):
        yield f"optimizer {optimizer!r}", lambda o=optimizer: fit(classifier(backend), optimizer=o)
    yield "optimizer Rprop", lambda: fit(classifier(backend), batch_size=None, optimizer=Rprop())
    yield (
        "optimizer LBFGS",
        lambda: fit(classifier(backend), batch_size=None, optimizer=LBFGS(), validation_split=0.2),
    )
    stack = [dense(24), BatchNorm("relu"), Dropout(0.2), dense(16, "gelu"), LayerNorm("tanh")]
    yield "layers all", lambda: fit(classifier(backend, stack))
    yield (
        "layers norms first",
        lambda: fit(
            classifier(backend, [BatchNorm(), dense(24, "relu"), LayerNorm(), Dropout()]),
            optimizer=Adam(0.01),
        ),
    )
    inner = [dense(24), BatchNorm("relu"), Dropout(0.2), dense(16)]
    block = Residual([Residual(inner, shortcut=dense(16)), LayerNorm()], shortcut=dense(16))
    yield "layers residual", lambda: fit(classifier(backend, [block, Residual([dense(16)])]))
    yield (
        "penalties",
        lambda: fit(classifier(backend, [dense(24, "relu", l1=1e-3, max_norm=0.8)], l2=1e-2)),
    )
    yield "batch of one", lambda: fit(classifier(backend), batch_size=1)
    yield "batch of three", lambda: fit(classifier(backend), batch_size=3)
    yield "batch of all", lambda: fit(classifier(backend), batch_size=None)
    wide = [dense(300, "relu"), dense(260, "tanh")]
    yield "wide", lambda: fit(classifier(backend, wide), batch_size=70)
    large = np.tile(X, (5, 1)), np.tile(LABELS, 5)
    yield "larger than a piece", lambda: fit(classifier(backend), *large, batch_size=600)
    yield "weights", lambda: fit(classifier(backend), sample_weight=WEIGHT, class_weight="balanced")
    yield "gaps", lambda: fit(regressor(backend), y=GAPS, missing_targets="mask")
    yield "in order", lambda: fit(classifier(backend), shuffle=False)
    yield "augmented", lambda: fit(classifier(backend), augment=augmentation.GaussianNoise(0.1))
    yield "memory map", lambda: memory_map(backend, "<f8")
    yield "memory map of float32", lambda: memory_map(backend, "<f4")
    yield "mini-batches", lambda: mini_batches(backend)
    yield "bit by bit", lambda: bit_by_bit(backend)
    yield "gradients", lambda: gradients(backend)
    yield (
        "callbacks",
        lambda: fit(
            classifier(backend),
            epochs=12,
            validation_data=(X[::2], LABELS[::2]),
            callbacks=[
                callbacks.ReduceLROnPlateau(patience=1, min_delta=0.01),
                callbacks.EarlyStopping(patience=3, min_delta=0.01),
            ],
        ),
    )
    yield "resumed", lambda: resumed(backend, through_file=False)
    yield "resumed from a file", lambda: resumed(backend, through_file=True)
    yield (
        "resumed L-BFGS",
        lambda: resumed(
            backend,
            through_file=True,
            hidden=[dense(24, "relu")],
            batch_size=None,
            optimizer=LBFGS(),
            validation_split=0.0,
        ),
    )


def main():
    """Print the hashes, and what differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--against", type=Path, help="hashes of another version")
    arguments = parser.parse_args()
    before = {}
    if arguments.against is not None:
        lines = arguments.against.read_text().splitlines()
        before = {name: value for value, _, name in (line.partition("  ") for line in lines)}
    wrong = 0
    seen = set()
    for name, run in trainings(arguments.backend):
        seen.add(name)
        try:
            value = run()
        except Exception as error:
            value = f"{type(error).__name__}: {error}"
            wrong += 1
        differs = name in before and before[name] != value
        wrong += differs
        print(f"{value}  {name}{'    DIFFERS' if differs else ''}")
    for name in before.keys() - seen:
        wrong += 1
        print(f"gone: {name}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
