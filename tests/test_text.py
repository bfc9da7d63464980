"""Tokenizers are exact in both directions, whatever the bytes; windows are views."""

import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pycnn
from pycnn import Dense, Network, text
from pycnn.exceptions import DataError, DataTypeError, ModelFileError, ShapeError
from pycnn.text import BytePairTokenizer, CharacterTokenizer, split, windows

SONNET = (
    "Shall I compare thee to a summer's day?\n"
    "Thou art more lovely and more temperate:\n"
    "Rough winds do shake the darling buds of May,\n"
    "And summer's lease hath all too short a date;\n"
) * 3
TOKENIZERS = {
    "characters": CharacterTokenizer.fit(SONNET + "déjà vu"),
    "one character": CharacterTokenizer("a"),
    "byte pairs": BytePairTokenizer.fit(SONNET, 100),
    "pairs of blanks": BytePairTokenizer.fit(" a  b   \n\n c    \n" * 9 + "ééééé", 100),
    "bytes alone": BytePairTokenizer(),
}


@pytest.fixture(params=TOKENIZERS, ids=str)
def tokenizer(request):
    return TOKENIZERS[request.param]


# What is near to UTF-8, and to what the tokenizers have learned, beside what is not.
BYTES = st.lists(
    st.one_of(
        st.binary(max_size=8),
        st.text(max_size=8).map(lambda t: t.encode("utf-8", "surrogatepass")),
        st.sampled_from([b" ", b"  ", b"\n", b"summer", "é".encode(), b"\xc3", b"\xed\xb2\x80"]),
    ),
    max_size=30,
).map(b"".join)


@given(BYTES)
def test_any_bytes_come_back(data):
    for tokenizer in TOKENIZERS.values():
        tokens = tokenizer.encode(data)
        assert tokenizer.decode_bytes(tokens) == data
        assert tokens.size <= len(data)
        assert tokens.dtype == tokenizer.dtype


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(written):
    for tokenizer in TOKENIZERS.values():
        tokens = tokenizer.encode(written)
        assert tokenizer.decode(tokens, errors="strict") == written
        assert (tokenizer.encode(written.encode()) == tokens).all()


@given(st.binary(max_size=300), st.integers(0, 40))
def test_tokenizers_of_any_text_are_exact_and_come_back_from_plain_data(data, merges):
    pairs = BytePairTokenizer.fit(data + data, merges)
    assert pairs.decode_bytes(pairs.encode(data)) == data
    for made in (pairs, CharacterTokenizer.fit(data + b"a"), CharacterTokenizer.fit("a" + "é")):
        kept = json.loads(json.dumps(made.to_metadata()))
        again = text.from_metadata(kept)
        assert again == made
        assert hash(again) == hash(made)
        assert again.vocabulary == made.vocabulary


def merged(tokens, pair, new):
    made, at = [], 0
    while at < len(tokens):
        here = tuple(tokens[at : at + 2]) == pair
        made.append(new if here else tokens[at])
        at += 2 if here else 1
    return made


def learned(data, count):
    """Byte-pair encoding as its definition says: all pairs counted anew for each merge."""
    pieces = [list(piece) for piece in text._PIECES.findall(data)]
    merges = []
    while len(merges) < count:
        counts = Counter(pair for piece in pieces for pair in pairwise(piece))
        pair = min(counts, key=lambda pair: (-counts[pair], pair), default=None)
        if pair is None or counts[pair] < 2:
            break
        pieces = [merged(piece, pair, 256 + len(merges)) for piece in pieces]
        merges.append(pair)
    return merges, [token for piece in pieces for token in piece]


@given(
    st.one_of(
        st.text("aab \n", max_size=200).map(str.encode),
        st.binary(max_size=60).map(lambda b: b * 4),
        st.just(b"a" * 200),
        st.just(SONNET.encode()),
    ),
    st.integers(0, 60),
)
def test_merges_are_those_of_the_definition(data, count):
    merges, tokens = learned(data, count)
    tokenizer = BytePairTokenizer.fit(data, count)
    assert list(tokenizer.merges) == merges
    assert tokenizer.encode(data).tolist() == tokens  # each piece in the order it was learned


def test_there_are_no_more_merges_than_pairs_that_come_twice():
    assert BytePairTokenizer.fit("abc", 10**12).merges == ()
    assert BytePairTokenizer.fit("", 5).merges == ()
    assert BytePairTokenizer.fit("ab ab", 10**12).vocabulary[256:] == (b"ab",)


