"""Model files: safetensors, data only.

Tensors ``layers.1.W``, ``layers.1.b``, ... (of the normalizations ``gamma``, ``beta``, and what
training has counted); all else is JSON in the file's metadata, under ``pycnn``, and beside it,
under ``sha256``, a checksum of the whole file. docs/model_files.md tells it to other programs.

What a model file is, `_check_state` says alone: `save` asks it before anything is written.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from pycnn import _plain, losses
from pycnn._architecture import Architecture
from pycnn._checks import check_real
from pycnn._data.arrays import as_names
from pycnn._data.scaling import TargetScale, check_can_scale
from pycnn._data.tokens import check_inputs, plain_inputs
from pycnn._files import write_whole
from pycnn._io import safetensors_file
from pycnn._io.training_state import check_count, pack, unpack
from pycnn._random import check_seed
from pycnn._version import __version__
from pycnn.exceptions import DataError, DataTypeError, ModelFileError, PycnnError
from pycnn.layers import check_layers, from_config

if TYPE_CHECKING:
    from pycnn._model import Model
    from pycnn._typing import AnyArray, Array
    from pycnn.layers import Layer

FORMAT = 1
# Of files with what 0.1 does not know: a target_scale, without which outputs would be in another
# unit; samples with a shape; other layers than these.
NEWER_FORMAT = 2
_KINDS_OF_0_1 = {"dense", "dropout", "batch_norm", "layer_norm"}
# What the digits of a file's checksum are while it is computed, and what stands before them: within
# a text of the header a quote has a backslash before it, so this is there once.
_ZEROS, _MARK = b"0" * 64, b'"sha256":"'
# What stands in a file as it does in `Network.__getstate__`.
_PLAIN = ("inputs", "layers", "loss", "l1", "l2", "seed", "epochs_trained", "metadata")
# Layers of a file: far more than anybody trains, and few enough to be made in a moment.
MOST_LAYERS = 10_000
# What a check of things that are not as they should be may raise.
FAULTS = (
    *(PycnnError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
    RecursionError,
)

# ------------------------------------------------------------------ labels

_LABELS = re.compile(
    r"\|b1|[<>|][iu][1248]|[<>]f[248]|[<>|][US][1-9]\d{0,8}"
    r"|[<>]M8\[(\d{1,9})?(Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\]"
)
_DATE = re.compile(r"-?\d{1,20}(-\d\d){0,2}(T\d\d(:\d\d){0,2}(\.\d{1,18})?)?")
_TYPES: dict[str, type] = {"b": bool, "i": int, "u": int, "f": float, "U": str, "S": str, "M": str}
# Bytes of texts that are all as wide as the longest: so many in any case, and for each character.
_FREE, _PER_CHARACTER = 1 << 24, 8


def pack_classes(classes: Any, count: int) -> dict[str, Any]:
    """Return labels as plain data.

    Raises
    ------
    DataTypeError
        If they would not come back as they are.
    """
    try:
        narrow = classes
        if classes.dtype.kind in "UST":  # T: of variable width
            narrow = np.array(classes.tolist(), "S" if classes.dtype.kind == "S" else "U")
        packed = {"dtype": narrow.dtype.str, "values": _values(narrow)}
        if not np.array_equal(unpack_classes(packed, count), classes):
            raise ValueError("they would not come back as they are")
    except FAULTS as error:
        raise DataTypeError(
            f"classes must be {count} different labels in their order, numbers of at most 64 bits, "
            f"strings, bytes or dates, got {getattr(classes, 'dtype', classes)!r}: {error}"
        ) from None
    return packed


def unpack_classes(packed: Any, count: int) -> AnyArray:
    """Return the labels that `pack_classes` has packed."""
    name, values = packed["dtype"], packed["values"]
    if not _LABELS.fullmatch(name) or not isinstance(values, list) or len(values) != count:
        raise ValueError(f"classes: {count} of dtype {name}")
    dtype = np.dtype(name)
    if not all(type(value) is _TYPES[dtype.kind] for value in values):
        raise ValueError(f"classes: not all are of dtype {name}")
    if dtype.kind in "US":
        most = _FREE + _PER_CHARACTER * sum(map(len, values))
        if dtype.itemsize * count > most:
            raise ValueError(f"classes: labels that take {dtype.itemsize * count:,} bytes")
    if dtype.kind in "iu" and not all(
        np.iinfo(dtype).min <= value <= np.iinfo(dtype).max for value in values
    ):
        raise ValueError(f"classes: not all are within {name}")
    if dtype.kind == "M" and not all(map(_DATE.fullmatch, values)):
        raise ValueError("classes: not all are dates")
    if dtype.kind == "S":
        values = [value.encode("latin-1") for value in values]
    with np.errstate(over="ignore"):
        classes = np.array(values, dtype=dtype)
    if _values(classes) != packed["values"] or not (classes[1:] > classes[:-1]).all():
        raise ValueError("classes: not different labels in their order")
    return classes


def _values(classes: AnyArray) -> Any:
    if classes.dtype.kind == "M":
        return classes.astype(str).tolist()
    if classes.dtype.kind == "S":
        return [label.decode("latin-1") for label in classes.tolist()]
    return classes.tolist()


# ------------------------------------------------------------------ writing


def _seal(tensors: Mapping[str, AnyArray], text: str) -> list[Any]:
    """Return the bytes of a file with this description and its checksum."""
    header, *content = safetensors_file.write(tensors, {"pycnn": text, "sha256": _ZEROS.decode()})
    return [header.replace(_MARK + _ZEROS, _MARK + _digest([header, *content])), *content]


def _digest(pieces: Iterable[Any]) -> bytes:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest().encode()


def _checksum(
    description: dict[str, Any],
    parameters: Array,
    others: Mapping[str, AnyArray] = MappingProxyType({}),
) -> str:
    """Return the checksum that pycnn 0.1 reads, within the description, and wrote alone."""
    text = json.dumps(description, sort_keys=True, ensure_ascii=True)
    digest = hashlib.sha256(text.encode("ascii"))
    digest.update(parameters.astype("<f8").tobytes())
    for name, tensor in sorted(others.items()):
        little = tensor.astype(tensor.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name} {little.dtype.str} {tensor.shape}".encode())
        digest.update(little.tobytes())
    return digest.hexdigest()


def class_count(loss: str, outputs: int) -> int:
    return 2 if losses.targets(loss) in ("binary", "signs") else outputs


def save(network: Model, path: str | os.PathLike[str], training_state: bool) -> None:
    """Write a network to `path`, as a whole or not at all."""
    write_whole(Path(path), _to_pieces(network, training_state))


def _to_pieces(network: Model, training_state: bool) -> list[Any]:
    """Return the bytes of a model file that `read_state` will read."""
    state = network.__getstate__()
    if training_state and state["training"] is None:
        raise DataError("training_state=True needs a network that has been trained")
    if not isinstance(state["metadata"], dict):
        raise DataTypeError(f"metadata must be a dict, got {state['metadata']!r}")
    description = {"format": FORMAT, "version": __version__}
    description |= {name: state[name] for name in _PLAIN}
    classes, count = state["classes"], class_count(network.loss, network.output_shape[-1])
    description["classes"] = None if classes is None else pack_classes(classes, count)
    if state["feature_names"] is not None:
        description["feature_names"] = list(state["feature_names"])
    if state["target_scale"] is not None:
        description["target_scale"] = state["target_scale"]
    kinds = {layer["kind"] for layer in state["layers"]}
    if "target_scale" in description or len(network.input_shape) > 1 or kinds - _KINDS_OF_0_1:
        description["format"] = NEWER_FORMAT
    of_training: dict[str, AnyArray] = {}
    if training_state:
        description["training"], of_training = pack(state["training"])
    for name, value in description.items():
        try:
            _plain.to_text({name: value})
        except ValueError as error:
            raise DataTypeError(
                f"{name} must hold plain data that JSON can keep: {error}"
            ) from None
    parameters = state["parameters"]
    description["sha256"] = _checksum(description, parameters, of_training)
    tensors = dict(of_training)
    tensors |= {t.full_name: t.view(parameters) for t in network.architecture.tensors}
    text = json.dumps(description, sort_keys=True)
    try:
        pieces = _seal(tensors, text)
        _check_state(_plain.from_text(text, sum(map(len, pieces))), tensors, True)
    except FAULTS as error:
        raise DataError(f"a file cannot keep this network; load would say: {error}") from None
    return pieces


# ------------------------------------------------------------------ reading


def read_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what `Network.__setstate__` takes, but for the backend; see `pycnn.load`."""
    path = os.fsdecode(path)
    with open(path, "rb") as file:
        try:
            return _check_state(*_read(file, os.fstat(file.fileno()).st_size))
        except FAULTS as error:
            raise ModelFileError(f"{path} {shown(error)}") from None


