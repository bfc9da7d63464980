"""Tokens one after the other, and a sensor's readings: ``python -m benchmarks.writing``.

A Transformer (A1 of `workloads.py`) writes, each time the most probable token, by
`Network.generate` and by PyTorch: with the keys and values of what is there kept, and by computing
the whole window anew for each token, as one begins. All must write the same. A GRU of 64 units
takes one reading a call, by `Network.stepper` and by PyTorch. One thread, CPU time, turns in
alternation, the best counts.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from benchmarks.peers.torch_peer import convert
from benchmarks.workloads import TOKENS, TRANSFORMER
from pycnn import GRU, Dense, Network, backend, set_num_threads

if TYPE_CHECKING:
    from collections.abc import Callable

START = [1, 2, 3]
READINGS = 1000


class _Cached:
    """PyTorch's modules with the keys and values of each block kept."""

    def __init__(self, model: torch.nn.Sequential, dtype: torch.dtype) -> None:
        self.embedding, self.positions, *blocks, self.norm, self.output = model
        self.blocks = [block.inner for block in blocks]
        heads, width = self.blocks[0].self_attn.num_heads, self.blocks[0].self_attn.head_dim
        shape = (2, len(self.blocks), heads, TOKENS.length, width)
        self.heads, self.keys, self.values = heads, *torch.zeros(shape, dtype=dtype)

    def __call__(self, tokens: list[int], first: int) -> torch.Tensor:
        """Return z behind the last of tokens, which stand at `first` and behind it."""
        last = first + len(tokens)
        x = self.embedding(torch.tensor(tokens)) + self.positions.table[first:last]
        for block, keys, values in zip(self.blocks, self.keys, self.values, strict=True):
            attention = block.self_attn
            z = functional.linear(
                block.norm1(x), attention.in_proj_weight, attention.in_proj_bias
            ).view(len(x), 3, self.heads, -1)
            query, keys[:, first:last], values[:, first:last] = z.permute(1, 2, 0, 3)
            found = functional.scaled_dot_product_attention(
                query, keys[:, :last], values[:, :last], is_causal=len(x) > 1
            )
            x = x + attention.out_proj(found.transpose(0, 1).flatten(1))
            x = x + block.linear2(functional.gelu(block.linear1(block.norm2(x))))
        return self.output(self.norm(x[-1]))


def _write(behind: Callable[[list[int], int], torch.Tensor], count: int, keep: bool) -> list[int]:
    """Write as pycnn does: when the window is full, its last half begins the next one."""
    window, first, done = list(START), 0, []
    for _ in range(count):
        if len(window) > TOKENS.length:
            window, first = window[TOKENS.length // 2 :], 0
        token = int(behind(window[first:], first).argmax())
        first = len(window) if keep else 0
        window.append(token)
        done.append(token)
    return done


def _writers(count: int) -> dict[str, Callable[[], list[int]]]:
    net = Network(TOKENS, list(TRANSFORMER), seed=0)
    rng = np.random.default_rng(0)
    net.parameters[:] += 0.1 * rng.standard_normal(len(net.parameters))  # so that it writes a lot
    found: dict[str, Any] = {"pycnn": lambda: net.generate(START, count, temperature=0).tolist()}
    for kind in ("float64", "float32"):
        dtype = getattr(torch, kind)
        model = convert(net)[0].to(dtype).eval()
        behind = _Cached(model, dtype)
        found[f"PyTorch, {kind}, keys and values kept"] = lambda b=behind: _write(b, count, True)
        found[f"PyTorch, {kind}, all computed anew"] = lambda b=behind: _write(b, count, False)
    return found


def _steppers() -> dict[str, Callable[[], Any]]:
    net = Network((100, 1), [GRU(64), Dense(1)], seed=0)
    readings = [np.array([value]) for value in np.random.default_rng(0).random(READINGS)]
    found: dict[str, Any] = {}
    for name, frozen in (("pycnn", False), ("pycnn, frozen", True)):
        step = net.stepper(frozen=frozen)

        def run(step: Any = step) -> float:
            step.reset()
            for x in readings:
                y = step(x)
            return float(y[0, 0])

        found[name] = run
    for kind in ("float64", "float32"):
        dtype = getattr(torch, kind)
        recurrent, dense = convert(net)[0].to(dtype)
        rows = [torch.tensor(x, dtype=dtype).view(1, 1) for x in readings]

        def run_torch(gru: Any = recurrent.inner, dense: Any = dense, rows: Any = rows) -> float:
            h = torch.zeros(1, 64, dtype=rows[0].dtype)
            for x in rows:
                y, h = gru(x, h)
                out = dense(y)
            return float(out)

        found[f"PyTorch, {kind}"] = run_torch
    return found


def _best(tasks: dict[str, Callable[[], Any]], turns: int) -> dict[str, float]:
    """Return the CPU seconds of the fastest turn of each."""
    best = dict.fromkeys(tasks, float("inf"))
    for _ in range(turns):
        for name, run in tasks.items():
            start = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - start)
    return best


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.writing", description=__doc__)
    parser.add_argument("--tokens", type=int, default=1000, help="to write (default: 1000)")
    parser.add_argument("--turns", type=int, default=5, help="of each (default: 5)")
    options = parser.parse_args()
    set_num_threads(1)
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    print(f"{backend.load('c').isa()}, torch {torch.__version__}, one thread, "
          f"load {os.getloadavg()[0]:.0f} on {os.cpu_count()} CPUs\n")  # fmt: skip
    writers = _writers(options.tokens)
    texts = {name: run() for name, run in writers.items()}
    for name, text in texts.items():
        assert "float32" in name or text == texts["pycnn"], f"{name} writes something else"
    print("| tokens one after the other | a token | tokens a second |\n| --- | ---: | ---: |")
    for name, seconds in _best(writers, options.turns).items():
        a_token = seconds / options.tokens
        print(f"| {name} | {a_token * 1e6:,.1f} µs | {1 / a_token:,.0f} |")
    steppers = _steppers()
    ends = {name: run() for name, run in steppers.items()}
    for name, end in ends.items():
        error = abs(end - ends["pycnn"])
        assert error < (1e-4 if "float32" in name else 1e-12), f"{name} ends elsewhere"
    print("\n| one reading of GRU(64), dense 1 | a step |\n| --- | ---: |")
    for name, seconds in _best(steppers, options.turns * 5).items():
        print(f"| {name} | {seconds / READINGS * 1e6:,.2f} µs |")


if __name__ == "__main__":
    main()
