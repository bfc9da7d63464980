"""Text as a network's tokens, and back: tokenizers, and windows over what is long.

A token is a number that stands for some bytes, so that any bytes can be written by tokens and read
from them again. Windows are views: of a long text nothing is copied before it is trained on.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pycnn._checks import check_bool, check_real, check_size
from pycnn._public import names_of
from pycnn.exceptions import DataError, DataTypeError, ModelFileError, PycnnError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Self

    from pycnn._typing import AnyArray, ArrayLike

__all__ = [
    "BytePairTokenizer",
    "CharacterTokenizer",
    "Tokenizer",
    "from_metadata",
    "split",
    "windows",
]
__dir__ = names_of(__name__)

BYTES = 256
# Bytes of a piece of text that is made into tokens for itself: more than words have, and few enough
# that the time for a text grows as its length does, whatever it is.
LONGEST = 64


class Tokenizer(ABC):
    """What text and tokens have in common: a vocabulary, of which a token is a place.

    Attributes
    ----------
    vocabulary : tuple of bytes
        What each token stands for.

    Examples
    --------
    >>> tokenizer = CharacterTokenizer("helo", fallback=False)
    >>> isinstance(tokenizer, Tokenizer), len(tokenizer)
    (True, 4)
    """

    kind: ClassVar[str]
    vocabulary: tuple[bytes, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest unsigned integers that hold every token; those of `encode`."""
        return np.min_scalar_type(len(self.vocabulary) - 1)

    def __len__(self) -> int:
        return len(self.vocabulary)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self.to_metadata() == other.to_metadata()

    def __hash__(self) -> int:
        return hash((self.kind, self.vocabulary))

    @abstractmethod
    def encode(self, text: str | bytes) -> AnyArray:
        """Return a text's tokens."""

    @abstractmethod
    def to_metadata(self) -> dict[str, Any]:
        """Return the tokenizer as plain data, for ``net.metadata["tokenizer"]``."""

    def decode_bytes(self, tokens: ArrayLike) -> bytes:
        """Return what tokens stand for: of ``encode(text)`` the bytes of the text, whatever it was.

        Parameters
        ----------
        tokens : array-like of int, of shape (n,)

        Returns
        -------
        bytes

        Raises
        ------
        ShapeError, DataTypeError, DataError
            If they are not such numbers, or not in the vocabulary.
        """
        places = _as_sequence(tokens, "tokens")
        if not places.size:
            return b""
        if places.dtype.kind not in "iu":
            raise DataTypeError(f"tokens must be integers, got dtype {places.dtype}")
        known = (places >= 0) & (places < len(self))
        if not known.all():
            at = int(known.argmin())
            raise DataError(f"tokens[{at}] is {places[at]}; tokens are 0 ... {len(self) - 1}")
        return b"".join(map(self.vocabulary.__getitem__, places.tolist()))

    def decode(self, tokens: ArrayLike, errors: str = "replace") -> str:
        """Return the text that tokens stand for.

        Parameters
        ----------
        tokens : array-like of int, of shape (n,)
        errors : str, default "replace"
            What becomes of bytes that are not UTF-8, as for `bytes.decode`: a network may write any
            token behind any other.

        Returns
        -------
        str

        Raises
        ------
        ShapeError, DataTypeError, DataError
            As by `decode_bytes`.
        UnicodeDecodeError
            With ``errors="strict"``.
        """
        return self.decode_bytes(tokens).decode("utf-8", errors)


