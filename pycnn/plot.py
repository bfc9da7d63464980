"""Pictures of what a network of images or sequences has learned, and of what it looks at.

They need Matplotlib (``pip install "pycnn[plot]"``). Each function returns a figure, which a
notebook shows where it is a cell's last value, and writes it to `path` where one is given. The
learning curves of a training are ``History.plot``.

- `filters`: the weights of a convolution;
- `feature_maps`: what becomes of an image, layer by layer;
- `saliency`: the numbers of an image that the loss hangs on;
- `occlusion`: how much less probable its class is where a part of it is covered;
- `attention`: which positions of a sequence look at which;
- `states`: what recurrent layers carry from step to step;
- `gradients`: how large the loss's gradient by that is, back through time;
- `forecast`: a series, and what was foretold of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pycnn import losses
from pycnn._checks import check_shape, check_size, is_open
from pycnn._data.arrays import as_numbers
from pycnn._data.sources import whole
from pycnn._data.targets import check_missing
from pycnn._model import Model
from pycnn._plot import check_format, save
from pycnn._public import names_of
from pycnn.backend.interface import Data
from pycnn.exceptions import DataError, DataTypeError, LabelError, ShapeError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pycnn._typing import Array, ArrayLike, Shape
    from pycnn.backend.numpy.steps import Steps
    from pycnn.network import Network

    Path = str | os.PathLike[str] | None

__all__ = [
    "attention",
    "feature_maps",
    "filters",
    "forecast",
    "gradients",
    "occlusion",
    "saliency",
    "states",
]
__dir__ = names_of(__name__)

# Colours that are told apart by the colour-blind, too: both signs, sizes, and what is laid over an
# image.
SIGNED, SIZES, OVER = "RdBu_r", "viridis", (0.85, 0.33, 0.0)
# More filters, channels or images than these are cut off: nobody can tell them apart.
MOST_FILTERS, MOST_CHANNELS, MOST_IMAGES = 64, 64, 16
MOST_OF_BOTH = 32  # filters, and channels that each has
# Places that a patch is put at, about.
MANY_PLACES = 400


# ------------------------------------------------------------------ filters


def filters(net: Network, layer: int | None = None, path: Path = None) -> Figure:
    """Draw the weights of a convolution, all on one scale.

    Parameters
    ----------
    net : Network
    layer : int, optional
        Its number, from 1, as `Network.summary` has it; by default the first convolution's.
    path : path-like, optional
        Where to write the picture; its ending tells the format.

    Returns
    -------
    matplotlib.figure.Figure
        Filters over one channel are blue (negative) and red (positive), filters over three are
        colours, where grey stands for 0; filters over others are a column of their channels each.
        Those of `Conv1D` have a row for each channel, and time to the right.

    Raises
    ------
    DataError
        If there is no such layer, or none with filters.
    ImportError
        If Matplotlib is not installed.

    Examples
    --------
    >>> import pycnn.plot
    >>> from pycnn import Conv2D, Dense, Flatten, Network
    >>> layers = [Conv2D(6, 5, "relu"), Flatten(), Dense(10, "softmax")]
    >>> net = Network((28, 28, 1), layers, seed=0)
    >>> figure = pycnn.plot.filters(net)  # doctest: +SKIP
    """
    check_format(path)
    from pycnn._figure import Picture

    number, W = _weights(net, layer)
    channels = W.shape[-1]
    by_channel = W.ndim == 4 and channels not in (1, 3)
    count = min(len(W), MOST_OF_BOTH if by_channel else MOST_FILTERS)
    title = f"layer {number}: {_of(count, len(W), 'filter')} of {_size(W.shape[1:-1])}"
    title += f" over {channels} channel{'s' if channels > 1 else ''}"
    W = W[:count]
    largest = float(np.abs(W).max()) or 1.0
    if W.ndim == 3:  # (filters, positions, channels): a sequence has its channels below each other
        tiles, columns = W.transpose(0, 2, 1), _columns(count, channels / W.shape[1])
    elif not by_channel:
        tiles, columns = W, _columns(count, W.shape[1] / W.shape[2])
    else:
        W = W[..., :MOST_OF_BOTH]
        tiles, columns = W.transpose(3, 0, 1, 2).reshape(-1, *W.shape[1:3]), count
    in_colour = W.ndim == 4 and channels == 3
    if in_colour:
        picture = _mosaic(0.5 + 0.5 * tiles / largest, columns, 1.0)
    else:
        picture = _mosaic(tiles.reshape(len(tiles), *tiles.shape[1:3]), columns, math.nan)
    figure = Picture(figsize=_fit(picture, min(5.6, 1.5 * columns)), dpi=150, layout="constrained")
    axes = figure.subplots()
    if in_colour:
        axes.imshow(picture, interpolation="nearest")
    else:
        _draw_signed(figure, axes, picture, largest, "weight")
    _bare(axes, title)
    if by_channel:
        axes.set_xlabel("filters", fontsize=8)
        axes.set_ylabel(f"{_of(W.shape[-1], channels, 'channel')} of the input", fontsize=8)
    return save(figure, path)


def _weights(net: Network, layer: int | None) -> tuple[int, Array]:
    """Return a convolution's number and weights, (filters, *kernel, channels)."""
    theta = net.with_theta(np.copy)
    found = {
        number: place.view(theta)
        for number, place in enumerate(net.architecture.find("W"), start=1)
        if place is not None and len(place.shape) > 2
    }
    if layer is None:
        if not found:
            raise DataError("filters needs a convolution: no layer of the network has filters")
        layer = min(found)
    layer = _check_layer(net, layer)
    if layer not in found:
        names = ", ".join(map(str, found)) or "none"
        raise DataError(f"layer {layer} has no filters; the layers that have some: {names}")
    return layer, found[layer]


