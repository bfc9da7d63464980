"""`Rescale`: numbers in another unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pycnn._checks import check_real
from pycnn.exceptions import DataError
from pycnn.layers._base import Layer, as_image

if TYPE_CHECKING:
    from pycnn._typing import Shape
    from pycnn.backend.interface import Setting


class Rescale(Layer):
    """Bring numbers into another unit, ``scale * A_previous + offset``.

    In front of the others it lets bytes come in as they are: ``Rescale(1 / 255)`` makes numbers
    from 0 to 1 of them, and stays with the model, in its file too.

    Parameters
    ----------
    scale : float
        A factor, not 0.
    offset : float, default 0.0
        What is added then.

    Raises
    ------
    DataError, DataTypeError
        If an argument is not valid.

    Examples
    --------
    >>> Rescale(1 / 255)
    Rescale(0.00392156862745098)
    >>> Rescale(2, -1)
    Rescale(2.0, offset=-1.0)
    """

    kind = "rescale"
    normalizes_inputs = True
    knows_lengths = takes_parts = True

    def __init__(self, scale: float, offset: float = 0.0) -> None:
        super().__init__()
        self._scale = check_real(scale, "scale")
        if self._scale == 0:
            raise DataError("scale must not be 0: all numbers would become one")
        self._offset = check_real(offset, "offset")

    @property
    def scale(self) -> float:
        """The factor."""
        return self._scale

    @property
    def offset(self) -> float:
        """What is added."""
        return self._offset

    def _settings(self, input_shape: Shape) -> dict[str, Setting]:
        shape = {"shape": as_image(input_shape)} if len(input_shape) == 2 else {}
        return {"scale": self.scale, "offset": self.offset, **shape}

    def config(self) -> dict[str, Any]:
        """Return kind and settings as plain data, from which `from_config` rebuilds the layer."""
        return {"kind": self.kind, "scale": self.scale, "offset": self.offset}

    def __repr__(self) -> str:
        return f"Rescale({self.scale!r}{f', offset={self.offset!r}' if self.offset else ''})"
