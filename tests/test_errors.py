"""Bad input gets an exception that names the argument, before anything is changed."""

import datetime
import math
import sys

import numpy as np
import pytest

import pycnn
from pycnn import SGD, Dense, Network
from pycnn.exceptions import (
    DataError,
    DataTypeError,
    LabelError,
    PycnnError,
    ShapeError,
    UnknownNameError,
)

RNG = np.random.default_rng(4)
X = RNG.normal(size=(12, 3))
Y = np.arange(12) % 3
NAN, INF = math.nan, math.inf


def with_value(array, value, row=5, dtype=None):
    array = np.array(array, dtype=dtype)
    array[row] = value
    return array


@pytest.fixture
def net(backend):
    """A trained network: there is something that could be changed."""
    layers = [Dense(4, "tanh"), Dense(3, "softmax")]
    network = Network(3, layers, seed=0, backend=backend)
    network.fit(X, Y, epochs=2)
    return network


def state(net):
    history = {key: list(values) for key, values in net.history.items()}
    classes = None if net.classes is None else net.classes.tolist()
    return (net.parameters.tobytes(), classes, history, id(net.history), net.epochs_trained)


def assert_refused(net, call, error, message):
    """`call` raises `error`, which is ours and a builtin, says `message`, and changes nothing."""
    before = state(net)
    with pytest.raises(error, match=message) as caught:
        call(net)
    assert type(caught.value) is error
    assert isinstance(caught.value, PycnnError)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, TypeError) == (error is DataTypeError)
    assert state(net) == before
    assert net.fit(X, Y, epochs=1).epochs == 1  # no lock was left behind


# ------------------------------------------------------------------ arrays

BAD_X = {
    "a vector": (
        X[0],
        ShapeError,
        r"X must have shape \(samples, 3\), got \(3,\); a single sample",
    ),
    "a number": (1.0, ShapeError, r"X must have shape \(samples, 3\), got \(\)"),
    "too wide": (np.ones((12, 4)), ShapeError, r"\(samples, 3\), got \(12, 4\)"),
    "three axes": (np.ones((12, 3, 1)), ShapeError, r"got \(12, 3, 1\)"),
    "ragged": ([[1, 2, 3], [4]], ShapeError, "X must be a regular array"),
    "no rows": (np.ones((0, 3)), DataError, "X must have at least one sample"),
    "nothing": ([], ShapeError, "X must have shape"),
    "none": (None, ShapeError, "X must have shape"),
    "text": (X.astype(str), DataTypeError, "X must hold real numbers, got dtype <U"),
    "text objects": (X.astype(str).astype(object), DataTypeError, "X must hold numbers"),
    "bytes": (X.astype("S"), DataTypeError, "X must hold real numbers"),
    "objects": (np.full((12, 3), object()), DataTypeError, "X must hold numbers"),
    "complex": (X * 1j, DataTypeError, "X must hold real numbers, got dtype complex128"),
    "dates": (np.zeros((12, 3), "M8[s]"), DataTypeError, "X must hold real numbers"),
    "a mapping": ({1: 2}, DataTypeError, "X must hold numbers"),
    "NaN": (
        with_value(X, [0, NAN, 0]),
        DataError,
        "X must be finite, but is NaN at row 5, column 1",
    ),
    "infinity": (with_value(X, [0, 0, -INF]), DataError, "X .*infinite at row 5, column 2"),
    "None inside": (with_value(X, None, dtype=object), DataError, "X must be finite.*NaN at row 5"),
    "text in a list": (
        with_value(X, ["ten", 0, 0], dtype=object).tolist(),
        DataTypeError,
        r"X must hold numbers, got 'ten' \(str\) at row 5, column 0$",
    ),
    "text inside": (
        with_value(X, [1.5, "ten", 0], dtype=object),
        DataTypeError,
        r"X must hold numbers, got 'ten' \(str\) at row 5, column 1$",
    ),
    "a date inside": (
        with_value(X, [1.5, 0, datetime.date(2020, 1, 2)], dtype=object),
        DataTypeError,
        r"got datetime.date\(2020, 1, 2\) \(date\) at row 5, column 2$",
    ),
    "a moment inside": (
        with_value(X, [np.datetime64("2020-01-02", "ns"), 0, 1], dtype=object),
        DataTypeError,
        r"X must hold numbers, got .*\(datetime64\) at row 5, column 0$",
    ),
    "too large for a float": (
        [[10**400, 1, 2]] * 12,
        DataError,
        "X must hold numbers that a float",
    ),
    "too large for float64": (
        np.full((12, 3), np.finfo(np.longdouble).max),
        DataError,
        "X must be finite",
    ),
    "masked": (
        np.ma.array(X, mask=np.arange(36).reshape(12, 3) == 7),
        DataError,
        "X must have all its values, but is masked at row 2, column 1",
    ),
}

