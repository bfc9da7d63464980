"""The estimators beside scikit-learn's own, and networks that come and go by their weights."""

import itertools
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import pycnn
from pycnn import BatchNorm, Dense, Dropout, Network
from pycnn.exceptions import DataError, DataTypeError

RNG = np.random.default_rng(5)
X = RNG.normal(size=(110, 6))
TWO = (X[:, 0] + X[:, 1] ** 2 > 0.5).astype(int)
THREE = np.digitize(X[:, 0] - X[:, 1], [-0.5, 0.5])
SEVERAL = np.stack([TWO, X[:, 2] > 0], axis=1).astype(int)
NUMBERS = X[:, 0] * X[:, 1] + 0.1 * RNG.normal(size=110)
WEIGHTS = RNG.uniform(0, 2, size=110)
WHOLE = any(
    os.environ.get(name, "") not in ("", "0") for name in ("PYCNN_NO_SKIPS", "PYCNN_EVERY_COMPILER")
)


@pytest.fixture
def theirs():
    return pytest.importorskip("sklearn.neural_network")


@pytest.fixture
def ours(theirs):
    import pycnn.sklearn

    return pycnn.sklearn


def quietly(estimator, *data, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(*data, **more)


# ------------------------------------------------------------------ the same numbers

CASES = {  # all of 30 rows a mini-batch, so that the last one is smaller
    "sgd": (THREE, {"solver": "sgd"}),
    "sgd, without momentum, in order": (TWO, {"solver": "sgd", "momentum": 0, "shuffle": False}),
    "sgd, invscaling": (TWO, {"solver": "sgd", "learning_rate": "invscaling", "alpha": 0.1}),
    "sgd, adaptive": (
        TWO,
        {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 1},
    ),
    "sgd, with weights": (TWO, {"solver": "sgd", "alpha": 0.1}),
    "adam": (THREE, {"activation": "tanh", "hidden_layer_sizes": (9, 5)}),
    "adam, until a part that is held out no longer improves": (
        TWO,
        {"early_stopping": True, "n_iter_no_change": 3},
    ),
    "adam, several labels at once": (SEVERAL, {"activation": "logistic"}),
    "adam, numbers": (NUMBERS, {"activation": "identity", "early_stopping": True}),
    "adam, several numbers": (np.stack([NUMBERS, X[:, 3]], axis=1), {}),
    "adam, counts": (TWO + THREE, {"loss": "poisson"}),
    "lbfgs": (THREE, {"solver": "lbfgs"}),
    "lbfgs, with weights": (NUMBERS, {"solver": "lbfgs", "alpha": 0.1}),
}
REGRESSION = {name for name in CASES if "numbers" in name or "counts" in name}
REGRESSION |= {"lbfgs, with weights"}


@pytest.mark.parametrize("name", CASES)
def test_the_same_random_state_gives_scikit_learns_numbers(theirs, ours, name):
    y, settings = CASES[name]
    given = {"sample_weight": WEIGHTS} if "weights" in name else {}
    if given or "loss" in settings:
        pytest.importorskip("sklearn", "1.7")  # has neither before
    kind = "MLPRegressor" if name in REGRESSION else "MLPClassifier"
    settings = {"hidden_layer_sizes": 8, "batch_size": 30, "max_iter": 20, **settings}
    their, own = (
        quietly(
            getattr(module, kind)(learning_rate_init=0.02, random_state=3, **settings),
            X,
            y,
            **given,
        )
        for module in (theirs, ours)
    )
    tolerance = 1e-12 if "lbfgs" not in name else 1e-8  # whose steps are long
    for attribute in ("coefs_", "intercepts_"):
        for a, b in zip(getattr(own, attribute), getattr(their, attribute), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)
    for attribute in ("n_iter_", "n_layers_", "n_outputs_", "out_activation_", "t_"):
        assert getattr(own, attribute) == getattr(their, attribute)
    np.testing.assert_allclose(own.predict(X), their.predict(X), rtol=1e-7)
    if "several numbers" in name:
        np.testing.assert_allclose(own.loss_curve_, their.loss_curve_, rtol=1e-3)
    elif "lbfgs" not in name:
        np.testing.assert_allclose(own.loss_curve_, their.loss_curve_, rtol=1e-12)
        assert (own.best_loss_ is None) == (their.best_loss_ is None)
        assert (own.validation_scores_ is None) == (their.validation_scores_ is None)
        if own.validation_scores_ is not None:
            np.testing.assert_allclose(own.validation_scores_, their.validation_scores_)


def test_parameters_are_scikit_learns_and_some_more(theirs, ours):
    more = {"dropout", "batch_norm", "callbacks", "optimizer", "backend"}
    for kind, own in (("MLPClassifier", more | {"class_weight"}), ("MLPRegressor", more)):
        known = getattr(theirs, kind)().get_params() | {}
        given = getattr(ours, kind)().get_params()
        since_1_7 = {"loss"} if kind == "MLPRegressor" else set()
        assert given.keys() - since_1_7 == (known.keys() | own) - since_1_7
        assert known.items() <= given.items()


def test_both_backends_learn_the_same(ours, backend):
    learned = [
        quietly(ours.MLPClassifier(8, max_iter=5, random_state=0, backend=name), X, THREE)
        for name in ("auto", backend)
    ]
    np.testing.assert_allclose(learned[0].coefs_[0], learned[1].coefs_[0], rtol=0, atol=1e-12)


def test_sparse_rows_are_learned_as_others_are(ours):
    sparse = pytest.importorskip("scipy.sparse")
    for solver in ("adam", "lbfgs"):
        dense, thin = (
            quietly(
                ours.MLPRegressor(hidden_layer_sizes=8, solver=solver, max_iter=5, random_state=0),
                x,
                NUMBERS,
            )
            for x in (X, sparse.csc_array(X))
        )
        np.testing.assert_allclose(thin.coefs_[0], dense.coefs_[0], rtol=0, atol=1e-12)
    assert (thin.predict(sparse.csr_array(X)) == thin.predict(X)).all()


# ------------------------------------------------------------------ what goes beyond it


def test_balanced_classes_are_balanced_samples(ours):
    from sklearn.utils import compute_sample_weight

    settings = {"hidden_layer_sizes": 8, "max_iter": 5, "batch_size": 30, "random_state": 0}
    balanced = quietly(ours.MLPClassifier(class_weight="balanced", **settings), X, THREE)
    weight = compute_sample_weight("balanced", THREE)
    weighted = quietly(ours.MLPClassifier(**settings), X, THREE, weight)
    assert balanced.network_.parameters.tobytes() == weighted.network_.parameters.tobytes()
    by_hand = dict(zip(THREE.tolist(), weight.tolist(), strict=True))
    with pytest.raises(ValueError, match="balanced"):
        ours.MLPClassifier(class_weight="balanced").partial_fit(X, THREE, classes=[0, 1, 2])
    part = ours.MLPClassifier(class_weight=by_hand).partial_fit(X, THREE, classes=[0, 1, 2])
    assert part.n_iter_ == 1


def test_layers_may_differ_and_callbacks_hear_of_each_epoch(ours):
    heard = []

    def hear(network, epoch, logs):
        heard.append(logs)
        network.stop_training = epoch == 7

    clf = ours.MLPClassifier(
        (9, 7),
        ["gelu", "logistic"],
        dropout=[0.1, 0.2],
        batch_norm=True,
        max_iter=30,
        optimizer=pycnn.AdamW(pycnn.schedules.CosineDecay(0.02)),
        random_state=0,
        callbacks=[hear, pycnn.callbacks.EarlyStopping("val_loss", patience=20)],
    )
    quietly(clf, X, THREE, validation_data=(X, THREE))
    assert clf.n_iter_ == len(heard) == clf.history_.epochs == 7
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} == heard[0].keys()
    assert clf.validation_scores_ == clf.history_["val_accuracy"]
    assert [layer.activation for layer in clf.network_.layers][1::3] == ["gelu", "sigmoid"]
    assert [coef.shape for coef in clf.coefs_] == [(6, 9), (9, 7), (7, 3)]
    again = quietly(clf.set_params(callbacks=None), X, THREE)
    assert again.n_iter_ == 30


