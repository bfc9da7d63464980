"""How a network is trained on a table: the split, the defaults, the fit, and the files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import numpy as np

import pycnn
from pycnn import activations
from pycnn._checks import check_choice
from pycnn._table.cells import Reading
from pycnn._table.columns import mean_and_deviation
from pycnn.callbacks import EarlyStopping
from pycnn.cli import reading, report
from pycnn.cli import table as tables
from pycnn.cli.examples import Examples
from pycnn.cli.images import ImageSet
from pycnn.cli.output import check_outputs, note, say
from pycnn.cli.series import Series, Windows
from pycnn.cli.table import FileTable
from pycnn.cli.using import class_indices, encode, rows_with_target, scores
from pycnn.exceptions import DataError, DivergedError

if TYPE_CHECKING:
    import pandas as pd

    from pycnn.history import History
    from pycnn.optimizers import Optimizer

BATCH_SIZE = 32
# A squared error's slope grows with the error, that of a cross-entropy does not: a regression needs
# smaller steps, and more of them. So many are taken by default, in whole epochs.
LEARNING_RATES = {"classification": 0.1, "regression": 0.03}  # of SGD; the others' are their own
STEPS = {"classification": 3000, "regression": 6000}
FEWEST_EPOCHS, MOST_EPOCHS = 10, 3000
OPTIMIZERS = {
    "sgd": pycnn.SGD,
    "adam": pycnn.Adam,
    "adamw": pycnn.AdamW,
    "rmsprop": pycnn.RMSprop,
}
# docs/defaults.md tells how these were chosen.
PENALTY, MOST_PENALTY = 3, 0.1  # l2: this by the number of rows that are trained on, at most that
PATIENCE_STEPS, LEAST_PATIENCE = 2000, 5


class Request(NamedTuple):
    """What ``pycnn train`` is asked for: its options, None where the table decides."""

    path: Path | None
    target: str | None
    drop: tuple[str, ...]
    task: str | None
    size: int | None
    grey: bool
    sequence: int | None
    horizon: int | None
    season: int | None
    hidden: str | None
    activation: str
    epochs: int | None
    batch_size: int | None
    learning_rate: float | None
    optimizer: str | None
    l2: float | None
    dropout: float
    patience: int | None
    class_weight: tuple[str, ...]
    test_size: float | None
    seed: int
    out: Path
    plot: Path | None
    no_plot: bool
    quiet: bool
    options: reading.Options
    backend_name: str

    @property
    def names_a_corpus(self) -> bool:
        """Whether --text, which names columns of a table, is the file to learn from."""
        return self.path is None and bool(self.options.text)

    @property
    def rows_together(self) -> int:
        """Examples of a mini-batch, of tables and images."""
        return self.batch_size or BATCH_SIZE

    @property
    def method(self) -> str:
        """The optimizer, of tables and images."""
        return self.optimizer or "sgd"

    def units(self, data: Examples) -> list[int]:
        """Return the hidden layers."""
        return list(data.hidden) if self.hidden is None else parse_hidden(self.hidden)

    @property
    def plot_path(self) -> Path | None:
        """Where the learning curve is written."""
        beside = Path(os.path.splitext(self.out)[0] + ".png")
        return None if self.no_plot else self.plot or beside

    @property
    def say(self) -> Callable[[str], None]:
        """Print, unless nothing is to be printed."""
        return (lambda _: None) if self.quiet else say


def train(request: Request) -> None:
    """Train a network as it is asked for, and write it."""
    _check(request)
    data = _read(request)
    request.say(data.describe())
    weights = _class_weights(request.class_weight, data)
    network = _build(request, data)
    plan = _Plan.of(request, data)
    request.say(_describe(request, data, network, plan))
    started = time.perf_counter()
    history = _fit(network, data, plan, weights, request)
    seconds = time.perf_counter() - started
    # First: who reads our output may be gone.
    files = write_files(request, network, history, "validation" if plan.stopping else "test part")
    part = data.test if len(data.test) else data.train
    name = "test part" if len(data.test) else "training part, for want of a test part"
    request.say(
        f"          {seconds:.1f} s, {_ending(history, plan.stopping)}\n\n"
        f"score on the {name} ({len(part)} {data.things})\n\n"
        f"{scores(network, data.goal, data.X[part], data.y[part])}{data.compared(part)}\n\n{files}"
    )


def _check(request: Request) -> None:
    """Refuse before the work what could not be done after it."""
    none = request.hidden is not None and not parse_hidden(request.hidden)
    activations.check(request.activation)
    if request.dropout and none:
        raise DataError("--dropout needs a hidden layer; --hidden has none")
    if request.sequence is not None and request.path is None:
        raise DataError("--sequence needs a table, whose rows follow each other in time")
    for name in ("horizon", "season"):
        if request.sequence is None and getattr(request, name) is not None:
            raise DataError(f"--{name} needs --sequence: how many rows the network reads")
    check_choice(request.method, tuple(OPTIMIZERS), "--optimizer")
    if request.learning_rate is not None:
        OPTIMIZERS[request.method](request.learning_rate)
    check_outputs(request.path, request.out, request.plot_path)


def _read(request: Request) -> Examples:
    """Read a folder of images, a table, or the built-in digits, and make it ready."""
    if request.path is not None and request.path.is_dir():
        return _read_images(request, request.path)
    options, target = request.options, request.target
    if request.grey or request.size is not None:
        given = "--grey" if request.grey else "--size"
        what = "the built-in digits are" if request.path is None else f"{request.path} is"
        raise DataError(f"{given} is for a folder of images, and {what} none")
    how = options.over(Reading())
    if request.path is None:
        if options.given:
            raise DataError(f"{options.given[0]} needs a file; the built-in digits need none")
        frame, source = reading.read_digits(), reading.DIGITS
        target = target or reading.DIGITS_TARGET
    else:
        text = {*options.text, *(name.partition("=")[0] for name in options.date), *options.date}
        frame = reading.read(request.path, how, text=text, codes=target)
        source = request.path.name
    table = FileTable(
        task=request.task,
        text=options.text,
        date=options.date,
        common_scale=source == reading.DIGITS,
    )
    table.reading, table.source, table.seed = how, source, request.seed
    if request.sequence is not None:
        windows = Windows(
            request.sequence, request.horizon or 1, request.season or request.sequence
        )
        frame = _without(frame, request.drop, target or "")
        return Series(frame, table, target, windows, request.test_size, request.patience)
    return Dataset(frame, table, target, request.drop, request.test_size, request.patience)


def _read_images(request: Request, folder: Path) -> ImageSet:
    """Read a folder of images, and refuse what is said about a table."""
    of_tables: dict[str, Any] = {"--target": request.target, "--drop": request.drop}
    of_tables |= {"--task": request.task, "--sequence": request.sequence}
    given = [name for name, value in of_tables.items() if value] + request.options.given
    if given:
        raise DataError(
            f"{given[0]} is for a table, and {folder} is a folder: its folders are the classes of "
            "the images in them"
        )
    return ImageSet(
        folder,
        request.size,
        request.grey,
        request.test_size,
        request.patience,
        request.seed,
        bar=not request.quiet,
    )


def _build(request: Request, data: Examples) -> pycnn.Network:
    """Return the network to be trained."""
    classes = data.classes
    output = pycnn.Dense(1, "linear")
    if classes is not None:
        several = len(classes) > 2
        output = pycnn.Dense(len(classes), "softmax") if several else pycnn.Dense(1, "sigmoid")
    layers = data.first_layers(request.activation)
    for count in request.units(data):
        layers += [pycnn.Dense(count, request.activation)]
        layers += [pycnn.Dropout(request.dropout)] if request.dropout else []
    network = pycnn.Network(
        data.X.shape[1:],
        [*layers, output],
        l2=_penalty(request, data),
        seed=request.seed,
        backend=request.backend_name,
    )
    network.classes = classes
    if data.unit is not None:  # predictions are in the column's own unit, in Python too
        network.target_scale = [data.unit[0]], [data.unit[1]]
    data.keep_with(network)
    return network


def _penalty(request: Request, data: Examples) -> float:
    return min(PENALTY / len(data.fit), MOST_PENALTY) if request.l2 is None else request.l2


class _Plan(NamedTuple):
    """How long and by which steps a network is trained."""

    optimizer: Optimizer
    batches: int  # of an epoch
    epochs: int
    stopping: Stopping | None

    @classmethod
    def of(cls, request: Request, data: Examples) -> _Plan:
        """Return what is asked for; what is not, by the number of rows."""
        rate = request.learning_rate
        if rate is None and request.method == "sgd":
            rate = LEARNING_RATES[data.goal.task]
        method = OPTIMIZERS[request.method]
        optimizer = method() if rate is None else method(rate)
        batches = -(-len(data.fit) // request.rows_together)
        epochs = request.epochs
        if epochs is None:
            epochs = min(max(round(STEPS[data.goal.task] / batches), FEWEST_EPOCHS), MOST_EPOCHS)
        stopping = None
        if len(data.validation):
            patience = request.patience
            if patience is None:
                patience = max(round(PATIENCE_STEPS / batches), LEAST_PATIENCE)
            stopping = Stopping(patience=patience)
        return cls(optimizer, batches, epochs, stopping)


def _describe(request: Request, data: Examples, network: pycnn.Network, plan: _Plan) -> str:
    """Return network and training in a few lines."""
    units, output = request.units(data), network.layers[-1]
    sizes = "-".join([*data.first_sizes(), *map(str, [*units, output.units])])
    between = request.activation if len(network.layers) > 1 else "no hidden layer"
    text = (
        f"network   {sizes}, {between}, "
        f"{output.activation} output, {network.parameters.size:,} parameters\n"
        f"training  {plan.epochs} epochs of {plan.batches} "
        f"{'batches' if plan.batches > 1 else 'batch'}, {request.method}, "
        f"learning rate {plan.optimizer.learning_rate:g}, l2 {network.l2:.3g}"
        + (f", dropout {request.dropout:g}" if request.dropout else "")
    )
    if plan.stopping is None:
        return text
    return (
        f"{text}\n          until {len(data.validation)} of the {len(data.train)} training "
        f"{data.things}, held out to tell when to stop, show no\n          better loss without "
        f"the penalty for {plan.stopping.patience} epochs"
    )


def _fit(
    network: pycnn.Network, data: Examples, plan: _Plan, weights: Any, request: Request
) -> History:
    def examples(rows: Any) -> list[Any]:
        """Return inputs, targets and, with weights by class, the rows' weights."""
        parts = [data.X[rows], data.network_target(rows)]
        return parts if weights is None else [*parts, weights[data.y[rows]]]

    held_out = data.validation if plan.stopping else data.test
    try:
        X, y, *weight = examples(data.fit)
        return network.fit(
            X,
            y,
            epochs=plan.epochs,
            batch_size=request.rows_together,
            optimizer=plan.optimizer,
            sample_weight=weight[0] if weight else None,
            validation_data=examples(held_out) if len(held_out) else None,
            callbacks=[plan.stopping] if plan.stopping else None,
            progress=False if request.quiet else None,
        )
    except KeyboardInterrupt:
        done = network.history.epochs if network.history else 0
        raise click.Abort(
            f"training was interrupted after {done} of {plan.epochs} epochs; no file was written"
        ) from None
    except DivergedError as error:
        raise DivergedError(f"{error}; no file was written", error.epoch, error.batch) from None


