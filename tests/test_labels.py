"""Labels of any kind become classes, and come back as what they were."""

import functools
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from pycnn import Dense, Network, load
from pycnn.exceptions import DataError, DataTypeError, LabelError, ShapeError

RNG = np.random.default_rng(1)
X = RNG.normal(size=(30, 4))
INDEX = np.arange(30) % 3

# The labels of three classes, in sorted order, of each kind.
THREE = {
    "decimal": np.array([Decimal("-0.5"), Decimal("0.25"), Decimal(7)], dtype=object),
    "fractions": np.array([Fraction(-1, 2), Fraction(1, 4), Fraction(7)], dtype=object),
    "true and more": np.array([False, 2, Fraction(7, 2)], dtype=object),
    "text": np.array(["ant", "bee", "wasp"]),
    "bytes": np.array([b"ant", b"bee", b"wasp"]),
    "object": np.array(["ant", "bee", "wasp"], dtype=object),
    "object bytes": np.array([b"ant", b"bee", b"wasp"], dtype=object),
    "object numbers": np.array([1, 2.5, 3], dtype=object),
    "integers": np.array([-5, 10, 1_000_000]),
    "counted from 1": np.array([1, 2, 3]),
    "unsigned": np.array([1, 2, 200], dtype=np.uint8),
    "wide": np.array([3, 2**63, 2**64 - 1], dtype=np.uint64),
    "big-endian": np.array([7, 8, 9], dtype=">i4"),
    "floats": np.array([-0.5, 0.25, 7.0]),
    "half": np.array([-0.5, 0.25, 7.0], dtype=np.float16),
    "dates": np.array(["2001-02-03", "2004-05-06", "2030-01-01"], dtype="datetime64[D]"),
    "moments": np.array([0, 1, 10**18], dtype="datetime64[ns]"),
}
if hasattr(np.dtypes, "StringDType"):  # since NumPy 2
    THREE["variable width"] = np.array(["ant", "bee", "wasp"], dtype=np.dtypes.StringDType())


def softmax(backend, units=3):
    layers = [Dense(8, "tanh"), Dense(units, "softmax")]
    return Network(4, layers, seed=0, backend=backend)


def sigmoid(backend, units=1):
    return Network(4, [Dense(8, "tanh"), Dense(units, "sigmoid")], seed=0, backend=backend)


@functools.cache
def of_integers(backend):
    """Return a network that has learned the classes by their numbers."""
    net = softmax(backend)
    net.fit(X, INDEX, epochs=10, batch_size=5)
    return net


@pytest.mark.parametrize("kind", THREE)
def test_softmax_learns_labels_of_any_kind(backend, kind):
    labels = THREE[kind][INDEX]
    net, plain = softmax(backend), of_integers(backend)
    net.fit(X, labels, epochs=10, batch_size=5)
    assert net.parameters.tobytes() == plain.parameters.tobytes()
    assert net.classes.tolist() == THREE[kind].tolist()
    if labels.dtype.kind not in "OT":
        assert net.classes.dtype == labels.dtype
    predicted = net.predict_classes(X)
    assert predicted.shape == (30,)
    assert predicted.dtype == net.classes.dtype
    assert (predicted == net.classes[plain.predict_classes(X)]).all()
    assert net.evaluate(X, labels) == plain.evaluate(X, INDEX)
    assert net.evaluate(X, labels)["accuracy"] == (predicted == labels).mean()


