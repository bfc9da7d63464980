"""Training call by call: n calls of partial_fit are one fit of n epochs."""

import copy
import pickle
import threading

import numpy as np
import pytest

import pycnn
from pycnn import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    BatchNorm,
    Dense,
    Dropout,
    Network,
    RMSprop,
    Rprop,
)
from pycnn.exceptions import (
    BusyError,
    DataError,
    DataTypeError,
    DivergedError,
    LabelError,
    ShapeError,
    UnknownNameError,
)
from pycnn.schedules import (
    CosineDecay,
    ExponentialDecay,
    OneCycle,
    Schedule,
    StepDecay,
    Warmup,
)

RNG = np.random.default_rng(12)
X = RNG.normal(size=(23, 3))
Y = np.where(X[:, 0] > 0.5, "high", np.where(X[:, 0] < -0.5, "low", "middle"))
WEIGHT = RNG.uniform(0.5, 2, size=23)
CLASSES = ["low", "middle", "high"]
N = 5


def make_network(backend="auto"):
    return Network(3, [Dense(4, "tanh"), Dense(3, "softmax")], seed=5, backend=backend)


def assert_same(net, other):
    assert net.parameters.tobytes() == other.parameters.tobytes()
    assert dict(net.history) == dict(other.history)
    assert net.history.epochs == other.history.epochs
    assert net.epochs_trained == other.epochs_trained


