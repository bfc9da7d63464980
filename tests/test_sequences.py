"""Sequences: a target, a weight and a loss at each position, and samples of several lengths."""

import math

import numpy as np
import pytest

import pycnn
from pycnn import (
    BatchNorm,
    Conv1D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool1D,
    GlobalMaxPool1D,
    LayerNorm,
    MaxPool1D,
    Network,
    Rescale,
    Residual,
    gradient_check,
    metrics,
)
from pycnn.exceptions import DataError, DataTypeError, LabelError, ShapeError

RNG = np.random.default_rng(5)
M, T, F, N = 12, 5, 3, 4
X = RNG.normal(size=(M, T, F))
LABELS = RNG.integers(0, N, (M, T))
NUMBERS = RNG.normal(size=(M, T, 2))
WEIGHTS = RNG.integers(1, 5, (M, T)) / 4
LENGTHS = RNG.integers(1, T + 1, M)
THERE = np.arange(T) < LENGTHS[:, None]
PADDED = np.where(THERE[:, :, None], X, np.nan)  # what stands behind a length is not looked at


def classifier(backend, seed=3):
    layers = [Dense(6, "tanh"), Residual([Dense(6, "tanh")]), LayerNorm(), Dense(N, "softmax")]
    return Network((T, F), layers, seed=seed, backend=backend)


def regression(backend, *layers):
    return Network((T, F), [*layers, Dense(2)], seed=3, backend=backend)


def test_a_dense_layer_is_the_same_at_each_position(backend):
    net = classifier(backend)
    assert (net.input_shape, net.output_shape, net.outputs) == ((T, F), (T, N), T * N)
    assert net.layers[0].W.shape == (6, F)
    flat = Network(F, list(net.layers), seed=3, backend=backend)
    assert flat.parameters.tobytes() == net.parameters.tobytes()
    alone = flat.predict(X.reshape(-1, F)).reshape(M, T, N)
    np.testing.assert_allclose(net.predict(X), alone, rtol=1e-14)
    assert net.predict(X[:1]).tobytes() == net.predict(X)[:1].tobytes()
    assert (net.predict_classes(X) == alone.argmax(axis=2)).all()
    assert net.predict_proba(X).shape == (M, T, N)
    loss, gradient = net.gradients(X, LABELS, WEIGHTS)
    wanted, flat_gradient = flat.gradients(X.reshape(-1, F), LABELS.ravel(), WEIGHTS.ravel())
    assert loss == pytest.approx(wanted, rel=1e-14)
    np.testing.assert_allclose(gradient, flat_gradient, atol=1e-15)
    names = ["f1", "perplexity", "roc_auc"]
    measured = net.evaluate(X, LABELS, WEIGHTS, metrics=names)
    of_rows = flat.evaluate(X.reshape(-1, F), LABELS.ravel(), WEIGHTS.ravel(), metrics=names)
    assert measured == pytest.approx(of_rows)
    assert net.score(X, LABELS, WEIGHTS) == measured["accuracy"]


def test_what_stands_behind_a_length_is_of_no_account(backend):
    net = classifier(backend)
    whole, short = net.predict(X), net.predict(PADDED, lengths=LENGTHS)
    assert whole[THERE].tobytes() == short[THERE].tobytes()
    padded = np.where(THERE, LABELS, 99)
    by_lengths = net.gradients(PADDED, padded, lengths=LENGTHS)
    by_weights = net.gradients(X, LABELS, THERE.astype(float))
    by_labels = Network.evaluate(
        net, X, np.where(THERE, LABELS, -1), missing_targets="mask", metrics=["perplexity"]
    )
    assert by_lengths[0] == pytest.approx(by_weights[0], rel=1e-14)
    np.testing.assert_allclose(by_lengths[1], by_weights[1], atol=1e-15)
    measured = net.evaluate(PADDED, padded, lengths=LENGTHS, metrics=["perplexity"])
    assert measured == pytest.approx(by_labels)
    assert measured["perplexity"] == pytest.approx(math.exp(measured["loss"]))
    assert net.score(PADDED, padded, lengths=LENGTHS) == measured["accuracy"]
    weights = np.where(THERE, WEIGHTS, np.nan)
    weighted = net.evaluate(PADDED, padded, weights, lengths=LENGTHS)
    assert weighted == pytest.approx(net.evaluate(X, LABELS, np.where(THERE, WEIGHTS, 0)))
    classes = net.predict_classes(PADDED, lengths=LENGTHS)
    assert (classes[THERE] == whole.argmax(axis=2)[THERE]).all()
    proba = net.predict_proba(PADDED, lengths=LENGTHS)
    assert proba[THERE].tobytes() == whole[THERE].tobytes()


