"""Train on a memory-mapped file larger than the memory that the process may take.

    python scripts/memory_map.py [--gigabytes 4] [--folder FOLDER]

Writes a file of float32 rows, trains on it, and prints the most memory that the process has had;
then trains on the first part of it, once from the file and once from memory, and compares the bits.
"""

import argparse
import os
import resource
import tempfile
import time

import numpy as np

import pycnn
from pycnn import SGD, Dense, Network

COLUMNS = 784


def write(path: str, rows: int) -> None:
    """Write random rows, a few megabytes at a time."""
    rng = np.random.default_rng(0)
    block = rng.random((1 << 12, COLUMNS), dtype=np.float32)
    with open(path, "wb") as file:
        for first in range(0, rows, len(block)):
            block[:, 0] = (np.arange(first, first + len(block)) % 10) / 10  # tells the class
            file.write(block[: rows - first].tobytes())


def network() -> Network:
    """Return a small network of the file's width."""
    return Network(COLUMNS, [Dense(64, "relu"), Dense(10, "softmax")], seed=0)


def peak() -> float:
    """Return the most resident memory so far, in megabytes, pages of files included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Write, train, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--folder", default=tempfile.gettempdir())
    options = parser.parse_args()
    rows = int(options.gigabytes * 1e9 / (4 * COLUMNS))
    path = os.path.join(options.folder, "pycnn-memory-map.f4")
    write(path, rows)
    try:
        X = np.memmap(path, np.float32, "r", shape=(rows, COLUMNS))
        y = np.arange(rows) % 10
        print(f"{X.nbytes / 1e9:.2f} GB, {rows:,} rows; {peak():.0f} MB before training")
        started = time.perf_counter()
        history = network().fit(X, y, epochs=1, batch_size=128, optimizer=SGD(0.1))
        print(
            f"{history} in {time.perf_counter() - started:.0f} s; at most {peak():.0f} MB resident"
        )
        part = min(rows, 200_000)  # some 600 MB as float32, twice that in the core
        from_file, from_memory = network(), network()
        from_file.fit(X[:part], y[:part], epochs=2, batch_size=128)
        pycnn._data.sources.WHOLE = 1 << 62
        from_memory.fit(np.array(X[:part], np.float64), y[:part], epochs=2, batch_size=128)
        same = from_file.parameters.tobytes() == from_memory.parameters.tobytes()
        verdict = "the same bits" if same else "NOT the same bits"
        print(f"the first {part:,} rows, from the file and from memory: {verdict}")
    finally:
        os.unlink(path)


if __name__ == "__main__":
    main()
