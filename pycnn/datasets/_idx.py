"""Arrays in IDX files, the format of MNIST and of what has been made after it.

    0  0  type  axes        one byte each
    size of each axis       four bytes each, the most significant first
    the numbers             C order, the most significant byte first

(Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", at its end.)
"""

from __future__ import annotations

import math
import os
import sys
import zlib
from typing import TYPE_CHECKING

import numpy as np

from pycnn.exceptions import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycnn._typing import AnyArray

TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
MOST_AXES = 32  # what every NumPy has
# No byte of a gzip file gives more: a match of 258 bytes takes two bits at least.
MOST_FROM_A_BYTE = 1032
PIECE = 1 << 16


def load_idx(path: str | os.PathLike[str]) -> AnyArray:
    """Return the array in an IDX file, the format of MNIST's images and labels.

    Parameters
    ----------
    path : str or path-like
        The file; one that gzip has compressed is recognised by its first bytes.

    Returns
    -------
    ndarray
        Of the shape and the type that the file names: uint8, int8, int16, int32, float32 or
        float64, in this machine's byte order.

    Raises
    ------
    DataError
        If the file is none of this format, is damaged, or has less or more numbers than it says;
        memory is taken for those that are there, not for those that it claims.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "labels.idx1-ubyte")
    ...     _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 4]))
    ...     load_idx(file)
    array([5, 0, 4], dtype=uint8)
    """
    name = os.fspath(path)
    with open(name, "rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
        most = file.seek(0, os.SEEK_END) * (MOST_FROM_A_BYTE if compressed else 1)
        file.seek(0)
        try:
            if not compressed:
                return _read(file.read, most)
            import gzip

            with gzip.GzipFile(fileobj=file) as unpacked:
                return _read(unpacked.read, most)
        except DataError as error:
            raise DataError(f"{name}: {error}") from None
        except (EOFError, zlib.error) as error:
            raise DataError(f"{name}: a damaged gzip file: {error}") from None
        except OSError as error:
            if error.errno is not None:
                raise
            raise DataError(f"{name}: a damaged gzip file: {error}") from None


def _read(read: Callable[[int], bytes], most: int) -> AnyArray:
    """Return the array in what is read, which cannot be more than `most` bytes."""
    head = read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in TYPES:
        raise DataError(
            "not an IDX file, which begins with two bytes 0 and one of "
            f"{', '.join(map(str, TYPES))}; got the bytes {list(head[:3])}"
        )
    axes, dtype = head[3], np.dtype(TYPES[head[2]])
    if not 1 <= axes <= MOST_AXES:
        raise DataError(f"an IDX file must have 1 to {MOST_AXES} axes, this one says {axes}")
    sizes = read(4 * axes)
    if len(sizes) < 4 * axes:
        raise DataError(f"the IDX file ends within the sizes of its {axes} axes")
    shape = tuple(np.frombuffer(sizes, ">u4").tolist())
    size = math.prod(shape) * dtype.itemsize
    says = f"the IDX file says that it holds an array {shape} of {dtype.name}, {size} bytes"
    if size > most:
        raise DataError(f"{says}, but it is too short for that")
    # An empty array may have huge axes beside the one of size 0: NumPy wants these to fit as well.
    if math.prod(n or 1 for n in shape) * dtype.itemsize > sys.maxsize:
        raise DataError(f"{says}, but no array has such axes")
    content = bytearray()
    while len(content) <= size:
        piece = read(min(PIECE, size + 1 - len(content)))
        if not piece:
            break
        content += piece
    if len(content) != size:
        there = f"only {len(content)} are there" if len(content) < size else "more are there"
        raise DataError(f"{says}, but {there}")
    array = np.frombuffer(content, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)