@pytest.mark.parametrize("pool", [GlobalAveragePool1D, GlobalMaxPool1D])
def test_pooling_over_time_leaves_out_what_is_behind_a_length(backend, pool):
    net = Network((T, F), [Dense(4, "tanh"), pool(), Dense(2)], seed=1, backend=backend)
    short = net.predict(PADDED, lengths=LENGTHS)
    for i, length in enumerate(LENGTHS):
        own = Network((int(length), F), list(net.layers), seed=1, backend=backend)
        np.testing.assert_allclose(own.predict(X[i : i + 1, :length]), short[i : i + 1], rtol=1e-13)
    assert gradient_check(net, PADDED, NUMBERS[:, 0], lengths=LENGTHS) < 1e-7
    net.fit(PADDED, NUMBERS[:, 0], lengths=LENGTHS, epochs=1, sample_weight=WEIGHTS[:, 0])


def test_gradients_of_masks_weights_and_lengths_are_those_of_the_loss(backend):
    net = classifier(backend)
    assert gradient_check(net, PADDED, LABELS, lengths=LENGTHS, sample_weight=WEIGHTS) < 1e-7
    dropping = regression(backend, Dense(5, "tanh"), Dropout(0.3))
    assert gradient_check(dropping, PADDED, NUMBERS, lengths=LENGTHS, training=True) < 1e-7
    for loss in ("mae", "huber", pycnn.losses.Quantile(0.3)):
        other = Network((T, F), [Dense(2)], loss=loss, seed=3, backend=backend)
        assert gradient_check(other, X, NUMBERS, sample_weight=WEIGHTS) < 1e-7
    x = net.input_gradient(X, LABELS)
    assert x.shape == X.shape
    row = X[:1].copy()
    row[0, 2, 1] += 1e-6
    slope = (net.evaluate(row, LABELS[:1])["loss"] - net.evaluate(X[:1], LABELS[:1])["loss"]) * T
    assert slope / 1e-6 == pytest.approx(x[0, 2, 1], rel=1e-3, abs=1e-6)


def test_training_knows_lengths_however_the_samples_come(backend, tmp_path):
    y, weight = np.where(THERE, LABELS, 99), np.where(THERE, WEIGHTS, np.nan)
    given = {"epochs": 3, "batch_size": 5}
    straight = classifier(backend)
    straight.fit(PADDED, y, lengths=LENGTHS, sample_weight=weight, **given)
    np.save(tmp_path / "x.npy", PADDED)
    sources = pycnn._data.sources
    before, sources.WHOLE = sources.WHOLE, 0
    try:
        mapped = classifier(backend)
        file = np.load(tmp_path / "x.npy", mmap_mode="r")
        mapped.fit(file, y, lengths=LENGTHS, sample_weight=weight, **given)
        outputs = mapped.predict(file, lengths=LENGTHS)
        scores = mapped.evaluate(file, y, lengths=LENGTHS)
    finally:
        sources.WHOLE = before
    assert mapped.parameters.tobytes() == straight.parameters.tobytes()
    assert outputs.tobytes() == straight.predict(PADDED, lengths=LENGTHS).tobytes()
    assert scores == straight.evaluate(PADDED, y, lengths=LENGTHS)
    augmented = classifier(backend)
    augmented.fit(
        PADDED, y, lengths=LENGTHS, sample_weight=weight, augment=lambda x, y, rng: (x, y), **given
    )
    np.testing.assert_allclose(augmented.parameters, straight.parameters, atol=1e-13)
    batches = [(PADDED[i : i + 5], y[i : i + 5], None, LENGTHS[i : i + 5]) for i in (0, 5, 10)]
    streamed, ordered = classifier(backend), classifier(backend)
    streamed.fit(batches, epochs=2, validation_data=(PADDED, y, None, LENGTHS))
    history = ordered.fit(PADDED, y, lengths=LENGTHS, epochs=2, batch_size=5, shuffle=False)
    assert streamed.parameters.tobytes() == ordered.parameters.tobytes()
    assert streamed.history["loss"] == history["loss"]
    assert streamed.history["val_loss"][-1] == ordered.evaluate(PADDED, y, lengths=LENGTHS)["loss"]
    one, other = classifier(backend), classifier(backend)
    one.partial_fit(PADDED, y, lengths=LENGTHS, batch_size=None, shuffle=False)
    other.train_on_batch(PADDED, y, lengths=LENGTHS)
    assert one.parameters.tobytes() == other.parameters.tobytes()
    loss, gradient, total = classifier(backend).gradients(
        PADDED, y, lengths=LENGTHS, reduction="sum"
    )
    mean, of_mean = classifier(backend).gradients(PADDED, y, lengths=LENGTHS)
    assert total == THERE.sum()
    np.testing.assert_allclose([loss / total, *gradient / total], [mean, *of_mean], atol=1e-14)


