"""The commands, and how their errors end: one line on stderr, exit status 2."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

import pycnn
from pycnn import activations, backend, losses
from pycnn._checks import check_choice, suggest
from pycnn._table.cells import Reading
from pycnn._table.columns import DateColumn, NumberColumn, TextColumn, mean_and_deviation
from pycnn.callbacks import EarlyStopping
from pycnn.cli import reading, report
from pycnn.cli import table as tables
from pycnn.cli.table import FileTable
from pycnn.exceptions import DataError, DivergedError, LabelError, ModelFileError, PycnnError
from pycnn.table import Table, Target, Truth, check_has

if TYPE_CHECKING:
    import pandas as pd

    from pycnn._typing import Indices
    from pycnn.history import History
    from pycnn.optimizers import Optimizer

FAILURE, INTERRUPTED = 2, 130

BATCH_SIZE = 32
# A squared error's slope grows with the error, that of a cross-entropy does not: a regression needs
# smaller steps, and more of them. So many are taken by default, in whole epochs.
LEARNING_RATES = {"classification": 0.1, "regression": 0.03}  # of SGD; the others' are their own
STEPS = {"classification": 3000, "regression": 6000}
FEWEST_EPOCHS, MOST_EPOCHS = 10, 3000
TEST_SIZE = 0.2
# Smaller tables hold out no test part unless they are told to, and no part to stop early by: they
# would decide nothing.
FEWEST_ROWS_TO_SPLIT = 50
# Predictions are formatted in pieces of so many.
VALUES_PER_PIECE = 1 << 18
OPTIMIZERS = {
    "sgd": pycnn.SGD,
    "adam": pycnn.Adam,
    "adamw": pycnn.AdamW,
    "rmsprop": pycnn.RMSprop,
}
# docs/defaults.md tells how these were chosen.
PENALTY, MOST_PENALTY = 3, 0.1  # l2: this by the number of rows that are trained on, at most that
VALIDATION_SIZE = 0.2  # of the training part
PATIENCE_STEPS, LEAST_PATIENCE = 2000, 5


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit status."""
    if sys.stdout is None:
        return _fail("standard output is closed")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without δ shows ? in its place
            stream.reconfigure(errors="replace")
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            status = cli.main(list(arguments), prog_name="pycnn", standalone_mode=False)
            sys.stdout.flush()
        except BrokenPipeError:
            _abandon_stdout()
            return 1
        except (KeyboardInterrupt, click.Abort) as error:
            return _fail(str(error) or "interrupted", INTERRUPTED)
        except click.ClickException as error:
            return _fail(error.format_message())
        except MemoryError as error:
            return _fail(f"not enough memory: {error}" if str(error) else "not enough memory")
        except UnicodeError as error:
            return _fail(str(error))
        except (PycnnError, OSError, ImportError) as error:
            if isinstance(error, OSError) and error.filename is None:
                _abandon_stdout()  # what failed is writing the output: do not try again at exit
            return _fail(_describe(error))
    return status if isinstance(status, int) else 0


def _fail(message: str, status: int = FAILURE) -> int:
    prefix = "Error: " if status == FAILURE else ""
    _note(prefix + " ".join(message.split()))
    return status


