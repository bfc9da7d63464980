"""Weights of PyTorch and Keras: the same predictions, and back without a change."""

import json

import numpy as np
import pytest

import pycnn
from pycnn import (
    GRU,
    LSTM,
    BatchNorm,
    Bidirectional,
    Conv1D,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePool1D,
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
)
from pycnn.exceptions import DataError, DataTypeError, ModelFileError, PycnnWarning, ShapeError


def lenet():
    layers = [Conv2D(6, 5, "relu", padding="same"), MaxPool2D(2), Conv2D(8, 5, "relu")]
    layers += [MaxPool2D(2), Flatten(), Dense(20, "relu"), Dense(10, "softmax")]
    return Network((28, 28, 1), layers, seed=0)


NETWORKS = {
    "rows": lambda: Network(
        5, [Dense(7, "relu"), BatchNorm(), Dropout(0.1), LayerNorm(), Dense(3, "softmax")]
    ),
    "LeNet": lenet,
    "flattened, normalized": lambda: Network(
        (6, 4, 2), [Conv2D(3, 2), Flatten(), BatchNorm(), LayerNorm("relu"), Dense(2)]
    ),
    "residual": lambda: Network(
        (4, 4, 2), [Residual([Conv2D(2, 3, padding="same", use_bias=False)]), Flatten(), Dense(2)]
    ),
    "around rows of images": lambda: Network(
        (3, 2, 4), [Flatten(), Residual([Dense(5), Dense(24), BatchNorm()]), Dense(2)]
    ),
    "reshaped": lambda: Network(
        5, [Dense(24), BatchNorm(), Reshape((3, 2, 4)), Conv2D(2, 2), Flatten(), Dense(2)]
    ),
    "LSTM": lambda: Network((7, 3), [LSTM(5, return_sequences=True), LSTM(4), Dense(2)]),
    "GRU": lambda: Network(
        (7, 3), [Bidirectional(GRU(5, return_sequences=True)), SimpleRNN(4), Dense(2)]
    ),
    "sequence": lambda: Network(
        (9, 2), [Conv1D(4, 3, "relu"), MaxPool1D(2), Flatten(), Rescale(2), Dense(2)]
    ),
    "language": lambda: Network(
        Tokens(11, 6),
        [
            *(Embedding(8), PositionEmbedding(), TransformerBlock(2), MultiHeadAttention(2)),
            *(PositionEmbedding("sinusoidal"), TiedDense()),
        ],
    ),
    "any length": lambda: Network((None, 2), [Conv1D(4, 3), GlobalAveragePool1D(), Dense(2)]),
}


def drawn(net, seed):
    bits = np.random.default_rng(seed)
    net.parameters = bits.standard_normal(net.parameters.shape)
    net.statistics = bits.random(net.statistics.shape) + 0.5
    return net


@pytest.mark.parametrize("name", NETWORKS)
def test_there_and_back_is_no_way_at_all(name):
    net = drawn(NETWORKS[name](), 1)
    for there, back in (
        (net.to_torch(), pycnn.from_torch),
        (net.to_torch(like=net.to_torch()), pycnn.from_torch),
        (net.to_keras(), pycnn.from_keras),
    ):
        other = drawn(NETWORKS[name](), 2)
        assert back(there, other) is other
        assert other.theta.tobytes() == net.theta.tobytes()


def test_arrays_lie_as_keras_has_them():
    net = drawn(Network((6, 5, 2), [Conv2D(3, 2), Flatten(), Dense(4)]), 0)
    kernel, bias, dense, _ = net.to_keras()
    assert np.array_equal(kernel, np.moveaxis(net.layers[0].W, 0, -1))  # (kh, kw, C, O)
    assert np.array_equal(bias, net.layers[0].b)
    assert np.array_equal(dense, net.layers[2].W.T)
    net = drawn(Network((6, 5), [GRU(3), Dense(1)]), 0)
    kernel, recurrent, bias, *_ = net.to_keras()
    r, u, n = np.split(net.layers[0].W, 3)  # theirs are z = u, r, h = n
    assert np.array_equal(kernel, np.concatenate([u, r, n]).T)
    assert recurrent.shape == (3, 9)
    assert bias.shape == (2, 9)
    assert np.array_equal(bias[1], [*[0] * 6, *net.layers[0].b_n])
    net = drawn(Network((6, 8), [MultiHeadAttention(2), GlobalAveragePool1D(), Dense(1)]), 0)
    assert [a.shape for a in net.to_keras()[:2]] == [(8, 2, 4), (2, 4)]
    assert [a.shape for a in net.to_keras()[6:8]] == [(2, 4, 8), (8,)]


