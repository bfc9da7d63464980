"""Layers, as users write them down; a `Network` holds copies that carry its parameters."""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any

from pycnn._checks import look_up
from pycnn._public import names_of
from pycnn.exceptions import DataError
from pycnn.layers._base import Layer, check_list
from pycnn.layers._composite import Residual
from pycnn.layers._dense import Dense
from pycnn.layers._dropout import Dropout, SpatialDropout
from pycnn.layers._normalization import BatchNorm, LayerNorm

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycnn.layers._attention import MultiHeadAttention, TransformerBlock
    from pycnn.layers._convolution import Conv1D, Conv2D
    from pycnn.layers._embedding import Embedding, PositionEmbedding, TiedDense
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
    from pycnn.layers._recurrent import GRU, LSTM, Bidirectional, SimpleRNN
    from pycnn.layers._rescale import Rescale
    from pycnn.layers._shape import Flatten, Reshape

__all__ = [
    "GRU",
    "LSTM",
    "AveragePool1D",
    "AveragePool2D",
    "BatchNorm",
    "Bidirectional",
    "Conv1D",
    "Conv2D",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalAveragePool1D",
    "GlobalAveragePool2D",
    "GlobalMaxPool1D",
    "GlobalMaxPool2D",
    "Layer",
    "LayerNorm",
    "MaxPool1D",
    "MaxPool2D",
    "MultiHeadAttention",
    "PositionEmbedding",
    "Rescale",
    "Reshape",
    "Residual",
    "SimpleRNN",
    "SpatialDropout",
    "TiedDense",
    "TransformerBlock",
    "ZeroPadding2D",
]
__dir__ = names_of(__name__)


def __getattr__(name: str) -> Any:
    # What a network of rows does without is imported when it is asked for.
    module: Any
    if name in ("Conv1D", "Conv2D"):
        from pycnn.layers import _convolution as module
    elif name in ("Flatten", "Reshape"):
        from pycnn.layers import _shape as module
    elif name == "Rescale":
        from pycnn.layers import _rescale as module
    elif name in ("MultiHeadAttention", "TransformerBlock"):
        from pycnn.layers import _attention as module
    elif name in ("Embedding", "PositionEmbedding", "TiedDense"):
        from pycnn.layers import _embedding as module
    elif name in ("Bidirectional", "GRU", "LSTM", "SimpleRNN"):
        from pycnn.layers import _recurrent as module
    elif name == "ZeroPadding2D":
        from pycnn.layers import _padding as module
    elif name in __all__:
        from pycnn.layers import _pool as module
    else:
        raise AttributeError(f"module 'pycnn.layers' has no attribute {name!r}")
    return getattr(module, name)


@cache
def _kinds() -> dict[str, type[Layer]]:
    layers: list[type[Layer]] = [getattr(sys.modules[__name__], name) for name in __all__]
    return {layer.kind: layer for layer in layers if layer is not Layer}


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
    kind = look_up(settings.pop("kind", None), _kinds(), "layer kind")
    return kind.rebuilt(settings, rebuild or from_config)
