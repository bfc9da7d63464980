"""What a network of tokens writes: each token is drawn from what it makes of those before it."""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn import _random
from pycnn._architecture import has_window
from pycnn._checks import check_fits, check_real, check_size
from pycnn._data.tokens import Tokens, as_integers
from pycnn.backend.interface import window_begin
from pycnn.exceptions import DataError, DataTypeError, PairingError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pycnn._model import Model
    from pycnn._typing import Array, ArrayLike, Indices
    from pycnn.backend.interface import LayerSpec, Sampling, Writer

# Seconds in which tokens are written without a look at callbacks, the end, and Ctrl-C.
TOGETHER = 0.02


def generate(
    network: Model,
    start: ArrayLike,
    count: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    seed: int | None,
    stop: int | Iterable[int] | None,
    callback: Callable[[int], Any] | None,
) -> Indices:
    """Return what follows on `start`: see `pycnn.Network.generate`."""
    tokens = _check_network(network)
    steps = _steps(network, tokens)
    known = _check_start(network, start, tokens, steps is not None)
    count = check_size(count, "count", at_least=0)
    how = (
        check_real(temperature, "temperature", at_least=0),
        0 if top_k is None else check_size(top_k, "top_k"),
        1.0 if top_p is None else check_real(top_p, "top_p", above=0, at_most=1),
    )
    ends = _check_stop(stop, tokens)
    if callback is not None and not callable(callback):
        raise DataTypeError(f"callback must be callable, got {callback!r:.80}")
    seed = _random.check_seed(seed)
    if seed >> 64:
        raise DataError(f"seed must be below 2**64, got {seed}")
    if steps is None:
        write = _by_windows(network, how, seed)
    else:
        write = _by_steps(network, steps, how, seed)
    begin, made, some = len(known), 0, 1
    check_fits(begin + count, f"a text of {count} more tokens")
    text = np.empty(begin + count, np.intp)
    text[:begin] = known
    while made < count:
        some, now = min(some, count - made), perf_counter()
        at = begin + made
        done = write(text, at, some, made)
        taken = perf_counter() - now
        for token in text[at : at + done].tolist():
            made += 1
            if callback is not None:
                callback(token)
            if token in ends:
                return text[begin : begin + made].copy()
        if done < some:
            raise DataError(
                f"the network gives no probabilities for token {made} of what it writes, but NaN: "
                "its parameters are not finite, or so large that sums overflow"
            )
        some = max(1, min(2 * some, int(some * TOGETHER / max(taken, 1e-6))))
    return text[begin:].copy()


def _steps(network: Model, tokens: Tokens) -> Sequence[LayerSpec] | None:
    """Return the layers as they take one position after the other; None: some do not.

    Nor does a single output: it is that behind as many tokens as a sample has, where that is known.
    """
    if len(network.output_shape) == 1 and tokens.length is not None:
        return None
    try:
        return network.architecture.part_specs(1)
    except DataError as error:
        if tokens.length is None:
            raise DataError(
                f"generate needs a network on Tokens({tokens.vocabulary}, length), which knows how "
                f"many tokens it reads at a time; one with a length takes the same parameters: "
                f"{error}"
            ) from None
        return None


def _by_steps(network: Model, steps: Sequence[LayerSpec], how: Sampling, seed: int) -> Writer:
    """Return what writes by the parameters of now, each token read once in a window."""
    half, (length,) = None, network.input_shape
    if has_window(steps) and length > 1:
        half = network.plan_of(network.architecture.part_specs(length // 2))
    core, plan = network.core, network.plan_of(steps)
    return network.with_theta(lambda theta: core.writer(plan, half, theta, how, seed))


def _by_windows(network: Model, how: Sampling, seed: int) -> Writer:
    """Return the same, where a layer reads all positions at once, by all of a window.

    Of outputs at each position, which what is not there must not change, it is the last. Whole
    windows for a single output take the shortest way.
    """
    (length,), positions = network.input_shape, network.output_shape[:-1]
    run = None if positions else network.predictor(frozen=True)
    sample, numbers = network.core.sampler(*how), _random.draws(seed)

    def behind(tokens: Indices) -> Array:
        known = len(tokens)
        first = window_begin(known, length) if positions else max(0, known - length)
        x = np.zeros((1, length))
        x[0, : known - first] = tokens[first:]
        if run is not None and known - first == length:
            return run(x)[0]
        lengths = None if known - first == length else np.array([known - first])
        out = network.outputs_of(x, lengths)[0]
        return out[known - first - 1] if positions else out

    def write(text: Indices, known: int, count: int, written: int) -> int:
        for done in range(count):
            token = sample(behind(text[: known + done]), next(numbers))
            if token < 0:
                return done
            text[known + done] = token
        return count

    return write


def _check_network(network: Model) -> Tokens:
    """Return what the network reads, if its output is a probability of each of such."""
    tokens, shape = network.input_shape, network.output_shape
    if not isinstance(tokens, Tokens):
        raise DataError(
            f"generate needs a network on Tokens(vocabulary, length), whose inputs are not "
            f"{tuple(tokens)}"
        )
    output = network.layers[-1]
    if output.activation != "softmax" or shape[-1] != tokens.vocabulary:
        raise PairingError(
            f"generate needs a softmax output of a probability for each of {tokens.vocabulary} "
            f"tokens, got {output!r}"
        )
    classes = network.classes
    if classes is not None and not np.array_equal(classes, np.arange(tokens.vocabulary)):
        raise PairingError(
            f"generate needs an output for each token in their order, but the network has learned "
            f"the classes {classes!r:.80}"
        )
    return tokens


def _check_tokens(value: Any, name: str, tokens: Tokens) -> list[int]:
    array = as_integers(value if np.size(value) else np.empty(0, np.intp), name, tokens)
    if array.ndim != 1:
        raise ShapeError(f"{name} must have shape (tokens,), got {array.shape}")
    known = (array >= 0) & (array < tokens.vocabulary)
    if not known.all():
        at = int(known.argmin())
        raise DataError(f"{name}[{at}] is {array[at]}; tokens are 0 ... {tokens.vocabulary - 1}")
    return [int(token) for token in array]


def _check_start(network: Model, start: Any, tokens: Tokens, by_steps: bool) -> list[int]:
    """Return the tokens that are there before the first is drawn."""
    if isinstance(start, (str, bytes)):
        raise DataTypeError(
            f"start must be tokens, got {start!r:.40}; a tokenizer's encode() makes them of text"
        )
    known = _check_tokens(start, "start", tokens)
    if not known:
        raise DataError("start must have at least one token, got none")
    if not by_steps and (len(known) < tokens[0] or len(network.output_shape) > 1):
        try:
            network.architecture.check_lengths()
        except DataError as error:
            raise DataError(
                f"start must have at least {tokens.length} tokens, and the output must be one row, "
                f"for a network that cannot read less than {tokens.length} at a time: {error}"
            ) from None
    return known


def _check_stop(stop: Any, tokens: Tokens) -> set[int]:
    """Return the tokens at which a text ends."""
    if stop is None:
        return set()
    several = isinstance(stop, Iterable) and getattr(stop, "ndim", 1) > 0
    ends = list(stop) if several else [stop]
    return set(_check_tokens(ends, "stop", tokens))
