"""A corpus as what a network learns to write, character after character, and what it writes."""

from __future__ import annotations

import codecs
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

import pycnn
from pycnn import text
from pycnn._checks import check_choice
from pycnn.callbacks import Callback, EarlyStopping
from pycnn.cli.output import check_outputs, note
from pycnn.cli.training import OPTIMIZERS, Request, parse_hidden, write_files
from pycnn.exceptions import DataError, DivergedError, ModelFileError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycnn._typing import AnyArray
    from pycnn.history import History

# Characters that the network reads at a time, and its layers: docs/defaults.md tells how they were
# chosen, and how many steps.
LENGTH, EMBEDDING, HIDDEN = 16, 32, (256,)
BATCH_SIZE, STEPS, MOST_EPOCHS, LEARNING_RATE = 128, 10_000, 100, 0.003
VALIDATION_SIZE = 0.1
PATIENCE = 3
# What is written to show what has been learned.
SHOWN, SHOWN_TEMPERATURE = 300, 0.7


class Told(Callback):
    """Tells loss and perplexity of each epoch: among how many characters the choice still is."""

    def __init__(self, say: Callable[[str], None], epochs: int) -> None:
        self.say, self.epochs = say, epochs

    def on_epoch_end(self, network: pycnn.Network, epoch: int, logs: dict[str, float]) -> None:
        """Print a line."""
        self.say(
            f"          epoch {epoch} of {self.epochs}: loss {logs['loss']:.4f}, perplexity "
            f"{math.exp(logs['loss']):.2f}; held out {logs['val_loss']:.4f}, "
            f"{math.exp(logs['val_loss']):.2f}"
        )


def train(request: Request) -> None:
    """Train a network of characters as it is asked for, and write it."""
    _refuse_what_is_of_tables(request)
    name = check_choice(request.optimizer or "adam", tuple(OPTIMIZERS), "--optimizer")
    path = Path(request.options.text[0])
    check_outputs(path, request.out, request.plot_path)
    corpus = read(path, request.options.encoding)
    tokenizer = text.CharacterTokenizer.fit(corpus, fallback=not isinstance(corpus, str))
    training, validation = _split(tokenizer, corpus, path, request.test_size)
    network = _build(request, tokenizer)
    network.metadata |= {"tokenizer": tokenizer.to_metadata(), "corpus": path.name}
    learned, held_out = _examples(training), _examples(validation)
    batches = -(-len(learned[0]) // (request.batch_size or BATCH_SIZE))
    epochs = request.epochs or min(max(round(STEPS / batches), 1), MOST_EPOCHS)
    rate = LEARNING_RATE if request.learning_rate is None else request.learning_rate
    request.say(
        f"data      {path.name}: {len(training) + len(validation)} characters, {len(tokenizer)} "
        f"different tokens; the last {len(validation)} held out\n"
        f"network   {_sizes(network)}, reads {LENGTH} characters, "
        f"{network.parameters.size:,} parameters\n"
        f"training  {epochs} {'epochs' if epochs > 1 else 'epoch'} of {batches} batches, {name}, "
        f"learning rate {rate:g}, falling"
    )
    optimizer = OPTIMIZERS[name](pycnn.schedules.CosineDecay(rate))
    started = time.perf_counter()
    history = _fit(network, request, learned, held_out, epochs, optimizer)
    seconds = time.perf_counter() - started
    files = write_files(request, network, history, "validation")
    scores = network.evaluate(*held_out)
    start = validation[:LENGTH]
    written = network.generate(start, SHOWN, temperature=SHOWN_TEMPERATURE, seed=request.seed)
    request.say(
        f"          {seconds:.1f} s\n\n"
        f"score on what was held out ({len(held_out[1])} characters)\n\n"
        f"loss        {scores['loss']:.4f}\n"
        f"perplexity  {math.exp(scores['loss']):.3f}\n"
        f"accuracy    {scores['accuracy']:.4f}\n\n"
        f"it writes, at a temperature of {SHOWN_TEMPERATURE}\n\n"
        f"{tokenizer.decode(np.concatenate([start, written]))}\n\n{files}"
    )


def _split(
    tokenizer: text.Tokenizer, corpus: str | bytes, path: Path, size: float | None
) -> tuple[AnyArray, AnyArray]:
    """Return the tokens to learn from, and those at the end, which are held out."""
    if len(tokenizer) < 2:
        raise DataError(f"{path} has one character only, {tokenizer.decode([0])!r}")
    tokens = tokenizer.encode(corpus)
    size = VALIDATION_SIZE if size is None else size
    if len(tokens) * min(size, 1 - size) < 2 * LENGTH:
        raise DataError(
            f"{path} has {len(tokens)} characters, which are too few to read {LENGTH} at a time "
            f"and hold out {size:.0%} of them"
        )
    return text.split(tokens, size)


def _build(request: Request, tokenizer: text.Tokenizer) -> pycnn.Network:
    """Return the network to be trained."""
    hidden = HIDDEN if request.hidden is None else tuple(parse_hidden(request.hidden))
    layers: list[Any] = [pycnn.Embedding(EMBEDDING), pycnn.Flatten()]
    for units in hidden:
        layers += [pycnn.Dense(units, request.activation)]
        layers += [pycnn.Dropout(request.dropout)] if request.dropout else []
    return pycnn.Network(
        pycnn.Tokens(len(tokenizer), length=LENGTH),
        [*layers, pycnn.Dense(len(tokenizer), "softmax")],
        l2=request.l2 or 0.0,
        seed=request.seed,
        backend=request.backend_name,
    )


def _sizes(network: pycnn.Network) -> str:
    """Return the sizes of a network's layers in words."""
    units = [place.size for place in network.architecture.tensors if place.role == "bias"]
    return "-".join(map(str, [f"{LENGTH}x{EMBEDDING}", *units]))


def _fit(
    network: pycnn.Network, request: Request, learned: Any, held_out: Any, epochs: int, by: Any
) -> History:
    patience = PATIENCE if request.patience is None else request.patience
    watching: list[Callback] = [Told(request.say, epochs)]
    if patience:
        watching.append(EarlyStopping(patience=patience))
    try:
        return network.fit(
            *learned,
            epochs=epochs,
            batch_size=request.batch_size or BATCH_SIZE,
            optimizer=by,
            validation_data=held_out,
            callbacks=watching,
            progress=False if request.quiet else None,
        )
    except KeyboardInterrupt:
        raise click.Abort("training was interrupted; no file was written") from None
    except DivergedError as error:
        raise DivergedError(f"{error}; no file was written", error.epoch, error.batch) from None


def read(path: Path, encoding: str | None) -> str | bytes:
    """Return a corpus: text, or bytes where it is not UTF-8."""
    content = path.read_bytes()
    if not content:
        raise DataError(f"{path} is empty")
    try:
        return content.decode(encoding or "utf-8")
    except LookupError:
        raise DataError(f"--encoding: there is no text encoding {encoding!r}") from None
    except UnicodeDecodeError as error:
        if encoding is not None:
            raise DataError(f"{path} is not {encoding} text: {error.reason}") from None
        note(f"Note: {path} is not UTF-8 text; what is none is learned as bytes")
        return content


def _examples(tokens: AnyArray) -> tuple[AnyArray, AnyArray]:
    """Return all windows of some tokens, as views, and the token behind each."""
    X, y = text.windows(tokens, LENGTH, 1)
    return X, y[:, -1]


def _refuse_what_is_of_tables(request: Request) -> None:
    """Refuse what a corpus has not."""
    if len(request.options.text) > 1:
        raise DataError(f"--text takes one corpus, got {len(request.options.text)}")
    names = ("target", "drop", "task", "size", "sequence", "horizon", "season", "class_weight")
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(request, name)]
    given += ["--grey"] if request.grey else []
    given += [each for each in request.options.given if each not in ("--text", "--encoding")]
    if given:
        raise DataError(f"{given[0]} is for a table or images, and --text alone names a corpus")


