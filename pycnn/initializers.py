"""Initial weights: where training starts (the lecture's first training step).

With a layer's ``fan_in`` inputs and ``fan_out`` units:

=================  ======================================  =================================
name               distribution                            source
=================  ======================================  =================================
glorot_uniform     U(-r, r), r = sqrt(6/(fan_in+fan_out))  Glorot & Bengio (2010), eq. 16
glorot_normal      N(0, s), s = sqrt(2/(fan_in+fan_out))   Glorot & Bengio (2010)
he_uniform         U(-r, r), r = sqrt(6/fan_in)            He et al. (2015)
he_normal          N(0, s), s = sqrt(2/fan_in)             He et al. (2015), eq. 10
fan_in_uniform     U(-r, r), r = 1/sqrt(fan_in)            PyTorch's start of biases
orthogonal         gain Q, Q orthogonal, all alike likely  Stewart (1980); Saxe et al. (2014)
uniform            U(low, high)
normal             N(mean, std)
zeros              0
=================  ======================================  =================================

``xavier_uniform`` and ``xavier_normal`` are other names of Glorot's. Biases are drawn by the same
laws, from their layer's ``fan_in`` and ``fan_out``. A convolution's filter has ``fan_in = taps *
channels`` inputs, and ``fan_out = taps * filters`` outputs see an input, with taps = rows * columns
of its kernel.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn import _random
from pycnn._checks import look_up
from pycnn._public import names_of
from pycnn.exceptions import DataError, DataTypeError

if TYPE_CHECKING:
    from pycnn._typing import Array


__all__ = [
    "FanInUniform",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Initializer",
    "Normal",
    "Orthogonal",
    "Uniform",
    "Zeros",
]
__dir__ = names_of(__name__)


class Initializer:
    """Base: draws the initial values of a layer's weights, or of its biases.

    Examples
    --------
    >>> from pycnn import Dense, Network
    >>> net = Network(100, [Dense(50, "relu", weight_initializer=HeNormal()), Dense(1)], seed=0)
    >>> round(float(net.layers[0].W.std()), 2)  # sqrt(2 / 100) = 0.14
    0.14
    """

    name = ""

    def draw(self, bits: np.random.PCG64, fan_out: int, fan_in: int) -> Array:
        """Return an array of shape (fan_out, fan_in), drawn from a bit generator."""
        raise NotImplementedError

    def draw_bias(self, bits: np.random.PCG64, fan_out: int, fan_in: int) -> Array:
        """Return an array of shape (fan_out,), drawn from a bit generator."""
        return self.draw(bits, fan_out, 1)[:, 0]

    def law(self, fan_out: int, fan_in: int) -> Initializer:
        """Return what draws arrays of any shape by the law of a layer with these fans.

        Convolutions ask for it: a weight is met at many places, so that their fans are not the
        sizes of what they have drawn. One that does not depend on fans returns itself.
        """
        return self

    def config(self) -> dict[str, Any]:
        """Return name and settings as plain data, from which `get` rebuilds the object."""
        return {"name": self.name, **vars(self)}

    def __repr__(self) -> str:
        settings = ", ".join(f"{k}={v!r}" for k, v in vars(self).items())
        return f"{type(self).__name__}({settings})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Initializer) and self.config() == other.config()

    def __hash__(self) -> int:
        return hash((self.name, *vars(self).items()))


def _finite(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise DataTypeError(f"{name} must be a number, got {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    except TypeError:
        raise DataTypeError(f"{name} must be a real number, got {value!r}") from None
    if not math.isfinite(number):
        raise DataError(f"{name} must be finite, got {value!r}")
    return number


class Zeros(Initializer):
    """All values are 0. Weights that start so stay alike within a layer; good for biases.

    Examples
    --------
    >>> Zeros().draw(np.random.PCG64(0), 2, 3)
    array([[0., 0., 0.],
           [0., 0., 0.]])
    """

    name = "zeros"

    def draw(self, bits: np.random.PCG64, fan_out: int, fan_in: int) -> Array:
        """Return an array of shape (fan_out, fan_in) of zeros."""
        return np.zeros((fan_out, fan_in))


class Uniform(Initializer):
    """Uniform between `low` (included) and `high`.

    Examples
    --------
    >>> values = Uniform(-1, 1).draw(np.random.PCG64(0), 20, 30)
    >>> values.shape, bool((abs(values) <= 1).all())
    ((20, 30), True)
    """

    name = "uniform"

    def __init__(self, low: float = -0.05, high: float = 0.05) -> None:
        self.low = _finite(low, "low")
        self.high = _finite(high, "high")
        if self.low > self.high:
            raise DataError(f"low must not be above high, got {low!r} and {high!r}")

    def draw(self, bits: np.random.PCG64, fan_out: int, fan_in: int) -> Array:
        """Return an array of shape (fan_out, fan_in), drawn from a bit generator."""
        u = _random.uniform(bits, fan_out * fan_in)
        return (self.low + (self.high - self.low) * u).reshape(fan_out, fan_in)


class Normal(Initializer):
    """Normal with the given mean and standard deviation.

    Examples
    --------
    >>> round(float(Normal(std=0.1).draw(np.random.PCG64(0), 100, 100).std()), 2)
    0.1
    """

    name = "normal"

    def __init__(self, mean: float = 0.0, std: float = 0.05) -> None:
        self.mean = _finite(mean, "mean")
        self.std = _finite(std, "std")
        if self.std < 0:
            raise DataError(f"std must be >= 0, got {std!r}")

    def draw(self, bits: np.random.PCG64, fan_out: int, fan_in: int) -> Array:
        """Return an array of shape (fan_out, fan_in), drawn from a bit generator."""
        n = _random.normal(bits, fan_out * fan_in)
        return (self.mean + self.std * n).reshape(fan_out, fan_in)


class _ByFan(Initializer):
    """Base: the distribution follows from the layer's inputs and units, for biases too."""

    def _law(self, fan_out: int, fan_in: int) -> Initializer:
        raise NotImplementedError

    def law(self, fan_out: int, fan_in: int) -> Initializer:
        """Return the distribution that follows from these fans."""
        return self._law(fan_out, fan_in)

    def draw(self, bits: np.random.PCG64, fan_out: int, fan_in: int) -> Array:
        """Return an array of shape (fan_out, fan_in), drawn from a bit generator."""
        return self._law(fan_out, fan_in).draw(bits, fan_out, fan_in)

    def draw_bias(self, bits: np.random.PCG64, fan_out: int, fan_in: int) -> Array:
        """Return an array of shape (fan_out,), drawn from a bit generator."""
        return self._law(fan_out, fan_in).draw_bias(bits, fan_out, fan_in)


