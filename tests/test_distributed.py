"""Training beyond one machine: the same bits, whoever sums the gradients."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import pycnn
from pycnn import distributed
from pycnn.distributed import _dask, _engines, _shard, _training, _tree
from pycnn.exceptions import DataError, DataTypeError, ShapeError, WorkerLostError

ROWS = 1000
RNG = np.random.default_rng(4)
X = RNG.normal(size=(ROWS, 6))
Y = (X[:, 0] * X[:, 1] > 0).astype(int) + (X[:, 2] > 0)
SIZE = 64  # rows of a chunk: 16 chunks
IMAGES = np.abs(RNG.normal(size=(192, 12, 12, 1))).clip(0, 1)
LENGTHS = RNG.integers(1, 4, ROWS)
KINDS = (
    *("full batch", "mini-batches", "dropout", "Adam", "LBFGS", "images", "sequences"),
    *("balanced", "augmented"),
)


def make(kind, backend="auto"):
    """Return a network, data, and how it is trained on them."""
    how = {"epochs": 10, "chunk_rows": SIZE}
    layers = [pycnn.Dense(8, "tanh"), pycnn.Dense(3, "softmax")]
    data = X, Y
    if kind == "mini-batches":
        how["batch_size"] = 4 * SIZE
    elif kind == "dropout":
        layers.insert(1, pycnn.Dropout(0.3))
        how["batch_size"] = 4 * SIZE
    elif kind == "Adam":
        schedule = pycnn.schedules.CosineDecay(0.02)
        how |= {"optimizer": pycnn.Adam(schedule, clip_norm=1.0), "batch_size": 4 * SIZE}
    elif kind == "LBFGS":
        how["optimizer"] = "lbfgs"
    elif kind == "images":  # LeCun et al. 1998, smaller
        layers = [
            *(pycnn.Conv2D(3, 3, "tanh"), pycnn.AveragePool2D(2), pycnn.Conv2D(4, 2, "tanh")),
            *(pycnn.Flatten(), pycnn.Dense(3, "softmax")),
        ]
        data = IMAGES, Y[: len(IMAGES)]
        how["chunk_rows"] = 16
    elif kind == "sequences":  # Hochreiter & Schmidhuber 1997
        layers[0] = pycnn.LSTM(4)
        data = X.reshape(-1, 3, 2), Y, None, LENGTHS
        how["batch_size"] = 4 * SIZE
    elif kind == "balanced":
        how |= {"class_weight": "balanced", "batch_size": 4 * SIZE}
    elif kind == "augmented":
        noise = [lambda x, y, rng: (x + 0.1 * rng.random(x.shape), y), pycnn.augmentation.Mixup()]
        data = X[: 5 * SIZE], Y[: 5 * SIZE]
        how |= {"augment": noise, "batch_size": SIZE}
    return pycnn.Network(data[0].shape[1:], layers, seed=3, l2=1e-3, backend=backend), data, how


def sha(net):
    return hashlib.sha256(net.theta.tobytes()).hexdigest()


def train(kind, **where):
    net, data, how = make(kind)
    distributed.fit(net, data, **how, **where)
    return sha(net)


@pytest.fixture(scope="module")
def at_home():
    return {kind: train(kind) for kind in KINDS}


class Several:
    """An engine of several shares, one after the other."""

    def __init__(self, count):
        self.count, self.sources, self.survey = count, HERE.sources, HERE.survey

    def begin(self, state, sources, chunks):
        self.limits = chunks.shares(self.count, [False] * len(sources))
        self.shards = []
        for (first, end), last in zip(_engines.ranges(self.limits), self.limits[1:], strict=True):
            self.shards.append(_shard.Shard(state, chunks.size, first, end))
            for held in _engines.held_of(sources, chunks, first, last):
                self.shards[-1].hold(held)

    def sums(self, theta, numbers, *random):
        parts = _engines.split(numbers, self.limits)
        pairs = zip(self.shards, parts, strict=True)
        return _engines.add_up(
            _engines.check(shard.sums(theta, part, *random)) for shard, part in pairs if len(part)
        )

    def end(self):
        pass


HERE = _engines.Here()


# ------------------------------------------------------------------ the sums


def test_a_tree_sums_to_the_same_bits_wherever_its_leaves_lie():
    rng = np.random.default_rng(0)
    leaves = rng.normal(size=(200, 3)) * 10.0 ** rng.integers(-9, 9, (200, 1))
    for _ in range(100):
        numbers = np.sort(rng.permutation(200)[: rng.integers(1, 200)])
        whole = _engines.add_up([(numbers.tolist(), leaves[numbers])])
        limits = [0, *np.sort(rng.integers(0, 201, rng.integers(0, 6))).tolist(), 200]
        nodes = []
        parts = _engines.split(numbers, limits)
        for (first, end), part in zip(_engines.ranges(limits), parts, strict=True):
            tree = _tree.Tree(first, end)
            for number in part.tolist():
                tree.add(number, leaves[number].copy())
            nodes += tree.finish()
        total = _engines.add_up([([n for n, _ in nodes], [v.copy() for _, v in nodes])])
        assert total.tobytes() == whole.tobytes()


def test_a_tree_over_neighbours_is_the_binary_tree():
    tree = _tree.Tree()
    for number, leaf in enumerate((1e16, 1.0, 1.0, 1.0)):
        tree.add(number, np.array([leaf]))
    [(_, total)] = tree.finish()
    assert total == (1e16 + 1.0) + (1.0 + 1.0) != ((1e16 + 1.0) + 1.0) + 1.0


def test_shares_are_few_subtrees():
    chunks = distributed._sources.Chunks([4096 * 1000 + 1], 4096)
    limits = chunks.shares(3, [False])
    assert limits == [0, 320, 672, 1001]
    for first, end in _engines.ranges(limits):
        tree = _tree.Tree(first, end)
        for number in range(first, min(end, chunks.count)):
            tree.add(number, np.zeros(1))
        assert len(tree.finish()) <= 4


# ------------------------------------------------------------------ what is computed


@pytest.mark.parametrize("kind", KINDS)
def test_bits_do_not_depend_on_how_many_compute(kind, at_home, monkeypatch):
    for count in (2, 3, 7):
        monkeypatch.setattr(_training, "Here", lambda count=count: Several(count))
        assert train(kind) == at_home[kind]


@pytest.mark.twin_when_thorough
@pytest.mark.parametrize("kind", KINDS)
def test_it_does_what_fit_does(kind, backend):
    nets, histories = [], []
    for epochs, bound in ((1, 1e-12), (10, 1e-6 if kind in ("LBFGS", "images") else 1e-9)):
        if epochs == 1 and "batch_size" in make(kind)[2]:
            continue  # an epoch of several steps
        near, (x, y, *others), how = make(kind, backend)
        far, *_ = make(kind, backend)
        how |= {"epochs": epochs, "shuffle": False}
        histories = [distributed.fit(far, (x, y, *others), **how)]
        del how["chunk_rows"]
        how |= dict(zip(("sample_weight", "lengths"), others, strict=False))
        histories.append(near.fit(x, y, **({"batch_size": None} | how)))
        nets = [far, near]
        assert abs(far.theta - near.theta).max() < bound
    assert list(histories[0]) == list(histories[1])
    assert nets[0].epochs_trained == nets[1].epochs_trained == histories[0].epochs
    for name, values in histories[0].items():
        assert values == pytest.approx(histories[1][name], rel=1e-6)
    assert nets[0].classes.tolist() == nets[1].classes.tolist() == [0, 1, 2]


def test_weights_count_and_regressions_learn():
    net = pycnn.Network(6, [pycnn.Dense(1)], seed=0)
    y = X @ np.arange(6.0)
    weight = RNG.integers(0, 3, ROWS).astype(float)
    weight[:SIZE] = 0.0  # a chunk without any
    history = distributed.fit(net, (X, y, weight), epochs=30, batch_size=SIZE, chunk_rows=SIZE)
    assert history["loss"][-1] < 1e-6
    other = pycnn.Network(6, [pycnn.Dense(1)], seed=0)
    distributed.fit(other, (X, y), epochs=30, batch_size=SIZE, chunk_rows=SIZE)
    assert sha(net) != sha(other)


@pytest.mark.parametrize("sequences", [False, True])
def test_targets_that_were_not_observed_add_nothing(sequences, tmp_path):
    layers = [pycnn.Dense(4, "tanh"), pycnn.Dense(1, "sigmoid")]
    x, y = X, np.where(Y > 1, np.nan, Y)
    if sequences:
        layers = [pycnn.GRU(2, return_sequences=True), pycnn.Dense(3, "softmax")]
        x, y = X.reshape(-1, 3, 2), np.repeat(Y[:, None], 3, 1)
        y[::2] = -1
        y[LENGTHS[:, None] <= np.arange(3)] = 9  # behind the end
    nets = [pycnn.Network(x.shape[1:], layers, seed=0) for _ in range(2)]
    given = (None, LENGTHS) if sequences else ()
    how = {"epochs": 3, "missing_targets": "mask", "class_weight": "balanced"}
    save(tmp_path, x, y, 4)
    if sequences:
        for i, part in enumerate(np.array_split(LENGTHS, 4)):
            np.save(tmp_path / f"l-{i}.npy", part)
    names = [str(tmp_path / name) for name in ("x-*", "y-*", "l-*")]
    files = distributed.from_npy(*names[:2], lengths=names[2] if sequences else None)
    distributed.fit(nets[0], files, chunk_rows=50, **how)
    how |= dict(zip(("sample_weight", "lengths"), given, strict=False))
    nets[1].fit(x, y, batch_size=None, **how)
    assert abs(nets[0].theta - nets[1].theta).max() < 1e-12
    assert nets[0].classes.tolist() == nets[1].classes.tolist()


def test_labels_are_those_of_all_parts(tmp_path):
    names = np.array(["a", "b", "c"])[Y]
    order = np.argsort(names, kind="stable")  # the first part has but one of them
    files = save(tmp_path, X[order], names[order], 4)
    net = pycnn.Network(6, [pycnn.Dense(3, "softmax")], seed=0)
    distributed.fit(net, files, epochs=1, chunk_rows=50)
    assert net.classes.tolist() == ["a", "b", "c"]
    assert net.predict_classes(X[:2]).dtype.kind == "U"


@pytest.mark.parametrize("names", ["abc", (5, 6, 7)])
def test_labels_in_a_column_are_those_of_all_rows(names):
    order = np.argsort(Y, kind="stable")  # the first rows have but one of them
    net = pycnn.Network(6, [pycnn.Dense(3, "softmax")], seed=0)
    column = np.array(list(names))[Y[order], None]
    distributed.fit(net, (X[order], column), epochs=1)
    assert net.classes.tolist() == list(names)


def test_labels_of_positions_are_those_of_all_rows():
    layers = [pycnn.GRU(2, return_sequences=True), pycnn.Dense(3, "softmax")]
    net = pycnn.Network((3, 2), layers, seed=0)
    order = np.argsort(Y, kind="stable")
    names = np.repeat(np.array(["a", "b", "c"])[Y[order], None], 3, 1)
    distributed.fit(net, (X.reshape(-1, 3, 2), names), epochs=1)
    assert net.classes.tolist() == ["a", "b", "c"]


def save(folder, x, y, count):
    """Write `count` pairs of files; return what describes them."""
    for i, (some, targets) in enumerate(
        zip(np.array_split(x, count), np.array_split(y, count), strict=True)
    ):
        np.save(folder / f"x-{i}.npy", some)
        np.save(folder / f"y-{i}.npy", targets)
    return distributed.from_npy(str(folder / "x-*.npy"), folder / "y-*.npy")


def test_files_and_maps_give_the_bits_of_arrays(tmp_path, at_home, monkeypatch):
    monkeypatch.setattr(_training, "Here", lambda: Several(3))
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    net, _, how = make("mini-batches")
    files = distributed.from_npy(tmp_path / "x.npy", tmp_path / "y.npy")
    assert repr(files) == "<1 parts of files, 1000 rows>"
    distributed.fit(net, files, **how)
    assert sha(net) == at_home["mini-batches"]
    net, *_ = make("mini-batches")
    maps = tuple(np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "xy")
    distributed.fit(net, maps, **how)
    assert sha(net) == at_home["mini-batches"]


def test_a_map_travels_as_the_name_of_its_file(tmp_path):
    import pickle

    np.save(tmp_path / "x.npy", X)
    table = np.load(tmp_path / "x.npy", mmap_mode="r")
    for tables in ((table, Y), (np.asfortranarray(X), Y)):
        source = distributed._sources.from_arrays(tables)[0].cut(100, 300)
        content = pickle.dumps(source)
        x, y, weight, lengths = pickle.loads(content).open()
        assert (x == X[100:300]).all()
        assert (y == Y[100:300]).all()
        assert weight is lengths is None
        assert (len(content) < 5000) == (tables[0] is table)
    part = distributed._sources.from_arrays((table[50:], Y[50:]))[0]
    assert (pickle.loads(pickle.dumps(part)).open()[0] == X[50:]).all()
    part = distributed._sources.from_arrays((table, Y))[0].cut(100, 300)
    again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(part)).cut(20, 50)))
    assert again.rows == 30
    assert all((a == b[120:150]).all() for a, b in zip(again.open()[:2], (X, Y), strict=True))
    own = np.load(tmp_path / "x.npy", mmap_mode="c")
    own[3] = 7  # in memory alone
    part = distributed._sources.from_arrays((own, Y))[0]
    assert (pickle.loads(pickle.dumps(part)).open()[0] == own).all()


@pytest.mark.thorough  # pandas and pyarrow take seconds to import
def test_row_groups_give_the_bits_of_arrays(tmp_path, at_home):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame(X, columns=list("abcdef")).assign(kind=Y, w=1.0)
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=3 * SIZE)
    for path in (tmp_path, tmp_path / "t.parquet"):
        net, _, how = make("mini-batches")
        files = distributed.from_parquet(path, target="kind", sample_weight="w")
        distributed.fit(net, files, **how)
        assert sha(net) == at_home["mini-batches"]
        assert net.feature_names == tuple("abcdef")
    with pytest.raises(DataError, match="no column 'kinds'"):
        distributed.from_parquet(path, target="kinds")
    for wrong, how in ((5, {}), ([5], {}), ([], {}), ("w", {"sample_weight": "w"})):
        with pytest.raises((DataError, DataTypeError), match=r"target must|target and"):
            distributed.from_parquet(path, target=wrong, **how)
    with pytest.raises(DataTypeError, match="sample_weight must be a column's name"):
        distributed.from_parquet(path, target="kind", sample_weight=["w"])
    (tmp_path / "text.parquet").write_text("text")
    with pytest.raises(DataError, match=r"text\.parquet is no Parquet file"):
        distributed.from_parquet(tmp_path / "text.parquet", target="kind")


@pytest.mark.thorough
def test_targets_may_be_the_index_of_a_frame_and_errors_name_the_row_group(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame(X, columns=list("abcdef")).assign(kind=Y).set_index("kind")
    frame.to_parquet(tmp_path / "t.parquet")
    files = distributed.from_parquet(tmp_path / "t.parquet", target="kind")
    net, *_ = make("full batch")
    distributed.fit(net, files, epochs=1)
    assert net.feature_names == tuple("abcdef")
    frame.iloc[650, 2] = np.nan
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=300)
    files = distributed.from_parquet(tmp_path / "t.parquet", target="kind")
    with pytest.raises(DataError, match=r"row 50,.*row 600 of the data; in row group 2 of.*t.parq"):
        distributed.fit(net, files, epochs=1)


# ------------------------------------------------------------------ what goes on around it


@pytest.mark.parametrize("kind", ["dropout", "LBFGS"])
def test_what_was_interrupted_goes_on_to_the_same_bits(kind, at_home, tmp_path):
    net, data, how = make(kind)
    path = tmp_path / "model.safetensors"

    class Killed(Exception):
        pass

    def kill(net, epoch, logs):
        if epoch == 4:
            net.save(path, training_state=True)
        if epoch == 6:
            raise Killed

    with pytest.raises(Killed):
        distributed.fit(net, data, callbacks=[kill], **how)
    for again in (net, pycnn.load(path)):
        history = distributed.fit(again, data, resume=True, **how)
        assert sha(again) == at_home[kind]
        assert history.epochs == 10
    again = pycnn.load(path)
    with pytest.raises(DataError, match="chunk_rows was 64 and is now 32"):
        distributed.fit(again, data, resume=True, **(how | {"chunk_rows": 32}))
    with pytest.raises(DataError, match="chunk_rows was 64 and is now None"):
        again.fit(*data, batch_size=how.get("batch_size"), resume=True, optimizer="sgd")


def test_it_goes_on_with_the_same_chunks_of_other_parts_and_with_no_other_data(tmp_path):
    net, data, how = make("mini-batches")
    stop = lambda net, epoch, logs: setattr(net, "stop_training", epoch == 4)  # noqa: E731
    distributed.fit(net, data, callbacks=[stop], **how)
    whole, *_ = make("mini-batches")
    distributed.fit(whole, data, **how)
    scaled = X.copy()
    scaled[:, 2] *= 1.01
    with pytest.raises(DataError, match=r"data was '[0-9a-f]{8}' and is now"):
        distributed.fit(net, (scaled, Y), resume=True, **how)
    for i, rows in enumerate((slice(8 * SIZE), slice(8 * SIZE, None))):
        np.save(tmp_path / f"x-{i}.npy", X[rows])
        np.save(tmp_path / f"y-{i}.npy", Y[rows])
    files = distributed.from_npy(str(tmp_path / "x-*"), str(tmp_path / "y-*"))
    distributed.fit(net, files, resume=True, **how)
    assert sha(net) == sha(whole)


def test_early_stopping_and_validation_are_those_of_fit():
    net, data, how = make("mini-batches")
    stop = pycnn.callbacks.EarlyStopping(patience=2, monitor="val_loss")
    rates = pycnn.optimizers.SGD(2.0)
    how |= {"epochs": 200, "optimizer": rates, "shuffle": False}
    there = {"validation_data": (X[:100], Y[:100]), "metrics": ["f1"], "validation_every": 2}
    history = distributed.fit(net, data, callbacks=[stop], **how, **there)
    assert history.epochs < 200
    near, *_ = make("mini-batches")
    del how["chunk_rows"]
    stop = pycnn.callbacks.EarlyStopping(patience=2, monitor="val_loss")
    other = near.fit(*data, callbacks=[stop], **how, **there)
    assert history.epochs == other.epochs
    assert history["val_f1"] == pytest.approx(other["val_f1"], nan_ok=True)


def test_a_loss_that_is_not_finite_leaves_the_last_step(backend):
    net = pycnn.Network(6, [pycnn.Dense(1)], seed=0, backend=backend)
    with pytest.raises(pycnn.exceptions.DivergedError, match="learning_rate"):
        distributed.fit(net, (X, X[:, 0]), epochs=5000, optimizer=pycnn.SGD(9.0))
    assert np.isfinite(net.theta).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 100}, "multiple of chunk_rows=64, got 100"),
        ({"client": 1, "comm": 1}, "client or comm, not both"),
        ({"comm": 1}, "communicator of mpi4py, got 1"),
        ({"data": X}, "data must be"),
        ({"data": (X, Y[:9])}, "y must have X's 1000 rows"),
        ({"data": (X[:0], Y[:0])}, "at least one row"),
        ({"data": (X + np.inf, Y)}, "must be finite"),
        ({"class_weight": {7: 1.0}}, "class_weight names 7"),
        ({"class_weight": "balanced", "data": (X, np.eye(3)[Y])}, "'balanced' wants labels"),
        ({"optimizer": "lbfgs", "augment": pycnn.augmentation.Mixup()}, "no augment"),
        ({"validation_split": 0.1}, "validation_split is for Network.fit: hold rows out"),
        ({"data": (X, Y, None, LENGTHS[:5])}, "lengths must have X's 1000 rows"),
        ({"retries": -1}, "retries"),
        ({"timeout": 0}, "timeout"),
        ({"net": 1}, "net must be a Network"),
        ({"data": ({"a": X}, Y)}, "X must be an array or a table of rows"),
        ({"data": ([[1, 2], [3]], [1, 2])}, "X must be a regular array"),
        ({"data": (X, None)}, "y must be given"),
        ({"data": (X, [None, *Y[1:]])}, "y must have no gaps, but is None at row 0"),
        ({"data": (X[:, :5], Y)}, r"got \(256, 5\) \(of the first 256 rows\)"),
    ],
)
def test_what_cannot_be_trained_is_refused(change, message):
    net, data, how = make("full batch")
    given = {"net": net, "data": data} | how | change
    before = sha(net)
    with pytest.raises(pycnn.exceptions.PycnnError, match=message):
        distributed.fit(**given)
    assert sha(net) == before


def test_what_is_misspelled_is_an_error():
    net, data, how = make("full batch")
    with pytest.raises(TypeError, match="unexpected keyword argument 'epoch'"):
        distributed.fit(net, data, epoch=1, **how)


def test_statistics_of_a_batch_are_refused():
    net = pycnn.Network(6, [pycnn.BatchNorm(), pycnn.Dense(3, "softmax")], seed=0)
    with pytest.raises(DataError, match=r"no BatchNorm, as layer 1 is.*LayerNorm"):
        distributed.fit(net, (X, Y))


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    save(tmp_path, X, Y, 2)
    np.save(tmp_path / "y-9.npy", Y[:3])
    with pytest.raises(ShapeError, match="as many files each, got X 2, y 3"):
        distributed.from_npy(str(tmp_path / "x-*"), str(tmp_path / "y-*"))
    with pytest.raises(ShapeError, match="as many rows"):
        distributed.from_npy(tmp_path / "x-0.npy", tmp_path / "y-9.npy")
    with pytest.raises(DataError, match="X must name a file"):
        distributed.from_npy(tmp_path / "z-*.npy", tmp_path / "y-9.npy")
    np.savez(tmp_path / "a.npz", X)
    (tmp_path / "empty.npy").touch()
    for name in ("a.npz", "empty.npy"):
        with pytest.raises(DataError, match=f"y: .*{name} (must|cannot) be"):
            distributed.from_npy(tmp_path / "x-0.npy", tmp_path / name)


def test_files_that_are_described_are_not_open(tmp_path):
    sources = save(tmp_path, X, Y, 2).sources
    assert not any(isinstance(each, np.memmap) for source in sources for each in source.tables)


def test_sequences_of_any_length_are_refused():
    layers = [pycnn.LSTM(2), pycnn.Dense(3, "softmax")]
    net = pycnn.Network((None, 2), layers, seed=0)
    with pytest.raises(DataError, match=r"net must take.* one length.*input_shape is \(None, 2\)"):
        distributed.fit(net, (X.reshape(-1, 3, 2), Y))


@pytest.mark.parametrize("count", [1, 3])
def test_an_error_of_a_row_says_which_row_of_which_file(count, tmp_path, monkeypatch):
    monkeypatch.setattr(_training, "Here", lambda: Several(count))
    bad = X.copy()
    bad[700, 2] = np.nan
    net, _, how = make("full batch")
    for data, file in (((bad, Y), ""), (save(tmp_path, bad, Y, 2), r"; in .*x-1\.npy")):
        with pytest.raises(
            DataError, match=f"X must be finite, but is NaN at row.*{file}"
        ) as caught:
            distributed.fit(net, data, **how)
        assert sum(map(int, re.findall(r"row (\d+)", str(caught.value)))) == 700


COMM = SimpleNamespace(Get_size=lambda: 2, Get_rank=lambda: 1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((-5, COMM), "rows must be at least 0"),
        ((1.5, COMM), "rows must be an integer"),
        ((9, None), "comm must be a communicator"),
        ((9, COMM, 0), "chunk_rows must be at least 1"),
    ],
)
def test_rows_of_names_the_argument_that_is_wrong(given, message):
    rows, comm, *size = given
    with pytest.raises((DataError, DataTypeError), match=message):
        distributed.rows_of(rows, comm, chunk_rows=size[0] if size else 64)


def test_nothing_of_dask_or_mpi_is_imported_unless_it_is_used():
    program = (
        "import sys, pycnn; assert 'pycnn.distributed' not in sys.modules; "
        "import pycnn.distributed; "
        "assert not {'dask', 'distributed', 'mpi4py', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# ------------------------------------------------------------------ Dask
#
# These start processes: they run where tests are thorough, and Dask is there.

quiet = pytest.mark.filterwarnings("ignore")  # Dask's own are not for pycnn to mend


@pytest.fixture(name="cluster")
def make_cluster():
    """Start a cluster; return its client, which has so many workers."""
    dask = pytest.importorskip("distributed")
    started = []

    def start(count, **options):
        settings = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"} | options
        started.append(dask.LocalCluster(n_workers=count, host="127.0.0.1", **settings))
        started.append(dask.Client(started[-1]))
        return started[-1]

    yield start
    for each in reversed(started):
        each.close(timeout=20)


@quiet
@pytest.mark.thorough
@pytest.mark.parametrize("count", [1, 2, 3])
def test_dask_gives_the_bits_of_one_process(count, cluster, at_home):
    client = cluster(count)
    assert {kind: train(kind, client=client) for kind in KINDS} == at_home
    assert client.direct_to_workers is None  # as it was


@quiet
@pytest.mark.thorough
def test_dask_reads_collections_futures_and_files(cluster, at_home, tmp_path):
    import dask.array

    client = cluster(2)
    parts = [(X[i : i + 4 * SIZE], Y[i : i + 4 * SIZE]) for i in range(0, ROWS, 4 * SIZE)]
    maps = tuple(np.load(path, mmap_mode="r") for path in _saved(tmp_path))
    for data in (
        (dask.array.from_array(X, (4 * SIZE, 6)), dask.array.from_array(Y, 4 * SIZE)),
        client.scatter(parts),
        [dask.delayed(lambda part: part)(part) for part in parts],
        distributed.from_npy(*_saved(tmp_path)),
        maps,
    ):
        net, _, how = make("mini-batches")
        distributed.fit(net, data, client=client, **how)
        assert sha(net) == at_home["mini-batches"]
    with pytest.raises(DataError, match="rechunk"):
        distributed.fit(
            net, (dask.array.ones((10, 6), chunks=(5, 3)), dask.array.ones(10)), client=client
        )


def _saved(folder):
    np.save(folder / "x.npy", X)
    np.save(folder / "y.npy", Y)
    return folder / "x.npy", folder / "y.npy"


@quiet
@pytest.mark.thorough
@pytest.mark.skipif(os.name == "nt", reason="no such signals")
def test_an_interrupt_ends_it_at_once(cluster):
    client = cluster(1)
    net, data, how = make("mini-batches")
    times = []

    def interrupt(net, epoch, logs):
        if epoch == 5:
            threading.Timer(0.2, lambda: (times.append(time.monotonic()), os.kill(me, 2))).start()

    me = os.getpid()
    how |= {"epochs": 100_000, "callbacks": [interrupt]}
    with pytest.raises(KeyboardInterrupt):
        distributed.fit(net, data, client=client, **how)
    assert time.monotonic() - times[0] < 5  # a second, where nobody else computes
    assert net.history.epochs == net.epochs_trained >= 5


class Signal:
    """A callback that sends a worker a signal amid a training of some seconds."""

    def __init__(self, client, sign, epoch=20):
        self.pid, self.sign, self.epoch = list(client.run(os.getpid).values())[-1], sign, epoch

    def __call__(self, net, epoch, logs):
        time.sleep(0.02)
        if epoch == self.epoch:
            os.kill(self.pid, self.sign)


def long(kind="mini-batches"):
    net, data, how = make(kind)
    return net, data, how | {"epochs": 60}


@quiet
@pytest.mark.thorough
@pytest.mark.skipif(os.name == "nt", reason="no such signals")
def test_a_worker_that_is_killed_or_paused_costs_no_bit(cluster):
    net, data, how = long()
    distributed.fit(net, data, **how)
    client = cluster(3)
    for sign in (signal.SIGKILL, signal.SIGSTOP):
        again, *_ = make("mini-batches")
        disturb, started = Signal(client, sign), time.monotonic()
        distributed.fit(again, data, client=client, callbacks=[disturb], **how)
        assert sha(again) == sha(net)
        assert time.monotonic() - started < 60
        if sign == signal.SIGSTOP:
            os.kill(disturb.pid, signal.SIGCONT)


@quiet
@pytest.mark.thorough
@pytest.mark.skipif(os.name == "nt", reason="no such signals")
@pytest.mark.parametrize("when", ["_create", "_await_actor"])
def test_a_worker_that_is_lost_while_rows_are_handed_out_costs_no_bit(
    when, cluster, at_home, monkeypatch
):
    client = cluster(2)
    pids = client.run(os.getpid)
    method = getattr(_dask.Workers, when)

    def and_kill(self, share):
        method(self, share)
        if len(pids) == 2:
            os.kill(pids.pop(share.worker), signal.SIGKILL)

    monkeypatch.setattr(_dask.Workers, when, and_kill)
    assert train("mini-batches", client=client) == at_home["mini-batches"]
    assert len(pids) == 1


@quiet
@pytest.mark.thorough
@pytest.mark.skipif(os.name == "nt", reason="no such signals")
def test_where_no_worker_is_left_an_error_says_so_and_resume_goes_on(cluster, monkeypatch):
    monkeypatch.setattr(_dask, "PATIENCE", 3.0)
    net, data, how = long()
    distributed.fit(net, data, **how)
    client = cluster(1)
    again, *_ = make("mini-batches")
    disturb = Signal(client, signal.SIGSTOP)
    with pytest.raises(WorkerLostError, match="no Dask worker is left"):
        distributed.fit(again, data, client=client, callbacks=[disturb], **how)
    os.kill(disturb.pid, signal.SIGCONT)
    assert again.epochs_trained >= 20
    distributed.fit(again, data, resume=True, callbacks=[disturb], **how)
    assert sha(again) == sha(net)


@quiet
@pytest.mark.thorough
def test_an_error_of_the_data_comes_as_it_is(cluster):
    client = cluster(2)
    bad = X.copy()
    bad[700, 2] = np.nan
    futures = client.scatter([(bad[:512], Y[:512]), (bad[512:], Y[512:])])
    net, _, how = make("full batch")
    with pytest.raises(DataError, match=r"at row 188, .* from row 512 of the data"):
        distributed.fit(net, futures, client=client, **how)
    gaps = [(X, np.where(Y, Y, np.nan)) for _ in range(2)]
    with pytest.raises(DataError, match=r"y must be finite.*; in part 0 of the data"):
        distributed.fit(net, client.scatter(gaps, hash=False), client=client, **how)

    def have_another_release():
        from pycnn.distributed import _dask

        def init(self, *arguments):
            raise TypeError("another release")

        _dask.Remote.__init__ = init

    client.run(have_another_release)
    with pytest.raises(TypeError, match="another release"):
        distributed.fit(net, (X, Y), client=client, **how)


@quiet
@pytest.mark.thorough
def test_a_client_that_cannot_be_used_is_named(cluster):
    client = cluster(1)
    net, data, how = make("full batch")
    with pytest.raises(
        DataTypeError, match=r"client must be a dask\.distributed\.Client, got Local"
    ):
        distributed.fit(net, data, client=client.cluster, **how)

    def close(net, epoch, logs):
        other.close()

    other = type(client)(client.cluster)
    with pytest.raises(WorkerLostError, match="the client is closed"):
        distributed.fit(net, data, client=other, callbacks=[close], **how)
    assert net.epochs_trained == 1
    with pytest.raises(DataError, match="client must be running, but is closed"):
        distributed.fit(net, data, client=other, **how)


@quiet
@pytest.mark.thorough
@pytest.mark.skipif(os.name == "nt", reason="open files cannot be removed")
def test_what_cannot_travel_is_an_error_that_no_worker_ends_by(cluster, tmp_path):
    client = cluster(1)
    workers = client.run(os.getpid)
    maps = [np.load(path, mmap_mode="r") for path in _saved(tmp_path)]
    (tmp_path / "x.npy").unlink()
    for data in (maps, (maps[0], Y)):
        net, _, how = make("full batch")
        with pytest.raises(FileNotFoundError, match=r"x\.npy"):
            distributed.fit(net, data, client=client, **how)
    lock = threading.Lock()

    def loss(outputs, targets):
        with lock:
            return ((outputs - targets) ** 2).sum(1), 2 * (outputs - targets)

    net = pycnn.Network(6, [pycnn.Dense(1)], loss=loss)
    with pytest.raises(DataTypeError, match=r"net must be able to travel .*lock"):
        distributed.fit(net, (X, X[:, :1]), client=client)
    assert client.run(os.getpid) == workers


@quiet
@pytest.mark.thorough
@pytest.mark.skipif(os.name == "nt", reason="no such signals")
def test_rows_that_were_lost_before_it_began_are_an_error(cluster):
    client = cluster(2)
    parts = client.scatter([(X[:512], Y[:512]), (X[512:], Y[512:])])
    for pid in client.run(os.getpid).values():
        os.kill(pid, signal.SIGKILL)
    net, _, how = make("full batch")
    with pytest.raises(WorkerLostError, match="a part of the data is lost"):
        distributed.fit(net, parts, client=client, **how)


@quiet
@pytest.mark.thorough
def test_a_search_on_joblib_has_the_bits_of_one_at_home(cluster):
    joblib = pytest.importorskip("joblib")
    selection = pytest.importorskip("sklearn.model_selection")
    from pycnn.sklearn import MLPClassifier

    def native():
        """Return how many threads are not Python's, those of scikit-learn's imports among them."""
        import threading

        import psutil
        import sklearn.model_selection  # noqa: F401

        return psutil.Process().num_threads() - threading.active_count()

    def bits(model, *_):
        content = b"".join(table.tobytes() for table in model.coefs_ + model.intercepts_)
        return int(hashlib.sha256(content).hexdigest()[:12], 16)

    def search():
        model = MLPClassifier(hidden_layer_sizes=(200, 200), max_iter=2, random_state=0)
        scores = {"bits": bits, "native": lambda *_: native()}
        grid = {"alpha": [1e-4, 1e-2]}
        search = selection.GridSearchCV(model, grid, scoring=scores, cv=2, refit=False)
        result = search.fit(X, Y).cv_results_
        return [[result[f"split{i}_test_{name}"].tolist() for i in range(2)] for name in scores]

    client = cluster(2)
    before = client.run(native)
    with joblib.parallel_backend("dask"):
        found, threads = search()
    assert found == search()[0]
    assert len(set(np.ravel(found))) == 4  # different fits
    assert set(np.ravel(threads)) == set(before.values())  # pycnn has started none
    assert set(client.run(pycnn.get_num_threads).values()) == {1}


# ------------------------------------------------------------------ MPI

RANK = """
import sys
import numpy as np
from mpi4py import MPI
from pycnn import distributed
sys.path[:0] = [{tests!r}]
from test_distributed import KINDS, SIZE, make, sha
for kind in KINDS:
    net, tables, how = make(kind)
    part = distributed.rows_of(len(tables[0]), MPI.COMM_WORLD, chunk_rows=how["chunk_rows"])
    data = [table if table is None else table[part] for table in tables]
    history = distributed.fit(net, data, comm=MPI.COMM_WORLD, **how)
    assert history.epochs == net.epochs_trained and net.classes.tolist() == [0, 1, 2]
    sys.stdout.write(kind + ":" + sha(net) + "\\n")
