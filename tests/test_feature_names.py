"""Names of columns: learned from the first data frame, and held against those that follow."""

import copy
import pickle

import numpy as np
import pytest

import pycnn
from pycnn import Dense, Network
from pycnn._io import model_file
from pycnn.exceptions import DataError, ModelFileError, ShapeError

pd = pytest.importorskip("pandas")

NAMES = ("age", "height", "weight")
X = np.random.default_rng(5).normal(size=(40, 3))
Y = X @ [1.0, 2.0, 4.0]
FRAME = pd.DataFrame(X, columns=NAMES)
TURNED = FRAME[["height", "age", "weight"]]
OTHER = FRAME.rename(columns={"weight": "mass"})


def network(backend="auto"):
    return Network(3, [Dense(1)], seed=0, backend=backend)


@pytest.fixture
def trained(backend):
    net = network(backend)
    net.fit(FRAME, Y, epochs=2)
    return net


CALLS = {
    "predict": lambda net, x: net.predict(x),
    "one row": lambda net, x: net.predict(x.iloc[:1]),
    "evaluate": lambda net, x: net.evaluate(x, Y),
    "gradients": lambda net, x: net.gradients(x, Y),
    "trace": lambda net, x: net.trace(x, Y),
    "gradient_check": lambda net, x: pycnn.gradient_check(net, x, Y),
    "fit": lambda net, x: net.fit(x, Y, epochs=1),
    "validation": lambda net, x: net.fit(X, Y, epochs=1, validation_data=(x, Y)),
    "an iterable": lambda net, x: net.fit([(X, Y), (x, Y)], epochs=1),
    "an iterable's validation": lambda net, x: net.fit([(X, Y)], validation_data=(x, Y)),
    "partial_fit": lambda net, x: net.partial_fit(x, Y),
    "train_on_batch": lambda net, x: net.train_on_batch(x, Y),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_frame_in_another_order_or_by_other_names_is_refused(call, trained):
    assert trained.feature_names == NAMES
    before = trained.theta.tobytes()
    words = (
        r"must have the columns that the network was trained on, in their order, "
        r"\['age', 'height', 'weight'\], got \['height', 'age', 'weight'\]: column 0 is 'height', "
        r"and was 'age'; X\[list\(network.feature_names\)\]"
    )
    with pytest.raises(DataError, match=words):
        CALLS[call](trained, TURNED)
    with pytest.raises(DataError, match=r"column 2 is 'mass', and was 'weight'$"):
        CALLS[call](trained, OTHER)
    if call != "an iterable":
        assert trained.theta.tobytes() == before
    CALLS[call](trained, FRAME)


LEARNING = {
    "fit": lambda net, x: net.fit(x, Y, epochs=1),
    "after arrays": lambda net, x: (net.fit(X, Y, epochs=1), net.fit(x, Y, epochs=1)),
    "an iterable": lambda net, x: net.fit([(x, Y)], epochs=1),
    "partial_fit": lambda net, x: net.partial_fit(x, Y),
    "train_on_batch": lambda net, x: net.train_on_batch(x, Y),
}


@pytest.mark.parametrize("call", LEARNING)
def test_names_are_learned_wherever_a_network_is_trained(call, backend):
    net = network(backend)
    LEARNING[call](net, FRAME)
    assert net.feature_names == NAMES
    with pytest.raises(DataError, match="columns"):
        net.predict(TURNED)


def test_names_are_those_of_the_same_call_for_its_validation_data(backend):
    net = network(backend)
    before = net.theta.tobytes()
    with pytest.raises(DataError, match="validation X must have the columns"):
        net.fit(FRAME, Y, epochs=1, validation_data=(TURNED, Y))
    assert net.feature_names is None
    assert net.theta.tobytes() == before
    with pytest.raises(DataError, match="x in mini-batch 1 of X must have the columns"):
        net.fit([(FRAME, Y), (TURNED, Y)], epochs=1)


def test_only_training_learns_names():
    net = network()
    net.predict(FRAME)
    net.evaluate(FRAME, Y)
    net.gradients(FRAME, Y)
    assert net.feature_names is None
    net.predict(TURNED)


def test_arrays_and_frames_without_text_for_names_are_taken_as_they_are(trained):
    expected = trained.predict(FRAME).tobytes()
    assert trained.predict(X).tobytes() == expected
    assert trained.predict(X.tolist()).tobytes() == expected
    for columns in (
        range(3),
        ["age", "height", 3],
        pd.MultiIndex.from_product([["a"], list("bcd")]),
    ):
        assert trained.predict(pd.DataFrame(X, columns=columns)).tobytes() == expected
        net = network()
        net.fit(pd.DataFrame(X, columns=columns), Y, epochs=1)
        assert net.feature_names is None


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (FRAME.assign(id=1.0), r"got 4 columns, with \['id'\]$"),
        (FRAME.drop(columns="height"), r"got 2 columns, without \['height'\]$"),
        (OTHER.assign(id=1.0), r"got 4 columns, with \['mass', 'id'\] and without \['weight'\]$"),
        (pd.concat([FRAME, FRAME], axis=1), "got 6 columns, some of them twice$"),
    ],
)
def test_columns_too_many_or_too_few_are_named(frame, words, trained):
    for call in ("predict", "validation", "an iterable"):
        with pytest.raises(ShapeError, match=rf"must have shape \(samples, 3\), .* {words}"):
            CALLS[call](trained, frame)