def test_a_training_on_lengths_goes_on_where_it_was_interrupted(backend, tmp_path):
    def stop(network, epoch, logs):
        if epoch == 2:
            raise KeyboardInterrupt

    straight, net = classifier(backend), classifier(backend)
    given = {"lengths": LENGTHS, "epochs": 4, "batch_size": 5, "optimizer": "adam"}
    straight.fit(PADDED, LABELS, **given)
    with pytest.raises(KeyboardInterrupt):
        net.fit(PADDED, LABELS, callbacks=[stop], **given)
    net.save(tmp_path / "model", training_state=True)
    other = pycnn.load(tmp_path / "model", backend=backend)
    with pytest.raises(DataError, match="lengths was True and is now None"):
        other.fit(X, LABELS, resume=True, **{**given, "lengths": None})
    other.fit(PADDED, LABELS, resume=True, **given)
    assert other.parameters.tobytes() == straight.parameters.tobytes()
    assert other.history == straight.history


def test_targets_at_each_position_of_every_kind(backend):
    text = np.array(["a", "b", "c", "d"])[LABELS]
    net, wanted = classifier(backend), classifier(backend)
    net.fit(X, text, epochs=2, class_weight={"a": 2.0}, validation_split=0.25)
    wanted.fit(X, LABELS, epochs=2, class_weight={0: 2.0}, validation_split=0.25)
    assert net.parameters.tobytes() == wanted.parameters.tobytes()
    assert set(net.predict_classes(X).ravel()) <= set("abcd")
    one_hot = np.eye(N)[LABELS]
    assert wanted.evaluate(X, one_hot) == pytest.approx(wanted.evaluate(X, LABELS))
    one_hot[0, 1] = np.nan
    missing = np.where(np.isnan(one_hot[..., 0]), -1, LABELS)
    masked = [wanted.evaluate(X, y, missing_targets="mask") for y in (one_hot, missing)]
    assert masked[0] == pytest.approx(masked[1])
    balanced = classifier(backend)
    balanced.fit(X, missing, class_weight="balanced", missing_targets="mask", epochs=1)
    yes = Network((T, F), [Dense(1, "sigmoid")], seed=1, backend=backend)
    yes.fit(X, LABELS > 1, epochs=2)
    assert yes.predict_classes(X).shape == (M, T)
    assert yes.predict_proba(X).shape == (M, T, 2)
    assert yes.evaluate(X, LABELS > 1) == yes.evaluate(X, (LABELS > 1)[:, :, None])
    numbers = regression(backend)
    gaps = NUMBERS.copy()
    gaps[0, 2], gaps[1, 0, 1] = np.nan, np.nan
    masked = {"missing_targets": "mask", "sample_weight": WEIGHTS - WEIGHTS + 1}
    numbers.fit(X, 30 * gaps + 5, scale_targets=True, epochs=2, **masked)
    assert numbers.target_scale[0] == pytest.approx(np.nanmean(30 * gaps + 5, axis=(0, 1)))
    assert set(numbers.evaluate(X, NUMBERS)) == {"loss", "r2"}
    with pytest.warns(pycnn.exceptions.DataWarning, match="y is not scaled: column 1 of y"):
        regression(backend).fit(X, 100 * NUMBERS, sample_weight=WEIGHTS, epochs=1, optimizer="adam")
    with pytest.warns(pycnn.exceptions.DataWarning, match="Subtract each feature's mean"):
        regression(backend).fit(300 * PADDED, NUMBERS, lengths=LENGTHS, optimizer="adam")
    smooth = pycnn.losses.CategoricalCrossentropy(0.1)
    soft = Network((T, F), [Dense(N, "softmax")], loss=smooth, seed=1, backend=backend)
    assert gradient_check(soft, X, LABELS) < 1e-7


