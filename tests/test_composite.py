"""Residual: two paths that add up. What holds for all layers is in test_layers.py."""

import copy
import itertools
import pickle

import numpy as np
import pytest

import pycnn
from pycnn import LBFGS, SGD, Adam, BatchNorm, Dense, Dropout, LayerNorm, Network, Residual
from pycnn import _random as random
from pycnn.exceptions import DataError, DataTypeError, PycnnError, ShapeError
from pycnn.layers import from_config

rng = np.random.default_rng(8)
X = rng.normal(size=(70, 6))
Y = rng.integers(0, 3, 70)


def block(units=6, activation="relu"):
    return Residual([Dense(9, "tanh"), Dense(units)], activation=activation)


def projection(units=5):
    inner = [Dense(7), BatchNorm("relu"), Dropout(0.25), Dense(units)]
    return Residual(inner, shortcut=Dense(units, bias_initializer="normal"), activation="silu")


def nested():
    shortcut = Residual([Dense(4), LayerNorm()], shortcut=Dense(4))
    return Residual([block(), Dense(4, "tanh"), block(4)], shortcut=shortcut)


def near(a, b, tolerance=1e-12):
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and np.abs(a - b).max() <= tolerance * max(np.abs(b).max(), 1e-300)


# ------------------------------------------------------------------ what it computes


def test_the_sum_of_both_paths_goes_through_the_activation(backend):
    net = Network(6, [projection(), Dense(3, "softmax")], seed=0, backend=backend)
    first, norm, _, last = net.layers[0].inner
    norm.mean, norm.variance = np.linspace(-1, 1, 7), np.linspace(0.5, 2, 7)
    hidden = (X @ first.W.T + first.b - norm.mean) / np.sqrt(norm.variance + norm.epsilon)
    inner = np.maximum(hidden * norm.gamma + norm.beta, 0) @ last.W.T + last.b
    beside = net.layers[0].shortcut
    z = inner + X @ beside.W.T + beside.b
    trace = net.trace(X, Y)
    assert near(trace.Z[1].T, z)
    assert near(trace.A[1].T, z / (1 + np.exp(-z)))


def test_a_trace_has_one_entry_a_layer_and_deltas_that_carry_on(backend):
    net = Network(6, [block(), block(), Dense(3, "softmax")], seed=0, backend=backend)
    trace = net.trace(X, Y)
    assert [a.shape for a in trace.A] == [(6, 70), (6, 70), (6, 70), (3, 70)]
    assert [part is None for part in trace.dW] == [True, True, True, False]
    second = net.layers[1]
    (first, last), a = second.inner, trace.A[1]
    hidden = np.tanh(first.W @ a + first.b[:, None])
    inner = first.W.T @ ((last.W.T @ trace.delta[2]) * (1 - hidden**2))
    assert near(trace.delta[1], (inner + trace.delta[2]) * (trace.Z[1] > 0), 1e-11)
    assert "A[3]" in str(trace)
    assert near(trace.A[-1].T, net.predict(X))


def test_zeros_inside_leave_the_identity(backend):
    net = Network(6, [block(activation="linear")] * 40 + [Dense(3)], seed=0, backend=backend)
    plain = Network(6, [Dense(3)], seed=0, backend=backend)
    for layer in net.layers[:-1]:
        layer.inner[1].W = np.zeros((6, 9))
        layer.inner[1].b = np.zeros(6)
    plain.parameters = net.parameters[-plain.parameters.size :]
    assert net.predict(X).tobytes() == plain.predict(X).tobytes()


def test_layers_that_keep_nothing_may_stand_anywhere(backend):
    layers = [
        Residual([Dropout(0.3), Dropout(0.2)]),
        Dropout(0.1),
        Residual(
            [Dropout(0.3), Dense(6, "tanh"), Dropout(0.2), Dropout(0.2)], shortcut=Dropout(0.1)
        ),
        Dropout(0.1),
        Dense(3, "softmax"),
    ]
    net = Network(6, layers, seed=0, backend=backend)
    assert pycnn.gradient_check(net, X[:10], Y[:10], training=True) < 1e-6
    net.fit(X, Y, epochs=2)
    doubled = Network(6, [Dense(1)], seed=0, backend=backend)
    alone = Network(6, [Residual([Dropout(0.5)]), Dense(1)], seed=0, backend=backend)
    assert near(alone.predict(X), doubled.predict(2 * X))


