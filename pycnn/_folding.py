"""Networks for prediction alone: batch normalization becomes part of the dense layer beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn.layers import BatchNorm, Dense, Dropout

if TYPE_CHECKING:
    from pycnn.network import Network


def folded(network: Network) -> Network:
    """Return what `Network.folded` promises."""
    layers: list[dict[str, Any]] = []  # each layer's config
    tensors: list[dict[str, Any]] = []  # ... and its arrays
    for layer in network.layers:
        if isinstance(layer, Dropout):
            continue
        config, own = layer.config(), {name: view.copy() for name, view in layer.tensors.items()}
        if config["kind"] == Dense.kind:
            config |= {"l1": 0.0, "l2": 0.0, "max_norm": None}
        before = layers[-1] if layers else {"kind": None}
        if (
            config["kind"] == BatchNorm.kind
            and before["kind"] == Dense.kind
            and before["activation"] == "linear"
        ):
            scale, shift = _line(config, own)
            tensors[-1]["W"] *= scale[:, None]
            tensors[-1]["b"] = scale * tensors[-1]["b"] + shift
            before["activation"] = config["activation"]
            continue
        if (
            config["kind"] == Dense.kind
            and before["kind"] == BatchNorm.kind
            and before["activation"] == "linear"
        ):
            scale, shift = _line(before, tensors[-1])
            own["b"] += own["W"] @ shift
            own["W"] *= scale
            layers.pop()
            tensors.pop()
        layers.append(config)
        tensors.append(own)
    counted = ("mean", "variance")
    parameters = [v for own in tensors for name, v in own.items() if name not in counted]
    statistics = [v for own in tensors for name, v in own.items() if name in counted]
    result: Network = type(network).__new__(type(network))
    theta = np.concatenate([array.ravel() for array in parameters + statistics])
    state = network.__getstate__() | {"layers": layers, "parameters": theta}
    # What belongs to training alone: its penalties are on other weights than these.
    state |= {"l1": 0.0, "l2": 0.0, "training": None, "history": None}
    state |= {"stop_training": False, "learning_rate_factor": 1.0}
    result.__setstate__(state)
    return result


def _line(config: dict[str, Any], own: dict[str, Any]) -> tuple[Any, Any]:
    """Return scale and shift of a normalization in prediction: scale x + shift."""
    scale = own["gamma"] / np.sqrt(own["variance"] + config["epsilon"])
    return scale, own["beta"] - scale * own["mean"]
