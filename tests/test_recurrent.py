"""Recurrent layers: against PyTorch, both backends, the same bits, files, and their mistakes."""

import itertools
import pickle

import numpy as np
import pytest

import pycnn
from pycnn import (
    GRU,
    LSTM,
    SGD,
    BatchNorm,
    Bidirectional,
    Conv1D,
    Dense,
    Dropout,
    Flatten,
    Network,
    SimpleRNN,
    gradient_check,
    initializers,
)
from pycnn._random import INITIAL_PARAMETERS, generator
from pycnn.backend.numpy.layer import BatchContext, forward_through
from pycnn.backend.numpy.plan import create_plan
from pycnn.exceptions import DataError, DataTypeError, ShapeError, UnknownNameError
from pycnn.layers import from_config

PUBLIC = {name: getattr(pycnn, name) for name in pycnn.__all__}
KINDS = {"simple_rnn": SimpleRNN, "lstm": LSTM, "gru": GRU}
STACKS = {
    **{kind: (lambda make=make: [make(5)]) for kind, make in KINDS.items()},
    "reverse": lambda: [GRU(5, reverse=True)],
    "relu": lambda: [SimpleRNN(5, "relu", weight_initializer="he_normal")],
    "gelu": lambda: [SimpleRNN(5, "gelu")],
    "two": lambda: [LSTM(5, return_sequences=True), GRU(4, reverse=True)],
    "two forward": lambda: [LSTM(5, return_sequences=True), GRU(4)],
    "both ends": lambda: [Bidirectional(LSTM(4, return_sequences=True)), Bidirectional(GRU(3))],
    "summed": lambda: [
        Bidirectional(SimpleRNN(4, return_sequences=True), "sum"),
        Bidirectional(LSTM(3), merge="sum"),
    ],
    "penalized": lambda: [GRU(5, l1=0.001, l2=0.01, max_norm=0.9)],
}


def network(stack, backend, shape=(6, 3), outputs=2, seed=3):
    """Return a network whose biases are no zeros, so that all of them matter."""
    net = Network(shape, [*STACKS[stack](), Dense(outputs)], loss="mse", seed=seed, backend=backend)
    rng = np.random.default_rng(seed)
    net.parameters[:] += 0.1 * rng.normal(size=net.parameters.size)
    return net


def data(rows, shape=(6, 3), outputs=2, seed=5):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, *shape)), rng.normal(size=(rows, outputs))


# ------------------------------------------------------------------ PyTorch


