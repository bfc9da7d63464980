"""Callbacks: code of the user's own that runs between epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from pycnn.exceptions import DataTypeError

if TYPE_CHECKING:
    from pycnn.network import Network

__all__ = ["Callback"]


class Callback:
    """Base: override what you need.

    Setting ``network.stop_training = True`` ends training after the present epoch. `Network.fit`
    also takes plain functions ``f(network, epoch, logs)``, called at the end of each epoch.
    """

    def on_train_begin(self, network: Network) -> None:
        """Run before the first epoch."""

    def on_epoch_begin(self, network: Network, epoch: int) -> None:
        """Run before an epoch; epochs count from 1."""

    def on_epoch_end(self, network: Network, epoch: int, logs: dict[str, float]) -> None:
        """Run after an epoch; `logs` has what `History` gets: ``loss``, ``val_loss``, ..."""

    def on_train_end(self, network: Network) -> None:
        """Run after the last epoch; not after an exception."""


class _FunctionCallback(Callback):
    def __init__(self, function: Callable[[Network, int, dict[str, float]], Any]) -> None:
        self.function = function

    def on_epoch_end(self, network: Network, epoch: int, logs: dict[str, float]) -> None:
        self.function(network, epoch, logs)


def as_callbacks(callbacks: Any) -> list[Callback]:
    """Return a list of callbacks from None, one, or an iterable of callbacks and functions."""
    if callbacks is None:
        return []
    if isinstance(callbacks, Callback) or not isinstance(callbacks, Iterable):
        callbacks = [callbacks]
    result: list[Callback] = []
    for item in callbacks:
        if isinstance(item, Callback):
            result.append(item)
        elif callable(item) and not isinstance(item, type):
            result.append(_FunctionCallback(item))
        else:
            raise DataTypeError(
                "callbacks must hold Callback objects or functions f(network, epoch, logs), "
                f"got {item!r}"
            )
    return result