OPTIMIZERS = [
    SGD(0.1),
    SGD(0.1, momentum=0.9, nesterov=True),
    Adam(0.02),
    AdamW(0.02, weight_decay=0.1),
    RMSprop(0.01, momentum=0.5, centered=True),
    Adagrad(0.1),
    Rprop(0.01),
    Adam(0.02, clip_value=0.5, clip_norm=0.05),
    SGD(StepDecay(0.1, factor=0.5, every=1.5)),
    SGD(ExponentialDecay(0.1, 0.8)),
    SGD(CosineDecay(0.1, epochs=3), momentum=0.5),
    SGD(CosineDecay(0.1, epochs=1.5, restarts=True)),
    Adam(Warmup(ExponentialDecay(0.1), epochs=2.3)),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_n_calls_are_a_fit_of_n_epochs(backend, optimizer):
    whole, parts = make_network(backend), make_network(backend)
    whole.fit(X, Y, epochs=N, batch_size=5, optimizer=optimizer)
    for _ in range(N):
        history = parts.partial_fit(X, Y, batch_size=5, optimizer=optimizer)
    assert history is parts.history
    assert_same(parts, whole)


def test_layers_that_draw_and_count_do_as_in_a_fit(backend):
    layers = [Dense(8, "relu"), Dropout(0.3), Dense(6), BatchNorm("tanh"), Dense(3, "softmax")]
    whole, parts = (Network(3, layers, seed=5, backend=backend) for _ in range(2))
    whole.fit(X, Y, epochs=N, batch_size=6, optimizer="adam")
    for _ in range(N):
        parts.partial_fit(X, Y, batch_size=6, optimizer="adam")
    assert_same(parts, whole)
    assert parts.statistics.tobytes() == whole.statistics.tobytes()
    one = np.unique(Y, return_index=True)[1][:1]
    with pytest.raises(DataError, match="batch_size must be at least 2 for BatchNorm"):
        parts.train_on_batch(X[one], Y[one])


@pytest.mark.parametrize(
    "options", [{"shuffle": False}, {"batch_size": None}, {"sample_weight": WEIGHT}, {}]
)
def test_options_mean_what_they_mean_to_fit(backend, options):
    whole, parts = make_network(backend), make_network(backend)
    whole.fit(X, Y, epochs=N, optimizer="adam", **({"batch_size": 32} | options))
    for _ in range(N):
        parts.partial_fit(X, Y, optimizer="adam", **options)
    assert_same(parts, whole)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_train_on_batch_is_an_epoch_of_one_batch(backend, optimizer):
    whole, parts = make_network(backend), make_network(backend)
    whole.fit(
        *(X, Y), epochs=N, batch_size=None, shuffle=False, optimizer=optimizer, sample_weight=WEIGHT
    )
    logs = [parts.train_on_batch(X, Y, optimizer=optimizer, sample_weight=WEIGHT) for _ in range(N)]
    assert parts.history is None
    assert parts.parameters.tobytes() == whole.parameters.tobytes()
    assert {key: [row[key] for row in logs] for key in logs[0]} == dict(whole.history)
    assert parts.epochs_trained == N


def test_train_on_batch_over_the_batches_of_an_epoch_is_that_epoch(backend):
    whole, parts = make_network(backend), make_network(backend)
    whole.fit(X, Y, epochs=1, batch_size=5, shuffle=False, optimizer="adam")
    parts.partial_fit(X, Y, classes=CLASSES, optimizer=SGD(1e-300))  # learns the classes
    parts.parameters = make_network(backend).parameters
    for start in range(0, 23, 5):
        parts.train_on_batch(X[start : start + 5], Y[start : start + 5], optimizer="adam")
    assert parts.parameters.tobytes() == whole.parameters.tobytes()


def test_steps_of_a_sample_each_are_calls_of_a_sample_each(backend):
    rng = np.random.default_rng(0)
    rows = rng.integers(7, size=10)  # some come twice, one behind the other too
    rows[4] = rows[3]
    x, y = rng.normal(size=(7, 20))[rows], rng.normal(size=(10, 17))  # of several vectors
    weight = np.array([1.0, 0, 2, 1, 1, 0, 0, 3, 1, 0])
    for hidden in ([], [Dense(70, "tanh"), Dense(30, "relu")]):
        layers = [*hidden, Dense(17)]
        fitted, called = (
            Network(20, copy.deepcopy(layers), loss="mse", seed=0, backend=backend) for _ in "12"
        )
        how = {"batch_size": 1, "shuffle": False, "sample_weight": weight}
        fitted.fit(x, y, epochs=3, optimizer=SGD(0.05), progress=False, **how)
        for _ in range(3):
            for i in range(10):
                part = slice(i, i + 1)
                called.train_on_batch(
                    x[part], y[part], optimizer=SGD(0.05), sample_weight=weight[part]
                )
        assert fitted.theta.tobytes() == called.theta.tobytes()


def test_train_on_batch_tells_the_loss_before_its_update(backend):
    net = Network(3, [Dense(1)], seed=0, backend=backend, l2=0.1)
    target = X[:, 0]
    before = net.evaluate(X, target)["loss"]
    assert net.train_on_batch(X, target) == {"loss": pytest.approx(before, rel=1e-12)}
    net = make_network(backend)
    net.classes = np.unique(Y)
    before = net.evaluate(X, Y)
    logs = net.train_on_batch(X, Y, optimizer=Adam(clip_norm=1.0))
    assert list(logs) == ["loss", "accuracy", "gradient_norm"]
    assert logs["loss"] == pytest.approx(before["loss"], rel=1e-12)
    assert logs["accuracy"] == pytest.approx(before["accuracy"])


def test_one_memory_serves_both(backend):
    whole, parts = make_network(backend), make_network(backend)
    whole.fit(X, Y, epochs=3, batch_size=None, shuffle=False, optimizer="adam")
    parts.partial_fit(X, Y, batch_size=None, shuffle=False, optimizer="adam")
    parts.train_on_batch(X, Y, optimizer="adam")
    parts.partial_fit(X, Y, batch_size=None, shuffle=False, optimizer="adam")
    assert parts.parameters.tobytes() == whole.parameters.tobytes()
    assert parts.history["loss"] == [whole.history["loss"][n] for n in (0, 2)]
    assert parts.history.epochs == 2
    assert copy.deepcopy(parts).partial_fit(X, Y).epochs == 3


# ------------------------------------------------------------------ what lasts, and how long


def test_the_optimizer_need_not_be_repeated(backend):
    one, other = make_network(backend), make_network(backend)
    for n in range(3):
        one.partial_fit(X, Y, optimizer=Adam(0.01))
        other.partial_fit(X, Y, optimizer=None if n else Adam(0.01))
    assert_same(one, other)
    plain, named = make_network(backend), make_network(backend)
    plain.train_on_batch(X, Y)
    named.train_on_batch(X, Y, optimizer=SGD(0.1))
    assert plain.parameters.tobytes() == named.parameters.tobytes()


def test_an_equal_optimizer_goes_on_and_another_starts_anew(backend):
    nets = [make_network(backend) for _ in range(3)]
    for net, second in zip(nets, (Adam(0.01), Adam(0.02), None), strict=True):
        net.partial_fit(X, Y, optimizer=Adam(0.01))
        if second is None:  # the same as another one: nothing in mind
            net.fit(X, Y, epochs=1, optimizer=Adam(0.02))
        else:
            net.partial_fit(X, Y, optimizer=second)
    assert nets[0].history.epochs == 2
    assert nets[1].history.epochs == nets[2].history.epochs == 1
    assert nets[1].parameters.tobytes() == nets[2].parameters.tobytes()


def test_a_fit_in_between_starts_the_memory_anew(backend):
    net, other = make_network(backend), make_network(backend)
    net.partial_fit(X, Y, optimizer="adam")
    for each in (net, other):
        each.parameters = np.linspace(-1, 1, each.parameters.size)
        each.epochs_trained = 0
        each.fit(X, Y, epochs=2, optimizer="adam")
        each.learning_rate_factor = 0.5
        each.partial_fit(X, Y, optimizer="adam")
    assert_same(net, other)
    assert net.learning_rate_factor == 1
    assert net.history.epochs == 1


@pytest.mark.parametrize(
    "through", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net)), "file"]
)
def test_the_memory_goes_through_copies_pickles_and_files(backend, tmp_path, through):
    def moved(net):
        if through != "file":
            return through(net)
        net.save(tmp_path / "model", training_state=True)
        return pycnn.load(tmp_path / "model", backend)

    optimizer = Adam(StepDecay(0.1, 0.5, 2), clip_norm=0.1)
    whole, net = make_network(backend), make_network(backend)
    for _ in range(4):
        whole.partial_fit(X, Y, batch_size=5, optimizer=optimizer)
        net.partial_fit(X, Y, batch_size=5, optimizer=optimizer)
        whole.train_on_batch(X, Y, optimizer=optimizer)
        net.train_on_batch(X, Y)
        net = moved(net)
        whole.learning_rate_factor = net.learning_rate_factor = whole.learning_rate_factor * 0.9
        net = moved(net)
    net.partial_fit(X, Y, batch_size=5)
    whole.partial_fit(X, Y, batch_size=5)
    assert_same(net, whole)