def write_files(request: Request, network: pycnn.Network, history: History, held_out: str) -> str:
    """Write the model and the learning curve; return where they are."""
    network.save(request.out)
    files = f"model           {request.out}"
    if request.plot_path is not None:
        from pycnn._plot import learning_curves

        learning_curves(history, request.plot_path, held_out=held_out)
        files += f"\nlearning curve  {request.plot_path}"
    return files


def _ending(history: History, stopping: EarlyStopping | None) -> str:
    """Return how the training ended, and what the network is left with."""
    last = f"loss {history['loss'][-1]:.4g} at the end"
    if stopping is None or stopping.best_epoch is None:
        return last
    return f"{last}, after {history.epochs} epochs; kept is the best, epoch {stopping.best_epoch}"


def _class_weights(given: Sequence[str], data: Examples) -> Any:
    """Return the weight of each class that --class-weight asks for; None without it."""
    if not given:
        return None
    if data.classes is None:
        raise DataError("--class-weight needs a target of classes; this one is a number")
    if tuple(given) == ("balanced",):
        counts = np.bincount(data.y[data.fit], minlength=len(data.classes))
        return len(data.fit) / (len(counts) * np.maximum(counts, 1))
    index = {str(label): i for i, label in enumerate(data.classes.tolist())}
    weights = np.ones(len(index))
    for text in given:
        label, _, number = text.rpartition("=")
        check_choice(label or text, tuple(index), "--class-weight")
        try:
            weights[index[label]] = float(number)
        except (KeyError, ValueError):
            raise DataError(
                f"--class-weight must be balanced or CLASS=WEIGHT, got {text!r}"
            ) from None
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise DataError(f"--class-weight must be finite and at least 0, got {' '.join(given)}")
    return weights


