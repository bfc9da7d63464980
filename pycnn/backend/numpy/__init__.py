"""The NumPy backend: the lecture's formulas as they stand there, a column a sample.

It is what runs where the C core cannot be compiled, and the specification that the core is tested
against: its modules have the names of the core's files. Inside, A^[l] is (n_l, m); outside, a row
is a sample.
"""

from pycnn._checks import find_not_finite
from pycnn._random import permutations
from pycnn.backend.numpy.generate import writer
from pycnn.backend.numpy.network import (
    batch_trainer,
    compiler,
    evaluate,
    gradient_sums,
    gradients,
    input_gradient,
    isa,
    predict,
    predict_samples,
    predictor,
    row_predictor,
    state_count,
    stepper,
    threads,
    trace,
    train,
    update,
)
from pycnn.backend.numpy.plan import create_plan
from pycnn.backend.numpy.sample import sampler
from pycnn.backend.numpy.update import penalty

__all__ = [
    "batch_trainer",
    "compiler",
    "create_plan",
    "evaluate",
    "find_not_finite",
    "gradient_sums",
    "gradients",
    "input_gradient",
    "isa",
    "penalty",
    "permutations",
    "predict",
    "predict_samples",
    "predictor",
    "row_predictor",
    "sampler",
    "state_count",
    "stepper",
    "threads",
    "trace",
    "train",
    "update",
    "writer",
]
