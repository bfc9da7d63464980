"""L-BFGS: the line search, the recursion, and training with them."""

import signal

import numpy as np
import pytest

import pycnn
from pycnn import (
    LBFGS,
    SGD,
    BatchNorm,
    Dense,
    Dropout,
    LayerNorm,
    Network,
    optimizers,
)
from pycnn._training import checkpointer, lbfgs
from pycnn.callbacks import ReduceLROnPlateau
from pycnn.exceptions import DataError, DataTypeError, DivergedError
from pycnn.schedules import CosineDecay

RNG = np.random.default_rng(3)
X = RNG.normal(size=(120, 5))
CURVE = np.sin(X[:, 0]) * X[:, 1] + 0.1 * RNG.normal(size=120)
LABELS = RNG.integers(0, 3, size=120)


def regression(backend="auto", **settings):
    return Network(5, [Dense(12, "tanh"), Dense(1)], seed=0, backend=backend, **settings)


def classes(backend="auto", **settings):
    layers = [Dense(9, "sigmoid"), Dense(3, "softmax")]
    return Network(5, layers, seed=0, backend=backend, **settings)


def fit(net, y=CURVE, epochs=30, optimizer=None, **settings):
    optimizer = optimizer or LBFGS()
    return net.fit(X, y, epochs=epochs, batch_size=None, optimizer=optimizer, **settings)


# ------------------------------------------------------------------ the line search

LINES = {  # loss and slope at a length
    "parabola": lambda a: ((a - 3) ** 2, 2 * (a - 3)),
    "far away": lambda a: ((a - 3e4) ** 2, 2 * (a - 3e4)),
    "close by": lambda a: ((a - 3e-5) ** 2, 2 * (a - 3e-5)),
    "quartic": lambda a: ((a - 2) ** 4 + a * a, 4 * (a - 2) ** 3 + 2 * a),
    "waves": lambda a: (np.sin(5 * a) - a / 2 + a * a / 20, 5 * np.cos(5 * a) - 0.5 + a / 10),
    "pole": lambda a: (1 / (2 - a) - 3 * a, 1 / (2 - a) ** 2 - 3) if a < 2 else (np.inf, np.inf),
    "More and Thuente's first": lambda a: (-a / (a * a + 2), (a * a - 2) / (a * a + 2) ** 2),
}


@pytest.mark.parametrize("first", [1e-3, 0.1, 1.0, 10.0, 1e3])
@pytest.mark.parametrize("name", LINES)
def test_a_step_satisfies_the_strong_wolfe_conditions(name, first):
    line = LINES[name]
    sign = -1 if line(0.0)[1] > 0 else 1

    def downhill(length):
        loss, slope = line(sign * length)
        return loss, sign * slope

    start = downhill(0.0)
    length = lbfgs.wolfe_step(downhill, start, first, 40)
    loss, slope = downhill(length)
    assert loss <= start[0] + 1e-4 * length * start[1]
    assert abs(slope) <= -0.9 * start[1]


def test_a_search_that_runs_out_returns_the_best_decrease_or_nothing():
    assert lbfgs.wolfe_step(lambda a: (-a, -1.0), (0.0, -1.0), 1.0, 3) > 2  # falls for ever
    assert lbfgs.wolfe_step(lambda a: (a, 1.0), (0.0, -1.0), 1.0, 20) == 0  # the slope is a lie
    assert lbfgs.wolfe_step(lambda a: (np.inf, np.inf), (0.0, -1.0), 1.0, 20) == 0
    kink = lbfgs.wolfe_step(lambda a: (abs(a - 1), np.sign(a - 1.0)), (1.0, -1.0), 0.3, 20)
    assert kink == pytest.approx(1)  # no place there has a small slope


def test_lengths_that_are_tried_are_finite_and_different():
    tried = []

    def line(length):
        tried.append(length)
        return -length, -1.0

    lbfgs.wolfe_step(line, (0.0, -1.0), 1e300, 50)
    assert np.isfinite(tried).all()
    assert len(set(tried)) == len(tried)