BAD_Y = {
    "too short": (Y[:-1], ShapeError, "y must have one target for each of the 12 rows"),
    "too long": (np.append(Y, 0), ShapeError, "y must have one target for each of the 12 rows"),
    "a number": (1, ShapeError, r"y must have one target.*got shape \(\)"),
    "three axes": (np.ones((12, 1, 1)), ShapeError, "y must have one target"),
    "wrong width": (np.ones((12, 2)), ShapeError, r"y must have shape \(12, 3\), got \(12, 2\)"),
    "nothing": ([], DataError, "y must have at least one sample"),
    "a class too many": (with_value(Y, 3), LabelError, r"y holds labels \(3\)"),
    "a negative class": (with_value(Y, -1), LabelError, r"y holds labels \(-1\)"),
    "between two classes": (with_value(Y, 0.5, dtype=float), LabelError, r"y holds labels \(0.5\)"),
    "text": (Y.astype(str), LabelError, r"y holds labels \('0', '1', '2'\)"),
    "mixed objects": (
        with_value(Y, "one", dtype=object),
        DataTypeError,
        r"y must hold labels of one type.*0 \(int\) at row 0 and 'one' \(str\) at row 5",
    ),
    "None inside": (
        with_value(Y, None, dtype=object),
        DataError,
        "y must have no gaps, but is None at row 5",
    ),
    "NaT": (
        with_value(Y.astype("M8[D]"), "NaT"),
        DataError,
        "y must have no gaps, but is NaT at row 5",
    ),
    "masked": (
        np.ma.array(Y, mask=np.arange(12) == 5),
        DataError,
        "y must have no gaps, but is masked at row 5",
    ),
    "complex": (Y * 1j, DataTypeError, "y must hold numbers, strings or dates, got dtype complex"),
    "NaN": (with_value(Y, NAN, dtype=float), DataError, "y must be finite, but is NaN at row 5"),
    "infinity": (with_value(Y, INF, dtype=float), DataError, "y must be finite.*infinite at row 5"),
    "negative shares": (
        with_value(np.eye(3)[Y], [2, -1, 0]),
        DataError,
        r"y must lie in \[0, 1\].*row 5",
    ),
    "shares beyond 1": (
        with_value(np.eye(3)[Y], 0.5),
        DataError,
        "y must add up to 1; row 5",
    ),
}

BAD_WEIGHT = {
    "too short": (np.ones(11), ShapeError, r"sample_weight must have shape \(12,\), got \(11,\)"),
    "a column": (np.ones((12, 1)), ShapeError, r"sample_weight must have shape \(12,\)"),
    "a number": (1.0, ShapeError, "sample_weight must have shape"),
    "negative": (with_value(np.ones(12), -2), DataError, "sample_weight must be >= 0, .*row 5"),
    "NaN": (with_value(np.ones(12), NAN), DataError, "sample_weight must be finite.*row 5"),
    "infinity": (with_value(np.ones(12), INF), DataError, "sample_weight must be finite"),
    "an endless sum": (np.full(12, 1e308), DataError, "sample_weight must have a finite sum"),
    "a sum for overflows": (np.full(12, 1e300), DataError, r"sum, of at most 1e\+250"),
    "almost nothing": (with_value(np.ones(12), 5e-324), DataError, "sample_weight .*row 5"),
    "text": (["heavy"] * 12, DataTypeError, "sample_weight must hold numbers, got .heavy.*row 0"),
    "complex": (np.ones(12) * 1j, DataTypeError, "sample_weight must hold real numbers"),
}

