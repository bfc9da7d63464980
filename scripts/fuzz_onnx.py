"""Damage ONNX models, and read them: nothing may come of it but a network or a `ModelFileError`.

    python scripts/fuzz_onnx.py --flips 10000 MODEL.onnx ...

Without models, pycnn's own are taken, as they are and without what says whose they are. Each is
cut at every byte, and has single bits turned; time and memory are held to limits.
"""

import argparse
import collections
import random
import resource
import sys
import time
import traceback
from pathlib import Path

import pycnn
from pycnn._io.onnx import protobuf
from pycnn.exceptions import ModelFileError

SECONDS = 5.0  # for one file
MEGABYTES = 500  # of the whole process
METADATA = 14  # the field of a ModelProto


def own():
    """Return models with many kinds of layers, also as if another program had written them."""
    rows = [pycnn.Dense(4, "gelu"), pycnn.BatchNorm("relu"), pycnn.LayerNorm()]
    images = [pycnn.Conv2D(2, 3, "gelu"), pycnn.MaxPool2D(2), pycnn.Flatten(), pycnn.Dense(2)]
    cells = [pycnn.Bidirectional(pycnn.LSTM(3, return_sequences=True)), pycnn.GRU(2)]
    text = [pycnn.Embedding(4), pycnn.TransformerBlock(2, causal=True), pycnn.TiedDense()]
    networks = [
        pycnn.Network(3, [*rows, pycnn.Dense(2, "softmax")], seed=0),
        pycnn.Network((6, 6, 1), images, seed=0),
        pycnn.Network((5, 2), [*cells, pycnn.Dense(1)], seed=0),
        pycnn.Network(pycnn.Tokens(5, length=4), text, seed=0),
    ]
    models = [network.to_onnx() for network in networks]
    return [*models, *map(unsigned, models)]


def unsigned(content):
    """Return a model without its metadata, the last of its fields."""
    fields = protobuf.read(memoryview(content))
    return content[: -len(protobuf.field(METADATA, *map(bytes, fields[METADATA])))]


def damaged(content, flips, rng):
    """Yield a model's beginnings, and what single bits make of it."""
    for end in range(len(content)):
        yield content[:end]
    for _ in range(flips):
        altered = bytearray(content)
        altered[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        yield bytes(altered)


def main():
    """Do what the command line asks for; return 1 where something has failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flips", type=int, default=10_000, help="of single bits, in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("models", nargs="*", type=Path)
    arguments = parser.parse_args()
    models = [path.read_bytes() for path in arguments.models] or own()
    rng, counts, longest = random.Random(arguments.seed), collections.Counter(), 0.0
    for content in models:
        for altered in damaged(content, arguments.flips // len(models), rng):
            started = time.process_time()
            try:
                pycnn.from_onnx(altered, backend="numpy")
                counts["read"] += 1
            except ModelFileError as error:
                counts["refused" if str(error).isprintable() else "FAULT: its message"] += 1
            except BaseException:
                traceback.print_exc()
                counts["FAULT"] += 1
            longest = max(longest, time.process_time() - started)
    print(*(f"{count:8,}  {what}" for what, count in sorted(counts.items())), sep="\n")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"at most {longest:.2f} seconds and {memory} MB, seed {arguments.seed}")
    too_much = longest > SECONDS or memory > MEGABYTES
    return too_much or any("FAULT" in what for what in counts)


if __name__ == "__main__":
    sys.exit(main())