# ------------------------------------------------------------------ the recursion


def quadratic(size, seed=0):
    """Return theta -> loss, its gradient, and A of the loss theta.A.theta / 2 - b.theta."""
    rng = np.random.default_rng(seed)
    M = rng.normal(size=(size, size))
    A, b = M @ M.T + np.eye(size), rng.normal(size=size)

    def function(theta, gradient):
        gradient[:] = A @ theta - b
        return float(0.5 * theta @ A @ theta - b @ theta)

    return function, A, b


def test_the_direction_is_that_of_the_bfgs_matrix():
    """The two-loop recursion against H <- (I - s y'/y's) H (I - y s'/y's) + s s'/y's, in full."""
    function, _, _ = quadratic(6)
    minimizer = lbfgs.Minimizer(function, np.ones(6), 4, 20)
    minimizer.look()
    for _ in range(6):  # more steps than pairs that are kept
        minimizer.step()
    assert len(minimizer.pairs) == 4
    s, y = minimizer.pairs[-1]
    H = np.eye(6) * (s @ y) / (y @ y)
    for s, y in minimizer.pairs:
        V = np.eye(6) - np.outer(y, s) / (y @ s)
        H = V.T @ H @ V + np.outer(s, s) / (y @ s)
    expected = -H @ minimizer.gradient
    np.testing.assert_allclose(minimizer._direction(), expected, rtol=1e-9, atol=1e-12)


def test_a_quadratic_is_solved():
    function, A, b = quadratic(20)
    theta = np.zeros(20)
    minimizer = lbfgs.Minimizer(function, theta, 20, 20)
    steps = 0
    while minimizer.look() and minimizer.largest_component() > 1e-6:
        assert minimizer.step()
        steps += 1
    np.testing.assert_allclose(theta, np.linalg.solve(A, b), rtol=1e-5, atol=1e-6)
    assert steps < 60  # gradient descent needs thousands


def test_rosenbrocks_valley_is_followed_to_its_end():
    def function(theta, gradient):
        x, y = theta
        gradient[:] = -2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)
        return float((1 - x) ** 2 + 100 * (y - x * x) ** 2)

    theta = np.array([-1.2, 1.0])
    minimizer = lbfgs.Minimizer(function, theta, 10, 20)
    for _ in range(60):
        if not (minimizer.look() and minimizer.largest_component() > 1e-8 and minimizer.step()):
            break
    np.testing.assert_allclose(theta, [1, 1], rtol=1e-6)


def test_what_is_remembered_is_forgotten_where_someone_else_moves_theta():
    function, _, _ = quadratic(5)
    theta = np.ones(5)
    minimizer = lbfgs.Minimizer(function, theta, 5, 20)
    for _ in range(3):
        minimizer.look()
        minimizer.step()
    assert len(minimizer.pairs) == 3
    theta += 1.0
    minimizer.look()
    assert not minimizer.pairs
    gradient = np.empty(5)
    assert minimizer.loss == function(theta, gradient)
    np.testing.assert_array_equal(minimizer.gradient, gradient)


def test_a_training_cut_in_two_has_the_same_bits():
    function, _, _ = quadratic(30)

    def go_on(minimizer, steps):
        for _ in range(steps):
            minimizer.look()
            minimizer.step()

    whole, parts = np.zeros(30), np.zeros(30)
    go_on(lbfgs.Minimizer(function, whole, 5, 20), 12)
    for cut in (0, 3, 9):  # no pair yet, some, all
        parts[:] = 0
        first = lbfgs.Minimizer(function, parts, 5, 20)
        go_on(first, cut)
        second = lbfgs.Minimizer(function, parts, 5, 20)
        second.restore(first.memory(), len(first.pairs))
        go_on(second, 12 - cut)
        assert parts.tobytes() == whole.tobytes()