class CharacterTokenizer(Tokenizer):
    """A token for each character.

    Parameters
    ----------
    characters : str
        The characters of the vocabulary, each once; `fit` takes those of a text.
    fallback : bool, default True
        Whether the vocabulary has, behind them, each byte that none of them stands for, so that any
        text can be encoded: a character that is not among them becomes its bytes in UTF-8.

    Raises
    ------
    DataTypeError, DataError
        If an argument is not valid.

    Examples
    --------
    >>> from pycnn.text import CharacterTokenizer
    >>> tokenizer = CharacterTokenizer.fit("to be or not to be", fallback=False)
    >>> tokenizer
    CharacterTokenizer(' benort', fallback=False)
    >>> tokenizer.encode("note").tolist()
    [3, 4, 6, 2]
    >>> tokenizer.decode([3, 4, 6, 2])
    'note'
    """

    kind = "character"

    def __init__(self, characters: str, fallback: bool = True) -> None:
        if not isinstance(characters, str):
            raise DataTypeError(f"characters must be a str, got {characters!r:.40}")
        if not characters:
            raise DataError("characters must be at least one")
        _to_utf8(characters, "characters")
        if len(set(characters)) < len(characters):
            twice = next(c for i, c in enumerate(characters) if c in characters[:i])
            raise DataError(f"characters must be different ones, but {twice!r} is there twice")
        self.characters, self.fallback = characters, check_bool(fallback, "fallback")
        words = [c.encode() for c in characters]
        if self.fallback:
            words += sorted({bytes([b]) for b in range(BYTES)} - set(words))
        self.vocabulary = tuple(words)
        self._tokens = _TokensOf(characters, words if self.fallback else ())

    @classmethod
    def fit(cls, text: str | bytes, fallback: bool = True) -> Self:
        """Return a tokenizer of the characters of a text, in their order in Unicode.

        Parameters
        ----------
        text : str or bytes
            Bytes are taken as UTF-8; those that are not such belong to no character.
        fallback : bool, default True
            See the class.

        Raises
        ------
        DataTypeError, DataError
            If there is no character, or if `text` is a str that UTF-8 cannot hold.
        """
        characters = sorted(set(_as_characters(text)))
        return cls("".join(c for c in characters if not _is_byte(c)), fallback)

    def __repr__(self) -> str:
        return f"CharacterTokenizer({self.characters!r}, fallback={self.fallback})"

    def encode(self, text: str | bytes) -> AnyArray:
        """Return a text's tokens.

        Parameters
        ----------
        text : str or bytes

        Returns
        -------
        ndarray of shape (n,)
            Of the smallest unsigned integers that hold every token: ``astype(int)`` where they are
            to be subtracted, say.

        Raises
        ------
        DataTypeError, DataError
            If `text` is neither, is a str that UTF-8 cannot hold (a lone surrogate), or has a
            character that is not in the vocabulary, without `fallback`.
        """
        characters = _as_characters(text)
        try:
            found = map(self._tokens.__getitem__, characters)
            return np.fromiter(chain.from_iterable(found), self.dtype)
        except KeyError:
            at = next(i for i, c in enumerate(characters) if c not in self._tokens)
        strange = characters[at]
        what = f"the byte {ord(strange) - 0xDC00:#x}" if _is_byte(strange) else repr(strange)
        raise DataError(
            f"text has {what} as character {at}, which is none of the tokenizer's "
            f"{len(self.characters)}; with fallback=True it becomes bytes"
        )

    def to_metadata(self) -> dict[str, Any]:
        """Return the tokenizer as plain data, for ``net.metadata["tokenizer"]``."""
        return {"kind": self.kind, "characters": self.characters, "fallback": self.fallback}


class _TokensOf(dict[str, tuple[int, ...]]):
    """The tokens of each character; those of others are found by their bytes when they come."""

    def __init__(self, characters: str, words: Iterable[bytes]) -> None:
        super().__init__((c, (i,)) for i, c in enumerate(characters))
        self.by_byte = {word: i for i, word in enumerate(words) if len(word) == 1}

    def __missing__(self, character: str) -> tuple[int, ...]:
        if not self.by_byte:
            raise KeyError(character)
        found = character.encode("utf-8", "surrogateescape")
        self[character] = tokens = tuple(self.by_byte[bytes([byte])] for byte in found)
        return tokens


