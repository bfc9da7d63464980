"""Sequences of any length: networks that know how long samples are when they see them."""

import pickle

import numpy as np
import pytest

import pycnn
from pycnn import (
    GRU,
    LSTM,
    BatchNorm,
    Bidirectional,
    Conv1D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePool1D,
    GlobalMaxPool1D,
    LayerNorm,
    MaxPool1D,
    MultiHeadAttention,
    Network,
    PositionEmbedding,
    Rescale,
    Reshape,
    Residual,
    SimpleRNN,
    TiedDense,
    Tokens,
    TransformerBlock,
    gradient_check,
)
from pycnn.exceptions import DataError, DataTypeError, ShapeError

RNG = np.random.default_rng(7)
F, N = 3, 4


def labelled(positions, rows=7, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, positions, F)), rng.integers(0, N, (rows, positions))


def layers():
    return [
        Rescale(2.0),
        Conv1D(6, 3, "tanh", padding="same"),
        BatchNorm(),
        Bidirectional(LSTM(4, return_sequences=True), "sum"),
        Residual([SimpleRNN(4, return_sequences=True), Dropout(0.2)]),
        LayerNorm(),
        GRU(5, return_sequences=True),
        Dense(N, "softmax"),
    ]


def network(backend, length=None, seed=3):
    return Network((length, F), layers(), seed=seed, backend=backend)


def test_a_network_of_any_length_is_each_network_of_one(backend):
    for positions in (1, 2, 9):
        X, y = labelled(positions, rows=8)
        net, fixed = network(backend), network(backend, positions)
        assert net.parameters.tobytes() == fixed.parameters.tobytes()
        assert net.predict(X).tobytes() == fixed.predict(X).tobytes()
        assert net.evaluate(X, y) == fixed.evaluate(X, y)
        assert net.gradients(X, y)[1].tobytes() == fixed.gradients(X, y)[1].tobytes()
        assert net.input_gradient(X, y).shape == X.shape
        samples = net.predict_samples(X, 2, seed=1)
        assert samples.tobytes() == fixed.predict_samples(X, 2, seed=1).tobytes()
        trained, wanted = (each.fit(X, y, epochs=2, batch_size=4) for each in (net, fixed))
        assert trained == wanted
        assert net.theta.tobytes() == fixed.theta.tobytes()
        trace, other = net.trace(X, y), fixed.trace(X, y)
        assert trace.A[-1].tobytes() == other.A[-1].tobytes()


def test_calls_may_differ_in_length(backend):
    net = network(backend)
    outputs = [net.predict(labelled(positions)[0]) for positions in [*range(1, 14), *range(1, 14)]]
    assert [out.shape[1] for out in outputs] == [*range(1, 14)] * 2
    for first, again in zip(outputs[:13], outputs[13:], strict=True):
        assert first.tobytes() == again.tobytes()  # more lengths than are kept planned
    X, y = labelled(6)
    net.fit(X, y, epochs=2, validation_data=labelled(9), metrics=["perplexity"])
    assert len(net.history["val_perplexity"]) == 2
    batches = [labelled(positions, seed=positions) for positions in (3, 8, 3, 1, 5)]
    net.fit(batches, epochs=2)
    fixed = [network(backend, len(x[0])) for x, _ in batches]
    own = network(backend)
    own.fit(batches, epochs=1)
    theta = fixed[0].theta.copy()
    assert own.theta.tobytes() != theta.tobytes()
    for positions in (2, 5):
        own.partial_fit(*labelled(positions))
        own.train_on_batch(*labelled(positions + 1))


def test_batches_of_several_lengths_are_steps_one_after_the_other(backend):
    batches = [labelled(positions, seed=positions) for positions in (3, 8, 3)]
    stack = [GRU(5, return_sequences=True), Dense(N, "softmax")]
    net = Network((None, F), stack, seed=1, backend=backend)
    net.fit(batches, epochs=1, optimizer=pycnn.Adam(0.01))
    state, other = None, Network((None, F), stack, seed=1, backend=backend)
    optimizer = pycnn.Adam(0.01)
    for X, y in batches:
        _, gradient, weight = other.gradients(X, y, reduction="sum")
        state = optimizer.apply(other, gradient, state, weight=weight)
    np.testing.assert_allclose(net.parameters, other.parameters, rtol=1e-12, atol=1e-14)


