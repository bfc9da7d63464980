"""Calls of the core that Python itself does not need, held to what Python has."""

import hashlib
import inspect
import pickle

import numpy as np
import pytest

from pycnn import (
    GRU,
    LSTM,
    SGD,
    Adagrad,
    Adam,
    BatchNorm,
    Bidirectional,
    Conv1D,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    LayerNorm,
    MultiHeadAttention,
    Network,
    PositionEmbedding,
    Reshape,
    Residual,
    RMSprop,
    Rprop,
    SimpleRNN,
    TiedDense,
    Tokens,
    TransformerBlock,
    _random,
)
from pycnn.activations import ACTIVATIONS
from pycnn.backend.interface import Data, TrainingState
from pycnn.exceptions import DataError, ShapeError

pytestmark = pytest.mark.usefixtures("core")


@pytest.fixture
def native():
    from pycnn import _native

    return _native.ffi, _native.lib


def block(units):
    inner = [Dense(4), BatchNorm("relu"), Dropout(0.25), Dense(units)]
    return Residual(inner, shortcut=Residual([Dense(units, "tanh")], shortcut=Dense(units)))


LAYERS = [
    Dense(6, "relu"),
    BatchNorm(),
    block(5),
    LayerNorm("silu"),
    Residual([block(5), Dense(5)]),
]


def test_tensors_have_the_names_and_places_that_python_gives_them(native):
    ffi, lib = native
    images = [Reshape((5, 1, 1)), Conv2D(3, (2, 1)), Conv2D(2, 1, use_bias=False), Flatten()]
    net = Network(3, [*LAYERS, *images, Dense(2, "softmax")], seed=0, backend="c")
    plan = net.plan.network
    roles = ["weight", "bias", "scale", "statistic"]
    found = []
    for number in range(lib.pycnn_network_tensor_count(plan)):
        tensor, name = ffi.new("pycnn_tensor *"), ffi.new("char[]", 100)
        assert lib.pycnn_network_tensor(plan, number, tensor) == lib.PYCNN_OK
        assert lib.pycnn_network_tensor_name(plan, number, name, 100) < 100
        shape = tuple(tensor.shape[0 : tensor.dims])
        found.append((ffi.string(name).decode(), shape, roles[tensor.role], tensor.offset))
    table = net.architecture.tensors
    assert found == [(t.full_name, t.shape, t.role, t.offset) for t in table]
    assert lib.pycnn_network_theta_size(plan) == net.theta.size
    assert lib.pycnn_network_inputs(plan) == 3
    assert lib.pycnn_network_outputs(plan) == 2


def sequences():
    recurrent = [
        SimpleRNN(4, "relu", return_sequences=True),
        Bidirectional(LSTM(3, return_sequences=True)),
        Bidirectional(GRU(4, return_sequences=True), merge="sum"),
        LSTM(7),
        Dense(2),
    ]
    language = [Embedding(8), PositionEmbedding(), TransformerBlock(2), MultiHeadAttention(4)]
    yield (5, 3), [Dense(6, "relu"), LayerNorm(), *recurrent]
    yield Tokens(9, 6), [*language, PositionEmbedding("sinusoidal"), TiedDense("softmax")]


SEEDS = [0, 1, 2**32 - 1, 2**32, 2**64 - 1, 12345678901234567890]


@pytest.mark.parametrize(("inputs", "layers"), list(sequences()), ids=["recurrent", "language"])
def test_networks_of_sequences_start_where_pythons_start(native, inputs, layers):
    ffi, lib = native
    net = Network(inputs, layers, seed=7, backend="c")
    theta = np.full(net.theta.size, np.nan)
    lent = ffi.from_buffer("double[]", theta)
    assert lib.pycnn_initialize(lent, theta.size, net.plan.network, 7) == lib.PYCNN_OK
    assert theta.tobytes() == net.theta.tobytes()


