"""ONNX models: what is written computes what pycnn does, and comes back; others are read."""

import contextlib
import io
import random
import warnings

import numpy as np
import pytest

import pycnn
from pycnn import (
    GRU,
    LSTM,
    AveragePool2D,
    BatchNorm,
    Bidirectional,
    Conv1D,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePool1D,
    GlobalAveragePool2D,
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
    SimpleRNN,
    TiedDense,
    Tokens,
    TransformerBlock,
    ZeroPadding2D,
)
from pycnn.activations import ACTIVATIONS
from pycnn.exceptions import DataError, ModelFileError, PycnnWarning

NETWORKS = {
    "rows": lambda: Network(
        5, [BatchNorm(), Dense(7), BatchNorm("relu"), LayerNorm(), Dropout(0.3), Dense(3, "relu")]
    ),
    "what cannot be folded": lambda: Network(5, [Dense(4, "relu"), BatchNorm("sigmoid")]),
    "two ways": lambda: Network(
        5,
        [
            Residual([Dense(5, "relu"), BatchNorm(), Dense(5)], activation="relu"),
            Residual([Dense(6)], shortcut=Dense(6)),
        ],
    ),
    "positions": lambda: Network(
        (4, 6), [Dense(7, "gelu"), LayerNorm("tanh"), Rescale(2, 1), BatchNorm(), Flatten()]
    ),
    "images": lambda: Network(
        (12, 11, 2),
        [
            Conv2D(6, (5, 4), "relu", padding="same"),
            MaxPool2D(2),
            BatchNorm("relu"),
            Conv2D(4, 3, "tanh", strides=2, use_bias=False),
            AveragePool2D(2, strides=1, padding="same"),
            ZeroPadding2D(((1, 0), (2, 3))),
            Flatten(),
            Dense(4, "softmax"),
        ],
    ),
    "two ways of images": lambda: Network(
        (6, 6, 2),
        [
            Residual(
                [Conv2D(4, 3, "relu", padding="same"), BatchNorm(), Conv2D(4, 3, padding="same")],
                shortcut=Conv2D(4, 1),
                activation="relu",
            ),
            GlobalAveragePool2D(),
        ],
    ),
    "largest of images": lambda: Network((6, 5, 2), [GlobalMaxPool2D(), Dense(2)]),
    "series": lambda: Network(
        (16, 3),
        [
            Conv1D(6, 5, "relu", padding="same", dilation=2),
            MaxPool1D(2),
            Conv1D(4, 3, strides=2),
            GlobalAveragePool1D(),
        ],
    ),
    "shapes": lambda: Network(
        12, [Reshape((2, 2, 3)), Conv2D(3, 2, padding="same"), Reshape((4, 3)), Dense(2)]
    ),
    "recurrent": lambda: Network(
        (7, 3),
        [
            LSTM(5, return_sequences=True),
            GRU(4, return_sequences=True, reverse=True),
            SimpleRNN(4),
        ],
    ),
    "from both ends": lambda: Network(
        (7, 3),
        [Bidirectional(LSTM(5, return_sequences=True)), Bidirectional(GRU(4), merge="sum")],
    ),
    "language": lambda: Network(
        Tokens(11, length=6),
        [
            Embedding(8),
            PositionEmbedding(),
            TransformerBlock(2, causal=True, dropout=0.1),
            TransformerBlock(4, norm_first=False),
            LayerNorm(),
            TiedDense(),
        ],
    ),
    "attention": lambda: Network(
        (5, 8), [PositionEmbedding("sinusoidal"), MultiHeadAttention(2), Flatten(), Dense(2)]
    ),
    "tied": lambda: Network(
        Tokens(11, length=6), [Embedding(4), Flatten(), Dense(4, "tanh"), TiedDense()]
    ),
    **{
        name: lambda name=name: Network(5, [Dense(7, name), Dense(3, name)]) for name in ACTIVATIONS
    },
}
# What ONNX Runtime computes in float32 alone.
FLOAT32 = ["images", "two ways of images", "series", "shapes", "recurrent", "from both ends"]


def drawn(net, seed=0):
    """Return a network with all parameters and statistics drawn anew."""
    rng = np.random.default_rng(seed)
    for name, tensor in net.tensors.items():
        tensor[...] = rng.normal(scale=0.4, size=tensor.shape)
        if name.endswith("variance"):
            tensor[...] = abs(tensor) + 0.5
    return net


def samples(net, count=3):
    rng = np.random.default_rng(1)
    if isinstance(net.input_shape, Tokens):
        return rng.integers(0, net.input_shape.vocabulary, (count, *net.input_shape))
    return rng.normal(size=(count, *net.input_shape)).astype(np.float32)


def written(net, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PycnnWarning)
        return net.to_onnx(**options)


def runtime(content, X):
    """Return what ONNX Runtime makes of samples."""
    session = pytest.importorskip("onnxruntime").InferenceSession(content)
    return session.run(None, {session.get_inputs()[0].name: X})[0]


def reference(content, X):
    """Return what the reference evaluator makes of samples."""
    onnx = pytest.importorskip("onnx")
    evaluator = pytest.importorskip("onnx.reference").ReferenceEvaluator
    return evaluator(onnx.load_from_string(content)).run(None, {"input": X})[0]


def same(got, want, dtype):
    scale = max(1, abs(want).max())
    assert got.dtype == dtype
    assert got.shape == want.shape
    assert abs(got - want).max() <= (1e-6 if dtype == "float32" else 1e-12) * scale


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_written_computes_what_the_network_does(name, dtype):
    onnx = pytest.importorskip("onnx")
    net = drawn(NETWORKS[name]())
    X = samples(net)
    want, of = net.predict(X), X if X.dtype.kind == "i" else X.astype(dtype)
    first = np.ascontiguousarray(np.moveaxis(of, -1, 1)) if of.dtype.kind == "f" else of
    for opset, layout in ((18, "last"), (20, "last"), (20, "first"), (23, "last")):
        content = written(net, dtype=dtype, opset=opset, layout=f"channels_{layout}")
        onnx.checker.check_model(content, full_check=True)
        given = first if layout == "first" and X.ndim > 2 else of
        if dtype == "float32" or name not in FLOAT32:
            same(runtime(content, given), want, dtype)
        if opset == 20:
            same(reference(content, given), want, dtype)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_was_written_comes_back_to_the_bit(name):
    net = drawn(NETWORKS[name]())
    for layout in ("channels_last", "channels_first"):
        back = pycnn.from_onnx(written(net, dtype="float64", layout=layout), backend="numpy")
        assert back.theta.tobytes() == net.folded().theta.tobytes()
        assert repr(back.layers) == repr(net.folded().layers)
    single = pycnn.from_onnx(written(net, opset=18), backend="numpy")
    assert (single.theta == net.folded().theta.astype(np.float32)).all()