class Frame:
    """What polars hands over."""

    def __init__(self, frame):
        self.frame, self.columns = frame, list(frame.columns)

    def __array__(self, dtype=None, copy=None):
        return self.frame.to_numpy()


def arrow(frame):
    return pytest.importorskip("pyarrow").Table.from_pandas(frame)


@pytest.mark.parametrize("kind", [Frame, arrow])
def test_frames_of_other_libraries(kind, backend):
    net = network(backend)
    net.fit(kind(FRAME), Y, epochs=1)
    assert net.feature_names == NAMES
    net.predict(FRAME)
    with pytest.raises(DataError, match="columns"):
        net.predict(kind(TURNED))


def test_long_lists_of_names_are_shown_by_their_first_difference():
    names = [f"gene {i}" for i in range(500)]
    x = pd.DataFrame(np.zeros((3, 500)), columns=names)
    net = Network(500, [Dense(1)], seed=0)
    net.fit(x, [0.0, 1.0, 2.0], epochs=1)
    names[300], names[301] = names[301], names[300]
    with pytest.raises(DataError, match="column 300 is 'gene 301', and was 'gene 300'") as refused:
        net.predict(x[names])
    assert len(str(refused.value)) < 600


KEPT = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda net: pickle.loads(pickle.dumps(net)),
    "folded": lambda net: net.folded(),
}


@pytest.mark.parametrize("way", KEPT)
def test_copies_keep_the_names(way, trained):
    other = KEPT[way](trained)
    assert other.feature_names == NAMES
    with pytest.raises(DataError, match="columns"):
        other.predict(TURNED)


def test_files_keep_the_names_and_are_as_before_without(trained, tmp_path):
    path = tmp_path / "model"
    trained.feature_names = ("a", "\u00e9\U0001f600", "\ud800")
    trained.save(path)
    assert pycnn.load(path).feature_names == trained.feature_names
    trained.feature_names = None
    trained.save(path)
    assert b"feature_names" not in path.read_bytes()
    assert pycnn.load(path).feature_names is None


@pytest.mark.parametrize("names", ["abc", {"a": 1}, 3, ["a", "b"]])
def test_other_than_names_are_refused(names, trained):
    with pytest.raises(DataError, match="feature_names must be None or 3 strings"):
        trained.feature_names = names


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", 3], [["a"], "b", "c"]])
def test_a_file_with_other_than_names_is_refused(names, trained, tmp_path, monkeypatch):
    trained.learn(trained.reader.naming(names))
    with pytest.raises(DataError, match=r"a file cannot keep .* feature_names must be"):
        trained.save(tmp_path / "model")
    with monkeypatch.context() as patch:
        patch.setattr(model_file, "_check_state", lambda *parts: {})
        trained.save(tmp_path / "model")
    with pytest.raises(ModelFileError, match="feature_names"):
        pycnn.load(tmp_path / "model")


def test_names_can_be_set_and_forgotten(trained):
    trained.feature_names = None
    trained.predict(TURNED)
    trained.feature_names = TURNED.columns
    trained.predict(TURNED)
    with pytest.raises(DataError, match="columns"):
        trained.predict(FRAME)
