"""Networks for prediction alone: batch normalization becomes part of the weights beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from pycnn._architecture import Architecture
from pycnn.layers import BatchNorm, Dropout, Layer, Residual, from_config
from pycnn.layers._weighted import Weighted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pycnn._model import Model
    from pycnn._typing import Array

    AnyModel = TypeVar("AnyModel", bound=Model)


# A mean of that many deviations takes four bits of a float32's 24 from what lies around it.
FAR = 16


class Folded(NamedTuple):
    """A layer of the new network.

    ``W[o, ..., i]`` is what an output, a neuron or a filter, makes of a feature of its input: in a
    convolution at some places beside each other.
    """

    config: dict[str, Any]
    arrays: dict[str, Array]  # by their names within the layer
    is_weighted: bool = False  # it is W A + b
    sees_zeros: bool = False  # ... and beyond its input, which is normalized no more than that

    @property
    def is_linear_sum(self) -> bool:
        """Whether a normalization behind it can become part of it."""
        return self.is_weighted and self.config["activation"] == "linear"

    @property
    def is_linear_norm(self) -> bool:
        """Whether in prediction it is ``scale x + shift`` and nothing else."""
        return self.config["kind"] == BatchNorm.kind and self.config["activation"] == "linear"

    def scale_outputs(self, scale: Array, shift: Array, activation: str) -> None:
        """Let its outputs be those of a normalization behind it."""
        W = self.arrays["W"]
        W *= scale.reshape(-1, *(1,) * (W.ndim - 1))
        self._set_bias(scale * self.arrays.get("b", 0.0) + shift)
        self.config["activation"] = activation

    def scale_inputs(self, scale: Array, shift: Array) -> None:
        """Let it do what a normalization in front of it has done."""
        W = self.arrays["W"]
        seen = W.sum(axis=tuple(range(1, W.ndim - 1)))  # of each feature, at all places together
        self._set_bias(self.arrays.get("b", 0.0) + seen @ shift)
        W *= scale

    def _set_bias(self, b: Array) -> None:
        self.arrays["b"] = b
        if "use_bias" in self.config:
            self.config["use_bias"] = True

    @property
    def is_far_from_zero(self) -> bool:
        """Whether some feature of a batch normalization lies far from 0, by its deviation."""
        deviation = np.sqrt(self.arrays["variance"] + self.config["epsilon"])
        return bool((np.abs(self.arrays["mean"]) > FAR * deviation).any())

    def round_mean(self) -> None:
        """Let a batch normalization's mean be one of float32, and beta make up for that."""
        (scale, _), own = self.line(), self.arrays
        with np.errstate(over="ignore"):
            mean = own["mean"].astype(np.float32).astype(np.float64)
        if np.isfinite(mean).all():
            own.update(mean=mean, beta=own["beta"] + scale * (mean - own["mean"]))

    def line(self) -> tuple[Array, Array]:
        """Return scale and shift of a batch normalization in prediction."""
        own = self.arrays
        scale = own["gamma"] / np.sqrt(own["variance"] + self.config["epsilon"])
        return scale, own["beta"] - scale * own["mean"]


def folded(network: AnyModel, single: bool = False) -> AnyModel:
    """Return what `Network.folded` promises; `single` is for what computes with float32.

    There features that lie far from 0 are to be centred first, or their digits are lost.
    """
    layers = fold(network.layers, single)
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


def fold(layers: Iterable[Layer], single: bool = False) -> list[Folded]:
    """Return what is left of layers on top of each other."""
    done: list[Folded] = []
    for layer in layers:
        if isinstance(layer, Dropout):
            continue
        this = fold_within(layer, single) if isinstance(layer, Residual) else alone(layer)
        if isinstance(layer, BatchNorm) and done and done[-1].is_linear_sum:
            done[-1].scale_outputs(*this.line(), layer.activation)
            continue
        into_this = this.is_weighted and not this.sees_zeros and done and done[-1].is_linear_norm
        if into_this and not (single and done[-1].is_far_from_zero):
            this.scale_inputs(*done.pop().line())
        if single and isinstance(layer, BatchNorm):
            this.round_mean()
        done.append(this)
    return done


def alone(layer: Layer) -> Folded:
    """Return a layer as it is, but for what only training needs."""
    config, arrays = layer.config(), {name: view.copy() for name, view in layer.tensors.items()}
    if not isinstance(layer, Weighted):
        return Folded(config, arrays)
    config |= {"l1": 0.0, "l2": 0.0, "max_norm": None}
    return Folded(config, arrays, layer.is_sum, layer.sees_zeros)


def fold_within(layer: Residual, single: bool = False) -> Folded:
    """Return a residual layer whose inner layers and shortcut are folded, each for themselves."""
    # Dropout, which is nothing in prediction, stays where there is nothing else.
    inner = fold(layer.inner, single) or [alone(layer.inner[0])]
    beside = [] if layer.shortcut is None else fold([layer.shortcut], single)
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