def _describe(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{os.fspath(error.filename)!s}: " if error.filename is not None else ""
        return f"{where}{error.strerror}"
    if isinstance(error, ModuleNotFoundError):
        return f"{error}: pip install 'pycnn[cli]'"
    return str(error)


def _abandon_stdout() -> None:
    """Let what is still to be written go nowhere, so that the interpreter's exit is quiet."""
    with contextlib.suppress(OSError, ValueError):  # where stdout is a real stream
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_warning(message: Warning | str, *_details: Any, **_more: Any) -> None:
    _note(f"Warning: {message}")


def _note(message: str) -> None:
    if sys.stderr is not None:  # print would take None for standard output
        print(report.shown(message), file=sys.stderr)


def _say(message: str) -> None:
    """Print a text that may hold names and labels of a file."""
    click.echo(report.shown(message, lines=True))


def _write(content: str) -> None:
    """Print a file's content: as it is, but for control characters where somebody looks."""
    sys.stdout.write(report.shown(content, lines=True) if sys.stdout.isatty() else content)


# ------------------------------------------------------------------ the commands

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
# Not click.File or exists=True: the commands' own errors name the path in the same way everywhere.
PATH = click.Path(path_type=Path)

backend_option = click.option(
    "--backend",
    "backend_name",
    default="auto",
    show_default=True,
    metavar="|".join(backend.NAMES),
    help="Which core computes.",
)


@click.group(context_settings=CONTEXT, invoke_without_command=True)
@click.version_option(pycnn.__version__, prog_name="pycnn")
@click.pass_context
def cli(context: click.Context) -> None:
    """Train small neural networks on tables, and use them."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cli.command()
@click.argument("path", metavar="[TABLE]", type=PATH, required=False)
@click.option("--target", metavar="COLUMN", help="Column to predict.")
@click.option("--drop", multiple=True, metavar="COLUMN", help="Column to leave out; repeatable.")
@click.option(
    "--task",
    metavar="|".join(tables.TASKS),
    help="By default classification for text, truth values and few distinct whole numbers.",
)
@click.option(
    "--hidden",
    default="128,64",
    show_default=True,
    metavar="UNITS,...",
    help="Hidden layers; 'none' for no hidden layer.",
)
@click.option(
    "--activation",
    default="relu",
    show_default=True,
    metavar="|".join(activations.ACTIVATIONS),
    help="Of the hidden layers.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    help="By default what makes about "
    + ", ".join(f"{steps:,} steps for {task}" for task, steps in STEPS.items())
    + f": {FEWEST_EPOCHS} to {MOST_EPOCHS:,} epochs.",
)
@click.option("--batch-size", type=click.IntRange(min=1), default=BATCH_SIZE, show_default=True)
@click.option(
    "--learning-rate",
    type=float,
    help="By default, of sgd, "
    + ", ".join(f"{rate} for {task}" for task, rate in LEARNING_RATES.items())
    + "; of "
    + ", ".join(
        f"{name} {rule().learning_rate}" for name, rule in OPTIMIZERS.items() if name != "sgd"
    )
    + ".",
)
@click.option("--optimizer", default="sgd", show_default=True, metavar="|".join(OPTIMIZERS))
@click.option(
    "--l2",
    type=click.FloatRange(min=0),
    help="Penalty on the weights, l2/2 sum W^2; 0 for none. By default "
    f"{PENALTY} by the number of rows that are trained on, {MOST_PENALTY} at most.",
)
@click.option(
    "--dropout",
    type=click.FloatRange(min=0, max=1, max_open=True),
    default=0.0,
    show_default=True,
    metavar="RATE",
    help="Share of each hidden layer's numbers that a training step leaves out.",
)
@click.option(
    "--patience",
    type=click.IntRange(min=0),
    metavar="EPOCHS",
    help=f"Hold out {VALIDATION_SIZE:.0%} of the training rows, end when their loss without the "
    "penalty has not improved for so many epochs, and keep the best. 0: train on all of them to "
    "the last epoch, "
    f"as tables with less than {FEWEST_ROWS_TO_SPLIT} rows to train on do. By default what makes "
    f"about {PATIENCE_STEPS:,} steps, {LEAST_PATIENCE} epochs at least.",
)
@click.option(
    "--class-weight",
    multiple=True,
    metavar="balanced|CLASS=WEIGHT",
    help="Weights of the classes' rows: balanced makes all classes count alike. CLASS=WEIGHT is "
    "repeatable; classes that are not named have weight 1.",
)
@click.option(
    "--test-size",
    type=float,
    help=f"Share of the rows to hold out for the test; by default {TEST_SIZE}, and 0 for tables of "
    f"less than {FEWEST_ROWS_TO_SPLIT} rows.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of weights, order and held-out parts.",
)
@click.option(
    "--out",
    type=PATH,
    default=Path("model.safetensors"),
    show_default=True,
    metavar="FILE",
    help="Model file to write.",
)
@click.option(
    "--plot",
    type=PATH,
    metavar="FILE",
    help="Learning curve to write; by default beside the model, as PNG.",
)
@click.option("--no-plot", is_flag=True, help="Draw no learning curve.")
@click.option("--quiet", is_flag=True, help="Print errors and warnings only.")
@reading.reading_options
@backend_option
def train(
    path: Path | None,
    target: str | None,
    drop: tuple[str, ...],
    task: str | None,
    hidden: str,
    activation: str,
    epochs: int | None,
    batch_size: int,
    learning_rate: float | None,
    optimizer: str,
    l2: float | None,
    dropout: float,
    patience: int | None,
    class_weight: tuple[str, ...],
    test_size: float | None,
    seed: int,
    out: Path,
    plot: Path | None,
    no_plot: bool,
    quiet: bool,
    options: reading.Options,
    backend_name: str,
) -> None:
    """Train a network on a table with a header, or on the built-in handwritten digits.

    The table is CSV, also compressed, Parquet, Feather, Excel or JSON. Numbers are standardised,
    text becomes one-hot, missing numbers the training mean; the model file keeps how. A column
    that is mostly numbers is one: NA, NaN, null, None and signs such as ? are gaps in it. Rows
    without a target are left out. The test part has no influence on the training; its scores tell
    how the network does on unseen rows. When to stop is told by a part of the training rows, whose
    curve is in the picture.

    \b
    pycnn train
    pycnn train flowers.csv --target species --out flowers.safetensors
    """  # noqa: D301 - \b is click's
    units = _parse_hidden(hidden)
    activations.check(activation)
    if dropout and not units:
        raise DataError("--dropout needs a hidden layer; --hidden has none")
    check_choice(optimizer, tuple(OPTIMIZERS), "--optimizer")
    if learning_rate is not None:  # a wrong one is told before the work
        OPTIMIZERS[optimizer](learning_rate)
    plot_path = None if no_plot else plot or Path(os.path.splitext(out)[0] + ".png")
    _check_outputs(path, out, plot_path)

    say = (lambda _: None) if quiet else _say
    how = options.over(Reading())
    if path is None:
        if options.given:
            raise DataError(f"{options.given[0]} needs a file; the built-in digits need none")
        frame, source = reading.read_digits(), reading.DIGITS
        target = target or reading.DIGITS_TARGET
    else:
        text = {*options.text, *(name.partition("=")[0] for name in options.date), *options.date}
        frame, source = reading.read(path, how, text=text, codes=target), path.name
    table = FileTable(
        task=task, text=options.text, date=options.date, common_scale=source == reading.DIGITS
    )
    table.reading, table.source, table.seed = how, source, seed
    data = _Dataset(frame, table, target, drop, test_size, patience)
    say(data.describe())

    classes = data.classes
    weights = _class_weights(class_weight, data)
    output = pycnn.Dense(1, "linear")
    if classes is not None:
        several = len(classes) > 2
        output = pycnn.Dense(len(classes), "softmax") if several else pycnn.Dense(1, "sigmoid")
    layers: list[Any] = []
    for count in units:
        layers += [pycnn.Dense(count, activation)]
        layers += [pycnn.Dropout(dropout)] if dropout else []
    if l2 is None:
        l2 = min(PENALTY / len(data.fit), MOST_PENALTY)
    network = pycnn.Network(
        data.X.shape[1], [*layers, output], l2=l2, seed=seed, backend=backend_name
    )
    network.classes = classes
    if data.unit is not None:  # predictions are in the column's own unit, in Python too
        network.target_scale = [data.unit[0]], [data.unit[1]]
    network.metadata["table"] = data.table.to_metadata()

    if learning_rate is None and optimizer == "sgd":
        learning_rate = LEARNING_RATES[data.task]
    method = OPTIMIZERS[optimizer]
    rule = method() if learning_rate is None else method(learning_rate)
    batches = -(-len(data.fit) // batch_size)
    if epochs is None:
        epochs = min(max(round(STEPS[data.task] / batches), FEWEST_EPOCHS), MOST_EPOCHS)
    stopping = None
    if len(data.validation):
        if patience is None:
            patience = max(round(PATIENCE_STEPS / batches), LEAST_PATIENCE)
        stopping = _Stopping(patience=patience)
    sizes = "-".join(str(n) for n in (network.inputs, *units, output.units))
    say(
        f"network   {sizes}, {activation if units else 'no hidden layer'}, {output.activation} "
        f"output, {network.parameters.size:,} parameters\n"
        f"training  {epochs} epochs of {batches} {'batches' if batches > 1 else 'batch'}, "
        f"{optimizer}, learning rate {rule.learning_rate:g}, l2 {l2:.3g}"
        + (f", dropout {dropout:g}" if dropout else "")
    )
    if stopping:
        say(
            f"          until {len(data.validation)} of the {len(data.train)} training rows, held "
            f"out to tell when to stop, show no\n          better loss without the penalty for "
            f"{patience} epochs"
        )
    started = time.perf_counter()
    history = _fit(
        network,
        data,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=rule,
        weights=weights,
        stopping=stopping,
        quiet=quiet,
    )
    seconds = time.perf_counter() - started
    # Files first: what reads our output may have gone.
    network.save(out)
    files = f"model           {out}"
    if plot_path is not None:
        from pycnn._plot import learning_curves

        learning_curves(history, plot_path, held_out="validation" if stopping else "test part")
        files += f"\nlearning curve  {plot_path}"
    part = data.test if len(data.test) else data.train
    name = "test part" if len(data.test) else "training part, for want of a test part"
    say(
        f"          {seconds:.1f} s, {_ending(history, stopping)}\n\n"
        f"score on the {name} ({len(part)} rows)\n\n"
        f"{_report(network, data.goal, data.X[part], data.y[part])}\n\n{files}"
    )


@cli.command()
@click.argument("model", type=PATH)
@click.argument("path", metavar="TABLE", type=PATH)
@click.option("--out", type=PATH, metavar="FILE", help="CSV file to write instead of the terminal.")
@reading.reading_options
@backend_option
def predict(
    model: Path, path: Path, out: Path | None, options: reading.Options, backend_name: str
) -> None:
    """Print a prediction for each row of a table, as CSV.

    Classes come with the probability of each; a regression is in the target's own unit. Columns
    that the model does not know are ignored. The table is read as the training's was.
    """
    if out is not None:
        _check_outputs(path, out, None, model)
    network = pycnn.load(model, backend=backend_name)
    frame, table, target = _read_for(network, path, options, None)
    lines = _predictions(network, _encode(table, frame), target)
    if out is None:
        for piece in lines:
            _write(piece)
    else:
        from pycnn._files import write_whole

        write_whole(out, "".join(lines).encode())


@cli.command()
@click.argument("model", type=PATH)
@click.argument("path", metavar="[TABLE]", type=PATH, required=False)
@click.option("--target", metavar="COLUMN", help="Column with the truth; by default the model's.")
@reading.reading_options
@backend_option
def evaluate(
    model: Path,
    path: Path | None,
    target: str | None,
    options: reading.Options,
    backend_name: str,
) -> None:
    """Print a model's score on a table, which is read as the training's was.

    A model of the built-in digits needs no file: it is scored on the part that training held out.
    """
    network = pycnn.load(model, backend=backend_name)
    if path is None:
        table = _stored_table(network)
        if table is None or table.source != reading.DIGITS or table.target is None:
            raise DataError("give a table: only a model of the built-in digits needs none")
        goal, frame = table.target, reading.read_digits()
        name = target or goal.name
        tables.check_column(frame, name, "--target")
        classes = np.unique(frame[name].to_numpy(), return_inverse=True)[1]
        stratified = classes if goal.task == "classification" else None
        training, test = tables.split(len(frame), table.test_size, table.seed, stratified)
        frame = frame.iloc[test if len(test) else training]
        what = f"the {'test' if len(test) else 'training'} part of the built-in digits"
    else:
        if target is None and _stored_table(network) is None:
            raise DataError("--target is missing: the model keeps no table of columns to name it")
        frame, table, goal = _read_for(network, path, options, target)
        name, what = target or goal.name, str(path)
    truth = table.read_target(frame, name, goal)
    observed = _rows_with_target(truth, name)
    X, y = _encode(table, frame)[observed], truth.values[observed]
    if goal.task == "classification":
        y = _class_indices(y, _classes(network), name)
    _say(f"score on {what} ({len(y)} rows)\n\n{_report(network, goal, X, y)}")


@cli.command()
@click.argument("model", type=PATH)
def info(model: Path) -> None:
    """Print what a model file holds."""
    network = pycnn.load(model)
    table = _stored_table(network)
    classes = _classes(network)
    network.summary()
    rows = [("trained", f"{network.epochs_trained} epochs, seed {network.seed}")]
    if table is not None:
        rows[0] = ("trained", f"{rows[0][1]}, {table.training_rows} rows of {table.source}")
        if table.target is not None:
            rows.append(("target", f"{table.target.name}, {table.target.task}"))
    if classes is not None:
        rows.append(("classes", f"{len(classes)}: {report.listing(classes.tolist(), 20)}"))
    if table is None:
        known = network.feature_names
        shown = "" if known is None else f": {report.listing(known, 20)}"
        rows.append(("features", f"{network.inputs}{shown}; the model keeps no table of columns"))
    else:
        names = [column.name for column in table.columns]
        rows.append(("features", f"{len(names)}: {report.listing(names, 20)}"))
        for column in table.columns:
            if isinstance(column, TextColumn):
                rows.append(("", f"{column.name}: {report.listing(column.categories, 20)}"))
            elif isinstance(column, DateColumn):
                rows.append(("", f"{column.name}: dates of the form {column.form}"))
    _say("\n" + "\n".join(f"{name:<10}{value}" for name, value in rows))


@cli.command()
@backend_option
def walkthrough(backend_name: str) -> None:
    """Print the lecture's 2-2-2-1 example: every quantity, in its order and notation."""
    from pycnn.walkthrough import walkthrough as text

    click.echo(text(backend_name))


@cli.command()
def config() -> None:
    """Print which core runs, its instruction set and its threads."""
    pycnn.show_config()


# ------------------------------------------------------------------ training


class _Dataset:
    """A table made ready: encoded rows, the split, and the transform fitted on the training part.

    `y` holds class indices, or the target's numbers in their own unit; `train` and `test` the
    places of their rows, of which those without a target are none. `train` is parted into `fit`,
    which the network learns, and `validation`, which tells it when to stop.
    """

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
        for name in drop:
            tables.check_column(frame, name, "--drop")
        if target in drop:
            raise DataError(f"--drop leaves out the target column {target!r}")
        codes = frame.attrs.get("codes", {})
        frame = _without(frame, drop, target)

        truth = table.read_target(frame, target)
        observed = _rows_with_target(truth, target)
        self.task, self.y = truth.task, truth.values
        self.rows = len(observed)
        self.classes = None
        if self.task == "classification":
            self.classes = table.check_classes(truth.values[observed], target)
            self.y = np.full(len(frame), -1)
            self.y[observed] = _class_indices(truth.values[observed], self.classes, target)
        share = test_size
        if share is None:
            share = TEST_SIZE if self.rows >= FEWEST_ROWS_TO_SPLIT else 0.0
        if not 0 <= share < 1:
            raise DataError(f"--test-size must be at least 0 and below 1, got {share}")
        strata = self.y[observed] if self.task == "classification" else None
        self.train, self.test = (
            observed[part] for part in tables.split(self.rows, share, table.seed, strata)
        )
        if not len(self.train):
            raise DataError(f"--test-size {share} leaves none of {self.rows} rows to train on")
        if share and not len(self.test):
            raise DataError(f"--test-size {share} of {self.rows} rows is not one row")
        self.fit, self.validation = self.train, self.train[:0]
        if patience or (patience is None and len(self.train) >= FEWEST_ROWS_TO_SPLIT):
            strata = self.y[self.train] if self.task == "classification" else None
            # Another seed: the places within the training part are not to follow the test's.
            parts = tables.split(len(self.train), VALIDATION_SIZE, table.seed + 1, strata)
            if not all(map(len, parts)):
                raise DataError(
                    f"--patience holds out a part of the rows to train on, and {len(self.train)} "
                    "are too few for it"
                )
            self.fit, self.validation = (self.train[part] for part in parts)

        table.fit_frame(frame, target, self.train, codes)
        for note in table.notes:
            _note(f"Note: {note}")
        table.test_size = share
        assert table.target is not None
        self.table, self.goal = table, table.target
        self.unit: tuple[float, float] | None = None  # of the network's output: mean, deviation
        if self.task == "regression":
            self.unit = mean_and_deviation(self.y[self.train], target)
        self.X = _encode(table, frame, taken=False)

    def network_target(self, rows: Any) -> Any:
        """Return what the network is to learn: labels, or numbers in their own unit."""
        return self.y[rows] if self.classes is None else self.classes[self.y[rows]]

    def describe(self) -> str:
        """Return the data in three lines."""
        target = report.shown(self.goal.name)
        if self.classes is None:
            kind = f"{target}, a number"
        else:
            kind = f"{target}, {len(self.classes)} classes: {report.listing(self.classes.tolist())}"
            numbers = self.classes.dtype.kind in "if" and len(self.classes) > 2
            if numbers and self.table.task is None and self.table.source != reading.DIGITS:
                kind += " (--task regression for a quantity)"
        held = f"{len(self.test)} held out for the test" if len(self.test) else "no test part"
        if not len(self.test) and self.rows < FEWEST_ROWS_TO_SPLIT:
            held += f", as there are less than {FEWEST_ROWS_TO_SPLIT}"
        return (
            f"data      {self.table.source}: {self.rows} rows, {len(self.table.columns)} columns "
            f"as {self.X.shape[1]} inputs; {held}\n"
            f"target    {kind}"
        )


def _without(frame: pd.DataFrame, drop: Sequence[str], target: str) -> pd.DataFrame:
    """Leave out the columns that the user names, and the row numbers that pandas writes."""
    unnamed = {name for name in frame.columns if name.startswith("Unnamed: ")} - {target, *drop}
    if unnamed:
        _note(f"Note: left out, as they have no name in the header: {len(unnamed)} column(s)")
    if not unnamed and not drop:
        return frame
    return frame[[name for name in frame.columns if name not in unnamed and name not in drop]]


def _rows_with_target(truth: Truth, target: str) -> Indices:
    """Return the places of the rows that have a target."""
    observed = np.flatnonzero(truth.observed)
    lost = len(truth.observed) - len(observed)
    if lost:
        _note(f"Note: left out, as their target {target!r} is missing: {lost} row(s)")
    return observed


def _class_indices(labels: Any, classes: Any, name: str) -> Indices:
    """Return where each label stands among the classes."""
    known = {label: index for index, label in enumerate(classes.tolist())}
    unknown = sorted({label for label in labels.tolist() if label not in known}, key=str)
    if unknown:
        shown = ", ".join(repr(label) for label in unknown[:5])
        hint = suggest(str(unknown[0]), [str(label) for label in known])
        raise LabelError(
            f"target column {name!r} holds labels that are not among the model's classes: "
            f"{shown}{', ...' if len(unknown) > 5 else ''}{hint}"
        )
    return np.array([known[label] for label in labels.tolist()], dtype=np.intp)


def _fit(
    network: pycnn.Network,
    data: _Dataset,
    *,
    epochs: int,
    batch_size: int,
    optimizer: Optimizer,
    weights: Any,
    stopping: EarlyStopping | None,
    quiet: bool,
) -> History:
    def examples(rows: Any) -> list[Any]:
        """Return inputs, targets and, with weights by class, the rows' weights."""
        parts = [data.X[rows], data.network_target(rows)]
        return parts if weights is None else [*parts, weights[data.y[rows]]]

    held_out = data.validation if stopping else data.test
    try:
        X, y, *weight = examples(data.fit)
        return network.fit(
            X,
            y,
            epochs=epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            sample_weight=weight[0] if weight else None,
            validation_data=examples(held_out) if len(held_out) else None,
            callbacks=[stopping] if stopping else None,
            progress=False if quiet else None,
        )
    except KeyboardInterrupt:
        done = network.history.epochs if network.history else 0
        raise click.Abort(
            f"training was interrupted after {done} of {epochs} epochs; no file was written"
        ) from None
    except DivergedError as error:
        raise DivergedError(f"{error}; no file was written", error.epoch, error.batch) from None


class _Stopping(EarlyStopping):
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


def _ending(history: History, stopping: EarlyStopping | None) -> str:
    """Return how the training ended, and what the network is left with."""
    last = f"loss {history['loss'][-1]:.4g} at the end"
    if stopping is None or stopping.best_epoch is None:
        return last
    return f"{last}, after {history.epochs} epochs; kept is the best, epoch {stopping.best_epoch}"


def _class_weights(given: Sequence[str], data: _Dataset) -> Any:
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


def _parse_hidden(text: str) -> list[int]:
    if text.strip().lower() in ("", "none"):
        return []
    try:
        units = [int(part) for part in text.split(",")]
    except ValueError:
        units = [0]
    if min(units) < 1:
        raise DataError(f"--hidden must be numbers of units such as 64,32, or 'none'; got {text!r}")
    return units


def _check_outputs(source: Path | None, out: Path, plot_path: Path | None, *inputs: Path) -> None:
    """Find out before the work, not after it, that its results cannot be written."""
    sources = [path for path in (source, *inputs) if path is not None]
    outputs = [path for path in (out, plot_path) if path is not None]
    for path in outputs:
        folder = path.parent
        if path.is_dir():
            raise DataError(f"cannot write {path}: it is a folder")
        if not folder.is_dir():
            raise DataError(f"cannot write {path}: there is no folder {folder}")
        if not os.access(folder, os.W_OK):
            raise DataError(f"cannot write {path}: the folder {folder} is write-protected")
        if any(path.resolve() == other.resolve() for other in sources):
            raise DataError(f"cannot write {path}: it is what is read")
    if plot_path is not None:
        if plot_path.resolve() == out.resolve():
            raise DataError(f"model and learning curve cannot both be written to {out}")
        from pycnn._plot import check_format

        check_format(plot_path)


# ------------------------------------------------------------------ using a model


def _stored_table(network: pycnn.Network) -> FileTable | None:
    """Return the transform that `train` put into the model; None for a model from elsewhere."""
    if "table" not in network.metadata:
        return None
    table = FileTable.from_metadata(network.metadata["table"], network.inputs)
    classes = _classes(network)
    if table.target is not None:
        if (table.target.task == "classification") != (classes is not None):
            raise ModelFileError("the model's task does not fit its output layer")
        table.target.text = _are_text(classes)
    return table


def _classes(network: pycnn.Network) -> Any:
    """Return the label of each class, or None for a network that does not choose one of several."""
    if not losses.is_classification(network.loss):
        return None
    if network.outputs == 1 or losses.targets(network.loss) == "classes":
        unnamed = np.arange(max(2, network.outputs))
        return unnamed if network.classes is None else network.classes
    return None


def _choose(network: pycnn.Network, outputs: Any) -> Any:
    """Return the index of the most probable class."""
    if network.outputs == 1:
        return (outputs[:, 0] > losses.boundary(network.loss)).astype(np.intp)
    return outputs.argmax(axis=1)


def _are_text(classes: Any) -> bool:
    return classes is not None and classes.dtype.kind == "U"


def _read_for(
    network: pycnn.Network, path: Path, options: reading.Options, target: str | None
) -> tuple[pd.DataFrame, FileTable, Target]:
    """Read a table for a model, and return the transform and the target with it."""
    table = _stored_table(network)
    classes = _classes(network)
    task = "regression" if classes is None else "classification"
    goal = Target(target or "prediction", task, text=_are_text(classes))
    if table is not None:
        goal = table.target or goal
        for option, kind in (("text", TextColumn), ("date", DateColumn)):
            for name in getattr(options, option):
                if any(c.name == name and not isinstance(c, kind) for c in table.columns):
                    raise DataError(f"--{option} {name}: the model has learned it otherwise")
        table.reading = options.over(table.reading)
        text = [c.name for c in table.columns if not isinstance(c, NumberColumn)]
        text += [target or goal.name] if goal.text else []
        return reading.read(path, table.reading, text=text), table, goal
    # A model that was saved from Python: its inputs are the columns by the names of the training's
    # frame, or else all of them as they stand.
    table = FileTable()
    table.reading, table.target = options.over(Reading()), goal
    frame = reading.read(path, table.reading, text=[target] if target and goal.text else ())
    if target is not None:
        tables.check_column(frame, target, "--target")
    names = list(network.feature_names or (name for name in frame.columns if name != target))
    check_has(frame, names)
    numeric = [name for name in names if table.is_of_numbers(frame[name])]
    if len(names) != network.inputs or len(numeric) != len(names):
        raise DataError(
            f"the model keeps no table of columns, so {path} must have exactly its "
            f"{network.inputs} inputs as columns of numbers; it has {len(names)} columns, "
            f"{len(numeric)} of them numbers"
        )
    table.columns = [NumberColumn(name, 0.0, 1.0, False) for name in names]
    for name in names:
        if np.isnan(table.numbers(frame[name])).any():
            raise DataError(f"column {name!r} has missing values; the model cannot fill them")
    _note(f"Note: the model keeps no table of columns; taken as they are: {report.listing(names)}")
    return frame, table, goal


def _encode(table: Table, frame: pd.DataFrame, *, taken: bool = True) -> Any:
    """Return a network's inputs; tell what was `taken` for missing, unless that was told."""
    X, findings = table.encode(frame)
    for note in findings.taken_for_missing() if taken else ():
        _note(f"Note: {note}")
    for note in findings.tell():
        _note(f"Warning: {note}")
    return X


def _predictions(network: pycnn.Network, X: Any, target: Target) -> Iterator[str]:
    """Return predictions as CSV, piece by piece: of many classes they are long."""
    classes = _classes(network)
    if classes is not None:
        names = [target.name, *(f"probability of {label}" for label in classes)]
    elif network.outputs == 1:
        names = [target.name]
    else:
        names = [f"{target.name}_{i + 1}" for i in range(network.outputs)]
    yield _csv([names])
    rows = max(1, VALUES_PER_PIECE // network.outputs)
    for start in range(0, len(X), rows):
        outputs = network.predict(X[start : start + rows])
        if classes is None:
            # In full: the shortest digits that tell one number from the next.
            yield _csv((outputs * target.scale + target.mean).tolist())
            continue
        labels = classes[_choose(network, outputs)].tolist()
        if network.outputs == 1:
            outputs = np.column_stack([1 - outputs, outputs])
        cells = zip(labels, outputs.tolist(), strict=True)
        yield _csv([label, *(f"{value:.6g}" for value in row)] for label, row in cells)


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _report(network: pycnn.Network, target: Target, X: Any, y: Any) -> str:
    """Return the scores of a network on encoded rows and class indices or numbers."""
    outputs = network.predict(X)
    if target.task == "classification":
        return report.classification_report(y, _choose(network, outputs), _classes(network))
    if network.outputs > 1:
        raise DataError(f"the model has {network.outputs} outputs; one column cannot score them")
    values = outputs[:, 0] * target.scale + target.mean
    return report.regression_report(y, values)
