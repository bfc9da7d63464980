"""A training whose gradients are summed elsewhere; all else of it is that of `Network.fit`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn import _random
from pycnn._checks import check_bool, check_real, check_size, is_open
from pycnn._data.targets import TargetEncoder
from pycnn._training import advice, fitting, lbfgs, loop
from pycnn._training.loader import Loader
from pycnn.backend.interface import NotFiniteError, OptimizerSpec, Totals, TrainingState
from pycnn.distributed._engines import Here
from pycnn.distributed._shard import ROWS, TOTALS, state_of
from pycnn.distributed._sources import Chunks, Files
from pycnn.exceptions import DataError, DataTypeError, PycnnError
from pycnn.network import Network
from pycnn.optimizers import LBFGS

if TYPE_CHECKING:
    from pycnn._data.reader import Reader
    from pycnn._training.checkpoint import TrainingRecord
    from pycnn._typing import Array, Bits, Indices
    from pycnn.backend.interface import Data
    from pycnn.distributed._engines import Engine
    from pycnn.distributed._shard import Survey
    from pycnn.history import History

# Momentum keeps a step's gradient in its slot: the mean over samples, with the penalty's.
_KEEPS_GRADIENT = OptimizerSpec("sgd", momentum=0.5, slots=1)


class Places:
    """The rows of a training as `Steps` counts them: as if every chunk were full."""

    lengths = None

    def __init__(self, chunks: Chunks, weighted: bool, sample: Data) -> None:
        self.x, self.y, self.rows = sample.x, sample.y, chunks.count * chunks.size
        self.weight = sample.weight if weighted else None


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
    ) -> None:
        super().__init__(network, record, Places(chunks, weighted, sample), [])
        self.is_whole, self.sample = False, sample
        self.engine, self.chunks, self.shuffle = engine, chunks, shuffle
        self.settings = {"shuffle": shuffle, "chunk_rows": chunks.size, "parts": chunks.rows}
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
        grad, totals = self._sums(theta, self._numbers(state), keys)
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
        return np.sort(_random.permutations(self.network.seed, epoch, 1, count)[0, part])

    def _sums(self, theta: Array, numbers: Indices, keys: Bits | None) -> tuple[Array, Totals]:
        """Return a gradient's sums, and the loss with its penalty."""
        values = self.engine.sums(theta, numbers, keys)
        loss, weight, correct = values[-TOTALS:].tolist()
        loss += weight * self.network.core.penalty(self.plan, theta)
        return values[:-TOTALS], Totals(loss, weight, correct)

    def gradients(self, theta: Array, gradient: Array) -> Totals:
        """Put the mean loss's gradient over all samples into `gradient`, as `core.gradients`."""
        after = self.network.theta.copy()
        after[: len(theta)] = theta
        grad, totals = self._sums(after, np.arange(self.chunks.count), None)
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
    retries: int = 3,
    timeout: float = 600.0,
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
    data : (X, y), (X, y, sample_weight), Files, or with Dask collections and futures
        Arrays; memory maps (`numpy.memmap`, of a whole file) and what `from_npy` or `from_parquet`
        returns are read by the workers themselves. With a `client` also the same of Dask arrays or
        data frames, or a list of futures or delayed objects that stand for (X, y) or (X, y,
        sample_weight), in their order. With a `comm` arrays are each rank's own rows: those of rank
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
        As for `Network.fit`; validation data are arrays, and measured here.
    retries : int, default 3
        How often a step is repeated with workers that are left, when one is lost. With Dask only.
    timeout : float, default 600.0
        Seconds that a step may take before a worker counts as lost, however alive it seems. One
        that does not answer at all counts as lost after ten. With Dask only.

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
        class_weight=None,
        shuffle=shuffle,
        callbacks=callbacks,
        progress=progress,
        resume=check_bool(resume, "resume"),
        diagnose=False,
        augment=None,
        missing_targets="error",
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

        return Ranks(comm, data).run(net, lambda engine: _fit(net, data, engine, request, size))
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
        surveys = engine.survey(sources, net.loss)
        for source, found in zip(sources, surveys, strict=True):
            source.rows = found.rows
        chunks = Chunks([source.rows for source in sources], size)
        learned, sample = _learn(net, surveys)
        weighted = any(found.weighted for found in surveys)
        loader = ChunkLoader(net, record, sample, engine, chunks, weighted, request.shuffle)
        prepared = _prepare(net, loader, learned, request)
        engine.begin(state_of(net, learned.names, learned.encoder.classes), sources, chunks)
        loop.run(net, record, prepared, request, checkpoint, loader)
        assert net.history is not None
        return net.history
    finally:
        engine.end()
        record.line.pop(me, None)


def _learn(net: Network, surveys: list[Survey]) -> tuple[Reader, Data]:
    """Return the reader of a network that has learned labels and names, and the first rows."""
    if not any(found.rows for found in surveys):
        raise DataError("data must have at least one row")
    first = next(found for found in surveys if found.rows)
    reader, labels = net.reader, [found.labels for found in surveys if found.rows]
    encoder, (X, y, weight) = reader.encoder, first.sample
    shape = np.shape(y)
    are_labels = len(shape) == 1 or shape[1:] == (1,)
    if encoder.positions is not None:
        are_labels = len(shape) == 2  # one at each position
        encoder = TargetEncoder(encoder.loss, encoder.units, encoder.classes, encoder.scale)
    if are_labels and not encoder.is_multi_label and all(each is not None for each in labels):
        different = np.unique(np.concatenate(labels))
        reader = reader.after(X, encoder.encode(different, "y", len(different), learn=True))
    try:
        sample, targets = reader.read(X, y, weight, learn=True)
    except PycnnError as error:
        if first.rows > ROWS:
            error.args = (f"{error} (of the first {ROWS} rows)",)
        raise
    return reader.after(X, targets), sample


def _prepare(
    net: Network, loader: ChunkLoader, learned: Reader, request: fitting.Request
) -> fitting.Prepared:
    if not request.resume:
        fitting.check_parameters(net)
    if isinstance(request.optimizer, LBFGS):
        lbfgs.check(net, loader.data, request.batch_size, request.callbacks, None)
    advice.check_data(net, loader.sample)
    validation = fitting.validation_of(net, learned, request)
    batch_size = min(request.batch_size or loader.rows, loader.rows)
    # The loader draws the order, of chunks.
    return fitting.Prepared(loader.data, learned, validation, batch_size, False, request.callbacks)
