"""Text that a network writes: how a token is drawn, and from what."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycnn import (
    GRU,
    LSTM,
    Adam,
    BatchNorm,
    Bidirectional,
    Conv1D,
    Dense,
    Embedding,
    Flatten,
    LayerNorm,
    Network,
    PositionEmbedding,
    Tokens,
    TransformerBlock,
    _random,
    backend,
)
from pycnn.exceptions import DataError, DataTypeError, PairingError, ShapeError

PROBABILITIES = st.lists(
    st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.125, 0.25, 5e-324, 1e-300])),
    min_size=1,
    max_size=12,
).filter(any)
SETTINGS = st.tuples(
    st.one_of(st.sampled_from([0.0, 1.0, 1e-300, 1e300]), st.floats(0.01, 5)),
    st.integers(0, 13),
    st.one_of(st.sampled_from([1.0, 1e-300]), st.floats(0.01, 1)),
)
DRAWS = st.one_of(st.floats(0, 1, exclude_max=True), st.sampled_from([1 - 2**-53, 0.25, 0.5]))


@given(PROBABILITIES, SETTINGS, DRAWS)
@pytest.mark.usefixtures("core")
def test_both_backends_draw_the_same(probabilities, settings, draw):
    """To the bit: a draw that lies where one token ends and the next begins may show a last bit."""
    drawn = {
        backend.load(name).sampler(*settings)(np.array(probabilities), draw)
        for name in ("c", "numpy")
    }
    assert len(drawn) == 1
    assert probabilities[drawn.pop()] > 0


@pytest.mark.usefixtures("core")
@given(st.lists(st.floats(1e-3, 1), min_size=2, max_size=5), st.floats(0.3, 3))
def test_both_backends_draw_the_same_at_the_very_border(probabilities, temperature):
    p = np.array(probabilities)
    c, numpy = (backend.load(name).sampler(temperature, 0, 1.0) for name in ("c", "numpy"))
    weights = (p / p.max()) ** (1 / temperature)
    border = weights[0] / weights.sum()
    near = border + np.arange(-6, 7) * np.spacing(border)
    assert [c(p.copy(), u) for u in near] == [numpy(p.copy(), u) for u in near]
    assert numpy(p, border * (1 - 1e-14)) == 0
    assert numpy(p, border * (1 + 1e-14)) == 1


def test_tokens_are_drawn_as_often_as_they_are_probable(backend):
    from pycnn.backend import load

    p = np.array([0.1, 0.4, 0.0, 0.2, 0.2, 0.1])
    draws = _random.uniform(_random.generator(0, _random.GENERATING), 700)

    def frequencies(*settings):
        sample = load(backend).sampler(*settings)
        tokens = [sample(p.copy(), u) for u in draws]
        return np.bincount(tokens, minlength=6) / len(tokens)

    def near(expected):
        return pytest.approx(np.array(expected) / np.sum(expected), abs=0.055)

    assert frequencies(1.0, 0, 1.0) == near(p)
    assert frequencies(0.5, 0, 1.0) == near(p**2)
    assert frequencies(2.0, 0, 1.0) == near(p**0.5)
    assert frequencies(1.0, 2, 1.0) == near([0, 4, 0, 2, 2, 0])  # what equals the last, too
    assert frequencies(1.0, 0, 0.45) == near([0, 4, 0, 2, 2, 0])
    assert frequencies(0.5, 3, 0.5) == near([0, 1, 0, 0, 0, 0])
    assert frequencies(0.0, 0, 1.0) == near([0, 1, 0, 0, 0, 0])


def test_what_are_no_probabilities_draws_nothing(backend):
    from pycnn.backend import load

    for temperature in (0.0, 0.5, 1.0):
        sample = load(backend).sampler(temperature, 0, 1.0)
        for wrong in ([np.nan, 1.0], [-0.1, 1.0], [0.0, 0.0], [np.inf, 1.0], [1.7e308, 1.7e308]):
            assert sample(np.array(wrong), 0.5) == -1


@pytest.mark.parametrize("seed", [0, 7, 2**32, 2**64 - 1])
@pytest.mark.usefixtures("core")
def test_the_streams_of_draws_are_pythons(seed):
    from pycnn._native import lib

    expected = _random.uniform(_random.generator(seed, _random.GENERATING), 50)
    assert [lib.pycnn_draw(seed, i) for i in range(50)] == expected.tolist()


# ------------------------------------------------------------------ what a network writes

LENGTH, VOCABULARY = 3, 7


def network(backend="numpy"):
    """Return one that has been taught to count."""
    layers = [Embedding(5), Flatten(), Dense(12, "tanh"), Dense(VOCABULARY, "softmax")]
    net = Network(Tokens(VOCABULARY, length=LENGTH), layers, seed=0, backend=backend)
    X = (np.arange(VOCABULARY)[:, None] + np.arange(LENGTH)) % VOCABULARY
    net.fit(X, (X[:, -1] + 1) % VOCABULARY, epochs=150, optimizer=Adam(0.05), batch_size=None)
    return net


@pytest.fixture(scope="module")
def net():
    return network()


def test_it_goes_on_as_it_was_taught(net):
    assert net.generate([1, 2, 3], 10, temperature=0).tolist() == [4, 5, 6, 0, 1, 2, 3, 4, 5, 6]
    assert net.generate(np.array([6, 6, 1, 2, 3], np.uint8), 2, temperature=0).tolist() == [4, 5]
    assert net.generate([1, 2, 3], 0).shape == (0,)


def test_each_token_is_drawn_from_what_predict_says(net):
    draws = _random.uniform(_random.generator(5, _random.GENERATING), 30)
    sample = net.core.sampler(1.7, 5, 0.95)
    known = [0, 0, 0]
    for draw in draws:
        known.append(sample(net.predict([known[-LENGTH:]])[0], draw))
    written = net.generate([0] * 3, 30, temperature=1.7, top_k=5, top_p=0.95, seed=5)
    assert written.tolist() == known[3:]
    assert len(set(known)) > 3
    assert (net.generate([0] * 3, 30, temperature=1.7, seed=6) != written).any()


def test_more_tokens_begin_as_fewer_do(net):
    written = net.generate([0, 0, 0], 1100, temperature=2.0, seed=1)
    assert (net.generate([0, 0, 0], 40, temperature=2.0, seed=1) == written[:40]).all()
    assert net.generate([0, 0, 0], 20).shape == (20,)  # a fresh seed


def test_it_stops_behind_a_token_and_tells_of_each(net):
    seen = []
    written = net.generate([1, 2, 3], 10, temperature=0, stop=6, callback=seen.append)
    assert written.tolist() == seen == [4, 5, 6]
    assert net.generate([1, 2, 3], 10, temperature=0, stop={0, 5}).tolist() == [4, 5]
    assert net.generate([1, 2, 3], 3, temperature=0, stop=[]).tolist() == [4, 5, 6]


def test_an_exception_of_the_callback_ends_it(net):
    def interrupt(token):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        net.generate([1, 2, 3], 10, callback=interrupt)


def test_each_token_is_told_in_its_order_however_many_are_written_at_once(backend):
    for layers in ([GRU(4, return_sequences=True)], [Flatten()]):
        net = Network(
            Tokens(5, 2), [Embedding(3), *layers, Dense(5, "softmax")], seed=0, backend=backend
        )
        told = []

        def tell(token, told=told):
            told.append(token)
            if len(told) == 250:
                raise KeyboardInterrupt

        expected = net.generate([1, 2], 300, seed=1).tolist()
        with pytest.raises(KeyboardInterrupt):
            net.generate([1, 2], 300, seed=1, callback=tell)
        assert told == expected[:250]
        end = expected.index(expected[40])
        assert net.generate([1, 2], 300, seed=1, stop=expected[40]).tolist() == expected[: end + 1]


WRONG = [
    ({"start": [1, 2, 7]}, DataError, r"start\[2\] is 7; tokens are 0 ... 6"),
    ({"start": [1, -1, 2]}, DataError, r"start\[1\] is -1"),
    ({"start": []}, DataError, "start must have at least one token, got none"),
    (
        {"start": [1, 2]},
        DataError,
        r"start must have at least 3 tokens, .* Flatten\(",
    ),
    ({"start": [[1, 2, 3]]}, ShapeError, r"start must have shape \(tokens,\), got \(1, 3\)"),
    ({"start": [1.0, 2.0, 3.0]}, DataTypeError, "start must hold integers"),
    ({"start": "abc"}, DataTypeError, "start must be tokens, got 'abc'; a tokenizer's encode"),
    ({"count": -1}, DataError, "count must be at least 0"),
    ({"count": 1.0}, DataTypeError, "count must be an integer"),
    ({"temperature": -0.5}, DataError, "temperature must be finite and at least 0"),
    ({"temperature": np.nan}, DataError, "temperature must be finite"),
    ({"top_k": 0}, DataError, "top_k must be at least 1"),
    ({"top_p": 0.0}, DataError, "top_p must be finite and above 0 and at most 1"),
    ({"top_p": 1.1}, DataError, "top_p must be finite and above 0 and at most 1"),
    ({"seed": -1}, DataError, "seed must be None or an integer"),
    ({"stop": 7}, DataError, r"stop\[0\] is 7"),
    ({"stop": "a"}, DataTypeError, "stop must hold integers"),
    ({"stop": 1.5}, DataTypeError, "stop must hold integers"),
    ({"stop": [[1]]}, ShapeError, r"stop must have shape \(tokens,\)"),
    ({"callback": 3}, DataTypeError, "callback must be callable, got 3"),
]


@pytest.mark.parametrize(("arguments", "error", "match"), WRONG)
def test_arguments_that_are_not_valid_are_named(net, arguments, error, match):
    start, count, *_ = ({"start": [1, 2, 3], "count": 2} | arguments).values()
    others = {name: value for name, value in arguments.items() if name not in ("start", "count")}
    with pytest.raises(error, match=match):
        net.generate(start, count, **others)


def test_networks_that_cannot_write_are_refused():
    with pytest.raises(DataError, match=r"generate needs a network on Tokens\(vocab"):
        Network(3, [Dense(3, "softmax")], backend="numpy").generate([1], 1)
    for output in (Dense(6, "softmax"), Dense(7, "sigmoid")):
        net = Network(Tokens(7, 3), [Embedding(2), Flatten(), output], backend="numpy")
        with pytest.raises(PairingError, match=r"generate needs a softmax .* each of 7 tok"):
            net.generate([1, 2, 3], 1)


def test_parameters_that_are_not_finite_give_no_probabilities(net, backend):
    broken = copy.deepcopy(net)
    broken.layers[-1].b[:] = np.nan
    with pytest.raises(DataError, match="no probabilities for token 0 of what it writes"):
        broken.generate([1, 2, 3], 5)
    layers = [Embedding(3), GRU(4, return_sequences=True), Dense(3, "softmax")]
    broken = Network(Tokens(3, 4), layers, seed=0, backend=backend)
    broken.layers[0].W[2] = np.nan
    told = []
    with pytest.raises(DataError, match=r"no probabilities for token (\d+) of what it writes"):
        broken.generate([0], 100, seed=0, callback=told.append)
    assert told == broken.generate([0], 100, seed=0, stop=2).tolist()  # which the rest depends on


# ------------------------------------------------------------------ at each position


def transformer(causal, backend="numpy"):
    layers = [
        *(Embedding(8), PositionEmbedding(), TransformerBlock(2, causal=causal)),
        *(LayerNorm(), Dense(VOCABULARY, "softmax")),
    ]
    net = Network(Tokens(VOCABULARY, length=6), layers, seed=0, backend=backend)
    net.parameters *= 4
    return net


def windows_by_hand(count, length):
    """Return where the window begins from which each of so many tokens is drawn."""
    begins = [0]
    for known in range(2, count + 1):
        full = known - 1 - begins[-1] == length
        begins.append(known - 1 - length // 2 if full else begins[-1])
    return begins


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("start", [[5], [1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5, 6, 0, 1, 2]])
def test_a_window_that_is_full_begins_the_next_with_its_last_half(backend, causal, start):
    net = transformer(causal, backend)
    draws = _random.uniform(_random.generator(3, _random.GENERATING), 20)
    begins = windows_by_hand(len(start) + 20, 6)
    sample = net.core.sampler(1.3, 0, 1.0)
    known = list(start)
    for draw in draws:
        context = known[begins[len(known) - 1] :]
        padded = [[*context, *[0] * (6 - len(context))]]
        out = net.predict(padded, lengths=[len(context)])[0, len(context) - 1]
        known.append(sample(out.copy(), draw))
    assert net.generate(start, 20, temperature=1.3, seed=3).tolist() == known[len(start) :]
    assert len(set(known[len(start) :])) > 2


@pytest.mark.parametrize("length", [1, 3, None])
def test_recurrent_layers_remember_more_than_a_window(backend, length):
    layers = [Embedding(5), GRU(6, return_sequences=True), LSTM(4, return_sequences=True)]
    layers += [BatchNorm(), Dense(VOCABULARY, "softmax")]
    net = Network(Tokens(VOCABULARY, length), layers, seed=0, backend=backend)
    whole = Network(Tokens(VOCABULARY, 34), layers, seed=0, backend=backend)
    net.parameters *= 4
    whole.parameters[:] = net.parameters
    written = net.generate([1, 2, 3, 4], 30, seed=8)
    draws = _random.uniform(_random.generator(8, _random.GENERATING), 30)
    sample, known = net.core.sampler(1.0, 0, 1.0), [1, 2, 3, 4, *written]
    outputs = whole.predict([known])[0]
    assert [sample(p.copy(), u) for p, u in zip(outputs[3:], draws, strict=False)] == known[4:]
    assert len(set(known)) > 3


def test_a_single_output_is_that_behind_a_window_or_where_there_is_none_behind_all(backend):
    layers = [Embedding(5), GRU(6), Dense(VOCABULARY, "softmax")]
    for length in (3, None):
        net = Network(Tokens(VOCABULARY, length), layers, seed=0, backend=backend)
        net.parameters *= 4
        known = [5, 1, 0, 2]
        draws = _random.uniform(_random.generator(4, _random.GENERATING), 20)
        for draw in draws:
            out = net.predict([known if length is None else known[-length:]])[0]
            known.append(net.core.sampler(0.7, 0, 1.0)(out, draw))
        assert net.generate(known[:4], 20, temperature=0.7, seed=4).tolist() == known[4:]


def test_what_reads_all_at_once_needs_a_length():
    layers = [Embedding(4), Bidirectional(LSTM(4)), Dense(VOCABULARY, "softmax")]
    net = Network(Tokens(VOCABULARY), layers, seed=0, backend="numpy")
    with pytest.raises(DataError, match=r"needs a network on Tokens\(7, length\).*: Bidirect"):
        net.generate([1], 3)


def test_within_a_window_it_is_what_the_whole_says():
    """A causal network's outputs at all positions at once are those that it wrote one by one by."""
    net = transformer(True)
    written = net.generate([2], 6, temperature=0)
    out = net.predict([[2, *written[:5]]])[0]
    assert (out.argmax(axis=1) == written).all()


