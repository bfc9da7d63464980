"""Weights of PyTorch and Keras, and back, by names and shapes; neither of them is imported.

Others have the same numbers in another order. So a layer is described once, by arrays of places in
theta that lie as the others' arrays do; reading and writing both follow from it. A place that comes
twice is a sum of two (PyTorch's LSTM has two biases): what is read is added up, and the second one
is written as zero. A place -1 - p is a copy, of a weight that two layers share.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pycnn._io import safetensors_file
from pycnn.backend.numpy.plan import create_plan
from pycnn.exceptions import DataError, DataTypeError, ModelFileError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import TypeVar

    from pycnn._model import Model
    from pycnn._typing import AnyArray, Indices
    from pycnn.backend.numpy.layer import Layer

    AnyModel = TypeVar("AnyModel", bound=Model)
    Places = dict[str, Indices]  # by the other library's name for the array

_TORCH = re.compile(
    r"(?:(.*?)\.)?(in_proj_(?:weight|bias)|out_proj\.(?:weight|bias)|weight|bias|running_mean|"
    r"running_var|num_batches_tracked|((?:weight|bias)_[ih]h)(_l\d+(?:_reverse)?))"
)
_COUNT = "num_batches_tracked"  # the only one that is not in theta
# What leaves units where they are, so that their order is that of the layer in front.
_KEEPING = ("dropout", "batch_norm", "layer_norm", "rescale", "reshape")
_WINDOWS = ("convolution", "max_pool", "average_pool", "zero_padding")


class Leaf(NamedTuple):
    """A layer with its places in theta, by their names in the layer."""

    layer: Layer
    places: Places
    order: Indices | None  # its inputs' units, where PyTorch flattens channels first


def leaves(network: Model) -> Iterator[Leaf]:
    """Yield all layers that are not made of others."""
    architecture = network.architecture
    if None in architecture.input_shape:
        architecture = architecture.at_length(1000)
    yield from _walk(create_plan(architecture.specs, network.loss).layers, False, None)


def _walk(layers: Sequence[Layer], first: bool, order: Indices | None) -> Iterator[Leaf]:
    """Yield them; `first`: whether PyTorch has the channels of a sample first here."""
    for layer in layers:
        spec = layer.spec
        if layer.inner:
            for path in (layer.inner, layer.shortcut):
                yield from _walk(path, first, order)
        first = first or len(spec.input_shape) == 3
        places = {
            tensor.name: np.arange(place.start, place.stop).reshape(tensor.shape)
            for tensor, place in zip(spec.tensors, layer.places, strict=False)
        }
        if spec.kind == "tied_dense":
            units, features = spec.output_shape[-1], spec.input_shape[-1]
            places["W"] = -1 - np.arange(units * features).reshape(units, features)
        if not layer.inner:
            yield Leaf(layer, places, order)
        if spec.kind == "reshape" and first and len(spec.output_shape) == 1:
            shape = spec.input_shape
            channels = np.arange(math.prod(shape)).reshape(shape[-1], *shape[:-1])
            order = np.moveaxis(channels, 0, -1).ravel()
        elif spec.kind not in _KEEPING:
            order = None
            first = spec.kind in _WINDOWS


# ------------------------------------------------------------------ as the others have them


def _torch(leaf: Leaf) -> Places:
    """Return the places as a module of PyTorch has them."""
    own, spec = leaf.places, leaf.layer.spec
    if leaf.order is not None:  # in front of what PyTorch has there
        back = np.argsort(leaf.order)
        own = {name: place[..., back] if name != "b" else place for name, place in own.items()}
    if spec.kind == "attention":
        roles = ("query", "key", "value")
        return {
            "in_proj_weight": np.concatenate([own[f"W_{role}"] for role in roles]),
            "in_proj_bias": np.concatenate([own[f"b_{role}"] for role in roles]),
            "out_proj.weight": own["W_output"],
            "out_proj.bias": own["b_output"],
        }
    if "U" in own:
        second = own["b"]
        if "b_n" in own:
            second = np.concatenate([second[: -len(own["b_n"])], own["b_n"]])
        return {
            "weight_ih": own["W"],
            "weight_hh": own["U"],
            "bias_ih": own["b"],
            "bias_hh": second,
        }
    names = {"W": "weight", "b": "bias", "gamma": "weight", "beta": "bias"}
    names |= {"mean": "running_mean", "variance": "running_var"}
    found = {names.get(name, name): place for name, place in own.items()}
    if spec.kind == "convolution":
        found["weight"] = np.moveaxis(found["weight"], -1, 1)
    if spec.kind == "batch_norm":
        found[_COUNT] = np.zeros((), dtype=np.intp)
    return found


def _keras(leaf: Leaf) -> list[Indices]:
    """Return the places as a layer of Keras has them."""
    own, kind = leaf.places, leaf.layer.spec.kind
    if kind == "attention":
        features, heads = len(own["b_query"]), int(leaf.layer.setting("heads"))
        size = features // heads
        found: list[Indices] = []
        for role in ("query", "key", "value"):
            found += [own[f"W_{role}"].T.reshape(features, heads, size)]
            found += [own[f"b_{role}"].reshape(heads, size)]
        return [*found, own["W_output"].T.reshape(heads, size, features), own["b_output"]]
    if kind == "gru":
        units = len(own["b_n"])
        order = np.r_[units : 2 * units, :units, 2 * units : 3 * units]
        both = np.stack([own["b"], np.concatenate([own["b"][: 2 * units], own["b_n"]])])
        return [own["W"][order].T, own["U"][order].T, both[:, order]]
    turns = kind in ("dense", "convolution", "simple_rnn", "lstm")
    return [
        np.moveaxis(place, 0, -1) if turns and place.ndim > 1 else place
        for name, place in own.items()
        if name != "W" or kind != "tied_dense"
    ]


# ------------------------------------------------------------------ reading and writing


def _values(network: Model, found: Mapping[str, Indices]) -> dict[str, AnyArray]:
    """Return the network's numbers at these places, which must be all that are not 0."""
    theta = network.with_theta(np.copy)
    written = np.zeros(len(theta), dtype=bool)
    out: dict[str, AnyArray] = {}
    for name, places in found.items():
        if name.endswith(_COUNT):
            out[name] = np.zeros((), dtype=np.int64)
            continue
        own = np.where(places < 0, -1 - places, places).ravel()
        kept = places.ravel() < 0
        kept[np.unique(own, return_index=True)[1]] = True
        kept &= (places.ravel() < 0) | ~written[own]
        out[name] = np.where(kept, theta[own], 0.0).reshape(places.shape)
        written[own] = True
    lost = np.flatnonzero(~written & (theta != 0))
    if lost.size:
        raise DataError(f"{_own(network, lost)} must be 0: the other model has no such array")
    return out