def shown(error: Exception) -> str:
    """Return what is wrong with a file; what stands in the file itself as printable text."""
    what = "" if isinstance(error, ModelFileError) else "is damaged or was altered: "
    text = f"{what}{error}"
    short = text if len(text) <= 300 else f"{text[:300]}..."
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in short)


def _read(file: IO[bytes], size: int) -> tuple[dict[str, Any], dict[str, AnyArray], bool]:
    """Return description and tensors of a file of `size` bytes; whether their checksum is right."""
    try:
        metadata, tensors, (header, content) = safetensors_file.read(file, size)
    except ValueError as error:
        raise ModelFileError(f"is not an intact safetensors file: {error}") from None
    if "pycnn" not in metadata:
        raise ModelFileError("is a safetensors file, but not a pycnn model")
    if not metadata.keys() <= {"pycnn", "sha256"}:
        raise ValueError("unexpected metadata")
    stated = metadata.get("sha256", "").encode()
    if "sha256" in metadata and (
        len(stated) != len(_ZEROS) or _digest([header.replace(stated, _ZEROS), content]) != stated
    ):
        raise ValueError("the checksum does not match")
    description = _plain.from_text(metadata["pycnn"], size)
    found = description["format"]
    if type(found) is not int or found not in (FORMAT, NEWER_FORMAT):  # True is 1 to Python
        reads = f"this pycnn {__version__} reads formats {FORMAT} and {NEWER_FORMAT}"
        raise ModelFileError(f"has format {found!r}; {reads}")
    return description, tensors, "sha256" in metadata


