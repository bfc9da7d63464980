"""An epoch of LeNet on Fashion-MNIST by everyone: ``python -m benchmarks.fashion_mnist``.

The network of `examples/fashion_mnist.py` over 59,904 images in mini-batches of 128, by plain
descent, from the same weights and in the same order; the peers are those of `benchmarks/peers`.
What each has learned in its first epoch is tested by pycnn; the next ones are timed, in turns. One
thread, CPU time. The images come with Debian's package dataset-fashion-mnist.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from benchmarks.worker import environment

NAMES = ("pycnn", "torch", "torch-float32", "jax", "jax-float32", "keras", "keras-float32")
BATCH = 128


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fashion_mnist", description=__doc__)
    parser.add_argument("--turns", type=int, default=1, help="timed epochs of each (default: 1)")
    parser.add_argument("--steps", type=int, default=468, help="of an epoch (default: 468, all)")
    options = parser.parse_args()
    os.environ.update(environment(1, None))  # before the libraries are imported

    import numpy as np

    from benchmarks import peers
    from benchmarks.workloads import LENET, Workload
    from pycnn import backend
    from pycnn.datasets import load_fashion_mnist

    try:
        (X, y), (X_test, y_test) = load_fashion_mnist()
    except FileNotFoundError as error:
        sys.exit(f"nothing to learn from: {error}")
    X, X_test = ((part.reshape(-1, 28, 28, 1) - 73.0) / 90 for part in (X, X_test))
    loss, rows = "categorical_crossentropy", options.steps * BATCH
    workload = Workload("epoch", (28, 28, 1), LENET, loss, BATCH, options.steps, "noise")
    net = workload.network()
    task = peers.Task(workload, net, X[:rows], y[:rows].astype(np.int64), 1)
    runners, accuracies = {}, {}
    for name in NAMES:
        try:
            runners[name] = peers.load(name)(task)
        except ImportError as error:
            print(f"{name} is not here: {error}")
            continue
        runners[name].run(1)
        tested = workload.network()
        tested.parameters[:] = runners[name].result()
        accuracies[name] = (tested.predict(X_test).argmax(axis=1) == y_test).mean()
    best = dict.fromkeys(runners, float("inf"))
    for _ in range(options.turns):
        for name, peer in runners.items():
            start = time.process_time()
            peer.run(1)
            best[name] = min(best[name], time.process_time() - start)
    print(f"{backend.load('c').isa()}, one thread, load {os.getloadavg()[0]:.0f} on "
          f"{os.cpu_count()} CPUs; {rows:,} images\n")  # fmt: skip
    print("| | an epoch | ÷ pycnn | accuracy after the first |\n| --- | ---: | ---: | ---: |")
    for name, seconds in best.items():
        ratio = seconds / best["pycnn"]
        title = runners[name].title
        print(f"| {title} | {seconds:.2f} s | {ratio:.2f}× | {accuracies[name]:.4f} |")


if __name__ == "__main__":
    main()
