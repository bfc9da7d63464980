"""`Dropout`, `SpatialDropout`: a random share of the numbers is left out of training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pycnn._checks import check_real
from pycnn.exceptions import DataError, ShapeError
from pycnn.layers._base import Layer, as_image

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pycnn._typing import Shape
    from pycnn.backend.interface import Setting


class Dropout(Layer):
    """In training, set a random share of the numbers to 0 (Srivastava et al., 2014).

    The others are divided by ``1 - rate``, so that sums keep their mean (inverted dropout);
    in prediction the layer changes nothing. Which numbers are dropped follows from the network's
    seed, the epoch, the layer, the sample's place in the epoch and the unit: the same on both
    backends, for any number of threads, and when a training is resumed.

    Parameters
    ----------
    rate : float, default 0.5
        Share that is dropped, from 0 to below 1.

    Raises
    ------
    DataError, DataTypeError
        If `rate` is not valid.

    Examples
    --------
    >>> Dropout(0.2)
    Dropout(0.2)
    """

    kind = "dropout"
    can_be_last = False
    knows_lengths = takes_parts = True

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__()
        self._rate = check_real(rate, "rate", at_least=0)
        if self._rate >= 1:
            raise DataError(f"rate must be at least 0 and below 1, got {rate!r}")
        self.is_random = self._rate > 0

    @property
    def rate(self) -> float:
        """Share that is dropped."""
        return self._rate

    def _settings(self, input_shape: Shape) -> Mapping[str, Setting]:
        return {"rate": self.rate}

    def config(self) -> dict[str, Any]:
        """Return kind and settings as plain data, from which `from_config` rebuilds the layer."""
        return {"kind": self.kind, "rate": self.rate}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.rate!r})"


class SpatialDropout(Dropout):
    """In training, set a random share of the channels to 0 (Tompson et al., 2015).

    As `Dropout`, but of an image or a sequence a channel is dropped at all positions, or at none:
    neighbouring numbers of a channel say nearly the same, so that without one of them hardly
    anything would be missing.

    Parameters
    ----------
    rate : float, default 0.5
        Share of the channels that is dropped, from 0 to below 1.

    Raises
    ------
    DataError, DataTypeError
        If `rate` is not valid.
    ShapeError
        When a network is made of it: if samples are a single row, which has no channels.

    Examples
    --------
    >>> SpatialDropout(0.2)
    SpatialDropout(0.2)
    """

    kind = "spatial_dropout"
    core_kind = "dropout"

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of a sample behind the layer."""
        if len(input_shape) == 1:
            raise ShapeError(
                f"{self!r} drops whole channels of images or sequences, but samples have shape "
                f"{input_shape}: Dropout({self.rate!r}) drops single numbers"
            )
        return input_shape

    def _settings(self, input_shape: Shape) -> Mapping[str, Setting]:
        return {**super()._settings(input_shape), "shape": as_image(input_shape)}