# ------------------------------------------------------------------ writing


def refuse_to_read(network: pycnn.Network) -> None:
    """Refuse a model that writes where one is wanted that reads tables or images."""
    if "tokenizer" in network.metadata:
        raise DataError("the model writes text, with pycnn generate, and reads no tables")


def tokenizer_of(network: pycnn.Network) -> text.Tokenizer:
    """Return the tokenizer that was kept with a model, which fits what the network reads."""
    tokens = network.input_shape
    if "tokenizer" not in network.metadata or not isinstance(tokens, pycnn.Tokens):
        raise DataError("the model keeps no tokenizer: pycnn train --text makes one that writes")
    tokenizer = text.from_metadata(network.metadata["tokenizer"])
    if len(tokenizer) != tokens.vocabulary:
        raise ModelFileError("the model's tokenizer does not fit its network")
    return tokenizer


def start_of(network: pycnn.Network, tokenizer: text.Tokenizer, prompt: str) -> list[int]:
    """Return a prompt's tokens, behind so many blank lines that the network has enough to read."""
    try:
        known = tokenizer.encode(prompt).tolist()
    except DataError as error:
        what = str(error).partition(", which")[0]
        raise DataError(
            f"--prompt: {what}, which the corpus had none of: it cannot be read"
        ) from None
    try:
        blank = int(tokenizer.encode("\n")[0])
    except DataError:
        blank = 0
    missing = (network.input_shape[0] or 0) - len(known)
    return [blank] * missing + known


class Writer:
    """Prints what tokens stand for as they come, a character when all of its bytes are there."""

    def __init__(self, tokenizer: text.Tokenizer, write: Callable[[str], None]) -> None:
        self.tokenizer, self.write = tokenizer, write
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def __call__(self, token: int) -> None:
        """Print what is whole by now."""
        self.write(self.decoder.decode(self.tokenizer.vocabulary[token]))

    def end(self) -> None:
        """Print what has not become whole, and end the line."""
        self.write(self.decoder.decode(b"", final=True) + "\n")