def _check_layer(net: Network, layer: int) -> int:
    layer = check_size(layer, "layer")
    if layer > len(net.layers):
        raise DataError(f"layer must be at most {len(net.layers)}, the output layer, got {layer}")
    return layer


# ------------------------------------------------------------------ feature maps


def feature_maps(net: Network, x: ArrayLike, layer: int | None = None, path: Path = None) -> Figure:
    """Draw what becomes of an image, or of a sequence: the activations behind each layer.

    Parameters
    ----------
    net : Network
        Its samples are images, ``(rows, columns, channels)``, or sequences, ``(positions,
        features)``.
    x : array-like of shape input_shape, or (1, *input_shape)
        One sample.
    layer : int, optional
        The number of one layer, from 1; by default all that leave an image, or a sequence, and
        change what is in it.
    path : path-like, optional
        Where to write the picture; its ending tells the format.

    Returns
    -------
    matplotlib.figure.Figure
        A panel for each layer, with a map for each of its features and a scale of its own: of
        activations that may be negative red and blue, else from dark (0) to light.

    Raises
    ------
    ShapeError, DataTypeError, DataError
        If an argument is not valid, or the layer leaves no image.
    ImportError
        If Matplotlib is not installed.

    Examples
    --------
    >>> import pycnn.plot
    >>> from pycnn import Conv2D, Dense, Flatten, Network
    >>> net = Network((8, 8, 1), [Conv2D(4, 3, "relu"), Flatten(), Dense(10, "softmax")], seed=0)
    >>> figure = pycnn.plot.feature_maps(net, np.eye(8)[..., None])  # doctest: +SKIP
    """
    check_format(path)
    from pycnn._figure import Picture

    sample = _samples(net, x, "x", most=1)
    maps = _all_maps(net, sample)
    if layer is not None:
        layer = _check_layer(net, layer)
        if maps[layer].values.ndim == 1:
            raise DataError(
                f"layer {layer} leaves a row of {maps[layer].values.size} units, of which there is "
                "no picture"
            )
        chosen = [maps[layer]]
    else:
        chosen = [
            here
            for before, here in zip([None, *maps], maps, strict=False)
            if here.values.ndim > 1
            and (before is None or not np.array_equal(before.values, here.values))
        ]
    if not chosen:
        raise DataError(f"feature_maps needs samples with a shape, got inputs {net.input_shape}")
    pictures = [_maps_picture(here.values) for here in chosen]
    heights = [
        _fit(picture, 6.4, tallest=1.6 if here is maps[0] or here.values.shape[-1] == 1 else 3.0)[1]
        for here, picture in zip(chosen, pictures, strict=True)
    ]
    figure = Picture(figsize=(7.2, sum(heights) + 0.1), dpi=150, layout="constrained")
    panels = figure.subplots(len(chosen), 1, squeeze=False, height_ratios=heights)
    for axes, here, picture in zip(panels[:, 0], chosen, pictures, strict=True):
        axes.set_anchor("W")
        if here is maps[0] and sample.ndim == 4:
            _draw_image(axes, sample[0])
            _bare(axes, here.title)
            continue
        largest = float(np.nanmax(np.abs(picture))) or 1.0
        if np.nanmin(picture) < 0:
            _draw_signed(figure, axes, picture, largest, "")
        else:
            shown = axes.imshow(picture, cmap=SIZES, vmin=0, vmax=largest, interpolation="nearest")
            _scale(figure, axes, shown, "")
        _bare(axes, here.title)
    return save(figure, path)