def test_rows_of_images_and_images_of_rows_lie_as_pytorch_has_them():
    def first(array):  # of (3, 2, 4) in a row, channels last
        return np.moveaxis(array.reshape(3, 2, 4, -1), 2, 0).reshape(array.shape)

    net = drawn(Network((3, 2, 4), [Flatten(), Residual([Dense(24)]), Dense(2)]), 0)
    state, last = net.to_torch(), net.layers[-1]
    W, b = (net.parameters[:576].reshape(24, 24), net.parameters[576:600])
    weight, bias, out, _ = state.values()
    assert np.array_equal(weight, first(first(W).T).T)
    assert np.array_equal(bias, first(b))
    assert np.array_equal(out, first(last.W.T).T)
    net = drawn(Network(5, [Dense(24), Reshape((3, 2, 4)), Conv2D(2, (3, 2)), Flatten()]), 0)
    assert np.array_equal(net.to_torch()["0.weight"], first(net.layers[0].W))
    assert np.array_equal(net.to_torch()["0.bias"], first(net.layers[0].b))
    around = [Residual([Conv1D(4, 3, padding="same")]), Flatten(), Dense(2)]
    net = drawn(Network((6, 4), around), 0)
    expected = net.layers[-1].W.reshape(2, 6, 4).swapaxes(1, 2).reshape(2, 24)
    assert np.array_equal(list(net.to_torch().values())[2], expected)
    plain = drawn(Network(24, [Dense(24), Reshape((6, 4)), LSTM(2)]), 0)
    assert np.array_equal(plain.to_torch()["0.weight"], plain.layers[0].W)


def test_outputs_in_another_order_than_pytorchs_are_told_of():
    net = drawn(Network((3, 3, 2), [Conv2D(2, 2), Flatten()]), 0)
    with pytest.warns(
        PycnnWarning, match=r"layers\.2, the last layer, has its outputs channels last"
    ):
        state = net.to_torch()
    with pytest.warns(PycnnWarning, match="channels first"):
        again = pycnn.from_torch(state, Network((3, 3, 2), [Conv2D(2, 2), Flatten()]))
    assert np.array_equal(again.parameters, net.parameters)
    plain = drawn(Network((3, 3, 2), [Conv2D(2, 3), Flatten()]), 0)  # one position
    assert np.array_equal(plain.to_torch()["0.bias"], plain.layers[0].b)


@pytest.mark.parametrize(
    ("layer", "inputs", "layers"),
    [
        (1, 8, [Reshape((2, 2, 2)), Conv2D(2, 1), Flatten(), Dense(2)]),
        (1, 8, [Reshape((4, 2)), BatchNorm(), Residual([Conv1D(2, 1)]), Flatten(), Dense(2)]),
        (2, (2, 2, 2), [Flatten(), Residual([Dense(4), Residual([Dense(4)]), Dense(8), LayerNorm(),
                                             Residual([Dense(8)])]), Dense(2)]),
        (3, (4, 2), [Conv1D(2, 1), Flatten(), Reshape((4, 2)), LSTM(2)]),
        (1, (2, 2, 3), [Reshape((2, 6)), LSTM(2)]),
    ],
)  # fmt: skip
def test_an_order_that_no_layer_can_be_given_is_refused_by_name(layer, inputs, layers):
    net = Network(inputs, layers, seed=0)
    with pytest.raises(
        DataError, match=rf"layers\.{layer} has numbers that PyTorch has in another"
    ):
        net.to_torch()
    with pytest.raises(DataError, match=rf"layers\.{layer} has numbers"):
        pycnn.from_torch({}, net)
    assert pycnn.from_keras(net.to_keras(), net) is net


