"""Model files: safetensors, data only.

Tensors ``layers.1.W``, ``layers.1.b``, ... (of the normalizations ``gamma``, ``beta``, and what
training has counted); all else is JSON in the file's metadata, with a
checksum over both.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn import _state, losses
from pycnn._checks import check_real, check_size
from pycnn._data import as_names
from pycnn._random import check_seed
from pycnn._version import __version__
from pycnn.exceptions import DataError, DataTypeError, ModelFileError, PycnnError
from pycnn.layers import from_config

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pycnn.network import Network

FORMAT = 1
_BINARY = getattr(os, "O_BINARY", 0)  # Windows


def _pack_classes(classes: NDArray[Any] | None) -> dict[str, Any] | None:
    if classes is None:
        return None
    values = classes
    if classes.dtype.kind == "M":
        values = classes.astype(str)
    elif classes.dtype.kind == "S":
        values = np.char.decode(classes, "latin-1")
    return {"dtype": classes.dtype.str, "values": values.tolist()}


def _unpack_classes(packed: Any, count: int) -> NDArray[Any] | None:
    if packed is None:
        return None
    dtype = np.dtype(packed["dtype"])
    values = packed["values"]
    if (
        (dtype.kind not in "biufUSM" or dtype.str != packed["dtype"])
        or (dtype.itemsize > 1 << 20)  # a label of 1 MB: the file is not ours
        or (not isinstance(values, list) or len(values) != count)
    ):
        raise ValueError("classes")
    if dtype.kind == "S":
        values = [value.encode("latin-1") for value in values]
    classes = np.array(values, dtype=dtype)
    if classes.shape != (count,) or not (classes[1:] > classes[:-1]).all():
        raise ValueError("classes")
    return classes


def _checksum(
    description: dict[str, Any],
    parameters: NDArray[np.float64],
    others: Mapping[str, NDArray[Any]] = MappingProxyType({}),
) -> str:
    text = json.dumps(description, sort_keys=True, ensure_ascii=True)
    digest = hashlib.sha256(text.encode("ascii"))
    digest.update(parameters.astype("<f8").tobytes())
    for name, tensor in sorted(others.items()):
        digest.update(f"{name} {tensor.dtype.str} {tensor.shape}".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()


def save(network: Network, path: str | os.PathLike[str], training_state: bool) -> None:
    """Write a network to `path`, as a whole or not at all."""
    from safetensors.numpy import save as to_bytes

    state = network.__getstate__()
    parameters = state.pop("parameters").copy()
    training = state.pop("training")
    of_training: dict[str, NDArray[Any]] = {}
    if training_state:
        if training is None:
            raise DataError("training_state=True needs a network that has been trained")
        state["training"], of_training = _state.pack(training)
    state["classes"] = _pack_classes(state["classes"])
    if state["feature_names"] is None:
        del state["feature_names"]
    del state["backend"], state["loss_function"]
    description = {"format": FORMAT, "version": __version__, **state}
    if not isinstance(description["metadata"], dict):
        raise DataTypeError(f"metadata must be a dict, got {description['metadata']!r}")
    try:
        description["sha256"] = _checksum(description, parameters, of_training)
        text = json.dumps(description, sort_keys=True, allow_nan=False)
        if json.loads(text)["metadata"] != description["metadata"]:
            raise ValueError("keys must be strings, and sequences lists")
    except (TypeError, ValueError, RecursionError) as error:
        raise DataTypeError(f"metadata must hold plain data that JSON can keep: {error}") from None
    tensors = of_training | {
        f"layers.{number}.{name}": view.copy()
        for number, layer in enumerate(network.layers, start=1)
        for name, view in layer.tensors.items()
    }
    write_whole(Path(path), to_bytes(tensors, {"pycnn": text}))


def write_whole(path: Path, content: bytes) -> None:
    """Write beside `path`, sync, rename: a crash leaves the old file or the new one."""
    if path.exists() and not path.is_file():  # a device or a pipe holds nothing to keep
        with open(path, "wb") as file:
            file.write(content)
        return
    target = path.resolve()  # through a link: the file behind it is replaced, not the link
    temporary = target.with_name(f".{target.name[:32]}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        # 0o666 less the umask, as any new file; a file that is replaced keeps its permissions.
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            os.chmod(temporary, target.stat().st_mode & 0o777)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    if os.name == "posix":  # the rename itself must reach the disk too
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what `Network.__setstate__` takes, but for the backend; see `pycnn.load`."""
    from safetensors import SafetensorError, safe_open

    path = os.fsdecode(path)
    with open(path, "rb"):  # for the plain OSError of a file that is not there
        pass
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelFileError(f"{path} is not an intact safetensors file: {error}") from None
    if "pycnn" not in metadata:
        raise ModelFileError(f"{path} is a safetensors file, but not a pycnn model")
    try:
        description = json.loads(metadata["pycnn"])
        found = description["format"]
        if found != FORMAT:
            raise ModelFileError(
                f"{path} has format {found!r}; this pycnn {__version__} reads format {FORMAT}"
            )
        return _check_state(description, tensors)
    except ModelFileError:
        raise
    except (
        *(PycnnError, ValueError, TypeError, KeyError, IndexError, AttributeError),
        *(ArithmeticError, RecursionError, MemoryError),
    ) as error:
        raise ModelFileError(f"{path} is damaged or was altered: {error}") from None