@pytest.mark.parametrize(
    ("memory", "count"),
    [
        (np.ones((10, 4)), 2),
        (np.ones((8, 3)), 2),
        (np.ones(30), 2),
        (np.ones((10, 3)), 6),
        (np.ones((10, 3)), -1),
        (np.concatenate([np.ones((5, 3)), -np.ones((5, 3))]), 2),
        (np.full((10, 3), np.nan), 2),
        (np.full((10, 3), 1e200), 2),
        (np.zeros((10, 3)), 1),
    ],
)
def test_a_memory_that_fits_nothing_is_refused(memory, count):
    minimizer = lbfgs.Minimizer(lambda theta, gradient: 0.0, np.zeros(3), 5, 20)
    with pytest.raises(DataError, match="the memory of L-BFGS"):
        minimizer.restore(memory, count)
    assert not minimizer.pairs


def test_sums_do_not_depend_on_what_numpy_dispatches_on(run_python):
    features = " ".join(np.show_config(mode="dicts")["SIMD Extensions"]["found"])
    code = (
        "import numpy as np; from pycnn._training import lbfgs\n"
        "rng = np.random.default_rng(0)\n"
        "for n in (1, 7, 8, 9, 127, 128, 129, 1000, 8191, 8193, 100003):\n"
        "    a, b = rng.normal(size=(2, n))\n"
        "    print(lbfgs.dot(a, b).hex(), lbfgs.dot(a[1:].copy(), b[1:].copy()).hex())\n"
    )
    assert run_python(code, NPY_DISABLE_CPU_FEATURES=features) == run_python(code)


# ------------------------------------------------------------------ training


def test_the_loss_never_grows_and_the_history_is_that_of_the_parameters(backend):
    seen = []

    def look(network, epoch, logs):
        seen.append(network.evaluate(X, LABELS))

    net = classes(backend, l2=1e-4)
    history = fit(net, LABELS, callbacks=[look])
    assert history.epochs == net.epochs_trained == 30
    assert (np.diff(history["loss"]) < 0).all()
    assert history["loss"] == pytest.approx([scores["loss"] for scores in seen], rel=1e-12)
    assert history["accuracy"] == pytest.approx([scores["accuracy"] for scores in seen])
    _, gradient = net.gradients(X, LABELS)
    assert history["gradient_norm"][-1] == pytest.approx(np.linalg.norm(gradient), rel=1e-9)


def test_it_is_far_ahead_of_gradient_descent(backend):
    descent, net = regression(backend), regression(backend)
    descent.fit(X, CURVE, epochs=100, batch_size=None, optimizer=SGD(0.1))
    history = fit(net, epochs=100)
    assert history["loss"][-1] < 0.2 * descent.history["loss"][-1]


def test_backends_agree(core):
    for make, y in ((regression, CURVE), (classes, LABELS)):
        c, n = make("c", l2=1e-3), make("numpy", l2=1e-3)
        for net in (c, n):
            fit(net, y, epochs=15)
        np.testing.assert_allclose(c.parameters, n.parameters, rtol=0, atol=1e-9)
        assert c.history["loss"] == pytest.approx(n.history["loss"], rel=1e-10)


def test_threads_and_pauses_do_not_change_a_bit(backend):
    results = []
    for threads, callbacks in ((1, None), (2, None), (1, [lambda *_: None])):
        before = pycnn.get_num_threads()
        pycnn.set_num_threads(threads)
        try:
            layers = [Dense(200, "tanh"), Dense(3, "softmax")]
            net = Network(5, layers, seed=0, backend=backend)
            rows = np.tile(X, (3, 1)) + np.arange(360)[:, None] / 1000
            net.fit(
                rows,
                np.tile(LABELS, 3),
                epochs=8,
                batch_size=None,
                optimizer=LBFGS(),
                callbacks=callbacks,
            )
        finally:
            pycnn.set_num_threads(before)
        results.append((net.parameters.tobytes(), dict(net.history)))
    assert results[0] == results[1] == results[2]


