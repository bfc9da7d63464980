"""`MLPClassifier` and `MLPRegressor`: what scikit-learn's users meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import compute_sample_weight
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels

from pycnn.sklearn._perceptron import Perceptron, is_stochastic, keep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Self

    from pycnn._typing import AnyArray, Array
    from pycnn.backend.interface import Data
    from pycnn.callbacks import Callback
    from pycnn.optimizers import Optimizer
    from pycnn.sklearn._perceptron import Design

    Method = TypeVar("Method", bound=Callable[..., Any])

    def available_if(check: Callable[[Any], bool]) -> Callable[[Method], Method]:
        """Return a decorator of methods that are there where `check` says so."""
        ...
else:
    from sklearn.utils.metaestimators import available_if


class MLPClassifier(ClassifierMixin, Perceptron):
    """scikit-learn's multi-layer perceptron classifier, over a pycnn `Network`.

    Parameters up to `max_fun` are those of ``sklearn.neural_network.MLPClassifier`` (1.9), with its
    defaults and meanings. With the same `random_state` the weights are scikit-learn's, but for
    rounding: starting weights, the part held out for early stopping and the order of the samples
    are drawn as there, and the solvers do the same arithmetic.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default (100,)
        Units of each hidden layer.
    activation : str or sequence of str, default "relu"
        Of the hidden layers, or one for each: scikit-learn's "identity", "logistic", "tanh",
        "relu", or any of `pycnn.activations.ACTIVATIONS`.
    solver : {"adam", "sgd", "lbfgs"}, default "adam"
        The latter takes all samples at once, and is SciPy's.
    alpha : float, default 0.0001
        Strength of the penalty: ``alpha / 2 sum W^2`` over the sum of a mini-batch's weights.
    batch_size : int or "auto", default "auto"
        Samples of a mini-batch, "auto" is ``min(200, m)``.
    learning_rate : {"constant", "invscaling", "adaptive"}, default "constant"
        Of "sgd": as `learning_rate_init` says; that over ``(t_ + 1) ** power_t`` after each epoch;
        a fifth of it each time that the loss no longer improves, down to 1e-6.
    learning_rate_init : float, default 0.001
    power_t : float, default 0.5
    max_iter : int, default 200
        Epochs at most, or iterations of "lbfgs".
    shuffle : bool, default True
        Whether each epoch takes the samples in a new order.
    random_state : int, RandomState or None, default None
        Decides all that is drawn.
    tol : float, default 1e-4
        What counts as an improvement, of the loss or with `early_stopping` of the score. For
        "lbfgs" the largest component of the gradient at which it stops.
    verbose : bool or int, default False
        Whether to print the loss of each epoch.
    warm_start : bool, default False
        Whether `fit` goes on with the weights that are there: of the same layers, and of as many
        columns of y.
    momentum : float, default 0.9
        Of "sgd", from 0 to 1.
    nesterovs_momentum : bool, default True
    early_stopping : bool, default False
        Whether to hold samples out (two classes: so many of each), to stop when their score no
        longer improves, and to end with the weights of the best one; not with "lbfgs".
    validation_fraction : float, default 0.1
        What is held out.
    beta_1, beta_2, epsilon : float, default 0.9, 0.999 and 1e-8
        Of "adam".
    n_iter_no_change : int or inf, default 10
        Epochs without an improvement after which the training ends.
    max_fun : int, default 15000
        How often "lbfgs" computes the loss at most.
    dropout : float or sequence of float, default 0.0
        What fraction of the units drops out in training, behind all hidden layers or each.
    batch_norm : bool, default False
        Whether each hidden layer is normalized, in front of its activation.
    class_weight : dict, "balanced" or None, default None
        A weight for each label, multiplied into those of the samples.
    callbacks : Callback, function, or list of them, optional
        See `pycnn.callbacks`; they hear "loss", "accuracy" and, of what is held out, "val_loss" and
        "val_accuracy". ``clone``, and with it a grid search, copies them: look into `callbacks_`.
    optimizer : Optimizer or str, optional
        One of `pycnn.optimizers` instead of `solver` and the rate.
    backend : {"auto", "c", "numpy"}, default "auto"
        Which core computes.

    Attributes
    ----------
    network_ : Network
        What has been trained; ``network_.save(path)`` keeps it.
    classes_ : ndarray of shape (classes,)
        The labels.
    coefs_, intercepts_ : list of ndarray
        Weights, (n_l-1, n_l), and biases, (n_l,), of each layer: live views of the network's.
    n_layers_, n_outputs_ : int
        Layers, with that of the inputs; units of the last one.
    out_activation_ : {"softmax", "logistic"}
        The latter for two classes, and for several labels at once.
    loss_, best_loss_ : float
        Of the last epoch, and the least; the latter is None with `early_stopping`.
    loss_curve_ : list of float
        Of each epoch; of "lbfgs" that is in `history_`.
    validation_scores_, best_validation_score_ : list of float, and float
        Accuracy of what is held out, or None.
    n_iter_, t_ : int
        Epochs of the last `fit`; samples seen in all.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Where X was a data frame.
    callbacks_ : list of Callback
    history_ : History
        All that was measured.

    Warns
    -----
    ConvergenceWarning
        Where `max_iter` or `max_fun` has ended the training.

    See Also
    --------
    MLPRegressor

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = MLPClassifier(20, solver="lbfgs", class_weight="balanced", random_state=0).fit(X, y)
    >>> clf.score(X, y) > 0.95
    True
    """

    class_weight: Mapping[Any, float] | str | None

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | Sequence[str] = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: float | Sequence[float] = 0.0,
        batch_norm: bool = False,
        class_weight: Mapping[Any, float] | str | None = None,
        callbacks: Callback | Callable[..., Any] | Iterable[Any] | None = None,
        optimizer: Optimizer | str | None = None,
        backend: str = "auto",
    ) -> None:
        keep(self, locals())

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, validation_data: Any = None
    ) -> Self:
        """Learn from all samples, until one of the reasons to end it.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (m, n_0)
        y : array-like of shape (m,), or (m, n_L) of 0 and 1
            A label for each sample; or for several labels at once, a column for each.
        sample_weight : array-like of shape (m,), optional
            Weights >= 0.
        validation_data : (X, y) or (X, y, sample_weight), optional
            Measured after each epoch, or iteration of "lbfgs"; `early_stopping` goes by it, and
            holds out nothing itself.

        Returns
        -------
        MLPClassifier
            Itself.

        Raises
        ------
        ValueError
            If an argument or a parameter is not valid, or where the training diverges.
        """
        self._validate_params()
        return self._fit(X, y, sample_weight, validation_data)

    @available_if(is_stochastic)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Learn for one epoch, on from where it stands; not with ``solver="lbfgs"``.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array-like, optional
            All labels that will occur, for the first call.

        Returns
        -------
        MLPClassifier
            Itself.

        Raises
        ------
        ValueError
            As by `fit`; with `early_stopping`, or ``class_weight="balanced"``.
        """
        self._validate_params()
        self._check_partial()
        return self._fit(X, y, sample_weight, incremental=True, classes=classes)

    def predict(self, X: Any) -> AnyArray:
        """Return the most probable label of each sample.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (m, n_0)

        Returns
        -------
        ndarray of shape (m,), or (m, n_L) where there are several labels at once
        """
        outputs = self._outputs(X)
        if self.out_activation_ == "softmax":
            return self.classes_[outputs.argmax(axis=1)]
        labels: AnyArray = self._label_binarizer.inverse_transform(
            outputs.ravel() if self.n_outputs_ == 1 else outputs
        )
        return labels

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, in the order of `classes_`.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (m, n_0)

        Returns
        -------
        ndarray of shape (m, classes)
        """
        outputs = self._outputs(X)
        return np.hstack([1 - outputs, outputs]) if self.n_outputs_ == 1 else outputs

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of each class's probability.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (m, n_0)

        Returns
        -------
        ndarray of shape (m, classes)
        """
        return np.log(self.predict_proba(X))

    def _learn_classes(self, y: Any, classes: Any) -> None:
        if _check_partial_fit_first_call(self, classes):
            several = type_of_target(y).startswith("multilabel")
            self._label_binarizer = LabelBinarizer().fit(y if several else classes)

    def _learn_targets(self, y: Any, incremental: bool) -> None:
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            self._check_labels(y, self.warm_start)
        multi = self._label_binarizer.y_type_ == "multiclass"
        self.out_activation_ = "softmax" if multi else "logistic"

    def _check_labels(self, y: Any, all_of_them: bool) -> None:
        classes = unique_labels(y)
        if all_of_them and set(classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous "
                f"call to fit. Previously got {self.classes_}, `y` has {classes}"
            )
        if len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                "`y` has classes not in `self.classes_`. "
                f"`self.classes_` has {self.classes_}. 'y' has {classes}."
            )

    def _encode(self, y: Any) -> AnyArray:
        self._check_labels(y, False)
        several = self._label_binarizer.y_type_.startswith("multilabel")
        if several != (y.ndim == 2):
            raise ValueError(
                "y must hold a column for each label, as what it was fitted with"
                if several
                else "y must hold one label for each sample, as what it was fitted with"
            )
        columns: AnyArray = self._label_binarizer.transform(y)
        if self.out_activation_ == "softmax":
            return columns.argmax(axis=1)
        return np.ascontiguousarray(columns, np.float64)

    def _begin(self, targets: AnyArray, random: np.random.RandomState, design: Design) -> None:
        super()._begin(targets, random, design)
        if targets.ndim == 1 or (targets.shape[1] == 1 and len(self.classes_) == 2):
            self.network_.classes = np.array(self.classes_.tolist())

    def _check_partial(self) -> None:
        super()._check_partial()
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' needs all samples, and partial_fit sees some: give it a "
                "dict, or sample_weight=compute_sample_weight(...)"
            )

    def _class_weights(self, y: Any) -> Array | None:
        if self.class_weight is None:
            return None
        weights: Array = compute_sample_weight(self.class_weight, y)
        return weights

    def _score_of(self, outputs: Array, data: Data) -> float:
        if self.out_activation_ == "softmax":
            right = outputs.argmax(axis=1) == data.y
        else:
            right = ((outputs > 0.5) == data.y).all(axis=1)
        return float(np.average(right, weights=data.weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, Perceptron):
    """scikit-learn's multi-layer perceptron regressor, over a pycnn `Network`.

    Parameters up to `max_fun` are those of ``sklearn.neural_network.MLPRegressor`` (1.9), with its
    defaults and meanings, and the numbers are scikit-learn's: see `MLPClassifier`, where what is
    not described here is.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}, default "squared_error"
        Half of the squared error, or of the Poisson deviance, whose output is an exponential: for
        numbers >= 0, such as counts. There `network_` gives the logarithm.
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, \
power_t, max_iter, shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, \
early_stopping, validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, max_fun, dropout, \
batch_norm, callbacks, optimizer, backend
        As for `MLPClassifier`; callbacks hear "val_r2".

    Attributes
    ----------
    out_activation_ : {"identity", "exp"}
    validation_scores_, best_validation_score_ : list of float, and float
        R^2 of what is held out, or None.
    loss_, best_loss_, loss_curve_
        Of several outputs the mean of their squared errors; `history_` has the sum.
    network_, coefs_, intercepts_, n_layers_, n_outputs_, n_iter_, t_, n_features_in_, \
feature_names_in_, callbacks_, history_
        As of `MLPClassifier`.

    See Also
    --------
    MLPClassifier

    Examples
    --------
    >>> X = [[0.0], [1.0], [2.0], [3.0]]
    >>> reg = MLPRegressor(activation="tanh", solver="lbfgs", tol=0.01, random_state=0)
    >>> reg.fit(X, [0, 1, 4, 9]).predict([[3.0]]).round(1)
    array([9.])
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **Perceptron._parameter_constraints,
        "loss": [StrOptions({"squared_error", "poisson"})],
    }
    loss: str

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | Sequence[str] = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: float | Sequence[float] = 0.0,
        batch_norm: bool = False,
        callbacks: Callback | Callable[..., Any] | Iterable[Any] | None = None,
        optimizer: Optimizer | str | None = None,
        backend: str = "auto",
    ) -> None:
        keep(self, locals())

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, validation_data: Any = None
    ) -> Self:
        """Learn from all samples, until one of the reasons to end it.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (m, n_0)
        y : array-like of shape (m,) or (m, n_L)
        sample_weight : array-like of shape (m,), optional
            Weights >= 0.
        validation_data : (X, y) or (X, y, sample_weight), optional
            Measured after each epoch, or iteration of "lbfgs"; `early_stopping` goes by it, and
            holds out nothing itself.

        Returns
        -------
        MLPRegressor
            Itself.

        Raises
        ------
        ValueError
            If an argument or a parameter is not valid, or where the training diverges.
        """
        self._validate_params()
        return self._fit(X, y, sample_weight, validation_data)

    @available_if(is_stochastic)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn for one epoch, on from where it stands; not with ``solver="lbfgs"``.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        MLPRegressor
            Itself.

        Raises
        ------
        ValueError
            As by `fit`, and with `early_stopping`.
        """
        self._validate_params()
        self._check_partial()
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Array:
        """Return the value of each sample.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (m, n_0)

        Returns
        -------
        ndarray of shape (m,), or (m, n_L) for several outputs
        """
        values = self._values(self._outputs(X))
        return values.ravel() if self.n_outputs_ == 1 else values

    def _values(self, outputs: Array) -> Array:
        return np.exp(outputs) if self.out_activation_ == "exp" else outputs

    def _learn_targets(self, y: Any, incremental: bool) -> None:
        self.out_activation_ = "exp" if self.loss == "poisson" else "identity"

    def _encode(self, y: Any) -> AnyArray:
        values = np.ascontiguousarray(y.reshape(len(y), -1), np.float64)
        if self.out_activation_ == "exp" and (values < 0).any():
            raise ValueError("y must not be negative with loss='poisson'")
        return values

    def _score_of(self, outputs: Array, data: Data) -> float:
        values = self._values(outputs)
        return float(r2_score(data.y, values, sample_weight=data.weight))
