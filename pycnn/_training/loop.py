"""The training loop: what happens around a driver, from epoch to epoch.

How a step comes about: `fitting` checks what `Network.fit` is asked for and reads the samples;
`run` makes a driver and asks it for epochs (`Steps.train`); the driver asks the loader for as many
steps as take a moment (`Loader.train`); the loader hands samples, theta and the optimizer's state
to the backend (``core.train``), which does the steps in place. Then the driver reports what it has
done (`Reporter`): finished epochs to the history, groups of mini-batches to bar and callbacks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pycnn._data.sources import LazyTable
from pycnn._model import Loan
from pycnn._training.checkpoint import Checkpoint
from pycnn._training.checkpointer import Checkpointer, Reporter
from pycnn._training.fitting import check_parameters
from pycnn._training.lbfgs import Iterations
from pycnn._training.loader import Loader, WindowLoader
from pycnn._training.progress import Bar
from pycnn._training.steps import Steps
from pycnn._training.trainer import BatchTraining
from pycnn.backend.interface import Data
from pycnn.callbacks import forget_states
from pycnn.exceptions import DataError
from pycnn.history import History
from pycnn.optimizers import LBFGS

if TYPE_CHECKING:
    from pycnn._data.stream import BatchStream
    from pycnn._model import Model
    from pycnn._training.checkpoint import TrainingRecord
    from pycnn._training.checkpointer import Driver
    from pycnn._training.fitting import Prepared, Request
    from pycnn._training.loader import Augment
    from pycnn.optimizers import Optimizer

# Short epochs are trained several in one call; so many entries may their orders have together.
ORDER_ENTRIES = 1 << 16


def run(
    network: Model,
    record: TrainingRecord,
    prepared: Prepared,
    request: Request,
    checkpoint: Checkpoint | None = None,
    loader: Loader | None = None,
) -> None:
    """Train as `request` says, on from `checkpoint` where there is one, by a `loader` of one's own.

    Raises
    ------
    DataError
        If `checkpoint` is not one of such a training; nothing has changed then.
    """
    if loader is None:
        loader = _loader(network, record, prepared.data, request.augment, request.truncate)
    driver = _choose_driver(network, loader, prepared, request)
    settings = _settings(network.seed, prepared, request, loader)
    checkpointer = Checkpointer(network, record, driver, prepared.callbacks, settings)
    if checkpoint is not None:
        checkpointer.check(checkpoint, loader.is_stream)
    own = Loan(network.theta)
    record.in_step, record.running = True, checkpointer
    try:
        with Bar(request.epochs, request.progress) as bar:
            network.learn(prepared.learned)
            history = checkpointer.begin(checkpoint)
            reporter = Reporter(network, record, history, bar, checkpointer, prepared.validation)
            _train(driver, request.epochs, reporter)
            record.running = None  # what they do at the end is not a part of the training
            for callback in prepared.callbacks:
                callback.on_train_end(network)
    finally:  # nothing is called first: Python looks for signals in calls
        record.running, network.loan = None, own
        forget_states(prepared.callbacks)


def _loader(
    network: Model,
    record: TrainingRecord,
    data: Data | BatchStream,
    augment: list[Augment],
    truncate: int | None,
) -> Loader:
    given = network, record, data, augment
    return Loader(*given) if truncate is None else WindowLoader(*given, truncate)


def _choose_driver(network: Model, loader: Loader, prepared: Prepared, request: Request) -> Driver:
    """Return the driver that goes with the optimizer."""
    data = prepared.data
    if isinstance(request.optimizer, LBFGS):
        return Iterations(network, loader, request.optimizer)
    # Epochs between which there is nothing to do are trained together.
    alone = bool(prepared.callbacks) or prepared.validation is not None or not loader.is_whole
    return Steps(
        network,
        request.optimizer,
        loader,
        batch_size=prepared.batch_size,
        epochs=request.epochs,
        shuffle=prepared.shuffle,
        block=1 if alone else max(1, ORDER_ENTRIES // data.rows),
    )


def _settings(seed: int, prepared: Prepared, request: Request, loader: Loader) -> dict[str, Any]:
    """Return what has to be the same in a training that goes on with this one."""
    data, validation = prepared.data, prepared.validation
    settings = {
        "epochs": request.epochs,
        "batch_size": prepared.batch_size,
        "optimizer": request.optimizer.config(),
        "shuffle": prepared.shuffle,
        "seed": seed,
        "rows": data.rows,
        "weighted": data.weight is not None,
        "validation_rows": None if validation is None else validation.rows,
        "validation_every": request.validation_every,
    }
    if isinstance(data, Data) and data.lengths is not None:
        settings["lengths"] = True
    if isinstance(loader, WindowLoader):
        settings |= {"truncate": loader.size, "positions": loader.positions}
    if validation is not None and validation.metrics:
        settings["metrics"] = [metric.name for metric in validation.metrics]
    if prepared.learned.encoder.scale is not None:
        settings["target_scale"] = prepared.learned.encoder.scale.config()
    return settings | dict(loader.settings)


def _train(driver: Driver, epochs: int, reporter: Reporter) -> None:
    """Let the driver train until there are so many epochs, or somebody ends it."""
    network, history, checkpointer = reporter.network, reporter.history, reporter.checkpointer
    assert checkpointer is not None
    checkpointer.end_epoch()
    while history.epochs < epochs and not network.stop_training:
        checkpointer.keep_between_epochs()
        for callback in checkpointer.callbacks:
            callback.on_epoch_begin(network, history.epochs + 1)
        if driver.train(epochs - history.epochs, reporter):
            checkpointer.end_epoch()
    checkpointer.keep()


def batches_by(optimizer: Optimizer, network: Model, record: TrainingRecord) -> BatchTraining:
    """Return the training by one mini-batch after the other that is ready, or another one."""
    ready: BatchTraining | None = record.batches
    if ready is None or (ready.optimizer is not optimizer and ready.optimizer != optimizer):
        record.batches = ready = BatchTraining(network, record, optimizer)
    return ready


def run_one(
    batches: BatchTraining,
    data: Data,
    *,
    batch_size: int,
    shuffle: bool,
    truncate: int | None,
    log: bool,
) -> dict[str, float]:
    """Train for one epoch, on from those before with an equal optimizer; return its means.

    Parameters
    ----------
    truncate : int or None
        As for `Network.fit`.
    log : bool
        Whether to put them into ``network.history`` too.
    """
    network, record = batches.network, batches.record
    if data.rows <= batch_size and truncate is None and not isinstance(data.x, LazyTable):
        return _run_batch(batches, data, shuffle, log)
    check_parameters(network)
    before = batches.present()
    history = before.history if log else History()
    driver = Steps(
        network,
        batches.optimizer,
        _loader(network, record, data, [], truncate),
        batch_size=batch_size,
        epochs=before.epoch + 1,
        shuffle=shuffle,
    )
    network.learning_rate_factor = before.learning_rate_factor
    driver.take_up(before)
    after = before._replace(epoch=before.epoch + 1)
    reporter = Reporter(network, record, history, Bar(1, False), after=after)
    state = driver.begin(1, reporter)
    record.go_on(before, state)  # from here on it changes
    if log:
        network.history = history
    driver.train_block(state, reporter)
    return history.last()


def _run_batch(batches: BatchTraining, data: Data, shuffle: bool, log: bool) -> dict[str, float]:
    """Train for an epoch of one step."""
    network, record, order, history = batches.network, batches.record, None, None
    if shuffle and data.rows > 1:
        orders = record.orders(network.core, network.seed, data.rows)
        (order,) = orders.take(network.epochs_trained, 1)
    batches.lend(data, order)
    shown = network.history
    if log:
        assert record.last is not None
        history = network.history = record.last.history
    try:
        batches.train(data, history)
    except DataError:
        network.history = shown  # the call is refused
        raise
    return batches.means()
