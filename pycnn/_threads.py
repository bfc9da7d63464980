"""How many threads the core may use: a limit that is bounded by what the machine grants."""

from __future__ import annotations

import functools
import math
import os
import sys

from pycnn.exceptions import DataError
from pycnn.layers import check_size

_limit: int | None = None


def _cgroup_quota() -> float:
    """Return the CPUs that this process's control group may use, or infinity."""
    from pathlib import Path

    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return math.inf if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        folder = Path("/sys/fs/cgroup/cpu")
        micros = int((folder / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        period_micros = int((folder / "cpu.cfs_period_us").read_text(encoding="ascii"))
        return math.inf if micros <= 0 else micros / period_micros
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf


def _from_environment() -> int | None:
    for name in ("PYCNN_NUM_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(name, "").split(",")[0].strip()
        if not value:
            continue
        if value.isascii() and value.isdecimal() and len(value) < 10 and int(value) > 0:
            return int(value)
        if name == "PYCNN_NUM_THREADS":  # the other one is other libraries' too
            raise DataError(f"{name} must be a number of threads of at least 1, got {value!r}")
    return None


@functools.cache
def _default() -> int:
    asked = _from_environment()
    if asked is not None:
        return asked
    if hasattr(os, "sched_getaffinity"):
        granted = len(os.sched_getaffinity(0))
    else:
        granted = os.cpu_count() or 1
    return max(1, int(min(granted, _cgroup_quota())))


def get_num_threads() -> int:
    """Return the most threads that pycnn will use.

    Unless `set_num_threads` said otherwise: PYCNN_NUM_THREADS, else OMP_NUM_THREADS, else the CPUs
    that affinity and control group grant.
    """
    return _limit if _limit is not None else _default()


def set_num_threads(n: int) -> None:
    """Set the most threads that pycnn will use.

    Parameters
    ----------
    n : int
        At least 1; the core uses at most 64. Results do not depend on it.
    """
    global _limit
    _limit = min(check_size(n, "n"), sys.maxsize)
