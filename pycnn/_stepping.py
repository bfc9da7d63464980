"""One position of sequences after the other, each of which goes on from those before."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from pycnn._architecture import has_window
from pycnn._checks import check_fits
from pycnn._data.arrays import as_numbers, as_values, check_finite
from pycnn._data.tokens import Tokens, as_integers
from pycnn.exceptions import DataError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import SupportsIndex

    from pycnn._model import Model
    from pycnn._typing import Array, ArrayLike, Shape
    from pycnn.backend.interface import LayerSpec, Predictor

_FLOAT64 = np.dtype(np.float64)


class Stepper:
    """What `pycnn.Network.stepper` returns: call it with one position after the other."""

    def __init__(self, network: Model, batch: int, frozen: bool) -> None:
        shape, steps = network.input_shape, network.architecture.part_specs(1)
        self._encoder, self._reader = network.encoder, None if frozen else network
        self._find = network.core.find_not_finite
        self._tokens = shape if isinstance(shape, Tokens) else None
        self._shapes: list[Shape] = [(batch, *shape[1:])]
        self._shapes += [shape[1:]] if batch == 1 else []
        # Of a window that is full the last part begins the next one.
        self._window = shape[0] if has_window(steps) else 0
        self._kept = self._window // 2
        numbers = math.prod(shape[1:])
        check_fits(batch * (network.inputs + sum(_numbers(steps))), f"a batch of {batch} rows")
        self._x = np.zeros((batch, numbers))
        self._past = np.zeros((batch, self._window, numbers))
        self._count = 0  # positions in the window

        def take_parts(theta: Array, positions: int) -> tuple[Predictor, Array]:
            specs = network.architecture.part_specs(positions)
            outputs = (math.prod(specs[-1].output_shape),)
            return network.core.stepper(network.plan_of(specs), theta, batch, outputs, frozen)

        def make(theta: Array) -> Any:
            return take_parts(theta, 1), take_parts(theta, self._kept) if self._kept else None

        made = network.with_theta(make) if frozen else make(network.theta)
        (self._run, self._numbers), self._again = made

    def __call__(self, x: ArrayLike) -> Array:
        """Return the output at the next position, as `predict` gives it for all up to there.

        Parameters
        ----------
        x : array-like of shape (F,) or (batch, F); of tokens an int, or ints of shape (batch,)
            What stands at the position, in each sequence.

        Returns
        -------
        ndarray of shape (batch, n_L)

        Raises
        ------
        ShapeError, DataTypeError, DataError
            If `x` has the wrong shape, is not numeric, or holds NaN, infinity, or what is no token.
            Then the state is as it was.
        """
        out = self.advance(self._read(x) if self._tokens is None else self._read_tokens(x)).copy()
        scale = (self._encoder if self._reader is None else self._reader.encoder).scale
        return out if scale is None else scale.restore(out)

    def advance(self, x: Array) -> Array:
        """Return the output for a position that has been checked; it is overwritten by the next."""
        if self._window:
            if self._count == self._window:
                self._begin_again()
            self._past[:, self._count] = x
        out = self._run(x)
        if self._window:
            self._count += 1
        return out

    def _begin_again(self) -> None:
        """Begin a window with the last half of one that is full."""
        kept, past = self._kept, self._past
        self._numbers[:] = 0
        if self._again is not None:
            run, numbers = self._again
            past[:, :kept] = past[:, -kept:]
            numbers[:] = 0
            run(np.ascontiguousarray(past[:, :kept]))
            self._numbers[:] = numbers
        self._count = kept

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        # A copy would share the core's half of the state.
        raise TypeError("a stepper cannot be copied: make another one, and set its state")

    def reset(self) -> None:
        """Begin new sequences."""
        self._numbers[:] = 0
        self._count = 0

    @property
    def state(self) -> Array:
        """What is remembered, (batch, numbers): a copy. What is set goes on from where that was.

        Where there is attention, or a position embedding, that includes what has been read in the
        present window, and how much that is. Zeros begin new sequences.
        """
        return np.hstack([self._numbers, *self._window_state()])

    @state.setter
    def state(self, value: ArrayLike) -> None:
        window = self._window_state()
        sizes = [part.shape[1] for part in (self._numbers, *window)]
        values = as_values(value, "state", (len(self._numbers), sum(sizes)))
        numbers, *others = np.split(values, np.cumsum(sizes)[:-1], axis=1)
        if others:
            past, counts = others
            count = counts[0, 0]
            if not (counts == count).all() or count not in range(self._window + 1):
                raise DataError(
                    f"state must be one that a stepper had, whose last numbers say how many of "
                    f"{self._window} positions are known, got {counts.ravel().tolist()!r:.60}"
                )
            known = past.reshape(self._past.shape)[:, : int(count)]
            if self._tokens is not None:
                vocabulary = self._tokens.vocabulary
                if not ((known == np.floor(known)) & (known >= 0) & (known < vocabulary)).all():
                    raise DataError(
                        "state must be one that a stepper had: what it has read are no tokens"
                    )
            self._past[:] = past.reshape(self._past.shape)
            self._count = int(count)
        self._numbers[:] = numbers

    def _window_state(self) -> list[Array]:
        """Return what a window has beside the core's numbers."""
        batch = len(self._numbers)
        counts = np.full((batch, 1), float(self._count))
        return [self._past.reshape(batch, -1), counts] if self._window else []

    def _read(self, x: Any) -> Array:
        if not (
            type(x) is np.ndarray
            and x.dtype is _FLOAT64
            and x.flags.c_contiguous
            and x.flags.aligned
        ):
            x = as_numbers(x, "x")
        if x.shape not in self._shapes:
            raise ShapeError(f"x must have shape {self._expected()}, got {x.shape}")
        x = x.reshape(self._x.shape)
        if self._find(x) != x.size:
            check_finite(x, "x")
        return x

    def _read_tokens(self, x: Any) -> Array:
        tokens = self._tokens
        assert tokens is not None
        alone = (type(x) is int or isinstance(x, np.integer)) and len(self._x) == 1
        if alone and 0 <= x < tokens.vocabulary:  # else it takes the way on which errors are
            self._x[0, 0] = x
            return self._x
        array = as_integers(x, "x", tokens)
        if array.shape not in self._shapes:
            raise ShapeError(f"x must have shape {self._expected()}, got {array.shape}")
        known = (array >= 0) & (array < tokens.vocabulary)
        if not known.all():
            at = int(known.argmin())
            place = f"[{at}]" if array.ndim else ""
            token = int(array.flat[at])
            raise DataError(f"x{place} is {token}; tokens are 0 ... {tokens.vocabulary - 1}")
        self._x[:] = array.reshape(self._x.shape)
        return self._x

    def _expected(self) -> str:
        return " or ".join(map(str, reversed(self._shapes)))


def _numbers(specs: Sequence[LayerSpec]) -> list[int]:
    return [math.prod(spec.output_shape) for spec in specs]
