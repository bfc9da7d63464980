"""What fit measures with diagnose=True."""

import re
import warnings

import numpy as np
import pytest

import pycnn
from pycnn import (
    GRU,
    LBFGS,
    LSTM,
    SGD,
    BatchNorm,
    Bidirectional,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    History,
    LayerNorm,
    Network,
    Rescale,
    Residual,
    SimpleRNN,
    plot,
)
from pycnn._training import diagnosis
from pycnn.exceptions import (
    DataError,
    DataTypeError,
    DataWarning,
    LabelError,
    LayerWarning,
    ShapeError,
)

RNG = np.random.default_rng(8)
X = RNG.normal(size=(60, 4))
Y = RNG.integers(0, 3, size=60)
LAYERS = [Dense(7, "relu"), Dense(6, "tanh"), Dense(5, "elu"), Dense(3, "softmax")]


def network(backend="auto", layers=LAYERS):
    return Network(4, layers, seed=2, backend=backend)


def test_each_layer_is_measured_each_epoch(backend):
    net, seen = network(backend), []
    history = net.fit(
        X, Y, epochs=3, diagnose=True, callbacks=[lambda *call: seen.append(dict(call[2]))]
    )
    keys = {"loss", "accuracy", "dead_share_1", "saturated_share_2"}
    for layer in (1, 2, 3, 4):
        keys |= {f"{kind}_{layer}" for kind in ("gradient_norm", "activation_mean")}
        keys.add(f"activation_std_{layer}")
    assert set(history) == keys
    assert all(len(values) == 3 for values in history.values())
    assert seen == [{key: values[i] for key, values in history.items()} for i in range(3)]


def test_the_values_are_those_of_the_trace(backend):
    net = network(backend)
    history = net.fit(X, Y, epochs=2, diagnose=True)
    trace = net.trace(X, Y)
    for layer in (1, 2, 3, 4):
        dW, db, A = trace.dW[layer], trace.db[layer], trace.A[layer]
        norm = np.sqrt((dW**2).sum() + (db**2).sum())
        assert history[f"gradient_norm_{layer}"][-1] == pytest.approx(norm, rel=1e-12)
        assert history[f"activation_mean_{layer}"][-1] == pytest.approx(A.mean(), rel=1e-12)
        assert history[f"activation_std_{layer}"][-1] == pytest.approx(A.std(), rel=1e-12)
    assert history["dead_share_1"][-1] == np.mean((trace.A[1] == 0).all(axis=1))
    assert history["saturated_share_2"][-1] == np.mean(1 - trace.A[2] ** 2 < 0.01)


def test_it_does_not_change_the_training(backend):
    plain, diagnosed = network(backend), network(backend)
    plain.fit(X, Y, epochs=5)
    diagnosed.fit(X, Y, epochs=5, diagnose=True)
    assert plain.parameters.tobytes() == diagnosed.parameters.tobytes()
    assert plain.history["loss"] == diagnosed.history["loss"]


def test_sample_weights_count_in_the_gradient(backend):
    weight = (np.arange(60) < 20).astype(float)
    net = network(backend)
    history = net.fit(X, Y, epochs=1, sample_weight=weight, diagnose=True)
    trace = net.trace(X[:20], Y[:20])
    norm = np.sqrt((trace.dW[1] ** 2).sum() + (trace.db[1] ** 2).sum())
    assert history["gradient_norm_1"][0] == pytest.approx(norm, rel=1e-12)


def test_dead_and_saturated_units_are_counted(backend):
    net = network(backend, [Dense(4, "relu"), Dense(4, "sigmoid"), Dense(3, "softmax")])
    net.layers[0].b[:] = [-1e3, 0, -1e3, 0]
    net.layers[1].b[:] = [1e3, 0, 0, 0]
    with pytest.warns(LayerWarning, match="2 of the 4 units of layer 1"):
        history = net.fit(X, Y, epochs=1, optimizer=SGD(1e-9), diagnose=True)
    assert history["dead_share_1"] == [0.5]
    assert history["saturated_share_2"] == [0.25]


