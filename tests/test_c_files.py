"""Model files in C: the same bits in both directions, and the same files refused."""

import io
import json
import random
import struct
from pathlib import Path

import numpy as np
import pytest

import pycnn
from pycnn import (
    AveragePool1D,
    AveragePool2D,
    BatchNorm,
    Conv1D,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePool1D,
    GlobalMaxPool2D,
    LayerNorm,
    MaxPool1D,
    MaxPool2D,
    MultiHeadAttention,
    Network,
    PositionEmbedding,
    Rescale,
    Reshape,
    Residual,
    SpatialDropout,
    TiedDense,
    Tokens,
    TransformerBlock,
    ZeroPadding2D,
    losses,
)
from pycnn._io import model_file, safetensors_file
from pycnn.exceptions import ModelFileError

TESTS = Path(__file__).parent
X = np.random.default_rng(3).normal(size=(12, 3))
SIGNS = np.arange(36).reshape(12, 3) * 7 % 5
INDEX = np.arange(12) % 3
CHANNELS = [
    *(Dense(24), Reshape((2, 4, 3)), BatchNorm("tanh"), SpatialDropout(0.2), Dropout(0.1)),
    Residual([Conv2D(3, 3, padding="same", use_bias=False), BatchNorm("relu"), LayerNorm()]),
    *(Flatten(), LayerNorm(), BatchNorm(), Reshape((8, 3)), Conv1D(2, 3), BatchNorm()),
    *(Flatten(), Dense(3, "softmax")),
]
BLOCK = Residual([Dense(4), BatchNorm("relu"), Dropout(0.1), Dense(2)], shortcut=Dense(2))
WORDS = ["ant", "b\0c", "\u4e2d\U0001f600"]
MODELS = {
    "labels": ([Dense(4, "relu", l2=0.1), Dense(3, "softmax")], {}, WORDS),
    "numbers": ([LayerNorm("tanh"), Dense(3, "softmax")], {"l1": 0.1}, [-2.5, 0.1, 1e300]),
    "dates": ([Dense(3, "softmax")], {}, np.array([1, 2, 3], "M8[D]")),
    "booleans": ([Dense(1, "sigmoid", max_norm=3)], {}, [False, True, True]),
    "channels": (CHANNELS, {}, [1, 2, 3]),
    "residual": ([BLOCK, Residual([Residual([Dense(2)])]), Dense(1)], {}, [0.5, 1.5, 2]),
    "tokens": ([Embedding(4), Flatten(), Dense(4, "gelu"), TiedDense()], {}, [0, 2, 4]),
    "transformer": (
        [
            Embedding(4), PositionEmbedding(), TransformerBlock(2, causal=True, dropout=0.1),
            Residual([TransformerBlock(1, 3, activation="relu", norm_first=False)]),
            PositionEmbedding("sinusoidal"), MultiHeadAttention(4), LayerNorm(), Flatten(),
            Dense(3, "softmax"),
        ],
        {"l2": 0.01},
        WORDS,
    ),
    "huber": ([Rescale(1 / 255, -1e-7), Dense(1)], {"loss": losses.Huber(0.5)}, [1e5, 2e5, 4e5]),
    "quantile": ([Dense(2, "gelu"), Dense(1)], {"loss": losses.Quantile(1 / 3)}, [1.0, 2.0, 4.0]),
    "convolutions": (
        [
            Dense(24), Reshape((3, 4, 2)), Conv2D(3, (2, 1), padding="same", strides=(1, 2)),
            Residual([Conv2D(3, 1, dilation=(2, 1))]), Conv2D(5, 2, use_bias=False, max_norm=2),
            Reshape((2, 5)), Conv1D(4, 3, "tanh", padding="same", l2=0.1), Flatten(),
            Dense(3, "softmax"),
        ],
        {"l2": 0.01},
        WORDS,
    ),
    "pooling": (
        [
            Dense(24), Reshape((4, 3, 2)), MaxPool2D(2, strides=1, padding="same"),
            ZeroPadding2D(((1, 0), (0, 2))), AveragePool2D((2, 1)), GlobalMaxPool2D(), Dense(12),
            Reshape((6, 2)), AveragePool1D(padding="same"), MaxPool1D(2, strides=1),
            GlobalAveragePool1D(), Dense(3, "softmax"),
        ],
        {},
        WORDS,
    ),
    "reshaped": (
        [
            Dense(24), Reshape((3, -1, 2)), Conv2D(3, 2, "tanh"), Reshape((-1, 3)),
            MaxPool1D(2), Reshape(-1), Dense(3, "softmax"),
        ],
        {},
        WORDS,
    ),
    "smoothed": (
        [Dense(3, "softmax")],
        {"loss": losses.CategoricalCrossentropy(0.1), "seed": 2**70},
        [1, 2, 3],
    ),
}  # fmt: skip
ON_TOKENS = ("tokens", "transformer")


def answer(done):
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert done.stderr == b""
    return done.stdout


@pytest.fixture
def run(core, programs, compiler):
    """Run the program for model files; return what it prints."""
    return lambda *arguments, data=b"": answer(
        programs.run(compiler, "file_run", *arguments, data=data)
    )