def test_an_image_of_one_channel_has_the_same_order_everywhere():
    layers = [Reshape((3, 4, 1)), Conv2D(2, 2), Flatten(), Dense(2)]
    assert len(Network(12, layers).to_torch()) == 4
    assert len(Network((3, 4, 1), [Reshape((3, 4)), LSTM(2)]).to_torch()) == 4


def in_float64(torch, module):
    """Return a module with other parameters than it starts with, and statistics."""
    torch.manual_seed(0)
    module = module.double().eval()
    with torch.no_grad():
        for name, values in module.state_dict().items():
            if values.is_floating_point():
                values.copy_(torch.rand_like(values) + (0.5 if "running" in name else -0.5))
    return module


def pairs(torch):
    """Yield modules, networks of the same layers, and how the one's inputs become the other's."""
    nn = torch.nn

    class Last(nn.Module):
        def __init__(self, cell, many=False):
            super().__init__()
            self.cell, self.many = cell, many

        def forward(self, x):
            outputs, _ = self.cell(x)
            return outputs if self.many else outputs[:, -1]

    class Around(nn.Sequential):
        def forward(self, x):
            return x + super().forward(x)

    def channels_first(x):
        return np.moveaxis(x, -1, 1)

    around = Around(nn.Conv1d(4, 4, 3, padding=1))
    layers = [Residual([Conv1D(4, 3, padding="same")]), Flatten(), Dense(2)]
    sequence = nn.Sequential(around, nn.Flatten(), nn.Linear(24, 2))
    yield sequence, Network((6, 4), layers), channels_first
    around = Around(nn.Linear(24, 5), nn.ReLU(), nn.Linear(5, 24), nn.BatchNorm1d(24))
    rows = [nn.Flatten(), around, nn.LayerNorm(24), Around(nn.Linear(24, 24)), nn.Linear(24, 2)]
    layers = [Residual([Dense(5, "relu"), Dense(24), BatchNorm()]), LayerNorm()]
    layers = [Flatten(), *layers, Residual([Dense(24)]), Dense(2)]
    yield nn.Sequential(*rows), Network((3, 2, 4), layers), channels_first
    rows = [nn.Linear(5, 24), nn.BatchNorm1d(24), nn.Unflatten(1, (4, 3, 2)), nn.Conv2d(4, 3, 2)]
    layers = [Dense(24), BatchNorm(), Reshape((3, 2, 4)), Conv2D(3, 2), Flatten(), Dense(2)]
    yield nn.Sequential(*rows, nn.Flatten(), nn.Linear(6, 2)), Network(5, layers), np.asarray
    rows = [nn.Linear(5, 24), nn.Unflatten(1, (4, 6)), nn.Conv1d(4, 3, 2), nn.Flatten()]
    layers = [Dense(24), Reshape((6, 4)), Conv1D(3, 2), Flatten(), Dense(2)]
    yield nn.Sequential(*rows, nn.Linear(15, 2)), Network(5, layers), np.asarray

    conv = [nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 5)]
    conv += [nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(200, 20), nn.ReLU()]
    conv += [nn.Linear(20, 10), nn.Softmax(1)]
    yield nn.Sequential(*conv), lenet(), channels_first
    rows = [nn.Conv1d(2, 4, 3, bias=False), nn.BatchNorm1d(4), nn.ReLU(), nn.Flatten()]
    rows += [nn.BatchNorm1d(28), nn.Linear(28, 3, bias=False)]
    layers = [Conv1D(4, 3, use_bias=False), BatchNorm("relu"), Flatten(), BatchNorm(), Dense(3)]
    yield nn.Sequential(*rows), Network((9, 2), layers), channels_first
    lstm = nn.LSTM(3, 5, num_layers=2, batch_first=True)
    layers = [LSTM(5, return_sequences=True), LSTM(5), Dense(2)]
    yield nn.Sequential(Last(lstm), nn.Linear(5, 2)), Network((7, 3), layers), np.asarray
    both = Last(nn.GRU(3, 4, batch_first=True, bidirectional=True), many=True)
    cell = Last(nn.RNN(8, 4, batch_first=True))
    layers = [Bidirectional(GRU(4, return_sequences=True)), SimpleRNN(4)]
    yield nn.Sequential(both, cell), Network((7, 3), layers), np.asarray
    block = nn.TransformerEncoderLayer(8, 2, 12, 0.0, "gelu", batch_first=True, norm_first=True)
    sequence = nn.Sequential(block, nn.LayerNorm(8), nn.Linear(8, 3))
    layers = [TransformerBlock(2, 12), LayerNorm(), Dense(3)]
    yield sequence, Network((5, 8), layers), np.asarray


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_predictions_are_those_of_pytorch_and_its_are_ours(tmp_path):
    torch = pytest.importorskip("torch")
    for module, net, turned in pairs(torch):
        in_float64(torch, module)
        X = np.random.default_rng(0).standard_normal((4, *net.input_shape))

        def theirs(module=module, X=X, turned=turned):
            with torch.no_grad():
                return module(torch.as_tensor(np.ascontiguousarray(turned(X)))).numpy()

        y = theirs()
        pycnn.from_torch(module, net)
        assert np.abs(net.predict(X) - y).max() <= 1e-12 * np.abs(y).max(), net
        drawn(net, 1)
        if net.input_shape == (9, 2):
            with pytest.raises(DataError, match=r"layers\.5\.b must be 0: the other model has no"):
                net.to_torch(module.state_dict())
            net.layers[-1].b = np.zeros(3)
        state = net.to_torch(like=module)
        module.load_state_dict({name: torch.as_tensor(value) for name, value in state.items()})
        y = net.predict(X)
        assert np.abs(theirs() - y).max() <= 1e-12 * np.abs(y).max(), net
        # A file has its names in the order of the alphabet, "10.weight" before "2.weight".
        arrays = {name: np.asarray(value) for name, value in state.items()}
        (tmp_path / "model").write_bytes(b"".join(pycnn._io.safetensors_file.write(arrays, {})))
        again = pycnn.from_torch(tmp_path / "model", drawn(net, 2))
        assert np.abs(again.predict(X) - y).max() <= 1e-12 * np.abs(y).max(), net


