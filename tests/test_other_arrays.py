"""Tensors, tables and columns of other libraries are read as NumPy's arrays are."""

import datetime

import numpy as np
import pytest

import pycnn
from pycnn._data.arrays import as_numbers
from pycnn._data.sources import LazyTable

RNG = np.random.default_rng(0)
X, Y, WEIGHT = RNG.normal(size=(40, 3)), RNG.integers(0, 3, 40), RNG.random(40) + 0.5
NAMES = ("a", "b", "c")
TOKENS, LENGTHS = RNG.integers(0, 5, (12, 4)), RNG.integers(1, 5, 12)


def everything(number, column, table=None, cells=None):
    """Return what a network makes of what these functions make of NumPy's arrays."""
    table, cells = table or number, cells or number
    x, y, weight = table(X), column(Y), column(WEIGHT)
    net = pycnn.Network(3, [pycnn.Dense(4, "tanh"), pycnn.Dense(3, "softmax")], seed=0)
    net.fit(x, y, epochs=2, sample_weight=weight, validation_data=(x, y, weight))
    net.partial_fit(x, y, sample_weight=weight, classes=column(np.arange(3)))
    net.train_on_batch(x, y, sample_weight=weight)
    found = [net.parameters, net.predict(x), *net.gradients(x, y)]
    found += list(net.evaluate(x, y, sample_weight=weight).values())
    numbers = pycnn.Network(3, [pycnn.Dense(2)], seed=0)
    numbers.fit(x, cells(X[:, :2]), epochs=1)
    text = pycnn.Network(
        pycnn.Tokens(5), [pycnn.Embedding(3), pycnn.GRU(2), pycnn.Dense(1)], seed=0
    )
    text.fit(cells(TOKENS), column(WEIGHT[:12]), epochs=2, lengths=column(LENGTHS))
    return [*found, numbers.parameters, text.parameters]


def check(number, column, table=None, cells=None):
    expected = everything(np.asarray, np.asarray)
    for ours, theirs in zip(everything(number, column, table, cells), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def names_of(array):
    return NAMES if array.shape[1] == 3 else [f"column {i}" for i in range(array.shape[1])]


class OnlyDLPack:
    """What says where its numbers are, and is nothing else."""

    def __init__(self, array):
        self.array = np.array(array)

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_what_has_dlpack_alone_is_read_where_it_lies():
    given = OnlyDLPack(X)
    assert np.shares_memory(as_numbers(given, "X"), given.array)
    net = pycnn.Network(3, [pycnn.Dense(2)], seed=0)
    assert (net.predict(given) == net.predict(X)).all()


def test_tensors_of_pytorch_are_read():
    torch = pytest.importorskip("torch")
    check(torch.tensor, torch.tensor)
    tensor = torch.tensor(X)
    assert np.shares_memory(as_numbers(tensor, "X"), tensor.numpy())
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(tensor, torch.tensor(Y)), batch_size=8
    )
    nets = [pycnn.Network(3, [pycnn.Dense(3, "softmax")], seed=0) for _ in range(2)]
    nets[0].fit(loader, epochs=2)
    nets[1].fit(X, Y, epochs=2, batch_size=8, shuffle=False)
    assert (nets[0].parameters == nets[1].parameters).all()


def test_a_tensor_that_numpy_cannot_read_is_named(backend):
    torch = pytest.importorskip("torch")
    net = pycnn.Network(3, [pycnn.Dense(3, "softmax")], seed=0, backend=backend)
    for wrong, says in [
        (torch.tensor(X).requires_grad_(), "requires grad"),
        (torch.tensor(X, device="meta"), "meta device"),
        (torch.tensor(X).bfloat16(), "BFloat16"),
    ]:
        for call in (net.predict, lambda x: net.fit(x, Y), lambda x: net.evaluate(x, Y)):
            with pytest.raises(pycnn.exceptions.DataTypeError, match=f"X is a Tensor .*{says}"):
                call(wrong)
        with pytest.raises(pycnn.exceptions.DataTypeError, match=r"^y is a Tensor"):
            net.fit(X, wrong)
        with pytest.raises(pycnn.exceptions.DataTypeError, match=r"^sample_weight is a Tensor"):
            net.fit(X, Y, sample_weight=wrong[:, 0])