def test_instruction_sets_do_not_change_a_bit(core, run_python):
    if pycnn.config()["isa"] != "avx512":
        pytest.skip("needs AVX-512, which is not what runs here")
    code = (
        "import numpy as np; from pycnn import *\n"
        "X = np.linspace(-1, 1, 300).reshape(100, 3)\n"
        "net = Network(3, [Dense(50, 'tanh'), Dense(1)], seed=0)\n"
        "net.fit(X, X[:, 0] ** 2, epochs=20, batch_size=None, optimizer='lbfgs')\n"
        "print(net.history.epochs, net.parameters.tobytes().hex())\n"
    )
    assert run_python(code, PYCNN_ISA="avx2") == run_python(code, PYCNN_ISA="avx512")


def test_it_stops_at_a_minimum(backend):
    net = Network(5, [Dense(1)], seed=0, backend=backend)
    history = fit(net, X @ np.arange(5.0) + 2, epochs=500, optimizer=LBFGS(tolerance=1e-8))
    assert history.epochs < 50
    assert net.stop_training
    assert np.abs(net.gradients(X, X @ np.arange(5.0) + 2)[1]).max() <= 1e-8
    np.testing.assert_allclose(net.layers[0].W, [np.arange(5.0)], atol=1e-6)
    before = net.parameters.copy()
    again = fit(net, X @ np.arange(5.0) + 2, optimizer=LBFGS(tolerance=1e-8))
    assert again.epochs == 1  # there is nothing to do, which is on record
    assert (net.parameters == before).all()


def test_it_stops_where_rounding_is_all_that_is_left(backend):
    net = Network(5, [Dense(1)], seed=0, backend=backend)
    history = fit(net, epochs=2000, optimizer=LBFGS(tolerance=0))
    assert history.epochs < 200
    assert net.stop_training
    design = np.column_stack([X, np.ones(len(X))])
    best = np.linalg.lstsq(design, CURVE, rcond=None)[0]
    np.testing.assert_allclose(net.parameters, best, rtol=1e-5)


def test_weights_that_are_all_zero_change_nothing(backend):
    net = regression(backend)
    before = net.parameters.copy()
    history = fit(net, sample_weight=np.zeros(120))
    assert history.epochs == 1
    assert np.isnan(history["loss"]).all()
    assert (net.parameters == before).all()


def test_sample_weights_count_rows(backend):
    counts = RNG.integers(1, 4, size=120)
    weighted, repeated = regression(backend), regression(backend)
    fit(weighted, sample_weight=counts, epochs=8)
    rows = np.repeat(np.arange(120), counts)
    repeated.fit(X[rows], CURVE[rows], epochs=8, batch_size=None, optimizer=LBFGS())
    np.testing.assert_allclose(weighted.parameters, repeated.parameters, rtol=1e-6, atol=1e-8)


def test_validation_and_callbacks_run_each_iteration(backend):
    net, epochs = regression(backend), []

    def stop(network, epoch, logs):
        epochs.append((epoch, logs["val_loss"]))
        network.stop_training = epoch == 4

    history = fit(net, validation_split=0.2, callbacks=[stop])
    assert [epoch for epoch, _ in epochs] == [1, 2, 3, 4]
    assert history["val_loss"] == [loss for _, loss in epochs]
    assert len(history["val_r2"]) == 4


def test_kinks_do_little_harm(backend):
    for loss in ("mae", "quantile", "huber"):
        net = Network(5, [Dense(12, "relu"), Dense(1)], loss=loss, seed=0, backend=backend)
        history = fit(net, epochs=60)
        assert history["loss"][-1] < 0.4 * history["loss"][0]
        assert (np.diff(history["loss"]) <= 0).all()


