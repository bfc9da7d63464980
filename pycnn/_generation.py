"""What a network of tokens writes: each token is drawn from what it makes of those before it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn import _random
from pycnn._checks import check_real, check_size
from pycnn._data.tokens import Tokens, as_integers
from pycnn._stepping import Stepper
from pycnn.exceptions import DataError, DataTypeError, PairingError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pycnn._model import Model
    from pycnn._typing import Array, ArrayLike, Indices

# So many numbers of a seed's stream are drawn together.
DRAWS = 1024


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
    stepper = _stepper(network, tokens)
    known = _check_start(network, start, tokens, stepper is not None)
    count = check_size(count, "count", at_least=0)
    sample = network.core.sampler(
        check_real(temperature, "temperature", at_least=0),
        0 if top_k is None else check_size(top_k, "top_k"),
        1.0 if top_p is None else check_real(top_p, "top_p", above=0, at_most=1),
    )
    ends = _check_stop(stop, tokens)
    if callback is not None and not callable(callback):
        raise DataTypeError(f"callback must be callable, got {callback!r:.80}")
    draws = _draws(_random.check_seed(seed))
    behind = _by_windows(network) if stepper is None else _one_by_one(stepper, tokens, len(known))
    made = np.empty(count, np.intp)
    for number, draw in zip(range(count), draws, strict=False):
        token = sample(behind(known), draw)
        if token < 0:
            raise DataError(
                f"the network gives no probabilities for token {number} of what it writes, but "
                "NaN: its parameters are not finite, or so large that sums overflow"
            )
        made[number] = token
        known.append(token)
        if callback is not None:
            callback(token)
        if token in ends:
            return made[: number + 1]
    return made


def _stepper(network: Model, tokens: Tokens) -> Stepper | None:
    """Return what gives an output at each position, by the parameters of now; None: nothing does.

    A single output is that behind as many tokens as a sample has, where that is known.
    """
    if len(network.output_shape) == 1 and tokens.length is not None:
        return None
    try:
        return Stepper(network, 1, frozen=True)
    except DataError as error:
        if tokens.length is None:
            raise DataError(
                f"generate needs a network on Tokens({tokens.vocabulary}, length), which knows how "
                f"many tokens it reads at a time; one with a length takes the same parameters: "
                f"{error}"
            ) from None
        return None


def _one_by_one(stepper: Stepper, tokens: Tokens, count: int) -> Callable[[list[int]], Array]:
    """Return what gives the probability of each token behind those that are known.

    Of `count` that are there at first, those before the window do not matter.
    """
    read = 0 if stepper.window == 0 else _first(count, stepper.window)
    x = np.empty((1, 1))

    def behind(known: list[int]) -> Array:
        nonlocal read
        for token in known[read:]:
            x[0] = token
            out = stepper.advance(x)
        read = len(known)
        return out[0]

    return behind


def _first(known: int, length: int) -> int:
    """Return where the window begins: when one is full, its last half begins the next."""
    step = length - length // 2
    return -(-max(0, known - length) // step) * step


def _by_windows(network: Model) -> Callable[[list[int]], Array]:
    """Return the same, where a layer reads all positions at once, by all of a window.

    Of outputs at each position, which what is not there must not change, it is the last. Whole
    windows for a single output take the shortest way.
    """
    (length,), positions = network.input_shape, network.output_shape[:-1]
    run = None if positions else network.predictor(frozen=True)

    def behind(known: list[int]) -> Array:
        first = _first(len(known), length) if positions else max(0, len(known) - length)
        count = len(known) - first
        x = np.zeros((1, length))
        x[0, :count] = known[first:]
        if run is not None and count == length:
            return run(x)[0]
        out = network.outputs_of(x, None if count == length else np.array([count]))[0]
        return out[count - 1] if positions else out

    return behind


def _draws(seed: int) -> Iterator[float]:
    bits = _random.generator(seed, _random.GENERATING)
    while True:
        yield from _random.uniform(bits, DRAWS).tolist()


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
    ends = [stop] if isinstance(stop, (int, np.integer)) or not isinstance(stop, Iterable) else stop
    return set(_check_tokens(list(ends), "stop", tokens))