@pytest.mark.parametrize("kind", THREE)
def test_one_sigmoid_unit_learns_two_labels_of_any_kind(backend, kind):
    pair = THREE[kind][1:]
    labels, bits = pair[INDEX // 2], INDEX // 2
    net, plain = sigmoid(backend), sigmoid(backend)
    net.fit(X, labels, epochs=50)
    plain.fit(X, bits, epochs=50)
    assert net.parameters.tobytes() == plain.parameters.tobytes()
    assert net.classes.tolist() == pair.tolist()
    assert (net.predict_classes(X) == net.classes[plain.predict_classes(X)]).all()
    assert net.evaluate(X, labels) == plain.evaluate(X, bits)
    net.fit(X, labels[::-1], epochs=1)  # and knows them when it goes on
    assert net.classes.tolist() == pair.tolist()


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.int8, np.float64, np.float32])
def test_integers_from_0_stand_for_themselves_even_when_some_are_missing(backend, dtype):
    net = softmax(backend, units=5)
    net.fit(X, INDEX.astype(dtype), epochs=1)
    assert net.classes.tolist() == [0, 1, 2, 3, 4]
    assert net.classes.dtype == net.predict_classes(X).dtype == dtype
    assert net.evaluate(X, np.full(30, 4))["loss"] > 0


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_integers_too_narrow_for_all_units_stand_for_themselves(backend, dtype):
    net = Network(4, [Dense(300, "softmax")], seed=0, backend=backend)
    net.fit(X, INDEX.astype(dtype), epochs=1)
    assert net.classes.tolist() == list(range(300))
    net.evaluate(X, np.full(30, 299))


def test_moments_with_a_time_zone_are_those_of_utc(backend):
    zone = timezone(timedelta(hours=2))
    labels = [datetime(2020, 1, 1 + day, tzinfo=zone) for day in INDEX]
    net = softmax(backend)
    net.fit(X, labels, epochs=1)
    assert net.classes.tolist() == [
        datetime(2019, 12, 31, 22),
        *(datetime(2020, 1, d, 22) for d in (1, 2)),
    ]
    mixed = [*labels[:-1], datetime(2020, 1, 1)]
    with pytest.raises(DataTypeError, match="with a time zone and without one"):
        softmax(backend).fit(X, mixed)


def test_two_truth_values_are_classes(backend):
    truth = INDEX > 0
    for net in (softmax(backend, 2), sigmoid(backend)):
        net.fit(X, truth, epochs=1)
        assert net.classes.tolist() == [False, True]
        assert net.classes.dtype == net.predict_classes(X).dtype == bool


def test_the_order_of_the_labels_in_the_data_does_not_matter(backend):
    net = softmax(backend)
    net.fit(X, THREE["text"][INDEX][::-1], epochs=1)
    assert net.classes.tolist() == ["ant", "bee", "wasp"]


def test_a_column_of_targets_is_a_vector_of_targets(backend):
    for make, labels in ((softmax, THREE["text"][INDEX]), (sigmoid, INDEX > 0), (softmax, INDEX)):
        one, other = make(backend), make(backend)
        one.fit(X, labels, epochs=2)
        other.fit(X, labels[:, None], epochs=2)
        assert one.parameters.tobytes() == other.parameters.tobytes()
        assert one.classes.tolist() == other.classes.tolist()
    one, other = (Network(4, [Dense(1)], seed=0, backend=backend) for _ in range(2))
    one.fit(X, X[:, 0], epochs=2)
    other.fit(X, X[:, :1], epochs=2)
    assert one.parameters.tobytes() == other.parameters.tobytes()


def test_one_hot_rows_are_labels(backend):
    one, other = softmax(backend), softmax(backend)
    one.fit(X, INDEX, epochs=3)
    other.fit(X, np.eye(3, dtype=int)[INDEX], epochs=3)
    np.testing.assert_allclose(one.parameters, other.parameters, rtol=1e-13)
    assert other.classes.tolist() == [0, 1, 2]
    assert other.predict_classes(X).shape == (30,)


def test_one_hot_rows_keep_the_classes_that_were_learned(backend):
    net = softmax(backend)
    net.fit(X, THREE["text"][INDEX], epochs=1)
    net.fit(X, np.eye(3)[INDEX], epochs=1)
    assert net.classes.tolist() == ["ant", "bee", "wasp"]
    assert net.evaluate(X, np.eye(3)[INDEX]) == net.evaluate(X, THREE["text"][INDEX])


