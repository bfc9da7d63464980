"""Targets in a unit of the network's own: the same training as on targets scaled by hand."""

import copy
import json
import pickle

import numpy as np
import pytest

import pycnn
from pycnn import LBFGS, Adam, BatchNorm, Callback, Dense, Network
from pycnn._data.scaling import TargetScale
from pycnn._io import model_file, safetensors_file
from pycnn.augmentation import GaussianNoise
from pycnn.exceptions import DataError, DataTypeError, ModelFileError, ShapeError
from pycnn.losses import Custom, Huber, Quantile

rng = np.random.default_rng(12)
X = rng.normal(size=(90, 4))
T = np.column_stack([np.sin(X[:, 0]) + X[:, 1], X[:, 2] * X[:, 3]])
Y = T * [1e5, 0.002] + [3e5, -7.0]
SHIFT = [1e5, 0.003]
SCALED = TargetScale.of(pycnn.backend.interface.Data(X, Y, None))


def network(backend="auto", loss="mse", outputs=2, **options):
    return Network(4, [Dense(8, "tanh"), Dense(outputs)], loss, seed=3, backend=backend, **options)


def by_hand(y):
    return (y - SCALED.mean) / SCALED.deviation


def r2(a, y):
    return 1 - ((a - y) ** 2).sum() / ((y - y.mean(axis=0)) ** 2).sum()


LOSSES = {"mse": "mse", "mae": "mae", "huber": Huber(0.3), "quantile": Quantile(0.2)}


@pytest.mark.parametrize("loss", LOSSES)
def test_training_is_that_on_targets_scaled_by_hand(loss, backend):
    settings = {"epochs": 4, "optimizer": Adam(0.01)}
    net, other = network(backend, LOSSES[loss]), network(backend, LOSSES[loss])
    history = net.fit(X, Y, scale_targets=True, validation_data=(X[:30], Y[:30]), **settings)
    expected = other.fit(X, by_hand(Y), validation_data=(X[:30], by_hand(Y[:30])), **settings)
    assert net.parameters.tobytes() == other.parameters.tobytes()
    assert history["loss"] == expected["loss"]
    assert history["val_loss"] == expected["val_loss"]
    assert net.evaluate(X, Y)["loss"] == other.evaluate(X, by_hand(Y))["loss"]
    for ours, theirs in zip(net.gradients(X, Y), other.gradients(X, by_hand(Y)), strict=True):
        assert np.array_equal(ours, theirs)
    trace, plain = net.trace(X, Y), other.trace(X, by_hand(Y))
    assert trace.loss == plain.loss
    assert np.array_equal(trace.Y, plain.Y)
    assert np.array_equal(trace.A[2], plain.A[2])
    assert pycnn.gradient_check(net, X, Y) < 1e-6


def test_what_is_learned_is_the_mean_and_the_deviation_of_each_output():
    net = network()
    assert net.target_scale is None
    net.fit(X, Y, epochs=1, scale_targets=True)
    mean, deviation = net.target_scale
    assert mean == pytest.approx(Y.mean(axis=0), rel=1e-14)
    assert deviation == pytest.approx(Y.std(axis=0), rel=1e-14)
    with pytest.raises(ValueError, match="read-only"):
        mean[0] = 0


def test_predictions_are_in_the_unit_of_y_and_a_row_does_not_know_its_neighbours(backend, tmp_path):
    net, other = network(backend), network(backend)
    early = net.predictor()
    net.fit(X, Y, epochs=3, scale_targets=True)
    other.fit(X, by_hand(Y), epochs=3)
    expected = other.predict(X) * SCALED.deviation + SCALED.mean
    assert np.array_equal(net.predict(X), expected)
    rows = [net.predict(X[i : i + 1]) for i in range(90)]
    assert np.concatenate(rows).tobytes() == expected.tobytes()
    assert np.concatenate([early(row).copy() for row in X]).tobytes() == expected.tobytes()
    assert net.predictor(90)(X).tobytes() == expected.tobytes()
    np.save(tmp_path / "x.npy", X)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pycnn._data.sources, "WHOLE", 0)
        patch.setattr(pycnn._data.sources, "PIECE", 40 * 4 * 8)
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        assert net.predict(mapped).tobytes() == expected.tobytes()
        assert net.evaluate(mapped, Y) == pytest.approx(net.evaluate(X, Y), rel=1e-13)


