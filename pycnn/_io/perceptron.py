"""A network's weights as other libraries keep theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycnn.exceptions import DataError

if TYPE_CHECKING:
    from pycnn._model import Model
    from pycnn._typing import Array


def to_sklearn(model: Model) -> tuple[list[Array], list[Array]]:
    """Return `coefs_` and `intercepts_` of a folded network, whose outputs are in the unit of y."""
    coefs, intercepts = [], []
    if len(model.input_shape) != 1:
        raise DataError(
            f"scikit-learn's perceptrons read rows of numbers, not samples of {model.input_shape}"
        )
    for layer, own in zip(model.layers, model.architecture.by_layer(), strict=True):
        arrays = {tensor.name: tensor.view(model.theta) for tensor in own}
        if arrays.keys() != {"W", "b"} or arrays["W"].ndim != 2:
            raise DataError(
                f"scikit-learn's perceptrons have dense layers, and nothing like {layer!r}"
            )
        coefs.append(arrays["W"].T.copy())
        intercepts.append(arrays["b"].copy())
    hidden, last = {layer.activation for layer in model.layers[:-1]}, model.layers[-1].activation
    if len(hidden) > 1 or not hidden <= {"linear", "relu", "sigmoid", "tanh"}:
        raise DataError(
            "scikit-learn's perceptrons have one activation for all hidden layers, of linear, "
            f"relu, sigmoid and tanh; got {', '.join(sorted(hidden))}"
        )
    if last not in ("linear", "sigmoid", "softmax"):
        raise DataError(
            "scikit-learn's perceptrons end with linear, sigmoid or softmax, this network with "
            f"{last}"
        )
    if model.target_scale is not None:  # of a linear output, whose unit the last layer takes over
        mean, deviation = model.target_scale
        coefs[-1] *= deviation
        intercepts[-1] *= deviation
        intercepts[-1] += mean
    return coefs, intercepts
