"""Metrics: figures worked by hand, scikit-learn's on random cases, and what is refused."""

import datetime
import math

import numpy as np
import pytest

from pycnn import metrics
from pycnn.exceptions import (
    DataError,
    DataTypeError,
    LabelError,
    PycnnError,
    ShapeError,
    UnknownNameError,
)

# ------------------------------------------------------------------ figures worked by hand


# Class 0: TP 2, FP 1, FN 1; class 1: TP 1, FP 2, FN 1; class 2: TP 0, FP 0, FN 1.
TRUE = [0, 0, 0, 1, 1, 2]
PRED = [0, 0, 1, 1, 0, 1]


def test_averages_over_classes_by_hand():
    assert metrics.accuracy(TRUE, PRED) == 0.5
    assert metrics.precision(TRUE, PRED, average=None).tolist() == [2 / 3, 1 / 3, 0]
    assert metrics.recall(TRUE, PRED, average=None).tolist() == [2 / 3, 1 / 2, 0]
    assert metrics.f1(TRUE, PRED, average=None).tolist() == pytest.approx([2 / 3, 2 / 5, 0])
    assert metrics.precision(TRUE, PRED) == pytest.approx(1 / 3)
    assert metrics.recall(TRUE, PRED, average="macro") == pytest.approx(7 / 18)
    assert metrics.f1(TRUE, PRED) == pytest.approx(16 / 45)
    for metric in (metrics.precision, metrics.recall, metrics.f1):
        assert metric(TRUE, PRED, average="micro") == 0.5


def test_two_classes_give_the_figure_of_the_positive_one():
    true, pred = [1, 1, 1, 0, 0], [1, 0, 0, 1, 0]
    assert metrics.precision(true, pred) == 1 / 2
    assert metrics.recall(true, pred) == 1 / 3
    assert metrics.f1(true, pred) == pytest.approx(2 / 5)
    assert metrics.precision(true, pred, pos_label=0) == 1 / 3
    assert metrics.recall(true, pred, average="binary", pos_label=0) == 1 / 2
    assert metrics.precision(true, pred, average="macro") == pytest.approx(5 / 12)


def test_what_never_occurs_counts_zero():
    assert metrics.precision([0, 1], [0, 0]) == 0
    assert metrics.recall([0, 0], [0, 1]) == 0
    assert metrics.f1([0, 0], [0, 0]) == 0
    assert metrics.f1([1, 1], [1, 1]) == 1
    assert metrics.f1([0, 1], [0, 1], labels=[0, 1, 2]) == pytest.approx(2 / 3)


def test_the_confusion_matrix_has_true_classes_as_rows():
    assert metrics.confusion_matrix(TRUE, PRED).tolist() == [[2, 1, 0], [1, 1, 0], [0, 1, 0]]
    assert metrics.confusion_matrix(TRUE, PRED).dtype.kind == "i"
    reversed_order = metrics.confusion_matrix(TRUE, PRED, labels=[2, 1, 0])
    assert reversed_order.tolist() == [[0, 1, 0], [0, 1, 1], [0, 1, 2]]
    wider = metrics.confusion_matrix([0], [1], labels=[0, 1, 2])
    assert wider.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]
    weighted = metrics.confusion_matrix([0, 0, 1], [0, 1, 1], sample_weight=[0.5, 2, 3])
    assert weighted.tolist() == [[0.5, 2], [0, 3]]


def test_weights_count_as_repetitions():
    weight = np.array([1, 3, 2, 0, 2, 1])
    true, pred = np.repeat(TRUE, weight), np.repeat(PRED, weight)
    for metric in (metrics.accuracy, metrics.precision, metrics.recall, metrics.f1, metrics.mse):
        assert metric(TRUE, PRED, sample_weight=weight) == pytest.approx(metric(true, pred))