METHODS = {
    "fit": lambda net, x, y: net.fit(x, y, epochs=1),
    "predict": lambda net, x, y: net.predict(x),
    "predict_classes": lambda net, x, y: net.predict_classes(x),
    "evaluate": lambda net, x, y: net.evaluate(x, y),
    "gradients": lambda net, x, y: net.gradients(x, y),
    "trace": lambda net, x, y: net.trace(x, y),
    "gradient_check": lambda net, x, y: pycnn.gradient_check(net, x, y),
    "validation_data": lambda net, x, y: net.fit(X, Y, validation_data=(x, y)),
}
WEIGHTED = {
    "fit": lambda net, w: net.fit(X, Y, sample_weight=w),
    "evaluate": lambda net, w: net.evaluate(X, Y, w),
    "gradients": lambda net, w: net.gradients(X, Y, w),
    "gradient_check": lambda net, w: pycnn.gradient_check(net, X, Y, sample_weight=w),
    "validation_data": lambda net, w: net.fit(X, Y, validation_data=[X, Y, w]),
}


@pytest.mark.parametrize("case", BAD_X)
@pytest.mark.parametrize("method", METHODS)
def test_a_bad_x_is_refused_by_name(net, method, case):
    value, error, message = BAD_X[case]
    if case == "too large for float64" and np.finfo(np.longdouble).max == np.finfo(float).max:
        pytest.skip("long double is double here")
    assert_refused(net, lambda net: METHODS[method](net, value, Y), error, message)


@pytest.mark.parametrize("case", BAD_Y)
@pytest.mark.parametrize("method", [m for m in METHODS if not m.startswith("predict")])
def test_a_bad_y_is_refused_by_name(net, method, case):
    value, error, message = BAD_Y[case]
    assert_refused(net, lambda net: METHODS[method](net, X, value), error, message)


@pytest.mark.parametrize("case", BAD_WEIGHT)
@pytest.mark.parametrize("method", WEIGHTED)
def test_a_bad_weight_is_refused_by_name(net, method, case):
    value, error, message = BAD_WEIGHT[case]
    assert_refused(net, lambda net: WEIGHTED[method](net, value), error, message)


BAD_PARAMETERS = {
    "too short": (lambda a: a.ravel()[:-1], ShapeError, "must have shape"),
    "another shape": (lambda a: a[None], ShapeError, "must have shape"),
    "a number": (lambda a: 0.0, ShapeError, "must have shape"),
    "NaN": (lambda a: a * NAN, DataError, "must be finite, but is NaN at row 0"),
    "infinity": (lambda a: a + INF, DataError, "must be finite"),
    "text": (lambda a: a.astype(str), DataTypeError, "must hold real numbers"),
    "complex": (lambda a: a * 1j, DataTypeError, "must hold real numbers"),
}


@pytest.mark.parametrize("case", BAD_PARAMETERS)
@pytest.mark.parametrize("name", ["parameters", "W", "b"])
def test_bad_parameters_are_refused_by_name(net, name, case):
    make, error, message = BAD_PARAMETERS[case]
    owner = net if name == "parameters" else net.layers[1]
    bad = make(getattr(owner, name))
    assert_refused(net, lambda net: setattr(owner, name, bad), error, f"{name} {message}")


def test_a_layer_outside_a_network_has_no_parameters():
    for name in ("W", "b"):
        with pytest.raises(PycnnError, match="not part of a network"):
            getattr(Dense(3), name)
        with pytest.raises(PycnnError, match="not part of a network"):
            setattr(Dense(3), name, np.ones(3))


def test_parameters_that_are_not_finite_are_not_trained(net):
    net.parameters[3] = NAN  # through the live view: nothing checks there
    with pytest.raises(DataError, match="parameters are not finite"):
        net.fit(X, Y, epochs=1)
    assert net.history.epochs == net.epochs_trained == 2


# ------------------------------------------------------------------ settings