@pytest.mark.parametrize(
    ("activation", "values"),
    [
        ("sigmoid", [0.0, 0.002, 0.003, 0.5, 0.997, 0.998]),
        ("tanh", [-1, -0.996, -0.99, 0.0, 0.99, 0.996]),
        ("softsign", [-0.95, -0.91, -0.89, 0.0, 0.5, 0.99]),
        ("hard_sigmoid", [0.0, 0.0, 1e-9, 0.5, 0.9, 1.0]),
        ("hard_tanh", [-1.0, -1.0, -0.99, 0.0, 0.99, 1.0]),
    ],
)
def test_saturated_is_a_slope_below_a_hundredth(activation, values):
    slopes = pycnn.activations.TABLE[activation].relative_slope(np.array(values))
    assert (slopes < diagnosis.SATURATED).tolist() == [True, True, False, False, False, True]


@pytest.mark.parametrize("rows", [1, 255, 256, 257, 300, 512, 10_000, 10**9])
def test_the_rows_looked_at_are_seeded_different_and_spread(rows):
    index = diagnosis.sample_rows(rows, 3)
    assert len(index) == min(rows, 256)
    assert (np.diff(index) > 0).all()
    assert index[0] >= 0
    assert index[-1] < rows
    assert (index == diagnosis.sample_rows(rows, 3)).all()
    if rows > 10_000:
        assert (index != diagnosis.sample_rows(rows, 4)).any()
        assert np.diff(index).max() <= 2 * rows / 256


def test_layers_without_weights_have_no_gradient(backend):
    layers = [Dense(6), BatchNorm("relu"), Dropout(0.3), LayerNorm("tanh"), Dense(3, "softmax")]
    net = network(backend, layers)
    history = net.fit(X, Y, epochs=2, diagnose=True)
    gradients = {key for key in history if key.startswith("gradient_norm")}
    assert gradients == {"gradient_norm_1", "gradient_norm_5"}
    assert {"dead_share_2", "saturated_share_4", "activation_std_3"} <= set(history)
    trace = net.trace(X, Y)
    assert history["activation_mean_4"][-1] == pytest.approx(trace.A[4].mean(), rel=1e-12)


def test_a_diagnosed_training_is_resumed(backend, tmp_path):
    def stop(network, epoch, logs):
        if epoch == 2:
            raise KeyboardInterrupt

    whole, net = network(backend), network(backend)
    whole.fit(X, Y, epochs=4, diagnose=True, callbacks=[lambda *_: None])
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y, epochs=4, diagnose=True, callbacks=[stop])
    net.save(tmp_path / "net", training_state=True)
    other = pycnn.load(tmp_path / "net", backend=backend)
    history = other.fit(X, Y, epochs=4, diagnose=True, callbacks=[lambda *_: None], resume=True)
    assert dict(history) == dict(whole.history)


def test_large_data_are_sampled():
    inputs = RNG.normal(size=(1000, 4))
    targets = inputs[:, 0] > 0
    net = Network(4, [Dense(5, "tanh"), Dense(1, "sigmoid")], seed=11)
    history = net.fit(inputs, targets, epochs=2, diagnose=True)
    rows = diagnosis.sample_rows(1000, 11)
    trace = net.trace(inputs[rows], targets[rows])
    assert history["activation_mean_1"][-1] == pytest.approx(trace.A[1].mean(), rel=1e-12)


def test_early_stopping_may_watch_it():
    stop = pycnn.callbacks.EarlyStopping("gradient_norm_1", patience=1, min_delta=1e6, mode="min")
    history = network().fit(X, Y, epochs=50, diagnose=True, callbacks=[stop])
    assert history.epochs == 2


def test_it_goes_with_lbfgs_and_validation(backend):
    net = network(backend)
    history = net.fit(
        X,
        Y,
        epochs=4,
        batch_size=None,
        optimizer=LBFGS(),
        validation_split=0.2,
        diagnose=True,
    )
    assert len(history["gradient_norm_4"]) == len(history["val_loss"]) == 4


def test_a_wrong_diagnose_is_named():
    with pytest.raises(DataTypeError, match="diagnose"):
        network().fit(X, Y, diagnose="yes")


def test_epochs_that_were_not_measured_are_nan():
    history = History()
    for loss in (3.0, 2.0, 1.0):
        history.append({"loss": loss})
    history.add({"norm": 5.0})
    np.testing.assert_array_equal(history["norm"], [np.nan, np.nan, 5.0])
    history.append({"loss": 0.5})
    history.add({"norm": 4.0})
    history.add({"norm": 4.5})  # once more
    np.testing.assert_array_equal(history["norm"], [np.nan, np.nan, 5.0, 4.5])