def test_top_k_accuracy_by_hand():
    scores = [[0.1, 0.2, 0.7], [0.5, 0.3, 0.2], [0.2, 0.5, 0.3]]
    # The true classes rank 2nd, 1st and 3rd.
    assert metrics.top_k_accuracy([1, 0, 0], scores, k=1) == pytest.approx(1 / 3)
    assert metrics.top_k_accuracy([1, 0, 0], scores, k=2) == pytest.approx(2 / 3)
    assert metrics.top_k_accuracy([1, 0, 0], scores, k=3) == 1
    weight = [1, 2, 5]
    assert metrics.top_k_accuracy([1, 0, 0], scores, k=2, sample_weight=weight) == 3 / 8
    named = metrics.top_k_accuracy(["b", "c", "c"], scores, k=2, labels=["c", "b", "a"])
    assert named == pytest.approx(2 / 3)


def test_with_k_of_one_ties_are_broken_as_by_argmax():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 3, (200, 4)).astype(float)
    true = rng.integers(0, 4, 200)
    expected = metrics.accuracy(true, scores.argmax(axis=1))
    assert metrics.top_k_accuracy(true, scores, k=1) == expected


def test_roc_auc_by_hand():
    # Pairs (positive, negative): 2 > 1, 2 = 2, 3 > 1, 3 > 2: 3.5 of 4
    assert metrics.roc_auc([0, 0, 1, 1], [1, 2, 2, 3]) == 7 / 8
    assert metrics.roc_auc([0, 0, 1, 1], [3, 3, 1, 2]) == 0
    assert metrics.roc_auc([0, 1, 1], [5, 5, 5]) == 0.5
    # The tied pair weighs 2 * 3 of (1 + 3) * (2 + 1)
    weighted = metrics.roc_auc([0, 0, 1, 1], [1, 2, 2, 3], sample_weight=[1, 3, 2, 1])
    assert weighted == pytest.approx((2 + 6 / 2 + 1 + 3) / 12)


def test_roc_auc_of_three_classes_is_the_mean_of_each_against_the_rest():
    true, scores = [0, 1, 2, 2], np.array([[3, 0, 1], [2, 4, 1], [1, 4, 1], [3, 1, 5]])
    each = [metrics.roc_auc(np.equal(true, j), scores[:, j]) for j in range(3)]
    assert each == [5 / 6, 5 / 6, 3 / 4]
    assert metrics.roc_auc(true, scores) == pytest.approx(np.mean(each))


def test_both_columns_of_two_classes_serve_as_one():
    true, prob = ["n", "y", "y", "n"], np.array([0.2, 0.3, 0.9, 0.4])
    both = np.column_stack([1 - prob, prob])
    for metric in (metrics.roc_auc, metrics.log_loss):
        expected = metric(true, prob)
        assert metric(true, prob[:, np.newaxis]) == expected
        assert metric(true, both) == pytest.approx(expected)
        assert metric(true, both[:, ::-1], labels=["y", "n"]) == pytest.approx(expected)


def test_log_loss_by_hand():
    prob = [[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]]
    assert metrics.log_loss([0, 2], prob) == pytest.approx((math.log(2) + math.log(8)) / 2)
    weighted = metrics.log_loss([0, 2], prob, sample_weight=[3, 1])
    assert weighted == pytest.approx((3 * math.log(2) + math.log(8)) / 4)
    assert metrics.log_loss([0, 0], [0.5, 0.75]) == pytest.approx(math.log(8) / 2)
    # Certain and wrong: bounded by -log 2^-52; certain and right: next to nothing
    assert metrics.log_loss([1], [0.0]) == pytest.approx(52 * math.log(2))
    assert 0 <= metrics.log_loss([1], [1.0]) < 3e-16


def test_errors_of_numbers_by_hand():
    y, pred = [[1, 10], [2, 20], [3, 60]], [[1, 13], [3, 16], [5, 60]]
    # Squares 0, 1, 4 and 9, 16, 0; y deviates by -1, 0, 1 and by -20, -10, 30
    assert metrics.mse(y, pred) == pytest.approx((5 / 3 + 25 / 3) / 2)
    assert metrics.rmse(y, pred) == pytest.approx((math.sqrt(5 / 3) + math.sqrt(25 / 3)) / 2)
    assert metrics.mae(y, pred) == pytest.approx((1 + 7 / 3) / 2)
    assert metrics.r2(y, pred) == pytest.approx((1 - 5 / 2 + 1 - 25 / 1400) / 2)