def test_a_sequence_of_one_position_may_lack_it(backend):
    net = Network((1, F), [Dense(N, "softmax")], seed=1, backend=backend)
    missing = np.where(np.arange(M) < 3, -1, LABELS[:, 0])[:, None]
    one_hot = np.where(missing[..., None] < 0, np.nan, np.eye(N)[missing])
    wanted = net.evaluate(X[3:, :1], LABELS[3:, :1])
    for y in (missing, one_hot):
        assert net.evaluate(X[:, :1], y, missing_targets="mask") == pytest.approx(wanted)


@pytest.mark.usefixtures("core")
@pytest.mark.parametrize("threads", [1, 3])
def test_both_backends_train_sequences_alike(threads):
    before = pycnn.get_num_threads()
    pycnn.set_num_threads(threads)
    try:
        nets = []
        for core in ("c", "numpy"):
            layers = [Dense(7, "tanh"), Dropout(0.2), LayerNorm(), Dense(N, "softmax")]
            net = Network((T, F), layers, seed=2, backend=core)
            sgd = pycnn.SGD(0.1, momentum=0.9)
            net.fit(
                PADDED,
                LABELS,
                sample_weight=WEIGHTS,
                lengths=LENGTHS,
                epochs=20,
                batch_size=5,
                optimizer=sgd,
            )
            nets.append(net)
    finally:
        pycnn.set_num_threads(before)
    np.testing.assert_allclose(nets[0].parameters, nets[1].parameters, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(nets[0].history["loss"], nets[1].history["loss"], rtol=1e-12)


def test_what_looks_inside_sees_all_positions(backend):
    net = classifier(backend)
    trace = net.trace(X[:2], LABELS[:2])
    assert trace.A[4].shape == trace.Y.shape == (T * N, 2)
    np.testing.assert_allclose(trace.A[4].T.reshape(2, T, N), net.predict(X[:2]), rtol=1e-12)
    assert "A[4]" in str(trace)
    assert net.predictor(2)(X[:2]).tobytes() == net.predict(X[:2]).tobytes()
    frozen = net.predictor(frozen=True)
    assert frozen(X[0]).tobytes() == net.predict(X[:1]).tobytes()
    draws = Network((T, F), [Dropout(0.5), Dense(2)], seed=1, backend=backend)
    assert draws.predict_samples(X, 3, seed=0).shape == (3, M, T, 2)
    history = net.fit(PADDED, LABELS, lengths=LENGTHS, epochs=1, diagnose=True)
    assert "gradient_norm_1" in history
    assert "(5, 4)" in net._repr_html_()
    before = net.evaluate(X, LABELS)["loss"]
    net.fit(X, LABELS, optimizer="lbfgs", batch_size=None, epochs=5)
    assert net.evaluate(X, LABELS)["loss"] < before


def test_a_loss_of_ones_own_has_a_value_at_each_position(backend):
    shapes = set()

    def squares(pred, true):
        shapes.add(pred.shape[1:])
        error = pred - true
        return (error**2).sum(axis=-1) / 2, error

    own = Network((T, F), [Dense(2)], loss=squares, seed=1, backend=backend)
    given = Network((T, F), [Dense(2)], seed=1, backend=backend)
    loss, gradient = own.gradients(PADDED, NUMBERS, WEIGHTS, lengths=LENGTHS)
    wanted = given.gradients(PADDED, NUMBERS, WEIGHTS, lengths=LENGTHS)
    assert loss == pytest.approx(wanted[0])
    np.testing.assert_allclose(gradient, wanted[1], atol=1e-14)
    assert shapes == {(T, 2)}


def test_perplexity_by_hand():
    prob = [[0.5, 0.25, 0.25], [0.5, 0.375, 0.125]]
    assert metrics.perplexity([0, 2], prob) == pytest.approx(4)
    assert metrics.perplexity([0, 2], prob, sample_weight=[3, 1]) == pytest.approx(64**0.25)


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (Conv1D(4, 3), r"Conv1D\(4, 3, 'linear'\), as layer 2 is"),
        (BatchNorm(), r"BatchNorm\(\), as layer 2 is"),
        (MaxPool1D(2), r"MaxPool1D\(2\), as layer 2 is"),
        (Flatten(), r"Flatten\(\), as layer 2 is"),
        (Residual([BatchNorm()]), r"Residual\(\[BatchNorm\(\)\]\), as layer 2 is"),
    ],
)
def test_layers_that_know_no_lengths_are_named(layer, name):
    layers = [Dense(3), layer, *([] if isinstance(layer, Flatten) else [Flatten()]), Dense(2)]
    net = Network((T, F), layers, seed=0, backend="numpy")
    with pytest.raises(DataError, match=f"lengths must be None with {name}"):
        net.predict(X, lengths=LENGTHS)
    knows = Network((T, F), [Rescale(2), Conv1D(2, 1)], seed=0, backend="numpy")
    assert knows.predict(PADDED, lengths=LENGTHS).shape == (M, T, 2)