def test_a_file_has_loss_labels_names_and_units(tmp_path):
    pd = pytest.importorskip("pandas")
    net = Network(2, [Dense(3, "softmax")], seed=0)
    X = pd.DataFrame({"a": [1.0, 2, 3], "b": [3.0, 1, 2]})
    net.fit(X, np.array(["x", "y", "z"]), epochs=1)
    path = tmp_path / "net.onnx"
    assert net.to_onnx(path, dtype="float64") is None
    back = pycnn.from_onnx(path)
    assert back.classes.tolist() == ["x", "y", "z"]
    assert back.feature_names == ("a", "b")
    assert (back.predict(X) == net.predict(X)).all()
    back.fit(X, np.array(["x", "y", "z"]), epochs=1)
    scaled = Network(2, [Dense(1)], loss=pycnn.losses.Huber(2.0), seed=0)
    scaled.target_scale = [3.0], [5.0]
    back = pycnn.from_onnx(scaled.to_onnx(dtype="float64"))
    assert back.loss_parameter == 2
    assert back.predict([[1, 2]]) == scaled.predict([[1, 2]])


def test_outputs_have_the_targets_own_unit():
    net = Network(2, [Dense(2)], seed=0)
    net.target_scale = [3.0, 4.0], [5.0, 6.0]
    X = np.float32([[1, 2], [3, 4]])
    same(runtime(net.to_onnx(), X), net.predict(X), "float32")


def test_sequences_of_any_length_are_written():
    net = drawn(Network((None, 4), [Conv1D(3, 3, padding="same"), GRU(4, return_sequences=True)]))
    content = net.to_onnx()
    assert pycnn.from_onnx(content).input_shape == (None, 4)
    with pytest.raises(DataError, match=r"of kind attention, .* must have a length"):
        Network((None, 4), [MultiHeadAttention(2, causal=True)]).to_onnx()
    for length in (3, 6):
        X = np.ones((2, length, 4), np.float32)
        same(runtime(content, X), net.predict(X), "float32")


def test_a_network_that_does_nothing_is_written():
    net = Network((2, 3), [Reshape((2, 3))])
    X = samples(net)
    same(runtime(net.to_onnx(), X), net.predict(X), "float32")


def test_what_onnx_runtime_has_no_float64_for_is_said():
    net = Network((8, 2), [Conv1D(3, 2), LSTM(2)], seed=0)
    with pytest.warns(PycnnWarning, match=r"no float64 Conv, LSTM; dtype=\"float32\" it runs"):
        net.to_onnx(dtype="float64")