# ------------------------------------------------------------------ pictures


def test_the_picture_has_a_panel_for_each_measure(tmp_path):
    pytest.importorskip("matplotlib")
    history = network().fit(X, Y, epochs=4, diagnose=True)
    figure = history.plot(tmp_path / "layers.png")
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "loss",
        "accuracy",
        "gradient norm",
        "mean activation",
        "deviation of activations",
        "share dead (relu) or saturated",
    ]
    assert [len(axes.lines) for axes in figure.axes] == [1, 1, 4, 4, 4, 2]
    assert list(figure.axes[2].lines[1].get_ydata()) == history["gradient_norm_2"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [f"layer {i}" for i in (1, 2, 3, 4)]
    assert (tmp_path / "layers.png").stat().st_size > 10_000


def test_a_deep_network_has_a_legend_of_some_layers_and_a_logarithmic_axis():
    pytest.importorskip("matplotlib")
    deep = Network(4, [Dense(5, "sigmoid")] * 19 + [Dense(3, "softmax")], seed=0)
    with pytest.warns(LayerWarning, match="gradients vanish"):
        figure = deep.fit(X, Y, epochs=2, diagnose=True).plot()
    assert figure.axes[2].get_yscale() == "log"
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[0] == "layer 1"
    assert names[-1] == "layer 20"
    assert len(names) <= 9


def test_a_picture_without_a_score_or_with_one_epoch(tmp_path):
    pytest.importorskip("matplotlib")
    net = Network(4, [Dense(5, "elu"), Dense(1)], seed=0)
    figure = net.fit(X, X[:, 0], epochs=1, diagnose=True).plot(tmp_path / "one.png")
    assert len(figure.axes) == 4  # nothing that could be dead or saturated
    assert figure.axes[1].get_yscale() == "linear"


# ------------------------------------------------------------------ images

IMAGES = RNG.uniform(size=(40, 6, 5, 1))


def images(*layers, backend="auto"):
    return Network((6, 5, 1), [*layers, Flatten(), Dense(3, "softmax")], seed=0, backend=backend)


def test_a_feature_of_images_is_dead_where_it_is_0_at_all_places(backend):
    net = images(Conv2D(4, 3, "relu", padding="same"), backend=backend)
    net.layers[0].b = [-100.0, 0.5, -100.0, 0.5]
    with pytest.warns(LayerWarning, match="2 of the 4 features of layer 1 are dead"):
        history = net.fit(IMAGES, Y[:40], epochs=1, diagnose=True)
    assert history["dead_share_1"] == [0.5]
    # Where the border of all images is black it is 0 there, and learns elsewhere.
    black = np.zeros_like(IMAGES)
    black[:, 2:4, 2:3] = 1.0
    net = images(Conv2D(2, 1, "relu"), backend=backend)
    net.layers[0].W[:], net.layers[0].b[:] = 1.0, 0.0
    assert net.fit(black, Y[:40], epochs=1, diagnose=True)["dead_share_1"] == [0.0]


def test_a_convolution_without_biases_has_a_gradient_too(backend):
    net = images(Conv2D(4, 3, "tanh", use_bias=False), backend=backend)
    history = net.fit(IMAGES, Y[:40], epochs=1, diagnose=True)
    dW = net.trace(IMAGES, Y[:40]).dW[1]
    assert dW.shape == (4, 3, 3, 1)
    assert history["gradient_norm_1"][0] == pytest.approx(np.linalg.norm(dW), rel=1e-12)


def test_images_that_are_not_scaled_are_sent_to_rescale(backend):
    text = r"its values go from 0.* to 25.*\. A first layer Rescale\(1 / 255\) divides pixels"
    with pytest.warns(DataWarning, match=text):
        images(Conv2D(4, 3, "tanh"), backend=backend).fit(255 * IMAGES, Y[:40], epochs=1)
    scaled = images(Rescale(1 / 255), Conv2D(4, 3, "tanh"), backend=backend)
    scaled.fit(255 * IMAGES, Y[:40], epochs=1)  # warns of nothing


# ------------------------------------------------------------------ through time

SEQUENCES = RNG.normal(size=(9, 6, 3))
TARGETS = RNG.normal(size=(9, 2))


def recurrent(*layers, backend="auto"):
    return Network((6, 3), [*layers, Dense(2)], seed=1, backend=backend)


def identity(**settings):
    """A layer whose dL/dh is its dL/dx: x comes in unchanged, and h goes through no f."""
    net = recurrent(SimpleRNN(3, "linear", **settings), backend="numpy")
    net.layers[0].W = np.eye(3)
    return net


@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_through_time_are_those_of_the_inputs(reverse):
    net = identity(reverse=reverse)
    slopes = net.input_gradient(SEQUENCES, TARGETS).reshape(SEQUENCES.shape)
    expected = np.linalg.norm(slopes, axis=2).mean(axis=0)
    history = net.fit(SEQUENCES, TARGETS, epochs=1, optimizer=SGD(1e-300), diagnose=True)
    ratio = expected[0] / expected[-1]
    found = history["gradient_ratio_1"][-1]
    assert found == pytest.approx(1 / ratio if reverse else ratio, rel=1e-12)


def test_behind_a_sequences_end_there_is_no_gradient():
    net, lengths = identity(), np.array([6, 4, 1, 2, 3, 5, 6, 1, 2])
    options = {"epochs": 1, "optimizer": SGD(1e-300), "diagnose": True}
    history = net.fit(SEQUENCES, TARGETS, lengths=lengths, **options)
    rows = np.arange(9)
    alone = np.array(
        [
            np.linalg.norm(slopes(net, row, length), axis=1)[[0, -1]]
            for row, length in zip(rows, lengths, strict=True)
        ]
    )
    first, last = alone.mean(axis=0)
    assert history["gradient_ratio_1"][-1] == pytest.approx(first / last, rel=1e-12)


def slopes(net, row, length):
    """Return dL/dx of one sample that is as long as it is."""
    short = Network((length, 3), [SimpleRNN(3, "linear"), Dense(2)], backend="numpy")
    short.parameters[:] = net.parameters
    found = short.input_gradient(SEQUENCES[row : row + 1, :length], TARGETS[row : row + 1])
    return found.reshape(length, 3)


def test_only_layers_whose_last_step_has_a_loss_are_measured(backend):
    layers = [
        Bidirectional(LSTM(2, return_sequences=True)),
        Residual([GRU(4, return_sequences=True)]),
        Bidirectional(GRU(3)),
    ]
    history = recurrent(*layers, backend=backend).fit(SEQUENCES, TARGETS, epochs=1, diagnose=True)
    assert [key for key in history if "ratio" in key] == ["gradient_ratio_3"]
    assert 0 < history["gradient_ratio_3"][-1] < 1


@pytest.mark.parametrize(("gain", "what"), [(1e2, "explode"), (1e-3, "vanish")])
def test_gradients_that_change_with_time_are_told(gain, what):
    start = {"name": "orthogonal", "gain": gain}
    net = recurrent(SimpleRNN(4, "linear", recurrent_initializer=start), backend="numpy")
    when = "before the first" if what == "explode" else "after"
    message = rf"gradients {what} in time: of layer 1 dL/dh at the first step is .* {when} epoch"
    X = SEQUENCES * 1e-12  # so that outputs stay small
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        net.fit(X, TARGETS, epochs=1, optimizer=SGD(1e-9), diagnose=True)
    (found,) = (warning for warning in told if "in time" in str(warning.message))
    assert re.match(message, str(found.message))
    assert found.category is LayerWarning


def test_pictures_of_sequences_show_states_gradients_and_forecasts(tmp_path):
    pytest.importorskip("matplotlib")
    net = recurrent(LSTM(4, return_sequences=True), GRU(3, reverse=True), backend="numpy")
    figure = plot.states(net, SEQUENCES[0], tmp_path / "states.png")
    shown = [axes for axes in figure.axes if axes.get_title(loc="left")]
    titles = [axes.get_title(loc="left") for axes in shown]
    assert titles == ["layer 1: 4 units", "layer 2, from the end: 3 units"]
    first, last = (np.asarray(axes.images[0].get_array()) for axes in shown)
    A = net.activations_of(SEQUENCES[:1].reshape(1, -1))
    np.testing.assert_allclose(first, A[0].reshape(6, 4).T, rtol=1e-12)
    np.testing.assert_allclose(last[:, 0], A[1][0], rtol=1e-12)

    net = identity()
    (axes,) = plot.gradients({"plain": net}, SEQUENCES, TARGETS).axes
    (curve,) = axes.lines
    below = net.input_gradient(SEQUENCES, TARGETS).reshape(SEQUENCES.shape)
    np.testing.assert_allclose(curve.get_ydata(), np.linalg.norm(below, axis=2).mean(axis=0))
    assert curve.get_label() == "plain"
    for draw in (lambda n: plot.states(n, X[0]), lambda n: plot.gradients(n, X, Y)):
        with pytest.raises(DataError, match="no layer of the network is recurrent"):
            draw(network("numpy"))

    (axes,) = plot.forecast([1, 2, 4, 8], [3.9, 7.5, 17.0]).axes
    known, foretold = axes.lines
    assert list(known.get_xdata()) == [0, 1, 2, 3]
    assert list(foretold.get_xdata()) == [2, 3, 4]
    with pytest.raises(ShapeError, match=r"predicted must have from 3 .* to 7 forecasts, for 4"):
        plot.forecast([1, 2, 4, 8], [1.0], horizon=3)
    with pytest.raises(ShapeError, match=r"values must be a series of shape \(n,\), got shape"):
        plot.forecast([[1.0]], [1.0])


def test_gradients_of_targets_that_were_not_observed_are_drawn(backend):
    pytest.importorskip("matplotlib")
    layers = [
        [LSTM(4, return_sequences=all_of_them), Dense(2, "softmax")]
        for all_of_them in (True, False)
    ]
    every, last = (Network((6, 3), stack, seed=1, backend=backend) for stack in layers)
    labels = np.full(SEQUENCES.shape[:2], -1)
    labels[:, -1] = np.arange(len(labels)) % 2  # no other position has a target
    figures = (
        plot.gradients(every, SEQUENCES, labels, missing_targets="mask"),
        plot.gradients(last, SEQUENCES, labels[:, -1]),
    )
    masked, alone = (figure.axes[0].lines[0].get_ydata() for figure in figures)
    np.testing.assert_allclose(masked, alone, rtol=1e-12)
    with pytest.raises(LabelError, match="-1 at row 0"):
        plot.gradients(every, SEQUENCES, labels)


def test_gradients_whose_squares_overflow_are_told_as_they_are():
    net = Network((40, 1), [SimpleRNN(2, "linear"), Dense(1)], seed=0)
    net.layers[0].U[:] = 1e5 * np.eye(2)
    data = np.zeros((2, 40, 1)), np.ones(2)
    curve = plot.gradients(net, *data).axes[0].lines[0].get_ydata()
    assert (curve > 0).all()
    np.testing.assert_allclose(curve[:-1] / curve[1:], 1e5, rtol=1e-9)


def test_of_both_directions_the_worse_is_told():
    net = Network((30, 2), [Bidirectional(SimpleRNN(4, "linear")), Dense(1)], seed=0)
    both = net.layers[0]
    both.forward.U[:] *= 0.9
    both.backward.U[:] *= 3
    data = RNG.normal(size=(8, 30, 2)), np.ones(8)
    with pytest.warns(LayerWarning) as told:
        net.fit(*data, epochs=1, diagnose=True, optimizer=SGD(1e-300))
    assert any("explode in time" in str(warning.message) for warning in told)
    assert net.history["gradient_ratio_1"][0] > 1e6


def test_positions_that_are_not_there_are_not_measured(backend):
    X, y = RNG.normal(size=(8, 10, 2)), np.arange(8) % 2
    layers = [GRU(4, return_sequences=True), Dense(5, "tanh"), GRU(3), Dense(2, "softmax")]
    found = []
    for positions, lengths in ((10, [5] * 8), (5, None)):
        net = Network((None, 2), layers, seed=1, backend=backend)
        cut = X[:, :positions]
        net.fit(cut, y, lengths=lengths, epochs=1, diagnose=True, optimizer=SGD(0.1))
        found.append(net.history)
    for kind in ("activation_mean", "activation_std", "saturated_share"):
        for layer in (1, 2, 3):
            key = f"{kind}_{layer}"
            assert (key in found[0]) == (key in found[1])
            if key in found[0]:
                np.testing.assert_allclose(found[0][key], found[1][key], rtol=1e-12)


def test_pictures_of_what_is_no_network_or_no_series_are_refused():
    for wrong in ([network()], {}, 3):
        with pytest.raises(DataTypeError, match="nets must be a Network"):
            plot.gradients(wrong, X, Y)
    with pytest.raises(DataTypeError, match="predicted must hold numbers"):
        plot.forecast([1, 2], ["a"])