@pytest.mark.parametrize("seed", SEEDS)
def test_networks_start_where_pythons_start(native, seed):
    ffi, lib = native
    dense = [Dense(units, f) for units, f in zip(range(1, 99), ACTIVATIONS, strict=False)]
    images = [Dense(12), Reshape((4, 3, 1))]
    images += [Conv2D(2, (3, 2), f, padding="same") for f in ("relu", "tanh", "linear")]
    images += [Conv2D(3, 2, use_bias=False), Reshape((6, 3)), Conv1D(4, 3, "selu"), Flatten()]
    layers = [*LAYERS, *dense, *images, Dense(2, "softmax")]
    net = Network(3, layers, seed=seed, backend="c")
    theta = np.full(net.theta.size, np.nan)
    lent = ffi.from_buffer("double[]", theta)
    assert lib.pycnn_initialize(lent, theta.size, net.plan.network, seed) == lib.PYCNN_OK
    assert theta.tobytes() == net.theta.tobytes()
    assert lib.pycnn_initialize(lent, theta.size - 1, net.plan.network, 0) == lib.PYCNN_ERROR_SIZE
    assert lib.pycnn_initialize(ffi.NULL, theta.size, net.plan.network, 0) != lib.PYCNN_OK
    assert lib.pycnn_initialize(lent, theta.size, ffi.NULL, 0) == lib.PYCNN_ERROR_ARGUMENT
    assert theta.tobytes() == net.theta.tobytes()


def permutation(native, rows, seed, epoch):
    ffi, lib = native
    order = np.empty(rows, np.intp)
    assert lib.pycnn_permutation(ffi.from_buffer("size_t[]", order), rows, seed, epoch) == 0
    return order


@pytest.mark.parametrize("seed", SEEDS)
def test_epochs_have_the_order_and_the_dropout_that_python_gives_them(native, seed):
    _, lib = native
    for rows, epoch in [(1, 0), (2, 3), (16, 1), (17, 10**6), (1000, 10**9), (2500, 1), (65537, 7)]:
        expected = _random.permutations(seed, rows)(epoch, 1)[0]
        assert (permutation(native, rows, seed, epoch) == expected).all()
        assert lib.pycnn_dropout_key(seed, epoch) == _random.dropout_keys(seed, epoch, 1)[0]


def test_rows_whose_random_numbers_begin_alike_are_in_order(native):
    seed, epoch, rows = 99, 0, 2**20  # found by trying
    keys = _random.generator(seed, _random.SHUFFLING).random_raw(rows)
    expected = _random.permutations(seed, rows)(epoch, 1)[0]
    alike = keys[expected[1:]] >> np.uint64(20) == keys[expected[:-1]] >> np.uint64(20)
    assert (alike & (expected[1:] < expected[:-1])).any()
    assert (permutation(native, rows, seed, epoch) == expected).all()


def test_an_order_that_cannot_be_is_refused(native):
    ffi, lib = native
    order = ffi.new("size_t[]", 1)
    assert lib.pycnn_permutation(ffi.NULL, 1, 0, 0) == lib.PYCNN_ERROR_ARGUMENT
    assert lib.pycnn_permutation(order, 0, 0, 0) == lib.PYCNN_ERROR_SIZE
    assert lib.pycnn_permutation(order, np.iinfo(np.uintp).max, 0, 0) == lib.PYCNN_ERROR_SIZE


@pytest.mark.parametrize("kind", [SGD, Adam, RMSprop, Adagrad, Rprop])
def test_optimizers_begin_with_pythons_settings(native, kind):
    ffi, lib = native
    expected = kind().spec()
    code = getattr(lib, f"PYCNN_{expected.kind.upper()}")
    optimizer = ffi.new("pycnn_optimizer *")
    ffi.buffer(optimizer)[:] = b"\xff" * ffi.sizeof("pycnn_optimizer")
    lib.pycnn_optimizer_init(optimizer, code)
    settings = expected._replace(kind=code)._asdict()
    assert lib.pycnn_optimizer_slots(optimizer) == settings.pop("slots")
    assert {name: getattr(optimizer, name) for name in settings} == settings
    assert lib.pycnn_optimizer_learning_rate(code) == kind().learning_rate