def test_arguments_are_checked_before_a_file_is_touched(tmp_path):
    net, path = Network(2, [Dense(1)]), tmp_path / "net.onnx"
    path.write_bytes(b"before")
    for wrong in ({"dtype": "float16"}, {"opset": 17}, {"layout": "first"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            net.to_onnx(path, **wrong)
    rnn = Network((3, 2), [SimpleRNN(2, "gelu")])
    with pytest.raises(DataError, match="recurrent layer with the activation 'gelu'"):
        rnn.to_onnx(path)
    assert path.read_bytes() == b"before"


def test_what_is_no_onnx_model_is_a_model_file_error(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ModelFileError, match=r"net\.onnx"):
        pycnn.from_onnx(path)
    with pytest.raises(FileNotFoundError):
        pycnn.from_onnx(tmp_path / "missing")


@pytest.mark.parametrize("name", ["rows", "images", "language"])
def test_damaged_files_are_model_file_errors_and_nothing_else(name):
    content = written(drawn(NETWORKS[name]()))
    rng = random.Random(name)
    for number in range(60):
        damaged = bytearray(content)
        if number % 3:
            damaged[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        else:
            del damaged[rng.randrange(len(content)) :]
        with contextlib.suppress(ModelFileError):
            pycnn.from_onnx(bytes(damaged), backend="numpy")


# ------------------------------------------------------------------ what others have written


def without_metadata(content):
    """Return a model that says nothing of having been written by pycnn."""
    from pycnn._io.onnx import protobuf

    fields = protobuf.read(memoryview(content)).items()
    parts = [protobuf.field(n, *(v if isinstance(v, int) else bytes(v) for v in values))
             for n, values in fields if n != 14]  # fmt: skip
    return b"".join(parts)


# What is composed of many operations, or has channels first where pycnn would have them last.
NOT_FOREIGN = ["positions", "from both ends"]


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in NOT_FOREIGN])
def test_layers_are_found_by_what_is_computed(name):
    net = drawn(NETWORKS[name]())
    X = samples(net)
    for dtype in ("float32", "float64"):
        found = pycnn.from_onnx(without_metadata(written(net, dtype=dtype)), backend="numpy")
        want = net.predict(X)
        scale = max(1, abs(want).max())
        assert abs(found.predict(X) - want).max() <= (2e-6 if dtype == "float32" else 1e-12) * scale
        assert np.isfinite(found.gradients(X, found.predict(X))[1]).all()


def test_what_cannot_be_read_is_named():
    nodes = [("MatMul", ["x", "W"], ["z"], {}), ("Mul", ["z", "z"], ["y"], {})]
    with pytest.raises(ModelFileError, match=r"at node 'mul_1' \(Mul\)"):
        pycnn.from_onnx(foreign(nodes, {"W": np.eye(3)}, 3))


def test_little_that_would_become_much_is_refused():
    from pycnn._io.onnx.protobuf import field

    def node(op, inputs, output, *attributes):
        return field(1, field(1, *inputs) + field(2, output) + field(4, op) + field(5, *attributes))

    axis = field(1, "axis") + field(3, 0) + field(20, 2)
    doubled = [node("Concat", [f"a{n}"] * 2, f"a{n + 1}", axis) for n in range(50)]
    many = [node("Exp", ["a0"], f"b{n}") for n in range(300)]
    for nodes, numbers in ((doubled, 2), (many, 100_000)):
        content = bytes(8 * numbers)
        array = field(1, numbers) + field(2, 11) + field(8, "a0") + field(9, content)
        graph = b"".join(nodes) + field(5, array)
        with pytest.raises(ModelFileError, match="is too large"):
            pycnn.from_onnx(field(7, graph))


def foreign(nodes, arrays, *shape, output="y", kind=1, opset=17):
    """Return a model of operations, their inputs, outputs and attributes, without the package."""
    from pycnn._io.onnx.protobuf import field
    from pycnn._io.onnx.writer import _node, _tensor, _value_info

    graph = [field(1, *(_node(n, *node) for n, node in enumerate(nodes)))]
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    graph.append(field(5, *(_tensor(name, array, "float64") for name, array in arrays.items())))
    graph += [field(11, _value_info("x", kind, shape)), field(12, _value_info(output, 1, (2,)))]
    return field(7, b"".join(graph)) + field(8, field(2, opset))


RNG = np.random.default_rng(2)
CONSTANTS = {
    **{f"n{n}": float(n) for n in (0, 5, 35, 1_000_000)},
    "W": RNG.normal(size=(3, 2)),
    "one": RNG.normal(size=3) ** 2,
    "column": [[1.0], [2.0]],
    "pair": [1.0, 2.0],
    "kernel": np.ones((1, 1, 2, 2)),
    "first": 0,
    "axis": [0],
    "flat": [-1, 8],
    "all": [1, -1],
    "in": RNG.normal(size=(1, 8, 3)),
    "on": RNG.normal(size=(1, 8, 2)),
}
WEIGHTED = "MatMul", ["x", "W"], ["z"], {}
TIME_FIRST = "Transpose", ["x"], ["t"], {"perm": [1, 0, 2]}
SQUEEZED = "Squeeze", ["h", "axis"], ["y"], {}
# Operations, where one is refused that pycnn would do otherwise, and the samples' shape.
OTHERWISE = {
    "Max": ([WEIGHTED, ("Max", ["z", "n0", "n5"], ["y"], {})], 3),
    "Min": (
        [
            WEIGHTED,
            ("Min", ["z", "n1000000", "n5"], ["m"], {}),
            ("Max", ["m", "n0"], ["y"], {}),
        ],
        3,
    ),
    "Clip": ([WEIGHTED, ("Clip", ["z", "n0", "n35"], ["y"], {})], 3),
    "Clip of much": ([WEIGHTED, ("Clip", ["z", "n0", "n1000000"], ["y"], {})], 3),
    "Cast": (
        [WEIGHTED, ("Cast", ["z"], ["i"], {"to": 7}), ("Cast", ["i"], ["y"], {"to": 1})],
        3,
    ),
    "Cast of an activation": (
        [
            WEIGHTED,
            ("Cast", ["z"], ["i"], {"to": 7}),
            ("Cast", ["i"], ["f"], {"to": 1}),
            ("Relu", ["f"], ["y"], {}),
        ],
        3,
    ),
    "ReduceMean": ([WEIGHTED, ("ReduceMean", ["z"], ["y"], {"axes": [0], "keepdims": 1})], 3),
    "Softmax": (
        [
            WEIGHTED,
            ("Transpose", ["z"], ["t"], {"perm": [1, 0]}),
            ("Softmax", ["t"], ["s"], {"axis": -1}),
            ("Transpose", ["s"], ["y"], {"perm": [1, 0]}),
        ],
        3,
    ),
    "Gather": ([("Gather", ["x", "first"], ["g"], {"axis": 0}), WEIGHTED], 3),
    "Slice": ([("Slice", ["x", "axis", "flat"], ["y"], {})], 3),
    "Reshape": ([("Reshape", ["x", "flat"], ["r"], {}), ("Relu", ["r"], ["y"], {})], 4),
    "Softmax of one row": (
        [("Reshape", ["x", "all"], ["r"], {}), ("Softmax", ["r"], ["y"], {})],
        4,
    ),
    "Concat": ([("Concat", ["x", "x"], ["y"], {"axis": 0})], 4),
    "LSTM": (
        [
            TIME_FIRST,
            ("LSTM", ["t", "in", "on"], ["", "", "h"], {"hidden_size": 2}),
            SQUEEZED,
        ],
        (5, 3),
    ),
    "LSTM of time that is open": (
        [("LSTM", ["x", "in", "on"], ["", "h"], {"hidden_size": 2}), SQUEEZED],
        (1, 3),
    ),
    "RNN": (
        [
            TIME_FIRST,
            (
                *("RNN", ["t", "in_rnn", "on_rnn"], ["", "h"]),
                {"hidden_size": 2, "activations": ["Elu"], "activation_alpha": [0.3]},
            ),
            SQUEEZED,
        ],
        (5, 3),
    ),
    "BatchNormalization": (
        [("BatchNormalization", ["x", *["one"] * 4], ["y"], {"training_mode": 1})],
        3,
    ),
    "Dropout": ([("Dropout", ["x", "n0", "n5"], ["y"], {})], 3),
    "Gemm": ([("Gemm", ["x", "W", "column"], ["y"], {})], 3),
    "Add": ([WEIGHTED, ("Add", ["z", "pair"], ["y"], {"axis": 0, "broadcast": 1})], 3),
    "Pad": (
        [
            ("Pad", ["x"], ["p"], {"pads": [0, 0, 1, 1, 0, 0, 1, 1], "value": 1.0}),
            ("Conv", ["p", "kernel"], ["y"], {}),
        ],
        (1, 4, 4),
    ),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_pycnn_would_do_otherwise_is_refused_by_its_name(name):
    nodes, shape = OTHERWISE[name]
    arrays = CONSTANTS | {f"{own}_rnn": CONSTANTS[own][:, :2] for own in ("in", "on")}
    if name == "Gather":
        nodes = [nodes[0], ("MatMul", ["g", "W"], ["y"], {})]
    with pytest.raises(ModelFileError, match=rf"cannot be read at node .*\({name.split()[0]}\)"):
        pycnn.from_onnx(foreign(nodes, arrays, *np.atleast_1d(shape).tolist()))


def test_what_is_close_to_what_is_refused_is_read():
    X, W, arrays = RNG.normal(size=(4, 3)), CONSTANTS["W"], CONSTANTS | {"rows": [-1, 3]}
    arrays |= {"thrice": [0, -1, 3], "bias": [[1.0, 2.0]], "most": 3.4e38}
    z = X @ W
    cases = [
        ([WEIGHTED, ("Max", ["z", "n0", "z"], ["y"], {})], np.maximum(z, 0)),
        ([WEIGHTED, ("Clip", ["z", "n0", "most"], ["y"], {})], np.maximum(z, 0)),
        ([("Gemm", ["x", "W", "bias"], ["y"], {})], z + np.array([1, 2])),
        (
            [
                ("Reshape", ["x", "rows"], ["r"], {}),
                ("Reshape", ["r", "thrice"], ["s"], {}),
                ("MatMul", ["s", "W"], ["m"], {}),
                ("Transpose", ["m"], ["t"], {"perm": [1, 0, 2]}),
                ("Squeeze", ["t"], ["z"], {}),
                ("Exp", ["z"], ["e"], {}),
                ("Add", ["e", "n1"], ["more"], {}),
                ("Log", ["more"], ["y"], {}),
            ],
            np.logaddexp(z, 0),
        ),
    ]
    for nodes, want in cases:
        net = pycnn.from_onnx(foreign(nodes, arrays | {"n1": 1.0}, 3))
        assert abs(net.predict(X) - want).max() < 1e-12


def test_graphs_in_a_circle_and_outputs_of_nothing_are_refused():
    circles = [["y", "y"]], [["y", "a"], ["a", "y"]], [["x", "y"], ["y", "x"]]
    for pairs in circles:
        nodes = [("Identity", [source], [made], {}) for source, made in pairs]
        with pytest.raises(ModelFileError, match=r"makes '.' at node .*\(Identity\)"):
            pycnn.from_onnx(foreign(nodes, {}, 3))
    with pytest.raises(ModelFileError, match="has the output 'other', which no layer makes"):
        pycnn.from_onnx(foreign([WEIGHTED], CONSTANTS, 3, output="other"))


def test_shapes_of_what_forks_again_and_again_are_asked_for_once():
    nodes, now = [], "x"
    for n in range(40):
        made = f"p{n}", f"q{n}", f"u{n}"
        nodes += [("Transpose", [now], [name], {"perm": [0, 1]}) for name in made[:2]]
        nodes.append(("Unsqueeze", [*made[:2]], [made[2]], {}))
        nodes += [("Shape", [name], [f"of_{name}"], {}) for name in made]
        now = made[2]
    nodes.append(("MatMul", ["x", "W"], ["y"], {}))
    assert len(pycnn.from_onnx(foreign(nodes, CONSTANTS, 3)).layers) == 1


def test_models_come_as_paths_of_bytes_open_files_and_messages(tmp_path):
    class Message:
        def SerializeToString(self):
            return content

    net = Network(3, [Dense(2, "softmax")], seed=0)
    net.classes = ["a", "b"]
    path, content = tmp_path / "net.onnx", net.to_onnx()
    net.to_onnx(bytes(path))
    for source in (bytes(path), io.BytesIO(content), Message()):
        source = path if isinstance(source, bytes) else source
        assert pycnn.from_onnx(source).classes.tolist() == ["a", "b"]
    with pytest.raises(TypeError, match="a file of bytes"):
        pycnn.from_onnx(io.StringIO(""))
    with pytest.raises(DataError, match="path must name a file, got ''"):
        net.to_onnx("")


def test_what_float32_cannot_hold_is_refused_with_advice():
    net = Network(2, [Dense(1)], seed=0)
    net.layers[0].W = np.array([[1.0, -1e39]])
    with pytest.raises(DataError, match=r'layers\.1\.W has 1e\+39, .*: dtype="float64" holds it'):
        net.to_onnx()
    assert pycnn.from_onnx(net.to_onnx(dtype="float64")).layers[0].W[0, 1] == -1e39


def test_a_norm_is_told_by_its_values():
    X, W = RNG.normal(size=(4, 6)), RNG.normal(size=(6, 2))
    arrays = {"W": W, "half": 0.5, "two": 2.0, "e": 1e-3, "axis": [-1], "n1": 1.0}
    arrays |= {"g": RNG.normal(size=6), "b": RNG.normal(size=(1, 6))}
    head = [("ReduceMean", ["x", "axis"], ["m"], {}), ("Sub", ["x", "m"], ["d"], {})]
    old = [  # of PyTorch's older exports
        ("Pow", ["d", "two"], ["q"], {}),
        ("ReduceMean", ["q", "axis"], ["v"], {}),
        ("Add", ["v", "e"], ["w"], {}),
        ("Sqrt", ["w"], ["s"], {}),
        ("Div", ["d", "s"], ["n"], {}),
        ("Mul", ["n", "g"], ["gn"], {}),
        ("Add", ["gn", "b"], ["z"], {}),
    ]
    keras = [
        ("Neg", ["m"], ["minus"], {}),
        ("Mul", ["d", "d"], ["q"], {}),
        ("ReduceMean", ["q", "axis"], ["v"], {}),
        ("Add", ["v", "e"], ["w"], {}),
        ("Sqrt", ["w"], ["s"], {}),
        ("Reciprocal", ["s"], ["r"], {}),
        ("Mul", ["r", "g"], ["rg"], {}),
        ("Mul", ["x", "rg"], ["xrg"], {}),
        ("Mul", ["minus", "rg"], ["mrg"], {}),
        ("Add", ["mrg", "b"], ["low"], {}),
        ("Add", ["xrg", "low"], ["z"], {}),
    ]
    d = X - X.mean(axis=1, keepdims=True)
    want = d / np.sqrt((d**2).mean(axis=1, keepdims=True) + 1e-3) * arrays["g"] + arrays["b"]
    last = ("MatMul", ["z", "W"], ["y"], {})
    for way in (old, keras):
        net = pycnn.from_onnx(foreign([*head, *way, last], arrays, 6, opset=18))
        assert [layer.kind for layer in net.layers] == ["layer_norm", "dense"]
        assert abs(net.predict(X) - want @ W).max() < 1e-12
        axes = [(*node[:3], {"axes": [1]}) if node[0] == "ReduceMean" else node for node in way]
        with pytest.raises(ModelFileError):  # of which the first axes are an attribute, too
            pycnn.from_onnx(foreign([*head, *axes, last], arrays | {"axis": [0]}, 6, opset=18))
    for wrong in ({"e": -1e-3}, {"e": np.ones(6)}, {"two": 3.0}):
        with pytest.raises(ModelFileError, match=r"at node .* \(\w+\)"):
            pycnn.from_onnx(foreign([*head, *old, last], arrays | wrong, 6, opset=18))


def test_bounds_beside_a_norm_are_no_part_of_it():
    count = 64  # of which one may be as large as 8 behind the norm, and hardly any is
    W = RNG.normal(size=(count, 2))
    arrays = {"W": W, "e": 1e-5, "axis": [-1], "n-6": -6.0, "n6": 6.0, "n-1e4": -1e4, "n1e4": 1e4}

    def norm(centred=(), variance=(), scaled=()):
        return [
            ("ReduceMean", ["x", "axis"], ["m"], {}),
            ("Sub", ["x", "m"], ["d"], {}),
            *centred,
            ("Mul", ["d", "d"], ["q"], {}),
            ("ReduceMean", ["q", "axis"], ["v"], {}),
            ("Add", ["v", "e"], ["w"], {}),
            *variance,
            ("Sqrt", ["w"], ["s"], {}),
            ("Div", ["d", "s"], ["n"], {}),
            *scaled,
            ("MatMul", ["n", "W"], ["y"], {}),
        ]

    def behind(nodes, name, *bounds):
        """Return a bound of what a name stands for, and the same nodes with it."""
        nodes = [(op, i, ["raw" if o == name else o for o in made], a) for op, i, made, a in nodes]
        at = next(n for n, node in enumerate(nodes) if node[2] == ["raw"])
        return [*nodes[: at + 1], ("Clip", ["raw", *bounds], [name], {}), *nodes[at + 1 :]]

    assert pycnn.from_onnx(foreign(norm(), arrays, count, opset=18)).layers[0].kind == "layer_norm"
    for name, *bounds in (("n", "n-6", "n6"), ("d", "n-1e4", "n1e4"), ("w", "n-6", "n1e4")):
        bounded = behind(norm(), name, *bounds)
        with pytest.raises(ModelFileError, match=r"cannot be read at node .* \((Clip|Sub)\)"):
            pycnn.from_onnx(foreign(bounded, arrays, count, opset=18))


def test_what_takes_a_number_twice_is_refused():
    nodes = [("Gather", ["x", "twice"], ["g"], {"axis": 1}), ("MatMul", ["g", "W"], ["y"], {})]
    with pytest.raises(ModelFileError, match=r"\(MatMul\): some numbers of a sample are taken tw"):
        pycnn.from_onnx(foreign(nodes, CONSTANTS | {"twice": [0, 0, 2]}, 3))


def test_zeros_around_images_whose_channels_are_last_are_read():
    pads = {"pads": [0, 1, 0, 0, 0, 2, 3, 0]}
    nodes = [("Pad", ["x"], ["p"], pads), ("Transpose", ["p"], ["t"], {"perm": [0, 3, 1, 2]})]
    kernel = RNG.normal(size=(1, 2, 2, 2))
    nodes += [("Conv", ["t", "kernel"], ["c"], {}), ("GlobalMaxPool", ["c"], ["y"], {})]
    net = pycnn.from_onnx(foreign(nodes, {"kernel": kernel}, 4, 5, 2, opset=10))
    assert repr(net.layers[0]) == repr(ZeroPadding2D(((1, 2), (0, 3))))
    assert net.input_shape == (4, 5, 2)


def test_a_sequence_whose_positions_became_rows_is_refused():
    rows = [("Reshape", ["x", "rows"], ["r"], {}), ("MatMul", ["r", "W"], ["y"], {})]
    arrays = {"rows": [-1, 3], "W": CONSTANTS["W"]}
    with pytest.raises(ModelFileError, match=r"\(MatMul\) the positions of all sequ"):
        pycnn.from_onnx(foreign(rows, arrays, 4, 3))


def test_tokens_that_may_count_from_the_end_are_read():
    nodes = [
        ("Less", ["x", "zero"], ["below"], {}),
        ("Add", ["x", "size"], ["behind"], {}),
        ("Where", ["below", "behind", "x"], ["t"], {}),
        ("Gather", ["table", "t"], ["e"], {}),
        ("Flatten", ["e"], ["y"], {}),
    ]
    table = RNG.normal(size=(5, 2))
    arrays = {"zero": np.int64(0), "size": np.int64(5), "table": table}
    net = pycnn.from_onnx(foreign(nodes, arrays, 3, kind=7))
    assert net.predict([[0, 4, 1]]).tolist() == [table[[0, 4, 1]].ravel().tolist()]
    with pytest.raises(ModelFileError, match=r"\(Where\)"):  # another token is another row
        pycnn.from_onnx(foreign(nodes, arrays | {"zero": np.int64(2)}, 3, kind=7))


@pytest.mark.parametrize("kind", [9, 10, 2])  # bool, float16, uint8
def test_casts_that_change_tokens_are_refused(kind):
    table = RNG.normal(size=(300 if kind == 2 else 3000, 2))
    cast = [("Cast", ["u"], ["c"], {"to": kind}), ("Cast", ["c"], ["t"], {"to": 7})]
    end = [("Gather", ["table", "t"], ["e"], {}), ("Flatten", ["e"], ["y"], {})]
    for first in ("Identity", "Flatten"):
        nodes = [(first, ["x"], ["u"], {}), *cast, *end]
        with pytest.raises(ModelFileError, match=r"\(Cast\): numbers become integers"):
            pycnn.from_onnx(foreign(nodes, {"table": table}, 3, kind=7))


@pytest.mark.parametrize("token", [3, 9, 100])
def test_a_token_that_becomes_another_is_refused(token):
    nodes = [
        ("Equal", ["x", "token"], ["is"], {}),
        ("Where", ["is", "one", "x"], ["t"], {}),
        ("Gather", ["table", "t"], ["e"], {}),
        ("Flatten", ["e"], ["y"], {}),
    ]
    arrays = {"token": np.int64(token), "one": np.int64(1), "table": RNG.normal(size=(120, 2))}
    with pytest.raises(ModelFileError, match=r"\(Where\)"):
        pycnn.from_onnx(foreign(nodes, arrays, 3, kind=7))


def test_what_loops_is_named():
    nodes = [WEIGHTED, ("Loop", ["n1", "", "n1"], ["y"], {})]
    with pytest.raises(ModelFileError, match=r"\(Loop\): pycnn has no layer.*pycnn\.from_keras"):
        pycnn.from_onnx(foreign(nodes, CONSTANTS | {"n1": 1.0}, 3))


def test_the_ends_of_both_directions_are_read():
    arrays = {"W": RNG.normal(size=(2, 8, 3)), "U": RNG.normal(size=(2, 8, 2)), "n0": [0]}
    arrays |= {"n1": [1], "n2": [2], "n3": [3], "n4": [4], "all": [0, -1, 4]}
    rnn = ("LSTM", ["t", "W", "U"], ["h"], {"direction": "bidirectional", "hidden_size": 2})
    first = [("Transpose", ["x"], ["t"], {"perm": [1, 0, 2]}), rnn]

    def ends(one, other):
        """Return one step of the first direction, and another of the second, as tf2onnx does."""
        nodes, ways = [], [("0", "n0", "n1", one), ("1", "n1", "n2", other)]
        for way, start, end, (begins, stops) in ways:
            nodes += [
                ("Slice", ["h", start, end, "n1"], [f"s{way}"], {}),
                ("Squeeze", [f"s{way}", "n1"], [f"d{way}"], {}),
                ("Slice", [f"d{way}", begins, stops, "n0"], [f"e{way}"], {}),
                ("Squeeze", [f"e{way}", "n0"], [f"f{way}"], {}),
            ]
        return [*first, *nodes, ("Concat", ["f0", "f1"], ["y"], {"axis": 1})]

    moved = [
        ("Transpose", ["h"], ["p"], {"perm": [2, 0, 1, 3]}),
        ("Reshape", ["p", "all"], ["y"], {}),
    ]
    X = RNG.normal(size=(5, 4, 3))
    whole = pycnn.from_onnx(foreign([*first, *moved], arrays, 4, 3)).predict(X)
    net = pycnn.from_onnx(foreign(ends(("n3", "n4"), ("n0", "n1")), arrays, 4, 3))
    assert [layer.kind for layer in net.layers] == ["bidirectional"]
    want = np.concatenate([whole[:, -1, :2], whole[:, 0, 2:]], axis=1)
    assert abs(net.predict(X) - want).max() < 1e-15
    with pytest.raises(ModelFileError, match="other steps than the last"):
        pycnn.from_onnx(foreign(ends(("n3", "n4"), ("n3", "n4")), arrays, 4, 3))


def exported(model, shape, dynamo):
    """Return what PyTorch writes of a model, and samples with their outputs."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    model.eval()
    x, file = torch.randn(*shape, generator=torch.Generator().manual_seed(0)), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            sizes = ({0: torch.export.Dim("batch")},)
            program = torch.onnx.export(model, (x,), dynamo=True, dynamic_shapes=sizes)
            program.save(file)
        else:
            axes = {"x": {0: "batch"}}
            torch.onnx.export(model, (x,), file, dynamo=False, input_names=["x"], dynamic_axes=axes)
    with torch.no_grad():
        return file.getvalue(), x.numpy(), model(x).numpy()


def torch_models():
    """Return PyTorch's models by name, with the shape of their samples."""
    torch = pytest.importorskip("torch")
    nn = torch.nn
    torch.manual_seed(0)

    class Both(nn.Module):
        def __init__(self, *parts):
            super().__init__()
            self.parts = nn.ModuleList(parts)

        def forward(self, x):
            first, second, beside, last = self.parts
            y = torch.relu(second(torch.relu(first(x))) + beside(x))
            return last(y.mean((2, 3)))

    class Recurrent(nn.Module):
        def __init__(self, first, second, last):
            super().__init__()
            self.first, self.second, self.last = first, second, last

        def forward(self, x):
            return self.last(self.second(self.first(x)[0])[0][:, -1])

    shapes = [nn.ReLU(), nn.Sigmoid(), nn.Tanh(), nn.LeakyReLU(), nn.ELU(), nn.SELU(), nn.GELU()]
    shapes += [nn.GELU("tanh"), nn.SiLU(), nn.Softplus(), nn.Softsign(), nn.Hardsigmoid()]
    rows = [part for f in (*shapes, nn.Hardtanh()) for part in (nn.Linear(6, 6), f)]
    norms = nn.BatchNorm1d(6), nn.LayerNorm(6)
    images = nn.Conv2d(2, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.MaxPool2d(3, 2, 1)
    for norm in (norms[0], images[1]):
        nn.init.uniform_(norm.weight, 0.5, 2)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return {
        "rows": (
            nn.Sequential(*rows, *norms, nn.Dropout(), nn.Linear(6, 3), nn.Softmax(1)),
            (4, 6),
        ),
        "images": (
            nn.Sequential(
                *(images[0], images[1], nn.ReLU(), images[2], nn.Conv2d(3, 4, 3, dilation=2)),
                *(nn.MaxPool2d(2), nn.Tanh(), nn.Flatten(), nn.Linear(16, 2)),
            ),
            (4, 2, 16, 16),
        ),
        "two ways": (
            Both(
                *(nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, stride=2, padding=1)),
                *(nn.Conv2d(2, 4, 1, stride=2), nn.Linear(4, 2)),
            ),
            (4, 2, 8, 8),
        ),
        "recurrent": (
            Recurrent(
                nn.LSTM(3, 5, batch_first=True, bidirectional=True),
                nn.GRU(10, 4, batch_first=True),
                nn.Linear(4, 2),
            ),
            (4, 6, 3),
        ),
    }


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("name", ["rows", "images", "two ways", "recurrent"])
def test_what_pytorch_exports_is_read(name, dynamo):
    model, shape = torch_models()[name]
    content, x, want = exported(model, shape, dynamo)
    net = pycnn.from_onnx(content)
    X = np.moveaxis(x, 1, -1) if x.ndim == 4 else x
    assert abs(net.predict(X) - want).max() < 2e-6
    if name == "rows":
        found = [layer.activation for layer in net.layers if "activation" in layer.config()]
        assert [f for f in found if f != "linear"] == [
            *("relu", "sigmoid", "tanh", "leaky_relu", "elu", "selu", "gelu", "gelu_tanh", "silu"),
            *("softplus", "softsign", "hard_sigmoid", "hard_tanh", "softmax"),
        ]
    assert np.isfinite(net.gradients(X, net.predict(X), training=True)[1]).all()


def test_what_pytorch_has_and_pycnn_has_not_is_named():
    nn = pytest.importorskip("torch").nn
    wrong = {
        nn.LeakyReLU(0.2): r"LeakyRelu.*slope is 0\.01",
        nn.LogSoftmax(1): r"\(LogSoftmax\): pycnn has no layer",
    }
    for layer, message in wrong.items():
        content, _, _ = exported(nn.Sequential(nn.Linear(3, 4), layer), (2, 3), False)
        with pytest.raises(ModelFileError, match=message):
            pycnn.from_onnx(content)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_skl2onnx_writes_is_read(dtype):
    to_onnx = pytest.importorskip("skl2onnx").to_onnx
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4)).astype(dtype)
    y = X[:, 0] + X[:, 1]
    three = np.digitize(y, [-0.5, 0.5])
    words = np.array(["a", "b", "c"])[three]
    settings = {"hidden_layer_sizes": (5, 4), "max_iter": 5}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that they have not learned all
        models = [
            MLPClassifier(**settings).fit(X, y > 0),
            MLPClassifier(**settings, activation="tanh").fit(X, three),
            make_pipeline(StandardScaler(), MLPClassifier(**settings)).fit(X, words),
            MLPRegressor(**settings, activation="logistic").fit(X, y),
            make_pipeline(MinMaxScaler(), MLPRegressor(**settings)).fit(X, np.c_[X[:, 0], y]),
        ]
    for model in models:
        classifies = hasattr(model, "classes_")
        for options in ({"zipmap": False}, {}) if classifies else ({},):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = to_onnx(model, X[:1], options={id(model): options} if options else None)
            net = pycnn.from_onnx(made.SerializeToString())
            got, want = net.predict(X), (model.predict_proba if classifies else model.predict)(X)
            if classifies:
                assert net.classes.tolist() == model.classes_.tolist()
                got = got if got.shape == want.shape else np.hstack([1 - got, got])
            bound = 2e-6 if dtype == "float32" else 1e-12
            assert abs(got - want.reshape(got.shape)).max() <= bound * max(1, abs(want).max())
            assert np.isfinite(net.gradients(X, model.predict(X))[1]).all()


