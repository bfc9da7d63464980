"""What classifier and regressor share: the parameters, the network, and the way through `fit`."""

from __future__ import annotations

import math
import warnings
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from pycnn import activations, optimizers
from pycnn._checks import check_bool
from pycnn._data.arrays import from_tensor
from pycnn._training.fitting import check_batch
from pycnn.backend.interface import Data, NotFiniteError, Totals
from pycnn.callbacks import Callback, as_callbacks
from pycnn.history import History
from pycnn.layers import BatchNorm, Dense, Dropout
from pycnn.network import Network
from pycnn.sklearn._solvers import Batches, Stochastic, minimize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Self

    from pycnn._typing import AnyArray, Array
    from pycnn.optimizers import Optimizer


# What scikit-learn calls pycnn's.
ACTIVATIONS = {"identity": "linear", "logistic": "sigmoid"}
NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed."
)


def _poisson(z: Array, y: Array) -> tuple[Array, Array]:
    """Return half of the Poisson deviance of y from exp(z), and its slope."""
    from scipy.special import xlogy

    mean = np.exp(z)
    return (xlogy(y, y) - y * z - y + mean).sum(axis=1), mean - y


class _Stopped(Exception):
    """A callback has ended the iterations."""


class Design(NamedTuple):
    """What the layers are made by: the parameters' values, those of hidden layers one for each."""

    hidden_layer_sizes: list[int]
    activation: list[str]
    dropout: list[float]
    batch_norm: bool
    loss: str | None


class Views(list[Any]):
    """Arrays of a network: to set one is to change its numbers, which keep their shape."""

    def __setitem__(self, index: Any, value: Any) -> None:
        several = isinstance(index, slice)
        arrays = self[index] if several else [self[index]]
        values = [np.array(new, np.float64) for new in (value if several else [value])]
        given, shapes = ([array.shape for array in some] for some in (values, arrays))
        if given != shapes:
            raise ValueError(f"arrays of a fitted network keep their shapes {shapes}, got {given}")
        for array, new in zip(arrays, values, strict=True):
            array[:] = new