def test_what_does_not_fit_names_both_and_changes_nothing(tmp_path):
    net = Network(5, [Dense(7, "relu"), Dense(3)], seed=0)
    before = net.theta.tobytes()
    state = net.to_torch()

    def refused(error, message, source, back=pycnn.from_torch):
        with pytest.raises(error, match=message):
            back(source, net)
        assert net.theta.tobytes() == before

    wrong = state | {"2.weight": np.zeros((3, 8))}
    refused(
        ShapeError, r"2\.weight has shape \(3, 8\), but layers\.2\.W would have \(3, 7\)", wrong
    )
    with pytest.raises(ShapeError, match=r"2\.weight has shape \(3, 8\), but layers\.2\.W"):
        net.to_torch(like=wrong)
    fewer = {name: state[name] for name in ("0.weight", "0.bias")}
    refused(ShapeError, r"layers\.2\.W takes an array of shape \(3, 7\)", fewer)
    more = state | {"4.weight": np.zeros((3, 3))}
    refused(ShapeError, r"4\.weight has no layer", more)
    refused(DataError, r"0\.bias must hold finite", state | {"0.bias": np.full(7, np.nan)})
    refused(DataTypeError, r"0\.bias must be an array", state | {"0.bias": "none"})
    refused(DataTypeError, r"0\.bias must be .* real", state | {"0.bias": state["0.bias"] * 1j})
    refused(DataTypeError, r"0\.bias must be", state | {"0.bias": state["0.bias"].astype(str)})
    refused(DataTypeError, "keys of source must be the names of arrays, got 0", {0: np.zeros(3)})
    for source in (None, "model.weights.h5", {"kernel": 1}):
        refused(
            DataTypeError, r"source must be .* model\.get_weights\(\)", source, pycnn.from_keras
        )
    for back in (pycnn.from_torch, pycnn.from_keras):
        with pytest.raises(DataTypeError, match=r"network must be a Network, got \{"):
            back(net, state)
    with pytest.raises(DataTypeError, match="like must be a state dict or a module, got 5"):
        net.to_torch(like=5)
    refused(DataTypeError, "source must be a state dict", [1, 2])
    refused(ShapeError, "takes 4 arrays of Keras, got 3", net.to_keras()[:3], pycnn.from_keras)
    swapped = net.to_keras()[2:] + net.to_keras()[:2]
    refused(ShapeError, r"array 0 of the list has .* layers\.1\.W", swapped, pycnn.from_keras)
    (tmp_path / "file").write_bytes(b"no")
    refused(ModelFileError, "no intact safetensors.*torch.load", tmp_path / "file")
    no_bias = Network((4, 2), [Conv1D(3, 2, use_bias=False), GlobalAveragePool1D(), Dense(1)])
    with pytest.raises(ShapeError, match=r"0\.bias has no counterpart beside layers\.1\.W"):
        pycnn.from_torch(no_bias.to_torch() | {"0.bias": np.zeros(3)}, no_bias)


