"""What tab completion shows of a module: what it has to offer, and not what it imports."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["names_of"]


def names_of(module: str) -> Callable[[], list[str]]:
    """Return a module's ``__dir__``: the names in its ``__all__``, and Python's own."""

    def names() -> list[str]:
        values = vars(sys.modules[module])
        return sorted({*values["__all__"], *(name for name in values if name.startswith("__"))})

    return names