class Perceptron(BaseEstimator):
    """What classifier and regressor share."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [str, "array-like"],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "backend": [StrOptions({"auto", "c", "numpy"})],
    }
    hidden_layer_sizes: int | Sequence[int]
    activation: str | Sequence[str]
    solver: str
    alpha: float
    batch_size: int | str
    learning_rate: str
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    random_state: Any
    tol: float
    verbose: bool | int
    warm_start: bool
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool
    validation_fraction: float
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: float
    max_fun: int
    dropout: float | Sequence[float]
    batch_norm: bool
    callbacks: Callback | Callable[..., Any] | Iterable[Any] | None
    optimizer: Optimizer | str | None
    backend: str
    # Once fitted:
    network_: Network
    n_outputs_: int
    n_layers_: int
    out_activation_: str
    loss_: float
    best_loss_: float | None
    loss_curve_: list[float]
    validation_scores_: list[float] | None
    best_validation_score_: float | None
    n_iter_: int
    t_: int
    n_features_in_: int
    classes_: AnyArray
    callbacks_: list[Callback]
    history_: History

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # -------------------------------------------------------------- what a subclass says

    def _learn_targets(self, y: Any, incremental: bool) -> None:
        """Learn what the targets are, or hold them to what is known."""
        raise NotImplementedError

    def _learn_classes(self, y: Any, classes: Any) -> None:
        """Learn from the first `partial_fit` which labels there are."""

    def _encode(self, y: Any) -> AnyArray:
        """Return targets as the core reads them, (m, n_L), or class indices, (m,)."""
        raise NotImplementedError

    def _class_weights(self, y: Any) -> Array | None:
        """Return a weight for each sample by its class, if any."""
        return None

    def _score_of(self, outputs: Array, data: Data) -> float:
        """Return accuracy or R^2 of finite outputs."""
        raise NotImplementedError

    # -------------------------------------------------------------- the network

    @property
    def coefs_(self) -> list[Array]:
        """Weights of each layer, (n_l-1, n_l): live views of the network's, transposed."""
        return Views(array.T for array in self._arrays("W"))

    @coefs_.setter
    def coefs_(self, values: Sequence[Array]) -> None:
        self.coefs_[:] = values

    @property
    def intercepts_(self) -> list[Array]:
        """Biases of each layer, (n_l,): live views of the network's."""
        return Views(self._arrays("b"))

    @intercepts_.setter
    def intercepts_(self, values: Sequence[Array]) -> None:
        self.intercepts_[:] = values

    def _arrays(self, name: str) -> list[Array]:
        network = self.network_  # AttributeError: not fitted
        found = network.architecture.find(name)
        return [tensor.view(network.theta) for tensor in found if tensor is not None]

    def _hidden_sizes(self) -> list[int]:
        sizes: Any = self.hidden_layer_sizes
        checked: list[int] = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if not all(isinstance(size, Integral) for size in checked):
            raise ValueError(f"hidden_layer_sizes must be integers, got {sizes!r}")
        if any(size <= 0 for size in checked):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {checked}.")
        return checked

    def _for_each(self, name: str, count: int) -> list[Any]:
        """Return a parameter's value for each hidden layer."""
        value = getattr(self, name)
        if isinstance(value, (str, Real)):
            return [value] * count
        if np.shape(value) != (count,):
            raise ValueError(
                f"{name} must be one value, or one for each of the {count} hidden layers, "
                f"got {value!r}"
            )
        return list(value)

    def _design(self) -> Design:
        sizes = self._hidden_sizes()
        names = [_known(name) for name in self._for_each("activation", len(sizes))]
        rates = self._for_each("dropout", len(sizes))
        if not all(isinstance(rate, Real) and 0 <= float(rate) < 1 for rate in rates):
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout!r}")
        normalize = check_bool(self.batch_norm, "batch_norm")
        return Design(sizes, names, rates, normalize, getattr(self, "loss", None))

    def _check_design(self, design: Design) -> None:
        """Raise ValueError where the network that is there was made by other parameters."""
        for name, made, now in zip(design._fields, self._made_by, design, strict=True):
            if made != now:
                raise ValueError(
                    f"{name} must not change where warm_start or partial_fit goes on with the "
                    f"network that is there: it was made with {made!r}, got {now!r}"
                )

    def _check_targets(self, targets: AnyArray) -> AnyArray:
        """Return targets that the network has the outputs for, else raise ValueError."""
        columns = len(self.classes_) if targets.ndim == 1 else targets.shape[1]
        if columns != self.n_outputs_:
            raise ValueError(f"y has {columns} columns, fitted with {self.n_outputs_}")
        if (targets.ndim == 1) != (self.network_.layers[-1].activation == "softmax"):
            raise ValueError("y must be labels where it was fitted with labels, else columns")
        return targets

    def _begin(self, targets: AnyArray, random: np.random.RandomState, design: Design) -> None:
        """Make a network, with weights as scikit-learn draws them."""
        outputs = len(self.classes_) if targets.ndim == 1 else targets.shape[1]
        sizes, names, rates, normalize, _ = design
        layers: list[Any] = []
        for size, name, rate in zip(sizes, names, rates, strict=True):
            if normalize:
                layers += [Dense(size), BatchNorm(name)]
            else:
                layers.append(Dense(size, name))
            if rate:
                layers.append(Dropout(rate))
        poisson = self.out_activation_ == "exp"
        layers.append(Dense(outputs, "linear" if poisson else _known(self.out_activation_)))
        l2 = self.alpha / self._batch_of(len(targets))
        loss = _poisson if poisson else None
        self.network_ = Network(self.n_features_in_, layers, loss, 0, self.backend, l2=l2)
        if hasattr(self, "feature_names_in_"):
            self.network_.feature_names = self.feature_names_in_
        # The output's goes by the last one.
        alone = self.activation if isinstance(self.activation, str) else "relu"
        drawn = [*names, names[-1] if names else _known(alone)]
        for W, b, name in zip(self._arrays("W"), self._arrays("b"), drawn, strict=True):
            bound = math.sqrt((2.0 if name == "sigmoid" else 6.0) / sum(W.shape))
            W[:] = random.uniform(-bound, bound, W.shape[::-1]).T
            b[:] = random.uniform(-bound, bound, b.shape)
        if any(rates):
            self.network_.seed = int(random.randint(1 << 31))  # of what drops out
        self.n_layers_, self.n_outputs_ = len(sizes) + 2, outputs
        self.n_iter_ = self.t_ = self._no_improvement_count = 0
        self.loss_curve_ = []
        self.best_loss_, self.validation_scores_, self.best_validation_score_ = np.inf, None, None
        self._made_by, self._has_split = design, False

    # -------------------------------------------------------------- training

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation_data: Any = None,
        incremental: bool = False,
        classes: Any = None,
    ) -> Self:
        before = dict(vars(self))
        first = not hasattr(self, "network_") or not (self.warm_start or incremental)
        random = check_random_state(self.random_state)
        try:
            data, held_out = self._prepare(
                X, y, sample_weight, validation_data, random, first, incremental, classes
            )
        except BaseException:  # refused: as if it had not been asked for
            self.__dict__ = before
            raise
        if first or not incremental:
            self.callbacks_ = as_callbacks(self.callbacks)
            self.history_ = self.network_.history = History()
        self.network_.stop_training, self.network_.learning_rate_factor = False, 1.0
        for callback in self.callbacks_:
            callback.on_train_begin(self.network_)
        if isinstance(data, Batches):
            self._fit_stochastic(data, held_out, random, incremental)
        else:
            self._fit_lbfgs(data, held_out)
        if not np.isfinite(self.network_.theta).all():
            raise ValueError(NOT_FINITE)
        for callback in self.callbacks_:
            callback.on_train_end(self.network_)
        return self

    def _prepare(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation_data: Any,
        random: np.random.RandomState,
        first: bool,
        incremental: bool,
        classes: Any,
    ) -> tuple[Data | Batches, Data | None]:
        """Return what to train on, and what is held out, or raise whatever there is to raise."""
        if incremental:
            self._learn_classes(y, classes)
        design = self._design()
        if not first:
            self._check_design(design)
        X, y = self._read(X, y, first)
        self._learn_targets(y, incremental)
        targets = self._encode(y)
        weight = _checked_weight(X, sample_weight)
        by_class = self._class_weights(y)
        if by_class is not None:
            weight = by_class if weight is None else weight * by_class
            if not (np.isfinite(weight).all() and weight.min() >= 0 and weight.any()):
                raise ValueError(
                    "class_weight must hold finite numbers >= 0, and leave a sample a weight above "
                    "0"
                )
        as_callbacks(self.callbacks)
        if first:
            self._begin(targets, random, design)
        data = Data(self.network_.reader.rows(X, "X"), self._check_targets(targets), weight)
        held_out = None if validation_data is None else self._read_held_out(validation_data)
        if self.solver != "lbfgs" or self.optimizer is not None:
            return self._prepare_stochastic(data, held_out, random, incremental)
        architecture = self.network_.architecture
        if architecture.is_random or architecture.least_batch > 1:
            raise ValueError(
                "solver='lbfgs' goes with neither dropout nor batch_norm: its loss must be the "
                "same function of the weights at every step"
            )
        self._expect_scores(held_out)
        return data, held_out

    def _read(self, X: Any, y: Any, first: bool) -> tuple[Any, Any]:
        """Return X and y, checked; a column of targets is a vector."""
        X, y = validate_data(
            self,
            from_tensor(X, "X"),
            from_tensor(y, "y"),
            accept_sparse="csr",
            multi_output=True,
            y_numeric=isinstance(self, RegressorMixin),
            dtype=(np.float64, np.float32),
            reset=first,
        )
        return X, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    def _read_held_out(self, given: Any) -> Data:
        if not isinstance(given, (tuple, list)) or len(given) not in (2, 3):
            raise ValueError("validation_data must be (X, y) or (X, y, sample_weight)")
        X, y = self._read(given[0], given[1], False)
        weight = _checked_weight(X, given[2] if len(given) == 3 else None)
        targets = self._check_targets(self._encode(y))
        return Data(self.network_.reader.rows(X, "X"), targets, weight)

    def _split(self, data: Data, random: np.random.RandomState) -> tuple[Data, Data]:
        """Return what to train on, and what tells when to stop."""
        # As scikit-learn does, which stratifies two classes.
        two = isinstance(self, ClassifierMixin) and self.n_outputs_ == 1
        parts = train_test_split(
            np.arange(data.rows),
            random_state=random,
            test_size=self.validation_fraction,
            stratify=data.y.astype(bool) if two else None,
        )
        if len(parts[1]) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )
        return data.take(parts[0]), data.take(parts[1])

    def _batch_of(self, rows: int) -> int:
        return min(200 if isinstance(self.batch_size, str) else int(self.batch_size), rows)

    def _given_optimizer(self) -> Optimizer | None:
        if self.optimizer is None:
            return None
        optimizer = optimizers.get(self.optimizer)
        if isinstance(optimizer, optimizers.LBFGS):
            raise ValueError("optimizer must be one of mini-batches; LBFGS is solver='lbfgs'")
        return optimizer

    def _check_partial(self) -> None:
        """Raise ValueError where a single epoch is not to be had."""
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        optimizer = self._given_optimizer()
        if optimizer is not None and optimizer.schedule().needs_total:
            raise ValueError("partial_fit needs learning rates that do not depend on their number")

    def _new_optimizer(self) -> Stochastic:
        parameters, rate = self.network_.parameters.size, float(self.learning_rate_init)
        optimizer = self._given_optimizer()
        if optimizer is not None:
            return Stochastic(optimizer, None, parameters)
        if self.solver == "adam":
            adam = optimizers.Adam(rate, self.beta_1, self.beta_2, self.epsilon)
            return Stochastic(adam, "adam", parameters)
        momentum = min(float(self.momentum), math.nextafter(1, 0))
        sgd = optimizers.SGD(rate, momentum, bool(self.nesterovs_momentum and momentum))
        return Stochastic(sgd, "sgd", parameters)

    def _prepare_stochastic(
        self, data: Data, held_out: Data | None, random: np.random.RandomState, incremental: bool
    ) -> tuple[Batches, Data | None]:
        if not (incremental and hasattr(self, "_optimizer")):
            self._optimizer = self._new_optimizer()
        splits = self.early_stopping and held_out is None
        if splits:
            data, held_out = self._split(data, random)
        self._expect_scores(held_out)
        if self.early_stopping and not (splits and self._has_split):
            # Other samples' scores are no measure. From split to split scikit-learn keeps the best.
            self.best_validation_score_, self._best = -np.inf, self.network_.theta.copy()
        self._has_split = splits
        if self.early_stopping or self.best_loss_ is None:
            self.best_loss_ = None if self.early_stopping else np.inf
        if not isinstance(self.batch_size, str) and self.batch_size > data.rows:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be "
                "clipped",
                stacklevel=5,
            )
        size = check_batch(
            self.network_.architecture.least_batch, self._batch_of(data.rows), data.rows
        )
        return Batches(self.network_, data, size, self.alpha), held_out

    def _fit_stochastic(
        self,
        batches: Batches,
        held_out: Data | None,
        random: np.random.RandomState,
        incremental: bool,
    ) -> None:
        try:
            self._train(batches, held_out, random, incremental)
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=4)
        except NotFiniteError:
            if not self.early_stopping:
                raise ValueError(NOT_FINITE) from None
            self.n_iter_ += 1
            self.loss_ = np.nan
            self.loss_curve_.append(np.nan)
            assert self.validation_scores_ is not None
            self.validation_scores_.append(np.nan)
            _warn("Stochastic Optimizer: the loss became infinite; the best weights are kept.", 3)
        if self.early_stopping:
            self.network_.theta[:] = self._best

    def _train(
        self,
        batches: Batches,
        held_out: Data | None,
        random: np.random.RandomState,
        incremental: bool,
    ) -> None:
        """Train for epochs until one of many reasons ends it."""
        index, optimizer = np.arange(batches.data.rows), self._optimizer
        self.n_iter_ = 0
        while True:
            for callback in self.callbacks_:
                callback.on_epoch_begin(self.network_, self.history_.epochs + 1)
            if self.shuffle:
                # sklearn.utils.shuffle, whose checks take longer than a small epoch.
                drawn = np.arange(len(index))
                random.shuffle(drawn)
                index = index[drawn]
            order = index[None] if self.shuffle else None
            hear = self._hear if self.callbacks_ else None
            totals = optimizer.train_epoch(batches, order, self.max_iter, hear)
            if totals is None:
                return
            self.n_iter_ += 1
            self.t_ += batches.data.rows
            logs = self._logs(totals)
            self.loss_ = self._mean_over_outputs(totals.mean_loss(), batches.size)
            self.loss_curve_.append(self.loss_)
            if self.verbose:
                print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
            if held_out is not None:
                logs |= self._measure(held_out)
            self._count_without_improvement()
            self.history_.append(logs)
            for callback in self.callbacks_:
                callback.on_epoch_end(self.network_, self.history_.epochs, logs)
            if optimizer.solver == "sgd" and self.learning_rate == "invscaling":
                rate = float(self.learning_rate_init)
                optimizer.change_rate(rate / (self.t_ + 1) ** self.power_t)
            if self._no_improvement_count > self.n_iter_no_change and self._has_converged():
                return
            if incremental or self.network_.stop_training:
                return
            if self.n_iter_ == self.max_iter:
                _warn(
                    f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                    "optimization hasn't converged yet.",
                    4,
                )
                return

    def _expect_scores(self, held_out: Data | None) -> None:
        if held_out is not None and self.validation_scores_ is None:
            self.validation_scores_, self.best_validation_score_ = [], -np.inf

    def _measure(self, held_out: Data) -> dict[str, float]:
        """Return the loss and the score of what is held out; keep the score."""
        outputs = self.network_.outputs_of(held_out.x)
        finite = np.isfinite(outputs).all()
        score = float(self._score_of(outputs, held_out)) if finite else np.nan
        assert self.validation_scores_ is not None
        self.validation_scores_.append(score)
        if self.verbose:
            print(f"Validation score: {score:f}")
        name = "val_accuracy" if isinstance(self, ClassifierMixin) else "val_r2"
        return {"val_loss": self.network_.score_data(held_out)["loss"], name: score}

    def _count_without_improvement(self) -> None:
        scores, best = self.validation_scores_, self.best_validation_score_
        if self.early_stopping:
            assert scores is not None
            assert best is not None
            waits = scores[-1] < best + self.tol
        else:
            assert self.best_loss_ is not None
            waits = self.loss_ > self.best_loss_ - self.tol
            self.best_loss_ = min(self.best_loss_, self.loss_)
        self._no_improvement_count = self._no_improvement_count + 1 if waits else 0
        self._keep_best()

    def _keep_best(self) -> None:
        scores, best = self.validation_scores_, self.best_validation_score_
        if scores and best is not None and scores[-1] > best:
            self.best_validation_score_ = scores[-1]
            if self.early_stopping:
                self._best = self.network_.theta.copy()

    def _has_converged(self) -> bool:
        """Tell whether that is all; else go on with a lower learning rate."""
        what = "Validation score" if self.early_stopping else "Training loss"
        message = (
            f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change} "
            "consecutive epochs."
        )
        optimizer, end = self._optimizer, " Stopping."
        if optimizer.solver == "sgd" and self.learning_rate == "adaptive":
            if optimizer.learning_rate > 1e-6:
                optimizer.change_rate(optimizer.learning_rate / 5)
                self._no_improvement_count = 0
                end = f" Setting learning rate to {optimizer.learning_rate:f}"
            else:
                end = " Learning rate too small. Stopping."
        if self.verbose:
            print(message + end)
        return end.endswith("Stopping.")

    def _fit_lbfgs(self, data: Data, held_out: Data | None) -> None:
        network = self.network_
        weight = data.rows if data.weight is None else float(data.weight.sum())
        self.n_iter_ = 0

        def hear(totals: Totals, done: int, count: int) -> None:
            self.n_iter_ += 1
            self.loss_ = self._mean_over_outputs(totals.loss, weight)
            if self.verbose:
                print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
            self._hear(totals, done, count)
            logs = self._logs(totals)
            if held_out is not None:
                logs |= self._measure(held_out)
                self._keep_best()
            self.history_.append(logs)
            network.epochs_trained += 1
            for callback in self.callbacks_:
                callback.on_epoch_end(network, self.history_.epochs, logs)
            if network.stop_training:
                raise _Stopped

        limits = {"maxfun": self.max_fun, "maxiter": self.max_iter, "gtol": self.tol}
        try:
            result = minimize(network, data, self.alpha, hear, **limits)
        except _Stopped:
            return
        self.n_iter_ = min(int(result.nit), self.max_iter)
        self.loss_ = self._mean_over_outputs(float(result.fun), weight)
        if result.status:
            message = result.message
            message = message.decode("latin1") if isinstance(message, bytes) else message
            _warn(
                f"lbfgs failed to converge after {self.n_iter_} iteration(s) "
                f"(status={result.status}): {message}. Increase the number of iterations "
                "(max_iter) or scale the data.",
                3,
            )

    def _mean_over_outputs(self, loss: float, weight: float) -> float:
        """Return scikit-learn's loss: of several outputs' squares it is the mean, not the sum."""
        if self.out_activation_ != "identity" or self.n_outputs_ == 1:
            return loss
        squares = sum(float(np.vdot(W, W)) for W in self._arrays("W"))
        penalty = 0.5 * self.alpha * squares / weight
        return (loss - penalty) / self.n_outputs_ + penalty

    def _hear(self, totals: Totals, done: int, count: int) -> None:
        logs = self._logs(totals) | {"batch": done, "batches": count}
        for callback in self.callbacks_:
            callback.on_batch_group_end(self.network_, self.history_.epochs + 1, logs)

    def _logs(self, totals: Totals) -> dict[str, float]:
        logs = {"loss": totals.mean_loss()}
        if isinstance(self, ClassifierMixin) and not math.isnan(totals.correct):
            logs["accuracy"] = totals.accuracy()
        return logs

    # -------------------------------------------------------------- what it has learned

    def _outputs(self, X: Any) -> Array:
        check_is_fitted(self)
        X = validate_data(self, from_tensor(X, "X"), accept_sparse="csr", reset=False)
        return self.network_.predict(X)