NET = classifier("numpy")
TOO_LONG = np.where(np.arange(M) == 7, T + 1, LENGTHS)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"y": LABELS[0]}, ShapeError, r"y must have shape \(12, 5\) or \(12, 5, 4\), got \(5,\)"),
        ({"y": LABELS[:, 0]}, ShapeError, r"got \(12,\); the last layer gives a sequence, each po"),
        ({"y": LABELS[:, :4]}, ShapeError, r"shape \(12, 5\) or \(12, 5, 4\), got \(12, 4\)"),
        ({"y": LABELS[:-1]}, ShapeError, r"\(12, 5\) or \(12, 5, 4\), got \(11, 5\)"),
        ({"y": LABELS.ravel()}, ShapeError, r"got \(60,\)"),
        ({"y": LABELS[..., None]}, ShapeError, r"got \(12, 5, 1\)"),
        ({"y": LABELS - 1}, LabelError, r"-1 at row \d+, position \d stands .*missing_targets"),
        ({"y": LABELS + 1}, LabelError, r"holds labels \(1, 2, 3, 4\), but"),
        ({"y": np.eye(N)[LABELS] / 2}, DataError, "row 0, position 0 gives 0.5"),
        ({"y": 2 * np.eye(N)[LABELS]}, DataError, r"y must lie in \[0, 1\].*row 0, position 0 doe"),
        ({"y": np.where(THERE, LABELS, np.nan)}, DataError, r"y must be finite, but is NaN at row"),
        ({"sample_weight": WEIGHTS[:, :4]}, ShapeError, r"\(12,\) or \(12, 5\), got \(12, 4\)"),
        ({"sample_weight": WEIGHTS[..., None]}, ShapeError, r"got \(12, 5, 1\)"),
        ({"sample_weight": WEIGHTS - 1}, DataError, r"must be >= 0, but is -0.75 at row \d+, posi"),
        ({"sample_weight": WEIGHTS[0]}, ShapeError, r"got \(5,\)"),
        ({"sample_weight": np.where(THERE, 1, np.inf)}, DataError, "must be finite, but is infin"),
        ({"lengths": LENGTHS[:-1]}, ShapeError, r"lengths must have shape \(12,\), one .*got \(11"),
        ({"lengths": LENGTHS / 1}, DataTypeError, r"lengths must hold integers.*astype\(int\)"),
        ({"lengths": TOO_LONG}, DataError, r"lengths must lie in 1 \.\.\. 5.*is 6 at row 7"),
        ({"lengths": np.maximum(TOO_LONG - T, 0)}, DataError, "but is 0 at row 0"),
        ({"lengths": THERE}, DataTypeError, "lengths must hold integers, got dtype bool"),
        ({"lengths": T}, ShapeError, r"lengths must have shape \(12,\)"),
        ({"X": PADDED}, DataError, r"X must be finite, but is NaN at index \("),
        ({"X": X + np.inf, "lengths": LENGTHS}, DataError, "infinite at index"),
        ({"X": X.transpose(0, 2, 1)}, ShapeError, r"X must have shape .*np.moveaxis\(X, 1, -1\)"),
    ],
)
def test_what_does_not_fit_is_told_by_its_place(given, error, words):
    with pytest.raises(error, match=words):
        NET.evaluate(**{"X": X, "y": LABELS, **given})


def test_lengths_are_refused_where_they_cannot_be():
    flat = Network(F, [Dense(N, "softmax")], seed=0, backend="numpy")
    with pytest.raises(DataError, match=r"lengths must be None where samples are no sequences"):
        flat.predict(X[:, 0], lengths=LENGTHS)
    with pytest.raises(DataError, match="lengths, validation_split and diagnose want X and y"):
        NET.fit([(X, LABELS)], lengths=LENGTHS)
    with pytest.raises(DataError, match="lengths in mini-batch 0 of X must lie in 1"):
        classifier("numpy").fit([(X, LABELS, None, TOO_LONG)])
    with pytest.raises(DataError, match="validation lengths must lie in 1"):
        NET.fit(X, LABELS, validation_data=(X, LABELS, None, TOO_LONG))
    with pytest.raises(
        ShapeError, match=r"Dense\(2, 'linear'\) takes samples that are one row, or"
    ):
        Network((4, 4, 1), [Dense(2), Flatten(), Dense(1)])
    with pytest.raises(DataError, match="all of its targets are NaN"):
        NET.fit(X, LABELS, validation_data=(X, LABELS - LABELS - 1), missing_targets="mask")


