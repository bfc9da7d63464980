"""The layers that another's graph has been found to be, up to some place on the way."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from pycnn import layers
from pycnn._folding import Folded
from pycnn._io.onnx.operations import fitting

if TYPE_CHECKING:
    from pycnn._typing import AnyArray, Array, Shape

# A normalization of statistics 0 and 1, to the bit: scales and shifts of others become one.
LINE = layers.BatchNorm(epsilon=2.0**-17).config()
FALLING = ("gelu", "gelu_tanh", "silu")  # these do not let the largest number stay the largest
MOVING = (
    "flatten",
    "reshape",
    "max_pool1d",
    "max_pool2d",
    "global_max_pool1d",
    "global_max_pool2d",
)


class Flow:
    """The layers up to some place on the way.

    Attributes
    ----------
    shape : tuple of int
        Of a sample behind them.
    index : ndarray
        Where in it each number of the tensor is.
    batch : int
        The batch's axis of the tensor, which other axes may have been merged into, behind it.
    items : list of Folded
    """

    def __init__(self, shape: Shape, index: AnyArray, batch: int) -> None:
        self.shape, self.batch = shape, batch
        self.index: AnyArray = index
        self.items: list[Folded] = []

    def add(self, layer: layers.Layer, shape: Shape, index: AnyArray, **arrays: Array) -> None:
        """Add a layer behind which samples have this shape."""
        weighted, zeros = getattr(layer, "is_sum", False), getattr(layer, "sees_zeros", False)
        item = Folded(layer.config(), arrays, weighted, zeros)
        if weighted and not zeros and self.items and self.items[-1].config == LINE:
            item.scale_inputs(*self.items.pop().line())
        self.items.append(item)
        self.shape, self.index = shape, index

    def see(self, shape: Shape) -> None:
        """Let samples have another shape, with the same numbers in the same order."""
        if shape != self.shape:
            layer = layers.Flatten() if len(shape) == 1 else layers.Reshape(shape)
            self.add(layer, shape, self.index)

    def rows(self, features: int) -> Array | None:
        """Let the last axis be features; return their order, where samples are one row."""
        index = self.whole()
        if index.shape[-1] != features:
            raise ValueError(f"{features} features of samples of shape {index.shape}")
        if self.batch == index.ndim - 1:
            raise ValueError("the last axis is the batch")
        if index.size == features:
            self.see((features,))
            return index.ravel()
        if not is_natural(index):
            raise ValueError("channels must be last, at each position")
        self.see((index.size // features, features))
        return None

    def image(self) -> tuple[Shape, int]:
        """Let samples be images or sequences, whose channels ONNX has first; return their sizes."""
        samples, channels, *sizes = self.whole().shape
        if samples != 1 or self.batch != 0:
            raise ValueError("the first axis must be the batch")
        if not sizes or not is_natural(np.moveaxis(self.index, 1, -1)):
            raise ValueError("channels must be the first axis of samples")
        self.see((*sizes, channels))
        return tuple(sizes), channels

    def line(self, scale: Array, shift: Array) -> None:
        """Scale the features, and shift them."""
        last = self.items[-1] if self.items else None
        if last is not None and last.is_linear_sum:
            last.scale_outputs(scale, shift, "linear")
        elif last is not None and "gamma" in last.arrays and last.config["activation"] == "linear":
            last.arrays["gamma"] = last.arrays["gamma"] * scale
            last.arrays["beta"] = last.arrays["beta"] * scale + shift
        elif len({*scale}) == len({*shift}) == 1 and scale[0]:
            if (scale[0], shift[0]) != (1, 0):
                layer = layers.Rescale(float(scale[0]), float(shift[0]))
                self.add(layer, self.shape, self.index)
        else:
            self._norm(scale, shift, "linear")

    def _norm(self, scale: Array, shift: Array, activation: str) -> None:
        zeros = np.zeros(len(scale))
        arrays = {"gamma": scale, "beta": shift, "mean": zeros, "variance": zeros + 1 - 2.0**-17}
        self.items.append(Folded(LINE | {"activation": activation}, arrays))

    def activate(self, name: str) -> None:
        """Let the numbers go through an activation."""
        for item in reversed(self.items):
            config = item.config
            if config.get("activation") == "linear" and config["kind"] != "simple_rnn":
                config["activation"] = name
                return
            # It may as well be in front of what moves numbers, or takes the largest.
            moves = config["kind"] in MOVING and name != "softmax"
            if not moves or (name in FALLING and config["kind"] not in MOVING[:2]):
                break
        ones = np.ones(self.shape[-1])
        self._norm(ones, 0 * ones, name)

    def whole(self) -> AnyArray:
        """Return the index, which has to be that of all numbers, or of a sequence's last step."""
        if self.index.size != math.prod(self.shape):
            config = self.items[-1].config if self.items else {}
            cell, units = config.get("layer", config), self.shape[-1]
            if not cell.get("return_sequences"):
                raise ValueError("a part of a sample is taken")
            last = np.full(units, 0 if cell["reverse"] else self.shape[0] - 1)
            if cell is not config:  # both directions, of which one ends where the other begins
                last[units // 2 :] = self.shape[0] - 1 - last[0]
            expected = last * units + np.arange(units)
            if not np.array_equal(self.index.ravel(), expected):
                raise ValueError("of a sequence other steps than the last are taken")
            cell["return_sequences"], self.shape = False, self.shape[1:]
            self.index = places(units).reshape(self.index.shape)
        there = np.zeros(self.index.size, dtype=np.bool_)
        there[self.index] = True
        if not there.all():
            raise ValueError("some numbers of a sample are taken twice, and others not")
        return self.index


def is_natural(index: AnyArray) -> bool:
    """Whether numbers are in pycnn's order."""
    return bool((index.ravel() == np.arange(index.size)).all())


def places(*shape: int) -> AnyArray:
    """Return where each number of a sample of this shape is."""
    return np.arange(math.prod(fitting(*shape)), dtype=np.int32).reshape(shape)
