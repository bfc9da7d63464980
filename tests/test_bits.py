"""Training through the installed package ends in the same bits everywhere.

What goes in is made of integers, so that nothing hangs on NumPy's functions or Python's: whatever
differs has been computed by the core. `python tests/test_bits.py` prints each training's hash.
"""

import hashlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

import pycnn

# Of all that TRAININGS end in: with instruction sets that have fused multiply-adds, and without.
# A change here is a change of every trained network's bits: say so in the changelog.
FUSED = "83cea11512c09325"
UNFUSED = "927cf893275396c1"
# The same of IMAGE_TRAININGS.
IMAGES_FUSED = "b2f10139a08dee5d"
IMAGES_UNFUSED = "7b13a92fd2779925"
# The same of LANGUAGE_TRAININGS.
LANGUAGE_FUSED = "418a745567804546"
LANGUAGE_UNFUSED = "419e418629aa771e"

ROWS, INPUTS, CLASSES = 90, 7, 4


def integers(seed, count):
    """Return integers in -128 ... 127: Knuth's generator, of which the upper bits are taken."""
    values, state = [], seed
    for _ in range(count):
        state = (6364136223846793005 * state + 1442695040888963407) % 2**64
        values.append((state >> 56) - 128)
    return np.array(values, dtype=np.float64)


X = integers(1, ROWS * INPUTS).reshape(ROWS, INPUTS) / 64
LABELS = (integers(2, ROWS) % CLASSES).astype(int)
NUMBERS = integers(3, ROWS * 2).reshape(ROWS, 2) / 128
COUNTS = integers(3, ROWS * 2).reshape(ROWS, 2) % 5
WEIGHT = (integers(4, ROWS) % 4) / 4
# Below 2^-1022, by their bits: no product that may be flushed to zero makes them.
TINY = ((integers(5, ROWS * 2) + 128) * 2.0**43).astype(np.uint64).view(np.float64).reshape(-1, 2)


IMAGES = integers(7, ROWS * 7 * 6 * 3).reshape(ROWS, 7, 6, 3) / 64


def train(layers, x, y, output, loss, start=1, **settings):
    """Return the bytes of what a training ends in."""
    last = pycnn.Dense(2 if y.ndim == 2 else CLASSES, output)
    net = pycnn.Network(x.shape[1:], [*layers, last], loss=loss, seed=5, backend="c")
    return trained(net, x, y, start, **settings)


def trained(net, x, y, start=1, **settings):
    """Train a network from integers on; return the bytes of what that ends in."""
    net.parameters[:] = start * integers(6, net.parameters.size) / 512
    given = {"epochs": 3, "batch_size": 16, "optimizer": pycnn.SGD(0.0625)}
    net.fit(x, y, **(given | {"progress": False} | settings))
    losses = np.array(net.history["loss"])
    parts = [net.parameters, net.statistics, net.predict(x[:11]), losses]
    return b"".join(np.ascontiguousarray(part, dtype="<f8").tobytes() for part in parts)


def classify(*layers, **settings):
    return train(layers, X, LABELS, "softmax", "categorical_crossentropy", **settings)


def regress(output, loss, y=NUMBERS, **settings):
    return train([pycnn.Dense(9, "tanh")], X, y, output, loss, **settings)


def blocks():
    inner = [pycnn.Dense(12), pycnn.BatchNorm("relu"), pycnn.Dropout(0.25), pycnn.Dense(9)]
    return classify(
        pycnn.Residual(inner, shortcut=pycnn.Dense(9)),
        pycnn.LayerNorm("gelu"),
        optimizer=pycnn.Adam(0.0078125, clip_norm=0.5),
        sample_weight=WEIGHT,
    )


