"""The seam: one interface, two implementations, `c` and `numpy`, chosen by name."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, cast

from pycnn._checks import check_choice
from pycnn.exceptions import BackendError

if TYPE_CHECKING:
    from pycnn.backend.c import Plan as CPlan
    from pycnn.backend.numpy.plan import Plan as NumpyPlan
    from pycnn.backend.protocol import Backend, BackendOf

NAMES = ("auto", "c", "numpy")


@functools.cache
def _import_c() -> Backend | str:
    """Return the C backend, or why it cannot be had."""
    try:
        from pycnn.backend import c  # by name: what freezes a program must find it
    except ImportError as error:
        return str(error)
    core: BackendOf[CPlan] = c
    return cast("Backend", core)


@functools.cache
def _warn_once(reason: str) -> None:
    import warnings

    warnings.warn(
        f"pycnn runs on its slow NumPy fallback: its compiled core is not there ({reason}). "
        "Install it with a C compiler (pip install pycnn), or set PYCNN_BACKEND=numpy to choose "
        "the fallback.",
        RuntimeWarning,
        stacklevel=4,
    )


def load(name: str = "auto") -> Backend:
    """Return the backend of that name.

    ``"auto"`` stands for the environment variable PYCNN_BACKEND, and without it for the compiled
    core; where that is missing, for the NumPy fallback, with one warning.

    Raises
    ------
    UnknownNameError
        If there is no such backend.
    BackendError
        If the C core is asked for and not installed.
    """
    check_choice(name, NAMES, "backend")
    if name == "auto":
        name = check_choice(os.environ.get("PYCNN_BACKEND") or "auto", NAMES, "PYCNN_BACKEND")
    if name == "numpy":
        from pycnn.backend import numpy

        slow: BackendOf[NumpyPlan] = numpy
        return cast("Backend", slow)
    core = _import_c()
    if not isinstance(core, str):
        return core
    if name == "c":
        raise BackendError(f"backend 'c' was asked for, but the compiled core is not there: {core}")
    _warn_once(core)
    return load("numpy")


def name_of(backend: Backend) -> str:
    """Return ``"c"`` or ``"numpy"``."""
    return backend.__name__.rpartition(".")[2]
