"""Optimizers, schedules in training, clipping, and penalties on weights."""

import copy
import pickle

import numpy as np
import pytest

import pycnn
from pycnn import SGD, Adagrad, Adam, AdamW, Dense, Network, RMSprop, Rprop, optimizers
from pycnn.exceptions import DataError, DataTypeError, UnknownNameError
from pycnn.schedules import CosineDecay, ExponentialDecay, OneCycle, StepDecay, Warmup

OPTIMIZERS = {
    "sgd": lambda rate=0.05, **clip: SGD(rate, **clip),
    "momentum": lambda rate=0.05, **clip: SGD(rate, momentum=0.9, **clip),
    "nesterov": lambda rate=0.05, **clip: SGD(rate, momentum=0.9, nesterov=True, **clip),
    "adam": lambda rate=0.01, **clip: Adam(rate, **clip),
    "adamw": lambda rate=0.01, **clip: AdamW(rate, **clip),
    "rmsprop": lambda rate=0.01, **clip: RMSprop(rate, **clip),
    "rmsprop, all": lambda rate=0.01, **clip: RMSprop(rate, momentum=0.5, centered=True, **clip),
    "adagrad": lambda rate=0.05, **clip: Adagrad(rate, **clip),
    "rprop": lambda rate=0.01, **clip: Rprop(rate, **clip),
    "rprop, all": lambda rate=0.01, **clip: Rprop(rate, 1.5, 0.3, 0.002, 0.05, **clip),
}
SCHEDULES = {
    "constant": None,
    "step": StepDecay(0.05, factor=0.5, every=2),
    "exponential": ExponentialDecay(0.05),
    "cosine": CosineDecay(0.05),
    "restarts": CosineDecay(0.05, epochs=2, restarts=True, growth=2),
    "warmup": Warmup(CosineDecay(0.05), epochs=2),
    "one cycle": OneCycle(0.05),
}
BACKENDS = ["c", "numpy"]


def data(rows=90, inputs=6, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, inputs)), rng.integers(0, classes, rows)


def network(backend="auto", **settings):
    layers = [Dense(9, "tanh"), Dense(5, "sigmoid"), Dense(3, "softmax")]
    return Network(6, layers, seed=1, backend=backend, **settings)


def trained(backend, optimizer, epochs=6, batch_size=16, net=None, **settings):
    net = net or network(backend, **settings)
    net.fit(*data(), epochs=epochs, batch_size=batch_size, optimizer=optimizer, progress=False)
    return net


def gradient(net):
    return net.gradients(*data())[1]


def difference(a, b):
    return np.abs(a - b).max() / np.abs(b).max()


# ------------------------------------------------------------------ both backends


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_backends_agree(core, name, schedule):
    rate = SCHEDULES[schedule]
    optimizer = OPTIMIZERS[name]() if rate is None else OPTIMIZERS[name](rate)
    c, n = (trained(backend, optimizer, epochs=17) for backend in BACKENDS)  # 102 steps
    assert difference(c.parameters, n.parameters) < 1e-9
    assert c.history["loss"] == pytest.approx(n.history["loss"], rel=1e-9)


