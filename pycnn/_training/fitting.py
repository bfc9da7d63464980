"""From the arguments of `Network.fit` to a training that can begin.

The arguments are checked, the samples are read, and what a network has to learn of them (labels,
names of columns, the unit of targets) is learned, all before anything of the network changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pycnn import losses, optimizers
from pycnn._checks import check_bool, check_size
from pycnn._data.arrays import as_weights, check_measurable
from pycnn._data.scaling import TargetScale, check_can_scale
from pycnn._data.sources import check_fraction, select, split_rows
from pycnn._data.stream import BatchStream, is_stream, warn_lone_sample
from pycnn._data.targets import check_missing
from pycnn._scoring import Validation, check_metrics, measure
from pycnn._training import advice, diagnosis, lbfgs
from pycnn._training.loader import check_augment
from pycnn._training.progress import wants_bar
from pycnn.callbacks import as_callbacks
from pycnn.exceptions import DataError, DataTypeError, DataWarning, LabelError, warn

if TYPE_CHECKING:
    from pycnn._data.reader import Reader
    from pycnn._model import Model
    from pycnn._scoring import Metric
    from pycnn._training.loader import Augment
    from pycnn._typing import Array
    from pycnn.backend.interface import Data
    from pycnn.callbacks import Callback
    from pycnn.optimizers import Optimizer


class Request(NamedTuple):
    """What `Network.fit` is asked for, beside X and y; what belongs to these is not checked yet."""

    epochs: int
    batch_size: int | None  # None: all samples
    optimizer: Optimizer
    validation_data: Any
    validation_split: float
    sample_weight: Any
    class_weight: Any
    shuffle: bool
    callbacks: list[Callback]
    progress: bool
    resume: bool
    diagnose: bool
    augment: list[Augment]
    missing_targets: bool  # whether a gap is a target that was not observed
    scale_targets: bool
    metrics: list[Metric]
    validation_every: int
    lengths: Any
    truncate: int | None  # positions of a window


class Prepared(NamedTuple):
    """A training that can begin."""

    data: Data | BatchStream
    learned: Reader  # the network's, from where the training begins
    validation: Validation | None
    batch_size: int
    shuffle: bool
    callbacks: list[Callback]


def check_request(**given: Any) -> Request:
    """Return `fit`'s arguments of these names, checked."""
    checked = given | {
        "resume": check_bool(given["resume"], "resume"),
        "epochs": check_size(given["epochs"], "epochs"),
        "batch_size": check_optional_size(given["batch_size"], "batch_size"),
        "optimizer": optimizers.get(given["optimizer"]),
        "callbacks": as_callbacks(given["callbacks"]),
        "shuffle": check_bool(given["shuffle"], "shuffle"),
        "progress": wants_bar(given["progress"]),
        "augment": check_augment(given["augment"]),
        "metrics": check_metrics(given["metrics"]),
        "missing_targets": check_missing(given["missing_targets"]),
        "diagnose": check_bool(given["diagnose"], "diagnose"),
        "scale_targets": check_bool(given["scale_targets"], "scale_targets"),
        "validation_split": check_fraction(given["validation_split"]),
        "validation_every": check_size(given["validation_every"], "validation_every"),
        "truncate": check_optional_size(given["truncate"], "truncate"),
    }
    request = Request(**checked)
    if request.validation_data is not None and request.validation_split:
        raise DataError("give validation_data or validation_split, not both")
    if request.metrics and request.validation_data is None and not request.validation_split:
        raise DataError(
            "metrics are measured on validation data: give validation_data or validation_split"
        )
    return request


def check_optional_size(value: Any, name: str) -> int | None:
    """Return a size, or None."""
    return None if value is None else check_size(value, name)


def prepare(model: Model, X: Any, y: Any, request: Request) -> Prepared:
    """Return the training that is asked for, with all that it needs of X and y."""
    scales = _learns_scale(model, request)
    if request.truncate is not None:
        check_truncate(model, request.optimizer)
    if is_stream(X, y):
        return _prepare_stream(model, X, request, scales)
    if y is None:
        raise DataError("y must be given, except where X is an iterable of mini-batches")
    return _prepare_arrays(model, X, y, request, scales)


