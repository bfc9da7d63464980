"""From folders of image files to bytes: a folder is a class, a file is an example."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import pycnn
from pycnn._training.progress import wants_bar
from pycnn.cli import report
from pycnn.cli.examples import Examples
from pycnn.cli.output import note
from pycnn.exceptions import DataError, ModelFileError
from pycnn.table import Target

if TYPE_CHECKING:
    from pycnn._typing import AnyArray, NDArray, Shape

# What a file is called that is taken for an image; Pillow finds out by itself what it is.
SUFFIXES = {
    *(".apng", ".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm"),
    *(".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
}
GREY = ("1", "L", "LA", "I", "I;16", "I;16L", "I;16B", "I;16N", "F")  # Pillow's modes
# The side of the images that a network reads: the smallest one's, but no more than this.
SIZE = 64
# Of the convolutions; docs/defaults.md tells how they were chosen.
FILTERS = (16, 32, 64, 64)
LEAST_TO_POOL = 8  # a smaller side is not halved
# Where a model looks for what its images are made of.
KEPT = "images"
TARGET = Target("class", "classification", text=True)
# So many are read and predicted at a time.
IMAGES_PER_PIECE = 256


# ------------------------------------------------------------------ files


def class_folders(folder: Path) -> dict[str, list[Path]]:
    """Return the images of each class, the classes and the images by their names."""
    folders, images, _ = _entries(folder)
    if not folders:
        has = f"{len(images)} images itself" if images else "none, and no image"
        raise DataError(
            f"{folder} must have a folder for each class, with its images; it has {has}"
        )
    classes, others = {}, []
    for place in folders:
        inner, found, left = _entries(place)
        if not found:
            way = f": are the classes in there, as in `pycnn train {place}`?" if inner else ""
            raise DataError(f"{place} is taken for a class, and holds no image{way}")
        try:
            place.name.encode()
        except UnicodeEncodeError:
            raise DataError(f"the class {place.name!r} has a name that is no text") from None
        classes[place.name] = found
        others += inner + left
    if others:
        note(
            f"Note: left out, as they are no images by their names: {len(others)} file(s) and "
            f"folder(s), such as {others[0]}"
        )
    return classes


def _entries(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """Return the folders, the images and what else lies in a folder, each by name."""
    folders, images, others = [], [], []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            folders.append(path)
        elif path.suffix.lower() in SUFFIXES and (path.is_file() or path.is_symlink()):
            images.append(path)  # a link that leads nowhere is an error where it is read
        else:
            others.append(path)
    return folders, images, others


def listed(paths: Iterable[Path]) -> list[Path]:
    """Return files as they are, and of a folder the images in it."""
    files: list[Path] = []
    for path in paths:
        found = _entries(path)[1] if path.is_dir() else [path]
        if not found:
            raise DataError(f"{path} is a folder without images")
        files += found
    return files


def is_image(path: Path) -> bool:
    """Tell whether a path is that of an image, or of a folder, which no table is."""
    return path.is_dir() or path.suffix.lower() in SUFFIXES


# ------------------------------------------------------------------ pixels


def _pillow() -> Any:
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise ImportError("images need Pillow: pip install 'pycnn[images]'") from None
    return Image, ImageOps


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open an image; whatever is wrong with it is a `DataError` that names it."""
    library, _ = _pillow()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of oddities in files, which Pillow reads all the same
            with path.open("rb") as file, library.open(file) as image:
                yield image
    except (DataError, MemoryError):
        raise
    except Exception as error:  # a damaged file has Pillow raise one of very many
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, library.UnidentifiedImageError):
            reason = (
                "Pillow knows no format that it is in" if path.stat().st_size else "it is empty"
            )
        raise DataError(f"{path} is not an intact image: {reason}") from None


def read_image(path: Path, shape: Shape) -> NDArray[np.uint8]:
    """Return an image as bytes of this shape, (height, width, 1 or 3).

    As the camera was held, on white where it is transparent; the shorter side is brought to size,
    and what is beyond on the longer is cut off at both of its ends.
    """
    library, tools = _pillow()
    height, width, channels = shape
    mode = "L" if channels == 1 else "RGB"
    with _opened(path) as image:
        # A large JPEG is decoded no finer than is needed.
        image.draft(mode, (2 * max(height, width),) * 2)
        flat = _on_white(_of_bytes(tools.exif_transpose(image), path)).convert(mode)
        fitted = tools.fit(flat, (width, height), library.Resampling.BICUBIC)
        return np.asarray(fitted, dtype=np.uint8).reshape(shape)


def _of_bytes(image: Any, path: Path) -> Any:
    """Return an image whose pixels may have 16 bits as one of 8."""
    if image.mode == "F":
        raise DataError(f"{path}: its pixels are floats, and what is black and white is not known")
    if not image.mode.startswith("I"):
        return image
    pixels = np.clip(np.asarray(image), 0, 65535) >> 8
    return _pillow()[0].fromarray(pixels.astype(np.uint8))


def _on_white(image: Any) -> Any:
    """Return an image without transparency."""
    if "transparency" not in image.info and image.mode[-1] not in "Aa":
        return image
    layer = image.convert("RGBA")
    library, _ = _pillow()
    return library.alpha_composite(library.new("RGBA", layer.size, "white"), layer)


def common_shape(paths: Iterable[Path], size: int | None, grey: bool) -> tuple[int, int, int]:
    """Return the shape in which images are read: as asked for, else as fits all of them."""
    shortest, colourful = SIZE, False
    for path in paths:
        with _opened(path) as image:
            shortest = min(shortest, *image.size)
            colourful |= image.mode not in GREY
    side = shortest if size is None else size
    return side, side, 1 if grey or not colourful else 3


