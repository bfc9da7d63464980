"""Warnings that teach: they come where they should, once, with their number, and nowhere else."""

import warnings

import numpy as np
import pytest

import pycnn
from pycnn import SGD, BatchNorm, Dense, Network
from pycnn._training.advice import _check_targets
from pycnn.exceptions import DataWarning, DivergedError, LayerWarning, PycnnWarning
from pycnn.initializers import Normal

RNG = np.random.default_rng(4)
X = RNG.normal(size=(80, 3))
CURVE = X[:, 0] * X[:, 1]
LABELS = (CURVE > 0).astype(int)


def advice(X, y, layers, loss=None, **settings):
    """Return the warnings of a fit."""
    net = Network(np.shape(X)[1], layers, loss=loss, seed=0)
    settings = {"epochs": 2, "optimizer": SGD(1e-9)} | settings
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        net.fit(X, y, **settings)
    assert all(issubclass(warning.category, PycnnWarning) for warning in caught)
    assert all(warning.filename == __file__ for warning in caught)
    return [str(warning.message) for warning in caught]


def only(messages):
    (message,) = messages
    return message


# ------------------------------------------------------------------ silence


def digits():
    inputs, labels = pycnn.datasets.load_digits()
    return np.asarray(inputs, np.float64)[:500] / 16, labels[:500]


XOR = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
CLASSES = [Dense(4, "relu"), Dense(1, "sigmoid")]
RIGHT = {
    "standardized": (X, LABELS, CLASSES),
    "0 to 1": (RNG.random((80, 3)), LABELS, CLASSES),
    "-1 to 1": (RNG.uniform(-1, 1, (80, 3)), LABELS, CLASSES),
    "heavy tails": (RNG.standard_t(3, (80, 3)), LABELS, CLASSES),
    "one-hot": (np.eye(40)[RNG.integers(0, 40, 80)], LABELS, CLASSES),
    "a constant column": (np.column_stack([X, np.ones(80)]), LABELS, CLASSES),
    "an empty column": (np.column_stack([X, np.zeros(80)]), LABELS, CLASSES),
    "all zero": (np.zeros((80, 3)), LABELS, [Dense(4, "tanh"), Dense(1, "sigmoid")]),
    "XOR": (XOR, [0, 1, 1, 0], CLASSES),
    "XOR, -1 and 1": (2 * XOR - 1, [0, 1, 1, 0], CLASSES),
    "one sample": (X[:1], LABELS[:1], [Dense(4, "tanh"), Dense(1, "sigmoid")]),
    "digits": (*digits(), [Dense(8, "relu"), Dense(10, "softmax")]),
    "regression": (X, CURVE, [Dense(4, "tanh"), Dense(1)]),
    "targets of some size": (X, 20 * CURVE, [Dense(4, "tanh"), Dense(1)]),
    "shares": (X, np.linspace(0, 1, 80), [Dense(1, "sigmoid")], "mse"),
    "targets on the border": (X, np.sign(CURVE), [Dense(1, "tanh")]),
    "amounts": (X, np.abs(CURVE), [Dense(1, "relu")]),
    "counts": (X, np.arange(80) % 7, [Dense(1, "softplus")], "poisson"),
    "autoencoder": (digits()[0], digits()[0], [Dense(5), Dense(64, "sigmoid")], "mse"),
    "hinge": (X, LABELS, [Dense(1)], "hinge"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_nothing_is_said_where_nothing_is_wrong(name):
    inputs, y, layers, *loss = RIGHT[name]
    assert advice(inputs, y, layers, *loss, diagnose=True) == []


# ------------------------------------------------------------------ inputs


def test_a_column_that_is_not_scaled_is_shown_with_its_numbers():
    inputs = X.copy()
    inputs[:, 1] = 2000 + 5 * X[:, 1]
    message = only(advice(inputs, LABELS, CLASSES))
    mean, deviation = inputs[:, 1].mean(), inputs[:, 1].std()
    assert message.startswith(
        f"X is not scaled: column 1 has mean {mean:.3g} and standard deviation {deviation:.3g}, "
    )
    assert "divide by its standard deviation" in message


def test_the_worst_of_several_columns_is_shown_and_the_others_counted():
    message = only(advice(X * [100, 1, 1000], LABELS, CLASSES))
    assert "column 2" in message
    assert "1 of the other 2" in message


def test_pixels_up_to_255_are_not_scaled():
    inputs, labels = digits()
    message = only(advice(inputs * 255, labels, [Dense(8, "relu"), Dense(10, "softmax")]))
    assert "pixels: 255" in message


def test_inputs_that_are_all_tiny_are_not_scaled():
    assert "the largest of its values is 0.00" in only(advice(X * 1e-3, LABELS, CLASSES))


def test_huge_inputs_do_not_overflow_in_the_warning():
    assert "not scaled" in only(advice(X * 1e200, LABELS, [Dense(3, "tanh"), Dense(1, "sigmoid")]))


def test_a_normalization_first_scales_the_inputs_itself():
    layers = [BatchNorm(), Dense(1, "sigmoid")]
    assert advice(X * 1000, LABELS, layers) == []


def test_many_rows_are_sampled():
    inputs = np.tile(X, (100, 1))
    inputs[17, 0] = 11.0  # one value among 8000 rows is not the scale of a column
    assert advice(inputs, np.tile(LABELS, 100), CLASSES) == []
    assert "not scaled" in only(advice(inputs * 100, np.tile(LABELS, 100), CLASSES))


# ------------------------------------------------------------------ targets and loss


@pytest.mark.parametrize(
    ("activation", "loss", "y", "words"),
    [
        (
            "relu",
            "mse",
            [-1.5, 0, 2, 3],
            r"25 % .* relu outputs go from 0 up, y .* -1.5 to 3\..*lin",
        ),
        ("tanh", "mse", [-2, 0, 0, 2], r"50 % .* tanh outputs go from -1 to 1, y .* -2 to 2\."),
        ("sigmoid", "mae", [0, 1, 2, 0.5], r"25 % .* sigmoid outputs go from 0 to 1"),
        ("softplus", "huber", [-1, 0, 1, 2], r"25 % .* softplus outputs go from 0 up"),
        ("elu", "quantile", [-3, 0, 1, 2], r"25 % .* elu outputs go from -1 up"),
        ("silu", "mse", [-0.3, -0.2, 1, 2], r"25 % .* silu outputs go from -0.2785 up"),
        ("sigmoid", "poisson", [0, 1, 2, 3], r"50 % .* 'softplus', or scale"),
        ("sigmoid", "mse", [0, 1, 1, 0], r"all 4 targets are 0 or 1.*'binary_crossentropy'"),
        ("sigmoid", "huber", [0, 1, 1, 0], r"'huber' on a sigmoid output"),
    ],
)
def test_targets_that_do_not_fit_the_output_are_counted(activation, loss, y, words):
    message = only(advice(X[:4], y, [Dense(1, activation)], loss))
    with pytest.raises(DataWarning, match=words):
        raise DataWarning(message)


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "quantile"])
def test_targets_far_from_where_outputs_start_are_shown_with_their_numbers(loss):
    y = 3e5 + 1e5 * CURVE
    message = only(advice(X, y, [Dense(4, "tanh"), Dense(1)], loss))
    assert message == (
        f"y is not scaled: y has mean {y.mean():.3g} and standard deviation {y.std():.3g}, where a "
        "network's outputs start around 0 with deviations around 1. In a new network, fit's "
        "scale_targets=True learns both, or target_scale = (mean, deviation) sets them; "
        "predictions stay in the unit of y"
    )