def test_targets_that_do_not_vary_are_met_or_not():
    assert metrics.r2([0.1] * 7, [0.1] * 7) == 1
    assert metrics.r2([0.1] * 7, [0.1] * 6 + [0.2]) == 0
    assert metrics.r2([[1, 0], [1, 1]], [[1, 0], [1, 1]]) == 1
    assert metrics.r2([3], [4]) == 0
    assert metrics.r2([0.1, 0.1, 0.1, 5], [0.2] * 4, sample_weight=[1, 2, 3, 0]) == 0
    assert metrics.r2([0.1, 0.1, 0.1, 5], [0.1] * 4, sample_weight=[1, 2, 3, 0]) == 1
    y = 1e9 + np.array([-1e-6, 0, 1e-6])
    assert metrics.r2(y, [y.mean()] * 3) == pytest.approx(0, abs=1e-12)


def test_a_column_of_predictions_pairs_with_a_row_of_targets():
    y = np.arange(5.0)
    for metric in (metrics.mse, metrics.rmse, metrics.mae):
        assert metric(y, y[:, np.newaxis] + 2) == metric(y, y + 2) > 0
    assert metrics.r2(y, y[:, np.newaxis]) == 1
    assert metrics.accuracy(y, y[:, np.newaxis]) == 1


@pytest.mark.parametrize(
    "labels",
    [
        ["ham", "spam", "a longer text"],
        np.array(["x", "yyyy", "zz"], dtype=object),
        [b"a", b"b", b"c"],
        [datetime.date(2020, 1, d) for d in (1, 2, 3)],
        np.array(["2020-01", "2021-02", "2022-03"], dtype="datetime64[M]"),
        [-7, 0, 12],
        [0.5, 1.5, 2.5],
        np.array([1, 2, 255], dtype=np.uint8),
    ],
    ids=lambda labels: str(np.asarray(labels).dtype),
)
def test_labels_are_of_any_type(labels):
    labels = np.asarray(labels)
    order = np.argsort(labels)
    true, pred = labels[order][TRUE], labels[order][PRED]
    assert metrics.accuracy(true, pred) == 0.5
    assert metrics.f1(true, pred) == pytest.approx(16 / 45)
    assert metrics.f1(true.tolist(), pred) == pytest.approx(16 / 45)
    assert metrics.confusion_matrix(true, pred)[1].tolist() == [1, 1, 0]
    scores = np.eye(3)[PRED]
    assert metrics.roc_auc(true, scores) == metrics.roc_auc(TRUE, scores)
    assert metrics.top_k_accuracy(true, scores, k=1) == 0.5


def test_results_are_plain_python_numbers():
    for metric in (metrics.accuracy, metrics.precision, metrics.recall, metrics.f1, metrics.mse):
        assert type(metric(TRUE, PRED)) is float
    assert type(metrics.roc_auc([0, 1], [0, 1])) is float
    assert type(metrics.log_loss([0, 1], [0, 1])) is float
    assert type(metrics.top_k_accuracy([0, 1], np.eye(2), k=1)) is float
    assert type(metrics.r2([0, 1], [0, 1])) is float


def test_huge_numbers_give_infinity_and_no_warning():
    assert metrics.mse([1e300], [-1e300]) == math.inf
    assert metrics.mae([1e308], [-1e308]) == math.inf


# ------------------------------------------------------------------ what is refused

