"""`Model`: what a network is and does, but for its training.

All that is below the training knows a network as this, and whatever it needs has a public name.
"""

from __future__ import annotations

import functools
import math
import os
import weakref
from _thread import get_ident  # threading takes longer to import
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import numpy as np

from pycnn import _random, backend, losses
from pycnn._architecture import Architecture
from pycnn._checks import check_bool, check_choice, check_fits, check_size, is_open, known
from pycnn._data.arrays import as_names, as_values, check_columns, check_finite
from pycnn._data.reader import Reader
from pycnn._data.scaling import TargetScale, check_can_scale
from pycnn._data.sources import LazyTable, as_table, batches_of, pieces_of, whole
from pycnn._data.targets import TargetEncoder, check_missing
from pycnn._data.tokens import Tokens, check_inputs, fitted, plain_inputs
from pycnn._record import Record
from pycnn.backend.interface import Data, Totals
from pycnn.exceptions import DataError, LabelError, ShapeError
from pycnn.layers import from_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Self

    from pycnn._scoring import Metric
    from pycnn._typing import AnyArray, Array, ArrayLike, Bits, Indices, Shape
    from pycnn.backend.interface import LayerSpec, Plan, RowPredictor
    from pycnn.backend.protocol import Backend
    from pycnn.history import History
    from pycnn.trace import Trace

    Metrics = str | Callable[..., Any] | Sequence[str | Callable[..., Any]]

_Result = TypeVar("_Result")

# Vectors of the kernels and cache lines are at most this long.
ALIGNMENT = 64
_FLOAT64 = np.dtype(np.float64)


def _aligned_zeros(count: int) -> Array:
    spare = ALIGNMENT // 8
    block = np.zeros(count + spare)
    start = -block.ctypes.data % ALIGNMENT // 8
    return block[start : start + count]


class Planned(Record):
    """What samples of one shape are computed with."""

    architecture: Architecture
    plan: Plan


# Of sequences of any length so many lengths are kept planned, the shortest for good.
MOST_PLANNED = 8


def _numbers(architecture: Architecture) -> list[int]:
    """Return how many numbers a sample has behind each layer."""
    return [math.prod(shape) for shape in architecture.output_shapes]


NOBODY = 0  # what no thread is called


@functools.cache
def _scoring() -> Any:
    """Return the module of that name, which is imported when used."""
    import pycnn._scoring

    return pycnn._scoring


class Loan(Record):
    """What threads compute with that do not train the network themselves.

    A `fit` lends what it has kept last while it changes the network's own parameters. Who finds
    another loan behind a computation than before it has met the beginning of a fit.
    """

    theta: Array
    kept: Any = None  # the checkpoint that `theta` is from
    thread: int = NOBODY  # that trains
    process: int = 0


