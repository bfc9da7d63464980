"""Model files: what goes in comes out; damaged or hostile ones are errors; none is half written."""

import copy
import io
import json
import os
import pickle
import stat
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as extra

import pycnn
from pycnn import BatchNorm, Dense, Dropout, LayerNorm, Network, initializers
from pycnn._io import model_file, safetensors_file
from pycnn.callbacks import EarlyStopping
from pycnn.exceptions import (
    DataError,
    DataTypeError,
    ModelFileError,
    PycnnError,
    UnknownNameError,
)

X = np.random.default_rng(3).normal(size=(12, 3))
INDEX = np.arange(12) % 3


def make_network(backend="auto"):
    layers = [Dense(4, "relu", weight_initializer="he_uniform"), Dense(3, "softmax")]
    return Network(3, layers, seed=7, backend=backend)


def to_bytes(tensors, metadata=None):
    """Return a safetensors file."""
    return b"".join(safetensors_file.write(tensors, metadata or {}))


def read(content):
    """Return a safetensors file's metadata and tensors."""
    return safetensors_file.read(io.BytesIO(content), len(content))[:2]


def with_header(header, size=0):
    content = json.dumps(header).encode()
    return len(content).to_bytes(8, "little") + content + bytes(size)


def described(text):
    return with_header({"__metadata__": {"pycnn": text}})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


@pytest.fixture
def model(path):
    """A model file, as bytes."""
    net = make_network()
    net.fit(X, np.array(["ant", "bee", "cat"])[INDEX], epochs=2)
    net.metadata = {"scale": [0.5, 2], "note": "\u00e9\u4e2d\U0001f600"}
    net.save(path)
    return path.read_bytes()


# ------------------------------------------------------------------ there and back


@pytest.mark.parametrize(
    "classes",
    [
        None,
        np.array(["ant", "bee", "\u00e9\u4e2d"]),
        np.array([b"\x00a", b"\xffb", b"\xffc"]),
        np.array([0, 1, 2]),
        np.array([-(2**63), 0, 2**63 - 1]),
        np.array([1, 2**53 + 1, 2**64 - 1], dtype=np.uint64),
        np.array([1, 2, 3], dtype=np.int8),
        np.array([1, 2, 3], dtype=">i4"),
        np.array([0.1, 1 / 3, 1e300]),
        np.array([0.1, 1 / 3, 5], dtype=np.float32),
        np.array(["2001-02-03", "2004-05-06", "2030-01-01"], dtype="datetime64[D]"),
        np.array([-1, 1, 10**18], dtype="datetime64[ns]"),
        np.array([-(10**15), 5, 10**17], dtype="datetime64[Y]"),
        np.array([-1, 1, 10**18], dtype="datetime64[as]"),
        np.array([1, 2, 70], dtype="datetime64[100D]"),
        np.array([1, 2.5, 4], dtype=np.float16),
        np.array([-1e-300, 0, 5e-324]),
        np.array(["", "a\0b", "\ud800"]),
    ],
    ids=lambda classes: "none" if classes is None else classes.dtype.str,
)
def test_a_network_comes_back_as_it_was(backend, path, classes):
    net = make_network(backend)
    if classes is not None:
        net.fit(X, classes[INDEX], epochs=3)
    net.metadata = {"columns": ["a", "b"], "scale": {"a": 0.1}, "none": None, "yes": True}
    net.save(path)
    back = pycnn.load(path, backend=backend)
    assert back.parameters.tobytes() == net.parameters.tobytes()
    assert back.predict(X).tobytes() == net.predict(X).tobytes()
    assert repr(back) == repr(net)
    assert back.metadata == net.metadata
    assert (back.inputs, back.outputs, back.seed, back.loss) == (3, 3, 7, net.loss)
    assert back.epochs_trained == net.epochs_trained
    assert [layer.config() for layer in back.layers] == [layer.config() for layer in net.layers]
    if classes is None:
        assert back.classes is None
    else:
        assert back.classes.dtype == net.classes.dtype
        assert back.classes.tolist() == classes.tolist()


ACTIVATIONS = st.sampled_from(list(pycnn.activations.ACTIVATIONS))
PENALTIES = st.sampled_from([0.0, 1e-300, 0.25])
HIDDEN = st.one_of(
    st.builds(
        Dense,
        st.integers(1, 4),
        ACTIVATIONS,
        weight_initializer=st.sampled_from(["he_uniform", "xavier_normal", initializers.Uniform()]),
        bias_initializer=st.sampled_from(["zeros", initializers.Normal(0.1, 0.2)]),
        l1=PENALTIES,
        l2=PENALTIES,
        max_norm=st.sampled_from([None, 0.5]),
    ),
    st.builds(Dropout, st.floats(0, 1, exclude_max=True)),
    st.builds(BatchNorm, ACTIVATIONS, momentum=st.floats(0, 1), epsilon=st.floats(1e-9, 1.0)),
    st.builds(LayerNorm, ACTIVATIONS, epsilon=st.floats(1e-9, 1.0)),
)


DTYPES = (
    extra.integer_dtypes(endianness="?")
    | extra.unsigned_integer_dtypes(endianness="?")
    | extra.floating_dtypes(endianness="?", sizes=(16, 32, 64))
    | extra.unicode_string_dtypes(endianness="?", max_len=4)
    | extra.byte_string_dtypes(max_len=4)
    | extra.datetime64_dtypes(endianness="?")
)
LABELS = DTYPES.flatmap(
    lambda dtype: extra.arrays(
        dtype,
        3,
        elements=extra.from_dtype(dtype, allow_nan=False, allow_infinity=False),
        unique=True,
    )
)