@pytest.fixture
def verdicts(core, programs):
    """Return a line for each of some files, from the program under sanitizers."""
    name = "sanitized file_run"
    compiler = next((made for made, kind in programs.programs if kind == name), "cc")
    return lambda *paths: (
        answer(programs.run(compiler, name, "read", *paths, data=b"")).decode().splitlines()
    )


def trained(name):
    layers, settings, targets = MODELS[name]
    inputs, samples = (Tokens(5, 3), SIGNS) if name in ON_TOKENS else (3, X)
    net = Network(inputs, layers, **{"seed": 7, "backend": "c"} | settings)
    scaled = {"scale_targets": True} if name == "huber" else {}
    net.fit(samples, np.array(targets)[INDEX], epochs=2, **scaled)
    net.feature_names = ("a", "b\n", "\u00e9")
    net.metadata = {
        "note": '\u00e9\x7f"\\/\n',
        "numbers": [1e-5, 1e16, -0.5, 10**30],
        "x": [{}, []],
    }
    return net


@pytest.mark.parametrize("name", MODELS)
def test_c_predicts_and_saves_as_python_does(run, tmp_path, name):
    net = trained(name)
    net.save(tmp_path / "model", training_state=True)
    samples = SIGNS if name in ON_TOKENS else X
    data = samples.astype(float).tobytes()
    bits = run("predict", tmp_path / "model", tmp_path / "copy", data=data)
    assert bits == net.predict(samples).tobytes()
    net.save(tmp_path / "model")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "model").read_bytes()
    back = pycnn.load(tmp_path / "copy", backend="c")
    assert back.theta.tobytes() == net.theta.tobytes()
    assert back.metadata == net.metadata


def test_c_tells_labels_and_names(run, tmp_path):
    expected = {
        "labels": b"ant\nb\xc0\x80c\n\xe4\xb8\xad\xf0\x9f\x98\x80\n",
        "numbers": b"-2.5\n0.1\n1e+300\n",
        "dates": b"1970-01-02\n1970-01-03\n1970-01-04\n",
        "booleans": b"false\ntrue\n",
    }
    for name, lines in expected.items():
        trained(name).save(tmp_path / "model")
        assert run("labels", tmp_path / "model") == lines + b"a\nb\n\n\xc3\xa9\n"


def test_python_reads_a_network_of_c_that_ends_in_an_image(run, tmp_path):
    weights = np.array([2.0, -1.0, 0.5])
    run("image", tmp_path / "model", data=weights.tobytes())
    net = pycnn.load(tmp_path / "model")
    assert [layer.kind for layer in net.layers] == ["reshape", "conv1d"]
    assert net.output_shape == (2, 1)  # an image of one row is a sequence
    assert np.array_equal(net.predict([[1.0, 2.0, 4.0]]), [[[0.5], [0.5]]])
    bits = run("predict", tmp_path / "model", tmp_path / "copy", data=np.arange(3.0).tobytes())
    assert bits == net.predict([[0.0, 1.0, 2.0]]).tobytes()


def test_python_reads_what_c_made_of_sequences(run, tmp_path):
    numbers = np.random.default_rng(1).normal(size=500)
    run("sequence", tmp_path / "model", data=numbers.tobytes())
    net = pycnn.load(tmp_path / "model", backend="c")
    kinds = ["reshape", "conv1d", "residual", "transformer_block"]
    assert [layer.kind for layer in net.layers] == kinds
    assert np.array_equal(net.parameters, numbers[: net.parameters.size])
    x = np.arange(24.0)
    bits = run("predict", tmp_path / "model", tmp_path / "copy", data=x.tobytes())
    assert bits == net.predict([x]).tobytes()
    assert pycnn.load(tmp_path / "copy").theta.tobytes() == net.theta.tobytes()


