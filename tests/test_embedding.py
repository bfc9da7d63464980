"""Tokens, the embeddings of tokens and positions, and outputs by the same table."""

import pickle

import numpy as np
import pytest

import pycnn
from pycnn import (
    Dense,
    Embedding,
    Flatten,
    Network,
    PositionEmbedding,
    TiedDense,
    Tokens,
    TransformerBlock,
    gradient_check,
)
from pycnn._data import sources
from pycnn.exceptions import DataError, DataTypeError, ShapeError, UnknownNameError

VOCABULARY, LENGTH = 7, 5
TOKENS = Tokens(VOCABULARY, length=LENGTH)


def network(backend, *layers, units=4, outputs=3):
    """Return one whose tables are not near 0, as they are at first."""
    stack = [Embedding(units), *layers, Flatten(), Dense(outputs, "softmax")]
    net = Network(TOKENS, stack, seed=0, backend=backend)
    rng = np.random.default_rng(1)
    for layer in net.layers[:-1]:
        if "W" in layer.tensors:
            layer.W = rng.normal(size=layer.W.shape)
    return net


def samples(rows=6, seed=2):
    """Return tokens, of which each is there more than once, and classes."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, VOCABULARY, (rows, LENGTH)), rng.integers(0, 3, rows)


def test_each_token_becomes_its_row_of_the_table(backend):
    net = network(backend)
    X, _ = samples()
    rows = net.layers[0].W[X].reshape(len(X), -1)
    last = Network(LENGTH * 4, [Dense(3, "softmax")], seed=0, backend=backend)
    last.layers[0].W, last.layers[0].b = net.layers[2].W, net.layers[2].b
    np.testing.assert_allclose(net.predict(X), last.predict(rows), rtol=1e-12)


def test_positions_have_rows_of_their_own_or_waves(backend):
    learned, waves = (
        network(backend, PositionEmbedding()),
        network(backend, PositionEmbedding("sinusoidal")),
    )
    t, i = np.arange(LENGTH)[:, None], np.arange(2)
    W = np.empty((LENGTH, 4))
    W[:, 0::2] = np.sin(t / 10000 ** (2 * i / 4))
    W[:, 1::2] = np.cos(t / 10000 ** (2 * i / 4))
    learned.layers[1].W = W
    learned.layers[0].W = waves.layers[0].W
    for name in ("W", "b"):
        setattr(learned.layers[-1], name, waves.layers[-1].tensors[name])
    X, _ = samples()
    assert waves.layers[1].tensors == {}
    np.testing.assert_allclose(waves.predict(X), learned.predict(X), rtol=1e-12)


@pytest.mark.parametrize("kind", ["learned", "sinusoidal"])
def test_gradients_are_those_of_differences(kind, backend):
    assert gradient_check(network(backend, PositionEmbedding(kind)), *samples()) < 1e-7


def test_pytorch_agrees_where_tokens_come_again(backend):
    torch = pytest.importorskip("torch")
    net = network(backend, PositionEmbedding())
    X, y = samples(rows=8)
    X[:, 1] = X[:, 0]
    arrays = [view.copy() for view in net.tensors.values()]
    table, places, W, b = (torch.tensor(array, requires_grad=True) for array in arrays)
    embedded = torch.nn.functional.embedding(torch.tensor(X), table) + places
    loss = torch.nn.functional.cross_entropy(embedded.flatten(1) @ W.T + b, torch.tensor(y))
    loss.backward()
    ours, gradient = net.gradients(X, y)
    theirs = torch.cat([array.grad.flatten() for array in (table, places, W, b)])
    assert ours == pytest.approx(loss.item(), rel=1e-12)
    np.testing.assert_allclose(gradient, theirs.numpy(), rtol=1e-10, atol=1e-12)


# ------------------------------------------------------------------ what is read


def test_tokens_are_the_shape_of_a_sample_and_know_their_vocabulary():
    assert TOKENS == (LENGTH,)
    assert (TOKENS.vocabulary, TOKENS.length) == (VOCABULARY, LENGTH)
    assert repr(TOKENS) == "Tokens(7, length=5)"
    assert pickle.loads(pickle.dumps(TOKENS)) == TOKENS
    assert Tokens(8, length=LENGTH) != TOKENS


@pytest.mark.parametrize("dtype", ["u1", "i2", ">i4", "u8"])
def test_tokens_come_in_any_integer_dtype_or_as_lists(dtype, backend):
    net = network(backend)
    X, _ = samples()
    expected = net.predict(X)
    assert (net.predict(X.astype(dtype)) == expected).all()
    assert (net.predict(X.tolist()) == expected).all()
    assert (net.predict(X[:1]) == expected[:1]).all()


def test_what_is_large_or_in_a_file_is_read_in_pieces(backend, monkeypatch, tmp_path):
    X, y = samples(rows=40)
    whole, pieces = network(backend), network(backend)
    whole.fit(X, y, epochs=2, progress=False)
    np.save(tmp_path / "X.npy", X.astype(np.uint8))
    lazy = np.load(tmp_path / "X.npy", mmap_mode="r")
    monkeypatch.setattr(sources, "WHOLE", 0)
    monkeypatch.setattr(sources, "PIECE", 8 * LENGTH * 7)
    pieces.fit(lazy, y, epochs=2, progress=False)
    assert (pieces.parameters == whole.parameters).all()
    assert (pieces.predict(lazy) == whole.predict(X)).all()
    wrong = X.copy()
    wrong[33, 2] = VOCABULARY
    with pytest.raises(DataError, match=r"X\[33, 2\] is 7; tokens are 0 ... 6"):
        pieces.predict(wrong)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda X: X + 0.0, DataTypeError, "X must hold integers.*got dtype float64; X.astype"),
        (lambda X: X.astype(object), DataTypeError, "X must hold integers.*got dtype object"),
        (lambda X: X > 3, DataTypeError, "X must hold integers.*got dtype bool"),
        (lambda X: np.where(X[3, 4] == X, 99, X), DataError, r"is 99; tokens are 0 ... 6"),
        (lambda X: X - 100, DataError, r"X\[0, 0\] is -\d+; tokens are 0 ... 6"),
        (lambda X: X[:, :4], ShapeError, r"X must have shape \(samples, 5\), got \(6, 4\)"),
        (lambda X: X[0], ShapeError, r"a single sample is X.reshape\(1, -1\)"),
        (lambda X: X[:0], DataError, "X must have at least one sample"),
        (lambda X: np.ma.masked_equal(X, X[1, 2]), DataError, "X must have all its values"),
        (lambda X: [[1, 2], [3]], ShapeError, "X must be a regular array"),
    ],
)
def test_what_is_no_token_is_refused_and_its_place_named(change, error, message, backend):
    net = network(backend)
    X, y = samples()
    before = net.parameters.copy()
    for call in (net.predict, lambda bad: net.fit(bad, y[: len(bad)], progress=False)):
        with pytest.raises(error, match=message):
            call(change(X))
    assert (net.parameters == before).all()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Tokens(1, 5), DataError, "vocabulary must be at least 2, got 1"),
        (lambda: Tokens(7, 0), DataError, "length must be at least 1, got 0"),
        (lambda: Tokens(7.0, 5), DataTypeError, "vocabulary must be an integer, got 7.0"),
        (lambda: Embedding(0), DataError, "units must be at least 1, got 0"),
        (lambda: PositionEmbedding("waves"), UnknownNameError, "kind must be one of learned"),
        (lambda: TiedDense("x"), UnknownNameError, "activation"),
        (
            lambda: Network(5, [Embedding(3), Flatten(), Dense(2)]),
            ShapeError,
            r"Embedding\(3\) takes tokens.*samples have shape \(5,\) there",
        ),
        (
            lambda: Network(TOKENS, [Embedding(3), Embedding(3), Flatten(), Dense(2)]),
            ShapeError,
            r"Embedding\(3\) takes tokens.*samples have shape \(5, 3\) there",
        ),
        (
            lambda: Network(TOKENS, [Dense(3), Dense(2)]),
            ShapeError,
            r"first layer of a network on Tokens\(7, length=5\).*but is Dense\(3, 'linear'\)",
        ),
        (
            lambda: Network(5, [PositionEmbedding(), Dense(2)]),
            ShapeError,
            r"PositionEmbedding\(\) takes sequences.*shape \(5,\)",
        ),
        (
            lambda: Network(4, [Dense(3), TiedDense()]),
            ShapeError,
            r"TiedDense\('softmax'\) takes its weights from the network's embedding",
        ),
        (
            lambda: Network(TOKENS, [Embedding(3), Flatten(), Dense(4), TiedDense()]),
            ShapeError,
            r"an embedding of 3 units, but samples have shape \(4,\): Dense\(3\) in front",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_frozen_predictor_makes_nothing_of_what_is_no_token(backend):
    predict = network(backend).predictor(frozen=True)
    assert np.isfinite(predict(np.array([0.0, 1, 2, 3, 6]))).all()
    for wrong in (-1.0, 7.0, 0.5, np.nan, 1e300):
        assert np.isnan(predict(np.array([0.0, 1, wrong, 3, 6]))).all()


@pytest.mark.parametrize("batch", [1, 4])
def test_a_predictor_of_the_core_says_that_it_was_given_no_token(core, batch):
    predict = network("c").predictor(batch)
    with pytest.raises(DataError, match="a token is no whole number"):
        predict(np.full((batch, 5), 7.0))


def test_there_is_no_gradient_by_a_token(backend):
    with pytest.raises(DataError, match=r"input_gradient needs inputs that are numbers.*Tokens"):
        network(backend).input_gradient(*samples())


# ------------------------------------------------------------------ outputs by the table


def tied(backend, units=4):
    net = Network(
        TOKENS,
        [Embedding(units), Flatten(), Dense(units, "tanh"), TiedDense()],
        seed=0,
        backend=backend,
    )
    net.layers[0].W = np.random.default_rng(3).normal(size=(VOCABULARY, units))
    return net


def test_an_output_by_the_table_teaches_it_too(backend):
    net = tied(backend)
    assert list(net.layers[-1].tensors) == ["b"]
    assert gradient_check(net, samples()[0], np.arange(6)) < 1e-7


def test_pytorch_agrees_on_a_table_that_is_used_twice(backend):
    torch = pytest.importorskip("torch")
    net = tied(backend)
    X, y = samples()[0], np.arange(6)
    arrays = [torch.tensor(view, requires_grad=True) for view in net.tensors.values()]
    optimizer = torch.optim.Adam(arrays, lr=0.01)
    table, W, b, b_out = arrays
    for _ in range(20):
        optimizer.zero_grad()
        hidden = torch.tanh(
            torch.nn.functional.embedding(torch.tensor(X), table).flatten(1) @ W.T + b
        )
        loss = torch.nn.functional.cross_entropy(hidden @ table.T + b_out, torch.tensor(y))
        loss.backward()
        optimizer.step()
    net.fit(
        X, y, epochs=20, batch_size=6, shuffle=False, optimizer=pycnn.Adam(0.01), progress=False
    )
    theirs = torch.cat([array.detach().flatten() for array in arrays])
    np.testing.assert_allclose(net.parameters, theirs.numpy(), rtol=1e-10, atol=1e-12)


def test_the_table_gives_outputs_at_each_position_of_its_own(backend):
    layers = [Embedding(4), PositionEmbedding(), TransformerBlock(2, 6, causal=True), TiedDense()]
    net = Network(TOKENS, layers, seed=0, backend=backend)
    X, _ = samples()
    y, lengths = np.roll(X, -1, axis=1), np.array([5, 1, 2, 3, 4, 5])
    padded = np.where(np.arange(LENGTH) < lengths[:, None], X, -1)  # which is no token
    assert net.predict(X).shape == (6, LENGTH, VOCABULARY)
    assert gradient_check(net, X, y) < 1e-7
    whole, short = net.predict(X), net.predict(padded, lengths=lengths)
    for row, length in enumerate(lengths):
        assert (whole[row, :length] == short[row, :length]).all()
    history = net.fit(
        padded, y, lengths=lengths, epochs=30, optimizer=pycnn.Adam(0.02), batch_size=2
    )
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    with pytest.raises(DataError, match=r"X\[1, 0\] is -1"):
        net.predict(np.where([[False], [True]], -1, X[:2]), lengths=[2, 2])


# ------------------------------------------------------------------ kept


@pytest.mark.parametrize("make", [network, tied])
def test_networks_on_tokens_are_kept(make, backend, tmp_path):
    net = make(backend)
    X, _ = samples()
    net.save(tmp_path / "net.safetensors")
    loaded = pycnn.load(tmp_path / "net.safetensors", backend=backend)
    assert loaded.input_shape == TOKENS
    assert loaded.input_shape.vocabulary == VOCABULARY
    assert repr(loaded) == repr(net)
    for other in (loaded, pickle.loads(pickle.dumps(net)), net.folded()):
        assert (other.predict(X) == net.predict(X)).all()
    assert eval(repr(net), globals()).layers[0].W.shape == (VOCABULARY, 4)


def test_both_backends_agree(core):
    X, y = samples()[0], np.arange(6)
    for make in (network, tied):
        nets = [make(backend) for backend in ("c", "numpy")]
        (ours, gradient), (theirs, expected) = (net.gradients(X, y % net.outputs) for net in nets)
        assert ours == pytest.approx(theirs, rel=1e-12)
        np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-14)