BAD_FIT = [
    ({"epochs": 0}, DataError, "epochs must be at least 1, got 0"),
    ({"epochs": -3}, DataError, "epochs must be at least 1"),
    ({"epochs": 1.5}, DataTypeError, "epochs must be an integer, got 1.5"),
    ({"epochs": "3"}, DataTypeError, "epochs must be an integer"),
    ({"epochs": True}, DataTypeError, "epochs must be an integer"),
    ({"epochs": None}, DataTypeError, "epochs must be an integer"),
    ({"batch_size": 0}, DataError, "batch_size must be at least 1"),
    ({"batch_size": 8.0}, DataTypeError, "batch_size must be an integer"),
    ({"batch_size": "all"}, DataTypeError, "batch_size must be an integer"),
    ({"optimizer": "sdg"}, UnknownNameError, "optimizer must be one of sgd.*did you mean 'sgd'"),
    ({"optimizer": 0.1}, DataTypeError, "optimizer must be an optimizer such as"),
    ({"optimizer": SGD}, DataTypeError, "optimizer must be an optimizer such as"),
    ({"validation_split": 1.0}, DataError, "validation_split must be at least 0 and below 1"),
    ({"validation_split": -0.1}, DataError, "validation_split must be at least 0 and below 1"),
    ({"validation_split": NAN}, DataError, "validation_split must be at least 0 and below 1"),
    ({"validation_split": 0.99}, DataError, "validation_split=0.99 leaves none of the 12"),
    ({"validation_split": "0.2"}, DataTypeError, "validation_split must be a number"),
    ({"validation_split": np.ones(2)}, DataTypeError, "validation_split must be a number"),
    ({"validation_split": 0.2, "validation_data": (X, Y)}, DataError, "not both"),
    ({"validation_data": X}, DataTypeError, r"validation_data must be \(X, y\)"),
    ({"validation_data": (X,)}, DataTypeError, r"validation_data must be \(X, y\)"),
    ({"validation_data": (X, Y, *[None] * 3)}, DataTypeError, r"validation_data must be \(X, y\)"),
    ({"validation_data": (X[:, :2], Y)}, ShapeError, "validation X must have shape"),
    ({"validation_data": (X, Y[:5])}, ShapeError, "validation y must have one target"),
    ({"validation_data": (X, Y, -X[:, 0])}, DataError, "validation sample_weight must be >= 0"),
    ({"callbacks": 5}, DataTypeError, "callbacks must hold Callback objects or functions"),
    ({"callbacks": ["stop"]}, DataTypeError, "callbacks must hold .*'stop'"),
    ({"callbacks": [pycnn.Callback]}, DataTypeError, "callbacks must hold"),
    ({"shuffle": "False"}, DataTypeError, "shuffle must be True or False, got 'False'"),
    ({"shuffle": None}, DataTypeError, "shuffle must be True or False, got None"),
    ({"progress": 0}, DataTypeError, "progress must be True or False, got 0"),
    ({"resume": 1}, DataTypeError, "resume must be True or False, got 1"),
    ({"diagnose": "yes"}, DataTypeError, "diagnose must be True or False, got 'yes'"),
    ({"class_weight": "balance"}, DataTypeError, "class_weight must be None, 'balanced' or"),
    ({"class_weight": [1, 2, 3]}, DataTypeError, "class_weight must be"),
    ({"class_weight": {3: 1.0}}, LabelError, "class_weight names 3"),
    ({"class_weight": {"0": 1.0}}, LabelError, "class_weight names '0'"),
    ({"class_weight": {0: -1.0}}, DataError, "class_weight must be >= 0"),
    ({"class_weight": {0: NAN}}, DataError, r"class_weight\[0\] must be finite, but is NaN$"),
    ({"class_weight": {0: INF}}, DataError, r"class_weight\[0\] must be finite"),
    ({"class_weight": {0: 5e-324}}, DataError, "class_weight must be 0 or at least 1e-250, but is"),
    ({"class_weight": {0: 1e308}}, DataError, "class_weight must have a finite sum"),
    ({"class_weight": {0: "heavy"}}, DataTypeError, r"class_weight\[0\] must hold numbers"),
    ({"class_weight": {0: [1, 2]}}, ShapeError, r"class_weight\[0\] must have shape \(\)"),
    ({"class_weight": {0: None}}, DataError, r"class_weight\[0\] must be finite"),
    ({"progress": "no"}, DataTypeError, "progress must be True or False, got 'no'"),
]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    BAD_FIT,
    ids=[str(list(s.items())[-1])[:40] for s, *_ in BAD_FIT],
)
def test_bad_settings_of_fit_are_refused_by_name(net, settings, error, message):
    assert_refused(net, lambda net: net.fit(X, Y, **settings), error, message)


@pytest.mark.parametrize("value", ["False", 0, None, np.ones(1, bool)])
def test_what_is_not_true_or_false_is_refused_by_name(net, value):
    for name, call in (
        ("shuffle", lambda net: net.partial_fit(X, Y, shuffle=value)),
        ("training", lambda net: net.gradients(X, Y, training=value)),
        ("training", lambda net: pycnn.gradient_check(net, X, Y, training=value)),
        ("training_state", lambda net: net.save("model", training_state=value)),
        ("nesterov", lambda net: SGD(momentum=0.9, nesterov=value)),
        ("centered", lambda net: pycnn.RMSprop(centered=value)),
        ("restore_best_weights", lambda net: pycnn.callbacks.EarlyStopping("loss", 1, 0, value)),
        ("best_only", lambda net: pycnn.callbacks.ModelCheckpoint("model", best_only=value)),
        ("append", lambda net: pycnn.callbacks.CSVLogger("file.csv", append=value)),
        ("horizontal", lambda net: pycnn.augmentation.ImageFlip((1, 3), value)),
        ("staircase", lambda net: pycnn.schedules.ExponentialDecay(0.1, staircase=value)),
        ("restarts", lambda net: pycnn.schedules.CosineDecay(0.1, restarts=value)),
    ):
        assert_refused(net, call, DataTypeError, f"^{name} must be True or False")


