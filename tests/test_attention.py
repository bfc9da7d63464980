"""Attention in several heads, and Transformer blocks."""

import numpy as np
import pytest

from pycnn import (
    Dense,
    Flatten,
    MultiHeadAttention,
    Network,
    TransformerBlock,
    gradient_check,
    load,
    plot,
)
from pycnn.exceptions import DataError, DataTypeError, PycnnError, ShapeError, UnknownNameError

LENGTH, FEATURES = 5, 8
SHAPE = (LENGTH, FEATURES)


def samples(rows=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, *SHAPE)), rng.normal(size=(rows, 2))


def network(backend, *layers):
    """Return one with a row of outputs, in which no bias is 0 and no scale 1."""
    net = Network(SHAPE, [*layers, Flatten(), Dense(2)], seed=0, backend=backend)
    rng = np.random.default_rng(1)
    for view in net.tensors.values():
        if view.ndim == 1:
            view += rng.normal(scale=0.3, size=view.shape)
    return net


def by_hand(layer, x):
    """Return what attention gives, position by position, head by head."""
    q, k, v = (
        x @ layer.tensors[f"W_{n}"].T + layer.tensors[f"b_{n}"] for n in ("query", "key", "value")
    )
    size = FEATURES // layer.heads
    out = np.zeros_like(x)
    for sample in range(len(x)):
        for head in range(layer.heads):
            some = slice(head * size, (head + 1) * size)
            for i in range(LENGTH):
                keys = range(i + 1 if layer.causal else LENGTH)
                s = np.array([q[sample, i, some] @ k[sample, j, some] for j in keys]) / np.sqrt(
                    size
                )
                p = np.exp(s - s.max())
                out[sample, i, some] = p / p.sum() @ v[sample, : len(p), some]
    return out @ layer.W_output.T + layer.b_output


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("heads", [1, 2, 8])
def test_attention_is_what_its_formula_says(heads, causal, backend):
    net = network(backend, MultiHeadAttention(heads, causal=causal))
    X, _ = samples()
    attended = net.activations_of(X.reshape(len(X), -1))[0].reshape(X.shape)
    np.testing.assert_allclose(attended, by_hand(net.layers[0], X), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("samples", [1, 3])
def test_what_overflows_later_is_not_seen_by_a_causal_one(samples, backend):
    x, rng = np.zeros((samples, 30, 4)), np.random.default_rng(2)
    x[:, :27] = rng.normal(size=(samples, 27, 4))
    net = Network((30, 4), [MultiHeadAttention(2, causal=True)], seed=0, backend=backend)
    net.parameters[:] *= 10
    wanted = net.predict(x)[:, :27]
    x[:, 27:] = 1e308
    output = net.predict(x)
    assert np.isnan(output[:, 27:]).all()
    if backend == "c":
        assert output[:, :27].tobytes() == wanted.tobytes()
    np.testing.assert_allclose(output[:, :27], wanted, rtol=1e-12)


def test_what_comes_later_is_not_seen_by_a_causal_one(backend):
    net = network(backend, MultiHeadAttention(2, causal=True))
    X, _ = samples()
    changed = X.copy()
    changed[:, 3:] += 1
    before, after = (
        net.activations_of(x.reshape(len(x), -1))[0].reshape(x.shape) for x in (X, changed)
    )
    assert (before[:, :3] == after[:, :3]).all()
    assert (before[:, 3:] != after[:, 3:]).any(axis=(1, 2)).all()


LAYERS = {
    "attention": lambda: [MultiHeadAttention(2)],
    "causal attention": lambda: [MultiHeadAttention(4, causal=True)],
    "block": lambda: [TransformerBlock(2, 5)],
    "block, norms behind": lambda: [TransformerBlock(2, 5, norm_first=False, activation="tanh")],
}


@pytest.mark.twin_when_thorough
@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS)
def test_gradients_are_those_of_differences(layers, backend):
    assert gradient_check(network(backend, *layers()), *samples()) < 1e-7


@pytest.mark.parametrize("causal", [False, True])
def test_pytorchs_attention_agrees(causal, backend):
    torch = pytest.importorskip("torch")
    net = network(backend, MultiHeadAttention(2, causal=causal))
    X, Y = samples()
    theirs = torch.nn.MultiheadAttention(FEATURES, 2, batch_first=True, dtype=torch.float64)
    copy_attention(torch, theirs, net.layers[0])
    last = torch.nn.Linear(LENGTH * FEATURES, 2, dtype=torch.float64)
    copy(torch, {last.weight: net.layers[-1].W, last.bias: net.layers[-1].b})
    mask = torch.triu(torch.ones(LENGTH, LENGTH, dtype=torch.bool), 1) if causal else None
    x = torch.tensor(X)
    attended = theirs(x, x, x, attn_mask=mask, need_weights=False)[0]
    loss = 0.5 * ((last(attended.flatten(1)) - torch.tensor(Y)) ** 2).sum() / len(X)
    loss.backward()
    ours, gradient = net.gradients(X, Y)
    expected = [*attention_gradients(theirs), last.weight.grad, last.bias.grad]
    assert ours == pytest.approx(loss.item(), rel=1e-12)
    np.testing.assert_allclose(
        gradient, np.concatenate([g.numpy().ravel() for g in expected]), rtol=1e-10, atol=1e-12
    )


