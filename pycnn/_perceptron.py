"""Networks from scikit-learn's perceptrons; scikit-learn is not imported for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn.exceptions import DataError, DataTypeError
from pycnn.layers import Dense
from pycnn.network import Network

if TYPE_CHECKING:
    from pycnn._typing import Array

# Hidden activations and outputs, as scikit-learn calls them.
_FROM_SKLEARN = {
    "identity": "linear",
    "logistic": "sigmoid",
    "relu": "relu",
    "softmax": "softmax",
    "tanh": "tanh",
}


def from_sklearn(estimator: Any, backend: str = "auto") -> Network:
    """Return a network that predicts what a fitted perceptron of scikit-learn does.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        Fitted, of ``sklearn.neural_network`` or `pycnn.sklearn`; of a pipeline ``pipeline[-1]``,
        whose network reads what ``pipeline[:-1].transform`` makes of X.
    backend : {"auto", "c", "numpy"}, default "auto"
        Which core the network computes with.

    Returns
    -------
    Network
        With the classes and the names of the columns. Its weights are copies, without a penalty:
        `alpha` is another number for each size of mini-batch.

    Raises
    ------
    DataTypeError
        If `estimator` is no such object, or not fitted.
    DataError
        If pycnn has no such layer: the exponential output of ``loss="poisson"``.

    Examples
    --------
    >>> from sklearn.neural_network import MLPRegressor  # doctest: +SKIP
    >>> X, y = [[0], [1], [2], [3]], [1, 3, 5, 7]
    >>> perceptron = MLPRegressor(hidden_layer_sizes=(), solver="lbfgs")  # doctest: +SKIP
    >>> net = from_sklearn(perceptron.fit(X, y))  # doctest: +SKIP
    >>> net.predict([[4]]).round(2)  # doctest: +SKIP
    array([[9.]])
    """
    if hasattr(estimator, "named_steps"):
        raise DataTypeError(
            "estimator must be a perceptron, not a pipeline: give pipeline[-1], and its network "
            "pipeline[:-1].transform(X)"
        )
    out = getattr(estimator, "out_activation_", None)
    if isinstance(estimator, type) or out is None or not hasattr(estimator, "coefs_"):
        raise DataTypeError(
            "estimator must be a fitted MLPClassifier or MLPRegressor of scikit-learn, "
            f"got {estimator!r:.80}"
        )
    if out not in _FROM_SKLEARN:
        raise DataError(f"no layer has the output {out!r}, as {estimator!r:.80} has")
    own = getattr(estimator, "network_", None)
    if own is not None:  # of pycnn.sklearn
        state = {k: v for k, v in own.__getstate__().items() if k not in ("training", "history")}
        return Network.from_state(state | {"backend": backend})
    coefs: list[Array] = [np.asarray(values, np.float64) for values in estimator.coefs_]
    hidden = _FROM_SKLEARN[estimator.activation]
    layers = [Dense(coef.shape[1], hidden) for coef in coefs[:-1]]
    layers.append(Dense(coefs[-1].shape[1], _FROM_SKLEARN[out]))
    net = Network(len(coefs[0]), layers, backend=backend, seed=0)
    for layer, coef, intercept in zip(net.layers, coefs, estimator.intercepts_, strict=True):
        layer.W, layer.b = coef.T, intercept
    classes = getattr(estimator, "classes_", None)
    several = out == "logistic" and estimator.n_outputs_ > 1  # labels at once
    if classes is not None and len(classes) > 1 and not several:
        net.classes = np.array(classes.tolist())
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None:
        net.feature_names = names
    return net
