"""Types that many modules name. Only annotations need them: import it under TYPE_CHECKING."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["AnyArray", "Array", "ArrayLike", "Bits", "Flags", "Indices", "NDArray", "Shape"]

Shape: TypeAlias = tuple[int, ...]

AnyArray: TypeAlias = NDArray[Any]
Array: TypeAlias = NDArray[np.float64]
Bits: TypeAlias = NDArray[np.uint64]  # of random streams, and their keys
Flags: TypeAlias = NDArray[np.bool_]
Indices: TypeAlias = NDArray[np.intp]