def test_lengths_within_samples_of_any_length(backend):
    stack = [Bidirectional(GRU(4, return_sequences=True)), GlobalMaxPool1D(), Dense(1)]
    net = Network((None, F), stack, seed=0, backend=backend)
    X, _ = labelled(6)
    lengths = np.array([6, 1, 3, 5, 2, 4, 6])
    X[np.arange(6) >= lengths[:, None]] = np.nan
    out = net.predict(X, lengths=lengths)
    for row, length in enumerate(lengths):
        alone = net.predict(X[row : row + 1, :length])
        np.testing.assert_allclose(out[row], alone[0], rtol=1e-13)
    with pytest.raises(DataError, match=r"lengths must lie in 1 \.\.\. 6, .* but is 7 at row 0"):
        net.predict(X, lengths=lengths + 1)
    assert gradient_check(net, X, np.zeros(7), lengths=lengths, max_parameters=20) < 1e-7


def test_tokens_of_any_length(backend):
    net = Network(
        Tokens(9),
        [
            Embedding(4),
            PositionEmbedding("sinusoidal"),
            MultiHeadAttention(2),
            TransformerBlock(2, causal=True),
            TiedDense(),
        ],
        seed=0,
        backend=backend,
    )
    assert net.input_shape == (None,)
    assert net.input_shape == Tokens(9) != Tokens(8)
    assert net.output_shape == (None, 9)
    for length in (1, 5):
        X = RNG.integers(0, 9, (4, length))
        fixed = Network(Tokens(9, length), net.layers, seed=0, backend=backend)
        fixed.parameters = net.parameters
        assert fixed.predict(X).tobytes() == net.predict(X).tobytes()
        net.fit(X, X, epochs=1)
    X[2, 3] = 9
    with pytest.raises(DataError, match=r"X\[2, 3\] is 9; tokens are 0 \.\.\. 8"):
        net.predict(X)
    with pytest.raises(DataTypeError, match="X must hold integers"):
        net.predict(X / 2)
    with pytest.raises(ShapeError, match=r"X must have shape \(samples, positions\), got \(5,\)"):
        net.predict(X[0])
    assert pickle.loads(pickle.dumps(Tokens(9))) == Tokens(9)
    assert repr(Tokens(9)) == "Tokens(9)"


def test_predictors_take_whatever_length(backend):
    net = network(backend)
    run, frozen, three = net.predictor(), net.predictor(frozen=True), net.predictor(3)
    for positions in [*range(1, 12), 4]:
        X, _ = labelled(positions)
        out = net.predict(X)
        assert run(X[:1]).tobytes() == run(X[0]).tobytes() == out[:1].tobytes()
        assert frozen(X[0]).tobytes() == out[:1].tobytes()
        assert three(X[:3]).tobytes() == out[:3].tobytes()
    net.parameters += 1
    assert run(X[:1]).tobytes() == net.predict(X[:1]).tobytes()
    assert frozen(X[:1]).tobytes() == out[:1].tobytes()
    for wrong in ([[1.0] * F], np.zeros((1, 4, F + 1)), np.zeros((0, F)), X[:2], X[:1] > 0):
        with pytest.raises(ShapeError, match="x must be a float64 array of shape"):
            run(wrong)


def test_files_pickles_and_words(backend, tmp_path, capsys):
    net = network(backend)
    X, y = labelled(5)
    net.fit(X, y, epochs=1)
    net.save(tmp_path / "net.safetensors", training_state=True)
    for other in (
        pycnn.load(tmp_path / "net.safetensors", backend),
        pickle.loads(pickle.dumps(net)),
    ):
        assert other.input_shape == (None, F)
        assert other.predict(X[:, :3]).tobytes() == net.predict(X[:, :3]).tobytes()
        assert repr(other) == repr(net)
    assert repr(net).startswith(f"Network((None, {F}), [Rescale(2.0), Conv1D(6, 3, 'tanh'")
    assert (net.inputs, net.outputs, net.output_shape) == (F, N, (None, N))
    assert [layer.units for layer in net.layers[4:6]] == [4, 4]
    net.summary()
    shown = capsys.readouterr().out
    assert f"(None, {F}) inputs, (None, {N}) outputs" in shown
    assert "activations a position" in shown
    folded = net.folded()
    np.testing.assert_allclose(folded.predict(X), net.predict(X), rtol=1e-12)
    tokens = Network(Tokens(9), [Embedding(2), GRU(3), Dense(1)], backend=backend)
    tokens.save(tmp_path / "tokens.safetensors")
    again = pycnn.load(tmp_path / "tokens.safetensors", backend)
    assert again.input_shape == Tokens(9)


