"""`Network.stepper`: what `predict` says at each position, from one position after the other."""

import copy
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    LayerNorm,
    MultiHeadAttention,
    Network,
    PositionEmbedding,
    Rescale,
    Reshape,
    Residual,
    SimpleRNN,
    SpatialDropout,
    TiedDense,
    Tokens,
    TransformerBlock,
)
from pycnn.exceptions import DataError, DataTypeError, ShapeError

RNG = np.random.default_rng(18)
LENGTH, FEATURES, VOCABULARY = 7, 3, 11


STACKS = {
    "recurrent": lambda: [
        *(Rescale(2.0), Dense(5, "tanh"), BatchNorm("relu"), SpatialDropout(0.2)),
        *(LSTM(6, return_sequences=True), LayerNorm(), SimpleRNN(4, return_sequences=True)),
        *(Dropout(0.3), GRU(9, return_sequences=True)),
        *(Residual([Dense(4, "relu"), Dense(9)]), Dense(2, "softmax")),
    ],
    "attention": lambda: [
        *(Dense(8), PositionEmbedding("sinusoidal"), MultiHeadAttention(2, causal=True)),
        *(Residual([LayerNorm(), MultiHeadAttention(4, causal=True)]), Dense(3)),
    ],
    "blocks": lambda: [
        *(Embedding(8), PositionEmbedding(), TransformerBlock(2, 5, causal=True, dropout=0.1)),
        *(TransformerBlock(4, causal=True, norm_first=False), LayerNorm(), TiedDense()),
    ],
    "words": lambda: [Embedding(4), GRU(5, return_sequences=True), Dense(VOCABULARY, "softmax")],
}
ENDS = {
    "of numbers": lambda: [
        *(GRU(5, return_sequences=True), LSTM(6), BatchNorm(), Flatten()),
        *(Residual([Dense(6, "relu")]), Dense(2)),
    ],
    "of words": lambda: [Embedding(4), SimpleRNN(5, "relu"), Dense(VOCABULARY, "softmax")],
}
WINDOWS = ["attention", "blocks"]


def network(layers, backend, length=LENGTH):
    inputs = Tokens(VOCABULARY, length) if isinstance(layers[0], Embedding) else (length, FEATURES)
    net = Network(inputs, layers, seed=3, backend=backend)
    net.parameters *= 2
    net.statistics += 0.5
    return net


def samples(net, rows, length=None):
    shape = (rows, length or net.input_shape[0])
    if isinstance(net.input_shape, Tokens):
        return RNG.integers(0, VOCABULARY, shape)
    return RNG.normal(size=(*shape, FEATURES))


def steps(step, X):
    return np.stack([step(X[:, t]) for t in range(X.shape[1])], axis=1)


def assert_alike(backend, found, expected):
    """Bits on the C core; NumPy's products of one row round otherwise than those of many."""
    np.testing.assert_allclose(found, expected, rtol=0, atol={"c": 0, "numpy": 1e-12}[backend])


# ------------------------------------------------------------------ what predict says


@pytest.mark.parametrize("stack", list(STACKS))
@pytest.mark.parametrize(("batch", "frozen"), [(1, True), (1, False), (3, False), (9, True)])
def test_each_step_is_what_predict_says_at_its_position(backend, stack, batch, frozen):
    net = network(STACKS[stack](), backend)
    X = samples(net, batch)
    step = net.stepper(batch, frozen=frozen)
    assert_alike(backend, steps(step, X), net.predict(X))
    assert len(net.predict(X)) == batch
    step.reset()
    assert_alike(backend, steps(step, X[:, :3]), net.predict(X)[:, :3])


@pytest.mark.parametrize("end", list(ENDS))
@pytest.mark.parametrize(("batch", "frozen"), [(1, True), (4, False)])
def test_a_single_output_is_that_of_a_sequence_that_ends_there(backend, end, batch, frozen):
    net = network(ENDS[end](), backend)
    X = samples(net, batch)
    step = net.stepper(batch, frozen=frozen)
    for t in range(LENGTH):
        expected = net.predict(X, lengths=[t + 1] * batch)
        assert_alike(backend, step(X[:, t]), expected)


def test_recurrent_layers_go_on_as_long_as_there_are_positions(backend):
    for layers in (STACKS["recurrent"], STACKS["words"]):
        net, longer = network(layers(), backend), network(layers(), backend, 5 * LENGTH)
        free = network(layers(), backend, None)
        X = samples(net, 2, 5 * LENGTH)
        for step in (net.stepper(2), free.stepper(2)):
            assert_alike(backend, steps(step, X), longer.predict(X))


@pytest.mark.parametrize("stack", WINDOWS)
@pytest.mark.parametrize("length", [1, 2, 5, 6])
def test_the_last_half_of_a_window_that_is_full_begins_the_next(backend, stack, length):
    net = network(STACKS[stack](), backend, length)
    X, first = samples(net, 2, 4 * length + 1), 0
    step = net.stepper(2)
    for t in range(X.shape[1]):
        if t - first == length:
            first = t - length // 2
        known = np.zeros_like(X[:, :length])
        known[:, : t + 1 - first] = X[:, first : t + 1]
        assert_alike(backend, step(X[:, t]), net.predict(known)[:, t - first])


