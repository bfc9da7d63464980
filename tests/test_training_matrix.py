"""Every optimizer with every schedule: the backends agree, and neither threads nor pauses show."""

import numpy as np
import pytest

import pycnn
from pycnn import LBFGS, SGD, Adagrad, Adam, AdamW, Dense, Network, RMSprop, Rprop
from pycnn._training import steps as driver
from pycnn.schedules import (
    Constant,
    CosineDecay,
    ExponentialDecay,
    OneCycle,
    StepDecay,
    Warmup,
)

OPTIMIZERS = {
    "sgd": SGD,
    "momentum": lambda rate, **clip: SGD(rate, momentum=0.9, **clip),
    "nesterov": lambda rate, **clip: SGD(rate, momentum=0.9, nesterov=True, **clip),
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RMSprop,
    "rmsprop, all": lambda rate, **clip: RMSprop(rate, momentum=0.5, centered=True, **clip),
    "adagrad": Adagrad,
    "rprop": Rprop,
}
SCHEDULES = {
    "constant": Constant(0.02),
    "step": StepDecay(0.03, factor=0.5, every=2),
    "exponential": ExponentialDecay(0.03),
    "staircase": ExponentialDecay(0.03, rate=0.7, staircase=True),
    "cosine": CosineDecay(0.03, minimum=1e-3),
    "restarts": CosineDecay(0.03, epochs=2, restarts=True, growth=2),
    "warmup": Warmup(CosineDecay(0.03), epochs=1.5),
    "one cycle": OneCycle(0.03),
}
ROWS, BATCH, EPOCHS = 50, 16, 4  # the last batch of each epoch is smaller
RNG = np.random.default_rng(7)
X = RNG.normal(size=(ROWS, 6))
LABELS = RNG.integers(0, 3, size=ROWS)
WEIGHT = RNG.choice([0.0, 0.5, 1.0], size=ROWS)


def train(backend, optimizer, batch_size=BATCH, **settings):
    layers = [Dense(9, "tanh", l2=1e-3), Dense(5, "relu"), Dense(3, "softmax")]
    net = Network(6, layers, seed=1, backend=backend)
    net.fit(
        X,
        LABELS,
        epochs=EPOCHS,
        batch_size=batch_size,
        optimizer=optimizer,
        sample_weight=WEIGHT,
        progress=False,
        **settings,
    )
    return net


def bits(net):
    return net.parameters.tobytes(), dict(net.history)


def make(optimizer, schedule):
    if optimizer == "lbfgs":
        return LBFGS()
    return OPTIMIZERS[optimizer](SCHEDULES[schedule], clip_norm=0.5)


CASES = [(optimizer, schedule) for optimizer in OPTIMIZERS for schedule in SCHEDULES]
CASES.append(("lbfgs", "none"))  # which has no learning rate


@pytest.fixture
def threads():
    before = pycnn.get_num_threads()
    yield pycnn.set_num_threads
    pycnn.set_num_threads(before)


def test_nothing_is_missing_from_the_matrix():
    made = {type(make(*case)) for case in CASES}
    assert made == set(pycnn.optimizers._TABLE.values())
    schedules = {type(schedule) for schedule in SCHEDULES.values()}
    public = {getattr(pycnn.schedules, name) for name in pycnn.schedules.__all__}
    assert schedules == public - {pycnn.schedules.Schedule}


@pytest.mark.parametrize(("optimizer", "schedule"), CASES)
def test_backends_agree(core, optimizer, schedule):
    batch_size = None if optimizer == "lbfgs" else BATCH
    c, n = (train(backend, make(optimizer, schedule), batch_size) for backend in ("c", "numpy"))
    scale = np.abs(n.parameters).max()
    assert np.abs(c.parameters - n.parameters).max() < 1e-12 * scale
    assert c.history.keys() == n.history.keys()
    for key in c.history:
        assert c.history[key] == pytest.approx(n.history[key], rel=1e-12)


class _SingleSteps:
    """A pace of one mini-batch a call."""

    steps = 1

    def adapt(self, done, seconds):
        pass


@pytest.mark.twin_when_thorough
@pytest.mark.parametrize(("optimizer", "schedule"), CASES)
def test_threads_and_pauses_do_not_show(backend, optimizer, schedule, threads, monkeypatch):
    batch_size = None if optimizer == "lbfgs" else BATCH
    whole = bits(train(backend, make(optimizer, schedule), batch_size))
    threads(2)
    assert bits(train(backend, make(optimizer, schedule), batch_size)) == whole
    threads(1)
    monkeypatch.setattr(driver, "Pace", _SingleSteps)
    steps = bits(train(backend, make(optimizer, schedule), batch_size))
    assert steps == whole
    paused = train(backend, make(optimizer, schedule), batch_size, callbacks=[lambda *_: None])
    assert bits(paused) == whole


@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, "lbfgs"])
def test_threads_do_not_show_where_they_share_the_work(core, optimizer, threads):
    """Large enough for several tasks in each kernel and in the update."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 40)), rng.integers(0, 10, size=300)
    results = set()
    for count in (1, 2):
        threads(count)
        layers = [Dense(300, "tanh"), Dense(100, "relu"), Dense(10, "softmax")]
        net = Network(40, layers, seed=0, l2=1e-3)
        batch_size = None if optimizer == "lbfgs" else 100
        net.fit(X, y, epochs=2, batch_size=batch_size, optimizer=make(optimizer, "cosine"))
        results.add(net.parameters.tobytes())
    assert net.parameters.size > 2 * 2**14
    assert len(results) == 1