def _take(network: Model, pairs: Sequence[tuple[str, AnyArray, Indices]]) -> None:
    """Let the network have others' numbers, or none of them: (name, numbers, places)."""
    theta = np.zeros(network.theta.shape)
    copies = []
    for name, array, places in pairs:
        if name.endswith(_COUNT):
            continue
        if array.shape != places.shape:
            raise ShapeError(
                f"{name} has shape {array.shape}, but {_own(network, places)} would have "
                f"{places.shape} there"
            )
        if not np.isfinite(array).all():
            raise DataError(f"{name} must hold finite numbers")
        if places.size and places.flat[0] < 0:
            copies.append((name, array, -1 - places))
        else:
            np.add.at(theta, places, array)
    for name, array, places in copies:
        if not np.array_equal(theta[places], array):
            raise DataError(f"{name} must be {_own(network, places)}, which is its weight too")
    count = len(network.parameters)
    network.parameters, network.statistics = theta[:count], theta[count:]


def _own(network: Model, places: Indices) -> str:
    """Return the name of the tensor that the first of some places is in."""
    place = places.flat[0] if places.flat[0] >= 0 else -1 - places.flat[0]
    tensors = network.architecture.tensors
    return next(t.full_name for t in tensors if t.offset <= place < t.offset + t.size)


def _modules(names: Mapping[str, Any]) -> list[tuple[dict[str, str], tuple[Any, ...]]]:
    """Return the modules of a state dict: their names for arrays by the common ones, and a form."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for name in names:
        match = _TORCH.fullmatch(name)
        # What has another name is an array of the user's own, such as that of positions.
        prefix, plain, of_cell, cell = match.groups() if match else (name, "weight", None, None)
        found.setdefault((prefix or "", cell or ""), {})[of_cell or plain] = name
    return [(own, _form({key: names[own[key]] for key in own})) for own in found.values()]


def _form(arrays: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what tells modules of other kinds apart: names and dimensions, without biases."""
    kept = [(name, np.ndim(a)) for name, a in arrays.items() if "bias" not in name]
    return tuple(sorted(pair for pair in kept if pair[0] != _COUNT))


def _paired(network: Model, state: Mapping[str, Any]) -> list[tuple[str, Indices]]:
    """Return the places for each name in a state dict.

    A layer takes the first module of its form that is left, in the order of both.
    """
    left, pairs = _modules(state), []
    for leaf in leaves(network):
        if not leaf.places:
            continue
        places = _torch(leaf)
        form = _form(places)
        own = next((names for names, other in left if other == form), None)
        missing = next(iter(places.values()))
        if own is None:
            beside = f"; the next is {next(iter(left[0][0].values()))}" if left else ""
            raise ShapeError(
                f"{_own(network, missing)} takes an array of shape {missing.shape}, and no module "
                f"has such a one{beside}"
            )
        left.remove((own, form))
        for name, full in own.items():
            if name not in places:
                raise ShapeError(
                    f"{full} has no counterpart beside {_own(network, missing)}: the layer has none"
                )
            pairs.append((full, places[name]))
    if left:
        raise ShapeError(f"{next(iter(left[0][0].values()))} has no layer that would take it")
    return pairs