def test_a_shared_weight_must_be_the_same():
    net = drawn(Network(Tokens(7, 3), [Embedding(4), TiedDense()]), 0)
    state = net.to_torch()
    assert np.array_equal(state["0.weight"], state["1.weight"])
    with pytest.raises(DataError, match=r"1\.weight must be layers\.1\.W, which is its weight too"):
        pycnn.from_torch(state | {"1.weight": state["1.weight"] + 1}, net)


def test_of_a_norm_everything_must_be_there_and_variances_are_not_negative():
    net = Network(3, [Dense(4), BatchNorm()], seed=0)
    state = net.to_torch()

    def refused(error, message, **changes):
        changed = {name: value for name, value in (state | changes).items() if value is not None}
        with pytest.raises(error, match=message):
            pycnn.from_torch(changed, net)

    refused(DataError, r"1\.running_var must not have negative", **{"1.running_var": -np.ones(4)})
    refused(ShapeError, r"layers\.2\.gamma takes 1\.weight, but 1\.bias is", **{"1.bias": None})
    refused(ShapeError, r"1\.running_mean is missing", **{"1.running_mean": None})
    refused(ShapeError, r"0\.bias, but 0\.weight is missing", **{"0.weight": None})
    with pytest.raises(ShapeError, match=r"layers\.2\.gamma .*the next is 1\.weight$"):
        pycnn.from_torch({"0.weight": np.ones((4, 3)), "1.weight": np.ones((4, 4))}, net)
    weights = net.to_keras()
    with pytest.raises(DataError, match="array 5 of the list must not have negative"):
        pycnn.from_keras([*weights[:5], -weights[5]], net)
    del state["0.bias"], state["1.num_batches_tracked"]  # as of bias=False, and of old files
    assert not pycnn.from_torch(state, drawn(net, 0)).layers[0].b.any()
    cell = Network((5, 3), [LSTM(2)], seed=0)
    half = {name: value for name, value in cell.to_torch().items() if name != "0.bias_hh_l0"}
    with pytest.raises(ShapeError, match=r"takes 0\.weight_ih_l0, but 0\.bias_hh_l0 is missing"):
        pycnn.from_torch(half, cell)


def test_a_file_of_bfloat16_is_widened_and_a_name_may_have_any_digits(tmp_path):
    net = Network(2, [Dense(1)], seed=0)
    header = {"1²2.weight": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [0, 4]}}
    header["1²2.bias"] = {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}
    text = json.dumps(header).encode()
    content = bytes.fromhex("c03f10c000008040")  # 1.5 and -2.25; 4
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)
    pycnn.from_torch(path, net)
    assert net.parameters.tolist() == [1.5, -2.25, 4.0]
    with open(path, "rb") as file, pytest.raises(ValueError, match="has the dtype BF16"):
        pycnn._io.safetensors_file.read(file, path.stat().st_size)  # as model files are read