def test_c_writes_numbers_as_python_does(run, tmp_path):
    rng = random.Random(5)
    values = [struct.unpack("<d", rng.randbytes(8))[0] for _ in range(1000)]
    values += [s * 2.0**k for k in range(-1074, 1024, 3) for s in (1, -1)]
    values += [round(rng.uniform(-1, 1) * 10 ** rng.randrange(-8, 20), 3) for _ in range(1000)]
    values += [1e16, 9999999999999998.0, 1e-4, 9.999e-5, 0.1, 5e-324, 2.0**-24, 2.0**89, -1.0]
    values = [value for value in values if np.isfinite(value) and value != 0]
    values = values[: len(values) // 2 * 2]
    run("numbers", tmp_path / "model", data=np.array(values).tobytes())
    layers = pycnn.load(tmp_path / "model").layers
    assert [v for layer in layers for v in (layer.scale, layer.offset)] == values


@pytest.mark.parametrize("name", sorted(p.name for p in TESTS.glob("*/*-0.1.safetensors")))
def test_c_reads_files_of_0_1_without_a_training(run, tmp_path, name):
    path = TESTS / "data" / name
    said = run("read", path).decode()
    if pycnn.load(path).training_record.last is not None:
        assert "a training's state of pycnn 0.1 is in it" in said
        return
    assert said == "0 no error\n"
    run("predict", path, tmp_path / "copy", data=X.tobytes())
    assert pycnn.load(tmp_path / "copy").theta.tobytes() == pycnn.load(path).theta.tobytes()


def altered(net, rng):
    """Yield model files whose description, tensors or bytes are altered; checksums fit, or not."""
    values = [0, 1, -1, 2.5, 10**30, None, True, "x", "relu", [], {}, [[1]], {"kind": "dense"}]
    content = b"".join(model_file._to_pieces(net, False))
    metadata, tensors, _ = safetensors_file.read(io.BytesIO(content), len(content))
    for _ in range(150):
        description = json.loads(metadata["pycnn"])
        at = description
        while rng.random() < 0.6 and isinstance(at, (dict, list)) and at:
            key = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
            inner = at[key]
            if not isinstance(inner, (dict, list)) or rng.random() < 0.2:
                at[key] = rng.choice(values)
            at = inner
        text = json.dumps(description, sort_keys=True)
        yield b"".join(model_file._seal(tensors, text))
        begin = rng.randrange(len(text))
        text = text[:begin] + rng.choice(['"', "\\u00e9", " ", "}", "1", ""]) + text[begin + 1 :]
        yield b"".join(model_file._seal(tensors, text))
        begin = rng.randrange(len(content))
        yield content[:begin] + rng.randbytes(1) + content[begin + 1 :]
        name = rng.choice(list(tensors))
        other = tensors | {name: rng.choice([np.zeros(3), tensors[name].T, np.zeros(0, "f4")])}
        yield b"".join(model_file._seal(other, metadata["pycnn"]))
        yield b"".join(safetensors_file.write(tensors, {"pycnn": metadata["pycnn"]}))


@pytest.mark.parametrize(
    "name",
    [
        *("labels", "residual", "huber", "convolutions", "pooling", "tokens"),
        pytest.param("transformer", marks=pytest.mark.thorough),
    ],
)
def test_c_reads_whatever_python_reads_and_stays_within_its_memory(verdicts, tmp_path, name):
    rng, net = random.Random(name), trained(name)
    paths = []
    for number, content in enumerate(altered(net, rng)):
        paths.append(tmp_path / f"{number}")
        paths[-1].write_bytes(content)
    said = verdicts(*paths)
    assert len(said) == len(paths)
    refused = 0
    for path, line in zip(paths, said, strict=True):
        assert line.startswith(("0 ", "14 ")), line
        try:
            pycnn.load(path)
        except ModelFileError:
            refused += 1
        else:
            assert line == "0 no error", (line, path.read_bytes()[:1500])
    assert refused > len(paths) / 4


def test_c_refuses_what_is_no_safetensors_file(verdicts, tmp_path):
    net = trained("labels")
    net.save(tmp_path / "model")
    content = (tmp_path / "model").read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])

    def entry(**changes):
        return header | {"layers.1.b": header["layers.1.b"] | changes}

    offsets = header["layers.1.b"]["data_offsets"]
    cases = [
        entry(dtype="F7"),
        entry(dtype="I64"),
        entry(shape=[2, 2]),
        entry(shape=[-4]),
        entry(shape=[4.0]),
        entry(shape=[2**62, 2**62, 4]),
        entry(shape=[1] * 40),
        entry(data_offsets=offsets[::-1]),
        entry(data_offsets=[*offsets, 1]),
        entry(data_offsets=[at + 8 for at in offsets]),
        entry(data_offsets=[2**63, 2**63 + 32]),
        entry(more=1),
        {k: v for k, v in header.items() if k != "layers.1.b"},
        header | {"training.x": header["layers.1.b"]},
        header | {"layers.3.b": {"dtype": "F64", "shape": [0], "data_offsets": [0, 0]}},
        header | {"__metadata__": {"pycnn": header["__metadata__"]["pycnn"], "x": ""}},
        header | {"__metadata__": {"sha256": "0" * 64}},
        header | {"__metadata__": {"pycnn": 5}},
        header | {"__metadata__": {"pycnn": "[" * 10**6}},
        [header],
    ]
    texts = [json.dumps(case).encode() for case in cases]
    plain = json.dumps(header | {"__metadata__": {"pycnn": header["__metadata__"]["pycnn"]}})
    twice = plain.replace('{"__m', f'{{"layers.1.b": {json.dumps(header["layers.1.b"])}, "__m', 1)
    texts += [plain.encode()[:-1], plain.encode() + b",", twice.encode(), b"[" * 10**6, b'{"\xff']
    texts += [plain.replace("layers.1.b", "layers.1.\\ud8").encode(), b'{"' + b"a" * 10**6]
    paths = []
    for text in [*texts, plain.encode()]:
        paths.append(tmp_path / f"{len(paths)}")
        paths[-1].write_bytes(len(text).to_bytes(8, "little") + text + content[start:])
    *said, last = verdicts(*paths)
    assert [line for line in said if not line.startswith("14 ")] == []
    assert last == "0 no error"  # but for what was altered they are good
