"""Predictions with dropout left on: random, but for reasons that can be named."""

import numpy as np
import pytest

import pycnn
from pycnn import Adam, BatchNorm, Dense, Dropout, LayerNorm, Network, _random
from pycnn._checks import LARGEST
from pycnn._data import sources
from pycnn.backend.numpy.dropout import dropout_mask
from pycnn.exceptions import DataError, DataTypeError, ShapeError

rng = np.random.default_rng(8)
X = rng.normal(size=(600, 5))
Y = np.column_stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2]])


def network(backend="auto"):
    layers = [Dense(30, "relu"), Dropout(0.3), Dense(20), BatchNorm("tanh"), Dropout(0.1)]
    net = Network(5, [*layers, LayerNorm(), Dense(2)], seed=1, backend=backend)
    net.fit(X, Y, epochs=2, optimizer=Adam(0.01))
    return net


@pytest.fixture
def net(backend):
    return network(backend)


def test_a_draw_is_the_network_without_what_has_dropped_out(backend):
    """By hand: masks from the keys, the layers' formulas, the statistics that training counted."""
    net = Network(5, [Dense(8, "tanh"), Dropout(0.4), Dense(3)], seed=2, backend=backend)
    keys = _random.generator(7, _random.SAMPLING).random_raw(2)
    samples = net.predict_samples(X[:9], 2, seed=7)
    first, _, last = net.layers
    for key, drawn in zip(keys, samples, strict=True):
        mask = dropout_mask(int(key), 1, 0, 0.4, 8, 9)
        a = np.tanh(first.W @ X[:9].T + first.b[:, None]) * mask
        expected = (last.W @ a + last.b[:, None]).T
        assert drawn == pytest.approx(expected, rel=1e-12, abs=1e-14)
    assert set(np.unique(mask)) == {0.0, 1 / 0.6}


def test_the_shape_is_that_of_so_many_predictions(net):
    samples = net.predict_samples(X[:70], 11, seed=0)
    assert samples.shape == (11, 70, 2)
    assert (samples.std(axis=0) > 0).all()
    assert samples.mean(axis=0) == pytest.approx(samples.sum(axis=0) / 11)
    assert net.predict_samples(X[:1], 1).shape == (1, 1, 2)


def test_both_backends_agree(backend):
    net, other = network("numpy"), network(backend)
    other.parameters, other.statistics = net.parameters, net.statistics
    ours, theirs = net.predict_samples(X, 5, seed=4), other.predict_samples(X, 5, seed=4)
    assert np.abs(ours - theirs).max() <= 1e-12 * np.abs(ours).max()


def test_the_seed_decides_and_a_fresh_one_differs(net):
    once, again = net.predict_samples(X, 4, seed=3), net.predict_samples(X, 4, seed=3)
    assert once.tobytes() == again.tobytes()
    assert net.predict_samples(X, 9, seed=3)[:4].tobytes() == once.tobytes()
    assert net.predict_samples(X, 4, seed=2**80).tobytes() != once.tobytes()
    fresh = [net.predict_samples(X[:5], 2).tobytes() for _ in range(3)]
    assert len(set(fresh)) == 3


def test_draws_and_rows_and_layers_drop_different_units(net):
    samples = net.predict_samples(np.repeat(X[:1], 50, axis=0), 4, seed=0)
    assert len({row.tobytes() for draw in samples for row in draw}) > 190  # relu hides some of it


def test_threads_and_neighbours_do_not_change_a_bit(net):
    expected = net.predict_samples(X, 5, seed=3)
    before = pycnn.get_num_threads()
    try:
        for threads in (1, 2, 5):
            pycnn.set_num_threads(threads)
            assert net.predict_samples(X, 5, seed=3).tobytes() == expected.tobytes()
    finally:
        pycnn.set_num_threads(before)
    for rows in (1, 2, 3, 31, 256, 257):
        assert np.array_equal(net.predict_samples(X[:rows], 5, seed=3), expected[:, :rows])


