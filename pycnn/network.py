"""`Network`: the face that users meet."""

from __future__ import annotations

import functools
import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn import _random, losses, optimizers
from pycnn._architecture import Architecture
from pycnn._checks import check_bool, check_real, check_size, is_open, known
from pycnn._data.arrays import as_values
from pycnn._data.tokens import Tokens, check_inputs
from pycnn._model import Model
from pycnn._public import names_of
from pycnn._training.checkpoint import Checkpoint, TrainingRecord
from pycnn.exceptions import DataError, DataWarning, DivergedError, PycnnError, warn
from pycnn.history import History
from pycnn.layers import Layer, check_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pycnn._stepping import Stepper
    from pycnn._typing import Array, ArrayLike, Indices, Shape
    from pycnn.backend.interface import Data, TrainingState
    from pycnn.callbacks import Callback

    Metrics = str | Callable[..., Any] | Sequence[str | Callable[..., Any]]

__all__ = ["Network", "from_onnx", "load"]
__dir__ = names_of(__name__)


# What other modules of the package use of a network: tab completion shows what is documented.
_FOR_THE_PACKAGE = {
    "activations_of",
    "architecture",
    "check_writeable",
    "core",
    "encoder",
    "from_state",
    "learn",
    "lent",
    "loan",
    "in_shape",
    "least_batch",
    "outputs_of",
    "plan",
    "planned",
    "reader",
    "score_data",
    "spread_of",
    "sum_gradients",
    "take_step",
    "theta",
    "trace_data",
    "training_record",
    "with_theta",
}


@functools.cache
def _training() -> tuple[Any, Any]:
    """Return the modules `fitting` and `loop`: much that is imported when used."""
    from pycnn._training import fitting, loop

    return fitting, loop


def _shape(shape: Shape) -> str:
    """Return a sample's shape as users write it: 64, (28, 28, 1) or Tokens(64, length=8)."""
    return str(shape[0] if len(shape) == 1 and not isinstance(shape, Tokens) else shape)


