"""What is below the training: a `Model` computes what its `Network` does, and needs none."""

import inspect
import pickle

import numpy as np
import pytest

import pycnn
from pycnn import BatchNorm, Dense, Network
from pycnn._architecture import Architecture
from pycnn._data.targets import TargetEncoder
from pycnn._model import Model
from pycnn.exceptions import LabelError

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(40, 4)), np.array(["no", "perhaps", "yes"])[RNG.integers(0, 3, 40)]


@pytest.fixture
def network(backend):
    layers = [Dense(5, "tanh"), BatchNorm(), Dense(3, "softmax")]
    net = Network(4, layers, seed=1, backend=backend)
    net.fit(X, Y, epochs=3, progress=False)
    return net


@pytest.fixture
def model(network, backend):
    written = network.architecture
    model = Model(Architecture((4,), written.layers, written.loss), network.seed, backend)
    assert not model.theta.any()
    model.theta[:] = network.theta
    model.learn(network.reader)  # all that was learned of the data, at once
    return model


def test_a_model_computes_what_its_network_does(network, model):
    assert not hasattr(model, "fit")
    for call in ("predict", "predict_classes", "predict_proba"):
        assert (getattr(model, call)(X) == getattr(network, call)(X)).all()
    assert model.evaluate(X, Y, metrics=["f1"]) == network.evaluate(X, Y, metrics=["f1"])
    assert model.score(X, Y) == network.score(X, Y)
    assert (model.gradients(X, Y)[1] == network.gradients(X, Y)[1]).all()
    assert (model.trace(X, Y).delta[3] == network.trace(X, Y).delta[3]).all()
    assert pycnn.gradient_check(model, X, Y) < 1e-7


def test_a_model_is_plain_data_and_back(model):
    for again in (pickle.loads(pickle.dumps(model)), Model.from_state(model.__getstate__())):
        assert again.theta.tobytes() == model.theta.tobytes()
        assert not np.shares_memory(again.theta, model.theta)
        assert (again.predict_classes(X) == model.predict_classes(X)).all()
        assert list(again.tensors) == list(model.tensors)


def test_what_was_learned_of_the_data_is_replaced_as_a_whole(network):
    before = network.reader
    network.feature_names = list("abcd")
    assert before.names is None
    assert network.reader.encoder is before.encoder
    network.classes = None
    assert before.encoder.classes is not None
    assert network.feature_names == ("a", "b", "c", "d")


def test_an_encoder_brings_labels_there_and_back():
    encoder = TargetEncoder("categorical_crossentropy", 3)
    with pytest.raises(LabelError, match="has learned no classes yet"):
        encoder.encode(Y, "y", len(Y))
    targets = encoder.encode(Y, "y", len(Y), learn=True)
    assert encoder.classes is None  # an encoder never changes
    learned = TargetEncoder("categorical_crossentropy", 3, targets.classes)
    assert (learned.labels(targets.y) == Y).all()
    assert (learned.labels(np.eye(3)[targets.y]) == Y).all()
    assert (learned.encode(Y, "y", len(Y)).y == targets.y).all()


def test_tab_completion_shows_what_is_documented(backend):
    net = Network(2, [Dense(1)], backend=backend)
    shown = {name for name in dir(net) if not name.startswith("_")}
    assert {"fit", "predict", "parameters", "layers", "classes", "history"} <= shown
    documented = inspect.getdoc(Network)
    for name in shown:
        assert getattr(getattr(Network, name, None), "__doc__", None) or f"{name} : " in documented
    hidden = {name for name in object.__dir__(net) if not name.startswith("_")} - shown
    assert {"theta", "plan", "core", "reader", "training_record"} <= hidden


@pytest.mark.parametrize("name", ["theta", "plan", "core", "reader", "architecture"])
def test_what_the_core_works_on_cannot_be_replaced(name, network):
    before = network.predict(X)
    with pytest.raises(AttributeError, match="has no setter"):
        setattr(network, name, np.zeros(2))
    state = network.__getstate__()
    state["attributes"] = {name: "of a user's, from a version that had no such name"}
    copied = Network.from_state(state)
    assert (copied.predict(X) == before).all()
