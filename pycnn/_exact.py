"""Functions from operations that IEEE 754 rounds exactly: the same bits on every machine.

What decides a training run must not come from the C library's or NumPy's exp, log, cos and pow,
whose last bits differ between releases and instruction sets. These use +, -, *, / and sqrt alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pycnn._typing import Array, NDArray


__all__ = [
    "exp",
    "half_cosine",
    "integer_power",
    "log",
    "normal_quantile",
    "power",
    "sine_and_cosine",
]

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


def log(x: Array) -> Array:
    """Natural logarithm of positive normal numbers, from exactly rounded operations alone.

    x = m 2^e with m in [0.75, 1.5), and log m = 2 artanh(s) with s = (m - 1) / (m + 1).
    """
    m, e = np.frexp(x)
    small = m < 0.75
    m = np.where(small, 2 * m, m)
    s = (m - 1) / (m + 1)  # at most 0.2: terms up to s^25 reach 2^-60
    series = np.zeros_like(s)
    for n in range(25, 0, -2):
        series = series * (s * s) + 1.0 / n
    return (e - small) * 0.6931471805599453 + 2 * s * series


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


def sine_and_cosine(x: Array) -> tuple[Array, Array]:
    """Return sin(pi x) and cos(pi x) for |x| <= 1: exact where they are 0 or 1."""
    quarter_turns = np.rint(2 * x)
    z = 2 * _HALF_PI * (x - quarter_turns / 2)  # at most pi / 4
    sine, cosine = np.ones_like(z), np.ones_like(z)
    for n in range(16, 0, -2):  # the next terms, z^18 / 18! and / 19!, are below 2^-58
        sine = 1 - sine * z * z / (n * (n + 1))
        cosine = 1 - cosine * z * z / (n * (n - 1))
    sine = sine * z
    sideways, back = quarter_turns % 2 == 1, quarter_turns % 4 >= 2
    sine, cosine = np.where(sideways, cosine, sine), np.where(sideways, -sine, cosine)
    return np.where(back, -sine, sine), np.where(back, -cosine, cosine)


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
    exponent = (t - whole) * float(log(np.array([base]))[0])
    return integer_power(base, whole.astype(np.int64)) * exp(exponent)


# Wichura, Algorithm AS 241 (PPND16), Applied Statistics 37 (1988): relative accuracy 1e-16.
# fmt: off
_CENTRE = (
    (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3,
     1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4,
     3.3430575583588128105e4, 2.5090809287301226727e3),
    (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
     2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4,
     5.2264952788528545610e3),
)
_TAIL = (
    (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0,
     3.64784832476320460504e0, 1.27045825245236838258e0, 2.41780725177450611770e-1,
     2.27238449892691845833e-2, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4,
     1.05075007164441684324e-9),
)
_FAR_TAIL = (
    (6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0,
     2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
     2.71155556874348757815e-5, 2.01033439929228813265e-7),
    (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
     2.04426310338993978564e-15),
)
# fmt: on


def _rational(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: Array) -> Array:
    above, below = (np.full_like(x, c[-1]) for c in coefficients)
    for a, b in zip(coefficients[0][-2::-1], coefficients[1][-2::-1], strict=True):
        above = above * x + a
        below = below * x + b
    return above / below


def normal_quantile(p: Array) -> Array:
    """Return the standard normal quantiles of `p`, each in (0, 1)."""
    q = p - 0.5
    result = np.empty_like(q)
    centre = np.abs(q) <= 0.425
    qc = q[centre]
    result[centre] = qc * _rational(_CENTRE, 0.180625 - qc * qc)
    outside = ~centre
    r = np.sqrt(-log(np.minimum(p[outside], 1 - p[outside])))
    value = np.where(r <= 5, _rational(_TAIL, r - 1.6), _rational(_FAR_TAIL, r - 5))
    result[outside] = np.where(q[outside] < 0, -value, value)
    return result