def test_a_large_tensor_of_float32_is_not_widened_as_a_whole(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr("pycnn._data.sources.WHOLE", 100)
    net = pycnn.Network(3, [pycnn.Dense(3, "softmax")], seed=0)
    rows = net.reader.rows(torch.tensor(X).float(), "X")
    assert isinstance(rows, LazyTable)
    assert (rows[:] == X.astype(np.float32)).all()


def test_arrays_of_jax_are_read(run_python):
    pytest.importorskip("jax")
    # In a process of its own: JAX warns of every fork afterwards.
    run_python(f"""
import sys
sys.path.insert(0, {str(__file__).rpartition("test_other_arrays")[0]!r})
import jax
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp
import pytest
from test_other_arrays import X, check, pycnn
check(jnp.asarray, jnp.asarray)
net = pycnn.Network(3, [pycnn.Dense(2)], seed=0)
with pytest.raises(pycnn.exceptions.DataTypeError, match="X is a .*traced"):
    jax.jit(net.predict)(jnp.asarray(X))
""")


@pytest.mark.parametrize("kind", ["Table", "RecordBatch", "chunks"])
def test_tables_and_columns_of_arrow_are_read(kind):
    pa = pytest.importorskip("pyarrow")
    build = pa.RecordBatch if kind == "RecordBatch" else pa.Table

    def cells(array):
        return build.from_arrays([pa.array(column) for column in array.T], names_of(array))

    def chunks(array):
        parts = [slice(7), slice(7, None)]
        return pa.concat_tables([cells(array[part]) for part in parts])

    def column(array):
        return pa.chunked_array([array[:5], array[5:]]) if kind == "chunks" else pa.array(array)

    table = chunks if kind == "chunks" else cells
    check(table, column)
    alone = pa.array(WEIGHT)
    assert np.shares_memory(as_numbers(alone, "y"), alone.to_numpy())


def test_columns_of_lists_are_matrices():
    pa, pd = pytest.importorskip("pyarrow"), pytest.importorskip("pandas")
    check(np.asarray, pa.array, lambda array: pa.array(list(array)))
    fixed, (first, *_) = pa.list_(pa.float64(), 3), X.tolist()
    net = pycnn.Network(3, [pycnn.Dense(2)], seed=0)
    for column in (pa.array(X.tolist(), fixed), pa.chunked_array([[first]]), pd.Series([first])):
        assert (net.predict(column) == net.predict(X[: len(column)])).all()
    with pytest.raises(pycnn.exceptions.ShapeError, match="X must be a regular array"):
        net.predict(pa.array([first, first[:1]]))
    with pytest.raises(pycnn.exceptions.DataTypeError, match=r"must hold numbers.*at row 0"):
        net.predict(pa.array([first, None]))


def test_frames_and_series_of_polars_are_read():
    pl = pytest.importorskip("polars")
    check(lambda array: pl.DataFrame(dict(zip(names_of(array), array.T, strict=True))), pl.Series)
    series = pl.Series(WEIGHT)
    assert np.shares_memory(as_numbers(series, "y"), series.to_numpy())
    net = pycnn.Network(3, [pycnn.Dense(3, "softmax")], seed=0)
    frame = pl.DataFrame(dict(zip(NAMES, X.T, strict=True)))
    net.fit(frame, pl.Series([["no", "perhaps", "yes"][i] for i in Y]), epochs=1)
    assert net.feature_names == NAMES
    assert net.classes.tolist() == ["no", "perhaps", "yes"]
    with pytest.raises(pycnn.exceptions.DataError, match=r"is NaN at row 3, column 1 \('b'\)"):
        net.predict(frame.with_columns(b=pl.Series([1.0, 2.0, 3.0, None] * 10)))


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_times_beside_numbers_are_refused_by_the_columns_name(library, backend):
    module = pytest.importorskip(library)
    build = module.table if library == "pyarrow" else module.DataFrame
    day, hour = datetime.datetime(2020, 1, 1), datetime.timedelta(hours=1)
    net = pycnn.Network(3, [pycnn.Dense(1)], seed=0, backend=backend)
    for item in (day, day.date(), day.time(), hour):
        frame = build({"a": [1.0, 2.0], "b": [item, item], "c": [1, 2]})
        for call in (
            net.predict,
            lambda x: net.fit(x, [1.0, 2.0]),
            lambda x: net.fit(np.ones((2, 3)), x),
        ):
            with pytest.raises(
                pycnn.exceptions.DataTypeError, match=r"^[Xy] must .* column 1 \('b'\)"
            ):
                call(frame)


@pytest.mark.parametrize("kind", ["numpy_nullable", "pyarrow"])
def test_pandas_own_dtypes_are_read(kind):
    pd = pytest.importorskip("pandas")
    if kind == "pyarrow":
        pytest.importorskip("pyarrow")

    def cells(array):
        frame = pd.DataFrame(array, columns=list(names_of(array)))
        return frame.convert_dtypes(dtype_backend=kind)

    def column(array):
        return pd.Series(array).convert_dtypes(dtype_backend=kind)

    check(cells, column)
    frame = cells(X)
    frame.iloc[3, 1] = pd.NA
    net = pycnn.Network(3, [pycnn.Dense(3, "softmax")], seed=0)
    with pytest.raises(pycnn.exceptions.DataError, match=r"is NaN at row 3, column 1 \('b'\)"):
        net.predict(frame)


def test_estimators_read_them_too():
    estimators = pytest.importorskip("pycnn.sklearn")
    torch = pytest.importorskip("torch")
    settings = {"hidden_layer_sizes": 4, "max_iter": 3, "random_state": 0, "tol": 1e9}
    ours, theirs = (
        estimators.MLPClassifier(**settings, n_iter_no_change=1).fit(*map(of, (X, Y, WEIGHT)))
        for of in (np.asarray, torch.tensor)
    )
    assert (ours.network_.parameters == theirs.network_.parameters).all()
    assert (theirs.predict(torch.tensor(X)) == ours.predict(X)).all()
    with pytest.raises(pycnn.exceptions.DataTypeError, match=r"^X is a Tensor.*requires grad"):
        ours.fit(torch.tensor(X).requires_grad_(), Y)