def test_outputs_are_in_the_unit_of_the_targets(backend):
    net = network([GRU(4, return_sequences=True), Dense(2)], backend)
    X = samples(net, 1)
    net.target_scale = [3.0, -1.0], [2.0, 5.0]
    live, frozen = net.stepper(), net.stepper(frozen=True)
    before = net.predict(X)
    assert_alike(backend, steps(frozen, X), before)
    net.target_scale = None
    net.parameters *= 0.5
    assert_alike(backend, steps(live, X), net.predict(X))
    frozen.reset()
    assert_alike(backend, steps(frozen, X), before)


def test_what_a_step_returns_is_the_callers(backend):
    net = network(STACKS["recurrent"](), backend)
    step, X = net.stepper(), samples(net, 1)
    first = step(X[0, 0])
    kept = first.copy()
    step(X[0, 1])
    assert (first == kept).all()


# ------------------------------------------------------------------ the state


@pytest.mark.parametrize("stack", list(STACKS))
@pytest.mark.parametrize("batch", [1, 2])
def test_who_is_given_a_state_goes_on_from_there(backend, stack, batch):
    net = network(STACKS[stack](), backend)
    X = samples(net, batch, 3 * LENGTH)
    step = net.stepper(batch)
    steps(step, X[:, :5])
    state = step.state
    expected = steps(step, X[:, 5:])
    assert state.shape == step.state.shape
    assert (state != step.state).any()
    step.state = state
    assert (steps(step, X[:, 5:]) == expected).all()
    other = net.stepper(batch, frozen=True)
    other.state = state.tolist()
    assert_alike(backend, steps(other, X[:, 5:]), expected)
    step.state = np.zeros_like(state)
    fresh = net.stepper(batch)
    assert (fresh.state == 0).all()
    assert (steps(step, X) == steps(fresh, X)).all()


@pytest.fixture(scope="module")
def twin():
    net = network(STACKS["blocks"](), "numpy", 4)
    return net, net.stepper(), net.stepper()


@settings(max_examples=20)
@given(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=14), st.integers(0, 13))
def test_a_text_may_be_left_and_gone_on_with_anywhere(twin, tokens, place):
    _, whole, parts = twin
    whole.reset(), parts.reset()
    expected = [whole(token) for token in tokens]
    found = [parts(token) for token in tokens[:place]]
    state = parts.state
    parts.reset()
    parts.state = state
    found += [parts(token) for token in tokens[place:]]
    assert np.array_equal(found, expected)


@pytest.mark.usefixtures("core")
def test_a_state_means_the_same_to_both_backends():
    for stack in STACKS.values():
        nets = [network(stack(), name) for name in ("c", "numpy")]
        X = samples(nets[0], 2, 9)
        one, other = (net.stepper(2) for net in nets)
        steps(one, X[:, :4])
        other.state = one.state
        np.testing.assert_allclose(steps(other, X[:, 4:]), steps(one, X[:, 4:]), rtol=0, atol=1e-12)


def test_states_that_cannot_be_are_refused(backend):
    step = network(STACKS["recurrent"](), backend).stepper(2)
    with pytest.raises(ShapeError, match=r"state must have shape \(2, 25\), got \(1, 25\)"):
        step.state = np.zeros((1, 25))
    with pytest.raises(DataError, match=r"state must be finite, but is NaN"):
        step.state = np.full((2, 25), np.nan)
    step = network(STACKS["blocks"](), backend).stepper(2)
    for count in (-1, 0.5, LENGTH + 1, [1, 2]):
        state = step.state
        state[:, -1] = count
        with pytest.raises(DataError, match=f"say how many of {LENGTH} positions are known"):
            step.state = state
    state = RNG.normal(size=state.shape) * 1e6  # anybody's, but for the last numbers
    state[:, -1] = LENGTH - 1
    with pytest.raises(DataError, match="what it has read are no tokens"):
        step.state = state
    state[:, -1 - LENGTH : -1] = 1
    step.state = state
    assert step([1, 2]).shape == (2, VOCABULARY)


# ------------------------------------------------------------------ what is refused

REFUSED = [
    ((5, 3), [Conv1D(4, 3, padding="same"), Dense(1)], r"Conv1D\(4, 3.* reads all positions"),
    ((5, 3), [Flatten(), Dense(1)], r"Flatten\(\) reads all positions"),
    ((5, 3), [Dense(2), GlobalAveragePool1D()], r"GlobalAveragePool1D\(\) reads all positions"),
    ((5, 3), [Bidirectional(LSTM(4)), Dense(1)], r"Bidirectional\(.* reads all positions"),
    ((5, 3), [GRU(4, reverse=True), Dense(1)], r"GRU\(4, reverse=True\) begins with the last"),
    ((5, 4), [MultiHeadAttention(2)], r"MultiHeadAttention\(2\) looks at what comes behind"),
    ((5, 4), [TransformerBlock(2)], r"TransformerBlock\(2\) looks at what comes behind"),
    ((5, 3), [Residual([Conv1D(3, 1), Dense(3)])], r"^Conv1D\(3, 1.* reads all positions"),
    ((5, 3), [LSTM(6), Reshape((2, 3)), GRU(4)], r"Reshape\(\(2, 3\)\) reads all positions"),
    ((None, 4), [MultiHeadAttention(2, causal=True)], "True\\) remembers each position, and has"),
    ((None, 4), [PositionEmbedding("sinusoidal")], "remembers each position, and has no end here"),
    (4, [Dense(1)], r"samples are no sequences, .* but have shape \(4,\)"),
    ((4, 4, 1), [Flatten(), Dense(1)], r"samples are no sequences, .* but have shape \(4, 4, 1\)"),
]