NAN = math.nan
TWO = [[0.5, 0.5], [0.2, 0.8]]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: metrics.accuracy([0, 1], [0]), ShapeError, "y_true and y_pred.*2 and 1"),
        (lambda: metrics.accuracy([], []), DataError, "y_true must have at least one sample"),
        (lambda: metrics.accuracy([0, NAN], [0, 1]), DataError, "y_true must be finite.*NaN"),
        (lambda: metrics.accuracy([0, 1], [0, NAN]), DataError, "y_pred must be finite"),
        (lambda: metrics.accuracy([0, 1], TWO), ShapeError, r"y_pred.*y_pred.argmax\(axis=1\)"),
        (lambda: metrics.accuracy(0, 0), ShapeError, "y_true must hold labels"),
        (lambda: metrics.accuracy(["0", "1"], [0, 1]), LabelError, "y_pred must hold labels of"),
        (lambda: metrics.accuracy(["a"], [b"a"]), LabelError, "type of y_true"),
        (lambda: metrics.accuracy([None, 1], [0, 1]), DataError, "y_true.*None at row 0"),
        (lambda: metrics.mse([None, 1], [0, 1]), DataError, "y_true.*NaN at row 0"),
        (lambda: metrics.accuracy(["a", 1], [0, 1]), DataTypeError, "y_true.*'a'.*row 0"),
        (lambda: metrics.accuracy([0, 1], [0, 1], sample_weight=[1]), ShapeError, "sample_weight"),
        (lambda: metrics.accuracy([0], [0], sample_weight=[-1]), DataError, "sample_weight"),
        (lambda: metrics.accuracy([0], [0], sample_weight=[0]), DataError, "above 0"),
        (lambda: metrics.accuracy([0], [0], sample_weight=[NAN]), DataError, "sample_weight"),
        (
            lambda: metrics.confusion_matrix([0, 1], [0, 2], labels=[0, 1]),
            LabelError,
            r"y_pred holds labels \(2\) that are not among the classes \(0, 1\)",
        ),
        (lambda: metrics.confusion_matrix([0], [0], labels=[0, 0]), LabelError, "distinct"),
        (lambda: metrics.confusion_matrix([0], [0], labels=["0"]), LabelError, "y_true"),
        (lambda: metrics.confusion_matrix([0], [0], labels=[]), DataError, "labels"),
        (lambda: metrics.f1(TRUE, PRED, average="binary"), LabelError, "at most two.*'macro'"),
        (lambda: metrics.f1(TRUE, PRED, average="makro"), UnknownNameError, "'macro'"),
        (lambda: metrics.f1(["a", "b"], ["a", "b"]), LabelError, r"pos_label.*\('a', 'b'\), got 1"),
        (lambda: metrics.f1(["a"], ["a"]), LabelError, "pos_label"),
        (lambda: metrics.f1([0, 1], [0, 1], pos_label=2), LabelError, "pos_label.*got 2"),
        (lambda: metrics.top_k_accuracy([0, 1], TWO), DataError, "k must be from 1 to the 2"),
        (lambda: metrics.top_k_accuracy([0, 1], TWO, 0), DataError, "k must be"),
        (lambda: metrics.top_k_accuracy([0, 1], TWO, 1.0), DataTypeError, "k must be an integer"),
        (lambda: metrics.top_k_accuracy([0, 1], [0.5, 0.2], 1), ShapeError, "y_score"),
        (lambda: metrics.top_k_accuracy([0, 1], [[1], [2]], 1), ShapeError, "y_score"),
        (lambda: metrics.top_k_accuracy([0], TWO, 1), ShapeError, "y_score.*1 and 2"),
        (
            lambda: metrics.top_k_accuracy([0, 7, 9], np.eye(3), 1, labels=[0, 7, 8]),
            LabelError,
            "9",
        ),
        (
            lambda: metrics.top_k_accuracy([0, 7], np.eye(3)[:2], 1),
            LabelError,
            "2 classes.*for 3: name these with labels",
        ),
        (lambda: metrics.top_k_accuracy([0, 1], TWO, 1, labels=[0]), ShapeError, "labels"),
        (lambda: metrics.roc_auc([0, 0], [1, 2]), LabelError, "every class; there are none of 1"),
        (lambda: metrics.roc_auc([1, 1], [1, 2]), LabelError, "there are none of 0"),
        (lambda: metrics.roc_auc(["a", "a"], [1, 2]), LabelError, "1 classes"),
        (lambda: metrics.roc_auc([0, 1, 2], [1, 2, 3]), LabelError, "3 classes.*for 2"),
        (lambda: metrics.roc_auc([0, 1], [1, 2], sample_weight=[1, 0]), LabelError, "none of 1"),
        (lambda: metrics.roc_auc([0, 1], [1, NAN]), DataError, "y_score must be finite"),
        (lambda: metrics.roc_auc([0, 1], [1, math.inf]), DataError, "y_score"),
        (lambda: metrics.roc_auc([0, 1], ["a", "b"]), DataTypeError, "y_score"),
        (lambda: metrics.roc_auc([0, 1, 1, 0], np.eye(4)), LabelError, "none of 2, 3"),
        (lambda: metrics.log_loss([0, 1], [0.5, 1.5]), DataError, "y_prob must lie in.*row 1"),
        (lambda: metrics.log_loss([0, 1], [[0.5, 0.5], [0.5, 0.6]]), DataError, "row 1 gives 1.1"),
        (lambda: metrics.log_loss(["a", "a"], [0.5, 0.5]), LabelError, "labels"),
        (lambda: metrics.log_loss([0, 1], np.zeros((2, 0))), ShapeError, "y_prob"),
        (lambda: metrics.mse([1, 2], [1]), ShapeError, "y_true and y_pred.*2 and 1"),
        (lambda: metrics.mse([[1, 2]], [[1]]), ShapeError, "outputs, got 2 and 1"),
        (lambda: metrics.mse([], []), DataError, "y_true"),
        (lambda: metrics.mse(1, 1), ShapeError, "y_true"),
        (lambda: metrics.mae([1, NAN], [1, 2]), DataError, "y_true must be finite.*row 1"),
        (lambda: metrics.rmse([1, 2], [1, math.inf]), DataError, "y_pred"),
        (lambda: metrics.r2(["a"], [1]), DataTypeError, "y_true"),
        (lambda: metrics.r2([1, 2], [1, 2], sample_weight=[0, 0]), DataError, "sample_weight"),
    ],
)
def test_what_cannot_be_measured_is_refused(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert isinstance(caught.value, (PycnnError, ValueError))


# ------------------------------------------------------------------ scikit-learn's figures

SEEDS = range(40)


@pytest.fixture
def sklearn_metrics():
    return pytest.importorskip("sklearn.metrics")


def random_case(seed, classes=None):
    """Return labels, predicted labels and weights; some classes are rare or absent."""
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 6)) if classes is None else classes
    size = int(rng.integers(classes, 60))
    share = rng.dirichlet(np.ones(classes))
    true = rng.choice(classes, size, p=share)
    pred = np.where(rng.random(size) < 0.5, true, rng.choice(classes, size))
    names = rng.permutation(np.array(["ant", "bee", "cat", "dodo", "eel"]))[:classes]
    if seed % 3 == 0:
        true, pred = names[true], names[pred]
    weight = rng.random(size) * (rng.random(size) < 0.9) + 1e-3 if seed % 2 else None
    return rng, true, pred, weight