@settings(max_examples=60)
@given(
    hidden=st.lists(HIDDEN, max_size=4),
    labels=LABELS,
    penalties=st.tuples(PENALTIES, PENALTIES),
    seed=st.integers(0, 2**64),
)
def test_whatever_network_is_saved_comes_back(backend, path, hidden, labels, penalties, seed):
    l1, l2 = penalties
    layers = [*hidden, Dense(3, "softmax")]
    net = Network(3, layers, seed=seed, backend=backend, l1=l1, l2=l2)
    net.fit(X, labels[INDEX], epochs=1, batch_size=6)
    net.save(path, training_state=seed % 2 == 0)
    back = pycnn.load(path, backend=backend)
    assert repr(back) == repr(net)
    assert back.theta.tobytes() == net.theta.tobytes()
    assert [layer.config() for layer in back.layers] == [layer.config() for layer in net.layers]
    assert (back.l1, back.l2, back.seed) == (l1, l2, seed)
    assert back.classes.tolist() == net.classes.tolist()
    if labels.dtype.kind not in "US":  # text becomes as wide as it has to be
        assert back.classes.dtype == net.classes.dtype
    assert back.predict(X).tobytes() == net.predict(X).tobytes()


@pytest.mark.parametrize(
    ("units", "activation", "targets"),
    [
        (1, "sigmoid", INDEX > 0),
        (1, "sigmoid", np.array(["no", "yes"])[INDEX // 2]),
        (1, "softmax", np.zeros(12, dtype=int)),
        (1, "softmax", np.array(["only"] * 12)),
        (2, "softmax", INDEX > 0),
        (3, "sigmoid", np.eye(3)[INDEX]),
        (2, "linear", X[:, :2]),
    ],
)
def test_every_kind_of_output_comes_back(backend, path, units, activation, targets):
    net = Network(3, [Dense(units, activation)], seed=0, backend=backend)
    net.fit(X, targets, epochs=2)
    net.save(path)
    back = pycnn.load(path, backend=backend)
    assert back.loss == net.loss
    assert back.evaluate(X, targets) == net.evaluate(X, targets)
    if net.classes is not None:
        assert back.classes.dtype == net.classes.dtype
        assert (back.predict_classes(X) == net.predict_classes(X)).all()


def test_a_file_from_one_backend_is_read_by_the_other(core, path):
    net = make_network("c")
    net.save(path)
    back = pycnn.load(path, backend="numpy")
    assert back.backend == "numpy"
    assert back.parameters.tobytes() == net.parameters.tobytes()


def test_the_same_network_gives_the_same_file(model, path, tmp_path):
    pycnn.load(path).save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == model
    path.unlink()
    pycnn.load(tmp_path / "again").save(path)
    assert path.read_bytes() == model


def test_the_tensors_are_named_by_layer_for_other_programs(model, path):
    safetensors = pytest.importorskip("safetensors.numpy")
    tensors = safetensors.load_file(path)
    net = pycnn.load(path)
    assert sorted(tensors) == ["layers.1.W", "layers.1.b", "layers.2.W", "layers.2.b"]
    for number, layer in enumerate(net.layers, start=1):
        np.testing.assert_array_equal(tensors[f"layers.{number}.W"], layer.W)
        np.testing.assert_array_equal(tensors[f"layers.{number}.b"], layer.b)


def test_extreme_parameters_come_back_to_the_bit(path):
    net = make_network()
    tiny, huge = np.finfo(float).smallest_subnormal, np.finfo(float).max
    net.parameters = np.resize([0.0, -0.0, tiny, -tiny, huge, -huge, 1 / 3], net.parameters.size)
    net.save(path)
    assert pycnn.load(path).parameters.tobytes() == net.parameters.tobytes()


def test_paths_may_be_text_or_objects_and_have_any_name(tmp_path):
    net = make_network()
    for name in ("plain", "\u00e9\u4e2d space.st", "n" * 200):
        net.save(str(tmp_path / name))
        pycnn.load(str(tmp_path / name))
        pycnn.load(os.fsencode(tmp_path / name))
    assert len(list(tmp_path.iterdir())) == 3


NUMBERS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats())
PLAIN = st.recursive(
    NUMBERS | st.text(st.characters(codec=None), max_size=5) | st.binary(max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.integers(0, 9), inner, max_size=3)
        | st.tuples(inner)
    ),
    max_leaves=8,
)


@settings(max_examples=100)
@given(metadata=st.dictionaries(st.text(max_size=3), PLAIN, max_size=4))
def test_metadata_come_back_as_they_were_or_are_refused_before_writing(model, path, metadata):
    path.write_bytes(model)
    net = pycnn.load(path)
    net.metadata = metadata
    try:
        net.save(path)
    except DataTypeError:
        assert path.read_bytes() == model
    else:
        found = pycnn.load(path).metadata
        assert found == metadata
        as_text = [json.dumps(m, sort_keys=True) for m in (found, metadata)]
        assert as_text[0] == as_text[1]  # -0.0 and True are not 0 and 1
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "metadata",
    [
        {"x": {1, 2}},
        {"x": np.ones(3)},
        {"x": (1, 2)},
        {1: "x"},
        {1: "x", "1": "y"},
        {"x": float("nan")},
        {"x": float("inf")},
        {"x": b"bytes"},
        {"x": object()},
        [1, 2],
        "text",
        None,
    ],
    ids=repr,
)
def test_metadata_that_would_not_come_back_is_refused_before_writing(model, path, metadata):
    net = pycnn.load(path)
    net.metadata = metadata
    with pytest.raises(DataTypeError, match="metadata must"):
        net.save(path)
    assert path.read_bytes() == model
    assert list(path.parent.iterdir()) == [path]