try:
    distributed.fit(net, (data[0], data[1][:1]), comm=MPI.COMM_WORLD)
except distributed._sources.ShapeError:
    sys.stdout.write("refused\\n")
"""


@pytest.mark.thorough
@pytest.mark.parametrize("count", [1, 2, 4])
def test_mpi_gives_the_bits_of_one_process(count, at_home, tmp_path):
    pytest.importorskip("mpi4py")
    if shutil.which("mpirun") is None:
        pytest.skip("no mpirun here")
    program = tmp_path / "rank.py"
    program.write_text(RANK.format(tests=str(Path(__file__).parent)), encoding="utf-8")
    command = ["mpirun", "--oversubscribe", "--allow-run-as-root", "-n", str(count)]
    done = subprocess.run(
        [*command, sys.executable, str(program)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    for kind, expected in at_home.items():
        assert done.stdout.count(f"{kind}:{expected}") == count
    assert done.stdout.count("refused") == count


LOSES_A_RANK = """
import os, signal, sys
import pycnn
from mpi4py import MPI
from pycnn import distributed
from pycnn.distributed import _mpi
sys.path[:0] = [{tests!r}]
from test_distributed import make, sha
comm, steps = MPI.COMM_WORLD, iter(range(99))
net, (x, y), how = make("dropout")
resume = os.path.exists("last.safetensors")
if resume and comm.Get_rank() == 0:
    net = pycnn.load("last.safetensors")