@pytest.mark.parametrize("way", ["scale_targets", "an iterable", "partial_fit"])
def test_the_way_out_for_targets_that_are_not_scaled_is_one(way, recwarn):
    y = 3e5 + 1e5 * CURVE
    net = Network(X.shape[1], [Dense(4, "tanh"), Dense(1)], seed=0)
    if way == "scale_targets":
        net.fit(X, y, epochs=1, scale_targets=True)
    else:
        net.target_scale = ([y.mean()], [y.std()])
        net.fit([(X, y)], epochs=1) if way == "an iterable" else net.partial_fit(X, y)
    assert not recwarn.list
    assert 1e5 < net.predict(X).mean() < 5e5


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (100 + 0 * CURVE, "mean 100 and standard deviation 0"),
        (CURVE * 0.001, "standard deviation 0.00113"),
        (CURVE * 1e100, "deviation 1.13e[+]100"),
        (np.column_stack([CURVE, 1e6 + CURVE, CURVE]), "column 1 of y has mean 1e[+]06"),
        (np.column_stack([CURVE, 1e-6 * CURVE]), "column 1 of y has mean"),
        (np.column_stack([CURVE, np.where(CURVE > 0, np.nan, 1e4)]), "column 1 of y has mean 1e"),
    ],
)
def test_targets_that_are_not_scaled_of_other_kinds(y, words):
    net = Network(3, [Dense(len(y.T) if y.ndim > 1 else 1)], seed=0)
    with pytest.warns(DataWarning, match=words):
        net.fit(X, y, epochs=1, optimizer=SGD(1e-300), missing_targets="mask")


