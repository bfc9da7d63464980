"""Dropout, the normalizations, max-norm: both backends, formulas, PyTorch, and their mistakes."""

import copy
import pickle
from xml.etree import ElementTree

import numpy as np
import pytest

import pycnn
from pycnn import (
    SGD,
    Adam,
    AveragePool2D,
    BatchNorm,
    Conv1D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    LayerNorm,
    MaxPool2D,
    MultiHeadAttention,
    Network,
    PositionEmbedding,
    Rescale,
    Reshape,
    Residual,
    SpatialDropout,
    TransformerBlock,
    ZeroPadding2D,
)
from pycnn._io import safetensors_file
from pycnn._random import dropout_keys
from pycnn.exceptions import (
    DataError,
    DataTypeError,
    DataWarning,
    PycnnError,
    ShapeError,
    UnknownNameError,
)

rng = np.random.default_rng(5)
X = rng.normal(size=(70, 6)) * [1, 2, 0.5, 1, 3, 1] + [0, 1, 0, -2, 0, 0]
Y = rng.integers(0, 3, 70)

STACKS = {
    "dropout": lambda: [Dense(9, "relu"), Dropout(0.3), Dense(3, "softmax")],
    "dropout of the inputs": lambda: [Dropout(0.5), Dense(9, "tanh"), Dense(3, "softmax")],
    "two dropouts": lambda: [Dropout(0.1), Dropout(0.2), Dense(3, "softmax")],
    "no parameters in front, between and in a row": lambda: [
        *(Dropout(0.1), Dropout(0.2), Dense(9, "tanh"), Dropout(0.1), Dropout(0.2)),
        *(Dropout(0.1), Dense(3, "softmax")),
    ],
    "batch norm": lambda: [Dense(9), BatchNorm("relu"), Dense(3, "softmax")],
    "batch norm of all": lambda: [BatchNorm(), Dense(9, "tanh"), Dense(3), BatchNorm("softmax")],
    "layer norm": lambda: [Dense(9), LayerNorm("silu"), Dense(3, "softmax")],
    "layer norm of all": lambda: [LayerNorm(), Dense(9), LayerNorm("gelu"), LayerNorm("softmax")],
    "max norm": lambda: [Dense(9, "tanh", max_norm=0.5), Dense(3, "softmax", max_norm=1.0)],
    "all": lambda: [
        Dropout(0.2),
        Dense(9, max_norm=1.0, l1=0.001),
        LayerNorm("tanh"),
        BatchNorm("gelu"),
        Dropout(0.5),
        Dense(17, "relu"),
        BatchNorm(),
        Dense(3, "softmax"),
    ],
    "images": lambda: [
        Dense(42),
        Reshape((2, 3, 7)),
        LayerNorm(),
        BatchNorm("tanh"),
        SpatialDropout(0.3),
        Residual([BatchNorm(), Rescale(0.5)], shortcut=SpatialDropout(0.1)),
        Reshape((3, 14)),
        LayerNorm("silu"),
        Flatten(),
        Dense(3, "softmax"),
    ],
    "attention": lambda: [
        *(LayerNorm(), Dense(24, "tanh"), Reshape((4, 6)), PositionEmbedding()),
        MultiHeadAttention(2, causal=True),
        TransformerBlock(3, 5, dropout=0.2),
        TransformerBlock(1, activation="tanh", norm_first=False),
        *(Flatten(), Dense(3, "softmax")),
    ],
    "residual": lambda: [
        Residual([Dense(9, "tanh"), Dense(6)]),
        Residual([Dense(17, "sigmoid"), Dense(6)], activation="tanh"),
        Dense(3, "softmax"),
    ],
    "residual with all": lambda: [
        Residual(
            [Dropout(0.2), Dense(9, max_norm=1.0, l1=0.001), BatchNorm("gelu"), Dense(7)],
            shortcut=Dense(7, l2=0.01),
            activation="silu",
        ),
        Residual([LayerNorm(), Dense(7, "tanh")], shortcut=Dropout(0.1)),
        Dense(3, "softmax"),
    ],
    "residual in residual, last": lambda: [
        Residual([Residual([Dense(6, "tanh"), Dropout(0.1)]), Dense(6)], shortcut=LayerNorm("elu")),
        Residual([BatchNorm(), Residual([Dense(3)], shortcut=Dense(3))], shortcut=Dense(3)),
        Residual([Dense(9, "tanh"), Dense(3)], activation="softmax"),
    ],
    "convolutions": lambda: [
        *(Reshape((3, 2, 1)), Conv2D(5, 2, "tanh", padding="same", l2=0.01, max_norm=0.8)),
        *(Residual([Conv2D(5, (3, 1), padding="same")]), Conv2D(9, (2, 1), use_bias=False)),
        *(Flatten(), Dense(3, "softmax")),
    ],
    "convolutions along a sequence": lambda: [
        *(Reshape((6, 1)), Conv1D(8, 2, "relu", dilation=2), Dropout(0.1)),
        *(
            Conv1D(3, 3, "tanh", strides=2, padding="same", l1=0.001),
            Flatten(),
            Dense(3, "softmax"),
        ),
    ],
    "pooling": lambda: [
        *(Reshape((3, 2, 1)), ZeroPadding2D(((1, 0), (0, 1))), Conv2D(4, 2, "tanh")),
        *(MaxPool2D(2, strides=1, padding="same"), Residual([AveragePool2D(1)])),
        *(GlobalAveragePool2D(), Dense(3, "softmax")),
    ],
}
NAMES = list(STACKS)
STATISTICS = ("mean", "variance")  # what training counts beside