def test_metadata_nested_too_deep_is_refused(path):
    net = make_network()
    nested: list = []
    for _ in range(100_000):
        nested = [nested]
    net.metadata = {"x": nested}
    with pytest.raises(DataTypeError, match="metadata must"):
        net.save(path)
    while nested:  # taken apart by hand: freeing it at once would recurse
        nested = nested.pop()


@pytest.mark.parametrize("depth", [90, 95, 96, 97, 98, 99, 100, 101, 600, 990])
def test_nested_metadata_come_back_or_are_refused_however_deep_the_stack(model, path, depth):
    net = pycnn.load(path)
    nested: list = []
    for _ in range(depth - 1):
        nested = [nested]
    net.metadata = {"x": nested}

    def save_and_load(frames):
        if frames:
            return save_and_load(frames - 1)
        try:
            net.save(path)
        except DataTypeError as error:
            return str(error)
        return pycnn.load(path).metadata

    results = [save_and_load(frames) for frames in (0, 300)]
    if depth < 99:
        assert results == [{"x": nested}] * 2
        assert copy.deepcopy(net).metadata == net.metadata
    else:
        assert all("metadata must hold plain data" in result for result in results)
        assert path.read_bytes() == model


def spoiled(attribute, value):
    def spoil(net):
        setattr(net, attribute, value)

    return pytest.param(spoil, attribute, id=f"{attribute}={value!r:.30}")


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        *(spoiled("seed", seed) for seed in (-1, 1.5, None, np.int64(5), "x")),
        *(spoiled("epochs_trained", count) for count in (-1, 2**70, 1.5, None, np.int64(5))),
        *(
            spoiled("classes", classes)
            for classes in (
                np.array([1, 2, 3], dtype=np.longdouble),
                np.array([1, 2, 3], dtype=complex),
                np.array([1, 2, 3], dtype=object),
                np.array([1, 2, 3], dtype="timedelta64[s]"),
                np.array([1, 2, np.nan]),
                np.array([1, 1, 2]),
                np.array([3, 2, 1]),
                np.array([1, 2]),
                np.array([[1], [2], [3]]),
                np.array(["2001-02-03", "2004-05-06", "NaT"], dtype="datetime64[D]"),
                ["ant", "bee", "cat"],
                "abc",
            )
        ),
    ],
)
def test_what_no_file_can_keep_is_refused_by_name(model, path, spoil, name):
    net = pycnn.load(path)
    spoil(net)
    with pytest.raises((DataError, DataTypeError), match=rf"\b{name} must"):
        net.save(path)
    assert path.read_bytes() == model
    assert list(path.parent.iterdir()) == [path]


def test_labels_take_no_more_room_than_they_need(path):
    net = make_network()
    net.fit(X, np.array(["ant", "bee", "cat"], dtype="<U9999")[INDEX], epochs=1)
    net.save(path)
    back = pycnn.load(path)
    assert back.classes.dtype == "<U3"
    assert np.array_equal(back.classes, net.classes)
    assert back.evaluate(X, np.array(["ant", "bee", "cat"])[INDEX])["accuracy"] >= 0


def test_labels_of_absurdly_different_lengths_are_refused(path):
    net = Network(3, [Dense(1000, "softmax")], seed=0)
    net.classes = np.array([*(f"{i:03}" for i in range(999)), "x" * 10_000])
    with pytest.raises(DataTypeError, match=r"classes must be .* take 40,000,000 bytes"):
        net.save(path)


def test_more_layers_than_a_file_may_have_are_refused(path):
    net = Network(1, [*(Dropout(0.1) for _ in range(10_000)), Dense(1)], seed=0)
    with pytest.raises(DataError, match=r"layers must be a list of at most 10,000"):
        net.save(path)
    assert not path.exists()


# ------------------------------------------------------------------ files that are not ours


def refuses(path, content):
    """`content` is refused by a ModelFileError that names the file."""
    path.write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        pycnn.load(path)
    assert path.name in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, PycnnError)


def test_a_truncated_file_is_refused_at_every_length(model, path):
    for length in range(len(model)):
        refuses(path, model[:length])


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_a_flipped_byte_is_noticed_wherever_it_is(model, path, flip):
    for at in range(len(model)):
        refuses(path, model[:at] + bytes([model[at] ^ flip]) + model[at + 1 :])


def test_bytes_too_many_are_noticed(model, path):
    refuses(path, model + b"\0")
    refuses(path, b"\0" + model)
    refuses(path, model * 2)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"not a model at all, but a line of text that somebody saved under this name",
        b"PK\x03\x04" + bytes(100),
        b"\xff" * 1000,
        pickle.dumps({"a": 1}),
        (8).to_bytes(8, "little") + b"{}      ",
        (2**63).to_bytes(8, "little") + b"{}",
        (10**7).to_bytes(8, "little") + b"[" * 10**7,
        to_bytes({}),
        to_bytes({"w": np.ones(3)}),
        to_bytes({"w": np.ones(3)}, {"format": "pt"}),
        to_bytes({"w": np.ones(3)}, {"pycnn": ""}),
        to_bytes({"w": np.ones(3)}, {"pycnn": "{"}),
        to_bytes({"w": np.ones(3)}, {"pycnn": "[]"}),
        to_bytes({"w": np.ones(3)}, {"pycnn": "null"}),
        to_bytes({"w": np.ones(3)}, {"pycnn": "{}"}),
        described("[" * 10**6),
        to_bytes({"w": np.ones(3)}, {"pycnn": '{"format":' + "9" * 10**5 + "}"}),
    ],
    ids=range(19),
)
def test_a_file_of_another_kind_is_refused(path, content):
    refuses(path, content)


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F8_E5M2", "F16", "I64", "BOOL", "U128"])
def test_tensors_of_other_dtypes_are_refused(path, dtype):
    sizes = {"BF16": 2, "F16": 2, "I64": 8, "U128": 16}
    header = {"w": {"dtype": dtype, "shape": [1], "data_offsets": [0, sizes.get(dtype, 1)]}}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    refuses(path, len(text).to_bytes(8, "little") + text + bytes(sizes.get(dtype, 1)))


