"""The test that every derivative has to pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn._checks import check_bool, check_size
from pycnn._data.arrays import check_measurable
from pycnn._data.sources import whole
from pycnn._random import check_seed, dropout_keys, generator

if TYPE_CHECKING:
    from pycnn._model import Model

# Five-point differences, f'(0) = sum c_k f(k h) / (12 h) + O(h^4): central, and one-sided for
# parameters that have a kink of relu close by on one side.
_STENCILS = (
    ((-2, 1), (-1, -8), (1, 8), (2, -1)),
    ((0, -25), (1, 48), (2, -36), (3, 16), (4, -3)),
    ((0, 25), (-1, -48), (-2, 36), (-3, -16), (-4, 3)),
)
_STEPS = (1e-3, 1e-4, 1e-5)
_GOOD = 1e-9
# Differences of a loss near 1 are no better than this: at a minimum all gradients are below it.
ROUNDING = 1e-9


def gradient_check(
    net: Model,
    X: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    lengths: Any = None,
    max_parameters: int = 1000,
    seed: int = 0,
    training: bool = False,
) -> float:
    """Compare the network's gradient with differences of its loss.

    Parameters
    ----------
    net : Network
    X : array-like of shape (m, n_0)
    y : array-like of shape (m,) or (m, n_L)
    sample_weight : array-like of shape (m,), optional
    lengths : array-like of shape (m,), optional
        Of samples that are sequences.
    max_parameters : int, default 1000
        Of a larger network so many parameters are drawn, by `seed`.
    seed : int, default 0
    training : bool, default False
        Whether to check the gradient that training takes, with dropout's masks and the mini-batch's
        own moments, as `Network.gradients` says.

    Returns
    -------
    float
        The largest relative error, |analytic - numeric| / max(|analytic|, |numeric|, g / 100,
        1e-9) with g the largest gradient of all; for each parameter that of the best of several
        step sizes, since a step that is too long meets the kinks of relu and one too short drowns
        in rounding.
        About 1e-10 for a right gradient, 1e-2 or more for a wrong one.

    Examples
    --------
    >>> from pycnn import Dense, Network
    >>> net = Network(2, [Dense(3, "tanh"), Dense(1, "sigmoid")], seed=0)
    >>> gradient_check(net, [[0, 1], [1, 1]], [1, 0]) < 1e-7
    True
    """
    max_parameters = check_size(max_parameters, "max_parameters")
    training = check_bool(training, "training")
    data = whole(net.reader.read(X, y, sample_weight, lengths)[0])
    check_measurable(data, "the data")
    plan, theta = net.planned(data.x.shape[1]).plan, net.theta.copy()
    loss, analytic = net.gradients(X, y, sample_weight, training=training, lengths=lengths)
    drawn = dropout_keys(net.seed, net.epochs_trained, 1) if training else None
    scratch = np.empty_like(analytic)
    floor = max(float(np.abs(analytic).max()) / 100, ROUNDING * max(1.0, abs(loss)))
    chosen = np.arange(analytic.size)
    if analytic.size > max_parameters:
        keys = generator(check_seed(seed)).random_raw(analytic.size)
        chosen = np.sort(np.argsort(keys, kind="stable")[:max_parameters])

    def loss_at(index: int, value: float) -> float:
        before, theta[index] = theta[index], value
        totals = (
            net.core.gradients(plan, theta, data, scratch, drawn)
            if training
            else net.core.evaluate(plan, theta, data)
        )
        theta[index] = before
        return float(totals.mean_loss())

    def error_at(index: int) -> float:
        best = np.inf
        for step in _STEPS:
            for stencil in _STENCILS:
                h = step * max(1.0, abs(theta[index]))
                terms = (c * loss_at(index, theta[index] + k * h) for k, c in stencil)
                numeric = sum(terms) / (12 * h)
                scale = max(abs(analytic[index]), abs(numeric), floor)
                error = abs(analytic[index] - numeric) / scale
                best = min(best, float(error))
                if best < _GOOD:
                    return best
        return best

    return max(error_at(int(index)) for index in chosen)
