"""A small neural-network library: a core in plain C, a Pythonic face.

>>> import pycnn
>>> from pycnn import Dense, Network, SGD
>>> net = Network(64, [Dense(32, "relu"), Dense(10, "softmax")], seed=0)
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from pycnn import (
    activations,
    exceptions,
    initializers,
    layers,
    losses,
    optimizers,
    schedules,
)
from pycnn._config import config, get_include, show_config
from pycnn._data.tokens import Tokens
from pycnn._public import names_of as _names_of
from pycnn._threads import get_num_threads, set_num_threads
from pycnn._version import __version__
from pycnn.exceptions import PycnnError
from pycnn.history import History
from pycnn.layers import BatchNorm, Dense, Dropout, LayerNorm, Residual, SpatialDropout
from pycnn.network import Network, from_onnx, load
from pycnn.optimizers import LBFGS, SGD, Adagrad, Adam, AdamW, RMSprop, Rprop

if _TYPE_CHECKING:
    from pycnn import augmentation, callbacks, datasets, metrics, plot, text
    from pycnn._gradient_check import gradient_check
    from pycnn._io.weights import from_keras, from_torch
    from pycnn._perceptron import from_sklearn
    from pycnn.callbacks import Callback
    from pycnn.layers import (
        GRU,
        LSTM,
        AveragePool1D,
        AveragePool2D,
        Bidirectional,
        Conv1D,
        Conv2D,
        Embedding,
        Flatten,
        GlobalAveragePool1D,
        GlobalAveragePool2D,
        GlobalMaxPool1D,
        GlobalMaxPool2D,
        MaxPool1D,
        MaxPool2D,
        MultiHeadAttention,
        PositionEmbedding,
        Rescale,
        Reshape,
        SimpleRNN,
        TiedDense,
        TransformerBlock,
        ZeroPadding2D,
    )
    from pycnn.table import Table
    from pycnn.trace import Trace

__all__ = [
    "GRU",
    "LBFGS",
    "LSTM",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "AveragePool1D",
    "AveragePool2D",
    "BatchNorm",
    "Bidirectional",
    "Callback",
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
    "History",
    "LayerNorm",
    "MaxPool1D",
    "MaxPool2D",
    "MultiHeadAttention",
    "Network",
    "PositionEmbedding",
    "PycnnError",
    "RMSprop",
    "Rescale",
    "Reshape",
    "Residual",
    "Rprop",
    "SimpleRNN",
    "SpatialDropout",
    "Table",
    "TiedDense",
    "Tokens",
    "Trace",
    "TransformerBlock",
    "ZeroPadding2D",
    "__version__",
    "activations",
    "augmentation",
    "callbacks",
    "config",
    "datasets",
    "exceptions",
    "from_keras",
    "from_onnx",
    "from_sklearn",
    "from_torch",
    "get_include",
    "get_num_threads",
    "gradient_check",
    "initializers",
    "layers",
    "load",
    "losses",
    "metrics",
    "optimizers",
    "plot",
    "schedules",
    "set_num_threads",
    "show_config",
    "text",
]
__dir__ = _names_of(__name__)


def __getattr__(name: str) -> _Any:
    # What not every program needs is imported when it is asked for.
    if name in layers.__all__:
        return getattr(layers, name)
    if name == "Callback":
        from pycnn.callbacks import Callback

        return Callback
    if name == "Table":
        from pycnn.table import Table

        return Table
    if name == "Trace":
        from pycnn.trace import Trace

        return Trace
    if name == "augmentation":
        import pycnn.augmentation as augmentation

        return augmentation
    if name == "callbacks":
        import pycnn.callbacks as callbacks

        return callbacks
    if name == "datasets":
        import pycnn.datasets as datasets

        return datasets
    if name in ("from_keras", "from_torch"):
        import pycnn._io.weights as weights

        return getattr(weights, name)
    if name == "from_sklearn":
        from pycnn._perceptron import from_sklearn

        return from_sklearn
    if name == "gradient_check":
        from pycnn._gradient_check import gradient_check

        return gradient_check
    if name == "metrics":
        import pycnn.metrics as metrics

        return metrics
    if name == "plot":
        import pycnn.plot as plot

        return plot
    if name == "text":
        import pycnn.text as text

        return text
    from pycnn._checks import suggest

    # Names of other libraries, as MaxPooling2D, are near to ours.
    hint = "" if name.startswith("_") else suggest(name, __all__)
    raise AttributeError(f"module 'pycnn' has no attribute {name!r}{hint}")