def test_early_stopping_goes_by_validation_data_and_ends_with_the_best(ours):
    held_out = X[:40], NUMBERS[:40]
    reg = ours.MLPRegressor(
        hidden_layer_sizes=8, max_iter=40, early_stopping=True, random_state=1, tol=0
    )
    quietly(reg.set_params(learning_rate_init=0.05), X[40:], NUMBERS[40:], validation_data=held_out)
    assert reg.best_validation_score_ == max(reg.validation_scores_)
    assert reg.score(*held_out) == pytest.approx(reg.best_validation_score_, abs=1e-12)


def test_coefs_are_the_networks_and_can_be_set(ours):
    reg = quietly(ours.MLPRegressor(hidden_layer_sizes=8, max_iter=2, random_state=0), X, NUMBERS)
    reg.coefs_[0][:] = 0.0
    assert not reg.network_.layers[0].W.any()
    reg.coefs_ = [np.ones((6, 8)), np.ones((8, 1))]
    reg.intercepts_ = [np.zeros(8), np.ones(1)]
    np.testing.assert_allclose(reg.predict(X), 8 * np.maximum(X.sum(axis=1), 0) + 1)


def test_an_item_of_coefs_can_be_set_and_keeps_its_shape(ours):
    reg = quietly(ours.MLPRegressor(hidden_layer_sizes=8, max_iter=2, random_state=0), X, NUMBERS)
    reg.coefs_[0], reg.intercepts_[-1] = np.ones((6, 8)), [3.0]
    assert np.array_equal(pickle.loads(pickle.dumps(reg.coefs_))[0], reg.coefs_[0])
    assert (reg.network_.layers[0].W == 1).all()
    assert reg.network_.layers[1].b == 3
    before = reg.network_.theta.copy()
    with pytest.raises(ValueError, match="keep their shapes"):
        reg.coefs_[0] = np.ones((1, 8))
    for name in ("coefs_", "intercepts_"):
        with pytest.raises(ValueError, match="keep their shapes"):
            setattr(reg, name, [getattr(reg, name)[0] + 1, 1.0])
    assert (reg.network_.theta == before).all()


