"""The commands, and how their errors end: one line on stderr, exit status 2."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

import pycnn
from pycnn import activations, backend
from pycnn._table.columns import DateColumn, TextColumn
from pycnn.cli import images, reading, report, series, texts, training
from pycnn.cli import table as tables
from pycnn.cli.examples import FEWEST_ROWS_TO_SPLIT, TEST_SIZE, VALIDATION_SIZE
from pycnn.cli.images import ImageSet
from pycnn.cli.output import check_outputs, note, say, write
from pycnn.cli.training import (
    BATCH_SIZE,
    FEWEST_EPOCHS,
    LEARNING_RATES,
    LEAST_PATIENCE,
    MOST_EPOCHS,
    MOST_PENALTY,
    OPTIMIZERS,
    PATIENCE_STEPS,
    PENALTY,
    STEPS,
    Dataset,
)
from pycnn.cli.using import (
    class_indices,
    classes_of,
    encode,
    image_predictions,
    predictions,
    read_for,
    reads_images,
    rows_with_target,
    scores,
    stored_table,
)
from pycnn.exceptions import DataError, PycnnError

FAILURE, INTERRUPTED = 2, 130


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
    note(prefix + " ".join(message.split()))
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
    note(f"Warning: {message}")


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


def _joined(units: Sequence[int]) -> str:
    return ",".join(map(str, units))


@click.group(context_settings=CONTEXT, invoke_without_command=True)
@click.version_option(pycnn.__version__, prog_name="pycnn")
@click.pass_context
def cli(context: click.Context) -> None:
    """Train small neural networks on tables, images and text, and use them."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cli.command()
@click.argument("path", metavar="[TABLE|FOLDER]", type=PATH, required=False)
@click.option("--target", metavar="COLUMN", help="Column to predict.")
@click.option("--drop", multiple=True, metavar="COLUMN", help="Column to leave out; repeatable.")
@click.option(
    "--task",
    metavar="|".join(tables.TASKS),
    help="By default classification for text, truth values and few distinct whole numbers.",
)
@click.option(
    "--size",
    type=click.IntRange(min=1),
    metavar="PIXELS",
    help="Of images: their sides in the network; by default the shortest one that there is, "
    f"{images.SIZE} at most.",
)
@click.option("--grey", is_flag=True, help="Read images without their colours.")
@click.option(
    "--sequence",
    type=click.IntRange(min=1),
    metavar="ROWS",
    help="The rows follow each other in time: read so many, and foretell --target behind them.",
)
@click.option(
    "--horizon",
    type=click.IntRange(min=1),
    metavar="ROWS",
    help="With --sequence: how many rows on the target is foretold; by default the next.",
)
@click.option(
    "--season",
    type=click.IntRange(min=1),
    metavar="ROWS",
    help="With --sequence: the score is held against the value so many rows before; by default "
    "those of --sequence.",
)
@click.option(
    "--hidden",
    metavar="UNITS,...",
    help="Hidden layers; 'none' for no hidden layer. By default "
    f"{_joined(Dataset.hidden)}; of images {_joined(ImageSet.hidden)}.",
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
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help=f"By default {BATCH_SIZE}; of a corpus {texts.BATCH_SIZE}.",
)
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
@click.option("--optimizer", metavar="|".join(OPTIMIZERS), help="By default sgd; of a corpus adam.")
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
def train(**given: Any) -> None:
    """Train a network on a table with a header, a folder of images, or the built-in digits.

    The table is CSV, also compressed, Parquet, Feather, Excel or JSON. Numbers are standardised,
    text becomes one-hot, missing numbers the training mean; the model file keeps how. A column
    that is mostly numbers is one: NA, NaN, null, None and signs such as ? are gaps in it. Rows
    without a target are left out. The test part has no influence on the training; its scores tell
    how the network does on unseen rows. When to stop is told by a part of the training rows, whose
    curve is in the picture.

    In a folder of images each folder is a class. An image's shorter side is brought to --size and
    its middle cut out; the camera's orientation is applied, what is transparent becomes white.

    With --sequence the table's rows are in the order of time. The network reads some of them, the
    target's column too, and foretells it; the test is the end of the table, and so is, of the rest,
    what tells when to stop.

    With --text alone, which names a file then, the network learns to write: it reads some
    characters and says which is next. The last tenth of the corpus is held out.

    \b
    pycnn train
    pycnn train flowers.csv --target species --out flowers.safetensors
    pycnn train photos --size 48 --out photos.safetensors
    pycnn train power.csv --sequence 24 --target load --out load.safetensors
    pycnn train --text corpus.txt --out writer.safetensors
    """  # noqa: D301 - \b is click's
    request = training.Request(**given)
    (texts if request.names_a_corpus else training).train(request)