@pytest.mark.parametrize("kind", ["float32", "mapped", "mapped in Fortran's order", "sparse"])
def test_pieces_do_not_change_a_bit(kind, net, tmp_path, monkeypatch):
    x = (X * 100).astype(np.int16)
    expected = net.predict_samples(x.astype(float), 5, seed=3)
    given = x.astype(np.float32)
    if kind.startswith("mapped"):
        np.save(tmp_path / "x.npy", np.asfortranarray(x) if "Fortran" in kind else x)
        given = np.load(tmp_path / "x.npy", mmap_mode="r")
    elif kind == "sparse":
        given = pytest.importorskip("scipy.sparse").csr_array(x)
    monkeypatch.setattr(sources, "WHOLE", 0)
    monkeypatch.setattr(sources, "PIECE", 70 * 5 * 8)
    assert net.predict_samples(given, 5, seed=3).tobytes() == expected.tobytes()


def test_nothing_else_of_the_network_changes(net):
    before = net.theta.tobytes(), net.predict(X).tobytes(), net.evaluate(X, Y)
    gradient = net.gradients(X, Y)[1].tobytes()
    net.predict_samples(X, 3)
    assert (net.theta.tobytes(), net.predict(X).tobytes(), net.evaluate(X, Y)) == before
    assert net.gradients(X, Y)[1].tobytes() == gradient
    other = network(net.backend)
    net.fit(X, Y, epochs=1)
    other.fit(X, Y, epochs=1)
    assert net.theta.tobytes() == other.theta.tobytes()


def test_the_mean_of_many_draws_is_near_the_prediction_of_a_linear_network(backend):
    net = Network(5, [Dense(200), Dropout(0.2), Dense(1)], seed=0, backend=backend)
    samples = net.predict_samples(X[:20], 2000, seed=0)
    error = samples.std(axis=0) / np.sqrt(2000)
    assert (np.abs(samples.mean(axis=0) - net.predict(X[:20])) < 5 * error).all()


def test_samples_are_in_the_unit_of_y(backend):
    net = Network(5, [Dense(30, "relu"), Dropout(0.2), Dense(2)], seed=0, backend=backend)
    plain = net.predict_samples(X[:8], 3, seed=1)
    net.target_scale = ([3e5, 0.0], [1e5, 2.0])
    expected = plain * [1e5, 2.0] + [3e5, 0.0]
    assert np.array_equal(net.predict_samples(X[:8], 3, seed=1), expected)


def test_a_network_without_dropout_has_one_answer(backend, net):
    for layers in ([Dense(2)], [Dropout(0.0), Dense(2)], [BatchNorm(), Dense(2)]):
        with pytest.raises(DataError, match="needs a Dropout layer with a rate above 0"):
            Network(5, layers, seed=0, backend=backend).predict_samples(X, 3)
    with pytest.raises(DataError, match="a folded network has none"):
        net.folded().predict_samples(X, 3)


@pytest.mark.parametrize(
    ("x", "count", "seed", "error", "words"),
    [
        (X, 0, None, DataError, "count must be at least 1"),
        (X, -1, None, DataError, "count must be at least 1"),
        (X, 1.5, None, DataTypeError, "count must be an integer"),
        (X, True, None, DataTypeError, "count must be an integer"),
        (X, LARGEST // 8, None, ShapeError, "does not fit into memory"),
        (X, 10**30, None, DataError, "count must be at most"),
        (X, 3, -1, DataError, "seed must be None or an integer"),
        (X, 3, 0.5, DataError, "seed must be None or an integer"),
        (X[:, :4], 3, None, ShapeError, r"X must have shape \(samples, 5\)"),
        (X[:0], 3, None, DataError, "at least one sample"),
        (np.where(X > 2, np.nan, X), 3, None, DataError, "X must be finite"),
        (X.astype(str), 3, None, DataTypeError, "X"),
    ],
)
def test_arguments_that_are_not_valid(x, count, seed, error, words, net):
    with pytest.raises(error, match=words):
        net.predict_samples(x, count, seed)
