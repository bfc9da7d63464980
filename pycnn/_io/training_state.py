"""A training's state in a model file: pycnn's checkpoints as JSON and tensors, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn._checks import check_bool, check_real
from pycnn._training.checkpoint import LARGEST_COUNT, RUNNING
from pycnn.exceptions import DataTypeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pycnn._typing import AnyArray, Array, Shape

_COUNTS = ("epoch", "position", "updates", "epochs_trained")
_KEYS = {*_COUNTS, "settings", "learning_rate_factor", "history", "callbacks"}


def pack(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, AnyArray]]:
    """Return `Checkpoint.plain`'s values as what JSON can keep, and tensors.

    Raises
    ------
    DataError, DataTypeError
        If the history or a callback's state is of another kind, or the learning rate's factor not
        finite.
    """
    description = {key: values[key] for key in _COUNTS}
    description["settings"] = values["settings"]
    factor = check_real(values["learning_rate_factor"], "learning_rate_factor")
    description["learning_rate_factor"] = factor
    description["history"] = list(values["history"])
    tensors = {"running": values["running"], "slots": values["slots"]}
    if values["theta"] is not None:
        tensors["theta"] = values["theta"]
    if values["start"]:  # amid a sequence
        description["start"] = values["start"]
        tensors["carried"] = values["carried"]
    for name, series in values["history"].items():
        try:
            tensors[f"history.{name}"] = np.array(series, dtype=np.float64)
        except (TypeError, ValueError):
            raise DataTypeError(f"history[{name!r}] must hold numbers to be kept") from None
    description["callbacks"] = []
    for number, entry in enumerate(values["callbacks"]):
        packed = _pack_callback(entry["state"], entry["name"], number, tensors)
        description["callbacks"].append({**entry, "state": packed})
    return description, {f"training.{name}": tensor for name, tensor in tensors.items()}


def _pack_callback(
    state: Mapping[str, Any] | None, name: str, number: int, tensors: dict[str, AnyArray]
) -> dict[str, Any] | None:
    from pycnn._plain import to_text  # json: imported when used

    if state is None:
        return None
    arrays = [key for key, value in state.items() if isinstance(value, np.ndarray)]
    numbers = {
        key: value.item() if isinstance(value, np.generic) else value
        for key, value in state.items()
        if key not in arrays
    }
    try:
        to_text(numbers | dict.fromkeys(arrays))
        for key in arrays:
            if state[key].dtype.kind not in "biuf" or state[key].dtype.itemsize > 8:
                raise ValueError(f"{key} is an array of {state[key].dtype}")
    except ValueError as error:
        raise DataTypeError(
            f"the state of {name} must hold plain data that JSON can keep, or arrays of numbers: "
            f"{error}"
        ) from None
    for key in arrays:
        little = state[key].dtype.newbyteorder("<")
        tensors[f"callbacks.{number}.{key}"] = np.asarray(state[key], dtype=little, order="C")
    return {"plain": numbers, "arrays": arrays}


def unpack(description: Any, tensors: dict[str, AnyArray], parameters: int) -> dict[str, Any]:
    """Return what `pack` has packed, after checking every part of it; `tensors` gets empty.

    Whether it fits the arguments of the fit that goes on is checked there. Numbers may be infinite
    or NaN: so may those of a training that goes on without a file.
    """
    if set(description) - {"start"} != _KEYS:
        raise ValueError("training")
    values = {key: check_count(description[key], key) for key in _COUNTS}
    epoch = values["epoch"]
    settings = description["settings"]
    if not isinstance(settings, dict) or settings.get("by") not in ("fit", "partial_fit"):
        raise ValueError("training: settings")
    if not isinstance(settings.get("optimizer"), dict):
        raise ValueError("training: settings of the optimizer")

    def take(name: str, shape: Shape | None = None) -> Array:
        tensor = tensors.pop(f"training.{name}")
        if tensor.dtype != np.float64 or (shape is not None and tensor.shape != shape):
            raise ValueError(f"training.{name} must be float64 of shape {shape}")
        return tensor.copy()

    history = {}
    for name in description["history"]:
        if not isinstance(name, str) or name in history:
            raise ValueError("training: history")
        series = take(f"history.{name}")
        if series.ndim != 1 or len(series) > epoch:
            raise ValueError(f"training.history.{name} is longer than {epoch} epochs")
        history[name] = series.tolist()
    # This bounds the epochs of a fit by what the file really holds.
    if settings["by"] == "fit" and len(history.get("loss", [])) != epoch:
        raise ValueError("training: the history must have a loss for each epoch")
    theta = take("theta", (parameters,)) if "training.theta" in tensors else None
    start = check_count(description.get("start", 0), "start")
    return {
        **values,
        "start": start,
        "carried": take("carried") if start else None,
        "settings": settings,
        "learning_rate_factor": check_real(
            description["learning_rate_factor"], "learning_rate_factor"
        ),
        "history": history,
        "callbacks": [
            _unpack_callback(entry, number, tensors)
            for number, entry in enumerate(description["callbacks"])
        ],
        "running": take("running", (RUNNING,)),
        "slots": take("slots"),
        "theta": theta,
    }


def check_count(value: Any, name: str) -> int:
    """Return a count in a file, or raise `ValueError`."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_COUNT:
        raise ValueError(f"{name} must be a count, got {value!r}")
    return value


def _unpack_callback(entry: Any, number: int, tensors: dict[str, AnyArray]) -> dict[str, Any]:
    if not isinstance(entry["name"], str):
        raise ValueError("training: callbacks")
    told = check_bool(entry["told"], "told")
    state = None
    if entry["state"] is not None:
        plain, arrays = entry["state"]["plain"], entry["state"]["arrays"]
        if not isinstance(plain, dict) or set(plain) & set(arrays):
            raise ValueError("training: callbacks")
        state = dict(plain)
        for key in arrays:
            state[key] = tensors.pop(f"training.callbacks.{number}.{key}").copy()
    return {"name": entry["name"], "state": state, "told": told}