def test_a_file_without_the_state_starts_the_memory_anew(backend, tmp_path):
    net, other = make_network(backend), make_network(backend)
    net.partial_fit(X, Y, optimizer="adam")
    net.save(tmp_path / "model")
    loaded = pycnn.load(tmp_path / "model", backend)
    other.parameters, other.epochs_trained, other.classes = net.parameters, 1, net.classes
    assert_same_step(loaded, other)


def assert_same_step(net, other):
    for each in (net, other):
        each.partial_fit(X, Y, optimizer="adam")
    assert net.parameters.tobytes() == other.parameters.tobytes()


def test_the_factor_scales_the_learning_rate(backend):
    net, other = make_network(backend), make_network(backend)
    for each, rate in ((net, 0.5), (other, 0.25)):
        each.partial_fit(X, Y, optimizer=SGD(rate))
        each.parameters = make_network().parameters
    net.learning_rate_factor = 0.5
    net.train_on_batch(X, Y)
    other.train_on_batch(X, Y)
    assert net.parameters.tobytes() == other.parameters.tobytes()


# ------------------------------------------------------------------ labels


def test_classes_name_what_later_calls_bring(backend):
    net = make_network(backend)
    with pytest.raises(LabelError, match=r"1 classes .* partial_fit takes all labels as classes="):
        net.partial_fit(X[:2], ["low", "low"])
    assert net.classes is None
    assert net.history is None
    net.partial_fit(X[:2], ["low", "low"], classes=CLASSES)
    assert net.classes.tolist() == sorted(CLASSES)
    net.partial_fit(X[2:4], ["high", "middle"])
    net.partial_fit(X[2:4], ["high", "middle"], classes=CLASSES[::-1])
    with pytest.raises(LabelError, match="'medium'"):
        net.partial_fit(X[2:4], ["high", "medium"])
    with pytest.raises(LabelError, match="classes must be those that the network has learned"):
        net.partial_fit(X[2:4], ["high", "low"], classes=["a", "b", "c"])