def test_y_of_another_width_is_refused_wherever_it_comes_in(ours, backend):
    settings = {"hidden_layer_sizes": 5, "max_iter": 2, "random_state": 0, "backend": backend}
    for wide, thin in [(X[:, :2], NUMBERS), (NUMBERS, X[:, :2])]:
        for solver in ("adam", "lbfgs"):
            reg = ours.MLPRegressor(warm_start=True, solver=solver, **settings)
            quietly(reg, X, wide)
            with pytest.raises(ValueError, match=r"y has . columns, fitted with ."):
                reg.fit(X, thin)
            with pytest.raises(ValueError, match=r"y has . columns, fitted with ."):
                reg.fit(X, wide, validation_data=(X, thin))
            assert reg.predict(X).shape == wide.shape
    with pytest.raises(ValueError, match=r"y has . columns, fitted with ."):
        reg.set_params(solver="adam").partial_fit(X, wide[:, None] * np.ones(3))
    several = ours.MLPClassifier(**settings).partial_fit(X, SEVERAL, classes=[0, 1])
    with pytest.raises(ValueError, match="a column for each label"):
        several.partial_fit(X, TWO)
    with pytest.raises(ValueError, match="a column for each label"):
        several.fit(X, SEVERAL, validation_data=(X, TWO))
    one = quietly(ours.MLPClassifier(**settings), X, THREE)
    with pytest.raises(ValueError, match="label"):
        one.partial_fit(X, SEVERAL)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_layer_sizes", (5, 5)),
        ("activation", "tanh"),
        ("dropout", 0.1),
        ("batch_norm", True),
        ("loss", "poisson"),
    ],
)
def test_a_warm_start_refuses_what_would_be_other_layers(ours, name, value):
    counts = TWO + THREE
    reg = ours.MLPRegressor(hidden_layer_sizes=5, warm_start=True, max_iter=2, random_state=0)
    before = quietly(reg, X, counts).predict(X)
    reg.set_params(**{name: value})
    with pytest.raises(ValueError, match=f"{name} must not change where warm_start"):
        reg.fit(X, counts)
    with pytest.raises(ValueError, match=f"{name} must not change"):
        reg.partial_fit(X, counts)
    assert (reg.predict(X) == before).all()
    quietly(reg.set_params(warm_start=False), X, counts)


