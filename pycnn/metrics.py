"""Metrics: how good predictions are.

For labels, with TP, FP and FN the (weighted) numbers of true positives, false positives and false
negatives of a class:

====================  =============================================================
accuracy              share of labels that are right
top_k_accuracy        share of samples whose label is among the k best scores
confusion_matrix      C[i, j]: samples of class i that were taken for class j
precision             TP / (TP + FP)
recall                TP / (TP + FN)
f1                    2 TP / (2 TP + FP + FN)
roc_auc               P(score of a positive > score of a negative), ties counting half
log_loss              mean of -log(probability of the true class)
perplexity            e to the power of log_loss
====================  =============================================================

For numbers, with e = y - prediction; several outputs are averaged, each counting alike:

====================  =============================================================
mse, rmse, mae        mean e^2, its square root, mean |e|
r2                    1 - sum e^2 / sum (y - mean y)^2
====================  =============================================================

``fit(metrics=["f1"])`` and ``evaluate(metrics=["f1"])`` of a network measure what is one number.

A `sample_weight` makes every mean and every number a weighted one. Labels may be numbers, strings,
bytes or dates.

>>> accuracy(["cat", "dog", "dog"], ["cat", "dog", "cat"])
0.6666666666666666
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pycnn._checks import check_choice
from pycnn._data.arrays import as_numbers, as_weights, check_finite, variation
from pycnn._data.labels import as_labels, show_labels
from pycnn._public import names_of
from pycnn.exceptions import DataError, DataTypeError, LabelError, ShapeError

if TYPE_CHECKING:
    from pycnn._typing import AnyArray, Array, ArrayLike, Flags, Indices


__all__ = [
    "accuracy",
    "confusion_matrix",
    "f1",
    "log_loss",
    "mae",
    "mse",
    "perplexity",
    "precision",
    "r2",
    "recall",
    "rmse",
    "roc_auc",
    "top_k_accuracy",
]
__dir__ = names_of(__name__)

AVERAGES = ("auto", "binary", "macro", "micro")


# ------------------------------------------------------------------ labels against labels


def accuracy(
    y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Return the share of labels that are right.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (m,) or (m, 1)
        Labels.
    sample_weight : array-like of shape (m,), optional

    Returns
    -------
    float

    Raises
    ------
    ShapeError, DataError, DataTypeError, LabelError
        If an argument is not valid.

    Examples
    --------
    >>> accuracy([0, 1, 2, 2], [0, 1, 2, 1])
    0.75
    """
    pairs = _encode_pairs(y_true, y_pred, None, sample_weight)
    return _mean(pairs.true == pairs.pred, pairs.weight)


