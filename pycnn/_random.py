"""Random numbers that decide results: from the raw 64-bit stream of a seeded bit generator.

NumPy freezes that stream; the methods of `numpy.random.Generator` may change between releases. The
transforms here use only operations that IEEE 754 rounds exactly (+, -, *, /, sqrt), so they give
the same bits on every machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn.exceptions import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# One bit generator for each use, so that none disturbs another.
INITIAL_PARAMETERS, SHUFFLING, SPLITTING, DROPPING, DIAGNOSING, AUGMENTING, SAMPLING = range(7)


def fresh_seed() -> int:
    """Return a seed from the operating system's entropy."""
    return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])


def check_seed(seed: Any) -> int:
    """Return `seed` as an int; None asks for a fresh one."""
    if seed is None:
        return fresh_seed()
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise DataError(f"seed must be None or an integer >= 0, got {seed!r}")
    return int(seed)


def generator(seed: int, *use: int) -> np.random.PCG64:
    """Return the bit generator of `seed` for one use."""
    return np.random.PCG64(np.random.SeedSequence(seed, spawn_key=use))


def uniform(bits: np.random.PCG64, size: int) -> Array:
    """Draw from [0, 1): the upper 53 bits of each raw number."""
    return (bits.random_raw(size) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normal(bits: np.random.PCG64, size: int) -> Array:
    """Draw from the standard normal distribution, by inversion: one raw number a draw."""
    return normal_quantile(uniform(bits, size) + 2.0**-54)  # the middle of each step: never 0 or 1


def permutations(seed: int, first: int, count: int, size: int) -> NDArray[np.intp]:
    """Return permutations number `first`, `first` + 1, ... of ``range(size)``, (count, size).

    The n-th permutation sorts the raw numbers n * size, ..., (n + 1) * size - 1 of the seed's
    stream, so it can be had without those before it.
    """
    bits = generator(seed, SHUFFLING)
    bits.advance(first * size)
    keys = bits.random_raw(count * size).reshape(count, size)
    return np.argsort(keys, axis=1, kind="stable")


def masks(seed: int, first: int, count: int) -> NDArray[np.uint64]:
    """Return what dropout's random numbers follow from in epoch `first`, `first` + 1, ..."""
    bits = generator(seed, DROPPING)
    bits.advance(first)
    return bits.random_raw(count)


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


def _log(x: Array) -> Array:
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


def normal_quantile(p: Array) -> Array:
    """Return the standard normal quantiles of `p`, each in (0, 1)."""
    q = p - 0.5
    result = np.empty_like(q)
    centre = np.abs(q) <= 0.425
    qc = q[centre]
    result[centre] = qc * _rational(_CENTRE, 0.180625 - qc * qc)
    outside = ~centre
    r = np.sqrt(-_log(np.minimum(p[outside], 1 - p[outside])))
    value = np.where(r <= 5, _rational(_TAIL, r - 1.6), _rational(_FAR_TAIL, r - 5))
    result[outside] = np.where(q[outside] < 0, -value, value)
    return result