TRAININGS = {
    **{
        name: lambda name=name: classify(pycnn.Dense(13, name), pycnn.Dense(5, name))
        for name in sorted(pycnn.activations.ACTIVATIONS)
        if name != "softmax"
    },
    "momentum": lambda: classify(pycnn.Dense(9, "tanh"), optimizer=pycnn.SGD(0.25, momentum=0.5)),
    "adam": lambda: classify(pycnn.Dense(33, "relu"), optimizer=pycnn.Adam(0.015625)),
    "adamw": lambda: classify(pycnn.Dense(9, "silu", l1=0.01), optimizer=pycnn.AdamW(0.015625)),
    "rmsprop": lambda: classify(pycnn.Dense(9, "elu", l2=0.01), optimizer=pycnn.RMSprop(0.0078125)),
    "adagrad": lambda: classify(pycnn.Dense(9, max_norm=0.5), optimizer=pycnn.Adagrad(0.0625)),
    "rprop": lambda: classify(pycnn.Dense(9), optimizer=pycnn.Rprop(), batch_size=None),
    "blocks": blocks,
    "one by one": lambda: classify(pycnn.Dense(9, "sigmoid"), batch_size=1),
    "wide": lambda: classify(pycnn.Dense(130, "relu"), pycnn.Dense(67, "tanh"), batch_size=60),
    "mse": lambda: regress("linear", "mse"),
    "mae": lambda: regress("linear", "mae"),
    "huber": lambda: regress("linear", pycnn.losses.Huber(0.25)),
    "quantile": lambda: regress("linear", pycnn.losses.Quantile(0.75)),
    "hinge": lambda: regress("linear", "hinge", np.where(NUMBERS > 0, 1.0, -1.0)),
    "poisson": lambda: regress("softplus", "poisson", COUNTS),
    "binary": lambda: regress("sigmoid", "binary_crossentropy", np.float64(NUMBERS > 0)),
    "divergence": lambda: regress("softmax", "kl_divergence", np.tile([0.25, 0.75], (ROWS, 1))),
    "below the least normal number": lambda: regress("linear", "mse", TINY, start=0),
}


def see(*layers, **settings):
    """Train on images, the layers behind which are flattened."""
    layers = [*layers, pycnn.Flatten()]
    return train(layers, IMAGES, LABELS, "softmax", "categorical_crossentropy", **settings)


IMAGE_TRAININGS = {
    "filters": lambda: see(
        pycnn.Conv2D(9, 3, "relu", padding="same"),
        pycnn.Conv2D(4, (2, 3), "tanh", strides=(2, 1), l2=0.01, max_norm=0.5),
        optimizer=pycnn.SGD(0.0078125, momentum=0.5),
    ),
    "far apart, without biases": lambda: see(
        pycnn.Conv2D(17, 2, "sigmoid", dilation=(3, 2), use_bias=False),
        pycnn.Conv2D(3, 5, "gelu", padding="same"),
        optimizer=pycnn.Adam(0.0078125),
        sample_weight=WEIGHT,
    ),
    "pooled": lambda: see(
        pycnn.ZeroPadding2D(1),
        pycnn.Conv2D(8, 3, "relu"),
        pycnn.MaxPool2D(3, strides=2, padding="same"),
        pycnn.Residual([pycnn.Conv2D(8, 3, padding="same")], activation="relu"),
        pycnn.AveragePool2D(2, strides=1),
        batch_size=60,
    ),
    "sequences": lambda: see(
        pycnn.Reshape((14, 9)),
        pycnn.Conv1D(12, 5, "silu", padding="same"),
        pycnn.MaxPool1D(2),
        pycnn.Conv1D(5, 2, "tanh", strides=2),
        pycnn.GlobalAveragePool1D(),
        batch_size=25,
    ),
    "normalized": lambda: see(
        pycnn.Conv2D(17, 3, use_bias=False),
        pycnn.BatchNorm("gelu"),
        pycnn.SpatialDropout(0.25),
        pycnn.Residual([pycnn.LayerNorm("tanh"), pycnn.Conv2D(17, 1), pycnn.BatchNorm()]),
        sample_weight=WEIGHT,
        optimizer=pycnn.SGD(0.0078125, momentum=0.5),
    ),
    "normalized one by one": lambda: see(
        pycnn.Reshape((14, 9)), pycnn.BatchNorm("silu"), pycnn.LayerNorm(), batch_size=1
    ),
    "image by image": lambda: see(pycnn.Conv2D(6, 3, "tanh"), pycnn.MaxPool2D(2), batch_size=1),
    "three by three": lambda: see(pycnn.Conv2D(6, 3, "tanh", strides=2), batch_size=3),
}


SIGNS = (integers(8, ROWS * 6) % 9).astype(int).reshape(ROWS, 6)


def read(*layers, y=SIGNS[:, ::-1], **settings):
    """Train on tokens, on a label at each position."""
    layers = [pycnn.Embedding(8), *layers]
    net = pycnn.Network(pycnn.Tokens(9, length=6), layers, seed=5, backend="c")
    return trained(net, SIGNS, y, **settings)