@pytest.mark.usefixtures("core")
@pytest.mark.parametrize(
    "layers",
    [
        lambda: [GRU(6, return_sequences=True), Dense(VOCABULARY, "softmax")],
        lambda: [Bidirectional(LSTM(4)), Dense(VOCABULARY, "softmax")],
        lambda: [TransformerBlock(2, causal=True), Dense(VOCABULARY, "softmax")],
    ],
    ids=["at each position", "behind all", "attention"],
)
def test_both_backends_write_the_same(layers):
    texts = []
    for name in ("c", "numpy"):
        net = Network(Tokens(VOCABULARY, 6), [Embedding(4), *layers()], seed=0, backend=name)
        texts.append(net.generate([3, 1], 40, seed=2).tolist())
    assert texts[0] == texts[1]
    assert len(set(texts[0])) > 3


def test_what_cannot_be_read_in_part_gives_one_row():
    layers = [Embedding(4), Conv1D(4, 3, padding="same"), Dense(7, "softmax")]
    net = Network(Tokens(7, length=4), layers, seed=0, backend="numpy")
    with pytest.raises(DataError, match=r"the output must be one row, .* Conv1D"):
        net.generate([1, 2, 3, 4], 1)


def test_outputs_that_are_not_the_tokens_in_their_order_are_refused(backend):
    X = np.arange(40)[:, None] % 7
    net = Network(Tokens(7, length=1), [Embedding(3), Flatten(), Dense(7, "softmax")], seed=0)
    net.fit(X, np.array(list("gfedcba"))[X[:, 0]], epochs=1)
    with pytest.raises(PairingError, match="an output for each token in their order"):
        net.generate([1], 2)
    same = Network(net.input_shape, net.layers, seed=0, backend=backend)
    same.fit(X, (X[:, 0] + 1) % 7, epochs=1)
    assert len(same.generate([1], 2)) == 2


def test_seeds_counts_and_stops_at_their_ends(backend):
    net = Network(Tokens(5), [Embedding(3), GRU(4), Dense(5, "softmax")], seed=0, backend=backend)
    with pytest.raises(DataError, match=r"seed must be below 2\*\*64"):
        net.generate([1], 2, seed=2**64)
    assert len(net.generate([1], 2, seed=2**64 - 1)) == 2
    with pytest.raises(ShapeError, match="does not fit into memory"):
        net.generate([1], 2**62)
    assert (
        net.generate(
            [1], 3, temperature=0, stop=np.array(net.generate([1], 1, temperature=0)[0])
        ).size
        == 1
    )
