"""Data that do not lie in memory as float64: the same bits as if they did."""

import itertools
import pickle

import numpy as np
import pytest

import pycnn
from pycnn import SGD, Adam, BatchNorm, Dense, Dropout, Network
from pycnn._data import sources
from pycnn._training import advice
from pycnn.augmentation import GaussianNoise, Mixup
from pycnn.callbacks import Callback, LambdaCallback
from pycnn.exceptions import DataError, DataTypeError, DataWarning, DivergedError, ShapeError
from pycnn.schedules import CosineDecay, StepDecay

rng = np.random.default_rng(11)
ROWS, COLUMNS = 201, 6
X = rng.integers(0, 200, (ROWS, COLUMNS)).astype(np.uint8)
Y = rng.integers(0, 3, ROWS)

pytestmark = pytest.mark.filterwarnings("ignore::pycnn.exceptions.PycnnWarning")


@pytest.fixture
def in_pieces(monkeypatch):
    """Every array that is not float64 is read some rows at a time."""
    monkeypatch.setattr(sources, "WHOLE", 0)
    monkeypatch.setattr(sources, "PIECE", 40 * COLUMNS * 8)


def network(backend="auto", **options):
    layers = [Dense(9), BatchNorm("relu"), Dropout(0.2), Dense(3, "softmax")]
    return Network(COLUMNS, layers, seed=2, backend=backend, **options)


def scaled(x):
    return (x / 256).astype(np.float32)


OPTIONS = {
    "sgd": {},
    "momentum, clipped": {"optimizer": SGD(0.1, momentum=0.9, clip_norm=0.5)},
    "adam": {"optimizer": Adam(0.01)},
    "cosine": {"optimizer": Adam(CosineDecay(0.01))},
    "step": {"optimizer": SGD(StepDecay(0.1, 0.5, 2))},
    "as they lie": {"shuffle": False},
    "a large batch": {"batch_size": 90},
    "all": {"batch_size": None},
    "weights": {"sample_weight": np.arange(ROWS) % 4},
    "class weights": {"class_weight": "balanced"},
    "split": {"validation_split": 0.25},
    "validation": {"validation_data": (scaled(X[:50]), Y[:50])},
    "callbacks": {"callbacks": [LambdaCallback(on_epoch_end=lambda *_: None)]},
    "noise": {"augment": GaussianNoise(0.1)},
    "noise and mixup": {"augment": [GaussianNoise(0.1), Mixup(0.3)]},
}


@pytest.mark.twin_when_thorough
@pytest.mark.parametrize("name", OPTIONS)
def test_pieces_give_the_same_bits(name, backend, monkeypatch):
    options = {"epochs": 3, "batch_size": 16} | OPTIONS[name]
    x = scaled(X)
    whole = network(backend)
    expected = whole.fit(x, Y, **options)
    monkeypatch.setattr(sources, "WHOLE", 0)
    monkeypatch.setattr(sources, "PIECE", 40 * COLUMNS * 8)
    pieces = network(backend)
    history = pieces.fit(x, Y, **options)
    assert pieces.theta.tobytes() == whole.theta.tobytes()
    for key in expected:
        assert np.allclose(history[key], expected[key], rtol=1e-13, atol=1e-15)
        if not key.startswith("val_"):
            assert history[key] == expected[key]
    assert pieces.predict(x).tobytes() == whole.predict(x.astype(float)).tobytes()
    for (key, score), other in zip(
        pieces.evaluate(x, Y).items(), whole.evaluate(x.astype(float), Y).values(), strict=True
    ):
        assert score == pytest.approx(other, rel=1e-13), key


@pytest.mark.parametrize("batch_size", [1, 3, 4])
def test_small_batches_in_pieces(batch_size, backend, monkeypatch):
    nets = []
    for limit in (1 << 40, 0):
        monkeypatch.setattr(sources, "WHOLE", limit)
        monkeypatch.setattr(sources, "PIECE", 40 * COLUMNS * 8)
        net = Network(COLUMNS, [Dense(5, "tanh"), Dense(3, "softmax")], seed=0, backend=backend)
        net.fit(scaled(X), Y, epochs=2, batch_size=batch_size)
        nets.append(net)
    assert nets[0].parameters.tobytes() == nets[1].parameters.tobytes()