def from_torch(source: Any, network: AnyModel) -> AnyModel:
    """Give a network the weights of a PyTorch model, by names and shapes; PyTorch is not imported.

    Layers take the modules of their form in the order of both. What PyTorch has in another order is
    brought into ours: channels first in convolutions, and in what `Flatten` makes of images, gates,
    both biases of recurrent layers.

    Parameters
    ----------
    source : dict, path-like or module
        A state dict, ``model.state_dict()``, of tensors or arrays; a safetensors file of one, whose
        names are taken in their order, numbers by size; or what has a ``state_dict``.
    network : Network
        Of the same layers. It changes as a whole, or not at all.

    Returns
    -------
    Network
        The same.

    Raises
    ------
    ShapeError
        If an array does not fit a layer; both are named.
    DataError, DataTypeError
        If numbers are not finite, or `source` is none of these.
    ModelFileError, OSError
        If the file is not an intact safetensors file, or cannot be read.

    Examples
    --------
    >>> from pycnn import Dense, Network, from_torch
    >>> net = Network(3, [Dense(4, "relu"), Dense(2, "softmax")], seed=0)
    >>> again = from_torch(net.to_torch(), Network(3, [Dense(4, "relu"), Dense(2, "softmax")]))
    >>> bool((again.parameters == net.parameters).all())
    True
    """
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        with open(path, "rb") as file:
            try:
                state = safetensors_file.read(file, path.stat().st_size)[1]
            except ValueError as error:
                raise ModelFileError(f"{path} is no intact safetensors file: {error}") from None
        by_number = {name: re.split(r"(\d+)", name) for name in state}
        keys = {
            name: [(not part.isdigit(), int(part) if part.isdigit() else part) for part in parts]
            for name, parts in by_number.items()
        }
        source = {name: state[name] for name in sorted(state, key=keys.__getitem__)}
    if hasattr(source, "state_dict"):
        source = source.state_dict()
    if not hasattr(source, "keys"):
        raise DataTypeError(f"source must be a state dict or a path, got {source!r:.80}")
    arrays = {name: _array(value, name) for name, value in dict(source).items()}
    _take(network, [(name, arrays[name], places) for name, places in _paired(network, arrays)])
    return network


def from_keras(source: Any, network: AnyModel) -> AnyModel:
    """Give a network the weights of a Keras model, by their order and shapes.

    Parameters
    ----------
    source : sequence of arrays, or model
        ``model.get_weights()``, or the model itself; Keras is not imported.
    network : Network
        Of the same layers. It changes as a whole, or not at all.

    Returns
    -------
    Network
        The same.

    Raises
    ------
    ShapeError
        If an array does not fit a layer, both of which are named, or there are more or fewer.
    DataError
        If numbers are not finite.
    """
    given = list(source.get_weights() if hasattr(source, "get_weights") else source)
    places = [place for leaf in leaves(network) for place in _keras(leaf)]
    if len(given) != len(places):
        raise ShapeError(f"the network takes {len(places)} arrays of Keras, got {len(given)}")
    names = [f"array {n} of the list" for n in range(len(given))]
    arrays = map(_array, given, names)
    _take(network, list(zip(names, arrays, places, strict=True)))
    return network


def to_torch(network: Model, like: Mapping[str, Any] | None) -> dict[str, AnyArray]:
    """Do what `Network.to_torch` promises."""
    if like is not None:
        found = dict(_paired(network, like))
        for name, places in found.items():
            if tuple(like[name].shape) != places.shape:
                raise ShapeError(
                    f"{name} has shape {tuple(like[name].shape)}, but {_own(network, places)} "
                    f"would have {places.shape} there"
                )
        return _values(network, found)
    found, at = {}, 0
    for leaf in leaves(network):
        spec, end = leaf.layer.spec, ""
        if "U" in leaf.places:
            end = "_l0_reverse" if leaf.layer.setting("reverse") else "_l0"
            at -= end == "_l0_reverse"  # the other half of a bidirectional one
        found |= {f"{at}.{name}{end}": places for name, places in _torch(leaf).items()}
        at += 1 + (spec.activation != "linear")
    return _values(network, found)


def to_keras(network: Model) -> list[AnyArray]:
    """Do what `Network.to_keras` promises."""
    places = [place for leaf in leaves(network) for place in _keras(leaf)]
    return list(_values(network, {str(n): place for n, place in enumerate(places)}).values())


def _array(value: Any, name: str) -> AnyArray:
    """Return numbers as an array, also those of a tensor."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().double().numpy()
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataTypeError(f"{name} must be an array of numbers, got {value!r:.80}") from None