def test_early_stopping_that_begins_later_keeps_what_was_trained(ours):
    held_out = X[:40], TWO[:40]
    clf = ours.MLPClassifier(8, learning_rate_init=0.05, max_iter=30, random_state=0)
    quietly(clf, X, TWO, validation_data=held_out)
    trained = clf.score(*held_out)
    clf.set_params(early_stopping=True, warm_start=True, learning_rate_init=1e-9, max_iter=2)
    quietly(clf, X, TWO, validation_data=held_out)
    assert clf.score(*held_out) == clf.best_validation_score_ == trained > 0.8
    quietly(clf, X, TWO, validation_data=(X[:40], 1 - TWO[:40]))  # where nothing is better
    assert clf.best_validation_score_ == pytest.approx(1 - trained)


def test_lbfgs_measures_validation_data_after_each_iteration(ours):
    watch = pycnn.callbacks.EarlyStopping("val_loss", patience=50)
    clf = ours.MLPClassifier(5, solver="lbfgs", max_iter=6, random_state=0, callbacks=watch)
    quietly(clf, X, THREE, validation_data=(X, THREE))
    assert clf.history_["val_accuracy"] == clf.validation_scores_
    assert len(clf.validation_scores_) == clf.n_iter_ == 6
    assert clf.validation_scores_[-1] == clf.score(X, THREE)
    assert clf.best_validation_score_ == max(clf.validation_scores_)
    assert clf.history_["val_loss"][-1] == pytest.approx(clf.loss_, abs=1e-3)


@pytest.mark.parametrize(
    "settings",
    [
        {"early_stopping": True},
        {"class_weight": "balanced"},
        {"optimizer": pycnn.AdamW(pycnn.schedules.CosineDecay(0.02))},
    ],
)
def test_a_partial_fit_that_is_refused_leaves_no_estimator_that_seems_fitted(ours, settings):
    clf = ours.MLPClassifier(5, **settings)
    with pytest.raises(ValueError, match=r"partial_fit"):
        clf.partial_fit(X, TWO, classes=[0, 1])
    assert not hasattr(clf, "classes_")
    reg = ours.MLPRegressor(early_stopping=True)
    with pytest.raises(ValueError, match="early_stopping"):
        reg.partial_fit(X, NUMBERS)
    assert not hasattr(reg, "network_")


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_fit_that_is_refused_leaves_the_estimator_as_it_was(ours, solver):
    frame = X[:, :3]
    gap = np.where(np.arange(len(X)) == 5, np.nan, X.T).T
    new, old = (ours.MLPClassifier(5, solver=solver, max_iter=2, random_state=0) for _ in range(2))
    quietly(old, X, THREE)
    expected = old.predict_proba(X)
    for clf in (new, old):
        before = dict(vars(clf))
        for refused in (
            lambda clf: clf.fit(frame, TWO, validation_data=(frame, np.arange(len(X)))),
            lambda clf: clf.fit(frame, TWO, validation_data=(X, TWO)),
            lambda clf: clf.fit(frame, TWO, validation_data=(gap[:, :3], TWO)),
            lambda clf: clf.fit(frame, TWO, -np.ones(len(X))),
            lambda clf: clf.fit(frame[:9], TWO[:8]),
            lambda clf: clf.fit(frame, X[:, 0]),
            lambda clf: clf.fit(gap, TWO),
        ):
            with pytest.raises(ValueError, match=r".+"):
                refused(clf)
            assert vars(clf).keys() == before.keys()
            assert all(vars(clf)[name] is value for name, value in before.items())
    assert (old.predict_proba(X) == expected).all()
    for changed in (
        {"class_weight": {0: -1, 1: 1}},
        {"callbacks": 5},
        {"batch_norm": True, "solver": "lbfgs"},
        {"early_stopping": True, "validation_fraction": 0.001, "solver": "adam"},
    ):
        clf = ours.MLPClassifier(5, max_iter=2, **changed)
        before = dict(vars(clf))
        with pytest.raises((ValueError, TypeError)):
            clf.fit(X, TWO)
        assert vars(clf) == before
    clf = ours.MLPClassifier(5)
    with pytest.raises(ValueError, match=r".+"):
        clf.partial_fit(frame, THREE, classes=[0, 1])  # whose labels are three
    assert not hasattr(clf, "classes_")
    clf.partial_fit(X, THREE, classes=[0, 1, 2])