LANGUAGE_TRAININGS = {
    "blocks": lambda: read(
        pycnn.PositionEmbedding(),
        pycnn.TransformerBlock(2, 9, causal=True, dropout=0.25),
        pycnn.TransformerBlock(4, 17, norm_first=False, activation="tanh"),
        pycnn.Dense(9, "softmax"),
    ),
    "by the table": lambda: read(
        pycnn.MultiHeadAttention(8),
        pycnn.LayerNorm(),
        pycnn.TiedDense(),
        optimizer=pycnn.Adam(0.01),
    ),
    "one by one": lambda: read(
        pycnn.TransformerBlock(1),
        pycnn.Flatten(),
        pycnn.Dense(CLASSES, "softmax"),
        y=LABELS,
        batch_size=1,
    ),
    "lengths": lambda: read(
        pycnn.TransformerBlock(2), pycnn.Dense(9, "softmax"), lengths=1 + SIGNS[:, 0] % 6
    ),
}


def hashes(trainings):
    """Return the hash of each training, and of all of them, by names."""
    found = {}
    for name, run in trainings.items():
        found[name] = hashlib.sha256(run()).hexdigest()[:16]
    return found | {"all": hashlib.sha256("".join(found.values()).encode()).hexdigest()[:16]}


def print_hashes():
    isa = pycnn.config()["isa"]
    lists = {"": TRAININGS, "images: ": IMAGE_TRAININGS, "language: ": LANGUAGE_TRAININGS}
    for of, trainings in lists.items():
        for name, value in hashes(trainings).items():
            print(f"{value}  {isa}  {of}{name}")


def expected(isa):
    """Return what the hashes of all lists are printed as."""
    fused = {"": FUSED, "images: ": IMAGES_FUSED, "language: ": LANGUAGE_FUSED}
    unfused = {"": UNFUSED, "images: ": IMAGES_UNFUSED, "language: ": LANGUAGE_UNFUSED}
    found = unfused if isa == "baseline" else fused
    return {f"{value}  {isa}  {of}all" for of, value in found.items()}


@pytest.mark.parametrize("threads", [3, pytest.param(1, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("isa", ["avx512", "avx2", "neon", "baseline"])
def test_trainings_end_in_the_same_bits_everywhere(core, run_python, isa, threads):
    code = f"import runpy; runpy.run_path({__file__!r})['print_hashes']()"
    try:
        text = run_python(code, PYCNN_ISA=isa, PYCNN_NUM_THREADS=str(threads))
    except AssertionError as error:
        if "PYCNN_ISA must name" not in str(error):
            raise
        pytest.skip(f"{isa} cannot run here: no such processor")
    assert expected(isa) <= set(text.splitlines()), text


FLUSHING = """
#if defined(__SSE2__)
#include <xmmintrin.h>
__attribute__((constructor)) static void flush(void) { _mm_setcsr(_mm_getcsr() | 0x8040); }
#elif defined(__aarch64__)
__attribute__((constructor)) static void flush(void)
{
    __asm__ volatile("msr fpcr, %0" : : "r"((unsigned long)1 << 24));
}
#endif
"""


@pytest.fixture(scope="module")
def flushing(tmp_path_factory):
    """A library that does when it is loaded what -Ofast has some compilers add."""
    compiler = shutil.which("cc") or shutil.which("clang")
    if compiler is None or sys.platform == "win32":
        pytest.skip("there is no cc")
    folder = tmp_path_factory.mktemp("flushing")
    source, library = folder / "flushing.c", folder / "flushing.so"
    source.write_text(FLUSHING, encoding="utf-8")
    subprocess.run([compiler, "-shared", "-fPIC", source, "-o", library], check=True, timeout=60)
    return str(library)


def test_what_other_libraries_make_of_small_numbers_does_not_matter(core, run_python, flushing):
    code = f"""
import ctypes, runpy
import numpy as np
import pycnn  # first: what it computes with is of this thread, and of those that are yet to come
ctypes.CDLL({flushing!r})
assert np.float64(2.0**-1030) * np.float64(0.5) == 0, "not flushed"
runpy.run_path({__file__!r})["print_hashes"]()
assert np.float64(2.0**-1030) * np.float64(0.5) == 0, "the thread's mode is its own"
"""
    try:
        text = run_python(code, PYCNN_NUM_THREADS="2")
    except AssertionError as error:
        if "not flushed" not in str(error):
            raise
        pytest.skip("no such processor: one that flushes small numbers to zero")
    assert expected(pycnn.config()["isa"]) <= set(text.splitlines()), text


def test_import_leaves_small_numbers_alone(run_python):
    assert run_python("import pycnn; print(2.0**-1030 * 0.5 == 2.0**-1031)") == "True\n"


if __name__ == "__main__":
    print_hashes()