def confusion_matrix(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> AnyArray:
    """Return how many samples of each class were taken for each class.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (m,) or (m, 1)
        Labels.
    labels : array-like of shape (c,), optional
        The classes in the order of rows and columns, all that occur among them; by default those
        that occur, sorted.
    sample_weight : array-like of shape (m,), optional

    Returns
    -------
    ndarray of shape (c, c)
        Row: the true class; column: the predicted one. Integers unless there are weights.

    Raises
    ------
    ShapeError, DataError, DataTypeError, LabelError
        If an argument is not valid.

    Examples
    --------
    >>> confusion_matrix(["a", "b", "b", "c"], ["a", "b", "c", "c"])
    array([[1, 0, 0],
           [0, 1, 1],
           [0, 0, 1]])
    """
    pairs = _encode_pairs(y_true, y_pred, labels, sample_weight)
    size = len(pairs.classes)
    cells = np.bincount(pairs.true * size + pairs.pred, pairs.weight, minlength=size * size)
    return cells.reshape(size, size)


def precision(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    average: str | None = "auto",
    pos_label: Any = 1,
    labels: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> Any:
    """Return TP / (TP + FP): how much of what was taken for a class belongs to it.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (m,) or (m, 1)
        Labels.
    average : {"auto", "binary", "macro", "micro"} or None, default "auto"
        ``"binary"``: for the class `pos_label` alone; ``"macro"``: the mean over the classes;
        ``"micro"``: from TP, FP and FN summed over the classes; None: one for each class.
        ``"auto"`` is ``"binary"`` for at most two classes, else ``"macro"``.
    pos_label : label, default 1
        The positive class of ``"binary"``.
    labels : array-like of shape (c,), optional
        The classes, all that occur among them; by default those that occur, sorted.
    sample_weight : array-like of shape (m,), optional

    Returns
    -------
    float, or ndarray of shape (c,) for ``average=None``
        0 where nothing was taken for the class.

    Raises
    ------
    ShapeError, DataError, DataTypeError, LabelError, UnknownNameError
        If an argument is not valid.

    Examples
    --------
    >>> precision([0, 1, 1, 0], [1, 1, 1, 0])
    0.6666666666666666
    >>> precision([0, 1, 2, 2], [0, 2, 2, 2], average=None)
    array([1.        , 0.        , 0.66666667])
    """
    counts = _count(y_true, y_pred, average, pos_label, labels, sample_weight)
    return _averaged(counts.right, counts.predicted, average)


def recall(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    average: str | None = "auto",
    pos_label: Any = 1,
    labels: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> Any:
    """Return TP / (TP + FN): how much of a class was found.

    Parameters
    ----------
    y_true, y_pred, average, pos_label, labels, sample_weight
        See `precision`.

    Returns
    -------
    float, or ndarray of shape (c,) for ``average=None``
        0 where the class does not occur.

    Raises
    ------
    ShapeError, DataError, DataTypeError, LabelError, UnknownNameError
        If an argument is not valid.

    Examples
    --------
    >>> recall(["ham", "spam", "spam"], ["ham", "spam", "ham"], pos_label="spam")
    0.5
    """
    counts = _count(y_true, y_pred, average, pos_label, labels, sample_weight)
    return _averaged(counts.right, counts.actual, average)


def f1(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    average: str | None = "auto",
    pos_label: Any = 1,
    labels: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> Any:
    """Return 2 TP / (2 TP + FP + FN): the harmonic mean of precision and recall.

    Parameters
    ----------
    y_true, y_pred, average, pos_label, labels, sample_weight
        See `precision`.

    Returns
    -------
    float, or ndarray of shape (c,) for ``average=None``
        0 for a class that neither occurs nor was predicted.

    Raises
    ------
    ShapeError, DataError, DataTypeError, LabelError, UnknownNameError
        If an argument is not valid.

    Examples
    --------
    >>> f1([0, 1, 1, 0], [1, 1, 1, 0])
    0.8
    """
    counts = _count(y_true, y_pred, average, pos_label, labels, sample_weight)
    return _averaged(2 * counts.right, counts.predicted + counts.actual, average)


# ------------------------------------------------------------------ labels against scores


def top_k_accuracy(
    y_true: ArrayLike,
    y_score: ArrayLike,
    k: int = 5,
    *,
    labels: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Return the share of samples whose label is among the k best scores.

    Parameters
    ----------
    y_true : array-like of shape (m,) or (m, 1)
        Labels.
    y_score : array-like of shape (m, c)
        A score for each class, the higher the better. Of equal ones the first column ranks first,
        as it does for argmax: with k = 1 this is the accuracy.
    k : int, default 5
        From 1 to c.
    labels : array-like of shape (c,), optional
        The label of each column. By default 0 ... c - 1 where `y_true` holds nothing else, or the
        sorted labels of `y_true`.
    sample_weight : array-like of shape (m,), optional

    Returns
    -------
    float

    Raises
    ------
    ShapeError, DataError, DataTypeError, LabelError
        If an argument is not valid.

    Examples
    --------
    >>> top_k_accuracy([0, 1, 2], [[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2]], k=2)
    0.6666666666666666
    """
    labelled = _encode_scores(y_true, y_score, "y_score", labels, sample_weight, flat=False)
    score, columns = labelled.score, labelled.score.shape[1]
    if isinstance(k, (bool, np.bool_)) or not isinstance(k, (int, np.integer)):
        raise DataTypeError(f"k must be an integer, got {k!r}")
    if not 1 <= k <= columns:
        raise DataError(f"k must be from 1 to the {columns} columns of y_score, got {k}")
    position = labelled.true[:, np.newaxis]
    own = np.take_along_axis(score, position, axis=1)
    before = (score > own) | ((score == own) & (np.arange(columns) < position))
    return _mean(before.sum(axis=1) < k, labelled.weight)


def roc_auc(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Return the area under the ROC curve: P(score of a positive > score of a negative).

    Equal scores count half (Mann & Whitney 1947, Fawcett 2006). For more than two classes it is
    the mean over the classes of each against the rest.

    Parameters
    ----------
    y_true : array-like of shape (m,) or (m, 1)
        Labels; each class must occur.
    y_score : array-like of shape (m,), (m, 1) or (m, c)
        For two classes the score of the second; else a score for each class.
    labels : array-like of shape (c,), optional
        The classes in the order of the columns. By default 0 ... c - 1 where `y_true` holds
        nothing else, or the sorted labels of `y_true`.
    sample_weight : array-like of shape (m,), optional

    Returns
    -------
    float

    Raises
    ------
    LabelError
        If a class does not occur, or nothing else does.
    ShapeError, DataError, DataTypeError
        If an argument is not valid.

    Examples
    --------
    >>> roc_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    labelled = _encode_scores(y_true, y_score, "y_score", labels, sample_weight)
    score, classes = labelled.score, labelled.classes
    weight = np.ones(len(score)) if labelled.weight is None else labelled.weight
    present = np.bincount(labelled.true, weight, minlength=len(classes)) > 0
    if not present.all():
        raise LabelError(
            "y_true must hold samples (of weight above 0) of every class; "
            f"there are none of {show_labels(classes[~present])}"
        )
    if len(classes) == 2:
        return _area(labelled.true == 1, score[:, -1], weight)
    areas = [_area(labelled.true == j, score[:, j], weight) for j in range(len(classes))]
    return float(np.mean(areas))


def _area(positive: Flags, score: Array, weight: Array) -> float:
    """Return sum_s p(s) (n(below s) + n(s) / 2), with p, n the shares of positives, negatives."""
    _, step = np.unique(score, return_inverse=True)
    p = np.bincount(step, weight * positive)
    n = np.bincount(step, weight * ~positive)
    p, n = p / p.sum(), n / n.sum()
    return float(p @ (np.cumsum(n) - n / 2))


def log_loss(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Return the mean of -log(probability of the true class).

    Parameters
    ----------
    y_true : array-like of shape (m,) or (m, 1)
        Labels.
    y_prob : array-like of shape (m,), (m, 1) or (m, c)
        The probability of the second of two classes, or that of each class. What is closer to 0 or
        1 than 2.2e-16 is taken for that.
    labels : array-like of shape (c,), optional
        The classes in the order of the columns. By default 0 ... c - 1 where `y_true` holds
        nothing else, or the sorted labels of `y_true`.
    sample_weight : array-like of shape (m,), optional

    Returns
    -------
    float

    Raises
    ------
    ShapeError, DataError, DataTypeError, LabelError
        If an argument is not valid.

    Examples
    --------
    >>> round(log_loss([0, 1], [0.25, 0.75]), 6)  # -log 0.75
    0.287682
    """
    labelled = _encode_scores(y_true, y_prob, "y_prob", labels, sample_weight)
    prob = labelled.score
    outside = ((prob < 0) | (prob > 1)).any(axis=1)
    if outside.any():
        raise DataError(f"y_prob must lie in [0, 1]; row {outside.argmax()} does not")
    if prob.shape[1] == 1:
        prob = np.hstack([1 - prob, prob])
    sums = prob.sum(axis=1)
    wrong = np.abs(sums - 1) > 1e-4  # float32 probabilities of many classes stray by less
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(f"each row of y_prob must add up to 1; row {row} gives {sums[row]:g}")
    eps = np.finfo(np.float64).eps
    own = np.take_along_axis(prob, labelled.true[:, np.newaxis], axis=1)[:, 0]
    return _mean(-np.log(np.clip(own, eps, 1 - eps)), labelled.weight)


def perplexity(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Return e to the power of `log_loss`: among how many classes the choice still is, as it were.

    The measure of language models (Jelinek, Mercer, Bahl & Baker, 1977): 1 where each true class
    has the probability 1, c where each of c classes has the same.

    Parameters
    ----------
    y_true, y_prob, labels, sample_weight
        As for `log_loss`.

    Returns
    -------
    float
        Of the true classes' probabilities the geometric mean's reciprocal.

    Raises
    ------
    ShapeError, DataError, DataTypeError, LabelError
        If an argument is not valid.

    Examples
    --------
    >>> perplexity([0, 2], [[0.5, 0.25, 0.25], [0.5, 0.375, 0.125]])  # sqrt(2 * 8)
    4.0
    """
    loss = log_loss(y_true, y_prob, labels=labels, sample_weight=sample_weight)
    return float(np.exp(loss))


# ------------------------------------------------------------------ numbers against numbers


def mse(y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
    """Return the mean squared error, ``mean (y - prediction)^2`` over samples and outputs.

    The loss of the same name is half of the sum over the outputs instead.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (m,) or (m, n)
        Numbers.
    sample_weight : array-like of shape (m,), optional

    Returns
    -------
    float

    Raises
    ------
    ShapeError, DataError, DataTypeError
        If an argument is not valid.

    Examples
    --------
    >>> mse([1, 2, 3], [1, 2, 6])
    3.0
    """
    return float(_squared_errors(y_true, y_pred, sample_weight).mean())


def rmse(y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
    """Return the root of the mean squared error; of several outputs the mean of their roots.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (m,) or (m, n)
        Numbers.
    sample_weight : array-like of shape (m,), optional

    Returns
    -------
    float

    Raises
    ------
    ShapeError, DataError, DataTypeError
        If an argument is not valid.

    Examples
    --------
    >>> rmse([1, 2], [2, 9])  # the root of (1 + 49) / 2
    5.0
    """
    return float(np.sqrt(_squared_errors(y_true, y_pred, sample_weight)).mean())


def mae(y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
    """Return the mean absolute error, ``mean |y - prediction|`` over samples and outputs.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (m,) or (m, n)
        Numbers.
    sample_weight : array-like of shape (m,), optional

    Returns
    -------
    float

    Raises
    ------
    ShapeError, DataError, DataTypeError
        If an argument is not valid.

    Examples
    --------
    >>> mae([1, 2, 3], [1, 2, 6])
    1.0
    """
    y, pred, weight = _numbers(y_true, y_pred, sample_weight)
    with np.errstate(over="ignore"):
        return float(np.average(np.abs(y - pred), axis=0, weights=weight).mean())


def r2(y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
    """Return ``1 - sum e^2 / sum (y - mean y)^2``, the share of the variance that is explained.

    Of several outputs the mean of theirs. `Network.evaluate` gives both sums over all outputs
    together instead.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (m,) or (m, n)
        Numbers.
    sample_weight : array-like of shape (m,), optional

    Returns
    -------
    float
        An output that does not vary counts 1 where it is met exactly, else 0.

    Raises
    ------
    ShapeError, DataError, DataTypeError
        If an argument is not valid.

    Examples
    --------
    >>> r2([1, 2, 3], [1, 2, 2])
    0.5
    """
    y, pred, weight = _numbers(y_true, y_pred, sample_weight)
    w = np.broadcast_to(1.0 if weight is None else weight[:, np.newaxis], y.shape)
    varied = variation(y, w)
    with np.errstate(over="ignore", invalid="ignore"):
        missed = (w * (y - pred) ** 2).sum(axis=0)
        share = missed / np.where(varied == 0, 1, varied)
    return float(np.where(varied == 0, missed == 0, 1 - share).mean())


def _squared_errors(y_true: Any, y_pred: Any, sample_weight: Any) -> Array:
    """Return the mean squared error of each output."""
    y, pred, weight = _numbers(y_true, y_pred, sample_weight)
    with np.errstate(over="ignore"):
        return np.asarray(np.average((y - pred) ** 2, axis=0, weights=weight))


# ------------------------------------------------------------------ what users hand in


class _Pairs(NamedTuple):
    """Labels as positions among the classes."""

    true: Indices
    pred: Indices
    classes: AnyArray
    weight: Array | None


class _Labelled(NamedTuple):
    """Labels as positions among the columns of scores (one column may stand for two classes)."""

    true: Indices
    score: Array
    classes: AnyArray
    weight: Array | None


class _Counts(NamedTuple):
    """Weights of what was taken for a class rightly, of all that was, and of all that belongs."""

    right: Array  # TP
    predicted: Array  # TP + FP
    actual: Array  # TP + FN


def _label_row(value: Any, name: str) -> AnyArray:
    """Return labels of shape (m,)."""
    array = as_labels(value, name)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        hint = (
            f"; of one-hot rows or scores take {name}.argmax(axis=1), of labels at positions "
            f"{name}.ravel()"
        )
        hint = hint if array.ndim == 2 else ""
        raise ShapeError(f"{name} must hold labels, of shape (m,), got {array.shape}{hint}")
    if not array.size:
        raise DataError(f"{name} must have at least one sample, got shape {array.shape}")
    return array


def _check_rows(count: int, other: int, name: str) -> None:
    if count != other:
        raise ShapeError(f"y_true and {name} must have as many rows, got {count} and {other}")


def _check_weight(value: Any, rows: int) -> Array | None:
    weight = as_weights(value, "sample_weight", rows)
    if weight is not None and not weight.any():
        raise DataError("sample_weight must have a value above 0")
    return weight


def _check_comparable(labels: AnyArray, name: str, others: AnyArray, than: str) -> None:
    """Refuse to compare text with numbers: NumPy would turn the numbers into text."""
    kinds = ["number" if a.dtype.kind in "biuf" else a.dtype.kind for a in (labels, others)]
    if kinds[0] != kinds[1]:
        raise LabelError(
            f"{name} must hold labels of the type of {than}, got {show_labels(labels)} "
            f"and {show_labels(others)}"
        )


def _find(labels: AnyArray, classes: AnyArray, name: str) -> Indices:
    """Return where each label stands among the classes, which are in any order."""
    _check_comparable(labels, name, classes, "the classes")
    order = np.argsort(classes, kind="stable")
    index = order[np.searchsorted(classes, labels, sorter=order).clip(max=len(classes) - 1)]
    unknown = labels[classes[index] != labels]
    if len(unknown):
        raise LabelError(
            f"{name} holds labels ({show_labels(np.unique(unknown))}) that are not among the "
            f"classes ({show_labels(classes)})"
        )
    return index


def _check_classes(labels: Any) -> AnyArray:
    classes = _label_row(labels, "labels")
    if len(np.unique(classes)) < len(classes):
        raise LabelError(f"labels must be distinct, got {show_labels(classes)}")
    return classes


def _encode_pairs(y_true: Any, y_pred: Any, labels: Any, sample_weight: Any) -> _Pairs:
    true, pred = _label_row(y_true, "y_true"), _label_row(y_pred, "y_pred")
    _check_rows(len(true), len(pred), "y_pred")
    _check_comparable(pred, "y_pred", true, "y_true")
    weight = _check_weight(sample_weight, len(true))
    occurring = np.unique(np.concatenate([true, pred]))
    classes = occurring if labels is None else _check_classes(labels)
    return _Pairs(_find(true, classes, "y_true"), _find(pred, classes, "y_pred"), classes, weight)


def _encode_scores(
    y_true: Any, value: Any, name: str, labels: Any, sample_weight: Any, *, flat: bool = True
) -> _Labelled:
    true = _label_row(y_true, "y_true")
    score = as_numbers(value, name)
    if score.ndim == 1 and flat:
        score = score[:, np.newaxis]
    if score.ndim != 2 or score.shape[1] < (1 if flat else 2):
        wanted = "(m,) or (m, classes)" if flat else "(m, classes) with at least two classes"
        raise ShapeError(f"{name} must have shape {wanted}, got {np.shape(value)}")
    _check_rows(len(true), len(score), name)
    check_finite(score, name)
    count = max(2, score.shape[1])
    classes = _column_labels(true, count) if labels is None else _check_classes(labels)
    if len(classes) != count:
        raise ShapeError(f"labels must name the {count} classes of {name}, got {len(classes)}")
    return _Labelled(
        _find(true, classes, "y_true"), score, classes, _check_weight(sample_weight, len(true))
    )


def _column_labels(true: AnyArray, count: int) -> AnyArray:
    """Return the label of each column of scores, as a network that learned from `true` would."""
    distinct = np.unique(true)
    if true.dtype.kind in "biuf" and np.isin(distinct, np.arange(count)).all():
        return np.arange(count)
    if len(distinct) != count:
        raise LabelError(
            f"y_true holds labels of {len(distinct)} classes ({show_labels(distinct)}) while the "
            f"scores are for {count}: name these with labels"
        )
    return distinct


def _count(
    y_true: Any, y_pred: Any, average: Any, pos_label: Any, labels: Any, sample_weight: Any
) -> _Counts:
    """Return the counts that an average is made of: one for each class, or one in all."""
    if average is not None:
        check_choice(average, AVERAGES, "average")
    pairs = _encode_pairs(y_true, y_pred, labels, sample_weight)
    size = len(pairs.classes)
    right = pairs.true == pairs.pred
    weight = np.ones(len(right)) if pairs.weight is None else pairs.weight
    counts = _Counts(
        _sums(pairs.true, weight * right, size),
        _sums(pairs.pred, weight, size),
        _sums(pairs.true, weight, size),
    )
    if average == "micro":
        return _Counts(*(count.sum(keepdims=True) for count in counts))
    if average == "binary" and size > 2:
        raise LabelError(
            f"average='binary' needs at most two classes, got {show_labels(pairs.classes)}; "
            "'macro', 'micro' or None take more"
        )
    if average == "binary" or (average == "auto" and size <= 2):
        return _Counts(*(_positive(count, pairs.classes, pos_label) for count in counts))
    return counts


def _sums(index: Indices, weight: Array, size: int) -> Array:
    sums: Any = np.bincount(index, weight, minlength=size)
    return sums


def _positive(count: Array, classes: AnyArray, pos_label: Any) -> Array:
    """Return the count of the positive class; 0 where the only class is the negative one."""
    found = [i for i, label in enumerate(classes.tolist()) if label == pos_label]
    if found:
        return count[found]
    if (
        len(classes) == 1
        and classes.dtype.kind in "biuf"
        and isinstance(pos_label, (int, float, np.number))
    ):
        return np.zeros(1)
    raise LabelError(
        f"pos_label must be one of the classes ({show_labels(classes)}), got {pos_label!r}"
    )


def _averaged(part: Array, whole: Array, average: str | None) -> Any:
    """Return the ratios, 0 for 0 / 0, or their mean."""
    ratio = part / np.where(whole == 0, 1, whole)
    return ratio if average is None else float(ratio.mean())


def _numbers(y_true: Any, y_pred: Any, sample_weight: Any) -> tuple[Array, Array, Array | None]:
    """Return targets and predictions of one shape (m, n), and the weights."""
    y, pred = as_numbers(y_true, "y_true"), as_numbers(y_pred, "y_pred")
    for array, name in ((y, "y_true"), (pred, "y_pred")):
        if array.ndim not in (1, 2):
            raise ShapeError(f"{name} must have shape (m,) or (m, outputs), got {array.shape}")
        if not array.size:
            raise DataError(f"{name} must have at least one sample, got shape {array.shape}")
        check_finite(array, name)
    _check_rows(len(y), len(pred), "y_pred")
    y, pred = y.reshape(len(y), -1), pred.reshape(len(pred), -1)
    if y.shape != pred.shape:
        raise ShapeError(
            f"y_true and y_pred must have as many outputs, got {y.shape[1]} and {pred.shape[1]}"
        )
    return y, pred, _check_weight(sample_weight, len(y))


def _mean(values: AnyArray, weight: Array | None) -> float:
    return float(np.average(values, weights=weight))