def test_partial_fit_goes_on_where_fit_and_pickles_have_left_it(theirs, ours):
    their, own = (m.MLPClassifier(8, solver="sgd", random_state=0) for m in (theirs, ours))
    for rows in (slice(50), slice(50, 70), slice(110)):
        for clf in (their, own):
            clf.partial_fit(X[rows], THREE[rows], classes=[0, 1, 2])
        own = pickle.loads(pickle.dumps(own))
    np.testing.assert_allclose(own.coefs_[0], their.coefs_[0], rtol=0, atol=1e-12)
    assert not hasattr(ours.MLPClassifier(solver="lbfgs"), "partial_fit")


def test_labels_and_names_reach_the_network_and_its_file(ours, tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcdef"))
    words = np.array(["no", "yes"], dtype=object)[TWO]
    clf = quietly(ours.MLPClassifier(8, max_iter=5), frame, words)
    clf.network_.save(tmp_path / "model.safetensors")
    net = pycnn.load(tmp_path / "model.safetensors")
    assert net.feature_names == tuple("abcdef")
    assert net.predict_classes(frame).tolist() == clf.predict(frame).tolist()


def test_what_diverges_is_an_error_or_stays_the_best(ours):
    settings = {"solver": "sgd", "learning_rate_init": 1e3, "activation": "identity"}
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        ours.MLPRegressor(**settings, random_state=0).fit(X, 1e3 * NUMBERS)
    reg = ours.MLPRegressor(**settings, random_state=0, early_stopping=True)
    quietly(reg, X, 1e3 * NUMBERS)
    assert np.isnan(reg.validation_scores_[-1])
    assert np.isfinite(reg.predict(X)).all()


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_who_has_not_converged_is_told_where_it_was_called(ours, solver):
    from sklearn.exceptions import ConvergenceWarning

    with pytest.warns(ConvergenceWarning) as warned:
        ours.MLPClassifier(8, solver=solver, max_iter=2).fit(X, TWO)
    assert [warning.filename for warning in warned] == [__file__]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"activation": "rleu"}, "did you mean 'relu'"),
        ({"dropout": [0.1]}, "one for each of the 2 hidden layers"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ({"solver": "lbfgs", "batch_norm": True}, "neither dropout nor batch_norm"),
        ({"optimizer": "lbfgs"}, "solver='lbfgs'"),
        ({"alpha": -1}, "alpha"),
        ({"activation": "exp"}, "got 'exp'"),
        ({"hidden_layer_sizes": (), "activation": "junk"}, "got 'junk'"),
        ({"hidden_layer_sizes": [[3]]}, "hidden_layer_sizes must be integers"),
        ({"dropout": "a"}, "dropout must be at least 0 and below 1, got 'a'"),
        ({"dropout": None}, "one for each of the 2 hidden layers, got None"),
        ({"dropout": ["a", 0.1]}, "dropout must be at least 0"),
        ({"class_weight": {0: -1, 1: 1}}, "class_weight must hold finite numbers >= 0"),
        ({"class_weight": {0: 0, 1: 0}}, "class_weight must hold"),
        ({"class_weight": {0: np.nan, 1: 1}}, "class_weight must hold"),
    ],
)
def test_a_parameter_that_does_not_go_is_named(ours, settings, message):
    with pytest.raises(ValueError, match=message):
        ours.MLPClassifier(**{"hidden_layer_sizes": (5, 4), **settings}).fit(X, TWO)