def test_words_are_parted_before_pairs_are_joined():
    tokens = BytePairTokenizer.fit("don't  stop 2024 now!\n" * 50, 300)
    pieces = {b"don", b"'", b"t", b" ", b" stop", b" 2024", b" now", b"!", b"\n"}
    assert {
        tokens.vocabulary[token] for token in tokens.encode("don't  stop 2024 now!\n")
    } == pieces


def test_long_pieces_are_parted():
    tokenizer = BytePairTokenizer.fit(b"a" * 1000, 10**6)
    assert max(map(len, tokenizer.vocabulary)) <= text.LONGEST
    assert len(tokenizer.encode(b"a" * 1000)) < 100


def test_characters_come_first_then_the_bytes_that_none_stands_for():
    tokenizer = CharacterTokenizer.fit("béa")
    assert tokenizer.characters == "abé"
    assert tokenizer.vocabulary[:3] == (b"a", b"b", "é".encode())
    assert len(tokenizer) == 3 + 254
    assert tokenizer.encode("ab").tolist() == [0, 1]
    assert tokenizer.decode_bytes(tokenizer.encode(b"\xffa")) == b"\xffa"
    assert tokenizer.decode(tokenizer.encode(b"\xffa")) == "\ufffda"
    alone = CharacterTokenizer.fit("béa", fallback=False)
    assert len(alone) == 3
    assert alone.encode("éa").tolist() == [2, 0]


def test_a_vocabulary_of_one_writes_what_it_has():
    tokenizer = CharacterTokenizer.fit("aaaa", fallback=False)
    assert tokenizer.vocabulary == (b"a",)
    assert tokenizer.encode("aa").tolist() == [0, 0]
    assert tokenizer.decode([0, 0, 0]) == "aaa"


def test_an_empty_text_has_no_tokens(tokenizer):
    assert tokenizer.encode("").shape == (0,)
    assert tokenizer.decode([]) == ""
    assert tokenizer.decode_bytes(np.empty(0, np.uint8)) == b""


def test_what_cannot_be_encoded_is_named_with_its_place():
    alone = CharacterTokenizer("ab", fallback=False)
    with pytest.raises(DataError, match=r"text has 'c' as character 2, which is none of .* 2;"):
        alone.encode("abc")
    with pytest.raises(DataError, match="text has the byte 0xff as character 1"):
        alone.encode(b"a\xff")
    for tokenizer in TOKENIZERS.values():
        with pytest.raises(DataError, match=r"text has a lone surrogate as character 1, '.udc80'"):
            tokenizer.encode("a\udc80")
        with pytest.raises(DataTypeError, match="text must be a str or bytes, got int"):
            tokenizer.encode(3)
    with pytest.raises(DataError, match="characters must be at least one"):
        CharacterTokenizer.fit("")
    with pytest.raises(DataError, match="lone surrogate"):
        CharacterTokenizer.fit("\ud800")
    with pytest.raises(DataTypeError, match="merges must be an integer"):
        BytePairTokenizer.fit("aa", 1.5)
    with pytest.raises(DataError, match="merges must be at least 0, got -1"):
        BytePairTokenizer.fit("aa", -1)


def test_tokens_that_are_none_are_named_with_their_place(tokenizer):
    most = len(tokenizer) - 1
    with pytest.raises(DataError, match=rf"tokens\[1\] is {most + 1}; tokens are 0 ... {most}"):
        tokenizer.decode([0, most + 1])
    with pytest.raises(DataError, match=r"tokens\[0\] is -1"):
        tokenizer.decode(np.array([-1]))
    with pytest.raises(DataTypeError, match="tokens must be integers, got dtype float64"):
        tokenizer.decode([0.5])
    with pytest.raises(ShapeError, match=r"tokens must have shape \(n,\), got \(1, 2\)"):
        tokenizer.decode([[0, 1]])


def test_bytes_that_are_no_text_are_as_errors_says():
    tokenizer = BytePairTokenizer()
    assert tokenizer.decode([0xC3]) == "\ufffd"
    assert tokenizer.decode([0xC3], errors="ignore") == ""
    with pytest.raises(UnicodeDecodeError):
        tokenizer.decode([0xC3], errors="strict")


def test_a_tokenizer_is_kept_in_the_models_file(tmp_path, tokenizer):
    net = Network(2, [Dense(1)], seed=0)
    net.metadata["tokenizer"] = tokenizer.to_metadata()
    net.save(tmp_path / "model.safetensors")
    kept = pycnn.load(tmp_path / "model.safetensors").metadata["tokenizer"]
    assert text.from_metadata(kept) == tokenizer
    assert text.from_metadata(kept).encode(SONNET).tolist() == tokenizer.encode(SONNET).tolist()


