"""Files and pickles of earlier versions: they predict, and go on training, as they did there.

tests/data/write_0_1.py has written them, by version 0.1.
"""

import json
import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import pycnn
from pycnn import LBFGS, Adam, RMSprop
from pycnn.callbacks import EarlyStopping, ReduceLROnPlateau
from pycnn.schedules import StepDecay

DATA = Path(__file__).parent / "data"
EXPECTED = json.loads((DATA / "expected-0.1.json").read_text(encoding="utf-8"))
X = np.sin(np.arange(36.0)).reshape(12, 3)
y = X[:, 0] - X[:, 1]
INDEX = np.arange(12) % 3
WORDS = np.array(["ant", "bee", "\u00e9\u4e2d"])


def load(name, backend):
    if name.endswith("pickle"):
        return pickle.loads((DATA / name).read_bytes())
    return pycnn.load(DATA / name, backend)


# ------------------------------------------------------------------ models


def predicts_as_then(net, name, targets):
    np.testing.assert_allclose(net.predict(X), EXPECTED[name]["predict"], rtol=1e-12)
    assert net.evaluate(X, targets) == pytest.approx(EXPECTED[name]["evaluate"], rel=1e-12)


@pytest.mark.parametrize("name", ["model-0.1.safetensors", "model-0.1.pickle"])
def test_a_model_predicts_as_then(backend, name):
    net = load(name, backend)
    predicts_as_then(net, "model", WORDS[INDEX])
    assert net.classes.tolist() == WORDS.tolist()
    assert net.metadata == {"scale": [0.5, 2], "note": "\u00e9\u4e2d\U0001f600", "none": None}
    assert (net.seed, net.epochs_trained, net.l1, net.layers[0].l2) == (7, 3, 0.001, 0.01)


def test_every_kind_of_layer_is_what_it_was(backend):
    net = load("layers-0.1.safetensors", backend)
    predicts_as_then(net, "layers", np.stack([y > 0, X[:, 2] > 0], axis=1))
    for layer, config in zip(net.layers, EXPECTED["layers"]["config"], strict=True):
        assert config.items() <= layer.config().items()
    assert net.l2 == 0.002
    before = net.parameters.copy()
    net.fit(X, np.stack([y > 0, X[:, 2] > 0], axis=1), epochs=1)
    assert (net.parameters != before).any()


@pytest.mark.parametrize("name", ["huber", "quantile", "poisson"])
def test_a_loss_is_what_it_was(backend, name):
    predicts_as_then(load(f"{name}-0.1.safetensors", backend), name, np.abs(y))


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("dates", np.array(["2001-02-03", "2004-05-06", "2030-01-01"], dtype="datetime64[D]")),
        ("bytes", np.array([b"\x00a", b"\xffb", b"\xffc"])),
        ("wide", np.array(["a", "b", "c"], dtype="<U50")),
        ("unsigned", np.array([1, 2**53 + 1, 2**64 - 1], dtype=np.uint64)),
    ],
)
def test_labels_are_read(name, classes):
    found = pycnn.load(DATA / f"{name}-0.1.safetensors").classes
    assert found.dtype == classes.dtype
    assert found.tolist() == classes.tolist()


# ------------------------------------------------------------------ trainings


def ends_as_then(net, name, history):
    assert history["loss"] == pytest.approx(EXPECTED[name]["loss"], rel=1e-9)
    np.testing.assert_allclose(net.parameters, EXPECTED[name]["parameters"], rtol=1e-9)
    np.testing.assert_allclose(net.predict(X), EXPECTED[name]["predict"], rtol=1e-9)


@pytest.mark.parametrize("name", ["training-0.1.safetensors", "training-0.1.pickle"])
def test_a_training_goes_on_as_then(backend, name):
    net = load(name, backend)
    history = net.fit(
        X,
        y,
        epochs=6,
        batch_size=5,
        optimizer=Adam(StepDecay(0.02, every=2, factor=0.5)),
        callbacks=[EarlyStopping("loss", patience=50), ReduceLROnPlateau("loss", patience=1)],
        resume=True,
    )
    ends_as_then(net, "training", history)


def test_a_training_goes_on_in_the_midst_of_an_epoch(backend):
    net = load("midst-0.1.safetensors", backend)
    batches = []
    history = net.fit(
        X,
        WORDS[INDEX],
        epochs=4,
        batch_size=3,
        optimizer=RMSprop(0.01, centered=True, momentum=0.5, clip_value=0.2),
        sample_weight=1 + INDEX / 4,
        augment=lambda x, y, rng: batches.append(len(x)) or (x, y),
        resume=True,
    )
    assert len(batches) == 4 * 4 - 6
    ends_as_then(net, "midst", history)


def test_a_training_by_lbfgs_goes_on_as_then(backend):
    net = load("lbfgs-0.1.safetensors", backend)
    history = net.fit(X, y, epochs=8, batch_size=None, optimizer=LBFGS(history_size=3), resume=True)
    assert all(later < earlier for earlier, later in pairwise(history["loss"]))
    ends_as_then(net, "lbfgs", history)


def test_a_partial_fit_goes_on_as_then(backend):
    net = load("partial-0.1.safetensors", backend)
    ends_as_then(net, "partial", net.partial_fit(X, y))