def _learns_scale(model: Model, request: Request) -> bool:
    """Tell whether the unit of the targets is to be learned; refuse it where it cannot be."""
    if not request.scale_targets or model.encoder.scale is not None:
        return False
    check_can_scale(model.layers[-1].activation, model.loss)
    if model.epochs_trained or request.resume:
        raise DataError(
            "scale_targets=True must come with the first training: this network has been trained "
            f"on targets as they are (finished epochs: {model.epochs_trained}); make a new one"
        )
    return True


def _prepare_stream(model: Model, X: Any, request: Request, scales: bool) -> Prepared:
    """Prepare a training on mini-batches of the user's, each of which counts as a row."""
    if scales:
        raise DataError(
            "scale_targets=True wants X and y as arrays; for an iterable of mini-batches set "
            "network.target_scale = (mean, deviation) before"
        )
    given = request.sample_weight, request.class_weight, request.lengths
    if request.validation_split or request.diagnose or any(value is not None for value in given):
        raise DataError(
            "sample_weight, class_weight, lengths, validation_split and diagnose want X and y as "
            "arrays, not as an iterable of mini-batches"
        )
    missing = request.missing_targets
    batches = BatchStream(model.reader, X, request.epochs, missing, model.least_batch)
    if not request.resume:
        check_parameters(model)
    if isinstance(request.optimizer, optimizers.LBFGS):
        lbfgs.check(model, batches, None, request.callbacks, None)
    first = batches.peek()  # learns the labels that the validation data are held to
    learned = batches.reader
    labelled = losses.is_classification(model.loss) and model.encoder.units == 1
    if labelled and learned.encoder.classes is None:
        raise DataError(
            "the first mini-batch of X must have a target that was observed: classes are learned "
            "from it"
        )
    held_out = _read_validation(learned, request, first.lengths is not None)
    validation = _measurable(model, learned, held_out, request.metrics)
    advice.check_data(model, first)
    return Prepared(batches, learned, validation, 1, False, request.callbacks)


def _prepare_arrays(model: Model, X: Any, y: Any, request: Request, scales: bool) -> Prepared:
    """Prepare a training on samples that are all there."""
    data, learned, held_out = _read_arrays(model, X, y, request, scales)
    if not request.resume:
        check_parameters(model)
    callbacks = request.callbacks
    if isinstance(request.optimizer, optimizers.LBFGS):
        lbfgs.check(model, data, request.batch_size, callbacks, request.augment)
    advice.check_fit(model, data, request.batch_size)
    if request.diagnose:
        callbacks = [diagnosis.Diagnosis(data, model.seed), *callbacks]
    batch_size = check_batch(model.least_batch(data), request.batch_size, data.rows)
    validation = _measurable(model, learned, held_out, request.metrics)
    return Prepared(data, learned, validation, batch_size, request.shuffle, callbacks)


def check_truncate(model: Model, optimizer: Optimizer) -> None:
    """Raise `DataError` where the network, or the optimizer, does not train window by window."""
    if isinstance(optimizer, optimizers.LBFGS):
        raise DataError("truncate wants an optimizer of steps, which LBFGS is not")
    model.architecture.check_windows()


def _read_arrays(
    model: Model, X: Any, y: Any, request: Request, scales: bool
) -> tuple[Data, Reader, Data | None]:
    """Return the samples to train on, what is learned of them, and those to validate with."""
    reader, missing = model.reader, request.missing_targets
    given = request.sample_weight, request.lengths
    data, targets = reader.read(X, y, *given, learn=True, missing=missing)
    if scales:
        targets = targets._replace(classes=None)  # numbers with a unit are none
    learned = reader.after(X, targets)
    by_class = reader.encoder.class_weights(request.class_weight, targets)
    weighted = with_class_weights(data, by_class)
    held_out = _read_validation(learned, request, data.lengths is not None)
    if request.validation_split:
        keep, rest = split_rows(data.rows, request.validation_split, model.seed)
        weighted, held_out = select(weighted, keep), select(data, rest)
        check_measurable(held_out, f"validation_split={request.validation_split:g}")
    if scales:
        scale = TargetScale.of(weighted)
        learned = learned.encoding(None, scale)
        weighted = scale.scale(weighted)
        held_out = None if held_out is None else scale.scale(held_out)
    return weighted, learned, held_out