def copy(torch, arrays):
    with torch.no_grad():
        for parameter, array in arrays.items():
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(array)))


def copy_attention(torch, theirs, ours):
    weights = [ours.tensors[f"W_{name}"] for name in ("query", "key", "value")]
    biases = [ours.tensors[f"b_{name}"] for name in ("query", "key", "value")]
    copy(
        torch,
        {
            theirs.in_proj_weight: np.concatenate(weights),
            theirs.in_proj_bias: np.concatenate(biases),
            theirs.out_proj.weight: ours.W_output,
            theirs.out_proj.bias: ours.b_output,
        },
    )


def attention_gradients(theirs):
    """Return the gradients in our order: four W, then four b."""
    return [
        *theirs.in_proj_weight.grad.chunk(3),
        theirs.out_proj.weight.grad,
        *theirs.in_proj_bias.grad.chunk(3),
        theirs.out_proj.bias.grad,
    ]


@pytest.mark.parametrize("norm_first", [True, False])
def test_pytorchs_blocks_agree_with_padding_too(norm_first, backend):
    torch = pytest.importorskip("torch")
    block = TransformerBlock(2, 12, causal=True, norm_first=norm_first)
    net = Network(SHAPE, [block, Dense(3)], seed=0, backend=backend)
    X, _ = samples()
    lengths = np.array([5, 1, 3, 4, 5, 2])
    there = np.arange(LENGTH) < lengths[:, None]
    Y = np.random.default_rng(2).normal(size=(len(X), LENGTH, 3))
    theirs = torch.nn.TransformerEncoderLayer(
        FEATURES, 2, 12, 0.0, "gelu", batch_first=True, norm_first=norm_first, dtype=torch.float64
    )
    last = torch.nn.Linear(FEATURES, 3, dtype=torch.float64)
    ours = net.layers[0]
    copy_attention(torch, theirs.self_attn, ours.attention)
    modules = {"norm_1": theirs.norm1, "norm_2": theirs.norm2}
    modules |= {"dense_1": theirs.linear1, "dense_2": theirs.linear2}
    pairs = {}
    for name, module in modules.items():
        first, second = getattr(ours, name).tensors.values()
        pairs |= {module.weight: first, module.bias: second}
    copy(torch, pairs | {last.weight: net.layers[1].W, last.bias: net.layers[1].b})
    mask = torch.triu(torch.ones(LENGTH, LENGTH, dtype=torch.bool), 1)
    padding = torch.tensor(~there)
    out = last(theirs(torch.tensor(X), src_mask=mask, src_key_padding_mask=padding))
    loss = (0.5 * (out - torch.tensor(Y)) ** 2).sum(axis=2)[torch.tensor(there)].mean()
    loss.backward()
    padded = np.where(there[:, :, None], X, np.nan)
    value, gradient = net.gradients(padded, Y, lengths=lengths)
    grads = dict(zip(net.tensors, np.split(gradient, ends(net)), strict=True))
    expected = dict(
        zip(list(ours.attention.tensors), attention_gradients(theirs.self_attn), strict=True)
    )
    expected = {f"layers.1.attention.{name}": g for name, g in expected.items()}
    for name, module in modules.items():
        for own, parameter in zip(getattr(ours, name).tensors, module.parameters(), strict=True):
            expected[f"layers.1.{name}.{own}"] = parameter.grad
    expected |= {"layers.2.W": last.weight.grad, "layers.2.b": last.bias.grad}
    assert value == pytest.approx(loss.item(), rel=1e-12)
    assert expected.keys() == grads.keys()
    for name, g in expected.items():
        np.testing.assert_allclose(grads[name], g.numpy().ravel(), rtol=1e-10, atol=1e-12)
    predicted = net.predict(padded, lengths=lengths)
    np.testing.assert_allclose(predicted[there], out.detach().numpy()[there], rtol=1e-10)


def ends(net):
    return np.cumsum([view.size for view in net.tensors.values()])[:-1]


def test_a_block_says_what_it_is_made_of(backend, tmp_path, capsys):
    layers = [TransformerBlock(2, dropout=0.1), TransformerBlock(4, 5, norm_first=False)]
    net = Network(SHAPE, [*layers, Flatten(), Dense(1)], seed=0, backend=backend)
    first, second = net.layers[:2]
    assert [name for name, _ in first.children] == [
        *("norm_1", "attention", "dropout_1", "norm_2", "dense_1", "dense_2", "dropout_2")
    ]
    assert [name for name, _ in second.children] == [
        *("attention", "norm_1", "dense_1", "dense_2", "norm_2")
    ]
    assert (first.hidden, second.hidden, first.is_random) == (32, 5, True)
    assert net.tensors["layers.1.dense_1.W"].shape == (32, FEATURES)
    assert (first.norm_1.gamma == 1).all()
    first.attention.W_query = np.eye(FEATURES)
    assert (net.tensors["layers.1.attention.W_query"] == np.eye(FEATURES)).all()
    net.summary()
    assert "  1.attention multi_head_attention" in capsys.readouterr().out
    net.save(tmp_path / "net.safetensors")
    loaded = load(tmp_path / "net.safetensors", backend=backend)
    assert repr(loaded) == repr(net)
    assert "TransformerBlock(2, dropout=0.1), TransformerBlock(4, 5, norm_first=False)" in repr(net)
    X, _ = samples()
    assert (loaded.predict(X) == net.predict(X)).all()
    assert (net.folded().predict(X) == net.predict(X)).all()