def test_a_file_of_a_later_format_says_so(model, path):
    def later(description, tensors):
        description["format"] = 3

    path.write_bytes(forged(model, path, later))
    with pytest.raises(ModelFileError, match=r"has format 3; this pycnn .* reads formats 1 and 2"):
        pycnn.load(path)


def test_what_cannot_be_read_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        pycnn.load(tmp_path / "absent")
    with pytest.raises(OSError, match=r".*"):
        pycnn.load(tmp_path)
    with pytest.raises(OSError, match=r".*"):
        pycnn.load(tmp_path / ("n" * 5000))


def test_a_wrong_argument_of_load_is_not_blamed_on_the_file(model, path):
    with pytest.raises(UnknownNameError, match=r"backend.*'numpy'"):
        pycnn.load(path, backend="nunpy")
    with pytest.raises(TypeError):
        pycnn.load(0)


# ------------------------------------------------------------------ safetensors, beside the library

ANY_DTYPE = "? u1 i1 u2 i2 f2 u4 i4 f4 u8 i8 f8 >i2 >f4 >u8 >f8".split()  # noqa: SIM905
SHAPES = extra.array_shapes(min_dims=0, min_side=0)
TENSORS = st.dictionaries(
    st.text(max_size=4).filter(lambda name: name != "__metadata__"),
    st.sampled_from(ANY_DTYPE).flatmap(lambda dtype: extra.arrays(dtype, SHAPES)),
    max_size=5,
)


TEXTS = st.text(max_size=3)


@given(TENSORS, st.tuples(TEXTS, TEXTS))  # the library has no order for several
def test_what_is_written_are_the_bytes_of_the_library(tensors, entry):
    library = pytest.importorskip("safetensors.numpy")
    native = {n: np.asarray(t, t.dtype.newbyteorder("="), order="C") for n, t in tensors.items()}
    assert to_bytes(tensors, dict([entry])) == library.save(native, dict([entry]))


@given(TENSORS, st.dictionaries(TEXTS, TEXTS, max_size=3))
def test_the_library_reads_what_is_written_and_the_other_way_round(path, tensors, metadata):
    library, numpy = (pytest.importorskip(f"safetensors{part}") for part in ("", ".numpy"))
    path.write_bytes(to_bytes(tensors, metadata))
    with library.safe_open(path, "numpy") as file:
        assert (file.metadata() or {}) == metadata
    there = numpy.load_file(path)
    back = read(numpy.save(there, metadata or None))
    for found in (there, back[1]):
        assert found.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert found[name].shape == tensor.shape
            assert found[name].dtype == tensor.dtype.newbyteorder("=")
            assert found[name].tobytes() == tensor.astype(found[name].dtype).tobytes()
    assert back[0] == metadata