def test_both_backends_drop_the_same_units(core):
    before = Residual([Dense(4), Residual([Dropout(0.5)]), Dropout(0.5)], shortcut=Dense(4))
    layers = [before, Dropout(0.2), Residual([Dropout(0.1)], shortcut=Dropout(0.3)), Dense(3)]
    c, fallback = (
        Network(6, layers, seed=0, backend=name).predict_samples(X, 9, seed=2)
        for name in ("c", "numpy")
    )
    assert near(c, fallback)
    assert c.std(axis=0).min() > 0


def random_layer(draw, units, depth):
    """Return a layer on top of so many units, and how many it has."""
    kind = draw.integers(0, 7 if depth else 5)
    activation = str(draw.choice(["linear", "tanh", "relu", "gelu", "softmax"]))
    if kind == 0:
        return Dropout(0.2), units
    if kind in (1, 2):
        return (BatchNorm(activation) if kind == 1 else LayerNorm(activation)), units
    if kind < 5:
        count = int(draw.choice([1, 2, 7, 8, 9, 17]))
        return Dense(count, activation, l2=0.01, max_norm=draw.choice([None, 1.0])), count
    inner, before = [], units
    for _ in range(draw.integers(1, 4)):
        layer, units = random_layer(draw, units, depth - 1)
        inner.append(layer)
    same = units == before and draw.random() < 0.5
    shortcut = None if same else Dense(units, activation)
    return Residual(inner, shortcut=shortcut, activation=activation), units


@pytest.mark.parametrize("number", range(60))
def test_backends_agree_on_whatever_lies_on_the_paths(core, number):
    draw = np.random.default_rng(number)
    layers, units = [], 6
    for _ in range(draw.integers(1, 5)):
        layer, units = random_layer(draw, units, 3)
        layers.append(layer)
    layers = [*layers, Dense(3, "softmax")]
    c, fallback = (Network(6, layers, seed=number, backend=name) for name in ("c", "numpy"))
    assert c.parameters.tobytes() == fallback.parameters.tobytes()
    for training in (False, True):
        (loss, grad), (expected_loss, expected) = (
            net.gradients(X, Y, training=training) for net in (c, fallback)
        )
        assert near(loss, expected_loss)
        assert near(grad, expected, 1e-11)
    for ours, theirs in zip(c.trace(X, Y).delta[1:], fallback.trace(X, Y).delta[1:], strict=True):
        assert near(ours, theirs, 1e-11)
    for net in (c, fallback):
        net.fit(X, Y, epochs=2, batch_size=35, optimizer=SGD(0.05, momentum=0.5))
    assert near(c.parameters, fallback.parameters, 1e-9)
    assert near(c.predict(X), fallback.predict(X), 1e-9)
    assert near(c.folded().predict(X), c.predict(X), 1e-9)


@pytest.mark.parametrize("shortcut", [False, True])
def test_residual_networks_are_pytorchs(shortcut, backend):
    torch = pytest.importorskip("torch")
    units = 5 if shortcut else 6
    beside = Dense(units) if shortcut else None
    layer = Residual(
        [Dense(9), BatchNorm("tanh"), Dense(units)], shortcut=beside, activation="relu"
    )
    net = Network(6, [layer, Dense(3, "softmax")], seed=4, backend=backend)

    class Theirs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Sequential(
                torch.nn.Linear(6, 9),
                torch.nn.BatchNorm1d(9),
                torch.nn.Tanh(),
                torch.nn.Linear(9, units),
            )
            self.beside = torch.nn.Linear(6, units) if shortcut else torch.nn.Identity()
            self.last = torch.nn.Linear(units, 3)

        def forward(self, x):
            return self.last(torch.relu(self.inner(x) + self.beside(x)))

    theirs = Theirs().double()
    views = [
        view for name, view in net.tensors.items() if name.rpartition(".")[2] in "W b gamma beta"
    ]
    with torch.no_grad():
        for parameter, view in zip(theirs.parameters(), views, strict=True):
            parameter.copy_(torch.from_numpy(view))
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    optimizer = torch.optim.SGD(theirs.parameters(), 0.1)
    for _ in range(3):
        for part in (slice(0, 32), slice(32, 64), slice(64, 70)):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(theirs(x[part]), y[part]).backward()
            optimizer.step()
    net.fit(X, Y, epochs=3, batch_size=32, shuffle=False, optimizer=SGD(0.1))
    expected = np.concatenate([p.detach().numpy().ravel() for p in theirs.parameters()])
    assert np.abs(net.parameters - expected).max() < 1e-10
    norm = net.layers[0].inner[1]
    assert np.abs(norm.mean - theirs.inner[1].running_mean.numpy()).max() < 1e-10
    assert np.abs(norm.variance - theirs.inner[1].running_var.numpy()).max() < 1e-10
    theirs.eval()
    with torch.no_grad():
        predicted = torch.softmax(theirs(x), dim=1).numpy()
    assert np.abs(net.predict(X) - predicted).max() < 1e-10