class _Maps(NamedTuple):
    """What a layer leaves of one sample."""

    title: str
    values: Array


def _all_maps(net: Network, sample: Array) -> list[_Maps]:
    """Return the input and what each layer leaves, in its shape."""
    activations = net.activations_of(sample.reshape(1, -1))
    parts = [part for part in net.architecture.parts() if part.depth == 0]
    architecture = net.planned(sample.size).architecture
    maps = [_Maps(f"input {_size(architecture.input_shape)}", sample[0])]
    for part, a, shape in zip(parts, activations, architecture.output_shapes, strict=True):
        count = min(shape[-1], MOST_CHANNELS)
        some = f", the first {count} of {shape[-1]}" if count < shape[-1] else ""
        named = f" {part.layer.activation}" if part.layer.activation != "linear" else ""
        title = f"layer {part.name}: {part.layer.kind}{named}, {_size(shape)}{some}"
        maps.append(_Maps(title, a.reshape(shape)))
    return maps


def _maps_picture(values: Array) -> Array:
    """Return the maps of a sample beside each other; of a sequence a row for each feature."""
    values = values[..., :MOST_CHANNELS]
    if values.ndim == 2:
        return values.T
    rows, columns, channels = values.shape
    return _mosaic(values.transpose(2, 0, 1), _columns(channels, rows / columns, wide=6), math.nan)


# ------------------------------------------------------------------ saliency