def test_tensors_of_other_programs_need_not_be_aligned_or_in_order():
    entries = {"b": ("F64", [1], 3), "a": ("U8", [3], 0), "c": ("I16", [], 11)}
    header = {
        name: {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        for (name, (dtype, shape, at)), size in zip(entries.items(), (8, 3, 2), strict=True)
    }
    content = with_header(header)[: 8 + len(json.dumps(header))]
    content += bytes([1, 2, 3]) + np.array(0.1, "<f8").tobytes() + np.array(-2, "<i2").tobytes()
    assert len(content) % 8
    _, tensors = read(content)
    assert [tensors[name].tolist() for name in "abc"] == [[1, 2, 3], [0.1], -2]
    assert pytest.importorskip("safetensors.numpy").load(content)["b"] == [0.1]


def placed(*places, dtype="U8"):
    """Return the entries of a header: tensors of so many numbers from `begin` to `end`."""
    return {
        f"t{number}": {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
        for number, (begin, end, shape) in enumerate(places)
    }


def header_of(text, size=0):
    return len(text).to_bytes(8, "little") + text + bytes(size)


TWICE = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
# The library's own cases of files that are none.
NO_FILES = {
    "too short for a length": b"\x01\0\0\0\0\0\0",
    "longer than it can be": (100_000_001).to_bytes(8, "little") + b"{}",
    "a length beyond all": b"<" + 7 * b"\xff" + b"{}",
    "shorter than its header": (70).to_bytes(8, "little") + b"{}",
    "no header": bytes(8),
    "no UTF-8": header_of(b'{"\xff": 1}'),
    "no JSON": header_of(b"{]      "),
    "no object": header_of(b"[1]"),
    "a space before": header_of(b' {"__metadata__":{}}'),
    "overlapping": with_header(placed((0, 4, [4]), (2, 6, [4])), 6),
    "the same place twice": with_header(placed((0, 4, [4]), (0, 4, [4])), 4),
    "a hole": with_header(placed((0, 4, [4]), (5, 9, [4])), 9),
    "a hole in front": with_header(placed((1, 5, [4])), 5),
    "bytes behind": with_header(placed((0, 4, [4])), 5),
    "bytes missing": with_header(placed((0, 4, [4])), 3),
    "bytes and no tensor": with_header({}, 1),
    "ends before it begins": with_header(placed((4, 0, [4])), 4),
    "another size than its shape": with_header(placed((0, 4, [2, 1])), 4),
    "half a number": with_header(placed((0, 4, [1]), dtype="F64"), 4),
    "a shape beyond all": with_header(placed((0, 0, [2**40, 2**40, 2**40])), 0),
    "a negative shape": with_header(placed((0, 1, [-1, -1])), 1),
    "an offset that is none": with_header(placed((0, 1.5, [1])), 1),
    "three offsets": header_of(TWICE[:-3] + b",2]}}", 1),
    "a dtype of nobody": with_header(placed((0, 1, [1]), dtype="F7"), 1),
    "a tensor twice": header_of(TWICE + TWICE[1:-1].replace(b"[0,1]", b"[1,2]") + b"}", 2),
    "no offsets": with_header({"a": {"dtype": "U8", "shape": [0]}}),
    "metadata that are no texts": with_header({"__metadata__": {"a": 1}}),
}


@pytest.mark.parametrize("name", NO_FILES)
def test_no_file_of_the_formats_is_read(name):
    with pytest.raises(ValueError, match=r".*"):
        read(NO_FILES[name])


@pytest.mark.parametrize("name", sorted(NO_FILES.keys() - {"a space before", "a tensor twice"}))
def test_the_library_reads_none_of_them_but_two(name):
    library = pytest.importorskip("safetensors")
    with pytest.raises(library.SafetensorError):
        library.deserialize(NO_FILES[name])


def test_what_the_format_has_no_name_for_is_not_written():
    for dtype in ("c16", "U3", "M8[s]", object):
        with pytest.raises(ValueError, match="the tensor a has the dtype"):
            to_bytes({"a": np.zeros(2, dtype)})
    with pytest.raises(ValueError, match="longer than 100,000,000 bytes"):
        to_bytes({}, {"a": "b" * 100_000_000})


# ------------------------------------------------------------------ files made to do harm


def forged(model, path, change):
    """Return a model file whose description and tensors are changed, its checksum made to fit."""
    metadata, tensors = read(model)
    description = json.loads(metadata["pycnn"])
    del description["sha256"]
    change(description, tensors)
    parts = [tensors[name].ravel() for name in sorted(tensors)]
    checksum = model_file._checksum(description, np.concatenate(parts).astype(float))
    description.setdefault("sha256", checksum)
    return to_bytes(tensors, {"pycnn": json.dumps(description, sort_keys=True)})


def test_forging_nothing_gives_a_file_that_loads(model, path):
    path.write_bytes(forged(model, path, lambda description, tensors: None))
    assert pycnn.load(path).epochs_trained == 2


NESTED: list = []
for _ in range(500):
    NESTED = [NESTED]

HOSTILE = {
    "inputs": [
        0,
        -1,
        4,
        2**62,
        10**30,
        3.0,
        "3",
        None,
        True,
        [3],
        {},
        [1, 4],
        [3, 1, 1, 1],
        [3, 0],
        [True, 3],
    ],
    "layers": [[], {}, None, 5, "relu", [[]], [None], ["relu"], [{}], NESTED],
    "loss": ["msee", "mse ", 5, [], {}, "binary_crossentropy", NESTED],
    "seed": [-1, 1.5, "x", None, [], True, float("inf"), float("nan")],
    "epochs_trained": [-1, 1.5, "2", None, [], True, 10**30, float("inf")],
    "metadata": [None, [], 5, "x", {"x": float("nan")}, {"x": [float("inf")]}],
    "classes": [5, "abc", [], {}, {"dtype": "<U3"}, {"values": ["a", "b", "c"]}],
    "version": [None, 5, []],
    "format": [None, "1", [], {}, 0, 10**30, True, 1.0],
    "sha256": [None, 5, [], "0" * 64],
}
LAYER = {
    "kind": ["conv", None, 5, [], "__class__"],
    "units": [0, -1, 5, 2**62, 10**30, 4.0, "4", None, True, []],
    "activation": ["rleu", None, 5, [], {}],
    "weight_initializer": [
        *("evil", 5, {}, NESTED, {"name": 5}, {"name": "zeros", "x": 1}),
        *({"name": "normal", "std": -1}, {"name": "normal", "std": "x"}),
        *({"name": "uniform", "low": float("inf")}, {"name": "uniform", "low": 2}),
    ],
    "__class__": [1],
}
CLASSES = [
    ("O", ["a", "b", "c"]),
    ("<U3", "abc"),
    ("<U3", ["a", "b"]),
    ("<U3", ["a", "b", "c", "d"]),
    ("<U3", ["c", "b", "a"]),
    ("<U3", ["a", "a", "b"]),
    ("<U3", [["a"], ["b"], ["c"]]),
    ("<U3", [["a"], ["b", "c"], []]),
    ("<U2000000000", ["a", "b", "c"]),
    ("|S2000000000", ["a", "b", "c"]),
    ("|S1", ["\u4e2d", "b", "c"]),
    ("|S1", [1, 2, 3]),
    ("<i8", ["x", "y", "z"]),
    ("<i8", ["1", "2", "3"]),
    ("<i8", [1.0, 2.0, 3.0]),
    ("<i8", [True, 2, 3]),
    ("<f8", [1, 2, 3]),
    ("<f4", [0.1, 0.2, 0.3]),
    ("<f2", [1.0, 2.0, 1e6]),
    ("|b1", [0, 1, 2]),
    ("<U1", ["aa", "bb", "cc"]),
    ("<U0", ["", "a", "b"]),
    ("<U9999999", ["a", "b", "c"]),
    ("|S1", ["a\0", "b", "c"]),
    ("<M8", [1, 2, 3]),
    ("<M8[D]", ["2001-01-01", "now", "today"]),
    ("<M8[s]", ["2001-01-01T00:00:00Z", "2001-01-02T00:00:00Z", "2001-01-03T00:00:00Z"]),
    ("<M8[D]", ["2001-01-01", "2001-01-02", "2001-02-30"]),
    ("<M8[ns]", ["1000-01-01", "2001-01-02", "3001-02-30"]),
    ("(2,3)i4", [1, 2, 3]),
    ("<U3,", ["a", "b", "c"]),
    ("<U3'", ["a", "b", "c"]),
    ("<i8", [1, 2, 10**30]),
    ("<i8", [1, 2, None]),
    ("<i8", [1.0, 2.0, float("inf")]),
    ("|u1", [1, 2, 300]),
    ("<f8", [1.0, 2.0, float("nan")]),
    ("<f8", [{}, [], 1]),
    ("<M8[D]", ["2001-01-01", "NaT", "x"]),
    ("<M8[foo]", ["2001-01-01", "2001-01-02", "2001-01-03"]),
    ("|V8", [1, 2, 3]),
    ("<c16", [1, 2, 3]),
    ("i4,i4", [1, 2, 3]),
    ([["a", "<i4"]], [1, 2, 3]),
    ({"names": ["a"], "formats": ["<i4"]}, [1, 2, 3]),
    (None, [1, 2, 3]),
    (5, [1, 2, 3]),
    ("<i8", NESTED),
    (NESTED, [1, 2, 3]),
]


def setting(key, value):
    def change(description, tensors):
        description[key] = value

    return change


def layer_setting(key, value):
    def change(description, tensors):
        description["layers"][0][key] = value

    return change


def without(key):
    def change(description, tensors):
        del description[key]

    return change


def tensor(name, value):
    def change(description, tensors):
        tensors[name] = value

    return change


def no_tensor(description, tensors):
    del tensors["layers.2.b"]


FORGERIES = [
    *(pytest.param(setting(k, v), id=f"{k}={v!r:.30}") for k, vs in HOSTILE.items() for v in vs),
    *(
        pytest.param(layer_setting(k, v), id=f"{k}={v!r:.30}")
        for k, vs in LAYER.items()
        for v in vs
    ),
    *(
        pytest.param(
            setting("classes", {"dtype": d, "values": v}), id=f"classes {d!r:.15} {v!r:.30}"
        )
        for d, v in CLASSES
    ),
    *(
        pytest.param(without(key), id=f"no {key}")
        for key in ("inputs", "layers", "loss", "seed", "classes", "epochs_trained", "metadata")
    ),
    pytest.param(no_tensor, id="no tensor"),
    pytest.param(tensor("layers.3.W", np.ones((1, 3))), id="a tensor more"),
    pytest.param(tensor("layers.1.W", np.ones((3, 4))), id="transposed"),
    pytest.param(tensor("layers.1.W", np.ones(12)), id="flat"),
    pytest.param(tensor("layers.1.W", np.ones((4, 3), np.float32)), id="float32"),
    pytest.param(tensor("layers.1.W", np.ones((0, 3))), id="empty"),
]


@pytest.mark.parametrize("change", FORGERIES)
def test_a_forged_file_is_refused(model, path, change):
    refuses(path, forged(model, path, change))


@pytest.mark.parametrize("depth", [100, 900, 1000, 3000, 100_000])
def test_deep_nesting_is_refused(model, path, depth):
    nested = '{"x": ' + "[" * depth + "]" * depth + "}"
    refuses(path, rewritten(model, '"note": "', f'"more": {nested}, "note": "'))
    refuses(path, described(nested))


def rewritten(model, old, new):
    """Return a model file with another text in its description, and a checksum that fits."""
    end = 8 + int.from_bytes(model[:8], "little")
    header = json.loads(model[8:end])
    text = header["__metadata__"]["pycnn"].replace(old, new)
    try:
        description = json.loads(text)
        stated = description.pop("sha256")
        parameters = np.frombuffer(model[end:])
        text = text.replace(stated, model_file._checksum(description, parameters))
    except (ValueError, RecursionError):
        pass  # it cannot be read at all
    header["__metadata__"] = {"pycnn": text}
    content = json.dumps(header).encode()
    content += b" " * (-len(content) % 8)
    return len(content).to_bytes(8, "little") + content + model[end:]


def test_rewriting_nothing_gives_a_file_that_loads(model, path):
    path.write_bytes(rewritten(model, "x", "x"))
    assert pycnn.load(path).seed == 7


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"seed": 7', '"seed": 7, "seed": 7'),
        ('"seed": 7', '"seed":7'),
        ('"seed": 7', ' "seed": 7'),
        ('"seed": 7', '"seed": 7.0'),
        ('"seed": 7', '"seed": -7'),
        ('"seed": 7', '"seed": ' + "9" * 5000),
        ("0.5, 2", "5e-1, 2"),
        ("0.5, 2", "1e999, 2"),
        ("0.5, 2", "NaN, 2"),
        ("0.5, 2", "-Infinity, 2"),
        ("0.5, 2", "0.5, 02"),
        ('"note": "', '"note": "\\u0000\\ud800" , "x": "'),
        ('"note": "', '"note": "\u00e9'),
        ('"note": "', '"note": "\x1b'),
        ('"note": "', '"zote": "'),
        ("{", "["),
        ("}", "}}"),
    ],
)
def test_text_that_pycnn_would_not_write_is_refused(model, path, old, new):
    refuses(path, rewritten(model, old, new))


