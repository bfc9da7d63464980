"""The peers: each does the same workload with another library, behind one small interface."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.workloads import Array, Workload

# Largest difference of results, relative to the largest of them, that counts as agreement.
TOLERANCE = 1e-9

# What the command line calls a peer: its module here, and its class.
PEERS = {
    "pycnn": "pycnn_peer.Pycnn",
    "pycnn-bound": "pycnn_peer.PycnnBound",
    "numpy": "numpy_peer.NumPy",
    "scipy-blas": "scipy_blas_peer.SciPyBLAS",
    "sklearn": "sklearn_peer.ScikitLearn",
    "torch": "torch_peer.TorchEager",
    "torch-compiled": "torch_peer.TorchCompiled",
    "jax": "jax_peer.Jax",
    "onnxruntime": "onnxruntime_peer.OnnxRuntime",
    "onnxruntime-bound": "onnxruntime_peer.OnnxRuntimeBound",
    "fann": "fann_peer.Fann",
}


class Task(NamedTuple):
    """What every peer is given."""

    workload: Workload
    parameters: list[tuple[Array, Array]]  # W (n_l, n_{l-1}) and b (n_l,) of each layer: to copy
    X: Array
    y: Array | NDArray[np.int64]
    threads: int

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

    @classmethod
    def refuses(cls, workload: Workload) -> str | None:
        """Say why this peer does not take part in a workload; None if it does."""
        return None

    @abstractmethod
    def __init__(self, task: Task) -> None: ...

    @abstractmethod
    def run(self, epochs: int) -> None:
        """Train, or predict, for some epochs more; return when all is done."""

    @abstractmethod
    def result(self) -> Array:
        """Return the parameters, laid out as pycnn's, or the last batch's prediction."""

    def check(self, reference: Array) -> tuple[bool, str]:
        """Compare the result of the first epoch with pycnn's: whether it is right, and a remark."""
        result = self.result()
        if result.shape != reference.shape:
            return False, f"has shape {result.shape}, not {reference.shape}"
        error = float(np.abs(result - reference).max() / np.abs(reference).max())
        return error <= TOLERANCE, f"{error:.0e}"


def flatten(parameters: list[tuple[Array, Array]]) -> Array:
    """Lay parameters out as pycnn does: W^[1], b^[1], W^[2], ..."""
    return np.concatenate([np.ravel(part) for layer in parameters for part in layer])


def load(name: str) -> type[Peer]:
    """Import a peer.

    Raises
    ------
    ImportError, OSError
        If its library is not installed.
    """
    module, _, kind = PEERS[name].partition(".")
    return getattr(importlib.import_module(f"benchmarks.peers.{module}"), kind)
