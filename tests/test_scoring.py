"""The metrics that `fit` and `evaluate` measure beside the loss."""

import functools
import math

import numpy as np
import pytest

import pycnn
from pycnn import SGD, Dense, Network, metrics
from pycnn.callbacks import CSVLogger, EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from pycnn.exceptions import DataError, DataTypeError, LabelError, UnknownNameError

RNG = np.random.default_rng(5)
X = RNG.normal(size=(60, 4))
INDEX = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)  # 0, 1 or 2
WORDS = np.array(["ant", "bee", "wasp"])[INDEX]
WEIGHT = RNG.random(60)
OF_LABELS = ["accuracy", "precision", "recall", "f1"]
OF_NUMBERS = ["mse", "rmse", "mae", "r2"]


def network(backend, units=3, output="softmax", loss=None, inputs=4):
    layers = [Dense(6, "tanh"), Dense(units, output)]
    return Network(inputs, layers, loss=loss, seed=1, backend=backend)


def called(name, y, pred, **settings):
    return pytest.approx(getattr(metrics, name)(y, pred, **settings), rel=1e-12)


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("labels", [INDEX, WORDS])
def test_metrics_of_three_classes(backend, labels, weight):
    net = network(backend)
    net.fit(X, labels, epochs=3)
    names = [*OF_LABELS, "roc_auc", "log_loss"]
    scores = net.evaluate(X, labels, weight, metrics=names)
    assert list(scores) == ["loss", "accuracy", "precision", "recall", "f1", "roc_auc", "log_loss"]
    predicted, probabilities = net.predict_classes(X), net.predict_proba(X)
    for name in OF_LABELS:
        assert scores[name] == called(name, labels, predicted, sample_weight=weight)
    for name in ("roc_auc", "log_loss"):
        assert scores[name] == called(name, labels, probabilities, sample_weight=weight)
    assert scores["log_loss"] == pytest.approx(scores["loss"], rel=1e-9)
    assert net.evaluate(X, np.eye(3)[INDEX], weight, metrics=names) == scores
    assert net.evaluate(X, labels, metrics="mse")["mse"] == called(
        "mse", np.eye(3)[INDEX], probabilities
    )


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("pair", [[0, 1], [5, 7], ["ham", "spam"], [False, True], [-1, 1]])
@pytest.mark.parametrize("loss", ["binary_crossentropy", "hinge", "categorical_crossentropy"])
def test_metrics_of_two_classes_are_those_of_the_second(backend, loss, pair, weight):
    outputs = {"binary_crossentropy": (1, "sigmoid"), "hinge": (1, "linear")}
    net = network(backend, *outputs.get(loss, (2, "softmax")), loss=loss)
    labels = np.array(pair)[INDEX // 2]
    net.fit(X, labels, epochs=3)
    names = [*OF_LABELS, "roc_auc", *([] if loss == "hinge" else ["log_loss"])]
    scores = net.evaluate(X, labels, weight, metrics=names)
    predicted = net.predict_classes(X)
    for name in ("precision", "recall", "f1"):
        assert scores[name] == called(
            name, labels, predicted, pos_label=pair[1], sample_weight=weight
        )
    assert scores["accuracy"] == called("accuracy", labels, predicted, sample_weight=weight)
    outputs = net.predict(X)[:, -1]
    for name in names[4:]:
        assert scores[name] == called(name, labels, outputs, sample_weight=weight)


def test_hinge_has_no_log_loss(backend):
    net = network(backend, 1, "linear", "hinge")
    with pytest.raises(LabelError, match="'log_loss': outputs must be probabilities"):
        net.evaluate(X, np.where(INDEX == 1, 1, -1), metrics=["log_loss"])


def test_two_classes_of_which_one_does_not_occur_have_the_same_positive_one(backend):
    net = network(backend, 1, "sigmoid")
    net.fit(X, np.where(INDEX == 2, "spam", "ham"), epochs=1)
    for labels in (["ham"] * 60, ["spam"] * 60):
        scores = net.evaluate(X, labels, metrics=["f1", "recall"])
        right = (net.predict_classes(X) == labels[0]).mean()
        assert scores["recall"] == pytest.approx(right if labels[0] == "spam" else 0, rel=1e-12)
    with pytest.raises(LabelError, match=r"metric 'roc_auc': .* there are none of 'ham'"):
        net.evaluate(X, labels, metrics=["roc_auc"])


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("units", [1, 3])
def test_metrics_of_numbers(backend, units, weight):
    net = network(backend, units, "linear")
    y = X[:, :units] + 0.1
    scores = net.evaluate(X, y, weight, metrics=OF_NUMBERS)
    assert list(scores) == ["loss", "r2", "mse", "rmse", "mae"]
    for name in OF_NUMBERS:
        assert scores[name] == called(name, y, net.predict(X), sample_weight=weight)
    for name in (*OF_LABELS, "roc_auc", "log_loss", "top_k_accuracy"):
        with pytest.raises(LabelError, match=f"metric '{name}': targets must be classes"):
            net.evaluate(X, y, metrics=[name])
    quantile = network(backend, units, "linear", "quantile")
    assert list(quantile.evaluate(X, y, metrics=["r2"])) == ["loss", "r2"]


def test_metrics_are_in_the_unit_of_the_targets(backend):
    net = network(backend, 2, "linear")
    y = 5e4 + 1e3 * X[:, :2]
    y[3, 1] = np.nan
    options = {"missing_targets": "mask", "metrics": [*OF_NUMBERS, largest_error]}
    history = net.fit(
        X, y, epochs=2, scale_targets=True, validation_data=(X[:20], y[:20]), **options
    )
    scores = net.evaluate(X[:20], y[:20], **options)
    predicted, seen = net.predict(X[:20]), ~np.isnan(y[:20])
    errors = (y[:20] - predicted)[seen]
    assert scores["largest_error"] == pytest.approx(np.abs(errors).max(), rel=1e-9)
    parts = [np.abs(y[:20] - predicted)[seen[:, j], j].mean() for j in range(2)]
    assert scores["mae"] == pytest.approx(np.mean(parts), rel=1e-9)
    for name in ("mae", "r2", "largest_error"):
        assert history[f"val_{name}"][-1] == scores[name]


def largest_error(y_true, y_pred):
    return np.nanmax(np.abs(y_true - y_pred))


def test_numbers_with_gaps_are_measured_output_by_output(backend):
    net = network(backend, 3, "linear")
    y = np.where(RNG.random((60, 3)) < 0.3, np.nan, X[:, :3])
    y[:5] = np.nan
    predicted = net.predict(X)
    scores = net.evaluate(X, y, WEIGHT, missing_targets="mask", metrics=OF_NUMBERS)
    for name in OF_NUMBERS:
        parts = []
        for j in range(3):
            seen = ~np.isnan(y[:, j])
            settings = {"sample_weight": WEIGHT[seen]}
            parts.append(getattr(metrics, name)(y[seen, j], predicted[seen, j], **settings))
        assert scores[name] == pytest.approx(np.mean(parts), rel=1e-12)
    y[:, 1] = np.nan
    scores = net.evaluate(X, y, missing_targets="mask", metrics=["mae"])
    seen = ~np.isnan(y)
    errors = [np.abs(y - predicted)[seen[:, j], j].mean() for j in (0, 2)]
    assert scores["mae"] == pytest.approx(np.mean(errors), rel=1e-12)


def test_answers_of_several_units_are_taken_together(backend):
    net = network(backend, 3, "sigmoid")
    y = (X[:, :3] > 0).astype(float)
    names = [*OF_LABELS, "roc_auc", "log_loss"]
    for targets in (y, np.where(RNG.random(y.shape) < 0.2, np.nan, y)):
        seen = ~np.isnan(targets)
        scores = net.evaluate(X, targets, WEIGHT, missing_targets="mask", metrics=names)
        true, weight = targets[seen], np.broadcast_to(WEIGHT[:, None], y.shape)[seen]
        for name in OF_LABELS:
            pred = net.predict_classes(X)[seen]
            assert scores[name] == called(name, true, pred, sample_weight=weight)
        for name in ("roc_auc", "log_loss"):
            pred = net.predict(X)[seen]
            assert scores[name] == called(name, true, pred, sample_weight=weight)


def test_one_hot_targets_with_mse_have_metrics_of_both_kinds(backend):
    net, one_hot = network(backend, 3, "linear"), np.eye(3)[INDEX]
    with pytest.raises(LabelError, match="targets must be classes, but with loss 'mse'"):
        net.evaluate(X, one_hot, metrics=["f1"])
    net.fit(X, one_hot, epochs=2, validation_data=(X, one_hot), metrics=["f1", "roc_auc"])
    scores = net.evaluate(X, one_hot, metrics=["f1", "mse", "roc_auc"])
    assert scores["f1"] == net.history["val_f1"][-1]
    assert scores["f1"] == called("f1", INDEX, net.predict_classes(X))
    assert scores["mse"] == called("mse", one_hot, net.predict(X))
    assert scores["roc_auc"] == called("roc_auc", INDEX, net.predict(X))


def cost(y_true, y_pred):
    return 3 * np.mean(y_true != y_pred)


def weighted_cost(y_true, y_pred, sample_weight=None):
    return np.average(y_true != y_pred, weights=sample_weight)


def test_functions_of_ones_own_get_what_predict_classes_gives(backend):
    net = network(backend)
    net.fit(X, WORDS, epochs=2)
    wrong = net.predict_classes(X) != WORDS
    macro = functools.partial(metrics.f1, average=None)
    best = functools.partial(metrics.precision, average="micro")
    scores = net.evaluate(X, WORDS, WEIGHT, metrics=[cost, weighted_cost, metrics.recall, best])
    assert list(scores) == ["loss", "accuracy", "cost", "weighted_cost", "recall", "precision"]
    assert scores["cost"] == 3 * wrong.mean()
    assert scores["weighted_cost"] == np.average(wrong, weights=WEIGHT)
    assert scores["recall"] == net.evaluate(X, WORDS, WEIGHT, metrics=["recall"])["recall"]
    assert scores["precision"] == pytest.approx(1 - scores["weighted_cost"], rel=1e-12)
    with pytest.raises(DataTypeError, match=r"metric 'f1' must return one number, got array"):
        net.evaluate(X, WORDS, metrics=[macro])
    net = network(backend, 1, "linear")
    given = []

    def own(y_true, y_pred):
        given.append((y_true, y_pred))
        return 1

    y = np.where(np.arange(60) % 7 == 3, np.nan, X[:, 0])
    assert net.evaluate(X, y, missing_targets="mask", metrics=own)["own"] == 1.0
    seen = ~np.isnan(y)
    assert (given[0][0] == y[seen]).all()
    assert (given[0][1] == net.predict(X)[seen, 0]).all()
    pair = network(backend, 2, "linear")
    targets = np.column_stack([y, X[:, 1]])
    pair.evaluate(X, targets, missing_targets="mask", metrics=own)
    np.testing.assert_array_equal(given[1][0], targets)  # where a gap is NaN
    several = network(backend, 2, "sigmoid")
    several.evaluate(X, X[:, :2] > 0, metrics=[own])
    assert (given[2][0] == (X[:, :2] > 0)).all()
    assert (given[2][1] == several.predict_classes(X)).all()


def test_what_is_not_finite_or_has_no_weight_is_no_number(backend):
    net = network(backend)
    names = ["f1", "roc_auc", cost]
    scores = net.evaluate(X, INDEX, np.zeros(60), metrics=names)
    assert np.isnan(list(scores.values())).all()
    net.layers[0].W[0, 0] = np.nan
    scores = net.evaluate(X, INDEX, metrics=names)
    assert np.isnan(list(scores.values())).all()
    net = network(backend, 1, "linear")
    net.layers[1].W[:] = 1e308
    assert math.isnan(net.evaluate(X, X[:, 0], metrics=["mae"])["mae"])


# ------------------------------------------------------------------ in training


def test_a_training_measures_its_validation_data(backend):
    plain, net = network(backend), network(backend)
    plain.fit(X, WORDS, epochs=3, validation_data=(X[:20], WORDS[:20]))
    history = net.fit(
        X,
        WORDS,
        epochs=3,
        validation_data=(X[:20], WORDS[:20], WEIGHT[:20]),
        metrics=["f1", "roc_auc", weighted_cost],
    )
    assert net.parameters.tobytes() == plain.parameters.tobytes()
    assert list(history) == [
        *("loss", "accuracy", "val_loss", "val_accuracy", "val_f1", "val_roc_auc"),
        "val_weighted_cost",
    ]
    scores = net.evaluate(X[:20], WORDS[:20], WEIGHT[:20], metrics=["f1", "roc_auc", weighted_cost])
    assert {f"val_{key}": value for key, value in scores.items()} == {
        key: values[-1] for key, values in history.items() if key.startswith("val_")
    }
    history = network(backend).fit(
        X, INDEX, epochs=2, validation_split=0.5, metrics="f1", batch_size=None, optimizer="lbfgs"
    )
    assert len(history["val_f1"]) == 2
    batches = [(X[:30], INDEX[:30]), (X[30:], INDEX[30:])]
    history = network(backend).fit(
        batches, epochs=2, validation_data=(X, INDEX), metrics=["log_loss"]
    )
    assert history["val_log_loss"] == pytest.approx(history["val_loss"], rel=1e-9)


def test_callbacks_may_watch_a_metric(backend, tmp_path):
    net = network(backend)
    callbacks = [
        EarlyStopping("val_f1", patience=3),
        ModelCheckpoint(tmp_path / "{epoch}-{val_f1:.4f}", best_only=True, monitor="val_f1"),
        ReduceLROnPlateau("val_cost", mode="min"),
        CSVLogger(tmp_path / "log.csv"),
    ]
    history = net.fit(
        X,
        WORDS,
        epochs=200,
        validation_split=0.3,
        metrics=["f1", cost],
        callbacks=callbacks,
        optimizer=SGD(0.5),
    )
    stopping, checkpoint = callbacks[:2]
    assert stopping.best == checkpoint.best == max(history["val_f1"])
    assert history.epochs == stopping.best_epoch + 3 < 200
    assert checkpoint.last_path.endswith(f"{stopping.best_epoch}-{stopping.best:.4f}")
    assert (
        (tmp_path / "log.csv")
        .read_text()
        .startswith("epoch,loss,accuracy,val_loss,val_accuracy,val_f1,val_cost\n")
    )


def test_a_training_with_metrics_resumes(backend, tmp_path):
    settings = {"validation_split": 0.3, "metrics": ["f1", cost]}

    def callbacks():
        return [EarlyStopping("val_f1", patience=30), ModelCheckpoint(tmp_path / "model")]

    straight, net = network(backend), network(backend)
    straight.fit(X, WORDS, epochs=6, callbacks=callbacks(), **settings)
    net.fit(X, WORDS, epochs=4, callbacks=callbacks(), **settings)
    other = pycnn.load(tmp_path / "model", backend=backend)
    with pytest.raises(DataError, match=r"metrics was \['f1', 'cost'\] and is now None"):
        other.fit(X, WORDS, epochs=6, resume=True, callbacks=callbacks(), validation_split=0.3)
    other.fit(X, WORDS, epochs=6, resume=True, callbacks=callbacks(), **settings)
    assert other.parameters.tobytes() == straight.parameters.tobytes()
    assert dict(other.history) == dict(straight.history)


def test_a_memory_map_is_validated_on(backend, tmp_path, monkeypatch):
    monkeypatch.setattr(pycnn._data.sources, "WHOLE", 100)
    monkeypatch.setattr(pycnn._data.sources, "PIECE", 8 * 4 * 7)
    table = np.memmap(tmp_path / "X", dtype=np.float32, mode="w+", shape=X.shape)
    table[:] = X
    net, plain = network(backend), network(backend)
    settings = {"epochs": 2, "metrics": ["f1", "roc_auc"]}
    history = net.fit(X, INDEX, validation_data=(table, INDEX), **settings)
    expected = plain.fit(X, INDEX, validation_data=(np.array(table), INDEX), **settings)
    assert history["val_f1"] == expected["val_f1"]
    assert history["val_roc_auc"] == expected["val_roc_auc"]
    scores = net.evaluate(table, INDEX, metrics=["f1"])
    assert scores["f1"] == history["val_f1"][-1]


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (["acuracy"], UnknownNameError, "metrics must be one of acc.*; did you mean 'accuracy'"),
        (["confusion_matrix"], UnknownNameError, "metrics must be one of"),
        ([3], DataTypeError, "metrics must hold names and functions, got 3"),
        (3, DataTypeError, "metrics must be a list"),
        ({"f1": 1}, DataTypeError, "metrics must be a list"),
        (["f1", metrics.f1], DataError, "names of their own, got 'f1' once more"),
        ([metrics.confusion_matrix], DataTypeError, "'confusion_matrix' must return one number"),
        (lambda y, a: "good", DataTypeError, "must return one number, got 'good'"),
        (lambda y, a: 1j, DataTypeError, "must return one number, got 1j"),
        (["top_k_accuracy"], DataError, "metric 'top_k_accuracy': k must be from 1 to the 3"),
        (["roc_auc"], LabelError, "metric 'roc_auc': .*there are none of 2"),
    ],
)
def test_metrics_that_cannot_be_measured_are_refused_before_anything_changes(
    backend, value, error, message
):
    net = network(backend)
    before = net.parameters.tobytes()
    few = INDEX < 2
    with pytest.raises(error, match=message):
        net.fit(X, INDEX, validation_data=(X[few], INDEX[few]), metrics=value)
    assert net.parameters.tobytes() == before
    assert net.classes is net.history is None
    with pytest.raises(error, match=message):
        net.evaluate(X[few], INDEX[few], metrics=value)


def test_a_metric_needs_a_name_and_validation_data(backend):
    def loss(y_true, y_pred):
        return 0.0

    net = network(backend)
    with pytest.raises(DataError, match="got 'loss'"):
        net.evaluate(X, INDEX, metrics=[loss])
    for source in ((X, INDEX), ([(X, INDEX)],)):
        with pytest.raises(DataError, match="metrics are measured on validation data: give"):
            net.fit(*source, metrics=["f1"])
    assert net.history is None
    net.fit(X, INDEX, epochs=1, metrics=[])


def test_an_exception_of_a_metric_comes_out_and_leaves_a_usable_network(backend):
    count = []

    def failing(y_true, y_pred):
        count.append(1)
        if len(count) == 3:
            raise OSError("no more")
        return len(count)

    net = network(backend)
    with pytest.raises(OSError, match="no more"):
        net.fit(X, INDEX, epochs=5, validation_split=0.2, metrics=[failing])
    assert net.history["val_failing"] == [2.0]
    assert np.isfinite(net.parameters).all()
    net.fit(X, INDEX, epochs=1)