def test_arrays_in_other_files_are_refused_with_advice(tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(Network(40, [Dense(40)]).to_onnx())
    onnx.save(
        model, tmp_path / "net.onnx", save_as_external_data=True, size_threshold=0, location="w"
    )
    with pytest.raises(ModelFileError, match="external_data=False"):
        pycnn.from_onnx(tmp_path / "net.onnx")


def test_onnx_own_cases_are_read_rightly_or_refused():
    pytest.importorskip("onnx")
    from onnx.backend.test.case.node import collect_testcases

    from pycnn._io.onnx import foreign

    ops = {*foreign.FUNCTIONS, *foreign.MOVES, *foreign.LAYERS, "GRU", "LSTM", "RNN", "Softmax"}
    read = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    for case in cases:
        if case.model is None or case.model.graph.node[0].op_type not in ops:
            continue
        try:
            net = pycnn.from_onnx(case.model.SerializeToString())
        except ModelFileError:
            continue
        ((X, *_), (want, *_)) = case.data_sets[0]
        X = X if X.shape[1:] == net.input_shape else np.moveaxis(X, 1, -1)
        assert abs(net.predict(X).reshape(want.shape) - want).max() < 1e-5, case.name
        read += 1
    assert read > 20


# ------------------------------------------------------------------ attention

POSITIONS, FEATURES, HEADS = 5, 6, 2
SIZE = FEATURES // HEADS
DRAW = np.random.default_rng(3).normal
EARLIER = np.tri(POSITIONS)
OF_ATTENTION = {
    **{f"W{role}": DRAW(size=(FEATURES, FEATURES)) for role in "qkvo"},
    **{f"b{role}": DRAW(size=FEATURES) for role in "qkvo"},
    "packed": DRAW(size=(FEATURES, 3 * FEATURES)),
    "parts": [FEATURES] * 3,
    "heads": [0, 0, HEADS, SIZE],
    "rows": [0, 0, -1],
    "root": np.sqrt(SIZE),
    "three": 3.0,
    "each": np.array([1.0, 2.0, 1.0]),
    "earlier": EARLIER,
    "later": 1 - EARLIER,
    "never": np.where(EARLIER, 0.0, -np.inf),
    "lowest": -3.4e38,
    "low": -1.0,
    "backwards": np.where(EARLIER.T, 0.0, -np.inf),
    "by_head": np.stack([np.zeros_like(EARLIER), np.where(EARLIER, 0.0, -np.inf)]),
    "turned": DRAW(size=(1, POSITIONS, 1)),
    "axis": [1],
    "kept": [-1, HEADS, POSITIONS, POSITIONS],
    "joined": [-1, POSITIONS, POSITIONS],
}


def heads_of(role, source, perm=(0, 2, 1, 3)):
    """Return the operations that part what comes of weights into heads."""
    return [
        ("MatMul", [source, f"W{role}"], [f"{role}1"], {}),
        ("Add", [f"b{role}", f"{role}1"], [f"{role}2"], {}),
        ("Reshape", [f"{role}2", "heads"], [f"{role}3"], {}),
        ("Transpose", [f"{role}3"], [role], {"perm": [*perm]}),
    ]


IN = [*heads_of("q", "x"), *heads_of("k", "x", (0, 2, 3, 1)), *heads_of("v", "x")]
MEET, SCALE = ("MatMul", ["q", "k"], ["s"], {}), ("Div", ["s", "root"], ["scaled"], {})
SOFTMAX, TAKE = ("Softmax", ["scaled"], ["p"], {"axis": -1}), ("MatMul", ["p", "v"], ["a"], {})
TOGETHER = [
    ("Transpose", ["a"], ["t"], {"perm": [0, 2, 1, 3]}),
    ("Reshape", ["t", "rows"], ["r"], {}),
]
OUT = [*TOGETHER, ("MatMul", ["r", "Wo"], ["o"], {}), ("Add", ["o", "bo"], ["y"], {})]
PLAIN = [*IN, MEET, SCALE, SOFTMAX, TAKE, *OUT]


def instead(*pairs):
    """Return the plain operations with others in place of some."""
    nodes = list(PLAIN)
    for old, new in pairs:
        at = nodes.index(old)
        nodes[at : at + 1] = new
    return nodes


def masked(*nodes):
    """Return the plain operations with these between scaled scores, "s", and "m"."""
    scaled = "Div", ["s", "root"], ["s1"], {}
    return instead((SCALE, [scaled, *nodes]), (SOFTMAX, [("Softmax", ["m"], ["p"], {})]))


def attended(X, scale=SIZE**-0.5, mask=0.0):
    """Return what the attention makes of samples, worked out on its own."""
    q, k, v = (
        (X @ OF_ATTENTION[f"W{role}"] + OF_ATTENTION[f"b{role}"]).reshape(
            len(X), POSITIONS, HEADS, SIZE
        )
        for role in "qkv"
    )
    scores = scale * np.einsum("nqhd,nkhd->nhqk", q, k) + mask
    p = np.exp(scores - scores.max(-1, keepdims=True))
    a = np.einsum("nhqk,nkhd->nqhd", p / p.sum(-1, keepdims=True), v)
    return a.reshape(X.shape) @ OF_ATTENTION["Wo"] + OF_ATTENTION["bo"]


def attention_of(nodes, opset=17):
    return pycnn.from_onnx(foreign(nodes, OF_ATTENTION, POSITIONS, FEATURES, opset=opset))


SEQUENCES = DRAW(size=(4, POSITIONS, FEATURES))
ATTENDED = ("Attention", ["q", "k", "v"], ["a"], {"is_causal": 1})
FLAT = {"q_num_heads": HEADS, "kv_num_heads": HEADS}
CAUSAL = {
    "Add": masked(("Add", ["never", "s1"], ["m"], {})),
    "Where": masked(("Where", ["earlier", "s1", "lowest"], ["m"], {})),
    "Where not": masked(("Where", ["later", "lowest", "s1"], ["m"], {})),
    "Mul": masked(
        ("Mul", ["s1", "earlier"], ["s2"], {}),
        ("Mul", ["later", "lowest"], ["l"], {}),
        ("Add", ["s2", "l"], ["m"], {}),
    ),
    "before the scale": instead(
        (SCALE, [("Add", ["s", "never"], ["m"], {}), ("Div", ["m", "root"], ["scaled"], {})])
    ),
    "what may be no number": instead(
        (SCALE, [SCALE, ("Add", ["scaled", "never"], ["m"], {})]),
        (
            SOFTMAX,
            [
                ("Softmax", ["m"], ["p1"], {}),
                ("IsNaN", ["p1"], ["none"], {}),
                ("Where", ["none", "three", "p1"], ["p"], {}),
            ],
        ),
    ),
    "Attention": [*heads_of("q", "x"), *heads_of("k", "x"), *heads_of("v", "x"), ATTENDED, *OUT],
    "Attention of rows": [
        *(node for role in "qkv" for node in heads_of(role, "x")[:2]),
        ("Attention", ["q2", "k2", "v2", "never"], ["r"], FLAT),
        *OUT[2:],
    ],
}
SAME = {
    "plain": PLAIN,
    "scales of both": instead(
        (MEET, [("Div", ["q", "root"], ["q9"], {}), ("MatMul", ["q9", "k"], ["scaled"], {})]),
        (SCALE, []),
    ),
    "samples and heads in one axis": instead(
        (SCALE, [SCALE, ("Reshape", ["scaled", "joined"], ["s3"], {})]),
        (
            SOFTMAX,
            [("Softmax", ["s3"], ["p3"], {"axis": 2}), ("Reshape", ["p3", "kept"], ["p"], {})],
        ),
    ),
    "a mask of nothing": masked(("Where", ["root", "s1", "lowest"], ["m"], {})),
}


@pytest.mark.parametrize("name", [*SAME, *CAUSAL])
def test_an_attention_is_read_however_it_is_put_together(name):
    net = attention_of(SAME.get(name) or CAUSAL[name], opset=23)
    want = attended(SEQUENCES, mask=0.0 if name in SAME else OF_ATTENTION["never"])
    assert abs(net.predict(SEQUENCES) - want).max() < 1e-12
    (layer,) = net.layers
    assert (layer.heads, layer.causal) == (HEADS, name in CAUSAL)
    assert (layer.W_value == OF_ATTENTION["Wv"].T).all()
    assert (layer.b_query == OF_ATTENTION["bq"]).all()


def test_another_scale_is_in_the_weights_of_the_queries():
    net = attention_of(instead((SCALE, [("Mul", ["three", "s"], ["scaled"], {})])))
    assert abs(net.predict(SEQUENCES) - attended(SEQUENCES, scale=3.0)).max() < 1e-12
    assert (net.layers[0].W_key == OF_ATTENTION["Wk"].T).all()


def test_weights_that_stand_together_or_are_not_there_are_read():
    split = [
        ("MatMul", ["x", "packed"], ["all"], {}),
        ("Split", ["all", "parts"], ["qx", "kx", "vx"], {"axis": 2}),
    ]
    without = [node for role in "qkv" for node in heads_of(role, "x")[2:]]
    without = [(op, [{"q2": "qx", "k2": "kx", "v2": "vx"}.get(x, x) for x in given], out, more)
               for op, given, out, more in without]  # fmt: skip
    nodes = [*split, *without, ("Attention", ["q", "k", "v"], ["a"], {}), *TOGETHER]
    last = ("Reshape", ["t", "rows"], ["y"], {})
    (layer,) = attention_of([*nodes[:-1], last], opset=23).layers
    packed = [layer.W_query, layer.W_key, layer.W_value]
    assert (np.concatenate(packed) == OF_ATTENTION["packed"].T).all()
    assert (layer.W_output == np.eye(FEATURES)).all()


# What is put in place of what, and the operation that is named.
NO_ATTENTION = {
    "Softmax: along queries": [(SOFTMAX, [("Softmax", ["scaled"], ["p"], {"axis": 2})])],
    "Div: probabilities": [
        (TAKE, [("Div", ["p", "root"], ["p2"], {}), ("MatMul", ["p2", "v"], ["a"], {})])
    ],
    "MatMul: no softmax": [(SOFTMAX, [("Identity", ["scaled"], ["p"], {})])],
    "Mul: features": [
        (MEET, [("Mul", ["q", "each"], ["q9"], {}), ("MatMul", ["q9", "k"], ["s"], {})])
    ],
    "Transpose: scores": [
        (SCALE, [("Div", ["s", "root"], ["s9"], {}),
                 ("Transpose", ["s9"], ["scaled"], {"perm": [0, 1, 3, 2]})])
    ],
    "Relu: scores": [(SCALE, [("Relu", ["s"], ["scaled"], {})])],
}  # fmt: skip
MASKS = {
    "backwards": [("Add", ["s1", "backwards"], ["m"], {})],
    "some less": [("Where", ["earlier", "s1", "low"], ["m"], {})],
    "by head": [("Add", ["s1", "by_head"], ["m"], {})],
    "zeros": [("Mul", ["s1", "earlier"], ["m"], {})],
    "a bias": [("Add", ["s1", "turned"], ["m"], {})],
}


@pytest.mark.parametrize("name", NO_ATTENTION)
def test_what_no_attention_of_pycnn_does_is_refused_by_its_name(name):
    op = name.split(":")[0]
    with pytest.raises(ModelFileError, match=rf"cannot be read at node .*\({op}\)"):
        attention_of(instead(*NO_ATTENTION[name]))


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_that_is_none_of_pycnns_is_refused(name):
    with pytest.raises(ModelFileError, match="a mask"):
        attention_of(masked(*MASKS[name]))


def test_rows_that_become_sequences_have_weights_of_their_own():
    arrays = {
        "first": RNG.normal(size=(4, 30)),
        "shape": [0, POSITIONS, FEATURES],
        "rows": [0, 0, -1],
    }
    meet = [
        ("MatMul", ["x", "first"], ["z"], {}),
        ("Reshape", ["z", "shape"], ["s"], {}),
        ("Reshape", ["s", "four"], ["s4"], {}),
        ("Attention", ["s4", "s4", "s4"], ["a"], {}),
        ("Reshape", ["a", "shape"], ["y"], {}),
    ]
    arrays["four"] = [0, 1, POSITIONS, FEATURES]
    net = pycnn.from_onnx(foreign(meet, arrays, 4, opset=23))
    assert [layer.kind for layer in net.layers] == ["dense", "reshape", "multi_head_attention"]
    rows = RNG.normal(size=(3, 4))
    s = (rows @ arrays["first"]).reshape(3, POSITIONS, FEATURES)
    p = np.exp(s @ s.swapaxes(1, 2) / np.sqrt(FEATURES))
    assert abs(net.predict(rows) - p / p.sum(-1, keepdims=True) @ s).max() < 1e-9


def test_an_attention_of_anothers_outputs_is_not_taken_for_one():
    again = [(op, [name + "9" if name in made else name for name in given],
              [name + "9" for name in out], more) for op, given, out, more in PLAIN
             for made in [{out for _, _, outs, _ in PLAIN for out in outs}]]  # fmt: skip
    again = [(op, ["r" if name == "x" else name for name in given], out, more)
             for op, given, out, more in again]  # fmt: skip
    nodes = [*PLAIN[:-2], *again[:-1], ("Add", ["o9", "bo"], ["y"], {})]
    net = attention_of(nodes)
    assert len(net.layers) == 2
    first = attention_of([*PLAIN[:-3], ("Reshape", ["t", "rows"], ["y"], {})]).predict(SEQUENCES)
    assert abs(net.predict(SEQUENCES) - attended(first)).max() < 1e-12


def test_attention_across_samples_is_refused():
    across = [("Transpose", ["x"], ["x9"], {"perm": [1, 0, 2]})]
    nodes = [
        *across,
        *heads_of("q", "x9"),
        *heads_of("k", "x9", (0, 2, 3, 1)),
        *heads_of("v", "x9"),
    ]
    back = ("Transpose", ["y9"], ["y"], {"perm": [1, 0, 2]})
    out = [*OUT[:-1], ("Add", ["o", "bo"], ["y9"], {}), back]
    with pytest.raises(ModelFileError, match="not from each position of a sample to all"):
        attention_of([*nodes, MEET, SCALE, SOFTMAX, TAKE, *out])


@pytest.mark.parametrize("dynamo", [False, True])
def test_attention_that_pytorch_exports_is_read(dynamo):
    nn = pytest.importorskip("torch").nn

    class Attention(nn.Module):
        def __init__(self, causal):
            super().__init__()
            self.inner = nn.MultiheadAttention(8, 2, batch_first=True)
            self.mask = nn.Transformer.generate_square_subsequent_mask(5) if causal else None

        def forward(self, x):
            return self.inner(x, x, x, need_weights=False, attn_mask=self.mask)[0]

    def blocks(**options):
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **options)
        return nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    first = blocks(norm_first=True, activation="gelu")
    model = nn.Sequential(Attention(False), blocks(), Attention(True), first)
    content, x, want = exported(model, (3, 5, 8), dynamo)
    net = pycnn.from_onnx(content)
    assert [*map(repr, net.layers)] == [
        "MultiHeadAttention(2)",
        "TransformerBlock(2, 16, activation='relu', norm_first=False)",
        "MultiHeadAttention(2, causal=True)",
        "TransformerBlock(2, 16)",
    ]
    assert abs(net.predict(x) - want).max() < 2e-6
    assert np.isfinite(net.gradients(x, net.predict(x))[1]).all()