@pytest.fixture
def torch():
    """PyTorch on one thread: more take long to begin with so little work."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch
    torch.set_num_threads(before)


def in_torch(torch, layer, own, x, lengths=None):
    """Return what PyTorch makes of x by `layer`, whose arrays `own` has by their names."""
    if isinstance(layer, Dense):
        return x @ own["W"].T + own["b"]
    if isinstance(layer, Flatten):
        return x.flatten(1)
    both = isinstance(layer, Bidirectional)
    one = layer.forward if both else layer
    module = {SimpleRNN: torch.nn.RNN, LSTM: torch.nn.LSTM, GRU: torch.nn.GRU}[type(one)](
        x.shape[2], one.units, batch_first=True, bidirectional=both, dtype=torch.float64
    )
    named = {}
    for prefix, suffix in (("forward.", ""), ("backward.", "_reverse")) if both else (("", ""),):
        b = own[f"{prefix}b"]
        # Their second bias is there for the GRU's n alone.
        b_n = own.get(f"{prefix}b_n", b[:0])
        named[f"weight_ih_l0{suffix}"] = own[f"{prefix}W"]
        named[f"weight_hh_l0{suffix}"] = own[f"{prefix}U"]
        named[f"bias_ih_l0{suffix}"] = b
        named[f"bias_hh_l0{suffix}"] = torch.cat([torch.zeros_like(b[len(b_n) :]), b_n])
    turned = (lambda a: a.flip(1)) if one.reverse else (lambda a: a)
    given = turned(x)
    if lengths is not None:
        pack = torch.nn.utils.rnn.pack_padded_sequence
        given = pack(x, lengths, batch_first=True, enforce_sorted=False)
    outputs, state = torch.func.functional_call(module, named, (given,))
    if lengths is not None:
        unpack = torch.nn.utils.rnn.pad_packed_sequence
        outputs, _ = unpack(outputs, batch_first=True, total_length=x.shape[1])
    h = state[0] if isinstance(one, LSTM) else state
    ends = turned(outputs) if one.return_sequences else torch.cat([*h], dim=1)
    if both and layer.merge == "sum":
        return ends[..., : one.units] + ends[..., one.units :]
    return ends


def leaves_of(torch, net):
    return {name: torch.tensor(view, requires_grad=True) for name, view in net.tensors.items()}


def through_torch(torch, net, leaves, x, lengths=None):
    for number, layer in enumerate(net.layers, start=1):
        prefix = f"layers.{number}."
        own = {n.removeprefix(prefix): leaf for n, leaf in leaves.items() if n.startswith(prefix)}
        x = in_torch(torch, layer, own, x, lengths)
    return x


def check_against_torch(torch, net, X, y):
    leaves, inputs = leaves_of(torch, net), torch.tensor(X, requires_grad=True)
    outputs = through_torch(torch, net, leaves, inputs)
    loss = ((outputs - torch.tensor(y)) ** 2).sum() / (2 * len(X))
    loss.backward()
    found, gradient = net.gradients(X, y)
    expected = np.concatenate([leaf.grad.numpy().ravel() for leaf in leaves.values()])
    bound = {"rtol": 0, "atol": 1e-10 * max(1, abs(expected).max())}
    np.testing.assert_allclose(net.predict(X), outputs.detach().numpy(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(found, loss.item(), rtol=1e-10)
    np.testing.assert_allclose(gradient, expected, **bound)
    below = net.input_gradient(X, y).reshape(X.shape)  # of each sample's own loss
    np.testing.assert_allclose(below, len(X) * inputs.grad.numpy(), **bound)


def cases():
    every = itertools.product(
        *(KINDS, (False, True), (False, True), ("", "concatenate", "sum")),
        *((1, 2, 9), (1, 3, 8), (1, 5, 17), (1, 7, 25, 40)),
    )
    found = list(every)
    return [found[i] for i in np.random.default_rng(0).permutation(len(found))[:24]]


@pytest.mark.parametrize(
    ("kind", "reverse", "sequences", "merge", "positions", "features", "units", "samples"), cases()
)
def test_outputs_and_gradients_are_those_of_pytorch(
    torch, backend, kind, reverse, sequences, merge, positions, features, units, samples
):
    layer = KINDS[kind](units, return_sequences=sequences, reverse=reverse and not merge)
    layers = [Bidirectional(layer, merge) if merge else layer, *([Flatten()] if sequences else [])]
    net = Network((positions, features), layers, loss="mse", seed=1, backend=backend)
    rng = np.random.default_rng(2)
    net.parameters[:] += 0.1 * rng.normal(size=net.parameters.size)
    X = rng.normal(size=(samples, positions, features))
    check_against_torch(torch, net, X, rng.normal(size=(samples, net.outputs)))


@pytest.mark.parametrize("stack", ["simple_rnn", "lstm", "gru", "two", "both ends", "summed"])
def test_fifty_steps_are_those_of_pytorch(torch, backend, stack):
    net, (X, y) = network(stack, backend), data(11)
    leaves = leaves_of(torch, net)
    descent = torch.optim.SGD(leaves.values(), lr=0.05, momentum=0.9)
    for _ in range(50):
        descent.zero_grad()
        outputs = through_torch(torch, net, leaves, torch.tensor(X))
        (((outputs - torch.tensor(y)) ** 2).sum() / (2 * len(X))).backward()
        descent.step()
    net.fit(X, y, epochs=50, batch_size=11, shuffle=False, optimizer=SGD(0.05, momentum=0.9))
    for name, view in net.tensors.items():
        np.testing.assert_allclose(view, leaves[name].detach().numpy(), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "stack", ["simple_rnn", "lstm", "gru", "two forward", "both ends", "summed"]
)
def test_lengths_are_those_of_packed_sequences(torch, stack):
    layers = STACKS[stack]()
    net = Network((6, 3), [*layers, Dense(2)], loss="mse", seed=3, backend="numpy")
    (X, y), lengths = data(7), np.array([6, 1, 3, 6, 2, 5, 4])
    X[np.arange(6) >= lengths[:, None]] = 1e300  # of no matter
    leaves = leaves_of(torch, net)
    outputs = through_torch(torch, net, leaves, torch.tensor(X), torch.tensor(lengths))
    (((outputs - torch.tensor(y)) ** 2).sum() / 14).backward()
    _, gradient = net.gradients(X, y, lengths=lengths)
    expected = np.concatenate([leaf.grad.numpy().ravel() for leaf in leaves.values()])
    found = net.predict(X, lengths=lengths)
    np.testing.assert_allclose(found, outputs.detach().numpy(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-10)


# ------------------------------------------------------------------ the formulas


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_those_of_the_formula(backend, kind):
    net = network(kind, backend)
    (X, _), layer = data(4), net.layers[0]
    h, c = np.zeros((2, 4, 5))
    for t in range(6):
        x = X[:, t] @ layer.W.T + layer.b
        q = h @ layer.U.T
        if kind == "simple_rnn":
            h = np.tanh(x + q)
        elif kind == "lstm":
            i, f, g, o = np.split(x + q, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            r, u = sigmoid(x + q)[:, :5], sigmoid(x + q)[:, 5:10]
            h = (1 - u) * np.tanh(x[:, 10:] + r * (q[:, 10:] + layer.b_n)) + u * h
    output = h @ net.layers[1].W.T + net.layers[1].b
    np.testing.assert_allclose(net.predict(X), output, rtol=1e-12, atol=1e-14)


@pytest.mark.twin_when_thorough
@pytest.mark.parametrize("stack", [stack for stack in STACKS if stack != "relu"])
def test_gradient_is_that_of_differences(backend, stack):
    most = 1000 if backend == "c" else 60  # the twin's gradients agree, and take longer
    net = network(stack, backend, (3, 2), 1)
    assert gradient_check(net, *data(2, (3, 2), 1), max_parameters=most) < 1e-7


@pytest.mark.parametrize("stack", STACKS)
def test_backends_agree(core, stack):
    X, y = data(13)
    nets = [network(stack, backend) for backend in ("c", "numpy")]
    for found, expected in zip(*(net.gradients(X, y) for net in nets), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(*(net.predict(X) for net in nets), rtol=1e-12, atol=1e-13)
    for net in nets:
        net.fit(X, y, epochs=5, batch_size=4, optimizer=SGD(0.05))
    np.testing.assert_allclose(*(net.parameters for net in nets), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_last_output_is_one_of_the_sequence(backend, kind, reverse):
    def outputs(sequences):
        layers = [KINDS[kind](5, return_sequences=sequences, reverse=reverse)]
        layers += [Flatten()] if sequences else []
        return Network((6, 3), layers, loss="mse", seed=1, backend=backend).predict(data(4)[0])

    whole = outputs(True).reshape(4, 6, 5)
    np.testing.assert_array_equal(outputs(False), whole[:, 0 if reverse else -1])


@pytest.mark.parametrize("kind", KINDS)
def test_reverse_reads_the_sequence_from_its_end(backend, kind):
    X, _ = data(4)
    layers = [[KINDS[kind](5, reverse=reverse)] for reverse in (False, True)]
    forward, turned = (
        Network((6, 3), each, loss="mse", seed=1, backend=backend) for each in layers
    )
    np.testing.assert_array_equal(forward.predict(X), turned.predict(X[:, ::-1].copy()))


# ------------------------------------------------------------------ lengths and states, in the twin


def in_twin(net, X, **context):
    """Return the outputs of the layers in front of the last, from NumPy's backend."""
    plan = create_plan(net.architecture.specs, "mse")
    context = BatchContext(alone=True, **context)
    through = forward_through(plan.layers[:-1], net.parameters, X.reshape(len(X), -1).T, context)
    return through.A[-1].T


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_may_come_in_parts(kind):
    net, (X, _) = network(kind, "numpy"), data(4)
    short = Network((2, 3), [*STACKS[kind](), Dense(2)], loss="mse", backend="numpy")
    short.parameters[:] = net.parameters
    states = np.zeros((create_plan(short.architecture.specs, "mse").state_count, 4))
    for first in (0, 2, 4):
        parts = in_twin(short, X[:, first : first + 2], states=states)
    np.testing.assert_array_equal(parts, in_twin(net, X))


