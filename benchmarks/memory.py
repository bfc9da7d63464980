"""What a workspace takes: ``python -m benchmarks.memory``.

The bytes that the core allocates for a step, or for predictions: `pycnn_workspace_size` of networks
of `workloads.py`, with the vectors and the threads of here (`PYCNN_ISA` and `PYCNN_NUM_THREADS`
choose others).
"""

from __future__ import annotations

from benchmarks.workloads import LENET, TRANSFORMER
from pycnn import LSTM, Dense, Embedding, Network, Tokens, backend, get_num_threads

LENGTHS, BATCHES = (16, 256, 1024), (32, 128, 1024)


def _megabytes(net: Network, batch: int, training: bool = True) -> float:
    """Return the size of a workspace of `net`, in units of 10^6 bytes."""
    from pycnn._native import ffi, lib

    size = ffi.new("size_t *")
    mode = lib.PYCNN_BACKWARD if training else lib.PYCNN_FORWARD
    status = lib.pycnn_workspace_size(size, net.plan.network, batch, mode)
    assert status == 0, status
    return size[0] / 1e6


def main() -> None:
    """Print a table."""
    piece = backend.load("c").PIECE
    print(f"{backend.load('c').isa()}, threads: {get_num_threads()}\n")
    print("| network | | MB | MB a sample |\n| --- | --- | ---: | ---: |")
    lenet = Network((28, 28, 1), list(LENET), seed=0)
    rows = [("LeNet", f"step of {batch}", lenet, batch, True) for batch in BATCHES]
    rows.append(("LeNet", "predict, however many", lenet, piece, False))
    for length in LENGTHS:
        tokens = Tokens(64, length=length)
        layers = [Embedding(64), LSTM(128, return_sequences=True), Dense(64, "softmax")]
        name = f"Embedding(64), LSTM(128), Dense(64), {length} tokens"
        rows.append((name, "step of 16", Network(tokens, layers, seed=0), 16, True))
    for length in LENGTHS:
        net = Network(Tokens(64, length=length), list(TRANSFORMER), seed=0)
        rows.append((f"A1 with {length} tokens", "step of 16", net, 16, True))
    for name, what, net, batch, training in rows:
        size = _megabytes(net, batch, training)
        print(f"| {name} | {what} | {size:,.1f} | {size / batch:,.2f} |")


if __name__ == "__main__":
    main()
