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
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pycnn._io import safetensors_file
from pycnn.backend.numpy.plan import create_plan
from pycnn.exceptions import (
    DataError,
    DataTypeError,
    ModelFileError,
    PycnnWarning,
    ShapeError,
    warn,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeVar

    from pycnn._model import Model
    from pycnn._typing import AnyArray, Indices, Shape
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
    order: Indices | None  # its inputs' units, where PyTorch has the channels first in one row
    made: Indices | None = None  # likewise its outputs' units


def leaves(network: Model, turned: bool) -> list[Leaf]:
    """Return all layers that are not made of others; `turned`: with the orders of PyTorch."""
    architecture = network.architecture
    if None in architecture.input_shape:
        architecture = architecture.at_length(1000)
    walk = _Walk()
    walk.through(create_plan(architecture.specs, network.loss).layers, "layers")
    if turned and walk.refused:
        raise DataError(walk.refused)
    if turned and walk.order is not None:
        warn(
            f"{walk.name}, the last layer, has its outputs channels last, where PyTorch's Flatten "
            "has the same numbers channels first",
            PycnnWarning,
        )
    return walk.leaves


class _Walk:
    """A way through the layers that knows in which order PyTorch has the numbers of a sample."""

    def __init__(self) -> None:
        self.leaves: list[Leaf] = []
        self.first = False  # whether PyTorch has the channels first here
        self.order: Indices | None = None
        self.start = 0  # of the leaves that one straight line leads from to here
        self.name = self.refused = ""

    def through(self, layers: Sequence[Layer], of: str) -> None:
        """Walk along layers, which are those of a network or of a layer with this name."""
        for number, layer in enumerate(layers, 1):
            own = layer.spec.name
            self.name = f"{of}.{number if own is None else own}".removesuffix(".")
            if layer.inner:
                self._around(layer, self.name)
            else:
                self._over(layer, layers[number:])

    def _around(self, layer: Layer, name: str) -> None:
        """Walk along both paths; what they give must have the same order."""
        before, ends = (self.first, self.order), []
        after = None
        for path in (layer.inner, layer.shortcut):
            (self.first, self.order), self.start = before, len(self.leaves)
            if path or layer.spec.kind == "residual":
                self.through(path, name)
                ends.append((self.order, self.start, len(self.leaves)))
                after = self.first if after is None else after
        self.name = name
        wanted = next((order for order, _, _ in reversed(ends) if order is not None), None)
        for order, start, end in ends:
            self._turn(wanted, order, start, end)
        self.first, self.order, self.start = bool(after), wanted, len(self.leaves)

    def _over(self, layer: Layer, behind: Sequence[Layer]) -> None:
        """Walk over a layer that is not made of others."""
        spec, end = layer.spec, len(self.leaves)
        self.first = self.first or len(spec.input_shape) == 3
        places = {
            tensor.name: np.arange(place.start, place.stop).reshape(tensor.shape)
            for tensor, place in zip(spec.tensors, layer.places, strict=False)
        }
        if spec.kind == "tied_dense":
            units, features = spec.output_shape[-1], spec.input_shape[-1]
            places["W"] = -1 - np.arange(units * features).reshape(units, features)
        self.leaves.append(Leaf(layer, places, self.order))
        if spec.kind == "reshape":
            self._reshape(spec.input_shape, spec.output_shape, behind, end)
        elif spec.kind not in _KEEPING:
            self.order = None
            self.first = spec.kind in _WINDOWS

    def _reshape(self, shape: Shape, new: Shape, behind: Sequence[Layer], end: int) -> None:
        """Walk over a layer that gives numbers another shape, behind the leaves up to `end`."""
        if len(new) == 1:
            if len(shape) > 1:
                self.order = _channels_first(shape) if self.first else None
            self.first = False
        elif len(shape) == 1:
            self.first = len(new) == 3 or _has_windows(behind)
            wanted = _channels_first(new) if self.first else None
            self._turn(wanted, self.order, self.start, end)
            self.order = None
        elif self.first and shape[-1] != new[-1]:
            self.first = False
            if shape[-1] != 1:
                self._refuse()

    def _turn(self, wanted: Indices | None, order: Indices | None, start: int, end: int) -> None:
        """Let some leaves give units in an order, by the rows of the dense layer that is last."""
        if wanted is order or np.array_equal(wanted, order):  # type: ignore[arg-type]
            return
        for n in reversed(range(start, end)):
            spec = self.leaves[n].layer.spec
            if spec.kind == "dense":
                self.leaves[n] = self.leaves[n]._replace(made=wanted)
                return
            if spec.kind not in _KEEPING or spec.kind == "reshape":
                break
            self.leaves[n] = self.leaves[n]._replace(order=wanted)
        self._refuse()

    def _refuse(self) -> None:
        self.refused = self.refused or (
            f"{self.name} has numbers that PyTorch has in another order, channels first, and no "
            "Dense layer right in front of it that could give them so: its weights do not go over"
        )


def _channels_first(shape: Sequence[int]) -> Indices | None:
    """Return where PyTorch has each of a sample's numbers, or None: in the same place."""
    channels = np.arange(math.prod(shape)).reshape(shape[-1], *shape[:-1])
    order = np.moveaxis(channels, 0, -1).ravel()
    return None if (np.diff(order) == 1).all() else order


def _has_windows(layers: Sequence[Layer]) -> bool:
    """Return whether the first of these layers that does more than keep units takes windows."""
    for layer in layers:
        if layer.inner:
            return _has_windows(layer.inner)
        if layer.spec.kind not in _KEEPING:
            return layer.spec.kind in _WINDOWS
    return False


# ------------------------------------------------------------------ as the others have them


def _torch(leaf: Leaf) -> Places:
    """Return the places as a module of PyTorch has them."""
    own, spec = leaf.places, leaf.layer.spec
    if leaf.order is not None:  # in front of what PyTorch has there
        back = np.argsort(leaf.order)
        own = {name: place[..., back] if name != "b" else place for name, place in own.items()}
    if leaf.made is not None:
        back = np.argsort(leaf.made)
        own = {name: place[back] for name, place in own.items()}
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
        if (array < 0).any() and _own(network, places).endswith(".variance"):
            raise DataError(f"{name} must not have negative numbers: they are variances")
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


def _beside(own: Mapping[str, str], absent: Sequence[str]) -> str:
    """Return a module's first name, and that of an array which is absent beside it."""
    key, full = next(iter(own.items()))
    if not absent or key not in full:
        return full
    head, _, tail = full.rpartition(key)
    return f"{full}, but {head}{absent[0]}{tail} is missing"


def _paired(network: Model, state: Mapping[str, Any]) -> list[tuple[str, Indices]]:
    """Return the places for each name in a state dict.

    A layer takes the first module of its form that is left, in the order of both.
    """
    left, pairs = _modules(state), []
    for leaf in leaves(network, True):
        if not leaf.places:
            continue
        places = _torch(leaf)
        form = _form(places)
        own = next((names for names, other in left if other == form), None)
        missing = next(iter(places.values()))
        if own is None:
            beside = ""
            if left:
                names, other = left[0]
                absent = [name for name, _ in form if name not in names and set(other) <= set(form)]
                beside = f"; the next is {_beside(names, absent)}"
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
        absent = [name for name in places if name not in own and name != _COUNT]
        # PyTorch leaves out all biases of a module or none; a batch norm has no such choice.
        if absent and (leaf.layer.spec.kind == "batch_norm" or any("bias" in name for name in own)):
            raise ShapeError(f"{_own(network, missing)} takes {_beside(own, absent)}")
    if left:
        raise ShapeError(f"{next(iter(left[0][0].values()))} has no layer that would take it")
    return pairs


def from_torch(source: Any, network: AnyModel) -> AnyModel:
    """Give a network the weights of a PyTorch model, by names and shapes; PyTorch is not imported.

    Layers take the modules of their form in the order of both. What PyTorch has in another order is
    brought into ours: channels first in convolutions, in what `Flatten` makes of images, and in
    images, or sequences for convolutions, that `Reshape` makes of a `Dense` layer's outputs; gates,
    both biases of recurrent layers. Where `Flatten` is the last layer, its outputs stay channels
    last, of which a warning tells. A module without biases (``bias=False``) gives biases of 0.

    Parameters
    ----------
    source : dict, path-like or module
        A state dict, ``model.state_dict()``, of tensors or arrays; a safetensors file of one; or
        what has a ``state_dict``. A file does not keep the order of a model's modules: its names
        are taken by the alphabet, numbers by size. So where modules of a model have the same shapes
        and names other than numbers, give its state dict instead.
    network : Network
        Of the same layers. It changes as a whole, or not at all.

    Returns
    -------
    Network
        The same.

    Raises
    ------
    ShapeError
        If an array does not fit a layer, both of which are named, or is missing.
    DataError
        If numbers are not finite, or variances negative; if PyTorch would have a layer's inputs in
        another order, and no `Dense` layer in front can be given that, such as behind `Reshape` of
        a network's flat inputs into images with several channels.
    DataTypeError
        If `source` is none of these, or holds other than real numbers.
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
    _check_network(network)
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        with open(path, "rb") as file:
            try:
                state = safetensors_file.read(file, path.stat().st_size, bfloat16=True)[1]
            except ValueError as error:
                other = "; of a file of torch.save give the dict that torch.load returns"
                raise ModelFileError(
                    f"{path} is no intact safetensors file: {error}"
                    f"{other * (path.suffix != '.safetensors')}"
                ) from None
        by_number = {name: re.split(r"(\d+)", name) for name in state}
        keys = {
            name: [
                (not part.isdecimal(), int(part) if part.isdecimal() else part) for part in parts
            ]
            for name, parts in by_number.items()
        }
        source = {name: state[name] for name in sorted(state, key=keys.__getitem__)}
    state = _state(source, "source", "a state dict or a path")
    arrays = {name: _array(value, name) for name, value in state.items()}
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
        If numbers are not finite, or variances negative.
    DataTypeError
        If `source` is none of these, or holds other than real numbers.

    Examples
    --------
    >>> from pycnn import Dense, Network
    >>> net = Network(2, [Dense(3, "relu"), Dense(1)], seed=0)
    >>> arrays = [np.ones((2, 3)), np.zeros(3), np.ones((3, 1)), np.zeros(1)]  # model.get_weights()
    >>> from_keras(arrays, net).predict([[1, 2]])
    array([[9.]])
    """
    _check_network(network)
    if hasattr(source, "get_weights"):
        source = source.get_weights()
    if isinstance(source, (str, bytes, Mapping)) or not isinstance(source, Iterable):
        raise DataTypeError(
            "source must be a model of Keras or its model.get_weights(), a list of arrays, got "
            f"{source!r:.80}"
        )
    given = list(source)
    places = [place for leaf in leaves(network, False) for place in _keras(leaf)]
    if len(given) != len(places):
        raise ShapeError(f"the network takes {len(places)} arrays of Keras, got {len(given)}")
    names = [f"array {n} of the list" for n in range(len(given))]
    arrays = map(_array, given, names)
    _take(network, list(zip(names, arrays, places, strict=True)))
    return network


def to_torch(network: Model, like: Any) -> dict[str, AnyArray]:
    """Do what `Network.to_torch` promises."""
    if like is not None:
        state = _state(like, "like", "a state dict or a module")
        found = dict(_paired(network, state))
        for name, places in found.items():
            shape = tuple(np.shape(state[name]))
            if shape != places.shape:
                raise ShapeError(
                    f"{name} has shape {shape}, but {_own(network, places)} would have "
                    f"{places.shape} there"
                )
        return _values(network, found)
    found, at = {}, 0
    for leaf in leaves(network, True):
        spec, end = leaf.layer.spec, ""
        if "U" in leaf.places:
            end = "_l0_reverse" if leaf.layer.setting("reverse") else "_l0"
            at -= end == "_l0_reverse"  # the other half of a bidirectional one
        found |= {f"{at}.{name}{end}": places for name, places in _torch(leaf).items()}
        at += 1 + (spec.activation != "linear")
    return _values(network, found)


def to_keras(network: Model) -> list[AnyArray]:
    """Do what `Network.to_keras` promises."""
    places = [place for leaf in leaves(network, False) for place in _keras(leaf)]
    return list(_values(network, {str(n): place for n, place in enumerate(places)}).values())


def _check_network(network: Any) -> None:
    if not hasattr(network, "architecture"):
        raise DataTypeError(f"network must be a Network, got {network!r:.80}")


def _state(source: Any, name: str, expected: str) -> dict[str, Any]:
    """Return a state dict, also that of a module."""
    if hasattr(source, "state_dict"):
        source = source.state_dict()
    if not hasattr(source, "keys"):
        raise DataTypeError(f"{name} must be {expected}, got {source!r:.80}")
    state = dict(source)
    wrong = [key for key in state if not isinstance(key, str)]
    if wrong:
        raise DataTypeError(f"the keys of {name} must be the names of arrays, got {wrong[0]!r:.80}")
    return state


def _array(value: Any, name: str) -> AnyArray:
    """Return real numbers as an array, also those of a tensor."""
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu()
            value = (value if value.is_complex() else value.double()).numpy()
        array = np.asarray(value)
        if array.dtype.kind not in "cSUOMm":  # NumPy would make numbers of some of these
            return array.astype(np.float64, copy=False)
    except (TypeError, ValueError, RuntimeError):  # among others, a tensor without data
        pass
    raise DataTypeError(f"{name} must be an array of real numbers, got {value!r:.80}")