@pytest.mark.parametrize("clip", [{"clip_value": 0.01}, {"clip_norm": 0.1}, None])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_backends_agree_on_clipped_and_penalized_gradients(core, name, clip):
    optimizer = OPTIMIZERS[name](**(clip or {"clip_value": 0.02, "clip_norm": 0.05}))
    c, n = (trained(backend, optimizer, l1=1e-3, l2=1e-2) for backend in BACKENDS)
    assert difference(c.parameters, n.parameters) < 1e-12
    for key in c.history:
        assert c.history[key] == pytest.approx(n.history[key], rel=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_threads_do_not_change_a_bit(core, name):
    X, y = data(300, 40, 10)
    results = []
    for threads in (1, 2, 3):
        before = pycnn.get_num_threads()
        pycnn.set_num_threads(threads)
        try:
            layers = [Dense(300, "tanh"), Dense(100, "relu"), Dense(10, "softmax")]
            net = Network(40, layers, seed=0, l2=1e-3)
            optimizer = OPTIMIZERS[name](clip_norm=0.2)
            net.fit(X, y, epochs=2, batch_size=100, optimizer=optimizer, progress=False)
        finally:
            pycnn.set_num_threads(before)
        results.append((net.parameters.tobytes(), net.history["gradient_norm"]))
    assert net.parameters.size > 2 * 2**14  # several tasks
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_small_and_single_batches_take_the_same_optimizer(core, name):
    """Batches of a few samples have a way of their own, for plain gradient descent only."""
    for batch_size in (1, 3):
        c, n = (trained(b, OPTIMIZERS[name](), 1, batch_size) for b in BACKENDS)
        assert difference(c.parameters, n.parameters) < 1e-11


# ------------------------------------------------------------------ against PyTorch

TORCH = {
    "momentum": (SGD(0.1, momentum=0.9), "SGD", {"lr": 0.1, "momentum": 0.9}),
    "nesterov": (
        SGD(0.1, momentum=0.9, nesterov=True),
        "SGD",
        {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    ),
    "adam": (Adam(), "Adam", {}),
    "adam, other betas": (
        Adam(0.02, 0.8, 0.9, 1e-3),
        "Adam",
        {"lr": 0.02, "betas": (0.8, 0.9), "eps": 1e-3},
    ),
    "adamw": (AdamW(), "AdamW", {}),
    "adamw, more decay": (
        AdamW(0.02, weight_decay=0.3),
        "AdamW",
        {"lr": 0.02, "weight_decay": 0.3},
    ),
    "rmsprop": (RMSprop(), "RMSprop", {}),
    "rmsprop, all": (
        RMSprop(0.005, 0.9, 1e-6, 0.7, True),
        "RMSprop",
        {"lr": 0.005, "alpha": 0.9, "eps": 1e-6, "momentum": 0.7, "centered": True},
    ),
    "adagrad": (Adagrad(), "Adagrad", {}),
    "rprop": (Rprop(), "Rprop", {}),
    "rprop, all": (
        Rprop(0.02, 1.5, 0.3, 0.003, 0.03),
        "Rprop",
        {"lr": 0.02, "etas": (0.3, 1.5), "step_sizes": (0.003, 0.03)},
    ),
}


@pytest.mark.parametrize("case", TORCH)
def test_steps_are_pytorchs(backend, case):
    torch = pytest.importorskip("torch")
    optimizer, name, settings = TORCH[case]
    net = network(backend)
    X, y = data()
    parameters = []
    for layer in net.layers:
        for value in (layer.W, layer.b):
            parameters.append(torch.tensor(value.copy(), requires_grad=True))
    peer = getattr(torch.optim, name)(parameters, **settings)
    inputs, labels = torch.tensor(X), torch.tensor(y)
    steps = []

    def step_along(network, epoch, logs):
        peer.zero_grad()
        W1, b1, W2, b2, W3, b3 = parameters
        hidden = torch.sigmoid(torch.tanh(inputs @ W1.T + b1) @ W2.T + b2)
        torch.nn.functional.cross_entropy(hidden @ W3.T + b3, labels).backward()
        peer.step()
        flat = np.concatenate([p.detach().numpy().ravel() for p in parameters])
        steps.append(np.abs(network.parameters - flat).max())

    net.fit(X, y, epochs=50, batch_size=None, optimizer=optimizer, callbacks=[step_along])
    assert len(steps) == 50
    assert max(steps) < 1e-10


# ------------------------------------------------------------------ by the formulas


def test_momentum_by_hand(backend):
    net = network(backend)
    X, y = data()
    theta, velocity = net.parameters.copy(), 0.0
    for _ in range(3):
        net.parameters[:] = theta
        velocity = 0.5 * velocity + gradient(net)
        theta = theta - 0.1 * velocity
    again = network(backend)
    again.fit(X, y, epochs=3, batch_size=None, optimizer=SGD(0.1, momentum=0.5), progress=False)
    assert again.parameters == pytest.approx(theta, rel=1e-13)


def test_a_schedule_sets_the_rate_of_each_step(backend):
    X, y = data()
    schedule = ExponentialDecay(0.5, rate=0.1, staircase=True)
    whole = network(backend)
    whole.fit(X, y, epochs=3, batch_size=30, shuffle=False, optimizer=SGD(schedule))
    parts = network(backend)
    for rate in (0.5, 0.5 * 0.1, 0.5 * 0.1**2):
        parts.fit(X, y, epochs=1, batch_size=30, shuffle=False, optimizer=SGD(rate))
    assert whole.parameters == pytest.approx(parts.parameters, rel=1e-13)


def test_the_learning_rate_factor_scales_the_rate(backend):
    X, y = data()

    def halve(network, epoch, logs):
        network.learning_rate_factor *= 0.5

    net = network(backend)
    settings = {"batch_size": 30, "shuffle": False, "progress": False}
    net.fit(X, y, epochs=3, optimizer=SGD(0.4), callbacks=[halve], **settings)
    assert net.learning_rate_factor == 0.125
    parts = network(backend)
    for rate in (0.4, 0.2, 0.1):
        parts.fit(X, y, epochs=1, optimizer=SGD(rate), **settings)
    assert (net.parameters == parts.parameters).all()
    net.fit(X, y, epochs=1, optimizer=SGD(0.4), **settings)
    assert net.learning_rate_factor == 1


def test_clipping_by_norm_and_by_value(backend):
    X, y = data()
    net = network(backend)
    grad, theta = gradient(net), net.parameters.copy()
    norm = np.sqrt((grad**2).sum())
    one = {"epochs": 1, "batch_size": None, "progress": False}

    net.fit(X, y, optimizer=SGD(0.1, clip_norm=norm / 4), **one)
    assert net.history["gradient_norm"] == pytest.approx([norm], rel=1e-13)
    assert net.parameters == pytest.approx(theta - 0.1 * grad / 4, rel=1e-12)

    net.parameters[:] = theta
    net.fit(X, y, optimizer=SGD(0.1, clip_norm=2 * norm), **one)  # does not bind
    assert net.parameters == pytest.approx(theta - 0.1 * grad, rel=1e-13)

    net.parameters[:] = theta
    limit = np.abs(grad).max() / 10
    net.fit(X, y, optimizer=SGD(0.1, clip_value=limit), **one)
    clipped = np.clip(grad, -limit, limit)
    assert net.parameters == pytest.approx(theta - 0.1 * clipped, rel=1e-13)
    assert "gradient_norm" not in net.history


def steep(backend, size):
    """Return a network whose loss is finite and whose gradient is about as large as `size`."""
    net = Network(3, [Dense(40), Dense(1)], loss="mae", seed=4, backend=backend)
    net.layers[1].W[:] = size * np.linspace(-1, 1, 40)
    net.layers[0].W[:, 2] = 0.5
    return net


@pytest.mark.parametrize("size", [1e150, 1e160, 1e300])
@pytest.mark.parametrize("limit", [1e-3, 1.0, 1e155, 1e305])
def test_a_gradient_whose_norm_overflows_is_clipped_all_the_same(backend, size, limit):
    X = np.linspace(0.5, 1, 60).reshape(20, 3)
    net = steep(backend, size)
    _, grad = net.gradients(X, np.zeros(20))
    largest = np.abs(grad).max()
    norm = largest * np.sqrt(((grad / largest) ** 2).sum())
    rate = 1e-2 / limit
    step = rate * grad * min(1.0, limit / norm)
    expected = net.parameters - step
    net.fit(X, np.zeros(20), epochs=1, batch_size=None, optimizer=SGD(rate, clip_norm=limit))
    assert net.history["gradient_norm"] == pytest.approx([norm], rel=1e-12)
    np.testing.assert_allclose(net.parameters, expected, rtol=1e-12)
    assert step[: 40 * 4].any()


def test_threads_do_not_change_a_bit_of_a_gradient_whose_norm_overflows(core):
    X = np.random.default_rng(0).normal(size=(600, 3))
    bits = set()
    before = pycnn.get_num_threads()
    try:
        for count in (1, 2, 3):
            pycnn.set_num_threads(count)
            net = steep("c", 1e200)
            net.fit(X, X[:, 0], epochs=2, batch_size=300, optimizer=Adam(clip_norm=1.0))
            bits.add(net.parameters.tobytes())
    finally:
        pycnn.set_num_threads(before)
    assert len(bits) == 1


@pytest.mark.filterwarnings("ignore:y is not scaled")
def test_weights_whose_norm_overflows_are_held_to_max_norm(backend):
    net = Network(2, [Dense(2, max_norm=2.0), Dense(1)], loss="mae", seed=0, backend=backend)
    net.layers[1].W[:] = [[1e200, 1e-3]]
    X, y = np.array([[3.0, 4.0]]), np.full(1, 1e250)
    net.fit(X, y, epochs=1, batch_size=1, optimizer=SGD(1.0))
    np.testing.assert_allclose(net.layers[0].W[0], [1.2, 1.6], rtol=1e-12)


# ------------------------------------------------------------------ penalties


def test_penalties_are_on_weights_and_in_every_loss(backend):
    X, y = data()
    layers = [Dense(9, "tanh", l1=0.02), Dense(5, "sigmoid", l2=0.3), Dense(3, "softmax")]
    net = Network(6, layers, seed=1, backend=backend, l1=0.01, l2=0.1)
    plain = network(backend)
    for layer in (*net.layers, *plain.layers):
        layer.b = np.linspace(-1, 1, layer.units)
    penalty, pull = 0.0, []
    for layer, l1, l2 in zip(net.layers, (0.03, 0.01, 0.01), (0.1, 0.4, 0.1), strict=True):
        penalty += l1 * np.abs(layer.W).sum() + 0.5 * l2 * (layer.W**2).sum()
        pull += [(l1 * np.sign(layer.W) + l2 * layer.W).ravel(), np.zeros(layer.units)]
    assert net.evaluate(X, y)["loss"] == pytest.approx(plain.evaluate(X, y)["loss"] + penalty)
    assert net.evaluate(X, y)["accuracy"] == plain.evaluate(X, y)["accuracy"]
    expected = gradient(plain) + np.concatenate(pull)
    assert gradient(net) == pytest.approx(expected, rel=1e-11, abs=1e-14)
    loss = net.evaluate(X, y)["loss"]
    net.fit(X, y, epochs=1, batch_size=None, optimizer=SGD(1e-9), progress=False)
    assert net.history["loss"] == pytest.approx([loss])


def test_penalized_gradients_meet_central_differences(backend):
    net = network(backend, l1=0.01, l2=0.1)
    assert pycnn.gradient_check(net, *data()) < 1e-7


def test_r2_is_without_the_penalty(backend):
    X, _ = data()
    y = X @ np.arange(6.0)
    plain = Network(6, [Dense(1)], seed=0, backend=backend)
    net = Network(6, [Dense(1)], seed=0, backend=backend, l2=3.0)
    assert net.evaluate(X, y)["r2"] == pytest.approx(plain.evaluate(X, y)["r2"], abs=1e-12)


def test_penalties_shrink_weights_and_are_kept(tmp_path):
    sizes = {}
    for strength in (0.0, 0.1):
        net = trained("auto", SGD(0.5), epochs=60, l2=strength)
        sizes[strength] = sum((layer.W**2).sum() for layer in net.layers)
    assert sizes[0.1] < 0.5 * sizes[0.0]
    net.save(tmp_path / "net.safetensors")
    for other in (
        pycnn.load(tmp_path / "net.safetensors"),
        pickle.loads(pickle.dumps(net)),
        copy.deepcopy(net),
    ):
        assert (other.l1, other.l2) == (0.0, 0.1)
        assert "l2=0.1" in repr(other)
        assert (gradient(other) == gradient(net)).all()


# ------------------------------------------------------------------ settings


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_are_settings(name):
    optimizer = OPTIMIZERS[name](CosineDecay(0.2), clip_norm=1)
    assert optimizers.from_config(optimizer.config()) == optimizer
    assert eval(repr(optimizer), vars(optimizers) | vars(pycnn.schedules)) == optimizer
    with pytest.raises(AttributeError):
        optimizer.learning_rate = 1.0


def test_rprops_steps_by_hand(backend):
    """One weight, L = 1/2 (w x - y)^2 with x = 1: g = w - y, and the steps follow from its sign."""
    net = Network(1, [Dense(1)], seed=0, backend=backend)
    net.layers[0].W, net.layers[0].b = [[0.0]], [0.0]
    rprop = Rprop(0.25, increase=2, decrease=0.25, min_step=0.125, max_step=0.75)
    weights = []
    for _ in range(6):
        net.train_on_batch([[1.0]], [5.0], optimizer=rprop)
        weights.append(net.layers[0].W[0, 0])
    # W and b move alike, so that the error is 5 - 2 w; steps 0.25, 0.5, then at most 0.75. At 3 it
    # has changed its sign: the step shrinks to 0.1875 and is not made; then it is, and back again.
    assert weights == [0.25, 0.75, 1.5, 2.25, 3.0, 3.0]
    net.train_on_batch([[1.0]], [5.0], optimizer=rprop)
    assert net.layers[0].W[0, 0] == 3.0 - 0.1875
    net.layers[0].W, net.layers[0].b = [[0.0]], [0.0]  # the sign changes: 0.1875 / 4 is too little
    net.train_on_batch([[1.0]], [5.0], optimizer=rprop)
    net.train_on_batch([[1.0]], [5.0], optimizer=rprop)
    assert net.layers[0].W[0, 0] == 0.125


def test_rprop_with_its_defaults_is_described_as_before_it_had_settings():
    assert Rprop(0.5).config() == {
        "name": "rprop",
        "learning_rate": 0.5,
        "clip_value": None,
        "clip_norm": None,
    }
    assert Rprop(0.5, decrease=0.7).config()["decrease"] == 0.7


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "adagrad", "rprop"])
def test_optimizers_by_name(name):
    assert optimizers.get(name).name == name
    trained("auto", name, epochs=1)