def saliency(
    net: Network,
    X: ArrayLike,
    y: Any = None,
    path: Path = None,
    *,
    shape: Shape | None = None,
) -> Figure:
    """Draw images, and which of their numbers the loss hangs on.

    That is the size of `Network.input_gradient`, summed over the channels (Simonyan, Vedaldi &
    Zisserman, 2013), over the image, on a scale of each image's own.

    Parameters
    ----------
    net : Network
    X : array-like of shape (m, *input_shape), or one sample
        Up to 16 images.
    y : array-like of shape (m,) or (m, n_L), or one target, optional
        The targets whose loss is meant; by default the classes that the network predicts.
    path : path-like, optional
        Where to write the picture; its ending tells the format.
    shape : tuple of int, optional
        ``(rows, columns)`` or ``(rows, columns, channels)`` of the images, where the network's
        inputs are flat.

    Returns
    -------
    matplotlib.figure.Figure
        The images, and below each its saliency: the more orange, the more a change matters.

    Raises
    ------
    ShapeError, DataTypeError, DataError, LabelError
        If an argument is not valid, or `y` is missing where the network has no classes.
    ImportError
        If Matplotlib is not installed.

    Examples
    --------
    >>> import pycnn.plot
    >>> from pycnn import Dense, Network
    >>> net = Network(64, [Dense(10, "softmax")], seed=0)
    >>> figure = pycnn.plot.saliency(net, np.eye(8).ravel(), 0, shape=(8, 8))  # doctest: +SKIP
    """
    check_format(path)
    from pycnn._figure import Picture

    X = _samples(net, X, "X", most=MOST_IMAGES)
    images = X.reshape(len(X), *_image_shape(net, shape))
    if y is None:
        y = net.predict_classes(X)
        titles = [f"predicted {_label(label)}" for label in y]
    else:
        y = np.asarray(y)
        y = y[None] if y.ndim == 0 or (len(X) == 1 and len(y) != 1) else y
        titles = [str(_label(label)) for label in y]
    gradient = net.input_gradient(X, y).reshape(images.shape)
    maps = np.abs(gradient).sum(axis=-1)
    columns = _columns(len(images), 2.0) if len(images) > 8 else len(images)
    rows = -(-len(images) // columns)
    side = 2.2 if columns <= 3 else 1.4
    height = side * images.shape[1] / images.shape[2]
    size = ((side + 0.05) * columns + 0.1, rows * (2 * height + 0.4))
    figure = Picture(figsize=size, dpi=150)
    # Titles need 0.2 inches above each row of images, and a picture has no other margins.
    figure.subplots_adjust(0.01, 0.01, 0.99, 1 - 0.22 / size[1], wspace=0.05, hspace=0.3 / height)
    panels = figure.subplots(2 * rows, columns, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for i, (image, values) in enumerate(zip(images, maps, strict=True)):
        above, below = panels[2 * (i // columns) : 2 * (i // columns) + 2, i % columns]
        _draw_image(above, image)
        above.set_title(titles[i], fontsize=8)
        _draw_image(below, image, faint=0.8)
        strength = values / (values.max() or 1.0)
        below.imshow(_overlay(strength), interpolation="nearest")
    return save(figure, path)


def _overlay(strength: Array) -> Array:
    """Return the colour of what is laid over an image, the less transparent the stronger it is."""
    colours = np.empty((*strength.shape, 4))
    colours[..., :3], colours[..., 3] = OVER, strength
    return colours


def _label(label: Any) -> Any:
    return label.item() if isinstance(label, np.generic) else label


# ------------------------------------------------------------------ occlusion


def occlusion(
    net: Network,
    x: ArrayLike,
    y: Any = None,
    path: Path = None,
    *,
    size: int | None = None,
    step: int | None = None,
    shape: Shape | None = None,
) -> Figure:
    """Draw how much less probable an image's class is where a patch covers a part of it.

    The patch has the image's mean colour and is put everywhere; each pixel gets the mean over the
    patches that cover it (Zeiler & Fergus, 2014).

    Parameters
    ----------
    net : Network
        One that gives probabilities.
    x : array-like of shape input_shape, or (1, *input_shape)
        One image.
    y : label, optional
        The class whose probability is meant; by default the most probable one.
    path : path-like, optional
        Where to write the picture; its ending tells the format.
    size : int, optional
        Rows and columns of the patch; by default about a quarter of the image's.
    step : int, optional
        From one place of the patch to the next; by default such that there are some hundreds.
    shape : tuple of int, optional
        ``(rows, columns)`` or ``(rows, columns, channels)`` of the image, where the network's
        inputs are flat.

    Returns
    -------
    matplotlib.figure.Figure
        The image, and over it the drop of the probability: orange where the class needs what is
        there, purple where it is more probable without.

    Raises
    ------
    ShapeError, DataTypeError, DataError, LabelError
        If an argument is not valid, or the network gives no probabilities.
    ImportError
        If Matplotlib is not installed.

    Examples
    --------
    >>> import pycnn.plot
    >>> from pycnn import Dense, Network
    >>> net = Network(64, [Dense(10, "softmax")], seed=0)
    >>> figure = pycnn.plot.occlusion(net, np.eye(8).ravel(), 0, shape=(8, 8))  # doctest: +SKIP
    """
    check_format(path)
    from pycnn._figure import Picture

    if not losses.gives_probabilities(net.loss):
        raise LabelError(f"occlusion needs probabilities, which loss {net.loss!r} does not give")
    sample = _samples(net, x, "x", most=1)
    image = sample.reshape(_image_shape(net, shape))
    rows, columns = image.shape[:2]
    size = max(1, min(rows, columns) // 4) if size is None else check_size(size, "size")
    if size > min(rows, columns):
        raise DataError(f"size must be at most {min(rows, columns)}, the image's, got {size}")
    if step is None:
        step = max(1, math.ceil(math.sqrt((rows + size) * (columns + size) / MANY_PLACES)))
    step = check_size(step, "step")
    before = net.predict_proba(sample)[0]
    place = int(before.argmax()) if y is None else _class_place(net, sample, y)
    drop = before[place] - _covered(net, image, size, step, place)
    label = place if net.classes is None else _label(net.classes[place])
    height = 2.6 * rows / columns
    figure = Picture(figsize=(6.4, height + 0.35), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_image(left, image)
    _bare(left, f"{label}: probability {before[place]:.3g}")
    _draw_image(right, image, faint=0.5)
    largest = float(np.nanmax(np.abs(drop))) or 1.0
    shown = right.imshow(
        drop, cmap="PuOr_r", vmin=-largest, vmax=largest, alpha=0.7, interpolation="nearest"
    )
    _bare(right, f"without {size} × {size} pixels")
    _scale(figure, right, shown, "drop of the probability")
    return save(figure, path)


def _covered(net: Network, image: Array, size: int, step: int, place: int) -> Array:
    """Return for each pixel the mean probability of a class, of all patches that cover it."""
    rows, columns = image.shape[:2]
    corners = [
        (max(y, 0), min(y + size, rows), max(x, 0), min(x + size, columns))
        for y in range(1 - size, rows, step)
        for x in range(1 - size, columns, step)
    ]
    mean = image.mean(axis=(0, 1))
    sums, counts = np.zeros((rows, columns)), np.zeros((rows, columns))
    together = max(1, (1 << 20) // image.size)
    for first in range(0, len(corners), together):
        some = corners[first : first + together]
        images = np.repeat(image[None], len(some), axis=0)
        for each, (top, bottom, left, right) in zip(images, some, strict=True):
            each[top:bottom, left:right] = mean
        values = net.predict_proba(images.reshape(len(some), *net.input_shape))[:, place]
        for value, (top, bottom, left, right) in zip(values, some, strict=True):
            sums[top:bottom, left:right] += value
            counts[top:bottom, left:right] += 1
    # With steps that are longer than the patch, some pixels are never covered.
    return np.where(counts > 0, sums / np.maximum(counts, 1), math.nan)


def _class_place(net: Network, sample: Array, y: Any) -> int:
    """Return which of the probabilities is that of a label."""
    target = net.reader.read(sample, [y], None)[0].y
    if target.ndim == 1:
        return int(target[0])
    return int(target[0, 0] > 0.5) if target.shape[1] == 1 else int(target[0].argmax())


# ------------------------------------------------------------------ attention


def attention(
    net: Network,
    x: ArrayLike,
    layer: int | None = None,
    labels: Sequence[Any] | None = None,
    path: Path = None,
) -> Figure:
    """Draw which positions of a sequence look at which: the probabilities of an attention.

    Parameters
    ----------
    net : Network
        One of its layers is a `MultiHeadAttention` or a `TransformerBlock`.
    x : array-like of shape input_shape, or (1, *input_shape)
        One sample.
    layer : int, optional
        The number of such a layer, from 1; by default the first.
    labels : sequence, optional
        What to write at the positions: a sentence's words. By default their numbers, from 0.
    path : path-like, optional
        Where to write the picture; its ending tells the format.

    Returns
    -------
    matplotlib.figure.Figure
        A panel for each head: in a row how much that position takes from each, 1 in all.

    Raises
    ------
    ShapeError, DataTypeError, DataError
        If an argument is not valid, or the layer has no attention.
    ImportError
        If Matplotlib is not installed.

    Examples
    --------
    >>> import pycnn.plot
    >>> from pycnn import Dense, GlobalAveragePool1D, MultiHeadAttention, Network
    >>> layers = [MultiHeadAttention(2), GlobalAveragePool1D(), Dense(1)]
    >>> net = Network((3, 4), layers, seed=0)
    >>> words = ["the", "cat", "sat"]
    >>> figure = pycnn.plot.attention(net, np.eye(3, 4), labels=words)  # doctest: +SKIP
    """
    check_format(path)
    from pycnn._figure import Picture

    sample = _samples(net, x, "x", most=1)
    number = _attention_layer(net, layer)
    shapes = net.planned(sample.size).architecture.shapes
    inputs = [sample, *net.activations_of(sample.reshape(1, -1))][number - 1]
    maps = net.layers[number - 1].probabilities(inputs.reshape(1, *shapes[number - 1]))[0]
    heads, length = maps.shape[:2]
    names = [str(i) for i in range(length)] if labels is None else [str(each) for each in labels]
    if len(names) != length:
        raise DataError(f"labels must name {length} positions, got {len(names)}")
    columns = _columns(heads, 1.0)
    rows, side = -(-heads // columns), min(1.4 + 0.16 * length, 6.0)
    figure = Picture(figsize=(side * columns + 0.7, side * rows), dpi=150, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes in panels.flat[heads:]:
        axes.set_visible(False)
    for head, (axes, picture) in enumerate(zip(panels.flat, maps, strict=False), start=1):
        axes.imshow(picture, cmap=SIZES, vmin=0, vmax=1, interpolation="nearest")
        _bare(axes, f"head {head}")
        _name_positions(axes, names)
    _scale(figure, panels.ravel().tolist(), panels[0, 0].images[0], "")
    return save(figure, path)


def _attention_layer(net: Network, layer: int | None) -> int:
    """Return the number of a layer that has an attention."""
    having = [n for n, each in enumerate(net.layers, 1) if hasattr(each, "probabilities")]
    if not having:
        raise DataError("attention needs a network with a MultiHeadAttention or TransformerBlock")
    if layer is None:
        return having[0]
    layer = check_size(layer, "layer")
    if layer not in having:
        raise DataError(f"layer must be one with an attention, {having}, got {layer}")
    return layer


def _name_positions(axes: Axes, names: list[str]) -> None:
    """Write names at a map's rows and columns: as many as there is room for."""
    each = -(-len(names) // 32)
    places = range(0, len(names), each)
    shown = [names[place] for place in places]
    longest = max(map(len, shown))
    axes.set_xticks(places, shown, rotation=90 if longest > 2 else 0, fontsize=7)
    axes.set_yticks(places, shown, fontsize=7)
    axes.tick_params(length=0)


# ------------------------------------------------------------------ samples and images


# ------------------------------------------------------------------ sequences


def states(net: Network, x: ArrayLike, path: Path = None) -> Figure:
    """Draw what recurrent layers carry from step to step: h at each position of a sequence.

    Parameters
    ----------
    net : Network
        One with `SimpleRNN`, `LSTM` or `GRU` in it.
    x : array-like of shape input_shape, or (1, *input_shape)
        One sample.
    path : path-like, optional
        Where to write the picture; its ending tells the format.

    Returns
    -------
    matplotlib.figure.Figure
        A panel for each such layer: a row for each of its units (up to 64), time to the right.

    Raises
    ------
    ShapeError, DataTypeError, DataError
        If an argument is not valid, or no layer is recurrent.
    ImportError
        If Matplotlib is not installed.

    Examples
    --------
    >>> import pycnn.plot
    >>> from pycnn import GRU, Dense, Network
    >>> net = Network((20, 1), [GRU(8), Dense(1)], seed=0)
    >>> figure = pycnn.plot.states(net, np.sin(np.arange(20.0))[:, None])  # doctest: +SKIP
    """
    check_format(path)
    from pycnn._figure import Picture
    from pycnn.backend.numpy.steps import steps_of

    row = _samples(net, x, "x", most=1).reshape(1, -1)
    A = [row.T, *(a.T for a in net.activations_of(row))]
    specs = net.planned(row.shape[1]).architecture.specs
    found = _of_steps(steps_of(specs, net.with_theta(np.copy), A))
    height = 0.8 + 0.05 * max(min(MOST_CHANNELS, each.states.shape[1]) for each in found)
    size = (6.4, height * len(found))
    figure = Picture(figsize=size, dpi=150, layout="constrained")
    panels = figure.subplots(len(found), 1, squeeze=False)[:, 0]
    for axes, each in zip(panels, found, strict=True):
        h = each.states[np.argsort(each.positions), :MOST_CHANNELS, 0].T
        largest = max(1.0, float(np.abs(h).max()))
        axes.imshow(
            h,
            cmap=SIGNED,
            vmin=-largest,
            vmax=largest,
            interpolation="nearest",
            aspect="auto",
            extent=(0.5, h.shape[1] + 0.5, len(h), 0),
        )
        some = _of(len(h), each.states.shape[1], "unit")
        _bare(axes, f"layer {_step_name(each)}: {some}")
        _mark_positions(axes)
        _scale(figure, axes, axes.images[0], "h")
    return save(figure, path)


def gradients(
    nets: Network | Mapping[str, Network],
    X: ArrayLike,
    y: Any,
    path: Path = None,
    *,
    lengths: ArrayLike | None = None,
    missing_targets: str = "error",
) -> Figure:
    """Draw how large dL/dh, the loss's gradient by a recurrent layer's state, is at each position.

    Where only the end of a sequence has a loss, it vanishes or explodes on its way to the beginning
    (Bengio, Simard & Frasconi, 1994).

    Parameters
    ----------
    nets : Network, or mapping of names to such
        Those with `SimpleRNN`, `LSTM` or `GRU` in them, all for the same samples.
    X : array-like of shape (m, *input_shape)
    y : array-like
        The targets of the loss.
    path : path-like, optional
        Where to write the picture; its ending tells the format.
    lengths : array-like of int, shape (m,), optional
    missing_targets : {"error", "mask"}, default "error"
        As in `Network.fit`.

    Returns
    -------
    matplotlib.figure.Figure
        A curve for each such layer: the mean of the samples' norms.

    Raises
    ------
    ShapeError, DataTypeError, DataError, LabelError
        If an argument is not valid, or no layer is recurrent.
    ImportError
        If Matplotlib is not installed.

    Examples
    --------
    >>> import pycnn.plot
    >>> from pycnn import LSTM, Dense, Network, SimpleRNN
    >>> nets = {
    ...     layer.kind: Network((20, 1), [layer, Dense(1)], seed=0)
    ...     for layer in (SimpleRNN(8), LSTM(8))
    ... }
    >>> X = np.sin(np.arange(60.0)).reshape(3, 20, 1)
    >>> figure = pycnn.plot.gradients(nets, X, [0, 1, 0])  # doctest: +SKIP
    """
    check_format(path)
    from pycnn._figure import Picture
    from pycnn.backend.numpy.steps import steps_of

    missing = check_missing(missing_targets)
    named = dict(nets) if isinstance(nets, Mapping) else {"": nets}
    if not named or not all(isinstance(net, Model) for net in named.values()):
        raise DataTypeError(f"nets must be a Network, or some by their names, got {nets!r:.80}")
    figure = Picture(figsize=(5.6, 3.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    for name, net in named.items():
        data = whole(net.reader.read(X, y, None, lengths, missing=missing)[0])
        theta = net.with_theta(np.copy)
        trace = net.trace_data(data, theta)
        specs = net.planned(data.x.shape[1]).architecture.specs
        found = _of_steps(steps_of(specs, theta, trace.A, trace.delta, data.lengths))
        for each in found:
            place = f"layer {_step_name(each)}" if len(found) > 1 or not name else ""
            there = ~np.isnan(each.gradients)
            norms = np.where(there, each.gradients, 0).sum(1) / np.maximum(there.sum(1), 1)
            axes.plot(each.positions + 1, norms, linewidth=1.4, label=f"{name} {place}".strip())
    axes.set_yscale("log", nonpositive="mask")
    _finish_curves(axes, "position", "norm of dL/dh")
    return save(figure, path)


def _of_steps(steps: Iterator[Steps]) -> list[Steps]:
    found = list(steps)
    if not found:
        raise DataError("no layer of the network is recurrent: SimpleRNN, LSTM or GRU")
    return found


def _step_name(steps: Steps) -> str:
    return f"{steps.number}{', from the end' if steps.positions[0] > steps.positions[-1] else ''}"


def forecast(
    values: ArrayLike,
    predicted: ArrayLike,
    path: Path = None,
    *,
    horizon: int = 1,
    label: str = "",
) -> Figure:
    """Draw a series, and what was foretold of its end, and beyond it.

    Parameters
    ----------
    values : array-like of shape (n,)
        The series, as far as it is known.
    predicted : array-like of shape (k,)
        Forecasts of which the last `horizon` are of what comes behind `values`, those before them
        of its end.
    path : path-like, optional
        Where to write the picture; its ending tells the format.
    horizon : int, default 1
        How many steps ahead each was made; of what is not known yet there are as many.
    label : str, optional
        What the values are.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ShapeError, DataError
        If an argument is not valid.
    ImportError
        If Matplotlib is not installed.

    Examples
    --------
    >>> import pycnn.plot
    >>> figure = pycnn.plot.forecast([1, 2, 4, 8], [3.9, 7.5, 17.0])  # doctest: +SKIP
    """
    check_format(path)
    from pycnn._figure import Picture

    known, foretold = as_numbers(values, "values"), as_numbers(predicted, "predicted")
    horizon = check_size(horizon, "horizon", at_least=0)
    for name, series in (("values", known), ("predicted", foretold)):
        if series.ndim != 1 or not len(series):
            raise ShapeError(f"{name} must be a series of shape (n,), got shape {series.shape}")
    if not horizon <= len(foretold) <= len(known) + horizon:
        raise ShapeError(
            f"predicted must have from {horizon} (the horizon) to {len(known) + horizon} "
            f"forecasts, for {len(known)} values, got {len(foretold)}"
        )
    end = len(known) + horizon
    figure = Picture(figsize=(6.4, 3.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.plot(range(len(known)), known, color="0.35", linewidth=1.2, label="known")
    marker = "o" if len(foretold) == 1 else ""
    axes.plot(
        range(end - len(foretold), end),
        foretold,
        color=OVER,
        linewidth=1.4,
        marker=marker,
        markersize=3,
        label=f"foretold {horizon} ahead" if horizon else "foretold",
    )
    if horizon:
        axes.axvspan(len(known) - 1, end - 1, color="0.93", linewidth=0)
    axes.set_xlim(max(0, end - 4 * len(foretold)), end - 0.5)
    _finish_curves(axes, "step", label)
    return save(figure, path)


def _finish_curves(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)


def _mark_positions(axes: Axes) -> None:
    axes.xaxis.set_major_locator(_ticks())
    axes.tick_params(labelsize=7, length=2)
    axes.set_xlabel("position", fontsize=8)


def _samples(net: Network, X: Any, name: str, most: int) -> Array:
    """Return checked samples, (m, *input_shape); one of them may come alone."""
    values = np.asarray(X)
    alone = (net.input_shape, net.input_shape[:-1], (net.inputs,))
    if is_open(net.input_shape):
        single = values.ndim == len(net.input_shape) and values.shape[1:] == net.input_shape[1:]
    else:
        single = values.ndim > 0 and values.shape in alone and values.size == net.inputs
    if single:
        values = values[None]
    data = whole(Data(net.reader.rows(values, name), np.empty(0), None))
    if len(data.x) > most:
        several = "one sample" if most == 1 else f"at most {most} samples"
        raise ShapeError(f"{name} must be {several}, got {len(data.x)}")
    return net.in_shape(np.asarray(data.x))


def _image_shape(net: Network, shape: Shape | None) -> Shape:
    """Return (rows, columns, channels) of a sample."""
    if shape is None:
        if len(net.input_shape) != 3:
            raise ShapeError(
                f"samples of shape {net.input_shape} are no images; where they are such in a row, "
                "shape=(rows, columns) says so"
            )
        return net.input_shape
    found = check_shape(shape, "shape")
    found = (*found, 1) if len(found) == 2 else found
    if len(found) != 3 or math.prod(found) != net.inputs:
        raise ShapeError(
            f"shape must be (rows, columns) or (rows, columns, channels) of {net.inputs} numbers, "
            f"got {shape}"
        )
    return found


def _draw_image(axes: Axes, image: Array, *, faint: float = 0.0) -> None:
    """Draw an image: in colours of three channels, else grey; faint where others lie over it."""
    low, high = float(image.min()), float(image.max())
    if low >= 0:  # bytes, or fractions
        low, high = 0.0, 255.0 if high > 1 and high <= 255 and high > 16 else max(high, 1e-300)
    values = np.clip((image - low) / ((high - low) or 1.0), 0, 1)
    if values.shape[-1] != 3:
        values = np.repeat(values.mean(axis=-1, keepdims=True), 3, axis=-1)
    if faint:
        values = faint + (1 - faint) * values.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    axes.imshow(values, interpolation="nearest")


# ------------------------------------------------------------------ tiles


def _mosaic(tiles: Array, columns: int, between: float) -> Array:
    """Return tiles, (count, rows, columns[, 3]), beside and below each other."""
    rows = -(-len(tiles) // columns)
    height, width = tiles.shape[1:3]
    gap = max(1, round(max(height, width) / 14))
    picture = np.full(
        (rows * (height + gap) - gap, columns * (width + gap) - gap, *tiles.shape[3:]), between
    )
    for i, tile in enumerate(tiles):
        y, x = i // columns * (height + gap), i % columns * (width + gap)
        picture[y : y + height, x : x + width] = tile
    return picture


def _columns(count: int, height: float, wide: float = 1.6) -> int:
    """Return into how many columns tiles go: about `wide` times as wide as high, with few gaps."""
    best = min(count, max(1.0, math.sqrt(count * height * wide)))
    some = range(max(1, round(0.7 * best)), min(count, round(1.5 * best)) + 1)
    return min(some, key=lambda columns: (-count % columns, abs(columns - best)))


def _fit(picture: Array, width: float, tallest: float = 7.0) -> tuple[float, float]:
    """Return the size in inches of a figure for a picture, with its title and scale."""
    rows, columns = picture.shape[:2]
    height = min(width * rows / columns, tallest)
    return max(min(width, height * columns / rows), 2.2) + 0.8, max(height, 0.4) + 0.45


def _draw_signed(figure: Figure, axes: Axes, picture: Array, largest: float, label: str) -> None:
    shown = axes.imshow(picture, cmap=SIGNED, vmin=-largest, vmax=largest, interpolation="nearest")
    _scale(figure, axes, shown, label)


def _scale(figure: Figure, axes: Axes | list[Axes], shown: Any, label: str) -> None:
    bar = figure.colorbar(shown, ax=axes, fraction=0.05, pad=0.02, aspect=18, panchor=False)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7, length=2)
    bar.locator = _ticks()
    bar.update_ticks()
    if label:
        bar.set_label(label, fontsize=8)


def _ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=4)


def _bare(axes: Axes, title: str) -> None:
    """Leave the picture alone with its title."""
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _size(shape: Shape) -> str:
    return " × ".join(map(str, shape))


def _of(count: int, all_of_them: int, what: str) -> str:
    plural = f"{what}s" if all_of_them != 1 else what
    return f"{count} {plural}" if count == all_of_them else f"{count} of {all_of_them} {plural}"