@pytest.mark.parametrize("dtype", ["u1", "i2", "f2", "f4", ">f4", "?"])
def test_any_dtype_is_read_in_pieces(in_pieces, dtype):
    x = (X % 2 if dtype == "?" else X % 100).astype(dtype)
    assert isinstance(sources.as_table(x, "X", (COLUMNS,), None), sources.LazyTable)
    net, other = network(), network()
    net.fit(x, Y, epochs=2)
    other.fit(x.astype(float), Y, epochs=2)
    assert net.theta.tobytes() == other.theta.tobytes()


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_memory_maps(in_pieces, tmp_path, mode, dtype):
    x = (X / 256).astype(dtype)
    x.tofile(tmp_path / "x")
    mapped = np.memmap(tmp_path / "x", dtype, mode, shape=X.shape)
    if mode == "c":
        mapped[0, 0] = x[0, 0] = 0.75  # in memory alone: must not be let go
    net, other = network(), network()
    net.fit(mapped, Y, epochs=2, validation_split=0.2)
    other.fit(np.array(x, float), Y, epochs=2, validation_split=0.2)
    assert net.theta.tobytes() == other.theta.tobytes()
    assert mapped[0, 0] == x[0, 0]
    assert net.predict(mapped).tobytes() == net.predict(np.array(x, float)).tobytes()


VIEWS = {
    "as it lies": (np.s_[:], lambda m: m),
    "rows of it": (np.s_[7:190], lambda m: m[7:190]),
    "every other row": (np.s_[::2], lambda m: m[::2]),
    "backwards": (np.s_[::-1], lambda m: m[::-1]),
    "every other column": (np.s_[:, ::2], lambda m: m[:, ::2]),
    "columns of rows of it": (np.s_[10:150, 1:5], lambda m: m[10:][:140][:, 1:5]),
    "turned over and back": (np.s_[:], lambda m: m.T[::-1][::-1].T),
}