def network(name, backend="auto", seed=1):
    return Network(6, STACKS[name](), seed=seed, backend=backend)


def near(a, b, tolerance=1e-12):
    a, b = np.asarray(a), np.asarray(b)
    return np.abs(a - b).max() <= tolerance * max(np.abs(b).max(), 1e-300)


# ------------------------------------------------------------------ both backends


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_backends_agree_on_a_gradient(core, name, training):
    (loss, grad), (expected_loss, expected) = (
        network(name, backend).gradients(X, Y, training=training) for backend in ("c", "numpy")
    )
    assert near(loss, expected_loss)
    assert near(grad, expected)


@pytest.mark.parametrize(
    "options", [{}, {"batch_size": 1}, {"batch_size": None}, {"shuffle": False}]
)
@pytest.mark.parametrize("name", NAMES)
def test_backends_agree_on_a_training(core, name, options):
    c, fallback = (network(name, backend) for backend in ("c", "numpy"))
    if options.get("batch_size", 2) == 1 < c.architecture.least_batch:
        return  # refused, see below
    settings = {"epochs": 3, "batch_size": 16, "optimizer": SGD(0.05, momentum=0.5), **options}
    c_history, history = c.fit(X, Y, **settings), fallback.fit(X, Y, **settings)
    assert near(c.theta, fallback.theta, 1e-11)
    assert near(c_history["loss"], history["loss"], 1e-11)
    assert near(c.predict(X), fallback.predict(X), 1e-11)


