"""Nothing is hidden: which core runs, and how; and where its source lies."""

from __future__ import annotations

import os
from typing import Any

from pycnn import backend
from pycnn._version import __version__


def config() -> dict[str, Any]:
    """Return what runs: version, backend, isa, threads, compiler.

    ``backend`` is ``"c"`` or ``"numpy"``, as a new ``Network`` would get it; ``isa`` the
    instruction set of its kernels; ``threads`` the limit that `set_num_threads` sets. NumPy's
    kernels are NumPy's business: there ``isa`` is ``"numpy"`` and ``threads`` 1.

    Examples
    --------
    >>> sorted(config())
    ['backend', 'compiler', 'isa', 'threads', 'version']
    """
    module = backend.load()
    return {
        "version": __version__,
        "backend": backend.name_of(module),
        "isa": module.isa(),
        "threads": module.threads(),
        "compiler": module.compiler(),
    }


def show_config() -> None:
    """Print `config`.

    Examples
    --------
    >>> show_config()  # doctest: +ELLIPSIS
    version   ...
    backend   ...
    isa       ...
    threads   ...
    compiler  ...
    """
    for key, value in config().items():
        print(f"{key:<10}{value}")


def get_include() -> str:
    """Return the folder of ``pycnn.h``, for what is compiled against the core without Python.

    Beside it lie ``pycnn_file.h`` and ``pycnn.c``, the whole core as one file: an extension module
    that lists both its own source and this one has a core of its own, which it shares with nobody.

    Examples
    --------
    >>> sorted(os.listdir(get_include()))
    ['pycnn.c', 'pycnn.h', 'pycnn_file.h']
    """
    return os.path.join(os.path.dirname(__file__), "include")