def parse_hidden(text: str) -> list[int]:
    """Return --hidden's numbers of units."""
    if text.strip().lower() in ("", "none"):
        return []
    try:
        units = [int(part) for part in text.split(",")]
    except ValueError:
        units = [0]
    if min(units) < 1:
        raise DataError(f"--hidden must be numbers of units such as 64,32, or 'none'; got {text!r}")
    return units


class Stopping(EarlyStopping):
    """Watches the loss of the rows held out without the penalty on the weights.

    The penalty of large initial weights falls for a long time: with it, the sum would still look
    better when the network has long begun to overfit.
    """

    def on_epoch_end(self, network: pycnn.Network, epoch: int, logs: dict[str, float]) -> None:
        """Note an improvement, or end the training after too many epochs without one."""
        weights = [place for place in network.architecture.tensors if place.role == "weight"]
        squares = sum(float((place.view(network.theta) ** 2).sum()) for place in weights)
        loss = logs["val_loss"] - network.l2 / 2 * squares
        super().on_epoch_end(network, epoch, {**logs, "val_loss": loss})


class Dataset(Examples):
    """A table made ready: encoded rows, and the transform fitted on the training part.

    Rows without a target are in no part.
    """

    things = "rows"
    hidden = (128, 64)

    def __init__(
        self,
        frame: pd.DataFrame,
        table: FileTable,
        target: str | None,
        drop: Sequence[str],
        test_size: float | None,
        patience: int | None,
    ) -> None:
        if target is None:
            raise click.UsageError(
                f"--target is missing: the columns are {report.listing(list(frame.columns), 20)}"
            )
        tables.check_column(frame, target, "--target")
        codes = frame.attrs.get("codes", {})
        frame = _without(frame, drop, target)

        truth = table.read_target(frame, target)
        observed = rows_with_target(truth, target)
        self.y = truth.values
        self.rows = len(observed)
        if truth.task == "classification":
            self.classes = table.check_classes(truth.values[observed], target)
            self.y = np.full(len(frame), -1)
            self.y[observed] = class_indices(truth.values[observed], self.classes, target)
        self._hold_out(observed, test_size, patience, table.seed)
        table.test_size = self.test_size

        table.fit_frame(frame, target, self.train, codes)
        for told in table.notes:
            note(f"Note: {told}")
        assert table.target is not None
        self.table, self.goal = table, table.target
        if truth.task == "regression":
            self.unit = mean_and_deviation(self.y[self.train], target)
        self.X = encode(table, frame, taken=False)

    def keep_with(self, network: pycnn.Network) -> None:
        """Keep the transform with the network."""
        network.metadata["table"] = self.table.to_metadata()

    def describe(self) -> str:
        """Return the data in two lines."""
        target = report.shown(self.goal.name)
        if self.classes is None:
            kind = f"{target}, a number"
        else:
            kind = f"{target}, {len(self.classes)} classes: {report.listing(self.classes.tolist())}"
            numbers = self.classes.dtype.kind in "if" and len(self.classes) > 2
            if numbers and self.table.task is None and self.table.source != reading.DIGITS:
                kind += " (--task regression for a quantity)"
        return (
            f"data      {self.table.source}: {self.rows} rows, {len(self.table.columns)} columns "
            f"as {self.X.shape[1]} inputs; {self._held()}\n"
            f"target    {kind}"
        )


def _without(frame: pd.DataFrame, drop: Sequence[str], target: str) -> pd.DataFrame:
    """Leave out the columns that the user names, and the row numbers that pandas writes."""
    for name in drop:
        tables.check_column(frame, name, "--drop")
    if target in drop:
        raise DataError(f"--drop leaves out the target column {target!r}")
    unnamed = {name for name in frame.columns if name.startswith("Unnamed: ")} - {target, *drop}
    if unnamed:
        note(f"Note: left out, as they have no name in the header: {len(unnamed)} column(s)")
    if not unnamed and not drop:
        return frame
    return frame[[name for name in frame.columns if name not in unnamed and name not in drop]]