DOUBLING = [[97, 97], *([256 + i, 256 + i] for i in range(40))]
HOSTILE = {
    "nothing": None,
    "a list": [1, 2],
    "no kind": {"characters": "a"},
    "another kind": {"kind": "words"},
    "a kind that cannot be looked up": {"kind": []},
    "other settings": {"kind": "character", "characters": "a", "fallback": True, "more": 1},
    "characters of another type": {"kind": "character", "characters": ["a"]},
    "no characters": {"kind": "character", "characters": ""},
    "a character twice": {"kind": "character", "characters": "aba"},
    "a surrogate": {"kind": "character", "characters": "\ud800"},
    "a fallback of another type": {"kind": "character", "characters": "a", "fallback": 1},
    "merges of another type": {"kind": "byte_pair", "merges": 5},
    "no pair": {"kind": "byte_pair", "merges": [[1]]},
    "a pair of later tokens": {"kind": "byte_pair", "merges": [[0, 256]]},
    "a pair below 0": {"kind": "byte_pair", "merges": [[0, -1]]},
    "a pair of floats": {"kind": "byte_pair", "merges": [[0.0, 1.0]]},
    "a pair of truth values": {"kind": "byte_pair", "merges": [[True, False]]},
    "a pair twice": {"kind": "byte_pair", "merges": [[0, 1], [0, 1]]},
    "tokens that double": {"kind": "byte_pair", "merges": DOUBLING},
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_describes_no_tokenizer_is_refused(what):
    with pytest.raises(ModelFileError, match="the model's tokenizer is none: "):
        text.from_metadata(HOSTILE[what])


def test_tokenizers_say_what_they_are():
    assert repr(CharacterTokenizer("ab")) == "CharacterTokenizer('ab', fallback=True)"
    assert repr(BytePairTokenizer.fit(SONNET, 44)) == "<BytePairTokenizer of 300 tokens>"
    assert CharacterTokenizer("ab") != CharacterTokenizer("ab", fallback=False)
    assert CharacterTokenizer("ab") != "ab"


# ------------------------------------------------------------------ windows


@given(st.integers(2, 60), st.integers(1, 20), st.integers(1, 9) | st.none())
def test_windows_are_followed_by_what_comes_next(count, length, stride):
    tokens = np.arange(count, dtype=np.uint8)
    if count <= length:
        with pytest.raises(DataError, match=f"tokens must be at least {length + 1}"):
            windows(tokens, length, stride)
        return
    X, y = windows(tokens, length, stride)
    starts = np.arange(0, count - length, stride or length)
    assert X.tolist() == (starts[:, None] + np.arange(length)).tolist()
    assert (y == X + 1).all()
    assert np.shares_memory(X, tokens)
    assert np.shares_memory(y, tokens)
    assert not X.flags.writeable
    assert X.dtype == y.dtype == np.uint8


def test_windows_of_a_long_text_take_no_memory():
    X, y = windows(np.zeros(10**6, np.uint8), 1000, 1)
    assert X.shape == y.shape == (10**6 - 1000, 1000)
    assert X.strides == y.strides == (1, 1)


def test_windows_refuse_what_has_none():
    with pytest.raises(ShapeError, match=r"tokens must have shape \(n,\), got \(2, 2\)"):
        windows([[1, 2], [3, 4]], 1)
    with pytest.raises(DataError, match="length must be at least 1, got 0"):
        windows([1, 2], 0)
    with pytest.raises(DataError, match="stride must be at least 1, got 0"):
        windows([1, 2], 1, 0)
    with pytest.raises(DataTypeError, match="length must be an integer"):
        windows([1, 2], 1.0)


def test_a_split_is_in_the_order_of_time():
    values = np.arange(30).reshape(10, 3)
    first, rest = split(values, 0.25)
    assert np.array_equal(np.concatenate([first, rest]), values)
    assert len(rest) == 2
    assert np.shares_memory(rest, values)
    for values, fraction in (([1], 0.5), ([], 0.5), ([1, 2], 0.1), ([1, 2], 1.0), (3, 0.5)):
        with pytest.raises(DataError, match="values must have two parts"):
            split(values, fraction)
    with pytest.raises(DataError, match="fraction must be finite and at least 0 and at most 1"):
        split([1, 2], 1.5)