BAD_NETWORK = [
    (lambda: Network(0, [Dense(1)]), DataError, "inputs must be at least 1, got 0"),
    (lambda: Network(2.0, [Dense(1)]), DataTypeError, "inputs must be an integer"),
    (lambda: Network("2", [Dense(1)]), DataTypeError, "inputs must be an integer"),
    (lambda: Network(True, [Dense(1)]), DataTypeError, "inputs must be an integer"),
    (lambda: Network(2, []), DataError, "layers must hold at least the output layer"),
    (lambda: Network(2, Dense(1)), DataTypeError, "layers must be a list of layers"),
    (lambda: Network(2, 5), DataTypeError, "layers must be a list of layers"),
    (lambda: Network(2, [5]), DataTypeError, "layers must hold layers such as Dense"),
    (lambda: Network(2, [Dense]), DataTypeError, "layers must hold layers such as Dense"),
    (lambda: Network(2, "relu"), DataTypeError, "layers must hold layers such as Dense"),
    (lambda: Network(2, [Dense(1)], "msee"), UnknownNameError, "loss.*did you mean 'mse'"),
    (lambda: Network(2, [Dense(1)], 5), UnknownNameError, "loss must be one of mse"),
    (lambda: Network(2, [Dense(1)], seed=-1), DataError, "seed must be None or an integer >= 0"),
    (lambda: Network(2, [Dense(1)], seed=1.5), DataError, "seed must be"),
    (lambda: Network(2, [Dense(1)], seed="1"), DataError, "seed must be"),
    (lambda: Network(2, [Dense(1)], seed=True), DataError, "seed must be"),
    (lambda: Network(2, [Dense(1)], backend="nunpy"), UnknownNameError, "did you mean 'numpy'"),
    (lambda: Network(2, [Dense(1)], backend=None), UnknownNameError, "backend must be one of"),
    (lambda: Dense(0), DataError, "units must be at least 1"),
    (lambda: Dense(-5), DataError, "units must be at least 1"),
    (lambda: Dense(2.5), DataTypeError, "units must be an integer"),
    (lambda: Dense(None), DataTypeError, "units must be an integer"),
    (lambda: Dense(np.array([1, 2])), DataTypeError, "units must be an integer"),
    (lambda: Dense(3, "rleu"), UnknownNameError, "activation.*did you mean 'relu'"),
    (lambda: Dense(3, "Sigmoid"), UnknownNameError, "did you mean 'sigmoid'"),
    (lambda: Dense(3, "xyzzy"), UnknownNameError, "got 'xyzzy'$"),
    (lambda: Dense(3, None), UnknownNameError, "activation must be one of linear"),
    (lambda: Dense(3, ["relu"]), UnknownNameError, "activation must be one of"),
    (lambda: SGD(0), DataError, "learning_rate must be finite and above 0, got 0"),
    (lambda: SGD(-0.1), DataError, "learning_rate must be"),
    (lambda: SGD(NAN), DataError, "learning_rate must be"),
    (lambda: SGD(INF), DataError, "learning_rate must be"),
    (lambda: SGD(10**400), DataError, "learning_rate must be"),
    (lambda: SGD("0.1"), DataTypeError, "learning_rate must be a number"),
    (lambda: SGD(None), DataTypeError, "learning_rate must be a number"),
    (lambda: SGD(1j), DataTypeError, "learning_rate must be a number"),
    (lambda: SGD(True), DataTypeError, "learning_rate must be a number"),
    (lambda: pycnn.set_num_threads(0), DataError, "n must be at least 1"),
    (lambda: pycnn.set_num_threads(2.0), DataTypeError, "n must be an integer"),
    (lambda: pycnn.set_num_threads("2"), DataTypeError, "n must be an integer"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD_NETWORK)
def test_bad_settings_are_refused_by_name(call, error, message):
    threads = pycnn.get_num_threads()
    with pytest.raises(error, match=message) as caught:
        call()
    assert type(caught.value) is error
    assert isinstance(caught.value, ValueError)
    assert pycnn.get_num_threads() == threads


@pytest.mark.parametrize(
    ("loss", "activation", "needed"),
    [
        ("binary_crossentropy", "softmax", "sigmoid"),
        ("binary_crossentropy", "linear", "sigmoid"),
        ("categorical_crossentropy", "sigmoid", "softmax"),
        ("categorical_crossentropy", "relu", "softmax"),
    ],
)
def test_a_loss_that_does_not_go_with_the_output_is_refused(backend, loss, activation, needed):
    with pytest.raises(PycnnError, match=f"needs a {needed} output layer") as caught:
        Network(2, [Dense(2, activation)], loss, backend=backend)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("value", [0, 2.5, "many"])
def test_a_bad_number_of_parameters_to_check_is_refused_by_name(net, value):
    error = DataError if value == 0 else DataTypeError

    def check(net):
        pycnn.gradient_check(net, X, Y, max_parameters=value)

    assert_refused(net, check, error, "max_parameters")


@pytest.mark.parametrize(
    ("inputs", "units"),
    [(10**9, 10**9), (2**62, 1), (1, 2**62), (2**32, 2**32), (2**31, 2**29)],
)
def test_a_network_too_large_for_memory_is_an_exception_and_no_crash(backend, inputs, units):
    with pytest.raises((ShapeError, MemoryError)):
        Network(inputs, [Dense(units)], backend=backend)


class Stop(pycnn.Callback):
    """Ends any training after its first epoch."""

    def on_epoch_end(self, network, epoch, logs):
        network.stop_training = True


def fit_for(epochs, **options):
    """Return a call that trains for so many epochs, or rather for the first of them."""
    return lambda net: net.fit(X, Y, epochs=epochs, callbacks=[Stop()], **options)


INTEGERS = {
    "inputs": lambda net, n: Network(n, [Dense(1)], backend=net.backend),
    "units": lambda net, n: Network(1, [Dense(n)], backend=net.backend),
    "epochs": lambda net, n: fit_for(n)(net),
    "batch_size": lambda net, n: net.fit(X, Y, batch_size=n),
    "batch_size of partial_fit": lambda net, n: net.partial_fit(X, Y, batch_size=n),
    "batch": lambda net, n: net.predictor(n),
    "patience": lambda net, n: pycnn.callbacks.EarlyStopping(patience=n),
    "start_from_epoch": lambda net, n: pycnn.callbacks.EarlyStopping(start_from_epoch=n),
    "cooldown": lambda net, n: pycnn.callbacks.ReduceLROnPlateau(cooldown=n),
    "every": lambda net, n: pycnn.callbacks.ModelCheckpoint("model.safetensors", every=n),
    "history_size": lambda net, n: pycnn.LBFGS(n),
    "max_evaluations": lambda net, n: pycnn.LBFGS(max_evaluations=n),
    "max_parameters": lambda net, n: pycnn.gradient_check(net, X, Y, max_parameters=n),
    "each size in shape": lambda net, n: pycnn.augmentation.ImageShift((n, 2)),
    "pixels": lambda net, n: pycnn.augmentation.ImageShift((2, 2), n),
    "total_steps": lambda net, n: pycnn.schedules.Constant(0.1).rates([0], 1, n),
    "n": lambda net, n: pycnn.set_num_threads(n),
}


@pytest.mark.parametrize("value", [2**63, 10**30, 10**5000], ids=["2^63", "10^30", "10^5000"])
@pytest.mark.parametrize("name", INTEGERS)
def test_an_integer_beyond_any_index_is_refused_by_name(net, name, value):
    assert_refused(
        net,
        lambda net: INTEGERS[name](net, value),
        DataError,
        f"{name.partition(' of')[0]} must be at most {sys.maxsize}, got",
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": SGD(pycnn.schedules.OneCycle(0.1))},
        {"optimizer": SGD(pycnn.schedules.CosineDecay(0.1))},
        {"optimizer": "lbfgs"},
    ],
    ids=["constant", "one cycle", "cosine", "lbfgs"],
)
def test_as_many_epochs_as_an_index_can_count_are_allowed(net, options):
    assert fit_for(sys.maxsize, **options)(net).epochs == 1