@pytest.mark.parametrize("stack", ["simple_rnn", "lstm", "gru", "reverse", "two", "both ends"])
def test_what_is_behind_a_length_does_not_matter(stack):
    net, (X, _) = network(stack, "numpy"), data(6)
    lengths = np.arange(1, 7)
    spoilt = X.copy()
    spoilt[np.arange(6) >= lengths[:, None]] = np.nan
    found = in_twin(net, spoilt, lengths=lengths)
    for n, (row, length) in enumerate(zip(X, lengths, strict=True)):
        alone = Network((length, 3), [*STACKS[stack](), Dense(2)], loss="mse", backend="numpy")
        alone.parameters[:] = net.parameters
        np.testing.assert_array_equal(found[n], in_twin(alone, row[None, :length])[0])


# ------------------------------------------------------------------ the same bits


@pytest.mark.parametrize("stack", STACKS)
def test_a_sample_has_the_same_bits_wherever_it_stands(backend, stack):
    net, (X, _) = network(stack, backend), data(61)
    whole = net.predict(X)
    for some in (slice(0, 1), slice(7, 9), slice(3, 31), slice(60, 61)):
        np.testing.assert_array_equal(net.predict(X[some]), whole[some])
    strided = np.zeros((61, 6, 6))
    strided[:, :, ::2] = X
    np.testing.assert_array_equal(net.predict(strided[:, :, ::2]), whole)
    np.testing.assert_array_equal(net.predict(X.reshape(61, 18)), whole)
    np.testing.assert_array_equal(net.predictor()(X[5:6]), whole[5:6])