def test_targets_that_are_scaled_or_weigh_nothing_are_not_told_of():
    y = 3e5 + 1e5 * CURVE
    net = Network(3, [Dense(1)], seed=0)
    net.fit(X, y, epochs=1, scale_targets=True)
    net.fit(X, 10 * y, epochs=1, optimizer=SGD(1e-9))
    odd = np.where(np.arange(80) == 3, 1e9, CURVE)
    Network(3, [Dense(1)], seed=0).fit(X, odd, epochs=1, sample_weight=odd < 1e9)
    counts = 1000 + np.arange(80)
    Network(3, [Dense(1, "softplus")], "poisson", seed=0).fit(X, counts, epochs=1)


def test_an_output_that_has_no_unit_of_its_own_gets_another_remedy():
    message = only(advice(X, 1e5 + CURVE, [Dense(1, "softplus")], "mse"))
    assert message.endswith(
        "Divide y by a number that makes it so; what you predict needs the same"
    )


@pytest.mark.parametrize(
    "train",
    [
        lambda net, x, y: net.partial_fit(x, y),
        lambda net, x, y: net.train_on_batch(x, y),
        lambda net, x, y: net.fit([(x, y)], epochs=1),
    ],
)
def test_other_ways_of_training_tell_it_once(train, backend):
    net = Network(3, [Dense(1)], seed=0, backend=backend)
    with pytest.warns(DataWarning, match="y is not scaled"):
        train(net, X, 1000 + CURVE)
    net = Network(3, [Dense(1)], seed=0, backend=backend)
    with pytest.warns(DataWarning, match="X is not scaled"):
        train(net, 1000 + X, CURVE)
    net = Network(3, [Dense(1)], seed=0, backend=backend)
    train(net, X, CURVE)
    net.train_on_batch(X, CURVE)


@pytest.mark.parametrize(
    ("scale", "shift", "rate", "words", "others"),
    [
        (1, 3e5, 0.5, ["y is not scaled: y has mean 3e+05", "scale_targets=True"], ["X is not"]),
        (1e3, 0, 0.5, ["X is not scaled: column", "deviation 1. A smaller"], ["y is not"]),
        (1e3, 3e5, 0.5, ["y is not scaled", "X is not scaled"], []),
        (1, 0, 1e3, ["A smaller learning_rate than 1000 may help"], ["is not scaled"]),
    ],
)
@pytest.mark.filterwarnings("ignore:[Xy] is not scaled")
def test_a_divergence_names_what_is_likely_to_have_caused_it(
    scale, shift, rate, words, others, backend
):
    x, y = X * scale, CURVE + shift
    for given in ((x, y), ([(x[:40], y[:40]), (x[40:], y[40:])],)):
        net = Network(3, [Dense(8, "relu"), Dense(1)], seed=0, backend=backend)
        with pytest.raises(DivergedError) as error:
            net.fit(*given, epochs=2000, optimizer=SGD(rate))
        for word in words:
            assert word in str(error.value)
        for word in others:
            assert word not in str(error.value)


@pytest.mark.filterwarnings("ignore:[Xy] is not scaled")
def test_a_divergence_of_lbfgs_names_it_too(backend):
    net = Network(3, [Dense(1)], seed=0, backend=backend)
    for y, words in ((CURVE * 1e200, "scale_targets=True"), (CURVE, "Smaller initial weights")):
        net.parameters[:] = 1e200
        with pytest.raises(DivergedError, match=words):
            net.fit(X, y, epochs=2, batch_size=None, optimizer=pycnn.LBFGS())


def test_targets_that_are_not_known_do_not_count():
    y = np.array([[-2, np.nan], [np.nan, 0], [0, 1], [0.5, np.nan]])
    with pytest.warns(DataWarning, match=r"^20 % of the targets"):
        _check_targets(Network(3, [Dense(2, "tanh")], seed=0), y)
    _check_targets(Network(3, [Dense(2, "elu")], seed=0), y / 2)
    _check_targets(Network(3, [Dense(2, "tanh")], seed=0), np.full((2, 2), np.nan))


def test_one_hot_rows_with_mse_on_softmax():
    message = only(advice(X, np.eye(3)[np.arange(80) % 3], [Dense(3, "softmax")], "mse"))
    assert "all 240 targets" in message
    assert "'categorical_crossentropy'" in message


