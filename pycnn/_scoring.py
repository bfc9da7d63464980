"""What `Network.fit` and `Network.evaluate` measure beside the loss: the `metrics` asked for.

Metrics of labels get the labels, `roc_auc`, `log_loss`, `perplexity` and `top_k_accuracy` the
outputs, metrics of numbers the targets and outputs as numbers, and a function of the user's own
what `predict_classes` or else `predict` gives. Where targets have gaps, what was observed is
measured; of sequences each position counts as a sample.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pycnn import losses
from pycnn._checks import look_up
from pycnn._data.arrays import variation
from pycnn.exceptions import DataError, DataTypeError, LabelError, PycnnError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pycnn._data.targets import TargetEncoder
    from pycnn._typing import AnyArray, Array
    from pycnn.backend.interface import Data

OF_LABELS = ("accuracy", "precision", "recall", "f1")
OF_PROBABILITIES = ("log_loss", "perplexity")
OF_SCORES = ("top_k_accuracy", "roc_auc", *OF_PROBABILITIES)
OF_NUMBERS = ("mse", "rmse", "mae", "r2")
NAMES = (*OF_LABELS, *OF_SCORES, *OF_NUMBERS)
AVERAGED = ("precision", "recall", "f1")


class Metric(NamedTuple):
    """One of `pycnn.metrics`, or a function of the user's own."""

    name: str
    function: Callable[..., Any]
    own: bool
    weighted: bool  # takes sample_weight


def check_metrics(value: Any) -> list[Metric]:
    """Return metrics from None, one, or a sequence of names and functions.

    Raises
    ------
    UnknownNameError, DataError, DataTypeError
        If one is unknown, no function, or has the name of another.
    """
    if value is None:
        return []
    from pycnn import metrics

    table = {name: getattr(metrics, name) for name in NAMES}
    given = [value] if isinstance(value, str) or callable(value) else value
    if not isinstance(given, (list, tuple)):
        raise DataTypeError(
            f"metrics must be a list of names and functions (y_true, y_pred), got {value!r:.80}"
        )
    result: list[Metric] = []
    for item in given:
        known = next((name for name, function in table.items() if item is function), None)
        if callable(item) and known is None:
            name = _name_of(item)
            result.append(Metric(name, item, own=True, weighted=_takes_weights(item)))
        elif callable(item) or isinstance(item, str):
            name = known or str(item)
            function = look_up(name, table, "metrics")
            result.append(Metric(name, function, own=False, weighted=True))
        else:
            raise DataTypeError(f"metrics must hold names and functions, got {item!r:.80}")
        name = result[-1].name
        if name == "loss" or [metric.name for metric in result].count(name) > 1:
            raise DataError(f"metrics must have names of their own, got {name!r} once more")
    return result


def _name_of(function: Any) -> str:
    function = getattr(function, "func", function)  # of a functools.partial
    return str(getattr(function, "__name__", type(function).__name__))


def _takes_weights(function: Any) -> bool:
    from inspect import signature

    try:
        return "sample_weight" in signature(function).parameters
    except (TypeError, ValueError):  # written in C
        return False


class Validation(NamedTuple):
    """What a training is measured on, and by what."""

    data: Data
    metrics: list[Metric]

    @property
    def rows(self) -> int:
        """Number of samples."""
        return self.data.rows


def measure(
    metrics: Sequence[Metric], encoder: TargetEncoder, data: Data, outputs: Array
) -> dict[str, float]:
    """Return each metric of a network's outputs: NaN where nothing is measured.

    Raises
    ------
    PycnnError
        If one of `pycnn.metrics` cannot be measured on such data.
    DataTypeError
        If one does not return a number.
    """
    data = data.by_position()
    y, outputs = data.y, outputs.reshape(-1, encoder.units)
    if encoder.scale is not None:  # metrics are in the unit of the user's targets
        y, outputs = encoder.unscaled(np.array(y, np.float64)), encoder.unscaled(outputs.copy())
    observed = data.observed()
    weight = None if data.weight is None else data.weight[observed]
    measurable = observed.any() if weight is None else weight.any()
    if not measurable or not np.isfinite(outputs[observed]).all():
        return {metric.name: math.nan for metric in metrics}
    case = _Case(encoder, y[observed], outputs[observed], weight)
    return {metric.name: case.value_of(metric) for metric in metrics}