def test_a_training_begins_with_the_settings_of_fit(native):
    ffi, lib = native
    training = ffi.new("pycnn_training *")
    lib.pycnn_training_init(training)
    default = {name: p.default for name, p in inspect.signature(Network.fit).parameters.items()}
    assert default["optimizer"] is None  # which stands for SGD()
    assert training.epochs == default["epochs"]
    assert training.batch_size == default["batch_size"]
    assert training.learning_rate == SGD().learning_rate


def test_a_number_out_of_range_is_a_data_error_if_python_has_not_found_it(native):
    from pycnn.backend import c

    net = Network(3, [Dense(1)], seed=0, backend="c")
    state = TrainingState(1, 1, float("nan"), None)
    with pytest.raises(DataError, match="out of range"):
        c.train(net.plan, net.theta, Data(np.ones((1, 3)), np.ones((1, 1)), None), state, 1)


# ------------------------------------------------------------------ a training in C and in Python


def samples():
    rng = np.random.default_rng(11)
    x = rng.normal(size=(101, 6))
    return x, np.argmax(x[:, :3] + x[:, 3:] ** 2, axis=1)


def train(stop=None):
    """Return theta and each epoch's mean loss; `stop`: the epoch after which it is interrupted."""
    inner = [Dense(9, "tanh", max_norm=2), Dense(16)]
    layers = [
        Dense(16, "relu", l2=1e-3),
        BatchNorm(),
        Dropout(0.25),
        Residual(inner, activation="silu"),
        LayerNorm(),
        Dense(3, "softmax"),
    ]
    net = Network(6, layers, seed=2026, backend="c")
    options = {"epochs": 5, "batch_size": 32, "optimizer": Adam()}
    if stop is not None:
        net.fit(
            *samples(),
            **options,
            callbacks=lambda net, epoch, logs: setattr(net, "stop_training", epoch == stop),
        )
        assert net.epochs_trained == stop
        net = pickle.loads(pickle.dumps(net))
    history = net.fit(*samples(), **options, resume=stop is not None)
    return hashlib.sha256(net.theta.tobytes()).hexdigest(), history["loss"]


def test_a_training_in_c_ends_in_the_bits_of_the_same_training_in_python(
    native, programs, compiler
):
    ffi, lib = native
    x, y = samples()
    expected = train()
    data, isa = np.column_stack([x, y]).tobytes(), ffi.string(lib.pycnn_isa()).decode()
    for stop in [(), (0,), (7,), (12,)]:  # of 20 steps, 4 an epoch
        done = programs.run(compiler, "train_run", len(x), *stop, data=data, PYCNN_ISA=isa)
        assert done.returncode == 0, done.stderr
        totals = np.frombuffer(done.stdout[-5 * 24 :]).reshape(5, 3)
        found = hashlib.sha256(done.stdout[: -5 * 24]).hexdigest()
        assert (found, [loss / weight for loss, weight, _ in totals]) == expected
    assert train(stop=3) == expected


@pytest.mark.parametrize("y", [np.zeros((8, 1)), np.zeros((7, 2)), np.zeros(9, np.intp)])
def test_targets_that_end_before_the_core_has_read_them_are_refused(y):
    net = Network(3, [Dense(2, "softmax")], seed=0)
    assert net.backend == "c"
    data, state = Data(np.zeros((8, 3)), y, None), TrainingState(1, 8, 0.1, None)
    with pytest.raises(ShapeError, match=r"y must have shape \(8"):
        net.core.train(net.plan, net.theta, data, state, 1)
    with pytest.raises(ShapeError, match="y must have shape"):
        net.core.evaluate(net.plan, net.theta, data)