@pytest.mark.parametrize(
    ("layers", "named"),
    [
        ([Flatten(), Dense(1)], "Flatten"),
        ([GRU(2, return_sequences=True), Reshape((2, -1)), Dense(1)], "Reshape.*layer 2"),
        ([PositionEmbedding(), Dense(1)], "PositionEmbedding"),
        ([Residual([PositionEmbedding()]), Dense(1)], "Residual"),
    ],
)
def test_layers_that_need_a_length_are_refused_by_name(layers, named):
    with pytest.raises(ShapeError, match=f"{named}.* needs sequences of one length"):
        Network((None, F), layers)


def test_what_is_no_sequence_is_refused():
    with pytest.raises(DataError, match=r"None for the length of sequences, \(None, features\)"):
        Network((None, 8, 3), [Dense(1)])
    with pytest.raises(DataError, match="None for the length"):
        Network((8, None), [Dense(1)])
    with pytest.raises(ShapeError, match=r"Conv2D.* but they are sequences: \(None, 3\)"):
        Network((None, F), [pycnn.Conv2D(2, 2)])
    with pytest.raises(ShapeError, match="Residual give"):
        Network((None, F), [Residual([MaxPool1D(2)]), GRU(2)])
    net = Network((None, F), [GRU(2), Dense(1)], seed=0, backend="numpy")
    for wrong, message in (
        (np.zeros((2, 5)), r"X must have shape \(samples, positions, 3\), got \(2, 5\)"),
        (np.zeros((5, F)), r"got \(5, 3\); a single sample is X\[np.newaxis\]"),
        (np.zeros((2, 0, F)), r"got \(2, 0, 3\)"),
        (np.zeros((2, 5, 2)), r"got \(2, 5, 2\)"),
        ([np.zeros((2, F)), np.zeros((4, F))], "padded at their ends .* lengths= says"),
    ):
        with pytest.raises(ShapeError, match=message):
            net.predict(wrong)
    one = Network((None, 1), [GRU(2), Dense(1)], seed=0, backend="numpy")
    assert one.predict(np.zeros((2, 5))).tobytes() == one.predict(np.zeros((2, 5, 1))).tobytes()
    pooled = Network((None, F), [Conv1D(2, 5), GlobalAveragePool1D()], seed=0, backend="numpy")
    assert pooled.predict(np.zeros((2, 5, F))).shape == (2, 2)
    with pytest.raises(ShapeError, match="covers 5 positions, more than its input of shape"):
        pooled.predict(np.zeros((2, 4, F)))
    sequence = Network((None, F), [Dense(N, "softmax")], backend="numpy")
    X, y = labelled(5)
    with pytest.raises(
        ShapeError, match=r"y must have shape \(7, 5\) or \(7, 5, 4\), got \(7, 4\)"
    ):
        sequence.fit(X, y[:, :4])


def test_large_tables_are_read_in_pieces(backend, monkeypatch):
    X, y = labelled(6, rows=40)
    net = Network((None, F), [GRU(3), Dense(N, "softmax")], seed=0, backend=backend)
    other = Network((None, F), [GRU(3), Dense(N, "softmax")], seed=0, backend=backend)
    x = X.astype(np.float32)
    net.fit(x.astype(np.float64), y[:, 0], epochs=2)
    monkeypatch.setattr("pycnn._data.sources.WHOLE", 100)
    monkeypatch.setattr("pycnn._data.sources.PIECE", 2000)
    other.fit(x, y[:, 0], epochs=2)
    assert net.parameters.tobytes() == other.parameters.tobytes()
    assert net.predict(X.astype(np.float32)[:, :4]).tobytes() == (other.predict(x[:, :4]).tobytes())


def test_augmenters_see_samples_in_their_shape(backend):
    seen = []

    def flip(x, y, rng):
        seen.append(x.shape)
        return x[:, ::-1], y

    net = Network((None, F), [GRU(3), Dense(1)], seed=0, backend=backend)
    net.fit([(labelled(t)[0], np.zeros(7)) for t in (2, 5)], epochs=1, augment=flip)
    assert seen == [(7, 2, F), (7, 5, F)]


def test_lbfgs_and_labels_of_any_kind(backend):
    X, y = labelled(4)
    net = Network(
        (None, F), [GRU(3, return_sequences=True), Dense(N, "softmax")], seed=0, backend=backend
    )
    names = np.array(list("abcd"))[y]
    net.fit(X, names, epochs=2, optimizer=pycnn.LBFGS(), batch_size=None, class_weight="balanced")
    assert set(net.predict_classes(X[:, :2]).ravel()) <= set("abcd")
    assert net.evaluate(X[:, :3], names[:, :3])["loss"] > 0
