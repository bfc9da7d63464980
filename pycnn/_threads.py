"""How many threads the core may use: a limit that is bounded by what the machine grants."""

from __future__ import annotations

import functools
import math
import os

from pycnn._checks import check_size
from pycnn.exceptions import DataError

_limit: int | None = None


def _read(path: str) -> str:
    """Return what a file of the system says; nothing where there is no such file."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except (OSError, ValueError):
        return ""


def _cpus(quota: str, period: str) -> float:
    """Return ``quota / period``, or infinity where they set no limit or are no numbers."""
    try:
        cpus = int(quota) / int(period)
    except (ValueError, ArithmeticError):  # "max"; nothing; nonsense
        return math.inf
    return cpus if cpus > 0 else math.inf  # -1: no limit


def _cgroup_quota(root: str = "") -> float:
    """Return the CPUs that this process's control groups may use, or infinity.

    A group has at most what the groups around it have: the quota is the least of all of them. In a
    container some may lie above what can be seen; its own group is then the mounted root.
    """
    least = math.inf
    for line in ["0::/", "0:cpu:/", *_read(f"{root}/proc/self/cgroup").splitlines()]:
        controllers, _, group = line.partition(":")[2].partition(":")
        names = [name for name in group.split("/") if name]
        for depth in range(len(names) + 1):
            path = "".join("/" + name for name in names[:depth])
            if not controllers:  # version 2
                quota, _, period = _read(f"{root}/sys/fs/cgroup{path}/cpu.max").partition(" ")
                least = min(least, _cpus(quota, period))
            elif "cpu" in controllers.split(","):
                folder = f"{root}/sys/fs/cgroup/cpu{path}"
                quota = _read(f"{folder}/cpu.cfs_quota_us")
                least = min(least, _cpus(quota, _read(f"{folder}/cpu.cfs_period_us")))
    return least


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

    Examples
    --------
    >>> get_num_threads() >= 1
    True
    """
    limit = _limit  # read once: another thread may set it
    return _default() if limit is None else limit


def set_num_threads(n: int) -> None:
    """Set the most threads that pycnn will use.

    Parameters
    ----------
    n : int
        At least 1; the core uses at most 64. Results do not depend on it.

    Notes
    -----
    The limit is the whole process's. ``threadpoolctl.threadpool_limits`` sets the same one,
    whenever threadpoolctl was imported, from the first network on: before, no core is loaded.

    Examples
    --------
    >>> before = get_num_threads()
    >>> set_num_threads(1)
    >>> get_num_threads()
    1
    >>> set_num_threads(before)
    """
    global _limit
    _limit = check_size(n, "n")
