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
NOT_FOREIGN = ["rows", "positions", "language", "attention", "from both ends"]


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
    net = drawn(NETWORKS["attention"]())
    with pytest.raises(ModelFileError, match=r"at node 'matmul_\d+' \(MatMul\)"):
        pycnn.from_onnx(without_metadata(net.to_onnx()))


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
