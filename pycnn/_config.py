"""Nothing is hidden: which core runs, and how."""

from __future__ import annotations

from typing import Any

from pycnn import backend
from pycnn._version import __version__


def config() -> dict[str, Any]:
    """Return what runs: version, backend, isa, threads, compiler.

    ``backend`` is ``"c"`` or ``"numpy"``, as a new ``Network`` would get it; ``isa`` the
    instruction set of its kernels; ``threads`` the limit that `set_num_threads` sets. NumPy's
    kernels are NumPy's business: there ``isa`` is ``"numpy"`` and ``threads`` 1.
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
    """Print `config`."""
    for key, value in config().items():
        print(f"{key:<10}{value}")