@pytest.mark.parametrize("stack", STACKS)
def test_training_has_the_same_bits_on_any_threads_and_resumed(core, stack, tmp_path):
    X, y = data(61)
    before = pycnn.get_num_threads()

    options = {"batch_size": 25, "optimizer": SGD(0.02, momentum=0.5)}

    def trained(threads, epochs=4):
        pycnn.set_num_threads(threads)
        net = network(stack, "c")
        net.fit(X, y, epochs=epochs, **options)
        return net

    try:
        expected = trained(1).parameters
        for threads in (2, 3):
            np.testing.assert_array_equal(trained(threads).parameters, expected)
        trained(2, 2).save(tmp_path / "half.safetensors", training_state=True)
        half = pycnn.load(tmp_path / "half.safetensors", backend="c")
        half.fit(X, y, epochs=4, resume=True, **options)
        np.testing.assert_array_equal(half.parameters, expected)
    finally:
        pycnn.set_num_threads(before)


# ------------------------------------------------------------------ as they are written down


@pytest.mark.parametrize("make", [LSTM, GRU])
def test_pythons_errors_name_the_layer(make):
    name = make.__name__
    with pytest.raises(TypeError, match=rf"^{name}.__init__\(\) got an unexpected .* 'units_'"):
        make(units_=3)
    with pytest.raises(TypeError, match=rf"^{name}.__init__\(\) takes 2 positional"):
        make(3, "tanh")


# ------------------------------------------------------------------ where they start


def test_recurrent_weights_start_orthogonal_and_gates_open():
    net = Network((6, 3), [LSTM(7), Dense(2)], loss="mse", seed=0, backend="numpy")
    layer = net.layers[0]
    for U in layer.U.reshape(4, 7, 7):
        np.testing.assert_allclose(U @ U.T, np.eye(7), atol=1e-14)
    np.testing.assert_array_equal(layer.b.reshape(4, 7)[[0, 2, 3]], 0.0)
    np.testing.assert_array_equal(layer.b.reshape(4, 7)[1], 1.0)
    assert np.sqrt(6 / 10) * 0.8 < abs(layer.W).max() < np.sqrt(6 / 10)


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (8, 3), (3, 8)])
def test_orthogonal_matrices_keep_lengths(shape):
    drawn = initializers.get("orthogonal", "x").draw(generator(4, INITIAL_PARAMETERS), *shape)
    small = drawn if shape[0] <= shape[1] else drawn.T
    np.testing.assert_allclose(small @ small.T, np.eye(min(shape)), atol=1e-14)
    twice = initializers.Orthogonal(2.0).draw(generator(4, INITIAL_PARAMETERS), *shape)
    np.testing.assert_array_equal(twice, 2 * drawn)


def test_orthogonal_matrices_are_alike_likely():
    bits = generator(1, INITIAL_PARAMETERS)
    law = initializers.Orthogonal()
    drawn = np.array([law.draw(bits, 3, 3) for _ in range(1000)])
    assert abs(drawn.mean(axis=0)).max() < 0.08
    np.testing.assert_allclose((drawn**2).mean(axis=0), 1 / 3, atol=0.05)
    assert abs(np.mean(np.linalg.det(drawn))) < 0.1  # reflections as often as rotations


# ------------------------------------------------------------------ as layers of a network