def test_soft_labels_are_targets(backend):
    soft = RNG.dirichlet([1, 1, 1], size=30)
    net = softmax(backend)
    loss = -(soft * np.log(net.predict(X))).sum(axis=1).mean()
    assert net.evaluate(X, soft)["loss"] == pytest.approx(loss, rel=1e-12)
    net.fit(X, soft, epochs=5)
    assert net.evaluate(X, soft)["loss"] < loss
    share = RNG.random(30)
    net = sigmoid(backend)
    a = net.predict(X)[:, 0]
    loss = -(share * np.log(a) + (1 - share) * np.log(1 - a)).mean()
    assert net.evaluate(X, share)["loss"] == pytest.approx(loss, rel=1e-12)
    net.fit(X, share, epochs=2)
    assert set(net.predict_classes(X)) <= {0, 1}


def test_several_sigmoid_units_are_several_answers(backend):
    tags = np.array([INDEX == 0, X[:, 0] > 0, INDEX > 0]).T
    net = sigmoid(backend, units=3)
    net.fit(X, tags, epochs=300, batch_size=5)
    answers = net.predict_classes(X)
    assert net.classes is None
    assert answers.shape == (30, 3)
    assert answers.dtype.kind == "i"
    assert set(answers.ravel().tolist()) <= {0, 1}
    assert net.evaluate(X, tags)["accuracy"] == pytest.approx((answers == tags).mean(), rel=1e-12)
    assert (answers[:, 1] == tags[:, 1]).mean() > 0.9


def test_accuracy_counts_by_weight(backend):
    net, weight = softmax(backend), RNG.random(30)
    right = net.predict_classes(X) == INDEX
    expected = (right * weight).sum() / weight.sum()
    assert net.evaluate(X, INDEX, weight)["accuracy"] == pytest.approx(expected, rel=1e-12)


def test_an_unfitted_network_answers_with_class_indices(backend):
    for net in (softmax(backend), sigmoid(backend)):
        assert net.classes is None
        answers = net.predict_classes(X)
        assert answers.dtype.kind == "i"
        assert set(answers.tolist()) <= set(range(max(2, net.outputs)))
    assert softmax(backend).evaluate(X, INDEX)["loss"] > 0


TEXT = THREE["text"][INDEX]