class Model:
    """A network without its training: layers and their parameters, and what they compute.

    Parameters
    ----------
    architecture : Architecture
    seed : int
    backend : {"auto", "c", "numpy"}

    Attributes
    ----------
    architecture : Architecture
        The plan of the layers, with the table of tensors.
    theta : ndarray
        All parameters, and behind them the statistics; zero at first.
    core : module
        The backend that computes.
    plan : Plan
        What the core has made of the architecture: for sequences of any length that of some, which
        will do where no samples are computed with. `planned` has that of others.
    reader : Reader
        How it reads what users hand in: the columns' names, labels, and the targets' unit.
    loan : Loan
        What others compute with while a thread trains it.
    seed, epochs_trained, history, stop_training, learning_rate_factor, metadata
        As `Network` has them.
    """

    def __init__(self, architecture: Architecture, seed: int, backend: str = "auto") -> None:
        self._set_up(architecture, seed, backend)

    def _set_up(self, architecture: Architecture, seed: int, backend_name: str) -> None:
        """Give the object its attributes, with all parameters zero."""
        self._architecture = architecture
        self.seed = seed
        self.epochs_trained = 0
        self.history: History | None = None
        self.stop_training = False
        self.learning_rate_factor = 1.0
        self.metadata: dict[str, Any] = {}
        self._backend_name = backend_name
        self._core = backend.load(backend_name)
        count = architecture.parameter_count
        self._planned = [self._plan_for(architecture.shortest())]
        self._theta = _aligned_zeros(count + architecture.statistic_count)
        self._parameters, self._statistics = self._theta[:count], self._theta[count:]
        self._layers = architecture.bound(self._theta)
        self.loan = Loan(self._theta)
        *positions, units = self.output_shape
        encoder = TargetEncoder(self.loss, units, positions=positions[0] if positions else None)
        find, check = self._core.find_not_finite, architecture.check_lengths
        self._reader = Reader(self.input_shape, find, check, self._positions, None, encoder)
        self._row_predictors: list[RowPredictor] = []  # idle ones
        # Of a row that needs no reading; of tokens none, whose dtype has to be looked at.
        numbers = not isinstance(self.input_shape, Tokens) and not is_open(self.input_shape)
        self._row_shape = (1, *self.input_shape) if numbers else None

    def _plan_for(self, architecture: Architecture) -> Planned:
        return Planned(architecture, self.plan_of(architecture.specs))

    def planned(self, numbers: int) -> Planned:
        """Return what samples of so many numbers are computed with, each.

        It is made where it has not been kept: of sequences, whose length may be any, or a part of
        the whole.
        """
        for planned in self._planned:
            if planned.architecture.inputs == numbers:
                return planned
        features = known(self.architecture.input_shape[1:])
        planned = self._plan_for(self.architecture.at_length(numbers // features))
        self._planned.append(planned)
        del self._planned[1:-MOST_PLANNED]
        return planned

    def _positions(self, numbers: int) -> int | None:
        """Return how many positions have a target, where outputs are sequences."""
        shape = self.planned(numbers).architecture.output_shape
        return shape[0] if len(shape) > 1 else None

    def least_batch(self, data: Data) -> int:
        """Return how many of such samples a mini-batch must have in training."""
        return self.planned(data.x.shape[1]).architecture.least_batch

    def in_shape(self, x: Array) -> Array:
        """Return rows of numbers as samples of the network's shape."""
        return x.reshape(len(x), *self.planned(x.shape[1]).architecture.input_shape)

    # -------------------------------------------------------------- what it is made of
    #
    # The plan and the layers' views have been made for these: nobody can put others in their place.

    @property
    def architecture(self) -> Architecture:
        """The plan of the layers, with the table of tensors."""
        return self._architecture

    @property
    def core(self) -> Backend:
        """The backend that computes."""
        return self._core

    @property
    def plan(self) -> Plan:
        """What the core has made of the architecture."""
        return self._planned[0].plan

    @property
    def theta(self) -> Array:
        """All parameters, and behind them the statistics; the live buffer."""
        return self._theta

    @property
    def reader(self) -> Reader:
        """How it reads what users hand in: the columns' names, labels, and the targets' unit."""
        return self._reader

    def check_writeable(self) -> None:
        """Raise `DataError` where theta is read-only: the core would write to it all the same."""
        if not self._theta.flags.writeable:
            raise DataError("the network's parameters are read-only: theta cannot be trained")

    def plan_of(self, specs: Sequence[LayerSpec]) -> Plan:
        """Return what the core makes of layers, with the network's loss."""
        loss = self.architecture.loss
        function = loss if isinstance(loss, losses.Custom) else None
        return self._core.create_plan(specs, self.loss, self.loss_parameter or 0.0, function)

    def learn(self, reader: Reader) -> None:
        """Read as this one does from now on: all that was learned from data, or nothing of it."""
        self._reader = reader

    # -------------------------------------------------------------- while a thread trains it

    def lent(self) -> Loan | None:
        """Return what this thread is to compute with; None: the network's own parameters."""
        loan = self.loan
        # After a fork there is but the thread that forked.
        others = loan.thread not in (NOBODY, get_ident()) and loan.process == os.getpid()
        return loan if others else None

    def with_theta(self, compute: Callable[[Array], _Result]) -> _Result:
        """Return what is computed with parameters that no `fit` in another thread changes."""
        while True:
            loan = self.loan
            lent = self.lent() if loan.thread else None
            if lent is not None:
                return compute(lent.theta)
            result = compute(self._theta)
            if self.loan is loan:  # else a fit has begun meanwhile
                return result

    # -------------------------------------------------------------- what it is

    @property
    def inputs(self) -> int:
        """Number of features, n_0: of all numbers that a sample has.

        Of sequences of any length: of each position.
        """
        return self.architecture.inputs

    @property
    def input_shape(self) -> Shape:
        """Shape of a sample, ``(n_0,)`` or such as (rows, columns, channels).

        Of sequences of any length ``(None, features)``.
        """
        return self.architecture.input_shape

    @property
    def outputs(self) -> int:
        """Number of output units, n_L: of all numbers that a sample has at the end.

        Of sequences of any length: at each position.
        """
        return self.architecture.outputs

    @property
    def output_shape(self) -> Shape:
        """Shape of an output, ``(n_L,)``, or (positions, features) of a sequence."""
        return self.architecture.output_shape

    @property
    def layers(self) -> tuple[Any, ...]:
        """The layers 1 ... L with their parameters: ``layers[0].W`` is W^[1]."""
        return self._layers

    @property
    def loss(self) -> str:
        """Name of the loss."""
        return losses.name_of(self.architecture.loss)

    @property
    def loss_parameter(self) -> float | None:
        """The number that the loss carries: huber's delta, quantile's q, a smoothing; or None."""
        loss = self.architecture.loss
        return None if isinstance(loss, str) else loss.parameter

    @property
    def l1(self) -> float:
        """Strength of the network's penalty on the weights' sizes."""
        return self.architecture.penalty[0]

    @property
    def l2(self) -> float:
        """Strength of the network's penalty on the weights' squares."""
        return self.architecture.penalty[1]

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """Names of the columns of X, which data frames must have; None: not known."""
        return self.reader.names

    @feature_names.setter
    def feature_names(self, value: Iterable[str] | None) -> None:
        names = None if value is None else as_names(value, self.inputs)
        self._reader = self.reader.naming(names)

    @property
    def encoder(self) -> TargetEncoder:
        """What targets and outputs are to this network."""
        return self.reader.encoder

    @property
    def classes(self) -> AnyArray | None:
        """The label of each class, once learned; None where targets are no classes."""
        return self.reader.encoder.classes

    @classes.setter
    def classes(self, value: AnyArray | None) -> None:
        self._reader = self.reader.encoding(value, self.encoder.scale)

    @property
    def target_scale(self) -> tuple[Array, Array] | None:
        """Mean and deviation of each output's targets, which are its unit; None: that of y."""
        return self.reader.encoder.scale

    @target_scale.setter
    def target_scale(self, value: Sequence[Any] | None) -> None:
        if value is None:
            self._reader = self.reader.encoding(self.classes, None)
            return
        check_can_scale(self.layers[-1].activation, self.loss)
        scale = TargetScale.check(value, self.encoder.units)
        # Classes were those of one-hot targets: numbers with a unit are none.
        self._reader = self.reader.encoding(None, scale)

    @property
    def backend(self) -> str:
        """Which core computes: ``"c"`` or ``"numpy"``."""
        return backend.name_of(self.core)

    @property
    def parameters(self) -> Array:
        """All parameters theta, flat: W^[1], b^[1], W^[2], ...; the live buffer, not a copy."""
        return self._parameters

    @parameters.setter
    def parameters(self, value: ArrayLike) -> None:
        self._parameters[:] = as_values(value, "parameters", self._parameters.shape)

    @property
    def statistics(self) -> Array:
        """What training counts beside: each `BatchNorm`'s mean and variance; the live buffer."""
        return self._statistics

    @statistics.setter
    def statistics(self, value: ArrayLike) -> None:
        self._statistics[:] = as_values(value, "statistics", self._statistics.shape)

    @property
    def tensors(self) -> Mapping[str, Array]:
        """All parameters and statistics by name, ``"layers.1.W"``: live views, as in the files."""
        return MappingProxyType(
            {
                tensor.full_name: tensor.view(self.theta)
                for own in self.architecture.by_layer()
                for tensor in own
            }
        )

    # -------------------------------------------------------------- what it computes

    def predict(self, X: Any, *, lengths: ArrayLike | None = None) -> Array:
        """Return the network's output for each sample.

        Parameters
        ----------
        X : array-like of shape (m, n_0) or (m, *input_shape)
            A row a sample, or an array a sample where the network's inputs have a shape; any real
            dtype, any strides; also a memory map or a sparse matrix.
        lengths : array-like of shape (m,), optional
            Of samples that are sequences: how many of their positions are there, from the first
            one on. What stands behind them is of no account, and may be NaN.

        Returns
        -------
        ndarray of shape (m, n_L), or (m, positions, n_L)
            The bits of a row do not depend on the rows beside it. Behind the length of a sequence
            stands what the last layers make of zeros, and zeros where the last one is recurrent.

        Raises
        ------
        ShapeError, DataTypeError, DataError
            If `X` has the wrong shape, is not numeric, is empty, or holds NaN or infinity.
        """
        if (
            type(X) is np.ndarray
            and X.shape == self._row_shape
            and (X.dtype is _FLOAT64 or X.dtype == _FLOAT64)
            and lengths is None
        ):
            row = self._predict_row(X)
            if row is not None:
                scale = self._reader.encoder.scale
                return row if scale is None else scale.restore(row)
        if lengths is None:
            check_columns(X, "X", self._reader.names)
            X, shape = fitted(self.input_shape, X, "X")
            out = self.outputs_of(as_table(X, "X", shape, None))
        else:
            out = self.outputs_of(*self._reader.sequences(X, "X", lengths, "lengths"))
        return self._reader.encoder.unscaled(out)

    def outputs_of(self, x: Array | LazyTable, lengths: Indices | None = None) -> Array:
        """Return the outputs for checked samples, in the network's own unit."""
        return self.with_theta(lambda theta: self._outputs(theta, x, lengths))

    def _outputs(self, theta: Array, x: Array | LazyTable, lengths: Indices | None = None) -> Array:
        architecture, plan = self.planned(x.shape[1])
        out = np.empty((len(x), *architecture.output_shape))
        for part, piece in x.pieces() if isinstance(x, LazyTable) else [(slice(None), x)]:
            own = None if lengths is None else lengths[part]
            if not self.core.predict(plan, theta, piece, out[part], own):
                check_finite(piece.reshape(-1, *architecture.input_shape), "X")
        return out

    def _predict_row(self, x: Array) -> Array | None:
        """Predict one row, in a workspace that is kept for the next one.

        None: not contiguous, not finite, or trained meanwhile, which takes another way.
        """
        loan = self.loan
        if loan.thread:
            return None
        try:
            run = self._row_predictors.pop()
        except IndexError:
            run = self.core.row_predictor(self.plan, self.theta, self.output_shape)
        out = run(x)
        self._row_predictors.append(run)
        return out if self.loan is loan else None

    def predict_samples(self, X: Any, count: int, seed: int | None = None) -> Array:
        """Return predictions with dropout left on: how far they lie apart tells how unsure it is.

        Each draw drops other units, as training does, so that it is the answer of another network
        of those that were trained at once (Gal & Ghahramani, 2016). All else is as for `predict`:
        `BatchNorm` takes what training has counted.

        Parameters
        ----------
        X : array-like of shape (m, n_0)
            As for `predict`.
        count : int
            Draws.
        seed : int, optional
            Decides which units drop out, with the draw, the layer, the row's number and the unit:
            the same for any number of threads, on both backends, and for the first draws of a
            larger `count`. By default a fresh one.

        Returns
        -------
        ndarray of shape (count, m, n_L), or (count, m, positions, n_L)
            ``mean(axis=0)`` is a prediction, ``std(axis=0)`` its uncertainty.

        Raises
        ------
        DataError
            If no layer is a `Dropout` with a rate above 0: all draws would be the same.
        ShapeError, DataTypeError, DataError
            If an argument is not valid, as for `predict`.

        Examples
        --------
        >>> from pycnn import Dense, Dropout, Network
        >>> net = Network(1, [Dense(50, "relu"), Dropout(0.2), Dense(1)], seed=0)
        >>> samples = net.predict_samples([[0.5], [1.0]], 100, seed=0)
        >>> samples.shape, samples.std(axis=0).shape
        ((100, 2, 1), (2, 1))
        """
        if not self.architecture.is_random:
            raise DataError(
                "predict_samples needs a Dropout layer with a rate above 0: without it all draws "
                "are the same (a folded network has none)"
            )
        count = check_size(count, "count")
        keys = _random.generator(_random.check_seed(seed), _random.SAMPLING)
        x = self.reader.rows(X, "X")
        outputs = self.planned(x.shape[1]).architecture.outputs
        check_fits(count * len(x) * outputs, f"{count} draws of {len(x)} rows")
        drawn = keys.random_raw(count)
        return self.encoder.unscaled(self.with_theta(lambda theta: self._samples(theta, x, drawn)))

    def _samples(self, theta: Array, x: Array | LazyTable, keys: Bits) -> Array:
        architecture, plan = self.planned(x.shape[1])
        out = np.empty((len(keys), len(x), *architecture.output_shape))
        run = self.core.predict_samples
        if not isinstance(x, LazyTable):
            run(plan, theta, x, keys, 0, out)
            return out
        for part, piece in x.pieces():
            samples = np.empty((len(keys), len(piece), *architecture.output_shape))
            run(plan, theta, piece, keys, part.start, samples)
            out[:, part] = samples
        return out

    def predictor(self, batch: int = 1, *, frozen: bool = False) -> Callable[[Array], Array]:
        """Return a callable that predicts with the least delay, for one shape of input.

        Parameters
        ----------
        batch : int, default 1
            Rows of each call.
        frozen : bool, default False
            Keep a copy of the parameters, and of the targets' unit, as they are now. For one row
            the C core lays it out so that it takes about half of the time, with the
            same bits. What the network learns later, or is given, is for another predictor.

        Returns
        -------
        callable
            ``p(x)`` takes a contiguous float64 array of shape (batch, n_0) (for one row also
            (n_0,)) and returns an array of shape (batch, *output_shape): always the same one,
            overwritten by the next call. Of sequences of any length it takes whatever length, and
            is quick where it comes again. The same array with other numbers in it takes the least
            time, and is kept until another one comes. It reads the network's present parameters,
            unless it is frozen; NaN in gives NaN out. One thread at a time may call it: make each
            its own.

        Raises
        ------
        DataError, DataTypeError
            If `batch` is not an integer of at least 1, or `frozen` not a bool.
        ShapeError
            By the callable: if `x` is not such an array.

        Examples
        --------
        >>> from pycnn import Dense, Network
        >>> net = Network(2, [Dense(1)], seed=0)
        >>> p = net.predictor()
        >>> bool((p(np.zeros(2)) == net.predict([[0, 0]])).all())
        True
        """
        batch, frozen = check_size(batch, "batch"), check_bool(frozen, "frozen")
        theta = self.with_theta(np.copy) if frozen else self.theta
        if not is_open(self.input_shape):
            return self._predictor(self.planned(self.inputs), theta, batch, frozen)
        runs: dict[int, Callable[[Array], Array]] = {}

        def predict_any(x: Array) -> Array:
            size = x.size if isinstance(x, np.ndarray) else 0
            numbers = size // batch or self.inputs  # what is no such sample is refused below
            if numbers not in runs:
                if len(runs) == MOST_PLANNED:
                    del runs[next(iter(runs))]
                planned = self.planned(max(1, numbers // self.inputs) * self.inputs)
                runs[numbers] = self._predictor(planned, theta, batch, frozen)
            return runs[numbers](x)

        return predict_any

    def _predictor(
        self, planned: Planned, theta: Array, batch: int, frozen: bool
    ) -> Callable[[Array], Array]:
        """Return a predictor of samples of one shape."""
        architecture, plan = planned
        numbers = architecture.inputs + sum(_numbers(architecture))
        check_fits(batch * numbers, f"a batch of {batch} rows")
        run = self.core.predictor(plan, theta, batch, architecture.output_shape, frozen)
        kept, shape = self.reader.encoder.scale, architecture.input_shape
        shapes: tuple[Shape, ...] = ((batch, *shape), (batch, architecture.inputs))
        if batch == 1:
            shapes += (shape, (architecture.inputs,))
        alone = batch == 1
        last: Any = None  # an array that comes again has been looked at ...
        last_shape: Any = None  # ... but its shape can be set
        pinned: Any = None  # NumPy does not move the numbers of what has a weak reference

        def predict_bound(x: Array) -> Array:
            nonlocal last, last_shape, pinned
            if (x is last and x.shape == last_shape) or (
                type(x) is np.ndarray
                and x.shape in shapes
                and x.dtype == _FLOAT64
                and (alone or x.flags.aligned)  # a single row is copied
            ):
                try:
                    out = run(x)
                except DataError:  # of a token that is none
                    raise
                except ValueError:
                    raise ShapeError("x must be contiguous; np.ascontiguousarray(x) is") from None
                if x is not last:
                    last, last_shape, pinned = x, x.shape, weakref.ref(x)
                scale = kept if frozen else self._reader.encoder.scale
                return out if scale is None else scale.restore(out)
            got = repr(x)
            if isinstance(x, np.ndarray):
                kind = "" if type(x) is np.ndarray else f"a {type(x).__name__} of "
                got = f"{kind}{x.dtype} of shape {x.shape}"
            raise ShapeError(f"x must be a float64 array of shape {shapes[0]}, got {got}")

        return predict_bound

    def predict_classes(self, X: ArrayLike, *, lengths: ArrayLike | None = None) -> AnyArray:
        """Return the most probable class of each sample, as the labels that `fit` saw.

        Parameters
        ----------
        X : array-like of shape (m, n_0)
        lengths : array-like of shape (m,), optional
            As for `predict`.

        Returns
        -------
        ndarray of shape (m,), or (m, positions) where the output is a sequence
            Labels; for several sigmoid units (multi-label) 0 or 1 for each, shape (m, n_L); for
            several units with the hinge loss -1 or 1; for targets that were one-hot with mse the
            place of the largest output.

        Raises
        ------
        LabelError
            If the network's loss is not one for classes, nor have its targets been one-hot.
        DataError
            If an output is NaN, which stands for no class, or as for `predict`.
        ShapeError, DataTypeError
            As for `predict`.
        """
        if not self._reader.encoder.has_classes:
            raise LabelError(f"a network with loss {self.loss!r} has no classes; use predict")
        return self._reader.encoder.labels(self._predict_numbers(X, lengths))

    def predict_proba(self, X: Any, *, lengths: ArrayLike | None = None) -> Array:
        """Return the probability of each class, in the order of `classes`.

        Parameters
        ----------
        X : array-like of shape (m, n_0)
        lengths : array-like of shape (m,), optional
            As for `predict`.

        Returns
        -------
        ndarray of shape (m, classes), or (m, positions, classes)
            For softmax the outputs; for one sigmoid unit two columns, ``1 - output`` and the
            output; for several sigmoid units (multi-label) the outputs, (m, n_L), each the
            probability of a 1.

        Raises
        ------
        LabelError
            If the network's outputs are no probabilities: regression, the hinge loss.
        DataError
            If an output is NaN, or as for `predict`.
        ShapeError, DataTypeError
            As for `predict`.

        Examples
        --------
        >>> from pycnn import Dense, Network
        >>> net = Network(2, [Dense(1, "sigmoid", bias_initializer="zeros")], seed=0)
        >>> net.predict_proba([[0, 0]])
        array([[0.5, 0.5]])
        """
        if not losses.gives_probabilities(self.loss):
            raise LabelError(
                f"a network with loss {self.loss!r} gives no probabilities; use predict"
            )
        return self.encoder.probabilities(self._predict_numbers(X, lengths))

    def score(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        missing_targets: str = "error",
        lengths: ArrayLike | None = None,
    ) -> float:
        """Return the accuracy, or for regression R^2: what `evaluate` gives beside the loss.

        Parameters
        ----------
        X, y, sample_weight, missing_targets, lengths
            As for `evaluate`.

        Returns
        -------
        float
            With the quantile loss, or one of your own, R^2 too, though outputs may not be meant to
            be near the targets. For targets that are one-hot with mse the accuracy.

        Raises
        ------
        ShapeError, DataTypeError, DataError, LabelError
            If an argument is not valid.
        """
        missing = check_missing(missing_targets)
        data, _ = self.reader.read(X, y, sample_weight, lengths, missing=missing)
        scores = self.score_data(data)
        score = scores.get("accuracy", scores.get("r2"))
        return self.with_theta(lambda theta: self._r2(theta, data)) if score is None else score

    def _predict_numbers(self, X: Any, lengths: Any) -> Array:
        """Predict; refuse NaN, of which an argmax would make the first class."""
        output = self.predict(X, lengths=lengths)
        if self._core.find_not_finite(output) == output.size:
            return output
        nameless = np.isnan(output.reshape(len(output), -1)).any(axis=1)
        if nameless.any():
            raise DataError(
                f"the network's output is NaN at row {nameless.argmax()} of X, which is no class: "
                "its parameters are not finite, or so large that sums overflow"
            )
        return output

    def evaluate(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        missing_targets: str = "error",
        batch_size: int | None = 256,
        metrics: Metrics | None = None,
        lengths: ArrayLike | None = None,
    ) -> dict[str, float]:
        """Return the mean loss and a score.

        Parameters
        ----------
        X : array-like of shape (m, n_0)
            Also a memory map or a sparse matrix, as for `fit`.
        y : array-like of shape (m,) or (m, n_L)
            Of outputs that are sequences (m, positions) or (m, positions, n_L): each position has a
            loss, and loss and score are means over those that were observed.
        sample_weight : array-like of shape (m,) or (m, positions), optional
        missing_targets : {"error", "mask"}, default "error"
            What a gap in `y` is, as for `fit`.
        batch_size : int or None, default 256
            Samples that a loss function of your own is called with; None for all. `fit` measures
            its validation data by mini-batches of its own size (256 where it is given those). For
            the other losses it does not matter.
        metrics : list of str or callable, optional
            What else to measure, as for `fit`, under its name.
        lengths : array-like of shape (m,), optional
            Of samples that are sequences, as for `fit`.

        Returns
        -------
        dict
            ``"loss"`` and, for classes, ``"accuracy"`` (with several sigmoid units: over all of
            them), also for one-hot targets with mse where those of `fit` were; for regression
            ``"r2"``, the fraction of the targets' variance that is explained, except for the
            quantile loss, whose outputs are not meant to be near the targets. All are NaN where
            nothing is measured: where all weights are 0, or no target was observed.

        Raises
        ------
        ShapeError, DataTypeError, DataError, LabelError
            If an argument is not valid.
        """
        missing = check_missing(missing_targets)
        measures: Sequence[Metric] = ()
        if metrics is not None:
            measures = _scoring().check_metrics(metrics)
        if batch_size is not None:
            batch_size = check_size(batch_size, "batch_size")
        data = self._reader.samples(X, y, sample_weight, lengths, missing=missing)
        return self.score_data(data, batch_size or data.rows, measures)

    def _totals(self, theta: Array, data: Data, batch_size: int) -> Totals:
        # One of the user's own may be more than a sum over samples.
        pieces: Iterable[Data] | None = None
        if self._reader.encoder.loss == "custom":
            pieces = batches_of(data, batch_size)
        elif isinstance(data.x, LazyTable):
            pieces = pieces_of(data)
        plan = self.planned(data.x.shape[1]).plan
        if pieces is None:
            return self.core.evaluate(plan, theta, data)
        sums = [self.core.evaluate(plan, theta, piece) for piece in pieces]
        return Totals(*map(sum, zip(*sums, strict=True)))

    def score_data(
        self,
        data: Data,
        batch_size: int = 256,
        metrics: Sequence[Metric] = (),
        varied: float | None = None,
    ) -> dict[str, float]:
        """Return what `evaluate` promises, of data that have been checked.

        `varied` is the `spread` of their targets, where that is known.
        """
        return self.with_theta(lambda theta: self._scores(theta, data, batch_size, metrics, varied))

    def spread_of(self, data: Data) -> float | None:
        """Return how far targets vary, where `score_data` asks for that."""
        return _scoring().spread(self.encoder, data) if self.encoder.estimates_the_mean else None

    def _scores(
        self,
        theta: Array,
        data: Data,
        batch_size: int,
        metrics: Sequence[Metric],
        varied: float | None,
    ) -> dict[str, float]:
        totals = self._totals(theta, data, batch_size)
        scores = {"loss": totals.mean_loss()}
        encoder = self._reader.encoder
        if encoder.has_classes and encoder.shows_classes(data.by_position().y):
            scores["accuracy"] = totals.accuracy()
        if encoder.estimates_the_mean:
            scores["r2"] = self._r2(theta, data, totals, varied)
        if metrics:
            outputs = self._outputs(theta, data.x, data.lengths)
            scores |= _scoring().measure(metrics, encoder, data, outputs)
        return scores

    def _r2(
        self,
        theta: Array,
        data: Data,
        totals: Totals | None = None,
        varied: float | None = None,
    ) -> float:
        """Return R^2, with mse from its totals: they are half the sum of the errors' squares."""
        scoring, encoder = _scoring(), self._reader.encoder
        if totals is not None and encoder.loss == "mse" and encoder.scale is None:
            squares = totals.loss
            if self._architecture.is_penalized:
                squares -= self._core.penalty(self.plan, theta) * totals.weight
            squares = 0.0 if squares < 0 else 2 * squares  # NaN stays
        else:
            squares = scoring.sum_squares(encoder, data, self._outputs(theta, data.x, data.lengths))
        if varied is None:
            varied = scoring.spread(encoder, data)
        explained: float = scoring.r2(squares, varied)
        return explained

    @overload
    def gradients(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        training: bool = False,
        reduction: Literal["mean"] = "mean",
        first_row: int = 0,
        lengths: ArrayLike | None = None,
    ) -> tuple[float, Array]: ...

    @overload
    def gradients(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        training: bool = False,
        reduction: Literal["sum"],
        first_row: int = 0,
        lengths: ArrayLike | None = None,
    ) -> tuple[float, Array, float]: ...

    def gradients(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        training: bool = False,
        reduction: str = "mean",
        first_row: int = 0,
        lengths: ArrayLike | None = None,
    ) -> tuple[float, Array] | tuple[float, Array, float]:
        """Return the mean loss and its gradient (lecture, equations 3 and 4), or sums.

        Sums are what a training loop of your own takes: those of pieces, or of several machines,
        can be added, and `pycnn.optimizers.Optimizer.apply` makes a step of them.

        Parameters
        ----------
        X : array-like of shape (m, n_0)
        y : array-like of shape (m,) or (m, n_L)
        sample_weight : array-like of shape (m,), optional
            The mean is then sum_i w_i L_i / sum_i w_i. Of outputs that are sequences also
            (m, positions): each position has a loss.
        training : bool, default False
            Whether the samples are taken as a mini-batch of the next epoch's training: `BatchNorm`
            normalizes by them, and `Dropout` drops. By default the network is as it predicts.
        reduction : {"mean", "sum"}, default "mean"
            With ``"sum"`` loss and gradient are sums over the samples, w_i L_i, without the
            penalty; and in training `BatchNorm` counts the samples into its statistics, as `fit`
            does, at least two at a time. The next epoch's numbers are drawn once `epochs_trained`
            is 1 more.
        first_row : int, default 0
            With ``"sum"``: the samples of the epoch that came before these, so that `Dropout` drops
            what it would drop in a whole epoch, or mini-batch, of which these are a piece.
        lengths : array-like of shape (m,), optional
            Of samples that are sequences, as for `fit`.

        Returns
        -------
        loss : float
        gradient : ndarray
            Laid out like `parameters`.
        weight : float
            With ``"sum"``: the sum of the samples' weights, which is their number by default.

        Raises
        ------
        ShapeError, DataTypeError, DataError, LabelError, UnknownNameError
            If an argument is not valid.
        BusyError
            Where the statistics change, if the network is being trained.
        """
        training = check_bool(training, "training")
        check_choice(reduction, ("mean", "sum"), "reduction")
        first_row = check_size(first_row, "first_row", at_least=0)
        if first_row and reduction == "mean":
            raise DataError('first_row needs reduction="sum": a mean is that of a whole mini-batch')
        data = self._read(X, y, sample_weight, lengths)
        if reduction == "sum":
            return self.sum_gradients(data, training, first_row)
        if training and data.rows < self.least_batch(data):
            raise DataError("X must have at least 2 samples for BatchNorm: one has no variance")
        plan, grad = self.planned(data.x.shape[1]).plan, np.empty(self._parameters.size)
        keys = _random.dropout_keys(self.seed, self.epochs_trained, 1) if training else None
        totals = self.with_theta(lambda theta: self._core.gradients(plan, theta, data, grad, keys))
        return totals.mean_loss(), grad

    def sum_gradients(
        self, data: Data, training: bool, first_row: int
    ) -> tuple[float, Array, float]:
        """Return sums over data that have been checked; in training the statistics change."""
        plan, grad = self.planned(data.x.shape[1]).plan, np.empty_like(self._parameters)
        keys = _random.dropout_keys(self.seed, self.epochs_trained, 1) if training else None
        statistics = self._statistics if training else None
        totals = self.with_theta(
            lambda theta: self.core.gradient_sums(
                plan, theta, data, grad, keys, first_row, statistics
            )
        )
        return totals.loss, grad, totals.weight

    def input_gradient(self, X: ArrayLike, y: ArrayLike) -> Array:
        """Return the gradient of each sample's own loss by its inputs, dL/dX.

        It tells which of a sample's numbers the loss hangs on (`pycnn.plot.saliency` draws it for
        images), and in which direction a change of them raises it.

        Parameters
        ----------
        X : array-like of shape (m, n_0) or (m, *input_shape)
        y : array-like of shape (m,) or (m, n_L)

        Returns
        -------
        ndarray of shape (m, *input_shape)
            By the numbers of `X` as they are handed in: a `Rescale` is a layer like the others. The
            loss is that of `evaluate`, with `target_scale` in the network's own unit, but without
            the penalty, of a sequence the sum over its positions; it is not divided by m, so that a
            sample's gradient is the same in any company. The network is as it predicts: no
            `Dropout` drops, and `BatchNorm` takes what training has counted.

        Raises
        ------
        ShapeError, DataTypeError, DataError, LabelError
            If an argument is not valid.

        Examples
        --------
        >>> from pycnn import Dense, Network
        >>> net = Network(2, [Dense(1)], seed=0)
        >>> net.layers[0].W = [[3.0, -1.0]]
        >>> net.input_gradient([[1.0, 1.0]], [0.0])  # of (3 x_1 - x_2 - y)^2 / 2
        array([[ 6., -2.]])
        """
        if isinstance(self.input_shape, Tokens):
            raise DataError(
                f"input_gradient needs inputs that are numbers, but they are {self.input_shape}: "
                "a token has nothing that could be a little larger"
            )
        data = self._read(X, y)
        plan, out = self.planned(data.x.shape[1]).plan, np.empty(data.x.shape)
        self.with_theta(lambda theta: self.core.input_gradient(plan, theta, data, out))
        return self.in_shape(out)

    def trace(self, X: ArrayLike, y: ArrayLike) -> Trace:
        """Return every quantity of one forward and backward pass; ``print`` shows them.

        Parameters
        ----------
        X : array-like of shape (m, n_0)
        y : array-like of shape (m,) or (m, n_L)

        Returns
        -------
        Trace
            ``Z[l]``, ``A[l]``, ``delta[l]`` (a column a sample), ``dW[l]``, ``db[l]``, ``loss``,
            and what they follow from, ``W[l]``, ``b[l]`` and ``slope[l]`` = f'(Z[l]); `l` is the
            layer's number and ``A[0]`` the input.

        Raises
        ------
        ShapeError, DataTypeError, DataError, LabelError
            If an argument is not valid.
        """
        from pycnn.trace import slope_of  # few programs need it

        theta = self.with_theta(np.copy)
        trace = self.trace_data(self._read(X, y), theta)
        return trace._replace(
            W=self._by_layer("W", theta),
            b=self._by_layer("b", theta.copy()),
            slope=[
                None,
                *(
                    slope_of(layer.activation, z, a)
                    for layer, z, a in zip(self.layers, trace.Z[1:], trace.A[1:], strict=True)
                ),
            ],
        )

    def _read(self, X: Any, y: Any, sample_weight: Any = None, lengths: Any = None) -> Data:
        """Return checked samples, all in memory."""
        return whole(self._reader.samples(X, y, sample_weight, lengths))

    def trace_data(self, data: Data, theta: Array) -> Trace:
        """Return the quantities of a pass over data that have been checked."""
        from pycnn.trace import Trace

        m, (architecture, plan) = data.rows, self.planned(data.x.shape[1])
        units = _numbers(architecture)
        ends = np.cumsum(units) * m
        z, a, delta = (np.empty(int(ends[-1])) for _ in range(3))
        grad = np.empty_like(self._parameters)
        totals = self.core.trace(plan, theta, data, grad, z, a, delta)

        def by_layer(flat: Array) -> list[Array]:
            parts = np.split(flat, ends[:-1])
            return [part.reshape(n, m) for part, n in zip(parts, units, strict=True)]

        return Trace(
            A=[data.x.T.copy(), *by_layer(a)],
            Z=[None, *by_layer(z)],
            delta=[None, *by_layer(delta)],
            dW=self._by_layer("W", grad),
            db=self._by_layer("b", grad),
            loss=totals.mean_loss(),
            Y=data.one_hot(self.encoder.units).reshape(m, -1).T.copy(),
        )

    def activations_of(self, x: Array) -> list[Array]:
        """Return A^[1..L] of checked rows, (m, n_l) each, whatever the loss makes of them."""
        architecture = self.planned(x.shape[1]).architecture
        plan, units = self.core.create_plan(architecture.specs, "mse"), _numbers(architecture)
        ends = np.cumsum(units) * len(x)
        z, a, delta = (np.empty(int(ends[-1])) for _ in range(3))
        data = Data(x, np.zeros((len(x), architecture.outputs)), None)
        grad = np.empty_like(self._parameters)
        self.with_theta(lambda theta: self.core.trace(plan, theta, data, grad, z, a, delta))
        parts = np.split(a, ends[:-1])
        return [part.reshape(n, -1).T for part, n in zip(parts, units, strict=True)]

    def _by_layer(self, name: str, theta: Array) -> list[Array | None]:
        """Return each layer's array of that name in a buffer like theta, from layer 1 on."""
        found = self.architecture.find(name)
        return [None, *(None if place is None else place.view(theta) for place in found)]

    # -------------------------------------------------------------- as plain data

    def __getstate__(self) -> dict[str, Any]:
        """Return all of it as plain data and arrays, which pickle and files keep."""
        loss, scale = self.architecture.loss, self.encoder.scale
        return {
            "inputs": plain_inputs(self.input_shape),
            "layers": [layer.config() for layer in self.layers],
            "loss": losses.to_config(loss),
            "loss_function": loss.function if isinstance(loss, losses.Custom) else None,
            "l1": self.l1,
            "l2": self.l2,
            "seed": self.seed,
            "backend": self._backend_name,
            "classes": self.classes,
            "feature_names": self.feature_names,
            "target_scale": None if scale is None else scale.config(),
            "epochs_trained": self.epochs_trained,
            "metadata": self.metadata,
            "parameters": self.with_theta(np.copy),
            "history": self.history,
            "stop_training": self.stop_training,
            "learning_rate_factor": self.learning_rate_factor,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        from copy import deepcopy

        layers = [from_config(config) for config in state["layers"]]
        loss = losses.from_config(state["loss"], layers[-1].activation)
        if isinstance(loss, losses.Custom):
            loss = losses.Custom(state.get("loss_function"))
        penalty = state.get("l1", 0.0), state.get("l2", 0.0)  # files of 0.1 have none
        shape = check_inputs(state["inputs"])
        architecture = Architecture(shape, layers, loss, penalty)
        self._set_up(architecture, state["seed"], state["backend"])
        self.theta[:] = state["parameters"]
        self.classes = state["classes"]
        self.feature_names = state.get("feature_names")
        self.target_scale = state.get("target_scale")
        self.epochs_trained = state["epochs_trained"]
        self.metadata = deepcopy(state["metadata"])
        # Files have none of these, nor have pickles of 0.1.
        self.history = deepcopy(state.get("history"))
        self.stop_training = state.get("stop_training", False)
        self.learning_rate_factor = state.get("learning_rate_factor", 1.0)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """Return the network that ``__getstate__`` has described."""
        model = cls.__new__(cls)
        model.__setstate__(state)
        return model