@pytest.mark.parametrize("stack", STACKS)
def test_files_and_copies_predict_the_same_bits(backend, stack, tmp_path):
    net, (X, y) = network(stack, backend), data(5)
    net.fit(X, y, epochs=1, optimizer=SGD(0.01))
    net.save(tmp_path / "net.safetensors")
    for other in (
        pycnn.load(tmp_path / "net.safetensors", backend=backend),
        pickle.loads(pickle.dumps(net)),
    ):
        np.testing.assert_array_equal(other.predict(X), net.predict(X))
        assert repr(other.layers) == repr(net.layers)


def test_folding_leaves_recurrent_layers_as_they_are(backend):
    layers = [BatchNorm(), LSTM(5, return_sequences=True), Dropout(0.2), BatchNorm(), GRU(4)]
    net = Network((6, 3), [*layers, BatchNorm(), Dense(2)], loss="mse", seed=1, backend=backend)
    X, y = data(16)
    net.fit(X, y, epochs=3, optimizer=SGD(0.01))
    small = net.folded()
    assert [layer.kind for layer in small.layers] == [
        *("batch_norm", "lstm", "batch_norm", "gru", "dense")
    ]
    np.testing.assert_allclose(small.predict(X), net.predict(X), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "shown",
    [
        "SimpleRNN(4, 'relu', recurrent_initializer=Normal(mean=0.0, std=0.1), l2=0.1)",
        "LSTM(4, return_sequences=True, reverse=True, weight_initializer=HeNormal())",
        "GRU(4, bias_initializer=Uniform(low=0.0, high=1.0), max_norm=2.0)",
        "Bidirectional(GRU(4, return_sequences=True), merge='sum')",
    ],
)
def test_repr_and_config_rebuild_the_layer(shown):
    layer = eval(shown, PUBLIC | vars(initializers))
    assert repr(layer) == shown
    assert repr(from_config(layer.config())) == shown


def test_arrays_are_views(backend):
    net = network("gru", backend)
    layer = net.layers[0]
    for name in ("W", "U", "b", "b_n"):
        setattr(layer, name, np.full(getattr(layer, name).shape, 0.25))
        np.testing.assert_array_equal(net.tensors[f"layers.1.{name}"], 0.25)


def test_summary_names_the_layers_within(capsys, backend):
    Network((6, 3), [Bidirectional(SimpleRNN(4)), Dense(2)], backend=backend).summary()
    shown = capsys.readouterr().out
    assert "1.backward simple_rnn  tanh" in shown
    assert "W (4, 3), U (4, 4), b (4,)" in shown


# ------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: LSTM(0), DataError, "units must be"),
        (lambda: GRU(4, return_sequences=1), DataTypeError, "return_sequences must be"),
        (lambda: GRU(4, reverse="yes"), DataTypeError, "reverse must be"),
        (lambda: SimpleRNN(4, "softmax"), DataError, r"Dense\(classes, 'softmax'\) behind it"),
        (lambda: SimpleRNN(4, "tanhh"), UnknownNameError, "tanh"),
        (lambda: LSTM(4, recurrent_initializer="orthogonall"), UnknownNameError, "orthogonal"),
        (
            lambda: Bidirectional(Dense(4)),
            DataTypeError,
            r"a recurrent one such as LSTM\(16\), got",
        ),
        (lambda: Bidirectional(LSTM(4), "mean"), UnknownNameError, "concatenate"),
        (lambda: initializers.Orthogonal("a"), DataTypeError, "gain must be a number"),
        (lambda: LSTM(4).U, pycnn.PycnnError, "not part of a network"),
    ],
)
def test_mistakes_in_layers_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("layer", [SimpleRNN(4), Bidirectional(GRU(4))])
@pytest.mark.parametrize(
    ("shape", "message"),
    [(12, r"\(12,\): Reshape\(\(12, 1\)\) in front"), ((4, 4, 2), r"Reshape\(\(4, 8\)\) in front")],
)
def test_samples_that_are_no_sequences_are_refused(layer, shape, message):
    with pytest.raises(ShapeError, match=message):
        Network(shape, [layer, Dense(1)])


def test_a_sequence_of_outputs_can_be_read_by_what_reads_sequences(backend):
    layers = [LSTM(3, return_sequences=True), Conv1D(2, 3), GRU(2), Dense(1)]
    net = Network((6, 3), layers, loss="mse", seed=0, backend=backend)
    assert gradient_check(net, *data(2, outputs=1)) < 1e-7