class Network(Model):
    """A feed-forward neural network.

    Parameters
    ----------
    inputs : int, tuple of int or Tokens
        Number of features, n_0, or a sample's shape, features last: ``(28, 28, 1)``, rows, columns
        and channels, for grey images; or ``Tokens(vocabulary, length)`` for whole numbers that
        stand for words or signs. ``(None, features)`` and ``Tokens(vocabulary)`` are sequences of
        any length, for layers whose arrays do not depend on it; those of a call are equally long.
    layers : sequence of Layer
        The layers 1 ... L; the last is the output layer.
    loss : str or Loss, optional
        One of `pycnn.losses.LOSSES`, one with a setting (``pycnn.losses.Huber(delta)``,
        ``Quantile(q)``, ``BinaryCrossentropy(label_smoothing)``, ``CategoricalCrossentropy(...)``),
        or a function of your own, see `pycnn.losses.Custom`. By default what belongs to the output
        activation: sigmoid -> ``"binary_crossentropy"``, softmax -> ``"categorical_crossentropy"``,
        else ``"mse"``.
    seed : int, optional
        Decides initial weights, shuffling and random splits. By default a fresh one, kept in
        `seed`.
    backend : {"auto", "c", "numpy"}, default "auto"
        Which core computes: the compiled one, or the NumPy fallback.
    l1, l2 : float, default 0.0
        Strengths >= 0 of a penalty on all weights, ``l1 sum |W| + l2/2 sum W^2``. It is added to
        the mean loss, wherever that is reported, and to what the layers have of their own.

    Attributes
    ----------
    classes : ndarray or None
        The label of each class, once `fit` has seen them.
    feature_names : tuple of str or None
        The names of X's columns, once `fit` or `partial_fit` has seen a data frame whose names are
        all text (pandas, polars, PyArrow). Frames that follow, wherever, must have them in the same
        order; arrays have no names and are taken as they are. Set it to None to forget them.
    target_scale : (mean, deviation) or None
        Each output's unit, two arrays of shape (n_L,), once ``fit(scale_targets=True)`` has learned
        it: the network learns ``(y - mean) / deviation``. It may be set, to numbers that are known
        before, or to None.
    epochs_trained : int
        Epochs that this network has been trained for in all.
    history : History or None
        That of the last `fit`, also when it was interrupted.
    stop_training : bool
        Set it in a callback to end training after the present epoch, or at once in
        `Callback.on_batch_group_end`. A fit starts with False, also one that resumes.
    learning_rate_factor : float
        Set it in a callback to scale the learning rate from the next epoch on; a fit starts with 1.
    metadata : dict
        Plain data (what JSON can hold) of your own, saved with the model.

    Raises
    ------
    UnknownNameError
        If there is no such loss or backend.
    PairingError
        If loss and output activation do not go together.
    ShapeError, DataError, DataTypeError
        If another argument is not valid.

    Examples
    --------
    >>> import pycnn
    >>> from pycnn import Dense
    >>> net = pycnn.Network(2, [Dense(4, "tanh"), Dense(1, "sigmoid")], seed=0)
    >>> net
    Network(2, [Dense(4, 'tanh'), Dense(1, 'sigmoid')], loss='binary_crossentropy', seed=0)
    >>> X, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
    >>> history = net.fit(X, y, epochs=2000, batch_size=4, optimizer=pycnn.SGD(1.0))
    >>> net.predict_classes(X)
    array([0, 1, 1, 0])
    """

    def __init__(
        self,
        inputs: int | Sequence[int | None],
        layers: Sequence[Layer],
        loss: str | losses.Loss | losses.Function | None = None,
        seed: int | None = None,
        backend: str = "auto",
        *,
        l1: float = 0.0,
        l2: float = 0.0,
    ) -> None:
        specs = check_layers(layers)
        shape = check_inputs(inputs)
        checked = losses.check(loss, specs[-1].activation)
        penalty = check_real(l1, "l1", at_least=0), check_real(l2, "l2", at_least=0)
        architecture = Architecture(shape, specs, checked, penalty)
        super().__init__(architecture, _random.check_seed(seed), backend)
        bits = _random.generator(self.seed, _random.INITIAL_PARAMETERS)
        for layer in self.layers:
            layer.initialize(bits)

    def _set_up(self, architecture: Architecture, seed: int, backend_name: str) -> None:
        others = set(vars(self)) - getattr(self, "_own", set())  # a subclass's own
        super()._set_up(architecture, seed, backend_name)
        self._training_record = TrainingRecord()
        self._own = {*vars(self), "_own"} - others  # the others are kept as they are, see below

    # -------------------------------------------------------------- showing it

    @property
    def training_record(self) -> TrainingRecord:
        """Who trains it, and from where a training can go on."""
        return self._training_record

    def __dir__(self) -> list[str]:
        return sorted(set(super().__dir__()) - _FOR_THE_PACKAGE)

    def __repr__(self) -> str:
        layers = ", ".join(map(repr, self.layers))
        backend = f", backend={self._backend_name!r}" if self._backend_name != "auto" else ""
        penalty = f", l1={self.l1!r}" if self.l1 else ""
        penalty += f", l2={self.l2!r}" if self.l2 else ""
        settings = f"loss={self.architecture.loss!r}, seed={self.seed}{backend}{penalty}"
        return f"Network({_shape(self.input_shape)}, [{layers}], {settings})"

    def _repr_html_(self) -> str:
        from pycnn._html import table

        caption = f"Network, {_shape(self.input_shape)} inputs, {_shape(self.output_shape)} outputs"
        return table(caption, self._summary_rows(), words=(0, 1, 3), footer=self._summary_totals())

    def _summary_rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [("layer", "activation", "output", "parameters", "number")]
        for part in self.architecture.parts():
            rows.append(
                (
                    f"{'  ' * part.depth}{part.name} {part.layer.kind}",
                    part.layer.activation,
                    _shape(part.spec.output_shape),
                    ", ".join(f"{name} {shape}" for name, shape, _ in part.parameters),
                    f"{sum(math.prod(shape) for _, shape, _ in part.parameters):,}",
                )
            )
        return rows

    def _summary_totals(self) -> str:
        between = sum(known(part.spec.output_shape) for part in self.architecture.parts())
        each = "position" if is_open(self.input_shape) else "sample"
        return (
            f"{self._parameters.size:,} parameters ({self._parameters.nbytes / 1000:,.1f} kB), "
            f"{between:,} activations a {each} ({between * 8 / 1000:,.1f} kB), "
            f"loss {self.loss}, backend {self.backend}"
        )

    def summary(self) -> None:
        """Print the layers with their shapes and numbers of parameters."""
        rows = self._summary_rows()
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        for number, row in enumerate(rows):
            left = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
            print(left[: -widths[4]] + row[4].rjust(widths[4]))
            if number == 0:
                print("-" * len(left))
        print(
            f"\n{_shape(self.input_shape)} inputs, {_shape(self.output_shape)} outputs, "
            f"{self._summary_totals()}"
        )

    # -------------------------------------------------------------- training it

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        epochs: int = 10,
        batch_size: int | None = 32,
        optimizer: optimizers.Optimizer | str | None = None,
        validation_data: Sequence[Any] | None = None,
        validation_split: float = 0.0,
        sample_weight: ArrayLike | None = None,
        class_weight: Mapping[Any, float] | str | None = None,
        shuffle: bool = True,
        callbacks: Callback | Callable[..., Any] | Iterable[Any] | None = None,
        progress: bool | None = None,
        resume: bool = False,
        diagnose: bool = False,
        augment: Callable[..., Any] | Sequence[Callable[..., Any]] | None = None,
        missing_targets: str = "error",
        scale_targets: bool = False,
        metrics: Metrics | None = None,
        validation_every: int = 1,
        lengths: ArrayLike | None = None,
        truncate: int | None = None,
    ) -> History:
        """Train by mini-batch gradient descent, on from where the parameters stand.

        Parameters
        ----------
        X : array-like of shape (m, n_0) or (m, *input_shape), or iterable of mini-batches
            A row a sample, or an array a sample where the network's inputs have a shape: of
            (28, 28, 1) also (m, 28, 28). Any real dtype, any strides. A large array of another
            dtype than float64, a memory map (`numpy.memmap`) or a sparse matrix of SciPy's is read
            a few megabytes at a time, in the shuffled order, and never copied as a whole. An
            iterable yields ``(x, y)``, ``(x, y, sample_weight)`` or ``(x, y, sample_weight,
            lengths)``, in which the last two may be None, each a mini-batch in its own order, and
            is gone through anew in each epoch, to its end, whatever its ``len()`` says; a function
            that returns an iterator will do as well. Integer labels are best then: others must all
            occur in the first mini-batch.
        y : array-like of shape (m,) or (m, n_L)
            Not for an iterable. Targets. For softmax: labels of any dtype (their sorted values
            become `classes`; integers 0 ... n_L - 1 stand for themselves) or one-hot rows. For one
            sigmoid unit: labels of two classes, or values in [0, 1]. For the hinge loss: labels of
            two classes, or -1 and 1. For the poisson loss: numbers >= 0. With mse on several units
            targets of which each row is a 1 among zeros are taken for classes, which are learned:
            accuracy is measured, and `predict_classes` names the largest output. Where the output
            is a sequence, (positions, n_L), each position has a target, (m, positions, n_L), or
            (m, positions) for labels and for one unit, and a loss: the mean is that over the
            positions that were observed.
        epochs : int, default 10
            Passes over the data.
        batch_size : int or None, default 32
            Samples in a mini-batch: 1 is stochastic gradient descent, None batch gradient descent.
            The last batch of an epoch may be smaller; it is averaged over its own size.
        optimizer : Optimizer or str, optional
            See `pycnn.optimizers`; by default ``SGD(0.1)``. Each fit starts it anew.
        validation_data : (X, y), (X, y, sample_weight) or (X, y, sample_weight, lengths), optional
            Measured after each epoch. It must have a target with a weight above 0. The last two may
            be None.
        validation_every : int, default 1
            The validation data are measured after each so-many-th epoch, and after the last of
            `epochs`. In the others their values are NaN, in the history too, and the ready-made
            callbacks do not look at them.
        validation_split : float, default 0
            Fraction of the samples, drawn by the seed, to hold out for validation instead.
        sample_weight : array-like of shape (m,), or (m, positions) of sequences, optional
            Weights >= 0. A mini-batch's loss and gradient are means weighted by them; one whose
            weights are all zero changes nothing.
        class_weight : dict or "balanced", optional
            A weight for each label, multiplied into the samples' weights; 1 for absent labels.
        shuffle : bool, default True
            Whether each epoch takes the samples in a new order, drawn by the network's seed.
        callbacks : list of Callback or function, optional
            See `pycnn.callbacks`.
        progress : bool, optional
            Whether to show a progress bar (extra ``progress``); by default when interactive.
        resume : bool, default False
            Go on with a training that was interrupted, to the same number of epochs in all and the
            same bits as if nothing had happened. The network must have its state: from a file that
            was saved with ``training_state=True``, such as those of `callbacks.ModelCheckpoint`, or
            because Ctrl-C, an exception or a callback has ended its last fit in this process; then
            up to a second's work is done again. All arguments must be the same as before, but
            `epochs` may be another number where the learning rates do not depend on it, and
            callbacks that only watch may come and go.
        augment : callable or list of callables, optional
            ``augment(x, y, rng) -> (x, y)`` changes each mini-batch before it is trained on, such
            as those in `pycnn.augmentation`; `x` (b, *input_shape) and `y` (b, n_L), one-hot for
            classes, are copies, and `rng` a `numpy.random.Generator` that follows from the
            network's seed, the epoch and the mini-batch.
        missing_targets : {"error", "mask"}, default "error"
            What a gap in `y` is (NaN, None, NaT, pandas' NA, a masked value): a mistake, or a
            target that has not been observed. The latter adds nothing to the loss or the classes,
            and a sample without any target counts as if it were not there. For
            losses that are sums over the outputs: mse, mae, huber, quantile, poisson, hinge,
            binary_crossentropy. Of sequences with any loss, and a label of -1 is a gap too.
        scale_targets : bool, default False
            Whether to learn each output's mean and standard deviation from the targets that are
            trained on, by their weights, and to train on ``(y - mean) / deviation``: for numbers
            far from 0 or far apart. They are learned once, by the first training, and kept as
            `target_scale`, also in the file; every later call uses them. Loss, history, gradients,
            `trace` and huber's delta are then in that unit; `predict`, r2 and what an augmenter
            gets in that of `y`. For a linear output with mse, mae, huber or quantile. An iterable
            has no mean before its end: set `target_scale` for it.
        metrics : list of str or callable, optional
            What else to measure on the validation data: names of `pycnn.metrics` whose result is
            one number, or functions of your own ``f(y_true, y_pred)``, which get what
            `predict_classes` or else `predict` gives, and ``sample_weight`` if they have an
            argument of that name. ``metrics=["f1"]`` gives the history ``"val_f1"``, which
            callbacks may watch. ``"precision"``, ``"recall"`` and ``"f1"`` are those of the second
            of two classes, else the mean over the classes; several sigmoid units are taken
            together. ``"r2"`` is the mean over the outputs, and takes the place of the one over all
            of them. All are NaN where outputs are not finite. They are measured once before the
            training too, so that what cannot be measured is refused before anything has changed.
        diagnose : bool, default False
            Whether to measure each layer's gradient and activations after each epoch, on at most
            256 of the rows; see `History`. Layers that do not learn are warned of.
        lengths : array-like of shape (m,), optional
            Of samples that are sequences, (positions, features): how many of their positions are
            there, from the first one on, at least 1. What stands behind them, in X, y and
            `sample_weight`, is of no account, and may be NaN. All layers must know lengths, up to
            one that makes a single row of a sequence: those that do not (a convolution over more
            than one position, `BatchNorm`, `Flatten`, pooling of windows) are named.
        truncate : int, optional
            Of long sequences with a target at each position: train on windows of so many positions,
            one after the other, each of which is a step of its mini-batch. Recurrent layers go on
            from one window to the next and begin with zeros at a sequence's first position, but
            gradients end where a window begins (truncated back-propagation through time; Williams &
            Peng, 1990). All layers must be such that the whole could be read in parts by what
            recurrent layers remember: no `Bidirectional`, no ``reverse``, no attention. An
            iterable's mini-batches must all have as many positions.

        Returns
        -------
        History
            Also kept in `history`.

        Raises
        ------
        ShapeError, DataTypeError, DataError, LabelError, UnknownNameError
            If an argument is not valid; nothing has changed then.
        DivergedError
            If a loss is not finite; the parameters are those of the last finite step.
        BusyError
            If the network is being trained already.
        KeyboardInterrupt
            On Ctrl-C, with the parameters of the last finished step.

        Warns
        -----
        DataWarning
            Once, and before anything has changed, where inputs or targets are not scaled, targets
            are out of the output's reach, the loss does not fit them, a batch is larger than the
            data, `validation_data` have no lengths though X has, or `BatchNorm` gets a last
            mini-batch of one sample. Behind the first epoch, where
            an iterable has yielded another number of mini-batches than its ``len()``.
        LayerWarning
            With `diagnose`, where units are dead or saturated, or gradients vanish or explode.
        """
        fitting, loop = _training()

        request = fitting.check_request(
            epochs=epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            validation_data=validation_data,
            validation_split=validation_split,
            sample_weight=sample_weight,
            class_weight=class_weight,
            shuffle=shuffle,
            callbacks=callbacks,
            progress=progress,
            resume=resume,
            diagnose=diagnose,
            augment=augment,
            missing_targets=missing_targets,
            scale_targets=scale_targets,
            metrics=metrics,
            validation_every=validation_every,
            lengths=lengths,
            truncate=truncate,
        )
        me = object()
        try:
            self._training_record.get_in_line(me)
            self.check_writeable()
            checkpoint = self._training_record.to_resume() if request.resume else None
            prepared = fitting.prepare(self, X, y, request)
            loop.run(self, self._training_record, prepared, request, checkpoint)
            assert self.history is not None
            return self.history
        finally:
            self._training_record.line.pop(me, None)

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        batch_size: int | None = 32,
        optimizer: optimizers.Optimizer | str | None = None,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        shuffle: bool = True,
        lengths: ArrayLike | None = None,
        truncate: int | None = None,
    ) -> History:
        """Train for one epoch over the data at hand, as one of many.

        What the optimizer remembers lasts from call to call, also through `save` with
        ``training_state=True`` and `load`: n calls with the same data do what ``fit(epochs=n)``
        does, to the bit. Another optimizer, or a `fit`, starts anew.

        Parameters
        ----------
        X : array-like of shape (m, n_0)
        y : array-like of shape (m,) or (m, n_L)
            As for `fit`.
        batch_size : int or None, default 32
            Samples in a mini-batch; None for all.
        optimizer : Optimizer or str, optional
            By default that of the call before, at first ``SGD(0.1)``. A schedule counts each call
            as an epoch; it must not depend on the length of the training.
        classes : array-like, optional
            All labels that will occur, for the first call; not needed where `y` has them all or
            holds integers 0 ... n_L - 1.
        sample_weight : array-like of shape (m,), optional
        shuffle : bool, default True
            Whether to take the samples in a new order, drawn by the network's seed.
        lengths : array-like of shape (m,), optional
            Of samples that are sequences, as for `fit`.
        truncate : int, optional
            Of long sequences, positions of a window, as for `fit`: each call begins at the first.

        Returns
        -------
        History
            An epoch for each call since the optimizer started; also kept in `history`.

        Raises
        ------
        ShapeError, DataTypeError, DataError, LabelError, UnknownNameError
            If an argument is not valid; nothing has changed then.
        DivergedError, BusyError, KeyboardInterrupt
            As by `fit`. A call that was interrupted does not count as an epoch.
        """
        beside = sample_weight, lengths
        how = batch_size, optimizer, classes, beside, shuffle, truncate
        self._train_one(X, y, *how, log=True)
        assert self.history is not None
        return self.history

    def train_on_batch(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        optimizer: optimizers.Optimizer | str | None = None,
        sample_weight: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
    ) -> dict[str, float]:
        """Do one update by one mini-batch.

        A `partial_fit` of a single batch in its own order, that keeps no history: what the
        optimizer remembers lasts from call to call, and each call counts as an epoch.

        Parameters
        ----------
        X : array-like of shape (m, n_0)
        y : array-like of shape (m,) or (m, n_L)
            As for `fit`.
        optimizer : Optimizer or str, optional
            By default that of the call before, at first ``SGD(0.1)``.
        sample_weight : array-like of shape (m,), optional
        lengths : array-like of shape (m,), optional
            Of samples that are sequences, as for `fit`.

        Returns
        -------
        dict
            ``loss`` before the update, for classes also ``accuracy``; ``gradient_norm`` where the
            optimizer clips it.

        Raises
        ------
        ShapeError, DataTypeError, DataError, LabelError, UnknownNameError
            If an argument is not valid; nothing has changed then.
        DivergedError, BusyError
            As by `fit`.

        Examples
        --------
        >>> from pycnn import Adam, Dense, Network
        >>> net = Network(1, [Dense(1)], seed=0)
        >>> for _ in range(500):
        ...     logs = net.train_on_batch([[0.0], [1.0]], [1.0, 3.0], optimizer=Adam(0.1))
        >>> logs["loss"] < 1e-6
        True
        """
        beside = sample_weight, lengths
        return self._train_one(X, y, None, optimizer, None, beside, False, None, log=False)

    def trainer(
        self, batch: int = 1, optimizer: optimizers.Optimizer | str | None = None
    ) -> Callable[..., float]:
        """Return a callable that trains on a mini-batch with the least delay: of online learning.

        ``t(x, y)`` does what ``net.train_on_batch(x, y, optimizer=optimizer)`` does, to the bit,
        but takes only arrays that need not be converted, and returns the loss alone. So calls of
        both, and of `partial_fit`, may follow each other; a `fit`, or another optimizer, starts
        anew.

        Parameters
        ----------
        batch : int, default 1
            Rows of each call.
        optimizer : Optimizer or str, optional
            By default that of the `train_on_batch` or `partial_fit` before, at first ``SGD(0.1)``.

        Returns
        -------
        callable
            ``t(x, y, weight=None)`` takes contiguous float64 arrays of shape (batch, n_0),
            (batch, n_L) (for one unit also (batch,); for softmax also integer labels) and (batch,),
            and returns the mean loss before the step. It takes the least time where the same
            arrays come again, with new numbers in them; those of the last call it keeps. A NaN
            or an infinity in them is a `DivergedError`; nothing has changed then. While the
            network is being trained, also by another trainer, it raises `BusyError`.

        Raises
        ------
        DataError, DataTypeError, UnknownNameError
            If `batch` is not an integer of at least 1, there are no such steps by the optimizer, or
            the inputs are `Tokens`.

        Examples
        --------
        >>> import numpy as np
        >>> from pycnn import Adam, Dense, Network
        >>> net = Network(1, [Dense(1)], seed=0)
        >>> x, y, train = np.empty((1, 1)), np.empty((1, 1)), net.trainer(optimizer=Adam(0.1))
        >>> for step in range(1000):
        ...     x[0] = step % 2
        ...     y[0] = 2 * x[0] + 1
        ...     loss = train(x, y)
        >>> loss < 1e-6
        True
        """
        from pycnn._training.trainer import BatchTraining, Trainer  # imported when used

        batch = check_size(batch, "batch")
        chosen = self._last_optimizer() if optimizer is None else optimizers.get(optimizer)
        return Trainer(BatchTraining(self, self._training_record, chosen), batch).callable()

    def sum_gradients(
        self, data: Data, training: bool, first_row: int
    ) -> tuple[float, Array, float]:
        """Return sums over data that have been checked; in training the statistics change."""
        if not (training and self.statistics.size):
            return super().sum_gradients(data, training, first_row)
        me = object()
        try:
            self._training_record.get_in_line(me)
            self.check_writeable()
            before = self.statistics.copy()
            sums = super().sum_gradients(data, training, first_row)
            if not np.isfinite(self.statistics).all():
                self.statistics[:] = before
                raise DataError(
                    "X is too large for BatchNorm: its mean or variance would be infinite; divide "
                    "each column by its standard deviation"
                )
            if data.rows < self.least_batch(data):
                warn(
                    "X has one sample, which has no variance: BatchNorm neither counts it nor lets "
                    "the layers before it learn from it; take at least 2 at a time",
                    DataWarning,
                )
            return sums
        finally:
            self._training_record.line.pop(me, None)

    def take_step(
        self,
        gradient: ArrayLike,
        weight: float,
        state: TrainingState,
    ) -> None:
        """Change the parameters by a gradient's sums: see `pycnn.optimizers.Optimizer.apply`."""
        sums = as_values(gradient, "gradient", self.parameters.shape)
        me = object()
        try:
            self._training_record.get_in_line(me)
            self.check_writeable()
            if weight > 0:
                theta, slots = state.keep(self.theta)
                steps, updates = state.steps, state.updates
                self.core.update(self.plan, self.theta, sums, weight, state)
                if not np.isfinite(self.theta).all():
                    self.theta[:], state.slots[:] = theta, slots
                    state.steps, state.updates = steps, updates
                    raise DivergedError(
                        "a parameter would be NaN or infinite after this step, which has not been "
                        "made: the learning rate is too high, or the gradient too large"
                    )
            else:
                state.steps += 1
        finally:
            self._training_record.line.pop(me, None)

    def _train_one(
        self,
        X: Any,
        y: Any,
        batch_size: int | None,
        optimizer: Any,
        classes: Any,
        beside: tuple[Any, Any],
        shuffle: bool,
        truncate: int | None,
        log: bool,
    ) -> dict[str, float]:
        fitting, loop = _training()

        batch_size = fitting.check_optional_size(batch_size, "batch_size")
        truncate = fitting.check_optional_size(truncate, "truncate")
        shuffle = check_bool(shuffle, "shuffle")
        me = object()
        try:
            self._training_record.get_in_line(me)
            self.check_writeable()
            chosen = self._last_optimizer() if optimizer is None else optimizers.get(optimizer)
            if truncate is not None:
                fitting.check_truncate(self, chosen)
            data, learned = fitting.read_one(self, X, y, *beside, classes=classes)
            batches = loop.batches_by(chosen, self, self._training_record)
            going_on = batches.last is self._training_record.last
            batch_size = fitting.check_one(self, data, batch_size, going_on)
            self.learn(learned)
            means: dict[str, float] = loop.run_one(
                batches, data, batch_size=batch_size, shuffle=shuffle, truncate=truncate, log=log
            )
            return means
        finally:
            self._training_record.line.pop(me, None)

    def _last_optimizer(self) -> optimizers.Optimizer:
        """Return the optimizer of the `partial_fit` before, or the default."""
        last, batches = self._training_record.last, self._training_record.batches
        if batches is not None and batches.last is last:
            return batches.optimizer
        if last is None or last.settings["by"] != "partial_fit":
            return optimizers.get(None)
        try:
            return optimizers.from_config(last.settings["optimizer"])
        except (PycnnError, TypeError):
            raise DataError("optimizer must be given: it has a schedule of your own") from None

    def folded(self) -> Network:
        """Return a network for prediction that gives the same outputs with fewer layers.

        In prediction a `BatchNorm` is ``scale * a + shift``: it becomes part of the linear `Dense`
        or convolution before it or, where its own activation is linear, of the one behind it; a
        convolution without biases gets some. `Dropout` layers are left out. A `BatchNorm` between
        two other activations stays, and one in front of a convolution that sees zeros beyond the
        image. So do labels and metadata; what only training needs does not: penalties, of which the
        loss of `evaluate` is then free, max-norms, the history, and what it takes to resume.

        Returns
        -------
        Network
            A new one; trained further it would not be normalized.
        """
        from pycnn._folding import folded

        return folded(self)

    def stepper(self, batch: int = 1, *, frozen: bool = False) -> Stepper:
        """Return a callable that takes one position of a sequence after the other.

        It remembers what it needs of those before, so that each takes as long as the first: for
        what comes in bit by bit, as a sensor's readings or the words of a text do. What it returns
        are the outputs of `predict` at each position or, where a network gives one for a whole
        sequence, what that would be if it ended there: on the C core with the same bits, in NumPy
        up to 1e-12, since its products of one row round otherwise than those of many.

        Recurrent layers go on as long as there are positions. A network with attention, or with a
        `PositionEmbedding`, has a window of as many positions as its samples; when that is full,
        the last half of it begins the next one.

        Parameters
        ----------
        batch : int, default 1
            Sequences that go on side by side.
        frozen : bool, default False
            Keep a copy of the parameters, and of the targets' unit, as they are now: as for
            `predictor`, a single sequence takes about half of the time so, with the same bits. Else
            each step reads the network's present parameters.

        Returns
        -------
        callable
            ``step(x)`` takes what stands at the next position, numbers of shape (F,) or (batch, F),
            of tokens an integer or (batch,) integers, and returns an array of shape (batch, n_L).
            ``step.reset()`` begins new sequences, and ``step.state`` is what is remembered, as an
            array (batch, numbers): reading it gives a copy, and setting it goes on from there, also
            with another stepper of the same network. One thread at a time may call it.

        Raises
        ------
        DataError
            If samples are no sequences, or a layer needs all positions at once, as convolution,
            pooling, `Flatten`, `Bidirectional` and attention that is not causal do.
        DataError, DataTypeError
            If `batch` is not an integer of at least 1, or `frozen` not a bool.

        Examples
        --------
        >>> from pycnn import GRU, Dense, Network
        >>> net = Network((20, 1), [GRU(4, return_sequences=True), Dense(1)], seed=0)
        >>> X = np.sin(np.arange(20.0)).reshape(1, 20, 1)
        >>> step = net.stepper()
        >>> outputs = np.vstack([step(x) for x in X[0]])
        >>> bool(np.allclose(outputs, net.predict(X)[0], rtol=0, atol=1e-12))
        True
        """
        from pycnn._stepping import Stepper  # imported when used

        return Stepper(self, check_size(batch, "batch"), check_bool(frozen, "frozen"))

    def generate(
        self,
        start: ArrayLike,
        count: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop: int | Iterable[int] | None = None,
        callback: Callable[[int], Any] | None = None,
    ) -> Indices:
        """Write on from a beginning: each token is drawn by its probability behind those before it.

        For a network on `Tokens` whose output is a softmax over them: behind the last tokens that
        it reads, or at each position, behind those up to there. In the latter case recurrent
        layers go on for as long as there is text, as those of `stepper` do; attention and position
        embeddings have a window of as many tokens as a sample, and when it is full, its last half
        begins the next one. What a layer remembers is not computed again, unless it reads all
        positions at once, as `Bidirectional` and attention that is not causal do.

        Parameters
        ----------
        start : array-like of int, of shape (tokens,)
            The beginning, such as ``tokenizer.encode("ROMEO:")``: at least one token, and at least
            as many as a sample has where the output is a single row and a layer does not know
            lengths.
        count : int
            Tokens to write.
        temperature : float, default 1.0
            Probabilities are raised to 1 / temperature: below 1 the probable become more so. With
            0 the most probable token is taken, of equals the first.
        top_k : int, optional
            Draw from so many of the most probable tokens alone, and those that equal the last.
        top_p : float, optional
            Draw from as few of the most probable tokens as have together this probability, and
            those that equal the last; above 0, at most 1.
        seed : int, optional
            Decides what is drawn, on every machine and both backends. By default a fresh one.
        stop : int or iterable of int, optional
            Tokens behind which the text ends.
        callback : callable, optional
            ``callback(token)`` is called with each token in its order. Tokens are drawn some at a
            time, as many as take 20 ms.

        Returns
        -------
        ndarray of int, of shape (count,)
            What was written, without `start`; shorter where it has ended with one of `stop`.

        Raises
        ------
        PairingError
            If the output is not a softmax over the tokens.
        ShapeError, DataTypeError, DataError
            If the network reads no tokens, or an argument is not valid.

        Examples
        --------
        >>> from pycnn import Dense, Embedding, Flatten, Network, Tokens
        >>> layers = [Embedding(4), Flatten(), Dense(5, "softmax")]
        >>> net = Network(Tokens(5, length=2), layers, seed=0, backend="numpy")
        >>> net.generate([3, 4], 6, seed=1).shape
        (6,)
        """
        from pycnn._generation import generate

        return generate(self, start, count, temperature, top_k, top_p, seed, stop, callback)

    def to_sklearn(self) -> tuple[list[Array], list[Array]]:
        """Return what scikit-learn's multi-layer perceptrons have as `coefs_` and `intercepts_`.

        A fitted estimator of the same sizes and activations takes them:
        ``mlp.coefs_, mlp.intercepts_ = net.to_sklearn()``. `BatchNorm` becomes part of the layer
        beside it, as by `folded`, and `Dropout` is left out.

        Returns
        -------
        coefs : list of ndarray, (n_l-1, n_l)
        intercepts : list of ndarray, (n_l,)

        Raises
        ------
        DataError
            If the network has layers or activations that scikit-learn has not.
        """
        from pycnn._io.perceptron import to_sklearn  # imported when used

        return to_sklearn(self.folded())

    # -------------------------------------------------------------- keeping it

    def save(self, path: str | os.PathLike[str], *, training_state: bool = False) -> None:
        """Write the model to a safetensors file: architecture, parameters, classes, metadata.

        Parameters
        ----------
        path : path-like
            The file is written beside its final place and renamed into it, so that a crash or a
            full disk leaves the previous file intact.
        training_state : bool, default False
            Whether to save all that it takes to go on with the last `fit` (``resume=True``) or the
            last `partial_fit` as if nothing had happened: what optimizer and callbacks remember,
            the history, and where in it the training stands. After an exception in `fit`, Ctrl-C
            too, and in a signal handler while it runs, that is up to a second before the
            parameters, which are saved as they are.

        Raises
        ------
        OSError
            If the file cannot be written.
        DataError
            If there is no training state, because the network has not been trained; or if a part
            of the network is such that `load` would refuse the file.
        DataTypeError
            If `metadata`, the labels, or the state of a callback of your own are such: they must be
            what JSON can hold, nested less than a hundred deep. In all these cases a file that was
            there before stays as it was.
        """
        from pycnn._io.model_file import save  # json: imported when used

        save(self, path, check_bool(training_state, "training_state"))

    def to_onnx(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        dtype: str = "float32",
        opset: int = 20,
        layout: str = "channels_last",
    ) -> bytes | None:
        """Write what the network predicts as an ONNX model, which other programs compute.

        Its normalizations are folded, as `folded` does, and dropout is left out. The input
        ``"input"`` is (batch, *input_shape), of integers for tokens; the output, ``"output"``, is
        what `predict` returns. The metadata hold version, loss and classes.

        Parameters
        ----------
        path : path-like, optional
            Where the file is written, as a whole or not at all. By default it is returned.
        dtype : {"float32", "float64"}, default "float32"
            Of parameters, inputs and outputs. ONNX Runtime has no float64 convolution, mean pooling
            nor recurrent layers: a warning says so.
        opset : int, default 20
            Version of ONNX's operations, 18 ... 25.
        layout : {"channels_last", "channels_first"}, default "channels_last"
            How samples of several axes come in: as in pycnn, or with their channels first.

        Returns
        -------
        bytes or None
            The file, where no path is given.

        Raises
        ------
        OSError
            If the file cannot be written.
        DataError, UnknownNameError
            If an argument is not valid, or a layer has no counterpart in ONNX.

        Examples
        --------
        >>> from pycnn import Dense, Network, from_onnx
        >>> net = Network(3, [Dense(4, "gelu"), Dense(2, "softmax")], seed=0)
        >>> content = net.to_onnx(dtype="float64")
        >>> bool((from_onnx(content).parameters == net.parameters).all())
        True
        """
        from pycnn._io.onnx.writer import to_onnx  # imported when used

        return to_onnx(self.folded(), path, dtype, opset, layout)

    def export_c(
        self,
        path: str | os.PathLike[str],
        *,
        name: str = "model",
        dtype: str = "float32",
        weights: str = "float",
        self_test: ArrayLike = 8,
        header: bool = False,
    ) -> Network:
        """Write the network as one file of C99 that needs nothing but the C library's math.

        It allocates nothing and has no variables of its own, so that any number of threads may call
        it, and constants stay in flash memory. What begins with `name`, here "model"::

            typedef float model_real;
            void model_predict(const model_real *x, model_real *y);
            int model_predict_class(const model_real *x);
            int model_self_test(void);

        with ``model_INPUTS``, ``model_OUTPUTS`` and, of classes, ``model_class_name``;
        ``model_predict_in`` and ``model_self_test_in`` with memory of the caller's,
        ``model_SCRATCH`` numbers, alone where these are more than 512 kB; and, of recurrent
        networks that go forward, ``model_step`` with a state of ``model_STATE`` numbers.
        Numbers are as they were measured where the model keeps how columns are standardised.

        Parameters
        ----------
        path : path-like
            The file, written as a whole or not at all.
        name : str, default "model"
            What all names of the file begin with: letters, digits and underscores.
        dtype : {"float32", "float64"}, default "float32"
            What it computes with.
        weights : {"float", "int8"}, default "float"
            int8 keeps a weight as a whole number from -127 to 127, times a scale for each unit.
        self_test : int or array-like of shape (m, n_0), default 8
            Rows that the file keeps with their outputs, to be tested where it runs: drawn ones, or
            those that are given, as `predict` takes them. 0: there is no ``model_self_test``.
        header : bool, default False
            Whether the declarations become a file of their own, ``.h``, beside `path`.

        Returns
        -------
        Network
            What the file computes: `folded` (for float32, but for normalizations of what lies far
            from 0), and with weights that are rounded as they are there. Its `evaluate` says what
            that costs.

        Raises
        ------
        OSError
            If the file cannot be written.
        DataError, UnknownNameError, DataTypeError, ShapeError
            If an argument is not valid, a layer has no counterpart, or a number is not finite or
            not one that `dtype` can hold.

        Examples
        --------
        >>> import tempfile
        >>> from pycnn import Dense, Network
        >>> net = Network(4, [Dense(8, "tanh"), Dense(3, "softmax")], seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     small = net.export_c(f"{folder}/iris.c", name="iris", weights="int8")
        >>> X = [[5.1, 3.5, 1.4, 0.2]]
        >>> bool(abs(small.predict(X) - net.predict(X)).max() < 0.02)
        True
        """
        from pycnn._io.c_source import export

        return export(self, path, name, dtype, weights, self_test, header)[0]

    def to_torch(self, like: Any = None) -> dict[str, Any]:
        """Return the weights as PyTorch has them; `pycnn.from_torch` is the way back.

        Parameters
        ----------
        like : dict or module, optional
            The state dict of the model that is to take them, or the model: its names are used. By
            default those of a ``torch.nn.Sequential`` that has a module for each layer and each
            activation.

        Returns
        -------
        dict
            Arrays of float64 by name, for ``load_state_dict`` once they are tensors.

        Raises
        ------
        ShapeError
            If an array does not fit the other model; both are named.
        DataError
            If the other model has no place for numbers that are not 0, or has them in an order that
            a layer cannot be given; see `pycnn.from_torch`.
        DataTypeError
            If `like` is neither.

        Examples
        --------
        >>> from pycnn import Dense, Network
        >>> net = Network(3, [Dense(4, "relu"), Dense(2, "softmax")], seed=0)
        >>> list(net.to_torch())
        ['0.weight', '0.bias', '2.weight', '2.bias']
        """
        from pycnn._io.weights import to_torch

        return to_torch(self, like)

    def to_keras(self) -> list[Any]:
        """Return the weights as Keras has them; `pycnn.from_keras` is the way back.

        Returns
        -------
        list of arrays
            Of float64, for ``set_weights`` of a model of the same layers.
        """
        from pycnn._io.weights import to_keras

        return to_keras(self)

    def __getstate__(self) -> dict[str, Any]:
        while True:
            loan, state, lent = self.loan, super().__getstate__(), self.lent()
            if lent is not None or self.loan is loan:
                break  # else a fit has begun or ended meanwhile, and changed a part of it
        if lent is not None:  # another thread trains: what it has kept last, as a whole
            kept = lent.kept
            state |= {
                "parameters": lent.theta,
                "epochs_trained": kept.epochs_trained,
                "learning_rate_factor": kept.learning_rate_factor,
                "history": History.truncated(kept.history, kept.epoch),
            }
        training = self._training_record.present(self.learning_rate_factor)
        return state | {
            "training": None if training is None else training.plain(state["parameters"]),
            "attributes": {k: v for k, v in dict(vars(self)).items() if k not in self._own},
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if state.get("training") is not None:
            last = Checkpoint.from_plain(state["training"], self.theta)
            self._training_record = TrainingRecord(last)
            if "learning_rate_factor" not in state:  # as files do not have it
                self.learning_rate_factor = last.learning_rate_factor
        vars(self).update(state.get("attributes", {}))


def load(
    path: str | os.PathLike[str],
    backend: str = "auto",
    *,
    loss: losses.Function | None = None,
) -> Network:
    """Read a network that `Network.save` wrote.

    Parameters
    ----------
    path : path-like
    backend : {"auto", "c", "numpy"}, default "auto"
        Which core the network computes with.
    loss : callable, optional
        The function of a network whose loss is one of your own: a file cannot keep it. Without it
        the network predicts, but neither trains nor evaluates.

    Returns
    -------
    Network

    Raises
    ------
    OSError
        If the file cannot be read.
    ModelFileError
        If it is not an intact pycnn model: truncated, altered, or of another kind. Nothing in the
        file is ever run as code.

    Examples
    --------
    >>> import os, tempfile
    >>> from pycnn import Dense
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.safetensors")
    ...     Network(2, [Dense(1)], seed=0).save(path)
    ...     net = load(path)
    >>> net.layers[0].W.shape
    (1, 2)
    """
    from pycnn._io.model_file import read_state  # json: imported when used

    return Network.from_state(read_state(path) | {"backend": backend, "loss_function": loss})


def from_onnx(path: Any, backend: str = "auto") -> Network:
    """Read a network that `Network.to_onnx`, PyTorch or skl2onnx has written as an ONNX model.

    Normalizations of inputs become part of the weights behind them. What has no counterpart in
    pycnn is an error that names the operation. Samples that other programs have with their channels
    first have them last here: ``np.moveaxis(X, 1, -1)``.

    Parameters
    ----------
    path : path-like, bytes, binary file or onnx.ModelProto
        The file, or what stands in it.
    backend : {"auto", "c", "numpy"}, default "auto"
        Which core the network computes with.

    Returns
    -------
    Network
        With the loss that belongs to its last layer's activation, unless pycnn wrote another.

    Raises
    ------
    OSError
        If the file cannot be read.
    ModelFileError
        If it is not an intact ONNX model, or not of a network that pycnn has. Nothing in the file
        is ever run as code.

    Examples
    --------
    >>> from pycnn import Dense
    >>> written = Network(2, [Dense(3, "tanh"), Dense(1)], seed=0).to_onnx(dtype="float64")
    >>> net = from_onnx(written)
    >>> net.layers[0].W.shape
    (3, 2)
    """
    from pycnn._io.onnx.reader import read_state  # imported when used

    return Network.from_state(read_state(path) | {"backend": backend})