@pytest.mark.parametrize("loss", ["binary_crossentropy", "hinge"])
def test_classes_of_one_unit_are_two(backend, loss):
    activation = "sigmoid" if loss == "binary_crossentropy" else "linear"
    net = Network(3, [Dense(1, activation)], loss=loss, seed=0, backend=backend)
    with pytest.raises(LabelError, match=r"got 'no'\. partial_fit takes all labels as classes="):
        net.partial_fit(X[:2], ["no", "no"])
    with pytest.raises(LabelError, match="classes must be 2 different labels, got 'no'"):
        net.partial_fit(X[:2], ["no", "no"], classes=["no"])
    net.partial_fit(X[:2], ["no", "no"], classes=["yes", "no"])
    net.train_on_batch(X[2:5], ["yes", "no", "yes"])
    assert net.classes.tolist() == ["no", "yes"]


def test_integers_that_are_indices_need_no_classes(backend):
    net = make_network(backend)
    net.partial_fit(X[:2], [1, 1])
    assert net.classes.tolist() == [0, 1, 2]
    net.partial_fit(X[:2], [0, 2], classes=[0, 1, 2])


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["low", "high"], "classes must be 3 different labels, got 'low', 'high'"),
        (["low", "low", "high"], "classes must be 3 different labels"),
        ([["low", "middle", "high"]], "classes must be 3 different labels"),
        ([], "classes must be 3 different labels"),
        ([0, 1, 3], "y holds labels .* that are not among"),
    ],
)
def test_classes_that_do_not_fit_are_refused(backend, classes, message):
    net = make_network(backend)
    before = net.parameters.tobytes()
    with pytest.raises(LabelError, match=message):
        net.partial_fit(X, Y, classes=classes)
    assert net.classes is None
    assert net.parameters.tobytes() == before


def test_classes_are_refused_where_targets_are_no_labels(backend):
    net = Network(3, [Dense(1)], backend=backend)
    with pytest.raises(DataError, match=r"classes must be None .* mse"):
        net.partial_fit(X, X[:, 0], classes=[0, 1])


# ------------------------------------------------------------------ wrong use


@pytest.mark.parametrize(
    "schedule", [CosineDecay(0.1), OneCycle(0.1), Warmup(CosineDecay(0.1), epochs=9)], ids=repr
)
def test_rates_that_need_the_length_of_the_training_are_refused(backend, schedule):
    net = make_network(backend)
    for train in (net.partial_fit, net.train_on_batch):
        with pytest.raises(DataError, match="optimizer must have learning rates that do not"):
            train(X, Y, optimizer=SGD(schedule))
    assert net.classes is None