def read_images(paths: Sequence[Path], shape: Shape, *, bar: bool = False) -> NDArray[np.uint8]:
    """Return images as bytes, (m, *shape)."""
    X = np.empty((len(paths), *shape), dtype=np.uint8)
    with _bar(paths, bar) as shown:
        for i, path in enumerate(shown):
            X[i] = read_image(path, shape)
    return X


@contextlib.contextmanager
def _bar(paths: Sequence[Path], wanted: bool) -> Iterator[Iterable[Path]]:
    """Show a bar where somebody looks, as far as the paths are taken."""
    if not (wanted and wants_bar(None)):
        yield paths
        return
    from tqdm.auto import tqdm

    with tqdm(paths, "reading images", leave=False, dynamic_ncols=True) as shown:
        yield shown


# ------------------------------------------------------------------ to train on


class ImageSet(Examples):
    """A folder of folders of images, all read: bytes, as they go into the network."""

    things = "images"
    hidden = (64,)

    def __init__(
        self,
        folder: Path,
        size: int | None,
        grey: bool,
        test_size: float | None,
        patience: int | None,
        seed: int,
        bar: bool,
    ) -> None:
        files = class_folders(folder)
        if len(files) < 2:
            raise DataError(
                f"{folder} has one class only, {next(iter(files))!r}: a network tells two apart, "
                "or more"
            )
        paths = [path for found in files.values() for path in found]
        self.source, self.goal = folder.resolve().name, TARGET
        self.classes = np.array(list(files))
        self.y = np.repeat(np.arange(len(files)), [len(found) for found in files.values()])
        self._hold_out(np.arange(len(paths)), test_size, patience, seed)
        shape = common_shape(paths, size, grey)
        self.X = read_images(paths, shape, bar=bar)

    def first_layers(self, activation: str) -> list[pycnn.layers.Layer]:
        """Return what brings bytes to mean 0 and deviation 1, and finds features in them."""
        mean, deviation = _mean_and_deviation(self.X, self.fit)
        layers: list[pycnn.layers.Layer] = [pycnn.Rescale(1 / deviation, -mean / deviation)]
        side = self.X.shape[1]
        for filters in _filters(side):
            # What normalizes a channel has an offset of its own.
            layers += [
                pycnn.Conv2D(filters, 3, padding="same", use_bias=False),
                pycnn.BatchNorm(activation),
            ]
            if side >= LEAST_TO_POOL:
                layers += [pycnn.MaxPool2D(2)]
                side //= 2
        return [*layers, pycnn.Flatten()]

    def first_sizes(self) -> list[str]:
        """Return the sizes of the image and of what the convolutions make of it, in words."""
        side, _, channels = self.X.shape[1:]
        return [f"{side}x{side}x{channels}", *(f"conv{n}" for n in _filters(side))]

    def keep_with(self, network: pycnn.Network) -> None:
        """Tell whoever loads the model that its inputs are images, as bytes."""
        network.metadata[KEPT] = {"source": self.source, "training_images": len(self.train)}

    def describe(self) -> str:
        """Return the data in two lines."""
        return (
            f"data      {self.source}: {len(self.y)} images as {pixels_of(self.X.shape[1:])}; "
            f"{self._held()}\n"
            f"target    {len(self.classes)} classes: {report.listing(self.classes.tolist())}"
        )


def _filters(side: int) -> list[int]:
    """Return the filters of each convolution: there is one behind each pooling, four at most."""
    poolings = 0
    while side >> poolings >= LEAST_TO_POOL:
        poolings += 1
    return list(FILTERS[: poolings + 1])


def _mean_and_deviation(X: AnyArray, rows: Any) -> tuple[float, float]:
    """Return the mean of all bytes of these images, and their deviation; 1 if they have none."""
    counts = np.zeros(256, dtype=np.int64)
    for row in rows:
        counts += np.bincount(X[row].ravel(), minlength=256)
    values, total = np.arange(256), int(counts.sum())
    mean = float(counts @ values) / total
    return mean, float(np.sqrt(counts @ (values - mean) ** 2 / total)) or 1.0


def pixels_of(shape: Shape) -> str:
    """Return an image's shape in words."""
    height, width, channels = shape
    return f"{width} x {height} pixels {'in grey' if channels == 1 else 'in colour'}"


# ------------------------------------------------------------------ with a model


def stored(network: pycnn.Network) -> dict[str, Any] | None:
    """Return what `train` put into a model of images; None for another model."""
    kept = network.metadata.get(KEPT)
    if kept is None:
        return None
    kinds = {"source": str, "training_images": int}
    sound = isinstance(kept, dict) and kept.keys() == kinds.keys()
    if not sound or any(type(kept[name]) is not kind for name, kind in kinds.items()):
        raise ModelFileError("the model's note on its images is damaged")
    check_reads_images(network)
    return kept


def check_reads_images(network: pycnn.Network) -> None:
    """Raise `DataError` unless a network's inputs can be images."""
    shape = network.input_shape
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise DataError(
            f"the model's inputs, of shape {shape}, are no images: those of grey ones have shape "
            "(height, width, 1), of coloured ones (height, width, 3)"
        )


def read_labelled(folder: Path, shape: Shape) -> tuple[NDArray[np.uint8], AnyArray]:
    """Return the images in a folder of classes, and the label of each."""
    files = class_folders(folder)
    labels = np.repeat(list(files), [len(found) for found in files.values()])
    return read_images([p for found in files.values() for p in found], shape, bar=True), labels