def test_what_users_put_around_estimators_works(ours):
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.compose import make_column_transformer
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": np.array(list("xyz"))[THREE]})
    columns = make_column_transformer(
        (StandardScaler(), ["a", "b"]), (OneHotEncoder(sparse_output=False), ["c"])
    ).set_output(transform="pandas")
    pipe = make_pipeline(
        columns, ours.MLPClassifier(8, solver="lbfgs", max_iter=20, random_state=0)
    )
    grid = {"mlpclassifier__alpha": [0.1, 1.0], "mlpclassifier__hidden_layer_sizes": [4, (5, 5)]}
    search = GridSearchCV(pipe, grid, cv=2, n_jobs=2 if WHOLE else 1)
    assert quietly(search, frame, TWO).best_score_ > 0.6
    best = search.best_estimator_
    assert list(best[-1].feature_names_in_) == list(best[-1].network_.feature_names)
    calibrated = quietly(CalibratedClassifierCV(pipe, cv=2), frame, TWO)
    np.testing.assert_allclose(calibrated.predict_proba(frame).sum(axis=1), 1.0)
    assert permutation_importance(best, frame, TWO, n_repeats=2).importances.shape == (3, 2)
    if WHOLE:
        pytest.importorskip("matplotlib").use("Agg")
        from sklearn.inspection import DecisionBoundaryDisplay

        clf = quietly(ours.MLPClassifier(4, max_iter=5), X[:, :2], THREE)
        DecisionBoundaryDisplay.from_estimator(clf, X[:, :2])


def test_importing_pycnn_imports_no_scikit_learn(run_python):
    assert run_python("import sys, pycnn; print('sklearn' in sys.modules)") == "False\n"


# ------------------------------------------------------------------ scikit-learn's own tests

whole = pytest.mark.skipif(not WHOLE, reason="takes a minute: PYCNN_NO_SKIPS=1 runs it")
# Of neural_network/tests/test_mlp.py in scikit-learn's wheel, with the import exchanged.
EXCLUDED = {
    "test_fit": "sets private attributes of an estimator that has never been fitted",
    "test_gradient": "calls the private _loss_grad_lbfgs; tests of the gradient are in this suite",
    "test_mlp_param_dtypes[MLPClassifier-float32]": "pycnn computes with float64",
    "test_mlp_param_dtypes[MLPRegressor-float32]": "pycnn computes with float64",
}


@whole
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_scikit_learns_checks_of_estimators_pass(ours, kind, solver):
    from sklearn.utils.estimator_checks import check_estimator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checks = check_estimator(getattr(ours, kind)(solver=solver, max_iter=100), on_fail=None)
    assert len(checks) > 55
    failed = [(c["check_name"], c["exception"]) for c in checks if c["status"] == "failed"]
    assert not failed


@whole
def test_scikit_learns_tests_of_its_own_perceptrons_pass(theirs, tmp_path):
    source = Path(theirs.__file__).parent / "tests" / "test_mlp.py"
    text = source.read_text(encoding="utf-8")
    imports = "from sklearn.neural_network import MLPClassifier, MLPRegressor"
    assert text.count(imports) == 1
    test = tmp_path / "test_mlp.py"
    test.write_text(
        text.replace(imports, imports.replace("sklearn.neural_network", "pycnn.sklearn"))
    )
    (tmp_path / "conftest.py").write_text(
        "import pytest\n@pytest.fixture\ndef global_random_seed():\n    return 42\n"
    )
    left_out = [f"--deselect=test_mlp.py::{name}" for name in EXCLUDED]
    options = ["-q", "-p", "no:cacheprovider", *left_out, "test_mlp.py"]
    path = str(Path(pycnn.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(EXCLUDED)} deselected" in done.stdout


# ------------------------------------------------------------------ from and to their weights


def stand_in(out="softmax", **more):
    """Return what has the attributes of a fitted perceptron."""
    sizes = (3, 5, 4, {"softmax": 3, "logistic": 1, "identity": 2}[out])
    shapes = list(itertools.pairwise(sizes))
    return SimpleNamespace(
        activation="tanh",
        out_activation_=out,
        n_outputs_=sizes[-1],
        coefs_=[RNG.normal(size=shape) for shape in shapes],
        intercepts_=[RNG.normal(size=shape[1]) for shape in shapes],
        **more,
    )


def forward(perceptron):
    a = X[:, :3]
    for coef, intercept in zip(perceptron.coefs_, perceptron.intercepts_, strict=True):
        z = a @ coef + intercept
        a = np.tanh(z)
    if perceptron.out_activation_ == "softmax":
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)
    return 1 / (1 + np.exp(-z)) if perceptron.out_activation_ == "logistic" else z