@pytest.mark.parametrize(
    ("make", "error", "word"),
    [
        (lambda: SGD(0), DataError, "learning_rate"),
        (lambda: SGD("fast"), DataTypeError, "learning_rate"),
        (lambda: SGD(0.1, momentum=1), DataError, "momentum"),
        (lambda: SGD(0.1, nesterov=True), DataError, "momentum"),
        (lambda: SGD(0.1, 0.9, nesterov="yes"), DataTypeError, "nesterov"),
        (lambda: Adam(beta_1=1.0), DataError, "beta_1"),
        (lambda: Adam(beta_2=-0.1), DataError, "beta_2"),
        (lambda: Adam(epsilon=0), DataError, "epsilon"),
        (lambda: AdamW(weight_decay=-1), DataError, "weight_decay"),
        (lambda: RMSprop(rho=2), DataError, "rho"),
        (lambda: RMSprop(centered=1), DataTypeError, "centered"),
        (lambda: Adagrad(clip_norm=0), DataError, "clip_norm"),
        (lambda: Rprop(clip_value=float("nan")), DataError, "clip_value"),
        (lambda: Rprop(increase=0.9), DataError, "increase must be finite and at least 1"),
        (lambda: Rprop(increase="fast"), DataTypeError, "increase"),
        (lambda: Rprop(decrease=0), DataError, "decrease must be finite and above 0"),
        (lambda: Rprop(decrease=1), DataError, "decrease must be below 1"),
        (lambda: Rprop(min_step=0), DataError, "min_step"),
        (lambda: Rprop(max_step=float("inf")), DataError, "max_step"),
        (
            lambda: Rprop(min_step=2, max_step=1),
            DataError,
            "max_step must be at least the min_step",
        ),
        (lambda: optimizers.get("adamm"), UnknownNameError, "adam"),
        (lambda: Dense(3, l2=-1), DataError, "l2"),
        (lambda: Network(2, [Dense(1)], l1="a"), DataTypeError, "l1"),
    ],
)
def test_wrong_settings_are_named(make, error, word):
    with pytest.raises(error, match=word):
        make()


@pytest.mark.parametrize("name", ["momentum", "adam", "rmsprop, all"])
def test_divergence_leaves_the_last_finite_step(backend, name):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(64, 4))
    net = Network(4, [Dense(8, "relu"), Dense(1)], seed=0, backend=backend)
    optimizer = OPTIMIZERS[name](1e200)
    with pytest.raises(pycnn.exceptions.DivergedError):
        net.fit(X, X[:, 0], epochs=50, batch_size=8, optimizer=optimizer, progress=False)
    assert np.isfinite(net.parameters).all()