def test_what_a_file_says_of_itself_reaches_nobody_unquoted(model, path):
    text = "\x1b[31m\n\ud800" + "\u4e2d" * 10_000
    for change in (
        setting("format", text),
        layer_setting("activation", text),
        layer_setting("kind", {text: text}),
        setting("classes", {"dtype": text, "values": []}),
        setting("loss", [text]),
    ):
        content = forged(model, path, change)
        path.write_bytes(content)
        with pytest.raises(ModelFileError) as caught:
            pycnn.load(path)
        message = str(caught.value).replace(str(path), "")
        assert message.isprintable()
        assert len(message) < 400
        message.encode()


# ------------------------------------------------------------------ small files, much memory


MANY = 700_000
GREEDY = {
    "an empty tensor of many rows": lambda model, path: forged(
        model, path, tensor("layers.2.b", np.zeros((2_000_000, 0)))
    ),
    "wide labels": lambda model, path: forged(
        model, path, setting("classes", {"dtype": "<U9999999", "values": ["a", "b", "c"]})
    ),
    "one long label": lambda model, path: forged(
        model,
        path,
        lambda description, tensors: description.update(
            layers=[{"kind": "dense", "units": 5000, "activation": "softmax"}],
            classes={"dtype": "<U20000", "values": [*map(str, range(4999)), "x" * 20_000]},
        ),
    ),
    "many layers": lambda model, path: forged(
        model,
        path,
        lambda description, tensors: description["layers"].extend(
            [{"kind": "dropout", "rate": 0.5}] * 20_000
        ),
    ),
    "many units": lambda model, path: forged(model, path, layer_setting("units", 10**8)),
    "many inputs": lambda model, path: forged(model, path, setting("inputs", 10**8)),
    "a long name": lambda model, path: forged(
        model, path, layer_setting("activation", "ab" * MANY)
    ),
    "lists": lambda model, path: described("[" + "[]," * MANY + "[]]"),
    "dicts": lambda model, path: described("[" + '{"a":1},' * MANY + "[]]"),
    "escaped lists": lambda model, path: described("[" + "[]," * MANY + "[]]").replace(
        b"[],", b"\\u005b\\u005d\\u002c"
    ),
    "a shape of many dimensions": lambda model, path: with_header(
        {"w": {"dtype": "F64", "shape": [1] * (MANY // 3), "data_offsets": [0, 8]}}, 8
    ),
    "many tensors": lambda model, path: with_header(
        {f"{i}": {"dtype": "F64", "shape": [0], "data_offsets": [0, 0]} for i in range(9_999)}
    ),
    "a huge header that is not there": lambda model, path: (10**12).to_bytes(8, "little") + b"{}",
    "a huge tensor that is not there": lambda model, path: with_header(
        {"w": {"dtype": "F64", "shape": [10**12], "data_offsets": [0, 8 * 10**12]}}, 8
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", GREEDY)
def test_memory_is_in_proportion_to_the_file(model, path, name):
    content = GREEDY[name](model, path)
    path.write_bytes(content)
    limit = 16 * len(content) + (64 << 20)
    del content
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError):
            pycnn.load(path)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < limit


@pytest.mark.thorough
def test_metadata_that_no_file_could_be_read_with_are_refused(model, path):
    net = pycnn.load(path)
    net.metadata = {"x": [[] for _ in range(MANY)]}
    with pytest.raises(DataError, match=r"load would say: .* bytes of memory"):
        net.save(path)
    assert path.read_bytes() == model
    net.metadata = {
        "x": list(range(MANY // 3)),
        "words": {f"word {i}": i for i in range(MANY // 30)},
    }
    net.save(path)
    assert pycnn.load(path).metadata == net.metadata


@pytest.mark.thorough
def test_altered_files_are_errors_and_cheap(run_script):
    printed = run_script("fuzz_model_files.py", "--count", "500", "--seed", "17")
    assert "500  executions, 0 faults" in printed
    for way in ("bytes", "header", "description", "training"):
        assert f"alter {way}: refused" in printed
    assert "alter training: trained on" in printed


# ------------------------------------------------------------------ as a whole or not at all


class Full(OSError):
    pass


@pytest.mark.parametrize("step", ["os.fsync", "os.replace", "os.chmod"])
@pytest.mark.parametrize("error", [Full("disk full"), KeyboardInterrupt()], ids=["OSError", "^C"])
def test_a_failed_save_leaves_the_old_file_and_nothing_else(model, path, monkeypatch, step, error):
    net = pycnn.load(path)
    net.parameters[0] += 1

    def fail(*arguments):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(step, fail)
        with pytest.raises(type(error)):
            net.save(path)
    assert path.read_bytes() == model
    assert list(path.parent.iterdir()) == [path]
    net.save(path)
    assert path.read_bytes() != model


def test_save_to_where_nothing_can_be_written_is_an_os_error(model, path, tmp_path):
    net = pycnn.load(path)
    (tmp_path / "folder").mkdir()
    for place in ("absent/net", "net.safetensors/net", "folder"):
        with pytest.raises(OSError, match=r".*"):
            net.save(tmp_path / place)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "net.safetensors"]
    assert path.read_bytes() == model


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind this user"
)
def test_save_to_a_read_only_folder_is_an_os_error(model, path):
    net = pycnn.load(path)
    path.parent.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            net.save(path)
    finally:
        path.parent.chmod(0o700)
    assert path.read_bytes() == model


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_save_keeps_the_permissions_of_the_file_and_follows_links(model, path):
    net = pycnn.load(path)
    path.chmod(0o640)
    link = path.with_name("link")
    link.symlink_to(path)
    net.parameters[0] += 1
    net.save(link)
    assert link.is_symlink()
    assert path.read_bytes() != model
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    fresh = path.with_name("fresh")
    net.save(fresh)
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o666 & ~mask


# ------------------------------------------------------------------ pickle


def test_pickle_takes_the_settings_and_the_parameters_and_no_more():
    net = Network(30, [Dense(40, "tanh"), Dense(3, "softmax")], seed=0)
    data = np.random.default_rng(0).normal(size=(500, 30))
    net.fit(data, np.arange(500) % 3, epochs=2)
    size = len(pickle.dumps(net))
    assert net.parameters.nbytes < size < net.parameters.nbytes + 2000


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_works_with_every_protocol(backend, protocol):
    layer = Dense(4, "relu", bias_initializer=initializers.Uniform(-1, 1))
    net = Network(3, [layer, Dense(3, "softmax")], seed=7, backend=backend)
    back = pickle.loads(pickle.dumps(net, protocol))
    assert repr(back) == repr(net)
    assert back.parameters.tobytes() == net.parameters.tobytes()
    assert back.parameters.ctypes.data % 64 == 0
    assert back.history is None


def test_a_layer_can_be_pickled_by_itself():
    layer = pickle.loads(pickle.dumps(Dense(4, "relu")))
    assert repr(layer) == "Dense(4, 'relu')"


def by_subprocess(net):
    code = "import pickle, sys; pickle.dump(pickle.load(sys.stdin.buffer), sys.stdout.buffer)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps(net),
        cwd=Path(pycnn.__file__).parents[1],  # it would import the source tree, were it there
        capture_output=True,
        check=True,
        timeout=120,
    )
    return pickle.loads(done.stdout)


COPIES = [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net)), by_subprocess]
COPY_NAMES = ["copy", "deepcopy", "pickle", "subprocess"]


@pytest.mark.parametrize("make", COPIES, ids=COPY_NAMES)
def test_a_copy_has_the_history_and_all_else_and_shares_nothing(backend, make):
    net = make_network(backend)
    stop = EarlyStopping("loss", patience=2, min_delta=9.0)
    net.fit(X, INDEX, epochs=9, callbacks=[stop], validation_data=(X, INDEX))
    net.learning_rate_factor, net.note = 0.25, {"mine": [1]}
    before = {name: list(values) for name, values in net.history.items()}
    other = make(net)
    assert other.history is not net.history
    assert (other.history.epochs, dict(other.history)) == (3, before)
    assert (other.stop_training, other.learning_rate_factor) == (True, 0.25)
    assert other.note == {"mine": [1]}
    assert vars(other).keys() == vars(net).keys()
    other.history.append({"loss": 1.0})
    other.fit(X, INDEX, epochs=1)
    assert (net.history.epochs, dict(net.history)) == (3, before)


@pytest.mark.parametrize("make", COPIES, ids=COPY_NAMES)
def test_a_copy_made_after_an_interrupt_has_the_history_and_goes_on(backend, make):
    def interrupt(network, epoch, logs):
        if epoch == 2:
            raise KeyboardInterrupt

    whole, net = make_network(backend), make_network(backend)
    whole.fit(X, INDEX, epochs=4)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, INDEX, epochs=4, callbacks=[interrupt])
    other = make(net)
    assert other.history["loss"] == net.history["loss"] == whole.history["loss"][:2]
    history = other.fit(X, INDEX, epochs=4, resume=True)
    assert history["loss"] == whole.history["loss"]
    assert other.parameters.tobytes() == whole.parameters.tobytes()


@pytest.mark.parametrize("make", COPIES[:3], ids=COPY_NAMES[:3])
def test_a_copy_made_in_a_callback_has_the_history_so_far(backend, make):
    copies = []
    net = make_network(backend)
    net.fit(
        X, INDEX, epochs=3, callbacks=[lambda network, epoch, logs: copies.append(make(network))]
    )
    assert [len(other.history["loss"]) for other in copies] == [1, 2, 3]
    assert [other.history.epochs for other in copies] == [1, 2, 3]


class Named(Network):
    """A network with something of its own."""

    def __init__(self, name, **settings):
        self.name = name  # before the base class has set anything
        super().__init__(3, [Dense(1)], **settings)
        self.tags = ["a"]


def test_a_subclass_keeps_what_is_its_own(backend):
    for make in COPIES[:3]:
        other = make(Named("first", seed=0, backend=backend))
        assert (type(other), other.name, other.tags) == (Named, "first", ["a"])
        other.__init__("second", seed=0, backend=backend)  # the same object, made anew
        again = make(other)
        assert (again.name, again.tags) == ("second", ["a"])
        assert not np.shares_memory(again.parameters, other.parameters)


@pytest.mark.parametrize("layers", ["BatchNorm", "Dropout"])
def test_a_folded_network_has_the_outputs_and_nothing_of_the_training(backend, path, layers):
    middle = [Dense(4, l1=0.1, l2=0.1, max_norm=2.0), BatchNorm("relu")]
    if layers == "Dropout":
        middle = [Dense(4, "relu", l2=0.1), Dropout(0.2)]
    net = Network(3, [*middle, Dense(3, "softmax")], seed=7, backend=backend, l1=0.01, l2=0.02)
    net.fit(X, INDEX, epochs=3, optimizer="adam")
    net.metadata = {"mine": 1}
    folded = net.folded()
    assert (folded.l1, folded.l2) == (0.0, 0.0)
    assert folded.history is folded.training_record.last is None
    assert (folded.metadata, folded.epochs_trained) == ({"mine": 1}, 3)
    np.testing.assert_allclose(folded.predict(X), net.predict(X), rtol=1e-12)
    data_loss = -np.log(net.predict(X)[np.arange(12), INDEX]).mean()
    assert folded.evaluate(X, INDEX)["loss"] == pytest.approx(data_loss, rel=1e-12)
    assert net.evaluate(X, INDEX)["loss"] > data_loss + 1e-3
    folded.save(path)
    assert pycnn.load(path, backend).predict(X).tobytes() == folded.predict(X).tobytes()
    with pytest.raises(DataError, match="has been trained"):
        folded.save(path, training_state=True)
    folded.partial_fit(X, INDEX)
    folded.save(path, training_state=True)
    pycnn.load(path, backend).partial_fit(X, INDEX)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
def test_saving_to_a_pipe_writes_into_it(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    net = pycnn.Network(2, [pycnn.Dense(1)], seed=0)
    received = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    net.save(pipe)
    reader.join()
    net.save(tmp_path / "file")
    assert pipe.is_fifo()
    assert received == [(tmp_path / "file").read_bytes()]
