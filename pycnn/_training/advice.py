"""Warnings that teach: what is allowed, but seldom meant; each with its number and a remedy.

They are about the data before the training, and with ``diagnose=True`` about the layers. Each comes
at most once in a fit. They must be cheap: a fit of a tiny network takes microseconds an epoch.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn import losses
from pycnn.activations import TABLE
from pycnn.exceptions import DataWarning, DivergedError, LayerWarning, warn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pycnn._model import Model
    from pycnn._typing import AnyArray
    from pycnn.backend.interface import Data

# The size of batches where `Network.fit` is not told one: nobody has asked for it.
DEFAULT_BATCH = 32
# Root mean squares of a column, and of all columns: standardized data have 1, pixels in 0 ... 1 up
# to 1, one-hot columns below 1. Beyond these, layers saturate or gradients all but vanish.
LARGEST_SCALE, SMALLEST_SCALE = 10.0, 0.01
# The same of targets, by trial: beyond these SGD(0.1) diverged, or Adam took too short steps, on a
# target that both learned well with mean 0 and deviation 1.
LARGEST_TARGET, SMALLEST_TARGET = 30.0, 0.01
# Rows that tell the scale of the others.
ROWS = 256

# Losses that a classification could have been meant by.
_REGRESSIONS = ("mse", "mae", "huber")
_CROSSENTROPY = {"sigmoid": "binary_crossentropy", "softmax": "categorical_crossentropy"}

# Fractions of a layer's units, or activations, that are lost.
MANY_DEAD = MANY_SATURATED = 0.5
# Where a network learns, the gradients of its layers are seldom ten times as large as each other's.
VANISHED = 1e-3
# A gradient so many times larger than the weights: no learning rate that moves other layers fits.
EXPLODED = 1e3
# dL/dh at the first step, of that at the last: over 100 steps an LSTM starts far above, and a GRU
# that learns gets there within an epoch or two, by trial; a plain network that does not, falls.
VANISHED_IN_TIME = 1e-9


# ------------------------------------------------------------------ before the training


def check_fit(network: Model, data: Data, batch_size: int | None) -> None:
    """Warn where data and settings are not what training does well with."""
    if batch_size is not None and data.rows < batch_size != DEFAULT_BATCH:
        warn(
            f"batch_size={batch_size} is larger than the data: every mini-batch has all "
            f"{data.rows} samples, and an epoch is one step. batch_size=None says so; with fewer "
            "samples in a batch an epoch has more steps",
            DataWarning,
        )
    check_data(network, data)


def check_data(network: Model, data: Data) -> None:
    """Warn where inputs or targets are far from where layers start."""
    complaint = _unscaled_inputs(network, data)
    if complaint:
        remedy = {
            1: "Subtract each column's mean and divide by its standard deviation, or divide all by "
            "one number (pixels: 255) where the columns are alike; what you predict needs the same",
            2: "Subtract each feature's mean and divide by its standard deviation, or let a first "
            "layer Rescale(scale, offset) do it; what you predict needs the same",
            3: "A first layer Rescale(1 / 255) divides pixels, also of what you predict",
        }
        warn(f"{complaint}. {remedy[min(3, len(network.input_shape))]}", DataWarning)
    complaint = _unscaled_targets(network, data)
    if complaint:
        warn(complaint, DataWarning)
    if losses.is_distance(network.loss) or network.loss == "poisson":
        _check_targets(network, data.y)


def cause(network: Model, data: Data, learning_rate: float | None) -> str:
    """Say why a training on these data is likely to have diverged, and what to do."""
    complaints = [_unscaled_targets(network, data), _unscaled_inputs(network, data)]
    found = [complaint for complaint in complaints if complaint]
    if found and found[-1] == complaints[1]:
        found[-1] += {
            1: ". Scale each column to mean 0 and deviation 1",
            2: ". Scale each feature to mean 0 and deviation 1",
            3: ". A first layer Rescale(1 / 255) divides pixels",
        }[min(3, len(network.input_shape))]
    if learning_rate is not None:
        found.append(f"A smaller learning_rate than {learning_rate:g} may help")
    elif not found:
        found.append("Smaller initial weights may help")
    return ". ".join(found)


def divergence(what: str, epoch: int, batch: int, cause: str) -> DivergedError:
    """Return the error of a training that cannot go on."""
    return DivergedError(
        f"{what} at epoch {epoch}, batch {batch}; the parameters are those of the last finite "
        f"step. {cause}".rstrip(),
        epoch,
        batch,
    )


def _unscaled_inputs(network: Model, data: Data) -> str:
    """Say what of X is far from where layers start; nothing where all is near."""
    if network.layers[0].normalizes_inputs:
        return ""
    x = _some(data.x)
    largest = max(float(x.max()), -float(x.min()))
    if SMALLEST_SCALE <= largest <= LARGEST_SCALE or largest == 0:
        return ""
    if largest < SMALLEST_SCALE:
        return (
            f"X is not scaled: the largest of its values is {largest:.3g}, where layers start with "
            "weights for values around 1, so that they pass on next to nothing"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = x.mean(axis=0), x.std(axis=0)
        scale = np.hypot(mean, deviation)
        large = int((scale > LARGEST_SCALE).sum())
    if not large:
        return ""
    if len(network.input_shape) > 1:
        return (
            f"X is not scaled: its values go from {x.min():.3g} to {x.max():.3g}, where layers "
            "start with weights for values around 1"
        )
    column = int(scale.argmax())
    count = "" if large == 1 else f", and {large - 1} of the other {x.shape[1] - 1} are like it"
    return (
        f"X is not scaled: column {column} has mean {mean[column]:.3g} and standard deviation "
        f"{deviation[column]:.3g}{count}, where layers start with weights for mean 0 and "
        "deviation 1"
    )


def _unscaled_targets(network: Model, data: Data) -> str:
    """Say which of y's columns is far from where outputs start, with a remedy; or nothing."""
    activation = network.layers[-1].activation
    is_bounded = TABLE[activation].high < math.inf
    if not losses.is_distance(network.loss) or is_bounded or network.target_scale is not None:
        return ""
    data = data.by_position()
    y = _some(data.y)
    counts = np.isfinite(y)
    if data.weight is not None:
        counts &= (_some(data.weight) > 0)[:, None]
    number = np.maximum(counts.sum(axis=0), 1)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.where(counts, y, 0.0).sum(axis=0) / number
        deviation = np.sqrt(np.where(counts, (y - mean) ** 2, 0.0).sum(axis=0) / number)
        scale = np.hypot(mean, deviation)
    large = scale > LARGEST_TARGET
    small = (deviation > 0) & (deviation < SMALLEST_TARGET)
    if not (large | small).any():
        return ""
    output = int(scale.argmax() if large.any() else small.argmax())
    which = "y" if y.shape[1] == 1 else f"column {output} of y"
    remedy = (
        "In a new network, fit's scale_targets=True learns both, or target_scale = (mean, "
        "deviation) sets them; predictions stay in the unit of y"
        if activation == "linear"
        else "Divide y by a number that makes it so; what you predict needs the same"
    )
    return (
        f"y is not scaled: {which} has mean {mean[output]:.3g} and standard deviation "
        f"{deviation[output]:.3g}, where a network's outputs start around 0 with deviations around "
        f"1. {remedy}"
    )