@pytest.mark.parametrize("loss", ["mse", "mae"])
def test_r2_is_in_the_unit_of_y(loss, backend):
    net = network(backend, loss)
    history = net.fit(X, Y, epochs=40, optimizer=Adam(0.02), scale_targets=True)
    assert net.evaluate(X, Y)["r2"] == pytest.approx(r2(net.predict(X), Y), rel=1e-12)
    assert net.evaluate(X, Y)["r2"] > 0.5
    history = net.fit(X, Y, epochs=1, validation_data=(X[:40], Y[:40]))
    assert history["val_r2"] == [pytest.approx(r2(net.predict(X[:40]), Y[:40]), rel=1e-12)]


def test_targets_far_from_zero_are_learned(backend):
    y = Y[:, 0]
    net = network(backend, outputs=1)
    net.fit(X, y, epochs=200, optimizer=Adam(0.01), scale_targets=True)
    assert net.evaluate(X, y)["r2"] > 0.98


def test_only_what_is_trained_on_counts_and_by_its_weight(backend):
    weight = rng.integers(0, 3, 90).astype(float)
    y = Y.copy()
    y[rng.random(Y.shape) < 0.3] = np.nan
    y[weight == 0] = 1e30
    net = network(backend)
    net.fit(X, y, epochs=1, sample_weight=weight, missing_targets="mask", scale_targets=True)
    for j in range(2):
        seen = ~np.isnan(y[:, j]) & (weight > 0)
        mean = np.average(y[seen, j], weights=weight[seen])
        deviation = np.sqrt(np.average((y[seen, j] - mean) ** 2, weights=weight[seen]))
        assert net.target_scale[0][j] == pytest.approx(mean, rel=1e-13)
        assert net.target_scale[1][j] == pytest.approx(deviation, rel=1e-13)
    net = network(backend)
    net.fit(X, Y, epochs=1, validation_split=0.5, scale_targets=True)
    keep, _ = pycnn._data.sources.split_rows(90, 0.5, 3)
    assert net.target_scale[0] == pytest.approx(Y[keep].mean(axis=0), rel=1e-13)


@pytest.mark.parametrize(
    ("column", "mean", "deviation"),
    [
        ([7.0, 7.0, 7.0, 7.0], 7.0, 1.0),
        ([0.1, 0.1, 0.1, 0.1], 0.1, 1.0),
        ([1e300, -1e300, 1e300, -1e300], 0.0, 1e300),
        ([1e-200, 3e-200, 1e-200, 3e-200], 2e-200, 1e-200),
        ([5e-324, 0, 0, 0], 0.0, 1.0),
        ([1e15 + 1, 1e15 - 1, 1e15 + 1, 1e15 - 1], 1e15, 1.0),
    ],
)
def test_targets_at_the_edges(column, mean, deviation):
    data = pycnn.backend.interface.Data(X[:4], np.array(column)[:, None], None)
    scale = TargetScale.of(data)
    assert scale.mean == [pytest.approx(mean, rel=1e-14, abs=1e-323)]
    assert scale.deviation == [pytest.approx(deviation, rel=1e-14)]


def test_an_output_without_a_target_has_no_mean(backend):
    gap = Y.copy()
    gap[:, 1] = np.nan
    weight = (X[:, 0] > 0).astype(float)
    hidden = Y.copy()
    hidden[weight > 0, 0] = np.nan
    for y, w, output in ((gap, None, 1), (Y, np.zeros(90), 0), (hidden, weight, 0)):
        net = network(backend)
        before = net.theta.tobytes()
        with pytest.raises(DataError, match=f"for each output, to be scaled; output {output} has"):
            net.fit(X, y, sample_weight=w, missing_targets="mask", scale_targets=True)
        assert net.target_scale is None
        assert net.theta.tobytes() == before


