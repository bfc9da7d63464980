"""What a network of tokens writes, one position after the other; csrc/generate.c."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pycnn._random import draws
from pycnn.backend.interface import window_begin
from pycnn.backend.numpy.network import stepper
from pycnn.backend.numpy.sample import sampler

if TYPE_CHECKING:
    from pycnn._typing import Array, Indices
    from pycnn.backend.interface import Sampling, Writer
    from pycnn.backend.numpy.plan import Plan


def writer(plan: Plan, half: Plan | None, theta: Array, how: Sampling, seed: int) -> Writer:
    """Return a callable that writes on from tokens, which takes one position after the other.

    ``write(tokens, known, count, written)`` draws so many behind those that are known, of which it
    has written some before, and returns how many: less where the outputs are no probabilities.
    `half` takes those with which a window begins.
    """
    run, state = stepper(plan, theta, 1, plan.output_shape, frozen=True)
    window = int(max([leaf.setting("window") for leaf in plan.leaves]))
    first = None if half is None else stepper(half, theta, 1, half.output_shape, frozen=True)
    sample, numbers, read = sampler(*how), draws(seed), 0

    def read_tokens(tokens: Array, anew: bool) -> Array:
        nonlocal read
        begin = window_begin(len(tokens), window)
        if anew or begin != window_begin(read, window):
            state[:], read = 0.0, begin
            count = window // 2
            if first is not None and len(tokens) - read > count:
                run_first, state_first = first
                state_first[:] = 0.0
                run_first(tokens[read : read + count])
                state[:], read = state_first, read + count
        for token in tokens[read:-1]:
            run(token)
        read = len(tokens)
        return run(tokens[-1:]).ravel()

    def write(tokens: Indices, known: int, count: int, written: int) -> int:
        nonlocal numbers
        text = tokens.astype(np.float64)
        numbers = numbers if written else draws(seed)
        for done in range(count):
            end = known + done
            token = sample(read_tokens(text[:end], written + done == 0), next(numbers))
            if token < 0:
                return done
            tokens[end] = text[end] = token
        return count

    return write