def test_as_many_epochs_of_an_iterable_as_an_index_can_count_are_allowed(net):
    history = net.fit(lambda: iter([(X, Y)]), epochs=sys.maxsize, callbacks=[Stop()])
    assert history.epochs == 1


@pytest.mark.parametrize("size", [sys.maxsize, 2**61])
def test_what_does_not_fit_into_memory_is_a_shape_error(net, size):
    assert_refused(net, lambda net: net.predictor(size), ShapeError, "a batch of .* not fit into")
    lbfgs = pycnn.LBFGS(size)
    assert_refused(net, lambda net: net.fit(X, Y, optimizer=lbfgs), ShapeError, "history_size of")


# ------------------------------------------------------------------ and what is not an error


class Frame:
    """As a data frame is: no array, but it can become one."""

    def __init__(self, array):
        self.array = np.asarray(array)

    def __array__(self, dtype=None, copy=None):
        return self.array.astype(dtype) if dtype else self.array.copy()

    def __len__(self):
        return len(self.array)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def unaligned(array):
    raw = b"\0" + array.tobytes()
    return np.frombuffer(raw, array.dtype, offset=1).reshape(array.shape)


def strided(array):
    return np.repeat(np.repeat(array, 2, axis=0), 3, axis=-1)[::2, ::3]