def with_class_weights(data: Data, by_class: Array | None) -> Data:
    """Return data whose weights are multiplied by those of the samples' classes."""
    if by_class is None:
        return data
    if data.weight is None:
        return data._replace(weight=by_class)
    own = data.weight if data.weight.ndim == by_class.ndim else data.weight[:, None]
    with np.errstate(over="ignore"):
        weight = by_class * own
    called, positions = "sample_weight * class_weight", weight.shape[-1]
    return data._replace(weight=as_weights(weight, called, data.rows, positions))


def _read_validation(learned: Reader, request: Request, with_lengths: bool) -> Data | None:
    """Return the user's validation data, held to the classes and names just learned."""
    given = request.validation_data
    if given is None:
        return None
    if not isinstance(given, (tuple, list)) or not 2 <= len(given) <= 4:
        raise DataTypeError(
            "validation_data must be (X, y), (X, y, sample_weight) or (X, y, sample_weight, "
            f"lengths), got {type(given).__name__}"
        )
    names = "validation X", "validation y", "validation sample_weight", "validation lengths"
    data, _ = learned.read(*given, called=names, missing=request.missing_targets)
    check_measurable(data, "validation_data")
    if with_lengths and data.lengths is None:
        warn(
            "validation_data has no lengths, though X has: its sequences are measured as a whole. "
            "They are the fourth item, (X, y, None, lengths)",
            DataWarning,
        )
    return data


def validation_of(
    model: Model, learned: Reader, request: Request, with_lengths: bool
) -> Validation | None:
    """Return what a training is measured on: the user's validation data."""
    held_out = _read_validation(learned, request, with_lengths)
    return _measurable(model, learned, held_out, request.metrics)


def _measurable(
    model: Model, learned: Reader, data: Data | None, metrics: list[Metric]
) -> Validation | None:
    """Return what a training is measured on, once it has been found that it can be."""
    if data is None:
        return None
    if metrics:
        measure(metrics, learned.encoder, data, model.outputs_of(data.x, data.lengths))
    return Validation(data, metrics)


def read_one(
    model: Model, X: Any, y: Any, sample_weight: Any, lengths: Any, classes: Any
) -> tuple[Data, Reader]:
    """Return the samples of a `partial_fit`, and what is learned of them."""
    reader = model.reader
    if classes is not None:
        reader = reader.encoding(reader.encoder.check_classes(classes), reader.encoder.scale)
    # A few rows that happen to be one-hot do not make classes of a regression.
    learn = not (model.epochs_trained and losses.may_be_one_hot(reader.encoder.loss))
    try:
        data, targets = reader.read(X, y, sample_weight, lengths, learn=learn)
    except LabelError as error:
        if reader.encoder.classes is None:
            raise LabelError(f"{error}. partial_fit takes all labels as classes=") from None
        raise
    return data, reader.after(X, targets)


def check_one(model: Model, data: Data, batch_size: int | None, going_on: bool = False) -> int:
    """Return how many samples a mini-batch of a `partial_fit` has, once it can begin.

    Where it goes on with steps of one mini-batch each, these look at the parameters themselves.
    """
    if not going_on:
        check_parameters(model)
    batch_size = check_batch(model.least_batch(data), batch_size, data.rows)
    if model.epochs_trained == 0:
        advice.check_data(model, data)
    return batch_size


def check_batch(least: int, batch_size: int | None, rows: int) -> int:
    """Return how many samples a mini-batch has, at `least` so many; None stands for all."""
    batch_size = min(batch_size or rows, rows)
    if batch_size < least:
        raise DataError(
            "batch_size must be at least 2 for BatchNorm: one sample has no variance; "
            "LayerNorm normalizes samples one by one"
        )
    if 0 < rows % batch_size < least:
        warn_lone_sample(
            f"batch_size={batch_size} cuts {rows} samples so that an epoch ends with a"
        )
    return batch_size


def check_parameters(model: Model) -> None:
    """Raise `DataError` where a training could not begin with the parameters."""
    if model.core.find_not_finite(model.theta) != model.theta.size:
        raise DataError("the network's parameters are not finite: training cannot start")