def test_a_deep_residual_network_learns_what_a_plain_one_does_not():
    inside = [[Dense(6, "tanh"), Dense(6)] for _ in range(20)]
    deep = Network(6, [*map(Residual, inside), Dense(3, "softmax")], seed=0)
    plain = Network(6, [*itertools.chain(*inside), Dense(3, "softmax")], seed=0)
    classes = (X[:, 0] > 0) + (X[:, 1] > 0)
    for net in (deep, plain):
        net.fit(X, classes, epochs=60, batch_size=8, optimizer=SGD(0.01))
    assert deep.evaluate(X, classes)["accuracy"] > 0.9
    assert plain.evaluate(X, classes)["loss"] > 2 * deep.evaluate(X, classes)["loss"]


# ------------------------------------------------------------------ what is asked of layers within


def test_penalties_and_max_norms_reach_the_layers_within(backend):
    inner = [Dense(9, "tanh", max_norm=0.4, l1=0.01), Dense(6)]
    layers = [Residual(inner, shortcut=Dense(6, l2=0.5)), Dense(3, "softmax")]
    net = Network(6, layers, seed=0, backend=backend, l2=0.1)
    plain = Network(
        6, [Residual([Dense(9, "tanh"), Dense(6)], shortcut=Dense(6)), layers[1]], backend=backend
    )
    plain.parameters = net.parameters
    (first, last), beside, top = net.layers[0].inner, net.layers[0].shortcut, net.layers[1]
    squares = sum((layer.W**2).sum() for layer in (first, last, beside, top))
    penalty = 0.01 * np.abs(first.W).sum() + 0.25 * (beside.W**2).sum() + 0.05 * squares
    assert net.evaluate(X, Y)["loss"] == pytest.approx(plain.evaluate(X, Y)["loss"] + penalty)
    assert pycnn.gradient_check(net, X, Y) < 1e-6
    net.fit(X, Y, epochs=3, optimizer=SGD(0.5))
    assert np.linalg.norm(net.layers[0].inner[0].W, axis=1).max() <= 0.4 * (1 + 1e-15)
    assert np.linalg.norm(net.layers[0].inner[1].W, axis=1).max() > 0.4


def test_one_sample_alone_has_no_variance_within_either(backend):
    net = Network(6, [projection(), Dense(3, "softmax")], seed=0, backend=backend)
    for call in (
        lambda: net.fit(X, Y, batch_size=1),
        lambda: net.train_on_batch(X[:1], Y[:1]),
        lambda: net.gradients(X[:1], Y[:1], training=True),
    ):
        with pytest.raises(DataError, match="at least 2"):
            call()


def test_lbfgs_trains_it_and_says_which_layer_within_it_cannot(backend):
    net = Network(6, [block(), Dense(1)], seed=0, backend=backend)
    before = net.evaluate(X, X[:, 0])["loss"]
    net.fit(X, X[:, 0], epochs=30, batch_size=None, optimizer=LBFGS())
    assert net.evaluate(X, X[:, 0])["loss"] < 0.05 * before
    for layer, words in (
        (projection(6), "no BatchNorm with LBFGS, as layer 1.inner.2 is"),
        (Residual([Dense(6), Dropout(0.5)]), "no Dropout with LBFGS, as layer 1.inner.2 is"),
        (Residual([Dense(4)], shortcut=Dense(4, max_norm=2)), "layer 1.shortcut is 2"),
    ):
        net = Network(6, [layer, Dense(1)], seed=0, backend=backend)
        with pytest.raises(DataError, match=words):
            net.fit(X, X[:, 0], batch_size=None, optimizer=LBFGS())


def test_uncertainty_needs_a_dropout_that_may_lie_within():
    samples = Network(6, [projection(), Dense(1)], seed=0).predict_samples(X, 20, seed=0)
    assert samples.std(axis=0).min() > 0
    with pytest.raises(DataError, match="needs a Dropout"):
        Network(6, [block(), Dense(1)], seed=0).predict_samples(X, 20)