def test_targets_that_are_too_far_apart_are_refused():
    net = network(outputs=1)
    with pytest.raises(DataError, match="distance a float can hold"):
        net.fit(X[:2], [1.7e308, -1.7e308], epochs=1, scale_targets=True)
    assert net.target_scale is None


@pytest.mark.parametrize(
    ("layers", "loss", "y"),
    [
        ([Dense(1, "sigmoid")], None, np.arange(90) % 2),
        ([Dense(1, "relu")], "mse", Y[:, 0]),
        ([Dense(1, "softplus")], "poisson", np.arange(90)),
        ([Dense(1)], "hinge", np.arange(90) % 2),
        ([Dense(1)], Custom(lambda a, y: ((a - y)[:, 0] ** 2, 2 * (a - y))), Y[:, 0]),
        ([Dense(1), BatchNorm("tanh")], "mse", Y[:, 0]),
    ],
)
def test_outputs_that_cannot_have_another_unit_are_refused(layers, loss, y, backend):
    net = Network(4, layers, loss, seed=0, backend=backend)
    before = net.theta.tobytes()
    with pytest.raises(DataError, match="linear output with the loss mse, mae, huber or quantile"):
        net.fit(X, y, scale_targets=True)
    with pytest.raises(DataError, match="linear output"):
        net.target_scale = ([0.0], [1.0])
    assert net.theta.tobytes() == before


def test_a_linear_normalization_is_a_linear_output(backend):
    net = Network(4, [Dense(8, "tanh"), Dense(2), BatchNorm()], seed=0, backend=backend)
    net.fit(X, Y, epochs=1, scale_targets=True)
    folded = net.folded()
    assert np.array_equal(folded.target_scale[1], net.target_scale[1])
    assert folded.predict(X) == pytest.approx(net.predict(X), rel=1e-9)


def test_what_has_been_learned_once_is_used_by_every_later_call(backend):
    net, other = network(backend), network(backend)
    net.fit(X, Y, epochs=2, scale_targets=True)
    other.fit(X, by_hand(Y), epochs=2)
    learned = net.target_scale
    net.fit(X, Y + SHIFT, epochs=2)
    other.fit(X, by_hand(Y + SHIFT), epochs=2)
    net.fit(X, Y + SHIFT, epochs=1, scale_targets=True)
    other.fit(X, by_hand(Y + SHIFT), epochs=1)
    net.partial_fit(X, Y)
    other.partial_fit(X, by_hand(Y))
    logs = net.train_on_batch(X, Y)
    assert logs == other.train_on_batch(X, by_hand(Y))
    net.fit([(X, Y)] * 2, epochs=1)
    other.fit([(X, by_hand(Y))] * 2, epochs=1)
    assert net.parameters.tobytes() == other.parameters.tobytes()
    assert net.target_scale is learned


def test_a_network_trained_on_targets_as_they_are_keeps_its_unit(backend):
    net = network(backend)
    net.fit(X, T, epochs=1)
    words = r"must come with the first training: .* epochs: 1\); make a new one"
    with pytest.raises(DataError, match=words):
        net.fit(X, T, epochs=1, scale_targets=True)


def test_numbers_with_a_unit_are_no_classes(backend):
    y = np.eye(2)[np.arange(90) % 2]
    net = network(backend)
    history = net.fit(X, y, epochs=1, scale_targets=True, validation_split=0.2)
    assert net.classes is None
    assert set(history) == {"loss", "val_loss", "val_r2"}
    assert set(net.evaluate(X, y)) == {"loss", "r2"}
    net = network(backend)
    net.fit(X, y, epochs=1)
    assert "accuracy" in net.evaluate(X, y)
    net.target_scale = ([0.0, 0.0], [1.0, 1.0])
    assert set(net.train_on_batch(X, y)) == {"loss"}