def rebuilt(configs: Any) -> list[Layer]:
    """Return layers; those within others count, too, towards the most there may be."""
    numbers = itertools.count(1)

    def rebuild(config: dict[str, Any]) -> Layer:
        if next(numbers) > MOST_LAYERS:
            raise ValueError(f"layers must be a list of at most {MOST_LAYERS:,}")
        return from_config(config, rebuild)

    if not isinstance(configs, list):
        raise TypeError("layers must be a list")
    return [rebuild(config) for config in configs]


def _check_state(
    description: dict[str, Any], tensors: dict[str, AnyArray], sealed: bool
) -> dict[str, Any]:
    """Return the network's state, after checking every part of it, and if need be the checksum."""
    configs, metadata = description["layers"], description["metadata"]
    shape = check_inputs(description["inputs"])
    if description["inputs"] != plain_inputs(shape):
        raise ValueError("inputs: one number, a list of more, or a vocabulary and a length")
    layers = check_layers(rebuilt(configs))
    loss = losses.from_config(description["loss"], layers[-1].activation)
    architecture = Architecture(shape, layers, loss)
    parameters, of_training = _take_tensors(architecture, tensors)
    others = {name: value for name, value in description.items() if name != "sha256"}
    if not sealed and _checksum(others, parameters, of_training) != description["sha256"]:
        raise ValueError("the checksum does not match")
    training = None
    if "training" in description:
        training = unpack(description["training"], of_training, parameters.size)
    if of_training:
        raise ValueError(f"unexpected tensors: {', '.join(of_training)}")
    seed = description["seed"]
    if not isinstance(metadata, dict) or not isinstance(description["version"], str):
        raise TypeError("metadata, version")
    if seed is None:  # which asks for a fresh one
        raise TypeError("seed must be an integer, got None")
    classes = description["classes"]
    count = class_count(losses.name_of(loss), architecture.output_shape[-1])
    names = description.get("feature_names")  # in a file of a network that has been fitted to them
    return {
        "inputs": description["inputs"],
        "layers": configs,
        "loss": losses.to_config(loss),
        "l1": check_real(description.get("l1", 0.0), "l1", at_least=0),
        "l2": check_real(description.get("l2", 0.0), "l2", at_least=0),
        "seed": check_seed(seed),
        "classes": None if classes is None else unpack_classes(classes, count),
        "feature_names": None if names is None else as_names(names, architecture.inputs),
        "target_scale": _check_scale(description, architecture),
        "epochs_trained": check_count(description["epochs_trained"], "epochs_trained"),
        "metadata": metadata,
        "parameters": parameters,
        "training": training,
    }


def _take_tensors(
    architecture: Architecture, tensors: dict[str, AnyArray]
) -> tuple[Array, dict[str, AnyArray]]:
    """Return a file's parameters as one buffer, and what else it has of the training's state."""
    parts = [np.empty(0)]
    for place in architecture.tensors:
        tensor = tensors.pop(place.full_name)
        if tensor.shape != place.shape or tensor.dtype != np.float64:
            raise ValueError(f"{place.full_name} must be float64 of shape {place.shape}")
        parts.append(tensor.ravel())
    names = [name for name in tensors if name.startswith("training.")]
    of_training = {name: tensors.pop(name) for name in names}
    if tensors:
        raise ValueError(f"unexpected tensors: {', '.join(tensors)}")
    return np.concatenate(parts), of_training


def _check_scale(description: dict[str, Any], architecture: Architecture) -> TargetScale | None:
    """Return the unit of a file's targets, which some formats have."""
    scale = description.get("target_scale")
    if scale is None:
        return None
    if description["format"] == FORMAT:
        raise ValueError("target_scale belongs to another format")
    activation = architecture.layers[-1].activation
    check_can_scale(activation, losses.name_of(architecture.loss))
    return TargetScale.check(scale, architecture.output_shape[-1])
