"""Two sets of measured sequences.

`python examples/sequences.py`, a minute.

Japanese vowels (Kudo, Toyama & Shimbo, 1999): which of nine men says "ae", by 7 to 29 frames of 12
numbers. They are padded to 29, and `lengths` says how many are there. `pip download aeon --no-deps`
fetches a wheel, which is an archive that has them; it is read as it is.

Sunspots, a number a year from 1700 to 2008 (`pip install statsmodels`): what is next year's, by the
24 years before it? The last 60 years are foretold, and nothing was learned from them; the forecast
stands beside that of who says each year that the next one will be like this (persistence).
`--picture sunspots.png` draws it, with the year behind the last one (Matplotlib).
"""

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np

from pycnn import GRU, Adam, Bidirectional, Dense, Dropout, Network, callbacks, plot

FOLDER = "aeon/datasets/data/JapaneseVowels/JapaneseVowels"


def read_vowels(wheel, part):
    """Return X (m, 29, 12), the speakers and the lengths."""
    with zipfile.ZipFile(wheel) as files:
        lines = io.TextIOWrapper(files.open(f"{FOLDER}_{part}.ts"), "utf-8").read().splitlines()
    rows = [line.split(":") for line in lines if line[:1] not in ("", "#", "@")]
    X, lengths = np.zeros((len(rows), 29, 12)), np.empty(len(rows), int)
    for i, (*channels, _) in enumerate(rows):
        frames = np.array([channel.split(",") for channel in channels], float).T
        X[i, : len(frames)], lengths[i] = frames, len(frames)
    return X, [row[-1] for row in rows], lengths


def hear(wheel, seed):
    """Return the accuracy on the vowels that are for the test."""
    X, y, lengths = read_vowels(wheel, "TRAIN")
    layers = [Bidirectional(GRU(32)), Dropout(0.3), Dense(9, "softmax")]
    net = Network((29, 12), layers, seed=seed)
    net.fit(X, y, lengths=lengths, epochs=60, batch_size=16, optimizer=Adam(0.003, clip_norm=1.0))
    X, y, lengths = read_vowels(wheel, "TEST")
    return net.evaluate(X, y, lengths=lengths)["accuracy"]


def foretell(numbers, seed, years=24, test=60, held=40, picture=None):
    """Return the mean absolute errors of the network and of persistence, in sunspots."""
    end = len(numbers) - test - years
    unit = numbers[: end + years].max()
    X = np.lib.stride_tricks.sliding_window_view(numbers / unit, years)[:, :, None]
    y = numbers[years:, None] / unit
    net = Network((years, 1), [GRU(16), Dense(1)], seed=seed)
    best = callbacks.EarlyStopping("val_loss", patience=40)
    net.fit(
        X[: end - held],
        y[: end - held],
        epochs=300,
        batch_size=16,
        optimizer=Adam(0.003, clip_norm=1.0),
        validation_data=(X[end - held : end], y[end - held : end]),
        callbacks=[best],
    )
    foretold = net.predict(X[end:])
    if picture:
        plot.forecast(numbers, foretold[:, 0] * unit, picture, label="sunspots")
    errors = np.abs(foretold[:-1] - y[end:]), np.abs(X[end:-1, -1] - y[end:])
    return [float(error.mean() * unit) for error in errors]


def main():
    """Print means over some seeds, with the least and the largest."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "wheels", type=Path, nargs="?", default=Path(), help="aeon's, or its folder"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--picture")
    given = parser.parse_args()
    wheel = given.wheels
    if wheel.is_dir():
        wheel = next(wheel.glob("aeon-*.whl"), wheel / "aeon-*.whl")

    def show(what, scores):
        print(f"{what}: {np.mean(scores):.3f} ({min(scores):.3f} ... {max(scores):.3f})")

    if wheel.exists():
        show("Japanese vowels, accuracy", [hear(wheel, seed) for seed in range(given.seeds)])
    else:
        print(f"Japanese vowels: no {wheel}; pip download aeon --no-deps fetches it")
    try:
        from statsmodels.datasets import sunspots
    except ImportError:
        print("sunspots: pip install statsmodels has them")
        return
    numbers = sunspots.load_pandas().data["SUNACTIVITY"].to_numpy()
    pictures = [given.picture] + [None] * (given.seeds - 1)
    found = [foretell(numbers, seed, picture=path) for seed, path in enumerate(pictures)]
    show("sunspots, mean absolute error", [own for own, _ in found])
    print(f"    of persistence: {found[0][1]:.3f}")


if __name__ == "__main__":
    main()