def _check_state(description: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the network's state, after checking every part of it."""
    expected = dict(description)
    stated = expected.pop("sha256")
    inputs = check_size(description["inputs"], "inputs")
    layers = [from_config(config) for config in description["layers"]]
    loss = losses.from_config(description["loss"], layers[-1].activation)
    parts: list[NDArray[np.float64]] = []
    statistics: list[NDArray[np.float64]] = []
    fan_in = inputs
    for number, layer in enumerate(layers, start=1):
        for into, shapes in (
            (parts, layer.shapes(fan_in)),
            (statistics, layer.statistic_shapes(fan_in)),
        ):
            for name, shape in shapes.items():
                tensor = tensors.pop(f"layers.{number}.{name}")
                if tensor.shape != shape or tensor.dtype != np.float64:
                    raise ValueError(f"layers.{number}.{name} must be float64 of shape {shape}")
                into.append(tensor.ravel())
        fan_in = layer.width(fan_in)
    of_training = {
        name: tensors.pop(name) for name in list(tensors) if name.startswith("training.")
    }
    if tensors:
        raise ValueError(f"unexpected tensors: {', '.join(tensors)}")
    parameters = np.concatenate(parts + statistics)
    if _checksum(expected, parameters, of_training) != stated:
        raise ValueError("the checksum does not match")
    training = None
    if "training" in description:
        training = _state.unpack(description["training"], of_training, parameters.size)
    if of_training:
        raise ValueError(f"unexpected tensors: {', '.join(of_training)}")
    if not isinstance(description["metadata"], dict):
        raise TypeError("metadata")
    seed, epochs_trained = (description[name] for name in ("seed", "epochs_trained"))
    if not isinstance(seed, int) or not isinstance(epochs_trained, int) or epochs_trained < 0:
        raise ValueError("seed, epochs_trained")
    names = description.get("feature_names")  # in a file of a network that has been fitted to them
    two = losses.targets(losses.name_of(loss)) in ("binary", "signs")
    class_count = 2 if two else fan_in
    return {
        "inputs": inputs,
        "layers": description["layers"],
        "loss": losses.to_config(loss),
        "l1": check_real(description.get("l1", 0.0), "l1", at_least=0),
        "l2": check_real(description.get("l2", 0.0), "l2", at_least=0),
        "seed": check_seed(seed),
        "classes": _unpack_classes(description["classes"], class_count),
        "feature_names": as_names(names, inputs) if names is not None else None,
        "epochs_trained": epochs_trained,
        "metadata": description["metadata"],
        "parameters": parameters,
        "training": training,
    }