@pytest.mark.parametrize(("inputs", "layers", "match"), REFUSED)
def test_what_needs_all_positions_is_refused_by_name(inputs, layers, match):
    with pytest.raises(DataError, match=match):
        Network(inputs, layers, backend="numpy").stepper()


def test_arguments_that_are_not_valid_are_named():
    net = network(STACKS["words"](), "numpy")
    with pytest.raises(DataError, match="batch must be at least 1"):
        net.stepper(0)
    with pytest.raises(DataTypeError, match="frozen must be"):
        net.stepper(frozen=1)


WRONG = [
    ("recurrent", 1, [1.0, 2.0], ShapeError, r"x must have shape \(3,\) or \(1, 3\), got \(2,\)"),
    ("recurrent", 2, np.zeros(3), ShapeError, r"x must have shape \(2, 3\), got \(3,\)"),
    (
        "recurrent",
        1,
        [1.0, np.nan, 0.0],
        DataError,
        r"x must be finite, but is NaN at row 0, column 1",
    ),
    ("recurrent", 2, [[0, 1, 2], [0, 1, np.inf]], DataError, "x must be finite, but is infinite"),
    ("recurrent", 1, ["a", "b", "c"], DataTypeError, "x must hold numbers, got 'a'"),
    ("words", 1, VOCABULARY, DataError, "x is 11; tokens are 0 ... 10"),
    ("words", 1, -1, DataError, "x is -1; tokens"),
    ("words", 1, np.int64(99), DataError, "x is 99; tokens"),
    ("words", 3, [0, 12, 3], DataError, r"x\[1\] is 12; tokens"),
    ("words", 3, [0, 1], ShapeError, r"x must have shape \(3,\), got \(2,\)"),
    ("words", 1, 1.0, DataTypeError, "x must hold integers"),
    ("words", 1, True, DataTypeError, "x must hold integers"),
    ("words", 1, [[1]], ShapeError, r"x must have shape \(\) or \(1,\), got \(1, 1\)"),
]


@pytest.mark.parametrize(("stack", "batch", "x", "error", "match"), WRONG)
def test_what_is_no_position_changes_nothing(stack, batch, x, error, match):
    net = network(STACKS[stack](), "numpy")
    step = net.stepper(batch)
    step(samples(net, batch)[:, 0])
    before = step.state
    with pytest.raises(error, match=match):
        step(x)
    assert (step.state == before).all()


def test_numbers_of_any_kind_are_read(backend):
    net = network(STACKS["recurrent"](), backend)
    step, expected = net.stepper(), net.stepper()(np.array([1.0, 2.0, 3.0]))
    for x in ([1, 2, 3], np.array([[1, 2, 3]], np.float32), np.arange(1.0, 7.0, 1.0)[:3][None]):
        step.reset()
        assert (step(x) == expected).all()
    words = network(STACKS["words"](), backend).stepper()
    expected = words(7)
    for token in (np.uint8(7), np.array(7), [7], np.array([7], np.int16)):
        words.reset()
        assert (words(token) == expected).all()


# ------------------------------------------------------------------ threads and processes


def test_each_thread_may_have_its_own(backend):
    net = network(STACKS["blocks"](), backend)
    X = samples(net, 6, 20)

    def walk(row):
        return steps(net.stepper(frozen=row % 2 == 0), X[row : row + 1])

    expected = [walk(row) for row in range(6)]
    with ThreadPoolExecutor(3) as pool:
        assert all(map(np.array_equal, pool.map(walk, range(6)), expected))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_goes_on_by_itself(backend):
    net = network(STACKS["words"](), backend)
    step = net.stepper()
    step(3)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, step(5).tobytes())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 1000) == step(5).tobytes()
    os.close(read), os.close(write)


def test_a_stepper_is_not_copied(backend):
    step = Network((None, 2), [GRU(3), Dense(1)], seed=0, backend=backend).stepper()
    for copying in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="make another one, and set its state"):
            copying(step)


def test_a_state_that_has_read_no_tokens_is_refused(backend):
    layers = STACKS["blocks"]()
    step = Network(Tokens(VOCABULARY, LENGTH), layers, seed=0, backend=backend).stepper()
    step(3)
    kept, wrong = step.state, step.state
    wrong[0, np.flatnonzero(wrong[0] == 3)[-1]] = 0.5
    with pytest.raises(DataError, match="what it has read are no tokens"):
        step.state = wrong
    assert np.array_equal(step.state, kept)