@pytest.mark.filterwarnings("ignore")  # scikit-learn warns of classes that do not occur
@pytest.mark.parametrize("seed", SEEDS)
def test_figures_of_labels_are_those_of_scikit_learn(seed, sklearn_metrics):
    _, true, pred, weight = random_case(seed)
    weighted = {"sample_weight": weight}
    assert metrics.accuracy(true, pred, **weighted) == pytest.approx(
        sklearn_metrics.accuracy_score(true, pred, **weighted), rel=1e-13
    )
    np.testing.assert_allclose(
        metrics.confusion_matrix(true, pred, **weighted),
        sklearn_metrics.confusion_matrix(true, pred, **weighted),
        rtol=1e-13,
    )
    for name in ("precision", "recall", "f1"):
        theirs = getattr(sklearn_metrics, f"{name}_score")
        for average in ("macro", "micro", None):
            np.testing.assert_allclose(
                getattr(metrics, name)(true, pred, average=average, **weighted),
                theirs(true, pred, average=average, **weighted),
                rtol=1e-13,
            )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", SEEDS)
def test_binary_figures_are_those_of_scikit_learn(seed, sklearn_metrics):
    _, true, pred, weight = random_case(seed, classes=2)
    options = {"sample_weight": weight}
    if true.dtype.kind == "U":
        options["pos_label"] = max({*true.tolist(), *pred.tolist()})
    for name in ("precision", "recall", "f1"):
        expected = getattr(sklearn_metrics, f"{name}_score")(true, pred, **options)
        got = getattr(metrics, name)(true, pred, **options)
        assert got == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("seed", SEEDS)