class BytePairTokenizer(Tokenizer):
    """Tokens for bytes, and for what often stands together: byte-pair encoding.

    Tokens 0 ... 255 are the bytes; each further one is a pair of those before it. A text is parted
    into words (with the blank before them), numbers, marks and blanks, of 64 bytes at most, and in
    each the pairs are joined in the order in which they were learned.

    Parameters
    ----------
    merges : sequence of (int, int)
        The two tokens of 256, 257, ...; `fit` learns them from a text (Gage, 1994; Sennrich et
        al., 2016).

    Raises
    ------
    DataTypeError, DataError
        If a pair is not of two earlier tokens, is there twice, or stands for more than 64 bytes.

    Examples
    --------
    >>> from pycnn.text import BytePairTokenizer
    >>> tokenizer = BytePairTokenizer.fit("low lower lowest", 3)
    >>> tokenizer.vocabulary[256:]
    (b'lo', b'low', b' low')
    >>> tokens = tokenizer.encode("slow")
    >>> tokens.tolist(), tokenizer.decode(tokens)
    ([115, 257], 'slow')
    """

    kind = "byte_pair"

    def __init__(self, merges: Sequence[tuple[int, int]] = ()) -> None:
        words = [bytes([byte]) for byte in range(BYTES)]
        self._joined: dict[tuple[int, int], int] = {}
        for number, merge in enumerate(merges):
            left, right = _check_merge(merge, number)
            if len(words[left]) + len(words[right]) > LONGEST:
                raise DataError(f"merges[{number}] stands for more than {LONGEST} bytes")
            if self._joined.setdefault((left, right), len(words)) != len(words):
                raise DataError(f"merges[{number}] is there before: {left}, {right}")
            words.append(words[left] + words[right])
        self.vocabulary = tuple(words)

    @property
    def merges(self) -> tuple[tuple[int, int], ...]:
        """The two tokens of 256, 257, ..."""
        return tuple(self._joined)

    @classmethod
    def fit(cls, text: str | bytes, merges: int = 1000) -> Self:
        """Return a tokenizer of the pairs that a text has most of.

        Parameters
        ----------
        text : str or bytes
        merges : int, default 1000
            Tokens beside the 256 bytes; there are fewer where no further pair stands there twice.
            Of pairs that are there equally often the smallest is taken first.

        Raises
        ------
        DataTypeError, DataError
            If an argument is not valid.
        """
        return cls(_learn_merges(_as_bytes(text), check_size(merges, "merges", at_least=0)))

    def __repr__(self) -> str:
        return f"<BytePairTokenizer of {len(self)} tokens>"

    def encode(self, text: str | bytes) -> AnyArray:
        """Return a text's tokens.

        Parameters
        ----------
        text : str or bytes

        Returns
        -------
        ndarray of shape (n,)
            Of the smallest unsigned integers that hold every token.

        Raises
        ------
        DataTypeError, DataError
            If `text` is neither, or is a str that UTF-8 cannot hold (a lone surrogate).
        """
        pieces = map(re.Match.group, _PIECES.finditer(_as_bytes(text)))
        known = _PiecesOf(self._joined)
        return np.fromiter(chain.from_iterable(map(known.__getitem__, pieces)), self.dtype)

    def to_metadata(self) -> dict[str, Any]:
        """Return the tokenizer as plain data, for ``net.metadata["tokenizer"]``."""
        return {"kind": self.kind, "merges": [list(merge) for merge in self.merges]}


class _PiecesOf(dict[bytes, list[int]]):
    """The tokens of each piece of a text, found when it comes for the first time."""

    def __init__(self, joined: Mapping[tuple[int, int], int]) -> None:
        self.joined = joined

    def __missing__(self, piece: bytes) -> list[int]:
        tokens, never = list(piece), len(self.joined) + BYTES
        while len(tokens) > 1:
            made = [self.joined.get(pair, never) for pair in pairwise(tokens)]
            first = min(made)
            if first == never:
                break
            joined, at = [], 0
            while at < len(tokens):
                here = at < len(made) and made[at] == first
                joined.append(first if here else tokens[at])
                at += 2 if here else 1
            tokens = joined
        self[piece] = tokens
        return tokens


# Words, numbers and marks with the blank in front of them, and what else is blank; bytes beyond
# ASCII are those of letters. Any bytes are parted so, and none are left out.
_PIECES = re.compile(
    rb" ?[A-Za-z\x80-\xff]{1,%(n)d}| ?[0-9]{1,%(n)d}| ?[^\sA-Za-z0-9\x80-\xff]{1,%(n)d}"
    rb"|\s{1,%(n)d}(?!\S)|\s" % {b"n": LONGEST - 1}
)