def test_no_activations_range_is_too_narrow():
    z = np.linspace(-30, 30, 60001)[:, None]
    for activation in pycnn.activations.ACTIVATIONS:
        net = Network(1, [Dense(1, activation)], loss="mse", seed=0)
        net.parameters = [1.0, 0.0]
        values = net.predict(z)
        low, high, *_ = pycnn.activations.TABLE[activation]
        assert (low <= values).all()
        assert (values <= high).all()
        if activation not in ("linear", "leaky_relu", "softmax"):
            assert values.min() == pytest.approx(low, abs=0.04)  # softsign is slow


# ------------------------------------------------------------------ batches


def test_a_batch_larger_than_the_data():
    message = only(advice(X, LABELS, CLASSES, batch_size=100))
    assert message.startswith("batch_size=100 is larger than the data")
    assert "all 80 samples" in message
    assert advice(X, LABELS, CLASSES, batch_size=80) == []
    assert "all 60" in only(advice(X, LABELS, CLASSES, batch_size=80, validation_split=0.25))
    assert advice(X[:5], LABELS[:5], CLASSES) == []  # nobody has asked for the default


# ------------------------------------------------------------------ layers


def deep(activation, count, initializer):
    layers = [Dense(30, activation, weight_initializer=initializer)] * count
    return [*layers, Dense(10, "softmax")]


def layer_advice(layers, **settings):
    return advice(*digits(), layers, diagnose=True, **settings)


def test_layers_that_suit_their_activations_are_not_warned_of():
    for activation in ("tanh", "relu", "elu", "selu"):
        initializer = "he_normal" if activation in ("relu", "elu") else "glorot_uniform"
        layers = deep(activation, 12, initializer)
        assert layer_advice(layers, optimizer=SGD(0.01), epochs=4) == []


def test_gradients_that_vanish():
    message = only(layer_advice(deep("sigmoid", 8, "glorot_uniform")))
    assert message.startswith("gradients vanish: that of layer 1 has norm ")
    assert "before the first epoch, that of layer 9" in message


def test_gradients_that_explode():
    message = only(layer_advice(deep("relu", 8, Normal(0, 1))))
    assert message.startswith("gradients explode: that of layer")
    assert "clip_norm" in message


def test_activations_that_are_saturated():
    message = layer_advice(deep("tanh", 2, Normal(0, 3)))[0]
    assert "of the activations of layer 1 are saturated before the first epoch" in message


def test_an_output_that_is_saturated_is_just_sure():
    layers = [Dense(3, "tanh"), Dense(1, "sigmoid")]
    settings = {"epochs": 3000, "optimizer": SGD(5.0), "batch_size": None, "diagnose": True}
    net = Network(2, layers, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", LayerWarning)
        net.fit(XOR, [0, 1, 1, 0], **settings)
    assert net.history["saturated_share_2"][-1] == 1


def test_units_that_die():
    layers = [Dense(30, "relu"), Dense(10, "softmax")]
    messages = layer_advice(layers, optimizer=SGD(30.0), epochs=5)
    dead = only([message for message in messages if "dead" in message])
    assert "of the 30 units of layer 1 are dead after epoch 1" in dead
    assert not any("vanish" in message for message in messages)


def test_nothing_is_said_of_layers_unless_asked():
    assert advice(*digits(), deep("sigmoid", 8, "glorot_uniform")) == []


# ------------------------------------------------------------------ how


def test_warnings_come_once_a_fit_and_can_be_turned_off():
    net = Network(3, CLASSES, seed=0)
    for _ in range(2):
        with pytest.warns(DataWarning) as caught:
            net.fit(X * 100, LABELS, epochs=20, optimizer=SGD(1e-9))
        assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", PycnnWarning)
        net.fit(X * 100, LABELS, epochs=1, optimizer=SGD(1e-9))


def test_a_warning_that_is_made_an_error_changes_nothing():
    net = Network(3, CLASSES, seed=0)
    before = net.parameters.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataWarning):
            net.fit(X * 100, LABELS)
    assert (net.parameters == before).all()
    assert net.history is None
    assert net.classes is None
    net.fit(X, LABELS, epochs=1)  # and the network is not locked


def test_warnings_are_user_warnings():
    for kind in (DataWarning, LayerWarning):
        assert issubclass(kind, PycnnWarning)
    assert issubclass(PycnnWarning, UserWarning)