class _Case:
    """Targets and outputs of the samples that have at least one target."""

    def __init__(
        self, encoder: TargetEncoder, y: AnyArray, outputs: Array, weight: Array | None
    ) -> None:
        self.encoder, self.loss = encoder, encoder.loss
        self.y, self.outputs, self.weight = y, outputs, weight
        self.has_classes = encoder.shows_classes(y)

    def value_of(self, metric: Metric) -> float:
        """Return a metric as a number."""
        try:
            if metric.own:
                value = self._call(metric, *self._of_the_user(), self.weight)
            elif metric.name in OF_NUMBERS:
                value = self._of_numbers(metric)
            else:
                value = self._of_classes(metric)
        except PycnnError as error:
            if metric.own:
                raise
            raise type(error)(f"metric {metric.name!r}: {error}") from None
        number = np.asarray(value)
        if number.shape != () or number.dtype.kind not in "biuf":
            raise DataTypeError(f"metric {metric.name!r} must return one number, got {value!r:.80}")
        return float(number)

    def _call(
        self, metric: Metric, true: Any, pred: Any, weight: Array | None, **settings: Any
    ) -> Any:
        if metric.weighted and weight is not None:
            settings["sample_weight"] = weight
        return metric.function(true, pred, **settings)

    def _of_numbers(self, metric: Metric) -> Any:
        y = self._one_hot()
        gaps = np.isnan(y)
        if not gaps.any():
            return self._call(metric, y, self.outputs, self.weight)
        values = []
        for target, output, seen in zip(y.T, self.outputs.T, ~gaps.T, strict=True):
            weight = None if self.weight is None else self.weight[seen]
            if seen.any() if weight is None else weight.any():
                values.append(self._call(metric, target[seen], output[seen], weight))
        return np.mean(values)

    def _one_hot(self) -> Array:
        if self.y.ndim == 1:
            return (self.y[:, None] == np.arange(self.encoder.units)).astype(np.float64)
        return np.asarray(self.y, dtype=np.float64)

    def _of_classes(self, metric: Metric) -> Any:
        if not self.has_classes:
            raise LabelError(f"targets must be classes, but with loss {self.loss!r} are numbers")
        if metric.name in OF_PROBABILITIES and not losses.gives_probabilities(self.loss):
            raise LabelError(f"outputs must be probabilities, which {self.loss!r} does not give")
        true, pred = self.encoder.indices(self.y), self.encoder.indices(self.outputs)
        scores, weight, count = self.outputs, self.weight, max(2, self.encoder.units)
        if self.encoder.is_multi_label:  # all answers together
            seen = ~np.isnan(self.y)
            true, pred, scores, count = true[seen], pred[seen], scores[seen][:, None], 2
            if weight is not None:
                weight = np.broadcast_to(weight[:, None], seen.shape)[seen]
        if metric.name in OF_SCORES:
            labels = np.arange(count)
            if (
                metric.name == "roc_auc"
                and self.encoder.classes is not None
                and not self.encoder.is_multi_label
            ):
                labels, true = (
                    self.encoder.classes,
                    self.encoder.classes[true],
                )  # it may name one that is lacking
            return self._call(metric, true, scores, weight, labels=labels)
        if metric.name not in AVERAGED:
            return self._call(metric, true, pred, weight)
        if count > 2:
            return self._call(metric, true, pred, weight, average="macro")
        return self._call(metric, true, pred, weight, average="binary", labels=[0, 1])

    def _of_the_user(self) -> tuple[AnyArray, AnyArray]:
        """Return targets and predictions as the user gives and gets them."""
        if not self.has_classes:
            y, pred = self._one_hot(), self.outputs
            return (y, pred) if self.encoder.units > 1 else (y[:, 0], pred[:, 0])
        true, pred = self.encoder.labels(self.y), self.encoder.labels(self.outputs)
        if self.encoder.is_multi_label and np.isnan(self.y).any():
            true = np.where(np.isnan(self.y), np.nan, true)
        return true, pred


# ------------------------------------------------------------------ how much of the targets varies


def sum_squares(encoder: TargetEncoder, data: Data, outputs: Array) -> float:
    """Return sum_i w_i sum_j (a_j - y_j)^2, in the unit of the user's targets."""
    data, outputs = data.by_position(), outputs.reshape(-1, encoder.units)
    y = data.y
    w = np.ones(len(y)) if data.weight is None else data.weight
    with np.errstate(over="ignore", invalid="ignore"):
        error = outputs - y
        if encoder.scale is not None:
            error *= encoder.scale.deviation
        return float(w @ np.where(np.isnan(y), 0.0, error**2).sum(axis=1))


def spread(encoder: TargetEncoder, data: Data) -> float:
    """Return sum_i w_i (y_i - mean)^2, over all outputs together; NaN where nothing has weight."""
    data = data.by_position()
    y = data.y
    if data.weight is None and len(y) == 1 and not any(map(math.isnan, y[0].tolist())):
        return 0.0
    if data.weight is None and encoder.scale is None:  # the same sums, as most data have them
        with np.errstate(over="ignore", invalid="ignore"):
            distance = y - y[0]
            distance -= np.add.reduce(distance) / len(y)
            varied = float(np.add.reduce(np.add.reduce(distance**2)))
        if math.isfinite(varied):
            return varied
    if encoder.scale is not None:  # distances in the user's unit, from whatever origin
        y = y * encoder.scale.deviation
    weight = np.ones(len(y)) if data.weight is None else data.weight
    w = np.where(np.isnan(y), 0.0, weight[:, None])  # what has not been observed does not count
    if not w.any():
        return math.nan
    return float(variation(np.where(w == 0, 0.0, y), w).sum())


def r2(squares: float, varied: float) -> float:
    """Return 1 - `squares` / `varied`, which is NaN where nothing is measured."""
    if math.isnan(squares) or math.isnan(varied):
        return math.nan
    if varied == 0:
        return 1.0 if squares == 0 else 0.0
    return 1 - squares / varied