def test_a_schedule_of_ones_own_may_serve(backend):
    class Halving(Schedule):
        def __init__(self, learning_rate):
            self.learning_rate = learning_rate

        def rates(self, steps, steps_per_epoch, total_steps):
            return self.learning_rate * 0.5 ** np.asarray(steps)

    net = make_network(backend)
    with pytest.raises(DataError, match="length of the whole training"):
        net.partial_fit(X, Y, optimizer=SGD(Halving(0.1)))
    Halving.needs_total = False
    whole = make_network(backend)
    whole.fit(X, Y, epochs=3, batch_size=5, optimizer=SGD(Halving(0.1)))
    for _ in range(3):
        net.partial_fit(X, Y, batch_size=5, optimizer=SGD(Halving(0.1)))
    assert_same(net, whole)
    with pytest.raises(DataError, match="optimizer must be given: it has a schedule of your own"):
        net.partial_fit(X, Y)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"X": X[:, :2]}, ShapeError, "X must have shape"),
        ({"X": X * np.nan}, DataError, "X must be finite"),
        ({"y": Y[:5]}, ShapeError, "y must have one target"),
        ({"sample_weight": [1]}, ShapeError, "sample_weight must have shape"),
        ({"sample_weight": -WEIGHT}, DataError, "sample_weight must be >= 0"),
        ({"optimizer": "adamm"}, UnknownNameError, "optimizer .*'adam'"),
        ({"optimizer": 0.1}, DataTypeError, "optimizer must be an optimizer"),
        ({"batch_size": 0}, DataError, "batch_size must be at least 1"),
        ({"batch_size": 2.5}, DataTypeError, "batch_size must be an integer"),
    ],
)
def test_arguments_that_are_not_valid_change_nothing(backend, arguments, error, message):
    net, other = make_network(backend), make_network(backend)
    for each in (net, other):
        each.partial_fit(X, Y, optimizer="adam")
    wrong = {"X": X, "y": Y} | arguments
    with pytest.raises(error, match=message):
        net.partial_fit(**wrong)
    if "batch_size" not in wrong:
        with pytest.raises(error, match=message):
            net.train_on_batch(**wrong)
    assert_same(net, other)
    assert_same_step(net, other)


@pytest.mark.filterwarnings("ignore:X is not scaled")
def test_a_divergence_leaves_the_last_finite_step(backend):
    net = Network(3, [Dense(1)], seed=0, backend=backend)
    net.train_on_batch(100 * X, X[:, 0], optimizer=SGD(1e300))
    with pytest.raises(DivergedError, match=r"at epoch 2, batch 1; .* those of the last finite"):
        net.train_on_batch(100 * X, X[:, 0])
    assert np.isfinite(net.parameters).all()
    assert net.epochs_trained == 1  # a call that was interrupted does not count
    net.parameters = np.zeros(4)
    net.train_on_batch(X, X[:, 0], optimizer=SGD(0.01))
    assert net.epochs_trained == 2
    net.parameters[0] = np.nan
    with pytest.raises(DataError, match="parameters are not finite"):
        net.train_on_batch(X, X[:, 0], optimizer=SGD(0.01))


def test_a_batch_whose_weights_are_all_zero_changes_nothing(backend):
    net = make_network(backend)
    net.partial_fit(X, Y, optimizer="adam")
    before, other = net.parameters.copy(), copy.deepcopy(net)
    logs = net.train_on_batch(X, Y, sample_weight=np.zeros(23))
    assert list(logs) == ["loss", "accuracy"]
    assert np.isnan(list(logs.values())).all()
    assert net.parameters.tobytes() == before.tobytes()
    other.epochs_trained += 1
    assert_same_step(net, other)


def test_training_a_network_that_is_being_trained_is_refused(backend):
    net = make_network(backend)
    errors = []

    def train(network, epoch, logs):
        def attempt():
            try:
                network.train_on_batch(X, Y)
            except BusyError as error:
                errors.append(error)

        attempt()
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()

    net.fit(X, Y, epochs=1, callbacks=[train])
    assert len(errors) == 2
    net.train_on_batch(X, Y)


def test_array_likes_of_all_kinds_serve(backend):
    net, other = make_network(backend), make_network(backend)
    wide = np.zeros((46, 6), np.float32)
    wide[::2, ::2] = X
    wide.flags.writeable = False
    net.partial_fit(wide[::2, ::2], Y.tolist(), sample_weight=WEIGHT.tolist())
    other.partial_fit(X.astype(np.float32).astype(float), Y, sample_weight=WEIGHT)
    assert_same(net, other)