def _some(rows: Any) -> Any:
    """Return about `ROWS` rows, which tell of the others."""
    return rows[:: max(1, len(rows) // ROWS)]


def _check_targets(network: Model, y: AnyArray) -> None:
    activation, loss = network.layers[-1].activation, network.loss
    low, high = TABLE[activation].low, TABLE[activation].high  # targets on the border are meant
    # Other than min and max, these leave out NaN, which stands for a target that is not known.
    least, largest = float(np.fmin.reduce(y, axis=None)), float(np.fmax.reduce(y, axis=None))
    if least < low or largest > high:
        fraction = ((y < low) | (y > high)).sum() / (y == y).sum()
        above = "up" if high == math.inf else f"to {high:g}"
        open_ended = "softplus" if loss == "poisson" else "linear"
        warn(
            f"{100 * fraction:.3g} % of the targets are out of reach: {activation} outputs go from "
            f"{low:.4g} {above}, y goes from {least:.4g} to {largest:.4g}. Give the output layer "
            f"the activation {open_ended!r}, or scale y into that range",
            DataWarning,
        )
    elif activation in _CROSSENTROPY and loss in _REGRESSIONS and (least, largest) == (0, 1):
        if not ((y == 0) | (y == 1)).all():
            return
        warn(
            f"all {y.size} targets are 0 or 1, and the loss is {loss!r} on a {activation} output: "
            "an answer that is sure and wrong, say 0.99 instead of 0, gets a hundredth of the "
            f"gradient that loss={_CROSSENTROPY[activation]!r} gives it, the default for "
            f"{activation}",
            DataWarning,
        )


# ------------------------------------------------------------------ while it runs


class LayerAdvisor:
    """Warns of layers that do not learn, once of each, by what `Diagnosis` has measured."""

    def __init__(self) -> None:
        self.told: set[str] = set()

    def look(self, network: Model, epoch: int, values: Mapping[str, float]) -> None:
        """Look at an epoch's values; epoch 0 is before the training."""
        when = f"after epoch {epoch}" if epoch else "before the first epoch"
        self._look_at_units(network, when, values)
        self._look_at_gradients(network, when, values)
        self._look_through_time(network, epoch, when, values)

    def _tell(self, kind: str, message: str) -> None:
        if kind not in self.told:
            self.told.add(kind)
            warn(message, LayerWarning)

    def _look_at_units(self, network: Model, when: str, values: Mapping[str, float]) -> None:
        for number, layer in enumerate(network.layers, start=1):
            dead = values.get(f"dead_share_{number}", 0.0)
            if dead >= MANY_DEAD:
                shape = network.architecture.output_shapes[number - 1]
                what = "units" if len(shape) == 1 else "features"
                self._tell(
                    "dead",
                    f"{round(dead * shape[-1])} of the {shape[-1]} {what} of layer {number} are "
                    f"dead {when}: they give 0 for every sample looked at, so no gradient reaches "
                    "their weights. A smaller learning rate, scaled inputs or leaky_relu may keep "
                    "them alive",
                )
            saturated = values.get(f"saturated_share_{number}", 0.0)
            if saturated >= MANY_SATURATED and number < len(network.layers):
                self._tell(
                    "saturated",
                    f"{100 * saturated:.3g} % of the activations of layer {number} are saturated "
                    f"{when}: there the slope of {layer.activation} is below a hundredth of its "
                    "greatest, and hardly any gradient passes. Scaled inputs, smaller initial "
                    "weights (glorot_uniform) or a smaller learning rate may help",
                )

    def _look_at_gradients(self, network: Model, when: str, values: Mapping[str, float]) -> None:
        norms = {}
        for number in range(1, len(network.layers) + 1):
            norm = values.get(f"gradient_norm_{number}")
            if norm is not None:
                norms[number] = norm
        if not norms:
            return
        most = max(norms, key=norms.__getitem__)
        least = min(norms, key=norms.__getitem__)
        weights = float(np.linalg.norm(network.layers[most - 1].W))
        if not norms[most] <= EXPLODED * weights and weights:
            self._tell(
                "exploded",
                f"gradients explode: that of layer {most} has norm {norms[most]:.3g} {when}, its "
                f"weights have {weights:.3g}. Scaled inputs and targets, smaller initial weights "
                "(he_normal, glorot_uniform) or the optimizer's clip_norm may help",
            )
        elif norms[least] == 0 and "dead" in self.told:
            pass  # which is why
        elif least < most and norms[least] < VANISHED * norms[most]:
            self._tell(
                "vanished",
                f"gradients vanish: that of layer {least} has norm {norms[least]:.3g} {when}, that "
                f"of layer {most} {norms[most]:.3g}, so the lower layers hardly learn. relu, "
                "initial weights that suit the activation (he_normal, glorot_uniform), "
                "normalization or fewer layers may help",
            )

    def _look_through_time(
        self, network: Model, epoch: int, when: str, values: Mapping[str, float]
    ) -> None:
        for number in range(1, len(network.layers) + 1):
            ratio = values.get(f"gradient_ratio_{number}", 1.0)
            what = f"of layer {number} dL/dh at the first step is {ratio:.3g} of that at the last"
            if ratio > EXPLODED:
                self._tell(
                    "exploded in time",
                    f"gradients explode in time: {what} {when}. The optimizer's clip_norm holds "
                    "the steps that are made of them; LSTM, GRU or a smaller U may help",
                )
            elif ratio < VANISHED_IN_TIME and epoch:
                self._tell(
                    "vanished in time",
                    f"gradients vanish in time: {what} {when}, so hardly anything is learned yet "
                    "from what is so far back. LSTM, or GRU once its gates open, or shorter "
                    "sequences may help",
                )