@pytest.mark.parametrize("dtype", ["f8", ">f8", "f4", "i2"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("view", VIEWS)
def test_a_map_in_any_order_gives_the_same_bits(view, order, dtype, in_pieces, tmp_path):
    x = np.asarray(X / 256 if "f" in dtype else X % 100).astype(dtype)
    np.save(tmp_path / "x.npy", np.asarray(x, order=order))
    mapped = VIEWS[view][1](np.load(tmp_path / "x.npy", mmap_mode="r"))
    expected = x[VIEWS[view][0]].astype(float)
    rows = sources.as_table(mapped, "X", expected.shape[1:], None)
    assert isinstance(rows, sources.LazyTable)
    index = rng.permutation(len(expected))
    assert rows[index].tobytes() == expected[index].tobytes()
    assert rows[:].tobytes() == rows.select(index)[np.argsort(index)].tobytes()
    labels = Y[: len(expected)]
    nets = [Network(expected.shape[1], [Dense(3, "softmax")], seed=0) for _ in range(2)]
    for net, given in zip(nets, (mapped, np.ascontiguousarray(expected)), strict=True):
        net.fit(given, labels, epochs=2)
    assert nets[0].parameters.tobytes() == nets[1].parameters.tobytes()


def test_pages_of_a_map_in_fortran_order_stay_until_their_column_is_read(
    in_pieces, tmp_path, monkeypatch
):
    times = []
    monkeypatch.setattr(sources, "_let_go", times.append)
    monkeypatch.setattr(sources, "TOGETHER", 1)
    np.save(tmp_path / "x.npy", np.asfortranarray(X))
    rows = sources.LazyTable(np.load(tmp_path / "x.npy", mmap_mode="r"), "X")
    rows[rng.permutation(ROWS)]
    assert len(times) == 1  # all columns lie together
    monkeypatch.setattr(sources, "SEGMENT", 60)
    rows[rng.permutation(ROWS)]
    assert 1 + 3 * COLUMNS <= len(times) <= 2 + 4 * COLUMNS


def test_a_number_that_is_not_finite_is_found_when_it_is_read(in_pieces, monkeypatch):
    x = scaled(X)
    x[150, 2] = np.nan
    net = network()
    before = net.theta.tobytes()
    with pytest.raises(DataError, match="row 150, column 2"):  # at a first look
        net.fit(x, Y, epochs=1)
    assert net.theta.tobytes() == before
    monkeypatch.setattr(advice, "check_fit", lambda *_: None)
    with pytest.raises(DataError, match="X must be finite, but is NaN at row 150, column 2"):
        net.fit(x, Y, epochs=1, shuffle=False, batch_size=10)
    possible = set()  # the pieces before it are trained
    for rows in range(100, 151, 10):
        other = network()
        other.fit(x[:rows], Y[:rows], epochs=1, shuffle=False, batch_size=10)
        possible.add(other.theta.tobytes())
    assert net.theta.tobytes() in possible
    with pytest.raises(DataError, match="row 150"):
        net.predict(x)


def test_what_cannot_be_read_is_refused_before(in_pieces):
    net = network()
    with pytest.raises(ShapeError, match=r"\(samples, 6\)"):
        net.fit(scaled(X)[:, :5], Y)
    with pytest.raises(DataError, match="at least one sample"):
        net.predict(scaled(X)[:0])
    with pytest.raises(DataError, match="LBFGS wants X as one array"):
        net.fit(scaled(X), Y, optimizer=pycnn.LBFGS(), batch_size=None)


def test_a_divergence_goes_back_to_the_last_finite_step(in_pieces, backend):
    net = Network(COLUMNS, [Dense(1)], seed=0, backend=backend)
    whole = Network(COLUMNS, [Dense(1)], seed=0, backend=backend)
    for one, x in ((net, X), (whole, X.astype(float))):
        with pytest.raises(DivergedError):
            one.fit(x, Y, epochs=20, optimizer=SGD(1.0))
    assert net.parameters.tobytes() == whole.parameters.tobytes()
    assert np.isfinite(net.parameters).all()


def test_resume_reads_on(in_pieces, tmp_path):
    x, options = scaled(X), {"epochs": 6, "optimizer": Adam(), "augment": GaussianNoise(0.1)}
    straight = network()
    straight.fit(x, Y, **options)

    def stop(net, epoch, logs):
        if epoch == 3:
            raise KeyboardInterrupt

    net = network()
    with pytest.raises(KeyboardInterrupt):
        net.fit(x, Y, callbacks=[stop], **options)
    net.save(tmp_path / "model.safetensors", training_state=True)
    other = pycnn.load(tmp_path / "model.safetensors")
    other.fit(x, Y, resume=True, callbacks=[lambda *_: None], **options)
    assert other.theta.tobytes() == straight.theta.tobytes()


def test_partial_fit_and_diagnosis_read_rows(in_pieces):
    x = scaled(X)
    net, other = network(), network()
    net.partial_fit(x, Y)
    other.partial_fit(x.astype(float), Y)
    assert net.theta.tobytes() == other.theta.tobytes()
    history = net.fit(x, Y, epochs=1, diagnose=True)
    assert "gradient_norm_1" in history


def test_sparse_rows():
    sparse = pytest.importorskip("scipy.sparse")
    x = np.where(rng.random((ROWS, COLUMNS)) < 0.3, X / 256, 0.0)
    expected = network()
    expected.fit(x, Y, epochs=2, validation_data=(x, Y))
    for limit, kind in ((0, sparse.csr_array), (1 << 30, sparse.csr_matrix), (0, sparse.coo_array)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sources, "WHOLE", limit)
            patch.setattr(sources, "PIECE", 40 * COLUMNS * 8)
            net = network()
            net.fit(kind(x), Y, epochs=2, validation_data=(kind(x), Y))
            assert net.theta.tobytes() == expected.theta.tobytes()
            assert net.predict(kind(x)).tobytes() == expected.predict(x).tobytes()
            assert net.evaluate(kind(x), Y) == pytest.approx(expected.evaluate(x, Y), rel=1e-13)
    with pytest.raises(DataTypeError, match="real numbers"):
        network().fit(sparse.csr_array(x * 1j), Y)


# ------------------------------------------------------------------ iterables of mini-batches


class Loader:
    """Mini-batches in a fixed order, as often as one asks."""

    def __init__(self, size=16, length=True):
        self.size, self.passes = size, 0
        if length:
            self.__class__ = SizedLoader

    def __iter__(self):
        self.passes += 1
        x = X / 256
        return iter(
            [(x[i : i + self.size], Y[i : i + self.size]) for i in range(0, ROWS, self.size)]
        )


class SizedLoader(Loader):
    def __len__(self):
        return -(-ROWS // self.size)


def functional():
    return iter(Loader())


@pytest.mark.parametrize(
    "optimizer", [SGD(0.1), Adam(), SGD(StepDecay(0.1, 0.5, 2), clip_norm=1.0)]
)
@pytest.mark.parametrize("make", [Loader, lambda: list(Loader()), lambda: Loader(length=False)])
def test_batches_train_as_their_rows_do(make, optimizer, backend):
    source = make()
    rows, batches = network(backend), network(backend)
    settings = {"epochs": 3, "optimizer": optimizer, "validation_data": (X / 256, Y)}
    if type(source) is Loader and "Step" in repr(optimizer):
        with pytest.raises(DataError, match="X must have a length"):
            batches.fit(source, **settings)
        return
    expected = rows.fit(X / 256, Y, batch_size=16, shuffle=False, **settings)
    history = batches.fit(source, **settings)
    assert batches.theta.tobytes() == rows.theta.tobytes()
    assert dict(history) == dict(expected)
    assert np.array_equal(batches.classes, rows.classes)


def test_a_function_and_a_generator():
    expected, net, once = network(), network(), network()
    expected.fit(X / 256, Y, batch_size=16, shuffle=False, epochs=1)
    net.fit(functional, epochs=1)
    once.fit(functional(), epochs=1)
    assert net.theta.tobytes() == once.theta.tobytes() == expected.theta.tobytes()
    with pytest.raises(DataError, match="only once"):
        once.fit(functional(), epochs=2)


def test_batches_with_weights_and_augmentation():
    weight = np.arange(ROWS) % 3
    batches = [(x, y, weight[i * 16 : i * 16 + 16]) for i, (x, y) in enumerate(Loader())]
    rows, net = network(), network()
    rows.fit(
        X / 256, Y, batch_size=16, shuffle=False, epochs=2, sample_weight=weight, augment=Mixup(0.2)
    )
    net.fit(batches, epochs=2, augment=Mixup(0.2))
    assert net.theta.tobytes() == rows.theta.tobytes()


def test_batches_resume_in_the_middle(tmp_path):
    class Stop(Callback):
        def on_epoch_end(self, network, epoch, logs):
            if epoch == 2:
                raise KeyboardInterrupt

    straight, net = network(), network()
    straight.fit(Loader(), epochs=4, optimizer=Adam())
    with pytest.raises(KeyboardInterrupt):
        net.fit(Loader(), epochs=4, optimizer=Adam(), callbacks=[Stop()])
    other = pickle.loads(pickle.dumps(net))
    other.fit(Loader(), epochs=4, optimizer=Adam(), resume=True, callbacks=[Callback()])
    assert other.theta.tobytes() == straight.theta.tobytes()


class Misjudged(Loader):
    """Says another length than it has."""

    def __init__(self, said):
        super().__init__(length=False)
        self.said = said

    def __len__(self):
        return self.said


@pytest.mark.parametrize("said", [0, 1, 5, 12, 14, 400])
def test_all_of_an_iterable_is_trained_on_whatever_its_length_says(said, backend):
    seen = []

    def watch(net, epoch, logs):
        seen.append((epoch, logs["batch"], logs["batches"] >= logs["batch"]))

    settings = {"epochs": 3, "optimizer": SGD(StepDecay(0.1, 0.5, 1), clip_norm=1.0)}
    right, net = network(backend), network(backend)
    expected = right.fit(Loader(), **settings)
    with pytest.warns(DataWarning, match=f"length of {said}, but has yielded 13 mini") as told:
        history = net.fit(
            Misjudged(said), callbacks=LambdaCallback(on_batch_group_end=watch), **settings
        )
    assert len(told) == 1
    assert net.theta.tobytes() == right.theta.tobytes()
    assert dict(history) == dict(expected)
    assert history.epochs == 3
    assert [entry for entry in seen if entry[1] == 13] == [(e, 13, True) for e in (1, 2, 3)]
    assert all(entry[2] for entry in seen)


@pytest.mark.parametrize("said", [5, 30])
@pytest.mark.parametrize(("epoch", "batch"), [(1, 6), (2, 1), (2, 13), (3, 6)])
def test_a_training_on_an_iterable_of_a_wrong_length_resumes(said, epoch, batch, tmp_path):
    class Stop(Callback):
        def on_batch_group_end(self, network, at, logs):
            if at == epoch and logs["batch"] >= batch:
                network.save(tmp_path / "model", training_state=True)
                raise KeyboardInterrupt

    settings = {"epochs": 4, "optimizer": Adam(CosineDecay(0.01))}
    straight, net = network(), network()
    with pytest.warns(DataWarning, match="length of"):
        straight.fit(Misjudged(said), **settings)
    with pytest.raises(KeyboardInterrupt):
        net.fit(Misjudged(said), callbacks=[Stop()], **settings)
    other = pycnn.load(tmp_path / "model")
    other.fit(Misjudged(said), resume=True, callbacks=[Callback()], **settings)
    assert other.theta.tobytes() == straight.theta.tobytes()
    assert dict(other.history) == dict(straight.history)


def test_an_iterable_that_does_not_end_is_told_from_one_that_says_too_little():
    class Endless(Misjudged):
        def __iter__(self):
            return itertools.cycle(super().__iter__())

    with pytest.raises(DataError, match="length of 13, but has yielded 1130 mini-batches and goes"):
        network().fit(Endless(13), epochs=2)


def test_a_length_that_cannot_be_told_is_unknown():
    class Stream(Loader):
        def __len__(self):
            raise NotImplementedError

    net, other = network(), network()
    net.fit(Stream(length=False), epochs=2, optimizer=SGD(0.1, clip_norm=0.5))
    other.fit(Loader(), epochs=2, optimizer=SGD(0.1, clip_norm=0.5))
    assert net.theta.tobytes() == other.theta.tobytes()
    assert net.history["gradient_norm"] == other.history["gradient_norm"]


def test_a_buffer_that_is_filled_again_for_each_mini_batch_will_do():
    x, y = np.empty((16, COLUMNS)), np.empty(16, np.intp)

    def refilled():
        for first in range(0, 192, 16):
            x[:], y[:] = X[first : first + 16] / 256, Y[first : first + 16]
            yield x, y

    net, other = network(), network()
    net.fit(refilled, epochs=2)
    other.fit(X[:192] / 256, Y[:192], epochs=2, batch_size=16, shuffle=False)
    assert net.theta.tobytes() == other.theta.tobytes()


def test_a_generator_resumes_behind_what_it_has_done_before(tmp_path):
    class Stop(Callback):
        def on_batch_group_end(self, network, epoch, logs):
            if logs["batch"] >= 6:
                network.save(tmp_path / "model", training_state=True)
                raise KeyboardInterrupt

    straight, net = network(), network()
    straight.fit(Loader(), epochs=1)
    with pytest.raises(KeyboardInterrupt):
        net.fit((batch for batch in Loader()), epochs=1, callbacks=[Stop()])
    other = pycnn.load(tmp_path / "model")
    other.fit((batch for batch in Loader()), epochs=1, resume=True, callbacks=[Callback()])
    assert other.theta.tobytes() == straight.theta.tobytes()


@pytest.mark.parametrize(
    ("source", "options", "error", "words"),
    [
        ([], {}, DataError, "y must be given"),
        (X / 256, {}, DataError, "y must be given"),
        (lambda: iter([]), {}, DataError, "at least one mini-batch"),
        ([(X / 256, Y, Y * 0.0, None, 3)], {}, DataError, "y must be given"),
        (lambda: iter([X / 256]), {}, DataTypeError, "mini-batch 0 of X must be"),
        (lambda: 5, {}, DataTypeError, "X must return an iterator of mini-batches .*, got 5"),
        (lambda: None, {}, DataTypeError, "X must return an iterator of mini-batches .*, got None"),
        ([(X / 256, Y[:-1])], {}, ShapeError, "y in mini-batch 0"),
        ([(X[:, :2] / 256, Y)], {}, ShapeError, "x in mini-batch 0"),
        ([(X / 256, Y)], {"sample_weight": Y}, DataError, "sample_weight"),
        ([(X / 256, Y)], {"validation_split": 0.5}, DataError, "validation_split"),
        ([(X / 256, Y)], {"diagnose": True}, DataError, "diagnose"),
        ([(X / 256, Y)], {"optimizer": pycnn.LBFGS()}, DataError, "LBFGS"),
    ],
)
def test_batches_that_cannot_be(source, options, error, words):
    with pytest.raises(error, match=words):
        network().fit(source, **options)


# ------------------------------------------------------------------ augmentation


def test_augmentation_follows_from_seed_and_epoch(backend):
    once, twice, other = network(backend), network(backend), network(backend)
    once.fit(X / 256, Y, epochs=4, augment=GaussianNoise(0.2))
    twice.fit(X / 256, Y, epochs=2, augment=GaussianNoise(0.2))
    twice.fit(X / 256, Y, epochs=2, augment=GaussianNoise(0.2))
    other.fit(X / 256, Y, epochs=4)
    assert once.theta.tobytes() == twice.theta.tobytes() != other.theta.tobytes()


def test_augmenters_get_copies_and_one_hot_rows():
    seen = []

    def watch(x, y, rng):
        seen.append((x.shape, y.shape, float(rng.random())))
        x[:] = 0
        return x, y

    x = X / 256
    before = x.copy()
    network().fit(x, Y, epochs=2, batch_size=100, shuffle=False, augment=watch)
    assert np.array_equal(x, before)
    assert [s[:2] for s in seen[:3]] == [
        ((100, 6), (100, 3)),
        ((100, 6), (100, 3)),
        ((1, 6), (1, 3)),
    ]
    assert len({s[2] for s in seen}) == 6


@pytest.mark.parametrize(
    ("augment", "error", "words"),
    [
        (3, DataTypeError, "augment must be a function"),
        ([GaussianNoise(0.1), 3], DataTypeError, "augment must be a function"),
        (lambda x, y, rng: x, DataTypeError, "must return"),
        (lambda x, y, rng: (x[:-1], y), ShapeError, "must keep the shapes"),
        (lambda x, y, rng: (x * np.nan, y), DataError, "must be finite"),
    ],
)
def test_augmenters_that_cannot_be(augment, error, words):
    with pytest.raises(error, match=words):
        network().fit(X / 256, Y, epochs=1, augment=augment)


# ------------------------------------------------------------------ targets not observed


def test_each_task_learns_from_its_own_targets(backend):
    x = rng.normal(size=(300, 4))
    truth = x @ rng.normal(size=(4, 3)) + 1
    gaps = rng.random(truth.shape) < 0.5
    y = np.where(gaps, np.nan, truth)
    net = Network(4, [Dense(3)], seed=0, backend=backend)
    history = net.fit(x, y, epochs=60, missing_targets="mask", validation_split=0.2)
    assert history["loss"][-1] < 1e-6
    assert history["val_r2"][-1] > 0.9999
    assert np.abs(net.predict(x) - truth).max() < 0.01
    scores = net.evaluate(x, y, missing_targets="mask")
    assert scores["r2"] > 0.9999
    assert network_of_numbers_is(net, x, y, gaps)


def network_of_numbers_is(net, x, y, gaps):
    """R^2 over what has been observed."""
    a, seen = net.predict(x), ~gaps
    means = np.array([y[seen[:, j], j].mean() for j in range(3)])
    variation = sum(((y[seen[:, j], j] - means[j]) ** 2).sum() for j in range(3))
    error = ((a - y)[seen] ** 2).sum()
    return abs(net.evaluate(x, y, missing_targets="mask")["r2"] - (1 - error / variation)) < 1e-12


def test_gaps_are_a_mistake_unless_told():
    x, y = rng.normal(size=(9, 2)), np.array([[1.0, np.nan]] * 9)
    net = Network(2, [Dense(2)], seed=0)
    with pytest.raises(DataError, match="y must be finite, but is NaN at row 0, column 1"):
        net.fit(x, y)
    with pytest.raises(pycnn.exceptions.UnknownNameError, match="missing_targets"):
        net.fit(x, y, missing_targets="ignore")
    with pytest.raises(DataError, match="infinite"):
        net.fit(x, y * np.inf, missing_targets="mask")
    classes = Network(2, [Dense(2, "softmax")], seed=0)
    with pytest.raises(DataError, match="sum over the outputs"):
        classes.fit(x, y, missing_targets="mask")


def test_multi_label_with_gaps(backend):
    x = rng.normal(size=(200, 4))
    truth = (x[:, :3] > 0).astype(float)
    y = np.where(rng.random(truth.shape) < 0.4, np.nan, truth)
    net = Network(4, [Dense(3, "sigmoid")], seed=0, backend=backend)
    history = net.fit(x, y, epochs=80, optimizer=SGD(1.0), missing_targets="mask")
    assert history["accuracy"][-1] > 0.95
    assert (net.predict_classes(x) == truth).mean() > 0.95