def test_initial_parameters_are_drawn_for_the_inner_layers_then_the_shortcut(backend):
    net = Network(6, [projection(), Dense(3)], seed=7, backend=backend)
    bits = random.generator(7, random.INITIAL_PARAMETERS)
    inner, beside = net.layers[0].inner, net.layers[0].shortcut
    for layer in (inner[0], inner[3], beside, net.layers[1]):
        assert np.array_equal(layer.W, layer.weight_initializer.draw(bits, *layer.W.shape))
        assert np.array_equal(layer.b, layer.bias_initializer.draw_bias(bits, *layer.W.shape))
    assert (inner[1].gamma == 1).all()
    assert (inner[1].variance == 1).all()


FOLDED = {
    "inner layers": ([projection(), Dense(3)], ["DD+D", "D"]),
    "no normalization": ([block(), Dense(3)], ["DD", "D"]),
    "its shortcut": ([Residual([Dense(6)], shortcut=BatchNorm()), Dense(3)], ["D+B", "D"]),
    "dropout beside": ([Residual([Dense(6)], shortcut=Dropout(0.5)), Dense(3)], ["D", "D"]),
    "dropout alone": ([Residual([Dropout(0.5), Dropout(0.1)]), Dense(3)], ["D", "D"]),
    "what is around": (
        [Dense(6), BatchNorm(), block(), BatchNorm(), Dense(3)],
        ["D", "DD", "D"],
    ),
    "nested": ([Residual([Dense(6), projection(6), BatchNorm()]), Dense(3)], ["DRB", "D"]),
}


@pytest.mark.parametrize("name", FOLDED)
def test_folded_networks_predict_the_same(name, backend):
    layers, left = FOLDED[name]
    net = Network(6, layers, seed=2, backend=backend, l2=0.001)
    net.fit(X, X[:, :3], epochs=5)
    folded = net.folded()
    letters = []
    for layer in folded.layers:
        within = layer.inner if isinstance(layer, Residual) else [layer]
        text = "".join(type(child).__name__[0] for child in within)
        if isinstance(layer, Residual) and layer.shortcut is not None:
            text += "+" + type(layer.shortcut).__name__[0]
        letters.append(text)
    assert letters == left
    assert near(folded.predict(X), net.predict(X), 1e-13)
    assert near(folded.folded().predict(X), net.predict(X), 1e-13)


# ------------------------------------------------------------------ names, files, copies


def test_tensors_are_named_by_their_path():
    net = Network(6, [Dense(6), projection(6), Residual([nested()], shortcut=Dense(4)), Dense(1)])
    names = list(net.tensors)
    assert names[:4] == ["layers.1.W", "layers.1.b", "layers.2.inner.1.W", "layers.2.inner.1.b"]
    for name in (
        "layers.2.inner.2.variance",
        "layers.2.shortcut.W",
        "layers.3.inner.1.inner.1.inner.2.b",
        "layers.3.inner.1.shortcut.inner.2.gamma",
    ):
        assert name in names
    assert np.shares_memory(net.tensors["layers.2.shortcut.W"], net.layers[1].shortcut.W)
    assert list(net.layers[1].tensors)[-4:] == [
        *("shortcut.W", "shortcut.b", "inner.2.mean", "inner.2.variance")
    ]
    net.layers[1].inner[0].W = np.full((7, 6), 0.25)
    assert (net.tensors["layers.2.inner.1.W"] == 0.25).all()


def test_files_pickles_and_copies_go_on_where_it_stood(backend, tmp_path):
    net = Network(6, [projection(6), nested(), Dense(3, "softmax")], seed=0, backend=backend)
    net.fit(X, Y, epochs=2, optimizer=Adam())
    net.save(tmp_path / "model.safetensors", training_state=True)
    others = [
        pycnn.load(tmp_path / "model.safetensors", backend=backend),
        pickle.loads(pickle.dumps(net)),
        copy.deepcopy(net),
    ]
    net.fit(X, Y, epochs=4, optimizer=Adam(), resume=True)
    for other in others:
        assert repr(other.layers) == repr(net.layers)
        other.fit(X, Y, epochs=4, optimizer=Adam(), resume=True)
        assert other.parameters.tobytes() == net.parameters.tobytes()
        assert other.statistics.tobytes() == net.statistics.tobytes()
    whole = Network(6, [projection(6), nested(), Dense(3, "softmax")], seed=0, backend=backend)
    whole.fit(X, Y, epochs=4, optimizer=Adam())
    assert whole.parameters.tobytes() == net.parameters.tobytes()


