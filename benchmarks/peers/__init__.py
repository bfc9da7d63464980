"""The peers: each does the same workload with another library, behind one small interface."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.workloads import Array, Workload
    from pycnn import Network

# Largest difference that counts as agreement: of parameters relative to how far they have moved, of
# predictions relative to the largest. Single precision is held to what it can give.
TOLERANCE = {"float64": 1e-9, "float32": 2e-3}

# What the command line calls a peer: its module here, and its class.
PEERS = {
    "pycnn": "pycnn_peer.Pycnn",
    "pycnn-bound": "pycnn_peer.PycnnBound",
    "pycnn-frozen": "pycnn_peer.PycnnFrozen",
    "numpy": "numpy_peer.NumPy",
    "scipy-blas": "scipy_blas_peer.SciPyBLAS",
    "sklearn": "sklearn_peer.ScikitLearn",
    "torch": "torch_peer.TorchEager",
    "torch-compiled": "torch_peer.TorchCompiled",
    "jax": "jax_peer.Jax",
    "jax-by-hand": "jax_peer.JaxByHand",
    "keras": "keras_peer.Keras",
    "onnxruntime": "onnxruntime_peer.OnnxRuntime",
    "onnxruntime-bound": "onnxruntime_peer.OnnxRuntimeBound",
    "fann": "fann_peer.Fann",
    "torch-float32": "torch_peer.TorchSingle",
    "jax-float32": "jax_peer.JaxSingle",
    "keras-float32": "keras_peer.KerasSingle",
    "onnxruntime-float32": "onnxruntime_peer.OnnxRuntimeSingle",
}


class Task(NamedTuple):
    """What every peer is given."""

    workload: Workload
    net: Network  # with the parameters that all start with; nobody changes them
    X: Array
    y: Array | NDArray[np.int64]
    threads: int

    @property
    def parameters(self) -> list[tuple[Array, Array]]:
        """W (n_l, n_{l-1}) and b (n_l,) of each layer, where all are dense: to copy."""
        return [(layer.W, layer.b) for layer in self.net.layers]

    def batches(self) -> list[slice]:
        """Return the rows of each mini-batch."""
        size = self.workload.batch
        return [slice(at, at + size) for at in range(0, self.workload.rows, size)]

    def copied_parameters(self) -> list[tuple[Array, Array]]:
        """Return parameters of one's own."""
        return [(W.copy(), b.copy()) for W, b in self.parameters]


class Peer(ABC):
    """One library, doing one workload.

    Parameters
    ----------
    task : Task
        Preparations belong into the constructor and into the first `run`: neither is timed.
    """

    title: ClassVar[str]
    precision: ClassVar[str] = "float64"
    families: ClassVar[tuple[str, ...]] = ("rows",)  # of workloads that it takes part in

    @classmethod
    def refuses(cls, workload: Workload) -> str | None:
        """Say why this peer does not take part in a workload; None if it does."""
        return None

    @classmethod
    def check_family(cls, workload: Workload) -> str | None:
        """Say, as `refuses`, that the peer takes part in others only."""
        if workload.family in cls.families:
            return cls.refuses(workload)
        return "for images and sequences" if workload.family == "rows" else "for rows"

    @abstractmethod
    def __init__(self, task: Task) -> None:
        self.task = task

    @abstractmethod
    def run(self, epochs: int) -> None:
        """Train, or predict, for some epochs more; return when all is done."""

    @abstractmethod
    def result(self) -> Array:
        """Return the parameters, laid out as pycnn's, or the last batch's prediction."""

    def check(self, reference: Array) -> tuple[bool, str]:
        """Compare the result of the first epoch with pycnn's: whether it is right, and a remark."""
        result, task = self.result(), self.task
        if result.shape != reference.shape:
            return False, f"has shape {result.shape}, not {reference.shape}"
        moved = task.net.parameters if task.workload.training else 0.0
        error = float(np.abs(result - reference).max() / np.abs(reference - moved).max())
        return error <= TOLERANCE[self.precision], f"{error:.0e}"


def flatten(parameters: list[tuple[Array, Array]]) -> Array:
    """Lay parameters out as pycnn does: W^[1], b^[1], W^[2], ..."""
    return np.concatenate([np.ravel(part) for layer in parameters for part in layer])


def flatten_named(net: Network, tensors: list[dict[str, Array]]) -> Array:
    """Lay out, as pycnn does, the arrays of each layer that a peer has by pycnn's names."""
    pairs = zip(net.layers, tensors, strict=True)
    return np.concatenate([np.ravel(own[name]) for layer, own in pairs for name in layer.tensors])


def load(name: str) -> type[Peer]:
    """Import a peer.

    Raises
    ------
    ImportError, OSError
        If its library is not installed.
    """
    module, _, kind = PEERS[name].partition(".")
    return getattr(importlib.import_module(f"benchmarks.peers.{module}"), kind)