def test_ctrl_c_leaves_the_last_finished_step(backend, monkeypatch):
    net, kept = regression(backend), {}
    evaluate = lbfgs.Iterations._evaluate
    calls = []

    def interrupted(training, theta, gradient):
        calls.append(theta)
        if len(calls) == 12:
            kept["theta"] = training.network.parameters.copy()
            signal.raise_signal(signal.SIGINT)
        return evaluate(training, theta, gradient)

    monkeypatch.setattr(lbfgs.Iterations, "_evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(net)
    assert 0 < net.history.epochs == net.epochs_trained < 12
    assert (net.parameters == kept["theta"]).all()
    assert net.evaluate(X, CURVE)["loss"] == pytest.approx(net.history["loss"][-1], rel=1e-12)
    monkeypatch.undo()
    fit(net)  # it can go on


@pytest.mark.parametrize("scale", [1e160, 1e300])
def test_a_start_that_is_not_finite_is_an_error_that_changes_nothing(backend, scale):
    net = Network(5, [Dense(4, "relu"), Dense(1)], seed=0, backend=backend)
    net.parameters *= scale
    before = net.parameters.copy()
    with pytest.raises(DivergedError, match="epoch 1") as caught:
        fit(net)
    assert (caught.value.epoch, caught.value.batch) == (1, 1)
    assert (net.parameters == before).all()
    assert net.history.epochs == 0


@pytest.mark.filterwarnings("ignore:[Xy] is not scaled")
def test_a_wild_first_step_is_taken_back(backend):
    """Gradients of 1e6 and more: the step of the first try overflows or raises the loss."""
    net = Network(5, [Dense(30, "relu"), Dense(1)], seed=0, backend=backend)
    history = net.fit(X * 1e3, CURVE * 1e3, epochs=50, batch_size=None, optimizer=LBFGS())
    assert np.isfinite(net.parameters).all()
    assert history["loss"][-1] < 0.1 * history["loss"][0]


# ------------------------------------------------------------------ resume


class Stop(pycnn.Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, network, epoch, logs):
        if epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.mark.parametrize("epoch", [1, 4, 13])
@pytest.mark.parametrize("period", [0.0, 1.0])
def test_a_training_goes_on_from_its_file_to_the_same_bits(
    backend, tmp_path, epoch, period, monkeypatch
):
    monkeypatch.setattr(checkpointer, "CHECKPOINT_PERIOD", period)
    whole, net = classes(backend, l2=1e-3), classes(backend, l2=1e-3)
    fit(whole, LABELS, epochs=20, optimizer=LBFGS(6), callbacks=[Stop(99)])
    with pytest.raises(KeyboardInterrupt):
        fit(net, LABELS, epochs=20, optimizer=LBFGS(6), callbacks=[Stop(epoch)])
    assert net.training_record.last.epoch == (0 if period else epoch - 1)
    net.save(tmp_path / "net", training_state=True)
    other = pycnn.load(tmp_path / "net", backend=backend)
    settings = {"epochs": 20, "optimizer": LBFGS(6), "resume": True}
    history = fit(other, LABELS, callbacks=[Stop(99)], **settings)
    assert other.parameters.tobytes() == whole.parameters.tobytes()
    assert dict(history) == dict(whole.history)


def test_a_checkpoint_is_that_of_the_training_that_went_on(tmp_path):
    def train(net, path, stop, **settings):
        keep = pycnn.callbacks.ModelCheckpoint(path, training_state=True)
        fit(net, epochs=12, callbacks=[keep, Stop(stop)], **settings)

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, parts = (tmp_path / folder / "net" for folder in "ab")
    train(regression(), whole, 99)
    with pytest.raises(KeyboardInterrupt):
        train(regression(), parts, 7)
    train(pycnn.load(parts), parts, 99, resume=True)
    a, b = pycnn.load(whole), pycnn.load(parts)
    assert a.parameters.tobytes() == b.parameters.tobytes()
    assert a.training_record.last.slots.tobytes() == b.training_record.last.slots.tobytes()
    assert a.training_record.last.slots.any()
    assert a.training_record.last.updates == b.training_record.last.updates == 10


def test_a_training_that_has_reached_a_minimum_stays_there_when_it_is_resumed(tmp_path):
    def train(net, path, stop, **settings):
        keep = pycnn.callbacks.ModelCheckpoint(path, training_state=True)
        return net.fit(
            X,
            X[:, 0],
            epochs=300,
            batch_size=None,
            optimizer=LBFGS(),
            callbacks=[keep, Stop(stop)],
            **settings,
        )

    whole = Network(5, [Dense(1)], seed=0)
    last = train(whole, tmp_path / "whole", 999).epochs
    assert last < 100
    with pytest.raises(KeyboardInterrupt):
        train(Network(5, [Dense(1)], seed=0), tmp_path / "parts", last)
    net = pycnn.load(tmp_path / "parts")
    assert dict(train(net, tmp_path / "parts", 999, resume=True)) == dict(whole.history)
    assert net.parameters.tobytes() == whole.parameters.tobytes()
    assert net.epochs_trained == last


def test_another_history_size_does_not_resume():
    net = regression()
    with pytest.raises(KeyboardInterrupt):
        fit(net, callbacks=[Stop(4)])
    with pytest.raises(DataError, match=r"optimizer.history_size was 10 and is now 5"):
        fit(net, optimizer=LBFGS(5), callbacks=[Stop(4)], resume=True)


# ------------------------------------------------------------------ settings


def test_it_is_settings_and_has_a_name():
    optimizer = LBFGS(5, tolerance=1e-3, max_evaluations=7)
    assert eval(repr(optimizer)) == optimizer
    assert optimizers.from_config(optimizer.config()) == optimizer
    assert optimizers.get("lbfgs") == LBFGS() == eval(repr(LBFGS()))
    with pytest.raises(AttributeError):
        optimizer.tolerance = 1.0


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: LBFGS(0), DataError, "history_size"),
        (lambda: LBFGS(0.1), DataTypeError, "history_size.*no learning rate"),
        (lambda: LBFGS(CosineDecay(0.1)), DataTypeError, "history_size.*no learning rate"),
        (lambda: LBFGS(tolerance=-1), DataError, "tolerance"),
        (lambda: LBFGS(max_evaluations=0), DataError, "max_evaluations"),
        (lambda: LBFGS(clip_norm=1.0), DataError, "clip_norm must be None"),
        (lambda: LBFGS(clip_value=1.0), DataError, "clip_value must be None"),
        (lambda: LBFGS(learning_rate=0.1), TypeError, "learning_rate"),
        (LBFGS().spec, DataError, "fit only"),
    ],
)
def test_wrong_settings_are_named(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch_size": 32}, "batch_size must be None.*120.*32"),
        ({}, "batch_size must be None.*default"),
        ({"batch_size": None, "callbacks": [ReduceLROnPlateau()]}, "ReduceLROnPlateau"),
    ],
)
def test_what_it_cannot_do_is_refused_before_anything_changes(settings, words):
    net = regression()
    fit(net, epochs=2)
    history, before = net.history, net.parameters.copy()
    with pytest.raises(DataError, match=words):
        net.fit(X, CURVE, optimizer=LBFGS(), **settings)
    assert net.history is history
    assert (net.parameters == before).all()


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([Dense(4), Dropout(0.5), Dense(1)], "no Dropout with LBFGS, as layer 2 is"),
        ([Dense(4), BatchNorm("relu"), Dense(1)], "no BatchNorm with LBFGS, as layer 2 is"),
        ([Dense(4, max_norm=3), Dense(1)], "max_norm must be None with LBFGS.*layer 1 is 3"),
    ],
)
def test_layers_whose_loss_changes_are_refused(layers, words):
    with pytest.raises(DataError, match=words):
        fit(Network(5, layers, seed=0))


