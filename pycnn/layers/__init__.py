"""Layers, as users write them down; a `Network` holds copies that carry its parameters."""

from __future__ import annotations

from typing import Any

from pycnn._checks import look_up
from pycnn._public import names_of
from pycnn.exceptions import DataError, DataTypeError
from pycnn.layers._base import Layer
from pycnn.layers._dense import Dense
from pycnn.layers._dropout import Dropout
from pycnn.layers._normalization import BatchNorm, LayerNorm

__all__ = ["BatchNorm", "Dense", "Dropout", "Layer", "LayerNorm"]
__dir__ = names_of(__name__)

_KINDS: dict[str, type[Layer]] = {
    layer.kind: layer for layer in (Dense, Dropout, BatchNorm, LayerNorm)
}


def check_layers(layers: Any) -> list[Layer]:
    """Return the layers of a network as a list, or raise `DataError`, `DataTypeError`."""
    if isinstance(layers, Layer):
        raise DataTypeError("layers must be a list of layers such as [Dense(10)], got one layer")
    try:
        specs = list(layers)
    except TypeError:
        raise DataTypeError(f"layers must be a list of layers, got {layers!r}") from None
    if not specs:
        raise DataError("layers must hold at least the output layer")
    for spec in specs:
        if not isinstance(spec, Layer):
            raise DataTypeError(f"layers must hold layers such as Dense(10), got {spec!r}")
    if not specs[-1].can_be_last:
        raise DataError(
            f"the last layer must not be {type(specs[-1]).__name__}: nothing would learn from what "
            "it drops"
        )
    return specs


def from_config(config: dict[str, Any]) -> Layer:
    """Rebuild a layer from its `config`."""
    settings = dict(config)
    return look_up(settings.pop("kind", None), _KINDS, "layer kind")(**settings)
