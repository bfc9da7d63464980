"""A training whose gradients are summed elsewhere; all else of it is that of `Network.fit`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn import _random
from pycnn._checks import check_bool, check_real, check_size, is_open
from pycnn._training import advice, fitting, lbfgs, loop
from pycnn._training.loader import Loader
from pycnn.backend.interface import NotFiniteError, OptimizerSpec, Totals, TrainingState
from pycnn.distributed._engines import Here
from pycnn.distributed._shard import TOTALS, state_of
from pycnn.distributed._sources import Chunks, Files
from pycnn.distributed._survey import Question, learn, mark_of
from pycnn.exceptions import DataError, DataTypeError
from pycnn.network import Network
from pycnn.optimizers import LBFGS

if TYPE_CHECKING:
    from pycnn._data.reader import Reader
    from pycnn._training.checkpoint import TrainingRecord
    from pycnn._typing import Array, Bits, Indices
    from pycnn.backend.interface import Data
    from pycnn.distributed._engines import Engine
    from pycnn.history import History

# What `Network.fit` takes and this one does not, and what to do instead.
_REFUSED = {
    "sample_weight": "weights belong to data: (X, y, sample_weight)",
    "lengths": "lengths belong to data: (X, y, sample_weight, lengths), of which sample_weight may "
    "be None",
    "validation_split": "hold rows out yourself, and give them as validation_data",
    "scale_targets": "set net.target_scale = (mean, deviation) before: these are numbers of all "
    "rows",
    "diagnose": "no process has all rows; net.trace shows what some of them do",
    "truncate": "Network.fit alone trains window by window; a sequence may be cut into samples",
}

# Momentum keeps a step's gradient in its slot: the mean over samples, with the penalty's.
_KEEPS_GRADIENT = OptimizerSpec("sgd", momentum=0.5, slots=1)


class Places:
    """The rows of a training as `Steps` counts them: as if every chunk were full."""

    def __init__(self, chunks: Chunks, weighted: bool, sample: Data) -> None:
        self.x, self.y, self.rows = sample.x, sample.y, chunks.count * chunks.size
        self.weight = sample.weight if weighted else None
        self.lengths = sample.lengths


class ChunkLoader(Loader):
    """Has the gradients of mini-batches of whole chunks summed by an engine."""

    def __init__(
        self,
        network: Network,
        record: TrainingRecord,
        sample: Data,
        engine: Engine,
        chunks: Chunks,
        weighted: bool,
        shuffle: bool,
        settings: dict[str, Any],
    ) -> None:
        super().__init__(network, record, Places(chunks, weighted, sample), [])
        self.is_whole, self.sample = False, sample
        self.engine, self.chunks, self.shuffle = engine, chunks, shuffle
        self.settings = {"shuffle": shuffle, "chunk_rows": chunks.size, **settings}
        self.plan = network.planned(sample.x.shape[1]).plan

    def train(self, theta: Array, state: TrainingState, steps: int) -> int:
        """Do up to `steps` steps of training, as the backends' ``train``; return how many."""
        done = 0
        while done < steps and state.epoch < state.epochs:
            self._step(theta, state, done)
            done += 1
        return done

    def _step(self, theta: Array, state: TrainingState, done: int) -> None:
        epoch, core = state.epoch, self.network.core
        keys = None if state.dropout_keys is None else state.dropout_keys[epoch : epoch + 1]
        number = self.first_epoch + epoch
        grad, totals = self._sums(theta, self._numbers(state), number, keys)
        if not math.isfinite(totals.loss):
            raise NotFiniteError(done)
        part = self._part_of(state, 1, 0, done)
        if part.learning_rates is not None:
            part.learning_rate = float(part.learning_rates[0])
        totals_after = state.totals[epoch] + np.array(totals)
        behind = state.position + state.batch_size
        following = (epoch, behind) if behind < self.rows else (epoch + 1, 0)
        self.record.in_step = True
        try:
            if totals.weight > 0:
                core.update(self.plan, theta, grad, totals.weight, part)
            else:
                part.steps = 1
        finally:
            # As in `_train_piece`: nothing is called here.
            state.updates = part.updates
            state.steps += part.steps
            if part.steps:
                state.totals[epoch] = totals_after
                state.epoch, state.position = following
        self.record.in_step = state.epoch != epoch

    def _numbers(self, state: TrainingState) -> Indices:
        """Return the chunks of the next mini-batch, in the order of their numbers."""
        count, size = self.chunks.count, self.chunks.size
        part = slice(state.position // size, (state.position + state.batch_size) // size)
        if not self.shuffle or state.batch_size >= self.rows:
            return np.arange(count)[part]
        epoch = self.first_epoch + state.epoch
        return np.sort(_random.permutations(self.network.seed, count)(epoch, 1)[0, part])

    def _sums(
        self, theta: Array, numbers: Indices, epoch: int, keys: Bits | None
    ) -> tuple[Array, Totals]:
        """Return a gradient's sums, and the loss with its penalty."""
        values = self.engine.sums(theta, numbers, epoch, keys)
        loss, weight, correct = values[-TOTALS:].tolist()
        loss += weight * self.network.core.penalty(self.plan, theta)
        return values[:-TOTALS], Totals(loss, weight, correct)

    def gradients(self, theta: Array, gradient: Array) -> Totals:
        """Put the mean loss's gradient over all samples into `gradient`, as `core.gradients`."""
        after = self.network.theta.copy()
        after[: len(theta)] = theta
        grad, totals = self._sums(after, np.arange(self.chunks.count), self.first_epoch, None)
        if not (math.isfinite(totals.loss) and np.isfinite(grad).all()):
            gradient[:] = math.nan
        elif totals.weight == 0:
            gradient[:] = 0.0
        else:
            slots = np.zeros((1, len(gradient)))
            state = TrainingState(0, 1, 0.0, None, _KEEPS_GRADIENT, slots)
            self.network.core.update(self.plan, after, grad, totals.weight, state)
            gradient[:] = slots[0]
        return totals


def fit(
    net: Network,
    data: Any,
    *,
    client: Any = None,
    comm: Any = None,
    epochs: int = 10,
    batch_size: int | None = None,
    optimizer: Any = None,
    chunk_rows: int = 4096,
    shuffle: bool = True,
    validation_data: Any = None,
    validation_every: int = 1,
    metrics: Any = None,
    callbacks: Any = None,
    progress: bool | None = None,
    resume: bool = False,
    class_weight: Any = None,
    augment: Any = None,
    missing_targets: str = "error",
    retries: int = 3,
    timeout: float = 600.0,
    **refused: Any,
) -> History:
    """Train a network on rows that lie on several machines, to the bits of one.

    The gradient of a mini-batch is summed by whoever has its rows: over chunks of `chunk_rows`
    rows, which a fixed binary tree over their numbers adds up. So the bits do not depend on the
    number of workers, or on which of them has which rows. All else is done here, as `Network.fit`
    does it.

    Parameters
    ----------
    net : Network
        Trained in place. Without `BatchNorm`, whose statistics would be a chunk's: `LayerNorm`
        normalizes samples one by one.
    data : (X, y[, sample_weight[, lengths]]), Files, or with Dask collections and futures
        Arrays, of which `sample_weight` and `lengths`, as `Network.fit` has them, may be None.
        Memory maps (`numpy.memmap`, of a whole file) and what `from_npy` or `from_parquet` returns
        are read by the workers themselves. With a `client` also the same of Dask arrays or data
        frames, or a list of futures or delayed objects that stand for such tuples, in their order.
        With a `comm` arrays are each rank's own rows: those of rank
        0 come first, and all but the last must be a multiple of `chunk_rows` for the bits of one
        array, as `rows_of` has them.
    client : dask.distributed.Client, optional
        Its workers compute.
    comm : mpi4py.MPI.Comm, optional
        Its ranks compute: each calls `fit` with the same arguments, and has the same network and
        history at the end. Rank 0 trains: only there callbacks are called, and `resume` counts.
    epochs : int, default 10
        Passes over the data.
    batch_size : int or None, default None
        Samples in a mini-batch, a multiple of `chunk_rows`: it takes whole chunks. None for all.
    optimizer : Optimizer or str, optional
        See `pycnn.optimizers`, also `LBFGS`; by default ``SGD(0.1)``.
    chunk_rows : int, default 4096
        Rows of a chunk, on which the bits depend. A chunk begins anew with each part of the data: a
        file, a row group, a rank's rows, a partition.
    shuffle : bool, default True
        Whether mini-batches take the chunks in a new order in each epoch, drawn by the network's
        seed. The rows within a chunk stay together: they should lie in a random order.
    validation_data, validation_every, metrics, callbacks, progress, resume
        As for `Network.fit`; validation data are arrays, and measured here. To resume takes the
        same chunks, of whichever parts, with the same first row each.
    class_weight, missing_targets
        As for `Network.fit`. "balanced" counts the labels of all rows.
    augment : callable or list of callables, optional
        As for `Network.fit`, but each chunk is changed by itself, by random numbers that follow
        from the network's seed, the epoch and the chunk's number.
    retries : int, default 3
        How often a step is repeated with workers that are left, when one is lost. With Dask only.
    timeout : float, default 600.0
        Seconds that a step may take before a worker counts as lost, however alive it seems. One
        that does not answer at all counts as lost after ten. With Dask only.
    **refused
        What else `Network.fit` takes: an error says what to do instead.

    Returns
    -------
    History
        ``net.history``: as `Network.fit`'s.

    Raises
    ------
    ShapeError, DataTypeError, DataError, LabelError
        If an argument is not valid.
    WorkerLostError
        If workers are lost again and again, or none is left, or with one of them rows that nobody
        else has. The network is as after the last step, and ``resume=True`` goes on from there.
    BusyError, DivergedError
        As from `Network.fit`.

    Examples
    --------
    >>> import numpy as np
    >>> import pycnn, pycnn.distributed
    >>> X = np.linspace(-1, 1, 100)[:, None]
    >>> net = pycnn.Network(1, [pycnn.Dense(8, "tanh"), pycnn.Dense(1)], seed=0)
    >>> history = pycnn.distributed.fit(net, (X, X**2), epochs=50, optimizer="adam", chunk_rows=32)
    >>> history.epochs
    50
    """
    for name in refused:
        if name not in _REFUSED:
            raise TypeError(f"fit() got an unexpected keyword argument {name!r}")
        raise DataError(f"{name} is for Network.fit: {_REFUSED[name]}")
    if client is not None and comm is not None:
        raise DataError("give client or comm, not both")
    if not isinstance(net, Network):
        raise DataTypeError(f"net must be a Network, got {net!r:.80}")
    retries = check_size(retries, "retries", at_least=0)
    timeout = check_real(timeout, "timeout", above=0)
    request = fitting.check_request(
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        validation_data=validation_data,
        validation_split=0.0,
        sample_weight=None,
        class_weight=class_weight,
        shuffle=shuffle,
        callbacks=callbacks,
        progress=progress,
        resume=check_bool(resume, "resume"),
        diagnose=False,
        augment=augment,
        missing_targets=missing_targets,
        scale_targets=False,
        metrics=metrics,
        validation_every=validation_every,
        lengths=None,
        truncate=None,
    )
    size = check_size(chunk_rows, "chunk_rows")
    if request.batch_size is not None and request.batch_size % size:
        raise DataError(
            f"batch_size must be None or a multiple of chunk_rows={size}, got {request.batch_size}"
        )
    _check_layers(net)
    if comm is not None:
        from pycnn.distributed._mpi import Ranks

        ranks = Ranks(comm, data, request.augment)
        return ranks.run(net, lambda engine: _fit(net, data, engine, request, size))
    if client is not None:
        from pycnn.distributed._dask import Workers

        return _fit(net, data, Workers(client, retries, timeout), request, size)
    return _fit(net, data, Here(), request, size)


def _check_layers(net: Network) -> None:
    for part in net.architecture.parts():
        if part.spec.needs_batch and not part.spec.inner:
            raise DataError(
                f"layers must have no {type(part.layer).__name__}, as layer {part.name} is: its "
                "statistics would be those of a chunk; LayerNorm normalizes samples one by one"
            )
    if is_open(net.input_shape):
        raise DataError(
            f"net must take sequences of one length, but its input_shape is {net.input_shape}"
        )


def _fit(net: Network, data: Any, engine: Engine, request: fitting.Request, size: int) -> History:
    me, record = object(), net.training_record
    try:
        record.get_in_line(me)
        checkpoint = record.to_resume() if request.resume else None
        sources = data.sources if isinstance(data, Files) else engine.sources(data)
        in_sequences = len(net.output_shape) > 1
        surveys = engine.survey(
            sources, Question(net.loss, size, in_sequences, request.missing_targets)
        )
        for source, found in zip(sources, surveys, strict=True):
            source.rows = found.rows
        chunks = Chunks([source.rows for source in sources], size)
        learned, sample, request = learn(net.reader, surveys, request)
        weighted = sample.weight is not None or any(found.weighted for found in surveys)
        settings = {"parts": chunks.layout(), "data": mark_of(surveys)}
        loader = ChunkLoader(
            net, record, sample, engine, chunks, weighted, request.shuffle, settings
        )
        prepared = _prepare(net, loader, learned, request)
        names, classes = learned.names, learned.encoder.classes
        engine.begin(state_of(net, names, classes, request), sources, chunks)
        loop.run(net, record, prepared, request, checkpoint, loader)
        assert net.history is not None
        return net.history
    finally:
        engine.end()
        record.line.pop(me, None)


def _prepare(
    net: Network, loader: ChunkLoader, learned: Reader, request: fitting.Request
) -> fitting.Prepared:
    if not request.resume:
        fitting.check_parameters(net)
    if isinstance(request.optimizer, LBFGS):
        given = request.batch_size, request.callbacks, request.augment
        lbfgs.check(net, loader.data, *given)
    advice.check_data(net, loader.sample)
    with_lengths = loader.sample.lengths is not None
    validation = fitting.validation_of(net, learned, request, with_lengths)
    batch_size = min(request.batch_size or loader.rows, loader.rows)
    # The loader draws the order, of chunks.
    return fitting.Prepared(loader.data, learned, validation, batch_size, False, request.callbacks)