WHOLE = RNG.integers(0, 2, size=(12, 3)).astype(float)  # the same numbers in every dtype
LAYOUTS = {
    "list": np.ndarray.tolist,
    "tuples": lambda a: tuple(tuple(row) for row in a.tolist()),
    "Fortran": np.asfortranarray,
    "strided": strided,
    "reversed": lambda a: a[::-1].copy()[::-1],
    "transposed": lambda a: a.T.copy().T,
    "read-only": read_only,
    "unaligned": unaligned,
    "big-endian": lambda a: a.astype(">f8"),
    "little-endian": lambda a: a.astype("<f8"),
    "float16": lambda a: a.astype(np.float16),
    "float32": lambda a: a.astype(np.float32),
    "longdouble": lambda a: a.astype(np.longdouble),
    "int64": lambda a: a.astype(np.int64),
    "int8": lambda a: a.astype(np.int8),
    "uint8": lambda a: a.astype(np.uint8),
    "big-endian int16": lambda a: a.astype(">i2"),
    "bool": lambda a: a.astype(bool),
    "objects": lambda a: a.astype(object),
    "frame": Frame,
    "unmasked": lambda a: np.ma.masked_array(a),
    "memoryview": lambda a: memoryview(a),
}


def everything(backend, X, targets, weight, validation):
    net = Network(3, [Dense(4, "tanh"), Dense(3, "sigmoid")], seed=0, backend=backend)
    net.fit(X, targets, epochs=2, sample_weight=weight, validation_data=validation, batch_size=5)
    trace = net.trace(X, targets)
    return (
        net.parameters.tobytes(),
        net.predict(X).tobytes(),
        net.predict_classes(X).tobytes(),
        net.evaluate(X, targets, weight),
        net.gradients(X, targets, weight)[1].tobytes(),
        trace.dW[1].tobytes(),
        net.history["val_loss"],
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_and_dtype_of_the_same_numbers_gives_the_same_bits(backend, layout):
    weight = WHOLE[:, 0] + 1
    convert = LAYOUTS[layout]
    x, y = convert(WHOLE), convert(1 - WHOLE)
    w = weight if layout in ("bool", "tuples", "strided") else convert(weight)
    plain = everything(backend, WHOLE, 1 - WHOLE, weight, (WHOLE, WHOLE))
    if layout == "unaligned":
        assert not x.flags.aligned
    assert everything(backend, x, y, w, (x, convert(WHOLE))) == plain


def test_inputs_are_never_written_to(backend):
    arrays = [read_only(a) for a in (X, Y, np.ones(12))]
    net = Network(3, [Dense(4, "relu"), Dense(3, "softmax")], seed=0, backend=backend)
    net.fit(arrays[0], arrays[1], sample_weight=arrays[2], epochs=2, validation_split=0.3)
    net.parameters = read_only(net.parameters)


def test_parameters_and_their_views_are_one_live_buffer(backend):
    net = Network(3, [Dense(2, "tanh"), Dense(1)], seed=0, backend=backend)
    before = net.predict(X)
    assert net.parameters.flags.c_contiguous
    assert net.parameters.dtype == np.float64
    assert [layer.W.shape for layer in net.layers] == [(2, 3), (1, 2)]
    assert [layer.b.shape for layer in net.layers] == [(2,), (1,)]
    parts = [part.ravel() for layer in net.layers for part in (layer.W, layer.b)]
    np.testing.assert_array_equal(np.concatenate(parts), net.parameters)
    net.layers[1].b[0] += 1
    np.testing.assert_allclose(net.predict(X), before + 1)
    net.layers[0].W = np.zeros((2, 3), dtype=np.int8)
    assert not net.parameters[:6].any()
    net.parameters[:] = 0
    assert not net.predict(X).any()
    for layer in net.layers:
        assert np.shares_memory(layer.W, net.parameters)
        assert np.shares_memory(layer.b, net.parameters)


def test_the_layers_given_are_copied_and_may_be_used_again(backend):
    layer = Dense(3, "tanh")
    net = Network(3, [layer, layer], seed=0, backend=backend)
    assert not (net.layers[0].W == net.layers[1].W).any()
    with pytest.raises(PycnnError):
        _ = layer.W


def test_summary_prints_shapes_and_counts(backend, capsys):
    Network(64, [Dense(32, "relu"), Dense(10, "softmax")], backend=backend).summary()
    shown = capsys.readouterr().out
    for text in ("(32, 64)", "(10, 32)", "2,080", "330", "2,410 parameters", backend):
        assert text in shown


def test_what_sizes_the_buffers_cannot_be_assigned(backend):
    net = Network(3, [Dense(3)], seed=0, backend=backend)
    for holder, name in (
        (net, "inputs"),
        (net, "outputs"),
        (net, "layers"),
        (net, "loss"),
        (net.layers[0], "units"),
        (net.layers[0], "activation"),
    ):
        with pytest.raises(AttributeError):
            setattr(holder, name, getattr(holder, name))


@pytest.mark.parametrize("batch", [1, 4])
def test_a_predictor_takes_its_own_shape_only(backend, batch):
    net = Network(3, [Dense(2)], seed=0, backend=backend)
    predict = net.predictor(batch)
    x = np.random.default_rng(0).normal(size=(batch, 3))
    np.testing.assert_array_equal(predict(x), net.predict(x))
    wrong = (x.T.copy() if batch > 1 else x[0, :2], x.astype(np.float32), x.tolist(), None)
    for value in (*wrong, np.zeros((batch, 6))[:, ::2]):
        with pytest.raises(pycnn.exceptions.ShapeError, match="x must be"):
            predict(value)


@pytest.mark.parametrize("y", [["a", 1] * 5, ["a", b"b"] * 5, [1, datetime.date(2020, 1, 1)] * 5])
def test_labels_of_mixed_kinds_are_refused(backend, y):
    net = Network(1, [Dense(2, "softmax")], seed=0, backend=backend)
    with pytest.raises(DataTypeError, match=r"y must hold labels of one type.*row 0 and .*row 1$"):
        net.fit(np.zeros((10, 1)), y)


@pytest.mark.parametrize("y", [["a", float("nan")] * 5, ["a", None] * 5])
def test_a_gap_among_labels_is_refused(backend, y):
    net = Network(1, [Dense(2, "softmax")], seed=0, backend=backend)
    with pytest.raises(DataError, match=r"y must .*, but is N.*at row 1$"):
        net.fit(np.zeros((10, 1)), y)


def test_a_fit_that_is_refused_late_has_learned_nothing(backend):
    sgd = SGD(pycnn.schedules.CosineDecay(0.1))  # which asks for the number of mini-batches
    labels = np.array(["a", "b", "c"])[Y]
    net = Network(3, [Dense(3, "softmax")], seed=0, backend=backend)
    with pytest.raises(DataError, match="must have a length"):
        net.fit(lambda: iter([(X, labels)]), epochs=2, optimizer=sgd)
    assert net.classes is None
    net.fit(X, Y, epochs=1)
    net.classes = None
    with pytest.raises(DataError, match="optimizer"):
        net.fit(X, labels, epochs=3, optimizer="adam", resume=True)
    assert net.classes is None
    net = Network(3, [Dense(1)], seed=0, backend=backend)
    with pytest.raises(ShapeError, match="history_size"):
        net.fit(
            X,
            X[:, 0],
            epochs=1,
            scale_targets=True,
            batch_size=None,
            optimizer=pycnn.LBFGS(history_size=2**61),
        )
    assert net.target_scale is None