def _learn_merges(text: bytes, most: int) -> list[tuple[int, int]]:
    """Return the pairs that byte-pair encoding joins, in their order.

    All different pieces lie in one array, with -1 between them, and each has the weight of the
    number of its occurrences. What a merge changes is counted anew around it, and nothing else.
    """
    import heapq
    from collections import Counter

    pieces = Counter(map(re.Match.group, _PIECES.finditer(text)))
    if not pieces:
        return []
    ends = np.cumsum([len(piece) + 1 for piece in pieces]) - 1
    symbols = np.frombuffer(b"\0".join([*pieces, b""]), np.uint8).astype(np.int64)
    symbols[ends] = -1
    weights = np.repeat(list(pieces.values()), np.diff(ends, prepend=-1))
    counts: dict[int, int] = {}

    def count(places: AnyArray, sign: int) -> Iterable[int]:
        """Add or take away the pairs that begin at these places; return which these are."""
        left, right = symbols[places], symbols[places + 1]
        inner = (left >= 0) & (right >= 0)
        found, which = np.unique(left[inner] << 32 | right[inner], return_inverse=True)
        sums = np.zeros(len(found), np.int64)
        np.add.at(sums, which, weights[places][inner])
        for pair, number in zip(found.tolist(), sums.tolist(), strict=True):
            counts[pair] = counts.get(pair, 0) + sign * number
        return found.tolist()

    count(np.arange(len(symbols) - 1), 1)
    heap = [(-number, pair) for pair, number in counts.items()]
    heapq.heapify(heap)
    merges: list[tuple[int, int]] = []
    while heap and len(merges) < most:
        number, pair = heapq.heappop(heap)
        if counts[pair] != -number:
            continue  # another entry has what it has become
        if number > -2:
            break
        left, right = pair >> 32, pair & 0xFFFFFFFF
        at = np.flatnonzero((symbols[:-1] == left) & (symbols[1:] == right))
        if left == right:  # of three in a row the first two
            run = np.flatnonzero(np.diff(at, prepend=-2) != 1)
            place = np.arange(len(at))
            at = at[(place - run[np.searchsorted(run, place, side="right") - 1]) % 2 == 0]
        around = np.unique([at - 1, at, at + 1])
        changed = {*count(around[(around >= 0) & (around < len(symbols) - 1)], -1)}
        symbols[at] = BYTES + len(merges)
        kept = np.ones(len(symbols), bool)
        kept[at + 1] = False
        symbols, weights = symbols[kept], weights[kept]
        at = at - np.arange(len(at))
        around = np.unique([at - 1, at])
        changed.update(count(around[around >= 0], 1))
        for each in changed:
            if counts[each]:
                heapq.heappush(heap, (-counts[each], each))
        merges.append((left, right))
    return merges


def _check_merge(merge: Any, number: int) -> tuple[int, int]:
    """Return a pair of tokens that come before token 256 + `number`."""
    end = BYTES + number
    pair = tuple(merge) if isinstance(merge, (tuple, list)) else ()
    if len(pair) != 2 or not all(type(part) is int and 0 <= part < end for part in pair):
        raise DataError(
            f"merges[{number}] must be two tokens of 0 ... {end - 1}, got {merge!r:.40}"
        )
    return pair


def from_metadata(metadata: Any) -> CharacterTokenizer | BytePairTokenizer:
    """Return the tokenizer that `to_metadata` has described: ``net.metadata["tokenizer"]``.

    Parameters
    ----------
    metadata : dict

    Raises
    ------
    ModelFileError
        If it describes none: what a file holds may be anything.

    Examples
    --------
    >>> from pycnn import text
    >>> tokenizer = text.CharacterTokenizer("abc", fallback=False)
    >>> text.from_metadata(tokenizer.to_metadata()) == tokenizer
    True
    """
    try:
        settings = dict(metadata)
        kind = settings.pop("kind")
        made = {each.kind: each for each in (CharacterTokenizer, BytePairTokenizer)}[kind]
        return made(**settings)
    except (PycnnError, TypeError, ValueError, LookupError) as error:
        raise ModelFileError(f"the model's tokenizer is none: {error!s:.200}") from None


