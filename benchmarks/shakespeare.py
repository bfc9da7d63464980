"""Does a Transformer learn what PyTorch's does? ``python -m benchmarks.shakespeare ARCHIVE``.

Both networks, in float64, start from the same parameters and see the same windows of Shakespeare's
plays in the same order; compared are the parameters after 100 steps, and the loss on the last tenth
of the text after all of them. Needs PyTorch; `examples/shakespeare.py` says where the archive is
had.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import pycnn
from examples.shakespeare import network, read
from pycnn.text import CharacterTokenizer, split, windows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Parameters = dict[str, Any]

LENGTH, BATCH, EARLY, LEARNING_RATE = 64, 16, 100, 0.001


def modules(torch: Any, net: pycnn.Network) -> tuple[Any, Parameters]:
    """Return PyTorch's network, as `net` is, and its parameters by pycnn's names for them."""
    vocabulary, units = net.layers[0].W.shape
    nn, number = torch.nn, len(net.layers)
    own: dict[str, Any] = {"1": nn.Embedding(vocabulary, units)}
    own |= {
        str(block): nn.TransformerEncoderLayer(
            units, 4, 4 * units, 0.0, "gelu", batch_first=True, norm_first=True
        )
        for block in range(3, number - 1)
    }
    own |= {str(number - 1): nn.LayerNorm(units), str(number): nn.Linear(units, vocabulary)}
    model = nn.ModuleDict(own).double()
    model.register_parameter("positions", nn.Parameter(torch.zeros(LENGTH, units).double()))
    named: Parameters = {"layers.1.W": model["1"].weight, "layers.2.W": model.positions}
    for block in range(3, number - 1):
        theirs = model[str(block)]
        parts = {"norm_1": theirs.norm1, "norm_2": theirs.norm2}
        parts |= {"dense_1": theirs.linear1, "dense_2": theirs.linear2}
        for name, part in parts.items():
            first, second = ("gamma", "beta") if "norm" in name else ("W", "b")
            named[f"layers.{block}.{name}.{first}"] = part.weight
            named[f"layers.{block}.{name}.{second}"] = part.bias
        attention, prefix = theirs.self_attn, f"layers.{block}.attention"
        roles = ("query", "key", "value")
        named[f"{prefix}.W_output"] = attention.out_proj.weight
        named[f"{prefix}.b_output"] = attention.out_proj.bias
        for i, role in enumerate(roles):
            rows = slice(i * units, (i + 1) * units)
            named[f"{prefix}.W_{role}"] = attention.in_proj_weight[rows]
            named[f"{prefix}.b_{role}"] = attention.in_proj_bias[rows]
    named[f"layers.{number - 1}.gamma"] = model[str(number - 1)].weight
    named[f"layers.{number - 1}.beta"] = model[str(number - 1)].bias
    named[f"layers.{number}.W"] = model[str(number)].weight
    named[f"layers.{number}.b"] = model[str(number)].bias
    with torch.no_grad():
        for name, view in net.tensors.items():
            named[name].copy_(torch.tensor(view))
    return model, named


class Peer:
    """PyTorch's network from the start of a pycnn one, and its training."""

    def __init__(self, net: pycnn.Network) -> None:
        import torch

        torch.set_num_threads(1)
        self.torch, self.depth = torch, len(net.layers)
        self.model, self.named = modules(torch, net)
        self.mask = torch.nn.Transformer.generate_square_subsequent_mask(LENGTH).double()
        self.adam = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE)

    def loss(self, X: NDArray[np.intp], y: NDArray[np.intp]) -> Any:
        """Return the mean cross-entropy."""
        out = self.model["1"](self.torch.from_numpy(X)) + self.model.positions
        for block in range(3, self.depth - 1):
            out = self.model[str(block)](out, src_mask=self.mask, is_causal=True)
        logits = self.model[str(self.depth)](self.model[str(self.depth - 1)](out))
        target = self.torch.from_numpy(y).flatten()
        return self.torch.nn.functional.cross_entropy(logits.flatten(0, 1), target)

    def train(self, X: NDArray[np.intp], y: NDArray[np.intp]) -> None:
        """Take a step for each mini-batch."""
        for first in range(0, len(X), BATCH):
            self.adam.zero_grad()
            self.loss(X[first : first + BATCH], y[first : first + BATCH]).backward()
            self.adam.step()

    def distance(self, net: pycnn.Network) -> float:
        """Return the largest difference of a parameter."""
        with self.torch.no_grad():
            pairs = [(view, self.named[name].numpy()) for name, view in net.tensors.items()]
        return max(float(np.abs(ours - theirs).max()) for ours, theirs in pairs)

    def evaluate(self, X: NDArray[np.intp], y: NDArray[np.intp]) -> float:
        """Return the mean loss over windows."""
        with self.torch.no_grad():
            parts = [slice(first, first + BATCH) for first in range(0, len(X), BATCH)]
            losses = [self.loss(X[part], y[part]).item() * len(X[part]) for part in parts]
        return sum(losses) / len(X)


def compare(tokens: NDArray[np.intp], vocabulary: int, seed: int, steps: int) -> tuple[float, ...]:
    """Return the distance after some steps, and both losses on what is held out at the end."""
    training, validation = split(tokens, 0.1)
    X, y = windows(training, LENGTH, stride=LENGTH)
    rng = np.random.default_rng(seed)
    epochs = -(-steps * BATCH // len(X))
    order = np.concatenate([rng.permutation(len(X)) for _ in range(epochs)])[: steps * BATCH]
    X, y = X[order].astype(np.intp), y[order].astype(np.intp)
    net = network("transformer", vocabulary, seed)
    peer = Peer(net)
    options: Any = {"epochs": 1, "batch_size": BATCH, "shuffle": False}
    options["optimizer"] = pycnn.Adam(LEARNING_RATE)
    first = EARLY * BATCH
    net.fit(X[:first], y[:first], **options)
    peer.train(X[:first], y[:first])
    early = peer.distance(net)
    net = network("transformer", vocabulary, seed)
    net.fit(X, y, **options)
    peer.train(X[first:], y[first:])
    held = tuple(part.astype(np.intp) for part in windows(validation, LENGTH, stride=LENGTH))
    return early, net.evaluate(*held)["loss"], peer.evaluate(*held)


def main() -> None:
    """Print a line for each seed."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    corpus = read(given.archive)
    tokenizer = CharacterTokenizer.fit(corpus, fallback=False)
    tokens = tokenizer.encode(corpus)
    print(f"{len(tokens):,} characters, {len(tokenizer)} different ones, {given.steps} steps")
    for seed in range(given.seeds):
        early, ours, theirs = compare(tokens, len(tokenizer), seed, given.steps)
        print(
            f"seed {seed}: largest difference after {EARLY} steps {early:.1e}; held out: pycnn "
            f"{ours:.4f}, PyTorch {theirs:.4f}, apart {abs(ours / theirs - 1):.4%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