def test_a_dropout_that_drops_nothing_is_no_obstacle():
    plain, none = ([Dense(4, "tanh"), *more, Dense(1)] for more in ([], [Dropout(0.0)]))
    trained = [Network(5, layers, seed=0) for layers in (plain, none)]
    histories = [fit(net, epochs=3) for net in trained]
    assert histories[0]["loss"] == histories[1]["loss"]


def test_layer_norm_and_losses_of_ones_own_are_trained(backend):
    def squares(outputs, targets):
        return 0.5 * ((outputs - targets) ** 2).sum(axis=1), outputs - targets

    layers = [Dense(8), LayerNorm("tanh"), Dense(1)]
    net, own = (Network(5, layers, loss, 0, backend) for loss in ("mse", squares))
    for each in (net, own):
        history = fit(each, epochs=10)
        assert history["loss"][-1] < 0.5 * history["loss"][0]
    np.testing.assert_allclose(own.parameters, net.parameters, rtol=1e-6)


def test_there_are_no_single_steps():
    net = regression()
    for train in (net.partial_fit, net.train_on_batch):
        with pytest.raises(DataError, match=r"LBFGS.*fit only"):
            train(X, CURVE, optimizer=LBFGS())
    assert net.epochs_trained == 0


def test_an_iteration_is_a_group_of_one_mini_batch():
    groups = []

    class Groups(pycnn.Callback):
        def on_batch_group_end(self, network, epoch, logs):
            groups.append((epoch, logs))

    history = fit(classes(), LABELS, epochs=3, callbacks=[Groups()])
    assert [epoch for epoch, _ in groups] == [1, 2, 3]
    assert groups[1][1] == {
        "loss": history["loss"][1],
        "accuracy": history["accuracy"][1],
        "batch": 1,
        "batches": 1,
    }