def test_probabilities_tell_who_looks_at_whom(backend):
    net = network(backend, MultiHeadAttention(2, causal=True))
    block = network(backend, TransformerBlock(2))
    X, _ = samples()
    p = net.layers[0].probabilities(X)
    assert p.shape == (6, 2, LENGTH, LENGTH)
    np.testing.assert_allclose(p.sum(axis=3), 1, rtol=1e-14)
    assert (p[:, :, *np.triu_indices(LENGTH, 1)] == 0).all()
    normal = (X - X.mean(axis=2, keepdims=True)) / np.sqrt(X.var(axis=2, keepdims=True) + 1e-5)
    norm = block.layers[0].norm_1
    inside = block.layers[0].attention.probabilities(normal * norm.gamma + norm.beta)
    np.testing.assert_allclose(block.layers[0].probabilities(X), inside, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: MultiHeadAttention(0), DataError, "heads must be at least 1, got 0"),
        (lambda: MultiHeadAttention(2, causal=1), DataTypeError, "causal must be True or False"),
        (lambda: TransformerBlock(2, 0), DataError, "hidden must be at least 1, got 0"),
        (lambda: TransformerBlock(2, dropout=1), DataError, "dropout must be at least 0 and below"),
        (lambda: TransformerBlock(2, activation="x"), UnknownNameError, "activation"),
        (lambda: TransformerBlock(2, activation="softmax"), DataError, "got 'softmax'"),
        (lambda: TransformerBlock(2).attention, PycnnError, "not part of a network"),
        (
            lambda: Network(SHAPE, [MultiHeadAttention(3), Flatten(), Dense(1)]),
            ShapeError,
            r"MultiHeadAttention\(3\).*shape \(5, 8\), and 8 is no multiple of 3",
        ),
        (
            lambda: Network(SHAPE, [TransformerBlock(5), Flatten(), Dense(1)]),
            ShapeError,
            r"MultiHeadAttention\(5\).*8 is no multiple of 5",
        ),
        (
            lambda: Network(8, [MultiHeadAttention(2), Dense(1)]),
            ShapeError,
            r"MultiHeadAttention\(2\) takes sequences.*shape \(8,\)",
        ),
        (
            lambda: Network((4, 4, 2), [TransformerBlock(2), Flatten(), Dense(1)]),
            ShapeError,
            r"TransformerBlock\(2\) takes sequences.*shape \(4, 4, 2\)",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_picture_has_a_panel_for_each_head(backend, tmp_path):
    pytest.importorskip("matplotlib")
    net = Network(
        SHAPE,
        [Dense(6), TransformerBlock(3, causal=True), Flatten(), Dense(2)],
        seed=0,
        backend=backend,
    )
    X, _ = samples()
    figure = plot.attention(net, X[0], labels="abcde", path=tmp_path / "attention.png")
    *heads, _scale = figure.axes
    shown = [axes for axes in heads if axes.get_visible()]
    inside = net.activations_of(X[:1].reshape(1, -1))[0].reshape(1, LENGTH, 6)
    p = net.layers[1].probabilities(inside)[0]
    assert [axes.get_title(loc="left") for axes in shown] == ["head 1", "head 2", "head 3"]
    for axes, expected in zip(shown, p, strict=True):
        assert (np.asarray(axes.images[0].get_array()) == expected).all()
        assert [text.get_text() for text in axes.get_yticklabels()] == list("abcde")
    assert (tmp_path / "attention.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(DataError, match=r"layer must be one with an attention, \[2\], got 1"):
        plot.attention(net, X[0], 1)
    with pytest.raises(DataError, match="labels must name 5 positions, got 2"):
        plot.attention(net, X[0], labels=["a", "b"])
    with pytest.raises(DataError, match="needs a network with a MultiHeadAttention"):
        plot.attention(Network(SHAPE, [Flatten(), Dense(2)], backend=backend), X[0])


def test_both_backends_agree(core):
    X, Y = samples()
    for layers in LAYERS.values():
        nets = [network(backend, *layers()) for backend in ("c", "numpy")]
        (ours, gradient), (theirs, expected) = (net.gradients(X, Y) for net in nets)
        assert ours == pytest.approx(theirs, rel=1e-12)
        np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(nets[0].predict(X), nets[1].predict(X), rtol=1e-12, atol=1e-14)