def is_stochastic(estimator: Perceptron) -> bool:
    """Raise AttributeError where a solver has no single epochs."""
    if estimator.solver == "lbfgs" and estimator.optimizer is None:
        raise AttributeError(
            "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic."
        )
    return True


def _known(name: Any) -> Any:
    """Return pycnn's name of an activation; raise ValueError where there is none."""
    return activations.check(ACTIVATIONS.get(name, name) if isinstance(name, str) else name)


def _checked_weight(X: Any, sample_weight: Any) -> Array | None:
    if sample_weight is None:
        return None
    weight: Array = _check_sample_weight(
        from_tensor(sample_weight, "sample_weight"),
        X,
        dtype=np.float64,
        ensure_non_negative=True,
    )
    if not weight.any():
        raise ValueError("sample_weight must have a weight above 0")
    return weight


def _warn(message: str, calls: int) -> None:
    """Warn of what has not converged, at the line of the user's so many calls above."""
    warnings.warn(message, ConvergenceWarning, stacklevel=calls + 2)


def keep(estimator: Perceptron, arguments: dict[str, Any]) -> None:
    """Make attributes of a constructor's arguments, as scikit-learn wants them: unchecked."""
    for name in type(estimator)._get_param_names():
        setattr(estimator, name, arguments[name])