@pytest.mark.parametrize(
    ("make", "units", "labels", "error", "message"),
    [
        (softmax, 4, TEXT, LabelError, "3 classes .*4 units"),
        (softmax, 2, TEXT, LabelError, "3 classes .*2 units"),
        (softmax, 2, INDEX, LabelError, r"outside 0 \.\.\. 1 .*3 classes"),
        (softmax, 4, INDEX + 1.5, LabelError, "3 classes"),
        (softmax, 2, np.full(30, "one"), LabelError, "1 classes"),
        (sigmoid, 1, TEXT, LabelError, "two classes.*'wasp'"),
        (sigmoid, 1, INDEX, LabelError, r"values in \[0, 1\], or labels of two classes"),
        (sigmoid, 1, np.full(30, "one"), LabelError, "two classes"),
        (sigmoid, 3, TEXT, DataTypeError, "y must hold real numbers"),
        (sigmoid, 3, INDEX, ShapeError, r"y must have shape \(30, 3\)"),
        (sigmoid, 2, 2.0 * np.eye(2)[INDEX // 2], DataError, r"y must lie in \[0, 1\]"),
        (softmax, 3, np.eye(3)[INDEX] * 0.9, DataError, "row of y must add up to 1; row 0"),
        (softmax, 3, np.eye(4)[INDEX], ShapeError, r"y must have shape \(30, 3\), got \(30, 4\)"),
        (softmax, 3, np.array([1, "a", 2] * 10, dtype=object), DataTypeError, "one type"),
        (softmax, 3, np.array(["NaT"] * 30, dtype="datetime64[D]"), DataError, "NaT"),
        (softmax, 3, INDEX * 1j, DataTypeError, "complex"),
        (softmax, 3, np.where(INDEX == 1, np.nan, INDEX), DataError, "y must be finite.*row 1"),
    ],
)
def test_labels_that_do_not_fit_the_network_are_refused(
    backend, make, units, labels, error, message
):
    net = make(backend, units)
    with pytest.raises(error, match=message) as caught:
        net.fit(X, labels)
    assert isinstance(caught.value, ValueError)
    assert net.classes is net.history is None
    assert net.epochs_trained == 0


@pytest.mark.parametrize(
    "wrong",
    [
        np.array(["ant", "cow", "wasp"])[INDEX],
        INDEX,
        np.array([b"ant", b"bee", b"wasp"])[INDEX],
        THREE["dates"][INDEX],
    ],
    ids=["unseen", "numbers", "bytes", "dates"],
)
def test_a_label_that_was_not_learned_is_refused_and_named(backend, wrong):
    net = softmax(backend)
    net.fit(X, TEXT, epochs=1)
    before = net.parameters.tobytes()
    for call in (net.evaluate, net.gradients, net.trace, net.fit):
        with pytest.raises(LabelError, match=r"y holds labels.*'ant', 'bee', 'wasp'"):
            call(X, wrong)
    with pytest.raises(LabelError, match="validation y holds labels"):
        net.fit(X, TEXT, validation_data=(X, wrong))
    with pytest.raises(LabelError, match="class_weight names 'cow'"):
        net.fit(X, TEXT, class_weight={"cow": 2.0})
    assert net.parameters.tobytes() == before
    assert net.history.epochs == net.epochs_trained == 1


def test_validation_labels_are_held_to_the_classes_just_learned(backend):
    net = softmax(backend)
    with pytest.raises(LabelError, match=r"validation y.*'cow'"):
        net.fit(X, TEXT, validation_data=(X[:1], ["cow"]))
    assert net.classes is net.history is None
    history = net.fit(X, TEXT, epochs=2, validation_data=(X[:1], ["bee"]))
    assert len(history["val_accuracy"]) == 2


@pytest.mark.parametrize("make", [softmax, sigmoid])
def test_a_network_that_has_learned_no_classes_says_so(backend, make):
    labels = THREE["text"][INDEX if make is softmax else INDEX // 2]
    for method in ("evaluate", "gradients", "trace"):
        with pytest.raises(LabelError, match="has learned no classes yet: fit it first"):
            getattr(make(backend), method)(X, labels)


# ------------------------------------------------------------------ one-hot targets with mse


def with_mse(backend, units=3, output="linear"):
    layers = [Dense(8, "tanh"), Dense(units, output)]
    return Network(4, layers, loss="mse", seed=0, backend=backend)


@pytest.mark.filterwarnings("ignore:all 90 targets are 0 or 1")  # which here is meant
@pytest.mark.parametrize("output", ["linear", "tanh", "softmax"])
@pytest.mark.parametrize("batch_size", [1, 7, None])
def test_one_hot_targets_with_mse_are_classes(backend, output, batch_size, tmp_path):
    net, one_hot = with_mse(backend, output=output), np.eye(3)[INDEX]
    assert net.evaluate(X, one_hot).keys() == {"loss", "r2"}  # they have not been learned
    history = net.fit(
        X, one_hot, epochs=4, batch_size=batch_size, validation_data=(X[:9], one_hot[:9])
    )
    assert net.classes.tolist() == [0, 1, 2]
    predicted = net.predict_classes(X)
    assert (predicted == net.predict(X).argmax(axis=1)).all()
    scores = net.evaluate(X, one_hot)
    assert list(scores) == ["loss", "accuracy", "r2"]
    assert scores["accuracy"] == net.score(X, one_hot) == (predicted == INDEX).mean()
    assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy", "val_r2"]
    assert history["val_accuracy"][-1] == (predicted == INDEX)[:9].mean()
    weight = RNG.random(30)
    expected = np.average(predicted == INDEX, weights=weight)
    assert net.score(X, one_hot, weight) == pytest.approx(expected, rel=1e-12)
    net.save(tmp_path / "model", training_state=True)
    other = load(tmp_path / "model", backend=backend)
    assert (other.predict_classes(X) == predicted).all()
    assert other.evaluate(X, one_hot) == scores


def test_the_accuracy_of_an_epoch_is_that_before_each_update(backend):
    net, one_hot = with_mse(backend), np.eye(3)[INDEX]
    before = net.predict(X).argmax(axis=1)
    history = net.fit(X, one_hot, epochs=1, batch_size=None)
    assert history["accuracy"] == [(before == INDEX).mean()]
    net = with_mse(backend)
    net.fit(X, one_hot, epochs=1, batch_size=None, optimizer="lbfgs")
    assert net.history["accuracy"] == [net.score(X, one_hot)]


def test_targets_that_are_not_one_hot_are_numbers(backend):
    one_hot = np.eye(3)[INDEX]
    for y in (
        np.where(INDEX[:, None] == 1, 0.0, one_hot),  # rows of nothing
        np.where(np.arange(30)[:, None] == 7, [1.0, 1.0, 0.0], one_hot),  # two at once
        np.where(np.arange(30)[:, None] == 7, [0.5, 0.5, 0.0], one_hot),
        np.where(np.arange(30)[:, None] == 7, [2.0, -1.0, 0.0], one_hot),
        2 * one_hot,
        one_hot * (1 - 1e-12),
    ):
        net = with_mse(backend)
        history = net.fit(X, y, epochs=1, validation_data=(X, one_hot))
        assert net.classes is None
        assert list(history) == ["loss", "val_loss", "val_r2"]
        with pytest.raises(LabelError, match="no classes"):
            net.predict_classes(X)
    # One output has no classes, and numbers that follow make a regression of it again.
    net = Network(4, [Dense(1)], seed=0, backend=backend)
    net.fit(X, np.ones(30), epochs=1)
    assert net.classes is None
    net = with_mse(backend)
    net.fit(X, one_hot, epochs=1)
    assert "accuracy" not in net.evaluate(X, 2 * one_hot)
    net.fit(X, 2 * one_hot, epochs=1)
    assert net.classes is None
    assert list(net.history) == ["loss"]
    # Labels need a loss that is for them.
    with pytest.raises(ShapeError, match=r"y must have shape \(30, 3\), got \(30,\)"):
        net.fit(X, INDEX)


def test_one_hot_targets_of_any_kind(backend):
    wanted = with_mse(backend)
    wanted.fit(X, np.eye(3)[INDEX], epochs=2)
    for y in (
        np.eye(3, dtype=bool)[INDEX],
        np.eye(3, dtype=np.uint8)[INDEX],
        np.eye(3).astype(object)[INDEX],
        np.asfortranarray(np.eye(3, dtype=np.float32)[INDEX]),
    ):
        net = with_mse(backend)
        net.fit(X, y, epochs=2)
        assert net.parameters.tobytes() == wanted.parameters.tobytes()
        assert net.classes.tolist() == [0, 1, 2]
    gappy = np.eye(3)[INDEX]
    gappy[[0, 8]] = np.nan
    net = with_mse(backend)
    history = net.fit(X, gappy, epochs=2, missing_targets="mask")
    assert net.classes.tolist() == [0, 1, 2]
    known = np.delete(np.arange(30), [0, 8])
    accuracy = (net.predict_classes(X) == INDEX)[known].mean()
    assert net.score(X, gappy, missing_targets="mask") == pytest.approx(accuracy, rel=1e-12)
    assert "accuracy" in history


def test_one_hot_targets_in_mini_batches(backend):
    one_hot = np.eye(3)[INDEX]
    net = with_mse(backend)
    net.fit([(X[:10], one_hot[:10]), (X[10:], one_hot[10:])], epochs=2)
    assert net.classes.tolist() == [0, 1, 2]
    assert list(net.history) == ["loss", "accuracy"]
    net = with_mse(backend)
    for _ in range(2):
        assert list(net.train_on_batch(X, one_hot)) == ["loss", "accuracy"]
    # In a regression a row that happens to be one-hot changes nothing.
    net = with_mse(backend)
    net.partial_fit(X, X[:, :3])
    net.partial_fit(X[:1], [[0.0, 1.0, 0.0]])
    assert net.classes is None
    assert list(net.history) == ["loss"]


def test_class_weights_of_one_hot_targets_with_mse(backend):
    labels = np.minimum(INDEX, 1)
    one, other = with_mse(backend, 2), with_mse(backend, 2)
    one.fit(X, np.eye(2)[labels], class_weight={1: 3.0}, shuffle=False)
    other.fit(X, np.eye(2)[labels], sample_weight=np.array([1.0, 3.0])[labels], shuffle=False)
    assert one.parameters.tobytes() == other.parameters.tobytes()


# ------------------------------------------------------------------ probabilities, the score


def test_probabilities_are_in_the_order_of_the_classes(backend):
    net = softmax(backend)
    net.fit(X, TEXT, epochs=2)
    probabilities = net.predict_proba(X)
    assert probabilities.shape == (30, 3)
    assert (probabilities == net.predict(X)).all()
    assert (net.classes[probabilities.argmax(axis=1)] == net.predict_classes(X)).all()
    net = sigmoid(backend)
    net.fit(X, np.where(INDEX == 1, "yes", "no"), epochs=2)
    probabilities = net.predict_proba(X)
    assert probabilities.shape == (30, 2)
    assert (probabilities[:, 1] == net.predict(X)[:, 0]).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-15)
    assert (net.predict_proba(X[4:5])[0] == probabilities[4]).all()
    chosen = net.classes[(probabilities[:, 1] > 0.5).astype(int)]
    assert (chosen == net.predict_classes(X)).all()
    several = sigmoid(backend, units=3)
    assert (several.predict_proba(X) == several.predict(X)).all()
    divergence = Network(4, [Dense(2, "softmax")], loss="kl_divergence", seed=0, backend=backend)
    assert divergence.predict_proba(X).shape == (30, 2)


@pytest.mark.parametrize(
    ("loss", "output"),
    [("mse", "linear"), ("mse", "softmax"), ("hinge", "linear"), ("poisson", "softmax")],
)
def test_outputs_that_are_no_probabilities_are_refused(backend, loss, output):
    net = Network(4, [Dense(3, output)], loss=loss, seed=0, backend=backend)
    with pytest.raises(LabelError, match=f"loss '{loss}' gives no probabilities"):
        net.predict_proba(X)


def test_the_score_is_the_accuracy_or_r2(backend):
    for net, y in ((softmax(backend), INDEX), (sigmoid(backend), INDEX > 0)):
        assert net.score(X, y) == net.evaluate(X, y)["accuracy"]
    weight = RNG.random(30)
    assert net.score(X, y, weight) == net.evaluate(X, y, weight)["accuracy"]
    for loss in ("mse", "mae", "huber", "quantile", own_squares):
        net = Network(4, [Dense(2)], loss=loss, seed=0, backend=backend)
        other = Network(4, [Dense(2)], seed=0, backend=backend)
        y = X[:, :2] + 0.1 * X[:, 2:]
        expected = other.evaluate(X, y, weight)["r2"]
        assert net.score(X, y, weight) == pytest.approx(expected, rel=1e-12)
        assert type(net.score(X, y)) is float
    gappy = np.where(RNG.random(y.shape) < 0.2, np.nan, y)
    expected = other.evaluate(X, gappy, missing_targets="mask")["r2"]
    assert other.score(X, gappy, missing_targets="mask") == expected
    with pytest.raises(DataError, match="y must be finite"):
        other.score(X, gappy)


def own_squares(outputs, targets):
    error = outputs - targets
    return (error**2).sum(axis=1), 2 * error


@pytest.mark.parametrize("make", [softmax, sigmoid])
def test_an_output_that_is_nan_has_no_class(backend, make):
    net = make(backend)
    net.fit(X, TEXT if make is softmax else TEXT == "ant", epochs=1)
    net.layers[0].W[0, 0] = np.nan
    with pytest.raises(DataError, match="output is NaN at row 0 of X, which is no class"):
        net.predict_classes(X)
    with pytest.raises(DataError, match="output is NaN"):
        net.predict_proba(X)
    scores = net.evaluate(X, TEXT if make is softmax else TEXT == "ant")
    assert np.isnan(scores["loss"])
    assert np.isnan(scores["accuracy"])


def test_a_network_for_regression_has_no_classes(backend):
    net = Network(4, [Dense(1)], seed=0, backend=backend)
    with pytest.raises(LabelError, match="use predict"):
        net.predict_classes(X)
    with pytest.raises(DataTypeError, match="y must hold real numbers"):
        net.fit(X, TEXT)
    with pytest.raises(DataError, match="class_weight"):
        net.fit(X, X[:, 0], class_weight="balanced")