@pytest.mark.twin_when_thorough
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_meet_differences(name, training, backend):
    net = network(name, backend)
    smooth = name in ("batch norm of all", "layer norm", "layer norm of all", "max norm")
    most = 1000 if backend == "c" else 40  # the twin's gradients agree, and take ten times as long
    error = pycnn.gradient_check(net, X[:20], Y[:20], training=training, max_parameters=most)
    assert error < (1e-7 if smooth else 1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_threads_and_rows_beside_do_not_matter(name):
    wide = np.random.default_rng(0).normal(size=(600, 6)), np.arange(600) % 3
    results = []
    before = pycnn.get_num_threads()
    try:
        for threads in (1, 2, 3):
            pycnn.set_num_threads(threads)
            layers = [*STACKS[name]()[:-1], Dense(700, "tanh"), Dense(3, "softmax")]
            net = Network(6, layers, seed=3)
            net.fit(*wide, epochs=2, batch_size=200, optimizer=Adam())
            results.append((net.theta.copy(), net.predict(wide[0]), net.gradients(*wide)[1]))
    finally:
        pycnn.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert a.tobytes() == b.tobytes()
    rows = [net.predict(wide[0][i : i + 1])[0] for i in range(0, 600, 97)]
    assert np.array(rows).tobytes() == results[0][1][::97].tobytes()


@pytest.mark.twin_when_thorough
@pytest.mark.parametrize("name", NAMES)
def test_five_epochs_and_five_are_ten(name, backend):
    once, twice = network(name, backend), network(name, backend)
    once.fit(X, Y, epochs=10)
    twice.fit(X, Y, epochs=5)
    twice.fit(X, Y, epochs=5)
    assert once.theta.tobytes() == twice.theta.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_saved_pickled_copied(name, tmp_path):
    net = network(name)
    net.fit(X, Y, epochs=2)
    net.save(tmp_path / "model.safetensors")
    for other in (
        pycnn.load(tmp_path / "model.safetensors"),
        pickle.loads(pickle.dumps(net)),
        copy.deepcopy(net),
    ):
        assert repr(other) == repr(net)
        assert other.theta.tobytes() == net.theta.tobytes()
        assert other.predict(X).tobytes() == net.predict(X).tobytes()
        other.fit(X, Y, epochs=2)
    net.fit(X, Y, epochs=2)
    assert other.theta.tobytes() == net.theta.tobytes()


# ------------------------------------------------------------------ dropout


def test_dropout_drops_its_share_and_keeps_the_mean(backend):
    net = Network(1000, [Dropout(0.3), Dense(1)], seed=0, backend=backend)
    net.layers[1].W = np.ones((1, 1000)) / 1000
    ones = np.ones((200, 1000))
    assert near(net.predict(ones), np.ones((200, 1)))  # prediction drops nothing
    # The outputs are about 1, so with targets 0 dL/dW_k is the mean of the k-th input's masks.
    _, grad = net.gradients(ones, np.zeros(200), training=True)
    assert abs(grad[:1000].mean() - 1) < 0.02
    _, plain = net.gradients(ones, np.zeros(200))
    assert near(plain[:1000], np.ones(1000))


def test_masks_differ_by_layer_sample_unit_epoch_and_seed():
    from pycnn.backend.numpy.dropout import dropout_mask

    first = dropout_mask(7, 0, 0, 0.5, 64, 64)
    assert set(np.unique(first)) == {0.0, 2.0}
    for other in (
        dropout_mask(8, 0, 0, 0.5, 64, 64),
        dropout_mask(7, 1, 0, 0.5, 64, 64),
        dropout_mask(7, 0, 64, 0.5, 64, 64),
        first.T,
    ):
        assert 0.4 < (first == other).mean() < 0.6
    assert np.array_equal(dropout_mask(7, 0, 3, 0.5, 64, 61), first[:, 3:])
    assert not np.array_equal(dropout_keys(0, 0, 3), dropout_keys(1, 0, 3))
    assert np.array_equal(dropout_keys(0, 2, 1), dropout_keys(0, 0, 3)[2:])


def test_a_rate_of_zero_changes_nothing():
    plain = Network(6, [Dense(9, "relu"), Dense(3, "softmax")], seed=1)
    none = Network(6, [Dense(9, "relu"), Dropout(0.0), Dense(3, "softmax")], seed=1)
    for net in (plain, none):
        net.fit(X, Y, epochs=3)
    assert plain.parameters.tobytes() == none.parameters.tobytes()


# ------------------------------------------------------------------ batch normalization


def test_batch_norm_counts_means_and_unbiased_variances(backend):
    net = Network(6, [BatchNorm(momentum=0.25), Dense(3, "softmax")], backend=backend, seed=0)
    net.fit(X, Y, epochs=1, batch_size=None)
    norm = net.layers[0]
    assert near(norm.mean, 0.25 * X.mean(axis=0), 1e-13)
    assert near(norm.variance, 0.75 + 0.25 * X.var(axis=0, ddof=1), 1e-13)
    assert norm.mean.base is not None
    assert np.array_equal(net.statistics, np.concatenate((norm.mean, norm.variance)))


def test_a_batch_of_one_sample_is_not_counted(backend):
    net = Network(6, [BatchNorm(), Dense(3, "softmax")], backend=backend, seed=0)
    with pytest.warns(DataWarning, match="batch_size=69 cuts 70 samples so that an epoch ends"):
        net.fit(X, Y, epochs=1, batch_size=69, shuffle=False)
    other = Network(6, [BatchNorm(), Dense(3, "softmax")], backend=backend, seed=0)
    other.fit(X[:69], Y[:69], epochs=1, batch_size=69, shuffle=False)
    assert net.statistics.tobytes() == other.statistics.tobytes()
    with pytest.warns(DataWarning, match="mini-batch of one sample"):
        net.partial_fit(X, Y, batch_size=23)


def test_one_sample_alone_is_refused_wherever_it_would_be_a_mini_batch(backend):
    net = Network(6, [BatchNorm(), Dense(3, "softmax")], backend=backend, seed=0)
    before = net.theta.tobytes()
    for call in (
        lambda: net.fit(X, Y, batch_size=1),
        lambda: net.fit(X[:1], Y[:1]),
        lambda: net.fit([(X[:1], Y[:1])] * 3),
        lambda: net.fit(lambda: iter([(X[:1], Y[:1])]), epochs=1),
        lambda: net.partial_fit(X[:1], Y[:1]),
        lambda: net.train_on_batch(X[:1], Y[:1]),
        lambda: net.gradients(X[:1], Y[:1], training=True),
        lambda: pycnn.gradient_check(net, X[:1], Y[:1], training=True),
    ):
        with pytest.raises(DataError, match="at least 2"):
            call()
    assert net.theta.tobytes() == before
    assert net.evaluate(X[:1], Y[:1])
    assert net.gradients(X[:1], Y[:1])


def test_one_sample_among_the_mini_batches_of_an_iterable_is_refused_but_as_the_last(backend):
    net = Network(6, [BatchNorm(), Dense(3, "softmax")], backend=backend, seed=0)
    batches = [(X[:30], Y[:30]), (X[30:31], Y[30:31]), (X[31:], Y[31:])]
    with pytest.raises(DataError, match="number 1 has one, which has no variance"):
        net.fit(batches, epochs=1)
    batches = [(X[:69], Y[:69]), (X[69:], Y[69:])]
    nets = [Network(6, [BatchNorm(), Dense(3, "softmax")], seed=0, backend=backend) for _ in "ab"]
    with pytest.warns(DataWarning, match="X ends with a mini-batch of one sample") as told:
        nets[0].fit(batches, epochs=3)
    assert len(told) == 1
    with pytest.warns(DataWarning):
        nets[1].fit(X, Y, epochs=3, batch_size=69, shuffle=False)
    assert nets[0].theta.tobytes() == nets[1].theta.tobytes()


@pytest.mark.filterwarnings("ignore:y is not scaled")
def test_a_divergence_gives_the_statistics_back_too(backend):
    net = Network(6, [Dense(4), BatchNorm(), Dense(1)], backend=backend, seed=0)
    with pytest.raises(pycnn.exceptions.DivergedError):
        net.fit(X, X[:, 0] * 1e150, epochs=50, optimizer=SGD(1e10))
    assert np.isfinite(net.theta).all()


def test_batches_larger_than_a_piece_are_normalized_as_a_whole():
    wide = np.random.default_rng(0).normal(size=(1000, 6)) + np.arange(1000)[:, None] / 100
    net = Network(6, [BatchNorm(momentum=1.0), Dense(3)], seed=0)
    net.fit(wide, wide[:, :3], epochs=1, batch_size=None, optimizer=SGD(1e-9))
    assert near(net.layers[0].mean, wide.mean(axis=0), 1e-13)


# ------------------------------------------------------------------ images

IMAGES = rng.normal(size=(70, 4, 5, 3)) * [1, 2, 0.5] + [0, 1, -2]


@pytest.mark.parametrize("shape", [(4, 5, 3), (20, 3)])
def test_a_channel_has_one_mean_and_variance_over_samples_and_positions(shape, backend):
    layers = [BatchNorm(momentum=0.25), Flatten(), Dense(3, "softmax")]
    net = Network(shape, layers, backend=backend, seed=0)
    net.fit(IMAGES.reshape(70, *shape), Y, epochs=1, batch_size=None)
    norm, rows = net.layers[0], IMAGES.reshape(-1, 3)
    assert norm.gamma.shape == norm.beta.shape == norm.mean.shape == norm.variance.shape == (3,)
    assert near(norm.mean, 0.25 * rows.mean(axis=0), 1e-13)
    assert near(norm.variance, 0.75 + 0.25 * rows.var(axis=0, ddof=1), 1e-13)


def test_a_single_image_has_a_variance(backend):
    net, other = (
        Network((4, 5, 3), [norm, Flatten(), Dense(3, "softmax")], seed=0, backend=backend)
        for norm in (BatchNorm(momentum=1.0), BatchNorm(momentum=0.5))
    )
    net.fit(IMAGES, Y, epochs=1, batch_size=1, shuffle=False)
    assert near(net.layers[0].variance, IMAGES[-1].reshape(-1, 3).var(axis=0, ddof=1), 1e-12)
    other.fit(IMAGES, Y, epochs=1, batch_size=69, shuffle=False)  # and no warning of the last one
    alone = net.gradients(IMAGES[:1], Y[:1], training=True)[1]
    assert np.abs(alone[:6]).max() > 1e-3
    one = Network((1, 1, 3), [BatchNorm(), Flatten(), Dense(3, "softmax")], backend=backend)
    with pytest.raises(DataError, match="at least 2"):
        one.gradients(X[:1, :3], Y[:1], training=True)


@pytest.mark.parametrize("axes", [1, 2])
def test_batch_norm_of_images_is_pytorchs(axes, backend):
    torch = pytest.importorskip("torch")
    shape = (4, 5, 3) if axes == 2 else (20, 3)
    layers = [BatchNorm("tanh", momentum=0.3), BatchNorm(), LayerNorm(), Flatten()]
    net = Network(shape, [*layers, Dense(3, "softmax")], seed=4, backend=backend)
    images = IMAGES.reshape(70, *shape)

    def channels(x, last):
        return x.movedim(1, -1) if last else x.movedim(-1, 1)

    class Theirs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            norm = torch.nn.BatchNorm2d if axes == 2 else torch.nn.BatchNorm1d
            self.first = norm(3, momentum=0.3, dtype=torch.float64)
            self.second = norm(3, dtype=torch.float64)
            self.third = torch.nn.LayerNorm(3, dtype=torch.float64)
            self.dense = torch.nn.Linear(60, 3, dtype=torch.float64)

        def forward(self, x):
            x = self.second(torch.tanh(self.first(channels(x, False))))
            return self.dense(self.third(channels(x, True)).flatten(1))

    theirs = Theirs()
    for n, layer in enumerate(net.layers[:3]):
        layer.gamma, layer.beta = np.linspace(0.5, 1.5, 3) + n, np.linspace(-1, 1, 3)
    views = [v for layer in net.layers for v in list(layer.tensors.values())[:2]]
    with torch.no_grad():
        for parameter, view in zip(theirs.parameters(), views, strict=True):
            parameter.copy_(torch.from_numpy(view))
    x, y = torch.from_numpy(images), torch.from_numpy(Y)

    def flat(arrays):
        return np.concatenate([a.detach().numpy().ravel() for a in arrays])

    optimizer = torch.optim.SGD(theirs.parameters(), 0.05, momentum=0.9)
    for step in range(9):
        part = slice(step % 3 * 30, step % 3 * 30 + 30)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(theirs(x[part]), y[part]).backward()
        optimizer.step()
    net.fit(images, Y, epochs=3, batch_size=30, shuffle=False, optimizer=SGD(0.05, momentum=0.9))
    assert np.abs(net.parameters - flat(theirs.parameters())).max() < 1e-10
    counted = [b for name, b in theirs.named_buffers() if "running" in name]
    assert np.abs(net.statistics - flat(counted)).max() < 1e-10
    theirs.eval()
    with torch.no_grad():
        predicted = torch.softmax(theirs(x), dim=1).numpy()
    assert np.abs(net.predict(images) - predicted).max() < 1e-10
    for training in (False, True):  # which moves what theirs have counted
        theirs.train(training)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(theirs(x), y)
        loss.backward()
        ours, grad = net.gradients(images, Y, training=training)
        assert abs(ours - loss.item()) < 1e-10
        assert np.abs(grad - flat(p.grad for p in theirs.parameters())).max() < 1e-10


def test_neither_threads_nor_weights_of_one_touch_the_statistics_of_images():
    """Sample weights count in the loss alone; sums of a channel are never split."""
    weight, found = np.linspace(0.5, 2, 70), []
    layers = [Reshape((5, 4, 3)), BatchNorm("relu"), SpatialDropout(0.2), LayerNorm(), Flatten()]
    wide = [Dense(4000, "tanh"), Reshape((20, 25, 8)), BatchNorm("tanh"), Flatten()]
    before = pycnn.get_num_threads()
    try:
        for threads in (1, 2, 3, 7):
            pycnn.set_num_threads(threads)
            net = Network((4, 5, 3), [*layers, *wide, Dense(3, "softmax")], seed=2)
            net.fit(IMAGES, Y, epochs=2, batch_size=33, sample_weight=weight)
            found.append(net.theta.tobytes() + net.predict(IMAGES).tobytes())
    finally:
        pycnn.set_num_threads(before)
    assert len(set(found)) == 1
    plain, weighted = (Network((4, 5, 3), [layers[1], Flatten(), Dense(3)], seed=2) for _ in "ab")
    plain.gradients(IMAGES, X[:, :3], training=True, reduction="sum")
    weighted.gradients(IMAGES, X[:, :3], sample_weight=weight, training=True, reduction="sum")
    assert plain.statistics.tobytes() == weighted.statistics.tobytes()
    assert (plain.layers[0].mean != 0).all()


def test_spatial_dropout_drops_channels_as_dropout_drops_numbers(backend):
    ones = np.ones((50, 4, 5, 8))
    spatial = Network((4, 5, 8), [SpatialDropout(0.4), Flatten()], seed=1, backend=backend)
    plain = Network(8, [Dropout(0.4), Rescale(1.0)], seed=1, backend=backend)
    drawn = spatial.predict_samples(ones, 3, seed=7).reshape(3, 50, 20, 8)
    expected = plain.predict_samples(ones[:, 0, 0], 3, seed=7)
    assert np.array_equal(drawn, np.broadcast_to(expected[:, :, None], drawn.shape))
    assert set(np.unique(drawn)) == {0.0, 1 / (1 - 0.4)}
    assert abs(drawn.mean() - 1) < 0.1
    assert near(spatial.predict(ones), np.ones((50, 160)))


def test_layers_of_images_name_what_does_not_fit():
    def refused(*layers, shape=(4, 6, 3)):
        with pytest.raises(ShapeError) as caught:
            Network(shape, [*layers, Flatten(), Dense(1)])
        return str(caught.value)

    assert "SpatialDropout(0.5) drops whole channels" in refused(SpatialDropout(), shape=3)
    assert "Dropout(0.5) drops single numbers" in refused(SpatialDropout(), shape=3)
    for layer in (
        BatchNorm("softmax"),
        LayerNorm("softmax"),
        Residual([Rescale(2.0)], activation="softmax"),
    ):
        assert "'softmax', which is of a whole row of units, on samples of" in refused(layer)
    for wanted, remedy in (
        ((6, 4, 3), "both ways must end in the same shape"),
        ((4, 6, 3, 1)[:2], "both ways must end in the same shape"),
    ):
        numbers = int(np.prod(wanted))
        inner = [Flatten(), Dense(numbers), Reshape(wanted)]
        assert refused(Residual(inner)).endswith(
            f"give shape {wanted}, but their input has shape (4, 6, 3): {remedy}"
        )
    for wanted, remedy in (
        ((4, 6, 5), "shortcut=Conv2D(5, 1)"),
        ((2, 3, 5), "shortcut=Conv2D(5, 1, strides=2)"),
        ((4, 2, 5), "shortcut=Conv2D(5, 1, strides=(1, 3))"),
    ):
        inner = [Flatten(), Dense(int(np.prod(wanted))), Reshape(wanted)]
        assert f"(4, 6, 3): {remedy} makes them fit" in refused(Residual(inner))
    inner = [Flatten(), Dense(20), Reshape((5, 4))]
    assert "shortcut=Conv1D(4, 1, strides=2) makes them fit" in refused(
        Residual(inner), shape=(10, 3)
    )


# ------------------------------------------------------------------ folding

FOLDED = {
    "behind a dense": ([Dense(9), BatchNorm("relu"), Dense(3, "softmax")], "DD"),
    "before a dense": ([BatchNorm(), Dense(9, "tanh"), Dense(3, "softmax")], "DD"),
    "between activations": ([Dense(9, "tanh"), BatchNorm("relu"), Dense(3, "softmax")], "DBD"),
    "twice": ([Dense(9), BatchNorm(), BatchNorm("tanh"), Dense(3), BatchNorm("softmax")], "DD"),
    "with dropout": ([Dense(9), BatchNorm("relu"), Dropout(0.5), Dense(3, "softmax")], "DD"),
    "over dropout": ([Dense(9, "relu"), BatchNorm(), Dropout(0.5), Dense(3, "softmax")], "DD"),
    "layer norm stays": ([Dense(9), LayerNorm("relu"), Dense(3, "softmax")], "DLD"),
}


@pytest.mark.parametrize("name", FOLDED)
def test_folded_networks_predict_the_same(name, backend):
    layers, left = FOLDED[name]
    net = Network(6, layers, seed=2, backend=backend)
    net.fit(X, Y, epochs=5)
    folded = net.folded()
    assert "".join(type(layer).__name__[0] for layer in folded.layers) == left
    assert near(folded.predict(X), net.predict(X), 1e-13)
    assert np.array_equal(folded.predict_classes(X), net.predict_classes(X))
    assert (folded.loss, folded.backend, folded.seed) == (net.loss, net.backend, net.seed)
    folded.parameters[:] = 0
    assert net.parameters.any()


FOLDED_IMAGES = {
    "behind": ([Conv2D(4, 3, padding="same"), BatchNorm("relu")], "C"),
    "behind one without a bias": ([Conv2D(4, 3, use_bias=False), BatchNorm("tanh")], "C"),
    "behind an activation": ([Conv2D(4, 3, "relu"), BatchNorm()], "CB"),
    "in front": ([BatchNorm(), Conv2D(4, (2, 3), "relu", strides=2)], "C"),
    "in front of one without a bias": ([BatchNorm(), Conv2D(4, 2, use_bias=False)], "C"),
    "in front of one that pads": ([BatchNorm(), Conv2D(4, 3, padding="same")], "BC"),
    "in front of one tap": ([BatchNorm(), Conv2D(4, 1, padding="same", strides=2)], "C"),
    "in front of zeros": ([BatchNorm(), ZeroPadding2D(1), Conv2D(4, 3)], "BZC"),
    "on both sides": ([BatchNorm(), Conv2D(4, 3), BatchNorm("silu"), SpatialDropout()], "C"),
    "within": ([Residual([Conv2D(3, 3, padding="same"), BatchNorm()], activation="relu")], "R"),
    "sequences": ([Reshape((20, 3)), Conv1D(4, 3, use_bias=False), BatchNorm("relu")], "RC"),
}


@pytest.mark.parametrize("name", FOLDED_IMAGES)
def test_folded_networks_of_images_predict_the_same(name, backend):
    layers, left = FOLDED_IMAGES[name]
    last = [Flatten(), Dense(3, "softmax")]
    net = Network((4, 5, 3), [*layers, *last], l2=0.1, seed=2, backend=backend)
    net.fit(IMAGES, Y, epochs=3, batch_size=16)
    folded = net.folded()
    assert "".join(type(layer).__name__[0] for layer in folded.layers) == left + "FD"
    assert near(folded.predict(IMAGES), net.predict(IMAGES), 1e-13)
    assert (
        pickle.loads(pickle.dumps(folded)).predict(X=IMAGES).tobytes()
        == folded.predict(IMAGES).tobytes()
    )


def test_layers_of_a_prediction_share_their_memory(backend, run_python):
    pytest.importorskip("resource")
    out = run_python(f"""
import resource, sys
import numpy as np
from pycnn import Dense, Dropout, Network
X = np.sin(np.arange(512_000.0)).reshape(256, 2000)
layers = [Dropout(0.5) for _ in range(500)]
net = Network(2000, [*layers, Dense(1)], seed=0, backend={backend!r})
plain = Network(2000, [Dense(1)], seed=0, backend={backend!r})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
same = np.allclose(net.predict(X), plain.predict(X), rtol=1e-12)
more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(same, more < (128 << (20 if sys.platform == "darwin" else 10)))
""")
    assert out.split() == ["True", "True"]


@pytest.mark.parametrize("rows", [1, 7, 300])
@pytest.mark.parametrize("threads", [1, 2])
def test_outputs_of_many_widths_do_not_meet_in_shared_memory(core, rows, threads):
    widths = [3, 40, 2, 300, 1, 64, 5, 128, 9]
    layers = [part for n in widths for part in (Dense(n, "tanh"), LayerNorm(), Dropout(0.1))]
    net = Network(6, [*layers, Dense(2)], seed=3, backend="c")
    twin = copy.deepcopy(net.__getstate__()) | {"backend": "numpy"}
    other = Network.__new__(Network)
    other.__setstate__(twin)
    x = np.sin(np.arange(6.0 * rows)).reshape(rows, 6)
    before = pycnn.get_num_threads()
    pycnn.set_num_threads(threads)
    try:
        assert near(net.predict(x), other.predict(x), 1e-10)
        trace = net.trace(x, net.predict(x))
        assert np.array_equal(trace.A[-1].T, net.predict(x))
        assert net.evaluate(x, x[:, :2])["loss"] == pytest.approx(
            other.evaluate(x, x[:, :2])["loss"], rel=1e-10
        )
    finally:
        pycnn.set_num_threads(before)


# ------------------------------------------------------------------ max-norm


@pytest.mark.parametrize("optimizer", [SGD(0.5), Adam(0.1), SGD(0.5, momentum=0.9, clip_norm=1.0)])
def test_no_neuron_outgrows_max_norm(optimizer):
    net = Network(6, [Dense(9, "tanh", max_norm=0.25), Dense(3, "softmax")], seed=0)
    net.fit(X, Y, epochs=3, optimizer=optimizer)
    norms = np.linalg.norm(net.layers[0].W, axis=1)
    assert norms.max() <= 0.25 * (1 + 1e-15)
    assert (norms > 0.2).any()
    assert np.linalg.norm(net.layers[1].W, axis=1).max() > 0.25


# ------------------------------------------------------------------ against PyTorch


@pytest.mark.parametrize("kind", ["batch", "layer"])
def test_normalizations_are_pytorchs(kind, backend):
    torch = pytest.importorskip("torch")
    norm = BatchNorm("tanh") if kind == "batch" else LayerNorm("tanh")
    net = Network(6, [Dense(9), norm, Dense(3, "softmax")], seed=4, backend=backend)
    net.layers[1].gamma = np.linspace(0.5, 1.5, 9)
    net.layers[1].beta = np.linspace(-1, 1, 9)
    theirs = torch.nn.Sequential(
        torch.nn.Linear(6, 9, dtype=torch.float64),
        (torch.nn.BatchNorm1d if kind == "batch" else torch.nn.LayerNorm)(9, dtype=torch.float64),
        torch.nn.Tanh(),
        torch.nn.Linear(9, 3, dtype=torch.float64),
    )
    views = [view for layer in net.layers for view in list(layer.tensors.values())[:2]]
    with torch.no_grad():
        for parameter, view in zip(theirs.parameters(), views, strict=True):
            parameter.copy_(torch.from_numpy(view))
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    loss = torch.nn.functional.cross_entropy(theirs(x), y)
    loss.backward()
    expected = np.concatenate([parameter.grad.numpy().ravel() for parameter in theirs.parameters()])
    ours, grad = net.gradients(X, Y, training=True)
    assert abs(ours - loss.item()) < 1e-10
    assert np.abs(grad - expected).max() < 1e-10

    # Three steps, and what has been counted then.
    optimizer = torch.optim.SGD(theirs.parameters(), 0.1)
    theirs.train()
    if kind == "batch":
        theirs[1].reset_running_stats()
    for _ in range(3):
        for part in (slice(0, 32), slice(32, 64), slice(64, 70)):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(theirs(x[part]), y[part]).backward()
            optimizer.step()
    net.fit(X, Y, epochs=3, batch_size=32, shuffle=False, optimizer=SGD(0.1))
    expected = np.concatenate(
        [parameter.detach().numpy().ravel() for parameter in theirs.parameters()]
    )
    assert np.abs(net.parameters - expected).max() < 1e-10
    if kind == "batch":
        assert np.abs(net.layers[1].mean - theirs[1].running_mean.numpy()).max() < 1e-10
        assert np.abs(net.layers[1].variance - theirs[1].running_var.numpy()).max() < 1e-10
    theirs.eval()
    with torch.no_grad():
        predicted = torch.softmax(theirs(x), dim=1).numpy()
    assert np.abs(net.predict(X) - predicted).max() < 1e-10


# ------------------------------------------------------------------ what they say of themselves


def test_layers_say_what_they_are():
    assert repr(Dropout()) == "Dropout(0.5)"
    assert repr(SpatialDropout(0.25)) == "SpatialDropout(0.25)"
    assert repr(BatchNorm()) == "BatchNorm()"
    assert repr(BatchNorm("relu", momentum=0.2, epsilon=1e-3)) == (
        "BatchNorm('relu', momentum=0.2, epsilon=0.001)"
    )
    assert repr(LayerNorm("gelu", epsilon=1e-6)) == "LayerNorm('gelu', epsilon=1e-06)"
    assert repr(Dense(2, max_norm=3)) == "Dense(2, 'linear', max_norm=3.0)"
    with pytest.raises(PycnnError, match="not part of a network"):
        _ = BatchNorm().gamma
    with pytest.raises(PycnnError, match="not part of a network"):
        _ = Dropout().units
    with pytest.raises(AttributeError):
        Dropout().rate = 0.1


def test_layers_of_one_network_serve_another():
    first = Network(6, STACKS["all"](), seed=0)
    second = Network(8, first.layers, seed=0)
    assert [layer.units for layer in second.layers] == [8, 9, 9, 9, 9, 17, 17, 3]
    assert second.layers[3].gamma.shape == (9,)
    second.layers[3].gamma = np.full(9, 5)
    assert (first.layers[3].gamma == 1).all()


def test_summary_names_what_there_is(capsys):
    network("all").summary()
    text = capsys.readouterr().out
    for part in (
        "dropout",
        "batch_norm",
        "layer_norm",
        "gamma (9,), beta (9,)",
        "W (17, 9), b (17,)",
    ):
        assert part in text


@pytest.mark.parametrize("name", NAMES)
def test_tensors_by_name_are_live_views_in_the_order_of_theta(name, backend):
    net = network(name, backend)
    net.fit(X, Y, epochs=1)
    parameters = statistics = b""
    for key, view in net.tensors.items():
        if key.rpartition(".")[2] in STATISTICS:
            statistics += view.tobytes()
        else:
            parameters += view.tobytes()
    assert parameters == net.parameters.tobytes()
    assert statistics == net.statistics.tobytes()
    for key, view in net.tensors.items():
        _, number, within = key.split(".", 2)
        view[:] = 0.125
        assert (net.layers[int(number) - 1].tensors[within] == 0.125).all()
    assert (net.parameters == 0.125).all()
    assert (net.statistics == 0.125).all()


@pytest.mark.parametrize("name", NAMES)
def test_tensors_have_the_names_of_the_file(name, tmp_path):
    net, path = network(name), tmp_path / "model.safetensors"
    net.save(path)
    with path.open("rb") as file:
        _, there, _ = safetensors_file.read(file, path.stat().st_size)
    assert there.keys() == net.tensors.keys()
    for key, view in net.tensors.items():
        assert view.tobytes() == there[key].tobytes()


def test_tensors_cannot_be_replaced():
    net = network("batch norm")
    with pytest.raises(TypeError):
        net.tensors["layers.1.W"] = np.zeros((9, 6))


def test_a_notebook_shows_a_table_of_the_layers(backend):
    shown = network("all", backend)._repr_html_()
    for part in (
        "8 dense",
        "batch_norm",
        "W (17, 9), b (17,)",
        "357 parameters",
        f"backend {backend}",
    ):
        assert part in shown
    ElementTree.fromstring(shown)  # well-formed
    assert "#" not in shown  # no colour of its own


def test_a_trace_shows_all_layers():
    trace = network("all").trace(X, Y)
    assert [a.shape for a in trace.A] == [(n, 70) for n in (6, 6, 9, 9, 9, 9, 17, 17, 3)]
    assert trace.dW[1] is None
    assert trace.dW[2].shape == (9, 6)
    assert "A[8]" in str(trace)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Dropout(1.0), DataError, "rate must be .* below 1"),
        (lambda: Dropout(-0.1), DataError, "rate"),
        (lambda: Dropout("0.5"), DataTypeError, "rate must be a number"),
        (lambda: Dropout(float("nan")), DataError, "rate"),
        (lambda: BatchNorm("rely"), UnknownNameError, "relu"),
        (lambda: BatchNorm(momentum=1.5), DataError, "momentum"),
        (lambda: BatchNorm(epsilon=0), DataError, "epsilon"),
        (lambda: LayerNorm(epsilon=-1), DataError, "epsilon"),
        (lambda: Dense(3, max_norm=0), DataError, "max_norm"),
        (lambda: Network(2, [Dense(2), Dropout(0.5)]), DataError, "last layer"),
        (lambda: Network(2, Dropout(0.5)), DataTypeError, "list of layers"),
        (lambda: Network(2, [Dropout(0.5), "relu"]), DataTypeError, "layers"),
        (
            lambda: Network(2, [BatchNorm(), Dense(1)]).fit(X[:, :2], Y, batch_size=1),
            DataError,
            "batch_size",
        ),
    ],
)
def test_mistakes_are_named(make, error, words):
    with pytest.raises(error, match=words):
        make()