@cli.command()
@click.argument("model", type=PATH)
@click.argument("paths", metavar="TABLE|IMAGE...", type=PATH, nargs=-1, required=True)
@click.option("--out", type=PATH, metavar="FILE", help="CSV file to write instead of the terminal.")
@reading.reading_options
@backend_option
def predict(
    model: Path,
    paths: tuple[Path, ...],
    out: Path | None,
    options: reading.Options,
    backend_name: str,
) -> None:
    """Print a prediction for each row of a table, or each image, as CSV; of a series forecasts.

    Classes come with the probability of each; a regression is in the target's own unit. Columns
    that the model does not know are ignored. The table is read as the training's was, and so are
    images; a folder stands for those in it.
    """
    if out is not None:
        check_outputs(paths[0], out, None, model, *paths[1:])
    network = pycnn.load(model, backend=backend_name)
    texts.refuse_to_read(network)
    if reads_images(network, paths):
        _refuse_table_options(options)
        lines = image_predictions(network, images.listed(paths))
    else:
        path, *more = paths
        if more:
            raise DataError(f"a model of tables reads one at a time, got {len(paths)} files")
        frame, table, target = read_for(network, path, options, None)
        X, windows = encode(table, frame), series.stored(network)
        if windows is None:
            lines = predictions(network, X, target)
        else:
            lines = series.forecasts(network, windows, X, target)
    if out is None:
        for piece in lines:
            write(piece)
    else:
        from pycnn._files import write_whole

        write_whole(out, ["".join(lines).encode()])


@cli.command()
@click.argument("model", type=PATH)
@click.argument("path", metavar="[TABLE|FOLDER]", type=PATH, required=False)
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
    """Print a model's score on a table, or a folder of images, read as the training's was.

    In a folder of images each folder is a class, by its name. A model of the built-in digits needs
    no file: it is scored on the part that training held out.
    """
    network = pycnn.load(model, backend=backend_name)
    texts.refuse_to_read(network)
    if reads_images(network, () if path is None else (path,)):
        _evaluate_images(network, path, target, options)
        return
    if path is None:
        table = stored_table(network)
        if table is None or table.source != reading.DIGITS or table.target is None:
            raise DataError("give a table: only a model of the built-in digits needs none")
        goal, frame = table.target, reading.read_digits()
        name = target or goal.name
        tables.check_column(frame, name, "--target")
        classes = np.unique(frame[name].to_numpy(), return_inverse=True)[1]
        stratified = classes if goal.task == "classification" else None
        rest, test = tables.split(len(frame), table.test_size, table.seed, stratified)
        frame = frame.iloc[test if len(test) else rest]
        what = f"the {'test' if len(test) else 'training'} part of the built-in digits"
    else:
        if target is None and stored_table(network) is None:
            raise DataError("--target is missing: the model keeps no table of columns to name it")
        frame, table, goal = read_for(network, path, options, target)
        name, what = target or goal.name, str(path)
    truth = table.read_target(frame, name, goal)
    windows = series.stored(network)
    if windows is not None:
        count, text = series.scored(network, windows, encode(table, frame), truth.values)
        say(f"score on {what} ({count} windows)\n\n{text}")
        return
    observed = rows_with_target(truth, name)
    X, y = encode(table, frame)[observed], truth.values[observed]
    if goal.task == "classification":
        y = class_indices(y, classes_of(network), name)
    say(f"score on {what} ({len(y)} rows)\n\n{scores(network, goal, X, y)}")


def _evaluate_images(
    network: pycnn.Network, folder: Path | None, target: str | None, options: reading.Options
) -> None:
    """Print a model's score on a folder of images."""
    if folder is None:
        raise DataError("give a folder of images, with a folder for each class")
    _refuse_table_options(options, *(["--target"] if target else []))
    classes = classes_of(network)
    if classes is None:
        raise DataError("the model has no classes, which a folder of images is parted into")
    X, labels = images.read_labelled(folder, network.input_shape)
    y = class_indices(labels, classes, str(folder))
    text = scores(network, images.TARGET, X, y)
    say(f"score on {folder} ({len(y)} images)\n\n{text}")


def _refuse_table_options(options: reading.Options, *others: str) -> None:
    """Refuse what is said about a table to a model of images."""
    for name in (*others, *options.given):
        raise DataError(f"{name} is for a table, and the model reads images")