def test_training_at_each_position_is_pytorchs(backend):
    torch = pytest.importorskip("torch")
    net = Network((T, F), [Dense(8, "tanh"), Dense(N, "softmax")], seed=4, backend=backend)
    tensors = [torch.tensor(array.copy(), requires_grad=True) for array in net.tensors.values()]
    W1, b1, W2, b2 = tensors
    x, y, weight = torch.tensor(X), torch.tensor(LABELS), torch.tensor(WEIGHTS * THERE)
    descent = torch.optim.SGD(tensors, lr=0.1, momentum=0.9)
    for _ in range(50):
        z = torch.tanh(x @ W1.T + b1) @ W2.T + b2
        losses = torch.nn.functional.cross_entropy(z.movedim(2, 1), y, reduction="none")
        descent.zero_grad()
        ((weight * losses).sum() / weight.sum()).backward()
        descent.step()
    given = {"epochs": 50, "batch_size": None, "optimizer": pycnn.SGD(0.1, momentum=0.9)}
    net.fit(PADDED, LABELS, sample_weight=WEIGHTS, lengths=LENGTHS, **given)
    for ours, theirs in zip(net.tensors.values(), tensors, strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-10, atol=1e-12)


def test_a_summary_has_each_array_once():
    layers = [pycnn.Embedding(4), pycnn.TransformerBlock(2), Dense(9, "softmax")]
    net = Network(pycnn.Tokens(9, length=T), layers, seed=0, backend="numpy")
    rows = net._summary_rows()[1:]
    assert sum(int(row[4].replace(",", "")) for row in rows) == net.parameters.size
    assert rows[-1][:3] == ("3 dense", "softmax", "(5, 9)")


def test_validation_data_without_lengths_are_told(backend):
    net = classifier(backend)
    with pytest.warns(
        pycnn.exceptions.DataWarning, match="validation_data has no lengths, though X"
    ):
        net.fit(X, LABELS, epochs=1, lengths=LENGTHS, validation_data=(X, LABELS))
    stream = [(X, LABELS, None, LENGTHS)]
    with pytest.warns(pycnn.exceptions.DataWarning, match=r"fourth item, \(X, y, None, lengths\)"):
        net.fit(stream, epochs=1, validation_data=(X, LABELS))
    net.fit(X, LABELS, epochs=1, lengths=LENGTHS, validation_data=(X, LABELS, None, LENGTHS))


def test_targets_at_positions_of_a_single_output_are_told_the_way():
    for net in (
        Network((T, F), [pycnn.GRU(3), Dense(N, "softmax")], backend="numpy"),
        Network((None, F), [pycnn.GRU(3), Dense(2)], backend="numpy"),
    ):
        with pytest.raises(ShapeError, match="return_sequences=True in its last recurrent layer"):
            net.fit(X, LABELS)
        with pytest.raises(ShapeError) as error:
            net.fit(X, LABELS[:, :3])
        assert "return_sequences" not in str(error.value)
    with pytest.raises(ShapeError, match=r"of labels at positions y_true\.ravel\(\)"):
        metrics.accuracy(LABELS, LABELS)
    assert metrics.accuracy(LABELS.ravel(), LABELS.ravel()) == 1


def test_a_loss_of_ones_own_is_of_each_position_where_some_are_not_there(backend):
    def mean(outputs, targets):
        assert outputs.shape == targets.shape == (M, T, 2)
        errors = outputs - targets
        return np.nanmean(errors**2), 2 * errors / errors.size

    net = Network((T, F), [Dense(2)], loss=mean, seed=0, backend=backend)
    assert net.fit(X, NUMBERS, epochs=2)["loss"][1] > 0
    with pytest.raises(
        ShapeError, match=r"a loss for each position, of shape \(12, 5\), where some"
    ):
        net.fit(X, NUMBERS, epochs=1, lengths=LENGTHS)
