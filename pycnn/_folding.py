"""Networks for prediction alone: batch normalization becomes part of the dense layer beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from pycnn._architecture import Architecture
from pycnn.layers import BatchNorm, Dense, Dropout, Layer, Residual, from_config

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pycnn._model import Model
    from pycnn._typing import Array

    AnyModel = TypeVar("AnyModel", bound=Model)


class Folded(NamedTuple):
    """A layer of the new network."""

    config: dict[str, Any]
    arrays: dict[str, Array]  # by their names within the layer

    @property
    def is_linear_dense(self) -> bool:
        """Whether a normalization behind it can become part of it."""
        return self.config["kind"] == Dense.kind and self.config["activation"] == "linear"

    @property
    def is_linear_norm(self) -> bool:
        """Whether in prediction it is ``scale x + shift`` and nothing else."""
        return self.config["kind"] == BatchNorm.kind and self.config["activation"] == "linear"

    def line(self) -> tuple[Array, Array]:
        """Return scale and shift of a batch normalization in prediction."""
        own = self.arrays
        scale = own["gamma"] / np.sqrt(own["variance"] + self.config["epsilon"])
        return scale, own["beta"] - scale * own["mean"]


def folded(network: AnyModel) -> AnyModel:
    """Return what `Network.folded` promises."""
    layers = fold(network.layers)
    configs = [layer.config for layer in layers]
    before = network.architecture
    architecture = Architecture(before.input_shape, list(map(from_config, configs)), before.loss)
    parts = [layers[place.layer - 1].arrays[place.name] for place in architecture.tensors]
    theta = np.concatenate([np.empty(0), *(array.ravel() for array in parts)])
    state = network.__getstate__() | {"layers": configs, "parameters": theta}
    # What belongs to training alone: its penalties are on other weights than these.
    state |= {"l1": 0.0, "l2": 0.0, "training": None, "history": None}
    state |= {"stop_training": False, "learning_rate_factor": 1.0}
    return type(network).from_state(state)


def fold(layers: Iterable[Layer]) -> list[Folded]:
    """Return what is left of layers on top of each other."""
    done: list[Folded] = []
    for layer in layers:
        if isinstance(layer, Dropout):
            continue
        this = fold_within(layer) if isinstance(layer, Residual) else alone(layer)
        if isinstance(layer, BatchNorm) and done and done[-1].is_linear_dense:
            scale, shift = this.line()
            dense = done[-1].arrays
            dense["W"] *= scale[:, None]
            dense["b"] = scale * dense["b"] + shift
            done[-1].config["activation"] = layer.activation
            continue
        if isinstance(layer, Dense) and done and done[-1].is_linear_norm:
            scale, shift = done.pop().line()
            this.arrays["b"] += this.arrays["W"] @ shift
            this.arrays["W"] *= scale
        done.append(this)
    return done


def alone(layer: Layer) -> Folded:
    """Return a layer as it is, but for what only training needs."""
    config = layer.config()
    if isinstance(layer, Dense):
        config |= {"l1": 0.0, "l2": 0.0, "max_norm": None}
    return Folded(config, {name: view.copy() for name, view in layer.tensors.items()})


def fold_within(layer: Residual) -> Folded:
    """Return a residual layer whose inner layers and shortcut are folded, each for themselves."""
    # Dropout, which is nothing in prediction, stays where there is nothing else.
    inner = fold(layer.inner) or [alone(layer.inner[0])]
    beside = [] if layer.shortcut is None else fold([layer.shortcut])
    names = [f"inner.{n}" for n in range(1, len(inner) + 1)] + ["shortcut"] * len(beside)
    config = layer.config() | {
        "layers": [child.config for child in inner],
        "shortcut": beside[0].config if beside else None,
    }
    arrays = {
        f"{name}.{own}": array
        for name, child in zip(names, inner + beside, strict=True)
        for own, array in child.arrays.items()
    }
    return Folded(config, arrays)