@pytest.mark.parametrize("make", [block, projection, nested])
def test_it_says_what_it_is(make):
    layer = make()
    assert repr(eval(repr(layer), vars(pycnn) | vars(pycnn.initializers))) == repr(layer)
    assert repr(from_config(layer.config())) == repr(layer)
    assert from_config(layer.config()).config() == layer.config()
    assert repr(copy.deepcopy(layer)) == repr(pickle.loads(pickle.dumps(layer))) == repr(layer)
    with pytest.raises(PycnnError, match="not part of a network"):
        _ = layer.units
    with pytest.raises(PycnnError, match="not part of a network"):
        _ = layer.inner[-1].inner[0].W if make is nested else layer.inner[0].W
    with pytest.raises(AttributeError):
        layer.shortcut = None


def test_the_layers_given_are_copied_and_may_be_used_again():
    layer = block()
    net = Network(6, [layer, layer, Dense(1)], seed=0)
    assert not (net.layers[0].inner[0].W == net.layers[1].inner[0].W).any()
    with pytest.raises(PycnnError, match="not part of a network"):
        _ = layer.inner[0].W
    again = Network(6, net.layers, seed=0)
    assert again.parameters.tobytes() == net.parameters.tobytes()
    again.layers[0].inner[0].W = np.zeros((9, 6))
    assert net.layers[0].inner[0].W.any()


def test_a_summary_shows_what_lies_within(capsys):
    net = Network(6, [projection(), Dense(3, "softmax")], seed=0)
    net.summary()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[2:9]] == [
        ["1", "residual"],
        ["1.inner.1", "dense"],
        ["1.inner.2", "batch_norm"],
        ["1.inner.3", "dropout"],
        ["1.inner.4", "dense"],
        ["1.shortcut", "dense"],
        ["2", "dense"],
    ]
    assert [line.startswith("  ") for line in lines[2:9]] == [False, *[True] * 5, False]
    numbers = [int(line.split()[-1]) for line in lines[2:9]]
    assert sum(numbers) == net.parameters.size
    assert "1.inner.2 batch_norm" in net._repr_html_()


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (
            lambda: Network(6, [Residual([Dense(5)])]),
            ShapeError,
            r"give 5 units, but their input has 6 units: shortcut=Dense\(5\) makes them fit",
        ),
        (
            lambda: Network(6, [Residual([Dense(5), Dense(1)], shortcut=Dense(4))]),
            ShapeError,
            r"give 1 unit, but its shortcut gives 4 units: shortcut=Dense\(1\) makes",
        ),
        (
            lambda: Network(6, [Dense(6), Residual([Residual([Dense(5)]), Dense(6)])]),
            ShapeError,
            "give 5 units",
        ),
        (lambda: Residual([]), DataError, "layers must hold at least one inner layer"),
        (lambda: Residual(Dense(3)), DataTypeError, "list of layers"),
        (lambda: Residual([Dense(3), "relu"]), DataTypeError, "layers must hold layers"),
        (lambda: Residual([Dense(3)], shortcut="dense"), DataTypeError, "shortcut must be a layer"),
        (lambda: Residual([Dense(3)], shortcut=[Dense(3)]), DataTypeError, "shortcut must be"),
        (lambda: Residual([Dense(3)], activation="rely"), PycnnError, "relu"),
    ],
)
def test_mistakes_are_named(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.thorough
def test_a_file_may_have_so_many_layers_those_within_others_too(tmp_path):
    many = Residual([Dropout(0.1) for _ in range(9_999)])
    net = Network(1, [many], seed=0, backend="numpy")
    with pytest.raises(DataError, match=r"layers must be a list of at most 10,000"):
        Network(1, [many, Dense(1)], seed=0, backend="numpy").save(tmp_path / "model")
    net.save(tmp_path / "model")
    assert not pycnn.load(tmp_path / "model").parameters.size


def test_files_that_say_nonsense_of_layers_within_are_refused(tmp_path):
    for config in (
        {"kind": "residual"},
        {"kind": "residual", "layers": [], "shortcut": None, "activation": "relu"},
        {"kind": "residual", "layers": [7], "shortcut": None, "activation": "relu"},
        {"kind": "residual", "layers": [block().config()], "shortcut": 7, "activation": "relu"},
        {"kind": "residual", "layers": None, "shortcut": None, "activation": "relu"},
    ):
        with pytest.raises((PycnnError, LookupError, TypeError, ValueError)):
            from_config(config)