def test_a_score_is_in_the_unit_of_y(backend):
    net = network(backend, Quantile(0.5))
    net.fit(X, Y, epochs=20, optimizer=Adam(0.02), scale_targets=True)
    assert net.score(X, Y) == pytest.approx(r2(net.predict(X), Y), rel=1e-12)


def test_an_iterable_needs_a_unit_that_is_known_before(backend):
    batches = [(X[:50], Y[:50]), (X[50:], Y[50:])]
    net, other = network(backend), network(backend)
    with pytest.raises(DataError, match=r"set network.target_scale = \(mean, deviation\) before"):
        net.fit(batches, scale_targets=True)
    net.target_scale = SCALED.mean.tolist(), SCALED.deviation
    net.fit(batches, epochs=2, scale_targets=True, validation_data=(X, Y))
    other.fit(X, Y, epochs=2, batch_size=50, shuffle=False, scale_targets=True)
    assert net.parameters.tobytes() == other.parameters.tobytes()


def test_lbfgs_and_diagnosis_and_a_callback_see_the_scaled_unit(backend):
    net, other = network(backend), network(backend)
    options = {"epochs": 5, "optimizer": LBFGS(), "batch_size": None, "diagnose": True}
    history = net.fit(X, Y, scale_targets=True, **options)
    assert dict(history) == dict(other.fit(X, by_hand(Y), **options))


def test_an_augmenter_gets_targets_in_the_unit_of_y(backend):
    seen = []

    def shift(x, y, rng):
        seen.append(y.copy())
        return x, y + SHIFT

    net, other = network(backend), network(backend)
    settings = {"epochs": 1, "batch_size": None, "shuffle": False}
    net.fit(X, Y, augment=shift, scale_targets=True, **settings)
    assert seen[0] == pytest.approx(Y, rel=1e-12)
    other.fit(X, by_hand(Y + SHIFT), **settings)
    assert net.parameters == pytest.approx(other.parameters, rel=1e-9)


def test_a_training_resumes_to_the_same_bits(backend, tmp_path):
    class Stop(Callback):
        def on_epoch_end(self, network, epoch, logs):
            if epoch == 3:
                network.save(tmp_path / "model", training_state=True)
                raise KeyboardInterrupt

    settings = {
        "epochs": 6,
        "optimizer": Adam(0.01),
        "scale_targets": True,
        "augment": GaussianNoise(0.1),
        "validation_split": 0.2,
    }
    straight, net = network(backend), network(backend)
    straight.fit(X, Y, **settings)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y, callbacks=Stop(), **settings)
    for other in (net, pycnn.load(tmp_path / "model", backend=backend)):
        other.fit(X, Y, resume=True, **settings)
        assert other.parameters.tobytes() == straight.parameters.tobytes()
        assert dict(other.history) == dict(straight.history)


def test_a_training_on_targets_as_they_are_does_not_resume_in_another_unit(backend):
    class Stop(Callback):
        def on_batch_group_end(self, network, epoch, logs):
            raise KeyboardInterrupt

    small = (Y - Y.mean(axis=0)) / Y.std(axis=0)
    straight, net = network(backend), network(backend)
    straight.fit(X, small, epochs=2)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, small, epochs=2, callbacks=Stop())
    with pytest.raises(DataError, match="must come with the first training"):
        net.fit(X, small, epochs=2, resume=True, scale_targets=True)
    assert net.target_scale is None
    net.fit(X, small, epochs=2, resume=True)
    assert net.parameters.tobytes() == straight.parameters.tobytes()


