"""Functions from operations that IEEE 754 rounds exactly: the same bits on every machine.

What decides a training run must not come from the C library's or NumPy's exp, cos and pow, whose
last bits differ between releases and instruction sets. The logarithm is in `_random`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pycnn._random import _log

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["exp", "half_cosine", "integer_power", "power"]

_LN2 = 0.6931471805599453
# Cody and Waite: log(2) in two parts, the first short enough that k times it is exact.
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_HALF_PI = 1.5707963267948966


def exp(x: Array) -> Array:
    """Return ``e ** x = 2 ** k * e ** r`` with k whole and |r| <= log(2) / 2, for |x| <= 700."""
    k = np.rint(x / _LN2)
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    series = np.ones_like(r)
    for n in range(13, 0, -1):  # the next term, r^14 / 14!, is below 2^-57
        series = 1 + series * r / n
    return np.ldexp(series, k.astype(np.int32))


def half_cosine(x: Array) -> Array:
    """Return ``(1 + cos(pi x)) / 2`` for x in [0, 1]: 1 at 0, exactly 0 at 1, precise near both.

    It is sin(pi (1 - x) / 2)^2, and 1 - sin(pi x / 2)^2.
    """
    first = x < 0.5
    z = _HALF_PI * np.where(first, x, 1 - x)  # at most pi / 4
    sine = np.ones_like(z)
    for n in range(16, 0, -2):  # the next term, z^18 / 19!, is below 2^-60
        sine = 1 - sine * z * z / (n * (n + 1))
    sine = sine * z
    return np.where(first, 1 - sine * sine, sine * sine)


def integer_power(base: float, n: NDArray[np.int64]) -> Array:
    """Return ``base ** n`` for whole n >= 0, by squaring."""
    result = np.ones(n.shape)
    while n.any():
        result = np.where(n & 1, result * base, result)
        base *= base
        n = n >> 1
    return result


def power(base: float, t: Array) -> Array:
    """Return ``base ** t`` for a base in (0, 1] and t >= 0."""
    whole = np.floor(t)
    log = float(_log(np.array([base]))[0])
    return integer_power(base, whole.astype(np.int64)) * exp((t - whole) * log)