class GlorotUniform(_ByFan):
    """U(-r, r) with r = sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010, also "Xavier").

    Examples
    --------
    >>> GlorotUniform().law(fan_out=12, fan_in=12)
    Uniform(low=-0.5, high=0.5)
    """

    name = "glorot_uniform"

    def _law(self, fan_out: int, fan_in: int) -> Initializer:
        r = math.sqrt(6 / (fan_in + fan_out))
        return Uniform(-r, r)


class GlorotNormal(_ByFan):
    """N(0, s) with s = sqrt(2 / (fan_in + fan_out)) (Glorot & Bengio 2010, also "Xavier").

    Examples
    --------
    >>> GlorotNormal().law(fan_out=16, fan_in=16)
    Normal(mean=0.0, std=0.25)
    """

    name = "glorot_normal"

    def _law(self, fan_out: int, fan_in: int) -> Initializer:
        return Normal(0.0, math.sqrt(2 / (fan_in + fan_out)))


class HeUniform(_ByFan):
    """U(-r, r) with r = sqrt(6 / fan_in) (He et al. 2015).

    Examples
    --------
    >>> HeUniform().law(fan_out=10, fan_in=24)
    Uniform(low=-0.5, high=0.5)
    """

    name = "he_uniform"

    def _law(self, fan_out: int, fan_in: int) -> Initializer:
        r = math.sqrt(6 / fan_in)
        return Uniform(-r, r)


class HeNormal(_ByFan):
    """N(0, s) with s = sqrt(2 / fan_in) (He et al. 2015).

    Examples
    --------
    >>> HeNormal().law(fan_out=10, fan_in=32)
    Normal(mean=0.0, std=0.25)
    """

    name = "he_normal"

    def _law(self, fan_out: int, fan_in: int) -> Initializer:
        return Normal(0.0, math.sqrt(2 / fan_in))


class FanInUniform(_ByFan):
    """U(-r, r) with r = 1 / sqrt(fan_in): where biases start.

    Examples
    --------
    >>> FanInUniform().law(fan_out=10, fan_in=16)
    Uniform(low=-0.25, high=0.25)
    """

    name = "fan_in_uniform"

    def _law(self, fan_out: int, fan_in: int) -> Initializer:
        r = 1 / math.sqrt(fan_in)
        return Uniform(-r, r)


class Orthogonal(Initializer):
    """A matrix whose rows or columns, whichever are fewer, are orthonormal, times `gain`.

    All such matrices are alike likely. A product with a square one keeps lengths, so that signals
    pass many steps of a recurrent layer unchanged in size (Saxe, McClelland & Ganguli, 2014).

    Examples
    --------
    >>> Q = Orthogonal().draw(np.random.PCG64(0), 4, 4)
    >>> bool(np.allclose(Q.T @ Q, np.eye(4)))
    True
    """

    name = "orthogonal"

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = _finite(gain, "gain")

    def draw(self, bits: np.random.PCG64, fan_out: int, fan_in: int) -> Array:
        """Return an array of shape (fan_out, fan_in), drawn from a bit generator.

        It is a product of random reflections (Stewart, 1980), each rounded in a fixed order: the
        bits of a library's QR decomposition differ between machines.
        """
        rows, columns = max(fan_out, fan_in), min(fan_out, fan_in)
        Q = np.eye(rows, columns)
        for k in range(rows - columns + 1, rows + 1):
            x = _random.normal(bits, k)
            sign = -1.0 if x[0] < 0 else 1.0
            norm = math.sqrt(float(np.add.accumulate(x * x)[-1]))
            factor = 1 / (norm * (norm + abs(float(x[0]))))
            v = x.copy()
            v[0] += sign * norm
            seen = Q[rows - k :, rows - k :]  # unchanged so far in its first row and column
            w = np.add.accumulate(v[:, None] * seen, axis=0)[-1] * factor
            seen[:] = -sign * (seen - v[:, None] * w)
        return self.gain * (Q if fan_out >= fan_in else Q.T)


_TABLE: dict[str, type[Initializer]] = {
    cls.name: cls
    for cls in (
        GlorotUniform,
        GlorotNormal,
        HeUniform,
        HeNormal,
        FanInUniform,
        Uniform,
        Normal,
        Orthogonal,
        Zeros,
    )
}
_TABLE["xavier_uniform"] = GlorotUniform
_TABLE["xavier_normal"] = GlorotNormal


def get(initializer: str | dict[str, Any] | Initializer, argument: str) -> Initializer:
    """Return an initializer from an object, its name, or its `Initializer.config`."""
    if isinstance(initializer, Initializer):
        return initializer
    if isinstance(initializer, dict):
        settings = dict(initializer)
        return look_up(settings.pop("name", None), _TABLE, argument)(**settings)
    return look_up(initializer, _TABLE, argument)()