def test_a_training_does_not_resume_in_another_unit_than_its_own(backend, tmp_path):
    class Stop(Callback):
        def on_epoch_end(self, network, epoch, logs):
            raise KeyboardInterrupt

    net = network(backend)
    net.target_scale = ([1.0, 2.0], [3.0, 4.0])
    with pytest.raises(KeyboardInterrupt):
        net.fit([(X, X[:, :2])], epochs=3, callbacks=Stop())
    net.save(tmp_path / "model", training_state=True)
    for unit in (([1.0, 2.0], [3.0, 5.0]), None):
        other = pycnn.load(tmp_path / "model", backend)
        other.target_scale = unit
        with pytest.raises(DataError, match=r"target_scale was \[\[1.0, 2.0\], \[3.0, 4.0\]\] and"):
            other.fit([(X, X[:, :2])], epochs=3, resume=True)
        other.target_scale = net.target_scale
        other.fit([(X, X[:, :2])], epochs=3, resume=True)
        assert other.history.epochs == 3


def test_nothing_is_learned_by_a_fit_that_is_refused(backend):
    net = network(backend)
    with pytest.raises(ShapeError):
        net.fit(X, Y, scale_targets=True, validation_data=(X, Y[:3]))
    with pytest.raises(DataTypeError, match="scale_targets"):
        net.fit(X, Y, scale_targets="yes")
    assert net.target_scale is None


@pytest.mark.parametrize(
    "way", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net)), Network.folded]
)
def test_copies_keep_the_unit(way, backend):
    net = network(backend)
    net.fit(X, Y, epochs=1, scale_targets=True)
    other = way(net)
    assert other.predict(X).tobytes() == net.predict(X).tobytes()
    other.target_scale = None
    assert net.target_scale is not None


def description(path):
    with path.open("rb") as file:
        metadata, _, _ = safetensors_file.read(file, path.stat().st_size)
    return json.loads(metadata["pycnn"])


def test_a_file_keeps_the_unit_under_a_format_that_an_older_pycnn_refuses(backend, tmp_path):
    path = tmp_path / "model"
    net = network(backend)
    net.save(path)
    assert description(path)["format"] == 1
    assert "target_scale" not in description(path)
    net.fit(X, Y, epochs=1, scale_targets=True)
    net.save(path)
    assert description(path)["format"] == 2
    other = pycnn.load(path, backend=backend)
    assert other.predict(X).tobytes() == net.predict(X).tobytes()
    assert other.evaluate(X, Y) == net.evaluate(X, Y)
    assert other.target_scale[0].tobytes() == net.target_scale[0].tobytes()


@pytest.mark.parametrize(
    "value",
    [
        ([0.0, 1.0], [1.0]),
        ([0.0, 1.0], [1.0, 0.0]),
        ([0.0, 1.0], [1.0, -1.0]),
        ([np.nan, 1.0], [1.0, 1.0]),
        ([0.0, 1.0], [1.0, np.inf]),
        ([0.0, 1.0],),
        "ab",
        3,
        (["a", "b"], ["c", "d"]),
    ],
)
def test_other_than_units_are_refused(value):
    net = network()
    with pytest.raises((DataError, DataTypeError, ShapeError), match="target_scale"):
        net.target_scale = value
    assert net.target_scale is None


@pytest.mark.parametrize(
    ("number", "scale"),
    [
        (1, [[0.0, 0.0], [1.0, 1.0]]),
        (2, [[0.0, 0.0], [1.0, -1.0]]),
        (2, [[0.0], [1.0]]),
        (2, [[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]]),
        (2, {"mean": 1}),
    ],
)
def test_a_file_with_another_unit_than_its_format_says_is_refused(
    number, scale, tmp_path, monkeypatch
):
    net, path = network(), tmp_path / "model"
    net.save(path)
    changed = description(path) | {"format": number}
    if scale is not None:
        changed["target_scale"] = scale
    path.write_bytes(b"".join(model_file._seal(net.tensors, json.dumps(changed, sort_keys=True))))
    with pytest.raises(ModelFileError, match="target_scale"):
        pycnn.load(path)