@cli.command()
@click.argument("model", type=PATH)
@click.option("--prompt", default="", help="What it goes on from; by default a new line.")
@click.option(
    "--count", type=click.IntRange(min=0), default=500, show_default=True, help="Tokens to write."
)
@click.option(
    "--temperature",
    type=float,
    default=0.7,
    show_default=True,
    help="Below 1 the probable becomes more so; 0: always the most probable.",
)
@click.option("--top-k", type=click.IntRange(min=1), help="Draw from so many tokens at most.")
@click.option("--top-p", type=float, help="Draw from the tokens that have this probability.")
@click.option("--seed", type=click.IntRange(min=0), help="What is drawn; by default a fresh one.")
@backend_option
def generate(
    model: Path,
    prompt: str,
    count: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    seed: int | None,
    backend_name: str,
) -> None:
    """Print a text that goes on from a prompt, by a model of pycnn train --text."""
    network = pycnn.load(model, backend=backend_name)
    tokenizer = texts.tokenizer_of(network)
    start = texts.start_of(network, tokenizer, prompt)
    writer = texts.Writer(tokenizer, write)
    write(prompt)
    network.generate(
        start,
        count,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        callback=writer,
    )
    writer.end()


@cli.command()
@click.argument("model", type=PATH)
@click.argument("out", metavar="OUT.c", type=PATH)
@click.option("--name", default="model", show_default=True, help="What its names begin with.")
@click.option("--dtype", default="float32", show_default=True, metavar="float32|float64")
@click.option(
    "--weights",
    default="float",
    show_default=True,
    metavar="float|int8",
    help="int8: whole numbers, and a scale for each unit.",
)
@click.option(
    "--rows",
    type=PATH,
    metavar="TABLE|IMAGES",
    help="Rows of the self-test, or images: a file or a folder; by default drawn.",
)
@click.option("--header", is_flag=True, help="Write the declarations beside it, as OUT.h.")
@reading.reading_options
def export(
    model: Path,
    out: Path,
    name: str,
    dtype: str,
    weights: str,
    rows: Path | None,
    header: bool,
    options: reading.Options,
) -> None:
    """Write a model as one file of C99, for any machine that has a C compiler.

    Columns are standardised there as they were for the training, and classes have their names. The
    file tests itself by rows that it keeps; of --rows it is said how many stay in their class.
    """
    from pycnn._io.c_source import export as export_c

    check_outputs(rows, out, None, model)
    network = pycnn.load(model)
    X: Any = 8
    if rows is not None:
        texts.refuse_to_read(network)
    if rows is not None and reads_images(network, [rows]):
        _refuse_table_options(options)
        X = images.read_images(images.listed([rows]), network.input_shape)
    elif rows is not None:
        frame, table, _ = read_for(network, rows, options, None)
        X, windows = encode(table, frame), series.stored(network)
        X = X if windows is None else windows.of(X)
    _, facts = export_c(network, out, name, dtype, weights, X, header)
    say("\n".join(facts))


@cli.command()
@click.argument("model", type=PATH)
def info(model: Path) -> None:
    """Print what a model file holds."""
    network = pycnn.load(model)
    table, kept = stored_table(network), images.stored(network)
    classes = classes_of(network)
    network.summary()
    rows = [("trained", f"{network.epochs_trained} epochs, seed {network.seed}")]
    if table is not None:
        rows[0] = ("trained", f"{rows[0][1]}, {table.training_rows} rows of {table.source}")
        if table.target is not None:
            rows.append(("target", f"{table.target.name}, {table.target.task}"))
        windows = series.stored(network)
        if windows is not None:
            rows.append(("windows", f"{windows.sequence} rows, foretold {windows.horizon} on"))
    if classes is not None and "tokenizer" not in network.metadata:
        rows.append(("classes", f"{len(classes)}: {report.listing(classes.tolist(), 20)}"))
    if kept is not None:
        rows[0] = ("trained", f"{rows[0][1]}, {kept['training_images']} images of {kept['source']}")
        rows.append(("images", images.pixels_of(network.input_shape)))
    elif "tokenizer" in network.metadata:
        source = network.metadata.get("corpus", "a corpus")
        rows[0] = ("trained", f"{rows[0][1]}, {source}")
        rows.append(("writes", f"{len(texts.tokenizer_of(network))} different tokens"))
    elif table is None:
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
    say("\n" + "\n".join(f"{name:<10}{value}" for name, value in rows))


@cli.command()
@backend_option
def walkthrough(backend_name: str) -> None:
    """Print the lecture's 2-2-2-1 example: every quantity, in its order and notation."""
    from pycnn.walkthrough import walkthrough as text

    click.echo(text(backend_name))


@cli.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default="a free one",
    help="Of the page's address on this machine.",
)
@click.option("--no-browser", is_flag=True, help="Open no browser: print the address alone.")
def playground(port: int, no_browser: bool) -> None:
    """Show networks learning, in a page of the browser, until Ctrl-C.

    The page is a package of its own: pip install pycnn-playground. It computes in the browser, and
    only this machine can ask for it.
    """
    from pycnn.cli.playground import serve

    serve(port, browser=not no_browser)


@cli.command()
def config() -> None:
    """Print which core runs, its instruction set and its threads."""
    pycnn.show_config()