def test_a_mini_batch_of_all_rows_is_the_whole_data():
    net, other = regression(), regression()
    fit(net, epochs=5)
    other.fit(X, CURVE, epochs=5, batch_size=120, optimizer="lbfgs")
    assert net.parameters.tobytes() == other.parameters.tobytes()


# ------------------------------------------------------------------ against others


def evaluator(net, y):
    data, _ = net.reader.read(X, y, learn=True)

    def function(theta):
        gradient = np.empty_like(theta)
        totals = net.core.gradients(net.plan, np.ascontiguousarray(theta), data, gradient)
        return totals.mean_loss(), gradient

    return function


@pytest.mark.parametrize(("make", "y"), [(regression, CURVE), (classes, LABELS)])
def test_it_needs_about_as_many_iterations_as_scipy(make, y):
    minimize = pytest.importorskip("scipy.optimize").minimize
    net = make(l2=1e-2)
    options = {"maxiter": 1000, "maxfun": 10**5, "maxcor": 10, "gtol": 1e-5, "ftol": 0}
    start = net.parameters.copy()
    peer = minimize(evaluator(net, y), start, jac=True, method="L-BFGS-B", options=options)
    history = fit(net, y, epochs=1000, optimizer=LBFGS(tolerance=1e-5))
    assert peer.success
    assert history.epochs < 2 * peer.nit + 20
    # Another minimum may be found, but none that is much worse.
    assert history["loss"][-1] < 1.02 * peer.fun


def test_digits_are_learned_as_scikit_learn_does():
    neural_network = pytest.importorskip("sklearn.neural_network")
    inputs, labels = pycnn.datasets.load_digits()
    inputs, labels = np.asarray(inputs, np.float64)[:600] / 16, labels[:600]
    peer = neural_network.MLPClassifier(
        (16,), "tanh", solver="lbfgs", alpha=1e-2 * 600, max_iter=500, tol=1e-4, random_state=0
    ).fit(inputs, labels)
    net = Network(64, [Dense(16, "tanh"), Dense(10, "softmax")], seed=0, l2=1e-2)
    optimizer = LBFGS(tolerance=1e-4)
    history = net.fit(inputs, labels, epochs=500, batch_size=None, optimizer=optimizer)
    assert history["loss"][-1] < 1.1 * peer.loss_
    assert history.epochs < 2 * peer.n_iter_ + 20
