"""`Tokens`: samples that are rows of whole numbers, each of which stands for a word or a sign."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pycnn._checks import check_shape, check_size, is_open
from pycnn._data.arrays import as_array, from_nullable, place_of
from pycnn.exceptions import DataError, DataTypeError, ShapeError

if TYPE_CHECKING:
    from typing import Self

    from pycnn._typing import AnyArray, Array, Indices, Shape


class Tokens(tuple[int, ...]):
    """The inputs of a network that reads text, or other sequences of signs: whole numbers.

    It is the shape of a sample, ``(length,)``, that knows how many different tokens there are. The
    first layer is an `Embedding` then. Samples are arrays of shape (m, length) of any integer
    dtype, whose numbers are 0 ... vocabulary - 1.

    Parameters
    ----------
    vocabulary : int
        How many different tokens there are, at least 2.
    length : int, optional
        Tokens of a sample. By default samples may be of any length, which is that of all those of a
        call, for layers that do not depend on it.

    Raises
    ------
    DataError, DataTypeError
        If an argument is not valid.

    Examples
    --------
    >>> from pycnn import Dense, Embedding, Flatten, Network
    >>> layers = [Embedding(8), Flatten(), Dense(50, "softmax")]
    >>> net = Network(Tokens(50, length=3), layers, seed=0)
    >>> net.predict([[4, 8, 15], [16, 23, 42]]).shape
    (2, 50)
    """

    _vocabulary: int

    def __new__(cls, vocabulary: int, length: int | None = None) -> Self:
        """Return the shape of samples of that many tokens."""
        size = cast("int", None) if length is None else check_size(length, "length")
        shape = super().__new__(cls, (size,))
        shape._vocabulary = check_size(vocabulary, "vocabulary", at_least=2)
        return shape

    @property
    def vocabulary(self) -> int:
        """How many different tokens there are."""
        return self._vocabulary

    @property
    def length(self) -> int | None:
        """Tokens of a sample; None: any number."""
        return self[0]

    def __getnewargs__(self) -> tuple[int, int | None]:
        return self.vocabulary, self.length

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Tokens) and other.vocabulary != self.vocabulary:
            return False
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = tuple.__hash__

    def __repr__(self) -> str:
        length = "" if self.length is None else f", length={self.length}"
        return f"Tokens({self.vocabulary}{length})"


def check_inputs(value: Any) -> Shape:
    """Return the shape of a network's samples, whatever says what it is: also plain data of files.

    Raises
    ------
    DataTypeError, DataError
        If it is none.
    """
    if isinstance(value, Tokens):
        return value
    if isinstance(value, dict):
        if value.keys() != {"vocabulary", "length"}:
            raise DataError(f"inputs must have a vocabulary and a length, got {value!r:.80}")
        return Tokens(**value)
    if isinstance(value, (tuple, list)) and None in value:
        if len(value) != 2 or value[1] is None:
            raise DataError(
                "inputs may have None for the length of sequences, (None, features), or be "
                f"Tokens(vocabulary), got {value!r:.80}"
            )
        return cast("Shape", (None, check_size(value[1], "inputs")))
    return check_shape(value, "inputs")


def at_length(shape: Shape, positions: int) -> Shape:
    """Return the shape of sequences that are so long."""
    if isinstance(shape, Tokens):
        return Tokens(shape.vocabulary, positions)
    return (positions, *shape[1:])


def fitted(shape: Shape, value: Any, name: str) -> tuple[Any, Shape]:
    """Return samples and their shape; where sequences may have any length, these tell theirs.

    Raises
    ------
    ShapeError
        If they are then no array of sequences that are equally long.
    """
    if not is_open(shape):
        return value, shape
    if not hasattr(value, "shape"):
        try:
            value = as_array(value, name)
        except ShapeError as error:
            raise ShapeError(
                f"{error}. Sequences of several lengths are padded at their ends to be one array, "
                "and lengths= says where they end; or each length is a mini-batch of its own"
            ) from None
    given = tuple(value.shape)
    # Of one feature, or of tokens, an array has one axis less.
    single = len(shape) == 2 and shape[1] == 1 and len(given) == 2
    if not (single or given[2:] == shape[1:]) or len(given) < 2 or not given[1]:
        wanted = ", ".join(["samples", "positions", *map(str, shape[1:])])
        alone = "; a single sample is {name}[np.newaxis]" if given[1:] == shape[1:] else ""
        raise ShapeError(f"{name} must have shape ({wanted}), got {given}{alone.format(name=name)}")
    return value, at_length(shape, given[1])


def plain_inputs(shape: Shape) -> Any:
    """Return a shape of samples as plain data, of which `check_inputs` makes the same again."""
    if isinstance(shape, Tokens):
        return {"vocabulary": shape.vocabulary, "length": shape.length}
    return shape[0] if len(shape) == 1 else list(shape)


def as_integers(value: Any, name: str, tokens: Tokens) -> AnyArray:
    """Return `value` as an array of whole numbers, in whatever dtype it has.

    Raises
    ------
    DataTypeError
        If they are none.
    """
    array = as_array(from_nullable(value, "iu", np.int64), name)
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        where = np.argwhere(np.ma.getmaskarray(value))[0]
        raise DataError(f"{name} must have all its values, but is masked{place_of(where)}")
    if array.dtype.kind not in "iu":
        hint = f"; {name}.astype(int) if they are whole" if array.dtype.kind == "f" else ""
        raise DataTypeError(
            f"{name} must hold integers, since its samples are tokens, 0 ... "
            f"{tokens.vocabulary - 1}, got dtype {array.dtype}{hint}"
        )
    return array


def check_range(
    block: Array | AnyArray, name: str, tokens: Tokens, rows: Indices | None = None
) -> None:
    """Raise `DataError` that says which number of (m, length) is the first that is no token.

    `rows` are the numbers of the block's rows, where they are not 0, 1, ...
    """
    if not block.size or (block.min() >= 0 and block.max() < tokens.vocabulary):
        return
    row, column = np.argwhere((block < 0) | (block >= tokens.vocabulary))[0]
    number = row if rows is None else rows[row]
    raise DataError(
        f"{name}[{number}, {column}] is {int(block[row, column])}; tokens are 0 ... "
        f"{tokens.vocabulary - 1}"
    )