def test_figures_of_scores_are_those_of_scikit_learn(seed, sklearn_metrics):
    rng = np.random.default_rng(seed)
    classes, size = int(rng.integers(3, 6)), int(rng.integers(20, 80))
    true = np.concatenate([np.arange(classes), rng.integers(0, classes, size)])
    labels = np.arange(classes)
    if seed % 3 == 0:
        labels = np.array(["ant", "bee", "cat", "dodo", "eel"])[:classes]
    # Whole numbers make ties; dividing by their sum makes probabilities of them.
    counts = rng.integers(1, 6, (len(true), classes)).astype(float)
    prob = counts / counts.sum(axis=1, keepdims=True)
    weighted = {"sample_weight": rng.random(len(true)) + 0.01 if seed % 2 else None}

    assert metrics.roc_auc(labels[true], prob, **weighted) == pytest.approx(
        sklearn_metrics.roc_auc_score(labels[true], prob, multi_class="ovr", **weighted), rel=1e-12
    )
    assert metrics.log_loss(labels[true], prob, **weighted) == pytest.approx(
        sklearn_metrics.log_loss(labels[true], prob, **weighted), rel=1e-13
    )
    for k in range(1, classes):
        # Among equal scores scikit-learn ranks the last column first.
        expected = sklearn_metrics.top_k_accuracy_score(
            classes - 1 - true, prob[:, ::-1], k=k, **weighted
        )
        got = metrics.top_k_accuracy(labels[true], prob, k, **weighted)
        assert got == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("seed", SEEDS)
def test_figures_of_binary_scores_are_those_of_scikit_learn(seed, sklearn_metrics):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(0, 50))
    true = np.concatenate([[0, 1], rng.integers(0, 2, size)])
    true = np.array([[0, 1], [-1, 1], ["no", "yes"]][seed % 3])[true]
    score = rng.integers(0, 8, len(true)) / 8 if seed % 2 else rng.random(len(true))
    weighted = {"sample_weight": rng.random(len(true)) + 0.01 if seed % 4 < 2 else None}
    assert metrics.roc_auc(true, score, **weighted) == pytest.approx(
        sklearn_metrics.roc_auc_score(true, score, **weighted), rel=1e-12, abs=1e-15
    )
    assert metrics.log_loss(true, score, **weighted) == pytest.approx(
        sklearn_metrics.log_loss(true, score, **weighted), rel=1e-12
    )


def test_classes_that_are_absent_are_named_by_labels(sklearn_metrics):
    rng = np.random.default_rng(1)
    true = rng.choice([0, 2, 3], 30)
    prob = rng.dirichlet(np.ones(5), 30)
    labels = np.arange(5)
    # Whole numbers below the number of columns stand for themselves.
    for ours in ({}, {"labels": labels}):
        assert metrics.log_loss(true, prob, **ours) == pytest.approx(
            sklearn_metrics.log_loss(true, prob, labels=labels)
        )
        assert metrics.top_k_accuracy(true, prob, 2, **ours) == pytest.approx(
            sklearn_metrics.top_k_accuracy_score(true, prob, k=2, labels=labels)
        )


@pytest.mark.parametrize("seed", SEEDS)
def test_figures_of_numbers_are_those_of_scikit_learn(seed, sklearn_metrics):
    rng = np.random.default_rng(seed)
    size, outputs = int(rng.integers(2, 60)), int(rng.integers(1, 5))
    y = rng.normal(size=(size, outputs)) * 10.0 ** rng.integers(-3, 4, outputs)
    if seed % 4 == 0:
        y[:, 0] = 2.0  # does not vary
    pred = y + rng.normal(size=y.shape) * (0 if seed % 8 == 0 else 1)
    if outputs == 1:
        y, pred = y[:, 0], pred[:, 0]
    weighted = {"sample_weight": rng.random(size) + 0.01 if seed % 2 else None}
    for ours, theirs in (
        (metrics.mse, sklearn_metrics.mean_squared_error),
        (metrics.rmse, sklearn_metrics.root_mean_squared_error),
        (metrics.mae, sklearn_metrics.mean_absolute_error),
        (metrics.r2, sklearn_metrics.r2_score),
    ):
        expected = theirs(y, pred, **weighted)
        assert ours(y, pred, **weighted) == pytest.approx(expected, rel=1e-11)
