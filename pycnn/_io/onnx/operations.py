"""What ONNX's operations compute, of constants and of what stands for a tensor's numbers."""

from __future__ import annotations

import math
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn.backend.numpy.activation import ACTIVATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pycnn._typing import AnyArray

MOST_NUMBERS = 1 << 22  # of a sample
FLOATS, INTEGERS, BOOL = (1, 10, 11), (6, 7), 9


def _clip(given: Any, x: Any, low: Any = None, high: Any = None) -> Any:
    low = given.get("min") if low is None else low
    high = given.get("max") if high is None else high
    return np.clip(x, -math.inf if low is None else low, math.inf if high is None else high)


def _elu(x: Any, alpha: float, gamma: float = 1.0) -> Any:
    return gamma * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _sigmoid(x: Any) -> Any:
    return ACTIVATIONS["sigmoid"][0](np.asarray(x))


def _gelu(given: Any, x: Any) -> Any:
    return ACTIVATIONS["gelu_tanh" if given.get("approximate") == "tanh" else "gelu"][0](x)


def _mod(given: Any, x: Any, y: Any) -> Any:
    if np.result_type(x, y).kind != "i" or not np.all(y):
        raise ValueError("a remainder that is none of whole numbers")
    return np.fmod(x, y) if given.get("fmod") else np.mod(x, y)


def _line(given: Any, x: Any) -> Any:
    return np.clip(given.get("alpha", 0.2) * x + given.get("beta", 0.5), 0, 1)


# What is computed number by number: of the attributes and the inputs.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Abs": lambda g, x: abs(x),
    "Add": lambda g, x, y: x + y,
    "And": lambda g, x, y: np.logical_and(x, y),
    "Clip": _clip,
    "Div": lambda g, x, y: x // y if np.result_type(x, y).kind == "i" else x / y,
    "Elu": lambda g, x: _elu(x, g.get("alpha", 1.0)),
    "Equal": lambda g, x, y: x == y,
    "Erf": lambda g, x: np.vectorize(math.erf, [float])(x),
    "Erfc": lambda g, x: np.vectorize(math.erfc, [float])(x),  # of tf2onnx, for gelu
    "Exp": lambda g, x: np.exp(x),
    "Gelu": _gelu,
    "Greater": lambda g, x, y: x > y,
    "GreaterOrEqual": lambda g, x, y: x >= y,
    "HardSigmoid": _line,
    "HardSwish": lambda g, x: x * np.clip(x / 6 + 0.5, 0, 1),
    "LeakyRelu": lambda g, x: np.where(x < 0, g.get("alpha", 0.01) * x, x),
    "Less": lambda g, x, y: x < y,
    "LessOrEqual": lambda g, x, y: x <= y,
    "Log": lambda g, x: np.log(x),
    "Max": lambda g, *given: reduce(np.maximum, given),
    "Min": lambda g, *given: reduce(np.minimum, given),
    "Mod": _mod,
    "Mul": lambda g, x, y: x * y,
    "Neg": lambda g, x: -x,
    "Not": lambda g, x: np.logical_not(x),
    "PRelu": lambda g, x, slope: np.where(x < 0, slope * x, x),
    "Pow": lambda g, x, y: np.power(x, y),
    "Reciprocal": lambda g, x: 1 / x,
    "Relu": lambda g, x: np.maximum(x, 0),
    "Selu": lambda g, x: _elu(
        x, g.get("alpha", 1.6732632423543772), g.get("gamma", 1.05070098735548)
    ),
    "Sigmoid": lambda g, x: _sigmoid(x),
    "Softplus": lambda g, x: np.logaddexp(x, 0),
    "Softsign": lambda g, x: x / (1 + abs(x)),
    "Sqrt": lambda g, x: np.sqrt(x),
    "Sub": lambda g, x, y: x - y,
    "Swish": lambda g, x: x * _sigmoid(g.get("alpha", 1.0) * x),
    "Tanh": lambda g, x: np.tanh(x),
    "Where": lambda g, x, y, z: np.where(x, y, z),
}
LINES = ("Add", "Sub", "Mul", "Div")


def fitting(*shape: int, limit: float = MOST_NUMBERS) -> Any:
    """Return a shape, unless it is too large."""
    if math.prod(shape) > limit or min([0, *shape]) < 0:
        raise ValueError(f"shape {shape} is too large")
    return shape


def meet(arrays: Iterable[Any], limit: int) -> bool:
    """Return whether arrays fit each other, and have no more numbers together."""
    try:
        return math.prod(np.broadcast_shapes(*map(np.shape, arrays))) <= limit
    except ValueError:
        return False


def axes_of(given: Any, *more: Any) -> tuple[int, ...]:
    """Return axes, which are an input, or an attribute as they were before opset 13 or 18."""
    found = more[0] if more and more[0] is not None else given.get("axes", ())
    return tuple(int(axis) for axis in np.ravel(found))