# ------------------------------------------------------------------ texts


def _is_byte(character: str) -> bool:
    """Tell whether a character is a byte that is not UTF-8, as ``surrogateescape`` writes it."""
    return 0xDC80 <= ord(character) <= 0xDCFF


def _to_utf8(text: str, name: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{name} has a lone surrogate as character {error.start}, "
            f"{text[error.start]!r}, which UTF-8 cannot hold"
        ) from None


def _as_bytes(text: Any) -> bytes:
    if isinstance(text, str):
        return _to_utf8(text, "text")
    if isinstance(text, (bytes, bytearray, memoryview)):
        return bytes(text)
    raise DataTypeError(f"text must be a str or bytes, got {type(text).__name__}")


def _as_characters(text: Any) -> str:
    """Return a text's characters, and bytes that are none of UTF-8's as ``surrogateescape``."""
    return _as_bytes(text).decode("utf-8", "surrogateescape")


# ------------------------------------------------------------------ windows


def _as_sequence(values: Any, name: str) -> AnyArray:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ShapeError(f"{name} must be a regular array: {error}") from None
    if array.ndim != 1:
        raise ShapeError(f"{name} must have shape (n,), got {array.shape}")
    return array


def windows(tokens: ArrayLike, length: int, stride: int | None = None) -> tuple[AnyArray, AnyArray]:
    """Return windows over a long sequence, and for each place in them what comes next.

    Parameters
    ----------
    tokens : array-like of shape (n,)
        Also a memory map.
    length : int
        Tokens of a window.
    stride : int, optional
        From the beginning of one window to that of the next: by default `length`, so that each
        token is in one of them; what is left at the end makes none.

    Returns
    -------
    X, y : ndarray of shape (m, length)
        ``X[i, t]`` is ``tokens[i * stride + t]``, and ``y[i, t]`` the one behind it. Both are views
        of `tokens`, which cannot be written to: `fit` takes the windows of a long text some
        megabytes at a time.

    Raises
    ------
    ShapeError, DataTypeError, DataError
        If an argument is not valid, or `tokens` are not one more than `length` at least.

    Examples
    --------
    >>> from pycnn.text import windows
    >>> X, y = windows([1, 2, 3, 4, 5, 6, 7, 8], 3)
    >>> X.tolist(), y.tolist()
    ([[1, 2, 3], [4, 5, 6]], [[2, 3, 4], [5, 6, 7]])
    """
    array = _as_sequence(tokens, "tokens")
    length = check_size(length, "length")
    stride = length if stride is None else check_size(stride, "stride")
    if len(array) <= length:
        raise DataError(
            f"tokens must be at least {length + 1} for a window of {length} and what comes next, "
            f"got {len(array)}"
        )
    every = np.lib.stride_tricks.sliding_window_view(array, length + 1)[::stride]
    return every[:, :-1], every[:, 1:]


def split(values: ArrayLike, fraction: float = 0.1) -> tuple[AnyArray, AnyArray]:
    """Return a sequence in two parts: what comes first, and its end, which is held out.

    A sequence is never shuffled across the split: windows that overlap would have most of what is
    held out trained on.

    Parameters
    ----------
    values : array-like of shape (n, ...)
    fraction : float, default 0.1
        Of the second part; between 0 and 1.

    Returns
    -------
    first, rest : ndarray
        Views.

    Raises
    ------
    DataTypeError, DataError
        If an argument is not valid, or one of the parts would be empty.

    Examples
    --------
    >>> from pycnn.text import split
    >>> training, validation = split(range(20))
    >>> validation
    array([18, 19])
    """
    array = np.asarray(values)
    part = check_real(fraction, "fraction", at_least=0, at_most=1)
    count = round(len(array) * part) if array.ndim else 0
    if not 0 < count < max(array.shape[:1], default=0):
        size = len(array) if array.ndim else "no sequence"
        raise DataError(
            f"values must have two parts, but a fraction of {fraction} of {size} has one"
        )
    return array[: len(array) - count], array[len(array) - count :]
