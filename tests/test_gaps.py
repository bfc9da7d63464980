"""Gaps among targets; Python objects and data frames that hold numbers, and those that do not."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from pycnn import Dense, Network
from pycnn.exceptions import DataError, DataTypeError, LabelError, ShapeError

pd = pytest.importorskip("pandas")
RNG = np.random.default_rng(1)
X = RNG.normal(size=(30, 4))
INDEX = np.arange(30) % 3


def softmax(backend):
    layers = [Dense(8, "tanh"), Dense(3, "softmax")]
    return Network(4, layers, seed=0, backend=backend)


def sigmoid(backend):
    return Network(4, [Dense(8, "tanh"), Dense(1, "sigmoid")], seed=0, backend=backend)


# ------------------------------------------------------------------ gaps among targets

GAPS = {
    "NaN": lambda labels: [np.nan if row in (0, 3) else x for row, x in enumerate(labels)],
    "None": lambda labels: [None if row in (0, 3) else x for row, x in enumerate(labels)],
    "NA": lambda labels: [pd.NA if row in (0, 3) else x for row, x in enumerate(labels)],
    "masked": lambda labels: np.ma.array(labels, mask=np.isin(np.arange(30), (0, 3))),
}
PAIRS = {
    "1 and 2": np.array([1, 2]),
    "0 and 5": np.array([0, 5]),
    "text": np.array(["no", "yes"]),
    "truth": np.array([False, True]),
    "floats": np.array([-0.5, 0.5]),
    "decimals": np.array([Decimal("0.5"), Decimal("1.5")], dtype=object),
    "dates": np.array(["2020-01-01", "2021-01-01"], dtype="M8[s]"),
}


@pytest.mark.parametrize("loss", ["binary_crossentropy", "hinge"])
@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("pair", PAIRS)
def test_labels_are_learned_from_what_was_observed(backend, pair, gap, loss):
    def make():
        output = "linear" if loss == "hinge" else "sigmoid"
        return Network(4, [Dense(1, output)], loss=loss, seed=0, backend=backend)

    labels = PAIRS[pair][INDEX // 2]
    listed = labels if gap == "masked" else labels.astype(object)
    gappy = GAPS[gap](listed)
    seen = ~np.isin(np.arange(30), (0, 3))
    net, weighted = make(), make()
    options = {"epochs": 3, "batch_size": 7, "missing_targets": "mask"}
    history = net.fit(X, gappy, validation_data=(X, gappy), **options)
    weighted.fit(X, labels, epochs=3, batch_size=7, sample_weight=seen.astype(float))
    assert net.classes.tolist() == PAIRS[pair].tolist()
    assert net.parameters.tobytes() == weighted.parameters.tobytes()
    scores = net.evaluate(X, gappy, missing_targets="mask")
    assert scores == weighted.evaluate(X, labels, seen)
    assert scores["loss"] == history["val_loss"][-1]
    right = net.predict_classes(X)[seen] == net.classes[INDEX // 2][seen]
    assert scores["accuracy"] == pytest.approx(right.mean(), rel=1e-12)
    for wrong in (make(), net):
        with pytest.raises(DataError, match=r"^y must .*, but is .* at row 0$"):
            wrong.fit(X, gappy)


def test_the_first_mini_batch_must_show_labels(backend):
    y = np.where(INDEX == 1, 2.0, 1.0)
    gaps = np.full(10, np.nan)
    net = sigmoid(backend)
    with pytest.raises(DataError, match="first mini-batch of X must have a target"):
        net.fit([(X[:10], gaps), (X[10:], y[10:])], missing_targets="mask")
    assert net.classes is net.history is None
    net.fit([(X[10:], y[10:]), (X[:10], gaps)], epochs=2, missing_targets="mask")
    assert net.classes.tolist() == [1, 2]
    net.fit([(X[:10], gaps), (X[10:], y[10:])], epochs=1, missing_targets="mask")


def test_a_gap_is_no_class(backend):
    net = sigmoid(backend)
    with pytest.raises(LabelError, match=r"labels of two classes, got 5\.0$"):
        net.fit(X[:3], [5, np.nan, 5], missing_targets="mask")
    assert net.classes is None
    net.fit(X[:4], [2, np.nan, 1, None], missing_targets="mask")
    assert net.classes.tolist() == [1, 2]
    for y in ([np.nan, 2], [2, None], [np.nan, 1]):
        assert net.evaluate(X[:2], y, missing_targets="mask")["accuracy"] in (0, 1)
    with pytest.raises(LabelError, match=r"y holds labels \(0"):
        net.evaluate(X[:2], [np.nan, 0], missing_targets="mask")
    assert np.isnan(net.evaluate(X[:2], [None, np.nan], missing_targets="mask")["accuracy"])
    assert net.classes.tolist() == [1, 2]


def test_balanced_weights_count_what_was_observed(backend):
    labels = np.repeat(["no", "yes", "no"], [5, 10, 15]).astype(object)
    labels[20:] = None
    one, other = sigmoid(backend), sigmoid(backend)
    one.fit(X, labels, class_weight="balanced", missing_targets="mask", shuffle=False)
    other.fit(X[:20], labels[:20], class_weight="balanced", shuffle=False)
    np.testing.assert_allclose(one.parameters, other.parameters, rtol=1e-12)


def test_gaps_in_several_outputs(backend):
    net, other = (Network(4, [Dense(2)], seed=0, backend=backend) for _ in range(2))
    y = X[:, :2].copy()
    y[[0, 3], [0, 1]] = np.nan
    other.fit(X, y, epochs=2, missing_targets="mask")
    objects = y.astype(object)
    objects[0, 0], objects[3, 1] = None, pd.NA
    for value in (objects, np.ma.masked_invalid(y)):
        net = Network(4, [Dense(2)], seed=0, backend=backend)
        net.fit(X, value, epochs=2, missing_targets="mask")
        assert net.parameters.tobytes() == other.parameters.tobytes()
        with pytest.raises(DataError, match=r"y must have no gaps, .* at row 0, column 0"):
            net.fit(X, value)


# ------------------------------------------------------------------ objects and data frames


def test_what_has_a_real_value_is_a_target(backend):
    wanted = Network(4, [Dense(1)], seed=0, backend=backend)
    wanted.fit(X, INDEX / 4, epochs=2)
    for convert in (
        lambda i: Decimal(int(i)) / 4,
        lambda i: Fraction(int(i), 4),
        lambda i: np.float32(i / 4),
        lambda i: Decimal("0.25") if i == 1 else i / 4,
    ):
        net = Network(4, [Dense(1)], seed=0, backend=backend)
        objects = np.array([convert(i) for i in INDEX], dtype=object)
        net.fit(X, objects, epochs=2)
        assert net.parameters.tobytes() == wanted.parameters.tobytes()
        net.evaluate(X, objects.tolist())
    with pytest.raises(DataError, match=r"y must hold numbers that a float can hold.* row 2$"):
        net.fit(X[:3], [1, 2, 10**400])


def test_a_data_frame_is_refused_by_row_and_name_of_the_column(backend):
    net = Network(2, [Dense(1)], seed=0, backend=backend)
    day = pd.Timestamp("2020-01-01")
    y = np.zeros(3)
    for column, error, message in (
        ([1.5, "ten", 2], DataTypeError, r"got 'ten' \(str\) at row 1, column 1 \('b'\)$"),
        ([day] * 3, DataTypeError, r"\(Timestamp\) at row 0, column 1 \('b'\)$"),
        (["x"] * 3, DataTypeError, r"'x' \(str\) at row 0, column 1 \('b'\)$"),
        (pd.array([1, 2, None], "Int64"), DataError, r"is NaN at row 2, column 1 \('b'\)$"),
        ([1, np.inf, 2], DataError, r"infinite at row 1, column 1 \('b'\)$"),
        (
            pd.Categorical(["u", "v", "u"]),
            DataTypeError,
            r"'u' \(str\) at row 0, column 1 \('b'\)$",
        ),
        (pd.to_timedelta([1, 2, 3]), DataTypeError, r"\(Timedelta\) at row 0, column 1 \('b'\)$"),
        ([day, pd.NaT, day], DataTypeError, r"\(Timestamp\) at row 0, column 1 \('b'\)$"),
    ):
        frame = pd.DataFrame({"a": [1, 2, 3], "b": column})
        for call in (
            net.predict,
            lambda frame: net.fit(frame, y),
            lambda frame: net.evaluate(frame, y),
        ):
            with pytest.raises(error, match="^X must .*" + message):
                call(frame)
    frame = pd.DataFrame({"a": [day] * 3, "b": [day] * 3})
    with pytest.raises(DataTypeError, match=r"got dtype datetime64.* at row 0, column 0 \('a'\)$"):
        net.predict(frame)
    frame = pd.DataFrame({"a": [1.0, 2, 3], "b": [1, None, 3]})
    pair = Network(2, [Dense(2)], seed=0, backend=backend)
    with pytest.raises(DataError, match=r"^y must be finite, .* at row 1, column 1 \('b'\)$"):
        pair.fit(np.zeros((3, 2)), frame)
    with pytest.raises(DataTypeError, match=r"^y must hold numbers, got 'x' .* column 1 \('b'\)$"):
        pair.fit(np.zeros((3, 2)), frame.assign(b=["x", 1, 2]))
    frame = pd.DataFrame({"a": [True, False], "b": pd.array([1, 2], "Int64"), "c": [0.5, 1.5]})
    wide = Network(3, [Dense(1)], seed=0, backend=backend)
    assert (wide.predict(frame) == wide.predict([[1, 1, 0.5], [0, 2, 1.5]])).all()


def test_numbers_that_are_text_are_named(backend):
    net = Network(4, [Dense(1)], seed=0, backend=backend)
    for y, message in (
        ([1.5, "ten", 2], r"y must hold numbers, got 'ten' \(str\) at row 1$"),
        (
            [1, pd.Timestamp("2020-01-01"), 2],
            r"y must hold numbers, got .* \(Timestamp\) at row 1$",
        ),
        (["1", "2", "3"], r"y must hold numbers, got '1' \(str\) at row 0$"),
        (np.array(["1", "2", "3"]), "y must hold real numbers, got dtype <U1"),
    ):
        for missing in ("error", "mask"):
            with pytest.raises(DataTypeError, match=message):
                net.fit(X[:3], y, missing_targets=missing)
    several = Network(4, [Dense(3)], seed=0, backend=backend)
    with pytest.raises(ShapeError, match=r"classes are rows such as np.eye\(3\)\[y\]$"):
        several.fit(X, INDEX)


def test_a_series_of_labels_is_what_its_values_are(backend):
    for values, classes in (
        (pd.array([1, 2, 3] * 10, "Int64"), [1, 2, 3]),
        (pd.array(["a", "b", "c"] * 10, "string"), ["a", "b", "c"]),
        (pd.Categorical(["a", "b", "c"] * 10), ["a", "b", "c"]),
    ):
        net = softmax(backend)
        net.fit(X, pd.Series(values), epochs=1)
        assert net.classes.tolist() == classes
        gappy = pd.Series(values)
        gappy[4] = None
        with pytest.raises(DataError, match=r"at row 4$"):
            net.fit(X, gappy)