@pytest.mark.parametrize("out", ["softmax", "logistic", "identity"])
def test_a_perceptrons_weights_go_through_a_network_and_back(backend, out):
    labels = {"softmax": np.array(["a", "b", "c"], object), "logistic": np.array([3, 7])}
    known = {"classes_": labels[out]} if out in labels else {}
    perceptron = stand_in(out, feature_names_in_=np.array(["u", "v", "w"], object), **known)
    net = pycnn.from_sklearn(perceptron, backend)
    np.testing.assert_allclose(net.predict(X[:, :3]), forward(perceptron), rtol=0, atol=1e-12)
    assert (net.backend, net.feature_names) == (backend, ("u", "v", "w"))
    if known:
        assert net.classes.tolist() == labels[out].tolist()
    coefs, intercepts = net.to_sklearn()
    assert all(map(np.array_equal, coefs, perceptron.coefs_))
    assert all(map(np.array_equal, intercepts, perceptron.intercepts_))


def test_a_perceptron_of_scikit_learn_predicts_the_same_with_a_networks_weights(theirs, ours):
    their = quietly(theirs.MLPClassifier(8, "tanh", max_iter=20, random_state=0), X, THREE)
    net = pycnn.from_sklearn(their)
    np.testing.assert_allclose(net.predict_proba(X), their.predict_proba(X), rtol=0, atol=1e-12)
    layers = [Dense(8), BatchNorm("tanh"), Dropout(0.1), Dense(3, "softmax")]
    trained = Network(6, layers, seed=0)
    trained.fit(X, THREE, epochs=3)
    their.coefs_, their.intercepts_ = trained.to_sklearn()
    np.testing.assert_allclose(their.predict_proba(X), trained.predict_proba(X), atol=1e-12)
    own = quietly(ours.MLPClassifier(8, max_iter=2, random_state=0), X, THREE)
    copy = pycnn.from_sklearn(own)
    assert (copy.predict(X) == own.predict_proba(X)).all()
    copy.parameters[:] = 0
    assert own.network_.parameters.any()


def test_the_unit_of_scaled_targets_goes_into_the_last_layer(theirs):
    their = quietly(theirs.MLPRegressor(hidden_layer_sizes=5, max_iter=2), X, NUMBERS)
    net = Network(6, [Dense(5, "relu"), Dense(1)], seed=0)
    net.fit(X, 1e3 * NUMBERS + 5e4, epochs=3, scale_targets=True)
    their.coefs_, their.intercepts_ = net.to_sklearn()
    np.testing.assert_allclose(their.predict(X), net.predict(X)[:, 0], rtol=1e-13)


def test_what_has_no_counterpart_is_named():
    pipeline = SimpleNamespace(named_steps={})
    with pytest.raises(DataTypeError, match=r"pipeline\[-1\]"):
        pycnn.from_sklearn(pipeline)
    with pytest.raises(DataTypeError, match="fitted"):
        pycnn.from_sklearn(SimpleNamespace())
    poisson = stand_in("identity")
    poisson.out_activation_ = "exp"
    with pytest.raises(DataError, match="'exp'"):
        pycnn.from_sklearn(poisson)
    for layers, message in [
        ([Dense(4, "gelu"), Dense(1)], "gelu"),
        ([Dense(4, "relu"), Dense(4, "tanh"), Dense(1)], "one activation"),
        ([Dense(4), pycnn.LayerNorm(), Dense(1)], "LayerNorm"),
        ([Dense(1, "softplus")], "softplus"),
    ]:
        with pytest.raises(DataError, match=message):
            Network(3, layers, seed=0).to_sklearn()
    with pytest.raises(DataError, match="rows of numbers"):
        Network((4, 3), [Dense(2), pycnn.layers.Flatten(), Dense(1)], seed=0).to_sklearn()
