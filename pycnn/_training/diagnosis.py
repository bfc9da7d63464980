"""What `Network.fit` measures with ``diagnose=True``: gradients and activations, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pycnn import _random
from pycnn._training.advice import LayerAdvisor
from pycnn.activations import TABLE
from pycnn.callbacks import Callback

if TYPE_CHECKING:
    from pycnn._model import Model
    from pycnn._typing import Indices
    from pycnn.backend.interface import Data
    from pycnn.trace import Trace

# Rows that are looked at: enough for a fraction in percent, few enough to cost less than an epoch.
ROWS = 256
# A slope below this counts as saturated: for tanh where |a| > 0.995, |z| > 3.
SATURATED = 0.01


def sample_rows(rows: int, seed: int) -> Indices:
    """Return the rows to look at, in order: one from each of `ROWS` equal parts, by the seed."""
    if rows <= ROWS:
        return np.arange(rows)
    edges = np.arange(ROWS + 1) * rows // ROWS
    place = _random.uniform(_random.generator(seed, _random.DIAGNOSING), ROWS)
    return edges[:-1] + (place * np.diff(edges)).astype(np.intp)


@np.errstate(all="ignore")
def measure(network: Model, data: Data) -> dict[str, float]:
    """Return what there is to know of each layer; the keys end with its number."""
    trace, lengths = network.trace_data(data, network.theta), data.lengths
    values = {}
    specs = network.architecture.specs
    for number, (layer, spec) in enumerate(zip(network.layers, specs, strict=True), start=1):
        a, dW, db = trace.A[number], trace.dW[number], trace.db[number]
        if len(spec.output_shape) == 1:
            lengths = None
        if lengths is not None:  # of sequences what is there, a column each position of a sample
            places = a.reshape(-1, spec.output_shape[-1], a.shape[1]).transpose(1, 0, 2)
            a = places[:, np.arange(places.shape[1])[:, None] < lengths]
        slope = TABLE[layer.activation].relative_slope
        if dW is not None:
            squares = (dW * dW).sum() + (0.0 if db is None else (db * db).sum())
            values[f"gradient_norm_{number}"] = float(np.sqrt(squares))
        values[f"activation_mean_{number}"] = float(a.mean())
        values[f"activation_std_{number}"] = float(a.std())
        if layer.activation == "relu":
            # The places of an image share their features' weights, which learn from any of them.
            places = a.reshape(-1, spec.output_shape[-1], a.shape[1])
            values[f"dead_share_{number}"] = float((places == 0).all(axis=(0, 2)).mean())
        elif slope is not None:
            values[f"saturated_share_{number}"] = float((slope(a) < SATURATED).mean())
    return values | _through_time(network, data, trace)


def _through_time(network: Model, data: Data, trace: Trace) -> dict[str, float]:
    """Return how recurrent layers' gradients change from the last step to the first."""
    if not any(part.layer.has_steps for part in network.architecture.parts()):
        return {}
    from pycnn.backend.numpy.steps import steps_of  # imported when used

    specs = network.planned(data.x.shape[1]).architecture.specs
    ratios: dict[str, float] = {}
    for steps in steps_of(specs, network.theta, trace.A, trace.delta, data.lengths):
        if not steps.has_sequences:  # else it is not time alone that changes them
            key, ratio = f"gradient_ratio_{steps.number}", steps.ratio()
            known = ratios.get(key, np.nan)  # the other way's, of which the worse one counts
            if np.isnan(known) or abs(np.log(ratio)) > abs(np.log(known)):
                ratios[key] = ratio
    return ratios


class Diagnosis(Callback):
    """Adds to the history what the layers do at the end of each epoch, and warns where that is bad.

    Parameters
    ----------
    data : Data
        What is trained on; `ROWS` of its rows are looked at, always the same.
    seed : int
    """

    def __init__(self, data: Data, seed: int) -> None:
        few = data.rows <= ROWS
        self.sample = data.take(slice(None) if few else sample_rows(data.rows, seed))
        self.advisor = LayerAdvisor()

    def on_train_begin(self, network: Model) -> None:
        """Warn of a start from which training may not come to the end of an epoch."""
        self.advisor.look(network, 0, measure(network, self.sample))

    def on_epoch_end(self, network: Model, epoch: int, logs: dict[str, float]) -> None:
        """Measure, for the history and for the callbacks that follow."""
        assert network.history is not None
        values = measure(network, self.sample)
        network.history.add(values)
        logs |= values
        self.advisor.look(network, epoch, values)