compute = _mpi.Shard.sums
def sums(self, *given):
    if comm.Get_rank() == 1 and not resume and next(steps) == 20:
        os.kill(os.getpid(), signal.SIGKILL)
    return compute(self, *given)
_mpi.Shard.sums = sums
keep = pycnn.callbacks.ModelCheckpoint("last.safetensors")
part = distributed.rows_of(len(x), comm, chunk_rows=how["chunk_rows"])
data = x[part], y[part]
distributed.fit(net, data, comm=comm, callbacks=[keep], resume=resume, **how)
sys.stdout.write(sha(net) + "\\n")
"""


@pytest.mark.thorough
@pytest.mark.skipif(os.name == "nt", reason="no such signals")
def test_a_lost_rank_ends_the_job_which_goes_on_from_its_checkpoint(at_home, tmp_path):
    pytest.importorskip("mpi4py")
    if shutil.which("mpirun") is None:
        pytest.skip("no mpirun here")
    program = tmp_path / "rank.py"
    program.write_text(LOSES_A_RANK.format(tests=str(Path(__file__).parent)), encoding="utf-8")
    command = ["mpirun", "--oversubscribe", "--allow-run-as-root", "-n", "2", sys.executable]
    options = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 120}
    lost = subprocess.run([*command, str(program)], **options)
    assert lost.returncode != 0
    assert "signal 9" in lost.stderr
    assert 0 < pycnn.load(tmp_path / "last.safetensors").epochs_trained < 10
    done = subprocess.run([*command, str(program)], **options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == 2 * [at_home["dropout"]]