def _take(given: Any, x: Any, places: Any, limit: float) -> Any:
    axis = given.get("axis", 0)
    fitting(x.size // max(1, x.shape[axis]), np.size(places), limit=limit)
    return np.take(x, places, axis=axis)


def _slice(x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Any:
    cut = [slice(None)] * x.ndim
    places = range(len(starts)) if axes is None else axes
    for start, end, axis, step in zip(
        starts, ends, places, [1] * len(starts) if steps is None else steps, strict=True
    ):
        cut[axis] = slice(start, end, step)
    return x[tuple(cut)]


def _reshape(given: Any, x: Any, shape: Any) -> Any:
    sizes = [int(size) for size in shape]
    if not given.get("allowzero"):
        sizes = [x.shape[n] if size == 0 else size for n, size in enumerate(sizes)]
    return x.reshape(sizes)


def _dropout(given: Any, limit: float, x: Any, rate: Any = None, training: Any = None) -> Any:
    if np.any(training or 0) or not given.get("is_test", 1):
        raise ValueError("a dropout that is in training")
    return x


# What only moves numbers, of attributes, inputs, and how many numbers there may be.
MOVES: dict[str, Callable[..., Any]] = {
    "Cast": lambda g, n, x: (
        x if g.get("to") in FLOATS else x.astype(np.bool_ if g.get("to") == BOOL else np.int64)
    ),
    "Dropout": _dropout,
    "Flatten": lambda g, n, x: x.reshape(math.prod(x.shape[: g.get("axis", 1)]), -1),
    "Gather": lambda g, n, x, places: _take(g, x, places, n),
    "Identity": lambda g, n, x: x,
    "Reshape": lambda g, n, x, shape: _reshape(g, x, shape),
    "Slice": lambda g, n, x, *more: _slice(x, *more),
    "Squeeze": lambda g, n, x, *more: np.squeeze(x, axes_of(g, *more) or None),
    "Transpose": lambda g, n, x: x.transpose(g.get("perm")),
    "Unsqueeze": lambda g, n, x, *more: np.expand_dims(x, axes_of(g, *more)),
}


def concatenated(given: Any, parts: Any, limit: float = MOST_NUMBERS) -> Any:
    """Return arrays side by side, unless they are too large together."""
    fitting(sum(part.size for part in parts), limit=limit)
    return np.concatenate(parts, given["axis"])


def _trilu(given: Any, x: Any, diagonal: Any = 0) -> Any:
    if x.ndim < 2:
        raise ValueError("a triangle of what is no matrix")
    return (np.triu if given.get("upper", 1) else np.tril)(x, int(diagonal))


def _range(limit: float, start: Any, stop: Any, step: Any) -> Any:
    count = max(0, math.ceil((stop - start) / step))
    return start + step * np.arange(*fitting(count, limit=limit))


def _constant(g: Any, n: float) -> Any:
    value = next(iter(g.values()))
    return np.asarray(value, None if isinstance(value, np.ndarray) else np.float64)


# What else is computed of constants.
OTHERS: dict[str, Callable[..., Any]] = {
    "Constant": _constant,
    "ConstantOfShape": lambda g, n, shape: np.full(
        fitting(*map(int, shape), limit=n), np.ravel(g.get("value", 0.0))[0]
    ),
    "Concat": lambda g, n, *parts: concatenated(g, parts, n),
    "Expand": lambda g, n, x, shape: np.broadcast_to(
        x, fitting(*np.broadcast_shapes(x.shape, tuple(map(int, shape))), limit=n)
    ).copy(),
    "Range": lambda g, n, *ends: _range(n, *ends),
    "ReduceProd": lambda g, n, x, *more: np.prod(
        x, axes_of(g, *more) or None, keepdims=bool(g.get("keepdims", 1))
    ),
    "Trilu": lambda g, n, x, *diagonal: _trilu(g, x, *diagonal),
}


class Room:
    """What computes constants as long as there is room for them.

    Parameters
    ----------
    numbers : int
        The most that may come of all, and of one.
    """

    def __init__(self, numbers: int) -> None:
        self.numbers = numbers

    def compute(self, op: str, given: Any, inputs: list[Any]) -> AnyArray | None:
        """Return what an operation makes of constants, or None: it is none of these."""
        if op in FUNCTIONS and "axis" not in given:
            fitting(*np.broadcast_shapes(*map(np.shape, inputs)), limit=self.numbers)
            found = np.asarray(FUNCTIONS[op](given, *inputs))
        elif op in MOVES or op in OTHERS:
            found = np.asarray((MOVES.get(op) or OTHERS[op])(given, self.numbers, *inputs))
        else:
            return None
        if found.base is None and not any(found is x for x in inputs):
            self.numbers -= found.size  # it has memory of its own
        return found
