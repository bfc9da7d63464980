"""Layers, as users write them down; a `Network` holds copies that carry its parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pycnn._checks import look_up
from pycnn._public import names_of
from pycnn.exceptions import DataError
from pycnn.layers._base import Layer, check_list
from pycnn.layers._composite import Residual
from pycnn.layers._convolution import Conv1D, Conv2D
from pycnn.layers._dense import Dense
from pycnn.layers._dropout import Dropout, SpatialDropout
from pycnn.layers._normalization import BatchNorm, LayerNorm
from pycnn.layers._padding import ZeroPadding2D
from pycnn.layers._pool import (
    AveragePool1D,
    AveragePool2D,
    GlobalAveragePool1D,
    GlobalAveragePool2D,
    GlobalMaxPool1D,
    GlobalMaxPool2D,
    MaxPool1D,
    MaxPool2D,
)
from pycnn.layers._rescale import Rescale
from pycnn.layers._shape import Flatten, Reshape

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "AveragePool1D",
    "AveragePool2D",
    "BatchNorm",
    "Conv1D",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAveragePool1D",
    "GlobalAveragePool2D",
    "GlobalMaxPool1D",
    "GlobalMaxPool2D",
    "Layer",
    "LayerNorm",
    "MaxPool1D",
    "MaxPool2D",
    "Rescale",
    "Reshape",
    "Residual",
    "SpatialDropout",
    "ZeroPadding2D",
]
__dir__ = names_of(__name__)

_KINDS: dict[str, type[Layer]] = {
    layer.kind: layer
    for layer in (
        *(Dense, Dropout, SpatialDropout, BatchNorm, LayerNorm, Residual, Flatten, Reshape),
        *(Rescale, Conv1D, Conv2D, MaxPool1D, MaxPool2D, AveragePool1D, AveragePool2D),
        *(GlobalMaxPool1D, GlobalMaxPool2D, GlobalAveragePool1D, GlobalAveragePool2D),
        ZeroPadding2D,
    )
}


def check_layers(layers: Any) -> list[Layer]:
    """Return the layers of a network as a list, or raise `DataError`, `DataTypeError`."""
    found = check_list(layers, "the output layer")
    if not found[-1].can_be_last:
        raise DataError(
            f"the last layer must not be {type(found[-1]).__name__}: nothing would learn from what "
            "it drops"
        )
    return found


def from_config(
    config: dict[str, Any], rebuild: Callable[[dict[str, Any]], Layer] | None = None
) -> Layer:
    """Rebuild a layer from its `config`; by `rebuild`, where it is given, those within it."""
    settings = dict(config)
    kind = look_up(settings.pop("kind", None), _KINDS, "layer kind")
    return kind.rebuilt(settings, rebuild or from_config)
